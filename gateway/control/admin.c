/* The admin listener's life: its HTTP server, the visits that wait, and whose turn it is.
 *
 * Visits that wait are a list in the order of their coming; a timer, which runs only while there
 * are any, looks at their deadlines. There are at most REQUESTS of them, so nothing here needs to
 * be clever. What is under way beyond a visit (changes, work on other threads, handles of the loop)
 * is counted, and the memory goes with the last of it: control.db and the log may end after the
 * listener. */
#include "gateway/control/admin_private.h"

#include <stdlib.h>

#define REQUESTS    64 /* at once; each has room for a body of 1 MiB, touched when there is one */
#define CONNECTIONS 128
#define TICK_MS     10

#define OPEN_AT_REST 3 /* itself and two handles */

/* --- Waiting. --- */

static void on_tick(uv_timer_t *timer)
{
    struct gw_admin *admin = timer->data;
    int64_t now = ps_clock_mono_ns(admin->core->clock);
    struct gw_admin_visit *next;

    for (struct gw_admin_visit *visit = admin->first; visit != NULL; visit = next) {
        next = visit->next; /* it may be answered, but no other is */
        if (now < visit->deadline_ns) {
            if (visit->on_tick != NULL)
                visit->on_tick(visit);
        } else if (visit->on_deadline != NULL) {
            visit->on_deadline(visit);
        } else {
            gw_admin_no(visit, GW_V_shed,
                        "it takes longer than it should; a change may still come into force");
        }
    }
}

uint64_t gw_admin_wait(struct gw_admin_visit *visit, int64_t timeout_ms)
{
    struct gw_admin *admin = visit->admin;

    visit->deadline_ns = ps_clock_mono_ns(admin->core->clock) + timeout_ms * PS_NS_PER_MS;
    if (visit->handle != 0)
        return visit->handle;
    visit->handle = gw_http_suspend(visit->request);
    visit->prev = admin->last;
    visit->next = NULL;
    if (admin->last != NULL)
        admin->last->next = visit;
    else
        admin->first = visit;
    admin->last = visit;
    if (!uv_is_active((uv_handle_t *)&admin->tick))
        uv_timer_start(&admin->tick, on_tick, TICK_MS, TICK_MS);
    return visit->handle;
}

void gw_admin_leave(struct gw_admin_visit *visit)
{
    struct gw_admin *admin = visit->admin;

    json_decref(visit->body);
    visit->body = NULL;
    if (visit->handle == 0)
        return;
    visit->handle = 0;
    if (visit->prev != NULL)
        visit->prev->next = visit->next;
    else
        admin->first = visit->next;
    if (visit->next != NULL)
        visit->next->prev = visit->prev;
    else
        admin->last = visit->prev;
    if (admin->first == NULL)
        uv_timer_stop(&admin->tick);
}

struct gw_admin_visit *gw_admin_find(struct gw_admin *admin, uint64_t handle)
{
    struct gw_request *request = admin->http != NULL ? gw_http_find(admin->http, handle) : NULL;
    return request != NULL ? request->user : NULL;
}

/* --- Turns. --- */

static void next_turns(struct gw_admin *admin)
{
    while (!admin->changing) {
        struct gw_admin_visit *visit = admin->first;
        while (visit != NULL && !visit->turn)
            visit = visit->next;
        if (visit == NULL)
            return;
        visit->turn = false;
        visit->run(visit);
    }
}

/* Not at once: the change that ends is still in the control thread's hands. */
void gw_admin_turn_over(struct gw_admin *admin)
{
    admin->changing = false;
    if (admin->http != NULL)
        uv_async_send(&admin->wake);
}

static void on_wake(uv_async_t *async)
{
    struct gw_admin *admin = async->data;

    if (admin->http == NULL)
        return;
    gw_admin_audit_wake(admin);
    next_turns(admin);
}

/* --- Start and end. --- */

void gw_admin_hold(struct gw_admin *admin)
{
    admin->open++;
}

void gw_admin_release(struct gw_admin *admin)
{
    if (--admin->open > 0)
        return;
    gw_admin_audit_free(admin->audit);
    free(admin);
}

static void on_closed(uv_handle_t *handle)
{
    gw_admin_release(handle->data);
}

static void on_refused(int verdict, void *ctx)
{
    struct gw_admin *admin = ctx;
    ps_metric_add(admin->control->shard, GW_M_REFUSED_EARLY, (size_t)verdict, 1);
}

static struct gw_http_settings http_settings(const struct gw_core *core)
{
    const struct gw_settings *settings = core->settings;

    return (struct gw_http_settings){
        .head_timeout_ms = settings->http.head_timeout_ms,
        .body_timeout_ms = settings->http.body_timeout_ms,
        .idle_timeout_ms = settings->http.idle_timeout_ms,
        .idle_trusted_ms = settings->http.idle_trusted_timeout_ms,
        .connections_soft = CONNECTIONS,
        .connections_hard = 2 * CONNECTIONS, /* room to say 503 */
        .requests_max = REQUESTS,
        .head_memory = GW_HEAD_MEMORY,
        .body_max = GW_ADMIN_BODY_MAX,
        .user_size = sizeof(struct gw_admin_visit),
        .clock = core->clock,
    };
}

int gw_admin_new(struct gw_control *control, int listen_fd, void (*drain)(void *ctx), void *ctx,
                 struct gw_admin **ret_admin)
{
    struct gw_http_settings settings = http_settings(control->core);
    struct gw_admin *admin = calloc(1, sizeof *admin);

    if (admin == NULL)
        return PS_E_NOMEM;
    *admin = (struct gw_admin){.control = control,
                               .core = control->core,
                               .drain = drain,
                               .drain_ctx = ctx,
                               .open = OPEN_AT_REST};
    int err = gw_admin_audit_new(admin, &admin->audit);
    if (err == 0)
        err = gw_http_new(control->loop, &listen_fd, 1, &settings, gw_admin_handle, on_refused,
                          admin, &admin->http);
    if (err == 0 && uv_async_init(control->loop, &admin->wake, on_wake) != 0) {
        gw_http_free(admin->http);
        err = PS_E_IO;
    }
    if (err < 0) {
        gw_admin_audit_free(admin->audit);
        free(admin);
        return err;
    }
    uv_timer_init(control->loop, &admin->tick);
    admin->wake.data = admin->tick.data = admin;
    *ret_admin = admin;
    return 0;
}

bool gw_admin_idle(const struct gw_admin *admin)
{
    return admin->first == NULL && admin->deeds == NULL && admin->adjusts == NULL &&
           admin->open == OPEN_AT_REST;
}

void gw_admin_free(struct gw_admin *admin)
{
    struct gw_http *http;

    if (admin == NULL)
        return;
    while (admin->first != NULL)
        gw_admin_no(admin->first, GW_V_draining, NULL);
    http = admin->http;
    admin->http = NULL;
    gw_http_free(http);
    gw_admin_deeds_free(admin);
    gw_admin_adjusts_free(admin);
    uv_close((uv_handle_t *)&admin->tick, on_closed);
    uv_close((uv_handle_t *)&admin->wake, on_closed);
    gw_admin_audit_stop(admin->audit);
    gw_admin_release(admin);
}
