/* Random schedules of one thread against the plain model. */
#ifndef STORE_SCHEDULES_H
#define STORE_SCHEDULES_H

#include "common/clock.h"
#include "inventory/store.h"

/* Asserts, step by step, that `store`, whose clock is `now`, answers and counts as the model does.
 * The seed is printed; PENSTOCK_TEST_SEED sets it. */
void store_schedules(struct inv_store *store, struct ps_clock_manual *now);

#endif
