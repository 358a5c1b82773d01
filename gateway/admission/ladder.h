/* The controller of the degrade ladder: from the pressure of each tick to a level, 0 (nothing is
 * turned off) to CFG_LEVEL_MAX. Pure: no clock, no signals, no features.
 *
 * - Up one step when the pressure was at `enter` or above for `enter_ticks` ticks in a row.
 * - Down one step when it was calm, at `leave` or below, for `leave_s`. While the calm lasts, each
 *   further step down follows after a quarter of that: by then the pressure shows the effect of the
 *   previous step. So everything is on again, from the highest level, after 1.75 * leave_s.
 * - Real signals are noisy, and a single tick says little. A tick above `leave` does not end the
 *   calm but takes ADM_LADDER_SETBACK_NS off it; `enter_ticks` at `enter` in a row end it.
 * - A step that is entered again within ADM_LADDER_RETURN_NS was left too early: it is held for
 *   ADM_LADDER_RETURN_NS. So a step is left and entered again at most once a minute. Only the
 *   way down waits, never the way up. */
#ifndef ADM_LADDER_H
#define ADM_LADDER_H

#include "common/clock.h"
#include "gateway/config/kinds/overload_doc.h"

#define ADM_LADDER_SETBACK_NS PS_NS_PER_S
#define ADM_LADDER_RETURN_NS  (60 * PS_NS_PER_S)

/* The longest time between two ticks that counts as calm: what happened in between is unknown. */
#define ADM_LADDER_TICK_MAX_NS (200 * PS_NS_PER_MS)

struct adm_ladder {
    int level;
    int64_t ticks_high; /* in a row, at `enter` or above */
    int64_t calm_ns;    /* so far */
    int64_t last_ns;    /* the last tick; 0: none yet */
    struct {
        int64_t left_ns; /* 0: never */
        int64_t held_until_ns;
    } step[CFG_LEVEL_MAX + 1]; /* from the level below it to this one */
};

/* One tick, usually each 100 ms; returns the level. `ladder` is zeroed at the start; `now_ns` is
 * monotonic and above 0. */
int adm_ladder_step(struct adm_ladder *ladder, const struct cfg_ladder *settings, double pressure,
                    int64_t now_ns);

#endif
