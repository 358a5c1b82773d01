/* Buying. The gates decide who may try; the counter decides atomically; the log makes it an order;
 * the answer says what the log shows:
 *
 *   RECEIVED -> ADMITTED -> RESERVED -> LOGGING -> ANSWERED: 202 accepted
 *
 * The table of steps below is the whole sequence: each step does its work and returns the request's
 * next state. States without a step wait for an event: a moment (HELD), a counter in Redis
 * (RESERVING, COMPARING), the log (LOGGING). The terms of the reservation (epoch, caps) are kept,
 * because the snapshot may be replaced meanwhile. With a counter in Redis, this worker also tells
 * the counter what the log has decided about its orders.
 *
 * Every step cleans up if it ends the request: an append that was refused returns the units at
 * once; an append whose outcome is unknown returns nothing, because only a record may (the answer
 * is 202 pending, "perhaps"); an outcome that arrives after the request's deadline is dropped and
 * counted. A repeat of an order is answered with the order as it is now. */
#include "gateway/orders/buy.h"

#include "gateway/orders/trace.h"
#include "gateway/metrics.h"
#include "gateway/orders/flow.h"
#include "gateway/orders/judge.h"
#include "gateway/orders/order_id.h"
#include "gateway/sales/sales.h"

#include <string.h>

/* A request in progress, within one event. */
struct passage {
    struct ord_request *request;
    const struct snap_sale *sale;
    int64_t now_ns, wall_ms;
};

typedef enum ord_state step_fn(struct passage *passage);

static enum ord_state deny(struct ord_request *request, enum ans_verdict verdict)
{
    ord_request_deny(request, verdict, NULL);
    return ORD_ANSWERED;
}

/* The sale's name as a separate string. */
static const char *copy_sale_name(const struct ord_request *request, char ret_name[PS_NAME_MAX + 1])
{
    memcpy(ret_name, request->sale_name.at, request->sale_name.len);
    ret_name[request->sale_name.len] = 0;
    return ret_name;
}

/* Answers 202 with the order that this request has made. */
static void show_own(struct ord_request *request, const char *state, enum ans_verdict verdict)
{
    char sale[PS_NAME_MAX + 1];
    const struct ord_order_text order = {.id = request->order_id,
                                         .sale = copy_sale_name(request, sale),
                                         .sku = request->asked.sku,
                                         .quantity = request->asked.quantity,
                                         .state = state,
                                         .reason = "",
                                         .reserved_at_ms = request->reserved_at_ms,
                                         .pay_by_ms = request->pay_by_ms,
                                         .key = request->asked.key};

    ord_request_show(request, verdict, &order, false);
}

/* Answers 202 with the order that an earlier request has made. */
static enum ord_state show_replay(struct ord_request *request, const struct oq_order *order)
{
    struct oq_order_view view;
    const struct ord_order_text text = ord_order_text_of(order, &view);

    ord_request_show(request, ANS_V_replayed, &text, true);
    return ORD_ANSWERED;
}

/* --- the gates --- */

static enum ord_state hold(struct ord_request *request, const struct adm_admission *admission)
{
    (void)ord_request_keep(request);
    if (ord_in_flight_hold(request, admission->until_ns, admission->now_ns) < 0)
        return deny(request, ANS_V_shed);
    return ORD_HELD;
}

static enum ord_state pass_gates(struct passage *passage)
{
    struct ord_request *request = passage->request;
    struct adm_admission admission = {.gates = request->deps->gates,
                                      .request = &request->asked,
                                      .sale = passage->sale,
                                      .now_ns = passage->now_ns,
                                      .wall_ms = passage->wall_ms,
                                      .patience_ms =
                                          ord_judge_patience_ms(request, passage->now_ns)};

    switch (adm_admit(&admission)) {
    case ADM_GATE_DENY:
        ord_request_deny(request, admission.verdict, &admission.detail);
        return ORD_ANSWERED;
    case ADM_GATE_REPLAY:
        return show_replay(request, admission.own);
    case ADM_GATE_WAIT:
        return hold(request, &admission);
    case ADM_GATE_PASS:
        break;
    }
    adm_count_add(&request->deps->load->admitted);
    return ORD_ADMITTED;
}

/* --- the counter --- */

static void give_back(const struct ord_request *request, const struct snap_sale *sale)
{
    inv_store_resolve(request->deps->store, sale->counter, &request->order_id, INV_VOID);
}

/* Gives back the log's place of a request that appends nothing. */
static void leave_log(const struct ord_deps *deps)
{
    if (deps->gates->log_limit != NULL)
        ps_adaptive_limit_drop(deps->gates->log_limit);
}

/* The units are reserved, but meanwhile an operator may have stopped the sale, and got the answer
 * that nobody can buy any more. */
static enum ord_state judge_phase(struct passage *passage)
{
    static const enum ans_verdict verdict_of[] = {[CFG_PHASE_SCHEDULED] = ANS_V_not_started,
                                                  [CFG_PHASE_PAUSED] = ANS_V_paused,
                                                  [CFG_PHASE_ENDED] = ANS_V_ended};
    enum cfg_phase phase = snap_sale_phase(passage->sale, passage->wall_ms);

    if (phase == CFG_PHASE_OPEN)
        return ORD_RESERVED;
    leave_log(passage->request->deps);
    give_back(passage->request, passage->sale);
    return deny(passage->request, verdict_of[phase]);
}

/* Handles the counter's decision. */
static enum ord_state judge_reservation(struct passage *passage, int err,
                                        const struct inv_answer *answer)
{
    struct ord_request *request = passage->request;
    struct ans_problem_detail detail = {0};
    enum ans_verdict verdict;

    if (err == 0 && answer->result == INV_RESERVED) {
        request->reserved_at_ms = answer->reserved_at_ms;
        request->pay_by_ms = answer->pay_by_ms;
        if (request->deps->tracing != NULL)
            request->trace.reserved_ns = ps_clock_mono_ns(request->deps->clock);
        return judge_phase(passage);
    }
    leave_log(request->deps);
    if (err < 0)
        return deny(request, ANS_V_store_unavailable);
    if (ord_judge_answer(answer, &verdict, &detail)) {
        ord_request_deny(request, verdict, &detail);
        return ORD_ANSWERED;
    }
    request->met = *answer;
    return ORD_REPEATED;
}

/* Takes a place towards the log, and one towards a shared counter. The gates have checked already,
 * so places are lacking only if other workers took them meanwhile. False: answered. */
static bool take_places(struct passage *passage)
{
    const struct adm_gates *gates = passage->request->deps->gates;

    if (gates->log_limit != NULL && !ps_adaptive_limit_begin(gates->log_limit, passage->now_ns)) {
        (void)deny(passage->request, adm_refuse_log(gates));
        return false;
    }
    if (gates->store_limit == NULL || ps_adaptive_limit_begin(gates->store_limit, passage->now_ns))
        return true;
    leave_log(passage->request->deps);
    (void)deny(passage->request, adm_refuse_store(gates));
    return false;
}

static inv_answer_fn on_reserved;

static enum ord_state reserve_units(struct passage *passage)
{
    struct ord_request *request = passage->request;
    const struct ord_deps *deps = request->deps;

    if (!take_places(passage))
        return ORD_ANSWERED;
    const struct snap_sale *sale = passage->sale;
    uint64_t handle = inv_store_is_shared(deps->store) ? ord_request_keep(request) : 0;
    struct inv_answer answer;

    ord_order_id_next(deps->ids, passage->wall_ms, sale->name, &request->order_id);
    request->asked_ns = passage->now_ns;
    ord_judge_terms(request, sale);
    struct inv_reservation reservation = ord_judge_reservation(request, sale->ttl_ms);
    int result = inv_store_reserve(deps->store, sale->counter, &reservation,
                                   (struct inv_reply_to){.on_answer = on_reserved,
                                                         .ctx = request->in_flight,
                                                         .handle = handle,
                                                         .ret_answer = &answer});
    if (result == INV_PENDING)
        return ORD_RESERVING;
    if (deps->gates->store_limit != NULL)
        ps_adaptive_limit_drop(deps->gates->store_limit);
    return judge_reservation(passage, result, &answer);
}

/* --- the log --- */

static struct oq_event accepted_event(const struct ord_request *request, int64_t wall_ms)
{
    const struct adm_request *asked = &request->asked;

    return (struct oq_event){.type = OQ_ACCEPTED,
                             .rehearsal = request->rehearsal,
                             .has_order_id = true,
                             .order_id = request->order_id,
                             .sale = request->sale_name,
                             .epoch = request->epoch,
                             .at_ms = wall_ms,
                             .sku = {asked->sku, strlen(asked->sku)},
                             .quantity = asked->quantity,
                             .user = asked->user,
                             .key = asked->key,
                             .reserved_at_ms = request->reserved_at_ms,
                             .pay_by_ms = request->pay_by_ms,
                             .cap = request->cap,
                             .sku_cap = request->sku_cap,
                             .sale_version = request->sale_version,
                             .request_id = request->request_id};
}

/* For the record: of the request's span if that is traced, else what the request has. */
static struct ps_str traceparent_of(struct passage *passage, char memory[PS_TRACEPARENT_LEN + 1])
{
    struct ord_request *request = passage->request;
    struct ps_str own = {0};

    if (request->deps->tracing != NULL)
        own = ord_tracing_of_order(request, memory);
    return own.at != NULL
               ? own
               : ord_trace_next(request->traceparent, request->deps->ids, passage->wall_ms, memory);
}

static enum ord_state append_accepted(struct passage *passage)
{
    struct ord_request *request = passage->request;
    const struct ord_deps *deps = request->deps;
    char trace[PS_TRACEPARENT_LEN + 1];
    struct oq_event event = accepted_event(request, passage->wall_ms);
    struct oq_ticket ticket = {.owner = deps->owner, .kind = ord_flow_stamp(passage->now_ns)};
    int err;

    event.traceparent = traceparent_of(passage, trace);
    /* before the append: its outcome may arrive at once */
    ticket.handle = ord_request_keep(request);
    ord_in_flight_log(request, passage->now_ns);
    err = oq_log_append(deps->log, &event, &ticket);
    if (err == 0)
        return ORD_LOGGING;
    leave_log(deps);
    ord_in_flight_unlog(request);
    give_back(request, passage->sale); /* it was certainly not submitted */
    return deny(request, err == PS_E_FULL ? ANS_V_log_backlog : ANS_V_log_unavailable);
}

/* --- an order that the counter already has --- */

static enum ord_state deny_user_limit(struct ord_request *request)
{
    const struct ps_uuid *id = &request->met.order_id;
    char text[PS_UUID_LEN + 1];
    struct ans_problem_detail detail = {0};

    ps_uuid_format(id, text);
    if (!ps_uuid_equal(id, &(struct ps_uuid){0}))
        detail.order_id = (struct ps_str){text, PS_UUID_LEN};
    ord_request_deny(request, ANS_V_user_limit, &detail);
    return ORD_ANSWERED;
}

static enum ord_state deny_repeat(struct ord_request *request, enum ans_verdict verdict)
{
    return verdict == ANS_V_user_limit ? deny_user_limit(request) : deny(request, verdict);
}

static enum ord_state judge_entry(struct ord_request *request, int err,
                                  const struct inv_entry *entry)
{
    enum ans_verdict verdict = ord_judge_entry(request, err, entry);
    char sale[PS_NAME_MAX + 1];

    if (verdict != ANS_V_replayed)
        return deny_repeat(request, verdict);
    const struct ord_order_text order = ord_order_text_pending(
        &request->met.order_id, copy_sale_name(request, sale), request->asked.sku, entry);
    ord_request_show(request, ANS_V_replayed, &order, true);
    return ORD_ANSWERED;
}

static void on_entry(uint64_t handle, int err, const struct inv_entry *entry, void *ctx)
{
    const struct ord_in_flight *in_flight = ctx;
    struct ord_request *request = ord_request_find(&in_flight->deps, handle);

    if (request != NULL)
        (void)judge_entry(request, err, entry);
}

/* Asks the fold again, because it may have received the order since the replay gate. */
static enum ord_state judge_repeat(struct passage *passage)
{
    struct ord_request *request = passage->request;
    const struct ord_deps *deps = request->deps;
    const struct ps_uuid *id = &request->met.order_id;
    const struct oq_order *order = oq_fold_order(deps->gates->fold, id);
    enum ans_verdict verdict;
    struct inv_entry entry;

    if (ord_judge_met(request, order, &verdict))
        return verdict == ANS_V_replayed ? show_replay(request, order)
                                         : deny_repeat(request, verdict);
    int result = inv_store_find(deps->store, passage->sale->counter, id,
                                (struct inv_reply_to){.on_entry = on_entry,
                                                      .ctx = request->in_flight,
                                                      .handle = request->handle,
                                                      .ret_entry = &entry});
    return result == INV_PENDING ? ORD_COMPARING : judge_entry(request, result, &entry);
}

/* --- the steps --- */

/* clang-format off */
static step_fn *const steps[] = {
    [ORD_RECEIVED]  = pass_gates,      /* -> ADMITTED, HELD */
    [ORD_HELD]      = NULL,            /* ord_buy_on_due -> RECEIVED */
    [ORD_ADMITTED]  = reserve_units,   /* -> RESERVED, RESERVING, REPEATED */
    [ORD_RESERVING] = NULL,            /* on_reserved -> RESERVED, REPEATED */
    [ORD_RESERVED]  = append_accepted, /* -> LOGGING */
    [ORD_LOGGING]   = NULL,            /* ord_buy_outcome, ord_buy_on_overdue -> ANSWERED */
    [ORD_REPEATED]  = judge_repeat,    /* -> COMPARING */
    [ORD_COMPARING] = NULL,            /* on_entry -> ANSWERED */
    [ORD_SEARCHING] = NULL,            /* lookup.c */
    [ORD_ANSWERED]  = NULL,            /* from each state */
};
/* clang-format on */

static void advance(struct passage *passage, enum ord_state state)
{
    while (steps[state] != NULL)
        state = steps[state](passage);
    passage->request->state = state;
}

static struct passage passage_of(struct ord_request *request, const struct snap_sale *sale)
{
    return (struct passage){.request = request,
                            .sale = sale,
                            .now_ns = ps_clock_mono_ns(request->deps->clock),
                            .wall_ms = ps_clock_wall_ms(request->deps->clock)};
}

void ord_buy_start(struct ord_request *request, const struct snap_sale *sale)
{
    struct passage passage = {.request = request,
                              .sale = sale,
                              .now_ns = request->now_ns,
                              .wall_ms = ps_clock_wall_ms(request->deps->clock)};

    advance(&passage, ORD_RECEIVED);
}

void ord_buy_on_due(struct ord_request *request)
{
    const struct snap_sale *sale = ord_request_sale(request);

    if (sale == NULL) { /* deleted while the request waited */
        (void)deny(request, ANS_V_not_found);
    } else {
        struct passage passage = passage_of(request, sale);
        advance(&passage, ORD_RECEIVED);
    }
}

/* The counter has answered. The time is unknown if the request is gone. */
static void leave_store(const struct ord_deps *deps, const struct ord_request *request)
{
    struct ps_adaptive_limit *limit = deps->gates->store_limit;

    if (limit != NULL && request == NULL)
        ps_adaptive_limit_drop(limit);
    else if (limit != NULL)
        ps_adaptive_limit_end(limit, request->asked_ns, ps_clock_mono_ns(deps->clock));
}

/* A reservation that nobody waits for any more stays in doubt and is settled like any other. */
static void on_reserved(uint64_t handle, int err, const struct inv_answer *answer, void *ctx)
{
    const struct ord_in_flight *in_flight = ctx;
    const struct ord_deps *deps = &in_flight->deps;
    struct ord_request *request = ord_request_find(deps, handle);
    const struct snap_sale *sale = request != NULL ? ord_request_sale(request) : NULL;

    leave_store(deps, request);
    if (request == NULL) {
        leave_log(deps);
        ps_metric_add(deps->gates->shard, GW_M_LATE_OUTCOMES, 0, 1);
    } else if (sale == NULL || sale->counter == NULL) {
        leave_log(deps);
        (void)deny(request, ANS_V_not_found); /* deleted meanwhile */
    } else {
        struct passage passage = passage_of(request, sale);
        ps_times_add(&deps->load->store, passage.now_ns - request->asked_ns);
        advance(&passage, judge_reservation(&passage, err, answer));
    }
}

/* Reports to a shared counter what the log shows about an order of this worker. (The log's thread
 * reports to a counter in memory.) */
static void settle_own(const struct ord_deps *deps, const struct oq_order *order)
{
    const char *name = oq_sale_name(oq_order_sale(order));
    const struct snap_sale *sale = snapshot_sale(deps->gates->snapshot, name, strlen(name));

    if (sale != NULL && sale->counter != NULL)
        inv_store_resolve(deps->store, sale->counter, oq_order_id(order),
                          sale_verdict_of(oq_order_state(order)));
}

static void answer_refused(struct ord_request *request)
{
    const struct snap_sale *sale = ord_request_sale(request);

    if (inv_store_is_shared(request->deps->store) && sale != NULL && sale->counter != NULL)
        give_back(request, sale);
    (void)deny(request, ANS_V_log_unavailable);
}

void ord_buy_outcome(const struct ord_deps *deps, uint64_t handle, enum oq_outcome outcome,
                     const struct oq_order *order, int64_t durable_ns)
{
    struct ord_request *request = ord_request_find(deps, handle);
    int64_t now_ns = ps_clock_mono_ns(deps->clock);

    if (inv_store_is_shared(deps->store) && outcome == OQ_LANDED && order != NULL)
        settle_own(deps, order);
    if (request == NULL) { /* answered `pending` at its deadline, or its client has left */
        ps_metric_add(deps->gates->shard, GW_M_LATE_OUTCOMES, 0, 1);
        return;
    }
    ord_in_flight_unlog(request);
    ps_times_add(&deps->load->log, now_ns - request->appended_ns);
    request->trace.durable_ns = durable_ns;
    request->trace.shown_ns = now_ns;
    if (outcome == OQ_REFUSED)
        answer_refused(request);
    else if (outcome != OQ_LANDED || order == NULL)
        show_own(request, "pending", ANS_V_pending);
    else if (oq_order_state(order) == OQ_STATE_VOID)
        (void)deny(request, ANS_V_fenced);
    else if (oq_order_state(order) == OQ_STATE_ACCEPTED)
        show_own(request, "accepted", ANS_V_accepted);
    else
        (void)show_replay(request,
                          order); /* confirmed or cancelled before its buyer got the answer */
}

void ord_buy_on_overdue(struct ord_request *request)
{
    show_own(request, "pending", ANS_V_pending);
}
