/* What a client wants, by Accept. */
#include "tests/unit/check.h"

#include "common/http/accept.h"

#define OPEN "application/openmetrics-text"

static void the_most_specific_range_decides(void **state)
{
    static const struct {
        const char *accept;
        int open, text;
        bool named;
    } cases[] = {
        {"*/*", 1000, 1000, false},
        {"text/*", 0, 1000, false},
        {OPEN, 1000, 0, true},
        {"Application/OpenMetrics-Text;q=0.5,text/plain;q=0.2", 500, 200, true},
        {OPEN ";version=1.0.0;q=0.8," OPEN ";version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,"
              "*/*;q=0.1",
         800, 500, true},
        {OPEN "; version=\"1.0.0\" ; q=0.4", 400, 0, true},
        {OPEN ";version=2.0.0, text/plain", 0, 1000, false},
        {OPEN ";q=0, */*", 0, 1000, true},
        {"application/*;q=0.3, */*;q=0.7", 300, 700, false},
        {OPEN ";q=1.000", 1000, 0, true},
        /* Malformed: no range. */
        {OPEN ";q=1.001", 0, 0, false},
        {OPEN ";q=2", 0, 0, false},
        {OPEN ";q=", 0, 0, false},
        {OPEN ";q=0.1234", 0, 0, false},
        {OPEN ";q=-1, text/plain;q=x", 0, 0, false},
        {"", 0, 0, false},
        {",,;;==,;q=1,/", 0, 0, false},
        {"application/openmetrics-tex, application/openmetrics-text2, application/", 0, 0, false},
        {OPEN ";version", 0, 0, false},
    };

    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        bool named = !cases[i].named;
        int open = ps_http_quality(ps_str(cases[i].accept), OPEN, "1.0.0", &named);
        int text = ps_http_quality(ps_str(cases[i].accept), "text/plain", "0.0.4", NULL);
        if (open != cases[i].open || text != cases[i].text || named != cases[i].named)
            fail_msg("\"%s\": %d %d %d", cases[i].accept, open, text, named);
    }
}

static void without_the_field_everything_is_as_good(void **state)
{
    const struct ps_str absent = {NULL, 0};
    bool named = true;

    (void)state;
    assert_int_equal(ps_http_quality(absent, OPEN, "1.0.0", &named), 1000);
    assert_false(named);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_most_specific_range_decides),
        cmocka_unit_test(without_the_field_everything_is_as_good),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
