/* The four rate-limit algorithms as pure functions: (cell, now, rule) -> cell', allowed, wait. A
 * cell is 64 bits, all that is remembered of one key under one rule, so that one compare-and-swap
 * updates it. Any thread; nothing here has state.
 *
 * Time is monotonic nanoseconds, 0 <= now < ADM_LIMIT_NOW_MAX_NS: 31 years since the clock's start
 * (the machine's, with CLOCK_MONOTONIC), so that nothing wraps. A wall clock in nanoseconds is out
 * of range and asserted.
 *
 * How exact:
 * - Buckets: the interval between requests is a whole number of ticks of 0.06 ns, so nothing
 * drifts.
 * - Fixed window: exact. Windows begin at the multiples of period_s of the monotonic clock.
 * - Sliding window: the two-counter approximation, this window's count plus the last one's weighted
 *   by the part of it that is still inside. Never above `rate` in a window of the clock, below
 *   2 * rate in any other (when a whole window's requests come at its very end); where the last
 *   window's requests came evenly it is exact to one request. Above a rate of 16383 the last count
 *   is rounded up by at most 0.013 %. */
#ifndef ADM_LIMITER_H
#define ADM_LIMITER_H

#include "common/clock.h"
#include "gateway/config/kinds/limit_rule.h"

#define ADM_LIMIT_NOW_MAX_NS (INT64_C(1000000000) * PS_NS_PER_S)

/* A rule with everything computed that a check needs. Plain data: copy it as you like. */
struct adm_limit_compiled {
    enum cfg_limit_algorithm algorithm;
    bool few_keys; /* of a kind of which users cannot make up new ones: global, sale */
    uint32_t rate;
    uint32_t period_s;
    uint32_t last_shift;  /* sliding window: the last count is kept in units of 2^last_shift */
    uint64_t seed;        /* XORed to the hash of a key: another rule, another cell */
    uint64_t ticks_per_s; /* buckets: a multiple of rate, within 0.006 % of 2^34 */
    uint64_t interval;    /* ticks between two requests at exactly the rate */
    uint64_t tolerance;   /* ticks of debt up to which a request passes at once */
    uint64_t hold;        /* ticks of debt beyond `tolerance` up to which it may wait */
    uint64_t full_span;   /* the largest debt that there can be, as a span (limiter.c) */
    uint64_t pace;        /* ticks that pass in a second: ticks_per_s x the gateway's share */
    uint64_t others;      /* what belongs to other gateways and counts as used here: buckets ticks
                             of debt, windows requests; 0 alone */
};

struct adm_limit_result {
    bool allowed;
    /* Allowed: 0, or (leaky bucket) how long the request must be held; its place is taken, whatever
     * becomes of it. Refused: when the same request would be allowed if nothing else came. */
    int64_t wait_ns;
    /* How many more would be allowed now. Larger than the rate when the burst is. */
    int64_t remaining;
    /* Seconds, rounded up, until `remaining` is one more than it is now. Never 0. */
    int64_t reset_s;
};

/* `rule` is one that was read (cfg_kind_limit). `scale` >= 1 multiplies rate and burst (each at
 * most its maximum), for keys that stand for many: an IPv6 /48 counts at 16 times the rate of a
 * /64. Cells of different scales are apart.
 *
 * What a re-tune does to cells that are there: a new rate, burst or wait applies from the next
 * check. A bucket keeps its debt in time (to 60 us), cut to what a bucket of the new size can owe;
 * a window keeps its counts. A new algorithm, key or scale starts afresh, and so do windows of a
 * new period and a sliding window whose rate moves between the ranges of last_shift (16383, 32766,
 * 65532 ...). */
void adm_limit_compile(const struct cfg_limit_rule *rule, int64_t scale,
                       struct adm_limit_compiled *ret_rule);

/* `rule` as a gateway enforces it whose share of it is part / ADM_SHARE_ONE (limit_share.h), part
 * from 1: rate and burst are multiplied by the share, and at least one request passes where nobody
 * has come for long. Cells are the same, and what has been used stays used when the share changes.
 * Buckets and sliding windows are to be asked with the time of the share's clock, and tell waits in
 * real time. A fixed window is asked with the monotonic time. Its size, in whole requests, can fall
 * while it lasts but not rise: a share that rises counts from the next window on, for those who had
 * it may have used it in this one. */
void adm_limit_share(const struct adm_limit_compiled *rule, uint32_t part,
                     struct adm_limit_compiled *ret_rule);

/* One request, which can be held for `patience_ms` (0 .. CFG_LIMIT_WAIT_MAX_MS) more: a leaky
 * bucket refuses who would have to wait longer, and his place is not lost to others. *ret_cell is
 * what the cell must become: `cell` itself when refused. A cell of 0, and any cell that is idle, is
 * a key that has not been seen. */
struct adm_limit_result adm_limit_step(const struct adm_limit_compiled *rule, uint64_t cell,
                                       int64_t now_ns, int64_t patience_ms, uint64_t *ret_cell);

/* All cells share one layout in their upper bits: the second in which they become idle. So cells of
 * any rules can be compared (the smaller is idle earlier), and told idle without knowing their
 * rule. Idle comes up to 1 s late. */
#define ADM_LIMIT_DETAIL_BITS 34
static inline bool adm_limit_idle(uint64_t cell, int64_t now_ns)
{
    return cell == 0 || cell >> ADM_LIMIT_DETAIL_BITS < (uint64_t)(now_ns / PS_NS_PER_S);
}

#endif
