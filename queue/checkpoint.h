/* The fold in a file, so that a start need not read the whole log: fold.checkpoint holds the fold
 * as it was at one moment, and for each partition the mark of the last record in it (log_mark.h).
 * A log that has the marked records where the marks say holds all that the file holds, in the same
 * order; only what lies behind is read.
 *
 * Writing is a cut through a fold that continues to change:
 *
 *     oq_cut_begin    the log's thread, in a call (oq_log_call): notes names, totals, epochs and
 *                     how many orders there are. From then on it also notes whose state changes
 *     oq_cut_write    another thread: the orders, to <path>.new. It blocks on the disk
 *     oq_cut_end      the log's thread, in a call: no further change is noted
 *     oq_cut_publish  the other thread: which orders were still accepted at the cut, the host's
 *                     notes, a digest over all; then <path>.new takes the place of <path>
 *
 * While a cut lasts, nothing that the fold has retired is freed.
 *
 * A file that is torn, of another version, or wrong in any byte is refused by its digest, before
 * anything of it is used. Numbers lie in it as this machine keeps them: it is never carried to
 * another one. */
#ifndef OQ_CHECKPOINT_H
#define OQ_CHECKPOINT_H

#include "common/err.h"
#include "queue/fold.h"
#include "queue/log_mark.h"

struct oq_cut;

/* `marks` of the partitions 0 .. count - 1, as of now. PS_E_BUSY: another cut is not over.
 * PS_E_NOMEM. */
int oq_cut_begin(struct oq_fold *fold, const struct oq_mark *marks, uint32_t count,
                 struct oq_cut **ret_cut) PS_MUST_CHECK;
/* PS_E_FULL, PS_E_IO, PS_E_READ_ONLY, PS_E_PERMISSION: `fault` says what is wrong. End the cut in
 * any case. */
int oq_cut_write(struct oq_cut *cut, const char *path, struct ps_fault *fault) PS_MUST_CHECK;
void oq_cut_end(struct oq_cut *cut);
/* `notes` (up to OQ_NOTES_MAX bytes) come back with the file. Errors as of oq_cut_write, and
 * PS_E_NOMEM when a change could not be noted. */
#define OQ_NOTES_MAX ((size_t)256 * 1024 * 1024)
int oq_cut_publish(struct oq_cut *cut, struct ps_str notes, struct ps_fault *fault) PS_MUST_CHECK;
/* Frees a cut that is ended, or was never written; removes an unpublished file. NULL is allowed.
 * Any thread. */
void oq_cut_free(struct oq_cut *cut);

/* For the fold: this order's state is about to change. */
void oq_cut_note(struct oq_cut *cut, const struct oq_order *order);

/* --- Reading --- */

struct oq_checkpoint;

/* Reads and checks the whole file. PS_E_NOT_FOUND: there is none. PS_E_INVALID: it has another
 * version. PS_E_CORRUPT: it is damaged. PS_E_PERMISSION, PS_E_IO, PS_E_NOMEM. */
int oq_checkpoint_open(const char *path, struct oq_checkpoint **ret_checkpoint,
                       struct ps_fault *fault) PS_MUST_CHECK;
void oq_checkpoint_free(struct oq_checkpoint *checkpoint); /* NULL is allowed */
/* Of the partitions 0 .. *ret_count - 1. */
const struct oq_mark *oq_checkpoint_marks(const struct oq_checkpoint *checkpoint,
                                          uint32_t *ret_count);
struct ps_str oq_checkpoint_notes(const struct oq_checkpoint *checkpoint);
/* Fills a fold to which nothing was applied yet; on its writer's thread. Readers see it grow.
 * PS_E_NOMEM: it is filled in part. */
int oq_checkpoint_load(const struct oq_checkpoint *checkpoint, struct oq_fold *fold) PS_MUST_CHECK;

#endif
