/* Strict JSON on jansson. The parser refuses what RFC 8259 forbids and more: duplicate members,
 * text behind the value, U+0000 (names and ids go through C strings), numbers beyond 64 bits, and
 * nesting deeper than 2,048 levels. A reader keeps the first fault, or all, and notes what it was
 * asked for, so that a whole object is read with one check at its end. */
#include "common/text/json.h"

#include "common/text/duration.h"
#include "common/clock.h"
#include "common/text/utf8.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORD_MAX 96 /* longest word that a suggestion is sought for */

int ps_json_parse(const char *text, size_t len, json_t **ret_json, struct ps_fault *fault)
{
    /* A raw NUL is never JSON, but jansson overlooks one behind a number. */
    if (memchr(text, '\0', len) != NULL)
        return ps_fault(fault, PS_E_INVALID, "", "not valid JSON: it holds a NUL byte");
    json_error_t error;
    json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (json == NULL) {
        if (json_error_code(&error) == json_error_out_of_memory)
            return ps_fault(fault, PS_E_NOMEM, "", "out of memory");
        return ps_fault(fault, PS_E_INVALID, "", "not valid JSON: line %d, column %d: %s",
                        error.line, error.column, error.text);
    }
    *ret_json = json;
    return 0;
}

int ps_json_load(const char *path, size_t max, json_t **ret_json, struct ps_fault *fault)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return ps_fault(fault, PS_E_IO, "", "cannot be opened: %s", strerror(errno));
    int err;
    char *text = malloc(max + 1);
    size_t len = text != NULL ? fread(text, 1, max + 1, file) : 0;
    if (text == NULL)
        err = ps_fault(fault, PS_E_NOMEM, "", "out of memory");
    else if (ferror(file))
        err = ps_fault(fault, PS_E_IO, "", "cannot be read: %s", strerror(errno));
    else if (len > max)
        err = ps_fault(fault, PS_E_INVALID, "", "is larger than %zu bytes", max);
    else
        err = ps_json_parse(text, len, ret_json, fault);
    free(text);
    (void)fclose(file);
    return err;
}

/* `pointer` "/" `member`, escaped by RFC 6901; just `pointer` for the member "". */
static void make_pointer(const char *pointer, const char *member, char *ret_path, size_t cap)
{
    size_t len = 0;
    for (const char *c = pointer; *c != '\0' && len + 1 < cap; c++)
        ret_path[len++] = *c;
    if (*member != '\0' && len + 1 < cap)
        ret_path[len++] = '/';
    for (const char *c = member; *c != '\0' && len + 2 < cap; c++) {
        if (*c == '~' || *c == '/') {
            ret_path[len++] = '~';
            ret_path[len++] = *c == '~' ? '0' : '1';
        } else {
            ret_path[len++] = *c;
        }
    }
    ret_path[len] = '\0';
}

void ps_json_fault(struct ps_json_reader *reader, const char *member, const char *fmt, ...)
{
    if (reader->err != 0 && reader->all == NULL)
        return;
    char path[sizeof(((struct ps_fault *)NULL)->path)];
    char text[sizeof(((struct ps_fault *)NULL)->text)];
    make_pointer(reader->pointer, member, path, sizeof path);
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (reader->all == NULL)
        reader->err = ps_fault(reader->fault, PS_E_INVALID, path, "%s", text);
    else if (ps_faults_add(reader->all, PS_E_INVALID, path, "%s", text) < 0 && reader->err == 0)
        reader->err = PS_E_INVALID;
}

void ps_json_reader_init(struct ps_json_reader *reader, const json_t *value, const char *pointer,
                         struct ps_fault *fault)
{
    *reader = (struct ps_json_reader){.object = value, .pointer = pointer, .fault = fault};
    if (!json_is_object(value))
        ps_json_fault(reader, "", "must be an object");
}

void ps_json_reader_init_all(struct ps_json_reader *reader, const json_t *value,
                             const char *pointer, struct ps_faults *all)
{
    *reader = (struct ps_json_reader){.object = value, .pointer = pointer, .all = all};
    if (!json_is_object(value))
        ps_json_fault(reader, "", "must be an object");
}

/* Notes that `member` is known. NULL when it is absent or the reader has ended. */
static const json_t *ask_member(struct ps_json_reader *reader, const char *member)
{
    if (reader->err != 0 && reader->all == NULL)
        return NULL;
    size_t i = 0;
    while (i < reader->asked_count && strcmp(reader->asked[i], member) != 0)
        i++;
    if (i == reader->asked_count) {
        assert(reader->asked_count < PS_ARRAY_LEN(reader->asked) - 1);
        reader->asked[reader->asked_count++] = member;
    }
    return json_object_get(reader->object, member);
}

bool ps_json_has(struct ps_json_reader *reader, const char *member)
{
    return ask_member(reader, member) != NULL;
}

const json_t *ps_json_value(struct ps_json_reader *reader, const char *member)
{
    return ask_member(reader, member);
}

bool ps_json_whole(const json_t *value, int64_t *ret)
{
    if (json_is_integer(value)) {
        *ret = json_integer_value(value);
        return true;
    }
    double number = json_real_value(value);
    if (!json_is_real(value) || number < -(double)PS_INT_MAX || number > (double)PS_INT_MAX ||
        (double)(int64_t)number != number)
        return false;
    *ret = (int64_t)number;
    return true;
}

void ps_json_int(struct ps_json_reader *reader, const char *member, int64_t min, int64_t max,
                 int64_t *ret)
{
    const json_t *value = ask_member(reader, member);
    if (value == NULL)
        return;
    int64_t number;
    if (!ps_json_whole(value, &number)) {
        ps_json_fault(reader, member, "must be a whole number");
        return;
    }
    if (number < min || number > max) {
        ps_json_fault(reader, member, "must be between %lld and %lld", (long long)min,
                      (long long)max);
        return;
    }
    *ret = number;
}

bool ps_json_seconds(const json_t *value, int64_t *ret_s)
{
    return json_is_string(value)
               ? ps_duration_read(json_string_value(value), json_string_length(value), ret_s) == 0
               : ps_json_whole(value, ret_s);
}

void ps_json_duration(struct ps_json_reader *reader, const char *member, int64_t min, int64_t max,
                      int64_t *ret_s)
{
    const json_t *value = ask_member(reader, member);
    int64_t seconds;

    if (value == NULL)
        return;
    if (!ps_json_seconds(value, &seconds))
        ps_json_fault(reader, member,
                      "must be a whole number of seconds, or a text such as \"10m\" (s, m, h, d)");
    else if (seconds < min || seconds > max)
        ps_json_fault(reader, member, "must be between %lld and %lld seconds", (long long)min,
                      (long long)max);
    else
        *ret_s = seconds;
}

void ps_json_number(struct ps_json_reader *reader, const char *member, double min, double max,
                    double *ret)
{
    const json_t *value = ask_member(reader, member);
    if (value == NULL)
        return;
    double number = json_number_value(value);
    if (!json_is_number(value))
        ps_json_fault(reader, member, "must be a number");
    else if (!(number >= min && number <= max))
        ps_json_fault(reader, member, "must be between %g and %g", min, max);
    else
        *ret = number;
}

json_t *ps_json_of_time(int64_t wall_ms)
{
    char text[PS_TIME_LEN + 1];

    if (wall_ms == INT64_MAX)
        return json_null();
    ps_time_format(wall_ms, text);
    return json_string(text);
}

int ps_json_print(json_t *json, FILE *out)
{
    bool well =
        json != NULL && json_dumpf(json, out, JSON_INDENT(2)) == 0 && putc('\n', out) != EOF;

    json_decref(json);
    return well ? 0 : PS_E_IO;
}

json_t *ps_json_built(json_t *json, int err)
{
    if (err == 0)
        return json;
    json_decref(json);
    return NULL;
}

json_t *ps_json_of_number(double number)
{
    bool whole = number >= -(double)PS_INT_MAX && number <= (double)PS_INT_MAX &&
                 (double)(int64_t)number == number;

    return whole ? json_integer((json_int_t)number) : json_real(number);
}

void ps_json_bool(struct ps_json_reader *reader, const char *member, bool *ret)
{
    const json_t *value = ask_member(reader, member);
    if (value == NULL)
        return;
    if (!json_is_boolean(value)) {
        ps_json_fault(reader, member, "must be true or false");
        return;
    }
    *ret = json_is_true(value);
}

void ps_json_string(struct ps_json_reader *reader, const char *member, size_t max_len,
                    struct ps_str *ret)
{
    const json_t *value = ask_member(reader, member);
    if (value == NULL)
        return;
    if (!json_is_string(value)) {
        ps_json_fault(reader, member, "must be a string");
        return;
    }
    if (json_string_length(value) > max_len) {
        ps_json_fault(reader, member, "must be at most %zu bytes long", max_len);
        return;
    }
    *ret = (struct ps_str){json_string_value(value), json_string_length(value)};
}

void ps_json_text(struct ps_json_reader *reader, const char *member, size_t max, struct ps_str *ret)
{
    struct ps_str text = {0};
    size_t count = 0;
    ps_json_string(reader, member, SIZE_MAX, &text);
    for (size_t at = 0, size; at < text.len; at += size, count++) {
        uint32_t point;
        size = ps_utf8_next(text.at + at, text.len - at, &point); /* jansson took UTF-8 only */
        if (size == 0 || ps_utf8_is_control(point)) {
            ps_json_fault(reader, member, "must have no control characters");
            return;
        }
    }
    if (count > max)
        ps_json_fault(reader, member, "must be at most %zu characters long", max);
    else if (text.at != NULL)
        *ret = text;
}

void ps_json_time(struct ps_json_reader *reader, const char *member, int64_t *ret_wall_ms)
{
    const json_t *value = ask_member(reader, member);
    if (value == NULL)
        return;
    if (!json_is_string(value) ||
        ps_time_parse(json_string_value(value), json_string_length(value), ret_wall_ms) != 0)
        ps_json_fault(reader, member,
                      "must be a time with its offset, such as \"2030-11-11T10:00:00Z\"");
}

/* "a, b, c", cut when it is long. */
static void join_words(const char *const *words, char *ret_text, size_t cap)
{
    size_t len = 0;
    ret_text[0] = '\0';
    for (size_t i = 0; words[i] != NULL && len + 1 < cap; i++) {
        int n = snprintf(ret_text + len, cap - len, "%s%s", i > 0 ? ", " : "", words[i]);
        len += n > 0 ? (size_t)n : 0;
    }
}

void ps_json_enum(struct ps_json_reader *reader, const char *member, const char *const *words,
                  int *ret)
{
    const json_t *value = ask_member(reader, member);
    if (value == NULL)
        return;
    if (json_is_string(value)) {
        for (int i = 0; words[i] != NULL; i++) {
            if (strcmp(words[i], json_string_value(value)) == 0) {
                *ret = i;
                return;
            }
        }
    }
    char list[256];
    const char *near =
        json_is_string(value) ? ps_nearest_word(json_string_value(value), words) : NULL;
    join_words(words, list, sizeof list);
    if (near != NULL)
        ps_json_fault(reader, member, "must be one of: %s; did you mean \"%s\"?", list, near);
    else
        ps_json_fault(reader, member, "must be one of: %s", list);
}

void ps_json_require(struct ps_json_reader *reader, const char *const *members)
{
    for (; *members != NULL; members++) {
        if ((reader->err == 0 || (reader->all != NULL && json_is_object(reader->object))) &&
            !ps_json_has(reader, *members))
            ps_json_fault(reader, *members, "is missing");
    }
}

int ps_json_done(struct ps_json_reader *reader)
{
    const char *member;
    json_t *value;
    if (reader->err != 0 && reader->all == NULL)
        return reader->err;
    /* ask_member() keeps the last place of `asked` free, so the list is NULL-terminated. */
    json_object_foreach((json_t *)(uintptr_t)reader->object, member, value)
    {
        size_t i = 0;
        while (i < reader->asked_count && strcmp(reader->asked[i], member) != 0)
            i++;
        if (i < reader->asked_count)
            continue;
        const char *near = ps_nearest_word(member, reader->asked);
        if (near != NULL)
            ps_json_fault(reader, member, "is unknown; did you mean \"%s\"?", near);
        else
            ps_json_fault(reader, member, "is unknown");
    }
    return reader->err;
}

/* Levenshtein distance, one row of the table at a time. `b` is at most WORD_MAX bytes long. */
static size_t edit_distance(const char *a, const char *b, size_t b_len)
{
    size_t row[WORD_MAX + 1];
    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 0; a[i] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < b_len; j++) {
            size_t replaced = diagonal + (a[i] != b[j]);
            size_t added = row[j] + 1, removed = row[j + 1] + 1;
            diagonal = row[j + 1];
            size_t best = replaced < added ? replaced : added;
            row[j + 1] = best < removed ? best : removed;
        }
    }
    return row[b_len];
}

/* The word that begins like the text for longest, if that is half of the text and more than a
 * syllable: "per_user_limit" is a good word for "per_user_cap". */
static const char *begins_alike(const char *text, size_t len, const char *const *words)
{
    size_t longest = len / 2 > 5 ? len / 2 : 5;
    const char *found = NULL;

    for (; *words != NULL; words++) {
        size_t same = 0;
        while (same < len && text[same] == (*words)[same])
            same++;
        if (same > longest) {
            longest = same;
            found = *words;
        }
    }
    return found;
}

const char *ps_nearest_word(const char *text, const char *const *words)
{
    size_t len = strnlen(text, WORD_MAX + 1);
    if (len > WORD_MAX)
        return NULL;
    size_t least = 2 + len / 4; /* a distance from here on is no likeness */
    if (least > len)
        least = len;
    const char *nearest = NULL;
    for (const char *const *word = words; *word != NULL; word++) {
        size_t distance = edit_distance(*word, text, len);
        if (distance < least) {
            least = distance;
            nearest = *word;
        }
    }
    return nearest != NULL ? nearest : begins_alike(text, len, words);
}
