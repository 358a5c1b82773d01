/* See world.h. The registry and the caches read documents by the functions of the store; here those
 * functions give what the script has chosen (the linker's --wrap), without a file or a thread. */
#include "tests/fuzz/pages/world.h"

#include "gateway/snapshot/view.h"
#include "gateway/cache/caches.h"
#include "gateway/metrics.h"
#include "gateway/orders/flow.h"
#include "gateway/upstream/registry.h"
#include "gateway/worker.h"

#include <stdio.h>

#define VERSIONS  8
#define POOLS     2
#define TICK_MS   1000 /* of the control thread */
#define TURNS_MAX 4000 /* of the loop, until nothing more happens */

#define POOL(members)                                                                              \
    "{\"endpoints\":[{\"address\":\"127.0.0.1:9001\"},{\"address\":\"127.0.0.1:9002\"}]" members "}"
#define OTHER_POOL(members) "{\"endpoints\":[{\"address\":\"127.0.0.1:9003\"}]" members "}"
#define ALL                                                                                        \
    "\"methods\":[\"GET\",\"HEAD\",\"POST\",\"PUT\",\"DELETE\",\"OPTIONS\"],"                      \
    "\"first_byte_ms\":500,\"total_ms\":2000,"
#define CACHED   "\"cache\":{\"store\":\"c\"}"
#define FIXED(n) "{\"status\":200,\"content_type\":\"text/plain\",\"body\":\"fixed " n "\"}"
#define FALLS(first)                                                                               \
    "\"fallback\":[" first                                                                         \
    "{\"kind\":\"pool\",\"pool\":\"b\"},{\"kind\":\"static\",\"status\":503,\"body\":\"fixed\"}]"

/* clang-format off */
static const struct {
    const char *name;
    const char *versions[VERSIONS]; /* "": there is none; NULL: the first one */
    unsigned first;
} documents[WORLD_DOCUMENTS] = {
    {"a", {POOL(""), POOL(",\"connections_max\":1,\"queue_max\":2"), POOL(",\"algorithm\":\"least_response_time\",\"drain_ms\":0"), OTHER_POOL(",\"drain_ms\":0"),
           "{\"discovery\":{\"registration\":true}}", POOL(",\"retry_budget\":1,\"outlier\":{\"consecutive_errors\":1,\"eject_ms\":1000}")}, 0},
    {"b", {OTHER_POOL(""), OTHER_POOL(",\"connections_max\":1,\"queue_max\":4"), "{\"discovery\":{\"registration\":true}}", POOL(",\"algorithm\":\"random\"")}, 0},
    {"page", {"{\"path\":\"/p/\"," ALL "\"pool\":\"a\"," CACHED "," FALLS("{\"kind\":\"stale\"},") "}", "", "{\"path\":\"/p/\"," ALL "\"pool\":\"a\"}",
              "{\"path\":\"/p/\"," ALL "\"answer\":" FIXED("page") "}", "{\"path\":\"/p/\"," ALL "\"redirect\":{\"status\":302,\"location\":\"/c/1\"}}",
              "{\"path\":\"/p/\"," ALL "\"pool\":\"a\",\"split\":[{\"pool\":\"b\",\"share\":0.5,\"by\":\"request\"}]," CACHED "}",
              "{\"path\":\"/p/\"," ALL "\"pool\":\"a\",\"mirror\":{\"pool\":\"b\",\"share\":1}," CACHED "," FALLS("") "}",
              "{\"path\":\"/p/\"," ALL "\"class\":\"extra\",\"pool\":\"b\"}"}, 0},
    {"up", {"{\"path\":\"/up/\"," ALL "\"pool\":\"a\"," FALLS("") "}", "", "{\"path\":\"/up/\"," ALL "\"pool\":\"a\",\"body_max\":1000}",
            "{\"path\":\"/up/\"," ALL "\"answer\":" FIXED("up") "}", "{\"path\":\"/up/\"," ALL "\"pool\":\"a\"," CACHED "}",
            "{\"path\":\"/up/\"," ALL "\"pool\":\"b\",\"fallback\":[{\"kind\":\"problem\"}]}"}, 0},
    {"fix", {"{\"path\":\"/fix\",\"match\":\"exact\"," ALL "\"answer\":" FIXED("fix") "}", "", "{\"path\":\"/fix\",\"match\":\"exact\"," ALL "\"pool\":\"b\"}"}, 0},
    {"late", {"", "{\"path\":\"/late/\"," ALL "\"pool\":\"a\"," CACHED "}", "{\"path\":\"/late/\"," ALL "\"pool\":\"b\"}"}, 0},
    {"c", {"{\"path\":\"/c/\"," ALL "\"pool\":\"a\"," CACHED "}", "{\"path\":\"/c/\"," ALL "\"pool\":\"a\",\"cache\":{\"store\":\"c\",\"default_ttl_s\":60,\"request_no_cache\":\"obey\"}}",
           "", "{\"path\":\"/c/\"," ALL "\"pool\":\"a\",\"cache\":{\"store\":\"c\",\"stale_while_revalidate_s\":30,\"stale_if_error_s\":30}," FALLS("{\"kind\":\"stale\"},") "}",
           "{\"path\":\"/c/\"," ALL "\"pool\":\"b\"," CACHED ",\"response_headers\":{\"set\":{\"X-New\":\"1\"},\"remove\":[\"Last-Modified\"]}}"}, 0},
    {"host", {"{\"host\":\"m.shop.example\",\"path\":\"/\"," ALL "\"pool\":\"b\"," CACHED "}", "", "{\"host\":\"m.shop.example\",\"path\":\"/\"," ALL "\"answer\":" FIXED("host") "}"}, 0},
    {"set", {"{\"path\":\"/set/\"," ALL "\"pool\":\"a\",\"request_headers\":{\"set\":{\"Accept-Language\":\"set\"}}," CACHED "}", ""}, 0},
    {"none", {"{\"path\":\"/none/\"," ALL "\"pool\":\"a\",\"cache\":{\"store\":\"c\",\"query\":\"none\",\"default_ttl_s\":5}}", ""}, 0},
    {"root", {"", "{\"path\":\"/\"," ALL "\"pool\":\"b\"}", "{\"path\":\"/\"," ALL "\"pool\":\"b\"," CACHED "}"}, 0},
    {"some", {"{\"path\":\"/c/some/\",\"methods\":[\"GET\"],\"pool\":\"b\"}", "", "{\"path\":\"/c/some/\",\"methods\":[\"POST\"],\"pool\":\"a\"}"}, 0},
};
static const char *const cache_versions[] = {"{\"bytes\":1048576}", "", "{\"bytes\":2097152,\"object_bytes_max\":10000,\"eviction\":\"lfu\"}"};
/* clang-format on */

/* What the store's functions give. */
static struct cfg_doc *parsed[WORLD_DOCUMENTS][VERSIONS];
static unsigned chosen[WORLD_DOCUMENTS];
static struct cfg_doc *cache_doc;
static int64_t cache_version;

static struct gw_settings settings;
static struct gw_counter *counter;
static struct adm_limit_table *limits;
static struct adm_limit_samples samples;
static struct oq_fold *fold;
static struct ord_flow *flow;
static struct adm_overload_shared overload;
static struct adm_worker_load load;
static struct ps_board breakers;

static struct ps_metrics *metrics;
static struct caches *caches;
static struct cache_wakeups *wakeups;
static struct up_registry *registry;
static struct snap_view *view;
static struct snapshot *snapshot, *leaving;
static struct gw_worker *worker;
static struct ps_mailbox *control_mail;
static uv_timer_t wake;
static bool is_awake;
static int listener;
static int64_t bytes_before;

/* --- The documents --- */

const struct cfg_doc *__wrap_cfg_store_find(const struct cfg_store *store,
                                            const struct cfg_kind *kind, const char *name);
const struct cfg_doc *__wrap_cfg_store_next(const struct cfg_store *store,
                                            const struct cfg_kind *kind,
                                            const struct cfg_doc *after);
size_t __wrap_cfg_store_count(const struct cfg_store *store, const struct cfg_kind *kind);

static const struct cfg_doc *document(size_t i)
{
    return parsed[i][chosen[i]];
}

const struct cfg_doc *__wrap_cfg_store_next(const struct cfg_store *store,
                                            const struct cfg_kind *kind,
                                            const struct cfg_doc *after)
{
    size_t from = 0;

    (void)store;
    if (kind == &cfg_kind_cache)
        return after == NULL ? cache_doc : NULL;
    while (after != NULL && document(from++) != after)
        ;
    for (; from < WORLD_DOCUMENTS; from++)
        if (document(from) != NULL && document(from)->kind == kind)
            return document(from);
    return NULL;
}

const struct cfg_doc *__wrap_cfg_store_find(const struct cfg_store *store,
                                            const struct cfg_kind *kind, const char *name)
{
    const struct cfg_doc *doc = NULL;

    while ((doc = __wrap_cfg_store_next(store, kind, doc)) != NULL)
        if (strcmp(doc->name, name) == 0)
            return doc;
    return NULL;
}

size_t __wrap_cfg_store_count(const struct cfg_store *store, const struct cfg_kind *kind)
{
    const struct cfg_doc *doc = NULL;
    size_t count = 0;

    while ((doc = __wrap_cfg_store_next(store, kind, doc)) != NULL)
        count++;
    return count;
}

static struct cfg_doc *parse(const struct cfg_kind *kind, const char *name, int64_t version,
                             const char *text, json_t *state)
{
    json_t *json = json_loads(text, 0, NULL);
    struct ps_faults faults = {0};
    struct cfg_doc *doc = NULL;
    const struct cfg_doc_parts parts = {.kind = kind,
                                        .name = name,
                                        .version = version,
                                        .by = {.who = "", .peer = "", .action = "", .why = ""},
                                        .json = json,
                                        .state = state,
                                        .reading = {.pointer = ""}};

    MUST(json != NULL);
    if (cfg_doc_new(&parts, &doc, &faults) < 0 && !memory_has_failed()) {
        (void)fprintf(stderr, "%s: %s %s\n", name, faults.at[0].path, faults.at[0].text);
        abort();
    }
    json_decref(json);
    json_decref(state);
    return doc;
}

static json_t *initial_state(const struct cfg_kind *kind)
{
    return kind->initial_state != NULL ? json_loads(kind->initial_state, 0, NULL) : NULL;
}

static void parse_all(void)
{
    for (size_t i = 0; i < WORLD_DOCUMENTS; i++) {
        const struct cfg_kind *kind = i < POOLS ? &cfg_kind_pool : &cfg_kind_route;
        for (size_t k = 0; k < VERSIONS; k++) {
            const char *text = documents[i].versions[k];
            if (text != NULL && *text != '\0')
                parsed[i][k] =
                    parse(kind, documents[i].name, (int64_t)k + 1, text, initial_state(kind));
        }
    }
}

/* --- Once --- */

static int64_t mono_ns(void *ctx)
{
    (void)ctx;
    return net_now_ns();
}

static int64_t wall_ms(void *ctx)
{
    (void)ctx;
    return INT64_C(1700000000000) + net_now_ns() / PS_NS_PER_MS;
}

static const struct ps_clock virtual = {mono_ns, wall_ms, NULL};

static void on_fenced(void *ctx)
{
    (void)ctx;
}

static void start(void)
{
    static const char text[] =
        "{\"trusted_proxies\":[\"10.0.0.0/8\"],\"workers\":1,\"limits_table\":{\"mib\":1},"
        "\"log\":{\"queue\":64},\"http\":{\"connections\":16,\"head_max_kib\":4,"
        "\"head_timeout_ms\":500,\"body_timeout_ms\":1000,\"send_timeout_ms\":1000,\"idle_timeout_"
        "ms\":60000}}";
    static const struct ps_uuid own = {{1}};
    json_t *json = json_loads(text, 0, NULL);
    struct ps_faults faults = {0};

    MUST(gw_settings_read(json, &settings, &faults) == 0);
    json_decref(json);
    parse_all();
    const struct gw_counter_deps deps = {
        .settings = &settings, .clock = &virtual, .start = &own, .on_fenced = on_fenced};
    MUST(gw_counter_open(&deps, &counter) == 0 && adm_limit_table_new(1, &limits) == 0 &&
         adm_limit_samples_new(1, ps_clock_mono_ns(&virtual), &samples) == 0 &&
         oq_fold_new(&fold) == 0 && gw_flow_new(&settings, 1, &flow) == 0);
}

/* --- For each script --- */

static void tell_readiness(void *ctx, struct ans_readiness *ret_readiness)
{
    (void)ctx;
    *ret_readiness = (struct ans_readiness){0};
}

static void wake_worker(size_t index, void *ctx)
{
    const struct ps_mail mail = {.kind = GW_MAIL_CACHE};

    (void)index;
    (void)ctx;
    (void)gw_worker_post(worker, &mail);
}

static void on_control_mail(const struct ps_mail *mail, void *ctx)
{
    (void)ctx;
    if (mail->kind != GW_MAIL_SNAPSHOT_ACK)
        return;
    MUST((int64_t)mail->value == snapshot->version);
    snapshot_free(leaving);
    leaving = NULL;
}

static void on_wake(uv_timer_t *timer)
{
    (void)timer;
    is_awake = true;
}

static void new_snapshot(void)
{
    const struct up_registry_deps deps = {.clock = &virtual, .worker_count = 1, .caches = caches};

    MUST(up_registry_new(&deps, &registry) == 0 && snap_view_new(1, &view) == 0);
    struct up_table *table = up_registry_build(registry, NULL);
    MUST(table != NULL);
    snap_view_set_up_table(view, table);
    MUST(snap_view_snapshot(view, 1, 1, &snapshot) == 0);
}

void world_open(void)
{
    static bool is_started;

    net_reset();
    memory_forget();
    if (!is_started)
        start();
    is_started = true;
    overload = (struct adm_overload_shared){0};
    memset(&load, 0, sizeof load);
    for (size_t i = 0; i < WORLD_DOCUMENTS; i++)
        chosen[i] = documents[i].first;
    cache_version = 1;
    cache_doc = parse(&cfg_kind_cache, "c", cache_version, cache_versions[0],
                      initial_state(&cfg_kind_cache));
    MUST(ps_metrics_new(gw_metric_table, GW_M_COUNT, 1, &metrics) == 0 &&
         cache_wakeups_new(1, wake_worker, NULL, &wakeups) == 0 &&
         caches_new(wakeups, &caches) == 0);
    new_snapshot();
    listener = net_listen();
    const struct gw_worker_deps deps = {.settings = &settings,
                                        .clock = &virtual,
                                        .counter = counter,
                                        .limits = limits,
                                        .samples = &samples,
                                        .loads = &load,
                                        .breakers = &breakers,
                                        .overload = &overload,
                                        .flow = flow,
                                        .fold = fold,
                                        .metrics = metrics,
                                        .wakeups = wakeups,
                                        .worker_count = 1,
                                        .gateway_id = "fuzz",
                                        .readiness = tell_readiness};
    memory_begin(true);
    struct srv_door door = {.fd = listener};
    MUST(gw_worker_new(&deps, 0, &(struct gw_doors){&door, 1}, snapshot, &worker) == 0);
    srv_http_open(worker->http);
    memory_begin(false);
    MUST(ps_mailbox_new(&worker->loop, 64, on_control_mail, NULL, NULL, &control_mail) == 0);
    worker->deps.control_mail = control_mail;
    uv_timer_init(&worker->loop, &wake);
    bytes_before = memory_live();
    world_run();
}

static void read_cache_figures(struct cache_figures *ret_figures)
{
    struct cache *cache = caches_find(caches, "c");

    *ret_figures = (struct cache_figures){0};
    if (cache != NULL)
        cache_read(cache, ret_figures);
}

static bool pools_rest(const struct up_table *table)
{
    for (size_t i = 0; i < table->pool_count; i++) {
        const struct up_pool_view *pool = &table->pools[i];
        if (atomic_load(&pool->pool->cells[0].waiting) != 0)
            return false;
        for (size_t k = 0; k < pool->member_count; k++)
            if (up_endpoint_in_flight(pool->members[k].endpoint) != 0)
                return false;
    }
    return true;
}

const char *world_unrest(void)
{
    const struct up_table *table = up_registry_table(registry);
    struct cache_figures figures;

    read_cache_figures(&figures);
    MUST(figures.bytes <= figures.bytes_max);
    if (srv_in_flight(worker->http) > 0 || srv_http_begun(worker->http) > 0)
        return "a request";
    if (srv_http_connections(worker->http) > 0)
        return "a connection";
    if (figures.waiting > 0)
        return "a request that waits for the cache";
    if (figures.bytes_filling > 0 || figures.bytes_held > 0)
        return "bytes of the cache";
    if (leaving != NULL)
        return "a snapshot that was not acknowledged";
    if (!pools_rest(table))
        return "a place at a pool";
    /* The registry's, the snapshot's, and the worker's as the one in use, which without memory may
     * be the one before. */
    unsigned users = atomic_load(&table->refs);
    return users == 3 || (users == 2 && memory_has_failed()) ? NULL : "a hold of the table";
}

void world_close(void)
{
    const struct ps_mail stop = {.kind = GW_MAIL_STOP};

    memory_fail(0);
    MUST(gw_worker_post(worker, &stop) == 0);
    world_run();
    ps_mailbox_close(control_mail);
    uv_close((uv_handle_t *)&wake, NULL);
    for (int i = 0; i < 64 && uv_loop_alive(&worker->loop); i++)
        (void)uv_run(&worker->loop, UV_RUN_NOWAIT);
    MUST(!uv_loop_alive(&worker->loop) && net_open() == 0);
    gw_worker_join(worker);
    snapshot_free(leaving);
    snapshot_free(snapshot);
    snapshot = leaving = NULL;
    snap_view_free(view);
    up_registry_free(registry);
    caches_free(caches);
    cache_wakeups_free(wakeups);
    ps_metrics_free(metrics);
    cfg_doc_free(cache_doc);
}

/* --- The loop --- */

void world_run(void)
{
    for (int i = 0; i < TURNS_MAX; i++) {
        (void)uv_run(&worker->loop, UV_RUN_NOWAIT);
        if (net_events() == 0 && uv_backend_timeout(&worker->loop) != 0)
            return;
    }
    MUST(false); /* it turns for ever */
}

static void tick(void)
{
    caches_tick(caches);
    up_registry_tick(registry);
}

void world_sleep(int64_t ms, void (*pump)(void))
{
    int64_t tick_ns = net_now_ns() + TICK_MS * PS_NS_PER_MS;

    is_awake = false;
    uv_update_time(&worker->loop);
    uv_timer_start(&wake, on_wake, (uint64_t)ms, 0);
    for (int i = 0; i < 20 * TURNS_MAX && !is_awake; i++) {
        (void)uv_run(&worker->loop, UV_RUN_ONCE);
        pump();
        if (net_now_ns() >= tick_ns) {
            tick();
            tick_ns += TICK_MS * PS_NS_PER_MS;
        }
    }
    MUST(is_awake);
    world_run();
}

/* --- What operators do --- */

static void publish(void)
{
    struct snapshot *next;
    const struct ps_mail none = {.kind = GW_MAIL_SNAPSHOT};
    struct ps_mail mail = none;

    if (leaving != NULL) /* one at a time */
        world_run();
    MUST(leaving == NULL);
    struct up_table *table = up_registry_build(registry, NULL);
    if (table != NULL)
        snap_view_set_up_table(view, table);
    if (table == NULL || snap_view_snapshot(view, snapshot->version + 1, 1, &next) < 0) {
        MUST(memory_has_failed());
        return;
    }
    leaving = snapshot;
    snapshot = next;
    mail.ptr = next;
    MUST(gw_worker_post(worker, &mail) == 0);
}

void world_exchange(unsigned number, unsigned version)
{
    number %= WORLD_DOCUMENTS;
    version %= VERSIONS;
    chosen[number] = documents[number].versions[version] != NULL ? version : 0;
    publish();
}

static void put_cache(const char *text, json_t *state)
{
    struct cfg_doc *next =
        *text != '\0' ? parse(&cfg_kind_cache, "c", ++cache_version, text, state) : NULL;

    if (*text == '\0')
        json_decref(state);
    if (*text != '\0' && next == NULL) /* no memory */
        return;
    cfg_doc_free(cache_doc);
    cache_doc = next;
    publish();
}

void world_exchange_cache(unsigned version)
{
    put_cache(cache_versions[version % PS_ARRAY_LEN(cache_versions)],
              initial_state(&cfg_kind_cache));
}

void world_purge(enum cfg_purge_by by, const char *text)
{
    if (cache_doc == NULL)
        return;
    json_t *state = cfg_purge_state(cfg_cache_of(cache_doc), by, ps_str(text));

    if (state != NULL)
        put_cache(cache_versions[0], state);
}

void world_turn_off(unsigned features)
{
    atomic_store(&overload.off, features);
}

int world_listener(void)
{
    return listener;
}

size_t world_connections(void)
{
    return srv_http_connections(worker->http);
}

size_t world_bytes(void)
{
    struct cache_figures figures;
    int64_t taken = memory_live() - bytes_before;

    read_cache_figures(&figures);
    taken -= figures.bytes + figures.bytes_held + figures.bytes_filling;
    return taken > 0 ? (size_t)taken : 0;
}
