/* Compares two runs by their JSON reports: this one, and an older one as the baseline. */
#ifndef LT_BASELINE_H
#define LT_BASELINE_H

#include "common/text/json.h"

#include <stdio.h>

/* Differences below these are noise, whatever their ratio. */
#define LT_BASELINE_NOISE_MS    1.0
#define LT_BASELINE_NOISE_SHARE 0.001

/* Reads the report of an earlier run (--json). PS_E_IO, PS_E_NOMEM, PS_E_INVALID (it is none); the
 * fault's path is "--baseline". Owner of *ret_report: the caller (json_decref). */
int lt_baseline_load(const char *path, json_t **ret_report, struct ps_fault *fault) PS_MUST_CHECK;

/* An object:
 *   bound    as given, 0.1: what is worse by more than a tenth has regressed
 *   figures  a list of `name`, `unit` ("ms", "share", "count"), `old`, `new` (null: not measured),
 *            `change` (new / old - 1; null where old is 0 or one is missing), and of those that are
 *            judged `regressed`
 *   unlike   texts: in what the two runs were not the same, so that figures may differ for that
 * Judged are goodput, unanswered, and the percentiles 50, 90 and 99 of all answers and of the
 * accepted. Small differences are noise (above). A new reference; NULL: out of memory. */
json_t *lt_baseline_compare(const json_t *old, const json_t *new, double bound) PS_MUST_CHECK;
size_t lt_baseline_regressed(const json_t *compared);
void lt_baseline_print(const json_t *compared, FILE *out);

#endif
