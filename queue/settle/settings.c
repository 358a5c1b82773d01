/* Settings from file and flags. Flags are put into the file's document, in their place, and then
 * the whole is read by the table: so both pass the same checks and get the same messages. */
#include "queue/settle/settings.h"
#include "common/program/flags.h"
#include "queue/log_kafka.h"
#include "queue/settle/settle_sink.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX_BYTES ((size_t)1 << 20)
#define FLAG_MAX       96

static const char *const log_levels[] = {"debug", "info", "warn", "error", NULL};

#define AT(field) offsetof(struct st_settings, field)
#define ANY       0, INT64_MAX

/* clang-format off */
const struct ps_option st_options[] = {
    /* path                     type            offset                       min,max       default             unit       words       live   help */
    {"journal",                 PS_OPT_STRING,  AT(journal),                 1, 4000,      "null",             "",        NULL,       false, "Read this journal of a gateway (state_dir/journal.db)"},
    {"kafka.brokers",           PS_OPT_STRING,  AT(kafka.brokers),           0, 4000,      "\"\"",             "",        NULL,       false, "Or read from Kafka: host:port, several with commas"},
    {"kafka.topic",             PS_OPT_STRING,  AT(kafka.topic),             1, 249,       "\"penstock.orders\"", "",     NULL,       false, "The topic of the order log"},
    {"kafka.group",             PS_OPT_STRING,  AT(kafka.group),             1, 249,       "\"penstock-settle\"", "",     NULL,       false, "Workers of one group share the partitions; a database of its own needs a group of its own"},
    {"kafka.dead_letter_topic", PS_OPT_STRING,  AT(kafka.dead_letter_topic), 1, 249,       "null",             "",        NULL,       false, "Records that make no sense are sent there, besides the table penstock_dead_letters"},
    {"kafka.skip_lost",         PS_OPT_BOOL,    AT(kafka.skip_lost),         ANY,          "false",            "",        NULL,       false, "Go on where records are gone that were never read; their orders are missing in the database"},
    {"kafka.properties",        PS_OPT_JSON,    AT(kafka.properties),        ANY,          "{}",               "",        NULL,       false, "Settings of librdkafka, for security and tuning"},
    {"kafka.sasl_password_file", PS_OPT_STRING, AT(kafka.sasl_password_file), 1, 1024,     "null",             "",        NULL,       false, "A file with the property sasl.password in its first line: a path, or the name of a systemd credential"},
    {"name",                    PS_OPT_STRING,  AT(name),                    1, 64,        "\"log\"",          "",        NULL,       false, "What the database calls this log; several logs in one database need a name each"},
    {"database",                PS_OPT_STRING,  AT(database),                0, 4000,      "\"\"",             "",        NULL,       false, "sqlite:FILE, or a connection string of PostgreSQL (postgresql://...)"},
    {"gateway.url",             PS_OPT_STRINGS, AT(gateway.url),             1, 1000,      "[]",               "",        NULL,       false, "Admin listeners to confirm and cancel at; the next one when one fails; none: decisions wait"},
    {"gateway.token_file",      PS_OPT_STRING,  AT(gateway.token_file),      1, 4000,      "null",             "",        NULL,       false, "A file with an admin token of the role operator in its first line: a path, or the name of a systemd credential"},
    {"gateway.timeout_ms",      PS_OPT_INT,     AT(gateway.timeout_ms),      100, 60000,   "5000",             "ms",      NULL,       false, "A call may take this long; then it is made again"},
    {"auto_confirm",            PS_OPT_BOOL,    AT(auto_confirm),            ANY,          "false",            "",        NULL,       false, "Decide to confirm each accepted order at once, paid or not: for demonstrations"},
    {"rehearsals",              PS_OPT_BOOL,    AT(rehearsals),              ANY,          "false",            "",        NULL,       false, "Keep the orders of rehearsals, in tables of their own; else they are dropped"},
    {"batch",                   PS_OPT_INT,     AT(batch),                   1, 10000,     "1000",             "records", NULL,       false, "Most records in one transaction"},
    {"metrics.file",            PS_OPT_STRING,  AT(metrics.file),            1, 4000,      "null",             "",        NULL,       false, "Write metrics to this file, for the textfile collector of node_exporter (NAME.prom)"},
    {"metrics.interval_s",      PS_OPT_INT,     AT(metrics.interval_s),      1, 3600,      "5",                "s",       NULL,       false, "How often"},
    {"progress_s",              PS_OPT_INT,     AT(progress_s),              0, 3600,      "10",               "s",       NULL,       false, "How often to log how far it is, while there is progress; 0 = never"},
    {"patience_s",              PS_OPT_INT,     AT(patience_s),              1, 86400,     "30",               "s",       NULL,       false, "With --once: give up after so long without progress"},
    {"log_level",               PS_OPT_ENUM,    AT(log_level),               ANY,          "\"info\"",         "",        log_levels, false, "Least level that is logged"},
};
/* clang-format on */
const size_t st_option_count = PS_ARRAY_LEN(st_options);

/* The command line's content. */
struct given {
    const char *config;
    enum st_action action;
    const char *docs_dir;
    const struct ps_option *row[64];
    const char *value[64];
    size_t count;
};

/* flag->min is the action. */
static int set_action(const struct ps_flag *flag, const char *value, void *field,
                      struct ps_fault *fault)
{
    enum st_action *action = field;
    if (value != NULL)
        return ps_fault(fault, PS_E_INVALID, flag->name, "takes no value");
    if (*action != ST_RUN && *action != (enum st_action)flag->min)
        return ps_fault(fault, PS_E_INVALID, flag->name, "one thing at a time");
    *action = (enum st_action)flag->min;
    return 0;
}

static int set_docs(const struct ps_flag *flag, const char *value, void *field,
                    struct ps_fault *fault)
{
    struct given *given = field;
    given->docs_dir = value;
    return set_action(flag, NULL, &given->action, fault);
}

/* flag->min is the index of the row. */
static int note_setting(const struct ps_flag *flag, const char *value, void *field,
                        struct ps_fault *fault)
{
    struct given *given = field;
    if (given->count == PS_ARRAY_LEN(given->row))
        return ps_fault(fault, PS_E_INVALID, flag->name, "too many flags: use a file");
    given->row[given->count] = &st_options[flag->min];
    given->value[given->count++] = value != NULL ? value : "true";
    return 0;
}

#define GIVEN(field) offsetof(struct given, field)

/* clang-format off */
static const struct ps_flag actions[] = {
    {"--config", "FILE", "Read settings from this JSON file; flags win over it", ps_flag_set_text, GIVEN(config), 0, 0},
    {"--init", NULL, "Make the tables, unless they are there, and end", set_action, GIVEN(action), ST_INIT, 0},
    {"--once", NULL, "Read up to the end of the log, have all decisions answered, and end", set_action, GIVEN(action), ST_ONCE, 0},
    {"--print-default-config", NULL, "Print all settings with their defaults as JSON", set_action, GIVEN(action), ST_DEFAULTS, 0},
    {"--print-schema", NULL, "Print what the file may hold, as JSON Schema 2020-12", set_action, GIVEN(action), ST_SCHEMA, 0},
    {"--print-docs", "DIR", "Write the reference pages into this directory", set_docs, 0, ST_DOCS, 0},
    {"--version", NULL, "Print the version", set_action, GIVEN(action), ST_VERSION, 0},
    {"--help", NULL, "Print this", set_action, GIVEN(action), ST_HELP, 0},
};
/* clang-format on */

/* --- For people --- */

static void flag_of(const struct ps_option *row, char ret_flag[FLAG_MAX])
{
    snprintf(ret_flag, FLAG_MAX, "--%s", row->path);
    for (char *at = ret_flag; *at != '\0'; at++) {
        if (*at == '.' || *at == '_')
            *at = '-';
    }
}

void st_settings_help(void)
{
    puts("usage: penstock-settle [--config FILE] [SETTING...] [--init | --once]\n\n"
         "Follows the order log of Penstock, writes a shop's orders into a database, each\n"
         "once, and has the shop's decisions confirmed or cancelled. See penstock-settle(8).\n");
    ps_flags_print_help(actions, PS_ARRAY_LEN(actions), stdout);
    puts("\nSettings; as a flag, gateway.token_file is --gateway-token-file VALUE, lists take\n"
         "one value a flag, and true needs no value:\n");
    ps_options_print_help(st_options, st_option_count, stdout);
}

int st_settings_print_defaults(void)
{
    return ps_options_print_defaults(st_options, st_option_count, stdout);
}

int st_settings_print_schema(void)
{
    return ps_options_print_schema(st_options, st_option_count, "Settings of penstock-settle",
                                   stdout);
}

/* --- The file --- */

static int load_file(const char *path, json_t **ret_document, struct ps_fault *fault)
{
    struct ps_fault inside;
    int err = ps_json_load(path, FILE_MAX_BYTES, ret_document, &inside);
    if (err == 0 && !json_is_object(*ret_document))
        err = ps_fault(&inside, PS_E_INVALID, "", "must hold an object");
    return err < 0 ? ps_fault(fault, err, path, "%s", inside.text) : 0;
}

/* --- Flags --- */

/* The text of a flag as the JSON that its row wants; NULL: impossible, or out of memory. A
 * malformed number stays a string, which the row refuses by its name. */
static json_t *value_of(const struct ps_option *row, const char *text)
{
    char *end = NULL;
    switch (row->type) {
    case PS_OPT_INT:
        errno = 0;
        long long number = strtoll(text, &end, 10);
        return end != text && *end == '\0' && errno == 0 ? json_integer(number) : json_string(text);
    case PS_OPT_BOOL:
        if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
            return json_boolean(text[0] == 't');
        return json_string(text);
    case PS_OPT_JSON:
        return json_loads(text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    default:
        return json_string(text);
    }
}

/* The object that has a row's last name, created if needed. NULL: something else is in the way, or
 * out of memory. */
static json_t *object_for(json_t *document, const char *path, const char **ret_name)
{
    const char *dot = strchr(path, '.');
    *ret_name = dot != NULL ? dot + 1 : path;
    if (dot == NULL)
        return document;
    char section[FLAG_MAX];
    snprintf(section, sizeof section, "%.*s", (int)(dot - path), path);
    json_t *inner = json_object_get(document, section);
    if (inner == NULL && json_object_set_new(document, section, json_object()) == 0)
        inner = json_object_get(document, section);
    return json_is_object(inner) ? inner : NULL;
}

/* `first`: the list of the flags replaces that of the file. */
static int put_flag(json_t *document, const struct ps_option *row, const char *text, bool first,
                    struct ps_fault *fault)
{
    const char *name;
    json_t *object = object_for(document, row->path, &name);
    json_t *value = value_of(row, text);
    if (value == NULL)
        return ps_fault(fault, PS_E_INVALID, row->path, "\"%s\" is no JSON", text);
    int failed;
    if (row->type == PS_OPT_STRINGS) {
        if (object != NULL && first)
            (void)json_object_set_new(object, name, json_array());
        failed = json_array_append_new(json_object_get(object, name), value);
    } else {
        failed = json_object_set_new(object, name, value);
    }
    return failed == 0 ? 0
                       : ps_fault(fault, PS_E_INVALID, row->path,
                                  "cannot be set: the file has something else in its place");
}

/* The actions, and a flag for each setting. */
static int read_flags(int argc, char *const *argv, struct given *given, struct ps_fault *fault)
{
    struct ps_flag table[PS_ARRAY_LEN(actions) + PS_ARRAY_LEN(st_options)];
    char names[PS_ARRAY_LEN(st_options)][FLAG_MAX];
    memcpy(table, actions, sizeof actions);
    for (size_t i = 0; i < st_option_count; i++) {
        flag_of(&st_options[i], names[i]);
        table[PS_ARRAY_LEN(actions) + i] = (struct ps_flag){
            .name = names[i],
            .argument = st_options[i].type == PS_OPT_BOOL ? NULL : "VALUE",
            .set = note_setting,
            .min = (int64_t)i,
        };
    }
    return ps_flags_read(table, PS_ARRAY_LEN(table), argc, argv, given, fault);
}

static bool seen_before(const struct given *given, size_t at)
{
    for (size_t i = 0; i < at; i++) {
        if (given->row[i] == given->row[at])
            return true;
    }
    return false;
}

/* --- Together --- */

struct first_fault {
    struct ps_fault *fault;
    bool found;
};

static void keep_first(const struct ps_fault *fault, void *ctx)
{
    struct first_fault *first = ctx;
    if (!first->found)
        *first->fault = *fault;
    first->found = true;
}

static int check_together(struct st_settings *settings, enum st_action action,
                          struct ps_fault *fault)
{
    if (settings->database[0] == '\0')
        return ps_fault(fault, PS_E_INVALID, "database",
                        "is missing: sqlite:FILE, or a connection string of PostgreSQL");
    if (action == ST_INIT)
        return 0;
    if ((settings->journal != NULL) == (settings->kafka.brokers[0] != '\0'))
        return ps_fault(fault, PS_E_INVALID, "journal",
                        "either this or kafka.brokers is needed: where the log is");
    if (settings->gateway.url.count > 0 && settings->gateway.token_file == NULL)
        return ps_fault(fault, PS_E_INVALID, "gateway.token_file", "is missing beside gateway.url");
    if (settings->auto_confirm && settings->gateway.url.count == 0)
        return ps_fault(fault, PS_E_INVALID, "auto_confirm", "needs gateway.url");
    for (size_t i = 0; i < settings->gateway.url.count; i++) {
        const char *url = settings->gateway.url.at[i];
        if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
            return ps_fault(fault, PS_E_INVALID, "gateway.url", "\"%s\" is no http(s) URL", url);
    }
    if (settings->kafka.sasl_password_file != NULL) {
        int err =
            oq_kafka_add_password(&settings->kafka.properties, settings->kafka.sasl_password_file,
                                  "kafka.sasl_password_file", fault);
        if (err < 0)
            return err;
    }
    struct first_fault first = {.fault = fault};
    return st_source_kafka_check(settings->kafka.properties, "kafka.properties", keep_first,
                                 &first);
}

int st_settings_read(int argc, char *const *argv, struct st_settings *ret_settings,
                     enum st_action *ret_action, struct ps_fault *fault)
{
    struct given given = {.action = ST_RUN};
    struct st_settings settings = {0};
    json_t *document = NULL;
    int err = read_flags(argc, argv, &given, fault);
    if (err == 0 && given.action >= ST_HELP) {
        settings.docs_dir = given.docs_dir;
        *ret_settings = settings;
        *ret_action = given.action;
        return 0;
    }
    if (err == 0 && given.config != NULL)
        err = load_file(given.config, &document, fault);
    else if (err == 0 && (document = json_object()) == NULL)
        err = ps_fault(fault, PS_E_NOMEM, "", "out of memory");
    for (size_t i = 0; i < given.count && err == 0; i++)
        err = put_flag(document, given.row[i], given.value[i], !seen_before(&given, i), fault);
    if (err == 0)
        err = ps_options_read(st_options, st_option_count, document, &settings, fault);
    json_decref(document);
    if (err == 0 && (err = check_together(&settings, given.action, fault)) != 0)
        st_settings_free(&settings);
    if (err == 0) {
        *ret_settings = settings;
        *ret_action = given.action;
    }
    return err;
}

void st_settings_free(struct st_settings *settings)
{
    ps_options_free(st_options, st_option_count, settings);
}
