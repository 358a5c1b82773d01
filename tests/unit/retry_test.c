/* The retry budget in virtual time: how many retries there are for how many requests. */
#include "tests/unit/check.h"

#include "common/clock.h"
#include "gateway/upstream/retry.h"

#define SHARE 0.2

/* Requests at this rate for so long, each of which would be retried; the retries. */
static int64_t run(struct up_pool_cell *cell, double share, size_t workers, int64_t *now_ns,
                   int per_s, int seconds)
{
    int64_t retries = 0;
    for (int64_t i = 0; i < (int64_t)per_s * seconds; i++) {
        *now_ns += PS_NS_PER_S / per_s;
        up_retry_earn(cell, share, workers, *now_ns);
        retries += up_retry_may(cell, share);
    }
    return retries;
}

static void under_load_a_fifth_of_the_requests_is_retried(void **unused)
{
    (void)unused;
    const int rates[] = {20, 100, 1000, 20000};
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        struct up_pool_cell cell = {0};
        int64_t now_ns = 1;
        run(&cell, SHARE, 1, &now_ns, rates[i], 60); /* what the first request had is used */
        int64_t requests = (int64_t)rates[i] * 60;
        int64_t retries = run(&cell, SHARE, 1, &now_ns, rates[i], 60);
        assert_in_range(retries, requests * 19 / 100, requests * 20 / 100 + 1);
    }
}

static void few_requests_have_three_retries_a_second(void **unused)
{
    (void)unused;
    for (size_t workers = 1; workers <= 4; workers *= 2) { /* four requests a second in all */
        int64_t retries = 0;
        for (size_t i = 0; i < workers; i++) {
            struct up_pool_cell cell = {0};
            int64_t now_ns = 1;
            run(&cell, SHARE, workers, &now_ns, 4 / (int)workers, 60);
            retries += run(&cell, SHARE, workers, &now_ns, 4 / (int)workers, 60);
        }
        assert_in_range(retries, 150, 180 + workers);
    }
}

static void a_pool_may_retry_its_first_request_however_many_workers_there_are(void **unused)
{
    (void)unused;
    struct up_pool_cell cell = {0};
    up_retry_earn(&cell, SHARE, 16, 1);
    assert_true(up_retry_may(&cell, SHARE));
    assert_false(up_retry_may(&cell, SHARE));
}

static void what_is_saved_is_worth_ten_seconds(void **unused)
{
    (void)unused;
    struct up_pool_cell cell = {0};
    int64_t now_ns = 1;
    for (int i = 0; i < 1000 * 3600; i++) /* an hour without a failure */
        up_retry_earn(&cell, SHARE, 1, now_ns += PS_NS_PER_S / 1000);
    int64_t retries = 0;
    while (up_retry_may(&cell, SHARE))
        retries++;
    assert_in_range(retries, 1990, 2001); /* 1000 a second * 0.2 * 10 s */
}

static void a_pause_leaves_what_the_least_rate_gives_in_ten_seconds(void **unused)
{
    (void)unused;
    struct up_pool_cell cell = {0};
    int64_t now_ns = 1;
    for (int i = 0; i < 100000; i++)
        up_retry_earn(&cell, SHARE, 1, now_ns += PS_NS_PER_S / 1000);
    up_retry_earn(&cell, SHARE, 1, now_ns += 3600 * PS_NS_PER_S);
    int64_t retries = 0;
    while (up_retry_may(&cell, SHARE))
        retries++;
    assert_int_equal(retries, 30);
}

static void without_a_budget_nothing_is_retried(void **unused)
{
    (void)unused;
    struct up_pool_cell cell = {0};
    int64_t now_ns = 1;
    assert_int_equal(run(&cell, 0, 1, &now_ns, 100, 60), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(under_load_a_fifth_of_the_requests_is_retried),
        cmocka_unit_test(few_requests_have_three_retries_a_second),
        cmocka_unit_test(a_pool_may_retry_its_first_request_however_many_workers_there_are),
        cmocka_unit_test(what_is_saved_is_worth_ten_seconds),
        cmocka_unit_test(a_pause_leaves_what_the_least_rate_gives_in_ten_seconds),
        cmocka_unit_test(without_a_budget_nothing_is_retried),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
