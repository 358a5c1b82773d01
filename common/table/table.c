/* What a struct that was read by its table holds: printed, compared, freed. See table.h. */
#include "common/table/table_internal.h"

#include "common/clock.h"

#include <stdlib.h>
#include <string.h>

const struct ps_member *ps_table_find(const struct ps_table *table, const char *name)
{
    for (size_t i = 0; i < table->count; i++)
        if (strcmp(table->members[i].name, name) == 0)
            return &table->members[i];
    return NULL;
}

/* --- Fields. --- */

int64_t ps_member_int(const struct ps_member *member, const void *object)
{
    const void *field = ps_member_field(member, object);
    bool is_signed = member->min < 0;

    if (member->size == sizeof(int64_t))
        return *(const int64_t *)field;
    if (member->size == sizeof(int32_t))
        return is_signed ? *(const int32_t *)field : (int64_t) * (const uint32_t *)field;
    if (member->size == sizeof(int16_t))
        return is_signed ? *(const int16_t *)field : *(const uint16_t *)field;
    return *(const uint8_t *)field;
}

void ps_member_set_int(const struct ps_member *member, void *object, int64_t value)
{
    void *field = ps_member_field(member, object);

    if (member->size == sizeof(int64_t))
        *(int64_t *)field = value;
    else if (member->size == sizeof(int32_t))
        *(uint32_t *)field = (uint32_t)value;
    else if (member->size == sizeof(int16_t))
        *(uint16_t *)field = (uint16_t)value;
    else
        *(uint8_t *)field = (uint8_t)value;
}

bool ps_member_applies(const struct ps_table *table, const struct ps_member *member,
                       const void *object)
{
    unsigned tag;

    if (member->when == 0)
        return true;
    memcpy(&tag, (const char *)object + table->tag_at, sizeof tag);
    return (member->when >> tag & 1) != 0;
}

static bool is_zero_object(const struct ps_table *table, const void *object)
{
    unsigned tag = 0;

    if (table->has_tag)
        memcpy(&tag, (const char *)object + table->tag_at, sizeof tag);
    if (tag != 0)
        return false;
    for (size_t i = 0; i < table->count; i++)
        if (table->members[i].type != PS_M_OWN && !ps_member_is_zero(&table->members[i], object))
            return false;
    return true;
}

bool ps_member_is_zero(const struct ps_member *member, const void *object)
{
    static const char zeros[sizeof(int64_t)];
    const void *field = ps_member_field(member, object);

    if ((member->flags & PS_M_SHOWN) != 0)
        return true;
    switch (member->type) {
    case PS_M_TRUE:
        return true;
    case PS_M_TIME:
        return *(const int64_t *)field == 0 || *(const int64_t *)field == INT64_MAX;
    case PS_M_CHARS:
        return *(const char *)field == '\0';
    case PS_M_OBJECT:
        return is_zero_object(member->table, field);
    case PS_M_LIST:
    case PS_M_MAP:
        return *ps_member_count(member, object) == 0;
    case PS_M_OWN: {
        json_t *json = member->own->print(object);
        bool null = json_is_null(json);
        json_decref(json);
        return null;
    }
    default:
        return memcmp(field, zeros, member->size) == 0;
    }
}

/* --- Freeing. --- */

static void free_elements(const struct ps_member *member, void *object)
{
    char **field = ps_member_field(member, object);
    size_t *count = ps_member_count(member, object);

    for (size_t i = 0; i < *count; i++)
        ps_member_clear(member->item, *field + i * member->item->size);
    free(*field);
    *field = NULL;
    *count = 0;
}

void ps_member_clear(const struct ps_member *member, void *object)
{
    void *field = ps_member_field(member, object);

    if ((member->flags & PS_M_SHOWN) != 0)
        return;
    switch (member->type) {
    case PS_M_STRING:
        free(*(char **)field);
        *(char **)field = NULL;
        break;
    case PS_M_FREE:
        json_decref(*(json_t **)field);
        *(json_t **)field = NULL;
        break;
    case PS_M_OBJECT:
        ps_table_free(member->table, field);
        break;
    case PS_M_LIST:
    case PS_M_MAP:
        free_elements(member, object);
        break;
    case PS_M_OWN:
        if (member->own->free != NULL)
            member->own->free(object);
        break;
    case PS_M_TRUE:
        break;
    default:
        memset(field, 0, member->size);
    }
}

void ps_table_free(const struct ps_table *table, void *object)
{
    if (table->has_tag)
        memset((char *)object + table->tag_at, 0, sizeof(unsigned));
    for (size_t i = 0; i < table->count; i++)
        ps_member_clear(&table->members[i], object);
}

/* --- Printing. --- */

static json_t *print_list(const struct ps_member *member, const void *object)
{
    const char *at = *(char *const *)ps_member_field(member, object);
    size_t count = *ps_member_count(member, object);
    json_t *list = json_array();
    int err = list == NULL;

    for (size_t i = 0; err == 0 && i < count; i++)
        err = json_array_append_new(
            list, ps_table_print_member(member->item, at + i * member->item->size));
    return ps_json_built(list, err);
}

static json_t *print_map(const struct ps_member *member, const void *object)
{
    const struct ps_member *name = &member->item->table->members[0], *value = name + 1;
    const char *at = *(char *const *)ps_member_field(member, object);
    size_t count = *ps_member_count(member, object);
    json_t *map = json_object();
    int err = map == NULL;

    for (size_t i = 0; err == 0 && i < count; i++, at += member->item->size) {
        json_t *key = ps_table_print_member(name, at);
        err = key == NULL || json_object_set_new(map, json_string_value(key),
                                                 ps_table_print_member(value, at)) < 0;
        json_decref(key);
    }
    return ps_json_built(map, err);
}

static json_t *print_set(const struct ps_member *member, int64_t bits)
{
    json_t *list = json_array();
    int err = list == NULL;

    for (size_t bit = 0; err == 0 && member->words[bit] != NULL; bit++)
        if ((bits >> bit & 1) != 0)
            err = json_array_append_new(list, json_string(member->words[bit]));
    return ps_json_built(list, err);
}

json_t *ps_table_print_member(const struct ps_member *member, const void *object)
{
    const void *field = ps_member_field(member, object);

    if ((member->flags & PS_M_NULLABLE) != 0 && ps_member_is_zero(member, object))
        return json_null();
    switch (member->type) {
    case PS_M_BOOL:
        return json_boolean(*(const bool *)field);
    case PS_M_TRUE:
        return json_true();
    case PS_M_INT:
        return json_integer(ps_member_int(member, object));
    case PS_M_NUMBER:
        return ps_json_of_number(*(const double *)field);
    case PS_M_SHARE:
        return ps_json_of_number(*(const uint32_t *)field / 1000.0);
    case PS_M_TIME:
        return ps_json_of_time(*(const int64_t *)field);
    case PS_M_CHARS:
        return json_string(field);
    case PS_M_STRING:
        return *(char *const *)field != NULL ? json_string(*(char *const *)field) : json_null();
    case PS_M_ENUM:
        return json_string(member->words[ps_member_int(member, object)]);
    case PS_M_SET:
        return print_set(member, ps_member_int(member, object));
    case PS_M_OBJECT:
        return ps_table_print(member->table, field);
    case PS_M_LIST:
        return print_list(member, object);
    case PS_M_MAP:
        return print_map(member, object);
    case PS_M_FREE:
        return *(json_t *const *)field != NULL ? json_deep_copy(*(json_t *const *)field)
                                               : json_null();
    case PS_M_OWN:
        return member->own->print(object);
    }
    return NULL;
}

static bool is_printed(const struct ps_table *table, const struct ps_member *member,
                       const void *object)
{
    return (member->flags & (PS_M_SHOWN | PS_M_INPUT)) == 0 &&
           ps_member_applies(table, member, object) &&
           ((member->flags & PS_M_OMIT) == 0 || !ps_member_is_zero(member, object));
}

static json_t *print_members(const struct ps_table *table, size_t first, size_t end, size_t lead,
                             const void *object)
{
    json_t *json = json_object();
    size_t next, len;
    int err = json == NULL;

    for (size_t i = first; err == 0 && i < end; i = next) {
        const struct ps_member *member = &table->members[i];
        json_t *value = NULL;
        next = ps_table_group(table, i, end, lead, &len);
        if (ps_table_is_group(member, lead, len))
            value = print_members(table, i, next, lead + len + 1, object);
        else if (is_printed(table, member, object))
            value = ps_table_print_member(member, object);
        else
            continue;
        err = json_object_setn_new(json, member->name + lead, len, value);
    }
    return ps_json_built(json, err);
}

json_t *ps_table_print(const struct ps_table *table, const void *object)
{
    return print_members(table, 0, table->count, 0, object);
}

/* --- Comparing. --- */

static bool same_elements(const struct ps_member *member, const void *a, const void *b)
{
    const char *left = *(char *const *)ps_member_field(member, a);
    const char *right = *(char *const *)ps_member_field(member, b);
    size_t count = *ps_member_count(member, a);

    if (count != *ps_member_count(member, b))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!ps_member_same(member->item, left + i * member->item->size,
                            right + i * member->item->size))
            return false;
    return true;
}

/* Values of which only the text is known here. */
static bool same_printed(const struct ps_member *member, const void *a, const void *b)
{
    json_t *left = ps_table_print_member(member, a), *right = ps_table_print_member(member, b);
    bool same = left != NULL && json_equal(left, right);

    json_decref(left);
    json_decref(right);
    return same;
}

bool ps_member_same(const struct ps_member *member, const void *a, const void *b)
{
    const void *left = ps_member_field(member, a), *right = ps_member_field(member, b);

    if ((member->flags & (PS_M_SHOWN | PS_M_INPUT)) != 0)
        return true;
    switch (member->type) {
    case PS_M_TRUE:
        return true;
    case PS_M_CHARS:
        return strcmp(left, right) == 0;
    case PS_M_STRING:
        return ps_text_same(*(char *const *)left, *(char *const *)right);
    case PS_M_OBJECT:
        return ps_table_same(member->table, left, right);
    case PS_M_LIST:
        return same_elements(member, a, b);
    case PS_M_MAP:
    case PS_M_FREE:
    case PS_M_OWN:
        return same_printed(member, a, b);
    default:
        return memcmp(left, right, member->size) == 0;
    }
}

bool ps_table_same(const struct ps_table *table, const void *a, const void *b)
{
    unsigned tag_a = 0, tag_b = 0;

    if (table->has_tag) {
        memcpy(&tag_a, (const char *)a + table->tag_at, sizeof tag_a);
        memcpy(&tag_b, (const char *)b + table->tag_at, sizeof tag_b);
    }
    for (size_t i = 0; i < table->count; i++)
        if (!ps_member_same(&table->members[i], a, b))
            return false;
    return tag_a == tag_b;
}
