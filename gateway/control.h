/* The control thread: it keeps what operators decided (sales, limits, blocklist), builds the
 * workers' policy from it, runs the sales, and answers the admin listener (admin.h). One thread;
 * nothing here locks or waits.
 *
 * A change goes this way, one at a time (later ones queue):
 *   the admin route validates and fills a change -> in a cluster, Redis compares its version
 * (accord.h) -> its job is written by the control store, with its audit line -> `apply` takes it
 * into memory -> a new policy goes to every worker -> all have acknowledged -> `done`: now it is
 * durable and in force, and may be answered. */
#ifndef GW_CONTROL_H
#define GW_CONTROL_H

#include "gateway/admin/auth.h"
#include "gateway/config/store.h"
#include "gateway/core.h"
#include "gateway/sales/sales.h"

/* Limit rules at most: every request walks over all of them. */
#define GW_RULES_MAX 64

struct op_admin;
struct gw_change;
struct cfg_sync;
struct cfg_merge;

/* One sale in the control thread's memory. */
struct gw_control_sale {
    struct cfg_stored_sale stored; /* name, document, state */
    bool changing; /* an operator's change is being written: not opened meanwhile, for it may be one
                      of the stock */
    struct sale_run *run; /* how far it is here */
};

struct gw_control;

typedef void gw_change_apply_fn(struct gw_control *control, void *ctx);
/* err 0: durable and in force. Else nothing has changed here: PS_E_CONFLICT (a version; in a
 * cluster the newer copy is taken over), or the store's error; `fault` says more. With a path of
 * CFG_SYNC_PATH it is Redis that did not take it, or (PS_E_UNKNOWN) did not say so. */
typedef void gw_change_done_fn(struct gw_control *control, int err, const struct ps_fault *fault,
                               void *ctx);

struct gw_control {
    struct gw_core *core;
    uv_loop_t *loop;
    struct cfg_store *store;
    struct op_auth *auth;
    struct op_admin *admin;
    struct cfg_sync *accord; /* NULL: what operators decide here is this gateway's own */
    struct ps_metrics_shard *shard;
    int64_t wall_started_ms;

    /* What operators decided; replaced by `apply` only. */
    struct gw_control_sale *
        *sales; /* sorted by name; the pointers stay valid until the sale is deleted */
    size_t sale_count;
    struct cfg_gone_sale *gone; /* sales that were deleted */
    size_t gone_count;
    struct cfg_limit_rule *rules; /* sorted by name */
    size_t rule_count;
    struct cfg_block *blocks;
    size_t block_count;
    int64_t policy_version;

    /* Inside (control.c). */
    struct cfg_snapshot *policy, *older; /* published; replaced but not yet acknowledged by all */
    size_t acks;
    bool dirty;
    int64_t snapshot;
    struct gw_change *first_change, *last_change;
    struct {
        json_t *sales, *policy;
    } seeds; /* that wait for the cluster's copy; NULL: none (seed.c) */
    uv_timer_t tick;
};

/* Loads what is stored, seeds what is new (settings' sales[] and policy{}), makes the first policy.
 * Nothing runs yet. */
int gw_control_new(struct gw_core *core, uv_loop_t *loop, struct cfg_store *store,
                   struct cfg_stored *stored, struct op_auth *auth, struct gw_control **ret_control,
                   struct ps_fault *fault) PS_MUST_CHECK;
void gw_control_free(struct gw_control *control); /* NULL is allowed */
/* Ends the timers; the loop must turn once more before gw_control_free. */
void gw_control_stop(struct gw_control *control);
/* The mailbox's receiver of the control thread. */
void gw_control_mail(const struct ps_mail *mail, void *control);

/* PS_E_NOT_FOUND as NULL. */
struct gw_control_sale *gw_control_sale(const struct gw_control *control, const char *name,
                                        size_t len);
struct cfg_limit_rule *gw_control_rule(const struct gw_control *control, const char *name,
                                       size_t len);

/* Takes ownership of `job` in every case. `apply` may be NULL (nothing in memory changes). Refused
 * (negative): nothing was submitted, neither is called. */
int gw_control_change(struct gw_control *control, struct cfg_store_job *job,
                      gw_change_apply_fn *apply, gw_change_done_fn *done, void *ctx) PS_MUST_CHECK;

/* Pieces of `apply`: they take the new value over (copying), keep the arrays sorted and ask for a
 * new policy. PS_E_NOMEM. */
int gw_control_put_sale(struct gw_control *control,
                        const struct cfg_stored_sale *stored) PS_MUST_CHECK;
/* `version` is that of the deletion, one higher than the sale's. */
int gw_control_drop_sale(struct gw_control *control, const char *name,
                         int64_t version) PS_MUST_CHECK;
/* The version of its deletion; 0: none was deleted. A new sale of the name has the next one. */
int64_t gw_control_gone(const struct gw_control *control, const char *name);
int gw_control_put_rule(struct gw_control *control,
                        const struct cfg_limit_rule *rule) PS_MUST_CHECK;
/* Warns of a rule for a sale that there is not: it may come later, or its name is mistyped. */
void gw_control_warn_of_rule(const struct gw_control *control, const struct cfg_limit_rule *rule);
void gw_control_drop_rule(struct gw_control *control, const char *name);
/* Drops those that had ended when it was made, as the store does. */
int gw_control_put_block(struct gw_control *control, const struct cfg_block *block) PS_MUST_CHECK;
void gw_control_drop_block(struct gw_control *control, enum cfg_block_kind kind,
                           const char *subject);

/* For control.c: all of it at once. `stored` is emptied but for the sales. */
int gw_control_memory_take(struct gw_control *control, struct cfg_stored *stored) PS_MUST_CHECK;
void gw_control_memory_free(struct gw_control *control);

/* --- For accord.c. --- */
/* Queues what the cluster has, before all changes that have not begun; `taken` is borrowed until
 * `done`, which may come before this returns. PS_E_NOMEM: it will not come. */
int gw_control_take(struct gw_control *control, struct cfg_merge *taken, gw_change_done_fn *done,
                    void *ctx) PS_MUST_CHECK;
/* Changes that wait for the cluster may go on. */
void gw_control_go_on(struct gw_control *control);

/* False: the gateway is in a cluster and has not seen its decisions yet; it may not serve. */
bool gw_control_synced(const struct gw_control *control);

#endif
