/* The help, the manual and the completions, all printed from the tables of commands and options. */
#include "gateway/ctl/kinds.h"
#include "gateway/ctl/ctl.h"

#include <string.h>

static const char purpose[] = "the operators' program of the admission gateway Penstock";

/* What each status means, for help and manual. */
static const struct {
    int status;
    const char *text;
} statuses[] = {
    {CTL_OK, "Done."},
    {CTL_REFUSED, "The gateway refused, or a check failed; diff: there are differences."},
    {CTL_USAGE, "The command line, or a file that it names, is invalid: nothing was sent."},
    {CTL_AWAY, "The gateway was not reached, the connection broke, or it answers 503: try again."},
    {CTL_FAILED, "Something failed on this machine; diff: the gateway refused."},
};

static const struct {
    const char *name, *text;
} variables[] = {
    {"PENSTOCK_ADMIN", "The default of --admin."},
    {"PENSTOCK_TOKEN_FILE", "The default of --token-file."},
    {"PENSTOCK_CONTEXTS", "The file of contexts, instead of ~/.config/penstock/contexts.json."},
    {"VISUAL, EDITOR", "The editor that edit opens; vi if neither is set."},
};

/* --- Help. --- */

static uint64_t flags_of(const struct ctl_command *command)
{
    return command->flags | (command->outputs != NULL ? CTL_BIT(CTL_F_OUTPUT) : 0);
}

static void print_flags(FILE *out, uint64_t mask)
{
    for (size_t i = 0; i < CTL_FLAGS; i++)
        if ((mask & CTL_BIT(i)) != 0)
            ps_flags_print_help(&ctl_flags[i], 1, out);
}

static void print_kinds(FILE *out)
{
    fputs("\nKIND is one of:", out);
    for (const struct ctl_kind *kind = ctl_kinds; kind->word != NULL; kind++)
        fprintf(out, " %s", kind->word);
    fputc('\n', out);
}

/* Wraps to 79 columns, with an indent. */
static void fill(FILE *out, size_t column, size_t indent, const char *text)
{
    for (const char *word = text; *word != '\0';) {
        size_t len = strcspn(word, " ");
        if (column > indent && column + 1 + len > 79) {
            fprintf(out, "\n%*s", (int)indent, "");
            column = indent;
        } else if (column > indent) {
            fputc(' ', out);
            column++;
        }
        fprintf(out, "%.*s", (int)len, word);
        column += len;
        word += len;
        word += strspn(word, " ");
    }
    fputc('\n', out);
}

static void help_of_all(FILE *out)
{
    fprintf(out, "penstockctl: %s\n\nusage: penstockctl COMMAND [ARGUMENT]... [OPTION]...\n\n",
            purpose);
    for (const struct ctl_command *row = ctl_commands; row->name != NULL; row++) {
        fprintf(out, "  %s%s%s\n      ", row->name, row->arguments[0] != '\0' ? " " : "",
                row->arguments);
        fill(out, 6, 6, row->help);
    }
    fputs("\nOptions of every command:\n", out);
    print_flags(out, CTL_FLAGS_ALL);
    print_kinds(out);
    fputs("\nExit status:\n", out);
    for (size_t i = 0; i < PS_ARRAY_LEN(statuses); i++) {
        fprintf(out, "  %d  ", statuses[i].status);
        fill(out, 5, 5, statuses[i].text);
    }
    fputs("\npenstockctl COMMAND --help shows the options of a command.\n", out);
}

void ctl_help(FILE *out, const struct ctl_command *command)
{
    if (command == NULL) {
        help_of_all(out);
        return;
    }
    fprintf(out, "usage: penstockctl %s%s%s [OPTION]...\n\n", command->name,
            command->arguments[0] != '\0' ? " " : "", command->arguments);
    fill(out, 0, 0, command->help);
    fputc('\n', out);
    print_flags(out, flags_of(command));
    print_flags(out, CTL_FLAGS_ALL);
    if (command->outputs != NULL)
        fprintf(out, "\nFORMAT is one of: %s\n", command->outputs);
    if (strstr(command->arguments, "KIND") != NULL)
        print_kinds(out);
}

/* --- The manual, in mdoc. --- */

/* Text of a line: no line may begin with a control character of roff. */
static void put_roff(FILE *out, const char *text)
{
    if (*text == '.' || *text == '\'')
        fputs("\\&", out);
    for (; *text != '\0'; text++) {
        if (*text == '\\')
            fputs("\\e", out);
        else if (*text == '-')
            fputs("\\-", out);
        else if (*text == '\'')
            fputs("\\(aq", out);
        else if (*text == '~')
            fputs("\\(ti", out);
        else
            fputc(*text, out);
    }
    fputc('\n', out);
}

static void put_flag_name(FILE *out, const char *name)
{
    for (; *name != '\0'; name++)
        fprintf(out, "%s%c", *name == '-' ? "\\" : "", *name);
}

/* "table json" as the argument table|json. */
static void put_choice(FILE *out, const char *words)
{
    fputs(" Ar ", out);
    for (; *words != '\0'; words++)
        fputc(*words == ' ' ? '|' : *words, out);
}

static void put_flags(FILE *out, uint64_t mask)
{
    fputs(".Bl -tag -width Ds\n", out);
    for (size_t i = 0; i < CTL_FLAGS; i++) {
        if ((mask & CTL_BIT(i)) == 0)
            continue;
        fputs(".It Cm ", out);
        put_flag_name(out, ctl_flags[i].name);
        if (ctl_flags[i].argument != NULL)
            fprintf(out, " Ar %s", ctl_flags[i].argument);
        fputc('\n', out);
        put_roff(out, ctl_flags[i].help);
    }
    fputs(".El\n", out);
}

static void put_command(FILE *out, const struct ctl_command *command)
{
    fprintf(out, ".It Nm penstockctl Cm %s", command->name);
    if (command->arguments[0] != '\0')
        fprintf(out, " Ar %s", command->arguments);
    fputc('\n', out);
    put_roff(out, command->help);
    uint64_t mask = flags_of(command);
    if (mask == 0)
        return;
    fputs(".br\nOptions:\n", out);
    for (size_t i = 0; i < CTL_FLAGS; i++) {
        if ((mask & CTL_BIT(i)) == 0)
            continue;
        mask &= ~CTL_BIT(i);
        fputs(".Cm ", out);
        put_flag_name(out, ctl_flags[i].name);
        if (i == CTL_F_OUTPUT)
            put_choice(out, command->outputs);
        fprintf(out, "%s\n", mask != 0 ? " ," : " .");
    }
}

int ctl_man(struct ctl *ctl)
{
    FILE *out = stdout;

    (void)ctl;
    fprintf(out,
            ".Dd November 24, 2026\n.Dt PENSTOCKCTL 1\n.Os\n.Sh NAME\n.Nm penstockctl\n.Nd %s\n"
            ".Sh SYNOPSIS\n.Nm\n.Ar command\n.Op Ar argument ...\n.Op Ar option ...\n"
            ".Nm\n.Cm \\-\\-help | Cm \\-\\-version\n"
            ".Sh DESCRIPTION\n.Nm\ncalls the admin listener of a running\n.Xr penstock 8 .\n"
            "When it returns, a change is durable, in force and in the audit log.\n"
            "It reads the token from a file, never from the command line.\n"
            ".Sh COMMANDS\n.Bl -tag -width Ds\n",
            purpose);
    for (const struct ctl_command *row = ctl_commands; row->name != NULL; row++)
        put_command(out, row);
    fputs(".El\n.Pp\n.Ar KIND\nis one of:\n", out);
    for (const struct ctl_kind *kind = ctl_kinds; kind->word != NULL; kind++)
        fprintf(out, "%s%s\n", kind->word, kind[1].word != NULL ? "," : ".");
    fputs(".Sh OPTIONS\n", out);
    put_flags(out, ~UINT64_C(0));
    fputs(
        ".Sh FILES OF DOCUMENTS\n"
        "A file that\n.Cm apply\nand\n.Cm diff\nread contains one document with its kind and name "
        "as in a bundle, in JSON or YAML:\n"
        ".Bd -literal -offset indent\nkind: limits\nname: ip\ndocument:\n"
        "  algorithm: token_bucket\n  key: ip\n  rate: 20\n  period_s: 10\n.Ed\n.Pp\n"
        "or a whole bundle, as from\n.Dq GET /admin/v1/config .\n"
        "In YAML a plain scalar that is a JSON number,\n.Cm true , false , null\nor empty "
        "has that value; every other scalar is a string.\n"
        "Tags and merge keys are refused, and a file must have a single document.\n"
        ".Sh ENVIRONMENT\n.Bl -tag -width Ds\n",
        out);
    for (size_t i = 0; i < PS_ARRAY_LEN(variables); i++) {
        fprintf(out, ".It Ev %s\n", variables[i].name);
        put_roff(out, variables[i].text);
    }
    fputs(".El\n.Sh EXIT STATUS\n.Bl -tag -width Ds\n", out);
    for (size_t i = 0; i < PS_ARRAY_LEN(statuses); i++) {
        fprintf(out, ".It %d\n", statuses[i].status);
        put_roff(out, statuses[i].text);
    }
    fputs(".El\n.Sh SEE ALSO\n.Xr penstock 8 ,\n.Xr penstock\\-rehearse 1\n", out);
    return CTL_OK;
}

/* --- Completions. --- */

/* The words that may follow `first`: the second words of its commands. */
static void put_seconds(FILE *out, const char *first, size_t len)
{
    for (const struct ctl_command *row = ctl_commands; row->name != NULL; row++)
        if (strncmp(row->name, first, len) == 0 && row->name[len] == ' ')
            fprintf(out, " %s", row->name + len + 1);
}

/* The first words, each once: rows of one group stand together. */
static void put_firsts(FILE *out)
{
    const char *last = "";

    for (const struct ctl_command *row = ctl_commands; row->name != NULL; row++) {
        size_t len = strcspn(row->name, " ");
        if (strncmp(last, row->name, len) != 0 || strcspn(last, " ") != len)
            fprintf(out, " %.*s", (int)len, row->name);
        last = row->name;
    }
}

/* The options of a command. */
static void put_names(FILE *out, const struct ctl_command *command)
{
    uint64_t mask = flags_of(command) | CTL_FLAGS_ALL;

    for (size_t i = 0; i < CTL_FLAGS; i++)
        if ((mask & CTL_BIT(i)) != 0)
            fprintf(out, " %s", ctl_flags[i].name);
}

/* What the argument after the command may be: a kind, one of the words between bars, or unknown. */
static void put_arguments(FILE *out, const struct ctl_command *command)
{
    if (strncmp(command->arguments, "KIND", 4) == 0)
        for (const struct ctl_kind *kind = ctl_kinds; kind->word != NULL; kind++)
            fprintf(out, " %s", kind->word);
    else if (memchr(command->arguments, '|', strcspn(command->arguments, " ")) != NULL)
        for (const char *c = command->arguments; *c != '\0' && *c != ' '; c++)
            fprintf(out, "%s%c", c == command->arguments ? " " : "", *c == '|' ? ' ' : *c);
}

/* For both shells: the words that may follow `line`, the words before the one being typed. */
static void put_cases(FILE *out)
{
    fputs("    case \"$line\" in\n    '') offers='", out);
    put_firsts(out);
    fputs(" --help --version' ;;\n", out);
    const char *last = "";
    for (const struct ctl_command *row = ctl_commands; row->name != NULL; row++) {
        size_t len = strcspn(row->name, " ");
        if (row->name[len] == ' ' && strncmp(last, row->name, len + 1) != 0) {
            fprintf(out, "    '%.*s') offers='", (int)len, row->name);
            put_seconds(out, row->name, len);
            fputs("' ;;\n", out);
        }
        last = row->name;
    }
    for (const struct ctl_command *row = ctl_commands; row->name != NULL; row++) {
        if (row->outputs != NULL)
            fprintf(out, "    '%s'*' -o') offers='%s' ;;\n", row->name, row->outputs);
        fprintf(out, "    '%s') offers='", row->name);
        put_arguments(out, row);
        put_names(out, row);
        fprintf(out, "' ;;\n    '%s '*) offers='", row->name);
        put_names(out, row);
        fputs("' ;;\n", out);
    }
    fputs("    esac\n", out);
}

static const char of_bash[] =
    "_penstockctl() {\n"
    "    local current=${COMP_WORDS[COMP_CWORD]} offers=''\n"
    "    local line=\"${COMP_WORDS[*]:1:COMP_CWORD-1}\"\n"
    "    case ${COMP_WORDS[COMP_CWORD-1]} in\n"
    "    -f | --token-file | --out) COMPREPLY=($(compgen -f -- \"$current\")); return ;;\n"
    "    esac\n";
static const char end_of_bash[] = "    COMPREPLY=($(compgen -W \"$offers\" -- \"$current\"))\n"
                                  "}\n"
                                  "complete -o default -F _penstockctl penstockctl\n";

static const char of_zsh[] = "#compdef penstockctl\n"
                             "_penstockctl() {\n"
                             "    local offers='' line=\"${(j: :)words[2,CURRENT-1]}\"\n"
                             "    case ${words[CURRENT-1]} in\n"
                             "    -f | --token-file | --out) _files; return ;;\n"
                             "    esac\n";
static const char end_of_zsh[] = "    compadd -- ${=offers}\n"
                                 "}\n"
                                 "if [ \"$funcstack[1]\" = _penstockctl ]; then\n"
                                 "    _penstockctl \"$@\"\n"
                                 "else\n"
                                 "    compdef _penstockctl penstockctl\n"
                                 "fi\n";

int ctl_completion(struct ctl *ctl)
{
    bool is_zsh = strcmp(ctl->args[0], "zsh") == 0;

    if (!is_zsh && strcmp(ctl->args[0], "bash") != 0)
        return ctl_say(CTL_USAGE, "completion supports bash and zsh, not \"%s\"", ctl->args[0]);
    fputs(is_zsh ? of_zsh : of_bash, stdout);
    put_cases(stdout);
    fputs(is_zsh ? end_of_zsh : end_of_bash, stdout);
    return CTL_OK;
}
