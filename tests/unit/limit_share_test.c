/* Shares of the cluster's limits: the meter of demand and the division for themselves, and then
 * whole clusters on a simulated clock. A simulated gateway does what a real one does each 100 ms:
 * measures its demand, says it, hears those of all, sets its share. Gateways pulse at different
 * moments and their monotonic clocks have nothing in common. */
#include "tests/unit/check.h"

#include "gateway/admission/limits/limit_table.h"

#include <stdio.h>

#define S    PS_NS_PER_S
#define MS   PS_NS_PER_MS
#define RATE 3000

/* --- the meter --- */

static int64_t steady(struct adm_share_meter *meter, int64_t *now_ns, int64_t *asked, int64_t each,
                      int pulses)
{
    int64_t demand = -1;
    for (int i = 0; i < pulses; i++) {
        *now_ns += 100 * MS;
        *asked += each;
        demand = adm_share_demand(meter, *asked, *now_ns);
    }
    return demand;
}

static void a_steady_demand_is_told_as_it_is(void **unused)
{
    (void)unused;
    struct adm_share_meter meter = {.begun = false};
    int64_t now_ns = 0, asked = 0;
    assert_int_equal(adm_share_demand(&meter, asked, now_ns), 0);
    assert_int_equal(steady(&meter, &now_ns, &asked, 700, 20), 7000);
}

static void what_was_asked_before_the_first_measure_is_no_demand(void **unused)
{
    (void)unused;
    struct adm_share_meter meter = {.begun = false};
    assert_int_equal(adm_share_demand(&meter, 1000000, 5 * S), 0);
    assert_int_equal(adm_share_demand(&meter, 1000000, 5 * S), 0); /* no time has passed */
    assert_int_equal(adm_share_demand(&meter, 1000000, 6 * S), 0);
}

/* Demands come from Redis, where anybody may have written. */
static void whatever_others_tell_the_share_is_one(void **unused)
{
    (void)unused;
    static const struct {
        int64_t own, all[3];
        size_t n;
    } rows[] = {
        {0, {0}, 0},
        {5, {0}, 0},
        {5, {-5}, 1},
        {-5, {-5, 10}, 2},
        {10, {-1000, 10, INT64_MIN}, 3},
        {INT64_MAX, {INT64_MAX, INT64_MAX, INT64_MAX}, 3},
        {1, {INT64_MAX, INT64_MAX, 1}, 3},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        uint32_t part = adm_share_of(rows[i].own, rows[i].all, rows[i].n);
        assert_in_range(part, 1, ADM_SHARE_ONE);
    }
    static const int64_t nobody[200000];
    assert_in_range(adm_share_of(0, nobody, PS_ARRAY_LEN(nobody)), 1, ADM_SHARE_ONE);
}

static void a_change_is_told_within_three_pulses(void **unused)
{
    (void)unused;
    struct adm_share_meter meter = {.begun = false};
    int64_t now_ns = 0, asked = 0;
    (void)adm_share_demand(&meter, asked, now_ns);
    (void)steady(&meter, &now_ns, &asked, 100, 50);
    assert_int_equal(steady(&meter, &now_ns, &asked, 500, 1), 5000);
    assert_int_equal(steady(&meter, &now_ns, &asked, 0, 1), 0);
}

static void the_first_buyer_is_told_at_once(void **unused)
{
    (void)unused;
    struct adm_share_meter meter = {.begun = false};
    int64_t now_ns = 0, asked = 0;
    (void)steady(&meter, &now_ns, &asked, 0, 50);
    assert_true(steady(&meter, &now_ns, &asked, 1, 1) >= 5);
}

/* --- the division --- */

static uint64_t random_state;

static uint64_t random_u64(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static void shares_follow_demand(void **unused)
{
    (void)unused;
    const int64_t all[] = {100, 200, 700};
    for (size_t i = 0; i < 3; i++)
        assert_true((uint32_t)(adm_share_of(all[i], all, 3) * 1000.0 / ADM_SHARE_ONE + 0.5) ==
                    (uint32_t)all[i]);
}

static void one_gateway_has_all(void **unused)
{
    (void)unused;
    const int64_t busy = 12345, idle = 0;
    assert_int_equal(adm_share_of(busy, &busy, 1), ADM_SHARE_ONE);
    assert_int_equal(adm_share_of(idle, &idle, 1), ADM_SHARE_ONE);
}

static void shares_never_add_up_to_more_than_the_whole(void **unused)
{
    (void)unused;
    random_state = 4711;
    for (int round = 0; round < 20000; round++) {
        int64_t all[50];
        size_t n = 1 + random_u64() % PS_ARRAY_LEN(all);
        for (size_t i = 0; i < n; i++)
            all[i] = (int64_t)(random_u64() % (UINT64_C(1) << random_u64() % 53));
        uint64_t sum = 0;
        for (size_t i = 0; i < n; i++) {
            uint32_t share = adm_share_of(all[i], all, n);
            assert_true(share >= ADM_SHARE_ONE / (201 * n) - 1);
            sum += share;
        }
        assert_true(sum <= ADM_SHARE_ONE && sum >= ADM_SHARE_ONE - n);
    }
}

static void who_is_alone_with_the_demand_loses_no_more_than_half_a_percent(void **unused)
{
    (void)unused;
    int64_t all[100] = {1000};
    for (size_t n = 1; n <= PS_ARRAY_LEN(all); n++)
        assert_true(adm_share_of(all[0], all, n) >= ADM_SHARE_ONE / 1000 * 995);
}

/* --- the clock --- */

static void the_whole_share_leaves_the_clock_alone(void **unused)
{
    (void)unused;
    struct adm_share share = {.version = 0};
    int64_t clock_ns;
    adm_share_set(&share, ADM_SHARE_ONE, 7 * S);
    assert_true(adm_share_whole(&share));
    assert_int_equal(adm_share_read(&share, 9 * S, &clock_ns), ADM_SHARE_ONE);
    assert_int_equal(clock_ns, 9 * S);
}

static void the_clock_runs_at_the_share_and_never_jumps(void **unused)
{
    (void)unused;
    struct adm_share share = {.version = 0};
    int64_t clock_ns, before_ns;
    adm_share_set(&share, ADM_SHARE_ONE / 2, 10 * S);
    assert_int_equal(adm_share_read(&share, 12 * S, &clock_ns), ADM_SHARE_ONE / 2);
    assert_int_equal(clock_ns, 11 * S);
    adm_share_set(&share, ADM_SHARE_ONE / 4, 14 * S);
    (void)adm_share_read(&share, 14 * S, &clock_ns);
    assert_int_equal(clock_ns, 12 * S);
    (void)adm_share_read(&share, 14 * S - 4, &before_ns); /* a worker's clock is a little late */
    assert_int_equal(before_ns, clock_ns - 1);
    adm_share_set(&share, ADM_SHARE_ONE, 18 * S);
    (void)adm_share_read(&share, 19 * S, &clock_ns);
    assert_int_equal(clock_ns, 14 * S);
    assert_false(adm_share_whole(&share));
    assert_int_equal(adm_share_get(&share), ADM_SHARE_ONE);
}

/* --- a cluster --- */

#define GATEWAYS 3
#define STEP_NS  (MS / 20)
#define SECONDS  10

/* The algorithms that share exactly: fixed windows have tests of their own. */
static const struct kind {
    enum cfg_limit_algorithm algorithm;
    int64_t burst;
    int64_t max_wait_ms;
    const char *name;
} kinds[] = {
    {CFG_LIMIT_TOKEN_BUCKET, RATE, 0, "token bucket"},
    {CFG_LIMIT_TOKEN_BUCKET, RATE / 10, 0, "token bucket of a small burst"},
    {CFG_LIMIT_LEAKY_BUCKET, 1, 200, "leaky bucket"},
    {CFG_LIMIT_SLIDING_WINDOW, RATE, 0, "sliding window"},
};
static const struct kind fixed = {CFG_LIMIT_FIXED_WINDOW, RATE, 0, "fixed window"};

struct cluster {
    struct adm_limit_table *tables[GATEWAYS];
    struct adm_share_meter meters[GATEWAYS];
    int64_t asked[GATEWAYS];
    int64_t said[GATEWAYS];
    double owed[GATEWAYS]; /* parts of a request that have come */
    int64_t clock_offset_ns[GATEWAYS];
    struct adm_limit_compiled rule;
    int64_t admitted[SECONDS * 10]; /* in each tenth of a second, by all */
    bool redis_away;
};

/* How many requests a second come to gateway `g` at `now_ns`. */
typedef double load_fn(size_t g, int64_t now_ns);

static void cluster_init(struct cluster *cluster, const struct kind *kind, bool clocks_agree)
{
    struct cfg_limit_rule rule = {.name = "all",
                                  .algorithm = kind->algorithm,
                                  .key = CFG_LIMIT_KEY_GLOBAL,
                                  .rate = RATE,
                                  .period_s = 1,
                                  .burst = kind->burst,
                                  .max_wait_ms = kind->max_wait_ms};
    *cluster = (struct cluster){.redis_away = false};
    random_state = 99;
    adm_limit_compile(&rule, 1, &cluster->rule);
    for (size_t g = 0; g < GATEWAYS; g++) {
        assert_ok(adm_limit_table_new(1, &cluster->tables[g]));
        cluster->clock_offset_ns[g] = clocks_agree ? 1000 * S : (int64_t)(g + 1) * 123456789 * 17;
    }
}

static void cluster_done(struct cluster *cluster)
{
    for (size_t g = 0; g < GATEWAYS; g++)
        adm_limit_table_free(cluster->tables[g]);
}

static void pulse(struct cluster *cluster, size_t g, int64_t now_ns)
{
    cluster->said[g] = adm_share_demand(&cluster->meters[g], cluster->asked[g], now_ns);
    if (!cluster->redis_away)
        adm_share_set(adm_limit_table_share(cluster->tables[g]),
                      adm_share_of(cluster->said[g], cluster->said, GATEWAYS), now_ns);
}

static bool ask(struct cluster *cluster, size_t g, int64_t now_ns)
{
    struct adm_limit_result result =
        adm_limit_check(cluster->tables[g], &cluster->rule, 0, now_ns + cluster->clock_offset_ns[g],
                        CFG_LIMIT_WAIT_MAX_MS);
    size_t tenth = (size_t)((now_ns + result.wait_ns) / (S / 10)); /* held until then */
    cluster->asked[g]++;
    if (result.allowed && tenth < PS_ARRAY_LEN(cluster->admitted))
        cluster->admitted[tenth]++;
    return result.allowed;
}

/* Requests come by chance, at the load's rate. */
static void cluster_run(struct cluster *cluster, load_fn *load, int64_t from_s, int64_t until_s)
{
    for (int64_t now_ns = from_s * S; now_ns < until_s * S; now_ns += STEP_NS) {
        for (size_t g = 0; g < GATEWAYS; g++) {
            if (now_ns % (100 * MS) == (int64_t)(g * 37) * MS)
                pulse(cluster, g, now_ns + cluster->clock_offset_ns[g]);
            cluster->owed[g] += load(g, now_ns) * STEP_NS / S * 2 * (double)(random_u64() >> 11) /
                                (double)(UINT64_C(1) << 53);
            for (; cluster->owed[g] >= 1; cluster->owed[g]--)
                (void)ask(cluster, g, now_ns);
        }
    }
}

/* What all have admitted in the second that begins at `tenth`, of the rate. */
static double second(const struct cluster *cluster, size_t tenth)
{
    int64_t sum = 0;
    for (size_t i = tenth; i < tenth + 10; i++)
        sum += cluster->admitted[i];
    return (double)sum / cluster->rule.rate;
}

static double even(size_t g, int64_t now_ns)
{
    (void)g;
    (void)now_ns;
    return RATE * 2.0 / GATEWAYS;
}

static double uneven(size_t g, int64_t now_ns)
{
    (void)now_ns;
    static const double of[GATEWAYS] = {0.1, 0.6, 1.3};
    return RATE * of[g];
}

static double at_one(size_t g, int64_t now_ns)
{
    (void)now_ns;
    return g == 0 ? RATE * 2.0 : 0;
}

/* From the first gateway to the second, within the fifth second. */
static double moving(size_t g, int64_t now_ns)
{
    double moved = now_ns < 5 * S ? 0 : now_ns < 6 * S ? (double)(now_ns - 5 * S) / S : 1;
    return RATE * (g == 0 ? 1.6 * (1 - moved) : g == 1 ? 1.6 * moved : 0.4);
}

/* The same, at once. */
static double jumping(size_t g, int64_t now_ns)
{
    double moved = now_ns < 5 * S ? 0 : 1;
    return RATE * (g == 0 ? 1.6 * (1 - moved) : g == 1 ? 1.6 * moved : 0.4);
}

/* Every second from `tenth` to `end`, one for each `step` tenths. */
static void assert_seconds(const struct cluster *cluster, const char *name, size_t tenth,
                           size_t end, size_t step, double least, double most)
{
    for (; tenth + 10 <= end; tenth += step) {
        double got = second(cluster, tenth);
        if (got < least || got > most)
            print_error("%s: %.4f of the rate in the second from %zu.%zu s\n", name, got,
                        tenth / 10, tenth % 10);
        assert_true(got >= least && got <= most);
    }
}

static void steady_load_gets_the_rate_to_one_percent(void **unused)
{
    (void)unused;
    static load_fn *const loads[] = {even, uneven, at_one};
    for (size_t k = 0; k < PS_ARRAY_LEN(kinds); k++)
        for (size_t l = 0; l < PS_ARRAY_LEN(loads); l++) {
            struct cluster cluster;
            cluster_init(&cluster, &kinds[k], false);
            cluster_run(&cluster, loads[l], 0, SECONDS);
            assert_seconds(&cluster, kinds[k].name, 40, SECONDS * 10, 1, 0.99, 1.01);
            cluster_done(&cluster);
        }
}

static void load_that_moves_gets_the_rate_to_five_percent(void **unused)
{
    (void)unused;
    for (size_t k = 0; k < PS_ARRAY_LEN(kinds); k++) {
        struct cluster cluster;
        cluster_init(&cluster, &kinds[k], false);
        cluster_run(&cluster, moving, 0, SECONDS);
        assert_seconds(&cluster, kinds[k].name, 40, 70, 1, 0.95, 1.05);
        assert_seconds(&cluster, kinds[k].name, 75, SECONDS * 10, 1, 0.99, 1.01);
        cluster_done(&cluster);
    }
}

/* All at once is the worst: until the gateways have told each other, who has the share has no
 * buyers. Nothing is admitted twice for that; only who was held already is let out as promised. */
static void load_that_jumps_never_gets_more_and_has_the_rate_again_within_a_second(void **unused)
{
    (void)unused;
    for (size_t k = 0; k < PS_ARRAY_LEN(kinds); k++) {
        struct cluster cluster;
        cluster_init(&cluster, &kinds[k], false);
        cluster_run(&cluster, jumping, 0, SECONDS);
        double held = (double)kinds[k].max_wait_ms / 1000;
        assert_seconds(&cluster, kinds[k].name, 40, 60, 1, 0.8, 1.01 + held);
        assert_seconds(&cluster, kinds[k].name, 60, SECONDS * 10, 1, 0.99, 1.01);
        cluster_done(&cluster);
    }
}

static void fixed_windows_that_begin_together_never_admit_more_than_the_rate(void **unused)
{
    (void)unused;
    static load_fn *const loads[] = {even, uneven, at_one, moving, jumping};
    for (size_t l = 0; l < PS_ARRAY_LEN(loads); l++) {
        struct cluster cluster;
        cluster_init(&cluster, &fixed, true);
        cluster_run(&cluster, loads[l], 0, SECONDS);
        bool moves = loads[l] == moving || loads[l] == jumping;
        assert_seconds(&cluster, fixed.name, 40, SECONDS * 10, 10, moves ? 0 : 0.99, 1.01);
        assert_seconds(&cluster, fixed.name, 80, SECONDS * 10, 10, 0.99, 1.01);
        cluster_done(&cluster);
    }
}

static void fixed_windows_that_begin_apart_keep_a_steady_rate(void **unused)
{
    (void)unused;
    struct cluster cluster;
    cluster_init(&cluster, &fixed, false);
    cluster_run(&cluster, uneven, 0, SECONDS);
    assert_seconds(&cluster, fixed.name, 40, SECONDS * 10, 10, 0.98, 1.02);
    cluster_done(&cluster);
}

static void without_redis_the_last_share_stays(void **unused)
{
    (void)unused;
    struct cluster cluster;
    cluster_init(&cluster, &kinds[0], false);
    cluster_run(&cluster, uneven, 0, 5);
    uint32_t before[GATEWAYS];
    for (size_t g = 0; g < GATEWAYS; g++)
        before[g] = adm_share_get(adm_limit_table_share(cluster.tables[g]));
    cluster.redis_away = true;
    cluster_run(&cluster, even, 5, SECONDS);
    for (size_t g = 0; g < GATEWAYS; g++)
        assert_int_equal(adm_share_get(adm_limit_table_share(cluster.tables[g])), before[g]);
    /* Two thirds of the rate ask each; they have 0.05, 0.3 and 0.65 of it. */
    assert_seconds(&cluster, "away", 60, SECONDS * 10, 1, 0.97, 1.01);
    cluster_done(&cluster);
}

static void the_first_buyer_of_an_idle_gateway_passes(void **unused)
{
    (void)unused;
    for (size_t k = 0; k <= PS_ARRAY_LEN(kinds); k++) {
        struct cluster cluster;
        cluster_init(&cluster, k < PS_ARRAY_LEN(kinds) ? &kinds[k] : &fixed, false);
        cluster_run(&cluster, at_one, 0, 3);
        assert_true(ask(&cluster, 1, 3 * S));
        assert_true(ask(&cluster, 2, 3 * S));
        cluster_done(&cluster);
    }
}

/* --- one gateway with a share --- */

static struct adm_limit_table *table_with_share(uint32_t part)
{
    struct adm_limit_table *table;
    assert_ok(adm_limit_table_new(1, &table));
    adm_share_set(adm_limit_table_share(table), part, S);
    return table;
}

static int64_t admitted_at_once(struct adm_limit_table *table, enum cfg_limit_key key,
                                int64_t now_ns)
{
    struct cfg_limit_rule rule = {
        .name = "r", .key = key, .rate = 100, .period_s = 10, .burst = 40};
    struct adm_limit_compiled compiled;
    adm_limit_compile(&rule, 1, &compiled);
    int64_t count = 0;
    while (adm_limit_check(table, &compiled, adm_limit_hash(table, "k", 1), now_ns, 0).allowed)
        count++;
    return count;
}

static void only_global_and_sale_rules_are_shared(void **unused)
{
    (void)unused;
    struct adm_limit_table *table = table_with_share(ADM_SHARE_ONE / 4);
    assert_int_equal(admitted_at_once(table, CFG_LIMIT_KEY_GLOBAL, 2 * S), 10);
    assert_int_equal(admitted_at_once(table, CFG_LIMIT_KEY_SALE, 2 * S), 10);
    assert_int_equal(admitted_at_once(table, CFG_LIMIT_KEY_USER, 2 * S), 40);
    assert_int_equal(admitted_at_once(table, CFG_LIMIT_KEY_IP, 2 * S), 40);
    /* 2.5 a second of the rule's 10 */
    assert_int_equal(admitted_at_once(table, CFG_LIMIT_KEY_GLOBAL, 4 * S), 5);
    adm_limit_table_free(table);
}

/* The wait of a refusal is true: the request passes then, and no sooner than 0.1 ms before. */
static void waits_are_told_in_real_time(void **unused)
{
    (void)unused;
    random_state = 31;
    for (int round = 0; round < 3000; round++) {
        struct cfg_limit_rule rule = {.name = "r",
                                      .algorithm = (enum cfg_limit_algorithm)(random_u64() % 4),
                                      .key = CFG_LIMIT_KEY_GLOBAL,
                                      .rate = 1 + (int64_t)(random_u64() % 200),
                                      .period_s = 1 + (int64_t)(random_u64() % 60)};
        rule.burst = rule.algorithm == CFG_LIMIT_TOKEN_BUCKET ? 1 + rule.rate / 2 : rule.rate;
        struct adm_limit_compiled compiled;
        adm_limit_compile(&rule, 1, &compiled);
        struct adm_limit_table *table =
            table_with_share((uint32_t)(ADM_SHARE_ONE / (1 + random_u64() % 50)));
        int64_t now_ns = (int64_t)(2 + random_u64() % 100) * S + (int64_t)(random_u64() % S);
        struct adm_limit_result result;
        int64_t admitted = 0;
        for (;; admitted++) {
            result = adm_limit_check(table, &compiled, 0, now_ns, 0);
            assert_true(result.reset_s >= 1 && result.remaining >= 0);
            if (!result.allowed)
                break;
            assert_true(admitted < rule.burst);
        }
        assert_true(admitted >= 1 && result.wait_ns > 0);
        if (result.wait_ns > 100000)
            assert_false(
                adm_limit_check(table, &compiled, 0, now_ns + result.wait_ns - 100000, 0).allowed);
        assert_true(
            adm_limit_check(table, &compiled, 0, now_ns + result.wait_ns + 2000, 0).allowed);
        adm_limit_table_free(table);
    }
}

/* Shares that change at random, at every gateway at the same moment and with the sum of one: all
 * ask without end, and together they get the rate and one burst. */
static void however_shares_change_nothing_is_admitted_twice(void **unused)
{
    (void)unused;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct cluster cluster;
        cluster_init(&cluster, &kinds[seed % 2 == 0 ? 0 : 3], false);
        random_state = seed * 77;
        int64_t demand[GATEWAYS] = {0}, sum = 0;
        for (int64_t now_ns = 0; now_ns < 4 * S; now_ns += MS) {
            if (now_ns == 0 || random_u64() % 50 == 0) {
                for (size_t g = 0; g < GATEWAYS; g++)
                    demand[g] = (int64_t)(random_u64() % 3 * (random_u64() % 1000));
                for (size_t g = 0; g < GATEWAYS; g++)
                    adm_share_set(adm_limit_table_share(cluster.tables[g]),
                                  adm_share_of(demand[g], demand, GATEWAYS),
                                  now_ns + cluster.clock_offset_ns[g]);
            }
            for (size_t g = 0; g < GATEWAYS; g++)
                while (ask(&cluster, g, now_ns))
                    sum++;
        }
        int64_t most = RATE * 4 + RATE + 2 * GATEWAYS;
        if (sum > most)
            print_error("seed %d: %lld of %lld\n", (int)seed, (long long)sum, (long long)most);
        assert_true(sum <= most);
        cluster_done(&cluster);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_steady_demand_is_told_as_it_is),
        cmocka_unit_test(what_was_asked_before_the_first_measure_is_no_demand),
        cmocka_unit_test(whatever_others_tell_the_share_is_one),
        cmocka_unit_test(a_change_is_told_within_three_pulses),
        cmocka_unit_test(the_first_buyer_is_told_at_once),
        cmocka_unit_test(shares_follow_demand),
        cmocka_unit_test(one_gateway_has_all),
        cmocka_unit_test(shares_never_add_up_to_more_than_the_whole),
        cmocka_unit_test(who_is_alone_with_the_demand_loses_no_more_than_half_a_percent),
        cmocka_unit_test(the_whole_share_leaves_the_clock_alone),
        cmocka_unit_test(the_clock_runs_at_the_share_and_never_jumps),
        cmocka_unit_test(steady_load_gets_the_rate_to_one_percent),
        cmocka_unit_test(load_that_moves_gets_the_rate_to_five_percent),
        cmocka_unit_test(load_that_jumps_never_gets_more_and_has_the_rate_again_within_a_second),
        cmocka_unit_test(fixed_windows_that_begin_together_never_admit_more_than_the_rate),
        cmocka_unit_test(fixed_windows_that_begin_apart_keep_a_steady_rate),
        cmocka_unit_test(without_redis_the_last_share_stays),
        cmocka_unit_test(the_first_buyer_of_an_idle_gateway_passes),
        cmocka_unit_test(only_global_and_sale_rules_are_shared),
        cmocka_unit_test(waits_are_told_in_real_time),
        cmocka_unit_test(however_shares_change_nothing_is_admitted_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
