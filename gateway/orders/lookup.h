/* Look-ups of orders by their own buyers. A worker's thread. */
#ifndef ORD_LOOKUP_H
#define ORD_LOOKUP_H

#include "gateway/orders/request.h"

/* GET /v1/orders/{id}: 404 if there is none, or it is another user's. */
void ord_lookup_order(struct ord_request *request, const struct ps_uuid *id);

/* A buyer's orders in a sale, newest first; with `before` (the text of an id; .at == NULL: none)
 * only those older than that one. *ret_first is the newest; the next is its member `older`. Show
 * only orders that are `known`. False: answered. */
bool ord_lookup_own(struct ord_request *request, const struct snap_sale *sale, struct ps_str before,
                    const struct oq_order **ret_first);

#endif
