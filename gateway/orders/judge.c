/* See judge.h. */
#include "gateway/orders/judge.h"

int64_t ord_judge_patience_ms(const struct ord_request *request, int64_t now_ns)
{
    int64_t left_ms = CFG_LIMIT_WAIT_MAX_MS - (now_ns - request->arrived_ns) / PS_NS_PER_MS;

    if (ord_in_flight_held(request->in_flight) >= request->deps->held_max)
        return 0;
    return left_ms > 0 ? left_ms : 0;
}

void ord_judge_terms(struct ord_request *request, const struct snap_sale *sale)
{
    request->epoch = sale->epoch;
    request->cap = sale->cap;
    request->sku_cap = sale->skus[request->asked.sku_index].cap;
    request->sale_version = sale->version;
    request->rehearsal = sale->rehearsal;
}

struct inv_reservation ord_judge_reservation(const struct ord_request *request, int64_t ttl_ms)
{
    const struct adm_request *asked = &request->asked;

    return (struct inv_reservation){.order_id = request->order_id,
                                    .epoch = request->epoch,
                                    .user = asked->user,
                                    .key = asked->key,
                                    .sku = asked->sku_index,
                                    .quantity = asked->quantity,
                                    .cap = request->cap,
                                    .sku_cap = request->sku_cap,
                                    .ttl_ms = ttl_ms};
}

bool ord_judge_answer(const struct inv_answer *answer, enum ans_verdict *ret_verdict,
                      struct ans_problem_detail *ret_detail)
{
    switch (answer->result) {
    case INV_RESERVED:
        *ret_verdict = ANS_V_accepted;
        return true;
    case INV_SOLD_OUT:
        *ret_verdict = ANS_V_sold_out;
        if (answer->left > 0)
            ret_detail->text = "fewer are left than were asked for";
        return true;
    case INV_FENCED:
        *ret_verdict = ANS_V_fenced;
        return true;
    default:
        return false;
    }
}

/* Does the counter still have an order that the log has ended? It learns that in a moment; then the
 * buyer gets their units back or, if the order is void, their key. */
static bool is_ended(const struct oq_order *order, enum inv_result met)
{
    enum oq_state state = oq_order_state(order);

    return state == OQ_STATE_VOID || (met == INV_CAP && state == OQ_STATE_RELEASED);
}

bool ord_judge_met(const struct ord_request *request, const struct oq_order *order,
                   enum ans_verdict *ret_verdict)
{
    const struct adm_request *asked = &request->asked;
    const struct inv_answer *met = &request->met;
    /* the request asks for too many */
    bool none = ps_uuid_equal(&met->order_id, &(struct ps_uuid){0});
    bool one = request->cap == 1 || request->sku_cap == 1;

    if (order != NULL && is_ended(order, met->result))
        *ret_verdict = ANS_V_order_pending;
    else if (met->result == INV_MISMATCH)
        *ret_verdict = ANS_V_idempotency_mismatch;
    else if (met->result == INV_CAP && (asked->key.len > 0 || !one || none))
        *ret_verdict = ANS_V_user_limit;
    else if (order != NULL && oq_order_known(order))
        *ret_verdict =
            oq_order_sku(order) == asked->sku_index && oq_order_quantity(order) == asked->quantity
                ? ANS_V_replayed
                : ANS_V_user_limit;
    else
        return false;
    return true;
}

enum ans_verdict ord_judge_entry(const struct ord_request *request, int err,
                                 const struct inv_entry *entry)
{
    const struct ord_deps *deps = request->deps;
    const struct adm_request *asked = &request->asked;

    if (err < 0)
        return err == PS_E_NOT_FOUND ? ANS_V_order_pending : ANS_V_store_unavailable;
    if (entry->sku != asked->sku_index || entry->quantity != asked->quantity)
        return ANS_V_user_limit;
    /* by Redis's clock, which may differ from this one by hours */
    int64_t age_ms = ps_clock_wall_ms(deps->clock) - entry->reserved_at_ms;
    return request->met.result == INV_DUPLICATE && age_ms >= 0 && age_ms < deps->ack_timeout_ms
               ? ANS_V_idempotency_in_progress
               : ANS_V_replayed;
}
