/* See look.h. */
#include "gateway/orders/look.h"

#include "gateway/orders/judge.h"

static void end_look(struct ord_look *look, enum ans_verdict verdict,
                     const struct ans_problem_detail *detail)
{
    bool has = ans_verdicts[verdict].status < 400;

    adm_look_note(look->look, &(struct adm_note){.gate = "counter",
                                                 .step = verdict == ANS_V_accepted ? ADM_GATE_PASS
                                                         : has                     ? ADM_GATE_REPLAY
                                                                                   : ADM_GATE_DENY,
                                                 .verdict = verdict,
                                                 .detail = detail,
                                                 .left = look->left});
    look->on_verdict(look, verdict);
}

static void on_look_entry(uint64_t handle, int err, const struct inv_entry *entry, void *ctx)
{
    struct ord_look *look = ctx;

    (void)handle;
    end_look(look, ord_judge_entry(&look->request, err, entry), NULL);
}

/* The counter knows this buyer. */
static void look_at_repeat(struct ord_look *look)
{
    struct ord_request *request = &look->request;
    const struct ord_deps *deps = request->deps;
    const struct ps_uuid *id = &request->met.order_id;
    enum ans_verdict verdict;
    struct inv_entry entry;

    if (ord_judge_met(request, oq_fold_order(deps->gates->fold, id), &verdict)) {
        end_look(look, verdict, NULL);
        return;
    }
    int result = inv_store_find(
        deps->store, look->counter, id,
        (struct inv_reply_to){.on_entry = on_look_entry, .ctx = look, .ret_entry = &entry});
    if (result != INV_PENDING)
        on_look_entry(0, result, &entry, look);
}

static void on_judged(uint64_t handle, int err, const struct inv_answer *answer, void *ctx)
{
    struct ord_look *look = ctx;
    struct ans_problem_detail detail = {0};
    enum ans_verdict verdict;

    (void)handle;
    if (err < 0) {
        end_look(look, ANS_V_store_unavailable, NULL);
        return;
    }
    look->request.met = *answer;
    look->left = answer->result == INV_FENCED ? -1 : answer->left;
    if (ord_judge_answer(answer, &verdict, &detail))
        end_look(look, verdict, &detail);
    else
        look_at_repeat(look);
}

/* The counter is made at the opening, with the units of the document; nobody has any of them. */
static void judge_at_opening(struct ord_look *look, const struct snap_sale *sale)
{
    static const struct ans_problem_detail planned = {
        .text = "as planned: the sale has not opened yet"};
    const struct ord_request *request = &look->request;
    int64_t quantity = request->asked.quantity;
    enum ans_verdict verdict = ANS_V_accepted;

    look->left = sale->skus[request->asked.sku_index].stock;
    if (quantity > request->cap || (request->sku_cap > 0 && quantity > request->sku_cap))
        verdict = ANS_V_user_limit;
    else if (quantity > look->left)
        verdict = ANS_V_sold_out;
    end_look(look, verdict, verdict == ANS_V_accepted ? &planned : NULL);
}

/* It is asked about a moment of the sale that is still to come, and nothing has opened the sale. */
static bool is_before_opening(const struct ord_look *look, const struct snap_sale *sale)
{
    int64_t now_ms = ps_clock_wall_ms(look->request.deps->clock);

    return sale->counter == NULL && !sale->unserved && now_ms < sale->opens_at_ms &&
           look->wall_ms >= sale->opens_at_ms;
}

void ord_buy_look(struct ord_look *look, const struct snap_sale *sale)
{
    struct ord_request *request = &look->request;
    struct adm_admission admission = {.gates = request->deps->gates,
                                      .request = &request->asked,
                                      .sale = sale,
                                      .now_ns = request->now_ns,
                                      .wall_ms = look->wall_ms,
                                      .patience_ms =
                                          ord_judge_patience_ms(request, request->now_ns),
                                      .look = look->look};
    struct inv_answer answer;

    look->left = -1;
    look->look->before_opening = is_before_opening(look, sale);
    switch (adm_admit_look(&admission)) {
    case ADM_GATE_DENY:
        look->on_verdict(look, admission.verdict);
        return;
    case ADM_GATE_REPLAY:
        look->on_verdict(look, ANS_V_replayed);
        return;
    default:
        break;
    }
    look->counter = sale->counter;
    ord_judge_terms(request, sale);
    if (look->look->before_opening) {
        judge_at_opening(look, sale);
        return;
    }
    struct inv_reservation reservation = ord_judge_reservation(request, sale->ttl_ms);
    int result = inv_store_judge(
        request->deps->store, sale->counter, &reservation,
        (struct inv_reply_to){.on_answer = on_judged, .ctx = look, .ret_answer = &answer});
    if (result != INV_PENDING)
        on_judged(0, result, &answer, look);
}
