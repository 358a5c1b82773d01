/* The automatic return of a split: when the new pool is worse than the route's own by more than the
 * split's `return` allows (tally.h says how that is judged, each second over the last `window_s`),
 * the split gets nothing more, and its route says why.
 *
 * This gateway's workers send nothing more there at once. Then the return becomes a part of the
 * state of the route's document: so it reaches the gateways of a cluster, outlives a restart, and
 * has an audit entry with the figures, by "penstock". It is tried again each second until that is
 * written. The share comes back with another version of the split's element, or by POST …/resume.
 */
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

/* Now and then, at least each second. */
void up_returns_tick(struct up_returns *returns, const struct up_table *table);

#endif
