/* Log-linear buckets: every power of two is cut into 2^sub_bits equal ones, and values below
 * 2^sub_bits have one each. Over them a fine histogram for the load tool's report, and coarse
 * counts of times for the gateway's own judgement. */
#ifndef PS_HISTOGRAM_H
#define PS_HISTOGRAM_H

#include "common/defs.h"

#include <stdatomic.h>

static inline size_t ps_log_bucket(uint64_t value, unsigned sub_bits)
{
    if (value < UINT64_C(1) << sub_bits)
        return (size_t)value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - sub_bits;
    return ((size_t)shift << sub_bits) + (size_t)(value >> shift);
}

/* The smallest value of the bucket. */
static inline uint64_t ps_log_bucket_from(size_t bucket, unsigned sub_bits)
{
    if (bucket >> sub_bits == 0)
        return bucket;
    unsigned shift = (unsigned)(bucket >> sub_bits) - 1;
    return (uint64_t)(bucket - ((size_t)shift << sub_bits)) << shift;
}

/* --- Times: eighths of powers of two, so at most 12.5 % wide, from 2^16 ns (66 us) to 2^36 ns (69
 * s). The first bucket has what is shorter, the last what is longer, too. --- */
#define PS_TIME_BUCKETS 161
#define PS_TIME_SKIPPED 111 /* buckets of a log-linear histogram below the first */

static inline size_t ps_time_bucket(int64_t ns)
{
    size_t bucket = ns < INT64_C(1) << 16 ? 0 : ps_log_bucket((uint64_t)ns, 3) - PS_TIME_SKIPPED;
    return bucket < PS_TIME_BUCKETS ? bucket : PS_TIME_BUCKETS - 1;
}

/* The shortest time of the bucket. PS_TIME_BUCKETS: where the last one ends. */
static inline int64_t ps_time_bucket_from_ns(size_t bucket)
{
    return bucket == 0 ? 0 : (int64_t)ps_log_bucket_from(bucket + PS_TIME_SKIPPED, 3);
}

static inline int64_t ps_time_bucket_middle_ns(size_t bucket)
{
    return (ps_time_bucket_from_ns(bucket) + ps_time_bucket_from_ns(bucket + 1)) / 2;
}

/* Times as one thread counts them and others read them, relaxed. Counts only grow, modulo 2^32: a
 * reader takes the difference of two looks, so no window has to begin or end on two threads at
 * once. */
struct ps_times {
    _Atomic(uint32_t) count[PS_TIME_BUCKETS];
};

/* The writer's thread. */
static inline void ps_times_add(struct ps_times *times, int64_t ns)
{
    _Atomic(uint32_t) *count = &times->count[ps_time_bucket(ns)];

    atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

/* Times of one writer or several, or of a window of them. One thread. */
struct ps_times_sum {
    uint32_t count[PS_TIME_BUCKETS];
};
/* Adds all that was counted so far. */
void ps_times_sum_add(struct ps_times_sum *sum, const struct ps_times *times);
/* What has been counted between two sums. */
struct ps_times_sum ps_times_between(const struct ps_times_sum *before,
                                     const struct ps_times_sum *after);
uint64_t ps_times_total(const struct ps_times_sum *sum);
/* The time that `share` (0..1) of the times do not exceed, at most 6.3 % off (the middle of its
 * bucket); 0 without any. */
int64_t ps_times_quantile_ns(const struct ps_times_sum *sum, double share);

/* --- Latencies in nanoseconds up to 137 s, at most 1.6 % relative error (64 buckets a power of
 * two), fixed size. One thread; merge to add up. --- */
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
