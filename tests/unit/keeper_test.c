/* The keeper's checkpoints, beside a log that takes a call or does not. */
#include "tests/unit/check.h"

#include "gateway/keeper.h"
#include "gateway/metrics.h"
#include "gateway/sales/sales.h"
#include "inventory/store_memory.h"
#include "queue/log_backend.h"
#include "tests/unit/records.h"
#include "tests/unit/temp_dir.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

/* In place of the library's, for all of this program: it counts. */
static int joins;

int pthread_join(pthread_t thread, void **ret_value)
{
    union {
        void *symbol;
        int (*join)(pthread_t thread, void **ret_value);
    } next = {.symbol = dlsym(RTLD_NEXT, "pthread_join")};
    joins++;
    return next.join(thread, ret_value);
}

/* A log of one partition whose calls run at once. */
static int calls, full_from, full_to; /* calls that find the queue full */

static int call(struct oq_log *log, void (*fn)(void *arg), void *arg)
{
    int number = calls++;
    (void)log;
    if (number >= full_from && number < full_to)
        return PS_E_FULL;
    fn(arg);
    return 0;
}

static void view(const struct oq_log *log, struct oq_log_view *ret_view)
{
    (void)log;
    *ret_view = (struct oq_log_view){.state = OQ_LOG_WELL, .partitions = 1};
}

static int mark(const struct oq_log *log, uint32_t partition, struct oq_mark *ret_mark)
{
    (void)log;
    (void)partition;
    *ret_mark = (struct oq_mark){.seq = 1};
    return 0;
}

static const struct oq_log_ops ops = {.view = view, .call = call, .mark = mark};

static void a_checkpoint_waits_until_a_full_log_takes_its_calls(void **state)
{
    (void)state;
    struct temp_dir dir = temp_dir_make();
    struct oq_log log = {&ops};
    struct gw_workers nobody = {0};
    struct oq_fold *fold;
    struct oq_change change;
    struct gw_keeper *keeper;
    char path[4096];
    const struct oq_event event = accepted(1, 5, "ann", "", 1);
    snprintf(path, sizeof path, "%s/fold.checkpoint", dir.path);
    full_from = 1; /* the cut is made; its end finds the log full */
    full_to = 20;
    assert_ok(oq_fold_new(&fold));
    assert_ok(oq_fold_apply(fold, 0, 1, &event, &change));
    struct ps_metrics *metrics;
    struct inv_store *store;
    struct sale_runs *sales;
    assert_ok(inv_store_memory_new(&ps_clock_system, &store));
    assert_ok(ps_metrics_new(gw_metric_table, GW_M_COUNT, 1, &metrics));
    assert_ok(sale_runs_new(
        &(struct sale_settings){
            .clock = &ps_clock_system, .store = store, .fold = fold, .metrics = metrics},
        &sales));
    assert_ok(gw_keeper_new(&(struct gw_keeper_deps){.clock = &ps_clock_system,
                                                     .fold = fold,
                                                     .sales = sales,
                                                     .workers = &nobody,
                                                     .path = path},
                            &keeper));
    gw_keeper_open(keeper, &log, NULL);
    gw_keeper_finish(keeper, 30000);
    assert_int_equal(calls, 21);
    assert_int_equal(joins, 2); /* of each thread once: of the one that wrote, and that published */
    assert_int_equal(access(path, R_OK), 0);
    gw_keeper_free(keeper);
    sale_runs_stop(sales);
    sale_runs_free(sales);
    inv_store_free(store);
    ps_metrics_free(metrics);
    oq_fold_free(fold);
    temp_dir_remove(&dir);
}

int main(void)
{
    const struct CMUnitTest claims[] = {
        cmocka_unit_test(a_checkpoint_waits_until_a_full_log_takes_its_calls),
    };
    return cmocka_run_group_tests(claims, NULL, NULL);
}
