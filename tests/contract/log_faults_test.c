/* The contract of the order log (queue/log.h) when its disk or its network fails or the process is
 * killed, claim by claim, on every backend. */
#include "tests/contract/log_fixture.h"
#include "common/clock.h"

#include "queue/fold.h"

#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- words for the tests --- */

/* Epoch 1 and the stock of the sale; handles 900 and 901. */
static void append_opening(void)
{
    struct oq_event fence = fenced(1, 1, true);
    struct oq_event stock = adjusted("initial:sale/sku", 1000, 1);
    struct log_hold hold;
    log_hold_well(&hold);
    assert_ok(log_append(&fence, 900));
    assert_ok(log_append(&stock, 901));
    log_let_go(&hold);
    log_watch_wait_outcomes(&watch, 2);
}

static size_t count_records(enum oq_type type, enum oq_reason reason, uint32_t order)
{
    const struct seen_record *record;
    struct ps_uuid id = id_of(order);
    return log_watch_records_of(&watch, type, reason, &id, &record);
}

/* What the fold makes of an order from all that on_record has shown. */
static enum oq_state folded_state(uint32_t order, int64_t *ret_adjustments)
{
    struct oq_fold *fold;
    assert_ok(oq_fold_new(&fold));
    for (size_t i = 0; i < watch.record_count; i++) {
        struct oq_event event;
        struct oq_change change;
        void *owner;
        const char *json = watch.record[i].json;
        assert_ok(oq_event_decode(json, strlen(json), &event, &owner, NULL));
        assert_ok(oq_fold_apply(fold, 0, watch.record[i].seq, &event, &change));
        assert_false(change.anomaly);
        oq_event_release(owner);
    }
    struct ps_uuid id = id_of(order);
    const struct oq_order *found = oq_fold_order(fold, &id);
    assert_non_null(found);
    enum oq_state state = oq_order_state(found);
    struct oq_totals totals;
    oq_sale_totals(oq_fold_sale(fold, "sale", 4), 0, &totals);
    *ret_adjustments = totals.adjustments;
    oq_fold_free(fold);
    return state;
}

/* Taken while all is well; then the fault is there when it is sent. */
static void append_while_it_fails(uint32_t order, void (*fault)(void))
{
    struct log_hold hold;
    log_hold_well(&hold);
    assert_ok(log_append_order(order));
    fault();
    log_let_go(&hold);
}

/* --- when the log is away --- */

static void a_call_runs_also_while_the_log_is_away(void **state)
{
    (void)state;
    log_refuse_order(1);
    log_watch_wait_away(&watch);
    log_pass();
}

static void refused_records_are_never_in_the_log(void **state)
{
    (void)state;
    append_opening();
    struct log_hold hold;
    log_hold_well(&hold);
    for (uint32_t i = 0; i < 5; i++)
        assert_ok(log_append_order(i));
    log_backend->refuse();
    log_let_go(&hold);
    log_watch_wait_outcomes(&watch, 2 + 5);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(log_outcome_of(i), OQ_REFUSED);
    log_watch_wait_away(&watch);
    log_backend->heal();
    log_watch_wait_back(&watch, 2);
    assert_ok(log_append_order(10));
    log_watch_wait_outcomes(&watch, 2 + 5 + 1);
    assert_int_equal(watch.record_count, 3);
    log_restart();
    assert_int_equal(watch.record_count, 3);
    assert_int_equal(count_records(OQ_ACCEPTED, OQ_REASON_NONE, 10), 1);
}

static void a_log_that_is_away_says_so_takes_nothing_and_comes_back_without_traffic(void **state)
{
    (void)state;
    log_refuse_order(1);
    log_watch_wait_away(&watch);
    assert_false(oq_log_available(log_));
    assert_true(strlen(watch.why) > 0);
    for (uint32_t i = 2; i < 10; i++)
        assert_int_equal(log_append_order(i), PS_E_CLOSED);
    log_backend->heal();
    log_watch_wait_back(&watch, 2);
    assert_string_equal(watch.why, "");
    assert_true(oq_log_available(log_));
    assert_ok(log_append_order(20));
    log_watch_wait_outcomes(&watch, 2);
    log_pass();
    assert_int_equal(watch.outcome_count, 2);
    assert_int_equal(log_outcome_of(1), OQ_REFUSED);
    assert_int_equal(log_outcome_of(20), OQ_LANDED);
}

static size_t count_closings(const char *adjust_key)
{
    size_t count = 0;
    for (size_t i = 0; i < watch.record_count; i++)
        if (watch.record[i].type == OQ_RELEASED &&
            strcmp(watch.record[i].adjust_key, adjust_key) == 0) {
            assert_non_null(strstr(watch.record[i].json, "\"quantity\":3"));
            count++;
        }
    return count;
}

/* Records that Kafka has twice, word for word (queue/log.h): one that a slow broker wrote after the
 * log had looked for it was sent again. */
static size_t count_repeated(void)
{
    size_t count = 0;
    for (size_t i = 0; log_backend->sends_again && i < watch.record_count; i++) {
        size_t first = 0;
        while (strcmp(watch.record[first].json, watch.record[i].json) != 0)
            first++;
        count += first < i;
    }
    return count;
}

/* The order and the two adjustments stand in the log after the opening (`there`), and each that
 * took units has a closing record behind it (`closed`). */
static void assert_ended(bool there, bool closed)
{
    int64_t adjustments;
    size_t records = 2 + (there ? 3U : 0) + (closed ? 2U : 0);
    log_watch_wait_records(&watch, records);
    log_pass();
    assert_int_equal(watch.record_count - count_repeated(), records);
    assert_int_equal(count_records(OQ_ACCEPTED, OQ_REASON_NONE, 1) > 0, there);
    assert_int_equal(count_records(OQ_RELEASED, OQ_REJECTED, 1), closed ? 1 : 0);
    assert_int_equal(count_closings("adjust:sale/less"), closed ? 1 : 0);
    if (there)
        assert_int_equal(watch.record[2].type, OQ_ACCEPTED);
    assert_int_equal(folded_state(1, &adjustments), there ? OQ_STATE_ACCEPTED : OQ_STATE_VOID);
    assert_int_equal(adjustments, there ? 1000 - 3 + 4 : 1000);
}

/* One batch of unknown outcome: an order, a lowering, and a raising that needs no closing. */
static void append_unknown(void (*fault)(void))
{
    append_opening();
    struct log_hold hold;
    struct oq_event lowering = adjusted("adjust:sale/less", -3, 1);
    struct oq_event raising = adjusted("adjust:sale/more", 4, 1);
    log_hold_well(&hold);
    assert_ok(log_append_order(1));
    assert_ok(log_append(&lowering, 2));
    assert_ok(log_append(&raising, 3));
    fault();
    log_let_go(&hold);
    log_watch_wait_outcomes(&watch, 2 + 3);
    for (uint64_t handle = 1; handle <= 3; handle++)
        assert_int_equal(log_outcome_of(handle), OQ_UNKNOWN);
    log_backend->heal();
    log_watch_wait_back(&watch, 2);
    log_pass();
    assert_int_equal(watch.outcome_count, 2 + 3);
}

static void an_unknown_order_that_was_lost_is_closed_by_a_record(void **state)
{
    (void)state;
    append_unknown(log_backend->lose_one);
    assert_ended(log_backend->sends_again, !log_backend->sends_again);
    log_restart();
    assert_ended(log_backend->sends_again, !log_backend->sends_again);
}

static void an_unknown_order_that_comes_back_stands_before_its_closing_record(void **state)
{
    (void)state;
    append_unknown(log_backend->hide_one);
    assert_ended(true, !log_backend->sends_again);
    log_restart();
    assert_ended(true, !log_backend->sends_again);
}

static void the_view_does_not_pass_a_record_of_unknown_outcome(void **state)
{
    (void)state;
    struct oq_log_view view;
    append_while_it_fails(1, log_backend->hide_one);
    log_watch_wait_outcomes(&watch, 1);
    assert_int_equal(log_outcome_of(1), OQ_UNKNOWN);
    int64_t unknown_ns = ps_clock_mono_ns(&ps_clock_system);
    log_watch_wait_away(&watch);
    oq_log_view(log_, &view);
    assert_int_equal(view.state, OQ_LOG_AWAY);
    assert_true(view.reached_ns < unknown_ns);
    log_backend->heal();
    log_watch_wait_back(&watch, 2);
    log_wait_reached(unknown_ns);
    assert_true(watch.record_count >= 1);
}

/* What was seen before a restart is seen again in the same order. What comes besides is a record
 * that Kafka has twice, word for word (queue/log.h). */
static void assert_same_records(const struct log_watch *before, const struct log_watch *now)
{
    size_t same = 0;
    for (size_t i = 0; i < now->record_count; i++) {
        const char *json = now->record[i].json;
        if (same < before->record_count && strcmp(before->record[same].json, json) == 0) {
            assert_true(now->record[i].seq == before->record[same].seq);
            same++;
            continue;
        }
        size_t first = 0;
        while (strcmp(now->record[first].json, json) != 0)
            first++;
        assert_true(log_backend->sends_again && first < i);
    }
    assert_int_equal(same, before->record_count);
}

/* A busy machine may not even send a record within its deadline: then it is refused. */
static size_t count_not_refused(void)
{
    size_t count = 0;
    for (size_t i = 0; i < watch.outcome_count; i++)
        count += watch.outcome[i].outcome != OQ_REFUSED;
    return count;
}

static void every_sequence_is_seen_once_over_many_failures(void **state)
{
    (void)state;
    append_opening();
    uint32_t order = 100;
    size_t outcomes = 2;
    size_t closings = 0; /* beside what they close */
    for (size_t round = 0; round < 4; round++) {
        struct log_hold hold;
        log_hold_well(&hold);
        for (uint32_t i = 0; i < 10; i++)
            assert_ok(log_append_order(order++));
        log_let_go(&hold);
        outcomes += 10;
        log_watch_wait_outcomes(&watch, outcomes);
        bool hides = round % 2 == 1;
        append_while_it_fails(order++, hides ? log_backend->hide_one : log_backend->lose_one);
        closings += hides && !log_backend->sends_again;
        log_watch_wait_outcomes(&watch, ++outcomes);
        log_backend->heal();
        log_watch_wait_records(&watch, count_not_refused() + closings);
        log_watch_wait_back(&watch, 2 * (round + 1));
    }
    log_pass();
    assert_int_equal(watch.outcome_count, outcomes);
    for (size_t i = 1; i < watch.record_count; i++)
        assert_true(watch.record[i].seq > watch.record[i - 1].seq);
    struct log_watch before = watch;
    log_stop();
    log_start();
    assert_same_records(&before, &watch);
    log_watch_done(&before);
    struct oq_log_stats stats;
    oq_log_stats(log_, &stats);
    assert_int_equal(stats.landed, 0);
}

/* --- kill --- */

static void report_landed(const struct oq_ticket *of, const struct oq_event *event,
                          enum oq_outcome outcome, int64_t seq, void *ctx)
{
    int pipe_end = *(const int *)ctx;
    (void)event;
    (void)seq;
    uint32_t number = (uint32_t)of->handle;
    if (outcome != OQ_LANDED || write(pipe_end, &number, sizeof number) != sizeof number)
        _exit(3);
}

static void ignore_record(uint32_t partition, int64_t seq, const struct oq_event *event, void *ctx)
{
    (void)partition;
    (void)seq;
    (void)event;
    (void)ctx;
}

/* A process that appends orders from `first` on until it is killed; also while a busy machine looks
 * like a Kafka that is away. */
static void append_until_killed(int pipe_end, uint32_t first)
{
    struct oq_log_callbacks callbacks = {
        .on_record = ignore_record, .on_outcome = report_landed, .ctx = &pipe_end};
    log_patient = true;
    if (log_backend->open(log_dir, &callbacks, &log_) != 0)
        _exit(2);
    int64_t taken_ns = ps_clock_mono_ns(&ps_clock_system);
    for (uint32_t number = first;;) {
        int err = log_append_order(number);
        int64_t now_ns = ps_clock_mono_ns(&ps_clock_system);
        if (err == 0) {
            number++;
            taken_ns = now_ns;
        } else if ((err != PS_E_FULL && err != PS_E_CLOSED) ||
                   now_ns - taken_ns > PATIENCE * PS_NS_PER_MS) {
            _exit(4);
        } else {
            sched_yield();
        }
    }
}

static void what_landed_survives_a_kill_and_is_there_once(void **state)
{
    (void)state;
    enum { ROUNDS = 5, MOST = 200000 };
    static bool landed[ROUNDS * MOST];
    static uint8_t seen[ROUNDS * MOST];
    memset(landed, 0, sizeof landed);
    memset(seen, 0, sizeof seen);
    log_stop();
    log_watch_done(&watch);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        int ends[2];
        assert_ok(pipe(ends));
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            close(ends[0]);
            append_until_killed(ends[1], round * MOST);
        }
        close(ends[1]);
        uint32_t number;
        size_t count = 0;
        while (read(ends[0], &number, sizeof number) == sizeof number) {
            assert_in_range(number, round * MOST, (round + 1) * MOST - 1);
            landed[number] = true;
            if (++count == 300 + round * 77)
                kill(child, SIGKILL);
        }
        close(ends[0]);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        assert_true(count >= 300);
    }
    log_start();
    for (size_t i = 0; i < watch.record_count; i++) {
        uint32_t number;
        memcpy(&number, watch.record[i].order_id.byte + 12, sizeof number);
        assert_in_range(number, 0, ROUNDS * MOST - 1);
        seen[number]++;
        if (i > 0)
            assert_true(watch.record[i].seq > watch.record[i - 1].seq);
    }
    for (size_t number = 0; number < ROUNDS * MOST; number++) {
        assert_true(seen[number] <= 1);
        assert_true(!landed[number] || seen[number] == 1);
    }
}

static int run(const char *name)
{
    const struct CMUnitTest tests[] = {
        CLAIM(a_call_runs_also_while_the_log_is_away),
        CLAIM(an_unknown_order_that_was_lost_is_closed_by_a_record),
        CLAIM(an_unknown_order_that_comes_back_stands_before_its_closing_record),
        CLAIM(the_view_does_not_pass_a_record_of_unknown_outcome),
        CLAIM(every_sequence_is_seen_once_over_many_failures),
        CLAIM(what_landed_survives_a_kill_and_is_there_once),
    };
    /* In place of these: log_spill_test.c. */
    const struct CMUnitTest without_spill[] = {
        CLAIM(refused_records_are_never_in_the_log),
        CLAIM(a_log_that_is_away_says_so_takes_nothing_and_comes_back_without_traffic),
    };
    int failed = cmocka_run_group_tests_name(name, tests, NULL, NULL);
    if (!log_backend->spills)
        failed += cmocka_run_group_tests_name(name, without_spill, NULL, NULL);
    return failed;
}

int main(void)
{
    return log_run_on_every_backend(run);
}
