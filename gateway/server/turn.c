/* A turn of the loop: what it serves, in this order. The timer's deadlines; connections that have
 * kept bytes; then the loop polls, and mail, new connections and what the poll found are served;
 * last, what was left unread. One timer serves the earliest of all deadlines. */
#include "gateway/server/http_internal.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- Deadlines --- */

/* libuv runs timers before it looks at sockets. If the thread was stopped over a deadline, bytes
 * may have arrived in time: read them first. False: the connection continues, or has ended. */
static bool is_late(struct srv_connection *connection)
{
    if (!connection->is_ready &&
        (connection->is_unread || connection->polled != UV_READABLE ||
         (connection->state != SRV_READING && connection->state != SRV_STREAMING &&
          connection->state != SRV_PROXYING)))
        return true;
    srv_guard_event(connection->http);
    if (connection->is_ready)
        srv_read_kept(connection);
    else
        srv_readable(connection);
    if (connection->deadline.kind != SRV_DEADLINE_NONE)
        return false;
    return connection->state == SRV_READING || connection->state == SRV_PROXYING ||
           (connection->state == SRV_STREAMING && !connection->slot->paused);
}

/* A client whose request has begun is told why it ends; a silent one is not. */
static void on_late(struct srv_connection *connection, enum srv_deadline_kind kind)
{
    bool unread = connection->state == SRV_READING || connection->state == SRV_STREAMING;
    enum ans_verdict why = ANS_V_request_timeout;

    if (connection->state == SRV_PROXYING) {
        srv_proxy_late(connection);
        return;
    }
    if (kind == SRV_DEADLINE_SEND && srv_is_taking(connection)) {
        srv_set_deadline(connection, SRV_DEADLINE_SEND);
        return;
    }
    if (kind == SRV_DEADLINE_IDLE_SHORT && connection->slot != NULL) {
        srv_set_deadline(connection, SRV_DEADLINE_HEAD);
        return;
    }
    if (connection->is_unread) { /* the bytes that it waits for may have arrived */
        srv_guard_forget(connection);
        why = ANS_V_shed;
    }
    if (connection->slot != NULL)
        connection->slot->request.is_late = true;
    if (connection->state == SRV_READING && connection->slot != NULL)
        srv_refuse(connection, why, NULL);
    else
        srv_close(connection, !unread);
}

static void on_timer(uv_timer_t *timer)
{
    struct srv_http *http = timer->data;
    struct srv_deadline *due = NULL;

    srv_read_clock(http);
    http->timer_ns = INT64_MAX;
    for (size_t most = srv_guard_most(http, SIZE_MAX);
         most > 0 && (due = srv_deadline_due(&http->deadlines, http->now_ns)) != NULL; most--) {
        enum srv_deadline_kind kind = due->kind;
        srv_deadline_clear(due);
        if (is_late((struct srv_connection *)due))
            on_late((struct srv_connection *)due, kind);
    }
    srv_free_closed(http);
    if (http->paused)
        srv_accept_again(http);
    http->rest_ns = due != NULL ? http->now_ns + PS_NS_PER_MS : 0;
}

/* For the earliest deadline, and for when accepting is tried again. */
static void set_timer(struct srv_http *http)
{
    int64_t at_ns = srv_deadline_next_ns(&http->deadlines);

    if (at_ns < http->rest_ns)
        at_ns = http->rest_ns;
    if (http->paused && http->accept_ns < at_ns)
        at_ns = http->accept_ns;
    if (at_ns >= http->timer_ns)
        return;
    http->timer_ns = at_ns;
    int64_t wait_ns = at_ns - http->guard.looked_ns;
    uint64_t wait_ms = wait_ns > 0 ? (uint64_t)((wait_ns + PS_NS_PER_MS - 1) / PS_NS_PER_MS) : 0;
    uv_timer_start(&http->timer, on_timer, wait_ms, 0);
}

/* --- Kept bytes --- */

/* Connections with still more bytes come in the next turn. */
static void serve_ready(struct srv_http *http)
{
    struct srv_connection *connection;
    size_t count = 0;

    TAILQ_FOREACH(connection, &http->ready, ready)
    {
        count++;
    }
    for (; count > 0 && (connection = TAILQ_FIRST(&http->ready)) != NULL; count--) {
        srv_read_clock(http);
        srv_guard_event(http);
        http->came_ns = http->now_ns; /* the bytes waited for the answer before them */
        srv_read_kept(connection);
    }
}

/* --- What the poll found --- */

static void serve(struct srv_connection *connection, int events, bool broken)
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
        srv_ask_whether_it_reads(connection); /* what it has sent before is read later */
}

static void tell(struct srv_connection *connection, uint32_t found)
{
    int polled = connection->polled, events = 0;

    if (found & (EPOLLIN | EPOLLHUP | EPOLLRDHUP))
        events |= UV_READABLE;
    if (found & (EPOLLOUT | EPOLLHUP))
        events |= UV_WRITABLE;
    if (found & (EPOLLRDHUP | EPOLLHUP))
        events |= UV_DISCONNECT;
    if (polled != 0 && connection->state != SRV_CLOSED)
        serve(connection, events & polled,
              (found & EPOLLERR) != 0 || (polled == UV_PRIORITIZED && (found & EPOLLHUP) != 0));
}

/* While late, looks at all connections with bytes, because the newest is among them. */
static void on_found(uv_poll_t *poll, int status, int events)
{
    struct srv_http *http = poll->data;
    struct srv_guard *guard = &http->guard;
    struct epoll_event found[SRV_BATCH];
    bool again = false;
    size_t count;

    (void)status;
    (void)events;
    if (!guard->late && !TAILQ_EMPTY(&guard->unread)) { /* the unread ones come first */
        guard->full = true;
        return;
    }
    do {
        count = srv_guard_look(http, found);
        for (size_t i = 0; i < count; i++) {
            struct srv_connection *connection = found[i].data.ptr;
            again |= connection->is_unread;
            tell(connection, found[i].events);
        }
    } while (guard->late && guard->full && !again);
}

/* --- What was left unread --- */

/* The loop does not watch an unread connection, so ask whether its client has left. */
static bool has_left(const struct srv_connection *connection)
{
    struct pollfd look = {.fd = connection->fd, .events = POLLRDHUP};

    return poll(&look, 1, 0) > 0;
}

static void read_one(struct srv_connection *connection)
{
    struct srv_http *http = connection->http;

    srv_read_clock(http);
    srv_guard_event(http);
    if (http->now_ns - connection->came_ns > SRV_OVERDUE_NS && has_left(connection)) {
        http->guard.load.closed++;
        srv_close(connection, false);
        return;
    }
    http->came_ns = connection->came_ns;
    srv_readable(connection);
    if (connection->state == SRV_READING && !connection->is_ready)
        srv_poll(connection, UV_READABLE);
}

static void read_unread(struct srv_http *http)
{
    struct srv_connection *connection;

    srv_guard_begin_unread(http);
    while ((connection = srv_guard_next(http)) != NULL)
        read_one(connection);
    srv_guard_end_unread(http);
}

/* --- The turn --- */

static void on_busy(uv_idle_t *idle)
{
    (void)idle; /* the loop does not sleep while this runs */
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct srv_http *http = prepare->data;

    serve_ready(http);
    srv_free_closed(http);
    srv_guard_before_poll(http);
    set_timer(http);
    if (!TAILQ_EMPTY(&http->ready) || !TAILQ_EMPTY(&http->guard.unread))
        uv_idle_start(&http->busy, on_busy);
    else
        uv_idle_stop(&http->busy);
}

static void on_check(uv_check_t *check)
{
    struct srv_http *http = check->data;

    srv_guard_after_poll(http);
    if (PS_UNLIKELY(!TAILQ_EMPTY(&http->guard.unread)))
        read_unread(http);
    srv_free_closed(http);
}

int srv_turn_start(struct srv_http *http, uv_loop_t *loop)
{
    struct srv_guard *guard = &http->guard;

    http->timer_ns = INT64_MAX;
    uv_timer_init(loop, &http->timer);
    uv_idle_init(loop, &http->busy);
    uv_prepare_init(loop, &guard->prepare);
    uv_check_init(loop, &guard->check);
    http->handles = 4;
    http->timer.data = http->busy.data = guard->prepare.data = guard->check.data = http;
    uv_prepare_start(&guard->prepare, on_prepare);
    uv_check_start(&guard->check, on_check);
    uv_unref((uv_handle_t *)&guard->prepare);
    uv_unref((uv_handle_t *)&guard->check);
    srv_read_clock(http);
    if (srv_guard_start(http) < 0)
        return PS_E_IO;
    if (uv_poll_init(loop, &guard->found, guard->fd) != 0) {
        close(guard->fd);
        guard->fd = -1;
        return PS_E_IO;
    }
    http->handles++;
    guard->found.data = http;
    uv_poll_start(&guard->found, UV_READABLE, on_found);
    return 0;
}
