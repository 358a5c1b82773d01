/* The functions of the Redis backend: the calls in store_redis.c's table, and what they are made
 * of. */
#ifndef INV_REDIS_OPS_H
#define INV_REDIS_OPS_H

#include "inventory/redis_sale.h"
#include "inventory/scripts.h"

/* A command about a sale that waits for its reply. */
struct inv_call {
    struct inv_redis_store *store;
    struct inv_redis_sale *sale; /* NULL: about none, or one by name */
    struct inv_reply_to to;      /* find, counts */
    void *ctx;
    union {
        inv_installed_fn *installed;
        inv_attached_fn *attached;
        inv_doubts_fn *doubts;
        inv_looked_fn *looked;
        inv_applied_fn *applied;
        inv_heartbeat_fn *heartbeat;
        inv_lease_fn *lease;
    } done;
    int64_t number; /* attach: least epoch; doubts: age; applied: epoch; look: how many */
    char name[PS_NAME_MAX + 1];
    size_t sku_count; /* attach */
    char (*skus)[PS_NAME_MAX + 1];
};

/* --- redis_step.c --- */
int inv_redis_reserve(struct inv_store *head, struct inv_sale *sale,
                      const struct inv_reservation *reservation, struct inv_reply_to to);
int inv_redis_judge(struct inv_store *head, struct inv_sale *sale,
                    const struct inv_reservation *reservation, struct inv_reply_to to);
int inv_redis_lower(struct inv_store *head, struct inv_sale *sale,
                    const struct inv_lowering *lowering, struct inv_reply_to to);
void inv_redis_resolve(struct inv_store *head, struct inv_sale *sale, const struct ps_uuid *id,
                       enum inv_verdict verdict);
void inv_redis_raise(struct inv_store *head, struct inv_sale *sale, const struct ps_uuid *id,
                     uint32_t sku, int64_t units);
int inv_redis_note_applied(struct inv_store *head, struct inv_sale *sale, uint32_t partition,
                           int64_t offset);
/* Refuses what was gathered and not sent. */
void inv_redis_step_refuse(struct inv_redis_store *store);
/* Frees batches and pages. */
void inv_redis_step_done(struct inv_redis_store *store);

/* --- what calls are made with (redis_calls.c) --- */

/* NULL: out of memory. */
struct inv_call *inv_call_new(struct inv_store *store, struct inv_sale *sale, void *ctx);
void inv_call_free(struct inv_call *call);
/* Takes over `call` in every case. INV_PENDING, or an error. */
int inv_call_submit(struct inv_call *call, enum inv_script script, int key_count,
                    struct ps_redis_args args, ps_redis_reply_fn *fn) PS_MUST_CHECK;
/* A call's reply has arrived: the error, or 0. */
int inv_call_come(struct inv_call *call, int err, const redisReply *reply) PS_MUST_CHECK;
int64_t inv_reply_number(const redisReply *reply);
bool inv_reply_is_array(const redisReply *reply, size_t elements);

/* --- redis_calls.c --- */
int inv_redis_find(struct inv_store *head, struct inv_sale *sale, const struct ps_uuid *id,
                   struct inv_reply_to to);
int inv_redis_counts(struct inv_store *head, struct inv_sale *sale, struct inv_reply_to to);
int inv_redis_applied(struct inv_store *head, struct inv_sale *sale, inv_applied_fn *done,
                      void *ctx);
int inv_redis_doubts(struct inv_store *head, struct inv_sale *sale, uint64_t cursor, int64_t age_ms,
                     inv_doubts_fn *done, void *ctx);
int inv_redis_look(struct inv_store *head, struct inv_sale *sale, const struct inv_look *what,
                   inv_looked_fn *done, void *ctx);

/* --- redis_members.c --- */
int inv_redis_installed(struct inv_store *head, const char *sale, inv_installed_fn *done,
                        void *ctx);
int inv_redis_attach(struct inv_store *head, const struct inv_attach *what, inv_attached_fn *done,
                     void *ctx);
int inv_redis_heartbeat(struct inv_store *head, const struct inv_heartbeat_call *what,
                        inv_heartbeat_fn *done, void *ctx);
int inv_redis_lease(struct inv_store *head, const char *sale, int64_t ttl_ms, inv_lease_fn *done,
                    void *ctx);

/* --- redis_load.c --- */
int inv_redis_load_new(struct inv_store *head, const char *sale, int64_t epoch,
                       const char *const *skus, size_t sku_count, struct inv_load **ret_load);
int inv_redis_load_available(struct inv_load *load, uint32_t sku, int64_t available);
int inv_redis_load_order(struct inv_load *load, const struct inv_load_order *order);
int inv_redis_load_raised(struct inv_load *load, const struct ps_uuid *id);
int inv_redis_load_applied(struct inv_load *load, uint32_t partition, int64_t offset);
int inv_redis_load_install(struct inv_load *load, struct inv_sale **ret_sale);
void inv_redis_load_free(struct inv_load *load);
void inv_redis_load_error(const struct inv_store *head, char *ret_text, size_t cap);

#endif
