/* What each algorithm promises, as properties: of its shares over many picks, of the one it picks
 * in random tables, of the keys that move. Random numbers have a fixed seed. */
#include "tests/unit/check.h"

#include "common/random.h"
#include "gateway/upstream/balance.h"

#include <math.h>
#include <stdlib.h>

#define PICKS 100000
#define MOST  256
#define S     INT64_C(1000000000)

static uint64_t state = 1;

static uint64_t random64(void)
{
    return ps_random_next(&state);
}

static int64_t below(int64_t limit)
{
    return (int64_t)(random64() % (uint64_t)limit);
}

struct table {
    struct up_picker picker;
    size_t count;
    struct up_candidate rows[MOST];
    int64_t current[MOST];
};

static void make_table(struct table *table, const uint32_t *weights, const uint32_t *full,
                       size_t count)
{
    *table = (struct table){.picker = {.random = random64()}, .count = count};
    for (size_t i = 0; i < count; i++)
        table->rows[i] = (struct up_candidate){.hash = random64(),
                                               .weight = weights[i],
                                               .full = full[i],
                                               .current = &table->current[i]};
}

static size_t pick(struct table *table, enum cfg_algorithm algorithm, uint64_t key)
{
    return up_pick(&table->picker, algorithm, table->rows, table->count, key);
}

/* Weights as they are published, with a zero, large, and in the midst of slow start. */
static const struct {
    size_t count;
    uint32_t weight[6], full[6];
} vectors[] = {
    {1, {1000}, {1000}},
    {2, {1000, 1000}, {1000, 1000}},
    {3, {5000, 1000, 1000}, {5000, 1000, 1000}},
    {4, {1000, 2000, 3000, 4000}, {1000, 2000, 3000, 4000}},
    {4, {1000, 0, 3000, 1000}, {1000, 1000, 3000, 1000}},
    {5, {1000000, 1000, 500000, 250000, 3000}, {1000000, 1000, 500000, 250000, 3000}},
    {4, {100, 1000, 1000, 1000}, {1000, 1000, 1000, 1000}},
    {4, {370, 3000, 1850, 2000}, {1000, 3000, 2000, 2000}},
    {6, {0, 100, 0, 200, 300, 0}, {1000, 1000, 1000, 1000, 1000, 1000}},
    {3, {100, 100, 100}, {1000, 1000, 1000}},
};

static const bool goes_by_weight[CFG_ALGORITHM_COUNT] = {
    [CFG_ALGORITHM_weighted_round_robin] = true, [CFG_ALGORITHM_weighted_least_connections] = true,
    [CFG_ALGORITHM_source_ip_hash] = true,       [CFG_ALGORITHM_consistent_hash] = true,
    [CFG_ALGORITHM_weighted_random] = true,
};

/* Nothing is under way and all are equally fast: what is left is the share. */
static void shares_come_within_1_percent_of_the_weights_and_of_slow_start(void **unused)
{
    (void)unused;
    for (size_t v = 0; v < sizeof vectors / sizeof *vectors; v++)
        for (int a = 0; a < CFG_ALGORITHM_COUNT; a++) {
            if (a == CFG_ALGORITHM_two_choices)
                continue; /* which draws each pair without replacement: below */
            struct table table;
            make_table(&table, vectors[v].weight, vectors[v].full, vectors[v].count);
            double sum = 0, share[6];
            for (size_t i = 0; i < table.count; i++) {
                share[i] = goes_by_weight[a] ? table.rows[i].weight
                                             : (double)table.rows[i].weight / table.rows[i].full;
                sum += share[i];
            }
            int64_t got[6] = {0};
            for (int i = 0; i < PICKS; i++) {
                size_t at = pick(&table, (enum cfg_algorithm)a, random64());
                assert_true(at < table.count);
                got[at]++;
            }
            for (size_t i = 0; i < table.count; i++) {
                double off = fabs((double)got[i] / PICKS - share[i] / sum);
                if (off > 0.01 || (share[i] == 0 && got[i] > 0))
                    fail_msg("algorithm %d, vector %zu: endpoint %zu got %ld of %d", a, v, i,
                             (long)got[i], PICKS);
            }
        }
}

/* The requests end at equal speed, so that what an endpoint gets follows from its weight. */
static void weighted_least_connections_keeps_requests_in_proportion_to_the_weights(void **unused)
{
    (void)unused;
    const uint32_t weights[] = {1000, 2000, 4000, 1000};
    struct table table;
    make_table(&table, weights, weights, 4);
    for (int i = 0; i < 800; i++)
        table.rows[pick(&table, CFG_ALGORITHM_weighted_least_connections, 0)].in_flight++;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(table.rows[i].in_flight, 800 * weights[i] / 8000);
}

/* --- round robin --- */

static void round_robin_goes_in_turn_and_leaves_out_who_has_no_weight(void **unused)
{
    (void)unused;
    const uint32_t weights[] = {1000, 0, 2000, 1000, 0}, full[] = {1000, 1000, 2000, 1000, 1000};
    const size_t order[] = {0, 2, 3};
    struct table table;
    make_table(&table, weights, full, 5);
    for (size_t i = 0; i < 30; i++)
        assert_int_equal(pick(&table, CFG_ALGORITHM_round_robin, 0), order[i % 3]);
}

static void round_robin_survives_a_table_that_grows_and_shrinks(void **unused)
{
    (void)unused;
    uint32_t weights[MOST];
    for (size_t i = 0; i < MOST; i++)
        weights[i] = 1000;
    struct table table;
    make_table(&table, weights, weights, MOST);
    for (int i = 0; i < 1000; i++) {
        table.count = 1 + (size_t)below(MOST);
        int got[MOST] = {0};
        for (size_t j = 0; j < 3 * table.count; j++) {
            size_t at = pick(&table, CFG_ALGORITHM_round_robin, 0);
            assert_true(at < table.count);
            got[at]++;
        }
        for (size_t j = 0; j < table.count; j++)
            assert_int_equal(got[j], 3);
    }
    table.picker.cursor = UINT64_MAX;
    assert_true(pick(&table, CFG_ALGORITHM_round_robin, 0) < table.count);
}

/* --- smooth weighted round robin --- */

/* The picks of `len` in a window that begins anywhere; the worst difference from the weights. */
static double worst_window(const uint8_t *picks, size_t total, size_t len,
                           const struct table *table)
{
    double sum = 0, worst = 0;
    int64_t got[MOST] = {0};
    for (size_t i = 0; i < table->count; i++)
        sum += table->rows[i].weight;
    for (size_t i = 0; i < total; i++) {
        got[picks[i]]++;
        if (i >= len)
            got[picks[i - len]]--;
        if (i + 1 < len)
            continue;
        for (size_t j = 0; j < table->count; j++)
            worst = fmax(worst, fabs((double)got[j] - (double)len * table->rows[j].weight / sum));
    }
    return worst;
}

static void smooth_round_robin_is_exact_in_every_window_of_the_sum_of_weights(void **unused)
{
    (void)unused;
    for (int round = 0; round < 300; round++) {
        uint32_t weights[12];
        size_t count = 1 + (size_t)below(12), sum = 0;
        for (size_t i = 0; i < count; i++) {
            uint32_t small = (uint32_t)below(10) + (i == 0);
            sum += small;
            weights[i] = small * 1000; /* as they are published */
        }
        struct table table;
        make_table(&table, weights, weights, count);
        size_t total = 10 * sum;
        uint8_t picks[10 * 12 * 10];
        for (size_t i = 0; i < total; i++)
            picks[i] = (uint8_t)pick(&table, CFG_ALGORITHM_weighted_round_robin, 0);
        assert_true(worst_window(picks, total, sum, &table) < 1e-6);
        assert_true(worst_window(picks, total, 3 * sum, &table) <= 1);
    }
}

static void smooth_round_robin_spreads_the_heavy_one(void **unused)
{
    (void)unused; /* the example of nginx's commit: {a, a, b, a, c, a, a} */
    const uint32_t weights[] = {5, 1, 1};
    const size_t order[] = {0, 0, 1, 0, 2, 0, 0};
    struct table table;
    make_table(&table, weights, weights, 3);
    for (size_t i = 0; i < 70; i++)
        assert_int_equal(pick(&table, CFG_ALGORITHM_weighted_round_robin, 0), order[i % 7]);
}

/* The counters hold what the old weights left. */
static void smooth_round_robin_is_near_its_weights_from_the_moment_they_change(void **unused)
{
    (void)unused;
    const uint32_t few[] = {1, 1, 1, 1, 1, 1, 1, 1};
    struct table table;
    make_table(&table, few, few, 8);
    for (int round = 0; round < 2000; round++) {
        int64_t sum = 0;
        for (size_t i = 0; i < 8; i++) {
            uint32_t weight = (uint32_t)(below(4) == 0 ? 0 : 1 + below(1000)) * 1000;
            table.rows[i].weight = table.rows[i].full = i == 0 ? weight + 1 : weight;
            sum += table.rows[i].weight;
        }
        int64_t got[8] = {0}, picks = 1 + below(100);
        for (int64_t i = 0; i < picks; i++)
            got[pick(&table, CFG_ALGORITHM_weighted_round_robin, 0)]++;
        for (size_t i = 0; i < 8; i++) {
            double due = (double)picks * table.rows[i].weight / (double)sum;
            assert_true(fabs((double)got[i] - due) < 5);
            assert_true(llabs(table.current[i]) <= 3 * sum);
        }
    }
}

/* The bound at which counters are cut is never met while weights stay. */
static void smooth_round_robin_keeps_its_counters_below_twice_the_sum(void **unused)
{
    (void)unused;
    for (int round = 0; round < 2000; round++) {
        uint32_t weights[20];
        size_t count = 1 + (size_t)below(20);
        int64_t sum = 0;
        for (size_t i = 0; i < count; i++)
            sum += weights[i] = 1 + (uint32_t)below(below(2) ? 1000 : 10);
        struct table table;
        make_table(&table, weights, weights, count);
        for (int i = 0; i < 2000; i++) {
            pick(&table, CFG_ALGORITHM_weighted_round_robin, 0);
            for (size_t j = 0; j < count; j++)
                assert_true(llabs(table.current[j]) < 2 * sum - weights[j]);
        }
    }
}

/* --- the least loaded --- */

static void random_table(struct table *table)
{
    uint32_t weights[MOST], full[MOST];
    size_t count = 1 + (size_t)below(30);
    for (size_t i = 0; i < count; i++) {
        full[i] = 1000 * (1 + (uint32_t)below(10));
        weights[i] = below(5) == 0 ? 0 : below(4) == 0 ? 1 + (uint32_t)below(full[i]) : full[i];
    }
    make_table(table, weights, full, count);
    for (size_t i = 0; i < count; i++) {
        table->rows[i].in_flight = below(8);
        table->rows[i].latency_ns = 1 + below(1000000);
    }
}

typedef double load_fn(const struct up_candidate *row);

static double requests_of(const struct up_candidate *row)
{
    return (double)row->in_flight * row->full / row->weight;
}

static double requests_for_weight(const struct up_candidate *row)
{
    return (double)row->in_flight / row->weight;
}

static double wait_of(const struct up_candidate *row)
{
    return (double)row->latency_ns * (requests_of(row) + 1);
}

static void check_least(enum cfg_algorithm algorithm, load_fn *load)
{
    for (int round = 0; round < 20000; round++) {
        struct table table;
        random_table(&table);
        size_t at = pick(&table, algorithm, random64());
        bool any = false;
        for (size_t i = 0; i < table.count; i++) {
            any = any || table.rows[i].weight > 0;
            if (table.rows[i].weight > 0)
                assert_true(load(&table.rows[at]) <= load(&table.rows[i]));
        }
        assert_true(any ? at < table.count && table.rows[at].weight > 0 : at == UP_NONE);
    }
}

static void the_least_loaded_is_really_the_least(void **unused)
{
    (void)unused;
    check_least(CFG_ALGORITHM_least_connections, requests_of);
    check_least(CFG_ALGORITHM_weighted_least_connections, requests_for_weight);
    check_least(CFG_ALGORITHM_least_response_time, wait_of);
}

static void ties_are_shared_in_turn(void **unused)
{
    (void)unused;
    const uint32_t weights[] = {1000, 1000, 1000, 1000, 1000};
    const size_t order[] = {0, 2, 4};
    struct table table;
    make_table(&table, weights, weights, 5);
    table.rows[1].in_flight = table.rows[3].in_flight = 1;
    for (size_t i = 0; i < 5; i++)
        table.rows[i].latency_ns = 1000;
    for (size_t i = 0; i < 30; i++) {
        assert_int_equal(pick(&table, CFG_ALGORITHM_least_connections, 0), order[i % 3]);
    }
    for (size_t i = 0; i < 30; i++) {
        assert_int_equal(pick(&table, CFG_ALGORITHM_weighted_least_connections, 0), order[i % 3]);
    }
    for (size_t i = 0; i < 30; i++)
        assert_int_equal(pick(&table, CFG_ALGORITHM_least_response_time, 0), order[i % 3]);
}

/* It would otherwise get everything before its first answer. */
static void an_endpoint_of_unknown_latency_counts_as_the_fastest_and_no_faster(void **unused)
{
    (void)unused;
    const uint32_t weights[] = {1000, 1000, 1000};
    struct table table;
    make_table(&table, weights, weights, 3);
    for (int i = 0; i < 30; i++) /* nothing is known of any */
        table.rows[pick(&table, CFG_ALGORITHM_least_response_time, 0)].in_flight++;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(table.rows[i].in_flight, 10);
        table.rows[i].in_flight = 0;
    }
    table.rows[1].latency_ns = 2000000;
    table.rows[2].latency_ns = 4000000;
    for (int i = 0; i < 100; i++)
        table.rows[pick(&table, CFG_ALGORITHM_least_response_time, 0)].in_flight++;
    assert_in_range(table.rows[0].in_flight, 39, 41);
    assert_in_range(table.rows[1].in_flight, 39, 41);
    assert_in_range(table.rows[2].in_flight, 18, 21);
}

/* --- hashes --- */

#define KEYS 20000

static void check_moves(enum cfg_algorithm algorithm)
{
    for (size_t n = 2; n <= 20; n++) {
        uint32_t weights[20];
        for (size_t i = 0; i < n; i++)
            weights[i] = 1000;
        struct table table;
        make_table(&table, weights, weights, n);
        uint64_t keys[KEYS], was[KEYS];
        for (size_t i = 0; i < KEYS; i++)
            was[i] = table.rows[pick(&table, algorithm, keys[i] = random64())].hash;

        size_t goes = (size_t)below((int64_t)n), moved = 0;
        uint64_t gone = table.rows[goes].hash;
        if (below(2)) { /* it leaves the table, or it stays without weight */
            memmove(&table.rows[goes], &table.rows[goes + 1], (n - goes - 1) * sizeof *table.rows);
            table.count--;
        } else
            table.rows[goes].weight = 0;
        for (size_t i = 0; i < KEYS; i++) {
            uint64_t is = table.rows[pick(&table, algorithm, keys[i])].hash;
            assert_true(is == was[i] || was[i] == gone);
            moved += is != was[i];
        }
        assert_true((double)moved / KEYS <= 1 / (double)n + 0.02);
    }
}

static void a_hash_moves_the_keys_of_the_one_that_goes_and_no_others(void **unused)
{
    (void)unused;
    check_moves(CFG_ALGORITHM_source_ip_hash);
    check_moves(CFG_ALGORITHM_consistent_hash);
}

static void a_hash_gives_one_in_slow_start_only_more_keys_as_it_warms(void **unused)
{
    (void)unused;
    uint32_t weights[] = {1000, 1000, 1000, 100}, full[] = {1000, 1000, 1000, 1000};
    struct table table;
    make_table(&table, weights, full, 4);
    for (int i = 0; i < 2000; i++) {
        uint64_t key = random64();
        size_t was = 0;
        for (uint32_t weight = 0; weight <= 1000; weight += 100) {
            table.rows[3].weight = weight;
            size_t is = pick(&table, CFG_ALGORITHM_source_ip_hash, key);
            assert_true(weight == 0 || is == was || is == 3);
            was = is;
        }
    }
}

static void bounded_load_keeps_everybody_at_most_a_quarter_above_the_mean(void **unused)
{
    (void)unused;
    for (int round = 0; round < 200; round++) {
        struct table table;
        random_table(&table);
        double weights = 0, requests = 0;
        for (size_t i = 0; i < table.count; i++) {
            weights += table.rows[i].weight;
            table.rows[i].in_flight = 0;
        }
        if (weights == 0)
            continue;
        uint64_t hot = random64(); /* one key, over and over */
        for (int i = 0; i < 500; i++) {
            size_t at = pick(&table, CFG_ALGORITHM_consistent_hash, hot);
            assert_true(at < table.count);
            table.rows[at].in_flight++;
            requests++;
            double most = ceil(1.25 * requests * table.rows[at].weight / weights);
            assert_true((double)table.rows[at].in_flight <= most);
        }
    }
}

static void bounded_load_keeps_keys_where_they_are_while_there_is_room(void **unused)
{
    (void)unused;
    for (int round = 0; round < 20000; round++) {
        struct table table;
        random_table(&table);
        uint64_t key = random64();
        double weights = 0, requests = 1;
        for (size_t i = 0; i < table.count; i++) {
            weights += table.rows[i].weight;
            requests += table.rows[i].weight > 0 ? (double)table.rows[i].in_flight : 0;
        }
        size_t home = pick(&table, CFG_ALGORITHM_source_ip_hash, key);
        if (home != UP_NONE && (double)table.rows[home].in_flight <
                                   ceil(1.25 * requests * table.rows[home].weight / weights))
            assert_int_equal(pick(&table, CFG_ALGORITHM_consistent_hash, key), home);
    }
}

/* --- two choices --- */

static int64_t fullest(enum cfg_algorithm algorithm)
{
    uint32_t weights[MOST];
    for (size_t i = 0; i < MOST; i++)
        weights[i] = 1000;
    int64_t sum = 0;
    for (int round = 0; round < 50; round++) {
        struct table table;
        make_table(&table, weights, weights, MOST);
        int64_t most = 0;
        for (int i = 0; i < MOST; i++) {
            int64_t now = ++table.rows[pick(&table, algorithm, 0)].in_flight;
            most = now > most ? now : most;
        }
        /* ln ln n / ln 2 + O(1): 2.47 for 256, and the constant is below 2. */
        assert_true(algorithm != CFG_ALGORITHM_two_choices || most <= 4);
        sum += most;
    }
    return sum;
}

static void two_choices_keep_the_fullest_as_low_as_theory_says(void **unused)
{
    (void)unused;
    assert_true(fullest(CFG_ALGORITHM_two_choices) * 3 < fullest(CFG_ALGORITHM_random) * 2);
}

static void two_choices_take_the_less_loaded_of_any_two(void **unused)
{
    (void)unused;
    for (int round = 0; round < 20000; round++) {
        const uint32_t weights[] = {1000, 500}, full[] = {1000, 1000};
        struct table table;
        make_table(&table, weights, full, 2);
        table.rows[0].in_flight = below(10);
        table.rows[1].in_flight = below(10);
        size_t at = pick(&table, CFG_ALGORITHM_two_choices, 0);
        assert_true(requests_of(&table.rows[at]) <= requests_of(&table.rows[1 - at]));
    }
}

static void two_choices_share_evenly_and_spare_one_in_slow_start(void **unused)
{
    (void)unused;
    const uint32_t weights[] = {1000, 1000, 1000, 1000, 100};
    const uint32_t full[] = {1000, 1000, 1000, 1000, 1000};
    struct table table;
    make_table(&table, weights, full, 5);
    int got[5] = {0};
    for (int i = 0; i < PICKS; i++)
        got[pick(&table, CFG_ALGORITHM_two_choices, 0)]++;
    for (size_t i = 0; i < 4; i++)
        assert_true(abs(got[i] - PICKS / 4 + got[4] / 4) < PICKS / 100);
    assert_true(got[4] < PICKS / 20 && got[4] > 0);
}

/* --- all of them --- */

static void nobody_without_weight_is_picked_and_none_is_said(void **unused)
{
    (void)unused;
    for (int a = 0; a < CFG_ALGORITHM_COUNT; a++) {
        struct table table;
        for (int round = 0; round < 5000; round++) {
            random_table(&table);
            size_t at = pick(&table, (enum cfg_algorithm)a, random64());
            bool any = false;
            for (size_t i = 0; i < table.count; i++)
                any = any || table.rows[i].weight > 0;
            assert_true(any ? at < table.count && table.rows[at].weight > 0 : at == UP_NONE);
        }
        table.count = 0;
        assert_true(pick(&table, (enum cfg_algorithm)a, 1) == UP_NONE);
    }
}

static void the_algorithm_may_change_from_pick_to_pick(void **unused)
{
    (void)unused;
    struct table table;
    random_table(&table);
    table.rows[0].weight = table.rows[0].full;
    for (int i = 0; i < PICKS; i++) {
        size_t at = pick(&table, (enum cfg_algorithm)below(CFG_ALGORITHM_COUNT), random64());
        assert_true(at < table.count && table.rows[at].weight > 0);
    }
}

/* --- peak EWMA --- */

static void peak_ewma_rises_at_once_and_forgets_in_10_s(void **unused)
{
    (void)unused;
    assert_int_equal(up_ewma_add(0, 0, 5000000), 5000000);
    assert_int_equal(up_ewma_add(5000000, S / 1000, 500000000), 500000000);
    assert_int_equal(up_ewma_add(500000000, 0, 1000), 500000000);
    assert_int_equal(up_ewma_at(500000000, 0), 500000000);
    assert_int_equal(up_ewma_at(500000000, -5), 500000000);
    assert_in_range(up_ewma_at(500000000, 10 * S), 183939000, 183940000); /* 1/e */
    assert_in_range(up_ewma_add(500000000, 10 * S, 0), 183939000, 183940000);
    assert_int_equal(up_ewma_at(500000000, INT64_C(1) << 60), 0);

    int64_t ewma = 500000000; /* fast answers bring it down as the clock does, to what they are */
    for (int i = 0; i < 60000; i++)
        ewma = up_ewma_add(ewma, S / 1000, 2000000);
    assert_in_range(ewma, 2000000, 4000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_come_within_1_percent_of_the_weights_and_of_slow_start),
        cmocka_unit_test(weighted_least_connections_keeps_requests_in_proportion_to_the_weights),
        cmocka_unit_test(round_robin_goes_in_turn_and_leaves_out_who_has_no_weight),
        cmocka_unit_test(round_robin_survives_a_table_that_grows_and_shrinks),
        cmocka_unit_test(smooth_round_robin_is_exact_in_every_window_of_the_sum_of_weights),
        cmocka_unit_test(smooth_round_robin_spreads_the_heavy_one),
        cmocka_unit_test(smooth_round_robin_is_near_its_weights_from_the_moment_they_change),
        cmocka_unit_test(smooth_round_robin_keeps_its_counters_below_twice_the_sum),
        cmocka_unit_test(the_least_loaded_is_really_the_least),
        cmocka_unit_test(ties_are_shared_in_turn),
        cmocka_unit_test(an_endpoint_of_unknown_latency_counts_as_the_fastest_and_no_faster),
        cmocka_unit_test(a_hash_moves_the_keys_of_the_one_that_goes_and_no_others),
        cmocka_unit_test(a_hash_gives_one_in_slow_start_only_more_keys_as_it_warms),
        cmocka_unit_test(bounded_load_keeps_everybody_at_most_a_quarter_above_the_mean),
        cmocka_unit_test(bounded_load_keeps_keys_where_they_are_while_there_is_room),
        cmocka_unit_test(two_choices_keep_the_fullest_as_low_as_theory_says),
        cmocka_unit_test(two_choices_take_the_less_loaded_of_any_two),
        cmocka_unit_test(two_choices_share_evenly_and_spare_one_in_slow_start),
        cmocka_unit_test(nobody_without_weight_is_picked_and_none_is_said),
        cmocka_unit_test(the_algorithm_may_change_from_pick_to_pick),
        cmocka_unit_test(peak_ewma_rises_at_once_and_forgets_in_10_s),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
