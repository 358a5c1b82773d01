/* Which route serves a request: the most specific one that serves its method. A host is more
 * specific than none, then an exact path than a prefix, then a longer prefix than a shorter one.
 * Pure functions. */
#ifndef UP_ROUTE_H
#define UP_ROUTE_H

#include "gateway/upstream/pool.h"

/* Fills the table's index from its routes. PS_E_NOMEM. */
int up_route_index(struct up_table *table) PS_MUST_CHECK;

/* `host` without a port, in any case; `path` as it was sent. NULL: there is none; *ret_other is
 * then a route of this path for other methods, or NULL. Costs one lookup for each slash of the
 * path, with the host and without. */
const struct up_route_view *up_route_find(const struct up_table *table, struct ps_str host,
                                          struct ps_str path, enum ps_http_method method,
                                          const struct up_route_view **ret_other);

/* Does the path have a segment "." or "..", in a spelling that a server behind the gateway may read
 * as one? It would be another path for a server that resolves it. So percent-encoded dots, slashes
 * and semicolons count, too, a backslash counts as a slash, and parameters (";a=b") are ignored.
 * Double encoding is left alone: this gateway decodes nothing, and a server decodes once. */
bool up_path_has_dots(struct ps_str path);

#endif
