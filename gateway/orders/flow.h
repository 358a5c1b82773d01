/* How much is under way at once, so that what is admitted is answered in time: appends towards the
 * order log, one limit for the gateway, whose outcomes the log's thread sees; and reservations
 * towards a counter in Redis, one limit for each worker and its link. Both follow measured latency
 * (common/adaptive_limit.h). What does not fit is refused before stock is touched.
 *
 * One limit for the log, and not one a worker: measured side by side in a model, workers with
 * limits of their own grew apart for seconds after each change, up to one that had all. */
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
    int64_t ack_timeout_ms, store_timeout_ms; /* after which an answer is worth nothing */
};

struct ord_flow {
    struct ps_adaptive_limit log;     /* its calls end on the log's thread */
    struct ps_adaptive_limit *stores; /* one a worker, whose thread ends them; NULL: in memory */
    size_t workers;
    /* The control thread's. */
    uint32_t overrides[GW_FLOW_COUNT]; /* calls, in the place of what is measured; 0: none */
    bool released;                     /* limits are at their ceilings */
};

/* What all threads have together. */
struct ord_flow_view {
    uint64_t limit, in_flight;
    uint64_t otherwise;        /* the limit without an override */
    int64_t median_ns, aim_ns; /* of stores: the largest; median 0 = nothing was measured yet */
};

/* PS_E_NOMEM. */
int ord_flow_new(const struct ord_flow_settings *settings,
                 struct ord_flow **ret_flow) PS_MUST_CHECK;
void ord_flow_free(struct ord_flow *flow); /* NULL is allowed */
/* Of a worker; NULL: its reservations are answered at once. */
struct ps_adaptive_limit *ord_flow_store(struct ord_flow *flow, size_t worker);
/* False: there is no such target here. Any thread. */
bool ord_flow_view(const struct ord_flow *flow, enum gw_flow target,
                   struct ord_flow_view *ret_view);

/* Each 100 ms, and after a change: goes by the overrides that are in force. The control thread. */
void ord_flow_apply(struct ord_flow *flow, const struct cfg_store *store);
/* Each 100 ms. `loop_delay_ns`: what an event waits for its worker. When that is more than the
 * target, this process has too little of the processor: log and Redis seem slow, too, but are not
 * what is to be spared. */
void ord_flow_watch(struct ord_flow *flow, int64_t loop_delay_ns);
/* Whether limits without an override follow latency; else they are at their ceilings. The control
 * thread. */
void ord_flow_follow(struct ord_flow *flow, bool follow);

/* The ticket of an append carries its moment, and the log's thread says what became of it. */
uint32_t ord_flow_stamp(int64_t now_ns);
void ord_flow_outcome(struct ord_flow *flow, uint32_t stamp, enum oq_outcome outcome,
                      int64_t now_ns);

#endif
