/* Strict UTF-8. The smallest code point that needs n bytes tells an overlong form; everything else
 * that RFC 3629 forbids is a range. */
#include "common/text/utf8.h"

size_t ps_utf8_next(const char *text, size_t len, uint32_t *ret_point)
{
    if (len == 0)
        return 0;
    const unsigned char *byte = (const unsigned char *)text;
    if (byte[0] < 0x80) {
        *ret_point = byte[0];
        return 1;
    }
    size_t size = 0;
    uint32_t point = 0, least = 0;
    if ((byte[0] & 0xe0) == 0xc0) {
        size = 2;
        point = byte[0] & 0x1f;
        least = 0x80;
    } else if ((byte[0] & 0xf0) == 0xe0) {
        size = 3;
        point = byte[0] & 0x0f;
        least = 0x800;
    } else if ((byte[0] & 0xf8) == 0xf0) {
        size = 4;
        point = byte[0] & 0x07;
        least = 0x10000;
    }
    if (size == 0 || len < size)
        return 0;
    for (size_t i = 1; i < size; i++) {
        if ((byte[i] & 0xc0) != 0x80)
            return 0;
        point = (point << 6) | (byte[i] & 0x3fU);
    }
    if (point < least || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
        return 0;
    *ret_point = point;
    return size;
}

size_t ps_utf8_cut(const char *text, size_t len, size_t max)
{
    if (len <= max)
        return len;
    while (max > 0 && ((unsigned char)text[max] & 0xc0) == 0x80)
        max--;
    return max;
}

bool ps_utf8_is_control(uint32_t point)
{
    return point < 0x20 || (point >= 0x7f && point <= 0x9f);
}

bool ps_utf8_is_space(uint32_t point)
{
    return (point >= 0x09 && point <= 0x0d) || point == 0x20 || point == 0x85 || point == 0xa0 ||
           point == 0x1680 || (point >= 0x2000 && point <= 0x200a) || point == 0x2028 ||
           point == 0x2029 || point == 0x202f || point == 0x205f || point == 0x3000;
}
