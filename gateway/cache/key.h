/* What an answer is kept under: a key that begins with path and query, behind which the caller
 * writes what else the shop saw; and, when the answer says Vary, the values that its request had in
 * these fields (RFC 9111, 4.1). Pure functions; any thread. */
#ifndef CACHE_KEY_H
#define CACHE_KEY_H

#include "gateway/cache/freshness.h"

#define CACHE_KEY_MAX        4096 /* bytes; a longer one is not kept */
#define CACHE_PARAMETERS_MAX 64   /* of a query; one with more is not kept */
#define CACHE_VARY_TEXT_MAX  2048 /* names and values together; more is not kept */

/* Writes the query as it counts: the parameters that the route lists, or all, sorted by name; those
 * of one name stay in their order. Empty ones go. `query.at` NULL: there is none. False: there are
 * too many, or the buffer is too small.
 *
 * The request must go to the shop with this query and no other. An answer that is kept under a key
 * must come from what is in the key, or one visitor decides what others see. */
bool cache_query_put(const struct cfg_route_cache *route, struct ps_str query,
                     struct ps_buf *buf) PS_MUST_CHECK;

/* Writes "/path?a=1&b=2". `path.len` 0: "/". False: it is not kept. */
bool cache_key_put(const struct cfg_route_cache *route, struct ps_str path, struct ps_str query,
                   struct ps_buf *buf) PS_MUST_CHECK;

/* The key of what Location or Content-Location names, if it has the same host as the request for
 * `path` (RFC 9111, 4.4). `authority`: that of the request. False: it has not, or is no address. */
bool cache_key_put_named(const struct cfg_route_cache *route, struct ps_str authority,
                         struct ps_str path, struct ps_str named, struct ps_buf *buf) PS_MUST_CHECK;

/* Writes what the shop saw of a request in the fields of an answer's Vary:
 * "accept-language:de,en\n" for each, sorted. White space around commas goes, lines of one name are
 * joined; Accept-Encoding is lower case and sorted, Accept, Accept-Charset and Accept-Language are
 * lower case. Nothing is written without Vary, and of fields that are in the key. False: it says
 * "*", or names what the shop does not see as it came (`way`; NULL: all is passed), or is too long.
 */
bool cache_vary_put(struct cache_message answer, struct cache_message request,
                    cache_field_way_fn *way, struct ps_buf *buf) PS_MUST_CHECK;
/* Has the request the same in these fields? `vary` as above; "" fits any. */
bool cache_vary_fits(struct ps_str vary, struct cache_message request);
/* Writes what the request has in the fields that `vary` names. False: too long. */
bool cache_vary_put_like(struct ps_str vary, struct cache_message request,
                         struct ps_buf *buf) PS_MUST_CHECK;

#endif
