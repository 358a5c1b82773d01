/* See pool_doc.h. Whether addresses may be used at all (upstream.allowed_networks, the gateway's
 * own listeners) is checked where pools are put together, too: settings may change after the
 * document.
 */
#include "gateway/config/kinds/pool_doc.h"

#include "gateway/config/kinds/part.h"
#include "gateway/config/store/store.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POOLS_MAX    1000
#define TIME_MAX_MS  600000
#define COUNT_MAX    1000000
#define PATH_MAX_LEN 1024
#define HOST_MAX_LEN 253
#define NAME_MAX_LEN 64 /* of a header or a cookie */

#define ALGORITHM_NAME(name) #name,
static const char *const algorithm_names[CFG_ALGORITHM_COUNT + 1] = {CFG_ALGORITHMS(ALGORITHM_NAME)
                                                                         NULL};

/* --- Reference counts. --- */

struct cfg_pool *cfg_pool_keep(struct cfg_pool *pool)
{
    (void)atomic_fetch_add_explicit(&pool->refs, 1, memory_order_relaxed);
    return pool;
}

void cfg_pool_drop(struct cfg_pool *pool)
{
    if (pool == NULL || atomic_fetch_sub_explicit(&pool->refs, 1, memory_order_acq_rel) > 1)
        return;
    free(pool->hash_name);
    free(pool->endpoints);
    free(pool->discovery.from);
    free(pool->health.path);
    free(pool->health.host);
    free(pool);
}

/* --- Endpoints. --- */

void cfg_endpoint_make(const struct ps_address *ip, uint16_t port,
                       struct cfg_endpoint *ret_endpoint)
{
    bool v4 = ps_address_is_v4(ip);
    char text[46];

    ps_address_format(ip, text);
    *ret_endpoint = (struct cfg_endpoint){.ip = *ip, .port = port, .weight = 1};
    (void)snprintf(ret_endpoint->address, sizeof ret_endpoint->address, v4 ? "%s:%u" : "[%s]:%u",
                   text, (unsigned)port);
}

/* 1 to 65535 without leading zeros; 0: it is none. */
static unsigned read_port(const char *text, size_t len)
{
    unsigned port = 0;

    if (len < 1 || len > 5 || text[0] == '0')
        return 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return 0;
        port = 10 * port + (unsigned)(text[i] - '0');
    }
    return port <= UINT16_MAX ? port : 0;
}

int cfg_endpoint_parse(const char *text, size_t len, struct cfg_endpoint *ret_endpoint)
{
    const char *colon = len > 0 ? memrchr(text, ':', len) : NULL;
    struct ps_address ip;

    if (colon == NULL)
        return PS_E_INVALID;
    size_t host = (size_t)(colon - text);
    unsigned port = read_port(colon + 1, len - host - 1);
    bool bare_v6 = memchr(text, ':', host) != NULL && text[0] != '[';
    if (port == 0 || bare_v6 || ps_address_parse(text, host, false, &ip) < 0)
        return PS_E_INVALID;
    cfg_endpoint_make(&ip, (uint16_t)port, ret_endpoint);
    return 0;
}

const char *cfg_endpoint_refusal(const struct cfg_endpoint *endpoint,
                                 const struct cfg_bounds *bounds)
{
    if (bounds == NULL)
        return NULL;
    if (!ps_cidrs_have(&bounds->networks, &endpoint->ip))
        return "is outside the networks of the setting upstream.allowed_networks";
    /* A request would loop, and the public port would expose the admin listener. */
    for (size_t i = 0; i < CFG_LISTENERS; i++)
        if (ps_listener_takes(&bounds->listeners[i], &endpoint->ip, endpoint->port))
            return "is a listener of this gateway";
    return NULL;
}

static void read_endpoint(struct cfg_part *part, struct cfg_endpoint *endpoint)
{
    struct ps_str address = {0}, zone = {0};
    const char *refusal = NULL;
    int64_t weight = 1;

    ps_json_require(&part->json, (const char *const[]){"address", NULL});
    ps_json_string(&part->json, "address", SIZE_MAX, &address);
    if (address.at != NULL && cfg_endpoint_parse(address.at, address.len, endpoint) < 0)
        ps_json_fault(&part->json, "address",
                      "must be an address with a port, such as 127.0.0.1:9001 or [::1]:9001 (for "
                      "names there is discovery)");
    else if (address.at != NULL)
        refusal = cfg_endpoint_refusal(endpoint, part->of->bounds);
    if (refusal != NULL)
        ps_json_fault(&part->json, "address", "%s", refusal);
    ps_json_int(&part->json, "weight", 0, CFG_WEIGHT_MAX, &weight);
    endpoint->weight = (uint16_t)weight;
    ps_json_bool(&part->json, "drain", &endpoint->drain);
    if (!cfg_part_has(part, "zone"))
        return;
    ps_json_string(&part->json, "zone", CFG_ZONE_MAX, &zone);
    if (zone.at == NULL)
        return;
    if (ps_name_ok(zone.at, zone.len))
        memcpy(endpoint->zone, zone.at, zone.len);
    else
        ps_json_fault(&part->json, "zone", "must be [A-Za-z0-9][A-Za-z0-9._-]{0,31}");
}

int cfg_endpoint_read(const json_t *json, const char *pointer, struct cfg_endpoint *ret_endpoint,
                      struct ps_faults *faults)
{
    struct cfg_endpoint endpoint = {.weight = 1};
    struct cfg_reading_state state;
    struct cfg_part part;

    cfg_part_begin(&part, json, &(struct cfg_reading){.pointer = pointer}, faults, &state);
    read_endpoint(&part, &endpoint);
    int err = cfg_part_end(&part);
    if (err == 0)
        *ret_endpoint = endpoint;
    return err;
}

static void check_endpoints(struct cfg_part *part, const struct cfg_pool *pool)
{
    unsigned weights = 0;

    for (size_t i = 0; i < pool->endpoint_count; i++) {
        const struct cfg_endpoint *endpoint = &pool->endpoints[i];
        size_t other = 0;
        weights += endpoint->weight;
        while (other < i && strcmp(pool->endpoints[other].address, endpoint->address) != 0)
            other++;
        if (other == i || endpoint->address[0] == '\0')
            continue;
        char place[40];
        (void)snprintf(place, sizeof place, "endpoints/%zu/address", i);
        cfg_part_fault(part, place, "is that of endpoint %zu, too", other);
    }
    if (pool->discovery.by != CFG_DISCOVERY_NONE)
        return;
    if (pool->endpoint_count == 0 && !cfg_part_has(part, "discovery"))
        ps_json_fault(&part->json, "endpoints",
                      "a pool must have at least one endpoint, or a discovery");
    else if (pool->endpoint_count > 0 && weights == 0)
        ps_json_fault(&part->json, "endpoints", "must have one whose weight is above 0");
}

static void read_endpoints(struct cfg_part *part, struct cfg_pool *pool)
{
    const json_t *list = NULL;
    size_t count = cfg_part_array(part, "endpoints", CFG_ENDPOINTS_MAX, &list);

    pool->endpoints = cfg_part_room(part, count, sizeof *pool->endpoints);
    for (size_t i = 0; pool->endpoints != NULL && i < count; i++) {
        struct cfg_part at;
        pool->endpoints[i].weight = 1;
        cfg_part_open_at(part, json_array_get(list, i), "endpoints", i, &at);
        read_endpoint(&at, &pool->endpoints[i]);
        cfg_part_close(&at);
        pool->endpoint_count++;
    }
}

static json_t *write_endpoints(const struct cfg_pool *pool)
{
    json_t *list = json_array();
    int err = 0;

    for (size_t i = 0; i < pool->endpoint_count; i++) {
        const struct cfg_endpoint *endpoint = &pool->endpoints[i];
        json_t *json = json_pack("{s:s, s:i, s:o, s:b}", "address", endpoint->address, "weight",
                                 (int)endpoint->weight, "zone", cfg_text_json(endpoint->zone),
                                 "drain", (int)endpoint->drain);
        err |= json_array_append_new(list, json);
    }
    return ps_json_built(list, err);
}

/* --- How one is chosen. --- */

static bool is_hash_name(const char *text, const char *prefix, size_t *ret_at)
{
    *ret_at = strlen(prefix);
    if (strncmp(text, prefix, *ret_at) != 0)
        return false;
    size_t len = strlen(text + *ret_at);
    return len <= NAME_MAX_LEN && ps_http_is_token((struct ps_str){text + *ret_at, len});
}

static void read_algorithm(struct cfg_part *part, struct cfg_pool *pool)
{
    int algorithm = CFG_ALGORITHM_round_robin;
    struct ps_str by = {0};
    size_t at = 0;

    ps_json_enum(&part->json, "algorithm", algorithm_names, &algorithm);
    pool->algorithm = (enum cfg_algorithm)algorithm;
    if (!cfg_part_has(part, "hash_by"))
        return;
    ps_json_string(&part->json, "hash_by", SIZE_MAX, &by);
    /* The default may stand beside any algorithm: so a patch of the algorithm alone may leave
     * consistent_hash again. */
    if (by.at == NULL || strcmp(by.at, "path") == 0)
        return;
    if (algorithm != CFG_ALGORITHM_consistent_hash)
        ps_json_fault(&part->json, "hash_by", "must be null: only consistent_hash goes by it");
    if (is_hash_name(by.at, "header:", &at))
        pool->hash_by = CFG_HASH_HEADER;
    else if (is_hash_name(by.at, "cookie:", &at))
        pool->hash_by = CFG_HASH_COOKIE;
    else
        ps_json_fault(&part->json, "hash_by", "must be path, header:NAME or cookie:NAME");
    if (pool->hash_by != CFG_HASH_PATH)
        pool->hash_name = cfg_part_copy(part, by.at + at, by.len - at);
}

/* What consistent_hash goes by is shown even where nobody has said it. */
static json_t *write_hash_by(const struct cfg_pool *pool)
{
    if (pool->algorithm != CFG_ALGORITHM_consistent_hash)
        return json_null();
    if (pool->hash_by == CFG_HASH_PATH)
        return json_string("path");
    return json_sprintf("%s:%s", pool->hash_by == CFG_HASH_HEADER ? "header" : "cookie",
                        pool->hash_name);
}

/* --- Discovery. --- */

static const char *const discoveries[] = {[CFG_DISCOVERY_FILE] = "file",
                                          [CFG_DISCOVERY_DNS] = "dns",
                                          [CFG_DISCOVERY_SRV] = "srv",
                                          [CFG_DISCOVERY_REGISTRATION] = "registration"};

/* An operator who may change documents must not make the gateway read a file outside its
 * directory. */
static void check_file(struct cfg_part *part, const char *member, const char *name)
{
    const struct cfg_bounds *bounds = part->of->bounds;

    if (!cfg_is_inside(name))
        ps_json_fault(&part->json, member,
                      "must be a file of upstream.endpoint_dir, such as web.json");
    else if (bounds != NULL && bounds->endpoint_dir == NULL)
        ps_json_fault(&part->json, member, "needs a directory: the setting upstream.endpoint_dir");
}

static void read_source(struct cfg_part *part, struct cfg_pool *pool)
{
    const char *member = discoveries[pool->discovery.by];
    struct ps_address ip;
    bool on = true;

    if (pool->discovery.by == CFG_DISCOVERY_REGISTRATION) {
        ps_json_bool(&part->json, member, &on);
        if (!on)
            ps_json_fault(&part->json, member, "must be true");
        return;
    }
    pool->discovery.from = cfg_part_text(part, member, PATH_MAX_LEN);
    if (pool->discovery.from == NULL)
        return;
    if (pool->discovery.by == CFG_DISCOVERY_FILE) {
        check_file(part, member, pool->discovery.from);
    } else if (ps_address_parse(pool->discovery.from, strlen(pool->discovery.from), true, &ip) ==
               0) {
        ps_json_fault(&part->json, member, "is an address: name it in endpoints");
    } else if (!cfg_is_host(pool->discovery.from)) {
        ps_json_fault(&part->json, member, "must be a name of the DNS");
    }
}

static void read_discovery(struct cfg_part *outer, struct cfg_pool *pool)
{
    int64_t port = 0;
    struct cfg_part part;
    int count = 0;

    pool->discovery.shrink_share_min = 0.5;
    if (!cfg_part_open(outer, "discovery", &part))
        return;
    for (size_t by = CFG_DISCOVERY_FILE; by < PS_ARRAY_LEN(discoveries); by++) {
        if (!ps_json_has(&part.json, discoveries[by]))
            continue;
        if (count++ == 0)
            pool->discovery.by = (enum cfg_discovery)by;
    }
    ps_json_int(&part.json, "port", 1, UINT16_MAX, &port);
    ps_json_number(&part.json, "shrink_share_min", 0, 1, &pool->discovery.shrink_share_min);
    if (count != 1)
        ps_json_fault(&part.json, "", "must have exactly one of file, dns, srv and registration");
    else
        read_source(&part, pool);
    if (pool->discovery.by == CFG_DISCOVERY_DNS && !ps_json_has(&part.json, "port"))
        ps_json_fault(&part.json, "port", "is missing: addresses of the DNS come without one");
    else if (pool->discovery.by != CFG_DISCOVERY_DNS && ps_json_has(&part.json, "port"))
        ps_json_fault(&part.json, "port", "belongs to dns only");
    pool->discovery.port = (uint16_t)port;
    cfg_part_close(&part);
}

static json_t *write_discovery(const struct cfg_pool *pool)
{
    enum cfg_discovery by = pool->discovery.by;
    json_t *json;

    if (by == CFG_DISCOVERY_NONE)
        return json_null();
    if (by == CFG_DISCOVERY_REGISTRATION)
        json = json_pack("{s:b}", discoveries[by], 1);
    else
        json = json_pack("{s:s}", discoveries[by], pool->discovery.from);
    int err = by == CFG_DISCOVERY_DNS
                  ? json_object_set_new(json, "port", json_integer(pool->discovery.port))
                  : 0;
    err |= json_object_set_new(json, "shrink_share_min",
                               ps_json_of_number(pool->discovery.shrink_share_min));
    return ps_json_built(json, err);
}

/* --- Who is usable. --- */

static void read_expect(struct cfg_part *part, struct cfg_pool *pool)
{
    const json_t *list = NULL;
    size_t count = cfg_part_array(part, "expect", CFG_EXPECT_MAX, &list);
    int64_t status = 0;

    if (list == NULL)
        return;
    bool whole = count > 0;
    for (size_t i = 0; i < count; i++) {
        whole = whole && ps_json_whole(json_array_get(list, i), &status) && status >= 200 &&
                status <= 599;
        pool->health.expect[i] = (int)status;
    }
    pool->health.expect_count = count;
    if (!whole)
        ps_json_fault(&part->json, "expect",
                      "must be an array of 1 to %d statuses between 200 and 599", CFG_EXPECT_MAX);
}

static void read_health(struct cfg_part *outer, struct cfg_pool *pool)
{
    struct cfg_part part;

    pool->health.interval_ms = 1000;
    pool->health.timeout_ms = 500;
    pool->health.healthy_after = 2;
    pool->health.unhealthy_after = 3;
    pool->health.expect_count = 1;
    pool->health.expect[0] = 200;
    pool->health.active = cfg_part_open(outer, "health", &part);
    if (!pool->health.active)
        return;
    pool->health.path = cfg_part_text(&part, "path", PATH_MAX_LEN);
    if (pool->health.path == NULL)
        pool->health.path = cfg_part_copy(&part, "/", 1);
    if (pool->health.path != NULL &&
        (pool->health.path[0] != '/' || !cfg_is_visible(pool->health.path) ||
         strchr(pool->health.path, '#') != NULL))
        ps_json_fault(&part.json, "path", "must be a path such as /healthz, as it is requested");
    pool->health.host = cfg_part_text(&part, "host", HOST_MAX_LEN + 6);
    if (pool->health.host != NULL && !ps_http_is_authority(ps_str(pool->health.host)))
        ps_json_fault(&part.json, "host", "must be a host, as the Host field has it");
    ps_json_int(&part.json, "interval_ms", 100, TIME_MAX_MS, &pool->health.interval_ms);
    ps_json_int(&part.json, "timeout_ms", 10, TIME_MAX_MS, &pool->health.timeout_ms);
    if (pool->health.timeout_ms > pool->health.interval_ms)
        ps_json_fault(&part.json, "timeout_ms", "must be at most interval_ms (%lld)",
                      (long long)pool->health.interval_ms);
    cfg_part_count(&part, "healthy_after", 1, 100, &pool->health.healthy_after);
    cfg_part_count(&part, "unhealthy_after", 1, 100, &pool->health.unhealthy_after);
    read_expect(&part, pool);
    cfg_part_close(&part);
}

static json_t *write_health(const struct cfg_pool *pool)
{
    json_t *expect;
    int err = 0;

    if (!pool->health.active)
        return json_null();
    expect = json_array();
    for (size_t i = 0; i < pool->health.expect_count; i++)
        err |= json_array_append_new(expect, json_integer(pool->health.expect[i]));
    return json_pack("{s:s, s:o, s:I, s:I, s:i, s:i, s:o}", "path", pool->health.path, "host",
                     cfg_text_json(pool->health.host), "interval_ms",
                     (json_int_t)pool->health.interval_ms, "timeout_ms",
                     (json_int_t)pool->health.timeout_ms, "healthy_after",
                     (int)pool->health.healthy_after, "unhealthy_after",
                     (int)pool->health.unhealthy_after, "expect", ps_json_built(expect, err));
}

static void read_outlier(struct cfg_part *outer, struct cfg_pool *pool)
{
    struct cfg_part part;

    pool->outlier.consecutive_errors = 5;
    pool->outlier.success_share_min = 0.5;
    pool->outlier.requests_min = 20;
    pool->outlier.eject_ms = 10000;
    pool->outlier.ejected_share_max = 0.5;
    if (!cfg_part_open(outer, "outlier", &part))
        return;
    cfg_part_count(&part, "consecutive_errors", 0, 1000, &pool->outlier.consecutive_errors);
    ps_json_number(&part.json, "success_share_min", 0, 1, &pool->outlier.success_share_min);
    ps_json_number(&part.json, "latency_factor", 0, 1000, &pool->outlier.latency_factor);
    if (pool->outlier.latency_factor > 0 && pool->outlier.latency_factor <= 1)
        ps_json_fault(&part.json, "latency_factor",
                      "must be above 1 (times the pool's median), or 0: not judged");
    cfg_part_count(&part, "requests_min", 1, COUNT_MAX, &pool->outlier.requests_min);
    ps_json_int(&part.json, "eject_ms", 100, TIME_MAX_MS, &pool->outlier.eject_ms);
    ps_json_number(&part.json, "ejected_share_max", 0, 1, &pool->outlier.ejected_share_max);
    cfg_part_close(&part);
}

static json_t *write_outlier(const struct cfg_pool *pool)
{
    return json_pack("{s:i, s:o, s:o, s:i, s:I, s:o}", "consecutive_errors",
                     (int)pool->outlier.consecutive_errors, "success_share_min",
                     ps_json_of_number(pool->outlier.success_share_min), "latency_factor",
                     ps_json_of_number(pool->outlier.latency_factor), "requests_min",
                     (int)pool->outlier.requests_min, "eject_ms",
                     (json_int_t)pool->outlier.eject_ms, "ejected_share_max",
                     ps_json_of_number(pool->outlier.ejected_share_max));
}

/* --- The kind. --- */

static int pool_parse(const char *name, const json_t *json, const json_t *state,
                      const struct cfg_reading *reading, void **ret_parsed,
                      struct ps_faults *faults)
{
    struct cfg_pool *pool = calloc(1, sizeof *pool);
    struct cfg_reading_state of;
    struct cfg_part part;

    (void)state;
    if (pool == NULL)
        return PS_E_NOMEM;
    atomic_init(&pool->refs, 1);
    (void)snprintf(pool->name, sizeof pool->name, "%s", name);
    pool->panic_share = 0.5;
    pool->drain_ms = 30000;
    pool->retry_budget = 0.2;
    cfg_part_begin(&part, json, reading, faults, &of);
    read_algorithm(&part, pool);
    read_endpoints(&part, pool);
    read_discovery(&part, pool);
    check_endpoints(&part, pool);
    read_health(&part, pool);
    read_outlier(&part, pool);
    ps_json_number(&part.json, "panic_share", 0, 1, &pool->panic_share);
    ps_json_int(&part.json, "slow_start_ms", 0, TIME_MAX_MS, &pool->slow_start_ms);
    ps_json_int(&part.json, "drain_ms", 0, 3600000, &pool->drain_ms);
    ps_json_int(&part.json, "connections_max", 0, COUNT_MAX, &pool->connections_max);
    ps_json_int(&part.json, "queue_max", 0, COUNT_MAX, &pool->queue_max);
    ps_json_number(&part.json, "retry_budget", 0, 1, &pool->retry_budget);
    int err = cfg_part_end(&part);
    if (err < 0)
        cfg_pool_drop(pool);
    else
        *ret_parsed = pool;
    return err;
}

static void pool_free(void *parsed)
{
    cfg_pool_drop(parsed);
}

static json_t *pool_write(const void *parsed)
{
    const struct cfg_pool *pool = parsed;

    return json_pack(
        "{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:o}", "algorithm",
        algorithm_names[pool->algorithm], "hash_by", write_hash_by(pool), "endpoints",
        write_endpoints(pool), "discovery", write_discovery(pool), "health", write_health(pool),
        "outlier", write_outlier(pool), "panic_share", ps_json_of_number(pool->panic_share),
        "slow_start_ms", (json_int_t)pool->slow_start_ms, "drain_ms", (json_int_t)pool->drain_ms,
        "connections_max", (json_int_t)pool->connections_max, "queue_max",
        (json_int_t)pool->queue_max, "retry_budget", ps_json_of_number(pool->retry_budget));
}

const struct cfg_kind cfg_kind_pool = {
    .path = "pools",
    .word = "pool",
    .name_rule = "a pool's name: [A-Za-z0-9][A-Za-z0-9._-]{0,63}",
    .listed = "pools",
    .lists_names = true,
    .put = "pool.put",
    .drop = "pool.delete",
    .max = POOLS_MAX,
    .measured = (const char *const[]){"/live", "/panic", "/panic_since", "/discovered", NULL},
    .name = cfg_plain_name,
    .parse = pool_parse,
    .free = pool_free,
    .write = pool_write,
    .makes_up_table = true,
};
