/* The figures of a target: sums over all workers, differences over a window, and a comparison with
 * the route's own pool, to judge a split (see returns.h):
 *
 *   errors   the split's share of failures exceeds that of the route's own pool by more than
 *            errors_above plus two standard errors: less may be chance (binomial, for the split's
 *            number of requests, at the own pool's share)
 *   latency  the split's 99th percentile of the time to an answer's head exceeds p99_above times
 *            that of the route's own pool
 *
 * Both need UP_JUDGE_MIN requests, and UP_JUDGE_BAD_MIN that failed or were slower than that. If
 * the route's own pool has had fewer requests, its share of failures counts as 0, and latency is
 * not judged: there is nothing to compare with. */
#ifndef UP_TALLY_H
#define UP_TALLY_H

#include "gateway/upstream/route_figures.h"

#define UP_JUDGE_MIN     50
#define UP_JUDGE_BAD_MIN 5
#define UP_WINDOW_SLOTS  60 /* a longer window has steps of a sixtieth */

/* --- Figures: pure. --- */

/* The sums of a target's cells. All counters only grow; those of latency wrap around. */
struct up_tally {
    int64_t requests; /* without those whose client left */
    int64_t failures;
    int64_t skipped; /* not sent because of the pool's breaker; counted in no other figure */
    struct ps_times_sum latency;
};

/* Over all workers. Any thread. */
void up_tally_read(const struct up_target *target, struct up_tally *ret_tally);
double up_tally_failure_share(const struct up_tally *tally); /* 0: no requests */
/* The time within which 99 of 100 were answered, at most 6.3 % off; 0: none was measured. */
int64_t up_tally_p99_ns(const struct up_tally *tally);

/* The split's outcomes. Requests that the pool's breaker kept away count as failed, too, if the
 * breaker is open for what was met in the window: half of the requests, and at least
 * UP_JUDGE_BAD_MIN, have failed. (Right after a split is resumed, its breaker may still be open for
 * earlier failures.) */
struct up_tally up_tally_met(const struct up_tally *its);
/* Should the split be taken back for what its pool and the route's own met in the window? */
enum up_cause up_split_judge(const struct cfg_split *split, const struct up_tally *met,
                             const struct up_tally *own);

/* --- The window of a split: the control thread. --- */

/* Starts at the cells' present values. NULL: out of memory. */
struct up_window *up_window_new(int64_t window_s, const struct up_tally *its,
                                const struct up_tally *own);
void up_window_free(struct up_window *window); /* NULL is allowed */
/* Notes the cells' present values, at least each second; returns the sums of the window. `now_s` is
 * monotonic. */
void up_window_note(struct up_window *window, int64_t now_s, const struct up_tally *its,
                    const struct up_tally *own, struct up_tally *ret_its, struct up_tally *ret_own);

#endif
