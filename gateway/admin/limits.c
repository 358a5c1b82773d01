/* Limit rules: what each has refused, and what a change would have refused in the last minute.
 * Their documents are served as those of every kind (documents.c). */
#include "gateway/admin/limits.h"
#include "gateway/admin/parts.h"

#include <inttypes.h>
#include <string.h>

#define TRIAL_NS (10 * PS_NS_PER_S) /* a shorter one says less than the sample */

/* --- Forecasts. --- */

/* Is `rule` what the rule in force has on trial? */
static bool is_its_trial(const struct cfg_limit_rule *have, const struct cfg_limit_rule *rule)
{
    return adm_limit_has_trial(have) && have->mode != CFG_LIMIT_OFF &&
           rule->mode != CFG_LIMIT_OFF && adm_limit_same_requests(have, rule) &&
           have->trial.rate == rule->rate && have->trial.burst == rule->burst &&
           have->trial.period_s == rule->period_s;
}

static bool ask_trial(const struct adm_limit_set *limits, const struct cfg_limit_rule *rule,
                      int64_t now_ns, struct op_forecast *ret_forecast)
{
    struct adm_trial_minute minute;
    size_t i = 0;

    while (i < limits->count && strcmp(limits->rules[i].name, rule->name) != 0)
        i++;
    if (i == limits->count || !is_its_trial(&limits->rules[i], rule))
        return false;
    adm_trial_minute(limits->compiled[i].figures, now_ns, &minute);
    *ret_forecast = (struct op_forecast){.from_trial = true,
                                         .says = {.took_ns = minute.took_ns,
                                                  .seen = minute.asked,
                                                  .refused = minute.refused,
                                                  .one_in = 1}};
    return minute.took_ns >= TRIAL_NS;
}

int op_limit_forecast(const struct op_admin *admin, const struct cfg_limit_rule *rule,
                      struct op_forecast *ret_forecast)
{
    const struct op_deps *deps = &admin->deps;
    int64_t now_ns = ps_clock_mono_ns(deps->clock);

    if (ask_trial(snap_view_last(deps->view)->limits, rule, now_ns, ret_forecast))
        return 0;
    *ret_forecast = (struct op_forecast){.from_trial = false};
    double share = (double)adm_share_get(deps->limits_share) / ADM_SHARE_ONE;
    return adm_forecast(deps->samples, rule, share, now_ns, &ret_forecast->says);
}

/* What `error` does not cover. NULL: nothing. */
static const char *not_known(const struct adm_forecast *says)
{
    return says->one_key_dominates ? "most of it is one key's, for which one_in keys are counted"
           : says->may_miss_keys   ? "one key in one_in was looked at: another one that sends very "
                                     "much is not counted"
                                   : NULL;
}

json_t *op_limit_forecast_json(const struct op_admin *admin, const struct cfg_limit_rule *rule)
{
    struct op_forecast forecast;

    if (op_limit_forecast(admin, rule, &forecast) < 0)
        return NULL;
    const struct adm_forecast *says = &forecast.says;
    return json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:I, s:s?}", "source", forecast.from_trial ? "trial" : "sample",
        "seconds", (json_int_t)((says->took_ns + PS_NS_PER_S / 2) / PS_NS_PER_S), "seen",
        (json_int_t)says->seen, "refused", (json_int_t)says->refused, "error",
        (json_int_t)says->error, "one_in", (json_int_t)says->one_in, "not_known", not_known(says));
}

/* Adds what the rule of a dry run would have refused; a rule that is deleted refuses nothing. */
static int show_change(const struct op_admin *admin, const struct cfg_doc *from,
                       const struct cfg_doc *to, json_t *json)
{
    (void)from;
    return to->parsed == NULL ? 0
                              : json_object_set_new(json, "last_minute",
                                                    op_limit_forecast_json(admin, cfg_rule_of(to)));
}

/* --- Metrics. --- */

static void print_rules(FILE *out, enum gw_metric row, const struct op_admin *admin)
{
    const struct adm_limit_set *limits = snap_view_last(admin->deps.view)->limits;
    const char *name = gw_metric_table[row].name;
    enum adm_limit_count what = row == GW_M_LIMIT_REFUSED          ? ADM_LIMIT_REFUSED
                                : row == GW_M_LIMIT_SHADOW_REFUSED ? ADM_LIMIT_SHADOW_REFUSED
                                                                   : ADM_LIMIT_TRIAL_REFUSED;

    for (size_t i = 0; i < limits->count; i++)
        if (row != GW_M_LIMIT_TRIAL_REFUSED || adm_limit_has_trial(&limits->rules[i]))
            fprintf(out, "%s{rule=\"%s\"} %" PRId64 "\n", name, limits->rules[i].name,
                    adm_limit_figures_sum(limits->compiled[i].figures, what));
}

/* --- What it brings. --- */

const struct op_part op_limits_part = {
    .kinds = (const struct op_kind[]){{.kind = &cfg_kind_limit, .show_change = show_change}, {0}},

    .rows =
        (const struct op_rows[]){{GW_M_LIMIT_REFUSED, GW_M_LIMIT_TRIAL_REFUSED, print_rules}, {0}}};
