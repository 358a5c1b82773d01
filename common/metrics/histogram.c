/* The log-linear histogram. Values below 128 ns have a bucket each; from there on every power of
 * two is cut into 64 equal buckets, so a bucket is never wider than 1/64 of its lowest value. 2,048
 * buckets reach 2^37 ns (137 s); what lasted longer counts in the last one, and its exact length
 * still shows in max_ns. */
#include "common/metrics/histogram.h"

#include <math.h>

#define SUB_BITS    6 /* 64 buckets a power of two */
#define VALUE_LIMIT (UINT64_C(1) << 37)
/* 99.9 is no exact double: its rounding error must not select one record more. */
#define RANK_ERROR 1e-6

static size_t bucket_of(uint64_t ns)
{
    return ns >= VALUE_LIMIT ? PS_HISTOGRAM_BUCKETS - 1 : ps_log_bucket(ns, SUB_BITS);
}

/* The largest value that counts in `bucket`. */
static uint64_t top_of(size_t bucket)
{
    return ps_log_bucket_from(bucket + 1, SUB_BITS) - 1;
}

void ps_times_sum_add(struct ps_times_sum *sum, const struct ps_times *times)
{
    for (size_t i = 0; i < PS_TIME_BUCKETS; i++)
        sum->count[i] += atomic_load_explicit(&times->count[i], memory_order_relaxed);
}

struct ps_times_sum ps_times_between(const struct ps_times_sum *before,
                                     const struct ps_times_sum *after)
{
    struct ps_times_sum between;

    for (size_t i = 0; i < PS_TIME_BUCKETS; i++)
        between.count[i] = after->count[i] - before->count[i];
    return between;
}

uint64_t ps_times_total(const struct ps_times_sum *sum)
{
    uint64_t total = 0;

    for (size_t i = 0; i < PS_TIME_BUCKETS; i++)
        total += sum->count[i];
    return total;
}

int64_t ps_times_quantile_ns(const struct ps_times_sum *sum, double share)
{
    double rank = share * (double)ps_times_total(sum) - RANK_ERROR, below = 0;

    for (size_t i = 0; i < PS_TIME_BUCKETS; i++) {
        below += sum->count[i];
        if (sum->count[i] > 0 && below >= rank)
            return ps_time_bucket_middle_ns(i);
    }
    return 0;
}

void ps_histogram_init(struct ps_histogram *histogram)
{
    *histogram = (struct ps_histogram){.min_ns = UINT64_MAX};
}

void ps_histogram_record(struct ps_histogram *histogram, uint64_t ns)
{
    histogram->count++;
    histogram->sum_ns += ns;
    if (ns > histogram->max_ns)
        histogram->max_ns = ns;
    if (ns < histogram->min_ns)
        histogram->min_ns = ns;
    histogram->bucket[bucket_of(ns)]++;
}

void ps_histogram_merge(struct ps_histogram *into, const struct ps_histogram *from)
{
    into->count += from->count;
    into->sum_ns += from->sum_ns;
    if (from->max_ns > into->max_ns)
        into->max_ns = from->max_ns;
    if (from->min_ns < into->min_ns)
        into->min_ns = from->min_ns;
    for (size_t i = 0; i < PS_HISTOGRAM_BUCKETS; i++)
        into->bucket[i] += from->bucket[i];
}

uint64_t ps_histogram_percentile(const struct ps_histogram *histogram, double percentile)
{
    if (histogram->count == 0)
        return 0;
    if (percentile <= 0)
        return histogram->min_ns;
    double rank = ceil(percentile / 100 * (double)histogram->count - RANK_ERROR);
    uint64_t below = 0;
    for (size_t i = 0; i < PS_HISTOGRAM_BUCKETS - 1; i++) {
        below += histogram->bucket[i];
        if ((double)below >= rank)
            return top_of(i) < histogram->max_ns ? top_of(i) : histogram->max_ns;
    }
    return histogram->max_ns;
}
