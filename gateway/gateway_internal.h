/* What the files of the composition share: gateway.c (run and end) and open.c (start of the parts).
 * Other files must not include this. */
#ifndef GW_GATEWAY_INTERNAL_H
#define GW_GATEWAY_INTERNAL_H

#include "gateway/admin/admin.h"
#include "gateway/admission/overload.h"
#include "gateway/backends.h"
#include "gateway/breakers.h"
#include "gateway/cluster/cluster.h"
#include "gateway/control.h"
#include "gateway/explaining.h"
#include "gateway/gateway.h"
#include "gateway/keeper.h"
#include "gateway/mail.h"
#include "gateway/plans/plans.h"
#include "gateway/report.h"
#include "gateway/sockets.h"
#include "gateway/state_dir.h"
#include "gateway/worker.h"

enum gw_stage { GW_RUNNING, GW_DELAYING, GW_FINISHING };

struct gw_gateway {
    struct gw_settings *settings;
    const char *config_path;
    const struct ps_clock *clock;
    struct gw_state_dir dir;
    char *archive_dir, *archive_key; /* paths */
    /* Shared by threads. */
    struct adm_limit_table *limits;
    struct adm_limit_samples samples; /* of what the limits count */
    struct gw_counter *counter;
    struct oq_fold *fold;
    struct ord_events *events;
    struct oq_log *log;
    struct gw_keeper *keeper;
    struct ord_flow *flow;
    struct ps_tracer *tracer; /* NULL: tracing is off */
    struct ps_metrics *metrics;
    struct gw_mailboxes mail;
    struct gw_workers workers;
    struct gw_breakers breakers;
    struct gw_report report;
    /* The control thread's. */
    struct inv_store *store;
    struct sale_runs *sales;
    struct clu_cluster *cluster;
    struct cfg_store *config;
    struct op_auth *auth;
    struct gw_control *control;
    struct plans *plans;
    struct op_admin *admin;
    struct gw_explaining explaining;
    struct ps_metrics_shard *shard;
    struct adm_overload *overload;
    struct ps_uuid start; /* id of this start of the process: the owner of its reservations */
    int64_t started_ms;   /* wall clock */
    uv_loop_t loop;
    uv_signal_t term, interrupt, hangup;
    uv_timer_t housekeeping;
    struct gw_sockets sockets;
    enum gw_stage stage;
    int64_t drain_started_ns;
    bool hurry; /* drain.delay_ms is cut short */
    uint64_t watchdog_us;
    int64_t watchdog_fed_ns;
};

/* --- gateway.c --- */
/* Sales that were open before are served again: the gateway is ready. */
void gw_on_started(void *gateway);

/* --- open.c: in this order, each on the control thread before its loop runs. What fails is said on
 * standard error. --- */
/* State directory, sockets, counter, fold, and what the log needs. */
int gw_open_parts(struct gw_gateway *gateway) PS_MUST_CHECK;
/* Reads the log back. */
int gw_open_log(struct gw_gateway *gateway) PS_MUST_CHECK;
/* plan_host.c: before the control thread's memory. PS_E_NOMEM. */
int gw_open_plans(struct gw_gateway *gateway) PS_MUST_CHECK;
/* control.db, tokens, the cluster, the control thread's memory. */
int gw_open_control(struct gw_gateway *gateway) PS_MUST_CHECK;
int gw_open_sync(struct gw_gateway *gateway) PS_MUST_CHECK;
/* Returns `err`. */
int gw_say_fault(const struct ps_fault *fault, int err);

#endif
