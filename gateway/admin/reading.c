/* Reads queries and the bodies that many routes share. Errors are answered with 422. */
#include "gateway/admin/admin_internal.h"

#include "common/text/duration.h"

#include <stdlib.h>
#include <string.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int op_decode(struct ps_str text, char *ret_text, size_t cap, size_t *ret_len)
{
    size_t len = 0;

    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        if (c == '%') {
            int high = i + 2 < text.len ? hex_digit(text.at[i + 1]) : -1;
            int low = high >= 0 ? hex_digit(text.at[i + 2]) : -1;
            if (low < 0)
                return PS_E_INVALID;
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (c == '\0' || len + 1 == cap)
            return PS_E_INVALID;
        ret_text[len++] = c;
    }
    ret_text[len] = '\0';
    *ret_len = len;
    return 0;
}

/* A parameter of seconds may be a text (duration.h), as members are. */
static bool number_ok(const char *text, const struct op_param *param)
{
    size_t len = strlen(param->name);
    bool in_seconds = len > 2 && strcmp(param->name + len - 2, "_s") == 0;
    int64_t number;
    char none = '\0', *end = &none;

    if (text[0] < '0' || text[0] > '9' || strlen(text) > 16)
        return false;
    if (!in_seconds || ps_duration_read(text, strlen(text), &number) < 0)
        number = strtoll(text, &end, 10);
    if (*end != '\0' || number < param->min || number > param->max)
        return false;
    *param->number = number;
    return true;
}

/* False: answered. */
static bool take_param(struct op_request *request, const struct op_param *param,
                       struct ps_str value)
{
    char text[32];
    size_t len;

    if (param->flag != NULL) {
        *param->flag = true;
        return true;
    }
    if (param->text != NULL) {
        if (op_decode(value, param->text, param->cap, &len) == 0 && len > 0)
            return true;
        op_no(request, ANS_V_invalid, "query parameter \"%s\": at most %zu bytes, percent-encoded",
              param->name, param->cap - 1);
        return false;
    }
    if (op_decode(value, text, sizeof text, &len) == 0 && number_ok(text, param))
        return true;
    op_no(request, ANS_V_invalid, "query parameter \"%s\": a whole number from %lld to %lld",
          param->name, (long long)param->min, (long long)param->max);
    return false;
}

static bool unknown_param(struct op_request *request, const struct op_param *params, size_t count,
                          struct ps_str name)
{
    const char *words[8] = {NULL};
    char text[64];
    size_t len;

    for (size_t i = 0; i < count; i++)
        words[i] = params[i].name;
    if (op_decode(name, text, sizeof text, &len) < 0)
        text[0] = '\0';
    const char *nearest = ps_nearest_word(text, words);
    op_no(request, ANS_V_invalid, "unknown query parameter \"%s\"%s%s%s", text,
          nearest ? "; did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
    return false;
}

bool op_query_word(struct op_request *request, const char *param, const char *text,
                   const char *const *words, const char *note, int *ret_index)
{
    const char *nearest = ps_nearest_word(text, words);
    char list[128];
    struct ps_buf buf;

    ps_buf_init(&buf, list, sizeof list - 1);
    for (int i = 0; words[i] != NULL; i++) {
        if (strcmp(text, words[i]) == 0) {
            *ret_index = i;
            return true;
        }
        ps_buf_puts(&buf, i > 0 ? ", " : "");
        ps_buf_puts(&buf, words[i]);
    }
    list[buf.len] = '\0';
    op_no(request, ANS_V_invalid, "query parameter \"%s\": must be one of %s%s%s%s%s", param, list,
          note, nearest != NULL ? "; did you mean \"" : "", nearest != NULL ? nearest : "",
          nearest != NULL ? "\"?" : "");
    return false;
}

bool op_query(struct op_request *request, const struct op_param *params, size_t count)
{
    struct ps_str query = request->http->query;
    const char *at = query.at, *end = query.at + query.len;
    unsigned seen = 0;

    for (size_t i = 0; i < count; i++)
        if (params[i].text != NULL)
            params[i].text[0] = '\0';
    while (at < end) {
        const char *stop = memchr(at, '&', (size_t)(end - at));
        stop = stop != NULL ? stop : end;
        const char *equals = memchr(at, '=', (size_t)(stop - at));
        struct ps_str name = {at, (size_t)((equals != NULL ? equals : stop) - at)};
        struct ps_str value = {equals != NULL ? equals + 1 : stop, 0};
        value.len = (size_t)(stop - value.at);
        at = stop < end ? stop + 1 : end;
        if (name.len == 0 && value.len == 0)
            continue;
        size_t i = 0;
        while (i < count && !ps_str_is(name, params[i].name))
            i++;
        if (i == count)
            return unknown_param(request, params, count, name);
        if ((seen & 1u << i) != 0) {
            op_no(request, ANS_V_invalid, "query parameter \"%s\" twice", params[i].name);
            return false;
        }
        seen |= 1u << i;
        if (!take_param(request, &params[i], value))
            return false;
    }
    return true;
}

bool op_only_reason(struct op_request *request)
{
    struct ps_json_reader reader;
    struct ps_fault fault = {0};

    if (request->body == NULL)
        return true;
    ps_json_reader_init(&reader, request->body, "", &fault);
    (void)ps_json_has(&reader, "reason"); /* already removed; listed here as a known member */
    if (ps_json_done(&reader) == 0)
        return true;
    op_fault(request, ANS_V_invalid, &fault);
    return false;
}
