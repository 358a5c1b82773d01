/* See load.h. */
#include "gateway/admission/load.h"

#include "common/clock.h"

void adm_window_take(struct ps_times_sum *window, const struct ps_times *times,
                     struct ps_times_sum *seen)
{
    for (size_t i = 0; i < PS_TIME_BUCKETS; i++) {
        uint32_t now = atomic_load_explicit(&times->count[i], memory_order_relaxed);
        window->count[i] += now - seen->count[i];
        seen->count[i] = now;
    }
}

/* Of a busy time L, an event that arrives in its first L - x waits for more than x. So x is where
 * the sum of L - x over all L > x equals the rest of `all_ns`: searched from the longest down. */
double adm_window_wait_ms(const struct ps_times_sum *window, double share, double all_ns)
{
    double rest_ns = (1 - share) * all_ns, sum_ns = 0, count = 0;

    for (size_t i = PS_TIME_BUCKETS - 1; i > 0; i--) {
        if (window->count[i] == 0)
            continue;
        double wait_ns = (double)ps_time_bucket_middle_ns(i);
        if (sum_ns - count * wait_ns >= rest_ns)
            break;
        sum_ns += wait_ns * window->count[i];
        count += window->count[i];
    }
    double wait_ns = count > 0 ? (sum_ns - rest_ns) / count : 0;
    return wait_ns > 0 ? wait_ns / (double)PS_NS_PER_MS : 0;
}
