/* Deadlines of connections. A connection has at most one at a time, and each kind of deadline has
 * one constant delay, so that every kind is a list in order of expiry: setting, clearing and
 * finding the next one cost a few instructions however many there are. Owner: the entries belong to
 * the caller. One thread. */
#ifndef GW_DEADLINE_H
#define GW_DEADLINE_H

#include "common/defs.h"

enum gw_deadline_kind {
    GW_DEADLINE_HEAD,         /* accepted, the first head is not complete */
    GW_DEADLINE_IDLE,         /* kept after an answer, the next head is not complete */
    GW_DEADLINE_IDLE_TRUSTED, /* the same, for a trusted proxy */
    GW_DEADLINE_BODY,         /* head complete, body not */
    GW_DEADLINE_SEND,         /* answered, the client has not taken it all */
    GW_DEADLINE_KINDS,
    GW_DEADLINE_NONE = GW_DEADLINE_KINDS
};

struct gw_deadline {
    struct gw_deadline *prev, *next;
    int64_t at_ns;
    enum gw_deadline_kind kind; /* NONE: in no list */
};

struct gw_deadlines {
    struct gw_deadline
        list[GW_DEADLINE_KINDS]; /* ring heads; .next is the one that expires first */
    int64_t delay_ns[GW_DEADLINE_KINDS];
};

/* The delays of `deadlines` are set by the caller before or after. */
void gw_deadlines_init(struct gw_deadlines *deadlines);
void gw_deadline_init(struct gw_deadline *entry);
/* Replaces the deadline that `entry` had. `now_ns` must not go back. */
void gw_deadline_set(struct gw_deadlines *deadlines, struct gw_deadline *entry,
                     enum gw_deadline_kind kind, int64_t now_ns);
void gw_deadline_clear(struct gw_deadline *entry); /* nothing when it has none */
/* One that has passed, or NULL. It stays in its list. */
struct gw_deadline *gw_deadline_due(struct gw_deadlines *deadlines, int64_t now_ns);
/* When the next one passes; INT64_MAX when there is none. */
int64_t gw_deadline_next_ns(const struct gw_deadlines *deadlines);

#endif
