/* The ladder's controller in virtual time: its rules one by one, what must hold whatever the
 * pressure does, and a day of noisy signals.
 *
 * The bound of the day: a level changes only where the load really changes, four steps up and four
 * down a peak; and where a step's own effect is larger than the distance of `enter` and `leave`, so
 * that no level is right, a step comes back once a minute at most. */
#include "tests/unit/check.h"

#include "gateway/admission/ladder.h"

#include <math.h>

#define S    PS_NS_PER_S
#define TICK (100 * PS_NS_PER_MS)
#define DAY  INT64_C(864000) /* ticks */

static const struct cfg_ladder shipped = {
    .enter = 0.8, .enter_ticks = 3, .leave = 0.6, .leave_s = 30};

struct run {
    struct adm_ladder ladder;
    int64_t now_ns;
    int level;
};

static int tick(struct run *run, double pressure)
{
    run->now_ns += TICK;
    run->level = adm_ladder_step(&run->ladder, &shipped, pressure, run->now_ns);
    return run->level;
}

/* How many ticks of this pressure until the level is this one; -1: not within a day. */
static int64_t ticks_until(struct run *run, double pressure, int level)
{
    for (int64_t i = 1; i <= DAY; i++)
        if (tick(run, pressure) == level)
            return i;
    return -1;
}

/* OL4: --- The rules. --- */

static void three_ticks_at_enter_in_a_row_go_up_a_step(void **state)
{
    struct run run = {0};
    (void)state;
    assert_int_equal(tick(&run, 0.8), 0);
    assert_int_equal(tick(&run, 0.8), 0);
    assert_int_equal(tick(&run, 0.79), 0);
    assert_int_equal(tick(&run, 5), 0);
    assert_int_equal(tick(&run, 5), 0);
    assert_int_equal(tick(&run, 0.8), 1);
}

static void each_further_step_up_takes_three_more_and_the_last_level_is_the_last(void **state)
{
    struct run run = {0};
    (void)state;
    for (int level = 1; level <= CFG_LEVEL_MAX; level++)
        assert_int_equal(ticks_until(&run, 9, level), 3);
    for (int i = 0; i < 100; i++)
        assert_int_equal(tick(&run, 9), CFG_LEVEL_MAX);
}

/* OL4 */
static void after_thirty_seconds_of_calm_it_comes_down_step_by_step(void **state)
{
    struct run run = {0};
    (void)state;
    assert_int_equal(ticks_until(&run, 1, CFG_LEVEL_MAX), 12);
    assert_int_equal(ticks_until(&run, 0.6, 3), 300);
    for (int level = 2; level >= 0; level--)
        assert_int_equal(ticks_until(&run, 0.6, level), 75);
}

static void between_leave_and_enter_nothing_moves(void **state)
{
    struct run run = {0};
    (void)state;
    assert_int_equal(ticks_until(&run, 0.7, 1), -1);
    (void)ticks_until(&run, 1, 2);
    for (int64_t i = 0; i < DAY; i++)
        assert_int_equal(tick(&run, i % 2 == 0 ? 0.61 : 0.79), 2);
}

static void a_single_noisy_tick_takes_a_second_of_calm_away_and_not_all(void **state)
{
    struct run run = {0};
    (void)state;
    (void)ticks_until(&run, 1, 1);
    for (int i = 0; i < 250; i++)
        assert_int_equal(tick(&run, 0.1), 1);
    assert_int_equal(tick(&run, 3), 1);
    assert_int_equal(ticks_until(&run, 0.1, 0), 60);
}

static void three_noisy_ticks_in_a_row_begin_the_calm_anew(void **state)
{
    struct run run = {0};
    (void)state;
    (void)ticks_until(&run, 1, 1);
    for (int i = 0; i < 250; i++)
        (void)tick(&run, 0.1);
    assert_int_equal(ticks_until(&run, 3, 2), 3);
    assert_int_equal(ticks_until(&run, 0.1, 1), 300);
}

static void time_in_which_nobody_looked_is_no_calm(void **state)
{
    struct run run = {0};
    int64_t steps = 1;
    (void)state;
    (void)ticks_until(&run, 1, 1);
    for (; steps < 1000; steps++) {
        run.now_ns += 10 * S;
        if (adm_ladder_step(&run.ladder, &shipped, 0, run.now_ns) == 0)
            break;
    }
    assert_int_equal(steps, 30 * S / ADM_LADDER_TICK_MAX_NS);
}

static void a_step_that_had_to_come_back_is_held_for_a_minute(void **state)
{
    struct run run = {0};
    (void)state;
    (void)ticks_until(&run, 1, 1);
    assert_int_equal(ticks_until(&run, 0.5, 0), 300);
    assert_int_equal(ticks_until(&run, 1, 1), 3); /* the way up does not wait */
    assert_int_equal(ticks_until(&run, 0.5, 0), 600);
    for (int i = 0; i < 700; i++)
        (void)tick(&run, 0.5);
    assert_int_equal(ticks_until(&run, 1, 1), 3); /* more than a minute later */
    assert_int_equal(ticks_until(&run, 0.5, 0), 300);
}

/* --- What must hold. --- */

static uint64_t seed;

static double draw(void) /* 0 .. 1, xorshift64* */
{
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return (double)((seed * UINT64_C(2685821657736338717)) >> 11) / 9007199254740992.0;
}

static double draw_normal(void) /* Box-Muller */
{
    return sqrt(-2 * log(1 - draw())) * cos(2 * 3.14159265358979 * draw());
}

/* Follows a run and checks the rules of every change. */
struct watch {
    struct run run;
    int64_t changes, ups, returns;
    int64_t entered_ns[CFG_LEVEL_MAX + 1], left_ns[CFG_LEVEL_MAX + 1];
    int64_t returned_ns[CFG_LEVEL_MAX + 1];
};

static void see_entry(struct watch *watch, int step)
{
    int64_t now_ns = watch->run.now_ns;

    if (watch->left_ns[step] != 0 && now_ns - watch->left_ns[step] < 60 * S) {
        assert_true(watch->returned_ns[step] == 0 || now_ns - watch->returned_ns[step] >= 60 * S);
        watch->returned_ns[step] = now_ns;
        watch->returns++;
    }
    watch->entered_ns[step] = now_ns;
    watch->ups++;
}

static int see(struct watch *watch, double pressure)
{
    int from = watch->run.level, to = tick(&watch->run, pressure);

    assert_in_range(to, 0, CFG_LEVEL_MAX);
    assert_true(to - from <= 1 && from - to <= 1);
    if (to > from) {
        assert_true(pressure >= shipped.enter);
        see_entry(watch, to);
    } else if (to < from) {
        assert_true(pressure <= shipped.leave);
        assert_true(watch->run.now_ns - watch->entered_ns[from] >= 30 * S / 4);
        watch->left_ns[from] = watch->run.now_ns;
    }
    watch->changes += to != from;
    return to;
}

static void whatever_the_pressure_no_step_comes_back_more_than_once_a_minute(void **state)
{
    (void)state;
    for (seed = 1; seed <= 200;) {
        uint64_t given = seed;
        struct watch watch = {0};
        double pressure = 0;
        int64_t left = 0;
        for (int64_t i = 0; i < 36000; i++) {
            if (left-- <= 0) { /* stays where it is for up to 80 s */
                pressure = 1.4 * draw();
                left = (int64_t)(800 * draw() * draw());
            }
            (void)see(&watch, pressure + 0.05 * draw_normal());
        }
        assert_true(watch.returns <= CFG_LEVEL_MAX * 60);
        seed = given + 1;
    }
}

/* The worst that a system can do: high exactly while nothing is turned off. */
static void where_no_level_is_right_a_step_comes_back_once_a_minute(void **state)
{
    struct watch watch = {0};
    (void)state;
    for (int64_t i = 0; i < DAY; i++)
        (void)see(&watch, watch.run.level == 0 ? 1.2 : 0.3);
    assert_in_range(watch.returns, 1400, 24 * 60);
}

/* --- A day. --- */

#define HOUR 36000 /* ticks */
#define PEAK 6000  /* ticks: ten minutes */

/* Noise of a normal deviation, and one tick in a hundred that shows three times the load. */
static double noisy(double load, double deviation)
{
    return load * (draw() < 0.01 ? 3 : 1) + deviation * draw_normal();
}

static void a_day_with_a_peak_each_hour_changes_levels_only_at_the_peaks(void **state)
{
    struct watch watch = {0};
    (void)state;
    seed = 20261122;
    for (int hour = 0; hour < 24; hour++) {
        int64_t up = -1, down = -1;
        for (int64_t i = 0; i < HOUR; i++) {
            bool peak = i >= HOUR / 2 && i < HOUR / 2 + PEAK;
            int64_t before = watch.changes;
            int level = see(&watch, noisy(peak ? 1.3 : 0.35, 0.06));
            if (level == CFG_LEVEL_MAX && up < 0)
                up = i - HOUR / 2;
            if (level == 0 && up >= 0 && down < 0)
                down = i - HOUR / 2 - PEAK;
            if (i < HOUR / 2) /* in the quiet half nothing moves */
                assert_int_equal(watch.changes, before);
        }
        assert_in_range(up, 9, 15);      /* 1.2 s; noise before it may have begun the count */
        assert_in_range(down, 525, 750); /* 52.5 s, and what noisy ticks take: 59 s on average */
    }
    assert_int_equal(watch.changes, 24 * 2 * CFG_LEVEL_MAX);
    assert_int_equal(watch.returns, 0);
}

static void a_day_of_noise_between_leave_and_enter_moves_nothing(void **state)
{
    struct watch watch = {0};
    (void)state;
    seed = 7;
    for (int64_t i = 0; i < DAY; i++)
        (void)see(&watch, 0.65 + 0.03 * draw_normal());
    assert_int_equal(watch.changes, 0);
}

/* Each step takes a part of the load away; the load itself wanders slowly through every value. */
static void
a_day_of_slow_change_with_steps_that_relieve_moves_about_as_often_as_the_load(void **state)
{
    struct watch watch = {0};
    (void)state;
    seed = 3;
    for (int64_t i = 0; i < DAY; i++) { /* four waves of six hours, from 0.3 to 1.3 */
        double load = 0.8 - 0.5 * cos(2 * 3.14159265358979 * (double)i / (6 * HOUR));
        (void)see(&watch, noisy(load * (1 - 0.1 * watch.run.level), 0.02));
    }
    assert_int_equal(watch.run.level, 0);
    assert_in_range(watch.changes, 4 * 2 * CFG_LEVEL_MAX, 4 * 2 * CFG_LEVEL_MAX + 8);
    assert_int_equal(watch.returns, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_ticks_at_enter_in_a_row_go_up_a_step),
        cmocka_unit_test(each_further_step_up_takes_three_more_and_the_last_level_is_the_last),
        cmocka_unit_test(after_thirty_seconds_of_calm_it_comes_down_step_by_step),
        cmocka_unit_test(between_leave_and_enter_nothing_moves),
        cmocka_unit_test(a_single_noisy_tick_takes_a_second_of_calm_away_and_not_all),
        cmocka_unit_test(three_noisy_ticks_in_a_row_begin_the_calm_anew),
        cmocka_unit_test(time_in_which_nobody_looked_is_no_calm),
        cmocka_unit_test(a_step_that_had_to_come_back_is_held_for_a_minute),
        cmocka_unit_test(whatever_the_pressure_no_step_comes_back_more_than_once_a_minute),
        cmocka_unit_test(where_no_level_is_right_a_step_comes_back_once_a_minute),
        cmocka_unit_test(a_day_with_a_peak_each_hour_changes_levels_only_at_the_peaks),
        cmocka_unit_test(a_day_of_noise_between_leave_and_enter_moves_nothing),
        cmocka_unit_test(
            a_day_of_slow_change_with_steps_that_relieve_moves_about_as_often_as_the_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
