/* See report.h. */
#include "gateway/report.h"

#include "common/otlp/tracer.h"
#include "common/program/log.h"
#include "gateway/config/store/store.h"
#include "gateway/metrics.h"
#include "gateway/orders/flow.h"
#include "gateway/sales/sales.h"

/* Rounded, since it is a sum over the workers. */
static unsigned admitted_percent(const struct ps_metrics *metrics)
{
    const int64_t percent = PS_NS_PER_S / 100;

    return (unsigned)((ps_metric_read(metrics, GW_M_ADMISSION, ADM_SHED_ORDER) + percent / 2) /
                      percent);
}

static void tell_breakers(const struct adm_breakers *breakers, struct ans_readiness *readiness)
{
    for (size_t i = 0; i < breakers->count && i < ANS_BREAKERS_MAX; i++) {
        struct adm_breaker_sum sum;
        adm_breaker_add_up(breakers->at[i], &sum);
        readiness->breakers[readiness->breaker_count++] = (struct ans_breaker){
            .name = breakers->at[i]->source.name, .closed = sum.state == PS_BREAKER_CLOSED};
    }
}

void gw_report_readiness(void *ctx, struct ans_readiness *ret_readiness)
{
    const struct gw_report *report = ctx;
    bool shared = inv_store_is_shared(report->store);

    *ret_readiness = (struct ans_readiness){
        .started = atomic_load_explicit(&report->started, memory_order_acquire),
        .draining = atomic_load_explicit(&report->draining, memory_order_acquire),
        .log = oq_log_available(report->log),
        .in_cluster = shared,
        .view = shared && clu_has_view(report->cluster),
        .store = shared && clu_has_redis(report->cluster),
        .sales_refused = sale_refused(report->sales),
        .limit_evictions = adm_limit_table_evictions(report->limits),
        .backlog_percent = oq_log_backlog_percent(report->log),
        .log_lines_dropped = ps_log_dropped(),
        .admitted_percent = admitted_percent(report->metrics)};
    tell_breakers(report->breakers, ret_readiness);
}

/* --- metrics --- */

static void gather_shared_log(const struct oq_log_stats *stats, struct ps_metrics_shard *shard)
{
    ps_metric_set(shard, GW_M_KAFKA_IN_FLIGHT, 0, (int64_t)stats->in_flight);
    ps_metric_set(shard, GW_M_KAFKA_LAG, 0, (int64_t)stats->lag);
    ps_metric_set(shard, GW_M_KAFKA_RESENT, 0, (int64_t)stats->resent);
    ps_metric_set(shard, GW_M_KAFKA_FOREIGN, 0, (int64_t)stats->foreign);
    ps_metric_set(shard, GW_M_KAFKA_PRODUCERS, 0, (int64_t)stats->producers);
    ps_metric_set(shard, GW_M_KAFKA_SENT, 0, (int64_t)stats->sent_bytes);
    ps_metric_set(shard, GW_M_KAFKA_RECEIVED, 0, (int64_t)stats->received_bytes);
    ps_metric_set(shard, GW_M_KAFKA_ROUND_TRIP, 0, stats->round_trip_ns);
}

static void gather_log(const struct oq_log *log, struct ps_metrics_shard *shard)
{
    struct oq_log_stats stats;
    struct oq_log_view view;

    oq_log_stats(log, &stats);
    ps_metric_set(shard, GW_M_LOG_RECORDS, 0, (int64_t)stats.landed);
    ps_metric_set(shard, GW_M_LOG_RECORDS, 1, (int64_t)stats.refused);
    ps_metric_set(shard, GW_M_LOG_RECORDS, 2, (int64_t)stats.unknown);
    ps_metric_set(shard, GW_M_LOG_RECORDS, 3, (int64_t)stats.spilled);
    ps_metric_set(shard, GW_M_LOG_COMMITS, 0, (int64_t)stats.commits);
    ps_metric_set(shard, GW_M_LOG_COMMIT_FAILURES, 0, (int64_t)stats.commit_failures);
    ps_metric_set_durations(shard, GW_M_LOG_COMMIT_SECONDS, stats.commit_durations);
    ps_metric_set(shard, GW_M_LOG_AVAILABLE, 0, oq_log_available(log));
    oq_log_view(log, &view);
    ps_metric_set(shard, GW_M_SPILL_RECORDS, 0, (int64_t)view.spilled);
    if (view.shared)
        gather_shared_log(&stats, shard);
}

static void gather_sales(const struct gw_report *report, struct ps_metrics_shard *shard)
{
    struct sale_numbers numbers = sale_numbers(report->sales);

    ps_metric_set(shard, GW_M_MEMBERS, 0, (int64_t)clu_members(report->cluster));
    ps_metric_set(shard, GW_M_LEADER, 0, clu_leads(report->cluster));
    ps_metric_set(shard, GW_M_FENCED, 0, (int64_t)numbers.fenced);
    ps_metric_set(shard, GW_M_EFFECTS_WAITING, 0, (int64_t)numbers.effects);
}

static void gather_load(const struct adm_sample *sample, struct ps_metrics_shard *shard)
{
    ps_metric_set(shard, GW_M_CONNECTIONS, 0, sample->connections);
    ps_metric_set(shard, GW_M_IN_FLIGHT, 0, sample->in_flight);
    ps_metric_set(shard, GW_M_WAITING, 0, sample->held);
    ps_metric_set(shard, GW_M_LOG_BACKLOG, 0, sample->log_backlog);
    ps_metric_set(shard, GW_M_PRESSURE, 0, (int64_t)(sample->pressure * PS_NS_PER_S));
}

static void gather_flow(const struct ord_flow *flow, struct ps_metrics_shard *shard)
{
    for (size_t i = 0; i < GW_FLOW_COUNT; i++) {
        struct ord_flow_view view;
        if (!ord_flow_view(flow, (enum gw_flow)i, &view))
            continue;
        ps_metric_set(shard, GW_M_FLOW_LIMIT, i, (int64_t)view.limit);
        ps_metric_set(shard, GW_M_FLOW_IN_FLIGHT, i, (int64_t)view.in_flight);
        ps_metric_set(shard, GW_M_FLOW_SECONDS, i, view.median_ns);
    }
}

void gw_report_metrics(const struct gw_report *report, struct ps_metrics_shard *shard)
{
    int64_t share = adm_share_get(adm_limit_table_share(report->limits));

    gather_log(report->log, shard);
    gather_flow(report->flow, shard);
    gather_sales(report, shard);
    gather_load(adm_signals_now(report->signals), shard);
    ps_metric_set(shard, GW_M_LIMIT_EVICTIONS, 0,
                  (int64_t)adm_limit_table_evictions(report->limits));
    ps_metric_set(shard, GW_M_LIMIT_SHARE, 0, share * PS_NS_PER_S / ADM_SHARE_ONE);
    ps_metric_set(shard, GW_M_LOG_LINES_DROPPED, 0, (int64_t)ps_log_dropped());
    for (enum ps_span_end end = 0; report->tracer != NULL && end < PS_SPAN_ENDS; end++)
        ps_metric_set(shard, GW_M_TRACE_SPANS, end, ps_tracer_count(report->tracer, end));
}

/* --- what a heartbeat tells --- */

static int64_t measure_demand(int64_t now_ns, void *ctx)
{
    struct gw_report *report = ctx;

    return adm_share_demand(&report->meter,
                            ps_metric_read(report->metrics, GW_M_LIMIT_SHARED_ASKED, 0), now_ns);
}

static void set_share(int64_t own, const int64_t *all, size_t count, int64_t now_ns, void *ctx)
{
    const struct gw_report *report = ctx;

    adm_share_set(adm_limit_table_share(report->limits), adm_share_of(own, all, count), now_ns);
}

static int64_t get_snapshot_version(void *ctx)
{
    const struct gw_report *report = ctx;

    return cfg_store_revision(report->config);
}

const struct clu_duties gw_report_duties = {
    .demand = measure_demand, .on_demands = set_share, .snapshot_version = get_snapshot_version};
