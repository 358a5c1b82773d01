/* The admin listener's life: its HTTP server, its parts, and the end of its memory, which is freed
 * after the last pending work: control.db and the log may end after the listener.
 *
 * Operators can always connect: a connection that has sent a valid token is kept, and of the others
 * the longest silent one makes room for a new one. */
#include "gateway/admin/audit_internal.h"
#include "gateway/admin/events.h"
#include "gateway/admin/parts.h"
#include "gateway/admin/task.h"

#include <stdlib.h>

/* At once, beside the readers of events; each reserves 1 MiB for a body, used only if there is one.
 */
#define REQUESTS    (64 + OP_READERS_MAX)
#define CONNECTIONS (128 + OP_READERS_MAX)

#define OPEN_AT_REST 4 /* itself and three handles */

/* Metrics are printed in the order of their table; the order of the others does not matter. */
static const struct op_part *const parts[] = {&op_ops_part,
                                              &op_scrape_part,
                                              &op_tokens_part,
                                              &op_watches_part,
                                              &op_documents_part,
                                              &op_sales_part,
                                              &op_schema_part,
                                              &op_pools_part,
                                              &op_endpoints_part,
                                              &op_switching_part,
                                              &op_caches_part,
                                              &op_overload_part,
                                              &op_ladder_part,
                                              &op_limits_part,
                                              &op_overrides_part,
                                              &op_runs_part,
                                              &op_breakers_part,
                                              &op_flow_part,
                                              &op_explain_part,
                                              &op_config_part,
                                              &op_adjust_part,
                                              &op_audit_part,
                                              &op_audit_schedule_part,
                                              &op_rebuild_part,
                                              &op_export_part,
                                              &op_orders_part,
                                              &op_standby_part,
                                              &op_refs_part,
                                              &op_rehearsal_keys_part,
                                              &op_events_part,
                                              &op_console_part,
                                              NULL};

static void on_wake(uv_async_t *async)
{
    struct op_admin *admin = async->data;

    if (admin->http == NULL)
        return;
    op_audit_wake(admin->audit);
    op_next_turns(admin);
}

/* --- Start and end. --- */

static void free_all(struct op_admin *admin)
{
    op_audit_free(admin->audit);
    op_events_free(admin->events);
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
    settings.connections_hard = 2 * CONNECTIONS; /* connections beyond the limit get 503 */
    settings.makes_room = true;
    settings.requests_max = REQUESTS;
    settings.turn_max = 1; /* some requests take a millisecond or more */
    settings.head_max = SRV_HEAD_MAX;
    settings.body_max = OP_BODY_MAX;
    settings.user_size = sizeof(struct op_request);
    settings.on_head = op_note_head;
    settings.on_request = op_handle;
    settings.on_refused = on_refused;
    return settings;
}

int op_admin_new(const struct op_deps *deps, const struct srv_door *doors, size_t door_count,
                 struct op_admin **ret_admin)
{
    struct srv_settings settings = http_settings(deps);
    struct op_admin *admin = calloc(1, sizeof *admin);

    if (admin == NULL)
        return PS_E_NOMEM;
    *admin =
        (struct op_admin){.deps = *deps, .parts = parts, .open = OPEN_AT_REST, .free = free_all};
    settings.ctx = admin;
    TAILQ_INIT(&admin->waiting);
    TAILQ_INIT(&admin->tasks);
    TAILQ_INIT(&admin->doubts);
    int err = op_outcomes_new(&admin->outcomes);
    if (err == 0)
        err = op_audit_new(admin, &admin->audit);
    if (err == 0)
        err = op_events_new(admin, &admin->events);
    if (err == 0)
        op_audit_schedule(admin->audit);
    if (err == 0)
        err = srv_http_new(deps->loop, doors, door_count, &settings, &admin->http);
    if (err == 0 && uv_async_init(deps->loop, &admin->wake, on_wake) != 0) {
        srv_http_free(admin->http);
        err = PS_E_IO;
    }
    if (err < 0) {
        free_all(admin);
        return err;
    }
    op_reads_init(&admin->reads, deps->loop);
    uv_timer_init(deps->loop, &admin->tick);
    op_events_start(admin->events);
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
    op_events_stop(admin->events);
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
