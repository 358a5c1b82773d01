/* A shop's orders in PostgreSQL: a batch travels as arrays, one statement for each kind of change
 * whatever the size of the batch, so that a transaction costs some ten round trips and not one a
 * record.
 *
 * The claim of a partition's position is an UPDATE of its row, which locks it until the end of the
 * transaction: a second worker waits there and then finds the position moved. All that follows is
 * read after the lock was taken (READ COMMITTED), so it sees what the other worker has committed.
 * Partitions are claimed in their order; no two workers wait for each other. */
#include "queue/settle/settle_sink.h"
#include "common/clock.h"

#include <inttypes.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARAMS_MAX 17
/* Of "--init": two that run at once must not both make the tables. */
#define INIT_LOCK "7310868735"

/* clang-format off */
static const char schema[] =
    "CREATE TABLE orders ("
        " order_id uuid PRIMARY KEY,"
        " sale text NOT NULL, sku text NOT NULL, user_id text NOT NULL, quantity bigint NOT NULL,"
        " state text NOT NULL CHECK (state IN ('accepted', 'confirmed', 'released')),"
        " reason text CHECK (reason IN ('expired', 'cancelled')),"
        " reserved_at timestamptz NOT NULL, pay_by timestamptz NOT NULL, accepted_at timestamptz NOT NULL, decided_at timestamptz,"
        " idempotency_key text, rehearsal boolean NOT NULL, epoch bigint NOT NULL,"
        " log_name text NOT NULL, log_partition integer NOT NULL, log_seq bigint NOT NULL);"
    "CREATE TABLE penstock_void (order_id uuid PRIMARY KEY, sale text NOT NULL, at timestamptz NOT NULL);"
    "CREATE TABLE penstock_offsets (name text NOT NULL, log_partition integer NOT NULL, log_seq bigint NOT NULL, digest bigint,"
        " at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (name, log_partition));"
    "CREATE TABLE penstock_epochs (name text NOT NULL, log_partition integer NOT NULL, sale text NOT NULL, epoch bigint NOT NULL,"
        " PRIMARY KEY (name, log_partition, sale));"
    "CREATE TABLE penstock_dead_letters (name text NOT NULL, log_partition integer NOT NULL, log_seq bigint NOT NULL,"
        " reason text NOT NULL, record bytea, at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (name, log_partition, log_seq));"
    "CREATE TABLE penstock_decisions (order_id uuid PRIMARY KEY,"
        " decision text NOT NULL CHECK (decision IN ('confirm', 'cancel')),"
        " tries bigint NOT NULL DEFAULT 0, sent_at timestamptz, retry_at timestamptz, result text);"
    "CREATE INDEX penstock_decisions_open ON penstock_decisions (retry_at) WHERE result IS NULL;"
    "CREATE TABLE penstock_schema (version bigint NOT NULL);"
    "INSERT INTO penstock_schema VALUES (1);";

static const char sql_place[] =
    "INSERT INTO penstock_offsets (name, log_partition, log_seq) VALUES ($1, $2::integer, 0) ON CONFLICT DO NOTHING";
static const char sql_position[] =
    "SELECT log_seq, digest FROM penstock_offsets WHERE name = $1 AND log_partition = $2::integer";
static const char sql_claim[] =
    "UPDATE penstock_offsets SET log_seq = $4::bigint, digest = $5::bigint, at = now()"
    " WHERE name = $1 AND log_partition = $2::integer AND log_seq = $3::bigint";
static const char sql_epochs[] =
    "SELECT w.n, e.epoch FROM unnest($2::integer[], $3::text[]) WITH ORDINALITY AS w (log_partition, sale, n)"
    " JOIN penstock_epochs e ON e.name = $1 AND e.log_partition = w.log_partition AND e.sale = w.sale";
static const char sql_orders[] =
    "SELECT w.n, o.state, o.reason FROM unnest($1::uuid[]) WITH ORDINALITY AS w (order_id, n) JOIN orders o USING (order_id)"
    " UNION ALL SELECT w.n, 'void', NULL FROM unnest($1::uuid[]) WITH ORDINALITY AS w (order_id, n) JOIN penstock_void v USING (order_id)";
static const char sql_set_epochs[] =
    "INSERT INTO penstock_epochs (name, log_partition, sale, epoch) SELECT $1, * FROM unnest($2::integer[], $3::text[], $4::bigint[])"
    " ON CONFLICT (name, log_partition, sale) DO UPDATE SET epoch = excluded.epoch";
static const char sql_new_orders[] =
    "INSERT INTO orders (log_name, order_id, sale, sku, user_id, quantity, state, reason, reserved_at, pay_by, accepted_at, decided_at,"
    " idempotency_key, rehearsal, epoch, log_partition, log_seq)"
    " SELECT $1, * FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::text[], $9::timestamptz[],"
    " $10::timestamptz[], $11::timestamptz[], $12::timestamptz[], $13::text[], $14::boolean[], $15::bigint[], $16::integer[], $17::bigint[])";
static const char sql_new_voids[] =
    "INSERT INTO penstock_void (order_id, sale, at) SELECT * FROM unnest($1::uuid[], $2::text[], $3::timestamptz[])";
static const char sql_steps[] =
    "UPDATE orders SET state = c.state, reason = c.reason, decided_at = c.decided_at"
    " FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[]) AS c (order_id, state, reason, decided_at)"
    " WHERE orders.order_id = c.order_id";
static const char sql_letters[] =
    "INSERT INTO penstock_dead_letters (name, log_partition, log_seq, reason, record)"
    " SELECT $1, * FROM unnest($2::integer[], $3::bigint[], $4::text[], $5::bytea[])";
static const char sql_decide[] =
    "INSERT INTO penstock_decisions (order_id, decision) SELECT w.order_id, 'confirm' FROM unnest($1::uuid[]) AS w (order_id)"
    " ON CONFLICT DO NOTHING";
static const char sql_confirm_all[] =
    "INSERT INTO penstock_decisions (order_id, decision) SELECT order_id, 'confirm' FROM orders WHERE state = 'accepted'"
    " ON CONFLICT DO NOTHING";
static const char sql_due[] =
    "UPDATE penstock_decisions d SET sent_at = now(), tries = tries + 1, retry_at = now() + $1::bigint * interval '1 ms'"
    " WHERE order_id IN (SELECT order_id FROM penstock_decisions WHERE result IS NULL AND (retry_at IS NULL OR retry_at <= now())"
    " ORDER BY retry_at NULLS FIRST LIMIT $2::bigint FOR UPDATE SKIP LOCKED)"
    " RETURNING order_id, decision, tries, EXISTS (SELECT 1 FROM orders o WHERE o.order_id = d.order_id)";
static const char sql_answer[] =
    "UPDATE penstock_decisions d SET result = a.result,"
    " retry_at = CASE WHEN a.result IS NULL THEN now() + a.retry_ms * interval '1 ms' END"
    " FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[]) AS a (order_id, decision, result, retry_ms)"
    " WHERE d.order_id = a.order_id AND d.decision = a.decision AND d.result IS NULL";
static const char sql_open_decisions[] = "SELECT count(*) FROM penstock_decisions WHERE result IS NULL";
/* clang-format on */

/* The text of one parameter; an array grows value by value. */
struct text {
    char *at;
    size_t len, room;
};

struct postgres {
    struct st_sink sink;
    PGconn *connection;
    char server[160]; /* for messages: never a password */
    struct text param[PARAMS_MAX];
    bool no_memory; /* a parameter could not grow */
};

static struct postgres *of(struct st_sink *sink)
{
    return (struct postgres *)(void *)sink;
}

/* --- Errors --- */

static int failed(struct postgres *postgres, const PGresult *result, struct ps_fault *fault)
{
    const char *state = result != NULL ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
    const char *text = result != NULL ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : NULL;
    int err = PS_E_INVALID;
    if (state == NULL || PQstatus(postgres->connection) != CONNECTION_OK ||
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
        text = PQerrorMessage(postgres->connection);
    return ps_fault(fault, err, postgres->server, "%.*s", (int)strcspn(text, "\n"), text);
}

/* --- Parameters --- */

static void put(struct postgres *postgres, struct text *text, const char *bytes, size_t len)
{
    if (text->room - text->len <= len) {
        size_t room = (text->len + len + 1) * 2;
        char *grown = realloc(text->at, room);
        if (grown == NULL) {
            postgres->no_memory = true;
            return;
        }
        text->at = grown;
        text->room = room;
    }
    memcpy(text->at + text->len, bytes, len);
    text->len += len;
    text->at[text->len] = '\0';
}

static void put_string(struct postgres *postgres, size_t param, const char *string)
{
    struct text *text = &postgres->param[param];
    text->len = 0;
    put(postgres, text, string, strlen(string));
}

static void put_number(struct postgres *postgres, size_t param, int64_t number)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%" PRId64, number);
    put_string(postgres, param, digits);
}

static void open_arrays(struct postgres *postgres, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++)
        put_string(postgres, i, "{");
}

static void close_arrays(struct postgres *postgres, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++)
        put(postgres, &postgres->param[i], "}", 1);
}

static struct text *next_value(struct postgres *postgres, size_t param)
{
    struct text *text = &postgres->param[param];
    if (text->len > 1)
        put(postgres, text, ",", 1);
    return text;
}

static void add_null(struct postgres *postgres, size_t param)
{
    put(postgres, next_value(postgres, param), "NULL", 4);
}

static void add_text(struct postgres *postgres, size_t param, struct ps_str value)
{
    struct text *text = next_value(postgres, param);
    put(postgres, text, "\"", 1);
    size_t from = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.at[i] != '"' && value.at[i] != '\\')
            continue;
        put(postgres, text, value.at + from, i - from);
        put(postgres, text, "\\", 1);
        from = i;
    }
    put(postgres, text, value.at + from, value.len - from);
    put(postgres, text, "\"", 1);
}

static void add_string(struct postgres *postgres, size_t param, const char *value)
{
    add_text(postgres, param, (struct ps_str){value, strlen(value)});
}

/* NULL for an empty one. */
static void add_or_null(struct postgres *postgres, size_t param, struct ps_str value)
{
    if (value.len > 0)
        add_text(postgres, param, value);
    else
        add_null(postgres, param);
}

static void add_number(struct postgres *postgres, size_t param, int64_t number)
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%" PRId64, number);
    put(postgres, next_value(postgres, param), digits, (size_t)len);
}

static void add_time(struct postgres *postgres, size_t param, int64_t wall_ms)
{
    char text[PS_TIME_LEN + 1];
    ps_time_format(wall_ms, text);
    put(postgres, next_value(postgres, param), text, PS_TIME_LEN);
}

static void add_id(struct postgres *postgres, size_t param, const struct ps_uuid *id)
{
    char text[PS_UUID_LEN + 1];
    ps_uuid_format(id, text);
    put(postgres, next_value(postgres, param), text, PS_UUID_LEN);
}

/* As \xHEX, whose backslash an array wants doubled. */
static void add_bytes(struct postgres *postgres, size_t param, struct ps_str bytes)
{
    struct text *text = next_value(postgres, param);
    put(postgres, text, "\"\\\\x", 4);
    for (size_t i = 0; i < bytes.len; i++) {
        char hex[3];
        snprintf(hex, sizeof hex, "%02x", (unsigned char)bytes.at[i]);
        put(postgres, text, hex, 2);
    }
    put(postgres, text, "\"", 1);
}

/* --- Statements --- */

/* Runs it with the first `params` parameters. The result is the caller's (PQclear); NULL `ret`: not
 * wanted. */
static int run(struct postgres *postgres, const char *sql, size_t params, PGresult **ret_result,
               struct ps_fault *fault)
{
    const char *values[PARAMS_MAX];
    if (postgres->no_memory)
        return ps_fault(fault, PS_E_NOMEM, postgres->server, "out of memory");
    for (size_t i = 0; i < params; i++)
        values[i] = postgres->param[i].at;
    PGresult *result =
        PQexecParams(postgres->connection, sql, (int)params, NULL, values, NULL, NULL, 0);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
        int err = failed(postgres, result, fault);
        PQclear(result);
        return err;
    }
    if (ret_result != NULL)
        *ret_result = result;
    else
        PQclear(result);
    return 0;
}

/* One that must change just so many rows. */
static int run_on(struct postgres *postgres, const char *sql, size_t params, size_t rows,
                  struct ps_fault *fault)
{
    PGresult *result;
    int err = run(postgres, sql, params, &result, fault);
    if (err != 0)
        return err;
    unsigned long long changed = strtoull(PQcmdTuples(result), NULL, 10);
    PQclear(result);
    if (changed != rows)
        return ps_fault(fault, PS_E_CORRUPT, postgres->server,
                        "%zu rows were to be changed, %llu were: does a rule or a trigger stand in "
                        "the way?",
                        rows, changed);
    return 0;
}

/* What a statement without parameters answers; there may be no row. */
static int ask_number(struct postgres *postgres, const char *sql, int64_t *ret_number,
                      struct ps_fault *fault)
{
    PGresult *result;
    int err = run(postgres, sql, 0, &result, fault);
    if (err != 0)
        return err;
    *ret_number = PQntuples(result) > 0 ? strtoll(PQgetvalue(result, 0, 0), NULL, 10) : 0;
    PQclear(result);
    return 0;
}

/* --- Tables --- */

static int version_of(struct postgres *postgres, int64_t *ret_version, struct ps_fault *fault)
{
    int64_t there;
    *ret_version = 0;
    int err = ask_number(postgres, "SELECT count(*) FROM (SELECT to_regclass('penstock_schema') AS c) t WHERE c IS NOT NULL",
                         &there, fault);
    if (err == 0 && there > 0)
        err = ask_number(postgres, "SELECT version FROM penstock_schema", ret_version, fault);
    return err;
}

/* Several statements in one text. */
static int run_text(struct postgres *postgres, const char *sql, struct ps_fault *fault)
{
    PGresult *result = PQexec(postgres->connection, sql);
    int err = PQresultStatus(result) == PGRES_COMMAND_OK ? 0 : failed(postgres, result, fault);
    PQclear(result);
    return err;
}

static int postgres_create(struct st_sink *sink, struct ps_fault *fault)
{
    struct postgres *postgres = of(sink);
    int64_t version = 0;
    int err = run(postgres, "BEGIN", 0, NULL, fault);
    if (err == 0)
        err = run(postgres, "SELECT pg_advisory_xact_lock(" INIT_LOCK ")", 0, NULL, fault);
    if (err == 0)
        err = version_of(postgres, &version, fault);
    if (err == 0 && version != 0)
        err = st_schema_check(version, postgres->server, fault);
    else if (err == 0)
        err = run_text(postgres, schema, fault);
    if (err == 0)
        err = run(postgres, "COMMIT", 0, NULL, fault);
    if (err == PS_E_EXISTS) {
        char text[sizeof fault->text];
        snprintf(text, sizeof text, "%s", fault->text);
        ps_fault(fault, err, postgres->server,
                 "%s, and it is none of settlement's: give settlement a schema of its own", text);
    }
    if (err != 0)
        sink->ops->rollback(sink);
    return err;
}

static int postgres_check(struct st_sink *sink, struct ps_fault *fault)
{
    int64_t version;
    int err = version_of(of(sink), &version, fault);
    return err == 0 ? st_schema_check(version, of(sink)->server, fault) : err;
}

/* --- Reading on --- */

static int postgres_position(struct st_sink *sink, const char *name, uint32_t partition,
                             struct st_position *ret_position, struct ps_fault *fault)
{
    struct postgres *postgres = of(sink);
    PGresult *result;
    put_string(postgres, 0, name);
    put_number(postgres, 1, partition);
    int err = run(postgres, sql_place, 2, NULL, fault);
    if (err == 0)
        err = run(postgres, sql_position, 2, &result, fault);
    if (err != 0)
        return err;
    if (PQntuples(result) == 1)
        *ret_position = (struct st_position){
            .seq = strtoll(PQgetvalue(result, 0, 0), NULL, 10),
            .checked = PQgetisnull(result, 0, 1) == 0,
            .digest = (uint64_t)strtoll(PQgetvalue(result, 0, 1), NULL, 10)};
    else
        err = ps_fault(fault, PS_E_CORRUPT, postgres->server, "a position has gone");
    PQclear(result);
    return err;
}

static int postgres_begin(struct st_sink *sink, const char *name, const struct st_claim *claims,
                          size_t count, struct ps_fault *fault)
{
    struct postgres *postgres = of(sink);
    int err = run(postgres, "BEGIN ISOLATION LEVEL READ COMMITTED", 0, NULL, fault);
    for (size_t i = 0; i < count && err == 0; i++) {
        put_string(postgres, 0, name);
        put_number(postgres, 1, claims[i].partition);
        put_number(postgres, 2, claims[i].from);
        put_number(postgres, 3, claims[i].to);
        put_number(postgres, 4, (int64_t)claims[i].digest);
        PGresult *result;
        err = run(postgres, sql_claim, 5, &result, fault);
        if (err != 0)
            break;
        if (strcmp(PQcmdTuples(result), "1") != 0)
            err = ps_fault(fault, PS_E_CONFLICT, postgres->server,
                           "another worker has read on from there");
        PQclear(result);
    }
    if (err == PS_E_CONFLICT)
        sink->ops->rollback(sink);
    return err;
}

static int look_up_epochs(struct postgres *postgres, const char *name, struct st_epoch *epochs,
                          size_t count, struct ps_fault *fault)
{
    PGresult *result;
    put_string(postgres, 0, name);
    open_arrays(postgres, 1, 3);
    for (size_t i = 0; i < count; i++) {
        epochs[i].was = 0;
        add_number(postgres, 1, epochs[i].partition);
        add_text(postgres, 2, epochs[i].sale);
    }
    close_arrays(postgres, 1, 3);
    int err = run(postgres, sql_epochs, 3, &result, fault);
    if (err != 0)
        return err;
    for (int i = 0; i < PQntuples(result); i++)
        epochs[strtoull(PQgetvalue(result, i, 0), NULL, 10) - 1].was =
            strtoll(PQgetvalue(result, i, 1), NULL, 10);
    PQclear(result);
    return 0;
}

static int look_up_orders(struct postgres *postgres, struct st_order *orders, size_t count,
                          struct ps_fault *fault)
{
    PGresult *result;
    open_arrays(postgres, 0, 1);
    for (size_t i = 0; i < count; i++) {
        orders[i].was = ST_UNKNOWN;
        orders[i].was_reason = OQ_REASON_NONE;
        add_id(postgres, 0, &orders[i].id);
    }
    close_arrays(postgres, 0, 1);
    int err = run(postgres, sql_orders, 1, &result, fault);
    if (err != 0)
        return err;
    for (int i = 0; i < PQntuples(result) && err == 0; i++) {
        struct st_order *order = &orders[strtoull(PQgetvalue(result, i, 0), NULL, 10) - 1];
        const char *state = PQgetvalue(result, i, 1);
        if (strcmp(state, "void") == 0)
            order->was = ST_VOID;
        else if (st_state_parse(state, PQgetvalue(result, i, 2), &order->was,
                                &order->was_reason) != 0)
            err = ps_fault(fault, PS_E_CORRUPT, postgres->server, "an order has the state \"%s\"",
                           state);
    }
    PQclear(result);
    return err;
}

static int postgres_look_up(struct st_sink *sink, const char *name, struct st_epoch *epochs,
                            size_t epoch_count, struct st_order *orders, size_t order_count,
                            struct ps_fault *fault)
{
    int err = 0;
    if (epoch_count > 0)
        err = look_up_epochs(of(sink), name, epochs, epoch_count, fault);
    if (err == 0 && order_count > 0)
        err = look_up_orders(of(sink), orders, order_count, fault);
    return err;
}

/* --- Storing --- */

static int store_epochs(struct postgres *postgres, const char *name,
                        const struct st_changes *changes, struct ps_fault *fault)
{
    size_t rows = 0;
    put_string(postgres, 0, name);
    open_arrays(postgres, 1, 4);
    for (size_t i = 0; i < changes->epoch_count; i++) {
        const struct st_epoch *epoch = &changes->epochs[i];
        if (epoch->is == epoch->was)
            continue;
        rows++;
        add_number(postgres, 1, epoch->partition);
        add_text(postgres, 2, epoch->sale);
        add_number(postgres, 3, epoch->is);
    }
    close_arrays(postgres, 1, 4);
    return rows > 0 ? run_on(postgres, sql_set_epochs, 4, rows, fault) : 0;
}

static void add_decided(struct postgres *postgres, size_t param, const struct st_order *order)
{
    if (order->is == ST_ACCEPTED)
        add_null(postgres, param);
    else
        add_time(postgres, param, order->decided_at_ms);
}

static void add_reason(struct postgres *postgres, size_t param, const struct st_order *order)
{
    const char *reason = oq_reason_name(order->is_reason);
    add_or_null(postgres, param, (struct ps_str){reason, strlen(reason)});
}

static void add_order(struct postgres *postgres, const struct st_order *order)
{
    const struct oq_event *event = &order->first->event;
    add_id(postgres, 1, &order->id);
    add_text(postgres, 2, event->sale);
    add_text(postgres, 3, event->sku);
    add_text(postgres, 4, event->user);
    add_number(postgres, 5, event->quantity);
    add_string(postgres, 6, st_state_name(order->is));
    add_reason(postgres, 7, order);
    add_time(postgres, 8, event->reserved_at_ms);
    add_time(postgres, 9, event->pay_by_ms);
    add_time(postgres, 10, event->at_ms);
    add_decided(postgres, 11, order);
    add_or_null(postgres, 12, event->key);
    add_string(postgres, 13, event->rehearsal ? "t" : "f");
    add_number(postgres, 14, event->epoch);
    add_number(postgres, 15, order->first->partition);
    add_number(postgres, 16, order->first->seq);
}

static bool is_new(const struct st_order *order)
{
    return order->was == ST_UNKNOWN && order->is != ST_UNKNOWN && order->is != ST_VOID;
}

static int store_new(struct postgres *postgres, const char *name,
                     const struct st_changes *changes, struct ps_fault *fault)
{
    size_t rows = 0;
    put_string(postgres, 0, name);
    open_arrays(postgres, 1, 17);
    for (size_t i = 0; i < changes->order_count; i++) {
        if (!is_new(&changes->orders[i]))
            continue;
        rows++;
        add_order(postgres, &changes->orders[i]);
    }
    close_arrays(postgres, 1, 17);
    return rows > 0 ? run_on(postgres, sql_new_orders, 17, rows, fault) : 0;
}

static int store_decisions(struct postgres *postgres, const struct st_changes *changes,
                           struct ps_fault *fault)
{
    open_arrays(postgres, 0, 1);
    for (size_t i = 0; i < changes->order_count; i++) {
        if (is_new(&changes->orders[i]) && changes->orders[i].is == ST_ACCEPTED)
            add_id(postgres, 0, &changes->orders[i].id);
    }
    close_arrays(postgres, 0, 1);
    return run(postgres, sql_decide, 1, NULL, fault);
}

static int store_voids(struct postgres *postgres, const struct st_changes *changes,
                       struct ps_fault *fault)
{
    size_t rows = 0;
    open_arrays(postgres, 0, 3);
    for (size_t i = 0; i < changes->order_count; i++) {
        const struct st_order *order = &changes->orders[i];
        if (order->is != ST_VOID || order->was == ST_VOID)
            continue;
        rows++;
        add_id(postgres, 0, &order->id);
        add_text(postgres, 1, order->first->event.sale);
        add_time(postgres, 2, order->first->event.at_ms);
    }
    close_arrays(postgres, 0, 3);
    return rows > 0 ? run_on(postgres, sql_new_voids, 3, rows, fault) : 0;
}

static int store_steps(struct postgres *postgres, const struct st_changes *changes,
                       struct ps_fault *fault)
{
    size_t rows = 0;
    open_arrays(postgres, 0, 4);
    for (size_t i = 0; i < changes->order_count; i++) {
        const struct st_order *order = &changes->orders[i];
        if (order->is == order->was || order->was == ST_UNKNOWN)
            continue;
        rows++;
        add_id(postgres, 0, &order->id);
        add_string(postgres, 1, st_state_name(order->is));
        add_reason(postgres, 2, order);
        add_decided(postgres, 3, order);
    }
    close_arrays(postgres, 0, 4);
    return rows > 0 ? run_on(postgres, sql_steps, 4, rows, fault) : 0;
}

static int store_letters(struct postgres *postgres, const char *name,
                         const struct st_changes *changes, struct ps_fault *fault)
{
    put_string(postgres, 0, name);
    open_arrays(postgres, 1, 5);
    for (size_t i = 0; i < changes->letter_count; i++) {
        const struct st_letter *letter = &changes->letters[i];
        add_number(postgres, 1, letter->record->partition);
        add_number(postgres, 2, letter->record->seq);
        add_string(postgres, 3, letter->reason);
        add_bytes(postgres, 4, letter->record->raw);
    }
    close_arrays(postgres, 1, 5);
    return changes->letter_count > 0
               ? run_on(postgres, sql_letters, 5, changes->letter_count, fault)
               : 0;
}

static int postgres_store(struct st_sink *sink, const char *name, const struct st_changes *changes,
                          struct ps_fault *fault)
{
    struct postgres *postgres = of(sink);
    int err = store_epochs(postgres, name, changes, fault);
    if (err == 0)
        err = store_new(postgres, name, changes, fault);
    if (err == 0 && changes->auto_confirm)
        err = store_decisions(postgres, changes, fault);
    if (err == 0)
        err = store_voids(postgres, changes, fault);
    if (err == 0)
        err = store_steps(postgres, changes, fault);
    if (err == 0)
        err = store_letters(postgres, name, changes, fault);
    return err;
}

static int postgres_commit(struct st_sink *sink, struct ps_fault *fault)
{
    return run(of(sink), "COMMIT", 0, NULL, fault);
}

static void postgres_rollback(struct st_sink *sink)
{
    struct ps_fault fault;
    if (PQtransactionStatus(of(sink)->connection) != PQTRANS_IDLE)
        (void)run_text(of(sink), "ROLLBACK", &fault); /* closing would do it too */
}

/* --- Decisions --- */

static int postgres_confirm_all(struct st_sink *sink, struct ps_fault *fault)
{
    return run(of(sink), sql_confirm_all, 0, NULL, fault);
}

static int postgres_due(struct st_sink *sink, int64_t lease_ms, struct st_decision *ret_decisions,
                        size_t max, size_t *ret_count, struct ps_fault *fault)
{
    struct postgres *postgres = of(sink);
    PGresult *result;
    put_number(postgres, 0, lease_ms);
    put_number(postgres, 1, (int64_t)max);
    int err = run(postgres, sql_due, 2, &result, fault);
    if (err != 0)
        return err;
    size_t count = (size_t)PQntuples(result);
    for (size_t i = 0; i < count; i++) {
        struct st_decision *decision = &ret_decisions[i];
        int at = (int)i;
        *decision = (struct st_decision){
            .confirm = strcmp(PQgetvalue(result, at, 1), "confirm") == 0,
            .tries = strtoll(PQgetvalue(result, at, 2), NULL, 10),
            .known = strcmp(PQgetvalue(result, at, 3), "t") == 0};
        snprintf(decision->order_id, sizeof decision->order_id, "%s", PQgetvalue(result, at, 0));
    }
    PQclear(result);
    *ret_count = count;
    return 0;
}

static int postgres_answer(struct st_sink *sink, const struct st_decision *decisions, size_t count,
                           struct ps_fault *fault)
{
    struct postgres *postgres = of(sink);
    open_arrays(postgres, 0, 4);
    for (size_t i = 0; i < count; i++) {
        add_string(postgres, 0, decisions[i].order_id);
        add_string(postgres, 1, decisions[i].confirm ? "confirm" : "cancel");
        const char *result = decisions[i].result != NULL ? decisions[i].result : "";
        add_or_null(postgres, 2, (struct ps_str){result, strlen(result)});
        add_number(postgres, 3, decisions[i].retry_after_ms);
    }
    close_arrays(postgres, 0, 4);
    return run(postgres, sql_answer, 4, NULL, fault);
}

static int postgres_open_decisions(struct st_sink *sink, int64_t *ret_count,
                                   struct ps_fault *fault)
{
    return ask_number(of(sink), sql_open_decisions, ret_count, fault);
}

/* --- Opening --- */

static void postgres_close(struct st_sink *sink)
{
    struct postgres *postgres = of(sink);
    PQfinish(postgres->connection);
    for (size_t i = 0; i < PARAMS_MAX; i++)
        free(postgres->param[i].at);
    free(postgres);
}

static const struct st_sink_ops postgres_ops = {.create = postgres_create,
                                                .check = postgres_check,
                                                .position = postgres_position,
                                                .begin = postgres_begin,
                                                .look_up = postgres_look_up,
                                                .store = postgres_store,
                                                .commit = postgres_commit,
                                                .rollback = postgres_rollback,
                                                .confirm_all = postgres_confirm_all,
                                                .due = postgres_due,
                                                .answer = postgres_answer,
                                                .open_decisions = postgres_open_decisions,
                                                .close = postgres_close};

static void say_nothing(void *ctx, const char *message)
{
    (void)ctx;
    (void)message;
}

/* Defaults behind which an operator's own word counts: a server that has gone without a word is
 * noticed. */
static PGconn *connect_to(const char *conninfo)
{
    static const char *const names[] = {"connect_timeout", "keepalives_idle", "keepalives_interval",
                                        "keepalives_count", "tcp_user_timeout", "application_name",
                                        "dbname", NULL};
    const char *values[] = {"5", "5", "2", "3", "10000", "penstock-settle", conninfo, NULL};
    return PQconnectdbParams(names, values, 1);
}

int st_postgres_open(const char *conninfo, struct st_sink **ret_sink, struct ps_fault *fault)
{
    char *wrong = NULL;
    PQconninfoOption *options = PQconninfoParse(conninfo, &wrong);
    if (options == NULL) {
        int err = ps_fault(fault, PS_E_INVALID, "database", "%.*s",
                           wrong != NULL ? (int)strcspn(wrong, "\n") : 13,
                           wrong != NULL ? wrong : "out of memory");
        PQfreemem(wrong);
        return err;
    }
    PQconninfoFree(options);
    struct postgres *postgres = calloc(1, sizeof *postgres);
    if (postgres == NULL)
        return ps_fault(fault, PS_E_NOMEM, "database", "out of memory");
    postgres->sink.ops = &postgres_ops;
    snprintf(postgres->server, sizeof postgres->server, "database");
    postgres->connection = connect_to(conninfo);
    if (postgres->connection == NULL || PQstatus(postgres->connection) != CONNECTION_OK) {
        int err = failed(postgres, NULL, fault);
        postgres_close(&postgres->sink);
        return err;
    }
    PQsetNoticeProcessor(postgres->connection, say_nothing, NULL);
    const char *host = PQhost(postgres->connection);
    snprintf(postgres->server, sizeof postgres->server, "postgresql %s at %s",
             PQdb(postgres->connection), host != NULL ? host : "?");
    int err = run(postgres, "SET TIME ZONE 'UTC'", 0, NULL, fault);
    if (err != 0) {
        postgres_close(&postgres->sink);
        return err;
    }
    *ret_sink = &postgres->sink;
    return 0;
}
