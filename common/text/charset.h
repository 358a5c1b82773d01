/* Sets of bytes. Names, field names, targets and ids are checked byte by byte for every request; a
 * set is a table of 256, so that a byte costs one look. Written down by its members:
 *     static const struct ps_charset hex = {{PS_DIGITS, ['a'] = true, ... ['f'] = true}}; */
#ifndef PS_CHARSET_H
#define PS_CHARSET_H

#include "common/defs.h"

#include <string.h>

struct ps_charset {
    bool has[256];
};

/* clang-format off */
#define PS_DIGITS                                                                                  \
    ['0'] = true, ['1'] = true, ['2'] = true, ['3'] = true, ['4'] = true, ['5'] = true,            \
    ['6'] = true, ['7'] = true, ['8'] = true, ['9'] = true
#define PS_LETTERS                                                                                 \
    ['A'] = true, ['B'] = true, ['C'] = true, ['D'] = true, ['E'] = true, ['F'] = true,            \
    ['G'] = true, ['H'] = true, ['I'] = true, ['J'] = true, ['K'] = true, ['L'] = true,            \
    ['M'] = true, ['N'] = true, ['O'] = true, ['P'] = true, ['Q'] = true, ['R'] = true,            \
    ['S'] = true, ['T'] = true, ['U'] = true, ['V'] = true, ['W'] = true, ['X'] = true,            \
    ['Y'] = true, ['Z'] = true,                                                                    \
    ['a'] = true, ['b'] = true, ['c'] = true, ['d'] = true, ['e'] = true, ['f'] = true,            \
    ['g'] = true, ['h'] = true, ['i'] = true, ['j'] = true, ['k'] = true, ['l'] = true,            \
    ['m'] = true, ['n'] = true, ['o'] = true, ['p'] = true, ['q'] = true, ['r'] = true,            \
    ['s'] = true, ['t'] = true, ['u'] = true, ['v'] = true, ['w'] = true, ['x'] = true,            \
    ['y'] = true, ['z'] = true
/* clang-format on */

static inline bool ps_charset_has(const struct ps_charset *set, char c)
{
    return set->has[(unsigned char)c];
}

/* How many bytes at the start of the text are in the set. */
static inline size_t ps_charset_span(const struct ps_charset *set, const char *text, size_t len)
{
    size_t span = 0;
    while (span < len && ps_charset_has(set, text[span]))
        span++;
    return span;
}

/* Whether one of eight bytes may be a control byte: their top bits, after what is below 0x20 has
 * borrowed, or 0x7f has become 0. A borrow may set more of them, but only where one is set. */
static inline bool ps_may_be_control(const char *eight)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t word;
    memcpy(&word, eight, sizeof word);
    uint64_t low = (word - ones * 0x20) & ~word;
    uint64_t deleted = word ^ ones * 0x7f;
    deleted = (deleted - ones) & ~deleted;
    return ((low | deleted) & ones * 0x80) != 0;
}

/* Control bytes other than the tab (RFC 9110, section 5.5). */
static inline bool ps_has_control(const char *text, size_t len)
{
    size_t i = 0;
    while (i < len) {
        if (len - i >= 8 && !ps_may_be_control(text + i)) {
            i += 8;
            continue;
        }
        unsigned char c = (unsigned char)text[i++];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return true;
    }
    return false;
}

#endif
