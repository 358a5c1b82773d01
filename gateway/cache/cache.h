/* Answers of the shop in memory, one store for all workers (kind `caches`).
 *
 * A request asks; it gets an entry, or must fetch, or waits for the request that fetches. The
 * fetcher passes the answer to a fill, part by part, while it streams it to its own client; those
 * who wait get the entry when it is complete. The lock is held for a look-up or an insertion, and
 * for purges in slices of some hundred entries. An entry never changes: a holder sends it in place,
 * even if it is evicted meanwhile.
 *
 * Bytes: entries with all that belongs to them take seven eighths of `bytes`; the rest is for
 * answers that arrive and for evicted entries that are still being sent. The sum never exceeds
 * `bytes`: an answer without room is not kept.
 *
 * Nobody hangs:
 * - the answer may not be kept, or is stale at once: all who wait fetch for themselves, and so does
 *   who asks in the next 60 s, until an answer can be kept ("hit for miss");
 * - the fetch fails: one of those who wait tries again; if that fails, too, all get the error;
 * - the fetcher's client leaves: the fetch continues if others wait or three quarters of a known
 *   length have arrived; else a later request fetches. */
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
    struct ps_str vary;   /* from cache_vary_put; "" matches every request */
    struct ps_str fields; /* lines, each with CRLF (cache_fields_put) */
    struct ps_str etag;   /* .at == NULL: none */
    struct ps_str body;
};
/* Any thread. */
struct cache_entry *cache_entry_keep(struct cache_entry *entry);
void cache_entry_drop(struct cache_entry *entry); /* NULL is allowed */

/* --- The store. The registry's thread makes and changes caches. --- */

/* `wakeups` must outlive the cache and all that is held of it. PS_E_NOMEM. */
int cache_new(const struct cfg_cache *doc, struct cache_wakeups *wakeups,
              struct cache **ret_cache) PS_MUST_CHECK;
/* Applies another version of its document (sizes and eviction); keeps the entries. PS_E_NOMEM:
 * nothing changed. */
int cache_set(struct cache *cache, const struct cfg_cache *doc) PS_MUST_CHECK;
/* Any thread. The entries are freed with the last reference. */
struct cache *cache_keep(struct cache *cache);
void cache_drop(struct cache *cache); /* NULL is allowed */

/* Purged entries are returned to nobody from now on. Returns how many were removed at once;
 * cache_sweep removes the others. Answers in progress that began before are not kept either. By
 * key: any thread, and all are removed at once. */
size_t cache_purge_key(struct cache *cache, struct ps_str key);
/* The registry's thread. By path, with its query: of all origins ("/p/1?id=2") or of one host with
 * any scheme ("shop.example/p/1", with its port if the scheme does not imply it). By prefix: the
 * same for all paths that begin so. */
size_t cache_purge_path(struct cache *cache, struct ps_str text);
size_t cache_purge_prefix(struct cache *cache, struct ps_str text);
size_t cache_purge_tag(struct cache *cache, struct ps_str tag);
/* The same thread, now and then: removes some of what was purged, or is too much since the cache
 * became smaller, for some milliseconds. True: there is more. */
bool cache_sweep(struct cache *cache);

struct cache_figures {
    int64_t entries, bytes; /* kept */
    int64_t bytes_held;     /* evicted, but still being sent */
    int64_t bytes_filling;  /* arriving */
    int64_t bytes_max, object_bytes_max;
    enum cfg_eviction eviction;
    int64_t waiting; /* requests */
    /* Since the cache was created. */
    int64_t hits, stale_hits, fetches, alone, waits, absent;
    int64_t stores[CACHE_STORE_COUNT]; /* answers, by whether and why not they were kept */
    int64_t revalidated, evicted, purged;
};
/* Any thread. */
void cache_read(struct cache *cache, struct cache_figures *ret_figures);

/* --- Asking: a worker's thread. --- */

enum cache_result {
    CACHE_RESULT_ENTRY, /* it was fetched: send it if cache_vary_fits, else ask again */
    CACHE_RESULT_AGAIN, /* ask again: this request becomes the fetcher, or fetches for itself */
    CACHE_RESULT_FAILED /* two fetches have failed */
};
/* A request that waits. It is part of the request, which must stay until on_result or
 * cancellation. */
struct cache_waiter {
    size_t worker;
    /* Called once, on the worker's thread; the callee owns `entry`, which is NULL unless it is
     * CACHE_RESULT_ENTRY. */
    void (*on_result)(struct cache_waiter *waiter, enum cache_result result,
                      struct cache_entry *entry);
    /* Private. */
    TAILQ_ENTRY(cache_waiter) link;
    struct cache *cache;     /* not NULL while it waits */
    struct cache_fill *fill; /* NULL: on_result is about to be called */
    struct cache_entry *entry;
    enum cache_result result;
    unsigned failures;
};

enum cache_ask {
    CACHE_ASK_HIT,   /* `entry` */
    CACHE_ASK_STALE, /* `entry`, and the caller fetches in the background for `fill` */
    CACHE_ASK_FETCH, /* the caller fetches; `entry` (or NULL) is stale, with validators to send */
    CACHE_ASK_WAIT,  /* on_result follows */
    CACHE_ASK_ABSENT /* only-if-cached: 504 */
};
struct cache_found {
    enum cache_ask ask;
    struct cache_entry *entry; /* the caller owns it; may be NULL */
    struct cache_fill *fill;   /* the caller owns it; NULL: the answer is not kept */
    enum cache_forwarded fwd;  /* why it must be fetched */
};
struct cache_query {
    const struct cache_asked *asked;
    const struct cfg_route_cache *route;
    struct ps_str key; /* begins as cache_key_put has it */
    int64_t now_ms;    /* monotonic */
    /* With `worker` and `on_result`, otherwise zeroed; NULL: the caller does not wait, it fetches.
     */
    struct cache_waiter *waiter;
};
void cache_ask(struct cache *cache, const struct cache_query *query, struct cache_found *ret_found);
/* What cache_ask would answer, with the entry (without a fill); nothing is counted, and nobody
 * waits. The caller owns the entry. */
void cache_look(struct cache *cache, const struct cache_query *query,
                struct cache_found *ret_found);
/* An entry for this request, of any age, if it may be served stale; NULL: none. The caller owns
 * it. */
struct cache_entry *cache_stale(struct cache *cache, const struct cache_asked *asked,
                                struct ps_str key);
/* The client has left: on_result will not be called. Does nothing if it does not wait. */
void cache_waiter_cancel(struct cache_waiter *waiter);

/* --- Filling: the thread of the worker that fetches. Every fill ends by one of end, freshen (when
 * it gives an entry), fail, and left (when it says no). --- */

/* The answer's head has arrived. Other than CACHE_STORE_stored: it is not kept, and those who wait
 * fetch for themselves; the fill must still be ended. `body_len` < 0: not known. */
enum cache_store cache_fill_begin(struct cache_fill *fill, struct cache_message answer,
                                  const struct cache_moments *moments, int64_t body_len);
/* False: it is not kept (any more). */
bool cache_fill_part(struct cache_fill *fill, struct ps_str part);
/* The answer is complete. The caller owns the entry; NULL: it is not kept. */
struct cache_entry *cache_fill_end(struct cache_fill *fill);
/* The answer is a 304 for the entry's validators: returns an entry with its fields and the old
 * body, which the caller owns. NULL: the 304 belongs to another entry, or out of memory; fetch
 * without validators. */
struct cache_entry *cache_fill_freshen(struct cache_fill *fill, struct cache_message not_modified,
                                       const struct cache_moments *moments);
/* The fetch has failed, or its answer is 500 or above and is not kept. */
void cache_fill_fail(struct cache_fill *fill); /* NULL is allowed */
/* The fetcher's client has left. True: continue. False: the fill has ended, cancel the fetch. */
bool cache_fill_left(struct cache_fill *fill);

/* --- Waking: waiters are told on their own worker's thread. --- */

/* Any thread may call `wake(worker, ctx)`, with locks held: it must make that worker's thread call
 * cache_wakeups_deliver soon. It is not called again before all were delivered. PS_E_NOMEM. */
int cache_wakeups_new(size_t workers, void (*wake)(size_t worker, void *ctx), void *ctx,
                      struct cache_wakeups **ret_wakeups) PS_MUST_CHECK;
void cache_wakeups_free(struct cache_wakeups *wakeups); /* nobody waits; NULL is allowed */
void cache_wakeups_deliver(struct cache_wakeups *wakeups, size_t worker);

#endif
