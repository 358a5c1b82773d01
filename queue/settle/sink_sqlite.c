/* A shop's orders in one SQLite file: WAL, synchronous=FULL, prepared statements row by row inside
 * one transaction a batch.
 *
 * Each transaction takes the write lock at once (BEGIN IMMEDIATE), which is more than the claim of
 * positions would need: no other writer, of the shop or of settlement, changes anything between
 * begin and commit. The shop's own transactions are waited for some seconds. Times are text, as in
 * the log, so that they compare as they are. */
#include "queue/settle/settle_sink.h"
#include "common/clock.h"
#include "common/db/db.h"

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
    X(ORDER,       "SELECT state, reason, 0, traceparent FROM orders WHERE order_id = ?1 UNION ALL SELECT state, reason, 1, traceparent FROM penstock_rehearsal_orders WHERE order_id = ?1" \
                   " UNION ALL SELECT 'void', NULL, 0, NULL FROM penstock_void WHERE order_id = ?1") \
    X(SET_EPOCH,   "INSERT INTO penstock_epochs (name, log_partition, sale, epoch) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET epoch = excluded.epoch") \
    X(NEW_VOID,    "INSERT INTO penstock_void (order_id, sale, at) VALUES (?1, ?2, ?3)") \
    X(LETTER,      "INSERT INTO penstock_dead_letters (name, log_partition, log_seq, reason, record, at) VALUES (?1, ?2, ?3, ?4, ?5, " NOW ")" \
                   " ON CONFLICT DO UPDATE SET reason = excluded.reason, record = excluded.record") \
    X(OPEN,        "SELECT (SELECT count(*) FROM penstock_decisions WHERE result IS NULL) + (SELECT count(*) FROM penstock_rehearsal_decisions WHERE result IS NULL)") \
    OF_BOTH(X, NEW_ORDER, SQL_NEW_ORDER) OF_BOTH(X, STEP, SQL_STEP) OF_BOTH(X, DECIDE, SQL_DECIDE) OF_BOTH(X, CONFIRM_ALL, SQL_CONFIRM_ALL) \
    OF_BOTH(X, DUE, SQL_DUE) OF_BOTH(X, RESULT, SQL_RESULT) OF_BOTH(X, AGAIN, SQL_AGAIN)
/* The same of the orders of real buyers and, in the place behind it, of those of rehearsals. */
#define OF_BOTH(X, name, sql) \
    X(name, sql("orders", "penstock_decisions")) X(name##_OF_REHEARSAL, sql("penstock_rehearsal_orders", "penstock_rehearsal_decisions"))
#define SQL_NEW_ORDER(orders, decisions) \
    "INSERT INTO " orders " (order_id, sale, sku, user_id, quantity, state, reason, reserved_at, pay_by, accepted_at, decided_at, idempotency_key, rehearsal, epoch, log_name, log_partition, log_seq, traceparent)" \
    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)"
#define SQL_STEP(orders, decisions) "UPDATE " orders " SET state = ?2, reason = ?3, decided_at = ?4 WHERE order_id = ?1"
#define SQL_DECIDE(orders, decisions) "INSERT INTO " decisions " (order_id, decision) VALUES (?1, 'confirm') ON CONFLICT DO NOTHING"
#define SQL_CONFIRM_ALL(orders, decisions) \
    "INSERT INTO " decisions " (order_id, decision) SELECT order_id, 'confirm' FROM " orders " WHERE state = 'accepted' ON CONFLICT DO NOTHING"
#define SQL_DUE(orders, decisions) \
    "UPDATE " decisions " SET sent_at = " NOW ", tries = tries + 1, retry_at = " LATER("?1") " WHERE order_id IN" \
    " (SELECT order_id FROM " decisions " WHERE result IS NULL AND (retry_at IS NULL OR retry_at <= " NOW " OR sent_at > " NOW ") ORDER BY retry_at LIMIT ?2)" \
    " RETURNING order_id, decision, tries, EXISTS (SELECT 1 FROM " orders " o WHERE o.order_id = " decisions ".order_id)"
#define SQL_RESULT(orders, decisions) "UPDATE " decisions " SET result = ?3, retry_at = NULL WHERE order_id = ?1 AND decision = ?2 AND result IS NULL"
#define SQL_AGAIN(orders, decisions) "UPDATE " decisions " SET retry_at = " LATER("?3") ", tries = tries - ?4 WHERE order_id = ?1 AND decision = ?2 AND result IS NULL"
#define NOW        "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
#define LATER(ms)  "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', (" ms " / 1000.0) || ' seconds')"
#define ORDER_ID   "TEXT NOT NULL PRIMARY KEY CHECK (length(order_id) = 36 AND length(replace(order_id, '-', '')) = 32 AND order_id NOT GLOB '*[^-0-9a-f]*')"

#define ORDER_COLUMNS \
    " order_id " ORDER_ID "," \
    " sale TEXT NOT NULL, sku TEXT NOT NULL, user_id TEXT NOT NULL, quantity INTEGER NOT NULL," \
    " state TEXT NOT NULL CHECK (state IN ('accepted', 'confirmed', 'released'))," \
    " reason TEXT CHECK (reason IN ('expired', 'cancelled'))," \
    " reserved_at TEXT NOT NULL, pay_by TEXT NOT NULL, accepted_at TEXT NOT NULL, decided_at TEXT," \
    " idempotency_key TEXT, rehearsal INTEGER NOT NULL, epoch INTEGER NOT NULL," \
    " log_name TEXT NOT NULL, log_partition INTEGER NOT NULL, log_seq INTEGER NOT NULL, traceparent TEXT"
#define DECISION_COLUMNS \
    " order_id " ORDER_ID "," \
    " decision TEXT NOT NULL CHECK (decision IN ('confirm', 'cancel'))," \
    " tries INTEGER NOT NULL DEFAULT 0, sent_at TEXT, retry_at TEXT, result TEXT"
#define REHEARSAL_TABLES \
    "CREATE TABLE penstock_rehearsal_orders (" ORDER_COLUMNS ") WITHOUT ROWID;" \
    "CREATE TABLE penstock_rehearsal_decisions (" DECISION_COLUMNS ") WITHOUT ROWID;" \
    "CREATE INDEX penstock_rehearsal_decisions_open ON penstock_rehearsal_decisions (retry_at) WHERE result IS NULL;"

static const char schema[] =
    "CREATE TABLE orders (" ORDER_COLUMNS ") WITHOUT ROWID;"
    "CREATE TABLE penstock_void (order_id " ORDER_ID ", sale TEXT NOT NULL, at TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE penstock_offsets (name TEXT NOT NULL, log_partition INTEGER NOT NULL, log_seq INTEGER NOT NULL, digest INTEGER, at TEXT NOT NULL,"
        " PRIMARY KEY (name, log_partition)) WITHOUT ROWID;"
    "CREATE TABLE penstock_epochs (name TEXT NOT NULL, log_partition INTEGER NOT NULL, sale TEXT NOT NULL, epoch INTEGER NOT NULL,"
        " PRIMARY KEY (name, log_partition, sale)) WITHOUT ROWID;"
    "CREATE TABLE penstock_dead_letters (name TEXT NOT NULL, log_partition INTEGER NOT NULL, log_seq INTEGER NOT NULL,"
        " reason TEXT NOT NULL, record BLOB, at TEXT NOT NULL, PRIMARY KEY (name, log_partition, log_seq)) WITHOUT ROWID;"
    "CREATE TABLE penstock_decisions (" DECISION_COLUMNS ") WITHOUT ROWID;"
    "CREATE INDEX penstock_decisions_open ON penstock_decisions (retry_at) WHERE result IS NULL;"
    REHEARSAL_TABLES
    "CREATE TABLE penstock_schema (version INTEGER NOT NULL);"
    "INSERT INTO penstock_schema VALUES (3);";

/* By the version to upgrade. Version 1 had the orders of rehearsals among the others. */
static const char *const upgrades[] = {NULL, ST_ADD_TRACE("orders") REHEARSAL_TABLES ST_UPGRADE_1, ST_UPGRADE_2};
/* clang-format on */

#define STATEMENT_ENUM(name, sql) name,
enum { STATEMENTS(STATEMENT_ENUM) STATEMENT_COUNT };
#define STATEMENT_SQL(name, sql) sql,
static const char *const statements[] = {STATEMENTS(STATEMENT_SQL)};

/* How long to wait for the shop's own transactions. */
#define BUSY_MS 5000

struct sqlite {
    struct st_sink sink;
    struct ps_db *db;
};

static struct ps_db *db_of(struct st_sink *sink)
{
    return ((struct sqlite *)(void *)sink)->db;
}

/* One that OF_BOTH made. */
static struct ps_db_statement *statement_of(struct ps_db *db, size_t which, bool rehearsal)
{
    return ps_db_statement(db, which + rehearsal);
}

static int run_plain(struct ps_db *db, size_t which, struct ps_fault *fault)
{
    return ps_db_run(ps_db_statement(db, which), fault);
}

/* --- Values --- */

/* Borrowed until the statement has run. */
static void bind_string(struct ps_db_statement *statement, int at, const char *text)
{
    ps_db_bind_text(statement, at, ps_str(text));
}

static void bind_or_null(struct ps_db_statement *statement, int at, struct ps_str text)
{
    ps_db_bind_text(statement, at, text.len > 0 ? text : (struct ps_str){NULL, 0});
}

static void bind_time(struct ps_db_statement *statement, int at, int64_t wall_ms)
{
    char text[PS_TIME_LEN + 1];
    ps_time_format(wall_ms, text);
    ps_db_bind_copy(statement, at, (struct ps_str){text, PS_TIME_LEN});
}

static void bind_id(struct ps_db_statement *statement, int at, const struct ps_uuid *id)
{
    char text[PS_UUID_LEN + 1];
    ps_uuid_format(id, text);
    ps_db_bind_copy(statement, at, (struct ps_str){text, PS_UUID_LEN});
}

/* --- Tables --- */

static int sqlite_version(struct st_sink *sink, int64_t *ret_version, struct ps_fault *fault)
{
    struct ps_db *db = db_of(sink);
    int64_t there;
    *ret_version = 0;
    int err = ps_db_number(db, "SELECT count(*) FROM sqlite_schema WHERE name = 'penstock_schema'",
                           &there, fault);
    if (err == 0 && there > 0)
        err = ps_db_number(db, "SELECT coalesce(max(version), 0) FROM penstock_schema", ret_version,
                           fault);
    return err;
}

static int create_tables(struct st_sink *sink, struct ps_fault *fault)
{
    struct ps_db *db = db_of(sink);
    int64_t version;
    int err = sqlite_version(sink, &version, fault);
    if (err == 0 && (version == 1 || version == 2))
        return ps_db_exec(db, upgrades[version], fault);
    if (err != 0 || version != 0)
        return err != 0 ? err : st_schema_check(version, ps_db_path(db), fault);
    err = ps_db_exec(db, schema, fault);
    if (err != PS_E_INVALID || strstr(fault->text, "already exists") == NULL)
        return err;
    struct ps_fault why = *fault;
    return ps_fault(fault, PS_E_EXISTS, ps_db_path(db),
                    "%s, and it does not belong to settlement: give settlement its own file",
                    why.text);
}

static int sqlite_create(struct st_sink *sink, struct ps_fault *fault)
{
    struct ps_db *db = db_of(sink);
    int err = ps_db_exec(db, "PRAGMA journal_mode=WAL", fault);
    if (err == 0)
        err = run_plain(db, BEGIN, fault);
    if (err == 0)
        err = create_tables(sink, fault);
    if (err == 0)
        err = run_plain(db, COMMIT, fault);
    return err;
}

/* --- Reading on --- */

static int sqlite_position(struct st_sink *sink, const char *name, uint32_t partition,
                           struct st_position *ret_position, struct ps_fault *fault)
{
    struct ps_db_statement *statement = ps_db_statement(db_of(sink), PLACE);
    bind_string(statement, 1, name);
    ps_db_bind_int(statement, 2, partition);
    int err = ps_db_run(statement, fault);
    if (err != 0)
        return err;
    statement = ps_db_statement(db_of(sink), POSITION);
    bind_string(statement, 1, name);
    ps_db_bind_int(statement, 2, partition);
    int found = ps_db_row(statement, fault);
    if (found < 0)
        return found;
    *ret_position = (struct st_position){.seq = ps_db_int(statement, 0),
                                         .checked = !ps_db_is_null(statement, 1),
                                         .digest = (uint64_t)ps_db_int(statement, 1)};
    ps_db_end_rows(statement);
    return 0;
}

static int claim_partition(struct ps_db *db, const char *name, const struct st_claim *claim,
                           struct ps_fault *fault)
{
    struct ps_db_statement *statement = ps_db_statement(db, CLAIM);
    bind_string(statement, 1, name);
    ps_db_bind_int(statement, 2, claim->partition);
    ps_db_bind_int(statement, 3, claim->from);
    ps_db_bind_int(statement, 4, claim->to);
    if (claim->unchecked)
        ps_db_bind_text(statement, 5, (struct ps_str){NULL, 0});
    else
        ps_db_bind_int(statement, 5, (int64_t)claim->digest);
    int err = ps_db_run(statement, fault);
    if (err == 0 && ps_db_changes(db) != 1)
        err = ps_fault(fault, PS_E_CONFLICT, ps_db_path(db),
                       "another worker has stored these records");
    return err;
}

static int sqlite_begin(struct st_sink *sink, const char *name, const struct st_claim *claims,
                        size_t count, struct ps_fault *fault)
{
    struct ps_fault unread;
    int err = run_plain(db_of(sink), BEGIN, fault);
    for (size_t i = 0; i < count && err == 0; i++)
        err = claim_partition(db_of(sink), name, &claims[i], fault);
    if (err == PS_E_CONFLICT)
        (void)!run_plain(db_of(sink), ROLLBACK, &unread); /* if it fails, so does the next BEGIN */
    return err;
}

static int look_up_epoch(struct ps_db *db, const char *name, struct st_epoch *epoch,
                         struct ps_fault *fault)
{
    struct ps_db_statement *statement = ps_db_statement(db, EPOCH);
    bind_string(statement, 1, name);
    ps_db_bind_int(statement, 2, epoch->partition);
    ps_db_bind_text(statement, 3, epoch->sale);
    int found = ps_db_row(statement, fault);
    if (found < 0)
        return found;
    epoch->was = found > 0 ? ps_db_int(statement, 0) : 0;
    ps_db_end_rows(statement);
    return 0;
}

static int look_up_order(struct ps_db *db, struct st_order *order, struct ps_fault *fault)
{
    struct ps_db_statement *statement = ps_db_statement(db, ORDER);
    bind_id(statement, 1, &order->id);
    int found = ps_db_row(statement, fault), err = 0;
    if (found < 0)
        return found;
    order->was = ST_UNKNOWN;
    order->was_reason = OQ_REASON_NONE;
    if (found > 0 && ps_str_is(ps_db_text(statement, 0), "void"))
        order->was = ST_VOID;
    else if (found > 0 && st_state_parse(ps_db_text(statement, 0).at, ps_db_text(statement, 1).at,
                                         &order->was, &order->was_reason) != 0)
        err = ps_fault(fault, PS_E_CORRUPT, ps_db_path(db), "an order has the state \"%s\"",
                       ps_db_text(statement, 0).at);
    order->rehearsal = found > 0 && ps_db_int(statement, 2) != 0;
    st_order_set_trace(order, found > 0 ? ps_db_text(statement, 3) : (struct ps_str){0});
    ps_db_end_rows(statement);
    return err;
}

static int sqlite_look_up(struct st_sink *sink, const char *name, const struct st_known *known,
                          struct ps_fault *fault)
{
    int err = 0;
    for (size_t i = 0; i < known->epoch_count && err == 0; i++)
        err = look_up_epoch(db_of(sink), name, &known->epochs[i], fault);
    for (size_t i = 0; i < known->order_count && err == 0; i++)
        err = look_up_order(db_of(sink), &known->orders[i], fault);
    return err;
}

/* --- Storing --- */

static int store_epoch(struct ps_db *db, const char *name, const struct st_epoch *epoch,
                       struct ps_fault *fault)
{
    struct ps_db_statement *statement = ps_db_statement(db, SET_EPOCH);
    bind_string(statement, 1, name);
    ps_db_bind_int(statement, 2, epoch->partition);
    ps_db_bind_text(statement, 3, epoch->sale);
    ps_db_bind_int(statement, 4, epoch->is);
    return ps_db_run(statement, fault);
}

static void bind_decided(struct ps_db_statement *statement, int at, const struct st_order *order)
{
    if (order->is == ST_ACCEPTED)
        ps_db_bind_text(statement, at, (struct ps_str){NULL, 0});
    else
        bind_time(statement, at, order->decided_at_ms);
}

static int store_new(struct ps_db *db, const char *name, const struct st_order *order,
                     struct ps_fault *fault)
{
    const struct oq_event *event = &order->first->event;
    struct ps_db_statement *statement = statement_of(db, NEW_ORDER, order->rehearsal);
    bind_id(statement, 1, &order->id);
    ps_db_bind_text(statement, 2, event->sale);
    ps_db_bind_text(statement, 3, event->sku);
    ps_db_bind_text(statement, 4, event->user);
    ps_db_bind_int(statement, 5, event->quantity);
    bind_string(statement, 6, st_state_name(order->is));
    const char *reason = oq_reason_name(order->is_reason);
    bind_or_null(statement, 7, ps_str(reason));
    bind_time(statement, 8, event->reserved_at_ms);
    bind_time(statement, 9, event->pay_by_ms);
    bind_time(statement, 10, event->at_ms);
    bind_decided(statement, 11, order);
    bind_or_null(statement, 12, event->key);
    ps_db_bind_int(statement, 13, event->rehearsal);
    ps_db_bind_int(statement, 14, event->epoch);
    bind_string(statement, 15, name);
    ps_db_bind_int(statement, 16, order->first->partition);
    ps_db_bind_int(statement, 17, order->first->seq);
    bind_or_null(statement, 18, event->traceparent);
    return ps_db_run(statement, fault);
}

static int store_void(struct ps_db *db, const struct st_order *order, struct ps_fault *fault)
{
    struct ps_db_statement *statement = ps_db_statement(db, NEW_VOID);
    bind_id(statement, 1, &order->id);
    ps_db_bind_text(statement, 2, order->first->event.sale);
    bind_time(statement, 3, order->first->event.at_ms);
    return ps_db_run(statement, fault);
}

static int store_step(struct ps_db *db, const struct st_order *order, struct ps_fault *fault)
{
    struct ps_db_statement *statement = statement_of(db, STEP, order->rehearsal);
    bind_id(statement, 1, &order->id);
    bind_string(statement, 2, st_state_name(order->is));
    const char *reason = oq_reason_name(order->is_reason);
    bind_or_null(statement, 3, ps_str(reason));
    bind_decided(statement, 4, order);
    return ps_db_run(statement, fault);
}

static int store_decision(struct ps_db *db, const struct st_order *order, struct ps_fault *fault)
{
    struct ps_db_statement *statement = statement_of(db, DECIDE, order->rehearsal);
    bind_id(statement, 1, &order->id);
    return ps_db_run(statement, fault);
}

static int store_order(struct ps_db *db, const char *name, const struct st_order *order,
                       bool auto_confirm, struct ps_fault *fault)
{
    enum st_change change = st_order_change(order);
    if (change == ST_VOIDED)
        return store_void(db, order, fault);
    if (change == ST_STEP)
        return store_step(db, order, fault);
    int err = change == ST_NEW ? store_new(db, name, order, fault) : 0;
    if (err == 0 && auto_confirm && change == ST_NEW && order->is == ST_ACCEPTED)
        err = store_decision(db, order, fault);
    return err;
}

static int store_letter(struct ps_db *db, const char *name, const struct st_letter *letter,
                        struct ps_fault *fault)
{
    struct ps_db_statement *statement = ps_db_statement(db, LETTER);
    bind_string(statement, 1, name);
    ps_db_bind_int(statement, 2, letter->record->partition);
    ps_db_bind_int(statement, 3, letter->record->seq);
    bind_string(statement, 4, letter->reason);
    ps_db_bind_blob(statement, 5, letter->record->raw);
    return ps_db_run(statement, fault);
}

static int sqlite_store(struct st_sink *sink, const char *name, const struct st_changes *changes,
                        struct ps_fault *fault)
{
    struct ps_db *db = db_of(sink);
    int err = 0;
    for (size_t i = 0; i < changes->epoch_count && err == 0; i++) {
        if (changes->epochs[i].is != changes->epochs[i].was)
            err = store_epoch(db, name, &changes->epochs[i], fault);
    }
    for (size_t i = 0; i < changes->order_count && err == 0; i++)
        err = store_order(db, name, &changes->orders[i], changes->auto_confirm, fault);
    for (size_t i = 0; i < changes->letter_count && err == 0; i++)
        err = store_letter(db, name, &changes->letters[i], fault);
    return err;
}

static int sqlite_commit(struct st_sink *sink, struct ps_fault *fault)
{
    return run_plain(db_of(sink), COMMIT, fault);
}

/* --- Decisions --- */

static int sqlite_confirm_all(struct st_sink *sink, bool rehearsal, struct ps_fault *fault)
{
    return ps_db_run(statement_of(db_of(sink), CONFIRM_ALL, rehearsal), fault);
}

static int sqlite_due(struct st_sink *sink, bool rehearsal, int64_t lease_ms,
                      struct st_decision *ret_decisions, size_t max, struct ps_fault *fault)
{
    struct ps_db_statement *statement = statement_of(db_of(sink), DUE, rehearsal);
    ps_db_bind_int(statement, 1, lease_ms);
    ps_db_bind_int(statement, 2, (int64_t)max);
    int more, count = 0;
    while ((more = ps_db_row(statement, fault)) > 0) {
        struct st_decision *decision = &ret_decisions[count++];
        *decision = (struct st_decision){.confirm = ps_str_is(ps_db_text(statement, 1), "confirm"),
                                         .rehearsal = rehearsal,
                                         .tries = ps_db_int(statement, 2),
                                         .known = ps_db_int(statement, 3) != 0};
        snprintf(decision->order_id, sizeof decision->order_id, "%s", ps_db_text(statement, 0).at);
    }
    if (more < 0)
        return more;
    ps_db_end_rows(statement);
    return count;
}

static int write_answer(struct ps_db *db, const struct st_decision *decision,
                        struct ps_fault *fault)
{
    struct ps_db_statement *statement =
        statement_of(db, decision->result != NULL ? RESULT : AGAIN, decision->rehearsal);
    bind_string(statement, 1, decision->order_id);
    bind_string(statement, 2, decision->confirm ? "confirm" : "cancel");
    if (decision->result != NULL) {
        bind_string(statement, 3, decision->result);
    } else {
        ps_db_bind_int(statement, 3, decision->retry_after_ms);
        ps_db_bind_int(statement, 4, decision->unheard);
    }
    return ps_db_run(statement, fault);
}

static int sqlite_answer(struct st_sink *sink, const struct st_decision *decisions, size_t count,
                         struct ps_fault *fault)
{
    int err = run_plain(db_of(sink), BEGIN, fault);
    for (size_t i = 0; i < count && err == 0; i++)
        err = write_answer(db_of(sink), &decisions[i], fault);
    return err == 0 ? run_plain(db_of(sink), COMMIT, fault) : err;
}

static int sqlite_open_decisions(struct st_sink *sink, int64_t *ret_count, struct ps_fault *fault)
{
    struct ps_db_statement *statement = ps_db_statement(db_of(sink), OPEN);
    int found = ps_db_row(statement, fault);
    if (found < 0)
        return found;
    *ret_count = ps_db_int(statement, 0);
    ps_db_end_rows(statement);
    return 0;
}

/* --- Opening --- */

static void sqlite_close(struct st_sink *sink)
{
    ps_db_close(db_of(sink));
    free(sink);
}

static const struct st_sink_ops sqlite_ops = {.create = sqlite_create,
                                              .version = sqlite_version,
                                              .position = sqlite_position,
                                              .begin = sqlite_begin,
                                              .look_up = sqlite_look_up,
                                              .store = sqlite_store,
                                              .commit = sqlite_commit,
                                              .confirm_all = sqlite_confirm_all,
                                              .due = sqlite_due,
                                              .answer = sqlite_answer,
                                              .open_decisions = sqlite_open_decisions,
                                              .close = sqlite_close};

int st_sqlite_open(const char *path, bool make, struct st_sink **ret_sink, struct ps_fault *fault)
{
    if (!make && access(path, F_OK) != 0 && errno == ENOENT)
        return ps_fault(fault, PS_E_NOT_FOUND, path,
                        "the file does not exist: run penstock-settle --init once");
    struct sqlite *sqlite = calloc(1, sizeof *sqlite);
    if (sqlite == NULL)
        return ps_fault(fault, PS_E_NOMEM, path, "out of memory");
    sqlite->sink.ops = &sqlite_ops;
    const struct ps_db_settings settings = {.path = path,
                                            .access = PS_DB_CREATE,
                                            .busy_ms = BUSY_MS,
                                            .statements = statements,
                                            .statement_count = STATEMENT_COUNT};
    int err = ps_db_open(&settings, &sqlite->db, fault);
    if (err == 0)
        err = ps_db_exec(sqlite->db, "PRAGMA synchronous=FULL", fault);
    if (err != 0) {
        sqlite_close(&sqlite->sink);
        return err;
    }
    sqlite->sink.database = ps_db_path(sqlite->db);
    *ret_sink = &sqlite->sink;
    return 0;
}
