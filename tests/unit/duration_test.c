/* How long, as people write it. */
#include "check.h"
#include "common/text/duration.h"
#include "common/text/json.h"

#include <string.h>

static void a_number_with_a_unit_is_read(void **state)
{
    static const struct {
        const char *text;
        int64_t seconds;
    } rows[] = {{"90s", 90},   {"10m", 600}, {"2h", 7200},
                {"1d", 86400}, {"0s", 0},    {"999999999999d", INT64_C(999999999999) * 86400}};

    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        int64_t seconds = -1;
        assert_ok(ps_duration_read(rows[i].text, strlen(rows[i].text), &seconds));
        assert_int_equal(seconds, rows[i].seconds);
    }
}

static void all_else_is_refused(void **state)
{
    static const char *const rows[] = {"",     "600",           "s",   "m",  "1h30m", "1.5h", "-1s",
                                       "+1s",  " 1s",           "1 s", "1S", "01s",   "1w",   "1ms",
                                       "0x1s", "1000000000000s"};
    int64_t seconds = -1;

    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++)
        assert_int_equal(ps_duration_read(rows[i], strlen(rows[i]), &seconds), PS_E_INVALID);
    assert_int_equal(ps_duration_read("1\0s", 3, &seconds), PS_E_INVALID);
    assert_int_equal(seconds, -1);
}

static void in_json_a_number_is_seconds_and_a_text_needs_its_unit(void **state)
{
    static const struct {
        const char *json;
        int64_t seconds; /* -1: a fault */
    } rows[] = {{"{\"a\":600}", 600}, {"{\"a\":\"10m\"}", 600}, {"{\"a\":\"600\"}", -1},
                {"{\"a\":0}", -1},    {"{\"a\":\"2d\"}", -1},   {"{\"a\":true}", -1}};

    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        json_t *json = json_loads(rows[i].json, 0, NULL);
        struct ps_json_reader reader;
        struct ps_fault fault = {0};
        int64_t seconds = -1;
        ps_json_reader_init(&reader, json, "", &fault);
        ps_json_duration(&reader, "a", 1, 86400, &seconds);
        assert_int_equal(ps_json_done(&reader), rows[i].seconds < 0 ? PS_E_INVALID : 0);
        assert_int_equal(seconds, rows[i].seconds);
        assert_string_equal(fault.path, rows[i].seconds < 0 ? "/a" : "");
        json_decref(json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_number_with_a_unit_is_read),
        cmocka_unit_test(all_else_is_refused),
        cmocka_unit_test(in_json_a_number_is_seconds_and_a_text_needs_its_unit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
