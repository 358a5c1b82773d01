/* Gateways of a cluster over one real Redis and one log, as the protocol's rules have it: what the
 * control thread does by itself, without workers. The log is in memory, and each gateway reads on
 * only when it is told. The test's names end with the rule that they are about. */
#include "tests/contract/redis_server.h"
#include "tests/contract/shared_log.h"
#include "tests/unit/temp_dir.h"

#include "common/log.h"
#include "gateway/control/control.h"
#include "gateway/orders/cluster.h"
#include "gateway/orders/life.h"

#include <signal.h>

#define NODES 2
#define STOCK 10
#define SALE  "spring"

struct node {
    struct temp_dir temp;
    struct gw_settings settings;
    struct gw_control_store *store;
    struct gw_core core;
    struct gw_control *control; /* NULL: it does not run */
};

static uv_loop_t loop;
static struct redis_server server;
static struct shared_topic *topic;
static struct node nodes[NODES];
static struct node *const a = &nodes[0], *const b = &nodes[1];
static struct ps_uuid_source ids;

/* --- gateways --- */

static void on_mail(const struct ps_mail *mail, void *ctx)
{
    struct node *node = ctx;
    if (node->control != NULL)
        gw_control_mail(mail, node->control);
}

static void open_store(struct gw_core *core)
{
    struct inv_redis_settings settings = inv_redis_defaults;
    const struct inv_redis_events events = {0};
    struct ps_redis_url url;
    char text[64];
    settings.link.backoff_max_ms = 50;
    (void)snprintf(text, sizeof text, "redis://127.0.0.1:%d/0", server.port);
    assert_ok(ps_redis_url_parse(text, &url, NULL));
    assert_ok(inv_redis_new(&url, &settings, &core->start, &core->redis));
    assert_ok(inv_store_redis_new(core->redis, &loop, &events, &core->control_store));
}

/* All have one name: what is asked here is who started when. */
static void start(struct node *node)
{
    struct gw_core *core = &node->core;
    struct gw_stored stored;
    struct ps_fault fault;
    *core = (struct gw_core){
        .settings = &node->settings, .clock = &ps_clock_system, .gateway_id = "gw"};
    ps_uuid_next(&ids, ps_clock_wall_ms(core->clock), &core->start);
    assert_ok(ps_metrics_new(gw_metric_table, GW_M_COUNT, 2, &core->metrics));
    assert_ok(gw_limit_table_new(1, &core->limits));
    assert_ok(oq_fold_new(&core->fold));
    assert_ok(ps_mailbox_new(&loop, 1024, on_mail, NULL, node, &core->control_mail));
    open_store(core);
    assert_ok(gw_life_new(core, &core->life));
    const struct oq_log_callbacks callbacks = gw_life_callbacks(core->life);
    core->log = shared_log_new(topic, &callbacks);
    shared_log_read(core->log);
    gw_life_go(core->life);
    const struct gw_store_settings settings = {.path = temp_file(&node->temp, "control.db"),
                                               .audit_path = temp_file(&node->temp, "audit.log"),
                                               .clock = core->clock,
                                               .mailbox = core->control_mail};
    assert_ok(gw_control_store_open(&settings, &node->store, &stored, &fault));
    assert_ok(gw_control_new(core, &loop, node->store, &stored, NULL, &node->control, &fault));
    gw_stored_done(&stored);
    assert_ok(gw_cluster_new(node->control, &core->cluster));
}

/* As a kill does: nothing is said to anybody. */
static void stop(struct node *node)
{
    struct gw_core *core = &node->core;
    if (node->control == NULL)
        return;
    assert_ok(oq_log_close(core->log, 0));
    gw_cluster_stop(core->cluster);
    inv_store_free(core->control_store);
    gw_control_stop(node->control);
    gw_control_store_close(node->store);
    ps_mailbox_close(core->control_mail);
    for (int i = 0; i < 20; i++) /* until its handles are closed */
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    gw_cluster_free(core->cluster);
    gw_control_free(node->control);
    node->control = NULL;
    oq_log_free(core->log);
    gw_life_free(core->life);
    inv_redis_free(core->redis);
    oq_fold_free(core->fold);
    gw_limit_table_free(core->limits);
    ps_metrics_free(core->metrics);
    node->temp.used = 0;
}

/* One turn of the loop and of each log; where a policy was published, the worker that there is not
 * takes it over. */
static void turn(void)
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

static void turn_ms(uint64_t ms)
{
    uv_update_time(&loop);
    for (uint64_t end = uv_now(&loop) + ms; uv_now(&loop) < end;)
        turn();
}

static int make(void **state)
{
    (void)state;
    assert_ok(uv_loop_init(&loop));
    redis_start(&server, NULL);
    topic = shared_topic_new();
    ps_uuid_source_init(&ids);
    for (size_t i = 0; i < NODES; i++)
        nodes[i] = (struct node){.temp = temp_dir_make(),
                                 .settings = {.log.kind = GW_LOG_JOURNAL}};
    return 0;
}

static int drop(void **state)
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
    const struct gw_stored_sale *stored = ctx;
    assert_ok(gw_control_put_sale(control, stored));
}

/* What the control state of every gateway will say. */
static void know_sale(struct node *node, bool opened)
{
    struct gw_stored_sale stored = {.name = SALE,
                                    .state = {.version = 1, .opened = opened},
                                    .doc = {.opens_at_ms = 1,
                                            .closes_at_ms = INT64_MAX,
                                            .cap = STOCK,
                                            .ttl_s = 900,
                                            .attributes = json_object(),
                                            .sku_count = 1}};
    stored.doc.skus = calloc(1, sizeof *stored.doc.skus);
    assert_non_null(stored.doc.skus);
    memcpy(stored.doc.skus[0].name, "phone", 6);
    stored.doc.skus[0].stock = STOCK;
    stored.doc.skus[0].attributes = json_object();
    struct gw_store_job *job = gw_store_job_new();
    gw_store_job_sale(job, stored.name, &stored.doc, &stored.state);
    assert_ok(gw_control_change(node->control, job, take_sale, NULL, &stored));
    while (gw_control_sale(node->control, SALE, strlen(SALE)) == NULL)
        turn();
    gw_sale_doc_done(&stored.doc);
}

static struct gw_control_sale *sale_of(const struct node *node)
{
    return gw_control_sale(node->control, SALE, strlen(SALE));
}

static bool serves(const struct node *node)
{
    const struct gw_control_sale *sale = sale_of(node);
    return sale->arming == GW_ARM_DONE && !sale->fenced && sale->counter != NULL;
}

static void until_served(const struct node *node)
{
    while (!serves(node))
        turn();
}

/* `a` has brought it into the log, and all that run have taken it up. */
static void open_sale(void)
{
    start(a);
    know_sale(a, false);
    until_served(a);
    if (b->control == NULL)
        start(b);
    know_sale(b, true);
    until_served(b);
}

static long long left(void)
{
    return redis_number(&server, "EVAL %s 1 %s",
                        "return tonumber(redis.call('HGET', string.sub(KEYS[1], 1, -4) .. "
                        "redis.call('HGET', KEYS[1], 'epoch') .. ':c', 'phone'))",
                        "ps:{" SALE "}:cur");
}

/* How many entries a hash of the epoch in force has. */
static long long entries(const char *key)
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

/* As a worker of `node` would; nothing is appended. */
static struct ps_uuid reserve(struct node *node, const char *user)
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

static struct oq_event accepted(struct ps_uuid id, const char *user, int64_t epoch)
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

static void append(struct node *node, const struct oq_event *event)
{
    const struct oq_ticket nobody = {.owner = GW_OWNER_CONTROL};
    assert_ok(oq_log_append(node->core.log, event, &nobody));
}

static int state_at(const struct node *node, struct ps_uuid id)
{
    const struct oq_order *order = oq_fold_order(node->core.fold, &id);
    return order != NULL ? (int)oq_order_state(order) : -1;
}

static struct oq_event cancelled(struct ps_uuid id)
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

static struct oq_event fence_of(int64_t epoch)
{
    return (struct oq_event){.type = OQ_FENCED,
                             .sale = PS_STR(SALE),
                             .epoch = epoch,
                             .at_ms = ps_clock_wall_ms(&ps_clock_system),
                             .gateway = PS_STR("stranger"),
                             .partitions = SHARED_PARTITIONS};
}

/* --- claims --- */

static void a_sale_opens_with_a_fence_in_every_partition_and_its_stock_R2(void **state)
{
    (void)state;
    open_sale();
    for (uint32_t p = 0; p < SHARED_PARTITIONS; p++)
        assert_int_equal(shared_topic_count(topic, p, OQ_FENCED), 1);
    assert_int_equal(shared_topic_count(topic, UINT32_MAX, OQ_ADJUSTED), 1);
    assert_int_equal(left(), STOCK);
    assert_int_equal(sale_of(a)->epoch, sale_of(b)->epoch);
}

static void a_load_waits_until_the_view_shows_every_fence_R2(void **state)
{
    (void)state;
    open_sale();
    stop(b);
    redis_do(&server, "FLUSHALL");
    while (!sale_of(a)->fenced)
        turn();
    shared_log_hold(a->core.log, true, false);
    turn_ms(1500);
    assert_int_equal(shared_topic_count(topic, UINT32_MAX, OQ_FENCED), 2 * SHARED_PARTITIONS);
    assert_int_equal(redis_number(&server, "EXISTS %s", "ps:{" SALE "}:cur"), 0);
    shared_log_hold(a->core.log, false, false);
    until_served(a);
    assert_int_equal(left(), STOCK);
}

static void a_dead_gateways_reservation_comes_back_by_a_record_first_R3_R13(void **state)
{
    (void)state;
    open_sale();
    struct ps_uuid id = reserve(b, "ann");
    stop(b);
    shared_log_hold(a->core.log, true, false); /* it does not read back what it writes */
    turn_ms(1000);
    while (shared_topic_count(topic, UINT32_MAX, OQ_RELEASED) == 0) {
        shared_log_hold(a->core.log, false, false);
        turn();
        shared_log_hold(a->core.log, true, false);
    }
    turn_ms(1000);
    assert_int_equal(left(), STOCK - 1); /* the record alone gives nothing back */
    shared_log_hold(a->core.log, false, false);
    while (entries("d") > 0)
        turn();
    assert_int_equal(left(), STOCK);
    assert_int_equal(state_at(a, id), OQ_STATE_VOID);
    assert_int_equal(shared_topic_count(topic, UINT32_MAX, OQ_ACCEPTED), 0);
}

static void giving_up_an_order_that_had_landed_does_not_undo_it_R4(void **state)
{
    (void)state;
    open_sale();
    struct ps_uuid id = reserve(b, "ann");
    struct oq_event event = accepted(id, "ann", sale_of(b)->epoch);
    append(b, &event); /* and b dies before it tells Redis */
    struct oq_event given_up = cancelled(id);
    given_up.reason = OQ_REJECTED;
    append(b, &given_up); /* somebody whose view did not have it */
    stop(b);
    while (entries("d") > 0)
        turn();
    assert_int_equal(state_at(a, id), OQ_STATE_ACCEPTED);
    assert_int_equal(entries("o"), 1);
    assert_int_equal(left(), STOCK - 1);
}

static void an_own_reservation_whose_reply_was_lost_is_swept_R11(void **state)
{
    (void)state;
    open_sale();
    struct ps_uuid id = reserve(a, "ann"); /* nobody ever appends it */
    while (entries("d") > 0)
        turn();
    assert_int_equal(left(), STOCK);
    assert_int_equal(state_at(a, id), OQ_STATE_VOID);
    assert_int_equal(state_at(b, id), OQ_STATE_VOID);
}

static void an_order_of_an_ended_epoch_is_void_wherever_it_comes_from_R2(void **state)
{
    (void)state;
    open_sale();
    struct ps_uuid id = reserve(b, "ann");
    struct oq_event late = accepted(id, "ann", sale_of(b)->epoch);
    redis_do(&server, "FLUSHALL");
    while (!sale_of(a)->fenced && !sale_of(b)->fenced)
        turn();
    until_served(a);
    until_served(b);
    append(b, &late);
    while (state_at(a, id) < 0)
        turn();
    assert_int_equal(state_at(a, id), OQ_STATE_VOID);
    turn_ms(500);
    assert_int_equal(left(), STOCK);
}

static void one_of_several_builds_an_empty_redis_again_R9_R14(void **state)
{
    (void)state;
    open_sale();
    struct ps_uuid id = reserve(a, "ann");
    struct oq_event event = accepted(id, "ann", sale_of(a)->epoch);
    append(a, &event);
    while (state_at(a, id) < 0 || state_at(b, id) < 0)
        turn();
    redis_do(&server, "FLUSHALL");
    while (!sale_of(a)->fenced && !sale_of(b)->fenced)
        turn();
    until_served(a);
    until_served(b);
    assert_int_equal(shared_topic_count(topic, UINT32_MAX, OQ_FENCED), 2 * SHARED_PARTITIONS);
    assert_int_equal(sale_of(a)->epoch, sale_of(b)->epoch);
    assert_int_equal(left(), STOCK - 1);
    assert_int_equal(entries("o"), 1);
}

static void a_release_that_is_read_while_fenced_is_not_lost_R8(void **state)
{
    (void)state;
    open_sale();
    stop(b);
    struct ps_uuid id = reserve(a, "ann");
    struct oq_event event = accepted(id, "ann", sale_of(a)->epoch);
    append(a, &event);
    while (state_at(a, id) < 0)
        turn();
    redis_do(&server, "FLUSHALL");
    while (!sale_of(a)->fenced)
        turn();
    struct oq_event release = cancelled(id);
    append(a, &release);
    until_served(a);
    turn_ms(500);
    assert_int_equal(left(), STOCK);
    assert_int_equal(state_at(a, id), OQ_STATE_RELEASED);
}

static void what_the_keeper_before_had_not_applied_the_next_one_applies_R7_R8(void **state)
{
    (void)state;
    open_sale();
    struct ps_uuid id = reserve(b, "ann");
    struct oq_event event = accepted(id, "ann", sale_of(b)->epoch);
    append(b, &event);
    while (state_at(a, id) < 0)
        turn();
    stop(a);
    struct oq_event release = cancelled(id);
    append(b, &release);
    while (left() != STOCK)
        turn();
    turn_ms(1500); /* and not twice */
    assert_int_equal(left(), STOCK);
}

static void a_load_notes_where_it_has_read_every_partition_R15(void **state)
{
    (void)state;
    open_sale();
    redis_do(&server, "FLUSHALL");
    while (!sale_of(a)->fenced && !sale_of(b)->fenced)
        turn();
    until_served(a);
    until_served(b);
    assert_int_equal(entries("v"), SHARED_PARTITIONS);
}

static void a_gateway_stops_when_its_view_shows_a_higher_fence_R14(void **state)
{
    (void)state;
    open_sale();
    int64_t before = sale_of(a)->epoch;
    struct oq_event fence = fence_of(before + ((int64_t)1 << 21));
    for (uint32_t p = 0; p < SHARED_PARTITIONS; p++)
        shared_topic_put(topic, p, &fence);
    while (!sale_of(a)->fenced)
        turn();
    until_served(a); /* its author is not there: it is built again */
    until_served(b);
    assert_true(sale_of(a)->epoch > fence.epoch);
    assert_int_equal(left(), STOCK);
}

static void a_sale_whose_beginning_the_log_has_lost_is_refused_by_name(void **state)
{
    (void)state;
    start(a);
    struct oq_event fence = fence_of(5);
    shared_topic_put(topic, 0, &fence);
    know_sale(a, true);
    while (sale_of(a)->arming != GW_ARM_REFUSED)
        turn();
    assert_non_null(strstr(sale_of(a)->refused_why, "first fence"));
    turn_ms(500);
    assert_int_equal(redis_number(&server, "EXISTS %s", "ps:{" SALE "}:cur"), 0);
}

static void a_strangers_record_that_cannot_be_counted_ends_nobody(void **state)
{
    struct oq_totals totals;
    (void)state;
    open_sale();
    struct oq_event raise = {.type = OQ_ADJUSTED,
                             .adjust_key = PS_STR("adjust:" SALE "/strange"),
                             .sale = PS_STR(SALE),
                             .at_ms = 1,
                             .sku = PS_STR("phone"),
                             .delta = PS_INT_MAX};
    shared_topic_put(topic, 0, &raise);
    struct ps_uuid order = reserve(a, "ann");
    struct oq_event event = accepted(order, "ann", sale_of(a)->epoch);
    append(a, &event);
    while (state_at(b, order) != OQ_STATE_ACCEPTED)
        turn();
    oq_sale_totals(sale_of(b)->books, 0, &totals);
    assert_int_equal(totals.adjustments, STOCK);
    assert_int_equal(left(), STOCK - 1);
}

static void a_sale_is_not_opened_over_counters_of_another_log(void **state)
{
    (void)state;
    assert_int_equal(redis_number(&server, "HSET %s %s %s %s %s", "ps:{" SALE "}:cur", "epoch",
                                  "77", "identity", "another"),
                     2);
    start(a);
    know_sale(a, false);
    turn_ms(1500);
    assert_false(serves(a));
    assert_null(oq_fold_sale(a->core.fold, SALE, strlen(SALE))); /* nothing is in the log */
    assert_int_equal(redis_number(&server, "DEL %s", "ps:{" SALE "}:cur"), 1);
    until_served(a);
}

/* Two may come to the same number, and each partition have another one's first. */
static void a_fence_of_two_authors_is_nobodys_R14(void **state)
{
    struct gw_fence seen;
    struct oq_event fence = fence_of(5);
    (void)state;
    start(a);
    shared_topic_put(topic, 0, &fence);
    fence.gateway = PS_STR("another");
    shared_topic_put(topic, 1, &fence);
    shared_log_read(a->core.log);
    const struct oq_sale *books = oq_fold_sale(a->core.fold, SALE, strlen(SALE));
    gw_effects_last_fence(gw_life_effects(a->core.life), books, &seen);
    assert_int_equal(seen.epoch, 5);
    assert_string_equal(seen.gateway, "");
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest claims[] = {
        CLAIM(a_sale_opens_with_a_fence_in_every_partition_and_its_stock_R2),
        CLAIM(a_load_waits_until_the_view_shows_every_fence_R2),
        CLAIM(a_dead_gateways_reservation_comes_back_by_a_record_first_R3_R13),
        CLAIM(giving_up_an_order_that_had_landed_does_not_undo_it_R4),
        CLAIM(an_own_reservation_whose_reply_was_lost_is_swept_R11),
        CLAIM(an_order_of_an_ended_epoch_is_void_wherever_it_comes_from_R2),
        CLAIM(one_of_several_builds_an_empty_redis_again_R9_R14),
        CLAIM(a_release_that_is_read_while_fenced_is_not_lost_R8),
        CLAIM(what_the_keeper_before_had_not_applied_the_next_one_applies_R7_R8),
        CLAIM(a_load_notes_where_it_has_read_every_partition_R15),
        CLAIM(a_gateway_stops_when_its_view_shows_a_higher_fence_R14),
        CLAIM(a_sale_whose_beginning_the_log_has_lost_is_refused_by_name),
        CLAIM(a_sale_is_not_opened_over_counters_of_another_log),
        CLAIM(a_fence_of_two_authors_is_nobodys_R14),
        CLAIM(a_strangers_record_that_cannot_be_counted_ends_nobody),
    };
    return cmocka_run_group_tests(claims, NULL, NULL);
}
