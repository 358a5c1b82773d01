/* The keeper: gives back what buyers have reserved and not paid, by records. On the control thread.
 */
#ifndef SALE_EXPIRY_H
#define SALE_EXPIRY_H

#include "gateway/control.h"

int sale_expiry_new(struct gw_control *control, struct sale_expiry **ret_keeper) PS_MUST_CHECK;
void sale_expiry_free(struct sale_expiry *keeper); /* NULL is allowed */
/* Each 100 ms; works each 250 ms. */
void sale_expiry_tick(struct sale_expiry *keeper);

#endif
