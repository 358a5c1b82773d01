/* Gateways of a cluster over one real Redis and one log, as the protocol's rules have it: what the
 * control thread does by itself, without workers. The test's names end with the rule that they are
 * about. */
#include "tests/contract/cluster_fixture.h"

/* Redis loses all that it had, and the gateways build it again. */
static void empty_redis(void)
{
    int64_t lost = sale_of(a)->epoch;
    redis_do(&server, "FLUSHALL");
    while (sale_of(a)->epoch == lost ||
           sale_of(b)->epoch == lost) /* each notices in its own time */
        turn();
    until_served(a);
    until_served(b);
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

static void a_slow_log_gets_one_record_for_what_is_given_up(void **state)
{
    (void)state;
    open_sale();
    (void)reserve(b, "ann");
    (void)reserve(b, "bob");
    stop(b);
    shared_log_hold(a->core.log, true, false);
    turn_ms(9000); /* 5 s until it is old, and many sweeps more */
    assert_int_equal(shared_topic_count(topic, UINT32_MAX, OQ_RELEASED), 0);
    shared_log_hold(a->core.log, false, false);
    while (entries("d") > 0)
        turn();
    assert_int_equal(left(), STOCK);
    assert_int_equal(shared_topic_count(topic, UINT32_MAX, OQ_RELEASED), 2);
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
    empty_redis();
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
    (void)buy(a);
    empty_redis();
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
    struct ps_uuid id = buy(a);
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
    struct ps_uuid id = buy(b);
    stop(a);
    struct oq_event release = cancelled(id);
    append(b, &release);
    while (left() != STOCK)
        turn();
    turn_ms(1500); /* and not twice */
    assert_int_equal(left(), STOCK);
}

static struct node *wait_for_keeper(void)
{
    while (!clu_keeps(a->core.cluster) && !clu_keeps(b->core.cluster))
        turn();
    return clu_keeps(a->core.cluster) ? a : b;
}

static void a_keeper_that_loses_its_log_alone_leaves_the_lease_to_another_R8(void **state)
{
    (void)state;
    open_sale();
    struct ps_uuid id = buy(a);
    struct node *cut = wait_for_keeper();
    struct node *other = cut == a ? b : a;
    struct oq_event release = cancelled(id);
    shared_log_hold(cut->core.log, true, true);
    append(other, &release);
    while (left() != STOCK)
        turn();
    assert_true(clu_keeps(other->core.cluster));
    assert_false(clu_keeps(cut->core.cluster));
}

/* A stranger can write any time that the calendar has. */
static void whatever_an_orders_pay_by_is_it_and_the_others_expire_in_time(void **state)
{
    (void)state;
    open_sale();
    struct ps_uuid far = reserve(a, "bob"), past = reserve(a, "carl");
    struct oq_event event = accepted(far, "bob", sale_of(a)->epoch);
    event.reserved_at_ms = 0;
    event.pay_by_ms = INT64_C(253402300799999); /* the end of the year 9999 */
    append(a, &event);
    event = accepted(past, "carl", sale_of(a)->epoch);
    event.pay_by_ms = event.reserved_at_ms -= 10000;
    append(a, &event);
    while (state_at(a, past) != OQ_STATE_RELEASED)
        turn();
    turn_ms(500);
    assert_int_equal(state_at(a, far), OQ_STATE_ACCEPTED);
}

/* What was asked before the install is no news after it. */
static void what_was_built_again_is_not_found_missing_once_more_R9(void **state)
{
    (void)state;
    open_sale();
    stop(b);
    for (int i = 0; i < 8; i++) {
        redis_do(&server, "FLUSHALL");
        while (!sale_of(a)->fenced)
            turn();
        until_served(a);
        turn_ms(300);
        assert_true(serves(a));
    }
    assert_int_equal(ps_metric_read(a->core.metrics, GW_M_FENCES, 0), 8);
    assert_int_equal(shared_topic_count(topic, UINT32_MAX, OQ_FENCED), 9 * SHARED_PARTITIONS);
}

/* By an operator's hand, say: nothing else brings it there under the same identity. */
static void an_epoch_that_comes_back_in_redis_is_built_over(void **state)
{
    (void)state;
    open_sale();
    (void)buy(a);
    int64_t ended = sale_of(a)->epoch;
    redis_do(&server, "HSET %s epoch %lld", "ps:{" SALE "}:cur", (long long)ended - 1);
    for (int i = 0; i < 50 && (!serves(a) || sale_of(a)->epoch == ended); i++)
        turn_ms(100);
    assert_true(serves(a) && sale_of(a)->epoch > ended);
    until_served(b);
    assert_int_equal(left(), STOCK - 1);
}

static void a_load_notes_where_it_has_read_every_partition_R15(void **state)
{
    (void)state;
    open_sale();
    empty_redis();
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
    while (sale_of(a)->arming != SALE_OPENING_REFUSED)
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

/* More effects than are kept of a sale that the control state does not know. */
#define MANY 1100

/* Void orders that nobody has reserved. */
static void put_many(void)
{
    for (unsigned i = 0; i < MANY; i++) {
        struct oq_event event =
            cancelled((struct ps_uuid){{1, 2, 3, [14] = (uint8_t)(i >> 8), [15] = (uint8_t)i}});
        event.reason = OQ_REJECTED;
        shared_topic_put(topic, i % SHARED_PARTITIONS, &event);
    }
}

static void forget_at_b(void)
{
    struct clu_numbers numbers;
    turn_ms(500);
    clu_numbers(b->core.cluster, &numbers);
    assert_true(numbers.effects > 0 && numbers.effects < MANY);
}

static void
effects_of_an_unknown_sale_are_bounded_and_forgotten_where_redis_has_them_R8(void **state)
{
    (void)state;
    start(a);
    know_sale(a, false);
    until_served(a);
    int64_t before = sale_of(a)->epoch;
    start(b); /* its control state does not know the sale */
    put_many();
    forget_at_b();
    know_sale(b, true);
    until_served(b);
    stop(a);
    struct ps_uuid id = reserve(b, "ann");
    struct oq_event event = accepted(id, "ann", before);
    append(b, &event);
    while (state_at(b, id) < 0)
        turn();
    struct oq_event release = cancelled(id);
    append(b, &release);
    while (left() != STOCK)
        turn();
    assert_int_equal(sale_of(b)->epoch, before); /* nothing had to be built again */
}

static void what_was_forgotten_and_is_nowhere_applied_is_built_again_R8(void **state)
{
    (void)state;
    start(a);
    know_sale(a, false);
    until_served(a);
    struct ps_uuid id = buy(a);
    int64_t before = sale_of(a)->epoch;
    stop(a);
    start(b); /* its control state does not know the sale */
    struct oq_event release = cancelled(id);
    append(b, &release);
    put_many();
    forget_at_b();
    assert_int_equal(left(), STOCK - 1);
    know_sale(b, true);
    while (left() != STOCK || sale_of(b)->epoch <= before)
        turn();
    until_served(b);
}

/* The order is none of anybody's, but its SKU has a name from now on. */
static struct oq_event strange_sku(void)
{
    struct oq_event event = cancelled((struct ps_uuid){{1, 2, 3}});
    event.sku = PS_STR("strange");
    event.reason = OQ_REJECTED;
    return event;
}

static void a_sku_that_a_stranger_names_is_counted_and_breaks_no_rebuild(void **state)
{
    (void)state;
    open_sale();
    (void)buy(a);
    struct oq_event stranger = strange_sku();
    struct oq_event raise = {.type = OQ_ADJUSTED,
                             .adjust_key = PS_STR("adjust:" SALE "/strange"),
                             .sale = PS_STR(SALE),
                             .at_ms = 1,
                             .sku = PS_STR("strange"),
                             .delta = 5};
    int64_t before = ps_metric_read(a->core.metrics, GW_M_FOLD_ANOMALIES, 0);
    shared_topic_put(topic, SHARED_PARTITIONS - 1, &stranger);
    shared_topic_put(topic, SHARED_PARTITIONS - 1, &raise);
    while (ps_metric_read(a->core.metrics, GW_M_FOLD_ANOMALIES, 0) == before)
        turn();
    turn_ms(500);
    assert_int_equal(ps_metric_read(a->core.metrics, GW_M_FOLD_ANOMALIES, 0), before + 1);
    for (int i = 0; i < 2; i++) { /* the second time by one that has read the whole log again */
        redis_do(&server, "FLUSHALL");
        while (!sale_of(a)->fenced || !sale_of(b)->fenced)
            turn();
        until_served(a);
        until_served(b);
        assert_int_equal(left(), STOCK - 1);
        stop(a);
        start(a);
        until_served(a);
    }
    (void)reserve(a, "bea");
    assert_int_equal(left(), STOCK - 2);
}

static void a_sale_of_which_a_stranger_has_named_a_sku_first_is_refused_by_name(void **state)
{
    (void)state;
    struct oq_event stranger = strange_sku();
    start(a);
    shared_topic_put(topic, 0, &stranger);
    shared_log_read(a->core.log);
    know_sale(a, false);
    while (sale_of(a)->arming != SALE_OPENING_REFUSED)
        turn();
    assert_non_null(strstr(sale_of(a)->refused_why, "strange"));
    assert_false(sale_of(a)->stored.state.opened);
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
    struct sale_fence seen;
    struct oq_event fence = fence_of(5);
    (void)state;
    start(a);
    shared_topic_put(topic, 0, &fence);
    fence.gateway = PS_STR("another");
    shared_topic_put(topic, 1, &fence);
    shared_log_read(a->core.log);
    const struct oq_sale *books = oq_fold_sale(a->core.fold, SALE, strlen(SALE));
    sale_effects_last_fence(ord_events_effects(a->core.life), books, &seen);
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
        CLAIM(a_slow_log_gets_one_record_for_what_is_given_up),
        CLAIM(giving_up_an_order_that_had_landed_does_not_undo_it_R4),
        CLAIM(an_own_reservation_whose_reply_was_lost_is_swept_R11),
        CLAIM(an_order_of_an_ended_epoch_is_void_wherever_it_comes_from_R2),
        CLAIM(one_of_several_builds_an_empty_redis_again_R9_R14),
        CLAIM(a_release_that_is_read_while_fenced_is_not_lost_R8),
        CLAIM(what_the_keeper_before_had_not_applied_the_next_one_applies_R7_R8),
        CLAIM(a_keeper_that_loses_its_log_alone_leaves_the_lease_to_another_R8),
        CLAIM(whatever_an_orders_pay_by_is_it_and_the_others_expire_in_time),
        CLAIM(what_was_built_again_is_not_found_missing_once_more_R9),
        CLAIM(an_epoch_that_comes_back_in_redis_is_built_over),
        CLAIM(a_load_notes_where_it_has_read_every_partition_R15),
        CLAIM(a_gateway_stops_when_its_view_shows_a_higher_fence_R14),
        CLAIM(a_sale_whose_beginning_the_log_has_lost_is_refused_by_name),
        CLAIM(effects_of_an_unknown_sale_are_bounded_and_forgotten_where_redis_has_them_R8),
        CLAIM(what_was_forgotten_and_is_nowhere_applied_is_built_again_R8),
        CLAIM(a_sku_that_a_stranger_names_is_counted_and_breaks_no_rebuild),
        CLAIM(a_sale_of_which_a_stranger_has_named_a_sku_first_is_refused_by_name),
        CLAIM(a_sale_is_not_opened_over_counters_of_another_log),
        CLAIM(a_fence_of_two_authors_is_nobodys_R14),
        CLAIM(a_strangers_record_that_cannot_be_counted_ends_nobody),
    };
    return cmocka_run_group_tests(claims, NULL, NULL);
}
