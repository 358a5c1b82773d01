/* Exit criteria of a run: bounds on figures of its JSON report, such as "p99=50ms,no_answer=0.1%".
 *
 * NAME=BOUND, with commas between them. Names:
 *   p50 p90 p99 p99_9 max   a latency of all answers, from the planned moment, at most BOUND (a
 *                           time with its unit); GROUP.p99 is the latency of a group: admitted,
 *                           refusals, or an answer by its name (accepted, sold_out ...)
 *   goodput                 the share of clicks that were accepted, in time if the run has a time
 *                           (--in-time), at least BOUND (99% or 0.99)
 *   unanswered, refusals    the share of clicks without an answer, with a status of 400 and above,
 *                           at most BOUND
 *   pending, no_answer, sold_out, http_502 ...
 *                           the share of clicks with that answer, at most BOUND
 * A latency without a measurement counts as crossed. */
#ifndef LT_THRESHOLDS_H
#define LT_THRESHOLDS_H

#include "common/text/id.h"
#include "common/text/json.h"

#include <stdio.h>

#define LT_THRESHOLDS_MAX 32

struct lt_threshold {
    char name[PS_NAME_MAX + 8]; /* as on the command line */
    char group[PS_NAME_MAX + 1];
    const char *stat; /* of a latency; NULL: a share of the clicks */
    bool at_least;    /* the bound is a lower bound */
    double bound;     /* ms, or 0..1 */
};

struct lt_thresholds {
    struct lt_threshold row[LT_THRESHOLDS_MAX];
    size_t count;
};

/* PS_E_INVALID: the fault's text names the threshold; its path is "--thresholds". */
int lt_thresholds_parse(const char *text, struct lt_thresholds *ret_thresholds,
                        struct ps_fault *fault) PS_MUST_CHECK;

/* The results against a report (lt_report_json): a list of objects with `name`, `unit` ("ms" or
 * "share"), `at_least`, `bound`, `value` (null: not measured) and `ok`. A new reference;
 * NULL: out of memory. */
json_t *lt_thresholds_judge(const struct lt_thresholds *thresholds,
                            const json_t *report) PS_MUST_CHECK;
/* How many of them are crossed. */
size_t lt_thresholds_crossed(const json_t *judged);
/* A line for each. */
void lt_thresholds_print(const json_t *judged, FILE *out);

/* The share of the clicks that were accepted, as `goodput` above; 0 without clicks. */
double lt_goodput(const json_t *report);
/* A member of an object; 0 if it is absent or not a number. */
double lt_number_of(const json_t *object, const char *member);

#endif
