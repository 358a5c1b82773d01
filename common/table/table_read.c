/* Reading an object by its table. Every row is looked up once; members that no row knows are
 * noticed by their number, and only then sought. Paths of faults are put together when there is a
 * fault. See table.h. */
#include "common/table/table_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- Faults. --- */

struct path {
    char text[PS_TABLE_PATH_MAX];
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

/* A name of a row, whose dots lead into objects, or a place, whose slashes do. */
static void put_place(struct path *path, const char *place)
{
    char separator = strchr(place, '/') != NULL ? '/' : '.';

    if (*place == '\0')
        return;
    put_separator(path);
    for (; *place != '\0'; place++) {
        if (*place == separator)
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
static void PS_PRINTF(4, 5)
    key_fault(struct ps_table_at *at, struct ps_str section, const char *key, const char *fmt, ...)
{
    struct path path = {.style = at->of->style};
    char place[PS_TABLE_PATH_MAX];
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

bool ps_table_is_faulty(const struct ps_table_at *at)
{
    return at->of->said > 0;
}

static const char *type_of(const json_t *value)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array",
        [JSON_STRING] = "a string",  [JSON_INTEGER] = "a whole number",
        [JSON_REAL] = "a fraction",  [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",      [JSON_NULL] = "null"};

    return names[json_typeof(value)];
}

/* What the value is instead. Of texts those that have a form are repeated; others may be secrets.
 */
static void describe_value(const struct ps_member *member, const json_t *value, char *ret_text,
                           size_t cap)
{
    bool text = member->type == PS_M_STRING || member->type == PS_M_CHARS;

    if (json_is_integer(value))
        (void)snprintf(ret_text, cap, ", not %lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        (void)snprintf(ret_text, cap, ", not %.15g", json_real_value(value));
    else if (json_is_array(value) && (member->type == PS_M_LIST || member->type == PS_M_SET))
        (void)snprintf(ret_text, cap, ", not %zu entries", json_array_size(value));
    else if (!json_is_string(value) || !(text || member->type == PS_M_ENUM ||
                                         member->type == PS_M_TIME || member->type == PS_M_OWN))
        (void)snprintf(ret_text, cap, ", not %s", type_of(value));
    else if (text && member->format != NULL && json_string_length(value) <= PS_NAME_MAX)
        (void)snprintf(ret_text, cap, ", not \"%s\"", json_string_value(value));
}

/* "must be …, not 7; for example 5" */
void ps_table_wrong_value(struct ps_table_at *at, const char *place, const struct ps_member *member,
                          const json_t *value)
{
    const char *example = member->example != NULL ? member->example : member->fallback;
    char rule[PS_TABLE_RULE_MAX], is[PS_NAME_MAX + 16] = "";

    if (example != NULL && (strcmp(example, "null") == 0 || strlen(example) > 60))
        example = NULL;
    describe_value(member, value, is, sizeof is);
    ps_member_describe(member, PS_ENGLISH, rule, sizeof rule);
    ps_table_fault(at, place, "must be %s%s%s%s", rule, is, example != NULL ? "; for example " : "",
                   example != NULL ? example : "");
}

/* --- Objects. --- */

/* A member of which the tag says that it is not there. */
static void refuse_other(struct ps_table_at *at, const struct ps_member *member)
{
    const struct ps_member *tag = &at->table->members[0];
    char words[PS_TABLE_RULE_MAX];
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

/* What is not written stays as it is. */
static void patch_member(struct ps_table_at *at, const struct ps_member *member,
                         const json_t *value, void *object)
{
    unsigned needed = member->flags & (PS_M_REQUIRED | PS_M_NULLABLE);

    if (value == NULL)
        return;
    if (!json_is_null(value))
        ps_table_read_value(at, member->name, member, value, object);
    else if (needed == PS_M_REQUIRED)
        ps_table_fault(at, member->name, "cannot be null: it has no default");
}

static void read_member(struct ps_table_at *at, const struct ps_member *member, const json_t *value,
                        void *object)
{
    if ((member->flags & PS_M_SHOWN) != 0) {
        if (value != NULL)
            ps_table_fault(at, member->name, "is read-only: remove it");
    } else if (at->of->is_patch) {
        patch_member(at, member, value, object);
    } else if (!ps_member_applies(at->table, member, object)) {
        if (value != NULL && !json_is_null(value))
            refuse_other(at, member);
    } else if (value != NULL) {
        ps_table_read_value(at, member->name, member, value, object);
    } else {
        if ((member->flags & PS_M_REQUIRED) != 0 && at->json != NULL) {
            char rule[PS_TABLE_RULE_MAX];
            ps_member_describe(member, PS_ENGLISH, rule, sizeof rule);
            ps_table_fault(at, member->name, "is missing: it must be %s%s%s", rule,
                           member->example != NULL ? "; for example " : "",
                           member->example != NULL ? member->example : "");
        }
        ps_table_set_fallback(at, member, object);
    }
}

/* Names of the members of one object of the table that may be written, each once. */
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
        if (next == i + 1 && (table->members[i].flags & PS_M_SHOWN) != 0)
            continue;
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

bool ps_table_is_dropped(const struct ps_table_at *at, const char *key)
{
    const char *const *of = at->of->stored ? at->table->dropped : NULL;

    while (of != NULL && *of != NULL && strcmp(*of, key) != 0)
        of++;
    return of != NULL && *of != NULL;
}

static void name_unknowns(struct ps_table_at *at, size_t first, size_t end, size_t lead,
                          const json_t *json)
{
    const struct ps_table *table = at->table;
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)json, key, value)
    {
        bool known = ps_table_is_dropped(at, key);
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
        if (value == NULL && member->was != NULL && at->of->stored)
            value = json_object_get(json, member->was);
        known += value != NULL;
        if (!ps_table_is_group(member, lead, len)) {
            read_member(at, member, value, object);
            continue;
        }
        if (value != NULL && !json_is_object(value)) {
            char place[PS_TABLE_PATH_MAX];
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
    char words[PS_TABLE_RULE_MAX];
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

void ps_table_read_object(struct ps_table_at *at, void *object)
{
    const struct ps_table *table = at->table;

    if (table->has_tag && at->json != NULL && !at->of->is_patch)
        check_choices(at, object);
    read_members(at, 0, table->count, 0, at->json, object);
    if (table->check != NULL && at->json != NULL && !at->of->no_memory && !at->of->is_patch)
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
    struct ps_table_reading of = {.faults = faults,
                                  .pointer = source->pointer,
                                  .style = source->style,
                                  .stored = source->stored,
                                  .is_patch = source->is_patch};
    struct ps_table_at at = {
        .table = table, .json = source->json, .ctx = source->ctx, .index = SIZE_MAX, .of = &of};

    if (source->json != NULL && !json_is_object(source->json)) {
        ps_table_fault(&at, "", "must be an object, not %s", type_of(source->json));
        at.json = NULL; /* so that each member has its default */
    }
    ps_table_read_object(&at, object);
    if (of.no_memory)
        return ps_faults_add(faults, PS_E_NOMEM, source->pointer, "out of memory");
    return of.said > 0 ? PS_E_INVALID : 0;
}

json_t *ps_table_defaults(const struct ps_table *table)
{
    struct ps_faults faults = {0};
    void *object = calloc(1, table->size);
    json_t *json = NULL;
    const struct ps_table_source none = {.pointer = ""};

    if (object != NULL && ps_table_read(table, &none, object, &faults) != PS_E_NOMEM)
        json = ps_table_print(table, object);
    if (object != NULL)
        ps_table_free(table, object);
    free(object);
    return json;
}
