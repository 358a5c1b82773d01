/* Via (RFC 9110, section 7.6.3): the field that every gateway adds to requests and answers, and by
 * which it recognizes a request that comes back. */
#ifndef UP_VIA_H
#define UP_VIA_H

#include "common/http/head.h"

/* The pseudonym is the same for every gateway: so a loop through several of them ends as well. */
#define UP_VIA_NAME "penstock"
#define UP_VIA      "1.1 " UP_VIA_NAME
#define UP_VIA_MAX  2 /* a gateway before a shop whose server asks another one is no loop */

/* Has the request passed gateways of this program more than UP_VIA_MAX times? Counts the elements
 * of all Via lines whose received-by is UP_VIA_NAME, in any case of letters. `base`: where the head
 * begins. Pure; any thread. */
bool up_via_loops(const struct ps_http_head *head, const char *base);

#endif
