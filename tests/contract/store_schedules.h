/* Random schedules of one thread against the plain model. */
#ifndef STORE_SCHEDULES_H
#define STORE_SCHEDULES_H

#include "tests/contract/store_fixture.h"

/* Asserts, step by step, that the store answers and counts as the model does. The seed is printed;
 * PENSTOCK_TEST_SEED sets it. */
void store_schedules(struct store_fixture *fx);

#endif
