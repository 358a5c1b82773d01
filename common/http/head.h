/* The head of an HTTP/1.1 message: request line or status line, header fields, and how the body is
 * framed (RFC 9110, RFC 9112, RFC 3986). Strict: what it refuses, and why, is rules.h.
 *
 * The parser allocates nothing and copies nothing. It is given the bytes from the first one of the
 * head on, again from there with more behind them when it asked for more, also at another place in
 * memory. It looks at each byte once or twice however the bytes arrive: a line is read when it is
 * whole. What it found lies in those bytes, as offsets, until they go.
 *
 * Not thread-safe; a struct ps_http_head is one thread's. */
#ifndef PS_HTTP_HEAD_H
#define PS_HTTP_HEAD_H

#include "common/defs.h"
#include "common/http/rules.h"

#include <strings.h>

#define PS_HTTP_FIELDS_MAX 96
#define PS_HTTP_METHOD_MAX 32

/* The parser's result. */
enum ps_http_step {
    PS_HTTP_MORE, /* all bytes were taken, and more are needed */
    PS_HTTP_DONE,
    PS_HTTP_DATA, /* chunks only: there is a piece of the body */
    PS_HTTP_BAD   /* `rule` says why; the connection cannot be used further */
};

enum ps_http_method {
    PS_HTTP_GET,
    PS_HTTP_HEAD,
    PS_HTTP_POST,
    PS_HTTP_PUT,
    PS_HTTP_PATCH,
    PS_HTTP_DELETE,
    PS_HTTP_OPTIONS,
    PS_HTTP_METHOD_OTHER
};

/* Fields that programs here read; their names are found while a line is checked. */
/* clang-format off */
#define PS_HTTP_NAME_TABLE(X)                                                                      \
    X(HOST, "Host") X(CONTENT_LENGTH, "Content-Length") X(TRANSFER_ENCODING, "Transfer-Encoding")  \
    X(CONNECTION, "Connection") X(EXPECT, "Expect") X(UPGRADE, "Upgrade")                          \
    X(CONTENT_TYPE, "Content-Type") X(CONTENT_ENCODING, "Content-Encoding")                        \
    X(AUTHORIZATION, "Authorization") X(USER_ID, "X-User-Id")                                      \
    X(IDEMPOTENCY_KEY, "Idempotency-Key") X(IF_MATCH, "If-Match") X(IF_NONE_MATCH, "If-None-Match") \
    X(TRACEPARENT, "traceparent") X(REQUEST_ID, "X-Request-Id")                                    \
    X(FORWARDED_FOR, "X-Forwarded-For") X(ORIGIN, "Origin")                                        \
    X(REQUEST_METHOD, "Access-Control-Request-Method") X(RETRY_AFTER, "Retry-After")               \
    X(REHEARSAL, "Penstock-Rehearsal")
/* clang-format on */
#define PS_HTTP_NAME_ENUM(name, text) PS_HTTP_F_##name,
enum ps_http_name { PS_HTTP_F_OTHER, PS_HTTP_NAME_TABLE(PS_HTTP_NAME_ENUM) PS_HTTP_F_COUNT };
#undef PS_HTTP_NAME_ENUM
/* "Content-Type"; "" for PS_HTTP_F_OTHER. */
extern const struct ps_str ps_http_names[PS_HTTP_F_COUNT];

struct ps_http_span {
    uint32_t at, len; /* from the first byte of the head */
};

struct ps_http_field {
    struct ps_http_span name, value; /* the value without white space around it */
    enum ps_http_name known;
};

enum ps_http_framing {
    PS_HTTP_NO_BODY,
    PS_HTTP_BY_LENGTH,
    PS_HTTP_CHUNKED,
    PS_HTTP_UNTIL_CLOSE /* responses only */
};

struct ps_http_limits {
    uint32_t target_max; /* request target: 414 */
    bool lenient;        /* a target may have what browsers send (address.h, ps_http_is_odd) */
    uint32_t head_max;   /* the whole head with its empty line: 431 */
    uint32_t fields_max; /* at most PS_HTTP_FIELDS_MAX: 431 */
};

struct ps_http_head {
    /* Output, after PS_HTTP_DONE. */
    uint32_t len;    /* bytes of the head: the body begins behind it */
    uint8_t minor;   /* 0: HTTP/1.0; 1: HTTP/1.1 and what calls itself later */
    bool keep_alive; /* the sender keeps this connection open */
    bool expects_continue;
    enum ps_http_framing framing;
    uint64_t body_len; /* PS_HTTP_BY_LENGTH */
    uint32_t field_count;
    struct ps_http_field fields[PS_HTTP_FIELDS_MAX];
    /* Of a request. */
    enum ps_http_method method;
    struct ps_http_span method_text;
    struct ps_http_span path;  /* raw, as sent; of an address without a path {0, 0}: "/" */
    struct ps_http_span query; /* behind '?'; .at == 0: there is none */
    struct ps_http_span
        host;      /* with its port: that of an address, else of Host; .len == 0: HTTP/1.0 */
    bool asterisk; /* OPTIONS for the whole server; there is no path */
    bool is_odd;   /* the target has a byte that only `lenient` allows */
    /* Of a response. */
    uint16_t status;
    bool to_head; /* input: it answers HEAD */
    /* After PS_HTTP_BAD. */
    enum ps_http_rule rule;
    uint32_t
        bad_at; /* of PS_HTTP_TARGET_CHARS, _ESCAPE and _NUL: which byte of the target, from 1 */

    /* Private. */
    const struct ps_http_limits *limits;
    uint32_t scanned, line_at;
    bool is_response, has_host, has_length, has_encoding, has_close, has_keep_alive;
};

/* `limits` must outlive the head's use. */
void ps_http_request_init(struct ps_http_head *head, const struct ps_http_limits *limits);
void ps_http_response_init(struct ps_http_head *head, const struct ps_http_limits *limits,
                           bool to_head);
/* PS_HTTP_MORE, PS_HTTP_DONE, PS_HTTP_BAD. `data` begins with the head's first byte; `len` is never
 * less than in the call before. */
enum ps_http_step ps_http_head_parse(struct ps_http_head *head, const char *data, size_t len);

static inline struct ps_str ps_http_text(const char *data, struct ps_http_span span)
{
    return (struct ps_str){data + span.at, span.len};
}

/* A token (RFC 9110, section 5.6.2). */
bool ps_http_is_token(struct ps_str text);
/* host [ ":" port ] (RFC 3986, section 3.2): a name, an IPv4 address, an IPv6 address in brackets.
 */
bool ps_http_is_authority(struct ps_str text);
/* Are both the same but for the case of ASCII letters? */
static inline bool ps_http_same_text(struct ps_str text, struct ps_str other)
{
    return text.len == other.len && strncasecmp(text.at, other.at, text.len) == 0;
}
static inline bool ps_http_is_text(struct ps_str text, const char *word)
{
    return ps_http_same_text(text, ps_str(word));
}
/* Without spaces and tabs at its ends. */
struct ps_str ps_http_trim(struct ps_str text);
/* Takes the next element of a list, which is not empty. A comma in quotes divides, too. False:
 * there is no more. */
bool ps_http_take_element(struct ps_str *list, struct ps_str *ret_element);
/* Do the lines of Connection name this field? Then it belongs to one connection only, and is not
 * forwarded (RFC 9110, section 7.6.1). */
bool ps_http_is_of_connection(const struct ps_http_head *head, const char *data,
                              struct ps_str name);
/* The value of the first field of this name, in any case; .at == NULL: there is none. `data` as
 * ps_http_head_parse had it. */
struct ps_str ps_http_find(const struct ps_http_head *head, const char *data, struct ps_str name);

/* Does the value of If-None-Match name `etag`, which is in quotes: "*", or a list with weak
 * comparison (RFC 9110, section 13.1.2)? */
bool ps_http_names_etag(struct ps_str field, const char *etag);

#endif
