/* What db.c, db_file.c and db_copier.c share. */
#ifndef PS_DB_INTERNAL_H
#define PS_DB_INTERNAL_H

#include "common/db/db.h"

#include <limits.h>
#include <sqlite3.h>

struct ps_db_statement {
    struct ps_db *db;
    sqlite3_stmt *handle; /* NULL: not used yet */
    int rc;               /* of preparing and binding; SQLITE_OK = none has failed */
};

struct ps_db {
    sqlite3 *handle;
    const char *holds;
    const char *const *text;
    size_t statement_count;
    char path[PATH_MAX];
    struct ps_db_statement statement[];
};

/* SQLite's last result as an error; `doing` names what failed: "reading". */
int ps_db_failed(const struct ps_db *db, int rc, const char *doing, struct ps_fault *fault);
/* Syncs the database file itself, not its WAL. A code of SQLite. */
int ps_db_sync(struct ps_db *db);

#endif
