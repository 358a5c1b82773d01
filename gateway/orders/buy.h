/* Buying: from the gates to the answer, on a worker's thread. */
#ifndef ORD_BUY_H
#define ORD_BUY_H

#include "gateway/orders/in_flight.h"
#include "queue/log.h"

/* POST …/orders. The caller has filled in the request and looked up its sale. */
void ord_buy_start(struct ord_request *request, const struct snap_sale *sale);

/* For struct ord_deps. */
void ord_buy_on_due(struct ord_request *request);
void ord_buy_on_overdue(struct ord_request *request);

/* The log has decided the order that the request of this handle appended. `order`: as the fold has
 * it, or NULL. `durable_ns`: since when the log has it (struct oq_ticket). */
void ord_buy_outcome(const struct ord_deps *deps, uint64_t handle, enum oq_outcome outcome,
                     const struct oq_order *order, int64_t durable_ns);

#endif
