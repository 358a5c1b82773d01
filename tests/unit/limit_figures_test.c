/* What the trial of a rule has counted in the last minute, in virtual time. */
#include "tests/unit/check.h"

#include "common/clock.h"
#include "gateway/admission/limits/limit_figures.h"

#define S PS_NS_PER_S

static struct adm_limit_figures *figures;

static int begin(void **state)
{
    (void)state;
    figures = adm_limit_figures_new();
    assert_non_null(figures);
    return 0;
}

static int end(void **state)
{
    (void)state;
    adm_limit_figures_drop(figures);
    return 0;
}

/* One request a second, every other one refused, from second `from` to `to`. */
static void pass(int64_t from, int64_t to)
{
    for (int64_t s = from; s < to; s++) {
        adm_trial_tick(figures, s * S);
        adm_limit_figures_add(figures, (size_t)s % 3, ADM_LIMIT_TRIAL_ASKED);
        if (s % 2 == 0)
            adm_limit_figures_add(figures, (size_t)s % 3, ADM_LIMIT_TRIAL_REFUSED);
    }
}

static void assert_minute(int64_t now_ns, int64_t seconds, int64_t asked, int64_t refused)
{
    struct adm_trial_minute minute;

    adm_trial_minute(figures, now_ns, &minute);
    assert_int_equal(minute.took_ns / S, seconds);
    assert_int_equal(minute.asked, asked);
    assert_int_equal(minute.refused, refused);
}

static void a_trial_of_a_few_seconds_says_how_long_it_has_counted(void **state)
{
    (void)state;
    assert_minute(5 * S, 0, 0, 0);
    pass(10, 20);
    assert_minute(20 * S, 10, 10, 5);
}

static void after_a_minute_only_the_last_one_counts(void **state)
{
    (void)state;
    pass(10, 500);
    assert_minute(500 * S, 60, 60, 30);
}

static void a_minute_without_requests_counts_none(void **state)
{
    (void)state;
    pass(10, 100);
    for (int64_t s = 100; s < 170; s++)
        adm_trial_tick(figures, s * S);
    assert_minute(170 * S, 60, 0, 0);
}

static void other_figures_on_trial_begin_again(void **state)
{
    (void)state;
    pass(10, 100);
    adm_trial_begin(figures);
    pass(100, 105);
    assert_minute(105 * S, 5, 5, 3);
    assert_int_equal(adm_limit_figures_sum(figures, ADM_LIMIT_TRIAL_ASKED), 95);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_trial_of_a_few_seconds_says_how_long_it_has_counted,
                                        begin, end),
        cmocka_unit_test_setup_teardown(after_a_minute_only_the_last_one_counts, begin, end),
        cmocka_unit_test_setup_teardown(a_minute_without_requests_counts_none, begin, end),
        cmocka_unit_test_setup_teardown(other_figures_on_trial_begin_again, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
