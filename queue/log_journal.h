/* The order log in one SQLite file: WAL, synchronous=FULL, one writer thread, one transaction a
 * batch (group commit). */
#ifndef OQ_LOG_JOURNAL_H
#define OQ_LOG_JOURNAL_H

#include "common/clock.h"
#include "queue/log.h"

struct oq_journal_settings {
    const char *path;      /* "…/journal.db"; "<path>.lock" is held with flock while open */
    size_t queue_capacity; /* records, rounded up to a power of two */
    size_t batch_max;      /* most records in a commit */
    int64_t retry_ms;      /* how often a broken journal is tried again: 200 */
    const char *vfs;       /* NULL = SQLite's default (tests pass a faulty one) */
    /* Where reading begins, if the log has that record (on_marks); NULL = at the start. Borrowed
     * for the call of oq_journal_open. */
    const struct oq_mark *mark;
    const struct ps_clock *clock; /* the wall clock of records that the log itself writes */
};

/* Opens or creates, reads everything back through on_record on the calling thread, then starts the
 * writer thread. PS_E_BUSY: another process holds the lock. PS_E_NEWER: made by a newer version,
 * or it has a critical record of one. PS_E_CORRUPT: torn, or no journal. PS_E_READ_ONLY. PS_E_IO.
 * PS_E_NOMEM. `fault` (NULL is allowed) says what is wrong and what to do. What on_record saw
 * before an error is to be thrown away. */
int oq_journal_open(const struct oq_journal_settings *settings,
                    const struct oq_log_callbacks *callbacks, struct oq_log **ret_log,
                    struct ps_fault *fault) PS_MUST_CHECK;

/* Opens an existing journal for reading only, while or without a gateway running. PS_E_NOT_FOUND:
 * there is none; else as above. */
int oq_journal_reader_open(const char *path, struct oq_reader **ret_reader,
                           struct ps_fault *fault) PS_MUST_CHECK;
/* The last seq of such a reader's journal; 0 = it is empty. PS_E_IO, PS_E_CORRUPT, PS_E_BUSY. */
int oq_journal_reader_end(struct oq_reader *reader, int64_t *ret_seq) PS_MUST_CHECK;
/* Up to this seq records may be missing, which were deleted with their sales; 0 = none is. Errors
 * as above. */
int oq_journal_reader_dropped(struct oq_reader *reader, int64_t *ret_seq) PS_MUST_CHECK;

#endif
