/* Buying. The gates say who may try; the counter decides atomically; the log makes it an order; and
 * the answer says what the log shows:
 *
 *   gates -> reserve -> append -> (suspended until the log has spoken) -> 202 accepted
 *
 * A counter in Redis answers later, too: the request is suspended before it is asked, and what the
 * order was reserved under (epoch, caps) is kept, because the policy may be exchanged meanwhile.
 * This worker then also tells the counter what the log has decided of its orders.
 *
 * Every step knows what it owes if it does not get further: an append that was refused gives the
 * units back at once; an append whose outcome is unknown gives nothing back, because only a record
 * may (the answer is 202 pending, "perhaps"); an answer that comes after its request's deadline
 * finds nobody and is counted. A repeat of an order is answered with the order as it is now. */
#include "gateway/orders/buy.h"

#include "common/log.h"
#include "gateway/admission/admit.h"
#include "common/trace.h"
#include "gateway/orders/order_events.h"
#include "gateway/orders/order_id.h"

#include <string.h>

static void say_no(struct ord_request *visit, enum ans_verdict verdict,
                   struct ans_problem_detail *detail)
{
    detail->seed = visit->user_hash;
    detail->limit = visit->limit;
    gw_worker_count(visit->worker, verdict);
    ans_problem_answer(visit->request, verdict, detail);
}

static void say_plain_no(struct ord_request *visit, enum ans_verdict verdict)
{
    struct ans_problem_detail detail = {0};
    say_no(visit, verdict, &detail);
}

/* 202 with the order; `replayed` marks an order that an earlier request has made. */
static void say_order(struct ord_request *visit, const struct ord_order_text *order, bool replayed,
                      enum ans_verdict verdict)
{
    struct srv_request *request = visit->request;
    struct ps_buf body = srv_answer_body(request);
    char location[sizeof "/v1/orders/" + PS_UUID_LEN] = "/v1/orders/";

    ps_uuid_format(&order->id, location + sizeof "/v1/orders/" - 1);
    srv_answer_header(request, "Location", location, sizeof location - 1);
    srv_answer_header(request, "Cache-Control", "no-store", sizeof "no-store" - 1);
    if (replayed)
        srv_answer_header(request, "Idempotency-Replayed", "true", sizeof "true" - 1);
    ans_limit_headers(request, &visit->limit);
    ord_order_put(&body, order);
    ps_buf_puts(&body, "}");
    gw_worker_count(visit->worker, verdict);
    srv_answer(request, ans_verdicts[verdict].status, "application/json",
               (struct ps_str){body.at, body.len}, false);
}

static struct ord_order_text text_of_visit(const struct ord_request *visit,
                                           char sale[PS_NAME_MAX + 1], const char *state)
{
    memcpy(sale, visit->sale_name.at, visit->sale_name.len);
    sale[visit->sale_name.len] = 0;
    return (struct ord_order_text){.id = visit->order_id,
                                   .sale = sale,
                                   .sku = visit->sku,
                                   .quantity = visit->quantity,
                                   .state = state,
                                   .reason = "",
                                   .reserved_at_ms = visit->reserved_at_ms,
                                   .pay_by_ms = visit->pay_by_ms,
                                   .key = visit->key};
}

static void say_own(struct ord_request *visit, const char *state, enum ans_verdict verdict)
{
    char sale[PS_NAME_MAX + 1];
    struct ord_order_text text = text_of_visit(visit, sale, state);
    struct gw_worker *worker = visit->worker;

    ps_metric_observe_ns(worker->shard, GW_M_BUY_SECONDS,
                         ps_clock_mono_ns(worker->core->clock) - visit->request->arrived_ns);
    say_order(visit, &text, false, verdict);
}

static void say_replay(struct ord_request *visit, const struct oq_order *order)
{
    struct ord_order_text text = ord_order_text_of(order);
    say_order(visit, &text, true, ANS_V_replayed);
}

/* --- an order that the counter knows and the log does not show yet --- */

static bool same_payload(const struct ord_request *visit, const struct inv_entry *entry)
{
    return entry->sku == visit->sku_index && entry->quantity == visit->quantity;
}

static void say_in_doubt(struct ord_request *visit, const struct ps_uuid *id,
                         const struct inv_entry *entry)
{
    char sale[PS_NAME_MAX + 1];
    struct ord_order_text text = text_of_visit(visit, sale, "pending");

    text.id = *id;
    text.reserved_at_ms = entry->reserved_at_ms;
    text.pay_by_ms = entry->pay_by_ms;
    text.key = (struct ps_str){entry->key, entry->key_len};
    say_order(visit, &text, true, ANS_V_replayed);
}

static void say_user_limit(struct ord_request *visit, const struct ps_uuid *id)
{
    char text[PS_UUID_LEN + 1];
    struct ans_problem_detail detail = {.order_id = {text, PS_UUID_LEN}};

    ps_uuid_format(id, text);
    if (ps_uuid_equal(id, &(struct ps_uuid){0}))
        detail.order_id = (struct ps_str){0};
    say_no(visit, ANS_V_user_limit, &detail);
}

/* The counter's own entry of the order that was met: in doubt, or decided this very moment. */
static void answer_entry(struct ord_request *visit, int err, const struct inv_entry *entry)
{
    const struct gw_core *core = visit->worker->core;
    const struct ps_uuid *id = &visit->repeat.order_id;

    if (err < 0) {
        say_plain_no(visit, err == PS_E_NOT_FOUND ? ANS_V_order_pending : ANS_V_store_unavailable);
        return;
    }
    if (!same_payload(visit, entry)) {
        say_user_limit(visit, id);
        return;
    }
    /* Of Redis's clock, which may be hours from this one. */
    int64_t age_ms = ps_clock_wall_ms(core->clock) - entry->reserved_at_ms;
    if (visit->repeat.result == INV_DUPLICATE && age_ms >= 0 &&
        age_ms < core->settings->log.ack_timeout_ms)
        say_plain_no(visit, ANS_V_idempotency_in_progress);
    else
        say_in_doubt(visit, id, entry);
}

static void on_entry(uint64_t handle, int err, const struct inv_entry *entry, void *worker)
{
    struct ord_request *visit = ord_request_find(worker, handle);

    if (visit != NULL)
        answer_entry(visit, err, entry);
}

/* Does the counter go by an order that the log has ended? It hears of that in a moment: then the
 * buyer has his units again, or (void) his key. */
static bool is_ended(const struct oq_order *order, enum inv_result met)
{
    enum oq_state state = oq_order_state(order);

    return state == OQ_STATE_VOID || (met == INV_CAP && state == OQ_STATE_RELEASED);
}

/* The counter has met this buyer before: his key, or his cap. The fold is asked again, because it
 * may have learnt of the order since the replay gate. */
static void answer_repeat(struct ord_request *visit, const struct cfg_sale *sale,
                          const struct inv_answer *answer)
{
    struct gw_worker *worker = visit->worker;
    const struct oq_order *order = oq_fold_order(worker->core->fold, &answer->order_id);
    bool none = ps_uuid_equal(&answer->order_id, &(struct ps_uuid){0}); /* asks for too much */
    bool one = visit->cap == 1 || visit->sku_cap == 1;
    struct inv_entry entry;

    if (order != NULL && is_ended(order, answer->result)) {
        say_plain_no(visit, ANS_V_order_pending);
        return;
    }
    if (answer->result == INV_MISMATCH) {
        say_plain_no(visit, ANS_V_idempotency_mismatch);
        return;
    }
    if (answer->result == INV_CAP && (visit->key.len > 0 || !one || none)) {
        say_user_limit(visit, &answer->order_id);
        return;
    }
    if (order != NULL && order->known) {
        if (order->sku == visit->sku_index && order->quantity == visit->quantity)
            say_replay(visit, order);
        else
            say_user_limit(visit, &answer->order_id);
        return;
    }
    visit->repeat = *answer;
    int result = inv_store_find(worker->store, sale->counter, &visit->repeat.order_id, on_entry,
                                worker, visit->handle, &entry);
    if (result != INV_PENDING)
        answer_entry(visit, result, &entry);
}

/* --- reserve and append --- */

static struct oq_event accepted_event(const struct ord_request *visit, int64_t wall_ms)
{
    struct ps_str trace = visit->request->header[SRV_H_TRACEPARENT];

    return (struct oq_event){.type = OQ_ACCEPTED,
                             .rehearsal = visit->rehearsal,
                             .has_order_id = true,
                             .order_id = visit->order_id,
                             .sale = visit->sale_name,
                             .epoch = visit->epoch,
                             .at_ms = wall_ms,
                             .sku = {visit->sku, strlen(visit->sku)},
                             .quantity = visit->quantity,
                             .user = visit->client.user,
                             .key = visit->key,
                             .reserved_at_ms = visit->reserved_at_ms,
                             .pay_by_ms = visit->pay_by_ms,
                             .cap = visit->cap,
                             .sku_cap = visit->sku_cap,
                             .sale_version = visit->sale_version,
                             .traceparent = trace};
}

static void append(struct ord_request *visit, const struct cfg_sale *sale, int64_t now_ns,
                   int64_t wall_ms)
{
    struct gw_worker *worker = visit->worker;
    char trace[PS_TRACE_LEN + 1];
    struct oq_event event = accepted_event(visit, wall_ms);
    struct oq_ticket ticket = {.owner = worker->index};
    int err;

    event.traceparent = ps_trace_next(event.traceparent, &worker->ids, wall_ms, trace);
    ticket.handle =
        ord_request_suspend(visit); /* before the append: its outcome may come at once */
    gw_worker_await_log(worker, visit, now_ns);
    err = oq_log_append(worker->core->log, &event, &ticket);
    if (err == 0)
        return;
    gw_worker_awaited(worker, visit);
    inv_store_settle(worker->store, sale->counter, &visit->order_id,
                     INV_VOID); /* surely not submitted */
    say_plain_no(visit, err == PS_E_FULL ? ANS_V_log_backlog : ANS_V_log_unavailable);
}

static void take_answer(struct ord_request *visit, const struct cfg_sale *sale, int err,
                        const struct inv_answer *answer, int64_t now_ns, int64_t wall_ms)
{
    struct ans_problem_detail detail = {0};

    if (err < 0) {
        say_plain_no(visit, ANS_V_store_unavailable);
        return;
    }
    switch (answer->result) {
    case INV_RESERVED:
        visit->reserved_at_ms = answer->reserved_at_ms;
        visit->pay_by_ms = answer->pay_by_ms;
        append(visit, sale, now_ns, wall_ms);
        break;
    case INV_SOLD_OUT:
        if (answer->left > 0)
            detail.text = "fewer are left than were asked for";
        say_no(visit, ANS_V_sold_out, &detail);
        break;
    case INV_FENCED:
        say_plain_no(visit, ANS_V_fenced);
        break;
    case INV_CAP:
    case INV_DUPLICATE:
    case INV_MISMATCH:
        answer_repeat(visit, sale, answer);
        break;
    }
}

/* A reservation that nobody waits for any more stays in doubt and is closed like any other. */
static void on_reserved(uint64_t handle, int err, const struct inv_answer *answer, void *ctx)
{
    struct gw_worker *worker = ctx;
    struct ord_request *visit = ord_request_find(worker, handle);
    const struct cfg_sale *sale = visit != NULL ? ord_request_sale(visit) : NULL;

    if (visit == NULL)
        ps_metric_add(worker->shard, GW_M_STALE_MAIL, 0, 1);
    else if (sale == NULL || sale->counter == NULL)
        say_plain_no(visit, ANS_V_not_found); /* deleted meanwhile */
    else
        take_answer(visit, sale, err, answer, ps_clock_mono_ns(worker->core->clock),
                    ps_clock_wall_ms(worker->core->clock));
}

static void reserve(struct ord_request *visit, const struct cfg_sale *sale, int64_t now_ns,
                    int64_t wall_ms)
{
    struct gw_worker *worker = visit->worker;
    uint64_t handle = worker->core->redis != NULL ? ord_request_suspend(visit) : 0;
    struct inv_answer answer;

    ord_order_id_next(&worker->ids, wall_ms, sale->name, &visit->order_id);
    visit->epoch = sale->epoch;
    visit->cap = sale->cap;
    visit->sku_cap = sale->skus[visit->sku_index].cap;
    visit->sale_version = sale->version;
    visit->rehearsal = sale->rehearsal;
    struct inv_reservation reservation = {.order_id = visit->order_id,
                                          .epoch = visit->epoch,
                                          .user = visit->client.user,
                                          .key = visit->key,
                                          .sku = visit->sku_index,
                                          .quantity = visit->quantity,
                                          .cap = visit->cap,
                                          .sku_cap = visit->sku_cap,
                                          .ttl_ms = sale->ttl_ms};
    int result = inv_store_reserve(worker->store, sale->counter, &reservation, on_reserved, worker,
                                   handle, &answer);
    if (result != INV_PENDING)
        take_answer(visit, sale, result, &answer, now_ns, wall_ms);
}

/* --- the way through --- */

static void hold(struct ord_request *visit, const struct adm_admission *admission)
{
    if (gw_worker_hold(visit->worker, ord_request_suspend(visit), admission->until_ns,
                       admission->now_ns) < 0)
        say_plain_no(visit, ANS_V_shed);
}

/* For how long it may still be held. The waits under several rules add up, and a proxy's patience
 * began when the request arrived. */
static int64_t patience_ms(const struct ord_request *visit, int64_t now_ns)
{
    const struct gw_worker *worker = visit->worker;
    int64_t left_ms = CFG_LIMIT_WAIT_MAX_MS - (now_ns - visit->request->arrived_ns) / PS_NS_PER_MS;

    if (ps_heap_count(worker->waiting) >= (size_t)worker->core->settings->http.waiting)
        return 0;
    return left_ms > 0 ? left_ms : 0;
}

static void go(struct ord_request *visit, const struct cfg_sale *sale)
{
    struct gw_worker *worker = visit->worker;
    struct adm_admission admission = {.visit = visit,
                                      .sale = sale,
                                      .now_ns = ps_clock_mono_ns(worker->core->clock),
                                      .wall_ms = ps_clock_wall_ms(worker->core->clock)};

    admission.patience_ms = patience_ms(visit, admission.now_ns);
    switch (adm_admit(&admission)) {
    case ADM_GATE_DENY:
        say_no(visit, admission.verdict, &admission.detail);
        break;
    case ADM_GATE_REPLAY:
        say_replay(visit, admission.own);
        break;
    case ADM_GATE_WAIT:
        hold(visit, &admission);
        break;
    case ADM_GATE_PASS:
        reserve(visit, sale, admission.now_ns, admission.wall_ms);
        break;
    }
}

void ord_buy_start(struct ord_request *visit, const struct cfg_sale *sale)
{
    go(visit, sale);
}

void gw_buy_resume(struct gw_worker *worker, struct srv_request *request)
{
    struct ord_request *visit = request->user;
    const struct cfg_sale *sale = ord_request_sale(visit);

    (void)worker;
    if (sale == NULL) /* deleted while the request waited */
        say_plain_no(visit, ANS_V_not_found);
    else
        go(visit, sale);
}

/* What the log shows of an order of this worker, to the counter in Redis. (The one in memory hears
 * it from the log's thread.) */
static void settle_own(struct gw_worker *worker, const struct oq_order *order)
{
    static const enum inv_verdict verdict_of[] = {[OQ_STATE_ACCEPTED] = INV_ACCEPTED,
                                                  [OQ_STATE_CONFIRMED] = INV_CONFIRMED,
                                                  [OQ_STATE_RELEASED] = INV_RELEASED,
                                                  [OQ_STATE_VOID] = INV_VOID};
    const char *name = oq_sale_name(order->sale);
    const struct cfg_sale *sale = cfg_snapshot_sale(worker->policy, name, strlen(name));

    if (sale != NULL && sale->counter != NULL)
        inv_store_settle(worker->store, sale->counter, &order->id,
                         verdict_of[oq_order_state(order)]);
}

static void give_back(struct ord_request *visit)
{
    const struct cfg_sale *sale = ord_request_sale(visit);

    if (sale != NULL && sale->counter != NULL)
        inv_store_settle(visit->worker->store, sale->counter, &visit->order_id, INV_VOID);
}

void gw_buy_outcome(struct gw_worker *worker, const struct ps_mail *mail)
{
    struct srv_request *request = srv_find(worker->http, mail->handle);
    const struct oq_order *order = mail->ptr;
    bool elsewhere = worker->core->redis != NULL;
    struct ord_request *visit;

    if (elsewhere && mail->result == OQ_LANDED && order != NULL)
        settle_own(worker, order);
    if (request == NULL) { /* answered `pending` at its deadline, or its client has left */
        ps_metric_add(worker->shard, GW_M_STALE_MAIL, 0, 1);
        return;
    }
    visit = request->user;
    gw_worker_awaited(worker, visit);
    if (mail->result == OQ_REFUSED) {
        if (elsewhere)
            give_back(visit);
        say_plain_no(visit, ANS_V_log_unavailable);
    } else if (mail->result != OQ_LANDED || order == NULL)
        say_own(visit, "pending", ANS_V_pending);
    else if (oq_order_state(order) == OQ_STATE_VOID)
        say_plain_no(visit, ANS_V_fenced);
    else if (oq_order_state(order) == OQ_STATE_ACCEPTED)
        say_own(visit, "accepted", ANS_V_accepted);
    else
        say_replay(visit, order); /* confirmed or cancelled before its buyer was told */
}

void gw_buy_overdue(struct gw_worker *worker, int64_t now_ns)
{
    while (worker->first_order != NULL && worker->first_order->deadline_ns <= now_ns) {
        struct ord_request *visit = worker->first_order;
        gw_worker_awaited(worker, visit);
        say_own(visit, "pending", ANS_V_pending);
    }
}
