/* See override.h. */
#include "gateway/config/kinds/override.h"

#include "common/clock.h"
#include "common/program/log.h"
#include "gateway/config/kinds/feature_doc.h"
#include "gateway/config/kinds/limit_rule.h"
#include "gateway/config/kinds/overload_doc.h"
#include "gateway/config/kinds/pool_doc.h"
#include "gateway/config/kinds/route_doc.h"
#include "gateway/config/store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const cfg_override_kinds[] = {"level",    "feature", "breaker", "flow",
                                          "fallback", "split",   "limit",   NULL};

/* The row of the value, by kind. */
#define VALUE(member_type) .name = "value", .type = (member_type), PS_AT(struct cfg_override, value)
#define WORDS(...)                                                                                 \
    VALUE(PS_M_ENUM), .words = (const char *const[])                                               \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }
static const struct ps_member values[CFG_OVERRIDE_KINDS] = {
    [CFG_OVERRIDE_LEVEL] = {VALUE(PS_M_INT), .max = CFG_LEVEL_MAX},
    [CFG_OVERRIDE_FEATURE] = {WORDS("off", "on")},
    [CFG_OVERRIDE_BREAKER] = {WORDS("open", "closed")},
    [CFG_OVERRIDE_FLOW] = {VALUE(PS_M_INT), .min = 1, .max = CFG_FLOW_MAX},
    [CFG_OVERRIDE_FALLBACK] = {WORDS("on")},
    [CFG_OVERRIDE_SPLIT] = {VALUE(PS_M_SHARE), .max = 1},
    [CFG_OVERRIDE_LIMIT] = {WORDS("enforce", "shadow", "off")},
};

/* --- Targets and names. --- */

/* Visible ASCII, and no character that separates a target from a gateway or segments of a path. */
static bool is_plain(const char *text)
{
    for (; *text != '\0'; text++)
        if (*text <= ' ' || *text > '~' || *text == '@' || *text == '/')
            return false;
    return true;
}

int cfg_target_read(const char *text, struct cfg_override *ret_override)
{
    const char *colon = strchr(text, ':');
    size_t len = colon != NULL ? (size_t)(colon - text) : strlen(text), all = strlen(text);
    struct cfg_override override = {.kind = 0};

    while (override.kind < CFG_OVERRIDE_KINDS &&
           !ps_str_is((struct ps_str){text, len}, cfg_override_kinds[override.kind]))
        override.kind++;
    bool has_rest = colon != NULL && colon[1] != '\0';
    if (override.kind == CFG_OVERRIDE_KINDS || all > CFG_TARGET_MAX || !is_plain(text) ||
        (override.kind == CFG_OVERRIDE_LEVEL ? colon != NULL : !has_rest))
        return PS_E_INVALID;
    memcpy(override.target, text, all + 1);
    override.at = has_rest ? len + 1 : all;
    *ret_override = override;
    return 0;
}

void cfg_override_name(const struct cfg_override *override, char ret_name[CFG_NAME_MAX + 1])
{
    bool own = override->gateway[0] != '\0';

    (void)snprintf(ret_name, CFG_NAME_MAX + 1, "%s%s%s", override->target, own ? "@" : "",
                   override->gateway);
}

/* Target and gateway of a document's name. */
static int read_name(const char *name, struct cfg_override *ret_override)
{
    const char *at = strchr(name, '@');
    size_t len = at != NULL ? (size_t)(at - name) : strlen(name);
    char target[CFG_NAME_MAX + 1];

    if (at != NULL && !ps_name_ok(at + 1, strlen(at + 1)))
        return PS_E_INVALID;
    memcpy(target, name, len);
    target[len] = '\0';
    int err = cfg_target_read(target, ret_override);
    if (err == 0 && at != NULL)
        memcpy(ret_override->gateway, at + 1, strlen(at + 1) + 1);
    return err;
}

static int override_name(const char *text, size_t len, char ret_name[CFG_NAME_MAX + 1])
{
    struct cfg_override override;

    if (len > CFG_NAME_MAX || memchr(text, '\0', len) != NULL)
        return PS_E_INVALID;
    memcpy(ret_name, text, len);
    ret_name[len] = '\0';
    return read_name(ret_name, &override);
}

/* --- Documents. --- */

/* The value, by the kind that the document's name gives. */
static bool read_value(struct ps_table_at *at, const char *place, const json_t *value, void *object)
{
    const struct cfg_reading *reading = at->ctx;
    struct cfg_override named;

    if (read_name(reading->name, &named) < 0)
        return false;
    ps_table_read_value(at, place, &values[named.kind], value, object);
    return true;
}

json_t *cfg_override_value_json(enum cfg_override_kind kind, int value)
{
    return ps_table_print_member(&values[kind], &(struct cfg_override){.value = value});
}

static json_t *print_value(const void *object)
{
    const struct cfg_override *override = object;

    return cfg_override_value_json(override->kind, override->value);
}

static const struct ps_own value = {
    .rule = {"a value of the target", "该目标的值"},
    .schema = "{\"type\":[\"string\",\"number\"]}",
    .read = read_value,
    .print = print_value,
};

/* Checks the end, which is given in one of two ways, and fills in what the name gives. */
static void check(struct ps_table_at *at, void *object)
{
    const struct cfg_reading *reading = at->ctx;
    struct cfg_override *override = object, named;
    bool has_ttl = ps_table_has(at, "ttl_s"), has_until = ps_table_has(at, "until");

    if (has_ttl == has_until)
        ps_table_fault(at, has_ttl ? "until" : "ttl_s",
                       has_ttl ? "must be absent beside ttl_s: give one of the two"
                               : "is missing: give the seconds, or until");
    else if (has_ttl)
        override->until_ms = reading->now_ms + override->ttl_s * 1000;
    else if (reading->now_ms > 0 &&
             (override->until_ms <= reading->now_ms ||
              override->until_ms > reading->now_ms + CFG_OVERRIDE_TTL_MAX_S * 1000))
        ps_table_fault(at, "until", "must be in the future, at most a week from now");
    if (read_name(reading->name, &named) < 0)
        return;
    override->kind = named.kind;
    memcpy(override->target, named.target, sizeof override->target);
    override->at = named.at;
    if (named.gateway[0] != '\0')
        memcpy(override->gateway, named.gateway, sizeof override->gateway);
}

/* clang-format off */
#define AT(field) PS_AT(struct cfg_override, field)
static const struct ps_member members[] = {
    {"value", PS_M_OWN, .flags = PS_M_REQUIRED, .own = &value, .example = "\"on\"", .text = {"The value in force meanwhile. level: a number; feature: on or off; breaker: open or closed; flow: a number; fallback: on; split: a share; limit: a mode", "期间生效的值：level 为数字，feature 为 on 或 off，breaker 为 open 或 closed，flow 为数字，fallback 为 on，split 为比例，limit 为模式"}},
    {"until", PS_M_TIME, AT(until_ms), .text = {"When it ends by itself", "自动结束的时间"}},
    {"ttl_s", PS_M_INT, AT(ttl_s), .flags = PS_M_INPUT, .min = 1, .max = CFG_OVERRIDE_TTL_MAX_S, .unit = {"s"}, .example = "600", .text = {"Instead of until: seconds from now", "代替 until：持续多久"}},
    {"run", PS_M_CHARS, AT(run), .flags = PS_M_OMIT, .format = &ps_format_name, .text = {"The run of a plan that has set it", "由哪个预案运行设置"}},
    {"gateway", PS_M_CHARS, AT(gateway), .flags = PS_M_INPUT | PS_M_NULLABLE, .format = &ps_format_name, .text = {"The one gateway where it is in force; null: all gateways", "仅在该网关生效；null：全部网关"}},
    {"reason", PS_M_STRING, AT(reason), .flags = PS_M_INPUT | PS_M_NULLABLE, .max = CFG_REASON_MAX, .format = &ps_format_text, .text = {"Why, for the audit log", "修改原因，记入审计日志"}},
};
/* clang-format on */
static const struct ps_table table = {.title = "override",
                                      .members = members,
                                      .count = PS_ARRAY_LEN(members),
                                      .size = sizeof(struct cfg_override),
                                      .check = check};

int cfg_override_ask(const json_t *json, int64_t now_ms, struct cfg_override *override,
                     struct ps_faults *faults)
{
    char target[CFG_TARGET_MAX + 1];
    struct cfg_reading reading = {.pointer = "", .now_ms = now_ms, .name = target};

    memcpy(target, override->target, sizeof target);
    *override = (struct cfg_override){.kind = 0};
    const struct ps_table_source source = {.json = json, .pointer = "", .ctx = &reading};
    int err = ps_table_read(&table, &source, override, faults);
    if (json_object_get(json, "run") != NULL)
        err = ps_faults_add(faults, PS_E_INVALID, "/run", "is read-only: remove it");
    free(override->reason); /* the caller keeps a copy */
    override->reason = NULL;
    return err;
}

/* --- The step of a plan. --- */

static bool read_step_value(struct ps_table_at *at, const char *place, const json_t *json,
                            void *object)
{
    const char *target = json_string_value(json_object_get(at->json, "target"));
    struct cfg_override named;

    if (target == NULL || cfg_target_read(target, &named) < 0)
        return true; /* check_step says so */
    ps_table_read_value(at, place, &values[named.kind], json, object);
    return true;
}

static const struct ps_own step_value = {
    .rule = {"a value of the target", "该目标的值"},
    .schema = "{\"type\":[\"string\",\"number\"]}",
    .read = read_step_value,
    .print = print_value,
};

static void check_step(struct ps_table_at *at, void *object)
{
    struct cfg_override *override = object, named;
    const char *of;

    if (override->target[0] == '\0' || cfg_target_read(override->target, &named) < 0) {
        ps_table_fault(at, "target", "must be %s", cfg_kind_override.name_rule);
        return;
    }
    override->kind = named.kind;
    override->at = named.at;
    of = cfg_override_rest(override);
    if (named.kind == CFG_OVERRIDE_FEATURE && cfg_feature_find(of) == CFG_FEATURE_COUNT)
        ps_table_fault(at, "target", "must be %s", cfg_kind_feature.name_rule);
    if (named.kind == CFG_OVERRIDE_FLOW && strcmp(of, "log") != 0 && strcmp(of, "store") != 0)
        ps_table_fault(at, "target", "must be flow:log or flow:store");
}

/* clang-format off */
static const struct ps_member step_members[] = {
    {"target", PS_M_CHARS, AT(target), .flags = PS_M_REQUIRED, .example = "\"level\"", .text = {"What is overridden: level, feature:NAME, breaker:NAME, flow:TARGET, fallback:ROUTE, split:ROUTE:POOL or limit:RULE", "覆盖的目标：level、feature:NAME、breaker:NAME、flow:TARGET、fallback:ROUTE、split:ROUTE:POOL 或 limit:RULE"}},
    {"value", PS_M_OWN, .flags = PS_M_REQUIRED, .own = &step_value, .example = "2", .text = {"What holds meanwhile", "期间生效的值"}},
    {"gateway", PS_M_CHARS, AT(gateway), .flags = PS_M_NULLABLE | PS_M_OMIT, .format = &ps_format_name, .text = {"The one gateway where it holds; null: every one", "仅在该网关生效；null：全部网关"}},
};
/* clang-format on */
const struct ps_table cfg_override_step_table = {.title = "override",
                                                 .members = step_members,
                                                 .count = PS_ARRAY_LEN(step_members),
                                                 .size = sizeof(struct cfg_override),
                                                 .check = check_step};

json_t *cfg_override_write(const struct cfg_override *override)
{
    return ps_table_print(&table, override);
}

static const char *override_ended(const void *parsed)
{
    (void)parsed;
    return "override.expire";
}

/* --- The target.  --- */

/* True if `of` is the name, or begins with the name and a colon. */
static bool begins_with(const char *of, const char *name)
{
    size_t len = strlen(name);

    return strncmp(of, name, len) == 0 && (of[len] == '\0' || of[len] == ':');
}

static bool has_split(const struct cfg_route *route, const char *pool)
{
    for (size_t i = 0; i < route->split_count; i++)
        if (strcmp(route->splits[i].pool, pool) == 0)
            return true;
    return false;
}

/* True if the pool (NULL: it is deleted) has no endpoint of this address and no discovery that
 * could find one. */
static bool lacks(const struct cfg_pool *pool, const char *address)
{
    for (size_t i = 0; pool != NULL && i < pool->endpoint_count; i++)
        if (strcmp(pool->endpoints[i].address, address) == 0)
            return false;
    return pool == NULL || pool->discovery.by == CFG_DISCOVERY_NONE;
}

/* True if the change that brings `to` removes the breaker: its pool, or the endpoint of
 * "endpoint:POOL:ADDRESS". */
static bool breaker_falls(const char *breaker, const struct cfg_doc *to)
{
    static const char of_endpoint[] = "endpoint:";
    const char *colon = strchr(breaker, ':');

    if (to->kind != &cfg_kind_pool || colon == NULL || !begins_with(colon + 1, to->name))
        return false;
    if (strncmp(breaker, of_endpoint, sizeof of_endpoint - 1) != 0)
        return to->parsed == NULL;
    const char *address = colon + 1 + strlen(to->name);
    return *address == ':' && lacks(to->parsed != NULL ? cfg_pool_of(to) : NULL, address + 1);
}

/* True if the change that brings `to` removes the target of the override. */
static bool override_falls(const void *parsed, const struct cfg_doc *to)
{
    const struct cfg_override *override = parsed;
    const char *of = cfg_override_rest(override), *colon = strchr(of, ':');

    switch (override->kind) {
    case CFG_OVERRIDE_FALLBACK:
        return to->kind == &cfg_kind_route && strcmp(of, to->name) == 0 &&
               (to->parsed == NULL || cfg_route_of(to)->fallback_count == 0);
    case CFG_OVERRIDE_SPLIT:
        return to->kind == &cfg_kind_route && begins_with(of, to->name) && colon != NULL &&
               (to->parsed == NULL || !has_split(cfg_route_of(to), colon + 1));
    case CFG_OVERRIDE_LIMIT:
        return to->kind == &cfg_kind_limit && to->parsed == NULL && strcmp(of, to->name) == 0;
    case CFG_OVERRIDE_BREAKER:
        return breaker_falls(of, to);
    default:
        return false;
    }
}

static void override_in_force(const struct cfg_doc *from, const struct cfg_doc *to)
{
    if (from == NULL || from->parsed == NULL || (to != NULL && to->parsed != NULL))
        return;
    ps_log(PS_LOG_INFO, "override_ended", PS_F_STR("target", cfg_override_of(from)->target),
           PS_F_STR("gateway", cfg_override_of(from)->gateway),
           PS_F_STR("cause", to == NULL ? "ttl" : to->by.action), PS_F_STR("who", from->by.who));
}

const struct cfg_kind cfg_kind_override = {
    .path = "overrides",
    .word = "override",
    .name_rule = "a target: level, feature:NAME, breaker:NAME, flow:TARGET, fallback:ROUTE, "
                 "split:ROUTE:POOL or limit:RULE",
    .listed = "overrides",
    .put = "override.put",
    .drop = "override.delete",
    .max = CFG_OVERRIDES_MAX,
    .is_private = true,
    .has_no_history = true,
    .makes_up_table = true,
    .ends_at_once = true,
    .name = override_name,
    .table = &table,
    .ends = true,
    .until_at = offsetof(struct cfg_override, until_ms),
    .ended = override_ended,
    .falls = override_falls,
    .in_force = override_in_force,
};

/* --- Finding. --- */

const struct cfg_doc *cfg_override_find(const struct cfg_store *store, enum cfg_override_kind kind,
                                        const char *of)
{
    const struct cfg_doc *doc = NULL;
    char name[CFG_NAME_MAX + 1];

    if (cfg_store_count(store, &cfg_kind_override) == 0)
        return NULL;
    const struct cfg_bounds *bounds = cfg_store_bounds(store);
    int len = snprintf(name, sizeof name, "%s%s%s", cfg_override_kinds[kind], of != NULL ? ":" : "",
                       of != NULL ? of : "");
    if (len > CFG_TARGET_MAX)
        return NULL;
    if (bounds != NULL && bounds->gateway != NULL) {
        (void)snprintf(name + len, sizeof name - (size_t)len, "@%s", bounds->gateway);
        doc = cfg_store_find(store, &cfg_kind_override, name);
        name[len] = '\0';
    }
    return doc != NULL ? doc : cfg_store_find(store, &cfg_kind_override, name);
}

int cfg_overridden(const struct cfg_store *store, enum cfg_override_kind kind, const char *of,
                   int otherwise)
{
    const struct cfg_doc *doc = cfg_override_find(store, kind, of);

    return doc != NULL ? cfg_override_of(doc)->value : otherwise;
}
