/* Parts of a message. Nothing from outside is written with a byte that would end its line. */
#include "common/http/write.h"
#include "common/text/charset.h"
#include "common/http/head.h"

#include <stdio.h>

/* clang-format off */
#define LINE(status, reason) [status] = {"HTTP/1.1 " #status " " reason "\r\n", sizeof("HTTP/1.1 " #status " " reason "\r\n") - 1}
static const struct ps_str lines[] = {
    LINE(100, "Continue"),
    LINE(200, "OK"),
    LINE(201, "Created"),
    LINE(202, "Accepted"),
    LINE(203, "Non-Authoritative Information"),
    LINE(204, "No Content"),
    LINE(206, "Partial Content"),
    LINE(300, "Multiple Choices"),
    LINE(301, "Moved Permanently"),
    LINE(302, "Found"),
    LINE(303, "See Other"),
    LINE(304, "Not Modified"),
    LINE(307, "Temporary Redirect"),
    LINE(308, "Permanent Redirect"),
    LINE(400, "Bad Request"),
    LINE(401, "Unauthorized"),
    LINE(403, "Forbidden"),
    LINE(404, "Not Found"),
    LINE(405, "Method Not Allowed"),
    LINE(408, "Request Timeout"),
    LINE(409, "Conflict"),
    LINE(410, "Gone"),
    LINE(412, "Precondition Failed"),
    LINE(413, "Content Too Large"),
    LINE(414, "URI Too Long"),
    LINE(415, "Unsupported Media Type"),
    LINE(416, "Range Not Satisfiable"),
    LINE(417, "Expectation Failed"),
    LINE(421, "Misdirected Request"),
    LINE(422, "Unprocessable Content"),
    LINE(428, "Precondition Required"),
    LINE(429, "Too Many Requests"),
    LINE(431, "Request Header Fields Too Large"),
    LINE(500, "Internal Server Error"),
    LINE(501, "Not Implemented"),
    LINE(502, "Bad Gateway"),
    LINE(503, "Service Unavailable"),
    LINE(504, "Gateway Timeout"),
    LINE(505, "HTTP Version Not Supported"),
    LINE(508, "Loop Detected"),
};
/* clang-format on */

void ps_http_put_status(struct ps_buf *buf, int status)
{
    if (status > 0 && (size_t)status < PS_ARRAY_LEN(lines) && lines[status].at != NULL) {
        ps_buf_put(buf, lines[status].at, lines[status].len);
        return;
    }
    ps_buf_puts(buf, "HTTP/1.1 ");
    ps_buf_put_int(buf, status);
    ps_buf_puts(buf, " \r\n");
}

int ps_http_put_request(struct ps_buf *buf, struct ps_str method, struct ps_str target)
{
    if (!ps_http_is_token(method) || target.len == 0 || ps_has_control(target.at, target.len) ||
        memchr(target.at, ' ', target.len) != NULL || memchr(target.at, '\t', target.len) != NULL)
        return PS_E_INVALID;
    ps_buf_put(buf, method.at, method.len);
    ps_buf_puts(buf, " ");
    ps_buf_put(buf, target.at, target.len);
    ps_buf_puts(buf, " HTTP/1.1\r\n");
    return 0;
}

int ps_http_put_field(struct ps_buf *buf, struct ps_str name, struct ps_str value)
{
    if (!ps_http_is_token(name) || ps_has_control(value.at, value.len) ||
        ps_http_trim(value).len < value.len)
        return PS_E_INVALID;
    ps_http_put_known(buf, name, value);
    return 0;
}

void ps_http_put_known(struct ps_buf *buf, struct ps_str name, struct ps_str value)
{
    ps_buf_put(buf, name.at, name.len);
    ps_buf_puts(buf, ": ");
    ps_buf_put(buf, value.at, value.len);
    ps_buf_puts(buf, "\r\n");
}

void ps_http_put_length(struct ps_buf *buf, uint64_t len)
{
    ps_buf_puts(buf, "Content-Length: ");
    ps_buf_put_int(buf, (int64_t)len);
    ps_buf_puts(buf, "\r\n");
}

bool ps_http_has_body(int status)
{
    return status >= 200 && status != 204 && status != 304;
}

bool ps_http_has_length(int status)
{
    return status >= 200 && status != 204;
}

void ps_http_put_chunk_begin(struct ps_buf *buf, uint64_t len)
{
    char text[20];

    int text_len = snprintf(text, sizeof text, "%llx\r\n", (unsigned long long)len);
    ps_buf_put(buf, text, (size_t)text_len);
}
