/* The gate of a pool, on each worker: its circuit, and how many requests may wait for the head of
 * an answer at once, which follows latency (common/adaptive_limit.h). Each worker measures and
 * limits for itself. The target latency is half of the time to the first byte that the pool's
 * routes allow, so that requests do not wait in the servers' queues until the deadline.
 *
 * If the pool has a queue, a request without a place waits, for at most half of its time to the
 * first byte: the other half is for the answer. The newest goes first, and a full queue drops the
 * oldest. A simulation of 100 answers a second shows why: with 1.5 times the requests that can be
 * answered and a queue of one second, half of those that are answered wait for 1.0 s if the oldest
 * goes first (none less than 0.3 s), and for 15 ms if the newest does. Below that load the queue is
 * short, and the order hardly matters.
 *
 * A request takes a place when it can be answered: with its whole body. An upload, whose client
 * still sends, has one of the places for uploads (uploads.h) until its answer begins, and from the
 * end of its body one of the others, too: then the shop is to answer, and is measured. */
#include "gateway/upstream/forward_internal.h"

#define FLOOR   8
#define INITIAL 256
#define CEILING 8192
/* For pools whose routes set no timeout. */
#define TARGET_NS  (20 * PS_NS_PER_MS)
#define TIMEOUT_NS (600 * PS_NS_PER_S)
#define LET_GO     0 /* the deadline of a request that is dropped on the loop's next turn */

void up_gate_init(struct up_pool_cell *cell, const struct ps_clock *clock)
{
    up_circuit_init(&cell->circuit, &up_circuit_of_pool, clock);
    ps_adaptive_limit_init(&cell->limit,
                           &(struct ps_adaptive_limit_settings){.floor = FLOOR,
                                                                .initial = INITIAL,
                                                                .ceiling = CEILING,
                                                                .target_ns = TARGET_NS,
                                                                .timeout_ns = TIMEOUT_NS});
}

static struct up_pool_cell *cell_of(const struct up_exchange *exchange)
{
    return &exchange->pool->pool->cells[exchange->worker->deps.index];
}

static int64_t under_way(const struct up_pool_cell *cell)
{
    return atomic_load_explicit(&cell->limit.in_flight, memory_order_relaxed);
}

/* Do the health checks' requests probe its circuit, and no others? */
static bool probes_itself(const struct up_pool_view *pool)
{
    return pool->doc->health.path != NULL;
}

bool up_pool_admits(const struct up_worker *worker, const struct up_pool_view *pool,
                    const struct ps_address *client, struct ps_str path)
{
    struct up_pool_cell *cell = &pool->pool->cells[worker->deps.index];
    struct up_circuit *circuit = &cell->circuit;

    if (circuit->breaker.state == PS_BREAKER_CLOSED) /* who asks only counts for probes */
        return up_circuit_admits(circuit, under_way(cell), NULL);
    const struct up_who who = up_who_of(&worker->known, client, path);
    return up_circuit_admits(circuit, under_way(cell), &who) &&
           !(probes_itself(pool) && up_circuit_is_half_open(circuit));
}

bool up_pool_would_admit(const struct up_pool_view *pool, size_t worker)
{
    const struct up_pool_cell *cell = &pool->pool->cells[worker];
    const struct ps_breaker *breaker = &cell->circuit.breaker;

    return up_circuit_would_admit(&cell->circuit, under_way(cell)) &&
           !(probes_itself(pool) && breaker->state != PS_BREAKER_CLOSED &&
             breaker->force.order == PS_BREAKER_FREE);
}

static bool admits(const struct up_exchange *exchange, int64_t others)
{
    struct up_circuit *circuit = &cell_of(exchange)->circuit;

    return up_circuit_admits(circuit, others, up_prober(exchange)) &&
           (exchange->probe_of != NULL || !probes_itself(exchange->pool) ||
            !up_circuit_is_half_open(circuit));
}

/* --- Waiting --- */

static void stop_waiting(struct up_exchange *exchange)
{
    TAILQ_REMOVE(&exchange->worker->waiting, exchange, waiting);
    up_add(&cell_of(exchange)->waiting, -1);
}

static void on_timer(uv_timer_t *timer);

static void set_timer(struct up_worker *worker, int64_t at_ns)
{
    int64_t left_ns = at_ns - up_now_ns(worker);
    uint64_t ms = left_ns > 0 ? (uint64_t)((left_ns + PS_NS_PER_MS - 1) / PS_NS_PER_MS) : 0;

    if (!worker->closing && (worker->timer_ns == 0 || at_ns < worker->timer_ns)) {
        worker->timer_ns = at_ns;
        uv_timer_start(&worker->timer, on_timer, ms, 0);
    }
}

/* The oldest request of the same pool that is not yet to be dropped. */
static struct up_exchange *find_oldest(const struct up_exchange *exchange)
{
    struct up_exchange *other;

    TAILQ_FOREACH_REVERSE(other, &exchange->worker->waiting, up_waiting_list, waiting)
    {
        if (other->pool->pool == exchange->pool->pool && other->wait_until_ns != LET_GO)
            return other;
    }
    return NULL;
}

/* This worker's part of the queue; 0: there is no queue. */
static int64_t room_to_wait(const struct up_exchange *exchange)
{
    int64_t workers = (int64_t)exchange->pool->pool->cell_count;

    return (exchange->pool->doc->queue_max + workers - 1) / workers;
}

static void let_go(struct up_exchange *exchange)
{
    up_add(&cell_of(exchange)->queue_full, 1);
    up_exchange_give_up(exchange, UP_END_busy);
}

/* Drops it later, on the timer: dropping calls back, and no callback may come before up_forward has
 * returned. */
static void let_oldest_go(const struct up_exchange *exchange)
{
    struct up_exchange *oldest = find_oldest(exchange);

    if (oldest != NULL) {
        oldest->wait_until_ns = LET_GO;
        set_timer(exchange->worker, up_now_ns(exchange->worker));
    }
}

static bool wait(struct up_exchange *exchange)
{
    struct up_worker *worker = exchange->worker;
    struct up_pool_cell *cell = cell_of(exchange);
    int64_t room = exchange->is_extra ? 0 : room_to_wait(exchange);

    if (room == 0)
        return false;
    if (atomic_load_explicit(&cell->waiting, memory_order_relaxed) >= room)
        let_oldest_go(exchange);
    exchange->state = UP_EXCHANGE_WAITING;
    exchange->wait_until_ns = (exchange->began_ns + exchange->first_byte_ns) / 2;
    if (exchange->wait_until_ns > exchange->total_ns)
        exchange->wait_until_ns = exchange->total_ns;
    TAILQ_INSERT_HEAD(&worker->waiting, exchange, waiting);
    up_add(&cell->waiting, 1);
    set_timer(worker, exchange->wait_until_ns);
    return true;
}

/* The newest first: a request whose pool has a free place is sent, one whose time is over is given
 * up. A callback may end any of them, so each search starts anew. */
static struct up_exchange *find_due(struct up_worker *worker, int64_t now_ns, bool *ret_goes)
{
    struct up_exchange *exchange;

    TAILQ_FOREACH(exchange, &worker->waiting, waiting)
    {
        struct up_pool_cell *cell = cell_of(exchange);
        *ret_goes = now_ns < exchange->wait_until_ns && admits(exchange, under_way(cell)) &&
                    ps_adaptive_limit_begin(&cell->limit, now_ns);
        if (*ret_goes || now_ns >= exchange->wait_until_ns)
            return exchange;
    }
    return NULL;
}

static int64_t next_due_ns(const struct up_worker *worker)
{
    const struct up_exchange *exchange;
    int64_t next_ns = INT64_MAX;

    TAILQ_FOREACH(exchange, &worker->waiting, waiting)
    if (exchange->wait_until_ns < next_ns)
        next_ns = exchange->wait_until_ns;
    return next_ns;
}

static void on_timer(uv_timer_t *timer)
{
    struct up_worker *worker = timer->data;
    struct up_exchange *exchange;
    bool goes;

    worker->timer_ns = 0;
    while ((exchange = find_due(worker, up_now_ns(worker), &goes)) != NULL) {
        if (!goes) {
            let_go(exchange);
            continue;
        }
        stop_waiting(exchange);
        exchange->state = UP_EXCHANGE_TRYING;
        exchange->place_ns = up_now_ns(worker);
        up_exchange_go(exchange);
    }
    if (!TAILQ_EMPTY(&worker->waiting))
        set_timer(worker, next_due_ns(worker));
}

/* --- In and out --- */

/* While the circuit is half open, uploads take the places of probes from each other only. */
static enum up_end enter_upload(struct up_exchange *exchange)
{
    struct up_pool_cell *cell = cell_of(exchange);
    int64_t count = atomic_load_explicit(&cell->uploads.count, memory_order_relaxed);

    if (!admits(exchange, under_way(cell) + count))
        return UP_END_breaker;
    if (!up_uploads_begin(&cell->uploads, &exchange->upload, &exchange->client,
                          ps_adaptive_limit_in_force(&cell->limit), exchange->pool->doc->uploads))
        return UP_END_uploads_full;
    exchange->state = UP_EXCHANGE_TRYING;
    return UP_GOES;
}

enum up_end up_gate_enter(struct up_exchange *exchange)
{
    struct up_pool_cell *cell = cell_of(exchange);
    int64_t now_ns = exchange->began_ns;

    if (exchange->is_upload)
        return enter_upload(exchange);
    exchange->place_ns = now_ns;
    if (!admits(exchange, under_way(cell)))
        return UP_END_breaker;
    if (ps_adaptive_limit_begin(&cell->limit, now_ns)) {
        exchange->state = UP_EXCHANGE_TRYING;
        return UP_GOES;
    }
    if (wait(exchange))
        return UP_GOES;
    up_add(&cell->queue_full, 1);
    return UP_END_busy;
}

enum up_end up_gate_look(const struct up_exchange *exchange, bool *ret_waits)
{
    const struct up_pool_cell *cell = cell_of(exchange);

    if (!up_pool_would_admit(exchange->pool, exchange->worker->deps.index))
        return UP_END_breaker;
    *ret_waits = ps_adaptive_limit_is_full(&cell->limit);
    return !*ret_waits || room_to_wait(exchange) > 0 ? UP_GOES : UP_END_busy;
}

static void give_place_back(struct up_exchange *exchange, bool measured)
{
    struct up_pool_cell *cell = cell_of(exchange);

    up_uploads_end(&cell->uploads, &exchange->upload);
    if (exchange->place_ns == 0) /* an upload that is answered before its end */
        return;
    if (measured)
        ps_adaptive_limit_end(&cell->limit, exchange->place_ns, up_now_ns(exchange->worker));
    else
        ps_adaptive_limit_drop(&cell->limit);
    if (atomic_load_explicit(&cell->waiting, memory_order_relaxed) > 0)
        set_timer(exchange->worker, up_now_ns(exchange->worker));
}

void up_gate_sent(struct up_exchange *exchange)
{
    if (!exchange->is_upload || exchange->state != UP_EXCHANGE_TRYING)
        return;
    exchange->place_ns = up_now_ns(exchange->worker);
    ps_adaptive_limit_join(&cell_of(exchange)->limit, exchange->place_ns);
}

void up_gate_answered(struct up_exchange *exchange)
{
    give_place_back(exchange, true);
    exchange->state = UP_EXCHANGE_ANSWERING;
}

void up_gate_leave(struct up_exchange *exchange, const struct up_met *met)
{
    struct up_pool_cell *cell = cell_of(exchange);

    if (exchange->state == UP_EXCHANGE_WAITING)
        stop_waiting(exchange);
    else if (exchange->state == UP_EXCHANGE_TRYING)
        give_place_back(exchange, up_blame[met->end].place == UP_PLACE_AT_END);
    exchange->state = UP_EXCHANGE_OVER;
    up_circuit_count(&cell->circuit, met, up_prober(exchange));
}

/* --- The worker --- */

void up_gate_tick(struct up_worker *worker)
{
    const struct up_table *table = up_worker_table(worker);
    uint32_t index = worker->deps.index;

    for (size_t i = 0; table != NULL && i < table->pool_count; i++) {
        const struct up_pool_view *view = &table->pools[i];
        struct up_pool *pool = view->pool;
        up_circuit_tick(&pool->cells[index].circuit, &pool->order);
        int64_t waits_ns = view->first_byte_ms * PS_NS_PER_MS;
        ps_adaptive_limit_allow(&pool->cells[index].limit, waits_ns / 2);
        ps_adaptive_limit_time_out(&pool->cells[index].limit, waits_ns > 0 ? waits_ns : TIMEOUT_NS);
        for (size_t j = 0; j < view->member_count; j++) {
            struct up_endpoint *endpoint = view->members[j].endpoint;
            up_circuit_tick(&endpoint->cells[index].circuit, &endpoint->order);
        }
    }
}
