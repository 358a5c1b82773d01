/* Which endpoint gets a request, or would get it. */
#include "gateway/upstream/forward_internal.h"

static struct up_pool_cell *cell_of(const struct up_exchange *exchange)
{
    return &exchange->pool->pool->cells[exchange->worker->deps.index];
}

static bool was_tried(const struct up_exchange *exchange, const struct up_endpoint *endpoint)
{
    for (unsigned i = 0; i < exchange->tries; i++)
        if (exchange->tried[i] == endpoint)
            return true;
    return false;
}

/* *ret_refused is set if the endpoint's circuit refuses, and left as it is otherwise. */
static struct up_candidate candidate(const struct up_exchange *exchange,
                                     const struct up_member *member, int64_t now_ns,
                                     bool *ret_refused)
{
    const struct cfg_pool *doc = exchange->pool->doc;
    struct up_endpoint *endpoint = member->endpoint;
    struct up_endpoint_cell *cell = up_cell_of(exchange->worker, endpoint);
    uint32_t weight = atomic_load_explicit(&endpoint->weight, memory_order_relaxed);
    uint32_t full = (uint32_t)member->as.weight * UP_WEIGHT_ONE;

    if (was_tried(exchange, endpoint) ||
        (doc->connections_max > 0 && TAILQ_EMPTY(&cell->idle) &&
         up_endpoint_connections(endpoint) >= doc->connections_max))
        weight = 0;
    int64_t here = atomic_load_explicit(&cell->in_flight, memory_order_relaxed);
    if (weight > 0 &&
        !(exchange->is_look ? up_circuit_would_admit(&cell->circuit, here)
                            : up_circuit_admits(&cell->circuit, here, up_prober(exchange)))) {
        weight = 0;
        *ret_refused = true;
    }
    return (struct up_candidate){
        .hash = endpoint->hash,
        .weight = weight,
        .full = full > weight ? full : weight,
        .in_flight = up_endpoint_in_flight(endpoint),
        .latency_ns =
            up_ewma_at(atomic_load_explicit(&cell->ewma_ns, memory_order_relaxed),
                       now_ns - atomic_load_explicit(&cell->ewma_at_ns, memory_order_relaxed)),
        .current = &cell->current};
}

static void fill_candidates(const struct up_exchange *exchange, struct up_candidate *ret_table,
                            bool *ret_refused)
{
    const struct up_pool_view *pool = exchange->pool;
    int64_t now_ns = up_now_ns(exchange->worker);

    for (size_t i = 0; i < pool->member_count; i++)
        ret_table[i] = candidate(exchange, &pool->members[i], now_ns, ret_refused);
}

struct up_endpoint *up_exchange_pick(const struct up_exchange *exchange, bool *ret_refused)
{
    const struct up_pool_view *pool = exchange->pool;
    struct up_pool_cell *cell = cell_of(exchange);
    struct up_candidate table[CFG_ENDPOINTS_MAX];

    fill_candidates(exchange, table, ret_refused);
    size_t place =
        up_pick(&cell->picker, pool->doc->algorithm, table, pool->member_count, exchange->key);
    return place == UP_NONE ? NULL : pool->members[place].endpoint;
}

const struct up_endpoint *up_exchange_pick_look(const struct up_exchange *exchange,
                                                size_t *ret_usable, bool *ret_refused)
{
    const struct up_pool_view *pool = exchange->pool;
    struct up_picker picker = cell_of(exchange)->picker;
    struct up_candidate table[CFG_ENDPOINTS_MAX];
    int64_t current[CFG_ENDPOINTS_MAX];

    *ret_usable = 0;
    fill_candidates(exchange, table, ret_refused);
    for (size_t i = 0; i < pool->member_count; i++) {
        current[i] = *table[i].current;
        table[i].current = &current[i];
        *ret_usable += table[i].weight > 0;
    }
    size_t place = up_pick(&picker, pool->doc->algorithm, table, pool->member_count, exchange->key);
    return place == UP_NONE ? NULL : pool->members[place].endpoint;
}
