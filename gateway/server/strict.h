/* Rules for the fields of a request beyond HTTP's own (common/http). */
#ifndef SRV_STRICT_H
#define SRV_STRICT_H

#include "common/defs.h"

/* True when the value of Content-Type is application/json, in any case, with or without parameters.
 * .at == NULL: there is none. */
bool srv_strict_json(struct ps_str type);

/* True when the value of Content-Encoding says that the body is not compressed, or there is none.
 */
bool srv_strict_plain(struct ps_str encoding);

/* True when `text` is 1-64 bytes of [A-Za-z0-9._-]. */
bool srv_strict_request_id(struct ps_str text);

/* Does a field of this name have a special meaning here, such as Host and X-User-Id? */
bool srv_strict_knows(struct ps_str name);

#endif
