/* What a rehearsal has to say, in three forms. Plain data in; text, JSON and HTML out. */
#ifndef LT_REPORT_H
#define LT_REPORT_H

#include "loadtest/proof.h"

#include <stdio.h>

#define LT_CURVE 100

struct lt_report {
    const struct lt_plan *plan;
    const char *sale;
    const char *public_authority;
    int64_t started_wall_ms;
    bool interrupted;
    size_t connections;
    int64_t timeout_ms;
    struct lt_progress end; /* as the client stood at the end */
    int64_t cpu_us;         /* of this process, user and system, while the plan ran */
    struct lt_tally *tally;
    struct lt_proof *proof;
    uint32_t curve[LT_CURVE]; /* the same in steps of `curve_ns`, from the first unit to the last */
    int64_t curve_ns;
    uint32_t sold[LT_SLOTS]; /* units by the time of their reservation, in the tally's slots */
    int64_t last_sold_ns;    /* from the plan's start; -1: nothing was sold */
};

struct lt_latency {
    uint64_t count;
    double p50_ms, p90_ms, p99_ms, p99_9_ms, max_ms;
};

/* Which answers a latency is taken over. */
enum lt_over { LT_OVER_ALL, LT_OVER_YES, LT_OVER_NO, LT_OVERS };

/* Fills `sold` from the log's orders. The last step before printing: it may widen the slots. */
void lt_report_sales(struct lt_report *report, const struct oq_fold *fold);
/* All: every answer over HTTP; yes: accepted ones; no: refusals. Those that ended without an answer
 * are in none, but counted. */
struct lt_latency lt_report_latency(const struct lt_report *report, enum lt_over over);
struct lt_latency lt_latency_of(const struct ps_histogram *histogram);
uint64_t lt_report_answered(const struct lt_report *report);
/* Clicks that ended without an answer. */
uint64_t lt_report_unanswered(const struct lt_report *report);

/* What one should know before one believes the numbers: so many lines, without their end. */
#define LT_HINTS_MAX 8
#define LT_HINT_SIZE 240
size_t lt_report_hints(const struct lt_report *report, char ret_lines[LT_HINTS_MAX][LT_HINT_SIZE]);
/* Ten-odd lines for people who run a shop. */
void lt_report_print_summary(const struct lt_report *report, FILE *out);
/* All of it, for people who run a gateway. */
void lt_report_print(const struct lt_report *report, FILE *out);
/* See loadtest/README.md for every member. A new reference; NULL = out of memory. */
json_t *lt_report_json(const struct lt_report *report);

#endif
