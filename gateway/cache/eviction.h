/* Which entry is evicted when a cache is full. Each node is in one list; sizes are bytes.
 *
 *   lru      the least recently used
 *   random   any
 *   lfu      W-TinyLFU (Einziger, Friedman, Manes: "TinyLFU: A Highly Efficient Cache Admission
 *            Policy", 2017): new entries enter a window of 1 %. One that leaves the window enters
 *            the main part only if it is requested more often than the entry that it would push
 *            out. The main part is a segmented LRU, 80 % of it protected. How often a key is
 *            requested is an estimate (count-min sketch, four counters of 4 bits each), halved
 *            after ten requests per entry.
 *
 * Not thread-safe: the cache's lock protects each call. */
#ifndef CACHE_EVICTION_H
#define CACHE_EVICTION_H

#include "common/err.h"
#include "gateway/config/kinds/cache_doc.h"

#include <sys/queue.h>

struct cache_eviction_node { /* part of each entry; private but for hash and bytes */
    TAILQ_ENTRY(cache_eviction_node) link;
    uint64_t hash;
    size_t bytes;
    uint32_t index;
    uint8_t segment;
};

struct cache_eviction;

/* `capacity` and the sum of what is kept, in bytes. PS_E_NOMEM. */
int cache_eviction_new(enum cfg_eviction algorithm, size_t capacity,
                       struct cache_eviction **ret_eviction) PS_MUST_CHECK;
void cache_eviction_free(
    struct cache_eviction *eviction); /* NULL is allowed; does not touch its nodes */

/* Sets another capacity; then call cache_eviction_evict until it returns NULL. */
void cache_eviction_limit(struct cache_eviction *eviction, size_t capacity);

/* Moves all nodes of another eviction into this one, the next victims first. PS_E_NOMEM: none was
 * moved. */
int cache_eviction_move(struct cache_eviction *eviction, struct cache_eviction *from) PS_MUST_CHECK;

size_t cache_eviction_bytes(const struct cache_eviction *eviction);
size_t cache_eviction_count(const struct cache_eviction *eviction);

/* Counts a request for this key, whether it is cached or not. */
void cache_eviction_asked(struct cache_eviction *eviction, uint64_t hash);
void cache_eviction_hit(struct cache_eviction *eviction, struct cache_eviction_node *node);
/* PS_E_NOMEM: it was not added. Then call cache_eviction_evict until it returns NULL. */
int cache_eviction_add(struct cache_eviction *eviction,
                       struct cache_eviction_node *node) PS_MUST_CHECK;
void cache_eviction_remove(struct cache_eviction *eviction, struct cache_eviction_node *node);
/* Removes a node that must go, maybe the newest; NULL: all fits. */
struct cache_eviction_node *cache_eviction_evict(struct cache_eviction *eviction);

#endif
