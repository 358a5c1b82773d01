/* All documents as one bundle, to be kept in a file: GET returns them with the store's revision,
 * PUT makes the documents match the bundle. Kinds that the bundle does not have are unchanged; of
 * its kinds, documents that it does not have are deleted. All of it is applied or nothing. */
#include "gateway/admin/documents.h"
#include "gateway/admin/parts.h"

#include "gateway/config/store/bundle.h"
#include "gateway/plans/plans.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- Which kinds. --- */

/* The query of a change, without the kinds. */
struct how {
    bool dry_run;
    bool force; /* also members that runs of plans hold */
    bool base;  /* as it would be without runs */
    enum cfg_left_out left_out;
};

/* What is asked of the documents, and so what the query may hold besides the kinds. */
enum verb { SHOW, LIST_VERSIONS, ROLL_BACK, MAKE_IT_SO };

/* The kinds of the query; without one all. False: answered. */
static bool read_kinds(struct op_request *request, enum verb verb, struct how *ret_how,
                       char text[CFG_NAME_MAX + 1])
{
    static const char *const words[] = {"delete", "drop", "keep", NULL};
    static const size_t counts[] = {2, 1, 3, 4};
    char left_out[16] = "";
    int64_t dry_run = 0, force = 0, base = 0;
    int word = CFG_LEFT_OUT_DELETE;
    struct op_param params[] = {{.name = "kinds", .text = text, .cap = CFG_NAME_MAX + 1},
                                {.name = "dry_run", .number = &dry_run, .min = 0, .max = 1},
                                {.name = "force", .number = &force, .min = 0, .max = 1},
                                {.name = "left_out", .text = left_out, .cap = 16}};

    if (verb == SHOW)
        params[1] = (struct op_param){.name = "base", .number = &base, .min = 0, .max = 1};
    if (!op_query(request, params, counts[verb]) ||
        (left_out[0] != '\0' && !op_query_word(request, "left_out", left_out, words, "", &word)))
        return false;
    *ret_how = (struct how){.dry_run = dry_run == 1,
                            .force = force == 1,
                            .base = base == 1,
                            .left_out = (enum cfg_left_out)word};
    for (const char *at = text[0] != '\0' ? text : NULL; at != NULL;) {
        size_t len = strcspn(at, ",");
        if (cfg_bundle_kind(at, len) == NULL) {
            op_no(request, ANS_V_invalid, "query parameter \"kinds\": \"%.*s\" is not a kind",
                  (int)len, at);
            return false;
        }
        at = at[len] == ',' ? at + len + 1 : NULL;
    }
    return true;
}

/* --- Reading. --- */

/* `base`: as they would be without runs of plans. */
static json_t *kind_json(const struct op_deps *deps, const struct cfg_kind *kind, bool base)
{
    json_t *json = json_object();
    const struct cfg_doc *doc = NULL;
    int err = 0;

    while (err == 0 && (doc = cfg_store_next(deps->config, kind, doc)) != NULL) {
        json_t *document = cfg_doc_json(doc);
        if (base && document != NULL && !plans_undo(deps->plans, kind, doc->name, document))
            json_decref(document);
        else
            err = json_object_set_new(json, doc->name, document);
    }
    return ps_json_built(json, err);
}

/* Runs whose steps are in force. */
static json_t *runs_json(const struct plan_runs *runs)
{
    json_t *list = json_array();
    int err = list == NULL;

    for (size_t i = 0; err == 0 && i < runs->count; i++) {
        const struct cfg_run *run = runs->at[i]->run;
        if (run->state == CFG_RUN_ACTIVE || run->state == CFG_RUN_SUSPENDED)
            err = json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "run", runs->at[i]->name,
                                                        "plan", run->plan, "state",
                                                        cfg_run_states[run->state]));
    }
    return ps_json_built(list, err);
}

static void say_config(struct op_request *request, const char *kinds, bool base)
{
    const struct op_deps *deps = &request->admin->deps;
    const struct cfg_store *store = deps->config;
    json_t *documents = json_object();
    int err = 0;

    for (const struct cfg_kind *const *kind = cfg_kinds; err == 0 && *kind != NULL; kind++)
        if (!(*kind)->is_private && cfg_kind_is_listed(*kind, kinds))
            err = json_object_set_new(documents, (*kind)->path, kind_json(deps, *kind, base));
    op_etag(request, cfg_store_complete(store));
    op_json(request, ANS_V_ok,
            json_pack("{s:I, s:o, s:o}", "revision", (json_int_t)cfg_store_complete(store), "runs",
                      runs_json(plans_live(deps->plans)), "documents",
                      ps_json_built(documents, err)));
}

static void get_config(struct op_request *request)
{
    char kinds[CFG_NAME_MAX + 1];
    struct how how;

    if (read_kinds(request, SHOW, &how, kinds))
        say_config(request, kinds, how.base);
}

/* --- Changing. --- */

static void answer_config(struct op_request *request, struct op_change *change)
{
    say_config(request, change->name, false);
}

/* False: answered. A bundle that was read while changes of other gateways were arriving has a
 * revision that is never in force again. */
static bool check_revision(struct op_request *request, int64_t revision)
{
    if (op_if_match(request, revision) != OP_MATCH_NONE)
        return op_matches(request, revision);
    op_no(request, ANS_V_precondition_required,
          "send the revision that the bundle was made from in If-Match");
    return false;
}

/* The documents of the body. Its revision must be the one in force, unless If-Match allows any.
 * NULL: answered. */
static const json_t *read_bundle(struct op_request *request, int64_t revision)
{
    struct ps_faults faults = {0};
    struct ps_json_reader reader;
    int64_t said = revision;

    ps_json_reader_init_all(&reader, request->body, "", &faults);
    ps_json_require(&reader, (const char *const[]){"documents", NULL});
    ps_json_int(&reader, "revision", 1, PS_INT_MAX, &said);
    if (said != revision && !op_matches_any(request))
        ps_json_fault(&reader, "revision",
                      "is read-only, now %lld: remove it, or leave it unchanged",
                      (long long)revision);
    (void)ps_json_has(&reader, "runs"); /* shown by reading only */
    const json_t *documents = ps_json_value(&reader, "documents");
    if (documents != NULL && !json_is_object(documents))
        ps_json_fault(&reader, "documents", "must be an object of kinds");
    if (ps_json_done(&reader) == 0)
        return documents;
    op_faults(request, ANS_V_invalid, &faults);
    return NULL;
}

/* The kinds of a bundle: the answer shows these. */
static void list_kinds(const json_t *documents, char ret_kinds[CFG_NAME_MAX + 1])
{
    struct ps_buf buf;

    ps_buf_init(&buf, ret_kinds, CFG_NAME_MAX);
    for (const struct cfg_kind *const *kind = cfg_kinds; *kind != NULL; kind++) {
        if (json_object_get(documents, (*kind)->path) == NULL)
            continue;
        ps_buf_puts(&buf, buf.len > 0 ? "," : "");
        ps_buf_puts(&buf, (*kind)->path);
    }
    ret_kinds[buf.len] = '\0';
}

/* PS_E_CONFLICT: it changes what the run of a plan has changed. */
static int check_runs(const struct op_change *change, enum cfg_refusal *ret_refusal,
                      struct ps_faults *faults)
{
    const struct cfg_doc *from, *to;
    char pointer[192];
    int err = 0;

    for (size_t i = 0; (to = cfg_change_doc(change->change, i, &from)) != NULL; i++) {
        const struct plan_run *run = plans_find_touched(change->admin->deps.plans, from, to);
        if (run == NULL)
            continue;
        *ret_refusal = CFG_IN_USE;
        (void)snprintf(pointer, sizeof pointer, "/documents/%s/%.96s", to->kind->path, to->name);
        err = ps_faults_add(faults, PS_E_CONFLICT, pointer,
                            "the run %s of \"%s\" has changed it; ?base=1 shows what would be "
                            "without runs, ?force=1 puts it all the same",
                            run->name, run->run->plan);
    }
    return err;
}

static void put_bundle(struct op_request *request, const json_t *documents, const char *kinds,
                       const char *action, struct how how)
{
    int64_t revision = cfg_store_revision(request->admin->deps.config);
    const struct cfg_bundle bundle = {.documents = documents,
                                      .kinds = kinds,
                                      .lenient = op_matches_any(request),
                                      .left_out = how.left_out};
    struct op_change *change = op_change_new(request, action, "config");
    struct ps_faults faults = {0};
    const struct cfg_doc *from;
    enum cfg_refusal refusal;

    if (change == NULL)
        return;
    int err = cfg_bundle_put(change->change, &bundle, &refusal, &faults);
    if (err == 0 && !how.force)
        err = check_runs(change, &refusal, &faults);
    if (err < 0) {
        op_change_refuse(request, change, err, refusal, &faults);
    } else if (how.dry_run) {
        op_say_dry_run(request, change, revision);
    } else if (cfg_change_doc(change->change, 0, &from) == NULL) {
        op_change_free(change);
        say_config(request, kinds, false);
    } else {
        change->answer = answer_config;
        (void)snprintf(change->name, sizeof change->name, "%s", kinds);
        op_change_submit(request, change);
    }
}

static void put_config(struct op_request *request)
{
    int64_t revision = cfg_store_revision(request->admin->deps.config);
    const json_t *documents;
    char kinds[CFG_NAME_MAX + 1];
    struct how how;

    if (!read_kinds(request, MAKE_IT_SO, &how, kinds) || !check_revision(request, revision) ||
        (documents = read_bundle(request, revision)) == NULL)
        return;
    if (kinds[0] == '\0')
        list_kinds(documents, kinds);
    put_bundle(request, documents, kinds, "config.put", how);
}

/* --- History. --- */

/* A read of control.db for a waiting request. */
struct past {
    struct op_admin *admin;
    uint64_t handle;
    char kinds[CFG_NAME_MAX + 1];
    bool rolls_back;
    struct how how;
};

static void on_past(int err, json_t *json, const struct ps_fault *fault, void *ctx)
{
    struct past *past = ctx;
    struct op_admin *admin = past->admin;
    struct op_request *request = op_find(admin, past->handle);

    if (request == NULL)
        ; /* the request has ended */
    else if (err == PS_E_NOT_FOUND)
        op_fault(request, ANS_V_not_found, fault);
    else if (err < 0)
        op_no(request, ANS_V_control_unavailable, "%s",
              fault->text[0] != '\0' ? fault->text : ps_err_text(err));
    else if (!past->rolls_back)
        op_json(request, ANS_V_ok, json_incref(json));
    else if (op_matches(request, cfg_store_revision(admin->deps.config)))
        put_bundle(request, json_object_get(json, "documents"), past->kinds, "config.rollback",
                   past->how);
    json_decref(json);
    free(past);
    op_release(admin);
}

/* The documents at a revision, for a rollback; 0: the list of changes. */
static void look_back(struct op_request *request, const char *kinds, int64_t revision,
                      struct how how)
{
    struct op_admin *admin = request->admin;
    struct past *past = calloc(1, sizeof *past);
    int err = PS_E_NOMEM;

    if (past != NULL) {
        *past = (struct past){.admin = admin, .rolls_back = revision > 0, .how = how};
        (void)snprintf(past->kinds, sizeof past->kinds, "%s", kinds);
        past->handle = op_wait(request, OP_WAIT_MS);
        err = cfg_store_past(admin->deps.config, kinds, revision, on_past, past);
    }
    if (err == 0) {
        op_hold(admin);
        return;
    }
    free(past);
    op_no(request, ANS_V_control_unavailable, "%s", ps_err_text(err));
}

static void list_config_versions(struct op_request *request)
{
    char kinds[CFG_NAME_MAX + 1];
    struct how how;

    if (read_kinds(request, LIST_VERSIONS, &how, kinds))
        look_back(request, kinds, 0, how);
}

static void rollback_config(struct op_request *request)
{
    int64_t now = cfg_store_revision(request->admin->deps.config), revision = 0;
    struct ps_faults faults = {0};
    struct ps_json_reader reader;
    char kinds[CFG_NAME_MAX + 1];
    struct how how;

    if (!read_kinds(request, ROLL_BACK, &how, kinds) || !op_matches(request, now))
        return;
    ps_json_reader_init_all(&reader, request->body, "", &faults);
    ps_json_require(&reader, (const char *const[]){"revision", NULL});
    ps_json_int(&reader, "revision", 1, PS_INT_MAX, &revision);
    if (ps_json_done(&reader) < 0 || faults.count > 0)
        op_faults(request, ANS_V_invalid, &faults);
    else if (revision > now)
        op_no(request, ANS_V_not_found, "there is no such revision yet: the present one is %lld",
              (long long)now);
    else
        look_back(request, kinds, revision, how);
}

/* --- The part. --- */

/* clang-format off */
const struct op_part op_config_part = {
    .routes = (const struct op_route[]){
        {"/admin/v1/config",          SRV_GET,  OP_ROLE_ADMIN, OP_QUERY,                              get_config},
        {"/admin/v1/config",          SRV_PUT,  OP_ROLE_ADMIN, OP_CHANGES | OP_NEEDS_BODY | OP_QUERY, put_config},
        {"/admin/v1/config/versions", SRV_GET,  OP_ROLE_ADMIN, OP_QUERY,                              list_config_versions},
        {"/admin/v1/config/rollback", SRV_POST, OP_ROLE_ADMIN, OP_CHANGES | OP_NEEDS_BODY | OP_QUERY, rollback_config},
        {0}},
};
/* clang-format on */
