/* Strict, because a half-right trace id would connect strangers' requests: anything malformed
 * starts a new trace. */
#include "gateway/orders/trace.h"

#include <string.h>

static bool hex_ok(const char *at, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!((at[i] >= '0' && at[i] <= '9') || (at[i] >= 'a' && at[i] <= 'f')))
            return false;
    return true;
}

static bool all_zero(const char *at, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (at[i] != '0')
            return false;
    return true;
}

/* version 00: "00-" 32 hex "-" 16 hex "-" 2 hex, lower case, ids not all zero (W3C Trace
 * Context, 3.2). */
static bool is_good(struct ps_str text)
{
    const char *at = text.at;

    return text.len == ORD_TRACE_LEN && memcmp(at, "00-", 3) == 0 && at[35] == '-' &&
           at[52] == '-' && hex_ok(at + 3, 32) && hex_ok(at + 36, 16) && hex_ok(at + 53, 2) &&
           !all_zero(at + 3, 32) && !all_zero(at + 36, 16);
}

static char *put_hex(char *to, const uint8_t *from, size_t count)
{
    static const char digit[] = "0123456789abcdef";

    for (size_t i = 0; i < count; i++) {
        *to++ = digit[from[i] >> 4];
        *to++ = digit[from[i] & 15];
    }
    return to;
}

struct ps_str ord_trace_next(struct ps_str text, struct ps_uuid_source *ids, int64_t wall_ms,
                             char memory[ORD_TRACE_LEN + 1])
{
    struct ps_uuid trace, span;
    char *at = memory;

    if (text.at == NULL)
        return (struct ps_str){0};
    if (is_good(text))
        return text;
    ps_uuid_next(ids, wall_ms, &trace);
    ps_uuid_next(ids, wall_ms, &span);
    at = (char *)memcpy(at, "00-", 3) + 3;
    at = put_hex(at, trace.byte, 16);
    *at++ = '-';
    at = put_hex(at, span.byte + 8,
                 8); /* the random half of a UUIDv7; its top bit is set, so it is never zero */
    memcpy(at, "-00", 4);
    return (struct ps_str){memory, ORD_TRACE_LEN};
}
