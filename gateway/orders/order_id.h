/* An order's id says of which sale it is, up to one other sale in 256: a look-up of an order that
 * the log does not show asks the counter of that sale, and not of every sale. */
#ifndef ORD_ORDER_ID_H
#define ORD_ORDER_ID_H

#include "common/text/id.h"

/* A UUIDv7 for a new order of the sale. The source's thread. */
void ord_order_id_next(struct ps_uuid_source *ids, int64_t wall_ms, const char *sale,
                       struct ps_uuid *ret_id);

/* May it be an order of the sale? Any thread. */
bool ord_order_id_fits(const struct ps_uuid *id, const char *sale);

#endif
