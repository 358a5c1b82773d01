/* How many connections each address has: IPv4 one by one, IPv6 by its /64 and by its /48, which is
 * what one customer may have. One thread. */
#ifndef SRV_ADDRESS_COUNT_H
#define SRV_ADDRESS_COUNT_H

#include "common/text/address.h"
#include "common/err.h"

/* A /48 may have so many times what a /64 may have. */
#define SRV_ADDRESS_SITE 4

struct srv_address_count;

/* At most `connections` at once, at most `most` of one address. PS_E_NOMEM. */
int srv_address_count_new(size_t connections, size_t most,
                          struct srv_address_count **ret_count) PS_MUST_CHECK;
void srv_address_count_free(struct srv_address_count *count); /* NULL is allowed */
/* One more; false: it has as many as it may have, and nothing was counted. */
bool srv_address_add(struct srv_address_count *count, const struct ps_address *address);
/* One that was added has gone. */
void srv_address_drop(struct srv_address_count *count, const struct ps_address *address);

#endif
