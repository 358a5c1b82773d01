/* See print.h. A table is collected before it is printed, to know the width of its columns. */
#include "gateway/ctl/print.h"

#include "common/grow.h"
#include "common/text/utf8.h"

#include <stdarg.h>
#include <ctype.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#define DEPTH_MAX  8
#define CELL_WIDTH 60 /* columns of a list or an object in a table */

/* --- Text. --- */

/* Marks, overrides and isolates of the writing direction (Bidi_Control of Unicode), and the
 * separators of lines and paragraphs. */
static bool is_unsafe(uint32_t point)
{
    return ps_utf8_is_control(point) || point == 0x061c || point == 0x200e || point == 0x200f ||
           (point >= 0x2028 && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069);
}

void ctl_put_text(FILE *out, const char *text, size_t len)
{
    uint32_t point;

    while (len > 0) {
        size_t step = ps_utf8_next(text, len, &point);
        if (step == 0 || is_unsafe(point))
            fputc('?', out);
        else
            (void)fwrite(text, 1, step, out);
        step = step > 0 ? step : 1;
        text += step;
        len -= step;
    }
}

size_t ctl_text_width(const char *text, size_t len)
{
    size_t width = 0;
    uint32_t point;

    while (len > 0) {
        size_t step = ps_utf8_next(text, len, &point);
        int wide = step > 0 && !is_unsafe(point) ? wcwidth((wchar_t)point) : 1;
        width += wide >= 0 ? (size_t)wide : 1;
        step = step > 0 ? step : 1;
        text += step;
        len -= step;
    }
    return width;
}

int ctl_put_json(FILE *out, const json_t *json, bool indented)
{
    char *text = json_dumps(json, (indented ? JSON_INDENT(2) : JSON_COMPACT) | JSON_ENCODE_ANY |
                                      JSON_REAL_PRECISION(15));
    uint32_t point;

    if (text == NULL)
        return ctl_say(CTL_FAILED, "out of memory");
    for (const char *at = text, *end = text + strlen(text); at < end;) {
        size_t step = ps_utf8_next(at, (size_t)(end - at), &point);
        if (step > 0 && *at != '\n' && is_unsafe(point))
            fprintf(out, "\\u%04x", (unsigned)point);
        else
            (void)fwrite(at, 1, step > 0 ? step : 1, out);
        at += step > 0 ? step : 1;
    }
    fputc('\n', out);
    free(text);
    return CTL_OK;
}

/* --- Tables. --- */

void ctl_table_add(struct ctl_table *table, const char *text)
{
    char *copy = strdup(text != NULL ? text : "-");

    if (copy == NULL ||
        ps_grow(&table->cells, &table->room, table->count + 1, sizeof *table->cells) < 0) {
        table->no_memory = true;
        free(copy);
        return;
    }
    table->cells[table->count++] = copy;
}

/* Heap; NULL: no memory. */
static char *cell_text(const json_t *value)
{
    const json_t *element;
    char *text = NULL;
    size_t len = 0, i;

    if (value == NULL || json_is_null(value))
        return strdup("-");
    if (json_is_string(value))
        return strdup(json_string_value(value));
    if (!json_is_array(value))
        return json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    FILE *out = open_memstream(&text, &len);
    if (out == NULL)
        return NULL;
    json_array_foreach(value, i, element)
    {
        char *inner = json_is_object(element) || json_is_array(element)
                          ? json_dumps(element, JSON_COMPACT)
                          : cell_text(element);
        fprintf(out, "%s%s", i > 0 ? "," : "", inner != NULL ? inner : "?");
        free(inner);
    }
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

void ctl_table_add_json(struct ctl_table *table, const json_t *value)
{
    char *text = cell_text(value);

    if (text == NULL) {
        table->no_memory = true;
        return;
    }
    if (!json_is_string(value) && strlen(text) > CELL_WIDTH) {
        size_t cut = ps_utf8_cut(text, strlen(text), CELL_WIDTH - 3);
        memcpy(text + cut, "...", 4);
    }
    ctl_table_add(table, text[0] != '\0' ? text : "-");
    free(text);
}

int ctl_table_print(struct ctl_table *table, FILE *out)
{
    size_t columns = table->columns, *width = calloc(columns, sizeof *width);
    int exit = CTL_OK;

    if (width == NULL || table->no_memory)
        exit = ctl_say(CTL_FAILED, "out of memory");
    for (size_t i = 0; exit == CTL_OK && i < table->count; i++) {
        size_t cell = ctl_text_width(table->cells[i], strlen(table->cells[i]));
        if (cell > width[i % columns])
            width[i % columns] = cell;
    }
    for (size_t i = 0; i < table->count; i++) {
        const char *cell = table->cells[i];
        bool last = i % columns + 1 == columns || i + 1 == table->count;
        if (exit == CTL_OK) {
            ctl_put_text(out, cell, strlen(cell));
            int gap = (int)(width[i % columns] - ctl_text_width(cell, strlen(cell)));
            fprintf(out, "%*s%s", last ? 0 : gap, "", last ? "\n" : "  ");
        }
        free(table->cells[i]);
    }
    free(table->cells);
    free(width);
    *table = (struct ctl_table){.columns = columns};
    return exit;
}

/* --- Documents. --- */

/* The member at path "a.b", of which the first `len` bytes count. */
static const json_t *find(const json_t *document, const char *path, size_t len)
{
    while (document != NULL && len > 0) {
        char name[64];
        size_t word = strcspn(path, ".");
        word = word < len ? word : len;
        (void)snprintf(name, sizeof name, "%.*s", (int)word, path);
        document = json_object_get(document, name);
        len -= word < len ? word + 1 : word;
        path += word + 1;
    }
    return document;
}

static bool is_who(const char *name, size_t len)
{
    return (len == 2 && strncmp(name, "by", 2) == 0) || (len == 3 && strncmp(name, "who", 3) == 0);
}

static void add_row(const struct ctl *ctl, struct ctl_table *table, const char *name,
                    const json_t *document, const char *columns)
{
    for (const char *at = columns; *at != '\0'; at += strspn(at, " ")) {
        size_t len = strcspn(at, " ");
        if (name != NULL && len == 4 && strncmp(at, "name", 4) == 0)
            ctl_table_add(table, name);
        else if (is_who(at, len))
            ctl_table_add_json(table, ctl_who(ctl, find(document, at, len)));
        else
            ctl_table_add_json(table, find(document, at, len));
        at += len;
    }
}

static void add_head(struct ctl_table *table, const char *columns)
{
    for (const char *at = columns; *at != '\0'; at += strspn(at, " ")) {
        char head[64];
        size_t len = strcspn(at, " ");
        (void)snprintf(head, sizeof head, "%.*s", (int)len, at);
        for (char *c = head; *c != '\0'; c++)
            *c = *c == '_' ? ' ' : (char)toupper((unsigned char)*c);
        ctl_table_add(table, head);
        table->columns++;
        at += len;
    }
}

/* Prints member by member, nested objects too. */
static void add_members(const struct ctl *ctl, struct ctl_table *table, const char *outer,
                        const json_t *document, int depth)
{
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)document, name, value)
    {
        char *path = NULL;
        if (asprintf(&path, "%s%s%s", outer, outer[0] != '\0' ? "." : "", name) < 0) {
            table->no_memory = true;
            return;
        }
        if (json_is_object(value) && json_object_size(value) > 0 && depth < DEPTH_MAX) {
            add_members(ctl, table, path, value, depth + 1);
        } else {
            ctl_table_add(table, path);
            ctl_table_add_json(table, is_who(name, strlen(name)) ? ctl_who(ctl, value) : value);
        }
        free(path);
    }
}

int ctl_flush(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO};

    if (fflush(stdout) == 0 && !ferror(stdout))
        return CTL_OK;
    if (poll(&out, 1, 0) == 1 && (out.revents & POLLERR) != 0)
        _exit(CTL_OK);
    return ctl_say(CTL_FAILED, "standard output cannot be written");
}

bool ctl_wants_json(const struct ctl *ctl)
{
    return ctl->options.output != NULL && strcmp(ctl->options.output, "json") == 0;
}

int ctl_print(const struct ctl *ctl, const json_t *json, const char *columns)
{
    struct ctl_table table = {.columns = columns != NULL ? 0 : 2};
    const char *name;
    json_t *value;
    size_t i;

    if (ctl_wants_json(ctl))
        return ctl_put_json(stdout, json, true);
    if (columns == NULL) {
        add_members(ctl, &table, "", json, 0);
    } else {
        add_head(&table, columns);
        json_array_foreach(json, i, value) add_row(ctl, &table, NULL, value, columns);
        json_object_foreach((json_t *)(uintptr_t)json, name, value)
            add_row(ctl, &table, name, value, columns);
    }
    return ctl_table_print(&table, stdout);
}

int ctl_say(enum ctl_exit exit, const char *fmt, ...)
{
    va_list args;
    char text[2048];

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    fputs("penstockctl: ", stderr);
    ctl_put_text(stderr, text, strlen(text));
    fputc('\n', stderr);
    return exit;
}
