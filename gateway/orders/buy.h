/* Buying: from the gates to the answer, on a worker's thread. */
#ifndef GW_BUY_H
#define GW_BUY_H

#include "gateway/visit.h"

/* POST …/orders: the visit's client and sale are known. */
void gw_buy_start(struct gw_visit *visit, const struct gw_sale *sale);

#endif
