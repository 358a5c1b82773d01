/* One run: asked for, armed, approved, kept, cancelled, and what is due. See run.h. */
#include "gateway/plans/changes.h"

#include "gateway/config/kinds/sale_doc.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARM_TTL_S   86400
#define ENDED_BYTES ((size_t)32 << 20) /* of all runs that have ended */

/* --- Asked for. --- */

static int no(struct plan_outlook *outlook, enum plan_no why, const char *path, const char *text)
{
    if (outlook->no == PLAN_MAY || why < outlook->no)
        outlook->no = why;
    return ps_faults_add(&outlook->faults, PS_E_INVALID, path, "%s", text);
}

/* Nothing happens with it yet. */
static int new_run(const struct plan_world *world, const struct cfg_doc *plan,
                   const struct plan_asked *asked, struct plan_run **ret_run)
{
    const struct cfg_plan *is = cfg_plan_of(plan);
    int64_t ttl_s = asked->ttl_s > 0 ? asked->ttl_s : is->ttl_s;
    int64_t arm_s = asked->arm_ttl_s > 0 ? asked->arm_ttl_s : ARM_TTL_S;
    bool glass = asked->break_glass && is->approvals > 0;
    bool has_reason = asked->reason != NULL && asked->reason[0] != '\0';
    json_t *json = json_pack(
        "{s:s, s:s, s:s, s:s?, s:b, s:b, s:o, s:o, s:o, s:I, s:o}", "plan", plan->name, "state",
        cfg_run_states[CFG_RUN_ARMED], "by", asked->by, "reason", has_reason ? asked->reason : NULL,
        "force", (int)asked->force, "break_glass", (int)glass, "since",
        ps_json_of_time(world->now_ms), "created", ps_json_of_time(world->now_ms), "lapses",
        ps_json_of_time(world->now_ms + arm_s * 1000), "approvals",
        (json_int_t)(glass ? 0 : is->approvals), "as_it_was", cfg_doc_json(plan));

    if (json != NULL && ttl_s > 0 && json_object_set_new(json, "ttl_s", json_integer(ttl_s)) != 0) {
        json_decref(json);
        json = NULL;
    }
    return plan_run_make(asked->name, json, ret_run);
}

enum cfg_run_state plan_run_next(const struct plan_run *run)
{
    if (run->run->approvals > (int64_t)run->run->approved_count)
        return CFG_RUN_WAITING;
    return run->plan->start.type == CFG_START_BY_HAND ? CFG_RUN_ACTIVE : CFG_RUN_ARMED;
}

/* The oldest of too many runs that have ended go. PS_E_INVALID: too many have not. */
static int make_room(const struct plan_world *world, struct cfg_change *change,
                     struct plan_outlook *outlook)
{
    const struct cfg_doc *doc = NULL;
    size_t count = world->runs->ended, bytes = world->runs->ended_bytes;
    int err = 0;

    if (world->runs->count >= CFG_RUNS_LIVE_MAX)
        return no(outlook, PLAN_NOT_SO, "",
                  "there are as many runs that have not ended as there may be");
    while (err == 0 && (count >= CFG_RUNS_ENDED_MAX || bytes > ENDED_BYTES) &&
           (doc = cfg_store_next(world->store, &cfg_kind_run, doc)) != NULL) {
        struct plan_run *run;
        if (cfg_run_of(doc)->state != CFG_RUN_ENDED)
            continue;
        err = plan_run_read(doc, &run);
        if (err < 0)
            break;
        run->run->forget_ms = world->now_ms;
        err = plan_run_put(change, run);
        plan_run_free(run);
        count--;
        bytes -= strlen(doc->json);
    }
    return err;
}

/* --- Its moment. --- */

/* When it is to start; INT64_MAX: that is not known. False: its sale is gone, it never comes. */
static bool find_moment(const struct plan_world *world, const struct plan_run *run, int64_t *ret_ms)
{
    const struct cfg_plan_start *start = &run->plan->start;
    const struct cfg_doc *sale;

    *ret_ms = start->type == CFG_START_AT ? start->at_ms : INT64_MAX;
    if (start->type != CFG_START_SALE)
        return true;
    sale = cfg_store_find(world->store, &cfg_kind_sale, start->sale);
    if (sale == NULL)
        return false;
    int64_t opens_ms = cfg_sale_of(sale)->doc.opens_at_ms;
    if (opens_ms != INT64_MAX)
        *ret_ms = opens_ms - start->before_opening_s * 1000;
    return true;
}

int64_t plan_run_starts_ms(const struct plan_world *world, const struct plan_run *run)
{
    enum cfg_run_state state = run->run->state;
    int64_t moment_ms;

    return (state == CFG_RUN_WAITING || state == CFG_RUN_ARMED) &&
                   find_moment(world, run, &moment_ms)
               ? moment_ms
               : INT64_MAX;
}

/* PS_E_INVALID */
static int refuse_lapse(const struct plan_run *run, int64_t moment_ms, struct plan_outlook *outlook)
{
    const struct cfg_plan_start *start = &run->plan->start;
    bool of_sale = start->type == CFG_START_SALE;
    char begins[PS_TIME_LEN + 1], lapses[PS_TIME_LEN + 1], text[160];

    ps_time_format(of_sale ? moment_ms + start->before_opening_s * 1000 : moment_ms, begins);
    ps_time_format(run->run->lapses_ms, lapses);
    (void)snprintf(text, sizeof text, "%s at %s, after this would lapse at %s",
                   of_sale ? "opens" : "starts", begins, lapses);
    return no(outlook, PLAN_INVALID, "/arm_ttl_s", text);
}

/* It waits for approvals, or for its moment. */
static int arm(const struct plan_world *world, struct plan_run *run, struct cfg_change *change,
               struct plan_outlook *outlook)
{
    int64_t moment_ms;
    int err;

    if (!find_moment(world, run, &moment_ms))
        return no(outlook, PLAN_INVALID, "/start/sale", "there is no such sale");
    if (moment_ms <= world->now_ms)
        return no(outlook, PLAN_NOT_SO, "/start", "its moment has passed already");
    if (moment_ms != INT64_MAX && moment_ms >= run->run->lapses_ms)
        return refuse_lapse(run, moment_ms, outlook);
    err = plan_run_look(world, run, outlook);
    if (err < 0)
        return err;
    plan_run_set(run, plan_run_next(run), world->now_ms);
    return plan_run_put(change, run);
}

int plan_run_ask(const struct plan_world *world, const struct cfg_doc *plan,
                 const struct plan_asked *asked, struct cfg_change *change,
                 struct plan_outlook *outlook, struct plan_run **ret_run)
{
    struct plan_run *run;
    int err = new_run(world, plan, asked, &run);

    if (err < 0)
        return PS_E_NOMEM;
    err = make_room(world, change, outlook);
    if (err == 0 && plan_run_next(run) != CFG_RUN_ACTIVE)
        err = arm(world, run, change, outlook);
    else if (err == 0)
        err = plan_run_begin(world, run, change, outlook);
    if (err == 0)
        plan_run_line(change, run, NULL);
    if (err == 0 || err == PS_E_INVALID)
        *ret_run = run;
    else
        plan_run_free(run);
    return err == 0 || err == PS_E_INVALID ? err : PS_E_NOMEM;
}

/* --- Approvals. --- */

/* Its steps, or their failure, which is an end. PS_E_NOMEM. */
static int begin_or_fail(const struct plan_world *world, struct plan_run *run,
                         struct cfg_change *change)
{
    struct plan_outlook outlook = {0};
    struct plan_run *was;
    int err = plan_run_copy(run, &was);

    if (err < 0)
        return err;
    err = plan_run_begin(world, run, change, &outlook);
    if (err == PS_E_INVALID) {
        const struct ps_fault *fault = &outlook.faults.at[0];
        cfg_change_clear(change);
        plan_run_end(run, CFG_END_FAILED, world->now_ms);
        plan_run_say(run, "%s%s%s", fault->path, fault->path[0] != '\0' ? " " : "", fault->text);
        err = plan_run_put(change, run);
    }
    if (err == 0)
        plan_run_line(change, run, was);
    plan_run_free(was);
    plan_outlook_free(&outlook);
    return err;
}

int plan_run_approve(const struct plan_world *world, struct plan_run *run, const char *who,
                     struct cfg_change *change, struct ps_fault *fault)
{
    struct cfg_run *is = run->run;
    struct cfg_run_approval *approved;

    if (is->state != CFG_RUN_WAITING)
        return ps_fault(fault, PS_E_CONFLICT, "", "it waits for no approval: it is %s",
                        cfg_run_states[is->state]);
    if (strcmp(is->by, who) == 0)
        return ps_fault(fault, PS_E_CONFLICT, "",
                        "the token that asked for the run cannot approve it: use another");
    for (size_t i = 0; i < is->approved_count; i++)
        if (strcmp(is->approved[i].who, who) == 0)
            return ps_fault(fault, PS_E_CONFLICT, "", "this token has approved it already");
    approved = realloc(is->approved, (is->approved_count + 1) * sizeof *approved);
    if (approved == NULL)
        return ps_fault(fault, PS_E_NOMEM, "", "out of memory");
    is->approved = approved;
    approved[is->approved_count] = (struct cfg_run_approval){.at_ms = world->now_ms};
    (void)snprintf(approved[is->approved_count].who, sizeof approved->who, "%s", who);
    is->approved_count++;
    enum cfg_run_state next = plan_run_next(run);
    if (next == CFG_RUN_ACTIVE)
        return begin_or_fail(world, run, change);
    plan_run_set(run, next, world->now_ms);
    int err = plan_run_put(change, run);
    if (err == 0)
        plan_run_line(change, run, NULL);
    return err;
}

/* --- Ends by hand. --- */

int plan_run_keep(const struct plan_world *world, struct plan_run *run, struct cfg_change *change,
                  struct ps_fault *fault)
{
    enum cfg_run_state state = run->run->state;
    json_t *entry;
    size_t i;
    int err = 0;

    if (state != CFG_RUN_ACTIVE && state != CFG_RUN_SUSPENDED)
        return ps_fault(fault, PS_E_CONFLICT, "", "there is nothing to keep: it is %s",
                        cfg_run_states[state]);
    json_array_foreach(run->changes, i, entry) if (err == 0 && plan_change_is_held(entry)) err =
        plan_change_done(entry, "kept");
    plan_run_end(run, CFG_END_KEPT, world->now_ms);
    return err == 0 ? plan_run_put(change, run) : err;
}

int plan_run_cancel(const struct plan_world *world, struct plan_run *run, struct cfg_change *change,
                    struct ps_fault *fault)
{
    enum cfg_run_state state = run->run->state;

    if (state != CFG_RUN_WAITING && state != CFG_RUN_ARMED)
        return ps_fault(fault, PS_E_CONFLICT, "", "it is %s: %s", cfg_run_states[state],
                        state == CFG_RUN_ENDED ? "there is nothing to cancel" : "revert it");
    plan_run_end(run, CFG_END_CANCELLED, world->now_ms);
    return plan_run_put(change, run);
}

/* --- What is due. --- */

/* Has the signal been above its bound for long enough? */
static bool is_high(const struct plan_world *world, struct plan_run *run)
{
    const struct cfg_plan_start *start = &run->plan->start;
    double share = world->share != NULL ? world->share(world->ctx, start->signal) : NAN;

    if (!(share > start->above))
        run->above_since_ms = INT64_MAX;
    else if (run->above_since_ms > world->now_ms)
        run->above_since_ms = world->now_ms;
    return run->above_since_ms != INT64_MAX &&
           world->now_ms - run->above_since_ms >= start->for_s * 1000;
}

static enum plan_due armed_due(const struct plan_world *world, struct plan_run *run)
{
    int64_t moment_ms;

    if (!find_moment(world, run, &moment_ms))
        return PLAN_FAIL_DUE;
    if (moment_ms <= world->now_ms)
        return run->run->state == CFG_RUN_ARMED && world->now_ms - moment_ms < PLAN_LATE_MAX_MS
                   ? PLAN_START_DUE
                   : PLAN_FAIL_DUE;
    if (run->run->state == CFG_RUN_ARMED && run->plan->start.type == CFG_START_SIGNAL &&
        is_high(world, run))
        return PLAN_START_DUE;
    return run->run->lapses_ms <= world->now_ms ? PLAN_LAPSE_DUE : PLAN_NOTHING_DUE;
}

enum plan_due plan_run_due(const struct plan_world *world, struct plan_run *run)
{
    switch (run->run->state) {
    case CFG_RUN_WAITING:
    case CFG_RUN_ARMED:
        return armed_due(world, run);
    case CFG_RUN_ACTIVE:
        return run->run->until_ms <= world->now_ms ? PLAN_EXPIRE_DUE : PLAN_NOTHING_DUE;
    default:
        return PLAN_NOTHING_DUE;
    }
}

const char *plan_due_action(enum plan_due due)
{
    static const char *const actions[] = {"", "plan.start", "plan.lapse", "plan.fail",
                                          "plan.expire"};

    return actions[due];
}

/* It ends before it was active. */
static int end_early(const struct plan_world *world, struct plan_run *run, enum plan_due due,
                     struct cfg_change *change)
{
    bool waits = run->run->state == CFG_RUN_WAITING;
    int64_t moment_ms;

    bool comes = find_moment(world, run, &moment_ms);
    if (due == PLAN_LAPSE_DUE) {
        plan_run_end(run, CFG_END_EXPIRED, world->now_ms);
        plan_run_say(run, waits ? "nobody approved it in time" : "its moment did not come");
    } else {
        plan_run_end(run, CFG_END_FAILED, world->now_ms);
        if (!comes)
            plan_run_say(run, "/start/sale the sale \"%s\" is gone", run->plan->start.sale);
        else
            plan_run_say(run, "/start its moment passed %s",
                         waits ? "while it waited for approval" : "while no gateway was up");
    }
    return plan_run_put(change, run);
}

int plan_run_do(const struct plan_world *world, struct plan_run *run, enum plan_due due,
                struct cfg_change *change)
{
    struct ps_fault fault;
    struct plan_run *was;
    int err;

    if (due == PLAN_START_DUE)
        return begin_or_fail(world, run, change);
    err = plan_run_copy(run, &was);
    if (err < 0)
        return err;
    err = due == PLAN_EXPIRE_DUE
              ? plan_run_revert(world, run, CFG_END_EXPIRED, false, change, &fault)
              : end_early(world, run, due, change);
    if (err == 0)
        plan_run_line(change, run, was);
    plan_run_free(was);
    return err;
}
