/* Any bytes as a document, behind a line with its kind: what is taken can be printed, and is read
 * as the same. */
#include "common/text/json.h"
#include "fuzz.h"
#include "gateway/config/store/document.h"

static const struct cfg_kind *kind_of(const uint8_t *bytes, size_t len)
{
    for (const struct cfg_kind *const *kind = cfg_kinds; *kind != NULL; kind++)
        if ((*kind)->id != NULL &&
            ps_str_is((struct ps_str){(const char *)bytes, len}, (*kind)->id))
            return *kind;
    return NULL;
}

/* NULL: `faults` says why. */
static void *read_document(const struct cfg_kind *kind, const json_t *json,
                           struct ps_faults *faults)
{
    const struct cfg_reading reading = {.name = "203.0.113.0/24", .pointer = ""};
    json_t *state = kind->initial_state != NULL ? json_loads(kind->initial_state, 0, NULL) : NULL;
    void *parsed = NULL;

    (void)!cfg_kind_read(kind, &reading, json, state, &parsed, faults);
    json_decref(state);
    return parsed;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const uint8_t *end = size > 0 ? memchr(bytes, '\n', size) : NULL;
    const struct cfg_kind *kind = end != NULL ? kind_of(bytes, (size_t)(end - bytes)) : NULL;
    struct ps_fault fault = {0};
    struct ps_faults faults = {0};
    json_t *json;

    if (kind == NULL ||
        ps_json_parse((const char *)end + 1, size - (size_t)(end + 1 - bytes), &json, &fault) < 0)
        return 0;
    void *document = read_document(kind, json, &faults), *again;
    if (document != NULL) {
        json_t *written = cfg_kind_print(kind, document), *written_again;
        MUST(faults.count == 0 && written != NULL);
        again = read_document(kind, written, &faults);
        MUST(again != NULL && ps_table_same(kind->table, document, again));
        written_again = cfg_kind_print(kind, again);
        MUST(json_equal(written, written_again));
        json_decref(written);
        json_decref(written_again);
        cfg_kind_free(kind, document);
        cfg_kind_free(kind, again);
    } else {
        MUST(faults.count > 0 && faults.at[0].text[0] != '\0');
    }
    json_decref(json);
    return 0;
}
