/* Bytes in. HTTP on one loop: libmicrohttpd in external epoll mode, and what it does not do.
 * - Loop: the library's epoll descriptor is polled by the loop. Whatever makes it ready, and every
 *   answer to a kept request, only sets `ready`; the check phase then calls MHD_run once. Its
 * sockets are edge-triggered, so what MHD_get_timeout announces is served on the next turn.
 * - Connections are accepted and timed by connections.c: only so can there be several listen
 * sockets, a soft limit that answers, a drain that loses nobody, and deadlines that a byte now and
 * then does not move.
 * - Requests: the library tells of the target (on_target), then the head, each part of the body and
 *   the end (on_part). A request lives in a slot from its target until its answer is sent, and with
 *   it everything that it and its answer point to. What strict.c refuses, or what is too large or
 *   too much, is answered by srv_refuse() and the connection closes.
 * Must hold: the library never stops while a connection is suspended (it would abort the process);
 * a response is queued within on_part only. */
#include "gateway/server/http_private.h"
#include "gateway/server/problem.h"
#include "gateway/server/strict.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A body that is too large is read to its end up to here, so that the client sees the 413. */
#define DISCARD_MAX ((size_t)64 * 1024)
/* How long a kept request lingers, and how often one is looked at when nothing else happens. */
#define LINGER_NS      (20 * PS_NS_PER_MS)
#define LINGER_TICK_MS 1
/* So many of them are a crowd: see run(). */
#define CROWD 8

uint64_t srv_suspend(struct srv_request *request)
{
    struct srv_slot *slot = (struct srv_slot *)request;
    struct srv_http *http = slot->http;
    assert(slot->state == SRV_SLOT_HANDED);
    slot->state = SRV_SLOT_SUSPENDED;
    slot->prev = NULL;
    slot->next = http->suspended;
    if (slot->next != NULL)
        slot->next->prev = slot;
    http->suspended = slot;
    http->lingering++;
    return ps_pool_handle(http->slots, slot);
}

struct srv_request *srv_find(struct srv_http *http, uint64_t handle)
{
    struct srv_slot *slot = ps_pool_find(http->slots, handle);
    return slot != NULL && slot->state == SRV_SLOT_SUSPENDED ? &slot->request : NULL;
}

static struct srv_connection *connection_of(struct MHD_Connection *mhd)
{
    return MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

static void *user_of(struct srv_slot *slot)
{
    return slot->rest;
}

static char *body_of(struct srv_slot *slot, const struct srv_http *http)
{
    return (char *)slot->rest + http->user_span;
}

static bool has_many_parameters(const char *uri)
{
    const char *mark = strchr(uri, '?');
    size_t count = 0;
    for (; mark != NULL && count <= SRV_PARAMETERS_MAX; count++)
        mark = strchr(mark + 1, '&');
    return count > SRV_PARAMETERS_MAX;
}

/* The library keeps an entry for each parameter, and waits for ever when its memory is too small
 * for them all. */
static void refuse_parameters(struct srv_slot *slot)
{
    slot->refused = true;
    srv_refuse_unread(slot->http, slot->connection, ANS_V_uri_too_long);
    srv_connection_cut(slot->connection);
}

/* The library has read a request line. `uri` may be NULL. */
static void *on_target(void *ctx, const char *uri, struct MHD_Connection *mhd)
{
    struct srv_http *http = ctx;
    struct srv_slot *slot = ps_pool_take(http->slots);
    if (slot == NULL)
        return NULL;
    memset(slot, 0, offsetof(struct srv_slot, request_id));
    slot->http = http;
    slot->run = http->runs;
    slot->connection = connection_of(mhd);
    slot->connection->request = slot;
    slot->mhd = mhd;
    slot->raw_target = uri;
    if (uri != NULL) {
        slot->target_len = strlen(uri);
        memcpy(slot->target, uri,
               slot->target_len < SRV_TARGET_MAX ? slot->target_len : SRV_TARGET_MAX);
        if (has_many_parameters(uri))
            refuse_parameters(slot);
    }
    return slot;
}

/* The library unescapes the target in place; we want it raw. */
static size_t keep_escapes(void *ctx, struct MHD_Connection *mhd, char *text)
{
    (void)ctx;
    (void)mhd;
    return strlen(text);
}

/* The library forgets the connection until it is resumed. */
static void park(struct srv_slot *slot)
{
    MHD_suspend_connection(slot->mhd);
    slot->parked = true;
    slot->http->lingering--;
}

static enum MHD_Result hand_over(struct srv_slot *slot)
{
    struct srv_http *http = slot->http;
    struct srv_connection *connection = slot->connection;
    struct srv_request *request = &slot->request;

    if (http->closing)
        return srv_refuse(http, connection, slot->mhd, ANS_V_draining, NULL);
    srv_deadline_clear(&connection->deadline);
    request->request_id = request->header[SRV_H_REQUEST_ID];
    if (request->request_id.at == NULL || !srv_strict_request_id(request->request_id)) {
        srv_new_request_id(http, slot->request_id);
        request->request_id = (struct ps_str){slot->request_id, PS_UUID_LEN};
    }
    request->user = user_of(slot);
    memset(request->user, 0, http->settings.user_size);
    slot->state = SRV_SLOT_HANDED;
    http->in_flight++;
    http->on_request(request, http->ctx);

    if (slot->state == SRV_SLOT_ANSWERED)
        return srv_slot_queue(slot);
    assert(slot->state == SRV_SLOT_SUSPENDED && !request->oversized);
    slot->kept_ns = srv_connections_now_ns(http->connections);
    if (http->settings.on_gone == NULL || !http->layout_known)
        park(slot);
    return MHD_YES;
}

static enum MHD_Result on_head(struct srv_http *http, struct srv_connection *connection,
                               struct MHD_Connection *mhd, const char *method, const char *version)
{
    struct srv_slot *slot = connection->request;
    struct srv_head head;

    if (slot == NULL)
        return srv_refuse(http, connection, mhd, ANS_V_shed, "no request slot is free");
    if (connection->surplus)
        return srv_refuse(http, connection, mhd, ANS_V_too_many_connections, NULL);
    if (slot->target_len > SRV_TARGET_MAX)
        return srv_refuse(http, connection, mhd, ANS_V_uri_too_long, NULL);
    if (!srv_head_read(slot, method, version, &head))
        return srv_refuse(http, connection, mhd, head.refusal, head.why);

    slot->chunked = head.chunked;
    slot->request.peer = connection->peer;
    slot->request.arrived_ns = srv_connections_now_ns(http->connections);
    slot->request.body = (struct ps_str){body_of(slot, http), 0};
    if (head.content_length > http->settings.body_max) {
        slot->request.oversized = true;
        /* A client that waits for 100 Continue has sent nothing yet; a short rest is read, so that
         * it does not lose the answer. */
        if (head.content_length > http->settings.body_max + DISCARD_MAX ||
            MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, "Expect") != NULL)
            return hand_over(slot);
    }
    srv_connection_deadline(connection, SRV_DEADLINE_BODY);
    return MHD_YES;
}

static enum MHD_Result on_body(struct srv_slot *slot, const char *part, size_t len)
{
    struct srv_http *http = slot->http;
    struct ps_str *body = &slot->request.body;

    if (len > http->settings.body_max - body->len)
        slot->request.oversized = true;
    if (slot->request.oversized) {
        slot->discarded += len;
        if (slot->discarded <= http->settings.body_max + DISCARD_MAX)
            return MHD_YES;
        srv_refuse_unread(http, slot->connection, ANS_V_too_large); /* chunks without an end */
        return MHD_NO;
    }
    memcpy(body_of(slot, http) + body->len, part, len);
    body->len += len;
    return MHD_YES;
}

/* A kept request, asked for its answer again. Parking takes a connection out of the epoll set, and
 * resuming it puts it back and reads in vain: four system calls, which was a tenth of an accepted
 * order. So a request that is kept lingers first. The library then calls back with every run, and
 * says that it has something to do at all times; run() knows better. An order is mostly decided
 * within a few milliseconds. What takes longer is parked, so that no run asks thousands. */
static enum MHD_Result on_kept(struct srv_slot *slot)
{
    struct srv_http *http = slot->http;
    if (srv_connections_now_ns(http->connections) - slot->kept_ns > LINGER_NS)
        park(slot);
    return MHD_YES;
}

static enum MHD_Result on_complete(struct srv_slot *slot)
{
    const char *fault = slot->chunked ? srv_head_trailer_fault(slot->mhd) : NULL;

    if (fault != NULL)
        return srv_refuse(slot->http, slot->connection, slot->mhd, ANS_V_malformed, fault);
    return hand_over(slot);
}

/* The library calls this for the head, for each part of the body, for the end of the request, and
 * again when a suspended connection is resumed. */
static enum MHD_Result on_part(void *ctx, struct MHD_Connection *mhd, const char *url,
                               const char *method, const char *version, const char *part,
                               size_t *part_len, void **request_ctx)
{
    struct srv_slot *slot = *request_ctx;
    (void)url;

    if (slot != NULL && slot->state == SRV_SLOT_SUSPENDED) /* has no deadline, so it is not cut */
        return on_kept(slot);
    struct srv_connection *connection = connection_of(mhd);
    if (connection->cut) /* what came after its refusal does not count */
        return MHD_NO;
    if (slot == NULL || slot->request.body.at == NULL)
        return on_head(ctx, connection, mhd, method, version);
    if (*part_len > 0) {
        size_t len = *part_len;
        *part_len = 0;
        return on_body(slot, part, len);
    }
    return slot->state == SRV_SLOT_ANSWERED ? srv_slot_queue(slot) : on_complete(slot);
}

/* What the library refused with a page of its own. */
static int verdict_of_status(unsigned status)
{
    switch (status) {
    case MHD_HTTP_CONTENT_TOO_LARGE:
        return ANS_V_too_large;
    case MHD_HTTP_URI_TOO_LONG:
        return ANS_V_uri_too_long;
    case MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE:
        return ANS_V_headers_too_large;
    default:
        return ANS_V_malformed;
    }
}

static void release(struct srv_slot *slot)
{
    struct srv_http *http = slot->http;
    assert(slot->state != SRV_SLOT_HANDED);
    if (slot->state == SRV_SLOT_SUSPENDED) { /* reset by its client while it lingered */
        srv_slot_unlink(slot);
        http->settings.on_gone(&slot->request, http->ctx);
    }
    if (slot->state != SRV_SLOT_READING)
        http->in_flight--;
    srv_slot_drop_response(slot);
    slot->connection->request = NULL;
    ps_pool_give(http->slots, slot);
}

/* The answer is sent, or the request ended without one. */
static void on_done(void *ctx, struct MHD_Connection *mhd, void **request_ctx,
                    enum MHD_RequestTerminationCode code)
{
    struct srv_http *http = ctx;
    struct srv_connection *connection = connection_of(mhd);
    struct srv_slot *slot = *request_ctx;
    (void)code;

    if (slot != NULL && slot->state == SRV_SLOT_READING && !slot->refused) {
        const union MHD_ConnectionInfo *status =
            MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_HTTP_STATUS);
        if (status != NULL)
            http->on_refused(verdict_of_status(status->http_status), http->ctx);
    }
    if (slot != NULL)
        release(slot);
    *request_ctx = NULL;
    srv_connection_deadline(connection,
                            connection->trusted ? SRV_DEADLINE_IDLE_TRUSTED : SRV_DEADLINE_IDLE);
}

/* --- Connections --- */

static void on_late(struct srv_connection *connection, enum srv_deadline_kind kind, void *ctx)
{
    struct srv_http *http = ctx;
    if (connection->request != NULL && kind != SRV_DEADLINE_SEND)
        srv_refuse_unread(http, connection, ANS_V_request_timeout);
}

static bool on_accepted(struct srv_connection *connection, const struct sockaddr *from,
                        socklen_t len, void *ctx)
{
    struct srv_http *http = ctx;
    http->accepting = connection;
    if (MHD_add_connection(http->daemon, connection->fd, from, len) == MHD_YES)
        return true;
    if (http->accepting != NULL) /* refused before on_connection heard of it */
        srv_connection_ended(connection);
    http->accepting = NULL;
    return false;
}

static void on_connection(void *ctx, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct srv_http *http = ctx;
    struct srv_connection *connection = *context;
    (void)mhd;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *context = http->accepting;
        http->accepting = NULL;
        return;
    }
    if (connection->request != NULL) /* ended by the library without telling of the request */
        release(connection->request);
    srv_connection_ended(connection);
}

size_t srv_http_connections(const struct srv_http *http)
{
    return srv_connections_count(http->connections);
}

size_t srv_in_flight(const struct srv_http *http)
{
    return http->in_flight;
}

size_t srv_http_begun(const struct srv_http *http)
{
    return ps_pool_used(http->slots);
}

/* --- The loop --- */

static void on_linger(uv_timer_t *timer)
{
    struct srv_http *http = timer->data;
    if (http->lingering > 0)
        http->ready = true;
    else
        uv_timer_stop(timer);
}

static void on_epoll(uv_poll_t *poll, int status, int events)
{
    struct srv_http *http = poll->data;
    (void)status;
    (void)events;
    http->ready = true;
}

/* Every run looks at each request that lingers. When they are a crowd, what arrives is gathered
 * from one tick to the next, instead of a run for each few requests (measured: 14 looks an order);
 * answers are sent at once as ever. */
static void watch(struct srv_http *http)
{
    bool crowd = http->lingering >= CROWD;
    if (crowd == http->crowd)
        return;
    http->crowd = crowd;
    if (crowd)
        uv_poll_stop(&http->poll);
    else
        uv_poll_start(&http->poll, UV_READABLE, on_epoll);
}

/* While requests linger the library always announces work. Then it is run again at once only to
 * send what an answer has begun. Whatever else it may have left (it read as much as there was room
 * for, and there is more) waits for the next event, or for on_linger(). */
static void run(struct srv_http *http)
{
    MHD_UNSIGNED_LONG_LONG wait_ms;
    http->ready = http->unsent = false;
    http->runs++;
    srv_connections_read_clock(http->connections);
    MHD_run(http->daemon);
    /* It has no timeouts of its own: what it announces is always work for now. */
    http->pending = MHD_get_timeout(http->daemon, &wait_ms) == MHD_YES &&
                    (http->lingering == 0 || http->unsent);
    if (http->lingering > 0 && !uv_is_active((uv_handle_t *)&http->linger))
        uv_timer_start(&http->linger, on_linger, LINGER_TICK_MS, LINGER_TICK_MS);
    watch(http);
}

static void on_check(uv_check_t *check)
{
    struct srv_http *http = check->data;
    if (http->ready || http->pending)
        run(http);
}

static void on_idle(uv_idle_t *idle)
{
    (void)idle; /* started so that the loop does not wait */
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct srv_http *http = prepare->data;
    if (http->ready) /* answered since the check phase */
        run(http);
    if (http->pending)
        uv_idle_start(&http->idle, on_idle);
    else
        uv_idle_stop(&http->idle);
}

/* --- Start and end --- */

static void free_memory(struct srv_http *http)
{
    if (http->handles > 0)
        return;
    ps_pool_free(http->slots);
    free(http);
}

static void on_closed(uv_handle_t *handle)
{
    struct srv_http *http = handle->data;
    http->handles--;
    free_memory(http);
}

static void on_connections_freed(void *ctx)
{
    struct srv_http *http = ctx;
    http->handles--;
    free_memory(http);
}

static void close_handles(struct srv_http *http)
{
    uv_close((uv_handle_t *)&http->poll, on_closed);
    uv_close((uv_handle_t *)&http->prepare, on_closed);
    uv_close((uv_handle_t *)&http->check, on_closed);
    uv_close((uv_handle_t *)&http->idle, on_closed);
    uv_close((uv_handle_t *)&http->linger, on_closed);
}

void srv_drain(struct srv_http *http)
{
    http->draining = true;
    srv_connections_drain(http->connections);
}

void srv_http_free(struct srv_http *http)
{
    if (http == NULL)
        return;
    http->draining = true;
    http->closing = true;
    while (http->suspended != NULL) {
        struct ans_problem_detail detail = {.seed = (uint64_t)http->suspended->connection->fd};
        srv_problem_answer(&http->suspended->request, ANS_V_draining, &detail);
    }
    /* Resumed, queued, sent: a step a run. */
    for (int i = 0; i < 3; i++)
        run(http);
    close_handles(http);
    MHD_stop_daemon(http->daemon);
    srv_connections_free(http->connections, on_connections_freed);
}

static struct MHD_Daemon *start_daemon(struct srv_http *http)
{
    /* Level 0 leaves refusing to our filter, which answers it better; from version 1.0 on the
     * library's own strictness is complete, and our look at the layout of its memory is not valid.
     */
    http->layout_known = strncmp(MHD_get_version(), "0.9.", 4) == 0;
    return MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_part,
        http, MHD_OPTION_CONNECTION_LIMIT, (unsigned)http->settings.connections_hard,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, http->settings.head_memory,
        MHD_OPTION_STRICT_FOR_CLIENT, http->layout_known ? 0 : 1, MHD_OPTION_URI_LOG_CALLBACK,
        on_target, http, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, http, MHD_OPTION_NOTIFY_COMPLETED, on_done,
        http, MHD_OPTION_END);
}

static int start_handles(struct srv_http *http, uv_loop_t *loop)
{
    int fd = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    if (uv_poll_init(loop, &http->poll, fd) != 0)
        return PS_E_IO;
    uv_prepare_init(loop, &http->prepare);
    uv_check_init(loop, &http->check);
    uv_idle_init(loop, &http->idle);
    uv_timer_init(loop, &http->linger);
    http->poll.data = http->prepare.data = http->check.data = http->idle.data = http;
    http->linger.data = http;
    http->handles = 5;
    uv_poll_start(&http->poll, UV_READABLE, on_epoll);
    uv_prepare_start(&http->prepare, on_prepare);
    uv_check_start(&http->check, on_check);
    return 0;
}

int srv_http_new(uv_loop_t *loop, const int *listen_fds, size_t listen_count,
                 const struct srv_settings *settings, srv_handler_fn *on_request,
                 srv_refused_fn *on_refused, void *ctx, struct srv_http **ret_http)
{
    const size_t align = _Alignof(max_align_t);
    struct srv_http *http = calloc(1, sizeof *http);
    if (http == NULL)
        return PS_E_NOMEM;
    http->settings = *settings;
    http->on_request = on_request;
    http->on_refused = on_refused;
    http->ctx = ctx;
    http->date_s = -1;
    http->user_span = (settings->user_size + align - 1) / align * align;
    ps_uuid_source_init(&http->ids);
    int err =
        ps_pool_new(settings->requests_max,
                    sizeof(struct srv_slot) + http->user_span + settings->body_max, &http->slots);
    if (err < 0)
        goto fail;
    err = PS_E_NOMEM;
    http->daemon = start_daemon(http);
    if (http->daemon == NULL)
        goto fail;
    err = start_handles(http, loop);
    if (err < 0)
        goto fail;
    const struct srv_connections_events events = {on_accepted, on_late, http, ctx};
    err = srv_connections_new(loop, listen_fds, listen_count, &http->settings, &events,
                              &http->connections);
    if (err < 0)
        goto fail;
    http->handles++;
    *ret_http = http;
    return 0;
fail:
    if (http->handles > 0)
        close_handles(http);
    if (http->daemon != NULL)
        MHD_stop_daemon(http->daemon);
    free_memory(http); /* at once, or when the handles have closed */
    return err;
}
