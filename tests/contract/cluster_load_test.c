/* A sale that is built again while its log goes on: nothing waits for the load, and what is decided
 * meanwhile counts once. */
#include "tests/contract/cluster_fixture.h"

#include <signal.h>

#define ORDERS 1500 /* more than what is sent to Redis at once */

static struct ps_uuid ids[ORDERS];
static long long raised, cancelled_units, confirmed_units;

static struct oq_event raise_of(int units, const char *name)
{
    return (struct oq_event){.type = OQ_ADJUSTED,
                             .adjust_key = {name, strlen(name)},
                             .sale = PS_STR(SALE),
                             .at_ms = 1,
                             .sku = PS_STR("phone"),
                             .delta = units};
}

static void raise_stock(int units, const char *name)
{
    struct oq_event event = raise_of(units, name);
    append(a, &event);
    raised += units;
}

static void cancel(int order)
{
    struct oq_event event = cancelled(ids[order]);
    append(a, &event);
    cancelled_units++;
}

static void confirm(int order)
{
    struct oq_event event = cancelled(ids[order]);
    event.type = OQ_CONFIRMED;
    event.reason = OQ_REASON_NONE;
    append(a, &event);
    confirmed_units++;
}

/* SALE is open at `a`, with ORDERS orders in the log. */
static void begin(void)
{
    struct ps_uuid_source source;
    raised = cancelled_units = confirmed_units = 0;
    ps_uuid_source_init(&source);
    start(a);
    know_sale(a, false);
    until_served(a);
    raise_stock(ORDERS, "adjust:" SALE "/room");
    for (int i = 0; i < ORDERS; i++) {
        char user[16];
        (void)snprintf(user, sizeof user, "u%d", i);
        ps_uuid_next(&source, ps_clock_wall_ms(&ps_clock_system), &ids[i]);
        struct oq_event event = accepted(ids[i], user, epoch_at(a));
        append(a, &event);
        if (i % 256 == 255)
            turn(); /* outcomes are mail, and the box has its bounds */
    }
    while (state_at(a, ids[ORDERS - 1]) < 0)
        turn();
}

static bool is_exact(void)
{
    return count_of("phone") == STOCK + raised - ORDERS + cancelled_units &&
           count_of("phone/held") == ORDERS - cancelled_units - confirmed_units &&
           count_of("phone/confirmed") == confirmed_units && count_of("phone/in_doubt") == 0;
}

/* Everything that was decided has reached Redis, and once. */
static void assert_exact(void)
{
    while (!is_exact())
        turn();
    turn_ms(1500);
    assert_true(is_exact());
    assert_int_equal(entries(DECIDED), ORDERS);
}

/* Redis has lost all; the sale is fenced anew. */
static void lose_counter(void)
{
    redis_do(&server, "FLUSHALL");
    while (shared_topic_count(topic, UINT32_MAX, OQ_FENCED) < 2 * SHARED_PARTITIONS)
        turn();
}

/* Redis stands still: the load goes on once it has SIGCONT. */
static void begin_load_that_waits(void)
{
    begin();
    hold_log(a, true, false);
    lose_counter();
    kill(server.pid, SIGSTOP);
    hold_log(a, false, false); /* its fences are read back: the load begins */
    turn_ms(250);
}

/* --- claims --- */

static void the_log_goes_on_while_a_load_waits_for_redis_R15(void **state)
{
    (void)state;
    begin_load_that_waits();
    cancel(0);
    cancel(ORDERS - 1);
    confirm(1);
    confirm(ORDERS - 2);
    raise_stock(7, "adjust:" SALE "/late");
    turn_ms(150);
    assert_int_equal(state_at(a, ids[ORDERS - 1]), OQ_STATE_RELEASED);
    assert_int_equal(state_at(a, ids[1]), OQ_STATE_CONFIRMED);
    assert_false(serves(a));
    kill(server.pid, SIGCONT);
    until_served(a);
    assert_exact();
}

static void what_is_decided_while_a_sale_is_built_again_counts_once_R8_R15(void **state)
{
    (void)state;
    begin();
    int next = 0;
    for (int round = 0; round < 4; round++) {
        redis_do(&server, "FLUSHALL");
        while (!is_fenced(a))
            turn();
        for (int i = 0; !serves(a) || i < 120; i++) {
            char name[48];
            (void)snprintf(name, sizeof name, "adjust:" SALE "/%d-%d", round, i);
            if (i % 3 == 0 && i < 120)
                raise_stock(1, name);
            else if (next < ORDERS && i % 2 == 0)
                cancel((next++ * 7) % ORDERS); /* 7 and ORDERS have no common divisor */
            else if (next < ORDERS)
                confirm((next++ * 7) % ORDERS);
            turn();
        }
    }
    until_served(a);
    assert_exact();
}

static void a_gateway_that_stops_during_a_load_leaves_nothing_behind_R9(void **state)
{
    (void)state;
    begin();
    lose_counter();
    read_log(a); /* the load may begin any moment */
    stop(a);
    start(a);
    until_served(a);
    assert_exact();
}

static void a_sale_that_is_archived_while_it_is_loaded_ends_the_load(void **state)
{
    (void)state;
    begin_load_that_waits();
    archive_sale();
    while (state_at(a, ids[ORDERS - 1]) >= 0)
        turn();
    kill(server.pid, SIGCONT);
    while (!has_redis(a))
        turn();
    turn_ms(500);
    assert_false(serves(a));
    assert_false(is_fenced(a));
}

static void an_answer_about_counters_of_an_archived_sale_comes_too_late(void **state)
{
    (void)state;
    start(a);
    know_sale(a, false);
    until_served(a);
    start(b);
    while (members_at(b) < 2)
        turn();
    kill(server.pid, SIGSTOP);
    know_sale(b, true); /* it asks Redis what is installed */
    turn_ms(150);
    archive_sale();
    turn_ms(300);
    kill(server.pid, SIGCONT);
    while (!has_redis(b))
        turn();
    for (int i = 0; i < 500; i++) {
        assert_false(serves(b));
        turn();
    }
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest claims[] = {
        CLAIM(the_log_goes_on_while_a_load_waits_for_redis_R15),
        CLAIM(what_is_decided_while_a_sale_is_built_again_counts_once_R8_R15),
        CLAIM(a_gateway_that_stops_during_a_load_leaves_nothing_behind_R9),
        CLAIM(a_sale_that_is_archived_while_it_is_loaded_ends_the_load),
        CLAIM(an_answer_about_counters_of_an_archived_sale_comes_too_late),
    };
    return cmocka_run_group_tests(claims, NULL, NULL);
}
