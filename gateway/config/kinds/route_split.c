/* See route_parts.h. */
#include "gateway/config/kinds/route_parts.h"

#include <stdlib.h>
#include <string.h>

#define NAME_MAX_LEN 64 /* of a header, a cookie */
#define WINDOW_MAX_S 3600

/* "cookie:NAME", "header:NAME=VALUE" */
static bool read_by(struct ps_table_at *at, const char *place, const json_t *value, void *object)
{
    struct cfg_split *split = object;
    const char *by = json_string_value(value);

    (void)place;
    if (by == NULL || strlen(by) > CFG_VALUE_MAX)
        return false;
    split->by = strcmp(by, "request") == 0 ? CFG_SPLIT_REQUEST : CFG_SPLIT_USER;
    if (strcmp(by, "user") == 0 || split->by == CFG_SPLIT_REQUEST)
        return true;
    bool header = strncmp(by, "header:", 7) == 0, cookie = strncmp(by, "cookie:", 7) == 0;
    if (!header && !cookie)
        return false;
    const char *name = by + 7;
    size_t len = header ? strcspn(name, "=") : strlen(name);
    const char *is = header && name[len] == '=' ? name + len + 1 : "";
    if (len > NAME_MAX_LEN || !ps_http_is_token((struct ps_str){name, len}) ||
        (header && (is[0] == '\0' || !cfg_is_field_value(is))))
        return false;
    split->by = header ? CFG_SPLIT_HEADER : CFG_SPLIT_COOKIE;
    split->name = strndup(name, len);
    split->value = header ? strdup(is) : NULL;
    if (split->name == NULL || (header && split->value == NULL))
        ps_table_no_memory(at);
    return true;
}

static json_t *print_by(const void *object)
{
    const struct cfg_split *split = object;

    switch (split->by) {
    case CFG_SPLIT_COOKIE:
        return json_sprintf("cookie:%s", split->name);
    case CFG_SPLIT_HEADER:
        return json_sprintf("header:%s=%s", split->name, split->value);
    default:
        return json_string(split->by == CFG_SPLIT_USER ? "user" : "request");
    }
}

static void free_by(void *object)
{
    struct cfg_split *split = object;

    free(split->name);
    free(split->value);
    json_decref(split->returned);
    split->name = split->value = NULL;
    split->returned = NULL;
}

static const struct ps_own by = {
    .rule = {"user, request, cookie:NAME or header:NAME=VALUE",
             "user、request、cookie:NAME 或 header:NAME=VALUE"},
    .schema = "{\"type\":\"string\",\"pattern\":\"^(user|request|cookie:.+|header:[^=]+=.+)$\"}",
    .read = read_by,
    .print = print_by,
    .free = free_by};

static void check_return(struct ps_table_at *at, void *object)
{
    const struct cfg_split *split = object;

    if (split->back.p99_above > 0 && split->back.p99_above < 1)
        ps_table_fault(at, "p99_above",
                       "must be at least 1 (times that of the route's pool), or 0: not judged");
    if (split->back.errors_above <= 0 && split->back.p99_above <= 0)
        ps_table_fault(at, "", "must have errors_above or p99_above above 0");
}

/* clang-format off */
#define AT(field) PS_AT(struct cfg_split, field)
static const struct ps_member return_members[] = {
    {"errors_above", PS_M_NUMBER, AT(back.errors_above), .max = 1, .fallback = "0", .example = "0.02", .text = {"Share of errors beyond that of the route's pool; 0: not judged", "错误率超出路由所属池的幅度；0：不判断"}},
    {"p99_above", PS_M_NUMBER, AT(back.p99_above), .max = 1000, .fallback = "0", .example = "1.5", .text = {"99th percentile of the latency, times that of the route's pool; 0: not judged", "延迟 99 分位为路由所属池的多少倍；0：不判断"}},
    {"window_s", PS_M_INT, AT(back.window_s), .min = 1, .max = WINDOW_MAX_S, .unit = {"s"}, .fallback = "30", .text = {"Over this time", "统计时长"}},
};
static const struct ps_table return_table = {.title = "return", .members = return_members, .count = PS_ARRAY_LEN(return_members), .size = sizeof(struct cfg_split), .check = check_return};

static const struct ps_member members[] = {
    {"pool", PS_M_CHARS, AT(pool), .flags = PS_M_REQUIRED, .format = &ps_format_name, .example = "\"web2\"", .text = {"The pool that gets the share", "目标池"}},
    {"share", PS_M_SHARE, AT(per_mille), .flags = PS_M_REQUIRED, .example = "0.05", .text = {"The share of users, cookies or requests", "用户、cookie 或请求的比例"}},
    {"by", PS_M_OWN, .own = &by, .fallback = "\"user\"", .text = {"What the share counts: users, requests, or values of a cookie; with header:NAME=VALUE, requests that have this header", "按什么划分比例；header:NAME=VALUE 时指带该头的请求"}},
    {"return", PS_M_OBJECT, .size = sizeof(struct cfg_split), .flags = PS_M_NULLABLE, .table = &return_table, .example = "{\"errors_above\":0.02}", .text = {"When the gateway returns the split to the route's pool; null: never", "何时自动收回分流；null：从不"}},
};
static const struct ps_table table = {.title = "split", .members = members, .count = PS_ARRAY_LEN(members), .size = sizeof(struct cfg_split)};
/* clang-format on */
const struct ps_member cfg_split_item = {"", PS_M_OBJECT, .size = sizeof(struct cfg_split),
                                         .table = &table};

void cfg_splits_check(struct ps_table_at *at, const struct cfg_route *route)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < route->split_count; i++)
        if (route->splits[i].by !=
            CFG_SPLIT_HEADER) /* its share counts only requests with the header */
            sum += route->splits[i].per_mille;
    if (sum > 1000)
        ps_table_fault(at, "split", "has shares that add up to %g, more than 1", sum / 1000.0);
}

json_t *cfg_split_write(const struct cfg_split *split)
{
    return ps_table_print(&table, split);
}
