/* The spill's file. Tables: spilled(seq, body), body the record's JSON; meta, one row, whose
 * counter is what a transaction without records writes.
 *
 * What must hold: the numbers in it have no gap, so that two of them say how many there are. */
#include "queue/spill_file.h"

#include <stdio.h>
#include <stdlib.h>

static const struct oq_db_kind kind = {
    .name = "spill file",
    .application_id = 0x50535331, /* "PSS1" */
    .format = 1,
    .tables = "CREATE TABLE spilled (seq INTEGER PRIMARY KEY, body TEXT NOT NULL);"
              "CREATE TABLE meta (recoveries INTEGER NOT NULL);"
              "INSERT INTO meta VALUES (0)",
};

struct oq_spill_file {
    struct oq_db db;
    sqlite3_stmt *insert, *drop, *select;
};

int oq_spill_file_lock(const char *path, int *ret_lock, struct ps_fault *fault)
{
    return oq_db_lock(&kind, path, ret_lock, fault);
}

int oq_spill_file_create(const char *path, const char *vfs, struct ps_fault *fault)
{
    return oq_db_create(&kind, path, vfs, fault);
}

static int failed(struct oq_spill_file *file, int rc, const char *doing, struct ps_fault *fault)
{
    return oq_db_failed(file->db.handle, rc, file->db.path, doing, fault);
}

static int prepare(struct oq_spill_file *file, struct ps_fault *fault)
{
    const struct {
        sqlite3_stmt **statement;
        const char *sql;
    } statements[] = {
        {&file->insert, "INSERT INTO spilled (seq, body) VALUES (?1, ?2)"},
        {&file->drop, "DELETE FROM spilled WHERE seq <= ?1"},
        {&file->select, "SELECT seq, body FROM spilled WHERE seq > ?1 ORDER BY seq LIMIT ?2"},
    };
    int rc = SQLITE_OK;
    for (size_t i = 0; i < PS_ARRAY_LEN(statements) && rc == SQLITE_OK; i++)
        rc = sqlite3_prepare_v3(file->db.handle, statements[i].sql, -1, SQLITE_PREPARE_PERSISTENT,
                                statements[i].statement, NULL);
    return rc == SQLITE_OK ? 0 : failed(file, rc, "opening", fault);
}

static int read_numbers(struct oq_spill_file *file, int64_t *ret_last, uint64_t *ret_count,
                        struct ps_fault *fault)
{
    /* Two subqueries, since each alone is one step into the table. */
    static const char sql[] =
        "SELECT (SELECT min(seq) FROM spilled), (SELECT max(seq) FROM spilled)";
    sqlite3_stmt *numbers;
    int rc = sqlite3_prepare_v2(file->db.handle, sql, -1, &numbers, NULL);
    if (rc != SQLITE_OK)
        return failed(file, rc, "reading", fault);
    int64_t last = *ret_last;
    uint64_t count = 0;
    if (sqlite3_step(numbers) == SQLITE_ROW && sqlite3_column_type(numbers, 0) != SQLITE_NULL) {
        last = sqlite3_column_int64(numbers, 1);
        count = (uint64_t)(last - sqlite3_column_int64(numbers, 0) + 1);
    }
    rc = sqlite3_finalize(numbers);
    if (rc != SQLITE_OK)
        return failed(file, rc, "reading", fault);
    *ret_last = last;
    *ret_count = count;
    return 0;
}

int oq_spill_file_open(const char *path, const char *vfs, struct oq_spill_file **ret_file,
                       int64_t *ret_last, uint64_t *ret_count, struct ps_fault *fault)
{
    struct oq_spill_file *file = calloc(1, sizeof *file);
    if (file == NULL)
        return ps_fault(fault, PS_E_NOMEM, path, "out of memory");
    int err = oq_db_open(&kind, path, vfs, &file->db, fault);
    if (err == 0)
        err = prepare(file, fault);
    if (err == 0)
        err = read_numbers(file, ret_last, ret_count, fault);
    if (err != 0) {
        oq_spill_file_close(file);
        return err;
    }
    *ret_file = file;
    return 0;
}

void oq_spill_file_close(struct oq_spill_file *file)
{
    if (file == NULL)
        return;
    sqlite3_finalize(file->insert);
    sqlite3_finalize(file->drop);
    sqlite3_finalize(file->select);
    oq_db_close(&file->db);
    free(file);
}

static int insert(struct oq_spill_file *file, int64_t first, const struct oq_record *const *records,
                  size_t count, struct ps_fault *fault)
{
    int err = oq_db_begin(&file->db, fault);
    if (err == 0 && count == 0)
        err = oq_db_exec(&file->db, "UPDATE meta SET recoveries = recoveries + 1", fault);
    for (size_t i = 0; i < count && err == 0; i++) {
        struct ps_str json = records[i]->json;
        sqlite3_bind_int64(file->insert, 1, first + (int64_t)i);
        sqlite3_bind_text(file->insert, 2, json.at, (int)json.len, SQLITE_STATIC);
        err = oq_db_run(&file->db, file->insert, fault);
    }
    return err == 0 ? oq_db_flush(&file->db, fault) : err;
}

int oq_spill_file_write(struct oq_spill_file *file, int64_t first,
                        const struct oq_record *const *records, size_t count, bool *ret_unknown,
                        struct ps_fault *fault)
{
    int err = insert(file, first, records, count, fault);
    *ret_unknown = err == 0;
    if (err != 0) {
        oq_db_rollback(&file->db);
        return err;
    }
    return oq_db_commit(&file->db, fault);
}

int oq_spill_file_drop(struct oq_spill_file *file, int64_t last, struct ps_fault *fault)
{
    int err = oq_db_begin(&file->db, fault);
    sqlite3_bind_int64(file->drop, 1, last);
    if (err == 0)
        err = oq_db_run(&file->db, file->drop, fault);
    return err == 0 ? oq_db_commit(&file->db, fault) : err;
}

int oq_spill_file_tidy(struct oq_spill_file *file, struct ps_fault *fault)
{
    return oq_db_tidy(&file->db, fault);
}

/* --- Reading --- */

static int unreadable(struct oq_spill_file *file, int64_t seq, const struct ps_fault *wrong,
                      struct ps_fault *fault)
{
    char what[200];
    snprintf(what, sizeof what, "order %lld cannot be read: %.60s %.90s", (long long)seq,
             wrong->path, wrong->text);
    return oq_db_torn(file->db.path, fault, what);
}

static int give_row(struct oq_spill_file *file, int64_t seq, oq_spill_file_fn *fn, void *ctx,
                    struct ps_fault *fault)
{
    struct ps_fault wrong = {.path = "/type", .text = "it is no accepted order"};
    struct oq_event event;
    void *owner;
    const char *body = (const char *)sqlite3_column_text(file->select, 1);
    size_t len = (size_t)sqlite3_column_bytes(file->select, 1);
    int err = oq_event_decode(body, len, &event, &owner, &wrong);
    if (err == PS_E_INVALID)
        return unreadable(file, seq, &wrong, fault);
    if (err != 0)
        return ps_fault(fault, err, file->db.path, "order %lld: %s", (long long)seq,
                        ps_err_text(err));
    if (event.type == OQ_ACCEPTED && fn(seq, &event, ctx) == 0)
        err = 0;
    else
        err = unreadable(file, seq, &wrong, fault);
    oq_event_release(owner);
    return err;
}

int oq_spill_file_read(struct oq_spill_file *file, int64_t after, size_t limit,
                       oq_spill_file_fn *fn, void *ctx, struct ps_fault *fault)
{
    int rc = SQLITE_ROW;
    int err = 0;
    int64_t last = 0;
    sqlite3_bind_int64(file->select, 1, after);
    sqlite3_bind_int64(file->select, 2, (int64_t)limit);
    while (err == 0 && (rc = sqlite3_step(file->select)) == SQLITE_ROW) {
        int64_t seq = sqlite3_column_int64(file->select, 0);
        if (last != 0 && seq != last + 1)
            err = oq_db_torn(file->db.path, fault, "orders in it are missing");
        else
            err = give_row(file, seq, fn, ctx, fault);
        last = seq;
    }
    if (err == 0 && rc != SQLITE_DONE)
        err = failed(file, rc, "reading", fault);
    sqlite3_reset(file->select);
    return err;
}
