/* Which fields of an answer an entry keeps, and what a request gets of it: entity tags, conditions
 * and ranges. Pure functions. */
#ifndef CACHE_FIELDS_H
#define CACHE_FIELDS_H

#include "gateway/cache/freshness.h"

/* Writes the fields that an entry keeps of an answer (3.1), as lines: without those of one
 * connection, of proxies' authentication, Content-Length (from the entry's body), Age and
 * Surrogate-Key. Adds a missing Date (RFC 9110, 6.6.1). */
void cache_fields_put(struct cache_message answer, int64_t wall_ms, struct ps_buf *buf);
/* Writes the lines of an entry after a 304 (3.2): the 304's fields replace those of the same name,
 * except those that describe the body. Adds a missing Date (RFC 9110, 6.6.1). */
void cache_fields_merge(struct ps_str stored, struct cache_message not_modified, int64_t wall_ms,
                        struct ps_buf *buf);
/* The value of a field in lines of "Name: value\r
 * "; .at == NULL: it is missing. */
struct ps_str cache_fields_find(struct ps_str lines, const char *name);
/* Does the 304 belong to the entry with this ETag (4.3.4)? `etag.at` NULL: it has none. */
bool cache_fields_same(struct ps_str etag, struct cache_message not_modified);

/* --- What a request gets of an entry: conditions and ranges (4.3.2; RFC 9110, 13 and 14). --- */

enum cache_part {
    CACHE_PART_WHOLE,
    CACHE_PART_NOT_MODIFIED, /* 304 */
    CACHE_PART_RANGE,        /* 206 */
    CACHE_PART_NO_RANGE      /* 416 */
};
/* `etag.at` NULL: the entry has none. A request for several ranges gets the whole. */
enum cache_part cache_part_of(const struct cache_asked *asked, const struct cache_kept *kept,
                              struct ps_str etag, uint64_t body_len, uint64_t *ret_first,
                              uint64_t *ret_len);

#endif
