/* Pages are lists, not tables: a row's text wraps, and a terminal shows it whole. */
#include "common/program/reference.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
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

void ps_reference_paragraph(FILE *out, const char *text)
{
    ps_reference_fill(out, 0, 0, text);
    fputc('\n', out);
}

/* --- Settings --- */

#define WIDE 85 /* with the text around it, this makes one line of a terminal */

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
        bool wide = strlen(row->path) + strlen(value) + strlen(row->fallback) > WIDE;
        fprintf(out, "- **`%s`** (%s; default%s`%s`%s):\n", row->path, value, wide ? "\n  " : " ",
                row->fallback, row->live ? "; live" : "");
        ps_reference_fill(out, 0, 2, row->help);
    }
}

/* Escapes text for mdoc. */
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

static void print_man_settings(FILE *out, const struct ps_option *table, size_t count)
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

void ps_reference_manual(FILE *out, const char *program, const char *purpose,
                         const struct ps_option *table, size_t count)
{
    fputs(".Dd November 22, 2026\n.Dt ", out);
    for (const char *c = program; *c != '\0'; c++)
        fputc(toupper((unsigned char)*c), out);
    fprintf(out,
            ".JSON 5\n"
            ".Os\n"
            ".Sh NAME\n"
            ".Nm %s.json\n"
            ".Nd settings of the %s\n"
            ".Sh DESCRIPTION\n"
            "The file that\n"
            ".Xr %s 8\n"
            "reads with\n"
            ".Fl Fl config\n"
            "holds one JSON object.\n"
            "A dotted name stands for nested objects.\n"
            "What the file leaves out has its default.\n"
            "An unknown or repeated key, or a value that is not allowed, is an error that\n"
            "names its place.\n"
            "The option\n"
            ".Fl Fl print-schema\n"
            "prints the same rules as JSON Schema.\n"
            ".Bl -tag -width Ds\n",
            program, purpose, program);
    print_man_settings(out, table, count);
    fprintf(out, ".El\n.Sh SEE ALSO\n.Xr %s 8\n", program);
}

/* --- Log events --- */

static void print_level(FILE *out, const struct ps_reference_event *table, size_t count,
                        enum ps_log_level level, const char *heading)
{
    bool first = true;

    for (size_t i = 0; i < count; i++) {
        if (table[i].level != level)
            continue;
        if (first)
            fprintf(out, "\n## %s\n", heading);
        first = false;
        fprintf(out, "\n### %s\n\n", table[i].name);
        ps_reference_fill(out, 0, 0, table[i].meaning);
        if (table[i].remedy[0] != '\0')
            ps_reference_fill(out, (size_t)fprintf(out, "*To do:*"), 0, table[i].remedy);
    }
}

void ps_reference_events(FILE *out, const struct ps_reference_event *table, size_t count)
{
    print_level(out, table, count, PS_LOG_ERROR, "Errors");
    print_level(out, table, count, PS_LOG_WARN, "Warnings");
    print_level(out, table, count, PS_LOG_INFO, "Information");
    print_level(out, table, count, PS_LOG_DEBUG, "For developers");
}

/* --- Metrics --- */

static void print_values(FILE *out, const struct ps_metric *metric)
{
    size_t column = (size_t)fprintf(out, "  Label `%s`:", metric->label);
    const char *comma = "";

    for (size_t i = 0; metric->values[i] != NULL; i++) {
        if (metric->has_series != NULL && !metric->has_series(i))
            continue;
        size_t len = strlen(metric->values[i]) + 2;
        column += (size_t)fprintf(out, "%s", comma);
        if (column + len > COLUMNS) {
            fputs("\n ", out);
            column = 1;
        }
        column += (size_t)fprintf(out, " %s", metric->values[i]);
        comma = ",";
    }
    fputc('\n', out);
}

void ps_reference_metrics(FILE *out, const struct ps_metric *table, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        fprintf(out, "- **`%s`** (%s):\n", table[i].name, ps_metric_type_name(table[i].type));
        ps_reference_fill(out, 0, 2, table[i].help);
        if (table[i].values != NULL)
            print_values(out, &table[i]);
        else if (table[i].label != NULL)
            fprintf(out, "  Labels: %s\n", table[i].label);
    }
}

/* --- Files --- */

static int write_page(const char *dir, const struct ps_reference_page *page, struct ps_fault *fault)
{
    char path[PATH_MAX];
    int len = snprintf(path, sizeof path, "%s/%s", dir, page->file);

    if (len < 0 || (size_t)len >= sizeof path)
        return ps_fault(fault, PS_E_IO, dir, "the path is too long");
    FILE *out = fopen(path, "we");
    if (out == NULL)
        return ps_fault(fault, PS_E_IO, path, "%s", strerror(errno));
    page->print(out);
    bool failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed)
        return ps_fault(fault, PS_E_IO, path, "cannot be written: %s", strerror(errno));
    return 0;
}

int ps_reference_write(const char *dir, const struct ps_reference_page *pages, size_t count,
                       struct ps_fault *fault)
{
    int err = 0;

    for (size_t i = 0; i < count && err == 0; i++)
        err = write_page(dir, &pages[i], fault);
    return err;
}
