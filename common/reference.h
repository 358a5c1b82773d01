/* Reference pages from tables: settings and metrics as Markdown, settings as a manual. What a page
 * says of a row comes from the row alone. */
#ifndef PS_REFERENCE_H
#define PS_REFERENCE_H

#include "common/metrics.h"
#include "common/options.h"

#include <stdio.h>

/* All functions write to `out` and leave errors to ferror(). Any thread. */

/* Fills lines of at most 110 columns with the words of `text`, each line behind `indent` blanks,
 * and ends the last one. The first line goes on at column `column`. */
void ps_reference_fill(FILE *out, size_t column, size_t indent, const char *text);

/* A list with an item for each option, under a heading for each first part of a path. */
void ps_reference_settings(FILE *out, const struct ps_option *table, size_t count);
/* The same as items of an mdoc(7) list. */
void ps_reference_man_settings(FILE *out, const struct ps_option *table, size_t count);
/* A list with an item for each metric. */
void ps_reference_metrics(FILE *out, const struct ps_metric *table, size_t count);

#endif
