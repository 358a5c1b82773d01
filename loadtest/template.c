/* Fills a template by walking its text once for each time that it is shown. */
#include "loadtest/template.h"

#include "loadtest/words.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

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

static void put_number(double number, FILE *out)
{
    if (fabs(number) < 999.5)
        fprintf(out, "%.3g", number);
    else
        fputs(LT_COUNT(llround(number)), out);
}

static void put_value(const json_t *value, char format, FILE *out)
{
    assert(value != NULL);
    double number = json_number_value(value);
    if (format == '&')
        fprintf(out, "%.17g", number);
    else if (format == '~' && number < 999.5)
        fprintf(out, "%.3g ms", number);
    else if (format == '~')
        put_number(number / 1000, out), fputs(" s", out);
    else if (json_is_string(value))
        put_escaped(json_string_value(value), out);
    else if (json_is_integer(value))
        fputs(LT_COUNT(json_integer_value(value)), out);
    else
        put_number(number, out);
}

static bool is_shown(const json_t *value)
{
    return json_is_object(value) || json_is_true(value) || json_array_size(value) > 0 ||
           json_number_value(value) != 0;
}

/* Fills up to the end of the section, or of the text; what follows. `out` NULL: only skips. */
static const char *fill_section(const char *text, const struct scope *scope, FILE *out)
{
    const char *tag;
    while ((tag = strstr(text, "{{")) != NULL) {
        if (out != NULL)
            fwrite(text, 1, (size_t)(tag - text), out);
        const char *name = tag + 2 + (strchr("#^/&~", tag[2]) != NULL);
        const char *close = strstr(name, "}}");
        assert(close != NULL);
        text = close + 2;
        if (tag[2] == '/')
            return text;
        const json_t *value = out != NULL ? find_value(scope, name, (size_t)(close - name)) : NULL;
        const char *body = text;
        if (tag[2] != '#' && tag[2] != '^') {
            if (out != NULL)
                put_value(value, tag[2], out);
        } else if (out == NULL || is_shown(value) != (tag[2] == '#')) {
            text = fill_section(body, scope, NULL);
        } else if (json_is_array(value)) {
            for (size_t i = 0; i < json_array_size(value); i++) {
                struct scope inner = {json_array_get(value, i), scope};
                text = fill_section(body, &inner, out);
            }
        } else {
            struct scope inner = {value, scope};
            text = fill_section(body, &inner, out);
        }
    }
    if (out != NULL)
        fputs(text, out);
    return text + strlen(text);
}

void lt_template_fill(const char *text, const json_t *data, FILE *out)
{
    struct scope scope = {data, NULL};
    (void)fill_section(text, &scope, out);
}
