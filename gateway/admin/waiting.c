/* Requests that wait, and the turns of changes.
 *
 * The list is in order of arrival; a timer, which runs only while a request waits, checks
 * deadlines. At most as many wait as there are requests at once (admin.c), so a simple list is
 * enough. Work beyond a request (changes, work on other threads, handles of the loop) is counted:
 * op_hold, op_release. */
#include "gateway/admin/admin_internal.h"

#define TICK_MS 10

void op_waiting_tick(uv_timer_t *timer)
{
    struct op_admin *admin = timer->data;
    int64_t now = ps_clock_mono_ns(admin->deps.clock);
    struct op_request *request, *next;

    for (request = TAILQ_FIRST(&admin->waiting); request != NULL; request = next) {
        next = TAILQ_NEXT(request, waiting); /* this one may be answered and freed, but no other */
        if (now < request->deadline_ns) {
            if (request->on_tick != NULL)
                request->on_tick(request);
        } else {
            request->on_deadline(request);
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
        uv_timer_start(&admin->tick, op_waiting_tick, TICK_MS, TICK_MS);
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

static bool has_turns(const struct op_admin *admin)
{
    const struct op_request *request = TAILQ_FIRST(&admin->waiting);

    while (request != NULL && !request->turn)
        request = TAILQ_NEXT(request, waiting);
    return request != NULL;
}

bool op_is_its_turn(struct op_request *request)
{
    const struct op_admin *admin = request->admin;

    /* A waiting request runs only when it is its turn. */
    if (!admin->changing && (request->handle != 0 || !has_turns(admin)))
        return true;
    request->turn = true;
    (void)op_wait(request, OP_WAIT_MS);
    return false;
}

void op_next_turns(struct op_admin *admin)
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

/* On the loop's next turn: the change that ends is still in use. */
void op_turn_over(struct op_admin *admin)
{
    admin->changing = false;
    if (admin->http != NULL)
        uv_async_send(&admin->wake);
}

/* --- Pending work. --- */

void op_hold(struct op_admin *admin)
{
    admin->open++;
}

void op_release(struct op_admin *admin)
{
    if (--admin->open == 0)
        admin->free(admin);
}
