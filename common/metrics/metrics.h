/* Metrics in Prometheus text format 0.0.4 and in OpenMetrics 1.0.0. A module owns a table of its
 * metrics; each thread that counts has a shard of its own (one writer, relaxed readers), and a
 * scrape adds the shards up. No user, IP or SKU is ever a label. */
#ifndef PS_METRICS_H
#define PS_METRICS_H

#include "common/metrics/exemplar.h"
#include "common/text/buf.h"
#include "common/defs.h"

#include <stdatomic.h>
#include <stdio.h>

enum ps_metric_type {
    PS_COUNTER,
    PS_GAUGE,
    PS_GAUGE_BILLIONTHS, /* its cells are billionths of its unit: ns for seconds */
    PS_HISTOGRAM_SECONDS,
    /* Without cells: ps_metrics_print asks its caller for the samples of the moment. */
    PS_COUNTER_ASKED,
    PS_GAUGE_ASKED,
    PS_HISTOGRAM_ASKED /* of ps_durations_print */
};

/* One row, one name. `label`/`values` give one label with a fixed list of values (NULL = none); the
 * row then has one cell a value, or one histogram. Histograms use the bounds 0.00005 .. 2.5 s
 * (ps_metric_bounds). Help and values are plain text without backslash, quote and newline, for they
 * are printed as they are. */
struct ps_metric {
    const char *name; /* with penstock_ prefix, base unit, _total for counters */
    const char *help;
    enum ps_metric_type type;
    const char *label; /* of an ASKED row: its labels, "sale, state"; they are not checked */
    const char *const *values; /* NULL-terminated; NULL with an ASKED row */
    /* NULL: each value has a series. Else only those for which this returns true; the others are
     * never counted. */
    bool (*has_series)(size_t value_index);
};

/* "counter", "gauge" or "histogram". */
const char *ps_metric_type_name(enum ps_metric_type type);

struct ps_metrics;       /* all tables and shards of the process */
struct ps_metrics_shard; /* one thread's cells */

#define PS_METRIC_BOUNDS 15
extern const double ps_metric_bounds[PS_METRIC_BOUNDS + 1]; /* seconds; closed by 0 */

/* Durations in the buckets of a histogram, for a module that has no shard: one writer, relaxed
 * readers. All zero: none yet. */
struct ps_durations {
    _Atomic int64_t
        cell[PS_METRIC_BOUNDS + 2]; /* one a bound, one beyond the last, the sum in ns */
};
void ps_durations_add(struct ps_durations *durations, int64_t ns);
int64_t ps_durations_count(const struct ps_durations *durations);

/* Prints the sum of all these as the samples of a histogram `name`. `labels`: `a="1",b="2"`, not
 * empty. */
void ps_durations_print(const struct ps_durations *const *durations, size_t count, const char *name,
                        const char *labels, FILE *out);

/* `table` has `count` rows and lives as long as the result. Up to `shards` shards. PS_E_NOMEM. */
int ps_metrics_new(const struct ps_metric *table, size_t count, size_t shards,
                   struct ps_metrics **ret) PS_MUST_CHECK;
void ps_metrics_free(struct ps_metrics *metrics);
/* Start-up only. NULL when all are given out. Owned by `metrics`. */
struct ps_metrics_shard *ps_metrics_shard(struct ps_metrics *metrics);

/* `row` is the index in the table, `value_index` that of the label's value (0 without label).
 * Values of a PS_GAUGE_BILLIONTHS are not negative. The shard's thread only. */
void ps_metric_add(struct ps_metrics_shard *shard, size_t row, size_t value_index, int64_t delta);
void ps_metric_set(struct ps_metrics_shard *shard, size_t row, size_t value_index, int64_t value);
void ps_metric_observe_ns(struct ps_metrics_shard *shard, size_t row, size_t value_index,
                          int64_t ns);
/* The same; the trace becomes the exemplar of its bucket, if that has no recent one. */
void ps_metric_observe_traced_ns(struct ps_metrics_shard *shard, size_t row, size_t value_index,
                                 const struct ps_exemplar *exemplar);
/* Makes the histogram, which has no label, show these. */
void ps_metric_set_durations(struct ps_metrics_shard *shard, size_t row,
                             const struct ps_durations *durations);
/* Sum over the shards; not of a histogram. Any thread. */
int64_t ps_metric_read(const struct ps_metrics *metrics, size_t row, size_t value_index);

/* Prints the samples of an ASKED row as lines of the text format; none: the row is left out. */
typedef void ps_metric_ask_fn(FILE *out, size_t row, void *ctx);
/* The whole text. `ask` may be NULL where no row is ASKED. Heap, owner: the caller (free). NULL
 * when out of memory. Any thread that `ask` allows. */
char *ps_metrics_print(const struct ps_metrics *metrics, ps_metric_ask_fn *ask, void *ctx,
                       size_t *ret_len);
/* The same as OpenMetrics: with units and exemplars. Of counters it prints no `_created`, which
 * would be a series more for each: they begin with the process, or with what they count. */
char *ps_metrics_print_open(const struct ps_metrics *metrics, ps_metric_ask_fn *ask, void *ctx,
                            size_t *ret_len);

#endif
