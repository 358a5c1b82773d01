/* Seeding. A sale is created when its name is unknown. Limits are taken over while the policy is
 * still as it was shipped (version 1); afterwards only rules that do not exist are added. Each is
 * an ordinary change with its audit line, by "settings". */
#include "gateway/config/seed.h"

#include "common/buf.h"
#include "common/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHIPPED_VERSION 1

static bool is_named_before(const json_t *sales, size_t index, const char *name)
{
    for (size_t i = 0; i < index; i++)
        if (strcmp(json_string_value(json_object_get(json_array_get(sales, i), "sale")), name) == 0)
            return true;
    return false;
}

static int check_sales(const json_t *sales, struct ps_fault *fault)
{
    size_t i;
    const json_t *seed;

    json_array_foreach(sales, i, seed)
    {
        char pointer[40], name[PS_NAME_MAX + 1];
        struct cfg_sale_doc doc;
        int err;
        snprintf(pointer, sizeof pointer, "/sales/%zu", i);
        err = cfg_sale_doc_name(seed, pointer, name, fault);
        if (err == 0 && is_named_before(sales, i, name)) {
            snprintf(pointer, sizeof pointer, "/sales/%zu/sale", i);
            err = ps_fault(fault, PS_E_INVALID, pointer, "\"%s\" is there twice", name);
        }
        if (err == 0)
            err = cfg_sale_doc_read(seed, pointer, name, &doc, fault);
        if (err < 0)
            return err;
        cfg_sale_doc_done(&doc);
    }
    return 0;
}

static int read_rules(const json_t *policy, struct cfg_limit_rule *rules, size_t *ret_count,
                      struct ps_fault *fault)
{
    const json_t *limits = json_object_get(policy, "limits"), *document;
    const char *name;
    size_t count = 0;

    if (limits != NULL && !json_is_object(limits))
        return ps_fault(fault, PS_E_INVALID, "/policy/limits",
                        "must be an object of rules by name");
    json_object_foreach((json_t *)(uintptr_t)limits, name, document)
    {
        char pointer[PS_NAME_MAX + 32];
        int err;
        snprintf(pointer, sizeof pointer, "/policy/limits/%.64s", name);
        if (!ps_name_ok(name, strlen(name)))
            return ps_fault(fault, PS_E_INVALID, pointer,
                            "is no rule name: letters, digits, '.', '_', '-', at most 64");
        if (count == GW_RULES_MAX)
            return ps_fault(fault, PS_E_INVALID, "/policy/limits", "more than %d rules",
                            GW_RULES_MAX);
        err = cfg_limit_rule_read(document, name, pointer, &rules[count], fault);
        if (err < 0)
            return err;
        count++;
    }
    *ret_count = count;
    return 0;
}

int cfg_seed_check(const json_t *sales, const json_t *policy, struct ps_fault *fault)
{
    struct cfg_limit_rule rules[GW_RULES_MAX];
    const json_t *member;
    const char *name;
    size_t count;
    int err = check_sales(sales, fault);

    if (err < 0)
        return err;
    json_object_foreach((json_t *)(uintptr_t)policy, name, member)
    {
        char pointer[80];
        snprintf(pointer, sizeof pointer, "/policy/%.64s", name);
        if (strcmp(name, "limits") != 0)
            return ps_fault(fault, PS_E_INVALID, pointer, "unknown; policy may hold limits");
    }
    return read_rules(policy, rules, &count, fault);
}

/* --- sales --- */

static void apply_sale(struct gw_control *control, void *ctx)
{
    if (gw_control_put_sale(control, ctx) < 0)
        ps_log(PS_LOG_ERROR, "seed_not_taken_over",
               PS_F_STR("sale", ((struct cfg_stored_sale *)ctx)->name));
}

static void warn_of_difference(const char *name, const struct cfg_sale_doc *have,
                               const struct cfg_sale_doc *seed)
{
    char differences[256];

    if (cfg_sale_doc_differences(have, seed, differences, sizeof differences) > 0)
        ps_log(PS_LOG_WARN, "seed_ignored", PS_F_STR("sale", name),
               PS_F_STR("differs_in", differences),
               PS_F_STR("why", "the sale exists; change it through the admin API"));
}

static void done_sale(struct gw_control *control, int err, const struct ps_fault *fault, void *ctx)
{
    struct cfg_stored_sale *stored = ctx;
    const struct gw_control_sale *have =
        gw_control_sale(control, stored->name, strlen(stored->name));

    if (err == PS_E_CONFLICT && have != NULL) /* another gateway was first */
        warn_of_difference(stored->name, &have->stored.doc, &stored->doc);
    else if (err < 0)
        ps_log(PS_LOG_ERROR, "seed_failed", PS_F_STR("sale", stored->name),
               PS_F_STR("error", fault->text));
    else
        ps_log(PS_LOG_INFO, "sale_created", PS_F_STR("sale", stored->name),
               PS_F_STR("who", "settings"));
    cfg_sale_doc_done(&stored->doc);
    free(stored);
    sale_go_on(control->core->sales);
}

static void create_sale(struct gw_control *control, const char *name, struct cfg_sale_doc *doc)
{
    struct cfg_stored_sale *stored = calloc(1, sizeof *stored);
    struct cfg_store_job *job = cfg_store_job_new();
    int64_t now = ps_clock_wall_ms(control->core->clock);
    char target[PS_NAME_MAX + 8];
    json_t *to;

    if (stored == NULL || job == NULL) {
        free(stored);
        cfg_store_job_free(job);
        cfg_sale_doc_done(doc);
        ps_log(PS_LOG_ERROR, "seed_failed", PS_F_STR("sale", name),
               PS_F_STR("error", "out of memory"));
        return;
    }
    memcpy(stored->name, name, strlen(name) + 1);
    stored->doc = *doc;
    stored->state = (struct cfg_sale_state){
        .version = gw_control_gone(control, name) + 1, .created_at_ms = now, .updated_at_ms = now};
    snprintf(target, sizeof target, "sales/%s", name);
    to = cfg_sale_doc_write(doc);
    cfg_store_job_sale(job, name, doc, &stored->state);
    cfg_store_job_audit(job, &(struct cfg_audit_entry){.at_ms = now,
                                                       .who = "settings",
                                                       .peer = "",
                                                       .action = "sale.put",
                                                       .target = target,
                                                       .to = to});
    json_decref(to);
    if (gw_control_change(control, job, apply_sale, done_sale, stored) < 0) {
        cfg_sale_doc_done(&stored->doc);
        free(stored);
        ps_log(PS_LOG_ERROR, "seed_failed", PS_F_STR("sale", name),
               PS_F_STR("error", "the control store takes no job"));
    }
}

static void seed_sale(struct gw_control *control, const json_t *seed, size_t index)
{
    char pointer[32], name[PS_NAME_MAX + 1];
    const struct gw_control_sale *have;
    struct cfg_sale_doc doc;

    snprintf(pointer, sizeof pointer, "/sales/%zu", index);
    if (cfg_sale_doc_name(seed, pointer, name, NULL) < 0 ||
        cfg_sale_doc_read(seed, pointer, name, &doc, NULL) < 0)
        return; /* checked before: only memory can be missing */
    have = gw_control_sale(control, name, strlen(name));
    if (have != NULL) {
        warn_of_difference(name, &have->stored.doc, &doc);
    } else if (control->accord != NULL && gw_control_gone(control, name) > 0) {
        ps_log(PS_LOG_WARN, "seed_ignored", PS_F_STR("sale", name),
               PS_F_STR("why", "the sale was deleted"));
    } else {
        create_sale(control, name, &doc);
        return;
    }
    cfg_sale_doc_done(&doc);
}

/* --- limits --- */

struct rules_seed {
    json_t *policy;
    size_t count;
    int64_t version;
    struct cfg_limit_rule rules[GW_RULES_MAX];
};

static void apply_rules(struct gw_control *control, void *ctx)
{
    const struct rules_seed *seed = ctx;

    for (size_t i = 0; i < seed->count; i++)
        if (gw_control_put_rule(control, &seed->rules[i]) < 0)
            ps_log(PS_LOG_ERROR, "seed_not_taken_over", PS_F_STR("rule", seed->rules[i].name));
        else
            gw_control_warn_of_rule(control, &seed->rules[i]);
    control->policy_version = seed->version;
}

static void seed_rules(struct gw_control *control, json_t *policy);

static void rules_free(struct rules_seed *seed)
{
    json_decref(seed->policy);
    free(seed);
}

static void done_rules(struct gw_control *control, int err, const struct ps_fault *fault, void *ctx)
{
    struct rules_seed *seed = ctx;

    if (err == PS_E_CONFLICT) /* the policy has moved on: chosen anew */
        seed_rules(control, seed->policy);
    else if (err < 0)
        ps_log(PS_LOG_ERROR, "seed_failed", PS_F_STR("what", "policy/limits"),
               PS_F_STR("error", fault->text));
    rules_free(seed);
}

/* Names of the members that differ, "rate, burst" (cut when long); their number. */
static size_t rule_differences(const struct cfg_limit_rule *a, const struct cfg_limit_rule *b,
                               char *ret_text, size_t cap)
{
    json_t *x = cfg_limit_rule_write(a), *y = cfg_limit_rule_write(b), *value;
    const char *member;
    struct ps_buf text;
    size_t count = 0;

    ps_buf_init(&text, ret_text, cap - 1);
    json_object_foreach(x, member, value)
    {
        if (json_equal(value, json_object_get(y, member)))
            continue;
        ps_buf_puts(&text, count++ > 0 ? ", " : "");
        ps_buf_puts(&text, member);
    }
    ret_text[text.len] = '\0';
    json_decref(x);
    json_decref(y);
    return count;
}

/* Keeps those that are to be written. With those that there are, they are not more than may be. */
static void choose_rules(const struct gw_control *control, struct rules_seed *seed)
{
    size_t kept = 0,
           room = control->rule_count < GW_RULES_MAX ? GW_RULES_MAX - control->rule_count : 0;

    for (size_t i = 0; i < seed->count; i++) {
        const struct cfg_limit_rule *rule = &seed->rules[i];
        const struct cfg_limit_rule *have =
            gw_control_rule(control, rule->name, strlen(rule->name));
        char names[128];
        bool differs = have != NULL && rule_differences(have, rule, names, sizeof names) > 0;
        if (have == NULL && room == 0) {
            ps_log(PS_LOG_WARN, "seed_ignored", PS_F_STR("rule", rule->name),
                   PS_F_STR("why", "there are 64 rules already, the most there may be"));
            continue;
        }
        room -= have == NULL;
        if (have == NULL || (differs && control->policy_version == SHIPPED_VERSION))
            seed->rules[kept++] = *rule;
        else if (differs)
            ps_log(PS_LOG_WARN, "seed_ignored", PS_F_STR("rule", rule->name),
                   PS_F_STR("differs_in", names),
                   PS_F_STR("why", "the rule exists; change it through the admin API"));
    }
    seed->count = kept;
}

static void seed_rules(struct gw_control *control, json_t *policy)
{
    struct rules_seed *seed = calloc(1, sizeof *seed);
    struct cfg_store_job *job = NULL;
    int64_t now = ps_clock_wall_ms(control->core->clock);

    if (seed == NULL)
        return;
    seed->policy = json_incref(policy);
    if (read_rules(policy, seed->rules, &seed->count, NULL) < 0)
        goto out;
    choose_rules(control, seed);
    if (seed->count == 0 || (job = cfg_store_job_new()) == NULL)
        goto out;
    seed->version = control->policy_version + 1;
    for (size_t i = 0; i < seed->count; i++)
        cfg_store_job_rule(job, &seed->rules[i]);
    cfg_store_job_policy_version(job, seed->version);
    cfg_store_job_audit(job, &(struct cfg_audit_entry){.at_ms = now,
                                                       .who = "settings",
                                                       .peer = "",
                                                       .action = "limit.put",
                                                       .target = "limits",
                                                       .to = json_object_get(policy, "limits")});
    if (gw_control_change(control, job, apply_rules, done_rules, seed) == 0)
        return;
    ps_log(PS_LOG_ERROR, "seed_failed", PS_F_STR("what", "policy/limits"));
out:
    rules_free(seed);
}

void cfg_seed_kept(struct gw_control *control)
{
    json_t *sales = control->seeds.sales, *policy = control->seeds.policy;

    if (sales == NULL && policy == NULL)
        return;
    control->seeds.sales = control->seeds.policy = NULL;
    cfg_seed(control, sales, policy);
    json_decref(sales);
    json_decref(policy);
}

void cfg_seed(struct gw_control *control, json_t *sales, json_t *policy)
{
    const json_t *seed;
    size_t i;

    if (!gw_control_synced(control)) {
        json_decref(control->seeds.sales);
        json_decref(control->seeds.policy);
        control->seeds.sales = json_incref(sales);
        control->seeds.policy = json_incref(policy);
        return;
    }
    json_array_foreach(sales, i, seed) seed_sale(control, seed, i);
    seed_rules(control, policy);
}
