/* The server as a whole: start, end, and kept requests. */
#include "gateway/server/address_count.h"
#include "gateway/server/http_internal.h"
#include "gateway/server/problem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Requests of one connection in a turn, before others are served. */
#define TURN_MAX 32

#define IDLE_SHORT_MS 1000
#define LINGER_MS     2000
#define PROXY_MS      1000

/* A connection accepted less than this ago has probably sent a request: its bytes are on their
 * way. */
#define FRESH_NS PS_NS_PER_S

uint64_t srv_suspend(struct srv_request *request)
{
    struct srv_slot *slot = (struct srv_slot *)request;
    struct srv_http *http = slot->http;

    assert(slot->state == SRV_SLOT_HANDED);
    if (request->head == &http->parse) { /* the next head is parsed into the same place */
        slot->parse = *request->head;
        request->head = &slot->parse;
    }
    slot->state = SRV_SLOT_SUSPENDED;
    TAILQ_INSERT_TAIL(&http->suspended, slot, entry);
    slot->connection->state = SRV_WAITING;
    return ps_pool_handle(http->slots, slot);
}

struct srv_request *srv_find(struct srv_http *http, uint64_t handle)
{
    struct srv_slot *slot = ps_pool_find(http->slots, handle);

    return slot != NULL && slot->state >= SRV_SLOT_SUSPENDED ? &slot->request : NULL;
}

void srv_trust(struct srv_request *request)
{
    struct srv_slot *slot = (struct srv_slot *)request;

    if (slot->connection != NULL)
        slot->connection->trusted = true;
}

size_t srv_http_connections(const struct srv_http *http)
{
    return ps_pool_used(http->pool);
}

size_t srv_in_flight(const struct srv_http *http)
{
    return http->in_flight;
}

size_t srv_http_begun(const struct srv_http *http)
{
    return ps_pool_used(http->slots) + http->guard.unread_count;
}

bool srv_http_expects(const struct srv_http *http)
{
    return ps_clock_mono_ns(http->settings.clock) - http->accepted_ns < FRESH_NS &&
           (srv_deadline_next(&http->deadlines, SRV_DEADLINE_HEAD, NULL) != NULL ||
            srv_deadline_next(&http->deadlines, SRV_DEADLINE_PROXY, NULL) != NULL);
}

static void free_memory(struct srv_http *http)
{
    srv_address_count_free(http->addresses);
    ps_pool_free(http->slots);
    ps_pool_free(http->pool);
    free(http->listeners);
    free(http);
}

/* --- its handles --- */

static void on_handle_closed(uv_handle_t *handle)
{
    struct srv_http *http = handle->data;

    http->handles--;
    if (http->closing && http->handles == 0)
        free_memory(http);
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct srv_listener *listener = handle->data;

    handle->data = listener->http;
    on_handle_closed(handle);
}

static void close_listener(struct srv_listener *listener)
{
    if (!listener->open)
        return;
    listener->open = false;
    uv_close((uv_handle_t *)&listener->poll, on_listener_closed);
    if (listener->fd >= 0)
        close(listener->fd);
}

void srv_http_leave(struct srv_http *http)
{
    http->draining = true;
}

void srv_drain(struct srv_http *http)
{
    srv_http_leave(http);
    srv_read_clock(http);
    for (size_t i = 0; i < http->listener_count; i++) {
        if (http->listeners[i].open)
            srv_accept_some(&http->listeners[i], SIZE_MAX);
        close_listener(&http->listeners[i]);
    }
}

static void close_all(struct srv_http *http)
{
    struct srv_connection *connection;

    TAILQ_FOREACH(connection, &http->connections, entry)
    {
        srv_close(connection, false);
    }
    srv_free_closed(http);
    for (size_t i = 0; i < http->listener_count; i++)
        close_listener(&http->listeners[i]);
    uv_close((uv_handle_t *)&http->timer, on_handle_closed);
    uv_close((uv_handle_t *)&http->busy, on_handle_closed);
    uv_close((uv_handle_t *)&http->guard.prepare, on_handle_closed);
    uv_close((uv_handle_t *)&http->guard.check, on_handle_closed);
    if (http->guard.fd >= 0) {
        uv_close((uv_handle_t *)&http->guard.found, on_handle_closed);
        close(http->guard.fd);
    }
}

void srv_http_free(struct srv_http *http)
{
    struct srv_slot *slot;

    if (http == NULL)
        return;
    http->draining = http->closing = true;
    srv_read_clock(http);
    while ((slot = TAILQ_FIRST(&http->suspended)) != NULL) {
        struct ans_problem_detail detail = {.seed = ps_pool_handle(http->slots, slot)};
        if (slot->state == SRV_SLOT_ANSWERING) {
            srv_close(slot->connection, true);
            continue;
        }
        if (http->settings.on_gone != NULL)
            http->settings.on_gone(&slot->request, http->settings.ctx);
        srv_problem_answer(&slot->request, ANS_V_draining, &detail);
    }
    close_all(http);
}

static void set_delays(struct srv_http *http)
{
    const struct srv_settings *settings = &http->settings;
    int64_t *delay_ns = http->deadlines.delay_ns;

    delay_ns[SRV_DEADLINE_PROXY] = PROXY_MS * PS_NS_PER_MS;
    delay_ns[SRV_DEADLINE_HEAD] = settings->head_timeout_ms * PS_NS_PER_MS;
    delay_ns[SRV_DEADLINE_IDLE] =
        (settings->idle_timeout_ms + settings->head_timeout_ms) * PS_NS_PER_MS;
    delay_ns[SRV_DEADLINE_IDLE_TRUSTED] =
        (settings->idle_trusted_ms + settings->head_timeout_ms) * PS_NS_PER_MS;
    delay_ns[SRV_DEADLINE_IDLE_SHORT] =
        (settings->idle_timeout_ms < IDLE_SHORT_MS ? settings->idle_timeout_ms : IDLE_SHORT_MS) *
        PS_NS_PER_MS;
    delay_ns[SRV_DEADLINE_BODY] = settings->body_timeout_ms * PS_NS_PER_MS;
    delay_ns[SRV_DEADLINE_SEND] =
        (settings->send_timeout_ms > 0 ? settings->send_timeout_ms : settings->body_timeout_ms) *
        PS_NS_PER_MS;
    delay_ns[SRV_DEADLINE_LINGER] = LINGER_MS * PS_NS_PER_MS;
}

static int start(struct srv_http *http, uv_loop_t *loop, const struct srv_door *doors, size_t count)
{
    srv_deadlines_init(&http->deadlines);
    set_delays(http);
    if (srv_turn_start(http, loop) < 0)
        return PS_E_IO;
    for (size_t i = 0; i < count; i++) {
        struct srv_listener *listener = &http->listeners[i];
        *listener =
            (struct srv_listener){.http = http, .fd = doors[i].fd, .shared = doors[i].shared};
        if (uv_poll_init(loop, &listener->poll, doors[i].fd) != 0) {
            for (size_t j = 0; j < i; j++)
                http->listeners[j].fd = -1; /* the caller owns it */
            return PS_E_IO;
        }
        listener->open = true;
        listener->poll.data = listener;
        http->handles++;
        http->listener_count++;
    }
    http->paused = http->settings.hold_ns > 0;
    http->accept_ns = http->now_ns + http->settings.hold_ns;
    if (!http->paused)
        srv_accept_again(http);
    return 0;
}

void srv_http_open(struct srv_http *http)
{
    if (http->paused)
        srv_accept_again(http);
}

int srv_http_new(uv_loop_t *loop, const struct srv_door *doors, size_t door_count,
                 const struct srv_settings *settings, struct srv_http **ret_http)
{
    const size_t align = _Alignof(max_align_t);
    struct srv_http *http = calloc(1, sizeof *http);
    int err = PS_E_NOMEM;

    if (http == NULL)
        return PS_E_NOMEM;
    http->settings = *settings;
    if (settings->turn_max == 0)
        http->settings.turn_max = TURN_MAX;
    srv_http_set_wait(http, settings->wait_ns);
    http->limits = (struct ps_http_limits){
        .target_max = (uint32_t)(settings->is_page != NULL ? settings->target_max : SRV_TARGET_MAX),
        .lenient = settings->is_page != NULL,
        .head_max = (uint32_t)settings->head_max,
        .fields_max = PS_HTTP_FIELDS_MAX};
    http->date_s = -1;
    http->user_span = (settings->user_size + align - 1) / align * align;
    TAILQ_INIT(&http->suspended);
    TAILQ_INIT(&http->connections);
    TAILQ_INIT(&http->ready);
    TAILQ_INIT(&http->closed);
    ps_uuid_source_init(&http->ids);
    http->listeners = calloc(door_count, sizeof *http->listeners);
    size_t slot_size =
        sizeof(struct srv_slot) + http->user_span + http->limits.head_max + 1 + settings->body_max;
    if (http->listeners == NULL ||
        (err = ps_pool_new(settings->requests_max, slot_size, &http->slots)) < 0 ||
        (err = ps_pool_new(settings->connections_hard, sizeof(struct srv_connection),
                           &http->pool)) < 0 ||
        (settings->connections_address > 0 &&
         (err = srv_address_count_new(settings->connections_hard, settings->connections_address,
                                      &http->addresses)) < 0)) {
        free_memory(http);
        return err;
    }
    err = start(http, loop, doors, door_count);
    if (err < 0) {
        http->closing = true;
        close_all(http);
        return err;
    }
    *ret_http = http;
    return 0;
}
