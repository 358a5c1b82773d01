/* The report of a rehearsal. Plain data in; JSON, text and HTML out. */
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
    int64_t timeout_ms, patience_ms;
    struct lt_progress end; /* the client's state at the end */
    int64_t cpu_us;         /* of this process, user and system, while the plan ran */
    struct lt_tally *tally;
    const struct lt_pages *pages; /* NULL: none */
    struct lt_proof *proof;
    uint32_t sold[LT_SLOTS];  /* units by the time of their reservation, in the tally's slots */
    int64_t last_sold_ns;     /* from the plan's start; -1: nothing was sold */
    uint32_t curve[LT_CURVE]; /* as `sold`, in steps of `curve_ns` up to the last unit */
    int64_t curve_ns;
    json_t *gateway; /* lt_curves_read; NULL: it could not be read, see why_no_gateway */
    char why_no_gateway[320];
    const char *twin_of; /* the live sale beside which it ran; NULL: none */
    /* The results of --thresholds and --baseline, as text; NULL: not given. */
    char *criteria;
    bool crossed; /* one of them is not met */
};

/* Fills `sold` and `curve` from the log's orders. The last step before the report is made: it may
 * widen the slots. */
void lt_report_sales(struct lt_report *report, const struct oq_fold *fold);
/* See loadtest/README.md for every member. A new reference; NULL = out of memory. */
json_t *lt_report_json(const struct lt_report *report);

/* Its timeline, without units sold. */
json_t *lt_report_timeline(const struct lt_tally *tally);
/* The narrow charts of the page, from the JSON report, on a time axis of `length_ms`. A new
 * reference; NULL = out of memory. */
json_t *lt_report_strips(const json_t *data, double length_ms);
/* The next larger round number for an axis. */
double lt_report_round_up(double value);
/* The labels of an axis up to `top`, from the top down, with its half if that is round. New
 * references; NULL = out of memory. */
json_t *lt_report_axis(double top);
/* The labels of a time axis: {"ms","percent"} of multiples of a round time. */
json_t *lt_report_times(double length_ms);
/* "hit 120, miss 3" from numbers by name. A new reference; NULL = out of memory. */
json_t *lt_report_words(json_t *counts);
/* Fills report.html, with `real` for a sale that was not a rehearsal (sale_report.c). */
void lt_report_fill_page(const json_t *data, FILE *out);
/* The highest of a list of numbers and nulls; 0 if it is empty. */
double lt_report_highest(const json_t *points);

enum lt_form {
    LT_SUMMARY, /* about ten lines, for people who run a shop */
    LT_TEXT,    /* everything, for people who run a gateway */
    LT_PAGE     /* one HTML file without network or script */
};
/* PS_E_NOMEM: nothing was written. Errors of writing show in ferror(out). */
int lt_report_print(const struct lt_report *report, enum lt_form form, FILE *out) PS_MUST_CHECK;

#endif
