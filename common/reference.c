/* Pages are lists, not tables: a row's text wraps, and a terminal shows it whole. */
#include "common/reference.h"

#include <string.h>

#define COLUMNS   110
#define VALUE_MAX 200

void ps_reference_fill(FILE *out, size_t column, size_t indent, const char *text)
{
    bool begins = column <= indent;

    if (column < indent)
        fprintf(out, "%*s", (int)(indent - column), "");
    column = begins ? indent : column;
    while (*text != '\0') {
        size_t len = strcspn(text, " ");
        if (!begins && column + 1 + len > COLUMNS) {
            fprintf(out, "\n%*s", (int)indent, "");
            column = indent;
        } else if (!begins) {
            fputc(' ', out);
            column++;
        }
        fwrite(text, 1, len, out);
        column += len;
        begins = false;
        text += len;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

/* --- Settings --- */

static size_t group_len(const struct ps_option *option)
{
    return strcspn(option->path, ".");
}

static bool same_group(const struct ps_option *a, const struct ps_option *b)
{
    size_t len = group_len(a);
    return len == group_len(b) && strncmp(a->path, b->path, len) == 0;
}

void ps_reference_settings(FILE *out, const struct ps_option *table, size_t count)
{
    char value[VALUE_MAX];

    for (size_t i = 0; i < count; i++) {
        const struct ps_option *row = &table[i];
        if (i == 0 || !same_group(row - 1, row))
            fprintf(out, "%s## %.*s\n\n", i == 0 ? "" : "\n", (int)group_len(row), row->path);
        ps_option_describe(row, value, sizeof value);
        fprintf(out, "- **`%s`** (%s; default `%s`%s):\n", row->path, value, row->fallback,
                row->live ? "; live" : "");
        ps_reference_fill(out, 0, 2, row->help);
    }
}

/* Text that mdoc must not take for anything else. */
static void print_roff(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '"')
            fputs("\\(dq", out);
        else if (*text == '\\')
            fputs("\\e", out);
        else
            fputc(*text, out);
    }
}

void ps_reference_man_settings(FILE *out, const struct ps_option *table, size_t count)
{
    char value[VALUE_MAX];

    for (size_t i = 0; i < count; i++) {
        ps_option_describe(&table[i], value, sizeof value);
        fprintf(out, ".It Cm %s Pq %s ; default Li ", table[i].path, value);
        print_roff(out, table[i].fallback);
        fputc('\n', out);
        print_roff(out, table[i].help);
        fprintf(out, "%s.\n", table[i].live ? " (live)" : "");
    }
}

/* --- Metrics --- */

static const char *type_of(const struct ps_metric *metric)
{
    switch (metric->type) {
    case PS_COUNTER:
        return "counter";
    case PS_GAUGE:
    case PS_GAUGE_SECONDS:
        return "gauge";
    case PS_HISTOGRAM_SECONDS:
        return "histogram";
    }
    return "";
}

static void print_values(FILE *out, const struct ps_metric *metric)
{
    size_t column = (size_t)fprintf(out, "  Label `%s`:", metric->label);

    for (size_t i = 0; metric->values[i] != NULL; i++) {
        size_t len = strlen(metric->values[i]) + 2;
        if (column + len > COLUMNS) {
            fputs("\n ", out);
            column = 1;
        }
        column += len;
        fprintf(out, " %s%s", metric->values[i], metric->values[i + 1] != NULL ? "," : "");
    }
    fputc('\n', out);
}

void ps_reference_metrics(FILE *out, const struct ps_metric *table, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        fprintf(out, "- **`%s`** (%s):\n", table[i].name, type_of(&table[i]));
        ps_reference_fill(out, 0, 2, table[i].help);
        if (table[i].label != NULL)
            print_values(out, &table[i]);
    }
}
