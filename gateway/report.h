/* The gateway's report on itself: can buyers be served, the metrics whose values its parts keep by
 * themselves, and what a heartbeat reports to the other gateways. */
#ifndef GW_REPORT_H
#define GW_REPORT_H

#include "common/metrics/metrics.h"
#include "gateway/admission/breakers.h"
#include "gateway/admission/limits/limit_table.h"
#include "gateway/admission/shed.h"
#include "gateway/admission/signals.h"
#include "gateway/answers/readiness.h"
#include "gateway/cluster/cluster.h"
#include "inventory/store.h"
#include "queue/log.h"

struct ord_flow;
struct ps_tracer;
struct sale_runs;

/* Its sources; all are set before the first question. */
struct gw_report {
    _Atomic(bool) started; /* start-up is complete */
    _Atomic(bool) draining;
    struct adm_limit_table *limits;
    struct inv_store *store; /* the control thread's: only used to ask whether it is shared */
    struct oq_log *log;
    const struct ord_flow *flow;
    struct clu_cluster *cluster;
    struct sale_runs *sales;
    const struct adm_signals *signals;
    const struct adm_breakers *breakers;
    const struct cfg_store *config;
    struct adm_share_meter meter; /* private: measures the demand that heartbeats report */
    const struct ps_metrics *metrics;
    const struct ps_tracer *tracer; /* NULL: tracing is off */
};

/* `report` is a struct gw_report. Any thread. */
void gw_report_readiness(void *report, struct ans_readiness *ret_readiness);
/* The control thread, always with the same shard. */
void gw_report_metrics(const struct gw_report *report, struct ps_metrics_shard *shard);

/* `ctx` is a struct gw_report. */
extern const struct clu_duties gw_report_duties;

#endif
