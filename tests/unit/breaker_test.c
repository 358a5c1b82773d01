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
        .failures_in_row = 3, .pause_min_ms = MIN_MS, .pause_max_ms = MAX_MS};
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
    assert_false(ps_breaker_fail(&breaker, 0));
    assert_false(ps_breaker_fail(&breaker, 0));
    (void)ps_breaker_succeed(&breaker, 0);
    assert_false(ps_breaker_fail(&breaker, 0));
    assert_false(ps_breaker_fail(&breaker, 0));
    assert_true(ps_breaker_admits(&breaker, 7));
    assert_true(ps_breaker_fail(&breaker, 0));
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
    (void)ps_breaker_succeed(&breaker, 0);
    assert_true(ps_breaker_admits(&breaker, 1));
}

static void a_probe_that_fails_opens_it_again(void **state)
{
    (void)state;
    assert_true(ps_breaker_trip(&breaker));
    ps_breaker_probe(&breaker);
    assert_int_equal(ps_breaker_pause_ms(&breaker), 0);
    assert_true(ps_breaker_fail(&breaker, 0));
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
    (void)ps_breaker_succeed(&breaker, 0);
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

/* --- the window --- */

/* With settings of its own. */
static void begin_with(const struct ps_breaker_settings *settings)
{
    ps_breaker_init(&breaker, settings, &now.clock);
}

static const struct ps_breaker_settings judging = {.window_ms = 1000,
                                                   .calls_min = 10,
                                                   .failure_percent = 50,
                                                   .slow_percent = 80,
                                                   .slow_ms = 100,
                                                   .probes = 3,
                                                   .pause_min_ms = MIN_MS,
                                                   .pause_max_ms = MAX_MS};

/* Calls, one a letter: `.` good, `x` failed, `s` slow, `X` failed slowly; a space lets 100 ms pass,
 * `_` a second. Returns how many were made when it opened, or 0. */
static size_t play(const char *calls)
{
    size_t made = 0;
    for (; *calls != '\0'; calls++) {
        if (*calls == ' ' || *calls == '_') {
            pass_ms(*calls == ' ' ? 100 : 1000);
            continue;
        }
        bool failed = *calls == 'x' || *calls == 'X', slow = *calls == 's' || *calls == 'X';
        int64_t took_ns = slow ? 100 * PS_NS_PER_MS : 100 * PS_NS_PER_MS - 1;
        made++;
        if (failed ? ps_breaker_fail(&breaker, took_ns) : ps_breaker_succeed(&breaker, took_ns))
            return made;
    }
    return 0;
}

static void shares_of_the_window_open_it(void **state)
{
    static const struct {
        const char *calls;
        size_t opens; /* with which call; 0: it stays closed */
    } rows[] = {
        {"xxxxxxxxx", 0},                /* too few to say anything */
        {"xxxxxxxxxx", 10},              /* enough of them */
        {".....xxxxx", 10},              /* just the share */
        {"xxxxx.....", 10},              /* in whatever order */
        {"......xxxx", 0},               /* below it */
        {"......xxxxxx", 12},            /* until it is reached */
        {"ssssssss..", 10},              /* slow calls have a share of their own */
        {"sssssss...", 0},               /* below that */
        {"xxxx.sssss", 0},               /* the two are not added up */
        {"XXXXX.....", 10},              /* one call may be both */
        {"xxxxx_.........", 0},          /* what is old is forgotten */
        {"xxxxx xxxx _x.........", 0},   /* all of it, also by the first call that comes later */
        {"x x x x x x x x x x", 10},     /* however slowly they come, as long as the window has */
        {"x  x  x  x  x  x  x  x", 0},   /* ... enough of them */
        {".......... .......... x_", 0}, /* good ones count as long as bad ones */
        {".......... xxxxxxxxx x", 20},  /* and are outweighed */
    };
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        begin_with(&judging);
        size_t opens = play(rows[i].calls);
        if (opens != rows[i].opens)
            fail_msg("\"%s\" opens with call %zu, not %zu", rows[i].calls, opens, rows[i].opens);
        assert_int_equal(breaker.state, opens > 0 ? PS_BREAKER_OPEN : PS_BREAKER_CLOSED);
        pass_ms(5000);
    }
}

static void a_window_of_calls_forgets_those_before_them(void **state)
{
    struct ps_breaker_settings settings = judging;
    struct ps_breaker_view view;
    (void)state;
    settings.window_calls = 20;
    begin_with(&settings);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(play("."), 0);
    ps_breaker_show(&breaker, &view);
    assert_in_range(view.calls, 19, 20);
    assert_int_equal(play("xxxxxxxxxxxxxxxxxxxx"), 10); /* not after a thousand */
}

static void a_row_of_failures_opens_it_however_few_calls_there_are(void **state)
{
    struct ps_breaker_settings settings = judging;
    (void)state;
    settings.failures_in_row = 4;
    settings.failure_percent = 0;
    begin_with(&settings);
    assert_int_equal(play("xxx.xxx.xx_x_"), 0);
    assert_int_equal(play("x"), 1);
}

static void what_is_off_does_not_judge(void **state)
{
    struct ps_breaker_settings settings = judging;
    (void)state;
    settings.slow_percent = 0;
    begin_with(&settings);
    assert_int_equal(play("ssssssssssssssssssss"), 0);
    settings = judging;
    settings.failure_percent = 0;
    begin_with(&settings);
    assert_int_equal(play("xxxxxxxxxxxxxxxxxxxx"), 0);
    settings.slow_ms = 0;
    begin_with(&settings);
    assert_int_equal(play("XXXXXXXXXXXXXXXXXXXX"), 0);
}

/* --- probes --- */

static void end_pause(void)
{
    pass_ms(ps_breaker_pause_ms(&breaker));
}

static void it_closes_when_all_probes_have_been_good_and_begins_a_new_window(void **state)
{
    struct ps_breaker_view view;
    (void)state;
    begin_with(&judging);
    assert_int_equal(play("xxxxxxxxxx"), 10);
    assert_int_equal(play("...x"), 0); /* late replies of calls that had begun */
    assert_int_equal(breaker.state, PS_BREAKER_OPEN);
    end_pause();
    for (size_t probes = 0; probes < 3; probes++) {
        for (size_t in_flight = 0; in_flight < 5; in_flight++)
            assert_int_equal(ps_breaker_admits(&breaker, in_flight), probes + in_flight < 3);
        assert_int_equal(breaker.state, PS_BREAKER_HALF_OPEN);
        assert_int_equal(play("."), 0);
    }
    assert_int_equal(breaker.state, PS_BREAKER_CLOSED);
    ps_breaker_show(&breaker, &view);
    assert_int_equal(view.calls + view.failures, 0);
    assert_int_equal(view.since_ns, now.mono_ns);
    assert_int_equal(play("xxxxxxxxx"), 0);
}

static void a_probe_that_fails_or_is_slow_opens_it_again(void **state)
{
    static const char *const bad[] = {"x", "s", "..x", "..s"};
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++) {
        begin_with(&judging);
        assert_true(ps_breaker_trip(&breaker));
        end_pause();
        assert_true(ps_breaker_admits(&breaker, 0));
        assert_int_equal(play(bad[i]), strlen(bad[i]));
        assert_false(ps_breaker_admits(&breaker, 0));
        assert_true(ps_breaker_pause_ms(&breaker) > 0);
    }
}

static void probes_begin_at_zero_whatever_was_good_before(void **state)
{
    (void)state;
    begin_with(&judging);
    assert_int_equal(play("...................."), 0);
    ps_breaker_probe(&breaker);
    assert_true(ps_breaker_admits(&breaker, 2));
    assert_false(ps_breaker_admits(&breaker, 3));
    assert_int_equal(play(".."), 0);
    assert_int_equal(breaker.state, PS_BREAKER_HALF_OPEN);
    assert_int_equal(play("."), 0);
    assert_int_equal(breaker.state, PS_BREAKER_CLOSED);
}

/* A service that lets probes pass and fails under load must not be tried as often each time. */
static void the_pause_goes_on_doubling_while_it_closes_for_too_few_good_calls(void **state)
{
    static const int64_t most[] = {MIN_MS, 2 * MIN_MS, 4 * MIN_MS, MAX_MS};
    (void)state;
    begin_with(&judging);
    for (size_t i = 0; i < PS_ARRAY_LEN(most); i++) {
        assert_int_equal(play("xxxxxxxxxx"), 10);
        assert_in_range(ps_breaker_pause_ms(&breaker), most[i] / 2, most[i]);
        end_pause();
        assert_true(ps_breaker_admits(&breaker, 0));
        assert_int_equal(play("..."), 0);
    }
    assert_int_equal(play("......."), 0); /* the three probes and these: enough */
    assert_true(ps_breaker_trip(&breaker));
    assert_in_range(ps_breaker_pause_ms(&breaker), MIN_MS / 2, MIN_MS);
}

static void pauses_are_spread_over_half_of_their_length(void **state)
{
    int64_t shortest = INT64_MAX, longest = 0;
    struct ps_breaker_settings settings = judging;
    (void)state;
    settings.pause_min_ms = settings.pause_max_ms = 1000;
    for (size_t i = 0; i < 1000; i++) {
        begin_with(&settings);
        assert_true(ps_breaker_trip(&breaker));
        int64_t ms = ps_breaker_pause_ms(&breaker);
        shortest = ms < shortest ? ms : shortest;
        longest = ms > longest ? ms : longest;
    }
    assert_in_range(shortest, 500, 520);
    assert_in_range(longest, 980, 1000);
}

/* --- orders --- */

static void order(enum ps_breaker_order what)
{
    static uint64_t id;
    ps_breaker_force(&breaker, &(struct ps_breaker_force){what, ++id});
}

static struct ps_breaker_view shown(void)
{
    struct ps_breaker_view view;
    ps_breaker_show(&breaker, &view);
    return view;
}

static void forced_open_it_lets_nothing_through_until_it_is_free(void **state)
{
    int64_t begin_ns = now.mono_ns;
    (void)state;
    begin_with(&judging);
    pass_ms(7);
    order(PS_BREAKER_FORCED_OPEN);
    assert_false(ps_breaker_admits(&breaker, 0));
    assert_int_equal(shown().state, PS_BREAKER_OPEN);
    assert_int_equal(shown().since_ns, begin_ns + 7 * PS_NS_PER_MS);
    assert_int_equal(play(".........."), 0); /* what had begun */
    pass_ms(999);
    assert_false(ps_breaker_admits(&breaker, 0));
    pass_ms(1);
    order(PS_BREAKER_FREE);
    assert_true(ps_breaker_admits(&breaker, 100));
    assert_int_equal(shown().state, PS_BREAKER_CLOSED);
    assert_int_equal(shown().since_ns, begin_ns + 1007 * PS_NS_PER_MS);
    assert_int_equal(shown().openings, 0);
}

static void a_release_ends_an_order_at_once(void **state)
{
    (void)state;
    begin_with(&judging);
    order(PS_BREAKER_FORCED_OPEN);
    order(PS_BREAKER_FREE);
    assert_true(ps_breaker_admits(&breaker, 0));
    order(PS_BREAKER_FORCED_CLOSED);
    order(PS_BREAKER_FREE);
    assert_int_equal(play("xxxxxxxxxx"), 10);
}

static void forced_closed_no_judgement_opens_it_until_it_is_free(void **state)
{
    (void)state;
    begin_with(&judging);
    order(PS_BREAKER_FORCED_CLOSED);
    assert_int_equal(play("xxxxxxxxxxxxxxxxxxxxssssssssssssssss"), 0);
    assert_true(ps_breaker_admits(&breaker, 100));
    assert_int_equal(shown().failures, 20); /* counted all the same */
    pass_ms(999);
    assert_int_equal(play("xxxxxxxxxx"), 0);
    order(PS_BREAKER_FREE);
    assert_int_equal(play("x"), 1);
}

static void
forced_closed_it_still_follows_a_trip_and_then_admits_without_counting_probes(void **state)
{
    (void)state;
    begin_with(&judging);
    order(PS_BREAKER_FORCED_CLOSED);
    assert_true(ps_breaker_trip(&breaker));
    assert_false(ps_breaker_admits(&breaker, 0));
    assert_int_equal(shown().state, PS_BREAKER_OPEN);
    end_pause();
    assert_true(ps_breaker_admits(&breaker, 100));
    assert_int_equal(play("x"), 0);
    assert_true(ps_breaker_admits(&breaker, 100));
    assert_int_equal(play("..."), 0);
    assert_int_equal(shown().state, PS_BREAKER_CLOSED);
}

static void an_order_leaves_alone_what_is_open_by_itself(void **state)
{
    (void)state;
    begin_with(&judging);
    assert_true(ps_breaker_trip(&breaker));
    order(PS_BREAKER_FORCED_OPEN);
    pass_ms(1000);
    order(PS_BREAKER_FREE);
    assert_int_equal(shown().state, PS_BREAKER_OPEN);
    assert_true(ps_breaker_admits(&breaker, 0)); /* the pause is over as well: a probe */
    assert_false(ps_breaker_admits(&breaker, 3));
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
        CLAIM(shares_of_the_window_open_it),
        CLAIM(a_window_of_calls_forgets_those_before_them),
        CLAIM(a_row_of_failures_opens_it_however_few_calls_there_are),
        CLAIM(what_is_off_does_not_judge),
        CLAIM(it_closes_when_all_probes_have_been_good_and_begins_a_new_window),
        CLAIM(a_probe_that_fails_or_is_slow_opens_it_again),
        CLAIM(probes_begin_at_zero_whatever_was_good_before),
        CLAIM(the_pause_goes_on_doubling_while_it_closes_for_too_few_good_calls),
        CLAIM(pauses_are_spread_over_half_of_their_length),
        CLAIM(forced_open_it_lets_nothing_through_until_it_is_free),
        CLAIM(a_release_ends_an_order_at_once),
        CLAIM(forced_closed_no_judgement_opens_it_until_it_is_free),
        CLAIM(forced_closed_it_still_follows_a_trip_and_then_admits_without_counting_probes),
        CLAIM(an_order_leaves_alone_what_is_open_by_itself),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
