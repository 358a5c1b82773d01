/* Runs of plans: asked for, shown, approved, cancelled, kept, reverted. What may become of a run is
 * plans/run.h: a handler makes a change of it, as of any other. */
#include "gateway/admin/documents.h"
#include "gateway/admin/ladder.h"
#include "gateway/admin/parts.h"
#include "gateway/orders/flow.h"
#include "gateway/plans/plans.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENDS_MAX 16 /* series of penstock_plan_ends_timestamp_seconds */

/* --- Showing. --- */

/* In a list without the plan and what was changed. */
static json_t *run_json(const struct op_admin *admin, const struct cfg_doc *doc, bool whole)
{
    json_t *json = cfg_doc_json(doc), *plan = json_object_get(json, "as_it_was");
    json_t *shown = json_pack("{s:s, s:O?, s:o, s:O?}", "run", doc->name, "title",
                              json_object_get(plan, "title"), "starts_at",
                              ps_json_of_time(plans_starts_ms(admin->deps.plans, doc->name)),
                              "lapses_at", json_object_get(json, "lapses"));

    (void)json_object_del(json, "lapses");
    (void)json_object_del(json, "forgotten");
    if (!whole) {
        (void)json_object_del(json, "as_it_was");
        (void)json_object_del(json, "changes");
    }
    int err = json == NULL || json_object_update(shown, json) != 0;
    json_decref(json);
    return ps_json_built(shown, err);
}

static void list_runs(struct op_request *request)
{
    const struct cfg_store *store = request->admin->deps.config;
    char state[32], plan[PS_NAME_MAX + 1], after[PS_NAME_MAX + 1];
    int64_t limit = OP_LIST_MAX;
    int word = -1;
    const struct op_param params[] = {
        {.name = "state", .text = state, .cap = sizeof state},
        {.name = "plan", .text = plan, .cap = sizeof plan},
        {.name = "after", .text = after, .cap = sizeof after},
        {.name = "limit", .number = &limit, .min = 1, .max = OP_LIST_MAX}};
    json_t *list;
    int err = 0;

    if (!op_query(request, params, PS_ARRAY_LEN(params)) ||
        (state[0] != '\0' && !op_query_word(request, "state", state, cfg_run_states, "", &word)))
        return;
    list = json_array();
    const struct cfg_doc *doc = cfg_store_behind(store, &cfg_kind_run, after), *last = NULL;
    for (; err == 0 && doc != NULL; doc = cfg_store_next(store, &cfg_kind_run, doc)) {
        if ((word >= 0 && (int)cfg_run_of(doc)->state != word) ||
            (plan[0] != '\0' && strcmp(cfg_run_of(doc)->plan, plan) != 0))
            continue;
        if (limit-- == 0)
            break;
        err = json_array_append_new(list, run_json(request->admin, doc, false));
        last = doc;
    }
    list = ps_json_built(list, err);
    op_json(request, ANS_V_ok,
            list != NULL ? json_pack("{s:o, s:s?}", "runs", list, "next",
                                     doc != NULL && last != NULL ? last->name : NULL)
                         : NULL);
}

/* The run that the path names. NULL: answered. */
static const struct cfg_doc *find_run(struct op_request *request)
{
    struct op_target target;

    if (!op_read_target(request, &cfg_kind_run, &target))
        return NULL;
    if (target.have == NULL)
        op_no(request, ANS_V_not_found,
              "there is no such run; one that has ended is kept for 30 "
              "days");
    return target.have;
}

static void get_run(struct op_request *request)
{
    const struct cfg_doc *doc = find_run(request);

    if (doc != NULL)
        op_json(request, ANS_V_ok, run_json(request->admin, doc, true));
}

/* --- Changes. --- */

/* Overrides are in force on this gateway when it is answered. */
static void apply(struct op_change *change, bool written)
{
    const struct op_deps *deps = &change->admin->deps;

    if (written) {
        adm_breakers_apply(deps->breakers, deps->config);
        ord_flow_apply(deps->flow, deps->config);
    }
}

static void answer_run(struct op_request *request, struct op_change *change)
{
    const struct cfg_doc *doc =
        cfg_store_find(change->admin->deps.config, &cfg_kind_run, change->name);
    char location[PS_NAME_MAX + 32];

    if (doc == NULL) {
        op_no(request, ANS_V_not_found, "there is no such run any more");
        return;
    }
    if (request->created) {
        int len = snprintf(location, sizeof location, "/admin/v1/runs/%s", doc->name);
        srv_answer_header(request->http, "Location", location, (size_t)len);
    }
    op_json(request, request->created ? ANS_V_created : ANS_V_ok,
            run_json(request->admin, doc, true));
}

static void submit(struct op_request *request, struct op_change *change, const char *run)
{
    change->kind = &cfg_kind_run;
    (void)snprintf(change->name, sizeof change->name, "%s", run);
    change->end = apply;
    change->answer = answer_run;
    op_change_submit(request, change);
}

/* --- Asking for one. --- */

static const enum ans_verdict refusals[] = {[PLAN_MAY] = ANS_V_internal,
                                            [PLAN_INVALID] = ANS_V_invalid,
                                            [PLAN_CLASHES] = ANS_V_in_use,
                                            [PLAN_NOT_SO] = ANS_V_conflict};

/* False: answered. */
static bool read_asked(struct op_request *request, struct plan_asked *ret_asked)
{
    json_t *body = request->body != NULL ? json_copy(request->body) : json_object();
    struct ps_faults faults = {0};
    struct ps_json_reader reader;

    *ret_asked = (struct plan_asked){.by = request->who, .reason = request->why};
    if (json_is_null(json_object_get(body, "ttl_s")))
        (void)json_object_del(body, "ttl_s");
    ps_json_reader_init_all(&reader, body, "", &faults);
    ps_json_duration(&reader, "ttl_s", 1, CFG_PLAN_TTL_MAX_S, &ret_asked->ttl_s);
    ps_json_duration(&reader, "arm_ttl_s", 1, CFG_RUN_ARM_MAX_S, &ret_asked->arm_ttl_s);
    ps_json_bool(&reader, "force", &ret_asked->force);
    ps_json_bool(&reader, "break_glass", &ret_asked->break_glass);
    (void)ps_json_has(&reader, "reason");
    if (ret_asked->break_glass && request->why[0] == '\0')
        ps_json_fault(&reader, "reason", "is missing: say why nobody can approve it");
    int err = ps_json_done(&reader);
    json_decref(body);
    if (err < 0)
        op_faults(request, ANS_V_invalid, &faults);
    return err == 0;
}

/* What each override of the plan takes the place of. */
static json_t *overrides_json(const struct op_admin *admin, const struct plan_run *run,
                              bool *ret_ladder)
{
    json_t *list = json_array();
    char name[CFG_NAME_MAX + 1];
    int err = list == NULL;

    for (size_t i = 0; err == 0 && i < run->plan->step_count; i++) {
        const struct cfg_plan_step *step = &run->plan->steps[i];
        if (step->type != CFG_STEP_OVERRIDE)
            continue;
        cfg_override_name(&step->override, name);
        const struct cfg_doc *have = cfg_store_find(admin->deps.config, &cfg_kind_override, name);
        *ret_ladder |= step->override.kind == CFG_OVERRIDE_LEVEL ||
                       step->override.kind == CFG_OVERRIDE_FEATURE;
        err = json_array_append_new(
            list, json_pack("{s:i, s:s, s:o, s:o}", "step", (int)i, "override", name, "value",
                            cfg_override_value_json(step->override.kind, step->override.value),
                            "replaces", have != NULL ? cfg_doc_json(have) : json_null()));
    }
    return ps_json_built(list, err);
}

static const char *would(const struct plan_run *run, int err)
{
    if (err < 0)
        return "fail";
    return plan_run_next(run) == CFG_RUN_ACTIVE ? "start" : "arm";
}

/* Takes the outlook's lists over. */
static int show_outlook(json_t *json, struct plan_outlook *outlook)
{
    json_t *faults = json_array();
    int err = 0;

    for (size_t i = 0; i < outlook->faults.count && i < PS_FAULTS_KEPT; i++)
        err |= json_array_append_new(faults, op_fault_json(&outlook->faults.at[i]));
    err |= json_object_set_new(json, "faults", faults);
    err |= json_object_set(json, "preconditions",
                           outlook->preconditions != NULL ? outlook->preconditions : json_null());
    err |= json_object_set(json, "conflicts",
                           outlook->conflicts != NULL ? outlook->conflicts : json_null());
    return err;
}

/* Why the run is not to be had at all, such as that it would lapse before its moment: what its
 * steps come to does not say it. */
static void add_faults(struct plan_outlook *to, const struct ps_faults *from)
{
    for (size_t i = 0; i < from->count && i < PS_FAULTS_KEPT; i++) {
        bool known = false;
        for (size_t j = 0; j < to->faults.count && j < PS_FAULTS_KEPT; j++)
            known |= strcmp(to->faults.at[j].path, from->at[i].path) == 0;
        if (!known)
            (void)ps_faults_add(&to->faults, PS_E_INVALID, from->at[i].path, "%s",
                                from->at[i].text);
    }
}

/* The steps as they would be now, whenever they are to be. `asked_err`: the run is not to be had,
 * for these faults. */
static void say_dry_run(struct op_request *request, const struct plan_run *asked, int asked_err,
                        const struct ps_faults *faults)
{
    struct op_change *change = op_change_new(request, "plan.start", "runs");
    const struct plan_world world = plans_world(request->admin->deps.plans);
    struct plan_outlook outlook = {0};
    struct plan_run *run = NULL;
    bool ladder = false;

    if (change == NULL)
        return;
    int err = plan_run_copy(asked, &run);
    if (err == 0)
        err = plan_run_begin(&world, run, change->change, &outlook);
    add_faults(&outlook, faults);
    json_t *json = json_pack("{s:b, s:s}", "dry_run", 1, "would", would(asked, asked_err));
    int failed = json == NULL || (err < 0 && err != PS_E_INVALID);
    if (!failed)
        failed =
            op_show_changes(request->admin, change->change, json) |
            json_object_set_new(json, "overrides", overrides_json(request->admin, run, &ladder)) |
            show_outlook(json, &outlook);
    if (!failed && ladder)
        failed = op_show_levels(request->admin, change->change, json);
    plan_outlook_free(&outlook);
    plan_run_free(run);
    op_change_free(change);
    op_json(request, ANS_V_ok, ps_json_built(json, failed));
}

static void answer_refused(struct op_request *request, struct op_change *change, int err,
                           const struct plan_outlook *outlook)
{
    op_change_free(change);
    if (err == PS_E_INVALID)
        op_faults(request, refusals[outlook->no], &outlook->faults);
    else
        op_no(request, ANS_V_internal, "%s", ps_err_text(err));
}

static void start_run(struct op_request *request)
{
    struct plans *plans = request->admin->deps.plans;
    const struct plan_world world = plans_world(plans);
    struct plan_outlook outlook = {0};
    struct plan_run *run = NULL;
    char id[PS_NAME_MAX + 1], target[PS_NAME_MAX + 8];
    struct plan_asked asked;
    struct op_target plan;
    bool dry_run;

    if (!op_read_dry_run(request, &dry_run) || !op_read_target(request, &cfg_kind_plan, &plan) ||
        !read_asked(request, &asked))
        return;
    if (plan.have == NULL) {
        op_no(request, ANS_V_not_found, "no such plan");
        return;
    }
    plans_new_id(plans, id);
    asked.name = id;
    (void)snprintf(target, sizeof target, "runs/%s", id);
    struct op_change *change = op_change_new(request, "plan.start", target);
    if (change == NULL)
        return;
    int err = plan_run_ask(&world, plan.have, &asked, change->change, &outlook, &run);
    if (dry_run && run != NULL) {
        op_change_free(change);
        say_dry_run(request, run, err, &outlook.faults);
    } else if (err < 0) {
        answer_refused(request, change, err, &outlook);
    } else {
        request->created = true;
        submit(request, change, id);
    }
    plan_outlook_free(&outlook);
    plan_run_free(run);
}

/* --- Its further life. --- */

enum hand { APPROVE, CANCEL, KEEP, REVERT };

static int lay_hand_on(struct op_request *request, enum hand hand, bool force, struct plan_run *run,
                       struct cfg_change *change, struct ps_fault *fault)
{
    const struct plan_world world = plans_world(request->admin->deps.plans);

    switch (hand) {
    case APPROVE:
        return plan_run_approve(&world, run, request->who, change, fault);
    case CANCEL:
        return plan_run_cancel(&world, run, change, fault);
    case KEEP:
        return plan_run_keep(&world, run, change, fault);
    default:
        return plan_run_revert(&world, run, CFG_END_REVERTED, force, change, fault);
    }
}

static void change_run(struct op_request *request, enum hand hand, bool force)
{
    static const char *const actions[] = {"plan.approve", "plan.cancel", "plan.keep",
                                          "plan.revert"};
    const struct cfg_doc *doc = find_run(request);
    struct plan_run *was = NULL, *run = NULL;
    char target[PS_NAME_MAX + 8];
    struct ps_fault fault = {0};

    if (doc == NULL)
        return;
    (void)snprintf(target, sizeof target, "runs/%.64s", doc->name);
    struct op_change *change = op_change_new(request, actions[hand], target);
    if (change == NULL)
        return;
    int err = plan_run_read(doc, &was);
    if (err == 0)
        err = plan_run_copy(was, &run);
    if (err == 0)
        err = lay_hand_on(request, hand, force, run, change->change, &fault);
    if (err == 0) {
        plan_run_line(change->change, run, was);
        submit(request, change, doc->name);
    } else {
        op_change_free(change);
        op_no(request, err == PS_E_CONFLICT ? ANS_V_conflict : ANS_V_internal, "%s",
              fault.text[0] != '\0' ? fault.text : ps_err_text(err));
    }
    plan_run_free(run);
    plan_run_free(was);
}

static void approve_run(struct op_request *request)
{
    if (op_only_reason(request))
        change_run(request, APPROVE, false);
}

static void cancel_run(struct op_request *request)
{
    if (op_only_reason(request))
        change_run(request, CANCEL, false);
}

static void keep_run(struct op_request *request)
{
    if (op_only_reason(request))
        change_run(request, KEEP, false);
}

static void revert_run(struct op_request *request)
{
    json_t *body = request->body != NULL ? json_incref(request->body) : json_object();
    struct ps_faults faults = {0};
    struct ps_json_reader reader;
    bool force = false;

    ps_json_reader_init_all(&reader, body, "", &faults);
    ps_json_bool(&reader, "force", &force);
    (void)ps_json_has(&reader, "reason");
    int err = ps_json_done(&reader);
    json_decref(body);
    if (err < 0)
        op_faults(request, ANS_V_invalid, &faults);
    else
        change_run(request, REVERT, force);
}

/* --- Metrics. --- */

static int compare_ends(const void *a, const void *b)
{
    int64_t first = (*(const struct plan_run *const *)a)->run->until_ms;
    int64_t second = (*(const struct plan_run *const *)b)->run->until_ms;

    return (first > second) - (first < second);
}

static void print_ends(FILE *out, const struct plan_runs *runs)
{
    const struct plan_run *active[CFG_RUNS_LIVE_MAX];
    size_t count = 0;

    for (size_t i = 0; i < runs->count && count < CFG_RUNS_LIVE_MAX; i++)
        if (runs->at[i]->run->state == CFG_RUN_ACTIVE && runs->at[i]->run->until_ms != INT64_MAX)
            active[count++] = runs->at[i];
    qsort(active, count, sizeof(struct plan_run *), compare_ends);
    for (size_t i = 0, shown = 0; i < count && shown < ENDS_MAX; i++) {
        bool again = false; /* one series a plan: the first end */
        for (size_t j = 0; j < i; j++)
            again |= strcmp(active[j]->run->plan, active[i]->run->plan) == 0;
        if (again)
            continue;
        fprintf(out, "%s{plan=\"%s\"} %.3f\n", gw_metric_table[GW_M_PLAN_ENDS].name,
                active[i]->run->plan, (double)active[i]->run->until_ms / 1000);
        shown++;
    }
}

static void print_plans(FILE *out, enum gw_metric row, const struct op_admin *admin)
{
    const struct plan_runs *runs = plans_live(admin->deps.plans);
    size_t active = 0, suspended = 0;

    if (row == GW_M_PLAN_ENDS) {
        print_ends(out, runs);
        return;
    }
    for (size_t i = 0; i < runs->count; i++) {
        active += runs->at[i]->run->state == CFG_RUN_ACTIVE;
        suspended += runs->at[i]->run->state == CFG_RUN_SUSPENDED;
    }
    fprintf(out, "%s %zu\n", gw_metric_table[row].name,
            row == GW_M_PLANS_ACTIVE ? active + suspended : suspended);
}

/* --- What it brings. --- */

/* clang-format off */
const struct op_part op_runs_part = {
    .routes = (const struct op_route[]){
        {"/admin/v1/plans/{}/runs",   SRV_POST, OP_ROLE_OPERATOR, OP_CHANGES | OP_QUERY, start_run},
        {"/admin/v1/runs",            SRV_GET,  OP_ROLE_VIEWER,   OP_QUERY,              list_runs},
        {"/admin/v1/runs/{}",         SRV_GET,  OP_ROLE_VIEWER,   0,                     get_run},
        {"/admin/v1/runs/{}/approve", SRV_POST, OP_ROLE_OPERATOR, OP_CHANGES,            approve_run},
        {"/admin/v1/runs/{}/cancel",  SRV_POST, OP_ROLE_OPERATOR, OP_CHANGES,            cancel_run},
        {"/admin/v1/runs/{}/keep",    SRV_POST, OP_ROLE_OPERATOR, OP_CHANGES,            keep_run},
        {"/admin/v1/runs/{}/revert",  SRV_POST, OP_ROLE_OPERATOR, OP_CHANGES,            revert_run},
        {0}},
    .rows = (const struct op_rows[]){{GW_M_PLANS_ACTIVE, GW_M_PLAN_ENDS, print_plans}, {0}},
};
/* clang-format on */
