/* A page on loopback that shows the rehearsal while it runs: the console's first page, with what
 * the buyers were told beside what the gateway sees. It is served on the client's loop, one answer
 * a connection. One thread, the loop's. */
#ifndef LT_LIVE_H
#define LT_LIVE_H

#include "loadtest/admin.h"
#include "loadtest/tally.h"

#include <uv.h>

struct lt_live;

/* What it shows. */
struct lt_live_source {
    const struct lt_admin *admin;
    const char *sale;
    struct lt_tally *tally;
};

/* Listens on 127.0.0.1. `admin`, `sale` and `tally` outlive it. PS_E_BUSY: the port is taken;
 * PS_E_PERMISSION, PS_E_NOMEM, PS_E_IO. */
int lt_live_new(uv_loop_t *loop, uint16_t port, const struct lt_live_source *source,
                struct lt_live **ret_live, struct ps_fault *fault) PS_MUST_CHECK;
/* Another second of the rehearsal is over. */
void lt_live_second(struct lt_live *live, const struct lt_progress *progress);
/* Closes everything, and waits for a question that is under way (turns the loop until then). NULL
 * is allowed. */
void lt_live_free(struct lt_live *live);

#endif
