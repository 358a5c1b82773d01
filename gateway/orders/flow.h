/* Bounds how many calls are in progress, so that what is admitted is answered in time: appends to
 * the order log, with one limit for the gateway, because the log's thread sees all outcomes; and
 * reservations in Redis, with one limit for each worker and its link. Both limits follow measured
 * latency (common/adaptive_limit.h). A request beyond a limit is refused before stock is touched.
 *
 * The log has one limit, not one per worker: in a model, limits per worker drifted apart for
 * seconds after each change, until one worker had all calls. */
#ifndef ORD_FLOW_H
#define ORD_FLOW_H

#include "common/adaptive_limit.h"
#include "common/err.h"
#include "gateway/config/kinds/override.h"
#include "gateway/metrics.h"
#include "queue/log.h"

struct ord_flow_settings {
    size_t workers;
    bool shared_store;
    int64_t log_queue, log_batch_max; /* records */
    int64_t log_target_ms, store_target_ms;
    int64_t ack_timeout_ms, store_timeout_ms; /* after that an answer is useless */
};

struct ord_flow {
    struct ps_adaptive_limit log; /* its calls end on the log's thread */
    struct ps_adaptive_limit
        *stores; /* one per worker, whose thread ends its calls; NULL: the counter is in memory */
    size_t workers;
    /* The control thread's own. */
    uint32_t overrides[GW_FLOW_COUNT]; /* calls, instead of the measured limit; 0: no override */
    bool released;                     /* limits are at their ceilings */
};

/* The sum over all threads. */
struct ord_flow_view {
    uint64_t limit, in_flight;
    uint64_t otherwise;        /* what the limit would be without an override */
    int64_t median_ns, aim_ns; /* of stores: the largest; median 0 = nothing was measured yet */
};

/* PS_E_NOMEM. */
int ord_flow_new(const struct ord_flow_settings *settings,
                 struct ord_flow **ret_flow) PS_MUST_CHECK;
void ord_flow_free(struct ord_flow *flow); /* NULL is allowed */
/* A worker's limit; NULL: its reservations are answered at once. */
struct ps_adaptive_limit *ord_flow_store(struct ord_flow *flow, size_t worker);
/* False: this gateway has no such target. Any thread. */
bool ord_flow_view(const struct ord_flow *flow, enum gw_flow target,
                   struct ord_flow_view *ret_view);

/* Each 100 ms, and after a change: applies the overrides in force. The control thread. */
void ord_flow_apply(struct ord_flow *flow, const struct cfg_store *store);
/* Each 100 ms. `loop_delay_ns`: how long an event waits for its worker. Above the target, this
 * process lacks processor time: then log and Redis seem slow, too, but reducing their calls would
 * not help. */
void ord_flow_watch(struct ord_flow *flow, int64_t loop_delay_ns);
/* follow: limits without an override follow latency; else they are at their ceilings. The control
 * thread. */
void ord_flow_follow(struct ord_flow *flow, bool follow);

/* An append's ticket holds the time of the append; the log's thread reports its outcome. */
uint32_t ord_flow_stamp(int64_t now_ns);
void ord_flow_outcome(struct ord_flow *flow, uint32_t stamp, enum oq_outcome outcome,
                      int64_t now_ns);

#endif
