/* One ring for each kind of deadline. A kind has one delay and time does not go back, so an entry
 * that is set now expires after all others of its kind, and goes to the end. */
#include "gateway/server/deadline.h"

void srv_deadlines_init(struct srv_deadlines *deadlines)
{
    for (size_t i = 0; i < SRV_DEADLINE_KINDS; i++)
        deadlines->list[i].prev = deadlines->list[i].next = &deadlines->list[i];
}

void srv_deadline_init(struct srv_deadline *entry)
{
    *entry = (struct srv_deadline){.kind = SRV_DEADLINE_NONE};
}

void srv_deadline_set(struct srv_deadlines *deadlines, struct srv_deadline *entry,
                      enum srv_deadline_kind kind, int64_t now_ns)
{
    srv_deadline_clear(entry);
    struct srv_deadline *head = &deadlines->list[kind];
    entry->kind = kind;
    entry->at_ns = now_ns + deadlines->delay_ns[kind];
    entry->prev = head->prev;
    entry->next = head;
    head->prev->next = entry;
    head->prev = entry;
}

void srv_deadline_clear(struct srv_deadline *entry)
{
    if (entry->kind == SRV_DEADLINE_NONE)
        return;
    entry->prev->next = entry->next;
    entry->next->prev = entry->prev;
    entry->kind = SRV_DEADLINE_NONE;
}

struct srv_deadline *srv_deadline_next(const struct srv_deadlines *deadlines,
                                       enum srv_deadline_kind kind,
                                       const struct srv_deadline *entry)
{
    const struct srv_deadline *head = &deadlines->list[kind];
    struct srv_deadline *next = entry != NULL ? entry->next : head->next;

    return next != head ? next : NULL;
}

static struct srv_deadline *first_of(const struct srv_deadlines *deadlines)
{
    struct srv_deadline *first = NULL;
    for (size_t i = 0; i < SRV_DEADLINE_KINDS; i++) {
        struct srv_deadline *entry = deadlines->list[i].next;
        if (entry != &deadlines->list[i] && (first == NULL || entry->at_ns < first->at_ns))
            first = entry;
    }
    return first;
}

struct srv_deadline *srv_deadline_due(struct srv_deadlines *deadlines, int64_t now_ns)
{
    struct srv_deadline *first = first_of(deadlines);
    return first != NULL && first->at_ns <= now_ns ? first : NULL;
}

int64_t srv_deadline_next_ns(const struct srv_deadlines *deadlines)
{
    const struct srv_deadline *first = first_of(deadlines);
    return first != NULL ? first->at_ns : INT64_MAX;
}
