/* A shop's orders in one SQLite file: WAL, synchronous=FULL, prepared statements row by row inside
 * one transaction a batch.
 *
 * Each transaction takes the write lock at once (BEGIN IMMEDIATE), which is more than the claim of
 * positions would need: no other writer, of the shop or of settlement, changes anything between
 * begin and commit. The shop's own transactions are waited for some seconds. Times are text, as in
 * the log, so that they compare as they are. */
#include "queue/settle/settle_sink.h"
#include "queue/settle/sqlite.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* clang-format off */
#define STATEMENTS(X) \
    X(BEGIN,       "BEGIN IMMEDIATE") \
    X(COMMIT,      "COMMIT") \
    X(ROLLBACK,    "ROLLBACK") \
    X(PLACE,       "INSERT INTO penstock_offsets (name, log_partition, log_seq, digest, at) VALUES (?1, ?2, 0, NULL, " NOW ") ON CONFLICT DO NOTHING") \
    X(POSITION,    "SELECT log_seq, digest FROM penstock_offsets WHERE name = ?1 AND log_partition = ?2") \
    X(CLAIM,       "UPDATE penstock_offsets SET log_seq = ?4, digest = ?5, at = " NOW " WHERE name = ?1 AND log_partition = ?2 AND log_seq = ?3") \
    X(EPOCH,       "SELECT epoch FROM penstock_epochs WHERE name = ?1 AND log_partition = ?2 AND sale = ?3") \
    X(ORDER,       "SELECT state, reason FROM orders WHERE order_id = ?1 UNION ALL SELECT 'void', NULL FROM penstock_void WHERE order_id = ?1") \
    X(SET_EPOCH,   "INSERT INTO penstock_epochs (name, log_partition, sale, epoch) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET epoch = excluded.epoch") \
    X(NEW_ORDER,   "INSERT INTO orders (order_id, sale, sku, user_id, quantity, state, reason, reserved_at, pay_by, accepted_at, decided_at, idempotency_key, rehearsal, epoch, log_name, log_partition, log_seq)" \
                   " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)") \
    X(NEW_VOID,    "INSERT INTO penstock_void (order_id, sale, at) VALUES (?1, ?2, ?3)") \
    X(STEP,        "UPDATE orders SET state = ?2, reason = ?3, decided_at = ?4 WHERE order_id = ?1") \
    X(LETTER,      "INSERT INTO penstock_dead_letters (name, log_partition, log_seq, reason, record, at) VALUES (?1, ?2, ?3, ?4, ?5, " NOW ")" \
                   " ON CONFLICT DO UPDATE SET reason = excluded.reason, record = excluded.record") \
    X(DECIDE,      "INSERT INTO penstock_decisions (order_id, decision) VALUES (?1, 'confirm') ON CONFLICT DO NOTHING") \
    X(CONFIRM_ALL, "INSERT INTO penstock_decisions (order_id, decision) SELECT order_id, 'confirm' FROM orders WHERE state = 'accepted' ON CONFLICT DO NOTHING") \
    X(DUE,         "UPDATE penstock_decisions SET sent_at = " NOW ", tries = tries + 1, retry_at = " LATER("?1") " WHERE order_id IN" \
                   " (SELECT order_id FROM penstock_decisions WHERE result IS NULL AND (retry_at IS NULL OR retry_at <= " NOW " OR sent_at > " NOW ") ORDER BY retry_at LIMIT ?2)" \
                   " RETURNING order_id, decision, tries, EXISTS (SELECT 1 FROM orders WHERE orders.order_id = penstock_decisions.order_id)") \
    X(RESULT,      "UPDATE penstock_decisions SET result = ?3, retry_at = NULL WHERE order_id = ?1 AND decision = ?2 AND result IS NULL") \
    X(AGAIN,       "UPDATE penstock_decisions SET retry_at = " LATER("?3") ", tries = tries - ?4 WHERE order_id = ?1 AND decision = ?2 AND result IS NULL") \
    X(OPEN,        "SELECT count(*) FROM penstock_decisions WHERE result IS NULL")
#define NOW        "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
#define LATER(ms)  "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (" ms " / 1000.0) || ' seconds')"
#define ORDER_ID   "TEXT NOT NULL PRIMARY KEY CHECK (length(order_id) = 36 AND length(replace(order_id, '-', '')) = 32 AND order_id NOT GLOB '*[^-0-9a-f]*')"

static const char schema[] =
    "CREATE TABLE orders ("
        " order_id " ORDER_ID ","
        " sale TEXT NOT NULL, sku TEXT NOT NULL, user_id TEXT NOT NULL, quantity INTEGER NOT NULL,"
        " state TEXT NOT NULL CHECK (state IN ('accepted', 'confirmed', 'released')),"
        " reason TEXT CHECK (reason IN ('expired', 'cancelled')),"
        " reserved_at TEXT NOT NULL, pay_by TEXT NOT NULL, accepted_at TEXT NOT NULL, decided_at TEXT,"
        " idempotency_key TEXT, rehearsal INTEGER NOT NULL, epoch INTEGER NOT NULL,"
        " log_name TEXT NOT NULL, log_partition INTEGER NOT NULL, log_seq INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE penstock_void (order_id " ORDER_ID ", sale TEXT NOT NULL, at TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE penstock_offsets (name TEXT NOT NULL, log_partition INTEGER NOT NULL, log_seq INTEGER NOT NULL, digest INTEGER, at TEXT NOT NULL,"
        " PRIMARY KEY (name, log_partition)) WITHOUT ROWID;"
    "CREATE TABLE penstock_epochs (name TEXT NOT NULL, log_partition INTEGER NOT NULL, sale TEXT NOT NULL, epoch INTEGER NOT NULL,"
        " PRIMARY KEY (name, log_partition, sale)) WITHOUT ROWID;"
    "CREATE TABLE penstock_dead_letters (name TEXT NOT NULL, log_partition INTEGER NOT NULL, log_seq INTEGER NOT NULL,"
        " reason TEXT NOT NULL, record BLOB, at TEXT NOT NULL, PRIMARY KEY (name, log_partition, log_seq)) WITHOUT ROWID;"
    "CREATE TABLE penstock_decisions (order_id " ORDER_ID ","
        " decision TEXT NOT NULL CHECK (decision IN ('confirm', 'cancel')),"
        " tries INTEGER NOT NULL DEFAULT 0, sent_at TEXT, retry_at TEXT, result TEXT) WITHOUT ROWID;"
    "CREATE INDEX penstock_decisions_open ON penstock_decisions (retry_at) WHERE result IS NULL;"
    "CREATE TABLE penstock_schema (version INTEGER NOT NULL);"
    "INSERT INTO penstock_schema VALUES (1);";
/* clang-format on */

#define STATEMENT_ENUM(name, sql) name,
enum { STATEMENTS(STATEMENT_ENUM) STATEMENT_COUNT };
#define STATEMENT_SQL(name, sql) sql,
static const char *const statements[] = {STATEMENTS(STATEMENT_SQL)};
_Static_assert(STATEMENT_COUNT <= ST_SQL_MAX, "each has its place");

struct sqlite {
    struct st_sink sink;
    struct st_sql sql;
};

static struct st_sql *of(struct st_sink *sink)
{
    return &((struct sqlite *)(void *)sink)->sql;
}

/* --- Tables --- */

static int version_of(struct st_sql *sql, int64_t *ret_version, struct ps_fault *fault)
{
    sqlite3_stmt *statement;
    *ret_version = 0;
    int rc = sqlite3_prepare_v2(sql->db,
                                "SELECT count(*) FROM sqlite_schema WHERE name = 'penstock_schema'",
                                -1, &statement, NULL);
    if (rc != SQLITE_OK)
        return st_sql_failed(sql, rc, fault);
    bool there = sqlite3_step(statement) == SQLITE_ROW && sqlite3_column_int(statement, 0) > 0;
    rc = sqlite3_finalize(statement);
    if (rc == SQLITE_OK && there) {
        rc = sqlite3_prepare_v2(sql->db, "SELECT version FROM penstock_schema", -1, &statement,
                                NULL);
        if (rc != SQLITE_OK)
            return st_sql_failed(sql, rc, fault);
        if (sqlite3_step(statement) == SQLITE_ROW)
            *ret_version = sqlite3_column_int64(statement, 0);
        rc = sqlite3_finalize(statement);
    }
    return rc == SQLITE_OK ? 0 : st_sql_failed(sql, rc, fault);
}

static int create_tables(struct st_sql *sql, struct ps_fault *fault)
{
    int64_t version;
    int err = version_of(sql, &version, fault);
    if (err != 0 || version != 0)
        return err != 0 ? err : st_schema_check(version, sql->path, fault);
    int rc = sqlite3_exec(sql->db, schema, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        return 0;
    if (strstr(sqlite3_errmsg(sql->db), "already exists") != NULL)
        return ps_fault(fault, PS_E_EXISTS, sql->path,
                        "%s, and it is none of settlement's: give settlement a file of its own",
                        sqlite3_errmsg(sql->db));
    return st_sql_failed(sql, rc, fault);
}

static int sqlite_create(struct st_sink *sink, struct ps_fault *fault)
{
    struct st_sql *sql = of(sink);
    int rc = sqlite3_exec(sql->db, "PRAGMA journal_mode=WAL", NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        return st_sql_failed(sql, rc, fault);
    int err = st_sql_run_plain(sql, BEGIN, fault);
    if (err == 0)
        err = create_tables(sql, fault);
    if (err == 0)
        err = st_sql_run_plain(sql, COMMIT, fault);
    if (err != 0)
        sink->ops->rollback(sink);
    return err;
}

static int sqlite_check(struct st_sink *sink, struct ps_fault *fault)
{
    int64_t version;
    int err = version_of(of(sink), &version, fault);
    return err == 0 ? st_schema_check(version, of(sink)->path, fault) : err;
}

/* --- Reading on --- */

static int sqlite_position(struct st_sink *sink, const char *name, uint32_t partition,
                           struct st_position *ret_position, struct ps_fault *fault)
{
    struct st_sql *sql = of(sink);
    sqlite3_stmt *place, *statement;
    int err = st_sql_get(sql, PLACE, &place, fault);
    if (err == 0)
        err = st_sql_get(sql, POSITION, &statement, fault);
    if (err != 0)
        return err;
    st_sql_bind_string(place, 1, name);
    sqlite3_bind_int64(place, 2, partition);
    err = st_sql_run(sql, place, fault);
    if (err != 0)
        return err;
    st_sql_bind_string(statement, 1, name);
    sqlite3_bind_int64(statement, 2, partition);
    int found = st_sql_row(sql, statement, fault);
    if (found < 0)
        return found;
    *ret_position =
        (struct st_position){.seq = sqlite3_column_int64(statement, 0),
                             .checked = sqlite3_column_type(statement, 1) != SQLITE_NULL,
                             .digest = (uint64_t)sqlite3_column_int64(statement, 1)};
    sqlite3_reset(statement);
    return 0;
}

static int claim(struct st_sql *sql, const char *name, const struct st_claim *claim_,
                 struct ps_fault *fault)
{
    sqlite3_stmt *statement;
    int err = st_sql_get(sql, CLAIM, &statement, fault);
    if (err != 0)
        return err;
    st_sql_bind_string(statement, 1, name);
    sqlite3_bind_int64(statement, 2, claim_->partition);
    sqlite3_bind_int64(statement, 3, claim_->from);
    sqlite3_bind_int64(statement, 4, claim_->to);
    if (claim_->unchecked)
        sqlite3_bind_null(statement, 5);
    else
        sqlite3_bind_int64(statement, 5, (int64_t)claim_->digest);
    err = st_sql_run(sql, statement, fault);
    if (err == 0 && sqlite3_changes(sql->db) != 1)
        err = ps_fault(fault, PS_E_CONFLICT, sql->path, "another worker has read on from there");
    return err;
}

static int sqlite_begin(struct st_sink *sink, const char *name, const struct st_claim *claims,
                        size_t count, struct ps_fault *fault)
{
    int err = st_sql_run_plain(of(sink), BEGIN, fault);
    for (size_t i = 0; i < count && err == 0; i++)
        err = claim(of(sink), name, &claims[i], fault);
    if (err == PS_E_CONFLICT)
        sink->ops->rollback(sink);
    return err;
}

static int look_up_epoch(struct st_sql *sql, const char *name, struct st_epoch *epoch,
                         struct ps_fault *fault)
{
    sqlite3_stmt *statement;
    int err = st_sql_get(sql, EPOCH, &statement, fault);
    if (err != 0)
        return err;
    st_sql_bind_string(statement, 1, name);
    sqlite3_bind_int64(statement, 2, epoch->partition);
    st_sql_bind_text(sql, statement, 3, epoch->sale);
    int found = st_sql_row(sql, statement, fault);
    if (found < 0)
        return found;
    epoch->was = found > 0 ? sqlite3_column_int64(statement, 0) : 0;
    sqlite3_reset(statement);
    return 0;
}

static int look_up_order(struct st_sql *sql, struct st_order *order, struct ps_fault *fault)
{
    sqlite3_stmt *statement;
    int err = st_sql_get(sql, ORDER, &statement, fault);
    if (err != 0)
        return err;
    st_sql_bind_id(sql, statement, 1, &order->id);
    int found = st_sql_row(sql, statement, fault);
    if (found < 0)
        return found;
    order->was = ST_UNKNOWN;
    order->was_reason = OQ_REASON_NONE;
    if (found > 0 && strcmp(st_sql_column(statement, 0), "void") == 0)
        order->was = ST_VOID;
    else if (found > 0 && st_state_parse(st_sql_column(statement, 0), st_sql_column(statement, 1),
                                         &order->was, &order->was_reason) != 0)
        err = ps_fault(fault, PS_E_CORRUPT, sql->path, "an order has the state \"%s\"",
                       st_sql_column(statement, 0));
    sqlite3_reset(statement);
    return err;
}

static int sqlite_look_up(struct st_sink *sink, const char *name, struct st_epoch *epochs,
                          size_t epoch_count, struct st_order *orders, size_t order_count,
                          struct ps_fault *fault)
{
    int err = 0;
    for (size_t i = 0; i < epoch_count && err == 0; i++)
        err = look_up_epoch(of(sink), name, &epochs[i], fault);
    for (size_t i = 0; i < order_count && err == 0; i++)
        err = look_up_order(of(sink), &orders[i], fault);
    return err;
}

/* --- Storing --- */

static int store_epoch(struct st_sql *sql, const char *name, const struct st_epoch *epoch,
                       struct ps_fault *fault)
{
    sqlite3_stmt *statement;
    int err = st_sql_get(sql, SET_EPOCH, &statement, fault);
    if (err != 0)
        return err;
    st_sql_bind_string(statement, 1, name);
    sqlite3_bind_int64(statement, 2, epoch->partition);
    st_sql_bind_text(sql, statement, 3, epoch->sale);
    sqlite3_bind_int64(statement, 4, epoch->is);
    return st_sql_run(sql, statement, fault);
}

static void bind_decided(struct st_sql *sql, sqlite3_stmt *statement, int at,
                         const struct st_order *order)
{
    if (order->is == ST_ACCEPTED)
        sqlite3_bind_null(statement, at);
    else
        st_sql_bind_time(sql, statement, at, order->decided_at_ms);
}

static int store_new(struct st_sql *sql, const char *name, const struct st_order *order,
                     struct ps_fault *fault)
{
    const struct oq_event *event = &order->first->event;
    sqlite3_stmt *statement;
    int err = st_sql_get(sql, NEW_ORDER, &statement, fault);
    if (err != 0)
        return err;
    st_sql_bind_id(sql, statement, 1, &order->id);
    st_sql_bind_text(sql, statement, 2, event->sale);
    st_sql_bind_text(sql, statement, 3, event->sku);
    st_sql_bind_text(sql, statement, 4, event->user);
    sqlite3_bind_int64(statement, 5, event->quantity);
    st_sql_bind_string(statement, 6, st_state_name(order->is));
    const char *reason = oq_reason_name(order->is_reason);
    st_sql_bind_or_null(sql, statement, 7, (struct ps_str){reason, strlen(reason)});
    st_sql_bind_time(sql, statement, 8, event->reserved_at_ms);
    st_sql_bind_time(sql, statement, 9, event->pay_by_ms);
    st_sql_bind_time(sql, statement, 10, event->at_ms);
    bind_decided(sql, statement, 11, order);
    st_sql_bind_or_null(sql, statement, 12, event->key);
    sqlite3_bind_int(statement, 13, event->rehearsal);
    sqlite3_bind_int64(statement, 14, event->epoch);
    st_sql_bind_string(statement, 15, name);
    sqlite3_bind_int64(statement, 16, order->first->partition);
    sqlite3_bind_int64(statement, 17, order->first->seq);
    return st_sql_run(sql, statement, fault);
}

static int store_void(struct st_sql *sql, const struct st_order *order, struct ps_fault *fault)
{
    sqlite3_stmt *statement;
    int err = st_sql_get(sql, NEW_VOID, &statement, fault);
    if (err != 0)
        return err;
    st_sql_bind_id(sql, statement, 1, &order->id);
    st_sql_bind_text(sql, statement, 2, order->first->event.sale);
    st_sql_bind_time(sql, statement, 3, order->first->event.at_ms);
    return st_sql_run(sql, statement, fault);
}

static int store_step(struct st_sql *sql, const struct st_order *order, struct ps_fault *fault)
{
    sqlite3_stmt *statement;
    int err = st_sql_get(sql, STEP, &statement, fault);
    if (err != 0)
        return err;
    st_sql_bind_id(sql, statement, 1, &order->id);
    st_sql_bind_string(statement, 2, st_state_name(order->is));
    const char *reason = oq_reason_name(order->is_reason);
    st_sql_bind_or_null(sql, statement, 3, (struct ps_str){reason, strlen(reason)});
    bind_decided(sql, statement, 4, order);
    return st_sql_run(sql, statement, fault);
}

static int store_decision(struct st_sql *sql, const struct st_order *order, struct ps_fault *fault)
{
    sqlite3_stmt *statement;
    int err = st_sql_get(sql, DECIDE, &statement, fault);
    if (err != 0)
        return err;
    st_sql_bind_id(sql, statement, 1, &order->id);
    return st_sql_run(sql, statement, fault);
}

static int store_order(struct st_sql *sql, const char *name, const struct st_order *order,
                       bool auto_confirm, struct ps_fault *fault)
{
    enum st_change change = st_order_change(order);
    if (change == ST_VOIDED)
        return store_void(sql, order, fault);
    if (change == ST_STEP)
        return store_step(sql, order, fault);
    int err = change == ST_NEW ? store_new(sql, name, order, fault) : 0;
    if (err == 0 && auto_confirm && change == ST_NEW && order->is == ST_ACCEPTED)
        err = store_decision(sql, order, fault);
    return err;
}

static int store_letter(struct st_sql *sql, const char *name, const struct st_letter *letter,
                        struct ps_fault *fault)
{
    sqlite3_stmt *statement;
    int err = st_sql_get(sql, LETTER, &statement, fault);
    if (err != 0)
        return err;
    st_sql_bind_string(statement, 1, name);
    sqlite3_bind_int64(statement, 2, letter->record->partition);
    sqlite3_bind_int64(statement, 3, letter->record->seq);
    st_sql_bind_string(statement, 4, letter->reason);
    sqlite3_bind_blob(statement, 5, letter->record->raw.at, (int)letter->record->raw.len,
                      SQLITE_STATIC);
    return st_sql_run(sql, statement, fault);
}

static int sqlite_store(struct st_sink *sink, const char *name, const struct st_changes *changes,
                        struct ps_fault *fault)
{
    struct st_sql *sql = of(sink);
    int err = 0;
    for (size_t i = 0; i < changes->epoch_count && err == 0; i++) {
        if (changes->epochs[i].is != changes->epochs[i].was)
            err = store_epoch(sql, name, &changes->epochs[i], fault);
    }
    for (size_t i = 0; i < changes->order_count && err == 0; i++)
        err = store_order(sql, name, &changes->orders[i], changes->auto_confirm, fault);
    for (size_t i = 0; i < changes->letter_count && err == 0; i++)
        err = store_letter(sql, name, &changes->letters[i], fault);
    return err;
}

static int sqlite_commit(struct st_sink *sink, struct ps_fault *fault)
{
    return st_sql_run_plain(of(sink), COMMIT, fault);
}

static void sqlite_rollback(struct st_sink *sink)
{
    struct ps_fault fault;
    int err = 0;
    if (sqlite3_get_autocommit(of(sink)->db) == 0)
        err = st_sql_run_plain(of(sink), ROLLBACK, &fault);
    (void)err; /* closing would do it too */
}

/* --- Decisions --- */

static int sqlite_confirm_all(struct st_sink *sink, struct ps_fault *fault)
{
    return st_sql_run_plain(of(sink), CONFIRM_ALL, fault);
}

static int sqlite_due(struct st_sink *sink, int64_t lease_ms, struct st_decision *ret_decisions,
                      size_t max, size_t *ret_count, struct ps_fault *fault)
{
    struct st_sql *sql = of(sink);
    sqlite3_stmt *statement;
    size_t count = 0;
    int err = st_sql_get(sql, DUE, &statement, fault);
    if (err != 0)
        return err;
    sqlite3_bind_int64(statement, 1, lease_ms);
    sqlite3_bind_int64(statement, 2, (int64_t)max);
    int more;
    while ((more = st_sql_row(sql, statement, fault)) > 0) {
        struct st_decision *decision = &ret_decisions[count++];
        *decision =
            (struct st_decision){.confirm = strcmp(st_sql_column(statement, 1), "confirm") == 0,
                                 .tries = sqlite3_column_int64(statement, 2),
                                 .known = sqlite3_column_int(statement, 3) != 0};
        snprintf(decision->order_id, sizeof decision->order_id, "%s", st_sql_column(statement, 0));
    }
    if (more < 0)
        return more;
    sqlite3_reset(statement);
    *ret_count = count;
    return 0;
}

static int write_answer(struct st_sql *sql, const struct st_decision *decision,
                        struct ps_fault *fault)
{
    sqlite3_stmt *statement;
    int err = st_sql_get(sql, decision->result != NULL ? RESULT : AGAIN, &statement, fault);
    if (err != 0)
        return err;
    st_sql_bind_string(statement, 1, decision->order_id);
    st_sql_bind_string(statement, 2, decision->confirm ? "confirm" : "cancel");
    if (decision->result != NULL) {
        st_sql_bind_string(statement, 3, decision->result);
    } else {
        sqlite3_bind_int64(statement, 3, decision->retry_after_ms);
        sqlite3_bind_int(statement, 4, decision->unheard);
    }
    return st_sql_run(sql, statement, fault);
}

static int sqlite_answer(struct st_sink *sink, const struct st_decision *decisions, size_t count,
                         struct ps_fault *fault)
{
    int err = st_sql_run_plain(of(sink), BEGIN, fault);
    for (size_t i = 0; i < count && err == 0; i++)
        err = write_answer(of(sink), &decisions[i], fault);
    return err == 0 ? st_sql_run_plain(of(sink), COMMIT, fault) : err;
}

static int sqlite_open_decisions(struct st_sink *sink, int64_t *ret_count, struct ps_fault *fault)
{
    sqlite3_stmt *statement;
    int err = st_sql_get(of(sink), OPEN, &statement, fault);
    if (err != 0)
        return err;
    int found = st_sql_row(of(sink), statement, fault);
    if (found < 0)
        return found;
    *ret_count = sqlite3_column_int64(statement, 0);
    sqlite3_reset(statement);
    return 0;
}

/* --- Opening --- */

static void sqlite_close(struct st_sink *sink)
{
    st_sql_close(of(sink));
    free(sink);
}

static const struct st_sink_ops sqlite_ops = {.create = sqlite_create,
                                              .check = sqlite_check,
                                              .position = sqlite_position,
                                              .begin = sqlite_begin,
                                              .look_up = sqlite_look_up,
                                              .store = sqlite_store,
                                              .commit = sqlite_commit,
                                              .rollback = sqlite_rollback,
                                              .confirm_all = sqlite_confirm_all,
                                              .due = sqlite_due,
                                              .answer = sqlite_answer,
                                              .open_decisions = sqlite_open_decisions,
                                              .close = sqlite_close};

int st_sqlite_open(const char *path, bool make, struct st_sink **ret_sink, struct ps_fault *fault)
{
    if (!make && access(path, F_OK) != 0 && errno == ENOENT)
        return ps_fault(fault, PS_E_NOT_FOUND, path,
                        "there is no such file: run penstock-settle --init once");
    struct sqlite *sqlite = calloc(1, sizeof *sqlite);
    if (sqlite == NULL)
        return ps_fault(fault, PS_E_NOMEM, path, "out of memory");
    sqlite->sink.ops = &sqlite_ops;
    int err = st_sql_open(&sqlite->sql, path, statements, fault);
    if (err != 0) {
        sqlite_close(&sqlite->sink);
        return err;
    }
    *ret_sink = &sqlite->sink;
    return 0;
}
