/* Counting without sharing. Every shard holds the cells of all rows, in whole cache lines of its
 * own, and only its thread writes them: an increment is a relaxed load and a relaxed store, never a
 * locked instruction. A scrape adds the shards up while they are written; each number is right by
 * itself, and a histogram's _count is made of the buckets that it prints, so that the two always
 * agree. Cells of a row: one a label value; of a histogram, for each label value: one a bound, one
 * beyond the last bound, and the sum in nanoseconds. */
#include "common/metrics/metrics.h"
#include "common/clock.h"
#include "common/err.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#define BOUNDS PS_METRIC_BOUNDS
const double ps_metric_bounds[BOUNDS + 1] = {0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025,
                                             0.005,   0.01,   0.025,   0.05,   0.1,   0.25,
                                             0.5,     1,      2.5,     0};
static const int64_t bounds_ns[BOUNDS] = {50000,     100000,    250000,    500000,     1000000,
                                          2500000,   5000000,   10000000,  25000000,   50000000,
                                          100000000, 250000000, 500000000, 1000000000, 2500000000};
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

static bool is_asked(const struct ps_metric *row)
{
    return row->type == PS_COUNTER_ASKED || row->type == PS_GAUGE_ASKED ||
           row->type == PS_HISTOGRAM_ASKED;
}

static size_t cells_of_value(const struct ps_metric *row)
{
    return row->type == PS_HISTOGRAM_SECONDS ? HISTOGRAM_CELLS : 1;
}

static size_t cells_of(const struct ps_metric *row)
{
    size_t count = 0;

    if (is_asked(row))
        return 0;
    if (row->label == NULL)
        return cells_of_value(row);
    while (row->values[count] != NULL)
        count++;
    return count * cells_of_value(row);
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

void ps_metric_observe_ns(struct ps_metrics_shard *shard, size_t row, size_t value_index,
                          int64_t ns)
{
    size_t cell = cell_index(shard->metrics, row, value_index * HISTOGRAM_CELLS);

    assert(shard->metrics->table[row].type == PS_HISTOGRAM_SECONDS);
    observe(&shard->cell[cell], ns);
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

void ps_durations_print(const struct ps_durations *const *durations, size_t count, const char *name,
                        const char *labels, FILE *out)
{
    int64_t below = 0, cells[HISTOGRAM_CELLS] = {0};

    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < HISTOGRAM_CELLS; k++)
            cells[k] += atomic_load_explicit(&durations[i]->cell[k], memory_order_relaxed);
    for (size_t k = 0; k < BOUNDS; k++) {
        below += cells[k];
        fprintf(out, "%s_bucket{%s,le=\"%g\"} %" PRId64 "\n", name, labels, ps_metric_bounds[k],
                below);
    }
    below += cells[BOUNDS];
    fprintf(out, "%s_bucket{%s,le=\"+Inf\"} %" PRId64 "\n", name, labels, below);
    fprintf(out, "%s_sum{%s} %" PRId64 ".%09" PRId64 "\n", name, labels,
            cells[HISTOGRAM_SUM] / PS_NS_PER_S, cells[HISTOGRAM_SUM] % PS_NS_PER_S);
    fprintf(out, "%s_count{%s} %" PRId64 "\n", name, labels, below);
}

/* The labels of a sample: the row's own, and the bound of a bucket (NULL: none). */
static void print_labels(const struct ps_metric *metric, size_t value_index, const char *bound,
                         FILE *out)
{
    if (metric->label == NULL && bound == NULL)
        return;
    fputc('{', out);
    if (metric->label != NULL)
        fprintf(out, "%s=\"%s\"%s", metric->label, metric->values[value_index],
                bound != NULL ? "," : "");
    if (bound != NULL)
        fprintf(out, "le=\"%s\"", bound);
    fputc('}', out);
}

static void print_sample(const struct ps_metric *metric, const char *suffix, size_t value_index,
                         const char *bound, int64_t value, FILE *out)
{
    fprintf(out, "%s%s", metric->name, suffix);
    print_labels(metric, value_index, bound, out);
    fprintf(out, " %" PRId64 "\n", value);
}

static void print_billionths(const struct ps_metric *metric, const char *suffix, size_t value_index,
                             int64_t value, FILE *out)
{
    fprintf(out, "%s%s", metric->name, suffix);
    print_labels(metric, value_index, NULL, out);
    fprintf(out, " %" PRId64 ".%09" PRId64 "\n", value / PS_NS_PER_S, value % PS_NS_PER_S);
}

static void print_histogram(const struct ps_metrics *metrics, size_t row, size_t value_index,
                            FILE *out)
{
    const struct ps_metric *metric = &metrics->table[row];
    size_t first = value_index * HISTOGRAM_CELLS;
    int64_t count = 0;
    char bound[32];

    for (size_t i = 0; i < BOUNDS; i++) {
        count += ps_metric_read(metrics, row, first + i);
        snprintf(bound, sizeof bound, "%g", ps_metric_bounds[i]);
        print_sample(metric, "_bucket", value_index, bound, count, out);
    }
    count += ps_metric_read(metrics, row, first + BOUNDS);
    print_sample(metric, "_bucket", value_index, "+Inf", count, out);
    print_billionths(metric, "_sum", value_index,
                     ps_metric_read(metrics, row, first + HISTOGRAM_SUM), out);
    print_sample(metric, "_count", value_index, NULL, count, out);
}

static void print_value(const struct ps_metrics *metrics, size_t row, size_t value_index, FILE *out)
{
    const struct ps_metric *metric = &metrics->table[row];

    if (metric->has_series != NULL && !metric->has_series(value_index))
        return;
    if (metric->type == PS_HISTOGRAM_SECONDS)
        print_histogram(metrics, row, value_index, out);
    else if (metric->type == PS_GAUGE_BILLIONTHS)
        print_billionths(metric, "", value_index, ps_metric_read(metrics, row, value_index), out);
    else
        print_sample(metric, "", value_index, NULL, ps_metric_read(metrics, row, value_index), out);
}

const char *ps_metric_type_name(enum ps_metric_type type)
{
    switch (type) {
    case PS_COUNTER:
    case PS_COUNTER_ASKED:
        return "counter";
    case PS_GAUGE:
    case PS_GAUGE_BILLIONTHS:
    case PS_GAUGE_ASKED:
        return "gauge";
    case PS_HISTOGRAM_SECONDS:
    case PS_HISTOGRAM_ASKED:
        return "histogram";
    }
    return "";
}

static void print_row(const struct ps_metrics *metrics, size_t row, FILE *out)
{
    const struct ps_metric *metric = &metrics->table[row];

    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help, metric->name,
            ps_metric_type_name(metric->type));
    for (size_t i = 0; metric->label != NULL ? metric->values[i] != NULL : i == 0; i++)
        print_value(metrics, row, i, out);
}

/* Without samples nothing at all. False: out of memory. */
static bool print_asked(const struct ps_metric *metric, size_t row, ps_metric_ask_fn *ask,
                        void *ctx, FILE *out)
{
    char *samples = NULL;
    size_t len = 0;
    FILE *part = open_memstream(&samples, &len);

    if (part == NULL)
        return false;
    ask(part, row, ctx);
    bool failed = ferror(part) != 0;
    failed |= fclose(part) != 0;
    if (!failed && len > 0)
        fprintf(out, "# HELP %s %s\n# TYPE %s %s\n%s", metric->name, metric->help, metric->name,
                ps_metric_type_name(metric->type), samples);
    free(samples);
    return !failed;
}

char *ps_metrics_print(const struct ps_metrics *metrics, ps_metric_ask_fn *ask, void *ctx,
                       size_t *ret_len)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (out == NULL)
        return NULL;
    bool failed = false;
    for (size_t row = 0; row < metrics->count; row++) {
        if (is_asked(&metrics->table[row]))
            failed |= !print_asked(&metrics->table[row], row, ask, ctx, out);
        else
            print_row(metrics, row, out);
    }
    failed |= ferror(out) != 0;
    if (fclose(out) != 0 || failed) {
        free(text);
        return NULL;
    }
    *ret_len = len;
    return text;
}
