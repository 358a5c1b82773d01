/* The public listener's routes of the API: a table of paths, with a handler for each method. When a
 * handler runs, the client is known, and so is the sale if the path names one. Order of refusals:
 * 404 path, 405, 404 sale, 415, 401, then the gates.
 *
 * A rehearsal gets only the twin of the sale in its path; all others get no twin. */
#include "gateway/public/routes.h"

#include "gateway/orders/buy.h"
#include "gateway/orders/lookup.h"
#include "gateway/public/order_answers.h"
#include "gateway/public/status_page.h"
#include "gateway/server/strict.h"

#include <string.h>

/* The challenge names the field in which the proxy says who asks: no other way exists here. */
static void refuse_nobody(struct pub_request *request, const char *text)
{
    srv_answer_header(request->http, "WWW-Authenticate", "X-User-Id", sizeof "X-User-Id" - 1);
    pub_request_refuse(request, ANS_V_unauthenticated, text);
}

/* False: answered. */
static bool is_identified(struct pub_request *request)
{
    switch (request->client.identity) {
    case PUB_IDENTITY_OK:
        return true;
    case PUB_IDENTITY_UNTRUSTED:
        ps_metric_add(request->listener->shard, GW_M_UNTRUSTED_IDENTITY, 0, 1);
        refuse_nobody(request, "X-User-Id is accepted only from a trusted proxy");
        return false;
    case PUB_IDENTITY_BAD:
        refuse_nobody(
            request,
            "X-User-Id: 1 to 128 bytes of UTF-8 without control characters or white space");
        return false;
    case PUB_IDENTITY_NONE:
        refuse_nobody(request, "X-User-Id is missing");
        return false;
    }
    return false;
}

/* Idempotency-Key is an sf-string; many clients send the bare value. False: answered. */
static bool read_key(struct pub_request *request)
{
    struct ps_str key = request->http->header[SRV_H_IDEMPOTENCY_KEY];

    if (key.at == NULL)
        return true;
    if (key.len >= 2 && key.at[0] == '"' && key.at[key.len - 1] == '"')
        key = (struct ps_str){key.at + 1, key.len - 2};
    if (!ps_key_ok(key.at, key.len) || memchr(key.at, '"', key.len) != NULL ||
        memchr(key.at, '\\', key.len) != NULL) {
        pub_request_refuse(request, ANS_V_malformed,
                           "Idempotency-Key: 1 to 64 visible ASCII characters, quoted or bare");
        return false;
    }
    request->order.asked.key = key;
    return true;
}

/* --- handlers --- */

/* What the orders room needs to know about the request. */
static struct ord_request *fill_order(struct pub_request *request)
{
    const struct srv_request *http = request->http;
    struct ord_request *order = &request->order;

    ord_in_flight_enter(request->listener->orders, order);
    order->traceparent = http->header[SRV_H_TRACEPARENT];
    order->request_id = http->request_id;
    order->arrived_ns = http->arrived_ns;
    order->now_ns = http->now_ns;
    order->asked.body = http->body;
    return order;
}

static void get_status(struct pub_request *request, const struct snap_sale *sale,
                       struct ps_str rest)
{
    const struct pub_listener *listener = request->listener;
    struct adm_admission admission = {.gates = listener->gates,
                                      .request = &request->order.asked,
                                      .sale = sale,
                                      .now_ns = request->http->now_ns,
                                      .wall_ms = ps_clock_wall_ms(listener->clock)};

    (void)rest;
    if (adm_admit_status(&admission) == ADM_GATE_DENY) {
        const struct ps_address *address = &request->client.address; /* a user is not required */
        admission.detail.seed =
            adm_limit_hash(listener->gates->limits, address->byte, sizeof address->byte);
        admission.detail.limit = request->order.asked.limit;
        pub_request_refuse_with(request, admission.verdict, &admission.detail);
        return;
    }
    pub_status_page_answer(request, sale);
}

static void post_order(struct pub_request *request, const struct snap_sale *sale,
                       struct ps_str rest)
{
    (void)rest;
    request->figures = sale->figures;
    if (!srv_strict_json(request->http->header[SRV_H_CONTENT_TYPE])) {
        pub_request_refuse(request, ANS_V_unsupported_media_type, NULL);
        return;
    }
    if (!srv_strict_plain(request->http->header[SRV_H_CONTENT_ENCODING])) {
        pub_request_refuse(request, ANS_V_unsupported_media_type,
                           "Content-Encoding: send the body uncompressed");
        return;
    }
    if (is_identified(request) && read_key(request))
        ord_buy_start(fill_order(request), sale);
}

/* The value of `before` in the query; .at == NULL: none. Other parameters are ignored. */
static struct ps_str find_before(struct ps_str query)
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

static void get_own_orders(struct pub_request *request, const struct snap_sale *sale,
                           struct ps_str rest)
{
    const struct oq_order *first;

    (void)rest;
    if (is_identified(request) &&
        ord_lookup_own(fill_order(request), sale, find_before(request->http->query), &first))
        pub_order_answers_list(request, first);
}

static void get_order(struct pub_request *request, const struct snap_sale *sale, struct ps_str rest)
{
    struct ps_uuid id;

    (void)sale;
    if (!is_identified(request))
        return;
    if (ps_uuid_parse(rest.at, rest.len, &id) < 0)
        pub_request_refuse(request, ANS_V_not_found, "no such order of this user");
    else
        ord_lookup_order(fill_order(request), &id);
}

static void send_probe(struct pub_request *request, enum ans_verdict verdict, struct ps_str text)
{
    srv_answer_header(request->http, "Cache-Control", "no-store", sizeof "no-store" - 1);
    pub_request_count(request, verdict);
    srv_answer(request->http, ans_verdicts[verdict].status, "text/plain; charset=utf-8", text,
               false);
}

static void get_livez(struct pub_request *request, const struct snap_sale *sale, struct ps_str rest)
{
    (void)sale;
    (void)rest;
    send_probe(request, ANS_V_ok, PS_STR("ok\n"));
}

static void get_readyz(struct pub_request *request, const struct snap_sale *sale,
                       struct ps_str rest)
{
    const struct pub_listener *listener = request->listener;
    struct ps_buf body = srv_answer_body(request->http);
    struct ans_readiness readiness;

    (void)sale;
    (void)rest;
    listener->readiness(listener->readiness_ctx, &readiness);
    ans_readiness_print(&body, &readiness, request->http->query, false);
    send_probe(request, ans_readiness_verdict(&readiness), (struct ps_str){body.at, body.len});
}

/* --- the table --- */

typedef void route_fn(struct pub_request *request, const struct snap_sale *sale,
                      struct ps_str rest);

/* clang-format off */
static const struct pub_route {
    const char *prefix, *suffix; /* between them: one segment, or nothing if `segment` is false */
    bool segment, is_sale;
    route_fn *get, *post;        /* GET also serves HEAD */
    const char *allow;
    bool open_to_all;            /* CORS: any origin may read the answer */
    const char *path;            /* as the API describes it */
} routes[] = {
    {"/v1/sales/",  "/orders", true,  true,  get_own_orders, post_order, "GET, HEAD, POST, OPTIONS", false, "/v1/sales/{sale}/orders"},
    {"/v1/sales/",  "",        true,  true,  get_status,     NULL,       "GET, HEAD, OPTIONS",       true, "/v1/sales/{sale}"},
    {"/v1/orders/", "",        true,  false, get_order,      NULL,       "GET, HEAD, OPTIONS",       false, "/v1/orders/{order_id}"},
    {"/livez",      "",        false, false, get_livez,      NULL,       "GET, HEAD, OPTIONS",       false, "/livez"},
    {"/readyz",     "",        false, false, get_readyz,     NULL,       "GET, HEAD, OPTIONS",       false, "/readyz"},
    /* The server as a whole (RFC 9110, section 9.3.7); the shop's pages serve these methods. */
    {"*",           "",        false, false, NULL,           NULL,       "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS", false, "*"},
};
/* clang-format on */

static bool matches_path(const struct pub_route *route, struct ps_str path, struct ps_str *ret_rest)
{
    size_t prefix = strlen(route->prefix), suffix = strlen(route->suffix);

    if (path.len < prefix + suffix || memcmp(path.at, route->prefix, prefix) != 0 ||
        memcmp(path.at + path.len - suffix, route->suffix, suffix) != 0)
        return false;
    *ret_rest = (struct ps_str){path.at + prefix, path.len - prefix - suffix};
    if (!route->segment)
        return ret_rest->len == 0;
    return ret_rest->len > 0 && memchr(ret_rest->at, '/', ret_rest->len) == NULL;
}

/* Origins of the settings may call the API from a browser with an identity: a cookie or a token for
 * the front proxy. Every origin may read the status page, without an identity. The page itself
 * carries that for caches; this adds it to the page's other answers. */
static void put_cors(struct pub_request *request, const struct pub_route *route)
{
    static const char expose[] = "Location, Retry-After, RateLimit, RateLimit-Policy, "
                                 "Idempotency-Replayed, X-Request-Id";
    const struct ps_strings *allowed = request->listener->cors_origins;
    struct ps_str origin = request->http->header[SRV_H_ORIGIN];

    if (origin.at == NULL)
        return;
    if (route->open_to_all) {
        srv_answer_header(request->http, "Access-Control-Allow-Origin", "*", 1);
        return;
    }
    if (allowed->count == 0)
        return;
    srv_answer_header(request->http, "Vary", "Origin", sizeof "Origin" - 1);
    for (size_t i = 0; i < allowed->count; i++) {
        if (ps_str_is(origin, allowed->at[i])) {
            srv_answer_header(request->http, "Access-Control-Allow-Origin", origin.at, origin.len);
            srv_answer_header(request->http, "Access-Control-Allow-Credentials", "true", 4);
            srv_answer_header(request->http, "Access-Control-Expose-Headers", expose,
                              sizeof expose - 1);
            return;
        }
    }
}

static void answer_options(struct pub_request *request, const struct pub_route *route)
{
    static const char headers[] =
        "Authorization, Content-Type, Idempotency-Key, X-Request-Id, traceparent";

    srv_answer_header(request->http, "Allow", route->allow, strlen(route->allow));
    if (request->http->header[SRV_H_REQUEST_METHOD].at != NULL) { /* a preflight */
        srv_answer_header(request->http, "Access-Control-Allow-Methods", route->allow,
                          strlen(route->allow));
        srv_answer_header(request->http, "Access-Control-Allow-Headers", headers,
                          sizeof headers - 1);
        srv_answer_header(request->http, "Access-Control-Max-Age", "600", 3);
    }
    pub_request_count(request, ANS_V_no_content);
    srv_answer(request->http, ans_verdicts[ANS_V_no_content].status, NULL, (struct ps_str){"", 0},
               false);
}

/* NULL: answered. */
static const struct snap_sale *find_sale(struct pub_request *request, struct ps_str name)
{
    const struct snapshot *snapshot = request->listener->gates->snapshot;
    const struct snap_sale *sale;

    if (pub_request_is_rehearsal(request)) {
        sale = snapshot_twin(snapshot, name.at, name.len);
        if (sale == NULL) {
            pub_request_refuse(request, ANS_V_not_found, "this sale has no twin for rehearsals");
            return NULL;
        }
        memcpy(request->twin, sale->name, sizeof request->twin);
        request->order.sale_name = ps_str(request->twin);
        return sale;
    }
    sale = snapshot_buyers_sale(snapshot, name.at, name.len);
    if (sale == NULL) {
        pub_request_refuse(request, ANS_V_not_found, "no such sale");
        return NULL;
    }
    request->order.sale_name = name;
    return sale;
}

/* NULL: not this method. */
static route_fn *handler_of(const struct pub_route *route, enum srv_method method)
{
    if (method == SRV_GET || method == SRV_HEAD)
        return route->get;
    return method == SRV_POST ? route->post : NULL;
}

static void dispatch(struct pub_request *request)
{
    const struct pub_route *route = request->api;
    const struct srv_request *http = request->http;
    const struct snap_sale *sale = NULL;
    route_fn *handler = handler_of(route, http->method);
    put_cors(request, route);
    if (request->listener->admission_len > 0 && request->client.trusted_peer)
        srv_answer_header(request->http, "Penstock-Admission", request->listener->admission,
                          request->listener->admission_len);
    if (http->method == SRV_OPTIONS) {
        answer_options(request, route);
        return;
    }
    if (handler == NULL) {
        srv_answer_header(request->http, "Allow", route->allow, strlen(route->allow));
        pub_request_refuse(request, ANS_V_method_not_allowed, NULL);
        return;
    }
    if (route->is_sale) {
        sale = find_sale(request, request->rest);
        if (sale == NULL)
            return;
    }
    if (http->oversized) {
        pub_request_refuse(request, ANS_V_too_large, NULL);
        return;
    }
    handler(request, sale, request->rest);
}

/* The answer confirms the mark. A client that rehearses must stop at the first answer without this
 * header: from then on it would buy real stock. */
static void judge_mark(struct pub_request *request)
{
    struct pub_listener *listener = request->listener;
    enum pub_rehearsal_result result = pub_rehearsal_judge(
        request->http, &request->client, &listener->gates->snapshot->rehearsal_keys,
        ps_clock_wall_ms(listener->clock), &listener->seen);

    if (result != PUB_REHEARSAL_BELIEVED) {
        ps_metric_add(listener->shard, GW_M_REHEARSAL_MARKS_REFUSED, result, 1);
        return;
    }
    request->order.asked.rehearsal = true;
    srv_answer_header(request->http, "Penstock-Rehearsal", "?1", 2);
}

enum pub_asks pub_routes_asks(const struct srv_request *http, struct ps_str *ret_rest)
{
    static const struct {
        route_fn *handler;
        enum pub_asks asks;
    } known[] = {{post_order, PUB_ASKS_TO_BUY},  {get_own_orders, PUB_ASKS_ORDERS},
                 {get_status, PUB_ASKS_STATUS},  {get_order, PUB_ASKS_ORDER},
                 {get_livez, PUB_ASKS_LIVENESS}, {get_readyz, PUB_ASKS_READINESS},
                 {NULL, PUB_ASKS_ANOTHER_METHOD}};

    for (size_t i = 0; i < PS_ARRAY_LEN(routes); i++) {
        if (!matches_path(&routes[i], http->path, ret_rest))
            continue;
        if (http->method == SRV_OPTIONS)
            return PUB_ASKS_OPTIONS;
        route_fn *handler = handler_of(&routes[i], http->method);
        size_t k = 0;
        while (k + 1 < PS_ARRAY_LEN(known) && known[k].handler != handler)
            k++;
        return known[k].asks;
    }
    return cfg_path_own(http->path) == NULL ? PUB_ASKS_PAGE : PUB_ASKS_NOTHING;
}

bool pub_routes_on_head(struct srv_request *http, struct pub_listener *listener)
{
    struct pub_request *request = http->user;

    request->listener = listener;
    request->http = http;
    for (size_t i = 0; i < PS_ARRAY_LEN(routes); i++) {
        if (matches_path(&routes[i], http->path, &request->rest)) {
            request->api = &routes[i];
            request->api_path = routes[i].path;
            return false;
        }
    }
    return cfg_path_own(http->path) == NULL &&
           page_route(&request->page, &listener->page_worker, http, &request->order.asked);
}

void pub_routes_handle(struct srv_request *http)
{
    struct pub_request *request = http->user;
    const struct pub_listener *listener = request->listener;
    struct adm_request *asked = &request->order.asked;
    bool is_page = request->page.state != PAGE_NONE;

    if (pub_client_find(http, listener->trusted, listener->client_ip_header, &request->client) <
        0) {
        static const char why[] = "a proxy sent a client address that is no address";
        if (is_page)
            (void)page_refuse(&request->page, ANS_V_malformed, why);
        else
            pub_request_refuse(request, ANS_V_malformed, why);
        return;
    }
    asked->address = request->client.address;
    asked->user = request->client.user;
    asked->overdue = http->overdue;
    if (http->header[SRV_H_REHEARSAL].at != NULL)
        judge_mark(request);
    if (request->client.identity == PUB_IDENTITY_OK)
        adm_admit_expect(listener->gates, asked);
    if (request->api != NULL)
        dispatch(request);
    else if (is_page)
        page_start(&request->page, request->client.trusted_peer);
    else
        pub_request_refuse(request, ANS_V_not_found, "no such path");
}
