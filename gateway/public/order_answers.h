/* Orders over HTTP: the answers to buying and to looking orders up, printed. */
#ifndef PUB_ORDER_ANSWERS_H
#define PUB_ORDER_ANSWERS_H

#include "gateway/public/request.h"

/* How the orders of a worker keep, find and answer their requests, which lie in the slots of this
 * server. */
struct ord_caller pub_order_answers_caller(struct srv_http *http);

/* The orders of a buyer in a sale from `first` on, as many as fit an answer. */
void pub_order_answers_list(struct pub_request *request, const struct oq_order *first);

#endif
