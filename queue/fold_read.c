/* Reading the fold, from any thread and without a lock: see fold.h. */
#include "queue/fold_internal.h"

/* --- An order --- */

void oq_order_probe(union oq_order_probe *probe, struct ps_str user, struct ps_str key)
{
    struct oq_order *order = &probe->order;
    char *text = probe->bytes + offsetof(struct oq_order, text);
    bool user_is_id, key_is_id;
    order->user_size = (uint8_t)ps_id_pack(user, text, &user_is_id);
    order->key_size = (uint8_t)ps_id_pack(key, text + order->user_size, &key_is_id);
    order->flags = (uint8_t)(OQ_ORDER_KNOWN | (user_is_id ? OQ_ORDER_USER_ID : 0) |
                             (key_is_id ? OQ_ORDER_KEY_ID : 0));
}

const struct oq_order *oq_order_first(const struct oq_order *order)
{
    uint32_t first;
    if ((order->flags & OQ_ORDER_USER_BEFORE) == 0)
        return order;
    memcpy(&first, order->text, sizeof first);
    return oq_beside(order, first);
}

bool oq_order_same_key(const struct oq_order *a, const struct oq_order *b)
{
    return a->key_size == b->key_size && ((a->flags ^ b->flags) & OQ_ORDER_KEY_ID) == 0 &&
           memcmp(oq_order_key_at(a), oq_order_key_at(b), a->key_size) == 0;
}

enum oq_state oq_order_state(const struct oq_order *order)
{
    return (enum oq_state)(atomic_load_explicit(&order->decided, memory_order_acquire) & 0xf);
}

enum oq_reason oq_order_reason(const struct oq_order *order)
{
    return (enum oq_reason)(atomic_load_explicit(&order->decided, memory_order_acquire) >> 4);
}

const struct ps_uuid *oq_order_id(const struct oq_order *order)
{
    return &order->id;
}

struct oq_sale *oq_order_sale(const struct oq_order *order)
{
    return oq_arena_owner(order);
}

uint32_t oq_order_sku(const struct oq_order *order)
{
    return oq_order_terms(order)->sku;
}

int64_t oq_order_quantity(const struct oq_order *order)
{
    return oq_order_terms(order)->quantity;
}

bool oq_order_rehearsal(const struct oq_order *order)
{
    return oq_order_terms(order)->rehearsal != 0;
}

bool oq_order_known(const struct oq_order *order)
{
    return (order->flags & OQ_ORDER_KNOWN) != 0;
}

int64_t oq_order_place(const struct oq_order *order)
{
    return order->place;
}

uint32_t oq_order_number(const struct oq_order *order)
{
    return order->number;
}

struct oq_order *oq_order_older(const struct oq_order *order)
{
    return oq_beside(order, order->older);
}

void oq_order_get(const struct oq_order *order, struct oq_order_view *ret_view)
{
    const struct oq_terms *terms = oq_order_terms(order);
    const struct oq_order *first = oq_order_first(order);
    uint8_t decided = atomic_load_explicit(&order->decided, memory_order_acquire);
    ret_view->id = order->id;
    ret_view->sale = oq_order_sale(order);
    ret_view->sku = terms->sku;
    ret_view->rehearsal = terms->rehearsal != 0;
    ret_view->known = oq_order_known(order);
    ret_view->state = (enum oq_state)(decided & 0xf);
    ret_view->reason = (enum oq_reason)(decided >> 4);
    ret_view->quantity = terms->quantity;
    ret_view->user = ps_id_unpack(first->text, first->user_size,
                                  (first->flags & OQ_ORDER_USER_ID) != 0, ret_view->user_text);
    ret_view->key = ps_id_unpack(oq_order_key_at(order), order->key_size,
                                 (order->flags & OQ_ORDER_KEY_ID) != 0, ret_view->key_text);
    ret_view->reserved_at_ms = order->reserved_at_ms;
    ret_view->pay_by_ms = order->reserved_at_ms + terms->pay_ms;
    ret_view->epoch = terms->epoch;
    ret_view->cap = terms->cap;
    ret_view->sku_cap = terms->sku_cap;
    ret_view->place = order->place;
}

/* --- Sales and totals --- */

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
    return oq_index_find(&fold->by_id, id);
}

struct oq_order *oq_fold_newest(const struct oq_fold *fold, const struct oq_sale *sale,
                                struct ps_str user)
{
    const struct oq_sale_orders *orders = oq_orders_of(sale);
    union oq_order_probe probe;
    (void)fold;
    if (orders == NULL || user.len > PS_USER_MAX)
        return NULL;
    oq_order_probe(&probe, user, (struct ps_str){NULL, 0});
    return oq_index_find(&orders->by_buyer, &probe);
}

struct oq_order *oq_fold_by_key(const struct oq_fold *fold, const struct oq_sale *sale,
                                struct ps_str user, struct ps_str key)
{
    const struct oq_sale_orders *orders = oq_orders_of(sale);
    union oq_order_probe probe;
    (void)fold;
    if (orders == NULL || key.len == 0 || key.len > PS_KEY_MAX || user.len > PS_USER_MAX)
        return NULL;
    oq_order_probe(&probe, user, key);
    const struct oq_order *newest = oq_index_find(&orders->by_buyer, &probe);
    if (newest == NULL)
        return NULL;
    const struct oq_order *first = oq_order_first(newest);
    if (oq_order_state(first) != OQ_STATE_VOID && oq_order_same_key(first, &probe.order))
        return (struct oq_order *)(uintptr_t)first;
    return newest != first ? oq_index_find(&orders->by_key, &probe) : NULL;
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

bool oq_sale_archived(const struct oq_sale *sale)
{
    return atomic_load_explicit(&sale->archived, memory_order_acquire);
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

bool oq_sale_forgotten(const struct oq_sale *sale)
{
    return oq_orders_of(sale) == NULL;
}

size_t oq_sale_order_count(const struct oq_sale *sale)
{
    const struct oq_sale_orders *orders = oq_orders_of(sale);
    return orders != NULL ? oq_list_count(&orders->orders) : 0;
}

struct oq_order *oq_sale_order_at(const struct oq_sale *sale, size_t index)
{
    const struct oq_sale_orders *orders = oq_orders_of(sale);
    return orders != NULL ? oq_list_at(&orders->orders, index) : NULL;
}

size_t oq_sale_orders_after(const struct oq_sale *sale, int64_t after)
{
    const struct oq_sale_orders *orders = oq_orders_of(sale);
    uint32_t partition = oq_place_partition(after);
    size_t low = 0, high = orders != NULL ? oq_list_count(&orders->marks) : 0;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct oq_place_mark *mark = oq_list_at(&orders->marks, middle);
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
    const struct oq_sale_orders *orders = oq_orders_of(sale);
    const struct oq_adjustment *adjustment =
        orders != NULL ? oq_list_at(&orders->adjusted, index) : NULL;
    if (adjustment == NULL)
        return false;
    *ret_ref = adjustment->ref;
    *ret_sku = adjustment->sku;
    *ret_delta = adjustment->delta;
    return true;
}

int oq_sale_adjusted(const struct oq_sale *sale, const struct ps_uuid *ref)
{
    const struct oq_sale_orders *orders = oq_orders_of(sale);
    const struct oq_adjustment *found =
        orders != NULL ? oq_index_find(&orders->adjustments, ref) : NULL;
    if (found == NULL)
        return PS_E_NOT_FOUND;
    return found->in_force ? 1 : 0;
}
