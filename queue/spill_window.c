/* The front of a spill: an array in the order of the file, and beside it one sorted by order id,
 * for what is read back. An order may stand in it twice, if it was spilled twice.
 *
 * What must hold: `waiting` and `undecided` count the entries; a decided one stays so. */
#include "queue/spill_window.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void oq_spill_window_empty(struct oq_spill_window *window)
{
    window->count = window->waiting = window->undecided = 0;
}

int oq_spill_window_add(struct oq_spill_window *window, int64_t seq, const struct oq_event *event)
{
    assert(window->count < OQ_SPILL_WINDOW);
    struct oq_spill_entry *entry = &window->entry[window->count];
    int err = oq_record_fill(&entry->record, event);
    if (err != 0)
        return err;
    entry->seq = seq;
    entry->state = OQ_SPILL_WAITING;
    window->by_order[window->count++] = entry;
    window->waiting++;
    window->undecided++;
    return 0;
}

static int by_order(const void *a, const void *b)
{
    const struct oq_spill_entry *const *left = a;
    const struct oq_spill_entry *const *right = b;
    return memcmp(&(*left)->record.event.order_id, &(*right)->record.event.order_id,
                  sizeof(struct ps_uuid));
}

void oq_spill_window_sort(struct oq_spill_window *window)
{
    qsort(window->by_order, window->count, sizeof(struct oq_spill_entry *), by_order);
}

struct oq_spill_entry *oq_spill_window_at(struct oq_spill_window *window, int64_t seq)
{
    if (window->count == 0 || seq < window->entry[0].seq ||
        seq > window->entry[window->count - 1].seq)
        return NULL;
    return &window->entry[seq - window->entry[0].seq];
}

void oq_spill_window_set(struct oq_spill_window *window, struct oq_spill_entry *entry,
                         enum oq_spill_state state)
{
    if (entry->state == OQ_SPILL_DECIDED)
        return;
    if (entry->state == OQ_SPILL_WAITING)
        window->waiting--;
    if (state == OQ_SPILL_WAITING)
        window->waiting++;
    if (state == OQ_SPILL_DECIDED)
        window->undecided--;
    entry->state = state;
}

/* The first whose order id is not less. */
static size_t lower_bound(const struct oq_spill_window *window, const struct ps_uuid *order)
{
    size_t low = 0;
    size_t high = window->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(&window->by_order[middle]->record.event.order_id, order, sizeof *order) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void oq_spill_window_note(struct oq_spill_window *window, const struct oq_event *event)
{
    bool decides = event->type == OQ_ACCEPTED || event->type == OQ_RELEASED;
    if (window->undecided == 0 || !decides || !event->has_order_id)
        return;
    for (size_t i = lower_bound(window, &event->order_id);
         i < window->count &&
         ps_uuid_equal(&window->by_order[i]->record.event.order_id, &event->order_id);
         i++)
        oq_spill_window_set(window, window->by_order[i], OQ_SPILL_DECIDED);
}
