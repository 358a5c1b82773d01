/* The one table of errors. A business answer ("sold out") is never an error; an unknown outcome is
 * an error code of its own (PS_E_UNKNOWN) and must never be treated as a failure. */
#ifndef PS_ERR_H
#define PS_ERR_H

#include "common/defs.h"

/* clang-format off */
#define PS_ERR_TABLE(X)                                                          \
    X(PS_E_NOMEM,      -1,  "out of memory")                                     \
    X(PS_E_INVALID,    -2,  "invalid input")                                     \
    X(PS_E_IO,         -3,  "input or output failed")                            \
    X(PS_E_FULL,       -4,  "no room left")                                      \
    X(PS_E_NOT_FOUND,  -5,  "not found")                                         \
    X(PS_E_EXISTS,     -6,  "already exists")                                    \
    X(PS_E_CORRUPT,    -7,  "stored data is damaged")                            \
    X(PS_E_NEWER,      -8,  "written by a newer version")                        \
    X(PS_E_BUSY,       -9,  "in use by another")                             \
    X(PS_E_READ_ONLY,  -10, "read-only")                                         \
    X(PS_E_TIMEOUT,    -11, "took too long")                                     \
    X(PS_E_CLOSED,     -12, "closed")                                            \
    X(PS_E_UNKNOWN,    -13, "outcome unknown")                                   \
    X(PS_E_CONFLICT,   -14, "conflicts with the present state")                  \
    X(PS_E_PERMISSION, -15, "not permitted")
/* clang-format on */

#define PS_ERR_ENUM(name, value, text) name = (value),
enum ps_err { PS_ERR_TABLE(PS_ERR_ENUM) };
#undef PS_ERR_ENUM

/* "input or output failed"; of other codes "unknown error". Any thread. */
const char *ps_err_text(int err);

/* What is wrong with an input, and where: `path` is a JSON pointer, an option path or a file
 * name. */
struct ps_fault {
    char path[192];
    char text[320];
};

/* Fills `fault` (NULL is allowed) and returns `err`, so that a check can say `return
 * ps_fault(...)`. Long paths and texts are cut; bytes that are not UTF-8 and control characters
 * become '?'. */
int ps_fault(struct ps_fault *fault, int err, const char *path, const char *fmt, ...)
    PS_PRINTF(4, 5);

/* All that is wrong with an input; zeroed, it is empty. Of more than PS_FAULTS_KEPT faults the
 * first ones are kept. */
#define PS_FAULTS_KEPT 32
struct ps_faults {
    size_t count; /* also of those that are not kept */
    struct ps_fault at[PS_FAULTS_KEPT];
};
/* Adds a fault as ps_fault makes it; returns `err`. A second fault of the same path is dropped: it
 * follows from the first. */
int ps_faults_add(struct ps_faults *faults, int err, const char *path, const char *fmt, ...)
    PS_PRINTF(4, 5);

#endif
