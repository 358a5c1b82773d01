/* Strict, because a half-right trace id would connect strangers' requests. */
#include "common/text/traceparent.h"

#include "common/err.h"

#include <string.h>

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* False: other characters. */
static bool read_hex(const char *at, uint8_t *to, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int high = digit_of(at[2 * i]), low = digit_of(at[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        to[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static bool is_zero(const uint8_t *at, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (at[i] != 0)
            return false;
    return true;
}

/* "00-" 32 digits "-" 16 digits "-" 2 digits (W3C Trace Context, 3.2). */
int ps_traceparent_parse(struct ps_str text, struct ps_traceparent *ret_parent)
{
    struct ps_traceparent parent;
    const char *at = text.at;

    if (text.len != PS_TRACEPARENT_LEN || memcmp(at, "00-", 3) != 0 || at[35] != '-' ||
        at[52] != '-' || !read_hex(at + 3, parent.trace, sizeof parent.trace) ||
        !read_hex(at + 36, parent.span, sizeof parent.span) || !read_hex(at + 53, &parent.flags, 1))
        return PS_E_INVALID;
    if (is_zero(parent.trace, sizeof parent.trace) || is_zero(parent.span, sizeof parent.span))
        return PS_E_INVALID;
    *ret_parent = parent;
    return 0;
}

char *ps_hex_put(char *to, const uint8_t *from, size_t count)
{
    static const char digit[] = "0123456789abcdef";

    for (size_t i = 0; i < count; i++) {
        *to++ = digit[from[i] >> 4];
        *to++ = digit[from[i] & 15];
    }
    return to;
}

void ps_traceparent_format(const struct ps_traceparent *parent,
                           char ret_text[PS_TRACEPARENT_LEN + 1])
{
    char *at = ret_text;

    memcpy(at, "00-", 3);
    at = ps_hex_put(at + 3, parent->trace, sizeof parent->trace);
    *at++ = '-';
    at = ps_hex_put(at, parent->span, sizeof parent->span);
    *at++ = '-';
    at = ps_hex_put(at, &parent->flags, 1);
    *at = '\0';
}
