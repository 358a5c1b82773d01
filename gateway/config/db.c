/* control.db as a file: made, checked and read back whole at start.
 *
 * A file that is not ours, torn, or of a newer schema is refused with what to do about it, before
 * anything is written. The schema is made in one transaction, so a crash in it leaves an empty
 * file, which the next start takes for a new one. SQLite gives its -wal and -shm the mode of the
 * file. */
#include "gateway/config/db.h"
#include "common/private_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define APPLICATION_ID  0x50537463 /* "PStc" */
#define SCHEMA          2
#define BUSY_TIMEOUT_MS 2000 /* somebody looks into the file with another program */

#define TEXT(x)  #x
#define VALUE(x) TEXT(x)

#define CREATE_DELETED                                                                             \
    "CREATE TABLE deleted(name TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT;"

static const char schema[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE sales(name TEXT PRIMARY KEY, document TEXT NOT NULL, version INTEGER NOT NULL,"
    " created_at_ms INTEGER NOT NULL, updated_at_ms INTEGER NOT NULL, opened INTEGER NOT NULL,"
    " paused INTEGER NOT NULL, ended INTEGER NOT NULL) STRICT;"
    "CREATE TABLE limits(name TEXT PRIMARY KEY, document TEXT NOT NULL) STRICT;"
    "CREATE TABLE blocklist(kind TEXT NOT NULL, subject TEXT NOT NULL, until_ms INTEGER NOT NULL,"
    " created_at_ms INTEGER NOT NULL, reason TEXT NOT NULL, by TEXT NOT NULL,"
    " PRIMARY KEY(kind, subject)) STRICT;"
    "CREATE TABLE policy(version INTEGER NOT NULL) STRICT;"
    "CREATE TABLE audit(seq INTEGER PRIMARY KEY, line TEXT NOT NULL) STRICT;" CREATE_DELETED
    "INSERT INTO policy VALUES(1);"
    /* The shipped rules: what a shop needs that has not thought about it yet. */
    "INSERT INTO limits VALUES"
    "('user', '{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":5,\"period_s\":10,"
    "\"burst\":5,\"applies_to\":[\"order\"]}'),"
    "('ip', '{\"algorithm\":\"token_bucket\",\"key\":\"ip\",\"rate\":50,\"period_s\":10,"
    "\"burst\":100,\"applies_to\":[\"order\"]}'),"
    "('global', '{\"algorithm\":\"token_bucket\",\"key\":\"global\",\"rate\":20000,\"period_s\":1,"
    "\"burst\":20000,\"applies_to\":[\"order\"]}'),"
    "('polling', '{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":1,\"period_s\":1,"
    "\"burst\":5,\"applies_to\":[\"order_state\"]}');"
    "PRAGMA application_id = " VALUE(APPLICATION_ID) ";"
                                                     "PRAGMA user_version = " VALUE(
                                                         SCHEMA) ";"
                                                                 "COMMIT;";

/* From schema 1, which forgot sales that were deleted. */
static const char upgrade[] =
    "BEGIN IMMEDIATE;" CREATE_DELETED "PRAGMA user_version = " VALUE(SCHEMA) ";"
                                                                             "COMMIT;";

/* --- Words of SQLite. --- */

static int error_of(sqlite3 *sqlite)
{
    switch (sqlite3_errcode(sqlite)) {
    case SQLITE_FULL:
        return PS_E_FULL;
    case SQLITE_READONLY:
        return PS_E_READ_ONLY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return PS_E_CORRUPT;
    case SQLITE_BUSY:
        return PS_E_BUSY;
    case SQLITE_NOMEM:
        return PS_E_NOMEM;
    case SQLITE_CANTOPEN:
        return ps_file_err(sqlite3_system_errno(sqlite));
    default:
        return PS_E_IO;
    }
}

static int damaged(const struct cfg_db *db, const char *why, struct ps_fault *fault)
{
    return ps_fault(fault, PS_E_CORRUPT, db->path,
                    "is damaged (%s): restore it from a backup, or move it and its -wal away and "
                    "start with the sales and limits of the settings; orders are not in it",
                    why);
}

int cfg_db_fault(const struct cfg_db *db, struct ps_fault *fault)
{
    const char *why = sqlite3_errmsg(db->sqlite);
    int err = error_of(db->sqlite);
    if (err == PS_E_CORRUPT)
        return damaged(db, why, fault);
    if (err == PS_E_BUSY)
        return ps_fault(fault, err, db->path, "is held by another program (%s): let it finish",
                        why);
    return ps_fault(fault, err, db->path, "%s", why);
}

int cfg_db_execute(const struct cfg_db *db, const char *sql, struct ps_fault *fault)
{
    return sqlite3_exec(db->sqlite, sql, NULL, NULL, NULL) == SQLITE_OK ? 0
                                                                        : cfg_db_fault(db, fault);
}

int cfg_db_prepare(const struct cfg_db *db, const char *sql, sqlite3_stmt **ret_statement,
                   struct ps_fault *fault)
{
    return sqlite3_prepare_v2(db->sqlite, sql, -1, ret_statement, NULL) == SQLITE_OK
               ? 0
               : cfg_db_fault(db, fault);
}

const char *cfg_db_text(sqlite3_stmt *statement, int column)
{
    const unsigned char *text = sqlite3_column_text(statement, column);
    return text != NULL ? (const char *)text : "";
}

int cfg_db_number(const struct cfg_db *db, const char *sql, int64_t *ret_number,
                  struct ps_fault *fault)
{
    sqlite3_stmt *statement;
    int err = cfg_db_prepare(db, sql, &statement, fault);
    if (err != 0)
        return err;
    int step = sqlite3_step(statement);
    if (step == SQLITE_ROW)
        *ret_number = sqlite3_column_int64(statement, 0);
    else if (step == SQLITE_DONE)
        err = damaged(db, "a row is missing", fault);
    else
        err = cfg_db_fault(db, fault);
    sqlite3_finalize(statement);
    return err;
}

/* --- Opening. --- */

/* Is the one word that `sql` answers `expected`? Else the fault says what it was. */
static int expect_word(const struct cfg_db *db, const char *sql, const char *expected,
                       struct ps_fault *fault)
{
    sqlite3_stmt *statement;
    int err = cfg_db_prepare(db, sql, &statement, fault);
    if (err != 0)
        return err;
    if (sqlite3_step(statement) != SQLITE_ROW)
        err = cfg_db_fault(db, fault);
    else if (strcmp(cfg_db_text(statement, 0), expected) != 0)
        err = damaged(db, cfg_db_text(statement, 0), fault);
    sqlite3_finalize(statement);
    return err;
}

/* Decides from what it says of itself whether the file is new (nothing in it), ours, or refused. */
static int identify(const struct cfg_db *db, bool *ret_new, bool *ret_old, struct ps_fault *fault)
{
    int64_t application, version, tables;
    int err = cfg_db_number(db, "SELECT count(*) FROM sqlite_schema", &tables, fault);
    if (err == 0)
        err = cfg_db_number(db, "PRAGMA application_id", &application, fault);
    if (err == 0)
        err = cfg_db_number(db, "PRAGMA user_version", &version, fault);
    if (err != 0)
        return err;
    *ret_new = tables == 0 && application == 0 && version == 0;
    *ret_old = !*ret_new && version < SCHEMA;
    if (*ret_new)
        return 0;
    if (application != APPLICATION_ID)
        return ps_fault(fault, PS_E_CORRUPT, db->path,
                        "is a database of another program: move it away");
    if (version > SCHEMA)
        return ps_fault(fault, PS_E_NEWER, db->path,
                        "was written by a newer version of penstock (schema %" PRId64
                        ", this one knows %d): run that version, or restore a backup",
                        version, SCHEMA);
    return 0;
}

static int check_and_prepare(const struct cfg_db *db, struct ps_fault *fault)
{
    bool is_new, is_old;
    if (sqlite3_db_readonly(db->sqlite, "main") == 1)
        return ps_fault(fault, PS_E_READ_ONLY, db->path, "cannot be written: chmod 600 %s",
                        db->path);
    int err = identify(db, &is_new, &is_old, fault);
    if (err == 0)
        err = expect_word(db, "PRAGMA quick_check(1)", "ok", fault);
    if (err == 0)
        err = expect_word(db, "PRAGMA journal_mode = WAL", "wal", fault);
    if (err == 0)
        err = cfg_db_execute(db, "PRAGMA synchronous = FULL", fault);
    if (err == 0 && (is_new || is_old))
        err = cfg_db_execute(db, is_new ? schema : upgrade, fault);
    return err;
}

int cfg_db_open(const char *path, const char *vfs, struct cfg_db *ret_db, struct ps_fault *fault)
{
    struct cfg_db db = {.path = strdup(path)};
    if (db.path == NULL)
        return ps_fault(fault, PS_E_NOMEM, path, "out of memory");
    int err = ps_private_check(path, fault);
    if (err == PS_E_NOT_FOUND)
        err = ps_private_replace(path, "", 0, fault);
    if (err != 0)
        goto fail;
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(path, &db.sqlite, flags, vfs) != SQLITE_OK) {
        err = db.sqlite != NULL ? cfg_db_fault(&db, fault)
                                : ps_fault(fault, PS_E_NOMEM, path, "out of memory");
        goto fail;
    }
    sqlite3_busy_timeout(db.sqlite, BUSY_TIMEOUT_MS);
    err = check_and_prepare(&db, fault);
    if (err != 0)
        goto fail;
    *ret_db = db;
    return 0;
fail:
    cfg_db_close(&db);
    return err;
}

void cfg_db_close(struct cfg_db *db)
{
    sqlite3_close(db->sqlite); /* writes the WAL back; what does not go stays in it */
    free(db->path);
    *db = (struct cfg_db){0};
}

/* --- Reading back. --- */

/* One row into one entry of an array. */
typedef int read_row_fn(const struct cfg_db *db, sqlite3_stmt *row, void *entry,
                        struct ps_fault *fault);

/* The text of a document in column 1; `what` and column 0 name it in the fault. */
static int parse_document(const struct cfg_db *db, sqlite3_stmt *row, json_t **ret_json,
                          struct ps_fault *fault)
{
    struct ps_fault why;
    const char *text = cfg_db_text(row, 1);
    if (ps_json_parse(text, strlen(text), ret_json, &why) == 0)
        return 0;
    return damaged(db, why.text, fault);
}

static int unreadable(const struct cfg_db *db, sqlite3_stmt *row, int err,
                      const struct ps_fault *why, struct ps_fault *fault)
{
    char text[sizeof why->path + sizeof why->text + PS_NAME_MAX + 8];
    if (err == PS_E_NOMEM)
        return ps_fault(fault, err, db->path, "out of memory");
    (void)snprintf(text, sizeof text, "%.64s: %s %s", cfg_db_text(row, 0), why->path, why->text);
    return damaged(db, text, fault);
}

static int read_sale(const struct cfg_db *db, sqlite3_stmt *row, void *entry,
                     struct ps_fault *fault)
{
    struct cfg_stored_sale *sale = entry;
    struct ps_fault why;
    json_t *json;
    int err = parse_document(db, row, &json, fault);
    if (err != 0)
        return err;
    (void)snprintf(sale->name, sizeof sale->name, "%s", cfg_db_text(row, 0));
    sale->state = (struct cfg_sale_state){.version = sqlite3_column_int64(row, 2),
                                          .created_at_ms = sqlite3_column_int64(row, 3),
                                          .updated_at_ms = sqlite3_column_int64(row, 4),
                                          .opening = sqlite3_column_int(row, 5) == CFG_DB_OPENING,
                                          .opened = sqlite3_column_int(row, 5) == CFG_DB_OPENED,
                                          .paused = sqlite3_column_int(row, 6) != 0,
                                          .ended = sqlite3_column_int(row, 7) != 0};
    err = cfg_sale_doc_read(json, "", sale->name, &sale->doc, &why);
    json_decref(json);
    return err == 0 ? 0 : unreadable(db, row, err, &why, fault);
}

static int read_gone(const struct cfg_db *db, sqlite3_stmt *row, void *entry,
                     struct ps_fault *fault)
{
    struct cfg_gone_sale *gone = entry;
    (void)db;
    (void)fault;
    (void)snprintf(gone->name, sizeof gone->name, "%s", cfg_db_text(row, 0));
    gone->version = sqlite3_column_int64(row, 1);
    return 0;
}

static int read_rule(const struct cfg_db *db, sqlite3_stmt *row, void *entry,
                     struct ps_fault *fault)
{
    struct ps_fault why;
    json_t *json;
    int err = parse_document(db, row, &json, fault);
    if (err != 0)
        return err;
    err = cfg_limit_rule_read(json, cfg_db_text(row, 0), "", entry, &why);
    json_decref(json);
    return err == 0 ? 0 : unreadable(db, row, err, &why, fault);
}

static int read_block(const struct cfg_db *db, sqlite3_stmt *row, void *entry,
                      struct ps_fault *fault)
{
    struct cfg_block *block = entry;
    (void)db;
    (void)fault;
    block->kind = strcmp(cfg_db_text(row, 0), cfg_block_kinds[CFG_BLOCK_USER]) == 0
                      ? CFG_BLOCK_USER
                      : CFG_BLOCK_RANGE;
    (void)snprintf(block->subject, sizeof block->subject, "%s", cfg_db_text(row, 1));
    block->until_ms = sqlite3_column_int64(row, 2);
    block->created_at_ms = sqlite3_column_int64(row, 3);
    (void)snprintf(block->reason, sizeof block->reason, "%s", cfg_db_text(row, 4));
    (void)snprintf(block->by, sizeof block->by, "%s", cfg_db_text(row, 5));
    return 0;
}

/* All rows of `sql` into a new array; on failure the entries read so far are the caller's too. */
static int load_table(const struct cfg_db *db, const char *count_sql, const char *sql, size_t size,
                      read_row_fn *read_row, void *ret_entries, size_t *ret_count,
                      struct ps_fault *fault)
{
    int64_t rows;
    sqlite3_stmt *statement;
    int err = cfg_db_number(db, count_sql, &rows, fault);
    if (err != 0)
        return err;
    char *entries = calloc((size_t)rows + 1, size);
    if (entries == NULL)
        return ps_fault(fault, PS_E_NOMEM, db->path, "out of memory");
    memcpy(ret_entries, &entries, sizeof entries);
    err = cfg_db_prepare(db, sql, &statement, fault);
    if (err != 0)
        return err;
    int step = SQLITE_DONE;
    while (err == 0 && *ret_count < (size_t)rows &&
           (step = sqlite3_step(statement)) == SQLITE_ROW) {
        err = read_row(db, statement, entries + *ret_count * size, fault);
        if (err == 0)
            ++*ret_count;
    }
    if (err == 0 && step != SQLITE_ROW && step != SQLITE_DONE)
        err = cfg_db_fault(db, fault);
    sqlite3_finalize(statement);
    return err;
}

int cfg_db_load(const struct cfg_db *db, int64_t wall_ms, struct cfg_stored *ret_stored,
                struct ps_fault *fault)
{
    struct cfg_stored stored = {0};
    char purge[96];
    (void)snprintf(purge, sizeof purge, "DELETE FROM blocklist WHERE until_ms <= %" PRId64,
                   wall_ms);
    int err = cfg_db_execute(db, purge, fault);
    if (err == 0)
        err = cfg_db_number(db, "SELECT version FROM policy", &stored.policy_version, fault);
    if (err == 0)
        err = load_table(db, "SELECT count(*) FROM sales",
                         "SELECT name, document, version, created_at_ms, updated_at_ms, opened,"
                         " paused, ended FROM sales ORDER BY name",
                         sizeof *stored.sales, read_sale, &stored.sales, &stored.sale_count, fault);
    if (err == 0)
        err = load_table(db, "SELECT count(*) FROM deleted",
                         "SELECT name, version FROM deleted ORDER BY name", sizeof *stored.gone,
                         read_gone, &stored.gone, &stored.gone_count, fault);
    if (err == 0)
        err = load_table(db, "SELECT count(*) FROM limits",
                         "SELECT name, document FROM limits ORDER BY name", sizeof *stored.rules,
                         read_rule, &stored.rules, &stored.rule_count, fault);
    if (err == 0)
        err = load_table(db, "SELECT count(*) FROM blocklist",
                         "SELECT kind, subject, until_ms, created_at_ms, reason, by FROM blocklist"
                         " ORDER BY kind, subject",
                         sizeof *stored.blocks, read_block, &stored.blocks, &stored.block_count,
                         fault);
    if (err != 0) {
        cfg_stored_done(&stored);
        return err;
    }
    *ret_stored = stored;
    return 0;
}

void cfg_stored_done(struct cfg_stored *stored)
{
    for (size_t i = 0; i < stored->sale_count; i++)
        cfg_sale_doc_done(&stored->sales[i].doc);
    free(stored->sales);
    free(stored->gone);
    free(stored->rules);
    free(stored->blocks);
    *stored = (struct cfg_stored){0};
}
