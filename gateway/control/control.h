/* The control thread: it keeps what operators decided (sales, limits, blocklist), builds the
 * workers' policy from it, opens sales, and answers the admin listener (admin.h). One thread;
 * nothing here locks or waits.
 *
 * A change goes this way, one at a time (later ones queue):
 *   the admin route validates and fills a change -> its job is written by the control store, with
 * its audit line -> `apply` takes it into memory -> a new policy goes to every worker -> all have
 * acknowledged -> `done`: now it is durable and in force, and may be answered. */
#ifndef GW_CONTROL_H
#define GW_CONTROL_H

#include "gateway/control/auth.h"
#include "gateway/control/control_store.h"
#include "gateway/core.h"

struct gw_admin;
struct gw_change;
struct gw_keeper;

/* How far a sale's way into the log and the counter is. */
enum gw_arming {
    GW_ARM_NOT,     /* its opening is not near, or a step has failed and is tried again */
    GW_ARM_RECORDS, /* a fence, and at the first time the initial stock, are appended; their
                       outcomes are awaited */
    GW_ARM_NOTING,  /* control.db notes `opened` */
    GW_ARM_LOADING, /* the counters are built from the fold, on the log's thread */
    GW_ARM_DONE,    /* counters installed */
    GW_ARM_REFUSED  /* the log has lost the sale's beginning, or has other SKUs than its document:
                       never opened, never rebuilt */
};

/* One sale in the control thread's memory. */
struct gw_control_sale {
    struct gw_stored_sale stored; /* name, document, state */
    enum gw_arming arming;
    size_t awaited;           /* records under way */
    bool failed;              /* one of them did not land */
    bool logged;              /* one of them may be in the log, also if the fold shows none */
    bool changing;            /* an operator's change is being written: not armed meanwhile, for it
                                 may be one of the stock */
    int64_t retry_at_ns;      /* not before */
    struct oq_sale *books;    /* NULL until the log has records of it */
    struct inv_sale *counter; /* NULL until GW_ARM_DONE */
    int64_t epoch;
    char refused_why[256]; /* with GW_ARM_REFUSED */
};

struct gw_control;

typedef void gw_change_apply_fn(struct gw_control *control, void *ctx);
/* err 0: durable and in force. Else nothing has changed: PS_E_CONFLICT (a version), or the store's
 * error; `fault` says more. */
typedef void gw_change_done_fn(struct gw_control *control, int err, const struct ps_fault *fault,
                               void *ctx);

/* Waits for the outcome of a record that this thread appended: `outcome`, and the order that it was
 * about (NULL for stock and fences). */
typedef void gw_outcome_fn(struct gw_control *control, enum oq_outcome outcome,
                           struct oq_order *order, void *ctx);

struct gw_control {
    struct gw_core *core;
    uv_loop_t *loop;
    struct gw_control_store *store;
    struct gw_auth *auth;
    struct gw_admin *admin;
    struct gw_keeper *keeper;
    struct ps_metrics_shard *shard;
    int64_t wall_started_ms;

    /* What operators decided; replaced by `apply` only. */
    struct gw_control_sale *
        *sales; /* sorted by name; the pointers stay valid until the sale is deleted */
    size_t sale_count;
    struct gw_limit_rule *rules; /* sorted by name */
    size_t rule_count;
    struct gw_block *blocks;
    size_t block_count;
    int64_t policy_version;

    /* Inside (control.c). */
    struct gw_policy *policy, *older; /* published; replaced but not yet acknowledged by all */
    size_t acks;
    bool dirty;
    int64_t snapshot;
    struct gw_change *first_change, *last_change;
    struct ps_pool *awaits; /* open outcomes */
    uv_timer_t tick;
};

/* Loads what is stored, seeds what is new (settings' sales[] and policy{}), makes the first policy.
 * Nothing runs yet. */
int gw_control_new(struct gw_core *core, uv_loop_t *loop, struct gw_control_store *store,
                   struct gw_stored *stored, struct gw_auth *auth, struct gw_control **ret_control,
                   struct ps_fault *fault) PS_MUST_CHECK;
void gw_control_free(struct gw_control *control); /* NULL is allowed */
/* Ends the timers; the loop must turn once more before gw_control_free. */
void gw_control_stop(struct gw_control *control);
/* The mailbox's receiver of the control thread. */
void gw_control_mail(const struct ps_mail *mail, void *control);

/* PS_E_NOT_FOUND as NULL. */
struct gw_control_sale *gw_control_sale(const struct gw_control *control, const char *name,
                                        size_t len);
struct gw_limit_rule *gw_control_rule(const struct gw_control *control, const char *name,
                                      size_t len);

/* Takes ownership of `job` in every case. `apply` may be NULL (nothing in memory changes). Refused
 * (negative): nothing was submitted, neither is called. */
int gw_control_change(struct gw_control *control, struct gw_store_job *job,
                      gw_change_apply_fn *apply, gw_change_done_fn *done, void *ctx) PS_MUST_CHECK;

/* Pieces of `apply`: they take the new value over (copying), keep the arrays sorted and ask for a
 * new policy. PS_E_NOMEM. */
int gw_control_put_sale(struct gw_control *control,
                        const struct gw_stored_sale *stored) PS_MUST_CHECK;
void gw_control_drop_sale(struct gw_control *control, const char *name);
int gw_control_put_rule(struct gw_control *control, const struct gw_limit_rule *rule) PS_MUST_CHECK;
void gw_control_drop_rule(struct gw_control *control, const char *name);
/* Drops those that had ended when it was made, as the store does. */
int gw_control_put_block(struct gw_control *control, const struct gw_block *block) PS_MUST_CHECK;
void gw_control_drop_block(struct gw_control *control, enum gw_block_kind kind,
                           const char *subject);

/* A ticket for a record that the caller appends next; `done` comes once. PS_E_FULL: too many are
 * open (GW_AWAIT_MAX). If the append is refused: gw_control_unawait. */
#define GW_AWAIT_MAX 4096
int gw_control_await(struct gw_control *control, gw_outcome_fn *done, void *ctx,
                     struct oq_ticket *ret_ticket) PS_MUST_CHECK;
void gw_control_unawait(struct gw_control *control, const struct oq_ticket *ticket);

/* Sales whose opening is due are armed at once instead of with the next tick (after a PUT). */
void gw_control_arm_due(struct gw_control *control);

/* The document may no longer change its stock: the sale's records are in the log, or on their way.
 */
static inline bool gw_control_is_opened(const struct gw_control_sale *sale)
{
    return sale->stored.state.opened || sale->arming != GW_ARM_NOT || sale->books != NULL ||
           sale->logged;
}

#endif
