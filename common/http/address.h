/* One spelling for each address (RFC 3986, section 6.2.2): escapes of unreserved characters are
 * decoded, the hexadecimal digits of others are upper case, and bytes that an address may not have
 * are encoded. Reserved characters and their escapes stay apart: "/a%2Fb" is not "/a/b". Pure
 * functions; any thread. */
#ifndef PS_HTTP_ADDRESS_H
#define PS_HTTP_ADDRESS_H

#include "common/text/buf.h"

/* Bytes that browsers send in a path and in a query as they are, though RFC 3986 wants them
 * encoded (WHATWG URL, "path percent-encode set"): [ ] | ^ ` { } and all above 0x7F. */
bool ps_http_is_odd(char byte);

/* Is it spelt so already? */
bool ps_http_is_normal(struct ps_str address);
/* Writes a path, a query or both so; at most three times as long. False: a '%' without two
 * hexadecimal digits, a NUL, or no room. */
bool ps_http_put_normal(struct ps_buf *buf, struct ps_str address) PS_MUST_CHECK;

/* "shop.example" of "shop.example.:8080": without the port and the final dot. */
struct ps_str ps_http_host_name(struct ps_str authority);
/* Writes the authority in lower case, without final dot and without the port that `scheme` ("http",
 * "https"; NULL: either) implies. */
void ps_http_put_authority(struct ps_buf *buf, struct ps_str authority, const char *scheme);

#endif
