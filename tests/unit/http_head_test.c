/* The codec's parser, by tables: heads that are taken, with what was read of them, and heads that
 * are refused, with the rule. Each is given whole and byte by byte, which must be the same. */
#include "check.h"

#include "common/http/chunks.h"
#include "common/http/head.h"

#include <stdio.h>

static const struct ps_http_limits limits = {.target_max = 256, .head_max = 1024, .fields_max = 8};

#define TEXT(text)                                                                                 \
    {                                                                                              \
        (text), sizeof(text) - 1                                                                   \
    }
#define HOST "Host: shop.example\r\n"

/* --- Requests that are taken. --- */

struct taken {
    const char *claim;
    struct ps_str bytes;
    const char *path, *query, *host;
    enum ps_http_framing framing;
    uint64_t body_len;
    size_t behind; /* bytes after the head */
    bool closes;
};

/* clang-format off */
static const struct taken requests[] = {
    {"a plain GET", TEXT("GET /x HTTP/1.1\r\n" HOST "\r\n"), "/x", "", "shop.example", PS_HTTP_NO_BODY, 0, 0, false},
    {"one empty line before it", TEXT("\r\nGET /x HTTP/1.1\r\n" HOST "\r\n"), "/x", "", "shop.example", PS_HTTP_NO_BODY, 0, 0, false},
    {"a query", TEXT("GET /x?a=%20b&c?/ HTTP/1.1\r\n" HOST "\r\n"), "/x", "a=%20b&c?/", "shop.example", PS_HTTP_NO_BODY, 0, 0, false},
    {"HTTP/1.0 without Host closes", TEXT("GET /x HTTP/1.0\r\n\r\n"), "/x", "", "", PS_HTTP_NO_BODY, 0, 0, true},
    {"HTTP/1.0 that asks to stay", TEXT("GET /x HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"), "/x", "", "", PS_HTTP_NO_BODY, 0, 0, false},
    {"a minor version above 1 is 1.1", TEXT("GET /x HTTP/1.9\r\n" HOST "\r\n"), "/x", "", "shop.example", PS_HTTP_NO_BODY, 0, 0, false},
    {"close in a list", TEXT("GET /x HTTP/1.1\r\n" HOST "Connection: te , Close\r\n\r\n"), "/x", "", "shop.example", PS_HTTP_NO_BODY, 0, 0, true},
    {"field names in any case", TEXT("GET /x HTTP/1.1\r\nhOST:shop.example\r\n\r\n"), "/x", "", "shop.example", PS_HTTP_NO_BODY, 0, 0, false},
    {"white space around a value", TEXT("GET /x HTTP/1.1\r\nHost: \t shop.example:80 \t\r\n\r\n"), "/x", "", "shop.example:80", PS_HTTP_NO_BODY, 0, 0, false},
    {"an empty value, a tab in a value, UTF-8", TEXT("GET /x HTTP/1.1\r\n" HOST "A:\r\nB: a\tb\r\nX-User-Id: \xc3\xbc\r\n\r\n"), "/x", "", "shop.example", PS_HTTP_NO_BODY, 0, 0, false},
    {"an IPv6 host", TEXT("GET /x HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n\r\n"), "/x", "", "[2001:db8::1]:8080", PS_HTTP_NO_BODY, 0, 0, false},
    {"an address as target, whose host wins", TEXT("GET http://other.example:81/x?y HTTP/1.1\r\n" HOST "\r\n"), "/x", "y", "other.example:81", PS_HTTP_NO_BODY, 0, 0, false},
    {"an address without a path", TEXT("GET HTTPS://other.example HTTP/1.1\r\n" HOST "\r\n"), "", "", "other.example", PS_HTTP_NO_BODY, 0, 0, false},
    {"a body by length", TEXT("POST /x HTTP/1.1\r\n" HOST "Content-Length: 0003\r\n\r\nabc"), "/x", "", "shop.example", PS_HTTP_BY_LENGTH, 3, 3, false},
    {"a body in chunks", TEXT("POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: CHUNKED\r\n\r\n3"), "/x", "", "shop.example", PS_HTTP_CHUNKED, 0, 1, false},
    {"a second request behind it", TEXT("GET /x HTTP/1.1\r\n" HOST "\r\nGET"), "/x", "", "shop.example", PS_HTTP_NO_BODY, 0, 3, false},
    {"OPTIONS for the whole server", TEXT("OPTIONS * HTTP/1.1\r\n" HOST "\r\n"), "", "", "shop.example", PS_HTTP_NO_BODY, 0, 0, false},
    {"every mark of a token in a name", TEXT("GET /x HTTP/1.1\r\n" HOST "X!#$%&'*+-.^_`|~9: a\r\n\r\n"), "/x", "", "shop.example", PS_HTTP_NO_BODY, 0, 0, false},
};

/* --- Requests that are refused. --- */

static const struct {
    enum ps_http_rule rule;
    struct ps_str bytes;
} refused[] = {
    {PS_HTTP_EMPTY_LINES, TEXT("\r\n\r\nGET /x HTTP/1.1\r\n" HOST "\r\n")},
    {PS_HTTP_BARE_LF, TEXT("GET /x HTTP/1.1\n" HOST "\r\n")},
    {PS_HTTP_BARE_LF, TEXT("GET /x HTTP/1.1\r\n" HOST "\n")},
    {PS_HTTP_BARE_CR, TEXT("GET /x HTTP/1.1\r\n" HOST "A: b\rC: d\r\n\r\n")},
    {PS_HTTP_METHOD, TEXT("\x16\x03\x01")},
    {PS_HTTP_METHOD, TEXT("G\"T /x HTTP/1.1\r\n" HOST "\r\n")},
    {PS_HTTP_METHOD, TEXT("MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM /x HTTP/1.1\r\n" HOST "\r\n")},
    {PS_HTTP_METHOD, TEXT(" GET /x HTTP/1.1\r\n" HOST "\r\n")},
    {PS_HTTP_REQUEST_LINE, TEXT("GET  /x HTTP/1.1\r\n" HOST "\r\n")},
    {PS_HTTP_REQUEST_LINE, TEXT("GET /x  HTTP/1.1\r\n" HOST "\r\n")},
    {PS_HTTP_REQUEST_LINE, TEXT("GET /x HTTP/1.1 \r\n" HOST "\r\n")},
    {PS_HTTP_METHOD, TEXT("GET\t/x HTTP/1.1\r\n" HOST "\r\n")},
    {PS_HTTP_REQUEST_LINE, TEXT("GET /x\r\n" HOST "\r\n")},
    {PS_HTTP_REQUEST_LINE, TEXT("GET\r\n" HOST "\r\n")},
    {PS_HTTP_VERSION, TEXT("GET /x http/1.1\r\n" HOST "\r\n")},
    {PS_HTTP_VERSION, TEXT("GET /x HTTP/1,1\r\n" HOST "\r\n")},
    {PS_HTTP_REQUEST_LINE, TEXT("GET /x HTTP/1.10\r\n" HOST "\r\n")},
    {PS_HTTP_VERSION_MAJOR, TEXT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")},
    {PS_HTTP_TARGET_FORM, TEXT("GET x HTTP/1.1\r\n" HOST "\r\n")},
    {PS_HTTP_TARGET_FORM, TEXT("GET * HTTP/1.1\r\n" HOST "\r\n")},
    {PS_HTTP_TARGET_FORM, TEXT("CONNECT shop.example:443 HTTP/1.1\r\n" HOST "\r\n")},
    {PS_HTTP_TARGET_FORM, TEXT("GET ftp://shop.example/ HTTP/1.1\r\n" HOST "\r\n")},
    {PS_HTTP_TARGET_CHARS, TEXT("GET /x#y HTTP/1.1\r\n" HOST "\r\n")},
    {PS_HTTP_TARGET_CHARS, TEXT("GET /x\"y HTTP/1.1\r\n" HOST "\r\n")},
    {PS_HTTP_TARGET_CHARS, TEXT("GET /{x} HTTP/1.1\r\n" HOST "\r\n")},
    {PS_HTTP_TARGET_CHARS, TEXT("GET /\xc3\xbc HTTP/1.1\r\n" HOST "\r\n")},
    {PS_HTTP_TARGET_CHARS, TEXT("GET /?[a] HTTP/1.1\r\n" HOST "\r\n")},
    {PS_HTTP_TARGET_CHARS, TEXT("GET /\0 HTTP/1.1\r\n" HOST "\r\n")},
    {PS_HTTP_TARGET_ESCAPE, TEXT("GET /%zz HTTP/1.1\r\n" HOST "\r\n")},
    {PS_HTTP_TARGET_ESCAPE, TEXT("GET /%2 HTTP/1.1\r\n" HOST "\r\n")},
    {PS_HTTP_TARGET_NUL, TEXT("GET /a%00b HTTP/1.1\r\n" HOST "\r\n")},
    {PS_HTTP_AUTHORITY, TEXT("GET http:///x HTTP/1.1\r\n" HOST "\r\n")},
    {PS_HTTP_AUTHORITY, TEXT("GET http://a:b/ HTTP/1.1\r\n" HOST "\r\n")},
    {PS_HTTP_USERINFO, TEXT("GET http://me@shop.example/ HTTP/1.1\r\n" HOST "\r\n")},
    {PS_HTTP_HOST_MISSING, TEXT("GET /x HTTP/1.1\r\n\r\n")},
    {PS_HTTP_HOST_MISSING, TEXT("GET http://shop.example/x HTTP/1.1\r\n\r\n")},
    {PS_HTTP_HOST_TWICE, TEXT("GET /x HTTP/1.1\r\n" HOST HOST "\r\n")},
    {PS_HTTP_HOST, TEXT("GET /x HTTP/1.1\r\nHost:\r\n\r\n")},
    {PS_HTTP_HOST, TEXT("GET /x HTTP/1.1\r\nHost: shop.example/x\r\n\r\n")},
    {PS_HTTP_HOST, TEXT("GET /x HTTP/1.1\r\nHost: a, b\r\n\r\n")},
    {PS_HTTP_HOST, TEXT("GET /x HTTP/1.1\r\nHost: [::1\r\n\r\n")},
    {PS_HTTP_HOST, TEXT("GET /x HTTP/1.1\r\nHost: [::g]\r\n\r\n")},
    {PS_HTTP_HOST, TEXT("GET /x HTTP/1.1\r\nHost: a:123456\r\n\r\n")},
    {PS_HTTP_FIELD_NAME, TEXT("GET /x HTTP/1.1\r\nHost : shop.example\r\n\r\n")},
    {PS_HTTP_FIELD_NAME, TEXT("GET /x HTTP/1.1\r\n" HOST "A\r\n\r\n")},
    {PS_HTTP_FIELD_NAME, TEXT("GET /x HTTP/1.1\r\n" HOST ": a\r\n\r\n")},
    {PS_HTTP_FIELD_NAME, TEXT("GET /x HTTP/1.1\r\n" HOST "A\0B: c\r\n\r\n")},
    {PS_HTTP_FIELD_FOLD, TEXT("GET /x HTTP/1.1\r\n" HOST "A: b\r\n c\r\n\r\n")},
    {PS_HTTP_FIELD_FOLD, TEXT("GET /x HTTP/1.1\r\n " HOST "\r\n")},
    {PS_HTTP_FIELD_VALUE, TEXT("GET /x HTTP/1.1\r\n" HOST "A: b\0c\r\n\r\n")},
    {PS_HTTP_FIELD_VALUE, TEXT("GET /x HTTP/1.1\r\n" HOST "A: b\x7f\r\n\r\n")},
    {PS_HTTP_TOO_MANY_FIELDS, TEXT("GET /x HTTP/1.1\r\n" HOST "A:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\n\r\n")},
    {PS_HTTP_LENGTH, TEXT("POST /x HTTP/1.1\r\n" HOST "Content-Length: +3\r\n\r\n")},
    {PS_HTTP_LENGTH, TEXT("POST /x HTTP/1.1\r\n" HOST "Content-Length: 3, 3\r\n\r\n")},
    {PS_HTTP_LENGTH_TOO_LARGE, TEXT("POST /x HTTP/1.1\r\n" HOST "Content-Length: 1234567890123456789\r\n\r\n")},
    {PS_HTTP_FRAMING_SPACE, TEXT("POST /x HTTP/1.1\r\n" HOST "Content-Length: 3 \r\n\r\n")},
    {PS_HTTP_FRAMING_SPACE, TEXT("POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\t\r\n\r\n")},
    {PS_HTTP_LENGTH, TEXT("POST /x HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n")},
    {PS_HTTP_LENGTH_TWICE, TEXT("POST /x HTTP/1.1\r\n" HOST "Content-Length: 3\r\nContent-Length: 3\r\n\r\n")},
    {PS_HTTP_ENCODING, TEXT("POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n")},
    {PS_HTTP_ENCODING, TEXT("POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n")},
    {PS_HTTP_ENCODING, TEXT("POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n")},
    {PS_HTTP_ENCODING_AND_LENGTH, TEXT("POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n")},
    {PS_HTTP_ENCODING_IN_1_0, TEXT("POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n")},
};
/* clang-format on */

/* Byte by byte from the first, each time at another place in memory. */
static enum ps_http_step parse_slowly(struct ps_http_head *head, struct ps_str bytes)
{
    char memory[2][2048];
    enum ps_http_step step = PS_HTTP_MORE;

    for (size_t len = 1; len <= bytes.len && step == PS_HTTP_MORE; len++) {
        memcpy(memory[len % 2], bytes.at, len);
        step = ps_http_head_parse(head, memory[len % 2], len);
    }
    return step;
}

static void check_span(const char *claim, struct ps_str bytes, struct ps_http_span span,
                       const char *want)
{
    if (span.len != strlen(want) || memcmp(bytes.at + span.at, want, span.len) != 0)
        fail_msg("%s: \"%.*s\", not \"%s\"", claim, (int)span.len, bytes.at + span.at, want);
}

static void check_taken(const struct taken *row, const struct ps_http_head *head,
                        enum ps_http_step step)
{
    if (step != PS_HTTP_DONE)
        fail_msg("%s: %d %s", row->claim, step, ps_http_rules[head->rule].name);
    check_span(row->claim, row->bytes, head->path, row->path);
    check_span(row->claim, row->bytes, head->query, row->query);
    check_span(row->claim, row->bytes, head->host, row->host);
    assert_int_equal(head->framing, row->framing);
    assert_int_equal(head->body_len, row->body_len);
    assert_int_equal(head->len, row->bytes.len - row->behind);
    assert_int_equal(head->keep_alive, !row->closes);
}

static void requests_are_read_alike_whole_and_byte_by_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(requests); i++) {
        struct ps_http_head head;
        ps_http_request_init(&head, &limits);
        check_taken(&requests[i], &head,
                    ps_http_head_parse(&head, requests[i].bytes.at, requests[i].bytes.len));
        ps_http_request_init(&head, &limits);
        check_taken(&requests[i], &head, parse_slowly(&head, requests[i].bytes));
    }
}

static void what_breaks_a_rule_is_refused_by_that_rule(void **state)
{
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(refused); i++) {
        struct ps_http_head head;
        ps_http_request_init(&head, &limits);
        enum ps_http_step step =
            ps_http_head_parse(&head, refused[i].bytes.at, refused[i].bytes.len);
        if (step != PS_HTTP_BAD || head.rule != refused[i].rule)
            fail_msg("row %zu (%s): %d %s", i, ps_http_rules[refused[i].rule].name, step,
                     ps_http_rules[head.rule].name);
        ps_http_request_init(&head, &limits);
        step = parse_slowly(&head, refused[i].bytes);
        if (step != PS_HTTP_BAD || head.rule != refused[i].rule)
            fail_msg("row %zu (%s) slowly: %d %s", i, ps_http_rules[refused[i].rule].name, step,
                     ps_http_rules[head.rule].name);
    }
}

static void every_rule_of_requests_has_a_row(void **state)
{
    (void)state;
    for (int rule = 1; rule < PS_HTTP_RULE_COUNT; rule++) {
        bool found = rule == PS_HTTP_TARGET_TOO_LONG || rule == PS_HTTP_HEAD_TOO_LARGE ||
                     rule >= PS_HTTP_CHUNK_SIZE;
        for (size_t i = 0; i < PS_ARRAY_LEN(refused); i++)
            found |= (int)refused[i].rule == rule;
        if (!found)
            fail_msg("no request is refused for %s", ps_http_rules[rule].name);
    }
}

static void a_line_or_head_above_its_limit_is_refused_before_it_ends(void **state)
{
    char bytes[2048];
    struct ps_http_head head;

    (void)state;
    memset(bytes, 'a', sizeof bytes);
    memcpy(bytes, "GET /", 5);
    ps_http_request_init(&head, &limits);
    assert_int_equal(ps_http_head_parse(&head, bytes, 256 + 44), PS_HTTP_MORE);
    assert_int_equal(ps_http_head_parse(&head, bytes, 256 + 45), PS_HTTP_BAD);
    assert_int_equal(head.rule, PS_HTTP_TARGET_TOO_LONG);

    /* Also when it comes whole, and of a response. */
    memcpy(bytes + 1000, "\r\n", 2);
    ps_http_request_init(&head, &limits);
    assert_int_equal(ps_http_head_parse(&head, bytes, 1002), PS_HTTP_BAD);
    assert_int_equal(head.rule, PS_HTTP_TARGET_TOO_LONG);
    memcpy(bytes, "HTTP/1.1 200 ", 13);
    ps_http_response_init(&head, &limits, false);
    assert_int_equal(ps_http_head_parse(&head, bytes, 1002), PS_HTTP_BAD);
    ps_http_response_init(&head, &limits, false);
    assert_int_equal(ps_http_head_parse(&head, bytes, 900), PS_HTTP_BAD);
    assert_int_equal(head.rule, PS_HTTP_STATUS_LINE);

    static const char begin[] = "GET / HTTP/1.1\r\nA: ";
    memcpy(bytes, begin, sizeof begin - 1);
    ps_http_request_init(&head, &limits);
    assert_int_equal(ps_http_head_parse(&head, bytes, 1024), PS_HTTP_MORE);
    assert_int_equal(ps_http_head_parse(&head, bytes, 1025), PS_HTTP_BAD);
    assert_int_equal(head.rule, PS_HTTP_HEAD_TOO_LARGE);
}

/* --- Responses. --- */

static const struct {
    const char *claim;
    struct ps_str bytes;
    bool to_head;
    int status; /* 0: refused */
    enum ps_http_framing framing;
    bool keep_alive;
} responses[] = {
    {"a body by length", TEXT("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"), false, 200,
     PS_HTTP_BY_LENGTH, true},
    {"a body in chunks", TEXT("HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n"), false, 200,
     PS_HTTP_CHUNKED, true},
    {"a body until the end", TEXT("HTTP/1.1 200 OK\r\n\r\n"), false, 200, PS_HTTP_UNTIL_CLOSE,
     false},
    {"no body behind HEAD", TEXT("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"), true, 200,
     PS_HTTP_NO_BODY, true},
    {"no body with 304", TEXT("HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n"), false, 304,
     PS_HTTP_NO_BODY, true},
    {"no body with 204", TEXT("HTTP/1.1 204 No Content\r\n\r\n"), false, 204, PS_HTTP_NO_BODY,
     true},
    {"no body with 204, which some count",
     TEXT("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"), false, 204, PS_HTTP_NO_BODY,
     true},
    {"an interim answer", TEXT("HTTP/1.1 100 Continue\r\n\r\n"), false, 100, PS_HTTP_NO_BODY, true},
    {"HTTP/1.0 closes", TEXT("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n"), false, 200,
     PS_HTTP_BY_LENGTH, false},
    {"no space behind the status", TEXT("HTTP/1.1 200\r\n\r\n"), false, 0, 0, false},
    {"four digits", TEXT("HTTP/1.1 2000 OK\r\n\r\n"), false, 0, 0, false},
    {"a status above 599", TEXT("HTTP/1.1 600 OK\r\n\r\n"), false, 0, 0, false},
    {"an empty line first", TEXT("\r\nHTTP/1.1 200 OK\r\n\r\n"), false, 0, 0, false},
    {"a control byte in the reason", TEXT("HTTP/1.1 200 O\x01K\r\n\r\n"), false, 0, 0, false},
    {"204 with a length", TEXT("HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\n"), false, 0, 0, false},
    {"chunks and a length",
     TEXT("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"), false, 0,
     0, false},
};

static void responses_are_framed_as_the_standard_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(responses); i++) {
        struct ps_http_head head;
        ps_http_response_init(&head, &limits, responses[i].to_head);
        enum ps_http_step step = parse_slowly(&head, responses[i].bytes);
        if (step != (responses[i].status > 0 ? PS_HTTP_DONE : PS_HTTP_BAD))
            fail_msg("%s: %d", responses[i].claim, step);
        if (responses[i].status == 0)
            continue;
        assert_int_equal(head.status, responses[i].status);
        if (head.framing != responses[i].framing || head.keep_alive != responses[i].keep_alive)
            fail_msg("%s: framing %d, keep %d", responses[i].claim, head.framing, head.keep_alive);
    }
}

/* --- Chunks. --- */

static const struct {
    enum ps_http_rule rule; /* PS_HTTP_NO_RULE: taken */
    struct ps_str bytes;
    const char *body;
} bodies[] = {
    {PS_HTTP_NO_RULE, TEXT("0\r\n\r\n"), ""},
    {PS_HTTP_NO_RULE, TEXT("3\r\nabc\r\n0\r\n\r\n"), "abc"},
    {PS_HTTP_NO_RULE, TEXT("003\r\nabc\r\n1\r\nd\r\n000\r\n\r\n"), "abcd"},
    {PS_HTTP_NO_RULE, TEXT("A\r\n0123456789\r\n0\r\n\r\n"), "0123456789"},
    {PS_HTTP_NO_RULE, TEXT("1 ; a ; b = c;d=\"\\\"x\"\r\nz\r\n0;e\r\n\r\n"), "z"},
    {PS_HTTP_NO_RULE, TEXT("1\r\nz\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n"), "z"},
    {PS_HTTP_CHUNK_SIZE, TEXT("\r\n"), ""},
    {PS_HTTP_CHUNK_SIZE, TEXT("g\r\n"), ""},
    {PS_HTTP_CHUNK_SIZE, TEXT("-1\r\n"), ""},
    {PS_HTTP_CHUNK_SIZE, TEXT("0x1\r\n"), ""},
    {PS_HTTP_CHUNK_SIZE, TEXT("1\nz"), ""},
    {PS_HTTP_CHUNK_SIZE, TEXT("1000000000000000\r\n"), ""},
    {PS_HTTP_CHUNK_SIZE_END, TEXT("1\rz"), ""},
    {PS_HTTP_CHUNK_EXTENSION, TEXT("1 \r\nz\r\n"), ""},
    {PS_HTTP_CHUNK_EXTENSION, TEXT("1;\r\nz\r\n"), ""},
    {PS_HTTP_CHUNK_EXTENSION, TEXT("1;a=\r\nz\r\n"), ""},
    {PS_HTTP_CHUNK_EXTENSION, TEXT("1;a\x01\r\nz\r\n"), ""},
    {PS_HTTP_CHUNK_EXTENSION, TEXT("1;a=\"b\r\nz\r\n"), ""},
    {PS_HTTP_CHUNK_EXTENSION, TEXT("1;a\nz\r\n"), ""},
    {PS_HTTP_CHUNK_SIZE_END, TEXT("1\r\r\nz\r\n"), ""},
    {PS_HTTP_CHUNK_END, TEXT("1\r\nzz\r\n"), "z"},
    {PS_HTTP_CHUNK_END, TEXT("1\r\nz\n0\r\n\r\n"), "z"},
    {PS_HTTP_TRAILER, TEXT("0\r\n X: a\r\n\r\n"), ""},
    {PS_HTTP_TRAILER, TEXT("0\r\nX: a\r\n b\r\n\r\n"), ""},
    {PS_HTTP_TRAILER, TEXT("0\r\nX : a\r\n\r\n"), ""},
    {PS_HTTP_TRAILER, TEXT("0\r\nX: a\0b\r\n\r\n"), ""},
    {PS_HTTP_TRAILER, TEXT("0\r\nX: a\nY: b\r\n\r\n"), ""},
    {PS_HTTP_TRAILER, TEXT("0\r\n\n"), ""},
};

/* Feeds pieces of `step` bytes; the body and how it ended. */
static enum ps_http_step read_chunks(struct ps_http_chunks *chunks, struct ps_str bytes,
                                     size_t piece, char *ret_body, size_t *ret_used)
{
    enum ps_http_step step = PS_HTTP_MORE;
    size_t at = 0, body_len = 0;

    while (at < bytes.len && step != PS_HTTP_DONE && step != PS_HTTP_BAD) {
        size_t len = bytes.len - at < piece ? bytes.len - at : piece, used = 0;
        struct ps_str data;
        step = ps_http_chunks_next(chunks, bytes.at + at, len, &used, &data);
        if (step == PS_HTTP_DATA) {
            memcpy(ret_body + body_len, data.at, data.len);
            body_len += data.len;
        }
        at += used;
    }
    ret_body[body_len] = '\0';
    *ret_used = at;
    return step;
}

static void chunks_are_read_alike_in_pieces_of_every_size(void **state)
{
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(bodies); i++) {
        for (size_t piece = 1; piece <= bodies[i].bytes.len; piece++) {
            struct ps_http_chunks chunks;
            char body[64];
            size_t used;
            ps_http_chunks_init(&chunks);
            enum ps_http_step step = read_chunks(&chunks, bodies[i].bytes, piece, body, &used);
            enum ps_http_step want = bodies[i].rule == PS_HTTP_NO_RULE ? PS_HTTP_DONE : PS_HTTP_BAD;
            if (step != want || (step == PS_HTTP_BAD && chunks.rule != bodies[i].rule))
                fail_msg("row %zu by %zu: %d %s", i, piece, step, ps_http_rules[chunks.rule].name);
            assert_string_equal(body, bodies[i].body);
            if (step == PS_HTTP_DONE)
                assert_int_equal(used, bodies[i].bytes.len);
        }
    }
}

static void endless_framing_of_chunks_is_refused(void **state)
{
    static const struct {
        const char *begin;
        char filler;
        size_t len;
        enum ps_http_rule rule;
    } rows[] = {
        {"0", '0', 16, PS_HTTP_CHUNK_SIZE},
        {"1;", 'a', PS_HTTP_CHUNK_LINE_MAX + 1, PS_HTTP_CHUNK_LINE_TOO_LONG},
        {"1;a=\"", 'a', PS_HTTP_CHUNK_LINE_MAX + 1, PS_HTTP_CHUNK_LINE_TOO_LONG},
        {"1 ", ' ', PS_HTTP_CHUNK_LINE_MAX + 1, PS_HTTP_CHUNK_LINE_TOO_LONG},
        {"0\r\nX:", 'a', PS_HTTP_TRAILER_MAX + 4, PS_HTTP_TRAILERS_TOO_LARGE},
    };

    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        char bytes[8192], body[8192];
        struct ps_http_chunks chunks;
        size_t used;
        memset(bytes, rows[i].filler, sizeof bytes);
        memcpy(bytes, rows[i].begin, strlen(rows[i].begin));
        ps_http_chunks_init(&chunks);
        assert_int_equal(
            read_chunks(&chunks, (struct ps_str){bytes, rows[i].len - 1}, 8192, body, &used),
            PS_HTTP_MORE);
        assert_int_equal(
            read_chunks(&chunks,
                        (struct ps_str){bytes + rows[i].len - 1, sizeof bytes - rows[i].len}, 8192,
                        body, &used),
            PS_HTTP_BAD);
        assert_int_equal(chunks.rule, rows[i].rule);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_read_alike_whole_and_byte_by_byte),
        cmocka_unit_test(what_breaks_a_rule_is_refused_by_that_rule),
        cmocka_unit_test(every_rule_of_requests_has_a_row),
        cmocka_unit_test(a_line_or_head_above_its_limit_is_refused_before_it_ends),
        cmocka_unit_test(responses_are_framed_as_the_standard_says),
        cmocka_unit_test(chunks_are_read_alike_in_pieces_of_every_size),
        cmocka_unit_test(endless_framing_of_chunks_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
