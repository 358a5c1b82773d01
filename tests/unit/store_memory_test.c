/* What is particular to the counter in memory: many threads at once, many orders, and no memory.
 * What every counter promises is in tests/contract/store_test.c. */
#include "tests/unit/check.h"

#include "inventory/store.h"
#include "inventory/store_memory.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define THREADS 4
#define STOCK   1000
#define USERS   700
#define CAP     2
#define ORDERS  4096 /* that one thread may make */

/* --- memory that ends --- */

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

static atomic_int pieces_left = -1; /* -1: as many as wanted */

static bool is_left(void)
{
    int left = atomic_load(&pieces_left);
    if (left > 0)
        atomic_fetch_sub(&pieces_left, 1);
    return left != 0;
}

void *__wrap_malloc(size_t size)
{
    return is_left() ? __real_malloc(size) : NULL;
}

void *__wrap_calloc(size_t count, size_t size)
{
    return is_left() ? __real_calloc(count, size) : NULL;
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return is_left() ? __real_aligned_alloc(alignment, size) : NULL;
}

/* --- words for the tests --- */

static struct inv_store *store;
static struct inv_sale *sale;

static struct inv_load *load_of(int64_t epoch, int64_t available)
{
    static const char *const skus[] = {"black"};
    struct inv_load *load;
    assert_ok(inv_load_new(store, "drop", epoch, skus, 1, &load));
    assert_ok(inv_load_available(load, 0, available));
    return load;
}

static int set_up(void **state)
{
    (void)state;
    assert_ok(inv_store_memory_new(&ps_clock_system, &store));
    assert_ok(inv_load_install(load_of(1, STOCK), &sale));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    inv_store_free(store);
    return 0;
}

static struct ps_uuid numbered(unsigned thread, unsigned number)
{
    struct ps_uuid id = {{(uint8_t)thread}};
    memcpy(&id.byte[8], &number, sizeof number);
    return id;
}

static int64_t sum_of(const struct inv_count *count)
{
    return count->available + count->in_doubt + count->held + count->confirmed;
}

/* --- threads that buy; what is wrong is counted there and asserted on the test's thread --- */

struct buyer_thread {
    pthread_t thread;
    unsigned number;
    uint32_t random;
    unsigned made;           /* order ids used */
    unsigned failures;       /* of calls that must not fail */
    uint8_t units_of[USERS]; /* units of orders that this thread made and that stand */
    uint16_t user_of[ORDERS];
    bool stands[ORDERS];
    pthread_barrier_t *barrier;
    atomic_uint *running;
};

static uint32_t below(struct buyer_thread *me, uint32_t end)
{
    me->random = me->random * 1664525 + 1013904223;
    return (me->random >> 8) % end;
}

static enum inv_result buy(struct buyer_thread *me, unsigned user)
{
    char name[16], key[16];
    unsigned number = me->made;
    int name_len = snprintf(name, sizeof name, "user%u", user);
    int key_len = snprintf(key, sizeof key, "%u-%u", me->number, number);
    struct inv_reservation r = {.order_id = numbered(me->number, number),
                                .epoch = 1,
                                .user = {name, (size_t)name_len},
                                .key = {key, (size_t)key_len},
                                .quantity = 1,
                                .cap = CAP};
    struct inv_answer answer = {.result = INV_FENCED};
    if (number == ORDERS ||
        inv_store_reserve(store, sale, &r, (struct inv_reply_to){.ret_answer = &answer}) !=
            INV_DONE) {
        me->failures++;
        return INV_FENCED;
    }
    if (answer.result == INV_RESERVED) {
        me->made++;
        me->user_of[number] = (uint16_t)user;
        me->stands[number] = true;
        me->units_of[user]++;
    }
    return answer.result;
}

/* Any verdict on one of the orders of this thread, and again on one that may be gone. */
static void decide(struct buyer_thread *me)
{
    unsigned number = below(me, me->made);
    struct ps_uuid id = numbered(me->number, number);
    struct inv_entry entry;
    inv_store_resolve(store, sale, &id, below(me, 4));
    bool stands =
        inv_store_find(store, sale, &id, (struct inv_reply_to){.ret_entry = &entry}) == 0 &&
        entry.state != INV_GIVEN_BACK;
    if (me->stands[number] && !stands)
        me->units_of[me->user_of[number]]--;
    me->failures += stands && !me->stands[number];
    me->stands[number] = stands;
}

static void *buy_and_decide(void *arg)
{
    struct buyer_thread *me = arg;
    for (int step = 0; step < 3000; step++) {
        (void)buy(me, below(me, USERS));
        if (me->made > 0)
            decide(me);
    }
    /* From here on nobody gives back, and all users together want more than there is. */
    pthread_barrier_wait(me->barrier);
    for (unsigned user = 0; user < USERS; user++)
        for (int i = 0; i < CAP; i++)
            (void)buy(me, user);
    atomic_fetch_sub(me->running, 1);
    return NULL;
}

static void four_threads_sell_exactly_the_stock_and_nobody_gets_above_his_cap(void **state)
{
    (void)state;
    struct buyer_thread *threads = calloc(THREADS, sizeof *threads);
    pthread_barrier_t barrier;
    atomic_uint running = THREADS;
    unsigned bad_cuts = 0, sold = 0;
    struct inv_count count;
    assert_non_null(threads);
    assert_ok(pthread_barrier_init(&barrier, NULL, THREADS));
    for (unsigned i = 0; i < THREADS; i++) {
        threads[i].number = i;
        threads[i].random = i + 1;
        threads[i].barrier = &barrier;
        threads[i].running = &running;
        assert_ok(pthread_create(&threads[i].thread, NULL, buy_and_decide, &threads[i]));
    }
    do { /* each cut is of one moment */
        bad_cuts +=
            inv_store_counts(store, sale, (struct inv_reply_to){.ret_counts = &count}) != 0 ||
            sum_of(&count) != STOCK || count.available < 0;
    } while (atomic_load(&running) > 0);
    for (unsigned i = 0; i < THREADS; i++)
        assert_ok(pthread_join(threads[i].thread, NULL));
    assert_int_equal(bad_cuts, 0);
    for (unsigned user = 0; user < USERS; user++) {
        unsigned units = 0;
        for (unsigned i = 0; i < THREADS; i++)
            units += threads[i].units_of[user];
        assert_in_range(units, 0, CAP);
        sold += units;
    }
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(threads[i].failures, 0);
    assert_int_equal(sold, STOCK);
    assert_ok(inv_store_counts(store, sale, (struct inv_reply_to){.ret_counts = &count}));
    assert_int_equal(count.available, 0);
    assert_int_equal(inv_sale_sold_out(sale), count.in_doubt == 0);
    assert_int_equal(count.in_doubt + count.held + count.confirmed, STOCK);
    pthread_barrier_destroy(&barrier);
    free(threads);
}

/* --- the same thing from all threads at once --- */

#define ROUNDS 300

struct rival {
    pthread_t thread;
    unsigned number;
    pthread_barrier_t *barrier;
    struct inv_answer answer[ROUNDS];
    int failures;
};

static void *same_key(void *arg)
{
    struct rival *me = arg;
    for (unsigned round = 0; round < ROUNDS; round++) {
        char key[16];
        int len = snprintf(key, sizeof key, "%u", round);
        struct inv_reservation r = {.order_id = numbered(me->number, round),
                                    .epoch = 1,
                                    .user = PS_STR("ann"),
                                    .key = {key, (size_t)len},
                                    .quantity = 1,
                                    .cap = ROUNDS};
        pthread_barrier_wait(me->barrier);
        me->failures +=
            inv_store_reserve(store, sale, &r,
                              (struct inv_reply_to){.ret_answer = &me->answer[round]}) != INV_DONE;
    }
    return NULL;
}

/* All threads give the order of the round another verdict. */
static void *same_order(void *arg)
{
    struct rival *me = arg;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct ps_uuid id = numbered(THREADS, round);
        pthread_barrier_wait(me->barrier);
        inv_store_resolve(store, sale, &id, me->number % 2 == 0 ? INV_RELEASED : INV_CONFIRMED);
    }
    return NULL;
}

static struct rival *run_rivals(void *(*run)(void *))
{
    struct rival *rivals = calloc(THREADS, sizeof *rivals);
    pthread_barrier_t barrier;
    assert_non_null(rivals);
    assert_ok(pthread_barrier_init(&barrier, NULL, THREADS));
    for (unsigned i = 0; i < THREADS; i++) {
        rivals[i].number = i;
        rivals[i].barrier = &barrier;
        assert_ok(pthread_create(&rivals[i].thread, NULL, run, &rivals[i]));
    }
    for (unsigned i = 0; i < THREADS; i++)
        assert_ok(pthread_join(rivals[i].thread, NULL));
    pthread_barrier_destroy(&barrier);
    return rivals;
}

static void one_key_sent_by_all_threads_at_once_is_one_order(void **state)
{
    (void)state;
    struct rival *rivals = run_rivals(same_key);
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned reserved = 0;
        for (unsigned i = 0; i < THREADS; i++) {
            const struct inv_answer *answer = &rivals[i].answer[round];
            assert_int_equal(rivals[i].failures, 0);
            reserved += answer->result == INV_RESERVED;
            assert_true(answer->result == INV_RESERVED || answer->result == INV_DUPLICATE);
            assert_memory_equal(&answer->order_id, &rivals[0].answer[round].order_id,
                                sizeof answer->order_id);
        }
        assert_int_equal(reserved, 1);
    }
    assert_int_equal(inv_sale_left(sale, 0), STOCK - ROUNDS);
    free(rivals);
}

static void rival_verdicts_on_one_order_have_one_effect(void **state)
{
    (void)state;
    struct inv_count count;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct inv_reservation r = {.order_id = numbered(THREADS, round),
                                    .epoch = 1,
                                    .user = PS_STR("ann"),
                                    .quantity = 2,
                                    .cap = STOCK};
        struct inv_answer answer;
        assert_int_equal(
            inv_store_reserve(store, sale, &r, (struct inv_reply_to){.ret_answer = &answer}),
            INV_DONE);
        assert_int_equal(answer.result, INV_RESERVED);
    }
    free(run_rivals(same_order));
    assert_ok(inv_store_counts(store, sale, (struct inv_reply_to){.ret_counts = &count}));
    assert_int_equal(count.in_doubt + count.held, 0);
    assert_int_equal(sum_of(&count), STOCK);
}

/* --- installs while others buy --- */

struct shopper {
    pthread_t thread;
    unsigned number;
    atomic_bool *stop;
    unsigned failures;
    unsigned reserved[64]; /* by epoch */
};

static void *shop(void *arg)
{
    struct shopper *me = arg;
    for (unsigned number = 0; !atomic_load(me->stop); number++) {
        struct inv_reservation r = {.order_id = numbered(me->number, number),
                                    .epoch = inv_sale_epoch(sale),
                                    .user = PS_STR("ann"),
                                    .quantity = 1,
                                    .cap = PS_INT_MAX};
        struct inv_answer answer;
        int err = inv_store_reserve(store, sale, &r, (struct inv_reply_to){.ret_answer = &answer});
        me->failures += err != INV_DONE;
        if (err == INV_DONE && answer.result == INV_RESERVED)
            me->reserved[r.epoch]++;
        inv_store_resolve(store, sale, &r.order_id, number % 2 == 0 ? INV_ACCEPTED : INV_CONFIRMED);
    }
    return NULL;
}

static void an_install_fences_threads_that_still_hold_the_old_counters(void **state)
{
    (void)state;
    static struct shopper shoppers[THREADS];
    const int64_t last = 40, plenty = 1000000;
    atomic_bool stop = false;
    unsigned bad_cuts = 0;
    struct inv_count count;
    memset(shoppers, 0, sizeof shoppers);
    assert_ok(inv_load_install(load_of(2, plenty), &sale));
    for (unsigned i = 0; i < THREADS; i++) {
        shoppers[i].number = i;
        shoppers[i].stop = &stop;
        assert_ok(pthread_create(&shoppers[i].thread, NULL, shop, &shoppers[i]));
    }
    for (int64_t epoch = 3; epoch <= last; epoch++) {
        struct inv_sale *same;
        assert_ok(inv_load_install(load_of(epoch, plenty), &same));
        assert_ptr_equal(same, sale);
        bad_cuts +=
            inv_store_counts(store, sale, (struct inv_reply_to){.ret_counts = &count}) != 0 ||
            sum_of(&count) != plenty;
    }
    atomic_store(&stop, true);
    unsigned reserved = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        assert_ok(pthread_join(shoppers[i].thread, NULL));
        assert_int_equal(shoppers[i].failures, 0);
        reserved += shoppers[i].reserved[last];
    }
    assert_int_equal(bad_cuts, 0);
    assert_ok(inv_store_counts(store, sale, (struct inv_reply_to){.ret_counts = &count}));
    assert_int_equal(plenty - count.available, reserved); /* of the last epoch, and no other */
}

/* --- many --- */

static void a_sale_outgrows_what_was_prepared_for_it(void **state)
{
    (void)state;
    const unsigned orders = 20 * STOCK; /* each is released, and keeps its key */
    char key[16];
    struct inv_reservation r = {.epoch = 1, .user = PS_STR("ann"), .quantity = 1, .cap = 1};
    struct inv_answer answer;
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned number = 0; number < orders; number++) {
            int len = snprintf(key, sizeof key, "%u", number);
            r.order_id = numbered(pass, number);
            r.key = (struct ps_str){key, (size_t)len};
            assert_int_equal(
                inv_store_reserve(store, sale, &r, (struct inv_reply_to){.ret_answer = &answer}),
                INV_DONE);
            assert_int_equal(answer.result, pass == 0 ? INV_RESERVED : INV_DUPLICATE);
            inv_store_resolve(store, sale, &r.order_id, INV_RELEASED);
        }
    }
    assert_int_equal(inv_sale_left(sale, 0), STOCK);
}

static void a_hundred_thousand_loaded_orders_are_all_known(void **state)
{
    (void)state;
    const unsigned orders = 100000;
    struct inv_load *load = load_of(2, 5);
    struct inv_count count;
    struct inv_answer answer;
    char user[16];
    for (unsigned number = 0; number < orders; number++) {
        int len = snprintf(user, sizeof user, "user%u", number / 2);
        struct inv_load_order order = {.id = numbered(0, number),
                                       .user = {user, (size_t)len},
                                       .quantity = 1,
                                       .state = INV_LOAD_HELD};
        assert_ok(inv_load_order(load, &order));
    }
    assert_ok(inv_load_install(load, &sale));
    for (unsigned number = 1; number < orders; number += 2) {
        int len = snprintf(user, sizeof user, "user%u", number / 2);
        struct ps_uuid last = numbered(0, number);
        struct inv_reservation r = {.order_id = numbered(1, number),
                                    .epoch = 2,
                                    .user = {user, (size_t)len},
                                    .quantity = 1,
                                    .cap = CAP};
        assert_int_equal(
            inv_store_reserve(store, sale, &r, (struct inv_reply_to){.ret_answer = &answer}),
            INV_DONE);
        assert_int_equal(answer.result, INV_CAP);
        assert_memory_equal(&answer.order_id, &last, sizeof last);
        inv_store_resolve(store, sale, &last, INV_CONFIRMED);
    }
    assert_ok(inv_store_counts(store, sale, (struct inv_reply_to){.ret_counts = &count}));
    assert_int_equal(count.available, 5);
    assert_int_equal(count.held, orders / 2);
    assert_int_equal(count.confirmed, orders / 2);
}

/* --- memory that ends --- */

static void assert_counts(int64_t available, int64_t in_doubt)
{
    struct inv_count count;
    assert_ok(inv_store_counts(store, sale, (struct inv_reply_to){.ret_counts = &count}));
    assert_int_equal(count.available, available);
    assert_int_equal(count.in_doubt, in_doubt);
    assert_int_equal(count.held + count.confirmed, 0);
}

/* Each order is released and keeps its key, so what was prepared for the sale is used up. */
static void a_reservation_without_memory_takes_nothing(void **state)
{
    (void)state;
    char user[16];
    struct inv_reservation r = {.epoch = 1, .key = PS_STR("k"), .quantity = 1, .cap = 1};
    struct inv_answer answer;
    struct inv_entry entry;
    int err = 0;
    atomic_store(&pieces_left, 0);
    for (unsigned number = 0; err == 0 && number < 20 * STOCK; number++) {
        int len = snprintf(user, sizeof user, "user%u", number);
        r.order_id = numbered(0, number);
        r.user = (struct ps_str){user, (size_t)len};
        err = inv_store_reserve(store, sale, &r, (struct inv_reply_to){.ret_answer = &answer});
        if (err == 0)
            inv_store_resolve(store, sale, &r.order_id, INV_RELEASED);
    }
    assert_int_equal(err, PS_E_NOMEM);
    assert_counts(STOCK, 0);
    assert_int_equal(
        inv_store_find(store, sale, &r.order_id, (struct inv_reply_to){.ret_entry = &entry}),
        PS_E_NOT_FOUND);
    atomic_store(&pieces_left, -1);
    assert_ok(inv_store_reserve(store, sale, &r, (struct inv_reply_to){.ret_answer = &answer}));
    assert_int_equal(answer.result, INV_RESERVED); /* nor was its key */
    assert_counts(STOCK - 1, 1);
}

static void adjustments_without_memory_change_nothing_and_can_come_again(void **state)
{
    (void)state;
    int64_t left = STOCK;
    struct inv_answer answer;
    struct ps_uuid id = numbered(1, 0), raise;
    atomic_store(&pieces_left, 0);
    for (unsigned number = 0; number < 20 * STOCK; number++) {
        raise = numbered(0, number);
        inv_store_raise(store, sale, &raise, 0, 1);
        left = inv_sale_left(sale, 0);
    }
    assert_true(left > STOCK && left < 21 * STOCK);
    assert_int_equal(
        inv_store_lower(
            store, sale,
            &(struct inv_lowering){.id = id, .epoch = 1, .name = PS_STR("a"), .sku = 0, .units = 1},
            (struct inv_reply_to){.ret_answer = &answer}),
        PS_E_NOMEM);
    assert_counts(left, 0);
    atomic_store(&pieces_left, -1);
    inv_store_raise(store, sale, &raise, 0, 1); /* the last one, which met no memory */
    assert_counts(left + 1, 0);
    assert_ok(inv_store_lower(
        store, sale,
        &(struct inv_lowering){.id = id, .epoch = 1, .name = PS_STR("a"), .sku = 0, .units = 1},
        (struct inv_reply_to){.ret_answer = &answer}));
    assert_int_equal(answer.result, INV_RESERVED);
    assert_counts(left, 1);
}

static int load_with(int pieces)
{
    static const char *const skus[] = {"black"};
    struct inv_load_order order = {.id = numbered(0, 1),
                                   .user = PS_STR("ann"),
                                   .key = PS_STR("k"),
                                   .quantity = 1,
                                   .state = INV_LOAD_RELEASED};
    struct ps_uuid raise = numbered(0, 2);
    struct inv_load *load;
    atomic_store(&pieces_left, pieces);
    int err = inv_load_new(store, "other", 1, skus, 1, &load);
    if (err == 0) {
        err = inv_load_available(load, 0, STOCK);
        if (err == 0)
            err = inv_load_order(load, &order);
        if (err == 0)
            err = inv_load_raised(load, &raise);
        if (err == 0)
            err = inv_load_install(load, &sale);
        else
            inv_load_free(load);
    }
    atomic_store(&pieces_left, -1);
    return err;
}

/* Had one left its epoch, the next one of the same epoch would be a conflict. */
static void a_load_without_memory_ends_and_leaves_nothing(void **state)
{
    (void)state;
    int pieces = 0;
    for (int err = PS_E_NOMEM; err < 0; pieces++) {
        err = load_with(pieces);
        assert_true(err == 0 || err == PS_E_NOMEM);
    }
    assert_true(pieces > 5);
    assert_counts(STOCK, 0);
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(four_threads_sell_exactly_the_stock_and_nobody_gets_above_his_cap),
        CLAIM(one_key_sent_by_all_threads_at_once_is_one_order),
        CLAIM(rival_verdicts_on_one_order_have_one_effect),
        CLAIM(an_install_fences_threads_that_still_hold_the_old_counters),
        CLAIM(a_sale_outgrows_what_was_prepared_for_it),
        CLAIM(a_hundred_thousand_loaded_orders_are_all_known),
        CLAIM(a_reservation_without_memory_takes_nothing),
        CLAIM(adjustments_without_memory_change_nothing_and_can_come_again),
        CLAIM(a_load_without_memory_ends_and_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
