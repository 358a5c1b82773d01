/* How long requests have waited in the kernel before they are read, and what refusals cost.
 *
 * Bytes that the loop finds when it looks have come after it last looked: nobody knows when, so
 * they may have waited since then. When it slept until they came, they have waited only if the
 * thread did not get its processor at once, as under a quota: then the kernel is asked when the
 * first of them came, and not more often than each 10 ms. (A stamp of the kernel with each receipt
 * costs a "no" more than the whole of this.) libuv tells by its own clock, in milliseconds, for how
 * long it slept; so waits are known to a few milliseconds, and never too short by more.
 *
 * An event begins when the loop calls and ends when the next begins, by the clock that is read
 * anyway. It may hold other work as well, and the thread may have lost its processor meanwhile: so
 * the shortest that refused something is what each refusal costs. How long the thread has worked
 * the kernel says, once a window. */
#include "gateway/server/http_internal.h"

#include <netinet/tcp.h>
#include <sys/socket.h>
#include <time.h>

/* libuv has slept, and did not only count a millisecond on. */
#define SLEPT_MS 2

/* A difference of libuv's clock may be short by so much: it counts whole milliseconds, and lags. */
#define CLOCK_MS 2

/* Between two questions to the kernel. */
#define ASK_NS (10 * PS_NS_PER_MS)

/* When the loop's last poll returned. */
static int64_t returned_ns(const struct srv_guard *guard)
{
    int64_t slept_ms = (int64_t)(uv_now(guard->prepare.loop) - guard->before_ms);

    return guard->looked_ns + (slept_ms < SLEPT_MS ? 0 : slept_ms * PS_NS_PER_MS);
}

static void end_event(struct srv_guard *guard, int64_t now_ns)
{
    if (!guard->refused)
        return;
    guard->refused = false;
    guard->refusals++;
    if (now_ns - guard->event_ns < guard->refusal_ns)
        guard->refusal_ns = now_ns - guard->event_ns;
}

void srv_guard_event(struct srv_http *http)
{
    struct srv_guard *guard = &http->guard;

    end_event(guard, http->now_ns);
    guard->event_ns = http->now_ns;
    if (!guard->begun) {
        int64_t since_ns = returned_ns(guard);
        guard->begun = true;
        guard->first_ns = http->now_ns;
        guard->slept = since_ns > guard->looked_ns;
        if (!guard->slept)
            since_ns = guard->last_ns;
        guard->since_ns = since_ns < http->now_ns ? since_ns : http->now_ns;
    }
    http->came_ns = guard->since_ns;
}

void srv_guard_ask(struct srv_connection *connection)
{
    struct srv_http *http = connection->http;
    struct srv_guard *guard = &http->guard;
    struct tcp_info info;
    socklen_t len = sizeof info;

    guard->slept = false;
    if (http->now_ns - guard->asked_ns < ASK_NS ||
        getsockopt(connection->fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
        return;
    guard->asked_ns = http->now_ns;
    int64_t came_ns = http->now_ns - info.tcpi_last_data_recv * PS_NS_PER_MS;
    if (came_ns < guard->last_ns) /* it was looked at then */
        came_ns = guard->last_ns;
    if (came_ns < guard->since_ns)
        http->came_ns = guard->since_ns = came_ns;
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct srv_http *http = prepare->data;
    struct srv_guard *guard = &http->guard;

    guard->looked_ns = ps_clock_mono_ns(http->settings.clock);
    end_event(guard, guard->looked_ns);
    if (guard->turn_ns != 0 && http->settings.on_turn != NULL)
        http->settings.on_turn(guard->looked_ns - guard->turn_ns, http->ctx);
    uv_update_time(prepare->loop);
    guard->before_ms = uv_now(prepare->loop);
    guard->begun = false;
    guard->first_ns = INT64_MAX;
}

/* A turn is never taken for longer than it was. Its first event knows best when it began; where
 * there was none, libuv's clock tells. */
static void on_check(uv_check_t *check)
{
    struct srv_http *http = check->data;
    struct srv_guard *guard = &http->guard;
    int64_t slept_ms = (int64_t)(uv_now(check->loop) - guard->before_ms);
    int64_t turn_ns = guard->looked_ns + (slept_ms + CLOCK_MS) * PS_NS_PER_MS;

    guard->last_ns = returned_ns(guard);
    guard->turn_ns = turn_ns < guard->first_ns ? turn_ns : guard->first_ns;
}

static int64_t worked_ns(void)
{
    struct timespec spent = {0};

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
    return (int64_t)spent.tv_sec * PS_NS_PER_S + spent.tv_nsec;
}

void srv_http_load(struct srv_http *http, struct srv_load *ret_load)
{
    struct srv_guard *guard = &http->guard;
    int64_t now_ns = worked_ns();

    *ret_load = guard->load;
    ret_load->busy_ns = now_ns - guard->worked_ns;
    ret_load->refused_ns = guard->refusals > 0 ? (int64_t)guard->refusals * guard->refusal_ns : 0;
    guard->worked_ns = now_ns;
    guard->refusals = 0;
    guard->refusal_ns = INT64_MAX;
    guard->load = (struct srv_load){0};
}

void srv_guard_start(struct srv_http *http, uv_loop_t *loop)
{
    struct srv_guard *guard = &http->guard;

    uv_prepare_init(loop, &guard->prepare);
    uv_check_init(loop, &guard->check);
    guard->prepare.data = guard->check.data = http;
    uv_prepare_start(&guard->prepare, on_prepare);
    uv_check_start(&guard->check, on_check);
    uv_unref((uv_handle_t *)&guard->prepare);
    uv_unref((uv_handle_t *)&guard->check);
    guard->last_ns = guard->looked_ns = http->now_ns;
    guard->before_ms = uv_now(loop);
    guard->refusal_ns = INT64_MAX;
}
