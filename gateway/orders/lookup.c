/* Looking orders up. The fold knows what the log has shown; the counter knows, for a moment, orders
 * that the log has not shown yet, and those are `pending`. */
#include "gateway/orders/lookup.h"

#include "gateway/admission/admit.h"
#include "gateway/orders/order_events.h"
#include "gateway/orders/order_id.h"
#include "queue/log_kafka.h"

#include <string.h>

/* As many as surely fit an answer: an order's JSON is at most 7 names of 64 bytes, times and
 * digits. */
#define OWN_MAX  8
#define TEXT_MAX 640

static void say_json(struct ord_request *visit, const struct ps_buf *body)
{
    struct srv_request *request = visit->request;

    srv_answer_header(request, "Cache-Control", "no-store", sizeof "no-store" - 1);
    ans_limit_headers(request, &visit->limit);
    gw_worker_count(visit->worker, ANS_V_ok);
    srv_answer(request, 200, "application/json", (struct ps_str){body->at, body->len}, false);
}

static void say_no(struct ord_request *visit, enum ans_verdict verdict,
                   struct ans_problem_detail *detail)
{
    detail->seed = visit->user_hash;
    detail->limit = visit->limit;
    gw_worker_count(visit->worker, verdict);
    ans_problem_answer(visit->request, verdict, detail);
}

static bool is_users(const struct ord_request *visit, const char *user, size_t len)
{
    return len == visit->client.user.len && memcmp(user, visit->client.user.at, len) == 0;
}

static bool pays(struct ord_request *visit, const struct cfg_sale *sale)
{
    struct adm_admission admission = {
        .visit = visit, .sale = sale, .now_ns = ps_clock_mono_ns(visit->worker->core->clock)};

    if (adm_admit_limits(&admission, CFG_LIMIT_ORDER_STATE) == ADM_GATE_PASS)
        return true;
    say_no(visit, admission.verdict, &admission.detail);
    return false;
}

/* As the log shows it. False: it does not, or it is somebody else's. */
static bool say_known(struct ord_request *visit)
{
    const struct oq_order *order = oq_fold_order(visit->worker->core->fold, &visit->order_id);
    struct ps_buf body;

    if (order == NULL || !order->known || !is_users(visit, order->user.at, order->user.len))
        return false;
    body = srv_answer_body(visit->request);
    ord_order_put_public(&body, order);
    say_json(visit, &body);
    return true;
}

static void say_in_doubt(struct ord_request *visit, const struct cfg_sale *sale,
                         const struct inv_entry *entry)
{
    struct ps_buf body = srv_answer_body(visit->request);

    ord_order_put(&body, &(struct ord_order_text){.id = visit->order_id,
                                                  .sale = sale->name,
                                                  .sku = sale->skus[entry->sku].name,
                                                  .quantity = entry->quantity,
                                                  .state = "pending",
                                                  .reason = "",
                                                  .reserved_at_ms = entry->reserved_at_ms,
                                                  .pay_by_ms = entry->pay_by_ms,
                                                  .key = {entry->key, entry->key_len}});
    ps_buf_puts(&body, "}");
    say_json(visit, &body);
}

/* Every counter that may have it was asked, or one has the order and its buyer is somebody else.
 * Meanwhile the log may have shown it. */
static void say_last(struct ord_request *visit)
{
    if (say_known(visit))
        return;
    if (visit->unsure)
        say_no(visit, ANS_V_store_unavailable, &(struct ans_problem_detail){0});
    else if (ord_events_is_behind(visit->worker->core))
        say_no(visit, ANS_V_log_unavailable, &(struct ans_problem_detail){0});
    else
        say_no(visit, ANS_V_not_found,
               &(struct ans_problem_detail){.text = "no such order of this user"});
}

static void look_on(struct ord_request *visit);

/* What the counter of the sale at `looked_at` says. When the policy that this place is of has been
 * exchanged meanwhile, all are asked again. False: there are more to ask. */
static bool take_entry(struct ord_request *visit, int err, const struct inv_entry *entry)
{
    const struct cfg_snapshot *policy = visit->worker->policy;

    if (visit->looked_version != policy->version) {
        visit->looked_version = policy->version;
        visit->looked_at = 0;
        return false;
    }
    if (err == INV_DONE) {
        const struct cfg_sale *sale = policy->sales[visit->looked_at];
        if (is_users(visit, entry->user, entry->user_len) && entry->sku < sale->sku_count)
            say_in_doubt(visit, sale, entry);
        else
            say_last(visit);
        return true;
    }
    visit->unsure |= err != PS_E_NOT_FOUND;
    visit->looked_at++;
    return false;
}

static void on_entry(uint64_t handle, int err, const struct inv_entry *entry, void *worker)
{
    struct ord_request *visit = ord_request_find(worker, handle);

    if (visit != NULL && !take_entry(visit, err, entry))
        look_on(visit);
}

/* An order in doubt: its sale's counter has it, and its id fits few others. */
static void look_on(struct ord_request *visit)
{
    struct gw_worker *worker = visit->worker;
    struct inv_entry entry;

    while (visit->looked_at < worker->policy->sale_count) {
        const struct cfg_sale *sale = worker->policy->sales[visit->looked_at];
        bool fits = ord_order_id_fits(&visit->order_id, sale->name);
        if (!fits || sale->counter == NULL) {
            visit->unsure |= fits && sale->unserved;
            visit->looked_at++;
            continue;
        }
        uint64_t handle = worker->core->redis != NULL ? ord_request_suspend(visit) : 0;
        int result = inv_store_find(worker->store, sale->counter, &visit->order_id, on_entry,
                                    worker, handle, &entry);
        if (result == INV_PENDING || take_entry(visit, result, &entry))
            return;
    }
    say_last(visit);
}

void ord_lookup_order(struct ord_request *visit, const struct ps_uuid *id)
{
    if (!pays(visit, NULL))
        return;
    visit->order_id = *id;
    visit->looked_version = visit->worker->policy->version;
    if (!say_known(visit)) {
        if (oq_fold_order(visit->worker->core->fold, id) != NULL) /* somebody else's */
            say_last(visit);
        else
            look_on(visit);
    }
}

/* The value of `before` in the query; .at == NULL: there is none. Other parameters are nobody's. */
static struct ps_str before_of(struct ps_str query)
{
    static const char name[] = "before=";
    const size_t len = sizeof name - 1;
    const char *at = query.at, *end = query.at + query.len;

    while (at < end) {
        const char *next = memchr(at, '&', (size_t)(end - at));
        size_t part = (size_t)((next != NULL ? next : end) - at);
        if (part >= len && memcmp(at, name, len) == 0)
            return (struct ps_str){at + len, part - len};
        at += part + 1;
    }
    return (struct ps_str){NULL, 0};
}

/* The first order of the list. False: `before` is not an order of this user in this sale. */
static bool find_first(const struct ord_request *visit, const struct cfg_sale *sale,
                       const struct oq_order **ret_order)
{
    const struct oq_fold *fold = visit->worker->core->fold;
    struct ps_str before = before_of(visit->request->query);
    struct ps_uuid id;

    if (before.at == NULL) {
        *ret_order =
            sale->books != NULL ? oq_fold_newest(fold, sale->books, visit->client.user) : NULL;
        return true;
    }
    if (ps_uuid_parse(before.at, before.len, &id) < 0)
        return false;
    const struct oq_order *order = oq_fold_order(fold, &id);
    if (order == NULL || !order->known || order->sale != sale->books ||
        !is_users(visit, order->user.at, order->user.len))
        return false;
    *ret_order = order->older;
    return true;
}

void ord_lookup_own(struct ord_request *visit, const struct cfg_sale *sale)
{
    const struct gw_core *core = visit->worker->core;
    const struct oq_order *order;
    struct ps_buf body;
    bool first = true;

    if (!pays(visit, sale))
        return;
    if (core->kafka != NULL && oq_kafka_state(core->kafka) == OQ_KAFKA_CLOSED) { /* not read yet */
        say_no(visit, ANS_V_log_unavailable, &(struct ans_problem_detail){0});
        return;
    }
    if (!find_first(visit, sale, &order)) {
        say_no(visit, ANS_V_malformed,
               &(struct ans_problem_detail){.text = "before: not an order of yours in this sale"});
        return;
    }
    body = srv_answer_body(visit->request);
    ps_buf_puts(&body, "{\"orders\":[");
    for (size_t count = 0; order != NULL && count < OWN_MAX && body.cap - body.len > TEXT_MAX;
         order = order->older) {
        if (!order->known)
            continue;
        if (!first)
            ps_buf_puts(&body, ",");
        ord_order_put_public(&body, order);
        first = false;
        count++;
    }
    ps_buf_puts(&body, "],\"more\":");
    ps_buf_puts(&body, order != NULL ? "true}" : "false}");
    say_json(visit, &body);
}
