/* Reference pages from tables: members, metrics and log events as Markdown, settings as a manual.
 * What a page says of a row comes from the row alone. */
#ifndef PS_REFERENCE_H
#define PS_REFERENCE_H

#include "common/program/log.h"
#include "common/metrics/metrics.h"
#include "common/table/table.h"

#include <stdio.h>

/* An event that a program logs: what it means, and what an operator does about it ("" = nothing).
 */
struct ps_reference_event {
    const char *name;
    enum ps_log_level level;
    const char *meaning;
    const char *remedy;
};

struct ps_reference_page {
    const char *file;
    void (*print)(FILE *out); /* leaves errors to ferror() */
};

/* Writes the pages into the directory `dir`, which must exist; files of these names are replaced.
 * PS_E_IO: the fault's path is the file. Any thread. */
int ps_reference_write(const char *dir, const struct ps_reference_page *pages, size_t count,
                       struct ps_fault *fault) PS_MUST_CHECK;

/* All that follow write to `out` and leave errors to ferror(). Any thread. */

/* `text` filled, and an empty line. */
void ps_reference_paragraph(FILE *out, const char *text);

/* Fills lines of at most 110 columns, of which a Chinese character takes two, with the words of
 * `text`, each line behind `indent` blanks, and ends the last one. The first line goes on at column
 * `column`. */
void ps_reference_fill(FILE *out, size_t column, size_t indent, const char *text);

/* A list with an item for each member, also of objects inside. */
void ps_reference_members(FILE *out, const struct ps_table *table, enum ps_language language);

/* Of settings each row has a default. A list under a heading for each first part of a name. */
void ps_reference_settings(FILE *out, const struct ps_table *table, enum ps_language language);
/* Name, default and what is allowed, and below it the text. */
void ps_reference_help(FILE *out, const struct ps_table *table);
/* A manual of section 5: the file of settings that the program `program` reads. */
void ps_reference_manual(FILE *out, const char *program, const char *purpose,
                         const struct ps_table *table);
/* A heading for each level, the gravest first, and for each event. */
void ps_reference_events(FILE *out, const struct ps_reference_event *table, size_t count);
/* A list with an item for each metric. */
void ps_reference_metrics(FILE *out, const struct ps_metric *table, size_t count);

#endif
