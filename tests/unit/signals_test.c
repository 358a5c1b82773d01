/* The signals of overload: what workers publish, what of it the sampler makes, how it is judged,
 * and what is remembered. */
#include "tests/unit/temp_dir.h"

#include "gateway/admission/shed.h"
#include "gateway/admission/signals.h"
#include "gateway/metrics.h"
#include "queue/log_backend.h"

#include <math.h>

#define MS PS_NS_PER_MS
#define S  PS_NS_PER_S

static void assert_near(double got, double wanted, double off_at_most)
{
    if (!(got >= wanted - off_at_most && got <= wanted + off_at_most))
        fail_msg("%g instead of %g", got, wanted);
}

/* --- times --- */

static void add_to_window(struct ps_times_sum *window, int64_t ns, uint32_t times)
{
    window->count[ps_time_bucket(ns)] += times;
}

static double quantile_ms(const struct ps_times_sum *window, double share)
{
    return (double)ps_times_quantile_ns(window, share) / MS;
}

static void buckets_are_an_eighth_of_an_octave_wide(void **state)
{
    (void)state;
    assert_int_equal(ps_time_bucket(-5), 0);
    assert_int_equal(ps_time_bucket(0), 0);
    assert_int_equal(ps_time_bucket(65535), 0);
    assert_int_equal(ps_time_bucket(65536), 1);
    assert_int_equal(ps_time_bucket(131071), 8);
    assert_int_equal(ps_time_bucket(131072), 9);
    assert_int_equal(ps_time_bucket(INT64_MAX), PS_TIME_BUCKETS - 1);
    for (int64_t ns = 65536; ns < 20 * S; ns += ns / 50) {
        struct ps_times_sum window = {{0}};
        add_to_window(&window, ns, 1);
        assert_near((double)ps_times_quantile_ns(&window, 0.99) / (double)ns, 1, 0.07);
    }
}

static void a_percentile_is_exceeded_by_no_more_than_its_rest(void **state)
{
    struct ps_times_sum window = {{0}};

    (void)state;
    assert_near(quantile_ms(&window, 0.99), 0, 0);
    add_to_window(&window, 1 * MS, 980);
    add_to_window(&window, 100 * MS, 10);
    add_to_window(&window, 10 * MS, 10);
    assert_near(quantile_ms(&window, 0.5), 1, 0.07);
    assert_near(quantile_ms(&window, 0.98), 1, 0.07);
    assert_near(quantile_ms(&window, 0.985), 10, 0.7);
    assert_near(quantile_ms(&window, 0.99), 10, 0.7);
    assert_near(quantile_ms(&window, 0.995), 100, 7);
}

/* Against an exact model: for many moments of the window, how long is it until the loop is free? */
static void the_wait_is_that_of_a_random_moment(void **state)
{
    static const int64_t turns_ms[][8] = {
        {0}, {20}, {90}, {5, 5, 5, 5}, {1, 1, 1, 1, 1, 1, 1, 1}, {40, 2, 2, 2}, {30, 30, 30}};

    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(turns_ms); i++) {
        struct ps_times_sum window = {{0}};
        double waits[10000] = {0};
        size_t at = 0, longer = 0;
        for (size_t j = 0; j < 8 && turns_ms[i][j] > 0; j++) {
            add_to_window(&window, turns_ms[i][j] * MS, 1);
            for (int64_t k = 0; k < turns_ms[i][j] * 100; k++)
                waits[at++] = (double)turns_ms[i][j] - (double)k / 100;
        }
        double wait_ms = adm_window_wait_ms(&window, 0.99, 100.0 * MS);
        for (size_t k = 0; k < 10000; k++)
            longer += waits[k] > wait_ms * 1.07 + 0.02;
        assert_true(longer <= 100);
        longer = 0;
        for (size_t k = 0; k < 10000; k++)
            longer += waits[k] >= wait_ms / 1.07 - 0.02;
        assert_true(wait_ms == 0 || longer >= 100);
    }
}

static void a_window_has_what_was_counted_since_the_last_look(void **state)
{
    static struct ps_times times;
    static struct ps_times_sum seen;
    struct ps_times_sum window = {{0}};

    (void)state;
    memset(&times, 0xff, sizeof times); /* about to begin again at 0 */
    adm_window_take(&window, &times, &seen);
    memset(&window, 0, sizeof window);
    ps_times_add(&times, 5 * MS);
    ps_times_add(&times, 5 * MS);
    adm_window_take(&window, &times, &seen);
    assert_int_equal(window.count[ps_time_bucket(5 * MS)], 2);
    adm_window_take(&window, &times, &seen);
    assert_int_equal(window.count[ps_time_bucket(5 * MS)], 2);
    assert_int_equal(window.count[0], 0);
}

/* --- history --- */

static struct adm_history *new_history(void)
{
    struct adm_history *history;

    assert_ok(adm_history_new(2, &history));
    return history;
}

static void a_point_is_the_largest_sample_of_its_second(void **state)
{
    struct adm_history *history = new_history();

    (void)state;
    assert_int_equal(adm_history_count(history), 0);
    adm_history_add(history, 0, 50, 3);
    adm_history_add(history, 0, 50, NAN);
    adm_history_add(history, 0, 50, 7);
    adm_history_add(history, 0, 50, 5);
    adm_history_add(history, 1, 50, NAN);
    assert_int_equal(adm_history_count(history), 0); /* the second is not over */
    adm_history_add(history, 0, 51, 1);
    assert_int_equal(adm_history_count(history), 1);
    assert_int_equal(adm_history_last(history), 50);
    assert_near(adm_history_at(history, 0, 0), 7, 0);
    assert_true(isnan(adm_history_at(history, 1, 0)));
    adm_history_free(history);
}

static void ten_minutes_are_kept(void **state)
{
    struct adm_history *history = new_history();

    (void)state;
    for (int64_t second = 1000; second <= 3000; second++)
        adm_history_add(history, 1, second, (double)second);
    assert_int_equal(adm_history_count(history), ADM_HISTORY_S);
    assert_int_equal(adm_history_last(history), 2999);
    for (size_t i = 0; i < ADM_HISTORY_S; i++) {
        assert_near(adm_history_at(history, 1, i), 2400 + (double)i, 0);
        assert_true(isnan(adm_history_at(history, 0, i)));
    }
    adm_history_free(history);
}

static void seconds_without_a_sample_are_points_without_one(void **state)
{
    static const int64_t gaps[] = {2, 5, 599, 600, 601, 602, 5000};

    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(gaps); i++) {
        struct adm_history *history = new_history();
        adm_history_add(history, 0, 10, 1);
        adm_history_add(history, 0, 10 + gaps[i], 2);
        size_t count = adm_history_count(history);
        assert_int_equal(count, gaps[i] < ADM_HISTORY_S ? gaps[i] : ADM_HISTORY_S);
        for (size_t point = 0; point < count; point++) {
            bool first = (int64_t)point == (int64_t)count - gaps[i];
            double value = adm_history_at(history, 0, point);
            assert_true(first ? value == 1 : isnan(value));
        }
        adm_history_free(history);
    }
}

/* --- judging --- */

static struct adm_sample all_absent(void)
{
    struct adm_sample sample = {.at_ns = 1};

    for (size_t i = 0; i < CFG_SIGNAL_COUNT; i++)
        sample.value[i] = NAN;
    return sample;
}

static void pressure_is_the_largest_weighted_share_and_names_its_signal(void **state)
{
    struct adm_sample sample = all_absent();
    struct cfg_signal_rule rules[CFG_SIGNAL_COUNT];

    (void)state;
    for (size_t i = 0; i < CFG_SIGNAL_COUNT; i++)
        rules[i] = (struct cfg_signal_rule){.threshold = 10, .weight = 1};
    sample.value[CFG_SIGNAL_LOOP_DELAY] = 8;
    sample.value[CFG_SIGNAL_MACHINE_CPU] = 12;
    rules[CFG_SIGNAL_MACHINE_CPU].weight = 0.5;
    adm_sample_judge(&sample, rules);
    assert_near(sample.pressure, 0.8, 1e-9);
    assert_int_equal(sample.highest, CFG_SIGNAL_LOOP_DELAY);
    assert_near(sample.share[CFG_SIGNAL_MACHINE_CPU], 0.6, 1e-9);
    assert_true(isnan(sample.share[CFG_SIGNAL_MEMORY]));
    rules[CFG_SIGNAL_MACHINE_CPU].weight = 1;
    adm_sample_judge(&sample, rules);
    assert_near(sample.pressure, 1.2, 1e-9);
    assert_int_equal(sample.highest, CFG_SIGNAL_MACHINE_CPU);
}

static void a_signal_without_a_threshold_is_not_judged(void **state)
{
    struct adm_sample sample = all_absent();
    struct cfg_signal_rule rules[CFG_SIGNAL_COUNT] = {{0, 1}};

    (void)state;
    sample.value[CFG_SIGNAL_ADMITTED_RATE] = 1e9;
    adm_sample_judge(&sample, rules);
    assert_near(sample.pressure, 0, 0);
    assert_int_equal(sample.highest, CFG_SIGNAL_COUNT);
    assert_true(isnan(sample.share[CFG_SIGNAL_ADMITTED_RATE]));
}

static void a_threshold_next_to_nothing_gives_a_share_that_answers_can_show(void **state)
{
    struct adm_sample sample = all_absent();
    struct cfg_signal_rule rules[CFG_SIGNAL_COUNT] = {{1e-310, 1}};

    (void)state;
    sample.value[CFG_SIGNAL_LOOP_DELAY] = 8;
    adm_sample_judge(&sample, rules);
    assert_int_equal(sample.highest, CFG_SIGNAL_LOOP_DELAY);
    assert_near(sample.pressure, ADM_SHARE_MAX, 0);
    assert_near(sample.share[CFG_SIGNAL_LOOP_DELAY], ADM_SHARE_MAX, 0);
}

static void every_signal_has_a_name_of_its_own_and_a_rule(void **state)
{
    (void)state;
    for (enum cfg_signal i = 0; i < CFG_SIGNAL_COUNT; i++) {
        for (enum cfg_signal other = 0; other < i; other++)
            assert_string_not_equal(cfg_signals[i].name, cfg_signals[other].name);
        assert_true(cfg_signals[i].rule.threshold >= 0);
        assert_true(cfg_signals[i].rule.weight > 0 && cfg_signals[i].rule.weight <= 1);
    }
}

/* --- the sampler, over two workers and a log that say what the test wants --- */

static unsigned backlog;

static unsigned on_backlog(const struct oq_log *log)
{
    (void)log;
    return backlog;
}

static void on_stats(const struct oq_log *log, struct oq_log_stats *ret_stats)
{
    (void)log;
    *ret_stats = (struct oq_log_stats){.backlog = backlog * 10};
}

static const struct oq_log_ops log_ops = {.backlog_percent = on_backlog, .stats = on_stats};
static struct oq_log log_ = {&log_ops};

static struct temp_dir dir;
static struct ps_clock_manual clock_;
static struct adm_worker_load *loads;
static struct ps_metrics *metrics;
static struct ps_metrics_shard *shard;
static struct adm_signals *signals;

static void start(bool store_is_shared)
{
    assert_ok(adm_signals_new(&(struct adm_signals_settings){.clock = &clock_.clock,
                                                             .root = dir.path,
                                                             .workers = 2,
                                                             .log = &log_,
                                                             .metrics = metrics,
                                                             .connections_max = 1000,
                                                             .store_is_shared = store_is_shared},
                              &signals));
    loads = adm_signals_loads(signals);
}

static int set_up(void **state)
{
    (void)state;
    dir = temp_dir_make();
    ps_clock_manual_init(&clock_, 1000 * S, INT64_C(1900000000000));
    backlog = 0;
    assert_ok(ps_metrics_new(gw_metric_table, GW_M_COUNT, 1, &metrics));
    shard = ps_metrics_shard(metrics);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    adm_signals_free(signals);
    ps_metrics_free(metrics);
    temp_dir_remove(&dir);
    return 0;
}

/* A tenth of a second passes, both workers tick, and the signals are sampled. */
static void tick(void)
{
    clock_.mono_ns += 100 * MS;
    for (size_t i = 0; i < 2; i++)
        loads[i].alive_ns = clock_.mono_ns;
    adm_signals_sample(signals);
}

static double value(enum cfg_signal signal)
{
    return adm_signals_now(signals)->value[signal];
}

static void what_workers_publish_is_added_up(void **state)
{
    (void)state;
    start(true);
    tick();
    for (int i = 0; i < 2; i++) {
        loads[i].connections = 300;
        loads[i].in_flight = 40;
        loads[i].held = 15;
    }
    backlog = 30;
    tick();
    assert_near(value(CFG_SIGNAL_CONNECTIONS), 0.6, 1e-9);
    assert_near(value(CFG_SIGNAL_IN_FLIGHT), 50, 1e-9);
    assert_near(value(CFG_SIGNAL_LOG_BACKLOG), 0.3, 1e-9);
    assert_int_equal(adm_signals_now(signals)->connections, 600);
    assert_int_equal(adm_signals_now(signals)->in_flight, 80);
    assert_int_equal(adm_signals_now(signals)->held, 30);
    assert_int_equal(adm_signals_now(signals)->log_backlog, 300);
    assert_near(adm_signals_now(signals)->pressure, 0.6, 1e-9);
}

static void latencies_are_those_of_the_last_window(void **state)
{
    (void)state;
    start(true);
    tick();
    for (int i = 0; i < 100; i++) {
        ps_times_add(&loads[0].store, 2 * MS);
        ps_times_add(&loads[1].log, 30 * MS);
    }
    ps_times_add(&loads[1].store, 80 * MS);
    ps_times_add(&loads[1].store, 80 * MS);
    tick();
    assert_near(value(CFG_SIGNAL_STORE_LATENCY), 80, 6);
    assert_near(value(CFG_SIGNAL_LOG_LATENCY), 30, 2);
    tick();
    assert_near(value(CFG_SIGNAL_STORE_LATENCY), 0, 0);
    assert_near(value(CFG_SIGNAL_LOG_LATENCY), 0, 0);
}

static void a_log_that_shows_nothing_is_as_slow_as_the_oldest_order_waits(void **state)
{
    (void)state;
    start(true);
    loads[0].log_oldest_ns = clock_.mono_ns + 50 * MS;
    loads[1].log_oldest_ns = clock_.mono_ns;
    tick();
    assert_near(value(CFG_SIGNAL_LOG_LATENCY), 100, 1e-9);
    tick();
    assert_near(value(CFG_SIGNAL_LOG_LATENCY), 200, 1e-9);
    loads[0].log_oldest_ns = loads[1].log_oldest_ns = 0;
    tick();
    assert_near(value(CFG_SIGNAL_LOG_LATENCY), 0, 0);
}

static void a_long_turn_delays_its_worker_and_one_under_way_does_too(void **state)
{
    (void)state;
    start(true);
    tick();
    ps_times_add(&loads[0].turns, 50 * MS);
    tick();
    assert_near(value(CFG_SIGNAL_LOOP_DELAY), 48, 4); /* 1 % of 2 x 100 ms waits for longer */
    tick();
    assert_near(value(CFG_SIGNAL_LOOP_DELAY), 0, 0);
    for (int late = 1; late < 5; late++) { /* worker 1 ticks no more */
        clock_.mono_ns += 100 * MS;
        loads[0].alive_ns = clock_.mono_ns;
        adm_signals_sample(signals);
    }
    assert_near(value(CFG_SIGNAL_LOOP_DELAY), 298, 21);
    tick();
    assert_near(value(CFG_SIGNAL_LOOP_DELAY), 0, 0);
}

static void rates_are_those_of_the_last_second(void **state)
{
    (void)state;
    start(true);
    tick();
    for (int i = 0; i < 30; i++) {
        loads[0].admitted += i % 10 == 0 ? 1000 : 0; /* in bursts */
        loads[1].admitted += 50;
        tick();
    }
    assert_near(value(CFG_SIGNAL_ADMITTED_RATE), 1500, 1);
    for (int i = 0; i < 10; i++)
        tick();
    assert_near(value(CFG_SIGNAL_ADMITTED_RATE), 0, 0);
}

static void what_cannot_be_read_is_absent_with_a_reason_and_comes_back(void **state)
{
    const struct adm_sample *sample;

    (void)state;
    start(false); /* /proc is an empty directory */
    tick();
    sample = adm_signals_now(signals);
    assert_true(isnan(sample->value[CFG_SIGNAL_MEMORY]));
    assert_true(isnan(sample->share[CFG_SIGNAL_MEMORY]));
    assert_non_null(strstr(adm_signals_absent(signals, CFG_SIGNAL_MEMORY), "proc/meminfo"));
    assert_non_null(strstr(adm_signals_absent(signals, CFG_SIGNAL_MEMORY_PRESSURE), "pressure"));
    assert_non_null(strstr(adm_signals_absent(signals, CFG_SIGNAL_MACHINE_CPU), "proc/stat"));
    assert_string_equal(adm_signals_absent(signals, CFG_SIGNAL_STORE_LATENCY),
                        "the counter is in memory");
    assert_null(adm_signals_absent(signals, CFG_SIGNAL_CONNECTIONS));
    assert_null(adm_signals_absent(signals, CFG_SIGNAL_PROCESS_CPU));
    char proc[128];
    (void)snprintf(proc, sizeof proc, "%s/proc", dir.path);
    assert_ok(mkdir(proc, 0700));
    write_file(temp_file(&dir, "proc/meminfo"), "MemTotal: 100 kB\nMemAvailable: 40 kB\n");
    for (int i = 0; i < 10; i++) /* it is read again each second */
        tick();
    assert_null(adm_signals_absent(signals, CFG_SIGNAL_MEMORY));
    assert_near(value(CFG_SIGNAL_MEMORY), 0.6, 1e-9);
}

static void a_quota_that_cannot_be_read_leaves_the_processor_time_unjudged(void **state)
{
    char self[128];

    (void)state;
    (void)snprintf(self, sizeof self, "%s/proc", dir.path);
    assert_ok(mkdir(self, 0700));
    (void)snprintf(self, sizeof self, "%s/proc/self", dir.path);
    assert_ok(mkdir(self, 0700));
    write_file(temp_file(&dir, "proc/self/cgroup"), "1:cpu:/a\n");
    write_file(temp_file(&dir, "proc/self/mountinfo"),
               "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n");
    start(false);
    for (int i = 0; i < 13; i++) {
        tick();
        assert_true(isnan(value(CFG_SIGNAL_PROCESS_CPU)));
        assert_non_null(
            strstr(adm_signals_absent(signals, CFG_SIGNAL_PROCESS_CPU), "/sys/fs/cgroup/cpu/a"));
    }
}

static void history_has_every_figure_and_the_answers_by_verdict(void **state)
{
    const struct adm_history *history;
    size_t last;

    (void)state;
    start(true);
    for (int i = 0; i < 55; i++) {
        ps_metric_add(shard, GW_M_ANSWERS, ANS_V_sold_out, 20);
        if (i == 33)
            loads[0].in_flight = 5000;
        if (i == 34)
            loads[0].in_flight = 100;
        ps_metric_set(shard, GW_M_ADMISSION, ADM_SHED_ORDER, 750 * MS);
        if (i == 35)
            ps_times_add(&loads[1].orders, 40 * MS);
        tick();
        if (i == 36)
            adm_signals_note(signals, ADM_SERIES_LEVEL, 2);
    }
    history = adm_signals_history(signals);
    assert_int_equal(adm_history_count(history), 5);
    assert_near(adm_history_at(history, ADM_SERIES_LEVEL, 3), 2, 0);
    assert_true(isnan(adm_history_at(history, ADM_SERIES_LEVEL, 2)));
    assert_near(adm_history_at(history, ADM_SERIES_SHED, 2), 0.25, 1e-6);
    last = 4;
    assert_near(adm_history_at(history, ADM_SERIES_ANSWERS + ANS_V_sold_out, last), 200, 25);
    assert_near(adm_history_at(history, ADM_SERIES_ANSWERS + ANS_V_accepted, last), 0, 0);
    assert_near(adm_history_at(history, CFG_SIGNAL_IN_FLIGHT, 3), 5000, 0);
    assert_near(adm_history_at(history, ADM_SERIES_PRESSURE, 3), 1, 1e-6);
    assert_near(adm_history_at(history, CFG_SIGNAL_IN_FLIGHT, last), 100, 0);
    assert_near(adm_history_at(history, ADM_SERIES_ORDER_P99, 3), 40, 3);
    assert_near(adm_history_at(history, ADM_SERIES_ORDER_P50, 3), 40, 3);
    assert_true(isnan(adm_history_at(history, ADM_SERIES_ORDER_P99, last)));
}

static void rules_hold_from_the_next_sample_on(void **state)
{
    struct cfg_signal_rule rules[CFG_SIGNAL_COUNT] = {{0, 0}};

    (void)state;
    start(true);
    tick();
    loads[0].connections = 1000;
    tick();
    assert_near(adm_signals_now(signals)->pressure, 0.5, 1e-9);
    loads[0].connections = 1500; /* those above the limit do not count */
    tick();
    assert_near(adm_signals_now(signals)->pressure, 0.5, 1e-9);
    rules[CFG_SIGNAL_CONNECTIONS] = (struct cfg_signal_rule){.threshold = 0.5, .weight = 1};
    adm_signals_set_rules(signals, rules);
    tick();
    assert_near(adm_signals_now(signals)->pressure, 2, 1e-9);
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_are_an_eighth_of_an_octave_wide),
        cmocka_unit_test(a_percentile_is_exceeded_by_no_more_than_its_rest),
        cmocka_unit_test(the_wait_is_that_of_a_random_moment),
        cmocka_unit_test(a_window_has_what_was_counted_since_the_last_look),
        cmocka_unit_test(a_point_is_the_largest_sample_of_its_second),
        cmocka_unit_test(ten_minutes_are_kept),
        cmocka_unit_test(seconds_without_a_sample_are_points_without_one),
        cmocka_unit_test(pressure_is_the_largest_weighted_share_and_names_its_signal),
        cmocka_unit_test(a_signal_without_a_threshold_is_not_judged),
        cmocka_unit_test(a_threshold_next_to_nothing_gives_a_share_that_answers_can_show),
        cmocka_unit_test(every_signal_has_a_name_of_its_own_and_a_rule),
        CLAIM(what_workers_publish_is_added_up),
        CLAIM(latencies_are_those_of_the_last_window),
        CLAIM(a_log_that_shows_nothing_is_as_slow_as_the_oldest_order_waits),
        CLAIM(a_long_turn_delays_its_worker_and_one_under_way_does_too),
        CLAIM(rates_are_those_of_the_last_second),
        CLAIM(what_cannot_be_read_is_absent_with_a_reason_and_comes_back),
        CLAIM(a_quota_that_cannot_be_read_leaves_the_processor_time_unjudged),
        CLAIM(history_has_every_figure_and_the_answers_by_verdict),
        CLAIM(rules_hold_from_the_next_sample_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
