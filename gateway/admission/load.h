/* One worker's own load, for the control thread to read: gauges, a counter, and times. Everything
 * is a relaxed atomic with one writer, the worker; counts only grow, and the reader takes the
 * difference to its last read. So nobody waits. */
#ifndef ADM_LOAD_H
#define ADM_LOAD_H

#include "common/metrics/histogram.h"

/* How often workers tick and the signals are sampled. */
#define ADM_TICK_MS 100

struct adm_worker_load {
    struct ps_times turns; /* how long the loop was away from its poll, for each turn */
    struct ps_times store; /* from a request to a shared counter to its reply */
    struct ps_times log;   /* from an append until the log shows it, or its buyer no longer waits */
    struct ps_times orders;                        /* from a complete head to the answer 202 */
    _Atomic(uint32_t) admitted;                    /* orders that passed all gates; modulo 2^32 */
    _Atomic(int64_t) connections, in_flight, held; /* as at the end of the last turn */
    _Atomic(int64_t) log_oldest_ns; /* when the oldest waiting order was appended; 0: none */
    _Atomic(int64_t) alive_ns;      /* when its tick last ran */
} PS_ALIGNED;

/* The writer's thread. */
static inline void adm_count_add(_Atomic(uint32_t) *count)
{
    atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

/* Adds what was counted since the last read to the window; *seen has the counts of that read,
 * zeroed at the start. */
void adm_window_take(struct ps_times_sum *window, const struct ps_times *times,
                     struct ps_times_sum *seen);
/* The wait that `share` of events at random moments of `all_ns` do not exceed, if no event is
 * handled during the window's times. */
double adm_window_wait_ms(const struct ps_times_sum *window, double share, double all_ns);

#endif
