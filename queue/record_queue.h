/* The input of a log: a bounded queue of records that many threads append to and the log's thread
 * takes in batches. A record is encoded once, by the thread that appends it, straight into its
 * place in the queue, and is read there until its commit is over: nothing is copied or allocated
 * again. */
#ifndef OQ_RECORD_QUEUE_H
#define OQ_RECORD_QUEUE_H

#include "queue/log.h"

/* All strings of the largest event together. */
#define OQ_EVENT_STRINGS_MAX                                                                       \
    (OQ_ADJUST_KEY_MAX + 2 * PS_NAME_MAX + PS_USER_MAX + PS_KEY_MAX + OQ_TRACE_LEN +               \
     OQ_REQUEST_MAX + OQ_BY_MAX + OQ_NOTE_MAX + OQ_GATEWAY_MAX + 2 * OQ_HASH_LEN)

/* A record in memory of its own: `json` and the strings of `event` point into `text`, or into
 * `more` for the one kind that is longer. Do not copy the struct (oq_record_copy does). */
struct oq_record {
    void (*call)(void *arg); /* not NULL: a call, not a record */
    void *arg;
    uint32_t partition; /* as appended */
    struct oq_ticket ticket;
    struct oq_event event;
    struct ps_str json; /* .len == 0: empty, to be skipped */
    size_t text_len;
    char *more; /* heap; NULL for nearly all */
    char text[OQ_EVENT_TEXT_MAX + OQ_EVENT_STRINGS_MAX];
};

/* Copies and encodes `event`; what is in `record` is overwritten. PS_E_INVALID: it is not a valid
 * one, or of a type that this version does not write. PS_E_NOMEM: only of a sale.archived. */
int oq_record_fill(struct oq_record *record, const struct oq_event *event) PS_MUST_CHECK;
/* `record` must be empty. Takes over the memory that `from` owns; `from` may be read as long as
 * that lives. */
void oq_record_copy(struct oq_record *record, struct oq_record *from);
/* Frees the memory that it owns: needed only if it may be a sale.archived. */
void oq_record_done(struct oq_record *record);

struct oq_record_queue;

/* `capacity` is rounded up to a power of two. PS_E_NOMEM, PS_E_INVALID, PS_E_IO. */
int oq_record_queue_new(size_t capacity, struct oq_record_queue **ret_queue) PS_MUST_CHECK;
void oq_record_queue_free(struct oq_record_queue *queue); /* NULL is allowed */

/* --- Any thread, no lock, no wait. PS_E_FULL, PS_E_CLOSED: nothing was queued. --- */
/* Also PS_E_INVALID, PS_E_NOMEM. */
int oq_record_queue_put(struct oq_record_queue *queue, uint32_t partition,
                        const struct oq_event *event, const struct oq_ticket *ticket) PS_MUST_CHECK;
int oq_record_queue_call(struct oq_record_queue *queue, void (*call)(void *arg),
                         void *arg) PS_MUST_CHECK;
/* From now on every put is refused. What was taken before is still returned. */
void oq_record_queue_close(struct oq_record_queue *queue);
/* Places in use. Relaxed. */
size_t oq_record_queue_count(const struct oq_record_queue *queue);
size_t oq_record_queue_capacity(const struct oq_record_queue *queue);

/* --- The log's thread. --- */
/* The oldest record or call not yet taken, or NULL. Valid until the release. */
struct oq_record *oq_record_queue_take(struct oq_record_queue *queue);
/* Releases the places of all that was taken. */
void oq_record_queue_release(struct oq_record_queue *queue);
/* Sleeps until there may be something to take, or the queue was closed, or for `timeout_ms`
 * (negative = for ever). May return early. */
void oq_record_queue_wait(struct oq_record_queue *queue, int timeout_ms);
/* The same, but only a signal or the timeout ends it: for a thread that cannot take more now. */
void oq_record_queue_rest(struct oq_record_queue *queue, int timeout_ms);
/* An eventfd. Another source of work for the thread, such as a library, adds 1 to it, which ends
 * its wait or rest, or the next one. */
int oq_record_queue_wakeup(const struct oq_record_queue *queue);
/* Closed, and nothing is left or can come. */
bool oq_record_queue_ended(const struct oq_record_queue *queue);

#endif
