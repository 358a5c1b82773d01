/* Overrides: values that operators have set for a time; the list shows everything that is not
 * normal. They are documents of the private kind `overrides` (config/kinds/override.h); this file
 * lists the targets of this gateway, and the values that hold without an override. */
#include "common/grow.h"
#include "gateway/admin/documents.h"
#include "gateway/admin/ladder.h"
#include "gateway/admin/parts.h"
#include "gateway/cluster/cluster.h"
#include "gateway/config/kinds/limit_rule.h"
#include "gateway/config/kinds/override.h"
#include "gateway/config/kinds/route_doc.h"
#include "gateway/orders/flow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OBEY_WAIT_MS 2000 /* how long an answer waits for all circuits of a breaker */

/* --- Targets. --- */

/* All targets of this gateway; NULL-terminated. */
struct targets {
    char **at;
    size_t count, room;
    bool no_memory;
};

static void add_target(struct targets *targets, enum cfg_override_kind kind, const char *of,
                       const char *pool)
{
    char *text = NULL;

    if (ps_grow(&targets->at, &targets->room, targets->count + 2, sizeof *targets->at) < 0 ||
        asprintf(&text, "%s%s%s%s%s", cfg_override_kinds[kind], of[0] != '\0' ? ":" : "", of,
                 pool[0] != '\0' ? ":" : "", pool) < 0) {
        targets->no_memory = true;
        return;
    }
    targets->at[targets->count++] = text;
    targets->at[targets->count] = NULL;
}

static void list_targets(const struct op_deps *deps, struct targets *ret_targets)
{
    const struct adm_breaker *breaker;
    const struct cfg_doc *doc = NULL;
    struct ord_flow_view view;

    *ret_targets = (struct targets){0};
    add_target(ret_targets, CFG_OVERRIDE_LEVEL, "", "");
    for (enum cfg_feature i = 0; i < CFG_FEATURE_COUNT; i++)
        add_target(ret_targets, CFG_OVERRIDE_FEATURE, cfg_feature_names[i], "");
    for (size_t i = 0; (breaker = adm_breakers_at(deps->breakers, i)) != NULL; i++)
        add_target(ret_targets, CFG_OVERRIDE_BREAKER, breaker->source.name, "");
    for (enum gw_flow i = 0; i < GW_FLOW_COUNT; i++)
        if (ord_flow_view(deps->flow, i, &view))
            add_target(ret_targets, CFG_OVERRIDE_FLOW, gw_flow_names[i], "");
    while ((doc = cfg_store_next(deps->config, &cfg_kind_route, doc)) != NULL) {
        const struct cfg_route *route = cfg_route_of(doc);
        add_target(ret_targets, CFG_OVERRIDE_FALLBACK, route->name, "");
        for (size_t i = 0; i < route->split_count; i++)
            add_target(ret_targets, CFG_OVERRIDE_SPLIT, route->name, route->splits[i].pool);
    }
    while ((doc = cfg_store_next(deps->config, &cfg_kind_limit, doc)) != NULL)
        add_target(ret_targets, CFG_OVERRIDE_LIMIT, doc->name, "");
}

static void free_targets(struct targets *targets)
{
    for (size_t i = 0; i < targets->count; i++)
        free(targets->at[i]);
    free(targets->at);
}

static size_t count_targets(const struct targets *targets, const char *text)
{
    size_t count = 0;

    for (size_t i = 0; i < targets->count; i++)
        count += strcmp(targets->at[i], text) == 0;
    return count;
}

/* Reads the target of the path; whether it exists is not checked. False: malformed. */
static bool parse_target(const struct op_request *request, struct cfg_override *ret_override)
{
    char text[CFG_TARGET_MAX + 1];
    size_t len;

    return op_decode(request->arg[0], text, sizeof text, &len) == 0 &&
           cfg_target_read(text, ret_override) == 0;
}

/* The same, and checks that it exists. False: answered. */
static bool read_target(struct op_request *request, struct cfg_override *ret_override)
{
    char text[CFG_TARGET_MAX + 1];
    const char *near = NULL;
    struct targets targets;
    size_t len, known = 0;

    list_targets(&request->admin->deps, &targets);
    if (!targets.no_memory && op_decode(request->arg[0], text, sizeof text, &len) == 0) {
        known = count_targets(&targets, text);
        near = ps_nearest_word(text, (const char *const *)targets.at);
    }
    bool read = known == 1 && cfg_target_read(text, ret_override) == 0;
    if (targets.no_memory)
        op_no(request, ANS_V_internal, "out of memory");
    else if (known > 1)
        op_no(request, ANS_V_conflict,
              "the route has several splits to that pool: change its document instead");
    else if (!read && near == NULL)
        op_no(request, ANS_V_not_found, "unknown target; it must be %s",
              cfg_kind_override.name_rule);
    else if (!read)
        op_no(request, ANS_V_not_found, "unknown target; did you mean \"%s\"?; it must be %s", near,
              cfg_kind_override.name_rule);
    free_targets(&targets);
    return read;
}

/* --- Showing. --- */

/* Does it apply to this gateway? */
static bool is_of_here(const struct op_deps *deps, const struct cfg_override *override)
{
    return override->gateway[0] == '\0' || strcmp(override->gateway, deps->gateway_id) == 0;
}

static const struct cfg_route *find_route(const struct op_deps *deps, const char *name, size_t len)
{
    char text[PS_NAME_MAX + 1];

    if (len > PS_NAME_MAX)
        return NULL;
    memcpy(text, name, len);
    text[len] = '\0';
    const struct cfg_doc *doc = cfg_store_find(deps->config, &cfg_kind_route, text);
    return doc != NULL ? cfg_route_of(doc) : NULL;
}

/* The split that "ROUTE:POOL" names, and its route. NULL: it no longer exists. */
static const struct cfg_split *find_split(const struct op_deps *deps, const char *of,
                                          const struct cfg_route **ret_route)
{
    size_t len = strcspn(of, ":");

    *ret_route = find_route(deps, of, len);
    for (size_t i = 0; *ret_route != NULL && i < (*ret_route)->split_count; i++)
        if (of[len] == ':' && strcmp((*ret_route)->splits[i].pool, of + len + 1) == 0)
            return &(*ret_route)->splits[i];
    return NULL;
}

static enum gw_flow flow_of(const char *name)
{
    return strcmp(name, gw_flow_names[GW_FLOW_LOG]) == 0 ? GW_FLOW_LOG : GW_FLOW_STORE;
}

/* The value without any override. -1: unknown here, or not fixed. */
static int natural(const struct op_deps *deps, const struct cfg_override *override)
{
    const char *of = cfg_override_rest(override);
    const struct cfg_route *route;
    const struct cfg_split *split;
    const struct cfg_doc *rule;
    struct ord_flow_view view;
    enum adm_feature_why why;
    bool off;

    if (override->kind <= CFG_OVERRIDE_FLOW && !is_of_here(deps, override))
        return -1;
    switch (override->kind) {
    case CFG_OVERRIDE_LEVEL:
        return adm_overload_level_otherwise(deps->overload);
    case CFG_OVERRIDE_FEATURE:
        off = adm_overload_is_off_otherwise(deps->overload, cfg_feature_find(of), &why);
        return off ? CFG_FEATURE_OFF : CFG_FEATURE_ON;
    case CFG_OVERRIDE_FLOW:
        return ord_flow_view(deps->flow, flow_of(of), &view) ? (int)view.otherwise : -1;
    case CFG_OVERRIDE_SPLIT:
        split = find_split(deps, of, &route);
        return split == NULL ? -1 : split->returned != NULL ? 0 : (int)split->per_mille;
    case CFG_OVERRIDE_LIMIT:
        rule = cfg_store_find(deps->config, &cfg_kind_limit, of);
        return rule != NULL ? (int)cfg_rule_of(rule)->mode : -1;
    default: /* a breaker decides by itself; a route uses its pool */
        return -1;
    }
}

/* The value without this override: that of an override for all gateways, or the value without any.
 */
static json_t *without_json(const struct op_deps *deps, const struct cfg_override *override)
{
    const struct cfg_doc *all =
        override->gateway[0] != '\0'
            ? cfg_store_find(deps->config, &cfg_kind_override, override->target)
            : NULL;
    int value = all != NULL ? cfg_override_of(all)->value : natural(deps, override);

    if (all == NULL && override->kind == CFG_OVERRIDE_FALLBACK)
        return json_string("off");
    return value >= 0 ? cfg_override_value_json(override->kind, value) : json_null();
}

static json_t *override_json(const struct op_deps *deps, const struct cfg_override *override,
                             const struct cfg_author *by)
{
    bool own = override->gateway[0] != '\0';

    return json_pack("{s:s, s:s?, s:o, s:o, s:s, s:o, s:o, s:s, s:s?}", "target", override->target,
                     "gateway", own ? override->gateway : NULL, "value",
                     cfg_override_value_json(override->kind, override->value), "without",
                     without_json(deps, override), "by", by->who, "since",
                     ps_json_of_time(by->at_ms), "until", ps_json_of_time(override->until_ms),
                     "reason", by->why, "run", override->run[0] != '\0' ? override->run : NULL);
}

static void list_overrides(struct op_request *request)
{
    const struct op_deps *deps = &request->admin->deps;
    const struct cfg_doc *doc = NULL;
    json_t *list = json_array();
    int err = list == NULL;

    while (err == 0 && (doc = cfg_store_next(deps->config, &cfg_kind_override, doc)) != NULL)
        err = json_array_append_new(list, override_json(deps, cfg_override_of(doc), &doc->by));
    list = ps_json_built(list, err);
    op_json(request, ANS_V_ok, list != NULL ? json_pack("{s:o}", "overrides", list) : NULL);
}

/* The override of path and query; its target need not exist any more. False: answered. */
static bool read_override(struct op_request *request, struct op_target *ret_target)
{
    char gateway[PS_NAME_MAX + 1];
    const struct op_param param = {.name = "gateway", .text = gateway, .cap = sizeof gateway};
    struct cfg_override override;

    if (!op_query(request, &param, 1))
        return false;
    *ret_target = (struct op_target){.kind = &cfg_kind_override};
    if (parse_target(request, &override)) {
        memcpy(override.gateway, gateway, sizeof gateway);
        cfg_override_name(&override, ret_target->name);
        ret_target->have =
            cfg_store_find(request->admin->deps.config, &cfg_kind_override, ret_target->name);
    }
    if (ret_target->have == NULL)
        op_no(request, ANS_V_not_found, "there is no such override");
    return ret_target->have != NULL;
}

static void get_override(struct op_request *request)
{
    struct op_target target;

    if (read_override(request, &target))
        op_json(
            request, ANS_V_ok,
            override_json(&request->admin->deps, cfg_override_of(target.have), &target.have->by));
}

/* --- Setting. --- */

/* The sum of a route's shares of all requests, with this one. */
static int add_shares(const struct op_deps *deps, const struct cfg_override *override)
{
    char of[2 * PS_NAME_MAX + 2];
    const struct cfg_route *route;
    const struct cfg_split *split = find_split(deps, cfg_override_rest(override), &route);
    int sum = 0;

    if (split == NULL || split->by == CFG_SPLIT_HEADER)
        return 0;
    for (size_t i = 0; i < route->split_count; i++) {
        const struct cfg_split *other = &route->splits[i];
        if (other->by == CFG_SPLIT_HEADER)
            continue;
        (void)snprintf(of, sizeof of, "%s:%s", route->name, other->pool);
        sum += other == split
                   ? override->value
                   : cfg_overridden(deps->config, CFG_OVERRIDE_SPLIT, of, (int)other->per_mille);
    }
    return sum;
}

/* Value, end, reason and gateway. False: answered. */
static bool read_wanted(struct op_request *request, struct cfg_override *override)
{
    const struct op_deps *deps = &request->admin->deps;
    struct ps_faults faults = {0};
    int err = cfg_override_ask(request->body, ps_clock_wall_ms(deps->clock), override, &faults);

    if (request->why[0] == '\0')
        err = ps_faults_add(&faults, PS_E_INVALID, "/reason",
                            "is missing: give the reason, for others who see this override");
    if (err == 0 && override->kind == CFG_OVERRIDE_SPLIT && add_shares(deps, override) > 1000)
        err = ps_faults_add(&faults, PS_E_INVALID, "/value",
                            "adds up to more than 1 with the route's other splits");
    if (err == 0 && !is_of_here(deps, override) &&
        clu_heard_ns(deps->cluster, override->gateway) == INT64_MIN)
        err = ps_faults_add(&faults, PS_E_INVALID, "/gateway",
                            "unknown gateway \"%s\"; this one is \"%s\"", override->gateway,
                            deps->gateway_id);
    if (err < 0)
        op_faults(request, ANS_V_invalid, &faults);
    return err == 0;
}

/* False: answered. */
static bool is_possible(struct op_request *request, const struct cfg_override *override)
{
    const char *of = cfg_override_rest(override);

    if (override->kind != CFG_OVERRIDE_FALLBACK ||
        find_route(&request->admin->deps, of, strlen(of))->fallback_count > 0)
        return true;
    op_no(request, ANS_V_conflict, "the route has no fallback: add one to its document first");
    return false;
}

static void apply(struct op_change *change, bool written)
{
    const struct op_deps *deps = &change->admin->deps;

    if (written) {
        adm_breakers_apply(deps->breakers, deps->config);
        ord_flow_apply(deps->flow, deps->config);
    }
}

/* Answers a change that is in force, once all circuits have applied it. */
static void say_when_obeyed(struct op_request *request)
{
    const struct op_deps *deps = &request->admin->deps;
    const struct adm_breaker *breaker = NULL;
    struct cfg_override override;
    char name[CFG_NAME_MAX + 1];

    if (!parse_target(request, &override))
        return; /* it was answered before */
    if (override.kind == CFG_OVERRIDE_BREAKER)
        breaker = adm_breakers_find(deps->breakers, ps_str(cfg_override_rest(&override)));
    if (breaker != NULL && !adm_breaker_is_obeyed(breaker))
        return;
    if (request->http->method == SRV_DELETE) {
        op_empty(request);
        return;
    }
    const char *gateway = json_string_value(json_object_get(request->body, "gateway"));
    (void)snprintf(override.gateway, sizeof override.gateway, "%s", gateway != NULL ? gateway : "");
    cfg_override_name(&override, name);
    const struct cfg_doc *doc = cfg_store_find(deps->config, &cfg_kind_override, name);
    if (doc == NULL) /* it had a short time */
        op_no(request, ANS_V_not_found, "it has ended already");
    else
        op_json(request, request->created ? ANS_V_created : ANS_V_ok,
                override_json(deps, cfg_override_of(doc), &doc->by));
}

static void answer_change(struct op_request *request, struct op_change *change)
{
    (void)change;
    request->on_tick = say_when_obeyed;
    (void)op_wait(request, OBEY_WAIT_MS);
    say_when_obeyed(request);
}

static void say_dry_run(struct op_request *request, const struct cfg_override *override)
{
    const struct op_admin *admin = request->admin;
    const struct cfg_author by = {
        .at_ms = ps_clock_wall_ms(admin->deps.clock), .who = request->who, .why = request->why};
    bool of_ladder = override->kind == CFG_OVERRIDE_LEVEL || override->kind == CFG_OVERRIDE_FEATURE;
    json_t *json = json_pack("{s:b, s:o}", "dry_run", 1, "override",
                             override_json(&admin->deps, override, &by));
    int err = json == NULL;

    if (err == 0 && of_ladder)
        err = op_show_levels(admin, NULL, json);
    op_json(request, ANS_V_ok, ps_json_built(json, err));
}

static void put_override(struct op_request *request)
{
    struct op_target target = {.kind = &cfg_kind_override};
    struct cfg_override override;
    const struct cfg_doc *from;
    bool dry_run;

    if (!op_read_dry_run(request, &dry_run) || !read_target(request, &override) ||
        !read_wanted(request, &override) || !is_possible(request, &override))
        return;
    cfg_override_name(&override, target.name);
    struct op_change *change = op_document_change(request, &target, cfg_kind_override.put);
    if (change == NULL || !op_document_put(request, change, cfg_override_write(&override)))
        return;
    const struct cfg_doc *to = cfg_change_doc(change->change, 0, &from);
    if (dry_run) {
        say_dry_run(request, &override);
        op_change_free(change);
    } else if (to == NULL) { /* it already has this value */
        answer_change(request, change);
        op_change_free(change);
    } else {
        request->created = from == NULL;
        change->end = apply;
        change->answer = answer_change;
        op_change_submit(request, change);
    }
}

static void delete_override(struct op_request *request)
{
    struct op_target target;

    if (!read_override(request, &target) || !op_only_reason(request))
        return;
    struct op_change *change = op_document_change(request, &target, cfg_kind_override.drop);
    if (change == NULL || !op_document_drop(request, change))
        return;
    change->end = apply;
    change->answer = answer_change;
    op_change_submit(request, change);
}

/* --- Metrics. --- */

static void print_overrides(FILE *out, enum gw_metric row, const struct op_admin *admin)
{
    const struct op_deps *deps = &admin->deps;
    int64_t now_ms = ps_clock_wall_ms(deps->clock), oldest_ms = now_ms;
    const char *metric = gw_metric_table[row].name;
    size_t counts[CFG_OVERRIDE_KINDS] = {0};
    const struct cfg_doc *doc = NULL;

    while ((doc = cfg_store_next(deps->config, &cfg_kind_override, doc)) != NULL) {
        counts[cfg_override_of(doc)->kind]++;
        if (doc->by.at_ms < oldest_ms)
            oldest_ms = doc->by.at_ms;
    }
    if (row == GW_M_OVERRIDE_OLDEST)
        fprintf(out, "%s %.3f\n", metric, (double)(now_ms - oldest_ms) / 1000);
    for (size_t i = 0; row == GW_M_OVERRIDES && i < CFG_OVERRIDE_KINDS; i++)
        fprintf(out, "%s{kind=\"%s\"} %zu\n", metric, cfg_override_kinds[i], counts[i]);
}

/* --- The part. --- */

/* clang-format off */
const struct op_part op_overrides_part = {
    .routes = (const struct op_route[]){
        {"/admin/v1/overrides",    SRV_GET,    OP_ROLE_VIEWER,   0,                                      list_overrides},
        {"/admin/v1/overrides/{}", SRV_GET,    OP_ROLE_VIEWER,   OP_QUERY,                               get_override},
        {"/admin/v1/overrides/{}", SRV_PUT,    OP_ROLE_OPERATOR, OP_CHANGES | OP_NEEDS_BODY | OP_QUERY,  put_override},
        {"/admin/v1/overrides/{}", SRV_DELETE, OP_ROLE_OPERATOR, OP_CHANGES | OP_QUERY,                  delete_override},
        {0}},
    .rows = (const struct op_rows[]){{GW_M_OVERRIDES, GW_M_OVERRIDE_OLDEST, print_overrides}, {0}},
};
/* clang-format on */
