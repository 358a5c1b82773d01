/* The counter in Redis: the sales that all stores of the process know, the *desk* of a sale at each
 * store, and the stores' lives. What is done at a desk is in store_redis_step.c.
 *
 * Sales and what belongs to them are shared by threads: names and SKUs never change, what is left
 * and the epoch are atomic, and the identity that goes with the epoch is read and written under the
 * lock. A desk keeps a copy of what it needs, in step with the epoch and with the server: nothing
 * of a sale is sent to a server with another identity than the one that its epoch was installed
 * under. A sale lives as long as the process's struct inv_redis, so handles need no counting. */
#include "inventory/store_redis_private.h"

#include "common/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct inv_redis_settings inv_redis_defaults = {
    .link = {.connect_timeout_ms = 1000,
             .command_timeout_ms = 500,
             .backoff_min_ms = 20,
             .backoff_max_ms = 250,
             .check_ms = 100,
             .pending_max = 1024},
    .load_timeout_ms = 5000,
    .linger_ms = 5,
};

/* --- sales --- */

struct redis_sale *inv_redis_find_sale(struct inv_redis *redis, const char *name)
{
    pthread_mutex_lock(&redis->lock);
    struct redis_sale *sale = redis->sales;
    while (sale != NULL && strcmp(sale->name, name) != 0)
        sale = sale->next;
    pthread_mutex_unlock(&redis->lock);
    return sale;
}

static struct inv_sale *redis_sale(struct inv_store *head, const char *name)
{
    struct redis_sale *sale = inv_redis_find_sale(((struct redis_store *)head)->redis, name);
    return sale != NULL ? &sale->head : NULL;
}

static int64_t redis_sale_epoch(const struct inv_sale *head)
{
    return atomic_load_explicit(&((const struct redis_sale *)head)->epoch, memory_order_acquire);
}

static size_t redis_sale_sku_count(const struct inv_sale *head)
{
    return ((const struct redis_sale *)head)->sku_count;
}

static int64_t redis_sale_left(const struct inv_sale *head, uint32_t sku)
{
    const struct redis_sale *sale = (const struct redis_sale *)head;
    return sku < sale->sku_count ? atomic_load_explicit(&sale->left[sku], memory_order_relaxed) : 0;
}

/* Known for as long as the view of the log has needed to catch up with the moment when it was
 * learnt: what was decided by then, anywhere, is in the view. */
static bool redis_sale_sku_sold_out(const struct inv_sale *head, uint32_t sku)
{
    const struct redis_sale *sale = (const struct redis_sale *)head;
    if (sku >= sale->sku_count)
        return true;
    int64_t since = atomic_load_explicit(&sale->gone_since[sku], memory_order_relaxed);
    return since < atomic_load_explicit(&sale->redis->view_reached, memory_order_acquire);
}

uint32_t inv_redis_sku(const struct redis_sale *sale, const char *name, size_t len)
{
    for (uint32_t i = 0; i < sale->sku_count; i++) {
        if (strlen(sale->skus[i]) == len && memcmp(sale->skus[i], name, len) == 0)
            return i;
    }
    return UINT32_MAX;
}

/* What is gone as before may have come back and been sold meanwhile: then it is gone since now. */
void inv_redis_learn(struct redis_sale *sale, uint32_t index, int64_t left, int64_t in_doubt,
                     int64_t taken)
{
    if (index == UINT32_MAX)
        return;
    bool gone = left < 1 && in_doubt < 1;
    bool sold = atomic_exchange_explicit(&sale->taken[index], taken, memory_order_relaxed) != taken;
    bool was = atomic_load_explicit(&sale->gone_since[index], memory_order_relaxed) != INT64_MAX;
    atomic_store_explicit(&sale->left[index], left, memory_order_relaxed);
    if (gone != was || (gone && sold))
        atomic_store_explicit(&sale->gone_since[index],
                              gone ? ps_clock_mono_ns(&ps_clock_system) : INT64_MAX,
                              memory_order_relaxed);
}

const char *inv_redis_count_field(const struct redis_sale *sale, const redisReply *name,
                                  uint32_t *ret_sku)
{
    const char *slash = memchr(name->str, '/', name->len);
    size_t len = slash != NULL ? (size_t)(slash - name->str) : name->len;
    *ret_sku = inv_redis_sku(sale, name->str, len);
    return name->str + len;
}

int64_t inv_redis_learn_left(struct redis_sale *sale, const redisReply *fields)
{
    struct {
        int64_t left, in_doubt, taken;
        bool told;
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
            skus[sku].told = true;
            skus[sku].left = number;
        } else if (doubt) {
            skus[sku].in_doubt = number;
        } else if (strcmp(which, "/reserved_total") == 0) {
            skus[sku].taken = number;
        }
    }
    for (uint32_t i = 0; i < INV_SKUS_MAX; i++) {
        if (skus[i].told)
            inv_redis_learn(sale, i, skus[i].left, skus[i].in_doubt, skus[i].taken);
    }
    return in_doubt;
}

static bool same_skus(const struct redis_sale *sale, const char (*skus)[PS_NAME_MAX + 1],
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

static void free_sale(struct redis_sale *sale)
{
    free(sale->skus);
    free(sale->left);
    free(sale->gone_since);
    free(sale->taken);
    free(sale);
}

static const struct inv_backend redis_backend;

static struct redis_sale *new_sale(struct inv_redis *redis, const char *name,
                                   const char (*skus)[PS_NAME_MAX + 1], size_t count)
{
    struct redis_sale *sale = calloc(1, sizeof *sale);
    if (sale == NULL)
        return NULL;
    sale->skus = calloc(count > 0 ? count : 1, sizeof *sale->skus);
    sale->left = calloc(count > 0 ? count : 1, sizeof *sale->left);
    sale->gone_since = calloc(count > 0 ? count : 1, sizeof *sale->gone_since);
    sale->taken = calloc(count > 0 ? count : 1, sizeof *sale->taken);
    if (sale->skus == NULL || sale->left == NULL || sale->gone_since == NULL ||
        sale->taken == NULL) {
        free_sale(sale);
        return NULL;
    }
    for (size_t i = 0; i < count; i++)
        atomic_init(&sale->gone_since[i], INT64_MAX);
    sale->head.backend = &redis_backend;
    sale->redis = redis;
    memcpy(sale->name, name, strlen(name));
    memcpy(sale->skus, skus, count * sizeof *skus);
    sale->sku_count = count;
    atomic_init(&sale->epoch, -1);
    return sale;
}

int inv_redis_adopt(struct inv_redis *redis, const char *name, int64_t epoch, const char *identity,
                    const char (*skus)[PS_NAME_MAX + 1], size_t sku_count,
                    struct redis_sale **ret_sale)
{
    int err = 0;
    pthread_mutex_lock(&redis->lock);
    struct redis_sale *sale = redis->sales;
    while (sale != NULL && strcmp(sale->name, name) != 0)
        sale = sale->next;
    if (sale == NULL) {
        sale = new_sale(redis, name, skus, sku_count);
        if (sale != NULL) {
            sale->index = redis->sale_count++;
            sale->next = redis->sales;
            redis->sales = sale;
        } else {
            err = PS_E_NOMEM;
        }
    } else if (!same_skus(sale, skus, sku_count)) {
        err = PS_E_CONFLICT;
    }
    if (err == 0 && epoch > atomic_load_explicit(&sale->epoch, memory_order_relaxed)) {
        memcpy(sale->identity, identity, strlen(identity) + 1);
        for (size_t i = 0; i < sku_count; i++) /* all is counted anew */
            atomic_store_explicit(&sale->gone_since[i], INT64_MAX, memory_order_relaxed);
        atomic_store_explicit(&sale->epoch, epoch, memory_order_release);
    }
    pthread_mutex_unlock(&redis->lock);
    if (err == 0)
        *ret_sale = sale;
    return err;
}

/* --- desks --- */

static struct desk *get_desk(struct redis_store *store, struct redis_sale *sale)
{
    if (sale->index >= store->desk_count) {
        struct desk **more = realloc(store->desks, (sale->index + 1) * sizeof *more);
        if (more == NULL)
            return NULL;
        while (store->desk_count <= sale->index)
            more[store->desk_count++] = NULL;
        store->desks = more;
    }
    struct desk *desk = store->desks[sale->index];
    if (desk == NULL && (desk = calloc(1, sizeof *desk)) != NULL) {
        desk->sale = sale;
        desk->epoch = desk->fenced_epoch = -1;
        store->desks[sale->index] = desk;
    }
    return desk;
}

struct desk *inv_redis_desk(struct redis_store *store, struct redis_sale *sale)
{
    struct desk *desk = get_desk(store, sale);
    if (desk == NULL)
        return NULL;
    int64_t epoch = atomic_load_explicit(&sale->epoch, memory_order_acquire);
    if (desk->epoch == epoch && desk->greeting == store->greeting)
        return desk;
    pthread_mutex_lock(&store->redis->lock);
    desk->epoch = atomic_load_explicit(&sale->epoch, memory_order_relaxed);
    desk->fits = strcmp(sale->identity, ps_redis_link_identity(store->link)) == 0;
    pthread_mutex_unlock(&store->redis->lock);
    desk->greeting = store->greeting;
    inv_keys_of(&desk->keys, sale->name, desk->epoch);
    return desk;
}

void inv_redis_tell_fenced(struct redis_store *store, struct redis_sale *sale)
{
    if (store->events.on_fenced != NULL)
        store->events.on_fenced(&sale->head, store->events.ctx);
}

int inv_redis_judge(struct redis_store *store, struct redis_sale *sale, int err,
                    const redisReply *reply)
{
    if (err == 0)
        err = ps_redis_reply_err(reply);
    if (err < 0 && reply != NULL && store->events.on_error != NULL) {
        char text[512];
        (void)snprintf(text, sizeof text, "Redis %s: %s%s", ps_redis_link_server(store->link),
                       reply->str,
                       err == PS_E_CORRUPT ? ": rename that key, or give penstock a database of "
                                             "its own (store.redis.url)"
                                           : "");
        store->events.on_error(sale != NULL ? &sale->head : NULL, err, text, store->events.ctx);
    }
    if (err == 0 && reply->type == REDIS_REPLY_STATUS && strcmp(reply->str, "FENCED") == 0) {
        inv_redis_tell_fenced(store, sale);
        err = PS_E_CLOSED;
    }
    return err;
}

/* --- life --- */

static void on_ready(const char *identity, void *ctx)
{
    struct redis_store *store = ctx;
    (void)identity; /* desks ask the link */
    store->greeting++;
    if (store->events.on_ready != NULL)
        store->events.on_ready(store->events.ctx);
}

static void on_away(int err, const char *why, void *ctx)
{
    struct redis_store *store = ctx;
    if (store->events.on_away != NULL)
        store->events.on_away(err, why, store->events.ctx);
}

static bool redis_ready(const struct inv_store *head)
{
    return ps_redis_link_state(((const struct redis_store *)head)->link) == PS_REDIS_READY;
}

static const char *redis_server(const struct inv_store *head)
{
    return ps_redis_link_server(((const struct redis_store *)head)->link);
}

static bool redis_busy(const struct inv_store *head)
{
    const struct redis_store *store = (const struct redis_store *)head;
    bool busy = store->out > 0;
    for (size_t i = 0; i < store->desk_count && !busy; i++) {
        const struct desk *desk = store->desks[i];
        busy = desk != NULL && (desk->batch != NULL || desk->first != NULL);
    }
    return busy;
}

static void on_closed(uv_handle_t *handle)
{
    struct redis_store *store = handle->data;
    if (--store->handles > 0)
        return;
    inv_redis_step_done(store);
    for (size_t i = 0; i < store->desk_count; i++)
        free(store->desks[i]);
    free(store->desks);
    free(store);
}

static void redis_store_free(struct inv_store *head)
{
    struct redis_store *store = (struct redis_store *)head;
    store->closed = true;
    ps_redis_link_close(store->link); /* first: whoever asks again when he is answered is refused */
    inv_redis_step_refuse(store);
    uv_close((uv_handle_t *)&store->turn, on_closed);
    uv_close((uv_handle_t *)&store->linger, on_closed);
}

static void redis_view_reached(struct inv_store *head, int64_t mono_ns)
{
    struct inv_redis *redis = ((struct redis_store *)head)->redis;
    atomic_store_explicit(&redis->view_reached, mono_ns, memory_order_release);
}

static const struct inv_shared_ops redis_shared = {
    .ready = redis_ready,
    .busy = redis_busy,
    .server = redis_server,
    .view_reached = redis_view_reached,
    .load_error = inv_redis_load_error,
    .load_applied = inv_redis_load_applied,
    .installed = inv_redis_installed,
    .attach = inv_redis_attach,
    .doubts = inv_redis_doubts,
    .note_applied = inv_redis_note_applied,
    .applied = inv_redis_applied,
    .heartbeat = inv_redis_heartbeat,
    .lease = inv_redis_lease,
};

static const struct inv_backend redis_backend = {
    .shared = &redis_shared,
    .sale = redis_sale,
    .sale_epoch = redis_sale_epoch,
    .sale_sku_count = redis_sale_sku_count,
    .sale_left = redis_sale_left,
    .sale_sku_sold_out = redis_sale_sku_sold_out,
    .reserve = inv_redis_reserve,
    .lower = inv_redis_lower,
    .find = inv_redis_find,
    .resolve = inv_redis_resolve,
    .raise = inv_redis_raise,
    .counts = inv_redis_counts,
    .load_new = inv_redis_load_new,
    .load_available = inv_redis_load_available,
    .load_order = inv_redis_load_order,
    .load_raised = inv_redis_load_raised,
    .load_install = inv_redis_load_install,
    .load_free = inv_redis_load_free,
    .store_free = redis_store_free,
};

int inv_store_redis_new(struct inv_redis *redis, uv_loop_t *loop,
                        const struct inv_redis_events *events, struct inv_store **ret_store)
{
    struct redis_store *store = calloc(1, sizeof *store);
    if (store == NULL)
        return PS_E_NOMEM;
    const struct ps_redis_callbacks callbacks = {on_ready, on_away, store};
    store->head.backend = &redis_backend;
    store->redis = redis;
    store->events = *events;
    int err = ps_redis_link_new(loop, &redis->url, &redis->settings.link, &callbacks, &store->link);
    if (err < 0) {
        free(store);
        return err;
    }
    (void)uv_idle_init(loop, &store->turn);
    (void)uv_timer_init(loop, &store->linger);
    store->turn.data = store->linger.data = store;
    store->handles = 2;
    *ret_store = &store->head;
    return 0;
}

int inv_redis_new(const struct ps_redis_url *url, const struct inv_redis_settings *settings,
                  const struct ps_uuid *start, struct inv_redis **ret_redis)
{
    struct inv_redis *redis = calloc(1, sizeof *redis);
    if (redis == NULL)
        return PS_E_NOMEM;
    pthread_mutex_init(&redis->lock, NULL);
    redis->url = *url;
    redis->settings = *settings;
    redis->start = *start;
    *ret_redis = redis;
    return 0;
}

void inv_redis_free(struct inv_redis *redis)
{
    struct redis_sale *next;
    if (redis == NULL)
        return;
    for (struct redis_sale *sale = redis->sales; sale != NULL; sale = next) {
        next = sale->next;
        free_sale(sale);
    }
    pthread_mutex_destroy(&redis->lock);
    free(redis);
}
