/* Who must go when a cache is full. Each node is in one list; sizes are bytes.
 *
 * lru      the one that was used longest ago
 * random   any
 * lfu      W-TinyLFU (Einziger, Friedman, Manes: "TinyLFU: A Highly Efficient Cache Admission
 *          Policy", 2017): new ones enter a window of 1 %; what falls out of it gets into the main
 *          part only if it is asked for more often than what it would push out. The main part is
 *          a segmented LRU, 80 % of it protected. How often something is asked for is an estimate
 *          (count-min sketch, four counters of 4 bits each), halved after ten requests an entry.
 *
 * Not thread-safe: the cache's lock is around each call. */
#ifndef CACHE_EVICTION_H
#define CACHE_EVICTION_H

#include "common/err.h"
#include "gateway/config/kinds/cache_doc.h"

#include <sys/queue.h>

struct cache_policy_node { /* in what is kept; inside but for hash and bytes */
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
void cache_policy_free(
    struct cache_policy *policy); /* NULL is allowed; its nodes are not touched */

/* Another capacity; then cache_policy_evict until it says NULL. */
void cache_policy_limit(struct cache_policy *policy, size_t capacity);

/* Moves all nodes of another policy into this one, the next victims first. PS_E_NOMEM: none is. */
int cache_policy_move(struct cache_policy *policy, struct cache_policy *from) PS_MUST_CHECK;

size_t cache_policy_bytes(const struct cache_policy *policy);
size_t cache_policy_count(const struct cache_policy *policy);

/* Somebody asks for this, whether it is there or not. */
void cache_policy_asked(struct cache_policy *policy, uint64_t hash);
void cache_policy_hit(struct cache_policy *policy, struct cache_policy_node *node);
/* PS_E_NOMEM: it is not in. Then cache_policy_evict until it says NULL. */
int cache_policy_add(struct cache_policy *policy, struct cache_policy_node *node) PS_MUST_CHECK;
void cache_policy_remove(struct cache_policy *policy, struct cache_policy_node *node);
/* Takes out one that must go, maybe the newest; NULL: all fits. */
struct cache_policy_node *cache_policy_evict(struct cache_policy *policy);

#endif
