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
#include "gateway/config/kinds/pin.h"
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
    struct ord_flow_pin {
        struct cfg_pin by;
        int64_t end_ns; /* mono; 0: not pinned */
    } pins[GW_FLOW_COUNT];
    bool released;         /* limits are at their ceilings */
    enum gw_flow changing; /* by an order that is not in force yet: */
    struct ord_flow_pin next;
};

/* What all threads have together. */
struct ord_flow_view {
    uint64_t limit, in_flight;
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

/* An operator's order for a target: {"limit"}, of all workers together. It holds for this gateway
 * alone, until its end or that of the process. The control thread. */
extern const struct cfg_pin_words ord_flow_pin_words;
/* What is ordered now; NULL: nothing. */
const struct cfg_pin *ord_flow_pinned(const struct ord_flow *flow, enum gw_flow target);
/* In two steps, so that it can be written down in between: prepared, one at a time, until `end_ns`
 * (`pin` NULL: unpins); then in force, or dropped. */
void ord_flow_prepare(struct ord_flow *flow, enum gw_flow target, const struct cfg_pin *pin,
                      int64_t end_ns);
void ord_flow_end_change(struct ord_flow *flow, bool written);
/* Each 100 ms: ends and logs what is over. `loop_delay_ns`: what an event waits for its worker.
 * When that is more than the target, this process has too little of the processor: log and Redis
 * seem slow, too, but are not what is to be spared. */
void ord_flow_watch(struct ord_flow *flow, int64_t now_ns, int64_t loop_delay_ns);
/* Whether limits that are not pinned follow latency; else they are at their ceilings. The control
 * thread. */
void ord_flow_follow(struct ord_flow *flow, bool follow);

/* The ticket of an append carries its moment, and the log's thread says what became of it. */
uint32_t ord_flow_stamp(int64_t now_ns);
void ord_flow_outcome(struct ord_flow *flow, uint32_t stamp, enum oq_outcome outcome,
                      int64_t now_ns);

#endif
