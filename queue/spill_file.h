/* The spill's file: a db_file.h of accepted orders that wait for Kafka. Threads and errors as
 * there. Orders are numbered in the order in which they came, without a gap; they leave from the
 * front. */
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

/* Each is a transaction. After an error the file is to be closed and opened again; *ret_unknown:
 * then it may turn out to have been done, otherwise it surely was not. */
/* `first` is the number of the first one; also with none at all, to see whether it can be done. */
int oq_spill_file_write(struct ps_db_file *file, int64_t first,
                        const struct oq_record *const *records, size_t count, bool *ret_unknown,
                        struct ps_fault *fault) PS_MUST_CHECK;
/* Forgets the first ones, up to `last`. */
int oq_spill_file_drop(struct ps_db_file *file, int64_t last, struct ps_fault *fault) PS_MUST_CHECK;

/* Gives the first ones behind number `after` to `fn`, `limit` at most. PS_E_CORRUPT: one that
 * cannot be read, or is no accepted order, or that `fn` does not take (it returns 0 for one that it
 * takes); or numbers that have a gap. */
typedef int oq_spill_file_fn(int64_t seq, const struct oq_event *event, void *ctx);
int oq_spill_file_read(struct ps_db_file *file, int64_t after, size_t limit, oq_spill_file_fn *fn,
                       void *ctx, struct ps_fault *fault) PS_MUST_CHECK;

#endif
