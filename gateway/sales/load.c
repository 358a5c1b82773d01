/* Counters from the fold.
 *
 * The fold continues while a load for Redis walks over it, and still the load is one cut. It states
 * up to where the log has been read *before* the walk; available units are computed from the loaded
 * rows themselves, never from the fold's totals. After its fences nothing can be accepted or
 * lowered before the load is installed, so only two things can still change: the fate of rows
 * (confirmed, released) and stock that is raised. Both are effects (effects.h), which every gateway
 * keeps and which come again after that place. Each of them moves a row once, or finds it moved
 * already.
 *
 * A counter in memory must not get an effect twice; so the log's own thread loads it, and nothing
 * changes meanwhile. */
#include "gateway/sales/sales_internal.h"

#include <stdlib.h>

struct walk {
    const struct sale_run *run;
    size_t sku_count;
    const _Atomic(bool) *stop;
    struct inv_load *load;
    int64_t available[]; /* of each SKU, as far as counted */
};

static bool is_stopped(const struct walk *walk)
{
    return walk->stop != NULL && atomic_load_explicit(walk->stop, memory_order_relaxed);
}

/* Up to where the fold has read each partition: a reader of this place also sees what the record
 * there did. */
static int load_applied(const struct walk *walk)
{
    const struct sale_runs *runs = walk->run->runs;
    uint32_t partitions = oq_log_partitions(runs->log);

    for (uint32_t i = 0; i < partitions; i++) {
        int64_t seq = oq_fold_seq(runs->settings.fold, i);
        int err = seq >= 0 ? inv_load_applied(walk->load, i, seq) : 0;
        if (err < 0)
            return err;
    }
    return 0;
}

static int load_order(struct walk *walk, const struct oq_order *order)
{
    struct oq_order_view view;

    oq_order_get(order, &view);
    if (view.state == OQ_STATE_VOID || (view.state == OQ_STATE_RELEASED && view.key.len == 0) ||
        view.sku >= walk->sku_count)
        return 0;
    const struct inv_load_order row = {.id = view.id,
                                       .user = view.user,
                                       .key = view.key,
                                       .sku = view.sku,
                                       .quantity = view.quantity,
                                       .state = view.state == OQ_STATE_ACCEPTED ? INV_LOAD_HELD
                                                : view.state == OQ_STATE_CONFIRMED
                                                    ? INV_LOAD_CONFIRMED
                                                    : INV_LOAD_RELEASED};
    if (row.state != INV_LOAD_RELEASED)
        walk->available[view.sku] -= view.quantity;
    return inv_load_order(walk->load, &row);
}

static int load_orders(struct walk *walk)
{
    size_t count = oq_sale_order_count(walk->run->view.log_sale);
    int err = 0;

    inv_load_expect(walk->load, count);

    for (size_t i = 0; err == 0 && i < count; i++) {
        const struct oq_order *order = oq_sale_order_at(walk->run->view.log_sale, i);
        /* NULL: the sale was archived meanwhile. */
        err = order == NULL || is_stopped(walk) ? PS_E_CLOSED : load_order(walk, order);
    }
    return err;
}

static int load_adjusted(struct walk *walk)
{
    struct ps_uuid ref;
    uint32_t sku;
    int64_t delta;
    int err = 0;

    for (size_t i = 0;
         err == 0 && oq_sale_adjusted_at(walk->run->view.log_sale, i, &ref, &sku, &delta); i++) {
        if (sku >= walk->sku_count)
            continue;
        walk->available[sku] += delta;
        err = delta > 0 ? inv_load_raised(walk->load, &ref) : 0;
    }
    return err;
}

static int fill_load(struct walk *walk)
{
    int err = load_applied(walk); /* first */

    if (err == 0)
        err = load_orders(walk);
    if (err == 0)
        err = load_adjusted(walk);
    for (uint32_t sku = 0; err == 0 && sku < walk->sku_count; sku++)
        err = inv_load_available(walk->load, sku, walk->available[sku]);
    return err;
}

static int new_load(struct walk *walk, int64_t epoch)
{
    const char **skus = calloc(walk->sku_count + 1, sizeof *skus);
    int err;

    if (skus == NULL)
        return PS_E_NOMEM;
    for (uint32_t i = 0; i < walk->sku_count; i++)
        skus[i] = oq_sale_sku(walk->run->view.log_sale, i);
    /* The load uses only what all stores of the process share, not the control thread's store. */
    err = inv_load_new(walk->run->runs->settings.store, walk->run->name, epoch, skus,
                       walk->sku_count, &walk->load);
    free(skus);
    return err;
}

int sale_load(const struct sale_run *run, size_t sku_count, int64_t epoch,
              const _Atomic(bool) *stop, struct inv_sale **ret_counter)
{
    struct walk *walk = calloc(1, sizeof *walk + sku_count * sizeof walk->available[0]);
    int err;

    if (walk == NULL)
        return PS_E_NOMEM;
    walk->run = run;
    walk->sku_count = sku_count;
    walk->stop = stop;
    err = new_load(walk, epoch);
    if (err == 0) {
        oq_fold_enter(run->runs->settings.fold);
        err = fill_load(walk);
        oq_fold_leave(run->runs->settings.fold);
        if (err == 0)
            err = inv_load_install(walk->load, ret_counter);
        else
            inv_load_free(walk->load);
    }
    free(walk);
    return err;
}
