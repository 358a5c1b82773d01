/* A durable SQLite file with one writer: WAL, synchronous=FULL. The journal, the spill and
 * control.db are such files. One thread at a time; errors as in db.h.
 *
 * A transaction: ps_db_file_begin, statements, ps_db_file_commit. What became of it:
 *   committed          it is on the disk
 *   failed, known      an error of anything before COMMIT: it was rolled back, and nothing of it is
 *                      in the file, nor ever will be
 *   failed, unknown    an error of COMMIT itself: the transaction may be in the file after the next
 *                      open (a commit whose fsync failed was seen there after kill -9), or may not.
 *                      Treating it as failed would be wrong
 * After an unknown one, and after an error of ps_db_file_tidy, close the file and open it again,
 * until that succeeds. Opening settles it: what can be read then is durable, and what of the
 * unknown transaction is not there never will be. So write into each transaction something by which
 * it is recognized, read that after opening, and answer whoever waits. Until then neither write nor
 * promise anything: the old handle may show what the disk does not have. */
#ifndef PS_DB_FILE_H
#define PS_DB_FILE_H

#include "common/db/db.h"

#include <limits.h>

/* Room that a path leaves in PATH_MAX for a suffix. */
#define PS_DB_FILE_SUFFIX_MAX 16

/* What kind of file it is, as the file itself says. */
struct ps_db_kind {
    const char *name;  /* "journal", for people */
    const char *holds; /* "the orders in it": what is lost with the file */
    int application_id;
    int format;         /* a later one: PS_E_NEWER; an earlier one: the caller migrates it */
    const char *tables; /* the SQL that creates them in an empty file */
    bool shrinks;       /* rows are deleted by the million: see ps_db_file_shrink */
    const char *const *statements; /* as in ps_db_settings */
    size_t statement_count;
};

struct ps_db_file_settings {
    const struct ps_db_kind *kind;
    const char *path; /* at most PATH_MAX - PS_DB_FILE_SUFFIX_MAX - 1 bytes */
    const char *vfs;  /* NULL = SQLite's default */
    int lock;         /* of ps_db_file_lock; not closed here */
};

struct ps_db_file;

/* Holds "<path>.lock" with flock until *ret_lock is closed: one process a file. The lock is on a
 * file of its own: SQLite's exclusive mode would shut readers out, and a lock on the database
 * itself would be dropped by any close of it in this process. PS_E_BUSY: another process does. */
int ps_db_file_lock(const struct ps_db_kind *kind, const char *path, int *ret_lock,
                    struct ps_fault *fault) PS_MUST_CHECK;
/* Creates an empty one at `path` with mode 0600, unless it exists. The caller holds the lock. */
int ps_db_file_create(const struct ps_db_kind *kind, const char *path, const char *vfs,
                      struct ps_fault *fault) PS_MUST_CHECK;
/* Opens for writing. All that can be read afterwards is durable, also when an earlier commit failed
 * or its process was killed. PS_E_NEWER. PS_E_BUSY: also when another program has kept the file
 * open since a checkpoint of it failed; the file opens when that program has closed it. */
int ps_db_file_open(const struct ps_db_file_settings *settings, struct ps_db_file **ret_file,
                    struct ps_fault *fault) PS_MUST_CHECK;
void ps_db_file_close(struct ps_db_file *file); /* NULL is allowed */
/* For its statements. */
struct ps_db *ps_db_file_db(struct ps_db_file *file);

int ps_db_file_begin(struct ps_db_file *file, struct ps_fault *fault) PS_MUST_CHECK;
int ps_db_file_commit(struct ps_db_file *file, bool *ret_unknown,
                      struct ps_fault *fault) PS_MUST_CHECK;
/* Instead of a commit, after an error of a statement. */
void ps_db_file_rollback(struct ps_db_file *file);
/* Returns some of the pages of deleted rows to the disk, in a transaction of its own: 1 = there are
 * more, 0 = none. For a kind that does not shrink, and for older files: 0; their pages are used
 * again. *ret_unknown as of ps_db_file_commit. */
int ps_db_file_shrink(struct ps_db_file *file, bool *ret_unknown,
                      struct ps_fault *fault) PS_MUST_CHECK;
/* Call it after each transaction: moves committed pages from the WAL into the database when enough
 * have gathered, on a thread of its own. An error loses nothing, but the disk is failing. */
int ps_db_file_tidy(struct ps_db_file *file, struct ps_fault *fault) PS_MUST_CHECK;

/* A connection that only reads, beside the writer or without one. Close it soon: while it is open
 * a file whose checkpoint has failed cannot be opened again. PS_E_NOT_FOUND, PS_E_NEWER. */
int ps_db_file_read(const struct ps_db_file_settings *settings, struct ps_db **ret_db,
                    struct ps_fault *fault) PS_MUST_CHECK;

#endif
