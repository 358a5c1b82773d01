/* The file under the control store: opening and checking control.db, reading it back, and the few
 * words of SQLite that the store needs. Private to control_db.c, control_job.c and control_store.c;
 * accord_doc.c reads what a job is made of. */
#ifndef CFG_DB_H
#define CFG_DB_H

#include "gateway/config/store.h"

#include <sqlite3.h>

struct cfg_db {
    sqlite3 *sqlite;
    char *path;
};

/* Opens, creates or refuses, as cfg_store_open says. */
int cfg_db_open(const char *path, const char *vfs, struct cfg_db *ret_db,
                struct ps_fault *fault) PS_MUST_CHECK;
void cfg_db_close(struct cfg_db *db);
/* Reads all; entries of the blocklist that have ended at `wall_ms` are removed first. */
int cfg_db_load(const struct cfg_db *db, int64_t wall_ms, struct cfg_stored *ret_stored,
                struct ps_fault *fault) PS_MUST_CHECK;

/* The code that fits the connection's last error; the fault says what to do about it. */
int cfg_db_fault(const struct cfg_db *db, struct ps_fault *fault);
int cfg_db_execute(const struct cfg_db *db, const char *sql, struct ps_fault *fault) PS_MUST_CHECK;
int cfg_db_prepare(const struct cfg_db *db, const char *sql, sqlite3_stmt **ret_statement,
                   struct ps_fault *fault) PS_MUST_CHECK;
/* The first column of the first row. */
int cfg_db_number(const struct cfg_db *db, const char *sql, int64_t *ret_number,
                  struct ps_fault *fault) PS_MUST_CHECK;
/* Never NULL; valid until the next step. */
const char *cfg_db_text(sqlite3_stmt *statement, int column);

/* The column `opened` of a sale. */
enum cfg_db_opened { CFG_DB_NOT_OPENED, CFG_DB_OPENED, CFG_DB_OPENING };

/* What a job is made of: statements with the values to bind. */
#define CFG_WRITE_VALUES_MAX 8

/* What a statement means to the other gateways of a cluster, and its values. */
enum cfg_write_kind {
    CFG_WRITE_OTHER,      /* nothing */
    CFG_WRITE_SALE,       /* name, document, version, created and updated at, enum cfg_db_opened,
                            paused, ended */
    CFG_WRITE_SALE_GONE,  /* name, version */
    CFG_WRITE_RULE,       /* name, document */
    CFG_WRITE_RULE_GONE,  /* name */
    CFG_WRITE_BLOCK,      /* kind, subject, until, created at, reason, by */
    CFG_WRITE_BLOCK_GONE, /* kind, subject */
    CFG_WRITE_POLICY      /* version */
};

struct cfg_store_write {
    struct cfg_store_write *next;
    enum cfg_write_kind kind;
    const char *sql;  /* a literal; ?1, ?2... are the values */
    bool must_change; /* no row changed is PS_E_CONFLICT */
    int count;
    struct {
        char *text; /* owned; NULL = a number */
        int64_t number;
    } values[CFG_WRITE_VALUES_MAX];
};

static inline enum cfg_db_opened cfg_db_opened(const struct cfg_sale_state *state)
{
    return state->opened ? CFG_DB_OPENED : state->opening ? CFG_DB_OPENING : CFG_DB_NOT_OPENED;
}

/* enum cfg_block_kind in the table: "user", "range". */
extern const char *const cfg_block_kinds[];

#endif
