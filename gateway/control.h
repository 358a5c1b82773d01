/* The control thread: it runs the store of what operators decide (config/store.h), gives workers
 * its snapshots, runs the sales, and answers the admin listener (admin.h). One thread; nothing here
 * locks or waits. */
#ifndef GW_CONTROL_H
#define GW_CONTROL_H

#include "gateway/admin/admin.h"
#include "common/redis_link.h"
#include "gateway/config/store.h"
#include "gateway/core.h"
#include "gateway/sales/list.h"

struct gw_control {
    struct gw_core *core;
    uv_loop_t *loop;
    struct cfg_store *config;
    struct op_auth *auth;
    struct ps_metrics_shard *shard;
    int64_t wall_started_ms;

    struct sale_list sales;
    bool dirty; /* what is known here of a sale has changed: to be published */
    size_t acks;
    uv_timer_t tick;
};

/* Takes the open store over, unless it fails, and makes the first snapshot. Nothing runs yet. */
int gw_control_new(struct gw_core *core, uv_loop_t *loop, struct cfg_store *config,
                   struct op_auth *auth, struct gw_control **ret_control,
                   struct ps_fault *fault) PS_MUST_CHECK;
void gw_control_free(struct gw_control *control); /* NULL is allowed */
/* What operators decide is shared through this Redis. PS_E_NOMEM, PS_E_IO. */
int gw_control_share(struct gw_control *control, const struct ps_redis_url *url,
                     const struct ps_redis_settings *settings) PS_MUST_CHECK;
/* Ends the timers and the store's threads; the loop must turn once more before gw_control_free. */
void gw_control_stop(struct gw_control *control);
/* The mailbox's receiver of the control thread. */
void gw_control_mail(const struct ps_mail *mail, void *control);

/* What the operators' listener needs of this thread; the caller adds `drain`. */
struct op_deps gw_control_admin_deps(struct gw_control *control);

/* False: the gateway is in a cluster and has not seen its decisions yet; it may not serve. */
static inline bool gw_control_synced(const struct gw_control *control)
{
    return cfg_store_is_synced(control->config);
}

#endif
