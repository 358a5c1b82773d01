/* See settle_databases.h. PostgreSQL is one server for the run (tests/postgres), and a schema for
 * each test. */
#include "tests/contract/settle_databases.h"
#include "tests/unit/temp_dir.h"

#include <libpq-fe.h>
#include <sqlite3.h>

const struct settle_database *settle_database;

static char rows[16384];

static void put_row(int columns, const char *const *values)
{
    size_t len = strlen(rows);
    for (int i = 0; i < columns; i++)
        len += (size_t)snprintf(rows + len, sizeof rows - len, "%s%s", i > 0 ? "|" : "",
                                values[i] != NULL ? values[i] : "-");
    snprintf(rows + len, sizeof rows - len, "\n");
}

/* --- SQLite --- */

static struct temp_dir dir;
static char file[128];

static bool sqlite_start(void)
{
    return true;
}

static void nothing(void)
{
}

static void sqlite_make(char *ret_url, size_t size)
{
    dir = temp_dir_make();
    snprintf(file, sizeof file, "%s/shop.db", dir.path);
    snprintf(ret_url, size, "sqlite:%s", file);
}

static void sqlite_drop(void)
{
    temp_dir_remove(&dir);
}

static int sqlite_row(void *ctx, int columns, char **values, char **names)
{
    (void)ctx;
    (void)names;
    put_row(columns, (const char *const *)values);
    return 0;
}

static bool sqlite_try(const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    rows[0] = '\0';
    int rc = sqlite3_exec(db, sql, sqlite_row, NULL, NULL);
    sqlite3_close(db);
    return rc == SQLITE_OK;
}

static const char *sqlite_query(const char *sql)
{
    assert_true(sqlite_try(sql));
    return rows;
}

/* --- PostgreSQL --- */

static char server[64];
static unsigned schema;

static void run_script(const char *words, char *ret_line, size_t size)
{
    char command[512];
    snprintf(command, sizeof command, "%s/tests/postgres %s", PENSTOCK_SOURCE_DIR, words);
    FILE *script = popen(command, "r");
    assert_non_null(script);
    if (fgets(ret_line, (int)size, script) == NULL)
        ret_line[0] = '\0';
    ret_line[strcspn(ret_line, "\n")] = '\0';
    if (pclose(script) != 0) {
        fprintf(stderr, "PENSTOCK_WITHOUT_POSTGRES=1 leaves these tests out\n");
        exit(1);
    }
}

static bool postgres_start(void)
{
    char words[64];
    if (getenv("PENSTOCK_WITHOUT_POSTGRES") != NULL) {
        fprintf(stderr, "postgres: not tested, PENSTOCK_WITHOUT_POSTGRES is set\n");
        return false;
    }
    snprintf(words, sizeof words, "start --for %d", (int)getpid());
    run_script(words, server, sizeof server);
    return true;
}

static void postgres_stop(void)
{
    char words[96], line[64];
    snprintf(words, sizeof words, "stop %s", server);
    run_script(words, line, sizeof line);
}

static bool postgres_try(const char *sql)
{
    char url[256], set[64];
    snprintf(url, sizeof url, "host=%s user=penstock dbname=penstock", server);
    PGconn *connection = PQconnectdb(url);
    assert_int_equal(PQstatus(connection), CONNECTION_OK);
    snprintf(set, sizeof set, "SET search_path TO t%u; SET client_min_messages TO warning", schema);
    PQclear(PQexec(connection, set));
    PGresult *result = PQexec(connection, sql);
    ExecStatusType status = PQresultStatus(result);
    rows[0] = '\0';
    for (int i = 0; i < PQntuples(result); i++) {
        const char *values[32];
        for (int c = 0; c < PQnfields(result); c++)
            values[c] = PQgetisnull(result, i, c) != 0 ? NULL : PQgetvalue(result, i, c);
        put_row(PQnfields(result), values);
    }
    PQclear(result);
    PQfinish(connection);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

static const char *postgres_query(const char *sql)
{
    assert_true(postgres_try(sql));
    return rows;
}

static void postgres_make(char *ret_url, size_t size)
{
    char sql[64];
    schema++;
    snprintf(sql, sizeof sql, "CREATE SCHEMA t%u", schema);
    postgres_query(sql);
    snprintf(ret_url, size,
             "postgresql:///penstock?host=%s&user=penstock&options=-csearch_path%%3Dt%u", server,
             schema);
}

static void postgres_drop(void)
{
    char sql[64];
    snprintf(sql, sizeof sql, "DROP SCHEMA t%u CASCADE", schema);
    postgres_query(sql);
}

const struct settle_database settle_databases[2] = {
    {"sqlite", sqlite_start, nothing, sqlite_make, sqlite_drop, sqlite_query, sqlite_try},
    {"postgres", postgres_start, postgres_stop, postgres_make, postgres_drop, postgres_query,
     postgres_try},
};
