/* What a backend of the counter provides. Only inventory/ includes this: store.c checks the input
 * and calls through the table, a backend embeds the three heads below as its first members. Each
 * entry does what the function of the same name in store.h or shared.h says. */
#ifndef INV_STORE_BACKEND_H
#define INV_STORE_BACKEND_H

#include "inventory/shared.h"

/* clang-format off */

/* What only a store that several gateways share provides; without it, store.c answers. */
struct inv_shared_ops {
    void (*breaker)(struct inv_store *store, struct ps_breaker_view *ret_view);
    void (*force)(struct inv_store *store, const struct ps_breaker_force *force);
    bool (*ready)(const struct inv_store *store);
    bool (*busy)(const struct inv_store *store);
    const char *(*server)(const struct inv_store *store);
    void (*view_reached)(struct inv_store *store, int64_t mono_ns);
    void (*load_error)(const struct inv_store *store, char *ret_text, size_t cap);
    int (*load_applied)(struct inv_load *load, uint32_t partition, int64_t offset);

    int (*installed)(struct inv_store *store, const char *sale, inv_installed_fn *done, void *ctx);
    int (*attach)(struct inv_store *store, const struct inv_attach *what, inv_attached_fn *done, void *ctx);
    int (*doubts)(struct inv_store *store, struct inv_sale *sale, uint64_t cursor, int64_t age_ms, inv_doubts_fn *done, void *ctx);
    int (*look)(struct inv_store *store, struct inv_sale *sale, const struct inv_look *what, inv_looked_fn *done, void *ctx);
    int (*note_applied)(struct inv_store *store, struct inv_sale *sale, uint32_t partition, int64_t offset);
    int (*applied)(struct inv_store *store, struct inv_sale *sale, inv_applied_fn *done, void *ctx);
    int (*heartbeat)(struct inv_store *store, const struct inv_heartbeat_call *call, inv_heartbeat_fn *done, void *ctx);
    int (*lease)(struct inv_store *store, const char *sale, int64_t ttl_ms, inv_lease_fn *done, void *ctx);
};

struct inv_backend {
    const struct inv_shared_ops *shared; /* NULL: only this process counts in it */

    int64_t (*sale_epoch)(const struct inv_sale *sale);
    size_t (*sale_sku_count)(const struct inv_sale *sale);
    int64_t (*sale_left)(const struct inv_sale *sale, uint32_t sku);
    bool (*sale_sku_sold_out)(const struct inv_sale *sale, uint32_t sku);

    int (*reserve)(struct inv_store *store, struct inv_sale *sale, const struct inv_reservation *reservation, struct inv_reply_to to);
    int (*judge)(struct inv_store *store, struct inv_sale *sale, const struct inv_reservation *reservation, struct inv_reply_to to);
    int (*lower)(struct inv_store *store, struct inv_sale *sale, const struct inv_lowering *lowering, struct inv_reply_to to);
    int (*find)(struct inv_store *store, struct inv_sale *sale, const struct ps_uuid *id, struct inv_reply_to to);
    void (*resolve)(struct inv_store *store, struct inv_sale *sale, const struct ps_uuid *id, enum inv_verdict verdict);
    void (*raise)(struct inv_store *store, struct inv_sale *sale, const struct ps_uuid *id, uint32_t sku, int64_t units);
    int (*counts)(struct inv_store *store, struct inv_sale *sale, struct inv_reply_to to);

    int (*load_new)(struct inv_store *store, const char *sale, int64_t epoch, const char *const *skus,
                    size_t sku_count, struct inv_load **ret_load);
    int (*load_available)(struct inv_load *load, uint32_t sku, int64_t available);
    int (*load_order)(struct inv_load *load, const struct inv_load_order *order);
    void (*load_expect)(struct inv_load *load, size_t orders); /* NULL: it does nothing */
    int (*load_raised)(struct inv_load *load, const struct ps_uuid *id);
    int (*load_install)(struct inv_load *load, struct inv_sale **ret_sale);
    void (*load_free)(struct inv_load *load);

    void (*store_free)(struct inv_store *store);
};
/* clang-format on */

struct inv_store {
    const struct inv_backend *backend;
};
struct inv_sale {
    const struct inv_backend *backend;
};
struct inv_load {
    const struct inv_backend *backend;
};

#endif
