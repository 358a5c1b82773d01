/* The store: a table of keys with a chain for each bucket, and the eviction's lists over the same
 * entries. One lock: a look-up holds it for some hundred nanoseconds. Memory is freed outside it.
 *
 * Invariants: the table holds one reference of each entry in it; kept bytes, bytes still being sent
 * and bytes being filled together stay within bytes_max. */
#include "gateway/cache/cache_internal.h"

#include "gateway/cache/directives.h"

#include <stdlib.h>

#define BYTES_A_BUCKET 2048
#define BUCKETS_MIN    256
#define BUCKETS_MAX    ((size_t)1 << 24)
#define VARIANTS_MAX   16
/* What malloc adds to an entry's blocks, and its part of the table and the sketch. */
#define ENTRY_OVERHEAD 64

/* --- Entries. --- */

static struct cache_stored *stored_of(struct cache_entry *entry)
{
    return (struct cache_stored *)entry; /* its first member */
}

struct cache_entry *cache_entry_keep(struct cache_entry *entry)
{
    atomic_fetch_add_explicit(&stored_of(entry)->refs, 1, memory_order_relaxed);
    return entry;
}

void cache_body_drop(struct cache_body *body)
{
    if (body != NULL && atomic_fetch_sub_explicit(&body->refs, 1, memory_order_acq_rel) == 1)
        free(body);
}

static void drop_alive(struct cache *cache)
{
    if (atomic_fetch_sub_explicit(&cache->alive, 1, memory_order_acq_rel) != 1)
        return;
    cache_eviction_free(cache->eviction);
    pthread_mutex_destroy(&cache->lock);
    free(cache->buckets);
    free(cache);
}

void cache_entry_drop(struct cache_entry *entry)
{
    if (entry == NULL)
        return;
    struct cache_stored *stored = stored_of(entry);
    if (atomic_fetch_sub_explicit(&stored->refs, 1, memory_order_acq_rel) != 1)
        return;
    struct cache *cache = stored->cache;
    atomic_fetch_sub_explicit(&cache->held, stored->node.bytes, memory_order_relaxed);
    cache_body_drop(stored->body);
    free(stored);
    drop_alive(cache);
}

static struct ps_str put_text(char **at, struct ps_str text)
{
    struct ps_str copy = {*at, text.len};
    if (text.len > 0)
        memcpy(*at, text.at, text.len);
    *at += text.len;
    return copy;
}

struct cache_stored *cache_stored_new(struct cache *cache, const struct cache_fill *fill,
                                      struct ps_str vary, struct ps_str fields,
                                      struct cache_body *body, size_t body_len)
{
    size_t tag_bytes = fill->tag_count * sizeof(uint64_t);
    size_t size = sizeof(struct cache_stored) + tag_bytes + fill->key.len + vary.len + fields.len;
    struct cache_stored *stored = calloc(1, size);
    if (stored == NULL)
        return NULL;
    stored->tags = (uint64_t *)(stored + 1);
    stored->tag_count = fill->tag_count;
    memcpy(stored->tags, fill->tags, tag_bytes);
    char *at = (char *)(stored + 1) + tag_bytes;
    stored->is.kept = fill->kept;
    stored->is.key = put_text(&at, fill->key);
    stored->is.vary = put_text(&at, vary);
    stored->is.fields = put_text(&at, fields);
    stored->is.etag = cache_fields_find(stored->is.fields, "ETag");
    if (!cache_is_etag(stored->is.etag))
        stored->is.etag = (struct ps_str){NULL, 0};
    stored->is.body = (struct ps_str){body->bytes, body_len};
    stored->body = body;
    atomic_init(&stored->refs, 1);
    stored->cache = cache;
    stored->node.hash = fill->key_hash;
    stored->node.bytes = size + sizeof *body + body_len + ENTRY_OVERHEAD;
    atomic_fetch_add_explicit(&cache->alive, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&cache->held, stored->node.bytes, memory_order_relaxed);
    return stored;
}

/* --- The table. --- */

static bool has_key(const struct cache_stored *stored, uint64_t key_hash, struct ps_str key)
{
    return stored->node.hash == key_hash && ps_str_same(stored->is.key, key);
}

static struct cache_bucket *bucket_of(struct cache *cache, uint64_t hash)
{
    return &cache->buckets[hash & (cache->bucket_count - 1)];
}

static struct cache_stored *find(struct cache *cache, uint64_t key_hash, struct ps_str key,
                                 struct cache_message request)
{
    struct cache_stored *stored;
    LIST_FOREACH(stored, bucket_of(cache, key_hash), bucket)
    {
        if (has_key(stored, key_hash, key) && cache_vary_fits(stored->is.vary, request) &&
            !cache_is_purged(cache, stored))
            return stored;
    }
    return NULL;
}

/* Removes an entry from the table; the eviction has removed it already. Its reference goes to
 * `victims`. */
static void take_out(struct cache *cache, struct cache_stored *stored, struct cache_bucket *victims)
{
    atomic_fetch_add_explicit(&cache->held, stored->node.bytes, memory_order_relaxed);
    LIST_REMOVE(stored, bucket);
    LIST_INSERT_HEAD(victims, stored, bucket);
    stored->linked = false;
}

void cache_unlink(struct cache *cache, struct cache_stored *stored,
                  struct cache_bucket *ret_victims)
{
    cache_eviction_remove(cache->eviction, &stored->node);
    take_out(cache, stored, ret_victims);
}

size_t cache_evict(struct cache *cache, struct cache_bucket *victims)
{
    size_t count = 0;
    struct cache_eviction_node *node;
    while ((node = cache_eviction_evict(cache->eviction)) != NULL) {
        struct cache_stored *stored =
            (struct cache_stored *)((char *)node - offsetof(struct cache_stored, node));
        take_out(cache, stored, victims);
        count++;
    }
    cache->figures.evicted += (int64_t)count;
    return count;
}

void cache_release(struct cache_bucket *victims)
{
    struct cache_stored *stored;
    while ((stored = LIST_FIRST(victims)) != NULL) {
        LIST_REMOVE(stored, bucket);
        cache_entry_drop(&stored->is);
    }
}

/* Replaces an older entry of the same variant. Of too many variants it removes the least used,
 * whose count the new one begins with: so each variant that has more than 1 in VARIANTS_MAX of an
 * address's requests stays, however many others somebody asks for (Metwally, Agrawal, El Abbadi:
 * "Efficient Computation of Frequent and Top-k Elements in Data Streams", 2005, "Space-Saving"). */
int cache_link(struct cache *cache, struct cache_stored *stored, struct cache_bucket *ret_victims)
{
    struct cache_bucket *bucket = bucket_of(cache, stored->node.hash);
    struct cache_stored *other, *next, *least = NULL;
    size_t variants = 0;
    int err = cache_eviction_add(cache->eviction, &stored->node);
    if (err != 0)
        return err;
    for (other = LIST_FIRST(bucket); other != NULL; other = next) {
        next = LIST_NEXT(other, bucket);
        if (!has_key(other, stored->node.hash, stored->is.key))
            continue;
        if (ps_str_same(other->is.vary, stored->is.vary)) {
            stored->uses = other->uses;
            cache_unlink(cache, other, ret_victims);
        } else {
            variants++;
            least = least == NULL || other->uses <= least->uses ? other : least;
        }
    }
    if (variants >= VARIANTS_MAX) {
        stored->uses = least->uses;
        cache_unlink(cache, least, ret_victims);
        cache->figures.evicted++;
    }
    LIST_INSERT_HEAD(bucket, stored, bucket);
    stored->linked = true;
    stored->purges_seen = cache->purges.last;
    atomic_fetch_add_explicit(&stored->refs, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&cache->held, stored->node.bytes, memory_order_relaxed);
    (void)cache_evict(cache, ret_victims);
    return 0;
}

bool cache_reserve(struct cache *cache, struct cache_fill *fill, size_t bytes)
{
    size_t held = atomic_load_explicit(&cache->held, memory_order_relaxed);
    if (cache_eviction_bytes(cache->eviction) + held + cache->filling + bytes > cache->bytes_max)
        return false;
    cache->filling += bytes;
    fill->reserved += bytes;
    return true;
}

/* --- Hit for miss. --- */

static struct cache_mark *mark_of(struct cache *cache, uint64_t hash)
{
    return &cache->marks[hash >> 32 & (CACHE_MARKS - 1)];
}

void cache_mark(struct cache *cache, uint64_t hash, int64_t until_ms)
{
    struct cache_mark *mark = mark_of(cache, hash);
    if (until_ms != 0 || mark->hash == hash)
        *mark = (struct cache_mark){hash, until_ms};
}

static bool is_marked(struct cache *cache, uint64_t hash, int64_t now_ms)
{
    const struct cache_mark *mark = mark_of(cache, hash);
    return mark->hash == hash && now_ms < mark->until_ms;
}

/* --- Asking. --- */

/* A fetch in progress for the same variant that the request may join; else the variant's hash. */
static struct cache_fill *find_flight(struct cache *cache, const struct cache_query *query,
                                      uint64_t key_hash, uint64_t *ret_hash)
{
    char text[CACHE_VARY_TEXT_MAX];
    struct ps_buf vary;
    struct cache_stored *stored;
    struct cache_fill *fill;
    *ret_hash = key_hash;
    LIST_FOREACH(stored, bucket_of(cache, key_hash), bucket)
    {
        if (!has_key(stored, key_hash, query->key) || stored->is.vary.len == 0)
            continue;
        ps_buf_init(&vary, text, sizeof text);
        if (cache_vary_put_like(stored->is.vary, query->asked->message, &vary))
            *ret_hash ^= ps_hash64(&cache->key, text, vary.len);
        break;
    }
    LIST_FOREACH(fill, &cache->flights[*ret_hash % CACHE_FLIGHTS], flight)
    {
        if (fill->flight_hash == *ret_hash && ps_str_same(fill->key, query->key))
            return fill;
    }
    return NULL;
}

static void give(struct cache_found *found, enum cache_ask ask, struct cache_stored *stored)
{
    found->ask = ask;
    if (stored != NULL)
        found->entry = cache_entry_keep(&stored->is);
}

/* The caller fetches, for all who arrive meanwhile or for itself alone. */
static void give_fill(struct cache *cache, const struct cache_query *query, uint64_t key_hash,
                      struct cache_stored *stale, struct cache_found *found)
{
    const struct cache_asked *asked = query->asked;
    if (!asked->is_get || asked->for_origin || asked->range.at != NULL)
        return; /* its answer may not be kept */
    found->fill = cache_fill_new(cache, asked, query->route, query->key, key_hash);
    if (found->fill != NULL && stale != NULL) {
        cache_entry_keep(&stale->is);
        found->fill->stale = stale;
    }
}

static void open_flight(struct cache *cache, struct cache_fill *fill, uint64_t hash,
                        const struct cache_waiter *waiter)
{
    fill->joinable = true;
    fill->flight_hash = hash;
    fill->failures = waiter != NULL ? waiter->failures : 0;
    LIST_INSERT_HEAD(&cache->flights[hash % CACHE_FLIGHTS], fill, flight);
}

/* May a request for which no entry is usable not share its answer with others? */
static bool is_alone(struct cache *cache, const struct cache_query *query, uint64_t key_hash,
                     const struct cache_stored *stale)
{
    return !cache_asked_may_lead(query->asked, query->route) ||
           is_marked(cache, key_hash, query->now_ms) ||
           (stale != NULL && (stale->is.kept.always_ask ||
                              stale->is.kept.lifetime_ms <= stale->is.kept.initial_age_ms));
}

/* No entry is usable now. */
static void fetch_or_wait(struct cache *cache, const struct cache_query *query, uint64_t key_hash,
                          struct cache_stored *stale, struct cache_found *found)
{
    uint64_t hash = 0;
    bool alone = is_alone(cache, query, key_hash, stale);
    struct cache_fill *under_way = alone ? NULL : find_flight(cache, query, key_hash, &hash);
    if (under_way != NULL && query->waiter != NULL) {
        found->ask = CACHE_ASK_WAIT;
        cache_fill_join(under_way, query->waiter);
        cache->figures.waits++;
        return;
    }
    give(found, CACHE_ASK_FETCH, stale);
    give_fill(cache, query, key_hash, stale, found);
    if (!alone && under_way == NULL && found->fill != NULL) {
        open_flight(cache, found->fill, hash, query->waiter);
        cache->figures.fetches++;
    } else {
        cache->figures.alone++;
    }
}

/* Is a stale entry served while nobody asks the origin for another one? */
static bool is_asked_behind(struct cache *cache, const struct cache_query *query, uint64_t key_hash,
                            uint64_t *ret_hash)
{
    return cache_asked_may_lead(query->asked, query->route) && !query->asked->only_if_cached &&
           find_flight(cache, query, key_hash, ret_hash) == NULL;
}

static void use_stale(struct cache *cache, const struct cache_query *query, uint64_t key_hash,
                      struct cache_stored *stored, struct cache_found *found)
{
    uint64_t hash;
    give(found, CACHE_ASK_HIT, stored);
    cache->figures.stale_hits++;
    if (!is_asked_behind(cache, query, key_hash, &hash))
        return;
    give_fill(cache, query, key_hash, stored, found);
    if (found->fill != NULL) {
        found->ask = CACHE_ASK_STALE;
        open_flight(cache, found->fill, hash, NULL);
    }
}

/* The stored answer for the request (NULL: none), how it may be used, and why it must be asked
 * for. */
static struct cache_stored *judge(struct cache *cache, const struct cache_query *query,
                                  uint64_t key_hash, enum cache_use *ret_use,
                                  struct cache_found *ret_found)
{
    const struct cache_asked *asked = query->asked;
    struct cache_stored *stored = NULL;
    *ret_found = (struct cache_found){.ask = CACHE_ASK_FETCH, .fwd = CACHE_FWD_MISS};
    *ret_use = CACHE_USE_ASK;
    if (cache_asked_may_hit(asked))
        stored = find(cache, key_hash, query->key, asked->message);
    if (stored == NULL)
        return NULL;
    *ret_use = cache_kept_use(&stored->is.kept, asked, query->route, query->now_ms);
    bool is_fresh =
        !stored->is.kept.always_ask && cache_kept_ttl_ms(&stored->is.kept, query->now_ms) > 0;
    ret_found->fwd = is_fresh ? CACHE_FWD_REQUEST : CACHE_FWD_STALE;
    return stored;
}

void cache_ask(struct cache *cache, const struct cache_query *query, struct cache_found *ret_found)
{
    const struct cache_asked *asked = query->asked;
    uint64_t key_hash = ps_hash64(&cache->key, query->key.at, query->key.len);
    enum cache_use use;
    pthread_mutex_lock(&cache->lock);
    cache_eviction_asked(cache->eviction, key_hash);
    struct cache_stored *stored = judge(cache, query, key_hash, &use, ret_found);
    if (stored != NULL) {
        cache_eviction_hit(cache->eviction, &stored->node);
        stored->uses++;
    }
    if (stored != NULL && use == CACHE_USE_FRESH) {
        give(ret_found, CACHE_ASK_HIT, stored);
        cache->figures.hits++;
    } else if (stored != NULL && use == CACHE_USE_STALE) {
        use_stale(cache, query, key_hash, stored, ret_found);
    } else if (asked->only_if_cached) {
        ret_found->ask = CACHE_ASK_ABSENT;
        cache->figures.absent++;
    } else {
        fetch_or_wait(cache, query, key_hash, stored, ret_found);
    }
    pthread_mutex_unlock(&cache->lock);
}

void cache_look(struct cache *cache, const struct cache_query *query, struct cache_found *ret_found)
{
    uint64_t key_hash = ps_hash64(&cache->key, query->key.at, query->key.len), hash;
    enum cache_use use;
    pthread_mutex_lock(&cache->lock);
    struct cache_stored *stored = judge(cache, query, key_hash, &use, ret_found);
    if (stored != NULL && use == CACHE_USE_FRESH)
        give(ret_found, CACHE_ASK_HIT, stored);
    else if (stored != NULL && use == CACHE_USE_STALE)
        give(ret_found,
             is_asked_behind(cache, query, key_hash, &hash) ? CACHE_ASK_STALE : CACHE_ASK_HIT,
             stored);
    else if (query->asked->only_if_cached)
        ret_found->ask = CACHE_ASK_ABSENT;
    else if (!is_alone(cache, query, key_hash, stored) &&
             find_flight(cache, query, key_hash, &hash) != NULL)
        ret_found->ask = CACHE_ASK_WAIT;
    else
        give(ret_found, CACHE_ASK_FETCH, stored);
    pthread_mutex_unlock(&cache->lock);
}

struct cache_entry *cache_stale(struct cache *cache, const struct cache_asked *asked,
                                struct ps_str key)
{
    uint64_t key_hash = ps_hash64(&cache->key, key.at, key.len);
    struct cache_entry *entry = NULL;
    if (!cache_asked_may_hit(asked))
        return NULL;
    pthread_mutex_lock(&cache->lock);
    struct cache_stored *stored = find(cache, key_hash, key, asked->message);
    if (stored != NULL && cache_kept_may_be_stale(&stored->is.kept))
        entry = cache_entry_keep(&stored->is);
    pthread_mutex_unlock(&cache->lock);
    return entry;
}

/* --- Purging. --- */

size_t cache_purge_key(struct cache *cache, struct ps_str key)
{
    uint64_t hash = ps_hash64(&cache->key, key.at, key.len);
    struct cache_bucket victims = LIST_HEAD_INITIALIZER(victims);
    struct cache_stored *stored, *next;
    struct cache_fill *fill;
    size_t count = 0;
    pthread_mutex_lock(&cache->lock);
    for (stored = LIST_FIRST(bucket_of(cache, hash)); stored != NULL; stored = next) {
        next = LIST_NEXT(stored, bucket);
        if (has_key(stored, hash, key)) {
            cache_unlink(cache, stored, &victims);
            count++;
        }
    }
    LIST_FOREACH(fill, &cache->fills, all)
    {
        if (fill->key_hash == hash) {
            fill->purged = true;
            cache_fill_close(fill);
        }
    }
    cache->figures.purged += (int64_t)count;
    pthread_mutex_unlock(&cache->lock);
    cache_release(&victims);
    return count;
}

/* --- The whole. --- */

/* Seven eighths: the rest is for answers that arrive or are still being sent. */
static size_t capacity_of(const struct cfg_cache *doc)
{
    return (size_t)(doc->bytes - doc->bytes / 8);
}

static size_t bucket_count_of(const struct cfg_cache *doc)
{
    size_t count = BUCKETS_MIN;
    while (count < (size_t)doc->bytes / BYTES_A_BUCKET && count < BUCKETS_MAX)
        count *= 2;
    return count;
}

static int take_doc(struct cache *cache, const struct cfg_cache *doc)
{
    cache->bucket_count = bucket_count_of(doc);
    cache->bytes_max = (size_t)doc->bytes;
    cache->object_bytes_max = (size_t)doc->object_bytes_max;
    cache->algorithm = doc->eviction;
    cache->capacity = capacity_of(doc);
    cache->buckets = calloc(cache->bucket_count, sizeof *cache->buckets);
    if (cache->buckets == NULL)
        return PS_E_NOMEM;
    int err = cache_eviction_new(doc->eviction, capacity_of(doc), &cache->eviction);
    if (err != 0)
        free(cache->buckets);
    return err;
}

int cache_new(const struct cfg_cache *doc, struct cache_wakeups *wakeups, struct cache **ret_cache)
{
    struct cache *cache = calloc(1, sizeof *cache);
    if (cache == NULL)
        return PS_E_NOMEM;
    int err = take_doc(cache, doc);
    if (err != 0) {
        free(cache);
        return err;
    }
    atomic_init(&cache->users, 1);
    atomic_init(&cache->alive, 1);
    cache->wakeups = wakeups;
    ps_hash_key_random(&cache->key);
    pthread_mutex_init(&cache->lock, NULL);
    LIST_INIT(&cache->fills);
    TAILQ_INIT(&cache->purges.under_way);
    *ret_cache = cache;
    return 0;
}

/* Moves every entry to a table and an eviction of the new size, under the lock: a microsecond for
 * each of many entries. */
static int make_anew(struct cache *cache, const struct cfg_cache *doc)
{
    struct cache_bucket victims = LIST_HEAD_INITIALIZER(victims);
    struct cache made = {0};
    int err = take_doc(&made, doc);
    if (err != 0)
        return err;
    pthread_mutex_lock(&cache->lock);
    struct cache_eviction *old_eviction = cache->eviction;
    struct cache_bucket *old_buckets = cache->buckets;
    size_t old_count = cache->bucket_count;
    err = cache_eviction_move(made.eviction, old_eviction);
    if (err != 0) {
        pthread_mutex_unlock(&cache->lock);
        cache_eviction_free(made.eviction);
        free(made.buckets);
        return err;
    }
    cache->eviction = made.eviction;
    cache->buckets = made.buckets;
    cache->bucket_count = made.bucket_count;
    cache->bytes_max = made.bytes_max;
    cache->object_bytes_max = made.object_bytes_max;
    cache->algorithm = made.algorithm;
    cache->capacity = made.capacity;
    cache->purges.at = 0; /* it is another table: start anew */
    for (size_t i = 0; i < old_count; i++) {
        /* A chain has its newest entry first; reversing it twice keeps that order. */
        struct cache_bucket turned = LIST_HEAD_INITIALIZER(turned);
        for (int turn = 0; turn < 2; turn++) {
            struct cache_bucket *from = turn == 0 ? &old_buckets[i] : &turned;
            struct cache_stored *stored;
            while ((stored = LIST_FIRST(from)) != NULL) {
                LIST_REMOVE(stored, bucket);
                LIST_INSERT_HEAD(turn == 0 ? &turned : bucket_of(cache, stored->node.hash), stored,
                                 bucket);
            }
        }
    }
    (void)cache_evict(cache, &victims);
    pthread_mutex_unlock(&cache->lock);
    cache_release(&victims);
    cache_eviction_free(old_eviction);
    free(old_buckets);
    return 0;
}

/* A table that is half or twice the best size will do: so a purge, which is a version of its own,
 * and most changes of the size move nothing. */
int cache_set(struct cache *cache, const struct cfg_cache *doc)
{
    if (doc->eviction != cache->algorithm || bucket_count_of(doc) > 2 * cache->bucket_count)
        return make_anew(cache, doc);
    pthread_mutex_lock(&cache->lock);
    cache->bytes_max = (size_t)doc->bytes;
    cache->object_bytes_max = (size_t)doc->object_bytes_max;
    cache->capacity = capacity_of(doc);
    pthread_mutex_unlock(&cache->lock);
    (void)cache_sweep(cache);
    return 0;
}

struct cache *cache_keep(struct cache *cache)
{
    atomic_fetch_add_explicit(&cache->users, 1, memory_order_relaxed);
    return cache;
}

void cache_drop(struct cache *cache)
{
    if (cache == NULL || atomic_fetch_sub_explicit(&cache->users, 1, memory_order_acq_rel) != 1)
        return;
    cache_purge_prefix(cache, PS_STR(""));
    while (cache_sweep(cache))
        ;
    cache_purges_end(cache);
    drop_alive(cache);
}

void cache_read(struct cache *cache, struct cache_figures *ret_figures)
{
    struct cache_fill *fill;
    pthread_mutex_lock(&cache->lock);
    *ret_figures = cache->figures;
    ret_figures->entries = (int64_t)cache_eviction_count(cache->eviction);
    ret_figures->bytes = (int64_t)cache_eviction_bytes(cache->eviction);
    ret_figures->bytes_held = (int64_t)atomic_load_explicit(&cache->held, memory_order_relaxed);
    ret_figures->bytes_filling = (int64_t)cache->filling;
    ret_figures->bytes_max = (int64_t)cache->bytes_max;
    ret_figures->object_bytes_max = (int64_t)cache->object_bytes_max;
    ret_figures->eviction = cache->algorithm;
    LIST_FOREACH(fill, &cache->fills, all)
    ret_figures->waiting += (int64_t)fill->waiting_count;
    pthread_mutex_unlock(&cache->lock);
}
