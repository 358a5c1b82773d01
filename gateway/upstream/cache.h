/* Answers of the shop in memory, one store for all workers (kind `caches`).
 *
 * A request asks; it gets an entry, or is the one who fetches, or waits for who does. The fetcher
 * gives the answer to a fill by parts, while it streams it to its own client; those who wait get
 * the entry when it is whole. A lock is held for a look-up or an insertion, for purges in slices of
 * 1,024 keys. An entry never changes: who holds it sends it from where it lies, also when it is
 * evicted meanwhile.
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
#ifndef UP_CACHE_H
#define UP_CACHE_H

#include "common/clock.h"
#include "gateway/config/cache_doc.h"
#include "gateway/upstream/cache_key.h"
#include "gateway/upstream/cache_rules.h"

#include <sys/queue.h>

struct up_cache;
struct up_fill;
struct up_wakeups;

/* --- What is kept. --- */

struct up_entry {
    struct up_kept kept;
    struct ps_str key;
    struct ps_str vary;   /* of up_vary_put; "" fits all */
    struct ps_str fields; /* lines, each with CRLF (up_fields_put) */
    struct ps_str etag;   /* .at == NULL: none */
    struct ps_str body;
};
/* Any thread. */
struct up_entry *up_entry_keep(struct up_entry *entry);
void up_entry_drop(struct up_entry *entry); /* NULL is allowed */

/* --- The store. The registry's thread makes and changes caches. --- */

/* `wakeups` must outlive the cache and whatever is held of it. PS_E_NOMEM. */
int up_cache_new(const struct cfg_cache *doc, struct up_wakeups *wakeups,
                 struct up_cache **ret_cache) PS_MUST_CHECK;
/* Another version of its document: sizes and eviction, with what is kept. PS_E_NOMEM: it stays as
 * it is. */
int up_cache_set(struct up_cache *cache, const struct cfg_cache *doc) PS_MUST_CHECK;
/* Any thread. With the last one all entries go. */
struct up_cache *up_cache_keep(struct up_cache *cache);
void up_cache_drop(struct up_cache *cache); /* NULL is allowed */

/* How many entries have gone. Answers under way that began before are not kept either. By key: any
 * thread. */
size_t up_cache_purge_key(struct up_cache *cache, struct ps_str key);
/* The registry's thread. By path: the key and those that begin with it and a space (those of
 * splits); it looks at all entries, as the others do. */
size_t up_cache_purge_path(struct up_cache *cache, struct ps_str key);
size_t up_cache_purge_prefix(struct up_cache *cache, struct ps_str prefix);
size_t up_cache_purge_tag(struct up_cache *cache, struct ps_str tag);

struct up_cache_figures {
    int64_t entries, bytes; /* kept */
    int64_t bytes_held;     /* evicted and still being sent */
    int64_t bytes_filling;  /* on their way in */
    int64_t bytes_max, object_bytes_max;
    enum cfg_eviction eviction;
    int64_t waiting; /* requests */
    /* Since it was made. */
    int64_t hits, stale_hits, fetches, alone, waits, absent;
    int64_t stores[UP_STORE_COUNT]; /* answers, by what became of them */
    int64_t revalidated, evicted, purged;
};
/* Any thread. */
void up_cache_read(struct up_cache *cache, struct up_cache_figures *ret_figures);

/* --- Asking: a worker's thread. --- */

enum up_told {
    UP_TOLD_ENTRY, /* it was fetched: send it if up_vary_fits, else ask again */
    UP_TOLD_AGAIN, /* ask again: this one fetches, or goes by itself */
    UP_TOLD_FAILED /* two fetches have failed */
};
/* A request that waits. It lies in the request, which must not go before it is told or cancelled.
 */
struct up_waiter {
    size_t worker;
    /* On the worker's thread, once; `entry` is the callee's, and NULL unless it is UP_TOLD_ENTRY.
     */
    void (*on_told)(struct up_waiter *waiter, enum up_told told, struct up_entry *entry);
    /* Inside. */
    TAILQ_ENTRY(up_waiter) link;
    struct up_cache *cache; /* not NULL: it waits */
    struct up_fill *fill;   /* NULL: it is about to be told */
    struct up_entry *entry;
    enum up_told told;
    unsigned failures;
};

enum up_ask {
    UP_ASK_HIT,   /* `entry` */
    UP_ASK_STALE, /* `entry`, and the caller fetches for `fill` in the background */
    UP_ASK_FETCH, /* the caller fetches; `entry` (or NULL) is stale and has validators to send */
    UP_ASK_WAIT,  /* on_told follows */
    UP_ASK_ABSENT /* only-if-cached: 504 */
};
struct up_found {
    enum up_ask ask;
    struct up_entry *entry; /* the caller's; may be NULL */
    struct up_fill *fill;   /* the caller's; NULL: the answer is not kept */
    enum up_forwarded fwd;  /* why it is fetched */
};
/* `key` is up_key_put's; `now_ms` is monotonic. A waiter with `worker` and `on_told`, otherwise
 * zeroed; NULL: it does not wait, but fetches by itself. */
void up_cache_ask(struct up_cache *cache, const struct up_asked *asked,
                  const struct cfg_route_cache *route, struct ps_str key, int64_t now_ms,
                  struct up_waiter *waiter, struct up_found *ret_found);
/* An entry for this request, however stale, if it may ever be used so; NULL: none. The caller's. */
struct up_entry *up_cache_stale(struct up_cache *cache, const struct up_asked *asked,
                                struct ps_str key);
/* The client has left: on_told does not follow. Nothing to do if it does not wait. */
void up_waiter_cancel(struct up_waiter *waiter);

/* --- Filling: the thread of the worker that fetches. Every fill ends by one of end, freshen (when
 * it gives an entry), fail, and left (when it says no). --- */

/* The answer's head is there. Other than UP_STORE_stored: it is not kept, and those who wait go by
 * themselves; the fill is still to be ended. `body_len` < 0: not known. */
enum up_store up_fill_begin(struct up_fill *fill, struct up_message answer,
                            const struct up_moments *moments, int64_t body_len);
/* False: it is not kept (any more). */
bool up_fill_part(struct up_fill *fill, struct ps_str part);
/* The answer is whole. The entry is the caller's; NULL: it is not kept. */
struct up_entry *up_fill_end(struct up_fill *fill);
/* The answer is a 304 for the entry's validators: an entry with its fields and the old body, the
 * caller's. NULL: it speaks of another one, or memory is short; fetch without validators. */
struct up_entry *up_fill_freshen(struct up_fill *fill, struct up_message not_modified,
                                 const struct up_moments *moments);
/* The fetch has failed, or its answer is 500 or above and is not kept. */
void up_fill_fail(struct up_fill *fill); /* NULL is allowed */
/* The fetcher's client has left. True: go on. False: the fill has ended, give up the fetch. */
bool up_fill_left(struct up_fill *fill);

/* --- Waking: waiters are told on their own worker's thread. --- */

/* `wake(worker, ctx)` may be called by any thread, with locks held: it must make that worker's
 * thread call up_wakeups_deliver soon. It is not called again until all were delivered. PS_E_NOMEM.
 */
int up_wakeups_new(size_t workers, void (*wake)(size_t worker, void *ctx), void *ctx,
                   struct up_wakeups **ret_wakeups) PS_MUST_CHECK;
void up_wakeups_free(struct up_wakeups *wakeups); /* nobody waits; NULL is allowed */
void up_wakeups_deliver(struct up_wakeups *wakeups, size_t worker);

#endif
