/* A shop's orders in PostgreSQL: a batch travels as arrays, one statement for each kind of change
 * whatever the size of the batch, so that a transaction costs some ten round trips and not one a
 * record.
 *
 * The claim of a partition's position is an UPDATE of its row, which locks it until the end of the
 * transaction: a second worker waits there and then finds the position moved. All that follows is
 * read after the lock was taken (READ COMMITTED), so it sees what the other worker has committed.
 * Partitions are claimed in their order; no two workers wait for each other. */
#include "queue/settle/postgres.h"
#include "queue/settle/settle_sink.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* For "--init": two that run at once must not both create the tables. */
#define INIT_LOCK "7310868735"

/* clang-format off */
static const char sql_has_schema[] = "SELECT count(*) FROM (SELECT to_regclass('penstock_schema') AS c) t WHERE c IS NOT NULL";
#define REHEARSAL_TABLES \
    "CREATE TABLE penstock_rehearsal_orders (LIKE orders INCLUDING ALL);" \
    "CREATE TABLE penstock_rehearsal_decisions (LIKE penstock_decisions INCLUDING ALL);"
static const char schema[] =
    "CREATE TABLE orders ("
        " order_id uuid PRIMARY KEY,"
        " sale text NOT NULL, sku text NOT NULL, user_id text NOT NULL, quantity bigint NOT NULL,"
        " state text NOT NULL CHECK (state IN ('accepted', 'confirmed', 'released')),"
        " reason text CHECK (reason IN ('expired', 'cancelled')),"
        " reserved_at timestamptz NOT NULL, pay_by timestamptz NOT NULL, accepted_at timestamptz NOT NULL, decided_at timestamptz,"
        " idempotency_key text, rehearsal boolean NOT NULL, epoch bigint NOT NULL,"
        " log_name text NOT NULL, log_partition integer NOT NULL, log_seq bigint NOT NULL, traceparent text);"
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
    REHEARSAL_TABLES
    "CREATE TABLE penstock_schema (version bigint NOT NULL);"
    "INSERT INTO penstock_schema VALUES (3);";
/* By the version to upgrade. Version 1 had the orders of rehearsals among the others. */
static const char *const upgrades[] = {NULL, ST_ADD_TRACE("orders") REHEARSAL_TABLES ST_UPGRADE_1, ST_UPGRADE_2};

/* By whether they are of a rehearsal. */
#define OF_BOTH(sql) {sql("orders", "penstock_decisions"), sql("penstock_rehearsal_orders", "penstock_rehearsal_decisions")}

static const char sql_place[] =
    "INSERT INTO penstock_offsets (name, log_partition, log_seq) VALUES ($1, $2::integer, 0) ON CONFLICT DO NOTHING";
static const char sql_position[] =
    "SELECT log_seq, digest FROM penstock_offsets WHERE name = $1 AND log_partition = $2::integer";
static const char sql_claim[] =
    "UPDATE penstock_offsets SET log_seq = $4::bigint, digest = NULLIF($5::text, '')::bigint, at = now()"
    " WHERE name = $1 AND log_partition = $2::integer AND log_seq = $3::bigint";
static const char sql_epochs[] =
    "SELECT w.n, e.epoch FROM unnest($2::integer[], $3::text[]) WITH ORDINALITY AS w (log_partition, sale, n)"
    " JOIN penstock_epochs e ON e.name = $1 AND e.log_partition = w.log_partition AND e.sale = w.sale";
static const char sql_orders[] =
    "SELECT w.n, o.state, o.reason, false, o.traceparent FROM unnest($1::uuid[]) WITH ORDINALITY AS w (order_id, n) JOIN orders o USING (order_id)"
    " UNION ALL SELECT w.n, o.state, o.reason, true, o.traceparent FROM unnest($1::uuid[]) WITH ORDINALITY AS w (order_id, n) JOIN penstock_rehearsal_orders o USING (order_id)"
    " UNION ALL SELECT w.n, 'void', NULL, false, NULL FROM unnest($1::uuid[]) WITH ORDINALITY AS w (order_id, n) JOIN penstock_void v USING (order_id)";
static const char sql_set_epochs[] =
    "INSERT INTO penstock_epochs (name, log_partition, sale, epoch) SELECT $1, * FROM unnest($2::integer[], $3::text[], $4::bigint[])"
    " ON CONFLICT (name, log_partition, sale) DO UPDATE SET epoch = excluded.epoch";
#define SQL_NEW_ORDERS(orders, decisions) \
    "INSERT INTO " orders " (log_name, order_id, sale, sku, user_id, quantity, state, reason, reserved_at, pay_by, accepted_at, decided_at," \
    " idempotency_key, rehearsal, epoch, log_partition, log_seq, traceparent)" \
    " SELECT $1, * FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::text[], $9::timestamptz[]," \
    " $10::timestamptz[], $11::timestamptz[], $12::timestamptz[], $13::text[], $14::boolean[], $15::bigint[], $16::integer[], $17::bigint[], $18::text[])"
static const char *const sql_new_orders[] = OF_BOTH(SQL_NEW_ORDERS);
static const char sql_new_voids[] =
    "INSERT INTO penstock_void (order_id, sale, at) SELECT * FROM unnest($1::uuid[], $2::text[], $3::timestamptz[])";
#define SQL_STEPS(orders, decisions) \
    "UPDATE " orders " o SET state = c.state, reason = c.reason, decided_at = c.decided_at" \
    " FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[]) AS c (order_id, state, reason, decided_at)" \
    " WHERE o.order_id = c.order_id"
static const char *const sql_steps[] = OF_BOTH(SQL_STEPS);
static const char sql_letters[] =
    "INSERT INTO penstock_dead_letters (name, log_partition, log_seq, reason, record)"
    " SELECT $1, * FROM unnest($2::integer[], $3::bigint[], $4::text[], $5::bytea[])"
    " ON CONFLICT (name, log_partition, log_seq) DO UPDATE SET reason = excluded.reason, record = excluded.record";
#define SQL_DECIDE(orders, decisions) \
    "INSERT INTO " decisions " (order_id, decision) SELECT w.order_id, 'confirm' FROM unnest($1::uuid[]) AS w (order_id)" \
    " ON CONFLICT DO NOTHING"
static const char *const sql_decide[] = OF_BOTH(SQL_DECIDE);
#define SQL_CONFIRM_ALL(orders, decisions) \
    "INSERT INTO " decisions " (order_id, decision) SELECT order_id, 'confirm' FROM " orders " WHERE state = 'accepted'" \
    " ON CONFLICT DO NOTHING"
static const char *const sql_confirm_all[] = OF_BOTH(SQL_CONFIRM_ALL);
/* Materialized: as a subquery it may be asked again for each row, and then gives others. */
#define SQL_DUE(orders, decisions) \
    "WITH due AS MATERIALIZED (SELECT order_id FROM " decisions "" \
    " WHERE result IS NULL AND (retry_at IS NULL OR retry_at <= now() OR sent_at > now())" \
    " ORDER BY retry_at NULLS FIRST LIMIT $2::bigint FOR UPDATE SKIP LOCKED)" \
    " UPDATE " decisions " d SET sent_at = now(), tries = tries + 1, retry_at = now() + $1::bigint * interval '1 ms'" \
    " FROM due WHERE d.order_id = due.order_id" \
    " RETURNING d.order_id, decision, tries, EXISTS (SELECT 1 FROM " orders " o WHERE o.order_id = d.order_id)"
static const char *const sql_due[] = OF_BOTH(SQL_DUE);
#define SQL_ANSWER(orders, decisions) \
    "UPDATE " decisions " d SET result = a.result, tries = d.tries - a.unheard," \
    " retry_at = CASE WHEN a.result IS NULL THEN now() + a.retry_ms * interval '1 ms' END" \
    " FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::bigint[]) AS a (order_id, decision, result, retry_ms, unheard)" \
    " WHERE d.order_id = a.order_id AND d.decision = a.decision AND d.result IS NULL"
static const char *const sql_answer[] = OF_BOTH(SQL_ANSWER);
static const char sql_open_decisions[] =
    "SELECT (SELECT count(*) FROM penstock_decisions WHERE result IS NULL) + (SELECT count(*) FROM penstock_rehearsal_decisions WHERE result IS NULL)";
/* clang-format on */

struct postgres {
    struct st_sink sink;
    struct st_pg pg;
};

static struct st_pg *connection_of(struct st_sink *sink)
{
    return &((struct postgres *)(void *)sink)->pg;
}

/* --- Tables --- */

static int postgres_version(struct st_sink *sink, int64_t *ret_version, struct ps_fault *fault)
{
    struct st_pg *pg = connection_of(sink);
    int64_t there;
    *ret_version = 0;
    int err = st_pg_number(pg, sql_has_schema, &there, fault);
    if (err == 0 && there > 0)
        err = st_pg_number(pg, "SELECT version FROM penstock_schema", ret_version, fault);
    return err;
}

static int postgres_create(struct st_sink *sink, struct ps_fault *fault)
{
    struct st_pg *pg = connection_of(sink);
    int64_t version = 0;
    int err = st_pg_run(pg, "BEGIN", 0, NULL, fault);
    if (err == 0)
        err = st_pg_run(pg, "SELECT pg_advisory_xact_lock(" INIT_LOCK ")", 0, NULL, fault);
    if (err == 0)
        err = postgres_version(sink, &version, fault);
    if (err == 0 && (version == 1 || version == 2))
        err = st_pg_run_text(pg, upgrades[version], fault);
    else if (err == 0 && version != 0)
        err = st_schema_check(version, pg->server, fault);
    else if (err == 0)
        err = st_pg_run_text(pg, schema, fault);
    if (err == 0)
        err = st_pg_run(pg, "COMMIT", 0, NULL, fault);
    if (err == PS_E_EXISTS) {
        char text[sizeof fault->text];
        snprintf(text, sizeof text, "%s", fault->text);
        ps_fault(fault, err, pg->server,
                 "%s, and it does not belong to settlement: give settlement its own schema", text);
    }
    return err;
}

/* --- Reading on --- */

static int postgres_position(struct st_sink *sink, const char *name, uint32_t partition,
                             struct st_position *ret_position, struct ps_fault *fault)
{
    struct st_pg *pg = connection_of(sink);
    PGresult *result;
    st_pg_put_string(pg, 0, name);
    st_pg_put_number(pg, 1, partition);
    int err = st_pg_run(pg, sql_place, 2, NULL, fault);
    if (err == 0)
        err = st_pg_run(pg, sql_position, 2, &result, fault);
    if (err != 0)
        return err;
    if (PQntuples(result) == 1)
        *ret_position =
            (struct st_position){.seq = strtoll(PQgetvalue(result, 0, 0), NULL, 10),
                                 .checked = PQgetisnull(result, 0, 1) == 0,
                                 .digest = (uint64_t)strtoll(PQgetvalue(result, 0, 1), NULL, 10)};
    else
        err = ps_fault(fault, PS_E_CORRUPT, pg->server, "the table of positions lacks partition %d",
                       (int)partition);
    PQclear(result);
    return err;
}

static int postgres_begin(struct st_sink *sink, const char *name, const struct st_claim *claims,
                          size_t count, struct ps_fault *fault)
{
    struct st_pg *pg = connection_of(sink);
    struct ps_fault unread;
    int err = st_pg_run(pg, "BEGIN ISOLATION LEVEL READ COMMITTED", 0, NULL, fault);
    for (size_t i = 0; i < count && err == 0; i++) {
        st_pg_put_string(pg, 0, name);
        st_pg_put_number(pg, 1, claims[i].partition);
        st_pg_put_number(pg, 2, claims[i].from);
        st_pg_put_number(pg, 3, claims[i].to);
        if (claims[i].unchecked)
            st_pg_put_string(pg, 4, ""); /* is NULL */
        else
            st_pg_put_number(pg, 4, (int64_t)claims[i].digest);
        PGresult *result;
        err = st_pg_run(pg, sql_claim, 5, &result, fault);
        if (err != 0)
            break;
        if (strcmp(PQcmdTuples(result), "1") != 0)
            err = ps_fault(fault, PS_E_CONFLICT, pg->server,
                           "another worker has stored these records");
        PQclear(result);
    }
    if (err == PS_E_CONFLICT)
        (void)!st_pg_run(pg, "ROLLBACK", 0, NULL, &unread); /* if it cannot, it is lost */
    return err;
}

static int look_up_epochs(struct st_pg *pg, const char *name, struct st_epoch *epochs, size_t count,
                          struct ps_fault *fault)
{
    PGresult *result;
    st_pg_put_string(pg, 0, name);
    st_pg_open_arrays(pg, 1, 3);
    for (size_t i = 0; i < count; i++) {
        epochs[i].was = 0;
        st_pg_add_number(pg, 1, epochs[i].partition);
        st_pg_add_text(pg, 2, epochs[i].sale);
    }
    st_pg_close_arrays(pg, 1, 3);
    int err = st_pg_run(pg, sql_epochs, 3, &result, fault);
    if (err != 0)
        return err;
    for (int i = 0; i < PQntuples(result); i++)
        epochs[strtoull(PQgetvalue(result, i, 0), NULL, 10) - 1].was =
            strtoll(PQgetvalue(result, i, 1), NULL, 10);
    PQclear(result);
    return 0;
}

static int look_up_orders(struct st_pg *pg, struct st_order *orders, size_t count,
                          struct ps_fault *fault)
{
    PGresult *result;
    st_pg_open_arrays(pg, 0, 1);
    for (size_t i = 0; i < count; i++) {
        orders[i].was = ST_UNKNOWN;
        orders[i].was_reason = OQ_REASON_NONE;
        orders[i].rehearsal = false;
        orders[i].traceparent[0] = '\0';
        st_pg_add_id(pg, 0, &orders[i].id);
    }
    st_pg_close_arrays(pg, 0, 1);
    int err = st_pg_run(pg, sql_orders, 1, &result, fault);
    if (err != 0)
        return err;
    for (int i = 0; i < PQntuples(result) && err == 0; i++) {
        struct st_order *order = &orders[strtoull(PQgetvalue(result, i, 0), NULL, 10) - 1];
        const char *state = PQgetvalue(result, i, 1);
        order->rehearsal = strcmp(PQgetvalue(result, i, 3), "t") == 0;
        st_order_set_trace(order, ps_str(PQgetvalue(result, i, 4)));
        if (strcmp(state, "void") == 0)
            order->was = ST_VOID;
        else if (st_state_parse(state, PQgetvalue(result, i, 2), &order->was, &order->was_reason) !=
                 0)
            err = ps_fault(fault, PS_E_CORRUPT, pg->server, "an order has the state \"%s\"", state);
    }
    PQclear(result);
    return err;
}

static int postgres_look_up(struct st_sink *sink, const char *name, const struct st_known *known,
                            struct ps_fault *fault)
{
    int err = 0;
    if (known->epoch_count > 0)
        err = look_up_epochs(connection_of(sink), name, known->epochs, known->epoch_count, fault);
    if (err == 0 && known->order_count > 0)
        err = look_up_orders(connection_of(sink), known->orders, known->order_count, fault);
    return err;
}

/* --- Storing --- */

static int store_epochs(struct st_pg *pg, const char *name, const struct st_changes *changes,
                        struct ps_fault *fault)
{
    size_t rows = 0;
    st_pg_put_string(pg, 0, name);
    st_pg_open_arrays(pg, 1, 4);
    for (size_t i = 0; i < changes->epoch_count; i++) {
        const struct st_epoch *epoch = &changes->epochs[i];
        if (epoch->is == epoch->was)
            continue;
        rows++;
        st_pg_add_number(pg, 1, epoch->partition);
        st_pg_add_text(pg, 2, epoch->sale);
        st_pg_add_number(pg, 3, epoch->is);
    }
    st_pg_close_arrays(pg, 1, 4);
    return rows > 0 ? st_pg_run_on(pg, sql_set_epochs, 4, rows, fault) : 0;
}

static void add_decided(struct st_pg *pg, size_t param, const struct st_order *order)
{
    if (order->is == ST_ACCEPTED)
        st_pg_add_null(pg, param);
    else
        st_pg_add_time(pg, param, order->decided_at_ms);
}

static void add_reason(struct st_pg *pg, size_t param, const struct st_order *order)
{
    const char *reason = oq_reason_name(order->is_reason);
    st_pg_add_or_null(pg, param, ps_str(reason));
}

static void add_order(struct st_pg *pg, const struct st_order *order)
{
    const struct oq_event *event = &order->first->event;
    st_pg_add_id(pg, 1, &order->id);
    st_pg_add_text(pg, 2, event->sale);
    st_pg_add_text(pg, 3, event->sku);
    st_pg_add_text(pg, 4, event->user);
    st_pg_add_number(pg, 5, event->quantity);
    st_pg_add_string(pg, 6, st_state_name(order->is));
    add_reason(pg, 7, order);
    st_pg_add_time(pg, 8, event->reserved_at_ms);
    st_pg_add_time(pg, 9, event->pay_by_ms);
    st_pg_add_time(pg, 10, event->at_ms);
    add_decided(pg, 11, order);
    st_pg_add_or_null(pg, 12, event->key);
    st_pg_add_string(pg, 13, event->rehearsal ? "t" : "f");
    st_pg_add_number(pg, 14, event->epoch);
    st_pg_add_number(pg, 15, order->first->partition);
    st_pg_add_number(pg, 16, order->first->seq);
    st_pg_add_or_null(pg, 17, event->traceparent);
}

static int store_new(struct st_pg *pg, const char *name, const struct st_changes *changes,
                     bool rehearsal, struct ps_fault *fault)
{
    size_t rows = 0;
    st_pg_put_string(pg, 0, name);
    st_pg_open_arrays(pg, 1, 18);
    for (size_t i = 0; i < changes->order_count; i++) {
        if (st_order_change(&changes->orders[i]) != ST_NEW ||
            changes->orders[i].rehearsal != rehearsal)
            continue;
        rows++;
        add_order(pg, &changes->orders[i]);
    }
    st_pg_close_arrays(pg, 1, 18);
    return rows > 0 ? st_pg_run_on(pg, sql_new_orders[rehearsal], 18, rows, fault) : 0;
}

static int store_decisions(struct st_pg *pg, const struct st_changes *changes, bool rehearsal,
                           struct ps_fault *fault)
{
    size_t rows = 0;
    st_pg_open_arrays(pg, 0, 1);
    for (size_t i = 0; i < changes->order_count; i++) {
        const struct st_order *order = &changes->orders[i];
        if (st_order_change(order) != ST_NEW || order->is != ST_ACCEPTED ||
            order->rehearsal != rehearsal)
            continue;
        rows++;
        st_pg_add_id(pg, 0, &order->id);
    }
    st_pg_close_arrays(pg, 0, 1);
    return rows > 0 ? st_pg_run(pg, sql_decide[rehearsal], 1, NULL, fault) : 0;
}

static int store_voids(struct st_pg *pg, const struct st_changes *changes, struct ps_fault *fault)
{
    size_t rows = 0;
    st_pg_open_arrays(pg, 0, 3);
    for (size_t i = 0; i < changes->order_count; i++) {
        const struct st_order *order = &changes->orders[i];
        if (st_order_change(order) != ST_VOIDED)
            continue;
        rows++;
        st_pg_add_id(pg, 0, &order->id);
        st_pg_add_text(pg, 1, order->first->event.sale);
        st_pg_add_time(pg, 2, order->first->event.at_ms);
    }
    st_pg_close_arrays(pg, 0, 3);
    return rows > 0 ? st_pg_run_on(pg, sql_new_voids, 3, rows, fault) : 0;
}

static int store_steps(struct st_pg *pg, const struct st_changes *changes, bool rehearsal,
                       struct ps_fault *fault)
{
    size_t rows = 0;
    st_pg_open_arrays(pg, 0, 4);
    for (size_t i = 0; i < changes->order_count; i++) {
        const struct st_order *order = &changes->orders[i];
        if (st_order_change(order) != ST_STEP || order->rehearsal != rehearsal)
            continue;
        rows++;
        st_pg_add_id(pg, 0, &order->id);
        st_pg_add_string(pg, 1, st_state_name(order->is));
        add_reason(pg, 2, order);
        add_decided(pg, 3, order);
    }
    st_pg_close_arrays(pg, 0, 4);
    return rows > 0 ? st_pg_run_on(pg, sql_steps[rehearsal], 4, rows, fault) : 0;
}

static int store_letters(struct st_pg *pg, const char *name, const struct st_changes *changes,
                         struct ps_fault *fault)
{
    st_pg_put_string(pg, 0, name);
    st_pg_open_arrays(pg, 1, 5);
    for (size_t i = 0; i < changes->letter_count; i++) {
        const struct st_letter *letter = &changes->letters[i];
        st_pg_add_number(pg, 1, letter->record->partition);
        st_pg_add_number(pg, 2, letter->record->seq);
        st_pg_add_string(pg, 3, letter->reason);
        st_pg_add_bytes(pg, 4, letter->record->raw);
    }
    st_pg_close_arrays(pg, 1, 5);
    return changes->letter_count > 0
               ? st_pg_run_on(pg, sql_letters, 5, changes->letter_count, fault)
               : 0;
}

static int postgres_store(struct st_sink *sink, const char *name, const struct st_changes *changes,
                          struct ps_fault *fault)
{
    struct st_pg *pg = connection_of(sink);
    int err = store_epochs(pg, name, changes, fault);
    for (int rehearsal = 0; rehearsal < 2 && err == 0; rehearsal++) {
        err = store_new(pg, name, changes, rehearsal != 0, fault);
        if (err == 0 && changes->auto_confirm)
            err = store_decisions(pg, changes, rehearsal != 0, fault);
        if (err == 0)
            err = store_steps(pg, changes, rehearsal != 0, fault);
    }
    if (err == 0)
        err = store_voids(pg, changes, fault);
    if (err == 0)
        err = store_letters(pg, name, changes, fault);
    return err;
}

static int postgres_commit(struct st_sink *sink, struct ps_fault *fault)
{
    return st_pg_run(connection_of(sink), "COMMIT", 0, NULL, fault);
}

/* --- Decisions --- */

static int postgres_confirm_all(struct st_sink *sink, bool rehearsal, struct ps_fault *fault)
{
    return st_pg_run(connection_of(sink), sql_confirm_all[rehearsal], 0, NULL, fault);
}

static int postgres_due(struct st_sink *sink, bool rehearsal, int64_t lease_ms,
                        struct st_decision *ret_decisions, size_t max, struct ps_fault *fault)
{
    struct st_pg *pg = connection_of(sink);
    PGresult *result;
    st_pg_put_number(pg, 0, lease_ms);
    st_pg_put_number(pg, 1, (int64_t)max);
    int err = st_pg_run(pg, sql_due[rehearsal], 2, &result, fault);
    if (err != 0)
        return err;
    int count = PQntuples(result);
    for (int at = 0; at < count; at++) {
        struct st_decision *decision = &ret_decisions[at];
        *decision =
            (struct st_decision){.confirm = strcmp(PQgetvalue(result, at, 1), "confirm") == 0,
                                 .rehearsal = rehearsal,
                                 .tries = strtoll(PQgetvalue(result, at, 2), NULL, 10),
                                 .known = strcmp(PQgetvalue(result, at, 3), "t") == 0};
        snprintf(decision->order_id, sizeof decision->order_id, "%s", PQgetvalue(result, at, 0));
    }
    PQclear(result);
    return count;
}

static int write_answers(struct st_pg *pg, bool rehearsal, const struct st_decision *decisions,
                         size_t count, struct ps_fault *fault)
{
    size_t rows = 0;
    st_pg_open_arrays(pg, 0, 5);
    for (size_t i = 0; i < count; i++) {
        if (decisions[i].rehearsal != rehearsal)
            continue;
        rows++;
        st_pg_add_string(pg, 0, decisions[i].order_id);
        st_pg_add_string(pg, 1, decisions[i].confirm ? "confirm" : "cancel");
        const char *result = decisions[i].result != NULL ? decisions[i].result : "";
        st_pg_add_or_null(pg, 2, ps_str(result));
        st_pg_add_number(pg, 3, decisions[i].retry_after_ms);
        st_pg_add_number(pg, 4, decisions[i].unheard ? 1 : 0);
    }
    st_pg_close_arrays(pg, 0, 5);
    return rows > 0 ? st_pg_run(pg, sql_answer[rehearsal], 5, NULL, fault) : 0;
}

static int postgres_answer(struct st_sink *sink, const struct st_decision *decisions, size_t count,
                           struct ps_fault *fault)
{
    struct st_pg *pg = connection_of(sink);
    int err = write_answers(pg, false, decisions, count, fault);
    return err == 0 ? write_answers(pg, true, decisions, count, fault) : err;
}

static int postgres_open_decisions(struct st_sink *sink, int64_t *ret_count, struct ps_fault *fault)
{
    return st_pg_number(connection_of(sink), sql_open_decisions, ret_count, fault);
}

/* --- Opening --- */

static void postgres_close(struct st_sink *sink)
{
    st_pg_close(connection_of(sink));
    free(sink);
}

static const struct st_sink_ops postgres_ops = {.create = postgres_create,
                                                .version = postgres_version,
                                                .position = postgres_position,
                                                .begin = postgres_begin,
                                                .look_up = postgres_look_up,
                                                .store = postgres_store,
                                                .commit = postgres_commit,
                                                .confirm_all = postgres_confirm_all,
                                                .due = postgres_due,
                                                .answer = postgres_answer,
                                                .open_decisions = postgres_open_decisions,
                                                .close = postgres_close};

int st_postgres_open(const char *conninfo, struct st_sink **ret_sink, struct ps_fault *fault)
{
    struct postgres *postgres = calloc(1, sizeof *postgres);
    if (postgres == NULL)
        return ps_fault(fault, PS_E_NOMEM, "database", "out of memory");
    postgres->sink.ops = &postgres_ops;
    postgres->sink.database = postgres->pg.server;
    int err = st_pg_open(&postgres->pg, conninfo, fault);
    if (err != 0) {
        postgres_close(&postgres->sink);
        return err;
    }
    *ret_sink = &postgres->sink;
    return 0;
}
