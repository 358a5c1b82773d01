/* Log-linear histogram of latencies in nanoseconds: up to 137 s, at most 1.6 % relative error (64
 * sub-buckets a power of two), fixed size. Used by the load tool's report. One thread; merge to add
 * up. */
#ifndef PS_HISTOGRAM_H
#define PS_HISTOGRAM_H

#include "common/defs.h"

#define PS_HISTOGRAM_BUCKETS 2048

struct ps_histogram {
    uint64_t count;
    uint64_t sum_ns;
    uint64_t max_ns;
    uint64_t min_ns; /* UINT64_MAX when empty */
    uint64_t bucket[PS_HISTOGRAM_BUCKETS];
};
void ps_histogram_init(struct ps_histogram *histogram);
void ps_histogram_record(struct ps_histogram *histogram, uint64_t ns);
void ps_histogram_merge(struct ps_histogram *into, const struct ps_histogram *from);
/* The value that `percentile` (0..100) of the records do not exceed, never below the true one and
 * at most 1.6 % above it; 0 when empty. */
uint64_t ps_histogram_percentile(const struct ps_histogram *histogram, double percentile);

#endif
