/* The worker's metrics. They are written to a file, which node_exporter's textfile collector picks
 * up: a worker needs no port and no HTTP. The file is replaced by rename, so that no reader sees
 * half of one. */
#include "queue/settle/report.h"
#include "common/otlp/tracer.h"
#include "queue/settle/caller.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const types[] = {"accepted", "confirmed", "released", "adjusted", "fenced",
                                    "archived", "head",      "unknown",  NULL};
static const char *const states[] = {"accepted", "confirmed", "released", "void", NULL};
static const char *const letters[] = {"poison", "anomaly", NULL};
static const char *const outcomes[] = {"stored", "conflict", "failed", NULL};
static const char *const calls[] = {"answered", "failed", NULL};
static const char *const results[] = {ST_RESULT_CONFIRMED, ST_RESULT_RELEASED, "order_expired",
                                      "order_cancelled",   "order_rejected",   "order_confirmed",
                                      ST_RESULT_NOT_FOUND, ST_RESULT_ARCHIVED, NULL};

/* clang-format off */
const struct ps_metric st_metrics[ST_M_COUNT] = {
    [ST_M_RECORDS]             = {"penstock_settle_records_total", "Records of the log that were read and stored", PS_COUNTER, "type", types, NULL},
    [ST_M_ORDERS]              = {"penstock_settle_orders_total", "Orders by the state that they reached", PS_COUNTER, "state", states, NULL},
    [ST_M_REHEARSAL]           = {"penstock_settle_rehearsal_total", "Records of rehearsals that were dropped", PS_COUNTER, NULL, NULL, NULL},
    [ST_M_DEAD_LETTERS]        = {"penstock_settle_dead_letters_total", "Records that were put aside: poison is not a record of the log, anomaly is one that no gateway writes", PS_COUNTER, "kind", letters, NULL},
    [ST_M_UNSENT_LETTERS]      = {"penstock_settle_dead_letters_unsent_total", "Of these, not sent to the dead-letter topic; the table has them", PS_COUNTER, NULL, NULL, NULL},
    [ST_M_TRANSACTIONS]        = {"penstock_settle_transactions_total", "Transactions; conflict: another worker stored these records first", PS_COUNTER, "outcome", outcomes, NULL},
    [ST_M_TRANSACTION_SECONDS] = {"penstock_settle_transaction_seconds", "Duration of a stored transaction", PS_HISTOGRAM_SECONDS, NULL, NULL, NULL},
    [ST_M_LOST]                = {"penstock_settle_lost_records_total", "Records that were deleted before they were read: their orders are missing in the database", PS_COUNTER, NULL, NULL, NULL},
    [ST_M_LAG]                 = {"penstock_settle_lag_records", "Records not read yet; -1 = not known", PS_GAUGE, NULL, NULL, NULL},
    [ST_M_CALLS]               = {"penstock_settle_calls_total", "Calls to a gateway to confirm and cancel", PS_COUNTER, "outcome", calls, NULL},
    [ST_M_DECISIONS]           = {"penstock_settle_decisions_total", "Decisions by their final result", PS_COUNTER, "result", results, NULL},
    [ST_M_DECISIONS_OPEN]      = {"penstock_settle_decisions_open", "Decisions without a result", PS_GAUGE, NULL, NULL, NULL},
    [ST_M_LAST]                = {"penstock_settle_last_stored_timestamp_seconds", "When a transaction was last stored", PS_GAUGE, NULL, NULL, NULL},
    [ST_M_TRACE_SPANS]         = {"penstock_settle_trace_spans_total", "Spans of traced orders. End: exported, dropped (too many at once, or the collector is away or slow), refused (by the collector), failed (tried for a minute, or not sent before the end)", PS_COUNTER, "end", ps_span_ends, NULL},
};
/* clang-format on */

int st_report_init(struct st_report *report, const char *file)
{
    *report = (struct st_report){.file = file};
    int err = ps_metrics_new(st_metrics, ST_M_COUNT, 1, &report->metrics);
    if (err == 0)
        report->shard = ps_metrics_shard(report->metrics);
    return err;
}

void st_report_done(struct st_report *report)
{
    ps_metrics_free(report->metrics);
    report->metrics = NULL;
}

void st_report_add(struct st_report *report, enum st_metric row, size_t value, int64_t delta)
{
    ps_metric_add(report->shard, row, value, delta);
}

void st_report_set(struct st_report *report, enum st_metric row, int64_t value)
{
    ps_metric_set(report->shard, row, 0, value);
}

int64_t st_report_read(const struct st_report *report, enum st_metric row, size_t value)
{
    return ps_metric_read(report->metrics, row, value);
}

int64_t st_report_sum(const struct st_report *report, enum st_metric row)
{
    int64_t sum = 0;
    for (size_t i = 0; st_metrics[row].values[i] != NULL; i++)
        sum += ps_metric_read(report->metrics, row, i);
    return sum;
}

void st_report_count(struct st_report *report, const struct st_count *count)
{
    const int64_t became[] = {count->accepted, count->confirmed, count->released, count->voided};
    for (size_t i = 0; i < PS_ARRAY_LEN(count->by_type); i++)
        st_report_add(report, ST_M_RECORDS, i, count->by_type[i]);
    for (size_t i = 0; i < PS_ARRAY_LEN(became); i++)
        st_report_add(report, ST_M_ORDERS, i, became[i]);
    st_report_add(report, ST_M_REHEARSAL, 0, count->rehearsal);
    st_report_add(report, ST_M_DEAD_LETTERS, ST_LETTER_POISON, count->poison);
    st_report_add(report, ST_M_DEAD_LETTERS, ST_LETTER_ANOMALY, count->anomalies);
}

void st_report_results(struct st_report *report, const struct st_decision *decisions, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t r = 0; decisions[i].result != NULL && results[r] != NULL; r++) {
            if (strcmp(decisions[i].result, results[r]) == 0)
                st_report_add(report, ST_M_DECISIONS, r, 1);
        }
    }
}

static bool write_all(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t written = write(fd, text, len);
        if (written < 0)
            return false;
        text += written;
        len -= (size_t)written;
    }
    return true;
}

int st_report_write(struct st_report *report, struct ps_fault *fault)
{
    char name[PATH_MAX];
    size_t len;
    if (report->file == NULL)
        return 0;
    if (snprintf(name, sizeof name, "%s.new-%ld", report->file, (long)getpid()) >= (int)sizeof name)
        return ps_fault(fault, PS_E_INVALID, report->file, "the path is too long");
    char *text = ps_metrics_print(report->metrics, NULL, NULL, &len);
    if (text == NULL)
        return ps_fault(fault, PS_E_NOMEM, report->file, "out of memory");
    /* The folder may be open to others: do not write into an existing file of that name. */
    (void)unlink(name);
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    /* node_exporter is another user than the worker, whose umask may let nobody else read. */
    bool written = fd >= 0 && fchmod(fd, 0644) == 0 && write_all(fd, text, len);
    if (fd >= 0 && close(fd) != 0)
        written = false;
    free(text);
    if (written && rename(name, report->file) == 0)
        return 0;
    int err = ps_fault(fault, PS_E_IO, report->file, "%s", strerror(errno));
    (void)unlink(name);
    return err;
}
