/* Counter and order log of the kinds that the settings name: memory or Redis, journal or Kafka.
 * Start-up only, on the main thread, which becomes the control thread. */
#ifndef GW_BACKENDS_H
#define GW_BACKENDS_H

#include "gateway/state_dir.h"
#include "gateway/core.h"

/* The process's part of the counter: core->redis, or core->store. PS_E_NOMEM. */
int gw_counter_open(struct gw_core *core) PS_MUST_CHECK;
/* This thread's store, on its loop: the shared one, or a link of its own to Redis, which begins to
 * connect. PS_E_NOMEM, PS_E_IO. */
int gw_counter_store(struct gw_core *core, uv_loop_t *loop,
                     struct inv_store **ret_store) PS_MUST_CHECK;
/* Of a store that gw_counter_store gave, on its thread; what is open is answered. NULL is allowed.
 */
void gw_counter_store_free(struct gw_core *core, struct inv_store *store);
/* After all stores. */
void gw_counter_close(struct gw_core *core);

/* Opens core->log and reads it back through the callbacks of core->events. `fault` says what people
 * can do.
 */
int gw_log_open(struct gw_core *core, const struct gw_state_dir *dir,
                struct ps_fault *fault) PS_MUST_CHECK;

#endif
