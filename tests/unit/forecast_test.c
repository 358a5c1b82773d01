/* What a rule would have refused in the last minute, from the sample, in virtual time: against the
 * same rule applied to every request. */
#include "tests/unit/check.h"

#include "gateway/admission/limits/forecast.h"
#include "gateway/admission/limits/limit_table.h"

#include <stdio.h>

#define S       PS_NS_PER_S
#define WORKERS 3
#define BEGIN   (1000 * S)

static struct adm_limit_samples samples;
static struct adm_limit_table *table;
static int64_t now_ns;
static struct {
    int64_t seen, refused;
} truth; /* what the rule itself has seen and refused in the last minute */
static struct cfg_limit_rule rule;
static struct adm_limit_compiled own, wide;

static int begin(void **state)
{
    (void)state;
    now_ns = BEGIN;
    memset(&truth, 0, sizeof truth);
    assert_ok(adm_limit_samples_new(WORKERS, now_ns, &samples));
    assert_ok(adm_limit_table_new(8, &table));
    return 0;
}

static int end(void **state)
{
    (void)state;
    adm_limit_samples_free(&samples);
    adm_limit_table_free(table);
    return 0;
}

static void set_rule(enum cfg_limit_algorithm algorithm, enum cfg_limit_key key, int64_t rate,
                     int64_t burst)
{
    rule = (struct cfg_limit_rule){.name = "probe",
                                   .algorithm = algorithm,
                                   .key = key,
                                   .rate = rate,
                                   .burst = burst,
                                   .period_s = 1,
                                   .applies_to = CFG_LIMIT_ORDER};
    adm_limit_compile(&rule, 1, &own);
    adm_limit_compile(&rule, 16, &wide);
}

struct asked {
    uint64_t key, wide; /* wide 0: none */
    const char *sale;
    unsigned applies_to;
};

/* A request at the gate of the rule's kind, at a worker. */
static void ask(size_t worker, const struct asked *asked)
{
    struct adm_limit_sample *sample = &samples.at[worker];
    bool keyed = rule.key == CFG_LIMIT_KEY_USER || rule.key == CFG_LIMIT_KEY_IP;
    uint64_t key = adm_limit_hash(table, &asked->key, sizeof asked->key);
    uint64_t net = adm_limit_hash(table, &asked->wide, sizeof asked->wide);
    uint64_t by = !keyed ? adm_limit_sample_draw(sample, rule.key) : asked->wide != 0 ? net : key;
    const char *sale = asked->sale != NULL ? asked->sale : "spring";

    if (adm_limit_sample_wants(sample, rule.key, by))
        adm_limit_sample_note(sample, rule.key,
                              &(struct adm_limit_sampled){.at_us = now_ns / 1000,
                                                          .key = key,
                                                          .chosen_by = (uint32_t)by,
                                                          .target = adm_limit_sample_target(sale),
                                                          .applies_to = asked->applies_to,
                                                          .has_wide = asked->wide != 0});
    if ((asked->applies_to & rule.applies_to) == 0 ||
        (rule.sale[0] != '\0' && strcmp(rule.sale, sale) != 0))
        return;
    bool fits = adm_limit_check(
                    table, &own,
                    keyed ? key : adm_limit_sample_target(sale) * (rule.key == CFG_LIMIT_KEY_SALE),
                    now_ns, CFG_LIMIT_WAIT_MAX_MS)
                    .allowed;
    if (fits && asked->wide != 0)
        fits = adm_limit_check(table, &wide, net, now_ns, CFG_LIMIT_WAIT_MAX_MS).allowed;
    truth.seen++;
    truth.refused += !fits;
}

static void tick(void)
{
    for (size_t i = 0; i < WORKERS; i++)
        adm_limit_sample_tick(&samples.at[i], now_ns);
}

/* `rate` requests a second for `seconds`, of `keys` keys: the lower a key the more it asks. */
static void pass(int seconds, int rate, uint64_t keys)
{
    uint64_t state = 1;

    for (int64_t i = 0; i < (int64_t)seconds * rate; i++) {
        state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
        uint64_t a = (state >> 33) % keys, b = (state >> 20) % keys;
        now_ns += S / rate;
        tick();
        ask((size_t)(state >> 40) % WORKERS,
            &(struct asked){.key = 1 + (a < b ? a : b), .applies_to = CFG_LIMIT_ORDER});
    }
}

static struct adm_forecast forecast(void)
{
    struct adm_forecast says;

    assert_ok(adm_forecast(&samples, &rule, 1, now_ns, &says));
    return says;
}

/* --- few requests: all of them are looked at --- */

static void few_requests_are_counted_exactly(void **state)
{
    static const enum cfg_limit_algorithm all[] = {CFG_LIMIT_TOKEN_BUCKET, CFG_LIMIT_LEAKY_BUCKET,
                                                   CFG_LIMIT_FIXED_WINDOW,
                                                   CFG_LIMIT_SLIDING_WINDOW};
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(all); i++) {
        bool window = all[i] == CFG_LIMIT_FIXED_WINDOW || all[i] == CFG_LIMIT_SLIDING_WINDOW;
        (void)end(NULL);
        assert_int_equal(begin(NULL), 0);
        set_rule(all[i], CFG_LIMIT_KEY_USER, 2, window ? 2 : 4);
        pass(50, 50, 10);
        struct adm_forecast says = forecast();
        assert_int_equal(says.one_in, 1);
        assert_int_equal(says.error, 0);
        assert_int_equal(says.seen, truth.seen);
        assert_int_equal(says.refused, truth.refused);
        assert_true(truth.refused > 100);
        assert_int_equal(says.took_ns / S, 50);
    }
}

static void both_networks_of_an_address_count(void **state)
{
    (void)state;
    set_rule(CFG_LIMIT_TOKEN_BUCKET, CFG_LIMIT_KEY_IP, 1, 2);
    for (uint64_t i = 0; i < 2000; i++) {
        now_ns += S / 50;
        tick();
        ask(i % WORKERS, &(struct asked){.key = 100 + i % 40, .wide = 1 + i % 2, .applies_to = 1});
    }
    struct adm_forecast says = forecast();
    assert_int_equal(says.refused, truth.refused);
    assert_true(truth.refused > 100);
}

static void only_the_rules_own_requests_count(void **state)
{
    (void)state;
    set_rule(CFG_LIMIT_TOKEN_BUCKET, CFG_LIMIT_KEY_USER, 1, 1);
    (void)snprintf(rule.sale, sizeof rule.sale, "spring");
    for (uint64_t i = 0; i < 100; i++) {
        now_ns += S / 50;
        tick();
        ask(0, &(struct asked){.key = 1, .sale = "spring", .applies_to = CFG_LIMIT_ORDER});
        ask(1, &(struct asked){.key = 1, .sale = "autumn", .applies_to = CFG_LIMIT_ORDER});
        ask(2, &(struct asked){.key = 1, .sale = "spring", .applies_to = CFG_LIMIT_STATUS});
    }
    struct adm_forecast says = forecast();
    assert_int_equal(says.seen, 100);
    assert_int_equal(says.refused, truth.refused);
    rule.mode = CFG_LIMIT_OFF;
    says = forecast();
    assert_int_equal(says.seen, 100);
    assert_int_equal(says.refused, 0);
}

static void requests_older_than_a_minute_do_not_count(void **state)
{
    (void)state;
    set_rule(CFG_LIMIT_TOKEN_BUCKET, CFG_LIMIT_KEY_USER, 1, 1);
    pass(30, 20, 5);
    now_ns += 61 * S;
    tick();
    assert_int_equal(forecast().seen, 0);
    assert_int_equal(forecast().took_ns / S, 60);
}

/* --- many: the error is what it says: two standard deviations, of which one draw in twenty is
 * further away, and one in 16,000 twice as far --- */

static void assert_near(int64_t value, int64_t wanted, int64_t error)
{
    if (value < wanted - error || value > wanted + error)
        fail_msg("%lld is not %lld +- %lld", (long long)value, (long long)wanted, (long long)error);
}

static void many_keys_are_sampled_within_the_stated_error(void **state)
{
    (void)state;
    set_rule(CFG_LIMIT_TOKEN_BUCKET, CFG_LIMIT_KEY_USER, 1, 1);
    pass(40, 20000, 20000);
    struct adm_forecast says = forecast();
    assert_in_range(says.one_in, 8, 1024);
    assert_in_range(says.took_ns / S, 38, 40);
    assert_true(says.error > 0 && says.error < truth.refused / 3);
    assert_near(says.refused, truth.refused, 2 * says.error);
}

static void what_all_share_is_sampled_within_the_stated_error(void **state)
{
    static const enum cfg_limit_algorithm all[] = {CFG_LIMIT_TOKEN_BUCKET, CFG_LIMIT_FIXED_WINDOW,
                                                   CFG_LIMIT_SLIDING_WINDOW};
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(all); i++) {
        (void)end(NULL);
        assert_int_equal(begin(NULL), 0);
        set_rule(all[i], CFG_LIMIT_KEY_GLOBAL, 5000, 5000);
        pass(20, 20000, 4000);
        struct adm_forecast says = forecast();
        assert_true(says.one_in > 1);
        assert_true(says.error > 0 && says.error < truth.refused / 10);
        assert_near(says.seen, truth.seen, truth.seen / 20);
        assert_near(says.refused, truth.refused, 2 * says.error);
    }
}

static void a_gateway_of_a_cluster_forecasts_with_its_share(void **state)
{
    struct adm_forecast says;

    (void)state;
    set_rule(CFG_LIMIT_TOKEN_BUCKET, CFG_LIMIT_KEY_GLOBAL, 100, 100);
    pass(20, 100, 10);
    assert_ok(adm_forecast(&samples, &rule, 0.25, now_ns, &says));
    assert_near(says.refused, 2000 - 20 * 25 - 25, 3);
}

static void what_is_sampled_is_never_said_to_be_exact(void **state)
{
    (void)state;
    set_rule(CFG_LIMIT_TOKEN_BUCKET, CFG_LIMIT_KEY_USER, 1000, 1000);
    pass(40, 20000, 20000); /* nobody reaches that */
    struct adm_forecast says = forecast();
    assert_int_equal(says.refused, 0);
    assert_true(says.one_in > 1 && says.error >= 3 * says.one_in);
    assert_true(says.may_miss_keys && !says.one_key_dominates);
    rule.mode = CFG_LIMIT_OFF; /* which refuses nothing for certain */
    assert_int_equal(forecast().error, 0);
}

/* The level falls again, and what was noted before counts by the level of now's minute. */
static void after_a_storm_the_sample_becomes_exact_again(void **state)
{
    (void)state;
    set_rule(CFG_LIMIT_TOKEN_BUCKET, CFG_LIMIT_KEY_USER, 2, 4);
    pass(5, 50000, 4000);
    assert_true(forecast().one_in >= 64);
    pass(75, 10, 10);
    memset(&truth, 0, sizeof truth);
    struct adm_forecast says = forecast();
    assert_int_equal(says.one_in, 1);
    assert_near(says.seen, 600, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(few_requests_are_counted_exactly, begin, end),
        cmocka_unit_test_setup_teardown(both_networks_of_an_address_count, begin, end),
        cmocka_unit_test_setup_teardown(only_the_rules_own_requests_count, begin, end),
        cmocka_unit_test_setup_teardown(requests_older_than_a_minute_do_not_count, begin, end),
        cmocka_unit_test_setup_teardown(many_keys_are_sampled_within_the_stated_error, begin, end),
        cmocka_unit_test_setup_teardown(what_is_sampled_is_never_said_to_be_exact, begin, end),
        cmocka_unit_test_setup_teardown(what_all_share_is_sampled_within_the_stated_error, begin,
                                        end),
        cmocka_unit_test_setup_teardown(a_gateway_of_a_cluster_forecasts_with_its_share, begin,
                                        end),
        cmocka_unit_test_setup_teardown(after_a_storm_the_sample_becomes_exact_again, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
