/* See outlier.h. The window of 10 s costs ten copies of the sums, and no work in between: its
 * content is the difference to the oldest copy. */
#include "gateway/upstream/outlier.h"

#include "common/clock.h"
#include "gateway/upstream/pool.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#define PART_NS       (UP_RECENT_NS / UP_RECENT_PARTS)
#define EJECTIONS_MAX 30 /* Envoy's max_ejection_time is 300 s, at a base of 10 s */

const char *const up_outlier_names[UP_OUTLIER_REASONS + 1] = {"none", "errors_in_row", "errors",
                                                              "latency", NULL};

/* --- figures --- */

static int64_t get(const _Atomic(int64_t) *value)
{
    return atomic_load_explicit(value, memory_order_relaxed);
}

static void add(_Atomic(int64_t) *value, unsigned more) /* a single writer */
{
    if (more > 0)
        atomic_store_explicit(value, get(value) + more, memory_order_relaxed);
}

void up_endpoint_count(struct up_endpoint *endpoint, size_t worker, const struct up_met *met)
{
    struct up_endpoint_cell *cell = &endpoint->cells[worker];
    const struct up_blame *blame = &up_blame[met->end];

    if (blame->rate != UP_SAYS_NOTHING) {
        add(&cell->answers, met->told.good + met->told.bad);
        add(&cell->failures, met->told.bad);
    }
    if (blame->row > UP_SAYS_GOOD && met->told.row > 0)
        atomic_fetch_add_explicit(&endpoint->in_row, met->told.row, memory_order_relaxed);
    else if (blame->row == UP_SAYS_GOOD &&
             atomic_load_explicit(&endpoint->in_row, memory_order_relaxed) > 0)
        atomic_store_explicit(&endpoint->in_row, 0, memory_order_relaxed);
}

void up_figures_read(const struct up_endpoint *endpoint, struct up_figures *ret_figures)
{
    struct up_figures sum = {0};

    for (size_t i = 0; i < endpoint->cell_count; i++) {
        const struct up_endpoint_cell *cell = &endpoint->cells[i];
        sum.answers += get(&cell->answers);
        sum.failures += get(&cell->failures);
        sum.took_ns += get(&cell->took_ns);
        ps_times_sum_add(&sum.times, &cell->times);
    }
    *ret_figures = sum;
}

double up_figures_mean_ns(const struct up_figures *figures)
{
    uint64_t count = ps_times_total(&figures->times);

    return count == 0 ? 0 : (double)figures->took_ns / (double)count;
}

/* --- the last 10 s --- */

void up_recent_clear(struct up_recent *recent, const struct up_figures *now, int64_t now_ns)
{
    recent->part = now_ns / PART_NS;
    for (size_t i = 0; i < UP_RECENT_PARTS; i++)
        recent->begin[i] = *now;
}

void up_recent_move(struct up_recent *recent, const struct up_figures *now, int64_t now_ns)
{
    int64_t part = now_ns / PART_NS;

    if (part - recent->part >= UP_RECENT_PARTS)
        up_recent_clear(recent, now, now_ns);
    while (recent->part < part)
        recent->begin[++recent->part % UP_RECENT_PARTS] = *now;
}

void up_recent_read(const struct up_recent *recent, const struct up_figures *now,
                    struct up_figures *ret_added)
{
    const struct up_figures *then = &recent->begin[(recent->part + 1) % UP_RECENT_PARTS];

    *ret_added = (struct up_figures){.answers = now->answers - then->answers,
                                     .failures = now->failures - then->failures,
                                     .took_ns = now->took_ns - then->took_ns,
                                     .times = ps_times_between(&then->times, &now->times)};
}

/* --- outliers --- */

bool up_outlier_has_latency(const struct cfg_pool *pool, const struct up_figures *added)
{
    int64_t count = (int64_t)ps_times_total(&added->times);

    return count > 0 && count >= pool->outlier.requests_min;
}

enum up_outlier up_outlier_judge(const struct cfg_pool *pool, const struct up_figures *added,
                                 uint32_t in_row, double median_ns, char *why, size_t why_size)
{
    unsigned row_max = pool->outlier.consecutive_errors;
    double failures = (double)added->failures, answers = (double)added->answers;
    double factor = pool->outlier.latency_factor;
    const double last_ns = (double)ps_time_bucket_from_ns(PS_TIME_BUCKETS - 1);

    if (row_max > 0 && in_row >= row_max) {
        snprintf(why, why_size, "%" PRIu32 " errors in a row", in_row);
        return UP_OUTLIER_IN_ROW;
    }
    if (added->failures > 0 && answers >= pool->outlier.requests_min &&
        answers - failures < pool->outlier.success_share_min * answers) {
        snprintf(why, why_size, "%.0f %% of %" PRId64 " answers in %d s were errors",
                 floor(100 * failures / answers), added->answers,
                 (int)(UP_RECENT_NS / PS_NS_PER_S));
        return UP_OUTLIER_ERRORS;
    }
    if (factor > 0 && median_ns > 0 && up_outlier_has_latency(pool, added) &&
        up_figures_mean_ns(added) > factor * median_ns &&
        (double)ps_times_quantile_ns(&added->times, 0.9) >= fmin(factor * median_ns, last_ns)) {
        snprintf(why, why_size, "%.1f times the pool's median latency",
                 up_figures_mean_ns(added) / median_ns);
        return UP_OUTLIER_LATENCY;
    }
    return UP_OUTLIER_NONE;
}

size_t up_outlier_most(const struct cfg_pool *pool, size_t members)
{
    size_t most = (size_t)((double)members * pool->outlier.ejected_share_max + 1e-9);

    if (members < 2 || pool->outlier.ejected_share_max <= 0)
        return 0;
    return most < 1 ? 1 : most < members ? most : members - 1;
}

int64_t up_outlier_time_ns(const struct up_judged *judged, const struct cfg_pool *pool)
{
    return pool->outlier.eject_ms * PS_NS_PER_MS * judged->ejections;
}

void up_outlier_eject(struct up_judged *judged, const struct cfg_pool *pool, int64_t now_ns)
{
    int64_t last_ns = up_outlier_time_ns(judged, pool);
    int64_t calm_ns = last_ns > UP_RECENT_NS ? last_ns : UP_RECENT_NS;

    if (judged->ejections == 0 || now_ns - judged->back_ns > calm_ns)
        judged->ejections = 1;
    else if (judged->ejections < EJECTIONS_MAX)
        judged->ejections++;
    judged->out_ns = now_ns;
}
