/* What cache.c (the store) and fill.c (fetches, and the requests that wait for them) share. */
#ifndef CACHE_INTERNAL_H
#define CACHE_INTERNAL_H

#include "common/text/id.h"
#include "gateway/cache/cache.h"
#include "gateway/cache/eviction.h"

#include <pthread.h>
#include <stdatomic.h>

TAILQ_HEAD(cache_waiter_list, cache_waiter);

struct cache_body { /* one block, shared by the versions of an entry that a 304 creates */
    _Atomic(unsigned) refs;
    char bytes[];
};

/* A stored entry: one block, followed by its texts and tags. */
struct cache_stored {
    struct cache_entry is;
    _Atomic(unsigned) refs; /* the table holds one while `linked` */
    struct cache *cache;
    struct cache_body *body;
    struct cache_eviction_node node;
    LIST_ENTRY(cache_stored) bucket;
    bool linked;
    uint64_t uses;        /* see cache_link */
    uint64_t purges_seen; /* the last purge that the entry was compared with, or is younger than */
    size_t tag_count;
    uint64_t *tags; /* hashes */
};

LIST_HEAD(cache_bucket, cache_stored);
LIST_HEAD(cache_fill_list, cache_fill);

#define CACHE_MARKS   4096 /* keys whose fetches nobody may join; by hash, the latest wins */
#define CACHE_FLIGHTS 1024 /* buckets of fetches in progress */

struct cache_mark {
    uint64_t hash;
    int64_t until_ms;
};

struct cache_purge { /* its text follows it */
    TAILQ_ENTRY(cache_purge) link;
    uint64_t number;
    struct ps_str text;   /* .at == NULL: by tag */
    struct ps_str host;   /* in `text`, before the path; .len == 0: any */
    struct ps_str prefix; /* the rest of it */
    bool whole;           /* the key must end there, or a space must follow */
    uint64_t tag;
};
TAILQ_HEAD(cache_purge_list, cache_purge);

/* See purge.c. */
struct cache_purges {
    struct cache_purge_list under_way; /* the oldest first */
    size_t count;
    uint64_t last;          /* the number of the newest purge; 0: none */
    uint64_t upto;          /* this pass completes all up to this one */
    size_t at;              /* the bucket at which the pass continues; 0: there is no pass */
    struct cache_purge all; /* a purge of everything, instead of one for which memory was lacking */
    bool has_all;           /* it is in progress */
};

struct cache {
    _Atomic(unsigned) users;
    _Atomic(size_t) alive; /* entries, plus one while there are users: at 0 the memory is freed */
    _Atomic(size_t) held;  /* bytes of entries that are out of the table */
    struct cache_wakeups *wakeups;
    struct ps_hash_key key;
    pthread_mutex_t lock; /* protects all below */
    size_t bytes_max, object_bytes_max;
    enum cfg_eviction algorithm; /* of the eviction */
    size_t capacity;             /* the eviction's, after it has removed the excess */
    struct cache_eviction *eviction;
    struct cache_purges purges;
    size_t bucket_count; /* a power of two */
    struct cache_bucket *buckets;
    struct cache_fill_list flights[CACHE_FLIGHTS];
    struct cache_fill_list fills; /* all, including those that nobody may join */
    struct cache_mark marks[CACHE_MARKS];
    size_t filling;
    struct cache_figures figures; /* counts; the rest is set when they are read */
};

struct cache_fill {
    struct cache *cache;
    struct cache_stored *stale;   /* the entry being revalidated; may be NULL */
    struct cfg_route_cache route; /* by value: without names */
    struct ps_http_head head;     /* of the request, a copy with its text */
    char *request;
    struct cache_asked asked;
    struct ps_str key;
    uint64_t key_hash;
    bool may_keep;
    /* Under the cache's lock. */
    LIST_ENTRY(cache_fill) flight, all;
    uint64_t flight_hash; /* of key and variant */
    bool joinable;        /* in `flights` */
    bool purged;          /* purged since it began: not kept */
    unsigned failures;    /* of earlier fetches */
    struct cache_waiter_list waiting;
    size_t waiting_count, reserved;
    /* The fetcher's thread. */
    struct cache_kept kept;
    struct cache_body *body;
    size_t body_len, body_room;
    int64_t length;      /* < 0: not known */
    struct ps_buf texts; /* vary and fields, heap */
    size_t vary_len, tag_count;
    uint64_t tags[CACHE_TAGS_MAX];
    char key_text[];
};

/* Call with the lock held. */
int cache_link(struct cache *cache, struct cache_stored *stored, struct cache_bucket *ret_victims);
void cache_unlink(struct cache *cache, struct cache_stored *stored,
                  struct cache_bucket *ret_victims);
/* Removes the entries that the eviction chooses from the table; returns how many. */
size_t cache_evict(struct cache *cache, struct cache_bucket *ret_victims);
bool cache_reserve(struct cache *cache, struct cache_fill *fill, size_t bytes);
void cache_mark(struct cache *cache, uint64_t hash, int64_t until_ms);
/* Does a purge in progress match it? */
bool cache_is_purged(const struct cache *cache, struct cache_stored *stored);
/* Call without the lock. */
void cache_purges_end(struct cache *cache); /* frees them */
void cache_release(struct cache_bucket *victims);
void cache_body_drop(struct cache_body *body);
/* A stored answer with one reference, not in the table; NULL: out of memory. */
struct cache_stored *cache_stored_new(struct cache *cache, const struct cache_fill *fill,
                                      struct ps_str vary, struct ps_str fields,
                                      struct cache_body *body, size_t body_len);

/* fill.c, with the lock held. NULL: out of memory. */
struct cache_fill *cache_fill_new(struct cache *cache, const struct cache_asked *asked,
                                  const struct cfg_route_cache *route, struct ps_str key,
                                  uint64_t key_hash);
void cache_fill_join(struct cache_fill *fill, struct cache_waiter *waiter);
/* From now on no request may join it. */
void cache_fill_close(struct cache_fill *fill);

#endif
