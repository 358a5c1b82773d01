/* See part.h. */
#include "gateway/config/kinds/part.h"

#include "common/text/charset.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void cfg_part_begin(struct cfg_part *part, const json_t *json, const struct cfg_reading *reading,
                    struct ps_faults *faults, struct cfg_reading_state *state)
{
    *state = (struct cfg_reading_state){faults, reading->bounds, faults->count, false};
    part->of = state;
    (void)snprintf(part->pointer, sizeof part->pointer, "%s", reading->pointer);
    ps_json_reader_init_all(&part->json, json, part->pointer, faults);
}

int cfg_part_end(struct cfg_part *part)
{
    const struct cfg_reading_state *state = part->of;

    cfg_part_close(part);
    if (state->no_memory)
        return PS_E_NOMEM;
    return state->faults->count > state->before ? PS_E_INVALID : 0;
}

static void open_part(struct cfg_part *outer, const json_t *json, const char *place,
                      struct cfg_part *ret_part)
{
    ret_part->of = outer->of;
    (void)snprintf(ret_part->pointer, sizeof ret_part->pointer, "%.126s/%.63s", outer->pointer,
                   place);
    ps_json_reader_init_all(&ret_part->json, json, ret_part->pointer, outer->of->faults);
}

bool cfg_part_open(struct cfg_part *outer, const char *member, struct cfg_part *ret_part)
{
    const json_t *json = ps_json_value(&outer->json, member);

    if (json == NULL || json_is_null(json))
        return false;
    open_part(outer, json, member, ret_part);
    return true;
}

void cfg_part_open_at(struct cfg_part *outer, const json_t *json, const char *member, size_t index,
                      struct cfg_part *ret_part)
{
    char place[64];

    (void)snprintf(place, sizeof place, "%s/%zu", member, index);
    open_part(outer, json, place, ret_part);
}

void cfg_part_close(struct cfg_part *part)
{
    (void)!ps_json_done(&part->json); /* its faults are counted */
}

void cfg_part_fault(struct cfg_part *part, const char *place, const char *fmt, ...)
{
    char path[sizeof part->pointer], text[256];
    va_list args;

    (void)snprintf(path, sizeof path, "%.126s/%.63s", part->pointer, place);
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    (void)ps_faults_add(part->of->faults, PS_E_INVALID, path, "%s", text);
}

bool cfg_part_has(struct cfg_part *part, const char *member)
{
    const json_t *json = ps_json_value(&part->json, member);

    return json != NULL && !json_is_null(json);
}

size_t cfg_part_array(struct cfg_part *part, const char *member, size_t max,
                      const json_t **ret_array)
{
    const json_t *json = ps_json_value(&part->json, member);

    if (json == NULL)
        return 0;
    if (!json_is_array(json)) {
        ps_json_fault(&part->json, member, "must be an array");
        return 0;
    }
    if (json_array_size(json) > max) {
        ps_json_fault(&part->json, member, "must have at most %zu elements", max);
        return 0;
    }
    *ret_array = json;
    return json_array_size(json);
}

void *cfg_part_room(struct cfg_part *part, size_t count, size_t size)
{
    void *room = count > 0 ? calloc(count, size) : NULL;

    part->of->no_memory |= count > 0 && room == NULL;
    return room;
}

void cfg_part_count(struct cfg_part *part, const char *member, unsigned min, unsigned max,
                    unsigned *ret)
{
    int64_t number = *ret;

    ps_json_int(&part->json, member, min, max, &number);
    *ret = (unsigned)number;
}

char *cfg_part_copy(struct cfg_part *part, const char *text, size_t len)
{
    char *copy = strndup(text, len);

    part->of->no_memory |= copy == NULL;
    return copy;
}

char *cfg_part_text(struct cfg_part *part, const char *member, size_t max)
{
    struct ps_str text = {0};

    if (cfg_part_has(part, member))
        ps_json_string(&part->json, member, max, &text);
    return text.at != NULL ? cfg_part_copy(part, text.at, text.len) : NULL;
}

void cfg_part_name(struct cfg_part *part, const char *member, char ret_name[PS_NAME_MAX + 1])
{
    struct ps_str text = {0};

    if (!cfg_part_has(part, member))
        return;
    ps_json_string(&part->json, member, SIZE_MAX, &text);
    if (text.at == NULL)
        return;
    if (!ps_name_ok(text.at, text.len)) {
        ps_json_fault(&part->json, member, "must be a name: [A-Za-z0-9][A-Za-z0-9._-]{0,63}");
        return;
    }
    memcpy(ret_name, text.at, text.len);
    ret_name[text.len] = '\0';
}

void cfg_part_share(struct cfg_part *part, const char *member, uint32_t *ret_per_mille)
{
    double share = *ret_per_mille / 1000.0, rest;

    ps_json_number(&part->json, member, 0, 1, &share);
    uint32_t per_mille = (uint32_t)(share * 1000 + 0.5);
    rest = share * 1000 - per_mille;
    if (rest > 1e-6 || rest < -1e-6)
        ps_json_fault(&part->json, member, "must be in steps of 0.001");
    else
        *ret_per_mille = per_mille;
}

/* --- Rules of texts. --- */

int cfg_plain_name(const char *text, size_t len, char ret_name[CFG_NAME_MAX + 1])
{
    if (!ps_name_ok(text, len))
        return PS_E_INVALID;
    memcpy(ret_name, text, len);
    ret_name[len] = '\0';
    return 0;
}

bool cfg_is_host(const char *text)
{
    size_t len = strlen(text);
    bool literal = text[0] == '[' && text[len - 1] == ']';

    return len <= 253 && ps_http_is_authority((struct ps_str){text, len}) &&
           (literal || strchr(text, ':') == NULL) && strchr(text, '%') == NULL;
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

bool cfg_is_inside(const char *text)
{
    return text[0] != '/' && text[0] != '\0' && !begins_with_dots(text) && has_path_text(text);
}

json_t *cfg_text_json(const char *text)
{
    return text != NULL && text[0] != '\0' ? json_string(text) : json_null();
}

json_t *cfg_share_json(uint32_t per_mille)
{
    return ps_json_of_number(per_mille / 1000.0);
}
