/* Output: tables for people, JSON for programs. Both replace control characters in text from
 * outside. */
#ifndef CTL_PRINT_H
#define CTL_PRINT_H

#include "common/text/json.h"
#include "gateway/ctl/ctl.h"

#include <stdio.h>

/* Bytes that are not UTF-8, control characters and those that change the writing direction become
 * '?'. */
void ctl_put_text(FILE *out, const char *text, size_t len);
/* Columns that the text takes on a terminal. */
size_t ctl_text_width(const char *text, size_t len);

/* Indented, or on one line; in strings such characters become \uXXXX. An enum ctl_exit. */
int ctl_put_json(FILE *out, const json_t *json, bool indented);

/* Rows of cells. Begins with {.columns = N}; ctl_table_print prints and frees. */
struct ctl_table {
    size_t columns, count, room;
    char **cells;
    bool no_memory;
};
/* Copies the text; NULL is "-". */
void ctl_table_add(struct ctl_table *table, const char *text);
/* Adds a value in short form: null "-", a list with commas, an object as JSON. */
void ctl_table_add_json(struct ctl_table *table, const json_t *value);
int ctl_table_print(struct ctl_table *table, FILE *out);

/* Flushes standard output. If nobody reads it any more (`| head`), the command ends here, quietly.
 * An enum ctl_exit. */
int ctl_flush(void);

/* names.c: the note of the token with this id, or the id. Borrowed. */
const json_t *ctl_who(const struct ctl *ctl, const json_t *who);

/* Did the options ask for JSON? */
bool ctl_wants_json(const struct ctl *ctl);
/* Prints in the format of the options: JSON, or a table. `columns` names members of a document
 * ("a.b" for a nested one), upper case in the header; documents are the elements of an array, or
 * the members of an object, whose names are then the column "name". Without columns prints a
 * document member by member. */
int ctl_print(const struct ctl *ctl, const json_t *json, const char *columns);

#endif
