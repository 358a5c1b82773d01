/* The spill's file: a db_file.h of accepted orders that wait for Kafka. Threads and errors as
 * there. Orders are numbered in order of arrival, without a gap; they leave from the front. */
#ifndef OQ_SPILL_FILE_H
#define OQ_SPILL_FILE_H

#include "common/db/db_file.h"
#include "queue/record_queue.h"

/* To lock, create and open it. */
extern const struct ps_db_kind oq_spill_kind;

/* *ret_last = the last number, *ret_count = how many there are; with none, *ret_last is as it was.
 */
int oq_spill_file_count(struct ps_db_file *file, int64_t *ret_last, uint64_t *ret_count,
                        struct ps_fault *fault) PS_MUST_CHECK;

/* Each is a transaction. After an error, close the file and open it again; *ret_unknown: it may
 * turn out to have been done; otherwise it certainly was not. */
/* `first` is the number of the first one; with no orders at all, this tests whether the file can be
 * written. */
int oq_spill_file_write(struct ps_db_file *file, int64_t first,
                        const struct oq_record *const *records, size_t count, bool *ret_unknown,
                        struct ps_fault *fault) PS_MUST_CHECK;
/* Forgets the first ones, up to `last`. */
int oq_spill_file_drop(struct ps_db_file *file, int64_t last, struct ps_fault *fault) PS_MUST_CHECK;

/* Passes the first orders after number `after` to `fn`, `limit` at most. PS_E_CORRUPT: one cannot
 * be read, or is no accepted order, or `fn` does not accept it (it returns 0 for one that it
 * accepts); or the numbers have a gap. */
typedef int oq_spill_file_fn(int64_t seq, const struct oq_event *event, void *ctx);
int oq_spill_file_read(struct ps_db_file *file, int64_t after, size_t limit, oq_spill_file_fn *fn,
                       void *ctx, struct ps_fault *fault) PS_MUST_CHECK;

#endif
