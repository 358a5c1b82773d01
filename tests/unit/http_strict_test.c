/* What a request must look like, over raw sockets: a table of heads that must be refused with a 400
 * of ours and a closed connection, heads that the library refuses by a page of its own, and heads
 * that must pass. */
#include "http_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum outcome {
    PASSES,     /* 200, and the connection stays */
    REFUSED,    /* a problem of ours with the status, and the connection closes */
    BY_LIBRARY, /* the library's own page with the status, and the connection closes */
    JUST_CLOSED /* nothing is said */
};

struct attempt {
    const char *claim;
    const char *bytes;
    size_t len;
    enum outcome outcome;
    int status;
};

#define BYTES(text) (text), sizeof(text) - 1
#define HOST        "Host: shop.example\r\n"
#define OK(c, t)                                                                                   \
    {                                                                                              \
        c, BYTES(t), PASSES, 200                                                                   \
    }
#define BAD(c, t)                                                                                  \
    {                                                                                              \
        c, BYTES(t), REFUSED, 400                                                                  \
    }
#define OWN(c, t, s)                                                                               \
    {                                                                                              \
        c, BYTES(t), BY_LIBRARY, s                                                                 \
    }
#define GONE(c, t)                                                                                 \
    {                                                                                              \
        c, BYTES(t), JUST_CLOSED, 0                                                                \
    }

/* clang-format off */
static const struct attempt attempts[] = {
    OK("a plain GET", "GET /x HTTP/1.1\r\n" HOST "\r\n"),
    OK("HTTP/1.0 with Host that asks to stay", "GET /x HTTP/1.0\r\n" HOST "Connection: keep-alive\r\n\r\n"),
    OK("a minor version above 1", "GET /x HTTP/1.2\r\n" HOST "\r\n"),
    OK("field names in any case", "GET /x HTTP/1.1\r\nhOST: shop.example\r\n\r\n"),
    OK("no space after the colon", "GET /x HTTP/1.1\r\nHost:shop.example\r\n\r\n"),
    OK("white space around a value", "GET /x HTTP/1.1\r\nHost: \t shop.example \t \r\n\r\n"),
    OK("an empty value", "GET /x HTTP/1.1\r\n" HOST "X-Empty:\r\n\r\n"),
    OK("a host with a port", "GET /x HTTP/1.1\r\nHost: shop.example:8080\r\n\r\n"),
    OK("an IPv6 host", "GET /x HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n"),
    OK("an IPv4 host", "GET /x HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n"),
    OK("a query", "GET /x?a=%20b&c HTTP/1.1\r\n" HOST "\r\n"),
    OK("every mark of a token in a name", "GET /x HTTP/1.1\r\n" HOST "X!#$%&'*+-.^_`|~9: a\r\n\r\n"),
    OK("a tab within a value", "GET /x HTTP/1.1\r\n" HOST "X-A: a\tb\r\n\r\n"),
    OK("UTF-8 in a value", "GET /x HTTP/1.1\r\n" HOST "X-User-Id: \xc3\xbc\r\n\r\n"),
    OK("an unknown method", "BREW /x HTTP/1.1\r\n" HOST "\r\n"),
    OK("OPTIONS for the whole server", "OPTIONS * HTTP/1.1\r\n" HOST "\r\n"),
    OK("a body by length", "POST /x HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc"),
    OK("a body of length 0", "POST /x HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n"),
    OK("a body in chunks", "POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
    OK("Chunked in any case", "POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n"),
    OK("a trailer", "POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"),
    OK("a chunk extension", "POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n"),
    /* These the library hides from us; they are taken. */
    OK("a bare LF in the framing of chunks", "POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n"),
    OK("leading zeros in a chunk size", "POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0003\r\nabc\r\n0\r\n\r\n"),
    OK("a control byte in a chunk extension", "POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1;\x01\r\na\r\n0\r\n\r\n"),
    OK("leading zeros in Content-Length", "POST /x HTTP/1.1\r\n" HOST "Content-Length: 0003\r\n\r\nabc"),
    OK("a folded line in a trailer", "POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\nX: a\r\n b\r\n\r\n"),
    OK("a NUL in a trailer", "POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\nX: a\0b\r\n\r\n"),
    OK("a bare LF in a trailer", "POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\nX: a\nY: b\r\n\r\n"),
    OK("empty lines of bare LFs before the request", "\n\n\r\n\nGET /x HTTP/1.1\r\n" HOST "\r\n"),
    OK("an unknown expectation", "GET /x HTTP/1.1\r\n" HOST "Expect: tea\r\n\r\n"),
    OK("an offer to upgrade", "GET /x HTTP/1.1\r\n" HOST "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"),
    OK("two lines of X-Forwarded-For", "GET /x HTTP/1.1\r\n" HOST "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\n\r\n"),
    OK("two lines of a field that nobody reads", "GET /x HTTP/1.1\r\n" HOST "Via: 1.1 a\r\nVia: 1.1 b\r\n\r\n"),
    OK("an empty line before the request", "\r\nGET /x HTTP/1.1\r\n" HOST "\r\n"),

    BAD("no Host", "GET /x HTTP/1.1\r\n\r\n"),
    BAD("HTTP/1.0 without Host", "GET /x HTTP/1.0\r\n\r\n"),
    BAD("HTTP/1.1 without Host for a probe", "GET /livez HTTP/1.1\r\n\r\n"),
    BAD("two Hosts", "GET /x HTTP/1.1\r\n" HOST "Host: other.example\r\n\r\n"),
    BAD("two equal Hosts", "GET /x HTTP/1.1\r\n" HOST HOST "\r\n"),
    BAD("an empty Host", "GET /x HTTP/1.1\r\nHost:\r\n\r\n"),
    BAD("a Host with a path", "GET /x HTTP/1.1\r\nHost: shop.example/y\r\n\r\n"),
    BAD("a Host with user information", "GET /x HTTP/1.1\r\nHost: a@shop.example\r\n\r\n"),
    BAD("a Host with a space", "GET /x HTTP/1.1\r\nHost: shop example\r\n\r\n"),
    BAD("two hosts in one line", "GET /x HTTP/1.1\r\nHost: a.example, b.example\r\n\r\n"),
    BAD("a Host with a port that is none", "GET /x HTTP/1.1\r\nHost: shop.example:http\r\n\r\n"),
    BAD("a Host with a port too long", "GET /x HTTP/1.1\r\nHost: shop.example:123456\r\n\r\n"),
    BAD("a Host that is a port", "GET /x HTTP/1.1\r\nHost: :80\r\n\r\n"),
    BAD("an open bracket in Host", "GET /x HTTP/1.1\r\nHost: [::1\r\n\r\n"),
    BAD("an empty bracket in Host", "GET /x HTTP/1.1\r\nHost: []\r\n\r\n"),
    BAD("a NUL in Host", "GET /x HTTP/1.1\r\nHost: shop\0.example\r\n\r\n"),

    BAD("two Content-Lengths", "POST /x HTTP/1.1\r\n" HOST "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc"),
    BAD("two equal Content-Lengths", "POST /x HTTP/1.1\r\n" HOST "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
    BAD("both lengths, chunked first",
        "POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"),
    BAD("both lengths, chunked last",
        "POST /x HTTP/1.1\r\n" HOST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    BAD("an unknown Transfer-Encoding", "POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\n\r\nabc"),
    BAD("gzip before chunked", "POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    BAD("chunked twice", "POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    BAD("two lines of Transfer-Encoding",
        "POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    BAD("chunked with a space behind it", "POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked \r\n\r\n0\r\n\r\n"),
    BAD("a vertical tab before chunked", "POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: \x0b" "chunked\r\n\r\n0\r\n\r\n"),
    BAD("chunked in quotes", "POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    BAD("an empty Transfer-Encoding", "POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding:\r\n\r\n"),
    BAD("identity", "POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc"),
    BAD("chunked in HTTP/1.0", "POST /x HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    BAD("a Transfer-Encoding behind a bare LF",
        "POST /x HTTP/1.1\r\n" HOST "X-A: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    BAD("a space before the colon of Transfer-Encoding",
        "POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),

    BAD("a space before a colon", "GET /x HTTP/1.1\r\n" HOST "X-A : a\r\n\r\n"),
    BAD("a tab before a colon", "GET /x HTTP/1.1\r\n" HOST "X-A\t: a\r\n\r\n"),
    BAD("a space within a name", "GET /x HTTP/1.1\r\n" HOST "X A: a\r\n\r\n"),
    BAD("a space before the first name", "GET /x HTTP/1.1\r\n Host: shop.example\r\n\r\n"),
    BAD("an empty name", "GET /x HTTP/1.1\r\n" HOST ": a\r\n\r\n"),
    BAD("a parenthesis in a name", "GET /x HTTP/1.1\r\n" HOST "X(A): a\r\n\r\n"),
    BAD("a slash in a name", "GET /x HTTP/1.1\r\n" HOST "X/A: a\r\n\r\n"),
    BAD("a control byte in a name", "GET /x HTTP/1.1\r\n" HOST "X\x01" "A: a\r\n\r\n"),
    BAD("UTF-8 in a name", "GET /x HTTP/1.1\r\n" HOST "X\xc3\xbc: a\r\n\r\n"),
    BAD("a NUL in a value", "GET /x HTTP/1.1\r\n" HOST "X-A: a\0b\r\nX-B: b\r\n\r\n"),
    BAD("a NUL in the last value", "GET /x HTTP/1.1\r\n" HOST "X-A: a\0b\r\n\r\n"),
    BAD("a NUL at the end of a value", "GET /x HTTP/1.1\r\n" HOST "X-A: a\0\r\n\r\n"),
    BAD("a NUL before a value", "GET /x HTTP/1.1\r\n" HOST "X-A: \0a\r\n\r\n"),
    BAD("an escape byte in a value", "GET /x HTTP/1.1\r\n" HOST "X-A: \x1b[0m\r\n\r\n"),
    BAD("a DEL in a value", "GET /x HTTP/1.1\r\n" HOST "X-A: \x7f\r\n\r\n"),
    BAD("a bare CR in a value", "GET /x HTTP/1.1\r\n" HOST "X-A: a\rb\r\n\r\n"),
    BAD("two CRs at the end of a line", "GET /x HTTP/1.1\r\n" HOST "X-A: a\r\r\n\r\n"),
    BAD("a bare LF after a field", "GET /x HTTP/1.1\r\n" HOST "X-A: a\nX-B: b\r\n\r\n"),
    BAD("a bare LF after the last field", "GET /x HTTP/1.1\r\nHost: shop.example\n\r\n"),
    BAD("a bare LF after the request line", "GET /x HTTP/1.1\n" HOST "\r\n"),
    BAD("a bare LF as the last line", "GET /x HTTP/1.1\r\n" HOST "\n"),
    BAD("nothing but bare LFs", "GET /x HTTP/1.1\nHost: shop.example\n\n"),
    BAD("a folded line", "GET /x HTTP/1.1\r\n" HOST "X-A: a\r\n b\r\n\r\n"),
    BAD("a folded line by a tab", "GET /x HTTP/1.1\r\n" HOST "X-A: a\r\n\tb\r\nX-B: b\r\n\r\n"),
    BAD("a folded Host", "GET /x HTTP/1.1\r\nHost: shop\r\n .example\r\n\r\n"),

    BAD("an absolute target", "GET http://shop.example/x HTTP/1.1\r\n" HOST "\r\n"),
    BAD("an authority as target", "CONNECT shop.example:443 HTTP/1.1\r\n" HOST "\r\n"),
    BAD("an asterisk but for OPTIONS", "GET * HTTP/1.1\r\n" HOST "\r\n"),
    BAD("a target without a slash", "GET x HTTP/1.1\r\n" HOST "\r\n"),
    BAD("an encoded NUL in the path", "GET /x%00y HTTP/1.1\r\n" HOST "\r\n"),
    BAD("an encoded NUL in the query", "GET /x?a=%00 HTTP/1.1\r\n" HOST "\r\n"),
    BAD("a NUL in the path", "GET /x\0y HTTP/1.1\r\n" HOST "\r\n"),
    BAD("a NUL in the query", "GET /x?a\0b HTTP/1.1\r\n" HOST "\r\n"),
    BAD("a control byte in the path", "GET /x\x01 HTTP/1.1\r\n" HOST "\r\n"),
    BAD("a tab in the path", "GET /x\ty HTTP/1.1\r\n" HOST "\r\n"),
    BAD("a DEL in the path", "GET /x\x7f HTTP/1.1\r\n" HOST "\r\n"),
    BAD("UTF-8 in the path", "GET /\xc3\xbc HTTP/1.1\r\n" HOST "\r\n"),
    BAD("a fragment", "GET /x#y HTTP/1.1\r\n" HOST "\r\n"),
    BAD("a space in the target", "GET /x y HTTP/1.1\r\n" HOST "\r\n"),
    BAD("two spaces before the target", "GET  /x HTTP/1.1\r\n" HOST "\r\n"),
    BAD("two spaces before the version", "GET /x  HTTP/1.1\r\n" HOST "\r\n"),
    BAD("a control byte in the method", "G\x01T /x HTTP/1.1\r\n" HOST "\r\n"),
    BAD("a NUL in the method", "G\0T /x HTTP/1.1\r\n" HOST "\r\n"),
    BAD("a parenthesis in the method", "G(T /x HTTP/1.1\r\n" HOST "\r\n"),
    BAD("a tab after the method", "GET\t/x /y HTTP/1.1\r\n" HOST "\r\n"),

    BAD("two X-User-Ids", "GET /x HTTP/1.1\r\n" HOST "X-User-Id: a\r\nX-User-Id: b\r\n\r\n"),
    BAD("two equal X-User-Ids", "GET /x HTTP/1.1\r\n" HOST "X-User-Id: a\r\nx-user-id: a\r\n\r\n"),
    BAD("two Authorizations", "GET /x HTTP/1.1\r\n" HOST "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n"),
    BAD("two Idempotency-Keys", "GET /x HTTP/1.1\r\n" HOST "Idempotency-Key: a\r\nIdempotency-Key: b\r\n\r\n"),
    BAD("two Content-Types", "GET /x HTTP/1.1\r\n" HOST "Content-Type: a/b\r\nContent-Type: a/b\r\n\r\n"),
    BAD("two If-Matches", "GET /x HTTP/1.1\r\n" HOST "If-Match: \"a\"\r\nIf-Match: \"b\"\r\n\r\n"),
    BAD("two client addresses", "GET /x HTTP/1.1\r\n" HOST "CF-Connecting-IP: 192.0.2.1\r\nCF-Connecting-IP: 192.0.2.2\r\n\r\n"),
    BAD("nine lines of X-Forwarded-For", "GET /x HTTP/1.1\r\n" HOST
        "X-Forwarded-For: 1\r\nX-Forwarded-For: 2\r\nX-Forwarded-For: 3\r\nX-Forwarded-For: 4\r\nX-Forwarded-For: 5\r\n"
        "X-Forwarded-For: 6\r\nX-Forwarded-For: 7\r\nX-Forwarded-For: 8\r\nX-Forwarded-For: 9\r\n\r\n"),
    BAD("a space in a trailer's name",
        "POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\nX A: 1\r\n\r\n"),
    BAD("a control byte in a trailer",
        "POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\nX-A: \x01\r\n\r\n"),

    OWN("a Content-Length with a sign", "POST /x HTTP/1.1\r\n" HOST "Content-Length: +3\r\n\r\nabc", 400),
    OWN("a Content-Length in hexadecimal", "POST /x HTTP/1.1\r\n" HOST "Content-Length: 0x3\r\n\r\nabc", 400),
    OWN("a list as Content-Length", "POST /x HTTP/1.1\r\n" HOST "Content-Length: 3, 3\r\n\r\nabc", 400),
    OWN("a Content-Length with a blank behind it", "POST /x HTTP/1.1\r\n" HOST "Content-Length: 3 \r\n\r\nabc", 400),
    OWN("an empty Content-Length", "POST /x HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\nabc", 400),
    OWN("a Content-Length of more than 64 bits",
        "POST /x HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999\r\n\r\nabc", 413),
    BAD("an empty name in a trailer", "POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n: 1\r\n\r\n"),
    OWN("a trailer without a colon", "POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\nX\r\n\r\n", 400),
    OWN("a field without a colon", "GET /x HTTP/1.1\r\n" HOST "X-A\r\n\r\n", 400),
    OWN("a chunk size that is none", "POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nx\r\n", 400),
    OWN("a negative chunk size", "POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n-1\r\n", 400),
    OWN("a chunk longer than its size", "POST /x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 400),
    OWN("no version", "GET /x\r\n\r\n", 400),
    OWN("a version in small letters", "GET /x http/1.1\r\n" HOST "\r\n", 400),
    OWN("a version with two digits", "GET /x HTTP/1.10\r\n" HOST "\r\n", 400),
    OWN("a space behind the version", "GET /x HTTP/1.1 \r\n" HOST "\r\n", 400),
    OWN("HTTP/2 in clear", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    OWN("HTTP/0.9 by name", "GET /x HTTP/0.9\r\n\r\n", 505),
    GONE("one word", "GET\r\n\r\n"),
};
/* clang-format on */

static bool field_is(const struct http_reply *reply, const char *name, const char *value)
{
    const char *field = http_field(reply, name);
    return field != NULL && strcmp(field, value) == 0;
}

static bool is_problem(const struct http_reply *reply)
{
    const char *id = http_field(reply, "X-Request-Id");
    return id != NULL && strstr(reply->body, id) != NULL &&
           strstr(reply->body, "\"code\":\"malformed\"") != NULL &&
           field_is(reply, "Content-Type", "application/problem+json") &&
           field_is(reply, "Cache-Control", "no-store") && field_is(reply, "Connection", "close");
}

static bool serves_the_next(int fd, struct http_reply *reply)
{
    if (field_is(reply, "Connection", "close"))
        return false;
    http_send_text(fd, "GET /next HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    http_read(fd, false, reply);
    return reply->status == 200 && strstr(reply->body, "path=/next\n") != NULL;
}

static bool comes_out_right(struct http_fixture *fixture, const struct attempt *attempt)
{
    static struct http_reply reply;
    int fd = http_connect(fixture);
    bool right = false;

    http_send(fd, attempt->bytes, attempt->len);
    http_read(fd, false, &reply);
    switch (attempt->outcome) {
    case PASSES:
        right = serves_the_next(fd, &reply);
        break;
    case REFUSED:
        right = reply.status == attempt->status && is_problem(&reply);
        break;
    case BY_LIBRARY:
        right = reply.status == attempt->status && field_is(&reply, "Connection", "close");
        break;
    case JUST_CLOSED:
        right = reply.status == 0;
        break;
    }
    right = right && http_closed(fd);
    if (!right)
        print_error("%s: status %d\n", attempt->claim, reply.status);
    close(fd);
    return right;
}

static void every_head_is_taken_or_refused_as_the_table_says(void **state)
{
    struct http_fixture fixture;
    size_t passed = 0, wrong = 0;
    (void)state;
    http_fixture_init(&fixture);
    http_fixture_start(&fixture);
    for (size_t i = 0; i < PS_ARRAY_LEN(attempts); i++) {
        wrong += !comes_out_right(&fixture, &attempts[i]);
        passed += attempts[i].outcome == PASSES;
    }
    assert_int_equal(wrong, 0);
    /* Two requests for each that passes; none of the others reached the handler. */
    assert_int_equal(atomic_load(&fixture.handled), 2 * passed);
    http_fixture_stop(&fixture);
}

/* The same bytes must mean the same however they are cut. */
static void a_head_in_single_bytes_is_judged_the_same(void **state)
{
    static struct http_reply reply;
    struct http_fixture fixture;
    (void)state;
    http_fixture_init(&fixture);
    http_fixture_start(&fixture);
    for (size_t i = 0; i < PS_ARRAY_LEN(attempts); i += 3) {
        int fd = http_connect(&fixture);
        for (size_t at = 0; at + 1 < attempts[i].len; at += 7) {
            size_t left = attempts[i].len - at;
            if (send(fd, attempts[i].bytes + at, left < 7 ? left : 7, MSG_NOSIGNAL) < 0)
                break; /* refused already */
            usleep(300);
        }
        if (attempts[i].len % 7 == 1)
            (void)!send(fd, attempts[i].bytes + attempts[i].len - 1, 1, MSG_NOSIGNAL);
        http_read(fd, false, &reply);
        assert_int_equal(reply.status, attempts[i].status);
        close(fd);
    }
    http_fixture_stop(&fixture);
}

static void what_was_refused_is_counted_by_its_reason(void **state)
{
    static struct http_reply reply;
    static char long_target[6000];
    struct http_fixture fixture;
    int fd;
    (void)state;
    http_fixture_init(&fixture);
    http_fixture_start(&fixture);

    fd = http_connect(&fixture);
    http_send_text(fd, "GET /x HTTP/1.1\r\n\r\n");
    assert_true(http_closed(fd));
    assert_int_equal(atomic_load(&fixture.refused[ANS_V_malformed]), 1);
    close(fd);

    fd = http_connect(&fixture);
    http_send_text(fd, "POST /x HTTP/1.1\r\n" HOST "Content-Length: x\r\n\r\n");
    assert_true(http_closed(fd));
    assert_int_equal(atomic_load(&fixture.refused[ANS_V_malformed]), 2);
    close(fd);

    memset(long_target, 'a', sizeof long_target);
    long_target[0] = '/';
    long_target[SRV_TARGET_MAX] = '\0';
    fd = http_connect(&fixture);
    http_send_text(fd, "GET ");
    http_send_text(fd, long_target);
    http_send_text(fd, " HTTP/1.1\r\n" HOST "\r\n");
    http_read(fd, false, &reply);
    assert_int_equal(reply.status, 200);
    http_send_text(fd, "GET ");
    http_send_text(fd, long_target);
    http_send_text(fd, "a HTTP/1.1\r\n" HOST "\r\n");
    http_read(fd, false, &reply);
    assert_int_equal(reply.status, 414);
    assert_non_null(strstr(reply.body, "\"code\":\"uri_too_long\""));
    assert_true(http_closed(fd));
    assert_int_equal(atomic_load(&fixture.refused[ANS_V_uri_too_long]), 1);
    close(fd);
    http_fixture_stop(&fixture);
}

static void a_probe_by_http_1_0_needs_no_host(void **state)
{
    static struct http_reply reply;
    struct http_fixture fixture;
    (void)state;
    http_fixture_init(&fixture);
    http_fixture_start(&fixture);
    const char *const probes[] = {"GET /livez HTTP/1.0\r\n\r\n",
                                  "HEAD /readyz?verbose HTTP/1.0\r\n\r\n"};
    for (size_t i = 0; i < PS_ARRAY_LEN(probes); i++) {
        int fd = http_connect(&fixture);
        http_send_text(fd, probes[i]);
        http_read(fd, i == 1, &reply);
        assert_int_equal(reply.status, 200);
        assert_true(http_closed(fd));
        close(fd);
    }
    http_fixture_stop(&fixture);
}

static void the_fields_that_matter_arrive_raw_and_trimmed(void **state)
{
    static struct http_reply reply;
    struct http_fixture fixture;
    (void)state;
    http_fixture_init(&fixture);
    http_fixture_start(&fixture);
    int fd = http_connect(&fixture);
    http_send_text(fd, "POST /a%20b/c?x=%41+b&y HTTP/1.1\r\n" HOST
                       "x-user-id:  u-1 \t\r\ncf-connecting-ip: 192.0.2.9\r\n"
                       "X-Forwarded-For: 192.0.2.1, 192.0.2.2\r\nX-Forwarded-For: 192.0.2.3 "
                       "\r\nX-Request-Id: abc-1\r\n"
                       "Content-Length: 5\r\n\r\nhello");
    http_read(fd, false, &reply);
    assert_string_equal(
        reply.body,
        "method=POST\npath=/a%20b/"
        "c\nquery=x=%41+b&y\nhost=shop.example\nuser=u-1\nclient=192.0.2.9\n"
        "forwarded=192.0.2.1, 192.0.2.2\nforwarded=192.0.2.3\nbody_len=5\nbody=hello\n");
    assert_string_equal(http_field(&reply, "X-Request-Id"), "abc-1");
    http_send_text(fd, "GET / HTTP/1.1\r\n" HOST "X-Request-Id: not this one\r\n\r\n");
    http_read(fd, false, &reply);
    assert_int_equal(strlen(http_field(&reply, "X-Request-Id")), PS_UUID_LEN);
    close(fd);
    http_fixture_stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_head_is_taken_or_refused_as_the_table_says),
        cmocka_unit_test(a_head_in_single_bytes_is_judged_the_same),
        cmocka_unit_test(what_was_refused_is_counted_by_its_reason),
        cmocka_unit_test(a_probe_by_http_1_0_needs_no_host),
        cmocka_unit_test(the_fields_that_matter_arrive_raw_and_trimmed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
