/* Cells by worker, and readings of the trial's sums second by second: what it has counted in a
 * minute is the sum now less the reading of a minute ago. */
#include "gateway/admission/limits/limit_figures.h"

#include "common/clock.h"

#include <stdlib.h>
#include <string.h>

#define MINUTE_NS (60 * PS_NS_PER_S)
#define READINGS  62 /* a minute of them, and one more on either side */

struct cells {
    _Atomic(int64_t) count[ADM_LIMIT_COUNTS];
} PS_ALIGNED;

struct reading {
    int64_t at_ns, asked, refused;
};

struct adm_limit_figures {
    unsigned refs;
    size_t reading_count; /* since the trial began */
    struct reading readings[READINGS];
    struct cells cells[ADM_LIMIT_WORKERS_MAX];
};

struct adm_limit_figures *adm_limit_figures_new(void)
{
    struct adm_limit_figures *figures = aligned_alloc(PS_CACHE_LINE, sizeof *figures);

    if (figures == NULL)
        return NULL;
    memset(figures, 0, sizeof *figures);
    figures->refs = 1;
    return figures;
}

struct adm_limit_figures *adm_limit_figures_keep(struct adm_limit_figures *figures)
{
    figures->refs++;
    return figures;
}

void adm_limit_figures_drop(struct adm_limit_figures *figures)
{
    if (figures != NULL && --figures->refs == 0)
        free(figures);
}

void adm_limit_figures_add(struct adm_limit_figures *figures, size_t worker,
                           enum adm_limit_count what)
{
    _Atomic(int64_t) *count = &figures->cells[worker].count[what];

    atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

int64_t adm_limit_figures_sum(const struct adm_limit_figures *figures, enum adm_limit_count what)
{
    int64_t sum = 0;

    for (size_t i = 0; i < ADM_LIMIT_WORKERS_MAX; i++)
        sum += atomic_load_explicit(&figures->cells[i].count[what], memory_order_relaxed);
    return sum;
}

static struct reading read_trial(const struct adm_limit_figures *figures, int64_t now_ns)
{
    return (struct reading){.at_ns = now_ns,
                            .asked = adm_limit_figures_sum(figures, ADM_LIMIT_TRIAL_ASKED),
                            .refused = adm_limit_figures_sum(figures, ADM_LIMIT_TRIAL_REFUSED)};
}

void adm_trial_begin(struct adm_limit_figures *figures)
{
    figures->reading_count = 0;
}

void adm_trial_tick(struct adm_limit_figures *figures, int64_t now_ns)
{
    size_t count = figures->reading_count;

    if (count == 0 || now_ns - figures->readings[(count - 1) % READINGS].at_ns >= PS_NS_PER_S)
        figures->readings[figures->reading_count++ % READINGS] = read_trial(figures, now_ns);
}

void adm_trial_minute(const struct adm_limit_figures *figures, int64_t now_ns,
                      struct adm_trial_minute *ret_minute)
{
    size_t count = figures->reading_count;
    struct reading now = read_trial(figures, now_ns), then = now;

    for (size_t i = count > READINGS ? count - READINGS : 0; i < count; i++) {
        then = figures->readings[i % READINGS];
        if (now_ns - then.at_ns <= MINUTE_NS)
            break;
    }
    *ret_minute = (struct adm_trial_minute){.took_ns = now_ns - then.at_ns,
                                            .asked = now.asked - then.asked,
                                            .refused = now.refused - then.refused};
}
