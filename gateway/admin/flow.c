/* Shows how many calls to the order log and to Redis are in progress, and the limits; overrides.c
 * sets the limits. */
#include "gateway/admin/parts.h"

#include "gateway/orders/flow.h"

static json_t *milliseconds(int64_t ns)
{
    return ns > 0 ? json_real((double)ns / (double)PS_NS_PER_MS) : json_null();
}

/* `view`: valid if this gateway has the target. */
static json_t *target_json(const struct op_deps *deps, enum gw_flow target,
                           const struct ord_flow_view *view)
{
    json_int_t refused = ps_metric_read(deps->metrics, GW_M_FLOW_REFUSED, target);
    uint32_t calls = deps->flow->overrides[target];

    return json_pack("{s:s, s:I, s:I, s:I, s:o, s:o, s:o}", "name", gw_flow_names[target], "limit",
                     (json_int_t)view->limit, "in_flight", (json_int_t)view->in_flight, "refused",
                     refused, "latency_ms", milliseconds(view->median_ns), "aim_ms",
                     milliseconds(view->aim_ns), "override",
                     calls != 0 ? json_integer((json_int_t)calls) : json_null());
}

static void list_flow(struct op_request *request)
{
    const struct op_deps *deps = &request->admin->deps;
    json_t *list = json_array();
    int err = 0;

    for (size_t i = 0; err == 0 && i < GW_FLOW_COUNT; i++) {
        struct ord_flow_view view;
        if (ord_flow_view(deps->flow, (enum gw_flow)i, &view))
            err = json_array_append_new(list, target_json(deps, (enum gw_flow)i, &view));
    }
    op_json(request, ANS_V_ok, json_pack("{s:o}", "flow", ps_json_built(list, err)));
}

const struct op_part op_flow_part = {
    .routes =
        (const struct op_route[]){{"/admin/v1/flow", SRV_GET, OP_ROLE_VIEWER, 0, list_flow}, {0}},
};
