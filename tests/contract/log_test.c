/* The contract of the order log (queue/log.h) as long as nothing fails, claim by claim, on every
 * backend: appending, reading back, calls, closing. */
#include "tests/contract/log_fixture.h"
#include "common/clock.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

/* --- appending --- */

static void an_append_lands_once_and_after_its_record(void **state)
{
    (void)state;
    assert_ok(log_append_order(1));
    log_watch_wait_outcomes(&watch, 1);
    log_pass();
    assert_int_equal(watch.outcome_count, 1);
    const struct seen_outcome *outcome = &watch.outcome[0];
    assert_int_equal(outcome->outcome, OQ_LANDED);
    assert_int_equal(outcome->ticket.owner, 3);
    assert_int_equal(outcome->ticket.kind, 7);
    assert_int_equal(outcome->ticket.handle, 1);
    assert_int_equal(outcome->records_before, 1);
    assert_int_equal(outcome->seq, watch.record[0].seq);
    assert_int_equal(watch.record_count, 1);
    assert_true(oq_log_available(log_));
}

static void an_append_takes_a_copy(void **state)
{
    (void)state;
    char user[] = "mallory";
    struct oq_event event = accepted(1, 1, user, "", 1);
    struct log_hold hold;
    log_hold(&hold, log_);
    assert_ok(log_append(&event, 1));
    memset(user, 'x', sizeof user - 1);
    memset(&event, 0, sizeof event);
    log_let_go(&hold);
    log_watch_wait_outcomes(&watch, 1);
    assert_non_null(strstr(watch.record[0].json, "\"user\":\"mallory\""));
}

static void an_invalid_event_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    struct oq_event bad = accepted(1, 1, "a user with blanks", "", 1);
    assert_int_equal(log_append(&bad, 1), PS_E_INVALID);
    static char much[70000];
    memset(much, 'u', sizeof much - 1);
    bad = confirmed(1);
    bad.user = str(much); /* confirmed has no user */
    assert_int_equal(log_append(&bad, 2), PS_E_INVALID);
    assert_ok(log_append_order(3));
    log_watch_wait_outcomes(&watch, 1);
    log_pass();
    assert_int_equal(watch.outcome_count, 1);
    assert_int_equal(watch.record_count, 1);
    assert_int_equal(log_outcome_of(3), OQ_LANDED);
}

#define PRODUCERS 3
#define EACH      400

static void *produce(void *arg)
{
    uint32_t producer = *(const uint32_t *)arg;
    for (uint32_t i = 0; i < EACH;) {
        int err = log_append_order(producer * 1000 + i);
        if (err == 0)
            i++;
        else if (err == PS_E_FULL)
            usleep(1000); /* a broker on this machine needs the core */
        else
            return arg;
    }
    return NULL;
}

static void records_of_each_thread_land_once_and_in_order(void **state)
{
    (void)state;
    pthread_t thread[PRODUCERS];
    uint32_t name[PRODUCERS];
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        name[i] = i;
        assert_ok(pthread_create(&thread[i], NULL, produce, &name[i]));
    }
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        void *failed = NULL;
        pthread_join(thread[i], &failed);
        assert_null(failed);
    }
    log_watch_wait_outcomes(&watch, (size_t)PRODUCERS * EACH);
    log_pass();
    assert_int_equal(watch.outcome_count, PRODUCERS * EACH);
    assert_int_equal(watch.record_count, PRODUCERS * EACH);
    uint64_t next[PRODUCERS] = {0};
    for (size_t i = 0; i < watch.outcome_count; i++) {
        const struct seen_outcome *outcome = &watch.outcome[i];
        uint64_t producer = outcome->ticket.handle / 1000;
        assert_in_range(producer, 0, PRODUCERS - 1);
        assert_int_equal(outcome->ticket.handle % 1000, next[producer]++);
        assert_int_equal(outcome->outcome, OQ_LANDED);
        assert_int_equal(outcome->records_before, i + 1);
        assert_int_equal(outcome->seq, watch.record[i].seq);
        if (i > 0)
            assert_true(watch.record[i].seq > watch.record[i - 1].seq);
    }
    struct oq_log_stats stats;
    oq_log_stats(log_, &stats);
    assert_int_equal(stats.landed, PRODUCERS * EACH);
    assert_int_equal(stats.appended, PRODUCERS * EACH + stats.backlog);
    assert_true(stats.commits > 0 && stats.commit_durations->cell[PS_METRIC_BOUNDS + 1] > 0);
    assert_in_range(stats.backlog_max, 1, CAPACITY);
}

static void a_full_queue_sheds_and_submits_nothing(void **state)
{
    (void)state;
    struct log_hold hold;
    log_hold(&hold, log_);
    uint32_t taken = 0;
    int err;
    while ((err = log_append_order(taken)) == 0)
        taken++;
    assert_int_equal(err, PS_E_FULL);
    assert_in_range(taken, CAPACITY / 2, CAPACITY);
    assert_int_equal(oq_log_backlog_percent(log_), 100);
    assert_int_equal(log_append_order(5000), PS_E_FULL);
    log_let_go(&hold);
    log_watch_wait_outcomes(&watch, taken);
    log_pass();
    assert_int_equal(watch.outcome_count, taken);
    assert_int_equal(watch.record_count, taken);
    assert_ok(log_append_order(6000));
    log_watch_wait_outcomes(&watch, taken + 1);
    assert_true(oq_log_backlog_percent(log_) < 100);
}

/* --- reading back --- */

static void what_landed_is_read_back_alike_and_in_order(void **state)
{
    (void)state;
    struct oq_event order = accepted(1, 1, "\xc3\xa9lodie\"\\", "key-1", 2);
    order.traceparent = str("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    order.request_id = str("req-\"1\"");
    order.rehearsal = true;
    struct oq_event note = adjusted("adjust:sale/more", 5, 0);
    note.by = str("ops");
    note.note = str("found \"a box\" in the cellar");
    const struct oq_event events[] = {
        fenced(1, 1, true),
        adjusted("initial:sale/sku", 10, 1),
        order,
        note,
        confirmed(1),
        released(1, OQ_EXPIRED),
        released(2, OQ_REJECTED),
        adjusted("adjust:sale/less", -3, 1),
        adjust_rejected("adjust:sale/less", 3),
    };
    size_t count = PS_ARRAY_LEN(events);
    for (size_t i = 0; i < count; i++)
        assert_ok(log_append(&events[i], i));
    log_watch_wait_outcomes(&watch, count);
    log_stop();
    struct log_watch before = watch;
    log_start();
    assert_int_equal(watch.record_count, count);
    assert_int_equal(watch.outcome_count, 0);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(watch.record[i].seq, before.record[i].seq);
        assert_string_equal(watch.record[i].json, before.record[i].json);
    }
    log_watch_done(&before);
    assert_ok(log_append_order(9));
    log_watch_wait_outcomes(&watch, 1);
    assert_true(watch.record[count].seq > watch.record[count - 1].seq);
}

struct reading {
    size_t count, stop_at;
    int stop;
    int64_t seq[2000];
    char json[OQ_EVENT_TEXT_MAX];
};

static int note_down(int64_t seq, struct ps_str json, void *ctx)
{
    struct reading *reading = ctx;
    if (reading->stop != 0 && reading->count == reading->stop_at)
        return reading->stop;
    reading->seq[reading->count++] = seq;
    memcpy(reading->json, json.at, json.len);
    reading->json[json.len] = '\0';
    return 0;
}

static void a_reader_reads_by_sequence_beside_the_running_log(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 1500;) {
        char user[16];
        snprintf(user, sizeof user, "u%u", i);
        struct oq_event event = accepted(i, 1, user, "", 1);
        if (i % 3 == 0)
            event.sale = str("other");
        int err = log_append(&event, i);
        if (err == 0)
            i++;
        else
            assert_int_equal(err, PS_E_FULL);
        if (err == PS_E_FULL)
            usleep(1000);
    }
    log_watch_wait_outcomes(&watch, 1500);
    struct oq_reader *reader;
    assert_ok(oq_log_reader_new(log_, &reader));
    static struct reading reading;
    int64_t last = -1;

    reading = (struct reading){0};
    assert_ok(oq_reader_read(reader, &(struct oq_read){0, 1000, NULL, note_down, &reading}, &last));
    assert_int_equal(reading.count, 1000);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(reading.seq[i], watch.record[i].seq);
    assert_string_equal(reading.json, watch.record[999].json);
    assert_int_equal(last, watch.record[999].seq);

    size_t of_other = 0;
    for (int64_t after = 0;; after = last) {
        reading = (struct reading){0};
        assert_ok(oq_reader_read(
            reader, &(struct oq_read){after, 100, "other", note_down, &reading}, &last));
        assert_true(reading.count <= 100);
        of_other += reading.count;
        if (last == after)
            break;
    }
    assert_int_equal(of_other, 500);
    assert_int_equal(last, watch.record[1499].seq);

    reading = (struct reading){.stop = 1, .stop_at = 5};
    assert_ok(oq_reader_read(reader, &(struct oq_read){0, 10, NULL, note_down, &reading}, &last));
    assert_int_equal(reading.count, 5);
    assert_int_equal(last, watch.record[4].seq);
    reading = (struct reading){.stop = PS_E_FULL, .stop_at = 5};
    assert_int_equal(
        oq_reader_read(reader, &(struct oq_read){0, 10, NULL, note_down, &reading}, &last),
        PS_E_FULL);

    assert_ok(log_append_order(7777));
    log_watch_wait_outcomes(&watch, 1501);
    reading = (struct reading){0};
    assert_ok(oq_reader_read(
        reader, &(struct oq_read){watch.record[1499].seq, 10, NULL, note_down, &reading}, &last));
    assert_int_equal(reading.count, 1);
    oq_reader_free(reader);
}

/* --- calls --- */

struct looked {
    size_t records, outcomes;
};

static void look(void *arg)
{
    struct looked *looked = arg;
    looked->records = watch.record_count;
    looked->outcomes = watch.outcome_count;
}

static void a_call_comes_after_what_was_appended_before_it(void **state)
{
    (void)state;
    struct log_hold hold;
    struct looked looked = {0};
    log_hold(&hold, log_);
    for (uint32_t i = 0; i < 10; i++)
        assert_ok(log_append_order(i));
    assert_ok(oq_log_call(log_, look, &looked));
    for (uint32_t i = 10; i < 20; i++)
        assert_ok(log_append_order(i));
    log_let_go(&hold);
    log_watch_wait_outcomes(&watch, 20);
    log_pass();
    assert_int_equal(looked.records, 10);
    assert_int_equal(looked.outcomes, 10);
}

/* --- closing --- */

static void closing_finishes_what_was_taken_and_takes_nothing_more(void **state)
{
    (void)state;
    struct log_hold hold;
    log_hold(&hold, log_);
    for (uint32_t i = 0; i < 30; i++)
        assert_ok(log_append_order(i));
    log_let_go(&hold);
    assert_ok(oq_log_close(log_, PATIENCE));
    assert_int_equal(watch.outcome_count, 30);
    for (uint32_t i = 0; i < 30; i++)
        assert_int_equal(log_outcome_of(i), OQ_LANDED);
    assert_int_equal(log_append_order(40), PS_E_CLOSED);
    struct looked looked = {0};
    assert_int_equal(oq_log_call(log_, look, &looked), PS_E_CLOSED);
    assert_false(oq_log_available(log_));
    assert_ok(oq_log_close(log_, PATIENCE));
    oq_log_free(log_);
    log_watch_done(&watch);
    log_start();
    assert_int_equal(watch.record_count, 30);
}

static void do_nothing(void *arg)
{
    (void)arg;
}

/* As soon as the close has begun: within the time that it adds for a slow disk. */
static void *let_go_of_closing(void *hold)
{
    while (oq_log_call(log_, do_nothing, NULL) != PS_E_CLOSED)
        usleep(1000);
    log_let_go(hold);
    return NULL;
}

static void what_is_not_finished_in_time_is_refused(void **state)
{
    (void)state;
    struct log_hold hold;
    log_hold(&hold, log_);
    for (uint32_t i = 0; i < 30; i++)
        assert_ok(log_append_order(i));
    pthread_t later;
    assert_ok(pthread_create(&later, NULL, let_go_of_closing, &hold));
    assert_ok(oq_log_close(log_, 0));
    pthread_join(later, NULL);
    assert_int_equal(watch.outcome_count, 30);
    for (uint32_t i = 0; i < 30; i++)
        assert_int_equal(log_outcome_of(i), OQ_REFUSED);
    oq_log_free(log_);
    log_watch_done(&watch);
    log_start();
    assert_int_equal(watch.record_count, 0);
}

static _Atomic(uint32_t) taken_in_race;

static void *append_until_closed(void *arg)
{
    uint32_t producer = *(const uint32_t *)arg;
    for (uint32_t i = 0;; i++) {
        int err = log_append_order(producer * 1000000 + i);
        if (err == PS_E_CLOSED)
            return NULL;
        if (err == 0)
            atomic_fetch_add(&taken_in_race, 1);
        else
            sched_yield();
    }
}

static void what_is_appended_while_closing_has_its_outcome(void **state)
{
    (void)state;
    for (int round = 0; round < 5; round++) {
        atomic_store(&taken_in_race, 0);
        pthread_t thread[PRODUCERS];
        uint32_t name[PRODUCERS];
        for (uint32_t i = 0; i < PRODUCERS; i++) {
            name[i] = i;
            assert_ok(pthread_create(&thread[i], NULL, append_until_closed, &name[i]));
        }
        log_watch_wait_outcomes(&watch, 100);
        assert_ok(oq_log_close(log_, PATIENCE));
        for (uint32_t i = 0; i < PRODUCERS; i++)
            pthread_join(thread[i], NULL);
        assert_int_equal(watch.outcome_count, atomic_load(&taken_in_race));
        log_restart();
    }
}

/* --- its view --- */

static struct oq_log_view view_now(void)
{
    struct oq_log_view view;
    oq_log_view(log_, &view);
    return view;
}

static void the_view_of_a_log_that_works_follows_the_present(void **state)
{
    (void)state;
    assert_ok(log_append_order(1));
    log_watch_wait_outcomes(&watch, 1);
    int64_t landed_ns = ps_clock_mono_ns(&ps_clock_system);
    log_wait_reached(landed_ns);
    struct oq_log_view view = view_now();
    assert_int_equal(view.state, OQ_LOG_WELL);
    assert_true(view.available && view.current);
    assert_int_equal(view.partitions, oq_log_partitions(log_));
    assert_true(view.partitions >= 1);
    assert_int_equal(view.spilled, 0);
    assert_true(view.reached_ns <= ps_clock_mono_ns(&ps_clock_system));
    assert_non_null(view.name);
    assert_true(strlen(view.name) <= OQ_LOG_NAME_MAX);
}

static void a_log_has_the_same_name_when_it_is_opened_again(void **state)
{
    (void)state;
    char name[OQ_LOG_NAME_MAX + 1];
    snprintf(name, sizeof name, "%s", view_now().name);
    log_restart();
    assert_string_equal(view_now().name, name);
}

static void the_view_of_a_closed_log_is_not_current(void **state)
{
    (void)state;
    assert_ok(oq_log_close(log_, PATIENCE));
    struct oq_log_view view = view_now();
    assert_int_equal(view.state, OQ_LOG_CLOSED);
    assert_false(view.available || view.current);
}

static int run(const char *name)
{
    const struct CMUnitTest tests[] = {
        CLAIM(an_append_lands_once_and_after_its_record),
        CLAIM(an_append_takes_a_copy),
        CLAIM(an_invalid_event_is_refused_and_changes_nothing),
        CLAIM(records_of_each_thread_land_once_and_in_order),
        CLAIM(a_full_queue_sheds_and_submits_nothing),
        CLAIM(what_landed_is_read_back_alike_and_in_order),
        CLAIM(a_reader_reads_by_sequence_beside_the_running_log),
        CLAIM(a_call_comes_after_what_was_appended_before_it),
        CLAIM(closing_finishes_what_was_taken_and_takes_nothing_more),
        CLAIM(what_is_not_finished_in_time_is_refused),
        CLAIM(what_is_appended_while_closing_has_its_outcome),
        CLAIM(the_view_of_a_log_that_works_follows_the_present),
        CLAIM(a_log_has_the_same_name_when_it_is_opened_again),
        CLAIM(the_view_of_a_closed_log_is_not_current),
    };
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void)
{
    log_patient = true;
    return log_run_on_every_backend(run);
}
