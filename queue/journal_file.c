/* The journal's file. Tables: records(seq, sale, body), where seq is 1, 2, 3… and body the record's
 * JSON; meta, one row, whose counters a transaction without records increments; archived, sales
 * whose records up to a number must be deleted. The numbers have gaps only where such records were:
 * meta counts them, and has the highest.
 *
 * At a start, checking the numbers and decoding every record replaces a check of the whole file
 * (measured: 1.3 s for 1 M records). PRAGMA quick_check would read it all again (0.35 s) and finds
 * hardly more in a table that is only appended to. */
#include "queue/journal_file.h"
#include "queue/log_backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READ_LIMIT 1000
/* Numbers that one deletion examines: some 200 KB of records. */
#define DROP_AT_ONCE 512

enum {
    INSERT,
    SELECT_ALL,
    SELECT_SOME,
    SELECT_DROPPED,
    ARCHIVE,
    SELECT_ARCHIVED,
    SELECT_BELOW,
    DELETE_SOME,
    COUNT_DROPPED,
    ARCHIVE_LESS,
    ARCHIVE_DONE,
    STATEMENT_COUNT
};
static const char *const statements[STATEMENT_COUNT] = {
    [INSERT] = "INSERT INTO records (seq, sale, body) VALUES (?1, ?2, ?3)",
    [SELECT_ALL] = "SELECT seq, body FROM records WHERE seq >= ?1 ORDER BY seq",
    [SELECT_SOME] = "SELECT seq, sale, body FROM records WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    [SELECT_DROPPED] = "SELECT dropped, dropped_upto FROM meta",
    [ARCHIVE] = "INSERT INTO archived (sale, upto) VALUES (?1, ?2)",
    [SELECT_ARCHIVED] = "SELECT rowid, sale, upto FROM archived ORDER BY rowid LIMIT 1",
    [SELECT_BELOW] = "SELECT coalesce(max(seq), 0) FROM records WHERE seq <= ?1",
    [DELETE_SOME] = "DELETE FROM records WHERE seq > ?1 AND seq <= ?2 AND sale = ?3",
    [COUNT_DROPPED] =
        "UPDATE meta SET dropped = dropped + ?1, dropped_upto = max(dropped_upto, ?2)",
    [ARCHIVE_LESS] = "UPDATE archived SET upto = ?1 WHERE rowid = ?2",
    [ARCHIVE_DONE] = "DELETE FROM archived WHERE rowid = ?1",
};

#define ARCHIVED_TABLE "CREATE TABLE archived (sale TEXT NOT NULL, upto INTEGER NOT NULL);"

const struct ps_db_kind oq_journal_kind = {
    .name = "journal",
    .holds = "the orders in it",
    .application_id = 0x50534a31, /* "PSJ1" */
    .format = 2,
    .tables = "CREATE TABLE records (seq INTEGER PRIMARY KEY, sale TEXT NOT NULL,"
              " body TEXT NOT NULL);"
              "CREATE TABLE meta (starts INTEGER NOT NULL, recoveries INTEGER NOT NULL,"
              " dropped INTEGER NOT NULL, dropped_upto INTEGER NOT NULL);" ARCHIVED_TABLE
              "INSERT INTO meta VALUES (0, 0, 0, 0)",
    .shrinks = true,
    .statements = statements,
    .statement_count = STATEMENT_COUNT,
};

struct file_reader {
    struct oq_reader reader;
    char path[PATH_MAX];
};

int oq_journal_file_upgrade(struct ps_db_file *file, struct ps_fault *fault)
{
    static const char from_1[] = "BEGIN IMMEDIATE;"
                                 "ALTER TABLE meta ADD COLUMN dropped INTEGER NOT NULL DEFAULT 0;"
                                 "ALTER TABLE meta ADD COLUMN dropped_upto INTEGER NOT NULL"
                                 " DEFAULT 0;" ARCHIVED_TABLE "PRAGMA user_version=2; COMMIT";
    struct ps_db *db = ps_db_file_db(file);
    int64_t format;
    int err = ps_db_number(db, "PRAGMA user_version", &format, fault);
    if (err != 0 || format == oq_journal_kind.format)
        return err;
    err = ps_db_exec(db, from_1, fault);
    if (err != 0)
        ps_db_file_rollback(file);
    return err;
}

/* How many records were deleted with their sales, and the highest number of one. */
static int read_dropped(struct ps_db *db, int64_t *ret_count, int64_t *ret_upto,
                        struct ps_fault *fault)
{
    struct ps_db_statement *row = ps_db_statement(db, SELECT_DROPPED);
    int found = ps_db_row(row, fault);
    if (found > 0) {
        *ret_count = ps_db_int(row, 0);
        *ret_upto = ps_db_int(row, 1);
    }
    ps_db_end_rows(row);
    if (found == 0)
        return ps_db_damaged(db, "the table meta is empty", fault);
    return found < 0 ? found : 0;
}

int oq_journal_file_read(struct ps_db_file *file, int64_t after, oq_journal_file_fn *fn, void *ctx,
                         int64_t *ret_last, struct ps_fault *fault)
{
    struct ps_db *db = ps_db_file_db(file);
    struct ps_db_statement *rows = ps_db_statement(db, SELECT_ALL);
    int64_t dropped, upto, missing = 0, expected = after > 0 ? after : 1;
    int found = 0, err = read_dropped(db, &dropped, &upto, fault);
    ps_db_bind_int(rows, 1, after);
    while (err == 0 && (found = ps_db_row(rows, fault)) > 0) {
        int64_t seq = ps_db_int(rows, 0);
        if (seq != expected && (seq < expected || seq - 1 > upto))
            break;
        missing += seq - expected;
        expected = seq + 1;
        if (seq > after)
            err = fn(seq, ps_db_text(rows, 1), fault, ctx);
    }
    /* A sale.archived follows every deleted record. */
    bool short_of = expected <= after || expected <= upto;
    if (err == 0 && found < 0) {
        err = found;
    } else if (err == 0 && (found > 0 || short_of)) {
        char what[64];
        snprintf(what, sizeof what, "record %lld is missing", (long long)expected);
        err = ps_db_damaged(db, what, fault);
    } else if (err == 0 && after == 0 && missing != dropped) {
        char what[96];
        snprintf(what, sizeof what, "%lld records are missing, %lld were deleted with their sales",
                 (long long)missing, (long long)dropped);
        err = ps_db_damaged(db, what, fault);
    }
    ps_db_end_rows(rows);
    if (err == 0)
        *ret_last = expected - 1;
    return err;
}

int oq_journal_file_record(struct ps_db_file *file, int64_t seq, oq_journal_file_fn *fn, void *ctx,
                           struct ps_fault *fault)
{
    struct ps_db_statement *rows = ps_db_statement(ps_db_file_db(file), SELECT_SOME);
    ps_db_bind_int(rows, 1, seq - 1);
    ps_db_bind_int(rows, 2, 1);
    int err = ps_db_row(rows, fault);
    if (err == 0 || (err > 0 && ps_db_int(rows, 0) != seq))
        err = PS_E_NOT_FOUND;
    else if (err > 0)
        err = fn(seq, ps_db_text(rows, 2), fault, ctx);
    ps_db_end_rows(rows);
    return err;
}

/* --- Writing --- */

int oq_journal_file_begin(struct ps_db_file *file, enum oq_journal_note note,
                          struct ps_fault *fault)
{
    static const char *const notes[] = {
        [OQ_JOURNAL_STARTED] = "UPDATE meta SET starts = starts + 1",
        [OQ_JOURNAL_RECOVERED] = "UPDATE meta SET recoveries = recoveries + 1",
    };
    int err = ps_db_file_begin(file, fault);
    if (err != 0 || note == OQ_JOURNAL_NO_NOTE)
        return err;
    return ps_db_exec(ps_db_file_db(file), notes[note], fault);
}

int oq_journal_file_insert(struct ps_db_file *file, int64_t seq, struct ps_str sale,
                           struct ps_str json, struct ps_fault *fault)
{
    struct ps_db_statement *insert = ps_db_statement(ps_db_file_db(file), INSERT);
    ps_db_bind_int(insert, 1, seq);
    ps_db_bind_text(insert, 2, sale);
    ps_db_bind_text(insert, 3, json);
    return ps_db_run(insert, fault);
}

/* --- Deleting archived sales --- */

int oq_journal_file_archive(struct ps_db_file *file, struct ps_str sale, int64_t upto,
                            struct ps_fault *fault)
{
    struct ps_db_statement *insert = ps_db_statement(ps_db_file_db(file), ARCHIVE);
    ps_db_bind_text(insert, 1, sale);
    ps_db_bind_int(insert, 2, upto);
    return ps_db_run(insert, fault);
}

int oq_journal_file_skip(struct ps_db_file *file, int64_t count, int64_t upto,
                         struct ps_fault *fault)
{
    struct ps_db_statement *dropped = ps_db_statement(ps_db_file_db(file), COUNT_DROPPED);
    ps_db_bind_int(dropped, 1, count);
    ps_db_bind_int(dropped, 2, upto);
    return ps_db_run(dropped, fault);
}

int oq_journal_file_below(struct ps_db_file *file, int64_t upto, int64_t *ret_seq,
                          struct ps_fault *fault)
{
    struct ps_db *db = ps_db_file_db(file);
    *ret_seq = 0;
    struct ps_db_statement *row = ps_db_statement(db, SELECT_BELOW);
    ps_db_bind_int(row, 1, upto);
    int found = ps_db_row(row, fault);
    if (found > 0)
        *ret_seq = ps_db_int(row, 0);
    ps_db_end_rows(row);
    return found < 0 ? found : 0;
}

/* In a transaction: deletes the sale's records among the last numbers up to `upto`. */
static int drop_some(struct ps_db_file *file, int64_t row, struct ps_str sale, int64_t upto,
                     struct ps_fault *fault)
{
    struct ps_db *db = ps_db_file_db(file);
    int64_t high;
    int err = oq_journal_file_below(file, upto, &high, fault);
    if (err != 0)
        return err;
    int64_t low = high > DROP_AT_ONCE ? high - DROP_AT_ONCE : 0;
    struct ps_db_statement *drop = ps_db_statement(db, DELETE_SOME);
    ps_db_bind_int(drop, 1, low);
    ps_db_bind_int(drop, 2, high);
    ps_db_bind_text(drop, 3, sale);
    err = ps_db_run(drop, fault);
    int64_t count = ps_db_changes(db);
    if (err == 0 && count > 0)
        err = oq_journal_file_skip(file, count, high, fault);
    if (err != 0)
        return err;
    struct ps_db_statement *note = ps_db_statement(db, low > 0 ? ARCHIVE_LESS : ARCHIVE_DONE);
    if (low > 0)
        ps_db_bind_int(note, 1, low);
    ps_db_bind_int(note, low > 0 ? 2 : 1, row);
    return ps_db_run(note, fault);
}

int oq_journal_file_drop(struct ps_db_file *file, bool *ret_unknown, struct ps_fault *fault)
{
    struct ps_db *db = ps_db_file_db(file);
    struct ps_db_statement *next = ps_db_statement(db, SELECT_ARCHIVED);
    char sale[PS_NAME_MAX + 1];
    *ret_unknown = false;
    int found = ps_db_row(next, fault);
    int64_t row = 0, upto = 0;
    if (found > 0) {
        row = ps_db_int(next, 0);
        upto = ps_db_int(next, 2);
        snprintf(sale, sizeof sale, "%s", ps_db_text(next, 1).at);
    }
    ps_db_end_rows(next);
    if (found < 0)
        return found;
    if (found == 0)
        return ps_db_file_shrink(file, ret_unknown, fault);
    int err = ps_db_file_begin(file, fault);
    if (err == 0)
        err = drop_some(file, row, (struct ps_str){sale, strlen(sale)}, upto, fault);
    if (err == 0)
        err = ps_db_file_commit(file, ret_unknown, fault);
    else
        ps_db_file_rollback(file);
    return err == 0 ? 1 : err;
}

/* --- Reading beside the writer: a connection for each call, since one that stays open would hold
 * up a writer whose disk has failed (db_file.h). It costs some 0.2 ms. --- */

/* *ret_last = the last record read. Returns the function's value if it is negative. */
static int give_rows(struct ps_db_statement *rows, const struct oq_read *read, int64_t *ret_last,
                     struct ps_fault *fault)
{
    size_t given = 0;
    int found;
    while (given < read->limit && (found = ps_db_row(rows, fault)) != 0) {
        if (found < 0)
            return found;
        if (read->sale == NULL || strcmp(ps_db_text(rows, 1).at, read->sale) == 0) {
            int stop = read->fn(ps_db_int(rows, 0), ps_db_text(rows, 2), read->ctx);
            if (stop != 0)
                return stop < 0 ? stop : 0;
            given++;
        }
        *ret_last = ps_db_int(rows, 0);
    }
    return 0;
}

static int open_to_read(struct file_reader *reader, struct ps_db **ret_db)
{
    const struct ps_db_file_settings settings = {
        .kind = &oq_journal_kind, .path = reader->path, .lock = -1};
    reader->reader.fault.text[0] = '\0';
    return ps_db_file_read(&settings, ret_db, &reader->reader.fault);
}

static int reader_read(struct oq_reader *of, const struct oq_read *read, int64_t *ret_last)
{
    struct file_reader *reader = (struct file_reader *)(void *)of;
    int64_t last = read->after;
    struct ps_db *db;
    int err = open_to_read(reader, &db);
    if (err != 0)
        return err;
    struct ps_db_statement *rows = ps_db_statement(db, SELECT_SOME);
    ps_db_bind_int(rows, 1, read->after);
    ps_db_bind_int(rows, 2, READ_LIMIT);
    err = give_rows(rows, read, &last, &of->fault);
    ps_db_close(db);
    if (err == 0)
        *ret_last = last;
    return err;
}

static void reader_free(struct oq_reader *of)
{
    free(of);
}

static const struct oq_reader_ops reader_ops = {.read = reader_read, .free = reader_free};

int oq_journal_reader_open(const char *path, struct oq_reader **ret_reader, struct ps_fault *fault)
{
    if (strlen(path) >= PATH_MAX - PS_DB_FILE_SUFFIX_MAX)
        return ps_fault(fault, PS_E_INVALID, path, "the path is too long");
    struct file_reader *reader = calloc(1, sizeof *reader);
    struct ps_db *db;
    if (reader == NULL)
        return ps_fault(fault, PS_E_NOMEM, path, "out of memory");
    reader->reader.ops = &reader_ops;
    snprintf(reader->path, sizeof reader->path, "%s", path);
    int err = open_to_read(reader, &db);
    if (err != 0) {
        ps_fault(fault, err, reader->reader.fault.path, "%s", reader->reader.fault.text);
        free(reader);
        return err;
    }
    ps_db_close(db);
    *ret_reader = &reader->reader;
    return 0;
}

int oq_journal_reader_dropped(struct oq_reader *of, int64_t *ret_seq)
{
    struct file_reader *reader = (struct file_reader *)(void *)of;
    struct ps_db *db;
    int64_t format, count;
    int err = open_to_read(reader, &db);
    if (err != 0)
        return err;
    *ret_seq = 0;
    err = ps_db_number(db, "PRAGMA user_version", &format, &of->fault);
    if (err == 0 && format > 1) /* no gateway has deleted anything in an older one */
        err = read_dropped(db, &count, ret_seq, &of->fault);
    ps_db_close(db);
    return err;
}

int oq_journal_reader_end(struct oq_reader *of, int64_t *ret_seq)
{
    struct file_reader *reader = (struct file_reader *)(void *)of;
    struct ps_db *db;
    int err = open_to_read(reader, &db);
    if (err != 0)
        return err;
    err = ps_db_number(db, "SELECT coalesce(max(seq), 0) FROM records", ret_seq, &of->fault);
    ps_db_close(db);
    return err;
}
