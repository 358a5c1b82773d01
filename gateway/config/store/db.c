/* control.db. A foreign or torn file, or one of a newer schema, is refused with advice. An older
 * schema is migrated in one transaction: a crash in it leaves the old state.
 *
 * `documents` has the version in force of each document, `history` the earlier ones; both have the
 * same columns. A deletion is a version whose json is null. */
#include "gateway/config/store/db_internal.h"

#include "common/clock.h"
#include "common/db/db_file.h"
#include "common/program/private_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define APPLICATION_ID 0x50537463 /* "PStc" */
#define SCHEMA         5
#define FORGET_MS      INT64_C(2592000000) /* a month */

#define TEXT(x)  #x
#define VALUE(x) TEXT(x)

/* clang-format off */
#define COLUMNS \
    "kind, name, version, revision, json, state," \
    " created_at_ms, ends_at_ms, at_ms, who, peer, action, why"
#define COLUMNS_AS_MADE \
    "(kind TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL," \
    " revision INTEGER NOT NULL," \
    " json TEXT, state TEXT," \
    " created_at_ms INTEGER NOT NULL, ends_at_ms INTEGER NOT NULL," \
    " at_ms INTEGER NOT NULL, who TEXT NOT NULL, peer TEXT NOT NULL," \
    " action TEXT NOT NULL, why TEXT NOT NULL, "
#define NEVER "9223372036854775807"

#define CREATE \
    "CREATE TABLE documents" COLUMNS_AS_MADE \
        "PRIMARY KEY(kind, name)) STRICT, WITHOUT ROWID;" \
    "CREATE TABLE history" COLUMNS_AS_MADE \
        "PRIMARY KEY(kind, name, version)) STRICT, WITHOUT ROWID;" \
    "CREATE TABLE store(revision INTEGER NOT NULL) STRICT;" \
    "INSERT INTO store VALUES(1);"

static const char tables[] =
    CREATE
    "CREATE TABLE audit(seq INTEGER PRIMARY KEY, line TEXT NOT NULL) STRICT;";

#define FLAG(condition) "CASE WHEN " condition " THEN 'true' ELSE 'false' END"
#define BLOCKS(kind, old) \
    "INSERT INTO documents SELECT '" kind "', subject, 1, 1," \
    " json_object(" \
        "'until', CASE until_ms WHEN " NEVER " THEN NULL" \
            " ELSE strftime('%Y-%m-%dT%H:%M:%S', until_ms / 1000, 'unixepoch')" \
            " || printf('.%03dZ', until_ms % 1000) END," \
        " 'reason', nullif(reason, ''))," \
    " NULL, created_at_ms, until_ms, created_at_ms, by, '', 'upgrade', reason" \
    " FROM blocklist WHERE kind = '" old "';"

/* From schemas 1 and 2, which had a table a kind; 1 forgot sales that were deleted. Rules that
 * nobody had touched may still be replaced by those of the settings. */
static const char upgrade[] =
    "BEGIN IMMEDIATE;"
    CREATE
    "CREATE TABLE IF NOT EXISTS deleted(name TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT;"
    "INSERT INTO documents SELECT 'sales', name, version, 1, document,"
    " '{\"opening\":' || " FLAG("opened = 2") " || ',\"opened\":' || " FLAG("opened = 1")
    " || ',\"paused\":' || " FLAG("paused <> 0") " || ',\"ended\":' || " FLAG("ended <> 0") " || '}',"
    " created_at_ms, " NEVER ", updated_at_ms, 'upgrade', '', 'upgrade', '' FROM sales;"
    "INSERT INTO documents SELECT 'sales', name, version, 1, NULL, NULL, 0, " NEVER ", 0,"
    " 'upgrade', '', 'upgrade', '' FROM deleted;"
    "INSERT INTO documents SELECT 'limits', name, 1, 1, document, NULL, 0, " NEVER ", 0,"
    " CASE (SELECT version FROM policy) WHEN 1 THEN 'penstock' ELSE 'upgrade' END, '',"
    " 'upgrade', '' FROM limits;"
    BLOCKS("blocklist/users", "user")
    BLOCKS("blocklist/ips", "range")
    "DROP TABLE sales; DROP TABLE deleted; DROP TABLE limits; DROP TABLE blocklist;"
    "DROP TABLE policy; PRAGMA user_version = " VALUE(SCHEMA) "; COMMIT;";

/* Schema 3 had no documents of the kinds `overload` and `features`, and 4 called mirrors shadows: a
 * program that does not know the documents of today must not open the file. (Routes are read under
 * both names.) */
static const char upgrade_of_3[] =
    "BEGIN IMMEDIATE;"
    "UPDATE documents SET name = 'mirror' WHERE kind = 'features' AND name = 'shadow_copies';"
    "UPDATE history SET name = 'mirror' WHERE kind = 'features' AND name = 'shadow_copies';"
    "UPDATE documents SET name = 'feature:mirror'"
    " WHERE kind = 'overrides' AND name = 'feature:shadow_copies';"
    "PRAGMA user_version = " VALUE(SCHEMA) "; COMMIT;";

static const char *const statements[] = {
    [CHECK] = "PRAGMA quick_check(1)",
    [LOAD] = "SELECT " COLUMNS " FROM documents ORDER BY kind, name",
    [LINES] = "SELECT seq, line FROM audit WHERE seq > ?1 ORDER BY seq",
    [HISTORY] =
        "SELECT " COLUMNS " FROM documents"
        " WHERE kind = ?1 AND name = ?2 AND ?3 IN (0, version)"
        " UNION ALL"
        " SELECT " COLUMNS " FROM history"
        " WHERE kind = ?1 AND name = ?2 AND ?3 IN (0, version)"
        " ORDER BY version DESC",
    [PAST] =
        "SELECT " COLUMNS " FROM documents UNION ALL SELECT " COLUMNS " FROM history"
        " ORDER BY kind, name, version",
    [REVISIONS] =
        "SELECT " COLUMNS " FROM documents UNION ALL SELECT " COLUMNS " FROM history"
        " ORDER BY revision DESC, kind, name",
    [ARCHIVE] =
        "INSERT OR REPLACE INTO history SELECT * FROM documents"
        " WHERE kind = ?1 AND name = ?2 AND version < ?3",
    [PUT] = /* if ?14 is the version in the file (0: none), or -1 */
        "INSERT OR REPLACE INTO documents(" COLUMNS ")"
        " SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13"
        " WHERE ?14 IN (-1, coalesce("
            "(SELECT version FROM documents WHERE kind = ?1 AND name = ?2), 0))",
    [TRIM] = "DELETE FROM history WHERE kind = ?1 AND name = ?2 AND version <= ?3",
    [FORGET] = "DELETE FROM documents WHERE kind = ?1 AND name = ?2",
    [FORGET_HISTORY] = "DELETE FROM history WHERE kind = ?1 AND name = ?2",
    [SET_REVISION] = "UPDATE store SET revision = max(revision, ?1)",
    [SHIP] = /* of a kind that may have others: only while operators have changed none */
        "INSERT OR IGNORE INTO documents(" COLUMNS ")"
        " SELECT ?1, ?2, 1, 1, ?3, ?4, ?7, " NEVER ", ?7, '" CFG_BY_PROGRAM "', '', ?5, ''"
        " WHERE ?6 OR NOT EXISTS"
            "(SELECT 1 FROM documents WHERE kind = ?1 AND who <> '" CFG_BY_PROGRAM "')",
    [ADD_LINE] = "INSERT INTO audit(seq, line) VALUES(?1, ?2)",
    [DROP_LINES] = "DELETE FROM audit WHERE seq <= ?1",
};
/* clang-format on */

static const struct ps_db_kind kind = {
    .name = "control.db",
    .holds = "its decisions, and the sales and limits of the seed; it holds no orders",
    .application_id = APPLICATION_ID,
    .format = SCHEMA,
    .tables = tables,
    .statements = statements,
    .statement_count = PS_ARRAY_LEN(statements),
};

/* --- Opening. --- */

static void bind_text(struct ps_db_statement *statement, int at, const char *text)
{
    ps_db_bind_text(statement, at, (struct ps_str){text, text != NULL ? strlen(text) : 0});
}

static int check(struct ps_db *db, struct ps_fault *fault)
{
    struct ps_db_statement *row = ps_db_statement(db, CHECK);
    int found = ps_db_row(row, fault);

    if (found < 0)
        return found;
    int err = found > 0 && strcmp(ps_db_text(row, 0).at, "ok") != 0
                  ? ps_db_damaged(db, ps_db_text(row, 0).at, fault)
                  : 0;
    ps_db_end_rows(row);
    return err;
}

static int bring_up_to_date(struct ps_db *db, struct ps_fault *fault)
{
    struct ps_fault none;
    int64_t schema;
    int err = ps_db_number(db, "PRAGMA user_version", &schema, fault);

    if (err < 0 || schema == SCHEMA)
        return err;
    err = ps_db_exec(db, schema < 3 ? upgrade : upgrade_of_3, fault);
    if (err < 0 && ps_db_in_transaction(db))
        (void)!ps_db_exec(db, "ROLLBACK", &none);
    return err;
}

/* Shipped documents that the file lacks: all in a new one, those of a newer program in an old one.
 */
static int ship(struct ps_db *db, int64_t now_ms, struct ps_fault *fault)
{
    int err = 0;

    for (const struct cfg_kind *const *of = cfg_kinds; *of != NULL; of++) {
        const struct cfg_shipped *doc = (*of)->shipped;
        for (; err == 0 && doc != NULL && doc->name != NULL; doc++) {
            struct ps_db_statement *statement = ps_db_statement(db, SHIP);
            const char *const texts[] = {(*of)->path, doc->name, doc->json, (*of)->initial_state,
                                         (*of)->put};
            for (int i = 0; i < (int)PS_ARRAY_LEN(texts); i++)
                bind_text(statement, i + 1, texts[i]);
            ps_db_bind_int(statement, 6, (*of)->only_shipped);
            ps_db_bind_int(statement, 7, now_ms);
            err = ps_db_run(statement, fault);
        }
    }
    return err;
}

int cfg_db_lock(const char *path, const char *vfs, int *ret_lock, struct ps_fault *fault)
{
    int err = ps_private_check(path, fault);

    if (err < 0 && err != PS_E_NOT_FOUND)
        return err;
    err = ps_db_file_lock(&kind, path, ret_lock, fault);
    if (err < 0)
        return err;
    err = ps_db_file_create(&kind, path, vfs, fault);
    if (err < 0)
        close(*ret_lock);
    return err;
}

int cfg_db_open(const char *path, const char *vfs, int lock, struct cfg_db **ret_db,
                struct ps_fault *fault)
{
    const struct ps_db_file_settings settings = {&kind, path, vfs, lock};
    struct cfg_db *db = calloc(1, sizeof *db);

    if (db == NULL)
        return ps_fault(fault, PS_E_NOMEM, path, "out of memory");
    int err = ps_db_file_open(&settings, &db->file, fault);
    if (err < 0) {
        free(db);
        return err;
    }
    db->db = ps_db_file_db(db->file);
    err = check(db->db, fault);
    if (err == 0)
        err = bring_up_to_date(db->db, fault);
    if (err < 0)
        cfg_db_close(db);
    else
        *ret_db = db;
    return err;
}

void cfg_db_close(struct cfg_db *db)
{
    if (db == NULL)
        return;
    ps_db_file_close(db->file);
    free(db);
}

int cfg_db_forget_old(struct cfg_db *db, int64_t now_ms, struct ps_fault *fault)
{
    char over[160], sql[512];

    (void)snprintf(over, sizeof over,
                   "json IS NULL AND kind LIKE 'blocklist/%%' AND at_ms < %" PRId64,
                   now_ms - FORGET_MS);
    (void)snprintf(sql, sizeof sql,
                   "DELETE FROM history WHERE (kind, name) IN"
                   " (SELECT kind, name FROM documents WHERE %s);"
                   "DELETE FROM documents WHERE %s",
                   over, over);
    return ps_db_exec(db->db, sql, fault);
}

struct ps_db_file *cfg_db_file(struct cfg_db *db)
{
    return db->file;
}

/* --- Reading. --- */

static const char *text_at(const struct ps_db_statement *row, int column)
{
    return ps_db_text(row, column).at;
}

static int unreadable(const struct cfg_db *db, const struct ps_db_statement *row, const char *path,
                      const char *why, struct ps_fault *fault)
{
    char text[sizeof fault->path + sizeof fault->text + CFG_NAME_MAX];

    (void)snprintf(text, sizeof text, "%s/%s: %s %s", text_at(row, 0), text_at(row, 1), path, why);
    return ps_db_damaged(db->db, text, fault);
}

/* An absent text gives NULL. */
static int parse_column(const struct cfg_db *db, const struct ps_db_statement *row, int column,
                        json_t **ret_json, struct ps_fault *fault)
{
    struct ps_str text = ps_db_text(row, column);
    struct ps_fault why;

    *ret_json = NULL;
    if (ps_db_is_null(row, column) || ps_json_parse(text.at, text.len, ret_json, &why) == 0)
        return 0;
    return unreadable(db, row, why.path, why.text, fault);
}

static int read_document(const struct cfg_db *db, const struct ps_db_statement *row,
                         struct cfg_doc **ret_doc, struct ps_fault *fault)
{
    struct ps_str kind_text = ps_db_text(row, 0);
    struct cfg_doc_parts parts = {.kind = cfg_kind_find(kind_text.at, kind_text.len),
                                  .name = text_at(row, 1),
                                  .version = ps_db_int(row, 2),
                                  .revision = ps_db_int(row, 3),
                                  .created_at_ms = ps_db_int(row, 6),
                                  .by = {ps_db_int(row, 8), text_at(row, 9), text_at(row, 10),
                                         text_at(row, 11), text_at(row, 12)},
                                  .reading.pointer = ""};
    struct ps_faults faults = {0};
    json_t *json = NULL, *state = NULL;

    if (parts.kind == NULL)
        return unreadable(db, row, "", "is of a kind that this version does not know", fault);
    int err = parse_column(db, row, 4, &json, fault);
    if (err == 0)
        err = parse_column(db, row, 5, &state, fault);
    parts.json = json;
    parts.state = state;
    if (err == 0 && (err = cfg_doc_new(&parts, ret_doc, &faults)) < 0)
        err = err == PS_E_NOMEM ? ps_fault(fault, err, ps_db_path(db->db), "out of memory")
                                : unreadable(db, row, faults.at[0].path, faults.at[0].text, fault);
    json_decref(json);
    json_decref(state);
    return err;
}

int cfg_db_load(struct cfg_db *db, int64_t now_ms, cfg_db_take_fn *take, void *ctx,
                int64_t *ret_revision, struct ps_fault *fault)
{
    struct ps_db_statement *row = ps_db_statement(db->db, LOAD);
    int found = 0, err = ship(db->db, now_ms, fault);

    if (err == 0)
        err = cfg_db_revision(db, ret_revision, fault);
    while (err == 0 && (found = ps_db_row(row, fault)) > 0) {
        struct cfg_doc *doc;
        err = read_document(db, row, &doc, fault);
        if (err == 0 && (err = take(doc, ctx)) < 0)
            (void)ps_fault(fault, err, ps_db_path(db->db), "%s", ps_err_text(err));
    }
    if (err < 0)
        ps_db_end_rows(row);
    return err < 0 ? err : found;
}

int cfg_db_revision(struct cfg_db *db, int64_t *ret_revision, struct ps_fault *fault)
{
    return ps_db_number(db->db, "SELECT revision FROM store", ret_revision, fault);
}

int cfg_db_last_line(struct cfg_db *db, int64_t *ret_seq, struct ps_fault *fault)
{
    return ps_db_number(db->db, "SELECT coalesce(max(seq), 0) FROM audit", ret_seq, fault);
}

int cfg_db_lines(struct cfg_db *db, int64_t after, cfg_db_line_fn *take, void *ctx,
                 struct ps_fault *fault)
{
    struct ps_db_statement *row = ps_db_statement(db->db, LINES);
    int found = 0, err = 0;

    ps_db_bind_int(row, 1, after);
    while (err == 0 && (found = ps_db_row(row, fault)) > 0)
        err = take(ps_db_int(row, 0), text_at(row, 1), ctx, fault);
    if (err < 0)
        ps_db_end_rows(row);
    return err < 0 ? err : found;
}

/* A version as it is shown; the document and its state only when `whole`. NULL: out of memory. */
static json_t *version_json(const struct ps_db_statement *row, bool whole)
{
    const char *why = text_at(row, 12);
    json_t *json = json_pack(
        "{s:I, s:I, s:b, s:o, s:s, s:s, s:s, s:s?}", "version", (json_int_t)ps_db_int(row, 2),
        "revision", (json_int_t)ps_db_int(row, 3), "deleted", (int)ps_db_is_null(row, 4), "at",
        ps_json_of_time(ps_db_int(row, 8)), "who", text_at(row, 9), "peer", text_at(row, 10),
        "action", text_at(row, 11), "why", why[0] != '\0' ? why : NULL);

    if (!whole || json == NULL)
        return json;
    /* Malformed text was refused when the file was opened. */
    json_t *document = json_loads(text_at(row, 4), 0, NULL);
    json_t *state = json_loads(text_at(row, 5), 0, NULL);
    int err = json_object_set_new(json, "document", document != NULL ? document : json_null());
    if (state != NULL)
        err |= json_object_set_new(json, "state", state);
    return ps_json_built(json, err);
}

/* The first two parameters of statements about one document are its kind and name. */
static struct ps_db_statement *about(struct cfg_db *db, enum cfg_db_statement which,
                                     const char *path, const char *name)
{
    struct ps_db_statement *statement = ps_db_statement(db->db, which);

    bind_text(statement, 1, path);
    bind_text(statement, 2, name);
    return statement;
}

int cfg_db_history(struct cfg_db *db, const char *path, const char *name, int64_t version,
                   json_t **ret_json, struct ps_fault *fault)
{
    struct ps_db_statement *row = about(db, HISTORY, path, name);
    json_t *versions = json_array();
    int found = 0, err = 0;

    ps_db_bind_int(row, 3, version);
    while (err == 0 && (found = ps_db_row(row, fault)) > 0)
        if (json_array_append_new(versions, version_json(row, version > 0)) != 0)
            err = ps_fault(fault, PS_E_NOMEM, ps_db_path(db->db), "out of memory");
    if (err < 0)
        ps_db_end_rows(row);
    err = err < 0 ? err : found;
    if (err == 0 && json_array_size(versions) == 0)
        err = PS_E_NOT_FOUND;
    if (err == 0)
        *ret_json = version > 0 ? json_incref(json_array_get(versions, 0))
                                : json_pack("{s:O}", "versions", versions);
    json_decref(versions);
    return err;
}

/* --- Changing. --- */

/* Moves the version in force to the history; removes versions that are too old. */
static int change_history(struct cfg_db *db, enum cfg_db_statement which, const struct cfg_doc *doc,
                          int64_t version, struct ps_fault *fault)
{
    if (doc->kind->has_no_history)
        return 0;
    struct ps_db_statement *statement = about(db, which, doc->kind->path, doc->name);
    ps_db_bind_int(statement, 3, version);
    return ps_db_run(statement, fault);
}

int cfg_db_put(struct cfg_db *db, const struct cfg_doc *doc, int64_t after, struct ps_fault *fault)
{
    const char *const texts[] = {doc->by.who, doc->by.peer, doc->by.action, doc->by.why};
    int err = change_history(db, ARCHIVE, doc, doc->version, fault);

    if (err < 0)
        return err;
    struct ps_db_statement *statement = about(db, PUT, doc->kind->path, doc->name);
    ps_db_bind_int(statement, 3, doc->version);
    ps_db_bind_int(statement, 4, doc->revision);
    bind_text(statement, 5, doc->json);
    bind_text(statement, 6, doc->state);
    ps_db_bind_int(statement, 7, doc->created_at_ms);
    ps_db_bind_int(statement, 8, cfg_doc_ends_at_ms(doc));
    ps_db_bind_int(statement, 9, doc->by.at_ms);
    for (int i = 0; i < 4; i++)
        bind_text(statement, 10 + i, texts[i]);
    ps_db_bind_int(statement, 14, after);
    err = ps_db_run(statement, fault);
    if (err == 0 && ps_db_changes(db->db) == 0)
        err = ps_fault(fault, PS_E_CONFLICT, "", "somebody else changed this in the meantime");
    return err < 0 ? err : change_history(db, TRIM, doc, doc->version - CFG_DB_VERSIONS, fault);
}

int cfg_db_forget(struct cfg_db *db, const char *path, const char *name, struct ps_fault *fault)
{
    int err = ps_db_run(about(db, FORGET, path, name), fault);

    return err < 0 ? err : ps_db_run(about(db, FORGET_HISTORY, path, name), fault);
}

int cfg_db_set_revision(struct cfg_db *db, int64_t revision, struct ps_fault *fault)
{
    struct ps_db_statement *statement = ps_db_statement(db->db, SET_REVISION);

    ps_db_bind_int(statement, 1, revision);
    return ps_db_run(statement, fault);
}

int cfg_db_add_line(struct cfg_db *db, int64_t seq, const char *line, int64_t written,
                    struct ps_fault *fault)
{
    struct ps_db_statement *statement = ps_db_statement(db->db, ADD_LINE);

    ps_db_bind_int(statement, 1, seq);
    bind_text(statement, 2, line);
    int err = ps_db_run(statement, fault);
    if (err < 0)
        return err;
    statement = ps_db_statement(db->db, DROP_LINES);
    ps_db_bind_int(statement, 1, written);
    return ps_db_run(statement, fault);
}
