/* Clocks and dates. */
#include "tests/unit/check.h"

#include "common/clock.h"
#include "common/err.h"

#include <stdio.h>
#include <time.h>

static int64_t parsed(const char *text)
{
    int64_t wall_ms = INT64_MIN;
    return ps_time_parse(text, strlen(text), &wall_ms) == 0 ? wall_ms : INT64_MIN;
}

/* As of the year 2026. */
static int64_t http_date(const char *text)
{
    int64_t wall_ms = INT64_MIN;
    int err = ps_http_date_parse(text, strlen(text), INT64_C(1790000000000), &wall_ms);
    return err == 0 ? wall_ms : INT64_MIN;
}

static void a_manual_clock_stands_until_it_is_told(void **state)
{
    (void)state;
    struct ps_clock_manual manual;
    ps_clock_manual_init(&manual, 5, 7);
    assert_int_equal(ps_clock_mono_ns(&manual.clock), 5);
    assert_int_equal(ps_clock_wall_ms(&manual.clock), 7);
    manual.mono_ns += PS_NS_PER_S;
    assert_int_equal(ps_clock_mono_ns(&manual.clock), 5 + PS_NS_PER_S);
}

static void the_system_clock_never_goes_back(void **state)
{
    (void)state;
    int64_t last = ps_clock_mono_ns(&ps_clock_system);
    for (int i = 0; i < 1000; i++) {
        int64_t now = ps_clock_mono_ns(&ps_clock_system);
        assert_true(now >= last);
        last = now;
    }
    int64_t since = ps_clock_wall_ms(&ps_clock_system) - (int64_t)time(NULL) * 1000;
    assert_in_range(since + 5000, 0, 10000);
}

static void dates_agree_with_libc(void **state)
{
    (void)state;
    static const char *const weekdays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    /* A step of some 17 days with an odd rest meets every month, leap year and weekday. */
    for (int64_t s = -62167219200; s <= 253402300799; s += 1471237) {
        time_t seconds = (time_t)s;
        struct tm tm;
        assert_non_null(gmtime_r(&seconds, &tm));
        char want[64], got[PS_TIME_LEN + 1], date[PS_HTTP_DATE_LEN + 1];
        snprintf(want, sizeof want, "%04d-%02d-%02dT%02d:%02d:%02d.123Z", tm.tm_year + 1900,
                 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
        ps_time_format(s * 1000 + 123, got);
        assert_string_equal(got, want);
        assert_true(parsed(got) == s * 1000 + 123);
        snprintf(want, sizeof want, "%s, %02d %s %04d %02d:%02d:%02d GMT", weekdays[tm.tm_wday],
                 tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min,
                 tm.tm_sec);
        ps_http_date_format(s * 1000 + 999, date);
        assert_string_equal(date, want);
        assert_true(http_date(date) == s * 1000);
    }
}

static void the_three_forms_of_http_dates_are_understood(void **state)
{
    (void)state;
    const int64_t want = INT64_C(784111777000);
    assert_true(http_date("Sun, 06 Nov 1994 08:49:37 GMT") == want);
    assert_true(http_date("Sunday, 06-Nov-94 08:49:37 GMT") == want);
    assert_true(http_date("Sun Nov  6 08:49:37 1994") == want);
    assert_true(http_date("sUN, 06 NOV 1994 08:49:37 gmt") == want);
    /* Two digits are at most 50 years ahead: here of 2026. */
    assert_true(http_date("Thursday, 18-Aug-50 02:01:18 GMT") == INT64_C(2544400878000));
    assert_true(http_date("Sunday, 18-Aug-76 02:01:18 GMT") > INT64_C(3000000000000));
    assert_true(http_date("Wednesday, 18-Aug-77 02:01:18 GMT") < INT64_C(300000000000));
    static const char *const bad[] = {"",
                                      "0",
                                      "Thu, 18 Aug 2050 02:01:18 UTC",
                                      "Thu, 18 Aug 50 02:01:18 GMT",
                                      "Thu 18 Aug 2050 02:01:18 GMT",
                                      "Thu, 18  Aug  2050 02:01:18 GMT",
                                      "Thu, 18-Aug-2050 02:01:18 GMT",
                                      "Thu, 18 Aug 2050 02.01.18 GMT",
                                      "Thu, 18 Aug 2050 2:01:18 GMT",
                                      "Thu, 30 Feb 2050 02:01:18 GMT",
                                      "Thu, 18 Aug 2050 24:01:18 GMT",
                                      "Thu, 18 Aug 2050 02:01:18 GMT ",
                                      "Thu",
                                      "Thu,",
                                      "Thur, 18 Aug 2050 02:01:18 GMT",
                                      "18 Aug 2050 02:01:18 GMT"};
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++) {
        if (http_date(bad[i]) != INT64_MIN)
            fail_msg("%s", bad[i]);
    }
}

static void times_out_of_range_print_as_the_end_of_it(void **state)
{
    (void)state;
    char text[PS_TIME_LEN + 1];
    ps_time_format(INT64_MAX, text);
    assert_string_equal(text, "9999-12-31T23:59:59.999Z");
    ps_time_format(INT64_MIN, text);
    assert_string_equal(text, "0000-01-01T00:00:00.000Z");
}

static void any_offset_and_fraction_is_understood(void **state)
{
    (void)state;
    assert_int_equal(parsed("1970-01-01T00:00:00Z"), 0);
    assert_int_equal(parsed("1970-01-01t00:00:00z"), 0);
    assert_int_equal(parsed("1970-01-01T08:00:00+08:00"), 0);
    assert_int_equal(parsed("1969-12-31T18:30:00-05:30"), 0);
    assert_int_equal(parsed("1970-01-01T00:00:00.1Z"), 100);
    assert_int_equal(parsed("1970-01-01T00:00:00.999999999Z"), 999);
    assert_int_equal(parsed("1969-12-31T23:59:59.999-00:00"), -1);
    assert_int_equal(parsed("2000-02-29T00:00:00Z"), INT64_C(951782400000));
}

static void what_is_no_time_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "2030-11-11",
        "2030-11-11T10:00:00",
        "2030-11-11T10:00Z",
        "2030-11-11 10:00:00Z",
        "2030-11-11T10:00:00+0800",
        "2030-11-11T10:00:00+24:00",
        "2030-11-11T10:00:00+08:60",
        "2030-11-11T10:00:00.Z",
        "2030-11-11T10:00:00.1234567890Z",
        "2030-11-11T10:00:60Z",
        "2030-11-11T24:00:00Z",
        "2030-13-11T10:00:00Z",
        "2030-00-11T10:00:00Z",
        "2030-11-31T10:00:00Z",
        "2030-11-00T10:00:00Z",
        "2023-02-29T10:00:00Z",
        "1900-02-29T10:00:00Z",
        "2030-11-11T10:00:00Z ",
        " 2030-11-11T10:00:00Z",
        "+030-11-11T10:00:00Z",
        "0000-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++) {
        int64_t wall_ms = 42;
        if (ps_time_parse(bad[i], strlen(bad[i]), &wall_ms) != PS_E_INVALID || wall_ms != 42)
            fail_msg("%s", bad[i]);
    }
    int64_t wall_ms;
    assert_int_equal(ps_time_parse("1970-01-01T00:00:00\0Z", 21, &wall_ms), PS_E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_manual_clock_stands_until_it_is_told),
        cmocka_unit_test(the_system_clock_never_goes_back),
        cmocka_unit_test(dates_agree_with_libc),
        cmocka_unit_test(the_three_forms_of_http_dates_are_understood),
        cmocka_unit_test(times_out_of_range_print_as_the_end_of_it),
        cmocka_unit_test(any_offset_and_fraction_is_understood),
        cmocka_unit_test(what_is_no_time_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
