/* A text template filled from JSON: a part of the Mustache language, and two formats of numbers.
 *
 *   {{name}}               text, escaped for HTML; an integer as 1,234; a real to three digits
 *   {{&name}}              a number as a program writes it
 *   {{~name}}              a number of milliseconds as a time: 31 ms, 4.6 s
 *   {{#name}}...{{/name}}  once for each element of an array; once for an object, true, and a
 *                          number but 0; not for null, false, 0, and what is absent
 *   {{^name}}...{{/name}}  when {{#name}} would show nothing
 *
 * A name is a path of members ("plan.seed"). Its first member is looked for in the innermost object
 * that has it: that of the section, then that around it. "." is the element itself. */
#ifndef LT_TEMPLATE_H
#define LT_TEMPLATE_H

#include <jansson.h>
#include <stdio.h>

/* `text` is the program's own: a tag that is not closed, or shows what is absent, is a fault of
 * the program. Errors of writing show in ferror(out). */
void lt_template_fill(const char *text, const json_t *data, FILE *out);

#endif
