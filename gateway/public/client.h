/* Who asks: the client's address behind trusted proxies, and the user. Only the TCP peer is
 * believed, unless it is a trusted proxy: then one configured header, or X-Forwarded-For walked
 * from the right past every trusted address. */
#ifndef PUB_CLIENT_H
#define PUB_CLIENT_H

#include "common/err.h"
#include "gateway/server/http.h"

struct pub_cidr {
    struct srv_address address;
    uint8_t bits; /* of 128; an IPv4 /n is PUB_V4_BITS + n */
};
/* Of the prefix by which IPv4 is mapped into IPv6: a shorter range is one of IPv6. */
#define PUB_V4_BITS 96

struct pub_cidrs {
    struct pub_cidr *at;
    size_t count;
};

/* Text to address: IPv4, IPv6 (also in brackets), optionally with a port when `port_allowed`.
 * PS_E_INVALID. */
int pub_address_parse(const char *text, size_t len, bool port_allowed,
                      struct srv_address *ret_address) PS_MUST_CHECK;
/* "203.0.113.7" or "2001:db8::1". `ret_text` holds 46 bytes. */
void pub_address_format(const struct srv_address *address, char *ret_text);
/* "10.0.0.0/8", "2001:db8::/32", or an address alone. Bits below the prefix must be zero.
 * "::ffff:10.0.0.0/104" is 10.0.0.0/8. */
int pub_cidr_parse(const char *text, size_t len, struct pub_cidr *ret_cidr) PS_MUST_CHECK;
/* No range of IPv6 has an IPv4 address, not even ::/0. */
bool pub_cidr_has(const struct pub_cidr *cidr, const struct srv_address *address);
/* All addresses, or all of IPv4. */
bool pub_cidr_is_everybody(const struct pub_cidr *cidr);
bool pub_cidrs_have(const struct pub_cidrs *cidrs, const struct srv_address *address);
bool pub_address_is_loopback(const struct srv_address *address);
/* The address by which limits count: IPv4 whole, IPv6 by /64. */
void pub_address_limit_key(const struct srv_address *address, struct srv_address *ret_key);
bool pub_address_is_v4(const struct srv_address *address);

enum pub_identity_result {
    PUB_IDENTITY_OK,
    PUB_IDENTITY_NONE,
    PUB_IDENTITY_UNTRUSTED,
    PUB_IDENTITY_BAD
};

struct pub_client {
    struct srv_address address; /* of the client as far as it can be believed */
    bool trusted_peer;
    struct ps_str user; /* valid with PUB_IDENTITY_OK; points into the request */
    enum pub_identity_result identity;
};

/* Fills *ret_client. PS_E_INVALID: a trusted proxy sent an address that is none (400). */
int pub_client_find(const struct srv_request *request, const struct pub_cidrs *trusted,
                    bool use_client_ip_header, struct pub_client *ret_client) PS_MUST_CHECK;

#endif
