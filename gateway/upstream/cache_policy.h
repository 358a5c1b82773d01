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
#ifndef UP_CACHE_POLICY_H
#define UP_CACHE_POLICY_H

#include "common/err.h"
#include "gateway/config/cache_doc.h"

#include <sys/queue.h>

struct up_policy_node { /* in what is kept; inside but for hash and bytes */
    TAILQ_ENTRY(up_policy_node) link;
    uint64_t hash;
    size_t bytes;
    uint32_t index;
    uint8_t segment;
};

struct up_policy;

/* `capacity` and the sum of what is kept, in bytes. PS_E_NOMEM. */
int up_policy_new(enum cfg_eviction eviction, size_t capacity,
                  struct up_policy **ret_policy) PS_MUST_CHECK;
void up_policy_free(struct up_policy *policy); /* NULL is allowed; its nodes are not touched */

/* Moves all nodes of another policy into this one, the next victims first. PS_E_NOMEM: none is. */
int up_policy_move(struct up_policy *policy, struct up_policy *from) PS_MUST_CHECK;

size_t up_policy_bytes(const struct up_policy *policy);
size_t up_policy_count(const struct up_policy *policy);

/* Somebody asks for this, whether it is there or not. */
void up_policy_asked(struct up_policy *policy, uint64_t hash);
void up_policy_hit(struct up_policy *policy, struct up_policy_node *node);
/* PS_E_NOMEM: it is not in. Then up_policy_evict until it says NULL. */
int up_policy_add(struct up_policy *policy, struct up_policy_node *node) PS_MUST_CHECK;
void up_policy_remove(struct up_policy *policy, struct up_policy_node *node);
/* Takes out one that must go, maybe the newest; NULL: all fits. */
struct up_policy_node *up_policy_evict(struct up_policy *policy);

#endif
