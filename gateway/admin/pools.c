/* What the document of a pool shows beside itself: each endpoint as it is at this moment; and the
 * figures of pools and routes for a scrape. */
#include "gateway/admin/parts.h"

#include "gateway/metrics.h"
#include "gateway/upstream/fallback.h"
#include "gateway/upstream/tally.h"

#include <inttypes.h>
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

/* The highest of all workers' values; each worker has its own. */
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
    return json_pack("{s:s, s:i, s:o, s:s, s:o, s:s?, s:s, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o}",
                     "address", endpoint->is.address, "weight", (int)member->as.weight,
                     "weight_now", ps_json_of_number((double)weight_now(endpoint) / UP_WEIGHT_ONE),
                     "state", up_state_names[endpoint->state], "since",
                     ps_json_of_time(endpoint->since_ms), "why", why[0] != '\0' ? why : NULL,
                     "breaker", ps_breaker_state_names[up_endpoint_circuit(endpoint)],
                     "connections", (json_int_t)up_endpoint_connections(endpoint), "in_flight",
                     (json_int_t)up_endpoint_in_flight(endpoint), "requests",
                     (json_int_t)all.answers, "errors", (json_int_t)all.failures, "errors_in_row",
                     (json_int_t)atomic_load_explicit(&endpoint->in_row, memory_order_relaxed),
                     "ewma_ms", ms_json((double)highest_ewma_ns(endpoint, now_ns)), "p50_ms",
                     ms_json((double)ps_times_quantile_ns(&added.times, 0.5)), "p99_ms",
                     ms_json((double)ps_times_quantile_ns(&added.times, 0.99)));
}

/* The state of its discovery; null: no discovery. */
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

/* --- Figures of pools and routes. --- */

/* A series of a pool or a route begins and ends with its document. */
#define LABELS_SIZE (PS_NAME_MAX + sizeof "pool=\"\"")

static int64_t load(const _Atomic(int64_t) *figure)
{
    return atomic_load_explicit(figure, memory_order_relaxed);
}

static void print_outcomes(FILE *out, const char *name, const struct up_pool *pool)
{
    for (size_t k = 0; k < UP_OUTCOME_COUNT; k++) {
        int64_t sum = 0;
        for (size_t i = 0; i < pool->cell_count; i++)
            sum += load(&pool->cells[i].outcomes[k]);
        fprintf(out, "%s{pool=\"%s\",outcome=\"%s\"} %" PRId64 "\n", name, pool->name,
                up_outcome_names[k], sum);
    }
}

static void print_durations(FILE *out, const char *name, const struct up_pool *pool)
{
    const struct ps_durations *all[UP_WORKERS_MAX];
    char labels[LABELS_SIZE];

    for (size_t i = 0; i < pool->cell_count; i++)
        all[i] = &pool->cells[i].durations;
    (void)snprintf(labels, sizeof labels, "pool=\"%s\"", pool->name);
    ps_durations_print(all, pool->cell_count, name, labels, out);
}

static void print_states(FILE *out, const char *name, const struct up_pool_view *view)
{
    for (size_t state = 0; up_state_names[state] != NULL; state++) {
        size_t count = 0;
        for (size_t i = 0; i < view->member_count; i++)
            count += view->members[i].endpoint->state == state;
        fprintf(out, "%s{pool=\"%s\",state=\"%s\"} %zu\n", name, view->pool->name,
                up_state_names[state], count);
    }
}

static void print_ejections(FILE *out, const char *name, const struct up_pool *pool)
{
    for (enum up_outlier reason = UP_OUTLIER_IN_ROW; reason < UP_OUTLIER_REASONS; reason++)
        fprintf(out, "%s{pool=\"%s\",reason=\"%s\"} %" PRId64 "\n", name, pool->name,
                up_outlier_names[reason], pool->ejections[reason]);
}

static int64_t sum_of(const struct up_pool_view *view, enum gw_metric row)
{
    const struct up_pool *pool = view->pool;
    int64_t sum = row == GW_M_UPSTREAM_PANIC && pool->panic;

    for (size_t i = 0; i < pool->cell_count; i++) {
        if (row == GW_M_UPSTREAM_RETRIES)
            sum += load(&pool->cells[i].retries);
        else if (row == GW_M_UPSTREAM_NO_ENDPOINT)
            sum += load(&pool->cells[i].no_endpoint);
        else if (row == GW_M_UPSTREAM_LIMIT)
            sum += ps_adaptive_limit_in_force(&pool->cells[i].limit);
        else if (row == GW_M_UPSTREAM_PLACES)
            sum += atomic_load_explicit(&pool->cells[i].limit.in_flight, memory_order_relaxed);
        else if (row == GW_M_UPSTREAM_WAITING)
            sum += load(&pool->cells[i].waiting);
        else if (row == GW_M_UPSTREAM_BUSY)
            sum += load(&pool->cells[i].queue_full);
        else if (row == GW_M_UPSTREAM_UPLOADS)
            sum += load(&pool->cells[i].uploads.count);
        else if (row == GW_M_UPSTREAM_UPLOADS_FULL)
            sum += load(&pool->cells[i].uploads.refused);
    }
    for (size_t i = 0; i < view->member_count; i++) {
        if (row == GW_M_UPSTREAM_CONNECTIONS)
            sum += up_endpoint_connections(view->members[i].endpoint);
        else if (row == GW_M_UPSTREAM_IN_FLIGHT)
            sum += up_endpoint_in_flight(view->members[i].endpoint);
        else if (row == GW_M_UPSTREAM_OPEN)
            sum += up_endpoint_circuit(view->members[i].endpoint) != PS_BREAKER_CLOSED;
    }
    return sum;
}

static void print_target(FILE *out, const char *name, const char *route,
                         const struct up_target *target, const char *pool)
{
    for (size_t k = 0; target != NULL && k < UP_OUTCOME_COUNT; k++) {
        int64_t sum = 0;
        for (size_t i = 0; i < target->cell_count; i++)
            sum += load(&target->cells[i].outcomes[k]);
        fprintf(out, "%s{route=\"%s\",pool=\"%s\",outcome=\"%s\"} %" PRId64 "\n", name, route, pool,
                up_outcome_names[k], sum);
    }
}

static void print_judged(FILE *out, const char *name, const char *route,
                         const struct up_target *target, const char *pool)
{
    int64_t judged = 0, bad = 0;

    for (size_t i = 0; target != NULL && i < target->cell_count; i++) {
        bad += load(&target->cells[i].failed); /* first: it is counted last */
        judged += load(&target->cells[i].judged);
    }
    fprintf(out, "%s{route=\"%s\",pool=\"%s\",result=\"good\"} %" PRId64 "\n", name, route, pool,
            judged - bad);
    fprintf(out, "%s{route=\"%s\",pool=\"%s\",result=\"bad\"} %" PRId64 "\n", name, route, pool,
            bad);
}

typedef void print_target_fn(FILE *out, const char *name, const char *route,
                             const struct up_target *target, const char *pool);

/* Two splits to one pool would make two series of the same name: they are one then, the first. */
static bool is_first(const struct up_route_view *view, size_t split)
{
    const char *pool = view->splits[split].as->pool;
    bool first = strcmp(pool, view->doc->pool) != 0;

    for (size_t i = 0; i < split; i++)
        first &= strcmp(pool, view->splits[i].as->pool) != 0;
    return first;
}

static void print_routes(FILE *out, const char *name, const struct up_table *table,
                         print_target_fn *print)
{
    for (size_t i = 0; i < table->route_count; i++) {
        const struct up_route_view *view = &table->routes[i];
        print(out, name, view->doc->name, view->own, view->doc->pool);
        for (size_t k = 0; k < view->doc->split_count; k++)
            if (is_first(view, k))
                print(out, name, view->doc->name, view->splits[k].live, view->splits[k].as->pool);
    }
}

static void print_fallbacks(FILE *out, const char *name, const struct up_route *route)
{
    int64_t nothing = 0;

    for (size_t kind = 0; kind < CFG_FALLBACK_KINDS; kind++) {
        int64_t sum = 0;
        for (size_t i = 0; i < route->cell_count; i++)
            sum += load(&route->cells[i].fallbacks[kind]);
        fprintf(out, "%s{route=\"%s\",kind=\"%s\"} %" PRId64 "\n", name, route->name,
                up_fallback_names[kind], sum);
    }
    for (size_t i = 0; i < route->cell_count; i++)
        nothing += load(&route->cells[i].nothing_left);
    fprintf(out, "%s{route=\"%s\",kind=\"none\"} %" PRId64 "\n", name, route->name, nothing);
}

static void print_shares(FILE *out, const char *name, const struct up_route_view *view)
{
    for (size_t i = 0; i < view->doc->split_count; i++) {
        const struct up_split_view *split = &view->splits[i];
        fprintf(out, "%s{route=\"%s\",pool=\"%s\",split=\"%zu\"} %g\n", name, view->doc->name,
                split->as->pool, i, up_split_is_off(split) ? 0 : split->per_mille / 1000.0);
    }
}

static void print_mirrors(FILE *out, const char *name, const struct up_route *route)
{
    int64_t sent = 0, failed = 0, left_out = 0;

    for (size_t i = 0; i < route->cell_count; i++) {
        sent += load(&route->cells[i].mirrors);
        failed += load(&route->cells[i].mirrors_failed);
        left_out += load(&route->cells[i].mirrors_left_out);
    }
    fprintf(out, "%s{route=\"%s\",result=\"sent\"} %" PRId64 "\n", name, route->name, sent);
    fprintf(out, "%s{route=\"%s\",result=\"failed\"} %" PRId64 "\n", name, route->name, failed);
    fprintf(out, "%s{route=\"%s\",result=\"left_out\"} %" PRId64 "\n", name, route->name, left_out);
}

static void print_returns(FILE *out, const char *name, const struct up_route *route)
{
    for (enum up_cause i = UP_CAUSE_ERRORS; i < UP_CAUSE_COUNT; i++)
        fprintf(out, "%s{route=\"%s\",cause=\"%s\"} %" PRId64 "\n", name, route->name,
                up_cause_names[i], route->returns[i]);
}

/* False: the row is of pools. */
static bool print_route_rows(FILE *out, enum gw_metric row, const struct up_table *table)
{
    const char *name = gw_metric_table[row].name;

    if (row == GW_M_ROUTE_REQUESTS)
        print_routes(out, name, table, print_target);
    else if (row == GW_M_ROUTE_JUDGED)
        print_routes(out, name, table, print_judged);
    else if (row != GW_M_ROUTE_FALLBACKS && row != GW_M_ROUTE_SPLIT && row != GW_M_ROUTE_MIRRORS &&
             row != GW_M_ROUTE_RETURNS)
        return false;
    for (size_t i = 0; i < table->route_count; i++) {
        const struct up_route_view *view = &table->routes[i];
        if (row == GW_M_ROUTE_SPLIT)
            print_shares(out, name, view);
        else if (row == GW_M_ROUTE_RETURNS && view->doc->split_count > 0)
            print_returns(out, name, view->live);
        else if (row == GW_M_ROUTE_FALLBACKS && view->doc->fallback_count > 0)
            print_fallbacks(out, name, view->live);
        else if (row == GW_M_ROUTE_MIRRORS && view->mirror != NULL)
            print_mirrors(out, name, view->live);
    }
    return true;
}

static void print_pools(FILE *out, enum gw_metric row, const struct op_admin *admin)
{
    const struct up_table *table = up_registry_table(admin->deps.shop);
    const char *name = gw_metric_table[row].name;

    if (table == NULL || print_route_rows(out, row, table))
        return;
    for (size_t i = 0; i < table->pool_count; i++) {
        const struct up_pool_view *view = &table->pools[i];
        if (row == GW_M_UPSTREAM_REQUESTS)
            print_outcomes(out, name, view->pool);
        else if (row == GW_M_UPSTREAM_SECONDS)
            print_durations(out, name, view->pool);
        else if (row == GW_M_UPSTREAM_ENDPOINTS)
            print_states(out, name, view);
        else if (row == GW_M_UPSTREAM_EJECTIONS)
            print_ejections(out, name, view->pool);
        else
            fprintf(out, "%s{pool=\"%s\"} %" PRId64 "\n", name, view->pool->name,
                    sum_of(view, row));
    }
}

static void print_discovery_of(FILE *out, enum gw_metric row, const char *pool,
                               const struct up_discovery_view *view)
{
    const char *name = gw_metric_table[row].name;

    if (row == GW_M_DISCOVERY_SUCCESS)
        fprintf(out, "%s{pool=\"%s\",source=\"%s\"} %" PRId64 ".%03" PRId64 "\n", name, pool,
                view->source, view->good_ms / 1000, view->good_ms % 1000);
    else if (row == GW_M_DISCOVERY_FAILURES)
        fprintf(out, "%s{pool=\"%s\",source=\"%s\"} %" PRId64 "\n", name, pool, view->source,
                view->failures);
    for (size_t i = 0; row == GW_M_DISCOVERY_STATE && up_discovery_state_names[i] != NULL; i++)
        fprintf(out, "%s{pool=\"%s\",source=\"%s\",state=\"%s\"} %d\n", name, pool, view->source,
                up_discovery_state_names[i], view->state == i);
}

static void print_discovery(FILE *out, enum gw_metric row, const struct op_admin *admin)
{
    const struct up_discovery *discovery = up_membership_discovery(admin->deps.members);
    const struct up_table *table = up_registry_table(admin->deps.shop);
    struct up_discovery_view view;

    for (size_t i = 0; table != NULL && i < table->pool_count; i++)
        if (up_discovery_view(discovery, table->pools[i].pool->name, &view))
            print_discovery_of(out, row, table->pools[i].pool->name, &view);
}

/* --- The part. --- */

const struct op_part op_pools_part = {
    .rows =
        (const struct op_rows[]){{GW_M_UPSTREAM_REQUESTS, GW_M_UPSTREAM_UPLOADS_FULL, print_pools},
                                 {GW_M_ROUTE_FALLBACKS, GW_M_ROUTE_JUDGED, print_pools},
                                 {GW_M_DISCOVERY_STATE, GW_M_DISCOVERY_FAILURES, print_discovery},
                                 {0}},
    .kinds = (const struct op_kind[]){{.kind = &cfg_kind_pool, .show = show_pool}, {0}},
};
