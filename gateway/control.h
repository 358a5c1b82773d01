/* The control thread: it runs the store of what operators decide (config/store.h), gives workers
 * its snapshots, runs the sales, and answers the admin listener (admin.h). One thread; nothing here
 * locks or waits. */
#ifndef GW_CONTROL_H
#define GW_CONTROL_H

#include "gateway/admin/auth.h"
#include "common/redis_link.h"
#include "gateway/config/store.h"
#include "gateway/core.h"
#include "gateway/sales/sales.h"

struct op_admin;

/* One sale in the control thread's memory. */
struct gw_control_sale {
    struct cfg_stored_sale stored; /* name, document, state: the version in force, which is the
                                      store's */
    unsigned changing; /* changes of it that are being written: not opened meanwhile, for they may
                          be of the stock */
    struct sale_run *run; /* how far it is here */
};

struct gw_control;

struct gw_control {
    struct gw_core *core;
    uv_loop_t *loop;
    struct cfg_store *config;
    struct op_auth *auth;
    struct op_admin *admin;
    struct ps_metrics_shard *shard;
    int64_t wall_started_ms;

    struct gw_control_sale *
        *sales; /* sorted by name; the pointers stay valid until the sale is deleted */
    size_t sale_count, sale_room;
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

/* NULL: there is none. */
struct gw_control_sale *gw_control_sale(const struct gw_control *control, const char *name,
                                        size_t len);

/* False: the gateway is in a cluster and has not seen its decisions yet; it may not serve. */
static inline bool gw_control_synced(const struct gw_control *control)
{
    return cfg_store_is_synced(control->config);
}

#endif
