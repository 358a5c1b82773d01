/* Two lists, with a timer for the head of each. Requests that wait for the log are in order of
 * arrival, because all wait equally long; held ones are in a heap, by their handles. */
#include "gateway/orders/in_flight.h"

#include <stdlib.h>

#define NS_TO_MS(x) ((uint64_t)(((x) + PS_NS_PER_MS - 1) / PS_NS_PER_MS))

static int64_t now_ns(const struct ord_in_flight *in_flight)
{
    return ps_clock_mono_ns(in_flight->deps.clock);
}

/* --- held by a leaky bucket --- */

static void on_held_timer(uv_timer_t *timer);

static void start_held_timer(struct ord_in_flight *in_flight, int64_t now)
{
    int64_t next = ps_heap_next_ns(in_flight->held);

    if (next != INT64_MAX)
        uv_timer_start(&in_flight->held_timer, on_held_timer, next > now ? NS_TO_MS(next - now) : 0,
                       0);
}

static void on_held_timer(uv_timer_t *timer)
{
    struct ord_in_flight *in_flight = timer->data;
    int64_t now = now_ns(in_flight);
    uint64_t handle;

    while (ps_heap_take(in_flight->held, now, &handle)) {
        struct ord_request *request = ord_request_find(&in_flight->deps, handle);
        if (request != NULL)
            in_flight->deps.on_due(request);
    }
    start_held_timer(in_flight, now);
}

int ord_in_flight_hold(struct ord_request *request, int64_t until_ns, int64_t now)
{
    struct ord_in_flight *in_flight = request->in_flight;
    int err = ps_heap_put(in_flight->held, until_ns, request->handle);

    if (err == 0)
        start_held_timer(in_flight, now);
    return err;
}

size_t ord_in_flight_held(const struct ord_in_flight *in_flight)
{
    return ps_heap_count(in_flight->held);
}

/* --- waiting for the log --- */

static void on_logging_timer(uv_timer_t *timer)
{
    struct ord_in_flight *in_flight = timer->data;
    int64_t timeout_ns = in_flight->deps.ack_timeout_ms * PS_NS_PER_MS, now = now_ns(in_flight);
    struct ord_request *request;

    while ((request = TAILQ_FIRST(&in_flight->logging)) != NULL &&
           request->appended_ns + timeout_ns <= now) {
        ord_in_flight_unlog(request);
        ps_times_add(&in_flight->deps.load->log, now - request->appended_ns);
        in_flight->deps.on_overdue(request);
    }
    if (request != NULL)
        uv_timer_start(timer, on_logging_timer, NS_TO_MS(request->appended_ns + timeout_ns - now),
                       0);
}

void ord_in_flight_log(struct ord_request *request, int64_t now)
{
    struct ord_in_flight *in_flight = request->in_flight;

    request->state = ORD_LOGGING;
    request->appended_ns = now;
    TAILQ_INSERT_TAIL(&in_flight->logging, request, logging);
    if (!uv_is_active((uv_handle_t *)&in_flight->logging_timer))
        uv_timer_start(&in_flight->logging_timer, on_logging_timer,
                       (uint64_t)in_flight->deps.ack_timeout_ms, 0);
}

int64_t ord_in_flight_oldest_ns(const struct ord_in_flight *in_flight)
{
    const struct ord_request *oldest = TAILQ_FIRST(&in_flight->logging);

    return oldest != NULL ? oldest->appended_ns : 0;
}

void ord_in_flight_unlog(struct ord_request *request)
{
    if (request->state != ORD_LOGGING)
        return;
    request->state = ORD_RESERVED;
    TAILQ_REMOVE(&request->in_flight->logging, request, logging);
}

void ord_in_flight_leave(struct ord_request *request)
{
    if (request->state == ORD_HELD)
        ps_heap_drop(request->in_flight->held, request->handle);
    ord_in_flight_unlog(request);
}

/* --- start and end --- */

int ord_in_flight_new(const struct ord_deps *deps, struct ord_in_flight **ret_in_flight)
{
    struct ord_in_flight *in_flight = calloc(1, sizeof *in_flight);

    if (in_flight == NULL || ps_heap_new(deps->held_max, deps->held_max, &in_flight->held) < 0) {
        free(in_flight);
        return PS_E_NOMEM;
    }
    in_flight->deps = *deps;
    TAILQ_INIT(&in_flight->logging);
    uv_timer_init(deps->loop, &in_flight->held_timer);
    uv_timer_init(deps->loop, &in_flight->logging_timer);
    in_flight->held_timer.data = in_flight->logging_timer.data = in_flight;
    *ret_in_flight = in_flight;
    return 0;
}

void ord_in_flight_enter(struct ord_in_flight *in_flight, struct ord_request *request)
{
    request->in_flight = in_flight;
    request->deps = &in_flight->deps;
}

void ord_in_flight_stop(struct ord_in_flight *in_flight)
{
    uv_close((uv_handle_t *)&in_flight->held_timer, NULL);
    uv_close((uv_handle_t *)&in_flight->logging_timer, NULL);
}

void ord_in_flight_free(struct ord_in_flight *in_flight)
{
    if (in_flight == NULL)
        return;
    ps_heap_free(in_flight->held);
    free(in_flight);
}
