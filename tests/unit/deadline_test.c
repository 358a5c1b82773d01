/* Deadlines of connections: order, replacement, the next one. */
#include "gateway/server/deadline.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void init(struct srv_deadlines *deadlines, struct srv_deadline *entries, size_t count)
{
    srv_deadlines_init(deadlines);
    for (int kind = 0; kind < SRV_DEADLINE_KINDS; kind++)
        deadlines->delay_ns[kind] = 10 * (kind + 1);
    for (size_t i = 0; i < count; i++)
        srv_deadline_init(&entries[i]);
}

static void the_nearest_of_all_kinds_is_next(void **state)
{
    struct srv_deadlines deadlines;
    struct srv_deadline entries[3];
    (void)state;
    init(&deadlines, entries, 3);
    assert_int_equal(srv_deadline_next_ns(&deadlines), INT64_MAX);
    srv_deadline_set(&deadlines, &entries[0], SRV_DEADLINE_BODY, 0);
    assert_int_equal(srv_deadline_next_ns(&deadlines), 40);
    srv_deadline_set(&deadlines, &entries[1], SRV_DEADLINE_HEAD, 5);
    srv_deadline_set(&deadlines, &entries[2], SRV_DEADLINE_HEAD, 6);
    assert_int_equal(srv_deadline_next_ns(&deadlines), 15);
    assert_null(srv_deadline_due(&deadlines, 14));
    assert_ptr_equal(srv_deadline_due(&deadlines, 40), &entries[1]);
}

static void a_connection_has_one_deadline_at_a_time(void **state)
{
    struct srv_deadlines deadlines;
    struct srv_deadline entries[2];
    (void)state;
    init(&deadlines, entries, 2);
    srv_deadline_set(&deadlines, &entries[0], SRV_DEADLINE_HEAD, 0);
    srv_deadline_set(&deadlines, &entries[1], SRV_DEADLINE_HEAD, 0);
    srv_deadline_set(&deadlines, &entries[0], SRV_DEADLINE_BODY, 0);
    assert_ptr_equal(srv_deadline_due(&deadlines, 10), &entries[1]);
    srv_deadline_clear(&entries[1]);
    assert_null(srv_deadline_due(&deadlines, 39));
    assert_ptr_equal(srv_deadline_due(&deadlines, 40), &entries[0]);
    srv_deadline_clear(&entries[0]);
    srv_deadline_clear(&entries[0]);
    assert_int_equal(srv_deadline_next_ns(&deadlines), INT64_MAX);
}

static void who_is_due_for_longest_comes_first_whatever_the_kind(void **state)
{
    struct srv_deadlines deadlines;
    struct srv_deadline entries[2];
    (void)state;
    init(&deadlines, entries, 2);
    srv_deadline_set(&deadlines, &entries[0], SRV_DEADLINE_BODY, 0);
    srv_deadline_set(&deadlines, &entries[1], SRV_DEADLINE_HEAD, 35);
    assert_ptr_equal(srv_deadline_due(&deadlines, 50), &entries[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nearest_of_all_kinds_is_next),
        cmocka_unit_test(a_connection_has_one_deadline_at_a_time),
        cmocka_unit_test(who_is_due_for_longest_comes_first_whatever_the_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
