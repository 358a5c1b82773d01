/* A bounded text buffer and the few words of JSON that hot paths print (documents use jansson).
 * Writing past the end sets `overflow` and keeps what fitted; the caller checks once at the end.
 * Owner: whoever gave the memory. Not thread-safe. */
#ifndef PS_BUF_H
#define PS_BUF_H

#include "common/defs.h"

#include <string.h>

struct ps_buf {
    char *at;
    size_t len;
    size_t cap;
    bool overflow;
};

static inline void ps_buf_init(struct ps_buf *buf, char *memory, size_t cap)
{
    *buf = (struct ps_buf){.at = memory, .cap = cap};
}

/* Takes what fits of a text that does not, and flags it. Called by ps_buf_put only. */
void ps_buf_put_part(struct ps_buf *buf, const char *text);

/* In the header, so that a literal is copied by a few moves: answers are made of them. */
static inline void ps_buf_put(struct ps_buf *buf, const char *text, size_t len)
{
    if (PS_UNLIKELY(buf->overflow || len > buf->cap - buf->len)) {
        ps_buf_put_part(buf, text);
    } else if (len > 0) {
        memcpy(buf->at + buf->len, text, len);
        buf->len += len;
    }
}

static inline void ps_buf_puts(struct ps_buf *buf, const char *text)
{
    ps_buf_put(buf, text, strlen(text));
}

void ps_buf_put_int(struct ps_buf *buf, int64_t value);
/* Needs one byte of room more than it prints (for the NUL of vsnprintf). */
void ps_buf_printf(struct ps_buf *buf, const char *fmt, ...) PS_PRINTF(2, 3);

/* A JSON string with its quotes. Escapes the quote, the backslash and control characters; bytes
 * that are not UTF-8 become U+FFFD. */
void ps_buf_put_json(struct ps_buf *buf, const char *text, size_t len);

#endif
