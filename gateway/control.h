/* The control thread: runs the store of the operators' documents (config/store.h), gives workers
 * its snapshots, and runs the sales. One thread; nothing here locks or waits. */
#ifndef GW_CONTROL_H
#define GW_CONTROL_H

#include "gateway/breakers.h"
#include "gateway/config/ref_keys.h"
#include "gateway/config/store/store.h"
#include "gateway/plans/plans.h"
#include "gateway/sales/list.h"
#include "gateway/snapshot/view.h"
#include "gateway/upstream/membership.h"
#include "gateway/cache/caches.h"
#include "gateway/upstream/registry.h"
#include "gateway/upstream/returns.h"
#include "gateway/worker.h"

/* What the control thread needs. Everything outlives it, except the store, which it takes over. */
struct gw_control_deps {
    uv_loop_t *loop;
    struct cfg_store *config; /* open */
    struct sale_runs *sales;
    struct oq_fold *fold;
    struct plans *plans;                  /* may be NULL */
    struct gw_breakers *breakers;         /* learn the pools; may be NULL */
    const struct gw_workers *workers;     /* they receive the snapshots */
    const struct ps_strings *dns_servers; /* of pools; NULL: those of the system */
    /* called once, when the workers know what to serve; may be NULL */
    void (*on_started)(void *ctx);
    void *ctx;
};

#define GW_CHANGED_MAX 64

/* A note requested by sales/; see sale_host.c. */
struct gw_note {
    STAILQ_ENTRY(gw_note) next;
    char sale[PS_NAME_MAX + 1];
    enum cfg_sale_note note;
    bool alone;
};
STAILQ_HEAD(gw_notes, gw_note);

struct gw_control {
    struct gw_control_deps deps;
    struct up_returns returns; /* of splits */
    struct cfg_ref_rotation ref_keys;
    struct sale_list sales;
    struct up_registry *shop; /* pools and routes */
    struct up_membership *members;
    struct caches *caches;
    struct cache_wakeups *wakeups;     /* of workers */
    struct snap_view *view;            /* the next snapshot */
    struct snapshot *snapshot, *older; /* published; replaced but not yet acknowledged */
    bool up_table_changed;             /* the table of upstreams must be rebuilt */
    bool started;
    bool dirty; /* the state of a sale has changed and must be published */
    /* Which sales; if more than fit: all. */
    char changed[GW_CHANGED_MAX][PS_NAME_MAX + 1];
    size_t changed_count;
    struct gw_notes notes, noting; /* waiting; in the change in progress */
    size_t acks;
    uv_timer_t tick;
};

/* Takes over the open store, unless it fails, and builds the first snapshot. Nothing runs yet. */
int gw_control_new(const struct gw_control_deps *deps, struct gw_control **ret_control,
                   struct ps_fault *fault) PS_MUST_CHECK;
void gw_control_free(struct gw_control *control); /* NULL is allowed */
/* Ends the timers and the store's threads; the loop must turn once more before gw_control_free. */
void gw_control_stop(struct gw_control *control);
/* The mailbox's receiver of the control thread. */
void gw_control_mail(const struct ps_mail *mail, void *control);

/* Every worker uses the present state. `control` is a struct gw_control. */
bool gw_control_is_published(void *control);

/* False: the gateway is in a cluster and has not read its documents yet; it may not serve. */
static inline bool gw_control_synced(const struct gw_control *control)
{
    return cfg_store_is_synced(control->deps.config);
}

#endif
