/* A body in chunks (RFC 9112, section 7.1), read byte by byte where it frames and at a stretch
 * where it is data. Nothing is kept of size lines, extensions and trailers: they are checked,
 * bounded and dropped. */
#ifndef PS_HTTP_CHUNKS_H
#define PS_HTTP_CHUNKS_H

#include "common/http/head.h"

#define PS_HTTP_CHUNK_LINE_MAX 256  /* size and extensions of one chunk, without CRLF */
#define PS_HTTP_TRAILER_MAX    4096 /* all trailer fields */

struct ps_http_chunks {
    uint64_t left;     /* bytes of this chunk that are still to come */
    uint32_t line_len; /* of the size line, or of all trailers, so far */
    uint8_t state;
    enum ps_http_rule rule; /* after PS_HTTP_BAD */
};

void ps_http_chunks_init(struct ps_http_chunks *chunks);
/* Takes *ret_used bytes of `data`. PS_HTTP_DATA: *ret_piece, within `data`, is the next piece of
 * the body; call again with what follows. PS_HTTP_MORE: all was taken. PS_HTTP_DONE: the body has
 * ended, what follows is another message. */
enum ps_http_step ps_http_chunks_next(struct ps_http_chunks *chunks, const char *data, size_t len,
                                      size_t *ret_used, struct ps_str *ret_piece);

#endif
