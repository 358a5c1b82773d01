/* See shop.h. */
#include "gateway/public/shop.h"

#include "gateway/public/shop_internal.h"
#include "gateway/upstream/fields.h"
#include "gateway/upstream/route.h"
#include "gateway/upstream/switch.h"
#include "gateway/upstream/via.h"

#include <string.h>

/* --- What is not the shop's --- */

static bool begins_with(struct ps_str text, const char *prefix)
{
    size_t len = strlen(prefix);

    return text.len >= len && memcmp(text.at, prefix, len) == 0;
}

/* Paths of the API, those included that it does not have: no route takes them. */
static bool is_of_api(struct ps_str path)
{
    return begins_with(path, "/v1/") || ps_str_is(path, "/livez") || ps_str_is(path, "/readyz");
}

/* --- The end of a request --- */

static void end_shop(struct pub_request *request)
{
    up_hold_release(request->shop.hold);
    request->shop = (struct pub_shop){0};
}

void pub_shop_forget(struct pub_request *request)
{
    if (!pub_cache_forget(request) && request->shop.exchange != NULL)
        up_exchange_cancel(request->shop.exchange);
    end_shop(request);
}

void pub_shop_refuse(struct pub_request *request, enum ans_verdict verdict,
                     const struct ans_problem_detail *detail)
{
    struct ans_problem_detail seeded = *detail;

    seeded.seed = adm_limit_hash(request->listener->gates->limits, request->client.address.byte,
                                 sizeof request->client.address.byte);
    pub_request_count(request, verdict);
    end_shop(request);
    srv_problem_answer(request->http, verdict, &seeded);
}

static void refuse(struct pub_request *request, enum ans_verdict verdict, const char *text)
{
    pub_shop_refuse(request, verdict, &(struct ans_problem_detail){.text = text});
}

void pub_shop_keep(struct pub_request *request)
{
    if (!request->shop.kept)
        (void)srv_suspend(request->http);
    request->shop.kept = true;
}

/* --- An answer of the route's own --- */

static void put_line(struct ps_buf *buf, const char *name, const char *value)
{
    ps_buf_puts(buf, name);
    ps_buf_puts(buf, ": ");
    ps_buf_puts(buf, value);
    ps_buf_puts(buf, "\r\n");
}

void pub_shop_answer(struct pub_request *request, const struct cfg_static *fixed,
                     const char *location, const char *why)
{
    const struct cfg_header_rules *rules = &request->shop.route->doc->response_headers;
    struct ps_buf fields = up_worker_scratch(request->listener->shop);
    struct ps_str body = {fixed->body, fixed->body_len};

    if (fixed->content_type != NULL)
        put_line(&fields, "Content-Type", fixed->content_type);
    if (location != NULL)
        put_line(&fields, "Location", location);
    if (why != NULL)
        put_line(&fields, "Penstock-Fallback", why);
    for (size_t i = 0; i < rules->set_count; i++)
        put_line(&fields, rules->set[i].name, rules->set[i].value);
    struct up_hold *hold = request->shop.hold; /* the body is the route's */
    request->shop.status = fixed->status;
    pub_request_count(request, ANS_V_page);
    pub_shop_keep(request);
    request->shop = (struct pub_shop){0};
    (void)srv_answer_forward(request->http,
                             &(struct srv_forward){.status = fixed->status,
                                                   .fields = {fields.at, fields.len},
                                                   .len = (int64_t)fixed->body_len},
                             body, true);
    up_hold_release(hold);
}

/* --- To the shop and back --- */

/* Who answers, for the access log; nobody, if another request has asked. */
static void note_endpoint(struct pub_request *request)
{
    if (request->shop.exchange != NULL)
        request->shop.endpoint = up_exchange_endpoint(request->shop.exchange);
}

static void on_failed(enum up_outcome outcome, bool begun, void *ctx)
{
    struct pub_request *request = ctx;

    note_endpoint(request);
    request->shop.exchange = NULL;
    if (!begun) {
        pub_fallback_next(request, outcome);
        return;
    }
    request->shop.in_trouble = true;
    request->shop.trouble = UP_TROUBLE_failed;
    request->shop.outcome = outcome;
    pub_request_broken(request);
    end_shop(request);
    srv_answer_end(request->http, false);
}

static void on_interim(const struct up_answer *answer, void *ctx)
{
    struct pub_request *request = ctx;
    struct ps_buf fields = up_worker_scratch(request->listener->shop);

    up_fields_answer(&fields, answer->head, answer->base, &(struct cfg_header_rules){0});
    if (!fields.overflow)
        srv_answer_interim(request->http, answer->status, (struct ps_str){fields.at, fields.len});
}

static bool on_answer(const struct up_answer *answer, struct ps_str part, bool last, void *ctx)
{
    struct pub_request *request = ctx;
    struct ps_buf fields = up_worker_scratch(request->listener->shop);
    struct srv_forward head = {.status = answer->status, .len = answer->body_len};
    char why[PUB_FALLBACK_MAX];

    request->shop.status = answer->status;
    note_endpoint(request);
    up_fields_answer(&fields, answer->head, answer->base,
                     &request->shop.route->doc->response_headers);
    pub_cache_put_status(request, &fields);
    if (fields.overflow) {
        struct up_exchange *exchange = request->shop.exchange;
        bool goes_on = pub_cache_forget(request);
        request->shop.exchange = NULL;
        refuse(request, ANS_V_bad_gateway, "the head of the shop's answer is too large");
        if (!goes_on)
            up_exchange_cancel(exchange);
        return goes_on;
    }
    pub_cache_invalidate(request, answer);
    if (pub_fallback_print(request, why)) {
        put_line(&fields, "Penstock-Fallback", why);
        pub_fallback_count(request);
    }
    head.fields = (struct ps_str){fields.at, fields.len};
    head.is_dated = ps_http_find(answer->head, answer->base, PS_STR("Date")).at != NULL;
    pub_request_count(request, ANS_V_page);
    if (last)
        end_shop(request);
    return srv_answer_forward(request->http, &head, part, last);
}

static bool on_answer_part(struct ps_str part, bool last, void *ctx)
{
    struct pub_request *request = ctx;

    if (!last)
        return srv_answer_part(request->http, part);
    end_shop(request);
    srv_answer_last(request->http, part);
    return true;
}

static void on_request_room(void *ctx)
{
    struct pub_request *request = ctx;

    srv_resume(request->http);
}

const struct up_callbacks pub_shop_callbacks = {.interim = on_interim,
                                                .answer = on_answer,
                                                .part = on_answer_part,
                                                .failed = on_failed,
                                                .room = on_request_room};

bool pub_shop_on_part(struct srv_request *http, struct ps_str part, bool last, void *ctx)
{
    struct pub_request *request = http->user;
    struct pub_shop *shop = &request->shop;

    (void)ctx;
    if (shop->exchange == NULL) /* answered already: the rest is nobody's */
        return true;
    shop->body_left -= (int64_t)part.len;
    shop->has_parts |= part.len > 0;
    if (shop->body_left >= 0)
        return up_exchange_part(shop->exchange, part, last);
    bool begun = up_exchange_has_begun(shop->exchange);
    up_exchange_cancel(shop->exchange);
    shop->exchange = NULL;
    if (begun) {
        end_shop(request);
        srv_answer_end(http, false);
    } else {
        refuse(request, ANS_V_too_large, "the body is larger than this route takes");
    }
    return false;
}

void pub_shop_on_room(struct srv_request *http, void *ctx)
{
    struct pub_request *request = http->user;

    (void)ctx;
    if (request->shop.exchange != NULL)
        up_exchange_resume(request->shop.exchange);
}

/* --- A request --- */

/* Of what the pool's algorithm goes by; the same on every gateway. */
static uint64_t key_of(const struct pub_request *request, const struct cfg_pool *pool)
{
    static const struct ps_hash_key fixed = {{0}};
    const struct srv_request *http = request->http;
    struct ps_str by = http->path;
    struct ps_address address;

    if (pool->algorithm == CFG_ALGORITHM_source_ip_hash) {
        ps_address_limit_key(&request->client.address, &address);
        by = (struct ps_str){(const char *)address.byte, sizeof address.byte};
    } else if (pool->hash_name != NULL) {
        struct ps_str name = {pool->hash_name, strlen(pool->hash_name)};
        by = pool->hash_by == CFG_HASH_COOKIE ? up_cookie_find(http->head, http->base, name)
                                              : ps_http_find(http->head, http->base, name);
    }
    return ps_hash64(&fixed, by.at != NULL ? by.at : "", by.len);
}

/* The index of the split that this request goes to; UP_NONE: none. */
static size_t choose_split(const struct pub_request *request)
{
    const struct up_route_view *route = request->shop.route;
    const struct srv_request *http = request->http;
    unsigned off = 0;

    for (size_t i = 0; i < route->doc->split_count; i++)
        off |= (unsigned)up_split_is_off(&route->splits[i]) << i;
    return up_switch_pick(route->switches,
                          &(struct up_asker){.user = request->client.user,
                                             .client = request->client.address,
                                             .head = http->head,
                                             .base = http->base},
                          off,
                          up_route_draws(route->live, up_worker_index(request->listener->shop)));
}

/* That of the split that this request goes to, or the route's own. While the breaker of a split's
 * pool is open, its users have the route's own pool, and the split has failed each of them. */
static void choose_pool(const struct pub_request *request, const struct up_pool_view **ret_pool,
                        struct up_target **ret_target)
{
    const struct up_route_view *route = request->shop.route;
    size_t worker = up_worker_index(request->listener->shop);
    size_t split = choose_split(request);

    *ret_pool = route->pool;
    *ret_target = route->own;
    if (split == UP_NONE)
        return;
    if (!up_pool_admits(route->splits[split].pool, worker)) {
        up_target_skip(route->splits[split].live, worker);
        return;
    }
    *ret_pool = route->splits[split].pool;
    *ret_target = route->splits[split].live;
}

/* NULL: *ret_outcome says why; with UP_OUTCOME_client_gone it is the head that is too large. */
static struct up_exchange *start(struct pub_request *request, const struct up_pool_view *pool,
                                 struct up_target *target, enum up_outcome *ret_outcome)
{
    const struct srv_request *http = request->http;
    const struct up_route_view *route = request->shop.route;
    struct up_worker *worker = request->listener->shop;
    struct ps_buf head = up_worker_scratch(worker);
    struct up_origin origin = {.head = http->head,
                               .base = http->base,
                               .path = http->path,
                               .query = http->query,
                               .host = http->header[SRV_H_HOST],
                               .peer = &http->peer,
                               .trusted = request->client.trusted_peer,
                               .user = request->client.user,
                               .request_id = http->request_id,
                               .rehearsal = pub_request_is_rehearsal(request)};
    char query[CACHE_KEY_MAX];

    pub_cache_origin(request, &origin, query);
    up_fields_request(&head, &origin, &route->doc->request_headers);
    *ret_outcome = head.overflow ? UP_OUTCOME_client_gone : UP_OUTCOME_COUNT;
    if (head.overflow || pool == NULL)
        return NULL;
    struct up_call call = {.route = route->doc,
                           .pool = pool,
                           .target = target,
                           .head = {head.at, head.len},
                           .method = http->head->method,
                           .body_len = http->in_parts ? http->body_len : 0,
                           .key = key_of(request, pool->doc),
                           .began_ns = http->arrived_ns,
                           .callbacks = &pub_shop_callbacks,
                           .ctx = request};
    pub_cache_call(request, &call);
    struct up_exchange *exchange = up_forward(worker, &call, ret_outcome);
    if (exchange != NULL && !request->shop.in_trouble)
        pub_shadow_send(request, &head);
    return exchange;
}

struct up_exchange *pub_shop_start(struct pub_request *request, const struct up_pool_view *pool,
                                   struct up_target *target)
{
    enum up_outcome outcome;

    return start(request, pool, target, &outcome);
}

void pub_shop_send(struct pub_request *request, const struct up_pool_view *pool,
                   struct up_target *target)
{
    enum up_outcome outcome;

    request->shop.pool = pool != NULL ? pool : request->shop.pool;
    request->shop.exchange = start(request, pool, target, &outcome);
    pub_cache_sent(request, request->shop.exchange);
    if (request->shop.exchange != NULL)
        pub_shop_keep(request);
    else if (outcome == UP_OUTCOME_client_gone)
        refuse(request, ANS_V_too_large, "the head is too large with what a route adds to it");
    else
        pub_fallback_next(request, outcome);
}

static void forward(struct pub_request *request)
{
    const struct up_pool_view *pool;
    struct up_target *target;

    request->shop.body_left = request->shop.route->doc->body_max;
    choose_pool(request, &pool, &target);
    if (!pub_cache_take(request, pool, target))
        pub_shop_send(request, pool, target);
}

/* The methods that the route takes, as Allow lists them. */
static void put_allow(struct pub_request *request, uint32_t methods)
{
    static const char *const names[] = {
        [PS_HTTP_GET] = "GET",        [PS_HTTP_HEAD] = "HEAD",   [PS_HTTP_POST] = "POST",
        [PS_HTTP_PUT] = "PUT",        [PS_HTTP_PATCH] = "PATCH", [PS_HTTP_DELETE] = "DELETE",
        [PS_HTTP_OPTIONS] = "OPTIONS"};
    char memory[64];
    struct ps_buf buf;

    ps_buf_init(&buf, memory, sizeof memory);
    for (size_t i = 0; i < PS_ARRAY_LEN(names); i++)
        if ((methods >> i & 1) != 0)
            ps_buf_printf(&buf, "%s%s", buf.len > 0 ? ", " : "", names[i]);
    srv_answer_header(request->http, "Allow", buf.at, buf.len);
}

static struct ps_str without_port(struct ps_str host)
{
    size_t len = host.len;

    while (len > 0 && host.at[len - 1] >= '0' && host.at[len - 1] <= '9')
        len--;
    return len > 0 && host.at[len - 1] == ':' ? (struct ps_str){host.at, len - 1} : host;
}

/* NULL: none; *ret_other as in up_route_find. */
static const struct up_route_view *look_up(const struct pub_listener *listener,
                                           const struct srv_request *http,
                                           const struct up_route_view **ret_other)
{
    const struct up_table *table = up_worker_table(listener->shop);

    *ret_other = NULL;
    if (table == NULL || is_of_api(http->path))
        return NULL;
    return up_route_find(table, without_port(http->header[SRV_H_HOST]), http->path,
                         (enum ps_http_method)http->method, ret_other);
}

bool pub_shop_wants_parts(const struct pub_listener *listener, const struct srv_request *http)
{
    const struct up_route_view *other, *route = look_up(listener, http, &other);

    return route != NULL && route->doc->pool[0] != '\0';
}

/* NULL: answered. */
static const struct up_route_view *find_route(struct pub_request *request)
{
    const struct up_route_view *other, *route = look_up(request->listener, request->http, &other);

    if (route != NULL)
        return route;
    if (other != NULL)
        put_allow(request, other->doc->methods);
    refuse(request, other != NULL ? ANS_V_method_not_allowed : ANS_V_not_found,
           other != NULL ? NULL : "no such path");
    return NULL;
}

/* False: answered. */
static bool is_admitted(struct pub_request *request, const struct cfg_route *route)
{
    const struct pub_listener *listener = request->listener;
    struct adm_admission admission = {.gates = listener->gates,
                                      .request = &request->order.asked,
                                      .now_ns = request->http->now_ns,
                                      .wall_ms = ps_clock_wall_ms(listener->clock)};

    if (adm_admit_page(&admission, route) == ADM_GATE_PASS)
        return true;
    admission.detail.limit = request->order.asked.limit;
    pub_shop_refuse(request, admission.verdict, &admission.detail);
    return false;
}

void pub_shop_handle(struct pub_request *request)
{
    const struct srv_request *http = request->http;
    const struct up_route_view *route = find_route(request);

    if (route == NULL)
        return;
    request->route = route->doc->name;
    if (up_path_has_dots(http->path)) {
        refuse(request, ANS_V_malformed, "the path has a segment of dots");
        return;
    }
    if (up_via_loops(http->head, http->base)) {
        refuse(request, ANS_V_loop_detected, "Via names gateways of this program more than twice");
        return;
    }
    if (http->in_parts && http->body_len > route->doc->body_max) {
        refuse(request, ANS_V_too_large, "the body is larger than this route takes");
        return;
    }
    if (!is_admitted(request, route->doc))
        return;
    request->shop =
        (struct pub_shop){.hold = up_worker_hold(request->listener->shop), .route = route};
    if (route->doc->redirect.status != 0)
        pub_shop_answer(request, &(struct cfg_static){.status = route->doc->redirect.status},
                        route->doc->redirect.location, NULL);
    else if (route->doc->answer.status != 0)
        pub_shop_answer(request, &route->doc->answer, NULL, NULL);
    else if (!pub_fallback_first(request))
        forward(request);
}
