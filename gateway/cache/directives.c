/* See directives.h. */
#include "gateway/cache/directives.h"
#include "common/text/charset.h"
#include "common/clock.h"

#include <string.h>

static const struct ps_charset digits = {{PS_DIGITS}};
static const struct ps_charset token_chars = {
    {PS_DIGITS, PS_LETTERS, ['!'] = true, ['#'] = true, ['$'] = true, ['%'] = true, ['&'] = true,
     ['\''] = true, ['*'] = true, ['+'] = true, ['-'] = true, ['.'] = true, ['^'] = true,
     ['_'] = true, ['`'] = true, ['|'] = true, ['~'] = true}};

/* --- Texts. --- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static void skip_space(struct ps_str *rest)
{
    while (rest->len > 0 && is_space(rest->at[0]))
        cache_skip(rest, 1);
}

static struct ps_str take_span(struct ps_str *rest, const struct ps_charset *set)
{
    struct ps_str span = {rest->at, ps_charset_span(set, rest->at, rest->len)};
    cache_skip(rest, span.len);
    return span;
}

/* The next element of a list, up to a comma outside quotes, without white space around it. False:
 * there are no more. An empty element counts. */
bool cache_take_element(struct ps_str *rest, struct ps_str *ret_element)
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
        cache_skip(rest, at + 1);
    else
        rest->at = NULL;
    *ret_element = ps_http_trim(element);
    return true;
}

bool cache_lists(struct cache_message message, const char *name, struct ps_str wanted)
{
    struct ps_str line, element;
    for (uint32_t at = 0; cache_next_line(message, name, &at, &line);) {
        while (cache_take_element(&line, &element)) {
            if (ps_http_same_text(element, wanted))
                return true;
        }
    }
    return false;
}

bool cache_take_word(struct ps_str *rest, struct ps_str *ret_word)
{
    skip_space(rest);
    *ret_word = (struct ps_str){rest->at, 0};
    while (ret_word->len < rest->len && !is_space(rest->at[ret_word->len]))
        ret_word->len++;
    cache_skip(rest, ret_word->len);
    return ret_word->len > 0;
}

bool cache_take_number(struct ps_str *rest, uint64_t *ret_value)
{
    struct ps_str span = take_span(rest, &digits);
    uint64_t value = 0;
    for (size_t i = 0; i < span.len; i++)
        value = value * 10 + (uint64_t)(span.at[i] - '0');
    *ret_value = value;
    return span.len > 0 && span.len <= 18;
}

int64_t cache_date_read(struct ps_str text, int64_t now_ms)
{
    int64_t date_ms;
    if (text.at == NULL || ps_http_date_parse(text.at, text.len, now_ms, &date_ms) != 0)
        return INT64_MIN;
    return date_ms;
}

bool cache_is_etag(struct ps_str text)
{
    if (text.at != NULL && cache_is_weak(text))
        cache_skip(&text, 2);
    return text.at != NULL && text.len >= 2 && text.at[0] == '"' &&
           memchr(text.at + 1, '"', text.len - 1) == text.at + text.len - 1;
}

/* The next line of one field. */
bool cache_next_line(struct cache_message message, const char *name, uint32_t *at,
                     struct ps_str *ret_value)
{
    while (*at < message.head->field_count) {
        const struct ps_http_field *field = &message.head->fields[(*at)++];
        if (ps_http_is_text(ps_http_text(message.data, field->name), name)) {
            *ret_value = ps_http_text(message.data, field->value);
            return true;
        }
    }
    return false;
}

/* --- Directives. --- */

static const struct cache_directives no_directives = {.max_age = CACHE_DELTA_NONE,
                                                      .s_maxage = CACHE_DELTA_NONE,
                                                      .while_revalidate = CACHE_DELTA_NONE,
                                                      .if_error = CACHE_DELTA_NONE,
                                                      .min_fresh = CACHE_DELTA_NONE,
                                                      .max_stale = CACHE_DELTA_NONE};

/* 1*DIGIT; a number that does not fit becomes the largest. */
int64_t cache_delta_read(struct ps_str text)
{
    int64_t value = 0;
    if (text.len == 0 || ps_charset_span(&digits, text.at, text.len) != text.len)
        return CACHE_DELTA_INVALID;
    for (size_t i = 0; i < text.len && value < CACHE_DELTA_MAX; i++)
        value = value * 10 + (text.at[i] - '0');
    return value < CACHE_DELTA_MAX ? value : CACHE_DELTA_MAX;
}

static bool *flag_of(struct cache_directives *directives, struct ps_str name)
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
        if (ps_http_is_text(name, flags[i].name))
            return flags[i].flag;
    }
    return NULL;
}

static int64_t *delta_of(struct cache_directives *directives, struct ps_str name)
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
        if (ps_http_is_text(name, deltas[i].name))
            return deltas[i].delta;
    }
    return NULL;
}

/* `value.at` NULL: there is none. A second value that is not the first one is invalid (4.2.1). */
static void add_delta(int64_t *delta, struct ps_str value)
{
    int64_t is = value.at == NULL ? CACHE_DELTA_INVALID : cache_delta_read(value);
    *delta = *delta == CACHE_DELTA_NONE || *delta == is ? is : CACHE_DELTA_INVALID;
}

/* Section 5.2: token [ "=" ( token / quoted-string ) ]. Of a malformed directive that is known, a
 * number is invalid and a flag is set. */
static void add_directive(struct cache_directives *directives, struct ps_str element)
{
    struct ps_str name = take_span(&element, &token_chars), value = {NULL, 0};
    if (element.len > 0 && element.at[0] == '=') {
        cache_skip(&element, 1);
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

struct cache_directives cache_directives_read(struct cache_message message)
{
    struct cache_directives directives = no_directives;
    struct ps_str line, element;
    for (uint32_t at = 0; cache_next_line(message, "Cache-Control", &at, &line);) {
        directives.present = true;
        while (cache_take_element(&line, &element))
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

static bool take_key(struct ps_str *rest, struct ps_str *ret_key)
{
    if (rest->len == 0 || !((rest->at[0] >= 'a' && rest->at[0] <= 'z') || rest->at[0] == '*'))
        return false;
    *ret_key = take_span(rest, &key_chars);
    return true;
}

static enum item take_sf_number(struct ps_str *rest, struct ps_str *ret_digits)
{
    bool negative = cache_take_char(rest, '-');
    *ret_digits = take_span(rest, &digits);
    if (ret_digits->len == 0 || ret_digits->len > 15)
        return ITEM_NONE;
    if (!cache_take_char(rest, '.'))
        return negative ? ITEM_OTHER : ITEM_INTEGER;
    size_t fraction = take_span(rest, &digits).len;
    return fraction >= 1 && fraction <= 3 && ret_digits->len <= 12 ? ITEM_OTHER : ITEM_NONE;
}

static enum item take_sf_string(struct ps_str *rest)
{
    for (size_t i = 1; i < rest->len; i++) {
        char c = rest->at[i];
        if (c == '"') {
            cache_skip(rest, i + 1);
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
        cache_skip(rest, 1);
        if (cache_take_char(rest, '1'))
            return ITEM_TRUE;
        return cache_take_char(rest, '0') ? ITEM_OTHER : ITEM_NONE;
    }
    if (c == ':') {
        cache_skip(rest, 1);
        take_span(rest, &base64_chars);
        return cache_take_char(rest, ':') ? ITEM_OTHER : ITEM_NONE;
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
    while (cache_take_char(rest, ';')) {
        while (cache_take_char(rest, ' '))
            ;
        if (!take_key(rest, &key) ||
            (cache_take_char(rest, '=') && take_bare_item(rest, &number) == ITEM_NONE))
            return false;
    }
    return true;
}

static enum item take_member_value(struct ps_str *rest, struct ps_str *ret_digits)
{
    struct ps_str number;
    if (!cache_take_char(rest, '('))
        return take_bare_item(rest, ret_digits);
    for (;;) {
        while (cache_take_char(rest, ' '))
            ;
        if (cache_take_char(rest, ')'))
            return ITEM_OTHER;
        if (take_bare_item(rest, &number) == ITEM_NONE || !take_parameters(rest) ||
            rest->len == 0 || (rest->at[0] != ' ' && rest->at[0] != ')'))
            return ITEM_NONE;
    }
}

/* A directive whose value has the wrong type makes the field invalid (RFC 9213, 2.1). */
static bool take_member(struct cache_directives *directives, struct ps_str *rest)
{
    struct ps_str key, number = {NULL, 0};
    enum item item = ITEM_TRUE;
    if (!take_key(rest, &key) ||
        (cache_take_char(rest, '=') && (item = take_member_value(rest, &number)) == ITEM_NONE) ||
        !take_parameters(rest))
        return false;
    bool *flag = flag_of(directives, key);
    int64_t *delta = delta_of(directives, key);
    if (flag != NULL) /* `private="name"` counts as private */
        *flag = true;
    if (delta != NULL && item != ITEM_INTEGER)
        return false;
    if (delta != NULL)
        *delta = cache_delta_read(number);
    return true;
}

/* False: the field is missing, empty or invalid, and Cache-Control counts. */
bool cache_directives_targeted(struct cache_message message,
                               struct cache_directives *ret_directives)
{
    struct cache_directives directives = no_directives;
    struct ps_str line;
    for (uint32_t at = 0; cache_next_line(message, "CDN-Cache-Control", &at, &line);) {
        while (line.len > 0) {
            if (!take_member(&directives, &line))
                return false;
            directives.present = true;
            skip_space(&line);
            if (line.len == 0)
                break;
            if (!cache_take_char(&line, ','))
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
