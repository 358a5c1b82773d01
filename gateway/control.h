/* The control thread: it runs the store of what operators decide (config/store.h), gives workers
 * its snapshots, and runs the sales. One thread; nothing here locks or waits. */
#ifndef GW_CONTROL_H
#define GW_CONTROL_H

#include "gateway/breakers.h"
#include "gateway/config/store/store.h"
#include "gateway/sales/list.h"
#include "gateway/snapshot/view.h"
#include "gateway/upstream/membership.h"
#include "gateway/cache/caches.h"
#include "gateway/upstream/registry.h"
#include "gateway/upstream/returns.h"
#include "gateway/worker.h"

/* What the control thread needs. All of it outlives it, but the store, which it takes over. */
struct gw_control_deps {
    uv_loop_t *loop;
    struct cfg_store *config; /* open */
    struct sale_runs *sales;
    struct oq_fold *fold;
    struct gw_breakers *breakers;             /* are told which pools there are; may be NULL */
    const struct gw_workers *workers;         /* which snapshots go to */
    const struct ps_option_list *dns_servers; /* of pools; NULL: those of the system */
    void (*on_started)(void *ctx); /* once: the workers know what is to be served; may be NULL */
    void *ctx;
};

#define GW_CHANGED_MAX 64

/* What sales/ asks to be noted; see sale_host.c. */
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
    struct sale_list sales;
    struct up_registry *shop; /* pools and routes */
    struct up_membership *members;
    struct caches *caches;
    struct cache_wakeups *wakeups;     /* of workers */
    struct snap_view *view;            /* what is to be published */
    struct snapshot *snapshot, *older; /* published; replaced but not yet acknowledged */
    bool pages_changed;                /* the table of pages is built anew */
    bool started;
    bool dirty; /* what is known here of some sale has changed: to be published */
    /* Which ones; more than fit: all. */
    char changed[GW_CHANGED_MAX][PS_NAME_MAX + 1];
    size_t changed_count;
    struct gw_notes notes, noting; /* that wait; that a change under way has */
    size_t acks;
    uv_timer_t tick;
};

/* Takes the open store over, unless it fails, and makes the first snapshot. Nothing runs yet. */
int gw_control_new(const struct gw_control_deps *deps, struct gw_control **ret_control,
                   struct ps_fault *fault) PS_MUST_CHECK;
void gw_control_free(struct gw_control *control); /* NULL is allowed */
/* Ends the timers and the store's threads; the loop must turn once more before gw_control_free. */
void gw_control_stop(struct gw_control *control);
/* The mailbox's receiver of the control thread. */
void gw_control_mail(const struct ps_mail *mail, void *control);

/* Every worker goes by what is known here. `control` is a struct gw_control. */
bool gw_control_is_published(void *control);

/* False: the gateway is in a cluster and has not seen its decisions yet; it may not serve. */
static inline bool gw_control_synced(const struct gw_control *control)
{
    return cfg_store_is_synced(control->deps.config);
}

#endif
