/* What every file of the Redis backend uses: the process's part, a sale, a store, and the channel
 * of a sale at a store. */
#ifndef INV_REDIS_SALE_H
#define INV_REDIS_SALE_H

#include "inventory/redis_codec.h"
#include "inventory/store_backend.h"
#include "inventory/store_redis.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>
#define INV_TROUBLE_MAX 256

/* A sale as all stores of the process see it. */
struct inv_redis_sale {
    struct inv_sale head;
    SLIST_ENTRY(inv_redis_sale) next; /* under the lock */
    size_t index;                     /* 0, 1, 2 ... in the order of their coming */
    char name[PS_NAME_MAX + 1];
    size_t sku_count;
    char (*skus)[PS_NAME_MAX + 1];
    struct inv_redis *redis;
    _Atomic int64_t *left;
    /* Monotonic ns since which nothing is available or in doubt; INT64_MAX while in stock. */
    _Atomic int64_t *gone_since;
    _Atomic int64_t *reserved_total; /* as last read */
    _Atomic int64_t epoch;
    char identity[PS_REDIS_IDENTITY_MAX + 1]; /* of `epoch`; under the lock */
};

struct inv_redis {
    const struct inv_backend *backend; /* of its sales */
    pthread_mutex_t lock;
    SLIST_HEAD(, inv_redis_sale) sales; /* under the lock */
    size_t sale_count;
    char trouble[INV_TROUBLE_MAX]; /* of the last load; under the lock */
    struct ps_redis_url url;
    struct inv_redis_settings settings;
    struct ps_uuid start;
    _Atomic int64_t view_reached;
};

/* A sale at one store. */
struct inv_channel {
    struct inv_redis_sale *sale;
    int64_t epoch;     /* the epoch of `keys` and `fits`; -1: none yet */
    unsigned greeting; /* the greeting of `fits` */
    bool fits;         /* the link's server is the one that the epoch was installed on */
    struct inv_keys keys;
    struct inv_batch *batch;               /* gathers reservations; NULL = none in this turn */
    TAILQ_HEAD(inv_pages, inv_page) pages; /* effects that Redis has not taken yet */
    bool page_out;                         /* the first page is being sent: closed */
    unsigned out;                          /* calls in progress */
    unsigned losses;                       /* of the store, when the last offset was noted */
    int64_t fenced_epoch;                  /* effects wait for an epoch other than this; -1: no */
};

struct inv_redis_store {
    struct inv_store head;
    struct inv_redis *redis;
    struct inv_redis_events events;
    struct ps_redis_link *link;
    uv_idle_t turn;    /* at the end of a turn in which something was gathered */
    uv_timer_t linger; /* runs while effects wait */
    unsigned handles;
    unsigned greeting;             /* counts the servers that were greeted */
    struct inv_channel **channels; /* by the sale's index; NULL: not yet used here */
    size_t channel_count;
    SLIST_HEAD(, inv_batch) free_batches;
    size_t batch_count; /* that exist */
    size_t out;         /* batches and calls that wait for their replies */
    unsigned losses;    /* effects lost for lack of memory */
    bool closed;
};

/* The channel of a sale, updated to the sale's present epoch. NULL: out of memory. */
struct inv_channel *inv_redis_channel(struct inv_redis_store *store, struct inv_redis_sale *sale);
/* A sale under one epoch, installed or to be installed. */
struct inv_redis_known {
    const char *name;
    int64_t epoch;
    const char *identity; /* of the server */
    const char (*skus)[PS_NAME_MAX + 1];
    size_t sku_count;
};
/* Makes the sale known to all stores of the process; its handle may be there already. Moves it to
 * the epoch if that is higher than its own. PS_E_NOMEM, PS_E_CONFLICT (known with other SKUs). Any
 * thread. */
int inv_redis_adopt(struct inv_redis *redis, const struct inv_redis_known *known,
                    struct inv_redis_sale **ret_sale) PS_MUST_CHECK;
struct inv_redis_sale *inv_redis_find_sale(struct inv_redis *redis, const char *name);
/* UINT32_MAX: none of that name. */
uint32_t inv_redis_sku(const struct inv_redis_sale *sale, const char *name, size_t len);
/* Parses a field of `stock`: the index of its SKU (UINT32_MAX: none of ours), and which number it
 * is: "" (available), "/in_doubt", "/held", "/confirmed", "/reserved_total", or another; points
 * into the name. */
const char *inv_redis_count_field(const struct inv_redis_sale *sale, const redisReply *name,
                                  uint32_t *ret_sku);
/* Stores Redis's numbers of a SKU; ignores UINT32_MAX. */
void inv_redis_learn(struct inv_redis_sale *sale, uint32_t index, int64_t left, int64_t in_doubt,
                     int64_t reserved_total);
/* Stores "available" from the fields and values of `stock`; returns the units in doubt of all SKUs.
 */
int64_t inv_redis_learn_left(struct inv_redis_sale *sale, const redisReply *fields);
/* The error of a script's reply (0: none): calls the events of an error, and of FENCED, which is
 * PS_E_CLOSED here. */
int inv_redis_reply_fault(struct inv_redis_store *store, struct inv_redis_sale *sale, int err,
                          const redisReply *reply);

void inv_redis_report_fenced(struct inv_redis_store *store, struct inv_redis_sale *sale);

void inv_redis_free_sales(struct inv_redis *redis);

#endif
