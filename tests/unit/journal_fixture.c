/* See journal_fixture.h. */
#include "tests/unit/journal_fixture.h"

#include "tests/contract/faulty_vfs.h"
#include "tests/unit/check.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

char dir[64], path[96];
struct log_watch watch;
struct oq_log *log_;
struct ps_fault fault;

int make_journal_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/penstock-journal-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/journal.db", dir);
    return 0;
}

int drop_journal_dir(void **state)
{
    (void)state;
    faulty_vfs_heal();
    if (log_ != NULL)
        stop();
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command);
}

int open_journal(struct oq_mark *mark, int (*on_marks)(bool fits, const char *why,
                                                       struct oq_sale_marks *sales, void *ctx))
{
    const struct oq_journal_settings settings = {.path = path,
                                                 .mark = mark,
                                                 .queue_capacity = 1024,
                                                 .batch_max = 256,
                                                 .retry_ms = 10,
                                                 .vfs = FAULTY_VFS,
                                                 .clock = &ps_clock_system};
    log_watch_init(&watch);
    memset(&fault, 0, sizeof fault);
    struct oq_log_callbacks callbacks = log_watch_callbacks(&watch);
    if (on_marks != NULL)
        callbacks.on_marks = on_marks;
    int err = oq_journal_open(&settings, &callbacks, &log_, &fault);
    if (err != 0)
        log_watch_done(&watch);
    return err;
}

void stop(void)
{
    assert_ok(oq_log_close(log_, 30000));
    oq_log_free(log_);
    log_watch_done(&watch);
    log_ = NULL;
}

void do_sql(const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

int64_t ask_sql(const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return value;
}
