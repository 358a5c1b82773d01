/* The admin listener: how operators and tools see and change a running gateway. It lives on the
 * control thread and answers from its memory; nothing in it waits or locks. */
#ifndef OP_ADMIN_H
#define OP_ADMIN_H

#include "common/metrics/metrics.h"
#include "gateway/admin/auth.h"
#include "gateway/admission/limits/limit_share.h"
#include "gateway/admission/limits/sample.h"
#include "gateway/admission/breakers.h"
#include "gateway/admission/overload.h"
#include "gateway/upstream/registry.h"
#include "gateway/answers/readiness.h"
#include "gateway/config/store/store.h"
#include "gateway/plans/plans.h"
#include "gateway/sales/list.h"
#include "gateway/snapshot/view.h"
#include "gateway/server/http.h"
#include "gateway/upstream/membership.h"

struct op_admin;
struct clu_cluster;
struct exp_question;
struct ord_flow;

/* What the listener needs. Everything outlives it. */
struct op_deps {
    uv_loop_t *loop;
    const struct ps_clock *clock;
    struct op_auth *auth;
    struct cfg_store *config;
    struct plans *plans;
    const struct snap_view *view;  /* the present snapshot */
    const struct sale_list *known; /* the sales in force */
    struct sale_runs *sales;
    struct clu_cluster *cluster;
    struct inv_store *store;
    struct oq_log *log;
    uint32_t owner; /* of this thread's tickets */
    struct oq_fold *fold;
    struct ps_metrics *metrics;
    const struct adm_limit_samples *samples;
    const struct adm_share *limits_share;
    struct adm_overload *overload;
    struct up_registry *shop; /* pools and routes */
    const struct caches *caches;
    struct adm_breakers *breakers;
    struct ord_flow *flow;
    struct up_membership *members;
    struct ps_metrics_shard *shard;
    void (*readiness)(void *ctx, struct ans_readiness *ret_readiness);
    /* takes measurements that are made only at a scrape, into the shard */
    void (*gather)(void *ctx);
    bool (*is_published)(void *ctx); /* every worker uses the present state */
    void (*drain)(void *ctx);        /* an operator requests the end of the process */
    /* Asks the workers what this request would get; takes the question over in any case. 0:
     * op_admin_explained follows. PS_E_BUSY, PS_E_NOMEM. */
    int (*explain)(void *ctx, struct exp_question *question, uint64_t handle);
    void *ctx; /* of these five, and of `settings` */
    /* Settings. SIGHUP may change the values. */
    json_t *(*settings)(void *ctx); /* as JSON; NULL: out of memory */
    const char *host;
    const struct ps_strings *hosts;
    const bool *metrics_open;
    const char *state_dir;
    const char *archive_dir, *archive_key; /* paths */
    const char *gateway_id;
    int64_t ack_timeout_ms;
    bool confirm_on_standby;
    size_t metrics_sales_max;
    int64_t started_ms;       /* wall clock */
    struct srv_settings http; /* its timeouts and clock; the rest is the listener's */
};

/* Serves `doors`, whose sockets the listener owns afterwards. PS_E_NOMEM, PS_E_IO. */
int op_admin_new(const struct op_deps *deps, const struct srv_door *doors, size_t door_count,
                 struct op_admin **ret_admin) PS_MUST_CHECK;
/* True: no request waits for its answer or for its audit line. */
bool op_admin_idle(const struct op_admin *admin);
/* The outcome of a record whose ticket names the control thread as its owner. */
void op_admin_outcome(struct op_admin *admin, uint64_t handle, enum oq_outcome outcome,
                      struct oq_order *order);
/* The workers' answer to op_deps.explain; taken over. NULL: out of memory. */
void op_admin_explained(struct op_admin *admin, uint64_t handle, json_t *answer);
/* Answers waiting requests with 503 draining and closes. No op_admin_outcome afterwards. The loop
 * must turn until its handles are closed, and the store must have ended the open changes; then the
 * memory is freed. NULL is allowed. */
void op_admin_free(struct op_admin *admin);

#endif
