/* The limiters against slow exact models, in virtual time. Each property runs random rules and
 * schedules; a failure prints the seed, and LIMITER_SEED=N runs it again. */
#include "tests/unit/check.h"

#include "common/random.h"
#include "gateway/admission/limits/limiter.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

__extension__ typedef __int128 wide;

#define S PS_NS_PER_S

static uint64_t seed;
static uint64_t state;

static uint64_t random64(void)
{
    return ps_random_next(&state);
}

static int64_t below(int64_t limit)
{
    return (int64_t)(random64() % (uint64_t)limit);
}

/* 1 .. most, all magnitudes alike. */
static int64_t magnitude(int64_t most)
{
    int bits = 1 + (int)below(64 - __builtin_clzll((uint64_t)most));
    int64_t value = 1 + below(INT64_C(1) << bits);
    return value < most ? value : most;
}

#define CLAIM(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            print_error("seed %" PRIu64 ": ", seed);                                               \
            print_error(__VA_ARGS__);                                                              \
            fail_msg("%s", #condition);                                                            \
        }                                                                                          \
    } while (0)

static struct cfg_limit_rule random_rule(enum cfg_limit_algorithm algorithm)
{
    struct cfg_limit_rule rule = {
        .name = "r", .algorithm = algorithm, .applies_to = CFG_LIMIT_ORDER};
    rule.rate = magnitude(below(2) ? 100 : CFG_LIMIT_RATE_MAX);
    rule.period_s = magnitude(below(2) ? 60 : CFG_LIMIT_PERIOD_MAX_S);
    rule.burst = rule.rate;
    if (algorithm == CFG_LIMIT_TOKEN_BUCKET || algorithm == CFG_LIMIT_LEAKY_BUCKET) {
        rule.burst = magnitude(below(2) ? 4 : CFG_LIMIT_BURST_MAX);
        int64_t most = CFG_LIMIT_REFILL_MAX_S * rule.rate / rule.period_s;
        rule.burst = rule.burst < most ? rule.burst : most;
    }
    if (algorithm == CFG_LIMIT_LEAKY_BUCKET)
        rule.max_wait_ms = below(CFG_LIMIT_WAIT_MAX_MS + 1);
    return rule;
}

static struct adm_limit_compiled compiled_of(const struct cfg_limit_rule *rule)
{
    struct adm_limit_compiled compiled;
    adm_limit_compile(rule, 1, &compiled);
    return compiled;
}

/* A time step that finds edges: none, about one interval, what the last answer said (and a little
 * less), long silence. */
static int64_t random_step(const struct cfg_limit_rule *rule, struct adm_limit_result last)
{
    int64_t interval = rule->period_s * S / rule->rate;
    switch (below(8)) {
    case 0:
    case 1:
    case 2:
        return 0;
    case 3:
        return below(interval + 2);
    case 4:
        return below(2 * rule->period_s * S);
    case 5:
        return last.wait_ns;
    case 6:
        return last.wait_ns > 2000 ? last.wait_ns - 1 - below(2000) : 1;
    default:
        return below(10) == 0 ? below(INT64_C(90) * 86400 * S) : interval;
    }
}

static struct adm_limit_result step(const struct adm_limit_compiled *compiled, uint64_t *cell,
                                    int64_t now_ns)
{
    return adm_limit_step(compiled, *cell, now_ns, CFG_LIMIT_WAIT_MAX_MS, cell);
}

static struct adm_limit_result look(const struct adm_limit_compiled *compiled, uint64_t cell,
                                    int64_t now_ns)
{
    return adm_limit_step(compiled, cell, now_ns, CFG_LIMIT_WAIT_MAX_MS, &cell);
}

/* --- buckets ---
 * The model holds tokens as exact rationals: level / (period in ns). It gains `rate` a nanosecond,
 * a request costs one period. The limiter's clock ticks every 0.06 ns, so the two may differ where
 * a request comes within 1 ns of its moment. */
static void check_bucket(const struct cfg_limit_rule *rule, int steps)
{
    const wide cost = (wide)rule->period_s * S, full = cost * rule->burst;
    struct adm_limit_compiled compiled;
    adm_limit_compile(rule, 1, &compiled);
    CLAIM(compiled.interval % (uint64_t)rule->period_s == 0 &&
              (wide)compiled.interval * rule->rate ==
                  (wide)rule->period_s * (wide)compiled.ticks_per_s,
          "the interval is not exact");

    wide level = full;
    uint64_t cell = 0;
    int64_t now_ns = magnitude(INT64_C(1) << 58);
    struct adm_limit_result result = {0};
    for (int i = 0; i < steps; i++) {
        int64_t dt = random_step(rule, result);
        now_ns += dt;
        level = level + (wide)dt * rule->rate < full ? level + (wide)dt * rule->rate : full;
        result = step(&compiled, &cell, now_ns);

        wide short_of = cost - level; /* > 0: waits for it, or is refused */
        int64_t wait_ns = short_of > 0 ? (int64_t)((short_of + rule->rate - 1) / rule->rate) : 0;
        int64_t hold_ns = rule->max_wait_ms * PS_NS_PER_MS;
        if (result.allowed) {
            CLAIM(wait_ns <= hold_ns + 1, "step %d: allowed %" PRId64 " ns too early", i,
                  wait_ns - hold_ns);
            CLAIM(llabs(result.wait_ns - wait_ns) <= 1,
                  "step %d: held %" PRId64 " instead of %" PRId64, i, result.wait_ns, wait_ns);
            level -= cost;
        } else {
            CLAIM(wait_ns >= hold_ns, "step %d: refused, but %" PRId64 " <= %" PRId64, i, wait_ns,
                  hold_ns);
            CLAIM(llabs(result.wait_ns - (wait_ns - hold_ns)) <= 1,
                  "step %d: told %" PRId64 " instead of %" PRId64, i, result.wait_ns,
                  wait_ns - hold_ns);
        }
        wide room = level + (wide)hold_ns * rule->rate, blur = rule->rate;
        wide least = room - blur < cost ? 0 : (room - blur) / cost,
             most = room + blur < cost ? 0 : (room + blur) / cost;
        CLAIM(result.remaining >= least && result.remaining <= most, "step %d: remaining %" PRId64,
              i, result.remaining);
    }
}

static void a_token_bucket_is_an_exact_token_bucket(void **unused)
{
    (void)unused;
    for (int i = 0; i < 300; i++) {
        struct cfg_limit_rule rule = random_rule(CFG_LIMIT_TOKEN_BUCKET);
        check_bucket(&rule, 300);
    }
}

static void a_leaky_bucket_holds_by_an_exact_schedule(void **unused)
{
    (void)unused;
    for (int i = 0; i < 300; i++) {
        struct cfg_limit_rule rule = random_rule(CFG_LIMIT_LEAKY_BUCKET);
        check_bucket(&rule, 300);
    }
}

/* What comes out of a leaky bucket: the k-th of a busy stretch leaves exactly k intervals after its
 * first. */
static void what_a_leaky_bucket_lets_out_is_evenly_spaced(void **unused)
{
    (void)unused;
    for (int i = 0; i < 100; i++) {
        struct cfg_limit_rule rule = random_rule(CFG_LIMIT_LEAKY_BUCKET);
        rule.burst = 1;
        rule.max_wait_ms = CFG_LIMIT_WAIT_MAX_MS;
        struct adm_limit_compiled compiled = compiled_of(&rule);
        uint64_t cell = 0;
        int64_t now_ns = magnitude(INT64_C(1) << 50), first_ns = now_ns, k = 0;
        int64_t interval = rule.period_s * S / rule.rate;
        for (int j = 0; j < 500; j++) {
            now_ns += below(interval < S ? interval : S);
            struct adm_limit_result result = step(&compiled, &cell, now_ns);
            if (!result.allowed)
                continue;
            int64_t due_ns = first_ns + (int64_t)((wide)k * rule.period_s * S / rule.rate);
            if (due_ns <= now_ns) { /* not busy: a new stretch */
                CLAIM(result.wait_ns <= 1, "held without need");
                first_ns = now_ns + result.wait_ns;
                k = 0;
            } else {
                CLAIM(llabs(now_ns + result.wait_ns - due_ns) <= 2,
                      "left at %" PRId64 " instead of %" PRId64, now_ns + result.wait_ns, due_ns);
            }
            k++;
        }
    }
}

static void without_room_to_wait_a_leaky_bucket_refuses_and_keeps_the_place(void **unused)
{
    (void)unused;
    struct cfg_limit_rule rule = {.name = "r",
                                  .algorithm = CFG_LIMIT_LEAKY_BUCKET,
                                  .rate = 10,
                                  .period_s = 1,
                                  .burst = 1,
                                  .max_wait_ms = 1000};
    struct adm_limit_compiled compiled = compiled_of(&rule);
    uint64_t cell = 0, before;
    assert_int_equal(step(&compiled, &cell, 5 * S).wait_ns, 0);
    before = cell;
    struct adm_limit_result result = adm_limit_step(&compiled, cell, 5 * S, 0, &cell);
    assert_false(result.allowed);
    assert_int_equal(result.wait_ns, S / 10);
    assert_int_equal(cell, before);
    assert_int_equal(step(&compiled, &cell, 5 * S).wait_ns, S / 10);
    result = adm_limit_step(&compiled, cell, 5 * S, 0, &cell);
    assert_false(result.allowed);
    assert_int_equal(result.wait_ns, 2 * S / 10);
    assert_int_equal(result.remaining, 0);
}

static void nobody_waits_longer_than_his_patience_and_who_would_takes_no_place(void **unused)
{
    (void)unused;
    struct cfg_limit_rule rule = {.name = "r",
                                  .algorithm = CFG_LIMIT_LEAKY_BUCKET,
                                  .rate = 1,
                                  .period_s = 1,
                                  .burst = 1,
                                  .max_wait_ms = 5000};
    struct adm_limit_compiled compiled = compiled_of(&rule);
    uint64_t cell = 0, before;
    for (int i = 0; i < 4; i++)
        assert_true(step(&compiled, &cell, 5 * S).allowed);
    before = cell;
    struct adm_limit_result result = adm_limit_step(&compiled, cell, 5 * S, 3999, &cell);
    assert_false(result.allowed);
    assert_in_range(result.wait_ns, S / 1000, S / 1000 + 1);
    assert_int_equal(cell, before);
    result = adm_limit_step(&compiled, cell, 5 * S, 4000, &cell);
    assert_true(result.allowed);
    assert_int_equal(result.wait_ns, 4 * S);
    assert_true(step(&compiled, &cell, 5 * S).allowed);  /* after 5 s */
    assert_false(step(&compiled, &cell, 5 * S).allowed); /* and more than the rule's own */
}

/* --- windows --- */

static void a_fixed_window_counts_exactly(void **unused)
{
    (void)unused;
    for (int i = 0; i < 300; i++) {
        struct cfg_limit_rule rule = random_rule(CFG_LIMIT_FIXED_WINDOW);
        rule.rate = below(2) ? magnitude(50) : rule.rate;
        struct adm_limit_compiled compiled = compiled_of(&rule);
        uint64_t cell = 0;
        int64_t now_ns = magnitude(INT64_C(1) << 58), window = -1, count = 0;
        struct adm_limit_result result = {0};
        for (int j = 0; j < 300; j++) {
            now_ns += random_step(&rule, result);
            if (now_ns / (rule.period_s * S) != window) {
                window = now_ns / (rule.period_s * S);
                count = 0;
            }
            int64_t left_ns = (window + 1) * rule.period_s * S - now_ns;
            result = step(&compiled, &cell, now_ns);
            CLAIM(result.allowed == (count < rule.rate), "count %" PRId64 " of %" PRId64, count,
                  rule.rate);
            count += result.allowed;
            CLAIM(result.remaining == rule.rate - count, "remaining %" PRId64, result.remaining);
            CLAIM(result.wait_ns == (result.allowed ? 0 : left_ns), "wait %" PRId64,
                  result.wait_ns);
            CLAIM(result.reset_s == (left_ns + S - 1) / S, "reset %" PRId64, result.reset_s);
        }
    }
}

/* The documented estimate, in exact arithmetic. Above 16383 the last count may be rounded up by
 * 0.013 % of the rate. */
static void a_sliding_window_is_the_weighted_sum_of_two_windows(void **unused)
{
    (void)unused;
    for (int i = 0; i < 300; i++) {
        struct cfg_limit_rule rule = random_rule(CFG_LIMIT_SLIDING_WINDOW);
        rule.rate = below(2) ? magnitude(50) : rule.rate;
        const int64_t period_us = rule.period_s * 1000000;
        const wide slack = rule.rate <= 16383 ? 0 : (wide)rule.rate * 13 / 100000 + 1;
        struct adm_limit_compiled compiled = compiled_of(&rule);
        uint64_t cell = 0;
        int64_t now_ns = magnitude(INT64_C(1) << 58), window = -2, last = 0, count = 0;
        struct adm_limit_result result = {0};
        for (int j = 0; j < 300; j++) {
            now_ns += random_step(&rule, result);
            int64_t now_window = now_ns / (rule.period_s * S),
                    elapsed_us = now_ns / 1000 % period_us;
            if (now_window != window) {
                last = now_window == window + 1 ? count : 0;
                count = 0;
                window = now_window;
            }
            for (int64_t n = below(3) == 0 ? magnitude(2 * rule.rate < 400 ? 2 * rule.rate : 400)
                                           : 1;
                 n > 0; n--) {
                result = step(&compiled, &cell, now_ns);
                wide used = (wide)last * (period_us - elapsed_us) + (wide)(count + 1) * period_us;
                wide more = slack * (last > 0 ? period_us - elapsed_us : 0);
                if (result.allowed)
                    CLAIM(used <= (wide)rule.rate * period_us, "allowed above the estimate");
                else
                    CLAIM(used + more > (wide)rule.rate * period_us, "refused below the estimate");
                count += result.allowed;
            }
            CLAIM(count <= rule.rate, "%" PRId64 " in a window of the clock", count);
        }
    }
}

static void a_sliding_window_of_a_high_rate_refuses_at_most_0_013_percent_too_many(void **unused)
{
    (void)unused;
    static const int64_t rates[] = {16383, 16384, 32766, 32767, 99999, 524288, CFG_LIMIT_RATE_MAX};
    for (size_t i = 0; i < PS_ARRAY_LEN(rates); i++) {
        struct cfg_limit_rule rule = {
            .name = "r", .algorithm = CFG_LIMIT_SLIDING_WINDOW, .rate = rates[i], .period_s = 7};
        rule.burst = rule.rate;
        struct adm_limit_compiled compiled = compiled_of(&rule);
        uint64_t cell = 0;
        int64_t last = rates[i] - below(2) * below(rates[i] / 100), count = 0;
        for (int64_t n = 0; n < last; n++)
            assert_true(step(&compiled, &cell, 700 * S).allowed);
        int64_t elapsed_ns = 1000 * below(7 * 1000000);
        while (step(&compiled, &cell, 707 * S + elapsed_ns).allowed)
            count++;
        int64_t exact = rates[i] - (last * (7 * S - elapsed_ns) + 7 * S - 1) / (7 * S);
        int64_t slack = rates[i] <= 16383 ? 0 : 1 + rates[i] * 13 / 100000;
        CLAIM(count <= exact && count >= exact - slack,
              "rate %" PRId64 ": %" PRId64 " instead of %" PRId64, rates[i], count, exact);
    }
}

/* Greedy callers at random moments: how many get through in the worst interval of one period. */
static void a_sliding_window_stays_below_twice_the_rate_in_any_period(void **unused)
{
    (void)unused;
    enum { MOST = 4000 };
    static int64_t admitted[MOST];
    for (int i = 0; i < 100; i++) {
        struct cfg_limit_rule rule = random_rule(CFG_LIMIT_SLIDING_WINDOW);
        rule.rate = magnitude(40);
        struct adm_limit_compiled compiled = compiled_of(&rule);
        uint64_t cell = 0;
        int64_t now_ns = magnitude(INT64_C(1) << 50);
        size_t count = 0, from = 0;
        for (int j = 0; j < MOST; j++) {
            now_ns += below(4) != 0    ? below(rule.period_s * S / rule.rate)
                      : below(50) == 0 ? rule.period_s * S
                                       : 0;
            if (step(&compiled, &cell, now_ns).allowed)
                admitted[count++] = now_ns;
        }
        for (size_t j = 0; j < count; j++) {
            while (admitted[j] - admitted[from] >= rule.period_s * S)
                from++;
            CLAIM((int64_t)(j - from + 1) < 2 * rule.rate || rule.rate == 1,
                  "%zu in a period of rate %" PRId64, j - from + 1, rule.rate);
        }
    }
}

static void a_sliding_window_is_near_exact_for_an_even_stream(void **unused)
{
    (void)unused;
    struct cfg_limit_rule rule = {.name = "r",
                                  .algorithm = CFG_LIMIT_SLIDING_WINDOW,
                                  .rate = 100,
                                  .period_s = 10,
                                  .burst = 100};
    struct adm_limit_compiled compiled = compiled_of(&rule);
    uint64_t cell = 0;
    static int64_t admitted[20000];
    size_t count = 0, from = 0, most = 0;
    for (int64_t now_ns = 1000 * S; now_ns < 2000 * S; now_ns += S / 10) /* at exactly the rate */
        if (step(&compiled, &cell, now_ns).allowed)
            admitted[count++] = now_ns;
    for (size_t i = 0; i < count; i++) {
        while (admitted[i] - admitted[from] >= 10 * S)
            from++;
        most = i - from + 1 > most ? i - from + 1 : most;
    }
    assert_in_range(most, 99, 101);
    assert_in_range(count, 9890, 10000); /* about one request a window is lost to rounding */
}

/* --- all of them --- */

static void the_wait_that_is_told_is_the_shortest(void **unused)
{
    (void)unused;
    for (int i = 0; i < 2000; i++) {
        struct cfg_limit_rule rule = random_rule((enum cfg_limit_algorithm)(i % 4));
        struct adm_limit_compiled compiled = compiled_of(&rule);
        uint64_t cell = 0;
        int64_t now_ns = magnitude(INT64_C(1) << 58);
        struct adm_limit_result result = {0};
        for (int j = 0; j < 40; j++) {
            now_ns += random_step(&rule, result);
            result = step(&compiled, &cell, now_ns);
            if (result.allowed)
                continue;
            CLAIM(result.wait_ns > 0 && result.remaining == 0, "refused without a wait");
            CLAIM(look(&compiled, cell, now_ns + result.wait_ns).allowed, "refused after the wait");
            if (result.wait_ns > 1001)
                CLAIM(!look(&compiled, cell, now_ns + result.wait_ns - 1001).allowed,
                      "allowed before the wait");
            CLAIM(result.reset_s == (result.wait_ns + S - 1) / S,
                  "reset %" PRId64 " is not the wait", result.reset_s);
        }
    }
}

static void as_many_as_remain_are_allowed_and_no_more(void **unused)
{
    (void)unused;
    for (int i = 0; i < 1000; i++) {
        struct cfg_limit_rule rule = random_rule((enum cfg_limit_algorithm)(i % 4));
        rule.rate = magnitude(100);
        rule.burst = i % 4 < 2 ? magnitude(100) : rule.rate;
        struct adm_limit_compiled compiled = compiled_of(&rule);
        uint64_t cell = 0;
        int64_t now_ns = magnitude(INT64_C(1) << 50);
        struct adm_limit_result result = step(&compiled, &cell, now_ns);
        for (int j = 0; j < 10; j++) {
            now_ns += random_step(&rule, result);
            result = step(&compiled, &cell, now_ns);
            CLAIM(result.reset_s >= 1, "reset 0");
            int64_t later_ns = now_ns + result.reset_s * S;
            struct adm_limit_result later = look(&compiled, cell, later_ns);
            CLAIM(later.allowed && later.remaining >= result.remaining, "no more after the reset");
            uint64_t copy = cell;
            for (int64_t left = result.remaining; left > 0 && left < 2000; left--)
                CLAIM(step(&compiled, &copy, now_ns).allowed, "refused with %" PRId64 " remaining",
                      left);
            if (result.remaining < 2000)
                CLAIM(!step(&compiled, &copy, now_ns).allowed, "allowed with none remaining");
        }
    }
}

static void a_refusal_changes_nothing(void **unused)
{
    (void)unused;
    for (int i = 0; i < 400; i++) {
        struct cfg_limit_rule rule = random_rule((enum cfg_limit_algorithm)(i % 4));
        struct adm_limit_compiled compiled = compiled_of(&rule);
        uint64_t cell = random64();
        uint64_t next = 0;
        int64_t now_ns = magnitude(INT64_C(1) << 58);
        if (!adm_limit_step(&compiled, cell, now_ns, below(CFG_LIMIT_WAIT_MAX_MS + 1), &next)
                 .allowed)
            assert_int_equal(next, cell);
    }
}

/* The table relies on it: whatever rule left the cell, once idle it is worth a new one. */
static void an_idle_cell_is_a_fresh_cell_for_every_rule(void **unused)
{
    (void)unused;
    for (int i = 0; i < 20000; i++) {
        struct cfg_limit_rule rule = random_rule((enum cfg_limit_algorithm)(i % 4));
        struct adm_limit_compiled compiled = compiled_of(&rule);
        int64_t now_ns = magnitude(INT64_C(1) << 58);
        uint64_t cell = (uint64_t)(below(2) ? now_ns / S - 1 : below(now_ns / S + 1))
                            << ADM_LIMIT_DETAIL_BITS |
                        random64() >> (64 - ADM_LIMIT_DETAIL_BITS);
        if (!adm_limit_idle(cell, now_ns))
            continue;
        uint64_t from_idle, from_new;
        struct adm_limit_result idle =
            adm_limit_step(&compiled, cell, now_ns, CFG_LIMIT_WAIT_MAX_MS, &from_idle);
        struct adm_limit_result new =
            adm_limit_step(&compiled, 0, now_ns, CFG_LIMIT_WAIT_MAX_MS, &from_new);
        CLAIM(idle.allowed && new.allowed, "an idle key is refused");
        CLAIM(from_idle == from_new &&
                  idle.remaining == new.remaining &&idle.reset_s == new.reset_s,
              "algorithm %d: idle and new differ", i % 4);
    }
}

static void a_cell_becomes_idle_when_nothing_of_it_counts_any_more(void **unused)
{
    (void)unused;
    for (int i = 0; i < 400; i++) {
        struct cfg_limit_rule rule = random_rule((enum cfg_limit_algorithm)(i % 4));
        struct adm_limit_compiled compiled = compiled_of(&rule);
        uint64_t cell = 0;
        int64_t now_ns = magnitude(INT64_C(1) << 50);
        for (int j = 0; j < 20; j++)
            (void)step(&compiled, &cell, now_ns);
        int64_t interval_s = rule.period_s / rule.rate + 1;
        int64_t longest_s = i % 4 < 2 ? 20 * interval_s + 11 : 2 * rule.period_s;
        assert_false(adm_limit_idle(cell, now_ns));
        assert_true(adm_limit_idle(cell, now_ns + (longest_s + 2) * S));
    }
}

/* A slot that changes hands in mid-check can leave anything in a cell. */
static void no_cell_whatsoever_shuts_a_key_out_for_longer_than_its_rule(void **unused)
{
    (void)unused;
    for (int i = 0; i < 20000; i++) {
        struct cfg_limit_rule rule = random_rule((enum cfg_limit_algorithm)(i % 4));
        struct adm_limit_compiled compiled = compiled_of(&rule);
        int64_t now_ns = magnitude(INT64_C(1) << 58);
        uint64_t cell = below(2) ? random64()
                                 : (uint64_t)(now_ns / S + below(2 * rule.period_s + 2))
                                           << ADM_LIMIT_DETAIL_BITS |
                                       random64() >> (64 - ADM_LIMIT_DETAIL_BITS);
        struct adm_limit_result result = look(&compiled, cell, now_ns);
        int64_t interval_ns = rule.period_s * S / rule.rate + 1;
        CLAIM(result.wait_ns <= (i % 4 < 2 ? interval_ns + rule.max_wait_ms * PS_NS_PER_MS
                                           : 3 * rule.period_s * S),
              "algorithm %d: shut out for %" PRId64, i % 4, result.wait_ns);
        CLAIM(result.remaining >= 0, "remaining %" PRId64, result.remaining);
    }
}

static void a_window_begun_by_a_later_clock_is_joined_not_begun_again(void **unused)
{
    (void)unused;
    for (int i = 2; i < 4; i++) {
        struct cfg_limit_rule rule = {.name = "r",
                                      .algorithm = (enum cfg_limit_algorithm)i,
                                      .rate = 10,
                                      .period_s = 1,
                                      .burst = 10};
        struct adm_limit_compiled compiled = compiled_of(&rule);
        uint64_t cell = 0;
        int allowed = 0;
        for (int j = 0; j < 100; j++) { /* two workers, 2 ms apart, on both sides of a boundary */
            int64_t now_ns = 100 * S + (j % 2 == 0 ? PS_NS_PER_MS : -PS_NS_PER_MS);
            bool mine = step(&compiled, &cell, now_ns).allowed;
            assert_int_equal(mine, j < 10);
            allowed += mine;
        }
        assert_int_equal(allowed, 10);
    }
}

static void a_new_rate_applies_from_the_next_check(void **unused)
{
    (void)unused;
    for (int i = 0; i < 4; i++) {
        struct cfg_limit_rule rule = {.name = "r",
                                      .algorithm = (enum cfg_limit_algorithm)i,
                                      .rate = 7,
                                      .period_s = 3600,
                                      .burst = 7};
        struct adm_limit_compiled slow, fast;
        adm_limit_compile(&rule, 1, &slow);
        rule.rate = rule.burst = 3601;
        adm_limit_compile(&rule, 1, &fast);
        assert_int_equal(slow.seed, fast.seed); /* the same cell */

        uint64_t cell = 0;
        int64_t now_ns = 7200 * S + S;
        while (step(&slow, &cell, now_ns).allowed)
            continue;
        if (i < 2) /* cut to an empty bucket of the new size: one interval to wait */
            assert_in_range(look(&fast, cell, now_ns).wait_ns, 1, S);
        else /* 7 of 3601 are counted */
            assert_int_equal(look(&fast, cell, now_ns).remaining, 3601 - 7 - 1);
        assert_true(step(&fast, &cell, now_ns + S).allowed);

        cell = 0; /* and down: what the fast rule let through is too much for the slow one */
        while (step(&fast, &cell, now_ns).allowed)
            continue;
        assert_false(look(&slow, cell, now_ns).allowed);
    }
}

static void another_meaning_of_a_cell_is_another_cell(void **unused)
{
    (void)unused;
    struct cfg_limit_rule rule = {
        .name = "r", .algorithm = CFG_LIMIT_FIXED_WINDOW, .rate = 7, .period_s = 3600, .burst = 7};
    struct adm_limit_compiled first, other;
    adm_limit_compile(&rule, 1, &first);
    adm_limit_compile(&rule, 16, &other);
    assert_int_equal(other.rate, 112);
    assert_int_not_equal(first.seed, other.seed);
    struct cfg_limit_rule change = rule;
    change.algorithm = CFG_LIMIT_SLIDING_WINDOW;
    adm_limit_compile(&change, 1, &other);
    assert_int_not_equal(first.seed, other.seed);
    change = rule;
    change.period_s = 60;
    adm_limit_compile(&change, 1, &other);
    assert_int_not_equal(first.seed, other.seed);
    change = rule;
    change.name[0] = 's';
    adm_limit_compile(&change, 1, &other);
    assert_int_not_equal(first.seed, other.seed);
    change = rule;
    change.key = CFG_LIMIT_KEY_IP;
    adm_limit_compile(&change, 1, &other);
    assert_int_not_equal(first.seed, other.seed);
}

static void a_scale_never_leaves_the_range(void **unused)
{
    (void)unused;
    struct cfg_limit_rule rule = {.name = "r",
                                  .algorithm = CFG_LIMIT_TOKEN_BUCKET,
                                  .rate = CFG_LIMIT_RATE_MAX,
                                  .period_s = 1,
                                  .burst = CFG_LIMIT_BURST_MAX};
    struct adm_limit_compiled compiled;
    adm_limit_compile(&rule, 16, &compiled);
    uint64_t cell = 0;
    assert_int_equal(step(&compiled, &cell, S).remaining, CFG_LIMIT_BURST_MAX - 1);
}

int main(void)
{
    const char *given = getenv("LIMITER_SEED");
    seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    state = seed;
    print_message("LIMITER_SEED=%" PRIu64 "\n", seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_bucket_is_an_exact_token_bucket),
        cmocka_unit_test(a_leaky_bucket_holds_by_an_exact_schedule),
        cmocka_unit_test(what_a_leaky_bucket_lets_out_is_evenly_spaced),
        cmocka_unit_test(without_room_to_wait_a_leaky_bucket_refuses_and_keeps_the_place),
        cmocka_unit_test(nobody_waits_longer_than_his_patience_and_who_would_takes_no_place),
        cmocka_unit_test(a_fixed_window_counts_exactly),
        cmocka_unit_test(a_sliding_window_is_the_weighted_sum_of_two_windows),
        cmocka_unit_test(a_sliding_window_of_a_high_rate_refuses_at_most_0_013_percent_too_many),
        cmocka_unit_test(a_sliding_window_stays_below_twice_the_rate_in_any_period),
        cmocka_unit_test(a_sliding_window_is_near_exact_for_an_even_stream),
        cmocka_unit_test(the_wait_that_is_told_is_the_shortest),
        cmocka_unit_test(as_many_as_remain_are_allowed_and_no_more),
        cmocka_unit_test(a_refusal_changes_nothing),
        cmocka_unit_test(an_idle_cell_is_a_fresh_cell_for_every_rule),
        cmocka_unit_test(a_cell_becomes_idle_when_nothing_of_it_counts_any_more),
        cmocka_unit_test(no_cell_whatsoever_shuts_a_key_out_for_longer_than_its_rule),
        cmocka_unit_test(a_window_begun_by_a_later_clock_is_joined_not_begun_again),
        cmocka_unit_test(a_new_rate_applies_from_the_next_check),
        cmocka_unit_test(another_meaning_of_a_cell_is_another_cell),
        cmocka_unit_test(a_scale_never_leaves_the_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
