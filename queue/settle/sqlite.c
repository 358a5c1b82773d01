/* The file: WAL, synchronous=FULL, statements that are prepared once, and a wait of up to BUSY_MS
 * for other programs that write into it. */
#include "queue/settle/sqlite.h"
#include "common/clock.h"

#include <stdlib.h>
#include <string.h>

#define BUSY_MS 5000

int st_sql_failed(struct st_sql *sql, int rc, struct ps_fault *fault)
{
    const char *text =
        sqlite3_errcode(sql->db) != SQLITE_OK ? sqlite3_errmsg(sql->db) : sqlite3_errstr(rc);
    int err = PS_E_IO;
    switch (rc & 0xff) {
    case SQLITE_NOMEM:
        err = PS_E_NOMEM;
        break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ps_fault(fault, PS_E_BUSY, sql->path,
                        "another program holds a lock in it for too long");
    case SQLITE_READONLY:
        err = PS_E_READ_ONLY;
        break;
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
        err = PS_E_PERMISSION;
        break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        err = PS_E_CORRUPT;
        break;
    case SQLITE_ERROR:
    case SQLITE_CONSTRAINT:
        err = PS_E_INVALID;
        break;
    default:
        break;
    }
    return ps_fault(fault, err, sql->path, "%s", text);
}

/* --- Statements --- */

void st_sql_bind_text(struct st_sql *sql, sqlite3_stmt *statement, int at, struct ps_str text)
{
    if (sqlite3_bind_text(statement, at, text.at, (int)text.len, SQLITE_TRANSIENT) != SQLITE_OK)
        sql->no_memory = true;
}

void st_sql_bind_string(sqlite3_stmt *statement, int at, const char *text)
{
    sqlite3_bind_text(statement, at, text, -1, SQLITE_STATIC);
}

void st_sql_bind_or_null(struct st_sql *sql, sqlite3_stmt *statement, int at, struct ps_str text)
{
    if (text.len > 0)
        st_sql_bind_text(sql, statement, at, text);
    else
        sqlite3_bind_null(statement, at);
}

void st_sql_bind_time(struct st_sql *sql, sqlite3_stmt *statement, int at, int64_t wall_ms)
{
    char text[PS_TIME_LEN + 1];
    ps_time_format(wall_ms, text);
    st_sql_bind_text(sql, statement, at, (struct ps_str){text, PS_TIME_LEN});
}

void st_sql_bind_id(struct st_sql *sql, sqlite3_stmt *statement, int at, const struct ps_uuid *id)
{
    char text[PS_UUID_LEN + 1];
    ps_uuid_format(id, text);
    st_sql_bind_text(sql, statement, at, (struct ps_str){text, PS_UUID_LEN});
}

int st_sql_get(struct st_sql *sql, int which, sqlite3_stmt **ret_statement, struct ps_fault *fault)
{
    sqlite3_stmt **statement = &sql->statement[which];
    if (*statement == NULL) {
        int rc = sqlite3_prepare_v3(sql->db, sql->text[which], -1, SQLITE_PREPARE_PERSISTENT,
                                    statement, NULL);
        if (rc != SQLITE_OK)
            return st_sql_failed(sql, rc, fault);
    }
    *ret_statement = *statement;
    return 0;
}

/* A text that was not bound would be NULL: another statement. */
static int step(struct st_sql *sql, sqlite3_stmt *statement)
{
    return sql->no_memory ? SQLITE_NOMEM : sqlite3_step(statement);
}

int st_sql_run(struct st_sql *sql, sqlite3_stmt *statement, struct ps_fault *fault)
{
    int rc = step(sql, statement);
    while (rc == SQLITE_ROW)
        rc = step(sql, statement);
    int err = rc == SQLITE_DONE ? 0 : st_sql_failed(sql, rc, fault);
    sqlite3_reset(statement);
    return err;
}

int st_sql_run_plain(struct st_sql *sql, int which, struct ps_fault *fault)
{
    sqlite3_stmt *statement = NULL;
    int err = st_sql_get(sql, which, &statement, fault);
    return err == 0 ? st_sql_run(sql, statement, fault) : err;
}

int st_sql_row(struct st_sql *sql, sqlite3_stmt *statement, struct ps_fault *fault)
{
    int rc = step(sql, statement);
    if (rc == SQLITE_ROW)
        return 1;
    if (rc == SQLITE_DONE)
        return 0;
    int err = st_sql_failed(sql, rc, fault);
    sqlite3_reset(statement);
    return err;
}

const char *st_sql_column(sqlite3_stmt *statement, int at)
{
    const unsigned char *text = sqlite3_column_text(statement, at);
    return text != NULL ? (const char *)text : "";
}

/* --- Opening --- */

int st_sql_open(struct st_sql *sql, const char *path, const char *const *text,
                struct ps_fault *fault)
{
    *sql = (struct st_sql){.path = strdup(path), .text = text};
    if (sql->path == NULL)
        return ps_fault(fault, PS_E_NOMEM, path, "out of memory");
    int rc = sqlite3_open_v2(path, &sql->db,
                             SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                                 SQLITE_OPEN_EXRESCODE,
                             NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_busy_timeout(sql->db, BUSY_MS);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(sql->db, "PRAGMA synchronous=FULL", NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : st_sql_failed(sql, rc, fault);
}

void st_sql_close(struct st_sql *sql)
{
    for (size_t i = 0; i < ST_SQL_MAX; i++)
        sqlite3_finalize(sql->statement[i]);
    sqlite3_close(sql->db);
    free(sql->path);
}
