/* The journal's file: everything that knows SQLite. One thread at a time. What goes wrong is told
 * in `fault` (NULL is allowed): what, and what a person can do about it.
 *
 * Errors of all functions: PS_E_IO, PS_E_READ_ONLY, PS_E_BUSY (another program holds a lock in it),
 * PS_E_CORRUPT, PS_E_NOMEM, PS_E_PERMISSION. */
#ifndef OQ_JOURNAL_FILE_H
#define OQ_JOURNAL_FILE_H

#include "queue/log_journal.h"

struct oq_file;

/* Room that a path leaves in PATH_MAX for what is put behind it. */
#define OQ_FILE_SUFFIX_MAX 16

/* Makes an empty journal at `path`, unless there is one. `vfs` NULL = SQLite's default. The caller
 * holds the journal's lock. */
int oq_file_create(const char *path, const char *vfs, struct ps_fault *fault) PS_MUST_CHECK;

/* Opens for writing. All that can be read afterwards is durable, also when an earlier commit failed
 * or its process was killed. PS_E_NEWER. */
int oq_file_open(const char *path, const char *vfs, struct oq_file **ret_file,
                 struct ps_fault *fault) PS_MUST_CHECK;
void oq_file_close(struct oq_file *file); /* NULL is allowed */

/* Gives all records after `after` to `fn`, which returns 0 to go on, else its value is returned.
 * PS_E_CORRUPT also when a number is missing, `after` itself included (0 = from the start).
 * *ret_last = the last number. */
int oq_file_read(struct oq_file *file, int64_t after,
                 int (*fn)(int64_t seq, struct ps_str json, struct ps_fault *fault, void *ctx),
                 void *ctx, int64_t *ret_last, struct ps_fault *fault) PS_MUST_CHECK;

/* A transaction: begin, note, inserts, flush, commit. An error of all but commit is definite: after
 * oq_file_rollback nothing of it is in the file, nor ever will be. An error of commit is not: the
 * transaction may be there after the next open. After any error the file is to be closed and opened
 * again. */
enum oq_file_note { OQ_FILE_NO_NOTE, OQ_FILE_STARTED, OQ_FILE_RECOVERED };
int oq_file_begin(struct oq_file *file, enum oq_file_note note,
                  struct ps_fault *fault) PS_MUST_CHECK;
int oq_file_insert(struct oq_file *file, int64_t seq, struct ps_str sale, struct ps_str json,
                   struct ps_fault *fault) PS_MUST_CHECK;
int oq_file_flush(struct oq_file *file, struct ps_fault *fault) PS_MUST_CHECK;
int oq_file_commit(struct oq_file *file, struct ps_fault *fault) PS_MUST_CHECK;
void oq_file_rollback(struct oq_file *file);

/* Between transactions: moves committed pages from the WAL into the database when enough have
 * gathered. An error loses nothing, but the disk is failing. */
int oq_file_tidy(struct oq_file *file, struct ps_fault *fault) PS_MUST_CHECK;

#endif
