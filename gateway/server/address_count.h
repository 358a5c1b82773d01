/* Counts the connections of each address: IPv4 addresses one by one, IPv6 by /64 and by /48, which
 * one customer may have. One thread. */
#ifndef SRV_ADDRESS_COUNT_H
#define SRV_ADDRESS_COUNT_H

#include "common/text/address.h"
#include "common/err.h"

/* A /48 may have this many times the connections of a /64. */
#define SRV_ADDRESS_SITE 4

struct srv_address_count;

/* At most `connections` in all, at most `most` of one address. PS_E_NOMEM. */
int srv_address_count_new(size_t connections, size_t most,
                          struct srv_address_count **ret_count) PS_MUST_CHECK;
void srv_address_count_free(struct srv_address_count *count); /* NULL is allowed */
/* Adds a connection. False: the address has its maximum, and nothing was counted. */
bool srv_address_add(struct srv_address_count *count, const struct ps_address *address);
/* Removes a connection that was added. */
void srv_address_drop(struct srv_address_count *count, const struct ps_address *address);

#endif
