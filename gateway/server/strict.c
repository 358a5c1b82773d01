/* From a head that HTTP's own rules accept to a request. Each field that the program reads may
 * appear only once (a second X-User-Id is a way to make two programs see different requests),
 * except X-Forwarded-For, which proxies extend by lines, and Penstock-Rehearsal, which never causes
 * a refusal. */
#include "gateway/server/strict.h"
#include "common/text/charset.h"
#include "gateway/server/http_internal.h"

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

/* Keeps a field that the program reads. */
static const char *keep_field(struct srv_request *request, enum srv_header header,
                              struct ps_str value)
{
    uint8_t lines = request->header_lines[header];

    if (header == SRV_H_FORWARDED_FOR) {
        if (lines == SRV_FORWARDED_MAX)
            return "too many lines of X-Forwarded-For";
        request->forwarded_for[lines] = value;
    } else if (lines > 0 && header != SRV_H_REHEARSAL) {
        return "a field that may appear only once appears twice";
    }
    if (lines == 0)
        request->header[header] = value;
    request->header_lines[header] = (uint8_t)(lines + 1);
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

bool srv_request_fill(struct srv_request *request, const struct srv_settings *settings,
                      const struct ps_http_head *head, const char *base, const char **ret_text)
{
    request->head = head;
    request->base = base;
    request->method = (enum srv_method)head->method;
    request->path = head->asterisk        ? PS_STR("*")
                    : head->path.len == 0 ? PS_STR("/")
                                          : ps_http_text(base, head->path);
    request->query = head->query.at > 0 ? ps_http_text(base, head->query) : PS_STR("");
    if (head->host.len > 0) {
        request->header[SRV_H_HOST] = ps_http_text(base, head->host);
        request->header_lines[SRV_H_HOST] = 1;
    } else if (settings->needs_no_host == NULL || !settings->needs_no_host(request->path)) {
        *ret_text = ps_http_rules[PS_HTTP_HOST_MISSING].text;
        return false;
    }
    *ret_text = read_fields(request, settings, head, base);
    return *ret_text == NULL;
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
