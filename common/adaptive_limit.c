/* See adaptive_limit.h. The median is the middle of a bucket of times: at most 6 % off, which is
 * little beside the steps of the gradient. */
#include "common/adaptive_limit.h"

#include <math.h>
#include <string.h>

#define SAMPLES_MIN 10
#define WINDOW_NS   (10 * PS_NS_PER_MS)
#define PROBE_NS    (5 * PS_NS_PER_S)

#define load(at)         atomic_load_explicit(at, memory_order_relaxed)
#define store(at, value) atomic_store_explicit(at, value, memory_order_relaxed)

/* --- the end of a window --- */

/* Is the service slow by itself? At the floor this caller makes no queue. */
static void judge_service(struct ps_adaptive_limit *limit, int64_t median_ns, int64_t now_ns)
{
    const struct ps_adaptive_limit_settings *settings = &limit->settings;
    int64_t aim_ns = settings->target_ns, timeout_ns = load(&limit->timeout_ns);

    if (ps_adaptive_limit_in_force(limit) <= settings->floor) {
        limit->slow_ns = median_ns > settings->target_ns ? median_ns : 0;
        limit->probing = false;
        limit->probe_next_ns = (now_ns / PROBE_NS + 1) * PROBE_NS;
    }
    if (load(&limit->allowed_ns) > aim_ns)
        aim_ns = load(&limit->allowed_ns);
    if (2 * limit->slow_ns > aim_ns)
        aim_ns = 2 * limit->slow_ns;
    store(&limit->aim_ns, aim_ns < timeout_ns / 2 ? aim_ns : timeout_ns / 2);
}

/* A call that its timeout ended is in the timeout's bucket. */
static bool is_in_time(const struct ps_adaptive_limit *limit, int64_t median_ns)
{
    return median_ns < ps_time_bucket_middle_ns(ps_time_bucket(load(&limit->timeout_ns)));
}

static uint32_t next_limit(const struct ps_adaptive_limit *limit, int64_t median_ns)
{
    const struct ps_adaptive_limit_settings *settings = &limit->settings;
    double gradient = (double)load(&limit->aim_ns) / (double)median_ns;
    double now = limit->measured, next = fmin(fmax(gradient, 0.5), 2) * now + sqrt(now);

    if (load(&limit->reached_ns) == 0) {
        if (gradient >= 1)
            next = fmax(settings->initial, fmin(now, 4.0 * limit->most));
        else if (is_in_time(limit, median_ns))
            next = fmax(next, fmin(now, 2.0 * limit->most));
    }
    return (uint32_t)fmin(fmax(next, settings->floor), settings->ceiling);
}

static void start_window(struct ps_adaptive_limit *limit, int64_t now_ns)
{
    limit->window_ns = now_ns;
    limit->window_end_ns = now_ns + WINDOW_NS;
    limit->most = 0;
    limit->samples = 0;
    memset(&limit->times, 0, sizeof limit->times);
}

static void set_limit(struct ps_adaptive_limit *limit, int64_t now_ns)
{
    store(&limit->limit, limit->probing ? limit->settings.floor : limit->measured);
    store(&limit->reached_ns, 0);
    start_window(limit, now_ns);
}

static void end_window(struct ps_adaptive_limit *limit, int64_t now_ns)
{
    int64_t median_ns = ps_times_quantile_ns(&limit->times, 0.5);
    bool probed = limit->probing;

    store(&limit->median_ns, median_ns);
    judge_service(limit, median_ns, now_ns);
    if (!probed)
        limit->measured = next_limit(limit, median_ns);
    else if (limit->slow_ns ==
             0) /* no further: at the floor, the queues of others would count as slowness */
        limit->measured = limit->settings.floor + limit->measured / 4;
    set_limit(limit, now_ns);
}

/* --- between --- */

static void start_period(struct ps_adaptive_limit *limit, uint32_t in_flight, int64_t now_ns)
{
    limit->period_ns = now_ns;
    limit->period_end_ns = now_ns + load(&limit->aim_ns);
    limit->period_paused = false;
    limit->period_begun = in_flight;
    limit->period_ended = 0;
    limit->period_dropped = load(&limit->dropped);
}

/* Notices a queue that is far too long before its calls end: a period lasts as long as the aim;
 * less than a quarter of the calls in progress at its start have ended, and four times as many
 * begin as end, or would if they were let through. A service that paused (for a checkpoint, a
 * garbage collection) is not slow: after a pause it gets a moment to answer what has gathered. */
static void end_period(struct ps_adaptive_limit *limit, uint32_t in_flight, int64_t now_ns)
{
    int64_t aim_ns = load(&limit->aim_ns), past_ns = now_ns - limit->period_ns;
    uint32_t ended = limit->period_ended + load(&limit->dropped) - limit->period_dropped;

    if (!limit->period_paused && now_ns - limit->ended_ns > aim_ns / 4) {
        limit->period_paused = true;
        limit->period_end_ns = now_ns + aim_ns / 4;
        return;
    }
    bool grows = in_flight > limit->period_begun + 3 * ended;
    if (!limit->probing && (grows || load(&limit->reached_ns) != 0) &&
        limit->period_begun > limit->settings.floor && limit->period_begun / 4 > ended) {
        double in_aim = (double)ended * (double)aim_ns / (double)past_ns;
        double half = (in_flight < limit->measured ? in_flight : limit->measured) / 2.0;
        double next = fmax(fmax(half, in_aim), limit->settings.floor);
        if (next < limit->measured) {
            limit->measured = (uint32_t)next;
            set_limit(limit, now_ns);
        }
    }
    start_period(limit, in_flight, now_ns);
}

/* --- calls --- */

/* The limit is reached: if for the first time in this window, the window starts anew here. */
static void note_reached(struct ps_adaptive_limit *limit, int64_t now_ns)
{
    if (load(&limit->reached_ns) == 0)
        store(&limit->reached_ns, now_ns);
}

bool ps_adaptive_limit_has_room(struct ps_adaptive_limit *limit, int64_t now_ns)
{
    if (!ps_adaptive_limit_is_full(limit))
        return true;
    note_reached(limit, now_ns);
    return false;
}

bool ps_adaptive_limit_begin(struct ps_adaptive_limit *limit, int64_t now_ns)
{
    uint32_t most = ps_adaptive_limit_in_force(limit), before;

    if (!ps_adaptive_limit_has_room(limit, now_ns))
        return false;
    before = atomic_fetch_add_explicit(&limit->in_flight, 1, memory_order_relaxed);
    if (before + 1 >= most)
        note_reached(limit, now_ns);
    if (before < most)
        return true;
    atomic_fetch_sub_explicit(&limit->in_flight, 1, memory_order_relaxed);
    return false; /* another thread was faster */
}

void ps_adaptive_limit_join(struct ps_adaptive_limit *limit, int64_t now_ns)
{
    uint32_t before = atomic_fetch_add_explicit(&limit->in_flight, 1, memory_order_relaxed);

    if (before + 1 >= ps_adaptive_limit_in_force(limit))
        note_reached(limit, now_ns);
}

void ps_adaptive_limit_drop(struct ps_adaptive_limit *limit)
{
    atomic_fetch_add_explicit(&limit->dropped, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&limit->in_flight, 1, memory_order_relaxed);
}

void ps_adaptive_limit_end(struct ps_adaptive_limit *limit, int64_t began_ns, int64_t now_ns)
{
    uint32_t in_flight = atomic_fetch_sub_explicit(&limit->in_flight, 1, memory_order_relaxed);
    int64_t reached_ns = load(&limit->reached_ns);

    if (limit->slow_ns > 0 && !limit->probing && load(&limit->pinned) == 0 &&
        now_ns >= limit->probe_next_ns) {
        limit->probing = true;
        set_limit(limit, now_ns);
        /* After the calls that wait there now, those of other callers included, are answered; and
         * long enough that other callers' floors overlap with this one. */
        start_window(limit, now_ns + load(&limit->median_ns));
        limit->window_end_ns = now_ns + 3 * load(&limit->median_ns);
    }
    limit->period_ended++;
    if (limit->period_begun == 0)
        start_period(limit, in_flight - 1, now_ns);
    else if (now_ns >= limit->period_end_ns)
        end_period(limit, in_flight - 1, now_ns);
    limit->ended_ns = now_ns;
    if (reached_ns > limit->window_ns)
        start_window(limit, reached_ns);
    if (began_ns < limit->window_ns)
        return;
    if (limit->samples == 0 && limit->window_ns == INT64_MIN)
        start_window(limit, began_ns);
    if (in_flight > limit->most)
        limit->most = in_flight;
    limit->times.count[ps_time_bucket(now_ns - began_ns)]++;
    if (++limit->samples >= SAMPLES_MIN && now_ns >= limit->window_end_ns)
        end_window(limit, now_ns);
}

void ps_adaptive_limit_allow(struct ps_adaptive_limit *limit, int64_t allowed_ns)
{
    store(&limit->allowed_ns, allowed_ns);
}

void ps_adaptive_limit_time_out(struct ps_adaptive_limit *limit, int64_t timeout_ns)
{
    store(&limit->timeout_ns, timeout_ns);
}

void ps_adaptive_limit_pin(struct ps_adaptive_limit *limit, uint32_t calls)
{
    store(&limit->pinned, calls);
}

void ps_adaptive_limit_init(struct ps_adaptive_limit *limit,
                            const struct ps_adaptive_limit_settings *settings)
{
    *limit = (struct ps_adaptive_limit){.settings = *settings,
                                        .limit = settings->initial,
                                        .timeout_ns = settings->timeout_ns,
                                        .aim_ns = settings->target_ns,
                                        .measured = settings->initial,
                                        .window_ns = INT64_MIN};
}
