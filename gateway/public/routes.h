/* The routes of the public listener. */
#ifndef PUB_ROUTES_H
#define PUB_ROUTES_H

#include "gateway/server/http.h"

struct pub_listener;

/* For srv_settings.on_head: decides whether the request is of the API or a page, and which. The
 * server's user_size is that of struct pub_request. */
bool pub_routes_on_head(struct srv_request *http, struct pub_listener *listener);
/* What a request asks for, by its method and path. *ret_rest: the sale or the order that the path
 * of the API names. */
enum pub_asks {
    PUB_ASKS_PAGE,
    PUB_ASKS_TO_BUY,
    PUB_ASKS_ORDERS,
    PUB_ASKS_ORDER,
    PUB_ASKS_STATUS,
    PUB_ASKS_LIVENESS,
    PUB_ASKS_READINESS,
    PUB_ASKS_OPTIONS,
    PUB_ASKS_ANOTHER_METHOD, /* the path does not have this method */
    PUB_ASKS_NOTHING         /* a path of the gateway's own that it does not have */
};
enum pub_asks pub_routes_asks(const struct srv_request *http, struct ps_str *ret_rest);
/* The server's request handler. */
void pub_routes_handle(struct srv_request *http);

#endif
