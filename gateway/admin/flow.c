/* How much is under way to the order log and to Redis, and operators' limits in place of those that
 * are measured. An order is in the audit log first, then in force, then answered; it ends by
 * itself, and with the process. */
#include "gateway/admin/parts.h"

#include "gateway/orders/flow.h"

#include <stdio.h>

static json_t *milliseconds(int64_t ns)
{
    return ns > 0 ? json_real((double)ns / (double)PS_NS_PER_MS) : json_null();
}

/* `view`: there is such a target. */
static json_t *target_json(const struct op_deps *deps, enum gw_flow target,
                           const struct ord_flow_view *view)
{
    json_int_t refused = ps_metric_read(deps->metrics, GW_M_FLOW_REFUSED, target);

    return json_pack("{s:s, s:I, s:I, s:I, s:o, s:o, s:o}", "name", gw_flow_names[target], "limit",
                     (json_int_t)view->limit, "in_flight", (json_int_t)view->in_flight, "refused",
                     refused, "latency_ms", milliseconds(view->median_ns), "aim_ms",
                     milliseconds(view->aim_ns), "pin",
                     cfg_pin_write(ord_flow_pinned(deps->flow, target), &ord_flow_pin_words));
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

/* False: answered. */
static bool read_flow_target(struct op_request *request, enum gw_flow *ret_target,
                             struct ord_flow_view *ret_view)
{
    const struct ord_flow *flow = request->admin->deps.flow;

    for (size_t i = 0; i < GW_FLOW_COUNT; i++)
        if (ps_str_is(request->arg[0], gw_flow_names[i]) &&
            ord_flow_view(flow, (enum gw_flow)i, ret_view)) {
            *ret_target = (enum gw_flow)i;
            return true;
        }
    op_no(request, ANS_V_not_found,
          "no such target here: log is the order log, store a counter in Redis");
    return false;
}

static void say_target(struct op_request *request)
{
    struct ord_flow_view view;
    enum gw_flow target;

    if (read_flow_target(request, &target, &view))
        op_json(request, ANS_V_ok, target_json(&request->admin->deps, target, &view));
}

static void end_order(struct op_change *change, bool written)
{
    ord_flow_end_change(change->admin->deps.flow, written);
}

static void answer_order(struct op_request *request, struct op_change *change)
{
    (void)change;
    say_target(request);
}

/* `pin` NULL: unpins. */
static void order(struct op_request *request, enum gw_flow target, const struct cfg_pin *pin,
                  int64_t end_ns)
{
    struct ord_flow *flow = request->admin->deps.flow;
    char name[PS_NAME_MAX];

    (void)snprintf(name, sizeof name, "flow/%s", gw_flow_names[target]);
    struct op_change *change =
        op_change_new(request, pin != NULL ? "flow.pin" : "flow.unpin", name);
    if (change == NULL)
        return;
    ord_flow_prepare(flow, target, pin, end_ns);
    cfg_change_line(change->change, name,
                    cfg_pin_write(ord_flow_pinned(flow, target), &ord_flow_pin_words),
                    cfg_pin_write(pin, &ord_flow_pin_words));
    change->end = end_order;
    change->answer = answer_order;
    op_change_submit(request, change);
}

static void pin_flow(struct op_request *request)
{
    const struct ps_clock *clock = request->admin->deps.clock;
    int64_t now_ms = ps_clock_wall_ms(clock);
    struct ord_flow_view view;
    enum gw_flow target;
    struct cfg_pin pin;

    if (read_flow_target(request, &target, &view) &&
        op_read_pin(request, &ord_flow_pin_words, now_ms, &pin))
        order(request, target, &pin,
              ps_clock_mono_ns(clock) + (pin.until_ms - now_ms) * PS_NS_PER_MS);
}

static void unpin_flow(struct op_request *request)
{
    struct ord_flow_view view;
    enum gw_flow target;

    if (!read_flow_target(request, &target, &view) || !op_only_reason(request))
        return;
    if (ord_flow_pinned(request->admin->deps.flow, target) == NULL)
        say_target(request);
    else
        order(request, target, NULL, 0);
}

/* --- What it brings. --- */

/* clang-format off */
const struct op_part op_flow_part = {
    .routes = (const struct op_route[]){
        {"/admin/v1/flow",          SRV_GET,  OP_ROLE_VIEWER,   0,                          list_flow},
        {"/admin/v1/flow/{}/pin",   SRV_POST, OP_ROLE_OPERATOR, OP_CHANGES | OP_NEEDS_BODY, pin_flow},
        {"/admin/v1/flow/{}/unpin", SRV_POST, OP_ROLE_OPERATOR, OP_CHANGES,                 unpin_flow},
        {0}},
};
/* clang-format on */
