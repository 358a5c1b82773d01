/* The key of an answer: it begins with path and query, and the caller appends what else the shop
 * saw; and, for an answer with Vary, the values of its request in those fields (RFC 9111, 4.1).
 * Pure functions; any thread. */
#ifndef CACHE_KEY_H
#define CACHE_KEY_H

#include "gateway/cache/freshness.h"

#define CACHE_KEY_MAX        4096 /* bytes; a longer one is not kept */
#define CACHE_HOST_MAX       512
#define CACHE_PARAMETERS_MAX 64   /* of a query; one with more is not kept */
#define CACHE_VARY_TEXT_MAX  2048 /* names and values together; more is not kept */

/* Writes the query that counts: the parameters that the route lists, or all, sorted by name; equal
 * names keep their order. Drops empty ones. `query.at` NULL: there is none. False: too many, or the
 * buffer is too small.
 *
 * The request must be sent to the shop with exactly this query. An answer kept under a key must
 * depend only on what is in the key, or one visitor decides what others see. */
bool cache_query_put(const struct cfg_route_cache *route, struct ps_str query,
                     struct ps_buf *buf) PS_MUST_CHECK;

/* Writes "/path?a=1&b=2", of path and query in the one spelling of common/http/address.h.
 * `path.len` 0: "/". False: the answer is not kept. */
bool cache_key_put(const struct cfg_route_cache *route, struct ps_str path, struct ps_str query,
                   struct ps_buf *buf) PS_MUST_CHECK;

/* The key of the address in Location or Content-Location, if it has the same host as the request
 * for `path` (RFC 9111, 4.4). `authority`: that of the request. False: another host, or no
 * address. */
bool cache_key_put_named(const struct cfg_route_cache *route, struct ps_str authority,
                         struct ps_str path, struct ps_str named, struct ps_buf *buf) PS_MUST_CHECK;

/* Writes what the shop saw of a request in the fields of an answer's Vary: "accept-language:de,en
 * " for each, sorted. Removes white space around commas, joins lines of one name; Accept-Encoding
 * is lower case and sorted, Accept, Accept-Charset and Accept-Language are lower case. Writes
 * nothing without Vary, and nothing for fields that are in the key. False: it is "*", or names a
 * field that the shop does not see as it came (`way`; NULL: all are forwarded), or is too long. */
bool cache_vary_put(struct cache_message answer, struct cache_message request,
                    cache_field_way_fn *way, struct ps_buf *buf) PS_MUST_CHECK;
/* Does the request have the same values in these fields? `vary` as above; "" matches any. */
bool cache_vary_fits(struct ps_str vary, struct cache_message request);
/* Writes the request's values in the fields that `vary` names. False: too long. */
bool cache_vary_put_like(struct ps_str vary, struct cache_message request,
                         struct ps_buf *buf) PS_MUST_CHECK;

#endif
