/* The journal's file. Tables: records(seq, sale, body), where seq is 1, 2, 3… without a gap and
 * body the record's JSON; meta, one row, whose counters are what a transaction without records
 * writes.
 *
 * The numbers without a gap and the decoding of every record at start stand for a check of the
 * whole file (measured: 1.3 s for 1 M records). PRAGMA quick_check would read it all once more
 * (0.35 s) and sees hardly more in a table that is only appended to. */
#include "queue/journal_file.h"
#include "queue/log_backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READ_LIMIT 1000

#define TEXT(number)    TEXT_OF(number)
#define TEXT_OF(number) #number

static const struct oq_db_kind kind = {
    .name = "journal",
    .application_id = 0x50534a31, /* "PSJ1" */
    .format = 1,
    .tables = "CREATE TABLE records (seq INTEGER PRIMARY KEY, sale TEXT NOT NULL,"
              " body TEXT NOT NULL);"
              "CREATE TABLE meta (starts INTEGER NOT NULL, recoveries INTEGER NOT NULL);"
              "INSERT INTO meta VALUES (0, 0)",
};

struct oq_file {
    struct oq_db db;
    sqlite3_stmt *insert;
};

struct file_reader {
    struct oq_reader reader;
    char path[PATH_MAX];
    sqlite3 *db;
    sqlite3_stmt *select;
};

int oq_file_lock(const char *path, int *ret_lock, struct ps_fault *fault)
{
    return oq_db_lock(&kind, path, ret_lock, fault);
}

int oq_file_create(const char *path, const char *vfs, struct ps_fault *fault)
{
    return oq_db_create(&kind, path, vfs, fault);
}

int oq_file_open(const char *path, const char *vfs, struct oq_file **ret_file,
                 struct ps_fault *fault)
{
    struct oq_file *file = calloc(1, sizeof *file);
    if (file == NULL)
        return ps_fault(fault, PS_E_NOMEM, path, "out of memory");
    int err = oq_db_open(&kind, path, vfs, &file->db, fault);
    if (err != 0)
        goto fail;
    int rc = sqlite3_prepare_v3(file->db.handle,
                                "INSERT INTO records (seq, sale, body) VALUES (?1, ?2, ?3)", -1,
                                SQLITE_PREPARE_PERSISTENT, &file->insert, NULL);
    if (rc != SQLITE_OK) {
        err = oq_db_failed(file->db.handle, rc, path, "opening", fault);
        goto fail;
    }
    *ret_file = file;
    return 0;
fail:
    oq_file_close(file);
    return err;
}

void oq_file_close(struct oq_file *file)
{
    if (file == NULL)
        return;
    sqlite3_finalize(file->insert);
    oq_db_close(&file->db);
    free(file);
}

int oq_file_read(struct oq_file *file, int64_t after,
                 int (*fn)(int64_t seq, struct ps_str json, struct ps_fault *fault, void *ctx),
                 void *ctx, int64_t *ret_last, struct ps_fault *fault)
{
    sqlite3_stmt *select;
    int rc = sqlite3_prepare_v2(file->db.handle,
                                "SELECT seq, body FROM records WHERE seq >= ?1 ORDER BY seq", -1,
                                &select, NULL);
    if (rc != SQLITE_OK)
        return oq_db_failed(file->db.handle, rc, file->db.path, "reading", fault);
    sqlite3_bind_int64(select, 1, after);
    int64_t expected = after > 0 ? after : 1;
    int err = 0;
    while (err == 0 && (rc = sqlite3_step(select)) == SQLITE_ROW) {
        int64_t seq = sqlite3_column_int64(select, 0);
        if (seq != expected)
            break;
        expected++;
        struct ps_str json = {.at = (const char *)sqlite3_column_text(select, 1)};
        json.len = (size_t)sqlite3_column_bytes(select, 1);
        if (seq > after)
            err = fn(seq, json, fault, ctx);
    }
    if (err == 0 && rc != SQLITE_DONE && rc != SQLITE_ROW)
        err = oq_db_failed(file->db.handle, rc, file->db.path, "reading", fault);
    else if (err == 0 && (rc == SQLITE_ROW || expected <= after)) {
        char what[64];
        snprintf(what, sizeof what, "record %lld is missing", (long long)expected);
        err = oq_db_torn(file->db.path, fault, what);
    }
    sqlite3_finalize(select);
    if (err == 0)
        *ret_last = expected - 1;
    return err;
}

/* --- Writing --- */

int oq_file_begin(struct oq_file *file, enum oq_file_note note, struct ps_fault *fault)
{
    static const char *const notes[] = {
        [OQ_FILE_STARTED] = "UPDATE meta SET starts = starts + 1",
        [OQ_FILE_RECOVERED] = "UPDATE meta SET recoveries = recoveries + 1",
    };
    int err = oq_db_begin(&file->db, fault);
    if (err != 0 || note == OQ_FILE_NO_NOTE)
        return err;
    return oq_db_exec(&file->db, notes[note], fault);
}

int oq_file_insert(struct oq_file *file, int64_t seq, struct ps_str sale, struct ps_str json,
                   struct ps_fault *fault)
{
    sqlite3_bind_int64(file->insert, 1, seq);
    sqlite3_bind_text(file->insert, 2, sale.at, (int)sale.len, SQLITE_STATIC);
    sqlite3_bind_text(file->insert, 3, json.at, (int)json.len, SQLITE_STATIC);
    return oq_db_run(&file->db, file->insert, fault);
}

struct oq_db *oq_file_db(struct oq_file *file)
{
    return &file->db;
}

/* --- Reading beside the writer: a connection of its own, short transactions --- */

static int reader_read(struct oq_reader *of, int64_t after, size_t limit, const char *sale,
                       oq_read_fn *fn, void *ctx, int64_t *ret_last)
{
    struct file_reader *reader = (struct file_reader *)(void *)of;
    size_t sale_len = sale != NULL ? strlen(sale) : 0;
    int64_t last = after;
    int stop = 0;
    int rc = SQLITE_DONE;
    sqlite3_bind_int64(reader->select, 1, after);
    while (limit > 0 && (rc = sqlite3_step(reader->select)) == SQLITE_ROW) {
        int64_t seq = sqlite3_column_int64(reader->select, 0);
        const void *of_sale = sqlite3_column_text(reader->select, 1);
        size_t of_len = (size_t)sqlite3_column_bytes(reader->select, 1);
        if (sale == NULL || (of_len == sale_len && memcmp(of_sale, sale, sale_len) == 0)) {
            struct ps_str json = {.at = (const char *)sqlite3_column_text(reader->select, 2)};
            json.len = (size_t)sqlite3_column_bytes(reader->select, 2);
            stop = fn(seq, json, ctx);
            if (stop != 0)
                break;
            limit--;
        }
        last = seq;
    }
    int err = 0;
    if (stop < 0)
        err = stop;
    else if (rc != SQLITE_DONE && rc != SQLITE_ROW)
        err = oq_db_failed(reader->db, rc, reader->path, "reading", NULL);
    sqlite3_reset(reader->select);
    if (err == 0)
        *ret_last = last;
    return err;
}

static void reader_free(struct oq_reader *of)
{
    struct file_reader *reader = (struct file_reader *)(void *)of;
    sqlite3_finalize(reader->select);
    sqlite3_close(reader->db);
    free(reader);
}

static const struct oq_reader_ops reader_ops = {.read = reader_read, .free = reader_free};

int oq_journal_reader_open(const char *path, struct oq_reader **ret_reader, struct ps_fault *fault)
{
    if (strlen(path) >= PATH_MAX - OQ_FILE_SUFFIX_MAX)
        return ps_fault(fault, PS_E_INVALID, path, "the path is too long");
    struct file_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL)
        return ps_fault(fault, PS_E_NOMEM, path, "out of memory");
    reader->reader.ops = &reader_ops;
    snprintf(reader->path, sizeof reader->path, "%s", path);
    int err = oq_db_open_reader(&kind, path, &reader->db, fault);
    if (err != 0)
        goto fail;
    int rc = sqlite3_prepare_v3(reader->db,
                                "SELECT seq, sale, body FROM records WHERE seq > ?1 ORDER BY seq"
                                " LIMIT " TEXT(READ_LIMIT),
                                -1, SQLITE_PREPARE_PERSISTENT, &reader->select, NULL);
    if (rc != SQLITE_OK) {
        err = oq_db_failed(reader->db, rc, path, "opening", fault);
        goto fail;
    }
    *ret_reader = &reader->reader;
    return 0;
fail:
    reader_free(&reader->reader);
    return err;
}

int oq_journal_reader_end(struct oq_reader *of, int64_t *ret_seq)
{
    struct file_reader *reader = (struct file_reader *)(void *)of;
    sqlite3_stmt *select;
    int64_t end = 0;
    int rc = sqlite3_prepare_v2(reader->db, "SELECT max(seq) FROM records", -1, &select, NULL);
    if (rc == SQLITE_OK) {
        if (sqlite3_step(select) == SQLITE_ROW)
            end = sqlite3_column_int64(select, 0);
        rc = sqlite3_finalize(select);
    }
    if (rc != SQLITE_OK)
        return oq_db_failed(reader->db, rc, reader->path, "reading", NULL);
    *ret_seq = end;
    return 0;
}
