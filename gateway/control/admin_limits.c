/* Limit rules: each read, replaced and removed by its name. They are part of the policy, whose
 * version is their entity tag; If-Match is optional, because a rule is replaced as a whole. The
 * four rules that every installation has stay: they are switched off, not removed. */
#include "gateway/control/admin_private.h"

#include <string.h>

static void say_rule(struct gw_admin_visit *visit, const struct gw_limit_rule *rule)
{
    gw_admin_etag(visit, visit->admin->control->policy_version);
    gw_admin_json(visit, visit->created ? GW_V_created : GW_V_ok, gw_limit_rule_write(rule));
}

/* NULL: answered with 404. */
static struct gw_limit_rule *find_rule(struct gw_admin_visit *visit)
{
    struct gw_limit_rule *rule =
        gw_control_rule(visit->admin->control, visit->arg[0].at, visit->arg[0].len);

    if (rule == NULL)
        gw_admin_no(visit, GW_V_not_found, "no such limit rule");
    return rule;
}

void gw_admin_list_limits(struct gw_admin_visit *visit)
{
    const struct gw_control *control = visit->admin->control;
    json_t *limits = json_object();
    int err = limits == NULL;

    for (size_t i = 0; err == 0 && i < control->rule_count; i++)
        err = json_object_set_new(limits, control->rules[i].name,
                                  gw_limit_rule_write(&control->rules[i]));
    if (err != 0) {
        json_decref(limits);
        limits = NULL;
    }
    gw_admin_etag(visit, control->policy_version);
    gw_admin_json(visit, GW_V_ok, limits != NULL ? json_pack("{s:o}", "limits", limits) : NULL);
}

void gw_admin_get_limit(struct gw_admin_visit *visit)
{
    const struct gw_limit_rule *rule = find_rule(visit);

    if (rule != NULL)
        say_rule(visit, rule);
}

/* --- Changing. --- */

static int apply_put(struct gw_control *control, struct gw_admin_change *change)
{
    int err = gw_control_put_rule(control, &change->rule);

    if (err == 0)
        gw_control_warn_of_rule(control, &change->rule);
    return err;
}

static void answer_put(struct gw_admin_visit *visit, struct gw_admin_change *change)
{
    visit->created = change->created;
    say_rule(visit, &change->rule);
}

void gw_admin_put_limit(struct gw_admin_visit *visit)
{
    struct gw_control *control = visit->admin->control;
    const struct gw_limit_rule *have;
    struct gw_admin_change *change;
    struct gw_limit_rule rule;
    struct ps_fault fault = {0};
    char name[PS_NAME_MAX + 1];

    if (!ps_name_ok(visit->arg[0].at, visit->arg[0].len)) {
        gw_admin_no(visit, GW_V_invalid,
                    "a rule's name in the path: [A-Za-z0-9][A-Za-z0-9._-]{0,63}");
        return;
    }
    memcpy(name, visit->arg[0].at, visit->arg[0].len);
    name[visit->arg[0].len] = '\0';
    if (gw_limit_rule_read(visit->body, name, "", &rule, &fault) < 0) {
        gw_admin_fault(visit, GW_V_invalid, &fault);
        return;
    }
    if (!gw_admin_matches(visit, control->policy_version))
        return;
    have = gw_control_rule(control, name, strlen(name));
    if (have == NULL && control->rule_count >= GW_RULES_MAX) {
        gw_admin_no(visit, GW_V_conflict, "there are %d rules already, the most there may be",
                    GW_RULES_MAX);
        return;
    }
    change = gw_admin_change_new(visit, "limit.put", "limits/", name);
    if (change == NULL)
        return;
    change->rule = rule;
    change->created = have == NULL;
    change->apply = apply_put;
    change->answer = answer_put;
    gw_store_job_rule(change->job, &rule);
    gw_admin_change_policy(change);
    gw_admin_change_submit(visit, change, have != NULL ? gw_limit_rule_write(have) : NULL,
                           gw_limit_rule_write(&rule));
}

static int apply_delete(struct gw_control *control, struct gw_admin_change *change)
{
    gw_control_drop_rule(control, change->rule.name);
    return 0;
}

static void answer_delete(struct gw_admin_visit *visit, struct gw_admin_change *change)
{
    (void)change;
    gw_admin_empty(visit);
}

void gw_admin_delete_limit(struct gw_admin_visit *visit)
{
    static const char *const shipped[] = {"user", "ip", "global", "polling"};
    struct gw_control *control = visit->admin->control;
    const struct gw_limit_rule *rule;
    struct gw_admin_change *change;

    if (!gw_admin_only_reason(visit) || (rule = find_rule(visit)) == NULL ||
        !gw_admin_matches(visit, control->policy_version))
        return;
    for (size_t i = 0; i < PS_ARRAY_LEN(shipped); i++) {
        if (strcmp(rule->name, shipped[i]) != 0)
            continue;
        gw_admin_no(visit, GW_V_conflict,
                    "this rule always exists; set its mode to \"off\" instead");
        return;
    }
    change = gw_admin_change_new(visit, "limit.delete", "limits/", rule->name);
    if (change == NULL)
        return;
    change->rule = *rule;
    change->apply = apply_delete;
    change->answer = answer_delete;
    gw_store_job_rule_delete(change->job, rule->name);
    gw_admin_change_policy(change);
    gw_admin_change_submit(visit, change, gw_limit_rule_write(rule), NULL);
}
