/* Limit rules: each read, replaced and removed by its name. They are part of the policy, whose
 * version is their entity tag; If-Match is optional, because a rule is replaced as a whole. The
 * four rules that every installation has stay: they are switched off, not removed. */
#include "gateway/admin/admin_internal.h"

#include <string.h>

static void say_rule(struct op_request *visit, const struct cfg_limit_rule *rule)
{
    op_etag(visit, visit->admin->control->policy_version);
    op_json(visit, visit->created ? ANS_V_created : ANS_V_ok, cfg_limit_rule_write(rule));
}

/* NULL: answered with 404. */
static struct cfg_limit_rule *find_rule(struct op_request *visit)
{
    struct cfg_limit_rule *rule =
        gw_control_rule(visit->admin->control, visit->arg[0].at, visit->arg[0].len);

    if (rule == NULL)
        op_no(visit, ANS_V_not_found, "no such limit rule");
    return rule;
}

void op_list_limits(struct op_request *visit)
{
    const struct gw_control *control = visit->admin->control;
    json_t *limits = json_object();
    int err = limits == NULL;

    for (size_t i = 0; err == 0 && i < control->rule_count; i++)
        err = json_object_set_new(limits, control->rules[i].name,
                                  cfg_limit_rule_write(&control->rules[i]));
    if (err != 0) {
        json_decref(limits);
        limits = NULL;
    }
    op_etag(visit, control->policy_version);
    op_json(visit, ANS_V_ok, limits != NULL ? json_pack("{s:o}", "limits", limits) : NULL);
}

void op_get_limit(struct op_request *visit)
{
    const struct cfg_limit_rule *rule = find_rule(visit);

    if (rule != NULL)
        say_rule(visit, rule);
}

/* --- Changing. --- */

static int apply_put(struct gw_control *control, struct op_change *change)
{
    int err = gw_control_put_rule(control, &change->rule);

    if (err == 0)
        gw_control_warn_of_rule(control, &change->rule);
    return err;
}

static void answer_put(struct op_request *visit, struct op_change *change)
{
    visit->created = change->created;
    say_rule(visit, &change->rule);
}

void op_put_limit(struct op_request *visit)
{
    struct gw_control *control = visit->admin->control;
    const struct cfg_limit_rule *have;
    struct op_change *change;
    struct cfg_limit_rule rule;
    struct ps_fault fault = {0};
    char name[PS_NAME_MAX + 1];

    if (!ps_name_ok(visit->arg[0].at, visit->arg[0].len)) {
        op_no(visit, ANS_V_invalid, "a rule's name in the path: [A-Za-z0-9][A-Za-z0-9._-]{0,63}");
        return;
    }
    memcpy(name, visit->arg[0].at, visit->arg[0].len);
    name[visit->arg[0].len] = '\0';
    if (cfg_limit_rule_read(visit->body, name, "", &rule, &fault) < 0) {
        op_fault(visit, ANS_V_invalid, &fault);
        return;
    }
    if (!op_matches(visit, control->policy_version))
        return;
    have = gw_control_rule(control, name, strlen(name));
    if (have == NULL && control->rule_count >= GW_RULES_MAX) {
        op_no(visit, ANS_V_conflict, "there are %d rules already, the most there may be",
              GW_RULES_MAX);
        return;
    }
    change = op_change_new(visit, "limit.put", "limits/", name);
    if (change == NULL)
        return;
    change->rule = rule;
    change->created = have == NULL;
    change->apply = apply_put;
    change->answer = answer_put;
    cfg_store_job_rule(change->job, &rule);
    op_change_policy(change);
    op_change_submit(visit, change, have != NULL ? cfg_limit_rule_write(have) : NULL,
                     cfg_limit_rule_write(&rule));
}

static int apply_delete(struct gw_control *control, struct op_change *change)
{
    gw_control_drop_rule(control, change->rule.name);
    return 0;
}

static void answer_delete(struct op_request *visit, struct op_change *change)
{
    (void)change;
    op_empty(visit);
}

void op_delete_limit(struct op_request *visit)
{
    static const char *const shipped[] = {"user", "ip", "global", "polling"};
    struct gw_control *control = visit->admin->control;
    const struct cfg_limit_rule *rule;
    struct op_change *change;

    if (!op_only_reason(visit) || (rule = find_rule(visit)) == NULL ||
        !op_matches(visit, control->policy_version))
        return;
    for (size_t i = 0; i < PS_ARRAY_LEN(shipped); i++) {
        if (strcmp(rule->name, shipped[i]) != 0)
            continue;
        op_no(visit, ANS_V_conflict, "this rule always exists; set its mode to \"off\" instead");
        return;
    }
    change = op_change_new(visit, "limit.delete", "limits/", rule->name);
    if (change == NULL)
        return;
    change->rule = *rule;
    change->apply = apply_delete;
    change->answer = answer_delete;
    cfg_store_job_rule_delete(change->job, rule->name);
    op_change_policy(change);
    op_change_submit(visit, change, cfg_limit_rule_write(rule), NULL);
}
