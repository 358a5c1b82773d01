/* The strict filter. One pass over the head checks every byte and picks up the fields that the
 * program reads; each of those may stand there once only (a second X-User-Id or Host is how one
 * program is made to see another request than the next), except X-Forwarded-For, which proxies
 * extend by lines. The first breach wins and is kept as a literal sentence: it becomes the `detail`
 * of the 400, and never quotes what was sent. */
#include "gateway/front/strict.h"

#include <string.h>
#include <strings.h>

/* clang-format off */
static const struct {
    struct ps_str name;
    enum gw_header header;
} known[] = {
    {{"Host", 4}, GW_H_HOST},
    {{"Content-Type", 12}, GW_H_CONTENT_TYPE},
    {{"Authorization", 13}, GW_H_AUTHORIZATION},
    {{"X-User-Id", 9}, GW_H_USER_ID},
    {{"Idempotency-Key", 15}, GW_H_IDEMPOTENCY_KEY},
    {{"If-Match", 8}, GW_H_IF_MATCH},
    {{"If-None-Match", 13}, GW_H_IF_NONE_MATCH},
    {{"traceparent", 11}, GW_H_TRACEPARENT},
    {{"X-Request-Id", 12}, GW_H_REQUEST_ID},
    {{"X-Forwarded-For", 15}, GW_H_FORWARDED_FOR},
    {{"Origin", 6}, GW_H_ORIGIN},
    {{"Access-Control-Request-Method", 29}, GW_H_REQUEST_METHOD},
};

static const struct {
    struct ps_str name;
    enum gw_method method;
} methods[] = {
    {{"GET", 3}, GW_GET},
    {{"HEAD", 4}, GW_HEAD},
    {{"POST", 4}, GW_POST},
    {{"PUT", 3}, GW_PUT},
    {{"PATCH", 5}, GW_PATCH},
    {{"DELETE", 6}, GW_DELETE},
    {{"OPTIONS", 7}, GW_OPTIONS},
};

/* clang-format on */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alnum(char c)
{
    unsigned lower = (unsigned char)c | 0x20u;
    return lower - 'a' < 26 || is_digit(c);
}

/* token of RFC 9110, section 5.6.2. */
static bool is_token(struct ps_str text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!is_alnum(text.at[i]) && memchr("-_.!#$%&'*+^`|~", text.at[i], 15) == NULL)
            return false;
    return text.len > 0;
}

static bool same_name(struct ps_str a, struct ps_str b)
{
    return a.len == b.len && strncasecmp(a.at, b.at, a.len) == 0;
}

/* Control bytes other than the tab (RFC 9110, section 5.5). */
static bool has_control_byte(struct ps_str value)
{
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.at[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return true;
    }
    return false;
}

static const char *check_target(struct ps_str target, bool options)
{
    if (target.len == 1 && target.at[0] == '*' && options)
        return NULL;
    if (target.len == 0 || target.at[0] != '/')
        return "the request target must be a path";
    for (size_t i = 0; i < target.len; i++) {
        unsigned char c = (unsigned char)target.at[i];
        if (c <= 0x20 || c >= 0x7f || c == '#')
            return "the request target has a byte that must be percent-encoded";
        if (c == '%' && target.len - i >= 3 && target.at[i + 1] == '0' && target.at[i + 2] == '0')
            return "the request target has an encoded NUL";
    }
    return NULL;
}

/* host [ ":" port ], the host a name, an IPv4 address or an IPv6 address in brackets. */
static const char *check_host(struct ps_str host)
{
    size_t i = 0;
    if (host.len > 0 && host.at[0] == '[') {
        for (i = 1;
             i < host.len && (is_alnum(host.at[i]) || host.at[i] == ':' || host.at[i] == '.'); i++)
            ;
        if (i < 3 || i == host.len || host.at[i] != ']')
            return "Host is not a host with an optional port";
        i++;
    } else {
        while (i < host.len && (is_alnum(host.at[i]) || memchr("-._~", host.at[i], 4) != NULL))
            i++;
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

void gw_strict_begin(struct gw_strict *strict, struct gw_request *request,
                     const char *client_ip_header, struct ps_str method, struct ps_str target,
                     bool http_1_0)
{
    *strict = (struct gw_strict){.request = request, .http_1_0 = http_1_0};
    if (client_ip_header != NULL)
        strict->client_ip_header = (struct ps_str){client_ip_header, strlen(client_ip_header)};
    memset(request->header, 0, sizeof request->header);
    memset(request->header_lines, 0, sizeof request->header_lines);

    request->method = GW_METHOD_OTHER;
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
        strict->fault = check_target(target, request->method == GW_OPTIONS);
}

/* Keeps a field that the program reads. */
static const char *keep(struct gw_strict *strict, enum gw_header header, struct ps_str value)
{
    struct gw_request *request = strict->request;
    uint8_t lines = request->header_lines[header];

    if (header == GW_H_FORWARDED_FOR) {
        if (lines == GW_FORWARDED_MAX)
            return "too many lines of X-Forwarded-For";
        request->forwarded_for[lines] = value;
    } else if (lines > 0) {
        return "a field that may stand once stands twice";
    }
    if (lines == 0)
        request->header[header] = value;
    request->header_lines[header] = (uint8_t)(lines + 1);
    return header == GW_H_HOST ? check_host(value) : NULL;
}

static const char *check_field(struct gw_strict *strict, struct ps_str name, struct ps_str raw)
{
    if (!is_token(name))
        return "a field name is not a token";
    if (has_control_byte(raw))
        return "a field value has a control byte";

    struct ps_str value = raw;
    while (value.len > 0 && (value.at[value.len - 1] == ' ' || value.at[value.len - 1] == '\t'))
        value.len--;
    for (size_t i = 0; i < PS_ARRAY_LEN(known); i++)
        if (same_name(name, known[i].name))
            return keep(strict, known[i].header, value);
    if (same_name(name, PS_STR("Content-Length"))) {
        strict->lengths++;
        return check_length(raw, &strict->content_length);
    }
    if (same_name(name, PS_STR("Transfer-Encoding"))) {
        strict->encodings++;
        strict->chunked = same_name(raw, PS_STR("chunked"));
        return strict->chunked ? NULL : "Transfer-Encoding is not chunked";
    }
    if (strict->client_ip_header.len > 0 && same_name(name, strict->client_ip_header))
        return keep(strict, GW_H_CLIENT_IP, value);
    return NULL;
}

void gw_strict_field(struct gw_strict *strict, struct ps_str name, struct ps_str value)
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

const char *gw_strict_end(struct gw_strict *strict)
{
    const struct gw_request *request = strict->request;
    if (strict->fault != NULL)
        return strict->fault;
    if (request->header_lines[GW_H_HOST] == 0 && !(strict->http_1_0 && is_probe(request->path)))
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

const char *gw_strict_trailer(struct ps_str name, struct ps_str value)
{
    if (!is_token(name))
        return "a trailer field name is not a token";
    return has_control_byte(value) ? "a trailer field value has a control byte" : NULL;
}

bool gw_strict_request_id(struct ps_str text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!is_alnum(text.at[i]) && text.at[i] != '.' && text.at[i] != '_' && text.at[i] != '-')
            return false;
    return text.len >= 1 && text.len <= 64;
}
