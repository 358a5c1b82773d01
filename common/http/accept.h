/* Content negotiation by Accept (RFC 9110, section 12.5.1). */
#ifndef PS_HTTP_ACCEPT_H
#define PS_HTTP_ACCEPT_H

#include "common/text/buf.h"

/* How much the client wants a media type, in thousandths: the weight of the most specific range
 * that has it; 0: not at all. A range with the parameter `version` has it only if `version` is that
 * one. `accept` .at == NULL: the field is absent, and everything is as good. *ret_named: the range
 * names the type itself; may be NULL. Ranges that are malformed have no type. */
int ps_http_quality(struct ps_str accept, const char *type, const char *version, bool *ret_named);

#endif
