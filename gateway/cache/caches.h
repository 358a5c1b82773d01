/* All caches by name, as the documents have them. The control thread makes and changes them; the
 * tables of routes hold those that they name. */
#ifndef CACHES_H
#define CACHES_H

#include "gateway/config/store/store.h"
#include "gateway/cache/cache.h"

struct caches;

/* `wakeups` as cache_new. PS_E_NOMEM. */
int caches_new(struct cache_wakeups *wakeups, struct caches **ret_caches) PS_MUST_CHECK;
void caches_free(struct caches *caches); /* NULL is allowed */
/* Makes, changes and drops caches as the store has them, and does the purges that are new. A cache
 * that is new has no answers, so it has nothing to purge. PS_E_NOMEM: some are as they were. */
int caches_apply(struct caches *caches, const struct cfg_store *store) PS_MUST_CHECK;
/* Each 100 ms: frees a part of what was purged, and of caches without a document. */
void caches_tick(struct caches *caches);
/* NULL: there is none. */
struct cache *caches_find(const struct caches *caches, const char *name);
/* The i-th, for metrics and lists; NULL: no more. */
struct cache *caches_at(const struct caches *caches, size_t i, const char **ret_name);

#endif
