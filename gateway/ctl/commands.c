/* The table of commands and that of options, and the way from argv to a command. Options may stand
 * anywhere, so which words are values is known from the one table of options; which of them a
 * command takes, its row says. */
#include "gateway/ctl/commands.h"
#include "gateway/ctl/print.h"

#include <ctype.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 64

#define AT(field) offsetof(struct ctl_options, field)
#define TEXT      ps_flag_set_text
#define BOOL      ps_flag_set_bool
#define INT       ps_flag_set_int
#define YEARS_10  315360000

/* clang-format off */
const struct ps_flag ctl_flags[CTL_FLAGS] = {
    [CTL_F_ADMIN]      = {"--admin", "URL", "The admin listener: http://HOST:PORT, https://HOST:PORT or unix:/PATH of its socket. Else PENSTOCK_ADMIN, else the context in use, else http://127.0.0.1:8090", TEXT, AT(admin), 0, 0},
    [CTL_F_TOKEN_FILE] = {"--token-file", "FILE", "The file whose first line is the token, not readable by everybody. Else PENSTOCK_TOKEN_FILE, else the context in use", TEXT, AT(token_file), 0, 0},
    [CTL_F_HELP]       = {"--help", NULL, "Says what a command does, and which options it takes", BOOL, AT(help), 0, 0},
    [CTL_F_OUTPUT]     = {"-o", "FORMAT", "How the answer is printed", TEXT, AT(output), 0, 0},
    [CTL_F_FILE]       = {"-f", "FILE|DIR", "A file, a directory of files (*.json, *.yaml, *.yml; those inside it, too), or - for standard input", TEXT, AT(file), 0, 0},
    [CTL_F_PRUNE]      = {"--prune", NULL, "Deletes documents that the files leave out, of the kinds that they have or --kinds names; what always exists stays", BOOL, AT(prune), 0, 0},
    [CTL_F_KINDS]      = {"--kinds", "LIST", "The kinds that are meant, such as limits,routes", TEXT, AT(kinds), 0, 0},
    [CTL_F_DRY_RUN]    = {"--dry-run", NULL, "Says what would change, and changes nothing", BOOL, AT(dry_run), 0, 0},
    [CTL_F_REASON]     = {"--reason", "TEXT", "Why; it goes into the audit log", TEXT, AT(reason), 0, 0},
    [CTL_F_TTL]        = {"--ttl", "SECONDS", "When it ends by itself", INT, AT(ttl_s), 1, YEARS_10},
    [CTL_F_GATEWAY]    = {"--gateway", "ID", "The one gateway of a cluster where it is in force", TEXT, AT(gateway), 0, 0},
    [CTL_F_SALE]       = {"--sale", "SALE", "Of this sale alone", TEXT, AT(sale), 0, 0},
    [CTL_F_STATE]      = {"--state", "STATE", "In this state alone", TEXT, AT(state), 0, 0},
    [CTL_F_AFTER]      = {"--after", "SEQ", "Goes on behind this sequence number, which an export that broke off has said", INT, AT(after), 0, PS_INT_MAX},
    [CTL_F_LIMIT]      = {"--limit", "N", "At most so many", INT, AT(limit), 1, 1000},
    [CTL_F_ID]         = {"--id", "ID", "Makes the call repeatable: it counts once", TEXT, AT(id), 0, 0},
    [CTL_F_NOTE]       = {"--note", "TEXT", "What it is for", TEXT, AT(note), 0, 0},
    [CTL_F_POOL]       = {"--pool", "LIST", "The pools where a registrar may register, such as web,api", TEXT, AT(pool), 0, 0},
    [CTL_F_OUT]        = {"--out", "FILE", "Writes the secret into a new file that only you can read, instead of printing it", TEXT, AT(out), 0, 0},
    [CTL_F_INTERVAL]   = {"--interval", "SECONDS", "How often it is drawn (2)", INT, AT(interval_s), 1, 3600},
    [CTL_F_ONCE]       = {"--once", NULL, "Draws once and ends", BOOL, AT(once), 0, 0},
};

#define REASON CTL_BIT(CTL_F_REASON)
#define TTL    CTL_BIT(CTL_F_TTL)
#define DRY    CTL_BIT(CTL_F_DRY_RUN)
#define FILES  (CTL_BIT(CTL_F_FILE) | CTL_BIT(CTL_F_PRUNE) | CTL_BIT(CTL_F_KINDS))

const struct ctl_command ctl_commands[] = {
    {"get",        "KIND [NAME]",           1, 2, 0,                     "table json", "Shows documents of a kind, or one of them", ctl_get, false},
    {"describe",   "KIND",                  1, 1, 0,                     "table json", "Says what a document of a kind may hold", ctl_describe, false},
    {"edit",       "KIND [NAME]",           1, 2, REASON,                NULL,         "Opens a document in $VISUAL or $EDITOR and puts it, unless somebody has changed it meanwhile", ctl_edit, false},
    {"diff",       "",                      0, 0, FILES,                 "table json", "Says what apply would change: status 0 nothing, 1 something, above that trouble", ctl_diff, false},
    {"apply",      "",                      0, 0, FILES | DRY | REASON,  "table json", "Makes documents what files say, all of them or none", ctl_apply, false},
    {"rollback",   "KIND [NAME] [VERSION]", 1, 3, DRY | REASON,          "table json", "Makes a document what it was in a version; without one lists its versions", ctl_rollback, false},
    {"top",        "",                      0, 0, CTL_BIT(CTL_F_INTERVAL) | CTL_BIT(CTL_F_ONCE), NULL, "Draws one live screen: level and signals, open sales, overrides; q ends it", ctl_top, false},
    {"override list", "",                   0, 0, 0,                     "table json", "Lists what is set for a time, and what would be so otherwise", ctl_override_list, false},
    {"override set", "TARGET VALUE",        2, 2, TTL | CTL_BIT(CTL_F_GATEWAY) | DRY | REASON, "table json", "Sets one thing for a time, such as: level 2, or feature:exports off", ctl_override_set, false},
    {"override end", "TARGET",              1, 1, CTL_BIT(CTL_F_GATEWAY) | REASON, NULL, "Ends an override", ctl_override_end, false},
    {"watch follow", "USER",                1, 1, TTL | CTL_BIT(CTL_F_INTERVAL) | CTL_BIT(CTL_F_ONCE) | REASON, "table ndjson", "Watches a buyer for --ttl (600 s): prints the last answers of the gateway, and then those to come until the watch ends", ctl_watch_follow, false},
    {"watch list", "",                      0, 0, 0,                     "table json", "Lists the buyers who are watched", ctl_watch_list, false},
    {"watch end",  "USER",                  1, 1, REASON,                NULL,         "Ends a watch", ctl_watch_end, false},
    {"sale list",  "",                      0, 0, 0,                     "table json", "Lists the sales", ctl_sale_list, false},
    {"sale show",  "SALE",                  1, 1, 0,                     "table json", "Shows a sale with the numbers of its SKUs", ctl_sale_show, false},
    {"sale open",  "SALE",                  1, 1, REASON,                "table json", "Opens a sale now", ctl_sale_act, false},
    {"sale pause", "SALE",                  1, 1, REASON,                "table json", "Refuses buyers until it is resumed", ctl_sale_act, false},
    {"sale resume", "SALE",                 1, 1, REASON,                "table json", "Ends the pause", ctl_sale_act, false},
    {"sale end",   "SALE",                  1, 1, REASON,                "table json", "Ends a sale for good", ctl_sale_act, false},
    {"sale adjust", "SALE SKU DELTA",       3, 3, CTL_BIT(CTL_F_ID) | REASON, "table json", "Changes the stock of an open sale, once for each --id", ctl_sale_adjust, false},
    {"sale audit", "SALE",                  1, 1, 0,                     "table json", "Counts the books again from the log; status 1 if they are wrong", ctl_sale_audit, false},
    {"order show", "ORDER",                 1, 1, 0,                     "table json", "Shows an order", ctl_order_show, false},
    {"order confirm", "ORDER",              1, 1, REASON,                "table json", "Paid: the order stands", ctl_order_act, false},
    {"order cancel", "ORDER",               1, 1, REASON,                "table json", "Gives its units back to the stock", ctl_order_act, false},
    {"order export", "",                    0, 0, CTL_BIT(CTL_F_SALE) | CTL_BIT(CTL_F_STATE) | CTL_BIT(CTL_F_AFTER), "csv ndjson", "Prints all orders of --sale, in the order of the log", ctl_order_export, false},
    {"audit show", "",                      0, 0, CTL_BIT(CTL_F_AFTER) | CTL_BIT(CTL_F_LIMIT), "table ndjson", "Says who has changed what, when and why: the last 100 changes, or those behind --after", ctl_audit_show, false},
    {"audit verify", "[FILE]...", 0, CTL_ARGS_MAX, 0, NULL, "Checks the chain of hashes through the files of an audit log, the oldest first, or through the gateway's; status 1 if a line was changed, is missing or elsewhere", ctl_audit_verify, true},
    {"token list", "",                      0, 0, 0,                     "table json", "Lists the tokens, without their secrets", ctl_token_list, false},
    {"token new",  "registrar|viewer|operator|admin", 1, 1, CTL_BIT(CTL_F_NOTE) | TTL | CTL_BIT(CTL_F_POOL) | CTL_BIT(CTL_F_OUT) | REASON, "table json", "Makes a token; its secret is shown once, or written to --out", ctl_token_new, false},
    {"token remove", "ID",                  1, 1, REASON,                NULL,         "Removes a token", ctl_token_remove, false},
    {"nodes",      "",                      0, 0, 0,                     "table json", "Lists the gateways of the cluster, as the one that is asked sees them", ctl_nodes, false},
    {"drain",      "",                      0, 0, REASON,                NULL,         "Lets the gateway answer what it has, and end", ctl_drain, false},
    {"use",        "[CONTEXT]",             0, 1, 0,                     NULL,         "Takes a context from now on: a name for --admin and --token-file, which with these it gets; without a name lists all", ctl_use, true},
    {"completion", "bash|zsh",              1, 1, 0,                     NULL,         "Prints what a shell needs to complete commands", ctl_completion, true},
    {"man",        "",                      0, 0, 0,                     NULL,         "Prints the manual", ctl_man, true},
    {0}};
/* clang-format on */

/* --- The command line. --- */

struct line {
    const char *words[WORDS_MAX]; /* what is no option, nor a value of one */
    int word_count;
    char *flags[WORDS_MAX + 1]; /* as of argv: the first is none */
    int flag_count;
};

static const struct ps_flag *find_flag(const char *text)
{
    size_t len = strcspn(text, "=");

    for (size_t i = 0; i < CTL_FLAGS; i++)
        if (strlen(ctl_flags[i].name) == len && strncmp(ctl_flags[i].name, text, len) == 0)
            return &ctl_flags[i];
    return NULL;
}

/* A dash alone is a name, and one before a digit a number. */
static bool is_option(const char *text)
{
    return text[0] == '-' && text[1] != '\0' && !isdigit((unsigned char)text[1]);
}

static int split(int argc, char **argv, struct line *line)
{
    bool only_words = false;

    *line = (struct line){.flag_count = 1};
    if (argc > WORDS_MAX)
        return ctl_say(CTL_USAGE, "more than %d words", WORDS_MAX - 1);
    for (int i = 1; i < argc; i++) {
        if (only_words || !is_option(argv[i])) {
            line->words[line->word_count++] = argv[i];
            continue;
        }
        if (strcmp(argv[i], "--") == 0) {
            only_words = true;
            continue;
        }
        const struct ps_flag *flag = find_flag(argv[i]);
        line->flags[line->flag_count++] = argv[i];
        if (flag != NULL && flag->argument != NULL && strchr(argv[i], '=') == NULL && i + 1 < argc)
            line->flags[line->flag_count++] = argv[++i];
    }
    return CTL_OK;
}

/* The row whose name the first words are; how many they are. */
static const struct ctl_command *find_command(const struct line *line, int *ret_words)
{
    char two[128];

    for (int count = line->word_count < 2 ? line->word_count : 2; count > 0; count--) {
        (void)snprintf(two, sizeof two, "%s%s%s", line->words[0], count > 1 ? " " : "",
                       count > 1 ? line->words[1] : "");
        for (const struct ctl_command *row = ctl_commands; row->name != NULL; row++)
            if (strcmp(row->name, two) == 0) {
                *ret_words = count;
                return row;
            }
    }
    return NULL;
}

/* A first word alone ("sale") is answered with what may follow. */
static int say_no_command(const struct line *line)
{
    const char *names[64] = {NULL};
    char list[512] = "";
    size_t count = 0, len = strlen(line->words[0]);

    for (const struct ctl_command *row = ctl_commands; row->name != NULL; row++) {
        names[count++] = row->name;
        if (strncmp(row->name, line->words[0], len) == 0 && row->name[len] == ' ') {
            size_t at = strlen(list);
            (void)snprintf(list + at, sizeof list - at, "%s%s", at > 0 ? ", " : "",
                           row->name + len + 1);
        }
    }
    if (list[0] != '\0')
        return ctl_say(CTL_USAGE, "%s is followed by one of: %s", line->words[0], list);
    const char *near = ps_nearest_word(line->words[0], names);
    return ctl_say(CTL_USAGE, "there is no command \"%s\"%s%s%s", line->words[0],
                   near != NULL ? ", did you mean \"" : "", near != NULL ? near : "",
                   near != NULL ? "\"?" : "; see penstockctl --help");
}

/* The options of the line, of those that the command takes. */
static int read_options(struct ctl *ctl, struct line *line)
{
    uint64_t mask = CTL_FLAGS_ALL | (ctl->command != NULL ? ctl->command->flags : 0);
    struct ps_flag table[CTL_FLAGS];
    struct ps_fault fault;
    size_t count = 0;

    if (ctl->command != NULL && ctl->command->outputs != NULL)
        mask |= CTL_BIT(CTL_F_OUTPUT);
    for (size_t i = 0; i < CTL_FLAGS; i++)
        if ((mask & CTL_BIT(i)) != 0)
            table[count++] = ctl_flags[i];
    ctl->options = (struct ctl_options){.ttl_s = -1, .after = -1, .limit = -1, .interval_s = 2};
    if (ps_flags_read(table, count, line->flag_count, line->flags, &ctl->options, &fault) < 0)
        return ctl_say(CTL_USAGE, "%s %s", fault.path, fault.text);
    return CTL_OK;
}

/* Is `text` one of the words that stand between blanks? */
static bool is_listed(const char *words, const char *text)
{
    size_t len = strlen(text);

    for (const char *at = words; *at != '\0'; at += strspn(at, " ")) {
        size_t word = strcspn(at, " ");
        if (word == len && strncmp(at, text, len) == 0)
            return true;
        at += word;
    }
    return false;
}

static int read_arguments(struct ctl *ctl, const struct line *line, int skip)
{
    const struct ctl_command *command = ctl->command;
    int count = line->word_count - skip;

    if (count < command->least || count > command->most)
        return ctl_say(CTL_USAGE, "usage: penstockctl %s%s%s", command->name,
                       command->arguments[0] != '\0' ? " " : "", command->arguments);
    for (int i = 0; i < count; i++) {
        ctl->args[i] = line->words[skip + i];
        if (ctl->args[i][0] == '\0')
            return ctl_say(CTL_USAGE, "%s: an argument is empty", command->name);
    }
    if (ctl->options.output != NULL && !is_listed(command->outputs, ctl->options.output))
        return ctl_say(CTL_USAGE, "-o takes one of: %s", command->outputs);
    return CTL_OK;
}

int ctl_main(int argc, char **argv)
{
    struct ctl ctl = {.command = NULL};
    struct line line;
    int words = 0;

    if (argc == 2 && strcmp(argv[1], "--version") == 0)
        return puts("penstockctl " PENSTOCK_VERSION) < 0 ? CTL_FAILED : CTL_OK;
    int exit = split(argc, argv, &line);
    if (exit == CTL_OK && line.word_count > 0 &&
        (ctl.command = find_command(&line, &words)) == NULL)
        exit = say_no_command(&line);
    if (exit == CTL_OK)
        exit = read_options(&ctl, &line);
    if (exit == CTL_OK && (ctl.options.help || ctl.command == NULL)) {
        ctl_help(ctl.options.help ? stdout : stderr, ctl.command);
        return ctl.options.help ? CTL_OK : CTL_USAGE;
    }
    if (exit == CTL_OK)
        exit = read_arguments(&ctl, &line, words);
    if (exit == CTL_OK && !ctl.command->local)
        exit = ctl_context_read(&ctl);
    if (exit == CTL_OK)
        exit = ctl.command->run(&ctl);
    for (size_t i = 0; i < PS_ARRAY_LEN(ctl.context_text); i++)
        free(ctl.context_text[i]);
    return exit;
}
