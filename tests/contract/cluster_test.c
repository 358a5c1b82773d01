/* Gateways of a cluster over one real Redis and one log, as the protocol's rules have it: what the
 * control thread does by itself, without workers. The test's names end with the rule that they are
 * about. */
#include "tests/contract/cluster_fixture.h"

/* Redis loses all that it had, and the gateways build it again. */
static void empty_redis(void)
{
    int64_t lost = epoch_at(a);
    redis_do(&server, "FLUSHALL");
    while (epoch_at(a) == lost || epoch_at(b) == lost) /* each notices in its own time */
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
    assert_int_equal(epoch_at(a), epoch_at(b));
}

static void a_load_waits_until_the_view_shows_every_fence_R2(void **state)
{
    (void)state;
    open_sale();
    stop(b);
    redis_do(&server, "FLUSHALL");
    while (!is_fenced(a))
        turn();
    hold_log(a, true, false);
    while (shared_topic_count(topic, UINT32_MAX, OQ_FENCED) < 2 * SHARED_PARTITIONS)
        turn();
    turn_ms(1000);
    assert_int_equal(shared_topic_count(topic, UINT32_MAX, OQ_FENCED), 2 * SHARED_PARTITIONS);
    assert_false(is_installed(SALE));
    hold_log(a, false, false);
    until_served(a);
    assert_int_equal(left(), STOCK);
}

static void a_dead_gateways_reservation_comes_back_by_a_record_first_R3_R13(void **state)
{
    (void)state;
    open_sale();
    struct ps_uuid id = reserve(b, "ann");
    stop(b);
    hold_log(a, true, false); /* it does not read back what it writes */
    turn_ms(1000);
    while (shared_topic_count(topic, UINT32_MAX, OQ_RELEASED) == 0) {
        hold_log(a, false, false);
        turn();
        hold_log(a, true, false);
    }
    turn_ms(1000);
    assert_int_equal(left(), STOCK - 1); /* the record alone gives nothing back */
    hold_log(a, false, false);
    while (entries(IN_DOUBT) > 0)
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
    hold_log(a, true, false);
    turn_ms(9000); /* 5 s until it is old, and many sweeps more */
    assert_int_equal(shared_topic_count(topic, UINT32_MAX, OQ_RELEASED), 0);
    hold_log(a, false, false);
    while (entries(IN_DOUBT) > 0)
        turn();
    assert_int_equal(left(), STOCK);
    assert_int_equal(shared_topic_count(topic, UINT32_MAX, OQ_RELEASED), 2);
}

static void giving_up_an_order_that_had_landed_does_not_undo_it_R4(void **state)
{
    (void)state;
    open_sale();
    struct ps_uuid id = reserve(b, "ann");
    struct oq_event event = accepted(id, "ann", epoch_at(b));
    append(b, &event); /* and b dies before it tells Redis */
    struct oq_event given_up = cancelled(id);
    given_up.reason = OQ_REJECTED;
    append(b, &given_up); /* somebody whose view did not have it */
    stop(b);
    while (entries(IN_DOUBT) > 0)
        turn();
    assert_int_equal(state_at(a, id), OQ_STATE_ACCEPTED);
    assert_int_equal(entries(DECIDED), 1);
    assert_int_equal(left(), STOCK - 1);
}

static void an_own_reservation_whose_reply_was_lost_is_swept_R11(void **state)
{
    (void)state;
    open_sale();
    struct ps_uuid id = reserve(a, "ann"); /* nobody ever appends it */
    while (entries(IN_DOUBT) > 0)
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
    struct oq_event late = accepted(id, "ann", epoch_at(b));
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
    assert_int_equal(epoch_at(a), epoch_at(b));
    assert_int_equal(left(), STOCK - 1);
    assert_int_equal(entries(DECIDED), 1);
}

static void a_release_that_is_read_while_fenced_is_not_lost_R8(void **state)
{
    (void)state;
    open_sale();
    stop(b);
    struct ps_uuid id = buy(a);
    redis_do(&server, "FLUSHALL");
    while (!is_fenced(a))
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
    while (!leads(a) && !leads(b))
        turn();
    return leads(a) ? a : b;
}

static void a_keeper_that_loses_its_log_alone_leaves_the_lease_to_another_R8(void **state)
{
    (void)state;
    open_sale();
    struct ps_uuid id = buy(a);
    struct node *cut = wait_for_keeper();
    struct node *other = cut == a ? b : a;
    struct oq_event release = cancelled(id);
    hold_log(cut, true, true);
    append(other, &release);
    while (left() != STOCK || !leads(other)) /* a lease is short */
        turn();
    assert_false(leads(cut));
}

/* A stranger can write any time that the calendar has. */
static void whatever_an_orders_pay_by_is_it_and_the_others_expire_in_time(void **state)
{
    (void)state;
    open_sale();
    struct ps_uuid far = reserve(a, "bob"), past = reserve(a, "carl");
    struct oq_event event = accepted(far, "bob", epoch_at(a));
    event.reserved_at_ms = 0;
    event.pay_by_ms = INT64_C(253402300799999); /* the end of the year 9999 */
    append(a, &event);
    event = accepted(past, "carl", epoch_at(a));
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
        while (!is_fenced(a))
            turn();
        until_served(a);
        turn_ms(300);
        assert_true(serves(a));
    }
    assert_int_equal(metric_of(a, GW_M_FENCES), 8);
    assert_int_equal(shared_topic_count(topic, UINT32_MAX, OQ_FENCED), 9 * SHARED_PARTITIONS);
}

/* By an operator's hand, say: nothing else brings it there under the same identity. */
static void an_epoch_that_comes_back_in_redis_is_built_over(void **state)
{
    (void)state;
    open_sale();
    (void)buy(a);
    int64_t ended = epoch_at(a);
    install_epoch(ended - 1);
    while (epoch_at(a) <= ended)
        turn();
    until_served(a);
    until_served(b);
    assert_int_equal(left(), STOCK - 1);
}

static void a_load_notes_where_it_has_read_every_partition_R15(void **state)
{
    (void)state;
    open_sale();
    empty_redis();
    assert_int_equal(entries(APPLIED), SHARED_PARTITIONS);
}

static void a_gateway_stops_when_its_view_shows_a_higher_fence_R14(void **state)
{
    (void)state;
    open_sale();
    int64_t before = epoch_at(a);
    struct oq_event fence = fence_of(before + ((int64_t)1 << 21));
    for (uint32_t p = 0; p < SHARED_PARTITIONS; p++)
        shared_topic_put(topic, p, &fence);
    while (!is_fenced(a))
        turn();
    until_served(a); /* its author is not there: it is built again */
    until_served(b);
    assert_true(epoch_at(a) > fence.epoch);
    assert_int_equal(left(), STOCK);
}

/* Its log has a fence and nothing before: `a` refuses the sale. */
static void start_without_a_beginning(void)
{
    start(a);
    struct oq_event fence = fence_of(5);
    shared_topic_put(topic, 0, &fence);
    know_sale(a, true);
    while (refusal_at(a) == NULL)
        turn();
}

static void a_sale_whose_beginning_the_log_has_lost_is_refused_by_name(void **state)
{
    (void)state;
    start_without_a_beginning();
    assert_non_null(strstr(refusal_at(a), "first fence"));
    turn_ms(500);
    assert_false(is_installed(SALE));
}

static void a_refused_sale_that_is_archived_is_refused_no_more(void **state)
{
    (void)state;
    start_without_a_beginning();
    assert_int_equal(refused_at(a), 1);
    archive_sale();
    while (refusal_at(a) != NULL)
        turn();
    assert_int_equal(refused_at(a), 0);
}

static void a_strangers_record_that_cannot_be_counted_ends_nobody(void **state)
{
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
    struct oq_event event = accepted(order, "ann", epoch_at(a));
    append(a, &event);
    while (state_at(b, order) != OQ_STATE_ACCEPTED)
        turn();
    assert_int_equal(logged_stock(b), STOCK);
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
    turn_ms(500);
    assert_true(effects_at(b) > 0 && effects_at(b) < MANY);
}

static void
effects_of_an_unknown_sale_are_bounded_and_forgotten_where_redis_has_them_R8(void **state)
{
    (void)state;
    start(a);
    know_sale(a, false);
    until_served(a);
    int64_t before = epoch_at(a);
    start(b); /* its control state does not know the sale */
    put_many();
    forget_at_b();
    know_sale(b, true);
    until_served(b);
    while (effects_at(b) > 0) /* until Redis has them */
        turn();
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
    assert_int_equal(epoch_at(b), before); /* nothing had to be built again */
}

static void what_was_forgotten_and_is_nowhere_applied_is_built_again_R8(void **state)
{
    (void)state;
    start(a);
    know_sale(a, false);
    until_served(a);
    struct ps_uuid id = buy(a);
    int64_t before = epoch_at(a);
    stop(a);
    start(b); /* its control state does not know the sale */
    struct oq_event release = cancelled(id);
    append(b, &release);
    put_many();
    forget_at_b();
    assert_int_equal(left(), STOCK - 1);
    know_sale(b, true);
    while (left() != STOCK || epoch_at(b) <= before)
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
    int64_t before = metric_of(a, GW_M_FOLD_ANOMALIES);
    shared_topic_put(topic, SHARED_PARTITIONS - 1, &stranger);
    shared_topic_put(topic, SHARED_PARTITIONS - 1, &raise);
    while (metric_of(a, GW_M_FOLD_ANOMALIES) == before)
        turn();
    turn_ms(500);
    assert_int_equal(metric_of(a, GW_M_FOLD_ANOMALIES), before + 1);
    for (int i = 0; i < 2; i++) { /* the second time by one that has read the whole log again */
        empty_redis();
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
    read_log(a);
    know_sale(a, false);
    while (refusal_at(a) == NULL)
        turn();
    assert_non_null(strstr(refusal_at(a), "strange"));
    assert_false(is_noted_opened(a));
}

static void a_sale_is_not_opened_over_counters_of_another_log(void **state)
{
    (void)state;
    install_foreign_counters();
    start(a);
    know_sale(a, false);
    turn_ms(1500);
    assert_false(serves(a));
    assert_false(is_in_log(a)); /* nothing is in the log */
    assert_true(remove_counters());
    until_served(a);
}

/* Two may come to the same number, and each partition have another one's first. */
static void a_fence_of_two_authors_is_nobodys_R14(void **state)
{
    struct oq_event fence = fence_of(5);
    (void)state;
    start(a);
    shared_topic_put(topic, 0, &fence);
    fence.gateway = PS_STR("another");
    shared_topic_put(topic, 1, &fence);
    read_log(a);
    assert_int_equal(last_fence(a).epoch, 5);
    assert_string_equal(last_fence(a).author, "");
}

/* F23: Nothing can be counted above it; sales that have nothing to do with it are sold. */
static void an_epoch_that_no_gateway_chooses_refuses_its_sale_by_name_and_no_other(void **state)
{
    (void)state;
    open_sale();
    struct oq_event fence = fence_of(PS_INT_MAX);
    for (uint32_t p = 0; p < SHARED_PARTITIONS; p++)
        shared_topic_put(topic, p, &fence);
    while (refusal_at(a) == NULL || refusal_at(b) == NULL)
        turn();
    assert_non_null(strstr(refusal_at(a), "9007199254740991"));
    assert_non_null(strstr(refusal_at(a), "stranger"));
    put_sale(a, "autumn", 1, false, INT64_MAX);
    while (!serves_sale(a, "autumn"))
        turn();
}

static void an_epoch_that_no_gateway_chooses_in_redis_is_named_and_can_be_deleted(void **state)
{
    (void)state;
    open_sale();
    install_epoch(PS_INT_MAX);
    spoil_identity();
    while (!is_fenced(a) || !is_fenced(b))
        turn();
    turn_ms(1500);
    assert_false(serves(a));
    assert_null(refusal_at(a));
    redis_do(&server, "FLUSHALL");
    until_served(a);
    assert_int_equal(left(), STOCK);
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
        CLAIM(a_refused_sale_that_is_archived_is_refused_no_more),
        CLAIM(effects_of_an_unknown_sale_are_bounded_and_forgotten_where_redis_has_them_R8),
        CLAIM(what_was_forgotten_and_is_nowhere_applied_is_built_again_R8),
        CLAIM(a_sku_that_a_stranger_names_is_counted_and_breaks_no_rebuild),
        CLAIM(a_sale_of_which_a_stranger_has_named_a_sku_first_is_refused_by_name),
        CLAIM(a_sale_is_not_opened_over_counters_of_another_log),
        CLAIM(a_fence_of_two_authors_is_nobodys_R14),
        CLAIM(an_epoch_that_no_gateway_chooses_refuses_its_sale_by_name_and_no_other),
        CLAIM(an_epoch_that_no_gateway_chooses_in_redis_is_named_and_can_be_deleted),
        CLAIM(a_strangers_record_that_cannot_be_counted_ends_nobody),
    };
    return cmocka_run_group_tests(claims, NULL, NULL);
}
