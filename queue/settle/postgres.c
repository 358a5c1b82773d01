/* The connection: libpq without blocking calls, so that a server that does not answer (a frozen
 * machine, a lock that is never released) is an error after ANSWER_MS instead of an endless wait.
 * The connection is then closed, and the outcome of the statement is unknown: after reconnecting,
 * the worker reads the positions. The server's own time limits, for a lock and for a transaction
 * that a frozen worker holds open, are shorter. */
#include "queue/settle/postgres.h"
#include "common/clock.h"
#include "common/grow.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MS 30000
#define SESSION                                                                                    \
    "SET TIME ZONE 'UTC'; SET lock_timeout = '5s'; SET idle_in_transaction_session_timeout = "     \
    "'60s'"

/* --- Errors --- */

static int query_failed(struct st_pg *pg, const PGresult *result, struct ps_fault *fault)
{
    const char *state = result != NULL ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
    const char *text = result != NULL ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : NULL;
    int err = PS_E_INVALID;
    if (state == NULL || PQstatus(pg->connection) != CONNECTION_OK ||
        strncmp(state, "08", 2) == 0 || strncmp(state, "57P", 3) == 0 ||
        strncmp(state, "53", 2) == 0 || strncmp(state, "58", 2) == 0)
        err = PS_E_IO;
    else if (strncmp(state, "40", 2) == 0 || strcmp(state, "55P03") == 0 ||
             strcmp(state, "57014") == 0)
        err = PS_E_BUSY;
    else if (strcmp(state, "25006") == 0)
        err = PS_E_READ_ONLY;
    else if (strcmp(state, "42501") == 0)
        err = PS_E_PERMISSION;
    else if (strcmp(state, "42P07") == 0)
        err = PS_E_EXISTS;
    if (text == NULL)
        text = PQerrorMessage(pg->connection);
    return ps_fault(fault, err, pg->server, "%.*s", (int)strcspn(text, "\n"), text);
}

/* --- Parameters --- */

static void put_parameter(struct st_pg *pg, struct st_pg_text *text, const char *bytes, size_t len)
{
    if (ps_grow(&text->at, &text->room, text->len + len + 1, 1) < 0) {
        pg->no_memory = true;
        return;
    }
    memcpy(text->at + text->len, bytes, len);
    text->len += len;
    text->at[text->len] = '\0';
}

void st_pg_put_string(struct st_pg *pg, size_t param, const char *string)
{
    struct st_pg_text *text = &pg->param[param];
    text->len = 0;
    put_parameter(pg, text, string, strlen(string));
}

void st_pg_put_number(struct st_pg *pg, size_t param, int64_t number)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%" PRId64, number);
    st_pg_put_string(pg, param, digits);
}

void st_pg_open_arrays(struct st_pg *pg, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++)
        st_pg_put_string(pg, i, "{");
}

void st_pg_close_arrays(struct st_pg *pg, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++)
        put_parameter(pg, &pg->param[i], "}", 1);
}

static struct st_pg_text *next_value(struct st_pg *pg, size_t param)
{
    struct st_pg_text *text = &pg->param[param];
    if (text->len > 1)
        put_parameter(pg, text, ",", 1);
    return text;
}

void st_pg_add_null(struct st_pg *pg, size_t param)
{
    put_parameter(pg, next_value(pg, param), "NULL", 4);
}

void st_pg_add_text(struct st_pg *pg, size_t param, struct ps_str value)
{
    struct st_pg_text *text = next_value(pg, param);
    put_parameter(pg, text, "\"", 1);
    size_t from = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.at[i] != '"' && value.at[i] != '\\')
            continue;
        put_parameter(pg, text, value.at + from, i - from);
        put_parameter(pg, text, "\\", 1);
        from = i;
    }
    put_parameter(pg, text, value.at + from, value.len - from);
    put_parameter(pg, text, "\"", 1);
}

void st_pg_add_string(struct st_pg *pg, size_t param, const char *value)
{
    st_pg_add_text(pg, param, ps_str(value));
}

/* NULL for an empty one. */
void st_pg_add_or_null(struct st_pg *pg, size_t param, struct ps_str value)
{
    if (value.len > 0)
        st_pg_add_text(pg, param, value);
    else
        st_pg_add_null(pg, param);
}

void st_pg_add_number(struct st_pg *pg, size_t param, int64_t number)
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%" PRId64, number);
    put_parameter(pg, next_value(pg, param), digits, (size_t)len);
}

void st_pg_add_time(struct st_pg *pg, size_t param, int64_t wall_ms)
{
    char text[PS_TIME_LEN + 1];
    ps_time_format(wall_ms, text);
    put_parameter(pg, next_value(pg, param), text, PS_TIME_LEN);
}

void st_pg_add_id(struct st_pg *pg, size_t param, const struct ps_uuid *id)
{
    char text[PS_UUID_LEN + 1];
    ps_uuid_format(id, text);
    put_parameter(pg, next_value(pg, param), text, PS_UUID_LEN);
}

/* As \xHEX, whose backslash an array wants doubled. */
void st_pg_add_bytes(struct st_pg *pg, size_t param, struct ps_str bytes)
{
    struct st_pg_text *text = next_value(pg, param);
    put_parameter(pg, text, "\"\\\\x", 4);
    for (size_t i = 0; i < bytes.len; i++) {
        char hex[3];
        snprintf(hex, sizeof hex, "%02x", (unsigned char)bytes.at[i]);
        put_parameter(pg, text, hex, 2);
    }
    put_parameter(pg, text, "\"", 1);
}

/* --- Statements --- */

/* Waits for all of what was sent: the last result, or the first one that failed. The result is the
 * caller's. */
static int await_result(struct st_pg *pg, PGresult **ret_result, struct ps_fault *fault)
{
    int64_t until_ns = ps_clock_mono_ns(&ps_clock_system) + ANSWER_MS * PS_NS_PER_MS;
    PGresult *kept = NULL;
    for (;;) {
        int unsent = PQflush(pg->connection);
        if (unsent == 0 && !PQisBusy(pg->connection)) {
            PGresult *next = PQgetResult(pg->connection);
            if (next == NULL) {
                *ret_result = kept;
                return 0;
            }
            bool well = kept == NULL || PQresultStatus(kept) == PGRES_COMMAND_OK ||
                        PQresultStatus(kept) == PGRES_TUPLES_OK;
            PQclear(well ? kept : next);
            kept = well ? next : kept;
            continue;
        }
        int64_t left_ms = (until_ns - ps_clock_mono_ns(&ps_clock_system)) / PS_NS_PER_MS;
        struct pollfd socket = {.fd = PQsocket(pg->connection),
                                .events = (short)(POLLIN | (unsent > 0 ? POLLOUT : 0))};
        int ready = left_ms > 0 ? poll(&socket, 1, (int)left_ms) : 0;
        bool broken = unsent < 0 || (ready < 0 && errno != EINTR) ||
                      (ready > 0 && PQconsumeInput(pg->connection) == 0);
        if (!broken && ready != 0)
            continue;
        PQclear(kept);
        return broken ? query_failed(pg, NULL, fault)
                      : ps_fault(fault, PS_E_IO, pg->server, "it did not answer within %d s",
                                 ANSWER_MS / 1000);
    }
}

/* After PQsend...: `sent` is what that returned. */
static int take_result(struct st_pg *pg, int sent, PGresult **ret_result, struct ps_fault *fault)
{
    PGresult *result = NULL;
    if (sent == 0)
        return query_failed(pg, NULL, fault);
    int err = await_result(pg, &result, fault);
    if (err != 0)
        return err;
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
        err = query_failed(pg, result, fault);
        PQclear(result);
        return err;
    }
    if (ret_result != NULL)
        *ret_result = result;
    else
        PQclear(result);
    return 0;
}

int st_pg_run(struct st_pg *pg, const char *sql, size_t params, PGresult **ret_result,
              struct ps_fault *fault)
{
    const char *values[ST_PG_PARAMS_MAX];
    if (pg->no_memory)
        return ps_fault(fault, PS_E_NOMEM, pg->server, "out of memory");
    for (size_t i = 0; i < params; i++)
        values[i] = pg->param[i].at;
    int sent = PQsendQueryParams(pg->connection, sql, (int)params, NULL, values, NULL, NULL, 0);
    return take_result(pg, sent, ret_result, fault);
}

int st_pg_run_text(struct st_pg *pg, const char *sql, struct ps_fault *fault)
{
    return take_result(pg, PQsendQuery(pg->connection, sql), NULL, fault);
}

int st_pg_run_on(struct st_pg *pg, const char *sql, size_t params, size_t rows,
                 struct ps_fault *fault)
{
    PGresult *result;
    int err = st_pg_run(pg, sql, params, &result, fault);
    if (err != 0)
        return err;
    unsigned long long changed = strtoull(PQcmdTuples(result), NULL, 10);
    PQclear(result);
    if (changed != rows)
        return ps_fault(
            fault, PS_E_CORRUPT, pg->server,
            "the statement should change %zu rows, but changed %llu: is a rule or a trigger in "
            "the way?",
            rows, changed);
    return 0;
}

int st_pg_number(struct st_pg *pg, const char *sql, int64_t *ret_number, struct ps_fault *fault)
{
    PGresult *result;
    int err = st_pg_run(pg, sql, 0, &result, fault);
    if (err != 0)
        return err;
    *ret_number = PQntuples(result) > 0 ? strtoll(PQgetvalue(result, 0, 0), NULL, 10) : 0;
    PQclear(result);
    return 0;
}

/* --- Opening --- */

static void say_nothing(void *ctx, const char *message)
{
    (void)ctx;
    (void)message;
}

/* Defaults behind which an operator's own word counts, so that a server that has gone without a
 * word is noticed; and the encoding of the log, which is no matter of taste. */
static PGconn *connect_to(const char *conninfo)
{
    static const char *const names[] = {
        "connect_timeout",  "keepalives_idle",  "keepalives_interval",
        "keepalives_count", "tcp_user_timeout", "application_name",
        "dbname",           "client_encoding",  NULL};
    const char *values[] = {"5", "5", "2", "3", "10000", "penstock-settle", conninfo, "UTF8", NULL};
    return PQconnectdbParams(names, values, 1);
}

/* One that cannot hold a character would refuse its order again and again. SQL_ASCII takes the
 * bytes as they are. */
static int check_encoding(struct st_pg *pg, struct ps_fault *fault)
{
    const char *encoding = PQparameterStatus(pg->connection, "server_encoding");
    if (encoding == NULL || strcmp(encoding, "UTF8") == 0 || strcmp(encoding, "SQL_ASCII") == 0)
        return 0;
    return ps_fault(fault, PS_E_INVALID, pg->server,
                    "its encoding is %s, which lacks characters that a user's name may have: "
                    "create a database with ENCODING 'UTF8'",
                    encoding);
}

int st_pg_open(struct st_pg *pg, const char *conninfo, struct ps_fault *fault)
{
    char *wrong = NULL;
    *pg = (struct st_pg){.server = "database"};
    PQconninfoOption *options = PQconninfoParse(conninfo, &wrong);
    if (options == NULL) {
        int err = ps_fault(fault, PS_E_INVALID, "database", "%.*s",
                           wrong != NULL ? (int)strcspn(wrong, "\n") : 13,
                           wrong != NULL ? wrong : "out of memory");
        PQfreemem(wrong);
        return err;
    }
    PQconninfoFree(options);
    pg->connection = connect_to(conninfo);
    if (pg->connection == NULL || PQstatus(pg->connection) != CONNECTION_OK ||
        PQsetnonblocking(pg->connection, 1) != 0)
        return query_failed(pg, NULL, fault);
    PQsetNoticeProcessor(pg->connection, say_nothing, NULL);
    const char *host = PQhost(pg->connection);
    snprintf(pg->server, sizeof pg->server, "postgresql %s at %s", PQdb(pg->connection),
             host != NULL ? host : "?");
    int err = check_encoding(pg, fault);
    return err == 0 ? st_pg_run_text(pg, SESSION, fault) : err;
}

void st_pg_close(struct st_pg *pg)
{
    PQfinish(pg->connection);
    for (size_t i = 0; i < ST_PG_PARAMS_MAX; i++)
        free(pg->param[i].at);
}
