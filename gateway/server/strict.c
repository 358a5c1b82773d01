/* From a head that HTTP's own rules accept to a request. Each field that the program reads may
 * appear only once (a second X-User-Id is a way to make two programs see different requests),
 * except X-Forwarded-For, which proxies extend by lines, If-Match and If-None-Match, whose lines
 * are one list (RFC 9110, section 5.3), and Penstock-Rehearsal, which never causes a refusal. */
#include "gateway/server/strict.h"
#include "common/http/address.h"
#include "common/text/charset.h"
#include "gateway/server/http_internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* clang-format off */
static const struct ps_charset id_chars = {{
    PS_DIGITS, PS_LETTERS, ['-'] = true, ['.'] = true, ['_'] = true}};

/* Which of the codec's fields the program reads; one more than enum srv_header. */
static const uint8_t header_of[PS_HTTP_F_COUNT] = {
    [PS_HTTP_F_CONTENT_TYPE] = SRV_H_CONTENT_TYPE + 1,
    [PS_HTTP_F_CONTENT_ENCODING] = SRV_H_CONTENT_ENCODING + 1,
    [PS_HTTP_F_AUTHORIZATION] = SRV_H_AUTHORIZATION + 1,
    [PS_HTTP_F_USER_ID] = SRV_H_USER_ID + 1,
    [PS_HTTP_F_IDEMPOTENCY_KEY] = SRV_H_IDEMPOTENCY_KEY + 1,
    [PS_HTTP_F_IF_MATCH] = SRV_H_IF_MATCH + 1,
    [PS_HTTP_F_IF_NONE_MATCH] = SRV_H_IF_NONE_MATCH + 1,
    [PS_HTTP_F_TRACEPARENT] = SRV_H_TRACEPARENT + 1,
    [PS_HTTP_F_REQUEST_ID] = SRV_H_REQUEST_ID + 1,
    [PS_HTTP_F_FORWARDED_FOR] = SRV_H_FORWARDED_FOR + 1,
    [PS_HTTP_F_ORIGIN] = SRV_H_ORIGIN + 1,
    [PS_HTTP_F_REQUEST_METHOD] = SRV_H_REQUEST_METHOD + 1,
    [PS_HTTP_F_REHEARSAL] = SRV_H_REHEARSAL + 1,
};
/* clang-format on */

static bool is_list(enum srv_header header)
{
    return header == SRV_H_IF_MATCH || header == SRV_H_IF_NONE_MATCH;
}

/* Keeps a field that the program reads. */
static const char *keep_field(struct srv_request *request, enum srv_header header,
                              struct ps_str value)
{
    uint8_t lines = request->header_lines[header];

    if (header == SRV_H_FORWARDED_FOR) {
        if (lines == SRV_FORWARDED_MAX)
            return "too many lines of X-Forwarded-For";
        request->forwarded_for[lines] = value;
    } else if (lines > 0 && header != SRV_H_REHEARSAL && !is_list(header)) {
        return "a field that may appear only once appears twice";
    }
    if (lines == 0)
        request->header[header] = value;
    request->header_lines[header] = (uint8_t)(lines < UINT8_MAX ? lines + 1 : lines);
    return NULL;
}

static const char *read_fields(struct srv_request *request, const struct srv_settings *settings,
                               const struct ps_http_head *head, const char *base)
{
    const char *client_ip = settings->client_ip_header;
    struct ps_str client_ip_name = {client_ip, client_ip != NULL ? strlen(client_ip) : 0};
    const char *why = NULL;

    for (uint32_t i = 0; i < head->field_count && why == NULL; i++) {
        const struct ps_http_field *field = &head->fields[i];
        struct ps_str value = ps_http_text(base, field->value);
        if (header_of[field->known] > 0)
            why = keep_field(request, (enum srv_header)(header_of[field->known] - 1), value);
        else if (field->name.len == client_ip_name.len && client_ip_name.len > 0 &&
                 ps_http_same_text(ps_http_text(base, field->name), client_ip_name))
            why = keep_field(request, SRV_H_CLIENT_IP, value);
    }
    return why;
}

/* Joins the lines of a list. */
static void join(struct srv_request *request, enum srv_header header, struct ps_buf *buf)
{
    size_t from = buf->len;

    for (uint32_t i = 0; i < request->head->field_count; i++) {
        const struct ps_http_field *field = &request->head->fields[i];
        if (header_of[field->known] != header + 1)
            continue;
        if (buf->len > from)
            ps_buf_puts(buf, ", ");
        ps_buf_put(buf, request->base + field->value.at, field->value.len);
    }
    request->header[header] = (struct ps_str){buf->at + from, buf->len - from};
}

static struct ps_str put_normal(struct ps_buf *buf, struct ps_str text)
{
    size_t from = buf->len;

    if (!ps_http_put_normal(buf, text)) /* the parser of heads takes what this one takes */
        return text;
    return (struct ps_str){buf->at + from, buf->len - from};
}

/* What does not lie in the head as it must be read. False: out of memory. */
static bool make_rest(struct srv_request *request)
{
    bool is_normal = ps_http_is_normal(request->path) && ps_http_is_normal(request->query);
    size_t lists = 0;
    struct ps_buf buf;

    for (int i = 0; i < SRV_H_COUNT; i++)
        lists += is_list((enum srv_header)i) && request->header_lines[i] > 1;
    if (is_normal && lists == 0)
        return true;
    /* A byte becomes three at most; two joined lines lose CRLF and a name. */
    size_t size = 3 * (request->path.len + request->query.len) + lists * request->head->len;
    request->made = malloc(size);
    if (request->made == NULL)
        return false;
    ps_buf_init(&buf, request->made, size);
    if (!is_normal) {
        request->path = put_normal(&buf, request->path);
        request->query = put_normal(&buf, request->query);
    }
    for (int i = 0; i < SRV_H_COUNT; i++)
        if (is_list((enum srv_header)i) && request->header_lines[i] > 1)
            join(request, (enum srv_header)i, &buf);
    return true;
}

/* The API of sales is stricter than the shop's pages: its clients are programs. */
static bool check_target(const struct srv_request *request, const struct srv_settings *settings,
                         const struct ps_http_head *head, enum ans_verdict *ret_verdict,
                         const char **ret_text)
{
    bool is_page = settings->is_page != NULL && settings->is_page(request->path);
    size_t len = request->sent_path.len + request->sent_query.len;

    if (is_page || (!head->is_odd && len <= SRV_TARGET_MAX))
        return true;
    if (!head->is_odd)
        *ret_verdict = ANS_V_uri_too_long;
    *ret_text = ps_http_rules[head->is_odd ? PS_HTTP_TARGET_CHARS : PS_HTTP_TARGET_TOO_LONG].text;
    return false;
}

bool srv_request_fill(struct srv_request *request, const struct srv_settings *settings,
                      const struct ps_http_head *head, const char *base,
                      enum ans_verdict *ret_verdict, const char **ret_text)
{
    *ret_verdict = ANS_V_malformed;
    request->head = head;
    request->base = base;
    request->method = (enum srv_method)head->method;
    request->path = head->asterisk        ? PS_STR("*")
                    : head->path.len == 0 ? PS_STR("/")
                                          : ps_http_text(base, head->path);
    request->query = head->query.at > 0 ? ps_http_text(base, head->query) : PS_STR("");
    request->sent_path = request->path;
    request->sent_query = request->query;
    *ret_text = read_fields(request, settings, head, base);
    if (*ret_text != NULL)
        return false;
    if (!make_rest(request)) {
        *ret_verdict = ANS_V_shed;
        *ret_text = "out of memory";
        return false;
    }
    if (!check_target(request, settings, head, ret_verdict, ret_text))
        return false;
    if (head->host.len > 0) {
        request->header[SRV_H_HOST] = ps_http_text(base, head->host);
        request->header_lines[SRV_H_HOST] = 1;
    } else if (settings->needs_no_host == NULL || !settings->needs_no_host(request->path)) {
        *ret_text = ps_http_rules[PS_HTTP_HOST_MISSING].text;
        return false;
    }
    return true;
}

const char *srv_strict_why(const struct ps_http_head *head, char text[SRV_WHY_SIZE])
{
    const char *rule = ps_http_rules[head->rule].text;

    if (head->rule != PS_HTTP_TARGET_CHARS && head->rule != PS_HTTP_TARGET_ESCAPE &&
        head->rule != PS_HTTP_TARGET_NUL)
        return rule;
    (void)snprintf(text, SRV_WHY_SIZE, "%s, at its byte %u", rule, head->bad_at);
    return text;
}

bool srv_strict_knows(struct ps_str name)
{
    for (size_t i = 1; i < PS_HTTP_F_COUNT; i++)
        if (ps_http_same_text(ps_http_names[i], name))
            return true;
    return false;
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
    return encoding.at == NULL || ps_http_same_text(encoding, PS_STR("identity"));
}

bool srv_strict_request_id(struct ps_str text)
{
    return text.len >= 1 && text.len <= 64 &&
           ps_charset_span(&id_chars, text.at, text.len) == text.len;
}
