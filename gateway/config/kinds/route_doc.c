/* See route_doc.h. The pools and the cache that a route names are checked when the change is
 * complete (check.c), so that a bundle may bring both. */
#include "gateway/config/kinds/route_doc.h"

#include "common/http/address.h"
#include "gateway/config/kinds/cache_doc.h"
#include "gateway/config/kinds/formats.h"
#include "gateway/config/kinds/pool_doc.h"
#include "gateway/config/kinds/route_parts.h"
#include "gateway/config/store/store.h"

#include <ctype.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_MAX_LEN 1024
#define HOST_MAX_LEN 253
#define NAME_MAX_LEN 64 /* of a header, a cookie, a parameter */
#define DEADLINE_MAX 600000
#define TTL_MAX_S    31536000
#define BODY_MAX     (INT64_C(1) << 40)
#define LOCATION_MAX 2048

const char *const cfg_route_class_names[CFG_ROUTE_CLASSES + 1] = {"core", "important", "normal",
                                                                  "extra", NULL};

/* In the order of enum ps_http_method. */
static const char *const method_names[] = {"GET",   "HEAD",   "POST",    "PUT",
                                           "PATCH", "DELETE", "OPTIONS", NULL};
_Static_assert(PS_ARRAY_LEN(method_names) == PS_HTTP_METHOD_OTHER + 1, "one for each method");

/* --- Reference counts. --- */

struct cfg_route *cfg_route_keep(struct cfg_route *route)
{
    (void)atomic_fetch_add_explicit(&route->refs, 1, memory_order_relaxed);
    return route;
}

static const struct ps_table table;

void cfg_route_drop(struct cfg_route *route)
{
    if (route == NULL || atomic_fetch_sub_explicit(&route->refs, 1, memory_order_acq_rel) > 0)
        return;
    ps_table_free(&table, route);
    free(route);
}

/* --- Which requests. --- */

static const char *const own_paths[] = {"/v1", "/livez", "/readyz"};
#define FIRST_PROBE 1

const char *cfg_path_own(struct ps_str path)
{
    for (size_t i = 0; i < PS_ARRAY_LEN(own_paths); i++) {
        size_t len = strlen(own_paths[i]);
        if (path.len >= len && memcmp(path.at, own_paths[i], len) == 0 &&
            (path.len == len || path.at[len] == '/'))
            return own_paths[i];
    }
    return NULL;
}

bool cfg_path_is_page(struct ps_str path)
{
    return cfg_path_own(path) == NULL;
}

bool cfg_path_is_probe(struct ps_str path)
{
    for (size_t i = FIRST_PROBE; i < PS_ARRAY_LEN(own_paths); i++)
        if (ps_str_is(path, own_paths[i]))
            return true;
    return false;
}

/* Spells it as requests' paths are compared, in its place: escapes only become fewer. */
static void spell_path(char *path)
{
    char normal[PATH_MAX_LEN];
    struct ps_buf buf;

    ps_buf_init(&buf, normal, sizeof normal);
    if (path == NULL || !cfg_is_path(path) || !ps_http_put_normal(&buf, ps_str(path)))
        return;
    memcpy(path, normal, buf.len);
    path[buf.len] = '\0';
}

static void check_path(struct ps_table_at *at, const struct cfg_route *route)
{
    const char *path = route->path, *own;

    if (path == NULL)
        return;
    own = cfg_path_own(ps_str(path));
    if (path[0] != '/')
        ps_table_fault(at, "path", "must begin with a slash");
    else if (!cfg_is_path(path))
        ps_table_fault(at, "path",
                       "must be a path as requests have it: percent-encoded, without a query, and "
                       "without . and .. as segments");
    else if (!route->exact && path[route->path_len - 1] != '/')
        ps_table_fault(
            at, "path",
            "must end with a slash: without one it would also match %sx; for this path alone "
            "set match to exact",
            route->path_len < 100 ? path : "…");
    else if (own != NULL)
        ps_table_fault(at, "path",
                       "is under %s%s, which the gateway answers itself: no route can serve it",
                       own, strcmp(own, "/v1") == 0 ? "/, the API of sales" : "");
}

/* --- The cache. --- */

static bool is_query_name(const char *name)
{
    return name != NULL && name[0] != '\0' && strlen(name) <= NAME_MAX_LEN &&
           cfg_is_visible(name) && strpbrk(name, "&=#+") == NULL;
}

static void free_query(void *object)
{
    struct cfg_route_cache *cache = object;

    for (size_t i = 0; i < cache->name_count; i++)
        free(cache->names[i]);
    free(cache->names);
    cache->names = NULL;
    cache->name_count = 0;
    cache->query = CFG_QUERY_ALL;
}

/* As requests' queries are compared. Owner: the caller. NULL: out of memory. */
static char *spelt(const char *name)
{
    size_t size = 3 * strlen(name) + 1;
    char *text = malloc(size);
    struct ps_buf buf;

    if (text == NULL)
        return NULL;
    ps_buf_init(&buf, text, size - 1);
    if (!ps_http_put_normal(&buf, ps_str(name)))
        (void)snprintf(text, size, "%s", name);
    else
        text[buf.len] = '\0';
    return text;
}

static bool read_query(struct ps_table_at *at, const char *place, const json_t *value, void *object)
{
    struct cfg_route_cache *cache = object;
    const char *word = json_string_value(value);
    size_t count = json_array_size(value);

    (void)place;
    free_query(object);
    if (word != NULL) {
        cache->query = strcmp(word, "none") == 0 ? CFG_QUERY_NONE : CFG_QUERY_ALL;
        return cache->query == CFG_QUERY_NONE || strcmp(word, "all") == 0;
    }
    if (count < 1 || count > CFG_QUERY_NAMES_MAX)
        return false;
    cache->query = CFG_QUERY_LISTED;
    cache->names = calloc(count, sizeof *cache->names);
    for (size_t i = 0; cache->names != NULL && i < count; i++) {
        const char *name = json_string_value(json_array_get(value, i));
        bool is_ok = is_query_name(name);
        for (size_t j = 0; is_ok && j < i; j++)
            is_ok = strcmp(cache->names[j], name) != 0;
        if (!is_ok)
            return false;
        cache->names[i] = spelt(name);
        if (cache->names[i] == NULL)
            break;
        cache->name_count++;
    }
    if (cache->name_count < count)
        ps_table_no_memory(at);
    return true;
}

static json_t *print_query(const void *object)
{
    const struct cfg_route_cache *cache = object;
    json_t *list;
    int err = 0;

    if (cache->query != CFG_QUERY_LISTED)
        return json_string(cache->query == CFG_QUERY_ALL ? "all" : "none");
    list = json_array();
    for (size_t i = 0; i < cache->name_count; i++)
        err |= json_array_append_new(list, json_string(cache->names[i]));
    return ps_json_built(list, err);
}

static const struct ps_own query = {
    .rule = {"all, none, or an array of 1 to 32 names of parameters, each once",
             "all、none，或 1 至 32 个互不相同的参数名组成的数组"},
    .schema = "{\"anyOf\":[{\"type\":\"string\",\"enum\":[\"all\",\"none\"]},{\"type\":\"array\","
              "\"items\":{\"type\":"
              "\"string\"},\"minItems\":1,\"maxItems\":32,\"uniqueItems\":true}]}",
    .read = read_query,
    .print = print_query,
    .free = free_query};
_Static_assert(CFG_QUERY_NAMES_MAX == 32, "as the rule says");

static const char *const obeys[] = {"ignore", "obey", NULL};

/* clang-format off */
#define OF_CACHE(field) PS_AT(struct cfg_route_cache, field)
static const struct ps_member cache_members[] = {
    {"store", PS_M_CHARS, OF_CACHE(store), .format = &ps_format_name, .fallback = "\"default\"", .text = {"The cache that keeps the answers", "存放应答的缓存"}},
    {"default_ttl_s", PS_M_INT, OF_CACHE(default_ttl_s), .min = 0, .max = TTL_MAX_S, .unit = {"s"}, .fallback = "0", .text = {"How long an answer is fresh that does not state it", "未声明有效期的应答的新鲜时长"}},
    {"query", PS_M_OWN, .own = &query, .fallback = "\"all\"", .text = {"Which query parameters are part of the cache key; they are sorted", "哪些参数区分缓存条目；参数会先排序"}},
    {"stale_while_revalidate_s", PS_M_INT, OF_CACHE(stale_while_revalidate_s), .min = 0, .max = TTL_MAX_S, .unit = {"s"}, .fallback = "0", .text = {"How long a stale answer is given while a fresh one is fetched, unless the answer states it", "后台刷新期间可返回过期应答的时长，应答另有声明除外"}},
    {"stale_if_error_s", PS_M_INT, OF_CACHE(stale_if_error_s), .min = 0, .max = TTL_MAX_S, .unit = {"s"}, .fallback = "0", .text = {"How long a stale answer is given while the pool fails, unless the answer states it", "池故障期间可返回过期应答的时长，应答另有声明除外"}},
    {"request_no_cache", PS_M_ENUM, OF_CACHE(obeys_no_cache), .words = obeys, .fallback = "\"ignore\"", .text = {"What a buyer's Cache-Control: no-cache does", "如何对待买家请求中的 Cache-Control: no-cache"}},
};
static const struct ps_table cache_table = {.title = "cache of a route", .members = cache_members, .count = PS_ARRAY_LEN(cache_members), .size = sizeof(struct cfg_route_cache)};
/* clang-format on */

/* --- Fallbacks. --- */

static const char *const fallback_kinds[] = {"stale", "pool", "static", "problem", NULL};

static void check_fallback(struct ps_table_at *at, void *object)
{
    struct cfg_fallback *fallback = object;

    if (fallback->kind == CFG_FALLBACK_STATIC)
        cfg_static_check(at, &fallback->fixed);
}

/* clang-format off */
static const struct ps_member fallback_members[] = {
    {"kind", PS_M_ENUM, PS_AT(struct cfg_fallback, kind), .flags = PS_M_REQUIRED, .words = fallback_kinds, .example = "\"stale\"", .text = {"stale: the last answer in the cache; pool: another pool; static: a fixed answer; problem: 503", "stale：缓存中的旧应答；pool：另一个池；static：固定应答；problem：503"}},
    {"pool", PS_M_CHARS, PS_AT(struct cfg_fallback, pool), .flags = PS_M_REQUIRED, .format = &ps_format_name, .when = 1 << CFG_FALLBACK_POOL, .example = "\"backup\"", .text = {"The other pool", "另一个池"}},
    CFG_STATIC_ROWS(struct cfg_fallback, fixed., 1 << CFG_FALLBACK_STATIC),
};
static const struct ps_table fallback_table = {.title = "fallback", .members = fallback_members, .count = PS_ARRAY_LEN(fallback_members), .size = sizeof(struct cfg_fallback), .has_tag = true, .tag_at = offsetof(struct cfg_fallback, kind), .check = check_fallback};
static const struct ps_member fallback_item = {"", PS_M_OBJECT, .size = sizeof(struct cfg_fallback), .table = &fallback_table};
/* clang-format on */

/* Can it be reached, and does it have what it needs? */
static void check_reached(struct ps_table_at *at, const struct cfg_route *route, size_t index)
{
    const struct cfg_fallback *fallback = &route->fallbacks[index];
    char kind[40], pool[40];

    (void)snprintf(kind, sizeof kind, "fallback/%zu/kind", index);
    (void)snprintf(pool, sizeof pool, "fallback/%zu/pool", index);
    if (fallback->kind == CFG_FALLBACK_STALE && route->cache.store[0] == '\0')
        ps_table_fault(at, kind, "stale needs a cache; the route has none");
    if (fallback->kind == CFG_FALLBACK_POOL && fallback->pool[0] != '\0' &&
        strcmp(fallback->pool, route->pool) == 0)
        ps_table_fault(at, pool, "is the route's own pool");
    for (size_t i = 0; i < index; i++) {
        const struct cfg_fallback *before = &route->fallbacks[i];
        if (before->kind >= CFG_FALLBACK_STATIC)
            ps_table_fault(at, kind, "is never reached: the %s before it always answers",
                           fallback_kinds[before->kind]);
        else if (before->kind != fallback->kind)
            continue;
        else if (fallback->kind == CFG_FALLBACK_STALE)
            ps_table_fault(at, kind, "appears twice");
        else if (strcmp(before->pool, fallback->pool) == 0)
            ps_table_fault(at, pool, "appears twice");
    }
}

/* --- Answering. --- */

static bool is_location(const char *text, size_t len)
{
    (void)len;
    return cfg_is_visible(text) && (text[0] == '/' || strncmp(text, "https://", 8) == 0 ||
                                    strncmp(text, "http://", 7) == 0);
}

static const struct ps_format location = {
    .rule = {"a path, or an address that begins with https:// or http://",
             "路径，或以 https://、http:// 开头的地址"},
    .is_ok = is_location};

static void check_redirect(struct ps_table_at *at, void *object)
{
    int status = ((const struct cfg_route *)object)->redirect.status;

    if (status > 303 && status < 307)
        ps_table_fault(at, "status", "must be one of: 301, 302, 303, 307, 308");
}

static void check_answer(struct ps_table_at *at, void *object)
{
    cfg_static_check(at, object);
}

/* clang-format off */
#define AT(field) PS_AT(struct cfg_route, field)
static const struct ps_member redirect_members[] = {
    {"status", PS_M_INT, AT(redirect.status), .min = 301, .max = 308, .fallback = "302", .text = {"301, 302, 303, 307 or 308", "301、302、303、307 或 308"}},
    {"location", PS_M_STRING, AT(redirect.location), .flags = PS_M_REQUIRED, .min = 1, .max = LOCATION_MAX, .format = &location, .example = "\"https://shop.example/soon\"", .text = {"Where the browser goes", "跳转目标"}},
};
static const struct ps_table redirect_table = {.title = "redirect", .members = redirect_members, .count = PS_ARRAY_LEN(redirect_members), .size = sizeof(struct cfg_route), .check = check_redirect};

static const struct ps_member answer_members[] = {
    CFG_STATIC_ROWS(struct cfg_static, , 0),
};
static const struct ps_table answer_table = {.title = "answer", .members = answer_members, .count = PS_ARRAY_LEN(answer_members), .size = sizeof(struct cfg_static), .check = check_answer};

static const struct ps_member mirror_members[] = {
    {"pool", PS_M_CHARS, AT(mirror.pool), .flags = PS_M_REQUIRED, .format = &ps_format_name, .example = "\"next\"", .text = {"Where the copies go; its answers are dropped", "副本发往的池；其应答被丢弃"}},
    {"share", PS_M_SHARE, AT(mirror.per_mille), .flags = PS_M_REQUIRED, .example = "0.01", .text = {"The share of GET requests that is copied", "复制的 GET 请求比例"}},
};
static const struct ps_table mirror_table = {.title = "mirroring", .members = mirror_members, .count = PS_ARRAY_LEN(mirror_members), .size = sizeof(struct cfg_route)};
/* clang-format on */

/* A route has exactly one of three; members about a pool need a pool. */
static void check_target(struct ps_table_at *at, const struct cfg_route *route)
{
    bool pool = ps_table_has(at, "pool");
    int count = pool + ps_table_has(at, "redirect") + ps_table_has(at, "answer");
    const struct {
        const char *member;
        bool is_there;
    } of_pools[] = {{"split", route->split_count > 0},
                    {"cache", ps_table_has(at, "cache")},
                    {"fallback", route->fallback_count > 0},
                    {"mirror", ps_table_has(at, "mirror")}};

    if (count != 1)
        ps_table_fault(at, "", "must have exactly one of pool, redirect and answer, not %s",
                       count == 0 ? "none" : "several");
    for (size_t i = 0; count == 1 && !pool && i < PS_ARRAY_LEN(of_pools); i++)
        if (of_pools[i].is_there)
            ps_table_fault(at, of_pools[i].member, "needs a pool; the route has none");
}

/* --- The kind. --- */

static void check_route(struct ps_table_at *at, void *object)
{
    const struct cfg_reading *reading = at->ctx;
    struct cfg_route *route = object;
    bool gets = (route->methods & CFG_GET_BIT) != 0;

    (void)snprintf(route->name, sizeof route->name, "%s", reading->name);
    spell_path(route->path);
    route->path_len = route->path != NULL ? strlen(route->path) : 0;
    for (char *c = route->host; c != NULL && *c != '\0'; c++)
        *c = (char)tolower((unsigned char)*c);
    check_path(at, route);
    cfg_splits_check(at, route);
    if ((route->body_methods & ~route->methods) != 0)
        ps_table_fault(at, "body_methods", "has a method that the route does not serve");
    if (route->first_byte_ms > route->total_ms)
        ps_table_fault(at, "first_byte_ms", "must be at most total_ms (%lld)",
                       (long long)route->total_ms);
    cfg_header_rules_check(at, "request_headers", &route->request_headers);
    cfg_header_rules_check(at, "response_headers", &route->response_headers);
    if (!gets && ps_table_has(at, "cache"))
        ps_table_fault(at, "cache", "needs GET, which the route does not serve");
    for (size_t i = 0; i < route->fallback_count; i++)
        check_reached(at, route, i);
    if (route->mirror.pool[0] != '\0' && strcmp(route->mirror.pool, route->pool) == 0)
        ps_table_fault(at, "mirror/pool", "is the route's own pool");
    if (!gets && ps_table_has(at, "mirror"))
        ps_table_fault(at, "mirror", "needs GET, which the route does not serve");
    check_target(at, route);
}

static const char *const matches[] = {"prefix", "exact", NULL};

/* As check_path, which says what is wrong; what depends on `match` is not in it. */
static const struct ps_format path_format = {
    .rule = {"a path as requests have it: percent-encoded, without a query, and without . and .. "
             "as segments",
             "请求中的路径：经百分号编码，不含查询串，且没有 . 和 .. 段"},
    .pattern = "^(?!/(v1|livez|readyz)(/|$))(?!.*/\\.\\.?(/|$))/"
               "([A-Za-z0-9\\-._~!$&'()*+,;=:@/]|%(?!00)[0-9A-Fa-f]{2})*$"};

/* clang-format off */
#define HEADERS(member, what, zh) \
    {#member ".set", PS_M_MAP, AT(member.set), .count_at = offsetof(struct cfg_route, member.set_count), .max = CFG_HEADER_RULES_MAX, .item = &cfg_header_set_item, .fallback = "{}", .example = "{\"X-Shop\":\"spring\"}", .text = {"Fields of " what " that are set; they replace existing ones", zh "中要设置的头字段，替换原值"}}, \
    {#member ".remove", PS_M_LIST, AT(member.remove), .count_at = offsetof(struct cfg_route, member.remove_count), .max = CFG_HEADER_RULES_MAX, .item = &cfg_header_remove_item, .fallback = "[]", .example = "[\"Cookie\"]", .text = {"Fields of " what " that are removed", zh "中要移除的头字段"}}
static const struct ps_member members[] = {
    {"host", PS_M_STRING, AT(host), .flags = PS_M_NULLABLE, .min = 1, .max = HOST_MAX_LEN, .format = &cfg_format_host, .example = "\"shop.example\"", .text = {"Serves requests for this host; null: for any host", "匹配的主机名；null：任意"}},
    {"path", PS_M_STRING, AT(path), .flags = PS_M_REQUIRED, .min = 1, .max = PATH_MAX_LEN, .format = &path_format, .example = "\"/p/\"", .text = {"Serves requests for this path; a prefix ends with a slash", "匹配的路径；前缀须以斜杠结尾"}},
    {"match", PS_M_ENUM, AT(exact), .words = matches, .fallback = "\"prefix\"", .text = {"prefix: every path that begins with it; exact: the path alone", "前缀匹配或精确匹配"}},
    {"methods", PS_M_SET, AT(methods), .words = method_names, .fallback = "[\"GET\",\"HEAD\"]", .text = {"Serves requests with these methods", "匹配的请求方法"}},
    {"class", PS_M_ENUM, AT(class), .words = cfg_route_class_names, .fallback = "\"normal\"", .text = {"How important it is: the ladder turns off extra first, core never", "重要程度：降级时先关闭 extra，core 从不关闭"}},
    {"pool", PS_M_CHARS, AT(pool), .flags = PS_M_NULLABLE, .format = &ps_format_name, .example = "\"web\"", .text = {"The pool that serves it; a route has exactly one of pool, redirect and answer", "处理请求的池；pool、redirect、answer 三者必居其一"}},
    {"split", PS_M_LIST, AT(splits), .count_at = offsetof(struct cfg_route, split_count), .max = CFG_SPLITS_MAX, .item = &cfg_split_item, .fallback = "[]", .example = "[{\"pool\":\"web2\",\"share\":0.05}]", .text = {"Shares of the requests that go to other pools", "分流到其他池的请求"}},
    {"first_byte_ms", PS_M_INT, AT(first_byte_ms), .min = 1, .max = DEADLINE_MAX, .unit = {"ms"}, .fallback = "1000", .text = {"An endpoint's answer must begin by then; at most total_ms", "端点须在此时限内开始应答；不超过 total_ms"}},
    {"total_ms", PS_M_INT, AT(total_ms), .min = 1, .max = 6 * DEADLINE_MAX, .unit = {"ms"}, .fallback = "10000", .text = {"The answer must be complete by then", "应答须在此时限内完成"}},
    {"body_max", PS_M_INT, AT(body_max), .min = 0, .max = (double)BODY_MAX, .unit = {"bytes", "字节"}, .fallback = "1048576", .text = {"The largest body of a request", "请求正文的最大长度"}},
    {"body_methods", PS_M_SET, AT(body_methods), .flags = PS_M_NULLABLE, .words = method_names, .example = "[\"DELETE\"]", .text = {"Methods whose requests may have a body, beside POST, PUT and PATCH. A body with another method is refused: a server that ignores it would take it for the next request. null: none", "除 POST、PUT、PATCH 之外，请求可以带正文的方法。其他方法带正文的请求被拒绝：忽略正文的服务器会把它当成下一个请求。null：没有"}},
    HEADERS(request_headers, "requests", "请求"),
    HEADERS(response_headers, "answers", "应答"),
    {"cache", PS_M_OBJECT, AT(cache), .flags = PS_M_NULLABLE, .table = &cache_table, .text = {"How answers are cached; null: not cached", "如何缓存应答；null：不缓存"}},
    {"fallback", PS_M_LIST, AT(fallbacks), .count_at = offsetof(struct cfg_route, fallback_count), .max = CFG_FALLBACKS_MAX, .item = &fallback_item, .fallback = "[]", .example = "[{\"kind\":\"stale\"}]", .text = {"What is answered when the pool cannot answer, tried in this order", "池不可用时返回什么，按顺序尝试"}},
    {"redirect", PS_M_OBJECT, .size = sizeof(struct cfg_route), .flags = PS_M_NULLABLE, .table = &redirect_table, .text = {"The gateway answers with a redirect", "网关直接返回跳转"}},
    {"answer", PS_M_OBJECT, AT(answer), .flags = PS_M_NULLABLE, .table = &answer_table, .text = {"The gateway answers with this itself", "网关直接返回固定应答"}},
    {"mirror", PS_M_OBJECT, .size = sizeof(struct cfg_route), .flags = PS_M_NULLABLE, .table = &mirror_table, .was = "shadow", .text = {"Copies of requests go to another pool", "将请求复制到另一个池"}},
    {"returned", PS_M_LIST, .flags = PS_M_LIVE, .text = {"Splits that were returned to the route's pool", "已自动收回的分流"}},
    {"figures", PS_M_FREE, .flags = PS_M_MEASURED, .text = {"Its requests and answers", "请求与应答的统计"}},
};
static const struct ps_group groups[] = {
    {"request_headers", {"Header fields of requests that the gateway changes before it asks the pool", "转发给池之前对请求头字段的修改"}},
    {"response_headers", {"Header fields of answers that the gateway changes before clients get them", "返回给客户端之前对应答头字段的修改"}},
    {0}};
/* clang-format on */
static const struct ps_table table = {.title = "route",
                                      .members = members,
                                      .count = PS_ARRAY_LEN(members),
                                      .size = sizeof(struct cfg_route),
                                      .groups = groups,
                                      .check = check_route};

static int route_state(void *parsed, const json_t *state, struct ps_faults *faults)
{
    return cfg_route_state_read(state, parsed, faults);
}

static void route_free(void *parsed)
{
    cfg_route_drop(parsed);
}

static json_t *write_state(const void *parsed)
{
    return cfg_route_state(parsed, NULL);
}

/* --- Among others. --- */

static void route_names(const void *parsed, cfg_named_fn *take, void *ctx)
{
    const struct cfg_route *route = parsed;
    char member[40];

    if (route->pool[0] != '\0')
        take(&cfg_kind_pool, route->pool, "/pool", ctx);
    for (size_t i = 0; i < route->split_count; i++) {
        (void)snprintf(member, sizeof member, "/split/%zu/pool", i);
        take(&cfg_kind_pool, route->splits[i].pool, member, ctx);
    }
    for (size_t i = 0; i < route->fallback_count; i++) {
        (void)snprintf(member, sizeof member, "/fallback/%zu/pool", i);
        if (route->fallbacks[i].kind == CFG_FALLBACK_POOL)
            take(&cfg_kind_pool, route->fallbacks[i].pool, member, ctx);
    }
    if (route->mirror.pool[0] != '\0')
        take(&cfg_kind_pool, route->mirror.pool, "/mirror/pool", ctx);
    if (route->cache.store[0] != '\0')
        take(&cfg_kind_cache, route->cache.store, "/cache/store", ctx);
}

/* True if requests can match both routes, and neither is the more specific. */
static bool route_clashes(const void *parsed, const void *other)
{
    const struct cfg_route *a = parsed, *b = other;
    bool same_host =
        a->host == NULL || b->host == NULL ? a->host == b->host : strcmp(a->host, b->host) == 0;

    return (a->methods & b->methods) != 0 && a->exact == b->exact && same_host &&
           strcmp(a->path, b->path) == 0;
}

const struct cfg_kind cfg_kind_route = {
    .path = "routes",
    .id = "route",
    .word = "route",
    .name_rule = "a route's name: [A-Za-z0-9][A-Za-z0-9._-]{0,63}",
    .listed = "routes",
    .lists_names = true,
    .put = "route.put",
    .drop = "route.delete",
    .max = CFG_ROUTES_MAX,
    .initial_state = "{\"returned\":[]}",
    .name = cfg_plain_name,
    .table = &table,
    .read_state = route_state,
    .free = route_free,
    .write_state = write_state,
    .names = route_names,
    .clashes = route_clashes,
    .clash_member = "/path",
    .clash_words = "is already served, with the same host and match and a common method, by "
                   "the route",
    .makes_up_table = true,
};
