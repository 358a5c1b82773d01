/* Reads bytes. They are parsed in place: head by head, body by body, as long as the earlier
 * requests are answered. A request with a complete head is copied into its slot, a few hundred
 * bytes, so that nothing that the handler keeps points into the shared buffer. */
#include "gateway/server/http_internal.h"
#include "gateway/server/strict.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* NULL: none is free. */
static struct srv_slot *take_slot(struct srv_connection *connection)
{
    struct srv_http *http = connection->http;
    struct srv_slot *slot = ps_pool_take(http->slots);

    if (slot == NULL && srv_make_room(http, true))
        slot = ps_pool_take(http->slots);
    if (slot == NULL)
        return NULL;
    memset(slot, 0, offsetof(struct srv_slot, chunks));
    slot->http = http;
    slot->connection = connection;
    slot->head_len = slot->fields_len = 0;
    connection->slot = slot;
    return slot;
}

/* --- Bodies --- */

/* False: refused. */
static bool keep_body(struct srv_connection *connection, struct srv_slot *slot, struct ps_str part)
{
    size_t body_max = slot->request.body_max;
    struct ps_str *body = &slot->request.body;

    if (part.len > body_max - body->len)
        slot->request.oversized = true;
    if (!slot->request.oversized) {
        memcpy(srv_body_of(slot) + body->len, part.at, part.len);
        body->len += part.len;
        return true;
    }
    slot->discarded += part.len;
    if (slot->discarded <= body_max + SRV_DISCARD_MAX)
        return true;
    srv_refuse(connection, ANS_V_too_large, NULL); /* chunk framing without an end */
    return false;
}

/* Returns how many bytes were taken. */
static size_t read_chunks(struct srv_connection *connection, struct srv_slot *slot,
                          const char *data, size_t len)
{
    size_t at = 0;

    while (at < len) {
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
            srv_hand_over(connection, slot);
            return at;
        }
        if (step == PS_HTTP_DATA && !keep_body(connection, slot, part))
            return len;
    }
    return at;
}

static size_t read_body(struct srv_connection *connection, struct srv_slot *slot, const char *data,
                        size_t len)
{
    if (slot->gathers)
        return srv_gather(connection, slot, data, len);
    if (slot->framing == PS_HTTP_CHUNKED)
        return read_chunks(connection, slot, data, len);
    size_t used = len < slot->body_left ? len : (size_t)slot->body_left;
    slot->body_left -= used;
    if (!keep_body(connection, slot, (struct ps_str){data, used}))
        return len;
    if (slot->body_left == 0)
        srv_hand_over(connection, slot);
    return used;
}

/* --- Heads --- */

/* The head is complete and in the slot; `len` bytes have arrived after it. */
static void begin_body(struct srv_connection *connection, struct srv_slot *slot,
                       const struct ps_http_head *head, size_t len)
{
    struct srv_http *http = connection->http;
    struct srv_request *request = &slot->request;
    enum ans_verdict verdict;
    const char *why = NULL;

    if (connection->surplus) {
        srv_refuse(connection, ANS_V_too_many_connections, NULL);
        return;
    }
    if (http->closing) {
        srv_refuse(connection, ANS_V_draining, NULL);
        return;
    }
    if (!srv_request_fill(request, &http->settings, head, srv_head_of(slot), &verdict, &why)) {
        srv_refuse(connection, verdict, why);
        return;
    }
    request->peer = connection->peer;
    request->trusted = connection->trusted;
    request->forwards = connection->forwards;
    request->body_max = http->settings.body_max;
    request->arrived_ns = http->now_ns;
    request->body = (struct ps_str){srv_body_of(slot), 0};
    slot->close = !head->keep_alive;
    slot->minor = head->minor;
    slot->to_head = request->method == SRV_HEAD;
    slot->framing = head->framing;
    slot->body_left = head->framing == PS_HTTP_BY_LENGTH ? head->body_len : 0;
    slot->state = SRV_SLOT_BODY;
    ps_http_chunks_init(&slot->chunks);
    request->user = slot->rest;
    memset(request->user, 0, http->settings.user_size);
    bool in_parts =
        http->settings.on_head != NULL && http->settings.on_head(request, http->settings.ctx);
    if (in_parts && head->framing != PS_HTTP_NO_BODY) {
        srv_begin_parts(connection, slot, head, len);
        return;
    }
    if (slot->body_left > request->body_max) {
        request->oversized = true;
        /* A client that waits for 100 Continue has sent nothing yet. A short rest is read, so that
         * the client does not lose the answer. */
        if (slot->body_left > request->body_max + SRV_DISCARD_MAX || head->expects_continue) {
            srv_hand_over(connection, slot);
            return;
        }
    }
    if (head->framing == PS_HTTP_NO_BODY) {
        srv_hand_over(connection, slot);
        return;
    }
    request->head = NULL; /* the next head is parsed into the same place */
    if (head->expects_continue && len == 0)
        srv_go_on(connection);
    srv_set_deadline(connection, SRV_DEADLINE_BODY);
}

static void refuse_head(struct srv_connection *connection, const struct ps_http_head *head)
{
    char text[SRV_WHY_SIZE];

    srv_refuse(connection, srv_rule_verdict(&ps_http_rules[head->rule]),
               srv_strict_why(head, text));
}

/* Parses a head, or its beginning, at the start of `data`. Returns how many bytes were taken. */
static size_t read_head(struct srv_connection *connection, const char *data, size_t len)
{
    struct srv_http *http = connection->http;
    struct ps_http_head *head = &http->parse;

    ps_http_request_init(head, &http->limits);
    enum ps_http_step step = ps_http_head_parse(head, data, len);
    if (step == PS_HTTP_BAD) {
        refuse_head(connection, head);
        return len;
    }
    struct srv_slot *slot = take_slot(connection);
    if (slot == NULL) {
        srv_refuse(connection, ANS_V_shed, "no request slot is free");
        return len;
    }
    slot->head_len = step == PS_HTTP_DONE ? head->len : len;
    memcpy(srv_head_of(slot), data, slot->head_len);
    if (step == PS_HTTP_DONE)
        begin_body(connection, slot, head, len - slot->head_len);
    else
        slot->parse = *head;
    return slot->head_len;
}

/* Parses more of a head whose beginning is in the slot. */
static size_t read_more_head(struct srv_connection *connection, struct srv_slot *slot,
                             const char *data, size_t len)
{
    struct ps_http_head *head = &slot->parse;
    size_t had = slot->head_len, room = slot->http->limits.head_max + 1 - had;
    size_t used = len < room ? len : room;

    memcpy(srv_head_of(slot) + had, data, used);
    slot->head_len += used;
    enum ps_http_step step = ps_http_head_parse(head, srv_head_of(slot), slot->head_len);
    if (step == PS_HTTP_BAD) {
        refuse_head(connection, head);
        return len;
    }
    if (step == PS_HTTP_MORE)
        return used;
    used = head->len - had;
    begin_body(connection, slot, head, len - used);
    return used;
}

/* --- What was received --- */

/* May the connection's bytes be served now? */
static bool continues(const struct srv_connection *connection)
{
    return connection->state == SRV_READING ||
           (connection->state == SRV_STREAMING && !connection->slot->paused);
}

/* May they be served later? */
static bool may_continue(const struct srv_connection *connection)
{
    return connection->state != SRV_CLOSED && !connection->close;
}

static void keep_rest(struct srv_connection *connection, const char *data, size_t len)
{
    char *kept = realloc(connection->kept, connection->kept_len + len);

    if (kept == NULL) {
        srv_close(connection, true);
        return;
    }
    memcpy(kept + connection->kept_len, data, len);
    connection->kept = kept;
    connection->kept_len += len;
}

/* Serves requests from `data` until one waits, the client does not read answers, it is another
 * connection's turn, or no bytes are left. Returns how many bytes were taken. */
static size_t serve(struct srv_connection *connection, char *data, size_t len)
{
    struct srv_http *http = connection->http;
    uint64_t last = http->guard.load.requests + http->settings.turn_max;
    size_t at = 0;

    http->reading = connection;
    while (at < len && http->guard.load.requests < last &&
           connection->unsent_len < SRV_UNSENT_MAX && continues(connection)) {
        struct srv_slot *slot = connection->slot;
        if (connection->state == SRV_STREAMING)
            at += srv_read_parts(connection, slot, data + at, len - at);
        else if (slot == NULL)
            at += read_head(connection, data + at, len - at);
        else if (slot->state == SRV_SLOT_HEAD)
            at += read_more_head(connection, slot, data + at, len - at);
        else
            at += read_body(connection, slot, data + at, len - at);
    }
    srv_flush(connection);
    http->reading = NULL;
    return at;
}

/* The client has sent its last byte. */
static void on_end(struct srv_connection *connection)
{
    if (connection->state == SRV_WAITING)
        srv_ask_whether_it_reads(connection);
    else
        srv_close(connection, false);
}

/* Keeps the bytes that were not served, and polls the connection for what it waits for. */
static void end_reading(struct srv_connection *connection)
{
    if (!STAILQ_EMPTY(&connection->unsent))
        return;
    if (connection->kept_len > 0 && continues(connection))
        srv_go_on_reading(connection);
    else if (connection->state == SRV_WAITING || connection->state == SRV_STREAMING)
        srv_poll_waiting(connection);
}

void srv_readable(struct srv_connection *connection)
{
    struct srv_http *http = connection->http;

    if (PS_UNLIKELY(connection->state == SRV_PROXYING) && !srv_proxy_read(connection))
        return;
    ssize_t received = recv(connection->fd, http->in, sizeof http->in, 0);

    if (received < 0) {
        if (errno != EAGAIN && errno != EINTR)
            srv_close(connection, true);
        return;
    }
    if (received == 0) {
        on_end(connection);
        return;
    }
    if (PS_UNLIKELY(http->guard.slept))
        srv_guard_ask(connection);
    size_t len = (size_t)received, used = 0;
    if (connection->state == SRV_LINGERING)
        return;
    if (connection->state == SRV_READING || connection->state == SRV_STREAMING)
        used = serve(connection, http->in, len);
    if (used < len && may_continue(connection))
        keep_rest(connection, http->in + used, len - used);
    end_reading(connection);
}

void srv_read_kept(struct srv_connection *connection)
{
    char *kept = connection->kept;
    size_t len = connection->kept_len;

    if (connection->is_ready)
        TAILQ_REMOVE(&connection->http->ready, connection, ready);
    connection->is_ready = false;
    if (!continues(connection))
        return;
    connection->kept = NULL;
    connection->kept_len = 0;
    size_t used = len > 0 ? serve(connection, kept, len) : 0;
    if (used < len && may_continue(connection)) {
        memmove(kept, kept + used, len - used);
        connection->kept = kept;
        connection->kept_len = len - used;
    } else {
        free(kept);
    }
    end_reading(connection);
    if (connection->state == SRV_READING && connection->kept_len == 0)
        srv_poll(connection, UV_READABLE);
}

/* --- A head that nobody has sent --- */

bool srv_request_describe(const struct srv_http *http, struct ps_str text,
                          struct srv_described *ret_described)
{
    struct ps_http_head *head = &ret_described->head;

    ret_described->request = (struct srv_request){0};
    ps_http_request_init(head, &http->limits);
    enum ps_http_step step = ps_http_head_parse(head, text.at, text.len);
    enum ans_verdict verdict =
        step == PS_HTTP_BAD ? srv_rule_verdict(&ps_http_rules[head->rule]) : ANS_V_malformed;
    bool is_taken =
        step == PS_HTTP_DONE && srv_request_fill(&ret_described->request, &http->settings, head,
                                                 text.at, &verdict, &ret_described->why);
    ret_described->verdict = (int)verdict;
    if (step == PS_HTTP_DONE)
        return is_taken;
    ret_described->why =
        step == PS_HTTP_BAD ? srv_strict_why(head, ret_described->text) : "it has no end";
    return false;
}

void srv_described_free(struct srv_described *described)
{
    free(described->request.made);
    described->request.made = NULL;
}
