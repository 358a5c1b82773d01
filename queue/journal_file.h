/* The journal's file: a db_file.h of records. Threads and errors as there. */
#ifndef OQ_JOURNAL_FILE_H
#define OQ_JOURNAL_FILE_H

#include "queue/db_file.h"
#include "queue/log_journal.h"

struct oq_file;

/* As oq_db_lock. */
int oq_file_lock(const char *path, int *ret_lock, struct ps_fault *fault) PS_MUST_CHECK;

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

/* What it is made of, for flush, commit, rollback and tidy. */
struct oq_db *oq_file_db(struct oq_file *file);
/* Begin of a transaction (see db_file.h) that also writes this note. */
enum oq_file_note { OQ_FILE_NO_NOTE, OQ_FILE_STARTED, OQ_FILE_RECOVERED };
int oq_file_begin(struct oq_file *file, enum oq_file_note note,
                  struct ps_fault *fault) PS_MUST_CHECK;
int oq_file_insert(struct oq_file *file, int64_t seq, struct ps_str sale, struct ps_str json,
                   struct ps_fault *fault) PS_MUST_CHECK;

#endif
