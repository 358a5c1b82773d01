/* The store in Redis: its life, and the table of what it does. Below it: redis_sale.c (sales and
 * their channels), redis_step.c (reservations and effects), redis_calls.c (looking at a sale),
 * redis_members.c (exchange between gateways) and redis_load.c (building anew). */
#include "inventory/store_redis.h"
#include "inventory/redis_ops.h"

#include <stdlib.h>

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

static int64_t redis_sale_epoch(const struct inv_sale *head)
{
    return atomic_load_explicit(&((const struct inv_redis_sale *)head)->epoch,
                                memory_order_acquire);
}

static size_t redis_sale_sku_count(const struct inv_sale *head)
{
    return ((const struct inv_redis_sale *)head)->sku_count;
}

static int64_t redis_sale_left(const struct inv_sale *head, uint32_t sku)
{
    const struct inv_redis_sale *sale = (const struct inv_redis_sale *)head;
    return sku < sale->sku_count ? atomic_load_explicit(&sale->left[sku], memory_order_relaxed) : 0;
}

/* A SKU counts as sold out only after the view of the log has caught up with the moment when that
 * was learnt: then every order decided by that moment is in the view. */
static bool redis_sale_sku_sold_out(const struct inv_sale *head, uint32_t sku)
{
    const struct inv_redis_sale *sale = (const struct inv_redis_sale *)head;
    if (sku >= sale->sku_count)
        return true;
    int64_t since = atomic_load_explicit(&sale->gone_since[sku], memory_order_relaxed);
    return since < atomic_load_explicit(&sale->redis->view_reached, memory_order_acquire);
}

/* --- life --- */

static void on_ready(const char *identity, void *ctx)
{
    struct inv_redis_store *store = ctx;
    (void)identity; /* channels ask the link */
    store->greeting++;
    if (store->events.on_ready != NULL)
        store->events.on_ready(store->events.ctx);
}

static void on_away(int err, const char *why, void *ctx)
{
    struct inv_redis_store *store = ctx;
    if (store->events.on_away != NULL)
        store->events.on_away(err, why, store->events.ctx);
}

static void redis_breaker(struct inv_store *head, struct ps_breaker_view *ret_view)
{
    ps_redis_link_show(((struct inv_redis_store *)head)->link, ret_view);
}

static void redis_force(struct inv_store *head, const struct ps_breaker_force *force)
{
    ps_redis_link_force(((struct inv_redis_store *)head)->link, force);
}

static bool redis_ready(const struct inv_store *head)
{
    struct ps_redis_link *link = ((const struct inv_redis_store *)head)->link;
    struct ps_breaker_view view;

    ps_redis_link_show(link, &view);
    return ps_redis_link_state(link) == PS_REDIS_READY && view.state != PS_BREAKER_OPEN;
}

static const char *redis_server(const struct inv_store *head)
{
    return ps_redis_link_server(((const struct inv_redis_store *)head)->link);
}

static bool redis_busy(const struct inv_store *head)
{
    const struct inv_redis_store *store = (const struct inv_redis_store *)head;
    bool busy = store->out > 0;
    for (size_t i = 0; i < store->channel_count && !busy; i++) {
        const struct inv_channel *channel = store->channels[i];
        busy = channel != NULL && (channel->batch != NULL || !TAILQ_EMPTY(&channel->pages));
    }
    return busy;
}

static void on_closed(uv_handle_t *handle)
{
    struct inv_redis_store *store = handle->data;
    if (--store->handles > 0)
        return;
    inv_redis_step_done(store);
    for (size_t i = 0; i < store->channel_count; i++)
        free(store->channels[i]);
    free(store->channels);
    free(store);
}

static void redis_store_free(struct inv_store *head)
{
    struct inv_redis_store *store = (struct inv_redis_store *)head;
    store->closed = true;
    ps_redis_link_close(
        store->link); /* first: a caller that asks again from its callback is refused */
    inv_redis_step_refuse(store);
    uv_close((uv_handle_t *)&store->turn, on_closed);
    uv_close((uv_handle_t *)&store->linger, on_closed);
}

static void redis_view_reached(struct inv_store *head, int64_t mono_ns)
{
    struct inv_redis *redis = ((struct inv_redis_store *)head)->redis;
    atomic_store_explicit(&redis->view_reached, mono_ns, memory_order_release);
}

static const struct inv_shared_ops redis_shared = {
    .ready = redis_ready,
    .breaker = redis_breaker,
    .force = redis_force,
    .busy = redis_busy,
    .server = redis_server,
    .view_reached = redis_view_reached,
    .load_error = inv_redis_load_error,
    .load_applied = inv_redis_load_applied,
    .installed = inv_redis_installed,
    .attach = inv_redis_attach,
    .look = inv_redis_look,
    .doubts = inv_redis_doubts,
    .note_applied = inv_redis_note_applied,
    .applied = inv_redis_applied,
    .heartbeat = inv_redis_heartbeat,
    .lease = inv_redis_lease,
};

static const struct inv_backend redis_backend = {
    .shared = &redis_shared,
    .sale_epoch = redis_sale_epoch,
    .sale_sku_count = redis_sale_sku_count,
    .sale_left = redis_sale_left,
    .sale_sku_sold_out = redis_sale_sku_sold_out,
    .reserve = inv_redis_reserve,
    .judge = inv_redis_judge,
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

int inv_store_redis_new(struct inv_redis *redis, uv_loop_t *loop, int64_t slow_ms,
                        const struct inv_redis_events *events, struct inv_store **ret_store)
{
    struct inv_redis_store *store = calloc(1, sizeof *store);
    if (store == NULL)
        return PS_E_NOMEM;
    const struct ps_redis_callbacks callbacks = {on_ready, on_away, store};
    struct ps_redis_settings settings = redis->settings.link;
    settings.slow_ms = slow_ms;
    store->head.backend = &redis_backend;
    store->redis = redis;
    store->events = *events;
    int err = ps_redis_link_new(loop, &redis->url, &settings, &callbacks, &store->link);
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
    redis->backend = &redis_backend;
    *ret_redis = redis;
    return 0;
}

void inv_redis_free(struct inv_redis *redis)
{
    if (redis == NULL)
        return;
    inv_redis_free_sales(redis);
    pthread_mutex_destroy(&redis->lock);
    free(redis);
}
