/* The contract of the order log (queue/log.h), claim by claim, on every backend of the table at the
 * end. Each test has a log of its own in a directory of its own, and writes down all it reports. */
#include "tests/unit/check.h"

#include "queue/fold.h"
#include "queue/log_journal.h"
#include "tests/contract/faulty_vfs.h"
#include "tests/contract/log_watch.h"
#include "tests/unit/records.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define CAPACITY 64
#define BATCH    256
#define PATIENCE INT64_C(30000)

struct backend {
    const char *name;
    int (*open)(const char *dir, const struct oq_log_callbacks *callbacks, struct oq_log **ret_log);
    void (*refuse)(void);   /* from now on nothing can be appended, and that is certain */
    void (*lose_one)(void); /* the next batch: outcome unknown; it is not there */
    void (*hide_one)(void); /* the next batch: outcome unknown; it is there after the heal */
    void (*heal)(void);
};
static const struct backend *backend; /* of this run */

static char dir[64];
static struct log_watch watch;
static struct oq_log *log_;

/* --- words for the tests --- */

static void start(void)
{
    log_watch_init(&watch);
    struct oq_log_callbacks callbacks = log_watch_callbacks(&watch);
    assert_ok(backend->open(dir, &callbacks, &log_));
}

static void stop(void)
{
    assert_ok(oq_log_close(log_, PATIENCE));
    oq_log_free(log_);
    log_ = NULL;
}

/* Stops, forgets what was seen, and starts again. */
static void restart(void)
{
    stop();
    log_watch_done(&watch);
    start();
}

static int set_up(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/penstock-log-XXXXXX");
    assert_non_null(mkdtemp(dir));
    start();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    backend->heal();
    stop();
    log_watch_done(&watch);
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command);
}

static struct oq_ticket ticket(uint64_t handle)
{
    return (struct oq_ticket){.owner = 3, .kind = 7, .handle = handle};
}

static int append(const struct oq_event *event, uint64_t handle)
{
    struct oq_ticket of = ticket(handle);
    return oq_log_append(log_, event, &of);
}

static int append_order(uint32_t number)
{
    char user[16];
    snprintf(user, sizeof user, "u%u", number);
    struct oq_event event = accepted(number, 1, user, "", 1);
    return append(&event, number);
}

/* Epoch 1 and the stock of the sale; handles 900 and 901. */
static void append_opening(void)
{
    struct oq_event fence = fenced(1, 1, true);
    struct oq_event stock = adjusted("initial:sale/sku", 1000, 1);
    assert_ok(append(&fence, 900));
    assert_ok(append(&stock, 901));
    log_watch_wait_outcomes(&watch, 2);
}

static enum oq_outcome outcome_of(uint64_t handle)
{
    const struct seen_outcome *outcome;
    assert_int_equal(log_watch_outcomes_of(&watch, handle, &outcome), 1);
    return outcome->outcome;
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

/* Lets the log's thread pass once: what was appended before is done. */
static void pass(void)
{
    struct log_hold hold;
    log_hold(&hold, log_);
    log_let_go(&hold);
}

/* --- appending --- */

static void an_append_lands_once_and_after_its_record(void **state)
{
    (void)state;
    assert_ok(append_order(1));
    log_watch_wait_outcomes(&watch, 1);
    pass();
    assert_int_equal(watch.outcome_count, 1);
    const struct seen_outcome *outcome = &watch.outcome[0];
    assert_int_equal(outcome->outcome, OQ_LANDED);
    assert_int_equal(outcome->ticket.owner, 3);
    assert_int_equal(outcome->ticket.kind, 7);
    assert_int_equal(outcome->ticket.handle, 1);
    assert_int_equal(outcome->records_before, 1);
    assert_int_equal(outcome->seq, watch.record[0].seq);
    assert_int_equal(watch.record_count, 1);
    assert_int_equal(watch.batches, 1);
    assert_true(oq_log_available(log_));
}

static void an_append_takes_a_copy(void **state)
{
    (void)state;
    char user[] = "mallory";
    struct oq_event event = accepted(1, 1, user, "", 1);
    struct log_hold hold;
    log_hold(&hold, log_);
    assert_ok(append(&event, 1));
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
    assert_int_equal(append(&bad, 1), PS_E_INVALID);
    static char much[70000];
    memset(much, 'u', sizeof much - 1);
    bad = confirmed(1);
    bad.user = str(much); /* confirmed has no user */
    assert_int_equal(append(&bad, 2), PS_E_INVALID);
    assert_ok(append_order(3));
    log_watch_wait_outcomes(&watch, 1);
    pass();
    assert_int_equal(watch.outcome_count, 1);
    assert_int_equal(watch.record_count, 1);
    assert_int_equal(outcome_of(3), OQ_LANDED);
}

#define PRODUCERS 3
#define EACH      400

static void *produce(void *arg)
{
    uint32_t producer = *(const uint32_t *)arg;
    for (uint32_t i = 0; i < EACH;) {
        int err = append_order(producer * 1000 + i);
        if (err == 0)
            i++;
        else if (err == PS_E_FULL)
            sched_yield();
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
    pass();
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
    assert_true(stats.commits > 0 && stats.commit_ns_total >= stats.commit_ns_last);
    assert_in_range(stats.backlog_max, 1, CAPACITY);
}

static void a_full_queue_sheds_and_submits_nothing(void **state)
{
    (void)state;
    struct log_hold hold;
    log_hold(&hold, log_);
    uint32_t taken = 0;
    int err;
    while ((err = append_order(taken)) == 0)
        taken++;
    assert_int_equal(err, PS_E_FULL);
    assert_in_range(taken, CAPACITY / 2, CAPACITY);
    assert_int_equal(oq_log_backlog_percent(log_), 100);
    assert_int_equal(append_order(5000), PS_E_FULL);
    log_let_go(&hold);
    log_watch_wait_outcomes(&watch, taken);
    pass();
    assert_int_equal(watch.outcome_count, taken);
    assert_int_equal(watch.record_count, taken);
    assert_ok(append_order(6000));
    log_watch_wait_outcomes(&watch, taken + 1);
    assert_true(oq_log_backlog_percent(log_) < 100);
}

/* --- reading back --- */

static void what_landed_is_read_back_alike_and_in_order(void **state)
{
    (void)state;
    struct oq_event order = accepted(1, 1, "\xc3\xa9lodie\"\\", "key-1", 2);
    order.traceparent = str("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
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
        assert_ok(append(&events[i], i));
    log_watch_wait_outcomes(&watch, count);
    stop();
    struct log_watch before = watch;
    start();
    assert_int_equal(watch.record_count, count);
    assert_int_equal(watch.outcome_count, 0);
    assert_int_equal(watch.batches, 1);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(watch.record[i].seq, before.record[i].seq);
        assert_string_equal(watch.record[i].json, before.record[i].json);
    }
    log_watch_done(&before);
    assert_ok(append_order(9));
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
        int err = append(&event, i);
        if (err == 0)
            i++;
        else
            assert_int_equal(err, PS_E_FULL);
    }
    log_watch_wait_outcomes(&watch, 1500);
    struct oq_reader *reader;
    assert_ok(oq_log_reader_new(log_, &reader));
    static struct reading reading;
    int64_t last = -1;

    reading = (struct reading){0};
    assert_ok(oq_reader_read(reader, 0, 1000, NULL, note_down, &reading, &last));
    assert_int_equal(reading.count, 1000);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(reading.seq[i], watch.record[i].seq);
    assert_string_equal(reading.json, watch.record[999].json);
    assert_int_equal(last, watch.record[999].seq);

    size_t of_other = 0;
    for (int64_t after = 0;; after = last) {
        reading = (struct reading){0};
        assert_ok(oq_reader_read(reader, after, 100, "other", note_down, &reading, &last));
        assert_true(reading.count <= 100);
        of_other += reading.count;
        if (last == after)
            break;
    }
    assert_int_equal(of_other, 500);
    assert_int_equal(last, watch.record[1499].seq);

    reading = (struct reading){.stop = 1, .stop_at = 5};
    assert_ok(oq_reader_read(reader, 0, 10, NULL, note_down, &reading, &last));
    assert_int_equal(reading.count, 5);
    assert_int_equal(last, watch.record[4].seq);
    reading = (struct reading){.stop = PS_E_FULL, .stop_at = 5};
    assert_int_equal(oq_reader_read(reader, 0, 10, NULL, note_down, &reading, &last), PS_E_FULL);

    assert_ok(append_order(7777));
    log_watch_wait_outcomes(&watch, 1501);
    reading = (struct reading){0};
    assert_ok(oq_reader_read(reader, watch.record[1499].seq, 10, NULL, note_down, &reading, &last));
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
        assert_ok(append_order(i));
    assert_ok(oq_log_call(log_, look, &looked));
    for (uint32_t i = 10; i < 20; i++)
        assert_ok(append_order(i));
    log_let_go(&hold);
    log_watch_wait_outcomes(&watch, 20);
    pass();
    assert_int_equal(looked.records, 10);
    assert_int_equal(looked.outcomes, 10);
}

/* --- when the log is away --- */

static void a_call_runs_also_while_the_log_is_away(void **state)
{
    (void)state;
    backend->refuse();
    assert_ok(append_order(1));
    log_watch_wait_away(&watch);
    pass();
}

static void refused_records_are_never_in_the_log(void **state)
{
    (void)state;
    append_opening();
    struct log_hold hold;
    log_hold(&hold, log_);
    for (uint32_t i = 0; i < 5; i++)
        assert_ok(append_order(i));
    backend->refuse();
    log_let_go(&hold);
    log_watch_wait_outcomes(&watch, 2 + 5);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(outcome_of(i), OQ_REFUSED);
    backend->heal();
    log_watch_wait_back(&watch, 2);
    assert_ok(append_order(10));
    log_watch_wait_outcomes(&watch, 2 + 5 + 1);
    assert_int_equal(watch.record_count, 3);
    restart();
    assert_int_equal(watch.record_count, 3);
    assert_int_equal(count_records(OQ_ACCEPTED, OQ_REASON_NONE, 10), 1);
}

static void a_log_that_is_away_says_so_takes_nothing_and_comes_back_without_traffic(void **state)
{
    (void)state;
    backend->refuse();
    assert_ok(append_order(1));
    log_watch_wait_away(&watch);
    assert_false(oq_log_available(log_));
    assert_true(strlen(watch.why) > 0);
    for (uint32_t i = 2; i < 10; i++)
        assert_int_equal(append_order(i), PS_E_CLOSED);
    backend->heal();
    log_watch_wait_back(&watch, 2);
    assert_string_equal(watch.why, "");
    assert_true(oq_log_available(log_));
    assert_ok(append_order(20));
    log_watch_wait_outcomes(&watch, 2);
    pass();
    assert_int_equal(watch.outcome_count, 2);
    assert_int_equal(outcome_of(1), OQ_REFUSED);
    assert_int_equal(outcome_of(20), OQ_LANDED);
}

/* One batch of unknown outcome: an order, a lowering, and records that need no closing. */
static void append_unknown(void (*fault)(void))
{
    append_opening();
    struct log_hold hold;
    struct oq_event lowering = adjusted("adjust:sale/less", -3, 1);
    struct oq_event raising = adjusted("adjust:sale/more", 4, 1);
    log_hold(&hold, log_);
    assert_ok(append_order(1));
    assert_ok(append(&lowering, 2));
    assert_ok(append(&raising, 3));
    fault();
    log_let_go(&hold);
    log_watch_wait_outcomes(&watch, 2 + 3);
    for (uint64_t handle = 1; handle <= 3; handle++)
        assert_int_equal(outcome_of(handle), OQ_UNKNOWN);
    backend->heal();
    log_watch_wait_back(&watch, 2);
    pass();
    assert_int_equal(watch.outcome_count, 2 + 3);
    assert_int_equal(count_records(OQ_RELEASED, OQ_REJECTED, 1), 1);
}

static const struct seen_record *closing_of_lowering(size_t from)
{
    for (size_t i = from; i < watch.record_count; i++)
        if (watch.record[i].type == OQ_RELEASED && watch.record[i].adjust_key[0] != '\0')
            return &watch.record[i];
    return NULL;
}

static void an_unknown_order_that_was_lost_is_closed_by_a_record(void **state)
{
    (void)state;
    append_unknown(backend->lose_one);
    assert_int_equal(watch.record_count, 2 + 2);
    assert_int_equal(count_records(OQ_ACCEPTED, OQ_REASON_NONE, 1), 0);
    const struct seen_record *closing = closing_of_lowering(2);
    assert_non_null(closing);
    assert_string_equal(closing->adjust_key, "adjust:sale/less");
    assert_non_null(strstr(closing->json, "\"quantity\":3"));
    int64_t adjustments;
    assert_int_equal(folded_state(1, &adjustments), OQ_STATE_VOID);
    assert_int_equal(adjustments, 1000);
    restart();
    assert_int_equal(watch.record_count, 2 + 2);
    assert_int_equal(folded_state(1, &adjustments), OQ_STATE_VOID);
}

static void an_unknown_order_that_comes_back_stands_before_its_closing_record(void **state)
{
    (void)state;
    append_unknown(backend->hide_one);
    assert_int_equal(watch.record_count, 2 + 3 + 2);
    assert_int_equal(watch.record[2].type, OQ_ACCEPTED);
    assert_non_null(closing_of_lowering(5));
    int64_t adjustments;
    assert_int_equal(folded_state(1, &adjustments), OQ_STATE_ACCEPTED);
    assert_int_equal(adjustments, 1000 - 3 + 4);
    restart();
    assert_int_equal(watch.record_count, 2 + 3 + 2);
    assert_int_equal(folded_state(1, &adjustments), OQ_STATE_ACCEPTED);
}

static void every_sequence_is_seen_once_over_many_failures(void **state)
{
    (void)state;
    append_opening();
    uint32_t order = 100;
    size_t outcomes = 2;
    for (size_t round = 0; round < 4; round++) {
        for (uint32_t i = 0; i < 10; i++)
            assert_ok(append_order(order++));
        outcomes += 10;
        log_watch_wait_outcomes(&watch, outcomes);
        if (round % 2 == 0)
            backend->lose_one();
        else
            backend->hide_one();
        assert_ok(append_order(order++));
        log_watch_wait_outcomes(&watch, ++outcomes);
        backend->heal();
        log_watch_wait_back(&watch, 2 * (round + 1));
    }
    pass();
    assert_int_equal(watch.outcome_count, outcomes);
    for (size_t i = 1; i < watch.record_count; i++)
        assert_true(watch.record[i].seq > watch.record[i - 1].seq);
    struct log_watch before = watch;
    stop();
    start();
    assert_int_equal(watch.record_count, before.record_count);
    for (size_t i = 0; i < watch.record_count; i++)
        assert_string_equal(watch.record[i].json, before.record[i].json);
    log_watch_done(&before);
    struct oq_log_stats stats;
    oq_log_stats(log_, &stats);
    assert_int_equal(stats.landed, 0);
}

/* --- closing --- */

static void closing_finishes_what_was_taken_and_takes_nothing_more(void **state)
{
    (void)state;
    struct log_hold hold;
    log_hold(&hold, log_);
    for (uint32_t i = 0; i < 30; i++)
        assert_ok(append_order(i));
    log_let_go(&hold);
    assert_ok(oq_log_close(log_, PATIENCE));
    assert_int_equal(watch.outcome_count, 30);
    for (uint32_t i = 0; i < 30; i++)
        assert_int_equal(outcome_of(i), OQ_LANDED);
    assert_int_equal(append_order(40), PS_E_CLOSED);
    struct looked looked = {0};
    assert_int_equal(oq_log_call(log_, look, &looked), PS_E_CLOSED);
    assert_false(oq_log_available(log_));
    assert_ok(oq_log_close(log_, PATIENCE));
    oq_log_free(log_);
    log_watch_done(&watch);
    start();
    assert_int_equal(watch.record_count, 30);
}

/* Within the time that close adds for a slow disk. */
static void *let_go_later(void *hold)
{
    usleep(200000);
    log_let_go(hold);
    return NULL;
}

static void what_is_not_finished_in_time_is_refused(void **state)
{
    (void)state;
    struct log_hold hold;
    log_hold(&hold, log_);
    for (uint32_t i = 0; i < 30; i++)
        assert_ok(append_order(i));
    pthread_t later;
    assert_ok(pthread_create(&later, NULL, let_go_later, &hold));
    assert_ok(oq_log_close(log_, 0));
    pthread_join(later, NULL);
    assert_int_equal(watch.outcome_count, 30);
    for (uint32_t i = 0; i < 30; i++)
        assert_int_equal(outcome_of(i), OQ_REFUSED);
    oq_log_free(log_);
    log_watch_done(&watch);
    start();
    assert_int_equal(watch.record_count, 0);
}

static _Atomic(uint32_t) taken_in_race;

static void *append_until_closed(void *arg)
{
    uint32_t producer = *(const uint32_t *)arg;
    for (uint32_t i = 0;; i++) {
        int err = append_order(producer * 1000000 + i);
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
        restart();
    }
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

/* A process that appends orders from `first` on until it is killed. */
static void append_until_killed(int pipe_end, uint32_t first)
{
    struct oq_log_callbacks callbacks = {
        .on_record = ignore_record, .on_outcome = report_landed, .ctx = &pipe_end};
    if (backend->open(dir, &callbacks, &log_) != 0)
        _exit(2);
    for (uint32_t number = first;;) {
        int err = append_order(number);
        if (err == 0)
            number++;
        else if (err == PS_E_FULL)
            sched_yield();
        else
            _exit(4);
    }
}

static void what_landed_survives_a_kill_and_is_there_once(void **state)
{
    (void)state;
    enum { ROUNDS = 5, MOST = 200000 };
    static bool landed[ROUNDS * MOST];
    stop();
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
    start();
    static uint8_t seen[ROUNDS * MOST];
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

/* --- backends --- */

static int journal_open(const char *in, const struct oq_log_callbacks *callbacks,
                        struct oq_log **ret_log)
{
    char path[96];
    snprintf(path, sizeof path, "%s/journal.db", in);
    const struct oq_journal_settings settings = {.path = path,
                                                 .queue_capacity = CAPACITY,
                                                 .batch_max = BATCH,
                                                 .retry_ms = 10,
                                                 .vfs = FAULTY_VFS,
                                                 .clock = &ps_clock_system};
    struct ps_fault fault = {0};
    int err = oq_journal_open(&settings, callbacks, ret_log, &fault);
    if (err != 0)
        fprintf(stderr, "%s: %s\n", fault.path, fault.text);
    return err;
}

static void journal_refuse(void)
{
    faulty_vfs_fail(FAULTY_WRITE, FAULTY_WAL, SQLITE_FULL, 0, FAULTY_FOR_EVER);
}

/* Only the fsync of the COMMIT fails. The next close drops what is not committed. */
static void journal_lose_one(void)
{
    faulty_vfs_fail(FAULTY_SYNC, FAULTY_WAL, SQLITE_IOERR_FSYNC, 0, 1);
}

static bool hiding;

/* Every fsync fails until the heal: the file is left as a killed process would leave it. */
static void journal_hide_one(void)
{
    hiding = true;
    faulty_vfs_fail(FAULTY_SYNC, FAULTY_ANY, SQLITE_IOERR_FSYNC, 0, FAULTY_FOR_EVER);
}

static void journal_heal(void)
{
    /* What was hidden comes back when the file was closed once without a working fsync. */
    while (hiding && faulty_vfs_hits() < 2)
        usleep(1000);
    hiding = false;
    faulty_vfs_heal();
}

static const struct backend backends[] = {
    {"journal", journal_open, journal_refuse, journal_lose_one, journal_hide_one, journal_heal},
};

#define CLAIM(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
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
        CLAIM(a_call_runs_also_while_the_log_is_away),
        CLAIM(refused_records_are_never_in_the_log),
        CLAIM(a_log_that_is_away_says_so_takes_nothing_and_comes_back_without_traffic),
        CLAIM(an_unknown_order_that_was_lost_is_closed_by_a_record),
        CLAIM(an_unknown_order_that_comes_back_stands_before_its_closing_record),
        CLAIM(every_sequence_is_seen_once_over_many_failures),
        CLAIM(closing_finishes_what_was_taken_and_takes_nothing_more),
        CLAIM(what_is_not_finished_in_time_is_refused),
        CLAIM(what_is_appended_while_closing_has_its_outcome),
        CLAIM(what_landed_survives_a_kill_and_is_there_once),
    };
    faulty_vfs_register();
    int failed = 0;
    for (size_t i = 0; i < PS_ARRAY_LEN(backends); i++) {
        backend = &backends[i];
        failed += cmocka_run_group_tests_name(backend->name, tests, NULL, NULL);
    }
    return failed;
}
