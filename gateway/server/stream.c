/* Bodies in parts, both ways. Only bytes that one side has sent and the other has not taken yet are
 * kept: a part of a request goes to the handler in place, and reading stops while the handler says
 * so; an answer waits for its client in segments, and the handler is called when they are sent. */
#include "common/http/write.h"
#include "gateway/server/http_internal.h"

#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* Around the data of a chunk. */
#define CHUNK_FRAME_MAX ((size_t)24)

static struct srv_slot *slot_of(struct srv_request *request)
{
    return (struct srv_slot *)request;
}

/* --- The body of a request --- */

void srv_give_part(struct srv_connection *connection, struct srv_slot *slot, struct ps_str part,
                   bool last)
{
    struct srv_http *http = connection->http;

    slot->progress += part.len;
    if (slot->progress >= SRV_PROGRESS && connection->deadline.kind != SRV_DEADLINE_SEND) {
        slot->progress = 0;
        srv_set_deadline(connection, SRV_DEADLINE_BODY);
    }
    if (last) {
        slot->unread = false;
        srv_slot_count(slot, slot->state != SRV_SLOT_ANSWERING);
        connection->state = SRV_WAITING;
        srv_set_deadline(connection, SRV_DEADLINE_NONE);
    }
    bool more = http->settings.on_part(&slot->request, part, last, http->settings.ctx);
    if (connection->slot != slot || connection->state != SRV_STREAMING)
        return;
    slot->paused = !more;
    if (slot->paused && connection->deadline.kind == SRV_DEADLINE_BODY)
        srv_set_deadline(connection, SRV_DEADLINE_NONE);
}

static size_t read_sized(struct srv_connection *connection, struct srv_slot *slot, const char *data,
                         size_t len)
{
    size_t used = len < slot->body_left ? len : (size_t)slot->body_left;

    slot->body_left -= used;
    srv_give_part(connection, slot, (struct ps_str){data, used}, slot->body_left == 0);
    return used;
}

size_t srv_read_parts(struct srv_connection *connection, struct srv_slot *slot, char *data,
                      size_t len)
{
    struct ps_str part = {data, 0};
    bool last = false;
    size_t at = 0;

    if (slot->framing == PS_HTTP_BY_LENGTH)
        return read_sized(connection, slot, data, len);
    while (at < len && !last) {
        struct ps_str piece;
        size_t used = 0;
        enum ps_http_step step =
            ps_http_chunks_next(&slot->chunks, data + at, len - at, &used, &piece);
        if (step == PS_HTTP_BAD) {
            /* The handler already serves the request: no answer of ours may come in between. */
            srv_close(connection, true);
            return len;
        }
        if (step == PS_HTTP_DATA && part.len == 0) {
            part = piece;
        } else if (step == PS_HTTP_DATA) {
            memmove(data + (part.at - data) + part.len, piece.at, piece.len);
            part.len += piece.len;
        }
        last = step == PS_HTTP_DONE;
        at += used;
    }
    if (last || part.len > 0)
        srv_give_part(connection, slot, part, last);
    return at;
}

void srv_resume(struct srv_request *request)
{
    struct srv_slot *slot = slot_of(request);
    struct srv_connection *connection = slot->connection;

    if (slot->state == SRV_SLOT_LEFT || !slot->paused)
        return;
    slot->paused = false;
    srv_set_deadline(connection, SRV_DEADLINE_BODY);
    if (STAILQ_EMPTY(&connection->unsent))
        srv_go_on_reading(connection);
}

/* --- The body of an answer --- */

/* Longer parts are sent in place; shorter ones are copied behind the bytes before them. */
#define COPY_MAX ((size_t)8 * 1024)

/* Sends `head` (the gathered bytes), the part and the end of its chunk in place; copies what the
 * client does not take. False: the connection has been closed. */
static bool send_part(struct srv_connection *connection, struct ps_str part, struct ps_str tail)
{
    struct srv_http *http = connection->http;
    struct iovec vector[] = {{http->out, http->out_len},
                             {(void *)(uintptr_t)part.at, part.len},
                             {(void *)(uintptr_t)tail.at, tail.len}};
    struct msghdr message = {.msg_iov = vector, .msg_iovlen = PS_ARRAY_LEN(vector)};
    size_t all = http->out_len + part.len + tail.len;
    ssize_t sent = sendmsg(connection->fd, &message, MSG_NOSIGNAL);
    struct srv_segment *segment;
    struct ps_buf buf;

    http->out_len = 0;
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        srv_close(connection, true);
        return false;
    }
    size_t gone = sent > 0 ? (size_t)sent : 0;
    connection->sent += gone;
    if (gone == all)
        return true;
    if (!srv_segment_room(connection, all - gone, &buf, &segment))
        return false;
    for (size_t i = 0; i < PS_ARRAY_LEN(vector); i++) {
        size_t skip = gone < vector[i].iov_len ? gone : vector[i].iov_len;
        gone -= skip;
        ps_buf_put(&buf, (const char *)vector[i].iov_base + skip, vector[i].iov_len - skip);
    }
    srv_written(connection, &buf, segment);
    return true;
}

/* Writes a part, which may be empty, and with `last` the end. False: the connection has been
 * closed. */
static bool put_part(struct srv_slot *slot, struct ps_str part, bool last)
{
    struct srv_connection *connection = slot->connection;
    bool chunked = slot->is_chunked;
    struct ps_str tail = !chunked        ? PS_STR("")
                         : part.len == 0 ? (last ? PS_STR("0\r\n\r\n") : PS_STR(""))
                         : last          ? PS_STR("\r\n0\r\n\r\n")
                                         : PS_STR("\r\n");
    struct srv_segment *segment;
    struct ps_buf buf;

    if (slot->is_sized && part.len > slot->answer_left) {
        srv_close(connection, true);
        return false;
    }
    if (slot->is_sized)
        slot->answer_left -= part.len;
    bool whole = part.len > COPY_MAX && connection->http->reading == NULL &&
                 STAILQ_EMPTY(&connection->unsent);
    size_t copied = whole ? 0 : part.len + tail.len;
    if (!srv_write_room(connection, CHUNK_FRAME_MAX + copied, &buf, &segment))
        return false;
    if (chunked && part.len > 0)
        ps_http_put_chunk_begin(&buf, part.len);
    if (!whole) {
        ps_buf_put(&buf, part.at, part.len);
        ps_buf_put(&buf, tail.at, tail.len);
    }
    srv_written(connection, &buf, segment);
    return !whole || send_part(connection, part, tail);
}

static bool has_room(const struct srv_connection *connection)
{
    return connection->unsent_len < SRV_UNSENT_MAX;
}

static void begin_answer(struct srv_slot *slot, int status, int64_t len)
{
    assert(slot->state == SRV_SLOT_SUSPENDED);
    slot->state = SRV_SLOT_ANSWERING;
    srv_slot_count(slot, false);
    slot->is_sized = len >= 0 || !ps_http_has_body(status);
    slot->answer_left = len >= 0 && ps_http_has_body(status) && !slot->to_head ? (uint64_t)len : 0;
    slot->is_chunked = !slot->is_sized && slot->minor == 1 && !slot->to_head;
    slot->close |= slot->http->draining || slot->broken ||
                   (!slot->is_sized && !slot->is_chunked && !slot->to_head);
}

static void put_framing(struct ps_buf *buf, const struct srv_slot *slot, int status, int64_t len)
{
    if (len >= 0 && ps_http_has_length(status))
        ps_http_put_length(buf, (uint64_t)len);
    if (slot->is_chunked)
        ps_buf_puts(buf, "Transfer-Encoding: chunked\r\n");
    ps_buf_puts(buf, "\r\n");
}

bool srv_answer_part(struct srv_request *request, struct ps_str part)
{
    struct srv_slot *slot = slot_of(request);
    struct srv_connection *connection = slot->connection;

    if (slot->state == SRV_SLOT_LEFT)
        return true; /* nobody reads it: end it soon */
    assert(slot->state == SRV_SLOT_ANSWERING);
    if (part.len == 0 || slot->to_head)
        return true;
    if (!put_part(slot, part, false))
        return true;
    srv_flush(connection);
    return has_room(connection);
}

size_t srv_answer_unsent(const struct srv_request *request)
{
    const struct srv_connection *connection = ((const struct srv_slot *)request)->connection;
    int in_kernel = 0;

    if (connection == NULL || ioctl(connection->fd, SIOCOUTQ, &in_kernel) != 0)
        return 0;
    return connection->unsent_len + (size_t)in_kernel;
}

bool srv_answer_is_left(const struct srv_request *request)
{
    return ((const struct srv_slot *)request)->state == SRV_SLOT_LEFT;
}

void srv_answer_bound(struct srv_request *request, int bytes)
{
    const struct srv_connection *connection = slot_of(request)->connection;

    if (connection != NULL)
        (void)setsockopt(connection->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}

/* The answer is incomplete and stays so. */
static void break_answer(struct srv_slot *slot)
{
    struct srv_connection *connection = slot->connection;

    connection->slot = NULL;
    srv_slot_free(slot);
    srv_close(connection, true);
}

static void finish(struct srv_slot *slot)
{
    if (slot->answer_left > 0)
        break_answer(slot);
    else
        srv_finish_request(slot, slot->close || slot->unread);
}

void srv_answer_last(struct srv_request *request, struct ps_str part)
{
    struct srv_slot *slot = slot_of(request);

    if (slot->state == SRV_SLOT_LEFT) {
        srv_slot_free(slot);
        return;
    }
    assert(slot->state == SRV_SLOT_ANSWERING);
    if (slot->to_head)
        part.len = 0;
    if (put_part(slot, part, true))
        finish(slot);
}

void srv_answer_end(struct srv_request *request, bool whole)
{
    struct srv_slot *slot = slot_of(request);

    if (!whole && slot->state != SRV_SLOT_LEFT)
        break_answer(slot);
    else
        srv_answer_last(request, PS_STR(""));
}

bool srv_answer_forward(struct srv_request *request, const struct srv_forward *head,
                        struct ps_str part, bool last)
{
    struct srv_slot *slot = slot_of(request);
    struct srv_connection *connection = slot->connection;
    struct srv_segment *segment;
    struct ps_buf buf;

    if (slot->state == SRV_SLOT_LEFT) {
        if (last)
            srv_slot_free(slot);
        return true;
    }
    begin_answer(slot, head->status, head->len);
    size_t most = head->fields.len + SRV_ANSWER_HEADER_TEXT + 512;
    if (slot->broken || !srv_write_room(connection, most, &buf, &segment)) {
        srv_close(connection, true);
        return true;
    }
    srv_put_forward(&buf, slot, head);
    put_framing(&buf, slot, head->status, head->len);
    srv_written(connection, &buf, segment);
    if (slot->to_head || !ps_http_has_body(head->status))
        part.len = 0;
    if (!put_part(slot, part, last))
        return true;
    if (last) {
        finish(slot);
        return true;
    }
    if (slot->http->reading != connection)
        srv_flush(connection);
    return has_room(connection);
}

void srv_answer_interim(struct srv_request *request, int status, struct ps_str fields)
{
    struct srv_slot *slot = slot_of(request);
    struct srv_segment *segment;
    struct ps_buf buf;

    if (slot->state != SRV_SLOT_SUSPENDED || slot->minor == 0 ||
        !srv_write_room(slot->connection, fields.len + 64, &buf, &segment))
        return;
    ps_http_put_status(&buf, status);
    ps_buf_put(&buf, fields.at, fields.len);
    ps_buf_puts(&buf, "\r\n");
    srv_written(slot->connection, &buf, segment);
    if (slot->http->reading != slot->connection)
        srv_flush(slot->connection);
}

/* One that only closed one direction gets its answer; one that has left must not hold a place. What
 * tells them apart is that the kernel of the latter resets the connection at the next byte. An
 * answer of 100 is one that every client of HTTP/1.1 skips (RFC 9110, 15.2.1). */
void srv_ask_whether_it_reads(struct srv_connection *connection)
{
    srv_poll(connection, UV_PRIORITIZED);
    srv_answer_interim(&connection->slot->request, 100, PS_STR(""));
}
