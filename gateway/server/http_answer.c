/* Answers out. An answer is collected in the slot of its request and becomes a response object of
 * the library when it is complete. Its body lies in the slot, which is given back only when
 * everything has been sent. An answer is queued
 * within the library's callback only. One that is given later, to a suspended request, waits in its
 * slot until the resumed connection calls back. */
#include "gateway/server/http_private.h"
#include "gateway/answers/problem.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct srv_shared_answer {
    int status;
    size_t references;
    struct MHD_Response *kept;    /* for connections that stay */
    struct MHD_Response *closing; /* the same with Connection: close */
};

static struct srv_slot *slot_of(struct srv_request *request)
{
    return (struct srv_slot *)request;
}

/* Of every answer that belongs to one request alone. */
static void put_request_id(struct srv_request *request)
{
    srv_answer_header(request, "X-Request-Id", request->request_id.at, request->request_id.len);
}

void srv_answer_header(struct srv_request *request, const char *name, const char *value, size_t len)
{
    struct srv_slot *slot = slot_of(request);
    assert(slot->header_count < SRV_ANSWER_HEADER_MAX &&
           len < sizeof slot->header_text - slot->header_used);
    if (len == 0) /* the library takes no empty value */
        return;
    char *copy = slot->header_text + slot->header_used;
    memcpy(copy, value, len);
    copy[len] = '\0';
    slot->header_used += len + 1;
    slot->header[slot->header_count++] = (struct srv_answer_field){name, copy, len};
}

struct ps_buf srv_answer_body(struct srv_request *request)
{
    struct ps_buf body;
    ps_buf_init(&body, slot_of(request)->text, SRV_ANSWER_TEXT_MAX);
    return body;
}

static bool add_header(struct MHD_Response *response, const char *name, const char *value)
{
    return MHD_add_response_header(response, name, value) == MHD_YES;
}

/* The header fields onto the response; destroys it and gives NULL when there is no memory. */
static struct MHD_Response *finish_response(struct srv_slot *slot, struct MHD_Response *response,
                                            const char *content_type, bool close)
{
    bool well = response != NULL;
    if (well && content_type != NULL)
        well = add_header(response, "Content-Type", content_type);
    for (size_t i = 0; well && i < slot->header_count; i++)
        well = add_header(response, slot->header[i].name, slot->header[i].value);
    if (well && (close || slot->http->draining))
        well = add_header(response, "Connection", "close");
    if (!well && response != NULL) {
        MHD_destroy_response(response);
        response = NULL;
    }
    return response;
}

/* The library prints a Date for each answer that has none; once a second is enough. */
static void put_date(struct srv_slot *slot)
{
    struct srv_http *http = slot->http;
    int64_t wall_ms = srv_connections_wall_ms(http->connections);
    if (http->date_s != wall_ms / 1000) {
        ps_http_date_format(wall_ms, http->date);
        http->date_s = wall_ms / 1000;
    }
    srv_answer_header(&slot->request, "Date", http->date, PS_HTTP_DATE_LEN);
}

void srv_slot_unlink(struct srv_slot *slot)
{
    if (slot->next != NULL)
        slot->next->prev = slot->prev;
    if (slot->prev != NULL)
        slot->prev->next = slot->next;
    else
        slot->http->suspended = slot->next;
    if (!slot->parked)
        slot->http->lingering--;
}

/* The request is answered: at once by its handler's return, or by its connection on the library's
 * next run. */
static void put_answer(struct srv_slot *slot, int status, struct MHD_Response *response)
{
    assert(slot->state == SRV_SLOT_HANDED || slot->state == SRV_SLOT_SUSPENDED);
    slot->status = status;
    slot->response = response;
    if (slot->state == SRV_SLOT_SUSPENDED) {
        srv_slot_unlink(slot);
        slot->http->ready = true;
    }
    if (slot->parked)
        MHD_resume_connection(slot->mhd);
    slot->state = SRV_SLOT_ANSWERED;
}

void srv_answer(struct srv_request *request, int status, const char *content_type,
                struct ps_str body, bool close)
{
    struct srv_slot *slot = slot_of(request);
    close |= request->oversized;
    put_date(slot);
    put_request_id(request);
    struct MHD_Response *response = MHD_create_response_from_buffer(
        body.len, (void *)(uintptr_t)body.at, MHD_RESPMEM_PERSISTENT);
    put_answer(slot, status, finish_response(slot, response, content_type, close));
}

void srv_answer_heap(struct srv_request *request, int status, const char *content_type, char *body,
                     size_t len)
{
    put_request_id(request);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(len, body, MHD_RESPMEM_MUST_FREE);
    if (response == NULL)
        free(body);
    put_answer(slot_of(request), status,
               finish_response(slot_of(request), response, content_type, false));
}

int srv_shared_answer_new(int status, const char *const *headers, struct ps_str body,
                          struct srv_shared_answer **ret_answer)
{
    struct srv_shared_answer *answer = calloc(1, sizeof *answer);
    if (answer == NULL)
        return PS_E_NOMEM;
    answer->status = status;
    answer->references = 1;
    /* Copied twice, since the library may still send a response when our last reference has gone.
     */
    answer->kept = MHD_create_response_from_buffer(body.len, (void *)(uintptr_t)body.at,
                                                   MHD_RESPMEM_MUST_COPY);
    answer->closing = MHD_create_response_from_buffer(body.len, (void *)(uintptr_t)body.at,
                                                      MHD_RESPMEM_MUST_COPY);
    if (answer->kept == NULL || answer->closing == NULL ||
        !add_header(answer->closing, "Connection", "close"))
        goto fail;
    for (; headers[0] != NULL; headers += 2)
        if (!add_header(answer->kept, headers[0], headers[1]) ||
            !add_header(answer->closing, headers[0], headers[1]))
            goto fail;
    *ret_answer = answer;
    return 0;
fail:
    srv_shared_answer_unref(answer);
    return PS_E_NOMEM;
}

void srv_shared_answer_unref(struct srv_shared_answer *answer)
{
    if (answer == NULL || --answer->references > 0)
        return;
    if (answer->kept != NULL)
        MHD_destroy_response(answer->kept);
    if (answer->closing != NULL)
        MHD_destroy_response(answer->closing);
    free(answer);
}

void srv_answer_shared(struct srv_request *request, struct srv_shared_answer *answer)
{
    struct srv_slot *slot = slot_of(request);
    answer->references++;
    slot->shared = answer;
    put_answer(slot, answer->status, slot->http->draining ? answer->closing : answer->kept);
}

void srv_new_request_id(struct srv_http *http, char ret_text[PS_UUID_LEN + 1])
{
    struct ps_uuid uuid;
    ps_uuid_next(&http->ids, srv_connections_wall_ms(http->connections), &uuid);
    ps_uuid_format(&uuid, ret_text);
}

/* Body and id of a refusal that needs no request. */
static void print_refusal(struct srv_http *http, enum ans_verdict verdict,
                          const struct ans_problem_detail *detail, struct ps_buf *body,
                          char ret_id[PS_UUID_LEN + 1])
{
    struct ps_str no_instance = {NULL, 0}; /* it may be the very thing that is malformed */
    srv_new_request_id(http, ret_id);
    ans_problem_print(body, verdict, detail, no_instance, (struct ps_str){ret_id, PS_UUID_LEN});
    assert(!body->overflow);
}

enum MHD_Result srv_refuse(struct srv_http *http, struct srv_connection *connection,
                           struct MHD_Connection *mhd, enum ans_verdict verdict, const char *text)
{
    struct ans_problem_detail detail = {.text = text, .seed = (uint64_t)connection->fd};
    struct srv_slot *slot = connection->request;
    char id[PS_UUID_LEN + 1];
    char memory[1024];
    char retry[24];
    struct ps_buf body;

    ps_buf_init(&body, memory, sizeof memory);
    print_refusal(http, verdict, &detail, &body, id);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(body.len, body.at, MHD_RESPMEM_MUST_COPY);
    bool well =
        response != NULL && add_header(response, "Content-Type", "application/problem+json") &&
        add_header(response, "Cache-Control", "no-store") &&
        add_header(response, "X-Request-Id", id) && add_header(response, "Connection", "close");
    int64_t after_s = ans_problem_retry_after(verdict, &detail);
    if (well && after_s > 0) {
        snprintf(retry, sizeof retry, "%" PRId64, after_s);
        well = add_header(response, "Retry-After", retry);
    }
    well = well &&
           MHD_queue_response(mhd, (unsigned)ans_verdicts[verdict].status, response) == MHD_YES;
    if (response != NULL)
        MHD_destroy_response(response);
    if (slot != NULL)
        slot->refused = true;
    http->unsent = true;
    srv_connection_deadline(connection, SRV_DEADLINE_SEND);
    http->on_refused(verdict, http->ctx);
    return well ? MHD_YES : MHD_NO;
}

void srv_refuse_unread(struct srv_http *http, struct srv_connection *connection,
                       enum ans_verdict verdict)
{
    unsigned status = (unsigned)ans_verdicts[verdict].status;
    char id[PS_UUID_LEN + 1];
    char body_memory[512];
    char memory[1024];
    struct ps_buf body, answer;

    ps_buf_init(&body, body_memory, sizeof body_memory);
    print_refusal(http, verdict, NULL, &body, id);
    ps_buf_init(&answer, memory, sizeof memory);
    ps_buf_printf(&answer,
                  "HTTP/1.1 %u %s\r\nContent-Type: "
                  "application/problem+json\r\nCache-Control: no-store\r\n"
                  "X-Request-Id: %s\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
                  status, MHD_get_reason_phrase_for(status), id, body.len);
    ps_buf_put(&answer, body.at, body.len);
    assert(!answer.overflow);
    /* A client too slow to take this either loses it: the connection ends all the same. */
    (void)!send(connection->fd, answer.at, answer.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    http->on_refused(verdict, http->ctx);
}

void srv_slot_drop_response(struct srv_slot *slot)
{
    if (slot->shared != NULL)
        srv_shared_answer_unref(slot->shared);
    else if (slot->response != NULL)
        MHD_destroy_response(slot->response);
    slot->shared = NULL;
    slot->response = NULL;
}

enum MHD_Result srv_slot_queue(struct srv_slot *slot)
{
    bool well = slot->response != NULL &&
                MHD_queue_response(slot->mhd, (unsigned)slot->status, slot->response) == MHD_YES;
    srv_slot_drop_response(slot); /* the library has a reference of its own */
    slot->http->unsent |= slot->run != slot->http->runs;
    srv_connection_deadline(slot->connection, SRV_DEADLINE_SEND);
    return well ? MHD_YES : MHD_NO;
}
