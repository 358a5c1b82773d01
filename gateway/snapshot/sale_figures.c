/* Cells by worker. A worker may still write while they are given to another sale: they are not
 * zeroed, but their sums of that moment are subtracted from then on. */
#include "gateway/snapshot/sale_figures.h"

#include <stdlib.h>
#include <string.h>

struct cells {
    _Atomic(int64_t) answers[ANS_VERDICT_COUNT];
    struct ps_times orders;
} PS_ALIGNED;

struct snap_figures {
    struct snap_figures *next; /* of a list */
    int64_t before[ANS_VERDICT_COUNT];
    size_t workers;
    struct cells cells[];
};

void snap_figures_add(struct snap_figures *figures, size_t worker, enum ans_verdict verdict,
                      int64_t took_ns)
{
    struct cells *cells = &figures->cells[worker];
    _Atomic(int64_t) *count = &cells->answers[verdict];

    atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    if (ans_class_of(verdict) == ANS_CLASS_ORDER)
        ps_times_add(&cells->orders, took_ns);
}

static int64_t add_up(const struct snap_figures *figures, size_t verdict)
{
    int64_t sum = 0;

    for (size_t i = 0; i < figures->workers; i++)
        sum += atomic_load_explicit(&figures->cells[i].answers[verdict], memory_order_relaxed);
    return sum;
}

void snap_figures_read(const struct snap_figures *figures, struct snap_figures_sum *ret_sum)
{
    *ret_sum = (struct snap_figures_sum){0};
    for (size_t i = 0; i < ANS_VERDICT_COUNT; i++)
        ret_sum->answers[i] = add_up(figures, i) - figures->before[i];
    for (size_t i = 0; i < figures->workers; i++)
        ps_times_sum_add(&ret_sum->orders, &figures->cells[i].orders);
}

struct snap_figures *snap_figures_new(size_t workers)
{
    size_t size = sizeof(struct snap_figures) + workers * sizeof(struct cells);
    struct snap_figures *figures = aligned_alloc(PS_CACHE_LINE, size);

    if (figures == NULL)
        return NULL;
    memset(figures, 0, size);
    figures->workers = workers;
    return figures;
}

void snap_figures_free(struct snap_figures *figures)
{
    free(figures);
}

void snap_figures_reset(struct snap_figures *figures)
{
    for (size_t i = 0; i < ANS_VERDICT_COUNT; i++)
        figures->before[i] = add_up(figures, i);
}

struct snap_figures *snap_figures_pop(struct snap_figures **list)
{
    struct snap_figures *figures = *list;

    if (figures != NULL)
        *list = figures->next;
    return figures;
}

void snap_figures_push(struct snap_figures **list, struct snap_figures *figures)
{
    figures->next = *list;
    *list = figures;
}
