/* Reading an object by its table. Every row is looked up once; members that no row knows are
 * noticed by their number, and only then sought. Paths of faults are put together when there is a
 * fault. See table.h. */
#include "common/table/table_internal.h"

#include "common/clock.h"
#include "common/text/id.h"
#include "common/text/utf8.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_MAX_LEN sizeof(((struct ps_fault *)NULL)->path)
#define RULE_MAX     240

struct ps_table_reading {
    struct ps_faults *faults;
    const char *pointer;
    enum ps_path_style style;
    size_t said; /* faults, also of those that were dropped */
    bool no_memory;
};

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
const struct ps_format ps_format_text = {.rule = {"a text without control characters", "不含控制字符的文本"},
                                         .is_ok = is_text,
                                         .counts_characters = true};

/* --- Faults. --- */

struct path {
    char text[PATH_MAX_LEN];
    size_t len;
    enum ps_path_style style;
};

static void put(struct path *path, char c)
{
    if (path->len + 1 < sizeof path->text)
        path->text[path->len++] = c;
}

static void put_separator(struct path *path)
{
    if (path->style == PS_PATH_POINTER)
        put(path, '/');
    else if (path->len > 0)
        put(path, '.');
}

static void put_index(struct path *path, size_t index)
{
    char text[32];

    (void)snprintf(text, sizeof text, path->style == PS_PATH_POINTER ? "/%zu" : "[%zu]", index);
    for (const char *at = text; *at != '\0'; at++)
        put(path, *at);
}

/* A name of a row or a place: its dots and slashes lead into objects. */
static void put_place(struct path *path, const char *place)
{
    if (*place == '\0')
        return;
    put_separator(path);
    for (; *place != '\0'; place++) {
        if (*place == '.' || *place == '/')
            put_separator(path);
        else
            put(path, *place);
    }
}

/* A name as it is written in the document (RFC 6901). */
static void put_key(struct path *path, const char *key)
{
    put_separator(path);
    for (; *key != '\0'; key++) {
        if (path->style == PS_PATH_POINTER && (*key == '~' || *key == '/')) {
            put(path, '~');
            put(path, *key == '~' ? '0' : '1');
        } else {
            put(path, *key);
        }
    }
}

/* Keys of maps are members behind "/", which no row's name begins with. */
static void put_at(struct path *path, const struct ps_table_at *at)
{
    if (at->outer != NULL)
        put_at(path, at->outer);
    else
        for (const char *c = at->of->pointer; *c != '\0'; c++)
            put(path, *c);
    if (at->member == NULL)
        return;
    if (at->member[0] == '/')
        put_key(path, at->member + 1);
    else
        put_place(path, at->member);
    if (at->index != SIZE_MAX)
        put_index(path, at->index);
}

static void add_fault(struct ps_table_at *at, const struct path *path, const char *fmt,
                      va_list args)
{
    char text[sizeof(((struct ps_fault *)NULL)->text)];

    (void)vsnprintf(text, sizeof text, fmt, args);
    at->of->said++;
    (void)ps_faults_add(at->of->faults, PS_E_INVALID, path->text, "%s", text);
}

void ps_table_fault(struct ps_table_at *at, const char *member, const char *fmt, ...)
{
    struct path path = {.style = at->of->style};
    va_list args;

    put_at(&path, at);
    put_place(&path, member);
    va_start(args, fmt);
    add_fault(at, &path, fmt, args);
    va_end(args);
}

/* About a key of the object, or of the object `section` ("a.b.") in it. */
static void PS_PRINTF(4, 5) key_fault(struct ps_table_at *at, struct ps_str section,
                                      const char *key, const char *fmt, ...)
{
    struct path path = {.style = at->of->style};
    char place[PATH_MAX_LEN];
    va_list args;

    (void)snprintf(place, sizeof place, "%.*s", section.len > 0 ? (int)section.len - 1 : 0,
                   section.at);
    put_at(&path, at);
    put_place(&path, place);
    put_key(&path, key);
    va_start(args, fmt);
    add_fault(at, &path, fmt, args);
    va_end(args);
}

void ps_table_no_memory(struct ps_table_at *at)
{
    at->of->no_memory = true;
}

static const char *type_of(const json_t *value)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "an object",       [JSON_ARRAY] = "an array", [JSON_STRING] = "a string",
        [JSON_INTEGER] = "a whole number", [JSON_REAL] = "a fraction", [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",            [JSON_NULL] = "null"};

    return names[json_typeof(value)];
}

/* "must be …, not 7; for example 5" */
static void wrong_value(struct ps_table_at *at, const char *place, const struct ps_member *member,
                        const json_t *value)
{
    const char *example = member->example != NULL ? member->example : member->fallback;
    char rule[RULE_MAX], is[40];

    if (example != NULL && (strcmp(example, "null") == 0 || strlen(example) > 60))
        example = NULL;
    if (json_is_integer(value))
        (void)snprintf(is, sizeof is, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        (void)snprintf(is, sizeof is, "%.15g", json_real_value(value));
    else
        (void)snprintf(is, sizeof is, "%s", type_of(value));
    bool scalar = json_is_string(value) && (member->type == PS_M_STRING || member->type == PS_M_CHARS || member->type == PS_M_TIME || member->type == PS_M_OWN);
    ps_member_describe(member, PS_ENGLISH, rule, sizeof rule);
    ps_table_fault(at, place, "must be %s%s%s%s%s", rule, scalar ? "" : ", not ", scalar ? "" : is,
                   example != NULL ? "; for example " : "", example != NULL ? example : "");
}

/* --- Values. --- */

static bool in_bounds(const struct ps_member *member, double value)
{
    return member->max == 0 && member->min == 0 ? true : value >= member->min && value <= member->max;
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

static bool read_string(struct ps_table_at *at, const struct ps_member *member,
                        const json_t *value, void *object)
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

static bool read_set(const struct ps_member *member, const json_t *value, void *object)
{
    int64_t bits = 0;

    for (size_t i = 0; i < json_array_size(value); i++) {
        int word = word_of(member, json_array_get(value, i));
        if (word < 0 || (bits >> word & 1) != 0)
            return false;
        bits |= INT64_C(1) << word;
    }
    if (bits == 0)
        return false;
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

static void read_object(struct ps_table_at *at, void *object);
static void read_value(struct ps_table_at *at, const char *place, const struct ps_member *member,
                       const json_t *value, void *object);

static bool read_inner(struct ps_table_at *outer, const char *place,
                       const struct ps_member *member, const json_t *value, void *object)
{
    struct ps_table_at at = {.table = member->table,
                             .json = value,
                             .ctx = outer->ctx,
                             .outer = outer,
                             .member = place,
                             .index = SIZE_MAX,
                             .of = outer->of};

    if (!json_is_object(value))
        return false;
    read_object(&at, ps_member_field(member, object));
    return true;
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
    json_array_foreach(value, i, element)
    {
        if (entry == NULL)
            break;
        struct ps_table_at inner = *at; /* its path needs a place of its own */
        inner.outer = at;
        inner.member = place;
        inner.index = i;
        read_value(&inner, "", item, element, entry);
        entry += item->size;
    }
    return true;
}

static bool read_map(struct ps_table_at *at, const char *place, const struct ps_member *member,
                     const json_t *value, void *object)
{
    const struct ps_member *name = &member->item->table->members[0];
    char key[PATH_MAX_LEN], *entry;
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
        read_value(&inner, "", name, named, entry);
        read_value(&inner, "", name + 1, element, entry);
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
    char rule[RULE_MAX];

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
        if (!ps_json_whole(value, &whole) || !in_bounds(member, (double)whole))
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
        return read_set(member, value, object);
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

static void set_fallback(struct ps_table_at *at, const struct ps_member *member, void *object)
{
    if (member->fallback == NULL || strcmp(member->fallback, "null") == 0) {
        if (member->type == PS_M_TIME && (member->flags & PS_M_NULLABLE) != 0)
            *(int64_t *)ps_member_field(member, object) = INT64_MAX;
        return;
    }
    json_t *value = json_loads(member->fallback, JSON_DECODE_ANY, NULL);
    at->of->no_memory |= value == NULL;
    if (value != NULL && !read_typed(at, member->name, member, value, object))
        assert(!"a default is outside of its own bounds");
    json_decref(value);
}

static void read_value(struct ps_table_at *at, const char *place, const struct ps_member *member,
                       const json_t *value, void *object)
{
    size_t said = at->of->said;

    if (json_is_null(value) && (member->flags & PS_M_NULLABLE) != 0) {
        ps_member_clear(member, object);
        if (member->type == PS_M_TIME)
            *(int64_t *)ps_member_field(member, object) = INT64_MAX;
        return;
    }
    if (!read_typed(at, place, member, value, object) && at->of->said == said &&
        !at->of->no_memory)
        wrong_value(at, place, member, value);
    if (at->of->said > said && member->type != PS_M_LIST && member->type != PS_M_MAP &&
        member->type != PS_M_OBJECT)
        set_fallback(at, member, object);
}

/* --- Objects. --- */

/* A member of which the tag says that it is not there. */
static void refuse_other(struct ps_table_at *at, const struct ps_member *member)
{
    const struct ps_member *tag = &at->table->members[0];
    char words[RULE_MAX];
    size_t len = 0;

    if ((member->flags & PS_M_CHOICE) != 0)
        return; /* check_choices says it */
    words[0] = '\0';
    for (unsigned i = 0; i < 32 && len < sizeof words; i++) {
        const char *word = NULL;
        if ((member->when >> i & 1) == 0)
            continue;
        if ((tag->flags & PS_M_CHOICE) == 0)
            word = tag->words[i];
        for (size_t row = 0; word == NULL && row < at->table->count; row++)
            if ((at->table->members[row].flags & PS_M_CHOICE) != 0 &&
                at->table->members[row].when == 1u << i)
                word = at->table->members[row].name;
        if (word != NULL)
            len += (size_t)snprintf(words + len, sizeof words - len, "%s%s", len > 0 ? ", " : "",
                                    word);
    }
    ps_table_fault(at, member->name, "belongs to %s only: leave it out", words);
}

static void read_member(struct ps_table_at *at, const struct ps_member *member, const json_t *value,
                        void *object)
{
    if ((member->flags & PS_M_SHOWN) != 0) {
        if (value != NULL)
            ps_table_fault(at, member->name, "is shown by reading only: leave it out");
    } else if (!ps_member_applies(at->table, member, object)) {
        if (value != NULL && !json_is_null(value))
            refuse_other(at, member);
    } else if (value != NULL) {
        read_value(at, member->name, member, value, object);
    } else {
        if ((member->flags & PS_M_REQUIRED) != 0 && at->json != NULL) {
            char rule[RULE_MAX];
            ps_member_describe(member, PS_ENGLISH, rule, sizeof rule);
            ps_table_fault(at, member->name, "is missing: it must be %s%s%s", rule,
                           member->example != NULL ? "; for example " : "",
                           member->example != NULL ? member->example : "");
        }
        set_fallback(at, member, object);
    }
}

/* Names of the members of one object of the table, each once. */
#define WORDS_MAX 300
struct words {
    char text[WORDS_MAX][PS_NAME_MAX];
    const char *list[WORDS_MAX + 1];
};

static void collect_words(const struct ps_table *table, size_t first, size_t end, size_t lead,
                          struct words *ret)
{
    size_t count = 0, next, len;

    for (size_t i = first; i < end && count < WORDS_MAX; i = next) {
        next = ps_table_group(table, i, end, lead, &len);
        (void)snprintf(ret->text[count], sizeof ret->text[count], "%.*s", (int)len,
                       table->members[i].name + lead);
        ret->list[count] = ret->text[count];
        count++;
    }
    ret->list[count] = NULL;
}

/* A row of any object of the table whose last word is `key`; NULL: there is none. */
static const struct ps_member *find_last_word(const struct ps_table *table, const char *key)
{
    for (size_t i = 0; i < table->count; i++) {
        const char *dot = strrchr(table->members[i].name, '.');
        if (strcmp(dot != NULL ? dot + 1 : table->members[i].name, key) == 0)
            return &table->members[i];
    }
    return NULL;
}

/* "log.queue" as one key in the place of an object in an object. */
static bool is_dotted(const struct ps_table *table, struct ps_str section, const char *key)
{
    for (size_t i = 0; strchr(key, '.') != NULL && i < table->count; i++) {
        const char *name = table->members[i].name;
        if (strncmp(name, section.at, section.len) == 0 && strcmp(name + section.len, key) == 0)
            return true;
    }
    return false;
}

/* A key that no row knows: the nearest name in the same object, or the same word in another one,
 * which comes first at the top. */
static void name_unknown(struct ps_table_at *at, size_t first, size_t end, size_t lead,
                         const char *key)
{
    const struct ps_table *table = at->table;
    struct ps_str section = {table->members[first].name, lead};
    const struct ps_member *same = find_last_word(table, key);
    struct words *words = malloc(sizeof *words);
    const char *near;

    if (words == NULL) {
        at->of->no_memory = true;
        return;
    }
    collect_words(table, first, end, lead, words);
    near = ps_nearest_word(key, words->list);
    if (is_dotted(table, section, key))
        key_fault(at, section, key, "is unknown; write an object \"%.*s\" with \"%s\" in it",
                  (int)strcspn(key, "."), key, key + strcspn(key, ".") + 1);
    else if (near != NULL && (same == NULL || lead > 0))
        key_fault(at, section, key, "is unknown; did you mean \"%.*s%s\"?",
                  at->of->style == PS_PATH_DOTTED ? (int)lead : 0, section.at, near);
    else if (same != NULL)
        key_fault(at, section, key, "is unknown; did you mean \"%s\"?", same->name);
    else
        key_fault(at, section, key, "is unknown");
    free(words);
}

static void name_unknowns(struct ps_table_at *at, size_t first, size_t end, size_t lead,
                          const json_t *json)
{
    const struct ps_table *table = at->table;
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)json, key, value)
    {
        bool known = false;
        size_t next, len;
        for (size_t i = first; i < end && !known; i = next) {
            next = ps_table_group(table, i, end, lead, &len);
            known = strlen(key) == len && memcmp(table->members[i].name + lead, key, len) == 0;
        }
        if (!known)
            name_unknown(at, first, end, lead, key);
    }
}

static void read_members(struct ps_table_at *at, size_t first, size_t end, size_t lead,
                         const json_t *json, void *object)
{
    const struct ps_table *table = at->table;
    size_t known = 0, next, len;

    for (size_t i = first; i < end; i = next) {
        const struct ps_member *member = &table->members[i];
        next = ps_table_group(table, i, end, lead, &len);
        const json_t *value = json_object_getn(json, member->name + lead, len);
        known += value != NULL;
        if (!ps_table_is_group(member, lead, len)) {
            read_member(at, member, value, object);
            continue;
        }
        if (value != NULL && !json_is_object(value)) {
            char place[PATH_MAX_LEN];
            (void)snprintf(place, sizeof place, "%.*s", (int)(lead + len), member->name);
            ps_table_fault(at, place, "must be an object, not %s", type_of(value));
            value = NULL;
        }
        read_members(at, i, next, lead + len + 1, value, object);
    }
    if (json_object_size(json) > known)
        name_unknowns(at, first, end, lead, json);
}

/* Which choice is there becomes the tag. */
static void check_choices(struct ps_table_at *at, void *object)
{
    char words[RULE_MAX];
    size_t count = 0, len = 0;

    words[0] = '\0';
    for (size_t i = 0; i < at->table->count; i++) {
        const struct ps_member *member = &at->table->members[i];
        if ((member->flags & PS_M_CHOICE) == 0)
            continue;
        if (len < sizeof words)
            len += (size_t)snprintf(words + len, sizeof words - len, "%s%s", len > 0 ? ", " : "",
                                    member->name);
        if (!ps_table_has(at, member->name) || count++ > 0)
            continue;
        unsigned tag = (unsigned)__builtin_ctz(member->when);
        memcpy((char *)object + at->table->tag_at, &tag, sizeof tag);
    }
    if (len > 0 && count != 1)
        ps_table_fault(at, "", "must have exactly one of: %s", words);
}

static void read_object(struct ps_table_at *at, void *object)
{
    const struct ps_table *table = at->table;

    if (table->has_tag)
        check_choices(at, object);
    read_members(at, 0, table->count, 0, at->json, object);
    if (table->check != NULL && !at->of->no_memory)
        table->check(at, object);
}

bool ps_table_has(const struct ps_table_at *at, const char *member)
{
    const json_t *json = at->json;

    for (const char *dot; json != NULL && (dot = strchr(member, '.')) != NULL; member = dot + 1)
        json = json_object_getn(json, member, (size_t)(dot - member));
    json = json_object_get(json, member);
    return json != NULL && !json_is_null(json);
}

int ps_table_read(const struct ps_table *table, const struct ps_table_source *source, void *object,
                  struct ps_faults *faults)
{
    struct ps_table_reading of = {
        .faults = faults, .pointer = source->pointer, .style = source->style};
    struct ps_table_at at = {
        .table = table, .json = source->json, .ctx = source->ctx, .index = SIZE_MAX, .of = &of};

    if (!json_is_object(source->json)) {
        ps_table_fault(&at, "", "must be an object, not %s", type_of(source->json));
        at.json = NULL; /* so that each member has its default */
    }
    read_object(&at, object);
    if (of.no_memory)
        return ps_faults_add(faults, PS_E_NOMEM, source->pointer, "out of memory");
    return of.said > 0 ? PS_E_INVALID : 0;
}
