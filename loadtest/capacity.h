/* Capacity before the day: the load is raised until goodput or latency breaks, the knee is found,
 * and what it supports is printed as a bundle of documents and as settings. Nothing is changed at
 * the gateway, but for rehearsal sales, which end, and an override of the level while it is
 * measured. */
#ifndef LT_CAPACITY_H
#define LT_CAPACITY_H

#include "loadtest/rehearse.h"

#include <stdio.h>

#define LT_CAPACITY_THRESHOLDS "goodput=99%,p99=100ms" /* unless --thresholds says otherwise */
#define LT_CAPACITY_IN_TIME_MS 250

/* Runs the search: text on stdout, and the files of the options. `stop` as of lt_rehearse. Returns
 * the exit status: LT_EXIT_PROVED (a knee was found), LT_EXIT_FAILED, LT_EXIT_USAGE. */
int lt_find_capacity(const struct lt_options *options, const volatile sig_atomic_t *stop);

/* The text of a step of the search, and of what came of it (members: loadtest/README.md). */
void lt_capacity_print_head(FILE *out);
void lt_capacity_print_step(const json_t *step, FILE *out);
void lt_capacity_print_result(const json_t *result, FILE *out);

#endif
