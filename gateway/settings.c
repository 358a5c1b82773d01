/* The option table and what derives from it. One row an option: --print-default-config,
 * --print-schema, --check-config, --help and the reader of the file all come from here, so they
 * cannot disagree. Rows marked live are taken over by SIGHUP; others keep their value until a
 * restart. */
#include "gateway/settings.h"

#include "common/program/log.h"
#include "common/program/secret.h"
#include "gateway/config/store/seed.h"
#include "gateway/server/strict.h"
#include "queue/log_kafka.h"

#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

static const char *const store_kinds[] = {"memory", "redis", NULL};
static const char *const log_kinds[] = {"journal", "kafka", NULL};
static const char *const log_levels[] = {"debug", "info", "warn", "error", NULL};

#define DNS_SERVERS_MAX 8
#define UNIX_PATH_MAX   (sizeof((struct sockaddr_un){0}.sun_path) - 1)
#define AT(field)       offsetof(struct gw_settings, field)
#define ANY             0, INT64_MAX
#define TEXT(max)       0, (max)

/* clang-format off */
const struct ps_option gw_options[] = {
    /* path                          type            offset                            min,max         default          unit           words           live   help */
    {"listen.host",                  PS_OPT_STRING,  AT(listen.host),                  1, 64,          "\"127.0.0.1\"", "",            NULL,           false, "Address of the public listener (numeric)"},
    {"listen.port",                  PS_OPT_INT,     AT(listen.port),                  0, 65535,       "8080",          "",            NULL,           false, "Port of the public listener; 0 takes a free one"},
    {"admin.host",                   PS_OPT_STRING,  AT(admin.host),                   1, 64,          "\"127.0.0.1\"", "",            NULL,           false, "Address of the admin listener (numeric)"},
    {"admin.port",                   PS_OPT_INT,     AT(admin.port),                   0, 65535,       "8090",          "",            NULL,           false, "Port of the admin listener; 0 takes a free one"},
    {"admin.hosts",                  PS_OPT_STRINGS, AT(admin.hosts),                  1, 255,         "[]",            "",            NULL,           true,  "Host names that the admin listener serves besides its own address and localhost; others get 421"},
    {"admin.metrics_open",           PS_OPT_BOOL,    AT(admin.metrics_open),           ANY,            "true",          "",            NULL,           true,  "Serve /metrics without a token; only where the admin listener is on loopback"},
    {"admin.unix.path",              PS_OPT_STRING,  AT(admin.local.path),             1, UNIX_PATH_MAX, "null",        "",            NULL,           false, "A Unix socket on which the admin listener serves too; a token is needed there as well. A socket that nobody listens on is replaced; null: none"},
    {"admin.unix.mode",              PS_OPT_STRING,  AT(admin.local.mode),             3, 4,           "\"0660\"",      "",            NULL,           false, "Mode of that socket, in octal: who may write may connect"},
    {"admin.unix.group",             PS_OPT_STRING,  AT(admin.local.group),            1, 255,         "null",          "",            NULL,           false, "Group of that socket, by name; null: that of the process"},
    {"trusted_proxies",              PS_OPT_STRINGS, AT(trusted_proxies),              1, 64,          "[]",            "CIDR",        NULL,           false, "Peers whose X-Forwarded-For and X-User-Id are believed; they must overwrite both"},
    {"client_ip_header",             PS_OPT_STRING,  AT(client_ip_header),             TEXT(64),       "\"\"",          "",            NULL,           false, "A header with the client's address (CF-Connecting-IP, True-Client-IP) instead of X-Forwarded-For"},
    {"state_dir",                    PS_OPT_STRING,  AT(state_dir),                    1, 1024,        "\"/var/lib/penstock\"", "",    NULL,           false, "Journal, control state, tokens, audit log; mode 0700"},
    {"workers",                      PS_OPT_INT,     AT(workers),                      0, 256,         "0",             "threads",     NULL,           false, "Worker threads; 0 = one a core"},
    {"http.head_timeout_ms",         PS_OPT_INT,     AT(http.head_timeout_ms),         100, 600000,    "5000",          "ms",          NULL,           false, "A request's head must be complete this long after accept, or after idle on a kept connection"},
    {"http.body_timeout_ms",         PS_OPT_INT,     AT(http.body_timeout_ms),         100, 600000,    "10000",         "ms",          NULL,           false, "A request's body must be complete this long after its head"},
    {"http.idle_timeout_ms",         PS_OPT_INT,     AT(http.idle_timeout_ms),         100, 3600000,   "15000",         "ms",          NULL,           false, "A kept connection may be idle this long"},
    {"http.idle_trusted_timeout_ms", PS_OPT_INT,     AT(http.idle_trusted_timeout_ms), 100, 3600000,   "75000",         "ms",          NULL,           false, "The same for trusted proxies; their own keep-alive must be the shorter one"},
    {"http.head_max_kib",            PS_OPT_INT,     AT(http.head_max_kib),            4, 64,         "10",            "KiB",         NULL,           false, "Largest head of a request, with its request line; a larger one gets 431"},
    {"http.connections",             PS_OPT_INT,     AT(http.connections),             16, 1000000,    "20000",         "connections", NULL,           false, "Above this many open connections, new ones get 503 and are closed; each worker takes its share, at least 16"},
    {"http.connections_per_address", PS_OPT_INT,     AT(http.connections_per_address), 0, 1000000,    "4096",          "connections", NULL,           false, "Open connections of one address (in IPv6 of a /64, and four times as many of a /48), trusted proxies excepted; above, new ones get 503; 0 = no limit. Each worker counts its share of it, and 25 % + 16 more, for the kernel spreads them unevenly"},
    {"http.waiting",                 PS_OPT_INT,     AT(http.waiting),                 0, 1000000,     "4096",          "requests",    NULL,           false, "Requests that leaky buckets may hold at once, in each worker"},
    {"store.kind",                   PS_OPT_ENUM,    AT(store.kind),                   ANY,            "\"memory\"",    "",            store_kinds,    false, "What counts the stock: memory (one gateway) or redis (many gateways, one count)"},
    {"store.redis.url",              PS_OPT_STRING,  AT(store.redis.url),              1, 2048,        "\"redis://127.0.0.1:6379/0\"", "", NULL,       false, "redis://[user[:password]@]host[:port][/db], or redis+sentinel://[user[:password]@]host[:port][,host...]/master[/db]"},
    {"store.redis.password_file",    PS_OPT_STRING,  AT(store.redis.password_file),    1, 1024,        "null",          "",            NULL,           false, "A file with the password for Redis in its first line: a path, or the name of a systemd credential"},
    {"store.redis.connect_timeout_ms", PS_OPT_INT,   AT(store.redis.connect_timeout_ms), 10, 60000,    "1000",          "ms",          NULL,           false, "To find, connect and greet a Redis server"},
    {"store.redis.command_timeout_ms", PS_OPT_INT,   AT(store.redis.command_timeout_ms), 10, 60000,    "500",           "ms",          NULL,           false, "For each reply of Redis; then buyers get 503 store_unavailable"},
    {"store.redis.target_ms",        PS_OPT_INT,     AT(store.redis.target_ms),        1, 60000,       "30",            "ms",          NULL,           false, "What a reservation may take: above, fewer are let through at once, unless Redis itself is slow"},
    {"log.kind",                     PS_OPT_ENUM,    AT(log.kind),                     ANY,            "\"journal\"",   "",            log_kinds,      false, "What remembers orders: journal (a file in state_dir, one gateway) or kafka (many gateways)"},
    {"log.kafka.brokers",            PS_OPT_STRING,  AT(log.kafka.brokers),            1, 2048,        "\"127.0.0.1:9092\"", "",       NULL,           false, "Brokers to begin with: host:port,host:port"},
    {"log.kafka.topic",              PS_OPT_STRING,  AT(log.kafka.topic),              1, 249,         "\"penstock.orders\"", "",      NULL,           false, "The topic of the order log; it must exist"},
    {"log.kafka.properties",         PS_OPT_JSON,    AT(log.kafka.properties),         ANY,            "{}",            "",            NULL,           false, "Properties of librdkafka for security and tuning, such as {\"security.protocol\": \"SASL_SSL\"}"},
    {"log.kafka.sasl_password_file", PS_OPT_STRING,  AT(log.kafka.sasl_password_file), 1, 1024,        "null",          "",            NULL,           false, "A file with the property sasl.password in its first line: a path, or the name of a systemd credential"},
    {"log.kafka.partitions_min",     PS_OPT_INT,     AT(log.kafka.partitions_min),     1, 1024,        "1",             "partitions",  NULL,           false, "A topic with fewer partitions is refused"},
    {"log.kafka.retention_min_h",    PS_OPT_INT,     AT(log.kafka.retention_min_h),    1, 1000000,     "168",           "hours",       NULL,           false, "A topic that keeps records for less is refused: longer than the longest sale and its settlement"},
    {"log.kafka.delivery_timeout_ms", PS_OPT_INT,    AT(log.kafka.delivery_timeout_ms), 100, 60000,    "2000",          "ms",          NULL,           false, "A record that Kafka has not acknowledged by then is unknown, and Kafka counts as away"},
    {"log.archive_after_h",          PS_OPT_INT,     AT(log.archive_after_h),          0, 100000,      "168",           "hours",       NULL,           false, "A sale that has been over for so long, with all its orders final, is archived: its records go into a file, and gateways and journal let go of them; 0 is at once. Rehearsals: after 1 hour"},
    {"log.spill.records",            PS_OPT_INT,     AT(log.spill.records),            0, 100000000,   "1000000",       "orders",      NULL,           false, "Orders that may wait on this machine's disk while Kafka is away, answered 202 pending; 0 = none"},
    {"log.queue",                    PS_OPT_INT,     AT(log.queue),                    64, 1048576,    "8192",          "records",     NULL,           false, "Records that may wait for the log; rounded up to a power of two"},
    {"log.batch_max",                PS_OPT_INT,     AT(log.batch_max),                1, 4096,        "512",           "records",     NULL,           false, "Most records in one commit"},
    {"log.ack_timeout_ms",           PS_OPT_INT,     AT(log.ack_timeout_ms),           10, 60000,      "500",           "ms",          NULL,           false, "An order that the log has not shown by then is answered 202 pending"},
    {"log.retry_ms",                 PS_OPT_INT,     AT(log.retry_ms),                 10, 60000,      "200",           "ms",          NULL,           false, "How often a journal that failed is tried again"},
    {"log.backlog_percent",          PS_OPT_INT,     AT(log.backlog_percent),          1, 100,         "80",            "%",           NULL,           false, "How full the log's queue may be before buyers get 503 log_backlog"},
    {"log.confirm_on_standby",       PS_OPT_BOOL,    AT(log.confirm_on_standby),       ANY,            "false",         "",            NULL,           false, "A confirm is answered 200 only when the standby has its record on its disk, too; else 503 standby_behind"},
    {"log.target_ms",                PS_OPT_INT,     AT(log.target_ms),                1, 60000,       "30",            "ms",          NULL,           false, "What an order may take from append to outcome: above, fewer are let through at once, unless the log itself is slow"},
    {"archive.dir",                  PS_OPT_STRING,  AT(archive.dir),                  1, 1024,        "null",          "",            NULL,           false, "The directory of the archives of sales that are over; null: archive in state_dir, which is made. In a cluster one that all gateways share"},
    {"archive.command",              PS_OPT_STRING,  AT(archive.command),              1, 1024,        "null",          "",            NULL,           false, "A program that gets the path of each new archive and the sale's name; only when it has ended with 0 is anything dropped. null: none"},
    {"limits_table.mib",             PS_OPT_INT,     AT(limits_table.mib),             1, 65536,       "32",            "MiB",         NULL,           false, "Memory of the rate-limit table; 32 MiB hold a million live cells at half fill"},
    {"drain.delay_ms",               PS_OPT_INT,     AT(drain.delay_ms),               0, 25000,       "5000",          "ms",          NULL,           false, "After SIGTERM readyz fails and serving goes on for this long, so that load balancers notice"},
    {"drain.timeout_ms",             PS_OPT_INT,     AT(drain.timeout_ms),             100, 25500,     "25000",         "ms",          NULL,           false, "SIGTERM to exit, at most; 4.5 s more when the disk does not answer. Must exceed drain.delay_ms"},
    {"logging.level",                PS_OPT_ENUM,    AT(logging.level),                ANY,            "\"info\"",      "",            log_levels,     true,  "Least level that is logged"},
    {"access_log.every",             PS_OPT_INT,     AT(access_log.every),             0, 1000000,     "0",             "requests",    NULL,           false, "Each n-th request of the API of sales is logged, with the event access; 0 = none. Under overload it becomes each 100 n-th (feature access_log)"},
    {"access_log.core",              PS_OPT_INT,     AT(access_log.pages[CFG_ROUTE_CORE]),       0, 1000000,     "0",             "requests",    NULL,           false, "The same of requests for pages by routes of the class core"},
    {"access_log.important",         PS_OPT_INT,     AT(access_log.pages[CFG_ROUTE_IMPORTANT]),  0, 1000000,     "0",             "requests",    NULL,           false, "The same of requests for pages by routes of the class important"},
    {"access_log.normal",            PS_OPT_INT,     AT(access_log.pages[CFG_ROUTE_NORMAL]),     0, 1000000,     "0",             "requests",    NULL,           false, "The same of requests for pages by routes of the class normal"},
    {"access_log.extra",             PS_OPT_INT,     AT(access_log.pages[CFG_ROUTE_EXTRA]),      0, 1000000,     "0",             "requests",    NULL,           false, "The same of requests for pages by routes of the class extra"},
    {"access_log.addresses",         PS_OPT_BOOL,    AT(access_log.addresses),         ANY,            "false",         "",            NULL,           false, "Lines of the access log name the client's address"},
    {"metrics.sales_max",            PS_OPT_INT,     AT(metrics.sales_max),            0, 1000,        "100",           "sales",       NULL,           false, "Most open sales whose units /metrics shows; each has three series"},
    {"cors.allow_origins",           PS_OPT_STRINGS, AT(cors.allow_origins),           1, 255,         "[]",            "",            NULL,           false, "Origins that may call the public API from a browser; the status page is open to all"},
    {"upstream.allowed_networks",    PS_OPT_STRINGS, AT(upstream.allowed_networks),    1, 64,          "[\"127.0.0.0/8\", \"::1\", \"10.0.0.0/8\", \"172.16.0.0/12\", \"192.168.0.0/16\", \"fc00::/7\"]", "CIDR", NULL, false, "Where endpoints of pools may be: others are refused in documents, and left out of what is discovered"},
    {"upstream.static_dir",          PS_OPT_STRING,  AT(upstream.static_dir),          1, 1024,        "null",          "",            NULL,           false, "A directory of files that routes may name as the body of an answer; null: none"},
    {"upstream.endpoint_dir",        PS_OPT_STRING,  AT(upstream.endpoint_dir),        1, 1024,        "null",          "",            NULL,           false, "A directory of files that pools may name as the source of their endpoints; null: none"},
    {"upstream.dns_servers",         PS_OPT_STRINGS, AT(upstream.dns_servers),         1, 64,          "[]",            "",            NULL,           false, "DNS servers that discovery asks, as 10.0.0.53, 10.0.0.53:5353 or [fd00::53]:53; none: those of /etc/resolv.conf"},
    {"seed",                         PS_OPT_JSON,    AT(seed),                         ANY,            "{}",            "",            NULL,           true,  "A bundle of documents to start with, as GET /admin/v1/config prints it: {\"documents\":{\"limits\":{\"user\":{...}}}}. Taken as a whole at the first start; afterwards it changes nothing"},
};
/* clang-format on */
const size_t gw_option_count = PS_ARRAY_LEN(gw_options);

static void read_cidrs(const struct ps_option_list *list, const char *option,
                       struct ps_cidrs *ret_cidrs, struct ps_faults *faults)
{
    struct ps_cidrs cidrs = {.at = calloc(list->count ? list->count : 1, sizeof *cidrs.at),
                             .count = list->count};

    if (cidrs.at == NULL)
        (void)ps_faults_add(faults, PS_E_NOMEM, option, "out of memory");
    for (size_t i = 0; cidrs.at != NULL && i < list->count; i++) {
        if (ps_cidr_parse(list->at[i], strlen(list->at[i]), &cidrs.at[i]) == 0)
            continue;
        char path[64];
        snprintf(path, sizeof path, "%s[%zu]", option, i);
        (void)ps_faults_add(faults, PS_E_INVALID, path,
                            "\"%s\" is no address or CIDR, or has bits set below its prefix",
                            list->at[i]);
    }
    *ret_cidrs = cidrs;
}

static void check_dns_servers(const struct ps_option_list *list, struct ps_faults *faults)
{
    struct ps_address address;

    for (size_t i = 0; i < list->count; i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "upstream.dns_servers[%zu]", i);
        if (i >= DNS_SERVERS_MAX)
            (void)ps_faults_add(faults, PS_E_INVALID, path, "is one too many: at most %d",
                                DNS_SERVERS_MAX);
        else if (ps_address_parse(list->at[i], strlen(list->at[i]), true, &address) < 0)
            (void)ps_faults_add(faults, PS_E_INVALID, path,
                                "\"%s\" is no address, with a port or without one", list->at[i]);
    }
}

static void check_dir(const char *dir, const char *option, struct ps_faults *faults)
{
    if (dir != NULL && dir[0] != '/')
        (void)ps_faults_add(faults, PS_E_INVALID, option, "must be an absolute path");
}

/* A malformed address is a fault only if it is listened on. */
static void read_listener(const char *host, int64_t port, struct ps_listener *ret_listener)
{
    if (ps_address_parse(host, strlen(host), false, &ret_listener->address) == 0)
        ret_listener->port = (uint16_t)port;
}

static void read_bounds(struct gw_settings *settings, struct ps_faults *faults)
{
    read_cidrs(&settings->upstream.allowed_networks, "upstream.allowed_networks",
               &settings->bounds.networks, faults);
    if (settings->upstream.allowed_networks.count == 0)
        (void)ps_faults_add(faults, PS_E_INVALID, "upstream.allowed_networks",
                            "must have at least one network; 0.0.0.0/0 and ::/0 are all");
    check_dir(settings->upstream.static_dir, "upstream.static_dir", faults);
    check_dir(settings->upstream.endpoint_dir, "upstream.endpoint_dir", faults);
    read_listener(settings->listen.host, settings->listen.port, &settings->bounds.listeners[0]);
    read_listener(settings->admin.host, settings->admin.port, &settings->bounds.listeners[1]);
    settings->bounds.static_dir = settings->upstream.static_dir;
    settings->bounds.endpoint_dir = settings->upstream.endpoint_dir;
    check_dns_servers(&settings->upstream.dns_servers, faults);
}

static int read_redis_url(struct gw_settings *settings, struct ps_fault *fault)
{
    struct ps_fault why = {0};
    int err = ps_redis_url_parse(settings->store.redis.url, &settings->redis, &why);

    if (err < 0)
        return ps_fault(fault, err, "store.redis.url", "%s", why.text);
    struct ps_redis_url *redis = &settings->redis;
    const char *file = settings->store.redis.password_file;
    if (file != NULL && redis->password[0] != '\0')
        return ps_fault(fault, PS_E_INVALID, "store.redis.password_file",
                        "store.redis.url holds a password already");
    if (file != NULL)
        return ps_secret_read(file, "store.redis.password_file", PS_REDIS_SECRET_MAX,
                              redis->password, fault);
    if (redis->user[0] != '\0' && redis->password[0] == '\0')
        return ps_fault(fault, PS_E_INVALID, "store.redis.url",
                        "a user needs a password: user:password@, or store.redis.password_file");
    return 0;
}

/* Host names in the form of browsers' and curl's Host field, without the port, which does not
 * count. */
static void check_hosts(const struct ps_option_list *hosts, struct ps_faults *faults)
{
    for (size_t i = 0; i < hosts->count; i++) {
        const char *colon = strrchr(hosts->at[i], ':');
        if (colon == NULL || (hosts->at[i][0] == '[' && strchr(colon, ']') != NULL))
            continue;
        char path[64];
        snprintf(path, sizeof path, "admin.hosts[%zu]", i);
        (void)ps_faults_add(faults, PS_E_INVALID, path,
                            "\"%s\" is no host name: leave the port out, put IPv6 into brackets",
                            hosts->at[i]);
    }
}

static void check_unix(const struct gw_settings *settings, struct ps_faults *faults)
{
    const char *mode = settings->admin.local.mode;

    check_dir(settings->admin.local.path, "admin.unix.path", faults);
    if (mode[strspn(mode, "01234567")] != '\0' || (mode[3] != '\0' && mode[0] != '0'))
        (void)ps_faults_add(faults, PS_E_INVALID, "admin.unix.mode",
                            "\"%s\" is no mode in octal, such as 0660", mode);
}

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);
    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

/* The form of Origin (RFC 6454) that browsers send: any other would never match. */
static bool is_origin(const char *text)
{
    const char *host = strstr(text, "://");

    if (host == NULL || host == text || host[3] == '\0' || strpbrk(host + 3, "/?#@* ") != NULL ||
        strpbrk(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != NULL)
        return false;
    return !(strncmp(text, "https:", 6) == 0 && ends_with(text, ":443")) &&
           !(strncmp(text, "http:", 5) == 0 && ends_with(text, ":80"));
}

static void check_origins(const struct ps_option_list *origins, struct ps_faults *faults)
{
    for (size_t i = 0; i < origins->count; i++) {
        if (is_origin(origins->at[i]))
            continue;
        char path[64];
        snprintf(path, sizeof path, "cors.allow_origins[%zu]", i);
        (void)ps_faults_add(
            faults, PS_E_INVALID, path,
            "\"%s\" is no origin such as https://shop.example: small letters, no path, no slash at "
            "the end, no wildcard, no port that is the scheme's own",
            origins->at[i]);
    }
}

/* An address that srv_listen() accepts. */
static void check_address(const char *name, const char *host, struct ps_faults *faults)
{
    struct ps_address address;

    if (host[0] == '[' || ps_address_parse(host, strlen(host), false, &address) < 0)
        (void)ps_faults_add(faults, PS_E_INVALID, name,
                            "\"%s\" is no numeric address (IPv6 without brackets)", host);
}

/* Of a header name (RFC 9110, token). */
#define TOKEN_CHARS "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

static void add_fault(const struct ps_fault *fault, void *faults)
{
    (void)ps_faults_add(faults, PS_E_INVALID, fault->path, "%s", fault->text);
}

static void check_client_ip_header(const char *name, struct ps_faults *faults)
{
    if (name[strspn(name, TOKEN_CHARS)] != '\0')
        (void)ps_faults_add(faults, PS_E_INVALID, "client_ip_header", "\"%s\" is no header name",
                            name);
    else if (strcasecmp(name, "X-Forwarded-For") == 0)
        (void)ps_faults_add(faults, PS_E_INVALID, "client_ip_header",
                            "X-Forwarded-For is a list: leave this empty to have it read");
    else if (srv_strict_knows(ps_str(name)))
        (void)ps_faults_add(faults, PS_E_INVALID, "client_ip_header",
                            "%s has a meaning of its own here: no address is looked for in it",
                            name);
}

/* Checks that concern several rows. */
static void check_together(const struct gw_settings *settings, struct ps_faults *faults)
{
    check_address("listen.host", settings->listen.host, faults);
    check_address("admin.host", settings->admin.host, faults);
    check_hosts(&settings->admin.hosts, faults);
    check_unix(settings, faults);
    check_dir(settings->archive.dir, "archive.dir", faults);
    check_dir(settings->archive.command, "archive.command", faults);
    check_origins(&settings->cors.allow_origins, faults);
    check_client_ip_header(settings->client_ip_header, faults);
    if (settings->listen.port == settings->admin.port && settings->listen.port != 0 &&
        strcmp(settings->listen.host, settings->admin.host) == 0)
        (void)ps_faults_add(faults, PS_E_INVALID, "admin.port",
                            "the public listener has the same address and port");
    if (settings->drain.timeout_ms <= settings->drain.delay_ms)
        (void)ps_faults_add(faults, PS_E_INVALID, "drain.timeout_ms",
                            "must be more than drain.delay_ms (%lld)",
                            (long long)settings->drain.delay_ms);
    (void)!oq_kafka_properties_check(settings->log.kafka.properties, "log.kafka.properties",
                                     add_fault, faults);
    (void)!cfg_seed_check(settings->seed, &settings->bounds, faults);
}

int gw_settings_read(const json_t *document, struct gw_settings *ret_settings,
                     struct ps_faults *faults)
{
    struct gw_settings settings = {0};
    struct ps_fault fault = {0};
    size_t before = faults->count;
    int err = ps_options_read_all(gw_options, gw_option_count, document, &settings, faults);

    if (err == PS_E_NOMEM)
        goto out;
    if (settings.log.kafka.sasl_password_file != NULL &&
        oq_kafka_add_password(&settings.log.kafka.properties, settings.log.kafka.sasl_password_file,
                              "log.kafka.sasl_password_file", &fault) < 0)
        add_fault(&fault, faults);
    read_cidrs(&settings.trusted_proxies, "trusted_proxies", &settings.trusted, faults);
    read_bounds(&settings, faults);
    check_together(&settings, faults);
    if (read_redis_url(&settings, &fault) < 0)
        add_fault(&fault, faults);
    err = faults->count > before ? PS_E_INVALID : 0;
out:
    if (err < 0)
        gw_settings_free(&settings);
    else
        *ret_settings = settings;
    return err;
}

#define SETTINGS_FILE_MAX ((size_t)4 << 20)

int gw_settings_load(const char *path, struct gw_settings *ret_settings, struct ps_faults *faults)
{
    json_t *document = NULL;
    struct ps_fault fault = {0};
    int err = path != NULL ? ps_json_load(path, SETTINGS_FILE_MAX, &document, &fault) : 0;

    if (err < 0)
        return ps_faults_add(faults, err, fault.path, "%s", fault.text);
    err = gw_settings_read(document, ret_settings, faults);
    json_decref(document);
    return err;
}

void gw_settings_free(struct gw_settings *settings)
{
    ps_options_free(gw_options, gw_option_count, settings);
    free(settings->trusted.at);
    free(settings->bounds.networks.at);
    *settings = (struct gw_settings){0};
}

/* --- what may be shown --- */

static const char hidden[] = "***";

/* "redis://user:secret@host" with *** for the secret. */
static json_t *hide_password(const char *url)
{
    const char *slashes = strstr(url, "://"), *at = strrchr(url, '@');
    const char *colon =
        slashes != NULL && at != NULL ? memchr(slashes + 3, ':', (size_t)(at - slashes) - 3) : NULL;

    if (colon == NULL || colon > at)
        return json_string(url);
    return json_sprintf("%.*s%s%s", (int)(colon + 1 - url), url, hidden, at);
}

/* Is the property, or does it contain, a password or a key? */
static bool is_secret(const char *property)
{
    return strstr(property, "password") != NULL || strstr(property, "secret") != NULL ||
           strstr(property, "key.pem") != NULL || strstr(property, "jaas") != NULL ||
           strstr(property, "oauthbearer.config") != NULL;
}

json_t *gw_settings_json(const struct gw_settings *settings)
{
    json_t *all = ps_options_json(gw_options, gw_option_count, settings);
    json_t *redis = json_object_get(json_object_get(all, "store"), "redis");
    json_t *kafka = json_object_get(json_object_get(all, "log"), "kafka");
    json_t *properties = json_object_get(kafka, "properties"), *value;
    int err = all == NULL;
    const char *name;

    if (err == 0)
        err = json_object_set_new(redis, "url", hide_password(settings->store.redis.url));
    json_object_foreach(properties, name, value)
    {
        if (err == 0 && is_secret(name))
            err = json_object_set_new(properties, name, json_string(hidden));
    }
    if (err != 0) {
        json_decref(all);
        return NULL;
    }
    (void)json_object_del(all, "seed");
    return all;
}

/* --- warnings --- */

static bool holds_loopback(const struct ps_cidr *range)
{
    static const struct ps_address v4 = {{[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}},
                                   v6 = {{[15] = 1}};

    return ps_address_is_loopback(&range->address) || ps_cidr_has(range, &v4) ||
           ps_cidr_has(range, &v6);
}

static bool is_reachable(const char *host)
{
    struct ps_address address;

    return ps_address_parse(host, strlen(host), false, &address) == 0 &&
           !ps_address_is_loopback(&address);
}

void gw_settings_warn(const struct gw_settings *settings)
{
    bool open = is_reachable(settings->listen.host);

    if (is_reachable(settings->admin.host))
        ps_log(PS_LOG_WARN, "admin_in_clear", PS_F_STR("host", settings->admin.host));
    for (size_t i = 0; open && i < settings->trusted.count; i++)
        if (ps_cidr_is_everybody(&settings->trusted.at[i]))
            ps_log(PS_LOG_WARN, "everybody_is_trusted",
                   PS_F_STR("why", "trusted_proxies holds all addresses, and the public listener "
                                   "is not loopback's: whoever reaches it can be any user, from "
                                   "any address"));
        else if (holds_loopback(&settings->trusted.at[i]))
            ps_log(PS_LOG_WARN, "loopback_is_trusted",
                   PS_F_STR("why", "trusted_proxies holds loopback, but the public listener does "
                                   "not: whoever runs a program on this machine can be any user"));
}
