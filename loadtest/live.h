/* A page on loopback that shows the rehearsal while it runs. It is served on the client's loop, one
 * answer a connection; what it shows is exchanged once a second. One thread, the loop's. */
#ifndef LT_LIVE_H
#define LT_LIVE_H

#include "common/err.h"

#include <uv.h>

struct lt_live;

/* Listens on 127.0.0.1. PS_E_BUSY: the port is taken; PS_E_PERMISSION, PS_E_NOMEM, PS_E_IO. */
int lt_live_new(uv_loop_t *loop, uint16_t port, struct lt_live **ret_live,
                struct ps_fault *fault) PS_MUST_CHECK;
/* What the page shows from now on: JSON text, heap, which is taken over. NULL: as before. */
void lt_live_show(struct lt_live *live, char *json);
/* Closes everything (turns the loop until that is done). NULL is allowed. */
void lt_live_free(struct lt_live *live);

#endif
