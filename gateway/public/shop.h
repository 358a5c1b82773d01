/* Requests that are not of the API of sales: to the shop behind this gateway, by the routes that
 * operators have made. Every answer that is not the shop's is a problem document of ours, and an
 * answer that breaks off in its middle ends the client's connection. One thread. */
#ifndef PUB_SHOP_H
#define PUB_SHOP_H

#include "gateway/server/http.h"
#include "gateway/public/shop_cache.h"
#include "gateway/upstream/fallback.h"
#include "gateway/upstream/forward.h"

struct pub_listener;
struct pub_request;

/* Part of a pub_request. */
struct pub_shop {
    struct up_hold *hold; /* what `route` is of; NULL: no route, or answered */
    const struct up_route_view *route;
    const struct up_route_view *other;  /* NULL, or one of this path that takes other methods */
    struct up_exchange *exchange;       /* NULL: none is under way */
    const struct up_pool_view *pool;    /* that it was sent to last */
    const struct up_endpoint *endpoint; /* that it was given to last; NULL: to none */
    int status;                         /* of the answer */
    int64_t body_left;                  /* that the route lets the client still send */
    bool kept;                          /* by srv_suspend */
    bool has_parts;                     /* of its body: they are nowhere else */
    struct pub_cached cached;           /* of a route with a cache */
    /* Why the pool that was meant does not answer, and the fall-backs that have been tried:
     * public/fallback.c. */
    bool in_trouble;
    enum up_trouble trouble;
    enum up_outcome outcome; /* with UP_TROUBLE_deadline and UP_TROUBLE_failed */
    size_t next_fallback;    /* route->doc->fallbacks; the one before it is answering */
};

/* The request is answered, or kept. */
void pub_shop_handle(struct pub_request *request);

/* As srv_settings has them; `ctx` is the pub_listener. Decides the request's route, and holds its
 * table until the request is answered or gone: whatever is exchanged meanwhile, this one goes by
 * what was there when its head came. A request that goes to a pool has its body in parts. */
bool pub_shop_on_head(struct srv_request *http, void *ctx);
/* The same; `ctx` is nobody's. */
bool pub_shop_on_part(struct srv_request *http, struct ps_str part, bool last, void *ctx);
void pub_shop_on_room(struct srv_request *http, void *ctx);
/* Its client has left. */
void pub_shop_forget(struct pub_request *request);

#endif
