/* Strict UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF. No state. */
#ifndef PS_UTF8_H
#define PS_UTF8_H

#include "common/defs.h"

/* Decodes the code point at `text`. Returns its length in bytes, or 0 when the bytes are not UTF-8
 * (or `len` is 0). */
size_t ps_utf8_next(const char *text, size_t len, uint32_t *ret_point);

/* The length of the longest beginning of at most `max` bytes that does not end within a code point.
 */
size_t ps_utf8_cut(const char *text, size_t len, size_t max);

/* C0 and C1 controls and DEL. */
bool ps_utf8_is_control(uint32_t point);

/* The White_Space property of Unicode: the blank and the controls U+0009-000D, U+0085, U+00A0,
 * U+1680, U+2000-200A, U+2028, U+2029, U+202F, U+205F, U+3000. */
bool ps_utf8_is_space(uint32_t point);

#endif
