/* Who asks: the client's address behind trusted proxies, and the user. Only the TCP peer is
 * believed, unless it is a trusted proxy: then one configured header, or X-Forwarded-For walked
 * from the right past every trusted address. */
#ifndef GW_CLIENT_H
#define GW_CLIENT_H

#include "common/err.h"
#include "gateway/front/http.h"

struct gw_cidr {
    struct gw_address address;
    uint8_t bits; /* of 128; an IPv4 /n is GW_V4_BITS + n */
};
/* Of the prefix by which IPv4 is mapped into IPv6: a shorter range is one of IPv6. */
#define GW_V4_BITS 96

struct gw_cidrs {
    struct gw_cidr *at;
    size_t count;
};

/* Text to address: IPv4, IPv6 (also in brackets), optionally with a port when `port_allowed`.
 * PS_E_INVALID. */
int gw_address_parse(const char *text, size_t len, bool port_allowed,
                     struct gw_address *ret_address) PS_MUST_CHECK;
/* "203.0.113.7" or "2001:db8::1". `ret_text` holds 46 bytes. */
void gw_address_format(const struct gw_address *address, char *ret_text);
/* "10.0.0.0/8", "2001:db8::/32", or an address alone. Bits below the prefix must be zero.
 * "::ffff:10.0.0.0/104" is 10.0.0.0/8. */
int gw_cidr_parse(const char *text, size_t len, struct gw_cidr *ret_cidr) PS_MUST_CHECK;
/* No range of IPv6 has an IPv4 address, not even ::/0. */
bool gw_cidr_has(const struct gw_cidr *cidr, const struct gw_address *address);
/* All addresses, or all of IPv4. */
bool gw_cidr_is_everybody(const struct gw_cidr *cidr);
bool gw_cidrs_have(const struct gw_cidrs *cidrs, const struct gw_address *address);
bool gw_address_is_loopback(const struct gw_address *address);
/* The address by which limits count: IPv4 whole, IPv6 by /64. */
void gw_address_limit_key(const struct gw_address *address, struct gw_address *ret_key);
bool gw_address_is_v4(const struct gw_address *address);

enum gw_identity_result {
    GW_IDENTITY_OK,
    GW_IDENTITY_NONE,
    GW_IDENTITY_UNTRUSTED,
    GW_IDENTITY_BAD
};

struct gw_client {
    struct gw_address address; /* of the client as far as it can be believed */
    bool trusted_peer;
    struct ps_str user; /* valid with GW_IDENTITY_OK; points into the request */
    enum gw_identity_result identity;
};

/* Fills *ret_client. PS_E_INVALID: a trusted proxy sent an address that is none (400). */
int gw_client_find(const struct gw_request *request, const struct gw_cidrs *trusted,
                   bool use_client_ip_header, struct gw_client *ret_client) PS_MUST_CHECK;

#endif
