/* The public listener's routes: a table of paths, the methods each takes and the handler of each
 * method. From here on a request is a visit: its client is known, and a sale in its path has been
 * found. The order of saying no: 404 path, 405, 404 sale, 415, 401, then the gates. */
#include "gateway/admission/admit.h"
#include "gateway/public/probes.h"
#include "gateway/public/status_page.h"
#include "gateway/server/strict.h"
#include "gateway/orders/buy.h"
#include "gateway/orders/lookup.h"

#include <string.h>

static void refuse(struct ord_request *visit, enum ans_verdict verdict, const char *text)
{
    gw_worker_count(visit->worker, verdict);
    ans_problem_answer(visit->request, verdict, &(struct ans_problem_detail){.text = text});
}

/* The challenge names the field in which the proxy says who asks: there is no other way here. */
static void refuse_nobody(struct ord_request *visit, const char *text)
{
    srv_answer_header(visit->request, "WWW-Authenticate", "X-User-Id", sizeof "X-User-Id" - 1);
    refuse(visit, ANS_V_unauthenticated, text);
}

/* False: answered. */
static bool identified(struct ord_request *visit)
{
    switch (visit->client.identity) {
    case PUB_IDENTITY_OK:
        return true;
    case PUB_IDENTITY_UNTRUSTED:
        ps_metric_add(visit->worker->shard, GW_M_UNTRUSTED_IDENTITY, 0, 1);
        refuse_nobody(visit, "X-User-Id is believed only from a trusted proxy");
        return false;
    case PUB_IDENTITY_BAD:
        refuse_nobody(
            visit, "X-User-Id: 1 to 128 bytes of UTF-8 without control characters or white space");
        return false;
    case PUB_IDENTITY_NONE:
        refuse_nobody(visit, "X-User-Id is missing");
        return false;
    }
    return false;
}

/* Idempotency-Key is an sf-string; many clients send the bare value. False: answered. */
static bool key_read(struct ord_request *visit)
{
    struct ps_str key = visit->request->header[SRV_H_IDEMPOTENCY_KEY];

    if (key.at == NULL)
        return true;
    if (key.len >= 2 && key.at[0] == '"' && key.at[key.len - 1] == '"')
        key = (struct ps_str){key.at + 1, key.len - 2};
    if (!ps_key_ok(key.at, key.len) || memchr(key.at, '"', key.len) != NULL ||
        memchr(key.at, '\\', key.len) != NULL) {
        refuse(visit, ANS_V_malformed,
               "Idempotency-Key: 1 to 64 visible ASCII characters, quoted or bare");
        return false;
    }
    visit->key = key;
    return true;
}

/* --- handlers --- */

static void get_status(struct ord_request *visit, const struct cfg_sale *sale, struct ps_str rest)
{
    struct adm_admission admission = {
        .visit = visit, .sale = sale, .now_ns = ps_clock_mono_ns(visit->worker->core->clock)};

    (void)rest;
    if (adm_admit_limits(&admission, CFG_LIMIT_STATUS) == ADM_GATE_DENY) {
        const struct ps_address *address = &visit->client.address; /* nobody has to say a user */
        admission.detail.seed =
            adm_limit_hash(visit->worker->core->limits, address->byte, sizeof address->byte);
        admission.detail.limit = visit->limit;
        gw_worker_count(visit->worker, admission.verdict);
        ans_problem_answer(visit->request, admission.verdict, &admission.detail);
        return;
    }
    pub_status_answer(visit->worker, visit->request, sale);
}

static void post_order(struct ord_request *visit, const struct cfg_sale *sale, struct ps_str rest)
{
    (void)rest;
    if (!srv_strict_json(visit->request->header[SRV_H_CONTENT_TYPE])) {
        refuse(visit, ANS_V_unsupported_media_type, NULL);
        return;
    }
    if (!srv_strict_plain(visit->request->header[SRV_H_CONTENT_ENCODING])) {
        refuse(visit, ANS_V_unsupported_media_type, "Content-Encoding: send the body uncompressed");
        return;
    }
    if (identified(visit) && key_read(visit))
        ord_buy_start(visit, sale);
}

static void get_own_orders(struct ord_request *visit, const struct cfg_sale *sale,
                           struct ps_str rest)
{
    (void)rest;
    if (identified(visit))
        ord_lookup_own(visit, sale);
}

static void get_order(struct ord_request *visit, const struct cfg_sale *sale, struct ps_str rest)
{
    struct ps_uuid id;

    (void)sale;
    if (!identified(visit))
        return;
    if (ps_uuid_parse(rest.at, rest.len, &id) < 0)
        refuse(visit, ANS_V_not_found, "no such order of this user");
    else
        ord_lookup_order(visit, &id);
}

static void get_livez(struct ord_request *visit, const struct cfg_sale *sale, struct ps_str rest)
{
    (void)sale;
    (void)rest;
    gw_worker_count(visit->worker, ANS_V_ok);
    pub_probe_live(visit->request);
}

static void get_readyz(struct ord_request *visit, const struct cfg_sale *sale, struct ps_str rest)
{
    (void)sale;
    (void)rest;
    gw_worker_count(visit->worker, pub_probe_ready(visit->worker->core, visit->request, false));
}

/* --- the table --- */

typedef void route_fn(struct ord_request *visit, const struct cfg_sale *sale, struct ps_str rest);

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

/* Origins of the settings may call the API from a browser with an identity: a cookie or a token for
 * the front proxy. Every origin may read the status page, without one. The page says so itself, for
 * caches; here it is said for its other answers. */
static void put_cors(struct ord_request *visit, const struct route *route)
{
    static const char expose[] = "Location, Retry-After, RateLimit, RateLimit-Policy, "
                                 "Idempotency-Replayed, X-Request-Id";
    const struct ps_option_list *allowed = &visit->worker->core->settings->cors.allow_origins;
    struct ps_str origin = visit->request->header[SRV_H_ORIGIN];

    if (origin.at == NULL)
        return;
    if (route->open_to_all) {
        srv_answer_header(visit->request, "Access-Control-Allow-Origin", "*", 1);
        return;
    }
    if (allowed->count == 0)
        return;
    srv_answer_header(visit->request, "Vary", "Origin", sizeof "Origin" - 1);
    for (size_t i = 0; i < allowed->count; i++) {
        if (strlen(allowed->at[i]) == origin.len &&
            memcmp(allowed->at[i], origin.at, origin.len) == 0) {
            srv_answer_header(visit->request, "Access-Control-Allow-Origin", origin.at, origin.len);
            srv_answer_header(visit->request, "Access-Control-Allow-Credentials", "true", 4);
            srv_answer_header(visit->request, "Access-Control-Expose-Headers", expose,
                              sizeof expose - 1);
            return;
        }
    }
}

static void answer_options(struct ord_request *visit, const struct route *route)
{
    static const char headers[] =
        "Authorization, Content-Type, Idempotency-Key, X-Request-Id, traceparent";

    srv_answer_header(visit->request, "Allow", route->allow, strlen(route->allow));
    if (visit->request->header[SRV_H_REQUEST_METHOD].at != NULL) { /* a preflight */
        srv_answer_header(visit->request, "Access-Control-Allow-Methods", route->allow,
                          strlen(route->allow));
        srv_answer_header(visit->request, "Access-Control-Allow-Headers", headers,
                          sizeof headers - 1);
        srv_answer_header(visit->request, "Access-Control-Max-Age", "600", 3);
    }
    gw_worker_count(visit->worker, ANS_V_no_content);
    srv_answer(visit->request, 204, NULL, (struct ps_str){"", 0}, false);
}

static void dispatch(struct ord_request *visit, const struct route *route, struct ps_str rest)
{
    struct srv_request *request = visit->request;
    const struct cfg_sale *sale = NULL;
    route_fn *handler = request->method == SRV_GET || request->method == SRV_HEAD ? route->get
                        : request->method == SRV_POST                             ? route->post
                                                                                  : NULL;
    put_cors(visit, route);
    if (request->method == SRV_OPTIONS) {
        answer_options(visit, route);
        return;
    }
    if (handler == NULL) {
        srv_answer_header(request, "Allow", route->allow, strlen(route->allow));
        refuse(visit, ANS_V_method_not_allowed, NULL);
        return;
    }
    if (route->is_sale) {
        sale = cfg_snapshot_sale(visit->worker->policy, rest.at, rest.len);
        if (sale == NULL) {
            refuse(visit, ANS_V_not_found, "no such sale");
            return;
        }
        visit->sale_name = rest;
    }
    if (request->oversized) {
        refuse(visit, ANS_V_too_large, NULL);
        return;
    }
    handler(visit, sale, rest);
}

void gw_routes_handle(struct srv_request *request, void *ctx)
{
    struct gw_worker *worker = ctx;
    struct ord_request *visit = request->user;
    const struct gw_settings *settings = worker->core->settings;
    struct ps_str rest;

    visit->worker = worker;
    visit->request = request;
    if (pub_client_find(request, &settings->trusted, settings->client_ip_header[0] != 0,
                        &visit->client) < 0) {
        refuse(visit, ANS_V_malformed, "a proxy has sent a client address that is none");
        return;
    }
    if (visit->client.identity == PUB_IDENTITY_OK)
        adm_admit_expect(visit);
    for (size_t i = 0; i < PS_ARRAY_LEN(routes); i++) {
        if (matches(&routes[i], request->path, &rest)) {
            dispatch(visit, &routes[i], rest);
            return;
        }
    }
    refuse(visit, ANS_V_not_found, "no such path");
}
