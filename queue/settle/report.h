/* The worker's own reports: counters, the metrics file, and how far it is in the log. */
#ifndef ST_REPORT_H
#define ST_REPORT_H

#include "common/metrics/metrics.h"
#include "queue/settle/judge.h"

enum st_metric {
    ST_M_RECORDS, /* type */
    ST_M_ORDERS,  /* state */
    ST_M_REHEARSAL,
    ST_M_DEAD_LETTERS, /* kind */
    ST_M_UNSENT_LETTERS,
    ST_M_TRANSACTIONS, /* outcome */
    ST_M_TRANSACTION_SECONDS,
    ST_M_LOST,
    ST_M_LAG,
    ST_M_CALLS,     /* outcome */
    ST_M_DECISIONS, /* result */
    ST_M_DECISIONS_OPEN,
    ST_M_LAST,
    ST_M_TRACE_SPANS, /* of enum ps_span_end */
    ST_M_COUNT
};

extern const struct ps_metric st_metrics[ST_M_COUNT];

/* Indexes of the labels' values. */
enum { ST_LETTER_POISON, ST_LETTER_ANOMALY };
enum { ST_STORED, ST_CONFLICT, ST_FAILED };
enum { ST_CALL_ANSWERED, ST_CALL_FAILED };

struct st_report {
    struct ps_metrics *metrics;
    struct ps_metrics_shard *shard;
    const char *file; /* borrowed; NULL = none */
};

int st_report_init(struct st_report *report, const char *file) PS_MUST_CHECK;
void st_report_done(struct st_report *report);

/* A judgement that has been stored. */
void st_report_count(struct st_report *report, const struct st_count *count);
/* Final results of a call. */
void st_report_results(struct st_report *report, const struct st_decision *decisions, size_t count);
void st_report_add(struct st_report *report, enum st_metric row, size_t value, int64_t delta);
void st_report_set(struct st_report *report, enum st_metric row, int64_t value);
int64_t st_report_read(const struct st_report *report, enum st_metric row, size_t value);
/* Over all values of its label. */
int64_t st_report_sum(const struct st_report *report, enum st_metric row);

/* Writes the file anew, whole or not at all. PS_E_IO, PS_E_NOMEM. */
int st_report_write(struct st_report *report, struct ps_fault *fault) PS_MUST_CHECK;

#endif
