/* The degrade ladder's controller: from the pressure of each tick to a level, 0 (nothing is turned
 * off) to CFG_LEVEL_MAX. Pure: it knows no clock, no signal and no feature.
 *
 * - Up one step when the pressure was at `enter` or above for `enter_ticks` ticks in a row.
 * - Down one step when it was calm, at `leave` or below, for `leave_s`. As long as the calm lasts,
 *   each further step down follows after a quarter of that: by then the pressure shows what the
 *   step before has brought back. So from the top all is back after 1.75 * leave_s.
 * - Real signals are noisy, and a single tick says little. A tick above `leave` does not end the
 *   calm but takes ADM_LADDER_SETBACK_NS of it away; `enter_ticks` at `enter` in a row end it.
 * - A step that was entered within ADM_LADDER_RETURN_NS of its last leaving has been left too
 *   early: it is held for ADM_LADDER_RETURN_NS. So no step is left and entered again more than once
 *   a minute. What waits is the way down: the way up never waits. */
#ifndef ADM_LADDER_H
#define ADM_LADDER_H

#include "common/clock.h"
#include "gateway/config/kinds/overload_doc.h"

#define ADM_LADDER_SETBACK_NS PS_NS_PER_S
#define ADM_LADDER_RETURN_NS  (60 * PS_NS_PER_S)

/* Time between two ticks that counts as calm, at most: of what was between nobody knows. */
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

/* One tick, usually each 100 ms. `ladder` is zeroed at the start; `now_ns` is monotonic and above
 * 0. The level. */
int adm_ladder_step(struct adm_ladder *ladder, const struct cfg_ladder *settings, double pressure,
                    int64_t now_ns);

#endif
