/* Steps of a sale: what is batched, when it is sent, and what the replies mean. The decisions are
 * made by lua/reserve.lua.
 *
 *   reserve, lower --> batch (one a sale and turn) --\
 *                                                     >-- one script call --> answers, what is left
 * *   resolve, raise, applied --> pages of effects -----/
 *
 * A batch is sent once, whatever its outcome: a reservation that may have been made is never sent
 * again. A page of effects is sent until Redis has taken it, one page per sale at a time, so that
 * effects keep their order; that is safe because each effect changes nothing the second time. At
 * the end of the loop's turn every channel with a batch is sent, with its first page if that is not
 * being sent already, unless OUT_ENOUGH of its calls are in progress: then the batch fills further
 * until the next reply. Pages without a batch wait for `linger_ms`. */
#include "inventory/redis_ops.h"

#include <stdlib.h>
#include <string.h>

#define BATCH_MAX   128 /* reservations of one call */
#define BATCHES_MAX 64  /* of one store, being sent or filled */
#define PAGE_BYTES  (8 * 1024)
/* Calls of a sale in progress at which a batch that is not full waits for the next reply.
 * Otherwise a slightly slow Redis would get more and more, smaller and smaller batches, until
 * none is left. */
#define OUT_ENOUGH 2
/* Between tries of effects that cannot be sent now. */
#define RETRY_MS 50

struct waiter {
    struct inv_reply_to to;
    struct ps_uuid id;
    int64_t ttl_ms;
    bool untimed; /* its answer has no times: a lowering, or a look */
};

/* The texts of an item that are arguments of their own. */
struct texts {
    char user[PS_USER_MAX];
    char field[INV_KEY_FIELD_MAX];
    size_t user_len, field_len;
};

struct inv_batch {
    SLIST_ENTRY(inv_batch) next; /* free */
    struct inv_redis_store *store;
    struct inv_channel *channel;
    int64_t epoch;
    bool page; /* carries the channel's first page */
    size_t count, len;
    struct waiter waiters[BATCH_MAX];
    struct texts texts[BATCH_MAX];
    char items[BATCH_MAX * INV_ITEM_MAX];
};

struct inv_page {
    TAILQ_ENTRY(inv_page) next;
    size_t len;
    char bytes[PAGE_BYTES];
};

static void on_linger(uv_timer_t *timer);
static void on_turn(uv_idle_t *idle);

/* --- batches --- */

static struct inv_batch *take_batch(struct inv_channel *channel, struct inv_redis_store *store)
{
    struct inv_batch *batch = SLIST_FIRST(&store->free_batches);
    if (batch != NULL) {
        SLIST_REMOVE_HEAD(&store->free_batches, next);
    } else if (store->batch_count == BATCHES_MAX || (batch = malloc(sizeof *batch)) == NULL) {
        return NULL;
    } else {
        store->batch_count++;
    }
    batch->store = store;
    batch->channel = channel;
    batch->epoch = channel->epoch;
    batch->page = false;
    batch->count = batch->len = 0;
    return batch;
}

static void give_batch(struct inv_batch *batch)
{
    SLIST_INSERT_HEAD(&batch->store->free_batches, batch, next);
}

static void answer_one(const struct waiter *waiter, int err, const struct inv_answer *answer)
{
    const struct inv_reply_to *to = &waiter->to;
    if (to->on_answer != NULL)
        to->on_answer(to->handle, err, err == 0 ? answer : NULL, to->ctx);
}

/* All requests in it receive `err`, and it is free. */
static void refuse_batch(struct inv_batch *batch, int err)
{
    for (size_t i = 0; i < batch->count; i++)
        answer_one(&batch->waiters[i], err, NULL);
    give_batch(batch);
}

/* The outcome of one of them at `now_ms`. */
static int read_answer(struct inv_cursor *cursor, const struct waiter *waiter, int64_t now_ms,
                       struct inv_answer *ret_answer)
{
    unsigned result = inv_get_byte(cursor);
    struct inv_answer answer = {.left = inv_get_int(cursor)};
    if (result == INV_RESERVED || result == INV_RESULT_AGAIN) {
        bool again = result == INV_RESULT_AGAIN;
        int64_t ttl_ms;
        answer.reserved_at_ms = again ? inv_get_int(cursor) : now_ms;
        ttl_ms = again ? inv_get_int(cursor) : waiter->ttl_ms;
        if (!ps_int_ok(answer.reserved_at_ms, 0) || !ps_int_ok(ttl_ms, 0))
            return PS_E_UNKNOWN; /* no gateway has written this */
        answer.pay_by_ms = answer.reserved_at_ms + ttl_ms;
        if (waiter->untimed)
            answer.reserved_at_ms = answer.pay_by_ms = 0;
        answer.order_id = waiter->id;
        result = INV_RESERVED;
    } else if (result == INV_CAP || result == INV_DUPLICATE || result == INV_MISMATCH) {
        answer.order_id = inv_get_id(cursor);
    } else if (result != INV_SOLD_OUT) {
        return result == INV_RESULT_CONFLICT ? PS_E_CONFLICT : PS_E_UNKNOWN;
    }
    answer.result = (enum inv_result)result;
    *ret_answer = answer;
    return cursor->bad ? PS_E_UNKNOWN : 0;
}

static void answer_batch(struct inv_batch *batch, const redisReply *answers, int64_t now_ms)
{
    struct inv_cursor cursor = {answers->str, answers->str + answers->len, false};
    for (size_t i = 0; i < batch->count; i++) {
        const struct waiter *waiter = &batch->waiters[i];
        struct inv_answer answer;
        int err = read_answer(&cursor, waiter, now_ms, &answer);
        answer_one(waiter, err, &answer);
    }
    give_batch(batch);
}

static void fence_batch(struct inv_batch *batch)
{
    static const struct inv_answer fenced = {.result = INV_FENCED};
    for (size_t i = 0; i < batch->count; i++)
        answer_one(&batch->waiters[i], 0, &fenced);
    give_batch(batch);
}

static bool is_step_reply(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ARRAY && reply->elements >= 2 &&
           reply->element[0]->type == REDIS_REPLY_STRING &&
           reply->element[1]->type == REDIS_REPLY_INTEGER;
}

static void start_linger(struct inv_redis_store *store, int64_t ms)
{
    if (!uv_is_active((uv_handle_t *)&store->linger) && !store->closed)
        (void)uv_timer_start(&store->linger, on_linger, (uint64_t)ms, 0);
}

/* The first page was accepted, or must be sent again. */
static void end_page(struct inv_redis_store *store, struct inv_channel *channel, bool taken)
{
    channel->page_out = false;
    if (taken) {
        struct inv_page *page = TAILQ_FIRST(&channel->pages);
        TAILQ_REMOVE(&channel->pages, page, next);
        free(page);
    }
    const struct inv_page *first = TAILQ_FIRST(&channel->pages);
    if (first == NULL)
        return;
    int64_t wait_ms = TAILQ_NEXT(first, next) != NULL ? 0 : store->redis->settings.linger_ms;
    start_linger(store, taken ? wait_ms : RETRY_MS);
}

/* SKU, left, in doubt, reserved in total. */
static void learn_sku(struct inv_redis_sale *sale, redisReply *const *said)
{
    if (said[0]->type == REDIS_REPLY_STRING && said[1]->type == REDIS_REPLY_INTEGER &&
        said[2]->type == REDIS_REPLY_INTEGER && said[3]->type == REDIS_REPLY_INTEGER)
        inv_redis_learn(sale, inv_redis_sku(sale, said[0]->str, said[0]->len), said[1]->integer,
                        said[2]->integer, said[3]->integer);
}

static void on_step(int err, const redisReply *reply, void *ctx)
{
    struct inv_batch *batch = ctx;
    struct inv_redis_store *store = batch->store;
    struct inv_channel *channel = batch->channel;

    store->out--;
    channel->out--;
    if (channel->batch != NULL)
        (void)uv_idle_start(&store->turn, on_turn);
    err = inv_redis_reply_fault(store, channel->sale, err, reply);
    bool fenced = err == PS_E_CLOSED;
    if (err == 0 && !is_step_reply(reply))
        err = PS_E_UNKNOWN;
    if (fenced)
        channel->fenced_epoch = batch->epoch;
    if (batch->page)
        end_page(store, channel, err == 0);
    if (err == 0) {
        bool in_force = batch->epoch == inv_sale_epoch(&channel->sale->head);
        for (size_t i = 2; in_force && i + 3 < reply->elements; i += 4)
            learn_sku(channel->sale, &reply->element[i]);
        answer_batch(batch, reply->element[0], reply->element[1]->integer);
    } else if (fenced) {
        fence_batch(batch);
    } else {
        refuse_batch(batch, err);
    }
}

/* KEYS and ARGV of reserve.lua. */
struct step_args {
    const char *at[INV_KEYS + 3 + 3 * BATCH_MAX];
    size_t len[INV_KEYS + 3 + 3 * BATCH_MAX];
    int count;
};

static void add_arg(struct step_args *args, const char *at, size_t len)
{
    args->at[args->count] = at;
    args->len[args->count++] = len;
}

static int send_batch(struct inv_redis_store *store, const struct inv_keys *keys,
                      struct inv_batch *batch, const struct inv_page *page)
{
    struct step_args args;
    char epoch[INV_INT_TEXT];
    args.count = 0;
    for (size_t i = 0; i < INV_KEYS; i++)
        add_arg(&args, keys->name[i], keys->len[i]);
    add_arg(&args, epoch, inv_print_int(epoch, batch->epoch));
    add_arg(&args, page != NULL ? page->bytes : "", page != NULL ? page->len : 0);
    add_arg(&args, batch->items, batch->len);
    for (size_t i = 0; i < batch->count; i++)
        add_arg(&args, (const char *)batch->waiters[i].id.byte, INV_ID_LEN);
    for (size_t i = 0; i < batch->count; i++)
        add_arg(&args, batch->texts[i].user, batch->texts[i].user_len);
    for (size_t i = 0; i < batch->count; i++)
        add_arg(&args, batch->texts[i].field, batch->texts[i].field_len);
    return ps_redis_link_eval(store->link, &inv_scripts[INV_SCRIPT_RESERVE], INV_KEYS,
                              (struct ps_redis_args){args.count, args.at, args.len}, on_step,
                              batch);
}

/* Sends the channel's batch and, if none is under way, its first page of effects. */
static void send_channel(struct inv_redis_store *store, struct inv_channel *channel)
{
    struct inv_batch *batch = channel->batch;
    bool page = !TAILQ_EMPTY(&channel->pages) && !channel->page_out && channel->fits &&
                channel->fenced_epoch != channel->epoch &&
                (batch == NULL || batch->epoch == channel->epoch);
    if (batch == NULL && !page)
        return;
    if (batch == NULL && (batch = take_batch(channel, store)) == NULL)
        return; /* too many in progress: the page is sent later */
    channel->batch = NULL;
    batch->page = page;

    struct inv_keys keys = channel->keys;
    /* the epoch has just changed: the script will return FENCED */
    if (batch->epoch != channel->epoch)
        inv_keys_of(&keys, channel->sale->name, batch->epoch);
    int err = send_batch(store, &keys, batch, page ? TAILQ_FIRST(&channel->pages) : NULL);
    if (err < 0) {
        refuse_batch(batch, err);
        return;
    }
    channel->page_out = channel->page_out || page;
    channel->out++;
    store->out++;
}

static void send_all(struct inv_redis_store *store, bool effects_alone)
{
    for (size_t i = 0; i < store->channel_count; i++) {
        struct inv_channel *channel = store->channels[i];
        if (channel == NULL ||
            (channel->batch == NULL && !(effects_alone && !TAILQ_EMPTY(&channel->pages))))
            continue;
        if (!effects_alone && channel->out >= OUT_ENOUGH)
            continue;
        (void)inv_redis_channel(store, channel->sale); /* in step */
        send_channel(store, channel);
    }
    ps_redis_link_flush(store->link);
}

static void on_turn(uv_idle_t *idle)
{
    uv_idle_stop(idle);
    send_all(idle->data, false);
}

static void on_linger(uv_timer_t *timer)
{
    struct inv_redis_store *store = timer->data;
    send_all(store, true);
    for (size_t i = 0; i < store->channel_count; i++) {
        const struct inv_channel *channel = store->channels[i];
        if (channel != NULL && !TAILQ_EMPTY(&channel->pages) && !channel->page_out)
            start_linger(store, RETRY_MS);
    }
}

/* --- reserving --- */

static bool has_room(const struct inv_batch *batch, int64_t epoch)
{
    return batch->count < BATCH_MAX && batch->epoch == epoch;
}

/* The channel's batch, with room for one more. NULL: *ret says why (an error, or INV_DONE with
 * *ret_answer). */
static struct inv_batch *batch_for(struct inv_redis_store *store, struct inv_redis_sale *sale,
                                   int64_t epoch, struct inv_answer *ret_answer, int *ret)
{
    struct inv_channel *channel = inv_redis_channel(store, sale);
    *ret = PS_E_NOMEM;
    if (channel == NULL)
        return NULL;
    *ret = PS_E_CLOSED;
    if (ps_redis_link_state(store->link) != PS_REDIS_READY)
        return NULL;
    if (!channel->fits || epoch != channel->epoch) {
        if (!channel->fits)
            inv_redis_report_fenced(store, sale);
        *ret_answer = (struct inv_answer){.result = INV_FENCED};
        *ret = INV_DONE;
        return NULL;
    }
    if (!ps_redis_link_open(store->link))
        return NULL;
    *ret = PS_E_FULL;
    if (channel->batch != NULL && !has_room(channel->batch, epoch)) {
        send_channel(store, channel);
        /* After an immediate refusal, its buyers may have asked again meanwhile. */
        if (channel->batch != NULL && !has_room(channel->batch, epoch))
            return NULL;
    }
    if (channel->batch == NULL)
        channel->batch = take_batch(channel, store);
    return channel->batch;
}

/* A reservation, a look (`owner` NULL) or, without a user, a lowering. */
static int gather_item(struct inv_redis_store *store, struct inv_redis_sale *sale,
                       const struct inv_reservation *r, const struct ps_uuid *owner,
                       struct inv_reply_to to)
{
    int result;
    if (r->sku >= sale->sku_count)
        return PS_E_INVALID;
    struct inv_batch *batch = batch_for(store, sale, r->epoch, to.ret_answer, &result);
    if (batch == NULL)
        return result;
    struct ps_str sku = {sale->skus[r->sku], strlen(sale->skus[r->sku])};
    struct texts *texts = &batch->texts[batch->count];
    memcpy(texts->user, r->user.at, r->user.len);
    texts->user_len = r->user.len;
    char *end = texts->field;
    if (r->key.len > 0 && r->user.len > 0)
        end = inv_put_key_field(end, r->user, r->key);
    texts->field_len = (size_t)(end - texts->field);
    end = inv_put_item(batch->items + batch->len, r, sku, owner);
    batch->len = (size_t)(end - batch->items);
    batch->waiters[batch->count++] = (struct waiter){.to = to,
                                                     .id = r->order_id,
                                                     .ttl_ms = r->ttl_ms,
                                                     .untimed = r->user.len == 0 || owner == NULL};
    (void)uv_idle_start(&store->turn, on_turn);
    return INV_PENDING;
}

int inv_redis_reserve(struct inv_store *head, struct inv_sale *sale,
                      const struct inv_reservation *reservation, struct inv_reply_to to)
{
    struct inv_redis_store *store = (struct inv_redis_store *)head;
    return gather_item(store, (struct inv_redis_sale *)sale, reservation, &store->redis->start, to);
}

int inv_redis_judge(struct inv_store *head, struct inv_sale *sale,
                    const struct inv_reservation *reservation, struct inv_reply_to to)
{
    return gather_item((struct inv_redis_store *)head, (struct inv_redis_sale *)sale, reservation,
                       NULL, to);
}

int inv_redis_lower(struct inv_store *head, struct inv_sale *sale,
                    const struct inv_lowering *lowering, struct inv_reply_to to)
{
    const struct inv_reservation r = {.order_id = lowering->id,
                                      .epoch = lowering->epoch,
                                      .user = PS_STR(""),
                                      .key = lowering->name,
                                      .sku = lowering->sku,
                                      .quantity = lowering->units};
    struct inv_redis_store *store = (struct inv_redis_store *)head;
    return gather_item(store, (struct inv_redis_sale *)sale, &r, &store->redis->start, to);
}

/* --- effects --- */

/* Room for one more effect at the end of the last page that is not being sent; NULL: out of memory,
 * which is remembered. The caller then calls end_effect. */
static char *begin_effect(struct inv_redis_store *store, struct inv_redis_sale *sale,
                          struct inv_channel **ret_channel)
{
    struct inv_channel *channel = inv_redis_channel(store, sale);
    if (channel == NULL) {
        store->losses++;
        return NULL;
    }
    struct inv_page *page = TAILQ_LAST(&channel->pages, inv_pages);
    bool closed = page == NULL || PAGE_BYTES - page->len < INV_EFFECT_MAX ||
                  (channel->page_out && page == TAILQ_FIRST(&channel->pages));
    if (closed) {
        page = malloc(sizeof *page);
        if (page == NULL) {
            store->losses++;
            return NULL;
        }
        page->len = 0;
        TAILQ_INSERT_TAIL(&channel->pages, page, next);
    }
    *ret_channel = channel;
    return page->bytes + page->len;
}

static void end_effect(struct inv_redis_store *store, struct inv_channel *channel, const char *end)
{
    struct inv_page *page = TAILQ_LAST(&channel->pages, inv_pages);
    page->len = (size_t)(end - page->bytes);
    start_linger(store, store->redis->settings.linger_ms);
}

void inv_redis_resolve(struct inv_store *head, struct inv_sale *sale, const struct ps_uuid *id,
                       enum inv_verdict verdict)
{
    struct inv_redis_store *store = (struct inv_redis_store *)head;
    struct inv_channel *channel;
    char *at = begin_effect(store, (struct inv_redis_sale *)sale, &channel);
    if (at != NULL) /* otherwise it stays in doubt, and a sweep finds it */
        end_effect(store, channel, inv_put_verdict(at, id, verdict));
}

void inv_redis_raise(struct inv_store *head, struct inv_sale *sale_head, const struct ps_uuid *id,
                     uint32_t sku, int64_t units)
{
    struct inv_redis_store *store = (struct inv_redis_store *)head;
    struct inv_redis_sale *sale = (struct inv_redis_sale *)sale_head;
    struct inv_channel *channel;
    if (sku >= sale->sku_count)
        return;
    const struct ps_str name = {sale->skus[sku], strlen(sale->skus[sku])};
    char *at = begin_effect(store, sale, &channel);
    if (at != NULL)
        end_effect(store, channel, inv_put_raise(at, id, units, name));
}

int inv_redis_note_applied(struct inv_store *head, struct inv_sale *sale, uint32_t partition,
                           int64_t offset)
{
    struct inv_redis_store *store = (struct inv_redis_store *)head;
    struct inv_channel *channel = NULL;
    char *at = begin_effect(store, (struct inv_redis_sale *)sale, &channel);
    if (at == NULL)
        return PS_E_NOMEM;
    if (channel->losses != store->losses) {
        channel->losses = store->losses;
        return PS_E_NOMEM;
    }
    end_effect(store, channel, inv_put_applied(at, partition, offset));
    return 0;
}

/* --- the end --- */

void inv_redis_step_refuse(struct inv_redis_store *store)
{
    for (size_t i = 0; i < store->channel_count; i++) {
        struct inv_channel *channel = store->channels[i];
        if (channel == NULL || channel->batch == NULL)
            continue;
        struct inv_batch *batch = channel->batch;
        channel->batch = NULL;
        refuse_batch(batch, PS_E_CLOSED);
    }
}

void inv_redis_step_done(struct inv_redis_store *store)
{
    while (!SLIST_EMPTY(&store->free_batches)) {
        struct inv_batch *batch = SLIST_FIRST(&store->free_batches);
        SLIST_REMOVE_HEAD(&store->free_batches, next);
        free(batch);
    }
    for (size_t i = 0; i < store->channel_count; i++) {
        struct inv_channel *channel = store->channels[i];
        while (channel != NULL && !TAILQ_EMPTY(&channel->pages)) {
            struct inv_page *page = TAILQ_FIRST(&channel->pages);
            TAILQ_REMOVE(&channel->pages, page, next);
            free(page);
        }
    }
}
