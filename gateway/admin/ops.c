/* Operation: probes, settings, and the end of the process. */
#include "gateway/admin/ops.h"

#include "gateway/admin/parts.h"
#include "gateway/cluster/cluster.h"

/* --- Probes. --- */

static void send_probe(struct op_request *request, enum ans_verdict verdict, struct ps_str text)
{
    srv_answer_header(request->http, "Cache-Control", "no-store", sizeof "no-store" - 1);
    srv_answer(request->http, ans_verdicts[verdict].status, "text/plain; charset=utf-8", text,
               false);
}

static void livez(struct op_request *request)
{
    send_probe(request, ANS_V_ok, PS_STR("ok\n"));
}

static void readyz(struct op_request *request)
{
    struct ps_buf body = srv_answer_body(request->http);
    struct ans_readiness readiness;
    bool verbose = false;

    if (!op_query(request, &(struct op_param){.name = "verbose", .flag = &verbose}, 1))
        return;
    request->admin->deps.readiness(request->admin->deps.ctx, &readiness);
    ans_readiness_print(&body, &readiness, verbose ? PS_STR("verbose") : PS_STR(""), true);
    send_probe(request, ans_readiness_verdict(&readiness), (struct ps_str){body.at, body.len});
}

/* --- Settings. --- */

static void get_settings(struct op_request *request)
{
    const struct op_deps *deps = &request->admin->deps;

    op_json(request, ANS_V_ok,
            json_pack("{s:s, s:s, s:o, s:o}", "version", PENSTOCK_VERSION, "gateway",
                      deps->gateway_id, "started_at", ps_json_of_time(deps->started_ms), "settings",
                      deps->settings(deps->ctx)));
}

/* --- Gateways. --- */

bool op_gateway_at(const struct op_admin *admin, size_t index, json_t **ret_json)
{
    const struct op_deps *deps = &admin->deps;
    struct clu_other other;

    if (index == 0) {
        *ret_json = json_pack("{s:s, s:b, s:b, s:b, s:n}", "gateway", deps->gateway_id, "this", 1,
                              "alive", 1, "leads", clu_leads(deps->cluster), "heartbeat_age_ms");
        return true;
    }
    if (!clu_other_at(deps->cluster, index - 1, &other))
        return false;
    *ret_json = json_pack("{s:s, s:b, s:b, s:o, s:I}", "gateway", other.name, "this", 0, "alive",
                          other.alive, "leads",
                          other.leads_is_known ? json_boolean(other.leads) : json_null(),
                          "heartbeat_age_ms", (json_int_t)other.age_ms);
    return true;
}

static void list_gateways(struct op_request *request)
{
    json_t *list = json_array(), *gateway;
    int err = 0;

    for (size_t i = 0; err == 0 && op_gateway_at(request->admin, i, &gateway); i++)
        err = json_array_append_new(list, gateway);
    list = ps_json_built(list, err);
    op_json(request, ANS_V_ok, list != NULL ? json_pack("{s:o}", "gateways", list) : NULL);
}

/* --- The end. --- */

static void answer_drain(struct op_request *request, struct op_change *change)
{
    (void)change;
    op_json(request, ANS_V_accepted, json_pack("{s:b}", "draining", 1));
}

static void end_drain(struct op_change *change, bool written)
{
    if (written)
        change->admin->deps.drain(change->admin->deps.ctx);
}

static void begin_drain(struct op_request *request)
{
    struct op_change *change;

    if (!op_only_reason(request))
        return;
    change = op_change_new(request, "drain", "gateway");
    if (change == NULL)
        return;
    change->end = end_drain;
    change->answer = answer_drain;
    cfg_change_line(change->change, "gateway", NULL, NULL);
    op_change_submit(request, change);
}

/* --- The part. --- */

/* clang-format off */
const struct op_part op_ops_part = {
    .routes = (const struct op_route[]){
        {"/livez",              SRV_GET,    OP_ROLE_VIEWER, OP_OPEN,                    livez},
        {"/readyz",             SRV_GET,    OP_ROLE_VIEWER, OP_OPEN | OP_QUERY,         readyz},
        {"/admin/v1/settings",  SRV_GET,    OP_ROLE_VIEWER, 0,                          get_settings},
        {"/admin/v1/gateways",  SRV_GET,    OP_ROLE_VIEWER, 0,                          list_gateways},
        {"/admin/v1/drain",     SRV_POST,   OP_ROLE_ADMIN,  OP_CHANGES,                 begin_drain},
        {0}},
};
/* clang-format on */
