/* Sales that several gateways open while something else happens: operators change them at another
 * gateway, or one gateway's control.db takes nothing. `a` comes first in each. */
#include "tests/contract/cluster_fixture.h"

#define OTHER_STOCK 5
#define CLAIM_NS    (30 * PS_NS_PER_S)

/* --- what happens --- */

/* Two gateways that know the sale, which is due. The log takes nothing from either, until let_go();
 * `b` does not read it either. */
static void begin(void)
{
    start(a);
    share(a);
    start(b);
    share(b);
    while (members_at(a) < 2 || members_at(b) < 2) /* until they have heard of each other */
        turn();
    hold_log(a, false, true);
    hold_log(b, true, true);
    assert_ok(put_stock(a, STOCK));
    while (version_at(b) == 0)
        turn();
}

static void let_go(struct node *node)
{
    hold_log(node, false, false);
}

static size_t fences(void)
{
    return shared_topic_count(topic, UINT32_MAX, OQ_FENCED);
}

static void assert_opens_with(int stock)
{
    until_served(a);
    until_served(b);
    assert_int_equal(left(), stock);
    assert_int_equal(stock_at(a), stock);
    assert_int_equal(stock_at(b), stock);
}

/* `a` has noted the opening, and its log stands still. */
static void begin_opening_and_hold(void)
{
    begin();
    let_go(a);
    while (shared_version() < 2)
        turn();
    hold_log(a, true, true);
}

/* --- claims --- */

static void a_stock_is_not_changed_elsewhere_once_its_opening_has_begun(void **state)
{
    (void)state;
    begin();
    hold_log(a, true, false);
    while (fences() < SHARED_PARTITIONS)
        turn();
    bool refused = is_stock_fixed(b) || put_stock(b, OTHER_STOCK) == PS_E_CONFLICT;
    assert_true(refused);
    while (version_at(b) < 2)
        turn();
    assert_false(is_in_log(b)); /* its view says nothing yet */
    assert_true(is_stock_fixed(b));
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
    begin_opening_and_hold();
    while (version_at(b) < 2)
        turn();
    assert_int_equal(fences(), 0);
    stop(a);
    stop(b);
    redis_do(&server, "FLUSHALL");
    start(b);
    assert_true(is_stock_fixed(b));
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
    hold_log(a, true, false);
    while (fences() < SHARED_PARTITIONS)
        turn();
    break_disk(a);
    let_go(a);
    while (fences() < 3 * SHARED_PARTITIONS)
        turn();
    let_go(b);
    turn_ms(2500);
    assert_int_equal(fences(), 3 * SHARED_PARTITIONS);
    set_ahead(b, CLAIM_NS); /* a's claim is over */
    until_served(b);
    assert_int_equal(fences(), 4 * SHARED_PARTITIONS);
    assert_int_equal(left(), STOCK);
}

/* Its own creation fails when the other's is here already, and is no change under way any more. */
static void a_sale_opens_at_who_came_second_with_its_creation(void **state)
{
    (void)state;
    start(a);
    share(a);
    start(b);
    share(b);
    hold_log(a, true, true); /* what it creates first is b's to open */
    seed_sales(a, SALE, "autumn");
    seed_sales(b, "autumn", SALE);
    while (version_at(b) == 0)
        turn();
    until_served(b);
    assert_int_equal(left(), STOCK);
}

/* F22: Another cluster, with a Redis of its own, has the sale's name and this topic. */
static void a_sale_that_another_cluster_has_opened_is_refused_by_name(void **state)
{
    (void)state;
    start(a);
    share(a);
    assert_ok(put_stock(a, STOCK));
    until_served(a);
    stop(a);
    size_t before = fences();
    redis_do(&server, "FLUSHALL");
    start(b);
    share(b);
    assert_ok(put_stock(b, OTHER_STOCK));
    while (refusal_at(b) == NULL)
        turn();
    assert_non_null(strstr(refusal_at(b), "another cluster"));
    assert_int_equal(fences(), before);
    assert_false(is_installed(SALE));
}

/* F22: Its fences are first in the log, although both have noted their openings before. */
static void of_two_clusters_that_open_a_sale_at_once_the_log_chooses_one(void **state)
{
    (void)state;
    begin_opening_and_hold();
    assert_int_equal(fences(), 0);
    struct oq_event fence = fence_of(1 << 20);
    fence.first = true;
    fence.opening_id = PS_STR("0199aaaa-0000-7000-8000-000000000001");
    for (uint32_t p = 0; p < SHARED_PARTITIONS; p++)
        shared_topic_put(topic, p, &fence);
    let_go(a);
    let_go(b);
    while (refusal_at(a) == NULL || refusal_at(b) == NULL)
        turn();
    assert_non_null(strstr(refusal_at(a), "another cluster"));
    assert_false(is_installed(SALE));
}

static void a_sale_that_is_ones_own_stays_so_when_another_cluster_fences_it(void **state)
{
    (void)state;
    begin();
    let_go(a);
    let_go(b);
    assert_opens_with(STOCK);
    struct oq_event fence = fence_of(epoch_at(a) + (1 << 20));
    fence.opening_id = PS_STR("0199aaaa-0000-7000-8000-000000000001");
    for (uint32_t p = 0; p < SHARED_PARTITIONS; p++)
        shared_topic_put(topic, p, &fence);
    while (epoch_at(a) <= fence.epoch || epoch_at(b) <= fence.epoch)
        turn();
    assert_opens_with(STOCK);
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
        CLAIM(a_sale_that_another_cluster_has_opened_is_refused_by_name),
        CLAIM(of_two_clusters_that_open_a_sale_at_once_the_log_chooses_one),
        CLAIM(a_sale_that_is_ones_own_stays_so_when_another_cluster_fences_it),
        CLAIM(a_sale_opens_at_who_came_second_with_its_creation),
    };
    return cmocka_run_group_tests(claims, NULL, NULL);
}
