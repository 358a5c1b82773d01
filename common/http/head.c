/* One pass over the lines of a head. A line is looked at when its LF is there (memchr finds it,
 * from where the last search ended), so bytes that come one by one cost no more than bytes that
 * come at once. Every byte of a line is checked against a set; a field whose name is known is
 * judged at once, what concerns several fields at the end of the head.
 *
 * What must hold: nothing is handed on that two programs could read in two ways. The first breach
 * ends the parsing. */
#include "common/http/head.h"
#include "common/http/address.h"
#include "common/text/charset.h"

#include <arpa/inet.h>

#define RULE_ROW(name, status, section, text, why) {#name, status, section, text, why},
const struct ps_http_rule_row ps_http_rules[PS_HTTP_RULE_COUNT] = {{"", 0, "", "", NULL},
                                                                   PS_HTTP_RULE_TABLE(RULE_ROW)};

#define NAME_ROW(name, text) {text, sizeof(text) - 1},
const struct ps_str ps_http_names[PS_HTTP_F_COUNT] = {{"", 0}, PS_HTTP_NAME_TABLE(NAME_ROW)};

/* What stands in the first line besides the target: the method, two spaces, the version, CRLF. */
#define LENGTH_DIGITS_MAX 18 /* they always fit 64 bits */
#define FIRST_LINE_REST   (PS_HTTP_METHOD_MAX + 12)

/* clang-format off */
static const struct ps_charset token_chars = {{
    PS_DIGITS, PS_LETTERS, ['!'] = true, ['#'] = true, ['$'] = true, ['%'] = true, ['&'] = true,
    ['\''] = true, ['*'] = true, ['+'] = true, ['-'] = true, ['.'] = true, ['^'] = true,
    ['_'] = true, ['`'] = true, ['|'] = true, ['~'] = true}};
/* pchar without '%', and '/' (RFC 3986, section 3.3); a query may have '?' besides. */
#define PATH_CHARS                                                                                 \
    PS_DIGITS, PS_LETTERS, ['-'] = true, ['.'] = true, ['_'] = true, ['~'] = true, ['!'] = true,   \
    ['$'] = true, ['&'] = true, ['\''] = true, ['('] = true, [')'] = true, ['*'] = true,           \
    ['+'] = true, [','] = true, [';'] = true, ['='] = true, [':'] = true, ['@'] = true, ['/'] = true
static const struct ps_charset path_chars = {{PATH_CHARS}};
static const struct ps_charset query_chars = {{PATH_CHARS, ['?'] = true}};
static const struct ps_charset name_chars = {{ /* of a host */
    PS_DIGITS, PS_LETTERS, ['-'] = true, ['.'] = true, ['_'] = true, ['~'] = true}};
static const struct ps_charset digits = {{PS_DIGITS}};
static const struct ps_charset hex_digits = {{
    PS_DIGITS, ['a'] = true, ['b'] = true, ['c'] = true, ['d'] = true, ['e'] = true, ['f'] = true,
    ['A'] = true, ['B'] = true, ['C'] = true, ['D'] = true, ['E'] = true, ['F'] = true}};

static const struct {
    struct ps_str name;
    enum ps_http_method method;
} methods[] = {
    {{"GET", 3}, PS_HTTP_GET},       {{"HEAD", 4}, PS_HTTP_HEAD},   {{"POST", 4}, PS_HTTP_POST},
    {{"PUT", 3}, PS_HTTP_PUT},       {{"PATCH", 5}, PS_HTTP_PATCH}, {{"DELETE", 6}, PS_HTTP_DELETE},
    {{"OPTIONS", 7}, PS_HTTP_OPTIONS},
};

/* The known fields by the length of their names. */
#define KNOWN_MAX 3
static const uint8_t known[][KNOWN_MAX] = {
    [4]  = {PS_HTTP_F_HOST},
    [6]  = {PS_HTTP_F_EXPECT, PS_HTTP_F_ORIGIN},
    [7]  = {PS_HTTP_F_UPGRADE},
    [8]  = {PS_HTTP_F_IF_MATCH},
    [9]  = {PS_HTTP_F_USER_ID},
    [10] = {PS_HTTP_F_CONNECTION},
    [11] = {PS_HTTP_F_TRACEPARENT, PS_HTTP_F_RETRY_AFTER},
    [12] = {PS_HTTP_F_CONTENT_TYPE, PS_HTTP_F_REQUEST_ID},
    [13] = {PS_HTTP_F_IF_NONE_MATCH, PS_HTTP_F_AUTHORIZATION},
    [14] = {PS_HTTP_F_CONTENT_LENGTH},
    [15] = {PS_HTTP_F_FORWARDED_FOR, PS_HTTP_F_IDEMPOTENCY_KEY},
    [16] = {PS_HTTP_F_CONTENT_ENCODING},
    [17] = {PS_HTTP_F_TRANSFER_ENCODING},
    [18] = {PS_HTTP_F_REHEARSAL},
    [29] = {PS_HTTP_F_REQUEST_METHOD},
};
/* clang-format on */

void ps_http_request_init(struct ps_http_head *head, const struct ps_http_limits *limits)
{
    /* Not the fields: they are 2.7 KB, and field_count says how many there are. */
    memset(head, 0, offsetof(struct ps_http_head, fields));
    memset(&head->method, 0, sizeof *head - offsetof(struct ps_http_head, method));
    head->limits = limits;
}

void ps_http_response_init(struct ps_http_head *head, const struct ps_http_limits *limits,
                           bool to_head)
{
    ps_http_request_init(head, limits);
    head->is_response = true;
    head->to_head = to_head;
}

bool ps_http_is_token(struct ps_str text)
{
    return text.len > 0 && ps_charset_span(&token_chars, text.at, text.len) == text.len;
}

static bool is_gap(char c)
{
    return c == ' ' || c == '\t';
}

struct ps_str ps_http_trim(struct ps_str text)
{
    while (text.len > 0 && is_gap(text.at[0]))
        text = (struct ps_str){text.at + 1, text.len - 1};
    while (text.len > 0 && is_gap(text.at[text.len - 1]))
        text.len--;
    return text;
}

bool ps_http_take_element(struct ps_str *list, struct ps_str *ret_element)
{
    while (list->len > 0) {
        const char *comma = memchr(list->at, ',', list->len);
        size_t len = comma != NULL ? (size_t)(comma - list->at) : list->len;
        size_t taken = len + (comma != NULL);
        *ret_element = ps_http_trim((struct ps_str){list->at, len});
        *list = (struct ps_str){list->at + taken, list->len - taken};
        if (ret_element->len > 0)
            return true;
    }
    return false;
}

bool ps_http_is_of_connection(const struct ps_http_head *head, const char *data, struct ps_str name)
{
    for (uint32_t i = 0; i < head->field_count; i++) {
        struct ps_str list = ps_http_text(data, head->fields[i].value), element;
        while (head->fields[i].known == PS_HTTP_F_CONNECTION &&
               ps_http_take_element(&list, &element))
            if (ps_http_same_text(element, name))
                return true;
    }
    return false;
}

struct ps_str ps_http_find(const struct ps_http_head *head, const char *data, struct ps_str name)
{
    for (uint32_t i = 0; i < head->field_count; i++)
        if (ps_http_same_text(ps_http_text(data, head->fields[i].name), name))
            return ps_http_text(data, head->fields[i].value);
    return (struct ps_str){NULL, 0};
}

/* --- Request line and status line. --- */

static bool is_address_literal(struct ps_str text)
{
    char copy[INET6_ADDRSTRLEN];
    struct in6_addr address;

    if (text.len == 0 || text.len >= sizeof copy)
        return false;
    memcpy(copy, text.at, text.len);
    copy[text.len] = '\0';
    return memchr(copy, '\0', text.len) == NULL && inet_pton(AF_INET6, copy, &address) == 1;
}

bool ps_http_is_authority(struct ps_str text)
{
    size_t end;

    if (text.len > 0 && text.at[0] == '[') {
        const char *close = memchr(text.at, ']', text.len);
        if (close == NULL)
            return false;
        end = (size_t)(close - text.at) + 1;
        if (!is_address_literal((struct ps_str){text.at + 1, end - 2}))
            return false;
    } else {
        end = ps_charset_span(&name_chars, text.at, text.len);
        if (end == 0)
            return false;
    }
    if (end == text.len)
        return true;
    size_t port_len = text.len - end - 1;
    return text.at[end] == ':' && port_len <= 5 &&
           ps_charset_span(&digits, text.at + end + 1, port_len) == port_len;
}

/* Path or query; `target` is what bad_at is counted from. Of a query browsers leave a backslash as
 * it is, too; in a path some programs take it for a slash. */
static enum ps_http_rule check_bytes(struct ps_http_head *head, struct ps_str text,
                                     const char *target, bool is_query)
{
    const struct ps_charset *chars = is_query ? &query_chars : &path_chars;

    for (size_t i = 0; i < text.len;) {
        const char *at = text.at + (i += ps_charset_span(chars, text.at + i, text.len - i));
        if (i == text.len)
            break;
        bool odd = head->limits->lenient && (ps_http_is_odd(*at) || (is_query && *at == '\\'));
        head->bad_at = (uint32_t)(at - target) + 1;
        head->is_odd |= odd;
        if (*at != '%' && !odd)
            return PS_HTTP_TARGET_CHARS;
        if (*at == '%' && (text.len - i < 3 || !ps_charset_has(&hex_digits, at[1]) ||
                           !ps_charset_has(&hex_digits, at[2])))
            return PS_HTTP_TARGET_ESCAPE;
        if (*at == '%' && at[1] == '0' && at[2] == '0')
            return PS_HTTP_TARGET_NUL;
        i += *at == '%' ? 3 : 1;
    }
    return PS_HTTP_NO_RULE;
}

/* "http://" or "https://" at the start: its length. 0: neither. */
static size_t scheme_len(struct ps_str target)
{
    if (target.len >= 7 && strncasecmp(target.at, "http://", 7) == 0)
        return 7;
    return target.len >= 8 && strncasecmp(target.at, "https://", 8) == 0 ? 8 : 0;
}

/* The authority of an absolute-form target, of which *target is left with path and query. It takes
 * the place of Host (RFC 9112, section 3.2.2). */
static enum ps_http_rule read_authority(struct ps_http_head *head, uint32_t at, size_t scheme,
                                        struct ps_str *target)
{
    size_t end = scheme;

    while (end < target->len && target->at[end] != '/' && target->at[end] != '?')
        end++;
    struct ps_str authority = {target->at + scheme, end - scheme};
    if (memchr(authority.at, '@', authority.len) != NULL)
        return PS_HTTP_USERINFO;
    if (!ps_http_is_authority(authority))
        return PS_HTTP_AUTHORITY;
    head->host = (struct ps_http_span){at + (uint32_t)scheme, (uint32_t)authority.len};
    *target = (struct ps_str){target->at + end, target->len - end};
    return PS_HTTP_NO_RULE;
}

static enum ps_http_rule read_target(struct ps_http_head *head, uint32_t at, struct ps_str target)
{
    const char *begin = target.at;
    size_t scheme = scheme_len(target);
    enum ps_http_rule rule;

    if (target.len == 1 && target.at[0] == '*' && head->method == PS_HTTP_OPTIONS) {
        head->asterisk = true;
        return PS_HTTP_NO_RULE;
    }
    if (scheme > 0 && (rule = read_authority(head, at, scheme, &target)) != PS_HTTP_NO_RULE)
        return rule;
    if (scheme == 0 && (target.len == 0 || target.at[0] != '/'))
        return PS_HTTP_TARGET_FORM;
    const char *mark = memchr(target.at, '?', target.len);
    size_t path_len = mark != NULL ? (size_t)(mark - target.at) : target.len;
    uint32_t path_at = at + (uint32_t)(target.at - begin);
    if (path_len > 0)
        head->path = (struct ps_http_span){path_at, (uint32_t)path_len};
    else
        head->asterisk = head->method == PS_HTTP_OPTIONS && mark == NULL;
    rule = check_bytes(head, (struct ps_str){target.at, path_len}, begin, false);
    if (mark == NULL || rule != PS_HTTP_NO_RULE)
        return rule;
    struct ps_str query = {mark + 1, target.len - path_len - 1};
    head->query = (struct ps_http_span){path_at + (uint32_t)path_len + 1, (uint32_t)query.len};
    return check_bytes(head, query, begin, true);
}

/* HTTP/1.1 */
static enum ps_http_rule read_version(struct ps_http_head *head, const char *eight)
{
    if (memcmp(eight, "HTTP/", 5) != 0 || !ps_charset_has(&digits, eight[5]) || eight[6] != '.' ||
        !ps_charset_has(&digits, eight[7]))
        return PS_HTTP_VERSION;
    if (eight[5] != '1')
        return PS_HTTP_VERSION_MAJOR;
    head->minor = eight[7] == '0' ? 0 : 1;
    return PS_HTTP_NO_RULE;
}

static enum ps_http_rule read_request_line(struct ps_http_head *head, uint32_t at,
                                           struct ps_str line)
{
    size_t method_len = ps_charset_span(&token_chars, line.at, line.len);
    enum ps_http_rule rule;

    if (method_len == 0 || method_len > PS_HTTP_METHOD_MAX)
        return PS_HTTP_METHOD;
    if (method_len == line.len)
        return PS_HTTP_REQUEST_LINE;
    if (line.at[method_len] != ' ')
        return PS_HTTP_METHOD;
    if (line.len < method_len + 10 || line.at[line.len - 9] != ' ') /* SP HTTP/1.1 */
        return PS_HTTP_REQUEST_LINE;
    head->method = PS_HTTP_METHOD_OTHER;
    for (size_t i = 0; i < PS_ARRAY_LEN(methods); i++)
        if (method_len == methods[i].name.len &&
            memcmp(line.at, methods[i].name.at, method_len) == 0)
            head->method = methods[i].method;
    head->method_text = (struct ps_http_span){at, (uint32_t)method_len};
    if ((rule = read_version(head, line.at + line.len - 8)) != PS_HTTP_NO_RULE)
        return rule;
    struct ps_str target = {line.at + method_len + 1, line.len - method_len - 10};
    if (target.len > head->limits->target_max)
        return PS_HTTP_TARGET_TOO_LONG;
    if (memchr(target.at, ' ', target.len) != NULL)
        return PS_HTTP_REQUEST_LINE;
    return read_target(head, at + (uint32_t)method_len + 1, target);
}

/* HTTP-version SP 3DIGIT SP [ reason ] (RFC 9112, section 4) */
static enum ps_http_rule read_status_line(struct ps_http_head *head, struct ps_str line)
{
    enum ps_http_rule rule;

    if (line.len < 13 || line.at[8] != ' ' || line.at[12] != ' ' ||
        ps_charset_span(&digits, line.at + 9, 3) != 3 || line.at[9] < '1' || line.at[9] > '5' ||
        ps_has_control(line.at + 13, line.len - 13))
        return PS_HTTP_STATUS_LINE;
    if ((rule = read_version(head, line.at)) != PS_HTTP_NO_RULE)
        return rule;
    head->status =
        (uint16_t)((line.at[9] - '0') * 100 + (line.at[10] - '0') * 10 + (line.at[11] - '0'));
    return PS_HTTP_NO_RULE;
}

/* --- Fields. --- */

static enum ps_http_name find_known(struct ps_str name)
{
    if (name.len >= PS_ARRAY_LEN(known))
        return PS_HTTP_F_OTHER;
    for (size_t i = 0; i < KNOWN_MAX && known[name.len][i] != PS_HTTP_F_OTHER; i++) {
        const char *other = ps_http_names[known[name.len][i]].at;
        if ((other[0] | 0x20) == (name.at[0] | 0x20) && strncasecmp(other, name.at, name.len) == 0)
            return (enum ps_http_name)known[name.len][i];
    }
    return PS_HTTP_F_OTHER;
}

static enum ps_http_rule read_length(struct ps_http_head *head, struct ps_str text)
{
    if (head->has_length)
        return PS_HTTP_LENGTH_TWICE;
    if (text.len == 0 || ps_charset_span(&digits, text.at, text.len) != text.len)
        return PS_HTTP_LENGTH;
    if (text.len > LENGTH_DIGITS_MAX)
        return PS_HTTP_LENGTH_TOO_LARGE;
    head->has_length = true;
    for (size_t i = 0; i < text.len; i++)
        head->body_len = head->body_len * 10 + (uint64_t)(text.at[i] - '0');
    return PS_HTTP_NO_RULE;
}

/* A list of options (RFC 9110, section 7.6.1); skips malformed ones. */
static void read_connection(struct ps_http_head *head, struct ps_str list)
{
    struct ps_str option;

    while (ps_http_take_element(&list, &option)) {
        head->has_close |= ps_http_is_text(option, "close");
        head->has_keep_alive |= ps_http_is_text(option, "keep-alive");
    }
}

static enum ps_http_rule read_host(struct ps_http_head *head, const struct ps_http_field *field,
                                   struct ps_str value)
{
    if (head->is_response)
        return PS_HTTP_NO_RULE;
    if (head->has_host)
        return PS_HTTP_HOST_TWICE;
    if (!ps_http_is_authority(value))
        return PS_HTTP_HOST;
    head->has_host = true;
    if (head->host.len == 0)
        head->host = field->value;
    return PS_HTTP_NO_RULE;
}

static enum ps_http_rule judge_field(struct ps_http_head *head, const struct ps_http_field *field,
                                     struct ps_str value)
{
    switch (field->known) {
    case PS_HTTP_F_HOST:
        return read_host(head, field, value);
    case PS_HTTP_F_CONTENT_LENGTH:
        return read_length(head, value);
    case PS_HTTP_F_TRANSFER_ENCODING:
        if (head->has_encoding || !ps_http_same_text(value, PS_STR("chunked")))
            return PS_HTTP_ENCODING;
        head->has_encoding = true;
        return PS_HTTP_NO_RULE;
    case PS_HTTP_F_CONNECTION:
        read_connection(head, value);
        return PS_HTTP_NO_RULE;
    case PS_HTTP_F_EXPECT:
        head->expects_continue = ps_http_same_text(value, PS_STR("100-continue"));
        return PS_HTTP_NO_RULE;
    default:
        return PS_HTTP_NO_RULE;
    }
}

static enum ps_http_rule read_field(struct ps_http_head *head, uint32_t at, struct ps_str line)
{
    size_t name_len = ps_charset_span(&token_chars, line.at, line.len);

    if (name_len == 0 && (line.at[0] == ' ' || line.at[0] == '\t'))
        return PS_HTTP_FIELD_FOLD;
    if (name_len == 0 || name_len == line.len || line.at[name_len] != ':')
        return PS_HTTP_FIELD_NAME;
    size_t begin = name_len + 1, end = line.len;
    while (begin < end && (line.at[begin] == ' ' || line.at[begin] == '\t'))
        begin++;
    while (end > begin && (line.at[end - 1] == ' ' || line.at[end - 1] == '\t'))
        end--;
    if (ps_has_control(line.at + begin, end - begin))
        return memchr(line.at + begin, '\r', end - begin) != NULL ? PS_HTTP_BARE_CR
                                                                  : PS_HTTP_FIELD_VALUE;
    if (head->field_count == head->limits->fields_max)
        return PS_HTTP_TOO_MANY_FIELDS;
    struct ps_http_field *field = &head->fields[head->field_count++];
    *field = (struct ps_http_field){
        .name = {at, (uint32_t)name_len},
        .value = {at + (uint32_t)begin, (uint32_t)(end - begin)},
        .known = find_known((struct ps_str){line.at, name_len}),
    };
    if (PS_LIKELY(field->known == PS_HTTP_F_OTHER))
        return PS_HTTP_NO_RULE;
    if (end < line.len &&
        (field->known == PS_HTTP_F_CONTENT_LENGTH || field->known == PS_HTTP_F_TRANSFER_ENCODING))
        return PS_HTTP_FRAMING_SPACE;
    return judge_field(head, field, (struct ps_str){line.at + begin, end - begin});
}

/* --- The end of a head. --- */

/* RFC 9112, section 6.3 */
static enum ps_http_rule frame_body(struct ps_http_head *head)
{
    bool bodiless =
        head->is_response && (head->status < 200 || head->status == 204 || head->status == 304);

    if (head->has_encoding && head->has_length)
        return PS_HTTP_ENCODING_AND_LENGTH;
    if (head->has_encoding && head->minor == 0)
        return PS_HTTP_ENCODING_IN_1_0;
    /* Not allowed with a length either, but many servers send "0" with a 204. */
    if (bodiless && head->status != 304 && (head->has_encoding || head->body_len > 0))
        return PS_HTTP_STATUS_BODY;
    if (bodiless || head->to_head)
        head->framing = PS_HTTP_NO_BODY;
    else if (head->has_encoding)
        head->framing = PS_HTTP_CHUNKED;
    else if (head->has_length)
        head->framing = head->body_len > 0 ? PS_HTTP_BY_LENGTH : PS_HTTP_NO_BODY;
    else
        head->framing = head->is_response ? PS_HTTP_UNTIL_CLOSE : PS_HTTP_NO_BODY;
    return PS_HTTP_NO_RULE;
}

static enum ps_http_rule end_head(struct ps_http_head *head)
{
    enum ps_http_rule rule;

    if (!head->is_response && head->minor == 1 && !head->has_host)
        return PS_HTTP_HOST_MISSING;
    if ((rule = frame_body(head)) != PS_HTTP_NO_RULE)
        return rule;
    head->keep_alive = !head->has_close && (head->minor == 1 || head->has_keep_alive) &&
                       head->framing != PS_HTTP_UNTIL_CLOSE;
    if (head->minor == 0) /* RFC 9110, section 10.1.1 */
        head->expects_continue = false;
    return PS_HTTP_NO_RULE;
}

static enum ps_http_rule first_line_too_long(const struct ps_http_head *head)
{
    return head->is_response ? PS_HTTP_STATUS_LINE : PS_HTTP_TARGET_TOO_LONG;
}

/* A whole line, without CRLF, that is not empty. */
static enum ps_http_rule read_line(struct ps_http_head *head, uint32_t at, struct ps_str line)
{
    if (head->field_count > 0 || head->method_text.len > 0 || head->status > 0)
        return read_field(head, at, line);
    if (line.len + 1 > head->limits->target_max + FIRST_LINE_REST)
        return first_line_too_long(head);
    return head->is_response ? read_status_line(head, line) : read_request_line(head, at, line);
}

static enum ps_http_step refuse(struct ps_http_head *head, enum ps_http_rule rule)
{
    head->rule = rule;
    return PS_HTTP_BAD;
}

/* The rest of this line cannot make it valid: refuse it without waiting for the rest. */
static enum ps_http_rule judge_part(const struct ps_http_head *head, const char *data, size_t len)
{
    bool first = head->method_text.len == 0 && head->status == 0;

    if (len > head->limits->head_max)
        return first ? PS_HTTP_TARGET_TOO_LONG : PS_HTTP_HEAD_TOO_LARGE;
    if (!first || len == head->line_at)
        return PS_HTTP_NO_RULE;
    if (len - head->line_at > head->limits->target_max + FIRST_LINE_REST)
        return first_line_too_long(head);
    char c = data[head->line_at];
    if (!head->is_response && c != '\r' && !ps_charset_has(&token_chars, c))
        return PS_HTTP_METHOD;
    return PS_HTTP_NO_RULE;
}

enum ps_http_step ps_http_head_parse(struct ps_http_head *head, const char *data, size_t len)
{
    size_t end = len > (size_t)head->limits->head_max + 1 ? head->limits->head_max + 1 : len;
    enum ps_http_rule rule;

    while (head->scanned < end) {
        const char *lf = memchr(data + head->scanned, '\n', end - head->scanned);
        if (lf == NULL)
            break;
        uint32_t at = head->line_at, next = (uint32_t)(lf - data) + 1;
        struct ps_str line = {data + at, next - at - 1};
        bool first = head->method_text.len == 0 && head->status == 0;
        if (next > head->limits->head_max)
            return refuse(head, first ? PS_HTTP_TARGET_TOO_LONG : PS_HTTP_HEAD_TOO_LARGE);
        if (line.len == 0 || line.at[line.len - 1] != '\r')
            return refuse(head, PS_HTTP_BARE_LF);
        line.len--;
        head->scanned = head->line_at = next;
        if (line.len > 0) {
            if ((rule = read_line(head, at, line)) != PS_HTTP_NO_RULE)
                return refuse(head, rule);
        } else if (!first) {
            head->len = next;
            rule = end_head(head);
            return rule == PS_HTTP_NO_RULE ? PS_HTTP_DONE : refuse(head, rule);
        } else if (at > 0 || head->is_response) {
            return refuse(head, head->is_response ? PS_HTTP_STATUS_LINE : PS_HTTP_EMPTY_LINES);
        }
    }
    head->scanned = (uint32_t)end;
    rule = judge_part(head, data, len);
    return rule == PS_HTTP_NO_RULE ? PS_HTTP_MORE : refuse(head, rule);
}

bool ps_http_names_etag(struct ps_str field, const char *etag)
{
    size_t len = strlen(etag);

    if (field.len == 1 && field.at[0] == '*')
        return true;
    for (size_t at = 0; at + len <= field.len; at++) {
        const char *end = field.at + at + len;
        bool starts = at == 0 || memchr(", \t/", field.at[at - 1], 4) != NULL;
        bool ends = at + len == field.len || memchr(", \t", *end, 3) != NULL;
        if (starts && ends && memcmp(field.at + at, etag, len) == 0)
            return true;
    }
    return false;
}
