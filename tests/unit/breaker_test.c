/* The circuit breaker under a clock that stands still until it is told. */
#include "check.h"
#include "common/breaker.h"

#include <sodium.h>

#define MIN_MS 20
#define MAX_MS 100

static struct ps_clock_manual now;
static struct ps_breaker breaker;

static int set_up(void **state)
{
    static const struct ps_breaker_settings settings = {
        .strikes_max = 3, .pause_min_ms = MIN_MS, .pause_max_ms = MAX_MS};
    (void)state;
    ps_clock_manual_init(&now, PS_NS_PER_S, 0);
    ps_breaker_init(&breaker, &settings, &now.clock);
    return 0;
}

static void pass_ms(int64_t ms)
{
    now.mono_ns += ms * PS_NS_PER_MS;
}

static void a_new_breaker_lets_every_call_through(void **state)
{
    (void)state;
    assert_true(ps_breaker_admits(&breaker, 0));
    assert_true(ps_breaker_admits(&breaker, 1000));
    assert_int_equal(ps_breaker_pause_ms(&breaker), 0);
}

static void strikes_in_a_row_open_it_and_a_success_between_them_does_not(void **state)
{
    (void)state;
    assert_false(ps_breaker_strike(&breaker));
    assert_false(ps_breaker_strike(&breaker));
    ps_breaker_succeed(&breaker);
    assert_false(ps_breaker_strike(&breaker));
    assert_false(ps_breaker_strike(&breaker));
    assert_true(ps_breaker_admits(&breaker, 7));
    assert_true(ps_breaker_strike(&breaker));
    assert_false(ps_breaker_admits(&breaker, 0));
    assert_int_equal(breaker.opened_ns, PS_NS_PER_S);
}

static void an_open_breaker_probes_one_call_at_a_time_when_its_pause_is_over(void **state)
{
    (void)state;
    assert_true(ps_breaker_trip(&breaker));
    int64_t pause_ms = ps_breaker_pause_ms(&breaker);
    assert_in_range(pause_ms, MIN_MS / 2, MIN_MS);
    pass_ms(pause_ms - 1);
    assert_false(ps_breaker_admits(&breaker, 0));
    pass_ms(1);
    assert_true(ps_breaker_admits(&breaker, 0));
    assert_false(ps_breaker_admits(&breaker, 1));
    ps_breaker_succeed(&breaker);
    assert_true(ps_breaker_admits(&breaker, 1));
}

static void a_probe_that_fails_opens_it_again(void **state)
{
    (void)state;
    assert_true(ps_breaker_trip(&breaker));
    ps_breaker_probe(&breaker);
    assert_int_equal(ps_breaker_pause_ms(&breaker), 0);
    assert_true(ps_breaker_strike(&breaker));
    assert_false(ps_breaker_admits(&breaker, 0));
}

static void the_pause_doubles_up_to_the_longest_until_a_call_succeeds(void **state)
{
    static const int64_t most[] = {MIN_MS, 2 * MIN_MS, 4 * MIN_MS, MAX_MS, MAX_MS};
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(most); i++) {
        assert_true(ps_breaker_trip(&breaker));
        assert_in_range(ps_breaker_pause_ms(&breaker), most[i] / 2, most[i]);
        ps_breaker_close(&breaker); /* reached again, which proves nothing */
    }
    ps_breaker_succeed(&breaker);
    assert_true(ps_breaker_trip(&breaker));
    assert_in_range(ps_breaker_pause_ms(&breaker), MIN_MS / 2, MIN_MS);
}

static void what_is_open_already_keeps_its_pause_and_its_time(void **state)
{
    (void)state;
    assert_true(ps_breaker_trip(&breaker));
    int64_t pause_ms = ps_breaker_pause_ms(&breaker);
    pass_ms(1);
    assert_false(ps_breaker_trip(&breaker));
    assert_int_equal(ps_breaker_pause_ms(&breaker), pause_ms - 1);
    assert_int_equal(breaker.opened_ns, PS_NS_PER_S);
}

#define CLAIM(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(a_new_breaker_lets_every_call_through),
        CLAIM(strikes_in_a_row_open_it_and_a_success_between_them_does_not),
        CLAIM(an_open_breaker_probes_one_call_at_a_time_when_its_pause_is_over),
        CLAIM(a_probe_that_fails_opens_it_again),
        CLAIM(the_pause_doubles_up_to_the_longest_until_a_call_succeeds),
        CLAIM(what_is_open_already_keeps_its_pause_and_its_time),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
