/* What gateways exchange through Redis: which epoch of a sale is installed, heartbeats, and
 * leases. */
#include "inventory/redis_ops.h"

#include <stdlib.h>
#include <string.h>

/* A gateway that was silent for this long is forgotten. */
#define FORGET_MS "600000"

/* --- which epoch is installed --- */

static int ask_installed(struct inv_call *call, ps_redis_reply_fn *fn)
{
    char key[INV_KEY_MAX];
    const char *at[] = {key};
    const size_t len[] = {(size_t)snprintf(key, sizeof key, "ps:{%s}:current", call->name)};
    return inv_call_submit(call, INV_SCRIPT_CURRENT, 1, (struct ps_redis_args){1, at, len}, fn);
}

/* Epoch and identity, each a text; the former "" when nothing is installed. */
static int read_installed(const struct inv_redis_store *store, const redisReply *epoch,
                          const redisReply *identity, struct inv_installed *ret)
{
    char *end;
    if (epoch->type != REDIS_REPLY_STRING || identity->type != REDIS_REPLY_STRING)
        return PS_E_CORRUPT;
    *ret = (struct inv_installed){.epoch = -1};
    if (epoch->len == 0)
        return 0;
    ret->epoch = strtoll(epoch->str, &end, 10);
    ret->fits = strcmp(identity->str, ps_redis_link_identity(store->link)) == 0;
    return *end == '\0' && ret->epoch >= 0 && ret->epoch <= PS_INT_MAX ? 0 : PS_E_CORRUPT;
}

static int read_installed_reply(const struct inv_call *call, const redisReply *reply,
                                struct inv_installed *ret)
{
    if (!inv_reply_is_array(reply, 3) || reply->element[2]->type != REDIS_REPLY_ARRAY)
        return PS_E_CORRUPT;
    return read_installed(call->store, reply->element[0], reply->element[1], ret);
}

static void on_installed(int err, const redisReply *reply, void *ctx)
{
    struct inv_call *call = ctx;
    struct inv_installed installed;
    err = inv_call_come(call, err, reply);
    if (err == 0)
        err = read_installed_reply(call, reply, &installed);
    if (call->done.installed != NULL)
        call->done.installed(err, err == 0 ? &installed : NULL, call->ctx);
    inv_call_free(call);
}

int inv_redis_installed(struct inv_store *store, const char *sale, inv_installed_fn *done,
                        void *ctx)
{
    struct inv_call *call = inv_call_new(store, NULL, ctx);
    if (call == NULL)
        return PS_E_NOMEM;
    call->done.installed = done;
    memcpy(call->name, sale, strlen(sale));
    return ask_installed(call, on_installed);
}

static int attach_sale(const struct inv_call *call, const redisReply *reply,
                       struct inv_redis_sale **ret_sale)
{
    struct inv_installed installed;
    int err = read_installed_reply(call, reply, &installed);
    if (err < 0)
        return err;
    if (installed.epoch < 0)
        return PS_E_NOT_FOUND;
    if (installed.epoch < call->number || !installed.fits)
        return PS_E_CONFLICT;
    const struct inv_redis_known known = {
        call->name, installed.epoch, ps_redis_link_identity(call->store->link),
        (const char(*)[PS_NAME_MAX + 1]) call->skus, call->sku_count};
    err = inv_redis_adopt(call->store->redis, &known, ret_sale);
    if (err == 0 && inv_sale_epoch(&(*ret_sale)->head) == installed.epoch)
        inv_redis_learn_left(*ret_sale, reply->element[2]);
    return err;
}

static void on_attach(int err, const redisReply *reply, void *ctx)
{
    struct inv_call *call = ctx;
    struct inv_redis_sale *sale = NULL;
    err = inv_call_come(call, err, reply);
    if (err == 0)
        err = attach_sale(call, reply, &sale);
    if (call->done.attached != NULL)
        call->done.attached(err, err == 0 ? &sale->head : NULL, call->ctx);
    inv_call_free(call);
}

int inv_redis_attach(struct inv_store *store, const struct inv_attach *what, inv_attached_fn *done,
                     void *ctx)
{
    struct inv_call *call = inv_call_new(store, NULL, ctx);
    if (call == NULL)
        return PS_E_NOMEM;
    call->skus = calloc(what->sku_count + 1, sizeof *call->skus);
    if (call->skus == NULL) {
        inv_call_free(call);
        return PS_E_NOMEM;
    }
    for (size_t i = 0; i < what->sku_count; i++)
        memcpy(call->skus[i], what->skus[i], strlen(what->skus[i]));
    call->sku_count = what->sku_count;
    call->done.attached = done;
    call->number = what->least_epoch;
    memcpy(call->name, what->sale, strlen(what->sale));
    return ask_installed(call, on_attach);
}

/* --- heartbeats --- */

#define HEARTBEAT_MAX (4 * 8 + 1 + PS_NAME_MAX)

static size_t put_heartbeat(char *at, const struct inv_heartbeat *heartbeat)
{
    char *end = inv_put_int(at, heartbeat->demand);
    end = inv_put_int(end, heartbeat->in_flight);
    end = inv_put_int(end, heartbeat->spilled);
    end = inv_put_int(end, heartbeat->snapshot_version);
    end = inv_put_text(end, ps_str(heartbeat->name));
    return (size_t)(end - at);
}

/* A later version may append more. */
static bool get_heartbeat(const redisReply *packed, struct inv_heartbeat *ret)
{
    struct inv_cursor cursor = {packed->str, packed->str + packed->len, false};
    *ret = (struct inv_heartbeat){0};
    ret->demand = inv_get_int(&cursor);
    ret->in_flight = inv_get_int(&cursor);
    ret->spilled = inv_get_int(&cursor);
    ret->snapshot_version = inv_get_int(&cursor);
    struct ps_str name = inv_get_text(&cursor);
    if (cursor.bad || name.len > PS_NAME_MAX)
        return false;
    memcpy(ret->name, name.at, name.len);
    return true;
}

static size_t read_members(const redisReply *reply, struct inv_member *members)
{
    size_t count = 0;
    for (size_t i = 0; i + 2 < reply->elements; i += 3) {
        const redisReply *start = reply->element[i], *packed = reply->element[i + 2];
        struct inv_member *member = &members[count];
        if (start->type != REDIS_REPLY_STRING || start->len != sizeof member->start.byte ||
            packed->type != REDIS_REPLY_STRING || !get_heartbeat(packed, &member->heartbeat))
            continue;
        memcpy(member->start.byte, start->str, start->len);
        member->age_ms = inv_reply_number(reply->element[i + 1]);
        count++;
    }
    return count;
}

/* A heartbeat in progress: the sales that it asks about. */
struct heartbeat {
    struct inv_call call; /* first */
    size_t count;
    struct inv_redis_sale *sales[];
};

/* Epoch, identity, and fields and values of `stock` or a word on what is foreign. */
static void read_sale(const struct inv_redis_store *store, struct inv_redis_sale *sale,
                      redisReply *const *parts, struct inv_sale_state *ret)
{
    *ret = (struct inv_sale_state){.sale = &sale->head, .in_doubt = -1};
    if (parts[2]->type == REDIS_REPLY_STRING)
        ret->foreign = parts[2]->str;
    else if (read_installed(store, parts[0], parts[1], &ret->installed) < 0)
        ret->foreign = "its key was not written by a gateway";
    else if (ret->installed.fits && ret->installed.epoch == inv_sale_epoch(&sale->head) &&
             parts[2]->type == REDIS_REPLY_ARRAY)
        ret->in_doubt = inv_redis_learn_left(sale, parts[2]);
}

static bool is_of_another_log(const redisReply *reply)
{
    return inv_reply_is_array(reply, 2) && reply->element[1]->type == REDIS_REPLY_STRING;
}

static int read_heartbeat(const struct heartbeat *heartbeat, const redisReply *reply,
                          struct inv_member *members, struct inv_sale_state *sales,
                          struct inv_heartbeat_reply *ret)
{
    if (members == NULL || sales == NULL)
        return PS_E_NOMEM;
    const redisReply *states = reply->element[2];
    if (!inv_reply_is_array(states, 3 * heartbeat->count))
        return PS_E_CORRUPT;
    for (size_t i = 0; i < heartbeat->count; i++)
        read_sale(heartbeat->call.store, heartbeat->sales[i], &states->element[3 * i], &sales[i]);
    *ret = (struct inv_heartbeat_reply){.now_ms = inv_reply_number(reply->element[0]),
                                        .members = members,
                                        .member_count = read_members(reply->element[1], members),
                                        .sales = sales,
                                        .sale_count = heartbeat->count};
    return 0;
}

static void on_heartbeat(int err, const redisReply *reply, void *ctx)
{
    struct heartbeat *heartbeat = ctx;
    struct inv_call *call = &heartbeat->call;
    struct inv_member *members = NULL;
    struct inv_sale_state *sales = NULL;
    struct inv_heartbeat_reply answer;
    err = inv_call_come(call, err, reply);
    bool other = err == 0 && is_of_another_log(reply);
    if (other)
        answer = (struct inv_heartbeat_reply){.now_ms = inv_reply_number(reply->element[0]),
                                              .other_log = reply->element[1]->str};
    else if (err == 0 &&
             !(inv_reply_is_array(reply, 3) && reply->element[1]->type == REDIS_REPLY_ARRAY))
        err = PS_E_CORRUPT;
    if (err == 0 && !other) {
        members = calloc(reply->element[1]->elements / 3 + 1, sizeof *members);
        sales = calloc(heartbeat->count + 1, sizeof *sales);
        err = read_heartbeat(heartbeat, reply, members, sales, &answer);
    }
    if (call->done.heartbeat != NULL)
        call->done.heartbeat(err, err == 0 ? &answer : NULL, call->ctx);
    free(members);
    free(sales);
    inv_call_free(call);
}

/* Keys: ps:gateways, ps:log, those of the sales. Arguments: the start, its heartbeat, when a silent
 * gateway is forgotten, its log, and whether that log claims this Redis. */
static int send_heartbeat(struct heartbeat *heartbeat, const struct inv_heartbeat_call *what)
{
    enum { HEAD = 2, TAIL = 5 };
    size_t count = HEAD + heartbeat->count + TAIL;
    const char **at = malloc(count * sizeof *at);
    size_t *len = malloc(count * sizeof *len);
    char(*keys)[INV_KEY_MAX] = malloc((heartbeat->count + 1) * sizeof *keys);
    char packed[HEARTBEAT_MAX];
    int err = PS_E_NOMEM;
    if (at != NULL && len != NULL && keys != NULL) {
        const struct ps_uuid *start = &heartbeat->call.store->redis->start;
        at[0] = "ps:gateways", len[0] = 11;
        at[1] = "ps:log", len[1] = 6;
        for (size_t i = 0; i < heartbeat->count; i++) {
            at[HEAD + i] = keys[i];
            len[HEAD + i] = (size_t)snprintf(keys[i], INV_KEY_MAX, "ps:{%s}:current",
                                             heartbeat->sales[i]->name);
        }
        const char **tail = at + HEAD + heartbeat->count;
        size_t *tail_len = len + HEAD + heartbeat->count;
        tail[0] = (const char *)start->byte, tail_len[0] = sizeof start->byte;
        tail[1] = packed, tail_len[1] = put_heartbeat(packed, what->heartbeat);
        tail[2] = FORGET_MS, tail_len[2] = sizeof FORGET_MS - 1;
        tail[3] = what->log != NULL ? what->log->name : "", tail_len[3] = strlen(tail[3]);
        tail[4] = what->log != NULL && what->log->claims ? "1" : "0", tail_len[4] = 1;
        err =
            inv_call_submit(&heartbeat->call, INV_SCRIPT_HEARTBEAT, (int)(HEAD + heartbeat->count),
                            (struct ps_redis_args){(int)count, at, len}, on_heartbeat);
    } else {
        inv_call_free(&heartbeat->call);
    }
    free(at);
    free(len);
    free(keys);
    return err;
}

int inv_redis_heartbeat(struct inv_store *head, const struct inv_heartbeat_call *what,
                        inv_heartbeat_fn *done, void *ctx)
{
    struct heartbeat *heartbeat =
        calloc(1, sizeof *heartbeat + what->sale_count * sizeof(struct inv_redis_sale *));
    if (heartbeat == NULL)
        return PS_E_NOMEM;
    for (; heartbeat->count < what->sale_count; heartbeat->count++)
        heartbeat->sales[heartbeat->count] = (struct inv_redis_sale *)what->sales[heartbeat->count];
    heartbeat->call = (struct inv_call){
        .store = (struct inv_redis_store *)head, .ctx = ctx, .done.heartbeat = done};
    return send_heartbeat(heartbeat, what);
}

/* --- leases --- */

static void on_lease(int err, const redisReply *reply, void *ctx)
{
    struct inv_call *call = ctx;
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
            err = PS_E_CORRUPT; /* another program's key */
        ttl_ms = inv_reply_number(reply->element[1]);
    }
    if (call->done.lease != NULL)
        call->done.lease(err, err == 0 ? &holder : NULL, ttl_ms, call->ctx);
    inv_call_free(call);
}

int inv_redis_lease(struct inv_store *store, const char *sale, int64_t ttl_ms, inv_lease_fn *done,
                    void *ctx)
{
    char key[INV_KEY_MAX] = "ps:leader", ttl[INV_INT_TEXT];
    struct inv_call *call = inv_call_new(store, NULL, ctx);
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
