/* See ladder.h. Calm is a sum of time, so a late tick, or a noisy one, costs only its own
 * length. */
#include "gateway/admission/ladder.h"

static void step_up(struct adm_ladder *ladder, int64_t now_ns)
{
    int to = ++ladder->level;
    int64_t left_ns = ladder->step[to].left_ns;

    if (left_ns != 0 && now_ns - left_ns < ADM_LADDER_RETURN_NS)
        ladder->step[to].held_until_ns = now_ns + ADM_LADDER_RETURN_NS;
}

static void step_down(struct adm_ladder *ladder, const struct cfg_ladder *settings, int64_t now_ns)
{
    int from = ladder->level;

    if (now_ns < ladder->step[from].held_until_ns)
        return;
    ladder->step[from].left_ns = now_ns;
    ladder->level--;
    ladder->calm_ns -= settings->leave_s * PS_NS_PER_S / 4;
}

static void count_calm(struct adm_ladder *ladder, const struct cfg_ladder *settings,
                       double pressure, int64_t now_ns)
{
    int64_t most_ns = settings->leave_s * PS_NS_PER_S;
    int64_t passed_ns = ladder->last_ns != 0 ? now_ns - ladder->last_ns : 0;

    if (passed_ns > ADM_LADDER_TICK_MAX_NS)
        passed_ns = ADM_LADDER_TICK_MAX_NS;
    ladder->calm_ns += pressure <= settings->leave ? passed_ns : -ADM_LADDER_SETBACK_NS;
    if (ladder->calm_ns > most_ns)
        ladder->calm_ns = most_ns;
    if (ladder->calm_ns < 0)
        ladder->calm_ns = 0;
}

int adm_ladder_step(struct adm_ladder *ladder, const struct cfg_ladder *settings, double pressure,
                    int64_t now_ns)
{
    count_calm(ladder, settings, pressure, now_ns);
    ladder->last_ns = now_ns;
    ladder->ticks_high = pressure >= settings->enter ? ladder->ticks_high + 1 : 0;
    if (ladder->ticks_high >= settings->enter_ticks) {
        ladder->ticks_high = 0;
        ladder->calm_ns = 0;
        if (ladder->level < CFG_LEVEL_MAX)
            step_up(ladder, now_ns);
    } else if (ladder->level > 0 && pressure <= settings->leave &&
               ladder->calm_ns >= settings->leave_s * PS_NS_PER_S) {
        step_down(ladder, settings, now_ns);
    }
    return ladder->level;
}
