/* A flag's type is the function that sets it, so that a program adds types of its own. */
#include "common/program/flags.h"

#include "common/text/json.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FLAGS_MAX   63
#define HELP_COLUMN 28
#define HELP_END    79

int ps_flag_set_bool(const struct ps_flag *flag, const char *value, void *field,
                     struct ps_fault *fault)
{
    if (value != NULL && strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
        return ps_fault(fault, PS_E_INVALID, flag->name, "takes no value");
    *(bool *)field = value == NULL || value[0] == 't';
    return 0;
}

int ps_flag_set_text(const struct ps_flag *flag, const char *value, void *field,
                     struct ps_fault *fault)
{
    (void)flag;
    (void)fault;
    *(const char **)field = value;
    return 0;
}

int ps_flag_set_int(const struct ps_flag *flag, const char *value, void *field,
                    struct ps_fault *fault)
{
    char *end = NULL;
    errno = 0;
    long long number = strtoll(value, &end, 10);
    if (end == value || *end != '\0' || errno != 0 || number < flag->min || number > flag->max)
        return ps_fault(fault, PS_E_INVALID, flag->name,
                        "\"%s\" is not a whole number from %lld to %lld", value,
                        (long long)flag->min, (long long)flag->max);
    *(int64_t *)field = number;
    return 0;
}

static int refuse_unknown(const struct ps_flag *table, size_t count, const char *word,
                          struct ps_fault *fault)
{
    const char *names[FLAGS_MAX + 1] = {NULL};
    for (size_t i = 0; i < count; i++)
        names[i] = table[i].name;
    const char *near = ps_nearest_word(word, names);
    return ps_fault(fault, PS_E_INVALID, word, "is not an option%s%s; see --help",
                    near != NULL ? ", did you mean " : "", near != NULL ? near : "");
}

int ps_flags_read(const struct ps_flag *table, size_t count, int argc, char *const *argv,
                  void *fill, struct ps_fault *fault)
{
    assert(count <= FLAGS_MAX);
    for (int at = 1; at < argc; at++) {
        size_t len = strcspn(argv[at], "="), row = 0;
        while (row < count &&
               (strlen(table[row].name) != len || memcmp(table[row].name, argv[at], len) != 0))
            row++;
        if (row == count)
            return refuse_unknown(table, count, argv[at], fault);
        const struct ps_flag *flag = &table[row];
        const char *value = argv[at][len] == '=' ? argv[at] + len + 1 : NULL;
        if (flag->argument != NULL && value == NULL) {
            if (at + 1 == argc)
                return ps_fault(fault, PS_E_INVALID, flag->name, "needs a value");
            value = argv[++at];
        }
        int err = flag->set(flag, value, (char *)fill + flag->offset, fault);
        if (err != 0)
            return err;
    }
    return 0;
}

void ps_flags_print_help(const struct ps_flag *table, size_t count, FILE *out)
{
    for (size_t i = 0; i < count; i++) {
        int column = fprintf(out, "  %s %s", table[i].name,
                             table[i].argument != NULL ? table[i].argument : "");
        for (const char *word = table[i].help; *word != '\0'; word += strspn(word, " ")) {
            int len = (int)strcspn(word, " ");
            bool first = word == table[i].help;
            if (first ? column >= HELP_COLUMN : column + 1 + len > HELP_END) {
                fputc('\n', out);
                column = 0;
            }
            int gap = column < HELP_COLUMN ? HELP_COLUMN - column : 1;
            column += fprintf(out, "%*s%.*s", gap, "", len, word);
            word += len;
        }
        fputc('\n', out);
    }
}
