/* The sales that all stores of the process know, and the channel of a sale at each store.
 *
 * Sales and what belongs to them are shared by threads: names and SKUs never change, what is left
 * and the epoch are atomic, and the identity that goes with the epoch is read and written under the
 * lock. A channel keeps a copy of what it needs, in step with the epoch and with the server:
 * nothing of a sale is sent to a server with another identity than the one that its epoch was
 * installed under. A sale lives as long as the process's struct inv_redis, so handles need no
 * counting. */
#include "inventory/redis_sale.h"

#include "common/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- sales --- */

static struct inv_redis_sale *find_locked(const struct inv_redis *redis, const char *name)
{
    struct inv_redis_sale *sale;
    SLIST_FOREACH(sale, &redis->sales, next)
    {
        if (strcmp(sale->name, name) == 0)
            break;
    }
    return sale;
}

struct inv_redis_sale *inv_redis_find_sale(struct inv_redis *redis, const char *name)
{
    pthread_mutex_lock(&redis->lock);
    struct inv_redis_sale *sale = find_locked(redis, name);
    pthread_mutex_unlock(&redis->lock);
    return sale;
}

uint32_t inv_redis_sku(const struct inv_redis_sale *sale, const char *name, size_t len)
{
    for (uint32_t i = 0; i < sale->sku_count; i++) {
        if (strlen(sale->skus[i]) == len && memcmp(sale->skus[i], name, len) == 0)
            return i;
    }
    return UINT32_MAX;
}

/* If the SKU was sold out before too, stock may have come back and been sold meanwhile: then it is
 * sold out only from now on. */
void inv_redis_learn(struct inv_redis_sale *sale, uint32_t index, int64_t left, int64_t in_doubt,
                     int64_t reserved_total)
{
    if (index == UINT32_MAX)
        return;
    bool gone = left < 1 && in_doubt < 1;
    bool sold = atomic_exchange_explicit(&sale->reserved_total[index], reserved_total,
                                         memory_order_relaxed) != reserved_total;
    bool was = atomic_load_explicit(&sale->gone_since[index], memory_order_relaxed) != INT64_MAX;
    atomic_store_explicit(&sale->left[index], left, memory_order_relaxed);
    if (gone != was || (gone && sold))
        atomic_store_explicit(&sale->gone_since[index],
                              gone ? ps_clock_mono_ns(&ps_clock_system) : INT64_MAX,
                              memory_order_relaxed);
}

const char *inv_redis_count_field(const struct inv_redis_sale *sale, const redisReply *name,
                                  uint32_t *ret_sku)
{
    const char *slash = memchr(name->str, '/', name->len);
    size_t len = slash != NULL ? (size_t)(slash - name->str) : name->len;
    *ret_sku = inv_redis_sku(sale, name->str, len);
    return name->str + len;
}

int64_t inv_redis_learn_left(struct inv_redis_sale *sale, const redisReply *fields)
{
    struct {
        int64_t left, in_doubt, reserved_total;
        bool reported;
    } skus[INV_SKUS_MAX] = {0};
    int64_t in_doubt = 0;
    for (size_t i = 0; i + 1 < fields->elements; i += 2) {
        const redisReply *name = fields->element[i], *value = fields->element[i + 1];
        if (name->type != REDIS_REPLY_STRING || value->type != REDIS_REPLY_STRING)
            continue;
        uint32_t sku;
        const char *which = inv_redis_count_field(sale, name, &sku);
        int64_t number = strtoll(value->str, NULL, 10);
        bool doubt = strcmp(which, "/in_doubt") == 0;
        in_doubt += doubt ? number : 0;
        if (sku >= INV_SKUS_MAX)
            continue;
        if (*which == '\0') {
            skus[sku].reported = true;
            skus[sku].left = number;
        } else if (doubt) {
            skus[sku].in_doubt = number;
        } else if (strcmp(which, "/reserved_total") == 0) {
            skus[sku].reserved_total = number;
        }
    }
    for (uint32_t i = 0; i < INV_SKUS_MAX; i++) {
        if (skus[i].reported)
            inv_redis_learn(sale, i, skus[i].left, skus[i].in_doubt, skus[i].reserved_total);
    }
    return in_doubt;
}

static bool same_skus(const struct inv_redis_sale *sale, const char (*skus)[PS_NAME_MAX + 1],
                      size_t count)
{
    if (sale->sku_count != count)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(sale->skus[i], skus[i]) != 0)
            return false;
    }
    return true;
}

static void free_sale(struct inv_redis_sale *sale)
{
    free(sale->skus);
    free(sale->left);
    free(sale->gone_since);
    free(sale->reserved_total);
    free(sale);
}

static struct inv_redis_sale *new_sale(struct inv_redis *redis, const char *name,
                                       const char (*skus)[PS_NAME_MAX + 1], size_t count)
{
    struct inv_redis_sale *sale = calloc(1, sizeof *sale);
    if (sale == NULL)
        return NULL;
    sale->skus = calloc(count > 0 ? count : 1, sizeof *sale->skus);
    sale->left = calloc(count > 0 ? count : 1, sizeof *sale->left);
    sale->gone_since = calloc(count > 0 ? count : 1, sizeof *sale->gone_since);
    sale->reserved_total = calloc(count > 0 ? count : 1, sizeof *sale->reserved_total);
    if (sale->skus == NULL || sale->left == NULL || sale->gone_since == NULL ||
        sale->reserved_total == NULL) {
        free_sale(sale);
        return NULL;
    }
    for (size_t i = 0; i < count; i++)
        atomic_init(&sale->gone_since[i], INT64_MAX);
    sale->head.backend = redis->backend;
    sale->redis = redis;
    memcpy(sale->name, name, strlen(name));
    memcpy(sale->skus, skus, count * sizeof *skus);
    sale->sku_count = count;
    atomic_init(&sale->epoch, -1);
    return sale;
}

int inv_redis_adopt(struct inv_redis *redis, const struct inv_redis_known *known,
                    struct inv_redis_sale **ret_sale)
{
    int err = 0;
    pthread_mutex_lock(&redis->lock);
    struct inv_redis_sale *sale = find_locked(redis, known->name);
    if (sale == NULL) {
        sale = new_sale(redis, known->name, known->skus, known->sku_count);
        if (sale != NULL) {
            sale->index = redis->sale_count++;
            SLIST_INSERT_HEAD(&redis->sales, sale, next);
        } else {
            err = PS_E_NOMEM;
        }
    } else if (!same_skus(sale, known->skus, known->sku_count)) {
        err = PS_E_CONFLICT;
    }
    if (err == 0 && known->epoch > atomic_load_explicit(&sale->epoch, memory_order_relaxed)) {
        memcpy(sale->identity, known->identity, strlen(known->identity) + 1);
        for (size_t i = 0; i < known->sku_count; i++) /* all is counted anew */
            atomic_store_explicit(&sale->gone_since[i], INT64_MAX, memory_order_relaxed);
        atomic_store_explicit(&sale->epoch, known->epoch, memory_order_release);
    }
    pthread_mutex_unlock(&redis->lock);
    if (err == 0)
        *ret_sale = sale;
    return err;
}

/* --- channels --- */

static struct inv_channel *get_channel(struct inv_redis_store *store, struct inv_redis_sale *sale)
{
    if (sale->index >= store->channel_count) {
        struct inv_channel **more = realloc(store->channels, (sale->index + 1) * sizeof *more);
        if (more == NULL)
            return NULL;
        while (store->channel_count <= sale->index)
            more[store->channel_count++] = NULL;
        store->channels = more;
    }
    struct inv_channel *channel = store->channels[sale->index];
    if (channel == NULL && (channel = calloc(1, sizeof *channel)) != NULL) {
        channel->sale = sale;
        TAILQ_INIT(&channel->pages);
        channel->epoch = channel->fenced_epoch = -1;
        store->channels[sale->index] = channel;
    }
    return channel;
}

struct inv_channel *inv_redis_channel(struct inv_redis_store *store, struct inv_redis_sale *sale)
{
    struct inv_channel *channel = get_channel(store, sale);
    if (channel == NULL)
        return NULL;
    int64_t epoch = atomic_load_explicit(&sale->epoch, memory_order_acquire);
    if (channel->epoch == epoch && channel->greeting == store->greeting)
        return channel;
    pthread_mutex_lock(&store->redis->lock);
    channel->epoch = atomic_load_explicit(&sale->epoch, memory_order_relaxed);
    channel->fits = strcmp(sale->identity, ps_redis_link_identity(store->link)) == 0;
    pthread_mutex_unlock(&store->redis->lock);
    channel->greeting = store->greeting;
    inv_keys_of(&channel->keys, sale->name, channel->epoch);
    return channel;
}

void inv_redis_report_fenced(struct inv_redis_store *store, struct inv_redis_sale *sale)
{
    if (store->events.on_fenced != NULL)
        store->events.on_fenced(&sale->head, store->events.ctx);
}

int inv_redis_reply_fault(struct inv_redis_store *store, struct inv_redis_sale *sale, int err,
                          const redisReply *reply)
{
    if (err == 0)
        err = ps_redis_reply_err(reply);
    if (err < 0 && reply != NULL && store->events.on_error != NULL) {
        char text[512];
        (void)snprintf(text, sizeof text, "Redis %s: %s%s", ps_redis_link_server(store->link),
                       reply->str,
                       err == PS_E_CORRUPT ? ": rename that key, or give Penstock a database of "
                                             "its own (store.redis.url)"
                                           : "");
        store->events.on_error(sale != NULL ? &sale->head : NULL, err, text, store->events.ctx);
    }
    if (err == 0 && reply->type == REDIS_REPLY_STATUS && strcmp(reply->str, "FENCED") == 0) {
        inv_redis_report_fenced(store, sale);
        err = PS_E_CLOSED;
    }
    return err;
}

void inv_redis_free_sales(struct inv_redis *redis)
{
    while (!SLIST_EMPTY(&redis->sales)) {
        struct inv_redis_sale *sale = SLIST_FIRST(&redis->sales);
        SLIST_REMOVE_HEAD(&redis->sales, next);
        free_sale(sale);
    }
}
