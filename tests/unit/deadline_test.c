/* Deadlines of connections: order, replacement, the next one. */
#include "gateway/front/deadline.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void init(struct gw_deadlines *deadlines, struct gw_deadline *entries, size_t count)
{
    gw_deadlines_init(deadlines);
    for (int kind = 0; kind < GW_DEADLINE_KINDS; kind++)
        deadlines->delay_ns[kind] = 10 * (kind + 1);
    for (size_t i = 0; i < count; i++)
        gw_deadline_init(&entries[i]);
}

static void the_nearest_of_all_kinds_is_next(void **state)
{
    struct gw_deadlines deadlines;
    struct gw_deadline entries[3];
    (void)state;
    init(&deadlines, entries, 3);
    assert_int_equal(gw_deadline_next_ns(&deadlines), INT64_MAX);
    gw_deadline_set(&deadlines, &entries[0], GW_DEADLINE_BODY, 0);
    assert_int_equal(gw_deadline_next_ns(&deadlines), 40);
    gw_deadline_set(&deadlines, &entries[1], GW_DEADLINE_HEAD, 5);
    gw_deadline_set(&deadlines, &entries[2], GW_DEADLINE_HEAD, 6);
    assert_int_equal(gw_deadline_next_ns(&deadlines), 15);
    assert_null(gw_deadline_due(&deadlines, 14));
    assert_ptr_equal(gw_deadline_due(&deadlines, 40), &entries[1]);
}

static void a_connection_has_one_deadline_at_a_time(void **state)
{
    struct gw_deadlines deadlines;
    struct gw_deadline entries[2];
    (void)state;
    init(&deadlines, entries, 2);
    gw_deadline_set(&deadlines, &entries[0], GW_DEADLINE_HEAD, 0);
    gw_deadline_set(&deadlines, &entries[1], GW_DEADLINE_HEAD, 0);
    gw_deadline_set(&deadlines, &entries[0], GW_DEADLINE_BODY, 0);
    assert_ptr_equal(gw_deadline_due(&deadlines, 10), &entries[1]);
    gw_deadline_clear(&entries[1]);
    assert_null(gw_deadline_due(&deadlines, 39));
    assert_ptr_equal(gw_deadline_due(&deadlines, 40), &entries[0]);
    gw_deadline_clear(&entries[0]);
    gw_deadline_clear(&entries[0]);
    assert_int_equal(gw_deadline_next_ns(&deadlines), INT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nearest_of_all_kinds_is_next),
        cmocka_unit_test(a_connection_has_one_deadline_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
