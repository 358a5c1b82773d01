/* The journal's file: a db_file.h of records; see there for errors and threads. */
#ifndef OQ_JOURNAL_FILE_H
#define OQ_JOURNAL_FILE_H

#include "common/db/db_file.h"
#include "queue/log_journal.h"

/* To lock, create and open it. */
extern const struct ps_db_kind oq_journal_kind;

/* Brings a file of an older format to the present one, in one transaction. */
int oq_journal_file_upgrade(struct ps_db_file *file, struct ps_fault *fault) PS_MUST_CHECK;

/* Passes all records after `after` to `fn`, which returns 0 to continue; another value is returned.
 * PS_E_CORRUPT also if a number is missing that was not deleted with its sale, `after` itself
 * included (0 = from the start). *ret_last = the last number. */
typedef int oq_journal_file_fn(int64_t seq, struct ps_str json, struct ps_fault *fault, void *ctx);
int oq_journal_file_read(struct ps_db_file *file, int64_t after, oq_journal_file_fn *fn, void *ctx,
                         int64_t *ret_last, struct ps_fault *fault) PS_MUST_CHECK;

/* Gives the record of this number to `fn`. PS_E_NOT_FOUND: there is none. */
int oq_journal_file_record(struct ps_db_file *file, int64_t seq, oq_journal_file_fn *fn, void *ctx,
                           struct ps_fault *fault) PS_MUST_CHECK;

/* Begins a transaction that also writes this note. */
enum oq_journal_note { OQ_JOURNAL_NO_NOTE, OQ_JOURNAL_STARTED, OQ_JOURNAL_RECOVERED };
int oq_journal_file_begin(struct ps_db_file *file, enum oq_journal_note note,
                          struct ps_fault *fault) PS_MUST_CHECK;
int oq_journal_file_insert(struct ps_db_file *file, int64_t seq, struct ps_str sale,
                           struct ps_str json, struct ps_fault *fault) PS_MUST_CHECK;

/* In a transaction: notes that `count` numbers up to `upto` are missing because their records
 * were deleted with their sales: by oq_journal_file_drop, or in the file from which this one was
 * copied. */
int oq_journal_file_skip(struct ps_db_file *file, int64_t count, int64_t upto,
                         struct ps_fault *fault) PS_MUST_CHECK;
/* The highest existing number up to `upto`; 0 = none. */
int oq_journal_file_below(struct ps_db_file *file, int64_t upto, int64_t *ret_seq,
                          struct ps_fault *fault) PS_MUST_CHECK;
/* In the transaction that inserts a sale.archived: marks the sale's records up to `upto` for
 * deletion. */
int oq_journal_file_archive(struct ps_db_file *file, struct ps_str sale, int64_t upto,
                            struct ps_fault *fault) PS_MUST_CHECK;
/* Deletes some records of an archived sale, the latest first, in a transaction of its own; when
 * there are none left, returns some space to the disk. 1 = there is more to do, 0 = nothing is
 * left. *ret_unknown as of ps_db_file_commit. After a crash the beginning of the sale's history is
 * left, and is deleted after the next start. */
int oq_journal_file_drop(struct ps_db_file *file, bool *ret_unknown,
                         struct ps_fault *fault) PS_MUST_CHECK;

#endif
