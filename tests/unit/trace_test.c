/* The trace of a request, as it is passed on. */
#include "check.h"
#include "gateway/orders/trace.h"

#include <string.h>

static void a_good_trace_goes_on_and_a_bad_one_starts_anew(void **state)
{
    static const char good[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    static const char *const bad[] = {"",
                                      "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                                      "00-00000000000000000000000000000000-b7ad6b7169203331-01",
                                      "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
                                      "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                                      "garbage"};
    char memory[PS_TRACEPARENT_LEN + 1], again[PS_TRACEPARENT_LEN + 1];
    struct ps_uuid_source ids;

    (void)state;
    ps_uuid_source_init(&ids);
    assert_int_equal(ord_trace_next((struct ps_str){0}, &ids, 1, memory).len, 0);
    assert_ptr_equal(ord_trace_next((struct ps_str){good, PS_TRACEPARENT_LEN}, &ids, 1, memory).at,
                     good);
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++) {
        struct ps_str next =
            ord_trace_next((struct ps_str){bad[i], strlen(bad[i])}, &ids, 1, memory);
        assert_ptr_equal(next.at, memory);
        assert_ptr_equal(ord_trace_next(next, &ids, 1, again).at, next.at); /* it is good */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_trace_goes_on_and_a_bad_one_starts_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
