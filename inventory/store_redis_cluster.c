/* What gateways tell each other through Redis: which epoch of a sale is installed, who is there and
 * how it goes, and who has a lease. */
#include "inventory/store_redis_private.h"

#include <stdlib.h>
#include <string.h>

/* After so long a silence a gateway is forgotten. */
#define FORGET_MS "600000"

/* --- which epoch is installed --- */

static int ask_cur(struct call *call, ps_redis_reply_fn *fn)
{
    char key[INV_KEY_MAX];
    const char *at[] = {key};
    const size_t len[] = {(size_t)snprintf(key, sizeof key, "ps:{%s}:current", call->name)};
    return inv_call_submit(call, INV_SCRIPT_CURRENT, 1, (struct ps_redis_args){1, at, len}, fn);
}

/* Epoch and identity, each a text; the former "" when nothing is installed. */
static int read_cur(const struct redis_store *store, const redisReply *epoch,
                    const redisReply *identity, struct inv_redis_cur *ret)
{
    char *end;
    if (epoch->type != REDIS_REPLY_STRING || identity->type != REDIS_REPLY_STRING)
        return PS_E_CORRUPT;
    *ret = (struct inv_redis_cur){.epoch = -1};
    if (epoch->len == 0)
        return 0;
    ret->epoch = strtoll(epoch->str, &end, 10);
    ret->fits = strcmp(identity->str, ps_redis_link_identity(store->link)) == 0;
    return *end == '\0' && ret->epoch >= 0 && ret->epoch <= PS_INT_MAX ? 0 : PS_E_CORRUPT;
}

static int read_cur_reply(const struct call *call, const redisReply *reply,
                          struct inv_redis_cur *ret)
{
    if (!inv_reply_is_array(reply, 3) || reply->element[2]->type != REDIS_REPLY_ARRAY)
        return PS_E_CORRUPT;
    return read_cur(call->store, reply->element[0], reply->element[1], ret);
}

static void on_cur(int err, const redisReply *reply, void *ctx)
{
    struct call *call = ctx;
    struct inv_redis_cur cur;
    err = inv_call_come(call, err, reply);
    if (err == 0)
        err = read_cur_reply(call, reply, &cur);
    if (call->done.cur != NULL)
        call->done.cur(call->handle, err, err == 0 ? &cur : NULL, call->ctx);
    inv_call_free(call);
}

int inv_redis_cur(struct inv_store *store, const char *sale, inv_redis_cur_fn *done, void *ctx,
                  uint64_t handle)
{
    struct call *call = inv_call_new(store, NULL, ctx, handle);
    if (call == NULL)
        return PS_E_NOMEM;
    call->done.cur = done;
    memcpy(call->name, sale, strlen(sale));
    return ask_cur(call, on_cur);
}

static int attach(const struct call *call, const redisReply *reply, struct redis_sale **ret_sale)
{
    struct inv_redis_cur cur;
    int err = read_cur_reply(call, reply, &cur);
    if (err < 0)
        return err;
    if (cur.epoch < 0)
        return PS_E_NOT_FOUND;
    if (cur.epoch < call->number || !cur.fits)
        return PS_E_CONFLICT;
    err = inv_redis_adopt(call->store->redis, call->name, cur.epoch,
                          ps_redis_link_identity(call->store->link),
                          (const char(*)[PS_NAME_MAX + 1]) call->skus, call->sku_count, ret_sale);
    if (err == 0 && inv_sale_epoch(&(*ret_sale)->head) == cur.epoch)
        inv_redis_learn_left(*ret_sale, reply->element[2]);
    return err;
}

static void on_attach(int err, const redisReply *reply, void *ctx)
{
    struct call *call = ctx;
    struct redis_sale *sale = NULL;
    err = inv_call_come(call, err, reply);
    if (err == 0)
        err = attach(call, reply, &sale);
    if (call->done.attach != NULL)
        call->done.attach(call->handle, err, err == 0 ? &sale->head : NULL, call->ctx);
    inv_call_free(call);
}

int inv_redis_attach(struct inv_store *store, const char *sale, int64_t least_epoch,
                     const char *const *skus, size_t sku_count, inv_redis_attach_fn *done,
                     void *ctx, uint64_t handle)
{
    if (sku_count > INV_SKUS_MAX)
        return PS_E_INVALID;
    struct call *call = inv_call_new(store, NULL, ctx, handle);
    if (call == NULL)
        return PS_E_NOMEM;
    call->skus = calloc(sku_count + 1, sizeof *call->skus);
    if (call->skus == NULL) {
        inv_call_free(call);
        return PS_E_NOMEM;
    }
    for (size_t i = 0; i < sku_count; i++)
        memcpy(call->skus[i], skus[i], strlen(skus[i]));
    call->sku_count = sku_count;
    call->done.attach = done;
    call->number = least_epoch;
    memcpy(call->name, sale, strlen(sale));
    return ask_cur(call, on_attach);
}

/* --- the pulse --- */

#define BEAT_MAX (4 * 8 + 1 + PS_NAME_MAX)

static size_t put_beat(char *at, const struct inv_redis_beat *beat)
{
    char *end = inv_put_int(at, beat->demand);
    end = inv_put_int(end, beat->in_flight);
    end = inv_put_int(end, beat->spilled);
    end = inv_put_int(end, beat->policy_version);
    end = inv_put_text(end, (struct ps_str){beat->name, strlen(beat->name)});
    return (size_t)(end - at);
}

/* A later version may say more behind it. */
static bool get_beat(const redisReply *said, struct inv_redis_beat *ret)
{
    struct inv_cursor cursor = {said->str, said->str + said->len, false};
    *ret = (struct inv_redis_beat){0};
    ret->demand = inv_get_int(&cursor);
    ret->in_flight = inv_get_int(&cursor);
    ret->spilled = inv_get_int(&cursor);
    ret->policy_version = inv_get_int(&cursor);
    struct ps_str name = inv_get_text(&cursor);
    if (cursor.bad || name.len > PS_NAME_MAX)
        return false;
    memcpy(ret->name, name.at, name.len);
    return true;
}

static size_t read_members(const redisReply *reply, struct inv_redis_member *members)
{
    size_t count = 0;
    for (size_t i = 0; i + 2 < reply->elements; i += 3) {
        const redisReply *who = reply->element[i], *said = reply->element[i + 2];
        struct inv_redis_member *member = &members[count];
        if (who->type != REDIS_REPLY_STRING || who->len != sizeof member->start.byte ||
            said->type != REDIS_REPLY_STRING || !get_beat(said, &member->beat))
            continue;
        memcpy(member->start.byte, who->str, who->len);
        member->age_ms = inv_reply_number(reply->element[i + 1]);
        count++;
    }
    return count;
}

/* A pulse under way: the sales that it asks about. */
struct asked {
    struct call call; /* first */
    size_t count;
    struct redis_sale *sales[];
};

/* Epoch, identity, and fields and values of `c` or a word on what is foreign. */
static void read_sale(const struct redis_store *store, struct redis_sale *sale,
                      redisReply *const *said, struct inv_redis_pulse_sale *ret)
{
    *ret = (struct inv_redis_pulse_sale){.sale = &sale->head, .in_doubt = -1};
    if (said[2]->type == REDIS_REPLY_STRING)
        ret->foreign = said[2]->str;
    else if (read_cur(store, said[0], said[1], &ret->cur) < 0)
        ret->foreign = "what is installed of it was not written by a gateway";
    else if (ret->cur.fits && ret->cur.epoch == inv_sale_epoch(&sale->head) &&
             said[2]->type == REDIS_REPLY_ARRAY)
        ret->in_doubt = inv_redis_learn_left(sale, said[2]);
}

static int read_sales(const struct asked *asked, const redisReply *reply,
                      struct inv_redis_pulse_sale *sales)
{
    if (!inv_reply_is_array(reply, 3 * asked->count))
        return PS_E_CORRUPT;
    for (size_t i = 0; i < asked->count; i++)
        read_sale(asked->call.store, asked->sales[i], &reply->element[3 * i], &sales[i]);
    return 0;
}

static bool is_of_another_log(const redisReply *reply)
{
    return inv_reply_is_array(reply, 2) && reply->element[1]->type == REDIS_REPLY_STRING;
}

static int read_pulse(const struct asked *asked, const redisReply *reply,
                      struct inv_redis_member *members, struct inv_redis_pulse_sale *sales,
                      struct inv_redis_pulse *ret)
{
    if (members == NULL || sales == NULL)
        return PS_E_NOMEM;
    *ret = (struct inv_redis_pulse){.now_ms = inv_reply_number(reply->element[0])};
    ret->members = members;
    ret->member_count = read_members(reply->element[1], members);
    ret->sales = sales;
    ret->sale_count = asked->count;
    return read_sales(asked, reply->element[2], sales);
}

static void on_pulse(int err, const redisReply *reply, void *ctx)
{
    struct asked *asked = ctx;
    struct call *call = &asked->call;
    struct inv_redis_member *members = NULL;
    struct inv_redis_pulse_sale *sales = NULL;
    struct inv_redis_pulse pulse;
    err = inv_call_come(call, err, reply);
    bool other = err == 0 && is_of_another_log(reply);
    if (other)
        pulse = (struct inv_redis_pulse){.now_ms = inv_reply_number(reply->element[0]),
                                         .other_log = reply->element[1]->str};
    else if (err == 0 &&
             !(inv_reply_is_array(reply, 3) && reply->element[1]->type == REDIS_REPLY_ARRAY))
        err = PS_E_CORRUPT;
    if (err == 0 && !other) {
        members = calloc(reply->element[1]->elements / 3 + 1, sizeof *members);
        sales = calloc(asked->count + 1, sizeof *sales);
        err = read_pulse(asked, reply, members, sales, &pulse);
    }
    if (call->done.pulse != NULL)
        call->done.pulse(call->handle, err, err == 0 ? &pulse : NULL, call->ctx);
    free(members);
    free(sales);
    inv_call_free(call);
}

int inv_redis_pulse(struct inv_store *head, const struct inv_redis_beat *beat,
                    const struct inv_redis_log *log, struct inv_sale *const *sales,
                    size_t sale_count, inv_redis_pulse_fn *done, void *ctx, uint64_t handle)
{
    struct redis_store *store = (struct redis_store *)head;
    struct asked *asked = calloc(1, sizeof *asked + sale_count * sizeof(struct redis_sale *));
    if (asked == NULL)
        return PS_E_NOMEM;
    for (; asked->count < sale_count; asked->count++)
        asked->sales[asked->count] = (struct redis_sale *)sales[asked->count];
    asked->call = (struct call){.store = store, .ctx = ctx, .handle = handle, .done.pulse = done};

    /* ps:gateways, ps:log, the sales; who, what, how long, whose, and whether he claims it */
    size_t count = asked->count + 7;
    const char **at = malloc(count * sizeof *at);
    size_t *len = malloc(count * sizeof *len);
    char(*keys)[INV_KEY_MAX] = malloc((asked->count + 1) * sizeof *keys);
    char said[BEAT_MAX];
    int err = PS_E_NOMEM;
    if (at != NULL && len != NULL && keys != NULL) {
        at[0] = "ps:gateways", len[0] = 11;
        at[1] = "ps:log", len[1] = 6;
        for (size_t i = 0; i < asked->count; i++) {
            at[i + 2] = keys[i];
            len[i + 2] =
                (size_t)snprintf(keys[i], INV_KEY_MAX, "ps:{%s}:current", asked->sales[i]->name);
        }
        at[count - 5] = (const char *)store->redis->start.byte, len[count - 5] = 16;
        at[count - 4] = said, len[count - 4] = put_beat(said, beat);
        at[count - 3] = FORGET_MS, len[count - 3] = sizeof FORGET_MS - 1;
        at[count - 2] = log != NULL ? log->name : "", len[count - 2] = strlen(at[count - 2]);
        at[count - 1] = log != NULL && log->claims ? "1" : "0", len[count - 1] = 1;
        struct ps_redis_args args = {(int)count, at, len};
        err = inv_call_submit(&asked->call, INV_SCRIPT_HEARTBEAT, (int)asked->count + 2, args,
                              on_pulse);
    } else {
        inv_call_free(&asked->call);
    }
    free(at);
    free(len);
    free(keys);
    return err;
}

/* --- leases --- */

static void on_lease(int err, const redisReply *reply, void *ctx)
{
    struct call *call = ctx;
    struct ps_uuid holder = {{0}};
    int64_t ttl_ms = 0;
    err = inv_call_come(call, err, reply);
    if (err == 0 &&
        !(inv_reply_is_array(reply, 2) && reply->element[0]->type == REDIS_REPLY_STRING))
        err = PS_E_CORRUPT;
    if (err == 0) {
        const redisReply *who = reply->element[0];
        if (who->len == sizeof holder.byte)
            memcpy(holder.byte, who->str, who->len);
        else if (who->len > 0)
            err = PS_E_CORRUPT; /* somebody else's key */
        ttl_ms = inv_reply_number(reply->element[1]);
    }
    if (call->done.lease != NULL)
        call->done.lease(call->handle, err, err == 0 ? &holder : NULL, ttl_ms, call->ctx);
    inv_call_free(call);
}

int inv_redis_lease(struct inv_store *store, const char *sale, int64_t ttl_ms,
                    inv_redis_lease_fn *done, void *ctx, uint64_t handle)
{
    char key[INV_KEY_MAX] = "ps:leader", ttl[INV_INT_TEXT];
    struct call *call = inv_call_new(store, NULL, ctx, handle);
    if (call == NULL)
        return PS_E_NOMEM;
    call->done.lease = done;
    if (sale != NULL)
        (void)snprintf(key, sizeof key, "ps:{%s}:lock", sale);
    const char *at[] = {key, (const char *)call->store->redis->start.byte, ttl};
    const size_t len[] = {strlen(key), sizeof call->store->redis->start.byte,
                          inv_print_int(ttl, ttl_ms)};
    return inv_call_submit(call, INV_SCRIPT_LEASE, 1, (struct ps_redis_args){3, at, len}, on_lease);
}
