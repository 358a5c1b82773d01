/* The shared table: many keys, several threads, a full table. Time is virtual and mostly stands
 * still, so that what may be admitted is an exact number. */
#include "tests/unit/check.h"

#include "gateway/admission/limits/limit_table.h"
#include "gateway/config/kinds/sale_doc.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#define S       PS_NS_PER_S
#define NOW     (INT64_C(3600) * 24 * 30 * S) /* a month of uptime */
#define THREADS 4

static struct adm_limit_compiled make_rule(const char *name, enum cfg_limit_algorithm algorithm,
                                           enum cfg_limit_key key, int64_t rate, int64_t period_s,
                                           int64_t burst)
{
    struct cfg_limit_rule rule = {
        .algorithm = algorithm, .key = key, .rate = rate, .period_s = period_s, .burst = burst};
    struct adm_limit_compiled compiled;
    (void)snprintf(rule.name, sizeof rule.name, "%s", name);
    adm_limit_compile(&rule, 1, &compiled);
    return compiled;
}

static bool ask(struct adm_limit_table *table, const struct adm_limit_compiled *rule, uint64_t key,
                int64_t now_ns)
{
    uint64_t hash = adm_limit_hash(table, &key, sizeof key);
    adm_limit_expect(table, rule, hash);
    return adm_limit_check(table, rule, hash, now_ns, 0).allowed;
}

static struct adm_limit_table *make_table(size_t mib)
{
    struct adm_limit_table *table;
    assert_ok(adm_limit_table_new(mib, &table));
    return table;
}

static void keys_and_rules_are_counted_apart(void **unused)
{
    (void)unused;
    struct adm_limit_table *table = make_table(1);
    struct adm_limit_compiled rules[4];
    for (int i = 0; i < 4; i++)
        rules[i] = make_rule(i % 2 ? "a" : "b", (enum cfg_limit_algorithm)i, CFG_LIMIT_KEY_USER, 3,
                             86400, 3);
    for (uint64_t key = 0; key < 500; key++) {
        for (int i = 0; i < 4; i++) {
            for (int n = 0; n < 5; n++)
                assert_int_equal(ask(table, &rules[i], key, NOW), n < 3);
        }
    }
    uint64_t ab = adm_limit_hash(table, "ab", 2);
    assert_true(adm_limit_check(table, &rules[0], ab, NOW, 0).allowed);
    assert_true(adm_limit_check(table, &rules[0], adm_limit_hash(table, "a", 1), NOW, 0).allowed);
    assert_int_equal(adm_limit_check(table, &rules[0], ab, NOW, 0).remaining, 1);
    assert_int_equal(adm_limit_table_evictions(table), 0);
    adm_limit_table_free(table);
}

static void weeks_of_silence_and_of_use_change_nothing(void **unused)
{
    (void)unused;
    struct adm_limit_table *table = make_table(1);
    struct adm_limit_compiled rule =
        make_rule("r", CFG_LIMIT_TOKEN_BUCKET, CFG_LIMIT_KEY_USER, 1, 1, 3);
    int64_t now_ns = 1;
    for (int week = 0; week < 1000; week++) {
        for (int n = 0; n < 5; n++)
            assert_int_equal(ask(table, &rule, 7, now_ns), n < 3);
        now_ns += INT64_C(7) * 86400 * S;
    }
    adm_limit_table_free(table);
}

/* --- contention --- */

struct run {
    struct adm_limit_table *table;
    const struct adm_limit_compiled *rule;
    pthread_barrier_t *start;
    uint64_t first, keys, rounds; /* asks for first .. first + keys - 1, so often */
    uint64_t admitted;
};

static void *ask_all(void *arg)
{
    struct run *run = arg;
    pthread_barrier_wait(run->start);
    for (uint64_t round = 0; round < run->rounds; round++) {
        for (uint64_t key = 0; key < run->keys; key++)
            run->admitted += ask(run->table, run->rule, run->first + key, NOW);
    }
    return NULL;
}

/* Runs all at once; the sum of what was admitted. */
static uint64_t together(struct run runs[THREADS])
{
    pthread_t threads[THREADS];
    pthread_barrier_t start;
    uint64_t admitted = 0;
    assert_ok(pthread_barrier_init(&start, NULL, THREADS));
    for (int i = 0; i < THREADS; i++) {
        runs[i].start = &start;
        assert_ok(pthread_create(&threads[i], NULL, ask_all, &runs[i]));
    }
    for (int i = 0; i < THREADS; i++) {
        assert_ok(pthread_join(threads[i], NULL));
        admitted += runs[i].admitted;
    }
    assert_ok(pthread_barrier_destroy(&start));
    return admitted;
}

static void one_key_under_contention_is_admitted_exactly_its_burst(void **unused)
{
    (void)unused;
    for (int algorithm = 0; algorithm < 4; algorithm++) {
        for (int kind = 0; kind < 2; kind++) {
            struct adm_limit_table *table = make_table(1);
            struct adm_limit_compiled rule =
                make_rule("r", (enum cfg_limit_algorithm)algorithm,
                          kind ? CFG_LIMIT_KEY_GLOBAL : CFG_LIMIT_KEY_USER, 50000, 86400, 50000);
            struct run runs[THREADS];
            for (int i = 0; i < THREADS; i++)
                runs[i] = (struct run){
                    .table = table, .rule = &rule, .first = 1, .keys = 1, .rounds = 20000};
            assert_int_equal(together(runs), 50000);
            adm_limit_table_free(table);
        }
    }
}

/* All threads meet each key for the first time at about the same moment: the hardest case for "one
 * slot a key". */
static void many_new_keys_under_contention_are_admitted_exactly_their_burst(void **unused)
{
    (void)unused;
    struct adm_limit_table *table = make_table(1);
    struct adm_limit_compiled rule =
        make_rule("r", CFG_LIMIT_TOKEN_BUCKET, CFG_LIMIT_KEY_USER, 1, 86400, 2);
    struct run runs[THREADS];
    for (int i = 0; i < THREADS; i++)
        runs[i] =
            (struct run){.table = table, .rule = &rule, .first = 1, .keys = 8000, .rounds = 2};
    assert_int_equal(together(runs), 2 * 8000);
    assert_int_equal(adm_limit_table_evictions(table), 0);
    adm_limit_table_free(table);
}

/* The same where every slot has been used before and is taken over. */
static void idle_slots_are_taken_over_without_counting_twice(void **unused)
{
    (void)unused;
    struct adm_limit_table *table = make_table(1);
    struct adm_limit_compiled rule =
        make_rule("r", CFG_LIMIT_TOKEN_BUCKET, CFG_LIMIT_KEY_USER, 1, 86400, 2);
    struct adm_limit_compiled other =
        make_rule("other", CFG_LIMIT_SLIDING_WINDOW, CFG_LIMIT_KEY_IP, 9, 60, 9);
    for (uint64_t key = 0; key < 300000; key++) /* fills every slot, long ago */
        (void)ask(table, &other, key, NOW - 1000 * S);
    uint64_t evictions = adm_limit_table_evictions(table);
    struct run runs[THREADS];
    for (int i = 0; i < THREADS; i++)
        runs[i] =
            (struct run){.table = table, .rule = &rule, .first = 1, .keys = 8000, .rounds = 2};
    assert_int_equal(together(runs), 2 * 8000);
    assert_int_equal(adm_limit_table_evictions(table), evictions);
    adm_limit_table_free(table);
}

/* --- a full table --- */

/* It has room for 65,536 keys in each MiB. */
static void a_full_table_refuses_no_new_key_and_counts_evictions(void **unused)
{
    (void)unused;
    struct adm_limit_table *table = make_table(3);
    struct adm_limit_compiled rule =
        make_rule("r", CFG_LIMIT_FIXED_WINDOW, CFG_LIMIT_KEY_USER, 1, 86400, 1);
    struct run runs[THREADS];
    for (uint64_t i = 0; i < THREADS; i++)
        runs[i] = (struct run){
            .table = table, .rule = &rule, .first = i << 32, .keys = 180000, .rounds = 1};
    uint64_t asked = THREADS * 180000, capacity = 3 * 65536;
    assert_int_equal(together(runs), asked);
    uint64_t evictions = adm_limit_table_evictions(table);
    assert_true(evictions >= asked - capacity);
    assert_true(evictions <= asked - capacity + asked / 50);
    adm_limit_table_free(table);
    adm_limit_table_free(NULL);
}

static void a_full_table_counts_a_new_key_like_any_other(void **unused)
{
    (void)unused;
    struct adm_limit_table *table = make_table(1);
    struct adm_limit_compiled rule =
        make_rule("r", CFG_LIMIT_TOKEN_BUCKET, CFG_LIMIT_KEY_USER, 1, 86400, 3);
    for (uint64_t key = 0; key < 300000; key++)
        assert_true(ask(table, &rule, key, NOW));
    for (uint64_t key = 300000; key < 301000; key++) {
        for (int n = 0; n < 5; n++)
            assert_int_equal(ask(table, &rule, key, NOW + S), n < 3);
    }
    adm_limit_table_free(table);
}

static void a_full_table_forgets_the_emptiest_first(void **unused)
{
    (void)unused;
    struct adm_limit_table *table = make_table(1);
    struct adm_limit_compiled heavy =
        make_rule("heavy", CFG_LIMIT_TOKEN_BUCKET, CFG_LIMIT_KEY_USER, 1, 60, 100);
    struct adm_limit_compiled light =
        make_rule("light", CFG_LIMIT_SLIDING_WINDOW, CFG_LIMIT_KEY_IP, 5, 60, 5);
    for (uint64_t key = 0; key < 1000; key++) {
        for (int n = 0; n < 100; n++)
            assert_true(ask(table, &heavy, key, NOW));
    }
    for (uint64_t key = 0; key < 300000; key++)
        assert_true(ask(table, &light, key, NOW));
    assert_true(adm_limit_table_evictions(table) > 200000);
    for (uint64_t key = 0; key < 1000; key++)
        assert_false(ask(table, &heavy, key, NOW));
    adm_limit_table_free(table);
}

static void a_flood_of_users_never_makes_it_forget_a_global_or_a_sale_rule(void **unused)
{
    (void)unused;
    struct adm_limit_table *table = make_table(1);
    struct adm_limit_compiled global =
        make_rule("g", CFG_LIMIT_TOKEN_BUCKET, CFG_LIMIT_KEY_GLOBAL, 10, 1, 10);
    struct adm_limit_compiled sale =
        make_rule("s", CFG_LIMIT_TOKEN_BUCKET, CFG_LIMIT_KEY_SALE, 10, 1, 10);
    struct adm_limit_compiled user =
        make_rule("u", CFG_LIMIT_TOKEN_BUCKET, CFG_LIMIT_KEY_USER, 1, 86400, 5);
    uint64_t admitted = 0;
    for (uint64_t key = 0; key < 300000; key++) {
        assert_true(ask(table, &user, key, NOW));
        admitted += ask(table, &global, 0, NOW);
        admitted += ask(table, &sale, 1, NOW);
    }
    assert_int_equal(admitted, 20);
    adm_limit_table_free(table);
}

/* As many as there can be, under three rules: each of them has its burst and no more. */
static void rules_of_ten_thousand_sales_are_all_remembered(void **unused)
{
    (void)unused;
    static const enum cfg_limit_algorithm algorithms[] = {
        CFG_LIMIT_TOKEN_BUCKET, CFG_LIMIT_SLIDING_WINDOW, CFG_LIMIT_FIXED_WINDOW};
    static const char *const names[] = {"a", "b", "c"};
    struct adm_limit_table *table = make_table(1);
    uint64_t admitted = 0;
    for (int round = 0; round < 4; round++)
        for (size_t i = 0; i < PS_ARRAY_LEN(names); i++) {
            struct adm_limit_compiled rule =
                make_rule(names[i], algorithms[i], CFG_LIMIT_KEY_SALE, 2, 86400, 2);
            for (uint64_t sale = 0; sale < CFG_SALES_MAX; sale++)
                admitted += ask(table, &rule, sale, NOW);
        }
    assert_int_equal(admitted, 2 * CFG_SALES_MAX * PS_ARRAY_LEN(names));
    assert_int_equal(adm_limit_table_evictions(table), 0);
    adm_limit_table_free(table);
}

static void a_million_live_keys_fit_into_32_mib(void **unused)
{
    (void)unused;
    struct adm_limit_table *table = make_table(32);
    struct adm_limit_compiled rule =
        make_rule("r", CFG_LIMIT_TOKEN_BUCKET, CFG_LIMIT_KEY_USER, 1, 86400, 1);
    const uint64_t million = 1 << 20; /* half of the slots */
    for (uint64_t key = 0; key < million; key++)
        assert_true(ask(table, &rule, key, NOW));
    uint64_t evictions = adm_limit_table_evictions(table), forgotten = 0;
    for (uint64_t key = 0; key < million; key++)
        forgotten += ask(table, &rule, key, NOW);
    print_message("half fill: %" PRIu64 " of %" PRIu64 " evicted, %" PRIu64 " found forgotten\n",
                  evictions, million, forgotten);
    assert_true(evictions < million / 500);
    assert_true(forgotten <
                million / 200); /* asking again for the forgotten evicts others in their sets */
    adm_limit_table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_and_rules_are_counted_apart),
        cmocka_unit_test(weeks_of_silence_and_of_use_change_nothing),
        cmocka_unit_test(one_key_under_contention_is_admitted_exactly_its_burst),
        cmocka_unit_test(many_new_keys_under_contention_are_admitted_exactly_their_burst),
        cmocka_unit_test(idle_slots_are_taken_over_without_counting_twice),
        cmocka_unit_test(a_full_table_refuses_no_new_key_and_counts_evictions),
        cmocka_unit_test(a_full_table_counts_a_new_key_like_any_other),
        cmocka_unit_test(a_full_table_forgets_the_emptiest_first),
        cmocka_unit_test(rules_of_ten_thousand_sales_are_all_remembered),
        cmocka_unit_test(a_flood_of_users_never_makes_it_forget_a_global_or_a_sale_rule),
        cmocka_unit_test(a_million_live_keys_fit_into_32_mib),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
