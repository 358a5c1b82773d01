/* One connection to PostgreSQL: statements with parameters, arrays written value by value, errors
 * in our own words, and a deadline for every answer. One thread at a time. */
#ifndef ST_POSTGRES_H
#define ST_POSTGRES_H

#include "common/err.h"
#include "common/text/id.h"

#include <libpq-fe.h>

#define ST_PG_PARAMS_MAX 18

struct st_pg {
    PGconn *connection;
    char server[160]; /* for messages: never a password */
    struct st_pg_text {
        char *at;
        size_t len, room;
    } param[ST_PG_PARAMS_MAX];
    bool no_memory; /* a parameter could not grow: the next statement fails */
};

/* PS_E_INVALID: no connection string. PS_E_IO: no connection; the fault says with which server.
 * Afterwards it is to be closed, in any case. */
int st_pg_open(struct st_pg *pg, const char *conninfo, struct ps_fault *fault) PS_MUST_CHECK;
void st_pg_close(struct st_pg *pg);

/* --- Parameters, counted from 0; $1 is number 0 --- */

void st_pg_put_string(struct st_pg *pg, size_t param, const char *string);
void st_pg_put_number(struct st_pg *pg, size_t param, int64_t number);

/* Arrays are the parameters `first` to `end` - 1: opened, added to, closed. */
void st_pg_open_arrays(struct st_pg *pg, size_t first, size_t end);
void st_pg_close_arrays(struct st_pg *pg, size_t first, size_t end);
void st_pg_add_null(struct st_pg *pg, size_t param);
void st_pg_add_text(struct st_pg *pg, size_t param, struct ps_str value);
void st_pg_add_string(struct st_pg *pg, size_t param, const char *value);
void st_pg_add_or_null(struct st_pg *pg, size_t param, struct ps_str value); /* empty: NULL */
void st_pg_add_number(struct st_pg *pg, size_t param, int64_t number);
void st_pg_add_time(struct st_pg *pg, size_t param, int64_t wall_ms);
void st_pg_add_id(struct st_pg *pg, size_t param, const struct ps_uuid *id);
void st_pg_add_bytes(struct st_pg *pg, size_t param, struct ps_str bytes);

/* --- Statements --- */

/* Runs one with the first `params` parameters. The result is the caller's (PQclear); `ret_result`
 * NULL: not wanted. Errors as in settle_sink.h. */
int st_pg_run(struct st_pg *pg, const char *sql, size_t params, PGresult **ret_result,
              struct ps_fault *fault) PS_MUST_CHECK;
/* One that must change just so many rows, else PS_E_CORRUPT. */
int st_pg_run_on(struct st_pg *pg, const char *sql, size_t params, size_t rows,
                 struct ps_fault *fault) PS_MUST_CHECK;
/* Several without parameters in one text. */
int st_pg_run_text(struct st_pg *pg, const char *sql, struct ps_fault *fault) PS_MUST_CHECK;
/* The number that one without parameters answers; 0 where there is no row. */
int st_pg_number(struct st_pg *pg, const char *sql, int64_t *ret_number,
                 struct ps_fault *fault) PS_MUST_CHECK;

#endif
