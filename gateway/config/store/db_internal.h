/* What the files of control.db share: db.c (the file, its documents, one document's history) and
 * db_past.c (past revisions). */
#ifndef CFG_DB_INTERNAL_H
#define CFG_DB_INTERNAL_H

#include "gateway/config/store/db.h"

#include "common/db/db_file.h"

enum cfg_db_statement {
    CHECK,
    LOAD,
    LINES,
    HISTORY,
    PAST,
    REVISIONS,
    ARCHIVE,
    PUT,
    TRIM,
    FORGET,
    FORGET_HISTORY,
    SET_REVISION,
    SHIP,
    ADD_LINE,
    DROP_LINES
};

struct cfg_db {
    struct ps_db_file *file;
    struct ps_db *db; /* the file's */
};

#endif
