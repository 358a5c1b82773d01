/* The routes of the public listener. */
#ifndef PUB_ROUTES_H
#define PUB_ROUTES_H

#include "gateway/server/http.h"

/* The server's request handler; `listener` is a struct pub_listener, and srv_settings.user_size is
 * that of a struct pub_request. */
void pub_routes_handle(struct srv_request *request, void *listener);

#endif
