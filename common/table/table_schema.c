/* What a table's object may be: in words, and as JSON Schema 2020-12. See table.h. */
#include "common/table/table_internal.h"

#include "common/text/buf.h"
#include "common/text/duration.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* --- In words. --- */

static void join_words(const char *const *words, struct ps_buf *buf)
{
    for (size_t i = 0; words[i] != NULL; i++) {
        ps_buf_puts(buf, i == 0 ? "" : ", ");
        ps_buf_puts(buf, words[i]);
    }
}

static void PS_PRINTF(2, 3) put(struct ps_buf *buf, const char *fmt, ...)
{
    char text[240];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    ps_buf_puts(buf, text);
}

static bool has_bounds(const struct ps_member *member)
{
    return member->min != 0 || member->max != 0;
}

static void describe_number(const struct ps_member *member, enum ps_language language,
                            struct ps_buf *buf)
{
    static const char *const whole[] = {"a whole number", "整数"};
    static const char *const any[] = {"a number", "数"};
    const char *unit = member->unit[language] != NULL ? member->unit[language]
                       : member->unit[0] != NULL      ? member->unit[0]
                                                      : "";
    const char *gap = *unit != '\0' ? " " : "";

    ps_buf_puts(buf, (member->type == PS_M_INT ? whole : any)[language]);
    if (has_bounds(member))
        put(buf, language == PS_CHINESE ? "，%.16g 至 %.16g%s%s" : " between %.16g and %.16g%s%s",
            member->min, member->max, gap, unit);
    else if (*unit != '\0')
        put(buf, language == PS_CHINESE ? "，单位 %s" : " of %s", unit);
    if (ps_member_is_duration(member))
        ps_buf_puts(buf, language == PS_CHINESE ? "，或如 \"10m\" 的文本"
                                                : ", or a text such as \"10m\"");
}

static void describe_string(const struct ps_member *member, enum ps_language language,
                            struct ps_buf *buf)
{
    const struct ps_format *format = member->format;
    bool counts = format != NULL && format->counts_characters;

    ps_buf_puts(buf, format != NULL           ? format->rule[language]
                     : language == PS_CHINESE ? "字符串"
                                              : "a string");
    if (!has_bounds(member) || (format != NULL && format->pattern != NULL))
        return;
    if (language == PS_CHINESE)
        put(buf, "，%.0f 至 %.0f 个%s", member->min, member->max, counts ? "字符" : "字节");
    else
        put(buf, " of %.0f to %.0f %s", member->min, member->max, counts ? "characters" : "bytes");
}

static void describe_entries(const struct ps_member *member, enum ps_language language,
                             struct ps_buf *buf)
{
    bool map = member->type == PS_M_MAP, zh = language == PS_CHINESE;
    const struct ps_member *item =
        map && member->item != NULL ? &member->item->table->members[1] : member->item;
    char text[160];

    ps_buf_puts(buf, map ? (zh ? "对象" : "an object") : (zh ? "数组" : "an array"));
    if (has_bounds(member))
        put(buf, zh ? "，%.0f 至 %.0f 项" : " of %.0f to %.0f entries", member->min, member->max);
    if (item == NULL || item->type == PS_M_OBJECT)
        return;
    ps_member_describe(item, language, text, sizeof text);
    put(buf, zh ? "，每项为%s" : ", each %s", text);
}

void ps_member_describe(const struct ps_member *member, enum ps_language language, char *ret_text,
                        size_t cap)
{
    bool zh = language == PS_CHINESE;
    struct ps_buf buf;

    ps_buf_init(&buf, ret_text, cap - 1);
    switch (member->type) {
    case PS_M_BOOL:
        ps_buf_puts(&buf, zh ? "true 或 false" : "true or false");
        break;
    case PS_M_TRUE:
        ps_buf_puts(&buf, "true");
        break;
    case PS_M_INT:
    case PS_M_NUMBER:
        describe_number(member, language, &buf);
        break;
    case PS_M_SHARE:
        ps_buf_puts(&buf,
                    zh ? "0 至 1 的数，步长 0.001" : "a number between 0 and 1 in steps of 0.001");
        break;
    case PS_M_TIME:
        ps_buf_puts(&buf, zh ? "带时区偏移的时间，例如 \"2030-11-11T10:00:00Z\""
                             : "a time with its offset, such as \"2030-11-11T10:00:00Z\"");
        break;
    case PS_M_CHARS:
    case PS_M_STRING:
        describe_string(member, language, &buf);
        break;
    case PS_M_ENUM:
        ps_buf_puts(&buf, zh ? "以下之一：" : "one of: ");
        join_words(member->words, &buf);
        break;
    case PS_M_SET:
        ps_buf_puts(&buf, zh ? "数组，至少含以下之一，各一次："
                             : "an array of at least one of, each once: ");
        join_words(member->words, &buf);
        break;
    case PS_M_OBJECT:
    case PS_M_FREE:
        ps_buf_puts(&buf, zh ? "对象" : "an object");
        if (member->type == PS_M_FREE && member->max > 0)
            put(&buf, zh ? "，紧凑 JSON 至多 %.0f 字节" : " of at most %.0f bytes as compact JSON",
                member->max);
        break;
    case PS_M_LIST:
    case PS_M_MAP:
        describe_entries(member, language, &buf);
        break;
    case PS_M_OWN:
        ps_buf_puts(&buf, member->own->rule[language]);
        break;
    }
    ret_text[buf.len] = '\0';
}

/* --- As JSON Schema. Functions that add return 0 or -1. --- */

static int set(json_t *json, const char *name, json_t *value)
{
    return json_object_set_new(json, name, value); /* -1 also for a value of NULL */
}

static json_t *parse(const char *text)
{
    return json_loads(text, JSON_DECODE_ANY, NULL);
}

static json_t *typed(const char *type)
{
    return json_pack("{s:s}", "type", type);
}

static json_t *words_json(const char *const *words)
{
    json_t *list = json_array();
    int err = list == NULL;

    for (; err == 0 && *words != NULL; words++)
        err = json_array_append_new(list, json_string(*words));
    return ps_json_built(list, err);
}

static int set_bounds(json_t *json, const struct ps_member *member, const char *least,
                      const char *most)
{
    if (!has_bounds(member))
        return 0;
    int err = member->min != 0 || member->type == PS_M_INT || member->type == PS_M_NUMBER
                  ? set(json, least, ps_json_of_number(member->min))
                  : 0;
    return err | set(json, most, ps_json_of_number(member->max));
}

static json_t *string_schema(const struct ps_member *member)
{
    const struct ps_format *format = member->format;
    bool counts = format != NULL && format->counts_characters;
    json_t *json = typed("string");
    int err = 0;

    if (has_bounds(member)) /* a character has up to four bytes */
        err = set(json, "minLength",
                  ps_json_of_number(counts || member->min == 0 ? member->min : 1)) |
              set(json, "maxLength", ps_json_of_number(member->max));
    if (format != NULL && format->pattern != NULL)
        err |= set(json, "pattern", json_string(format->pattern));
    return ps_json_built(json, err);
}

static json_t *object_schema(const struct ps_table *table, enum ps_language language);
static json_t *value_schema(const struct ps_member *member, enum ps_language language);

static json_t *entries_schema(const struct ps_member *member, enum ps_language language)
{
    bool map = member->type == PS_M_MAP;
    json_t *json = typed(map ? "object" : "array");
    const struct ps_member *item = map ? &member->item->table->members[1] : member->item;
    int err = set(json, map ? "additionalProperties" : "items", value_schema(item, language));

    err |= set_bounds(json, member, map ? "minProperties" : "minItems",
                      map ? "maxProperties" : "maxItems");
    return ps_json_built(json, err);
}

static json_t *number_schema(const struct ps_member *member)
{
    bool text = ps_member_is_duration(member);
    json_t *json = text ? json_pack("{s:[s, s], s:s}", "type", "integer", "string", "pattern",
                                    PS_DURATION_PATTERN)
                        : typed(member->type == PS_M_INT ? "integer" : "number");

    return ps_json_built(json, set_bounds(json, member, "minimum", "maximum"));
}

static json_t *value_schema(const struct ps_member *member, enum ps_language language)
{
    switch (member->type) {
    case PS_M_BOOL:
        return typed("boolean");
    case PS_M_TRUE:
        return json_pack("{s:s, s:b}", "type", "boolean", "const", 1);
    case PS_M_INT:
    case PS_M_NUMBER:
        return number_schema(member);
    case PS_M_SHARE:
        return json_pack("{s:s, s:i, s:i}", "type", "number", "minimum", 0, "maximum", 1);
    case PS_M_TIME:
        return json_pack("{s:s, s:s}", "type", "string", "format", "date-time");
    case PS_M_CHARS:
    case PS_M_STRING:
        return string_schema(member);
    case PS_M_ENUM:
        return json_pack("{s:s, s:o}", "type", "string", "enum", words_json(member->words));
    case PS_M_SET:
        return json_pack("{s:s, s:i, s:b, s:{s:s, s:o}}", "type", "array", "minItems", 1,
                         "uniqueItems", 1, "items", "type", "string", "enum",
                         words_json(member->words));
    case PS_M_OBJECT:
        return object_schema(member->table, language);
    case PS_M_LIST:
    case PS_M_MAP:
        return member->item != NULL ? entries_schema(member, language)
                                    : json_pack("{s:s, s:{}}", "type", "array", "items");
    case PS_M_FREE:
        return typed("object");
    case PS_M_OWN:
        return parse(member->own->schema);
    }
    return NULL;
}

/* The schema of the value, or of null. */
static json_t *with_null(json_t *schema)
{
    json_t *type = json_object_get(schema, "type"), *words = json_object_get(schema, "enum");
    int err = 0;

    /* What is required of an object holds of null, too: all of several choices. */
    if (json_is_array(type))
        return ps_json_built(schema, json_array_append_new(type, json_string("null")));
    if (!json_is_string(type) || json_object_get(schema, "oneOf") != NULL)
        return json_pack("{s:[o, {s:s}]}", "anyOf", schema, "type", "null");
    err = set(schema, "type", json_pack("[O, s]", type, "null"));
    if (words != NULL)
        err |= json_array_append_new(words, json_null());
    return ps_json_built(schema, err);
}

/* Of a row: its value, and what else is known of it. */
static json_t *member_schema(const struct ps_member *member, enum ps_language language)
{
    json_t *json = value_schema(member, language);
    int err = json == NULL;

    if (err == 0 && (member->flags & PS_M_NULLABLE) != 0)
        err = (json = with_null(json)) == NULL;
    if (err == 0 && member->text[language] != NULL)
        err = set(json, "description", json_string(member->text[language]));
    if (err == 0 && member->fallback != NULL)
        err = set(json, "default", parse(member->fallback));
    if (err == 0 && member->example != NULL)
        err = set(json, "examples", json_pack("[o]", parse(member->example)));
    if (err == 0 && member->unit[0] != NULL && member->unit[0][0] != '\0')
        err = set(json, "x-unit", json_string(member->unit[0]));
    if (err == 0 && (member->flags & PS_M_SHOWN) != 0)
        err = set(json, "readOnly", json_true());
    if (err == 0 && (member->flags & PS_M_INPUT) != 0)
        err = set(json, "writeOnly", json_true());
    if (err == 0 && (member->flags & PS_M_RELOADS) != 0)
        err = set(json, "x-live", json_true());
    return ps_json_built(json, err);
}

/* NULL: nothing is said of the object. */
static const char *group_text(const struct ps_table *table, const char *name, size_t len,
                              enum ps_language language)
{
    for (const struct ps_group *group = table->groups; group != NULL && group->name != NULL;
         group++)
        if (strlen(group->name) == len && memcmp(group->name, name, len) == 0)
            return group->text[language];
    return NULL;
}

static json_t *members_schema(const struct ps_table *table, size_t first, size_t end, size_t lead,
                              enum ps_language language);

static json_t *group_schema(const struct ps_table *table, size_t first, size_t end, size_t lead,
                            enum ps_language language)
{
    json_t *json = members_schema(table, first, end, lead, language);
    const char *text = group_text(table, table->members[first].name, lead - 1, language);

    return text == NULL || json == NULL
               ? json
               : ps_json_built(json, set(json, "description", json_string(text)));
}

static json_t *members_schema(const struct ps_table *table, size_t first, size_t end, size_t lead,
                              enum ps_language language)
{
    json_t *properties = json_object(), *required = json_array();
    size_t next, len;
    int err = properties == NULL || required == NULL;

    for (size_t i = first; err == 0 && i < end; i = next) {
        const struct ps_member *member = &table->members[i];
        next = ps_table_group(table, i, end, lead, &len);
        bool group = ps_table_is_group(member, lead, len);
        err = json_object_setn_new(properties, member->name + lead, len,
                                   group ? group_schema(table, i, next, lead + len + 1, language)
                                         : member_schema(member, language));
        if (err == 0 && !group && (member->flags & PS_M_REQUIRED) != 0 && member->when == 0)
            err = json_array_append_new(required, json_stringn(member->name + lead, len));
    }
    json_t *json = json_pack("{s:s, s:o, s:b}", "type", "object", "properties", properties,
                             "additionalProperties", 0);
    if (json != NULL && json_array_size(required) > 0)
        return ps_json_built(json, err | set(json, "required", required));
    json_decref(required);
    return ps_json_built(json, err);
}

/* What holds where the tag has the value `tag`, of which `given` is the condition (taken over). */
static json_t *variant(const struct ps_table *table, unsigned tag, json_t *given)
{
    json_t *none = json_object(), *required = json_array();
    json_t *json = json_pack("{s:o, s:{s:o, s:o}}", "if", given, "then", "properties", none,
                             "required", required);
    int err = json == NULL;

    for (size_t i = 0; err == 0 && i < table->count; i++) {
        const struct ps_member *member = &table->members[i];
        bool applies = (member->when >> tag & 1) != 0;
        if (member->when == 0 || (member->flags & PS_M_CHOICE) != 0)
            continue;
        if (!applies)
            err = set(none, member->name, json_false());
        else if ((member->flags & PS_M_REQUIRED) != 0)
            err = json_array_append_new(required, json_string(member->name));
    }
    return ps_json_built(json, err);
}

/* A union says for each value of its tag what else is there. */
static int add_variants(const struct ps_table *table, json_t *json)
{
    const struct ps_member *tag = &table->members[0];
    json_t *all = json_array(), *one = json_array();
    int err = all == NULL || one == NULL;

    for (unsigned i = 0; err == 0 && (tag->flags & PS_M_CHOICE) == 0 && tag->words[i] != NULL; i++)
        err = json_array_append_new(
            all, variant(table, i,
                         json_pack("{s:{s:{s:s, s:s}}, s:[s]}", "properties", tag->name, "type",
                                   "string", "const", tag->words[i], "required", tag->name)));
    for (size_t i = 0; err == 0 && i < table->count; i++) {
        const struct ps_member *member = &table->members[i];
        if ((member->flags & PS_M_CHOICE) == 0)
            continue;
        err = json_array_append_new(one, json_pack("{s:[s]}", "required", member->name)) |
              json_array_append_new(all, variant(table, (unsigned)__builtin_ctz(member->when),
                                                 json_pack("{s:[s]}", "required", member->name)));
    }
    if (json_array_size(one) > 0)
        err |= json_object_set(json, "oneOf", one);
    json_decref(one);
    return err | set(json, "allOf", all);
}

static json_t *object_schema(const struct ps_table *table, enum ps_language language)
{
    json_t *json = members_schema(table, 0, table->count, 0, language);

    return ps_json_built(json, json == NULL || (table->has_tag && add_variants(table, json) != 0));
}

json_t *ps_table_schema(const struct ps_table *table, enum ps_language language)
{
    json_t *head = json_pack("{s:s, s:s}", "$schema",
                             "https://json-schema.org/draft/2020-12/schema", "title", table->title);
    json_t *schema = object_schema(table, language);
    int err = head == NULL || schema == NULL || json_object_update(head, schema) != 0;

    json_decref(schema);
    return ps_json_built(head, err);
}
