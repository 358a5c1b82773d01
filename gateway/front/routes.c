/* The public listener's routes: a table of paths, the methods each takes and the handler of each
 * method. From here on a request is a visit: its client is known, and a sale in its path has been
 * found. The order of saying no: 404 path, 405, 404 sale, 415, 401, then the gates. */
#include "gateway/admission/admit.h"
#include "gateway/front/probes.h"
#include "gateway/front/status_page.h"
#include "gateway/front/strict.h"
#include "gateway/orders/buy.h"
#include "gateway/orders/lookup.h"

#include <string.h>

static void refuse(struct gw_visit *visit, enum gw_verdict verdict, const char *text)
{
    gw_worker_count(visit->worker, verdict);
    gw_problem_answer(visit->request, verdict, &(struct gw_problem_detail){.text = text});
}

/* The challenge names the field in which the proxy says who asks: there is no other way here. */
static void refuse_nobody(struct gw_visit *visit, const char *text)
{
    gw_answer_header(visit->request, "WWW-Authenticate", "X-User-Id", sizeof "X-User-Id" - 1);
    refuse(visit, GW_V_unauthenticated, text);
}

/* False: answered. */
static bool identified(struct gw_visit *visit)
{
    switch (visit->client.identity) {
    case GW_IDENTITY_OK:
        return true;
    case GW_IDENTITY_UNTRUSTED:
        ps_metric_add(visit->worker->shard, GW_M_UNTRUSTED_IDENTITY, 0, 1);
        refuse_nobody(visit, "X-User-Id is believed only from a trusted proxy");
        return false;
    case GW_IDENTITY_BAD:
        refuse_nobody(
            visit, "X-User-Id: 1 to 128 bytes of UTF-8 without control characters or white space");
        return false;
    case GW_IDENTITY_NONE:
        refuse_nobody(visit, "X-User-Id is missing");
        return false;
    }
    return false;
}

/* Idempotency-Key is an sf-string; many clients send the bare value. False: answered. */
static bool key_read(struct gw_visit *visit)
{
    struct ps_str key = visit->request->header[GW_H_IDEMPOTENCY_KEY];

    if (key.at == NULL)
        return true;
    if (key.len >= 2 && key.at[0] == '"' && key.at[key.len - 1] == '"')
        key = (struct ps_str){key.at + 1, key.len - 2};
    if (!ps_key_ok(key.at, key.len) || memchr(key.at, '"', key.len) != NULL ||
        memchr(key.at, '\\', key.len) != NULL) {
        refuse(visit, GW_V_malformed,
               "Idempotency-Key: 1 to 64 visible ASCII characters, quoted or bare");
        return false;
    }
    visit->key = key;
    return true;
}

/* --- handlers --- */

static void get_status(struct gw_visit *visit, const struct gw_sale *sale, struct ps_str rest)
{
    struct gw_admission admission = {
        .visit = visit, .sale = sale, .now_ns = ps_clock_mono_ns(visit->worker->core->clock)};

    (void)rest;
    if (gw_admit_limits(&admission, GW_LIMIT_STATUS) == GW_NO) {
        const struct gw_address *address = &visit->client.address; /* nobody has to say a user */
        admission.detail.seed =
            gw_limit_hash(visit->worker->core->limits, address->byte, sizeof address->byte);
        admission.detail.limit = visit->limit;
        gw_worker_count(visit->worker, admission.verdict);
        gw_problem_answer(visit->request, admission.verdict, &admission.detail);
        return;
    }
    gw_status_answer(visit->worker, visit->request, sale);
}

static void post_order(struct gw_visit *visit, const struct gw_sale *sale, struct ps_str rest)
{
    (void)rest;
    if (!gw_strict_json(visit->request->header[GW_H_CONTENT_TYPE])) {
        refuse(visit, GW_V_unsupported_media_type, NULL);
        return;
    }
    if (identified(visit) && key_read(visit))
        gw_buy_start(visit, sale);
}

static void get_own_orders(struct gw_visit *visit, const struct gw_sale *sale, struct ps_str rest)
{
    (void)rest;
    if (identified(visit))
        gw_lookup_own(visit, sale);
}

static void get_order(struct gw_visit *visit, const struct gw_sale *sale, struct ps_str rest)
{
    struct ps_uuid id;

    (void)sale;
    if (!identified(visit))
        return;
    if (ps_uuid_parse(rest.at, rest.len, &id) < 0)
        refuse(visit, GW_V_not_found, "no such order of this user");
    else
        gw_lookup_order(visit, &id);
}

static void get_livez(struct gw_visit *visit, const struct gw_sale *sale, struct ps_str rest)
{
    (void)sale;
    (void)rest;
    gw_worker_count(visit->worker, GW_V_ok);
    gw_probe_live(visit->request);
}

static void get_readyz(struct gw_visit *visit, const struct gw_sale *sale, struct ps_str rest)
{
    (void)sale;
    (void)rest;
    gw_worker_count(visit->worker, gw_probe_ready(visit->worker->core, visit->request, false));
}

/* --- the table --- */

typedef void route_fn(struct gw_visit *visit, const struct gw_sale *sale, struct ps_str rest);

/* clang-format off */
static const struct route {
    const char *prefix, *suffix; /* between them: one segment, or nothing when `segment` is false */
    bool segment, is_sale;
    route_fn *get, *post;        /* GET also serves HEAD */
    const char *allow;
    bool open_to_all;            /* CORS: any origin may read it */
} routes[] = {
    {"/v1/sales/",  "/orders", true,  true,  get_own_orders, post_order, "GET, HEAD, POST, OPTIONS", false},
    {"/v1/sales/",  "",        true,  true,  get_status,     NULL,       "GET, HEAD, OPTIONS",       true},
    {"/v1/orders/", "",        true,  false, get_order,      NULL,       "GET, HEAD, OPTIONS",       false},
    {"/livez",      "",        false, false, get_livez,      NULL,       "GET, HEAD, OPTIONS",       false},
    {"/readyz",     "",        false, false, get_readyz,     NULL,       "GET, HEAD, OPTIONS",       false},
};
/* clang-format on */

static bool matches(const struct route *route, struct ps_str path, struct ps_str *ret_rest)
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

/* Origins of the settings may call the API from a browser, and every origin may read the status
 * page. The page says so itself, for caches; here it is said for its other answers. */
static void put_cors(struct gw_visit *visit, const struct route *route)
{
    static const char expose[] = "Location, Retry-After, RateLimit, RateLimit-Policy";
    const struct ps_option_list *allowed = &visit->worker->core->settings->cors.allow_origins;
    struct ps_str origin = visit->request->header[GW_H_ORIGIN];

    if (origin.at == NULL)
        return;
    if (route->open_to_all) {
        gw_answer_header(visit->request, "Access-Control-Allow-Origin", "*", 1);
        return;
    }
    if (allowed->count == 0)
        return;
    gw_answer_header(visit->request, "Vary", "Origin", sizeof "Origin" - 1);
    for (size_t i = 0; i < allowed->count; i++) {
        if (strlen(allowed->at[i]) == origin.len &&
            memcmp(allowed->at[i], origin.at, origin.len) == 0) {
            gw_answer_header(visit->request, "Access-Control-Allow-Origin", origin.at, origin.len);
            gw_answer_header(visit->request, "Access-Control-Expose-Headers", expose,
                             sizeof expose - 1);
            return;
        }
    }
}

static void answer_options(struct gw_visit *visit, const struct route *route)
{
    static const char headers[] = "Content-Type, Idempotency-Key, X-Request-Id, traceparent";

    gw_answer_header(visit->request, "Allow", route->allow, strlen(route->allow));
    if (visit->request->header[GW_H_REQUEST_METHOD].at != NULL) { /* a preflight */
        gw_answer_header(visit->request, "Access-Control-Allow-Methods", route->allow,
                         strlen(route->allow));
        gw_answer_header(visit->request, "Access-Control-Allow-Headers", headers,
                         sizeof headers - 1);
        gw_answer_header(visit->request, "Access-Control-Max-Age", "600", 3);
    }
    gw_worker_count(visit->worker, GW_V_no_content);
    gw_http_answer(visit->request, 204, NULL, (struct ps_str){"", 0}, false);
}

static void dispatch(struct gw_visit *visit, const struct route *route, struct ps_str rest)
{
    struct gw_request *request = visit->request;
    const struct gw_sale *sale = NULL;
    route_fn *handler = request->method == GW_GET || request->method == GW_HEAD ? route->get
                        : request->method == GW_POST                            ? route->post
                                                                                : NULL;
    put_cors(visit, route);
    if (request->method == GW_OPTIONS) {
        answer_options(visit, route);
        return;
    }
    if (handler == NULL) {
        gw_answer_header(request, "Allow", route->allow, strlen(route->allow));
        refuse(visit, GW_V_method_not_allowed, NULL);
        return;
    }
    if (route->is_sale) {
        sale = gw_policy_sale(visit->worker->policy, rest.at, rest.len);
        if (sale == NULL) {
            refuse(visit, GW_V_not_found, "no such sale");
            return;
        }
        visit->sale_name = rest;
    }
    if (request->oversized) {
        refuse(visit, GW_V_too_large, NULL);
        return;
    }
    handler(visit, sale, rest);
}

void gw_routes_handle(struct gw_request *request, void *ctx)
{
    struct gw_worker *worker = ctx;
    struct gw_visit *visit = request->user;
    const struct gw_settings *settings = worker->core->settings;
    struct ps_str rest;

    visit->worker = worker;
    visit->request = request;
    if (gw_client_find(request, &settings->trusted, settings->client_ip_header[0] != 0,
                       &visit->client) < 0) {
        refuse(visit, GW_V_malformed, "a proxy has sent a client address that is none");
        return;
    }
    if (visit->client.identity == GW_IDENTITY_OK)
        gw_admit_expect(visit);
    for (size_t i = 0; i < PS_ARRAY_LEN(routes); i++) {
        if (matches(&routes[i], request->path, &rest)) {
            dispatch(visit, &routes[i], rest);
            return;
        }
    }
    refuse(visit, GW_V_not_found, "no such path");
}
