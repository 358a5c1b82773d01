/* Each range is compared once: the type itself, then its first
 * half with a star, then two stars. Parameters other than
 * `q` and `version` are ignored. */
#include "common/http/accept.h"

#include "common/http/head.h"

#include <string.h>

#define WHOLE 1000

/* qvalue = ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] ). -1: malformed. */
static int read_weight(struct ps_str text)
{
    int weight = 0, unit = WHOLE;

    if (text.len == 0 || text.len > 5 || (text.at[0] != '0' && text.at[0] != '1') ||
        (text.len > 1 && text.at[1] != '.'))
        return -1;
    for (size_t i = 0; i < text.len; i++) {
        if (i == 1)
            continue;
        if (text.at[i] < '0' || text.at[i] > '9')
            return -1;
        weight += (text.at[i] - '0') * unit;
        unit /= 10;
    }
    return weight <= WHOLE ? weight : -1;
}

/* Cuts what stands before `mark` off the text; all of it if there is none. */
static struct ps_str cut(struct ps_str *text, char mark)
{
    const char *end = text->len > 0 ? memchr(text->at, mark, text->len) : NULL;
    size_t len = end != NULL ? (size_t)(end - text->at) : text->len;
    struct ps_str before = {text->at, len};

    *text = end != NULL ? (struct ps_str){end + 1, text->len - len - 1}
                        : (struct ps_str){text->at + text->len, 0};
    return ps_http_trim(before);
}

/* 3: the range is the type; 2: its first half; 1: everything; 0: another one. */
static int fit_of(struct ps_str range, const char *type)
{
    size_t half = (size_t)(strchr(type, '/') - type) + 1;

    if (ps_http_is_text(range, type))
        return 3;
    if (range.len == half + 1 && range.at[half] == '*' && strncasecmp(range.at, type, half) == 0)
        return 2;
    return ps_http_is_text(range, "*/*") ? 1 : 0;
}

/* Weight and fit of one range. */
static int judge(struct ps_str element, const char *type, const char *version, int *ret_weight)
{
    int fit = fit_of(cut(&element, ';'), type);

    *ret_weight = WHOLE;
    while (element.len > 0) {
        struct ps_str value = cut(&element, ';'), name = cut(&value, '=');
        value = ps_http_trim(value);
        if (value.len >= 2 && value.at[0] == '"' && value.at[value.len - 1] == '"')
            value = (struct ps_str){value.at + 1, value.len - 2};
        if (ps_http_is_text(name, "q"))
            *ret_weight = read_weight(value);
        else if (ps_http_is_text(name, "version") && !ps_str_is(value, version))
            fit = 0;
    }
    return *ret_weight >= 0 ? fit : 0;
}

int ps_http_quality(struct ps_str accept, const char *type, const char *version, bool *ret_named)
{
    int best = 0, quality = accept.at == NULL ? WHOLE : 0, weight;
    struct ps_str element;

    while (accept.at != NULL && ps_http_take_element(&accept, &element)) {
        int fit = judge(element, type, version, &weight);
        if (fit > best || (fit > 0 && fit == best && weight > quality)) {
            best = fit;
            quality = weight;
        }
    }
    if (ret_named != NULL)
        *ret_named = best == 3;
    return quality;
}
