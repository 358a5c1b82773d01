/* Arrays that grow. */
#include "tests/unit/check.h"

#include "common/grow.h"

void *__real_realloc(void *at, size_t size);
void *__wrap_realloc(void *at, size_t size);

static bool no_memory;

void *__wrap_realloc(void *at, size_t size)
{
    return no_memory ? NULL : __real_realloc(at, size);
}

static void an_array_keeps_what_it_has_while_it_grows(void **state)
{
    (void)state;
    int *array = NULL;
    size_t room = 0, moves = 0;
    for (size_t i = 0; i < 10000; i++) {
        size_t before = room;
        assert_ok(ps_grow(&array, &room, i + 1, sizeof *array));
        assert_true(room > i);
        moves += room != before;
        array[i] = (int)i;
    }
    for (size_t i = 0; i < 10000; i++)
        assert_int_equal(array[i], i);
    assert_true(moves < 12);
    assert_ok(ps_grow(&array, &room, 100000, sizeof *array));
    assert_true(room >= 100000);
    assert_int_equal(array[9999], 9999);
    free(array);
}

static void without_memory_nothing_changes(void **state)
{
    (void)state;
    char *array = NULL;
    size_t room = 0;
    assert_ok(ps_grow(&array, &room, 1, 1));
    char *before = array;
    size_t had = room;
    no_memory = true;
    assert_int_equal(ps_grow(&array, &room, room + 1, 1), PS_E_NOMEM);
    no_memory = false;
    assert_ptr_equal(array, before);
    assert_int_equal(room, had);
    free(array);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_array_keeps_what_it_has_while_it_grows),
        cmocka_unit_test(without_memory_nothing_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
