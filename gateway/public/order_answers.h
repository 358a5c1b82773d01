/* Orders over HTTP: the answers to buys and look-ups. */
#ifndef PUB_ORDER_ANSWERS_H
#define PUB_ORDER_ANSWERS_H

#include "gateway/public/request.h"

/* How a worker's orders keep, find and answer their requests, which are in this server's slots. */
struct ord_caller pub_order_answers_caller(struct srv_http *http);

/* Answers with a buyer's orders in a sale from `first` on, as many as fit. */
void pub_order_answers_list(struct pub_request *request, const struct oq_order *first);

#endif
