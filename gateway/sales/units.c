/* The units of a sale, for metrics of open ones: the log has the stock and the confirmed units; the
 * counter has the units left. The rest is held: by an unpaid order, or by one that is still on its
 * way to the log. */
#include "gateway/sales/sales_internal.h"

#include <string.h>

static bool is_open(const struct sale_run *run)
{
    struct sale_decided decided;

    if (run->view.counter == NULL || run->view.log_sale == NULL ||
        run->view.state == SALE_REFUSED || !sale_get_decided(run, &decided))
        return false;
    const char *state = cfg_sale_state_name(decided.doc, decided.state,
                                            ps_clock_wall_ms(run->runs->settings.clock));
    return strcmp(state, "open") == 0 || strcmp(state, "paused") == 0;
}

/* The log and the counter are read one after the other, while orders pass: a unit in between must
 * not show as a negative number. */
static int64_t not_negative(int64_t units)
{
    return units > 0 ? units : 0;
}

static struct sale_units count_units(const struct sale_run *run)
{
    struct sale_units units = {0};
    size_t count = inv_sale_sku_count(run->view.counter);

    for (uint32_t sku = 0; sku < count && sku < oq_sale_sku_count(run->view.log_sale); sku++) {
        struct oq_totals totals;
        int64_t left = inv_sale_left(run->view.counter, sku);
        oq_sale_totals(run->view.log_sale, sku, &totals);
        units.left += left;
        units.confirmed += totals.confirmed;
        units.held += not_negative(totals.adjustments - totals.confirmed - left);
    }
    return units;
}

void sale_each_open(const struct sale_runs *runs, size_t most,
                    void (*fn)(const char *name, const struct sale_units *units, void *ctx),
                    void *ctx)
{
    for (size_t i = 0; i < runs->count && most > 0; i++) {
        const struct sale_run *run = runs->at[i];
        if (!is_open(run))
            continue;
        struct sale_units units = count_units(run);
        fn(run->name, &units, ctx);
        most--;
    }
}

bool sale_log_holds_nothing(const struct sale_run *run)
{
    for (uint32_t sku = 0; sku < oq_sale_sku_count(run->view.log_sale); sku++) {
        struct oq_totals totals;
        oq_sale_totals(run->view.log_sale, sku, &totals);
        if (totals.held > 0)
            return false;
    }
    return true;
}

bool sale_counter_holds_nothing(const struct sale_run *run)
{
    struct inv_count counts[CFG_SALE_SKUS_MAX];
    size_t count = inv_sale_sku_count(run->view.counter);

    if (count > PS_ARRAY_LEN(counts) ||
        inv_store_counts(run->runs->settings.store, run->view.counter,
                         (struct inv_reply_to){.ret_counts = counts}) != INV_DONE)
        return false;
    for (size_t i = 0; i < count; i++)
        if (counts[i].held > 0 || counts[i].in_doubt > 0)
            return false;
    return true;
}
