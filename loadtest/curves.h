/* What was measured over time: how long buyers waited, as percentiles of short slots; and what the
 * gateway itself saw, read from its admin API when the rehearsal is over. */
#ifndef LT_CURVES_H
#define LT_CURVES_H

#include "common/metrics/histogram.h"
#include "loadtest/admin.h"

#define LT_WAITS_SLOTS 128

/* Latencies by the moment of the answer. One thread. */
struct lt_waits {
    int64_t slot_ns; /* width; doubles when the run outlasts the slots */
    size_t slot_count;
    struct ps_histogram *slots; /* LT_WAITS_SLOTS */
};

/* PS_E_NOMEM. */
int lt_waits_new(struct lt_waits *ret_waits) PS_MUST_CHECK;
void lt_waits_free(struct lt_waits *waits);
/* Both from the plan's start, or from the click; below 0 counts as 0. */
void lt_waits_add(struct lt_waits *waits, int64_t at_ns, int64_t latency_ns);
/* {"slot_ms","p50":[...],"p99":[...]}, in ms; null for a slot without answers. NULL: out of memory.
 */
json_t *lt_waits_json(const struct lt_waits *waits);

/* What the gateway at `admin` tells of the time from `started_ms` (wall clock) on:
 *
 *   {"version","gateway","settings","documents":{kind:{name:…}},"plans":[…] (moments.h),
 *    "step_ms","from_ms","level":[…],"pressure":[…],"order_p50_ms":[…],"order_p99_ms":[…],
 *    "signals":{name:{"unit","threshold","points":[…]}},"answers":{verdict:[…]}}
 *
 * One point a step; from_ms is the moment of the first one, from the start (it may be below 0). The
 * gateway keeps ten minutes. Of a cluster it is the one gateway at --admin. PS_E_NOMEM, and the
 * errors of lt_admin_call_json. Owner of *ret_json: the caller. */
int lt_curves_read(const struct lt_admin *admin, int64_t started_ms, json_t **ret_json,
                   struct ps_fault *fault) PS_MUST_CHECK;
/* Of that, what changes from second to second: all but version, gateway, settings, documents and
 * plans. */
int lt_curves_history(const struct lt_admin *admin, int64_t started_ms, json_t **ret_json,
                      struct ps_fault *fault) PS_MUST_CHECK;

#endif
