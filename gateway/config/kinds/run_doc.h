/* The private kind `runs`: what became, or becomes, of a plan that was run. A run carries a copy of
 * the plan as it was then, and what it has changed: so its end takes back exactly that, whoever
 * keeps the times, and whatever became of the plan. gateway/plans/ is what moves it.
 *
 * A run that has ended is kept for CFG_RUN_KEPT_MS, then it goes by itself. */
#ifndef CFG_RUN_DOC_H
#define CFG_RUN_DOC_H

#include "gateway/config/store/document.h"

#define CFG_RUNS_LIVE_MAX  64
#define CFG_RUNS_ENDED_MAX 10000
#define CFG_RUN_KEPT_MS    (INT64_C(30) * 86400 * 1000)
#define CFG_RUN_ARM_MAX_S  INT64_C(604800)

enum cfg_run_state {
    CFG_RUN_WAITING,   /* for approvals */
    CFG_RUN_ARMED,     /* for its moment */
    CFG_RUN_ACTIVE,    /* its steps are in force */
    CFG_RUN_SUSPENDED, /* something could not be taken back: an operator decides */
    CFG_RUN_ENDED
};
extern const char *const cfg_run_states[]; /* NULL-terminated */

enum cfg_run_end {
    CFG_END_NONE, /* it has not ended */
    CFG_END_REVERTED,
    CFG_END_EXPIRED,
    CFG_END_KEPT,
    CFG_END_CANCELLED,
    CFG_END_FAILED, /* nothing was changed */
    CFG_END_TAKEN_OVER,
    CFG_END_COUNT
};
extern const char *const cfg_run_ends[]; /* in order, NULL-terminated; "" is none */

struct cfg_run_approval {
    char who[PS_NAME_MAX + 1];
    int64_t at_ms;
};

/* Times are of the wall clock; INT64_MAX: not yet, or never. */
struct cfg_run {
    char plan[PS_NAME_MAX + 1];
    enum cfg_run_state state;
    enum cfg_run_end end;
    char by[PS_NAME_MAX + 1];
    char *reason;
    bool force;       /* takes over what other runs have changed */
    bool break_glass; /* without the approvals that it needs */
    int64_t since_ms; /* that the state is what it is */
    int64_t created_ms, lapses_ms, started_ms, until_ms, ended_ms, forget_ms;
    int64_t ttl_s; /* 0: until it is reverted by hand */
    int64_t approvals;
    struct cfg_run_approval *approved;
    size_t approved_count;
    char *why;       /* it failed, or is suspended; NULL: nothing is to be said */
    char *as_it_was; /* the plan, as JSON text */
    char *changes;   /* an array as JSON text: plans/changes.h */
};

static inline const struct cfg_run *cfg_run_of(const struct cfg_doc *doc)
{
    return doc->parsed;
}

#endif
