/* SQLite: a connection, its statements, and what its errors mean. The only door to the library:
 * nobody else includes sqlite3.h. A connection and its statements belong to one thread at a time.
 *
 * Errors of all functions: PS_E_NOMEM; PS_E_IO (also a full disk); PS_E_BUSY: another program holds
 * a lock for too long; PS_E_READ_ONLY; PS_E_PERMISSION: the file cannot be opened; PS_E_CORRUPT;
 * PS_E_INVALID, only of a foreign database: it refuses a statement, for it has another table of
 * that name or none. `fault` (NULL is allowed) says what is wrong and what a person can do. */
#ifndef PS_DB_H
#define PS_DB_H

#include "common/defs.h"
#include "common/err.h"

struct ps_db;
struct ps_db_statement;

enum ps_db_access {
    PS_DB_READ,
    PS_DB_WRITE,
    PS_DB_CREATE /* and creates an empty file if there is none */
};

struct ps_db_settings {
    const char *path;
    const char *vfs; /* NULL = SQLite's default (tests pass a faulty one) */
    enum ps_db_access access;
    int busy_ms; /* how long to wait for another program's lock */
    /* SQL by number, each prepared when it is first used; lives longer than the connection. */
    const char *const *statements;
    size_t statement_count;
    /* What is lost if a damaged file is moved aside: "the orders in it". NULL: a foreign database,
     * whose tables this program does not check. */
    const char *holds;
};

int ps_db_open(const struct ps_db_settings *settings, struct ps_db **ret_db,
               struct ps_fault *fault) PS_MUST_CHECK;
void ps_db_close(struct ps_db *db); /* NULL is allowed */
const char *ps_db_path(const struct ps_db *db);

/* Any SQL, also several statements; rows are dropped. */
int ps_db_exec(struct ps_db *db, const char *sql, struct ps_fault *fault) PS_MUST_CHECK;
/* The first column of the first row. PS_E_CORRUPT: there is no row. */
int ps_db_number(struct ps_db *db, const char *sql, int64_t *ret_number,
                 struct ps_fault *fault) PS_MUST_CHECK;
/* Rows that the last statement has changed. */
int64_t ps_db_changes(const struct ps_db *db);
/* The whole database as the bytes of a file, at one moment, its WAL included (heap, the caller's).
 * PS_E_FULL: more than `max` bytes. */
int ps_db_copy(struct ps_db *db, int64_t max, char **ret_bytes, size_t *ret_len,
               struct ps_fault *fault) PS_MUST_CHECK;
bool ps_db_in_transaction(const struct ps_db *db);
/* PS_E_CORRUPT: `what` is wrong with the content. */
int ps_db_damaged(const struct ps_db *db, const char *what, struct ps_fault *fault);

/* Statement number `which`, to be bound and run. Never NULL: an error of preparing or binding is
 * reported by the run or row that follows. */
struct ps_db_statement *ps_db_statement(struct ps_db *db, size_t which);
/* Parameters count from 1. A parameter that is not bound again keeps its value. */
void ps_db_bind_int(struct ps_db_statement *statement, int at, int64_t number);
/* Borrowed until the statement has been run. `.at` NULL: SQL's NULL. */
void ps_db_bind_text(struct ps_db_statement *statement, int at, struct ps_str text);
void ps_db_bind_blob(struct ps_db_statement *statement, int at, struct ps_str bytes);
void ps_db_bind_copy(struct ps_db_statement *statement, int at, struct ps_str text);
/* Runs it to its end; rows are dropped. */
int ps_db_run(struct ps_db_statement *statement, struct ps_fault *fault) PS_MUST_CHECK;
/* The next row: 1 = there is one; 0 = no more; negative. */
int ps_db_row(struct ps_db_statement *statement, struct ps_fault *fault) PS_MUST_CHECK;
/* Drops the remaining rows, which would hold a lock. */
void ps_db_end_rows(struct ps_db_statement *statement);
/* Columns of the row count from 0. Text is NUL-terminated, "" for NULL, and lives until the next
 * row. */
int64_t ps_db_int(const struct ps_db_statement *statement, int column);
struct ps_str ps_db_text(const struct ps_db_statement *statement, int column);
bool ps_db_is_null(const struct ps_db_statement *statement, int column);

#endif
