/* See plans.h. What is due is done one run at a time: a change is submitted, and until it has come
 * into force, or failed, nothing else is begun. What failed is due again with the next tick: the
 * run stays as it was. */
#include "gateway/plans/plans.h"

#include "common/grow.h"
#include "common/program/log.h"
#include "gateway/metrics.h"
#include "gateway/plans/changes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_MS 1000 /* after a change that failed */

struct plans {
    struct plans_deps deps;
    struct plan_runs runs;
    struct ps_uuid_source ids;
    bool is_busy;     /* a change is under way */
    int64_t retry_ms; /* nothing is begun before; wall clock */
};

int plans_new(const struct plans_deps *deps, struct plans **ret_plans)
{
    struct plans *plans = calloc(1, sizeof *plans);

    if (plans == NULL)
        return PS_E_NOMEM;
    plans->deps = *deps;
    ps_uuid_source_init(&plans->ids);
    *ret_plans = plans;
    return 0;
}

void plans_free(struct plans *plans)
{
    if (plans == NULL)
        return;
    for (size_t i = 0; i < plans->runs.count; i++)
        plan_run_free(plans->runs.at[i]);
    free(plans->runs.at);
    free(plans);
}

/* --- The index. --- */

static size_t place_of(const struct plan_runs *runs, const char *name, bool *ret_there)
{
    size_t i = 0;

    while (i < runs->count && strcmp(runs->at[i]->name, name) < 0)
        i++;
    *ret_there = i < runs->count && strcmp(runs->at[i]->name, name) == 0;
    return i;
}

static void remove_run(struct plan_runs *runs, const char *name)
{
    bool there;
    size_t i = place_of(runs, name, &there);

    if (!there)
        return;
    plan_run_free(runs->at[i]);
    runs->count--;
    memmove(&runs->at[i], &runs->at[i + 1], (runs->count - i) * sizeof(struct plan_run *));
}

static int put_run(struct plan_runs *runs, const struct cfg_doc *doc)
{
    struct plan_run *run;
    bool there;
    size_t i = place_of(runs, doc->name, &there);
    int err = ps_grow(&runs->at, &runs->room, runs->count + 1, sizeof(struct plan_run *));

    if (err == 0)
        err = plan_run_read(doc, &run);
    if (err < 0)
        return err;
    if (there) {
        run->above_since_ms = runs->at[i]->above_since_ms;
        plan_run_free(runs->at[i]);
    } else {
        memmove(&runs->at[i + 1], &runs->at[i], (runs->count - i) * sizeof(struct plan_run *));
        runs->count++;
    }
    runs->at[i] = run;
    return 0;
}

/* It was to start and did not, because nobody approved it or its moment lay behind its lapse: then
 * it has failed, for whoever counts. A signal that did not come is no failure. */
static bool is_missed(const struct plans *plans, const struct cfg_doc *from,
                      const struct cfg_doc *to)
{
    bool there;
    size_t i = place_of(&plans->runs, to->name, &there);

    return cfg_run_of(to)->end == CFG_END_EXPIRED && cfg_run_of(to)->started_ms == INT64_MAX &&
           !(there && from != NULL && cfg_run_of(from)->state == CFG_RUN_ARMED &&
             plans->runs.at[i]->plan->start.type == CFG_START_SIGNAL);
}

static void say_state(const struct cfg_doc *doc, bool is_missed)
{
    const struct cfg_run *run = cfg_run_of(doc);
    bool bad = run->state == CFG_RUN_SUSPENDED || run->end == CFG_END_FAILED || is_missed;

    ps_log(bad ? PS_LOG_WARN : PS_LOG_INFO, bad ? "plan_run_trouble" : "plan_run",
           PS_F_STR("plan", run->plan), PS_F_STR("run", doc->name),
           PS_F_STR("state", cfg_run_states[run->state]),
           PS_F_STR("end", run->end != CFG_END_NONE ? cfg_run_ends[run->end] : NULL),
           PS_F_STR("why", run->why), PS_F_STR("who", doc->by.who));
}

/* Ends and broken glass, each at the gateway that has brought them about. */
static void count(const struct plans *plans, const struct cfg_doc *from, const struct cfg_doc *to)
{
    const struct cfg_run *run = cfg_run_of(to);

    if (plans->deps.shard == NULL || !cfg_store_is_own_change(plans->deps.store))
        return;
    if (run->end != CFG_END_NONE)
        ps_metric_add(plans->deps.shard, GW_M_PLAN_RUNS,
                      (is_missed(plans, from, to) ? CFG_END_FAILED : run->end) - 1, 1);
    if (from == NULL && run->break_glass)
        ps_metric_add(plans->deps.shard, GW_M_PLAN_BREAK_GLASS, 0, 1);
}

/* Keeps the sums of ended runs: thousands of them are not to be walked for each new run. */
static void sum_ended(struct plan_runs *runs, const struct cfg_doc *from, const struct cfg_doc *to)
{
    if (from != NULL && cfg_run_of(from)->state == CFG_RUN_ENDED) {
        runs->ended--;
        runs->ended_bytes -= strlen(from->json);
    }
    if (to != NULL && to->parsed != NULL && cfg_run_of(to)->state == CFG_RUN_ENDED) {
        runs->ended++;
        runs->ended_bytes += strlen(to->json);
    }
}

int plans_put(struct plans *plans, const struct cfg_doc *from, const struct cfg_doc *to)
{
    if (from != NULL && from->parsed == NULL)
        from = NULL;
    sum_ended(&plans->runs, from, to);
    if (to == NULL || to->parsed == NULL) {
        remove_run(&plans->runs, to != NULL ? to->name : from->name);
        return 0;
    }
    const struct cfg_run *run = cfg_run_of(to);
    if (from == NULL || cfg_run_of(from)->state != run->state) {
        if (run->state != CFG_RUN_ENDED || from != NULL)
            say_state(to, is_missed(plans, from, to));
        count(plans, from, to);
    }
    if (run->state != CFG_RUN_ENDED)
        return put_run(&plans->runs, to);
    remove_run(&plans->runs, to->name);
    return 0;
}

int64_t plans_starts_ms(const struct plans *plans, const char *run)
{
    const struct plan_world world = plans_world(plans);
    bool there;
    size_t i = place_of(&plans->runs, run, &there);

    return there ? plan_run_starts_ms(&world, plans->runs.at[i]) : INT64_MAX;
}

const struct plan_runs *plans_live(const struct plans *plans)
{
    return &plans->runs;
}

void plans_new_id(struct plans *plans, char ret_name[PS_NAME_MAX + 1])
{
    struct ps_uuid id;

    ps_uuid_next(&plans->ids, ps_clock_wall_ms(cfg_store_clock(plans->deps.store)), &id);
    ps_uuid_format(&id, ret_name);
}

/* --- What runs hold. --- */

const char *plans_holder(const struct plans *plans, const struct cfg_kind *kind, const char *name)
{
    struct cfg_member member;
    json_t *entry;
    size_t j;

    for (size_t i = 0; i < plans->runs.count; i++) {
        const struct plan_run *run = plans->runs.at[i];
        if (kind == &cfg_kind_plan && strcmp(run->run->plan, name) == 0)
            return run->name;
        json_array_foreach(run->changes, j,
                           entry) if (plan_change_is_held(entry) &&
                                      plan_change_member(entry, &member) &&
                                      kind != &cfg_kind_override && member.kind == kind &&
                                      strcmp(member.name, name) == 0) return run->name;
    }
    return NULL;
}

bool plans_undo(const struct plans *plans, const struct cfg_kind *kind, const char *name,
                json_t *json)
{
    for (size_t i = 0; i < plans->runs.count; i++)
        if (!plan_run_undo(plans->runs.at[i], kind, name, json))
            return false;
    return true;
}

static bool touches(const struct plan_run *run, const struct cfg_doc *doc, const json_t *from,
                    const json_t *to)
{
    struct cfg_member member;
    json_t *entry;
    size_t i;

    json_array_foreach(run->changes, i,
                       entry) if (plan_change_is_held(entry) &&
                                  plan_change_member(entry, &member) && member.kind == doc->kind &&
                                  strcmp(member.name, doc->name) == 0 &&
                                  !plan_member_same(plan_member_get(from, member.path),
                                                    plan_member_get(to, member.path))) return true;
    return false;
}

const struct plan_run *plans_find_touched(const struct plans *plans, const struct cfg_doc *from,
                                          const struct cfg_doc *to)
{
    const struct plan_run *found = NULL;

    if (plans->runs.count == 0)
        return NULL;
    json_t *before = from != NULL ? cfg_doc_json(from) : NULL, *after = cfg_doc_json(to);
    for (size_t i = 0; found == NULL && i < plans->runs.count; i++)
        if (touches(plans->runs.at[i], to, before, after))
            found = plans->runs.at[i];
    json_decref(before);
    json_decref(after);
    return found;
}

/* --- Time. --- */

struct plan_world plans_world(const struct plans *plans)
{
    const struct plans_deps *deps = &plans->deps;

    return (struct plan_world){.store = deps->store,
                               .runs = &plans->runs,
                               .now_ms = ps_clock_wall_ms(cfg_store_clock(deps->store)),
                               .ctx = deps->ctx,
                               .sale_state = deps->sale_state,
                               .share = deps->share,
                               .gateways = deps->gateways,
                               .has_breaker = deps->has_breaker};
}

static void on_done(int err, const struct ps_fault *fault, void *ctx)
{
    struct plans *plans = ctx;

    plans->is_busy = false;
    if (err == 0 || err == PS_E_CLOSED)
        return;
    plans->retry_ms = ps_clock_wall_ms(cfg_store_clock(plans->deps.store)) + RETRY_MS;
    ps_log(PS_LOG_WARN, "plan_change_failed",
           PS_F_STR("error", fault->text[0] != '\0' ? fault->text : ps_err_text(err)));
}

static void submit(struct plans *plans, struct cfg_change *change)
{
    const struct ps_fault none = {0};

    plans->is_busy = true;
    int err = cfg_change_submit(change, on_done, plans);
    if (err < 0)
        on_done(err, &none, plans);
}

static void do_what_is_due(struct plans *plans, const struct plan_run *run, enum plan_due due)
{
    const struct plan_world world = plans_world(plans);
    const struct ps_fault none = {0};
    struct plan_run *copy = NULL;
    char why[CFG_WHY_SIZE];

    (void)snprintf(why, sizeof why, "%.64s, run by %.64s%s%.200s", run->run->plan, run->run->by,
                   run->run->reason != NULL ? ": " : "",
                   run->run->reason != NULL ? run->run->reason : "");
    struct cfg_change *change =
        cfg_change_new(plans->deps.store, &(struct cfg_author){.at_ms = world.now_ms,
                                                               .who = CFG_BY_GATEWAY,
                                                               .peer = "",
                                                               .action = plan_due_action(due),
                                                               .why = why});
    int err = change != NULL ? plan_run_copy(run, &copy) : PS_E_NOMEM;
    if (err == 0)
        err = plan_run_do(&world, copy, due, change);
    plan_run_free(copy);
    if (err == 0) {
        submit(plans, change);
        return;
    }
    cfg_change_free(change);
    on_done(err, &none, plans);
}

void plans_tick(struct plans *plans)
{
    const struct plans_deps *deps = &plans->deps;
    const struct plan_world world = plans_world(plans);
    bool leads = deps->leads == NULL || deps->leads(deps->ctx);

    if (plans->runs.count == 0 || plans->is_busy || !leads || world.now_ms < plans->retry_ms ||
        !cfg_store_is_synced(deps->store) || !cfg_store_takes_changes(deps->store))
        return;
    for (size_t i = 0; i < plans->runs.count; i++) {
        struct plan_run *run = plans->runs.at[i];
        enum plan_due due = plan_run_due(&world, run);
        if (due == PLAN_NOTHING_DUE)
            continue;
        do_what_is_due(plans, run, due);
        return;
    }
}
