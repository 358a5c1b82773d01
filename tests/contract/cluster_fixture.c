/* See cluster_fixture.h. */
#include "tests/contract/cluster_fixture.h"

#include "gateway/config/sync.h"

static uv_loop_t loop;
struct redis_server server;
struct shared_topic *topic;
struct node nodes[NODES];
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

static void open_store(struct gw_core *core)
{
    struct inv_redis_settings settings = inv_redis_defaults;
    const struct inv_redis_events events = {0};
    struct ps_redis_url url = server_url();
    settings.link.backoff_max_ms = 50;
    assert_ok(inv_redis_new(&url, &settings, &core->start, &core->redis));
    assert_ok(inv_store_redis_new(core->redis, &loop, &events, &core->control_store));
}

void start(struct node *node)
{
    struct gw_core *core = &node->core;
    struct cfg_stored stored;
    struct ps_fault fault;
    node->clock = (struct ps_clock){mono_ns, ps_clock_system.wall_ms, node};
    *core =
        (struct gw_core){.settings = &node->settings, .clock = &node->clock, .gateway_id = "gw"};
    ps_uuid_next(&ids, ps_clock_wall_ms(core->clock), &core->start);
    assert_ok(ps_metrics_new(gw_metric_table, GW_M_COUNT, 2, &core->metrics));
    assert_ok(adm_limit_table_new(1, &core->limits));
    assert_ok(oq_fold_new(&core->fold));
    assert_ok(ps_mailbox_new(&loop, 1024, on_mail, NULL, node, &core->control_mail));
    open_store(core);
    assert_ok(ord_events_new(core, &core->life));
    const struct oq_log_callbacks callbacks = ord_events_callbacks(core->life);
    core->log = shared_log_new(topic, &callbacks);
    shared_log_read(core->log);
    ord_events_go(core->life);
    const struct cfg_store_settings settings = {.path = temp_file(&node->temp, "control.db"),
                                                .audit_path = temp_file(&node->temp, "audit.log"),
                                                .clock = core->clock,
                                                .mailbox = core->control_mail};
    assert_ok(cfg_store_open(&settings, &node->store, &stored, &fault));
    assert_ok(gw_control_new(core, &loop, node->store, &stored, NULL, &node->control, &fault));
    cfg_stored_done(&stored);
    assert_ok(clu_cluster_new(node->control, &core->cluster));
}

void share(struct node *node)
{
    struct ps_redis_settings settings = ps_redis_defaults;
    struct ps_redis_url url = server_url();
    settings.backoff_max_ms = 50;
    assert_ok(cfg_sync_new(node->control, &loop, &url, &settings));
    while (!gw_control_synced(node->control))
        turn();
}

void stop(struct node *node)
{
    struct gw_core *core = &node->core;
    if (node->control == NULL)
        return;
    assert_ok(oq_log_close(core->log, 0));
    clu_stop(core->cluster);
    inv_store_free(core->control_store);
    gw_control_stop(node->control);
    cfg_store_close(node->store);
    ps_mailbox_close(core->control_mail);
    for (int i = 0; i < 20; i++) /* until its handles are closed */
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    clu_cluster_free(core->cluster);
    gw_control_free(node->control);
    node->control = NULL;
    oq_log_free(core->log);
    ord_events_free(core->life);
    inv_redis_free(core->redis);
    oq_fold_free(core->fold);
    adm_limit_table_free(core->limits);
    ps_metrics_free(core->metrics);
    node->temp.used = 0;
}

void turn(void)
{
    (void)uv_run(&loop, UV_RUN_ONCE);
    for (size_t i = 0; i < NODES; i++) {
        struct gw_control *control = nodes[i].control;
        if (control == NULL)
            continue;
        shared_log_read(nodes[i].core.log);
        while (control->older != NULL)
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

int make(void **state)
{
    (void)state;
    assert_ok(uv_loop_init(&loop));
    redis_start(&server, NULL);
    topic = shared_topic_new();
    ps_uuid_source_init(&ids);
    for (size_t i = 0; i < NODES; i++)
        nodes[i] = (struct node){.temp = temp_dir_make(), .settings = {.log.kind = GW_LOG_JOURNAL}};
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

/* --- a sale --- */

static void take_sale(struct gw_control *control, void *ctx)
{
    const struct cfg_stored_sale *stored = ctx;
    assert_ok(gw_control_put_sale(control, stored));
}

void put_sale(struct node *node, const char *name, int64_t version, bool opened,
              int64_t closes_at_ms)
{
    struct cfg_stored_sale stored = {.state = {.version = version, .opened = opened},
                                     .doc = {.opens_at_ms = 1,
                                             .closes_at_ms = closes_at_ms,
                                             .cap = STOCK,
                                             .ttl_s = 900,
                                             .attributes = json_object(),
                                             .sku_count = 1}};
    const struct gw_control_sale *known;
    memcpy(stored.name, name, strlen(name));
    stored.doc.skus = calloc(1, sizeof *stored.doc.skus);
    assert_non_null(stored.doc.skus);
    memcpy(stored.doc.skus[0].name, "phone", 6);
    stored.doc.skus[0].stock = STOCK;
    stored.doc.skus[0].attributes = json_object();
    struct cfg_store_job *job = cfg_store_job_new();
    cfg_store_job_sale(job, stored.name, &stored.doc, &stored.state);
    assert_ok(gw_control_change(node->control, job, take_sale, NULL, &stored));
    while ((known = gw_control_sale(node->control, name, strlen(name))) == NULL ||
           known->stored.state.version < version)
        turn();
    cfg_sale_doc_done(&stored.doc);
}

void know_sale(struct node *node, bool opened)
{
    put_sale(node, SALE, 1, opened, INT64_MAX);
}

struct gw_control_sale *sale_of(const struct node *node)
{
    return gw_control_sale(node->control, SALE, strlen(SALE));
}

bool serves(const struct node *node)
{
    const struct gw_control_sale *sale = sale_of(node);
    return sale->arming == SALE_OPENING_DONE && !sale->fenced && sale->counter != NULL;
}

void until_served(const struct node *node)
{
    while (!serves(node))
        turn();
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

long long left(void)
{
    return redis_number(&server, "EVAL %s 1 %s",
                        "return tonumber(redis.call('HGET', string.sub(KEYS[1], 1, -4) .. "
                        "redis.call('HGET', KEYS[1], 'epoch') .. ':c', 'phone'))",
                        "ps:{" SALE "}:cur");
}

long long entries(const char *key)
{
    return redis_number(&server, "EVAL %s 1 %s %s",
                        "return redis.call('HLEN', string.sub(KEYS[1], 1, -4) .. "
                        "redis.call('HGET', KEYS[1], 'epoch') .. ':' .. ARGV[1])",
                        "ps:{" SALE "}:cur", key);
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
    const struct gw_control_sale *sale = sale_of(node);
    struct inv_reservation r = {.epoch = sale->epoch,
                                .user = {user, strlen(user)},
                                .key = PS_STR("k"),
                                .quantity = 1,
                                .cap = STOCK,
                                .ttl_ms = 900000};
    ps_uuid_next(&ids, ps_clock_wall_ms(&ps_clock_system), &r.order_id);
    assert_int_equal(inv_store_reserve(node->core.control_store, sale->counter, &r, on_reserved,
                                       &reserved, 0, &answer),
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
    assert_ok(oq_log_append(node->core.log, event, &nobody));
}

int state_at(const struct node *node, struct ps_uuid id)
{
    const struct oq_order *order = oq_fold_order(node->core.fold, &id);
    return order != NULL ? (int)oq_order_state(order) : -1;
}

struct ps_uuid buy(struct node *node)
{
    struct ps_uuid id = reserve(node, "ann");
    struct oq_event event = accepted(id, "ann", sale_of(node)->epoch);
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
