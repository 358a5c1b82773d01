/* One worker's own load, for the control thread to read: gauges, a counter, and times in fine
 * buckets. Everything is a relaxed atomic with one writer, the worker; counts only grow, and the
 * reader takes the difference to its last read. So nobody waits, and no window has to begin or end
 * on two threads at once. */
#ifndef ADM_LOAD_H
#define ADM_LOAD_H

#include "common/metrics/histogram.h"

#include <stdatomic.h>

/* How often workers tick and the signals are sampled. */
#define ADM_TICK_MS 100

struct adm_times {
    _Atomic(uint32_t) count[PS_TIME_BUCKETS]; /* modulo 2^32 */
};

struct adm_worker_load {
    struct adm_times turns; /* how long the loop was away from its poll, for each turn */
    struct adm_times store; /* from a request to a shared counter to its reply */
    struct adm_times
        log; /* from an append until the log shows it, or nobody waits for it any more */
    struct adm_times orders;                       /* from a complete head to the answer 202 */
    _Atomic(uint32_t) admitted;                    /* orders that passed all gates; modulo 2^32 */
    _Atomic(int64_t) connections, in_flight, held; /* as at the end of the last turn */
    _Atomic(int64_t) log_oldest_ns; /* when the oldest waiting order was appended; 0: none */
    _Atomic(int64_t) alive_ns;      /* when its tick last ran */
} PS_ALIGNED;

/* The writer's thread, this and the next. */
static inline void adm_count_add(_Atomic(uint32_t) *count)
{
    atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

static inline void adm_times_add(struct adm_times *times, int64_t ns)
{
    adm_count_add(&times->count[ps_time_bucket(ns)]);
}

/* Times of one window, of one writer or several. One thread. */
struct adm_window {
    uint32_t count[PS_TIME_BUCKETS];
};
/* One writer's counts at the last read; zeroed at the start. */
struct adm_times_seen {
    uint32_t count[PS_TIME_BUCKETS];
};

/* Adds what was counted since the last read to the window. */
void adm_window_take(struct adm_window *window, const struct adm_times *times,
                     struct adm_times_seen *seen);
/* The time that `share` (0..1) of the window's times do not exceed, within 7 %; 0 if there are
 * none. */
double adm_window_percentile_ms(const struct adm_window *window, double share);
/* The wait that `share` of events at random moments of `all_ns` do not exceed, if no event is
 * handled during the window's times. */
double adm_window_wait_ms(const struct adm_window *window, double share, double all_ns);

#endif
