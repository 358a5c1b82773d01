/* The retry budget: how many requests may be sent again, so that a pool in trouble gets at most a
 * fifth more load, and not twice as much.
 *
 * Each request earns a share of a retry (retry_budget), but all workers together earn at least
 * UP_RETRIES_PER_S retries a second, so that a pool with few requests may retry as well. Unused
 * budget decays with a time constant of 10 s. Budget, minimum rate and 10 s are Finagle's
 * RetryBudget (percentCanRetry, minRetriesPerSec, ttl); the share and the minimum are the defaults
 * of Envoy's retry budget, 20 % and 3. Over any time, retries stay below the larger of the two plus
 * what was saved before.
 *
 * Each worker uses its own budget: nothing is shared. No function allocates, locks or reads a
 * clock. */
#ifndef UP_RETRY_H
#define UP_RETRY_H

#include "gateway/upstream/pool.h"

#define UP_RETRIES_PER_S 3

/* Counts a request, but not one that is sent again. `share`: retry_budget; 0: nothing is retried.
 * Monotonic time. The cell's thread. */
void up_retry_earn(struct up_pool_cell *cell, double share, size_t workers, int64_t now_ns);
/* May a request be sent again now? If so, it is counted. The cell's thread. */
bool up_retry_may(struct up_pool_cell *cell, double share) PS_MUST_CHECK;

#endif
