/* Counting without sharing. Every shard holds the cells of all rows, in whole cache lines of its
 * own, and only its thread writes them: an increment is a relaxed load and a relaxed store, never a
 * locked instruction. A scrape adds the shards up while they are written; each number is right by
 * itself, and a histogram's _count is made of the buckets that it prints, so that the two always
 * agree. Cells of a row: one a label value; of a histogram: one a bound, one beyond the last bound,
 * and the sum in nanoseconds. */
#include "common/metrics.h"
#include "common/clock.h"
#include "common/err.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define BOUNDS PS_METRIC_BOUNDS
const double ps_metric_bounds[BOUNDS + 1] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                             0.1,    0.25,  0.5,    1,     2.5,  0};
static const int64_t bounds_ns[BOUNDS] = {500000,    1000000,   2500000,    5000000,
                                          10000000,  25000000,  50000000,   100000000,
                                          250000000, 500000000, 1000000000, 2500000000};
#define HISTOGRAM_SUM   (BOUNDS + 1) /* behind the buckets */
#define HISTOGRAM_CELLS (BOUNDS + 2)

struct ps_metrics_shard {
    const struct ps_metrics *metrics;
    PS_ALIGNED _Atomic int64_t cell[];
};

struct ps_metrics {
    const struct ps_metric *table;
    size_t count;
    size_t *first_cell; /* of each row, and of the row behind the last */
    struct ps_metrics_shard **shard;
    size_t shards;
    size_t given; /* shards given out */
};

static size_t cells_of(const struct ps_metric *row)
{
    if (row->type == PS_HISTOGRAM_SECONDS) {
        assert(row->label == NULL);
        return HISTOGRAM_CELLS;
    }
    if (row->label == NULL)
        return 1;
    size_t count = 0;
    while (row->values[count] != NULL)
        count++;
    return count;
}

static struct ps_metrics_shard *new_shard(const struct ps_metrics *metrics)
{
    size_t cells = metrics->first_cell[metrics->count];
    size_t bytes = sizeof(struct ps_metrics_shard) + cells * sizeof(_Atomic int64_t);
    bytes = (bytes + PS_CACHE_LINE - 1) / PS_CACHE_LINE * PS_CACHE_LINE;
    struct ps_metrics_shard *shard = aligned_alloc(PS_CACHE_LINE, bytes);
    if (shard == NULL)
        return NULL;
    shard->metrics = metrics;
    for (size_t i = 0; i < cells; i++)
        atomic_init(&shard->cell[i], 0);
    return shard;
}

int ps_metrics_new(const struct ps_metric *table, size_t count, size_t shards,
                   struct ps_metrics **ret)
{
    struct ps_metrics *metrics = malloc(sizeof *metrics);
    if (metrics == NULL)
        return PS_E_NOMEM;
    *metrics = (struct ps_metrics){.table = table, .count = count, .shards = shards};
    metrics->first_cell = calloc(count + 1, sizeof *metrics->first_cell);
    metrics->shard = calloc(shards, sizeof(struct ps_metrics_shard *));
    if (metrics->first_cell == NULL || metrics->shard == NULL)
        goto fail;
    for (size_t row = 0; row < count; row++)
        metrics->first_cell[row + 1] = metrics->first_cell[row] + cells_of(&table[row]);
    for (size_t i = 0; i < shards; i++) {
        metrics->shard[i] = new_shard(metrics);
        if (metrics->shard[i] == NULL)
            goto fail;
    }
    *ret = metrics;
    return 0;
fail:
    ps_metrics_free(metrics);
    return PS_E_NOMEM;
}

void ps_metrics_free(struct ps_metrics *metrics)
{
    if (metrics == NULL)
        return;
    for (size_t i = 0; metrics->shard != NULL && i < metrics->shards; i++)
        free(metrics->shard[i]);
    free(metrics->shard);
    free(metrics->first_cell);
    free(metrics);
}

struct ps_metrics_shard *ps_metrics_shard(struct ps_metrics *metrics)
{
    return metrics->given < metrics->shards ? metrics->shard[metrics->given++] : NULL;
}

static size_t cell_index(const struct ps_metrics *metrics, size_t row, size_t offset)
{
    assert(row < metrics->count);
    assert(metrics->first_cell[row] + offset < metrics->first_cell[row + 1]);
    return metrics->first_cell[row] + offset;
}

/* The shard's thread is the only writer, so load and store need not be one step. */
static void add_to_cell(_Atomic int64_t *cell, int64_t delta)
{
    int64_t old = atomic_load_explicit(cell, memory_order_relaxed);
    atomic_store_explicit(cell, old + delta, memory_order_relaxed);
}

void ps_metric_add(struct ps_metrics_shard *shard, size_t row, size_t value_index, int64_t delta)
{
    add_to_cell(&shard->cell[cell_index(shard->metrics, row, value_index)], delta);
}

void ps_metric_set(struct ps_metrics_shard *shard, size_t row, size_t value_index, int64_t value)
{
    atomic_store_explicit(&shard->cell[cell_index(shard->metrics, row, value_index)], value,
                          memory_order_relaxed);
}

static void observe(_Atomic int64_t *cells, int64_t ns)
{
    size_t bucket = 0;
    while (bucket < BOUNDS && ns > bounds_ns[bucket])
        bucket++;
    add_to_cell(&cells[bucket], 1);
    add_to_cell(&cells[HISTOGRAM_SUM], ns);
}

void ps_metric_observe_ns(struct ps_metrics_shard *shard, size_t row, int64_t ns)
{
    observe(&shard->cell[cell_index(shard->metrics, row, 0)], ns);
}

void ps_durations_add(struct ps_durations *durations, int64_t ns)
{
    observe(durations->cell, ns);
}

int64_t ps_durations_count(const struct ps_durations *durations)
{
    int64_t count = 0;
    for (size_t i = 0; i <= BOUNDS; i++)
        count += atomic_load_explicit(&durations->cell[i], memory_order_relaxed);
    return count;
}

int64_t ps_durations_sum_ns(const struct ps_durations *durations)
{
    return atomic_load_explicit(&durations->cell[HISTOGRAM_SUM], memory_order_relaxed);
}

void ps_metric_set_durations(struct ps_metrics_shard *shard, size_t row,
                             const struct ps_durations *durations)
{
    for (size_t i = 0; i < HISTOGRAM_CELLS; i++)
        ps_metric_set(shard, row, i,
                      atomic_load_explicit(&durations->cell[i], memory_order_relaxed));
}

int64_t ps_metric_read(const struct ps_metrics *metrics, size_t row, size_t value_index)
{
    size_t cell = cell_index(metrics, row, value_index);
    int64_t sum = 0;
    for (size_t i = 0; i < metrics->shards; i++)
        sum += atomic_load_explicit(&metrics->shard[i]->cell[cell], memory_order_relaxed);
    return sum;
}

static void print_histogram(const struct ps_metrics *metrics, size_t row, FILE *out)
{
    const char *name = metrics->table[row].name;
    int64_t count = 0;
    for (size_t i = 0; i < BOUNDS; i++) {
        count += ps_metric_read(metrics, row, i);
        fprintf(out, "%s_bucket{le=\"%g\"} %" PRId64 "\n", name, ps_metric_bounds[i], count);
    }
    count += ps_metric_read(metrics, row, BOUNDS);
    int64_t sum_ns = ps_metric_read(metrics, row, HISTOGRAM_SUM);
    fprintf(out, "%s_bucket{le=\"+Inf\"} %" PRId64 "\n", name, count);
    fprintf(out, "%s_sum %" PRId64 ".%09" PRId64 "\n", name, sum_ns / PS_NS_PER_S,
            sum_ns % PS_NS_PER_S);
    fprintf(out, "%s_count %" PRId64 "\n", name, count);
}

static void print_value(const struct ps_metrics *metrics, size_t row, size_t value_index, FILE *out)
{
    int64_t value = ps_metric_read(metrics, row, value_index);
    if (metrics->table[row].type == PS_GAUGE_BILLIONTHS)
        fprintf(out, " %" PRId64 ".%09" PRId64 "\n", value / PS_NS_PER_S, value % PS_NS_PER_S);
    else
        fprintf(out, " %" PRId64 "\n", value);
}

static void print_row(const struct ps_metrics *metrics, size_t row, FILE *out)
{
    static const char *const types[] = {[PS_COUNTER] = "counter",
                                        [PS_GAUGE] = "gauge",
                                        [PS_GAUGE_BILLIONTHS] = "gauge",
                                        [PS_HISTOGRAM_SECONDS] = "histogram"};
    const struct ps_metric *metric = &metrics->table[row];
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help, metric->name,
            types[metric->type]);
    if (metric->type == PS_HISTOGRAM_SECONDS) {
        print_histogram(metrics, row, out);
    } else if (metric->label == NULL) {
        fprintf(out, "%s", metric->name);
        print_value(metrics, row, 0, out);
    } else {
        for (size_t i = 0; metric->values[i] != NULL; i++) {
            fprintf(out, "%s{%s=\"%s\"}", metric->name, metric->label, metric->values[i]);
            print_value(metrics, row, i, out);
        }
    }
}

char *ps_metrics_print(const struct ps_metrics *metrics, size_t *ret_len)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (out == NULL)
        return NULL;
    for (size_t row = 0; row < metrics->count; row++)
        print_row(metrics, row, out);
    bool failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed) {
        free(text);
        return NULL;
    }
    *ret_len = len;
    return text;
}
