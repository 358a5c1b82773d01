/* The judgement of a split in virtual time: two pools answer, a second at a time, and the figures
 * of the window decide. */
#include "tests/unit/check.h"

#include "common/clock.h"
#include "gateway/upstream/tally.h"

#include <math.h>

#define MS PS_NS_PER_MS

/* A pool as it answers: a share of failures, and latencies from `fast_ms` on, of which some are
 * `slow_ms`. */
struct pool {
    double failures, slow_share, fast_ms, slow_ms;
    struct up_tally so_far;
    uint64_t random;
};

static double draw(struct pool *pool)
{
    pool->random = pool->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (double)(pool->random >> 11) / 9007199254740992.0;
}

static void answer(struct pool *pool, int requests)
{
    for (int i = 0; i < requests; i++) {
        bool slow = draw(pool) < pool->slow_share;
        double ms = slow ? pool->slow_ms : pool->fast_ms * (1 + 0.5 * draw(pool));
        pool->so_far.requests++;
        pool->so_far.failures += draw(pool) < pool->failures;
        pool->so_far.latency.count[ps_time_bucket((int64_t)(ms * (double)MS))]++;
    }
}

struct run {
    struct cfg_split split;
    struct pool its, own;
    int its_a_second, own_a_second;
    int64_t now_s;
    struct up_window *window;
};

static struct run *begin(struct run *run)
{
    run->its.random = 1;
    run->own.random = 2;
    run->now_s = 1000;
    run->window = up_window_new(run->split.back.window_s, &run->its.so_far, &run->own.so_far);
    assert_non_null(run->window);
    return run;
}

static enum up_cause second(struct run *run)
{
    struct up_tally its, own;

    up_window_note(run->window, run->now_s++, &run->its.so_far, &run->own.so_far, &its, &own);
    answer(&run->its, run->its_a_second);
    answer(&run->own, run->own_a_second);
    return up_split_judge(&run->split, &its, &own);
}

/* How many seconds until it is taken back; -1: not within so many. */
static int seconds_until(struct run *run, enum up_cause cause, int most)
{
    for (int i = 0; i < most; i++) {
        enum up_cause is = second(run);
        if (is == UP_CAUSE_NONE)
            continue;
        assert_int_equal(is, cause);
        return i;
    }
    return -1;
}

static struct run healthy(void)
{
    return (struct run){.split = {.back = {.errors_above = 0.02, .p99_above = 1.5, .window_s = 30}},
                        .its = {.failures = 0.01, .fast_ms = 10, .slow_ms = 10},
                        .own = {.failures = 0.01, .fast_ms = 10, .slow_ms = 10},
                        .its_a_second = 50,
                        .own_a_second = 950};
}

static void end(struct run *run)
{
    up_window_free(run->window);
}

/* --- The judgement. --- */

static void a_pool_that_is_as_good_as_the_old_one_stays_for_a_day(void **state)
{
    struct run run = healthy();
    (void)state;
    begin(&run);
    run.own_a_second = 50;
    assert_int_equal(seconds_until(&run, UP_CAUSE_NONE, 86400), -1);
    end(&run);
}

static void a_pool_that_only_fails_is_left_as_soon_as_fifty_have_met_it(void **state)
{
    struct run run = healthy();
    (void)state;
    begin(&run);
    assert_int_equal(seconds_until(&run, UP_CAUSE_NONE, 40), -1);
    run.its.failures = 1;
    assert_in_range(seconds_until(&run, UP_CAUSE_ERRORS, 10), 1, 2);
    end(&run);
}

static void errors_above_the_bound_against_the_old_pool_take_it_back(void **state)
{
    struct run run = healthy();
    (void)state;
    begin(&run);
    run.its.failures = 0.05;
    assert_in_range(seconds_until(&run, UP_CAUSE_ERRORS, 60), 2, 30);
    end(&run);
}

static void errors_that_the_old_pool_has_as_well_do_not(void **state)
{
    struct run run = healthy();
    (void)state;
    begin(&run);
    run.its.failures = run.own.failures = 0.3;
    run.its_a_second = 500; /* so that chance is small beside the bound */
    assert_int_equal(seconds_until(&run, UP_CAUSE_NONE, 3600), -1);
    end(&run);
}

static void where_nobody_uses_the_old_pool_its_errors_count_as_none(void **state)
{
    struct run run = healthy();
    (void)state;
    begin(&run);
    run.own_a_second = 0;
    run.its.failures = 0.05;
    run.its.slow_share = 1;
    run.its.slow_ms = 5000; /* with nothing to compare with */
    assert_in_range(seconds_until(&run, UP_CAUSE_ERRORS, 60), 1, 30);
    end(&run);
}

static void latency_above_the_bound_takes_it_back(void **state)
{
    struct run run = healthy();
    (void)state;
    begin(&run);
    run.its.slow_share = 0.03;
    run.its.slow_ms = 60;
    assert_in_range(seconds_until(&run, UP_CAUSE_LATENCY, 60), 2, 30);
    end(&run);
}

static void one_slow_answer_in_two_hundred_does_not(void **state)
{
    struct run run = healthy();
    (void)state;
    begin(&run);
    run.its.slow_share = 0.005;
    run.its.slow_ms = 1000;
    run.its_a_second = 500;
    assert_int_equal(seconds_until(&run, UP_CAUSE_NONE, 3600), -1);
    end(&run);
}

static void fewer_than_fifty_answers_say_nothing(void **state)
{
    struct run run = healthy();
    (void)state;
    begin(&run);
    run.its_a_second = 1;
    run.its.failures = 1;
    assert_int_equal(seconds_until(&run, UP_CAUSE_NONE, 3600), -1); /* 30 in the window */
    end(&run);
}

static void what_is_not_to_be_judged_is_not(void **state)
{
    struct run run = healthy();
    (void)state;
    run.split.back.p99_above = 0;
    begin(&run);
    run.its.fast_ms = 500;
    assert_int_equal(seconds_until(&run, UP_CAUSE_NONE, 600), -1);
    end(&run);
    run = healthy();
    run.split.back.errors_above = 0;
    begin(&run);
    run.its.failures = 0.5;
    assert_int_equal(seconds_until(&run, UP_CAUSE_NONE, 600), -1);
    end(&run);
}

static void what_an_open_breaker_keeps_away_has_failed_only_if_the_pool_fails_now(void **state)
{
    const struct up_tally failing = {.requests = 25, .failures = 20, .skipped = 100};
    const struct up_tally mended = {.requests = 25, .failures = 0, .skipped = 100};
    const struct up_tally unknown = {.skipped = 100};
    const struct cfg_split split = {.back = {.errors_above = 0.02, .window_s = 30}};
    const struct up_tally own = {.requests = 1000};
    struct up_tally met = up_tally_met(&failing);
    (void)state;
    assert_int_equal(met.requests, 125);
    assert_int_equal(met.failures, 120);
    assert_int_equal(up_split_judge(&split, &met, &own), UP_CAUSE_ERRORS);
    met = up_tally_met(&mended);
    assert_int_equal(up_split_judge(&split, &met, &own), UP_CAUSE_NONE);
    met = up_tally_met(&unknown);
    assert_int_equal(up_split_judge(&split, &met, &own), UP_CAUSE_NONE);
}

static void what_comes_before_the_first_look_counts(void **state)
{
    struct run run = healthy();
    (void)state;
    run.its.failures = 1;
    begin(&run);
    answer(&run.its, 60);
    run.its_a_second = 0;
    assert_int_equal(second(&run), UP_CAUSE_ERRORS);
    end(&run);
}

/* --- The window. --- */

static void the_window_forgets_what_is_older(void **state)
{
    struct run run = healthy();
    struct up_tally its, own;
    (void)state;
    run.its.fast_ms = 100;
    begin(&run);
    for (int i = 0; i < 100; i++)
        (void)second(&run);
    run.its.fast_ms = 10;
    run.its.failures = 0;
    for (int i = 0; i < 31; i++)
        (void)second(&run);
    up_window_note(run.window, run.now_s, &run.its.so_far, &run.own.so_far, &its, &own);
    assert_int_equal(its.requests, 30 * 50);
    assert_int_equal(own.requests, 30 * 950);
    assert_int_equal(its.failures, 0);
    assert_true(up_tally_p99_ns(&its) < 18 * MS);
    end(&run);
}

static void an_hour_goes_in_steps_of_a_minute(void **state)
{
    struct run run = healthy();
    struct up_tally its, own;
    (void)state;
    run.split.back.window_s = 3600;
    begin(&run);
    for (int i = 0; i < 10000; i++)
        (void)second(&run);
    up_window_note(run.window, run.now_s, &run.its.so_far, &run.own.so_far, &its, &own);
    assert_in_range(its.requests, 3540 * 50, 3600 * 50);
    end(&run);
}

/* --- Latency. --- */

static void a_bucket_holds_its_own_and_all_of_them_everything(void **state)
{
    (void)state;
    for (int64_t ns = 1; ns < INT64_C(1) << 40; ns += 1 + ns / 50) {
        size_t bucket = ps_time_bucket(ns);
        assert_true(bucket < PS_TIME_BUCKETS);
        assert_true(ns >= ps_time_bucket_from_ns(bucket));
        assert_true(bucket + 1 == PS_TIME_BUCKETS || ns < ps_time_bucket_from_ns(bucket + 1));
    }
}

static void the_99th_percentile_is_within_a_fifth(void **state)
{
    struct pool pool = {.slow_share = 0.02, .fast_ms = 5, .slow_ms = 80, .random = 3};
    (void)state;
    answer(&pool, 100000);
    assert_true(fabs((double)up_tally_p99_ns(&pool.so_far) / (double)MS - 80) < 16);
    assert_int_equal(up_tally_p99_ns(&(struct up_tally){0}), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pool_that_is_as_good_as_the_old_one_stays_for_a_day),
        cmocka_unit_test(a_pool_that_only_fails_is_left_as_soon_as_fifty_have_met_it),
        cmocka_unit_test(errors_above_the_bound_against_the_old_pool_take_it_back),
        cmocka_unit_test(errors_that_the_old_pool_has_as_well_do_not),
        cmocka_unit_test(where_nobody_uses_the_old_pool_its_errors_count_as_none),
        cmocka_unit_test(latency_above_the_bound_takes_it_back),
        cmocka_unit_test(one_slow_answer_in_two_hundred_does_not),
        cmocka_unit_test(fewer_than_fifty_answers_say_nothing),
        cmocka_unit_test(what_is_not_to_be_judged_is_not),
        cmocka_unit_test(what_an_open_breaker_keeps_away_has_failed_only_if_the_pool_fails_now),
        cmocka_unit_test(what_comes_before_the_first_look_counts),
        cmocka_unit_test(the_window_forgets_what_is_older),
        cmocka_unit_test(an_hour_goes_in_steps_of_a_minute),
        cmocka_unit_test(a_bucket_holds_its_own_and_all_of_them_everything),
        cmocka_unit_test(the_99th_percentile_is_within_a_fifth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
