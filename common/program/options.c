/* Settings from a table. Every row takes its default, then the document is walked: each of its keys
 * must be a row, which takes the value, or lead to rows, and then be an object. Defaults and values
 * go through the same checks. */
#include "common/program/options.h"
#include "common/text/buf.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define OPTIONS_MAX 256 /* rows of a table */
#define NAME_LEN    96  /* of a path, with its NUL */

static void *field_of(const struct ps_option *option, void *settings)
{
    return (char *)settings + option->offset;
}

static size_t size_of(enum ps_option_type type)
{
    static const size_t sizes[] = {
        [PS_OPT_INT] = sizeof(int64_t),
        [PS_OPT_BOOL] = sizeof(bool),
        [PS_OPT_STRING] = sizeof(char *),
        [PS_OPT_ENUM] = sizeof(int),
        [PS_OPT_STRINGS] = sizeof(struct ps_option_list),
        [PS_OPT_JSON] = sizeof(json_t *),
    };
    return sizes[type];
}

static void free_list(struct ps_option_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->at[i]);
    free(list->at);
}

/* Frees what the field owns and zeroes it. */
static void clear_field(const struct ps_option *option, void *settings)
{
    void *field = field_of(option, settings);
    if (option->type == PS_OPT_STRING)
        free(*(char **)field);
    else if (option->type == PS_OPT_STRINGS)
        free_list(field);
    else if (option->type == PS_OPT_JSON)
        json_decref(*(json_t **)field);
    memset(field, 0, size_of(option->type));
}

static const char *type_name(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "a whole number";
    case JSON_REAL:
        return "a fraction";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    default:
        return "null";
    }
}

static int wrong_type(const struct ps_option *option, const json_t *value, const char *wanted,
                      struct ps_fault *fault)
{
    return ps_fault(fault, PS_E_INVALID, option->path, "must be %s, not %s", wanted,
                    type_name(value));
}

static const char *unit_of(const struct ps_option *option)
{
    return option->unit != NULL ? option->unit : "";
}

static const char *unit_gap(const struct ps_option *option)
{
    return *unit_of(option) != '\0' ? " " : "";
}

static int set_int(const struct ps_option *option, const json_t *value, int64_t *field,
                   struct ps_fault *fault)
{
    if (!json_is_integer(value))
        return wrong_type(option, value, "a whole number", fault);
    int64_t number = json_integer_value(value);
    if (number < option->min || number > option->max)
        return ps_fault(fault, PS_E_INVALID, option->path,
                        "must be between %" PRId64 " and %" PRId64 "%s%s, not %" PRId64,
                        option->min, option->max, unit_gap(option), unit_of(option), number);
    *field = number;
    return 0;
}

/* "a, b, c" of a list of words. */
static void join_words(const char *const *words, char *ret_text, size_t cap)
{
    struct ps_buf buf;
    ps_buf_init(&buf, ret_text, cap - 1);
    for (size_t i = 0; words[i] != NULL; i++) {
        ps_buf_puts(&buf, i > 0 ? ", " : "");
        ps_buf_puts(&buf, words[i]);
    }
    ret_text[buf.len] = '\0';
}

static int set_enum(const struct ps_option *option, const json_t *value, int *field,
                    struct ps_fault *fault)
{
    for (int i = 0; json_is_string(value) && option->words[i] != NULL; i++) {
        if (strcmp(option->words[i], json_string_value(value)) == 0) {
            *field = i;
            return 0;
        }
    }
    char words[200];
    join_words(option->words, words, sizeof words);
    const char *near =
        json_is_string(value) ? ps_nearest_word(json_string_value(value), option->words) : NULL;
    if (near == NULL)
        return ps_fault(fault, PS_E_INVALID, option->path, "must be one of: %s", words);
    return ps_fault(fault, PS_E_INVALID, option->path, "must be one of: %s; did you mean \"%s\"?",
                    words, near);
}

static int copy_string(const struct ps_option *option, const json_t *value, const char *path,
                       char **ret_text, struct ps_fault *fault)
{
    if (!json_is_string(value))
        return ps_fault(fault, PS_E_INVALID, path, "must be a string, not %s", type_name(value));
    size_t len = json_string_length(value);
    if ((int64_t)len < option->min || (int64_t)len > option->max)
        return ps_fault(fault, PS_E_INVALID, path,
                        "must be %" PRId64 " to %" PRId64 " bytes long, not %zu", option->min,
                        option->max, len);
    char *text = strdup(json_string_value(value));
    if (text == NULL)
        return ps_fault(fault, PS_E_NOMEM, path, "out of memory");
    *ret_text = text;
    return 0;
}

static int set_strings(const struct ps_option *option, const json_t *value,
                       struct ps_option_list *field, struct ps_fault *fault)
{
    if (!json_is_array(value))
        return wrong_type(option, value, "an array of strings", fault);
    size_t count = json_array_size(value);
    struct ps_option_list list = {calloc(count > 0 ? count : 1, sizeof(char *)), 0};
    if (list.at == NULL)
        return ps_fault(fault, PS_E_NOMEM, option->path, "out of memory");
    for (; list.count < count; list.count++) {
        char path[NAME_LEN + 32];
        snprintf(path, sizeof path, "%s[%zu]", option->path, list.count);
        int err = copy_string(option, json_array_get(value, list.count), path, &list.at[list.count],
                              fault);
        if (err != 0) {
            free_list(&list);
            return err;
        }
    }
    free_list(field);
    *field = list;
    return 0;
}

/* Replaces the field's value by `value`. */
static int set_field(const struct ps_option *option, json_t *value, void *settings,
                     struct ps_fault *fault)
{
    void *field = field_of(option, settings);
    char *text = NULL;
    switch (option->type) {
    case PS_OPT_INT:
        return set_int(option, value, field, fault);
    case PS_OPT_BOOL:
        if (!json_is_boolean(value))
            return wrong_type(option, value, "true or false", fault);
        *(bool *)field = json_is_true(value);
        return 0;
    case PS_OPT_ENUM:
        return set_enum(option, value, field, fault);
    case PS_OPT_STRING:
        if (!json_is_null(value) || strcmp(option->fallback, "null") != 0) {
            int err = copy_string(option, value, option->path, &text, fault);
            if (err != 0)
                return err;
        }
        free(*(char **)field);
        *(char **)field = text;
        return 0;
    case PS_OPT_STRINGS:
        return set_strings(option, value, field, fault);
    case PS_OPT_JSON:
        json_decref(*(json_t **)field);
        *(json_t **)field = json_incref(value);
        return 0;
    }
    return PS_E_INVALID;
}

static json_t *parse_fallback(const struct ps_option *option)
{
    json_error_t error;
    json_t *value = json_loads(option->fallback, JSON_DECODE_ANY, &error);
    assert(value != NULL || json_error_code(&error) == json_error_out_of_memory);
    return value;
}

static int set_fallback(const struct ps_option *option, void *settings, struct ps_fault *fault)
{
    json_t *value = parse_fallback(option);
    if (value == NULL)
        return ps_fault(fault, PS_E_NOMEM, option->path, "out of memory");
    int err = set_field(option, value, settings, fault);
    assert(err == 0 || err == PS_E_NOMEM); /* a default that is out of its own bounds */
    json_decref(value);
    return err;
}

/* The place in `path` behind `section` and its dot; NULL when `path` lies outside of it. */
static const char *path_inside(const char *path, const char *section)
{
    size_t len = strlen(section);
    if (len == 0)
        return path;
    return strncmp(path, section, len) == 0 && path[len] == '.' ? path + len + 1 : NULL;
}

/* The first path of the table that ends with the word `key`, or NULL. */
static const char *same_word(const struct ps_option *table, size_t count, const char *key)
{
    for (size_t i = 0; i < count; i++) {
        const char *dot = strrchr(table[i].path, '.');
        if (strcmp(dot != NULL ? dot + 1 : table[i].path, key) == 0)
            return table[i].path;
    }
    return NULL;
}

/* A key that the document has and the table has not: finds the key that was probably meant: a
 * similar word in the same object, or the same word in another section. For a key outside all
 * sections the latter comes first. */
static int unknown_key(const struct ps_option *table, size_t count, const char *section,
                       const char *key, const char *path, struct ps_fault *fault)
{
    char names[OPTIONS_MAX][NAME_LEN];
    const char *words[OPTIONS_MAX + 1];
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        const char *rest = path_inside(table[i].path, section);
        if (rest == NULL)
            continue;
        snprintf(names[found], NAME_LEN, "%.*s", (int)strcspn(rest, "."), rest);
        words[found] = names[found];
        found++;
    }
    words[found] = NULL;
    size_t first = strcspn(key, ".");
    for (size_t i = 0; i < count; i++) {
        const char *rest = path_inside(table[i].path, section);
        if (rest != NULL && key[first] == '.' && strcmp(rest, key) == 0)
            return ps_fault(fault, PS_E_INVALID, path,
                            "is unknown; write an object \"%.*s\" with \"%s\" in it", (int)first,
                            key, key + first + 1);
    }
    const char *near = ps_nearest_word(key, words);
    const char *same = same_word(table, count, key);
    if (near != NULL && (same == NULL || *section != '\0'))
        return ps_fault(fault, PS_E_INVALID, path, "is unknown; did you mean \"%s%s%s\"?", section,
                        *section != '\0' ? "." : "", near);
    if (same != NULL)
        return ps_fault(fault, PS_E_INVALID, path, "is unknown; did you mean \"%s\"?", same);
    return ps_fault(fault, PS_E_INVALID, path, "is unknown");
}

/* Walks one object of the document: sets what is a row, goes into what is a section. */
static int read_section(const struct ps_option *table, size_t count, const json_t *object,
                        const char *section, void *settings, struct ps_faults *faults)
{
    const char *key;
    json_t *value;
    int first = 0;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        char path[NAME_LEN + 32];
        int len = snprintf(path, sizeof path, "%s%s%s", section, *section != '\0' ? "." : "", key);
        const struct ps_option *row = NULL;
        bool leads_on = false;
        /* A key with a dot in it is no path: {"a.b": 1} is not {"a": {"b": 1}}. */
        for (size_t i = 0; i < count && len < (int)sizeof path && strchr(key, '.') == NULL; i++) {
            if (strcmp(table[i].path, path) == 0)
                row = &table[i];
            leads_on = leads_on || path_inside(table[i].path, path) != NULL;
        }
        struct ps_fault fault = {0};
        int err;
        if (row == NULL && leads_on && *key != '\0' && json_is_object(value)) {
            err = read_section(table, count, value, path, settings, faults);
        } else {
            if (row != NULL)
                err = set_field(row, value, settings, &fault);
            else if (leads_on && *key != '\0')
                err = ps_fault(&fault, PS_E_INVALID, path, "must be an object, not %s",
                               type_name(value));
            else
                err = unknown_key(table, count, section, key, path, &fault);
            if (err != 0)
                ps_faults_add(faults, err, fault.path, "%s", fault.text);
        }
        if (first == 0)
            first = err;
    }
    return first;
}

int ps_options_read_all(const struct ps_option *table, size_t count, const json_t *document,
                        void *settings, struct ps_faults *faults)
{
    assert(count <= OPTIONS_MAX);
    for (size_t i = 0; i < count; i++)
        memset(field_of(&table[i], settings), 0, size_of(table[i].type));
    for (size_t i = 0; i < count; i++) {
        struct ps_fault fault = {0};
        int err = set_fallback(&table[i], settings, &fault);
        if (err != 0)
            return ps_faults_add(faults, err, fault.path, "%s", fault.text);
    }
    if (document == NULL)
        return 0;
    if (!json_is_object(document))
        return ps_faults_add(faults, PS_E_INVALID, "", "must be an object, not %s",
                             type_name(document));
    return read_section(table, count, document, "", settings, faults);
}

int ps_options_read(const struct ps_option *table, size_t count, const json_t *document,
                    void *settings, struct ps_fault *fault)
{
    struct ps_faults faults = {0};
    int err = ps_options_read_all(table, count, document, settings, &faults);
    if (err != 0) {
        ps_options_free(table, count, settings);
        if (fault != NULL)
            *fault = faults.at[0];
    }
    return err;
}

void ps_options_free(const struct ps_option *table, size_t count, void *settings)
{
    for (size_t i = 0; i < count; i++)
        clear_field(&table[i], settings);
}

/* Puts `value` (taken over) at the dotted path, making the objects on the way. */
static int put_nested(json_t *root, const char *path, json_t *value)
{
    const char *dot;
    while ((dot = strchr(path, '.')) != NULL) {
        char name[NAME_LEN];
        snprintf(name, sizeof name, "%.*s", (int)(dot - path), path);
        json_t *next = json_object_get(root, name);
        if (next == NULL) {
            next = json_object();
            if (json_object_set_new(root, name, next) != 0) {
                json_decref(value);
                return PS_E_NOMEM;
            }
        }
        root = next;
        path = dot + 1;
    }
    return json_object_set_new(root, path, value) == 0 ? 0 : PS_E_NOMEM;
}

static json_t *strings_json(const struct ps_option_list *list)
{
    json_t *json = json_array();
    int err = 0;
    for (size_t i = 0; i < list->count; i++)
        err |= json_array_append_new(json, json_string(list->at[i]));
    return ps_json_built(json, err);
}

/* The value of the option; NULL: out of memory. */
static json_t *field_json(const struct ps_option *option, const void *settings)
{
    const void *field = (const char *)settings + option->offset;
    const char *text;
    json_t *json;
    switch (option->type) {
    case PS_OPT_INT:
        return json_integer(*(const int64_t *)field);
    case PS_OPT_BOOL:
        return json_boolean(*(const bool *)field);
    case PS_OPT_STRING:
        text = *(char *const *)field;
        return text != NULL ? json_string(text) : json_null();
    case PS_OPT_ENUM:
        return json_string(option->words[*(const int *)field]);
    case PS_OPT_STRINGS:
        return strings_json(field);
    case PS_OPT_JSON:
        json = *(json_t *const *)field;
        return json != NULL ? json_deep_copy(json) : json_null();
    }
    return NULL;
}

json_t *ps_options_json(const struct ps_option *table, size_t count, const void *settings)
{
    json_t *root = json_object();
    int err = 0;
    for (size_t i = 0; i < count && err == 0; i++) {
        /* json_object_set_new refuses a NULL, of a fallback that failed to be parsed, too. */
        json_t *value =
            settings != NULL ? field_json(&table[i], settings) : parse_fallback(&table[i]);
        err = put_nested(root, table[i].path, value);
    }
    return ps_json_built(root, err);
}

json_t *ps_options_defaults(const struct ps_option *table, size_t count)
{
    return ps_options_json(table, count, NULL);
}

/* Takes `json` over; NULL: it could not be made. */
static int print_json(json_t *json, FILE *out)
{
    bool well =
        json != NULL && json_dumpf(json, out, JSON_INDENT(2)) == 0 && putc('\n', out) != EOF;
    json_decref(json);
    return well ? 0 : PS_E_IO;
}

int ps_options_print_defaults(const struct ps_option *table, size_t count, FILE *out)
{
    return print_json(ps_options_defaults(table, count), out);
}

/* --- JSON Schema --- */

static json_t *words_json(const char *const *words)
{
    json_t *list = json_array();
    int err = 0;
    for (; *words != NULL; words++)
        err |= json_array_append_new(list, json_string(*words));
    return ps_json_built(list, err);
}

/* Rows bound bytes, a schema characters, each of up to four bytes. */
static json_t *string_schema(const struct ps_option *option)
{
    return json_pack("{s:s, s:I, s:I}", "type", "string", "minLength",
                     (json_int_t)((option->min + 3) / 4), "maxLength", (json_int_t)option->max);
}

static json_t *value_schema(const struct ps_option *option)
{
    json_t *json;
    switch (option->type) {
    case PS_OPT_INT:
        return json_pack("{s:s, s:I, s:I}", "type", "integer", "minimum", (json_int_t)option->min,
                         "maximum", (json_int_t)option->max);
    case PS_OPT_BOOL:
        return json_pack("{s:s}", "type", "boolean");
    case PS_OPT_ENUM:
        return json_pack("{s:s, s:o}", "type", "string", "enum", words_json(option->words));
    case PS_OPT_STRING:
        json = string_schema(option);
        return strcmp(option->fallback, "null") != 0
                   ? json
                   : ps_json_built(json, json_object_set_new(
                                             json, "type", json_pack("[s, s]", "string", "null")));
    case PS_OPT_STRINGS:
        return json_pack("{s:s, s:o}", "type", "array", "items", string_schema(option));
    case PS_OPT_JSON:
        return json_pack("{s:s}", "type", *option->fallback == '[' ? "array" : "object");
    }
    return NULL;
}

static json_t *row_schema(const struct ps_option *option)
{
    json_t *json = value_schema(option);
    int err = json_object_set_new(json, "description", json_string(option->help)) |
              json_object_set_new(json, "default", parse_fallback(option));
    if (*unit_of(option) != '\0')
        err |= json_object_set_new(json, "x-unit", json_string(option->unit));
    if (option->live)
        err |= json_object_set_new(json, "x-live", json_true());
    return ps_json_built(json, err);
}

static json_t *section_schema(void)
{
    return json_pack("{s:s, s:{}, s:b}", "type", "object", "properties", "additionalProperties", 0);
}

/* Puts the row into the section that its path leads to, making the sections on the way. */
static int add_row(json_t *section, const struct ps_option *option)
{
    const char *name = option->path;
    const char *dot;
    while ((dot = strchr(name, '.')) != NULL) {
        json_t *properties = json_object_get(section, "properties");
        size_t len = (size_t)(dot - name);
        section = json_object_getn(properties, name, len);
        if (section == NULL) {
            section = section_schema();
            if (json_object_setn_new(properties, name, len, section) != 0)
                return PS_E_NOMEM;
        }
        name = dot + 1;
    }
    return json_object_set_new(json_object_get(section, "properties"), name, row_schema(option));
}

json_t *ps_options_schema(const struct ps_option *table, size_t count, const char *title)
{
    json_t *json = json_pack("{s:s, s:s}", "$schema",
                             "https://json-schema.org/draft/2020-12/schema", "title", title);
    json_t *section = section_schema();
    int err = json_object_update(json, section);
    json_decref(section);
    for (size_t i = 0; i < count && err == 0; i++)
        err = add_row(json, &table[i]);
    return ps_json_built(json, err);
}

int ps_options_print_schema(const struct ps_option *table, size_t count, const char *title,
                            FILE *out)
{
    return print_json(ps_options_schema(table, count, title), out);
}

void ps_option_describe(const struct ps_option *option, char *ret_text, size_t cap)
{
    switch (option->type) {
    case PS_OPT_INT:
        snprintf(ret_text, cap, "%" PRId64 " to %" PRId64 "%s%s", option->min, option->max,
                 unit_gap(option), unit_of(option));
        break;
    case PS_OPT_BOOL:
        snprintf(ret_text, cap, "true, false");
        break;
    case PS_OPT_ENUM:
        join_words(option->words, ret_text, cap);
        break;
    case PS_OPT_STRING:
        snprintf(ret_text, cap, "string of %" PRId64 " to %" PRId64 " bytes", option->min,
                 option->max);
        break;
    case PS_OPT_STRINGS:
        snprintf(ret_text, cap, "array of strings");
        break;
    case PS_OPT_JSON:
        snprintf(ret_text, cap, *option->fallback == '[' ? "array" : "object");
        break;
    }
}

static size_t wider_than(size_t width, const char *text)
{
    size_t len = strlen(text);
    return len > width ? len : width;
}

void ps_options_print_help(const struct ps_option *table, size_t count, FILE *out)
{
    size_t path_width = 0, fallback_width = 0, range_width = 0;
    char range[200];
    for (size_t i = 0; i < count; i++) {
        ps_option_describe(&table[i], range, sizeof range);
        path_width = wider_than(path_width, table[i].path);
        fallback_width = wider_than(fallback_width, table[i].fallback);
        range_width = wider_than(range_width, range);
    }
    for (size_t i = 0; i < count; i++) {
        ps_option_describe(&table[i], range, sizeof range);
        fprintf(out, "  %-*s  %-*s  %-*s  %s%s\n", (int)path_width, table[i].path,
                (int)fallback_width, table[i].fallback, (int)range_width, range, table[i].help,
                table[i].live ? " (live)" : "");
    }
}

static bool lists_differ(const struct ps_option_list *a, const struct ps_option_list *b)
{
    if (a->count != b->count)
        return true;
    for (size_t i = 0; i < a->count; i++) {
        if (strcmp(a->at[i], b->at[i]) != 0)
            return true;
    }
    return false;
}

bool ps_option_differs(const struct ps_option *option, const void *settings_a,
                       const void *settings_b)
{
    const void *a = (const char *)settings_a + option->offset;
    const void *b = (const char *)settings_b + option->offset;
    switch (option->type) {
    case PS_OPT_INT:
        return *(const int64_t *)a != *(const int64_t *)b;
    case PS_OPT_BOOL:
        return *(const bool *)a != *(const bool *)b;
    case PS_OPT_ENUM:
        return *(const int *)a != *(const int *)b;
    case PS_OPT_STRING:
        return !ps_text_same(*(char *const *)a, *(char *const *)b);
    case PS_OPT_STRINGS:
        return lists_differ(a, b);
    case PS_OPT_JSON:
        return !json_equal(*(json_t *const *)a, *(json_t *const *)b);
    }
    return true;
}
