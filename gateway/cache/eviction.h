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

struct cache_policy_node { /* part of each entry; private but for hash and bytes */
    TAILQ_ENTRY(cache_policy_node) link;
    uint64_t hash;
    size_t bytes;
    uint32_t index;
    uint8_t segment;
};

struct cache_policy;

/* `capacity` and the sum of what is kept, in bytes. PS_E_NOMEM. */
int cache_policy_new(enum cfg_eviction eviction, size_t capacity,
                     struct cache_policy **ret_policy) PS_MUST_CHECK;
void cache_policy_free(struct cache_policy *policy); /* NULL is allowed; does not touch its nodes */

/* Sets another capacity; then call cache_policy_evict until it returns NULL. */
void cache_policy_limit(struct cache_policy *policy, size_t capacity);

/* Moves all nodes of another policy into this one, the next victims first. PS_E_NOMEM: none was
 * moved. */
int cache_policy_move(struct cache_policy *policy, struct cache_policy *from) PS_MUST_CHECK;

size_t cache_policy_bytes(const struct cache_policy *policy);
size_t cache_policy_count(const struct cache_policy *policy);

/* Counts a request for this key, whether it is cached or not. */
void cache_policy_asked(struct cache_policy *policy, uint64_t hash);
void cache_policy_hit(struct cache_policy *policy, struct cache_policy_node *node);
/* PS_E_NOMEM: it was not added. Then call cache_policy_evict until it returns NULL. */
int cache_policy_add(struct cache_policy *policy, struct cache_policy_node *node) PS_MUST_CHECK;
void cache_policy_remove(struct cache_policy *policy, struct cache_policy_node *node);
/* Removes a node that must go, maybe the newest; NULL: all fits. */
struct cache_policy_node *cache_policy_evict(struct cache_policy *policy);

#endif
