/* See config_fixture.h. */
#include "tests/contract/config_fixture.h"
#include "tests/unit/temp_dir.h"

#include "gateway/cluster/cluster.h"
#include "gateway/config/store/seed.h"
#include "gateway/config/store/store_internal.h"
#include "gateway/config/store/sync.h"
#include "gateway/mail.h"
#include "gateway/metrics.h"
#include "gateway/sale_host.h"
#include "inventory/store_memory.h"
#include "queue/log_backend.h"

#include <sqlite3.h>

#define NODES 3

struct node {
    struct temp_dir temp;
    struct cfg_writer_settings store_settings;
    struct cfg_store *store;
    struct inv_store *counter;
    struct oq_fold *fold;
    struct ps_metrics *metrics;
    struct ps_mailbox *mail;
    struct sale_runs *sales;
    struct clu_cluster *cluster;
    struct gw_control *control; /* NULL: not running */
};

static uv_loop_t loop;
struct redis_server server;
static struct node nodes[NODES];
struct node *const a = &nodes[0], *const b = &nodes[1], *const c = &nodes[2];

/* --- gateways --- */

static bool is_available(const struct oq_log *log)
{
    (void)log;
    return false;
}

static void view_of(const struct oq_log *log, struct oq_log_view *ret_view)
{
    (void)log;
    *ret_view = (struct oq_log_view){.state = OQ_LOG_AWAY, .partitions = 1};
}

/* A log that is away: no sale is opened and nothing expires. */
static const struct oq_log_ops no_log_ops = {.available = is_available, .view = view_of};
static struct oq_log no_log = {.ops = &no_log_ops};
static const struct gw_workers no_workers;

static void on_mail(const struct ps_mail *mail, void *ctx)
{
    struct node *node = ctx;
    if (node->control != NULL)
        gw_control_mail(mail, node->control);
}

void share(struct node *node)
{
    struct ps_redis_settings settings = ps_redis_defaults;
    struct ps_redis_url url;
    char text[64];
    settings.backoff_max_ms = 50;
    settings.check_ms = 20;
    settings.connect_timeout_ms = settings.command_timeout_ms = 2000; /* for a busy machine */
    (void)snprintf(text, sizeof text, "redis://127.0.0.1:%d/0", server.port);
    assert_ok(ps_redis_url_parse(text, &url, NULL));
    assert_ok(cfg_sync_new(
        node->store, &(struct cfg_sync_settings){.loop = &loop, .url = &url, .redis = &settings}));
}

static void start_sales(struct node *node)
{
    const struct sale_settings sales = {.clock = &ps_clock_system,
                                        .gateway_id = "",
                                        .store = node->counter,
                                        .fold = node->fold,
                                        .metrics = node->metrics,
                                        .mailbox = node->mail,
                                        .mail_kind = GW_MAIL_SALES,
                                        .owner = GW_OWNER_CONTROL};
    const struct clu_settings cluster = {
        .clock = &ps_clock_system, .gateway_id = "", .store = node->counter, .log = &no_log};
    assert_ok(sale_runs_new(&sales, &node->sales));
    assert_ok(clu_cluster_new(&cluster, &node->cluster));
    sale_runs_open(node->sales, &no_log, node->cluster);
}

/* Alone until share(). */
void start(struct node *node)
{
    struct ps_fault fault;
    assert_ok(ps_metrics_new(gw_metric_table, GW_M_COUNT, 2, &node->metrics));
    assert_ok(inv_store_memory_new(&ps_clock_system, &node->counter));
    assert_ok(oq_fold_new(&node->fold));
    assert_ok(ps_mailbox_new(&loop, 1024, on_mail, NULL, node, &node->mail));
    start_sales(node);
    node->store_settings.clock = &ps_clock_system;
    node->store_settings.mailbox = node->mail;
    node->store_settings.mail_kind = GW_MAIL_DONE;
    assert_ok(cfg_store_open(&node->store_settings, &node->store, &fault));
    const struct gw_control_deps deps = {.loop = &loop,
                                         .config = node->store,
                                         .sales = node->sales,
                                         .fold = node->fold,
                                         .workers = &no_workers};
    assert_ok(gw_control_new(&deps, &node->control, &fault));
    node->control->ref_keys.next_ns = INT64_MAX; /* tests count revisions: see make_ref_keys */
    const struct sale_host host = gw_sale_host(node->control);
    sale_runs_start(node->sales, &host);
}

void make_ref_keys(struct node *node)
{
    node->control->ref_keys.next_ns = 0;
}

struct cfg_store *store_of(const struct node *node)
{
    return node->store;
}

void stop(struct node *node)
{
    if (node->control == NULL)
        return;
    gw_control_stop(node->control);
    ps_mailbox_close(node->mail);
    for (int i = 0; i < 5; i++) /* until its handles are closed */
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    gw_control_free(node->control);
    node->control = NULL;
    sale_runs_free(node->sales);
    clu_cluster_free(node->cluster);
    inv_store_free(node->counter);
    oq_fold_free(node->fold);
    ps_metrics_free(node->metrics);
}

/* One turn of the loop; where a snapshot was published, the worker that there is not takes it over.
 */
void turn(void)
{
    (void)uv_run(&loop, UV_RUN_ONCE);
    for (size_t i = 0; i < NODES; i++) {
        struct gw_control *control = nodes[i].control;
        while (control != NULL && cfg_store_is_publishing(nodes[i].store))
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

void start_shared(struct node *node)
{
    start(node);
    share(node);
    while (!gw_control_synced(node->control))
        turn();
}

int make(void **state)
{
    (void)state;
    assert_ok(uv_loop_init(&loop));
    redis_start(&server, NULL);
    for (size_t i = 0; i < NODES; i++) {
        nodes[i] = (struct node){.temp = temp_dir_make()};
        nodes[i].store_settings.path = temp_file(&nodes[i].temp, "control.db");
        nodes[i].store_settings.audit_path = temp_file(&nodes[i].temp, "audit.log");
    }
    return 0;
}

int drop(void **state)
{
    (void)state;
    for (size_t i = 0; i < NODES; i++) {
        stop(&nodes[i]);
        temp_dir_remove(&nodes[i].temp);
    }
    redis_remove(&server);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_ok(uv_loop_close(&loop));
    return 0;
}

/* --- what they have --- */

static const struct cfg_doc *sale_of(const struct node *node, const char *name)
{
    return cfg_store_find(node->store, &cfg_kind_sale, name);
}

/* 0: there is none. */
int64_t version_of(const struct node *node, const char *name)
{
    const struct cfg_doc *sale = sale_of(node, name);
    return sale != NULL ? sale->version : 0;
}

int64_t stock_of(const struct node *node, const char *name)
{
    return cfg_sale_of(sale_of(node, name))->doc.skus[0].stock;
}

void until_version(const struct node *node, const char *name, int64_t version)
{
    while (version_of(node, name) != version)
        turn();
}

bool blocked(const struct node *node, const char *user)
{
    const struct ps_address nobody = {{0}};
    bool published =
        adm_blocklist_has(node->control->snapshot->blocklist, (struct ps_str){user, strlen(user)},
                          &nobody, ps_clock_wall_ms(&ps_clock_system));
    bool kept = cfg_store_find(node->store, &cfg_kind_user, user) != NULL;
    assert_true(published == kept);
    return kept;
}

/* --- changes --- */

static void done(int err, const struct ps_fault *fault, void *ctx)
{
    struct change *change = ctx;
    change->err = err;
    change->fault = *fault;
    change->version_heard = change->sale != NULL ? version_of(change->node, change->sale) : 0;
}

static struct cfg_change *new_change(const struct node *node)
{
    struct cfg_change *change = cfg_change_new(
        node->store, &(struct cfg_author){.at_ms = ps_clock_wall_ms(&ps_clock_system),
                                          .who = "t1",
                                          .peer = "",
                                          .action = "",
                                          .why = ""});
    assert_non_null(change);
    return change;
}

static void submit(struct node *node, struct cfg_change *made, const char *sale,
                   struct change *change)
{
    *change = (struct change){.node = node, .sale = sale, .err = 1};
    int err = cfg_change_submit(made, done, change);
    if (err < 0)
        change->err = err;
}

int answer(struct change *change)
{
    while (change->err == 1)
        turn();
    return change->err;
}

static json_t *parse(const char *text)
{
    json_t *json;
    assert_ok(ps_json_parse(text, strlen(text), &json, NULL));
    return json;
}

static void put(struct cfg_change *made, const struct cfg_kind *kind, const char *name,
                const char *text)
{
    struct ps_faults faults = {0};
    enum cfg_refusal refusal;
    json_t *json = parse(text);
    assert_ok(cfg_change_put(made, &(struct cfg_put){.kind = kind, .name = name, .json = json},
                             &refusal, &faults));
    json_decref(json);
}

static void remove_document(struct cfg_change *made, const struct cfg_kind *kind, const char *name)
{
    struct ps_faults faults = {0};
    enum cfg_refusal refusal;
    assert_ok(cfg_change_drop(made, kind, name, "", &refusal, &faults));
}

void begin_sale(struct node *node, const char *name, int stock, int64_t version,
                struct change *change)
{
    struct cfg_change *made = new_change(node);
    struct ps_faults faults = {0};
    char text[80];
    (void)snprintf(text, sizeof text, "{\"skus\":[{\"sku\":\"phone\",\"stock\":%d}]}", stock);
    json_t *json = parse(text), *state = parse(cfg_kind_sale.initial_state);
    const struct cfg_doc_parts parts = {.kind = &cfg_kind_sale,
                                        .name = name,
                                        .version = version,
                                        .created_at_ms = 5,
                                        .by = made->by,
                                        .json = json,
                                        .state = state,
                                        .reading.pointer = ""};
    struct cfg_edit edit = {.after = version - 1};
    assert_ok(cfg_doc_new(&parts, &edit.doc, &faults));
    assert_ok(cfg_change_add(made, edit));
    json_decref(json);
    json_decref(state);
    submit(node, made, name, change);
}

int put_sale(struct node *node, const char *name, int stock, int64_t version)
{
    struct change change;
    begin_sale(node, name, stock, version, &change);
    return answer(&change);
}

int delete_sale(struct node *node, const char *name)
{
    struct cfg_change *made = new_change(node);
    struct change change;
    remove_document(made, &cfg_kind_sale, name);
    submit(node, made, name, &change);
    return answer(&change);
}

void begin_block(struct node *node, const char *user, int64_t until_ms, struct change *change)
{
    struct cfg_change *made = new_change(node);
    char text[64] = "{}", time[PS_TIME_LEN + 1];
    if (until_ms != INT64_MAX) {
        ps_time_format(until_ms, time);
        (void)snprintf(text, sizeof text, "{\"until\":\"%s\"}", time);
    }
    put(made, &cfg_kind_user, user, text);
    submit(node, made, NULL, change);
}

void begin_document(struct node *node, const struct cfg_kind *kind, const char *name,
                    const char *text, struct change *change)
{
    struct cfg_change *made = new_change(node);
    if (text != NULL)
        put(made, kind, name, text);
    else
        remove_document(made, kind, name);
    submit(node, made, NULL, change);
}

int put_block(struct node *node, const char *user)
{
    struct change change;
    begin_block(node, user, INT64_MAX, &change);
    return answer(&change);
}

/* The rule and the user's entry, each if it is not "". */
int drop_entries(struct node *node, const char *rule, const char *user)
{
    struct cfg_change *made = new_change(node);
    struct change change;
    if (rule[0] != '\0')
        remove_document(made, &cfg_kind_limit, rule);
    if (user[0] != '\0')
        remove_document(made, &cfg_kind_user, user);
    submit(node, made, NULL, &change);
    return answer(&change);
}

int put_rule(struct node *node, const char *name, int64_t rate)
{
    struct cfg_change *made = new_change(node);
    struct change change;
    char text[120];
    (void)snprintf(text, sizeof text,
                   "{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":%d,\"period_s\":1}",
                   (int)rate);
    put(made, &cfg_kind_limit, name, text);
    submit(node, made, NULL, &change);
    return answer(&change);
}

/* Two gateways with one sale, known to both. */
void share_spring(void)
{
    start_shared(a);
    start_shared(b);
    assert_ok(put_sale(a, "spring", 1, 1));
    until_version(b, "spring", 1);
}

int64_t revision_of(const struct node *node)
{
    return cfg_store_complete(node->store);
}

int64_t rate_of(const struct node *node, const char *rule)
{
    const struct cfg_doc *found = cfg_store_find(node->store, &cfg_kind_limit, rule);
    return found != NULL ? cfg_rule_of(found)->rate : 0;
}

static size_t count(const struct node *node, const struct cfg_kind *kind)
{
    size_t found = 0;
    for (const struct cfg_doc *doc = NULL; (doc = cfg_store_next(node->store, kind, doc)) != NULL;)
        found++;
    return found;
}

bool has_document(const struct node *node, const struct cfg_kind *kind, const char *name)
{
    return cfg_store_find(node->store, kind, name) != NULL;
}

size_t rule_count(const struct node *node)
{
    return count(node, &cfg_kind_limit);
}

size_t block_count(const struct node *node)
{
    return count(node, &cfg_kind_user);
}

size_t sale_count(const struct node *node)
{
    return count(node, &cfg_kind_sale);
}

bool is_blocklist_sorted(const struct node *node)
{
    const struct cfg_doc *last = NULL, *doc;
    for (; (doc = cfg_store_next(node->store, &cfg_kind_user, last)) != NULL; last = doc)
        if (last != NULL && strcmp(last->name, doc->name) >= 0)
            return false;
    return true;
}

int64_t deletion_of(const struct node *node, const char *sale)
{
    const struct cfg_doc *last = cfg_store_last(node->store, &cfg_kind_sale, sale);
    return last != NULL && last->json == NULL ? last->version : 0;
}

bool is_synced(const struct node *node)
{
    return gw_control_synced(node->control);
}

bool is_ready(const struct node *node)
{
    return node->control->started;
}

void seed(struct node *node, json_t *bundle)
{
    assert_ok(cfg_seed(node->store, bundle));
}

const char *control_db(const struct node *node)
{
    return node->store_settings.path;
}

char *audit_lines(const struct node *node)
{
    return read_file(node->store_settings.audit_path);
}

/* --- what Redis has --- */

bool is_shared(const char *document)
{
    return redis_number(&server, "HEXISTS ps:control %s", document) == 1;
}

bool is_anything_shared(void)
{
    return redis_number(&server, "EXISTS ps:control") == 1;
}

long long shared_with_last_change(void)
{
    return redis_number(&server, "EVAL %s 0",
                        "local top = redis.call('ZREVRANGE', 'ps:control:revs', 0, 0, "
                        "'WITHSCORES')[2] return redis.call('ZCOUNT', "
                        "'ps:control:revs', top, top)");
}

void put_shared(const char *document, const char *text, int change)
{
    redis_do(&server, "HSET ps:control %s %s", document, text);
    redis_do(&server, "ZADD ps:control:revs %d %s", change, document);
}

void take_shared_key(void)
{
    redis_do(&server, "SET ps:control mine");
}

bool is_shared_key_taken(void)
{
    redisReply *reply = redis_ask(&server, "GET ps:control");
    bool taken = reply->type == REDIS_REPLY_STRING && strcmp(reply->str, "mine") == 0;
    freeReplyObject(reply);
    return taken;
}

void give_shared_key_back(void)
{
    redis_do(&server, "DEL ps:control");
}
