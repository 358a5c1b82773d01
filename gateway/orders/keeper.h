/* The keeper: gives back what buyers have reserved and not paid, by records. On the control thread.
 */
#ifndef GW_KEEPER_H
#define GW_KEEPER_H

#include "gateway/control/control.h"

int gw_keeper_new(struct gw_control *control, struct gw_keeper **ret_keeper) PS_MUST_CHECK;
void gw_keeper_free(struct gw_keeper *keeper); /* NULL is allowed */
/* Each 100 ms; works each 250 ms. */
void gw_keeper_tick(struct gw_keeper *keeper);

#endif
