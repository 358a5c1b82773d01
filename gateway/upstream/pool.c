/* Reference counts and sums of what threads share of pools. */
#include "gateway/cache/cache.h"
#include "gateway/upstream/route_figures.h"

#include <stdlib.h>

#define OUTCOME_NAME(name) #name,
const char *const up_state_names[] = {"up", "down", "ejected", "draining", "slow_start", NULL};

static void keep(_Atomic(unsigned) *refs)
{
    atomic_fetch_add_explicit(refs, 1, memory_order_relaxed);
}

/* True: that was the last one. */
static bool drop(_Atomic(unsigned) *refs)
{
    return atomic_fetch_sub_explicit(refs, 1, memory_order_acq_rel) == 1;
}

struct up_endpoint *up_endpoint_keep(struct up_endpoint *endpoint)
{
    keep(&endpoint->refs);
    return endpoint;
}

void up_endpoint_drop(struct up_endpoint *endpoint)
{
    if (endpoint == NULL || !drop(&endpoint->refs))
        return;
    free(endpoint);
}

struct up_pool *up_pool_keep(struct up_pool *pool)
{
    keep(&pool->refs);
    return pool;
}

static void drop_pool(struct up_pool *pool)
{
    if (pool != NULL && drop(&pool->refs))
        free(pool);
}

struct up_table *up_table_keep(struct up_table *table)
{
    keep(&table->refs);
    return table;
}

void up_table_drop(struct up_table *table)
{
    if (table == NULL || !drop(&table->refs))
        return;
    for (size_t i = 0; i < table->pool_count; i++) {
        struct up_pool_view *pool = &table->pools[i];
        for (size_t k = 0; k < pool->member_count; k++)
            up_endpoint_drop(pool->members[k].endpoint);
        free(pool->members);
        drop_pool(pool->pool);
        cfg_pool_drop(pool->doc);
    }
    for (size_t i = 0; i < table->route_count; i++) {
        up_route_unbind(&table->routes[i]);
        cache_drop(table->routes[i].cache);
        free(table->routes[i].fallback);
        free(table->routes[i].splits);
        free(table->routes[i].out);
        cfg_route_drop(table->routes[i].doc);
    }
    free(table->pools);
    free(table->routes);
    free(table->by_name);
    free(table->slots);
    free(table);
}

int64_t up_endpoint_in_flight(const struct up_endpoint *endpoint)
{
    int64_t sum = 0;

    for (size_t i = 0; i < endpoint->cell_count; i++)
        sum += atomic_load_explicit(&endpoint->cells[i].in_flight, memory_order_relaxed);
    return sum;
}

int64_t up_endpoint_connections(const struct up_endpoint *endpoint)
{
    int64_t sum = 0;

    for (size_t i = 0; i < endpoint->cell_count; i++)
        sum += atomic_load_explicit(&endpoint->cells[i].connections, memory_order_relaxed);
    return sum;
}

enum ps_breaker_state up_endpoint_circuit(const struct up_endpoint *endpoint)
{
    enum ps_breaker_state state = PS_BREAKER_CLOSED;

    for (size_t i = 0; i < endpoint->cell_count; i++) {
        struct ps_breaker_view view;
        up_circuit_read(&endpoint->cells[i].circuit, &view);
        if (view.state == PS_BREAKER_OPEN)
            return PS_BREAKER_OPEN;
        if (view.state == PS_BREAKER_HALF_OPEN)
            state = PS_BREAKER_HALF_OPEN;
    }
    return state;
}
