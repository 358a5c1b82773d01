/* Directives are read in one pass over the lines of their field into a struct; what an answer's
 * keeping comes to is computed once, when its head is there, so that a hit only compares numbers.
 *
 * What must hold: in doubt nothing is kept, and what is kept is stale. */
#include "gateway/upstream/cache_rules.h"
#include "common/charset.h"
#include "common/clock.h"

#include <strings.h>

#define STORE_NAME(name) #name,
const char *const up_store_names[UP_STORE_COUNT + 1] = {UP_STORES(STORE_NAME) NULL};

#define DELTA_MAX     INT64_C(2147483648) /* section 1.2.2 */
#define DELTA_NONE    INT64_C(-1)
#define DELTA_INVALID INT64_C(-2)

static const struct ps_charset digits = {{PS_DIGITS}};
static const struct ps_charset token_chars = {
    {PS_DIGITS, PS_LETTERS, ['!'] = true, ['#'] = true, ['$'] = true, ['%'] = true, ['&'] = true,
     ['\''] = true, ['*'] = true, ['+'] = true, ['-'] = true, ['.'] = true, ['^'] = true,
     ['_'] = true, ['`'] = true, ['|'] = true, ['~'] = true}};

/* --- Texts. --- */

static bool is_name(struct ps_str text, const char *name)
{
    return text.len == strlen(name) && strncasecmp(text.at, name, text.len) == 0;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static void skip_space(struct ps_str *rest)
{
    while (rest->len > 0 && is_space(rest->at[0])) {
        rest->at++;
        rest->len--;
    }
}

static void skip(struct ps_str *rest, size_t count)
{
    rest->at += count;
    rest->len -= count;
}

static struct ps_str take_span(struct ps_str *rest, const struct ps_charset *set)
{
    struct ps_str span = {rest->at, ps_charset_span(set, rest->at, rest->len)};
    skip(rest, span.len);
    return span;
}

/* The next element of a list, up to a comma outside quotes, without white space around it. False:
 * there is no more. An empty element is given, too. */
static bool take_element(struct ps_str *rest, struct ps_str *ret_element)
{
    if (rest->at == NULL)
        return false;
    size_t at = 0;
    bool quoted = false;
    for (; at < rest->len && (quoted || rest->at[at] != ','); at++) {
        if (rest->at[at] == '"')
            quoted = !quoted;
        else if (quoted && rest->at[at] == '\\' && at + 1 < rest->len)
            at++;
    }
    struct ps_str element = {rest->at, at};
    if (at < rest->len)
        skip(rest, at + 1);
    else
        rest->at = NULL;
    skip_space(&element);
    while (element.len > 0 && is_space(element.at[element.len - 1]))
        element.len--;
    *ret_element = element;
    return true;
}

struct ps_str up_field(struct up_message message, const char *name)
{
    for (uint32_t i = 0; i < message.head->field_count; i++) {
        const struct ps_http_field *field = &message.head->fields[i];
        if (is_name(ps_http_text(message.data, field->name), name))
            return ps_http_text(message.data, field->value);
    }
    return (struct ps_str){NULL, 0};
}

/* Goes through the lines of one field. */
static bool next_line(struct up_message message, const char *name, uint32_t *at,
                      struct ps_str *ret_value)
{
    while (*at < message.head->field_count) {
        const struct ps_http_field *field = &message.head->fields[(*at)++];
        if (is_name(ps_http_text(message.data, field->name), name)) {
            *ret_value = ps_http_text(message.data, field->value);
            return true;
        }
    }
    return false;
}

/* --- Directives. --- */

struct directives {
    bool present;
    bool no_store, no_cache, is_private, is_public, must_revalidate, proxy_revalidate,
        must_understand, only_if_cached;
    /* DELTA_NONE, DELTA_INVALID, or seconds. */
    int64_t max_age, s_maxage, while_revalidate, if_error, min_fresh, max_stale;
};

static const struct directives no_directives = {.max_age = DELTA_NONE,
                                                .s_maxage = DELTA_NONE,
                                                .while_revalidate = DELTA_NONE,
                                                .if_error = DELTA_NONE,
                                                .min_fresh = DELTA_NONE,
                                                .max_stale = DELTA_NONE};

/* 1*DIGIT; more than fits is the most there is. */
static int64_t read_delta(struct ps_str text)
{
    int64_t value = 0;
    if (text.len == 0 || ps_charset_span(&digits, text.at, text.len) != text.len)
        return DELTA_INVALID;
    for (size_t i = 0; i < text.len && value < DELTA_MAX; i++)
        value = value * 10 + (text.at[i] - '0');
    return value < DELTA_MAX ? value : DELTA_MAX;
}

static bool *flag_of(struct directives *directives, struct ps_str name)
{
    struct {
        const char *name;
        bool *flag;
    } flags[] = {{"no-store", &directives->no_store},
                 {"no-cache", &directives->no_cache},
                 {"private", &directives->is_private},
                 {"public", &directives->is_public},
                 {"must-revalidate", &directives->must_revalidate},
                 {"proxy-revalidate", &directives->proxy_revalidate},
                 {"must-understand", &directives->must_understand},
                 {"only-if-cached", &directives->only_if_cached}};
    for (size_t i = 0; i < PS_ARRAY_LEN(flags); i++) {
        if (is_name(name, flags[i].name))
            return flags[i].flag;
    }
    return NULL;
}

static int64_t *delta_of(struct directives *directives, struct ps_str name)
{
    struct {
        const char *name;
        int64_t *delta;
    } deltas[] = {{"max-age", &directives->max_age},
                  {"s-maxage", &directives->s_maxage},
                  {"stale-while-revalidate", &directives->while_revalidate},
                  {"stale-if-error", &directives->if_error},
                  {"min-fresh", &directives->min_fresh},
                  {"max-stale", &directives->max_stale}};
    for (size_t i = 0; i < PS_ARRAY_LEN(deltas); i++) {
        if (is_name(name, deltas[i].name))
            return deltas[i].delta;
    }
    return NULL;
}

/* `value.at` NULL: there is none. A second value that is not the first one is invalid (4.2.1). */
static void add_delta(int64_t *delta, struct ps_str value)
{
    int64_t is = value.at == NULL ? DELTA_INVALID : read_delta(value);
    *delta = *delta == DELTA_NONE || *delta == is ? is : DELTA_INVALID;
}

/* Section 5.2: token [ "=" ( token / quoted-string ) ]. Of a malformed directive that is known, a
 * number is invalid and a flag is set. */
static void add_directive(struct directives *directives, struct ps_str element)
{
    struct ps_str name = take_span(&element, &token_chars), value = {NULL, 0};
    if (element.len > 0 && element.at[0] == '=') {
        skip(&element, 1);
        if (element.len > 1 && element.at[0] == '"' && element.at[element.len - 1] == '"')
            value = (struct ps_str){element.at + 1, element.len - 2};
        else
            value = element;
    } else if (element.len > 0) {
        value = (struct ps_str){"?", 1}; /* no number */
    }
    bool *flag = flag_of(directives, name);
    int64_t *delta = delta_of(directives, name);
    if (flag != NULL)
        *flag = true;
    else if (delta == &directives->max_stale && value.at == NULL)
        *delta = INT64_MAX;
    else if (delta != NULL)
        add_delta(delta, value);
}

static struct directives read_directives(struct up_message message, const char *field)
{
    struct directives directives = no_directives;
    struct ps_str line, element;
    for (uint32_t at = 0; next_line(message, field, &at, &line);) {
        directives.present = true;
        while (take_element(&line, &element))
            add_directive(&directives, element);
    }
    return directives;
}

/* --- Targeted fields (RFC 9213), which are dictionaries of structured fields (RFC 9651). --- */

/* clang-format off */
static const struct ps_charset key_chars = {{
    PS_DIGITS, ['_'] = true, ['-'] = true, ['.'] = true, ['*'] = true,
    ['a'] = true, ['b'] = true, ['c'] = true, ['d'] = true, ['e'] = true, ['f'] = true,
    ['g'] = true, ['h'] = true, ['i'] = true, ['j'] = true, ['k'] = true, ['l'] = true,
    ['m'] = true, ['n'] = true, ['o'] = true, ['p'] = true, ['q'] = true, ['r'] = true,
    ['s'] = true, ['t'] = true, ['u'] = true, ['v'] = true, ['w'] = true, ['x'] = true,
    ['y'] = true, ['z'] = true}};
static const struct ps_charset base64_chars = {{
    PS_DIGITS, PS_LETTERS, ['+'] = true, ['/'] = true, ['='] = true}};
static const struct ps_charset sf_token_chars = {{
    PS_DIGITS, PS_LETTERS, ['!'] = true, ['#'] = true, ['$'] = true, ['%'] = true, ['&'] = true,
    ['\''] = true, ['*'] = true, ['+'] = true, ['-'] = true, ['.'] = true, ['^'] = true,
    ['_'] = true, ['`'] = true, ['|'] = true, ['~'] = true, [':'] = true, ['/'] = true}};
/* clang-format on */

enum item { ITEM_NONE, ITEM_INTEGER, ITEM_TRUE, ITEM_OTHER };

static bool take_char(struct ps_str *rest, char c)
{
    if (rest->len == 0 || rest->at[0] != c)
        return false;
    skip(rest, 1);
    return true;
}

static bool take_key(struct ps_str *rest, struct ps_str *ret_key)
{
    if (rest->len == 0 || !((rest->at[0] >= 'a' && rest->at[0] <= 'z') || rest->at[0] == '*'))
        return false;
    *ret_key = take_span(rest, &key_chars);
    return true;
}

static enum item take_sf_number(struct ps_str *rest, struct ps_str *ret_digits)
{
    bool negative = take_char(rest, '-');
    *ret_digits = take_span(rest, &digits);
    if (ret_digits->len == 0 || ret_digits->len > 15)
        return ITEM_NONE;
    if (!take_char(rest, '.'))
        return negative ? ITEM_OTHER : ITEM_INTEGER;
    size_t fraction = take_span(rest, &digits).len;
    return fraction >= 1 && fraction <= 3 && ret_digits->len <= 12 ? ITEM_OTHER : ITEM_NONE;
}

static enum item take_sf_string(struct ps_str *rest)
{
    for (size_t i = 1; i < rest->len; i++) {
        char c = rest->at[i];
        if (c == '"') {
            skip(rest, i + 1);
            return ITEM_OTHER;
        }
        if (c < 0x20 || c == 0x7f || (c == '\\' && ++i == rest->len))
            return ITEM_NONE;
        if (c == '\\' && rest->at[i] != '"' && rest->at[i] != '\\')
            return ITEM_NONE;
    }
    return ITEM_NONE;
}

static enum item take_bare_item(struct ps_str *rest, struct ps_str *ret_digits)
{
    char c = rest->len > 0 ? rest->at[0] : '\0';
    if (c == '-' || ps_charset_has(&digits, c))
        return take_sf_number(rest, ret_digits);
    if (c == '"')
        return take_sf_string(rest);
    if (c == '?') {
        skip(rest, 1);
        if (take_char(rest, '1'))
            return ITEM_TRUE;
        return take_char(rest, '0') ? ITEM_OTHER : ITEM_NONE;
    }
    if (c == ':') {
        skip(rest, 1);
        take_span(rest, &base64_chars);
        return take_char(rest, ':') ? ITEM_OTHER : ITEM_NONE;
    }
    if (c == '*' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
        take_span(rest, &sf_token_chars);
        return ITEM_OTHER;
    }
    return ITEM_NONE;
}

static bool take_parameters(struct ps_str *rest)
{
    struct ps_str key, number;
    while (take_char(rest, ';')) {
        while (take_char(rest, ' '))
            ;
        if (!take_key(rest, &key) ||
            (take_char(rest, '=') && take_bare_item(rest, &number) == ITEM_NONE))
            return false;
    }
    return true;
}

static enum item take_member_value(struct ps_str *rest, struct ps_str *ret_digits)
{
    struct ps_str number;
    if (!take_char(rest, '('))
        return take_bare_item(rest, ret_digits);
    for (;;) {
        while (take_char(rest, ' '))
            ;
        if (take_char(rest, ')'))
            return ITEM_OTHER;
        if (take_bare_item(rest, &number) == ITEM_NONE || !take_parameters(rest) ||
            rest->len == 0 || (rest->at[0] != ' ' && rest->at[0] != ')'))
            return ITEM_NONE;
    }
}

/* A directive whose value has the wrong type makes the field invalid (RFC 9213, 2.1). */
static bool take_member(struct directives *directives, struct ps_str *rest)
{
    struct ps_str key, number = {NULL, 0};
    enum item item = ITEM_TRUE;
    if (!take_key(rest, &key) ||
        (take_char(rest, '=') && (item = take_member_value(rest, &number)) == ITEM_NONE) ||
        !take_parameters(rest))
        return false;
    bool *flag = flag_of(directives, key);
    int64_t *delta = delta_of(directives, key);
    if (flag != NULL) /* `private="name"` counts as private */
        *flag = true;
    if (delta != NULL && item != ITEM_INTEGER)
        return false;
    if (delta != NULL)
        *delta = read_delta(number);
    return true;
}

/* False: the field is not there, empty or invalid, and Cache-Control counts. */
static bool read_targeted(struct up_message message, struct directives *ret_directives)
{
    struct directives directives = no_directives;
    struct ps_str line;
    for (uint32_t at = 0; next_line(message, "CDN-Cache-Control", &at, &line);) {
        while (line.len > 0) {
            if (!take_member(&directives, &line))
                return false;
            directives.present = true;
            skip_space(&line);
            if (line.len == 0)
                break;
            if (!take_char(&line, ','))
                return false;
            skip_space(&line);
            if (line.len == 0)
                return false;
        }
    }
    if (directives.present)
        *ret_directives = directives;
    return directives.present;
}

/* --- A request. --- */

static bool lists_no_cache(struct up_message message)
{
    struct ps_str line, element;
    for (uint32_t at = 0; next_line(message, "Pragma", &at, &line);) {
        while (take_element(&line, &element)) {
            if (is_name(element, "no-cache"))
                return true;
        }
    }
    return false;
}

/* Most requests have none of these fields: one pass by the length of the names finds out. */
void up_asked_read(struct up_message request, struct up_asked *ret_asked)
{
    *ret_asked = (struct up_asked){.message = request,
                                   .is_get = request.head->method == PS_HTTP_GET,
                                   .is_head = request.head->method == PS_HTTP_HEAD,
                                   .max_age_s = -1,
                                   .min_fresh_s = -1,
                                   .max_stale_s = -1};
    bool has_control = false, has_pragma = false;
    for (uint32_t i = 0; i < request.head->field_count; i++) {
        const struct ps_http_field *field = &request.head->fields[i];
        struct ps_str name = ps_http_text(request.data, field->name);
        if (name.len == 5 && is_name(name, "Range"))
            ret_asked->range = ps_http_text(request.data, field->value);
        else if (name.len == 6 && is_name(name, "Pragma"))
            has_pragma = true;
        else if (name.len == 8 && is_name(name, "If-Range"))
            ret_asked->if_range = ps_http_text(request.data, field->value);
        else if (name.len == 8 && is_name(name, "If-Match"))
            ret_asked->for_origin = true;
        else if (name.len == 13 && is_name(name, "Cache-Control"))
            has_control = true;
        else if (name.len == 13 && is_name(name, "Authorization"))
            ret_asked->authorized = true;
        else if ((name.len == 13 && is_name(name, "If-None-Match")) ||
                 (name.len == 17 && is_name(name, "If-Modified-Since")))
            ret_asked->has_conditions = true;
        else if (name.len == 19 && is_name(name, "If-Unmodified-Since"))
            ret_asked->for_origin = true;
    }
    if (has_control) {
        struct directives said = read_directives(request, "Cache-Control");
        ret_asked->only_if_cached = said.only_if_cached;
        ret_asked->no_cache = said.no_cache;
        ret_asked->no_store = said.no_store;
        ret_asked->max_age_s = said.max_age;
        ret_asked->min_fresh_s = said.min_fresh;
        ret_asked->max_stale_s = said.max_stale;
    } else if (has_pragma) { /* section 5.4 */
        ret_asked->no_cache = lists_no_cache(request);
    }
}

bool up_asked_may_lead(const struct up_asked *asked, const struct cfg_route_cache *route)
{
    return asked->is_get && !asked->for_origin && !asked->authorized && asked->range.at == NULL &&
           !(route->obeys_no_cache && (asked->no_store || asked->no_cache));
}

/* --- An answer. --- */

/* Section 15.1 of RFC 9110: may be kept without a word of how long. 206 is not kept at all. */
static bool is_heuristic(int status)
{
    static const uint16_t list[] = {200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501};
    for (size_t i = 0; i < PS_ARRAY_LEN(list); i++) {
        if (list[i] == status)
            return true;
    }
    return false;
}

/* What it means for a cache is known here (must-understand). */
static bool is_understood(int status)
{
    static const uint16_t list[] = {302, 303, 307, 400, 403, 451, 500, 502, 503, 504};
    for (size_t i = 0; i < PS_ARRAY_LEN(list); i++) {
        if (list[i] == status)
            return true;
    }
    return is_heuristic(status);
}

/* INT64_MIN: not there, or no date. */
static int64_t read_date(struct ps_str text, int64_t now_ms)
{
    int64_t date_ms;
    if (text.at == NULL || ps_http_date_parse(text.at, text.len, now_ms, &date_ms) != 0)
        return INT64_MIN;
    return date_ms;
}

/* Section 5.1: the first member of the first line; what is no number counts as nothing. */
static int64_t read_age_ms(struct up_message answer)
{
    struct ps_str line = up_field(answer, "Age"), first;
    if (line.at == NULL || !take_element(&line, &first))
        return 0;
    int64_t age_s = read_delta(first);
    return age_s > 0 ? age_s * 1000 : 0;
}

/* Section 5.3: Expires - Date; a date that is none, or a second line, lies in the past. */
static int64_t read_expires_ms(struct up_message answer, int64_t date_ms, int64_t wall_ms,
                               bool *ret_present)
{
    struct ps_str line, second;
    uint32_t at = 0;
    *ret_present = next_line(answer, "Expires", &at, &line);
    if (!*ret_present || next_line(answer, "Expires", &at, &second))
        return 0;
    int64_t expires_ms = read_date(line, wall_ms);
    return expires_ms > date_ms ? expires_ms - date_ms : 0;
}

/* Whether the names are too many up_vary_put finds out. */
static bool varies_by_anything(struct up_message answer)
{
    struct ps_str line, element;
    for (uint32_t at = 0; next_line(answer, "Vary", &at, &line);) {
        while (take_element(&line, &element)) {
            if (is_name(element, "*"))
                return true;
        }
    }
    return false;
}

static size_t count_tags(struct up_message answer)
{
    struct ps_str line;
    size_t count = 0;
    for (uint32_t at = 0; next_line(answer, "Surrogate-Key", &at, &line);) {
        while (skip_space(&line), line.len > 0) {
            const char *end = line.at;
            while (end < line.at + line.len && !is_space(*end))
                end++;
            skip(&line, (size_t)(end - line.at));
            count++;
        }
    }
    return count;
}

static int64_t delta_ms(int64_t said_s, int64_t otherwise_s)
{
    return (said_s >= 0 ? said_s : said_s == DELTA_NONE ? otherwise_s : 0) * 1000;
}

/* Lifetime and stale uses; says whether anything said how long. */
static bool read_freshness(struct up_message answer, const struct cfg_route_cache *route,
                           const struct directives *said, bool targeted, int64_t wall_ms,
                           struct up_kept *kept)
{
    bool explicit = said->s_maxage != DELTA_NONE || said->max_age != DELTA_NONE;
    if (said->s_maxage != DELTA_NONE)
        kept->lifetime_ms = delta_ms(said->s_maxage, 0);
    else if (said->max_age != DELTA_NONE)
        kept->lifetime_ms = delta_ms(said->max_age, 0);
    else if (!targeted)
        kept->lifetime_ms = read_expires_ms(answer, kept->date_ms, wall_ms, &explicit);
    if (!explicit && (is_heuristic(kept->status) || said->is_public) &&
        (said->present || !lists_no_cache(answer)))
        kept->lifetime_ms = route->default_ttl_s * 1000;
    kept->always_ask = said->no_cache;
    kept->never_stale = said->must_revalidate || said->proxy_revalidate;
    if (said->s_maxage != DELTA_NONE) { /* 5.2.2.10; the answer's own words are more special */
        kept->while_revalidate_ms = delta_ms(said->while_revalidate, 0);
        kept->if_error_ms = delta_ms(said->if_error, 0);
        kept->never_stale |= kept->while_revalidate_ms == 0 && kept->if_error_ms == 0;
    } else {
        kept->while_revalidate_ms =
            delta_ms(said->while_revalidate, route->stale_while_revalidate_s);
        kept->if_error_ms = delta_ms(said->if_error, route->stale_if_error_s);
    }
    if (!up_kept_may_be_stale(kept))
        kept->while_revalidate_ms = kept->if_error_ms = 0;
    return explicit || said->no_cache;
}

static enum up_store judge(const struct up_asked *asked, struct up_message answer,
                           const struct directives *said)
{
    int status = answer.head->status;
    if (!asked->is_get)
        return UP_STORE_method;
    if (status < 200 || status == 206 || status == 304 ||
        (said->must_understand && !is_understood(status)))
        return UP_STORE_status;
    if (said->no_store && !said->must_understand)
        return UP_STORE_no_store;
    if (said->is_private)
        return UP_STORE_private;
    if (asked->authorized && !said->is_public && !said->must_revalidate && said->s_maxage < 0)
        return UP_STORE_authorization;
    if (up_field(answer, "Set-Cookie").at != NULL || up_field(answer, "Set-Cookie2").at != NULL)
        return UP_STORE_set_cookie;
    if (varies_by_anything(answer))
        return UP_STORE_vary;
    return count_tags(answer) > UP_TAGS_MAX ? UP_STORE_tags : UP_STORE_stored;
}

enum up_store up_kept_read(const struct up_asked *asked, struct up_message answer,
                           const struct cfg_route_cache *route, const struct up_moments *moments,
                           struct up_kept *ret_kept)
{
    struct directives said;
    bool targeted = read_targeted(answer, &said);
    if (!targeted)
        said = read_directives(answer, "Cache-Control");
    int64_t date_ms = read_date(up_field(answer, "Date"), moments->wall_ms);
    *ret_kept = (struct up_kept){
        .status = answer.head->status,
        .received_ms = moments->received_ms,
        .date_ms = date_ms == INT64_MIN ? moments->wall_ms : date_ms,
        .modified_ms = read_date(up_field(answer, "Last-Modified"), moments->wall_ms)};
    /* Section 4.2.3. */
    int64_t apparent_ms = moments->wall_ms - ret_kept->date_ms;
    int64_t corrected_ms = read_age_ms(answer) + moments->received_ms - moments->sent_ms;
    ret_kept->initial_age_ms = apparent_ms > corrected_ms ? apparent_ms : corrected_ms;

    bool explicit = read_freshness(answer, route, &said, targeted, moments->wall_ms, ret_kept);
    enum up_store store = judge(asked, answer, &said);
    if (store != UP_STORE_stored)
        return store;
    if (route->obeys_no_cache && asked->no_store) /* 5.2.1.5 */
        return UP_STORE_no_store;
    if (!explicit && ret_kept->lifetime_ms == 0)
        return UP_STORE_freshness;
    bool has_validator = up_is_etag(up_field(answer, "ETag")) || ret_kept->modified_ms != INT64_MIN;
    bool is_fresh = !ret_kept->always_ask && ret_kept->lifetime_ms > ret_kept->initial_age_ms;
    return is_fresh || has_validator || ret_kept->while_revalidate_ms > 0 ||
                   ret_kept->if_error_ms > 0
               ? UP_STORE_stored
               : UP_STORE_stale;
}

int64_t up_kept_age_ms(const struct up_kept *kept, int64_t now_ms)
{
    int64_t resident_ms = now_ms - kept->received_ms;
    int64_t age_ms = kept->initial_age_ms + (resident_ms > 0 ? resident_ms : 0);
    return age_ms > 0 ? age_ms : 0;
}

int64_t up_kept_ttl_ms(const struct up_kept *kept, int64_t now_ms)
{
    return kept->lifetime_ms - up_kept_age_ms(kept, now_ms);
}

enum up_use up_kept_use(const struct up_kept *kept, const struct up_asked *asked,
                        const struct cfg_route_cache *route, int64_t now_ms)
{
    int64_t age_ms = up_kept_age_ms(kept, now_ms), ttl_ms = kept->lifetime_ms - age_ms;
    if (kept->always_ask)
        return UP_USE_ASK;
    if (route->obeys_no_cache && (asked->no_cache || asked->no_store || asked->max_age_s == 0 ||
                                  (asked->max_age_s > 0 && age_ms > asked->max_age_s * 1000) ||
                                  (asked->min_fresh_s >= 0 && ttl_ms < asked->min_fresh_s * 1000)))
        return UP_USE_ASK;
    if (ttl_ms > 0)
        return UP_USE_FRESH;
    int64_t allowed_ms = kept->while_revalidate_ms;
    if (!kept->never_stale && asked->max_stale_s >= 0) {
        int64_t max_stale_ms =
            asked->max_stale_s > DELTA_MAX ? INT64_MAX : asked->max_stale_s * 1000;
        allowed_ms = max_stale_ms > allowed_ms ? max_stale_ms : allowed_ms;
    }
    return -ttl_ms < allowed_ms ? UP_USE_STALE : UP_USE_ASK;
}

bool up_kept_if_error(const struct up_kept *kept, int64_t now_ms)
{
    return up_kept_may_be_stale(kept) && -up_kept_ttl_ms(kept, now_ms) < kept->if_error_ms;
}

/* --- Fields. --- */

/* Section 3.1, and what an entry has of its own. */
static bool is_of_connection(struct ps_str name)
{
    static const char *const names[] = {"Connection",
                                        "Keep-Alive",
                                        "Proxy-Connection",
                                        "Proxy-Authenticate",
                                        "Proxy-Authentication-Info",
                                        "Proxy-Authorization",
                                        "TE",
                                        "Trailer",
                                        "Transfer-Encoding",
                                        "Upgrade",
                                        "Content-Length",
                                        "Age",
                                        "Surrogate-Key"};
    for (size_t i = 0; i < PS_ARRAY_LEN(names); i++) {
        if (is_name(name, names[i]))
            return true;
    }
    return false;
}

static bool is_named_by_connection(struct up_message message, struct ps_str name)
{
    struct ps_str line, element;
    for (uint32_t at = 0; next_line(message, "Connection", &at, &line);) {
        while (take_element(&line, &element)) {
            if (ps_http_same_text(element, name))
                return true;
        }
    }
    return false;
}

static bool is_kept(struct up_message message, struct ps_str name)
{
    return !is_of_connection(name) && !is_named_by_connection(message, name);
}

static void put_line(struct ps_buf *buf, struct ps_str name, struct ps_str value)
{
    ps_buf_put(buf, name.at, name.len);
    ps_buf_puts(buf, ": ");
    ps_buf_put(buf, value.at, value.len);
    ps_buf_puts(buf, "\r\n");
}

static void put_missing_date(struct up_message answer, int64_t wall_ms, struct ps_buf *buf)
{
    char date[PS_HTTP_DATE_LEN + 1];
    if (up_field(answer, "Date").at != NULL)
        return;
    ps_http_date_format(wall_ms, date);
    put_line(buf, PS_STR("Date"), (struct ps_str){date, PS_HTTP_DATE_LEN});
}

void up_fields_put(struct up_message answer, int64_t wall_ms, struct ps_buf *buf)
{
    for (uint32_t i = 0; i < answer.head->field_count; i++) {
        const struct ps_http_field *field = &answer.head->fields[i];
        struct ps_str name = ps_http_text(answer.data, field->name);
        if (is_kept(answer, name))
            put_line(buf, name, ps_http_text(answer.data, field->value));
    }
    put_missing_date(answer, wall_ms, buf);
}

/* What describes the body, which a 304 does not bring. */
static bool is_of_body(struct ps_str name)
{
    return is_name(name, "Content-Encoding") || is_name(name, "Content-Range");
}

/* Takes a line of "Name: value\r\n". */
static bool take_line(struct ps_str *lines, struct ps_str *ret_name, struct ps_str *ret_value)
{
    const char *end = lines->len > 0 ? memchr(lines->at, '\r', lines->len) : NULL;
    const char *colon = end != NULL ? memchr(lines->at, ':', (size_t)(end - lines->at)) : NULL;
    if (colon == NULL)
        return false;
    *ret_name = (struct ps_str){lines->at, (size_t)(colon - lines->at)};
    *ret_value = (struct ps_str){colon + 2, (size_t)(end - colon - 2)};
    skip(lines, (size_t)(end + 2 - lines->at));
    return true;
}

static bool replaces(struct up_message not_modified, struct ps_str name)
{
    if (is_of_body(name))
        return false;
    for (uint32_t i = 0; i < not_modified.head->field_count; i++) {
        struct ps_str other = ps_http_text(not_modified.data, not_modified.head->fields[i].name);
        if (ps_http_same_text(name, other))
            return is_kept(not_modified, name);
    }
    return false;
}

void up_fields_merge(struct ps_str stored, struct up_message not_modified, int64_t wall_ms,
                     struct ps_buf *buf)
{
    struct ps_str name, value;
    while (take_line(&stored, &name, &value)) {
        if (!replaces(not_modified, name) && !is_name(name, "Date"))
            put_line(buf, name, value);
    }
    for (uint32_t i = 0; i < not_modified.head->field_count; i++) {
        const struct ps_http_field *field = &not_modified.head->fields[i];
        name = ps_http_text(not_modified.data, field->name);
        if (is_kept(not_modified, name) && !is_of_body(name))
            put_line(buf, name, ps_http_text(not_modified.data, field->value));
    }
    put_missing_date(not_modified, wall_ms, buf);
}

struct ps_str up_fields_find(struct ps_str lines, const char *name)
{
    struct ps_str this_name, value;
    while (take_line(&lines, &this_name, &value)) {
        if (is_name(this_name, name))
            return value;
    }
    return (struct ps_str){NULL, 0};
}

/* --- Entity tags. --- */

static bool is_weak(struct ps_str etag)
{
    return etag.len >= 2 && etag.at[0] == 'W' && etag.at[1] == '/';
}

bool up_is_etag(struct ps_str text)
{
    if (text.at != NULL && is_weak(text))
        skip(&text, 2);
    return text.at != NULL && text.len >= 2 && text.at[0] == '"' &&
           memchr(text.at + 1, '"', text.len - 1) == text.at + text.len - 1;
}

static bool same_bytes(struct ps_str a, struct ps_str b)
{
    return a.len == b.len && memcmp(a.at, b.at, a.len) == 0;
}

/* RFC 9110, 8.8.3.2; both are tags. */
static bool same_weakly(struct ps_str a, struct ps_str b)
{
    if (is_weak(a))
        skip(&a, 2);
    if (is_weak(b))
        skip(&b, 2);
    return same_bytes(a, b);
}

bool up_fields_same(struct ps_str etag, struct up_message not_modified)
{
    struct ps_str said = up_field(not_modified, "ETag");
    if (!up_is_etag(said))
        return true; /* it can only mean the entry whose validators it was asked with */
    return up_is_etag(etag) && same_weakly(etag, said);
}

/* --- Conditions and ranges. --- */

static bool is_listed(struct up_message request, struct ps_str etag)
{
    struct ps_str line, element;
    for (uint32_t at = 0; next_line(request, "If-None-Match", &at, &line);) {
        while (take_element(&line, &element)) {
            if (is_name(element, "*") ||
                (up_is_etag(element) && up_is_etag(etag) && same_weakly(element, etag)))
                return true;
        }
    }
    return false;
}

static bool is_unmodified(const struct up_asked *asked, const struct up_kept *kept,
                          struct ps_str etag)
{
    struct ps_str since;
    if (!asked->has_conditions)
        return false;
    if (up_field(asked->message, "If-None-Match").at != NULL) /* it counts alone (13.1.3) */
        return is_listed(asked->message, etag);
    since = up_field(asked->message, "If-Modified-Since");
    int64_t since_ms = read_date(since, kept->date_ms);
    int64_t modified_ms = kept->modified_ms == INT64_MIN ? kept->date_ms : kept->modified_ms;
    return since_ms != INT64_MIN && modified_ms <= since_ms;
}

/* RFC 9110, 13.1.5: a strong tag, or the very date of a Last-Modified that is strong because it
 * lies at least a second before Date (8.8.2.2). */
static bool if_range_holds(const struct up_asked *asked, const struct up_kept *kept,
                           struct ps_str etag)
{
    if (asked->if_range.at == NULL)
        return true;
    if (up_is_etag(asked->if_range))
        return up_is_etag(etag) && !is_weak(etag) && same_bytes(asked->if_range, etag);
    int64_t date_ms = read_date(asked->if_range, kept->date_ms);
    return date_ms != INT64_MIN && date_ms == kept->modified_ms &&
           kept->modified_ms + 1000 <= kept->date_ms;
}

/* 1*DIGIT, at most 18: a position. */
static bool take_position(struct ps_str *rest, uint64_t *ret_value)
{
    struct ps_str span = take_span(rest, &digits);
    uint64_t value = 0;
    for (size_t i = 0; i < span.len; i++)
        value = value * 10 + (uint64_t)(span.at[i] - '0');
    *ret_value = value;
    return span.len > 0 && span.len <= 18;
}

/* RFC 9110, 14.1.2: one range of bytes. What is none is ignored. */
static enum up_part read_range(struct ps_str text, uint64_t body_len, uint64_t *ret_first,
                               uint64_t *ret_len)
{
    uint64_t first, last = UINT64_MAX;
    if (text.len < 6 || strncasecmp(text.at, "bytes=", 6) != 0)
        return UP_PART_WHOLE;
    skip(&text, 6);
    if (take_char(&text, '-')) {
        uint64_t suffix;
        if (!take_position(&text, &suffix) || text.len > 0)
            return UP_PART_WHOLE;
        if (suffix == 0)
            return UP_PART_NO_RANGE;
        if (body_len == 0)
            return UP_PART_WHOLE;
        *ret_first = suffix < body_len ? body_len - suffix : 0;
        *ret_len = body_len - *ret_first;
        return UP_PART_RANGE;
    }
    if (!take_position(&text, &first) || !take_char(&text, '-') ||
        (text.len > 0 && (!take_position(&text, &last) || text.len > 0)) || last < first)
        return UP_PART_WHOLE;
    if (first >= body_len)
        return UP_PART_NO_RANGE;
    last = last < body_len ? last : body_len - 1;
    *ret_first = first;
    *ret_len = last - first + 1;
    return UP_PART_RANGE;
}

enum up_part up_part_of(const struct up_asked *asked, const struct up_kept *kept,
                        struct ps_str etag, uint64_t body_len, uint64_t *ret_first,
                        uint64_t *ret_len)
{
    *ret_first = 0;
    *ret_len = body_len;
    if (kept->status != 200) /* RFC 9110, 13.2.1 */
        return UP_PART_WHOLE;
    if (is_unmodified(asked, kept, etag))
        return UP_PART_NOT_MODIFIED;
    if (asked->range.at == NULL || !asked->is_get || !if_range_holds(asked, kept, etag))
        return UP_PART_WHOLE;
    return read_range(asked->range, body_len, ret_first, ret_len);
}

/* --- The rest. --- */

bool up_invalidates(enum ps_http_method method, int status)
{
    return method != PS_HTTP_GET && method != PS_HTTP_HEAD && method != PS_HTTP_OPTIONS &&
           status >= 200 && status < 400;
}

void up_cache_status_put(const struct up_cache_status *status, struct ps_buf *buf)
{
    static const char *const words[] = {"hit", "fwd=miss", "fwd=stale", "fwd=request",
                                        "fwd=bypass"};
    ps_buf_puts(buf, "penstock; ");
    ps_buf_puts(buf, words[status->fwd]);
    if (status->fwd_status != 0) {
        ps_buf_puts(buf, "; fwd-status=");
        ps_buf_put_int(buf, status->fwd_status);
    }
    if (status->stored)
        ps_buf_puts(buf, "; stored");
    if (status->collapsed)
        ps_buf_puts(buf, "; collapsed");
    if (status->has_ttl) {
        ps_buf_puts(buf, "; ttl=");
        ps_buf_put_int(buf, status->ttl_s);
    }
}
