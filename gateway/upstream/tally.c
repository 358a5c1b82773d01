/* See tally.h. */
#include "gateway/upstream/tally.h"

#include <math.h>
#include <stdlib.h>

const char *const up_cause_names[] = {"none", "errors", "latency", NULL};

/* --- Figures. --- */

void up_tally_read(const struct up_target *target, struct up_tally *ret_tally)
{
    struct up_tally tally = {0};

    for (size_t i = 0; i < target->cell_count; i++) {
        const struct up_target_cell *cell = &target->cells[i];
        tally.requests += atomic_load_explicit(&cell->judged, memory_order_relaxed);
        tally.failures += atomic_load_explicit(&cell->failed, memory_order_relaxed);
        tally.skipped += atomic_load_explicit(&cell->skipped, memory_order_relaxed);
        ps_times_sum_add(&tally.latency, &cell->latency);
    }
    *ret_tally = tally;
}

/* The difference of two readings. */
static void subtract(const struct up_tally *before, const struct up_tally *after,
                     struct up_tally *ret_tally)
{
    struct up_tally tally = {.requests = after->requests - before->requests,
                             .failures = after->failures - before->failures,
                             .skipped = after->skipped - before->skipped,
                             .latency = ps_times_between(&before->latency, &after->latency)};

    *ret_tally = tally;
}

int64_t up_tally_p99_ns(const struct up_tally *tally)
{
    return ps_times_quantile_ns(&tally->latency, 0.99);
}

double up_tally_failure_share(const struct up_tally *tally)
{
    return tally->requests > 0 ? (double)tally->failures / (double)tally->requests : 0;
}

static int64_t slower_than(const struct up_tally *tally, int64_t bound_ns)
{
    int64_t count = 0;

    for (size_t i = 0; i < PS_TIME_BUCKETS; i++)
        count += ps_time_bucket_from_ns(i + 1) > bound_ns ? tally->latency.count[i] : 0;
    return count;
}

static bool fails_more(const struct up_tally *its, const struct up_tally *own, double bound)
{
    double share = own->requests >= UP_JUDGE_MIN ? up_tally_failure_share(own) : 0;
    double error = sqrt(share * (1 - share) / (double)its->requests);

    return its->failures >= UP_JUDGE_BAD_MIN &&
           up_tally_failure_share(its) > share + bound + 2 * error;
}

static bool is_slower(const struct up_tally *its, const struct up_tally *own, double times)
{
    int64_t bound_ns = (int64_t)((double)up_tally_p99_ns(own) * times);

    return ps_times_total(&its->latency) >= UP_JUDGE_MIN &&
           ps_times_total(&own->latency) >= UP_JUDGE_MIN && up_tally_p99_ns(its) > bound_ns &&
           slower_than(its, bound_ns) >= UP_JUDGE_BAD_MIN;
}

struct up_tally up_tally_met(const struct up_tally *its)
{
    struct up_tally met = *its;

    if (its->failures >= UP_JUDGE_BAD_MIN && 2 * its->failures >= its->requests) {
        met.requests += its->skipped;
        met.failures += its->skipped;
    }
    return met;
}

enum up_cause up_split_judge(const struct cfg_split *split, const struct up_tally *its,
                             const struct up_tally *own)
{
    if (its->requests < UP_JUDGE_MIN)
        return UP_CAUSE_NONE;
    if (split->back.errors_above > 0 && fails_more(its, own, split->back.errors_above))
        return UP_CAUSE_ERRORS;
    if (split->back.p99_above > 0 && is_slower(its, own, split->back.p99_above))
        return UP_CAUSE_LATENCY;
    return UP_CAUSE_NONE;
}

/* --- The window. --- */

/* Readings of the cells, one per step; the window reaches from the oldest of them to now. */
struct reading {
    int64_t at_s;
    struct up_tally its, own;
};

struct up_window {
    int64_t step_s;
    size_t slots, count; /* the capacity; the readings so far */
    struct reading at[];
};

struct up_window *up_window_new(int64_t window_s, const struct up_tally *its,
                                const struct up_tally *own)
{
    int64_t step_s = (window_s + UP_WINDOW_SLOTS - 1) / UP_WINDOW_SLOTS;
    size_t slots = (size_t)((window_s + step_s - 1) / step_s);
    struct up_window *window = calloc(1, sizeof *window + slots * sizeof window->at[0]);

    if (window != NULL) {
        window->step_s = step_s;
        window->slots = slots;
        window->at[window->count++] = (struct reading){0, *its, *own};
    }
    return window;
}

void up_window_free(struct up_window *window)
{
    free(window);
}

void up_window_note(struct up_window *window, int64_t now_s, const struct up_tally *its,
                    const struct up_tally *own, struct up_tally *ret_its, struct up_tally *ret_own)
{
    const struct reading *last = &window->at[(window->count + window->slots - 1) % window->slots];
    const struct reading *oldest =
        &window->at[window->count > window->slots ? window->count % window->slots : 0];
    const struct reading now = {now_s, *its, *own};

    subtract(&oldest->its, its, ret_its);
    subtract(&oldest->own, own, ret_own);
    if (now_s - last->at_s >= window->step_s)
        window->at[window->count++ % window->slots] = now;
}
