/* The thread that alone touches a spill's file, so that a slow disk holds up no view. It and the
 * log's thread hand each other two things, each at any time in the hands of one of them:
 *   the batch   the writer commits it, the log's thread reports its outcome
 *   the window  the front of the file: the writer reads it in, the log's thread drains it; then the
 *               writer drops it from the file, when it can, and reads the next */
#ifndef OQ_SPILL_WRITER_H
#define OQ_SPILL_WRITER_H

#include "queue/log_spill.h"
#include "queue/spill_window.h"

struct oq_spill_writer;

struct oq_spill_batch {
    const struct oq_record **record;
    size_t count;
    enum oq_outcome outcome; /* SPILLED, REFUSED or UNKNOWN */
};

/* Opens the file and reads the first window. Errors as of oq_spill_open. */
int oq_spill_writer_open(const struct oq_spill_settings *settings,
                         struct oq_spill_writer **ret_writer, struct ps_fault *fault) PS_MUST_CHECK;
/* Starts the thread. `wake(ctx)` is called on it when there is something for the log's thread. */
int oq_spill_writer_start(struct oq_spill_writer *writer, void (*wake)(void *ctx), void *ctx,
                          struct ps_fault *fault) PS_MUST_CHECK;
/* After the log's thread has ended. PS_E_TIMEOUT: a write to the disk hangs, `timeout_ms` and 2 s
 * long; oq_spill_writer_free then does nothing. */
int oq_spill_writer_stop(struct oq_spill_writer *writer, int64_t timeout_ms) PS_MUST_CHECK;
void oq_spill_writer_free(struct oq_spill_writer *writer); /* NULL is allowed */

/* --- Any thread, relaxed. --- */
uint64_t oq_spill_writer_stored(const struct oq_spill_writer *writer); /* orders in the file */
/* Of these: not in a drained window. */
uint64_t oq_spill_writer_undecided(const struct oq_spill_writer *writer);
bool oq_spill_writer_broken(const struct oq_spill_writer *writer); /* it takes nothing */

/* --- The log's thread. --- */
/* Takes a copy, for a batch. PS_E_NOMEM; PS_E_INVALID. */
int oq_spill_writer_put(struct oq_spill_writer *writer, const struct oq_event *event,
                        const struct oq_ticket *ticket) PS_MUST_CHECK;
/* Does it keep up? In any case it takes what Kafka refuses of all that is in flight. */
bool oq_spill_writer_has_room(struct oq_spill_writer *writer);
/* NULL: there is none, or the writer has it. */
const struct oq_spill_batch *oq_spill_writer_batch(struct oq_spill_writer *writer);
void oq_spill_writer_reported(struct oq_spill_writer *writer);
struct oq_spill_window *oq_spill_writer_window(struct oq_spill_writer *writer);
void oq_spill_writer_drained(struct oq_spill_writer *writer);
/* A sentence about the file for operators, or NULL. */
const char *oq_spill_writer_notice(struct oq_spill_writer *writer);
void oq_spill_writer_noticed(struct oq_spill_writer *writer);

#endif
