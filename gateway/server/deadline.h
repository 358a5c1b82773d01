/* Deadlines of connections. A connection has at most one at a time. Each kind has one constant
 * delay, so each kind is a list in order of expiry: setting, clearing and finding the next one cost
 * a few instructions, however many there are. The entries belong to the caller. One thread. */
#ifndef SRV_DEADLINE_H
#define SRV_DEADLINE_H

#include "common/defs.h"

enum srv_deadline_kind {
    SRV_DEADLINE_HEAD,         /* accepted, the first head is not complete */
    SRV_DEADLINE_IDLE,         /* after an answer: the next head is not complete */
    SRV_DEADLINE_IDLE_TRUSTED, /* the same, for a trusted proxy */
    SRV_DEADLINE_BODY,         /* head complete, body not */
    SRV_DEADLINE_SEND,         /* answered: the client has not read all of it */
    SRV_DEADLINE_LINGER,       /* our end is shut down, the client's is not */
    SRV_DEADLINE_IDLE_SHORT,   /* as IDLE, while idle connections are closed early; a head that has
                                  begun gets its own deadline then */
    SRV_DEADLINE_PROXY,        /* accepted, the PROXY header is not complete */
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

/* The caller sets the delays of `deadlines`, before or after. */
void srv_deadlines_init(struct srv_deadlines *deadlines);
void srv_deadline_init(struct srv_deadline *entry);
/* Replaces the deadline that `entry` had. `now_ns` must not go back. */
void srv_deadline_set(struct srv_deadlines *deadlines, struct srv_deadline *entry,
                      enum srv_deadline_kind kind, int64_t now_ns);
void srv_deadline_clear(struct srv_deadline *entry); /* nothing when it has none */
/* Of this kind: the one that expires first; the one after `entry`. NULL: none. */
struct srv_deadline *srv_deadline_next(const struct srv_deadlines *deadlines,
                                       enum srv_deadline_kind kind,
                                       const struct srv_deadline *entry);
/* The deadline that expired first, or NULL. It stays in its list. */
struct srv_deadline *srv_deadline_due(struct srv_deadlines *deadlines, int64_t now_ns);
/* When the next deadline expires; INT64_MAX: there is none. */
int64_t srv_deadline_next_ns(const struct srv_deadlines *deadlines);

#endif
