/* What the document of a pool shows beside itself: each endpoint as it is at this moment. */
#include "gateway/admin/pools.h"

#include "gateway/admin/parts.h"

#include <math.h>

/* In ms with three digits after the point; null: nothing was measured. */
static json_t *ms_json(double ns)
{
    return ns > 0 ? json_real(round(ns / 1e3) / 1e3) : json_null();
}

static json_t *time_json(int64_t wall_ms) /* 0: null */
{
    return wall_ms > 0 ? ps_json_of_time(wall_ms) : json_null();
}

/* The highest of the workers': each goes by its own. */
static int64_t highest_ewma_ns(const struct up_endpoint *endpoint, int64_t now_ns)
{
    int64_t highest = 0;

    for (size_t i = 0; i < endpoint->cell_count; i++) {
        const struct up_endpoint_cell *cell = &endpoint->cells[i];
        int64_t at_ns = atomic_load_explicit(&cell->ewma_at_ns, memory_order_relaxed);
        int64_t ewma_ns =
            up_ewma_at(atomic_load_explicit(&cell->ewma_ns, memory_order_relaxed), now_ns - at_ns);
        highest = ewma_ns > highest ? ewma_ns : highest;
    }
    return highest;
}

static int64_t weight_now(const struct up_endpoint *endpoint)
{
    return atomic_load_explicit(&endpoint->weight, memory_order_relaxed);
}

static json_t *endpoint_json(const struct up_member *member, int64_t now_ns)
{
    const struct up_endpoint *endpoint = member->endpoint;
    const char *why = endpoint->why;
    struct up_figures all, added;

    up_figures_read(endpoint, &all);
    up_recent_read(&endpoint->judged.recent, &all, &added);
    return json_pack("{s:s, s:i, s:o, s:s, s:o, s:s?, s:s, s:I, s:I, s:I, s:I, s:o, s:o, s:o}",
                     "address", endpoint->is.address, "weight", (int)member->as.weight,
                     "weight_now", ps_json_of_number((double)weight_now(endpoint) / UP_WEIGHT_ONE),
                     "state", up_state_names[endpoint->state], "since",
                     ps_json_of_time(endpoint->since_ms), "why", why[0] != '\0' ? why : NULL,
                     "breaker", ps_breaker_state_names[up_endpoint_circuit(endpoint)],
                     "connections", (json_int_t)up_endpoint_connections(endpoint), "in_flight",
                     (json_int_t)up_endpoint_in_flight(endpoint), "requests",
                     (json_int_t)all.answers, "errors", (json_int_t)all.failures, "ewma_ms",
                     ms_json((double)highest_ewma_ns(endpoint, now_ns)), "p50_ms",
                     ms_json((double)ps_times_quantile_ns(&added.times, 0.5)), "p99_ms",
                     ms_json((double)ps_times_quantile_ns(&added.times, 0.99)));
}

/* What its discovery says; null: it has none. */
static json_t *discovered_json(const struct op_admin *admin, const char *pool)
{
    struct up_discovery_view view;

    if (!up_discovery_view(up_membership_discovery(admin->deps.members), pool, &view))
        return json_null();
    return json_pack("{s:s, s:s, s:o, s:s?, s:i, s:o}", "source", view.source, "state",
                     up_discovery_state_names[view.state], "since", ps_json_of_time(view.since_ms),
                     "why", view.why[0] != '\0' ? view.why : NULL, "endpoints",
                     (int)view.endpoint_count, "next", time_json(view.next_ms));
}

static int show_pool(const struct op_admin *admin, const struct cfg_doc *doc, json_t *json)
{
    const struct up_pool_view *pool = up_registry_pool(admin->deps.shop, doc->name);
    int64_t now_ns = ps_clock_mono_ns(admin->deps.clock);
    json_t *live = json_array();
    int err = 0;

    for (size_t i = 0; err == 0 && pool != NULL && i < pool->member_count; i++)
        err = json_array_append_new(live, endpoint_json(&pool->members[i], now_ns));
    return json_object_set_new(json, "discovered", discovered_json(admin, doc->name)) |
           json_object_set_new(json, "live", ps_json_built(live, err)) |
           json_object_set_new(json, "panic", json_boolean(pool != NULL && pool->pool->panic)) |
           json_object_set_new(
               json, "panic_since",
               time_json(pool != NULL && pool->pool->panic ? pool->pool->panic_since_ms : 0));
}

/* --- What it brings. --- */

const struct op_part op_pools_part = {
    .rows = (const struct op_rows[]){{GW_M_UPSTREAM_REQUESTS, GW_M_UPSTREAM_BUSY, op_print_pools},
                                     {GW_M_ROUTE_FALLBACKS, GW_M_ROUTE_REQUESTS, op_print_pools},
                                     {GW_M_DISCOVERY_STATE, GW_M_DISCOVERY_FAILURES,
                                      op_print_discovery},
                                     {0}},
    .kinds = (const struct op_kind[]){{.kind = &cfg_kind_pool, .show = show_pool}, {0}},
};
