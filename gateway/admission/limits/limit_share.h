/* A gateway's share of the limits that all gateways of a cluster keep together: rules with the keys
 * global and sale. Each gateway enforces rate x share and burst x share, where
 * share = own demand / all demand. Rules by user and address are enforced whole everywhere.
 *
 * What a member of a cluster does, on the control thread (gateway.c ties it to the heartbeat):
 *
 *     each 100 ms:  demand = adm_share_demand(&meter, asked, now_ns);
 *                   asked = ps_metric_read(core->metrics, GW_M_LIMIT_SHARED_ASKED, 0)
 *     each reply:   adm_share_set(adm_limit_table_share(core->limits),
 *                                 adm_share_of(demand, all, n), now_ns);
 *                   all = the demands of the members heard lately, its own as it was last told
 *
 * Without a reply nothing is set, and the last share stays in force. */
#ifndef ADM_LIMIT_SHARE_H
#define ADM_LIMIT_SHARE_H

#include "common/defs.h"

#include <stdatomic.h>

/* A share is a fraction of this: the whole. */
#define ADM_SHARE_ONE (UINT32_C(1) << 30)

/* Measures demand. One thread. All zero is a meter that has not measured. */
struct adm_share_meter {
    bool begun;
    int64_t asked;
    int64_t at_ns;
    double average; /* over the last 1.6 s or since the last change; requests a second */
};

/* How many requests a second have asked rules of the keys global and sale. `asked`: how many in
 * all, which never falls. Called each 100 ms or so; `now_ns` by the monotonic clock. While what
 * comes differs from the average by no more than chance explains, the average is told, so that
 * shares are calm; a real change is told at once. */
int64_t adm_share_demand(struct adm_share_meter *meter, int64_t asked, int64_t now_ns);

/* What a gateway of demand `own` may use, of ADM_SHARE_ONE. `all` holds the demands of all `n`
 * gateways, this one's among them, as Redis has them: a negative one counts as none, and whatever
 * they say the share is at least 1. All who hear the same demands get shares whose
 * sum is ADM_SHARE_ONE (never more). Who has less than 1/(200 n) of the demand gets at least
 * 1/(201 n), so that his first buyers pass: it costs the others 0.5 % at most. Where nobody has
 * any, all get the same. */
uint32_t adm_share_of(int64_t own, const int64_t *all, size_t n);

/* The share in force, and a clock that runs at it: buckets fill by that clock. Two slots, written
 * in turn, so that no reader waits for the writer. */
struct adm_share {
    _Atomic(uint32_t) version; /* its lowest bit is the slot; 0: the share was always whole */
    struct adm_share_slot {
        _Atomic(uint32_t) share;
        _Atomic(int64_t) since_ns; /* when, by the monotonic clock ... */
        _Atomic(int64_t) clock_ns; /* ... and what the share's clock showed then */
    } slots[2];
};

/* Puts a share (1 .. ADM_SHARE_ONE) in force from now on. One thread. */
void adm_share_set(struct adm_share *share, uint32_t part, int64_t now_ns);
/* The share in force (for a gauge). Any thread. */
uint32_t adm_share_get(const struct adm_share *share);
/* The share in force, and what its clock shows at `now_ns`. Any thread. */
uint32_t adm_share_read(const struct adm_share *share, int64_t now_ns, int64_t *ret_clock_ns);

/* True while no other share than the whole was ever set: then the clock is the monotonic one. */
static inline bool adm_share_whole(const struct adm_share *share)
{
    return atomic_load_explicit(&share->version, memory_order_relaxed) == 0;
}

#endif
