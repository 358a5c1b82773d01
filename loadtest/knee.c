/* Rates are whole numbers, as limits are. Between two rates the middle is taken by ratio: what one
 * wants to know of a knee is its size, not its distance from another. */
#include "loadtest/knee.h"

#include <math.h>

static bool is_close(const struct lt_knee *knee)
{
    return knee->held > 0 && knee->broken > 0 &&
           ((double)knee->broken <= (double)knee->held * LT_KNEE_PRECISION ||
            knee->broken - knee->held <= 1);
}

void lt_knee_init(struct lt_knee *knee, int64_t first)
{
    *knee = (struct lt_knee){.next = first};
}

int64_t lt_knee_next(const struct lt_knee *knee)
{
    return knee->next;
}

bool lt_knee_found(const struct lt_knee *knee)
{
    return knee->next == 0 && knee->held > 0 && knee->broken > 0;
}

/* Between the two, by ratio; without one of them, away from the other. 0: there is none left. */
static int64_t choose(const struct lt_knee *knee)
{
    if (is_close(knee) || knee->steps >= LT_KNEE_STEPS_MAX)
        return 0;
    if (knee->broken == 0) {
        int64_t twice = 2 * knee->held;
        return knee->held >= LT_KNEE_RATE_MAX ? 0
               : twice > LT_KNEE_RATE_MAX     ? LT_KNEE_RATE_MAX
                                              : twice;
    }
    if (knee->held == 0)
        return knee->broken / 2; /* below LT_KNEE_RATE_MIN: 0 */
    int64_t middle = llround(sqrt((double)knee->held * (double)knee->broken));
    if (middle <= knee->held)
        return knee->held + 1;
    return middle >= knee->broken ? knee->broken - 1 : middle;
}

void lt_knee_note(struct lt_knee *knee, bool held)
{
    knee->steps++;
    knee->tries++;
    if (!held && knee->tries < 2 && knee->steps < LT_KNEE_STEPS_MAX)
        return;
    if (held)
        knee->held = knee->next;
    else
        knee->broken = knee->next;
    knee->tries = 0;
    knee->next = choose(knee);
}
