/* The gateway's events (GET /admin/v1/events), read on the client's loop and passed on whole; it
 * connects again by itself while it is not reached. One thread, the loop's. */
#ifndef LT_FEED_H
#define LT_FEED_H

#include "loadtest/admin.h"

#include <uv.h>

#define LT_EVENT_MAX ((size_t)16 * 1024) /* a longer one is dropped, and the connection with it */

struct lt_feed;

/* `event` is one event with its empty line. */
typedef void lt_event_fn(struct ps_str event, void *ctx);

/* `admin` outlives it. NULL: out of memory. */
struct lt_feed *lt_feed_new(uv_loop_t *loop, const struct lt_admin *admin, lt_event_fn *on_event,
                            void *ctx);
/* Closes everything (turns the loop until that is done). NULL is allowed. */
void lt_feed_free(struct lt_feed *feed);

#endif
