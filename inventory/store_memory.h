/* The counter in this process, shared by all its threads. */
#ifndef INV_STORE_MEMORY_H
#define INV_STORE_MEMORY_H

#include "common/clock.h"
#include "inventory/store.h"

/* Every call of store.h may come from any thread and is answered at once (never INV_PENDING).
 * `clock` must outlive the store, and be good for every thread that calls. */
int inv_store_memory_new(const struct ps_clock *clock, struct inv_store **ret_store) PS_MUST_CHECK;

#endif
