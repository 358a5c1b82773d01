/* The adaptive limit before a service in virtual time: callers at random moments, and a server
 * that takes rounds of up to `batch` calls, each round as long as `round_ns`, give or take a fifth;
 * an answer travels `way_ns` more. That is the order log (a commit) and Redis (a script call). */
#include "check.h"
#include "common/adaptive_limit.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#define MS(x)       ((int64_t)((x)*1e6))
#define CALLERS_MAX 4
#define CALLS_MAX   (1 << 16)

struct call {
    int64_t began_ns, done_ns;
    int caller;
};

static struct model {
    /* the service, which a test may change at any moment */
    int64_t round_ns, way_ns;
    uint32_t batch;
    /* who calls it */
    int callers;
    double rate[CALLERS_MAX]; /* calls a second */
    struct ps_adaptive_limit limit[CALLERS_MAX];
    /* private */
    uint64_t random;
    int64_t now_ns, arrival_ns[CALLERS_MAX], round_end_ns;
    struct call waiting[CALLS_MAX], travelling[CALLS_MAX]; /* rings */
    size_t waiting_head, waiting_tail, travelling_head, travelling_tail, in_round;
} model;

/* What one stretch of time has shown. */
struct seen {
    double offered, refused, rate; /* rate: answers a second */
    double own_rate[CALLERS_MAX];
    double p50_ms, p99_ms;
    uint32_t limit_min, limit_max; /* of all callers together */
};

static double draw(void)
{
    model.random ^= model.random << 13;
    model.random ^= model.random >> 7;
    model.random ^= model.random << 17;
    return (double)(model.random >> 11) / 9007199254740992.0;
}

static int64_t next_arrival(int caller)
{
    return model.rate[caller] > 0
               ? model.now_ns + (int64_t)(-log(1 - draw()) / model.rate[caller] * 1e9)
               : INT64_MAX;
}

static void start(int callers, uint32_t batch, int64_t round_ns, int64_t way_ns)
{
    memset(&model, 0, sizeof model);
    model.random = 88172645463325252U;
    model.callers = callers;
    model.batch = batch;
    model.round_ns = round_ns;
    model.way_ns = way_ns;
    model.round_end_ns = INT64_MAX;
    for (int i = 0; i < callers; i++) {
        const struct ps_adaptive_limit_settings settings = {
            .floor = 8,
            .ceiling = 8192,
            .initial = (8 * batch + (uint32_t)callers - 1) / (uint32_t)callers,
            .target_ns = MS(30),
            .timeout_ns = MS(500)};
        ps_adaptive_limit_init(&model.limit[i], &settings);
        model.arrival_ns[i] = INT64_MAX;
    }
}

static void offer(double rate)
{
    for (int i = 0; i < model.callers; i++) {
        model.rate[i] = rate / model.callers;
        model.arrival_ns[i] = next_arrival(i);
    }
}

static size_t depth(size_t head, size_t tail)
{
    return tail - head;
}

static void start_round(void)
{
    size_t waiting = depth(model.waiting_head, model.waiting_tail);

    if (model.in_round > 0 || waiting == 0)
        return;
    model.in_round = waiting < model.batch ? waiting : model.batch;
    model.round_end_ns = model.now_ns + (int64_t)((double)model.round_ns * (0.8 + 0.4 * draw()));
}

static void end_round(void)
{
    for (; model.in_round > 0; model.in_round--) {
        struct call call = model.waiting[model.waiting_head++ % CALLS_MAX];
        call.done_ns = model.now_ns + model.way_ns;
        model.travelling[model.travelling_tail++ % CALLS_MAX] = call;
    }
    model.round_end_ns = INT64_MAX;
    start_round();
}

static int by_size(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static uint32_t limits(void)
{
    uint32_t sum = 0;
    for (int i = 0; i < model.callers; i++)
        sum += model.limit[i].limit;
    return sum;
}

/* The model lives on for so long. */
static struct seen run(double seconds)
{
    static int64_t latency[1 << 21];
    size_t count = 0;
    int64_t end_ns = model.now_ns + (int64_t)(seconds * 1e9);
    struct seen seen = {.limit_min = UINT32_MAX};

    for (;;) {
        int64_t next = model.round_end_ns, answer = INT64_MAX;
        int who = -1;
        for (int i = 0; i < model.callers; i++)
            if (model.arrival_ns[i] < next)
                next = model.arrival_ns[who = i];
        if (model.travelling_head != model.travelling_tail)
            answer = model.travelling[model.travelling_head % CALLS_MAX].done_ns;
        if (answer > end_ns && next > end_ns)
            break;
        if (answer <= next) {
            const struct call *call = &model.travelling[model.travelling_head++ % CALLS_MAX];
            model.now_ns = answer > model.now_ns ? answer : model.now_ns;
            ps_adaptive_limit_end(&model.limit[call->caller], call->began_ns, model.now_ns);
            seen.own_rate[call->caller] += 1 / seconds;
            latency[count++] = model.now_ns - call->began_ns;
            uint32_t now = limits();
            seen.limit_min = now < seen.limit_min ? now : seen.limit_min;
            seen.limit_max = now > seen.limit_max ? now : seen.limit_max;
        } else if (who >= 0 && next == model.arrival_ns[who]) {
            model.now_ns = next;
            seen.offered++;
            model.arrival_ns[who] = next_arrival(who);
            if (ps_adaptive_limit_begin(&model.limit[who], next)) {
                model.waiting[model.waiting_tail++ % CALLS_MAX] =
                    (struct call){.began_ns = next, .caller = who};
                start_round();
            } else {
                seen.refused++;
            }
        } else {
            model.now_ns = next;
            end_round();
        }
    }
    model.now_ns = end_ns;
    qsort(latency, count, sizeof *latency, by_size);
    seen.rate = (double)count / seconds;
    if (count > 0) {
        seen.p50_ms = (double)latency[count / 2] / 1e6;
        seen.p99_ms = (double)latency[count * 99 / 100] / 1e6;
    }
    return seen;
}

#define CAPACITY (16 / 0.0059) /* of the journal below: 2,712 a second */

/* A commit takes 5.9 ms and 16 orders: what a disk of 5 ms gives with log.batch_max 16. */
static void start_journal(int callers)
{
    start(callers, 16, MS(5.9), 0);
}

static void assert_between(double value, double least, double most)
{
    if (!(value >= least && value <= most))
        fail_msg("%g is not in %g..%g", value, least, most);
}

static void assert_equal_shares(const struct seen *seen, double most)
{
    for (int i = 1; i < model.callers; i++)
        assert_between(seen->own_rate[i] / seen->own_rate[0], 1 / most, most);
}

/* --- a steady service --- */

static void what_the_service_can_do_is_not_refused(void **state)
{
    (void)state;
    for (int callers = 1; callers <= CALLERS_MAX; callers *= 2) {
        start_journal(callers);
        offer(0.9 * CAPACITY);
        struct seen seen = run(20);
        assert_between(seen.refused / seen.offered, 0, 0.001);
        offer(CAPACITY);
        seen = run(20);
        assert_between(seen.rate, 0.97 * CAPACITY, 1.03 * CAPACITY);
        assert_between(seen.refused / seen.offered, 0, 0.02);
    }
}

static void too_much_costs_neither_throughput_nor_time(void **state)
{
    static const double factors[] = {1.2, 2, 10, 40};
    (void)state;
    for (int callers = 1; callers <= CALLERS_MAX; callers *= 2)
        for (size_t i = 0; i < PS_ARRAY_LEN(factors); i++) {
            start_journal(callers);
            offer(factors[i] * CAPACITY);
            struct seen seen = run(2); /* from the first moment on */
            assert_between(seen.p99_ms, 0, 60);
            seen = run(20);
            assert_between(seen.rate, 0.98 * CAPACITY, 1.03 * CAPACITY);
            assert_between(seen.p50_ms, 25, 40);
            assert_between(seen.p99_ms, 0, 60);
            assert_equal_shares(&seen, 1.6);
        }
}

static void a_small_caller_gets_its_share_beside_a_large_one(void **state)
{
    (void)state;
    start_journal(2);
    offer(0);
    model.rate[0] = 20000;
    model.rate[1] = 1500; /* more than half of the capacity */
    for (int i = 0; i < 2; i++)
        model.arrival_ns[i] = next_arrival(i);
    run(1);
    struct seen seen = run(10);
    assert_between(seen.own_rate[1], 1000, 1500);
    assert_between(seen.rate, 0.98 * CAPACITY, 1.03 * CAPACITY);
}

/* --- one that is not used up --- */

static void a_limit_that_is_not_used_stays_as_it_was(void **state)
{
    (void)state;
    start_journal(2);
    offer(50);
    struct seen seen = run(60);
    assert_int_equal(seen.limit_min, 128);
    assert_int_equal(seen.limit_max, 128);
    offer(0.7 * CAPACITY);
    seen = run(60);
    assert_int_equal(seen.limit_max, 128);
}

static void a_limit_that_was_large_comes_down_to_what_is_used(void **state)
{
    (void)state;
    start(1, 128, MS(0.3), MS(50));
    offer(100000);
    run(4);
    assert_between(limits(), 5000, 8192);
    offer(1000);
    run(2);
    assert_between(limits(), 1024, 1024);
}

static void a_burst_after_silence_is_met_with_room(void **state)
{
    (void)state;
    start(1, 512, MS(1), 0);
    offer(100);
    run(5);
    for (int i = 0; i < 4000; i++)
        assert_true(ps_adaptive_limit_begin(&model.limit[0], model.now_ns));
}

/* OL5: --- one that changes --- */

static void a_service_ten_times_slower_gets_ten_times_less_and_comes_back(void **state)
{
    (void)state;
    for (int callers = 1; callers <= 2; callers++) {
        start_journal(callers);
        offer(10 * CAPACITY);
        run(2);
        model.round_ns *= 10;
        run(2);
        struct seen seen = run(10);
        assert_between(seen.rate, 0.8 * CAPACITY / 10, 1.05 * CAPACITY / 10);
        assert_between(seen.p99_ms, 0, 500);
        model.round_ns /= 10;
        run(6); /* the floor is tried again every 5 s */
        seen = run(10);
        assert_between(seen.rate, 0.95 * CAPACITY, 1.03 * CAPACITY);
        assert_between(seen.p99_ms, 0, 60);
        assert_equal_shares(&seen, 1.6);
    }
}

/* The way became longer, not the queue: refusing more would make nobody faster. */
static void a_service_that_is_far_away_is_used_as_before(void **state)
{
    (void)state;
    start(2, 128, MS(0.3), 0);
    offer(50000);
    run(1);
    model.way_ns = MS(50);
    run(3);
    struct seen seen = run(10);
    assert_between(seen.rate, 0.95 * 50000, 1.05 * 50000);
    assert_between(seen.p99_ms, 50, 60);
    model.way_ns = 0;
    run(6); /* the floor is tried again every 5 s */
    seen = run(10);
    assert_between(seen.refused, 0, 0);
    assert_between(seen.p99_ms, 0, 2);
}

static void what_keeps_up_is_not_refused_however_slow_it_is(void **state)
{
    (void)state;
    for (int way_ms = 20; way_ms <= 400; way_ms += 95) {
        start(1, 128, MS(0.3), 0);
        offer(2000);
        run(2);
        model.way_ns = MS(way_ms);
        assert_between(run(20).refused, 0, 0);
        model.way_ns = 0;
        assert_between(run(20).refused, 0, 0);
    }
}

static void what_would_come_too_late_is_not_asked_for(void **state)
{
    (void)state;
    start_journal(2);
    offer(10 * CAPACITY);
    run(2);
    model.way_ns = MS(520); /* the timeout is 500 ms */
    run(5);
    struct seen seen = run(20);
    assert_between(limits(), 16, 16);
    assert_between(seen.rate, 10, 40);
    model.way_ns = 0;
    run(6); /* the floor is tried again every 5 s */
    seen = run(5);
    assert_between(seen.rate, 0.97 * CAPACITY, 1.03 * CAPACITY);
    assert_between(seen.p99_ms, 0, 60);
}

/* The limit is as high as a fast service allows, and the next moment it does 40 times less: what
 * waits then is what came within few times the target, not what the limit would allow. */
static void a_queue_ends_with_the_time_that_it_took_to_see_it(void **state)
{
    (void)state;
    start(1, 512, MS(1), 0);
    offer(30000);
    run(2);
    assert_int_equal(limits(), 4096);
    model.round_ns = MS(200); /* 2,560 a second */
    model.batch = 512;
    run(0.4);
    assert_between((double)model.limit[0].in_flight, 0, 30000 * 0.31);
    start(1, 512, MS(1), 0);
    offer(30000);
    run(2);
    model.batch = 16;
    model.round_ns = MS(6); /* 2,667 a second */
    run(0.2);
    assert_between((double)model.limit[0].in_flight, 0, 30000 * 0.06);
    run(1);
    assert_between(run(5).p99_ms, 0, 60);
}

static void a_pause_of_a_second_costs_hardly_more_than_itself(void **state)
{
    (void)state;
    start_journal(1);
    offer(10 * CAPACITY);
    run(2);
    model.round_end_ns += PS_NS_PER_S;
    run(1);
    struct seen seen = run(1);
    assert_between(seen.rate, 0.9 * CAPACITY, 1.05 * CAPACITY);
    assert_between(run(5).p99_ms, 0, 60);
}

/* --- call by call --- */

static struct ps_adaptive_limit limit;
static int64_t now_ns;

static void start_calls(void)
{
    static const struct ps_adaptive_limit_settings settings = {
        .floor = 8, .initial = 100, .ceiling = 1000, .target_ns = MS(30), .timeout_ns = MS(500)};
    now_ns = PS_NS_PER_S;
    ps_adaptive_limit_init(&limit, &settings);
}

/* As many as may, each so long. */
static uint32_t call_all(int64_t latency_ns)
{
    uint32_t count = 0;
    int64_t began_ns = now_ns;
    while (ps_adaptive_limit_begin(&limit, now_ns))
        count++;
    now_ns += latency_ns;
    for (uint32_t i = 0; i < count; i++)
        ps_adaptive_limit_end(&limit, began_ns, now_ns);
    assert_int_equal(limit.in_flight, 0);
    return count;
}

static void outliers_pass_unseen(void **state)
{
    (void)state;
    start_calls();
    for (int turn = 0; turn < 1000; turn++) {
        int64_t began_ns = now_ns;
        for (int i = 0; i < 20; i++)
            assert_true(ps_adaptive_limit_begin(&limit, now_ns));
        now_ns += MS(12);
        for (int i = 0; i < 19; i++)
            ps_adaptive_limit_end(&limit, began_ns, now_ns);
        ps_adaptive_limit_end(&limit, began_ns - PS_NS_PER_S, now_ns);
        assert_int_equal(limit.limit, 100);
    }
}

/* What gathered in a pause comes back at once: there is nothing to be drained. */
static void a_pause_is_no_queue(void **state)
{
    int64_t began_ns;
    (void)state;
    start_calls();
    for (int i = 0; i < 20; i++)
        assert_true(ps_adaptive_limit_begin(&limit, now_ns));
    began_ns = now_ns;
    now_ns += MS(5);
    ps_adaptive_limit_end(&limit, began_ns, now_ns);
    for (int i = 0; i < 60; i++)
        assert_true(ps_adaptive_limit_begin(&limit, now_ns += MS(2)));
    for (int i = 0; i < 79; i++)
        ps_adaptive_limit_end(&limit, i < 19 ? began_ns : now_ns - MS(2) * (79 - i), now_ns);
    assert_between(limit.limit, 50, 100);
}

static void a_caller_that_is_late_itself_refuses_nobody_for_that(void **state)
{
    (void)state;
    start_calls();
    ps_adaptive_limit_allow(&limit, MS(150));
    for (int i = 0; i < 20; i++)
        call_all(MS(90));
    assert_int_equal(limit.limit, 1000);
    ps_adaptive_limit_allow(&limit, 0);
    for (int i = 0; i < 20; i++)
        call_all(MS(600));
    assert_int_equal(limit.limit, 8);
}

/* As many as may or fewer, each so long. */
static void call_some(uint32_t count, int64_t latency_ns)
{
    int64_t began_ns = now_ns;
    uint32_t begun = 0;
    while (begun < count && ps_adaptive_limit_begin(&limit, now_ns))
        begun++;
    now_ns += latency_ns;
    for (uint32_t i = 0; i < begun; i++)
        ps_adaptive_limit_end(&limit, began_ns, now_ns);
}

static void what_times_out_brings_a_limit_down_that_was_not_reached(void **state)
{
    (void)state;
    start_calls();
    for (int i = 0; i < 20; i++)
        call_some(60, MS(100));
    assert_int_equal(limit.limit, 100); /* late, and in time */
    ps_adaptive_limit_time_out(&limit, MS(100));
    for (int i = 0; i < 20; i++)
        call_some(60, MS(100));
    assert_in_range(limit.limit, 8, 59);
}

static void it_stays_between_floor_and_ceiling(void **state)
{
    (void)state;
    start_calls();
    for (int i = 0; i < 50; i++)
        call_all(MS(2000));
    assert_int_equal(limit.limit, 8);
    for (int i = 0; i < 50; i++)
        call_all(MS(11));
    assert_int_equal(limit.limit, 1000);
}

static void a_call_that_was_not_made_frees_its_place(void **state)
{
    (void)state;
    start_calls();
    for (int i = 0; i < 100; i++)
        assert_true(ps_adaptive_limit_begin(&limit, now_ns));
    assert_false(ps_adaptive_limit_begin(&limit, now_ns));
    ps_adaptive_limit_drop(&limit);
    assert_true(ps_adaptive_limit_begin(&limit, now_ns));
    assert_int_equal(limit.in_flight, 100);
    assert_int_equal(limit.median_ns, 0);
}

/* As those who ask for what is sold out come and go: they have a place, and then need none. */
static void calls_that_are_not_made_do_not_show_that_the_service_is_slow(void **state)
{
    (void)state;
    start_calls();
    for (uint32_t i = 0; i < 200; i++) {
        uint32_t others = i % 2 == 0 ? 20 : 90;
        int64_t began_ns = now_ns;
        while (limit.in_flight < others)
            assert_true(ps_adaptive_limit_begin(&limit, now_ns));
        while (limit.in_flight > others)
            ps_adaptive_limit_drop(&limit);
        for (int k = 0; k < 10; k++) { /* each of them leaves, and another one comes */
            ps_adaptive_limit_drop(&limit);
            assert_true(ps_adaptive_limit_begin(&limit, now_ns));
        }
        assert_true(ps_adaptive_limit_begin(&limit, now_ns));
        now_ns += MS(20);
        ps_adaptive_limit_end(&limit, began_ns, now_ns);
        assert_true(limit.limit >= 100);
    }
}

static void a_pinned_limit_is_in_force_until_it_is_unpinned(void **state)
{
    (void)state;
    start_calls();
    ps_adaptive_limit_pin(&limit, 20);
    for (int i = 0; i < 20; i++)
        assert_int_equal(call_all(MS(100)), 20);
    assert_between((double)limit.median_ns, 90e6, 110e6);
    ps_adaptive_limit_pin(&limit, 0);
    assert_int_equal(call_all(MS(20)), 8); /* measuring has gone on */
}

/* --- threads --- */

#define THREADS 4
static _Atomic(int) together, most_together;

static void *call_on_and_on(void *arg)
{
    (void)arg;
    for (int i = 0; i < 50000; i++) {
        if (!ps_adaptive_limit_begin(&limit, now_ns + i))
            continue;
        int now = atomic_fetch_add(&together, 1) + 1, most = most_together;
        while (now > most && !atomic_compare_exchange_weak(&most_together, &most, now))
            ;
        atomic_fetch_sub(&together, 1);
        ps_adaptive_limit_drop(&limit);
    }
    return NULL;
}

static void many_threads_never_pass_the_limit(void **state)
{
    pthread_t threads[THREADS];
    (void)state;
    start_calls();
    ps_adaptive_limit_pin(&limit, 2);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, call_on_and_on, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(limit.in_flight, 0);
    assert_true(most_together >= 1 && most_together <= 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_service_can_do_is_not_refused),
        cmocka_unit_test(too_much_costs_neither_throughput_nor_time),
        cmocka_unit_test(a_small_caller_gets_its_share_beside_a_large_one),
        cmocka_unit_test(a_limit_that_is_not_used_stays_as_it_was),
        cmocka_unit_test(a_limit_that_was_large_comes_down_to_what_is_used),
        cmocka_unit_test(a_burst_after_silence_is_met_with_room),
        cmocka_unit_test(a_service_ten_times_slower_gets_ten_times_less_and_comes_back),
        cmocka_unit_test(a_service_that_is_far_away_is_used_as_before),
        cmocka_unit_test(what_keeps_up_is_not_refused_however_slow_it_is),
        cmocka_unit_test(what_would_come_too_late_is_not_asked_for),
        cmocka_unit_test(a_queue_ends_with_the_time_that_it_took_to_see_it),
        cmocka_unit_test(a_pause_of_a_second_costs_hardly_more_than_itself),
        cmocka_unit_test(a_pause_is_no_queue),
        cmocka_unit_test(outliers_pass_unseen),
        cmocka_unit_test(a_caller_that_is_late_itself_refuses_nobody_for_that),
        cmocka_unit_test(what_times_out_brings_a_limit_down_that_was_not_reached),
        cmocka_unit_test(it_stays_between_floor_and_ceiling),
        cmocka_unit_test(a_call_that_was_not_made_frees_its_place),
        cmocka_unit_test(calls_that_are_not_made_do_not_show_that_the_service_is_slow),
        cmocka_unit_test(a_pinned_limit_is_in_force_until_it_is_unpinned),
        cmocka_unit_test(many_threads_never_pass_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
