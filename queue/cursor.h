/* Functions to parse text that this program has written itself: each takes what it expects, or
 * returns false. */
#ifndef OQ_CURSOR_H
#define OQ_CURSOR_H

#include "common/defs.h"

#include <string.h>

struct oq_cursor {
    const char *at;
    const char *end;
};

static inline bool oq_skip(struct oq_cursor *cursor, const char *text, size_t len)
{
    if ((size_t)(cursor->end - cursor->at) < len || memcmp(cursor->at, text, len) != 0)
        return false;
    cursor->at += len;
    return true;
}

/* A string without escapes. Its characters are judged by oq_event_check. */
static inline bool oq_take_string(struct oq_cursor *cursor, struct ps_str *ret_text)
{
    if (!oq_skip(cursor, "\"", 1))
        return false;
    const char *start = cursor->at;
    const char *quote = memchr(start, '"', (size_t)(cursor->end - start));
    if (quote == NULL || memchr(start, '\\', (size_t)(quote - start)) != NULL)
        return false;
    *ret_text = (struct ps_str){start, (size_t)(quote - start)};
    cursor->at = quote + 1;
    return true;
}

/* At most 16 digits: enough for the bounds of every member. */
static inline bool oq_take_int(struct oq_cursor *cursor, int64_t *ret_number)
{
    bool negative = oq_skip(cursor, "-", 1);
    const char *start = cursor->at;
    int64_t number = 0;
    while (cursor->at < cursor->end && cursor->at < start + 16 && *cursor->at >= '0' &&
           *cursor->at <= '9')
        number = number * 10 + (*cursor->at++ - '0');
    if (cursor->at == start || (*start == '0' && (negative || cursor->at > start + 1)))
        return false;
    *ret_number = negative ? -number : number;
    return true;
}

#endif
