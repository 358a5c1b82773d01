/* What buyers of a sale were answered. */
#include "tests/unit/check.h"

#include "gateway/snapshot/sale_figures.h"

#include <pthread.h>

#define MS INT64_C(1000000)

static void answers_of_all_workers_are_added_up_and_only_orders_are_timed(void **state)
{
    struct snap_figures *figures = snap_figures_new(3);
    struct snap_figures_sum sum;

    (void)state;
    assert_non_null(figures);
    snap_figures_add(figures, 0, ANS_V_accepted, 2 * MS);
    snap_figures_add(figures, 2, ANS_V_accepted, 4 * MS);
    snap_figures_add(figures, 1, ANS_V_sold_out, 900 * MS);
    snap_figures_read(figures, &sum);
    assert_int_equal(sum.answers[ANS_V_accepted], 2);
    assert_int_equal(sum.answers[ANS_V_sold_out], 1);
    assert_int_equal(sum.answers[ANS_V_user_rate], 0);
    assert_int_equal(ps_times_total(&sum.orders), 2);
    assert_true(ps_times_quantile_ns(&sum.orders, 1) < 5 * MS);
    snap_figures_free(figures);
    snap_figures_free(NULL);
}

static void the_next_sale_begins_at_nothing(void **state)
{
    struct snap_figures *list = NULL, *figures = snap_figures_new(1);
    struct snap_figures_sum before, after;

    (void)state;
    snap_figures_add(figures, 0, ANS_V_accepted, MS);
    snap_figures_push(&list, figures);
    assert_ptr_equal(snap_figures_pop(&list), figures);
    assert_null(snap_figures_pop(&list));
    snap_figures_reset(figures);
    snap_figures_read(figures, &before);
    assert_int_equal(before.answers[ANS_V_accepted], 0);
    snap_figures_add(figures, 0, ANS_V_accepted, MS);
    snap_figures_read(figures, &after);
    assert_int_equal(after.answers[ANS_V_accepted], 1);
    struct ps_times_sum between = ps_times_between(&before.orders, &after.orders);
    assert_int_equal(ps_times_total(&between), 1);
    snap_figures_free(figures);
}

#define ADDS 50000

struct writer {
    struct snap_figures *figures;
    size_t worker;
};

static void *count(void *arg)
{
    const struct writer *writer = arg;

    for (int i = 0; i < ADDS; i++)
        snap_figures_add(writer->figures, writer->worker, ANS_V_accepted, MS);
    return NULL;
}

static void workers_count_while_others_read(void **state)
{
    struct snap_figures *figures = snap_figures_new(2);
    struct writer writers[2] = {{figures, 0}, {figures, 1}};
    struct snap_figures_sum sum;
    pthread_t thread[2];
    int64_t last = 0;
    bool rises = true;

    (void)state;
    for (int i = 0; i < 2; i++)
        assert_ok(pthread_create(&thread[i], NULL, count, &writers[i]));
    for (int i = 0; i < 100; i++) {
        snap_figures_read(figures, &sum);
        rises = rises && sum.answers[ANS_V_accepted] >= last;
        last = sum.answers[ANS_V_accepted];
    }
    for (int i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    snap_figures_read(figures, &sum);
    assert_true(rises);
    assert_int_equal(sum.answers[ANS_V_accepted], 2 * ADDS);
    snap_figures_free(figures);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_of_all_workers_are_added_up_and_only_orders_are_timed),
        cmocka_unit_test(the_next_sale_begins_at_nothing),
        cmocka_unit_test(workers_count_while_others_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
