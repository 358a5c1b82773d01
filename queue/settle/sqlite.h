/* One SQLite file: prepared statements, what is bound to them, errors in our own words. One thread
 * at a time. */
#ifndef ST_SQLITE_H
#define ST_SQLITE_H

#include "common/err.h"
#include "common/id.h"

#include <sqlite3.h>

#define ST_SQL_MAX 24

struct st_sql {
    char *path;
    sqlite3 *db;
    const char *const *text;             /* of the statements, by number; borrowed */
    sqlite3_stmt *statement[ST_SQL_MAX]; /* prepared when first used */
    bool no_memory;                      /* for what was bound: nothing is run any more */
};

/* `text`: up to ST_SQL_MAX statements. The file is made where there is none. Errors of all as in
 * settle_sink.h. Afterwards it is to be closed, in any case. */
int st_sql_open(struct st_sql *sql, const char *path, const char *const *text,
                struct ps_fault *fault) PS_MUST_CHECK;
void st_sql_close(struct st_sql *sql);

/* What a code of SQLite means, as an error. */
int st_sql_failed(struct st_sql *sql, int rc, struct ps_fault *fault);

/* Statement number `which`, ready to be bound. */
int st_sql_get(struct st_sql *sql, int which, sqlite3_stmt **ret_statement,
               struct ps_fault *fault) PS_MUST_CHECK;
/* Runs it to its end and resets it; no rows are wanted. */
int st_sql_run(struct st_sql *sql, sqlite3_stmt *statement, struct ps_fault *fault) PS_MUST_CHECK;
/* The same with one that has nothing to bind. */
int st_sql_run_plain(struct st_sql *sql, int which, struct ps_fault *fault) PS_MUST_CHECK;
/* The next row: 1 = there is one (the caller resets it when he has all), 0 = none; negative. */
int st_sql_row(struct st_sql *sql, sqlite3_stmt *statement, struct ps_fault *fault) PS_MUST_CHECK;
/* The text of a column, "" for NULL; until the next step. */
const char *st_sql_column(sqlite3_stmt *statement, int at);

/* When memory ends, the run or row that follows says so. */
void st_sql_bind_text(struct st_sql *sql, sqlite3_stmt *statement, int at, struct ps_str text);
void st_sql_bind_or_null(struct st_sql *sql, sqlite3_stmt *statement, int at,
                         struct ps_str text); /* empty: NULL */
void st_sql_bind_time(struct st_sql *sql, sqlite3_stmt *statement, int at, int64_t wall_ms);
void st_sql_bind_id(struct st_sql *sql, sqlite3_stmt *statement, int at, const struct ps_uuid *id);
void st_sql_bind_string(sqlite3_stmt *statement, int at, const char *text); /* borrowed */

#endif
