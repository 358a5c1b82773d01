/* See formats.h. */
#include "gateway/config/kinds/formats.h"

#include "common/text/charset.h"

#include <string.h>

int cfg_plain_name(const char *text, size_t len, char ret_name[CFG_NAME_MAX + 1])
{
    if (!ps_name_ok(text, len))
        return PS_E_INVALID;
    memcpy(ret_name, text, len);
    ret_name[len] = '\0';
    return 0;
}

static bool is_host(const char *text, size_t len)
{
    bool literal = len > 0 && text[0] == '[' && text[len - 1] == ']';

    return len <= 253 && ps_http_is_authority((struct ps_str){text, len}) &&
           (literal || strchr(text, ':') == NULL) && strchr(text, '%') == NULL;
}

static bool is_field_name(const char *text, size_t len)
{
    return ps_http_is_token((struct ps_str){text, len});
}

static bool is_field_value(const char *text, size_t len)
{
    (void)len;
    return cfg_is_field_value(text);
}

bool cfg_is_field_value(const char *text)
{
    size_t len = strlen(text);

    for (size_t i = 0; i < len; i++)
        if (((unsigned char)text[i] < 0x20 && text[i] != '\t') || text[i] == 0x7f)
            return false;
    return len == 0 || (strchr(" \t", text[0]) == NULL && strchr(" \t", text[len - 1]) == NULL);
}

bool cfg_is_visible(const char *text)
{
    for (; *text != '\0'; text++)
        if (*text <= ' ' || *text >= 0x7f)
            return false;
    return true;
}

/* pchar and "/" of RFC 3986, section 3.3, without "%". */
static const struct ps_charset path_chars = {{
    PS_DIGITS,    PS_LETTERS,   ['-'] = true, ['.'] = true, ['_'] = true,
    ['~'] = true, ['!'] = true, ['$'] = true, ['&'] = true, ['('] = true,
    [')'] = true, ['*'] = true, ['+'] = true, [','] = true, [';'] = true,
    ['='] = true, [':'] = true, ['@'] = true, ['/'] = true, ['\''] = true,
}};
static const char hex_digits[] = "0123456789abcdefABCDEF";

/* "." and ".." */
static bool begins_with_dots(const char *segment)
{
    size_t dots = strspn(segment, ".");

    return dots > 0 && dots <= 2 && (segment[dots] == '/' || segment[dots] == '\0');
}

static bool has_path_text(const char *text)
{
    for (const char *at = text; *at != '\0'; at++) {
        if (at[0] == '/' && begins_with_dots(at + 1))
            return false;
        if (*at == '%') {
            if (strspn(at + 1, hex_digits) < 2 || strncmp(at, "%00", 3) == 0)
                return false;
        } else if (!ps_charset_has(&path_chars, *at)) {
            return false;
        }
    }
    return true;
}

bool cfg_is_path(const char *text)
{
    return text[0] == '/' && has_path_text(text);
}

static bool is_inside(const char *text, size_t len)
{
    (void)len;
    return text[0] != '/' && text[0] != '\0' && !begins_with_dots(text) && has_path_text(text);
}

const struct ps_format cfg_format_host = {
    .rule = {"a host name or an address without a port, IPv6 in brackets",
             "不带端口的主机名或地址，IPv6 加方括号"},
    .is_ok = is_host};
const struct ps_format cfg_format_field_name = {.rule = {"the name of a header field", "头字段名"},
                                                .pattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
                                                .is_ok = is_field_name};
const struct ps_format cfg_format_field_value = {
    .rule = {"a text without control bytes, and without white space around it",
             "不含控制字节且首尾无空白的文本"},
    .is_ok = is_field_value};
const struct ps_format cfg_format_inside = {
    .rule = {"a file inside the directory that the setting names, such as web.json",
             "设置所指目录内的文件，例如 web.json"},
    .is_ok = is_inside};
