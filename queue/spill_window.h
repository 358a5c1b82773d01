/* The orders at the front of a spill, in memory while they are drained: which of them must still be
 * sent, and whose outcome the log's view has shown. One thread at a time. */
#ifndef OQ_SPILL_WINDOW_H
#define OQ_SPILL_WINDOW_H

#include "queue/record_queue.h"

#define OQ_SPILL_WINDOW 1024

enum oq_spill_state { OQ_SPILL_WAITING, OQ_SPILL_SENT, OQ_SPILL_DECIDED };

struct oq_spill_entry {
    int64_t seq; /* in the file; rises by one from entry to entry */
    enum oq_spill_state state;
    struct oq_record record;
};

struct oq_spill_window {
    size_t count;   /* of entry[], in the order of the file */
    size_t waiting; /* of these, how many are waiting */
    size_t undecided;
    struct oq_spill_entry entry[OQ_SPILL_WINDOW];
    struct oq_spill_entry *by_order[OQ_SPILL_WINDOW]; /* sorted by order id */
};

void oq_spill_window_empty(struct oq_spill_window *window);
/* Only while it is not full; then one oq_spill_window_sort before the rest is used. PS_E_INVALID.
 */
int oq_spill_window_add(struct oq_spill_window *window, int64_t seq,
                        const struct oq_event *event) PS_MUST_CHECK;
void oq_spill_window_sort(struct oq_spill_window *window);

/* NULL: it is none of these. */
struct oq_spill_entry *oq_spill_window_at(struct oq_spill_window *window, int64_t seq);
void oq_spill_window_set(struct oq_spill_window *window, struct oq_spill_entry *entry,
                         enum oq_spill_state state);
/* A record that was read back. */
void oq_spill_window_note(struct oq_spill_window *window, const struct oq_event *event);

#endif
