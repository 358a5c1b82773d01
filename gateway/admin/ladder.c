/* The degrade ladder for operators: the measured members of documents of the kinds overload and
 * features, and what each level would have turned off in the last minute. */
#include "gateway/admin/ladder.h"

#include "gateway/admin/parts.h"

#include <stdio.h>
#include <string.h>

/* --- The state of a feature. --- */

static const struct cfg_feature_doc *feature_doc(const struct op_admin *admin,
                                                 enum cfg_feature feature)
{
    return cfg_feature_of(
        cfg_store_find(admin->deps.config, &cfg_kind_feature, cfg_feature_names[feature]));
}

/* "overridden by ann: the show begins"; "" without an override. */
static void print_override(const struct cfg_doc *override, char *ret_text, size_t cap)
{
    ret_text[0] = '\0';
    if (override != NULL)
        (void)snprintf(ret_text, cap, "overridden by %s: %s", override->by.who, override->by.why);
}

/* Why it is on or off; "" = it is on, nothing to explain. */
static void print_reason(const struct op_admin *admin, enum cfg_feature feature, char *ret_text,
                         size_t cap)
{
    const struct adm_overload *overload = admin->deps.overload;
    const struct cfg_feature_doc *doc = feature_doc(admin, feature);

    ret_text[0] = '\0';
    if (overload->why[feature] == ADM_WHY_OVERRIDE)
        print_override(
            cfg_override_find(admin->deps.config, CFG_OVERRIDE_FEATURE, cfg_feature_names[feature]),
            ret_text, cap);
    else if (overload->why[feature] == ADM_WHY_ALONE)
        (void)snprintf(ret_text, cap, "no real sale is open");
    else if (adm_overload_is_off(overload, feature))
        (void)snprintf(ret_text, cap, "the level is %d, it is off from level %d on",
                       overload->level, doc->level);
}

/* {"state","reason","uses_last_minute"} */
static json_t *state_json(const struct op_admin *admin, enum cfg_feature feature)
{
    const struct adm_overload *overload = admin->deps.overload;
    char reason[CFG_WHY_SIZE + 128];

    print_reason(admin, feature, reason, sizeof reason);
    return json_pack("{s:s, s:s?, s:I}", "state",
                     adm_overload_is_off(overload, feature) ? "off" : "on", "reason",
                     reason[0] != '\0' ? reason : NULL, "uses_last_minute",
                     (json_int_t)adm_overload_uses(overload, feature));
}

static int show_feature(const struct op_admin *admin, const struct cfg_doc *doc, json_t *json)
{
    enum cfg_feature feature = cfg_feature_find(doc->name);

    return json_object_update_new(json, json_pack("{s:s, s:s}", "feature", doc->name, "while_off",
                                                  cfg_feature_words[feature])) |
           json_object_update_new(json, state_json(admin, feature));
}

/* --- The level, and its cause. --- */

static json_t *features_json(const struct op_admin *admin)
{
    json_t *features = json_object();
    int err = 0;

    for (enum cfg_feature i = 0; err == 0 && i < CFG_FEATURE_COUNT; i++)
        err = json_object_set_new(features, cfg_feature_names[i], state_json(admin, i));
    return ps_json_built(features, err);
}

static json_t *change_json(const struct adm_overload *overload,
                           const struct adm_level_change *change)
{
    const struct cfg_overload *settings = adm_overload_settings(overload);

    return json_pack("{s:o, s:i, s:i, s:s, s:o, s:o}", "at", ps_json_of_time(change->at_ms), "from",
                     change->from, "to", change->to, "cause", adm_cause_names[change->cause],
                     "pressure", adm_figure(change->sample.pressure), "signals",
                     adm_overload_signals(&change->sample, settings->ladder.leave));
}

/* The last changes, newest first. */
static json_t *changes_json(const struct adm_overload *overload)
{
    size_t count = overload->change_count;
    json_t *list = json_array();
    int err = 0;

    for (size_t i = 0; err == 0 && i < count && i < ADM_CHANGES_MAX; i++)
        err = json_array_append_new(
            list, change_json(overload, &overload->changes[(count - 1 - i) % ADM_CHANGES_MAX]));
    return ps_json_built(list, err);
}

/* "" = the level has been 0 since the start. */
static void print_why(const struct adm_overload *overload, char *ret_text, size_t cap)
{
    const struct adm_level_change *last =
        &overload->changes[(overload->change_count - 1) % ADM_CHANGES_MAX];

    ret_text[0] = '\0';
    if (overload->is_overridden)
        print_override(adm_overload_override(overload), ret_text, cap);
    else if (overload->change_count == 0)
        return;
    else if (last->cause == ADM_CAUSE_PRESSURE && last->sample.highest < CFG_SIGNAL_COUNT)
        (void)snprintf(ret_text, cap, "%s was at %.2f of its threshold",
                       cfg_signals[last->sample.highest].name, last->sample.pressure);
    else if (last->cause == ADM_CAUSE_CALM)
        (void)snprintf(ret_text, cap, "the pressure was low for long enough");
    else if (last->cause == ADM_CAUSE_MODE)
        (void)snprintf(ret_text, cap, "the mode was changed");
    else
        (void)snprintf(ret_text, cap, "an override has ended");
}

/* What shedding does: the share that workers admit, and the share that they leave unread. */
static json_t *shedding_json(const struct op_admin *admin)
{
    const struct ps_metrics *metrics = admin->deps.metrics;
    json_t *admission = json_object();
    int err = 0;

    for (size_t i = 0; err == 0 && gw_shed_classes[i] != NULL; i++) {
        double ratio = (double)ps_metric_read(metrics, GW_M_ADMISSION, i) / (double)PS_NS_PER_S;
        err = json_object_set_new(admission, gw_shed_classes[i], adm_figure(ratio));
    }
    return json_pack("{s:o, s:I}", "admission", ps_json_built(admission, err), "unread",
                     (json_int_t)ps_metric_read(metrics, GW_M_UNREAD, 0));
}

int op_show_ladder(const struct op_admin *admin, json_t *json)
{
    const struct adm_overload *overload = admin->deps.overload;
    char why[CFG_WHY_SIZE + 128];

    print_why(overload, why, sizeof why);
    return json_object_update_new(
        json,
        json_pack("{s:i, s:o, s:s?, s:i, s:o, s:o, s:o}", "level", overload->level, "since",
                  ps_json_of_time(overload->since_ms), "why", why[0] != '\0' ? why : NULL,
                  "level_by_pressure", overload->ladder.level, "features", features_json(admin),
                  "changes", changes_json(overload), "shedding", shedding_json(admin)));
}

/* --- What each level turns off. --- */

/* The level of a feature after the change (NULL: at present). */
static int level_after(const struct op_admin *admin, const struct cfg_change *change,
                       enum cfg_feature feature)
{
    const struct cfg_doc *from, *to;

    for (size_t i = 0; change != NULL && (to = cfg_change_doc(change, i, &from)) != NULL; i++)
        if (to->kind == &cfg_kind_feature && to->parsed != NULL &&
            strcmp(to->name, cfg_feature_names[feature]) == 0)
            return cfg_feature_of(to)->level;
    return feature_doc(admin, feature)->level;
}

static json_t *turned_off_json(const struct op_admin *admin, const struct cfg_change *change,
                               int level)
{
    json_t *list = json_array();
    int err = 0;

    for (enum cfg_feature i = 0; err == 0 && i < CFG_FEATURE_COUNT; i++) {
        int at = level_after(admin, change, i);
        if (at == 0 || at > level)
            continue;
        err = json_array_append_new(
            list, json_pack("{s:s, s:I, s:s}", "feature", cfg_feature_names[i], "uses_last_minute",
                            (json_int_t)adm_overload_uses(admin->deps.overload, i), "while_off",
                            cfg_feature_words[i]));
    }
    return ps_json_built(list, err);
}

static json_t *levels_json(const struct op_admin *admin, const struct cfg_change *change)
{
    json_t *levels = json_array();
    int err = 0;

    for (int level = 1; err == 0 && level <= CFG_LEVEL_MAX; level++)
        err = json_array_append_new(levels, json_pack("{s:i, s:o}", "level", level, "turned_off",
                                                      turned_off_json(admin, change, level)));
    return ps_json_built(levels, err);
}

int op_show_levels(const struct op_admin *admin, const struct cfg_change *change, json_t *json)
{
    return json_object_set_new(json, "levels", levels_json(admin, change));
}

/* --- The part. --- */

const struct op_part op_ladder_part = {
    .kinds =
        (const struct op_kind[]){
            {.kind = &cfg_kind_feature, .show = show_feature, .show_dry_run = op_show_levels}, {0}},
};
