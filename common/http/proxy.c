/* See proxy.h. The header is parsed from its start each time more of it has arrived: it is short.
 * What cannot become a header is refused at its first wrong byte. Of the values behind the
 * addresses of version 2, a checksum is checked, and each must end within the header; what else
 * they say decides nothing here. */
#include "common/http/proxy.h"

#include <string.h>

#define V1_MAX        ((size_t)107)
#define V2_HEAD       ((size_t)16)
#define UNIQUE_ID_MAX 128
#define CRC_LEN       4

static const char magic_v1[] = "PROXY ";
static const uint8_t magic_v2[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                     0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

enum { V2_LOCAL, V2_PROXY };
enum { V2_UNSPEC, V2_INET, V2_INET6, V2_UNIX, V2_FAMILIES };
enum { V2_TRANSPORTS = 3 }; /* unspecified, stream, datagram */
enum { TLV_CRC32C = 3, TLV_UNIQUE_ID = 5, TLV_HEAD = 3 };

/* Both addresses, and both ports. */
static const size_t address_len[V2_FAMILIES] = {0, 12, 36, 216};

static enum ps_http_step refuse(struct ps_proxy_header *header, const char *why)
{
    header->why = why;
    return PS_HTTP_BAD;
}

/* Limits and logs would take "::" for no address at all. */
static bool set_address(struct ps_proxy_header *header, const struct ps_address *address)
{
    header->has_address = !ps_address_is_none(address);
    header->address = *address;
    return header->has_address;
}

/* --- Version 1 --- */

/* Takes the next word of the line. */
static struct ps_str take_word(struct ps_str *rest)
{
    const char *space = memchr(rest->at, ' ', rest->len);
    struct ps_str word = {rest->at, space != NULL ? (size_t)(space - rest->at) : rest->len};
    size_t used = word.len + (space != NULL);

    rest->at += used;
    rest->len -= used;
    return word;
}

static bool is_port(struct ps_str text)
{
    uint32_t port = 0;

    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9' || i == 5)
            return false;
        port = port * 10 + (uint32_t)(text.at[i] - '0');
    }
    return text.len > 0 && (text.len == 1 || text.at[0] != '0') && port <= UINT16_MAX;
}

static bool read_address(struct ps_str text, bool v6, struct ps_address *ret_address)
{
    return text.len > 0 && text.at[0] != '[' && (memchr(text.at, ':', text.len) != NULL) == v6 &&
           ps_address_parse(text.at, text.len, false, ret_address) == 0;
}

static enum ps_http_step read_line(struct ps_str line, struct ps_proxy_header *header)
{
    struct ps_address source, target;
    struct ps_str family = take_word(&line);

    if (ps_str_is(family, "UNKNOWN")) /* whatever follows it */
        return PS_HTTP_DONE;
    bool v6 = ps_str_is(family, "TCP6");
    if (!v6 && !ps_str_is(family, "TCP4"))
        return refuse(header, "its family is none of TCP4, TCP6, UNKNOWN");
    if (!read_address(take_word(&line), v6, &source) ||
        !read_address(take_word(&line), v6, &target) || !set_address(header, &source))
        return refuse(header, "an address is none of its family");
    if (!is_port(take_word(&line)) || !is_port(line))
        return refuse(header, "it does not end in two ports");
    return PS_HTTP_DONE;
}

static enum ps_http_step parse_v1(const char *text, size_t len, struct ps_proxy_header *header)
{
    const size_t magic_len = sizeof magic_v1 - 1;
    size_t most = len < V1_MAX ? len : V1_MAX;
    const char *end = memchr(text, '\n', most);

    header->version = PS_PROXY_V1;
    if (end == NULL)
        return most == V1_MAX ? refuse(header, "it is longer than 107 bytes") : PS_HTTP_MORE;
    header->len = (size_t)(end + 1 - text);
    if (header->len < magic_len + 2 || end[-1] != '\r')
        return refuse(header, "its line does not end in CR LF");
    return read_line((struct ps_str){text + magic_len, header->len - magic_len - 2}, header);
}

/* --- Version 2 --- */

/* CRC-32C (RFC 9260, appendix A) of the header with zeroes in place of the checksum at `hole`. */
static uint32_t checksum(const uint8_t *bytes, size_t len, size_t hole)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < len; i++) {
        crc ^= i >= hole && i < hole + CRC_LEN ? 0 : bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
    }
    return ~crc;
}

static uint32_t read_u32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static enum ps_http_step read_values(const uint8_t *bytes, size_t at,
                                     struct ps_proxy_header *header)
{
    bool checked = false;

    for (size_t len; at < header->len; at += len) {
        if (header->len - at < TLV_HEAD)
            return refuse(header, "a value ends behind the header");
        uint8_t type = bytes[at];
        len = (size_t)bytes[at + 1] << 8 | bytes[at + 2];
        at += TLV_HEAD;
        if (len > header->len - at)
            return refuse(header, "a value ends behind the header");
        if (type == TLV_UNIQUE_ID && len > UNIQUE_ID_MAX)
            return refuse(header, "its unique id is longer than 128 bytes");
        if (type != TLV_CRC32C)
            continue;
        if (checked || len != CRC_LEN || read_u32(bytes + at) != checksum(bytes, header->len, at))
            return refuse(header, "its checksum is wrong");
        checked = true;
    }
    return PS_HTTP_DONE;
}

static bool read_source(const uint8_t *at, unsigned family, struct ps_proxy_header *header)
{
    struct ps_address source = {{[10] = 0xff, [11] = 0xff}};

    if (family == V2_INET)
        memcpy(source.byte + PS_V4_BITS / 8, at, 4);
    else if (family == V2_INET6)
        memcpy(source.byte, at, sizeof source.byte);
    else
        return true;
    return set_address(header, &source);
}

static enum ps_http_step parse_v2(const uint8_t *bytes, size_t len, struct ps_proxy_header *header)
{
    header->version = PS_PROXY_V2;
    if (len < V2_HEAD)
        return PS_HTTP_MORE;
    unsigned command = bytes[12] & 0x0f, family = bytes[13] >> 4, transport = bytes[13] & 0x0f;
    size_t rest = (size_t)bytes[14] << 8 | bytes[15];
    header->len = V2_HEAD + rest;
    if (bytes[12] >> 4 != 2 || command > V2_PROXY)
        return refuse(header, "its version or command is unknown");
    if (header->len > PS_PROXY_MAX)
        return refuse(header, "it is longer than 536 bytes");
    if (command == V2_PROXY && (family >= V2_FAMILIES || transport >= V2_TRANSPORTS))
        return refuse(header, "its family or transport is unknown");
    if (command == V2_PROXY && rest < address_len[family])
        return refuse(header, "it is too short for its addresses");
    if (len < header->len)
        return PS_HTTP_MORE;
    if (command == V2_LOCAL) /* whatever follows it */
        return PS_HTTP_DONE;
    if (!read_source(bytes + V2_HEAD, family, header))
        return refuse(header, "an address is none of its family");
    return read_values(bytes, V2_HEAD + address_len[family], header);
}

/* --- Both --- */

static bool begins(const uint8_t *bytes, size_t len, const void *magic, size_t magic_len)
{
    return memcmp(bytes, magic, len < magic_len ? len : magic_len) == 0;
}

enum ps_http_step ps_proxy_parse(enum ps_proxy_versions versions, const void *bytes, size_t len,
                                 struct ps_proxy_header *ret_header)
{
    bool v1 = begins(bytes, len, magic_v1, sizeof magic_v1 - 1);
    bool v2 = begins(bytes, len, magic_v2, sizeof magic_v2);

    *ret_header = (struct ps_proxy_header){0};
    if (len == 0)
        return PS_HTTP_MORE;
    if (v1 && versions != PS_PROXY_V2)
        return parse_v1(bytes, len, ret_header);
    if (v2 && versions != PS_PROXY_V1)
        return parse_v2(bytes, len, ret_header);
    if (!v1 && !v2)
        return refuse(ret_header, "there is none");
    return refuse(ret_header, v1 ? "it is of version 1" : "it is of version 2");
}
