/* How many calls may be under way to one service at once: a limit that follows measured latency,
 * so that what is let through is answered within a time, however fast the service is just now. It
 * only counts and decides; the caller makes the calls and says how long they took.
 *
 * The limit is set anew after each window: SAMPLES_MIN calls and WINDOW_NS at least, and only of
 * calls that began in it. A window starts again when its limit is reached, so that it shows what
 * this limit does:
 *
 *     gradient = aim / median latency, from 0.5 to 2
 *     limit    = gradient * limit + sqrt(limit), from floor to ceiling
 *
 * (the gradient controller of Envoy's adaptive concurrency filter, after "Gradient" of Netflix's
 * concurrency-limits: the square root is room for bursts, and lets callers that share a service
 * come to equal limits.) Those two aim at the least latency, which they measure again and again by
 * letting nearly nothing through. Here `aim` is the time that the caller grants:
 *
 *   - target_ns, as a rule: what can be answered within it is not refused;
 *   - twice what a call takes at the floor, if that is more: then the service is slow by itself,
 *     not because of a queue, and refusing more makes nobody faster. Twice, because a call that
 *     comes during a round waits for its end and then for its own. Only while this holds, the floor
 *     is tried again each PROBE_NS, for a window;
 *   - what ps_adaptive_limit_allow says, if that is more: a caller that is late itself;
 *   - never more than half of timeout_ns, after which the answer is worth nothing. If the service
 *     takes longer, the limit stays at its floor, whose calls find out when that ends.
 *
 * If what is under way would take four times the aim, at the rate at which calls end, the limit is
 * halved at once: the calls themselves would say so much later. Calls that were not made after all
 * count as ended there: the service did not have them.
 *
 * A limit that was not reached shows that the service keeps up. It is not raised above `initial`,
 * comes down to four times what was used, and not below twice of it while the answers come before
 * the timeout. The median lets outliers pass. tests/unit/adaptive_limit_test.c runs all this
 * against queues in virtual time.
 *
 * No function allocates, locks or reads a clock. Any thread may call them, but only one calls
 * end. */
#ifndef PS_ADAPTIVE_LIMIT_H
#define PS_ADAPTIVE_LIMIT_H

#include "common/clock.h"
#include "common/metrics/histogram.h"

#include <stdatomic.h>

#define PS_ADAPTIVE_LIMIT_FLOOR_MIN 4 /* below, the square root outweighs the gradient */

struct ps_adaptive_limit_settings {
    uint32_t floor, initial, ceiling; /* PS_ADAPTIVE_LIMIT_FLOOR_MIN <= each <= the next */
    int64_t target_ns;                /* > 0 */
    int64_t timeout_ns;               /* >= 2 * target_ns */
};

struct ps_adaptive_limit {
    /* to be read, relaxed, by any thread; only the functions below write */
    _Atomic(uint32_t) limit;  /* as measured */
    _Atomic(uint32_t) pinned; /* in force instead; 0 = not pinned */
    _Atomic(int64_t) allowed_ns, timeout_ns;
    _Atomic(uint32_t) in_flight; /* may be above a limit that was just lowered */
    _Atomic(int64_t) median_ns;  /* of the last window; 0 = none yet */
    _Atomic(int64_t) aim_ns;
    /* private */
    struct ps_adaptive_limit_settings settings;
    _Atomic(uint32_t) dropped;   /* calls; modulo 2^32 */
    _Atomic(int64_t) reached_ns; /* when this window's limit was reached; 0 = it was not */
    uint32_t measured;           /* the limit, also while its floor is tried */
    bool probing;
    int64_t slow_ns; /* the median at the floor, if above the target; 0 = it is not */
    int64_t probe_next_ns;
    int64_t window_ns, window_end_ns; /* ends at the first call after this */
    int64_t period_ns, period_end_ns;
    uint32_t period_begun, period_ended; /* calls */
    uint32_t period_dropped;             /* `dropped` at its start */
    bool period_paused;
    int64_t ended_ns; /* when a call ended last */
    uint32_t most;    /* in flight in it */
    uint32_t samples;
    struct ps_times_sum times;
};

void ps_adaptive_limit_init(struct ps_adaptive_limit *limit,
                            const struct ps_adaptive_limit_settings *settings);

static inline uint32_t ps_adaptive_limit_in_force(const struct ps_adaptive_limit *limit)
{
    uint32_t pinned = atomic_load_explicit(&limit->pinned, memory_order_relaxed);

    return pinned != 0 ? pinned : atomic_load_explicit(&limit->limit, memory_order_relaxed);
}

/* Is everything taken now? Notes nothing. */
static inline bool ps_adaptive_limit_is_full(const struct ps_adaptive_limit *limit)
{
    return atomic_load_explicit(&limit->in_flight, memory_order_relaxed) >=
           ps_adaptive_limit_in_force(limit);
}
/* Would a call be let through now? Notes that the limit was reached. */
bool ps_adaptive_limit_has_room(struct ps_adaptive_limit *limit, int64_t now_ns);
/* May a call be made now? After each `true` call one of the two functions below. Monotonic. */
bool ps_adaptive_limit_begin(struct ps_adaptive_limit *limit, int64_t now_ns) PS_MUST_CHECK;
/* A call that is under way already counts from now on, even above the limit: it cannot be refused
 * any more. After it one of the two functions below. */
void ps_adaptive_limit_join(struct ps_adaptive_limit *limit, int64_t now_ns);
/* The call was not made after all. */
void ps_adaptive_limit_drop(struct ps_adaptive_limit *limit);
/* The call has ended. began_ns: when it was made, maybe later than ps_adaptive_limit_begin. */
void ps_adaptive_limit_end(struct ps_adaptive_limit *limit, int64_t began_ns, int64_t now_ns);

/* Calls may take this long from now on, because the caller itself is late, and refusing them would
 * not make it faster; 0: no longer. */
void ps_adaptive_limit_allow(struct ps_adaptive_limit *limit, int64_t allowed_ns);
/* From now on an answer is useless after timeout_ns (> 0), which replaces the settings'. */
void ps_adaptive_limit_time_out(struct ps_adaptive_limit *limit, int64_t timeout_ns);
/* Sets the limit to `calls` instead of the measured one; measuring continues. 0: no longer. */
void ps_adaptive_limit_pin(struct ps_adaptive_limit *limit, uint32_t calls);

#endif
