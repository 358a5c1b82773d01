/* The leader's lease: a key in Redis that one gateway at a time renews.
 *
 * A gateway that is cut off from the log neither sees what is to be applied nor can reject or
 * expire anything, so it lets the lease lapse: others may not be cut off. */
#include "gateway/cluster/cluster_internal.h"

#include "common/program/log.h"

#define LEASE_MS       1000
#define LEASE_EVERY_NS (250 * PS_NS_PER_MS)
/* A gateway whose clock differs from Redis's asks for the lease this rarely: others get it first.
 */
#define LEASE_RELUCTANTLY_NS (2 * PS_NS_PER_S)

/* Does this machine's clock differ from Redis's? */
static bool are_clocks_apart(const struct clu_cluster *cluster)
{
    int64_t apart_ms =
        ps_clock_wall_ms(cluster->settings.clock) - clu_earlier_ms(cluster, INT64_MAX);

    return apart_ms > CLU_CLOCKS_APART_MS || apart_ms < -CLU_CLOCKS_APART_MS;
}

bool clu_leads(const struct clu_cluster *cluster)
{
    return !cluster->shared || clu_now_ns(cluster) < cluster->leads_until_ns;
}

static void on_lease(int err, const struct ps_uuid *holder, int64_t ttl_ms, void *ctx)
{
    struct clu_cluster *cluster = ctx;
    bool led = clu_leads(cluster);

    (void)ttl_ms;
    cluster->leasing = false;
    if (cluster->stopped || err < 0)
        return;
    cluster->holder = *holder;
    cluster->held_ns = clu_now_ns(cluster);
    cluster->leads_until_ns =
        clu_is_own(cluster, holder) ? cluster->leased_ns + LEASE_MS * PS_NS_PER_MS : 0;
    if (led || !clu_leads(cluster))
        return;
    ps_log(PS_LOG_INFO, "leader_here");
    cluster->sales->on_lead(cluster->sales_ctx);
}

void clu_lease_renew(struct clu_cluster *cluster, const struct oq_log_view *view)
{
    int64_t now = clu_now_ns(cluster);

    if (cluster->leasing || !clu_may_act(cluster) || view->state != OQ_LOG_WELL ||
        now - cluster->leased_ns <
            (are_clocks_apart(cluster) ? LEASE_RELUCTANTLY_NS : LEASE_EVERY_NS))
        return;
    cluster->leased_ns = now;
    cluster->leasing =
        inv_shared_lease(cluster->settings.store, NULL, LEASE_MS, on_lease, cluster) == INV_PENDING;
}
