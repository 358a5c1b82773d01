/* How endpoints are judged, in virtual time: what requests and checks say, tick by tick, and what
 * the workers are to do. */
#include "tests/unit/check.h"

#include "common/clock.h"
#include "common/program/log.h"
#include "gateway/upstream/judge.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MOST 10
#define MS   PS_NS_PER_MS

static struct cfg_pool doc;
static struct up_pool pool;
static struct up_member members[MOST];
static struct up_pool_view view;
static struct up_verdict verdicts[MOST];
static const struct up_verdict *checks[MOST];
static int64_t now_ms;

static int set_up(void **unused)
{
    (void)unused;
    doc = (struct cfg_pool){.name = "web",
                            .outlier = {.consecutive_errors = 5,
                                        .success_share_min = 0.5,
                                        .requests_min = 20,
                                        .eject_ms = 10000,
                                        .ejected_share_max = 0.5},
                            .panic_share = 0.5,
                            .drain_ms = 30000};
    pool = (struct up_pool){.name = "web"};
    view = (struct up_pool_view){.doc = &doc, .pool = &pool, .members = members};
    memset(verdicts, 0, sizeof verdicts);
    memset(checks, 0, sizeof checks);
    now_ms = 1000000;
    return 0;
}

static void add_member(uint16_t weight)
{
    size_t size = sizeof(struct up_endpoint) + 2 * sizeof(struct up_endpoint_cell);
    struct up_endpoint *endpoint = aligned_alloc(PS_CACHE_LINE, size);
    struct up_member *member = &members[view.member_count++];
    memset(endpoint, 0, size);
    endpoint->cell_count = 2;
    endpoint->since_ms = now_ms;
    *member = (struct up_member){.endpoint = endpoint, .as = {.weight = weight}};
    snprintf(endpoint->is.address, sizeof endpoint->is.address, "10.0.0.%zu:80", view.member_count);
}

static int tear_down(void **unused)
{
    (void)unused;
    while (view.member_count > 0)
        free(members[--view.member_count].endpoint);
    return 0;
}

static void add_members(size_t count)
{
    for (size_t i = 0; i < count; i++)
        add_member(1);
}

static void tick(void)
{
    up_judge_tick(&view, checks, now_ms * MS, now_ms);
}

/* So much time in ticks of 100 ms. */
static void pass(int64_t ms)
{
    for (int64_t end_ms = now_ms + ms; now_ms < end_ms;) {
        now_ms += end_ms - now_ms < 100 ? end_ms - now_ms : 100;
        tick();
    }
}

/* As a worker counts. */
static void meet(size_t i, size_t worker, enum up_end end, int64_t took_ms)
{
    struct up_endpoint *endpoint = members[i].endpoint;
    struct up_endpoint_cell *cell = &endpoint->cells[worker];
    enum up_says says = up_blame[end].rate; /* each error is of another client here */
    struct up_met met = {end, says, {0}};
    if (says == UP_SAYS_GOOD)
        met.told.good = 1;
    else if (says != UP_SAYS_NOTHING)
        met.told.bad = met.told.row = 1;
    up_endpoint_count(endpoint, worker, &met);
    if (took_ms > 0) {
        cell->took_ns += took_ms * MS;
        ps_times_add(&cell->times, took_ms * MS);
    }
}

static void meet_many(size_t i, int count, enum up_end end, int64_t took_ms)
{
    for (int k = 0; k < count; k++)
        meet(i, (size_t)k % 2, end, took_ms);
}

static void fail_check(size_t i, const char *why)
{
    verdicts[i].check = UP_CHECK_FAILING;
    snprintf(verdicts[i].why, sizeof verdicts[i].why, "%s", why);
    checks[i] = &verdicts[i];
}

static void pass_check(size_t i)
{
    verdicts[i] = (struct up_verdict){.check = UP_CHECK_PASSING};
    checks[i] = &verdicts[i];
}

static void expect(size_t i, enum up_state state, const char *why, uint32_t weight)
{
    const struct up_endpoint *endpoint = members[i].endpoint;
    assert_int_equal(endpoint->state, state);
    assert_string_equal(endpoint->why, why);
    assert_int_equal(endpoint->weight, weight);
}

static size_t count_state(enum up_state state)
{
    size_t count = 0;
    for (size_t i = 0; i < view.member_count; i++)
        count += members[i].endpoint->state == state;
    return count;
}

/* --- outliers --- */

static void errors_in_a_row_eject_an_endpoint_for_a_while(void **unused)
{
    (void)unused;
    add_members(3);
    tick();
    meet_many(0, 4, UP_END_refused, 0);
    pass(100);
    expect(0, UP_UP, "", 1000);
    meet_many(0, 1, UP_END_late, 0);
    pass(100);
    expect(0, UP_EJECTED, "5 errors in a row", 0);
    expect(1, UP_UP, "", 1000);
    assert_int_equal(members[0].endpoint->since_ms, now_ms);
    assert_int_equal(pool.ejections[UP_OUTLIER_IN_ROW], 1);
    pass(9900);
    expect(0, UP_EJECTED, "5 errors in a row", 0);
    pass(100);
    expect(0, UP_UP, "", 1000);
    assert_int_equal(members[0].endpoint->since_ms, now_ms);
    assert_int_equal(members[0].endpoint->in_row, 0);
}

static void each_failure_counts_and_a_success_in_between_saves(void **unused)
{
    (void)unused;
    const struct {
        enum up_end end;
        enum up_state state;
    } rows[] = {
        {UP_END_ok, UP_UP},           {UP_END_error, UP_EJECTED},
        {UP_END_refused, UP_EJECTED}, {UP_END_connect_late, UP_EJECTED},
        {UP_END_reset, UP_EJECTED},   {UP_END_malformed, UP_EJECTED},
        {UP_END_late, UP_EJECTED},    {UP_END_broken, UP_EJECTED},
        {UP_END_gone_waiting, UP_UP},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        add_members(2);
        tick();
        meet_many(0, 5, rows[i].end, 0);
        pass(100);
        assert_int_equal(members[0].endpoint->state, rows[i].state);
        (void)tear_down(NULL);
    }
    add_members(2);
    tick();
    for (int k = 0; k < 9; k++) {
        meet_many(0, 4, UP_END_error, 0);
        meet_many(0, 5, UP_END_ok, 1);
        pass(100);
    }
    expect(0, UP_UP, "", 1000);
}

static void too_many_errors_of_enough_answers_eject_an_endpoint(void **unused)
{
    (void)unused;
    const struct {
        int errors, goods, gone;
        const char *why; /* "" = it stays */
    } rows[] = {
        {28, 12, 0, "70 % of 40 answers in 10 s were errors"},
        {10, 10, 0, ""}, /* the half is enough */
        {11, 9, 0, "55 % of 20 answers in 10 s were errors"},
        {10, 9, 0, ""},  /* too few answers */
        {10, 9, 30, ""}, /* whose client is gone has no answer */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        add_members(2);
        tick();
        meet_many(0, rows[i].errors, UP_END_error, 1);
        meet_many(0, rows[i].gone, UP_END_gone_waiting, 0);
        meet_many(0, rows[i].goods, UP_END_ok, 1);
        pass(100);
        bool out = rows[i].why[0] != '\0';
        expect(0, out ? UP_EJECTED : UP_UP, rows[i].why, out ? 0 : 1000);
        (void)tear_down(NULL);
    }
    assert_int_equal(pool.ejections[UP_OUTLIER_ERRORS], 2);
}

static void errors_are_forgotten_after_10_s(void **unused)
{
    (void)unused;
    add_members(2);
    tick();
    meet_many(0, 19, UP_END_error, 1);
    meet(0, 0, UP_END_ok, 1);
    doc.outlier.requests_min = 100;
    pass(8800);
    meet_many(0, 1, UP_END_ok, 1);
    doc.outlier.requests_min = 20;
    pass(100);
    expect(0, UP_EJECTED, "90 % of 21 answers in 10 s were errors", 0);
    (void)tear_down(NULL);

    add_members(2);
    tick();
    meet_many(0, 19, UP_END_error, 1);
    meet(0, 0, UP_END_ok, 1);
    doc.outlier.requests_min = 100;
    pass(10000);
    doc.outlier.requests_min = 1;
    meet_many(0, 5, UP_END_ok, 1);
    pass(100);
    expect(0, UP_UP, "", 1000);
}

static void an_endpoint_far_slower_than_the_pools_median_is_ejected(void **unused)
{
    (void)unused;
    const struct {
        double factor;
        int answers[4];
        int64_t took_ms[4];
        const char *why; /* of the last */
    } rows[] = {
        {3, {20, 20, 20, 20}, {10, 12, 8, 32}, "3.2 times the pool's median latency"},
        {3, {20, 20, 20, 20}, {10, 12, 8, 30}, ""},
        {3, {20, 20, 20, 19}, {10, 12, 8, 500}, ""}, /* too few answers */
        {0, {20, 20, 20, 20}, {10, 12, 8, 500}, ""}, /* not judged */
        {3, {5, 5, 5, 20}, {10, 12, 8, 500}, ""},    /* nothing to compare it with */
        {3, {20, 20, 20, 20}, {1000, 1000, 1000, 4000}, "4.0 times the pool's median latency"},
        {2, {0, 0, 20, 20}, {10, 10, 10, 25}, "2.5 times the pool's median latency"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        add_members(4);
        tick();
        doc.outlier.latency_factor = rows[i].factor;
        for (size_t k = 0; k < 4; k++)
            meet_many(k, rows[i].answers[k], UP_END_ok, rows[i].took_ms[k]);
        pass(100);
        bool out = rows[i].why[0] != '\0';
        expect(3, out ? UP_EJECTED : UP_UP, rows[i].why, out ? 0 : 1000);
        for (size_t k = 0; k < 3; k++)
            expect(k, UP_UP, "", 1000);
        (void)tear_down(NULL);
    }
}

static void a_few_slow_answers_of_many_do_not_make_an_outlier(void **unused)
{
    (void)unused;
    doc.outlier.latency_factor = 3;
    add_members(2);
    tick();
    meet_many(0, 97, UP_END_ok, 4);
    meet_many(0, 3, UP_END_ok, 900); /* a pause: a mean of 31 ms */
    meet_many(1, 100, UP_END_ok, 4);
    pass(100);
    expect(0, UP_UP, "", 1000);
    meet_many(0, 10, UP_END_ok, 900);
    pass(100);
    expect(0, UP_EJECTED, "27.5 times the pool's median latency", 0);
}

static void what_an_endpoint_met_before_it_was_ejected_is_forgotten(void **unused)
{
    (void)unused;
    doc.outlier.eject_ms = 1000;
    add_members(2);
    tick();
    meet_many(0, 40, UP_END_error, 1);
    pass(100);
    assert_int_equal(members[0].endpoint->state, UP_EJECTED);
    meet_many(0, 3, UP_END_error, 1); /* these were under way */
    pass(1000);
    expect(0, UP_UP, "", 1000);
    meet_many(0, 4, UP_END_error, 1);
    pass(2000);
    expect(0, UP_UP, "", 1000);
}

static void each_ejection_in_a_row_is_longer_and_good_times_make_it_short_again(void **unused)
{
    (void)unused;
    add_members(2);
    tick();
    for (int64_t times = 1; times <= 35; times++) {
        meet_many(0, 5, UP_END_reset, 0);
        pass(100);
        int64_t out_ms = 10000 * (times < 30 ? times : 30);
        pass(out_ms - 100);
        assert_int_equal(members[0].endpoint->state, UP_EJECTED);
        pass(100);
        assert_int_equal(members[0].endpoint->state, UP_UP);
    }
    pass(300100);
    meet_many(0, 5, UP_END_reset, 0);
    pass(100);
    pass(10000);
    assert_int_equal(members[0].endpoint->state, UP_UP);
}

static void at_most_a_share_is_ejected_and_never_all(void **unused)
{
    (void)unused;
    const struct {
        size_t members;
        double share;
        size_t most;
    } rows[] = {{1, 1, 0},   {2, 0.5, 1}, {2, 0.1, 1}, {2, 1, 1},    {3, 0.5, 1},
                {4, 0.5, 2}, {4, 0, 0},   {4, 1, 3},   {10, 0.3, 3}, {10, 0.01, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        doc.outlier.ejected_share_max = rows[i].share;
        assert_int_equal(up_outlier_most(&doc, rows[i].members), rows[i].most);
        add_members(rows[i].members);
        tick();
        for (int k = 0; k < 5; k++) {
            for (size_t m = 0; m < rows[i].members; m++)
                meet_many(m, 5, UP_END_refused, 0);
            pass(1000);
            assert_int_equal(count_state(UP_EJECTED), rows[i].most);
        }
        (void)tear_down(NULL);
    }
}

static void the_last_one_that_is_used_is_not_ejected(void **unused)
{
    (void)unused;
    add_members(4);
    tick();
    for (size_t i = 0; i < 3; i++)
        fail_check(i, "connection refused");
    meet_many(3, 50, UP_END_error, 1);
    pass(1000);
    assert_int_equal(members[3].endpoint->state, UP_UP);
    doc.outlier.ejected_share_max = 1; /* now one of two may go, and both deserve it */
    doc.outlier.success_share_min = 0;
    pass_check(2);
    meet(3, 0, UP_END_ok, 1);
    pass(100);
    assert_int_equal(count_state(UP_UP), 2);
    meet_many(2, 5, UP_END_error, 1);
    meet_many(3, 5, UP_END_error, 1);
    pass(100);
    assert_int_equal(count_state(UP_EJECTED), 1);
    assert_int_equal(count_state(UP_UP), 1);
}

/* --- checks --- */

static void a_failing_check_takes_an_endpoint_down_until_it_passes(void **unused)
{
    (void)unused;
    add_members(3);
    pass_check(0);
    tick();
    expect(0, UP_UP, "", 1000);
    fail_check(0, "status 503");
    pass(100);
    expect(0, UP_DOWN, "check: status 503", 0);
    int64_t since_ms = now_ms;
    fail_check(0, "connection refused");
    pass(100);
    expect(0, UP_DOWN, "check: connection refused", 0);
    assert_int_equal(members[0].endpoint->since_ms, since_ms);
    meet_many(0, 9, UP_END_error, 0); /* these were under way */
    pass_check(0);
    pass(100);
    expect(0, UP_UP, "", 1000);
    assert_int_equal(members[0].endpoint->since_ms, now_ms);
}

static void a_pool_can_be_judged_without_checks(void **unused)
{
    (void)unused;
    add_members(2);
    up_judge_tick(&view, NULL, now_ms * MS, now_ms);
    expect(1, UP_UP, "", 1000);
}

/* --- panic --- */

static void a_pool_in_panic_uses_all_but_those_that_are_drained(void **unused)
{
    (void)unused;
    doc.slow_start_ms = 60000;
    add_members(5);
    members[4].as.drain = true;
    tick();
    fail_check(0, "status 500");
    fail_check(1, "status 500");
    pass(100);
    assert_false(pool.panic);
    expect(0, UP_DOWN, "check: status 500", 0);
    fail_check(2, "status 500");
    pass(100); /* one of four */
    assert_true(pool.panic);
    assert_int_equal(pool.panic_since_ms, now_ms);
    for (size_t i = 0; i < 3; i++)
        expect(i, UP_DOWN, "check: status 500", 1000);
    expect(3, UP_UP, "", 1000);
    expect(4, UP_DRAINING, "drained by its document", 0);
    pass_check(2);
    pass(100);
    assert_false(pool.panic);
    expect(0, UP_DOWN, "check: status 500", 0);
    expect(2, UP_SLOW_START, "", 100);
}

static void all_down_is_panic_unless_the_document_says_never(void **unused)
{
    (void)unused;
    add_members(2);
    tick();
    fail_check(0, "timeout");
    fail_check(1, "timeout");
    pass(100);
    assert_true(pool.panic);
    expect(0, UP_DOWN, "check: timeout", 1000);
    doc.panic_share = 0;
    pass(100);
    assert_false(pool.panic);
    expect(0, UP_DOWN, "check: timeout", 0);
}

static void drained_endpoints_are_no_reason_for_panic(void **unused)
{
    (void)unused;
    add_members(4);
    for (size_t i = 0; i < 3; i++)
        members[i].as.drain = true;
    pass(1000);
    assert_false(pool.panic);
    for (size_t i = 0; i < 4; i++)
        members[i].as.drain = true;
    pass(1000);
    assert_false(pool.panic);
}

/* --- slow start --- */

static void an_endpoint_that_is_back_starts_slowly(void **unused)
{
    (void)unused;
    doc.slow_start_ms = 10000;
    add_members(2);
    add_member(3);
    tick();
    expect(2, UP_UP, "", 3000); /* all are new */
    fail_check(2, "status 503");
    pass(100);
    pass_check(2);
    pass(100);
    expect(2, UP_SLOW_START, "", 300);
    int64_t since_ms = now_ms;
    for (int i = 1; i < 100; i++) {
        pass(100);
        assert_in_range(members[2].endpoint->weight, 300 + 27 * i - 1, 300 + 27 * i);
        assert_int_equal(members[2].endpoint->state, UP_SLOW_START);
        assert_int_equal(members[2].endpoint->since_ms, since_ms);
    }
    pass(100);
    expect(2, UP_UP, "", 3000);
}

static void an_endpoint_that_is_new_beside_others_starts_slowly(void **unused)
{
    (void)unused;
    doc.slow_start_ms = 10000;
    add_members(2);
    pass(1000);
    add_members(1);
    tick();
    expect(1, UP_UP, "", 1000);
    expect(2, UP_SLOW_START, "", 100);
    pass(5000);
    expect(2, UP_SLOW_START, "", 550);
    doc.slow_start_ms = 0;
    pass(100);
    expect(2, UP_UP, "", 1000);
}

static void an_outlier_in_slow_start_is_ejected_and_starts_again(void **unused)
{
    (void)unused;
    doc.slow_start_ms = 10000;
    add_members(3);
    pass(1000);
    meet_many(0, 5, UP_END_reset, 0);
    pass(100);
    pass(15000);
    expect(0, UP_SLOW_START, "", 550);
    meet_many(0, 5, UP_END_reset, 0);
    pass(100);
    expect(0, UP_EJECTED, "5 errors in a row", 0);
    pass(20000);
    expect(0, UP_SLOW_START, "", 100);
}

/* --- drain and weights --- */

static void a_drained_endpoint_gets_nothing_new_and_is_cut_after_its_time(void **unused)
{
    (void)unused;
    add_members(2);
    pass(1000);
    members[0].as.drain = true;
    pass(100);
    expect(0, UP_DRAINING, "drained by its document", 0);
    fail_check(0, "connection refused"); /* it is being stopped */
    pass(29900);
    expect(0, UP_DRAINING, "drained by its document", 0);
    assert_false(members[0].endpoint->cut);
    pass(100);
    assert_true(members[0].endpoint->cut);
    members[0].as.drain = false;
    pass_check(0);
    pass(100);
    expect(0, UP_UP, "", 1000);
    assert_false(members[0].endpoint->cut);
    members[0].as.drain = true;
    pass(100);
    assert_false(members[0].endpoint->cut);
}

static void the_weight_of_the_document_is_published_at_the_next_tick(void **unused)
{
    (void)unused;
    add_members(1);
    add_member(0);
    add_member(1000);
    tick();
    expect(0, UP_UP, "", 1000);
    expect(1, UP_UP, "", 0);
    expect(2, UP_UP, "", 1000000);
    members[0].as.weight = 7;
    tick();
    expect(0, UP_UP, "", 7000);
}

static void after_a_pause_of_the_judge_errors_are_old_unless_they_are_in_a_row(void **unused)
{
    (void)unused;
    add_members(4);
    tick();
    meet_many(0, 30, UP_END_error, 1);
    meet(0, 0, UP_END_ok, 1);
    meet_many(1, 30, UP_END_error, 1);
    now_ms += 3600000;
    tick();
    expect(0, UP_UP, "", 1000);
    expect(1, UP_EJECTED, "30 errors in a row", 0);
    now_ms += 3600000;
    tick();
    expect(1, UP_UP, "", 1000);
}

/* --- figures --- */

static void figures_are_summed_over_workers_and_give_mean_and_quantiles(void **unused)
{
    (void)unused;
    struct up_figures figures;
    add_members(1);
    up_figures_read(members[0].endpoint, &figures);
    assert_true(up_figures_mean_ns(&figures) <= 0 &&
                ps_times_quantile_ns(&figures.times, 0.5) == 0);
    meet_many(0, 98, UP_END_ok, 4);
    meet(0, 0, UP_END_error, 200);
    meet(0, 1, UP_END_ok, 9000);
    meet(0, 1, UP_END_late, 0);
    meet(0, 1, UP_END_gone_waiting, 0);
    up_figures_read(members[0].endpoint, &figures);
    assert_int_equal(figures.answers, 101);
    assert_int_equal(figures.failures, 2);
    assert_in_range(up_figures_mean_ns(&figures), 95.9 * MS, 96 * MS);
    assert_in_range(ps_times_quantile_ns(&figures.times, 0.5), 3.7 * MS, 4.3 * MS);
    assert_in_range(ps_times_quantile_ns(&figures.times, 0.99), 187 * MS, 213 * MS);
    assert_in_range(ps_times_quantile_ns(&figures.times, 1), 8430 * MS, 9570 * MS);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null < 0 || ps_log_start(null, PS_LOG_INFO) < 0)
        return 1;
    const struct CMUnitTest tests[] = {
        T(errors_in_a_row_eject_an_endpoint_for_a_while),
        T(each_failure_counts_and_a_success_in_between_saves),
        T(too_many_errors_of_enough_answers_eject_an_endpoint),
        T(errors_are_forgotten_after_10_s),
        T(an_endpoint_far_slower_than_the_pools_median_is_ejected),
        T(a_few_slow_answers_of_many_do_not_make_an_outlier),
        T(what_an_endpoint_met_before_it_was_ejected_is_forgotten),
        T(each_ejection_in_a_row_is_longer_and_good_times_make_it_short_again),
        T(at_most_a_share_is_ejected_and_never_all),
        T(the_last_one_that_is_used_is_not_ejected),
        T(a_failing_check_takes_an_endpoint_down_until_it_passes),
        T(a_pool_can_be_judged_without_checks),
        T(a_pool_in_panic_uses_all_but_those_that_are_drained),
        T(all_down_is_panic_unless_the_document_says_never),
        T(drained_endpoints_are_no_reason_for_panic),
        T(an_endpoint_that_is_back_starts_slowly),
        T(an_endpoint_that_is_new_beside_others_starts_slowly),
        T(an_outlier_in_slow_start_is_ejected_and_starts_again),
        T(a_drained_endpoint_gets_nothing_new_and_is_cut_after_its_time),
        T(the_weight_of_the_document_is_published_at_the_next_tick),
        T(after_a_pause_of_the_judge_errors_are_old_unless_they_are_in_a_row),
        T(figures_are_summed_over_workers_and_give_mean_and_quantiles),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ps_log_stop();
    close(null);
    return failed;
}
