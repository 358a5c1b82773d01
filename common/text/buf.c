/* The bounded text buffer. After the first overflow nothing more is taken, so that what is kept is
 * always a prefix of what was written. JSON strings come out valid whatever the input is: a log
 * line may quote bytes that a client sent. */
#include "common/text/buf.h"
#include "common/text/utf8.h"

#include <stdarg.h>
#include <stdio.h>

void ps_buf_put_part(struct ps_buf *buf, const char *text)
{
    size_t room = buf->cap - buf->len;
    if (buf->overflow)
        return;
    buf->overflow = true;
    if (room > 0)
        memcpy(buf->at + buf->len, text, room);
    buf->len += room;
}

void ps_buf_put_int(struct ps_buf *buf, int64_t value)
{
    if (value >= 0 && value < 10) {
        char digit = (char)('0' + value);
        ps_buf_put(buf, &digit, 1);
        return;
    }
    char digits[20]; /* 19 digits and a sign */
    char *at = digits + sizeof digits;
    /* Negated as unsigned, since -INT64_MIN is no int64_t. */
    uint64_t left = value < 0 ? -(uint64_t)value : (uint64_t)value;
    do {
        *--at = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    if (value < 0)
        *--at = '-';
    ps_buf_put(buf, at, (size_t)(digits + sizeof digits - at));
}

void ps_buf_printf(struct ps_buf *buf, const char *fmt, ...)
{
    if (buf->overflow)
        return;
    size_t room = buf->cap - buf->len;
    va_list args;
    va_start(args, fmt);
    int wanted = vsnprintf(room > 0 ? buf->at + buf->len : NULL, room, fmt, args);
    va_end(args);
    if (wanted >= 0 && (size_t)wanted < room) {
        buf->len += (size_t)wanted;
        return;
    }
    buf->len += room > 0 && wanted >= 0 ? room - 1 : 0;
    buf->overflow = true;
}

static void put_escaped(struct ps_buf *buf, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    switch (c) {
    case '"':
        ps_buf_put(buf, "\\\"", 2);
        break;
    case '\\':
        ps_buf_put(buf, "\\\\", 2);
        break;
    case '\n':
        ps_buf_put(buf, "\\n", 2);
        break;
    case '\r':
        ps_buf_put(buf, "\\r", 2);
        break;
    case '\t':
        ps_buf_put(buf, "\\t", 2);
        break;
    default:
        ps_buf_put(buf, (char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
    }
}

/* Whether eight bytes can be copied as they are: plain ASCII without quote and backslash. Each of
 * the four terms has the top bit of a byte set when that byte is at fault; a borrow may set more
 * of them, but only where one is at fault already. */
static bool are_plain(const char *eight)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t word;
    memcpy(&word, eight, sizeof word);
    uint64_t control = word - ones * 0x20;
    uint64_t quote = (word ^ ones * '"') - ones;
    uint64_t backslash = (word ^ ones * '\\') - ones;
    return ((word | control | quote | backslash) & ones * 0x80) == 0;
}

void ps_buf_put_json(struct ps_buf *buf, const char *text, size_t len)
{
    ps_buf_put(buf, "\"", 1);
    size_t plain = 0; /* start of the run that can be copied as it is */
    size_t i = 0;
    while (i < len) {
        if (len - i >= 8 && are_plain(text + i)) {
            i += 8;
            continue;
        }
        unsigned char c = (unsigned char)text[i];
        if (PS_LIKELY(c >= 0x20 && c < 0x80 && c != '"' && c != '\\')) {
            i++;
            continue;
        }
        uint32_t point;
        size_t size = ps_utf8_next(text + i, len - i, &point);
        if (size > 1) {
            i += size;
            continue;
        }
        ps_buf_put(buf, text + plain, i - plain);
        if (size == 1)
            put_escaped(buf, c);
        else
            ps_buf_puts(buf, "\\ufffd");
        plain = ++i;
    }
    ps_buf_put(buf, text + plain, len - plain);
    ps_buf_put(buf, "\"", 1);
}
