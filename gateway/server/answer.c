/* Prints answers into the buffers from which send.c sends them. */
#include "common/http/write.h"
#include "common/text/charset.h"
#include "gateway/server/http_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Status line, the server's own fields, and the empty line. */
#define OWN_FIELDS_MAX ((size_t)512)
/* A shorter body is copied behind its head: cheaper than a second part. */
#define HELD_MIN ((size_t)16 * 1024)

struct srv_shared_answer {
    int status;
    size_t references;
    size_t head_len, body_len;
    char *body; /* behind the head in `text` */
    char text[];
};

/* --- Writing --- */

static const char *date_of(struct srv_http *http)
{
    if (http->date_s != http->wall_ms / 1000) {
        char date[PS_HTTP_DATE_LEN + 1];
        ps_http_date_format(http->wall_ms, date);
        memcpy(http->date, "Date: ", 6);
        memcpy(http->date + 6, date, PS_HTTP_DATE_LEN);
        memcpy(http->date + 6 + PS_HTTP_DATE_LEN, "\r\n", 2);
        http->date_s = http->wall_ms / 1000;
    }
    return http->date;
}

/* The request is answered: frees its slot; its connection continues or ends. */
void srv_finish_request(struct srv_slot *slot, bool close)
{
    struct srv_connection *connection = slot->connection;
    bool unread = slot->request.oversized || slot->unread;

    srv_slot_free(slot);
    connection->slot = NULL;
    if (close) {
        connection->close = true;
        connection->linger = unread;
        connection->state = SRV_SENDING;
    } else {
        connection->state = SRV_READING;
    }
    if (connection->http->reading != connection)
        srv_flush(connection);
}

struct answer {
    int status;
    const char *content_type; /* NULL: none */
    struct ps_str fields;     /* lines of text */
    struct ps_str request_id; /* .len == 0: none */
    struct ps_str body;
    bool close;
};

static void put_fields(struct ps_buf *buf, struct srv_http *http, const struct answer *answer)
{
    ps_http_put_status(buf, answer->status);
    ps_buf_put(buf, date_of(http), sizeof http->date);
    if (answer->content_type != NULL)
        ps_http_put_known(buf, PS_STR("Content-Type"), ps_str(answer->content_type));
    ps_buf_put(buf, answer->fields.at, answer->fields.len);
    if (answer->request_id.len > 0)
        ps_http_put_known(buf, PS_STR("X-Request-Id"), answer->request_id);
    if (answer->close)
        ps_buf_puts(buf, "Connection: close\r\n");
}

void srv_put_forward(struct ps_buf *buf, struct srv_slot *slot, const struct srv_forward *head)
{
    ps_http_put_status(buf, head->status);
    if (!head->is_dated)
        ps_buf_put(buf, date_of(slot->http), sizeof slot->http->date);
    ps_buf_put(buf, head->fields.at, head->fields.len);
    ps_buf_put(buf, slot->fields, slot->fields_len);
    ps_http_put_known(buf, PS_STR("X-Request-Id"), slot->request.request_id);
    if (slot->close)
        ps_buf_puts(buf, "Connection: close\r\n");
}

static void put_answer(struct ps_buf *buf, struct srv_http *http, const struct answer *answer,
                       bool with_body)
{
    put_fields(buf, http, answer);
    if (ps_http_has_length(answer->status))
        ps_http_put_length(buf, answer->body.len);
    ps_buf_puts(buf, "\r\n");
    if (with_body)
        ps_buf_put(buf, answer->body.at, answer->body.len);
}

/* `heap` is then the body, freed after it is sent. */
static void answer_request(struct srv_slot *slot, struct answer answer, char *heap)
{
    struct srv_connection *connection = slot->connection;
    struct srv_http *http = slot->http;
    bool with_body = !slot->to_head && ps_http_has_body(answer.status);
    struct srv_segment *segment;
    struct ps_buf buf;

    assert(slot->state >= SRV_SLOT_HANDED);
    http->guard.load.refused += answer.status >= 400;
    if (slot->state == SRV_SLOT_LEFT) {
        free(heap);
        srv_slot_free(slot);
        return;
    }
    if (slot->broken) {
        free(heap);
        connection->slot = NULL;
        srv_slot_free(slot);
        srv_close(connection, true);
        return;
    }
    answer.close |= slot->close || slot->unread || http->draining;
    size_t most = OWN_FIELDS_MAX + answer.fields.len + (heap == NULL ? answer.body.len : 0);
    if (!srv_write_room(connection, most, &buf, &segment)) {
        free(heap);
        return;
    }
    put_answer(&buf, http, &answer, with_body && heap == NULL);
    srv_written(connection, &buf, segment);
    if (heap != NULL && with_body && answer.body.len > 0) {
        if (!srv_add_held(connection, answer.body, free, heap))
            return;
    } else {
        free(heap);
    }
    srv_finish_request(slot, answer.close);
}

/* --- The interface --- */

static struct srv_slot *slot_of(struct srv_request *request)
{
    return (struct srv_slot *)request;
}

struct ps_buf srv_fields_begin(struct srv_request *request)
{
    struct srv_slot *slot = slot_of(request);
    struct ps_buf fields;

    ps_buf_init(&fields, slot->fields + slot->fields_len, sizeof slot->fields - slot->fields_len);
    return fields;
}

void srv_fields_end(struct srv_request *request, const struct ps_buf *fields)
{
    slot_of(request)->broken |= fields->overflow;
    slot_of(request)->fields_len += fields->overflow ? 0 : fields->len;
}

void srv_answer_header(struct srv_request *request, const char *name, const char *value, size_t len)
{
    struct srv_slot *slot = slot_of(request);
    struct ps_buf fields = srv_fields_begin(request);

    slot->broken |= ps_has_control(value, len);
    if (len == 0 || slot->broken)
        return;
    ps_http_put_known(&fields, ps_str(name), (struct ps_str){value, len});
    srv_fields_end(request, &fields);
}

struct ps_buf srv_answer_body(struct srv_request *request)
{
    struct ps_buf body;

    ps_buf_init(&body, slot_of(request)->text, SRV_ANSWER_TEXT_MAX);
    return body;
}

/* Answers with the fields added so far; frees `heap` (or NULL) with the answer. */
static void answer_with(struct srv_request *request, int status, const char *content_type,
                        struct ps_str body, bool close, char *heap)
{
    struct srv_slot *slot = slot_of(request);

    answer_request(slot,
                   (struct answer){.status = status,
                                   .content_type = content_type,
                                   .fields = {slot->fields, slot->fields_len},
                                   .request_id = request->request_id,
                                   .body = body,
                                   .close = close},
                   heap);
}

void srv_answer(struct srv_request *request, int status, const char *content_type,
                struct ps_str body, bool close)
{
    answer_with(request, status, content_type, body, close, NULL);
}

void srv_answer_heap(struct srv_request *request, int status, const char *content_type, char *body,
                     size_t len)
{
    answer_with(request, status, content_type, (struct ps_str){body, len}, false, body);
}

int srv_shared_answer_new(int status, const char *const *headers, struct ps_str body,
                          struct srv_shared_answer **ret_answer)
{
    size_t room = body.len;
    struct ps_buf buf;

    for (size_t i = 0; headers[i] != NULL; i++)
        room += strlen(headers[i]) + 4;
    struct srv_shared_answer *answer = malloc(sizeof *answer + room);
    if (answer == NULL)
        return PS_E_NOMEM;
    ps_buf_init(&buf, answer->text, room);
    for (; headers[0] != NULL; headers += 2)
        ps_http_put_known(&buf, ps_str(headers[0]), ps_str(headers[1]));
    *answer = (struct srv_shared_answer){.status = status,
                                         .references = 1,
                                         .head_len = buf.len,
                                         .body_len = body.len,
                                         .body = answer->text + buf.len};
    ps_buf_put(&buf, body.at, body.len);
    *ret_answer = answer;
    return 0;
}

void srv_shared_answer_unref(struct srv_shared_answer *answer)
{
    if (answer != NULL && --answer->references == 0)
        free(answer);
}

void srv_answer_shared(struct srv_request *request, struct srv_shared_answer *answer)
{
    answer_request(slot_of(request),
                   (struct answer){.status = answer->status,
                                   .fields = {answer->text, answer->head_len},
                                   .body = {answer->body, answer->body_len}},
                   NULL);
}

void srv_answer_held(struct srv_request *request, const struct srv_forward *head,
                     struct ps_str body, void (*release)(void *held), void *held)
{
    struct srv_slot *slot = slot_of(request);
    struct srv_connection *connection = slot->connection;
    struct srv_segment *segment;
    struct ps_buf buf;

    if (slot->state == SRV_SLOT_LEFT || slot->broken) {
        release(held);
        if (connection != NULL)
            connection->slot = NULL;
        srv_slot_free(slot);
        if (connection != NULL)
            srv_close(connection, true);
        return;
    }
    if (slot->to_head || !ps_http_has_body(head->status))
        body.len = 0;
    slot->close |= slot->unread || slot->http->draining;
    size_t copied = body.len <= HELD_MIN ? body.len : 0;
    size_t most = OWN_FIELDS_MAX + head->fields.len + slot->fields_len + copied;
    if (!srv_write_room(connection, most, &buf, &segment)) {
        release(held);
        return;
    }
    srv_put_forward(&buf, slot, head);
    if (ps_http_has_length(head->status))
        ps_http_put_length(&buf, (uint64_t)head->len);
    ps_buf_puts(&buf, "\r\n");
    ps_buf_put(&buf, body.at, copied);
    srv_written(connection, &buf, segment);
    if (copied == body.len)
        release(held);
    else if (!srv_add_held(connection, body, release, held))
        return;
    srv_finish_request(slot, slot->close);
}

/* --- What the server says by itself --- */

void srv_new_request_id(struct srv_http *http, char ret_text[PS_UUID_LEN + 1])
{
    struct ps_uuid uuid;

    ps_uuid_next(&http->ids, http->wall_ms, &uuid);
    ps_uuid_format(&uuid, ret_text);
}

enum ans_verdict srv_rule_verdict(const struct ps_http_rule_row *rule)
{
    switch (rule->status) {
    case 413:
        return ANS_V_too_large;
    case 505:
        return ANS_V_version_not_supported;
    case 414:
        return ANS_V_uri_too_long;
    case 431:
        return ANS_V_headers_too_large;
    default:
        return ANS_V_malformed;
    }
}

void srv_refuse(struct srv_connection *connection, enum ans_verdict verdict, const char *text)
{
    struct srv_http *http = connection->http;
    struct ans_problem_detail detail = {.text = text, .seed = (uint64_t)connection->fd};
    struct ps_str no_instance = {NULL, 0}; /* the target may be what is malformed */
    char id[PS_UUID_LEN + 1], body_memory[1024], fields_memory[128];
    struct srv_segment *segment;
    struct ps_buf body, fields, buf;

    srv_new_request_id(http, id);
    ps_buf_init(&body, body_memory, sizeof body_memory);
    ans_problem_print(&body, verdict, &detail, no_instance, (struct ps_str){id, PS_UUID_LEN});
    ps_buf_init(&fields, fields_memory, sizeof fields_memory);
    ps_http_put_known(&fields, PS_STR("Cache-Control"), PS_STR("no-store"));
    int64_t after_s = ans_problem_retry_after(verdict, &detail);
    if (after_s > 0) {
        ps_buf_puts(&fields, "Retry-After: ");
        ps_buf_put_int(&fields, after_s);
        ps_buf_puts(&fields, "\r\n");
    }
    assert(!body.overflow && !fields.overflow);
    struct answer answer = {.status = ans_verdicts[verdict].status,
                            .content_type = "application/problem+json",
                            .fields = {fields.at, fields.len},
                            .request_id = {id, PS_UUID_LEN},
                            .body = {body.at, body.len},
                            .close = true};
    http->settings.on_refused((int)verdict, http->settings.ctx);
    if (!srv_write_room(connection, OWN_FIELDS_MAX + fields.len + body.len, &buf, &segment))
        return;
    put_answer(&buf, http, &answer, true);
    srv_written(connection, &buf, segment);
    if (connection->slot != NULL)
        srv_slot_free(connection->slot);
    connection->slot = NULL;
    connection->close = connection->linger = true;
    connection->state = SRV_SENDING;
    if (http->reading != connection)
        srv_flush(connection);
}

int64_t srv_wall_ms(const struct srv_request *request)
{
    return ((const struct srv_slot *)request)->http->wall_ms;
}

void srv_go_on(struct srv_connection *connection)
{
    struct srv_segment *segment;
    struct ps_buf buf;

    if (!srv_write_room(connection, OWN_FIELDS_MAX, &buf, &segment))
        return;
    ps_http_put_status(&buf, 100);
    ps_buf_puts(&buf, "\r\n");
    srv_written(connection, &buf, segment);
}
