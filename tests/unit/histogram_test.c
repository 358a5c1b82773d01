/* The log-linear histogram, against sorted values. */
#include "tests/unit/check.h"

#include "common/defs.h"
#include "common/metrics/histogram.h"

#include <math.h>
#include <stdlib.h>

#define VALUES 20000

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Spread over all powers of two from 1 us to 100 s. */
static uint64_t value_of(uint64_t *random)
{
    *random = *random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    uint64_t power = 10 + (*random >> 33) % 27;
    return (UINT64_C(1) << power) + ((*random >> 7) & ((UINT64_C(1) << power) - 1));
}

static void percentiles_are_near_and_never_below(void **state)
{
    (void)state;
    static struct ps_histogram histogram;
    static uint64_t values[VALUES];
    static const double percentiles[] = {0.1, 1, 25, 50, 75, 90, 99, 99.9, 100};
    uint64_t random = 1;
    ps_histogram_init(&histogram);
    for (size_t i = 0; i < VALUES; i++) {
        values[i] = value_of(&random);
        ps_histogram_record(&histogram, values[i]);
    }
    qsort(values, VALUES, sizeof values[0], compare);
    for (size_t i = 0; i < PS_ARRAY_LEN(percentiles); i++) {
        uint64_t exact = values[(size_t)ceil(percentiles[i] * VALUES / 100) - 1];
        uint64_t got = ps_histogram_percentile(&histogram, percentiles[i]);
        assert_true(got >= exact);
        assert_true((double)(got - exact) <= 0.016 * (double)exact);
    }
    assert_true(ps_histogram_percentile(&histogram, 0) == values[0]);
    assert_true(ps_histogram_percentile(&histogram, 100) == values[VALUES - 1]);
    assert_int_equal(histogram.count, VALUES);
}

/* 99.9 % of 20,000 are 19,980 records, though 99.9 is not exact. */
static void a_percentile_counts_no_record_too_many(void **state)
{
    (void)state;
    struct ps_histogram histogram;
    for (uint64_t thousands = 1; thousands <= 50; thousands++) {
        ps_histogram_init(&histogram);
        for (uint64_t i = 0; i < thousands * 1000; i++)
            ps_histogram_record(&histogram, i < thousands * 999 ? 10 : 100);
        assert_int_equal(ps_histogram_percentile(&histogram, 99.9), 10);
    }
}

static void an_empty_histogram_says_zero(void **state)
{
    (void)state;
    struct ps_histogram histogram;
    ps_histogram_init(&histogram);
    assert_int_equal(ps_histogram_percentile(&histogram, 50), 0);
    assert_int_equal(histogram.max_ns, 0);
}

static void extremes_are_counted_and_kept(void **state)
{
    (void)state;
    struct ps_histogram histogram;
    ps_histogram_init(&histogram);
    ps_histogram_record(&histogram, 0);
    ps_histogram_record(&histogram, UINT64_C(1) << 40);
    assert_int_equal(ps_histogram_percentile(&histogram, 50), 0);
    assert_true(ps_histogram_percentile(&histogram, 100) == UINT64_C(1) << 40);
    for (uint64_t ns = 0; ns < 300; ns++) {
        ps_histogram_init(&histogram);
        ps_histogram_record(&histogram, ns);
        assert_int_equal(ps_histogram_percentile(&histogram, 50), ns);
    }
}

static void merging_is_like_recording_into_one(void **state)
{
    (void)state;
    static struct ps_histogram parts[2], whole;
    uint64_t random = 7;
    ps_histogram_init(&parts[0]);
    ps_histogram_init(&parts[1]);
    ps_histogram_init(&whole);
    for (size_t i = 0; i < 1000; i++) {
        uint64_t ns = value_of(&random);
        ps_histogram_record(&parts[i % 2], ns);
        ps_histogram_record(&whole, ns);
    }
    ps_histogram_merge(&parts[0], &parts[1]);
    assert_memory_equal(&parts[0], &whole, sizeof whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(percentiles_are_near_and_never_below),
        cmocka_unit_test(a_percentile_counts_no_record_too_many),
        cmocka_unit_test(an_empty_histogram_says_zero),
        cmocka_unit_test(extremes_are_counted_and_kept),
        cmocka_unit_test(merging_is_like_recording_into_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
