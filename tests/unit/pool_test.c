/* The fixed pool and its handles. */
#include "tests/unit/check.h"

#include "common/err.h"
#include "common/pool.h"

#define SLOTS 16

static int make_pool(void **state)
{
    struct ps_pool *pool = NULL;
    int err = ps_pool_new(SLOTS, 100, &pool);
    *state = pool;
    return err;
}

static int free_pool(void **state)
{
    ps_pool_free(*state);
    return 0;
}

static void a_pool_gives_each_slot_once_and_then_none(void **state)
{
    struct ps_pool *pool = *state;
    char *slot[SLOTS];
    for (int i = 0; i < SLOTS; i++) {
        slot[i] = ps_pool_take(pool);
        assert_non_null(slot[i]);
        assert_int_equal((uintptr_t)slot[i] % PS_CACHE_LINE, 0);
        memset(slot[i], i, 100);
    }
    assert_null(ps_pool_take(pool));
    assert_int_equal(ps_pool_used(pool), SLOTS);
    for (int i = 0; i < SLOTS; i++) {
        assert_int_equal(slot[i][0], i); /* nobody wrote into a neighbour's slot */
        assert_int_equal(slot[i][99], i);
        ps_pool_give(pool, slot[i]);
    }
    assert_int_equal(ps_pool_used(pool), 0);
    assert_non_null(ps_pool_take(pool));
}

static void a_handle_finds_its_slot_until_it_is_given_back(void **state)
{
    struct ps_pool *pool = *state;
    void *slot = ps_pool_take(pool);
    uint64_t handle = ps_pool_handle(pool, slot);
    assert_true(handle != 0);
    assert_ptr_equal(ps_pool_find(pool, handle), slot);
    ps_pool_give(pool, slot);
    assert_null(ps_pool_find(pool, handle));
    assert_ptr_equal(ps_pool_take(pool), slot); /* the same slot, another life */
    assert_null(ps_pool_find(pool, handle));
    assert_ptr_equal(ps_pool_find(pool, ps_pool_handle(pool, slot)), slot);
}

static void foreign_handles_find_nothing(void **state)
{
    struct ps_pool *pool = *state;
    assert_null(ps_pool_find(pool, 0));
    assert_null(ps_pool_find(pool, UINT64_MAX));
    for (uint64_t index = 0; index < SLOTS + 2; index++) {
        assert_null(ps_pool_find(pool, index));
        assert_null(ps_pool_find(pool, UINT64_C(1) << 32 | index));
    }
}

static void impossible_pools_are_refused(void **state)
{
    (void)state;
    struct ps_pool *pool = NULL;
    assert_int_equal(ps_pool_new(0, 8, &pool), PS_E_INVALID);
    assert_int_equal(ps_pool_new(8, 0, &pool), PS_E_INVALID);
    assert_int_equal(ps_pool_new((size_t)UINT32_MAX + 1, 8, &pool), PS_E_INVALID);
    assert_null(pool);
    ps_pool_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_pool_gives_each_slot_once_and_then_none, make_pool,
                                        free_pool),
        cmocka_unit_test_setup_teardown(a_handle_finds_its_slot_until_it_is_given_back, make_pool,
                                        free_pool),
        cmocka_unit_test_setup_teardown(foreign_handles_find_nothing, make_pool, free_pool),
        cmocka_unit_test(impossible_pools_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
