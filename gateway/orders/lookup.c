/* Look-ups of orders. The fold has the orders that the log shows; the counter has, for a moment,
 * orders that the log does not show yet: those are `pending`.
 *
 * While the feature order_state_fresh is off, only the fold answers in a cluster: Redis is not
 * asked, and the client may keep the answer for a moment. Whether an order exists that the fold
 * does not show is then unknown, and not answered. */
#include "gateway/orders/lookup.h"

#include "gateway/orders/in_flight.h"
#include "gateway/orders/order_id.h"

#include <string.h>

#define ARCHIVED_MARGIN_MS INT64_C(3600000)

static struct oq_log_view log_view(const struct ord_request *request)
{
    struct oq_log_view view;

    oq_log_view(request->deps->log, &view);
    return view;
}

/* Checks blocklist and limits. False: answered. */
static bool is_admitted(struct ord_request *request, const struct snap_sale *sale)
{
    const struct ord_deps *deps = request->deps;
    struct adm_admission admission = {.gates = deps->gates,
                                      .request = &request->asked,
                                      .sale = sale,
                                      .now_ns = request->now_ns,
                                      .wall_ms = ps_clock_wall_ms(deps->clock)};

    if (adm_admit_lookup(&admission) == ADM_GATE_PASS) {
        request->may_keep = !adm_feature_on(deps->gates->overload, deps->gates->shard,
                                            CFG_FEATURE_order_state_fresh);
        return true;
    }
    ord_request_deny(request, admission.verdict, &admission.detail);
    return false;
}

/* Only rehearsals look up orders of twins, and they look up no others. */
static bool is_of_its_world(const struct ord_request *request, const struct snap_sale *sale)
{
    return request->asked.rehearsal == (sale != NULL && snap_sale_is_twin(sale));
}

static bool is_own(const struct ord_request *request, const struct oq_order *order)
{
    const struct snap_sale *sale = NULL;
    struct oq_order_view view;

    oq_order_get(order, &view);
    if (!view.known || !ord_request_is_of(request, view.user.at, view.user.len))
        return false;
    if (view.rehearsal) {
        const char *name = oq_sale_name(view.sale);
        sale = snapshot_sale(request->deps->gates->snapshot, name, strlen(name));
    }
    return is_of_its_world(request, sale);
}

/* Answers with the order as the log shows it. False: the log does not show it, or it is another
 * buyer's. */
static bool show_known(struct ord_request *request)
{
    const struct oq_order *order = oq_fold_order(request->deps->gates->fold, &request->search.id);
    struct oq_order_view view;
    struct ord_order_text text;

    if (order == NULL || !is_own(request, order))
        return false;
    text = ord_order_text_of(order, &view);
    ord_request_show(request, ANS_V_ok, &text, false);
    return true;
}

/* An unknown order may be in the archive of a sale that fits its id and sold at the time in the id,
 * by a clock that may have been an hour off. */
static bool may_be_archived(const struct ord_request *request)
{
    const struct snapshot *snapshot = request->deps->gates->snapshot;
    const struct ps_uuid *id = &request->search.id;
    int64_t made_ms = ps_uuid_ms(id);

    for (size_t i = 0; i < snapshot->sale_count; i++) {
        const struct snap_sale *sale = snapshot->sales[i];
        if (snap_sale_is_archived(sale) && is_of_its_world(request, sale) &&
            made_ms >= sale->opens_at_ms - ARCHIVED_MARGIN_MS &&
            (sale->closes_at_ms == INT64_MAX ||
             made_ms <= sale->closes_at_ms + ARCHIVED_MARGIN_MS) &&
            ord_order_id_fits(id, sale->name))
            return true;
    }
    return false;
}

/* All counters that may have the order were asked, or one has it for another buyer. Meanwhile the
 * log may have shown it. */
static void answer_not_found(struct ord_request *request)
{
    if (show_known(request))
        return;
    if (request->search.unsure)
        ord_request_deny(request, ANS_V_store_unavailable, NULL);
    else if (!log_view(request).current)
        ord_request_deny(request, ANS_V_log_unavailable, NULL);
    else if (may_be_archived(request))
        ord_request_deny(request, ANS_V_archived,
                         &(struct ans_problem_detail){
                             .text = "the sale of this order is over and in its archive"});
    else
        ord_request_deny(request, ANS_V_not_found,
                         &(struct ans_problem_detail){.text = "no such order of this user"});
}

static void answer_found(struct ord_request *request, const struct snap_sale *sale,
                         const struct inv_entry *entry)
{
    struct ord_order_text text;

    if (!ord_request_is_of(request, entry->user, entry->user_len) ||
        !is_of_its_world(request, sale) || entry->sku >= sale->sku_count) {
        answer_not_found(request);
        return;
    }
    request->may_keep = false; /* it will be decided in a moment */
    text =
        ord_order_text_pending(&request->search.id, sale->name, sale->skus[entry->sku].name, entry);
    ord_request_show(request, ANS_V_ok, &text, false);
}

static inv_entry_fn on_entry;

/* Looks for an order in doubt: its sale's counter has it. */
static void search_counters(struct ord_request *request)
{
    const struct ord_deps *deps = request->deps;
    uint64_t handle = inv_store_is_shared(deps->store) ? ord_request_keep(request) : 0;
    const struct snap_sale *sale;
    struct inv_entry entry;

    if (request->may_keep && inv_store_is_shared(deps->store)) {
        ord_request_deny(
            request, ANS_V_shed,
            &(struct ans_problem_detail){.policy = cfg_feature_names[CFG_FEATURE_order_state_fresh],
                                         .text = "the log does not show this order yet"});
        return;
    }
    request->state = ORD_SEARCHING;
    int result = ord_search_run(
        &request->search, deps->gates->snapshot, deps->store,
        (struct inv_reply_to){
            .on_entry = on_entry, .ctx = request->in_flight, .handle = handle, .ret_entry = &entry},
        &sale);
    if (result == INV_DONE)
        answer_found(request, sale, &entry);
    else if (result != INV_PENDING)
        answer_not_found(request);
}

static void on_entry(uint64_t handle, int err, const struct inv_entry *entry, void *ctx)
{
    const struct ord_in_flight *in_flight = ctx;
    const struct ord_deps *deps = &in_flight->deps;
    struct ord_request *request = ord_request_find(deps, handle);
    const struct snap_sale *sale;

    if (request == NULL)
        return;
    sale = ord_search_take(&request->search, deps->gates->snapshot, err);
    if (sale != NULL)
        answer_found(request, sale, entry);
    else
        search_counters(request);
}

void ord_lookup_order(struct ord_request *request, const struct ps_uuid *id)
{
    if (!is_admitted(request, NULL))
        return;
    request->search.id = *id;
    if (show_known(request))
        return;
    if (oq_fold_order(request->deps->gates->fold, id) != NULL) /* another buyer's */
        answer_not_found(request);
    else
        search_counters(request);
}

/* False: `before` is not an order of this user in this sale. */
static bool find_first(const struct ord_request *request, const struct snap_sale *sale,
                       struct ps_str before, const struct oq_order **ret_first)
{
    const struct oq_fold *fold = request->deps->gates->fold;
    struct ps_uuid id;

    if (before.at == NULL) {
        *ret_first = sale->log_sale != NULL
                         ? oq_fold_newest(fold, sale->log_sale, request->asked.user)
                         : NULL;
        return true;
    }
    if (ps_uuid_parse(before.at, before.len, &id) < 0)
        return false;
    const struct oq_order *order = oq_fold_order(fold, &id);
    if (order == NULL || oq_order_sale(order) != sale->log_sale || !is_own(request, order))
        return false;
    *ret_first = oq_order_older(order);
    return true;
}

bool ord_lookup_own(struct ord_request *request, const struct snap_sale *sale, struct ps_str before,
                    const struct oq_order **ret_first)
{
    if (!is_admitted(request, sale))
        return false;
    if (log_view(request).state == OQ_LOG_CLOSED) { /* not read yet */
        ord_request_deny(request, ANS_V_log_unavailable, NULL);
        return false;
    }
    bool found = find_first(request, sale, before, ret_first);
    if (snap_sale_is_archived(sale)) {
        ord_request_deny(request, ANS_V_archived, NULL);
        return false;
    }
    if (!found) {
        ord_request_deny(
            request, ANS_V_malformed,
            &(struct ans_problem_detail){.text = "before: not an order of yours in this sale"});
        return false;
    }
    return true;
}
