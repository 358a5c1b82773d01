/* Sales that several gateways open while something else happens: operators change them at another
 * gateway, or one gateway's control.db takes nothing. `a` comes first in each. */
#include "tests/contract/cluster_fixture.h"

#include <sqlite3.h>

#define OTHER_STOCK 5
#define CLAIM_NS    (30 * PS_NS_PER_S)

/* --- documents --- */

struct change {
    struct cfg_stored_sale sale;
    int err; /* 1 until it is answered */
};

static void take(struct gw_control *control, void *ctx)
{
    const struct change *change = ctx;
    assert_ok(gw_control_put_sale(control, &change->sale));
}

static void done(struct gw_control *control, int err, const struct ps_fault *fault, void *ctx)
{
    struct change *change = ctx;
    (void)control;
    (void)fault;
    change->err = err;
}

static int64_t version_at(const struct node *node)
{
    const struct gw_control_sale *sale = sale_of(node);
    return sale != NULL ? sale->stored.state.version : 0;
}

static int64_t stock_at(const struct node *node)
{
    return sale_of(node)->stored.doc.skus[0].stock;
}

/* What `node` knows of the sale, with this stock; and the answer. */
static int put_stock(struct node *node, int stock)
{
    const struct gw_control_sale *known = sale_of(node);
    struct cfg_store_job *job = cfg_store_job_new();
    json_t *json = json_pack("{s:[{s:s, s:i}]}", "skus", "sku", "phone", "stock", stock);
    struct change change = {.err = 1};
    if (known != NULL)
        change.sale.state = known->stored.state;
    change.sale.state.version++;
    memcpy(change.sale.name, SALE, sizeof SALE);
    assert_ok(cfg_sale_doc_read(json, "", SALE, &change.sale.doc, NULL));
    json_decref(json);
    change.sale.doc.opens_at_ms = 1;
    cfg_store_job_sale(job, SALE, &change.sale.doc, &change.sale.state);
    assert_ok(gw_control_change(node->control, job, take, done, &change));
    while (change.err == 1)
        turn();
    cfg_sale_doc_done(&change.sale.doc);
    return change.err;
}

/* --- what happens --- */

/* Two gateways that know the sale, which is due. The log takes nothing from either, until let_go();
 * `b` does not read it either. */
static void begin(void)
{
    start(a);
    share(a);
    start(b);
    share(b);
    turn_ms(300); /* they have heard of each other */
    shared_log_hold(a->core.log, false, true);
    shared_log_hold(b->core.log, true, true);
    assert_ok(put_stock(a, STOCK));
    while (version_at(b) == 0)
        turn();
}

static void let_go(struct node *node)
{
    shared_log_hold(node->core.log, false, false);
}

static size_t fences(void)
{
    return shared_topic_count(topic, UINT32_MAX, OQ_FENCED);
}

/* Of the sale, as Redis has it. */
static long long shared_version(void)
{
    return redis_number(&server, "EVAL %s 0",
                        "return tonumber(string.match(redis.call('HGET', 'ps:control', "
                        "'sale/" SALE "'), '^%d+'))");
}

static void assert_opens_with(int stock)
{
    until_served(a);
    until_served(b);
    assert_int_equal(left(), stock);
    assert_int_equal(stock_at(a), stock);
    assert_int_equal(stock_at(b), stock);
}

/* From now on control.db takes no sale, as if its disk were full. */
static void break_disk(const struct node *node)
{
    sqlite3 *db;
    char path[128];
    (void)snprintf(path, sizeof path, "%s/control.db", node->temp.path);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db,
                                  "CREATE TRIGGER full BEFORE INSERT ON sales "
                                  "BEGIN SELECT RAISE(ABORT, 'full'); END",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* --- claims --- */

static void a_stock_is_not_changed_elsewhere_once_its_opening_has_begun(void **state)
{
    (void)state;
    begin();
    shared_log_hold(a->core.log, true, false);
    while (fences() < SHARED_PARTITIONS)
        turn();
    bool refused =
        gw_control_is_opened(b->control, sale_of(b)) || put_stock(b, OTHER_STOCK) == PS_E_CONFLICT;
    assert_true(refused);
    while (version_at(b) < 2)
        turn();
    assert_null(oq_fold_sale(b->core.fold, SALE, strlen(SALE))); /* its view says nothing yet */
    assert_true(gw_control_is_opened(b->control, sale_of(b)));
    let_go(a);
    let_go(b);
    assert_opens_with(STOCK);
}

static void a_stock_that_was_changed_elsewhere_before_is_what_it_opens_with(void **state)
{
    (void)state;
    begin();
    assert_ok(put_stock(b, OTHER_STOCK));
    let_go(a); /* which may not have heard of it */
    let_go(b);
    assert_opens_with(OTHER_STOCK);
}

static void that_an_opening_has_begun_is_known_after_a_restart(void **state)
{
    (void)state;
    begin();
    let_go(a);
    while (shared_version() < 2)
        turn();
    shared_log_hold(a->core.log, true, true);
    while (version_at(b) < 2)
        turn();
    assert_int_equal(fences(), 0);
    stop(a);
    stop(b);
    redis_do(&server, "FLUSHALL");
    start(b);
    assert_true(gw_control_is_opened(b->control, sale_of(b)));
    share(b);
    until_served(b);
    assert_int_equal(left(), STOCK);
}

static void a_gateway_that_can_write_nothing_does_not_begin_to_open_a_sale(void **state)
{
    (void)state;
    begin();
    break_disk(a);
    let_go(a);
    while (shared_version() < 2)
        turn();
    turn_ms(200);
    let_go(b);
    while (!serves(b)) {
        turn();
        assert_true(fences() <= SHARED_PARTITIONS); /* b's */
    }
    assert_int_equal(left(), STOCK);
    assert_false(serves(a));
}

static void who_fails_to_open_a_sale_stands_aside_for_another(void **state)
{
    (void)state;
    begin();
    shared_log_hold(a->core.log, true, false);
    while (fences() < SHARED_PARTITIONS)
        turn();
    break_disk(a);
    let_go(a);
    while (fences() < 3 * SHARED_PARTITIONS)
        turn();
    let_go(b);
    turn_ms(2500);
    assert_int_equal(fences(), 3 * SHARED_PARTITIONS);
    atomic_store(&b->ahead_ns, CLAIM_NS); /* a's claim is over */
    until_served(b);
    assert_int_equal(fences(), 4 * SHARED_PARTITIONS);
    assert_int_equal(left(), STOCK);
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest claims[] = {
        CLAIM(a_stock_is_not_changed_elsewhere_once_its_opening_has_begun),
        CLAIM(a_stock_that_was_changed_elsewhere_before_is_what_it_opens_with),
        CLAIM(that_an_opening_has_begun_is_known_after_a_restart),
        CLAIM(a_gateway_that_can_write_nothing_does_not_begin_to_open_a_sale),
        CLAIM(who_fails_to_open_a_sale_stands_aside_for_another),
    };
    return cmocka_run_group_tests(claims, NULL, NULL);
}
