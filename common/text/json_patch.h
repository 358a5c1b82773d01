/* Changes of JSON values: merge patches (RFC 7396) in, JSON patches (RFC 6902) out. Any thread. */
#ifndef PS_JSON_PATCH_H
#define PS_JSON_PATCH_H

#include "common/text/json.h"

/* `target` with the merge patch applied, as a new value. NULL: out of memory. */
json_t *ps_json_merge(const json_t *target, const json_t *patch) PS_MUST_CHECK;
/* The operations (add, remove, replace) that change `from` into `to`, as an array; either may be
 * NULL: no document. Elements of arrays are compared index by index. Owner: the caller. NULL: out
 * of memory.
 */
json_t *ps_json_difference(const json_t *from, const json_t *to) PS_MUST_CHECK;

#endif
