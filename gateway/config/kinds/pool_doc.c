/* See pool_doc.h. Building a pool checks again whether its addresses may be used
 * (upstream.allowed_networks, the gateway's own listeners): settings may change after the document.
 */
#include "gateway/config/kinds/pool_doc.h"

#include "gateway/config/kinds/formats.h"
#include "gateway/config/store/store.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POOLS_MAX    1000
#define TIME_MAX_MS  600000
#define COUNT_MAX    1000000
#define PATH_MAX_LEN 1024
#define HOST_MAX_LEN 259 /* with a port */
#define NAME_MAX_LEN 64  /* of a header or a cookie */

#define ALGORITHM_NAME(name) #name,
const char *const cfg_algorithm_names[CFG_ALGORITHM_COUNT + 1] = {CFG_ALGORITHMS(ALGORITHM_NAME)
                                                                      NULL};

/* --- Reference counts. --- */

struct cfg_pool *cfg_pool_keep(struct cfg_pool *pool)
{
    (void)atomic_fetch_add_explicit(&pool->refs, 1, memory_order_relaxed);
    return pool;
}

static const struct ps_table pool_table;

void cfg_pool_drop(struct cfg_pool *pool)
{
    if (pool == NULL || atomic_fetch_sub_explicit(&pool->refs, 1, memory_order_acq_rel) > 0)
        return;
    ps_table_free(&pool_table, pool);
    free(pool);
}

/* --- Endpoints. --- */

void cfg_endpoint_make(const struct ps_address *ip, uint16_t port,
                       struct cfg_endpoint *ret_endpoint)
{
    bool v4 = ps_address_is_v4(ip);
    char text[46];

    ps_address_format(ip, text);
    *ret_endpoint = (struct cfg_endpoint){.ip = *ip, .port = port, .weight = 1};
    (void)snprintf(ret_endpoint->address, sizeof ret_endpoint->address, v4 ? "%s:%u" : "[%s]:%u",
                   text, (unsigned)port);
}

/* 1 to 65535 without leading zeros; 0: not a port. */
static unsigned read_port(const char *text, size_t len)
{
    unsigned port = 0;

    if (len < 1 || len > 5 || text[0] == '0')
        return 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return 0;
        port = 10 * port + (unsigned)(text[i] - '0');
    }
    return port <= UINT16_MAX ? port : 0;
}

int cfg_endpoint_parse(const char *text, size_t len, struct cfg_endpoint *ret_endpoint)
{
    const char *colon = len > 0 ? memrchr(text, ':', len) : NULL;
    struct ps_address ip;

    if (colon == NULL)
        return PS_E_INVALID;
    size_t host = (size_t)(colon - text);
    unsigned port = read_port(colon + 1, len - host - 1);
    bool bare_v6 = memchr(text, ':', host) != NULL && text[0] != '[';
    if (port == 0 || bare_v6 || ps_address_parse(text, host, false, &ip) < 0)
        return PS_E_INVALID;
    cfg_endpoint_make(&ip, (uint16_t)port, ret_endpoint);
    return 0;
}

const char *cfg_endpoint_refusal(const struct cfg_endpoint *endpoint,
                                 const struct cfg_bounds *bounds)
{
    if (bounds == NULL)
        return NULL;
    if (!ps_cidrs_have(&bounds->networks, &endpoint->ip))
        return "is outside the networks of the setting upstream.allowed_networks";
    /* A request would loop, and the public port would expose the admin listener. */
    for (size_t i = 0; i < CFG_LISTENERS; i++)
        if (ps_listener_takes(&bounds->listeners[i], &endpoint->ip, endpoint->port))
            return "is a listener of this gateway";
    return NULL;
}

static bool read_address(struct ps_table_at *at, const char *place, const json_t *value,
                         void *object)
{
    const struct cfg_reading *reading = at->ctx;
    const char *text = json_string_value(value);

    if (text == NULL || cfg_endpoint_parse(text, json_string_length(value), object) < 0)
        return false;
    const char *refusal = cfg_endpoint_refusal(object, reading->bounds);
    if (refusal != NULL)
        ps_table_fault(at, place, "%s", refusal);
    return true;
}

static json_t *print_address(const void *object)
{
    return json_string(((const struct cfg_endpoint *)object)->address);
}

static const struct ps_own address = {
    .rule = {"an address with a port, such as 127.0.0.1:9001 or [::1]:9001 (for names there is "
             "discovery)",
             "带端口的地址，例如 127.0.0.1:9001 或 [::1]:9001（域名请用 discovery）"},
    .schema = "{\"type\":\"string\"}",
    .read = read_address,
    .print = print_address};

const char *const cfg_endpoint_dropped[] = {"zone", NULL};

/* clang-format off */
#define OF_ENDPOINT(field) PS_AT(struct cfg_endpoint, field)
static const struct ps_member endpoint_members[] = {
    {"address", PS_M_OWN, .flags = PS_M_REQUIRED, .own = &address, .example = "\"127.0.0.1:9001\"", .text = {"Where the server listens", "服务器监听的地址"}},
    {"weight", PS_M_INT, OF_ENDPOINT(weight), .min = 0, .max = CFG_WEIGHT_MAX, .fallback = "1", .text = {"Its share of the requests relative to other endpoints, for the weighted algorithms; 0: it gets none", "加权算法下分得的请求份额；0：不分配"}},
    {"drain", PS_M_BOOL, OF_ENDPOINT(drain), .fallback = "false", .text = {"It gets no new requests", "不再接收新请求"}},
};
/* clang-format on */
static const struct ps_table endpoint_table = {.title = "endpoint",
                                               .members = endpoint_members,
                                               .count = PS_ARRAY_LEN(endpoint_members),
                                               .dropped = cfg_endpoint_dropped,
                                               .size = sizeof(struct cfg_endpoint)};
static const struct ps_member endpoint_item = {"", PS_M_OBJECT, .size = sizeof(struct cfg_endpoint),
                                               .table = &endpoint_table};

int cfg_endpoint_read(const json_t *json, const char *pointer, struct cfg_endpoint *ret_endpoint,
                      struct ps_faults *faults)
{
    const struct cfg_reading reading = {.pointer = pointer};
    const struct ps_table_source source = {
        .json = json, .pointer = pointer, .ctx = &reading, .stored = true};
    struct cfg_endpoint endpoint = {0};
    int err = ps_table_read(&endpoint_table, &source, &endpoint, faults);

    if (err == 0)
        *ret_endpoint = endpoint;
    return err;
}

static void check_endpoints(struct ps_table_at *at, const struct cfg_pool *pool)
{
    unsigned weights = 0;

    for (size_t i = 0; i < pool->endpoint_count; i++) {
        const struct cfg_endpoint *endpoint = &pool->endpoints[i];
        size_t other = 0;
        weights += endpoint->weight;
        while (other < i && strcmp(pool->endpoints[other].address, endpoint->address) != 0)
            other++;
        if (other == i || endpoint->address[0] == '\0')
            continue;
        char place[40];
        (void)snprintf(place, sizeof place, "endpoints/%zu/address", i);
        ps_table_fault(at, place, "is also the address of endpoint %zu", other);
    }
    if (ps_table_has(at, "discovery"))
        return;
    if (pool->endpoint_count == 0)
        ps_table_fault(at, "endpoints", "a pool must have at least one endpoint, or a discovery");
    else if (weights == 0)
        ps_table_fault(at, "endpoints", "must have one whose weight is above 0");
}

/* --- Choosing an endpoint. --- */

static bool is_hash_name(const char *text, const char *prefix, size_t *ret_at)
{
    *ret_at = strlen(prefix);
    if (strncmp(text, prefix, *ret_at) != 0)
        return false;
    size_t len = strlen(text + *ret_at);
    return len <= NAME_MAX_LEN && ps_http_is_token((struct ps_str){text + *ret_at, len});
}

static bool read_hash_by(struct ps_table_at *at, const char *place, const json_t *value,
                         void *object)
{
    const char *by = json_string_value(value);
    struct cfg_pool *pool = object;
    size_t name = 0;

    /* hash_by may have its default beside any algorithm, so that a patch of the algorithm alone can
     * leave consistent_hash. */
    if (by == NULL || strcmp(by, "path") == 0)
        return by != NULL;
    if (pool->algorithm != CFG_ALGORITHM_consistent_hash)
        ps_table_fault(at, place, "must be null: only consistent_hash uses it");
    if (is_hash_name(by, "header:", &name))
        pool->hash_by = CFG_HASH_HEADER;
    else if (is_hash_name(by, "cookie:", &name))
        pool->hash_by = CFG_HASH_COOKIE;
    else
        return false;
    free(pool->hash_name);
    pool->hash_name = strdup(by + name);
    if (pool->hash_name == NULL)
        ps_table_no_memory(at);
    return true;
}

/* With consistent_hash, hash_by is always printed, also when it has its default. */
static json_t *print_hash_by(const void *object)
{
    const struct cfg_pool *pool = object;

    if (pool->algorithm != CFG_ALGORITHM_consistent_hash)
        return json_null();
    if (pool->hash_by == CFG_HASH_PATH)
        return json_string("path");
    return json_sprintf("%s:%s", pool->hash_by == CFG_HASH_HEADER ? "header" : "cookie",
                        pool->hash_name);
}

static void free_hash_by(void *object)
{
    struct cfg_pool *pool = object;

    free(pool->hash_name);
    pool->hash_name = NULL;
    pool->hash_by = CFG_HASH_PATH;
}

static const struct ps_own hash_by = {
    .rule = {"path, header:NAME or cookie:NAME", "path、header:NAME 或 cookie:NAME"},
    .schema = "{\"type\":\"string\",\"pattern\":\"^(path|(header|cookie):.{1,64})$\"}",
    .read = read_hash_by,
    .print = print_hash_by,
    .free = free_hash_by};

/* --- Discovery. --- */

/* clang-format off */
#define AT(field) PS_AT(struct cfg_pool, field)
static const struct ps_member discovery_members[] = {
    {"file", PS_M_STRING, AT(discovery.from), .flags = PS_M_CHOICE, .min = 1, .max = PATH_MAX_LEN, .format = &cfg_format_inside, .when = 1 << CFG_DISCOVERY_FILE, .example = "\"web.json\"", .text = {"A file in upstream.endpoint_dir that holds an array of endpoints", "upstream.endpoint_dir 中的文件，内容为端点数组"}},
    {"dns", PS_M_STRING, AT(discovery.from), .flags = PS_M_CHOICE, .min = 1, .max = PATH_MAX_LEN, .format = &cfg_format_host, .when = 1 << CFG_DISCOVERY_DNS, .example = "\"shop.internal\"", .text = {"A DNS name whose A and AAAA records are endpoints", "DNS 名称，取其 A 与 AAAA 记录"}},
    {"srv", PS_M_STRING, AT(discovery.from), .flags = PS_M_CHOICE, .min = 1, .max = PATH_MAX_LEN, .format = &cfg_format_host, .when = 1 << CFG_DISCOVERY_SRV, .example = "\"_http._tcp.shop.internal\"", .text = {"A DNS name whose SRV records are endpoints", "DNS 名称，取其 SRV 记录"}},
    {"registration", PS_M_TRUE, .flags = PS_M_CHOICE, .when = 1 << CFG_DISCOVERY_REGISTRATION, .example = "true", .text = {"Endpoints register themselves through the admin API", "端点通过管理接口自行注册"}},
    {"port", PS_M_INT, AT(discovery.port), .flags = PS_M_REQUIRED, .min = 1, .max = UINT16_MAX, .when = 1 << CFG_DISCOVERY_DNS, .example = "8080", .text = {"The port of the addresses: the records have none", "地址的端口：DNS 记录不含端口"}},
    {"shrink_share_min", PS_M_NUMBER, AT(discovery.shrink_share_min), .max = 1, .fallback = "0.5", .text = {"A list shorter than this share of the previous one is held back for a while", "列表缩短到原来的该比例以下时，先暂缓采用"}},
};
/* clang-format on */

/* An operator who may change documents must not make the gateway read a file outside its
 * directory. */
static void check_discovery(struct ps_table_at *at, void *object)
{
    const struct cfg_reading *reading = at->ctx;
    const struct cfg_pool *pool = object;
    const char *from = pool->discovery.from;
    struct ps_address ip;

    if (from == NULL)
        return;
    if (pool->discovery.by != CFG_DISCOVERY_FILE) {
        if (ps_address_parse(from, strlen(from), true, &ip) == 0)
            ps_table_fault(at, pool->discovery.by == CFG_DISCOVERY_DNS ? "dns" : "srv",
                           "is an address: name it in endpoints");
    } else if (reading->bounds != NULL && reading->bounds->endpoint_dir == NULL) {
        ps_table_fault(at, "file", "needs the setting upstream.endpoint_dir");
    }
}

static const struct ps_table discovery_table = {.title = "discovery",
                                                .members = discovery_members,
                                                .count = PS_ARRAY_LEN(discovery_members),
                                                .size = sizeof(struct cfg_pool),
                                                .has_tag = true,
                                                .tag_at = offsetof(struct cfg_pool, discovery.by),
                                                .check = check_discovery};

/* --- Health. --- */

static bool is_check_path(const char *text, size_t len)
{
    (void)len;
    return text[0] == '/' && cfg_is_visible(text) && strchr(text, '#') == NULL;
}

static bool is_authority(const char *text, size_t len)
{
    return ps_http_is_authority((struct ps_str){text, len});
}

static const struct ps_format check_path = {
    .rule = {"a path such as /healthz, percent-encoded", "请求路径，例如 /healthz"},
    .is_ok = is_check_path};
static const struct ps_format authority = {
    .rule = {"a value of the Host field: a host, with a port if needed",
             "主机名，与 Host 字段一致"},
    .is_ok = is_authority};
static const struct ps_member expect_item = {"", PS_M_INT, .size = sizeof(int), .min = 200,
                                             .max = 599};

/* clang-format off */
static const struct ps_member health_members[] = {
    {"path", PS_M_STRING, AT(health.path), .min = 1, .max = PATH_MAX_LEN, .format = &check_path, .fallback = "\"/\"", .text = {"The path that is requested", "请求路径"}},
    {"host", PS_M_STRING, AT(health.host), .flags = PS_M_NULLABLE, .min = 1, .max = HOST_MAX_LEN, .format = &authority, .example = "\"shop.example\"", .text = {"The Host field; null: the address", "Host 字段；null：使用地址"}},
    {"interval_ms", PS_M_INT, AT(health.interval_ms), .min = 100, .max = TIME_MAX_MS, .unit = {"ms"}, .fallback = "1000", .text = {"How often each endpoint is checked", "检查间隔"}},
    {"timeout_ms", PS_M_INT, AT(health.timeout_ms), .min = 10, .max = TIME_MAX_MS, .unit = {"ms"}, .fallback = "500", .text = {"How long an answer may take; at most interval_ms", "应答超时；不超过 interval_ms"}},
    {"healthy_after", PS_M_INT, AT(health.healthy_after), .min = 1, .max = 100, .unit = {"checks", "次检查"}, .fallback = "2", .text = {"After this many good checks in a row an endpoint is used again", "连续成功多少次后恢复"}},
    {"unhealthy_after", PS_M_INT, AT(health.unhealthy_after), .min = 1, .max = 100, .unit = {"checks", "次检查"}, .fallback = "3", .text = {"After this many bad checks in a row an endpoint is no longer used", "连续失败多少次后摘除"}},
    {"expect", PS_M_LIST, AT(health.expect), .count_at = offsetof(struct cfg_pool, health.expect_count), .min = 1, .max = CFG_EXPECT_MAX, .item = &expect_item, .fallback = "[200]", .text = {"Statuses that count as good", "视为成功的状态码"}},
};
/* clang-format on */

static void check_health(struct ps_table_at *at, void *object)
{
    const struct cfg_pool *pool = object;

    if (pool->health.timeout_ms > pool->health.interval_ms)
        ps_table_fault(at, "timeout_ms", "must be at most interval_ms (%lld)",
                       (long long)pool->health.interval_ms);
}

static const struct ps_table health_table = {.title = "health check",
                                             .members = health_members,
                                             .count = PS_ARRAY_LEN(health_members),
                                             .size = sizeof(struct cfg_pool),
                                             .check = check_health};

/* --- The kind. --- */

/* clang-format off */
static const struct ps_member members[] = {
    {"algorithm", PS_M_ENUM, AT(algorithm), .words = cfg_algorithm_names, .fallback = "\"round_robin\"", .text = {"How an endpoint is chosen", "选择端点的算法"}},
    {"hash_by", PS_M_OWN, .flags = PS_M_NULLABLE, .own = &hash_by, .example = "\"cookie:sid\"", .text = {"What consistent_hash hashes; null: the path", "consistent_hash 的依据；null：路径"}},
    {"endpoints", PS_M_LIST, AT(endpoints), .count_at = offsetof(struct cfg_pool, endpoint_count), .max = CFG_ENDPOINTS_MAX, .item = &endpoint_item, .fallback = "[]", .example = "[{\"address\":\"127.0.0.1:9001\"}]", .text = {"Servers of the pool; discovery adds more", "池中的服务器；自动发现的端点与之合并"}},
    {"discovery", PS_M_OBJECT, .size = sizeof(struct cfg_pool), .flags = PS_M_NULLABLE, .table = &discovery_table, .text = {"Where more endpoints come from; null: no discovery", "其他端点的来源；null：无"}},
    {"health", PS_M_OBJECT, .size = sizeof(struct cfg_pool), .flags = PS_M_NULLABLE, .table = &health_table, .text = {"Active health checks; null: none, only the outcomes of requests are judged", "主动健康检查；null：不检查，只依据真实请求判断"}},
    {"outlier.consecutive_errors", PS_M_INT, AT(outlier.consecutive_errors), .min = 0, .max = 1000, .unit = {"errors", "次错误"}, .fallback = "5", .text = {"This many errors in a row eject an endpoint; 0: not judged", "连续错误多少次后剔除端点；0：不判断"}},
    {"outlier.success_share_min", PS_M_NUMBER, AT(outlier.success_share_min), .max = 1, .fallback = "0.5", .text = {"An endpoint whose share of successes is below this is ejected; 0: not judged", "成功率低于该值的端点被剔除；0：不判断"}},
    {"outlier.latency_factor", PS_M_NUMBER, AT(outlier.latency_factor), .max = 1000, .fallback = "0", .example = "3", .text = {"An endpoint slower than this many times the pool's median is ejected; above 1, or 0: not judged", "延迟超过池中位数该倍数的端点被剔除；须大于 1，0：不判断"}},
    {"outlier.requests_min", PS_M_INT, AT(outlier.requests_min), .min = 1, .max = COUNT_MAX, .unit = {"requests", "个请求"}, .fallback = "20", .text = {"How many requests within 10 s are needed to judge success and latency", "10 秒内至少有多少请求才判断成功率与延迟"}},
    {"outlier.eject_ms", PS_M_INT, AT(outlier.eject_ms), .min = 100, .max = TIME_MAX_MS, .unit = {"ms"}, .fallback = "10000", .text = {"How long an ejected endpoint is not used: this, times the number of ejections in a row, at most 30", "剔除时长，乘以连续剔除次数，最多 30 倍"}},
    {"outlier.ejected_share_max", PS_M_NUMBER, AT(outlier.ejected_share_max), .max = 1, .fallback = "0.5", .text = {"At most this share of the endpoints is ejected at once", "同时被剔除的端点比例上限"}},
    {"panic_share", PS_M_NUMBER, AT(panic_share), .max = 1, .fallback = "0.5", .text = {"When less than this share of the endpoints is usable, all are used; 0: never", "可用端点低于该比例时，使用全部端点；0：从不"}},
    {"slow_start_ms", PS_M_INT, AT(slow_start_ms), .min = 0, .max = TIME_MAX_MS, .unit = {"ms"}, .fallback = "0", .text = {"For how long a new or recovered endpoint gets fewer requests", "新增或恢复的端点逐步加量的时长"}},
    {"drain_ms", PS_M_INT, AT(drain_ms), .min = 0, .max = 3600000, .unit = {"ms"}, .fallback = "30000", .text = {"After this time the connections of a drained or removed endpoint are closed", "排空或移除的端点，其连接在此时长后关闭"}},
    {"connections_max", PS_M_INT, AT(connections_max), .min = 0, .max = COUNT_MAX, .unit = {"connections", "个连接"}, .fallback = "0", .text = {"Connections to each endpoint, over all workers; 0: no limit", "到每个端点的连接数，所有 worker 合计；0：不限"}},
    {"queue_max", PS_M_INT, AT(queue_max), .min = 0, .max = COUNT_MAX, .unit = {"requests", "个请求"}, .fallback = "0", .text = {"Requests that may wait for a connection; 0: none waits", "可排队等待连接的请求数；0：不排队"}},
    {"uploads", PS_M_NUMBER, AT(uploads), .max = 1, .fallback = "0.25", .text = {"Requests whose clients still send a body longer than upstream.body_gather_kib, as a share of the pool's places; of these at most 1/8 for one client. 0: none", "客户端仍在发送超过 upstream.body_gather_kib 的正文的请求，占池的位置数的比例；其中每个客户端最多 1/8。0：不允许"}},
    {"retry_budget", PS_M_NUMBER, AT(retry_budget), .max = 1, .fallback = "0.2", .text = {"Retries as a share of requests", "重试占请求的比例"}},
    {"live", PS_M_LIST, .flags = PS_M_MEASURED, .text = {"The present state of each endpoint", "各端点的当前状态"}},
    {"panic", PS_M_BOOL, .flags = PS_M_MEASURED, .text = {"True: all endpoints are used, because too few are usable", "可用端点过少，正在使用全部端点"}},
    {"panic_since", PS_M_TIME, .flags = PS_M_MEASURED | PS_M_NULLABLE, .text = {"Since when all endpoints are used", "起始时间"}},
    {"discovered", PS_M_FREE, .flags = PS_M_MEASURED | PS_M_NULLABLE, .text = {"The result of the last discovery", "自动发现的结果"}},
};
static const struct ps_group groups[] = {
    {"outlier", {"When an endpoint whose answers fail, or are slow, is not used for a while", "应答失败或过慢的端点何时被暂时停用"}},
    {0}};
/* clang-format on */

static void check_pool(struct ps_table_at *at, void *object)
{
    const struct cfg_reading *reading = at->ctx;
    struct cfg_pool *pool = object;

    (void)snprintf(pool->name, sizeof pool->name, "%s", reading->name);
    check_endpoints(at, pool);
    if (pool->outlier.latency_factor > 0 && pool->outlier.latency_factor <= 1)
        ps_table_fault(at, "outlier.latency_factor",
                       "must be above 1 (times the pool's median), or 0: not judged");
}

static const struct ps_table pool_table = {.title = "pool",
                                           .members = members,
                                           .count = PS_ARRAY_LEN(members),
                                           .size = sizeof(struct cfg_pool),
                                           .groups = groups,
                                           .check = check_pool};

static void pool_free(void *parsed)
{
    cfg_pool_drop(parsed);
}

const struct cfg_kind cfg_kind_pool = {
    .path = "pools",
    .id = "pool",
    .word = "pool",
    .name_rule = "a pool's name: [A-Za-z0-9][A-Za-z0-9._-]{0,63}",
    .listed = "pools",
    .lists_names = true,
    .put = "pool.put",
    .drop = "pool.delete",
    .max = POOLS_MAX,
    .name = cfg_plain_name,
    .table = &pool_table,
    .free = pool_free,
    .makes_up_table = true,
};
