/* See seed.h. The change is always built: in a store with documents it shows the differences.
 */
#include "gateway/config/store/seed.h"

#include "common/program/log.h"
#include "common/text/buf.h"
#include "gateway/config/store/bundle.h"

#include <stdio.h>
#include <string.h>

int cfg_seed_check(const json_t *seed, const struct cfg_bounds *bounds, struct ps_faults *faults)
{
    size_t before = faults->count;
    struct ps_faults found = {0};
    struct ps_json_reader reader;

    if (!json_is_object(seed))
        return ps_faults_add(faults, PS_E_INVALID, "seed", "must be an object: {\"documents\":{}}");
    if (json_object_size(seed) == 0)
        return 0;
    ps_json_reader_init_all(&reader, seed, "", &found);
    ps_json_require(&reader, (const char *const[]){"documents", NULL});
    (void)ps_json_value(&reader, "revision"); /* of the gateway that it was saved from */
    const json_t *documents = ps_json_value(&reader, "documents");
    if (documents != NULL && !json_is_object(documents))
        ps_json_fault(&reader, "documents", "must be an object of kinds");
    if (ps_json_done(&reader) == 0)
        (void)!cfg_bundle_check(documents, bounds, &found);
    for (size_t i = 0; i < found.count && i < PS_FAULTS_KEPT; i++) {
        char path[sizeof found.at[i].path + 8];
        (void)snprintf(path, sizeof path, "/seed%s", found.at[i].path);
        (void)ps_faults_add(faults, PS_E_INVALID, path, "%s", found.at[i].text);
    }
    return faults->count > before ? PS_E_INVALID : 0;
}

static int fail(int err, const struct ps_fault *fault)
{
    bool said = fault != NULL && fault->text[0] != '\0';
    char path[sizeof fault->path + 8];

    (void)snprintf(path, sizeof path, "/seed%s", said ? fault->path : "");
    ps_log(PS_LOG_ERROR, "seed_failed", PS_F_STR("path", path),
           PS_F_STR("error", said ? fault->text : ps_err_text(err)));
    return err;
}

/* Is every document of the store a shipped one? */
static bool is_first_start(const struct cfg_store *store)
{
    const struct cfg_doc *doc = cfg_store_next_kept(store, cfg_kinds[0], "");

    while (doc != NULL && (doc->kind->is_private || strcmp(doc->by.who, CFG_BY_PROGRAM) == 0))
        doc = cfg_store_next_kept(store, doc->kind, doc->name);
    return doc == NULL;
}

/* A sale whose opening has passed opens at once: the file may be older than the machine. */
static json_t *with_openings(const json_t *documents, int64_t now_ms)
{
    json_t *copy = json_deep_copy(documents), *sale;
    const char *name;
    int err = 0;

    json_object_foreach(json_object_get(copy, cfg_kind_sale.path), name, sale)
    {
        const char *text = json_string_value(json_object_get(sale, "opens_at"));
        int64_t opens_at_ms;
        if (text != NULL && ps_time_parse(text, strlen(text), &opens_at_ms) == 0 &&
            opens_at_ms <= now_ms)
            err |= json_object_set_new(sale, "open", json_true());
    }
    return copy != NULL ? ps_json_built(copy, err) : NULL;
}

static void warn_of_differences(const struct cfg_change *change, const struct ps_faults *faults)
{
    char names[256];
    const struct cfg_doc *doc, *from;
    struct ps_buf buf;

    ps_buf_init(&buf, names, sizeof names - 1);
    for (size_t i = 0; (doc = cfg_change_doc(change, i, &from)) != NULL; i++) {
        ps_buf_puts(&buf, buf.len > 0 ? ", " : "");
        ps_buf_puts(&buf, doc->kind->path);
        ps_buf_puts(&buf, "/");
        ps_buf_puts(&buf, doc->name);
    }
    for (size_t i = 0; i < faults->count && i < PS_FAULTS_KEPT;
         i++) { /* may not change like this */
        ps_buf_puts(&buf, buf.len > 0 ? ", " : "");
        ps_buf_puts(&buf, faults->at[i].path + strlen("/documents/"));
    }
    names[buf.len] = '\0';
    if (buf.len > 0)
        ps_log(PS_LOG_WARN, "seed_ignored", PS_F_STR("differs_in", names),
               PS_F_STR("why", "the seed applies at the first start only; use the admin API"));
}

static void on_stored(int err, const struct ps_fault *fault, void *ctx)
{
    (void)ctx;
    if (err == 0)
        ps_log(PS_LOG_INFO, "seed_taken");
    else if (err != PS_E_CONFLICT && err != PS_E_CLOSED) /* else another gateway was first */
        (void)fail(err, fault);
}

int cfg_seed(struct cfg_store *store, json_t *seed)
{
    const struct cfg_author author = {.at_ms = ps_clock_wall_ms(cfg_store_clock(store)),
                                      .who = "settings",
                                      .peer = "",
                                      .action = "config.put",
                                      .why = ""};
    struct cfg_bundle bundle = {.kinds = "", .lenient = true, .left_out = CFG_LEFT_OUT_KEEP};
    struct ps_faults faults = {0};
    enum cfg_refusal refusal;
    const struct cfg_doc *from;

    if (json_object_size(seed) == 0)
        return 0;
    if (!cfg_store_is_synced(store)) {
        cfg_store_set_seed(store, seed, cfg_seed);
        return 0;
    }
    json_t *documents = with_openings(json_object_get(seed, "documents"), author.at_ms);
    struct cfg_change *change = cfg_change_new(store, &author);
    bundle.documents = documents;
    int err = documents != NULL && change != NULL
                  ? cfg_bundle_put(change, &bundle, &refusal, &faults)
                  : PS_E_NOMEM;
    json_decref(documents);
    if (err != PS_E_NOMEM && !is_first_start(store)) {
        warn_of_differences(change, &faults);
        err = 0;
    } else if (err < 0) {
        (void)fail(err, faults.count > 0 ? &faults.at[0] : NULL);
        for (size_t i = 1; i < faults.count && i < PS_FAULTS_KEPT; i++)
            (void)fail(err, &faults.at[i]);
    } else if (cfg_change_doc(change, 0, &from) != NULL) {
        err = cfg_change_submit(change, on_stored, NULL);
        return err < 0 ? fail(err, NULL) : 0;
    }
    cfg_change_free(change);
    return err;
}
