/* What answers in the place of a route's pool, in the order of its document (upstream/fallback.h).
 * Such an answer says so: Penstock-Fallback: static; why=deadline.
 *
 * A request whose body has been sent to one pool is not sent to another: it is there no more. */
#include "gateway/public/shop_internal.h"

#include <stdio.h>

/* --- Why --- */

static enum up_trouble trouble_of(enum up_outcome outcome)
{
    switch (outcome) {
    case UP_UNSENT_NO_ENDPOINT:
        return UP_TROUBLE_no_endpoint;
    case UP_UNSENT_BREAKER:
        return UP_TROUBLE_breaker;
    case UP_UNSENT_BUSY:
        return UP_TROUBLE_busy;
    case UP_OUTCOME_timeout:
    case UP_OUTCOME_connect_timeout:
        return UP_TROUBLE_deadline;
    default:
        return UP_TROUBLE_failed;
    }
}

static const char *text_of_outcome(enum up_outcome outcome)
{
    switch (outcome) {
    case UP_OUTCOME_refused:
        return "the shop's server takes no connections";
    case UP_OUTCOME_connect_timeout:
        return "the shop's server could not be connected to in time";
    case UP_OUTCOME_malformed:
        return "the shop's server sent what is no HTTP answer";
    case UP_OUTCOME_timeout:
        return "the shop's server did not answer in time";
    default:
        return "the shop's server ended the connection without an answer";
    }
}

static const char *text_of(const struct pub_shop *shop)
{
    switch (shop->trouble) {
    case UP_TROUBLE_order:
        return "this part of the shop is taken out of service for a while";
    case UP_TROUBLE_level:
        return "this part of the shop gives way while the gateway is overloaded";
    case UP_TROUBLE_breaker:
        return "the shop's servers are spared for a while: too many requests there have failed, or "
               "an operator says so";
    case UP_TROUBLE_busy:
        return "as much is under way to the shop's servers as they can answer in time";
    case UP_TROUBLE_no_endpoint:
        return "no server of the shop can be used now";
    default:
        return text_of_outcome(shop->outcome);
    }
}

static enum ans_verdict verdict_of(enum up_trouble trouble)
{
    switch (trouble) {
    case UP_TROUBLE_level:
        return ANS_V_shed;
    case UP_TROUBLE_deadline:
        return ANS_V_gateway_timeout;
    case UP_TROUBLE_failed:
        return ANS_V_bad_gateway;
    default:
        return ANS_V_upstream_unavailable;
    }
}

/* CFG_FEATURE_COUNT: it gives way to nothing. */
static enum cfg_feature feature_of(enum cfg_route_class class)
{
    static const enum cfg_feature features[CFG_ROUTE_CLASSES] = {
        [CFG_ROUTE_CORE] = CFG_FEATURE_COUNT,
        [CFG_ROUTE_IMPORTANT] = CFG_FEATURE_routes_important,
        [CFG_ROUTE_NORMAL] = CFG_FEATURE_routes_normal,
        [CFG_ROUTE_EXTRA] = CFG_FEATURE_routes_extra};
    return features[class];
}

/* --- The answer --- */

static const struct cfg_fallback *current(const struct pub_shop *shop)
{
    return &shop->route->doc->fallbacks[shop->next_fallback - 1];
}

bool pub_fallback_print(const struct pub_request *request, char ret_text[PUB_FALLBACK_MAX])
{
    const struct pub_shop *shop = &request->shop;

    if (!shop->in_trouble)
        return false;
    (void)snprintf(ret_text, PUB_FALLBACK_MAX, "%s; why=%s", up_fallback_names[current(shop)->kind],
                   up_trouble_names[shop->trouble]);
    return true;
}

void pub_fallback_count(const struct pub_request *request)
{
    const struct pub_shop *shop = &request->shop;

    if (shop->in_trouble)
        up_route_fell_back(shop->route->live, up_worker_index(request->listener->shop),
                           current(shop)->kind);
}

static void give_up(struct pub_request *request)
{
    const struct pub_shop *shop = &request->shop;
    struct ans_problem_detail detail = {.text = text_of(shop)};

    if (shop->trouble == UP_TROUBLE_level)
        detail.policy = cfg_feature_names[feature_of(shop->route->doc->class)];
    pub_shop_refuse(request, verdict_of(shop->trouble), &detail);
}

static void answer_problem(struct pub_request *request)
{
    char why[PUB_FALLBACK_MAX];

    pub_fallback_count(request);
    (void)pub_fallback_print(request, why);
    srv_answer_header(request->http, "Penstock-Fallback", why, strlen(why));
    give_up(request);
}

static void answer_static(struct pub_request *request, const struct cfg_static *fixed)
{
    char why[PUB_FALLBACK_MAX];

    pub_fallback_count(request);
    (void)pub_fallback_print(request, why);
    pub_shop_answer(request, fixed, NULL, why);
}

/* What there was a moment ago may have been evicted meanwhile. */
static void answer_stale(struct pub_request *request)
{
    char why[PUB_FALLBACK_MAX];

    pub_fallback_count(request);
    (void)pub_fallback_print(request, why);
    if (!pub_cache_answer_stale(request, why))
        give_up(request);
}

/* --- Which one --- */

static unsigned other_pools(const struct pub_shop *shop)
{
    unsigned bits = 0;

    for (size_t i = 0; i < shop->route->doc->fallback_count; i++) {
        const struct up_pool_view *pool = shop->route->fallback[i];
        bits |= (unsigned)(pool != NULL && pool != shop->pool) << i;
    }
    return bits;
}

static bool has_time(const struct pub_request *request)
{
    int64_t total_ns = request->shop.route->doc->total_ms * PS_NS_PER_MS;

    return ps_clock_mono_ns(request->listener->clock) < request->http->arrived_ns + total_ns;
}

static void fall_back(struct pub_request *request)
{
    struct pub_shop *shop = &request->shop;
    const struct cfg_route *doc = shop->route->doc;
    size_t index = up_fallback_next(
        doc, shop->next_fallback,
        &(struct up_fallback_offer){.stale = pub_cache_has_stale(request),
                                    .sendable = !shop->has_parts && has_time(request),
                                    .pools = other_pools(shop)});

    shop->next_fallback = index + 1;
    if (index == doc->fallback_count) {
        up_route_has_nothing(shop->route->live, up_worker_index(request->listener->shop));
        give_up(request);
    } else if (doc->fallbacks[index].kind == CFG_FALLBACK_STALE) {
        answer_stale(request);
    } else if (doc->fallbacks[index].kind == CFG_FALLBACK_POOL) {
        pub_shop_send(request, shop->route->fallback[index], NULL);
    } else if (doc->fallbacks[index].kind == CFG_FALLBACK_STATIC) {
        answer_static(request, &doc->fallbacks[index].fixed);
    } else {
        answer_problem(request);
    }
}

static bool begin(struct pub_request *request, enum up_trouble trouble)
{
    request->shop.in_trouble = true;
    request->shop.trouble = trouble;
    fall_back(request);
    return true;
}

bool pub_fallback_first(struct pub_request *request)
{
    const struct cfg_route *doc = request->shop.route->doc;
    enum cfg_feature feature = feature_of(doc->class);

    if (doc->fallback_pin.until_ms != 0 &&
        cfg_pin_is_in_force(&doc->fallback_pin, ps_clock_wall_ms(request->listener->clock)))
        return begin(request, UP_TROUBLE_order);
    if (feature != CFG_FEATURE_COUNT && !pub_feature_on(request->listener, feature))
        return begin(request, UP_TROUBLE_level);
    return false;
}

void pub_fallback_next(struct pub_request *request, enum up_outcome outcome)
{
    struct pub_shop *shop = &request->shop;

    if (shop->in_trouble) { /* a fall-back pool: what was first is what is told */
        fall_back(request);
        return;
    }
    shop->outcome = outcome;
    (void)begin(request, trouble_of(outcome));
}
