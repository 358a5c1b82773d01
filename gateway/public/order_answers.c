/* A kept order request is the HTTP request that contains it. */
#include "gateway/public/order_answers.h"

#include <string.h>

/* This many always fit into an answer: an order's JSON is at most 7 names of 64 bytes, times and
 * digits. */
#define LIST_MAX 8
#define TEXT_MAX 640

static void put_cache_control(const struct pub_request *request)
{
    static const char never[] = "no-store", briefly[] = "private, max-age=2";

    if (request->order.may_keep)
        srv_answer_header(request->http, "Cache-Control", briefly, sizeof briefly - 1);
    else
        srv_answer_header(request->http, "Cache-Control", never, sizeof never - 1);
}

static void send_json(struct pub_request *request, enum ans_verdict verdict,
                      const struct ps_buf *body)
{
    struct srv_request *http = request->http;

    put_cache_control(request);
    srv_problem_limit(http, &request->order.asked.limit);
    pub_request_count(request, verdict);
    srv_answer(http, ans_verdicts[verdict].status, "application/json",
               (struct ps_str){body->at, body->len}, false);
}

/* The answer to a buy also says where the order is. */
static void put_location(struct pub_request *request, const struct ord_reply *reply)
{
    char location[sizeof "/v1/orders/" + PS_UUID_LEN] = "/v1/orders/";

    ps_uuid_format(&reply->order->id, location + sizeof "/v1/orders/" - 1);
    srv_answer_header(request->http, "Location", location, sizeof location - 1);
    if (reply->replayed)
        srv_answer_header(request->http, "Idempotency-Replayed", "true", sizeof "true" - 1);
}

static void send_reply(struct ord_request *order, const struct ord_reply *reply)
{
    struct pub_request *request = (struct pub_request *)order;
    struct ps_buf body;

    if (reply->problem != NULL) {
        pub_request_refuse_with(request, reply->verdict, reply->problem);
        return;
    }
    if (reply->verdict != ANS_V_ok)
        put_location(request, reply);
    body = srv_answer_body(request->http);
    ord_order_text_put(&body, reply->order);
    ps_buf_puts(&body, "}\n");
    send_json(request, reply->verdict, &body);
}

static uint64_t keep(struct ord_request *order)
{
    return srv_suspend(((struct pub_request *)order)->http);
}

static struct ord_request *find(uint64_t handle, void *http)
{
    struct srv_request *request = srv_find(http, handle);

    return request != NULL ? &((struct pub_request *)request->user)->order : NULL;
}

struct ord_caller pub_order_answers_caller(struct srv_http *http)
{
    return (struct ord_caller){.keep = keep, .find = find, .reply = send_reply, .ctx = http};
}

void pub_order_answers_list(struct pub_request *request, const struct oq_order *first)
{
    struct ps_buf body = srv_answer_body(request->http);
    const struct oq_order *order = first;

    ps_buf_puts(&body, "{\"orders\":[");
    for (size_t count = 0; order != NULL && count < LIST_MAX && body.cap - body.len > TEXT_MAX;
         order = oq_order_older(order)) {
        if (!oq_order_known(order))
            continue;
        if (count++ > 0)
            ps_buf_puts(&body, ",");
        ord_order_text_put_public(&body, order);
    }
    ps_buf_puts(&body, "],\"more\":");
    ps_buf_puts(&body, order != NULL ? "true}\n" : "false}\n");
    send_json(request, ANS_V_ok, &body);
}
