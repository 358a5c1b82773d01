/* The search for the knee: the highest rate that a service holds. It doubles the rate until one
 * breaks, then halves the distance (by ratio). A rate counts as broken when it breaks twice, since
 * a single hiccup of the machine is no limit. Pure; the caller plays the steps. */
#ifndef LT_KNEE_H
#define LT_KNEE_H

#include "common/defs.h"

/* The search ends when the lowest rate that broke is at most so much of the highest that held: far
 * below any margin. */
#define LT_KNEE_PRECISION 1.05
#define LT_KNEE_STEPS_MAX 60
#define LT_KNEE_RATE_MIN  1
#define LT_KNEE_RATE_MAX  1000000

struct lt_knee {
    int64_t held;   /* the highest that held, a second; 0: none did */
    int64_t broken; /* the lowest that broke; 0: none did */
    int64_t next;
    unsigned tries; /* of `next` */
    unsigned steps;
};

/* `first`: LT_KNEE_RATE_MIN .. LT_KNEE_RATE_MAX. */
void lt_knee_init(struct lt_knee *knee, int64_t first);
/* The rate to play next; 0: the search is over. */
int64_t lt_knee_next(const struct lt_knee *knee);
/* What became of it. */
void lt_knee_note(struct lt_knee *knee, bool held);
/* The search came to an end: `held` is the knee. False as long as it goes on, and when nothing held
 * or nothing broke. */
bool lt_knee_found(const struct lt_knee *knee);

#endif
