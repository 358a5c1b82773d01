/* The file under the control store: opening and checking control.db, reading it back, and the few
 * words of SQLite that the store needs. Private to control_db.c, control_job.c and control_store.c;
 * accord_doc.c reads what a job is made of. */
#ifndef GW_CONTROL_DB_H
#define GW_CONTROL_DB_H

#include "gateway/control/control_store.h"

#include <sqlite3.h>

struct gw_db {
    sqlite3 *sqlite;
    char *path;
};

/* Opens, creates or refuses, as gw_control_store_open says. */
int gw_db_open(const char *path, const char *vfs, struct gw_db *ret_db,
               struct ps_fault *fault) PS_MUST_CHECK;
void gw_db_close(struct gw_db *db);
/* Reads all; entries of the blocklist that have ended at `wall_ms` are removed first. */
int gw_db_load(const struct gw_db *db, int64_t wall_ms, struct gw_stored *ret_stored,
               struct ps_fault *fault) PS_MUST_CHECK;

/* The code that fits the connection's last error; the fault says what to do about it. */
int gw_db_fault(const struct gw_db *db, struct ps_fault *fault);
int gw_db_execute(const struct gw_db *db, const char *sql, struct ps_fault *fault) PS_MUST_CHECK;
int gw_db_prepare(const struct gw_db *db, const char *sql, sqlite3_stmt **ret_statement,
                  struct ps_fault *fault) PS_MUST_CHECK;
/* The first column of the first row. */
int gw_db_number(const struct gw_db *db, const char *sql, int64_t *ret_number,
                 struct ps_fault *fault) PS_MUST_CHECK;
/* Never NULL; valid until the next step. */
const char *gw_db_text(sqlite3_stmt *statement, int column);

/* The column `opened` of a sale. */
enum gw_db_opened { GW_DB_NOT_OPENED, GW_DB_OPENED, GW_DB_OPENING };

/* What a job is made of: statements with the values to bind. */
#define GW_WRITE_VALUES_MAX 8

/* What a statement means to the other gateways of a cluster, and its values. */
enum gw_write_kind {
    GW_WRITE_OTHER,     /* nothing */
    GW_WRITE_SALE,      /* name, document, version, created and updated at, enum gw_db_opened,
                           paused, ended */
    GW_WRITE_SALE_GONE, /* name, version */
    GW_WRITE_RULE,      /* name, document */
    GW_WRITE_RULE_GONE, /* name */
    GW_WRITE_BLOCK,     /* kind, subject, until, created at, reason, by */
    GW_WRITE_BLOCK_GONE, /* kind, subject */
    GW_WRITE_POLICY      /* version */
};

struct gw_store_write {
    struct gw_store_write *next;
    enum gw_write_kind kind;
    const char *sql;  /* a literal; ?1, ?2... are the values */
    bool must_change; /* no row changed is PS_E_CONFLICT */
    int count;
    struct {
        char *text; /* owned; NULL = a number */
        int64_t number;
    } values[GW_WRITE_VALUES_MAX];
};

static inline enum gw_db_opened gw_db_opened(const struct gw_sale_state *state)
{
    return state->opened ? GW_DB_OPENED : state->opening ? GW_DB_OPENING : GW_DB_NOT_OPENED;
}

/* enum gw_block_kind in the table: "user", "range". */
extern const char *const gw_block_kinds[];

#endif
