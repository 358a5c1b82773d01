/* What the live page shows: once a second what the buyers were told so far, and what the gateway
 * sees, which a work thread asks it for. One thread, the loop's. */
#ifndef LT_LIVE_FEED_H
#define LT_LIVE_FEED_H

#include "loadtest/admin.h"
#include "loadtest/live.h"
#include "loadtest/tally.h"

struct lt_live_feed;

/* `admin` and `tally` outlive it. PS_E_NOMEM. */
int lt_live_feed_new(uv_loop_t *loop, struct lt_live *live, const struct lt_admin *admin,
                     const char *sale, struct lt_tally *tally,
                     struct lt_live_feed **ret_feed) PS_MUST_CHECK;
/* Another second of the rehearsal is over. */
void lt_live_feed_second(struct lt_live_feed *feed, const struct lt_progress *progress);
/* Waits for a question that is under way. NULL is allowed. */
void lt_live_feed_free(struct lt_live_feed *feed);

#endif
