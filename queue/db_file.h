/* A durable SQLite file with one writer: what the journal and the spill have in common. One thread
 * at a time. What goes wrong is told in `fault` (NULL is allowed): what, and what a person can do
 * about it.
 *
 * Errors of all functions: PS_E_IO, PS_E_READ_ONLY, PS_E_BUSY (another program holds a lock in it),
 * PS_E_CORRUPT, PS_E_NOMEM, PS_E_PERMISSION. */
#ifndef OQ_DB_FILE_H
#define OQ_DB_FILE_H

#include "common/err.h"
#include "queue/db_copier.h"

#include <limits.h>
#include <sqlite3.h>

/* Room that a path leaves in PATH_MAX for what is put behind it. */
#define OQ_FILE_SUFFIX_MAX 16

/* What kind of file it is, as the file itself says. */
struct oq_db_kind {
    const char *name; /* "journal", for people */
    int application_id;
    int format;         /* of a later one: PS_E_NEWER */
    const char *tables; /* the SQL that makes them in an empty file */
};

struct oq_db {
    char path[PATH_MAX];
    sqlite3 *handle;
    sqlite3_stmt *begin, *commit, *rollback;
    int wal_frames;
    int copy_at; /* frames */
    struct oq_db_copier *copier;
};

/* Holds "<path>.lock" with flock until *ret_lock is closed: one gateway a file. The lock is on a
 * file of its own: SQLite's exclusive mode would shut readers out, and a lock on the database
 * itself would be dropped by any close of it in this process. PS_E_BUSY: another process does. */
int oq_db_lock(const struct oq_db_kind *kind, const char *path, int *ret_lock,
               struct ps_fault *fault) PS_MUST_CHECK;
/* Makes an empty one at `path`, unless there is one. `vfs` NULL = SQLite's default. The caller
 * holds the lock. */
int oq_db_create(const struct oq_db_kind *kind, const char *path, const char *vfs,
                 struct ps_fault *fault) PS_MUST_CHECK;
/* Opens for writing. All that can be read afterwards is durable, also when an earlier commit failed
 * or its process was killed. PS_E_NEWER. *ret_db is to be closed also after an error. */
int oq_db_open(const struct oq_db_kind *kind, const char *path, const char *vfs,
               struct oq_db *ret_db, struct ps_fault *fault) PS_MUST_CHECK;
/* Own statements are finalized before. One of {0} is allowed, and is what it leaves. */
void oq_db_close(struct oq_db *db);
/* Opens for reading only, beside the writer. PS_E_NOT_FOUND, PS_E_NEWER. */
int oq_db_open_reader(const struct oq_db_kind *kind, const char *path, sqlite3 **ret_handle,
                      struct ps_fault *fault) PS_MUST_CHECK;

/* A statement that gives no rows. */
int oq_db_run(struct oq_db *db, sqlite3_stmt *statement, struct ps_fault *fault) PS_MUST_CHECK;
int oq_db_exec(struct oq_db *db, const char *sql, struct ps_fault *fault) PS_MUST_CHECK;

/* A transaction: begin, statements, flush, commit. An error of all but commit is definite: after
 * oq_db_rollback nothing of it is in the file, nor ever will be. An error of commit is not: the
 * transaction may be there after the next open. After any error the file is to be closed and opened
 * again. */
int oq_db_begin(struct oq_db *db, struct ps_fault *fault) PS_MUST_CHECK;
int oq_db_flush(struct oq_db *db, struct ps_fault *fault) PS_MUST_CHECK;
int oq_db_commit(struct oq_db *db, struct ps_fault *fault) PS_MUST_CHECK;
void oq_db_rollback(struct oq_db *db);

/* Between transactions: has committed pages moved from the WAL into the database when enough have
 * gathered. An error loses nothing, but the disk is failing. */
int oq_db_tidy(struct oq_db *db, struct ps_fault *fault) PS_MUST_CHECK;

/* What SQLite has just answered on `handle`, as an error and a sentence with advice. */
int oq_db_failed(sqlite3 *handle, int rc, const char *path, const char *doing,
                 struct ps_fault *fault);
/* PS_E_CORRUPT: `what` is wrong with the file. */
int oq_db_torn(const char *path, struct ps_fault *fault, const char *what);

#endif
