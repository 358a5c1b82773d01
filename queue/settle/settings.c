/* Settings from file and flags. Flags are put into the file's document, in their place, and then
 * the whole is read by the table: so both pass the same checks and get the same messages. */
#include "queue/settle/settings.h"
#include "common/otlp/tracer.h"
#include "common/program/flags.h"
#include "common/program/log.h"
#include "common/program/reference.h"
#include "common/program/secret.h"
#include "queue/log_kafka.h"
#include "queue/settle/settle_sink.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX_BYTES ((size_t)1 << 20)
#define FLAG_MAX       96

static const char *const log_levels[] = {"debug", "info", "warn", "error", NULL};

static bool is_url(const char *text, size_t len)
{
    (void)len;
    return strncmp(text, "http://", 7) == 0 || strncmp(text, "https://", 8) == 0;
}

#define AT(field)      PS_AT(struct st_settings, field)
#define STRINGS(field) PS_AT_STRINGS(struct st_settings, field)

/* clang-format off */
static const struct ps_format url = {.rule = {"an http or https URL", "以 http:// 或 https:// 开头的 URL"}, .pattern = "^https?://", .is_ok = is_url};
static const struct ps_member url_item = {"", PS_M_STRING, .size = sizeof(char *), .min = 1, .max = 1000, .format = &url, .example = "\"http://127.0.0.1:8090\""};
static const struct ps_member members[] = {
    {"journal", PS_M_STRING, AT(journal), .flags = PS_M_NULLABLE, .min = 1, .max = 4000, .fallback = "null", .example = "\"/var/lib/penstock/journal.db\"", .text = {"Read this journal of a gateway (state_dir/journal.db)", "读取网关的这个 journal（state_dir/journal.db）"}},
    {"kafka.brokers", PS_M_STRING, AT(kafka.brokers), .min = 0, .max = 4000, .fallback = "\"\"", .example = "\"127.0.0.1:9092\"", .text = {"Or read from Kafka: host:port, several with commas", "或者从 Kafka 读取：host:port，多个用逗号分隔"}},
    {"kafka.topic", PS_M_STRING, AT(kafka.topic), .min = 1, .max = 249, .fallback = "\"penstock.orders\"", .text = {"The topic of the order log", "订单日志的 topic"}},
    {"kafka.group", PS_M_STRING, AT(kafka.group), .min = 1, .max = 249, .fallback = "\"penstock-settle\"", .text = {"Workers of one group share the partitions; each database needs its own group", "同组的 worker 分担各分区；独立的数据库要用独立的组"}},
    {"kafka.dead_letter_topic", PS_M_STRING, AT(kafka.dead_letter_topic), .flags = PS_M_NULLABLE, .min = 1, .max = 249, .fallback = "null", .example = "\"penstock.dead\"", .text = {"Invalid records are sent there, in addition to the table penstock_dead_letters", "无法理解的记录除写入 penstock_dead_letters 表之外，还发往这里"}},
    {"kafka.skip_lost", PS_M_BOOL, AT(kafka.skip_lost), .fallback = "false", .text = {"Continue although records were deleted before they were read; their orders are missing in the database", "有记录尚未读取就已消失时仍继续；数据库里会缺少相应的订单"}},
    {"kafka.properties", PS_M_FREE, AT(kafka.properties), .fallback = "{}", .example = "{\"security.protocol\":\"SSL\"}", .text = {"Settings of librdkafka, for security and tuning", "librdkafka 的属性，用于安全和调优"}},
    {"kafka.sasl_password_file", PS_M_STRING, AT(kafka.sasl_password_file), .flags = PS_M_NULLABLE, .min = 1, .max = 1024, .fallback = "null", .example = "\"kafka-password\"", .text = {"A file with the property sasl.password in its first line: a path, or the name of a systemd credential", "首行是属性 sasl.password 的文件：路径，或 systemd credential 的名称"}},
    {"name", PS_M_STRING, AT(name), .min = 1, .max = 64, .fallback = "\"log\"", .text = {"The name of this log in the database; several logs in one database need different names", "数据库里这个日志的名称；同一数据库存多个日志时各用一个"}},
    {"database", PS_M_STRING, AT(database), .min = 0, .max = 4000, .fallback = "\"\"", .example = "\"sqlite:shop.db\"", .text = {"sqlite:FILE, or a connection string of PostgreSQL (postgresql://...)", "sqlite:文件名，或 PostgreSQL 的连接串（postgresql://...）"}},
    {"gateway.url", PS_M_LIST, STRINGS(gateway.url), .item = &url_item, .fallback = "[]", .example = "[\"http://127.0.0.1:8090\"]", .text = {"Admin listeners for confirm and cancel calls; if one fails, the next is used; none: decisions wait", "接受 confirm 和 cancel 的管理监听；一个失败就用下一个；不填：决定留待以后"}},
    {"gateway.token_file", PS_M_STRING, AT(gateway.token_file), .flags = PS_M_NULLABLE, .min = 1, .max = 4000, .fallback = "null", .example = "\"settle-token\"", .text = {"A file with an admin token of the role operator in its first line: a path, or the name of a systemd credential", "首行是 operator 角色管理 token 的文件：路径，或 systemd credential 的名称"}},
    {"gateway.timeout_ms", PS_M_INT, AT(gateway.timeout_ms), .min = 100, .max = 60000, .unit = {"ms"}, .fallback = "5000", .text = {"A call may take this long before it is repeated", "一次调用的时限；超时后重试"}},
    {"auto_confirm", PS_M_BOOL, AT(auto_confirm), .fallback = "false", .text = {"Decide to confirm each accepted order at once, paid or not: for demonstrations", "每张已接受的订单立即决定 confirm，不论是否付款：用于演示"}},
    {"rehearsals", PS_M_BOOL, AT(rehearsals), .fallback = "false", .text = {"Keep the orders of rehearsals, in separate tables; else they are dropped", "保留演练的订单，存入单独的表；否则丢弃"}},
    {"batch", PS_M_INT, AT(batch), .min = 1, .max = 10000, .unit = {"records", "条记录"}, .fallback = "1000", .text = {"The largest number of records in one transaction", "一个事务最多包含的记录数"}},
    {"metrics.file", PS_M_STRING, AT(metrics.file), .flags = PS_M_NULLABLE, .min = 1, .max = 4000, .fallback = "null", .example = "\"/var/lib/node_exporter/penstock.prom\"", .text = {"Write metrics to this file, for the textfile collector of node_exporter (NAME.prom)", "把指标写进这个文件，供 node_exporter 的 textfile collector 读取（NAME.prom）"}},
    {"metrics.interval_s", PS_M_INT, AT(metrics.interval_s), .min = 1, .max = 3600, .unit = {"s"}, .fallback = "5", .text = {"How often", "写入的间隔"}},
    {"tracing.endpoint", PS_M_STRING, AT(tracing.endpoint), .flags = PS_M_NULLABLE, .min = 1, .max = 1024, .format = &ps_tracer_url, .fallback = "null", .example = "\"http://127.0.0.1:4318\"", .text = {"A collector of OpenTelemetry that gets spans of the orders whose request was traced, by OTLP over HTTP; /v1/traces is added. null: none", "接收 span 的 OpenTelemetry 采集器（OTLP/HTTP），自动加上 /v1/traces；只含请求被追踪的订单。null：不产生"}},
    {"tracing.headers_file", PS_M_STRING, AT(tracing.headers_file), .flags = PS_M_NULLABLE, .min = 1, .max = 1024, .fallback = "null", .example = "\"otlp-headers\"", .text = {"A file with header fields for the collector, one Name: value a line: a path, or the name of a systemd credential", "发给采集器的请求头所在的文件，每行一个 Name: value：路径，或 systemd 凭据的名称"}},
    {"progress_s", PS_M_INT, AT(progress_s), .min = 0, .max = 3600, .unit = {"s"}, .fallback = "10", .text = {"How often to log progress, while there is any; 0 = never", "有进展时，每隔多久记录一次进度；0：不记录"}},
    {"patience_s", PS_M_INT, AT(patience_s), .min = 1, .max = 86400, .unit = {"s"}, .fallback = "30", .text = {"With --once: give up after this time without progress", "使用 --once 时：这么久没有进展就放弃"}},
    {"log_level", PS_M_ENUM, AT(log_level), .words = log_levels, .fallback = "\"info\"", .text = {"The lowest level that is logged", "写进日志的最低级别"}},
    {"log_format", PS_M_ENUM, AT(log_format), .words = ps_log_formats, .fallback = "\"penstock\"", .text = {"Names of the log's members: penstock, or ecs, those of the Elastic Common Schema for Elasticsearch", "日志字段的命名：penstock，或 ecs（Elastic Common Schema，供 Elasticsearch 使用）"}},
};
/* clang-format on */
const struct ps_table st_settings_table = {.title = "Settings of penstock-settle",
                                           .members = members,
                                           .count = PS_ARRAY_LEN(members),
                                           .size = sizeof(struct st_settings)};

/* The command line's content. */
struct given {
    const char *config;
    enum st_action action;
    const char *docs_dir;
    const struct ps_member *row[64];
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
        return ps_fault(fault, PS_E_INVALID, flag->name, "only one action at a time");
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
    given->row[given->count] = &members[flag->min];
    given->value[given->count++] = value != NULL ? value : "true";
    return 0;
}

#define GIVEN(field) offsetof(struct given, field)

/* clang-format off */
static const struct ps_flag actions[] = {
    {"--config", "FILE", "Read settings from this JSON file; flags win over it", ps_flag_set_text, GIVEN(config), 0, 0},
    {"--init", NULL, "Create the tables if they do not exist, and exit", set_action, GIVEN(action), ST_INIT, 0},
    {"--once", NULL, "Read up to the end of the log, wait until all decisions are answered, and exit", set_action, GIVEN(action), ST_ONCE, 0},
    {"--print-default-config", NULL, "Print all settings with their defaults as JSON", set_action, GIVEN(action), ST_DEFAULTS, 0},
    {"--print-schema", NULL, "Print the JSON Schema 2020-12 of the file", set_action, GIVEN(action), ST_SCHEMA, 0},
    {"--print-docs", "DIR", "Write the reference pages into this directory", set_docs, 0, ST_DOCS, 0},
    {"--version", NULL, "Print the version", set_action, GIVEN(action), ST_VERSION, 0},
    {"--help", NULL, "Print this", set_action, GIVEN(action), ST_HELP, 0},
};
/* clang-format on */

/* --- For people --- */

static void flag_of(const struct ps_member *row, char ret_flag[FLAG_MAX])
{
    snprintf(ret_flag, FLAG_MAX, "--%s", row->name);
    for (char *at = ret_flag; *at != '\0'; at++) {
        if (*at == '.' || *at == '_')
            *at = '-';
    }
}

void st_settings_help(void)
{
    puts("usage: penstock-settle [--config FILE] [SETTING...] [--init | --once]\n\n"
         "Follows the order log of Penstock, writes a shop's orders into a database, each\n"
         "once, and confirms or cancels orders as the shop decides. See penstock-settle(8).\n");
    ps_flags_print_help(actions, PS_ARRAY_LEN(actions), stdout);
    puts("\nSettings; as a flag, gateway.token_file is --gateway-token-file VALUE, lists take\n"
         "one value per flag, and true needs no value:\n");
    ps_reference_help(stdout, &st_settings_table);
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
static json_t *value_of(const struct ps_member *row, const char *text)
{
    char *end = NULL;
    switch (row->type) {
    case PS_M_INT:
        errno = 0;
        long long number = strtoll(text, &end, 10);
        return end != text && *end == '\0' && errno == 0 ? json_integer(number) : json_string(text);
    case PS_M_BOOL:
        if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
            return json_boolean(text[0] == 't');
        return json_string(text);
    case PS_M_FREE:
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
static int put_flag(json_t *document, const struct ps_member *row, const char *text, bool first,
                    struct ps_fault *fault)
{
    const char *name;
    json_t *object = object_for(document, row->name, &name);
    json_t *value = value_of(row, text);
    if (value == NULL)
        return ps_fault(fault, PS_E_INVALID, row->name, "\"%s\" is not valid JSON", text);
    int failed;
    if (row->type == PS_M_LIST) {
        if (object != NULL && first)
            (void)json_object_set_new(object, name, json_array());
        failed = json_array_append_new(json_object_get(object, name), value);
    } else {
        failed = json_object_set_new(object, name, value);
    }
    return failed == 0 ? 0
                       : ps_fault(fault, PS_E_INVALID, row->name,
                                  "cannot be set: the file has another value in its place");
}

/* The actions, and a flag for each setting. */
static int read_flags(int argc, char *const *argv, struct given *given, struct ps_fault *fault)
{
    struct ps_flag table[PS_ARRAY_LEN(actions) + PS_ARRAY_LEN(members)];
    char names[PS_ARRAY_LEN(members)][FLAG_MAX];
    memcpy(table, actions, sizeof actions);
    for (size_t i = 0; i < PS_ARRAY_LEN(members); i++) {
        flag_of(&members[i], names[i]);
        table[PS_ARRAY_LEN(actions) + i] = (struct ps_flag){
            .name = names[i],
            .argument = members[i].type == PS_M_BOOL ? NULL : "VALUE",
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

static void add_fault(const struct ps_fault *fault, void *faults)
{
    (void)ps_faults_add(faults, PS_E_INVALID, fault->path, "%s", fault->text);
}

static void refuse(struct ps_faults *faults, const char *setting, const char *why)
{
    (void)ps_faults_add(faults, PS_E_INVALID, setting, "%s", why);
}

/* Rules across members; adds what is wrong. */
static void check_together(struct st_settings *settings, enum st_action action,
                           struct ps_faults *faults)
{
    struct ps_fault fault;
    if (settings->database[0] == '\0')
        refuse(faults, "database", "is missing: sqlite:FILE, or a connection string of PostgreSQL");
    if (action == ST_INIT)
        return;
    if ((settings->journal != NULL) == (settings->kafka.brokers[0] != '\0'))
        refuse(faults, "journal", "either this or kafka.brokers is required: the place of the log");
    if (settings->gateway.url.count > 0 && settings->gateway.token_file == NULL)
        refuse(faults, "gateway.token_file", "is missing beside gateway.url");
    if (settings->auto_confirm && settings->gateway.url.count == 0)
        refuse(faults, "auto_confirm", "needs gateway.url");
    if (settings->kafka.sasl_password_file != NULL &&
        oq_kafka_add_password(&settings->kafka.properties, settings->kafka.sasl_password_file,
                              "kafka.sasl_password_file", &fault) < 0)
        add_fault(&fault, faults);
    if (settings->tracing.headers_file != NULL &&
        ps_tracer_headers_read(settings->tracing.headers_file, "tracing.headers_file",
                               &settings->headers, &fault) < 0)
        add_fault(&fault, faults);
    (void)!st_source_kafka_check(settings->kafka.properties, "kafka.properties", add_fault, faults);
}

static int read_document(const json_t *document, enum st_action action,
                         struct st_settings *settings, struct ps_faults *faults)
{
    const struct ps_table_source source = {
        .json = document, .pointer = "", .style = PS_PATH_DOTTED};
    int err = ps_table_read(&st_settings_table, &source, settings, faults);
    if (err != PS_E_NOMEM)
        check_together(settings, action, faults);
    return err == 0 && faults->count > 0 ? PS_E_INVALID : err;
}

int st_settings_read(int argc, char *const *argv, struct st_settings *ret_settings,
                     enum st_action *ret_action, struct ps_faults *faults)
{
    struct given given = {.action = ST_RUN};
    struct st_settings settings = {0};
    struct ps_fault fault = {0};
    json_t *document = NULL;
    int err = read_flags(argc, argv, &given, &fault);
    bool reads = err == 0 && given.action < ST_HELP;
    if (reads && given.config != NULL)
        err = load_file(given.config, &document, &fault);
    else if (reads && (document = json_object()) == NULL)
        err = ps_fault(&fault, PS_E_NOMEM, "", "out of memory");
    for (size_t i = 0; reads && i < given.count && err == 0; i++)
        err = put_flag(document, given.row[i], given.value[i], !seen_before(&given, i), &fault);
    if (err != 0)
        (void)ps_faults_add(faults, err, fault.path, "%s", fault.text);
    else if (reads)
        err = read_document(document, given.action, &settings, faults);
    json_decref(document);
    if (err != 0) {
        st_settings_free(&settings);
        return err;
    }
    settings.docs_dir = given.docs_dir;
    *ret_settings = settings;
    *ret_action = given.action;
    return 0;
}

void st_settings_free(struct st_settings *settings)
{
    ps_table_free(&st_settings_table, settings);
    ps_secret_lines_free(&settings->headers);
}
