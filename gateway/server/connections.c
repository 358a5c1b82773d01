/* Sockets: accepting, limits on connections, deadlines, closing. Connections come from a pool of
 * the size of the hard limit. At that limit, or when the system has no descriptor left, accepting
 * pauses until a connection has ended or a moment has passed; clients wait in the kernel's queue.
 * Connections above the soft limit, or above the cap of their address, are accepted and marked, so
 * that they can be told to come back. One timer serves the earliest of all deadlines. */
#include "gateway/server/address_count.h"
#include "gateway/server/http_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Most connections that one listen socket accepts in a turn: so accepting does not starve the
 * accepted ones, and a new connection is read before it might have to make room. */
#define ACCEPT_BATCH  256
#define ACCEPT_SHARE  8
#define PAUSE_NS      (100 * PS_NS_PER_MS)
#define IDLE_SHORT_MS 1000
#define LINGER_MS     2000

void srv_read_clock(struct srv_http *http)
{
    http->now_ns = ps_clock_mono_ns(http->settings.clock);
    http->wall_ms = ps_clock_wall_ms(http->settings.clock);
}

/* --- Deadlines --- */

static void on_timer(uv_timer_t *timer);

static void start_timer(struct srv_http *http, int64_t at_ns)
{
    if (at_ns >= http->timer_ns || http->closing)
        return;
    int64_t wait_ns = at_ns - http->now_ns;
    uint64_t wait_ms = wait_ns > 0 ? (uint64_t)((wait_ns + PS_NS_PER_MS - 1) / PS_NS_PER_MS) : 0;
    http->timer_ns = at_ns;
    uv_timer_start(&http->timer, on_timer, wait_ms, 0);
}

void srv_set_deadline(struct srv_connection *connection, enum srv_deadline_kind kind)
{
    struct srv_http *http = connection->http;

    if (kind == SRV_DEADLINE_NONE) {
        srv_deadline_clear(&connection->deadline);
        return;
    }
    srv_deadline_set(&http->deadlines, &connection->deadline, kind, http->now_ns);
    start_timer(http, connection->deadline.at_ns);
}

/* libuv runs timers before it looks at sockets. If the thread was stopped over a deadline, bytes
 * may have arrived in time: read them first. False: the connection continues, or has ended. */
static bool is_late(struct srv_connection *connection)
{
    if (!connection->is_ready &&
        (connection->is_unread || connection->polled != UV_READABLE ||
         (connection->state != SRV_READING && connection->state != SRV_STREAMING)))
        return true;
    srv_guard_event(connection->http);
    if (connection->is_ready)
        srv_read_kept(connection);
    else
        srv_readable(connection);
    if (connection->deadline.kind != SRV_DEADLINE_NONE)
        return false;
    return connection->state == SRV_READING ||
           (connection->state == SRV_STREAMING && !connection->slot->paused);
}

/* A client whose request has begun is told why it ends; a silent one is not. */
static void on_late(struct srv_connection *connection, enum srv_deadline_kind kind)
{
    bool unread = connection->state == SRV_READING || connection->state == SRV_STREAMING;
    enum ans_verdict why = ANS_V_request_timeout;

    if (kind == SRV_DEADLINE_IDLE_SHORT && connection->slot != NULL) {
        srv_set_deadline(connection, SRV_DEADLINE_HEAD);
        return;
    }
    if (connection->is_unread) { /* the bytes that it waits for may have arrived */
        srv_guard_forget(connection);
        why = ANS_V_shed;
    }
    if (connection->state == SRV_READING && connection->slot != NULL)
        srv_refuse(connection, why, NULL);
    else
        srv_close(connection, !unread);
}

/* --- The end of a connection --- */

void srv_connection_free(struct srv_connection *connection)
{
    struct srv_http *http = connection->http;

    TAILQ_REMOVE(&http->connections, connection, entry);
    ps_pool_give(http->pool, connection);
    http->handles--;
    if (http->paused)
        start_timer(http, http->now_ns);
    srv_http_release(http);
}

static void leave_slot(struct srv_connection *connection)
{
    struct srv_slot *slot = connection->slot;
    struct srv_http *http = connection->http;

    connection->slot = NULL;
    if (slot == NULL)
        return;
    if (slot->state != SRV_SLOT_SUSPENDED && slot->state != SRV_SLOT_ANSWERING) {
        srv_slot_free(slot);
        return;
    }
    slot->connection = NULL;
    slot->state = SRV_SLOT_LEFT;
    if (http->settings.on_gone == NULL) /* the request's owner still uses it */
        return;
    http->settings.on_gone(&slot->request, http->settings.ctx);
    srv_slot_free(slot);
}

/* The connection was refused or has ended: frees its place for others. */
static void leave_place(struct srv_connection *connection)
{
    struct srv_http *http = connection->http;

    if (connection->counted)
        srv_address_drop(http->addresses, &connection->peer);
    http->places -= connection->placed;
    connection->counted = connection->placed = false;
}

void srv_close(struct srv_connection *connection, bool reset)
{
    static const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    struct srv_http *http = connection->http;

    if (connection->state == SRV_CLOSED)
        return;
    connection->state = SRV_CLOSED;
    srv_deadline_clear(&connection->deadline);
    if (connection->is_unread)
        srv_guard_forget(connection);
    if (connection->is_ready)
        TAILQ_REMOVE(&http->ready, connection, ready);
    connection->is_ready = false;
    if (http->reading == NULL || http->reading == connection)
        http->out_len = 0; /* drop what was gathered for it */
    leave_slot(connection);
    srv_segments_free(connection);
    free(connection->kept);
    connection->kept = NULL;
    connection->kept_len = 0;
    leave_place(connection);
    TAILQ_INSERT_TAIL(&http->guard.closed, connection, unread);
    if (reset)
        (void)setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(connection->fd);
}

/* At most half of the places above the soft limit linger: the other half is for connections that
 * must be told about that limit. */
void srv_linger(struct srv_connection *connection)
{
    struct srv_http *http = connection->http;
    size_t spare = http->settings.connections_hard - http->settings.connections_soft;

    leave_place(connection);
    connection->state = SRV_LINGERING;
    shutdown(connection->fd, SHUT_WR);
    srv_poll(connection, UV_READABLE);
    srv_set_deadline(connection, SRV_DEADLINE_LINGER);
    if (ps_pool_used(http->pool) - http->places > spare / 2 + 1)
        srv_close(
            (struct srv_connection *)srv_deadline_next(&http->deadlines, SRV_DEADLINE_LINGER, NULL),
            false);
}

/* The connection of these kinds that was silent for longest and may be closed in favour of others.
 * Trusted ones may be closed only while they have no request. */
static struct srv_connection *find_silent(struct srv_http *http, unsigned kinds, bool of_slots)
{
    struct srv_connection *oldest = NULL;
    int64_t oldest_ns = INT64_MAX;

    for (int kind = 0; kind < SRV_DEADLINE_KINDS; kind++) {
        struct srv_deadline *entry = NULL;
        bool found = (kinds & (1u << kind)) == 0;
        while (!found && (entry = srv_deadline_next(&http->deadlines, (enum srv_deadline_kind)kind,
                                                    entry)) != NULL) {
            struct srv_connection *connection = (struct srv_connection *)entry;
            int64_t since_ns = entry->at_ns - http->deadlines.delay_ns[kind];
            bool asks = connection->slot != NULL;
            found = connection->trusted ? !asks && kind == SRV_DEADLINE_IDLE_TRUSTED
                                        : asks || !of_slots;
            if (found && since_ns < oldest_ns) {
                oldest = connection;
                oldest_ns = since_ns;
            }
        }
    }
    return oldest;
}

bool srv_make_room(struct srv_http *http, bool of_slots)
{
    /* Order of closing: first untrusted connections that got an answer; then those that sent
     * nothing, or not everything; then trusted ones, which can reconnect. So a new connection has
     * time to show a token. */
    static const unsigned ranks[] = {
        1u << SRV_DEADLINE_SEND | 1u << SRV_DEADLINE_IDLE | 1u << SRV_DEADLINE_IDLE_SHORT,
        1u << SRV_DEADLINE_HEAD | 1u << SRV_DEADLINE_BODY, 1u << SRV_DEADLINE_IDLE_TRUSTED};
    struct srv_connection *silent = NULL;

    if (!http->settings.makes_room)
        return false;
    for (size_t i = 0; silent == NULL && i < PS_ARRAY_LEN(ranks); i++)
        silent = find_silent(http, ranks[i], of_slots);
    if (silent == NULL)
        return false;
    http->settings.on_refused(of_slots ? ANS_V_shed : ANS_V_too_many_connections,
                              http->settings.ctx);
    srv_close(silent, !STAILQ_EMPTY(&silent->unsent));
    return true;
}

/* --- What the loop tells of a connection --- */

void srv_tell(struct srv_connection *connection, int events, bool broken)
{
    srv_read_clock(connection->http);
    srv_guard_event(connection->http);
    if (broken)
        srv_close(connection, true);
    else if (events & UV_WRITABLE)
        srv_writable(connection);
    else if (events & UV_READABLE) {
        /* Kept bytes come first; meanwhile the loop does not sleep. */
        if (!connection->is_ready && !srv_guard_leaves(connection))
            srv_readable(connection);
    } else if (events & UV_DISCONNECT)
        srv_close(connection, false);
}

void srv_poll_waiting(struct srv_connection *connection)
{
    bool full =
        connection->state == SRV_STREAMING ? connection->slot->paused : connection->kept_len > 0;

    srv_poll(connection, full || connection->kept_len > 0 ? UV_DISCONNECT : UV_READABLE);
}

/* --- Accepting --- */

static void read_address(const struct sockaddr_storage *from, struct ps_address *ret_address)
{
    if (from->ss_family == AF_UNIX) {
        *ret_address = (struct ps_address){0};
    } else if (from->ss_family == AF_INET6) {
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

/* Is there room for one more connection from its address? */
static bool count_address(struct srv_connection *connection)
{
    struct srv_http *http = connection->http;

    if (http->addresses == NULL || connection->trusted)
        return true;
    connection->counted = srv_address_add(http->addresses, &connection->peer);
    return connection->counted;
}

static void add_connection(struct srv_http *http, int fd, const struct sockaddr_storage *from)
{
    const struct srv_settings *settings = &http->settings;
    struct srv_connection *connection = ps_pool_take(http->pool);

    assert(connection != NULL); /* the caller has checked */
    *connection = (struct srv_connection){.http = http, .fd = fd};
    STAILQ_INIT(&connection->unsent);
    srv_deadline_init(&connection->deadline);
    if (srv_watch(connection) < 0) {
        ps_pool_give(http->pool, connection);
        close(fd);
        return;
    }
    http->handles++;
    TAILQ_INSERT_TAIL(&http->connections, connection, entry);
    read_address(from, &connection->peer);
    connection->trusted =
        settings->is_trusted != NULL && settings->is_trusted(&connection->peer, http->settings.ctx);
    srv_poll(connection, UV_READABLE);
    if (!count_address(connection)) {
        srv_refuse(connection, ANS_V_too_many_connections,
                   "this address has as many connections as one address may have");
        return;
    }
    if (http->places >= settings->connections_soft)
        srv_make_room(http, false);
    connection->placed = true;
    connection->surplus = ++http->places > settings->connections_soft;
    srv_set_deadline(connection, SRV_DEADLINE_HEAD);
}

static void pause_accepting(struct srv_http *http)
{
    for (size_t i = 0; i < http->listener_count; i++)
        if (http->listeners[i].open)
            uv_poll_stop(&http->listeners[i].poll);
    http->paused = true;
    start_timer(http, http->now_ns + PAUSE_NS);
}

static void accept_some(struct srv_listener *listener, size_t most)
{
    struct srv_http *http = listener->http;

    for (size_t i = 0; i < most; i++) {
        struct sockaddr_storage from;
        socklen_t len = sizeof from;
        if (ps_pool_used(http->pool) >= http->settings.connections_hard) {
            pause_accepting(http);
            return;
        }
        int fd =
            accept4(listener->fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            add_connection(http, fd, &from);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            pause_accepting(http);
            return;
        } else if (errno == EAGAIN) {
            return;
        } /* else that client has gone: try the next */
    }
}

static void on_listen(uv_poll_t *poll, int status, int events)
{
    struct srv_listener *listener = poll->data;
    struct srv_http *http = listener->http;
    size_t most = 1 + http->settings.connections_soft / ACCEPT_SHARE;

    (void)status; /* accept returns the error */
    (void)events;
    srv_read_clock(http);
    srv_guard_event(http);
    accept_some(listener, srv_guard_most(http, most < ACCEPT_BATCH ? most : ACCEPT_BATCH));
}

static void accept_again(struct srv_http *http)
{
    http->paused = false;
    for (size_t i = 0; i < http->listener_count; i++)
        if (http->listeners[i].open)
            uv_poll_start(&http->listeners[i].poll, UV_READABLE, on_listen);
}

static void on_timer(uv_timer_t *timer)
{
    struct srv_http *http = timer->data;
    struct srv_deadline *due = NULL;
    int64_t next_ns;

    srv_read_clock(http);
    http->timer_ns = INT64_MAX;
    for (size_t most = srv_guard_most(http, SIZE_MAX);
         most > 0 && (due = srv_deadline_due(&http->deadlines, http->now_ns)) != NULL; most--) {
        enum srv_deadline_kind kind = due->kind;
        srv_deadline_clear(due);
        if (is_late((struct srv_connection *)due))
            on_late((struct srv_connection *)due, kind);
    }
    srv_guard_free_closed(http);
    if (http->paused)
        accept_again(http);
    next_ns = srv_deadline_next_ns(&http->deadlines);
    if (due != NULL && next_ns <= http->now_ns) /* not in this turn of the loop */
        next_ns = http->now_ns + PS_NS_PER_MS;
    start_timer(http, next_ns);
}

/* --- Start and end --- */

static void on_handle_closed(uv_handle_t *handle)
{
    struct srv_http *http = handle->data;

    http->handles--;
    srv_http_release(http);
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct srv_listener *listener = handle->data;

    handle->data = listener->http;
    on_handle_closed(handle);
}

static void close_listener(struct srv_listener *listener)
{
    if (!listener->open)
        return;
    listener->open = false;
    uv_close((uv_handle_t *)&listener->poll, on_listener_closed);
    if (listener->fd >= 0)
        close(listener->fd);
}

void srv_connections_drain(struct srv_http *http)
{
    srv_read_clock(http);
    for (size_t i = 0; i < http->listener_count; i++) {
        if (http->listeners[i].open)
            accept_some(&http->listeners[i], SIZE_MAX);
        close_listener(&http->listeners[i]);
    }
}

void srv_connections_close(struct srv_http *http)
{
    struct srv_connection *connection;

    TAILQ_FOREACH(connection, &http->connections, entry)
    {
        srv_close(connection, false);
    }
    srv_guard_free_closed(http);
    for (size_t i = 0; i < http->listener_count; i++)
        close_listener(&http->listeners[i]);
    uv_close((uv_handle_t *)&http->timer, on_handle_closed);
    uv_close((uv_handle_t *)&http->idle, on_handle_closed);
    uv_close((uv_handle_t *)&http->guard.prepare, on_handle_closed);
    uv_close((uv_handle_t *)&http->guard.check, on_handle_closed);
    uv_close((uv_handle_t *)&http->guard.busy, on_handle_closed);
    if (http->guard.fd >= 0) {
        uv_close((uv_handle_t *)&http->guard.found, on_handle_closed);
        close(http->guard.fd);
    }
}

static void set_delays(struct srv_http *http)
{
    const struct srv_settings *settings = &http->settings;
    int64_t *delay_ns = http->deadlines.delay_ns;

    delay_ns[SRV_DEADLINE_HEAD] = settings->head_timeout_ms * PS_NS_PER_MS;
    delay_ns[SRV_DEADLINE_IDLE] =
        (settings->idle_timeout_ms + settings->head_timeout_ms) * PS_NS_PER_MS;
    delay_ns[SRV_DEADLINE_IDLE_TRUSTED] =
        (settings->idle_trusted_ms + settings->head_timeout_ms) * PS_NS_PER_MS;
    delay_ns[SRV_DEADLINE_IDLE_SHORT] =
        (settings->idle_timeout_ms < IDLE_SHORT_MS ? settings->idle_timeout_ms : IDLE_SHORT_MS) *
        PS_NS_PER_MS;
    delay_ns[SRV_DEADLINE_BODY] = settings->body_timeout_ms * PS_NS_PER_MS;
    delay_ns[SRV_DEADLINE_SEND] = settings->body_timeout_ms * PS_NS_PER_MS;
    delay_ns[SRV_DEADLINE_LINGER] = LINGER_MS * PS_NS_PER_MS;
}

int srv_connections_start(struct srv_http *http, uv_loop_t *loop, const int *fds, size_t count)
{
    srv_deadlines_init(&http->deadlines);
    set_delays(http);
    http->timer_ns = INT64_MAX;
    uv_timer_init(loop, &http->timer);
    uv_idle_init(loop, &http->idle);
    http->timer.data = http->idle.data = http;
    srv_read_clock(http);
    http->handles = 5;
    if (srv_guard_start(http, loop) < 0)
        return PS_E_IO;
    http->handles++;
    for (size_t i = 0; i < count; i++) {
        struct srv_listener *listener = &http->listeners[i];
        *listener = (struct srv_listener){.http = http, .fd = fds[i]};
        if (uv_poll_init(loop, &listener->poll, fds[i]) != 0) {
            for (size_t j = 0; j < i; j++)
                http->listeners[j].fd = -1; /* the caller owns it */
            return PS_E_IO;
        }
        listener->open = true;
        listener->poll.data = listener;
        http->handles++;
        http->listener_count++;
    }
    accept_again(http);
    return 0;
}
