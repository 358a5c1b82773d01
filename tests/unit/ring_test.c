/* The bounded ring: many producers, one consumer. */
#include "tests/unit/check.h"

#include "common/err.h"
#include "common/ring.h"

#include <pthread.h>
#include <sched.h>

#define PRODUCERS 3
#define EACH      20000

struct item {
    uint32_t producer;
    uint32_t number;
    uint64_t check[3]; /* all the same: a torn item shows */
};

static bool push(struct ps_ring *ring, uint32_t producer, uint32_t number)
{
    struct item *item = ps_ring_reserve(ring);
    if (item == NULL)
        return false;
    uint64_t check = (uint64_t)producer << 32 | number;
    *item = (struct item){producer, number, {check, check, check}};
    ps_ring_publish(ring, item);
    return true;
}

static void a_ring_holds_exactly_its_capacity(void **state)
{
    (void)state;
    struct ps_ring *ring = NULL;
    assert_ok(ps_ring_new(5, sizeof(struct item), &ring));
    assert_int_equal(ps_ring_capacity(ring), 8);
    for (uint32_t round = 0; round < 10; round++) {
        for (uint32_t i = 0; i < 8; i++)
            assert_true(push(ring, round, i));
        assert_false(push(ring, round, 8));
        for (uint32_t i = 0; i < 8; i++) {
            const struct item *item = ps_ring_front(ring);
            assert_non_null(item);
            assert_int_equal(item->number, i);
            assert_int_equal(item->producer, round);
            ps_ring_pop(ring);
        }
        assert_null(ps_ring_front(ring));
    }
    ps_ring_free(ring);
    ps_ring_free(NULL);
}

static void what_is_reserved_is_not_seen_until_it_is_published(void **state)
{
    (void)state;
    struct ps_ring *ring = NULL;
    assert_ok(ps_ring_new(4, sizeof(struct item), &ring));
    struct item *first = ps_ring_reserve(ring);
    assert_non_null(first);
    assert_true(push(ring, 0, 2));
    assert_null(ps_ring_front(ring));
    first->number = 1;
    ps_ring_publish(ring, first);
    assert_int_equal(((struct item *)ps_ring_front(ring))->number, 1);
    ps_ring_pop(ring);
    assert_int_equal(((struct item *)ps_ring_front(ring))->number, 2);
    ps_ring_free(ring);
}

static void impossible_rings_are_refused(void **state)
{
    (void)state;
    struct ps_ring *ring = NULL;
    assert_int_equal(ps_ring_new((size_t)1 << 40, 8, &ring), PS_E_INVALID);
    assert_int_equal(ps_ring_new(8, 0, &ring), PS_E_INVALID);
    assert_null(ring);
}

struct producer {
    struct ps_ring *ring;
    uint32_t id;
};

static void *produce(void *arg)
{
    const struct producer *producer = arg;
    for (uint32_t i = 0; i < EACH;) {
        if (push(producer->ring, producer->id, i))
            i++;
        else
            sched_yield();
    }
    return NULL;
}

static void nothing_is_lost_torn_or_reordered_between_threads(void **state)
{
    (void)state;
    struct ps_ring *ring = NULL;
    assert_ok(ps_ring_new(64, sizeof(struct item), &ring));
    pthread_t thread[PRODUCERS];
    struct producer producer[PRODUCERS];
    uint32_t next[PRODUCERS] = {0};
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        producer[i] = (struct producer){ring, i};
        assert_ok(pthread_create(&thread[i], NULL, produce, &producer[i]));
    }
    bool right = true;
    for (uint32_t got = 0; got < PRODUCERS * EACH;) {
        const struct item *item = ps_ring_front(ring);
        if (item == NULL) {
            sched_yield();
            continue;
        }
        uint64_t check = (uint64_t)item->producer << 32 | item->number;
        right = right && item->producer < PRODUCERS && item->number == next[item->producer]++ &&
                item->check[0] == check && item->check[1] == check && item->check[2] == check;
        ps_ring_pop(ring);
        got++;
    }
    for (uint32_t i = 0; i < PRODUCERS; i++)
        pthread_join(thread[i], NULL);
    assert_true(right);
    assert_null(ps_ring_front(ring));
    ps_ring_free(ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ring_holds_exactly_its_capacity),
        cmocka_unit_test(what_is_reserved_is_not_seen_until_it_is_published),
        cmocka_unit_test(impossible_rings_are_refused),
        cmocka_unit_test(nothing_is_lost_torn_or_reordered_between_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
