/* The tables of commands and options, and the parser of the command line. Options may stand
 * anywhere, so one table of all options tells which words are their values; a command's row tells
 * which options it takes. */
#include "gateway/ctl/commands.h"

#include "common/text/duration.h"
#include "common/text/json.h"

#include <ctype.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 64

#define AT(field) offsetof(struct ctl_options, field)
#define TEXT      ps_flag_set_text
#define BOOL      ps_flag_set_bool
#define INT       ps_flag_set_int
#define LONG      set_duration
#define YEARS_10  315360000

/* Seconds, or a text with its unit. */
static int set_duration(const struct ps_flag *flag, const char *value, void *field,
                        struct ps_fault *fault)
{
    int64_t seconds;

    if (ps_duration_read(value, strlen(value), &seconds) < 0)
        return ps_flag_set_int(flag, value, field, fault);
    if (seconds < flag->min || seconds > flag->max)
        return ps_fault(fault, PS_E_INVALID, flag->name, "\"%s\" is not from %lld to %lld seconds",
                        value, (long long)flag->min, (long long)flag->max);
    *(int64_t *)field = seconds;
    return 0;
}

/* clang-format off */
const struct ps_flag ctl_flags[CTL_FLAGS] = {
    [CTL_F_ADMIN]      = {"--admin", "URL", "The admin listener: http://HOST:PORT, https://HOST:PORT or unix:/PATH of its socket. Default: PENSTOCK_ADMIN, else the current context, else http://127.0.0.1:8090", TEXT, AT(admin), 0, 0},
    [CTL_F_TOKEN_FILE] = {"--token-file", "FILE", "The file whose first line is the token; others must not be able to read it. Default: PENSTOCK_TOKEN_FILE, else the current context", TEXT, AT(token_file), 0, 0},
    [CTL_F_HELP]       = {"--help", NULL, "Shows what a command does, and which options it takes", BOOL, AT(help), 0, 0},
    [CTL_F_OUTPUT]     = {"-o", "FORMAT", "The format of the output", TEXT, AT(output), 0, 0},
    [CTL_F_FILE]       = {"-f", "FILE|DIR", "A file, a directory (reads *.json, *.yaml and *.yml in it and below), or - for standard input", TEXT, AT(file), 0, 0},
    [CTL_F_PRUNE]      = {"--prune", NULL, "Also deletes documents that the files do not contain, of the kinds in the files or in --kinds; never those that always exist", BOOL, AT(prune), 0, 0},
    [CTL_F_KINDS]      = {"--kinds", "LIST", "Only these kinds, such as limits,routes", TEXT, AT(kinds), 0, 0},
    [CTL_F_DRY_RUN]    = {"--dry-run", NULL, "Shows what would change, and changes nothing", BOOL, AT(dry_run), 0, 0},
    [CTL_F_REASON]     = {"--reason", "TEXT", "The reason, for the audit log", TEXT, AT(reason), 0, 0},
    [CTL_F_TTL]        = {"--ttl", "TIME", "How long until it ends by itself: seconds, or 90s, 10m, 2h, 1d", LONG, AT(ttl_s), 1, YEARS_10},
    [CTL_F_ARM_TTL]    = {"--arm-ttl", "TIME", "How long an armed run waits for its moment, or for approvals (1d), as --ttl", LONG, AT(arm_ttl_s), 1, YEARS_10},
    [CTL_F_GATEWAY]    = {"--gateway", "ID", "Only on this gateway of the cluster", TEXT, AT(gateway), 0, 0},
    [CTL_F_SALE]       = {"--sale", "SALE", "Only this sale; explain: the sale of the order", TEXT, AT(sale), 0, 0},
    [CTL_F_STATE]      = {"--state", "STATE", "Only orders, or runs, in this state", TEXT, AT(state), 0, 0},
    [CTL_F_AFTER]      = {"--after", "SEQ", "Continues after this sequence number, which an interrupted export printed", INT, AT(after), 0, PS_INT_MAX},
    [CTL_F_LIMIT]      = {"--limit", "N", "At most this many", INT, AT(limit), 1, 1000},
    [CTL_F_ID]         = {"--id", "ID", "Makes the call safe to repeat: calls with the same id count once", TEXT, AT(id), 0, 0},
    [CTL_F_NOTE]       = {"--note", "TEXT", "The purpose of the token", TEXT, AT(note), 0, 0},
    [CTL_F_POOL]       = {"--pool", "LIST", "The pools in which a registrar may register, such as web,api", TEXT, AT(pool), 0, 0},
    [CTL_F_OUT]        = {"--out", "FILE", "Writes the secret to a new file that only you can read, instead of printing it", TEXT, AT(out), 0, 0},
    [CTL_F_INTERVAL]   = {"--interval", "TIME", "How long between two refreshes (2s), as --ttl", LONG, AT(interval_s), 1, 3600},
    [CTL_F_WAIT]       = {"--wait", "TIME", "Asks again for this long while the status would be 3, as --ttl (0; order export, sale log: 1h while the gateway is overloaded)", LONG, AT(wait_s), 0, 86400},
    [CTL_F_ONCE]       = {"--once", NULL, "Prints one screen and exits", BOOL, AT(once), 0, 0},
    [CTL_F_USER]       = {"--user", "USER", "The buyer who sends the request", TEXT, AT(user), 0, 0},
    [CTL_F_IP]         = {"--ip", "IP", "The address from which the request comes", TEXT, AT(ip), 0, 0},
    [CTL_F_SKU]        = {"--sku", "SKU", "The SKU that is ordered", TEXT, AT(sku), 0, 0},
    [CTL_F_QUANTITY]   = {"--quantity", "N", "How many units are ordered (1)", INT, AT(quantity), 1, PS_INT_MAX},
    [CTL_F_METHOD]     = {"--method", "METHOD", "The method of a page's request (GET)", TEXT, AT(method), 0, 0},
    [CTL_F_PATH]       = {"--path", "PATH", "The path of a page, with its query", TEXT, AT(path), 0, 0},
    [CTL_F_HEADER]     = {"--header", "HEADER", "A header of a page's request, such as 'Cookie: a=b'; may be repeated", ctl_add_header, AT(headers), 0, 0},
    [CTL_F_FORCE]      = {"--force", NULL, "run: takes over what other runs have changed; runs revert: also takes back what somebody has changed since; apply, config rollback: also changes what runs in force hold", BOOL, AT(force), 0, 0},
    [CTL_F_BREAK_GLASS] = {"--break-glass", NULL, "Runs the plan without the approvals that it needs; this is counted, and an alert fires", BOOL, AT(break_glass), 0, 0},
    [CTL_F_AT]         = {"--at", "TIME", "When the request comes, such as 2026-11-27T10:00:00Z; default: now", TEXT, AT(at), 0, 0},
    [CTL_F_BASE]       = {"--base", NULL, "As the documents would be without the runs of plans in force: that is what belongs into git", BOOL, AT(base), 0, 0},
    [CTL_F_WEIGHT]     = {"--weight", "N", "Its share of the requests (1); 0: it gets none", INT, AT(weight), 0, 1000},
    [CTL_F_CSV_RAW]    = {"--csv-raw", NULL, "For programs: CSV without the apostrophe before cells that a spreadsheet would run as a formula", BOOL, AT(csv_raw), 0, 0},
};

#define REASON CTL_BIT(CTL_F_REASON)
#define TTL    CTL_BIT(CTL_F_TTL)
#define DRY    CTL_BIT(CTL_F_DRY_RUN)
#define FORCE  CTL_BIT(CTL_F_FORCE)
#define DESCRIBED                                                                                  \
    (CTL_BIT(CTL_F_USER) | CTL_BIT(CTL_F_IP) | CTL_BIT(CTL_F_SKU) | CTL_BIT(CTL_F_QUANTITY) |      \
     CTL_BIT(CTL_F_METHOD) | CTL_BIT(CTL_F_PATH) | CTL_BIT(CTL_F_HEADER) | CTL_BIT(CTL_F_AT))
#define FILES  (CTL_BIT(CTL_F_FILE) | CTL_BIT(CTL_F_PRUNE) | CTL_BIT(CTL_F_KINDS))

const struct ctl_command ctl_commands[] = {
    {"get",        "KIND [NAME [VERSION]]", 1, 3, 0,                     "table json", "Shows documents of a kind, or one of them, or an old version of it", ctl_get, false},
    {"describe",   "KIND",                  1, 1, 0,                     "table json", "Shows the members of a kind's documents", ctl_describe, false},
    {"edit",       "KIND [NAME]",           1, 2, REASON,                NULL,         "Opens a document in $VISUAL or $EDITOR and saves it, unless somebody else changed it in the meantime", ctl_edit, false},
    {"patch",      "KIND [NAME] PATCH",     2, 3, DRY | REASON,          "table json", "Changes members of a document, whatever its version: PATCH is a merge patch such as '{\"rate\":20}'", ctl_patch, false},
    {"create",     "[KIND NAME DOCUMENT]",  0, 3, DRY | REASON | CTL_BIT(CTL_F_FILE), "table json", "Creates a document from JSON such as '{\"bytes\":67108864}', or, with -f, the documents of the files, one after the other; what exists already is refused and stays", ctl_create, false},
    {"limit create", "NAME DOCUMENT",       2, 2, DRY | REASON,          "table json", "Creates a limit rule, as create limit", ctl_limit_create, false},
    {"block user", "USER",                  1, 1, TTL | DRY | REASON,    "table json", "Refuses a user, for --ttl or until the entry is deleted: delete block_user USER", ctl_block, false},
    {"block ip",   "RANGE",                 1, 1, TTL | DRY | REASON,    "table json", "Refuses an address or a range such as 203.0.113.0/24, as block user", ctl_block, false},
    {"delete",     "KIND NAME",             2, 2, DRY | REASON,          "table json", "Deletes a document", ctl_delete, false},
    {"diff",       "",                      0, 0, FILES,                 "table json", "Shows what apply would change; status 0: nothing, 1: something, above 1: an error", ctl_diff, false},
    {"apply",      "",                      0, 0, FILES | DRY | REASON | FORCE | CTL_BIT(CTL_F_WAIT), "table json", "Changes documents to match the files, all of them or none", ctl_apply, false},
    {"rollback",   "KIND [NAME] [VERSION]", 1, 3, DRY | REASON,          "table json", "Restores a version of a document; without VERSION lists its versions", ctl_rollback, false},
    {"config export", "",                   0, 0, CTL_BIT(CTL_F_KINDS) | CTL_BIT(CTL_F_BASE), NULL, "Prints all documents, or those of --kinds, as one file for apply -f", ctl_config_export, false},
    {"config versions", "",                 0, 0, CTL_BIT(CTL_F_KINDS),  "table json", "Lists the changes of documents that the gateway remembers, by revision", ctl_config_versions, false},
    {"config rollback", "REVISION",         1, 1, CTL_BIT(CTL_F_KINDS) | DRY | FORCE | REASON, "table json", "Restores all documents, or those of --kinds, as they were at a revision", ctl_config_rollback, false},
    {"route resume", "ROUTE",               1, 1, REASON,                "table json", "Resumes the splits of a route that were taken back automatically", ctl_one_call, false},
    {"cache purge", "CACHE key|prefix|tag VALUE", 3, 3, REASON,          "table json", "Removes answers from a cache: one by its key, those whose keys begin so, or those with a tag", ctl_cache_purge, false},
    {"endpoints",  "[POOL]",                0, 1, 0,                     "table json", "Shows the state of each endpoint of a pool, or of all: usable or why not, breaker, errors, latency", ctl_endpoints, false},
    {"endpoint list", "POOL",               1, 1, 0,                     "table json", "Lists the endpoints that have registered themselves in a pool", ctl_one_call, false},
    {"endpoint show", "POOL ADDRESS",       2, 2, 0,                     "table json", "Shows a registration", ctl_one_call, false},
    {"endpoint put", "POOL ADDRESS",        2, 2, TTL | CTL_BIT(CTL_F_WEIGHT) | REASON, "table json", "Registers an endpoint, or renews its registration, for --ttl (15 s)", ctl_endpoint_put, false},
    {"endpoint remove", "POOL ADDRESS",     2, 2, REASON,                NULL,         "Removes a registration", ctl_one_call, false},
    {"breakers",   "",                      0, 0, 0,                     "table json", "Lists the circuit breakers", ctl_one_call, false},
    {"flow",       "",                      0, 0, 0,                     "table json", "Shows how many calls may be under way to the log and to Redis, and are", ctl_one_call, false},
    {"top",        "",                      0, 0, CTL_BIT(CTL_F_INTERVAL) | CTL_BIT(CTL_F_ONCE), NULL, "Shows a live screen: level and signals, open sales, overrides; q quits", ctl_top, false},
    {"override list", "",                   0, 0, 0,                     "table json", "Lists overrides, and the values without them", ctl_one_call, false},
    {"override show", "TARGET",             1, 1, CTL_BIT(CTL_F_GATEWAY), "table json", "Shows an override", ctl_override_show, false},
    {"override set", "TARGET VALUE",        2, 2, TTL | CTL_BIT(CTL_F_GATEWAY) | DRY | REASON, "table json", "Overrides a value for a time, such as: level 2, or feature:exports off", ctl_override_set, false},
    {"override end", "TARGET",              1, 1, CTL_BIT(CTL_F_GATEWAY) | REASON, NULL, "Ends an override", ctl_override_end, false},
    {"run",        "PLAN",                  1, 1, TTL | CTL_BIT(CTL_F_ARM_TTL) | FORCE | CTL_BIT(CTL_F_BREAK_GLASS) | DRY | REASON, "table json", "Runs a plan, or arms it if it has a start; with --dry-run status 1 if it would fail", ctl_run, false},
    {"runs list",  "",                      0, 0, CTL_BIT(CTL_F_STATE),  "table json", "Lists runs of plans, oldest first; ended ones are kept for 30 days", ctl_runs_list, false},
    {"runs get",   "RUN|PLAN",              1, 1, 0,                     "table json", "Shows a run and what it has changed", ctl_runs_get, false},
    {"runs approve", "RUN|PLAN",            1, 1, REASON,                "table json", "Approves a run that another token has started", ctl_runs_act, false},
    {"runs revert", "RUN|PLAN",             1, 1, FORCE | REASON,        "table json", "Ends a run and takes back what it has changed; status 1 if something is left, since somebody has changed it meanwhile", ctl_runs_act, false},
    {"runs cancel", "RUN|PLAN",             1, 1, REASON,                "table json", "Ends a run that is armed or waits for approval", ctl_runs_act, false},
    {"runs keep",  "RUN|PLAN",              1, 1, REASON,                "table json", "Ends a run and leaves everything as it is", ctl_runs_act, false},
    {"explain",    "[REF]",                 0, 1, CTL_BIT(CTL_F_SALE) | DESCRIBED, "table json", "Shows what refused a request: REF is the member ref of its answer. Without REF shows what a described request would get now, gate by gate: an order (--user, --ip, --sale, --sku) or a page (--ip, --path); nothing is sent or counted", ctl_explain, false},
    {"watch follow", "USER",                1, 1, TTL | CTL_BIT(CTL_F_INTERVAL) | CTL_BIT(CTL_F_ONCE) | REASON, "table ndjson", "Watches a buyer for --ttl (600 s): prints the last answers of the gateway, and then those to come until the watch ends", ctl_watch_follow, false},
    {"watch list", "",                      0, 0, 0,                     "table json", "Lists the buyers who are watched", ctl_watch_list, false},
    {"watch end",  "USER",                  1, 1, REASON,                NULL,         "Ends a watch", ctl_watch_end, false},
    {"sale list",  "",                      0, 0, 0,                     "table json", "Lists the sales", ctl_sale_list, false},
    {"sale show",  "SALE",                  1, 1, 0,                     "table json", "Shows a sale and the units of its SKUs", ctl_sale_show, false},
    {"sale open",  "SALE",                  1, 1, REASON,                "table json", "Opens a sale now", ctl_sale_act, false},
    {"sale pause", "SALE",                  1, 1, REASON,                "table json", "Refuses buyers until it is resumed", ctl_sale_act, false},
    {"sale resume", "SALE",                 1, 1, REASON,                "table json", "Ends the pause", ctl_sale_act, false},
    {"sale end",   "SALE",                  1, 1, REASON,                "table json", "Ends a sale for good", ctl_sale_act, false},
    {"sale adjust", "SALE SKU DELTA",       3, 3, CTL_BIT(CTL_F_ID) | REASON, "table json", "Changes the stock of an open sale, once for each --id", ctl_sale_adjust, false},
    {"sale audit", "SALE",                  1, 1, 0,                     "table json", "Checks a sale's counter and orders against the log; status 1 if they differ", ctl_sale_audit, false},
    {"sale rebuild", "SALE",                1, 1, REASON,                "table json", "Counts a sale again from the log, if an audit shows that its counter is wrong; buyers get 503 meanwhile", ctl_one_call, false},
    {"sale log",   "SALE",                  1, 1, CTL_BIT(CTL_F_AFTER) | CTL_BIT(CTL_F_WAIT),  "ndjson",     "Prints all records of a sale's order log", ctl_sale_log, false},
    {"order show", "ORDER",                 1, 1, 0,                     "table json", "Shows an order", ctl_one_call, false},
    {"order confirm", "ORDER",              1, 1, REASON,                "table json", "Confirms an order: it is paid", ctl_one_call, false},
    {"order cancel", "ORDER",               1, 1, REASON,                "table json", "Cancels an order; its units return to the stock", ctl_one_call, false},
    {"order batch", "confirm|cancel",       1, 1, CTL_BIT(CTL_F_FILE) | REASON, "table json", "Confirms or cancels the orders whose ids are in the file, one a line; status 1 if some were refused", ctl_order_batch, false},
    {"order export", "",                    0, 0, CTL_BIT(CTL_F_SALE) | CTL_BIT(CTL_F_STATE) | CTL_BIT(CTL_F_AFTER) | CTL_BIT(CTL_F_WAIT) | CTL_BIT(CTL_F_CSV_RAW), "csv ndjson", "Prints all orders of --sale, in log order", ctl_order_export, false},
    {"audit show", "",                      0, 0, CTL_BIT(CTL_F_AFTER) | CTL_BIT(CTL_F_LIMIT), "table ndjson", "Shows who changed what, when and why: the last 100 changes, or those after --after", ctl_audit_show, false},
    {"audit verify", "[FILE]...", 0, CTL_ARGS_MAX, CTL_BIT(CTL_F_SALE) | CTL_BIT(CTL_F_GATEWAY), NULL, "Verifies the hash chain of audit log files, oldest first, or of the gateway's log; with --sale also against the hashes in that sale's order log (of files: those of --gateway); status 1 if lines were changed, removed or moved", ctl_audit_verify, true},
    {"token list", "",                      0, 0, 0,                     "table json", "Lists the tokens, without their secrets", ctl_one_call, false},
    {"token new",  "registrar|viewer|operator|admin", 1, 1, CTL_BIT(CTL_F_NOTE) | TTL | CTL_BIT(CTL_F_POOL) | CTL_BIT(CTL_F_OUT) | REASON, "table json", "Creates a token; its secret is printed once, or written to --out", ctl_token_new, false},
    {"token remove", "ID",                  1, 1, REASON,                NULL,         "Removes a token", ctl_one_call, false},
    {"rehearsal-key list", "",              0, 0, 0,                     "table json", "Lists the keys that sign marks of rehearsals, without their secrets", ctl_one_call, false},
    {"rehearsal-key new", "",               0, 0, CTL_BIT(CTL_F_NOTE) | TTL | CTL_BIT(CTL_F_OUT) | REASON, "table json", "Creates such a key, for penstock-rehearse --rehearsal-key; its secret is printed once, or written with it to --out", ctl_rehearsal_key_new, false},
    {"rehearsal-key remove", "KEY",         1, 1, REASON,                NULL,         "Revokes a key: end its rehearsal first", ctl_one_call, false},
    {"whoami",     "",                      0, 0, 0,                     "table json", "Shows whose token is used, and at which gateway", ctl_one_call, false},
    {"settings",   "",                      0, 0, 0,                     "table json", "Shows the settings of the gateway, without secrets", ctl_one_call, false},
    {"standby",    "",                      0, 0, 0,                     "table json", "Shows how far the standby follows the gateway's journal", ctl_one_call, false},
    {"nodes",      "",                      0, 0, 0,                     "table json", "Lists the gateways of the cluster, as seen by the gateway that is called", ctl_one_call, false},
    {"drain",      "",                      0, 0, REASON,                NULL,         "Drains the gateway: it answers pending requests, then ends", ctl_drain, false},
    {"use",        "[CONTEXT]",             0, 1, 0,                     NULL,         "Makes a context current; --admin and --token-file create or change it; without a name lists all", ctl_use, true},
    {"completion", "bash|zsh",              1, 1, 0,                     NULL,         "Prints a shell's completion script", ctl_completion, true},
    {"man",        "",                      0, 0, 0,                     NULL,         "Prints the manual", ctl_man, true},
    {0}};
/* clang-format on */

/* --- The command line. --- */

struct line {
    const char *words[WORDS_MAX]; /* words that are neither options nor values of options */
    int word_count;
    char *flags[WORDS_MAX + 1]; /* like argv: the first is not an option */
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

/* "-" alone is a name; a dash before a digit begins a number. */
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

/* The row that the first words name, and the number of these words. */
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

/* Reports an unknown command; for a first word alone ("sale") lists what may follow, and for one
 * that is no first word suggests one ("sales"). */
static int say_no_command(const struct line *line)
{
    enum { FIRST_MAX = 32 }; /* Of a longer first word only the beginning would be suggested. */
    char firsts[PS_ARRAY_LEN(ctl_commands)][FIRST_MAX];
    const char *names[PS_ARRAY_LEN(ctl_commands)] = {NULL};
    char list[512] = "";
    size_t count = 0, len = strlen(line->words[0]);

    for (const struct ctl_command *row = ctl_commands; row->name != NULL; row++) {
        (void)snprintf(firsts[count], FIRST_MAX, "%.*s", (int)strcspn(row->name, " "), row->name);
        names[count] = firsts[count];
        count++;
        if (strncmp(row->name, line->words[0], len) == 0 && row->name[len] == ' ') {
            size_t at = strlen(list);
            (void)snprintf(list + at, sizeof list - at, "%s%s", at > 0 ? ", " : "",
                           row->name + len + 1);
        }
    }
    if (list[0] != '\0')
        return ctl_say(CTL_USAGE, "%s needs one of: %s", line->words[0], list);
    const char *near = ps_nearest_word(line->words[0], names);
    return ctl_say(CTL_USAGE, "unknown command \"%s\"%s%s%s", line->words[0],
                   near != NULL ? ", did you mean \"" : "", near != NULL ? near : "",
                   near != NULL ? "\"?" : "; see penstockctl --help");
}

/* Reads the options of the line that the command takes. */
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
    ctl->options = (struct ctl_options){.ttl_s = -1,
                                        .after = -1,
                                        .limit = -1,
                                        .interval_s = 2,
                                        .quantity = -1,
                                        .weight = -1,
                                        .wait_s = -1,
                                        .arm_ttl_s = -1};
    if (ps_flags_read(table, count, line->flag_count, line->flags, &ctl->options, &fault) < 0)
        return ctl_say(CTL_USAGE, "%s %s", fault.path, fault.text);
    return CTL_OK;
}

/* Is `text` one of the words in the list, which are separated by blanks? */
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
