/* Looking orders up. The fold knows what the log has shown; the counter knows, for a moment, orders
 * that the log has not shown yet, and those are `pending`. */
#include "gateway/orders/lookup.h"

#include "gateway/admission/admit.h"
#include "gateway/orders/life.h"

#include <string.h>

/* As many as surely fit an answer: an order's JSON is at most 7 names of 64 bytes, times and
 * digits. */
#define OWN_MAX  8
#define TEXT_MAX 640

static void say_json(struct gw_visit *visit, const struct ps_buf *body)
{
    struct gw_request *request = visit->request;

    gw_answer_header(request, "Cache-Control", "no-store", sizeof "no-store" - 1);
    gw_answer_header(request, "X-Request-Id", request->request_id.at, request->request_id.len);
    gw_limit_headers(request, &visit->limit);
    gw_worker_count(visit->worker, GW_V_ok);
    gw_http_answer(request, 200, "application/json", (struct ps_str){body->at, body->len}, false);
}

static void say_no(struct gw_visit *visit, enum gw_verdict verdict,
                   struct gw_problem_detail *detail)
{
    detail->limit = visit->limit;
    gw_worker_count(visit->worker, verdict);
    gw_problem_answer(visit->request, verdict, detail);
}

static bool is_users(const struct gw_visit *visit, const char *user, size_t len)
{
    return len == visit->client.user.len && memcmp(user, visit->client.user.at, len) == 0;
}

/* An order in doubt: some sale's counter has it, and its buyer is the caller. */
static bool put_in_doubt(struct gw_visit *visit, const struct ps_uuid *id, struct ps_buf *body)
{
    const struct gw_policy *policy = visit->worker->policy;
    struct inv_entry entry;

    for (size_t i = 0; i < policy->sale_count; i++) {
        const struct gw_sale *sale = policy->sales[i];
        if (sale->counter == NULL || inv_store_find(visit->worker->core->store, sale->counter, id,
                                                    NULL, NULL, 0, &entry) != INV_DONE)
            continue;
        if (!is_users(visit, entry.user, entry.user_len))
            return false;
        gw_order_put(body, &(struct gw_order_text){.id = *id,
                                                   .sale = sale->name,
                                                   .sku = sale->skus[entry.sku].name,
                                                   .quantity = entry.quantity,
                                                   .state = "pending",
                                                   .reason = "",
                                                   .reserved_at_ms = entry.reserved_at_ms,
                                                   .pay_by_ms = entry.pay_by_ms,
                                                   .key = {entry.key, entry.key_len}});
        ps_buf_puts(body, "}");
        return true;
    }
    return false;
}

static bool pays(struct gw_visit *visit, const struct gw_sale *sale)
{
    struct gw_worker *worker = visit->worker;
    struct gw_admission admission = {
        .visit = visit, .sale = sale, .now_ns = ps_clock_mono_ns(worker->core->clock)};

    if (gw_admit_limits(&admission, GW_LIMIT_ORDER_STATE) == GW_NEXT)
        return true;
    admission.detail.seed =
        ps_hash64(&worker->core->hash_key, visit->client.user.at, visit->client.user.len);
    say_no(visit, admission.verdict, &admission.detail);
    return false;
}

void gw_lookup_order(struct gw_visit *visit, const struct ps_uuid *id)
{
    const struct oq_fold *fold = visit->worker->core->fold;
    const struct oq_order *order;
    struct ps_buf body;

    if (!pays(visit, NULL))
        return;
    body = gw_answer_body(visit->request);
    order = oq_fold_order(fold, id);
    if (order != NULL && order->known && is_users(visit, order->user.at, order->user.len)) {
        gw_order_put_public(&body, order);
    } else if (order != NULL || !put_in_doubt(visit, id, &body)) {
        /* Between the two looks the log may have shown it. */
        order = oq_fold_order(fold, id);
        if (order == NULL || !order->known || !is_users(visit, order->user.at, order->user.len)) {
            say_no(visit, GW_V_not_found,
                   &(struct gw_problem_detail){.text = "no such order of this user"});
            return;
        }
        gw_order_put_public(&body, order);
    }
    say_json(visit, &body);
}

void gw_lookup_own(struct gw_visit *visit, const struct gw_sale *sale)
{
    const struct oq_order *order = NULL;
    struct ps_buf body;
    bool first = true;

    if (!pays(visit, sale))
        return;
    body = gw_answer_body(visit->request);
    if (sale->books != NULL)
        order = oq_fold_newest(visit->worker->core->fold, sale->books, visit->client.user);
    ps_buf_puts(&body, "{\"orders\":[");
    for (size_t count = 0; order != NULL && count < OWN_MAX && body.cap - body.len > TEXT_MAX;
         order = order->older) {
        if (!order->known)
            continue;
        if (!first)
            ps_buf_puts(&body, ",");
        gw_order_put_public(&body, order);
        first = false;
        count++;
    }
    ps_buf_puts(&body, "],\"more\":");
    ps_buf_puts(&body, order != NULL ? "true}" : "false}");
    say_json(visit, &body);
}
