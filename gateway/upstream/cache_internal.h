/* What cache.c (the store) and cache_fill.c (fetches and who waits for them) share. */
#ifndef UP_CACHE_INTERNAL_H
#define UP_CACHE_INTERNAL_H

#include "common/id.h"
#include "gateway/upstream/cache.h"
#include "gateway/upstream/cache_policy.h"

#include <pthread.h>
#include <stdatomic.h>

TAILQ_HEAD(up_waiter_list, up_waiter);

struct up_body { /* one block, shared by the versions of an entry that a 304 makes */
    _Atomic(unsigned) refs;
    char bytes[];
};

/* An entry as the store has it, one block with its texts and tags behind it. */
struct up_stored {
    struct up_entry is;
    _Atomic(unsigned) refs; /* one is the table's, while `linked` */
    struct up_cache *cache;
    struct up_body *body;
    struct up_policy_node node;
    LIST_ENTRY(up_stored) bucket;
    bool linked;
    size_t tag_count;
    uint64_t *tags; /* hashes */
};

LIST_HEAD(up_bucket, up_stored);
LIST_HEAD(up_fill_list, up_fill);

#define UP_MARKS   4096 /* keys that nobody waits for; by hash, the latest wins */
#define UP_FLIGHTS 1024 /* buckets of fetches under way */

struct up_mark {
    uint64_t hash;
    int64_t until_ms;
};

struct up_cache {
    _Atomic(unsigned) users;
    _Atomic(size_t) alive; /* entries, and one while there are users: then the memory goes */
    _Atomic(size_t) held;  /* bytes of entries out of the table */
    struct up_wakeups *wakeups;
    struct ps_hash_key key;
    pthread_mutex_t lock; /* all below */
    size_t bytes_max, object_bytes_max;
    enum cfg_eviction eviction;
    struct up_policy *policy;
    size_t bucket_count; /* a power of two */
    struct up_bucket *buckets;
    struct up_fill_list flights[UP_FLIGHTS];
    struct up_fill_list fills; /* all, also those nobody can wait for */
    struct up_mark marks[UP_MARKS];
    size_t filling;
    struct up_cache_figures figures; /* counts; the rest is filled in when it is read */
};

struct up_fill {
    struct up_cache *cache;
    struct up_stored *stale;      /* what is asked about; may be NULL */
    struct cfg_route_cache route; /* by value: without names */
    struct ps_http_head head;     /* of the request, a copy with its text */
    char *request;
    struct up_asked asked;
    struct ps_str key;
    uint64_t key_hash;
    bool may_keep;
    /* The cache's lock. */
    LIST_ENTRY(up_fill) flight, all;
    uint64_t flight_hash; /* of key and variant */
    bool joinable;        /* in `flights` */
    bool purged;          /* since it began: not kept */
    unsigned failures;    /* of fetches before this one */
    struct up_waiter_list waiting;
    size_t waiting_count, reserved;
    /* The fetcher's thread. */
    struct up_kept kept;
    struct up_body *body;
    size_t body_len, body_room;
    int64_t length;      /* < 0: not known */
    struct ps_buf texts; /* vary and fields, heap */
    size_t vary_len, tag_count;
    uint64_t tags[UP_TAGS_MAX];
    char key_text[];
};

/* With the lock held. */
struct up_stored *up_cache_find(struct up_cache *cache, uint64_t key_hash, struct ps_str key,
                                struct up_message request);
int up_cache_link(struct up_cache *cache, struct up_stored *stored, struct up_bucket *ret_victims);
void up_cache_unlink(struct up_cache *cache, struct up_stored *stored,
                     struct up_bucket *ret_victims);
bool up_cache_reserve(struct up_cache *cache, struct up_fill *fill, size_t bytes);
void up_cache_mark(struct up_cache *cache, uint64_t hash, int64_t until_ms);
/* Without the lock. */
void up_cache_release(struct up_bucket *victims);
void up_body_drop(struct up_body *body);
/* A stored answer with one reference, out of the table; NULL: no memory. */
struct up_stored *up_stored_new(struct up_cache *cache, const struct up_fill *fill,
                                struct ps_str vary, struct ps_str fields, struct up_body *body,
                                size_t body_len);

/* cache_fill.c, with the lock held. NULL: no memory. */
struct up_fill *up_fill_new(struct up_cache *cache, const struct up_asked *asked,
                            const struct cfg_route_cache *route, struct ps_str key,
                            uint64_t key_hash);
void up_fill_join(struct up_fill *fill, struct up_waiter *waiter);
/* No further request waits for it. */
void up_fill_close(struct up_fill *fill);

#endif
