/* A durable SQLite file: what a transaction's outcome means, and what is there after the next open.
 */
#include "common/db/db_file.h"
#include "tests/contract/faulty_vfs.h"
#include "tests/unit/check.h"
#include "tests/unit/temp_dir.h"

#include <sqlite3.h>
#include <stdio.h>
#include <sys/stat.h>

enum { INSERT, INSERT_LARGE, COUNT };
static const char *const statements[] = {[INSERT] = "INSERT INTO row VALUES (?1)",
                                         [INSERT_LARGE] = "INSERT INTO large VALUES (zeroblob(?1))",
                                         [COUNT] = "SELECT count(*) FROM row WHERE number = ?1"};

static const struct ps_db_kind kind = {.name = "test file",
                                       .holds = "the rows in it",
                                       .application_id = 0x50535478,
                                       .format = 2,
                                       .tables = "CREATE TABLE row (number INTEGER PRIMARY KEY);"
                                                 "CREATE TABLE large (bytes BLOB)",
                                       .statements = statements,
                                       .statement_count = PS_ARRAY_LEN(statements)};

static struct temp_dir dir;
static const char *path;
static int lock;
static struct ps_db_file *file;
static struct ps_fault fault;

static struct ps_db_file_settings settings_of(const struct ps_db_kind *of)
{
    return (struct ps_db_file_settings){.kind = of, .path = path, .vfs = FAULTY_VFS, .lock = lock};
}

static void open_file(void)
{
    const struct ps_db_file_settings settings = settings_of(&kind);
    assert_ok(ps_db_file_open(&settings, &file, &fault));
}

static void open_again(void)
{
    ps_db_file_close(file);
    open_file();
}

static int set_up(void **state)
{
    (void)state;
    dir = temp_dir_make();
    path = temp_file(&dir, "test.db");
    assert_ok(ps_db_file_lock(&kind, path, &lock, &fault));
    assert_ok(ps_db_file_create(&kind, path, FAULTY_VFS, &fault));
    open_file();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    faulty_vfs_heal();
    ps_db_file_close(file);
    close(lock);
    temp_dir_remove(&dir);
    return 0;
}

static int insert(int64_t number)
{
    struct ps_db_statement *statement = ps_db_statement(ps_db_file_db(file), INSERT);
    ps_db_bind_int(statement, 1, number);
    return ps_db_run(statement, &fault);
}

static int write_row(int64_t number, bool *ret_unknown)
{
    assert_ok(ps_db_file_begin(file, &fault));
    assert_ok(insert(number));
    return ps_db_file_commit(file, ret_unknown, &fault);
}

static int64_t rows_of(int64_t number)
{
    struct ps_db_statement *statement = ps_db_statement(ps_db_file_db(file), COUNT);
    ps_db_bind_int(statement, 1, number);
    assert_int_equal(ps_db_row(statement, &fault), 1);
    int64_t count = ps_db_int(statement, 0);
    ps_db_end_rows(statement);
    return count;
}

static void what_was_committed_is_there_after_the_next_open(void **state)
{
    (void)state;
    bool unknown;
    assert_ok(write_row(1, &unknown));
    assert_false(unknown);
    open_again();
    assert_int_equal(rows_of(1), 1);
}

static void a_transaction_that_meets_a_full_disk_has_surely_failed(void **state)
{
    (void)state;
    bool unknown = true;
    faulty_vfs_fail(FAULTY_WRITE, FAULTY_WAL, SQLITE_FULL, 0, 1);
    assert_int_equal(write_row(1, &unknown), PS_E_IO);
    assert_false(unknown);
    assert_non_null(strstr(fault.text, "disk is full"));
    faulty_vfs_heal();
    open_again();
    assert_int_equal(rows_of(1), 0);
}

static void the_outcome_of_a_commit_whose_sync_failed_is_unknown(void **state)
{
    (void)state;
    bool unknown;
    assert_ok(write_row(0, &unknown)); /* the WAL's head is synced before the first commit */
    faulty_vfs_fail(FAULTY_SYNC, FAULTY_WAL, SQLITE_IOERR_FSYNC, 0, 1);
    assert_int_equal(write_row(1, &unknown), PS_E_IO);
    assert_true(unknown);
    faulty_vfs_heal();
    open_again();
    int64_t there = rows_of(1); /* either; from now on for good */
    assert_ok(write_row(2, &unknown));
    open_again();
    assert_int_equal(rows_of(1), there);
    assert_int_equal(rows_of(2), 1);
}

static void a_refused_statement_leaves_the_transaction_to_be_rolled_back(void **state)
{
    (void)state;
    bool unknown;
    assert_ok(write_row(1, &unknown));
    assert_ok(ps_db_file_begin(file, &fault));
    assert_ok(insert(2));
    assert_int_equal(insert(1), PS_E_CORRUPT);
    ps_db_file_rollback(file);
    assert_ok(write_row(3, &unknown));
    assert_int_equal(rows_of(2), 0);
    assert_int_equal(rows_of(3), 1);
}

static void a_value_that_cannot_be_bound_runs_nothing(void **state)
{
    (void)state;
    struct ps_db_statement *statement = ps_db_statement(ps_db_file_db(file), INSERT);
    ps_db_bind_int(statement, 1, 7);
    ps_db_bind_int(statement, 2, 7); /* there is no such parameter */
    assert_true(ps_db_run(statement, &fault) < 0);
    assert_int_equal(rows_of(7), 0);
}

static void a_file_of_a_later_format_is_refused(void **state)
{
    (void)state;
    struct ps_db_kind older = kind;
    older.format = 1;
    const struct ps_db_file_settings settings = settings_of(&older);
    struct ps_db_file *none;
    struct ps_db *reader;
    ps_db_file_close(file);
    file = NULL;
    assert_int_equal(ps_db_file_open(&settings, &none, &fault), PS_E_NEWER);
    assert_int_equal(ps_db_file_read(&settings, &reader, &fault), PS_E_NEWER);
    assert_non_null(strstr(fault.text, "newer program"));
}

static void a_reader_reads_beside_the_writer_and_cannot_write(void **state)
{
    (void)state;
    bool unknown;
    struct ps_db *reader;
    const struct ps_db_file_settings settings = settings_of(&kind);
    int64_t rows;
    assert_ok(write_row(1, &unknown));
    assert_ok(ps_db_file_read(&settings, &reader, &fault));
    assert_ok(ps_db_number(reader, "SELECT count(*) FROM row", &rows, &fault));
    assert_int_equal(rows, 1);
    assert_int_equal(ps_db_exec(reader, "DELETE FROM row", &fault), PS_E_READ_ONLY);
    ps_db_close(reader);
    assert_int_equal(rows_of(1), 1);
}

#define PAGE 8192

static void write_pages(int64_t count)
{
    bool unknown;
    struct ps_db_statement *statement = ps_db_statement(ps_db_file_db(file), INSERT_LARGE);
    assert_ok(ps_db_file_begin(file, &fault));
    ps_db_bind_int(statement, 1, count * PAGE);
    assert_ok(ps_db_run(statement, &fault));
    assert_ok(ps_db_file_commit(file, &unknown, &fault));
    assert_ok(ps_db_file_tidy(file, &fault));
}

static off_t wal_pages(void)
{
    char name[256];
    struct stat status;
    snprintf(name, sizeof name, "%s-wal", path);
    assert_ok(stat(name, &status));
    return status.st_size / PAGE;
}

/* Pages are written until the copier is at its work, and then some more before it may end it. How
 * many pages that were. */
static size_t write_beside_a_copy(void)
{
    enum { MORE = 150 };
    size_t pages = MORE;
    faulty_vfs_hang(FAULTY_SYNC, FAULTY_DATABASE);
    for (; !faulty_vfs_hung(); pages += 10) {
        write_pages(10);
        usleep(1000);
    }
    write_pages(MORE);
    faulty_vfs_hang(FAULTY_NONE, FAULTY_ANY);
    return pages;
}

/* Else a disk that copies more slowly than orders come fills up with the WAL. An eighth of it may
 * be left for the writer to copy, and that is at most what comes from the beginning of one copy to
 * the end of the next. */
static void the_wal_starts_anew_however_much_is_written_beside_each_copy(void **state)
{
    enum { WAL_MAX = 8 * 2 + 1 };
    size_t most = 1;
    (void)state;
    for (size_t written = 0, pages; written < 2 * WAL_MAX * most; written += pages) {
        pages = write_beside_a_copy();
        most = pages > most ? pages : most;
    }
    assert_in_range(wal_pages(), most, WAL_MAX * most);
}

int main(void)
{
    faulty_vfs_register();
#define CLAIM(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CLAIM(what_was_committed_is_there_after_the_next_open),
        CLAIM(a_transaction_that_meets_a_full_disk_has_surely_failed),
        CLAIM(the_outcome_of_a_commit_whose_sync_failed_is_unknown),
        CLAIM(a_refused_statement_leaves_the_transaction_to_be_rolled_back),
        CLAIM(a_value_that_cannot_be_bound_runs_nothing),
        CLAIM(a_file_of_a_later_format_is_refused),
        CLAIM(a_reader_reads_beside_the_writer_and_cannot_write),
        CLAIM(the_wal_starts_anew_however_much_is_written_beside_each_copy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
