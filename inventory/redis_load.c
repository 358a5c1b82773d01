/* Loads a sale into Redis: what the caller passes becomes fields of the new epoch's keys, and is
 * sent at once (redis_feed.c); the last step puts the epoch in force.
 *
 * Orders and keys become fields as they arrive. A buyer's field needs all their orders, so these
 * are kept, in order of arrival, and written at the end. */
#include "inventory/arena.h"
#include "inventory/redis_feed.h"
#include "inventory/table.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#define BUYER_MAX (8 + 1 + (size_t)INV_SKUS_MAX * (1 + PS_NAME_MAX + 8) + INV_LAST_IDS * 16)

struct buyer {
    struct inv_link by_user;
    STAILQ_HEAD(, order) orders; /* in the order of the log */
    uint8_t user_len;
    char user[];
};

/* A live order of a buyer; or, without quantity, just an id that was there. */
struct order {
    struct inv_link by_id;
    STAILQ_ENTRY(order) next;
    struct ps_uuid id;
    int64_t quantity;
    uint32_t sku;
};

struct redis_load {
    struct inv_load head;
    struct inv_feed feed;
    char name[PS_NAME_MAX + 1];
    size_t sku_count;
    char (*skus)[PS_NAME_MAX + 1];
    struct inv_count *counts; /* one a SKU */
    struct ps_hash_key hash_key;
    struct inv_table ids, buyers;
    struct inv_arena arena;
};

/* --- what is loaded --- */

int inv_redis_load_new(struct inv_store *head, const char *sale, int64_t epoch,
                       const char *const *skus, size_t sku_count, struct inv_load **ret_load)
{
    struct redis_load *load = calloc(1, sizeof *load);
    if (load == NULL)
        return PS_E_NOMEM;
    load->head.backend = head->backend;
    load->feed.redis = ((struct inv_redis_store *)head)->redis;
    memcpy(load->name, sale, strlen(sale));
    load->feed.epoch = epoch;
    inv_keys_of(&load->feed.keys, sale, epoch);
    ps_hash_key_random(&load->hash_key);
    load->sku_count = sku_count;
    load->skus = calloc(sku_count + 1, sizeof *load->skus);
    load->counts = calloc(sku_count + 1, sizeof *load->counts);
    if (load->skus == NULL || load->counts == NULL || inv_table_init(&load->ids) < 0 ||
        inv_table_init(&load->buyers) < 0) {
        inv_redis_load_free(&load->head);
        return PS_E_NOMEM;
    }
    for (size_t i = 0; i < sku_count; i++)
        memcpy(load->skus[i], skus[i], strlen(skus[i]));
    *ret_load = &load->head;
    return 0;
}

static struct ps_str sku_name(const struct redis_load *load, uint32_t sku)
{
    return ps_str(load->skus[sku]);
}

static bool sum_fits(const struct inv_count *count, int64_t more)
{
    return more <= PS_INT_MAX - count->available - count->held - count->confirmed;
}

int inv_redis_load_available(struct inv_load *head, uint32_t sku, int64_t available)
{
    struct redis_load *load = (struct redis_load *)head;
    if (sku >= load->sku_count ||
        !sum_fits(&load->counts[sku], available - load->counts[sku].available))
        return PS_E_INVALID;
    load->counts[sku].available = available;
    return 0;
}

static uint64_t hash_id(const struct redis_load *load, const struct ps_uuid *id)
{
    return ps_hash64(&load->hash_key, id->byte, sizeof id->byte);
}

static bool is_known(const struct redis_load *load, const struct ps_uuid *id, uint64_t hash)
{
    for (struct inv_link *link = inv_table_first(&load->ids, hash); link != NULL;
         link = inv_table_next(link)) {
        if (ps_uuid_equal(&((struct order *)link)->id, id))
            return true;
    }
    return false;
}

/* NULL: out of memory. */
static struct order *add_id(struct redis_load *load, const struct ps_uuid *id, uint64_t hash)
{
    struct order *order = inv_arena_take(&load->arena, sizeof *order);
    if (order == NULL) {
        load->feed.err = PS_E_NOMEM;
        return NULL;
    }
    *order = (struct order){.id = *id};
    inv_table_put(&load->ids, &order->by_id, hash);
    return order;
}

static struct buyer *get_buyer(struct redis_load *load, struct ps_str user)
{
    uint64_t hash = ps_hash64(&load->hash_key, user.at, user.len);
    for (struct inv_link *link = inv_table_first(&load->buyers, hash); link != NULL;
         link = inv_table_next(link)) {
        struct buyer *buyer = (struct buyer *)link;
        if (buyer->user_len == user.len && memcmp(buyer->user, user.at, user.len) == 0)
            return buyer;
    }
    struct buyer *buyer = inv_arena_take(&load->arena, sizeof *buyer + user.len);
    if (buyer == NULL)
        return NULL;
    *buyer = (struct buyer){.user_len = (uint8_t)user.len};
    STAILQ_INIT(&buyer->orders);
    memcpy(buyer->user, user.at, user.len);
    inv_table_put(&load->buyers, &buyer->by_user, hash);
    return buyer;
}

static int write_order(struct redis_load *load, const struct inv_load_order *order)
{
    struct ps_str sku = sku_name(load, order->sku);
    struct inv_feed *feed = &load->feed;
    char *at = inv_feed_begin(feed, INV_KEY_ORDER, 16 + INV_ENTRY_MAX);
    if (at == NULL)
        return feed->err;
    at = inv_feed_value(feed, INV_KEY_ORDER, inv_put_id(at, &order->id));
    inv_feed_end(feed, INV_KEY_ORDER, inv_put_entry(at, order, sku));
    if (order->key.len == 0)
        return 0;
    at = inv_feed_begin(feed, INV_KEY_IDEM, INV_KEY_FIELD_MAX + 16 + INV_DIGEST_LEN);
    if (at == NULL)
        return feed->err;
    at = inv_feed_value(feed, INV_KEY_IDEM, inv_put_key_field(at, order->user, order->key));
    inv_feed_end(feed, INV_KEY_IDEM, inv_put_key_value(at, &order->id, sku, order->quantity));
    return 0;
}

int inv_redis_load_order(struct inv_load *head, const struct inv_load_order *order)
{
    struct redis_load *load = (struct redis_load *)head;
    uint64_t hash = hash_id(load, &order->id);
    if (order->sku >= load->sku_count)
        return PS_E_INVALID;
    if (is_known(load, &order->id, hash))
        return PS_E_EXISTS;
    struct inv_count *count = &load->counts[order->sku];
    bool live = order->state != INV_LOAD_RELEASED;
    if (live && !sum_fits(count, order->quantity))
        return PS_E_INVALID;
    struct order *known = add_id(load, &order->id, hash);
    if (known == NULL)
        return load->feed.err;
    if (live) {
        struct buyer *buyer = get_buyer(load, order->user);
        if (buyer == NULL)
            return load->feed.err = PS_E_NOMEM;
        known->quantity = order->quantity;
        known->sku = order->sku;
        STAILQ_INSERT_TAIL(&buyer->orders, known, next);
        *(order->state == INV_LOAD_HELD ? &count->held : &count->confirmed) += order->quantity;
    }
    return write_order(load, order);
}

int inv_redis_load_raised(struct inv_load *head, const struct ps_uuid *id)
{
    struct redis_load *load = (struct redis_load *)head;
    uint64_t hash = hash_id(load, id);
    if (is_known(load, id, hash))
        return PS_E_EXISTS;
    if (add_id(load, id, hash) == NULL)
        return load->feed.err;
    char *at = inv_feed_begin(&load->feed, INV_KEY_ADJUST, 16);
    if (at == NULL)
        return load->feed.err;
    inv_feed_end(&load->feed, INV_KEY_ADJUST, inv_put_id(at, id));
    return 0;
}

int inv_redis_load_applied(struct inv_load *head, uint32_t partition, int64_t offset)
{
    struct redis_load *load = (struct redis_load *)head;
    char text[INV_INT_TEXT];
    char *at = inv_feed_begin(&load->feed, INV_KEY_APPLIED, sizeof text * 2);
    if (at == NULL)
        return load->feed.err;
    at = inv_feed_value(&load->feed, INV_KEY_APPLIED,
                        inv_put_bytes(at, text, inv_print_int(text, partition)));
    inv_feed_end(&load->feed, INV_KEY_APPLIED,
                 inv_put_bytes(at, text, inv_print_int(text, offset)));
    return 0;
}

/* --- putting it in force --- */

static int write_count(struct redis_load *load, uint32_t sku, const char *suffix, int64_t value)
{
    char text[INV_INT_TEXT];
    struct ps_str name = sku_name(load, sku);
    char *at = inv_feed_begin(&load->feed, INV_KEY_STOCK, PS_NAME_MAX + 24 + sizeof text);
    if (at == NULL)
        return load->feed.err;
    at = inv_put_bytes(inv_put_bytes(at, name.at, name.len), suffix, strlen(suffix));
    at = inv_feed_value(&load->feed, INV_KEY_STOCK, at);
    inv_feed_end(&load->feed, INV_KEY_STOCK, inv_put_bytes(at, text, inv_print_int(text, value)));
    return 0;
}

static int write_counts(struct redis_load *load)
{
    for (uint32_t sku = 0; sku < load->sku_count; sku++) {
        const struct inv_count *count = &load->counts[sku];
        if (write_count(load, sku, "", count->available) < 0 ||
            write_count(load, sku, "/in_doubt", 0) < 0 ||
            write_count(load, sku, "/held", count->held) < 0 ||
            write_count(load, sku, "/confirmed", count->confirmed) < 0 ||
            write_count(load, sku, "/reserved_total", 0) < 0)
            return load->feed.err;
    }
    return load->feed.err;
}

/* Units of all orders of a buyer, those of each SKU, and the ids of the last ones. */
static char *put_buyer(char *at, const struct redis_load *load, const struct buyer *buyer)
{
    struct {
        uint32_t sku;
        int64_t units;
    } of[INV_SKUS_MAX];
    size_t skus = 0, orders = 0, i;
    int64_t units = 0;
    const struct order *order;
    STAILQ_FOREACH(order, &buyer->orders, next)
    {
        orders++;
        units += order->quantity;
        for (i = 0; i < skus && of[i].sku != order->sku; i++) {
        }
        if (i == skus) {
            of[skus].sku = order->sku;
            of[skus++].units = 0;
        }
        of[i].units += order->quantity;
    }
    at = inv_put_int(at, units);
    *at++ = (char)(uint8_t)skus;
    for (i = 0; i < skus; i++)
        at = inv_put_int(inv_put_text(at, sku_name(load, of[i].sku)), of[i].units);
    size_t skip = orders > INV_LAST_IDS ? orders - INV_LAST_IDS : 0;
    STAILQ_FOREACH(order, &buyer->orders, next)
    {
        if (skip > 0)
            skip--;
        else
            at = inv_put_id(at, &order->id);
    }
    return at;
}

static int write_buyers(struct redis_load *load)
{
    for (size_t i = 0; i <= load->buyers.mask; i++) {
        for (const struct inv_link *link = load->buyers.buckets[i]; link != NULL;
             link = inv_link_next(link)) {
            const struct buyer *buyer = (const struct buyer *)link;
            char *at = inv_feed_begin(&load->feed, INV_KEY_USER, PS_USER_MAX + BUYER_MAX);
            if (at == NULL)
                return load->feed.err;
            at = inv_feed_value(&load->feed, INV_KEY_USER,
                                inv_put_bytes(at, buyer->user, buyer->user_len));
            inv_feed_end(&load->feed, INV_KEY_USER, put_buyer(at, load, buyer));
        }
    }
    return load->feed.err;
}

int inv_redis_load_install(struct inv_load *head, struct inv_sale **ret_sale)
{
    struct redis_load *load = (struct redis_load *)head;
    struct inv_redis_sale *sale = inv_redis_find_sale(load->feed.redis, load->name);
    struct inv_redis_known known = {load->name, -1, "", (const char(*)[PS_NAME_MAX + 1]) load->skus,
                                    load->sku_count};
    int err = 0;
    if (sale != NULL) /* with the same SKUs, and below this epoch? */
        err = inv_redis_adopt(load->feed.redis, &known, &sale);
    if (err == 0 && sale != NULL && inv_sale_epoch(&sale->head) >= load->feed.epoch)
        err = PS_E_CONFLICT;
    if (err == 0 && (err = write_counts(load)) == 0 && (err = write_buyers(load)) == 0)
        err = inv_feed_install(&load->feed);
    if (err == 0) {
        known.epoch = load->feed.epoch;
        known.identity = inv_feed_identity(&load->feed);
        err = inv_redis_adopt(load->feed.redis, &known, &sale);
    }
    for (uint32_t sku = 0; err == 0 && sku < load->sku_count; sku++)
        inv_redis_learn(sale, sku, load->counts[sku].available, 0, 0);
    inv_redis_load_free(head);
    if (err == 0)
        *ret_sale = &sale->head;
    return err;
}

/* --- the end --- */

void inv_redis_load_free(struct inv_load *head)
{
    struct redis_load *load = (struct redis_load *)head;
    inv_feed_close(&load->feed);
    inv_table_done(&load->ids);
    inv_table_done(&load->buyers);
    inv_arena_done(&load->arena);
    free(load->skus);
    free(load->counts);
    free(load);
}

void inv_redis_load_error(const struct inv_store *store, char *ret_text, size_t cap)
{
    struct inv_redis *redis = ((const struct inv_redis_store *)store)->redis;
    pthread_mutex_lock(&redis->lock);
    (void)snprintf(ret_text, cap, "%s", redis->trouble);
    pthread_mutex_unlock(&redis->lock);
}
