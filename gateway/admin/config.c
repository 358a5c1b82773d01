/* All documents as one bundle, so that they can be kept in a file: GET gives them with the store's
 * revision, PUT makes it so. Kinds that the bundle does not have stay as they are; of those it has,
 * documents that it does not have are deleted. All of it happens or nothing. */
#include "gateway/admin/admin_internal.h"

#include <stdio.h>
#include <string.h>

/* --- Which kinds. --- */

/* NULL: no kind that bundles have. */
static const struct cfg_kind *find_kind(const char *path, size_t len)
{
    const struct cfg_kind *kind = cfg_kind_find(path, len);

    return kind != NULL && !kind->is_private ? kind : NULL;
}

/* The kinds of the query; without one all. False: answered. */
static bool read_kinds(struct op_request *request, bool *ret_dry_run, char *text, size_t cap)
{
    int64_t number = 0;
    const struct op_param params[] = {{.name = "kinds", .text = text, .cap = cap},
                                      {.name = "dry_run", .number = &number, .min = 0, .max = 1}};

    if (!op_query(request, params, ret_dry_run != NULL ? 2 : 1))
        return false;
    if (ret_dry_run != NULL)
        *ret_dry_run = number == 1;
    for (const char *at = text[0] != '\0' ? text : NULL; at != NULL;) {
        size_t len = strcspn(at, ",");
        if (find_kind(at, len) == NULL) {
            op_no(request, ANS_V_invalid, "query parameter \"kinds\": \"%.*s\" is no kind",
                  (int)len, at);
            return false;
        }
        at = at[len] == ',' ? at + len + 1 : NULL;
    }
    return true;
}

static bool is_listed(const char *kinds, const struct cfg_kind *kind)
{
    size_t len = strlen(kind->path);

    for (const char *at = kinds; *at != '\0';) {
        size_t word = strcspn(at, ",");
        if (word == len && memcmp(at, kind->path, len) == 0)
            return true;
        at += word + (at[word] == ',');
    }
    return kinds[0] == '\0';
}

/* --- Reading. --- */

static json_t *kind_json(const struct cfg_store *store, const struct cfg_kind *kind)
{
    json_t *json = json_object();
    const struct cfg_doc *doc = NULL;
    int err = 0;

    while (err == 0 && (doc = cfg_store_next(store, kind, doc)) != NULL)
        err = json_object_set_new(json, doc->name, cfg_doc_json(doc));
    return ps_json_built(json, err);
}

static void say_config(struct op_request *request, const char *kinds)
{
    const struct cfg_store *store = request->admin->deps.config;
    json_t *documents = json_object();
    int err = 0;

    for (const struct cfg_kind *const *kind = cfg_kinds; err == 0 && *kind != NULL; kind++)
        if (!(*kind)->is_private && is_listed(kinds, *kind))
            err = json_object_set_new(documents, (*kind)->path, kind_json(store, *kind));
    op_etag(request, cfg_store_complete(store));
    op_json(request, ANS_V_ok,
            json_pack("{s:I, s:o}", "revision", (json_int_t)cfg_store_complete(store), "documents",
                      ps_json_built(documents, err)));
}

void op_get_config(struct op_request *request)
{
    char kinds[CFG_NAME_MAX + 1];

    if (read_kinds(request, NULL, kinds, sizeof kinds))
        say_config(request, kinds);
}

/* --- Making it so. --- */

struct bundle {
    struct op_change *change;
    struct ps_faults faults;
    enum cfg_refusal refusal; /* the first one */
    int err;                  /* the first one */
};

static void note(struct bundle *bundle, int err, enum cfg_refusal refusal)
{
    if (err == 0 || (bundle->err < 0 && err != PS_E_INVALID && err != PS_E_NOMEM))
        return;
    /* What cannot be read weighs more than what may not be. */
    bundle->err = err;
    bundle->refusal = refusal;
}

/* A pointer to one document of the bundle, its names escaped (RFC 6901). */
static void point_to(const struct cfg_kind *kind, const char *name, char ret_pointer[192])
{
    struct ps_buf buf;
    char both[CFG_NAME_MAX + 64];

    (void)snprintf(both, sizeof both, "%s\n%s", kind->path, name);
    ps_buf_init(&buf, ret_pointer, 191);
    ps_buf_puts(&buf, "/documents/");
    for (const char *at = both; *at != '\0'; at++) {
        if (*at == '\n')
            ps_buf_puts(&buf, "/");
        else if (*at == '~' || *at == '/')
            ps_buf_puts(&buf, *at == '~' ? "~0" : "~1");
        else
            ps_buf_put(&buf, at, 1);
    }
    ret_pointer[buf.len] = '\0';
}

static void point_to_document(const struct cfg_doc *doc, char ret_pointer[192])
{
    point_to(doc->kind, doc->name, ret_pointer);
}

/* When every document was read: one that was not would be missed by those that name it. */
static void check_together(struct bundle *bundle)
{
    enum cfg_refusal refusal = CFG_MAY;

    if (bundle->err < 0)
        return;
    int err =
        cfg_change_check(bundle->change->change, point_to_document, &refusal, &bundle->faults);
    note(bundle, err, refusal);
}

static void put_document(struct bundle *bundle, const struct cfg_kind *kind, const char *given,
                         const json_t *json)
{
    enum cfg_refusal refusal = CFG_MAY;
    char name[CFG_NAME_MAX + 1], pointer[192];
    int err;

    point_to(kind, given, pointer);
    if (kind->name(given, strlen(given), name) < 0)
        err = ps_faults_add(&bundle->faults, PS_E_INVALID, pointer, "the name must be %s",
                            kind->name_rule);
    else if (strcmp(name, given) != 0) /* one spelling, so that none is there twice */
        err = ps_faults_add(&bundle->faults, PS_E_INVALID, pointer, "is to be named \"%s\"", name);
    else
        err = cfg_change_put(bundle->change->change, kind, name, json, pointer, &refusal,
                             &bundle->faults);
    note(bundle, err, refusal);
}

/* Of the documents that always exist, or of the others. */
static void drop_those_left_out(struct bundle *bundle, const struct cfg_kind *kind,
                                const json_t *documents, bool ships)
{
    const struct cfg_doc *doc = NULL;
    char pointer[192];

    while ((doc = cfg_store_next(bundle->change->admin->deps.config, kind, doc)) != NULL) {
        enum cfg_refusal refusal;
        if (json_object_get(documents, doc->name) != NULL ||
            cfg_kind_ships(kind, doc->name) != ships)
            continue;
        point_to(kind, doc->name, pointer);
        int err = cfg_change_drop(bundle->change->change, kind, doc->name, pointer, &refusal,
                                  &bundle->faults);
        note(bundle, err, refusal);
    }
}

static void put_kind(struct bundle *bundle, const struct cfg_kind *kind, const json_t *documents)
{
    char pointer[192];
    const char *name;
    json_t *json;

    (void)snprintf(pointer, sizeof pointer, "/documents/%s", kind->path);
    if (!json_is_object(documents)) {
        note(bundle,
             ps_faults_add(&bundle->faults, PS_E_INVALID, pointer,
                           "must be an object of documents by name"),
             CFG_MAY);
        return;
    }
    drop_those_left_out(bundle, kind, documents, false); /* makes room */
    json_object_foreach((json_t *)(uintptr_t)documents, name, json)
        put_document(bundle, kind, name, json);
    drop_those_left_out(bundle, kind, documents, true); /* last: what the file has is named first */
}

static void put_kinds(struct bundle *bundle, const json_t *documents, const char *kinds)
{
    const char *path;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)documents, path, value)
    {
        const struct cfg_kind *kind = find_kind(path, strlen(path));
        char pointer[192];
        (void)snprintf(pointer, sizeof pointer, "/documents/%.64s", path);
        if (kind == NULL || !is_listed(kinds, kind))
            note(bundle,
                 ps_faults_add(&bundle->faults, PS_E_INVALID, pointer,
                               kind == NULL ? "is no kind of documents"
                                            : "is not one of the kinds that the query names"),
                 CFG_MAY);
        else
            put_kind(bundle, kind, value);
    }
}

static void answer_config(struct op_request *request, struct op_change *change)
{
    say_config(request, change->name);
}

/* False: answered. A bundle that was read while changes of other gateways were on their way has a
 * revision that is never in force again. */
static bool check_revision(struct op_request *request, int64_t revision)
{
    if (op_if_match(request, revision) != OP_MATCH_NONE)
        return op_matches(request, revision);
    op_no(request, ANS_V_precondition_required,
          "send the revision that the bundle was made from in If-Match");
    return false;
}

/* The documents of the body; a revision beside them must be the one in force. NULL: answered. */
static const json_t *read_bundle(struct op_request *request, int64_t revision)
{
    struct ps_faults faults = {0};
    struct ps_json_reader reader;
    int64_t said = revision;

    ps_json_reader_init_all(&reader, request->body, "", &faults);
    ps_json_require(&reader, (const char *const[]){"documents", NULL});
    ps_json_int(&reader, "revision", 1, PS_INT_MAX, &said);
    if (said != revision)
        ps_json_fault(&reader, "revision",
                      "is shown by reading only, as %lld: leave it out or as it is",
                      (long long)revision);
    const json_t *documents = ps_json_value(&reader, "documents");
    if (documents != NULL && !json_is_object(documents))
        ps_json_fault(&reader, "documents", "must be an object of kinds");
    if (ps_json_done(&reader) == 0)
        return documents;
    op_faults(request, ANS_V_invalid, &faults);
    return NULL;
}

void op_put_config(struct op_request *request)
{
    int64_t revision = cfg_store_revision(request->admin->deps.config);
    struct bundle bundle = {0};
    const struct cfg_doc *from;
    const json_t *documents;
    char kinds[CFG_NAME_MAX + 1];
    bool dry_run;

    if (!read_kinds(request, &dry_run, kinds, sizeof kinds) || !check_revision(request, revision) ||
        (documents = read_bundle(request, revision)) == NULL ||
        (bundle.change = op_change_new(request, "config.put", "config")) == NULL)
        return;
    put_kinds(&bundle, documents, kinds);
    check_together(&bundle);
    if (bundle.err < 0) {
        op_change_refuse(request, bundle.change, bundle.err, bundle.refusal, &bundle.faults);
    } else if (dry_run) {
        op_say_dry_run(request, bundle.change, revision);
    } else if (cfg_change_doc(bundle.change->change, 0, &from) == NULL) {
        op_change_free(bundle.change);
        say_config(request, kinds);
    } else {
        bundle.change->answer = answer_config;
        memcpy(bundle.change->name, kinds, sizeof kinds);
        op_change_submit(request, bundle.change);
    }
}
