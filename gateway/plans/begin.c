/* The steps of a run come into force:
 *
 *   what there is -> which members the steps change, and which of them another run holds -> what
 *   there would be without that run -> the documents and overrides of the steps -> what the run
 *   has changed, by the documents as they will be
 *
 * A run that takes over inherits what was before the other one, so that its end brings back the
 * first state. */
#include "gateway/plans/changes.h"

#include "common/text/json_patch.h"
#include "gateway/config/kinds/route_doc.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A document that a step changes. */
struct work {
    const struct cfg_kind *kind;
    const char *name;
    json_t *before; /* in force; NULL: there is none */
    json_t *base;   /* without the runs that are taken over; NULL: there would be none */
    json_t *after;
    bool is_bad; /* it cannot be put: the outlook says why */
};

struct beginning {
    const struct plan_world *world;
    struct plan_run *run;
    struct cfg_change *change; /* NULL: nothing is changed, it is only looked at */
    struct plan_outlook *outlook;
    struct work works[CFG_PLAN_STEPS_MAX];
    size_t work_count;
    struct cfg_members members;
    char names[CFG_PLAN_STEPS_MAX][CFG_NAME_MAX + 1]; /* of overrides, by step */
    json_t *adopted;                                  /* entries of runs that are taken over */
    struct plan_run *taken[CFG_RUNS_LIVE_MAX];        /* copies of those runs */
    size_t taken_count;
    bool no_memory;
};

static const char *const step_words[] = {"patch", "put", "override"};

static void PS_PRINTF(4, 5)
    refuse(struct beginning *at, enum plan_no no, const char *path, const char *fmt, ...)
{
    char text[sizeof at->outlook->faults.at[0].text];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (at->outlook->no == PLAN_MAY || no < at->outlook->no)
        at->outlook->no = no;
    (void)ps_faults_add(&at->outlook->faults, PS_E_INVALID, path, "%s", text);
}

static void step_path(const struct beginning *at, size_t step, const char *member,
                      char ret_path[64])
{
    (void)snprintf(ret_path, 64, "/steps/%zu/%s%s", step,
                   step_words[at->run->plan->steps[step].type], member);
}

/* --- What there is. --- */

static struct work *find_work(struct beginning *at, const struct cfg_kind *kind, const char *name)
{
    for (size_t i = 0; i < at->work_count; i++)
        if (at->works[i].kind == kind && strcmp(at->works[i].name, name) == 0)
            return &at->works[i];
    return NULL;
}

static struct work *add_work(struct beginning *at, const struct cfg_kind *kind, const char *name)
{
    const struct cfg_doc *doc = cfg_store_find(at->world->store, kind, name);
    struct work *work = find_work(at, kind, name);

    if (work != NULL)
        return work;
    work = &at->works[at->work_count++];
    *work = (struct work){.kind = kind, .name = name};
    if (doc != NULL) {
        work->before = cfg_doc_json(doc);
        work->base = json_deep_copy(work->before);
        at->no_memory |= work->before == NULL || work->base == NULL;
    }
    return work;
}

/* Is there what the override is about? */
static bool has_target(const struct plan_world *world, const struct cfg_override *override)
{
    const char *of = cfg_override_rest(override);
    char name[CFG_NAME_MAX + 1];
    size_t len = strcspn(of, ":");

    (void)snprintf(name, sizeof name, "%.*s", (int)len, of);
    if (override->kind == CFG_OVERRIDE_LIMIT)
        return cfg_store_find(world->store, &cfg_kind_limit, of) != NULL;
    if (override->kind == CFG_OVERRIDE_BREAKER)
        return world->has_breaker == NULL || world->has_breaker(world->ctx, of);
    if (override->kind != CFG_OVERRIDE_FALLBACK && override->kind != CFG_OVERRIDE_SPLIT)
        return true;
    const struct cfg_doc *doc = cfg_store_find(world->store, &cfg_kind_route, name);
    if (doc == NULL || override->kind == CFG_OVERRIDE_FALLBACK)
        return doc != NULL && cfg_route_of(doc)->fallback_count > 0;
    for (size_t i = 0; i < cfg_route_of(doc)->split_count; i++)
        if (of[len] == ':' && strcmp(cfg_route_of(doc)->splits[i].pool, of + len + 1) == 0)
            return true;
    return false;
}

static void list_step(struct beginning *at, size_t index)
{
    const struct cfg_plan_step *step = &at->run->plan->steps[index];
    struct cfg_member of = {&cfg_kind_override, at->names[index], (char[]){""}, index};
    char path[64];
    int err;

    if (step->type == CFG_STEP_OVERRIDE) {
        cfg_override_name(&step->override, at->names[index]);
        step_path(at, index, "/target", path);
        if (!has_target(at->world, &step->override))
            refuse(at, PLAN_INVALID, path, "there is no such target: %s", step->override.target);
        err = cfg_members_add(&at->members, &of);
    } else {
        struct work *work = add_work(at, cfg_plan_step_kind(step), step->name);
        of.kind = work->kind;
        of.name = work->name;
        step_path(at, index, "/name", path);
        bool patches = step->type == CFG_STEP_PATCH;
        if (patches && work->before == NULL)
            refuse(at, PLAN_INVALID, path, "there is no %s \"%.64s\"", work->kind->word,
                   work->name);
        work->is_bad |= patches && work->before == NULL;
        err = patches ? cfg_members_add_patch(&at->members, &of, step->json, work->before)
                      : cfg_members_add(&at->members, &of);
    }
    at->no_memory |= err == PS_E_NOMEM;
    if (err == PS_E_FULL)
        refuse(at, PLAN_INVALID, "/steps", "change too many members together");
}

/* --- Other runs. --- */

static struct plan_run *copy_taken(struct beginning *at, const struct plan_run *other)
{
    for (size_t i = 0; i < at->taken_count; i++)
        if (strcmp(at->taken[i]->name, other->name) == 0)
            return at->taken[i];
    if (plan_run_copy(other, &at->taken[at->taken_count]) < 0) {
        at->no_memory = true;
        return NULL;
    }
    return at->taken[at->taken_count++];
}

/* The run goes on with what the other one has changed: the document as it would be without it, or
 * the other's own entry, where both change the same by different means. */
static void take_over(struct beginning *at, const struct plan_run *other, size_t index,
                      struct cfg_member *mine)
{
    struct plan_run *taken = copy_taken(at, other);
    struct cfg_member theirs;
    json_t *entry = taken != NULL ? json_array_get(taken->changes, index) : NULL;

    if (entry == NULL || !plan_change_is_held(entry) || !plan_change_member(entry, &theirs))
        return;
    const json_t *set = json_object_get(entry, "set"), *was = json_object_get(entry, "was");
    struct work *work = find_work(at, theirs.kind, theirs.name);
    bool same = theirs.kind == mine->kind && strcmp(theirs.name, mine->name) == 0;
    if (same && work != NULL) {
        if (strlen(theirs.path) < strlen(mine->path)) {
            free(mine->path);
            mine->path = strdup(theirs.path);
            at->no_memory |= mine->path == NULL;
        }
        if (plan_member_same(plan_member_get(work->base, theirs.path), set)) {
            if (theirs.path[0] == '\0') {
                json_decref(work->base);
                work->base = was != NULL ? json_deep_copy(was) : NULL;
            } else if (plan_member_set(work->base, theirs.path, was) < 0) {
                at->no_memory = true;
            }
        }
    } else {
        json_t *adopted = json_deep_copy(entry);
        int err = json_object_set_new(adopted, "step", json_integer((json_int_t)mine->step));
        if (same) /* an override: override_before asks for it */
            err |= json_object_set_new(adopted, "of", json_string(other->name));
        if (json_array_append_new(at->adopted, adopted) != 0 || err != 0)
            at->no_memory = true;
    }
    if (plan_change_done(entry, "taken") < 0)
        at->no_memory = true;
}

static void say_conflict(struct beginning *at, const struct plan_run *other,
                         const struct cfg_member *mine)
{
    char path[64], member[CFG_NAME_MAX + 80];

    (void)snprintf(member, sizeof member, "%s/%s%.64s", mine->kind->path, mine->name, mine->path);
    if (json_array_append_new(at->outlook->conflicts,
                              json_pack("{s:s, s:s, s:s}", "run", other->name, "plan",
                                        other->run->plan, "member", member)) != 0)
        at->no_memory = true;
    step_path(at, mine->step, "", path);
    if (!at->run->run->force)
        refuse(at, PLAN_CLASHES, path, "the run %s of \"%s\" has changed %s", other->name,
               other->run->plan, member);
}

static void meet_run(struct beginning *at, const struct plan_run *other)
{
    struct cfg_member theirs;
    json_t *entry;
    size_t i;

    json_array_foreach(other->changes, i, entry)
    {
        if (!plan_change_is_held(entry) || !plan_change_member(entry, &theirs))
            continue;
        for (size_t j = 0; j < at->members.count && !at->no_memory; j++) {
            struct cfg_member *mine = &at->members.at[j];
            if (!cfg_member_overlaps(mine, &theirs))
                continue;
            say_conflict(at, other, mine);
            if (at->run->run->force && at->change != NULL)
                take_over(at, other, i, mine);
        }
    }
}

static void meet_runs(struct beginning *at)
{
    const struct plan_runs *runs = at->world->runs;

    for (size_t i = 0; i < runs->count; i++) {
        enum cfg_run_state state = runs->at[i]->run->state;
        if ((state == CFG_RUN_ACTIVE || state == CFG_RUN_SUSPENDED) &&
            strcmp(runs->at[i]->name, at->run->name) != 0)
            meet_run(at, runs->at[i]);
    }
}

/* Is the document one that a run has made, and still has? */
static bool is_of_run(const struct beginning *at, const struct work *work)
{
    const struct plan_runs *runs = at->world->runs;
    struct cfg_member member;
    json_t *entry;
    size_t j;

    for (size_t i = 0; i < runs->count; i++)
        json_array_foreach(runs->at[i]->changes, j,
                           entry) if (plan_change_is_held(entry) &&
                                      plan_change_member(entry, &member) &&
                                      member.kind == work->kind && member.path[0] == '\0' &&
                                      strcmp(member.name, work->name) == 0) return true;
    return false;
}

/* A document that there is already is not made; one of another run is that run's to give. */
static void check_puts(struct beginning *at)
{
    char path[64];

    for (size_t i = 0; i < at->run->plan->step_count; i++) {
        const struct cfg_plan_step *step = &at->run->plan->steps[i];
        if (step->type != CFG_STEP_PUT)
            continue;
        struct work *work = find_work(at, cfg_plan_step_kind(step), step->name);
        bool taken = at->run->run->force && at->change != NULL;
        if (work->base == NULL || (!taken && is_of_run(at, work)))
            continue;
        step_path(at, i, "/name", path);
        refuse(at, PLAN_INVALID, path, "there is a %s \"%.64s\" already", work->kind->word,
               work->name);
        work->is_bad = true;
    }
}

/* --- Preconditions. --- */

static json_t *number_or_null(double value)
{
    return isfinite(value) ? ps_json_of_number(value) : json_null();
}

/* What it is now; *ret_so: is it as wanted? */
static json_t *judge(const struct plan_world *world, const struct cfg_plan_when *when, bool *ret_so)
{
    const char *state;
    double share;
    size_t gateways;

    switch (when->type) {
    case CFG_WHEN_SALE:
        state = world->sale_state != NULL ? world->sale_state(world->ctx, when->sale) : NULL;
        *ret_so = state != NULL && strcmp(state, cfg_plan_states[when->state]) == 0;
        return state != NULL ? json_string(state) : json_null();
    case CFG_WHEN_SIGNAL:
        share = world->share != NULL ? world->share(world->ctx, when->signal) : NAN;
        *ret_so = share > when->above;
        return number_or_null(share);
    default:
        gateways = world->gateways != NULL ? world->gateways(world->ctx) : 1;
        *ret_so = (int64_t)gateways >= when->gateways_min;
        return json_integer((json_int_t)gateways);
    }
}

static void judge_all(struct beginning *at)
{
    json_t *plan = cfg_kind_print(&cfg_kind_plan, at->run->plan);
    char path[64];

    at->no_memory |= plan == NULL;
    for (size_t i = 0; !at->no_memory && i < at->run->plan->when_count; i++) {
        bool so;
        json_t *is = judge(at->world, &at->run->plan->whens[i], &so);
        const json_t *when = json_array_get(json_object_get(plan, "when"), i);
        char *text = json_dumps(is, JSON_ENCODE_ANY);
        (void)snprintf(path, sizeof path, "/when/%zu", i);
        if (!so)
            refuse(at, PLAN_NOT_SO, path, "is not so: it is %s", text != NULL ? text : "");
        free(text);
        if (json_array_append_new(
                at->outlook->preconditions,
                json_pack("{s:O, s:o, s:b}", "when", when, "is", is, "so", (int)so)) != 0)
            at->no_memory = true;
    }
    json_decref(plan);
}

/* --- Faults of documents. --- */

/* "limits/ip/rate" becomes "/steps/0/patch/with/rate". */
static void point_into_plan(const struct beginning *at, const char *path, char ret_path[192])
{
    const struct cfg_plan *plan = at->run->plan;

    (void)snprintf(ret_path, 192, "%.191s", path);
    for (size_t i = 0; i < at->members.count; i++) {
        const struct cfg_member *member = &at->members.at[i];
        enum cfg_step_type type = plan->steps[member->step].type;
        char key[192];
        size_t len = (size_t)snprintf(key, sizeof key, "%s/%s", member->kind->path, member->name);
        if (len >= sizeof key || strncmp(path, key, len) != 0)
            continue;
        const char *rest = path + len;
        size_t own = strlen(member->path);
        bool fits = strncmp(rest, member->path, own) == 0;
        (void)snprintf(ret_path, 192, "/steps/%zu/%s%s%.96s", member->step, step_words[type],
                       type == CFG_STEP_PATCH ? "/with"
                       : type == CFG_STEP_PUT ? "/doc"
                                              : "",
                       rest);
        if (fits)
            return;
    }
}

static void pass_faults_on(struct beginning *at, const struct ps_faults *faults)
{
    char path[192];

    for (size_t i = 0; i < faults->count && i < PS_FAULTS_KEPT; i++) {
        point_into_plan(at, faults->at[i].path, path);
        refuse(at, PLAN_INVALID, path, "%s", faults->at[i].text);
    }
}

/* --- Edits. --- */

static void merge_steps(struct beginning *at)
{
    for (size_t i = 0; i < at->run->plan->step_count; i++) {
        const struct cfg_plan_step *step = &at->run->plan->steps[i];
        if (step->type == CFG_STEP_OVERRIDE)
            continue;
        struct work *work = find_work(at, cfg_plan_step_kind(step), step->name);
        const json_t *from = work->after != NULL ? work->after : work->before;
        json_t *after = step->type == CFG_STEP_PATCH ? ps_json_merge(from, step->json)
                                                     : json_deep_copy(step->json);
        json_decref(work->after);
        work->after = after;
        at->no_memory |= after == NULL;
    }
}

static json_t *override_json(const struct beginning *at, const struct cfg_override *override)
{
    struct cfg_override set = *override;

    set.until_ms = at->run->run->until_ms;
    (void)snprintf(set.run, sizeof set.run, "%s", at->run->name);
    return cfg_override_write(&set);
}

static void put_overrides(struct beginning *at)
{
    for (size_t i = 0; !at->no_memory && i < at->run->plan->step_count; i++) {
        const struct cfg_plan_step *step = &at->run->plan->steps[i];
        struct ps_faults faults = {0};
        if (step->type != CFG_STEP_OVERRIDE || at->run->run->until_ms == INT64_MAX)
            continue;
        json_t *json = override_json(at, &step->override);
        int err =
            json != NULL ? plan_put_override(at->change, at->names[i], json, &faults) : PS_E_NOMEM;
        json_decref(json);
        at->no_memory |= err == PS_E_NOMEM;
        pass_faults_on(at, &faults);
    }
}

static void put_documents(struct beginning *at)
{
    struct ps_faults faults = {0};
    enum cfg_refusal refusal;
    char pointer[192];

    for (size_t i = 0; !at->no_memory && i < at->work_count; i++) {
        const struct work *work = &at->works[i];
        if (work->is_bad)
            continue;
        (void)snprintf(pointer, sizeof pointer, "%s/%s", work->kind->path, work->name);
        int err = cfg_change_put(
            at->change,
            &(struct cfg_put){
                .kind = work->kind, .name = work->name, .json = work->after, .pointer = pointer},
            &refusal, &faults);
        at->no_memory |= err == PS_E_NOMEM;
    }
    if (!at->no_memory && faults.count == 0 &&
        cfg_change_check(at->change, plan_point, &refusal, &faults) == PS_E_NOMEM)
        at->no_memory = true;
    pass_faults_on(at, &faults);
}

/* --- What it has changed. --- */

/* The document as the change makes it, or as it stays. NULL: out of memory. */
static json_t *document_after(const struct beginning *at, const struct cfg_kind *kind,
                              const char *name)
{
    const struct cfg_doc *to, *from, *have = cfg_store_find(at->world->store, kind, name);

    for (size_t i = 0; (to = cfg_change_doc(at->change, i, &from)) != NULL; i++)
        if (to->kind == kind && strcmp(to->name, name) == 0)
            return cfg_doc_json(to);
    return have != NULL ? cfg_doc_json(have) : NULL;
}

/* What was so before the run that holds it, or before this one. NULL: nothing. */
static json_t *override_before(const struct beginning *at, const char *name)
{
    const struct cfg_doc *have = cfg_store_find(at->world->store, &cfg_kind_override, name);
    json_t *entry;
    size_t i;

    json_array_foreach(at->adopted, i, entry)
    {
        const char *override = json_string_value(json_object_get(entry, "override"));
        const char *of = json_string_value(json_object_get(entry, "of"));
        if (have != NULL && of != NULL && strcmp(override, name) == 0 &&
            strcmp(cfg_override_of(have)->run, of) == 0)
            return json_incref(json_object_get(entry, "was"));
    }
    return have != NULL ? cfg_doc_json(have) : NULL;
}

/* Is a member above it in the list, too, or before it the same? */
static bool is_covered(const struct beginning *at, size_t index)
{
    const struct cfg_member *member = &at->members.at[index];

    for (size_t i = 0; i < at->members.count; i++) {
        const struct cfg_member *other = &at->members.at[i];
        size_t len = strlen(other->path), own = strlen(member->path);
        if (i != index && other->kind == member->kind && strcmp(other->name, member->name) == 0 &&
            cfg_member_overlaps(member, other) && (len < own || (len == own && i < index)))
            return true;
    }
    return false;
}

static int note_member(struct beginning *at, const struct cfg_member *member)
{
    bool overrides = member->kind == &cfg_kind_override;
    const struct work *work = find_work(at, member->kind, member->name);
    char document[CFG_NAME_MAX + 64];
    json_t *after = document_after(at, member->kind, member->name), *was, *entry;

    (void)snprintf(document, sizeof document, "%s/%s", member->kind->path, member->name);
    if (overrides) {
        was = override_before(at, member->name);
        entry = json_pack("{s:i, s:s, s:O?, s:O}", "step", (int)member->step, "override",
                          member->name, "was", was, "set", after);
    } else {
        was = json_incref(plan_member_get(work->base, member->path));
        entry = json_pack("{s:i, s:s, s:s, s:O?, s:O?}", "step", (int)member->step, "document",
                          document, "path", member->path, "was", was, "set",
                          plan_member_get(after, member->path));
    }
    if (was == NULL)
        (void)json_object_del(entry, "was");
    if (!overrides && plan_member_get(after, member->path) == NULL)
        (void)json_object_del(entry, "set");
    json_decref(was);
    json_decref(after);
    return entry != NULL && json_array_append_new(at->run->changes, entry) == 0 ? 0 : PS_E_NOMEM;
}

static int note_changes(struct beginning *at)
{
    json_t *entry;
    size_t i;
    int err = 0;

    json_array_clear(at->run->changes);
    for (size_t j = 0; err == 0 && j < at->members.count; j++)
        if (!is_covered(at, j))
            err = note_member(at, &at->members.at[j]);
    json_array_foreach(at->adopted, i, entry) if (err == 0 && json_object_get(entry, "of") == NULL)
        err = json_array_append(at->run->changes, entry) == 0 ? 0 : PS_E_NOMEM;
    return err;
}

static int put_taken(struct beginning *at)
{
    int err = 0;

    for (size_t i = 0; err == 0 && i < at->taken_count; i++) {
        struct plan_run *taken = at->taken[i];
        if (plan_changes_held(taken->changes) == 0) {
            plan_run_end(taken, CFG_END_TAKEN_OVER, at->world->now_ms);
            plan_run_say(taken, "the run %s has taken over", at->run->name);
        }
        err = plan_run_put(at->change, taken);
    }
    return err;
}

/* --- All of it. --- */

static struct beginning *start(const struct plan_world *world, struct plan_run *run,
                               struct cfg_change *change, struct plan_outlook *outlook)
{
    struct beginning *at = calloc(1, sizeof *at);

    if (at == NULL)
        return NULL;
    *at = (struct beginning){
        .world = world, .run = run, .change = change, .outlook = outlook, .adopted = json_array()};
    plan_outlook_free(outlook);
    outlook->preconditions = json_array();
    outlook->conflicts = json_array();
    at->no_memory =
        at->adopted == NULL || outlook->preconditions == NULL || outlook->conflicts == NULL;
    for (size_t i = 0; !at->no_memory && i < run->plan->step_count; i++)
        list_step(at, i);
    if (!at->no_memory)
        meet_runs(at);
    if (!at->no_memory)
        check_puts(at);
    if (!at->no_memory)
        judge_all(at);
    return at;
}

static int finish(struct beginning *at, int err)
{
    for (size_t i = 0; i < at->work_count; i++) {
        json_decref(at->works[i].before);
        json_decref(at->works[i].base);
        json_decref(at->works[i].after);
    }
    for (size_t i = 0; i < at->taken_count; i++)
        plan_run_free(at->taken[i]);
    cfg_members_free(&at->members);
    json_decref(at->adopted);
    if (at->no_memory)
        err = PS_E_NOMEM;
    free(at);
    return err;
}

int plan_run_look(const struct plan_world *world, const struct plan_run *run,
                  struct plan_outlook *outlook)
{
    struct plan_outlook seen = {0};
    struct plan_run *copy;
    int err = plan_run_copy(run, &copy);

    if (err < 0)
        return err;
    struct beginning *at = start(world, copy, NULL, &seen);
    err = at != NULL ? finish(at, 0) : PS_E_NOMEM;
    plan_outlook_free(outlook);
    outlook->preconditions = seen.preconditions;
    outlook->conflicts = seen.conflicts;
    plan_run_free(copy);
    return err;
}

int plan_run_begin(const struct plan_world *world, struct plan_run *run, struct cfg_change *change,
                   struct plan_outlook *outlook)
{
    struct beginning *at = start(world, run, change, outlook);
    struct cfg_run *is = run->run;

    if (at == NULL)
        return PS_E_NOMEM;
    is->started_ms = world->now_ms;
    is->until_ms = is->ttl_s > 0 ? world->now_ms + is->ttl_s * 1000 : INT64_MAX;
    if (!at->no_memory)
        merge_steps(at);
    if (!at->no_memory)
        put_documents(at);
    put_overrides(at);
    if (at->no_memory || outlook->no != PLAN_MAY) {
        is->started_ms = is->until_ms = INT64_MAX;
        return finish(at, PS_E_INVALID);
    }
    int err = note_changes(at);
    if (err == 0)
        err = put_taken(at);
    is->lapses_ms = INT64_MAX;
    plan_run_set(run, CFG_RUN_ACTIVE, world->now_ms);
    if (err == 0)
        err = plan_run_put(change, run);
    return finish(at, err);
}
