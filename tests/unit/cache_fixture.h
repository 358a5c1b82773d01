/* Messages for the tests of the cache, from short texts, and a clock that the test turns. */
#ifndef PS_TEST_CACHE_FIXTURE_H
#define PS_TEST_CACHE_FIXTURE_H

#include "gateway/upstream/cache.h"

#define CACHE_WALL_MS                                                                              \
    INT64_C(1790000000000) /* the wall clock at 0 ms: Mon, 21 Sep 2026 14:13:20                    \
                            */

struct cache_message {
    struct ps_http_head head;
    char data[4096];
    struct up_message is;
};

/* "GET|Foo: 1|Bar: 2", or "200|Date: {0}|Cache-Control: max-age=60": {N} becomes the HTTP date N
 * seconds from `now_ms`. A request is for /p of shop.example. */
void cache_message(struct cache_message *message, const char *text, int64_t now_ms);
/* The same for another path. */
void cache_request(struct cache_message *message, const char *text, const char *path,
                   int64_t now_ms);

/* A waiter that remembers what it was told. */
struct cache_waiter {
    struct up_waiter is;
    int told; /* how often */
    enum up_told last;
    struct up_entry *entry;
};
void cache_waiter(struct cache_waiter *waiter, size_t worker);

/* A cache of one worker; `bytes` 0: 1 MiB. */
struct up_cache *cache_new(enum cfg_eviction eviction, int64_t bytes);
void cache_free(struct up_cache *cache); /* asserts that nobody waits and nothing is on its way */
void cache_end(void);                    /* the rest of it, after the cache itself */
void cache_deliver(struct up_cache *cache);

/* Asks as `request` says. */
struct up_found cache_ask(struct up_cache *cache, const struct cfg_route_cache *route,
                          const struct cache_message *request, const char *key, int64_t now_ms,
                          struct cache_waiter *waiter);
/* Answers a fill whole; the entry is dropped. */
enum up_store cache_answer(struct up_fill *fill, const char *answer, const char *body,
                           int64_t now_ms);
void cache_done(struct up_found *found); /* drops the entry, fails the fill */

#endif
