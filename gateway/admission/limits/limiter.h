/* The four rate-limit algorithms as pure functions: (cell, now, rule) -> cell', allowed, wait. A
 * cell is 64 bits, all that is stored for one key under one rule, so that one compare-and-swap
 * updates it. Any thread; nothing here has state.
 *
 * Time is monotonic nanoseconds, 0 <= now < ADM_LIMIT_NOW_MAX_NS: 31 years since the clock's start
 * (the machine's, with CLOCK_MONOTONIC), so that nothing wraps. A wall clock in nanoseconds is out
 * of range and asserted.
 *
 * How exact:
 * - Buckets: the interval between requests is a whole number of ticks of 0.06 ns, so nothing
 *   drifts.
 * - Fixed window: exact. Windows begin at the multiples of period_s of the monotonic clock.
 * - Sliding window: the two-counter approximation, this window's count plus the last one's weighted
 *   by the part of it that is still inside. Never above `rate` in a window of the clock, below 2 *
 *   rate in any other (when all requests of a window come at its very end); exact to one request if
 *   the last window's requests came evenly. Above a rate of 16383 the last count is rounded up by
 *   at most 0.013 %. */
#ifndef ADM_LIMITER_H
#define ADM_LIMITER_H

#include "common/clock.h"
#include "gateway/config/kinds/limit_rule.h"

#define ADM_LIMIT_NOW_MAX_NS (INT64_C(1000000000) * PS_NS_PER_S)

/* A rule with everything that a check needs precomputed. Plain data: may be copied. */
struct adm_limit_compiled {
    enum cfg_limit_algorithm algorithm;
    bool few_keys; /* a kind whose keys users cannot make up: global, sale */
    uint32_t rate;
    uint32_t period_s;
    uint32_t last_shift;  /* sliding window: the last count is kept in units of 2^last_shift */
    uint64_t seed;        /* XORed with the hash of a key: each rule has its own cells */
    uint64_t ticks_per_s; /* buckets: a multiple of rate, within 0.006 % of 2^34 */
    uint64_t interval;    /* ticks between two requests at exactly the rate */
    uint64_t tolerance;   /* ticks of debt up to which a request passes at once */
    uint64_t hold;        /* ticks of debt beyond `tolerance` up to which it may wait */
    uint64_t full_span;   /* the largest possible debt, as a span (limiter.c) */
    uint64_t pace;        /* ticks that pass in a second: ticks_per_s x the gateway's share */
    uint64_t others;      /* what belongs to other gateways and counts as used here: ticks of debt
                             (buckets) or requests (windows); 0: this gateway is alone */
};

struct adm_limit_result {
    bool allowed;
    /* Allowed: 0, or (leaky bucket) how long the request must be held; its place is taken in any
     * case. Refused: when the same request would be allowed if nothing else came. */
    int64_t wait_ns;
    /* How many more would be allowed now. Can exceed the rate if the burst does. */
    int64_t remaining;
    /* Seconds, rounded up, until `remaining` grows by one. Never 0. */
    int64_t reset_s;
};

/* `rule` is one that was read (cfg_kind_limit). `scale` >= 1 multiplies rate and burst (each at
 * most its maximum), for keys that stand for many: an IPv6 /48 counts at 16 times the rate of a
 * /64. Cells of different scales are apart.
 *
 * What a changed rule does to existing cells: a new rate, burst or wait applies from the next
 * check. A bucket keeps its debt in time (to 60 us), cut to what a bucket of the new size can owe;
 * a window keeps its counts. A new algorithm, key or scale starts afresh, and so do windows of a
 * new period and a sliding window whose rate moves between the ranges of last_shift (16383, 32766,
 * 65532 ...). */
void adm_limit_compile(const struct cfg_limit_rule *rule, int64_t scale,
                       struct adm_limit_compiled *ret_rule);

/* `rule` for a gateway whose share is part / ADM_SHARE_ONE (limit_share.h), part from 1: rate and
 * burst are multiplied by the share, and at least one request passes after a long pause. Cells are
 * the same, and used budget stays used when the share changes. Check buckets and sliding windows
 * with the time of the share's clock; they return waits in real time. Check a fixed window with the
 * monotonic time. Its size, in whole requests, can fall while it lasts but not rise: a larger share
 * counts from the next window on, because its former owner may have used it in this one. */
void adm_limit_share(const struct adm_limit_compiled *rule, uint32_t part,
                     struct adm_limit_compiled *ret_rule);

/* Counts one request, which can be held for `patience_ms` (0 .. CFG_LIMIT_WAIT_MAX_MS) more: a
 * leaky bucket refuses a request that would have to wait longer, and that request takes no place.
 * *ret_cell is the new value of the cell: `cell` itself when refused. A cell of 0, and any idle
 * cell, is a key without history. */
struct adm_limit_result adm_limit_step(const struct adm_limit_compiled *rule, uint64_t cell,
                                       int64_t now_ns, int64_t patience_ms, uint64_t *ret_cell);

/* All cells share one layout in their upper bits: the second in which they become idle. So cells of
 * any rules can be compared (the smaller is idle earlier), and whether one is idle can be seen
 * without its rule. Idle comes up to 1 s late. */
#define ADM_LIMIT_DETAIL_BITS 34
static inline bool adm_limit_idle(uint64_t cell, int64_t now_ns)
{
    return cell == 0 || cell >> ADM_LIMIT_DETAIL_BITS < (uint64_t)(now_ns / PS_NS_PER_S);
}

#endif
