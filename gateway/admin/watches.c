/* Watches: what this gateway has lately answered to buyers whom an operator looks at. They are
 * documents of the private kind `watches` (config/kinds/watch.h), so every gateway of a cluster
 * watches, and the audit log says who has asked for it; what is noted stays in memory. */
#include "gateway/admin/documents.h"
#include "gateway/admin/parts.h"
#include "gateway/config/kinds/watch.h"

static json_t *watch_json(const struct cfg_doc *doc)
{
    return json_pack("{s:s, s:o, s:o, s:s, s:s}", "user", doc->name, "since",
                     ps_json_of_time(doc->created_at_ms), "until",
                     ps_json_of_time(cfg_watch_of(doc)->until_ms), "by", doc->by.who, "reason",
                     doc->by.why);
}

static json_t *entry_json(const struct adm_watched *entry)
{
    const char *sale = entry->sale[0] != '\0' ? entry->sale : NULL;
    const char *rule = entry->rule[0] != '\0' ? entry->rule : NULL;

    return json_pack(
        "{s:I, s:o, s:s, s:s, s:s?, s:s, s:i, s:s?, s:s, s:I}", "seq", (json_int_t)entry->seq, "at",
        ps_json_of_time(entry->at_ms), "method", entry->method, "path", entry->path, "sale", sale,
        "verdict", ans_verdicts[entry->verdict].name, "status", entry->status, "rule", rule,
        "request_id", entry->request_id, "took_us", (json_int_t)(entry->took_ns / 1000));
}

/* The newest first. A watch that has just begun may not have reached the workers yet. */
static json_t *verdicts_json(const struct op_admin *admin, const char *user)
{
    const struct snapshot *snapshot = snap_view_last(admin->deps.view);
    struct adm_watch *watch = adm_watches_find(snapshot->watches, ps_str(user));
    struct adm_watched entries[ADM_WATCH_KEPT];
    size_t count = watch != NULL ? adm_watch_read(watch, entries) : 0;
    json_t *list = json_array();
    int err = list == NULL;

    for (size_t i = 0; err == 0 && i < count; i++)
        err = json_array_append_new(list, entry_json(&entries[i]));
    return ps_json_built(list, err);
}

static void say_watch(struct op_request *request, const char *user)
{
    const struct op_admin *admin = request->admin;
    const struct cfg_doc *doc = cfg_store_find(admin->deps.config, &cfg_kind_watch, user);

    if (doc == NULL) {
        op_no(request, ANS_V_not_found, "nobody watches this user");
        return;
    }
    json_t *json = watch_json(doc);
    int err = json == NULL ||
              json_object_set_new(json, "gateway", json_string(admin->deps.gateway_id)) != 0 ||
              json_object_set_new(json, "verdicts", verdicts_json(admin, user)) != 0;
    if (request->created)
        srv_answer_header(request->http, "Location", request->http->path.at,
                          request->http->path.len);
    op_json(request, request->created ? ANS_V_created : ANS_V_ok, ps_json_built(json, err));
}

static void list_watches(struct op_request *request)
{
    const struct cfg_doc *doc = NULL;
    json_t *list = json_array();
    int err = list == NULL;

    while (err == 0 && (doc = cfg_store_next(request->admin->deps.config, &cfg_kind_watch, doc)))
        err = json_array_append_new(list, watch_json(doc));
    list = ps_json_built(list, err);
    op_json(request, ANS_V_ok, list != NULL ? json_pack("{s:o}", "watches", list) : NULL);
}

static void get_watch(struct op_request *request)
{
    struct op_target target;

    if (op_read_target(request, &cfg_kind_watch, &target))
        say_watch(request, target.name);
}

static void answer_watch(struct op_request *request, struct op_change *change)
{
    say_watch(request, change->name);
}

static void put_watch(struct op_request *request)
{
    int64_t now_ms = ps_clock_wall_ms(request->admin->deps.clock);
    struct ps_faults faults = {0};
    struct op_target target;
    struct cfg_watch watch;

    if (!op_read_target(request, &cfg_kind_watch, &target))
        return;
    if (cfg_watch_ask(request->body, now_ms, &watch, &faults) < 0) {
        op_faults(request, ANS_V_invalid, &faults);
        return;
    }
    struct op_change *change = op_document_change(request, &target, cfg_kind_watch.put);
    if (change == NULL || !op_document_put(request, change, cfg_watch_write(&watch)))
        return;
    const struct cfg_doc *from;
    if (cfg_change_doc(change->change, 0, &from) == NULL) { /* it is so already */
        say_watch(request, target.name);
        op_change_free(change);
        return;
    }
    request->created = from == NULL;
    change->answer = answer_watch;
    op_change_submit(request, change);
}

static void delete_watch(struct op_request *request)
{
    struct ps_faults faults = {0};
    enum cfg_refusal refusal;
    struct op_target target;

    if (!op_read_target(request, &cfg_kind_watch, &target) || !op_only_reason(request))
        return;
    if (target.have == NULL) {
        op_no(request, ANS_V_not_found, "nobody watches this user");
        return;
    }
    struct op_change *change = op_document_change(request, &target, cfg_kind_watch.drop);
    if (change == NULL)
        return;
    int err = cfg_change_drop(change->change, target.kind, target.name, "", &refusal, &faults);
    if (err < 0) {
        op_change_refuse(request, change, err, refusal, &faults);
        return;
    }
    change->answer = op_answer_empty;
    op_change_submit(request, change);
}

/* --- What it brings. --- */

/* clang-format off */
const struct op_part op_watches_part = {
    .routes = (const struct op_route[]){
        {"/admin/v1/watches",    SRV_GET,    OP_ROLE_VIEWER,   0,                          list_watches},
        {"/admin/v1/watches/{}", SRV_GET,    OP_ROLE_VIEWER,   0,                          get_watch},
        {"/admin/v1/watches/{}", SRV_PUT,    OP_ROLE_OPERATOR, OP_CHANGES | OP_NEEDS_BODY, put_watch},
        {"/admin/v1/watches/{}", SRV_DELETE, OP_ROLE_OPERATOR, OP_CHANGES,                 delete_watch},
        {0}},
};
/* clang-format on */
