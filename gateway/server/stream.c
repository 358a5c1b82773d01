/* Bodies in parts, both ways. Nothing of them is kept but what one side has sent and the other has
 * not taken yet: a part of a request goes to the handler where it lies, and is read no further
 * while the handler says so; an answer waits for its client in segments, and the handler is told
 * when they are gone. */
#include "common/http/write.h"
#include "gateway/server/http_internal.h"

#include <assert.h>
#include <string.h>

/* Around the data of a chunk. */
#define CHUNK_FRAME_MAX ((size_t)24)

static struct srv_slot *slot_of(struct srv_request *request)
{
    return (struct srv_slot *)request;
}

/* --- The body of a request --- */

/* Gives a part to the handler. False: it wants no more for now, or the request is answered. */
static bool give_part(struct srv_connection *connection, struct srv_slot *slot, struct ps_str part,
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
        connection->state = SRV_WAITING;
        srv_set_deadline(connection, SRV_DEADLINE_NONE);
    }
    bool more = http->settings.on_part(&slot->request, part, last, http->ctx);
    if (connection->slot != slot || connection->state != SRV_STREAMING)
        return false;
    slot->paused = !more;
    if (slot->paused && connection->deadline.kind == SRV_DEADLINE_BODY)
        srv_set_deadline(connection, SRV_DEADLINE_NONE);
    return more;
}

static size_t read_sized(struct srv_connection *connection, struct srv_slot *slot, const char *data,
                         size_t len)
{
    size_t used = len < slot->body_left ? len : (size_t)slot->body_left;

    slot->body_left -= used;
    give_part(connection, slot, (struct ps_str){data, used}, slot->body_left == 0);
    return used;
}

size_t srv_read_parts(struct srv_connection *connection, struct srv_slot *slot, const char *data,
                      size_t len)
{
    struct ps_str part = {data, 0};
    size_t used = 0;

    if (slot->framing == PS_HTTP_BY_LENGTH)
        return read_sized(connection, slot, data, len);
    switch (ps_http_chunks_next(&slot->chunks, data, len, &used, &part)) {
    case PS_HTTP_BAD: /* the request has begun to be served: an answer of ours would come between */
        srv_close(connection, true);
        return len;
    case PS_HTTP_DATA:
        give_part(connection, slot, part, false);
        break;
    case PS_HTTP_DONE:
        give_part(connection, slot, (struct ps_str){data, 0}, true);
        break;
    case PS_HTTP_MORE:
        break;
    }
    return used;
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

void srv_answer_begin(struct srv_request *request, int status, const char *content_type,
                      int64_t len)
{
    struct srv_slot *slot = slot_of(request);
    struct srv_connection *connection = slot->connection;
    struct srv_segment *segment;
    struct ps_buf buf;

    if (slot->state == SRV_SLOT_LEFT)
        return;
    assert(slot->state == SRV_SLOT_SUSPENDED);
    slot->state = SRV_SLOT_ANSWERING;
    slot->is_sized = len >= 0 || !ps_http_has_body(status);
    slot->answer_left = len >= 0 && ps_http_has_body(status) && !slot->to_head ? (uint64_t)len : 0;
    slot->is_chunked = !slot->is_sized && slot->minor == 1 && !slot->to_head;
    slot->close |= slot->http->draining || slot->broken ||
                   (!slot->is_sized && !slot->is_chunked && !slot->to_head);
    if (slot->broken || !srv_write_room(connection, SRV_ANSWER_HEADER_TEXT + 512, &buf, &segment)) {
        srv_close(connection, true);
        return;
    }
    srv_put_head(&buf, slot, status, content_type, slot->close);
    if (len >= 0 && ps_http_has_length(status))
        ps_http_put_length(&buf, (uint64_t)len);
    if (slot->is_chunked)
        ps_buf_puts(&buf, "Transfer-Encoding: chunked\r\n");
    ps_buf_puts(&buf, "\r\n");
    srv_written(connection, &buf, segment);
    if (slot->http->reading != connection)
        srv_flush(connection);
}

bool srv_answer_part(struct srv_request *request, struct ps_str part)
{
    struct srv_slot *slot = slot_of(request);
    struct srv_connection *connection = slot->connection;
    struct srv_segment *segment;
    struct ps_buf buf;

    if (slot->state == SRV_SLOT_LEFT)
        return true; /* nobody reads it: let it end soon */
    assert(slot->state == SRV_SLOT_ANSWERING);
    if (part.len == 0 || slot->to_head)
        return true;
    assert(!slot->is_sized || part.len <= slot->answer_left);
    if (slot->is_sized)
        slot->answer_left -= part.len;
    if (!srv_write_room(connection, part.len + CHUNK_FRAME_MAX, &buf, &segment))
        return true;
    if (slot->is_chunked)
        ps_http_put_chunk_begin(&buf, part.len);
    ps_buf_put(&buf, part.at, part.len);
    if (slot->is_chunked)
        ps_http_put_chunk_end(&buf);
    srv_written(connection, &buf, segment);
    srv_flush(connection);
    return connection->unsent_len < SRV_UNSENT_MAX;
}

void srv_answer_end(struct srv_request *request, bool whole)
{
    struct srv_slot *slot = slot_of(request);
    struct srv_connection *connection = slot->connection;
    struct srv_segment *segment;
    struct ps_buf buf;

    if (slot->state == SRV_SLOT_LEFT) {
        srv_slot_free(slot);
        return;
    }
    assert(slot->state == SRV_SLOT_ANSWERING);
    if (!whole || slot->answer_left > 0) {
        connection->slot = NULL;
        srv_slot_free(slot);
        srv_close(connection, true);
        return;
    }
    if (slot->is_chunked) {
        if (!srv_write_room(connection, CHUNK_FRAME_MAX, &buf, &segment))
            return;
        ps_http_put_last_chunk(&buf);
        srv_written(connection, &buf, segment);
    }
    srv_finish_request(slot, slot->close || slot->unread);
}
