/* See route_doc.h. The pools and the cache that a route names are checked when the change is
 * complete (check.c), so that a bundle may bring both. */
#include "gateway/config/kinds/route_doc.h"

#include "gateway/config/kinds/cache_doc.h"
#include "gateway/config/kinds/pool_doc.h"
#include "gateway/config/kinds/route_parts.h"
#include "gateway/config/store/store.h"

#include <ctype.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_MAX_LEN 1024
#define HOST_MAX_LEN 253
#define NAME_MAX_LEN 64 /* of a header, a cookie, a parameter */
#define DEADLINE_MAX 600000
#define TTL_MAX_S    31536000
#define BODY_MAX     (INT64_C(1) << 40)
#define LOCATION_MAX 2048

static const char *const class_names[CFG_ROUTE_CLASSES + 1] = {"core", "important", "normal",
                                                               "extra", NULL};

/* In the order of enum ps_http_method. */
static const char *const method_names[] = {"GET",   "HEAD",   "POST",    "PUT",
                                           "PATCH", "DELETE", "OPTIONS", NULL};
_Static_assert(PS_ARRAY_LEN(method_names) == PS_HTTP_METHOD_OTHER + 1, "one for each method");
#define METHOD_LIST "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

/* --- Reference counts. --- */

struct cfg_route *cfg_route_keep(struct cfg_route *route)
{
    (void)atomic_fetch_add_explicit(&route->refs, 1, memory_order_relaxed);
    return route;
}

void cfg_route_drop(struct cfg_route *route)
{
    if (route == NULL || atomic_fetch_sub_explicit(&route->refs, 1, memory_order_acq_rel) > 1)
        return;
    cfg_splits_done(route);
    for (size_t i = 0; i < route->cache.name_count; i++)
        free(route->cache.names[i]);
    for (size_t i = 0; i < route->fallback_count; i++)
        cfg_static_done(&route->fallbacks[i].fixed);
    cfg_header_rules_done(&route->request_headers);
    cfg_header_rules_done(&route->response_headers);
    cfg_static_done(&route->answer);
    free(route->redirect.location);
    free(route->cache.names);
    free(route->fallbacks);
    free(route->host);
    free(route->path);
    free(route);
}

/* --- Which requests. --- */

static void read_host(struct cfg_part *part, struct cfg_route *route)
{
    route->host = cfg_part_text(part, "host", HOST_MAX_LEN);
    if (route->host == NULL)
        return;
    if (!cfg_is_host(route->host))
        ps_json_fault(&part->json, "host", "must be a host name or an address, without a port");
    for (char *at = route->host; *at != '\0'; at++)
        *at = (char)tolower((unsigned char)*at);
}

static const char *const own_paths[] = {"/v1", "/livez", "/readyz"};
#define FIRST_PROBE 1

const char *cfg_path_own(struct ps_str path)
{
    for (size_t i = 0; i < PS_ARRAY_LEN(own_paths); i++) {
        size_t len = strlen(own_paths[i]);
        if (path.len >= len && memcmp(path.at, own_paths[i], len) == 0 &&
            (path.len == len || path.at[len] == '/'))
            return own_paths[i];
    }
    return NULL;
}

bool cfg_path_is_probe(struct ps_str path)
{
    for (size_t i = FIRST_PROBE; i < PS_ARRAY_LEN(own_paths); i++)
        if (ps_str_is(path, own_paths[i]))
            return true;
    return false;
}

static void read_path(struct cfg_part *part, struct cfg_route *route)
{
    static const char *const matches[] = {"prefix", "exact", NULL};
    int match = 0;

    ps_json_require(&part->json, (const char *const[]){"path", NULL});
    ps_json_enum(&part->json, "match", matches, &match);
    route->exact = match == 1;
    route->path = cfg_part_text(part, "path", PATH_MAX_LEN);
    if (route->path == NULL) {
        if (ps_json_has(&part->json, "path"))
            ps_json_fault(&part->json, "path", "must be a path such as /p/");
        return;
    }
    route->path_len = strlen(route->path);
    const char *own = cfg_path_own(ps_str(route->path));
    if (route->path[0] != '/')
        ps_json_fault(&part->json, "path", "must begin with a slash");
    else if (!cfg_is_path(route->path))
        ps_json_fault(&part->json, "path",
                      "must be a path as requests have it: percent-encoded, without a query, and "
                      "without . and .. as segments");
    else if (!route->exact && route->path[route->path_len - 1] != '/')
        ps_json_fault(&part->json, "path",
                      "must end with a slash: else it would take %sx, too; for this path alone set "
                      "match to exact",
                      route->path_len < 100 ? route->path : "…");
    else if (own != NULL)
        ps_json_fault(&part->json, "path",
                      "is under %s%s, which the gateway answers itself: no route takes it", own,
                      strcmp(own, "/v1") == 0 ? "/, the API of sales" : "");
}

static void read_methods(struct cfg_part *part, struct cfg_route *route)
{
    const json_t *list = ps_json_value(&part->json, "methods");
    uint32_t bits = 0;

    if (list == NULL) {
        route->methods = CFG_GET_BIT | 1u << PS_HTTP_HEAD;
        return;
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *word = json_string_value(json_array_get(list, i));
        for (size_t bit = 0; word != NULL && method_names[bit] != NULL; bit++)
            if (strcmp(method_names[bit], word) == 0)
                bits |= 1u << bit;
    }
    /* A word that is unknown, or there twice, leaves fewer bits than elements. */
    if (bits == 0 || (size_t)__builtin_popcount(bits) != json_array_size(list))
        ps_json_fault(&part->json, "methods",
                      "must be an array of at least one of: " METHOD_LIST ", each once");
    route->methods = bits;
}

static json_t *write_methods(const struct cfg_route *route)
{
    json_t *list = json_array();
    int err = 0;

    for (size_t bit = 0; method_names[bit] != NULL; bit++)
        if ((route->methods & 1u << bit) != 0)
            err |= json_array_append_new(list, json_string(method_names[bit]));
    return ps_json_built(list, err);
}

/* --- The cache. --- */

static void read_query(struct cfg_part *part, struct cfg_route_cache *cache)
{
    const json_t *json = ps_json_value(&part->json, "query");
    const char *word = json_string_value(json);

    if (json == NULL || (word != NULL && strcmp(word, "all") == 0))
        return;
    if (word != NULL && strcmp(word, "none") == 0) {
        cache->query = CFG_QUERY_NONE;
        return;
    }
    bool whole = json_is_array(json) && json_array_size(json) >= 1 &&
                 json_array_size(json) <= CFG_QUERY_NAMES_MAX;
    cache->query = CFG_QUERY_LISTED;
    if (whole)
        cache->names = cfg_part_room(part, json_array_size(json), sizeof *cache->names);
    for (size_t i = 0; whole && cache->names != NULL && i < json_array_size(json); i++) {
        const char *name = json_string_value(json_array_get(json, i));
        whole = name != NULL && name[0] != '\0' && strlen(name) <= NAME_MAX_LEN &&
                cfg_is_visible(name) && strpbrk(name, "&=#+") == NULL;
        for (size_t j = 0; whole && j < i; j++)
            whole = cache->names[j] == NULL || strcmp(cache->names[j], name) != 0;
        cache->names[cache->name_count++] = cfg_part_copy(part, whole ? name : "", NAME_MAX_LEN);
    }
    if (!whole)
        ps_json_fault(&part->json, "query",
                      "must be all, none, or an array of 1 to %d names of parameters, each once",
                      CFG_QUERY_NAMES_MAX);
}

static void read_cache(struct cfg_part *outer, struct cfg_route *route)
{
    static const char *const obeys[] = {"ignore", "obey", NULL};
    struct cfg_route_cache *cache = &route->cache;
    struct cfg_part part;
    int no_cache = 0;

    if (!cfg_part_open(outer, "cache", &part))
        return;
    memcpy(cache->store, "default", sizeof "default");
    cfg_part_name(&part, "store", cache->store);
    ps_json_int(&part.json, "default_ttl_s", 0, TTL_MAX_S, &cache->default_ttl_s);
    read_query(&part, cache);
    ps_json_int(&part.json, "stale_while_revalidate_s", 0, TTL_MAX_S,
                &cache->stale_while_revalidate_s);
    ps_json_int(&part.json, "stale_if_error_s", 0, TTL_MAX_S, &cache->stale_if_error_s);
    ps_json_enum(&part.json, "request_no_cache", obeys, &no_cache);
    cache->obeys_no_cache = no_cache == 1;
    cfg_part_close(&part);
    if ((route->methods & CFG_GET_BIT) == 0)
        ps_json_fault(&outer->json, "cache",
                      "keeps answers to GET, which the route does not serve");
}

static json_t *write_query(const struct cfg_route_cache *cache)
{
    json_t *list;
    int err = 0;

    if (cache->query != CFG_QUERY_LISTED)
        return json_string(cache->query == CFG_QUERY_ALL ? "all" : "none");
    list = json_array();
    for (size_t i = 0; i < cache->name_count; i++)
        err |= json_array_append_new(list, json_string(cache->names[i]));
    return ps_json_built(list, err);
}

static json_t *write_cache(const struct cfg_route_cache *cache)
{
    if (cache->store[0] == '\0')
        return json_null();
    return json_pack("{s:s, s:I, s:o, s:I, s:I, s:s}", "store", cache->store, "default_ttl_s",
                     (json_int_t)cache->default_ttl_s, "query", write_query(cache),
                     "stale_while_revalidate_s", (json_int_t)cache->stale_while_revalidate_s,
                     "stale_if_error_s", (json_int_t)cache->stale_if_error_s, "request_no_cache",
                     cache->obeys_no_cache ? "obey" : "ignore");
}

/* --- Fallbacks. --- */

static const char *const fallback_kinds[] = {"stale", "pool", "static", "problem", NULL};

/* Whether the fallbacks before this one leave it anything to do. */
static void check_fallback(struct cfg_part *part, const struct cfg_route *route, size_t index)
{
    const struct cfg_fallback *fallback = &route->fallbacks[index];

    if (fallback->kind == CFG_FALLBACK_STALE && route->cache.store[0] == '\0')
        ps_json_fault(&part->json, "kind", "stale needs a cache, and the route has none");
    if (fallback->kind == CFG_FALLBACK_POOL && fallback->pool[0] != '\0' &&
        strcmp(fallback->pool, route->pool) == 0)
        ps_json_fault(&part->json, "pool", "is the route's own pool");
    for (size_t i = 0; i < index; i++) {
        const struct cfg_fallback *before = &route->fallbacks[i];
        if (before->kind >= CFG_FALLBACK_STATIC)
            ps_json_fault(&part->json, "kind", "is never reached: %s before it always answers",
                          fallback_kinds[before->kind]);
        else if (before->kind != fallback->kind)
            continue;
        else if (fallback->kind == CFG_FALLBACK_STALE)
            ps_json_fault(&part->json, "kind", "is there twice");
        else if (strcmp(before->pool, fallback->pool) == 0)
            ps_json_fault(&part->json, "pool", "is there twice");
    }
}

static void read_fallback(struct cfg_part *part, struct cfg_route *route, size_t index)
{
    struct cfg_fallback *fallback = &route->fallbacks[index];
    int kind = CFG_FALLBACK_PROBLEM;

    ps_json_require(&part->json, (const char *const[]){"kind", NULL});
    ps_json_enum(&part->json, "kind", fallback_kinds, &kind);
    fallback->kind = (enum cfg_fallback_kind)kind;
    if (kind == CFG_FALLBACK_POOL) {
        ps_json_require(&part->json, (const char *const[]){"pool", NULL});
        cfg_part_name(part, "pool", fallback->pool);
    } else if (kind == CFG_FALLBACK_STATIC) {
        cfg_static_read(part, &fallback->fixed);
    }
    check_fallback(part, route, index);
}

static void read_fallbacks(struct cfg_part *part, struct cfg_route *route)
{
    const json_t *list = NULL;
    size_t count = cfg_part_array(part, "fallback", CFG_FALLBACKS_MAX, &list);

    route->fallbacks = cfg_part_room(part, count, sizeof *route->fallbacks);
    for (size_t i = 0; route->fallbacks != NULL && i < count; i++) {
        struct cfg_part at;
        cfg_part_open_at(part, json_array_get(list, i), "fallback", i, &at);
        route->fallback_count++;
        read_fallback(&at, route, i);
        cfg_part_close(&at);
    }
}

static json_t *write_fallbacks(const struct cfg_route *route)
{
    json_t *list = json_array();
    int err = 0;

    for (size_t i = 0; err == 0 && i < route->fallback_count; i++) {
        const struct cfg_fallback *fallback = &route->fallbacks[i];
        json_t *json = json_pack("{s:s}", "kind", fallback_kinds[fallback->kind]);
        if (fallback->kind == CFG_FALLBACK_POOL)
            err = json_object_set_new(json, "pool", json_string(fallback->pool));
        else if (fallback->kind == CFG_FALLBACK_STATIC)
            err = cfg_static_write(&fallback->fixed, json);
        err |= json_array_append_new(list, json);
    }
    return ps_json_built(list, err);
}

/* --- What becomes of a request. --- */

static void read_redirect(struct cfg_part *outer, struct cfg_route *route)
{
    struct cfg_part part;
    int64_t status = 302;

    if (!cfg_part_open(outer, "redirect", &part))
        return;
    ps_json_require(&part.json, (const char *const[]){"location", NULL});
    ps_json_int(&part.json, "status", 301, 308, &status);
    if (status > 303 && status < 307)
        ps_json_fault(&part.json, "status", "must be one of: 301, 302, 303, 307, 308");
    route->redirect.status = (int)status;
    route->redirect.location = cfg_part_text(&part, "location", LOCATION_MAX);
    const char *to = route->redirect.location;
    if (ps_json_has(&part.json, "location") &&
        (to == NULL || !cfg_is_visible(to) ||
         (to[0] != '/' && strncmp(to, "https://", 8) != 0 && strncmp(to, "http://", 7) != 0)))
        ps_json_fault(&part.json, "location",
                      "must be a path, or an address that begins with https:// or http://");
    cfg_part_close(&part);
}

static void read_answer(struct cfg_part *outer, struct cfg_route *route)
{
    struct cfg_part part;

    if (!cfg_part_open(outer, "answer", &part))
        return;
    cfg_static_read(&part, &route->answer);
    cfg_part_close(&part);
}

/* Exactly one of three; what belongs to a pool needs one. */
static void check_target(struct cfg_part *part)
{
    static const char *const of_pools[] = {"split", "cache", "fallback", "mirror"};
    bool pool = cfg_part_has(part, "pool");
    int count = pool + cfg_part_has(part, "redirect") + cfg_part_has(part, "answer");

    if (count != 1)
        ps_json_fault(&part->json, "", "must have exactly one of pool, redirect and answer, not %s",
                      count == 0 ? "none" : "several");
    for (size_t i = 0; count == 1 && !pool && i < PS_ARRAY_LEN(of_pools); i++) {
        const json_t *json = ps_json_value(&part->json, of_pools[i]);
        if (json_is_object(json) || json_array_size(json) > 0)
            ps_json_fault(&part->json, of_pools[i], "needs a pool, and the route has none");
    }
}

static void read_deadlines(struct cfg_part *part, struct cfg_route *route)
{
    route->first_byte_ms = 1000;
    route->total_ms = 10000;
    route->body_max = INT64_C(1) << 20;
    ps_json_int(&part->json, "first_byte_ms", 1, DEADLINE_MAX, &route->first_byte_ms);
    ps_json_int(&part->json, "total_ms", 1, 6 * DEADLINE_MAX, &route->total_ms);
    if (route->first_byte_ms > route->total_ms)
        ps_json_fault(&part->json, "first_byte_ms", "must be at most total_ms (%lld)",
                      (long long)route->total_ms);
    ps_json_int(&part->json, "body_max", 0, BODY_MAX, &route->body_max);
}

/* --- The kind. --- */

static void read_route(struct cfg_part *part, struct cfg_route *route)
{
    int class = CFG_ROUTE_NORMAL;

    read_host(part, route);
    read_path(part, route);
    read_methods(part, route);
    ps_json_enum(&part->json, "class", class_names, &class);
    route->class = (enum cfg_route_class) class;
    cfg_part_name(part, "pool", route->pool);
    cfg_splits_read(part, route);
    read_deadlines(part, route);
    cfg_header_rules_read(part, "request_headers", &route->request_headers);
    cfg_header_rules_read(part, "response_headers", &route->response_headers);
    read_cache(part, route);
    read_fallbacks(part, route);
    read_redirect(part, route);
    read_answer(part, route);
    cfg_mirror_read(part, route);
    check_target(part);
}

static int route_parse(const char *name, const json_t *json, const json_t *state,
                       const struct cfg_reading *reading, void **ret_parsed,
                       struct ps_faults *faults)
{
    struct cfg_route *route = calloc(1, sizeof *route);
    struct cfg_reading_state of;
    struct cfg_part part;

    if (route == NULL)
        return PS_E_NOMEM;
    atomic_init(&route->refs, 1);
    (void)snprintf(route->name, sizeof route->name, "%s", name);
    cfg_part_begin(&part, json, reading, faults, &of);
    read_route(&part, route);
    int err = cfg_part_end(&part);
    if (err == 0)
        err = cfg_route_state_read(state, route, faults);
    if (err < 0)
        cfg_route_drop(route);
    else
        *ret_parsed = route;
    return err;
}

static void route_free(void *parsed)
{
    cfg_route_drop(parsed);
}

static json_t *write_redirect(const struct cfg_route *route)
{
    if (route->redirect.status == 0)
        return json_null();
    return json_pack("{s:i, s:s}", "status", route->redirect.status, "location",
                     route->redirect.location);
}

static json_t *write_answer(const struct cfg_route *route)
{
    json_t *json;

    if (route->answer.status == 0)
        return json_null();
    json = json_object();
    return ps_json_built(json, cfg_static_write(&route->answer, json));
}

static json_t *route_write(const void *parsed)
{
    const struct cfg_route *route = parsed;

    return json_pack(
        "{s:o, s:s, s:s, s:o, s:s, s:o, s:o, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
        "host", cfg_text_json(route->host), "path", route->path, "match",
        route->exact ? "exact" : "prefix", "methods", write_methods(route), "class",
        class_names[route->class], "pool", cfg_text_json(route->pool), "split",
        cfg_splits_write(route), "first_byte_ms", (json_int_t)route->first_byte_ms, "total_ms",
        (json_int_t)route->total_ms, "body_max", (json_int_t)route->body_max, "request_headers",
        cfg_header_rules_write(&route->request_headers), "response_headers",
        cfg_header_rules_write(&route->response_headers), "cache", write_cache(&route->cache),
        "fallback", write_fallbacks(route), "redirect", write_redirect(route), "answer",
        write_answer(route), "mirror", cfg_mirror_write(route));
}

static json_t *write_state(const void *parsed)
{
    const struct cfg_route *route = parsed;

    return cfg_route_state(route, NULL);
}

/* --- Among others. --- */

static void route_names(const void *parsed, cfg_named_fn *take, void *ctx)
{
    const struct cfg_route *route = parsed;
    char member[40];

    if (route->pool[0] != '\0')
        take(&cfg_kind_pool, route->pool, "/pool", ctx);
    for (size_t i = 0; i < route->split_count; i++) {
        (void)snprintf(member, sizeof member, "/split/%zu/pool", i);
        take(&cfg_kind_pool, route->splits[i].pool, member, ctx);
    }
    for (size_t i = 0; i < route->fallback_count; i++) {
        (void)snprintf(member, sizeof member, "/fallback/%zu/pool", i);
        if (route->fallbacks[i].kind == CFG_FALLBACK_POOL)
            take(&cfg_kind_pool, route->fallbacks[i].pool, member, ctx);
    }
    if (route->mirror.pool[0] != '\0')
        take(&cfg_kind_pool, route->mirror.pool, "/mirror/pool", ctx);
    if (route->cache.store[0] != '\0')
        take(&cfg_kind_cache, route->cache.store, "/cache/store", ctx);
}

/* Nothing tells them apart. */
static bool route_clashes(const void *parsed, const void *other)
{
    const struct cfg_route *a = parsed, *b = other;
    bool same_host =
        a->host == NULL || b->host == NULL ? a->host == b->host : strcmp(a->host, b->host) == 0;

    return (a->methods & b->methods) != 0 && a->exact == b->exact && same_host &&
           strcmp(a->path, b->path) == 0;
}

const struct cfg_kind cfg_kind_route = {
    .path = "routes",
    .word = "route",
    .name_rule = "a route's name: [A-Za-z0-9][A-Za-z0-9._-]{0,63}",
    .listed = "routes",
    .lists_names = true,
    .put = "route.put",
    .drop = "route.delete",
    .max = CFG_ROUTES_MAX,
    .initial_state = "{\"returned\":[]}",
    .live = (const char *const[]){"/returned", NULL},
    .measured = (const char *const[]){"/figures", NULL},
    .name = cfg_plain_name,
    .parse = route_parse,
    .free = route_free,
    .write = route_write,
    .write_state = write_state,
    .names = route_names,
    .clashes = route_clashes,
    .clash_member = "/path",
    .clash_words =
        "is taken already, with the same host and match and a method that both serve, by "
        "the route",
    .makes_up_table = true,
};
