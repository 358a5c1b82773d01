/* See cluster_fixture.h. */
#include "tests/contract/cluster_fixture.h"

#include "tests/unit/temp_dir.h"

#include "gateway/cluster/cluster.h"
#include "gateway/config/store/seed.h"
#include "gateway/config/store/store_internal.h"
#include "gateway/config/store/sync.h"
#include "gateway/mail.h"
#include "gateway/metrics.h"
#include "gateway/orders/order_events.h"
#include "gateway/sale_host.h"
#include "gateway/sales/sales_internal.h"
#include "inventory/store_redis.h"

#include <sqlite3.h>

#define NODES 2

struct node {
    struct temp_dir temp;
    struct ps_clock clock;
    _Atomic(int64_t) ahead_ns; /* its monotonic clock, of the others' */
    struct ps_uuid start;
    struct inv_redis *redis;
    struct inv_store *counter;
    struct oq_fold *fold;
    struct oq_log *log;
    struct ord_events *events;
    struct ps_metrics *metrics;
    struct gw_mailboxes mail;
    struct sale_runs *sales;
    struct clu_cluster *cluster;
    struct cfg_store *store;
    struct gw_control *control; /* NULL: it does not run */
};

static uv_loop_t loop;
struct redis_server server;
struct shared_topic *topic;
static const struct gw_workers no_workers;
static struct node nodes[NODES];
struct node *const a = &nodes[0], *const b = &nodes[1];
static struct ps_uuid_source ids;

/* --- gateways --- */

static void on_mail(const struct ps_mail *mail, void *ctx)
{
    struct node *node = ctx;
    if (node->control != NULL)
        gw_control_mail(mail, node->control);
}

static int64_t mono_ns(void *ctx)
{
    const struct node *node = ctx;
    return ps_clock_mono_ns(&ps_clock_system) + atomic_load(&node->ahead_ns);
}

static struct ps_redis_url server_url(void)
{
    struct ps_redis_url url;
    char text[64];
    (void)snprintf(text, sizeof text, "redis://127.0.0.1:%d/0", server.port);
    assert_ok(ps_redis_url_parse(text, &url, NULL));
    return url;
}

/* Redis is back soon in these tests, and on a busy machine it may be slow. */
static void be_patient(struct ps_redis_settings *link)
{
    link->backoff_max_ms = 50;
    link->connect_timeout_ms = link->command_timeout_ms = 20000;
}

static void open_store(struct node *node)
{
    struct inv_redis_settings settings = inv_redis_defaults;
    const struct inv_redis_events events = {0};
    struct ps_redis_url url = server_url();
    be_patient(&settings.link);
    settings.load_timeout_ms = 20000;
    assert_ok(inv_redis_new(&url, &settings, &node->start, &node->redis));
    assert_ok(inv_store_redis_new(node->redis, &loop, 0, &events, &node->counter));
}

void start(struct node *node)
{
    struct ps_fault fault;
    node->clock = (struct ps_clock){mono_ns, ps_clock_system.wall_ms, node};
    ps_uuid_next(&ids, ps_clock_wall_ms(&node->clock), &node->start);
    assert_ok(ps_metrics_new(gw_metric_table, GW_M_COUNT, 3, &node->metrics));
    assert_ok(oq_fold_new(&node->fold));
    assert_ok(ps_mailbox_new(&loop, 1024, on_mail, NULL, node, &node->mail.control));
    open_store(node);
    const struct sale_settings sales = {.clock = &node->clock,
                                        .gateway_id = "gw",
                                        .store = node->counter,
                                        .fold = node->fold,
                                        .metrics = node->metrics,
                                        .mailbox = node->mail.control,
                                        .mail_kind = GW_MAIL_SALES,
                                        .owner = GW_OWNER_CONTROL};
    assert_ok(sale_runs_new(&sales, &node->sales));
    const struct ord_events_settings events = {.clock = &node->clock,
                                               .fold = node->fold,
                                               .sales = node->sales,
                                               .metrics = node->metrics,
                                               .deliver = gw_mail_outcome,
                                               .on_state = gw_mail_log_state,
                                               .ctx = &node->mail};
    assert_ok(ord_events_new(&events, &node->events));
    const struct oq_log_callbacks callbacks = ord_events_callbacks(node->events);
    node->log = shared_log_new(topic, &callbacks);
    shared_log_read(node->log);
    const struct clu_settings cluster = {.clock = &node->clock,
                                         .start = node->start,
                                         .gateway_id = "gw",
                                         .store = node->counter,
                                         .log = node->log};
    assert_ok(clu_cluster_new(&cluster, &node->cluster));
    sale_runs_open(node->sales, node->log, node->cluster);
    const struct cfg_writer_settings settings = {.path = temp_file(&node->temp, "control.db"),
                                                 .audit_path = temp_file(&node->temp, "audit.log"),
                                                 .clock = &node->clock,
                                                 .mailbox = node->mail.control,
                                                 .mail_kind = GW_MAIL_DONE};
    assert_ok(cfg_store_open(&settings, &node->store, &fault));
    const struct gw_control_deps deps = {.loop = &loop,
                                         .config = node->store,
                                         .sales = node->sales,
                                         .fold = node->fold,
                                         .workers = &no_workers};
    assert_ok(gw_control_new(&deps, &node->control, &fault));
    const struct sale_host host = gw_sale_host(node->control);
    sale_runs_start(node->sales, &host);
    ord_events_go(node->events);
}

void share(struct node *node)
{
    struct ps_redis_settings settings = ps_redis_defaults;
    struct ps_redis_url url = server_url();
    be_patient(&settings);
    assert_ok(cfg_sync_new(
        node->store, &(struct cfg_sync_settings){.loop = &loop, .url = &url, .redis = &settings}));
    while (!gw_control_synced(node->control))
        turn();
}

void stop(struct node *node)
{
    if (node->control == NULL)
        return;
    assert_ok(oq_log_close(node->log, 0));
    clu_stop(node->cluster);
    sale_runs_stop(node->sales);
    inv_store_free(node->counter);
    gw_control_stop(node->control);
    ps_mailbox_close(node->mail.control);
    for (int i = 0; i < 20; i++) /* until its handles are closed */
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    gw_control_free(node->control);
    clu_cluster_free(node->cluster);
    node->control = NULL;
    oq_log_free(node->log);
    ord_events_free(node->events);
    sale_runs_free(node->sales);
    inv_redis_free(node->redis);
    oq_fold_free(node->fold);
    ps_metrics_free(node->metrics);
    node->temp.used = 0;
}

void turn(void)
{
    (void)uv_run(&loop, UV_RUN_ONCE);
    for (size_t i = 0; i < NODES; i++) {
        struct gw_control *control = nodes[i].control;
        if (control == NULL)
            continue;
        shared_log_read(nodes[i].log);
        while (cfg_store_is_publishing(nodes[i].store))
            gw_control_mail(&(struct ps_mail){.kind = GW_MAIL_SNAPSHOT_ACK,
                                              .value = (uint64_t)control->snapshot->version},
                            control);
    }
}

void turn_ms(uint64_t ms)
{
    uv_update_time(&loop);
    for (uint64_t end = uv_now(&loop) + ms; uv_now(&loop) < end;)
        turn();
}

int make(void **state)
{
    (void)state;
    assert_ok(uv_loop_init(&loop));
    redis_start(&server, NULL);
    topic = shared_topic_new();
    ps_uuid_source_init(&ids);
    for (size_t i = 0; i < NODES; i++)
        nodes[i] = (struct node){.temp = temp_dir_make()};
    return 0;
}

int drop(void **state)
{
    (void)state;
    for (size_t i = 0; i < NODES; i++) {
        stop(&nodes[i]);
        temp_dir_remove(&nodes[i].temp);
    }
    if (server.pid != 0)
        redis_remove(&server);
    shared_topic_free(topic);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_ok(uv_loop_close(&loop));
    return 0;
}

struct ps_uuid start_of(const struct node *node)
{
    return node->start;
}

int64_t metric_of(const struct node *node, enum gw_metric metric)
{
    return ps_metric_read(node->metrics, metric, 0);
}

void set_ahead(struct node *node, int64_t ahead_ns)
{
    atomic_store(&node->ahead_ns, ahead_ns);
}

void break_disk(const struct node *node)
{
    sqlite3 *db;
    char path[128];
    (void)snprintf(path, sizeof path, "%s/control.db", node->temp.path);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_busy_timeout(db, 20000), SQLITE_OK); /* it may just be writing */
    assert_int_equal(sqlite3_exec(db,
                                  "CREATE TRIGGER full BEFORE INSERT ON documents "
                                  "BEGIN SELECT RAISE(ABORT, 'full'); END",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

void hold_log(struct node *node, bool held, bool away)
{
    shared_log_hold(node->log, held, away);
}

void read_log(struct node *node)
{
    shared_log_read(node->log);
}

/* --- the cluster --- */

bool leads(const struct node *node)
{
    return clu_leads(node->cluster);
}

bool has_redis(const struct node *node)
{
    return clu_has_redis(node->cluster);
}

size_t members_at(const struct node *node)
{
    return clu_members(node->cluster);
}

size_t effects_at(const struct node *node)
{
    return sale_numbers(node->sales).effects;
}

/* --- a sale --- */

static void done(int err, const struct ps_fault *fault, void *ctx)
{
    (void)fault;
    *(int *)ctx = err;
}

/* The answer to the version as it is, whatever there is. */
static int put_version(struct node *node, const char *name, int64_t version, int stock,
                       const struct cfg_sale_state *sale_state, int64_t closes_at_ms)
{
    struct cfg_change *change = cfg_change_new(
        node->store, &(struct cfg_author){.who = "t1", .peer = "", .action = "", .why = ""});
    struct ps_faults faults = {0};
    struct cfg_edit edit = {.after = version - 1};
    char closes[PS_TIME_LEN + 1];
    int err = 1;
    ps_time_format(closes_at_ms != INT64_MAX ? closes_at_ms : 2, closes);
    json_t *json =
        json_pack("{s:s, s:s?, s:i, s:[{s:s, s:i}]}", "opens_at", "1970-01-01T00:00:00.001Z",
                  "closes_at", closes_at_ms != INT64_MAX ? closes : NULL, "per_user_cap", STOCK,
                  "skus", "sku", "phone", "stock", stock);
    json_t *state = cfg_sale_state_write(sale_state);
    const struct cfg_doc_parts parts = {.kind = &cfg_kind_sale,
                                        .name = name,
                                        .version = version,
                                        .by = change->by,
                                        .json = json,
                                        .state = state,
                                        .reading.pointer = ""};
    assert_ok(cfg_doc_new(&parts, &edit.doc, &faults));
    assert_ok(cfg_change_add(change, edit));
    json_decref(json);
    json_decref(state);
    int refused = cfg_change_submit(change, done, &err);
    if (refused < 0)
        return refused;
    while (err == 1)
        turn();
    return err;
}

void put_sale(struct node *node, const char *name, int64_t version, bool opened,
              int64_t closes_at_ms)
{
    const struct sale_entry *known;
    int err = put_version(node, name, version, STOCK, &(struct cfg_sale_state){.opened = opened},
                          closes_at_ms);
    assert_true(err == 0 || err == PS_E_CONFLICT); /* it may be there already */
    while ((known = sale_list_find(&node->control->sales, name, strlen(name))) == NULL ||
           known->stored.state.version < version)
        turn();
}

void know_sale(struct node *node, bool opened)
{
    put_sale(node, SALE, 1, opened, INT64_MAX);
}

static const struct sale_entry *find_sale(const struct node *node, const char *name)
{
    return sale_list_find(&node->control->sales, name, strlen(name));
}

static const struct sale_entry *sale_of(const struct node *node)
{
    return find_sale(node, SALE);
}

static const struct sale_view *view_of(const struct node *node)
{
    return sale_view(sale_of(node)->run);
}

int put_stock(struct node *node, int stock)
{
    const struct sale_entry *known = sale_of(node);
    const struct cfg_sale_state none = {0}, *state = known != NULL ? &known->stored.state : &none;
    return put_version(node, SALE, state->version + 1, stock, state, INT64_MAX);
}

void seed_sales(struct node *node, const char *first, const char *second)
{
    const char *const names[] = {first, second};
    json_t *sales = json_object(), *bundle = json_pack("{s:{s:o}}", "documents", "sales", sales);
    for (size_t i = 0; i < PS_ARRAY_LEN(names); i++)
        assert_ok(json_object_set_new(sales, names[i],
                                      json_pack("{s:s, s:i, s:[{s:s, s:i}]}", "opens_at",
                                                "1970-01-01T00:00:00.001Z", "per_user_cap", STOCK,
                                                "skus", "sku", "phone", "stock", STOCK)));
    assert_ok(cfg_seed(node->store, bundle));
    json_decref(bundle);
}

int64_t version_at(const struct node *node)
{
    const struct sale_entry *sale = sale_of(node);
    return sale != NULL ? sale->stored.state.version : 0;
}

int64_t stock_at(const struct node *node)
{
    return sale_of(node)->stored.doc.skus[0].stock;
}

bool is_stock_fixed(const struct node *node)
{
    return sale_is_fixed(sale_of(node)->run, &sale_of(node)->stored.state);
}

bool is_noted_opened(const struct node *node)
{
    return sale_of(node)->stored.state.opened;
}

bool is_resting(const struct node *node, const char *name)
{
    return sale_known(node->sales, name)->resting;
}

bool serves_sale(const struct node *node, const char *name)
{
    return sale_view(find_sale(node, name)->run)->state == SALE_SERVING;
}

bool serves(const struct node *node)
{
    return serves_sale(node, SALE);
}

void until_served(const struct node *node)
{
    while (!serves(node))
        turn();
}

bool is_fenced(const struct node *node)
{
    return view_of(node)->counter != NULL && !serves(node);
}

bool is_known_fenced(const struct node *node, const char *name)
{
    const struct sale_run *run = sale_known(node->sales, name);
    return run->in_redis != SALE_IN_REDIS_USABLE;
}

unsigned refused_at(const struct node *node)
{
    return sale_refused(node->sales);
}

const char *refusal_at(const struct node *node)
{
    const struct sale_view *view = view_of(node);
    return view->state == SALE_REFUSED ? view->refused_why : NULL;
}

int64_t epoch_at(const struct node *node)
{
    return view_of(node)->epoch;
}

int64_t left_at(const struct node *node)
{
    return inv_sale_left(view_of(node)->counter, 0);
}

void open_sale(void)
{
    start(a);
    know_sale(a, false);
    until_served(a);
    if (b->control == NULL)
        start(b);
    know_sale(b, true);
    until_served(b);
}

/* --- the log's view --- */

static const struct oq_sale *log_sale(const struct node *node)
{
    return oq_fold_sale(node->fold, SALE, strlen(SALE));
}

bool is_in_log(const struct node *node)
{
    return log_sale(node) != NULL;
}

int64_t logged_stock(const struct node *node)
{
    struct oq_totals totals;
    oq_sale_totals(log_sale(node), 0, &totals);
    return totals.adjustments;
}

int state_at(const struct node *node, struct ps_uuid id)
{
    const struct oq_order *order = oq_fold_order(node->fold, &id);
    return order != NULL ? (int)oq_order_state(order) : -1;
}

struct fence last_fence(const struct node *node)
{
    static struct sale_fence seen;
    sale_effects_last_fence(node->sales->effects, log_sale(node), &seen);
    return (struct fence){.epoch = seen.epoch, .author = seen.gateway};
}

/* --- Redis --- */

#define LOG_KEY "ps:log"

static const char *current_key(const char *name)
{
    static char key[64];
    (void)snprintf(key, sizeof key, "ps:{%s}:current", name);
    return key;
}

long long left(void)
{
    return count_of("phone");
}

long long count_of(const char *field)
{
    return redis_number(&server, "EVAL %s 1 %s %s",
                        "return tonumber(redis.call('HGET', string.sub(KEYS[1], 1, -8) .. "
                        "redis.call('HGET', KEYS[1], 'epoch') .. ':stock', ARGV[1]))",
                        current_key(SALE), field);
}

long long entries(enum redis_entries kind)
{
    static const char *const keys[] = {
        [IN_DOUBT] = "doubt", [DECIDED] = "order", [APPLIED] = "applied"};
    return redis_number(&server, "EVAL %s 1 %s %s",
                        "return redis.call('HLEN', string.sub(KEYS[1], 1, -8) .. "
                        "redis.call('HGET', KEYS[1], 'epoch') .. ':' .. ARGV[1])",
                        current_key(SALE), keys[kind]);
}

bool is_installed(const char *name)
{
    return redis_number(&server, "EXISTS %s", current_key(name)) == 1;
}

void install_epoch(int64_t epoch)
{
    redis_do(&server, "HSET %s epoch %lld", current_key(SALE), (long long)epoch);
}

void spoil_identity(void)
{
    redis_do(&server, "HSET %s identity another", current_key(SALE));
}

void install_foreign_counters(void)
{
    assert_int_equal(redis_number(&server, "HSET %s %s %s %s %s", current_key(SALE), "epoch", "77",
                                  "identity", "another"),
                     2);
}

bool remove_counters(void)
{
    return redis_number(&server, "DEL %s", current_key(SALE)) == 1;
}

void replace_sale(const char *name)
{
    redis_do(&server, "RENAME %s kept", current_key(name));
    redis_do(&server, "SADD %s foreign", current_key(name));
}

void restore_sale(const char *name)
{
    redis_do(&server, "DEL %s", current_key(name));
    redis_do(&server, "RENAME kept %s", current_key(name));
}

bool says_log(const char *log)
{
    redisReply *reply = redis_ask(&server, "GET %s", LOG_KEY);
    bool says = reply->type == REDIS_REPLY_STRING && strcmp(reply->str, log) == 0;
    freeReplyObject(reply);
    return says;
}

bool says_no_log(void)
{
    return redis_number(&server, "EXISTS %s", LOG_KEY) == 0;
}

void say_log(const char *log)
{
    redis_do(&server, "SET %s %s", LOG_KEY, log);
}

void say_no_log(void)
{
    redis_do(&server, "DEL %s", LOG_KEY);
}

bool has_heartbeats(void)
{
    return redis_number(&server, "EXISTS %s %s", "ps:gateways", "ps:leader") > 0;
}

/* As the heartbeat does. */
void say_heartbeat(const struct ps_uuid *start, const char *name, int spilled, int ms_ago)
{
    redis_do(&server, "EVAL %s 1 ps:gateways %b %d %d %s",
             "local t = redis.call('TIME') "
             "local at = t[1] * 1000 + math.floor(t[2] / 1000) - ARGV[3] "
             "return redis.call('HSET', KEYS[1], ARGV[1], "
             "struct.pack('>i8i8i8i8i8Bc0', at, 0, 0, ARGV[2], 0, #ARGV[4], ARGV[4]))",
             start->byte, sizeof start->byte, spilled, ms_ago, name);
}

void forget_heartbeat(const struct ps_uuid *start)
{
    redis_do(&server, "HDEL ps:gateways %b", start->byte, sizeof start->byte);
}

long long shared_version(void)
{
    return redis_number(&server, "EVAL %s 0",
                        "return tonumber(string.match(redis.call('HGET', 'ps:control', "
                        "'sales/" SALE "'), '^%d+'))");
}

/* --- orders --- */

struct reserved {
    bool here;
    struct inv_answer answer;
};

static void on_reserved(uint64_t handle, int err, const struct inv_answer *answer, void *ctx)
{
    struct reserved *reserved = ctx;
    (void)handle;
    assert_ok(err);
    reserved->answer = *answer;
    reserved->here = true;
}

struct ps_uuid reserve(struct node *node, const char *user)
{
    struct reserved reserved = {0};
    struct inv_answer answer;
    const struct sale_view *view = view_of(node);
    struct inv_reservation r = {.epoch = view->epoch,
                                .user = {user, strlen(user)},
                                .key = PS_STR("k"),
                                .quantity = 1,
                                .cap = STOCK,
                                .ttl_ms = 900000};
    ps_uuid_next(&ids, ps_clock_wall_ms(&ps_clock_system), &r.order_id);
    assert_int_equal(inv_store_reserve(node->counter, view->counter, &r,
                                       (struct inv_reply_to){.on_answer = on_reserved,
                                                             .ctx = &reserved,
                                                             .ret_answer = &answer}),
                     INV_PENDING);
    while (!reserved.here)
        turn();
    assert_int_equal(reserved.answer.result, INV_RESERVED);
    return r.order_id;
}

struct oq_event accepted(struct ps_uuid id, const char *user, int64_t epoch)
{
    int64_t now = ps_clock_wall_ms(&ps_clock_system);
    return (struct oq_event){.type = OQ_ACCEPTED,
                             .has_order_id = true,
                             .order_id = id,
                             .sale = PS_STR(SALE),
                             .epoch = epoch,
                             .at_ms = now,
                             .sku = PS_STR("phone"),
                             .quantity = 1,
                             .user = {user, strlen(user)},
                             .key = PS_STR("k"),
                             .reserved_at_ms = now,
                             .pay_by_ms = now + 900000,
                             .cap = STOCK,
                             .sale_version = 1};
}

void append(struct node *node, const struct oq_event *event)
{
    const struct oq_ticket nobody = {.owner = GW_OWNER_CONTROL};
    assert_ok(oq_log_append(node->log, event, &nobody));
}

void archive_sale(void)
{
    const struct oq_event archived = {.type = OQ_ARCHIVED,
                                      .sale = PS_STR(SALE),
                                      .epoch = 5,
                                      .partitions = SHARED_PARTITIONS,
                                      .counts = PS_STR("[]"),
                                      .discarded = true,
                                      .at_ms = 1};
    for (uint32_t i = 0; i < SHARED_PARTITIONS; i++)
        shared_topic_put(topic, i, &archived);
}

struct ps_uuid buy(struct node *node)
{
    struct ps_uuid id = reserve(node, "ann");
    struct oq_event event = accepted(id, "ann", epoch_at(node));
    append(node, &event);
    for (size_t i = 0; i < NODES; i++)
        while (nodes[i].control != NULL && state_at(&nodes[i], id) < 0)
            turn();
    return id;
}

struct oq_event cancelled(struct ps_uuid id)
{
    return (struct oq_event){.type = OQ_RELEASED,
                             .has_order_id = true,
                             .order_id = id,
                             .sale = PS_STR(SALE),
                             .sku = PS_STR("phone"),
                             .quantity = 1,
                             .at_ms = ps_clock_wall_ms(&ps_clock_system),
                             .reason = OQ_CANCELLED};
}

struct oq_event fence_of(int64_t epoch)
{
    return (struct oq_event){.type = OQ_FENCED,
                             .sale = PS_STR(SALE),
                             .epoch = epoch,
                             .at_ms = ps_clock_wall_ms(&ps_clock_system),
                             .gateway = PS_STR("stranger"),
                             .partitions = SHARED_PARTITIONS};
}
