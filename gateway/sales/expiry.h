/* Expiry: returns the units of unpaid orders to sale, by records. On the control thread. */
#ifndef SALE_EXPIRY_H
#define SALE_EXPIRY_H

#include "common/err.h"

struct sale_expiry;
struct sale_runs;

int sale_expiry_new(struct sale_runs *runs, struct sale_expiry **ret_expiry) PS_MUST_CHECK;
void sale_expiry_free(struct sale_expiry *expiry); /* NULL is allowed */
/* Each 100 ms; works each 250 ms. */
void sale_expiry_tick(struct sale_expiry *expiry);

#endif
