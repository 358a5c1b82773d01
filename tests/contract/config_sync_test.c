/* What operators decided, shared by gateways over one real Redis: the control threads' memories and
 * control.dbs of several gateways on one loop, without workers. */
#include "tests/contract/redis_server.h"
#include "tests/unit/temp_dir.h"

#include "common/log.h"
#include "gateway/config/sync.h"
#include "gateway/config/seed.h"
#include "queue/log_backend.h"

#include <signal.h>
#include <sqlite3.h>

#define NODES 3

struct node {
    struct temp_dir temp;
    struct cfg_store_settings store_settings;
    struct cfg_store *store;
    struct gw_core core;
    struct gw_control *control; /* NULL: not running */
};

/* A change and what was heard of it. */
struct change {
    struct cfg_stored_sale sale;
    struct cfg_limit_rule rule;
    struct cfg_block block;
    int64_t policy_version;
    bool drop;
    int err; /* 1 until it is answered */
    struct ps_fault fault;
    int64_t version_heard; /* of the sale, in memory, when it was answered */
};

static uv_loop_t loop;
static struct redis_server server;
static struct node nodes[NODES];
static struct node *const a = &nodes[0], *const b = &nodes[1], *const c = &nodes[2];

/* --- gateways --- */

static bool is_available(const struct oq_log *log)
{
    (void)log;
    return false;
}

/* A log that is away: nothing is armed and nothing expires. */
static const struct oq_log_ops no_log_ops = {.available = is_available};
static struct oq_log no_log = {.ops = &no_log_ops};

static void on_mail(const struct ps_mail *mail, void *ctx)
{
    struct node *node = ctx;
    if (node->control != NULL)
        gw_control_mail(mail, node->control);
}

static void share(struct node *node)
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

/* Alone until share(). */
static void start(struct node *node)
{
    struct gw_core *core = &node->core;
    struct cfg_stored stored;
    struct ps_fault fault;
    *core = (struct gw_core){.clock = &ps_clock_system, .log = &no_log};
    assert_ok(ps_metrics_new(gw_metric_table, GW_M_COUNT, 1, &core->metrics));
    assert_ok(oq_fold_new(&core->fold));
    assert_ok(ps_mailbox_new(&loop, 1024, on_mail, NULL, node, &core->control_mail));
    node->store_settings.clock = core->clock;
    node->store_settings.mailbox = core->control_mail;
    assert_ok(cfg_store_open(&node->store_settings, &node->store, &stored, &fault));
    assert_ok(gw_control_new(core, &loop, node->store, &stored, NULL, &node->control, &fault));
    cfg_stored_done(&stored);
}

static void stop(struct node *node)
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
    oq_fold_free(node->core.fold);
    ps_metrics_free(node->core.metrics);
}

/* One turn of the loop; where a policy was published, the worker that there is not takes it over.
 */
static void turn(void)
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

static void turn_ms(uint64_t ms)
{
    uv_update_time(&loop);
    for (uint64_t end = uv_now(&loop) + ms; uv_now(&loop) < end;)
        turn();
}

static void start_shared(struct node *node)
{
    start(node);
    share(node);
    while (!gw_control_synced(node->control))
        turn();
}

static int make(void **state)
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

static int drop(void **state)
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
static int64_t version_of(const struct node *node, const char *name)
{
    const struct cfg_stored_sale *sale = sale_of(node, name);
    return sale != NULL ? sale->state.version : 0;
}

static int64_t stock_of(const struct node *node, const char *name)
{
    return sale_of(node, name)->doc.skus[0].stock;
}

static void until_version(const struct node *node, const char *name, int64_t version)
{
    while (version_of(node, name) != version)
        turn();
}

static bool blocked(const struct node *node, const char *user)
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

static int answer(struct change *change)
{
    while (change->err == 1)
        turn();
    cfg_sale_doc_done(&change->sale.doc);
    return change->err;
}

/* A sale of one SKU as version `version`. */
static void begin_sale(struct node *node, const char *name, int stock, int64_t version,
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

static int put_sale(struct node *node, const char *name, int stock, int64_t version)
{
    struct change change;
    begin_sale(node, name, stock, version, &change);
    return answer(&change);
}

static int delete_sale(struct node *node, const char *name)
{
    struct cfg_store_job *job = cfg_store_job_new();
    struct change change = {.drop = true, .sale.state.version = version_of(node, name)};
    (void)snprintf(change.sale.name, sizeof change.sale.name, "%s", name);
    cfg_store_job_sale_delete(job, name, change.sale.state.version);
    submit(node, job, &change, "sale.delete");
    return answer(&change);
}

static void begin_block(struct node *node, const char *user, int64_t until_ms,
                        struct change *change)
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

static int put_block(struct node *node, const char *user)
{
    struct change change;
    begin_block(node, user, INT64_MAX, &change);
    return answer(&change);
}

/* The rule and the user's entry, each if it is not "". */
static int drop_entries(struct node *node, const char *rule, const char *user)
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

static int put_rule(struct node *node, const char *name, int64_t rate)
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
static void share_spring(void)
{
    start_shared(a);
    start_shared(b);
    assert_ok(put_sale(a, "spring", 1, 1));
    until_version(b, "spring", 1);
}

/* --- claims --- */

static void a_change_is_taken_over_by_the_others(void **state)
{
    (void)state;
    start_shared(a);
    start_shared(b);
    assert_ok(put_sale(a, "spring", 10, 1));
    assert_ok(put_sale(a, "spring", 20, 2));
    until_version(b, "spring", 2);
    assert_int_equal(stock_of(b, "spring"), 20);
    assert_ok(put_sale(b, "spring", 30, 3));
    until_version(a, "spring", 3);
    assert_int_equal(stock_of(a, "spring"), 30);
    stop(b); /* and it is in his control.db */
    start(b);
    assert_int_equal(version_of(b, "spring"), 3);
}

static void limits_and_blocklist_are_taken_over_as_one(void **state)
{
    (void)state;
    start_shared(a);
    start_shared(b);
    assert_ok(put_rule(a, "extra", 77));
    assert_ok(put_block(a, "mallory"));
    while (b->control->policy_version != 3)
        turn();
    assert_true(blocked(b, "mallory"));
    assert_int_equal(gw_control_rule(b->control, "extra", 5)->rate, 77);
    assert_ok(put_block(b, "eve"));
    assert_ok(drop_entries(b, "extra", "mallory"));
    while (a->control->policy_version != 5)
        turn();
    assert_false(blocked(a, "mallory"));
    assert_true(blocked(a, "eve"));
    assert_null(gw_control_rule(a->control, "extra", 5));
    stop(a);
    start(a); /* and so says its control.db */
    assert_false(blocked(a, "mallory"));
    assert_true(blocked(a, "eve"));
    assert_int_equal(a->control->rule_count, 4);
    assert_int_equal(a->control->policy_version, 5);
}

static void of_a_long_blocklist_only_what_changes_is_moved(void **state)
{
    char name[16];
    (void)state;
    start_shared(a);
    for (int i = 0; i < 300; i++) {
        (void)snprintf(name, sizeof name, "user%d", i * 7 % 300);
        assert_ok(put_block(a, name));
    }
    start_shared(b);
    assert_int_equal(b->control->block_count, 300);
    assert_ok(drop_entries(b, "", "user150"));
    while (a->control->policy_version != b->control->policy_version)
        turn();
    assert_int_equal(a->control->block_count, 299);
    assert_false(blocked(a, "user150"));
    for (size_t i = 1; i < 299; i++)
        assert_true(strcmp(a->control->blocks[i - 1].subject, a->control->blocks[i].subject) < 0);
    /* the last change: the version and one entry */
    assert_int_equal(redis_number(&server, "EVAL %s 0",
                                  "local top = redis.call('ZREVRANGE', 'ps:control:revs', 0, 0, "
                                  "'WITHSCORES')[2] return redis.call('ZCOUNT', "
                                  "'ps:control:revs', top, top)"),
                     2);
}

static void of_two_changes_of_one_version_one_wins(void **state)
{
    struct change mine, his;
    (void)state;
    share_spring();
    for (int64_t version = 2; version < 12; version++) {
        begin_sale(a, "spring", 100, version, &mine);
        begin_sale(b, "spring", 200, version, &his);
        (void)answer(&mine);
        (void)answer(&his);
        assert_int_equal(mine.err + his.err, PS_E_CONFLICT);
        assert_int_equal(mine.version_heard, version); /* the loser has the winner's copy */
        assert_int_equal(his.version_heard, version);
        until_version(a, "spring", version);
        until_version(b, "spring", version);
        assert_int_equal(stock_of(a, "spring"), mine.err == 0 ? 100 : 200);
        assert_int_equal(stock_of(b, "spring"), mine.err == 0 ? 100 : 200);
    }
}

static void two_changes_of_the_policy_are_one_after_the_other(void **state)
{
    struct change mine, his;
    (void)state;
    start_shared(a);
    start_shared(b);
    begin_block(a, "mallory", INT64_MAX, &mine);
    begin_block(b, "trudy", INT64_MAX, &his);
    (void)answer(&mine);
    (void)answer(&his);
    assert_int_equal(mine.err + his.err, PS_E_CONFLICT);
    assert_ok(mine.err == 0 ? put_block(b, "trudy") : put_block(a, "mallory"));
    while (a->control->policy_version != 3 || b->control->policy_version != 3)
        turn();
    assert_true(blocked(a, "trudy") && blocked(a, "mallory"));
    assert_true(blocked(b, "trudy") && blocked(b, "mallory"));
}

static void an_emptied_redis_gets_everything_back(void **state)
{
    (void)state;
    start_shared(a);
    start_shared(b);
    assert_ok(put_sale(a, "spring", 1, 1));
    assert_ok(put_sale(a, "spring", 2, 2));
    assert_ok(put_block(a, "mallory"));
    until_version(b, "spring", 2);
    redis_do(&server, "FLUSHALL");
    while (redis_number(&server, "HEXISTS ps:control sale/spring") == 0)
        turn();
    assert_ok(put_sale(b, "spring", 3, 3));
    until_version(a, "spring", 3);
    redis_end(&server, SIGKILL);
    redis_start_again(&server, NULL);
    assert_int_equal(redis_number(&server, "EXISTS ps:control"), 0);
    while (redis_number(&server, "HEXISTS ps:control sale/spring") == 0)
        turn();
    while (put_sale(a, "spring", 4, 4) < 0) /* it was brought back by the other one, maybe */
        turn();
    until_version(b, "spring", 4);
    assert_true(blocked(a, "mallory") && blocked(b, "mallory"));
    assert_int_equal(version_of(a, "spring"), 4);
}

static void the_highest_version_wins_whoever_comes_first(void **state)
{
    (void)state;
    start_shared(a);
    start_shared(b);
    assert_ok(put_sale(a, "spring", 1, 1));
    assert_ok(put_sale(a, "summer", 1, 1));
    assert_ok(put_block(a, "mallory"));
    while (b->control->policy_version != 2)
        turn();
    stop(b); /* stays behind with spring and the policy */
    assert_ok(put_sale(a, "spring", 2, 2));
    assert_ok(drop_entries(a, "", "mallory"));
    stop(a);
    redis_do(&server, "FLUSHALL");
    start_shared(b);
    assert_ok(put_sale(b, "summer", 7, 2));
    assert_int_equal(version_of(b, "spring"), 1);
    assert_true(blocked(b, "mallory"));
    start_shared(a);
    until_version(a, "summer", 2);
    until_version(b, "spring", 2);
    assert_int_equal(stock_of(a, "summer"), 7);
    assert_int_equal(stock_of(b, "spring"), 2);
    while (b->control->policy_version != 3)
        turn();
    assert_false(blocked(b, "mallory"));
    assert_false(blocked(a, "mallory"));
}

static void while_redis_is_away_changes_are_refused_and_nothing_changes(void **state)
{
    struct change change;
    (void)state;
    share_spring();
    redis_end(&server, SIGKILL);
    begin_sale(a, "spring", 2, 2, &change);
    assert_true(answer(&change) < 0);
    assert_string_equal(change.fault.path, CFG_SYNC_PATH);
    assert_non_null(strstr(change.fault.text, "Redis 127.0.0.1:"));
    begin_sale(a, "spring", 2, 2, &change);
    assert_int_equal(answer(&change), PS_E_CLOSED);
    assert_non_null(strstr(change.fault.text, "127.0.0.1:"));
    assert_int_equal(put_block(a, "mallory"), PS_E_CLOSED);
    assert_int_equal(version_of(a, "spring"), 1);
    assert_int_equal(a->control->policy_version, 1);
    assert_true(gw_control_synced(a->control)); /* it serves on */
    redis_start_again(&server, NULL);
    while (put_sale(a, "spring", 3, 2) < 0)
        turn();
    until_version(b, "spring", 2);
    assert_int_equal(stock_of(b, "spring"), 3);
}

static void a_frozen_redis_leaves_a_change_open_and_all_agree_afterwards(void **state)
{
    struct change change;
    (void)state;
    share_spring();
    turn_ms(200);
    assert_ok(kill(server.pid, SIGSTOP));
    begin_sale(a, "spring", 2, 2, &change);
    assert_true(answer(&change) < 0);
    assert_string_equal(change.fault.path, CFG_SYNC_PATH);
    assert_ok(kill(server.pid, SIGCONT));
    int64_t next = 2;
    while (put_sale(b, "spring", 3, next) < 0) {
        turn_ms(20);
        next = version_of(b, "spring") + 1;
    }
    until_version(a, "spring", next);
    assert_int_equal(stock_of(a, "spring"), 3);
}

static void a_deleted_sale_stays_deleted(void **state)
{
    (void)state;
    share_spring();
    stop(b); /* who still has it */
    assert_ok(delete_sale(a, "spring"));
    stop(a);
    redis_do(&server, "FLUSHALL"); /* which forgets the deletion, too */
    start_shared(b);
    start_shared(a);
    until_version(b, "spring", 0);
    assert_null(sale_of(a, "spring"));
    stop(b);
    start_shared(b);
    assert_null(sale_of(b, "spring"));
    assert_int_equal(put_sale(b, "spring", 9, 1), PS_E_CONFLICT);
    assert_ok(put_sale(b, "spring", 9, gw_control_gone(b->control, "spring") + 1));
    until_version(a, "spring", 3);
}

static void a_gateway_that_joins_has_all_before_it_is_ready(void **state)
{
    char name[16];
    (void)state;
    start_shared(a);
    for (int i = 0; i < 150; i++) {
        (void)snprintf(name, sizeof name, "sale%d", i);
        assert_ok(put_sale(a, name, i, 1));
    }
    assert_ok(put_block(a, "mallory"));
    start(c);
    assert_ok(put_sale(c, "own", 5, 1)); /* made before it joined */
    share(c);
    assert_false(atomic_load(&c->core.ready));
    assert_false(gw_control_synced(c->control));
    while (!gw_control_synced(c->control))
        turn();
    assert_int_equal(c->control->sale_count, 151);
    assert_int_equal(stock_of(c, "sale149"), 149);
    assert_true(blocked(c, "mallory"));
    until_version(a, "own", 1);
}

static json_t *seed_of(int stock)
{
    return json_pack("[{s:s, s:[{s:s, s:i}]}]", "sale", "spring", "skus", "sku", "phone", "stock",
                     stock);
}

static void of_gateways_that_seed_at_once_one_wins(void **state)
{
    json_t *mine = seed_of(10), *his = seed_of(20);
    json_t *policy = json_pack("{s:{s:{s:s, s:s, s:i, s:i}}}", "limits", "extra", "algorithm",
                               "token_bucket", "key", "user", "rate", 3, "period_s", 1);
    (void)state;
    start(a);
    start(b);
    share(a);
    share(b);
    cfg_seed(a->control, mine, policy);
    cfg_seed(b->control, his, policy);
    assert_int_equal(a->control->sale_count, 0); /* not before it is known what there is */
    until_version(a, "spring", 1);
    until_version(b, "spring", 1);
    while (a->control->policy_version != 2 || b->control->policy_version != 2)
        turn();
    turn_ms(500);
    assert_int_equal(stock_of(a, "spring"), stock_of(b, "spring"));
    assert_int_equal(a->control->policy_version, 2);
    assert_int_equal(b->control->policy_version, 2);
    assert_non_null(gw_control_rule(a->control, "extra", 5));
    assert_non_null(gw_control_rule(b->control, "extra", 5));
    assert_ok(delete_sale(a, "spring"));
    until_version(b, "spring", 0);
    cfg_seed(b->control, his, policy); /* does not bring it back */
    turn_ms(300);
    assert_null(sale_of(b, "spring"));
    json_decref(mine);
    json_decref(his);
    json_decref(policy);
}

static void a_key_of_another_program_is_named_and_left_alone(void **state)
{
    struct change change;
    (void)state;
    redis_do(&server, "SET ps:control mine");
    start(a);
    share(a);
    turn_ms(300);
    assert_false(gw_control_synced(a->control));
    begin_sale(a, "spring", 1, 1, &change);
    assert_int_equal(answer(&change), PS_E_CLOSED);
    assert_non_null(strstr(change.fault.text, "ps:control "));
    redisReply *reply = redis_ask(&server, "GET ps:control");
    assert_string_equal(reply->str, "mine");
    freeReplyObject(reply);
    redis_do(&server, "DEL ps:control");
    while (!gw_control_synced(a->control))
        turn();
    assert_ok(put_sale(a, "spring", 1, 1));
}

static void a_document_that_does_not_read_is_left_alone(void **state)
{
    (void)state;
    start_shared(a);
    assert_ok(put_sale(a, "spring", 1, 1));
    redis_do(&server, "HSET ps:control sale/spring %s", "2 {\"deleted\":true,\"more\":1}");
    redis_do(&server, "HSET ps:control sale/bad\" %s", "1 {\"deleted\":true}");
    redis_do(&server, "HSET ps:control other %s", "x");
    redis_do(&server, "ZADD ps:control:revs 7 sale/spring 8 sale/bad\" 9 other");
    start_shared(b);
    turn_ms(300);
    assert_int_equal(version_of(a, "spring"), 1);
    assert_null(sale_of(b, "spring"));
    assert_ok(put_sale(a, "summer", 4, 1));
    until_version(b, "summer", 1);
}

static void what_a_disk_refused_is_taken_over_later(void **state)
{
    sqlite3 *other;
    (void)state;
    start_shared(a);
    start_shared(b);
    assert_int_equal(sqlite3_open(b->store_settings.path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_ok(put_sale(a, "spring", 1, 1));
    turn_ms(2600); /* control.db is waited for for 2 s */
    assert_null(sale_of(b, "spring"));
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(other), SQLITE_OK);
    until_version(b, "spring", 1);
}

static void entries_that_have_ended_make_no_difference(void **state)
{
    struct change change;
    (void)state;
    start_shared(a);
    int64_t until_ms = ps_clock_wall_ms(&ps_clock_system) + 2000;
    begin_block(a, "mallory", until_ms, &change);
    assert_ok(answer(&change));
    assert_ok(put_block(a, "trudy"));
    while (ps_clock_wall_ms(&ps_clock_system) < until_ms + 100)
        turn();
    start_shared(b);
    assert_int_equal(b->control->block_count, 1);
    assert_int_equal(redis_number(&server, "HEXISTS ps:control entry/user/mallory"), 1);
    redis_do(&server, "FLUSHALL");
    turn_ms(500);
    char *lines = read_file(a->store_settings.audit_path);
    assert_null(strstr(lines, "cluster.take"));
    free(lines);
    lines = read_file(b->store_settings.audit_path);
    char *line = strstr(lines, "\"who\":\"cluster\"");
    assert_non_null(line);
    assert_non_null(strstr(line, "\"to\":{\"policy\":3}"));
    assert_null(strstr(line + 1, "cluster.take\",\"target\":\"control\",\"from\":{\"policy\":3}"));
    free(lines);
    assert_ok(put_block(a, "eve"));
    assert_int_equal(redis_number(&server, "HEXISTS ps:control entry/user/mallory"), 0);
    while (!blocked(b, "eve"))
        turn();
    assert_int_equal(a->control->block_count, 2);
    assert_int_equal(b->control->block_count, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_change_is_taken_over_by_the_others),
        TEST(limits_and_blocklist_are_taken_over_as_one),
        TEST(of_a_long_blocklist_only_what_changes_is_moved),
        TEST(of_two_changes_of_one_version_one_wins),
        TEST(two_changes_of_the_policy_are_one_after_the_other),
        TEST(an_emptied_redis_gets_everything_back),
        TEST(the_highest_version_wins_whoever_comes_first),
        TEST(while_redis_is_away_changes_are_refused_and_nothing_changes),
        TEST(a_frozen_redis_leaves_a_change_open_and_all_agree_afterwards),
        TEST(a_deleted_sale_stays_deleted),
        TEST(a_gateway_that_joins_has_all_before_it_is_ready),
        TEST(of_gateways_that_seed_at_once_one_wins),
        TEST(a_key_of_another_program_is_named_and_left_alone),
        TEST(a_document_that_does_not_read_is_left_alone),
        TEST(what_a_disk_refused_is_taken_over_later),
        TEST(entries_that_have_ended_make_no_difference),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
