/* The databases of the settlement's contract tests: each test has an empty one of its own, on the
 * backend of this run, and looks into it around the code under test. */
#ifndef PS_TEST_SETTLE_DATABASES_H
#define PS_TEST_SETTLE_DATABASES_H

#include "tests/unit/check.h"

struct settle_database {
    const char *name;
    bool (*start)(void); /* of the server that it needs; false: leave it out */
    void (*stop)(void);
    void (*make)(char *ret_url, size_t size); /* an empty database */
    void (*drop)(void);
    /* Runs statements; the rows of the last one as "a|b\n", NULL as "-". Static memory. */
    const char *(*query)(const char *sql);
    bool (*try_query)(const char *sql); /* may fail */
};

extern const struct settle_database settle_databases[2];
extern const struct settle_database *settle_database; /* of this run */

#endif
