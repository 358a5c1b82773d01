/* A text template filled from JSON: a part of the Mustache language, and two formats of numbers.
 *
 *   {{name}}               text, escaped in HTML; an integer as 1,234; a real to three digits
 *   {{&name}}              a number as a program writes it
 *   {{~name}}              a number of milliseconds as a time: 31 ms, 4.6 s, 12 min, 5 h
 *   {{9 name}} {{-9 name}} in at least nine columns, aligned right or left
 *   {{#name}}...{{/name}}  once for each element of an array; once for an object, true, a non-empty
 *                          text, and a number other than 0; not for null, false, 0, or an absent
 *                          name
 *   {{^name}}...{{/name}}  when {{#name}} would show nothing
 *
 * A name is a path of members ("plan.seed"). Its first member is looked for in the innermost object
 * that has it: that of the section, then that around it. "." is the element itself. */
#ifndef LT_TEMPLATE_H
#define LT_TEMPLATE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* `text` is part of the program: a tag that is not closed, or names an absent member, is a
 * programming error. Errors of writing show in ferror(out). */
void lt_template_fill(const char *text, const json_t *data, bool html, FILE *out);

/* "1,234,567"; LT_COUNT's text lives as long as the block that it stands in. Any thread. */
#define LT_COUNT_LEN    27
#define LT_COUNT(count) lt_count((int64_t)(count), (char[LT_COUNT_LEN + 1]){0})
const char *lt_count(int64_t count, char text[LT_COUNT_LEN + 1]);

#endif
