/* What the files of the cluster share: cluster.c (what is known), lease.c (the leader's lease),
 * heartbeat.c (each tick: how it becomes known, and the lease). */
#ifndef CLU_CLUSTER_INTERNAL_H
#define CLU_CLUSTER_INTERNAL_H

#include "gateway/cluster/cluster.h"
#include "inventory/shared.h"

#include <stdatomic.h>

struct clu_member {
    struct ps_uuid start;
    int64_t age_ms; /* when its last heartbeat was read */
    struct inv_heartbeat heartbeat;
};

/* For whose log Redis counts, as far as this gateway knows. */
enum clu_owner { CLU_OWNER_UNKNOWN, CLU_OWNER_THIS_LOG, CLU_OWNER_OTHER_LOG };

/* The heartbeat under way: without the log's name while the log has not said it. */
enum clu_under_way { CLU_UNDER_WAY_NONE, CLU_UNDER_WAY_UNNAMED, CLU_UNDER_WAY_NAMED };

struct clu_cluster {
    struct clu_settings settings;
    const struct clu_sales *sales;
    void *sales_ctx;
    bool shared; /* the counter is in Redis; else this is a cluster of one */
    bool alone;  /* no other gateway shares the log */
    bool stopped;
    _Atomic(bool) has_view, has_redis;

    /* the heartbeat */
    enum clu_under_way under_way;
    bool ask_all;     /* with the next one */
    int64_t asked_ns; /* when it was sent */
    int64_t demand;   /* as last reported */
    size_t answered;

    /* what the last answer said */
    int64_t answered_ns;
    int64_t redis_ms; /* Redis's clock then */
    int64_t clock_set_ns;
    struct clu_member *members;
    size_t member_count;
    enum clu_owner owner;
    int64_t disowned_ns;   /* when Redis last named another log; INT64_MIN / 2: never */
    bool reported_company; /* logged: another gateway counts here, and this one has a journal of its
                              own */

    /* the leader's lease */
    bool leasing;
    int64_t leased_ns, leads_until_ns;
    struct ps_uuid holder; /* the start that had it at `held_ns`; INT64_MIN / 2: not known */
    int64_t held_ns;
};

int64_t clu_now_ns(const struct clu_cluster *cluster);
/* Renews the lease, or asks for it, if it is time. */
void clu_lease_renew(struct clu_cluster *cluster, const struct oq_log_view *view);

#endif
