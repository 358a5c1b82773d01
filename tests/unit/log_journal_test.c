/* What is the journal's own, beyond the contract of every log (tests/contract/log_test.c): its
 * file, what it refuses to open and what it then says, and disks that fail. */
#include "tests/unit/check.h"

#include "tests/contract/faulty_vfs.h"
#include "tests/unit/journal_fixture.h"
#include "tests/unit/records.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 8192

/* --- words for the tests --- */

/* Where the next open begins to read; what on_marks was told. */
static struct oq_mark *mark;
static struct {
    int asked, err;
    bool fits;
    char why[128];
} marks;

static int on_marks(bool fits, const char *why, struct oq_sale_marks *sales, void *ctx)
{
    (void)sales;
    (void)ctx;
    marks.asked++;
    marks.fits = fits;
    snprintf(marks.why, sizeof marks.why, "%s", why);
    memset(mark, 0xff, sizeof *mark); /* it is free to go */
    return marks.err;
}

static int try_open(void)
{
    return open_journal(mark, on_marks);
}

static int append_order(uint32_t number)
{
    struct oq_event event = accepted(number, 1, "somebody-with-a-name", "", 1);
    struct oq_ticket ticket = {.handle = number};
    return oq_log_append(log_, &event, &ticket);
}

/* Orders 0 .. count-1, all taken. */
static void append_orders_from(uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count;) {
        int err = append_order(first + i);
        if (err == 0)
            i++;
        else if (err == PS_E_FULL)
            sched_yield();
        else
            fail_msg("append: %s", ps_err_text(err));
    }
}
static void append_orders(uint32_t count)
{
    append_orders_from(0, count);
}

static void make_journal_of(uint32_t orders)
{
    assert_ok(try_open());
    append_orders(orders);
    log_watch_wait_outcomes(&watch, orders);
    stop();
}

static void write_at(const char *name, off_t at, const char *text, size_t len)
{
    int fd = open(name, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, text, len, at), (ssize_t)len);
    close(fd);
}

static off_t size_of(const char *suffix)
{
    char name[128];
    struct stat status;
    snprintf(name, sizeof name, "%s%s", path, suffix);
    return stat(name, &status) == 0 ? status.st_size : -1;
}

static void assert_refused(int err, const char *word)
{
    assert_int_equal(try_open(), err);
    assert_non_null(strstr(fault.path, "journal.db"));
    if (strstr(fault.text, word) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", fault.text, word);
}

/* --- the file --- */

static void all_files_are_private(void **state)
{
    (void)state;
    static const char *const suffixes[] = {"", "-wal", "-shm", ".lock"};
    assert_ok(try_open());
    append_orders(1);
    log_watch_wait_outcomes(&watch, 1);
    for (size_t i = 0; i < PS_ARRAY_LEN(suffixes); i++) {
        char name[128];
        struct stat status;
        snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
        assert_ok(stat(name, &status));
        assert_int_equal(status.st_mode & 0777, 0600);
    }
}

static void a_journal_has_one_gateway(void **state)
{
    (void)state;
    assert_ok(try_open());
    const struct oq_journal_settings settings = {.path = path,
                                                 .queue_capacity = 64,
                                                 .batch_max = 16,
                                                 .retry_ms = 10,
                                                 .clock = &ps_clock_system};
    struct log_watch other;
    log_watch_init(&other);
    struct oq_log_callbacks callbacks = log_watch_callbacks(&other);
    struct oq_log *second = NULL;
    struct ps_fault why;
    assert_int_equal(oq_journal_open(&settings, &callbacks, &second, &why), PS_E_BUSY);
    assert_non_null(strstr(why.path, "journal.db.lock"));
    assert_non_null(strstr(why.text, "another process"));
    assert_null(second);
    stop();
    assert_ok(oq_journal_open(&settings, &callbacks, &second, &why));
    assert_ok(oq_log_close(second, 30000));
    oq_log_free(second);
    log_watch_done(&other);
}

static void a_creation_that_was_cut_off_is_no_obstacle(void **state)
{
    (void)state;
    char name[128];
    snprintf(name, sizeof name, "%s.new", path);
    write_at(name, 0, "half", 4);
    assert_ok(try_open());
    assert_int_equal(size_of(".new"), -1);
}

static void a_missing_directory_is_named(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "%s/none/journal.db", dir);
    assert_refused(PS_E_IO, "No such file");
}

static void a_path_that_is_too_long_is_refused(void **state)
{
    (void)state;
    static char much[5000];
    memset(much, 'p', sizeof much - 1);
    const struct oq_journal_settings settings = {.path = much, .clock = &ps_clock_system};
    struct oq_log_callbacks none = {0};
    assert_int_equal(oq_journal_open(&settings, &none, &log_, &fault), PS_E_INVALID);
    struct oq_reader *reader;
    assert_int_equal(oq_journal_reader_open(much, &reader, &fault), PS_E_INVALID);
}

static void starts_and_recoveries_are_counted(void **state)
{
    (void)state;
    make_journal_of(1);
    make_journal_of(1);
    assert_int_equal(ask_sql("SELECT starts FROM meta"), 2);
    assert_int_equal(ask_sql("SELECT recoveries FROM meta"), 0);
}

/* How soon pages are copied, and how many orders a commit has, is a matter of the machine: so
 * commits are equal, and the copier has time. */
static void the_wal_stays_small(void **state)
{
    enum { BATCH = 128, ORDERS = 240 * BATCH }; /* ten pages a batch */
    (void)state;
    assert_ok(try_open());
    for (uint32_t appended = 0; appended < ORDERS;) {
        struct log_hold hold;
        log_hold(&hold, log_);
        append_orders_from(appended, BATCH);
        log_let_go(&hold);
        log_watch_wait_outcomes(&watch, appended += BATCH);
        faulty_vfs_let_copy();
    }
    assert_in_range(size_of("-wal"), 1, 12 << 20);
    stop();
    assert_int_equal(ask_sql("SELECT count(*) FROM records"), ORDERS);
}

/* --- what is refused --- */

static void a_newer_format_is_refused(void **state)
{
    (void)state;
    make_journal_of(1);
    do_sql("PRAGMA user_version=3");
    assert_refused(PS_E_NEWER, "newer program");
    do_sql("PRAGMA user_version=2");
    assert_ok(try_open());
}

static void a_foreign_database_is_refused_and_left_alone(void **state)
{
    (void)state;
    do_sql("CREATE TABLE records (seq INTEGER PRIMARY KEY, body TEXT)");
    off_t size = size_of("");
    assert_refused(PS_E_CORRUPT, "move");
    assert_int_equal(size_of(""), size);
}

static void what_is_no_database_is_refused(void **state)
{
    (void)state;
    char text[4096];
    memset(text, 'x', sizeof text);
    write_at(path, 0, text, sizeof text);
    assert_refused(PS_E_CORRUPT, "move");
}

static void an_emptied_file_is_not_taken_for_a_new_one(void **state)
{
    (void)state;
    make_journal_of(1);
    assert_ok(truncate(path, 0));
    assert_refused(PS_E_CORRUPT, "restore");
}

static void a_wal_without_its_file_is_refused(void **state)
{
    (void)state;
    char name[128];
    snprintf(name, sizeof name, "%s-wal", path);
    write_at(name, 0, "orders", 6);
    assert_refused(PS_E_CORRUPT, "is missing");
}

static void a_missing_table_is_refused(void **state)
{
    (void)state;
    make_journal_of(1);
    do_sql("DROP TABLE records");
    assert_refused(PS_E_CORRUPT, "restore");
}

static void a_torn_page_is_refused(void **state)
{
    (void)state;
    make_journal_of(500);
    char garbage[PAGE];
    memset(garbage, 0xa5, sizeof garbage);
    write_at(path, (size_of("") / PAGE / 2) * PAGE, garbage, sizeof garbage);
    assert_refused(PS_E_CORRUPT, "restore");
}

static void a_zeroed_page_is_refused(void **state)
{
    (void)state;
    make_journal_of(500);
    char zeros[PAGE] = {0};
    write_at(path, (size_of("") / PAGE / 2) * PAGE, zeros, sizeof zeros);
    assert_refused(PS_E_CORRUPT, "restore");
}

static void a_file_that_was_cut_is_refused(void **state)
{
    (void)state;
    make_journal_of(500);
    assert_ok(truncate(path, (size_of("") / PAGE / 2) * PAGE));
    assert_refused(PS_E_CORRUPT, "restore");
}

static void a_missing_record_is_refused(void **state)
{
    (void)state;
    make_journal_of(10);
    do_sql("DELETE FROM records WHERE seq = 4");
    assert_refused(PS_E_CORRUPT, "record 4 is missing");
}

static void a_missing_beginning_is_refused(void **state)
{
    (void)state;
    make_journal_of(10);
    do_sql("DELETE FROM records WHERE seq = 1");
    assert_refused(PS_E_CORRUPT, "record 1 is missing");
}

static void a_record_that_makes_no_sense_is_refused(void **state)
{
    (void)state;
    make_journal_of(10);
    do_sql("UPDATE records SET body = replace(body, '\"quantity\":1', '\"quantity\":-1')"
           " WHERE seq = 7");
    assert_refused(PS_E_CORRUPT, "record 7");
    assert_non_null(strstr(fault.text, "/quantity"));
}

static void a_read_only_journal_is_refused(void **state)
{
    (void)state;
    make_journal_of(1);
    faulty_vfs_fail(FAULTY_OPEN_FOR_WRITING, FAULTY_DATABASE, SQLITE_READONLY, 0, FAULTY_FOR_EVER);
    assert_refused(PS_E_READ_ONLY, "writable");
}

static void a_full_disk_at_start_is_refused_with_advice(void **state)
{
    (void)state;
    faulty_vfs_fail(FAULTY_WRITE, FAULTY_ANY, SQLITE_FULL, 0, FAULTY_FOR_EVER);
    assert_refused(PS_E_IO, "disk is full");
    faulty_vfs_heal();
    assert_ok(try_open());
    stop();
    faulty_vfs_fail(FAULTY_WRITE, FAULTY_WAL, SQLITE_FULL, 0, FAULTY_FOR_EVER);
    assert_refused(PS_E_IO, "disk is full");
}

static void a_lock_of_another_program_is_refused_with_advice(void **state)
{
    (void)state;
    make_journal_of(1);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_refused(PS_E_BUSY, "another program");
    sqlite3_close(db);
    assert_ok(try_open());
}

/* --- disks that fail --- */

/* The disk fails by then, and until it is healed; `why` it is said to. Every record that landed is
 * there afterwards. */
static void assert_checkpoint_loses_nothing(const char *why)
{
    uint32_t taken = 0;
    for (int err = 0; err != PS_E_CLOSED;) {
        err = append_order(taken);
        if (err == 0)
            taken++;
        else
            sched_yield();
    }
    log_watch_wait_away(&watch);
    assert_non_null(strstr(watch.why, why));
    log_watch_wait_outcomes(&watch, taken);
    size_t landed = 0;
    for (size_t i = 0; i < taken; i++) {
        assert_true(watch.outcome[i].outcome != OQ_UNKNOWN);
        landed += watch.outcome[i].outcome == OQ_LANDED;
    }
    assert_true(landed > 0);
    faulty_vfs_heal();
    log_watch_wait_back(&watch, 2);
    assert_int_equal(watch.record_count, landed);
    stop();
    assert_ok(try_open());
    assert_int_equal(watch.record_count, landed);
}

static void a_disk_that_fills_up_in_a_checkpoint_loses_nothing(void **state)
{
    (void)state;
    assert_ok(try_open());
    faulty_vfs_fail(FAULTY_WRITE, FAULTY_DATABASE, SQLITE_FULL, 0, FAULTY_FOR_EVER);
    assert_checkpoint_loses_nothing("disk is full");
}

static void a_disk_that_drops_the_pages_of_a_checkpoint_loses_nothing(void **state)
{
    (void)state;
    assert_ok(try_open());
    faulty_vfs_fail(FAULTY_SYNC, FAULTY_DATABASE, SQLITE_IOERR_FSYNC, 1, FAULTY_FOR_EVER);
    assert_checkpoint_loses_nothing("disk I/O error");
}

/* 5,000 orders, and a close; the last checkpoint fails in its sync. Nothing is committed behind it,
 * so nobody has heard of it when the file is closed. */
static void stop_with_a_failed_checkpoint(void)
{
    faulty_vfs_hang(FAULTY_WRITE, FAULTY_DATABASE);
    append_orders(5000);
    log_watch_wait_outcomes(&watch, 5000);
    faulty_vfs_wait_hung();
    faulty_vfs_fail(FAULTY_SYNC, FAULTY_DATABASE, SQLITE_IOERR_FSYNC, 0, 1);
    faulty_vfs_hang(FAULTY_NONE, FAULTY_ANY);
    stop();
    assert_int_equal(faulty_vfs_hits(), 1);
}

static void a_checkpoint_that_fails_just_before_the_end_loses_nothing(void **state)
{
    (void)state;
    assert_ok(try_open());
    stop_with_a_failed_checkpoint();
    assert_ok(try_open());
    assert_int_equal(watch.record_count, 5000);
}

static int look_only(int64_t place, struct ps_str json, void *ctx)
{
    (void)place;
    (void)json;
    (void)ctx;
    return 0;
}

/* A reader that stays keeps alive what SQLite remembers of the checkpoint. */
static void a_checkpoint_that_fails_beside_a_reader_loses_nothing(void **state)
{
    (void)state;
    struct oq_reader *reader;
    int64_t last;
    assert_ok(try_open());
    assert_ok(oq_journal_reader_open(path, &reader, &fault));
    assert_ok(oq_reader_read(reader, &(struct oq_read){0, 1, NULL, look_only, NULL}, &last));
    stop_with_a_failed_checkpoint();
    assert_ok(try_open());
    assert_int_equal(watch.record_count, 5000);
    stop();
    oq_reader_free(reader);
    assert_ok(try_open());
    assert_int_equal(watch.record_count, 5000);
}

/* Another program that has the file open, and keeps alive what SQLite remembers of it. */
static sqlite3 *stay_connected(void)
{
    sqlite3 *other;
    assert_int_equal(sqlite3_open_v2(path, &other, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "SELECT count(*) FROM records", NULL, NULL, NULL),
                     SQLITE_OK);
    return other;
}

static void a_start_after_a_failed_checkpoint_waits_for_a_program_that_keeps_the_file(void **state)
{
    (void)state;
    assert_ok(try_open());
    sqlite3 *other = stay_connected();
    stop_with_a_failed_checkpoint();
    assert_refused(PS_E_BUSY, "another program");
    assert_refused(PS_E_BUSY, "another program");
    sqlite3_close(other);
    assert_ok(try_open());
    assert_int_equal(watch.record_count, 5000);
}

static void a_failed_checkpoint_keeps_the_log_away_until_the_file_is_its_own(void **state)
{
    (void)state;
    assert_ok(try_open());
    sqlite3 *other = stay_connected();
    faulty_vfs_fail(FAULTY_SYNC, FAULTY_DATABASE, SQLITE_IOERR_FSYNC, 1, 1);
    for (int err = 0; err != PS_E_CLOSED;) {
        err = append_order(0);
        sched_yield();
    }
    log_watch_wait_away(&watch);
    faulty_vfs_heal();
    usleep(300000);
    assert_false(oq_log_available(log_));
    sqlite3_close(other);
    log_watch_wait_back(&watch, 2);
}

static void a_program_that_keeps_the_file_open_holds_up_no_start(void **state)
{
    (void)state;
    make_journal_of(5000);
    sqlite3 *other = stay_connected();
    for (uint32_t start = 0; start < 3; start++) {
        assert_ok(try_open());
        assert_int_equal(watch.record_count, 5000 + start);
        append_orders_from(5000 + start, 1);
        log_watch_wait_outcomes(&watch, 1);
        stop();
    }
    sqlite3_close(other);
}

static void a_start_that_cannot_sync_what_was_copied_is_refused(void **state)
{
    (void)state;
    make_journal_of(5000);
    sqlite3 *other = stay_connected();
    faulty_vfs_fail(FAULTY_SYNC, FAULTY_DATABASE, SQLITE_IOERR_FSYNC, 0, 1);
    assert_refused(PS_E_IO, "check the disk");
    assert_refused(PS_E_BUSY, "another program");
    sqlite3_close(other);
    assert_ok(try_open());
    assert_int_equal(watch.record_count, 5000);
}

static void commits_go_on_while_a_checkpoint_waits_for_the_disk(void **state)
{
    (void)state;
    const enum faulty_call calls[] = {FAULTY_WRITE, FAULTY_SYNC};
    assert_ok(try_open());
    for (uint32_t i = 0; i < PS_ARRAY_LEN(calls); i++) {
        faulty_vfs_hang(calls[i], FAULTY_DATABASE);
        append_orders_from(i * 40000, 40000);
        log_watch_wait_outcomes(&watch, (i + 1) * 40000);
        faulty_vfs_wait_hung();
        faulty_vfs_heal();
    }
    for (size_t i = 0; i < 80000; i++)
        assert_int_equal(watch.outcome[i].outcome, OQ_LANDED);
    stop();
    assert_int_equal(ask_sql("SELECT count(*) FROM records"), 80000);
}

static void a_disk_that_is_really_full_refuses_and_recovers(void **state)
{
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    assert_ok(try_open());
    struct rlimit before;
    assert_ok(getrlimit(RLIMIT_FSIZE, &before));
    struct rlimit small = {.rlim_cur = 1 << 20, .rlim_max = before.rlim_max};
    assert_ok(setrlimit(RLIMIT_FSIZE, &small));
    uint32_t taken = 0;
    for (int err = 0; err != PS_E_CLOSED && taken < 100000;) {
        err = append_order(taken);
        if (err == 0)
            taken++;
        else
            sched_yield();
    }
    assert_true(taken < 100000);
    log_watch_wait_outcomes(&watch, taken);
    assert_ok(setrlimit(RLIMIT_FSIZE, &before));
    log_watch_wait_back(&watch, 2);
    assert_ok(append_order(taken));
    log_watch_wait_outcomes(&watch, taken + 1);
    for (uint32_t i = 0; i < taken; i++) {
        const struct seen_record *record;
        struct ps_uuid id = id_of((uint32_t)watch.outcome[i].ticket.handle);
        if (i > 0 && watch.outcome[i].outcome == watch.outcome[i - 1].outcome && i % 50 != 0)
            continue; /* the edges and samples: each look-up walks the whole list */
        size_t times = log_watch_records_of(&watch, OQ_ACCEPTED, OQ_REASON_NONE, &id, &record);
        if (watch.outcome[i].outcome == OQ_LANDED)
            assert_int_equal(times, 1);
        if (watch.outcome[i].outcome == OQ_REFUSED)
            assert_int_equal(times, 0);
    }
    size_t records = watch.record_count;
    stop();
    assert_ok(try_open());
    assert_int_equal(watch.record_count, records);
}

static void a_recovery_that_fails_in_its_own_commit_is_tried_again(void **state)
{
    (void)state;
    assert_ok(try_open());
    append_orders(3);
    log_watch_wait_outcomes(&watch, 3);
    /* The batch's fsync, then those of close and open, then that of the closing records. */
    faulty_vfs_fail(FAULTY_SYNC, FAULTY_ANY, SQLITE_IOERR_FSYNC, 0, 12);
    assert_ok(append_order(50));
    log_watch_wait_outcomes(&watch, 4);
    assert_int_equal(watch.outcome[3].outcome, OQ_UNKNOWN);
    log_watch_wait_back(&watch, 2);
    assert_int_equal(faulty_vfs_hits(), 12);
    const struct seen_record *closing;
    const struct seen_record *order;
    struct ps_uuid id = id_of(50);
    assert_true(log_watch_records_of(&watch, OQ_RELEASED, OQ_REJECTED, &id, &closing) >= 1);
    assert_true(log_watch_records_of(&watch, OQ_ACCEPTED, OQ_REASON_NONE, &id, &order) <= 1);
    if (order != NULL)
        assert_true(order->seq < closing->seq);
    size_t records = watch.record_count;
    stop();
    assert_true(ask_sql("SELECT recoveries FROM meta") >= 1);
    assert_ok(try_open());
    assert_int_equal(watch.record_count, records);
}

static void a_journal_that_lost_records_stays_away(void **state)
{
    (void)state;
    char copy[128];
    char command[512];
    snprintf(copy, sizeof copy, "%s/old.db", dir);
    make_journal_of(5);
    snprintf(command, sizeof command, "cp %s %s", path, copy);
    assert_ok(system(command));
    assert_ok(try_open());
    assert_ok(append_order(100));
    log_watch_wait_outcomes(&watch, 1);
    faulty_vfs_fail(FAULTY_WRITE, FAULTY_WAL, SQLITE_FULL, 0, FAULTY_FOR_EVER);
    assert_ok(append_order(101));
    log_watch_wait_away(&watch);
    /* Somebody "repairs" the full disk by putting an older file in its place. */
    /* The WAL goes first: with it, the older file would have all records again. */
    snprintf(command, sizeof command, "rm -f %s-wal %s-shm && mv %s %s", path, path, copy, path);
    assert_ok(system(command));
    faulty_vfs_heal();
    log_watch_wait_changes(&watch, 2);
    assert_false(oq_log_available(log_));
    assert_non_null(strstr(watch.why, "record 6 is missing"));
}

/* --- readers without a gateway --- */

static int count_record(int64_t seq, struct ps_str json, void *ctx)
{
    (void)seq;
    (void)json;
    ++*(size_t *)ctx;
    return 0;
}

static size_t read_all(void)
{
    struct oq_reader *reader;
    int64_t last = 0;
    size_t count = 0;
    assert_ok(oq_journal_reader_open(path, &reader, &fault));
    for (int64_t after = -1; after != last;) {
        after = last;
        assert_ok(oq_reader_read(reader, &(struct oq_read){after, 1000, NULL, count_record, &count},
                                 &last));
    }
    oq_reader_free(reader);
    return count;
}

static void a_reader_needs_no_gateway(void **state)
{
    (void)state;
    struct oq_reader *reader;
    assert_int_equal(oq_journal_reader_open(path, &reader, &fault), PS_E_NOT_FOUND);
    make_journal_of(1234);
    assert_int_equal(read_all(), 1234);
    write_at(path, 0, "garbage", 7);
    assert_int_equal(oq_journal_reader_open(path, &reader, &fault), PS_E_CORRUPT);
}

/* Leaves orders 0 .. 299 in the WAL. */
static void append_and_be_killed(void)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        assert_ok(try_open());
        append_orders(300);
        log_watch_wait_outcomes(&watch, 300);
        kill(getpid(), SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_true(size_of("-wal") > 0);
}

static void a_reader_reads_what_a_killed_gateway_left(void **state)
{
    (void)state;
    append_and_be_killed();
    assert_int_equal(read_all(), 300);
    assert_ok(try_open());
    assert_int_equal(watch.record_count, 300);
}

/* The killed one may have died before its fsync: a WAL as it was found is no ground to build on. */
static void what_is_read_back_at_start_is_in_the_database_itself(void **state)
{
    (void)state;
    append_and_be_killed();
    assert_ok(try_open());
    assert_int_equal(watch.record_count, 300);
    char command[256];
    snprintf(command, sizeof command, "mkdir %s/copy && cp %s %s/copy/", dir, path, dir);
    assert_ok(system(command));
    stop();
    snprintf(path, sizeof path, "%s/copy/journal.db", dir);
    assert_int_equal(ask_sql("SELECT count(*) FROM records"), 300);
}

static void take_mark(void *arg)
{
    struct log_hold *hold = arg;
    int err = oq_log_mark(log_, 0, mark);
    pthread_mutex_lock(&hold->lock);
    hold->let_go = true;
    hold->holds = err == 0;
    pthread_cond_broadcast(&hold->news);
    pthread_mutex_unlock(&hold->lock);
}

/* A journal of eight orders, and the mark of the fifth. */
static void make_marked_journal(struct oq_mark *room)
{
    struct log_hold hold = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, false};
    mark = NULL;
    marks.asked = marks.err = 0;
    assert_ok(try_open());
    append_orders(5);
    log_watch_wait_outcomes(&watch, 5);
    mark = room;
    assert_ok(oq_log_call(log_, take_mark, &hold));
    pthread_mutex_lock(&hold.lock);
    while (!hold.let_go)
        pthread_cond_wait(&hold.news, &hold.lock);
    pthread_mutex_unlock(&hold.lock);
    assert_true(hold.holds);
    append_orders_from(5, 3);
    log_watch_wait_outcomes(&watch, 8);
    stop();
    assert_int_equal(marks.asked, 0);
}

static void a_journal_with_the_marked_record_is_read_from_there(void **state)
{
    (void)state;
    struct oq_mark room;
    make_marked_journal(&room);
    assert_ok(try_open());
    assert_int_equal(marks.asked, 1);
    assert_true(marks.fits);
    assert_int_equal(watch.record_count, 3);
    assert_int_equal(watch.record[0].seq, 6);
    append_orders_from(8, 1);
    log_watch_wait_outcomes(&watch, 1);
    assert_int_equal(watch.record[3].seq, 9);
    stop();
    mark = NULL;
}

static void a_journal_without_the_marked_record_is_read_from_its_start(void **state)
{
    (void)state;
    static const char *const changes[] = {
        "UPDATE records SET body = replace(body, 'somebody', 'anybodys') WHERE seq = 5",
        "DELETE FROM records WHERE seq >= 5"};
    for (size_t i = 0; i < PS_ARRAY_LEN(changes); i++) {
        struct oq_mark room;
        make_marked_journal(&room);
        do_sql(changes[i]);
        assert_ok(try_open());
        assert_int_equal(marks.asked, 1);
        assert_false(marks.fits);
        assert_string_not_equal(marks.why, "");
        assert_int_equal(watch.record[0].seq, 1);
        assert_int_equal(watch.record_count, i == 0 ? 8 : 4);
        stop();
        assert_ok(unlink(path));
    }
    mark = NULL;
}

static void records_that_are_missing_behind_the_mark_are_noticed(void **state)
{
    (void)state;
    struct oq_mark room;
    make_marked_journal(&room);
    do_sql("DELETE FROM records WHERE seq = 7");
    assert_int_equal(try_open(), PS_E_CORRUPT);
    assert_non_null(strstr(fault.text, "record 7 is missing"));
    log_ = NULL;
    mark = NULL;
}

static void an_open_ends_when_the_marked_part_cannot_be_taken(void **state)
{
    (void)state;
    struct oq_mark room;
    make_marked_journal(&room);
    marks.err = PS_E_NOMEM;
    assert_int_equal(try_open(), PS_E_NOMEM);
    log_ = NULL;
    marks.err = 0;
    mark = NULL;
}

#define CLAIM(test) cmocka_unit_test_setup_teardown(test, make_journal_dir, drop_journal_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(all_files_are_private),
        CLAIM(a_journal_with_the_marked_record_is_read_from_there),
        CLAIM(a_journal_without_the_marked_record_is_read_from_its_start),
        CLAIM(records_that_are_missing_behind_the_mark_are_noticed),
        CLAIM(an_open_ends_when_the_marked_part_cannot_be_taken),
        CLAIM(a_journal_has_one_gateway),
        CLAIM(a_creation_that_was_cut_off_is_no_obstacle),
        CLAIM(a_missing_directory_is_named),
        CLAIM(a_path_that_is_too_long_is_refused),
        CLAIM(starts_and_recoveries_are_counted),
        CLAIM(the_wal_stays_small),
        CLAIM(a_newer_format_is_refused),
        CLAIM(a_foreign_database_is_refused_and_left_alone),
        CLAIM(what_is_no_database_is_refused),
        CLAIM(an_emptied_file_is_not_taken_for_a_new_one),
        CLAIM(a_wal_without_its_file_is_refused),
        CLAIM(a_missing_table_is_refused),
        CLAIM(a_torn_page_is_refused),
        CLAIM(a_zeroed_page_is_refused),
        CLAIM(a_file_that_was_cut_is_refused),
        CLAIM(a_missing_record_is_refused),
        CLAIM(a_missing_beginning_is_refused),
        CLAIM(a_record_that_makes_no_sense_is_refused),
        CLAIM(a_read_only_journal_is_refused),
        CLAIM(a_full_disk_at_start_is_refused_with_advice),
        CLAIM(a_lock_of_another_program_is_refused_with_advice),
        CLAIM(a_disk_that_fills_up_in_a_checkpoint_loses_nothing),
        CLAIM(a_disk_that_drops_the_pages_of_a_checkpoint_loses_nothing),
        CLAIM(a_checkpoint_that_fails_just_before_the_end_loses_nothing),
        CLAIM(a_checkpoint_that_fails_beside_a_reader_loses_nothing),
        CLAIM(a_start_after_a_failed_checkpoint_waits_for_a_program_that_keeps_the_file),
        CLAIM(a_failed_checkpoint_keeps_the_log_away_until_the_file_is_its_own),
        CLAIM(a_program_that_keeps_the_file_open_holds_up_no_start),
        CLAIM(a_start_that_cannot_sync_what_was_copied_is_refused),
        CLAIM(commits_go_on_while_a_checkpoint_waits_for_the_disk),
        CLAIM(a_disk_that_is_really_full_refuses_and_recovers),
        CLAIM(a_recovery_that_fails_in_its_own_commit_is_tried_again),
        CLAIM(a_journal_that_lost_records_stays_away),
        CLAIM(a_reader_needs_no_gateway),
        CLAIM(a_reader_reads_what_a_killed_gateway_left),
        CLAIM(what_is_read_back_at_start_is_in_the_database_itself),
    };
    faulty_vfs_register();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
