/* Sends bytes: for the connection being read, after its earlier answers, so that all leave in one
 * send; for a kept request, at once. What the client does not take stays in segments, and the
 * connection is not read until they are sent. */
#include "gateway/server/http_internal.h"

#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define GATHER_MAX 16

/* --- Segments --- */

static struct srv_segment *append(struct srv_connection *connection, struct srv_segment *segment)
{
    STAILQ_INSERT_TAIL(&connection->unsent, segment, next);
    connection->unsent_len += segment->len;
    return segment;
}

/* A segment with `len` bytes of room. NULL: out of memory; the connection has been closed. */
static struct srv_segment *add_segment(struct srv_connection *connection, size_t len)
{
    struct srv_segment *segment = malloc(sizeof *segment + len);

    if (segment == NULL) {
        srv_close(connection, true);
        return NULL;
    }
    *segment = (struct srv_segment){.at = segment->copy, .len = len};
    return append(connection, segment);
}

bool srv_add_held(struct srv_connection *connection, struct ps_str bytes,
                  void (*release)(void *held), void *held)
{
    struct srv_segment *segment = malloc(sizeof *segment);

    if (segment == NULL) {
        release(held);
        srv_close(connection, true);
        return false;
    }
    *segment =
        (struct srv_segment){.at = bytes.at, .len = bytes.len, .release = release, .held = held};
    append(connection, segment);
    return true;
}

/* `sent` bytes of the segments are sent: frees them. */
static void drop_sent(struct srv_connection *connection, size_t sent)
{
    struct srv_segment *segment;

    connection->unsent_len -= sent;
    while ((segment = STAILQ_FIRST(&connection->unsent)) != NULL && sent >= segment->len) {
        sent -= segment->len;
        STAILQ_REMOVE_HEAD(&connection->unsent, next);
        srv_segment_free(segment);
    }
    if (segment != NULL) {
        segment->at += sent;
        segment->len -= sent;
    }
}

/* How many bytes in `out` belong to this connection. */
static size_t gathered(const struct srv_connection *connection)
{
    const struct srv_http *http = connection->http;

    return http->reading == NULL || http->reading == connection ? http->out_len : 0;
}

/* Sends `out`, then the segments, as far as the client takes them. False: the client takes nothing
 * more for now, or the connection has been closed. */
static bool send_all(struct srv_connection *connection)
{
    struct srv_http *http = connection->http;
    size_t out_len = gathered(connection);

    http->out_len -= out_len;
    while (out_len > 0 || !STAILQ_EMPTY(&connection->unsent)) {
        struct iovec parts[GATHER_MAX];
        struct msghdr message = {.msg_iov = parts};
        struct srv_segment *segment;
        if (out_len > 0)
            parts[message.msg_iovlen++] = (struct iovec){http->out, out_len};
        STAILQ_FOREACH(segment, &connection->unsent, next)
        {
            if (message.msg_iovlen == GATHER_MAX)
                break;
            parts[message.msg_iovlen++] =
                (struct iovec){(void *)(uintptr_t)segment->at, segment->len};
        }
        /* A single part, the usual case, costs the kernel less by send. */
        ssize_t sent = message.msg_iovlen == 1
                           ? send(connection->fd, parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL)
                           : sendmsg(connection->fd, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR) {
            srv_close(connection, true);
            return false;
        }
        size_t gone = sent > 0 ? (size_t)sent : 0;
        connection->sent += gone;
        if (gone < out_len) {
            size_t left = out_len - gone;
            segment = add_segment(connection, left);
            if (segment == NULL)
                return false;
            memcpy(segment->copy, http->out + gone, left);
            STAILQ_REMOVE(&connection->unsent, segment, srv_segment, next);
            STAILQ_INSERT_HEAD(&connection->unsent, segment, next);
            return false;
        }
        drop_sent(connection, gone - out_len);
        out_len = 0;
        if (sent < 0)
            return false;
    }
    return true;
}

/* How much the client's kernel has acknowledged. The kernel here may have some MiB in between: only
 * whether it takes more says too little of a client that is slow and steady. */
static uint64_t taken_by(const struct srv_connection *connection)
{
    int in_kernel = 0;

    if (ioctl(connection->fd, SIOCOUTQ, &in_kernel) != 0 || in_kernel < 0)
        return connection->sent;
    return (uint64_t)in_kernel < connection->sent ? connection->sent - (uint64_t)in_kernel : 0;
}

bool srv_is_taking(struct srv_connection *connection)
{
    uint64_t before = connection->taken;

    connection->taken = taken_by(connection);
    return connection->taken >= before + SRV_PROGRESS;
}

/* Everything is sent, and the connection must end. */
static void end_connection(struct srv_connection *connection)
{
    if (connection->linger)
        srv_linger(connection);
    else
        srv_close(connection, false);
}

/* The proxy must be the side that closes an idle connection: else it may send a request just as we
 * close it. */
static enum srv_deadline_kind idle_kind(const struct srv_connection *connection)
{
    const struct srv_http *http = connection->http;

    if (connection->trusted)
        return SRV_DEADLINE_IDLE_TRUSTED;
    return http->settings.keeps_idle == NULL || http->settings.keeps_idle(http->settings.ctx)
               ? SRV_DEADLINE_IDLE
               : SRV_DEADLINE_IDLE_SHORT;
}

/* The connection's next request may be served: if it has arrived already, on the loop's next turn,
 * since this may run within a handler. Its head may have begun. */
void srv_go_on_reading(struct srv_connection *connection)
{
    struct srv_http *http = connection->http;

    if (connection->deadline.kind == SRV_DEADLINE_NONE)
        srv_set_deadline(connection, idle_kind(connection));
    if (connection->kept_len == 0) {
        srv_poll(connection, UV_READABLE);
    } else if (!connection->is_ready) {
        connection->is_ready = true;
        TAILQ_INSERT_TAIL(&http->ready, connection, ready);
    }
}

void srv_flush(struct srv_connection *connection)
{
    struct srv_http *http = connection->http;
    bool answered = gathered(connection) > 0 || !STAILQ_EMPTY(&connection->unsent);

    if (connection->state == SRV_CLOSED)
        return;
    if (!answered && http->reading == connection)
        return;
    if (!send_all(connection)) {
        if (connection->state == SRV_CLOSED)
            return;
        if (connection->state == SRV_READING)
            connection->state = SRV_SENDING;
        srv_poll(connection, UV_WRITABLE);
        if (connection->deadline.kind != SRV_DEADLINE_SEND) {
            connection->taken = taken_by(connection);
            srv_set_deadline(connection, SRV_DEADLINE_SEND);
        }
    } else if (connection->close && connection->slot == NULL) {
        end_connection(connection);
    } else if (connection->state == SRV_READING) {
        srv_go_on_reading(connection);
    }
}

void srv_writable(struct srv_connection *connection)
{
    struct srv_http *http = connection->http;

    assert(http->reading == NULL);
    if (!send_all(connection))
        return;
    srv_set_deadline(connection, SRV_DEADLINE_NONE);
    if (connection->state == SRV_WAITING || connection->state == SRV_STREAMING) {
        struct srv_slot *slot = connection->slot;
        if (connection->state == SRV_STREAMING && !slot->paused) {
            srv_set_deadline(connection, SRV_DEADLINE_BODY);
            srv_go_on_reading(connection);
        } else {
            srv_poll_waiting(connection);
        }
        if (slot->state == SRV_SLOT_ANSWERING && http->settings.on_room != NULL)
            http->settings.on_room(&slot->request, http->settings.ctx);
    } else if (connection->close) {
        end_connection(connection);
    } else {
        connection->state = SRV_READING;
        srv_go_on_reading(connection);
    }
}

/* --- Room to write in --- */

bool srv_write_room(struct srv_connection *connection, size_t most, struct ps_buf *ret_buf,
                    struct srv_segment **ret_segment)
{
    struct srv_http *http = connection->http;
    bool own = http->reading == connection || http->reading == NULL;

    *ret_segment = NULL;
    if (own && http->out_len + most > SRV_OUT_MAX && http->out_len > 0) {
        (void)send_all(connection);
        if (connection->state == SRV_CLOSED)
            return false;
    }
    if (own && most <= SRV_OUT_MAX && STAILQ_EMPTY(&connection->unsent)) {
        ps_buf_init(ret_buf, http->out + http->out_len, SRV_OUT_MAX - http->out_len);
        return true;
    }
    return srv_segment_room(connection, most, ret_buf, ret_segment);
}

bool srv_segment_room(struct srv_connection *connection, size_t most, struct ps_buf *ret_buf,
                      struct srv_segment **ret_segment)
{
    *ret_segment = add_segment(connection, most);
    if (*ret_segment == NULL)
        return false;
    ps_buf_init(ret_buf, (*ret_segment)->copy, most);
    return true;
}

void srv_written(struct srv_connection *connection, const struct ps_buf *buf,
                 struct srv_segment *segment)
{
    assert(!buf->overflow);
    if (segment == NULL) {
        connection->http->out_len += buf->len;
        return;
    }
    connection->unsent_len -= segment->len - buf->len;
    segment->len = buf->len;
}
