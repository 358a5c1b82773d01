/* Counting in shards, and the text of a scrape. */
#include "tests/unit/check.h"

#include "common/metrics/metrics.h"

#include <pthread.h>
#include <stdlib.h>

enum { ROW_REQUESTS, ROW_OPEN, ROW_ROUND_TRIP, ROW_LATENCY, ROWS, ROW_TRACED = ROWS, ALL_ROWS };

static const char *const verdicts[] = {"accepted", "sold_out", NULL};
static const struct ps_metric table[ALL_ROWS] = {
    {"penstock_requests_total", "Requests by verdict.", PS_COUNTER, "verdict", verdicts, NULL},
    {"penstock_connections", "Open connections.", PS_GAUGE, NULL, NULL, NULL},
    {"penstock_round_trip_seconds", "There and back.", PS_GAUGE_BILLIONTHS, NULL, NULL, NULL},
    {"penstock_buy_seconds", "Time to answer.", PS_HISTOGRAM_SECONDS, NULL, NULL, NULL},
    {"penstock_traced_seconds", "With traces.", PS_HISTOGRAM_SECONDS, NULL, NULL, NULL},
};

static void shards_are_added_up(void **state)
{
    (void)state;
    struct ps_metrics *metrics = NULL;
    assert_ok(ps_metrics_new(table, ROWS, 2, &metrics));
    struct ps_metrics_shard *a = ps_metrics_shard(metrics), *b = ps_metrics_shard(metrics);
    assert_non_null(a);
    assert_non_null(b);
    assert_null(ps_metrics_shard(metrics));
    ps_metric_add(a, ROW_REQUESTS, 1, 3);
    ps_metric_add(b, ROW_REQUESTS, 1, 4);
    ps_metric_set(a, ROW_OPEN, 0, 5);
    ps_metric_set(a, ROW_OPEN, 0, 6);
    ps_metric_add(b, ROW_OPEN, 0, -1);
    assert_int_equal(ps_metric_read(metrics, ROW_REQUESTS, 0), 0);
    assert_int_equal(ps_metric_read(metrics, ROW_REQUESTS, 1), 7);
    assert_int_equal(ps_metric_read(metrics, ROW_OPEN, 0), 5);
    ps_metrics_free(metrics);
    ps_metrics_free(NULL);
}

static void a_scrape_is_prometheus_text(void **state)
{
    (void)state;
    struct ps_metrics *metrics = NULL;
    assert_ok(ps_metrics_new(table, ROWS, 2, &metrics));
    struct ps_metrics_shard *a = ps_metrics_shard(metrics), *b = ps_metrics_shard(metrics);
    ps_metric_add(a, ROW_REQUESTS, 0, 2);
    ps_metric_add(b, ROW_REQUESTS, 1, PS_INT_MAX);
    ps_metric_set(a, ROW_OPEN, 0, 9);
    ps_metric_set(a, ROW_ROUND_TRIP, 0, 2000345000);
    ps_metric_observe_ns(a, ROW_LATENCY, 0, 500000); /* a bound belongs to its bucket */
    ps_metric_observe_ns(b, ROW_LATENCY, 0, 500001);
    ps_metric_observe_ns(a, ROW_LATENCY, 0, 30000000);
    ps_metric_observe_ns(a, ROW_LATENCY, 0, 9000000007);
    size_t len = 0;
    char *text = ps_metrics_print(metrics, NULL, NULL, &len);
    assert_non_null(text);
    assert_int_equal(strlen(text), len);
    assert_string_equal(text, "# HELP penstock_requests_total Requests by verdict.\n"
                              "# TYPE penstock_requests_total counter\n"
                              "penstock_requests_total{verdict=\"accepted\"} 2\n"
                              "penstock_requests_total{verdict=\"sold_out\"} 9007199254740991\n"
                              "# HELP penstock_connections Open connections.\n"
                              "# TYPE penstock_connections gauge\n"
                              "penstock_connections 9\n"
                              "# HELP penstock_round_trip_seconds There and back.\n"
                              "# TYPE penstock_round_trip_seconds gauge\n"
                              "penstock_round_trip_seconds 2.000345000\n"
                              "# HELP penstock_buy_seconds Time to answer.\n"
                              "# TYPE penstock_buy_seconds histogram\n"
                              "penstock_buy_seconds_bucket{le=\"5e-05\"} 0\n"
                              "penstock_buy_seconds_bucket{le=\"0.0001\"} 0\n"
                              "penstock_buy_seconds_bucket{le=\"0.00025\"} 0\n"
                              "penstock_buy_seconds_bucket{le=\"0.0005\"} 1\n"
                              "penstock_buy_seconds_bucket{le=\"0.001\"} 2\n"
                              "penstock_buy_seconds_bucket{le=\"0.0025\"} 2\n"
                              "penstock_buy_seconds_bucket{le=\"0.005\"} 2\n"
                              "penstock_buy_seconds_bucket{le=\"0.01\"} 2\n"
                              "penstock_buy_seconds_bucket{le=\"0.025\"} 2\n"
                              "penstock_buy_seconds_bucket{le=\"0.05\"} 3\n"
                              "penstock_buy_seconds_bucket{le=\"0.1\"} 3\n"
                              "penstock_buy_seconds_bucket{le=\"0.25\"} 3\n"
                              "penstock_buy_seconds_bucket{le=\"0.5\"} 3\n"
                              "penstock_buy_seconds_bucket{le=\"1.0\"} 3\n"
                              "penstock_buy_seconds_bucket{le=\"2.5\"} 3\n"
                              "penstock_buy_seconds_bucket{le=\"+Inf\"} 4\n"
                              "penstock_buy_seconds_sum 9.031000008\n"
                              "penstock_buy_seconds_count 4\n");
    free(text);
    ps_metrics_free(metrics);
}

static void durations_counted_elsewhere_are_shown_as_a_histogram(void **state)
{
    (void)state;
    struct ps_metrics *metrics = NULL;
    struct ps_durations durations = {0};
    assert_ok(ps_metrics_new(table, ROWS, 1, &metrics));
    struct ps_metrics_shard *shard = ps_metrics_shard(metrics);
    ps_durations_add(&durations, 500000);
    ps_durations_add(&durations, 9000000007);
    assert_int_equal(ps_durations_count(&durations), 2);
    for (int scrape = 0; scrape < 2; scrape++) /* they are set, not added */
        ps_metric_set_durations(shard, ROW_LATENCY, &durations);
    size_t len = 0;
    char *text = ps_metrics_print(metrics, NULL, NULL, &len);
    assert_non_null(strstr(text, "_bucket{le=\"0.0005\"} 1\n"));
    assert_non_null(strstr(text, "_bucket{le=\"+Inf\"} 2\n"));
    assert_non_null(strstr(text, "_sum 9.000500007\n"));
    free(text);
    ps_metrics_free(metrics);
}

static bool is_not_sold_out(size_t value_index)
{
    return value_index != 1;
}

static void ask(FILE *out, size_t row, void *ctx)
{
    if (row == 1)
        fprintf(out, "penstock_units{sale=\"%s\",state=\"left\"} 7\n", (const char *)ctx);
}

static void a_label_of_a_histogram_and_samples_of_the_moment_are_printed(void **state)
{
    static const struct ps_metric rows[] = {
        {"penstock_seconds", "By verdict.", PS_HISTOGRAM_SECONDS, "verdict", verdicts, NULL},
        {"penstock_units", "Of sales.", PS_GAUGE_ASKED, "sale, state", NULL, NULL},
        {"process_open_fds", "Not known here.", PS_GAUGE_ASKED, NULL, NULL, NULL},
        {"penstock_few_total", "Some.", PS_COUNTER, "verdict", verdicts, is_not_sold_out},
    };
    struct ps_metrics *metrics = NULL;

    (void)state;
    assert_ok(ps_metrics_new(rows, PS_ARRAY_LEN(rows), 1, &metrics));
    struct ps_metrics_shard *shard = ps_metrics_shard(metrics);
    ps_metric_observe_ns(shard, 0, 0, 50000);
    ps_metric_observe_ns(shard, 0, 1, 50001);
    ps_metric_observe_ns(shard, 0, 1, 3000000000);
    ps_metric_add(shard, 3, 0, 1);
    size_t len = 0;
    char *text = ps_metrics_print(metrics, ask, (char[]){"spring"}, &len);
    assert_non_null(text);
    assert_non_null(strstr(text, "penstock_seconds_bucket{verdict=\"accepted\",le=\"5e-05\"} 1\n"));
    assert_non_null(strstr(text, "penstock_seconds_sum{verdict=\"accepted\"} 0.000050000\n"
                                 "penstock_seconds_count{verdict=\"accepted\"} 1\n"));
    assert_non_null(strstr(text, "penstock_seconds_bucket{verdict=\"sold_out\",le=\"5e-05\"} 0\n"));
    assert_non_null(
        strstr(text, "penstock_seconds_bucket{verdict=\"sold_out\",le=\"0.0001\"} 1\n"));
    assert_non_null(strstr(text, "penstock_seconds_bucket{verdict=\"sold_out\",le=\"+Inf\"} 2\n"));
    assert_non_null(strstr(text, "# HELP penstock_units Of sales.\n# TYPE penstock_units gauge\n"
                                 "penstock_units{sale=\"spring\",state=\"left\"} 7\n"
                                 "# HELP penstock_few_total Some.\n"
                                 "# TYPE penstock_few_total counter\n"
                                 "penstock_few_total{verdict=\"accepted\"} 1\n"));
    assert_null(strstr(text, "penstock_few_total{verdict=\"sold_out\"}"));
    free(text);
    ps_metrics_free(metrics);
}

static char *print_open(struct ps_metrics *metrics, ps_metric_ask_fn *ask_fn)
{
    size_t len = 0;
    char *text = ps_metrics_print_open(metrics, ask_fn, (char[]){"spring"}, &len);

    assert_non_null(text);
    assert_int_equal(strlen(text), len);
    return text;
}

static void open_metrics_have_units_exemplars_and_an_end(void **state)
{
    (void)state;
    struct ps_metrics *metrics = NULL;
    assert_ok(ps_metrics_new(table, ROWS, 2, &metrics));
    struct ps_metrics_shard *a = ps_metrics_shard(metrics), *b = ps_metrics_shard(metrics);
    ps_metric_add(a, ROW_REQUESTS, 0, 2);
    const struct ps_exemplar early = {{0x0a}, 500000, 1000}, late = {{0xff, 0x01}, 400000, 1999},
                             soon = {{0x0b}, 450000, 1500};
    ps_metric_observe_traced_ns(a, ROW_LATENCY, 0, &early);
    ps_metric_observe_traced_ns(a, ROW_LATENCY, 0, &soon); /* the one before is not a second old */
    char *text = print_open(metrics, NULL);
    assert_non_null(strstr(text, "# TYPE penstock_requests counter\n"
                                 "# HELP penstock_requests Requests by verdict.\n"
                                 "penstock_requests_total{verdict=\"accepted\"} 2\n"));
    assert_non_null(strstr(text, "# UNIT penstock_buy_seconds seconds\n"));
    assert_non_null(strstr(text, "penstock_buy_seconds_bucket{le=\"0.0005\"} 2 # "
                                 "{trace_id=\"0a000000000000000000000000000000\"} "
                                 "0.000500000 1.000\n"));
    assert_non_null(strstr(text, "penstock_buy_seconds_bucket{le=\"0.001\"} 2\n"));
    assert_string_equal(text + strlen(text) - 6, "# EOF\n");
    free(text);
    ps_metric_observe_traced_ns(b, ROW_LATENCY, 0, &late); /* the newest of both threads */
    text = print_open(metrics, NULL);
    assert_non_null(strstr(text, "{trace_id=\"ff010000000000000000000000000000\"} "
                                 "0.000400000 1.999\n"));
    free(text);
    size_t len = 0;
    text = ps_metrics_print(metrics, NULL, NULL, &len);
    assert_null(strstr(text, "trace_id"));
    assert_null(strstr(text, "EOF"));
    free(text);
    ps_metrics_free(metrics);
}

#define ADDS 50000

static void *count(void *arg)
{
    for (int i = 0; i < ADDS; i++) {
        ps_metric_add(arg, ROW_REQUESTS, 0, 1);
        ps_metric_observe_ns(arg, ROW_LATENCY, 0, i);
        const struct ps_exemplar traced = {{(uint8_t)i, [15] = (uint8_t)i}, 70000, i * 1000};
        ps_metric_observe_traced_ns(arg, ROW_TRACED, 0, &traced);
    }
    return NULL;
}

/* The first and the last byte of each trace are the same. */
static bool has_torn_trace(const char *text)
{
    const char *at = text;

    while ((at = strstr(at, "trace_id=\"")) != NULL) {
        at += strlen("trace_id=\"");
        if (memcmp(at, at + 30, 2) != 0)
            return true;
    }
    return false;
}

static void a_scrape_may_run_while_others_count(void **state)
{
    (void)state;
    struct ps_metrics *metrics = NULL;
    assert_ok(ps_metrics_new(table, ALL_ROWS, 2, &metrics));
    pthread_t thread[2];
    for (int i = 0; i < 2; i++)
        assert_ok(pthread_create(&thread[i], NULL, count, ps_metrics_shard(metrics)));
    int64_t last = 0;
    bool rises = true, torn = false;
    for (int i = 0; i < 100; i++) {
        size_t len;
        char *text = ps_metrics_print_open(metrics, NULL, NULL, &len);
        torn = torn || has_torn_trace(text);
        free(text);
        int64_t now = ps_metric_read(metrics, ROW_REQUESTS, 0);
        rises = rises && now >= last;
        last = now;
    }
    for (int i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    assert_true(rises);
    assert_false(torn);
    assert_int_equal(ps_metric_read(metrics, ROW_REQUESTS, 0), 2 * ADDS);
    ps_metrics_free(metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shards_are_added_up),
        cmocka_unit_test(a_scrape_is_prometheus_text),
        cmocka_unit_test(open_metrics_have_units_exemplars_and_an_end),
        cmocka_unit_test(durations_counted_elsewhere_are_shown_as_a_histogram),
        cmocka_unit_test(a_label_of_a_histogram_and_samples_of_the_moment_are_printed),
        cmocka_unit_test(a_scrape_may_run_while_others_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
