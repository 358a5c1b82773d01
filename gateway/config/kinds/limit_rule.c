/* Limit rules as JSON. Every mistake is found here, with a pointer to it, so that
 * adm_limit_compile() can take any rule that was read. A member that an algorithm would ignore is a
 * fault. */
#include "gateway/config/kinds/limit_rule.h"

#include "common/program/log.h"
#include "gateway/config/kinds/formats.h"
#include "gateway/config/store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const algorithms[] = {"token_bucket", "leaky_bucket", "fixed_window",
                                         "sliding_window", NULL};
const char *const cfg_limit_keys[] = {"user", "ip", "global", "sale", NULL};
static const char *const modes[] = {"enforce", "shadow", "off", NULL};
/* In the order of the bits. */
static const char *const subjects[] = {"order", "order_state", "status", "page", NULL};

static bool is_window(enum cfg_limit_algorithm algorithm)
{
    return algorithm == CFG_LIMIT_FIXED_WINDOW || algorithm == CFG_LIMIT_SLIDING_WINDOW;
}

/* Pages belong to no sale, and only they have a route. */
static void check_targets(struct ps_table_at *at, const struct cfg_limit_rule *rule)
{
    bool pages = (rule->applies_to & CFG_LIMIT_PAGE) != 0;

    if (rule->route[0] != '\0' && rule->applies_to != CFG_LIMIT_PAGE)
        ps_table_fault(at, "applies_to", "must be page alone, or absent: the rule has a route");
    if (pages && rule->sale[0] != '\0')
        ps_table_fault(at, "sale", "must be null: pages belong to no sale");
    if (pages && rule->key == CFG_LIMIT_KEY_SALE)
        ps_table_fault(at, "key", "cannot be sale: pages belong to no sale");
}

/* Faults of figures, the rule's or its trial's; `lead` stands before the members' names. */
static void check_figures(struct ps_table_at *at, const char *lead, enum cfg_limit_algorithm of,
                          const struct cfg_limit_trial *figures)
{
    char burst[sizeof "trial/burst"];

    (void)snprintf(burst, sizeof burst, "%sburst", lead);
    if (is_window(of) && figures->burst != figures->rate)
        ps_table_fault(at, burst, "must be equal to rate or absent: %s has no burst",
                       algorithms[of]);
    if (figures->rate > 0 &&
        figures->burst * figures->period_s > CFG_LIMIT_REFILL_MAX_S * figures->rate)
        ps_table_fault(at, burst,
                       "would take more than a year to refill (burst * period_s / rate)");
}

/* Left out: what the algorithm makes of the rate. */
static int64_t usual_burst(enum cfg_limit_algorithm algorithm, int64_t rate)
{
    return algorithm == CFG_LIMIT_LEAKY_BUCKET ? 1 : rate;
}

static void check_rule(struct ps_table_at *at, void *object)
{
    const struct cfg_reading *reading = at->ctx;
    struct cfg_limit_rule *rule = object;

    (void)snprintf(rule->name, sizeof rule->name, "%s", reading->name);
    if (!ps_table_has(at, "burst"))
        rule->burst = usual_burst(rule->algorithm, rule->rate);
    if (rule->trial.rate > 0 && rule->trial.burst == 0)
        rule->trial.burst = usual_burst(rule->algorithm, rule->trial.rate);
    if (rule->route[0] != '\0' && !ps_table_has(at, "applies_to"))
        rule->applies_to = CFG_LIMIT_PAGE;
    check_figures(at, "", rule->algorithm,
                  &(struct cfg_limit_trial){rule->rate, rule->burst, rule->period_s});
    check_figures(at, "trial/", rule->algorithm, &rule->trial);
    if (rule->max_wait_ms > 0 && rule->algorithm != CFG_LIMIT_LEAKY_BUCKET)
        ps_table_fault(at, "max_wait_ms", "must be 0: only leaky_bucket lets requests wait");
    check_targets(at, rule);
}

void cfg_limit_with_trial(const struct cfg_limit_rule *rule, struct cfg_limit_rule *ret_rule)
{
    *ret_rule = *rule;
    ret_rule->rate = rule->trial.rate;
    ret_rule->burst = rule->trial.burst;
    ret_rule->period_s = rule->trial.period_s;
}

/* clang-format off */
#define TRIAL_AT(field) PS_AT(struct cfg_limit_trial, field)
static const struct ps_member trial_members[] = {
    {"rate", PS_M_INT, TRIAL_AT(rate), .flags = PS_M_REQUIRED, .min = 1, .max = CFG_LIMIT_RATE_MAX, .unit = {"requests", "个请求"}, .example = "2", .text = {"How many would pass in a period", "每个周期会放行的请求数"}},
    {"burst", PS_M_INT, TRIAL_AT(burst), .min = 1, .max = CFG_LIMIT_BURST_MAX, .unit = {"requests", "个请求"}, .example = "2", .text = {"How many might come at once; left out: as in the rule", "可同时到达的请求数；省略时与规则相同"}},
    {"period_s", PS_M_INT, TRIAL_AT(period_s), .flags = PS_M_REQUIRED, .min = 1, .max = CFG_LIMIT_PERIOD_MAX_S, .unit = {"s"}, .example = "1", .text = {"The period", "周期"}},
};
static const struct ps_table trial_table = {.title = "trial of a limit rule",
                                            .members = trial_members,
                                            .count = PS_ARRAY_LEN(trial_members),
                                            .size = sizeof(struct cfg_limit_trial)};

#define AT(field) PS_AT(struct cfg_limit_rule, field)
static const struct ps_member members[] = {
    {"algorithm", PS_M_ENUM, AT(algorithm), .flags = PS_M_REQUIRED, .words = algorithms, .example = "\"token_bucket\"", .text = {"How requests are counted", "计数算法"}},
    {"key", PS_M_ENUM, AT(key), .flags = PS_M_REQUIRED, .words = cfg_limit_keys, .example = "\"user\"", .text = {"What has a count of its own: each user, each address, everybody together, each sale", "分别计数的对象：每个用户、每个地址、全体、每个活动"}},
    {"rate", PS_M_INT, AT(rate), .flags = PS_M_REQUIRED, .min = 1, .max = CFG_LIMIT_RATE_MAX, .unit = {"requests", "个请求"}, .example = "5", .text = {"How many pass in a period", "每个周期放行的请求数"}},
    {"period_s", PS_M_INT, AT(period_s), .flags = PS_M_REQUIRED, .min = 1, .max = CFG_LIMIT_PERIOD_MAX_S, .unit = {"s"}, .example = "10", .text = {"The period", "周期"}},
    {"burst", PS_M_INT, AT(burst), .min = 1, .max = CFG_LIMIT_BURST_MAX, .unit = {"requests", "个请求"}, .example = "5", .text = {"How many may come at once. Default: rate for a token bucket, 1 for a leaky bucket; windows have no burst", "可同时到达的请求数；省略时：令牌桶为 rate，漏桶为 1；窗口算法没有该项"}},
    {"max_wait_ms", PS_M_INT, AT(max_wait_ms), .min = 0, .max = CFG_LIMIT_WAIT_MAX_MS, .unit = {"ms"}, .fallback = "0", .text = {"How long a leaky bucket holds a request that comes too soon before it refuses it", "漏桶对过早到达的请求的最长等待，超过才拒绝"}},
    {"mode", PS_M_ENUM, AT(mode), .words = modes, .fallback = "\"enforce\"", .text = {"enforce refuses, shadow only counts, off does nothing", "enforce 执行；shadow 只计数；off 关闭"}},
    {"applies_to", PS_M_SET, AT(applies_to), .words = subjects, .fallback = "[\"order\"]", .text = {"Which requests are counted. Default: order, or page for a rule with a route", "计入哪些请求；省略时为 order，有 route 时为 page"}},
    {"sale", PS_M_CHARS, AT(sale), .flags = PS_M_NULLABLE, .format = &ps_format_name, .example = "\"spring\"", .text = {"Counts only requests for this sale; null: for every sale", "仅限该活动；null：所有活动"}},
    {"allow_unknown", PS_M_BOOL, AT(allow_unknown), .flags = PS_M_OMIT, .fallback = "false", .text = {"The sale may be one that does not exist yet", "允许活动尚不存在"}},
    {"route", PS_M_CHARS, AT(route), .flags = PS_M_NULLABLE, .format = &ps_format_name, .example = "\"product\"", .text = {"Counts only requests of this route; null: of every route", "仅限该路由；null：所有路由"}},
    {"trial", PS_M_OBJECT, AT(trial), .flags = PS_M_NULLABLE | PS_M_OMIT, .table = &trial_table, .text = {"Figures on trial: requests that they would refuse are counted; the rule itself is unchanged; null: none", "试行的另一组数值：只统计它会拒绝多少请求，规则本身照旧；null：无"}},
};
/* clang-format on */
static const char *const dropped[] = {"ticket", NULL};
static const struct ps_table table = {.title = "limit rule",
                                      .members = members,
                                      .count = PS_ARRAY_LEN(members),
                                      .size = sizeof(struct cfg_limit_rule),
                                      .dropped = dropped,
                                      .check = check_rule};

/* --- The kind. --- */

/* Shipped rules, for a shop that has none of its own. */
static const struct cfg_shipped shipped[] = {
    {"user", "{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":5,\"period_s\":10,"
             "\"burst\":5,\"applies_to\":[\"order\"]}"},
    {"ip", "{\"algorithm\":\"token_bucket\",\"key\":\"ip\",\"rate\":50,\"period_s\":10,"
           "\"burst\":100,\"applies_to\":[\"order\"]}"},
    {"global", "{\"algorithm\":\"token_bucket\",\"key\":\"global\",\"rate\":20000,"
               "\"period_s\":1,\"burst\":20000,\"applies_to\":[\"order\"]}"},
    {"polling", "{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":1,"
                "\"period_s\":1,\"burst\":5,\"applies_to\":[\"order_state\"]}"},
    /* Many visitors behind one address may poll each second. A client that only polls at this rate
     * costs half a percent of a core. */
    {"status", "{\"algorithm\":\"token_bucket\",\"key\":\"ip\",\"rate\":5000,\"period_s\":10,"
               "\"burst\":5000,\"applies_to\":[\"status\"]}"},
    {NULL, NULL},
};

/* The sale may be created later, or its name may be mistyped. */
static void rule_changed(const struct cfg_store *store, const struct cfg_doc *doc)
{
    const struct cfg_limit_rule *rule = doc->parsed;

    if (rule != NULL && rule->sale[0] != '\0' &&
        cfg_store_find(store, &cfg_kind_sale, rule->sale) == NULL)
        ps_log(PS_LOG_WARN, "limit_without_sale", PS_F_STR("rule", rule->name),
               PS_F_STR("sale", rule->sale));
}

static void rule_names(const void *parsed, cfg_named_fn *take, void *ctx)
{
    const struct cfg_limit_rule *rule = parsed;

    if (rule->route[0] != '\0')
        take(&cfg_kind_route, rule->route, "/route", ctx);
    if (rule->sale[0] != '\0' && !rule->allow_unknown)
        take(&cfg_kind_sale, rule->sale, "/sale", ctx);
}

const struct cfg_kind cfg_kind_limit = {
    .path = "limits",
    .id = "limit",
    .word = "limit rule",
    .name_rule = "a rule's name: [A-Za-z0-9][A-Za-z0-9._-]{0,63}",
    .listed = "limits",
    .lists_names = true,
    .put = "limit.put",
    .drop = "limit.delete",
    .shipped = shipped,
    .instead = "set its mode to \"off\"",
    .max = CFG_RULES_MAX,
    .name = cfg_plain_name,
    .table = &table,
    .names = rule_names,
    .changed = rule_changed,
};
