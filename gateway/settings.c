/* The table of settings and what it cannot say. One row a setting: --print-default-config,
 * --print-schema, --check-config, --help, the reference pages and the reader of the file all come
 * from it, so they cannot disagree. SIGHUP takes over what reloads; others keep their value until a
 * restart. */
#include "gateway/settings.h"

#include "common/otlp/tracer.h"
#include "common/program/log.h"
#include "common/program/secret.h"
#include "gateway/config/kinds/formats.h"
#include "gateway/config/store/seed.h"
#include "common/http/proxy.h"
#include "gateway/server/strict.h"
#include "queue/log_kafka.h"

#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

static const char *const proxy_versions[] = {"off", "v1", "v2", "any", NULL};
static const char *const store_kinds[] = {"memory", "redis", NULL};
static const char *const log_kinds[] = {"journal", "kafka", NULL};
static const char *const log_levels[] = {"debug", "info", "warn", "error", NULL};

#define DNS_SERVERS_MAX 8
#define NETWORKS_MAX    4096
#define UNIX_PATH_MAX   (sizeof((struct sockaddr_un){0}.sun_path) - 1)

/* --- Forms of texts. --- */

/* One that srv_listen() accepts. */
static bool is_numeric(const char *text, size_t len)
{
    struct ps_address address;

    return text[0] != '[' && ps_address_parse(text, len, false, &address) == 0;
}

static bool is_network(const char *text, size_t len)
{
    struct ps_cidr cidr;

    return ps_cidr_parse(text, len, &cidr) == 0;
}

static bool is_dns_server(const char *text, size_t len)
{
    struct ps_address address;

    return ps_address_parse(text, len, true, &address) == 0;
}

static bool is_absolute(const char *text, size_t len)
{
    return len > 0 && text[0] == '/';
}

static bool is_octal(const char *text, size_t len)
{
    return strspn(text, "01234567") == len && (len == 3 || (len == 4 && text[0] == '0'));
}

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);
    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

/* The form of Origin (RFC 6454) that browsers send: any other would never match. */
static bool is_origin(const char *text, size_t len)
{
    const char *host = strstr(text, "://");

    if (host == NULL || host == text || host[3] == '\0' || strpbrk(host + 3, "/?#@* ") != NULL ||
        strcspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") < len)
        return false;
    return !(strncmp(text, "https:", 6) == 0 && ends_with(text, ":443")) &&
           !(strncmp(text, "http:", 5) == 0 && ends_with(text, ":80"));
}

static bool is_field_name_or_empty(const char *text, size_t len)
{
    return len == 0 || ps_http_is_token((struct ps_str){text, len});
}

/* clang-format off */
static const struct ps_format numeric = {.rule = {"a numeric address (IPv6 without brackets)", "数字形式的地址（IPv6 不加方括号）"}, .is_ok = is_numeric};
static const struct ps_format network = {.rule = {"an address, or a range with no bits set below its prefix", "地址，或前缀之后各位均为 0 的网段"}, .is_ok = is_network};
static const struct ps_format dns_server = {.rule = {"an address with a port or without one: 10.0.0.53, 10.0.0.53:5353, [fd00::53]:53", "地址，端口可省略：10.0.0.53、10.0.0.53:5353、[fd00::53]:53"}, .is_ok = is_dns_server};
static const struct ps_format field_name = {.rule = {"the name of a header field, or empty", "头字段名，或空"}, .pattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]*$", .is_ok = is_field_name_or_empty};
static const struct ps_format absolute = {.rule = {"an absolute path", "绝对路径"}, .pattern = "^/", .is_ok = is_absolute};
static const struct ps_format octal = {.rule = {"a mode in octal, such as 0660", "八进制权限，例如 0660"}, .pattern = "^0?[0-7]{3}$", .is_ok = is_octal};
static const struct ps_format origin = {.rule = {"an origin as browsers send it: small letters, no slash at the end, no wildcard, no port that is the scheme's own", "浏览器发送的源：小写，末尾无斜杠，无通配符，不写默认端口"}, .is_ok = is_origin};

#define ITEM "", PS_M_STRING, .size = sizeof(char *)
static const struct ps_member host_item = {ITEM, .format = &cfg_format_host, .example = "\"ops.example\""};
static const struct ps_member network_item = {ITEM, .format = &network, .example = "\"10.0.0.0/8\""};
static const struct ps_member dns_server_item = {ITEM, .format = &dns_server, .example = "\"10.0.0.53\""};
static const struct ps_member origin_item = {ITEM, .format = &origin, .example = "\"https://shop.example\""};

/* --- The table. --- */

#define AT(field)      PS_AT(struct gw_settings, field)
#define STRINGS(field) PS_AT_STRINGS(struct gw_settings, field)
static const struct ps_member members[] = {
    {"listen.host", PS_M_STRING, AT(listen.host), .format = &numeric, .fallback = "\"127.0.0.1\"", .text = {"Address of the public listener (numeric)", "公开监听的地址（数字形式）"}},
    {"listen.port", PS_M_INT, AT(listen.port), .min = 0, .max = 65535, .fallback = "8080", .text = {"Port of the public listener; 0 takes a free one", "公开监听的端口；0：任取一个空闲端口"}},
    {"listen.proxy_protocol", PS_M_ENUM, AT(listen.proxy_protocol), .words = proxy_versions, .fallback = "\"off\"", .text = {"The PROXY protocol: each connection must begin with a header of this version, from a peer of trusted_proxies or listen.unix, or is closed. The address in it stands for the peer's from then on: fields that name the user, the client or another request are believed only if it is in trusted_proxies, too", "PROXY 协议：每个连接必须以该版本的头开始，且对端属于 trusted_proxies 或来自 listen.unix，否则关闭。此后头里的地址代替对端地址：只有它也属于 trusted_proxies 时，才采信指明用户、客户端或改写请求的头"}},
    {"listen.proxy_protocol_trusts_clients", PS_M_BOOL, AT(listen.proxy_protocol_trusts_clients), .fallback = "false", .text = {"With listen.proxy_protocol: X-User-Id and the fields of forwarding are believed from every address that a PROXY header names. Only if the proxy in front works in HTTP mode and overwrites all of them, as HAProxy's and Envoy's references do; one that passes bytes lets each client be any user", "配合 listen.proxy_protocol：无论 PROXY 头里是哪个地址，都采信 X-User-Id 和转发类的头。仅当前面的代理工作在 HTTP 模式并覆盖全部这些头时才可打开（HAProxy 和 Envoy 的参考配置如此）；只转发字节的代理会让任何客户端冒充任何用户"}},
    {"listen.unix.path", PS_M_STRING, AT(listen.local.path), .flags = PS_M_NULLABLE, .min = 1, .max = UNIX_PATH_MAX, .format = &absolute, .fallback = "null", .example = "\"/run/penstock/public.sock\"", .text = {"A Unix socket on which the public listener serves too. Who may connect is a trusted proxy: its X-User-Id and X-Forwarded-For are believed. A socket that nobody listens on is replaced; null: none", "公开监听另外使用的 Unix 套接字。能连接的就是受信代理：其 X-User-Id 和 X-Forwarded-For 会被采信。没有程序监听的旧套接字会被替换；null：不用"}},
    {"listen.unix.mode", PS_M_STRING, AT(listen.local.mode), .format = &octal, .fallback = "\"0660\"", .text = {"Mode of that socket, in octal: who may write may connect", "该套接字的权限，八进制：能写入才能连接"}},
    {"listen.unix.group", PS_M_STRING, AT(listen.local.group), .flags = PS_M_NULLABLE, .min = 1, .max = 255, .fallback = "null", .example = "\"haproxy\"", .text = {"Group of that socket, by name; null: that of the process", "该套接字所属的组名；null：进程所属的组"}},
    {"admin.host", PS_M_STRING, AT(admin.host), .format = &numeric, .fallback = "\"127.0.0.1\"", .text = {"Address of the admin listener (numeric)", "管理监听的地址（数字形式）"}},
    {"admin.port", PS_M_INT, AT(admin.port), .min = 0, .max = 65535, .fallback = "8090", .text = {"Port of the admin listener; 0 takes a free one", "管理监听的端口；0：任取一个空闲端口"}},
    {"admin.hosts", PS_M_LIST, STRINGS(admin.hosts), .flags = PS_M_RELOADS, .item = &host_item, .fallback = "[]", .example = "[\"ops.example\"]", .text = {"Host names that the admin listener serves besides localhost and its own address (if it listens on all addresses: any address); others get 421", "除 localhost 和自身地址（监听所有地址时为任何地址）之外，管理监听还接受的主机名；其余得到 421"}},
    {"admin.metrics_open", PS_M_BOOL, AT(admin.metrics_open), .flags = PS_M_RELOADS, .fallback = "true", .text = {"Serve /metrics without a token; only where the admin listener is on loopback", "/metrics 不需要 token；仅在管理监听位于回环地址时有效"}},
    {"admin.token_dir", PS_M_STRING, AT(admin.token_dir), .flags = PS_M_NULLABLE, .min = 1, .max = 1024, .format = &absolute, .fallback = "null", .example = "\"/run/secrets/penstock\"", .text = {"A directory with tokens that are the same on all gateways, such as a mounted secret: the first lines of its files admin-token, operator-token and viewer-token, as far as they exist, of at least 32 characters each. With admin-token no first token is made; null: none", "存放 token 的目录，各网关相同，例如挂载的 secret：其中 admin-token、operator-token、viewer-token（有哪个读哪个）的首行，各至少 32 个字符。有 admin-token 就不再生成第一个 token；null：不用"}},
    {"admin.unix.path", PS_M_STRING, AT(admin.local.path), .flags = PS_M_NULLABLE, .min = 1, .max = UNIX_PATH_MAX, .format = &absolute, .fallback = "null", .example = "\"/run/penstock/admin.sock\"", .text = {"A Unix socket on which the admin listener serves too; a token is needed there as well. A socket that nobody listens on is replaced; null: none", "管理监听另外使用的 Unix 套接字，同样需要 token。没有程序监听的旧套接字会被替换；null：不用"}},
    {"admin.unix.mode", PS_M_STRING, AT(admin.local.mode), .format = &octal, .fallback = "\"0660\"", .text = {"Mode of that socket, in octal: who may write may connect", "该套接字的权限，八进制：能写入才能连接"}},
    {"admin.unix.group", PS_M_STRING, AT(admin.local.group), .flags = PS_M_NULLABLE, .min = 1, .max = 255, .fallback = "null", .example = "\"penstock\"", .text = {"Group of that socket, by name; null: that of the process", "该套接字所属的组名；null：进程所属的组"}},
    {"trusted_proxies", PS_M_LIST, STRINGS(trusted_proxies), .item = &network_item, .fallback = "[]", .example = "[\"10.0.0.0/8\"]", .text = {"Peers whose X-Forwarded-For and X-User-Id are believed; they must overwrite both", "受信的对端，其 X-Forwarded-For 和 X-User-Id 会被采信；它们必须覆盖这两个头"}},
    {"client_ip_header", PS_M_STRING, AT(client_ip_header), .max = 64, .format = &field_name, .fallback = "\"\"", .example = "\"CF-Connecting-IP\"", .text = {"A header with the client's address (CF-Connecting-IP, True-Client-IP) instead of X-Forwarded-For", "取客户端地址的头，代替 X-Forwarded-For，例如 CF-Connecting-IP、True-Client-IP"}},
    {"state_dir", PS_M_STRING, AT(state_dir), .min = 1, .max = 1024, .fallback = "\"/var/lib/penstock\"", .text = {"Journal, control state, tokens, audit log; mode 0700", "journal、控制状态、token、审计日志所在目录，权限 0700"}},
    {"workers", PS_M_INT, AT(workers), .min = 0, .max = 256, .unit = {"threads", "个线程"}, .fallback = "0", .text = {"Worker threads; 0 = one for each processor that this process may use, as its CPU affinity and the quota of its control group say", "worker 线程数；0：本进程可用的每个处理器一个（按 CPU 亲和性和控制组配额计）"}},
    {"http.head_timeout_ms", PS_M_INT, AT(http.head_timeout_ms), .min = 100, .max = 600000, .unit = {"ms"}, .fallback = "5000", .text = {"A request's head must be complete this long after accept, or after idle on a kept connection", "建立连接后，或空闲的连接上，请求头必须在此时间内收完"}},
    {"http.body_timeout_ms", PS_M_INT, AT(http.body_timeout_ms), .min = 100, .max = 600000, .unit = {"ms"}, .fallback = "10000", .text = {"A request's body must be complete this long after its head; one for a page that is longer than 16 KiB must go on by so much in this time", "请求头收完后，请求体必须在此时间内收完；页面请求超过 16 KiB 的，在此时间内至少收到 16 KiB"}},
    {"http.send_timeout_ms", PS_M_INT, AT(http.send_timeout_ms), .min = 100, .max = 600000, .unit = {"ms"}, .fallback = "10000", .text = {"A client that takes less than 16 KiB of an answer that waits for it in this time is cut", "应答在等待客户端读取时，此时间内收下不到 16 KiB 的客户端被断开"}},
    {"http.idle_timeout_ms", PS_M_INT, AT(http.idle_timeout_ms), .min = 100, .max = 3600000, .unit = {"ms"}, .fallback = "15000", .text = {"A kept connection may be idle this long", "保持的连接最多可以空闲多久"}},
    {"http.idle_trusted_timeout_ms", PS_M_INT, AT(http.idle_trusted_timeout_ms), .min = 100, .max = 3600000, .unit = {"ms"}, .fallback = "75000", .text = {"The same for trusted proxies; their own keep-alive must be the shorter one", "受信代理的同一时限；代理自己的 keep-alive 必须更短"}},
    {"http.head_max_kib", PS_M_INT, AT(http.head_max_kib), .min = 4, .max = 64, .unit = {"KiB"}, .fallback = "10", .text = {"Largest head of a request, with its request line; a larger one gets 431", "请求头的上限，含请求行；超过得到 431"}},
    {"http.target_max", PS_M_INT, AT(http.target_max), .min = 2048, .max = 65536, .unit = {"bytes", "字节"}, .fallback = "8192", .text = {"Longest address (path and query) of a page; a longer one gets 414. At most what http.head_max_kib leaves. The API of sales takes 2,048", "页面地址（路径与查询串）的最大长度；超过得到 414。不超过 http.head_max_kib 的余量。抢购 API 最长 2,048"}},
    {"http.connections", PS_M_INT, AT(http.connections), .min = 16, .max = 1000000, .unit = {"connections", "个连接"}, .fallback = "20000", .text = {"Above this many open connections, new ones get 503 and are closed; each worker takes its share, at least 16", "打开的连接超过此数时，新连接得到 503 后关闭；每个 worker 分得一份，至少 16 个"}},
    {"http.connections_per_address", PS_M_INT, AT(http.connections_per_address), .min = 0, .max = 1000000, .unit = {"connections", "个连接"}, .fallback = "4096", .text = {"Open connections of one address (in IPv6 of a /64, and four times as many of a /48), trusted proxies excepted; above, new ones get 503; 0 = no limit. Each worker counts its share of it, and 25 % + 16 more, for the kernel spreads them unevenly", "同一地址（IPv6 按 /64，按 /48 则为四倍）打开的连接数，受信代理除外；超过时新连接得到 503；0：不限。每个 worker 按自己那一份再加 25 % 加 16 个计数，因为内核分配连接并不均匀"}},
    {"http.waiting", PS_M_INT, AT(http.waiting), .min = 0, .max = 1000000, .unit = {"requests", "个请求"}, .fallback = "4096", .text = {"Requests that leaky buckets may hold at once, in each worker", "每个 worker 中，漏桶可以同时让多少请求等待"}},
    {"store.kind", PS_M_ENUM, AT(store.kind), .words = store_kinds, .fallback = "\"memory\"", .text = {"What counts the stock: memory (one gateway) or redis (many gateways, one count)", "在哪里清点库存：memory（单网关）或 redis（多网关共用一个计数器）"}},
    {"store.redis.url", PS_M_STRING, AT(store.redis.url), .min = 1, .max = 2048, .fallback = "\"redis://127.0.0.1:6379/0\"", .text = {"redis://[user[:password]@]host[:port][/db], or redis+sentinel://[user[:password]@]host[:port][,host...]/master[/db]", "redis://[user[:password]@]host[:port][/db]，或 redis+sentinel://[user[:password]@]host[:port][,host...]/master[/db]"}},
    {"store.redis.password_file", PS_M_STRING, AT(store.redis.password_file), .flags = PS_M_NULLABLE, .min = 1, .max = 1024, .fallback = "null", .example = "\"redis-password\"", .text = {"A file with the password for Redis in its first line: a path, or the name of a systemd credential", "首行是 Redis 密码的文件：路径，或 systemd credential 的名称"}},
    {"store.redis.connect_timeout_ms", PS_M_INT, AT(store.redis.connect_timeout_ms), .min = 10, .max = 60000, .unit = {"ms"}, .fallback = "1000", .text = {"To find, connect and greet a Redis server", "查找、连接 Redis 服务器并完成握手的时限"}},
    {"store.redis.command_timeout_ms", PS_M_INT, AT(store.redis.command_timeout_ms), .min = 10, .max = 60000, .unit = {"ms"}, .fallback = "500", .text = {"For each reply of Redis; then buyers get 503 store_unavailable", "等待 Redis 每个应答的时限；超时后买家得到 503 store_unavailable"}},
    {"store.redis.target_ms", PS_M_INT, AT(store.redis.target_ms), .min = 1, .max = 60000, .unit = {"ms"}, .fallback = "30", .text = {"What a reservation may take: above, fewer are let through at once, unless Redis itself is slow", "一次预减的目标耗时：超过时减少同时放行的数量，除非是 Redis 本身慢"}},
    {"log.kind", PS_M_ENUM, AT(log.kind), .words = log_kinds, .fallback = "\"journal\"", .text = {"What remembers orders: journal (a file in state_dir, one gateway) or kafka (many gateways)", "用什么保存订单：journal（state_dir 里的文件，单网关）或 kafka（多网关）"}},
    {"log.kafka.brokers", PS_M_STRING, AT(log.kafka.brokers), .min = 1, .max = 2048, .fallback = "\"127.0.0.1:9092\"", .text = {"Brokers to begin with: host:port,host:port", "起始连接的 broker：host:port,host:port"}},
    {"log.kafka.topic", PS_M_STRING, AT(log.kafka.topic), .min = 1, .max = 249, .fallback = "\"penstock.orders\"", .text = {"The topic of the order log; it must exist", "订单日志的 topic，必须已存在"}},
    {"log.kafka.properties", PS_M_FREE, AT(log.kafka.properties), .fallback = "{}", .example = "{\"security.protocol\":\"SSL\"}", .text = {"Properties of librdkafka for security and tuning, such as {\"security.protocol\": \"SSL\"}", "librdkafka 的属性，用于安全和调优，例如 {\"security.protocol\": \"SSL\"}"}},
    {"log.kafka.sasl_password_file", PS_M_STRING, AT(log.kafka.sasl_password_file), .flags = PS_M_NULLABLE, .min = 1, .max = 1024, .fallback = "null", .example = "\"kafka-password\"", .text = {"A file with the property sasl.password in its first line: a path, or the name of a systemd credential", "首行是属性 sasl.password 的文件：路径，或 systemd credential 的名称"}},
    {"log.kafka.partitions_min", PS_M_INT, AT(log.kafka.partitions_min), .min = 1, .max = 1024, .unit = {"partitions", "个分区"}, .fallback = "1", .text = {"A topic with fewer partitions is refused", "分区数低于此值的 topic 会被拒绝"}},
    {"log.kafka.retention_min_h", PS_M_INT, AT(log.kafka.retention_min_h), .min = 1, .max = 1000000, .unit = {"hours", "小时"}, .fallback = "168", .text = {"A topic that keeps records for less is refused: longer than the longest sale and its settlement", "保留时间短于此值的 topic 会被拒绝：必须长于最长的活动加上其结算"}},
    {"log.kafka.delivery_timeout_ms", PS_M_INT, AT(log.kafka.delivery_timeout_ms), .min = 100, .max = 60000, .unit = {"ms"}, .fallback = "2000", .text = {"A record that Kafka has not acknowledged by then is unknown, and Kafka counts as away", "到时 Kafka 仍未确认的记录，结果算作未知，Kafka 视为不可用"}},
    {"log.archive_after_h", PS_M_INT, AT(log.archive_after_h), .min = 0, .max = 100000, .unit = {"hours", "小时"}, .fallback = "168", .text = {"A sale that has been over for so long, with all its orders final, is archived: its records go into a file, and gateways and journal let go of them; 0 is at once. Rehearsals: after 1 hour", "活动结束这么久、且订单全部是终态之后归档：记录写进文件，网关和 journal 不再保留；0：立即。演练：1 小时后"}},
    {"log.spill.records", PS_M_INT, AT(log.spill.records), .min = 0, .max = 100000000, .unit = {"orders", "个订单"}, .fallback = "1000000", .text = {"Orders that may wait on this machine's disk while Kafka is away, answered 202 pending; 0 = none", "Kafka 不可用期间，可以暂存在本机磁盘上的订单数，买家得到 202 pending；0：不暂存"}},
    {"log.queue", PS_M_INT, AT(log.queue), .min = 64, .max = 1048576, .unit = {"records", "条记录"}, .fallback = "8192", .text = {"Records that may wait for the log; rounded up to a power of two", "可以等待写入日志的记录数；向上取到 2 的幂"}},
    {"log.batch_max", PS_M_INT, AT(log.batch_max), .min = 1, .max = 4096, .unit = {"records", "条记录"}, .fallback = "512", .text = {"Most records in one commit", "一次提交最多包含的记录数"}},
    {"log.ack_timeout_ms", PS_M_INT, AT(log.ack_timeout_ms), .min = 10, .max = 60000, .unit = {"ms"}, .fallback = "500", .text = {"An order that the log has not shown by then is answered 202 pending", "到时日志里仍看不到的订单，应答为 202 pending"}},
    {"log.retry_ms", PS_M_INT, AT(log.retry_ms), .min = 10, .max = 60000, .unit = {"ms"}, .fallback = "200", .text = {"How often a journal that failed is tried again", "journal 出错后，每隔多久重试"}},
    {"log.backlog_percent", PS_M_INT, AT(log.backlog_percent), .min = 1, .max = 100, .unit = {"%"}, .fallback = "80", .text = {"How full the log's queue may be before buyers get 503 log_backlog", "日志队列的占用超过此比例时，买家得到 503 log_backlog"}},
    {"log.confirm_on_standby", PS_M_BOOL, AT(log.confirm_on_standby), .fallback = "false", .text = {"A confirm is answered 200 only when the standby has its record on its disk, too; else 503 standby_behind", "备机也把记录写入磁盘之后，confirm 才返回 200；否则为 503 standby_behind"}},
    {"log.target_ms", PS_M_INT, AT(log.target_ms), .min = 1, .max = 60000, .unit = {"ms"}, .fallback = "30", .text = {"What an order may take from append to outcome: above, fewer are let through at once, unless the log itself is slow", "订单从写入日志到得到结果的目标耗时：超过时减少同时放行的数量，除非是日志本身慢"}},
    {"archive.dir", PS_M_STRING, AT(archive.dir), .flags = PS_M_NULLABLE, .min = 1, .max = 1024, .format = &absolute, .fallback = "null", .example = "\"/srv/penstock/archive\"", .text = {"The directory of the archives of sales that are over; null: archive in state_dir, which is made. In a cluster one that all gateways share", "已结束活动的归档目录；null：state_dir 里的 archive，自动创建。集群中必须由全部网关共用"}},
    {"archive.command", PS_M_STRING, AT(archive.command), .flags = PS_M_NULLABLE, .min = 1, .max = 1024, .format = &absolute, .fallback = "null", .example = "\"/usr/local/bin/keep-archive\"", .text = {"A program that gets the path of each new archive and the sale's name; only when it has ended with 0 is anything dropped. null: none", "每生成一个归档就运行的程序，参数为其路径和活动名；它以 0 退出之后才删除记录。null：不运行"}},
    {"clock.archive_rest_s", PS_M_INT, AT(clock.archive_rest_s), .min = 0, .max = 86400, .unit = {"s", "秒"}, .fallback = "600", .text = {"What cannot be undone by the time alone (a sale is archived, a document that has lapsed is deleted) waits until the wall clock has gone on for so long without a jump, since the start or the last jump", "只凭时间就不可撤销的事（活动归档、删除已失效的文档）要等系统时钟自启动或上次跳变以来这么久没有跳变"}},
    {"clock.expiry_rest_s", PS_M_INT, AT(clock.expiry_rest_s), .min = 1, .max = 3600, .unit = {"s", "秒"}, .fallback = "60", .text = {"After a start or a jump of the wall clock no unpaid order expires for so long", "启动或系统时钟跳变之后，这么久之内没有未付款订单到期"}},
    {"limits_table.mib", PS_M_INT, AT(limits_table.mib), .min = 1, .max = 65536, .unit = {"MiB"}, .fallback = "32", .text = {"Memory of the rate-limit table; 32 MiB hold a million live cells at half fill", "限流表的内存；32 MiB 在半满时容纳一百万个活跃单元"}},
    {"drain.delay_ms", PS_M_INT, AT(drain.delay_ms), .min = 0, .max = 25000, .unit = {"ms"}, .fallback = "5000", .text = {"After SIGTERM readyz fails and serving goes on for this long, so that load balancers notice", "收到 SIGTERM 后 readyz 立即失败，再继续服务这么久，让负载均衡察觉"}},
    {"drain.timeout_ms", PS_M_INT, AT(drain.timeout_ms), .min = 100, .max = 25500, .unit = {"ms"}, .fallback = "25000", .text = {"SIGTERM to exit, at most; 4.5 s more when the disk does not answer. Must exceed drain.delay_ms", "从 SIGTERM 到退出的时限；磁盘没有响应时再加 4.5 s。必须大于 drain.delay_ms"}},
    {"logging.level", PS_M_ENUM, AT(logging.level), .flags = PS_M_RELOADS, .words = log_levels, .fallback = "\"info\"", .text = {"Least level that is logged", "写进日志的最低级别"}},
    {"logging.format", PS_M_ENUM, AT(logging.format), .words = ps_log_formats, .fallback = "\"penstock\"", .text = {"Names of the log's members: penstock, or ecs, those of the Elastic Common Schema for Elasticsearch", "日志字段的命名：penstock，或 ecs（Elastic Common Schema，供 Elasticsearch 使用）"}},
    {"access_log.every", PS_M_INT, AT(access_log.every), .min = 0, .max = 1000000, .unit = {"requests", "个请求"}, .fallback = "0", .text = {"Each n-th request of the API of sales is logged, with the event access; 0 = none. Under overload it becomes each 100 n-th (feature access_log)", "售卖 API 的请求每 n 个记录一个，事件名为 access；0：不记录。过载时改为每 100 n 个记录一个（功能 access_log）"}},
    {"access_log.core", PS_M_INT, AT(access_log.pages[CFG_ROUTE_CORE]), .min = 0, .max = 1000000, .unit = {"requests", "个请求"}, .fallback = "0", .text = {"The same of requests for pages by routes of the class core", "同上，针对等级为 core 的路由的页面请求"}},
    {"access_log.important", PS_M_INT, AT(access_log.pages[CFG_ROUTE_IMPORTANT]), .min = 0, .max = 1000000, .unit = {"requests", "个请求"}, .fallback = "0", .text = {"The same of requests for pages by routes of the class important", "同上，针对等级为 important 的路由的页面请求"}},
    {"access_log.normal", PS_M_INT, AT(access_log.pages[CFG_ROUTE_NORMAL]), .min = 0, .max = 1000000, .unit = {"requests", "个请求"}, .fallback = "0", .text = {"The same of requests for pages by routes of the class normal", "同上，针对等级为 normal 的路由的页面请求"}},
    {"access_log.extra", PS_M_INT, AT(access_log.pages[CFG_ROUTE_EXTRA]), .min = 0, .max = 1000000, .unit = {"requests", "个请求"}, .fallback = "0", .text = {"The same of requests for pages by routes of the class extra", "同上，针对等级为 extra 的路由的页面请求"}},
    {"access_log.addresses", PS_M_BOOL, AT(access_log.addresses), .fallback = "false", .text = {"Lines of the access log name the client's address", "访问日志里写出客户端地址"}},
    {"tracing.endpoint", PS_M_STRING, AT(tracing.endpoint), .flags = PS_M_NULLABLE, .min = 1, .max = 1024, .format = &ps_tracer_url, .fallback = "null", .example = "\"http://127.0.0.1:4318\"", .text = {"A collector of OpenTelemetry that gets traces by OTLP over HTTP; /v1/traces is added. null: no traces", "接收 trace 的 OpenTelemetry 采集器（OTLP/HTTP），自动加上 /v1/traces；null：不产生 trace"}},
    {"tracing.headers_file", PS_M_STRING, AT(tracing.headers_file), .flags = PS_M_NULLABLE, .min = 1, .max = 1024, .fallback = "null", .example = "\"otlp-headers\"", .text = {"A file with header fields for the collector, one Name: value a line: a path, or the name of a systemd credential", "发给采集器的请求头所在的文件，每行一个 Name: value：路径，或 systemd 凭据的名称"}},
    {"tracing.accepted_one_in", PS_M_INT, AT(tracing.accepted_one_in), .min = 0, .max = 1000000, .unit = {"orders", "个订单"}, .fallback = "100", .text = {"One in so many orders is traced; 0 = none. Every answer of status 500 and above and every watched user is traced anyway", "每多少个订单追踪一个；0：不追踪。状态码 500 及以上的应答和被关注的用户总是追踪"}},
    {"tracing.refused_one_in", PS_M_INT, AT(tracing.refused_one_in), .min = 0, .max = 1000000, .unit = {"answers", "个应答"}, .fallback = "0", .text = {"The same of answers of status 400 to 499", "同上，针对状态码 400 至 499 的应答"}},
    {"tracing.other_one_in", PS_M_INT, AT(tracing.other_one_in), .min = 0, .max = 1000000, .unit = {"answers", "个应答"}, .fallback = "0", .text = {"The same of all other answers: pages, status pages, look-ups, repeats", "同上，针对其余应答：页面、状态页、查询、重复请求"}},
    {"tracing.follow_sampled", PS_M_BOOL, AT(tracing.follow_sampled), .fallback = "false", .text = {"Whatever a trusted proxy marks as sampled in traceparent is traced: only if the proxy itself sets that field", "可信代理在 traceparent 里标记为已采样的请求都追踪：仅当该字段由代理自己设置时才可开启"}},
    {"metrics.sales_max", PS_M_INT, AT(metrics.sales_max), .min = 0, .max = 1000, .unit = {"sales", "个活动"}, .fallback = "100", .text = {"Most open sales whose units /metrics shows; each has three series", "/metrics 最多为多少个在售活动显示库存；每个活动三条序列"}},
    {"cors.allow_origins", PS_M_LIST, STRINGS(cors.allow_origins), .item = &origin_item, .fallback = "[]", .example = "[\"https://shop.example\"]", .text = {"Origins that may call the public API from a browser; the status page is open to all", "可以从浏览器调用公开 API 的源；状态页对所有源开放"}},
    {"upstream.allowed_networks", PS_M_LIST, STRINGS(upstream.allowed_networks), .min = 1, .max = NETWORKS_MAX, .item = &network_item, .fallback = "[\"127.0.0.0/8\", \"::1\", \"10.0.0.0/8\", \"172.16.0.0/12\", \"192.168.0.0/16\", \"fc00::/7\"]", .example = "[\"10.0.0.0/8\"]", .text = {"Where endpoints of pools may be: others are refused in documents, and left out of what is discovered. 0.0.0.0/0 and ::/0 are all", "池里的服务器可以位于哪些网段：文档里的其他地址被拒绝，服务发现给出的则略去。0.0.0.0/0 和 ::/0 表示全部"}},
    {"upstream.static_dir", PS_M_STRING, AT(upstream.static_dir), .flags = PS_M_NULLABLE, .min = 1, .max = 1024, .format = &absolute, .fallback = "null", .example = "\"/srv/penstock/pages\"", .text = {"A directory of files that routes may name as the body of an answer; null: none", "路由可以引用其中的文件作为应答正文的目录；null：没有"}},
    {"upstream.endpoint_dir", PS_M_STRING, AT(upstream.endpoint_dir), .flags = PS_M_NULLABLE, .min = 1, .max = 1024, .format = &absolute, .fallback = "null", .example = "\"/srv/penstock/endpoints\"", .text = {"A directory of files that pools may name as the source of their endpoints; null: none", "池可以引用其中的文件作为服务器列表的目录；null：没有"}},
    {"upstream.dns_servers", PS_M_LIST, STRINGS(upstream.dns_servers), .max = DNS_SERVERS_MAX, .item = &dns_server_item, .fallback = "[]", .example = "[\"10.0.0.53\"]", .text = {"DNS servers that discovery asks; none: those of /etc/resolv.conf", "服务发现查询的 DNS 服务器；不填：/etc/resolv.conf 里的"}},
    {"upstream.body_gather_kib", PS_M_INT, AT(upstream.body_gather_kib), .min = 0, .max = 1024, .unit = {"KiB"}, .fallback = "64", .text = {"Bodies of requests for pages are gathered up to this length, within 16 MiB a worker, before the shop's pool is asked; longer ones are uploads, which have places of their own. 0: all are uploads", "页面请求的正文在此长度以内先收齐（每个 worker 共 16 MiB），再占用商店池的位置；更长的算上传，位置另计。0：一律算上传"}},
    {"seed", PS_M_FREE, AT(seed), .flags = PS_M_RELOADS, .fallback = "{}", .example = "{\"documents\":{\"limits\":{}}}", .text = {"A bundle of documents to start with, as GET /admin/v1/config prints it: {\"documents\":{\"limits\":{\"user\":{...}}}}. Taken as a whole at the first start; afterwards it changes nothing", "起始使用的文档配置包，格式与 GET /admin/v1/config 的输出相同：{\"documents\":{\"limits\":{\"user\":{...}}}}。首次启动时整体采用，此后不再改变任何东西"}},
};
/* clang-format on */
const struct ps_table gw_settings_table = {.title = "Settings of penstock",
                                           .members = members,
                                           .count = PS_ARRAY_LEN(members),
                                           .size = sizeof(struct gw_settings)};

/* --- What the table cannot say. --- */

/* An entry that is faulty is NULL, and left out. */
static void read_cidrs(const struct ps_strings *list, const char *setting,
                       struct ps_cidrs *ret_cidrs, struct ps_faults *faults)
{
    struct ps_cidrs cidrs = {calloc(list->count ? list->count : 1, sizeof *cidrs.at), 0};

    if (cidrs.at == NULL)
        (void)ps_faults_add(faults, PS_E_NOMEM, setting, "out of memory");
    for (size_t i = 0; cidrs.at != NULL && i < list->count; i++)
        if (list->at[i] != NULL &&
            ps_cidr_parse(list->at[i], strlen(list->at[i]), &cidrs.at[cidrs.count]) == 0)
            cidrs.count++;
    *ret_cidrs = cidrs;
}

static void read_listener(const char *host, int64_t port, struct ps_listener *ret_listener)
{
    if (ps_address_parse(host, strlen(host), false, &ret_listener->address) == 0)
        ret_listener->port = (uint16_t)port;
}

static void read_bounds(struct gw_settings *settings, struct ps_faults *faults)
{
    read_cidrs(&settings->upstream.allowed_networks, "upstream.allowed_networks",
               &settings->bounds.networks, faults);
    read_listener(settings->listen.host, settings->listen.port, &settings->bounds.listeners[0]);
    read_listener(settings->admin.host, settings->admin.port, &settings->bounds.listeners[1]);
    settings->bounds.static_dir = settings->upstream.static_dir;
    settings->bounds.endpoint_dir = settings->upstream.endpoint_dir;
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

static void add_fault(const struct ps_fault *fault, void *faults)
{
    (void)ps_faults_add(faults, PS_E_INVALID, fault->path, "%s", fault->text);
}

static void check_client_ip_header(const char *name, struct ps_faults *faults)
{
    if (strcasecmp(name, "X-Forwarded-For") == 0)
        (void)ps_faults_add(faults, PS_E_INVALID, "client_ip_header",
                            "X-Forwarded-For is a list: leave this empty to have it read");
    else if (srv_strict_knows(ps_str(name)))
        (void)ps_faults_add(faults, PS_E_INVALID, "client_ip_header",
                            "%s has a meaning of its own here: no address is looked for in it",
                            name);
}

/* Rules across members. */
static void check_together(const struct gw_settings *settings, struct ps_faults *faults)
{
    check_client_ip_header(settings->client_ip_header, faults);
    if (settings->listen.port == settings->admin.port && settings->listen.port != 0 &&
        strcmp(settings->listen.host, settings->admin.host) == 0)
        (void)ps_faults_add(faults, PS_E_INVALID, "admin.port",
                            "the public listener has the same address and port");
    const char *local = settings->listen.local.path, *admin_local = settings->admin.local.path;
    if (local != NULL && admin_local != NULL && strcmp(local, admin_local) == 0)
        (void)ps_faults_add(faults, PS_E_INVALID, "admin.unix.path",
                            "the public listener has the same socket");
    if (settings->listen.proxy_protocol != PS_PROXY_OFF && settings->trusted.count == 0 &&
        local == NULL)
        (void)ps_faults_add(faults, PS_E_INVALID, "listen.proxy_protocol",
                            "nobody could connect: trusted_proxies is empty, and there is no "
                            "listen.unix");
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
    const struct ps_table_source source = {
        .json = document, .pointer = "", .style = PS_PATH_DOTTED};
    struct gw_settings settings = {0};
    struct ps_fault fault = {0};
    size_t before = faults->count;
    int err = ps_table_read(&gw_settings_table, &source, &settings, faults);

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
    if (settings.tracing.headers_file != NULL &&
        ps_tracer_headers_read(settings.tracing.headers_file, "tracing.headers_file",
                               &settings.headers, &fault) < 0)
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
    ps_table_free(&gw_settings_table, settings);
    free(settings->trusted.at);
    free(settings->bounds.networks.at);
    ps_secret_lines_free(&settings->headers);
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
    json_t *all = ps_table_print(&gw_settings_table, settings);
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

    if (settings->listen.proxy_protocol != PS_PROXY_OFF &&
        settings->listen.proxy_protocol_trusts_clients)
        ps_log(PS_LOG_WARN, "proxy_clients_are_trusted",
               PS_F_STR("why",
                        "listen.proxy_protocol_trusts_clients is on: a proxy that sends PROXY "
                        "headers and does not overwrite X-User-Id lets each client be any "
                        "user"));
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
