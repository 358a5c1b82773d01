/* What the files of the Redis backend share: store_redis.c (sales, stores), store_redis_step.c
 * (reserving, settling), store_redis_calls.c (looking at a sale), store_redis_cluster.c (what
 * gateways tell each other), store_redis_load.c (loading). */
#ifndef INV_STORE_REDIS_PRIVATE_H
#define INV_STORE_REDIS_PRIVATE_H

#include "inventory/redis_codec.h"
#include "inventory/scripts.h"
#include "inventory/store_backend.h"
#include "inventory/store_redis.h"

#include <pthread.h>
#include <stdatomic.h>

#define INV_TROUBLE_MAX 256

/* A sale as all stores of the process know it. */
struct redis_sale {
    struct inv_sale head;
    struct redis_sale *next; /* under the lock */
    size_t index;            /* 0, 1, 2 ... in the order of their coming */
    char name[PS_NAME_MAX + 1];
    size_t sku_count;
    char (*skus)[PS_NAME_MAX + 1];
    struct inv_redis *redis;
    _Atomic int64_t *left;
    /* In ns of the monotonic clock, when the SKU was found to have nothing available and nothing in
     * doubt, and to have been taken so often; INT64_MAX: it has. */
    _Atomic int64_t *gone_since;
    _Atomic int64_t *taken;
    _Atomic int64_t epoch;
    char identity[PS_REDIS_IDENTITY_MAX + 1]; /* of `epoch`; under the lock */
};

struct inv_redis {
    pthread_mutex_t lock;
    struct redis_sale *sales; /* newest first; under the lock */
    size_t sale_count;
    char trouble[INV_TROUBLE_MAX]; /* of the last load; under the lock */
    struct ps_redis_url url;
    struct inv_redis_settings settings;
    struct ps_uuid start;
    _Atomic int64_t view_reached;
};

/* A sale at one store. */
struct desk {
    struct redis_sale *sale;
    int64_t epoch;     /* what `keys` and `fits` are of; -1: nothing yet */
    unsigned greeting; /* what `fits` is of */
    bool fits;         /* the link's server is the one that the epoch was installed on */
    struct inv_keys keys;
    struct batch *batch;       /* gathers reservations; NULL = none in this turn */
    struct page *first, *last; /* effects that Redis has not taken yet */
    bool page_out;             /* the first page is under way: closed */
    unsigned out;              /* calls under way */
    unsigned losses;           /* of the store, when the last offset was noted */
    int64_t fenced_epoch;      /* effects wait for another one than this; -1: no */
};

struct redis_store {
    struct inv_store head;
    struct inv_redis *redis;
    struct inv_redis_events events;
    struct ps_redis_link *link;
    uv_idle_t turn;    /* at the end of a turn in which something was gathered */
    uv_timer_t linger; /* runs while effects wait */
    unsigned handles;
    unsigned greeting;   /* counts the servers that were greeted */
    struct desk **desks; /* by the sale's index; NULL: not yet used here */
    size_t desk_count;
    struct batch *free_batches;
    size_t batch_count; /* that exist */
    size_t out;         /* batches and calls that wait for their replies */
    unsigned losses;    /* effects, for want of memory */
    bool closed;
};

/* A command about a sale that waits for its reply. */
struct call {
    struct redis_store *store;
    struct redis_sale *sale; /* NULL: about none, or one by name */
    struct inv_reply_to to;  /* find, counts */
    void *ctx;
    union {
        inv_installed_fn *installed;
        inv_attached_fn *attached;
        inv_doubts_fn *doubts;
        inv_applied_fn *applied;
        inv_heartbeat_fn *heartbeat;
        inv_lease_fn *lease;
    } done;
    int64_t number; /* attach: least epoch; doubts: age; applied: epoch */
    char name[PS_NAME_MAX + 1];
    size_t sku_count; /* attach */
    char (*skus)[PS_NAME_MAX + 1];
};

/* --- store_redis.c --- */

/* The desk of a sale, in step with the sale's present epoch. NULL: out of memory. */
struct desk *inv_redis_desk(struct redis_store *store, struct redis_sale *sale);
/* `name` and `skus` (names); the handle may be there already. Moves it to `epoch` if that is higher
 * than its own. NULL and an error: PS_E_NOMEM, PS_E_CONFLICT (other SKUs). Any thread. */
int inv_redis_adopt(struct inv_redis *redis, const char *name, int64_t epoch, const char *identity,
                    const char (*skus)[PS_NAME_MAX + 1], size_t sku_count,
                    struct redis_sale **ret_sale) PS_MUST_CHECK;
struct redis_sale *inv_redis_find_sale(struct inv_redis *redis, const char *name);
/* UINT32_MAX: none of that name. */
uint32_t inv_redis_sku(const struct redis_sale *sale, const char *name, size_t len);
/* Whose number a field of `stock` is (UINT32_MAX: of no SKU of ours), and which: "" (available),
 * "/in_doubt", "/held", "/confirmed", "/reserved_total", or another; it points into the name. */
const char *inv_redis_count_field(const struct redis_sale *sale, const redisReply *name,
                                  uint32_t *ret_sku);
/* What Redis says of a SKU; UINT32_MAX: of none of ours. */
void inv_redis_learn(struct redis_sale *sale, uint32_t index, int64_t left, int64_t in_doubt,
                     int64_t taken);
/* Takes "available" out of the fields and values of `stock`. Units in doubt of all SKUs. */
int64_t inv_redis_learn_left(struct redis_sale *sale, const redisReply *fields);
/* What is wrong with a reply of a script (0: nothing): tells the events of an error, and of FENCED,
 * which is PS_E_CLOSED here. */
int inv_redis_judge(struct redis_store *store, struct redis_sale *sale, int err,
                    const redisReply *reply);

void inv_redis_tell_fenced(struct redis_store *store, struct redis_sale *sale);

/* --- store_redis_step.c --- */
int inv_redis_reserve(struct inv_store *head, struct inv_sale *sale,
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
void inv_redis_step_refuse(struct redis_store *store);
/* Frees batches and pages. */
void inv_redis_step_done(struct redis_store *store);

/* --- what calls are made with (store_redis_calls.c) --- */

/* NULL: out of memory. */
struct call *inv_call_new(struct inv_store *store, struct inv_sale *sale, void *ctx);
void inv_call_free(struct call *call);
/* Takes `call` over in every case. INV_PENDING, or an error. */
int inv_call_submit(struct call *call, enum inv_script script, int key_count,
                    struct ps_redis_args args, ps_redis_reply_fn *fn) PS_MUST_CHECK;
/* The reply of a call has come: what is wrong with it, or 0. */
int inv_call_come(struct call *call, int err, const redisReply *reply) PS_MUST_CHECK;
int64_t inv_reply_number(const redisReply *reply);
bool inv_reply_is_array(const redisReply *reply, size_t elements);

/* --- store_redis_calls.c --- */
int inv_redis_find(struct inv_store *head, struct inv_sale *sale, const struct ps_uuid *id,
                   struct inv_reply_to to);
int inv_redis_counts(struct inv_store *head, struct inv_sale *sale, struct inv_reply_to to);
int inv_redis_applied(struct inv_store *head, struct inv_sale *sale, inv_applied_fn *done,
                      void *ctx);
int inv_redis_doubts(struct inv_store *head, struct inv_sale *sale, uint64_t cursor, int64_t age_ms,
                     inv_doubts_fn *done, void *ctx);

/* --- store_redis_cluster.c --- */
int inv_redis_installed(struct inv_store *head, const char *sale, inv_installed_fn *done,
                        void *ctx);
int inv_redis_attach(struct inv_store *head, const struct inv_attach *what, inv_attached_fn *done,
                     void *ctx);
int inv_redis_heartbeat(struct inv_store *head, const struct inv_heartbeat_call *what,
                        inv_heartbeat_fn *done, void *ctx);
int inv_redis_lease(struct inv_store *head, const char *sale, int64_t ttl_ms, inv_lease_fn *done,
                    void *ctx);

/* --- store_redis_load.c --- */
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
