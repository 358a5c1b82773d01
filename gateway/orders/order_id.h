/* An order's id tells its sale, with a chance of 1 in 256 for any other: a look-up of an order that
 * the log does not show asks the counters of the sales that fit, not of every sale. */
#ifndef ORD_ORDER_ID_H
#define ORD_ORDER_ID_H

#include "common/text/id.h"

/* A UUIDv7 for a new order of the sale. The source's thread. */
void ord_order_id_next(struct ps_uuid_source *ids, int64_t wall_ms, const char *sale,
                       struct ps_uuid *ret_id);

/* Can the order belong to the sale? Any thread. */
bool ord_order_id_fits(const struct ps_uuid *id, const char *sale);

#endif
