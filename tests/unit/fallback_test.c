/* Which fallback answers: in the order of the document, skipping those that cannot. */
#include "tests/unit/check.h"

#include "gateway/upstream/fallback.h"

static struct cfg_fallback all[] = {{.kind = CFG_FALLBACK_STALE},
                                    {.kind = CFG_FALLBACK_POOL, .pool = "backup"},
                                    {.kind = CFG_FALLBACK_POOL, .pool = "spare"},
                                    {.kind = CFG_FALLBACK_STATIC},
                                    {.kind = CFG_FALLBACK_PROBLEM}};
static const struct cfg_route route = {.fallback_count = PS_ARRAY_LEN(all), .fallbacks = all};

static void each_is_tried_in_order_and_the_static_one_always_answers(void **state)
{
    static const struct {
        struct up_fallback_offer offer;
        size_t from, next;
    } cases[] = {
        {{.stale = true, .sendable = true, .pools = 6}, 0, 0}, /* all could: the first */
        {{.stale = false, .sendable = true, .pools = 6}, 0, 1},
        {{.stale = true, .sendable = true, .pools = 6}, 1, 1}, /* stale has been tried */
        {{.stale = false, .sendable = true, .pools = 4}, 0, 2},
        {{.stale = false, .sendable = true, .pools = 4}, 3, 3},
        {{.stale = false, .sendable = true, .pools = 0}, 0, 3},
        {{.stale = false, .sendable = false, .pools = 6}, 0, 3}, /* its body is gone */
        {{.stale = false, .sendable = false, .pools = 6}, 4, 4},
        {{.stale = true, .sendable = true, .pools = 6}, 5, 5}, /* none is left */
    };
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++)
        assert_int_equal(up_fallback_next(&route, cases[i].from, &cases[i].offer), cases[i].next);
}

static void a_route_without_fallbacks_has_none(void **state)
{
    const struct cfg_route bare = {.fallback_count = 0};
    const struct up_fallback_offer offer = {.stale = true, .sendable = true, .pools = 1};
    (void)state;
    assert_int_equal(up_fallback_next(&bare, 0, &offer), 0);
}

static void where_nothing_can_answer_none_is_left(void **state)
{
    const struct cfg_route weak = {.fallback_count = 3, .fallbacks = all};
    const struct up_fallback_offer offer = {.stale = false, .sendable = false, .pools = 6};
    (void)state;
    assert_int_equal(up_fallback_next(&weak, 0, &offer), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_tried_in_order_and_the_static_one_always_answers),
        cmocka_unit_test(a_route_without_fallbacks_has_none),
        cmocka_unit_test(where_nothing_can_answer_none_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
