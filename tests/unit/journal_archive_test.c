/* What the journal does behind a sale.archived: the sale's records go, the file shrinks, and
 * nothing else is lost, whenever the process ends and whatever the disk does. */
#include "tests/unit/check.h"

#include "tests/contract/faulty_vfs.h"
#include "tests/unit/journal_fixture.h"
#include "tests/unit/records.h"

#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static uint32_t landed; /* outcomes to be waited for */

static int try_open(void)
{
    landed = 0;
    return open_journal(NULL, NULL);
}

static void append(struct oq_event event, const char *sale)
{
    struct oq_ticket ticket = {0};
    int err;
    event.sale = str(sale);
    while ((err = oq_log_append(log_, &event, &ticket)) == PS_E_FULL)
        sched_yield();
    assert_ok(err);
    landed++;
}

static void append_orders(const char *sale, uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++)
        append(accepted(i, 1, "somebody-with-a-name", "", 1), sale);
}

static void wait_landed(void)
{
    log_watch_wait_outcomes(&watch, landed);
    for (size_t i = 0; i < landed; i++)
        assert_int_equal(watch.outcome[i].outcome, OQ_LANDED);
}

static off_t file_size(void)
{
    struct stat status;
    assert_ok(stat(path, &status));
    return status.st_size;
}

static void wait_for(const char *sql, int64_t value)
{
    for (int i = 0; i < 6000; i++) {
        if (ask_sql(sql) == value)
            return;
        usleep(5000);
    }
    fail_msg("%s: is %lld", sql, (long long)ask_sql(sql));
}

#define LEFT "SELECT count(*) FROM records WHERE sale = 'sale'"

static void the_records_of_an_archived_sale_go_and_the_file_shrinks(void **state)
{
    (void)state;
    assert_ok(try_open());
    append_orders("other", 1, 100);
    append_orders("sale", 1000, 20000);
    append_orders("other", 101, 100);
    append_orders("sale", 30000, 1000);
    wait_landed();
    append(archived(), "sale");
    append_orders("other", 201, 100);
    wait_landed();
    wait_for(LEFT, 1); /* the record itself */
    wait_for("SELECT count(*) FROM archived", 0);
    wait_for("PRAGMA freelist_count", 0);
    assert_int_equal(ask_sql("SELECT dropped FROM meta"), 21000);
    assert_int_equal(ask_sql("SELECT count(*) FROM records"), 301);
    stop();
    assert_true(file_size() < 600 * 1024); /* it was 9 MB */
    assert_ok(try_open());
    assert_int_equal(watch.record_count, 301);
    assert_int_equal(watch.record[300].seq, 21301);
    append_orders("other", 301, 1);
    wait_landed();
    assert_int_equal(watch.outcome[0].seq, 21302);
}

static void two_archived_sales_go_one_after_the_other(void **state)
{
    (void)state;
    assert_ok(try_open());
    for (uint32_t i = 0; i < 2000; i++)
        append_orders(i % 2 == 0 ? "sale" : "second", i, 1);
    append(archived(), "second");
    append(archived(), "sale");
    append(archived(), "sale"); /* once more: nothing is left to be done */
    wait_landed();
    wait_for("SELECT count(*) FROM archived", 0);
    assert_int_equal(ask_sql("SELECT count(*) FROM records"), 2);
    assert_int_equal(ask_sql("SELECT dropped FROM meta"), 2001);
    stop();
    assert_ok(try_open());
    assert_int_equal(watch.record_count, 2);
}

/* In a child, that ends in the middle of the deletion. */
static void archive_and_be_killed(useconds_t after_us)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (try_open() != 0)
            _exit(1);
        append_orders("other", 1, 10);
        append_orders("sale", 1000, 5000);
        append(archived(), "sale");
        log_watch_wait_outcomes(&watch, landed);
        usleep(after_us);
        kill(getpid(), SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
}

/* F27. */
static void a_deletion_that_a_crash_cut_off_goes_on_after_the_start(void **state)
{
    (void)state;
    for (useconds_t after_us = 0; after_us < 60000; after_us += 6000) {
        archive_and_be_killed(after_us);
        assert_ok(try_open());
        /* What is read is the beginning of the sale's history, and the record. */
        size_t count = watch.record_count;
        assert_in_range(count, 11, 5011);
        for (size_t i = 0; i < count - 1; i++)
            assert_int_equal(watch.record[i].seq, i + 1);
        assert_int_equal(watch.record[count - 1].type, OQ_ARCHIVED);
        assert_int_equal(watch.record[count - 1].seq, 5011);
        wait_for("SELECT count(*) FROM archived", 0);
        assert_int_equal(ask_sql(LEFT), 1);
        assert_int_equal(ask_sql("SELECT dropped FROM meta"), 5000);
        stop();
        char command[128];
        snprintf(command, sizeof command, "rm %s*", path);
        assert_ok(system(command));
    }
}

/* F27. */
static void a_disk_that_fails_during_the_deletion_hurts_no_order(void **state)
{
    (void)state;
    const enum faulty_call calls[] = {FAULTY_WRITE, FAULTY_SYNC};
    assert_ok(try_open());
    for (uint32_t i = 0; i < PS_ARRAY_LEN(calls); i++) {
        append_orders("sale", i * 100000, 30000); /* some sixty steps, with pauses */
        wait_landed();
        size_t changes = watch.changes, notices = watch.notices;
        append(archived(), "sale");
        wait_landed();
        faulty_vfs_fail(calls[i], FAULTY_WAL, SQLITE_FULL, 0, 1);
        for (int n = 0; n < 6000 && faulty_vfs_hits() == 0; n++)
            usleep(5000);
        assert_int_equal(faulty_vfs_hits(), 1);
        faulty_vfs_heal();
        /* An error of a COMMIT has the file opened again; any other one, a checkpoint's sync too,
         * is said, and waits. */
        log_watch_wait_back_or_notice(&watch, changes + 2, notices);
        append(accepted(500000 + i, 1, "u", "", 1), "other");
        wait_landed();
        wait_for("SELECT count(*) FROM archived", 0);
    }
    stop();
    assert_ok(try_open());
    assert_int_equal(watch.record_count, 3); /* the orders of the other sale, the last archived */
}

static void assert_refused(const char *word)
{
    assert_int_equal(try_open(), PS_E_CORRUPT);
    if (strstr(fault.text, word) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", fault.text, word);
}

static void a_record_that_no_archive_has_taken_is_missed(void **state)
{
    (void)state;
    assert_ok(try_open());
    append_orders("other", 1, 20);
    append_orders("sale", 100, 20);
    append(archived(), "sale");
    append_orders("other", 21, 20);
    wait_landed();
    wait_for("SELECT count(*) FROM archived", 0);
    stop();
    do_sql("CREATE TABLE kept AS SELECT * FROM records");
    do_sql("DELETE FROM records WHERE seq = 50"); /* behind the sale's */
    assert_refused("record 50 is missing");
    do_sql("INSERT INTO records SELECT * FROM kept WHERE seq = 50");
    do_sql("DELETE FROM records WHERE seq = 5"); /* before them */
    assert_refused("21 records are missing, 20 were deleted");
    do_sql("DELETE FROM records WHERE seq >= 41"); /* and the end of the file */
    assert_refused("is missing");
    do_sql("DELETE FROM records; INSERT INTO records SELECT * FROM kept; DROP TABLE kept");
    assert_ok(try_open());
}

static void a_journal_of_the_format_before_is_taken_over(void **state)
{
    (void)state;
    assert_ok(try_open());
    append_orders("sale", 1, 3000);
    wait_landed();
    stop();
    do_sql("DROP TABLE archived; ALTER TABLE meta DROP COLUMN dropped;"
           "ALTER TABLE meta DROP COLUMN dropped_upto; PRAGMA user_version = 1");
    do_sql("PRAGMA journal_mode = DELETE; PRAGMA auto_vacuum = NONE; VACUUM");
    off_t before = file_size();
    assert_ok(try_open());
    assert_int_equal(watch.record_count, 3000);
    append(archived(), "sale");
    wait_landed();
    wait_for("SELECT count(*) FROM archived", 0);
    assert_int_equal(ask_sql(LEFT), 1);
    assert_int_equal(ask_sql("PRAGMA user_version"), 2);
    /* Such a file keeps its size; its free pages are used again. */
    append_orders("other", 1, 2500);
    wait_landed();
    stop();
    assert_true(file_size() <= before + 65536);
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, make_journal_dir, drop_journal_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(the_records_of_an_archived_sale_go_and_the_file_shrinks),
        CLAIM(two_archived_sales_go_one_after_the_other),
        CLAIM(a_deletion_that_a_crash_cut_off_goes_on_after_the_start),
        CLAIM(a_disk_that_fails_during_the_deletion_hurts_no_order),
        CLAIM(a_record_that_no_archive_has_taken_is_missed),
        CLAIM(a_journal_of_the_format_before_is_taken_over),
    };
    faulty_vfs_register();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
