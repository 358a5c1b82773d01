/* The admin listener's life: its HTTP server, the requests that wait, and whose turn it is.
 *
 * Requests that wait are a list in the order of their coming; a timer, which runs only while there
 * are any, looks at their deadlines. There are at most REQUESTS of them, so nothing here needs to
 * be clever. What is under way beyond a request (changes, work on other threads, handles of the
 * loop) is counted, and the memory goes with the last of it: control.db and the log may end after
 * the listener.
 *
 * Operators always get in: who has shown a token keeps the connection, and of the others the one
 * that has been silent for longest makes room for whoever comes. */
#include "gateway/admin/task.h"

#include <stdlib.h>

#define REQUESTS    64 /* at once; each has room for a body of 1 MiB, touched when there is one */
#define CONNECTIONS 128
#define TICK_MS     10

#define OPEN_AT_REST 3 /* itself and two handles */

/* --- Waiting. --- */

static void on_tick(uv_timer_t *timer)
{
    struct op_admin *admin = timer->data;
    int64_t now = ps_clock_mono_ns(admin->deps.clock);
    struct op_request *request, *next;

    for (request = TAILQ_FIRST(&admin->waiting); request != NULL; request = next) {
        next = TAILQ_NEXT(request, waiting); /* it may be answered, but no other is */
        if (now < request->deadline_ns) {
            if (request->on_tick != NULL)
                request->on_tick(request);
        } else if (request->on_deadline != NULL) {
            request->on_deadline(request);
        } else {
            op_no(request, ANS_V_shed,
                  "it takes longer than it should; a change may still come into force");
        }
    }
}

uint64_t op_wait(struct op_request *request, int64_t timeout_ms)
{
    struct op_admin *admin = request->admin;

    request->deadline_ns = ps_clock_mono_ns(admin->deps.clock) + timeout_ms * PS_NS_PER_MS;
    if (request->handle != 0)
        return request->handle;
    request->handle = srv_suspend(request->http);
    TAILQ_INSERT_TAIL(&admin->waiting, request, waiting);
    if (!uv_is_active((uv_handle_t *)&admin->tick))
        uv_timer_start(&admin->tick, on_tick, TICK_MS, TICK_MS);
    return request->handle;
}

void op_leave(struct op_request *request)
{
    struct op_admin *admin = request->admin;

    json_decref(request->body);
    request->body = NULL;
    if (request->handle == 0)
        return;
    request->handle = 0;
    TAILQ_REMOVE(&admin->waiting, request, waiting);
    if (TAILQ_EMPTY(&admin->waiting))
        uv_timer_stop(&admin->tick);
}

struct op_request *op_find(struct op_admin *admin, uint64_t handle)
{
    struct srv_request *http = admin->http != NULL ? srv_find(admin->http, handle) : NULL;
    return http != NULL ? http->user : NULL;
}

/* --- Turns. --- */

static void next_turns(struct op_admin *admin)
{
    while (!admin->changing) {
        struct op_request *request = TAILQ_FIRST(&admin->waiting);
        while (request != NULL && !request->turn)
            request = TAILQ_NEXT(request, waiting);
        if (request == NULL)
            return;
        request->turn = false;
        request->run(request);
    }
}

/* Not at once: the change that ends is still in the control thread's hands. */
void op_turn_over(struct op_admin *admin)
{
    admin->changing = false;
    if (admin->http != NULL)
        uv_async_send(&admin->wake);
}

static void on_wake(uv_async_t *async)
{
    struct op_admin *admin = async->data;

    if (admin->http == NULL)
        return;
    op_audit_wake(admin);
    next_turns(admin);
}

/* --- Start and end. --- */

void op_hold(struct op_admin *admin)
{
    admin->open++;
}

void op_release(struct op_admin *admin)
{
    if (--admin->open > 0)
        return;
    op_audit_free(admin->audit);
    ps_pool_free(admin->outcomes);
    free(admin);
}

static void on_closed(uv_handle_t *handle)
{
    op_release(handle->data);
}

static void on_refused(int verdict, void *ctx)
{
    struct op_admin *admin = ctx;
    ps_metric_add(admin->deps.shard, GW_M_ADMIN_REFUSED, (size_t)verdict, 1);
}

static struct srv_settings http_settings(const struct op_deps *deps)
{
    struct srv_settings settings = deps->http;

    settings.connections_soft = CONNECTIONS;
    settings.connections_hard = 2 * CONNECTIONS; /* room to say 503 */
    settings.makes_room = true;
    settings.requests_max = REQUESTS;
    settings.turn_max = 1; /* some take a millisecond or more */
    settings.head_max = SRV_HEAD_MAX;
    settings.body_max = OP_BODY_MAX;
    settings.user_size = sizeof(struct op_request);
    return settings;
}

int op_admin_new(const struct op_deps *deps, const int *listen_fds, size_t listen_count,
                 struct op_admin **ret_admin)
{
    struct srv_settings settings = http_settings(deps);
    struct op_admin *admin = calloc(1, sizeof *admin);

    if (admin == NULL)
        return PS_E_NOMEM;
    *admin = (struct op_admin){.deps = *deps, .open = OPEN_AT_REST};
    TAILQ_INIT(&admin->waiting);
    TAILQ_INIT(&admin->tasks);
    TAILQ_INIT(&admin->doubts);
    int err = op_outcomes_new(&admin->outcomes);
    if (err == 0)
        err = op_audit_new(admin, &admin->audit);
    if (err == 0)
        err = srv_http_new(deps->loop, listen_fds, listen_count, &settings, op_handle, on_refused,
                           admin, &admin->http);
    if (err == 0 && uv_async_init(deps->loop, &admin->wake, on_wake) != 0) {
        srv_http_free(admin->http);
        err = PS_E_IO;
    }
    if (err < 0) {
        op_audit_free(admin->audit);
        ps_pool_free(admin->outcomes);
        free(admin);
        return err;
    }
    op_reads_init(&admin->reads, deps->loop);
    uv_timer_init(deps->loop, &admin->tick);
    admin->wake.data = admin->tick.data = admin;
    *ret_admin = admin;
    return 0;
}

void op_admin_outcome(struct op_admin *admin, uint64_t handle, enum oq_outcome outcome,
                      struct oq_order *order)
{
    op_outcomes_deliver(admin->outcomes, handle, outcome, order);
}

bool op_admin_idle(const struct op_admin *admin)
{
    return TAILQ_EMPTY(&admin->waiting) && TAILQ_EMPTY(&admin->tasks) &&
           admin->open == OPEN_AT_REST;
}

void op_admin_free(struct op_admin *admin)
{
    struct srv_http *http;

    if (admin == NULL)
        return;
    while (!TAILQ_EMPTY(&admin->waiting))
        op_no(TAILQ_FIRST(&admin->waiting), ANS_V_draining, NULL);
    http = admin->http;
    admin->http = NULL;
    srv_http_free(http);
    op_task_free_all(&admin->tasks);
    op_task_free_all(&admin->doubts);
    uv_close((uv_handle_t *)&admin->tick, on_closed);
    uv_close((uv_handle_t *)&admin->wake, on_closed);
    op_audit_stop(admin->audit);
    op_release(admin);
}
