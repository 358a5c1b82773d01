/* Which endpoints of a pool get requests, and how many: from the checks, from what requests meet
 * there, and from the document, to a state with its reason and a weight for the workers.
 *
 *   draining    the document drains it: no new requests; after drain_ms its connections are cut
 *   down        its check fails
 *   ejected     it is an outlier (outlier.h), for a while
 *   slow_start  it is back, or new beside others: its weight grows from a tenth to the whole in
 *               slow_start_ms
 *   up
 *
 * When fewer than panic_share of the members (drained ones and those of weight 0 not counted) are
 * up or in slow start, the pool is in *panic*, as Envoy calls it: all of these members are used
 * with their whole weights. If most have failed, the remaining few would be overloaded next, and
 * perhaps the judgement is wrong. States and reasons stay as they are. */
#ifndef UP_JUDGE_H
#define UP_JUDGE_H

#include "gateway/upstream/health.h"
#include "gateway/upstream/pool.h"

/* Judges, publishes, and logs changes. Call it each 100 ms or so, and at once for a new view of the
 * pool. `checks`: the check result of each member, NULL for a member without one; or NULL.
 * Monotonic nanoseconds, wall milliseconds. The control thread. */
void up_judge_tick(const struct up_pool_view *pool, const struct up_verdict *const *checks,
                   int64_t now_ns, int64_t now_ms);

#endif
