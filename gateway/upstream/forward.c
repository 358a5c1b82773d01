/* The worker's side of forwarding: its beginning, its end, its table, and what it does each 100 ms.
 */
#include "gateway/upstream/forward_internal.h"

#include "common/text/buf.h"

#include <stdlib.h>

int up_worker_new(const struct up_worker_deps *deps, struct up_worker **ret_worker)
{
    struct up_worker *worker = calloc(1, sizeof *worker);

    if (worker == NULL)
        return PS_E_NOMEM;
    worker->deps = *deps;
    worker->limits = (struct ps_http_limits){.target_max = (uint32_t)UP_HEAD_MAX,
                                             .head_max = (uint32_t)UP_HEAD_MAX,
                                             .fields_max = PS_HTTP_FIELDS_MAX};
    TAILQ_INIT(&worker->connections);
    TAILQ_INIT(&worker->waiting);
    uv_timer_init(deps->loop, &worker->timer);
    worker->timer.data = worker;
    worker->handles = 1;
    up_known_init(&worker->known);
    LIST_INIT(&worker->probes);
    *ret_worker = worker;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct up_worker *worker = handle->data;

    if (--worker->handles == 0)
        free(worker);
}

void up_worker_free(struct up_worker *worker)
{
    if (worker == NULL)
        return;
    worker->closing = true;
    up_probes_stop(worker);
    up_worker_swap(worker, NULL);
    while (!TAILQ_EMPTY(&worker->connections))
        up_connection_close(TAILQ_FIRST(&worker->connections));
    uv_close((uv_handle_t *)&worker->timer, on_closed);
}

static void close_gone(struct up_worker *worker)
{
    struct up_connection *connection = TAILQ_FIRST(&worker->connections), *next;

    for (; connection != NULL; connection = next) {
        next = TAILQ_NEXT(connection, entry);
        if (connection->state == UP_IDLE && atomic_load(&connection->endpoint->gone))
            up_connection_close(connection);
    }
}

void up_worker_swap(struct up_worker *worker, struct up_table *table)
{
    struct up_hold *before = worker->current, *hold = NULL;

    if (before != NULL && before->table == table)
        return;
    if (table != NULL && (hold = calloc(1, sizeof *hold)) == NULL)
        return; /* requests under way still hold the previous table: it stays in use */
    if (hold != NULL)
        *hold = (struct up_hold){.table = up_table_keep(table), .users = 1};
    worker->current = hold;
    up_hold_release(before);
    close_gone(worker);
}

void up_worker_tick(struct up_worker *worker)
{
    struct up_connection *connection = TAILQ_FIRST(&worker->connections);

    up_gate_tick(worker);
    up_probes_tick(worker);
    while (connection != NULL) {
        struct up_connection *next = TAILQ_NEXT(connection, entry);
        bool cut = atomic_load(&connection->endpoint->cut);
        if (cut && connection->state == UP_IDLE) {
            up_connection_close(connection);
        } else if (cut) {
            up_connection_cut(connection);
            next = TAILQ_FIRST(&worker->connections); /* the callback may have closed others */
        }
        connection = next;
    }
}
