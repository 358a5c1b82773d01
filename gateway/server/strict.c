/* The strict filter. One pass over the head checks every byte and picks up the fields that the
 * program reads; each of those may stand there once only (a second X-User-Id or Host is how one
 * program is made to see another request than the next), except X-Forwarded-For, which proxies
 * extend by lines. The first breach wins and is kept as a literal sentence: it becomes the `detail`
 * of the 400, and never quotes what was sent. */
#include "gateway/server/strict.h"
#include "common/charset.h"

#include <string.h>
#include <strings.h>

/* clang-format off */
/* A token (RFC 9110, section 5.6.2). */
static const struct ps_charset token_chars = {{
    PS_DIGITS, PS_LETTERS, ['!'] = true, ['#'] = true, ['$'] = true, ['%'] = true, ['&'] = true,
    ['\''] = true, ['*'] = true, ['+'] = true, ['-'] = true, ['.'] = true, ['^'] = true,
    ['_'] = true, ['`'] = true, ['|'] = true, ['~'] = true}};
/* A request target, but for '%', which is looked at more closely. */
static const struct ps_charset target_chars = {{
    PS_DIGITS, PS_LETTERS, ['!'] = true, ['"'] = true, ['$'] = true, ['&'] = true, ['\''] = true,
    ['('] = true, [')'] = true, ['*'] = true, ['+'] = true, [','] = true, ['-'] = true,
    ['.'] = true, ['/'] = true, [':'] = true, [';'] = true, ['<'] = true, ['='] = true,
    ['>'] = true, ['?'] = true, ['@'] = true, ['['] = true, ['\\'] = true, [']'] = true,
    ['^'] = true, ['_'] = true, ['`'] = true, ['{'] = true, ['|'] = true, ['}'] = true,
    ['~'] = true}};
/* A host name or IPv4 address; an IP address between brackets. */
static const struct ps_charset host_chars = {{
    PS_DIGITS, PS_LETTERS, ['-'] = true, ['.'] = true, ['_'] = true, ['~'] = true}};
static const struct ps_charset literal_chars = {{PS_DIGITS, PS_LETTERS, ['.'] = true, [':'] = true}};
static const struct ps_charset id_chars = {{
    PS_DIGITS, PS_LETTERS, ['-'] = true, ['.'] = true, ['_'] = true}};
/* clang-format on */

/* Beyond those of enum srv_header. */
enum { LENGTH = SRV_H_COUNT, ENCODING };

/* clang-format off */
/* By the length of the name: at most two names have the same. */
static const struct {
    const char *name;
    int field;
} known[][2] = {
    [4]  = {{"Host", SRV_H_HOST}},
    [6]  = {{"Origin", SRV_H_ORIGIN}},
    [8]  = {{"If-Match", SRV_H_IF_MATCH}},
    [9]  = {{"X-User-Id", SRV_H_USER_ID}},
    [11] = {{"traceparent", SRV_H_TRACEPARENT}},
    [12] = {{"Content-Type", SRV_H_CONTENT_TYPE}, {"X-Request-Id", SRV_H_REQUEST_ID}},
    [13] = {{"If-None-Match", SRV_H_IF_NONE_MATCH}, {"Authorization", SRV_H_AUTHORIZATION}},
    [14] = {{"Content-Length", LENGTH}},
    [15] = {{"X-Forwarded-For", SRV_H_FORWARDED_FOR}, {"Idempotency-Key", SRV_H_IDEMPOTENCY_KEY}},
    [16] = {{"Content-Encoding", SRV_H_CONTENT_ENCODING}},
    [17] = {{"Transfer-Encoding", ENCODING}},
    [29] = {{"Access-Control-Request-Method", SRV_H_REQUEST_METHOD}},
};

static const struct {
    struct ps_str name;
    enum srv_method method;
} methods[] = {
    {{"GET", 3}, SRV_GET},
    {{"HEAD", 4}, SRV_HEAD},
    {{"POST", 4}, SRV_POST},
    {{"PUT", 3}, SRV_PUT},
    {{"PATCH", 5}, SRV_PATCH},
    {{"DELETE", 6}, SRV_DELETE},
    {{"OPTIONS", 7}, SRV_OPTIONS},
};

/* clang-format on */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_token(struct ps_str text)
{
    return text.len > 0 && ps_charset_span(&token_chars, text.at, text.len) == text.len;
}

static bool same_name(struct ps_str a, struct ps_str b)
{
    return a.len == b.len && strncasecmp(a.at, b.at, a.len) == 0;
}

static const char *check_target(struct ps_str target, bool options)
{
    if (target.len == 1 && target.at[0] == '*' && options)
        return NULL;
    if (target.len == 0 || target.at[0] != '/')
        return "the request target must be a path";
    for (size_t i = 0; i < target.len; i++) {
        i += ps_charset_span(&target_chars, target.at + i, target.len - i);
        if (i == target.len)
            break;
        if (target.at[i] != '%')
            return "the request target has a byte that must be percent-encoded";
        if (target.len - i >= 3 && target.at[i + 1] == '0' && target.at[i + 2] == '0')
            return "the request target has an encoded NUL";
    }
    return NULL;
}

/* host [ ":" port ], the host a name, an IPv4 address or an IPv6 address in brackets. */
static const char *check_host(struct ps_str host)
{
    size_t i = 0;
    if (host.len > 0 && host.at[0] == '[') {
        i = 1 + ps_charset_span(&literal_chars, host.at + 1, host.len - 1);
        if (i < 3 || i == host.len || host.at[i] != ']')
            return "Host is not a host with an optional port";
        i++;
    } else {
        i = ps_charset_span(&host_chars, host.at, host.len);
        if (i == 0)
            return "Host is not a host with an optional port";
    }
    if (i == host.len)
        return NULL;
    size_t port = i + 1;
    if (host.at[i] != ':' || host.len - port > 5)
        return "Host is not a host with an optional port";
    for (i = port; i < host.len; i++)
        if (!is_digit(host.at[i]))
            return "Host is not a host with an optional port";
    return NULL;
}

static const char *check_length(struct ps_str text, uint64_t *ret_length)
{
    uint64_t length = 0;
    if (text.len == 0 || text.len > 18) /* 18 digits always fit */
        return "Content-Length is not a number of bytes";
    for (size_t i = 0; i < text.len; i++) {
        if (!is_digit(text.at[i]))
            return "Content-Length is not a number of bytes";
        length = length * 10 + (uint64_t)(text.at[i] - '0');
    }
    *ret_length = length;
    return NULL;
}

void srv_strict_begin(struct srv_strict *strict, struct srv_request *request,
                      const char *client_ip_header, struct ps_str method, struct ps_str target,
                      bool http_1_0)
{
    *strict = (struct srv_strict){.request = request, .http_1_0 = http_1_0};
    if (client_ip_header != NULL)
        strict->client_ip_header = (struct ps_str){client_ip_header, strlen(client_ip_header)};
    memset(request->header, 0, sizeof request->header);
    memset(request->header_lines, 0, sizeof request->header_lines);

    request->method = SRV_METHOD_OTHER;
    for (size_t i = 0; i < PS_ARRAY_LEN(methods); i++)
        if (method.len == methods[i].name.len &&
            memcmp(method.at, methods[i].name.at, method.len) == 0)
            request->method = methods[i].method;
    const char *mark = memchr(target.at, '?', target.len);
    size_t path_len = mark != NULL ? (size_t)(mark - target.at) : target.len;
    request->path = (struct ps_str){target.at, path_len};
    request->query =
        mark != NULL ? (struct ps_str){mark + 1, target.len - path_len - 1} : PS_STR("");

    if (!is_token(method))
        strict->fault = "the method is not a token";
    else
        strict->fault = check_target(target, request->method == SRV_OPTIONS);
}

/* Keeps a field that the program reads. */
static const char *keep(struct srv_strict *strict, enum srv_header header, struct ps_str value)
{
    struct srv_request *request = strict->request;
    uint8_t lines = request->header_lines[header];

    if (header == SRV_H_FORWARDED_FOR) {
        if (lines == SRV_FORWARDED_MAX)
            return "too many lines of X-Forwarded-For";
        request->forwarded_for[lines] = value;
    } else if (lines > 0) {
        return "a field that may stand once stands twice";
    }
    if (lines == 0)
        request->header[header] = value;
    request->header_lines[header] = (uint8_t)(lines + 1);
    return header == SRV_H_HOST ? check_host(value) : NULL;
}

/* A field of the table. `raw` may have white space at its end. */
static const char *read_field(struct srv_strict *strict, int field, struct ps_str value,
                              struct ps_str raw)
{
    switch (field) {
    case LENGTH:
        strict->lengths++;
        return check_length(raw, &strict->content_length);
    case ENCODING:
        strict->encodings++;
        strict->chunked = same_name(raw, PS_STR("chunked"));
        return strict->chunked ? NULL : "Transfer-Encoding is not chunked";
    default:
        return keep(strict, (enum srv_header)field, value);
    }
}

/* An index of enum srv_header, LENGTH or ENCODING; -1: no field that has a meaning here. */
static int find_known(struct ps_str name)
{
    for (size_t i = 0; i < 2 && name.len < PS_ARRAY_LEN(known); i++) {
        const char *other = known[name.len][i].name;
        if (other != NULL && strncasecmp(name.at, other, name.len) == 0)
            return known[name.len][i].field;
    }
    return -1;
}

bool srv_strict_knows(struct ps_str name)
{
    return find_known(name) >= 0;
}

static const char *check_field(struct srv_strict *strict, struct ps_str name, struct ps_str raw)
{
    if (!is_token(name))
        return "a field name is not a token";
    if (ps_has_control(raw.at, raw.len))
        return "a field value has a control byte";

    struct ps_str value = raw;
    while (value.len > 0 && (value.at[value.len - 1] == ' ' || value.at[value.len - 1] == '\t'))
        value.len--;
    int field = find_known(name);
    if (field >= 0)
        return read_field(strict, field, value, raw);
    if (strict->client_ip_header.len > 0 && same_name(name, strict->client_ip_header))
        return keep(strict, SRV_H_CLIENT_IP, value);
    return NULL;
}

void srv_strict_field(struct srv_strict *strict, struct ps_str name, struct ps_str value)
{
    if (strict->fault == NULL)
        strict->fault = check_field(strict, name, value);
}

/* A probe by HTTP/1.0 without Host is what simple load balancers send. */
static bool is_probe(struct ps_str path)
{
    return (path.len == 6 && memcmp(path.at, "/livez", 6) == 0) ||
           (path.len == 7 && memcmp(path.at, "/readyz", 7) == 0);
}

const char *srv_strict_end(struct srv_strict *strict)
{
    const struct srv_request *request = strict->request;
    if (strict->fault != NULL)
        return strict->fault;
    if (request->header_lines[SRV_H_HOST] == 0 && !(strict->http_1_0 && is_probe(request->path)))
        return "Host is missing";
    if (strict->lengths > 1)
        return "more than one Content-Length";
    if (strict->encodings > 1)
        return "more than one Transfer-Encoding";
    if (strict->encodings > 0 && strict->lengths > 0)
        return "both Transfer-Encoding and Content-Length";
    if (strict->encodings > 0 && strict->http_1_0)
        return "Transfer-Encoding in HTTP/1.0";
    return NULL;
}

const char *srv_strict_trailer(struct ps_str name, struct ps_str value)
{
    if (!is_token(name))
        return "a trailer field name is not a token";
    return ps_has_control(value.at, value.len) ? "a trailer field value has a control byte" : NULL;
}

bool srv_strict_json(struct ps_str type)
{
    static const char json[] = "application/json";
    size_t len = sizeof json - 1;

    return type.at != NULL && type.len >= len && strncasecmp(type.at, json, len) == 0 &&
           (type.len == len || type.at[len] == ';' || type.at[len] == ' ');
}

bool srv_strict_plain(struct ps_str encoding)
{
    return encoding.at == NULL || same_name(encoding, PS_STR("identity"));
}

bool srv_strict_request_id(struct ps_str text)
{
    return text.len >= 1 && text.len <= 64 &&
           ps_charset_span(&id_chars, text.at, text.len) == text.len;
}
