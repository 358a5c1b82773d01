/* All caches by name, as the documents have them. The control thread makes and changes them; the
 * tables of routes hold those that they name. */
#ifndef UP_CACHES_H
#define UP_CACHES_H

#include "gateway/config/store.h"
#include "gateway/upstream/cache.h"

struct up_caches;

/* `wakeups` as up_cache_new. PS_E_NOMEM. */
int up_caches_new(struct up_wakeups *wakeups, struct up_caches **ret_caches) PS_MUST_CHECK;
void up_caches_free(struct up_caches *caches); /* NULL is allowed */
/* Makes, changes and drops caches as the store has them, and does the purges that are new. A cache
 * that is new has no answers, so it has nothing to purge. PS_E_NOMEM: some are as they were. */
int up_caches_apply(struct up_caches *caches, const struct cfg_store *store) PS_MUST_CHECK;
/* NULL: there is none. */
struct up_cache *up_caches_find(const struct up_caches *caches, const char *name);
/* The i-th, for metrics and lists; NULL: no more. */
struct up_cache *up_caches_at(const struct up_caches *caches, size_t i, const char **ret_name);

#endif
