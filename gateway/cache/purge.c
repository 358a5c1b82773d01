/* Purges by path, prefix and tag. A purge is in force at once, but its entries are removed later: a
 * cache may have a million of them, and the thread that purges has a heartbeat each 100 ms. So a
 * purge is a rule in a list; a look-up compares what it has found with the newer rules, and a pass
 * over the table, in small parts each tick, removes what they match. When a pass ends, the rules
 * that existed at its beginning are done.
 *
 * Invariant: an entry has been compared with all purges up to `purges_seen`. A purge marks matching
 * fills, so whatever is linked later is younger than all purges. */
#include "gateway/cache/cache_internal.h"

#include <stdlib.h>
#include <strings.h>

#define PURGES_MAX 1024
/* The cost of a part, in units: looking at a bucket, at an entry, or removing an entry (its memory
 * is cold). About 4 ms in all, a twentieth of it under the lock at once. */
#define BUCKET_UNITS   1
#define ENTRY_UNITS    8
#define GONE_UNITS     32
#define UNITS_A_SWEEP  65536
#define UNITS_A_LOCK   4096
#define SHRINK_AT_ONCE ((size_t)64 << 10) /* bytes */

/* "/p/1 https://shop.example web": the authority of the origin, after the address. */
static bool is_of_host(struct ps_str key, struct ps_str host)
{
    const char *at = memchr(key.at, ' ', key.len), *end = key.at + key.len;

    while (at != NULL && at < end && *at != '/')
        at++;
    return at != NULL && end - at > 2 + (ptrdiff_t)host.len && at[2 + host.len] == ' ' &&
           strncasecmp(at + 2, host.at, host.len) == 0;
}

static bool is_key_met(struct ps_str key, const struct cache_purge *purge)
{
    struct ps_str prefix = purge->prefix;

    return key.len >= prefix.len && memcmp(key.at, prefix.at, prefix.len) == 0 &&
           (!purge->whole || key.len == prefix.len || key.at[prefix.len] == ' ') &&
           (purge->host.len == 0 || is_of_host(key, purge->host));
}

static bool is_met(const struct cache_stored *stored, const struct cache_purge *purge)
{
    if (purge->text.at != NULL)
        return is_key_met(stored->is.key, purge);
    for (size_t i = 0; i < stored->tag_count; i++)
        if (stored->tags[i] == purge->tag)
            return true;
    return false;
}

bool cache_is_purged(const struct cache *cache, struct cache_stored *stored)
{
    const struct cache_purges *purges = &cache->purges;
    const struct cache_purge *purge;

    if (stored->purges_seen == purges->last)
        return false;
    TAILQ_FOREACH_REVERSE(purge, &purges->under_way, cache_purge_list, link)
    {
        if (purge->number <= stored->purges_seen)
            break;
        if (is_met(stored, purge))
            return true;
    }
    stored->purges_seen = purges->last;
    return false;
}

/* --- The pass. The lock is held. --- */

static void end_pass(struct cache *cache)
{
    struct cache_purges *purges = &cache->purges;
    struct cache_purge *purge;

    purges->at = 0;
    while ((purge = TAILQ_FIRST(&purges->under_way)) != NULL && purge->number <= purges->upto) {
        TAILQ_REMOVE(&purges->under_way, purge, link);
        purges->count--;
        if (purge != &purges->all)
            free(purge);
        else
            purges->has_all = false;
    }
}

/* Returns the units used; 0: no purge is in progress. */
static size_t sweep_buckets(struct cache *cache, struct cache_bucket *victims, size_t *ret_gone)
{
    struct cache_purges *purges = &cache->purges;
    size_t units = 0;

    *ret_gone = 0;
    if (purges->count == 0)
        return 0;
    if (purges->at == 0)
        purges->upto = purges->last;
    for (; purges->at < cache->bucket_count && units < UNITS_A_LOCK; purges->at++) {
        struct cache_stored *stored = LIST_FIRST(&cache->buckets[purges->at]), *next;
        units += BUCKET_UNITS;
        for (; stored != NULL; stored = next) {
            next = LIST_NEXT(stored, bucket);
            units += ENTRY_UNITS;
            if (!cache_is_purged(cache, stored))
                continue;
            units += GONE_UNITS;
            cache_unlink(cache, stored, victims);
            ++*ret_gone;
        }
    }
    cache->figures.purged += (int64_t)*ret_gone;
    if (purges->at == cache->bucket_count)
        end_pass(cache);
    return units;
}

/* The same for entries beyond the cache's present size. */
static size_t shrink(struct cache *cache, struct cache_bucket *victims)
{
    size_t bytes = cache_eviction_bytes(cache->eviction);

    if (bytes <= cache->capacity) {
        cache_eviction_limit(cache->eviction, cache->capacity);
        return 0;
    }
    cache_eviction_limit(cache->eviction, bytes > cache->capacity + SHRINK_AT_ONCE
                                              ? bytes - SHRINK_AT_ONCE
                                              : cache->capacity);
    return (1 + cache_evict(cache, victims)) * GONE_UNITS;
}

/* --- Public. --- */

static bool sweep(struct cache *cache, size_t *ret_gone)
{
    bool more = true;

    *ret_gone = 0;
    for (size_t units = 0; more && units < UNITS_A_SWEEP;) {
        struct cache_bucket victims = LIST_HEAD_INITIALIZER(victims);
        size_t gone;
        pthread_mutex_lock(&cache->lock);
        size_t used = sweep_buckets(cache, &victims, &gone);
        used += shrink(cache, &victims);
        more = cache->purges.count > 0 || cache_eviction_bytes(cache->eviction) > cache->capacity;
        pthread_mutex_unlock(&cache->lock);
        cache_release(&victims);
        *ret_gone += gone;
        units += used;
    }
    return more;
}

bool cache_sweep(struct cache *cache)
{
    size_t gone;

    return sweep(cache, &gone);
}

void cache_purges_end(struct cache *cache)
{
    cache->purges.upto = cache->purges.last;
    end_pass(cache);
}

/* An answer's tags are known only with its head: a purge by tag matches all fills in progress. */
static void meet_fills(struct cache *cache, const struct cache_purge *purge)
{
    struct cache_fill *fill;

    LIST_FOREACH(fill, &cache->fills, all)
    {
        if (purge->text.at != NULL && !is_key_met(fill->key, purge))
            continue;
        fill->purged = true;
        cache_fill_close(fill);
    }
}

/* Copies `text`; .at == NULL: by tag. */
static struct cache_purge *new_purge(struct ps_str text, bool whole, uint64_t tag)
{
    struct cache_purge *purge = malloc(sizeof *purge + text.len);

    if (purge == NULL)
        return NULL;
    *purge = (struct cache_purge){.whole = whole, .tag = tag};
    if (text.at == NULL)
        return purge;
    char *copy = memcpy(purge + 1, text.at, text.len);
    const char *path = memchr(copy, '/', text.len);
    size_t host_len = path != NULL ? (size_t)(path - copy) : text.len;
    purge->text = (struct ps_str){copy, text.len};
    purge->host = (struct ps_str){copy, host_len};
    purge->prefix = (struct ps_str){copy + host_len, text.len - host_len};
    return purge;
}

/* Call with the lock held. Without memory for a purge everything is purged: a cache may forget. */
static void put(struct cache *cache, struct cache_purge *purge)
{
    struct cache_purges *purges = &cache->purges;

    if (purge == NULL) {
        purge = &purges->all;
        if (purges->has_all) {
            TAILQ_REMOVE(&purges->under_way, purge, link);
            purges->count--;
        }
        *purge = (struct cache_purge){.text = PS_STR(""), .prefix = PS_STR("")};
        purges->has_all = true;
    }
    purge->number = ++purges->last;
    TAILQ_INSERT_TAIL(&purges->under_way, purge, link);
    purges->count++;
}

static size_t begin(struct cache *cache, struct cache_purge *purge)
{
    size_t gone, all = 0;

    while (cache->purges.count >= PURGES_MAX && sweep(cache, &gone))
        all += gone;
    pthread_mutex_lock(&cache->lock);
    put(cache, purge);
    meet_fills(cache, TAILQ_LAST(&cache->purges.under_way, cache_purge_list));
    pthread_mutex_unlock(&cache->lock);
    (void)sweep(cache, &gone);
    return all + gone;
}

size_t cache_purge_path(struct cache *cache, struct ps_str text)
{
    return begin(cache, new_purge(text, true, 0));
}

size_t cache_purge_prefix(struct cache *cache, struct ps_str text)
{
    return begin(cache, new_purge(text, false, 0));
}

size_t cache_purge_tag(struct cache *cache, struct ps_str tag)
{
    uint64_t hash = ps_hash64(&cache->key, tag.at, tag.len);

    return begin(cache, new_purge((struct ps_str){NULL, 0}, false, hash));
}
