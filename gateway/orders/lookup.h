/* Reading orders back, for their own buyers. */
#ifndef GW_LOOKUP_H
#define GW_LOOKUP_H

#include "gateway/visit.h"

/* GET /v1/orders/{id}: 404 when there is none, or it is another user's. */
void gw_lookup_order(struct gw_visit *visit, const struct ps_uuid *id);
/* GET /v1/sales/{sale}/orders: the caller's newest orders there, newest first; with ?before={id}
 * those that are older than this one of his. */
void gw_lookup_own(struct gw_visit *visit, const struct gw_sale *sale);

#endif
