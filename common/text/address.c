/* Addresses are 16 bytes everywhere (IPv4 mapped into IPv6), so that one comparison serves both
 * families. */
#include "common/text/address.h"
#include "common/err.h"

#include <arpa/inet.h>
#include <string.h>

static const uint8_t v4_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool ps_address_is_none(const struct ps_address *address)
{
    static const struct ps_address none;

    return memcmp(address, &none, sizeof none) == 0;
}

bool ps_address_is_v4(const struct ps_address *address)
{
    return memcmp(address->byte, v4_prefix, sizeof v4_prefix) == 0;
}

static int parse_v4(const char *text, struct ps_address *ret_address)
{
    memcpy(ret_address->byte, v4_prefix, sizeof v4_prefix);
    return inet_pton(AF_INET, text, ret_address->byte + sizeof v4_prefix) == 1 ? 0 : PS_E_INVALID;
}

static bool port_ok(const char *text, size_t len)
{
    if (len < 1 || len > 5)
        return false;
    for (size_t i = 0; i < len; i++)
        if (text[i] < '0' || text[i] > '9')
            return false;
    return true;
}

int ps_address_parse(const char *text, size_t len, bool port_allowed,
                     struct ps_address *ret_address)
{
    char copy[INET6_ADDRSTRLEN + 1];
    struct ps_address address;
    size_t host = len;
    const char *colon;
    int err;

    if (len > 0 && text[0] == '[') { /* [v6] or [v6]:port */
        const char *end = memchr(text, ']', len);
        if (end == NULL)
            return PS_E_INVALID;
        host = (size_t)(end - text) - 1;
        size_t rest = len - host - 2;
        if (rest > 0 && (!port_allowed || end[1] != ':' || !port_ok(end + 2, rest - 1)))
            return PS_E_INVALID;
        text++;
    } else if (port_allowed && (colon = memchr(text, ':', len)) != NULL &&
               memchr(colon + 1, ':', len - (size_t)(colon + 1 - text)) == NULL) { /* v4:port */
        host = (size_t)(colon - text);
        if (!port_ok(colon + 1, len - host - 1))
            return PS_E_INVALID;
    }
    if (host == 0 || host >= sizeof copy || memchr(text, 0, host) != NULL)
        return PS_E_INVALID;
    memcpy(copy, text, host);
    copy[host] = 0;
    if (strchr(copy, ':') == NULL)
        err = parse_v4(copy, &address);
    else
        err = inet_pton(AF_INET6, copy, address.byte) == 1 ? 0 : PS_E_INVALID;
    if (err < 0)
        return err;
    *ret_address = address;
    return 0;
}

void ps_address_format(const struct ps_address *address, char *ret_text)
{
    if (ps_address_is_v4(address))
        inet_ntop(AF_INET, address->byte + sizeof v4_prefix, ret_text, INET6_ADDRSTRLEN);
    else
        inet_ntop(AF_INET6, address->byte, ret_text, INET6_ADDRSTRLEN);
}

static bool same_prefix(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;

    if (memcmp(a, b, whole) != 0)
        return false;
    return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

int ps_cidr_parse(const char *text, size_t len, struct ps_cidr *ret_cidr)
{
    const char *slash = memchr(text, '/', len);
    struct ps_cidr cidr = {.bits = 128};
    unsigned bits = 0;
    int err = ps_address_parse(text, slash ? (size_t)(slash - text) : len, false, &cidr.address);

    if (err < 0)
        return err;
    if (slash != NULL) {
        const char *end = text + len;
        if (slash + 1 == end || end - slash > 4)
            return PS_E_INVALID;
        for (const char *at = slash + 1; at < end; at++) {
            if (*at < '0' || *at > '9')
                return PS_E_INVALID;
            bits = bits * 10 + (unsigned)(*at - '0');
        }
        if (memchr(text, ':', len) == NULL)
            bits += PS_V4_BITS;
        if (bits > 128)
            return PS_E_INVALID;
        cidr.bits = (uint8_t)bits;
    }
    for (unsigned bit = cidr.bits; bit < 128; bit++)
        if (cidr.address.byte[bit / 8] & (0x80 >> (bit % 8)))
            return PS_E_INVALID;
    *ret_cidr = cidr;
    return 0;
}

bool ps_cidr_has(const struct ps_cidr *cidr, const struct ps_address *address)
{
    return (cidr->bits >= PS_V4_BITS || !ps_address_is_v4(address)) &&
           same_prefix(cidr->address.byte, address->byte, cidr->bits);
}

bool ps_cidr_is_everybody(const struct ps_cidr *cidr)
{
    return cidr->bits == 0 || (cidr->bits == PS_V4_BITS && ps_address_is_v4(&cidr->address));
}

bool ps_cidrs_have(const struct ps_cidrs *cidrs, const struct ps_address *address)
{
    for (size_t i = 0; i < cidrs->count; i++)
        if (ps_cidr_has(&cidrs->at[i], address))
            return true;
    return false;
}

bool ps_address_is_loopback(const struct ps_address *address)
{
    static const struct ps_address v6 = {{[15] = 1}};

    if (ps_address_is_v4(address))
        return address->byte[12] == 127;
    return memcmp(address, &v6, sizeof v6) == 0;
}

socklen_t ps_address_socket(const struct ps_address *address, uint16_t port,
                            struct sockaddr_storage *ret_to)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)ret_to;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret_to;

    memset(ret_to, 0, sizeof *ret_to);
    if (ps_address_is_v4(address)) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        memcpy(&v4->sin_addr, address->byte + PS_V4_BITS / 8, sizeof v4->sin_addr);
        return sizeof *v4;
    }
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    memcpy(&v6->sin6_addr, address->byte, sizeof v6->sin6_addr);
    return sizeof *v6;
}

void ps_address_limit_key(const struct ps_address *address, struct ps_address *ret_key)
{
    *ret_key = *address;
    if (!ps_address_is_v4(address))
        memset(ret_key->byte + 8, 0, 8);
}
