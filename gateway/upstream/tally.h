/* The figures of a target: read over all workers, taken over a window, and compared with those of
 * the route's own pool, to judge a split (returns.h says what for):
 *
 *   errors   the share of failures of the split's pool is above that of the route's own by more
 * than errors_above, and by two standard errors more: as many more may be chance (the binomial's,
 * for as many requests as the split has had, at the own pool's share) latency  the 99th percentile
 * of the time to an answer's head is above p99_above times that of the route's own
 *
 * Both only from UP_JUDGE_MIN requests on, and from UP_JUDGE_BAD_MIN that failed, or were slower
 * than that. Where the route's own pool has had fewer requests, its share of failures counts as 0,
 * and latency is not judged: there is nothing to compare with. */
#ifndef UP_TALLY_H
#define UP_TALLY_H

#include "gateway/upstream/route_figures.h"

#define UP_JUDGE_MIN     50
#define UP_JUDGE_BAD_MIN 5
#define UP_WINDOW_SLOTS  60 /* a longer window goes in steps of a sixtieth */

/* --- Figures: pure. --- */

/* What a target's cells say together. All counters only grow; those of latency go round. */
struct up_tally {
    int64_t requests; /* without those whose client has left */
    int64_t failures;
    int64_t skipped; /* kept from the pool by its breaker; in no other figure */
    uint32_t latency[PS_TIME_BUCKETS];
};

/* Over all workers. Any thread. */
void up_tally_read(const struct up_target *target, struct up_tally *ret_tally);
double up_tally_failure_share(const struct up_tally *tally); /* 0: no requests */
/* The time that 99 of 100 do not exceed, within a tenth; 0: none was measured. */
int64_t up_tally_p99_ns(const struct up_tally *tally);

/* What the split has met: those that the pool's breaker has kept away have failed, too, if what it
 * is open for was met in the window: half of the requests, and UP_JUDGE_BAD_MIN, have failed. (Of a
 * split that was just taken up again the breaker may be open for what was before.) */
struct up_tally up_tally_met(const struct up_tally *its);
/* Is the split to be taken back for what its pool and the route's own have met in the window? */
enum up_cause up_split_judge(const struct cfg_split *split, const struct up_tally *met,
                             const struct up_tally *own);

/* --- The window of a split: the control thread. --- */

/* It begins with what the cells say now. NULL: out of memory. */
struct up_window *up_window_new(int64_t window_s, const struct up_tally *its,
                                const struct up_tally *own);
void up_window_free(struct up_window *window); /* NULL is allowed */
/* What the cells say now, at least each second; what has come within the window. `now_s` is
 * monotonic. */
void up_window_note(struct up_window *window, int64_t now_s, const struct up_tally *its,
                    const struct up_tally *own, struct up_tally *ret_its, struct up_tally *ret_own);

#endif
