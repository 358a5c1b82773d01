/* Calls of shared.h go through the backend's table. */
#include "inventory/store_backend.h"

int inv_shared_installed(struct inv_store *store, const char *sale, inv_installed_fn *done,
                         void *ctx)
{
    return store->backend->shared->installed(store, sale, done, ctx);
}

int inv_shared_attach(struct inv_store *store, const struct inv_attach *what, inv_attached_fn *done,
                      void *ctx)
{
    if (what->sku_count > INV_SKUS_MAX)
        return PS_E_INVALID;
    return store->backend->shared->attach(store, what, done, ctx);
}

int inv_shared_doubts(struct inv_store *store, struct inv_sale *sale, uint64_t cursor,
                      int64_t age_ms, inv_doubts_fn *done, void *ctx)
{
    return store->backend->shared->doubts(store, sale, cursor, age_ms, done, ctx);
}

int inv_shared_look(struct inv_store *store, struct inv_sale *sale, const struct inv_look *what,
                    inv_looked_fn *done, void *ctx)
{
    if (what->count > INV_LOOK_MAX)
        return PS_E_INVALID;
    return store->backend->shared->look(store, sale, what, done, ctx);
}

int inv_shared_note_applied(struct inv_store *store, struct inv_sale *sale, uint32_t partition,
                            int64_t offset)
{
    return store->backend->shared->note_applied(store, sale, partition, offset);
}

int inv_shared_applied(struct inv_store *store, struct inv_sale *sale, inv_applied_fn *done,
                       void *ctx)
{
    return store->backend->shared->applied(store, sale, done, ctx);
}

int inv_shared_heartbeat(struct inv_store *store, const struct inv_heartbeat_call *call,
                         inv_heartbeat_fn *done, void *ctx)
{
    return store->backend->shared->heartbeat(store, call, done, ctx);
}

int inv_shared_lease(struct inv_store *store, const char *sale, int64_t ttl_ms, inv_lease_fn *done,
                     void *ctx)
{
    return store->backend->shared->lease(store, sale, ttl_ms, done, ctx);
}
