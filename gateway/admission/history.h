/* The last ten minutes: for each of a fixed number of series one point a second, the largest sample
 * of that second. Bounded memory; one thread. */
#ifndef ADM_HISTORY_H
#define ADM_HISTORY_H

#include "common/defs.h"

#define ADM_HISTORY_S 600

struct adm_history;

/* PS_E_NOMEM. */
int adm_history_new(size_t series, struct adm_history **ret_history) PS_MUST_CHECK;
void adm_history_free(struct adm_history *history); /* NULL is allowed */

/* Adds a sample of one series in second `second` (of the monotonic clock; it never goes back). NaN:
 * no sample. The first sample of a later second ends the one before; seconds without a sample have
 * points without a value. */
void adm_history_add(struct adm_history *history, size_t series, int64_t second, double value);

/* How many complete seconds there are, at most ADM_HISTORY_S; the current second does not count. */
size_t adm_history_count(const struct adm_history *history);
/* The point of a series, 0 = the oldest; not a number: no sample. */
double adm_history_at(const struct adm_history *history, size_t series, size_t point);
/* The newest complete second. */
int64_t adm_history_last(const struct adm_history *history);

#endif
