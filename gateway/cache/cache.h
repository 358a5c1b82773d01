/* Answers of the shop in memory, one store for all workers (kind `caches`).
 *
 * A request asks; it gets an entry, or is the one who fetches, or waits for who does. The fetcher
 * gives the answer to a fill by parts, while it streams it to its own client; those who wait get
 * the entry when it is whole. A lock is held for a look-up or an insertion, for purges in slices of
 * some hundred entries. An entry never changes: who holds it sends it from where it lies, also when
 * it is evicted meanwhile.
 *
 * Bytes: entries with all that belongs to them take seven eighths of `bytes`; answers on their way
 * in and evicted entries that are still being sent get what is left. Nothing passes `bytes`: an
 * answer for which there is no room is not kept.
 *
 * Nobody is stuck:
 * - the answer may not be kept, or is stale at once: all who wait go by themselves, and so does who
 *   asks in the next 60 s, until an answer can be kept ("hit for miss");
 * - the fetch fails: one of those who wait tries again; when that fails, too, all are told;
 * - the fetcher's client leaves: the fetch goes on if others wait or three quarters of a known
 *   length are there, else one who comes later fetches. */
#ifndef CACHE_H
#define CACHE_H

#include "common/clock.h"
#include "gateway/config/kinds/cache_doc.h"
#include "gateway/cache/fields.h"
#include "gateway/cache/key.h"

#include <sys/queue.h>

struct cache;
struct cache_fill;
struct cache_wakeups;

/* --- What is kept. --- */

struct cache_entry {
    struct cache_kept kept;
    struct ps_str key;
    struct ps_str vary;   /* of cache_vary_put; "" fits all */
    struct ps_str fields; /* lines, each with CRLF (cache_fields_put) */
    struct ps_str etag;   /* .at == NULL: none */
    struct ps_str body;
};
/* Any thread. */
struct cache_entry *cache_entry_keep(struct cache_entry *entry);
void cache_entry_drop(struct cache_entry *entry); /* NULL is allowed */

/* --- The store. The registry's thread makes and changes caches. --- */

/* `wakeups` must outlive the cache and whatever is held of it. PS_E_NOMEM. */
int cache_new(const struct cfg_cache *doc, struct cache_wakeups *wakeups,
              struct cache **ret_cache) PS_MUST_CHECK;
/* Another version of its document: sizes and eviction, with what is kept. PS_E_NOMEM: it stays as
 * it is. */
int cache_set(struct cache *cache, const struct cfg_cache *doc) PS_MUST_CHECK;
/* Any thread. With the last one all entries go. */
struct cache *cache_keep(struct cache *cache);
void cache_drop(struct cache *cache); /* NULL is allowed */

/* What is purged is given to nobody from now on; how many entries have gone at once: the others go
 * by cache_sweep. Answers under way that began before are not kept either. By key: any thread, and
 * all go at once. */
size_t cache_purge_key(struct cache *cache, struct ps_str key);
/* The registry's thread. By path, with its query: of all origins ("/p/1?id=2") or of one host by
 * whatever scheme ("shop.example/p/1", with its port if the scheme does not imply it). By prefix:
 * the same of all paths that begin so. */
size_t cache_purge_path(struct cache *cache, struct ps_str text);
size_t cache_purge_prefix(struct cache *cache, struct ps_str text);
size_t cache_purge_tag(struct cache *cache, struct ps_str tag);
/* The same thread, now and then: frees a part of what was purged or is too much since the cache
 * was made smaller, some milliseconds' worth. True: there is more. */
bool cache_sweep(struct cache *cache);

struct cache_figures {
    int64_t entries, bytes; /* kept */
    int64_t bytes_held;     /* evicted and still being sent */
    int64_t bytes_filling;  /* on their way in */
    int64_t bytes_max, object_bytes_max;
    enum cfg_eviction eviction;
    int64_t waiting; /* requests */
    /* Since it was made. */
    int64_t hits, stale_hits, fetches, alone, waits, absent;
    int64_t stores[CACHE_STORE_COUNT]; /* answers, by what became of them */
    int64_t revalidated, evicted, purged;
};
/* Any thread. */
void cache_read(struct cache *cache, struct cache_figures *ret_figures);

/* --- Asking: a worker's thread. --- */

enum cache_told {
    CACHE_TOLD_ENTRY, /* it was fetched: send it if cache_vary_fits, else ask again */
    CACHE_TOLD_AGAIN, /* ask again: this one fetches, or goes by itself */
    CACHE_TOLD_FAILED /* two fetches have failed */
};
/* A request that waits. It lies in the request, which must not go before it is told or cancelled.
 */
struct cache_waiter {
    size_t worker;
    /* On the worker's thread, once; `entry` is the callee's, and NULL unless it is
     * CACHE_TOLD_ENTRY.
     */
    void (*on_told)(struct cache_waiter *waiter, enum cache_told told, struct cache_entry *entry);
    /* Inside. */
    TAILQ_ENTRY(cache_waiter) link;
    struct cache *cache;     /* not NULL: it waits */
    struct cache_fill *fill; /* NULL: it is about to be told */
    struct cache_entry *entry;
    enum cache_told told;
    unsigned failures;
};

enum cache_ask {
    CACHE_ASK_HIT,   /* `entry` */
    CACHE_ASK_STALE, /* `entry`, and the caller fetches for `fill` in the background */
    CACHE_ASK_FETCH, /* the caller fetches; `entry` (or NULL) is stale and has validators to send */
    CACHE_ASK_WAIT,  /* on_told follows */
    CACHE_ASK_ABSENT /* only-if-cached: 504 */
};
struct cache_found {
    enum cache_ask ask;
    struct cache_entry *entry; /* the caller's; may be NULL */
    struct cache_fill *fill;   /* the caller's; NULL: the answer is not kept */
    enum cache_forwarded fwd;  /* why it is fetched */
};
struct cache_query {
    const struct cache_asked *asked;
    const struct cfg_route_cache *route;
    struct ps_str key; /* begins as cache_key_put has it */
    int64_t now_ms;    /* monotonic */
    /* With `worker` and `on_told`, otherwise zeroed; NULL: the caller does not wait, it fetches. */
    struct cache_waiter *waiter;
};
void cache_ask(struct cache *cache, const struct cache_query *query, struct cache_found *ret_found);
/* An entry for this request, however stale, if it may ever be used so; NULL: none. The caller's. */
struct cache_entry *cache_stale(struct cache *cache, const struct cache_asked *asked,
                                struct ps_str key);
/* The client has left: on_told does not follow. Nothing to do if it does not wait. */
void cache_waiter_cancel(struct cache_waiter *waiter);

/* --- Filling: the thread of the worker that fetches. Every fill ends by one of end, freshen (when
 * it gives an entry), fail, and left (when it says no). --- */

/* The answer's head is there. Other than CACHE_STORE_stored: it is not kept, and those who wait go
 * by themselves; the fill is still to be ended. `body_len` < 0: not known. */
enum cache_store cache_fill_begin(struct cache_fill *fill, struct cache_message answer,
                                  const struct cache_moments *moments, int64_t body_len);
/* False: it is not kept (any more). */
bool cache_fill_part(struct cache_fill *fill, struct ps_str part);
/* The answer is whole. The entry is the caller's; NULL: it is not kept. */
struct cache_entry *cache_fill_end(struct cache_fill *fill);
/* The answer is a 304 for the entry's validators: an entry with its fields and the old body, the
 * caller's. NULL: it speaks of another one, or memory is short; fetch without validators. */
struct cache_entry *cache_fill_freshen(struct cache_fill *fill, struct cache_message not_modified,
                                       const struct cache_moments *moments);
/* The fetch has failed, or its answer is 500 or above and is not kept. */
void cache_fill_fail(struct cache_fill *fill); /* NULL is allowed */
/* The fetcher's client has left. True: go on. False: the fill has ended, give up the fetch. */
bool cache_fill_left(struct cache_fill *fill);

/* --- Waking: waiters are told on their own worker's thread. --- */

/* `wake(worker, ctx)` may be called by any thread, with locks held: it must make that worker's
 * thread call cache_wakeups_deliver soon. It is not called again until all were delivered.
 * PS_E_NOMEM.
 */
int cache_wakeups_new(size_t workers, void (*wake)(size_t worker, void *ctx), void *ctx,
                      struct cache_wakeups **ret_wakeups) PS_MUST_CHECK;
void cache_wakeups_free(struct cache_wakeups *wakeups); /* nobody waits; NULL is allowed */
void cache_wakeups_deliver(struct cache_wakeups *wakeups, size_t worker);

#endif
