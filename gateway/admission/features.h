/* Which features the ladder has turned off: the control thread publishes, workers read. Any
 * thread. */
#ifndef ADM_FEATURES_H
#define ADM_FEATURES_H

#include "common/metrics/metrics.h"
#include "gateway/config/kinds/feature_doc.h"
#include "gateway/metrics.h"

#include <stdatomic.h>

/* Relaxed atomics, written by the control thread (overload.h). All zero: everything is on. */
struct adm_overload_shared {
    _Atomic(int) level;
    _Atomic(unsigned) off; /* a bit a feature, 1 << enum cfg_feature */
    _Atomic(bool) is_off;  /* the mode: nobody is shed, and no limit follows latency */
};

/* Call it each time just before the feature is used, on the thread of `shard`: each call counts as
 * a use, also while the feature is off. */
static inline bool adm_feature_on(const struct adm_overload_shared *shared,
                                  struct ps_metrics_shard *shard, enum cfg_feature feature)
{
    ps_metric_add(shard, GW_M_FEATURE_USES, feature, 1);
    return (atomic_load_explicit(&shared->off, memory_order_relaxed) >> feature & 1) == 0;
}

#endif
