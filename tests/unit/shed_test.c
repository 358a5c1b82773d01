/* The cut-off of overload control: whom it refuses, how fast it moves, and that it treats users
 * alike from hour to hour. Windows follow each other without a clock. */
#include "tests/unit/check.h"

#include "gateway/admission/shed.h"

#include <math.h>
#include <stdio.h>

#define HOUR_MS  (INT64_C(3600) * 1000)
#define START_MS (INT64_C(495000) * HOUR_MS)

static const struct ps_hash_key secret = {{1, 2, 3}};

static const struct adm_shed_window slow = {.requests = 1000,
                                            .waited_ns = 1000 * (ADM_SHED_WAIT_NS + 1)};
static const struct adm_shed_window quick = {.requests = 1000,
                                             .waited_ns = 1000 * ADM_SHED_WAIT_NS};

static struct adm_shed make_shed(void)
{
    struct adm_shed shed;

    adm_shed_init(&shed);
    adm_shed_salt(&shed, &secret, START_MS);
    return shed;
}

static bool ask(struct adm_shed *shed, enum adm_shed_class class, unsigned user)
{
    char name[32];
    int len = snprintf(name, sizeof name, "user-%u", user);

    return adm_shed_judge(shed, class, name, (size_t)len);
}

/* One request of each of `users` users: how many are admitted. */
static unsigned ask_all(struct adm_shed *shed, enum adm_shed_class class, unsigned users)
{
    unsigned admitted = 0;

    for (unsigned user = 0; user < users; user++)
        admitted += ask(shed, class, user);
    return admitted;
}

/* Windows of `users` orders each until fewer than `share` of them are admitted. */
static void overload_until(struct adm_shed *shed, unsigned users, double share)
{
    adm_shed_close(shed, &slow);
    for (int i = 0; i < 1000 && ask_all(shed, ADM_SHED_ORDER, users) > share * users; i++)
        adm_shed_close(shed, &slow);
    memset(shed->arrived, 0, sizeof shed->arrived);
}

static void without_overload_nothing_is_counted(void **unused)
{
    (void)unused;
    struct adm_shed shed = make_shed();

    for (int i = 0; i < 100; i++)
        adm_shed_close(&shed, &quick);
    assert_false(shed.active);
    for (enum adm_shed_class class = 0; class < ADM_SHED_CLASSES; class ++)
        assert_true(adm_shed_level(&shed, class) == 1);
}

static void a_wait_above_20_ms_on_average_is_overload_and_one_of_20_ms_is_not(void **unused)
{
    (void)unused;
    struct adm_shed shed = make_shed();

    assert_int_equal(ADM_SHED_WAIT_NS, 20000000);
    adm_shed_close(&shed, &quick);
    assert_false(shed.active);
    adm_shed_close(&shed, &slow);
    assert_true(shed.active);
}

static void whoever_is_served_in_turn_is_never_refused_however_long_all_wait(void **unused)
{
    (void)unused;
    struct adm_shed shed = make_shed();
    struct adm_shed_window crowd = slow;

    crowd.in_turn = true;
    for (int i = 0; i < 100; i++) {
        adm_shed_close(&shed, &crowd);
        assert_int_equal(ask_all(&shed, ADM_SHED_ORDER, 100), 100);
    }
    assert_false(shed.active);
}

static void requests_that_nobody_could_read_are_overload(void **unused)
{
    (void)unused;
    struct adm_shed shed = make_shed();

    adm_shed_close(&shed, &(struct adm_shed_window){.unread = true});
    assert_true(shed.active);
}

static void a_window_of_overload_admits_5_percent_less(void **unused)
{
    (void)unused;
    struct adm_shed shed = make_shed();
    const unsigned users = 20000; /* 156 a cell: a step is exact to one cell */

    adm_shed_close(&shed, &slow);
    double expected = users;
    for (int i = 0; i < 20; i++) {
        double admitted = ask_all(&shed, ADM_SHED_ORDER, users);
        assert_true(fabs(admitted - expected) <= 200);
        expected = admitted * 0.95;
        adm_shed_close(&shed, &slow);
    }
}

static void a_window_without_overload_admits_1_percent_more_of_what_arrived(void **unused)
{
    (void)unused;
    struct adm_shed shed = make_shed();
    const unsigned users = 20000;

    overload_until(&shed, users, 0.3);
    double expected = ask_all(&shed, ADM_SHED_ORDER, users);
    for (int i = 0; i < 20; i++) {
        adm_shed_close(&shed, &quick);
        double admitted = ask_all(&shed, ADM_SHED_ORDER, users);
        assert_true(admitted >= expected + users * 0.01);
        assert_true(admitted <= expected + users * 0.01 + 200);
        expected = admitted;
    }
}

static void it_comes_back_by_itself_to_admitting_everybody_and_to_counting_nothing(void **unused)
{
    (void)unused;
    struct adm_shed shed = make_shed();
    int windows = 0;

    overload_until(&shed, 2000, 0.05);
    for (; shed.active && windows < 1000; windows++) {
        ask_all(&shed, ADM_SHED_ORDER, 2000);
        adm_shed_close(&shed, &quick);
    }
    assert_in_range(windows, 60, 110); /* 1 % each */
    assert_true(adm_shed_level(&shed, ADM_SHED_OTHER) == 1);
}

static void it_comes_back_also_when_nobody_asks_any_more(void **unused)
{
    (void)unused;
    struct adm_shed shed = make_shed();
    int windows = 0;

    overload_until(&shed, 2000, 0.05);
    for (; shed.active && windows < 1000; windows++)
        adm_shed_close(&shed, &(struct adm_shed_window){0});
    assert_in_range(windows, 60, 110);
}

static void lower_classes_are_refused_before_higher_ones(void **unused)
{
    (void)unused;
    struct adm_shed shed = make_shed();
    static const enum adm_shed_class order[] = {ADM_SHED_OTHER, ADM_SHED_STATUS,
                                                ADM_SHED_ORDER_STATE, ADM_SHED_ORDER};

    adm_shed_close(&shed, &slow);
    for (int i = 0; i < 400; i++) {
        for (enum adm_shed_class class = 0; class < ADM_SHED_CLASSES; class ++)
            ask_all(&shed, class, 500);
        for (size_t k = 0; k + 1 < PS_ARRAY_LEN(order); k++)
            assert_true(adm_shed_level(&shed, order[k]) == 0 ||
                        adm_shed_level(&shed, order[k + 1]) == 1);
        adm_shed_close(&shed, &slow);
    }
    assert_true(adm_shed_level(&shed, ADM_SHED_ORDER) < 0.05);
}

static void classes_that_nobody_asks_for_do_not_delay_the_cut(void **unused)
{
    (void)unused;
    struct adm_shed shed = make_shed();

    adm_shed_close(&shed, &slow);
    ask_all(&shed, ADM_SHED_ORDER, 20000);
    adm_shed_close(&shed, &slow);
    assert_true(adm_shed_level(&shed, ADM_SHED_ORDER) < 0.96);
}

static void somebody_is_always_admitted(void **unused)
{
    (void)unused;
    struct adm_shed shed = make_shed();

    overload_until(&shed, 2000, 0);
    for (int i = 0; i < 100; i++) {
        assert_true(ask_all(&shed, ADM_SHED_ORDER, 2000) > 0);
        adm_shed_close(&shed, &slow);
    }
}

static void what_is_left_unread_is_not_admitted_either(void **unused)
{
    (void)unused;
    struct adm_shed shed = make_shed();
    struct adm_shed_window window = {.requests = 300, .left = 700, .unread = true};
    int windows = 0;

    for (int i = 0; i < 100; i++)
        adm_shed_close(&shed, &window);
    assert_true(fabs(adm_shed_level(&shed, ADM_SHED_ORDER) - 0.3) < 0.01);
    for (; shed.active && windows < 1000; windows++)
        adm_shed_close(&shed, &quick);
    assert_in_range(windows, 20, 60);
    assert_true(adm_shed_level(&shed, ADM_SHED_OTHER) == 1);
}

static void it_falls_no_further_where_a_fifth_of_the_answers_are_refusals(void **unused)
{
    (void)unused;
    struct adm_shed shed = make_shed();
    struct adm_shed_window dear = slow;
    int windows = 0;

    dear.refused = dear.requests / 5 + 1;
    overload_until(&shed, 2000, 0.5);
    double level = adm_shed_level(&shed, ADM_SHED_ORDER);
    for (; windows < 10; windows++) {
        ask_all(&shed, ADM_SHED_ORDER, 2000);
        adm_shed_close(&shed, &dear);
        assert_true(adm_shed_level(&shed, ADM_SHED_ORDER) > level);
        level = adm_shed_level(&shed, ADM_SHED_ORDER);
    }
    assert_true(shed.active);
}

static void the_same_users_are_refused_within_the_hour(void **unused)
{
    (void)unused;
    struct adm_shed shed = make_shed(), other = make_shed();
    static bool refused[2000];

    overload_until(&shed, 2000, 0.5);
    other.cut_off = shed.cut_off; /* another worker or gateway of the same secret */
    for (unsigned user = 0; user < 2000; user++)
        refused[user] = !ask(&shed, ADM_SHED_ORDER, user);
    for (int minute = 1; minute < 60; minute += 7) {
        adm_shed_salt(&shed, &secret, START_MS + minute * INT64_C(60000));
        adm_shed_salt(&other, &secret, START_MS + minute * INT64_C(60000) + 59999);
        for (unsigned user = 0; user < 2000; user++) {
            assert_int_equal(!ask(&shed, ADM_SHED_ORDER, user), refused[user]);
            assert_int_equal(!ask(&other, ADM_SHED_ORDER, user), refused[user]);
        }
    }
}

static void who_is_refused_at_a_level_is_refused_at_every_lower_one(void **unused)
{
    (void)unused;
    struct adm_shed shed = make_shed();
    bool admitted[500];

    memset(admitted, true, sizeof admitted);
    for (uint32_t cut_off = ADM_SHED_BUCKETS; cut_off > 0; cut_off--) {
        shed.cut_off = cut_off;
        for (unsigned user = 0; user < 500; user++) {
            bool now = ask(&shed, ADM_SHED_ORDER, user);
            assert_true(admitted[user] || !now);
            admitted[user] = now;
        }
    }
}

/* With half of the users admitted, the hours in which one is admitted are coin tosses: over 48
 * hours, sum((hours - 24)^2 / 12) over users is chi-square distributed with as many degrees of
 * freedom as there are users (it is 48 x p x (1 - p) = 12 for one). */
static void no_user_is_better_off_over_the_hours(void **unused)
{
    (void)unused;
    struct adm_shed shed = make_shed();
    enum { USERS = 5000, HOURS = 48 };
    static int hours[USERS];
    double sum = 0;

    shed.cut_off = ADM_SHED_BUCKETS / 2;
    for (int hour = 0; hour < HOURS; hour++) {
        adm_shed_salt(&shed, &secret, START_MS + hour * HOUR_MS);
        for (unsigned user = 0; user < USERS; user++)
            hours[user] += ask(&shed, ADM_SHED_ORDER, user);
    }
    for (int user = 0; user < USERS; user++)
        sum += (hours[user] - HOURS / 2.0) * (hours[user] - HOURS / 2.0) / (HOURS / 4.0);
    /* Normal for so many degrees: mean USERS, deviation sqrt(2 x USERS); 5 of them. */
    assert_true(fabs(sum - USERS) < 5 * sqrt(2.0 * USERS));
}

/* One hour's choice tells nothing of the next: the four outcomes of two hours are equally frequent.
 * Chi-square with 3 degrees of freedom: above 21.1 in one of 10,000. */
static void the_next_hour_does_not_follow_from_this_one(void **unused)
{
    (void)unused;
    struct adm_shed now = make_shed(), next = make_shed();
    enum { USERS = 40000 };
    double seen[4] = {0}, sum = 0;

    now.cut_off = next.cut_off = ADM_SHED_BUCKETS / 2;
    adm_shed_salt(&next, &secret, START_MS + HOUR_MS);
    for (unsigned user = 0; user < USERS; user++)
        seen[2 * ask(&now, ADM_SHED_ORDER, user) + ask(&next, ADM_SHED_ORDER, user)]++;
    for (int i = 0; i < 4; i++)
        sum += (seen[i] - USERS / 4.0) * (seen[i] - USERS / 4.0) / (USERS / 4.0);
    assert_true(sum < 21.1);
}

/* Users fall into buckets evenly: chi-square with 127 degrees of freedom, above 195 in one of
 * 10,000. */
static void buckets_are_equally_large(void **unused)
{
    (void)unused;
    struct adm_shed shed = make_shed();
    const unsigned users = 128 * 1000;
    double sum = 0, all = 0;

    ask_all(&shed, ADM_SHED_ORDER, users);
    for (int i = 0; i < ADM_SHED_BUCKETS; i++)
        all += shed.arrived[i];
    for (int i = 0; i < ADM_SHED_BUCKETS; i++)
        sum += pow(shed.arrived[i] / all * users - 1000, 2) / 1000;
    assert_true(sum < 195);
}

static void another_secret_refuses_others(void **unused)
{
    (void)unused;
    struct adm_shed shed = make_shed(), other = make_shed();
    const struct ps_hash_key its = {{9}};
    unsigned differ = 0;

    shed.cut_off = other.cut_off = ADM_SHED_BUCKETS / 2;
    adm_shed_salt(&other, &its, START_MS);
    for (unsigned user = 0; user < 1000; user++)
        differ += ask(&shed, ADM_SHED_ORDER, user) != ask(&other, ADM_SHED_ORDER, user);
    assert_in_range(differ, 400, 600);
}

static void the_fewer_are_admitted_the_longer_they_are_asked_to_wait(void **unused)
{
    (void)unused;
    struct adm_shed shed = make_shed();
    int64_t last_s = 0;

    for (uint32_t cut_off = ADM_SHED_BUCKETS; cut_off > 0; cut_off--) {
        shed.cut_off = cut_off;
        int64_t after_s = adm_shed_retry_after_s(&shed, ADM_SHED_ORDER);
        assert_true(after_s >= last_s && after_s >= 1 && after_s <= 10);
        last_s = after_s;
    }
    assert_int_equal(last_s, 10);
    assert_int_equal(adm_shed_retry_after_s(&shed, ADM_SHED_STATUS), 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_overload_nothing_is_counted),
        cmocka_unit_test(a_wait_above_20_ms_on_average_is_overload_and_one_of_20_ms_is_not),
        cmocka_unit_test(whoever_is_served_in_turn_is_never_refused_however_long_all_wait),
        cmocka_unit_test(requests_that_nobody_could_read_are_overload),
        cmocka_unit_test(a_window_of_overload_admits_5_percent_less),
        cmocka_unit_test(a_window_without_overload_admits_1_percent_more_of_what_arrived),
        cmocka_unit_test(it_comes_back_by_itself_to_admitting_everybody_and_to_counting_nothing),
        cmocka_unit_test(it_comes_back_also_when_nobody_asks_any_more),
        cmocka_unit_test(lower_classes_are_refused_before_higher_ones),
        cmocka_unit_test(classes_that_nobody_asks_for_do_not_delay_the_cut),
        cmocka_unit_test(somebody_is_always_admitted),
        cmocka_unit_test(what_is_left_unread_is_not_admitted_either),
        cmocka_unit_test(it_falls_no_further_where_a_fifth_of_the_answers_are_refusals),
        cmocka_unit_test(the_same_users_are_refused_within_the_hour),
        cmocka_unit_test(who_is_refused_at_a_level_is_refused_at_every_lower_one),
        cmocka_unit_test(no_user_is_better_off_over_the_hours),
        cmocka_unit_test(the_next_hour_does_not_follow_from_this_one),
        cmocka_unit_test(buckets_are_equally_large),
        cmocka_unit_test(another_secret_refuses_others),
        cmocka_unit_test(the_fewer_are_admitted_the_longer_they_are_asked_to_wait),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
