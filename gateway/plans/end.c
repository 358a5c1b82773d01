/* A run takes back what it has changed: each member that still is as the run left it gets its old
 * value. What somebody else changed since is left, and so is what the gateway refuses to take back
 * (another document needs it by now): the run is suspended then, until an operator decides. */
#include "gateway/plans/changes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A document that members of are taken back. */
struct work {
    const struct cfg_kind *kind;
    const char *name;
    const struct cfg_doc *doc; /* in force; NULL: there is none any more */
    json_t *json;              /* as it will be; NULL: it is deleted */
    char stuck[160];           /* why the gateway refuses it; "": it does not */
};

struct ending {
    const struct plan_world *world;
    struct plan_run *run;
    struct cfg_change *change;
    bool force;
    struct work *works;
    size_t work_count, left;
    bool no_memory;
};

static struct work *work_of(struct ending *at, const struct cfg_member *member)
{
    for (size_t i = 0; i < at->work_count; i++)
        if (at->works[i].kind == member->kind && strcmp(at->works[i].name, member->name) == 0)
            return &at->works[i];
    struct work *work = &at->works[at->work_count++];
    *work = (struct work){.kind = member->kind,
                          .name = member->name,
                          .doc = cfg_store_find(at->world->store, member->kind, member->name)};
    return work;
}

static void set_done(struct ending *at, json_t *entry, const char *how)
{
    at->no_memory |= plan_change_done(entry, how) < 0;
}

/* Why it stays as it is. */
static void leave(struct ending *at, json_t *entry, const json_t *is, const char *why)
{
    json_t *left = json_pack("{s:O?, s:s}", "is", is, "why", why);

    if (json_object_set_new(entry, "left", left) != 0)
        at->no_memory = true;
    at->left++;
}

/* The entry is taken back in the work's JSON, or left. Done is said only when the document can be
 * put. */
static void take_back_member(struct ending *at, json_t *entry, const struct cfg_member *member)
{
    struct work *work = work_of(at, member);
    const json_t *set = json_object_get(entry, "set"), *was = json_object_get(entry, "was");
    const json_t *is = plan_member_get(work->json, member->path);
    char why[160];

    if (work->doc == NULL) {
        set_done(at, entry, "gone");
    } else if (work->stuck[0] != '\0') {
        leave(at, entry, is, work->stuck);
    } else if (plan_member_same(is, was)) {
        set_done(at, entry, "reverted"); /* it is so already */
    } else if (!at->force && !plan_member_same(is, set)) {
        (void)snprintf(why, sizeof why, "was changed since; the version in force is by %.64s",
                       work->doc->by.who);
        leave(at, entry, is, why);
    } else if (member->path[0] != '\0') {
        at->no_memory |= plan_member_set(work->json, member->path, was) < 0;
        set_done(at, entry, "reverted");
    } else {
        json_decref(work->json);
        work->json = was != NULL ? json_deep_copy(was) : NULL;
        set_done(at, entry, "reverted");
    }
}

static void drop_override(struct ending *at, const char *name)
{
    struct ps_faults faults = {0};
    enum cfg_refusal refusal;

    if (cfg_change_drop(at->change, &cfg_kind_override, name, "", &refusal, &faults) == PS_E_NOMEM)
        at->no_memory = true;
}

/* Has it ended because the run's time is over, and not by anybody's hand? */
static bool has_expired(const struct ending *at, const char *name)
{
    const struct cfg_doc *last = cfg_store_last(at->world->store, &cfg_kind_override, name);

    return (last == NULL || last->parsed != NULL) && at->run->run->until_ms <= at->world->now_ms;
}

/* What was set before the run, unless its time is over, too. */
static bool restore_override(struct ending *at, const char *name, const json_t *was)
{
    const char *until = json_string_value(json_object_get(was, "until"));
    struct ps_faults faults = {0};
    int64_t until_ms;

    return until != NULL && ps_time_parse(until, strlen(until), &until_ms) == 0 &&
           until_ms > at->world->now_ms && plan_put_override(at->change, name, was, &faults) == 0;
}

/* One that somebody has ended or replaced is theirs. */
static void take_back_override(struct ending *at, json_t *entry, const char *name)
{
    const struct cfg_doc *doc = cfg_store_find(at->world->store, &cfg_kind_override, name);
    bool is_ours =
        doc != NULL ? strcmp(cfg_override_of(doc)->run, at->run->name) == 0 : has_expired(at, name);

    if (is_ours && !restore_override(at, name, json_object_get(entry, "was")) && doc != NULL)
        drop_override(at, name);
    set_done(at, entry, is_ours ? "reverted" : "gone");
}

static void put_work(struct ending *at, const struct work *work, struct ps_faults *faults)
{
    char pointer[192];
    enum cfg_refusal refusal;
    int err = 0;

    (void)snprintf(pointer, sizeof pointer, "%s/%s", work->kind->path, work->name);
    if (work->doc != NULL && work->json == NULL)
        err = cfg_change_drop(at->change, work->kind, work->name, pointer, &refusal, faults);
    else if (work->doc != NULL)
        err = cfg_change_put(
            at->change,
            &(struct cfg_put){
                .kind = work->kind, .name = work->name, .json = work->json, .pointer = pointer},
            &refusal, faults);
    at->no_memory |= err == PS_E_NOMEM;
}

/* Whose faults these are: those documents stay as they are. False: nobody's. */
static bool find_stuck(struct ending *at, const struct ps_faults *faults)
{
    char key[192];
    bool found = false;

    for (size_t i = 0; i < at->work_count; i++) {
        struct work *work = &at->works[i];
        size_t len = (size_t)snprintf(key, sizeof key, "%s/%s", work->kind->path, work->name);
        for (size_t j = 0; j < faults->count && j < PS_FAULTS_KEPT; j++) {
            if (work->stuck[0] != '\0' || len >= sizeof key ||
                strncmp(faults->at[j].path, key, len) != 0)
                continue;
            (void)snprintf(work->stuck, sizeof work->stuck, "cannot be taken back:%s %.120s",
                           faults->at[j].path + len, faults->at[j].text);
            found = true;
        }
    }
    return found;
}

/* One try: all that is not stuck. */
static void try_once(struct ending *at, json_t *changes, struct ps_faults *faults)
{
    struct cfg_member member;
    enum cfg_refusal refusal;
    json_t *entry;
    size_t i;

    at->left = 0;
    for (size_t j = 0; j < at->work_count; j++) {
        struct work *work = &at->works[j];
        json_decref(work->json);
        work->json = work->doc != NULL ? cfg_doc_json(work->doc) : NULL;
        at->no_memory |= work->doc != NULL && work->json == NULL;
    }
    json_array_foreach(changes, i, entry)
    {
        if (at->no_memory || !plan_change_is_held(entry))
            continue;
        if (!plan_change_member(entry, &member))
            set_done(at, entry, "gone");
        else if (member.kind == &cfg_kind_override)
            take_back_override(at, entry, member.name);
        else
            take_back_member(at, entry, &member);
    }
    for (size_t j = 0; !at->no_memory && j < at->work_count; j++)
        if (at->works[j].stuck[0] == '\0')
            put_work(at, &at->works[j], faults);
    if (!at->no_memory && faults->count == 0 &&
        cfg_change_check(at->change, plan_point, &refusal, faults) == PS_E_NOMEM)
        at->no_memory = true;
}

/* The documents, before anything is taken back. */
static void list_works(struct ending *at)
{
    struct cfg_member member;
    json_t *entry;
    size_t i;

    json_array_foreach(at->run->changes, i, entry) if (plan_change_is_held(entry) &&
                                                       plan_change_member(entry, &member) &&
                                                       member.kind != &cfg_kind_override)(void)
        work_of(at, &member);
}

/* Until nothing is refused; each round leaves one document more as it is. */
static void take_back(struct ending *at)
{
    json_t *before = json_deep_copy(at->run->changes);

    at->works = calloc(json_array_size(at->run->changes) + 1, sizeof *at->works);
    at->no_memory |= before == NULL || at->works == NULL;
    if (!at->no_memory)
        list_works(at);
    while (!at->no_memory) {
        struct ps_faults faults = {0};
        json_t *changes = json_deep_copy(before);
        at->no_memory |= changes == NULL;
        if (!at->no_memory)
            try_once(at, changes, &faults);
        if (at->no_memory || faults.count == 0) {
            json_decref(at->run->changes);
            at->run->changes = changes;
            break;
        }
        json_decref(changes);
        cfg_change_clear(at->change);
        if (find_stuck(at, &faults))
            continue;
        for (size_t i = 0; i < at->work_count; i++)
            (void)snprintf(at->works[i].stuck, sizeof at->works[i].stuck,
                           "cannot be taken back: %.120s", faults.at[0].text);
    }
    json_decref(before);
}

static void say_left(struct ending *at)
{
    char text[800];
    json_t *entry;
    size_t i, len = 0;

    text[0] = '\0';
    json_array_foreach(at->run->changes, i, entry)
    {
        const json_t *left = json_object_get(entry, "left");
        if (left == NULL || !plan_change_is_held(entry) || len >= sizeof text - 1)
            continue;
        int n = snprintf(text + len, sizeof text - len, "%s%s %s %s", len > 0 ? "; " : "",
                         json_string_value(json_object_get(entry, "document")),
                         json_string_value(json_object_get(entry, "path")),
                         json_string_value(json_object_get(left, "why")));
        len += n > 0 ? (size_t)n : 0;
    }
    plan_run_say(at->run, "%s", text);
}

int plan_run_revert(const struct plan_world *world, struct plan_run *run, enum cfg_run_end end,
                    bool force, struct cfg_change *change, struct ps_fault *fault)
{
    struct ending at = {.world = world, .run = run, .change = change, .force = force};
    enum cfg_run_state state = run->run->state;
    size_t held = plan_changes_held(run->changes);

    if (state != CFG_RUN_ACTIVE && state != CFG_RUN_SUSPENDED)
        return ps_fault(fault, PS_E_CONFLICT, "", "there is nothing to take back: it is %s",
                        cfg_run_states[state]);
    cfg_change_pass_holds(change);
    take_back(&at);
    for (size_t i = 0; i < at.work_count; i++)
        json_decref(at.works[i].json);
    free(at.works);
    if (at.no_memory)
        return ps_fault(fault, PS_E_NOMEM, "", "out of memory");
    if (at.left == 0) {
        plan_run_end(run, end, world->now_ms);
        return plan_run_put(change, run);
    }
    bool again = state == CFG_RUN_SUSPENDED && plan_changes_held(run->changes) == held;
    plan_run_set(run, CFG_RUN_SUSPENDED, world->now_ms);
    say_left(&at);
    if (again)
        return ps_fault(fault, PS_E_CONFLICT, "", "%.200s", run->run->why);
    return plan_run_put(change, run);
}
