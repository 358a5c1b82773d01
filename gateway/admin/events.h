/* GET /admin/v1/events: the state of this gateway once a second, as a stream of server-sent events
 * (HTML, section 9.2). Each event is the whole state, so a reader that missed some goes on with the
 * newest. */
#ifndef OP_EVENTS_H
#define OP_EVENTS_H

#include "gateway/admin/admin_internal.h"

#define OP_READERS_MAX 64
/* With one token: whoever has it keeps nobody else out. */
#define OP_READERS_TOKEN 16
#define OP_EVENT_MAX     4096 /* bytes of an event as it is sent */

struct op_events;

/* PS_E_NOMEM. */
int op_events_new(struct op_admin *admin, struct op_events **ret_events) PS_MUST_CHECK;
/* The loop has a handle of them from now on, until op_events_stop. */
void op_events_start(struct op_events *events);
/* Ends all streams; its handle calls op_release. */
void op_events_stop(struct op_events *events);
void op_events_free(struct op_events *events); /* NULL is allowed */

/* --- events_text.c --- */

struct op_state; /* what was read a second ago, for figures by the second */

struct op_state *op_state_new(const struct op_admin *admin); /* NULL: out of memory */
void op_state_free(struct op_state *state);                  /* NULL is allowed */
/* Nobody has read for a while: figures by the second begin anew. */
void op_state_forget(struct op_state *state);
/* Reads the state, and prints it as JSON of at most `max` bytes, in one line. Heap. NULL: out of
 * memory. */
char *op_state_text(struct op_state *state, size_t max);

#endif
