/* Messages for the tests of the cache, from short texts, and a clock that the test turns. */
#ifndef PS_TEST_CACHE_FIXTURE_H
#define PS_TEST_CACHE_FIXTURE_H

#include "gateway/cache/cache.h"

#define FIXTURE_WALL_MS                                                                            \
    INT64_C(1790000000000) /* the wall clock at 0 ms: Mon, 21 Sep 2026 14:13:20                    \
                            */

struct fixture_message {
    struct ps_http_head head;
    char data[4096];
    struct cache_message is;
};

/* "GET|Foo: 1|Bar: 2", or "200|Date: {0}|Cache-Control: max-age=60": {N} becomes the HTTP date N
 * seconds from `now_ms`. A request is for /p of shop.example. */
void fixture_message(struct fixture_message *message, const char *text, int64_t now_ms);
/* The same for another path. */
void fixture_request(struct fixture_message *message, const char *text, const char *path,
                     int64_t now_ms);

/* A waiter that records its results. */
struct fixture_waiter {
    struct cache_waiter is;
    int calls; /* of on_result */
    enum cache_result last;
    struct cache_entry *entry;
};
void fixture_waiter(struct fixture_waiter *waiter, size_t worker);

/* A cache of one worker; `bytes` 0: 1 MiB. */
struct cache *fixture_cache(enum cfg_eviction eviction, int64_t bytes);
void fixture_free(struct cache *cache); /* asserts that nobody waits and nothing is on its way */
void fixture_end(void);                 /* the rest of it, after the cache itself */
void fixture_deliver(struct cache *cache);

/* Asks as `request` says. */
struct cache_found fixture_ask(struct cache *cache, const struct cfg_route_cache *route,
                               const struct fixture_message *request, const char *key,
                               int64_t now_ms, struct fixture_waiter *waiter);
/* Answers a fill whole; the entry is dropped. */
enum cache_store fixture_answer(struct cache_fill *fill, const char *answer, const char *body,
                                int64_t now_ms);
void fixture_done(struct cache_found *found); /* drops the entry, fails the fill */

#endif
