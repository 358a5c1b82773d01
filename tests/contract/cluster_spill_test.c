/* What a dead gateway has left in doubt while orders of it may lie in a spill: who is waited for,
 * and for how long. What the gateway, and a later start of it, say of themselves is put into Redis
 * by the test: they have said it long ago. */
#include "tests/contract/cluster_fixture.h"

#define NAME "other" /* theirs */
/* The sweep looks at what is 5 s old, a gateway is dead after 3 s. */
#define LONG_ENOUGH_MS 7000
#define MINUTE_MS      60000

static struct ps_uuid dead; /* has reserved a unit */
static const struct ps_uuid later = {{1, 2, 3}};

/* A gateway has died with a reservation, `ms_ago`. */
static void begin(int ms_ago)
{
    open_sale();
    (void)reserve(b, "ann");
    dead = start_of(b);
    stop(b);
    say_heartbeat(&dead, NAME, 1, ms_ago);
}

static void assert_waited_for(void)
{
    turn_ms(LONG_ENOUGH_MS);
    assert_int_equal(shared_topic_count(topic, UINT32_MAX, OQ_RELEASED), 0);
    assert_int_equal(left(), STOCK - 1);
}

static void until_given_up(void)
{
    while (entries(IN_DOUBT) > 0)
        turn();
    assert_int_equal(left(), STOCK);
}

/* --- claims --- */

static void a_dead_gateway_with_a_spill_is_waited_for_two_minutes(void **state)
{
    (void)state;
    begin(MINUTE_MS);
    assert_waited_for();
    say_heartbeat(&dead, NAME, 1, 2 * MINUTE_MS + 1);
    until_given_up();
}

static void a_later_start_that_still_has_the_spill_is_waited_for(void **state)
{
    (void)state;
    begin(5 * MINUTE_MS);
    say_heartbeat(&later, NAME, 1, 0);
    assert_waited_for();
    say_heartbeat(&later, NAME, 0, 0); /* drained */
    until_given_up();
}

static void also_when_the_start_before_is_forgotten(void **state)
{
    (void)state;
    begin(5 * MINUTE_MS);
    say_heartbeat(&later, NAME, 1, 0);
    forget_heartbeat(&dead);
    assert_waited_for();
    say_heartbeat(&later, NAME, 1, 2 * MINUTE_MS + 1); /* it has died, too */
    until_given_up();
}

static void a_later_start_without_a_spill_ends_the_waiting(void **state)
{
    (void)state;
    begin(MINUTE_MS);
    say_heartbeat(&later, NAME, 0, MINUTE_MS / 2);
    until_given_up();
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest claims[] = {
        CLAIM(a_dead_gateway_with_a_spill_is_waited_for_two_minutes),
        CLAIM(a_later_start_that_still_has_the_spill_is_waited_for),
        CLAIM(also_when_the_start_before_is_forgotten),
        CLAIM(a_later_start_without_a_spill_ends_the_waiting),
    };
    return cmocka_run_group_tests(claims, NULL, NULL);
}
