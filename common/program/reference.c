/* Pages are lists, not tables: a row's text wraps, and a terminal shows it whole. */
#include "common/program/reference.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#define COLUMNS  110
#define RULE_MAX 400

/* What the bytes take on a terminal: characters of three bytes and more are those of Chinese. */
static size_t width_of(const char *text, size_t len)
{
    size_t width = 0;

    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)text[i];
        width += (byte & 0xc0) == 0x80 ? 0 : byte >= 0xe0 ? 2 : 1;
    }
    return width;
}

void ps_reference_fill(FILE *out, size_t column, size_t indent, const char *text)
{
    bool begins = column <= indent;

    if (column < indent)
        fprintf(out, "%*s", (int)(indent - column), "");
    column = begins ? indent : column;
    while (*text != '\0') {
        size_t len = strcspn(text, " "), width = width_of(text, len);
        if (!begins && column + 1 + width > COLUMNS) {
            fprintf(out, "\n%*s", (int)indent, "");
            column = indent;
        } else if (!begins) {
            fputc(' ', out);
            column++;
        }
        fwrite(text, 1, len, out);
        column += width;
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

/* --- Members of a table --- */

static void print_row(FILE *out, const struct ps_member *row, const char *path,
                      enum ps_language language)
{
    static const char *const shown[] = {"read-only", "只读"}, *const by_default[] = {"default",
                                                                                     "默认"};
    static const char *const reloads[] = {"; live", "; 热加载"};
    char rule[RULE_MAX], head[RULE_MAX + 200];

    ps_member_describe(row, language, rule, sizeof rule);
    if ((row->flags & PS_M_SHOWN) != 0)
        (void)snprintf(head, sizeof head, "(%s):", shown[language]);
    else if (row->fallback != NULL)
        (void)snprintf(head, sizeof head, "(%s; %s `%s`%s):", rule, by_default[language],
                       row->fallback, (row->flags & PS_M_RELOADS) != 0 ? reloads[language] : "");
    else
        (void)snprintf(head, sizeof head, "(%s):", rule);
    ps_reference_fill(out, (size_t)fprintf(out, "- **`%s%s`**", path, row->name), 2, head);
    ps_reference_fill(out, 0, 2, row->text[language] != NULL ? row->text[language] : "");
}

/* The members of a table, those inside objects behind `path`. */
static void print_members(FILE *out, const struct ps_table *table, const char *path,
                          enum ps_language language)
{
    char inside[200];

    for (size_t i = 0; i < table->count; i++) {
        const struct ps_member *row = &table->members[i];
        bool list = row->type == PS_M_LIST && row->item != NULL && row->item->type == PS_M_OBJECT;
        print_row(out, row, path, language);
        (void)snprintf(inside, sizeof inside, "%s%s%s.", path, row->name, list ? "[]" : "");
        if (list)
            print_members(out, row->item->table, inside, language);
        else if (row->type == PS_M_OBJECT)
            print_members(out, row->table, inside, language);
    }
}

void ps_reference_members(FILE *out, const struct ps_table *table, enum ps_language language)
{
    print_members(out, table, "", language);
}

/* --- Settings --- */

static size_t group_len(const struct ps_member *row)
{
    return strcspn(row->name, ".");
}

static bool same_group(const struct ps_member *a, const struct ps_member *b)
{
    size_t len = group_len(a);
    return len == group_len(b) && strncmp(a->name, b->name, len) == 0;
}

void ps_reference_settings(FILE *out, const struct ps_table *table, enum ps_language language)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct ps_member *row = &table->members[i];
        if (i == 0 || !same_group(row - 1, row))
            fprintf(out, "%s## %.*s\n\n", i == 0 ? "" : "\n", (int)group_len(row), row->name);
        print_row(out, row, "", language);
    }
}

void ps_reference_help(FILE *out, const struct ps_table *table)
{
    char rule[RULE_MAX];

    for (size_t i = 0; i < table->count; i++) {
        const struct ps_member *row = &table->members[i];
        ps_member_describe(row, PS_ENGLISH, rule, sizeof rule);
        fprintf(out, "  %s  %s (%s%s)\n", row->name, row->fallback, rule,
                (row->flags & PS_M_RELOADS) != 0 ? "; live" : "");
        ps_reference_fill(out, 0, 6, row->text[PS_ENGLISH]);
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

static void print_man_settings(FILE *out, const struct ps_table *table)
{
    char rule[RULE_MAX];

    for (size_t i = 0; i < table->count; i++) {
        const struct ps_member *row = &table->members[i];
        ps_member_describe(row, PS_ENGLISH, rule, sizeof rule);
        fprintf(out, ".It Cm %s Pq \"", row->name);
        print_roff(out, rule);
        fputs("\" ; default Li \"", out);
        print_roff(out, row->fallback);
        fputs("\"\n", out);
        print_roff(out, row->text[PS_ENGLISH]);
        fprintf(out, "%s.\n", (row->flags & PS_M_RELOADS) != 0 ? " (live)" : "");
    }
}

void ps_reference_manual(FILE *out, const char *program, const char *purpose,
                         const struct ps_table *table)
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
            "must be one JSON object.\n"
            "A dotted name stands for nested objects.\n"
            "A setting that is absent has its default.\n"
            "An unknown or repeated key, or a value that is not allowed, is an error that\n"
            "names its place.\n"
            "The option\n"
            ".Fl Fl print-schema\n"
            "prints the same rules as JSON Schema.\n"
            ".Bl -tag -width Ds\n",
            program, purpose, program);
    print_man_settings(out, table);
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
