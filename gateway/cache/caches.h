/* All caches by name. The control thread creates and changes them after the documents; the tables
 * of routes hold those that they name. */
#ifndef CACHES_H
#define CACHES_H

#include "gateway/config/store/store.h"
#include "gateway/cache/cache.h"

struct caches;

/* `wakeups` as cache_new. PS_E_NOMEM. */
int caches_new(struct cache_wakeups *wakeups, struct caches **ret_caches) PS_MUST_CHECK;
void caches_free(struct caches *caches); /* NULL is allowed */
/* Creates, changes and drops caches to match the store's documents, and applies new purges. A new
 * cache is empty, so it has nothing to purge. PS_E_NOMEM: some are unchanged. */
int caches_apply(struct caches *caches, const struct cfg_store *store) PS_MUST_CHECK;
/* Each 100 ms: removes some of what was purged, and of caches without a document. */
void caches_tick(struct caches *caches);
/* NULL: there is none. */
struct cache *caches_find(const struct caches *caches, const char *name);
/* The i-th, for metrics and lists; NULL: no more. */
struct cache *caches_at(const struct caches *caches, size_t i, const char **ret_name);

#endif
