/* Hands requests over: those without a body in parts when they are whole; those with one as soon as
 * it is known how long it is. A short body is gathered first, so that its client's slowness costs
 * nobody but itself: whoever serves the request can answer it at once. A longer one, one of unknown
 * length that turns out longer, and any that finds no more room, is handed over as an upload.
 *
 * Always: all slots' gathered bytes together have at most SRV_GATHERED_MAX; each slot's at most
 * gather_max. Memory is taken for bytes that have arrived, not for those that a head announces. */
#include "gateway/server/http_internal.h"
#include "gateway/server/strict.h"

#include <stdlib.h>
#include <string.h>

#define GROW_MIN ((size_t)4096)

void srv_hand_over(struct srv_connection *connection, struct srv_slot *slot)
{
    struct srv_http *http = connection->http;
    struct srv_request *request = &slot->request;

    srv_set_deadline(connection, SRV_DEADLINE_NONE);
    request->request_id = request->header[SRV_H_REQUEST_ID];
    if (request->request_id.at == NULL || !srv_strict_request_id(request->request_id)) {
        srv_new_request_id(http, slot->request_id);
        request->request_id = (struct ps_str){slot->request_id, PS_UUID_LEN};
    }
    request->now_ns = http->now_ns;
    request->waited_ns = http->now_ns - http->came_ns;
    request->overdue = http->overdue;
    http->guard.load.requests++;
    http->guard.load.waited_ns += request->waited_ns;
    slot->close |= request->oversized;
    slot->state = SRV_SLOT_HANDED;
    srv_slot_count(slot, !request->is_upload);
    http->settings.on_request(request, http->settings.ctx);
}

/* False: it does not fit. */
static bool keep(struct srv_slot *slot, struct ps_str part)
{
    struct srv_http *http = slot->http;
    size_t len = slot->gathered_len + part.len, size = slot->gathered_size;

    if (len > http->settings.gather_max)
        return false;
    while (size < len)
        size = size == 0 ? GROW_MIN : 2 * size;
    if (size > slot->gathered_size) {
        char *grown = NULL;
        if (http->gathered - slot->gathered_size + size <= SRV_GATHERED_MAX)
            grown = realloc(slot->gathered, size);
        if (grown == NULL)
            return false;
        http->gathered += size - slot->gathered_size;
        slot->gathered = grown;
        slot->gathered_size = size;
    }
    if (part.len > 0)
        memcpy(slot->gathered + slot->gathered_len, part.at, part.len);
    slot->gathered_len = len;
    return true;
}

static bool is_streaming(const struct srv_connection *connection, const struct srv_slot *slot)
{
    return connection->slot == slot && connection->state == SRV_STREAMING;
}

/* Hands the request over, and gives its handler what was gathered, and then `part`: with `whole`
 * that is all of the body. */
static void hand_over_parts(struct srv_connection *connection, struct srv_slot *slot,
                            struct ps_str part, bool whole)
{
    slot->gathers = false;
    slot->unread = !whole;
    slot->progress = 0;
    slot->request.is_upload = !whole;
    srv_hand_over(connection, slot);
    if (connection->slot != slot || connection->state != SRV_WAITING)
        return; /* answered, or closed */
    connection->state = SRV_STREAMING;
    if (!whole)
        srv_set_deadline(connection, SRV_DEADLINE_BODY);
    if (slot->gathered_len > 0) {
        struct ps_str first = {slot->gathered, slot->gathered_len};
        srv_give_part(connection, slot, first, whole && part.len == 0);
        if (connection->slot == slot)
            srv_gathered_free(slot);
    }
    if (is_streaming(connection, slot) && (part.len > 0 || whole))
        srv_give_part(connection, slot, part, whole);
}

void srv_begin_parts(struct srv_connection *connection, struct srv_slot *slot,
                     const struct ps_http_head *head, size_t len)
{
    struct srv_request *request = &slot->request;
    size_t most = slot->http->settings.gather_max;
    bool chunked = head->framing == PS_HTTP_CHUNKED;

    request->in_parts = true;
    request->body_len = chunked ? -1 : (int64_t)head->body_len;
    if (head->expects_continue && len == 0 && !request->at_once)
        srv_go_on(connection);
    if (request->at_once || most == 0 || (!chunked && head->body_len > most)) {
        hand_over_parts(connection, slot, PS_STR(""), false);
        return;
    }
    if (request->head != &slot->parse) { /* the next head is parsed into the same place */
        slot->parse = *request->head;
        request->head = &slot->parse;
    }
    slot->gathers = true;
    srv_set_deadline(connection, SRV_DEADLINE_BODY);
}

static void note_progress(struct srv_connection *connection, struct srv_slot *slot, size_t len)
{
    slot->progress += len;
    if (slot->progress < SRV_PROGRESS)
        return;
    slot->progress = 0;
    srv_set_deadline(connection, SRV_DEADLINE_BODY);
}

static size_t gather_chunks(struct srv_connection *connection, struct srv_slot *slot,
                            const char *data, size_t len)
{
    size_t at = 0;

    while (at < len && slot->gathers) {
        struct ps_str part;
        size_t used = 0;
        enum ps_http_step step =
            ps_http_chunks_next(&slot->chunks, data + at, len - at, &used, &part);
        at += used;
        if (step == PS_HTTP_BAD) {
            const struct ps_http_rule_row *rule = &ps_http_rules[slot->chunks.rule];
            srv_refuse(connection, srv_rule_verdict(rule), rule->text);
            return len;
        }
        if (step == PS_HTTP_DONE) {
            hand_over_parts(connection, slot, PS_STR(""), true);
            return at;
        }
        if (step == PS_HTTP_DATA && !keep(slot, part)) {
            hand_over_parts(connection, slot, part, false);
            return at;
        }
    }
    note_progress(connection, slot, len);
    return at;
}

size_t srv_gather(struct srv_connection *connection, struct srv_slot *slot, const char *data,
                  size_t len)
{
    if (slot->framing == PS_HTTP_CHUNKED)
        return gather_chunks(connection, slot, data, len);
    struct ps_str part = {data, len < slot->body_left ? len : (size_t)slot->body_left};
    bool whole = part.len == slot->body_left;
    slot->body_left -= part.len;
    if (whole || !keep(slot, part))
        hand_over_parts(connection, slot, part, whole);
    else
        note_progress(connection, slot, part.len);
    return part.len;
}
