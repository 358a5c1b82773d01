/* Rate-limit algorithms on a 64-bit cell: 30 bits "idle from this second on", 34 bits of detail.
 *
 * - Buckets: GCRA, the virtual scheduling algorithm of ITU-T I.371 annex A and ATM Forum TM 4.0.
 *   The cell is the theoretical arrival time TAT, at which the bucket will be full again. A request
 *   conforms when TAT - now <= (burst - 1) * T; then TAT' = max(TAT, now) + T. The leaky bucket is
 *   the same scheduler as a shaper: a request that does not conform yet is held until it does.
 * - Fixed window: end of the window, count.
 * - Sliding window: end of the window after this one, last count, this count. The estimate is last
 *   * (1 - elapsed / period) + this, as described by J. Desgats, "How we built rate limiting
 *   capable of scaling to millions of domains", Cloudflare, 2017.
 *
 * A TAT in nanoseconds would round T (a third of a second) and drift with every request. So each
 * rule has ticks of its own, a multiple of its rate a second, which makes T whole; seconds are
 * common to all cells. Arithmetic is on (seconds, ticks) pairs with carry: a stamp is a moment, a
 * span a length.
 *
 * Cells are not trusted: workers' clocks differ slightly, a changed rule applies to old cells, and
 * another key may take a slot over during a check. Debt is cut to what the rule allows, and no
 * window counts that ends more than one period ahead, so a foreign value costs a key at most one
 * refill.
 *
 * In a cluster a gateway has a share of a rule, and the rest counts as used, as if the others had
 * used all of theirs: a bucket has at least that debt, a window at least that count. So a share
 * that moves takes no budget with it that its former owner has used. The clock of the share
 * (limit_share.h) makes used budget return at the share's part of the rate; only fixed windows end
 * by real time. */
#include "gateway/admission/limits/limiter.h"
#include "common/text/id.h"
#include "gateway/admission/limits/limit_share.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#define DETAIL_MASK ((UINT64_C(1) << ADM_LIMIT_DETAIL_BITS) - 1)
#define COUNT_BITS  20 /* of a sliding window; the rest of the detail is the last count */
#define COUNT_MASK  ((UINT64_C(1) << COUNT_BITS) - 1)
#define LAST_MAX    ((UINT64_C(1) << (ADM_LIMIT_DETAIL_BITS - COUNT_BITS)) - 1)
#define US_PER_S    INT64_C(1000000)

/* The longest wait that is returned; longer ones come from a share close to 0. */
#define WAIT_MAX_S UINT64_C(31536000)

static uint64_t span_of(const struct adm_limit_compiled *rule, uint64_t ticks)
{
    return ticks / rule->ticks_per_s << ADM_LIMIT_DETAIL_BITS | ticks % rule->ticks_per_s;
}

static int64_t at_most(int64_t value, int64_t most)
{
    return value < most ? value : most;
}

void adm_limit_compile(const struct cfg_limit_rule *rule, int64_t scale,
                       struct adm_limit_compiled *ret_rule)
{
    assert(rule->rate >= 1 && rule->period_s >= 1 && rule->burst >= 1 && scale >= 1);
    bool sliding = rule->algorithm == CFG_LIMIT_SLIDING_WINDOW;
    bool window = sliding || rule->algorithm == CFG_LIMIT_FIXED_WINDOW;
    int64_t burst = at_most(rule->burst * scale, CFG_LIMIT_BURST_MAX);
    struct adm_limit_compiled made = {
        .algorithm = rule->algorithm,
        .few_keys = rule->key == CFG_LIMIT_KEY_GLOBAL || rule->key == CFG_LIMIT_KEY_SALE,
        .rate = (uint32_t)at_most(rule->rate * scale, CFG_LIMIT_RATE_MAX),
        .period_s = (uint32_t)rule->period_s,
    };
    uint64_t ticks = (DETAIL_MASK + 1) / made.rate;
    made.ticks_per_s = ticks * made.rate;
    made.interval = ticks * made.period_s;
    made.tolerance = (uint64_t)(burst - 1) * made.interval;
    made.hold = (uint64_t)rule->max_wait_ms * made.ticks_per_s / 1000;
    made.full_span = span_of(&made, made.tolerance + made.hold + made.interval);
    made.pace = made.ticks_per_s;
    while (sliding && ((uint64_t)made.rate - 1) >> made.last_shift >= LAST_MAX)
        made.last_shift++;

    /* Everything that changes a cell's meaning. Not secret: the hash to which it is XORed is. */
    static const struct ps_hash_key fixed_key;
    char text[PS_NAME_MAX + 96];
    int len = snprintf(text, sizeof text, "%s %d %d %" PRId64 " %" PRIu32 " %" PRIu32, rule->name,
                       (int)rule->algorithm, (int)rule->key, scale, window ? made.period_s : 0,
                       made.last_shift);
    made.seed = ps_hash64(&fixed_key, text, (size_t)len);
    *ret_rule = made;
}

void adm_limit_share(const struct adm_limit_compiled *rule, uint32_t part,
                     struct adm_limit_compiled *ret_rule)
{
    assert(part >= 1 && part <= ADM_SHARE_ONE);
    struct adm_limit_compiled made = *rule;
    double share = (double)part / ADM_SHARE_ONE;
    bool bucket =
        rule->algorithm == CFG_LIMIT_TOKEN_BUCKET || rule->algorithm == CFG_LIMIT_LEAKY_BUCKET;
    double whole = bucket ? (double)(rule->tolerance + rule->interval) : rule->rate;
    uint64_t most = bucket ? rule->tolerance : rule->rate - 1; /* one request must pass */
    uint64_t others = (uint64_t)(whole * (1 - share) + 0.5);
    made.others = others < most ? others : most;
    made.pace = (uint64_t)((double)rule->ticks_per_s * share);
    made.hold = (uint64_t)((double)rule->hold * share);
    made.full_span = span_of(&made, made.tolerance + made.hold + made.interval);
    *ret_rule = made;
}

/* Rounds down to the tick. The product stays below 2^64: 1e9 * 2^34. */
static uint64_t stamp_of(const struct adm_limit_compiled *rule, int64_t now_ns)
{
    uint64_t second = (uint64_t)now_ns / PS_NS_PER_S, ns = (uint64_t)now_ns % PS_NS_PER_S;
    return second << ADM_LIMIT_DETAIL_BITS | ns * rule->ticks_per_s / PS_NS_PER_S;
}

static uint64_t stamp_add(const struct adm_limit_compiled *rule, uint64_t stamp, uint64_t span)
{
    uint64_t sum = stamp + span;
    if ((stamp & DETAIL_MASK) + (span & DETAIL_MASK) >= rule->ticks_per_s)
        sum += DETAIL_MASK + 1 - rule->ticks_per_s; /* carry */
    return sum;
}

/* Ticks from `from` to the later `to`. */
static uint64_t ticks_between(const struct adm_limit_compiled *rule, uint64_t from, uint64_t to)
{
    uint64_t seconds = (to >> ADM_LIMIT_DETAIL_BITS) - (from >> ADM_LIMIT_DETAIL_BITS);
    return seconds * rule->ticks_per_s + (to & DETAIL_MASK) - (from & DETAIL_MASK);
}

/* Rounds up, so that a request allowed after `ticks` is allowed after the result. */
static int64_t ns_of(const struct adm_limit_compiled *rule, uint64_t ticks)
{
    uint64_t seconds = ticks / rule->pace, rest = ticks % rule->pace;
    if (seconds >= WAIT_MAX_S)
        return (int64_t)WAIT_MAX_S * PS_NS_PER_S;
    uint64_t ns = (rest * PS_NS_PER_S + rule->pace - 1) / rule->pace;
    return (int64_t)(seconds * PS_NS_PER_S + ns);
}

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static struct adm_limit_result bucket(const struct adm_limit_compiled *rule, uint64_t cell,
                                      int64_t now_ns, int64_t patience_ms, uint64_t *ret_cell)
{
    uint64_t now = stamp_of(rule, now_ns);
    uint64_t full = stamp_add(rule, now, rule->full_span);
    uint64_t tat = cell < now ? now : cell > full ? full : cell;
    uint64_t debt = ticks_between(rule, now, tat);
    if (debt < rule->others) {
        debt = rule->others;
        tat = stamp_add(rule, now, span_of(rule, debt));
    }
    uint64_t patience = (uint64_t)patience_ms * rule->pace / 1000;
    uint64_t limit = rule->tolerance + (patience < rule->hold ? patience : rule->hold);
    struct adm_limit_result result = {.allowed = debt <= limit};

    if (result.allowed) {
        if (debt > rule->tolerance)
            result.wait_ns = ns_of(rule, debt - rule->tolerance);
        *ret_cell = stamp_add(rule, tat, span_of(rule, rule->interval));
        debt += rule->interval;
    } else {
        result.wait_ns = ns_of(rule, debt - limit);
        *ret_cell = cell;
    }
    uint64_t more = debt > limit ? 0 : (limit - debt) / rule->interval + 1;
    uint64_t until_next = debt + more * rule->interval - limit;
    result.remaining = (int64_t)more;
    uint64_t reset_s = (until_next + rule->pace - 1) / rule->pace;
    result.reset_s = (int64_t)(reset_s < WAIT_MAX_S ? reset_s : WAIT_MAX_S);
    return result;
}

/* The end of the clock's window in which `now_ns` falls, in seconds. */
static int64_t window_end(const struct adm_limit_compiled *rule, int64_t now_ns)
{
    uint32_t second = (uint32_t)(now_ns / PS_NS_PER_S);
    return ((int64_t)(second / rule->period_s) + 1) * rule->period_s;
}

/* True if a cell's window is still counted on: this one, or the next one, which a worker with a
 * later clock has begun. */
static bool window_holds(const struct adm_limit_compiled *rule, int64_t cell_end, int64_t end)
{
    return cell_end >= end && cell_end <= end + rule->period_s;
}

static struct adm_limit_result fixed_window(const struct adm_limit_compiled *rule, uint64_t cell,
                                            int64_t now_ns, uint64_t *ret_cell)
{
    int64_t end = window_end(rule, now_ns);
    int64_t cell_end = (int64_t)(cell >> ADM_LIMIT_DETAIL_BITS);
    uint64_t count = 0;
    if (window_holds(rule, cell_end, end)) {
        end = cell_end;
        count = cell & DETAIL_MASK;
    }
    if (count < rule->others)
        count = rule->others;
    int64_t left_ns = end * PS_NS_PER_S - now_ns;
    struct adm_limit_result result = {.allowed = count < rule->rate,
                                      .reset_s = ceil_div(left_ns, PS_NS_PER_S)};
    if (result.allowed) {
        count++;
        result.remaining = (int64_t)(rule->rate - count);
        *ret_cell = (uint64_t)end << ADM_LIMIT_DETAIL_BITS | count;
    } else {
        result.wait_ns = left_ns;
        *ret_cell = cell;
    }
    return result;
}

/* A sliding window at one moment. Times are microseconds: last * period stays below 2^63. */
struct sliding {
    int64_t end_s;
    int64_t elapsed_us; /* of this window; 0 when another worker's clock has begun it before ours */
    int64_t last;       /* requests in the window before, rounded up as as_last() does */
    int64_t count;      /* requests in this one */
};

/* What a window's count becomes when the next one begins: whole units of 2^last_shift. */
static int64_t as_last(const struct adm_limit_compiled *rule, int64_t count)
{
    int64_t unit = INT64_C(1) << rule->last_shift;
    return ceil_div(count, unit) * unit;
}

/* The present weight of the last window's requests. */
static int64_t sliding_weight(const struct adm_limit_compiled *rule, const struct sliding *now)
{
    int64_t period_us = rule->period_s * US_PER_S;
    return ceil_div(now->last * (period_us - now->elapsed_us), period_us);
}

/* Counts the others' share as used in the last window, so that it returns evenly from now on; what
 * does not fit there, in this one. */
static void count_others(const struct adm_limit_compiled *rule, struct sliding *now)
{
    int64_t period_us = rule->period_s * US_PER_S, others = (int64_t)rule->others;
    int64_t last = (others - now->count) * period_us / (period_us - now->elapsed_us);
    now->last = at_most(last, rule->rate) >> rule->last_shift << rule->last_shift;
    int64_t used = now->count + sliding_weight(rule, now);
    if (used < others)
        now->count += others - used;
}

static struct sliding sliding_open(const struct adm_limit_compiled *rule, uint64_t cell,
                                   int64_t now_ns)
{
    struct sliding now = {.end_s = window_end(rule, now_ns)};
    int64_t cell_end = (int64_t)(cell >> ADM_LIMIT_DETAIL_BITS) - rule->period_s;
    int64_t count = (int64_t)(cell & COUNT_MASK);
    if (window_holds(rule, cell_end, now.end_s)) {
        now.end_s = cell_end;
        now.count = count;
        now.last = (int64_t)((cell & DETAIL_MASK) >> COUNT_BITS << rule->last_shift);
    } else if (cell_end == now.end_s - rule->period_s) {
        now.last = as_last(rule, count);
    }
    int64_t elapsed_us = now_ns / 1000 - (now.end_s - rule->period_s) * US_PER_S;
    now.elapsed_us = elapsed_us > 0 ? elapsed_us : 0;
    if (rule->others != 0 && now.count + sliding_weight(rule, &now) < (int64_t)rule->others)
        count_others(rule, &now);
    return now;
}

/* The earliest elapsed time at which `last` requests of the last window weigh no more than
 * `room`. */
static int64_t sliding_weighs(const struct adm_limit_compiled *rule, int64_t last, int64_t room)
{
    int64_t period_us = rule->period_s * US_PER_S;
    return last <= room ? 0 : period_us - room * period_us / last;
}

/* Converts time of the share's clock to real time. Rounds up. */
static int64_t real_us(const struct adm_limit_compiled *rule, int64_t us)
{
    if (rule->pace == rule->ticks_per_s)
        return us;
    double real = (double)us * (double)rule->ticks_per_s / (double)rule->pace + 1;
    double most = (double)WAIT_MAX_S * US_PER_S;
    return us == 0 ? 0 : (int64_t)(real < most ? real : most);
}

/* Microseconds until `wanted` (1 .. rate) requests would be allowed; 0 = now. */
static int64_t sliding_wait(const struct adm_limit_compiled *rule, const struct sliding *now,
                            int64_t wanted)
{
    int64_t room = rule->rate - now->count - wanted;
    int64_t at_us;
    if (room >= 0) {
        at_us = sliding_weighs(rule, now->last, room);
    } else {
        at_us = rule->period_s * US_PER_S +
                sliding_weighs(rule, as_last(rule, now->count), rule->rate - wanted);
    }
    return at_us > now->elapsed_us ? at_us - now->elapsed_us : 0;
}

static struct adm_limit_result sliding_window(const struct adm_limit_compiled *rule, uint64_t cell,
                                              int64_t now_ns, uint64_t *ret_cell)
{
    struct sliding now = sliding_open(rule, cell, now_ns);
    int64_t wait_us = real_us(rule, sliding_wait(rule, &now, 1));
    struct adm_limit_result result = {.allowed = wait_us == 0, .wait_ns = wait_us * 1000};
    if (!result.allowed) {
        result.reset_s = ceil_div(wait_us, US_PER_S);
        *ret_cell = cell;
        return result;
    }
    now.count++;
    *ret_cell = (uint64_t)(now.end_s + rule->period_s) << ADM_LIMIT_DETAIL_BITS |
                (uint64_t)now.last >> rule->last_shift << COUNT_BITS | (uint64_t)now.count;
    result.remaining = rule->rate - now.count - sliding_weight(rule, &now);
    int64_t next_us = real_us(rule, sliding_wait(rule, &now, result.remaining + 1));
    result.reset_s = ceil_div(next_us, US_PER_S);
    return result;
}

struct adm_limit_result adm_limit_step(const struct adm_limit_compiled *rule, uint64_t cell,
                                       int64_t now_ns, int64_t patience_ms, uint64_t *ret_cell)
{
    assert(now_ns >= 0 && now_ns < ADM_LIMIT_NOW_MAX_NS);
    assert(patience_ms >= 0 && patience_ms <= CFG_LIMIT_WAIT_MAX_MS);
    switch (rule->algorithm) {
    case CFG_LIMIT_FIXED_WINDOW:
        return fixed_window(rule, cell, now_ns, ret_cell);
    case CFG_LIMIT_SLIDING_WINDOW:
        return sliding_window(rule, cell, now_ns, ret_cell);
    case CFG_LIMIT_TOKEN_BUCKET:
    case CFG_LIMIT_LEAKY_BUCKET:
        break;
    }
    return bucket(rule, cell, now_ns, patience_ms, ret_cell);
}
