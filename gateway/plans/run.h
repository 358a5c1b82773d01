/* Runs of plans: what may become of one, as pure functions. A function takes a run, what it may
 * look at (struct plan_world) and an empty change, and puts into the change all that happens with
 * it: documents, overrides, and the run itself. Whoever calls submits the change: so all of it
 * comes into force, or nothing.
 *
 *   waiting_approval -> armed -> active -> ended (reverted, expired, kept, taken_over)
 *                                active -> suspended -> ended
 *   waiting_approval, armed -> ended (cancelled, failed, expired)
 *
 * No function waits, reads a clock or writes. The control thread. */
#ifndef PLAN_RUN_H
#define PLAN_RUN_H

#include "gateway/config/kinds/plan_doc.h"
#include "gateway/config/kinds/run_doc.h"
#include "gateway/config/store/store.h"

#define PLAN_LATE_MAX_MS INT64_C(60000) /* a moment that nobody saw is made up for so long */

/* A run with its plan, read from its document; whoever changes it has a copy of their own. */
struct plan_run {
    char name[PS_NAME_MAX + 1];
    struct cfg_run *run;
    struct cfg_plan *plan;  /* as it was */
    json_t *changes;        /* changes.h */
    int64_t above_since_ms; /* the signal that it waits for is high; INT64_MAX: it is not */
};
/* Runs that have not ended, by name; of the ended ones only how many and how long they are. */
struct plan_runs {
    struct plan_run **at;
    size_t count, room;
    size_t ended, ended_bytes;
};

/* PS_E_NOMEM. */
int plan_run_read(const struct cfg_doc *doc, struct plan_run **ret_run) PS_MUST_CHECK;
int plan_run_copy(const struct plan_run *run, struct plan_run **ret_copy) PS_MUST_CHECK;
void plan_run_free(struct plan_run *run); /* NULL is allowed */
/* The document as it is now. Owner: the caller. NULL: out of memory. */
json_t *plan_run_write(const struct plan_run *run) PS_MUST_CHECK;

/* What a run may look at. Functions may be NULL: then nothing is known of that. */
struct plan_world {
    const struct cfg_store *store;
    const struct plan_runs *runs;
    int64_t now_ms;
    void *ctx;
    /* A word of cfg_plan_states; NULL: there is no such sale. */
    const char *(*sale_state)(void *ctx, const char *sale);
    /* Of a signal, or (CFG_SIGNAL_COUNT) the pressure; NaN: it is absent. */
    double (*share)(void *ctx, enum cfg_signal signal);
    size_t (*gateways)(void *ctx);
    bool (*has_breaker)(void *ctx, const char *name);
};

/* --- Beginning. --- */

struct plan_asked {
    const char *name; /* of the run */
    const char *by, *reason;
    int64_t ttl_s;     /* 0: the plan's */
    int64_t arm_ttl_s; /* 0: a day */
    bool force, break_glass;
};

/* What stands against it. Of several the first one counts. */
enum plan_no {
    PLAN_MAY,
    PLAN_INVALID, /* it does not fit what there is */
    PLAN_CLASHES, /* another run has changed the same */
    PLAN_NOT_SO   /* a precondition is false, or it is too late */
};
/* What would be, and is. Faults point into the plan. */
struct plan_outlook {
    enum plan_no no;
    struct ps_faults faults;
    json_t *preconditions; /* [{"when":{…},"is":…,"so":true}] */
    json_t *conflicts;     /* [{"run","plan","member"}] */
};
void plan_outlook_free(struct plan_outlook *outlook);

/* A run of the plan that is asked for: its steps come into force, or it waits for approvals, or for
 * its moment. *ret_run (owner: the caller) is set unless PS_E_NOMEM. PS_E_INVALID: the outlook says
 * why, and the change is not to be submitted. */
int plan_run_ask(const struct plan_world *world, const struct cfg_doc *plan,
                 const struct plan_asked *asked, struct cfg_change *change,
                 struct plan_outlook *outlook, struct plan_run **ret_run) PS_MUST_CHECK;
/* When a run that waits for approvals or its moment is to start. INT64_MAX: it does not wait, or it
 * is not known. */
int64_t plan_run_starts_ms(const struct plan_world *world, const struct plan_run *run);
/* What a run that was asked for does: CFG_RUN_WAITING, CFG_RUN_ARMED or CFG_RUN_ACTIVE. */
enum cfg_run_state plan_run_next(const struct plan_run *run);
/* Its steps, now: changes the documents, sets the overrides, and is active. PS_E_INVALID: the
 * outlook says why, and the change is not to be submitted. PS_E_NOMEM. */
int plan_run_begin(const struct plan_world *world, struct plan_run *run, struct cfg_change *change,
                   struct plan_outlook *outlook) PS_MUST_CHECK;
/* Preconditions and conflicts as they are now, of a run that is not begun. PS_E_NOMEM. */
int plan_run_look(const struct plan_world *world, const struct plan_run *run,
                  struct plan_outlook *outlook) PS_MUST_CHECK;
/* One more approval; with the last one it is armed, or begins (or has failed). PS_E_CONFLICT: it
 * waits for none, `who` has started it, or has approved already: the fault says which. */
int plan_run_approve(const struct plan_world *world, struct plan_run *run, const char *who,
                     struct cfg_change *change, struct ps_fault *fault) PS_MUST_CHECK;

/* --- Time. --- */

enum plan_due {
    PLAN_NOTHING_DUE,
    PLAN_START_DUE,
    PLAN_LAPSE_DUE, /* nobody approved, or its moment did not come */
    PLAN_FAIL_DUE,  /* its moment has passed, or never comes */
    PLAN_EXPIRE_DUE /* its time is over */
};
/* What is due now. Notes since when a signal is high. */
enum plan_due plan_run_due(const struct plan_world *world, struct plan_run *run);
/* Does it. PS_E_NOMEM. */
int plan_run_do(const struct plan_world *world, struct plan_run *run, enum plan_due due,
                struct cfg_change *change) PS_MUST_CHECK;
/* The action of the audit log. */
const char *plan_due_action(enum plan_due due);

/* --- Ending. --- */

/* Takes back what it has changed and what still is as it left it: it has ended so, or it is
 * suspended. With `force` whatever it is by now. PS_E_CONFLICT: there is nothing to take back, or
 * nothing more than before. PS_E_NOMEM. */
int plan_run_revert(const struct plan_world *world, struct plan_run *run, enum cfg_run_end end,
                    bool force, struct cfg_change *change, struct ps_fault *fault) PS_MUST_CHECK;
/* What it has changed stays; overrides end by themselves. PS_E_CONFLICT. */
int plan_run_keep(const struct plan_world *world, struct plan_run *run, struct cfg_change *change,
                  struct ps_fault *fault) PS_MUST_CHECK;
/* Before it is active. PS_E_CONFLICT. */
int plan_run_cancel(const struct plan_world *world, struct plan_run *run, struct cfg_change *change,
                    struct ps_fault *fault) PS_MUST_CHECK;

/* The audit line of a change of the run: from what state (`was` NULL: it is new) to what. */
void plan_run_line(struct cfg_change *change, const struct plan_run *run,
                   const struct plan_run *was);

#endif
