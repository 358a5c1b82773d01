/* Deadlines of connections. A connection has at most one at a time, and each kind of deadline has
 * one constant delay, so that every kind is a list in order of expiry: setting, clearing and
 * finding the next one cost a few instructions however many there are. Owner: the entries belong to
 * the caller. One thread. */
#ifndef SRV_DEADLINE_H
#define SRV_DEADLINE_H

#include "common/defs.h"

enum srv_deadline_kind {
    SRV_DEADLINE_HEAD,         /* accepted, the first head is not complete */
    SRV_DEADLINE_IDLE,         /* kept after an answer, the next head is not complete */
    SRV_DEADLINE_IDLE_TRUSTED, /* the same, for a trusted proxy */
    SRV_DEADLINE_BODY,         /* head complete, body not */
    SRV_DEADLINE_SEND,         /* answered, the client has not taken it all */
    SRV_DEADLINE_LINGER,       /* our end is shut down, the client's is not */
    SRV_DEADLINE_IDLE_SHORT,   /* as IDLE, while idle connections are not kept for long; a head that
                                  has begun then gets its own time */
    SRV_DEADLINE_KINDS,
    SRV_DEADLINE_NONE = SRV_DEADLINE_KINDS
};

struct srv_deadline {
    struct srv_deadline *prev, *next;
    int64_t at_ns;
    enum srv_deadline_kind kind; /* NONE: in no list */
};

struct srv_deadlines {
    struct srv_deadline
        list[SRV_DEADLINE_KINDS]; /* ring heads; .next is the one that expires first */
    int64_t delay_ns[SRV_DEADLINE_KINDS];
};

/* The delays of `deadlines` are set by the caller before or after. */
void srv_deadlines_init(struct srv_deadlines *deadlines);
void srv_deadline_init(struct srv_deadline *entry);
/* Replaces the deadline that `entry` had. `now_ns` must not go back. */
void srv_deadline_set(struct srv_deadlines *deadlines, struct srv_deadline *entry,
                      enum srv_deadline_kind kind, int64_t now_ns);
void srv_deadline_clear(struct srv_deadline *entry); /* nothing when it has none */
/* Of this kind: the one that expires first, and the one after `entry`; NULL: there is none. */
struct srv_deadline *srv_deadline_next(struct srv_deadlines *deadlines, enum srv_deadline_kind kind,
                                       const struct srv_deadline *entry);
/* The one that has passed for longest, or NULL. It stays in its list. */
struct srv_deadline *srv_deadline_due(struct srv_deadlines *deadlines, int64_t now_ns);
/* When the next one passes; INT64_MAX when there is none. */
int64_t srv_deadline_next_ns(const struct srv_deadlines *deadlines);

#endif
