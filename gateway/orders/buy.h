/* Buying: from the gates to the answer, on a worker's thread. */
#ifndef ORD_BUY_H
#define ORD_BUY_H

#include "gateway/orders/request.h"

/* POST …/orders: the visit's client and sale are known. */
void ord_buy_start(struct ord_request *visit, const struct cfg_sale *sale);

#endif
