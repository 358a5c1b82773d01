/* Reading the fold, from any thread and without a lock: see fold.h. */
#include "queue/fold_internal.h"

struct oq_sku *oq_fold_sku(const struct oq_sale *sale, struct ps_str name)
{
    struct oq_sku probe = {.sale = (struct oq_sale *)(uintptr_t)sale, .name = name};
    return oq_index_find(&sale->fold->skus_by_name, &probe);
}

struct oq_sale *oq_fold_sale(const struct oq_fold *fold, const char *name, size_t len)
{
    struct oq_sale probe = {.name = {name, len}};
    return oq_index_find(&fold->sales_by_name, &probe);
}

struct oq_sale *oq_fold_sale_at(const struct oq_fold *fold, size_t index)
{
    return oq_list_at(&fold->sales, index);
}

struct oq_order *oq_fold_order(const struct oq_fold *fold, const struct ps_uuid *id)
{
    struct oq_order probe = {.id = *id};
    return oq_index_find(&fold->by_id, &probe);
}

struct oq_order *oq_fold_newest(const struct oq_fold *fold, const struct oq_sale *sale,
                                struct ps_str user)
{
    struct oq_order probe = {.sale = (struct oq_sale *)(uintptr_t)sale, .user = user};
    return oq_index_find(&fold->by_buyer, &probe);
}

struct oq_order *oq_fold_by_key(const struct oq_fold *fold, const struct oq_sale *sale,
                                struct ps_str user, struct ps_str key)
{
    struct oq_order probe = {.sale = (struct oq_sale *)(uintptr_t)sale, .user = user, .key = key};
    return key.len > 0 ? oq_index_find(&fold->by_key, &probe) : NULL;
}

int64_t oq_fold_seq(const struct oq_fold *fold, uint32_t partition)
{
    return atomic_load_explicit(&fold->seq[partition], memory_order_acquire);
}

const char *oq_sale_name(const struct oq_sale *sale)
{
    return sale->name.at;
}

size_t oq_sale_sku_count(const struct oq_sale *sale)
{
    return oq_list_count(&sale->skus);
}

const char *oq_sale_sku(const struct oq_sale *sale, uint32_t sku)
{
    const struct oq_sku *found = oq_list_at(&sale->skus, sku);
    return found != NULL ? found->name.at : NULL;
}

int oq_sale_sku_find(const struct oq_sale *sale, const char *name, size_t len, uint32_t *ret_sku)
{
    const struct oq_sku *sku = oq_fold_sku(sale, (struct ps_str){name, len});
    if (sku == NULL)
        return PS_E_NOT_FOUND;
    *ret_sku = sku->number;
    return 0;
}

int64_t oq_sale_epoch(const struct oq_sale *sale, uint32_t partition)
{
    const struct oq_epoch_block *block =
        atomic_load_explicit(&sale->epochs[partition / OQ_EPOCHS_A_BLOCK], memory_order_acquire);
    if (block == NULL)
        return 0;
    return atomic_load_explicit(&block->epoch[partition % OQ_EPOCHS_A_BLOCK], memory_order_acquire);
}

uint32_t oq_sale_partitions(const struct oq_sale *sale)
{
    return atomic_load_explicit(&sale->partitions, memory_order_acquire);
}

const char *oq_sale_opening_id(const struct oq_sale *sale)
{
    const char *id = atomic_load_explicit(&sale->opening_id, memory_order_acquire);
    return id != NULL ? id : "";
}

int64_t oq_sale_highest_epoch(const struct oq_sale *sale)
{
    int64_t highest = 0;
    for (uint32_t i = 0; i < OQ_PARTITION_MAX / OQ_EPOCHS_A_BLOCK; i++) {
        const struct oq_epoch_block *block =
            atomic_load_explicit(&sale->epochs[i], memory_order_acquire);
        for (uint32_t j = 0; block != NULL && j < OQ_EPOCHS_A_BLOCK; j++) {
            int64_t epoch = atomic_load_explicit(&block->epoch[j], memory_order_acquire);
            if (epoch > highest)
                highest = epoch;
        }
    }
    return highest;
}

bool oq_sale_rehearsal(const struct oq_sale *sale)
{
    return sale->rehearsal;
}

void oq_sale_totals(const struct oq_sale *sale, uint32_t sku, struct oq_totals *ret_totals)
{
    const struct oq_sku *found = oq_list_at(&sale->skus, sku);
    *ret_totals = (struct oq_totals){.adjustments = oq_total(&found->adjustments),
                                     .held = oq_total(&found->held),
                                     .confirmed = oq_total(&found->confirmed),
                                     .released = oq_total(&found->released)};
}

size_t oq_sale_order_count(const struct oq_sale *sale)
{
    return oq_list_count(&sale->orders);
}

struct oq_order *oq_sale_order_at(const struct oq_sale *sale, size_t index)
{
    return oq_list_at(&sale->orders, index);
}

size_t oq_sale_orders_after(const struct oq_sale *sale, int64_t after)
{
    uint32_t partition = oq_place_partition(after);
    size_t low = 0, high = oq_list_count(&sale->marks);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct oq_place_mark *mark = oq_list_at(&sale->marks, middle);
        if (partition >= mark->partitions || mark->last[partition] <= oq_place_seq(after))
            low = middle + 1;
        else
            high = middle;
    }
    return low * OQ_ORDERS_A_MARK;
}

bool oq_sale_adjusted_at(const struct oq_sale *sale, size_t index, struct ps_uuid *ret_ref,
                         uint32_t *ret_sku, int64_t *ret_delta)
{
    const struct oq_adjustment *adjustment = oq_list_at(&sale->adjusted, index);
    if (adjustment == NULL)
        return false;
    *ret_ref = adjustment->ref;
    *ret_sku = adjustment->sku;
    *ret_delta = adjustment->delta;
    return true;
}

int oq_sale_adjusted(const struct oq_sale *sale, const struct ps_uuid *ref)
{
    const struct oq_adjustment probe = {.ref = *ref};
    const struct oq_adjustment *found = oq_index_find(&sale->fold->adjustments, &probe);
    if (found == NULL || found->sale != sale)
        return PS_E_NOT_FOUND;
    return found->in_force ? 1 : 0;
}
