/* The lists behind the deadlines: one ring a kind. Because a kind has one delay and time does not
 * go back, an entry that is set now expires after all others of its kind, and goes to the end. */
#include "gateway/front/deadline.h"

void gw_deadlines_init(struct gw_deadlines *deadlines)
{
    for (size_t i = 0; i < GW_DEADLINE_KINDS; i++)
        deadlines->list[i].prev = deadlines->list[i].next = &deadlines->list[i];
}

void gw_deadline_init(struct gw_deadline *entry)
{
    *entry = (struct gw_deadline){.kind = GW_DEADLINE_NONE};
}

void gw_deadline_set(struct gw_deadlines *deadlines, struct gw_deadline *entry,
                     enum gw_deadline_kind kind, int64_t now_ns)
{
    gw_deadline_clear(entry);
    struct gw_deadline *head = &deadlines->list[kind];
    entry->kind = kind;
    entry->at_ns = now_ns + deadlines->delay_ns[kind];
    entry->prev = head->prev;
    entry->next = head;
    head->prev->next = entry;
    head->prev = entry;
}

void gw_deadline_clear(struct gw_deadline *entry)
{
    if (entry->kind == GW_DEADLINE_NONE)
        return;
    entry->prev->next = entry->next;
    entry->next->prev = entry->prev;
    entry->kind = GW_DEADLINE_NONE;
}

struct gw_deadline *gw_deadline_due(struct gw_deadlines *deadlines, int64_t now_ns)
{
    for (size_t i = 0; i < GW_DEADLINE_KINDS; i++) {
        struct gw_deadline *first = deadlines->list[i].next;
        if (first != &deadlines->list[i] && first->at_ns <= now_ns)
            return first;
    }
    return NULL;
}

int64_t gw_deadline_next_ns(const struct gw_deadlines *deadlines)
{
    int64_t next_ns = INT64_MAX;
    for (size_t i = 0; i < GW_DEADLINE_KINDS; i++) {
        const struct gw_deadline *first = deadlines->list[i].next;
        if (first != &deadlines->list[i] && first->at_ns < next_ns)
            next_ns = first->at_ns;
    }
    return next_ns;
}
