/* The heartbeat. One Redis counts for one log: with two, a raise of stock in one topic, or how far
 * it was applied, would change the counters of the other's sales. The key ps:log names the log; the
 * first heartbeat sets it, and again the first one after Redis was emptied. A gateway of another
 * log is no member and counts nothing. It may claim ps:log only 3 s after Redis last named another
 * log, so that after a flush the gateways that counted here come back first. */
#include "gateway/cluster/cluster_internal.h"

#include "common/program/log.h"

#include <stdlib.h>
#include <string.h>

#define CLAIM_NS (3 * PS_NS_PER_S)
/* A gateway that has not reported its demand for this long, five heartbeats, counts as having
 * none. */
#define DEMAND_SILENT_MS 500

static void take_members(struct clu_cluster *cluster, const struct inv_heartbeat_reply *answer)
{
    struct clu_member *members = calloc(answer->member_count + 1, sizeof *members);

    if (members == NULL)
        return; /* keep those of the last answer */
    for (size_t i = 0; i < answer->member_count; i++)
        members[i] = (struct clu_member){.start = answer->members[i].start,
                                         .age_ms = answer->members[i].age_ms,
                                         .heartbeat = answer->members[i].heartbeat};
    free(cluster->members);
    cluster->members = members;
    cluster->member_count = answer->member_count;
}

static void report_demands(struct clu_cluster *cluster)
{
    const struct clu_settings *settings = &cluster->settings;
    int64_t *all;
    size_t count = 0;

    if (settings->duties == NULL || (all = calloc(cluster->member_count + 1, sizeof *all)) == NULL)
        return; /* the last share stays in force */
    for (size_t i = 0; i < cluster->member_count; i++)
        if (cluster->members[i].age_ms < DEMAND_SILENT_MS)
            all[count++] = cluster->members[i].heartbeat.demand;
    settings->duties->on_demands(cluster->demand, all, count, clu_now_ns(cluster), settings->ctx);
    free(all);
}

static void report_company(struct clu_cluster *cluster)
{
    if (cluster->reported_company || !cluster->alone || clu_may_act(cluster))
        return;
    cluster->reported_company = true;
    ps_log(PS_LOG_ERROR, "gateway_not_alone",
           PS_F_STR("why", "another gateway counts in this Redis, and this one's orders go to a "
                           "journal of its own: nothing is sold here; several gateways need "
                           "log.kind kafka"));
}

static void leave_other_log(struct clu_cluster *cluster, const char *other)
{
    struct oq_log_view view;

    if (other[0] != '\0')
        cluster->disowned_ns = clu_now_ns(cluster);
    if (cluster->owner == CLU_OWNER_OTHER_LOG)
        return;
    cluster->owner = CLU_OWNER_OTHER_LOG;
    oq_log_view(cluster->settings.log, &view);
    ps_log(PS_LOG_ERROR, "redis_of_another_log",
           PS_F_STR("redis", inv_store_server(cluster->settings.store)), PS_F_STR("key", "ps:log"),
           PS_F_STR("counts_for", other), PS_F_STR("log", view.name),
           PS_F_STR("why", "this Redis counts for the orders of another log than this gateway's: "
                           "nothing is sold here; give the gateways of each topic a database of "
                           "their own (store.redis.url), or, if no gateway of the other log is "
                           "left, delete the key"));
    cluster->sales->on_disowned(cluster->sales_ctx);
    cluster->leads_until_ns = 0;
    cluster->held_ns = INT64_MIN / 2;
    cluster->member_count = 0;
}

/* Compares Redis's clock with this gateway's monotonic one. (Another server counts as a step,
 * too.) */
static void note_clock(struct clu_cluster *cluster, int64_t redis_ms)
{
    int64_t moved_ms;

    if (cluster->answered == 0)
        return;
    moved_ms = redis_ms - clu_earlier_ms(cluster, INT64_MAX);
    if (moved_ms > CLU_CLOCKS_APART_MS || moved_ms < -CLU_CLOCKS_APART_MS)
        cluster->clock_set_ns = clu_now_ns(cluster);
}

static void on_heartbeat(int err, const struct inv_heartbeat_reply *answer, void *ctx)
{
    struct clu_cluster *cluster = ctx;

    enum clu_under_way answered = cluster->under_way;

    cluster->under_way = CLU_UNDER_WAY_NONE;
    atomic_store(&cluster->has_redis, err == 0 && answer->other_log == NULL);
    if (cluster->stopped || err < 0)
        return; /* keep what was known */
    if (answer->other_log != NULL) {
        leave_other_log(cluster, answer->other_log);
        return;
    }
    cluster->owner = answered == CLU_UNDER_WAY_NAMED ? CLU_OWNER_THIS_LOG : CLU_OWNER_UNKNOWN;
    note_clock(cluster, answer->now_ms);
    cluster->answered_ns = clu_now_ns(cluster);
    cluster->redis_ms = answer->now_ms;
    cluster->answered++;
    take_members(cluster, answer);
    report_demands(cluster);
    for (size_t i = 0; i < answer->sale_count; i++)
        cluster->sales->on_answer(i, &answer->sales[i], cluster->asked_ns, cluster->sales_ctx);
    report_company(cluster);
}

static void send_heartbeat(struct clu_cluster *cluster, const struct inv_heartbeat *heartbeat,
                           const char *log_name)
{
    const struct clu_sales *sales = cluster->sales;
    struct inv_sale **counters =
        calloc(sales->count(cluster->sales_ctx) + 1, sizeof(struct inv_sale *));
    struct inv_log_claim log = {.name = log_name,
                                .claims = clu_now_ns(cluster) - cluster->disowned_ns > CLAIM_NS};
    size_t count;

    if (counters == NULL)
        return;
    count = sales->ask(cluster->ask_all, counters, cluster->sales_ctx);
    cluster->asked_ns = clu_now_ns(cluster);
    int result = inv_shared_heartbeat(
        cluster->settings.store,
        &(struct inv_heartbeat_call){heartbeat, log_name != NULL ? &log : NULL, counters, count},
        on_heartbeat, cluster);
    if (result == INV_PENDING) {
        cluster->under_way = log_name != NULL ? CLU_UNDER_WAY_NAMED : CLU_UNDER_WAY_UNNAMED;
        cluster->ask_all = false;
    }
    free(counters);
}

static void send_due(struct clu_cluster *cluster)
{
    const struct clu_settings *settings = &cluster->settings;
    struct inv_heartbeat heartbeat = {0};
    struct oq_log_stats stats;
    struct oq_log_view view;

    if (!inv_store_ready(settings->store)) {
        atomic_store(&cluster->has_redis, false);
        return;
    }
    if (cluster->under_way != CLU_UNDER_WAY_NONE)
        return;
    oq_log_view(settings->log, &view);
    oq_log_stats(settings->log, &stats);
    heartbeat.in_flight = (int64_t)stats.backlog;
    heartbeat.spilled = (int64_t)view.spilled;
    if (settings->duties != NULL) {
        heartbeat.demand = settings->duties->demand(clu_now_ns(cluster), settings->ctx);
        heartbeat.snapshot_version = settings->duties->snapshot_version(settings->ctx);
    }
    cluster->demand = heartbeat.demand;
    memcpy(heartbeat.name, settings->gateway_id, strlen(settings->gateway_id));
    send_heartbeat(cluster, &heartbeat, view.name);
}

void clu_tick(struct clu_cluster *cluster)
{
    struct oq_log_view view;

    if (cluster->stopped)
        return;
    oq_log_view(cluster->settings.log, &view);
    if (view.available) /* a log is not available before it has been read once */
        atomic_store(&cluster->has_view, true);
    if (!cluster->shared)
        return;
    inv_store_view_reached(cluster->settings.store, view.reached_ns);
    send_due(cluster);
    clu_lease_renew(cluster, &view);
}

void clu_ask_all_next(struct clu_cluster *cluster)
{
    cluster->ask_all = true;
}

void clu_ask_all(struct clu_cluster *cluster)
{
    cluster->ask_all = true;
    if (cluster->shared && !cluster->stopped)
        send_due(cluster);
}
