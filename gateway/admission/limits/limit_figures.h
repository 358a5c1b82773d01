/* What each limit rule has refused, and what its trial would have. The figures of a rule live as
 * long as a rule of this name: they outlive the versions of its document.
 *
 * Each worker counts in cells of its own, relaxed; the control thread reads them. Nothing locks. */
#ifndef ADM_LIMIT_FIGURES_H
#define ADM_LIMIT_FIGURES_H

#include "common/defs.h"

#include <stdatomic.h>

#define ADM_LIMIT_WORKERS_MAX 256

enum adm_limit_count {
    ADM_LIMIT_REFUSED,
    ADM_LIMIT_SHADOW_REFUSED, /* would have been refused: the rule is in shadow mode */
    ADM_LIMIT_TRIAL_ASKED,    /* requests that the trial has counted */
    ADM_LIMIT_TRIAL_REFUSED,  /* of them, those that its figures would have refused */
    ADM_LIMIT_COUNTS
};

struct adm_limit_figures;

/* Adds one. The thread of `worker` (below ADM_LIMIT_WORKERS_MAX). */
void adm_limit_figures_add(struct adm_limit_figures *figures, size_t worker,
                           enum adm_limit_count what);
/* Of all workers, since the rule is there. Any thread. */
int64_t adm_limit_figures_sum(const struct adm_limit_figures *figures, enum adm_limit_count what);

/* --- The control thread. --- */

/* NULL: out of memory. The one who made or kept them drops them. */
struct adm_limit_figures *adm_limit_figures_new(void) PS_MUST_CHECK;
struct adm_limit_figures *adm_limit_figures_keep(struct adm_limit_figures *figures);
void adm_limit_figures_drop(struct adm_limit_figures *figures); /* NULL is allowed */

/* What the trial has counted in the last minute, or since it began. */
struct adm_trial_minute {
    int64_t took_ns;
    int64_t asked, refused;
};
/* The trial is a new one: its minute begins with the next tick. */
void adm_trial_begin(struct adm_limit_figures *figures);
/* Call it each second or so while there is a trial. Times are monotonic. */
void adm_trial_tick(struct adm_limit_figures *figures, int64_t now_ns);
void adm_trial_minute(const struct adm_limit_figures *figures, int64_t now_ns,
                      struct adm_trial_minute *ret_minute);

#endif
