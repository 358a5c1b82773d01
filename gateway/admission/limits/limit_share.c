/* Shares of the cluster's limits.
 *
 * Why a clock that runs at the share: it fills a bucket with rate x share, and a change of the
 * share changes how fast the bucket fills, not its content (the same holds for a sliding window).
 * Multiplying the content instead would give a gateway that takes over load the tokens of one that
 * has already spent them: a second burst.
 *
 * Why demand, and not what was admitted: the gateway that refuses most needs the share most. */
#include "gateway/admission/limits/limit_share.h"

#include "common/clock.h"

#include <assert.h>

#define WEIGHT (1.0 / 16) /* of a new sample in the moving average */
/* What chance explains: three standard deviations of a Poisson count, squared. */
#define CHANCE 9.0
#define LEAST  200 /* the smallest share is 1/LEAST, divided by the number of gateways */

int64_t adm_share_demand(struct adm_share_meter *meter, int64_t asked, int64_t now_ns)
{
    double elapsed_s = (double)(now_ns - meter->at_ns) / PS_NS_PER_S;
    if (meter->begun && elapsed_s > 0) {
        double rate = (double)(asked - meter->asked) / elapsed_s;
        double apart = rate - meter->average;
        bool chance = apart * apart * elapsed_s <= CHANCE * meter->average;
        meter->average = chance ? meter->average + apart * WEIGHT : rate;
    }
    meter->begun = true;
    meter->asked = asked;
    meter->at_ns = now_ns;
    return (int64_t)(meter->average + 0.5);
}

static double positive(int64_t demand)
{
    return demand > 0 ? (double)demand : 0;
}

/* A demand as it counts: at least 1/(LEAST x n) of the sum. */
static double counted(int64_t demand, double sum, size_t n)
{
    double least = sum / (LEAST * (double)n);
    return positive(demand) > least ? positive(demand) : least;
}

uint32_t adm_share_of(int64_t own, const int64_t *all, size_t n)
{
    double sum = 0, counted_sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += positive(all[i]);
    if (sum <= 0)
        return ADM_SHARE_ONE / (n > 0 ? (uint32_t)n : 1);
    for (size_t i = 0; i < n; i++)
        counted_sum += counted(all[i], sum, n);
    double part = counted(own, sum, n) / counted_sum * ADM_SHARE_ONE;
    return part < 1 ? 1 : part < ADM_SHARE_ONE ? (uint32_t)part : ADM_SHARE_ONE;
}

void adm_share_set(struct adm_share *share, uint32_t part, int64_t now_ns)
{
    assert(part >= 1 && part <= ADM_SHARE_ONE);
    if (adm_share_whole(share) && part == ADM_SHARE_ONE)
        return;
    int64_t clock_ns;
    if (adm_share_read(share, now_ns, &clock_ns) == part)
        return;
    uint32_t version = atomic_load_explicit(&share->version, memory_order_relaxed) + 1;
    if (version == 0)
        version = 2; /* 0 means "never set" */
    struct adm_share_slot *slot = &share->slots[version & 1];
    atomic_store_explicit(&slot->share, part, memory_order_release);
    atomic_store_explicit(&slot->since_ns, now_ns, memory_order_release);
    atomic_store_explicit(&slot->clock_ns, clock_ns, memory_order_release);
    atomic_store_explicit(&share->version, version, memory_order_release);
}

uint32_t adm_share_get(const struct adm_share *share)
{
    int64_t clock_ns;
    return adm_share_read(share, 0, &clock_ns);
}

uint32_t adm_share_read(const struct adm_share *share, int64_t now_ns, int64_t *ret_clock_ns)
{
    uint32_t version = atomic_load_explicit(&share->version, memory_order_acquire);
    for (;;) {
        if (version == 0) {
            *ret_clock_ns = now_ns;
            return ADM_SHARE_ONE;
        }
        const struct adm_share_slot *slot = &share->slots[version & 1];
        uint32_t part = atomic_load_explicit(&slot->share, memory_order_acquire);
        int64_t since_ns = atomic_load_explicit(&slot->since_ns, memory_order_acquire);
        int64_t clock_ns = atomic_load_explicit(&slot->clock_ns, memory_order_acquire);
        uint32_t again = atomic_load_explicit(&share->version, memory_order_acquire);
        if (again == version) {
            int64_t passed_ns = now_ns - since_ns;
            *ret_clock_ns = clock_ns + (int64_t)((double)passed_ns * part / ADM_SHARE_ONE);
            return part;
        }
        version = again; /* the slot may have been written meanwhile */
    }
}
