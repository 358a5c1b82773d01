/* The retry budget: how many requests may be sent once more, so that a pool in trouble gets a
 * fifth more load at most, and not twice as much.
 *
 * Each request earns a share of a retry (retry_budget), but never less than UP_RETRIES_PER_S a
 * second do over all workers, so that a pool with few requests may retry as well. What is not used
 * is forgotten with a time constant of 10 s. Budget, least rate and 10 s are Finagle's RetryBudget
 * (percentCanRetry, minRetriesPerSec, ttl); the share and the least rate are the defaults of
 * Envoy's retry budget, 20 % and 3. Over any time, retries stay below the larger of the two and
 * what was saved before.
 *
 * Each worker goes by what it has itself: nothing is shared. No function allocates, locks or reads
 * a clock. */
#ifndef UP_RETRY_H
#define UP_RETRY_H

#include "gateway/upstream/pool.h"

#define UP_RETRIES_PER_S 3

/* A request begins: not one that is sent again. `share`: retry_budget; 0: nothing is retried.
 * Monotonic time. The cell's thread. */
void up_retry_earn(struct up_pool_cell *cell, double share, size_t workers, int64_t now_ns);
/* May one be sent again now? Then it counts as sent. The cell's thread. */
bool up_retry_may(struct up_pool_cell *cell, double share) PS_MUST_CHECK;

#endif
