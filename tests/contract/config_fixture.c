/* See config_fixture.h. */
#include "tests/contract/config_fixture.h"
#include "tests/unit/temp_dir.h"

#include "gateway/cluster/cluster.h"
#include "gateway/config/sync.h"
#include "gateway/sale_host.h"
#include "inventory/store_memory.h"
#include "gateway/config/seed.h"
#include "queue/log_backend.h"

#include <sqlite3.h>

#define NODES 3

struct node {
    struct temp_dir temp;
    struct cfg_store_settings store_settings;
    struct cfg_store *store;
    struct gw_core core;
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
    (void)snprintf(text, sizeof text, "redis://127.0.0.1:%d/0", server.port);
    assert_ok(ps_redis_url_parse(text, &url, NULL));
    assert_ok(cfg_sync_new(node->control, &loop, &url, &settings));
}

static void start_sales(struct gw_core *core)
{
    const struct sale_settings sales = {.clock = core->clock,
                                        .gateway_id = core->gateway_id,
                                        .store = core->control_store,
                                        .fold = core->fold,
                                        .metrics = core->metrics,
                                        .mailbox = core->control_mail,
                                        .mail_kind = GW_MAIL_SALES,
                                        .owner = GW_OWNER_CONTROL};
    const struct clu_settings cluster = {.clock = core->clock,
                                         .gateway_id = core->gateway_id,
                                         .store = core->control_store,
                                         .log = core->log};
    assert_ok(sale_runs_new(&sales, &core->sales));
    assert_ok(clu_cluster_new(&cluster, &core->cluster));
    sale_runs_open(core->sales, core->log, core->cluster);
}

/* Alone until share(). */
void start(struct node *node)
{
    struct gw_core *core = &node->core;
    struct cfg_stored stored;
    struct ps_fault fault;
    *core = (struct gw_core){.clock = &ps_clock_system, .log = &no_log};
    assert_ok(ps_metrics_new(gw_metric_table, GW_M_COUNT, 2, &core->metrics));
    assert_ok(inv_store_memory_new(core->clock, &core->control_store));
    assert_ok(oq_fold_new(&core->fold));
    assert_ok(ps_mailbox_new(&loop, 1024, on_mail, NULL, node, &core->control_mail));
    start_sales(core);
    node->store_settings.clock = core->clock;
    node->store_settings.mailbox = core->control_mail;
    assert_ok(cfg_store_open(&node->store_settings, &node->store, &stored, &fault));
    assert_ok(gw_control_new(core, &loop, node->store, &stored, NULL, &node->control, &fault));
    cfg_stored_done(&stored);
    const struct sale_host host = gw_sale_host(node->control);
    sale_runs_start(core->sales, &host);
}

void stop(struct node *node)
{
    if (node->control == NULL)
        return;
    gw_control_stop(node->control);
    cfg_store_close(node->store);
    ps_mailbox_close(node->core.control_mail);
    for (int i = 0; i < 5; i++) /* until its handles are closed */
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    gw_control_free(node->control);
    node->control = NULL;
    sale_runs_free(node->core.sales);
    clu_cluster_free(node->core.cluster);
    inv_store_free(node->core.control_store);
    oq_fold_free(node->core.fold);
    ps_metrics_free(node->core.metrics);
}

/* One turn of the loop; where a policy was published, the worker that there is not takes it over.
 */
void turn(void)
{
    (void)uv_run(&loop, UV_RUN_ONCE);
    for (size_t i = 0; i < NODES; i++) {
        struct gw_control *control = nodes[i].control;
        while (control != NULL && control->older != NULL)
            gw_control_mail(&(struct ps_mail){.kind = GW_MAIL_POLICY_ACK,
                                              .value = (uint64_t)control->policy->version},
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

static const struct cfg_stored_sale *sale_of(const struct node *node, const char *name)
{
    const struct gw_control_sale *sale = gw_control_sale(node->control, name, strlen(name));
    return sale != NULL ? &sale->stored : NULL;
}

/* 0: there is none. */
int64_t version_of(const struct node *node, const char *name)
{
    const struct cfg_stored_sale *sale = sale_of(node, name);
    return sale != NULL ? sale->state.version : 0;
}

int64_t stock_of(const struct node *node, const char *name)
{
    return sale_of(node, name)->doc.skus[0].stock;
}

void until_version(const struct node *node, const char *name, int64_t version)
{
    while (version_of(node, name) != version)
        turn();
}

bool blocked(const struct node *node, const char *user)
{
    for (size_t i = 0; i < node->control->block_count; i++)
        if (strcmp(node->control->blocks[i].subject, user) == 0)
            return true;
    return false;
}

/* --- changes --- */

static void apply(struct gw_control *control, void *ctx)
{
    const struct change *change = ctx;
    if (change->policy_version > 0) {
        if (change->drop) {
            gw_control_drop_rule(control, change->rule.name);
            gw_control_drop_block(control, change->block.kind, change->block.subject);
        } else if (change->rule.name[0] != '\0') {
            assert_ok(gw_control_put_rule(control, &change->rule));
        } else {
            assert_ok(gw_control_put_block(control, &change->block));
        }
        control->policy_version = change->policy_version;
    } else if (change->drop) {
        assert_ok(gw_control_drop_sale(control, change->sale.name, change->sale.state.version + 1));
    } else {
        assert_ok(gw_control_put_sale(control, &change->sale));
    }
}

static void done(struct gw_control *control, int err, const struct ps_fault *fault, void *ctx)
{
    struct change *change = ctx;
    const char *name = change->sale.name;
    const struct gw_control_sale *sale = gw_control_sale(control, name, strlen(name));
    change->err = err;
    change->fault = *fault;
    change->version_heard = sale != NULL ? sale->stored.state.version : 0;
}

static void submit(struct node *node, struct cfg_store_job *job, struct change *change,
                   const char *action)
{
    cfg_store_job_audit(job,
                        &(struct cfg_audit_entry){
                            .at_ms = 1, .who = "t1", .peer = "", .action = action, .target = "x"});
    change->err = 1;
    assert_ok(gw_control_change(node->control, job, apply, done, change));
}

int answer(struct change *change)
{
    while (change->err == 1)
        turn();
    cfg_sale_doc_done(&change->sale.doc);
    return change->err;
}

/* A sale of one SKU as version `version`. */
void begin_sale(struct node *node, const char *name, int stock, int64_t version,
                struct change *change)
{
    struct cfg_store_job *job = cfg_store_job_new();
    json_t *json = json_pack("{s:[{s:s, s:i}]}", "skus", "sku", "phone", "stock", stock);
    *change = (struct change){.sale.state = {.version = version, .created_at_ms = 5}};
    (void)snprintf(change->sale.name, sizeof change->sale.name, "%s", name);
    assert_ok(cfg_sale_doc_read(json, "", name, &change->sale.doc, NULL));
    json_decref(json);
    cfg_store_job_sale(job, name, &change->sale.doc, &change->sale.state);
    submit(node, job, change, "sale.put");
}

int put_sale(struct node *node, const char *name, int stock, int64_t version)
{
    struct change change;
    begin_sale(node, name, stock, version, &change);
    return answer(&change);
}

int delete_sale(struct node *node, const char *name)
{
    struct cfg_store_job *job = cfg_store_job_new();
    struct change change = {.drop = true, .sale.state.version = version_of(node, name)};
    (void)snprintf(change.sale.name, sizeof change.sale.name, "%s", name);
    cfg_store_job_sale_delete(job, name, change.sale.state.version);
    submit(node, job, &change, "sale.delete");
    return answer(&change);
}

void begin_block(struct node *node, const char *user, int64_t until_ms, struct change *change)
{
    struct cfg_store_job *job = cfg_store_job_new();
    *change = (struct change){.policy_version = node->control->policy_version + 1,
                              .block = {.until_ms = until_ms,
                                        .created_at_ms = ps_clock_wall_ms(&ps_clock_system),
                                        .by = "t1"}};
    (void)snprintf(change->block.subject, sizeof change->block.subject, "%s", user);
    cfg_store_job_block(job, &change->block);
    cfg_store_job_policy_version(job, change->policy_version);
    submit(node, job, change, "block.user");
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
    struct cfg_store_job *job = cfg_store_job_new();
    struct change change = {.policy_version = node->control->policy_version + 1, .drop = true};
    (void)snprintf(change.rule.name, sizeof change.rule.name, "%s", rule);
    (void)snprintf(change.block.subject, sizeof change.block.subject, "%s", user);
    if (rule[0] != '\0')
        cfg_store_job_rule_delete(job, rule);
    if (user[0] != '\0')
        cfg_store_job_unblock(job, CFG_BLOCK_USER, user);
    cfg_store_job_policy_version(job, change.policy_version);
    submit(node, job, &change, "limit.delete");
    return answer(&change);
}

int put_rule(struct node *node, const char *name, int64_t rate)
{
    struct cfg_store_job *job = cfg_store_job_new();
    struct change change = {.policy_version = node->control->policy_version + 1,
                            .rule = node->control->rules[0]};
    (void)snprintf(change.rule.name, sizeof change.rule.name, "%s", name);
    change.rule.rate = rate;
    cfg_store_job_rule(job, &change.rule);
    cfg_store_job_policy_version(job, change.policy_version);
    submit(node, job, &change, "limit.put");
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

int64_t policy_version(const struct node *node)
{
    return node->control->policy_version;
}

int64_t rate_of(const struct node *node, const char *rule)
{
    const struct cfg_limit_rule *found = gw_control_rule(node->control, rule, strlen(rule));
    return found != NULL ? found->rate : 0;
}

size_t rule_count(const struct node *node)
{
    return node->control->rule_count;
}

size_t block_count(const struct node *node)
{
    return node->control->block_count;
}

size_t sale_count(const struct node *node)
{
    return node->control->sale_count;
}

bool is_blocklist_sorted(const struct node *node)
{
    const struct gw_control *control = node->control;
    for (size_t i = 1; i < control->block_count; i++)
        if (strcmp(control->blocks[i - 1].subject, control->blocks[i].subject) >= 0)
            return false;
    return true;
}

int64_t deletion_of(const struct node *node, const char *sale)
{
    return gw_control_gone(node->control, sale);
}

bool is_synced(const struct node *node)
{
    return gw_control_synced(node->control);
}

bool is_ready(const struct node *node)
{
    return atomic_load(&node->core.ready);
}

void seed(struct node *node, json_t *sales, json_t *policy)
{
    cfg_seed(node->control, sales, policy);
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
