/* A command line from a table: one row a flag ("--buyers N" or "--buyers=N"). Reading it, its
 * faults and --help derive from the row. */
#ifndef PS_FLAGS_H
#define PS_FLAGS_H

#include "common/err.h"

#include <stdio.h>

struct ps_flag {
    const char *name;     /* "--buyers" */
    const char *argument; /* what help calls the value: "N"; NULL: the flag takes none */
    const char *help;     /* any length; wrapped */
    /* Sets `field`. `value` is NULL if none was given, which is allowed only for a flag without an
     * argument. PS_E_INVALID: the value is wrong; the fault names the flag. */
    int (*set)(const struct ps_flag *flag, const char *value, void *field, struct ps_fault *fault);
    size_t offset;    /* of the field in what is filled */
    int64_t min, max; /* for ps_flag_set_int */
};

/* bool: true; and "--flag=false" takes it back. */
int ps_flag_set_bool(const struct ps_flag *flag, const char *value, void *field,
                     struct ps_fault *fault);
/* const char *, which points into argv. */
int ps_flag_set_text(const struct ps_flag *flag, const char *value, void *field,
                     struct ps_fault *fault);
/* int64_t, a whole number from min to max. */
int ps_flag_set_int(const struct ps_flag *flag, const char *value, void *field,
                    struct ps_fault *fault);

/* Sets the fields of `fill` in the order of argv; of a flag given twice the last value counts.
 * Other fields are unchanged. PS_E_INVALID names the flag, and for an unknown one the nearest. A
 * table has at most 63 rows. */
int ps_flags_read(const struct ps_flag *table, size_t count, int argc, char *const *argv,
                  void *fill, struct ps_fault *fault) PS_MUST_CHECK;
/* Prints the rows as help, in at most 80 columns. */
void ps_flags_print_help(const struct ps_flag *table, size_t count, FILE *out);

#endif
