/* The counter's front end: checks that every backend would need are made here once; then the call
 * goes through the backend's table. The backend checks what only it knows (the epoch in force, how
 * many SKUs a sale has). */
#include "inventory/store_backend.h"

#include <assert.h>
#include <string.h>

static bool buyer_ok(struct ps_str user, struct ps_str key)
{
    return user.len >= 1 && user.len <= PS_USER_MAX && key.len <= PS_KEY_MAX;
}

int64_t inv_sale_epoch(const struct inv_sale *sale)
{
    return sale->backend->sale_epoch(sale);
}

size_t inv_sale_sku_count(const struct inv_sale *sale)
{
    return sale->backend->sale_sku_count(sale);
}

int64_t inv_sale_left(const struct inv_sale *sale, uint32_t sku)
{
    return sale->backend->sale_left(sale, sku);
}

bool inv_sale_sku_sold_out(const struct inv_sale *sale, uint32_t sku)
{
    return sale->backend->sale_sku_sold_out(sale, sku);
}

bool inv_sale_sold_out(const struct inv_sale *sale)
{
    size_t count = inv_sale_sku_count(sale);
    for (uint32_t sku = 0; sku < count; sku++) {
        if (!inv_sale_sku_sold_out(sale, sku))
            return false;
    }
    return true;
}

static bool reservation_ok(const struct inv_reservation *r)
{
    return buyer_ok(r->user, r->key) && ps_int_ok(r->quantity, 1) && ps_int_ok(r->cap, 1) &&
           ps_int_ok(r->sku_cap, 0) && ps_int_ok(r->ttl_ms, 0);
}

int inv_store_reserve(struct inv_store *store, struct inv_sale *sale,
                      const struct inv_reservation *reservation, struct inv_reply_to to)
{
    return reservation_ok(reservation) ? store->backend->reserve(store, sale, reservation, to)
                                       : PS_E_INVALID;
}

int inv_store_judge(struct inv_store *store, struct inv_sale *sale,
                    const struct inv_reservation *reservation, struct inv_reply_to to)
{
    return reservation_ok(reservation) ? store->backend->judge(store, sale, reservation, to)
                                       : PS_E_INVALID;
}

int inv_store_lower(struct inv_store *store, struct inv_sale *sale,
                    const struct inv_lowering *lowering, struct inv_reply_to to)
{
    if (!ps_int_ok(lowering->units, 1) || lowering->name.len > PS_KEY_MAX)
        return PS_E_INVALID;
    return store->backend->lower(store, sale, lowering, to);
}

int inv_store_find(struct inv_store *store, struct inv_sale *sale, const struct ps_uuid *id,
                   struct inv_reply_to to)
{
    return store->backend->find(store, sale, id, to);
}

void inv_store_resolve(struct inv_store *store, struct inv_sale *sale, const struct ps_uuid *id,
                       enum inv_verdict verdict)
{
    store->backend->resolve(store, sale, id, verdict);
}

void inv_store_raise(struct inv_store *store, struct inv_sale *sale, const struct ps_uuid *id,
                     uint32_t sku, int64_t units)
{
    assert(ps_int_ok(units, 1)); /* the log's reader has checked it */
    store->backend->raise(store, sale, id, sku, units);
}

int inv_store_counts(struct inv_store *store, struct inv_sale *sale, struct inv_reply_to to)
{
    return store->backend->counts(store, sale, to);
}

int inv_load_new(struct inv_store *store, const char *sale, int64_t epoch, const char *const *skus,
                 size_t sku_count, struct inv_load **ret_load)
{
    if (!ps_name_ok(sale, strlen(sale)) || !ps_int_ok(epoch, 0) || sku_count > INV_SKUS_MAX)
        return PS_E_INVALID;
    for (size_t i = 0; i < sku_count; i++) {
        if (!ps_name_ok(skus[i], strlen(skus[i])))
            return PS_E_INVALID;
    }
    return store->backend->load_new(store, sale, epoch, skus, sku_count, ret_load);
}

int inv_load_available(struct inv_load *load, uint32_t sku, int64_t available)
{
    if (!ps_int_ok(available, 0))
        return PS_E_INVALID;
    return load->backend->load_available(load, sku, available);
}

int inv_load_order(struct inv_load *load, const struct inv_load_order *order)
{
    if (!buyer_ok(order->user, order->key) || !ps_int_ok(order->quantity, 1) ||
        (order->state == INV_LOAD_RELEASED && order->key.len == 0))
        return PS_E_INVALID;
    return load->backend->load_order(load, order);
}

void inv_load_expect(struct inv_load *load, size_t orders)
{
    if (load->backend->load_expect != NULL)
        load->backend->load_expect(load, orders);
}

int inv_load_raised(struct inv_load *load, const struct ps_uuid *id)
{
    return load->backend->load_raised(load, id);
}

int inv_load_install(struct inv_load *load, struct inv_sale **ret_sale)
{
    return load->backend->load_install(load, ret_sale);
}

void inv_load_free(struct inv_load *load)
{
    if (load != NULL)
        load->backend->load_free(load);
}

void inv_store_free(struct inv_store *store)
{
    if (store != NULL)
        store->backend->store_free(store);
}

int inv_load_applied(struct inv_load *load, uint32_t partition, int64_t offset)
{
    const struct inv_shared_ops *shared = load->backend->shared;
    return shared != NULL ? shared->load_applied(load, partition, offset) : 0;
}

bool inv_store_is_shared(const struct inv_store *store)
{
    return store->backend->shared != NULL;
}

bool inv_store_breaker(struct inv_store *store, struct ps_breaker_view *ret_view)
{
    if (!inv_store_is_shared(store))
        return false;
    store->backend->shared->breaker(store, ret_view);
    return true;
}

void inv_store_force(struct inv_store *store, const struct ps_breaker_force *force)
{
    if (inv_store_is_shared(store))
        store->backend->shared->force(store, force);
}

bool inv_store_ready(const struct inv_store *store)
{
    return !inv_store_is_shared(store) || store->backend->shared->ready(store);
}

bool inv_store_busy(const struct inv_store *store)
{
    return inv_store_is_shared(store) && store->backend->shared->busy(store);
}

const char *inv_store_server(const struct inv_store *store)
{
    return inv_store_is_shared(store) ? store->backend->shared->server(store) : "";
}

void inv_store_view_reached(struct inv_store *store, int64_t mono_ns)
{
    if (inv_store_is_shared(store))
        store->backend->shared->view_reached(store, mono_ns);
}

void inv_store_load_error(const struct inv_store *store, char *ret_text, size_t cap)
{
    ret_text[0] = '\0';
    if (inv_store_is_shared(store))
        store->backend->shared->load_error(store, ret_text, cap);
}
