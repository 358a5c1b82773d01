/* Documents of any kind: listed, read, written, patched, deleted, rolled back. PUT without If-Match
 * creates, If-Match is required to change. Every route here serves all kinds; what a kind adds
 * (numbers of a sale) comes from the part that knows it: struct op_kind. */
#include "gateway/admin/documents.h"
#include "gateway/admin/parts.h"

#include "common/text/json_patch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- The document of a request. --- */

bool op_read_target(struct op_request *request, const struct cfg_kind *kind,
                    struct op_target *ret_target)
{
    char text[3 * CFG_NAME_MAX + 1];
    size_t len;

    ret_target->kind = kind;
    if (op_decode(request->arg[0], text, sizeof text, &len) < 0 ||
        kind->name(text, len, ret_target->name) < 0) {
        op_no(request, ANS_V_invalid, "in the path: %s", kind->name_rule);
        return false;
    }
    ret_target->have = cfg_store_find(request->admin->deps.config, kind, ret_target->name);
    return true;
}

/* False: answered. */
static bool read_there(struct op_request *request, struct op_target *ret_target)
{
    if (!op_read_target(request, request->kind, ret_target))
        return false;
    if (ret_target->have != NULL)
        return true;
    op_no(request, ANS_V_not_found, "no such %s", request->kind->word);
    return false;
}

/* True: If-Match fits the version; else answered. */
static bool check_match(struct op_request *request, const struct op_target *target, bool required)
{
    const struct cfg_doc *have = target->have;
    enum op_match match = op_if_match(request, have != NULL ? have->version : 0);

    if (have == NULL && match != OP_MATCH_NONE)
        op_no(request, ANS_V_precondition_failed, "there is no such %s to change",
              target->kind->word);
    else if (have != NULL && match == OP_MATCH_NONE && required)
        op_no(request, ANS_V_precondition_required,
              "the %s exists: send the version that you change in If-Match", target->kind->word);
    else
        return have == NULL || op_matches(request, have->version);
    return false;
}

/* --- Showing. --- */

/* The part's additions for this kind; never NULL. */
static const struct op_kind *added(const struct op_admin *admin, const struct cfg_kind *kind)
{
    static const struct op_kind nothing;

    for (const struct op_part *const *part = admin->parts; *part != NULL; part++)
        for (const struct op_kind *at = (*part)->kinds; at != NULL && at->kind != NULL; at++)
            if (at->kind == kind)
                return at;
    return &nothing;
}

json_t *op_document_json(const struct op_admin *admin, const struct cfg_doc *doc)
{
    const struct op_kind *kind = added(admin, doc->kind);
    json_t *json = cfg_doc_shown(doc);

    return ps_json_built(json,
                         json == NULL || (kind->show != NULL && kind->show(admin, doc, json) != 0));
}

void op_say_document(struct op_request *request, const struct cfg_kind *kind, const char *name)
{
    struct srv_request *http = request->http;
    const struct cfg_doc *doc = cfg_store_find(request->admin->deps.config, kind, name);

    if (doc == NULL) {
        op_no(request, ANS_V_not_found, "no such %s", kind->word);
        return;
    }
    op_etag(request, doc->version);
    if (request->created)
        srv_answer_header(http, "Location", http->path.at, http->path.len);
    op_json(request, request->created ? ANS_V_created : ANS_V_ok,
            op_document_json(request->admin, doc));
}

static void get_document(struct op_request *request)
{
    const struct op_kind *kind = added(request->admin, request->kind);
    struct op_target target;

    if (kind->get != NULL)
        kind->get(request);
    else if (op_query(request, NULL, 0) && op_read_target(request, request->kind, &target))
        op_say_document(request, target.kind, target.name);
}

void op_say_list(struct op_request *request, const char *after, int64_t limit,
                 op_doc_filter_fn *is_wanted, const void *filter)
{
    const struct cfg_kind *kind = request->kind;
    const struct cfg_store *store = request->admin->deps.config;
    json_t *list = kind->lists_names ? json_object() : json_array();
    const struct cfg_doc *doc = cfg_store_behind(store, kind, after), *last = NULL;
    int err = 0;

    for (; err == 0 && doc != NULL; doc = cfg_store_next(store, kind, doc)) {
        if (is_wanted != NULL && !is_wanted(request->admin, doc, filter))
            continue;
        if (limit-- == 0)
            break;
        json_t *json = op_document_json(request->admin, doc);
        err = kind->lists_names ? json_object_set_new(list, doc->name, json)
                                : json_array_append_new(list, json);
        last = doc;
    }
    const char *next = doc != NULL && last != NULL ? last->name : NULL;
    list = ps_json_built(list, err);
    op_json(request, ANS_V_ok,
            list != NULL ? json_pack("{s:o, s:s?}", kind->listed, list, "next", next) : NULL);
}

static void list_documents(struct op_request *request)
{
    const struct op_kind *kind = added(request->admin, request->kind);
    char after[PS_USER_MAX + 1];
    int64_t limit = OP_LIST_MAX;
    const struct op_param params[] = {
        {.name = "after", .text = after, .cap = sizeof after},
        {.name = "limit", .number = &limit, .min = 1, .max = OP_LIST_MAX}};

    if (kind->list != NULL)
        kind->list(request);
    else if (op_query(request, params, PS_ARRAY_LEN(params)))
        op_say_list(request, after, limit, NULL, NULL);
}

/* --- Answers to changes. --- */

static json_t *change_json(const struct op_admin *admin, const struct cfg_doc *from,
                           const struct cfg_doc *to)
{
    char name[CFG_NAME_MAX + 64];
    json_t *before = from != NULL ? cfg_doc_json(from) : NULL;
    json_t *after = to->json != NULL ? cfg_doc_json(to) : NULL;
    json_t *json;

    (void)snprintf(name, sizeof name, "%s/%s", to->kind->path, to->name);
    json = json_pack("{s:s, s:s, s:I, s:O?, s:o}", "document", name, "action",
                     from == NULL    ? "create"
                     : after == NULL ? "delete"
                                     : "change",
                     "version", (json_int_t)to->version, "result", after, "difference",
                     ps_json_difference(before, after));
    json_decref(before);
    json_decref(after);
    const struct op_kind *kind = added(admin, to->kind);
    return ps_json_built(json, json == NULL || (kind->show_change != NULL &&
                                                kind->show_change(admin, from, to, json) != 0));
}

int op_show_changes(const struct op_admin *admin, const struct cfg_change *change, json_t *json)
{
    json_t *changes = json_array();
    const struct cfg_doc *from, *to;
    int err = changes == NULL;

    for (size_t i = 0; err == 0 && (to = cfg_change_doc(change, i, &from)) != NULL; i++) {
        const struct op_kind *kind = added(admin, to->kind);
        if (to->kind->is_private)
            continue;
        err = json_array_append_new(changes, change_json(admin, from, to));
        if (err == 0 && kind->show_dry_run != NULL)
            err = kind->show_dry_run(admin, change, json);
    }
    return json_object_set_new(json, "changes", ps_json_built(changes, err)) | err;
}

void op_say_dry_run(struct op_request *request, struct op_change *change, int64_t tag)
{
    json_t *json = json_pack("{s:b}", "dry_run", 1);
    int err = json == NULL || op_show_changes(change->admin, change->change, json) != 0;

    op_change_free(change);
    if (tag > 0)
        op_etag(request, tag);
    op_json(request, ANS_V_ok, ps_json_built(json, err));
}

static void answer_document(struct op_request *request, struct op_change *change)
{
    op_say_document(request, change->kind, change->name);
}

/* Ends a prepared change: refuses it, shows a dry run, finds nothing to do, or submits it. */
static void go_on(struct op_request *request, struct op_change *change, int err,
                  enum cfg_refusal refusal, struct ps_faults *faults, bool dry_run)
{
    const struct cfg_doc *from, *to;

    if (err == 0)
        err = cfg_change_check(change->change, NULL, &refusal, faults);
    if (err < 0) {
        op_change_refuse(request, change, err, refusal, faults);
        return;
    }
    to = cfg_change_doc(change->change, 0, &from);
    if (dry_run) {
        const struct cfg_doc *have =
            cfg_store_find(request->admin->deps.config, change->kind, change->name);
        op_say_dry_run(request, change, have != NULL ? have->version : 0);
    } else if (to == NULL) { /* nothing changes */
        op_say_document(request, change->kind, change->name);
        op_change_free(change);
    } else {
        request->created = from == NULL;
        const struct op_kind *kind = added(change->admin, change->kind);
        change->answer = to->json == NULL       ? op_answer_empty
                         : kind->answer != NULL ? kind->answer
                                                : answer_document;
        op_change_submit(request, change);
    }
}

/* NULL: answered. */
struct op_change *op_document_change(struct op_request *request, const struct op_target *target,
                                     const char *action)
{
    char name[CFG_NAME_MAX + 64];

    (void)snprintf(name, sizeof name, "%s/%s", target->kind->path, target->name);
    struct op_change *change = op_change_new(request, action, name);
    if (change != NULL) {
        change->kind = target->kind;
        memcpy(change->name, target->name, sizeof change->name);
    }
    return change;
}

bool op_document_put(struct op_request *request, struct op_change *change, json_t *json)
{
    enum cfg_refusal refusal = CFG_MAY;
    struct ps_faults faults = {0};
    int err = json != NULL
                  ? cfg_change_put(
                        change->change,
                        &(struct cfg_put){.kind = change->kind, .name = change->name, .json = json},
                        &refusal, &faults)
                  : PS_E_NOMEM;

    json_decref(json);
    if (err < 0)
        op_change_refuse(request, change, err, refusal, &faults);
    return err == 0;
}

bool op_document_drop(struct op_request *request, struct op_change *change)
{
    enum cfg_refusal refusal = CFG_MAY;
    struct ps_faults faults = {0};
    int err = cfg_change_drop(change->change, change->kind, change->name, "", &refusal, &faults);

    if (err < 0)
        op_change_refuse(request, change, err, refusal, &faults);
    return err == 0;
}

void op_document_state(struct op_request *request, const struct op_target *target,
                       const char *action, json_t *state, json_t *from, json_t *to)
{
    struct op_change *change = op_document_change(request, target, action);
    int err = change != NULL && state != NULL
                  ? cfg_change_state(change->change, target->kind, target->name, state)
                  : PS_E_NOMEM;

    json_decref(state);
    if (err == 0) {
        cfg_change_line(change->change, change->target, from, to);
        change->answer = answer_document;
        op_change_submit(request, change);
        return;
    }
    json_decref(from);
    json_decref(to);
    if (change != NULL) {
        op_change_free(change);
        op_no(request, ANS_V_internal, "%s", ps_err_text(err));
    }
}

bool op_read_dry_run(struct op_request *request, bool *ret_dry_run)
{
    int64_t number = 0;
    const struct op_param param = {.name = "dry_run", .number = &number, .min = 0, .max = 1};

    if (!op_query(request, &param, 1))
        return false;
    *ret_dry_run = number == 1;
    return true;
}

/* --- Changing. --- */

/* Adds the document to the change, without its read-only members: with `lenient` whatever their
 * values, so that a saved document can be put back. */
static int put(struct op_change *change, const struct op_target *target, const json_t *json,
               bool lenient, enum cfg_refusal *ret_refusal, struct ps_faults *faults)
{
    json_t *shown =
        target->have != NULL ? op_document_json(change->admin, target->have) : json_object();
    json_t *copy = json_deep_copy(json);
    const struct cfg_doc *from;
    int err = copy != NULL && shown != NULL ? 0 : PS_E_NOMEM;

    *ret_refusal = CFG_MAY;
    if (err == 0 && target->kind->keeps_reason && change->why[0] != '\0')
        err = json_object_set_new(copy, "reason", json_string(change->why)) == 0 ? 0 : PS_E_NOMEM;
    if (err == 0 && lenient)
        cfg_drop_read_only(copy, target->kind);
    if (err == 0 && lenient && json_object_size(copy) == 0) { /* it has no other member */
        lenient = false;
        err = json_object_update(copy, (json_t *)(uintptr_t)json) == 0 ? 0 : PS_E_NOMEM;
    }
    if (err == 0) {
        cfg_take_read_only(copy, shown, target->kind, target->have == NULL, faults);
        err = cfg_change_put(
            change->change,
            &(struct cfg_put){.kind = target->kind, .name = target->name, .json = copy},
            ret_refusal, faults);
    }
    if (err == 0 && !lenient && cfg_change_doc(change->change, 0, &from) == NULL) {
        json_decref(copy);
        copy = json_deep_copy(json);
        cfg_take_read_only(copy, shown, target->kind, true, faults);
    }
    json_decref(copy);
    json_decref(shown);
    return err == 0 && faults->count > 0 ? PS_E_INVALID : err;
}

static void put_version(struct op_request *request, const struct op_target *target,
                        const json_t *json, const char *action, bool dry_run)
{
    struct op_change *change = op_document_change(request, target, action);
    struct ps_faults faults = {0};
    enum cfg_refusal refusal;

    if (change == NULL)
        return;
    bool lenient = request->http->method == SRV_PUT && op_matches_any(request);
    int err = put(change, target, json, lenient, &refusal, &faults);
    go_on(request, change, err, refusal, &faults, dry_run);
}

static void put_document(struct op_request *request)
{
    struct op_target target;
    bool dry_run;

    if (!op_read_dry_run(request, &dry_run) || !op_read_target(request, request->kind, &target) ||
        !check_match(request, &target, true))
        return;
    json_t *json = request->body != NULL ? json_incref(request->body) : json_object();
    put_version(request, &target, json, target.kind->put, dry_run);
    json_decref(json);
}

static void patch_document(struct op_request *request)
{
    struct op_target target;
    bool dry_run;

    if (!op_read_dry_run(request, &dry_run) || !read_there(request, &target) ||
        !check_match(request, &target, true))
        return;
    json_t *have = cfg_doc_json(target.have);
    json_t *json = have != NULL ? ps_json_merge(have, request->body) : NULL;
    if (json == NULL)
        op_no(request, ANS_V_internal, "out of memory");
    else
        put_version(request, &target, json, target.kind->put, dry_run);
    json_decref(have);
    json_decref(json);
}

static void drop_document(struct op_request *request, const struct op_target *target, bool dry_run)
{
    struct ps_faults faults = {0};
    struct op_change *change = op_document_change(request, target, target->kind->drop);

    if (change != NULL && op_document_drop(request, change))
        go_on(request, change, 0, CFG_MAY, &faults, dry_run);
}

static void delete_document(struct op_request *request)
{
    const struct op_kind *kind = added(request->admin, request->kind);
    struct op_target target;
    bool dry_run;

    if (!op_read_dry_run(request, &dry_run) || !op_only_reason(request) ||
        !read_there(request, &target) || !check_match(request, &target, true) ||
        (!dry_run && kind->before_delete != NULL && kind->before_delete(request)))
        return;
    drop_document(request, &target, dry_run);
}

void op_delete_discarded(struct op_request *request)
{
    struct op_target target;

    if (read_there(request, &target))
        drop_document(request, &target, false);
}

/* --- History. --- */

/* A read of control.db for a waiting request. */
struct look {
    struct op_admin *admin;
    uint64_t handle;
    bool rolls_back, dry_run;
};

static void roll_back(struct op_request *request, json_t *version, bool dry_run)
{
    const json_t *document = json_object_get(version, "document");
    struct op_target target;

    if (!op_read_target(request, request->kind, &target))
        return;
    if (!json_is_object(document)) {
        op_no(request, ANS_V_conflict, "version %lld is a deletion: delete the %s instead",
              (long long)json_integer_value(json_object_get(version, "version")),
              target.kind->word);
        return;
    }
    if (!check_match(request, &target, false)) /* it may have changed in the meantime */
        return;
    put_version(request, &target, document, target.kind->put, dry_run);
}

static void on_history(int err, json_t *history, const struct ps_fault *fault, void *ctx)
{
    struct look *look = ctx;
    struct op_request *request = op_find(look->admin, look->handle);
    struct op_admin *admin = look->admin;

    if (request == NULL)
        err = 0; /* the request has ended */
    else if (err == PS_E_NOT_FOUND)
        op_no(request, ANS_V_not_found, "no such version of this %s is kept", request->kind->word);
    else if (err < 0)
        op_no(request, ANS_V_control_unavailable, "%s",
              fault->text[0] != '\0' ? fault->text : ps_err_text(err));
    else if (look->rolls_back)
        roll_back(request, history, look->dry_run);
    else
        op_json(request, ANS_V_ok, json_incref(history));
    json_decref(history);
    free(look);
    op_release(admin);
}

/* Reads one version, or all (0). */
static void look_back(struct op_request *request, int64_t version, bool rolls_back, bool dry_run)
{
    struct op_admin *admin = request->admin;
    struct look *look = calloc(1, sizeof *look);
    struct op_target target;
    int err = PS_E_NOMEM;

    if (!op_read_target(request, request->kind, &target)) {
        free(look);
        return;
    }
    if (look != NULL) {
        *look = (struct look){admin, 0, rolls_back, dry_run};
        look->handle = op_wait(request, OP_WAIT_MS);
        err = cfg_store_history(admin->deps.config, target.kind, target.name, version, on_history,
                                look);
    }
    if (err == 0) {
        op_hold(admin);
        return;
    }
    free(look);
    op_no(request, ANS_V_control_unavailable, "%s", ps_err_text(err));
}

static void list_versions(struct op_request *request)
{
    look_back(request, 0, false, false);
}

static void get_version(struct op_request *request)
{
    char text[24];
    size_t len;
    char *end = text;
    long long version = 0;

    if (op_decode(request->arg[1], text, sizeof text, &len) == 0 && text[0] >= '1' &&
        text[0] <= '9')
        version = strtoll(text, &end, 10);
    if (version <= 0 || *end != '\0' || len > 16)
        op_no(request, ANS_V_not_found, "no such version");
    else
        look_back(request, version, false, false);
}

static void rollback(struct op_request *request)
{
    struct ps_json_reader reader;
    struct ps_fault fault = {0};
    struct op_target target;
    int64_t version = 0;
    bool dry_run;

    if (!op_read_dry_run(request, &dry_run) || !op_read_target(request, request->kind, &target) ||
        !check_match(request, &target, false))
        return;
    ps_json_reader_init(&reader, request->body, "", &fault);
    ps_json_require(&reader, (const char *const[]){"version", NULL});
    ps_json_int(&reader, "version", 1, PS_INT_MAX, &version);
    (void)ps_json_has(&reader, "reason");
    if (ps_json_done(&reader) < 0)
        op_fault(request, ANS_V_invalid, &fault);
    else
        look_back(request, version, true, dry_run);
}

/* --- The part. --- */

/* clang-format off */
const struct op_part op_documents_part = {
    .routes = (const struct op_route[]){
        {"/admin/v1/{kind}",                SRV_GET,    OP_ROLE_VIEWER,   OP_QUERY,                              list_documents},
        {"/admin/v1/{kind}/{}",             SRV_GET,    OP_ROLE_VIEWER,   OP_QUERY,                              get_document},
        {"/admin/v1/{kind}/{}",             SRV_PUT,    OP_ROLE_OPERATOR, OP_CHANGES | OP_NEEDS_BODY | OP_QUERY, put_document},
        {"/admin/v1/{kind}/{}",             SRV_PATCH,  OP_ROLE_OPERATOR, OP_CHANGES | OP_NEEDS_BODY | OP_QUERY, patch_document},
        {"/admin/v1/{kind}/{}",             SRV_DELETE, OP_ROLE_OPERATOR, OP_CHANGES | OP_QUERY,                 delete_document},
        {"/admin/v1/{kind}/{}/versions",    SRV_GET,    OP_ROLE_VIEWER,   0,                                     list_versions},
        {"/admin/v1/{kind}/{}/versions/{}", SRV_GET,    OP_ROLE_VIEWER,   0,                                     get_version},
        {"/admin/v1/{kind}/{}/rollback",    SRV_POST,   OP_ROLE_OPERATOR, OP_CHANGES | OP_NEEDS_BODY | OP_QUERY, rollback},
        {0}},
};
/* clang-format on */
