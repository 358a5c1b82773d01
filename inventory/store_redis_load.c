/* Loading a sale into Redis: what the caller gives becomes fields of the new epoch's keys, and goes
 * out in chunks of 1,000 fields, some of them at a time under way; the last step puts the epoch in
 * force.
 *
 * It runs a loop and a link of its own on the caller's thread until enough replies have come, so
 * the caller is kept waiting, but every wait has the link's deadlines. The first trouble ends it: a
 * link that was lost may have lost chunks, and may find another server when it comes back. What was
 * sent is dropped again (the server does that by itself after an hour).
 *
 * Orders and keys become fields at once. A buyer's field needs all his orders, so these are kept,
 * in the order of their coming, and written at the end. How many fields were new is counted from
 * the replies; the install names these numbers, and the server counts for itself. */
#include "inventory/arena.h"
#include "inventory/store_redis_private.h"
#include "inventory/table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_FIELDS 1000
#define CHUNK_BYTES  (256 * 1024)
#define CHUNKS_OUT   8
#define BUYER_MAX    (8 + 1 + (size_t)UINT8_MAX * (1 + PS_NAME_MAX + 8) + INV_LAST_IDS * 16)

/* A field and its value, or a member and nothing, of one key. */
struct chunk {
    size_t fields, len;
    size_t ends[2 * CHUNK_FIELDS]; /* of each text in `bytes` */
    char bytes[CHUNK_BYTES];
};

struct buyer {
    struct inv_link by_user;
    struct order *first, *last;
    uint8_t user_len;
    char user[];
};

/* A live order of a buyer; or, without quantity, just an id that was there. */
struct order {
    struct inv_link by_id;
    struct order *next;
    struct ps_uuid id;
    int64_t quantity;
    uint32_t sku;
};

struct redis_load {
    struct inv_load head;
    struct inv_redis *redis;
    char name[PS_NAME_MAX + 1];
    int64_t epoch;
    struct inv_keys keys;
    size_t sku_count;
    char (*skus)[PS_NAME_MAX + 1];
    struct inv_count *counts; /* one a SKU */
    struct ps_hash_key hash_key;
    struct inv_table ids, buyers;
    struct inv_arena arena;
    struct chunk *chunks[INV_KEYS]; /* by key; NULL: nothing yet */
    int64_t expected[INV_KEYS];     /* fields that the server says were new */
    bool has_loop, has_link, sent, maybe_installed;
    uv_loop_t loop;
    struct ps_redis_link *link;
    size_t out; /* commands under way */
    int err;    /* of the first trouble; 0 */
};

/* --- the connection --- */

static void trouble(struct redis_load *load, int err, const char *key, const char *text)
{
    if (load->err < 0)
        return;
    load->err = err;
    pthread_mutex_lock(&load->redis->lock);
    (void)snprintf(load->redis->trouble, INV_TROUBLE_MAX, "%s%s%s", key, key[0] != '\0' ? ": " : "",
                   text);
    pthread_mutex_unlock(&load->redis->lock);
}

static void on_ready(const char *identity, void *ctx)
{
    (void)identity, (void)ctx; /* asked for when it is needed */
}

static void on_away(int err, const char *why, void *ctx)
{
    trouble(ctx, err, "", why);
}

static int open_link(struct redis_load *load)
{
    const struct ps_redis_callbacks callbacks = {on_ready, on_away, load};
    struct ps_redis_settings settings = load->redis->settings.link;
    settings.command_timeout_ms = load->redis->settings.load_timeout_ms;
    if (uv_loop_init(&load->loop) < 0)
        return PS_E_NOMEM;
    load->has_loop = true;
    int err = ps_redis_link_new(&load->loop, &load->redis->url, &settings, &callbacks, &load->link);
    if (err < 0)
        return err;
    load->has_link = true;
    while (load->err == 0 && ps_redis_link_state(load->link) != PS_REDIS_READY)
        (void)uv_run(&load->loop, UV_RUN_ONCE);
    return load->err;
}

/* Until at most `most` commands are under way. */
static int wait_for_replies(struct redis_load *load, size_t most)
{
    while (load->err == 0 && load->out > most)
        (void)uv_run(&load->loop, UV_RUN_ONCE);
    return load->err;
}

/* A chunk under way. */
struct parcel {
    struct redis_load *load;
    int key;
};

static void on_chunk(int err, const redisReply *reply, void *ctx)
{
    struct parcel *parcel = ctx;
    struct redis_load *load = parcel->load;
    const char *key = load->keys.name[parcel->key];
    load->out--;
    if (err == 0 && (err = ps_redis_reply_err(reply)) < 0)
        trouble(load, err == PS_E_UNKNOWN ? PS_E_IO : err, key, reply->str);
    else if (err == 0 && reply->type == REDIS_REPLY_INTEGER)
        load->expected[parcel->key] += reply->integer;
    else if (err == 0)
        trouble(load, PS_E_CONFLICT, key, "this epoch or a higher one is installed");
    /* without a reply the link is lost, and on_away says why */
    free(parcel);
}

static int submit_chunk(struct redis_load *load, int key, const struct chunk *chunk, size_t texts)
{
    enum { HEAD = 4 };
    const char **at = malloc((HEAD + texts) * sizeof *at);
    size_t *len = malloc((HEAD + texts) * sizeof *len);
    struct parcel *parcel = malloc(sizeof *parcel);
    char epoch[INV_INT_TEXT];
    int err = PS_E_NOMEM;
    if (at != NULL && len != NULL && parcel != NULL) {
        at[0] = load->keys.name[INV_KEY_CUR], len[0] = load->keys.len[INV_KEY_CUR];
        at[1] = load->keys.name[key], len[1] = load->keys.len[key];
        at[2] = epoch, len[2] = inv_print_int(epoch, load->epoch);
        at[3] = key == INV_KEY_A ? "SADD" : "HSET", len[3] = 4;
        for (size_t i = 0, start = 0; i < texts; start = chunk->ends[i++]) {
            at[HEAD + i] = chunk->bytes + start;
            len[HEAD + i] = chunk->ends[i] - start;
        }
        *parcel = (struct parcel){load, key};
        struct ps_redis_args args = {(int)(HEAD + texts), at, len};
        err = ps_redis_link_eval(load->link, &inv_scripts[INV_SCRIPT_LOAD], 2, args, on_chunk,
                                 parcel);
    }
    if (err < 0)
        free(parcel);
    free(at);
    free(len);
    return err;
}

static int send_chunk(struct redis_load *load, int key)
{
    struct chunk *chunk = load->chunks[key];
    if (chunk == NULL || chunk->fields == 0)
        return load->err;
    if (load->err == 0 && !load->has_loop) {
        int err = open_link(load);
        if (err < 0)
            return load->err = err;
    }
    if (wait_for_replies(load, CHUNKS_OUT - 1) < 0)
        return load->err;
    int err = submit_chunk(load, key, chunk, chunk->fields * (key == INV_KEY_A ? 1 : 2));
    if (err < 0)
        return load->err = err;
    load->out++;
    load->sent = true;
    chunk->fields = chunk->len = 0;
    (void)uv_run(&load->loop, UV_RUN_NOWAIT); /* it leaves while the next one is filled */
    return load->err;
}

/* Room for one more field of that key, of at most `room` bytes with its value. NULL: load->err. */
static struct chunk *chunk_for(struct redis_load *load, int key, size_t room)
{
    struct chunk *chunk = load->chunks[key];
    if (load->err < 0)
        return NULL;
    if (chunk == NULL) {
        chunk = load->chunks[key] = malloc(sizeof *chunk);
        if (chunk == NULL) {
            load->err = PS_E_NOMEM;
            return NULL;
        }
        chunk->fields = chunk->len = 0;
    }
    bool full = chunk->fields == CHUNK_FIELDS || CHUNK_BYTES - chunk->len < room;
    return full && send_chunk(load, key) < 0 ? NULL : chunk;
}

/* A text of the chunk ends at `end`; `number` counts a field's texts: 0 the field, 1 its value. */
static void end_text(struct chunk *chunk, const char *end, unsigned number, bool set)
{
    chunk->len = (size_t)(end - chunk->bytes);
    chunk->ends[set ? chunk->fields : 2 * chunk->fields + number] = chunk->len;
}

static char *chunk_end(struct chunk *chunk)
{
    return chunk->bytes + chunk->len;
}

static char *put(char *at, const void *bytes, size_t len)
{
    memcpy(at, bytes, len);
    return at + len;
}

/* --- what is loaded --- */

int inv_redis_load_new(struct inv_store *head, const char *sale, int64_t epoch,
                       const char *const *skus, size_t sku_count, struct inv_load **ret_load)
{
    struct redis_load *load = calloc(1, sizeof *load);
    if (load == NULL)
        return PS_E_NOMEM;
    load->head.backend = head->backend;
    load->redis = ((struct redis_store *)head)->redis;
    memcpy(load->name, sale, strlen(sale));
    load->epoch = epoch;
    inv_keys_of(&load->keys, sale, epoch);
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
    return (struct ps_str){load->skus[sku], strlen(load->skus[sku])};
}

static bool fits(const struct inv_count *count, int64_t more)
{
    return more <= PS_INT_MAX - count->available - count->held - count->confirmed;
}

int inv_redis_load_available(struct inv_load *head, uint32_t sku, int64_t available)
{
    struct redis_load *load = (struct redis_load *)head;
    if (sku >= load->sku_count ||
        !fits(&load->counts[sku], available - load->counts[sku].available))
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
        load->err = PS_E_NOMEM;
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
    memcpy(buyer->user, user.at, user.len);
    inv_table_put(&load->buyers, &buyer->by_user, hash);
    return buyer;
}

static int write_order(struct redis_load *load, const struct inv_load_order *order)
{
    struct ps_str sku = sku_name(load, order->sku);
    struct chunk *chunk = chunk_for(load, INV_KEY_O, 16 + INV_ENTRY_MAX);
    if (chunk == NULL)
        return load->err;
    end_text(chunk, inv_put_id(chunk_end(chunk), &order->id), 0, false);
    end_text(chunk, inv_put_entry(chunk_end(chunk), order, sku), 1, false);
    chunk->fields++;
    if (order->key.len == 0)
        return 0;
    chunk = chunk_for(load, INV_KEY_K, INV_KEY_FIELD_MAX + 16 + INV_DIGEST_LEN);
    if (chunk == NULL)
        return load->err;
    end_text(chunk, inv_put_key_field(chunk_end(chunk), order->user, order->key), 0, false);
    end_text(chunk, inv_put_key_value(chunk_end(chunk), &order->id, sku, order->quantity), 1,
             false);
    chunk->fields++;
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
    if (live && !fits(count, order->quantity))
        return PS_E_INVALID;
    struct order *known = add_id(load, &order->id, hash);
    if (known == NULL)
        return load->err;
    if (live) {
        struct buyer *buyer = get_buyer(load, order->user);
        if (buyer == NULL)
            return load->err = PS_E_NOMEM;
        known->quantity = order->quantity;
        known->sku = order->sku;
        if (buyer->last != NULL)
            buyer->last->next = known;
        else
            buyer->first = known;
        buyer->last = known;
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
        return load->err;
    struct chunk *chunk = chunk_for(load, INV_KEY_A, 16);
    if (chunk == NULL)
        return load->err;
    end_text(chunk, inv_put_id(chunk_end(chunk), id), 0, true);
    chunk->fields++;
    return 0;
}

int inv_redis_load_applied(struct inv_load *head, uint32_t partition, int64_t offset)
{
    struct redis_load *load = (struct redis_load *)head;
    char text[INV_INT_TEXT];
    struct chunk *chunk = chunk_for(load, INV_KEY_V, sizeof text * 2);
    if (chunk == NULL)
        return load->err;
    end_text(chunk, put(chunk_end(chunk), text, inv_print_int(text, partition)), 0, false);
    end_text(chunk, put(chunk_end(chunk), text, inv_print_int(text, offset)), 1, false);
    chunk->fields++;
    return 0;
}

/* --- putting it in force --- */

static int write_count(struct redis_load *load, uint32_t sku, const char *suffix, int64_t value)
{
    char text[INV_INT_TEXT];
    struct ps_str name = sku_name(load, sku);
    struct chunk *chunk = chunk_for(load, INV_KEY_C, PS_NAME_MAX + 16 + sizeof text);
    if (chunk == NULL)
        return load->err;
    char *end = put(chunk_end(chunk), name.at, name.len);
    end_text(chunk, put(end, suffix, strlen(suffix)), 0, false);
    end_text(chunk, put(chunk_end(chunk), text, inv_print_int(text, value)), 1, false);
    chunk->fields++;
    return 0;
}

static int write_counts(struct redis_load *load)
{
    for (uint32_t sku = 0; sku < load->sku_count; sku++) {
        const struct inv_count *count = &load->counts[sku];
        if (write_count(load, sku, "", count->available) < 0 ||
            write_count(load, sku, "/doubt", 0) < 0 ||
            write_count(load, sku, "/held", count->held) < 0 ||
            write_count(load, sku, "/confirmed", count->confirmed) < 0)
            return load->err;
    }
    return load->err;
}

/* Units of all his orders, those of each SKU, and the ids of the last ones. */
static char *put_buyer(char *at, const struct redis_load *load, const struct buyer *buyer)
{
    struct {
        uint32_t sku;
        int64_t units;
    } of[UINT8_MAX];
    size_t skus = 0, orders = 0, i;
    int64_t units = 0;
    for (const struct order *order = buyer->first; order != NULL; order = order->next, orders++) {
        units += order->quantity;
        for (i = 0; i < skus && of[i].sku != order->sku; i++) {
        }
        if (i == skus && skus < PS_ARRAY_LEN(of)) {
            of[skus].sku = order->sku;
            of[skus++].units = 0;
        }
        if (i < skus)
            of[i].units += order->quantity;
    }
    at = inv_put_int(at, units);
    *at++ = (char)(uint8_t)skus;
    for (i = 0; i < skus; i++)
        at = inv_put_int(inv_put_text(at, sku_name(load, of[i].sku)), of[i].units);
    size_t skip = orders > INV_LAST_IDS ? orders - INV_LAST_IDS : 0;
    for (const struct order *order = buyer->first; order != NULL; order = order->next) {
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
             link = link->next) {
            const struct buyer *buyer = (const struct buyer *)link;
            struct chunk *chunk = chunk_for(load, INV_KEY_U, PS_USER_MAX + BUYER_MAX);
            if (chunk == NULL)
                return load->err;
            end_text(chunk, put(chunk_end(chunk), buyer->user, buyer->user_len), 0, false);
            end_text(chunk, put_buyer(chunk_end(chunk), load, buyer), 1, false);
            chunk->fields++;
        }
    }
    return load->err;
}

static void on_installed(int err, const redisReply *reply, void *ctx)
{
    struct redis_load *load = ctx;
    const char *key = load->keys.name[INV_KEY_CUR];
    load->out--;
    if (err == 0)
        err = ps_redis_reply_err(reply);
    load->maybe_installed = err == PS_E_UNKNOWN || (err == 0 && strcmp(reply->str, "OK") == 0);
    if (err < 0)
        trouble(load, err, key, reply != NULL ? reply->str : "no reply to the install");
    else if (strcmp(reply->str, "LATE") == 0)
        trouble(load, PS_E_CONFLICT, key, "this epoch or a higher one is installed");
    else if (!load->maybe_installed)
        trouble(load, PS_E_BUSY, key, "not all of the load is there");
}

static void on_dropped(int err, const redisReply *reply, void *ctx)
{
    struct redis_load *load = ctx;
    (void)err, (void)reply; /* else it goes by itself after an hour */
    load->out--;
}

/* install.lua or drop.lua: all keys, the epoch; of install also the identity and the numbers. */
static int send_end(struct redis_load *load, enum inv_script script, ps_redis_reply_fn *fn)
{
    const char *at[2 * INV_KEYS + 2];
    size_t len[2 * INV_KEYS + 2];
    char epoch[INV_INT_TEXT], numbers[INV_KEYS][INV_INT_TEXT];
    int count = INV_KEYS + 1;
    for (size_t i = 0; i < INV_KEYS; i++) {
        at[i] = load->keys.name[i];
        len[i] = load->keys.len[i];
    }
    at[INV_KEYS] = epoch, len[INV_KEYS] = inv_print_int(epoch, load->epoch);
    if (script == INV_SCRIPT_INSTALL) {
        at[count] = ps_redis_link_identity(load->link);
        len[count] = strlen(at[count]);
        count++;
        for (size_t i = 1; i < INV_KEYS; i++, count++) {
            at[count] = numbers[i];
            len[count] = inv_print_int(numbers[i], load->expected[i]);
        }
    }
    int err = ps_redis_link_eval(load->link, &inv_scripts[script], INV_KEYS,
                                 (struct ps_redis_args){count, at, len}, fn, load);
    if (err == 0)
        load->out++;
    return err;
}

static int install(struct redis_load *load)
{
    if (write_counts(load) < 0 || write_buyers(load) < 0)
        return load->err;
    for (int key = INV_KEY_C; key < INV_KEYS; key++) {
        if (send_chunk(load, key) < 0)
            return load->err;
    }
    if (!load->has_loop && (load->err = open_link(load)) < 0) /* a sale without SKUs */
        return load->err;
    if (wait_for_replies(load, 0) < 0)
        return load->err;
    int err = send_end(load, INV_SCRIPT_INSTALL, on_installed);
    if (err < 0)
        return load->err = err;
    return wait_for_replies(load, 0);
}

int inv_redis_load_install(struct inv_load *head, struct inv_sale **ret_sale)
{
    struct redis_load *load = (struct redis_load *)head;
    struct redis_sale *sale = inv_redis_find_sale(load->redis, load->name);
    const char(*skus)[PS_NAME_MAX + 1] = (const char(*)[PS_NAME_MAX + 1]) load->skus;
    int err = 0;
    if (sale != NULL) /* with the same SKUs, and below this epoch? */
        err = inv_redis_adopt(load->redis, load->name, -1, "", skus, load->sku_count, &sale);
    if (err == 0 && sale != NULL && inv_sale_epoch(&sale->head) >= load->epoch)
        err = PS_E_CONFLICT;
    if (err == 0)
        err = install(load);
    if (err == 0)
        err = inv_redis_adopt(load->redis, load->name, load->epoch,
                              ps_redis_link_identity(load->link), skus, load->sku_count, &sale);
    for (uint32_t sku = 0; err == 0 && sku < load->sku_count; sku++)
        inv_redis_learn(sale, sku, load->counts[sku].available, 0);
    inv_redis_load_free(head);
    if (err == 0)
        *ret_sale = &sale->head;
    return err;
}

/* --- the end --- */

/* Drops what was sent, if the server is still there. */
static void drop(struct redis_load *load)
{
    if (!load->sent || load->maybe_installed || ps_redis_link_state(load->link) != PS_REDIS_READY)
        return;
    load->err = 0;
    if (wait_for_replies(load, 0) == 0 && send_end(load, INV_SCRIPT_DROP, on_dropped) == 0)
        (void)wait_for_replies(load, 0);
}

void inv_redis_load_free(struct inv_load *head)
{
    struct redis_load *load = (struct redis_load *)head;
    if (load->has_link) {
        drop(load);
        ps_redis_link_close(load->link);
    }
    if (load->has_loop) {
        (void)uv_run(&load->loop, UV_RUN_DEFAULT); /* until all handles are closed */
        int err = uv_loop_close(&load->loop);
        assert(err == 0);
        (void)err;
    }
    for (size_t i = 0; i < INV_KEYS; i++)
        free(load->chunks[i]);
    inv_table_done(&load->ids);
    inv_table_done(&load->buyers);
    inv_arena_done(&load->arena);
    free(load->skus);
    free(load->counts);
    free(load);
}

void inv_redis_load_error(const struct inv_store *store, char *ret_text, size_t cap)
{
    struct inv_redis *redis = ((const struct redis_store *)store)->redis;
    pthread_mutex_lock(&redis->lock);
    (void)snprintf(ret_text, cap, "%s", redis->trouble);
    pthread_mutex_unlock(&redis->lock);
}
