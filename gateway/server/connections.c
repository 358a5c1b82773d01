/* Accepting and deadlines. Connections live in a pool of the hard limit; at that limit, or when the
 * system has no descriptor left, accepting pauses until a connection has ended or a moment has
 * passed, and clients wait in the kernel's queue. Above the soft limit they are accepted and
 * marked, so that they can be told to come back. One timer runs for the earliest deadline of all;
 * it is only ever moved forward when a nearer one is set. */
#include "gateway/server/connections.h"
#include "common/pool.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ACCEPT_BATCH                                                                               \
    64 /* a turn and listen socket, so that accepting does not starve those who are in */
#define PAUSE_NS (100 * PS_NS_PER_MS)

struct listener {
    uv_poll_t poll;
    struct srv_connections *all;
    int fd;
    bool open;
};

struct srv_connections {
    const struct srv_settings *settings;
    struct srv_connections_events events;
    struct ps_pool *pool;
    struct srv_deadlines deadlines;
    int64_t now_ns;
    int64_t wall_ms;
    int64_t timer_ns; /* when `timer` will run; INT64_MAX: not started */
    uv_timer_t timer;
    bool paused;
    size_t handles; /* not yet closed */
    bool closing;
    void (*freed)(void *ctx);
    size_t listener_count;
    struct listener listeners[];
};

void srv_connections_read_clock(struct srv_connections *all)
{
    all->now_ns = ps_clock_mono_ns(all->settings->clock);
    all->wall_ms = ps_clock_wall_ms(all->settings->clock);
}

int64_t srv_connections_now_ns(const struct srv_connections *all)
{
    return all->now_ns;
}

int64_t srv_connections_wall_ms(const struct srv_connections *all)
{
    return all->wall_ms;
}

size_t srv_connections_count(const struct srv_connections *all)
{
    return ps_pool_used(all->pool);
}

/* --- Deadlines --- */

void srv_connection_cut(struct srv_connection *connection)
{
    connection->cut = true;
    shutdown(connection->fd, SHUT_RDWR);
}

static void on_timer(uv_timer_t *timer);

static void arm(struct srv_connections *all, int64_t at_ns)
{
    if (at_ns >= all->timer_ns || all->closing)
        return;
    int64_t wait_ns = at_ns - all->now_ns;
    uint64_t wait_ms = wait_ns > 0 ? (uint64_t)((wait_ns + PS_NS_PER_MS - 1) / PS_NS_PER_MS) : 0;
    all->timer_ns = at_ns;
    uv_timer_start(&all->timer, on_timer, wait_ms, 0);
}

void srv_connection_deadline(struct srv_connection *connection, enum srv_deadline_kind kind)
{
    struct srv_connections *all = connection->all;
    srv_deadline_set(&all->deadlines, &connection->deadline, kind, all->now_ns);
    arm(all, connection->deadline.at_ns);
}

/* --- Accepting --- */

static void address_of(const struct sockaddr_storage *from, struct ps_address *ret_address)
{
    if (from->ss_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, from, sizeof v6);
        memcpy(ret_address->byte, &v6.sin6_addr, 16);
    } else {
        struct sockaddr_in v4;
        memcpy(&v4, from, sizeof v4);
        memset(ret_address->byte, 0, 10);
        memset(ret_address->byte + 10, 0xff, 2);
        memcpy(ret_address->byte + 12, &v4.sin_addr, 4);
    }
}

static void add(struct srv_connections *all, int fd, const struct sockaddr_storage *from,
                socklen_t len)
{
    const struct srv_settings *settings = all->settings;
    struct srv_connection *connection = ps_pool_take(all->pool);
    assert(connection != NULL); /* the caller looked */
    *connection = (struct srv_connection){.all = all, .fd = fd};
    srv_deadline_init(&connection->deadline);
    address_of(from, &connection->peer);
    connection->trusted = settings->is_trusted != NULL &&
                          settings->is_trusted(&connection->peer, all->events.trusted_ctx);
    connection->surplus = ps_pool_used(all->pool) > settings->connections_soft;
    if (all->events.accepted(connection, (const struct sockaddr *)from, len, all->events.ctx))
        srv_connection_deadline(connection, SRV_DEADLINE_HEAD);
}

static void pause_accepting(struct srv_connections *all)
{
    for (size_t i = 0; i < all->listener_count; i++)
        if (all->listeners[i].open)
            uv_poll_stop(&all->listeners[i].poll);
    all->paused = true;
    arm(all, all->now_ns + PAUSE_NS);
}

static void accept_some(struct listener *listener, size_t most)
{
    struct srv_connections *all = listener->all;
    for (size_t i = 0; i < most; i++) {
        struct sockaddr_storage from;
        socklen_t len = sizeof from;
        if (ps_pool_used(all->pool) >= all->settings->connections_hard) {
            pause_accepting(all);
            return;
        }
        int fd =
            accept4(listener->fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            add(all, fd, &from, len);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            pause_accepting(all);
            return;
        } else if (errno == EAGAIN) {
            return;
        } /* else that one client has gone: the next */
    }
}

static void on_listen(uv_poll_t *poll, int status, int events)
{
    struct listener *listener = poll->data;
    (void)status; /* accept says what is wrong */
    (void)events;
    srv_connections_read_clock(listener->all);
    accept_some(listener, ACCEPT_BATCH);
}

static void accept_again(struct srv_connections *all)
{
    all->paused = false;
    for (size_t i = 0; i < all->listener_count; i++)
        if (all->listeners[i].open)
            uv_poll_start(&all->listeners[i].poll, UV_READABLE, on_listen);
}

static void on_timer(uv_timer_t *timer)
{
    struct srv_connections *all = timer->data;
    struct srv_deadline *due;

    srv_connections_read_clock(all);
    all->timer_ns = INT64_MAX;
    while ((due = srv_deadline_due(&all->deadlines, all->now_ns)) != NULL) {
        struct srv_connection *connection = (struct srv_connection *)due;
        enum srv_deadline_kind kind = due->kind;
        srv_deadline_clear(due);
        all->events.late(connection, kind, all->events.ctx);
        srv_connection_cut(connection);
    }
    if (all->paused)
        accept_again(all);
    arm(all, srv_deadline_next_ns(&all->deadlines));
}

void srv_connection_ended(struct srv_connection *connection)
{
    struct srv_connections *all = connection->all;
    srv_deadline_clear(&connection->deadline);
    ps_pool_give(all->pool, connection);
    if (all->paused)
        arm(all, all->now_ns);
}

/* --- Start and end --- */

static void on_closed(uv_handle_t *handle)
{
    struct srv_connections *all = handle->data;
    all->handles--;
    if (!all->closing || all->handles > 0)
        return;
    void (*freed)(void *ctx) = all->freed;
    void *ctx = all->events.ctx;
    ps_pool_free(all->pool);
    free(all);
    if (freed != NULL)
        freed(ctx);
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct listener *listener = handle->data;
    handle->data = listener->all;
    on_closed(handle);
}

static void close_listener(struct listener *listener)
{
    if (!listener->open)
        return;
    listener->open = false;
    uv_close((uv_handle_t *)&listener->poll, on_listener_closed);
    if (listener->fd >= 0)
        close(listener->fd);
}

void srv_connections_drain(struct srv_connections *all)
{
    srv_connections_read_clock(all);
    for (size_t i = 0; i < all->listener_count; i++) {
        if (all->listeners[i].open)
            accept_some(&all->listeners[i], SIZE_MAX);
        close_listener(&all->listeners[i]);
    }
}

void srv_connections_free(struct srv_connections *all, void (*freed)(void *ctx))
{
    assert(ps_pool_used(all->pool) == 0);
    all->closing = true;
    all->freed = freed;
    for (size_t i = 0; i < all->listener_count; i++)
        close_listener(&all->listeners[i]);
    uv_close((uv_handle_t *)&all->timer, on_closed);
}

static void set_delays(struct srv_connections *all)
{
    const struct srv_settings *settings = all->settings;
    int64_t *delay_ns = all->deadlines.delay_ns;
    delay_ns[SRV_DEADLINE_HEAD] = settings->head_timeout_ms * PS_NS_PER_MS;
    delay_ns[SRV_DEADLINE_IDLE] =
        (settings->idle_timeout_ms + settings->head_timeout_ms) * PS_NS_PER_MS;
    delay_ns[SRV_DEADLINE_IDLE_TRUSTED] =
        (settings->idle_trusted_ms + settings->head_timeout_ms) * PS_NS_PER_MS;
    delay_ns[SRV_DEADLINE_BODY] = settings->body_timeout_ms * PS_NS_PER_MS;
    delay_ns[SRV_DEADLINE_SEND] = settings->body_timeout_ms * PS_NS_PER_MS;
}

int srv_connections_new(uv_loop_t *loop, const int *fds, size_t count,
                        const struct srv_settings *settings,
                        const struct srv_connections_events *events,
                        struct srv_connections **ret_connections)
{
    struct srv_connections *all = calloc(1, sizeof *all + count * sizeof all->listeners[0]);
    if (all == NULL)
        return PS_E_NOMEM;
    all->settings = settings;
    all->events = *events;
    all->timer_ns = INT64_MAX;
    srv_deadlines_init(&all->deadlines);
    set_delays(all);
    int err = ps_pool_new(settings->connections_hard, sizeof(struct srv_connection), &all->pool);
    if (err < 0) {
        free(all);
        return err;
    }
    srv_connections_read_clock(all);
    uv_timer_init(loop, &all->timer);
    all->timer.data = all;
    all->handles = 1;
    for (size_t i = 0; i < count; i++) {
        struct listener *listener = &all->listeners[i];
        if (uv_poll_init(loop, &listener->poll, fds[i]) != 0)
            goto fail;
        listener->all = all;
        listener->fd = fds[i];
        listener->open = true;
        listener->poll.data = listener;
        all->handles++;
        all->listener_count++;
    }
    accept_again(all);
    *ret_connections = all;
    return 0;
fail:
    for (size_t i = 0; i < all->listener_count; i++)
        all->listeners[i].fd = -1;
    srv_connections_free(all, NULL);
    return PS_E_IO;
}
