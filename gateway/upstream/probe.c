/* Probes of a pool's circuit: while it is half open, each worker asks for the pool's health path
 * itself, one request at a time, as any other request would be sent. So no client's page decides
 * whether the pool is used again, and nobody has to be sent there to find out. */
#include "gateway/upstream/forward_internal.h"

#include "common/http/write.h"

#include <stdlib.h>

struct up_probe {
    LIST_ENTRY(up_probe) entry; /* in its worker */
    struct up_pool_cell *cell;  /* the exchange's table keeps it valid */
    struct up_exchange *exchange;
    struct cfg_route route; /* its timeouts; the rest is zero */
};

static void end(struct up_probe *probe)
{
    probe->cell->probe = NULL;
    LIST_REMOVE(probe, entry);
    free(probe);
}

static bool on_part(struct ps_str part, bool last, void *ctx)
{
    (void)part;
    if (last)
        end(ctx);
    return true;
}

static bool on_answer(const struct up_answer *answer, struct ps_str part, bool last, void *ctx)
{
    (void)answer;
    return on_part(part, last, ctx);
}

static void on_failed(enum up_end how, bool begun, void *ctx)
{
    (void)how;
    (void)begun;
    end(ctx);
}

static void on_room(void *ctx)
{
    (void)ctx; /* a GET has no body */
}

static const struct up_callbacks callbacks = {
    .answer = on_answer, .part = on_part, .failed = on_failed, .room = on_room};

static struct up_exchange *send_probe(struct up_worker *worker, const struct up_pool_view *view,
                                      struct up_probe *probe)
{
    struct ps_buf head = up_worker_scratch(worker);
    const struct cfg_pool *doc = view->doc;
    const char *host =
        doc->health.host != NULL ? doc->health.host : view->members[0].endpoint->is.address;
    enum up_end how;

    int err = ps_http_put_request(&head, PS_STR("GET"), ps_str(doc->health.path));
    if (err == 0)
        err = ps_http_put_field(&head, PS_STR("Host"), ps_str(host));
    ps_buf_puts(&head, "User-Agent: penstock/" PENSTOCK_VERSION " (health check)\r\n");
    if (err < 0 || head.overflow)
        return NULL;
    return up_forward(worker,
                      &(struct up_call){.hold = worker->current,
                                        .route = &probe->route,
                                        .pool = view,
                                        .head = {head.at, head.len},
                                        .method = PS_HTTP_GET,
                                        .began_ns = up_now_ns(worker),
                                        .is_extra = true,
                                        .path = ps_str(doc->health.path),
                                        .probe_of = doc,
                                        .callbacks = &callbacks,
                                        .ctx = probe},
                      &how);
}

static void probe_pool(struct up_worker *worker, const struct up_pool_view *view)
{
    struct up_pool_cell *cell = &view->pool->cells[worker->deps.index];
    int64_t others = atomic_load_explicit(&cell->limit.in_flight, memory_order_relaxed);

    if (cell->circuit.breaker.state == PS_BREAKER_CLOSED || cell->probe != NULL ||
        view->member_count == 0 || !up_circuit_admits(&cell->circuit, others, NULL) ||
        !up_circuit_is_half_open(&cell->circuit))
        return;
    struct up_probe *probe = calloc(1, sizeof *probe);
    if (probe == NULL)
        return;
    probe->route.first_byte_ms = probe->route.total_ms = view->doc->health.timeout_ms;
    probe->exchange = send_probe(worker, view, probe);
    if (probe->exchange == NULL) {
        free(probe);
        return;
    }
    probe->cell = cell;
    cell->probe = probe;
    LIST_INSERT_HEAD(&worker->probes, probe, entry);
}

void up_probes_tick(struct up_worker *worker)
{
    const struct up_table *table = up_worker_table(worker);

    for (size_t i = 0; table != NULL && i < table->pool_count; i++)
        if (table->pools[i].doc->health.path != NULL)
            probe_pool(worker, &table->pools[i]);
}

void up_probes_stop(struct up_worker *worker)
{
    struct up_probe *probe;

    while ((probe = LIST_FIRST(&worker->probes)) != NULL) {
        up_exchange_cancel(probe->exchange, UP_WHY_STOPPED);
        end(probe);
    }
}
