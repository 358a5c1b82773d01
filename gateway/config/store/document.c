/* Documents of every kind: making a version of its parts, printing, comparing. */
#include "gateway/config/store/document.h"

#include <stdlib.h>
#include <string.h>

bool cfg_kind_ships(const struct cfg_kind *kind, const char *name)
{
    for (const struct cfg_shipped *at = kind->shipped; at != NULL && at->name != NULL; at++)
        if (strcmp(at->name, name) == 0)
            return true;
    return false;
}

bool cfg_kind_is_listed(const struct cfg_kind *kind, const char *paths)
{
    size_t len = strlen(kind->path);

    for (const char *at = paths; *at != '\0';) {
        size_t word = strcspn(at, ",");
        if (word == len && memcmp(at, kind->path, len) == 0)
            return true;
        at += word + (at[word] == ',');
    }
    return paths[0] == '\0';
}

/* --- Reading. --- */

void cfg_kind_free(const struct cfg_kind *kind, void *parsed)
{
    if (kind->free != NULL) {
        kind->free(parsed);
        return;
    }
    ps_table_free(kind->table, parsed);
    free(parsed);
}

int cfg_kind_read(const struct cfg_kind *kind, const struct cfg_reading *reading,
                  const json_t *json, const json_t *state, void **ret_parsed,
                  struct ps_faults *faults)
{
    const struct ps_table_source source = {.json = json,
                                           .pointer = reading->pointer,
                                           .ctx = reading,
                                           .stored = reading->bounds == NULL};

    void *parsed = calloc(1, kind->table->size);
    if (parsed == NULL)
        return PS_E_NOMEM;
    int err = ps_table_read(kind->table, &source, parsed, faults);
    if (err == 0 && kind->read_state != NULL)
        err = kind->read_state(parsed, state, faults);
    if (err < 0)
        cfg_kind_free(kind, parsed);
    else
        *ret_parsed = parsed;
    return err;
}

json_t *cfg_kind_print(const struct cfg_kind *kind, const void *parsed)
{
    return ps_table_print(kind->table, parsed);
}

/* Every change may carry a reason, beside the members. */
static json_t *reason_schema(enum ps_language language)
{
    static const char *const text[] = {"Why, for the audit log", "修改原因，记入审计日志"};

    return json_pack("{s:[s, s], s:i, s:s, s:b}", "type", "string", "null", "maxLength",
                     CFG_REASON_MAX, "description", text[language], "writeOnly", 1);
}

json_t *cfg_kind_schema(const struct cfg_kind *kind, enum ps_language language)
{
    json_t *json = ps_table_schema(kind->table, language);
    json_t *members = json_object_get(json, "properties");
    int err = json == NULL;

    if (err == 0 && ps_table_find(kind->table, "reason") == NULL)
        err = json_object_set_new(members, "reason", reason_schema(language));
    return ps_json_built(json, err);
}

/* --- Documents. --- */

/* Compact text, heap; NULL: out of memory. */
static char *text_of(const json_t *json)
{
    return json != NULL ? json_dumps(json, CFG_JSON_FLAGS) : NULL;
}

static int parse(struct cfg_doc *doc, const struct cfg_doc_parts *parts, struct ps_faults *faults)
{
    struct cfg_reading reading = parts->reading;
    reading.name = parts->name;
    int err = cfg_kind_read(parts->kind, &reading, parts->json, parts->state, &doc->parsed, faults);
    if (err < 0)
        return err;
    json_t *json = cfg_kind_print(parts->kind, doc->parsed);
    doc->json = text_of(json);
    json_decref(json);
    if (parts->kind->initial_state == NULL) /* an older version may have kept one */
        return doc->json != NULL ? 0 : PS_E_NOMEM;
    json = parts->kind->write_state != NULL ? parts->kind->write_state(doc->parsed) : NULL;
    doc->state = text_of(parts->kind->write_state != NULL ? json : parts->state);
    json_decref(json);
    return doc->json != NULL && (doc->state != NULL || parts->state == NULL) ? 0 : PS_E_NOMEM;
}

/* All texts of a version are in one block of memory, which begins with its name: there may be many.
 */
static int copy_texts(struct cfg_doc *doc, const struct cfg_doc_parts *parts)
{
    const char *const from[] = {parts->name, parts->by.who, parts->by.peer, parts->by.action,
                                parts->by.why};
    const char **const to[] = {&doc->name, &doc->by.who, &doc->by.peer, &doc->by.action,
                               &doc->by.why};
    size_t size = 0;
    char *at;

    for (size_t i = 0; i < PS_ARRAY_LEN(from); i++)
        size += strlen(from[i]) + 1;
    at = malloc(size);
    doc->name = NULL;
    if (at == NULL)
        return PS_E_NOMEM;
    for (size_t i = 0; i < PS_ARRAY_LEN(from); i++) {
        size_t len = strlen(from[i]) + 1;
        *to[i] = memcpy(at, from[i], len);
        at += len;
    }
    return 0;
}

int cfg_doc_new(const struct cfg_doc_parts *parts, struct cfg_doc **ret_doc,
                struct ps_faults *faults)
{
    struct cfg_doc *doc = calloc(1, sizeof *doc);
    int err = PS_E_NOMEM;

    if (doc != NULL) {
        *doc = (struct cfg_doc){.kind = parts->kind,
                                .version = parts->version,
                                .revision = parts->revision,
                                .created_at_ms = parts->created_at_ms,
                                .by = parts->by};
        err = copy_texts(doc, parts);
        if (err == 0 && parts->json != NULL)
            err = parse(doc, parts, faults);
    }
    if (err < 0) {
        cfg_doc_free(doc);
        return err == PS_E_NOMEM
                   ? ps_faults_add(faults, err, parts->reading.pointer, "out of memory")
                   : err;
    }
    *ret_doc = doc;
    return 0;
}

void cfg_doc_free(struct cfg_doc *doc)
{
    if (doc == NULL)
        return;
    if (doc->parsed != NULL)
        cfg_kind_free(doc->kind, doc->parsed);
    free((char *)(uintptr_t)doc->name);
    free(doc->json);
    free(doc->state);
    free(doc);
}

json_t *cfg_doc_json(const struct cfg_doc *doc)
{
    return doc->parsed != NULL ? cfg_kind_print(doc->kind, doc->parsed) : NULL;
}

json_t *cfg_doc_shown(const struct cfg_doc *doc)
{
    json_t *json = cfg_doc_json(doc);

    return json != NULL && doc->kind->show != NULL ? ps_json_built(json, doc->kind->show(doc, json))
                                                   : json;
}

/* Do the texts hold the same value? The order of members does not count (RFC 8259, 4), and some
 * members keep the order in which they were written. Without the memory to read them, they count as
 * different.
 */
static bool is_same_json(const char *text, const char *other)
{
    if (text == NULL || other == NULL || strcmp(text, other) == 0)
        return ps_text_same(text, other);
    json_t *json = json_loads(text, 0, NULL), *against = json_loads(other, 0, NULL);
    bool same = json != NULL && json_equal(json, against);

    json_decref(json);
    json_decref(against);
    return same;
}

bool cfg_doc_is_same(const struct cfg_doc *doc, const struct cfg_doc *other)
{
    bool same = doc->parsed != NULL && other->parsed != NULL
                    ? ps_table_same(doc->kind->table, doc->parsed, other->parsed)
                    : is_same_json(doc->json, other->json);

    return same && is_same_json(doc->state, other->state);
}

bool cfg_doc_renews(const struct cfg_doc *doc, const struct cfg_doc *before)
{
    return doc->kind->renews != NULL && before != NULL && before->parsed != NULL &&
           doc->parsed != NULL && doc->kind->renews(doc->parsed, before->parsed);
}

int64_t cfg_doc_ends_at_ms(const struct cfg_doc *doc)
{
    int64_t ends_at_ms = INT64_MAX;

    if (doc->parsed != NULL && doc->kind->ends)
        memcpy(&ends_at_ms, (const char *)doc->parsed + doc->kind->until_at, sizeof ends_at_ms);
    return ends_at_ms;
}
