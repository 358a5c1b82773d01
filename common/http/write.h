/* Writing HTTP/1.1 messages into a ps_buf, whose overflow the caller checks once at the end. */
#ifndef PS_HTTP_WRITE_H
#define PS_HTTP_WRITE_H

#include "common/text/buf.h"
#include "common/err.h"

/* "HTTP/1.1 404 Not Found\r\n"; the reason is empty for a status that has no name here. */
void ps_http_put_status(struct ps_buf *buf, int status);
/* "GET /path HTTP/1.1\r\n". PS_E_INVALID (nothing written): the method is no token, or the target
 * has a byte that may not stand there. */
int ps_http_put_request(struct ps_buf *buf, struct ps_str method,
                        struct ps_str target) PS_MUST_CHECK;
/* "Name: value\r\n". PS_E_INVALID (nothing written): the name is no token, or the value has a
 * control byte or white space at an end. */
int ps_http_put_field(struct ps_buf *buf, struct ps_str name, struct ps_str value) PS_MUST_CHECK;
/* The same of a name and a value that are known to be well-formed. */
void ps_http_put_known(struct ps_buf *buf, struct ps_str name, struct ps_str value);
/* "Content-Length: 12\r\n" */
void ps_http_put_length(struct ps_buf *buf, uint64_t len);

/* May a response of this status have a body at all (RFC 9112, section 6.3)? Not 1xx, 204, 304. */
bool ps_http_has_body(int status);
/* May it announce one? Not 1xx and 204; 304 and answers to HEAD may. */
bool ps_http_has_length(int status);

/* Before the data of a chunk (`len` > 0; CRLF follows the data). */
void ps_http_put_chunk_begin(struct ps_buf *buf, uint64_t len);

#endif
