/* Reading orders back, for their own buyers. */
#ifndef ORD_LOOKUP_H
#define ORD_LOOKUP_H

#include "gateway/orders/request.h"

/* GET /v1/orders/{id}: 404 when there is none, or it is another user's. */
void ord_lookup_order(struct ord_request *visit, const struct ps_uuid *id);
/* GET /v1/sales/{sale}/orders: the caller's newest orders there, newest first; with ?before={id}
 * those that are older than this one of his. */
void ord_lookup_own(struct ord_request *visit, const struct cfg_sale *sale);

#endif
