/* The routes of the public listener. */
#ifndef PUB_ROUTES_H
#define PUB_ROUTES_H

#include "gateway/server/http.h"

struct pub_listener;

/* For srv_settings.on_head: decides whether the request is of the API or a page, and which. The
 * server's user_size is that of struct pub_request. */
bool pub_routes_on_head(struct srv_request *http, struct pub_listener *listener);
/* The server's request handler. */
void pub_routes_handle(struct srv_request *http);

#endif
