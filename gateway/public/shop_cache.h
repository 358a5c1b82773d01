/* Routes with a cache: what is there is answered from where it lies, what is not is fetched by one
 * request while others wait, and an answer that may be kept fills the cache on its way to its
 * client. A fetch may outlive its client (struct cache_fill). One thread. */
#ifndef PUB_SHOP_CACHE_H
#define PUB_SHOP_CACHE_H

#include "gateway/cache/cache.h"
#include "gateway/upstream/fields.h"
#include "gateway/upstream/forward.h"

struct pub_fetch;
struct pub_listener;
struct pub_request;

TAILQ_HEAD(pub_fetch_list, pub_fetch);
TAILQ_HEAD(pub_waiting_list, pub_request);

/* Part of a pub_listener: a worker's fetches, and requests that wait for one, the oldest first. */
struct pub_cache_work {
    struct pub_fetch_list fetches;
    struct pub_waiting_list waiting;
};
void pub_cache_work_init(struct pub_cache_work *work);

/* Part of a pub_shop. */
struct pub_cached {
    struct pub_fetch *fetch; /* that this request's exchange fills the cache by; NULL: none */
    struct cache_waiter waiter;
    TAILQ_ENTRY(pub_request) link;   /* while waiter.cache is not NULL */
    const struct up_pool_view *pool; /* where it is to be fetched */
    struct up_target *target;
    bool has_key; /* it may be answered from the cache, and its query is the key's */
    bool collapsed;
    struct cache_status status; /* of the answer to come */
};

/* Before the request is sent to the pool. True: it is answered, or waits. False: send it. */
bool pub_cache_take(struct pub_request *request, const struct up_pool_view *pool,
                    struct up_target *target);
/* What of the request goes to the shop otherwise than it came; `query` is the caller's memory. */
void pub_cache_origin(const struct pub_request *request, struct up_origin *origin,
                      char query[CACHE_KEY_MAX]);
/* Whom the exchange tells. */
void pub_cache_call(const struct pub_request *request, struct up_call *call);
/* It is under way; NULL: it is not, and nothing is filled. */
void pub_cache_sent(struct pub_request *request, struct up_exchange *exchange);
/* For an answer that goes on to the client: Cache-Status, as a line. */
void pub_cache_put_status(const struct pub_request *request, struct ps_buf *fields);
/* For the access log: hit, miss, stale or bypass; NULL: its route has no cache. */
const char *pub_cache_result(const struct pub_request *request);
/* The shop has answered: what a successful unsafe request has made invalid goes (RFC 9111, 4.4). */
void pub_cache_invalidate(const struct pub_request *request, const struct up_answer *answer);
/* Answers with what there is, however stale, and `why` in Penstock-Fallback. False: nothing. */
bool pub_cache_answer_stale(struct pub_request *request, const char *why);
bool pub_cache_has_stale(const struct pub_request *request);
/* The client has left, or the request is answered otherwise. True: its exchange goes on without it.
 */
bool pub_cache_forget(struct pub_request *request);

/* Each 100 ms: tells what was missed, and ends what waits for too long. */
void pub_cache_tick(struct pub_listener *listener);
/* The worker stops: ends all fetches, and nobody waits any more. Their requests are the server's to
 * answer. */
void pub_cache_stop(struct pub_listener *listener);

#endif
