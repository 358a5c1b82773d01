/* A gateway's share of the limits that all gateways of a cluster keep together: rules with the keys
 * global and sale. Each gateway enforces rate x share and burst x share, where share = own demand /
 * all demand. Rules by user and address are enforced in full by every gateway.
 *
 * What a member of a cluster does, on the control thread (gateway.c connects it to the heartbeat):
 *
 *   each 100 ms:  demand = adm_share_demand(&meter, asked, now_ns);
 *                 asked = ps_metric_read(core->metrics, GW_M_LIMIT_SHARED_ASKED, 0)
 *   each reply:   adm_share_set(adm_limit_table_share(core->limits),
 *                 adm_share_of(demand, all, n), now_ns);
 *                 all = the latest demands of the live members, its own as last sent
 *
 * Without a reply nothing is set, and the last share stays in force. */
#ifndef ADM_LIMIT_SHARE_H
#define ADM_LIMIT_SHARE_H

#include "common/defs.h"

#include <stdatomic.h>

/* Shares are fractions of this. */
#define ADM_SHARE_ONE (UINT32_C(1) << 30)

/* Measures demand. One thread. All zero: a new meter. */
struct adm_share_meter {
    bool begun;
    int64_t asked;
    int64_t at_ns;
    double average; /* over the last 1.6 s or since the last change; requests a second */
};

/* How many requests a second were checked against rules of the keys global and sale. `asked`: their
 * total, which never falls. Call it each 100 ms or so; `now_ns` is monotonic. While the rate
 * differs from the average by no more than chance explains, returns the average, so that shares are
 * stable; returns a real change at once. */
int64_t adm_share_demand(struct adm_share_meter *meter, int64_t asked, int64_t now_ns);

/* The share, of ADM_SHARE_ONE, of a gateway with demand `own`. `all` has the demands of all `n`
 * gateways, this one's included, as Redis has them: a negative one counts as 0, and the share is at
 * least 1 in any case. Gateways that see the same demands compute shares whose sum is ADM_SHARE_ONE
 * (never more). A gateway with less than 1/(200 n) of the demand gets at least 1/(201 n), so that
 * its first buyers pass: that costs the others 0.5 % at most. If no gateway has demand, all get the
 * same. */
uint32_t adm_share_of(int64_t own, const int64_t *all, size_t n);

/* The share in force, and a clock that runs at it: buckets fill by that clock. Two slots, written
 * alternately, so that no reader waits for the writer. */
struct adm_share {
    _Atomic(uint32_t) version; /* its lowest bit is the slot; 0: the share was never set */
    struct adm_share_slot {
        _Atomic(uint32_t) share;
        _Atomic(int64_t) since_ns; /* when, by the monotonic clock ... */
        _Atomic(int64_t) clock_ns; /* ... and what the share's clock showed then */
    } slots[2];
};

/* Sets the share (1 .. ADM_SHARE_ONE) from now on. One thread. */
void adm_share_set(struct adm_share *share, uint32_t part, int64_t now_ns);
/* The share in force (for a gauge). Any thread. */
uint32_t adm_share_get(const struct adm_share *share);
/* The share in force, and its clock at `now_ns`. Any thread. */
uint32_t adm_share_read(const struct adm_share *share, int64_t now_ns, int64_t *ret_clock_ns);

/* True while the share was never set to less than the whole: then its clock is the monotonic
 * one. */
static inline bool adm_share_whole(const struct adm_share *share)
{
    return atomic_load_explicit(&share->version, memory_order_relaxed) == 0;
}

#endif
