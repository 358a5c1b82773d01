/* Overrides: what operators have set for a time, which is all that is not normal now. They are
 * documents of the private kind `overrides` (config/kinds/override.h); here is what there is to
 * override, and what would be so without. */
#include "common/grow.h"
#include "gateway/admin/documents.h"
#include "gateway/admin/ladder.h"
#include "gateway/admin/parts.h"
#include "gateway/cluster/cluster.h"
#include "gateway/config/kinds/override.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- What there is to override. --- */

/* Each target that there is here; NULL-terminated. */
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
    *ret_targets = (struct targets){0};
    add_target(ret_targets, CFG_OVERRIDE_LEVEL, "", "");
    for (enum cfg_feature i = 0; i < CFG_FEATURE_COUNT; i++)
        add_target(ret_targets, CFG_OVERRIDE_FEATURE, cfg_feature_names[i], "");
    (void)deps;
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

/* The target that the path names. False: answered. */
static bool read_target(struct op_request *request, struct cfg_override *ret_override)
{
    char text[CFG_TARGET_MAX + 1] = "";
    struct targets targets;
    size_t len;

    bool fits = op_decode(request->arg[0], text, sizeof text, &len) == 0;
    list_targets(&request->admin->deps, &targets);
    const char *near =
        fits && targets.at != NULL ? ps_nearest_word(text, (const char *const *)targets.at) : NULL;
    size_t known = count_targets(&targets, text);
    if (targets.no_memory)
        op_no(request, ANS_V_internal, "out of memory");
    else if (known == 0)
        op_no(request, ANS_V_not_found, "there is no such target%s%s%s: %s",
              near != NULL ? "; did you mean \"" : "", near != NULL ? near : "",
              near != NULL ? "\"?" : "", cfg_kind_override.name_rule);
    free_targets(&targets);
    return known == 1 && !targets.no_memory && cfg_target_read(text, ret_override) == 0;
}

/* --- Showing. --- */

/* Is it in force on this gateway, or could be, but for another one? */
static bool is_of_here(const struct op_deps *deps, const struct cfg_override *override)
{
    return override->gateway[0] == '\0' || strcmp(override->gateway, deps->gateway_id) == 0;
}

/* What is so where no override is in force, as far as this gateway can know. */
static json_t *natural_json(const struct op_deps *deps, const struct cfg_override *override)
{
    const char *of = cfg_override_rest(override);
    enum adm_feature_why why;

    if (override->kind == CFG_OVERRIDE_LEVEL && is_of_here(deps, override))
        return json_integer(adm_overload_level_otherwise(deps->overload));
    if (override->kind == CFG_OVERRIDE_FEATURE && is_of_here(deps, override))
        return json_string(adm_overload_is_off_otherwise(deps->overload, cfg_feature_find(of), &why)
                               ? "off"
                               : "on");
    return json_null();
}

/* What would be so without the override: another one that is for all gateways, or the natural. */
static json_t *without_json(const struct op_deps *deps, const struct cfg_override *override)
{
    const struct cfg_doc *all =
        override->gateway[0] != '\0'
            ? cfg_store_find(deps->config, &cfg_kind_override, override->target)
            : NULL;

    return all != NULL ? cfg_override_value_json(override->kind, cfg_override_of(all)->value)
                       : natural_json(deps, override);
}

static json_t *override_json(const struct op_deps *deps, const struct cfg_override *override,
                             const struct cfg_author *by)
{
    bool own = override->gateway[0] != '\0';

    return json_pack("{s:s, s:s?, s:o, s:o, s:s, s:o, s:o, s:s, s:n}", "target", override->target,
                     "gateway", own ? override->gateway : NULL, "value",
                     cfg_override_value_json(override->kind, override->value), "without",
                     without_json(deps, override), "by", by->who, "since",
                     ps_json_of_time(by->at_ms), "until", ps_json_of_time(override->until_ms),
                     "reason", by->why, "run");
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

/* The override of path and query, whatever there is of its target by now. False: answered. */
static bool read_override(struct op_request *request, struct op_target *ret_target)
{
    struct cfg_override override = {.kind = 0};
    char text[CFG_TARGET_MAX + 1];
    size_t len;
    const struct op_param param = {
        .name = "gateway", .text = override.gateway, .cap = sizeof override.gateway};

    if (!op_query(request, &param, 1))
        return false;
    ret_target->kind = &cfg_kind_override;
    ret_target->have = NULL;
    struct cfg_override named;
    if (op_decode(request->arg[0], text, sizeof text, &len) == 0 &&
        cfg_target_read(text, &named) == 0) {
        memcpy(named.gateway, override.gateway, sizeof named.gateway);
        cfg_override_name(&named, ret_target->name);
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

/* Value, end, reason and gateway. False: answered. */
static bool read_wanted(struct op_request *request, struct cfg_override *override)
{
    const struct op_deps *deps = &request->admin->deps;
    struct ps_faults faults = {0};
    int err = cfg_override_ask(request->body, ps_clock_wall_ms(deps->clock), override, &faults);

    if (request->why[0] == '\0')
        err = ps_faults_add(&faults, PS_E_INVALID, "/reason",
                            "is missing: say why, for whoever finds this in the list");
    if (err == 0 && !is_of_here(deps, override) &&
        clu_heard_ns(deps->cluster, override->gateway) == INT64_MIN)
        err = ps_faults_add(&faults, PS_E_INVALID, "/gateway",
                            "there is no gateway \"%s\" here; this one is \"%s\"",
                            override->gateway, deps->gateway_id);
    if (err < 0)
        op_faults(request, ANS_V_invalid, &faults);
    return err == 0;
}

static void answer_put(struct op_request *request, struct op_change *change)
{
    const struct op_deps *deps = &request->admin->deps;
    const struct cfg_doc *doc = cfg_store_find(deps->config, change->kind, change->name);

    if (doc == NULL) /* its time was short */
        op_no(request, ANS_V_not_found, "it has ended already");
    else
        op_json(request, request->created ? ANS_V_created : ANS_V_ok,
                override_json(deps, cfg_override_of(doc), &doc->by));
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
        !read_wanted(request, &override))
        return;
    cfg_override_name(&override, target.name);
    struct op_change *change = op_document_change(request, &target, cfg_kind_override.put);
    if (change == NULL || !op_document_put(request, change, cfg_override_write(&override)))
        return;
    const struct cfg_doc *to = cfg_change_doc(change->change, 0, &from);
    if (dry_run) {
        say_dry_run(request, &override);
        op_change_free(change);
    } else if (to == NULL) { /* it is set so already */
        answer_put(request, change);
        op_change_free(change);
    } else {
        request->created = from == NULL;
        change->answer = answer_put;
        op_change_submit(request, change);
    }
}

static void delete_override(struct op_request *request)
{
    struct ps_faults faults = {0};
    enum cfg_refusal refusal;
    struct op_target target;

    if (!read_override(request, &target) || !op_only_reason(request))
        return;
    struct op_change *change = op_document_change(request, &target, cfg_kind_override.drop);
    if (change == NULL)
        return;
    int err = cfg_change_drop(change->change, target.kind, target.name, "", &refusal, &faults);
    if (err < 0) {
        op_change_refuse(request, change, err, refusal, &faults);
        return;
    }
    change->answer = op_answer_empty;
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

/* --- What it brings. --- */

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
