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
#include <string.h>

#define BOUNDS PS_METRIC_BOUNDS
const double ps_metric_bounds[BOUNDS + 1] = {0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025,
                                             0.005,   0.01,   0.025,   0.05,   0.1,   0.25,
                                             0.5,     1,      2.5,     0};
static const int64_t bounds_ns[BOUNDS] = {50000,     100000,    250000,    500000,     1000000,
                                          2500000,   5000000,   10000000,  25000000,   50000000,
                                          100000000, 250000000, 500000000, 1000000000, 2500000000};
#define BUCKETS         (BOUNDS + 1)
#define HISTOGRAM_SUM   (BOUNDS + 1) /* behind the buckets */
#define HISTOGRAM_CELLS (BOUNDS + 2)

struct ps_metrics_shard {
    const struct ps_metrics *metrics;
    struct ps_exemplar_cell *exemplars; /* one a bucket of each histogram, by first_exemplar */
    PS_ALIGNED _Atomic int64_t cell[];
};

struct ps_metrics {
    const struct ps_metric *table;
    size_t count;
    size_t *first_cell; /* of each row, and of the row behind the last */
    size_t *first_exemplar;
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
    shard->exemplars =
        calloc(metrics->first_exemplar[metrics->count] + 1, sizeof *shard->exemplars);
    if (shard->exemplars == NULL) {
        free(shard);
        return NULL;
    }
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
    metrics->first_exemplar = calloc(count + 1, sizeof *metrics->first_exemplar);
    metrics->shard = calloc(shards, sizeof(struct ps_metrics_shard *));
    if (metrics->first_cell == NULL || metrics->first_exemplar == NULL || metrics->shard == NULL)
        goto fail;
    for (size_t row = 0; row < count; row++) {
        size_t cells = cells_of(&table[row]);
        bool has_buckets = table[row].type == PS_HISTOGRAM_SECONDS;
        metrics->first_cell[row + 1] = metrics->first_cell[row] + cells;
        metrics->first_exemplar[row + 1] =
            metrics->first_exemplar[row] + (has_buckets ? cells / HISTOGRAM_CELLS * BUCKETS : 0);
    }
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
    for (size_t i = 0; metrics->shard != NULL && i < metrics->shards; i++) {
        if (metrics->shard[i] != NULL)
            free(metrics->shard[i]->exemplars);
        free(metrics->shard[i]);
    }
    free(metrics->shard);
    free(metrics->first_cell);
    free(metrics->first_exemplar);
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

static size_t observe(_Atomic int64_t *cells, int64_t ns)
{
    size_t bucket = 0;
    while (bucket < BOUNDS && ns > bounds_ns[bucket])
        bucket++;
    add_to_cell(&cells[bucket], 1);
    add_to_cell(&cells[HISTOGRAM_SUM], ns);
    return bucket;
}

void ps_metric_observe_ns(struct ps_metrics_shard *shard, size_t row, size_t value_index,
                          int64_t ns)
{
    size_t cell = cell_index(shard->metrics, row, value_index * HISTOGRAM_CELLS);

    assert(shard->metrics->table[row].type == PS_HISTOGRAM_SECONDS);
    (void)observe(&shard->cell[cell], ns);
}

void ps_metric_observe_traced_ns(struct ps_metrics_shard *shard, size_t row, size_t value_index,
                                 const struct ps_exemplar *exemplar)
{
    const struct ps_metrics *metrics = shard->metrics;
    size_t cell = cell_index(metrics, row, value_index * HISTOGRAM_CELLS);

    assert(metrics->table[row].type == PS_HISTOGRAM_SECONDS);
    size_t bucket = observe(&shard->cell[cell], exemplar->value_ns);
    ps_exemplar_note(
        &shard->exemplars[metrics->first_exemplar[row] + value_index * BUCKETS + bucket], exemplar);
}

void ps_durations_add(struct ps_durations *durations, int64_t ns)
{
    (void)observe(durations->cell, ns);
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

/* --- Printing. --- */

#define BOUND_MAX 32

/* A bound as every reader of either format prints it again: 1.0, not 1. */
static void print_bound(double bound, char ret_text[BOUND_MAX])
{
    int len = snprintf(ret_text, BOUND_MAX - 2, "%g", bound);

    if (strpbrk(ret_text, ".e") == NULL)
        memcpy(ret_text + len, ".0", sizeof ".0");
}

void ps_durations_print(const struct ps_durations *const *durations, size_t count, const char *name,
                        const char *labels, FILE *out)
{
    int64_t below = 0, cells[HISTOGRAM_CELLS] = {0};
    char bound[BOUND_MAX];

    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < HISTOGRAM_CELLS; k++)
            cells[k] += atomic_load_explicit(&durations[i]->cell[k], memory_order_relaxed);
    for (size_t k = 0; k < BOUNDS; k++) {
        below += cells[k];
        print_bound(ps_metric_bounds[k], bound);
        fprintf(out, "%s_bucket{%s,le=\"%s\"} %" PRId64 "\n", name, labels, bound, below);
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
                         int64_t value, FILE *out)
{
    fprintf(out, "%s%s", metric->name, suffix);
    print_labels(metric, value_index, NULL, out);
    fprintf(out, " %" PRId64 "\n", value);
}

static void print_billionths(const struct ps_metric *metric, const char *suffix, size_t value_index,
                             int64_t value, FILE *out)
{
    fprintf(out, "%s%s", metric->name, suffix);
    print_labels(metric, value_index, NULL, out);
    fprintf(out, " %" PRId64 ".%09" PRId64 "\n", value / PS_NS_PER_S, value % PS_NS_PER_S);
}

/* What a scrape prints. */
struct print {
    const struct ps_metrics *metrics;
    FILE *out;
    bool open; /* OpenMetrics */
};

/* The newest of all shards: " # {trace_id=…} value time". */
static void print_exemplar(const struct print *print, size_t row, size_t index)
{
    size_t cell = print->metrics->first_exemplar[row] + index;
    struct ps_exemplar newest = {.at_ms = INT64_MIN}, exemplar;

    for (size_t i = 0; i < print->metrics->shards; i++)
        if (ps_exemplar_read(&print->metrics->shard[i]->exemplars[cell], &exemplar) &&
            exemplar.at_ms > newest.at_ms)
            newest = exemplar;
    if (newest.at_ms == INT64_MIN)
        return;
    fputs(" # {trace_id=\"", print->out);
    for (size_t i = 0; i < sizeof newest.trace; i++)
        fprintf(print->out, "%02x", newest.trace[i]);
    fprintf(print->out, "\"} %" PRId64 ".%09" PRId64 " %" PRId64 ".%03" PRId64,
            newest.value_ns / PS_NS_PER_S, newest.value_ns % PS_NS_PER_S, newest.at_ms / 1000,
            newest.at_ms % 1000);
}

static void print_histogram(const struct print *print, size_t row, size_t value_index)
{
    const struct ps_metric *metric = &print->metrics->table[row];
    size_t first = value_index * HISTOGRAM_CELLS;
    char bound[BOUND_MAX] = "+Inf";
    int64_t count = 0;

    for (size_t i = 0; i < BUCKETS; i++) {
        count += ps_metric_read(print->metrics, row, first + i);
        if (i < BOUNDS)
            print_bound(ps_metric_bounds[i], bound);
        else
            memcpy(bound, "+Inf", sizeof "+Inf");
        fprintf(print->out, "%s_bucket", metric->name);
        print_labels(metric, value_index, bound, print->out);
        fprintf(print->out, " %" PRId64, count);
        if (print->open)
            print_exemplar(print, row, value_index * BUCKETS + i);
        fputc('\n', print->out);
    }
    print_billionths(metric, "_sum", value_index,
                     ps_metric_read(print->metrics, row, first + HISTOGRAM_SUM), print->out);
    print_sample(metric, "_count", value_index, count, print->out);
}

static void print_value(const struct print *print, size_t row, size_t value_index)
{
    const struct ps_metrics *metrics = print->metrics;
    const struct ps_metric *metric = &metrics->table[row];

    if (metric->has_series != NULL && !metric->has_series(value_index))
        return;
    if (metric->type == PS_HISTOGRAM_SECONDS)
        print_histogram(print, row, value_index);
    else if (metric->type == PS_GAUGE_BILLIONTHS)
        print_billionths(metric, "", value_index, ps_metric_read(metrics, row, value_index),
                         print->out);
    else
        print_sample(metric, "", value_index, ps_metric_read(metrics, row, value_index),
                     print->out);
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

/* The unit is a part of the name. NULL: none. */
static const char *unit_of(const char *name, int len)
{
    static const char *const units[] = {"seconds", "bytes", "ratio"};

    for (size_t i = 0; i < PS_ARRAY_LEN(units); i++) {
        int unit = (int)strlen(units[i]);
        if (len > unit && name[len - unit - 1] == '_' &&
            memcmp(name + len - unit, units[i], (size_t)unit) == 0)
            return units[i];
    }
    return NULL;
}

/* In OpenMetrics a counter is called without its _total, and the type comes first. */
static void print_family(const struct print *print, const struct ps_metric *metric)
{
    const char *type = ps_metric_type_name(metric->type), *name = metric->name;
    int len = (int)strlen(name), total = (int)strlen("_total");

    if (!print->open) {
        fprintf(print->out, "# HELP %s %s\n# TYPE %s %s\n", name, metric->help, name, type);
        return;
    }
    if (type[0] == 'c' && len > total && strcmp(name + len - total, "_total") == 0)
        len -= total;
    const char *unit = unit_of(name, len);
    fprintf(print->out, "# TYPE %.*s %s\n", len, name, type);
    if (unit != NULL)
        fprintf(print->out, "# UNIT %.*s %s\n", len, name, unit);
    fprintf(print->out, "# HELP %.*s %s\n", len, name, metric->help);
}

static void print_row(const struct print *print, size_t row)
{
    const struct ps_metric *metric = &print->metrics->table[row];

    print_family(print, metric);
    for (size_t i = 0; metric->label != NULL ? metric->values[i] != NULL : i == 0; i++)
        print_value(print, row, i);
}

/* Without samples nothing at all. False: out of memory. */
static bool print_asked(const struct print *print, size_t row, ps_metric_ask_fn *ask, void *ctx)
{
    char *samples = NULL;
    size_t len = 0;
    FILE *part = open_memstream(&samples, &len);

    if (part == NULL)
        return false;
    ask(part, row, ctx);
    bool failed = ferror(part) != 0;
    failed |= fclose(part) != 0;
    if (!failed && len > 0) {
        print_family(print, &print->metrics->table[row]);
        fputs(samples, print->out);
    }
    free(samples);
    return !failed;
}

static char *print_all(struct print print, ps_metric_ask_fn *ask, void *ctx, size_t *ret_len)
{
    char *text = NULL;
    size_t len = 0;
    bool failed = false;

    print.out = open_memstream(&text, &len);
    if (print.out == NULL)
        return NULL;
    for (size_t row = 0; row < print.metrics->count; row++) {
        if (is_asked(&print.metrics->table[row]))
            failed |= !print_asked(&print, row, ask, ctx);
        else
            print_row(&print, row);
    }
    if (print.open)
        fputs("# EOF\n", print.out);
    failed |= ferror(print.out) != 0;
    if (fclose(print.out) != 0 || failed) {
        free(text);
        return NULL;
    }
    *ret_len = len;
    return text;
}

char *ps_metrics_print(const struct ps_metrics *metrics, ps_metric_ask_fn *ask, void *ctx,
                       size_t *ret_len)
{
    return print_all((struct print){.metrics = metrics}, ask, ctx, ret_len);
}

char *ps_metrics_print_open(const struct ps_metrics *metrics, ps_metric_ask_fn *ask, void *ctx,
                            size_t *ret_len)
{
    return print_all((struct print){.metrics = metrics, .open = true}, ask, ctx, ret_len);
}
