/* See registry.h. */
#include "gateway/upstream/registry.h"

#include "common/grow.h"
#include "common/text/id.h"
#include "common/program/log.h"
#include "common/sorted.h"
#include "gateway/cache/caches.h"
#include "gateway/config/kinds/override.h"
#include "gateway/upstream/judge.h"
#include "gateway/upstream/route.h"
#include "gateway/upstream/route_figures.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An endpoint that is in no table any more but may still serve requests. */
struct leaving {
    struct up_endpoint *endpoint;
    char pool[PS_NAME_MAX + 1];
    int64_t cut_ns;
};

struct up_registry {
    struct up_registry_deps deps;
    struct up_table *table; /* the current one */
    struct leaving *leaving;
    size_t leaving_count, leaving_room;
};

int up_registry_new(const struct up_registry_deps *deps, struct up_registry **ret_registry)
{
    struct up_registry *registry = calloc(1, sizeof *registry);

    if (registry == NULL)
        return PS_E_NOMEM;
    registry->deps = *deps;
    *ret_registry = registry;
    return 0;
}

void up_registry_free(struct up_registry *registry)
{
    if (registry == NULL)
        return;
    up_table_drop(registry->table);
    for (size_t i = 0; i < registry->leaving_count; i++)
        up_endpoint_drop(registry->leaving[i].endpoint);
    free(registry->leaving);
    free(registry);
}

const struct up_table *up_registry_table(const struct up_registry *registry)
{
    return registry->table;
}

/* --- By name and address. --- */

static int compare_with_pool(const void *name, const void *pool)
{
    return strcmp(name, ((const struct up_pool_view *)pool)->doc->name);
}

static struct up_pool_view *find_pool(const struct up_table *table, const char *name)
{
    return table != NULL ? ps_sorted_find(name, table->pools, table->pool_count,
                                          sizeof *table->pools, compare_with_pool)
                         : NULL;
}

const struct up_pool_view *up_registry_pool(const struct up_registry *registry, const char *name)
{
    return find_pool(registry->table, name);
}

static int compare_members(const void *a, const void *b)
{
    return strcmp(((const struct up_member *)a)->as.address,
                  ((const struct up_member *)b)->as.address);
}

static int compare_with_member(const void *address, const void *member)
{
    return strcmp(address, ((const struct up_member *)member)->as.address);
}

static struct up_member *find_member(const struct up_pool_view *pool, const char *address)
{
    return pool != NULL ? ps_sorted_find(address, pool->members, pool->member_count,
                                         sizeof *pool->members, compare_with_member)
                        : NULL;
}

static int compare_with_route(const void *name, const void *route)
{
    return strcmp(name, (*(const struct up_route_view *const *)route)->doc->name);
}

static const struct up_route_view *find_route(const struct up_registry *registry, const char *name)
{
    const struct up_table *table = registry->table;
    const struct up_route_view **found =
        table != NULL ? ps_sorted_find(name, table->by_name, table->route_count,
                                       sizeof *table->by_name, compare_with_route)
                      : NULL;

    return found != NULL ? *found : NULL;
}

static struct leaving *find_leaving(const struct up_registry *registry, const char *pool,
                                    const char *address)
{
    for (size_t i = 0; i < registry->leaving_count; i++) {
        struct leaving *leaving = &registry->leaving[i];
        if (strcmp(leaving->pool, pool) == 0 && strcmp(leaving->endpoint->is.address, address) == 0)
            return leaving;
    }
    return NULL;
}

/* --- One table. --- */

static struct up_endpoint *new_endpoint(const struct up_registry *registry,
                                        const struct cfg_endpoint *as)
{
    static const struct ps_hash_key fixed = {{0}}; /* the same on every gateway */
    size_t cells = registry->deps.worker_count;
    struct up_endpoint *endpoint =
        aligned_alloc(PS_CACHE_LINE, sizeof *endpoint + cells * sizeof endpoint->cells[0]);

    if (endpoint == NULL)
        return NULL;
    memset(endpoint, 0, sizeof *endpoint + cells * sizeof endpoint->cells[0]);
    endpoint->refs = 1;
    endpoint->is = *as;
    endpoint->hash = ps_hash64(&fixed, as->address, strlen(as->address));
    endpoint->cell_count = cells;
    endpoint->since_ms = ps_clock_wall_ms(registry->deps.clock);
    for (size_t i = 0; i < cells; i++) {
        TAILQ_INIT(&endpoint->cells[i].idle);
        up_circuit_init(&endpoint->cells[i].circuit, &up_circuit_of_endpoint, registry->deps.clock);
    }
    return endpoint;
}

/* With a reference for the caller. NULL: out of memory. */
static struct up_endpoint *take_endpoint(const struct up_registry *registry,
                                         const struct up_pool_view *before, const char *pool,
                                         const struct cfg_endpoint *as)
{
    const struct up_member *member = find_member(before, as->address);
    const struct leaving *leaving = find_leaving(registry, pool, as->address);

    return member != NULL    ? up_endpoint_keep(member->endpoint)
           : leaving != NULL ? up_endpoint_keep(leaving->endpoint)
                             : new_endpoint(registry, as);
}

static struct up_pool *new_pool(const struct up_registry *registry, const char *name)
{
    size_t cells = registry->deps.worker_count;
    struct up_pool *pool = aligned_alloc(
        PS_CACHE_LINE, (sizeof *pool + cells * sizeof pool->cells[0] + PS_CACHE_LINE - 1) /
                           PS_CACHE_LINE * PS_CACHE_LINE);

    if (pool == NULL)
        return NULL;
    memset(pool, 0, sizeof *pool + cells * sizeof pool->cells[0]);
    pool->refs = 1;
    memcpy(pool->name, name, strlen(name) + 1);
    pool->cell_count = cells;
    for (size_t i = 0; i < cells; i++) {
        up_gate_init(&pool->cells[i], registry->deps.clock);
        /* so that workers and gateways do not all begin with the first endpoint */
        randombytes_buf(&pool->cells[i].picker, sizeof pool->cells[i].picker);
    }
    return pool;
}

static int add_member(const struct up_registry *registry, const struct up_pool_view *before,
                      const struct cfg_endpoint *as, struct up_pool_view *pool)
{
    struct up_member *member = &pool->members[pool->member_count];

    member->as = *as;
    member->endpoint = take_endpoint(registry, before, pool->doc->name, as);
    if (member->endpoint == NULL)
        return PS_E_NOMEM;
    pool->member_count++;
    return 0;
}

static bool has_endpoint(const struct cfg_pool *pool, const char *address)
{
    for (size_t i = 0; i < pool->endpoint_count; i++)
        if (strcmp(pool->endpoints[i].address, address) == 0)
            return true;
    return false;
}

/* True if the settings no longer allow an endpoint of the document, or it is one of the gateway's
 * own listeners. Logs it once for each version of the document. */
static bool is_left_out(const struct up_registry *registry, const struct up_pool_view *before,
                        const struct cfg_pool *pool, const struct cfg_endpoint *endpoint)
{
    const struct up_membership *members = registry->deps.members;
    const char *refusal = members != NULL ? up_membership_refusal(members, endpoint) : NULL;
    char why[UP_DISCOVERY_WHY];

    if (refusal == NULL)
        return false;
    (void)snprintf(why, sizeof why, "%s %s", endpoint->address, refusal);
    if (before == NULL || before->doc != pool)
        ps_log(PS_LOG_WARN, "discovery_left_out", PS_F_STR("pool", pool->name),
               PS_F_STR("source", "document"), PS_F_STR("why", why));
    return true;
}

/* Adds the document's endpoints, and those discovered ones that the document does not name. */
static int fill_pool(const struct up_registry *registry, const struct cfg_doc *doc,
                     struct up_pool_view *ret_pool)
{
    const struct up_pool_view *before = find_pool(registry->table, doc->name);
    const struct up_membership *members = registry->deps.members;
    const struct cfg_endpoint *found = NULL;
    struct cfg_pool *pool = cfg_pool_of(doc);
    size_t found_count = 0;
    int err = 0;

    ret_pool->doc = cfg_pool_keep(pool);
    ret_pool->pool = before != NULL ? up_pool_keep(before->pool) : new_pool(registry, doc->name);
    if (members != NULL)
        found = up_discovery_endpoints(up_membership_discovery(members), doc->name, &found_count);
    ret_pool->members = calloc(pool->endpoint_count + found_count + 1, sizeof *ret_pool->members);
    if (ret_pool->pool == NULL || ret_pool->members == NULL)
        return PS_E_NOMEM;
    for (size_t i = 0; i < pool->endpoint_count && err == 0; i++)
        if (!is_left_out(registry, before, pool, &pool->endpoints[i]))
            err = add_member(registry, before, &pool->endpoints[i], ret_pool);
    for (size_t i = 0; i < found_count && err == 0; i++)
        if (ret_pool->member_count < CFG_ENDPOINTS_MAX && !has_endpoint(pool, found[i].address))
            err = add_member(registry, before, &found[i], ret_pool);
    if (err < 0)
        return err;
    qsort(ret_pool->members, ret_pool->member_count, sizeof *ret_pool->members, compare_members);
    return 0;
}

/* A pool of the route; the pool's timeout is the longest of its routes. NULL: there is no such
 * pool. */
static const struct up_pool_view *pool_of(const struct up_table *table, const char *name,
                                          const struct cfg_route *route)
{
    struct up_pool_view *pool = find_pool(table, name);

    if (pool != NULL && pool->first_byte_ms < route->first_byte_ms)
        pool->first_byte_ms = route->first_byte_ms;
    return pool;
}

/* Its share: an override's, or the document's. */
static uint32_t share_of(const struct cfg_store *store, const struct cfg_route *route,
                         const struct cfg_split *split)
{
    char of[2 * PS_NAME_MAX + 2];

    (void)snprintf(of, sizeof of, "%s:%s", route->name, split->pool);
    return (uint32_t)cfg_overridden(store, CFG_OVERRIDE_SPLIT, of, (int)split->per_mille);
}

/* Who has turned its pool off, and until when. PS_E_NOMEM. */
static int note_override(const struct cfg_store *store, struct up_route_view *route)
{
    const struct cfg_doc *doc = cfg_override_find(store, CFG_OVERRIDE_FALLBACK, route->doc->name);
    char until[PS_TIME_LEN + 1];

    if (doc == NULL)
        return 0;
    ps_time_format(cfg_override_of(doc)->until_ms, until);
    const char *run = cfg_override_of(doc)->run, *why = doc->by.why;
    return asprintf(&route->out, "the override %s of %s%s, until %s%s%s",
                    cfg_override_of(doc)->target, run[0] != '\0' ? "the run " : "",
                    run[0] != '\0' ? run : doc->by.who, until, why[0] != '\0' ? ": " : "", why) < 0
               ? PS_E_NOMEM
               : 0;
}

static int fill_route(const struct up_registry *registry, const struct cfg_store *store,
                      const struct up_table *table, const struct cfg_doc *doc,
                      struct up_route_view *ret_route)
{
    struct cfg_route *route = cfg_route_of(doc);

    ret_route->doc = cfg_route_keep(route);
    ret_route->pool = pool_of(table, route->pool, route);
    ret_route->mirror = pool_of(table, route->mirror.pool, route);
    ret_route->fallback = calloc(route->fallback_count + 1, sizeof(void *));
    ret_route->splits = calloc(route->split_count + 1, sizeof *ret_route->splits);
    if (ret_route->fallback == NULL || ret_route->splits == NULL)
        return PS_E_NOMEM;
    for (size_t i = 0; i < route->fallback_count; i++)
        if (route->fallbacks[i].kind == CFG_FALLBACK_POOL)
            ret_route->fallback[i] = pool_of(table, route->fallbacks[i].pool, route);
    for (size_t i = 0; i < route->split_count; i++)
        ret_route->splits[i] =
            (struct up_split_view){.as = &route->splits[i],
                                   .pool = pool_of(table, route->splits[i].pool, route),
                                   .per_mille = share_of(store, route, &route->splits[i])};
    if (note_override(store, ret_route) < 0)
        return PS_E_NOMEM;
    if (registry->deps.caches != NULL && route->cache.store[0] != '\0')
        ret_route->cache = caches_find(registry->deps.caches, route->cache.store);
    if (ret_route->cache != NULL)
        (void)cache_keep(ret_route->cache);
    return up_route_bind(ret_route, find_route(registry, doc->name), registry->deps.worker_count);
}

static int compare_routes(const void *a, const void *b)
{
    return strcmp((*(const struct up_route_view *const *)a)->doc->name,
                  (*(const struct up_route_view *const *)b)->doc->name);
}

static int index_names(struct up_table *table)
{
    table->by_name = calloc(table->route_count + 1, sizeof *table->by_name);
    if (table->by_name == NULL)
        return PS_E_NOMEM;
    for (size_t i = 0; i < table->route_count; i++)
        table->by_name[i] = &table->routes[i];
    qsort(table->by_name, table->route_count, sizeof *table->by_name, compare_routes);
    return 0;
}

static int fill_table(const struct up_registry *registry, const struct cfg_store *store,
                      struct up_table *table)
{
    const struct cfg_doc *doc = NULL;
    int err = 0;

    table->refs = 1;
    if (registry->deps.caches != NULL && caches_apply(registry->deps.caches, store) < 0)
        return PS_E_NOMEM;
    table->pools = calloc(cfg_store_count(store, &cfg_kind_pool) + 1, sizeof *table->pools);
    table->routes = calloc(cfg_store_count(store, &cfg_kind_route) + 1, sizeof *table->routes);
    if (table->pools == NULL || table->routes == NULL)
        return PS_E_NOMEM;
    while (err == 0 && (doc = cfg_store_next(store, &cfg_kind_pool, doc)) != NULL)
        err = fill_pool(registry, doc, &table->pools[table->pool_count++]);
    doc = NULL;
    while (err == 0 && (doc = cfg_store_next(store, &cfg_kind_route, doc)) != NULL)
        err = fill_route(registry, store, table, doc, &table->routes[table->route_count++]);
    if (err == 0)
        err = up_route_index(table); /* sorts the routes */
    return err < 0 ? err : index_names(table);
}

/* --- From one table to the next. --- */

/* Notes endpoints of the last table that are not in this one. PS_E_NOMEM: nothing has changed. */
static int see_off(struct up_registry *registry, const struct up_table *next)
{
    const struct up_table *last = registry->table;
    int64_t now_ns = ps_clock_mono_ns(registry->deps.clock);
    size_t most = registry->leaving_count;

    for (size_t i = 0; last != NULL && i < last->pool_count; i++)
        most += last->pools[i].member_count;
    if (ps_grow(&registry->leaving, &registry->leaving_room, most, sizeof *registry->leaving) < 0)
        return PS_E_NOMEM;
    for (size_t i = 0; last != NULL && i < last->pool_count; i++) {
        const struct up_pool_view *pool = &last->pools[i];
        const struct up_pool_view *now = find_pool(next, pool->doc->name);
        for (size_t k = 0; k < pool->member_count; k++) {
            struct up_endpoint *endpoint = pool->members[k].endpoint;
            if (find_member(now, endpoint->is.address) != NULL)
                continue;
            atomic_store(&endpoint->gone, true);
            struct leaving *leaving = &registry->leaving[registry->leaving_count++];
            leaving->endpoint = up_endpoint_keep(endpoint);
            memcpy(leaving->pool, pool->doc->name, sizeof leaving->pool);
            leaving->cut_ns = now_ns + pool->doc->drain_ms * PS_NS_PER_MS;
        }
    }
    return 0;
}

static void drop_leaving(struct up_registry *registry, struct leaving *leaving)
{
    up_endpoint_drop(leaving->endpoint);
    *leaving = registry->leaving[--registry->leaving_count];
}

static void judge(const struct up_registry *registry, const struct up_pool_view *pool)
{
    const struct up_membership *members = registry->deps.members;
    const struct up_verdict *checks[CFG_ENDPOINTS_MAX];

    for (size_t i = 0; i < pool->member_count; i++)
        checks[i] = members != NULL ? up_health_find(up_membership_health(members), pool->doc->name,
                                                     pool->members[i].as.address)
                                    : NULL;
    up_judge_tick(pool, checks, ps_clock_mono_ns(registry->deps.clock),
                  ps_clock_wall_ms(registry->deps.clock));
}

/* Judges the members of the next table before a worker sees them. */
static void welcome(struct up_registry *registry, const struct up_table *next)
{
    for (size_t i = 0; i < next->pool_count; i++) {
        const struct up_pool_view *pool = &next->pools[i];
        for (size_t k = 0; k < pool->member_count; k++) {
            const struct up_member *member = &pool->members[k];
            struct leaving *back = find_leaving(registry, pool->doc->name, member->as.address);
            atomic_store(&member->endpoint->gone, false);
            if (back != NULL)
                drop_leaving(registry, back);
        }
        judge(registry, pool);
    }
}

struct up_table *up_registry_build(struct up_registry *registry, const struct cfg_store *store)
{
    struct up_table *table = calloc(1, sizeof *table);

    if (table == NULL)
        return NULL;
    if (fill_table(registry, store, table) < 0 || see_off(registry, table) < 0) {
        up_table_drop(table);
        return NULL;
    }
    welcome(registry, table);
    up_table_drop(registry->table);
    registry->table = table;
    return up_table_keep(table);
}

void up_registry_tick(struct up_registry *registry)
{
    int64_t now_ns = ps_clock_mono_ns(registry->deps.clock);

    for (size_t i = registry->leaving_count; i > 0; i--) {
        struct leaving *leaving = &registry->leaving[i - 1];
        if (now_ns < leaving->cut_ns)
            continue;
        atomic_store(&leaving->endpoint->cut, true);
        drop_leaving(registry, leaving);
    }
    for (size_t i = 0; registry->table != NULL && i < registry->table->pool_count; i++)
        judge(registry, &registry->table->pools[i]);
}
