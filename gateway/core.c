/* What the gateway says of itself as a whole. */
#include "gateway/core.h"

#include "common/log.h"
#include "gateway/cluster/cluster.h"
#include "gateway/sales/sales.h"

void gw_core_readiness(void *ctx, struct ans_readiness *ret_readiness)
{
    const struct gw_core *core = ctx;
    bool shared = inv_store_is_shared(core->control_store);

    *ret_readiness = (struct ans_readiness){
        .started = atomic_load_explicit(&core->ready, memory_order_acquire),
        .draining = atomic_load_explicit(&core->draining, memory_order_acquire),
        .log = oq_log_available(core->log),
        .in_cluster = shared,
        .view = shared && clu_has_view(core->cluster),
        .store = shared && clu_has_redis(core->cluster),
        .sales_refused = sale_refused(core->sales),
        .limit_evictions = adm_limit_table_evictions(core->limits),
        .backlog_percent = oq_log_backlog_percent(core->log),
        .log_lines_dropped = ps_log_dropped()};
}
