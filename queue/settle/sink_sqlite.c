/* A shop's orders in one SQLite file: WAL, synchronous=FULL, prepared statements row by row inside
 * one transaction a batch.
 *
 * Each transaction takes the write lock at once (BEGIN IMMEDIATE), which is more than the claim of
 * positions would need: no other writer, of the shop or of settlement, changes anything between
 * begin and commit. The shop's own transactions are waited for up to BUSY_MS. Times are text, as in
 * the log, so that they compare as they are. */
#include "queue/settle/settle_sink.h"
#include "common/clock.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUSY_MS 5000

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
    X(LETTER,      "INSERT INTO penstock_dead_letters (name, log_partition, log_seq, reason, record, at) VALUES (?1, ?2, ?3, ?4, ?5, " NOW ")") \
    X(DECIDE,      "INSERT INTO penstock_decisions (order_id, decision) VALUES (?1, 'confirm') ON CONFLICT DO NOTHING") \
    X(CONFIRM_ALL, "INSERT INTO penstock_decisions (order_id, decision) SELECT order_id, 'confirm' FROM orders WHERE state = 'accepted' ON CONFLICT DO NOTHING") \
    X(DUE,         "UPDATE penstock_decisions SET sent_at = " NOW ", tries = tries + 1, retry_at = " LATER("?1") " WHERE order_id IN" \
                   " (SELECT order_id FROM penstock_decisions WHERE result IS NULL AND (retry_at IS NULL OR retry_at <= " NOW ") ORDER BY retry_at LIMIT ?2)" \
                   " RETURNING order_id, decision, tries, EXISTS (SELECT 1 FROM orders WHERE orders.order_id = penstock_decisions.order_id)") \
    X(RESULT,      "UPDATE penstock_decisions SET result = ?3, retry_at = NULL WHERE order_id = ?1 AND decision = ?2 AND result IS NULL") \
    X(AGAIN,       "UPDATE penstock_decisions SET retry_at = " LATER("?3") " WHERE order_id = ?1 AND decision = ?2 AND result IS NULL") \
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
static const char *const statement_sql[] = {STATEMENTS(STATEMENT_SQL)};

struct sqlite {
    struct st_sink sink;
    char *path;
    sqlite3 *db;
    sqlite3_stmt *statement[STATEMENT_COUNT]; /* prepared when first used */
};

static struct sqlite *of(struct st_sink *sink)
{
    return (struct sqlite *)(void *)sink;
}

static int failed(struct sqlite *sqlite, int rc, struct ps_fault *fault)
{
    const char *text = sqlite3_errcode(sqlite->db) != SQLITE_OK ? sqlite3_errmsg(sqlite->db)
                                                                : sqlite3_errstr(rc);
    int err = PS_E_IO;
    switch (rc & 0xff) {
    case SQLITE_NOMEM:
        err = PS_E_NOMEM;
        break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ps_fault(fault, PS_E_BUSY, sqlite->path,
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
    return ps_fault(fault, err, sqlite->path, "%s", text);
}

/* --- Statements --- */

static void bind_text(sqlite3_stmt *statement, int at, struct ps_str text)
{
    sqlite3_bind_text(statement, at, text.at, (int)text.len, SQLITE_TRANSIENT);
}

static void bind_string(sqlite3_stmt *statement, int at, const char *text)
{
    sqlite3_bind_text(statement, at, text, -1, SQLITE_STATIC);
}

/* NULL for an empty one. */
static void bind_or_null(sqlite3_stmt *statement, int at, struct ps_str text)
{
    if (text.len > 0)
        bind_text(statement, at, text);
    else
        sqlite3_bind_null(statement, at);
}

static void bind_time(sqlite3_stmt *statement, int at, int64_t wall_ms)
{
    char text[PS_TIME_LEN + 1];
    ps_time_format(wall_ms, text);
    bind_text(statement, at, (struct ps_str){text, PS_TIME_LEN});
}

static void bind_id(sqlite3_stmt *statement, int at, const struct ps_uuid *id)
{
    char text[PS_UUID_LEN + 1];
    ps_uuid_format(id, text);
    bind_text(statement, at, (struct ps_str){text, PS_UUID_LEN});
}

static int get(struct sqlite *sqlite, int which, sqlite3_stmt **ret_statement,
               struct ps_fault *fault)
{
    sqlite3_stmt **statement = &sqlite->statement[which];
    if (*statement == NULL) {
        int rc = sqlite3_prepare_v3(sqlite->db, statement_sql[which], -1, SQLITE_PREPARE_PERSISTENT,
                                    statement, NULL);
        if (rc != SQLITE_OK)
            return failed(sqlite, rc, fault);
    }
    *ret_statement = *statement;
    return 0;
}

/* Runs it to its end; no rows are wanted. */
static int run(struct sqlite *sqlite, sqlite3_stmt *statement, struct ps_fault *fault)
{
    int rc = sqlite3_step(statement);
    while (rc == SQLITE_ROW)
        rc = sqlite3_step(statement);
    int err = rc == SQLITE_DONE ? 0 : failed(sqlite, rc, fault);
    sqlite3_reset(statement);
    return err;
}

static int run_plain(struct sqlite *sqlite, int which, struct ps_fault *fault)
{
    sqlite3_stmt *statement;
    int err = get(sqlite, which, &statement, fault);
    return err == 0 ? run(sqlite, statement, fault) : err;
}

/* One row or none; the caller resets it. Negative, 0 = none, 1 = a row. */
static int row(struct sqlite *sqlite, sqlite3_stmt *statement, struct ps_fault *fault)
{
    int rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW)
        return 1;
    if (rc == SQLITE_DONE)
        return 0;
    int err = failed(sqlite, rc, fault);
    sqlite3_reset(statement);
    return err;
}

static const char *column(sqlite3_stmt *statement, int at)
{
    const unsigned char *text = sqlite3_column_text(statement, at);
    return text != NULL ? (const char *)text : "";
}

/* --- Tables --- */

static int version_of(struct sqlite *sqlite, int64_t *ret_version, struct ps_fault *fault)
{
    sqlite3_stmt *statement;
    *ret_version = 0;
    int rc = sqlite3_prepare_v2(
        sqlite->db, "SELECT count(*) FROM sqlite_schema WHERE name = 'penstock_schema'", -1,
        &statement, NULL);
    if (rc != SQLITE_OK)
        return failed(sqlite, rc, fault);
    bool there = sqlite3_step(statement) == SQLITE_ROW && sqlite3_column_int(statement, 0) > 0;
    rc = sqlite3_finalize(statement);
    if (rc == SQLITE_OK && there) {
        rc = sqlite3_prepare_v2(sqlite->db, "SELECT version FROM penstock_schema", -1, &statement,
                                NULL);
        if (rc != SQLITE_OK)
            return failed(sqlite, rc, fault);
        if (sqlite3_step(statement) == SQLITE_ROW)
            *ret_version = sqlite3_column_int64(statement, 0);
        rc = sqlite3_finalize(statement);
    }
    return rc == SQLITE_OK ? 0 : failed(sqlite, rc, fault);
}

static int create_tables(struct sqlite *sqlite, struct ps_fault *fault)
{
    int64_t version;
    int err = version_of(sqlite, &version, fault);
    if (err != 0 || version != 0)
        return err != 0 ? err : st_schema_check(version, sqlite->path, fault);
    int rc = sqlite3_exec(sqlite->db, schema, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        return 0;
    if (strstr(sqlite3_errmsg(sqlite->db), "already exists") != NULL)
        return ps_fault(fault, PS_E_EXISTS, sqlite->path,
                        "%s, and it is none of settlement's: give settlement a file of its own",
                        sqlite3_errmsg(sqlite->db));
    return failed(sqlite, rc, fault);
}

static int sqlite_create(struct st_sink *sink, struct ps_fault *fault)
{
    struct sqlite *sqlite = of(sink);
    int rc = sqlite3_exec(sqlite->db, "PRAGMA journal_mode=WAL", NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        return failed(sqlite, rc, fault);
    int err = run_plain(sqlite, BEGIN, fault);
    if (err == 0)
        err = create_tables(sqlite, fault);
    if (err == 0)
        err = run_plain(sqlite, COMMIT, fault);
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
    struct sqlite *sqlite = of(sink);
    sqlite3_stmt *place, *statement;
    int err = get(sqlite, PLACE, &place, fault);
    if (err == 0)
        err = get(sqlite, POSITION, &statement, fault);
    if (err != 0)
        return err;
    bind_string(place, 1, name);
    sqlite3_bind_int64(place, 2, partition);
    err = run(sqlite, place, fault);
    if (err != 0)
        return err;
    bind_string(statement, 1, name);
    sqlite3_bind_int64(statement, 2, partition);
    int found = row(sqlite, statement, fault);
    if (found < 0)
        return found;
    *ret_position = (struct st_position){.seq = sqlite3_column_int64(statement, 0),
                                         .checked = sqlite3_column_type(statement, 1) !=
                                                    SQLITE_NULL,
                                         .digest = (uint64_t)sqlite3_column_int64(statement, 1)};
    sqlite3_reset(statement);
    return 0;
}

static int claim(struct sqlite *sqlite, const char *name, const struct st_claim *claim_,
                 struct ps_fault *fault)
{
    sqlite3_stmt *statement;
    int err = get(sqlite, CLAIM, &statement, fault);
    if (err != 0)
        return err;
    bind_string(statement, 1, name);
    sqlite3_bind_int64(statement, 2, claim_->partition);
    sqlite3_bind_int64(statement, 3, claim_->from);
    sqlite3_bind_int64(statement, 4, claim_->to);
    sqlite3_bind_int64(statement, 5, (int64_t)claim_->digest);
    err = run(sqlite, statement, fault);
    if (err == 0 && sqlite3_changes(sqlite->db) != 1)
        err = ps_fault(fault, PS_E_CONFLICT, sqlite->path, "another worker has read on from there");
    return err;
}

static int sqlite_begin(struct st_sink *sink, const char *name, const struct st_claim *claims,
                        size_t count, struct ps_fault *fault)
{
    int err = run_plain(of(sink), BEGIN, fault);
    for (size_t i = 0; i < count && err == 0; i++)
        err = claim(of(sink), name, &claims[i], fault);
    if (err == PS_E_CONFLICT)
        sink->ops->rollback(sink);
    return err;
}

static int look_up_epoch(struct sqlite *sqlite, const char *name, struct st_epoch *epoch,
                         struct ps_fault *fault)
{
    sqlite3_stmt *statement;
    int err = get(sqlite, EPOCH, &statement, fault);
    if (err != 0)
        return err;
    bind_string(statement, 1, name);
    sqlite3_bind_int64(statement, 2, epoch->partition);
    bind_text(statement, 3, epoch->sale);
    int found = row(sqlite, statement, fault);
    if (found < 0)
        return found;
    epoch->was = found > 0 ? sqlite3_column_int64(statement, 0) : 0;
    sqlite3_reset(statement);
    return 0;
}

static int look_up_order(struct sqlite *sqlite, struct st_order *order, struct ps_fault *fault)
{
    sqlite3_stmt *statement;
    int err = get(sqlite, ORDER, &statement, fault);
    if (err != 0)
        return err;
    bind_id(statement, 1, &order->id);
    int found = row(sqlite, statement, fault);
    if (found < 0)
        return found;
    order->was = ST_UNKNOWN;
    order->was_reason = OQ_REASON_NONE;
    if (found > 0 && strcmp(column(statement, 0), "void") == 0)
        order->was = ST_VOID;
    else if (found > 0 && st_state_parse(column(statement, 0), column(statement, 1), &order->was,
                                         &order->was_reason) != 0)
        err = ps_fault(fault, PS_E_CORRUPT, sqlite->path, "an order has the state \"%s\"",
                       column(statement, 0));
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

static int store_epoch(struct sqlite *sqlite, const char *name, const struct st_epoch *epoch,
                       struct ps_fault *fault)
{
    sqlite3_stmt *statement;
    int err = get(sqlite, SET_EPOCH, &statement, fault);
    if (err != 0)
        return err;
    bind_string(statement, 1, name);
    sqlite3_bind_int64(statement, 2, epoch->partition);
    bind_text(statement, 3, epoch->sale);
    sqlite3_bind_int64(statement, 4, epoch->is);
    return run(sqlite, statement, fault);
}

static void bind_decided(sqlite3_stmt *statement, int at, const struct st_order *order)
{
    if (order->is == ST_ACCEPTED)
        sqlite3_bind_null(statement, at);
    else
        bind_time(statement, at, order->decided_at_ms);
}

static int store_new(struct sqlite *sqlite, const char *name, const struct st_order *order,
                     struct ps_fault *fault)
{
    const struct oq_event *event = &order->first->event;
    sqlite3_stmt *statement;
    int err = get(sqlite, NEW_ORDER, &statement, fault);
    if (err != 0)
        return err;
    bind_id(statement, 1, &order->id);
    bind_text(statement, 2, event->sale);
    bind_text(statement, 3, event->sku);
    bind_text(statement, 4, event->user);
    sqlite3_bind_int64(statement, 5, event->quantity);
    bind_string(statement, 6, st_state_name(order->is));
    const char *reason = oq_reason_name(order->is_reason);
    bind_or_null(statement, 7, (struct ps_str){reason, strlen(reason)});
    bind_time(statement, 8, event->reserved_at_ms);
    bind_time(statement, 9, event->pay_by_ms);
    bind_time(statement, 10, event->at_ms);
    bind_decided(statement, 11, order);
    bind_or_null(statement, 12, event->key);
    sqlite3_bind_int(statement, 13, event->rehearsal);
    sqlite3_bind_int64(statement, 14, event->epoch);
    bind_string(statement, 15, name);
    sqlite3_bind_int64(statement, 16, order->first->partition);
    sqlite3_bind_int64(statement, 17, order->first->seq);
    return run(sqlite, statement, fault);
}

static int store_void(struct sqlite *sqlite, const struct st_order *order, struct ps_fault *fault)
{
    sqlite3_stmt *statement;
    int err = get(sqlite, NEW_VOID, &statement, fault);
    if (err != 0)
        return err;
    bind_id(statement, 1, &order->id);
    bind_text(statement, 2, order->first->event.sale);
    bind_time(statement, 3, order->first->event.at_ms);
    return run(sqlite, statement, fault);
}

static int store_step(struct sqlite *sqlite, const struct st_order *order, struct ps_fault *fault)
{
    sqlite3_stmt *statement;
    int err = get(sqlite, STEP, &statement, fault);
    if (err != 0)
        return err;
    bind_id(statement, 1, &order->id);
    bind_string(statement, 2, st_state_name(order->is));
    const char *reason = oq_reason_name(order->is_reason);
    bind_or_null(statement, 3, (struct ps_str){reason, strlen(reason)});
    bind_decided(statement, 4, order);
    return run(sqlite, statement, fault);
}

static int store_decision(struct sqlite *sqlite, const struct st_order *order,
                          struct ps_fault *fault)
{
    sqlite3_stmt *statement;
    int err = get(sqlite, DECIDE, &statement, fault);
    if (err != 0)
        return err;
    bind_id(statement, 1, &order->id);
    return run(sqlite, statement, fault);
}

static int store_order(struct sqlite *sqlite, const char *name, const struct st_order *order,
                       bool auto_confirm, struct ps_fault *fault)
{
    if (order->is == order->was)
        return 0;
    if (order->is == ST_VOID)
        return store_void(sqlite, order, fault);
    if (order->was != ST_UNKNOWN)
        return store_step(sqlite, order, fault);
    int err = store_new(sqlite, name, order, fault);
    if (err == 0 && auto_confirm && order->is == ST_ACCEPTED)
        err = store_decision(sqlite, order, fault);
    return err;
}

static int store_letter(struct sqlite *sqlite, const char *name, const struct st_letter *letter,
                        struct ps_fault *fault)
{
    sqlite3_stmt *statement;
    int err = get(sqlite, LETTER, &statement, fault);
    if (err != 0)
        return err;
    bind_string(statement, 1, name);
    sqlite3_bind_int64(statement, 2, letter->record->partition);
    sqlite3_bind_int64(statement, 3, letter->record->seq);
    bind_string(statement, 4, letter->reason);
    sqlite3_bind_blob(statement, 5, letter->record->raw.at, (int)letter->record->raw.len,
                      SQLITE_STATIC);
    return run(sqlite, statement, fault);
}

static int sqlite_store(struct st_sink *sink, const char *name, const struct st_changes *changes,
                        struct ps_fault *fault)
{
    struct sqlite *sqlite = of(sink);
    int err = 0;
    for (size_t i = 0; i < changes->epoch_count && err == 0; i++) {
        if (changes->epochs[i].is != changes->epochs[i].was)
            err = store_epoch(sqlite, name, &changes->epochs[i], fault);
    }
    for (size_t i = 0; i < changes->order_count && err == 0; i++)
        err = store_order(sqlite, name, &changes->orders[i], changes->auto_confirm, fault);
    for (size_t i = 0; i < changes->letter_count && err == 0; i++)
        err = store_letter(sqlite, name, &changes->letters[i], fault);
    return err;
}

static int sqlite_commit(struct st_sink *sink, struct ps_fault *fault)
{
    return run_plain(of(sink), COMMIT, fault);
}

static void sqlite_rollback(struct st_sink *sink)
{
    struct ps_fault fault;
    if (sqlite3_get_autocommit(of(sink)->db) == 0)
        (void)run_plain(of(sink), ROLLBACK, &fault); /* closing would do it too */
}

/* --- Decisions --- */

static int sqlite_confirm_all(struct st_sink *sink, struct ps_fault *fault)
{
    return run_plain(of(sink), CONFIRM_ALL, fault);
}

static int sqlite_due(struct st_sink *sink, int64_t lease_ms, struct st_decision *ret_decisions,
                      size_t max, size_t *ret_count, struct ps_fault *fault)
{
    struct sqlite *sqlite = of(sink);
    sqlite3_stmt *statement;
    size_t count = 0;
    int err = get(sqlite, DUE, &statement, fault);
    if (err != 0)
        return err;
    sqlite3_bind_int64(statement, 1, lease_ms);
    sqlite3_bind_int64(statement, 2, (int64_t)max);
    int more;
    while ((more = row(sqlite, statement, fault)) > 0) {
        struct st_decision *decision = &ret_decisions[count++];
        *decision = (struct st_decision){.confirm = strcmp(column(statement, 1), "confirm") == 0,
                                         .tries = sqlite3_column_int64(statement, 2),
                                         .known = sqlite3_column_int(statement, 3) != 0};
        snprintf(decision->order_id, sizeof decision->order_id, "%s", column(statement, 0));
    }
    if (more < 0)
        return more;
    sqlite3_reset(statement);
    *ret_count = count;
    return 0;
}

static int write_answer(struct sqlite *sqlite, const struct st_decision *decision,
                        struct ps_fault *fault)
{
    sqlite3_stmt *statement;
    int err = get(sqlite, decision->result != NULL ? RESULT : AGAIN, &statement, fault);
    if (err != 0)
        return err;
    bind_string(statement, 1, decision->order_id);
    bind_string(statement, 2, decision->confirm ? "confirm" : "cancel");
    if (decision->result != NULL)
        bind_string(statement, 3, decision->result);
    else
        sqlite3_bind_int64(statement, 3, decision->retry_after_ms);
    return run(sqlite, statement, fault);
}

static int sqlite_answer(struct st_sink *sink, const struct st_decision *decisions, size_t count,
                         struct ps_fault *fault)
{
    int err = run_plain(of(sink), BEGIN, fault);
    for (size_t i = 0; i < count && err == 0; i++)
        err = write_answer(of(sink), &decisions[i], fault);
    return err == 0 ? run_plain(of(sink), COMMIT, fault) : err;
}

static int sqlite_open_decisions(struct st_sink *sink, int64_t *ret_count, struct ps_fault *fault)
{
    sqlite3_stmt *statement;
    int err = get(of(sink), OPEN, &statement, fault);
    if (err != 0)
        return err;
    int found = row(of(sink), statement, fault);
    if (found < 0)
        return found;
    *ret_count = sqlite3_column_int64(statement, 0);
    sqlite3_reset(statement);
    return 0;
}

/* --- Opening --- */

static void sqlite_close(struct st_sink *sink)
{
    struct sqlite *sqlite = of(sink);
    for (size_t i = 0; i < STATEMENT_COUNT; i++)
        sqlite3_finalize(sqlite->statement[i]);
    sqlite3_close(sqlite->db);
    free(sqlite->path);
    free(sqlite);
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
    if (sqlite == NULL || (sqlite->path = strdup(path)) == NULL) {
        free(sqlite);
        return ps_fault(fault, PS_E_NOMEM, path, "out of memory");
    }
    sqlite->sink.ops = &sqlite_ops;
    int rc = sqlite3_open_v2(path, &sqlite->db,
                             SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                                 SQLITE_OPEN_EXRESCODE,
                             NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_busy_timeout(sqlite->db, BUSY_MS);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(sqlite->db, "PRAGMA synchronous=FULL", NULL, NULL, NULL);
    if (rc != SQLITE_OK) {
        int err = failed(sqlite, rc, fault);
        sqlite_close(&sqlite->sink);
        return err;
    }
    *ret_sink = &sqlite->sink;
    return 0;
}
