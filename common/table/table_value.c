/* Reading the value of a member by the type of its row. See table.h. */
#include "common/table/table_internal.h"

#include "common/clock.h"
#include "common/text/id.h"
#include "common/text/utf8.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_name(const char *text, size_t len)
{
    return ps_name_ok(text, len);
}

static bool is_text(const char *text, size_t len)
{
    for (size_t at = 0, size; at < len; at += size) {
        uint32_t point;
        size = ps_utf8_next(text + at, len - at, &point);
        if (size == 0 || ps_utf8_is_control(point))
            return false;
    }
    return true;
}

const struct ps_format ps_format_name = {
    .rule = {"a name: [A-Za-z0-9][A-Za-z0-9._-]{0,63}", "名称：[A-Za-z0-9][A-Za-z0-9._-]{0,63}"},
    .pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
    .is_ok = is_name};
const struct ps_format ps_format_text = {
    .rule = {"a text without control characters", "不含控制字符的文本"},
    .is_ok = is_text,
    .counts_characters = true};

static bool in_bounds(const struct ps_member *member, double value)
{
    return member->max == 0 && member->min == 0 ? true
                                                : value >= member->min && value <= member->max;
}

static size_t characters(const char *text, size_t len)
{
    size_t count = 0;

    for (size_t i = 0; i < len; i++)
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
    return count;
}

static bool is_string_ok(const struct ps_member *member, const json_t *value)
{
    const struct ps_format *format = member->format;
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);

    if (text == NULL || strlen(text) != len)
        return false;
    bool counts = format != NULL && format->counts_characters;
    return in_bounds(member, (double)(counts ? characters(text, len) : len)) &&
           (format == NULL || format->is_ok == NULL || format->is_ok(text, len));
}

static bool read_string(struct ps_table_at *at, const struct ps_member *member, const json_t *value,
                        void *object)
{
    char **field = ps_member_field(member, object);

    if (!is_string_ok(member, value))
        return false;
    if ((member->flags & PS_M_NULLABLE) != 0 && json_string_length(value) == 0) {
        ps_member_clear(member, object); /* an empty text is null */
        return true;
    }
    if (member->type == PS_M_CHARS) {
        if (json_string_length(value) >= member->size)
            return false;
        memcpy(field, json_string_value(value), json_string_length(value) + 1);
        return true;
    }
    char *text = strdup(json_string_value(value));
    at->of->no_memory |= text == NULL;
    free(*field);
    *field = text;
    return true;
}

static bool read_share(const struct ps_member *member, const json_t *value, void *object)
{
    double share = json_number_value(value);

    if (!json_is_number(value) || !(share >= 0 && share <= 1))
        return false;
    uint32_t per_mille = (uint32_t)(share * 1000 + 0.5);
    double rest = share * 1000 - per_mille;
    if (rest > 1e-6 || rest < -1e-6)
        return false;
    *(uint32_t *)ps_member_field(member, object) = per_mille;
    return true;
}

static int word_of(const struct ps_member *member, const json_t *value)
{
    for (int i = 0; json_is_string(value) && member->words[i] != NULL; i++)
        if (strcmp(member->words[i], json_string_value(value)) == 0)
            return i;
    return -1;
}

/* The place of an entry of the array `place`, for its faults. */
static struct ps_table_at entry_at(struct ps_table_at *at, const char *place, size_t index)
{
    struct ps_table_at entry = *at;

    entry.outer = at;
    entry.member = place;
    entry.index = index;
    return entry;
}

static bool read_set(struct ps_table_at *at, const char *place, const struct ps_member *member,
                     const json_t *value, void *object)
{
    const struct ps_member item = {.type = PS_M_ENUM, .size = sizeof(int), .words = member->words};
    bool may_be_empty = at->of->stored && at->table->dropped != NULL;
    size_t said = at->of->said, i;
    int64_t bits = 0;
    const json_t *element;

    if (!json_is_array(value) || (json_array_size(value) == 0 && !may_be_empty))
        return false;
    json_array_foreach(value, i, element)
    {
        struct ps_table_at entry = entry_at(at, place, i);
        int word = -1;
        if (json_is_string(element) && ps_table_is_dropped(at, json_string_value(element)))
            continue;
        ps_table_read_value(&entry, "", &item, element, &word);
        if (word >= 0 && (bits >> word & 1) != 0)
            ps_table_fault(&entry, "", "repeats \"%s\": each word may appear once",
                           member->words[word]);
        if (word >= 0)
            bits |= INT64_C(1) << word;
    }
    if (at->of->said == said)
        ps_member_set_int(member, object, bits);
    return true;
}

/* As it reads back once it was written: fractions have 15 digits then, and whoever reads the text
 * must find what this process has. */
static bool read_free(struct ps_table_at *at, const char *place, const struct ps_member *member,
                      const json_t *value, void *object)
{
    json_t **field = ps_member_field(member, object);
    json_t *written = NULL;

    if (!json_is_object(value))
        return false;
    if (member->max == 0) {
        written = json_incref((json_t *)(uintptr_t)value);
    } else {
        char *text = json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(15));
        size_t size = text != NULL ? strlen(text) : 0;
        int err = text != NULL ? 0 : PS_E_NOMEM;
        if (size > member->max)
            ps_table_fault(at, place, "takes %zu bytes as compact JSON, at most %.0f are allowed",
                           size, member->max);
        else if (err == 0)
            err = ps_json_parse(text, size, &written, NULL);
        free(text);
        if (err == PS_E_NOMEM)
            ps_table_no_memory(at);
        else if (err < 0)
            ps_table_fault(at, place, "holds a number that is too large");
    }
    json_decref(*field);
    *field = written;
    return true;
}

static bool read_inner(struct ps_table_at *outer, const char *place, const struct ps_member *member,
                       const json_t *value, void *object)
{
    struct ps_table_at at = {.table = member->table,
                             .json = value,
                             .ctx = outer->ctx,
                             .outer = outer,
                             .member = place,
                             .index = SIZE_MAX,
                             .of = outer->of};

    bool is_object = json_is_object(value);
    if (!is_object)
        at.json = NULL; /* so that an entry of a list has its defaults */
    if (is_object || (member->flags & PS_M_NULLABLE) == 0)
        ps_table_read_object(&at, ps_member_field(member, object));
    return is_object;
}

/* Room for the entries of a list or a map; NULL: for none, or there is no memory. */
static char *make_room(struct ps_table_at *at, const struct ps_member *member, size_t count,
                       void *object)
{
    char *room;

    ps_member_clear(member, object);
    room = count > 0 ? calloc(count, member->item->size) : NULL;
    at->of->no_memory |= count > 0 && room == NULL;
    *(char **)ps_member_field(member, object) = room;
    if (room != NULL)
        *ps_member_count(member, object) = count;
    return room;
}

static bool read_list(struct ps_table_at *at, const char *place, const struct ps_member *member,
                      const json_t *value, void *object)
{
    const struct ps_member *item = member->item;
    char *entry;
    size_t i;
    json_t *element;

    if (!json_is_array(value) || !in_bounds(member, (double)json_array_size(value)))
        return false;
    entry = make_room(at, member, json_array_size(value), object);
    bool is_patch = at->of->is_patch;
    at->of->is_patch = false;
    json_array_foreach(value, i, element)
    {
        if (entry == NULL)
            break;
        struct ps_table_at inner = entry_at(at, place, i);
        ps_table_read_value(&inner, "", item, element, entry);
        entry += item->size;
    }
    at->of->is_patch = is_patch;
    return true;
}

static bool read_map(struct ps_table_at *at, const char *place, const struct ps_member *member,
                     const json_t *value, void *object)
{
    const struct ps_member *name = &member->item->table->members[0];
    char key[PS_TABLE_PATH_MAX], *entry;
    const char *text;
    json_t *element;

    if (!json_is_object(value) || !in_bounds(member, (double)json_object_size(value)))
        return false;
    entry = make_room(at, member, json_object_size(value), object);
    json_object_foreach((json_t *)(uintptr_t)value, text, element)
    {
        struct ps_table_at map = *at, inner = *at;
        json_t *named = json_string(text);
        if (entry == NULL || named == NULL) {
            json_decref(named);
            break;
        }
        (void)snprintf(key, sizeof key, "/%s", text);
        map.outer = at;
        map.member = place;
        map.index = SIZE_MAX;
        inner.outer = &map;
        inner.member = key;
        inner.index = SIZE_MAX;
        ps_table_read_value(&inner, "", name, named, entry);
        if (!at->of->is_patch || !json_is_null(element)) /* null removes the entry */
            ps_table_read_value(&inner, "", name + 1, element, entry);
        json_decref(named);
        entry += member->item->size;
    }
    return true;
}

static bool read_enum(struct ps_table_at *at, const char *place, const struct ps_member *member,
                      const json_t *value, void *object)
{
    int word = word_of(member, value);
    const char *near = word < 0 && json_is_string(value)
                           ? ps_nearest_word(json_string_value(value), member->words)
                           : NULL;
    char rule[PS_TABLE_RULE_MAX];

    if (word >= 0)
        ps_member_set_int(member, object, word);
    if (word >= 0 || near == NULL)
        return word >= 0;
    ps_member_describe(member, PS_ENGLISH, rule, sizeof rule);
    ps_table_fault(at, place, "must be %s; did you mean \"%s\"?", rule, near);
    return true;
}

static bool read_time(const struct ps_member *member, const json_t *value, void *object)
{
    return json_is_string(value) &&
           ps_time_parse(json_string_value(value), json_string_length(value),
                         ps_member_field(member, object)) == 0;
}

static bool read_typed(struct ps_table_at *at, const char *place, const struct ps_member *member,
                       const json_t *value, void *object)
{
    void *field = ps_member_field(member, object);
    int64_t whole;

    switch (member->type) {
    case PS_M_BOOL:
        *(bool *)field = json_is_true(value);
        return json_is_boolean(value);
    case PS_M_TRUE:
        return json_is_true(value);
    case PS_M_INT:
        if (!(ps_member_is_duration(member) ? ps_json_seconds : ps_json_whole)(value, &whole) ||
            !in_bounds(member, (double)whole))
            return false;
        ps_member_set_int(member, object, whole);
        return true;
    case PS_M_NUMBER:
        if (!json_is_number(value) || !in_bounds(member, json_number_value(value)))
            return false;
        *(double *)field = json_number_value(value);
        return true;
    case PS_M_SHARE:
        return read_share(member, value, object);
    case PS_M_TIME:
        return read_time(member, value, object);
    case PS_M_CHARS:
    case PS_M_STRING:
        return read_string(at, member, value, object);
    case PS_M_ENUM:
        return read_enum(at, place, member, value, object);
    case PS_M_SET:
        return read_set(at, place, member, value, object);
    case PS_M_OBJECT:
        return read_inner(at, place, member, value, object);
    case PS_M_LIST:
        return read_list(at, place, member, value, object);
    case PS_M_MAP:
        return read_map(at, place, member, value, object);
    case PS_M_FREE:
        return read_free(at, place, member, value, object);
    case PS_M_OWN:
        return member->own->read(at, place, value, object);
    }
    return false;
}

void ps_table_set_fallback(struct ps_table_at *at, const struct ps_member *member, void *object)
{
    if (member->fallback == NULL || strcmp(member->fallback, "null") == 0) {
        if (member->type == PS_M_TIME && (member->flags & PS_M_NULLABLE) != 0)
            *(int64_t *)ps_member_field(member, object) = INT64_MAX;
        return;
    }
    json_t *value = json_loads(member->fallback, JSON_DECODE_ANY, NULL);
    at->of->no_memory |= value == NULL;
    if (value != NULL && !read_typed(at, member->name, member, value, object))
        assert(at->of->no_memory || !"a default is outside of its own bounds");
    json_decref(value);
}

void ps_table_read_value(struct ps_table_at *at, const char *place, const struct ps_member *member,
                         const json_t *value, void *object)
{
    size_t said = at->of->said;

    if (json_is_null(value) && (member->flags & PS_M_NULLABLE) != 0) {
        ps_member_clear(member, object);
        if (member->type == PS_M_TIME)
            *(int64_t *)ps_member_field(member, object) = INT64_MAX;
        return;
    }
    if (!read_typed(at, place, member, value, object) && at->of->said == said && !at->of->no_memory)
        ps_table_wrong_value(at, place, member, value);
    if (at->of->said > said && !at->of->is_patch && member->type != PS_M_LIST &&
        member->type != PS_M_MAP && member->type != PS_M_OBJECT)
        ps_table_set_fallback(at, member, object);
}
