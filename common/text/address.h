/* Addresses and ranges of addresses, of both families. Pure functions: any thread. */
#ifndef PS_ADDRESS_H
#define PS_ADDRESS_H

#include "common/defs.h"

#include <sys/socket.h>

/* IPv6; IPv4 as ::ffff:a.b.c.d. */
struct ps_address {
    uint8_t byte[16];
};

struct ps_cidr {
    struct ps_address address;
    uint8_t bits; /* of 128; an IPv4 /n is PS_V4_BITS + n */
};
/* Of the prefix by which IPv4 is mapped into IPv6: a shorter range is one of IPv6. */
#define PS_V4_BITS 96

struct ps_cidrs {
    struct ps_cidr *at;
    size_t count;
};

/* Text to address: IPv4, IPv6 (also in brackets), optionally with a port when `port_allowed`.
 * PS_E_INVALID. */
int ps_address_parse(const char *text, size_t len, bool port_allowed,
                     struct ps_address *ret_address) PS_MUST_CHECK;
/* "203.0.113.7" or "2001:db8::1". `ret_text` holds 46 bytes. */
void ps_address_format(const struct ps_address *address, char *ret_text);
/* "10.0.0.0/8", "2001:db8::/32", or an address alone. Bits below the prefix must be zero.
 * "::ffff:10.0.0.0/104" is 10.0.0.0/8. */
int ps_cidr_parse(const char *text, size_t len, struct ps_cidr *ret_cidr) PS_MUST_CHECK;
/* No range of IPv6 has an IPv4 address, not even ::/0. */
bool ps_cidr_has(const struct ps_cidr *cidr, const struct ps_address *address);
/* All addresses, or all of IPv4. */
bool ps_cidr_is_everybody(const struct ps_cidr *cidr);
bool ps_cidrs_have(const struct ps_cidrs *cidrs, const struct ps_address *address);
bool ps_address_is_loopback(const struct ps_address *address);
/* The address by which limits count: IPv4 whole, IPv6 by /64. */
void ps_address_limit_key(const struct ps_address *address, struct ps_address *ret_key);
bool ps_address_is_v4(const struct ps_address *address);
/* All zero: what stands for the peer of a Unix socket. */
bool ps_address_is_none(const struct ps_address *address);
/* To connect to; its length. */
socklen_t ps_address_socket(const struct ps_address *address, uint16_t port,
                            struct sockaddr_storage *ret_to);

#endif
