/* A tick makes four passes over the members: move the window of 10 s on; decide which are drained,
 * down, still ejected, or used; find outliers among the used ones; compute the weights. */
#include "gateway/upstream/judge.h"

#include "common/clock.h"
#include "common/program/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOW_START_FIRST 0.1 /* of the weight */

struct tick {
    const struct up_pool_view *view;
    const struct cfg_pool *doc;
    int64_t now_ns, now_ms;
    bool beside; /* the pool had members before: a new one starts slowly beside them */
    size_t counted, usable, ejected;
    double median_ns; /* of the latencies; 0: fewer than two can be compared */
};

static bool is_used(const struct up_endpoint *endpoint)
{
    return endpoint->state == UP_UP || endpoint->state == UP_SLOW_START;
}

/* Shares are of these members: one that is drained, or gets nothing anyway, has not failed. */
static bool counts(const struct up_member *member)
{
    return !member->as.drain && member->as.weight > 0;
}

static void log_state(const struct tick *tick, const struct up_endpoint *endpoint)
{
    const char *name = tick->view->doc->name, *address = endpoint->is.address;

    switch (endpoint->state) {
    case UP_DOWN:
        ps_log(PS_LOG_WARN, "endpoint_down", PS_F_STR("pool", name), PS_F_STR("endpoint", address),
               PS_F_STR("why", endpoint->why));
        break;
    case UP_EJECTED:
        ps_log(PS_LOG_WARN, "endpoint_ejected", PS_F_STR("pool", name),
               PS_F_STR("endpoint", address), PS_F_STR("why", endpoint->why),
               PS_F_INT("for_ms", up_outlier_time_ns(&endpoint->judged, tick->doc) / PS_NS_PER_MS));
        break;
    case UP_DRAINING:
        ps_log(PS_LOG_INFO, "endpoint_draining", PS_F_STR("pool", name),
               PS_F_STR("endpoint", address));
        break;
    default:
        ps_log(PS_LOG_INFO, "endpoint_up", PS_F_STR("pool", name), PS_F_STR("endpoint", address));
        break;
    }
}

static void set_state(const struct tick *tick, struct up_endpoint *endpoint, enum up_state state,
                      const char *why)
{
    bool was_used = is_used(endpoint);

    snprintf(endpoint->why, sizeof endpoint->why, "%s", why);
    if (state == endpoint->state)
        return;
    endpoint->state = state;
    endpoint->since_ms = tick->now_ms;
    if (!was_used || !is_used(endpoint)) /* from slow start to up is not logged */
        log_state(tick, endpoint);
}

static void clear_recent(const struct tick *tick, struct up_endpoint *endpoint)
{
    struct up_figures now;

    up_figures_read(endpoint, &now);
    up_recent_clear(&endpoint->judged.recent, &now, tick->now_ns);
    atomic_store_explicit(&endpoint->in_row, 0, memory_order_relaxed);
}

/* Figures from before it was left out say nothing about its present state. */
static void use_again(const struct tick *tick, struct up_endpoint *endpoint)
{
    clear_recent(tick, endpoint);
    endpoint->judged.back_ns = endpoint->judged.slow_ns = tick->now_ns;
}

static void read_added(const struct up_endpoint *endpoint, struct up_figures *ret_added)
{
    struct up_figures now;

    up_figures_read(endpoint, &now);
    up_recent_read(&endpoint->judged.recent, &now, ret_added);
}

/* --- 1: what there is to judge --- */

static int compare_doubles(const void *a, const void *b)
{
    double one = *(const double *)a, two = *(const double *)b;

    return one < two ? -1 : one > two;
}

/* The lower of the two in the middle: with two endpoints, one can be the slow one. */
static double median_of(double *values, size_t count)
{
    if (count < 2)
        return 0;
    qsort(values, count, sizeof *values, compare_doubles);
    return values[(count - 1) / 2];
}

static void move_on(struct tick *tick)
{
    double means[CFG_ENDPOINTS_MAX];
    size_t mean_count = 0;

    for (size_t i = 0; i < tick->view->member_count; i++) {
        const struct up_member *member = &tick->view->members[i];
        struct up_endpoint *endpoint = member->endpoint;
        struct up_figures now, added;
        if (!endpoint->judged.known) {
            clear_recent(tick, endpoint);
            continue;
        }
        tick->beside = tick->beside || counts(member);
        up_figures_read(endpoint, &now);
        up_recent_move(&endpoint->judged.recent, &now, tick->now_ns);
        up_recent_read(&endpoint->judged.recent, &now, &added);
        if (counts(member) && is_used(endpoint) && up_outlier_has_latency(tick->doc, &added))
            means[mean_count++] = up_figures_mean_ns(&added);
    }
    tick->median_ns = median_of(means, mean_count);
}

/* --- 2: what does not hang on the others --- */

static bool in_slow_start(const struct tick *tick, const struct up_judged *judged)
{
    return judged->slow_ns != 0 &&
           tick->now_ns - judged->slow_ns < tick->doc->slow_start_ms * PS_NS_PER_MS;
}

static void judge_one(struct tick *tick, const struct up_member *member,
                      const struct up_verdict *check)
{
    struct up_endpoint *endpoint = member->endpoint;
    struct up_judged *judged = &endpoint->judged;
    char why[UP_WHY_SIZE];

    if (!judged->known) {
        judged->known = true;
        judged->slow_ns = tick->beside ? tick->now_ns : 0;
    }
    if (!member->as.drain)
        judged->drain_ns = 0;
    else if (judged->drain_ns == 0)
        judged->drain_ns = tick->now_ns;

    if (member->as.drain)
        set_state(tick, endpoint, UP_DRAINING, "drained by its document");
    else if (check != NULL && check->check == UP_CHECK_FAILING) {
        snprintf(why, sizeof why, "check: %.*s", (int)sizeof why - 8, check->why);
        set_state(tick, endpoint, UP_DOWN, why);
    } else if (endpoint->state != UP_EJECTED ||
               tick->now_ns - judged->out_ns >= up_outlier_time_ns(judged, tick->doc)) {
        if (!is_used(endpoint))
            use_again(tick, endpoint);
        set_state(tick, endpoint, in_slow_start(tick, judged) ? UP_SLOW_START : UP_UP, "");
    }
    if (!counts(member))
        return;
    tick->counted++;
    tick->usable += is_used(endpoint);
    tick->ejected += endpoint->state == UP_EJECTED;
}

/* --- 3: outliers --- */

/* Ejects outliers, as many as may be out at once. The last one in use is never ejected. */
static void eject(struct tick *tick, const struct up_member *member)
{
    struct up_endpoint *endpoint = member->endpoint;
    struct up_figures added;
    char why[UP_WHY_SIZE];

    if (!counts(member) || !is_used(endpoint) || tick->usable < 2 ||
        tick->ejected >= up_outlier_most(tick->doc, tick->counted))
        return;
    read_added(endpoint, &added);
    enum up_outlier outlier = up_outlier_judge(
        tick->doc, &added, atomic_load_explicit(&endpoint->in_row, memory_order_relaxed),
        tick->median_ns, why, sizeof why);
    if (outlier == UP_OUTLIER_NONE)
        return;
    up_outlier_eject(&endpoint->judged, tick->doc, tick->now_ns);
    set_state(tick, endpoint, UP_EJECTED, why);
    tick->view->pool->ejections[outlier]++;
    tick->usable--;
    tick->ejected++;
}

static void judge_panic(const struct tick *tick)
{
    struct up_pool *pool = tick->view->pool;
    bool panic = (double)tick->usable < tick->doc->panic_share * (double)tick->counted;

    if (panic == pool->panic)
        return;
    pool->panic = panic;
    pool->panic_since_ms = tick->now_ms;
    if (panic)
        ps_log(PS_LOG_ERROR, "pool_panic", PS_F_STR("pool", tick->doc->name),
               PS_F_INT("usable", tick->usable), PS_F_INT("endpoints", tick->counted));
    else
        ps_log(PS_LOG_INFO, "pool_panic_over", PS_F_STR("pool", tick->doc->name),
               PS_F_INT("usable", tick->usable), PS_F_INT("endpoints", tick->counted));
}

/* --- 4: what the workers see --- */

static uint32_t weight_of(const struct tick *tick, const struct up_member *member)
{
    const struct up_endpoint *endpoint = member->endpoint;
    uint32_t full = (uint32_t)member->as.weight * UP_WEIGHT_ONE;

    if (member->as.drain || full == 0)
        return 0;
    if (tick->view->pool->panic || endpoint->state == UP_UP)
        return full;
    if (endpoint->state != UP_SLOW_START)
        return 0;
    double passed = (double)(tick->now_ns - endpoint->judged.slow_ns) /
                    (double)(tick->doc->slow_start_ms * PS_NS_PER_MS);
    return (uint32_t)((SLOW_START_FIRST + (1 - SLOW_START_FIRST) * passed) * full);
}

/* Stores only changes: a store of the same value would cost each worker a cache miss. */
static void publish(const struct tick *tick, const struct up_member *member)
{
    struct up_endpoint *endpoint = member->endpoint;
    uint32_t weight = weight_of(tick, member);
    bool cut = member->as.drain &&
               tick->now_ns - endpoint->judged.drain_ns >= tick->doc->drain_ms * PS_NS_PER_MS;

    if (atomic_load_explicit(&endpoint->weight, memory_order_relaxed) != weight)
        atomic_store_explicit(&endpoint->weight, weight, memory_order_relaxed);
    if (atomic_load_explicit(&endpoint->cut, memory_order_relaxed) != cut)
        atomic_store_explicit(&endpoint->cut, cut, memory_order_relaxed);
}

void up_judge_tick(const struct up_pool_view *pool, const struct up_verdict *const *checks,
                   int64_t now_ns, int64_t now_ms)
{
    struct tick tick = {.view = pool, .doc = pool->doc, .now_ns = now_ns, .now_ms = now_ms};

    move_on(&tick);
    for (size_t i = 0; i < pool->member_count; i++)
        judge_one(&tick, &pool->members[i], checks != NULL ? checks[i] : NULL);
    for (size_t i = 0; i < pool->member_count; i++)
        eject(&tick, &pool->members[i]);
    judge_panic(&tick);
    for (size_t i = 0; i < pool->member_count; i++)
        publish(&tick, &pool->members[i]);
}
