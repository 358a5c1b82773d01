/* All pools and routes of the control thread: builds, from documents and discovery, the table that
 * workers use. Objects that carry figures (pools, endpoints, routes) outlive the documents'
 * versions: they are found again by name and address.
 *
 * One thread: control. */
#ifndef UP_REGISTRY_H
#define UP_REGISTRY_H

#include "gateway/config/store/store.h"
#include "gateway/upstream/membership.h"
#include "gateway/upstream/pool.h"

struct up_registry;
struct caches;

struct up_registry_deps {
    const struct ps_clock *clock;
    size_t worker_count;
    const struct up_membership *members; /* NULL: the documents name all endpoints */
    struct caches *caches;               /* NULL: routes have none */
};

int up_registry_new(const struct up_registry_deps *deps,
                    struct up_registry **ret_registry) PS_MUST_CHECK;
void up_registry_free(struct up_registry *registry); /* NULL is allowed */

/* Builds a table from the store's documents and makes it the current one; the caller gets a
 * reference. NULL: out of memory, the previous one stays. */
struct up_table *up_registry_build(struct up_registry *registry, const struct cfg_store *store);
/* Each 100 ms: judges endpoints (judge.h), and closes connections of those that left their pool
 * long enough ago. */
void up_registry_tick(struct up_registry *registry);

/* Of the current table; NULL: there is none. Valid until the next one is built. */
const struct up_pool_view *up_registry_pool(const struct up_registry *registry, const char *name);
const struct up_table *up_registry_table(const struct up_registry *registry);

#endif
