/* Fills a template by walking its text once for each time that it is shown. */
#include "loadtest/template.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *lt_count(int64_t count, char text[LT_COUNT_LEN + 1])
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%lld", (long long)count);
    int at = 0;
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0 && digits[i - 1] != '-')
            text[at++] = ',';
        text[at++] = digits[i];
    }
    text[at] = '\0';
    return text;
}

#define NUMBER_SIZE 64

struct fill {
    bool html;
    FILE *out;
};

struct scope {
    const json_t *value;
    const struct scope *outer;
};

/* The value of a name; NULL: absent. */
static const json_t *find_value(const struct scope *scope, const char *name, size_t len)
{
    if (len == 1 && name[0] == '.')
        return scope->value;
    char member[64];
    const json_t *value = NULL;
    for (size_t at = 0, end; at < len; at = end + 1) {
        const char *dot = memchr(name + at, '.', len - at);
        end = dot != NULL ? (size_t)(dot - name) : len;
        (void)snprintf(member, sizeof member, "%.*s", (int)(end - at), name + at);
        if (at > 0)
            value = json_object_get(value, member);
        for (; at == 0 && scope != NULL && value == NULL; scope = scope->outer)
            value = json_object_get(scope->value, member);
    }
    return value;
}

static void put_escaped(const char *text, FILE *out)
{
    for (; *text != '\0'; text++) {
        const char *entity = *text == '<'   ? "&lt;"
                             : *text == '>' ? "&gt;"
                             : *text == '&' ? "&amp;"
                             : *text == '"' ? "&quot;"
                                            : NULL;
        if (entity != NULL)
            fputs(entity, out);
        else
            fputc(*text, out);
    }
}

static void print_number(const json_t *value, char format, char text[NUMBER_SIZE])
{
    double number = json_number_value(value);
    static const struct {
        const char *name;
        double ms;
    } units[] = {{" h", 3600000}, {" min", 60000}, {" s", 1000}, {" ms", 1}};
    const char *unit = "";
    if (format == '~') { /* in minutes from ten minutes on, in hours from three hours on */
        size_t i = number >= 1.08e7 ? 0 : number >= 600000 ? 1 : number >= 999.5 ? 2 : 3;
        unit = units[i].name;
        number /= units[i].ms;
    }
    if (format == '&')
        (void)snprintf(text, NUMBER_SIZE, "%.17g", number);
    else if (json_is_integer(value) && format != '~')
        (void)lt_count(json_integer_value(value), text);
    else if (fabs(number) < 999.5)
        (void)snprintf(text, NUMBER_SIZE, "%.3g%s", number, unit);
    else
        (void)snprintf(text, NUMBER_SIZE, "%s%s", LT_COUNT(llround(number)), unit);
}

/* What stands between the braces of a tag. */
struct tag {
    char kind; /* one of "#^/&~", or anything else */
    int width; /* below 0: to the left */
    const char *name;
    size_t name_len;
};

static void put_value(const struct tag *tag, const struct scope *scope, const struct fill *fill)
{
    const json_t *value = find_value(scope, tag->name, tag->name_len);
    char number[NUMBER_SIZE];
    assert(json_is_string(value) || json_is_number(value));
    if (json_is_number(value))
        print_number(value, tag->kind, number);
    const char *text = json_is_string(value) ? json_string_value(value) : number;
    if (fill->html)
        put_escaped(text, fill->out);
    else
        fprintf(fill->out, "%*s", tag->width, text);
}

/* Reads the tag at `text`; returns the text behind it. */
static const char *read_tag(const char *text, struct tag *ret_tag)
{
    const char *close = strstr(text, "}}");
    assert(close != NULL);
    char *name;
    text += strlen("{{");
    ret_tag->kind = *text;
    text += strchr("#^/&~", *text) != NULL;
    ret_tag->width = (int)strtol(text, &name, 10);
    ret_tag->name = name + (*name == ' ');
    ret_tag->name_len = (size_t)(close - ret_tag->name);
    return close + strlen("}}");
}

static bool is_shown(const json_t *value)
{
    return json_is_object(value) || json_is_true(value) || json_array_size(value) > 0 ||
           json_string_length(value) > 0 || json_number_value(value) != 0;
}

/* Fills up to the end of the section or of the text; returns the rest. `fill` NULL: only skips. */
static const char *fill_section(const char *text, const struct scope *scope,
                                const struct fill *fill)
{
    const char *open;
    while ((open = strstr(text, "{{")) != NULL) {
        if (fill != NULL)
            fwrite(text, 1, (size_t)(open - text), fill->out);
        struct tag tag;
        text = read_tag(open, &tag);
        if (tag.kind == '/')
            return text;
        if (tag.kind != '#' && tag.kind != '^') {
            if (fill != NULL)
                put_value(&tag, scope, fill);
            continue;
        }
        const json_t *value = fill != NULL ? find_value(scope, tag.name, tag.name_len) : NULL;
        const char *body = text;
        size_t times = json_is_array(value) && tag.kind == '#' ? json_array_size(value) : 1;
        bool skipped = fill == NULL || is_shown(value) != (tag.kind == '#');
        for (size_t i = 0; i < (skipped ? 1 : times); i++) {
            const json_t *each = json_is_array(value) ? json_array_get(value, i) : value;
            struct scope inner = {each, scope};
            text = fill_section(body, &inner, skipped ? NULL : fill);
        }
    }
    if (fill != NULL)
        fputs(text, fill->out);
    return text + strlen(text);
}

void lt_template_fill(const char *text, const json_t *data, bool html, FILE *out)
{
    struct scope scope = {data, NULL};
    struct fill fill = {html, out};
    (void)fill_section(text, &scope, &fill);
}
