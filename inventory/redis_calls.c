/* Calls that read a sale: one command and one callback each. A call keeps what its reply needs; the
 * reply is parsed defensively, because anybody may write to Redis. */
#include "inventory/redis_ops.h"

#include <stdlib.h>
#include <string.h>

struct inv_call *inv_call_new(struct inv_store *store, struct inv_sale *sale, void *ctx)
{
    struct inv_call *call = calloc(1, sizeof *call);
    if (call != NULL) {
        call->store = (struct inv_redis_store *)store;
        call->sale = (struct inv_redis_sale *)sale;
        call->ctx = ctx;
    }
    return call;
}

void inv_call_free(struct inv_call *call)
{
    free(call->skus);
    free(call);
}

int inv_call_submit(struct inv_call *call, enum inv_script script, int key_count,
                    struct ps_redis_args args, ps_redis_reply_fn *fn)
{
    int err =
        ps_redis_link_eval(call->store->link, &inv_scripts[script], key_count, args, fn, call);
    if (err < 0) {
        inv_call_free(call);
        return err;
    }
    call->store->out++;
    return INV_PENDING;
}

int inv_call_come(struct inv_call *call, int err, const redisReply *reply)
{
    call->store->out--;
    return inv_redis_reply_fault(call->store, call->sale, err, reply);
}

int64_t inv_reply_number(const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_INTEGER)
        return reply->integer;
    return reply->type == REDIS_REPLY_STRING ? strtoll(reply->str, NULL, 10) : 0;
}

bool inv_reply_is_array(const redisReply *reply, size_t elements)
{
    return reply->type == REDIS_REPLY_ARRAY && reply->elements == elements;
}

/* --- looking at a sale --- */

#define KEYS_MOST 5
#define ARGS_MOST (KEYS_MOST + 3 + 2 * INV_LOOK_MAX)

/* A call of read.lua under the sale's epoch that is being built. */
struct reading {
    struct inv_call *call;
    const struct inv_channel *channel; /* NULL: out of memory */
    char epoch[INV_INT_TEXT];
    int key_count;
    size_t count;
    const char *at[ARGS_MOST];
    size_t len[ARGS_MOST];
};

static void add_arg(struct reading *reading, const char *at, size_t len)
{
    reading->at[reading->count] = at;
    reading->len[reading->count++] = len;
}

/* At `current` and these keys. */
static void begin_reading(struct reading *reading, struct inv_call *call, const int *keys,
                          int count, const char *what)
{
    reading->call = call;
    reading->count = 0;
    reading->key_count = count + 1;
    reading->channel = inv_redis_channel(call->store, call->sale);
    if (reading->channel == NULL)
        return;
    const struct inv_keys *names = &reading->channel->keys;
    add_arg(reading, names->name[INV_KEY_CURRENT], names->len[INV_KEY_CURRENT]);
    for (int i = 0; i < count; i++)
        add_arg(reading, names->name[keys[i]], names->len[keys[i]]);
    add_arg(reading, reading->epoch, inv_print_int(reading->epoch, reading->channel->epoch));
    add_arg(reading, what, strlen(what));
}

static int submit_reading(struct reading *reading, ps_redis_reply_fn *fn)
{
    const struct inv_channel *channel = reading->channel;
    int err = channel == NULL ? PS_E_NOMEM : 0;
    if (err == 0 &&
        (ps_redis_link_state(reading->call->store->link) != PS_REDIS_READY || !channel->fits))
        err = PS_E_CLOSED;
    if (err < 0) {
        inv_call_free(reading->call);
        return err;
    }
    return inv_call_submit(reading->call, INV_SCRIPT_READ, reading->key_count,
                           (struct ps_redis_args){(int)reading->count, reading->at, reading->len},
                           fn);
}

/* At one or two keys (`second` 0: one). */
static int read_sale(struct inv_call *call, int first, int second, const char *what,
                     struct ps_str arg, ps_redis_reply_fn *fn)
{
    const int keys[] = {first, second};
    struct reading reading;
    begin_reading(&reading, call, keys, second != 0 ? 2 : 1, what);
    if (reading.channel != NULL)
        add_arg(&reading, arg.at, arg.len);
    return submit_reading(&reading, fn);
}

static int entry_of(const struct inv_redis_sale *sale, const struct inv_packed *packed,
                    struct inv_entry *ret)
{
    uint32_t sku = inv_redis_sku(sale, packed->sku.at, packed->sku.len);
    if (sku == UINT32_MAX)
        return PS_E_CORRUPT;
    ret->state = packed->state;
    ret->sku = sku;
    ret->quantity = packed->quantity;
    ret->reserved_at_ms = packed->reserved_at_ms;
    ret->pay_by_ms = packed->reserved_at_ms + packed->ttl_ms;
    ret->user_len = packed->user.len;
    ret->key_len = packed->key.len;
    memcpy(ret->user, packed->user.at, packed->user.len);
    memcpy(ret->key, packed->key.at, packed->key.len);
    return 0;
}

static int read_found(const struct inv_redis_sale *sale, const redisReply *reply,
                      struct inv_entry *ret)
{
    struct inv_packed packed;
    if (reply->type == REDIS_REPLY_NIL)
        return PS_E_NOT_FOUND;
    if (reply->type != REDIS_REPLY_STRING || inv_get_packed(reply->str, reply->len, &packed) < 0)
        return PS_E_CORRUPT;
    if (packed.state >= INV_STATE_LOWERING)
        return PS_E_NOT_FOUND;
    return entry_of(sale, &packed, ret);
}

static void on_found(int err, const redisReply *reply, void *ctx)
{
    struct inv_call *call = ctx;
    struct inv_entry entry;
    err = inv_call_come(call, err, reply);
    if (err == 0)
        err = read_found(call->sale, reply, &entry);
    if (call->to.on_entry != NULL)
        call->to.on_entry(call->to.handle, err, err == 0 ? &entry : NULL, call->ctx);
    inv_call_free(call);
}

int inv_redis_find(struct inv_store *head, struct inv_sale *sale, const struct ps_uuid *id,
                   struct inv_reply_to to)
{
    struct inv_call *call = inv_call_new(head, sale, to.ctx);
    if (call == NULL)
        return PS_E_NOMEM;
    call->to = to;
    return read_sale(call, INV_KEY_DOUBT, INV_KEY_ORDER, "entry",
                     (struct ps_str){(const char *)id->byte, sizeof id->byte}, on_found);
}

static void count_field(const struct inv_redis_sale *sale, const redisReply *name, int64_t value,
                        struct inv_count *counts)
{
    uint32_t sku;
    const char *which = inv_redis_count_field(sale, name, &sku);
    if (sku == UINT32_MAX)
        return;
    if (*which == '\0')
        counts[sku].available = value;
    else if (strcmp(which, "/in_doubt") == 0)
        counts[sku].in_doubt = value;
    else if (strcmp(which, "/held") == 0)
        counts[sku].held = value;
    else if (strcmp(which, "/confirmed") == 0)
        counts[sku].confirmed = value;
}

static void read_counts(const struct inv_redis_sale *sale, const redisReply *fields,
                        struct inv_count *counts)
{
    for (size_t i = 0; i + 1 < fields->elements; i += 2) {
        if (fields->element[i]->type == REDIS_REPLY_STRING)
            count_field(sale, fields->element[i], inv_reply_number(fields->element[i + 1]), counts);
    }
}

static void on_counts(int err, const redisReply *reply, void *ctx)
{
    struct inv_call *call = ctx;
    const struct inv_redis_sale *sale = call->sale;
    struct inv_count *counts = calloc(sale->sku_count + 1, sizeof *counts);
    err = inv_call_come(call, err, reply);
    if (err == 0 && counts == NULL)
        err = PS_E_NOMEM;
    if (err == 0 && reply->type != REDIS_REPLY_ARRAY)
        err = PS_E_CORRUPT;
    if (err == 0) {
        read_counts(sale, reply, counts);
        inv_redis_learn_left(call->sale, reply);
    }
    if (call->to.on_counts != NULL)
        call->to.on_counts(call->to.handle, err, err == 0 ? counts : NULL, call->ctx);
    free(counts);
    inv_call_free(call);
}

int inv_redis_counts(struct inv_store *head, struct inv_sale *sale, struct inv_reply_to to)
{
    struct inv_call *call = inv_call_new(head, sale, to.ctx);
    if (call == NULL)
        return PS_E_NOMEM;
    call->to = to;
    return read_sale(call, INV_KEY_STOCK, 0, "all", PS_STR(""), on_counts);
}

static void on_applied(int err, const redisReply *reply, void *ctx)
{
    struct inv_call *call = ctx;
    struct inv_applied *applied = NULL;
    size_t count = 0;
    err = inv_call_come(call, err, reply);
    if (err == 0 && reply->type != REDIS_REPLY_ARRAY)
        err = PS_E_CORRUPT;
    if (err == 0 && (applied = calloc(reply->elements / 2 + 1, sizeof *applied)) == NULL)
        err = PS_E_NOMEM;
    for (size_t i = 0; err == 0 && i + 1 < reply->elements; i += 2)
        applied[count++] =
            (struct inv_applied){.partition = (uint32_t)inv_reply_number(reply->element[i]),
                                 .offset = inv_reply_number(reply->element[i + 1])};
    if (call->done.applied != NULL)
        call->done.applied(err, call->number, err == 0 ? applied : NULL, count, call->ctx);
    free(applied);
    inv_call_free(call);
}

int inv_redis_applied(struct inv_store *store, struct inv_sale *sale, inv_applied_fn *done,
                      void *ctx)
{
    struct inv_call *call = inv_call_new(store, sale, ctx);
    if (call == NULL)
        return PS_E_NOMEM;
    call->done.applied = done;
    call->number = inv_sale_epoch(sale);
    return read_sale(call, INV_KEY_APPLIED, 0, "all", PS_STR(""), on_applied);
}

/* --- what is in doubt --- */

/* Skips malformed entries: they cannot be acted on. */
static size_t read_doubts(const struct inv_call *call, const redisReply *fields, int64_t now_ms,
                          struct inv_doubt *doubts)
{
    size_t count = 0;
    for (size_t i = 0; i + 1 < fields->elements; i += 2) {
        const redisReply *id = fields->element[i], *value = fields->element[i + 1];
        struct inv_doubt *doubt = &doubts[count];
        struct inv_packed packed;
        if (id->type != REDIS_REPLY_STRING || id->len != sizeof doubt->id.byte ||
            value->type != REDIS_REPLY_STRING ||
            inv_get_packed(value->str, value->len, &packed) < 0 ||
            entry_of(call->sale, &packed, &doubt->entry) < 0)
            continue;
        memcpy(doubt->id.byte, id->str, id->len);
        doubt->owner = packed.owner;
        doubt->lowering = packed.state == INV_STATE_LOWERING;
        doubt->age_ms = now_ms - packed.reserved_at_ms;
        if (doubt->age_ms >= call->number || doubt->age_ms < 0)
            count++;
    }
    return count;
}

static void on_doubts(int err, const redisReply *reply, void *ctx)
{
    struct inv_call *call = ctx;
    struct inv_doubt *doubts = NULL;
    size_t count = 0;
    uint64_t next = 0;
    err = inv_call_come(call, err, reply);
    if (err == 0 &&
        !(inv_reply_is_array(reply, 3) && reply->element[1]->type == REDIS_REPLY_STRING &&
          reply->element[2]->type == REDIS_REPLY_ARRAY))
        err = PS_E_CORRUPT;
    if (err == 0) {
        doubts = calloc(reply->element[2]->elements / 2 + 1, sizeof *doubts);
        next = strtoull(reply->element[1]->str, NULL, 10);
        if (doubts != NULL)
            count =
                read_doubts(call, reply->element[2], inv_reply_number(reply->element[0]), doubts);
        else
            err = PS_E_NOMEM;
    }
    if (call->done.doubts != NULL)
        call->done.doubts(err, err == 0 ? doubts : NULL, count, next, call->ctx);
    free(doubts);
    inv_call_free(call);
}

int inv_redis_doubts(struct inv_store *store, struct inv_sale *sale, uint64_t cursor,
                     int64_t age_ms, inv_doubts_fn *done, void *ctx)
{
    char text[INV_INT_TEXT];
    struct inv_call *call = inv_call_new(store, sale, ctx);
    if (call == NULL)
        return PS_E_NOMEM;
    call->done.doubts = done;
    call->number = age_ms;
    int len = snprintf(text, sizeof text, "%llu", (unsigned long long)cursor);
    return read_sale(call, INV_KEY_DOUBT, 0, "page", (struct ps_str){text, (size_t)len}, on_doubts);
}

/* --- orders and their buyers --- */

/* A malformed entry or buyer is reported as missing. */
static void read_seen(const redisReply *doubt, const redisReply *order, const redisReply *buyer,
                      struct inv_seen *ret_seen)
{
    const redisReply *entry = doubt->type == REDIS_REPLY_STRING ? doubt : order;
    struct inv_packed packed;
    *ret_seen = (struct inv_seen){0};
    if (entry->type == REDIS_REPLY_STRING && inv_get_packed(entry->str, entry->len, &packed) == 0 &&
        packed.state <= INV_GIVEN_BACK) {
        ret_seen->known = true;
        ret_seen->state = packed.state;
    }
    if (buyer->type == REDIS_REPLY_STRING) {
        struct inv_cursor cursor = {buyer->str, buyer->str + buyer->len, false};
        ret_seen->buyer_units = inv_get_int(&cursor);
    }
}

static void add_doubts(const struct inv_redis_sale *sale, const redisReply *fields,
                       int64_t *in_doubt)
{
    for (size_t i = 0; i + 1 < fields->elements; i += 2) {
        const redisReply *name = fields->element[i];
        uint32_t sku = name->type == REDIS_REPLY_STRING ? inv_redis_sku(sale, name->str, name->len)
                                                        : UINT32_MAX;
        if (sku != UINT32_MAX)
            in_doubt[sku] = inv_reply_number(fields->element[i + 1]);
    }
}

static bool is_look(const redisReply *reply, size_t count)
{
    return inv_reply_is_array(reply, 5) && reply->element[0]->type == REDIS_REPLY_ARRAY &&
           inv_reply_is_array(reply->element[2], count) &&
           inv_reply_is_array(reply->element[3], count) &&
           inv_reply_is_array(reply->element[4], count);
}

static void on_looked(int err, const redisReply *reply, void *ctx)
{
    struct inv_call *call = ctx;
    size_t count = (size_t)call->number, skus = call->sale->sku_count;
    struct inv_count *counts = calloc(skus + 1, sizeof *counts);
    int64_t *in_doubt = calloc(skus + 1, sizeof *in_doubt);
    struct inv_seen *seen = calloc(count + 1, sizeof *seen);
    struct inv_looked looked = {.counts = counts, .seen = seen};
    err = inv_call_come(call, err, reply);
    if (err == 0 && (counts == NULL || in_doubt == NULL || seen == NULL))
        err = PS_E_NOMEM;
    if (err == 0 && !is_look(reply, count))
        err = PS_E_CORRUPT;
    if (err == 0) {
        read_counts(call->sale, reply->element[0], counts);
        if (reply->element[1]->type == REDIS_REPLY_ARRAY) {
            add_doubts(call->sale, reply->element[1], in_doubt);
            looked.in_doubt = in_doubt;
        }
        for (size_t i = 0; i < count; i++)
            read_seen(reply->element[2]->element[i], reply->element[3]->element[i],
                      reply->element[4]->element[i], &seen[i]);
    }
    call->done.looked(err, err == 0 ? &looked : NULL, call->ctx);
    free(counts);
    free(in_doubt);
    free(seen);
    inv_call_free(call);
}

int inv_redis_look(struct inv_store *store, struct inv_sale *sale, const struct inv_look *what,
                   inv_looked_fn *done, void *ctx)
{
    static const int keys[] = {INV_KEY_STOCK, INV_KEY_DOUBT, INV_KEY_ORDER, INV_KEY_USER};
    struct inv_call *call = inv_call_new(store, sale, ctx);
    struct reading reading;
    char text[INV_INT_TEXT];
    if (call == NULL)
        return PS_E_NOMEM;
    call->done.looked = done;
    call->number = (int64_t)what->count;
    begin_reading(&reading, call, keys, PS_ARRAY_LEN(keys), "look");
    if (reading.channel != NULL) {
        add_arg(&reading, text, inv_print_int(text, (int64_t)what->count));
        for (size_t i = 0; i < what->count; i++)
            add_arg(&reading, (const char *)what->order_ids[i].byte, INV_ID_LEN);
        for (size_t i = 0; i < what->count; i++)
            add_arg(&reading, what->users[i].at, what->users[i].len);
    }
    return submit_reading(&reading, on_looked);
}
