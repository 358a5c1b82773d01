/* Who asks. Addresses are 16 bytes everywhere (IPv4 mapped into IPv6), so that one comparison
 * serves both families.
 *
 * A chain of proxies appends to X-Forwarded-For from the left to the right, so only its right end
 * was written by somebody we trust: the list is walked from the right past every trusted address,
 * and the first one that is not trusted is the client. When all are trusted, the leftmost counts.
 */
#include "gateway/public/client.h"

#include <arpa/inet.h>
#include <string.h>

static const uint8_t v4_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool pub_address_is_v4(const struct srv_address *address)
{
    return memcmp(address->byte, v4_prefix, sizeof v4_prefix) == 0;
}

static int parse_v4(const char *text, struct srv_address *ret_address)
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

int pub_address_parse(const char *text, size_t len, bool port_allowed,
                      struct srv_address *ret_address)
{
    char copy[INET6_ADDRSTRLEN + 1];
    struct srv_address address;
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

void pub_address_format(const struct srv_address *address, char *ret_text)
{
    if (pub_address_is_v4(address))
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

int pub_cidr_parse(const char *text, size_t len, struct pub_cidr *ret_cidr)
{
    const char *slash = memchr(text, '/', len);
    struct pub_cidr cidr = {.bits = 128};
    unsigned bits = 0;
    int err = pub_address_parse(text, slash ? (size_t)(slash - text) : len, false, &cidr.address);

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
            bits += PUB_V4_BITS;
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

bool pub_cidr_has(const struct pub_cidr *cidr, const struct srv_address *address)
{
    return (cidr->bits >= PUB_V4_BITS || !pub_address_is_v4(address)) &&
           same_prefix(cidr->address.byte, address->byte, cidr->bits);
}

bool pub_cidr_is_everybody(const struct pub_cidr *cidr)
{
    return cidr->bits == 0 || (cidr->bits == PUB_V4_BITS && pub_address_is_v4(&cidr->address));
}

bool pub_cidrs_have(const struct pub_cidrs *cidrs, const struct srv_address *address)
{
    for (size_t i = 0; i < cidrs->count; i++)
        if (pub_cidr_has(&cidrs->at[i], address))
            return true;
    return false;
}

bool pub_address_is_loopback(const struct srv_address *address)
{
    static const struct srv_address v6 = {{[15] = 1}};

    if (pub_address_is_v4(address))
        return address->byte[12] == 127;
    return memcmp(address, &v6, sizeof v6) == 0;
}

void pub_address_limit_key(const struct srv_address *address, struct srv_address *ret_key)
{
    *ret_key = *address;
    if (!pub_address_is_v4(address))
        memset(ret_key->byte + 8, 0, 8);
}

static struct ps_str trimmed(const char *at, size_t len)
{
    while (len > 0 && (*at == ' ' || *at == '\t')) {
        at++;
        len--;
    }
    while (len > 0 && (at[len - 1] == ' ' || at[len - 1] == '\t'))
        len--;
    return (struct ps_str){at, len};
}

/* Walks one line from the right. *ret_found is set when an untrusted address was met. PS_E_INVALID:
 * an element that is no address stands to the right of the client's, so a trusted proxy wrote it.
 */
static int walk_line(struct ps_str line, const struct pub_cidrs *trusted,
                     struct srv_address *address, bool *ret_found)
{
    size_t end = line.len;

    while (!*ret_found) {
        size_t start = end;
        while (start > 0 && line.at[start - 1] != ',')
            start--;
        struct ps_str element = trimmed(line.at + start, end - start);
        if (element.len > 0) {
            if (pub_address_parse(element.at, element.len, true, address) < 0)
                return PS_E_INVALID;
            *ret_found = !pub_cidrs_have(trusted, address);
        }
        if (start == 0)
            return 0;
        end = start - 1;
    }
    return 0;
}

static int find_address(const struct srv_request *request, const struct pub_cidrs *trusted,
                        bool use_client_ip_header, struct srv_address *address)
{
    bool found = false;

    if (use_client_ip_header) {
        struct ps_str text = request->header[SRV_H_CLIENT_IP];
        if (text.at == NULL)
            return 0;
        text = trimmed(text.at, text.len);
        return pub_address_parse(text.at, text.len, false, address);
    }
    for (size_t i = request->header_lines[SRV_H_FORWARDED_FOR]; i > 0 && !found; i--) {
        int err = walk_line(srv_forwarded_for(request, i - 1), trusted, address, &found);
        if (err < 0)
            return err;
    }
    return 0;
}

int pub_client_find(const struct srv_request *request, const struct pub_cidrs *trusted,
                    bool use_client_ip_header, struct pub_client *ret_client)
{
    struct pub_client client = {.address = request->peer,
                                .trusted_peer = pub_cidrs_have(trusted, &request->peer)};
    struct ps_str user = request->header[SRV_H_USER_ID];

    if (client.trusted_peer) {
        int err = find_address(request, trusted, use_client_ip_header, &client.address);
        if (err < 0)
            return err;
    }
    if (user.at == NULL)
        client.identity = PUB_IDENTITY_NONE;
    else if (!client.trusted_peer)
        client.identity = PUB_IDENTITY_UNTRUSTED;
    else if (!ps_user_ok(user.at, user.len))
        client.identity = PUB_IDENTITY_BAD;
    else
        client.user = user;
    *ret_client = client;
    return 0;
}
