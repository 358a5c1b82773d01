/* See address.h. */
#include "common/http/address.h"
#include "common/text/charset.h"

/* clang-format off */
static const struct ps_charset unreserved = {{
    PS_DIGITS, PS_LETTERS, ['-'] = true, ['.'] = true, ['_'] = true, ['~'] = true}};
/* Neither odd nor the begin of an escape. */
static const struct ps_charset plain = {{
    PS_DIGITS, PS_LETTERS, ['-'] = true, ['.'] = true, ['_'] = true, ['~'] = true, ['!'] = true,
    ['$'] = true, ['&'] = true, ['\''] = true, ['('] = true, [')'] = true, ['*'] = true,
    ['+'] = true, [','] = true, [';'] = true, ['='] = true, [':'] = true, ['@'] = true,
    ['/'] = true, ['?'] = true}};
/* clang-format on */

bool ps_http_is_odd(char byte)
{
    return (byte & 0x80) != 0 || (byte != '\0' && strchr("[]|^`{}", byte) != NULL);
}

/* -1: no hexadecimal digit. */
static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte of the escape at the start of `text`; -1: it is none. */
static int escape_of(struct ps_str text)
{
    int high, low;

    if (text.len < 3 || text.at[0] != '%' || (high = digit_of(text.at[1])) < 0 ||
        (low = digit_of(text.at[2])) < 0)
        return -1;
    return high * 16 + low;
}

bool ps_http_is_normal(struct ps_str address)
{
    for (size_t i = 0; i < address.len; i += 3) {
        i += ps_charset_span(&plain, address.at + i, address.len - i);
        if (i == address.len)
            break;
        int byte = escape_of((struct ps_str){address.at + i, address.len - i});
        if (byte <= 0 || ps_charset_has(&unreserved, (char)byte) || address.at[i + 1] >= 'a' ||
            address.at[i + 2] >= 'a')
            return false;
    }
    return true;
}

bool ps_http_put_normal(struct ps_buf *buf, struct ps_str address)
{
    static const char hex[] = "0123456789ABCDEF";

    for (size_t i = 0; i < address.len;) {
        size_t span = ps_charset_span(&plain, address.at + i, address.len - i);
        ps_buf_put(buf, address.at + i, span);
        i += span;
        if (i == address.len)
            break;
        int byte = (unsigned char)address.at[i];
        if (byte == '%')
            byte = escape_of((struct ps_str){address.at + i, address.len - i});
        if (byte <= 0)
            return false;
        i += address.at[i] == '%' ? 3 : 1;
        char one = (char)byte, escaped[3] = {'%', hex[byte >> 4], hex[byte & 15]};
        if (ps_charset_has(&unreserved, one))
            ps_buf_put(buf, &one, 1);
        else
            ps_buf_put(buf, escaped, sizeof escaped);
    }
    return !buf->overflow;
}

struct ps_str ps_http_host_name(struct ps_str authority)
{
    size_t len = authority.len;

    while (len > 0 && authority.at[len - 1] >= '0' && authority.at[len - 1] <= '9')
        len--;
    len = len > 0 && authority.at[len - 1] == ':' ? len - 1 : authority.len;
    return (struct ps_str){authority.at, len > 1 && authority.at[len - 1] == '.' ? len - 1 : len};
}

void ps_http_put_authority(struct ps_buf *buf, struct ps_str authority, const char *scheme)
{
    if (authority.len == 0)
        return;
    struct ps_str name = ps_http_host_name(authority);
    const char *colon = memchr(authority.at + name.len, ':', authority.len - name.len);
    struct ps_str port = {colon,
                          colon != NULL ? (size_t)(authority.at + authority.len - colon) : 0};

    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        c = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
        ps_buf_put(buf, &c, 1);
    }
    bool implied = ps_str_is(port, ":80") && (scheme == NULL || strcmp(scheme, "http") == 0);
    implied |= ps_str_is(port, ":443") && (scheme == NULL || strcmp(scheme, "https") == 0);
    if (port.len > 1 && !implied)
        ps_buf_put(buf, port.at, port.len);
}
