/* The log in Kafka with a spill beside it, on a real broker behind a proxy that fails. */
#include "queue/log_spill.h"
#include "tests/contract/faulty_vfs.h"
#include "tests/contract/kafka_log.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define OPENING (PARTITIONS + 1) /* records of a sale that begins */
#define AT_REST 0                /* orders in the spill */

static char dir[64];
static char path[96];
static struct gateway gateway;

static int set_up(void **state)
{
    strcpy(dir, "/tmp/penstock-spill-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/spill.db", dir);
    return kafka_set_up(state);
}

static int tear_down(void **state)
{
    char command[128];
    faulty_vfs_heal();
    kafka_tear_down(state);
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command);
}

static int try_with(struct gateway *of, struct oq_kafka_settings kafka, size_t records_max)
{
    const struct oq_spill_settings settings = {.path = path,
                                               .records_max = records_max,
                                               .retry_ms = 20,
                                               .vfs = FAULTY_VFS,
                                               .kafka = &kafka};
    return gateway_try_spill(of, &settings);
}

static void open_with(struct gateway *of, size_t records_max)
{
    int err = try_with(of, kafka_patient(broker.proxied), records_max);
    if (err != 0)
        fprintf(stderr, "%s: %s\n", of->fault.path, of->fault.text);
    assert_ok(err);
    assert_true(oq_log_available(of->log));
}

/* The test's gateway, with a sale. */
static void begin(size_t records_max)
{
    open_with(&gateway, records_max);
    gateway_begin_sale(&gateway);
}

static struct oq_log_view view_of(const struct gateway *of)
{
    struct oq_log_view view;
    oq_log_view(of->log, &view);
    return view;
}

/* Kafka is away, and the log knows it. */
static void cut(struct gateway *of)
{
    kafka_network(&broker, KAFKA_NETWORK_CUT);
    log_watch_wait_away(&of->watch);
    while (view_of(of).state != OQ_LOG_AWAY)
        usleep(1000);
}

static void mend(void)
{
    kafka_network(&broker, KAFKA_NETWORK_WELL);
}

/* As long as it becomes emptier. */
static void wait_drained(const struct gateway *of)
{
    uint64_t least = UINT64_MAX;
    for (int tries = 0; view_of(of).spilled != AT_REST; tries++) {
        uint64_t spilled = view_of(of).spilled;
        if (spilled < least)
            tries = 0;
        least = spilled < least ? spilled : least;
        assert_true(tries < 3000);
        usleep(10000);
    }
}

/* Lets the log's thread pass, so that nothing is being done. */
static void stand_still(struct gateway *of)
{
    struct log_hold hold;
    log_hold(&hold, of->log);
    log_let_go(&hold);
}

/* Until the spill of the test's gateway is empty, and nothing is being done. */
static void drain(void)
{
    wait_drained(&gateway);
    stand_still(&gateway);
}

static int append_order(struct gateway *of, uint32_t number)
{
    char user[16];
    snprintf(user, sizeof user, "u%u", number);
    struct oq_event event = accepted(number, 1, user, "", 1);
    const struct oq_ticket ticket = {.handle = number};
    return oq_log_append(of->log, &event, &ticket);
}

/* Orders first .. first + count - 1, each with an outcome. */
static void spill_orders(struct gateway *of, uint32_t first, uint32_t count)
{
    size_t before = of->watch.outcome_count;
    for (uint32_t i = first; i < first + count;) {
        int err = append_order(of, i);
        if (err == 0)
            i++;
        else
            assert_int_equal(err, PS_E_FULL);
    }
    log_watch_wait_outcomes(&of->watch, before + count);
    for (uint32_t i = first; i < first + count; i++)
        assert_int_equal(gateway_outcome_of(of, i), OQ_SPILLED);
}

static void append_for(uint32_t number, enum oq_outcome outcome)
{
    size_t before = gateway.watch.outcome_count;
    assert_ok(append_order(&gateway, number));
    log_watch_wait_outcomes(&gateway.watch, before + 1);
    assert_int_equal(gateway_outcome_of(&gateway, number), outcome);
}

static size_t times_in_view(struct gateway *of, uint32_t order)
{
    return gateway_count(of, OQ_ACCEPTED, OQ_REASON_NONE, order);
}

/* --- spilling and draining --- */

static void R5_a_spilled_order_is_never_landed_before_the_view(void **state)
{
    (void)state;
    struct oq_log_stats stats;
    begin(100);
    cut(&gateway);
    assert_true(oq_log_available(gateway.log));
    assert_int_equal(view_of(&gateway).state, OQ_LOG_AWAY);
    assert_true(view_of(&gateway).available && view_of(&gateway).shared);
    assert_false(view_of(&gateway).current);
    spill_orders(&gateway, 1, 1);
    assert_int_equal(view_of(&gateway).spilled, 1);
    assert_int_equal(times_in_view(&gateway, 1), 0);
    mend();
    log_watch_wait_records(&gateway.watch, OPENING + 1);
    drain();
    assert_int_equal(times_in_view(&gateway, 1), 1);
    assert_int_equal(gateway_outcome_of(&gateway, 1), OQ_SPILLED); /* the only one */
    oq_log_stats(gateway.log, &stats);
    assert_int_equal(stats.spilled, 1);
    assert_int_equal(stats.landed, OPENING);
    assert_int_equal(stats.refused, 0);
    assert_int_equal(stats.appended - stats.backlog, OPENING + 1);
    gateway_close(&gateway);
}

static void only_orders_are_spilled(void **state)
{
    (void)state;
    const struct oq_ticket ticket = {0};
    begin(100);
    cut(&gateway);
    const struct oq_event others[] = {confirmed(1),
                                      released(1, OQ_EXPIRED),
                                      released(1, OQ_REJECTED),
                                      adjusted("adjust:sale/a", 5, 0),
                                      adjusted("adjust:sale/b", -5, 1),
                                      fenced(2, 3, false)};
    for (size_t i = 0; i < PS_ARRAY_LEN(others); i++)
        assert_int_equal(oq_log_append(gateway.log, &others[i], &ticket), PS_E_CLOSED);
    gateway_close(&gateway);
}

static void a_spilled_order_lands_once_when_the_broker_returns(void **state)
{
    (void)state;
    enum { ORDERS = 3000 };
    static uint32_t last[PARTITIONS];
    memset(last, 0, sizeof last);
    begin(10000);
    cut(&gateway);
    spill_orders(&gateway, 1, ORDERS);
    assert_int_equal(view_of(&gateway).spilled, ORDERS);
    mend();
    log_watch_wait_records(&gateway.watch, OPENING + ORDERS);
    drain();
    assert_int_equal(gateway.watch.record_count, OPENING + ORDERS);
    for (size_t i = OPENING; i < OPENING + ORDERS; i++) {
        const struct seen_record *record = &gateway.watch.record[i];
        uint32_t number;
        memcpy(&number, record->order_id.byte + 12, sizeof number);
        assert_true(number > last[record->partition]); /* in the order of spilling */
        last[record->partition] = number;
    }
    assert_int_equal(gateway.watch.outcome_count, OPENING + ORDERS);
    gateway_close(&gateway);
}

static void a_drain_leaves_room_for_new_orders(void **state)
{
    (void)state;
    enum { ORDERS = 2000 };
    struct oq_kafka_settings kafka = kafka_patient(broker.proxied);
    kafka.queue_capacity = 64;
    assert_ok(try_with(&gateway, kafka, 10000));
    gateway_begin_sale(&gateway);
    cut(&gateway);
    spill_orders(&gateway, 1, ORDERS);
    mend();
    log_watch_wait_back(&gateway.watch, 2);
    for (uint32_t i = 0; i < 30; i++)
        assert_ok(append_order(&gateway, 100000 + i));
    wait_drained(&gateway);
    log_watch_wait_outcomes(&gateway.watch, OPENING + ORDERS + 30);
    stand_still(&gateway);
    for (uint32_t i = 0; i < 30; i++)
        assert_int_equal(gateway_outcome_of(&gateway, 100000 + i), OQ_LANDED);
    gateway_close(&gateway);
}

static void an_order_that_may_be_in_kafka_is_not_spilled(void **state)
{
    (void)state;
    assert_ok(try_with(&gateway, kafka_settings(broker.proxied), 100));
    gateway_begin_sale(&gateway);
    struct log_hold hold;
    gateway_hold_well(&gateway, &hold);
    assert_ok(append_order(&gateway, 1));
    kafka_network(&broker, KAFKA_NETWORK_NO_ANSWERS);
    log_let_go(&hold);
    log_watch_wait_outcomes(&gateway.watch, OPENING + 1);
    assert_int_equal(gateway_outcome_of(&gateway, 1), OQ_UNKNOWN);
    assert_int_equal(view_of(&gateway).spilled, 0);
    mend();
    log_watch_wait_records(&gateway.watch, OPENING + 1);
    gateway_close(&gateway);
}

/* Kafka finds out that it is away only by this order. */
static void an_order_that_is_surely_not_in_kafka_is_spilled(void **state)
{
    (void)state;
    assert_ok(try_with(&gateway, kafka_settings(broker.proxied), 100));
    gateway_begin_sale(&gateway);
    struct log_hold hold;
    gateway_hold_well(&gateway, &hold);
    assert_ok(append_order(&gateway, 1));
    struct oq_event confirm = confirmed(1);
    gateway_append(&gateway, &confirm, 2);
    kafka_network(&broker, KAFKA_NETWORK_CUT);
    log_let_go(&hold);
    log_watch_wait_outcomes(&gateway.watch, OPENING + 2);
    assert_int_equal(gateway_outcome_of(&gateway, 1), OQ_SPILLED);
    assert_int_equal(gateway_outcome_of(&gateway, 2), OQ_REFUSED);
    gateway_close(&gateway);
}

static void note_seen(void *arg)
{
    struct gateway *of = arg;
    of->fault.text[0] = of->watch.outcome_count >= OPENING + 200 ? 'y' : 'n';
}

static void a_call_comes_after_what_was_spilled_before_it(void **state)
{
    (void)state;
    begin(1000);
    cut(&gateway);
    for (uint32_t i = 1; i <= 200; i++)
        assert_ok(append_order(&gateway, i));
    assert_ok(oq_log_call(gateway.log, note_seen, &gateway));
    stand_still(&gateway);
    assert_int_equal(gateway.fault.text[0], 'y');
    gateway_close(&gateway);
}

/* R4, R13: it would be void; so the log tells the buyer. */
static void an_order_of_an_ended_epoch_is_closed_by_a_record_instead_of_drained(void **state)
{
    (void)state;
    static struct gateway rebuilder;
    begin(100);
    gateway_open(&rebuilder, broker.direct);
    cut(&gateway);
    spill_orders(&gateway, 1, 2);
    gateway_fence(&rebuilder, 2, PARTITIONS);
    mend();
    drain();
    for (uint32_t i = 1; i <= 2; i++) {
        assert_int_equal(times_in_view(&gateway, i), 0);
        assert_int_equal(gateway_count(&gateway, OQ_RELEASED, OQ_REJECTED, i), 1);
        assert_int_equal(gateway_state_of(&gateway, i), OQ_STATE_VOID);
    }
    gateway_close(&rebuilder);
    gateway_close(&gateway);
}

static void a_spilled_order_that_others_have_closed_changes_nothing(void **state)
{
    (void)state;
    static struct gateway sweeper;
    begin(100);
    gateway_open(&sweeper, broker.direct);
    cut(&gateway);
    spill_orders(&gateway, 1, 1);
    struct oq_event rejected = released(1, OQ_REJECTED);
    gateway_append(&sweeper, &rejected, 1);
    log_watch_wait_outcomes(&sweeper.watch, 1);
    mend();
    drain();
    assert_int_equal(gateway_state_of(&gateway, 1), OQ_STATE_VOID);
    gateway_close(&sweeper);
    gateway_close(&gateway);
}

/* --- its bounds --- */

static void a_full_spill_refuses_before_anything(void **state)
{
    (void)state;
    begin(3);
    cut(&gateway);
    assert_int_equal(oq_log_backlog_percent(gateway.log), 0);
    for (uint32_t i = 1; i <= 3; i++)
        spill_orders(&gateway, i, 1);
    assert_int_equal(oq_log_backlog_percent(gateway.log), 100);
    assert_false(oq_log_available(gateway.log));
    assert_int_equal(append_order(&gateway, 4), PS_E_FULL);
    stand_still(&gateway);
    assert_int_equal(gateway.watch.outcome_count, OPENING + 3);
    assert_int_equal(view_of(&gateway).spilled, 3);
    mend();
    log_watch_wait_records(&gateway.watch, OPENING + 3);
    wait_drained(&gateway);
    assert_true(oq_log_available(gateway.log));
    cut(&gateway);
    spill_orders(&gateway, 5, 1);
    gateway_close(&gateway);
}

static void a_log_that_opens_while_kafka_is_away_spills_nothing(void **state)
{
    (void)state;
    struct oq_kafka_settings kafka = kafka_patient(broker.proxied);
    kafka.open_wait_ms = 300;
    kafka_network(&broker, KAFKA_NETWORK_CUT);
    assert_ok(try_with(&gateway, kafka, 100));
    log_watch_wait_away(&gateway.watch);
    assert_false(oq_log_available(gateway.log));
    assert_int_equal(append_order(&gateway, 1), PS_E_CLOSED);
    mend();
    log_watch_wait_back(&gateway.watch, 2);
    gateway_begin_sale(&gateway);
    append_for(1, OQ_LANDED);
    gateway_close(&gateway);
}

/* --- its file --- */

static void what_the_disk_does_not_take_is_refused_and_never_lands(void **state)
{
    (void)state;
    begin(100);
    cut(&gateway);
    size_t notices = gateway.watch.notices;
    faulty_vfs_fail(FAULTY_WRITE, FAULTY_WAL, SQLITE_FULL, 0, FAULTY_FOR_EVER);
    append_for(1, OQ_REFUSED);
    log_watch_wait_notices(&gateway.watch, notices + 1);
    assert_true(log_watch_notices(&gateway.watch, path));
    assert_false(oq_log_available(gateway.log));
    assert_int_equal(append_order(&gateway, 2), PS_E_CLOSED);
    faulty_vfs_heal();
    log_watch_wait_notices(&gateway.watch, notices + 2);
    assert_true(oq_log_available(gateway.log));
    spill_orders(&gateway, 3, 1);
    mend();
    log_watch_wait_records(&gateway.watch, OPENING + 1);
    drain();
    assert_int_equal(gateway.watch.record_count, OPENING + 1);
    assert_int_equal(times_in_view(&gateway, 3), 1);
    gateway_close(&gateway);
}

/* More than are read from the file at once. */
static void a_file_that_cannot_be_written_holds_up_no_drain(void **state)
{
    (void)state;
    enum { ORDERS = 2500 };
    begin(10000);
    cut(&gateway);
    spill_orders(&gateway, 1, ORDERS);
    size_t notices = gateway.watch.notices;
    faulty_vfs_fail(FAULTY_WRITE, FAULTY_WAL, SQLITE_FULL, 0, FAULTY_FOR_EVER);
    mend();
    log_watch_wait_records(&gateway.watch, OPENING + ORDERS);
    drain();
    assert_true(faulty_vfs_hits() > 0);
    faulty_vfs_heal();
    log_watch_wait_notices(&gateway.watch, notices + 2);
    cut(&gateway);
    spill_orders(&gateway, ORDERS + 1, 1); /* what is drained counts no more */
    assert_int_equal(view_of(&gateway).spilled, 1);
    gateway_close(&gateway);
    mend();
    open_with(&gateway, 10000);
    drain();
    assert_int_equal(gateway.watch.record_count, OPENING + ORDERS + 1);
    gateway_close(&gateway);
}

/* It was drained, and comes back when the writer has already looked for it. */
static void a_window_that_comes_back_while_the_file_is_opened_anew_is_not_read_again(void **state)
{
    (void)state;
    enum { ORDERS = 20 };
    begin(100);
    cut(&gateway);
    spill_orders(&gateway, 1, ORDERS);
    size_t notices = gateway.watch.notices;
    faulty_vfs_hang(FAULTY_OPEN_FOR_WRITING, FAULTY_DATABASE);
    faulty_vfs_fail(FAULTY_WRITE, FAULTY_WAL, SQLITE_FULL, 0, 1);
    append_for(ORDERS + 1, OQ_REFUSED);
    faulty_vfs_wait_hung();
    mend();
    log_watch_wait_records(&gateway.watch, OPENING + 1); /* the window is of one order, or more */
    stand_still(&gateway);
    stand_still(&gateway);
    faulty_vfs_heal();
    log_watch_wait_notices(&gateway.watch, notices + 2);
    log_watch_wait_records(&gateway.watch, OPENING + ORDERS);
    drain();
    assert_int_equal(gateway.watch.record_count, OPENING + ORDERS);
    for (uint32_t i = 1; i <= ORDERS; i++)
        assert_int_equal(times_in_view(&gateway, i), 1);
    gateway_close(&gateway);
}

/* The syncs fail `times` times from its commit on. The log is new: nothing else is on its way to
 * the file, which would find the fault first. */
static void fail_the_commit_of_an_order(enum faulty_file file, int times)
{
    begin(100);
    cut(&gateway);
    size_t notices = gateway.watch.notices;
    faulty_vfs_fail(FAULTY_SYNC, file, SQLITE_IOERR_FSYNC, 0, times);
    append_for(1, OQ_UNKNOWN);
    while (times == FAULTY_FOR_EVER && faulty_vfs_hits() < 2)
        usleep(1000);
    faulty_vfs_heal();
    log_watch_wait_notices(&gateway.watch, notices + 2);
    assert_int_equal(view_of(&gateway).spilled, 1);
    mend();
    log_watch_wait_records(&gateway.watch, OPENING + 1);
    drain();
    assert_int_equal(gateway.watch.record_count, OPENING + 1);
    gateway_close(&gateway);
}

static void an_order_whose_commit_is_lost_is_unknown_and_lands_all_the_same(void **state)
{
    (void)state;
    fail_the_commit_of_an_order(FAULTY_WAL, 1);
}

static void an_order_whose_failed_commit_is_in_the_file_is_unknown_and_lands_once(void **state)
{
    (void)state;
    fail_the_commit_of_an_order(FAULTY_ANY, FAULTY_FOR_EVER);
}

static void with_sqlite(const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void assert_refused(int expected, const char *part_of_message)
{
    static struct gateway other;
    assert_int_equal(try_with(&other, kafka_settings(broker.direct), 100), expected);
    if (strstr(other.fault.text, part_of_message) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", other.fault.text, part_of_message);
    assert_true(strncmp(other.fault.path, path, strlen(path)) == 0);
}

static void a_file_that_is_no_spill_of_this_version_is_refused(void **state)
{
    (void)state;
    open_with(&gateway, 100);
    assert_refused(PS_E_BUSY, "another process holds it");
    gateway_close(&gateway);
    with_sqlite("PRAGMA user_version=2");
    assert_refused(PS_E_NEWER, "has format 2");
    with_sqlite("PRAGMA user_version=1; PRAGMA application_id=1347635761"); /* a journal's */
    assert_refused(PS_E_CORRUPT, "this is not a spill file");
    with_sqlite("PRAGMA application_id=1347638065; INSERT INTO spilled VALUES (7, '{}')");
    assert_refused(PS_E_CORRUPT, "order 7 cannot be read");
    with_sqlite("UPDATE spilled SET body = '{\"type\":\"penstock.order.confirmed.v1\",\"order_id\":"
                "\"01900000-0000-7000-8000-000000000001\",\"sale\":\"sale\",\"epoch\":0,"
                "\"at\":\"2030-01-01T00:00:00.000Z\"}'");
    assert_refused(PS_E_CORRUPT, "order 7 cannot be read");
}

/* Linked in place of librdkafka's: where it hangs, it does so for ever. */
static _Atomic bool library_hangs;
void __real_rd_kafka_destroy(rd_kafka_t *handle);
void __wrap_rd_kafka_destroy(rd_kafka_t *handle);

void __wrap_rd_kafka_destroy(rd_kafka_t *handle)
{
    while (library_hangs)
        pause();
    __real_rd_kafka_destroy(handle);
}

/* Its thread could go on at any time, and uses the spill. */
static void a_library_that_hangs_keeps_what_it_uses_when_the_topic_is_refused(void **state)
{
    (void)state;
    snprintf(topic, sizeof topic, "nowhere");
    library_hangs = true;
    int err = try_with(&gateway, kafka_patient(broker.direct), 100);
    library_hangs = false;
    assert_int_equal(err, PS_E_TIMEOUT);
    assert_non_null(strstr(gateway.fault.text, "no such topic"));
    assert_refused(PS_E_BUSY, "another process holds it");
}

/* --- ends and starts --- */

static void a_spill_survives_a_restart(void **state)
{
    (void)state;
    begin(100);
    cut(&gateway);
    spill_orders(&gateway, 1, 20);
    gateway_close(&gateway);
    mend();
    open_with(&gateway, 100);
    drain();
    assert_int_equal(gateway.watch.record_count, OPENING + 20);
    assert_int_equal(gateway.watch.outcome_count, 0);
    for (uint32_t i = 1; i <= 20; i++)
        assert_int_equal(gateway_state_of(&gateway, i), OQ_STATE_ACCEPTED);
    gateway_close(&gateway);
}

static void note_mark(void *arg)
{
    struct oq_mark mark;
    *(int *)arg = oq_log_mark(gateway.log, 0, &mark);
}

static int mark_now(void)
{
    struct log_hold hold;
    int err = 1;
    assert_ok(oq_log_call(gateway.log, note_mark, &err));
    log_hold(&hold, gateway.log); /* so it has run */
    log_let_go(&hold);
    return err;
}

/* Who begins behind a mark could not tell that an order in the file has landed before it. */
static void a_log_has_no_marks_while_orders_are_in_its_file(void **state)
{
    (void)state;
    begin(100);
    assert_ok(mark_now());
    cut(&gateway);
    assert_ok(mark_now());
    spill_orders(&gateway, 1, 20);
    assert_int_equal(mark_now(), PS_E_BUSY);
    mend();
    drain();
    int err = mark_now();
    for (int tries = 0; err == PS_E_BUSY && tries < 3000; tries++) { /* until the window is gone */
        usleep(10000);
        err = mark_now();
    }
    assert_ok(err);
    gateway_close(&gateway);
}

/* They are in the file, as those of a process that ended before it could drop them. */
static void orders_that_the_log_shows_already_are_not_sent_again(void **state)
{
    (void)state;
    char copy[192];
    begin(100);
    cut(&gateway);
    spill_orders(&gateway, 1, 20);
    gateway_close(&gateway);
    snprintf(copy, sizeof copy, "cp %s/spill.db %s/copy", dir, dir);
    assert_ok(system(copy));
    mend();
    open_with(&gateway, 100);
    wait_drained(&gateway);
    gateway_close(&gateway);
    snprintf(copy, sizeof copy, "mv %s/copy %s/spill.db", dir, dir);
    assert_ok(system(copy));
    open_with(&gateway, 100);
    drain();
    assert_int_equal(gateway.watch.record_count, OPENING + 20);
    gateway_close(&gateway);
}

static void ignore_record(uint32_t partition, int64_t seq, const struct oq_event *event, void *ctx)
{
    (void)partition;
    (void)seq;
    (void)event;
    (void)ctx;
}

static void report_spilled(const struct oq_ticket *ticket, const struct oq_event *event,
                           enum oq_outcome outcome, int64_t seq, void *ctx)
{
    uint32_t number = (uint32_t)ticket->handle;
    (void)event;
    (void)seq;
    if (outcome == OQ_SPILLED && write(*(const int *)ctx, &number, sizeof number) != sizeof number)
        _exit(3);
}

/* A process that spills until it is killed; it says 0 when it is ready for Kafka to go away. */
static void spill_until_killed(int pipe_end)
{
    static struct gateway child;
    struct oq_kafka_settings kafka = kafka_settings(broker.proxied);
    struct oq_spill_settings settings = {
        .path = path, .records_max = 100000, .retry_ms = 20, .kafka = &kafka};
    struct oq_log_callbacks callbacks = {
        .on_record = ignore_record, .on_outcome = report_spilled, .ctx = &pipe_end};
    uint32_t number = 0;
    if (oq_spill_open(&settings, &callbacks, &child.log, NULL) != 0 ||
        write(pipe_end, &number, sizeof number) != sizeof number)
        _exit(2);
    while (view_of(&child).state != OQ_LOG_AWAY)
        usleep(1000);
    for (number = 1;;)
        if (append_order(&child, number) == 0)
            number++;
}

static void a_spill_survives_a_kill(void **state)
{
    (void)state;
    enum { ORDERS = 700 };
    int ends[2];
    uint32_t number;
    uint32_t last = 0;
    begin(100);
    gateway_close(&gateway);
    assert_ok(pipe(ends));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        spill_until_killed(ends[1]);
    close(ends[1]);
    while (read(ends[0], &number, sizeof number) == sizeof number) {
        if (number == 0)
            kafka_network(&broker, KAFKA_NETWORK_CUT);
        last = number > last ? number : last;
        if (number == ORDERS)
            kill(child, SIGKILL);
    }
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_true(last >= ORDERS);
    mend();
    open_with(&gateway, 100);
    drain();
    for (uint32_t i = 1; i <= last; i++)
        assert_int_equal(times_in_view(&gateway, i), 1);
    gateway_close(&gateway);
}

/* --- brokers that come and go while orders stream in --- */

static void no_order_is_lost_or_made_twice_while_kafka_comes_and_goes(void **state)
{
    (void)state;
    enum { ROUNDS = 6, EACH = 150 };
    static const enum kafka_network faults[] = {KAFKA_NETWORK_CUT, KAFKA_NETWORK_NO_ANSWERS,
                                                KAFKA_NETWORK_NO_REQUESTS};
    uint32_t number = 0;
    uint32_t taken = 0;
    assert_ok(try_with(&gateway, kafka_settings(broker.proxied), 100000));
    gateway_begin_sale(&gateway);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        for (uint32_t i = 0; i < EACH; i++) {
            if (i == EACH / 3)
                kafka_network(&broker, faults[round % PS_ARRAY_LEN(faults)]);
            if (append_order(&gateway, ++number) == 0)
                taken++;
            usleep(i < EACH / 3 ? 100 : 15000);
        }
        mend();
        usleep(300000);
    }
    for (int tries = 0; view_of(&gateway).state != OQ_LOG_WELL; tries++) {
        assert_true(tries < 3000);
        usleep(10000);
    }
    log_watch_wait_outcomes(&gateway.watch, OPENING + taken);
    drain();
    assert_int_equal(gateway.watch.outcome_count, OPENING + taken);
    uint32_t spilled = 0;
    uint32_t kept = 0;
    for (size_t i = OPENING; i < gateway.watch.outcome_count; i++) {
        const struct seen_outcome *seen = &gateway.watch.outcome[i];
        size_t times = times_in_view(&gateway, (uint32_t)seen->ticket.handle);
        gateway_outcome_of(&gateway, seen->ticket.handle);
        assert_int_equal(times > 0, seen->outcome != OQ_REFUSED);
        kept += times > 0;
        spilled += seen->outcome == OQ_SPILLED;
    }
    assert_true(spilled > 0);
    gateway_assert_sold(&gateway, kept); /* also where Kafka has a record twice (queue/log.h) */
    gateway_close(&gateway);
}

static int group_set_up(void **state)
{
    faulty_vfs_register();
    return kafka_group_set_up(state);
}

#define CLAIM(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(R5_a_spilled_order_is_never_landed_before_the_view),
        CLAIM(only_orders_are_spilled),
        CLAIM(a_spilled_order_lands_once_when_the_broker_returns),
        CLAIM(a_drain_leaves_room_for_new_orders),
        CLAIM(an_order_that_may_be_in_kafka_is_not_spilled),
        CLAIM(an_order_that_is_surely_not_in_kafka_is_spilled),
        CLAIM(a_call_comes_after_what_was_spilled_before_it),
        CLAIM(an_order_of_an_ended_epoch_is_closed_by_a_record_instead_of_drained),
        CLAIM(a_spilled_order_that_others_have_closed_changes_nothing),
        CLAIM(a_full_spill_refuses_before_anything),
        CLAIM(a_log_that_opens_while_kafka_is_away_spills_nothing),
        CLAIM(what_the_disk_does_not_take_is_refused_and_never_lands),
        CLAIM(a_file_that_cannot_be_written_holds_up_no_drain),
        CLAIM(a_window_that_comes_back_while_the_file_is_opened_anew_is_not_read_again),
        CLAIM(an_order_whose_commit_is_lost_is_unknown_and_lands_all_the_same),
        CLAIM(an_order_whose_failed_commit_is_in_the_file_is_unknown_and_lands_once),
        CLAIM(a_file_that_is_no_spill_of_this_version_is_refused),
        CLAIM(a_log_has_no_marks_while_orders_are_in_its_file),
        CLAIM(a_spill_survives_a_restart),
        CLAIM(orders_that_the_log_shows_already_are_not_sent_again),
        CLAIM(a_spill_survives_a_kill),
        CLAIM(no_order_is_lost_or_made_twice_while_kafka_comes_and_goes),
        /* The last: its threads stay, and ThreadSanitizer lets nobody fork beside them. */
        CLAIM(a_library_that_hangs_keeps_what_it_uses_when_the_topic_is_refused),
    };
    if (!kafka_wanted())
        return 0;
    return cmocka_run_group_tests(tests, group_set_up, kafka_group_tear_down);
}
