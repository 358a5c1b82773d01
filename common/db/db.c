/* SQLite behind one door: every connection is opened, every statement prepared and every error
 * translated here. Statements are kept prepared, since preparing costs more than running. */
#include "common/db/db_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- Errors --- */

int ps_db_damaged(const struct ps_db *db, const char *what, struct ps_fault *fault)
{
    if (db->holds == NULL)
        return ps_fault(fault, PS_E_CORRUPT, db->path, "%s", what);
    return ps_fault(fault, PS_E_CORRUPT, db->path,
                    "%s: restore the file, with its -wal if there is one, from a backup, or move "
                    "both aside to start without %s",
                    what, db->holds);
}

static int cannot_open(const struct ps_db *db, const char *doing, int system,
                       struct ps_fault *fault)
{
    int err = system == EROFS                                                      ? PS_E_READ_ONLY
              : system == EACCES || system == EPERM || system == ENOENT || !system ? PS_E_PERMISSION
                                                                                   : PS_E_IO;
    return ps_fault(fault, err, db->path, "%s: %s", doing,
                    system != 0 ? strerror(system) : sqlite3_errstr(SQLITE_CANTOPEN));
}

int ps_db_failed(const struct ps_db *db, int rc, const char *doing, struct ps_fault *fault)
{
    /* sqlite3_db_cacheflush leaves no message behind. */
    bool noted = db->handle != NULL && sqlite3_errcode(db->handle) != SQLITE_OK;
    const char *text = noted ? sqlite3_errmsg(db->handle) : sqlite3_errstr(rc);
    int system = db->handle != NULL ? sqlite3_system_errno(db->handle) : 0;
    char what[200];
    switch (rc & 0xff) {
    case SQLITE_NOMEM:
        return ps_fault(fault, PS_E_NOMEM, db->path, "%s: out of memory", doing);
    case SQLITE_FULL:
        return ps_fault(fault, PS_E_IO, db->path, "%s: the disk is full: make room on it", doing);
    case SQLITE_READONLY:
        return ps_fault(fault, PS_E_READ_ONLY, db->path,
                        "%s: %s: make the file, its directory and its file system writable", doing,
                        text);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ps_fault(fault, PS_E_BUSY, db->path,
                        "%s: another program holds a lock on it: close that program", doing);
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
        return cannot_open(db, doing, system, fault);
    case SQLITE_ERROR: /* a table is missing */
    case SQLITE_CONSTRAINT:
        if (db->holds == NULL)
            return ps_fault(fault, PS_E_INVALID, db->path, "%s: %s", doing, text);
        /* fall through */
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
    case SQLITE_SCHEMA:
        snprintf(what, sizeof what, "%s: %s", doing, text);
        return ps_db_damaged(db, what, fault);
    default:
        return ps_fault(fault, PS_E_IO, db->path, "%s: %s%s%s: check the disk", doing, text,
                        system != 0 ? ": " : "", system != 0 ? strerror(system) : "");
    }
}

/* --- The connection --- */

int ps_db_open(const struct ps_db_settings *settings, struct ps_db **ret_db, struct ps_fault *fault)
{
    static const int access[] = {
        [PS_DB_READ] = SQLITE_OPEN_READONLY,
        [PS_DB_WRITE] = SQLITE_OPEN_READWRITE,
        [PS_DB_CREATE] = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
    };
    if (strlen(settings->path) >= PATH_MAX)
        return ps_fault(fault, PS_E_INVALID, settings->path, "the path is too long");
    struct ps_db *db =
        calloc(1, sizeof *db + settings->statement_count * sizeof(struct ps_db_statement));
    if (db == NULL)
        return ps_fault(fault, PS_E_NOMEM, settings->path, "out of memory");
    memcpy(db->path, settings->path, strlen(settings->path));
    db->holds = settings->holds;
    db->text = settings->statements;
    db->statement_count = settings->statement_count;
    int rc = sqlite3_open_v2(db->path, &db->handle,
                             access[settings->access] | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                             settings->vfs);
    if (rc == SQLITE_OK)
        rc = sqlite3_busy_timeout(db->handle, settings->busy_ms);
    if (rc == SQLITE_OK && settings->access != PS_DB_READ &&
        /* opened read-only, since nothing else was possible */
        sqlite3_db_readonly(db->handle, "main") == 1)
        rc = SQLITE_READONLY;
    if (rc != SQLITE_OK) {
        int err = ps_db_failed(db, rc, "opening", fault);
        ps_db_close(db);
        return err;
    }
    *ret_db = db;
    return 0;
}

void ps_db_close(struct ps_db *db)
{
    if (db == NULL)
        return;
    for (size_t i = 0; i < db->statement_count; i++)
        sqlite3_finalize(db->statement[i].handle);
    sqlite3_close(db->handle);
    free(db);
}

const char *ps_db_path(const struct ps_db *db)
{
    return db->path;
}

int ps_db_exec(struct ps_db *db, const char *sql, struct ps_fault *fault)
{
    int rc = sqlite3_exec(db->handle, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : ps_db_failed(db, rc, "writing", fault);
}

int ps_db_number(struct ps_db *db, const char *sql, int64_t *ret_number, struct ps_fault *fault)
{
    struct ps_db_statement statement = {.db = db};
    statement.rc = sqlite3_prepare_v2(db->handle, sql, -1, &statement.handle, NULL);
    int found = ps_db_row(&statement, fault);
    if (found > 0)
        *ret_number = ps_db_int(&statement, 0);
    sqlite3_finalize(statement.handle);
    if (found == 0)
        return ps_db_damaged(db, "a row is missing", fault);
    return found < 0 ? found : 0;
}

int64_t ps_db_changes(const struct ps_db *db)
{
    return sqlite3_changes64(db->handle);
}

int ps_db_copy(struct ps_db *db, int64_t max, char **ret_bytes, size_t *ret_len,
               struct ps_fault *fault)
{
    int64_t pages, page_size;
    sqlite3_int64 len = 0;
    int err = ps_db_exec(db, "BEGIN", fault);
    if (err == 0)
        err = ps_db_number(db, "PRAGMA page_count", &pages, fault);
    if (err == 0)
        err = ps_db_number(db, "PRAGMA page_size", &page_size, fault);
    if (err < 0)
        return err;
    if (pages * page_size > max)
        return ps_fault(fault, PS_E_FULL, db->path, "is longer than %lld bytes", (long long)max);
    unsigned char *bytes = sqlite3_serialize(db->handle, "main", &len, 0);
    if (bytes == NULL)
        return ps_fault(fault, PS_E_NOMEM, db->path, "reading all of it: out of memory");
    *ret_bytes = malloc((size_t)len);
    if (*ret_bytes != NULL)
        memcpy(*ret_bytes, bytes, (size_t)len);
    *ret_len = (size_t)len;
    sqlite3_free(bytes);
    if (*ret_bytes == NULL)
        return ps_fault(fault, PS_E_NOMEM, db->path, "reading all of it: out of memory");
    return ps_db_exec(db, "COMMIT", fault);
}

bool ps_db_in_transaction(const struct ps_db *db)
{
    return sqlite3_get_autocommit(db->handle) == 0;
}

int ps_db_sync(struct ps_db *db)
{
    sqlite3_file *file;
    int rc = sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    return rc == SQLITE_OK ? file->pMethods->xSync(file, SQLITE_SYNC_NORMAL) : rc;
}

/* --- Statements --- */

struct ps_db_statement *ps_db_statement(struct ps_db *db, size_t which)
{
    struct ps_db_statement *statement = &db->statement[which];
    statement->db = db;
    statement->rc = SQLITE_OK;
    if (statement->handle == NULL)
        statement->rc = sqlite3_prepare_v3(db->handle, db->text[which], -1,
                                           SQLITE_PREPARE_PERSISTENT, &statement->handle, NULL);
    return statement;
}

/* An unbound value would be NULL, which makes another statement: so the first failure stays. */
static void note(struct ps_db_statement *statement, int rc)
{
    if (statement->rc == SQLITE_OK)
        statement->rc = rc;
}

void ps_db_bind_int(struct ps_db_statement *statement, int at, int64_t number)
{
    note(statement, sqlite3_bind_int64(statement->handle, at, number));
}

void ps_db_bind_text(struct ps_db_statement *statement, int at, struct ps_str text)
{
    note(statement,
         sqlite3_bind_text(statement->handle, at, text.at, (int)text.len, SQLITE_STATIC));
}

void ps_db_bind_blob(struct ps_db_statement *statement, int at, struct ps_str bytes)
{
    note(statement,
         sqlite3_bind_blob(statement->handle, at, bytes.at, (int)bytes.len, SQLITE_STATIC));
}

void ps_db_bind_copy(struct ps_db_statement *statement, int at, struct ps_str text)
{
    note(statement,
         sqlite3_bind_text(statement->handle, at, text.at, (int)text.len, SQLITE_TRANSIENT));
}

int ps_db_row(struct ps_db_statement *statement, struct ps_fault *fault)
{
    int rc = statement->rc == SQLITE_OK ? sqlite3_step(statement->handle) : statement->rc;
    if (rc == SQLITE_ROW)
        return 1;
    const char *doing = sqlite3_column_count(statement->handle) > 0 ? "reading" : "writing";
    int err = rc == SQLITE_DONE ? 0 : ps_db_failed(statement->db, rc, doing, fault);
    ps_db_end_rows(statement);
    return err;
}

int ps_db_run(struct ps_db_statement *statement, struct ps_fault *fault)
{
    int found;
    do
        found = ps_db_row(statement, fault);
    while (found > 0);
    return found;
}

void ps_db_end_rows(struct ps_db_statement *statement)
{
    (void)sqlite3_reset(statement->handle); /* returns the error of the last step again */
}

int64_t ps_db_int(const struct ps_db_statement *statement, int column)
{
    return sqlite3_column_int64(statement->handle, column);
}

struct ps_str ps_db_text(const struct ps_db_statement *statement, int column)
{
    const char *text = (const char *)sqlite3_column_text(statement->handle, column);
    size_t len = (size_t)sqlite3_column_bytes(statement->handle, column);
    return text != NULL ? (struct ps_str){text, len} : (struct ps_str){"", 0};
}

bool ps_db_is_null(const struct ps_db_statement *statement, int column)
{
    return sqlite3_column_type(statement->handle, column) == SQLITE_NULL;
}
