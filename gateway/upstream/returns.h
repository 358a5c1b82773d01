/* The automatic return of a split: when the new pool is worse than the route's own by more than the
 * split's `return` allows (tally.h defines it; judged each second over the last `window_s`), the
 * split gets no more requests, and its route says why.
 *
 * This gateway's workers stop sending there at once. Then the return is written into the state of
 * the route's document, so it reaches the gateways of a cluster, survives a restart, and has an
 * audit entry with the figures, by "system". The write is retried each second until it succeeds.
 * The share comes back with another version of the split's element, or by POST …/resume. */
#ifndef UP_RETURNS_H
#define UP_RETURNS_H

#include "gateway/config/store/store.h"
#include "gateway/upstream/tally.h"

/* One thread: control. */
struct up_returns {
    struct cfg_store *config;
    const struct ps_clock *clock;
    int64_t judged_s; /* monotonic */
    bool writing;     /* a change is under way */
};

/* Call it at least each second. */
void up_returns_tick(struct up_returns *returns, const struct up_table *table);

#endif
