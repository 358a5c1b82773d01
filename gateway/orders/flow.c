/* See flow.h. */
#include "gateway/orders/flow.h"

#include <stdlib.h>

#define LOG_FLOOR     16 /* one small batch being written, one being filled */
#define STORE_FLOOR   8
#define STORE_INITIAL 1024 /* eight full script calls */
#define STORE_CEILING 8192 /* the most that one link queues */
#define ROUNDS        8    /* batches of the log in progress before the first measurement */
#define LATE          3    /* an outcome may arrive this many worker delays late */
#define STAMP_SHIFT   10   /* a stamp is in units of 1,024 ns and wraps after 73 minutes */

static int64_t min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void init_limit(struct ps_adaptive_limit *limit, int64_t floor, int64_t initial,
                       int64_t ceiling, int64_t target_ms, int64_t timeout_ms)
{
    int64_t timeout_ns = timeout_ms * PS_NS_PER_MS;
    const struct ps_adaptive_limit_settings settings = {
        .floor = (uint32_t)floor,
        .initial = (uint32_t)max(floor, min(initial, ceiling)),
        .ceiling = (uint32_t)ceiling,
        .target_ns = min(target_ms * PS_NS_PER_MS, timeout_ns / 2),
        .timeout_ns = timeout_ns};

    ps_adaptive_limit_init(limit, &settings);
}

int ord_flow_new(const struct ord_flow_settings *settings, struct ord_flow **ret_flow)
{
    struct ord_flow *flow = calloc(1, sizeof *flow);

    if (flow == NULL)
        return PS_E_NOMEM;
    init_limit(&flow->log, LOG_FLOOR, ROUNDS * settings->log_batch_max, settings->log_queue,
               settings->log_target_ms, settings->ack_timeout_ms);
    flow->workers = settings->workers;
    if (settings->shared_store) {
        flow->stores = calloc(settings->workers, sizeof *flow->stores);
        if (flow->stores == NULL) {
            free(flow);
            return PS_E_NOMEM;
        }
        for (size_t i = 0; i < settings->workers; i++)
            init_limit(&flow->stores[i], STORE_FLOOR, STORE_INITIAL, STORE_CEILING,
                       settings->store_target_ms, settings->store_timeout_ms);
    }
    *ret_flow = flow;
    return 0;
}

void ord_flow_free(struct ord_flow *flow)
{
    if (flow == NULL)
        return;
    free(flow->stores);
    free(flow);
}

struct ps_adaptive_limit *ord_flow_store(struct ord_flow *flow, size_t worker)
{
    return flow->stores != NULL ? &flow->stores[worker] : NULL;
}

static void add_view(const struct ord_flow *flow, const struct ps_adaptive_limit *limit,
                     struct ord_flow_view *view)
{
    view->otherwise += flow->released ? limit->settings.ceiling
                                      : atomic_load_explicit(&limit->limit, memory_order_relaxed);
    view->limit += ps_adaptive_limit_in_force(limit);
    view->in_flight += atomic_load_explicit(&limit->in_flight, memory_order_relaxed);
    view->median_ns =
        max(view->median_ns, atomic_load_explicit(&limit->median_ns, memory_order_relaxed));
    view->aim_ns = max(view->aim_ns, atomic_load_explicit(&limit->aim_ns, memory_order_relaxed));
}

bool ord_flow_view(const struct ord_flow *flow, enum gw_flow target, struct ord_flow_view *ret_view)
{
    struct ord_flow_view view = {0};

    if (target == GW_FLOW_LOG)
        add_view(flow, &flow->log, &view);
    else if (flow->stores == NULL)
        return false;
    else
        for (size_t i = 0; i < flow->workers; i++)
            add_view(flow, &flow->stores[i], &view);
    *ret_view = view;
    return true;
}

/* --- overrides --- */

/* `calls`: the value of an override; 0: no override. */
static void pin_limit(const struct ord_flow *flow, struct ps_adaptive_limit *limit, uint32_t calls)
{
    if (calls == 0 && flow->released)
        calls = limit->settings.ceiling;
    ps_adaptive_limit_pin(limit, calls);
}

/* A worker gets its part of an override, at least one call. */
static void pin_limits(struct ord_flow *flow, enum gw_flow target)
{
    uint32_t calls = flow->overrides[target];

    if (target == GW_FLOW_LOG)
        pin_limit(flow, &flow->log, calls);
    for (size_t i = 0; target == GW_FLOW_STORE && flow->stores != NULL && i < flow->workers; i++) {
        uint32_t part = calls / (uint32_t)flow->workers + (i < calls % flow->workers);
        pin_limit(flow, &flow->stores[i], calls != 0 && part == 0 ? 1 : part);
    }
}

void ord_flow_apply(struct ord_flow *flow, const struct cfg_store *store)
{
    for (enum gw_flow i = 0; i < GW_FLOW_COUNT; i++) {
        uint32_t calls = (uint32_t)cfg_overridden(store, CFG_OVERRIDE_FLOW, gw_flow_names[i], 0);
        if (calls == flow->overrides[i])
            continue;
        flow->overrides[i] = calls;
        pin_limits(flow, i);
    }
}

void ord_flow_follow(struct ord_flow *flow, bool follow)
{
    if (flow->released == !follow)
        return;
    flow->released = !follow;
    for (size_t i = 0; i < GW_FLOW_COUNT; i++)
        pin_limits(flow, (enum gw_flow)i);
}

static void allow(struct ps_adaptive_limit *limit, int64_t loop_delay_ns)
{
    ps_adaptive_limit_allow(limit,
                            loop_delay_ns > limit->settings.target_ns ? LATE * loop_delay_ns : 0);
}

void ord_flow_watch(struct ord_flow *flow, int64_t loop_delay_ns)
{
    allow(&flow->log, loop_delay_ns);
    for (size_t i = 0; flow->stores != NULL && i < flow->workers; i++)
        allow(&flow->stores[i], loop_delay_ns);
}

/* --- the log's calls --- */

uint32_t ord_flow_stamp(int64_t now_ns)
{
    return (uint32_t)(now_ns >> STAMP_SHIFT);
}

/* A refused append says nothing about the log's latency. */
void ord_flow_outcome(struct ord_flow *flow, uint32_t stamp, enum oq_outcome outcome,
                      int64_t now_ns)
{
    uint32_t passed = ord_flow_stamp(now_ns) - stamp;

    if (outcome == OQ_REFUSED)
        ps_adaptive_limit_drop(&flow->log);
    else
        ps_adaptive_limit_end(&flow->log, now_ns - ((int64_t)passed << STAMP_SHIFT), now_ns);
}
