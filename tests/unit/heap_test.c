/* The heap of what is due next. */
#include "check.h"
#include "common/heap.h"

static void entries_come_out_in_the_order_of_their_moments(void **state)
{
    static const int64_t moments[] = {50, 10, 40, 10, 30, 20, 60, 0};
    struct ps_heap *heap;
    int64_t last = -1;
    uint64_t value;

    (void)state;
    assert_ok(ps_heap_new(2, 100, &heap));
    for (size_t i = 0; i < PS_ARRAY_LEN(moments); i++)
        assert_ok(ps_heap_put(heap, moments[i], i));
    for (size_t i = 0; i < PS_ARRAY_LEN(moments); i++) {
        assert_true(ps_heap_take(heap, 100, &value));
        assert_true(moments[value] >= last);
        last = moments[value];
    }
    assert_int_equal(ps_heap_count(heap), 0);
    ps_heap_free(heap);
}

static void nothing_comes_out_before_its_moment(void **state)
{
    struct ps_heap *heap;
    uint64_t value;

    (void)state;
    assert_ok(ps_heap_new(1, 1, &heap));
    assert_true(ps_heap_next_ns(heap) == INT64_MAX);
    assert_ok(ps_heap_put(heap, 10, 7));
    assert_true(ps_heap_next_ns(heap) == 10);
    assert_false(ps_heap_take(heap, 9, &value));
    assert_true(ps_heap_take(heap, 10, &value));
    assert_int_equal(value, 7);
    ps_heap_free(heap);
}

static void a_full_heap_refuses_and_keeps_what_it_has(void **state)
{
    struct ps_heap *heap;
    uint64_t value;

    (void)state;
    assert_ok(ps_heap_new(0, 3, &heap));
    for (uint64_t i = 0; i < 3; i++)
        assert_ok(ps_heap_put(heap, (int64_t)i, i));
    assert_int_equal(ps_heap_put(heap, 0, 9), PS_E_FULL);
    assert_int_equal(ps_heap_count(heap), 3);
    assert_true(ps_heap_take(heap, 5, &value));
    assert_int_equal(value, 0);
    ps_heap_free(heap);
}

/* A thousand random puts and takes against a sorted list's answer: the least first. */
static void random_schedules_agree_with_a_plain_search(void **state)
{
    int64_t model[1000];
    size_t count = 0;
    uint32_t seed = 12345;
    struct ps_heap *heap;

    (void)state;
    assert_ok(ps_heap_new(16, 1000, &heap));
    for (int step = 0; step < 20000; step++) {
        seed = seed * 1664525u + 1013904223u;
        if (count < 1000 && (seed >> 16) % 3 != 0) {
            int64_t at = (int64_t)(seed % 500);
            assert_ok(ps_heap_put(heap, at, (uint64_t)at));
            model[count++] = at;
        } else if (count > 0) {
            size_t least = 0;
            uint64_t value;
            for (size_t i = 1; i < count; i++)
                if (model[i] < model[least])
                    least = i;
            assert_true(ps_heap_take(heap, INT64_MAX, &value));
            assert_true((int64_t)value == model[least]);
            model[least] = model[--count];
        }
    }
    ps_heap_free(heap);
}

static void a_dropped_entry_never_comes_out_and_the_others_do_in_order(void **state)
{
    enum { ENTRIES = 200 };
    struct ps_heap *heap;
    uint64_t value, seed = 1;
    int64_t moment[ENTRIES], last = -1;
    size_t left = ENTRIES;

    (void)state;
    assert_ok(ps_heap_new(0, ENTRIES, &heap));
    for (size_t i = 0; i < ENTRIES; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        moment[i] = (int64_t)(seed >> 40);
        assert_ok(ps_heap_put(heap, moment[i], i));
    }
    for (uint64_t i = 0; i < ENTRIES; i += 3, left--)
        ps_heap_drop(heap, i);
    ps_heap_drop(heap, 0); /* is not there any more */
    assert_int_equal(ps_heap_count(heap), left);
    for (; ps_heap_take(heap, INT64_MAX, &value); left--) {
        assert_true(value % 3 != 0 && moment[value] >= last);
        last = moment[value];
    }
    assert_int_equal(left, 0);
    ps_heap_free(heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_come_out_in_the_order_of_their_moments),
        cmocka_unit_test(nothing_comes_out_before_its_moment),
        cmocka_unit_test(a_full_heap_refuses_and_keeps_what_it_has),
        cmocka_unit_test(random_schedules_agree_with_a_plain_search),
        cmocka_unit_test(a_dropped_entry_never_comes_out_and_the_others_do_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
