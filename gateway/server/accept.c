/* Accepting, and the limits on connections. Connections come from a pool of the size of the hard
 * limit. At that limit, or when the system has no descriptor left, accepting pauses until a
 * connection has ended or a moment has passed; clients wait in the kernel's queue. Connections
 * above the soft limit, or above the cap of their address, are accepted and marked, so that they
 * can be told to come back. */
#include "gateway/server/http_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Most connections that one listen socket accepts in a turn: so accepting does not starve the
 * accepted ones, and a new connection is read before it might have to make room. Of a socket that
 * servers share each takes one in a turn, so that the busy ones take fewer. */
#define ACCEPT_BATCH 256
#define ACCEPT_SHARE 8
#define PAUSE_NS     (100 * PS_NS_PER_MS)

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
    connection->trusted = connection->forwards =
        settings->is_trusted != NULL && settings->is_trusted(&connection->peer, http->settings.ctx);
    srv_poll(connection, UV_READABLE);
    http->accepted_ns = http->now_ns;
    if (!srv_count_address(connection))
        return;
    if (http->places >= settings->connections_soft)
        srv_make_room(http, false);
    connection->placed = true;
    connection->surplus = ++http->places > settings->connections_soft;
    if (PS_UNLIKELY(settings->proxy_versions != PS_PROXY_OFF))
        srv_proxy_begin(connection);
    else
        srv_set_deadline(connection, SRV_DEADLINE_HEAD);
}

static void pause_accepting(struct srv_http *http)
{
    for (size_t i = 0; i < http->listener_count; i++)
        if (http->listeners[i].open)
            uv_poll_stop(&http->listeners[i].poll);
    http->paused = true;
    http->accept_ns = http->now_ns + PAUSE_NS;
}

void srv_accept_some(struct srv_listener *listener, size_t most)
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
    size_t most = listener->shared ? 1 : 1 + http->settings.connections_soft / ACCEPT_SHARE;

    (void)status; /* accept returns the error */
    (void)events;
    srv_read_clock(http);
    srv_guard_event(http);
    srv_accept_some(listener, srv_guard_most(http, most < ACCEPT_BATCH ? most : ACCEPT_BATCH));
}

void srv_accept_again(struct srv_http *http)
{
    http->paused = false;
    for (size_t i = 0; i < http->listener_count; i++)
        if (http->listeners[i].open)
            uv_poll_start(&http->listeners[i].poll, UV_READABLE, on_listen);
}
