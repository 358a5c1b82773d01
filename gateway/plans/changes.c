/* See changes.h. */
#include "gateway/plans/changes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- Members. --- */

/* The next name of a pointer ("/a~1b/c"), unescaped, heap; *path moves behind it. NULL: out of
 * memory. */
static char *next_name(const char **path)
{
    size_t len = strcspn(*path + 1, "/");
    char *name = malloc(len + 1), *at = name;

    if (name == NULL)
        return NULL;
    for (const char *from = *path + 1; from < *path + 1 + len; from++) {
        if (*from == '~' && (from[1] == '0' || from[1] == '1'))
            *at++ = *++from == '0' ? '~' : '/';
        else
            *at++ = *from;
    }
    *at = '\0';
    *path += 1 + len;
    return name;
}

json_t *plan_member_get(const json_t *json, const char *path)
{
    while (*path == '/' && json != NULL) {
        char *name = next_name(&path);
        json = name != NULL ? json_object_get(json, name) : NULL;
        free(name);
    }
    return (json_t *)(uintptr_t)json;
}

int plan_member_set(json_t *json, const char *path, const json_t *value)
{
    char *name = next_name(&path);
    int err = name != NULL ? 0 : PS_E_NOMEM;

    while (err == 0 && *path == '/') {
        json_t *inner = json_object_get(json, name);
        if (!json_is_object(inner) && value == NULL)
            break; /* it is not there */
        if (!json_is_object(inner) && json_object_set_new(json, name, json_object()) != 0)
            err = PS_E_NOMEM;
        json = json_object_get(json, name);
        free(name);
        name = next_name(&path);
        if (name == NULL)
            err = PS_E_NOMEM;
    }
    if (err == 0 && value == NULL && *path == '\0')
        (void)json_object_del(json, name);
    else if (err == 0 && value != NULL)
        err = json_object_set_new(json, name, json_deep_copy(value)) == 0 ? 0 : PS_E_NOMEM;
    free(name);
    return err;
}

bool plan_member_same(const json_t *a, const json_t *b)
{
    return (a == NULL && b == NULL) || (a != NULL && b != NULL && json_equal(a, b));
}

/* --- Changes. --- */

bool plan_change_is_held(const json_t *change)
{
    return json_object_get(change, "done") == NULL;
}

bool plan_change_member(const json_t *change, struct cfg_member *ret_member)
{
    const char *override = json_string_value(json_object_get(change, "override"));
    const char *document = json_string_value(json_object_get(change, "document"));
    const char *path = json_string_value(json_object_get(change, "path"));

    *ret_member = (struct cfg_member){
        .kind = &cfg_kind_override,
        .name = override,
        .path = (char *)(uintptr_t)(path != NULL ? path : ""),
        .step = (size_t)json_integer_value(json_object_get(change, "step")),
    };
    if (override == NULL)
        ret_member->kind = document != NULL ? cfg_kind_of(document, &ret_member->name) : NULL;
    return ret_member->kind != NULL;
}

int plan_change_done(json_t *change, const char *how)
{
    (void)json_object_del(change, "left");
    return json_object_set_new(change, "done", json_string(how)) == 0 ? 0 : PS_E_NOMEM;
}

size_t plan_changes_held(const json_t *changes)
{
    size_t count = 0, i;
    json_t *change;

    json_array_foreach(changes, i, change) count += plan_change_is_held(change);
    return count;
}

bool plan_run_undo(const struct plan_run *run, const struct cfg_kind *kind, const char *name,
                   json_t *json)
{
    struct cfg_member member;
    json_t *change;
    size_t i;

    json_array_foreach(run->changes, i, change)
    {
        const json_t *set = json_object_get(change, "set"), *was = json_object_get(change, "was");
        if (!plan_change_is_held(change) || !plan_change_member(change, &member) ||
            member.kind != kind || strcmp(member.name, name) != 0 ||
            !plan_member_same(plan_member_get(json, member.path), set))
            continue;
        if (member.path[0] == '\0')
            return false;
        if (plan_member_set(json, member.path, was) < 0)
            return true;
    }
    return true;
}

/* --- The run's document. --- */

void plan_run_set(struct plan_run *run, enum cfg_run_state state, int64_t now_ms)
{
    if (run->run->state != state || run->run->since_ms == 0)
        run->run->since_ms = now_ms;
    run->run->state = state;
    free(run->run->why);
    run->run->why = NULL;
}

void plan_run_end(struct plan_run *run, enum cfg_run_end end, int64_t now_ms)
{
    plan_run_set(run, CFG_RUN_ENDED, now_ms);
    run->run->end = end;
    run->run->ended_ms = now_ms;
    run->run->forget_ms = now_ms + CFG_RUN_KEPT_MS;
}

void plan_run_say(struct plan_run *run, const char *fmt, ...)
{
    char text[1024];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    free(run->run->why);
    run->run->why = strdup(text);
}

int plan_run_put(struct cfg_change *change, const struct plan_run *run)
{
    json_t *json = plan_run_write(run);
    struct ps_faults faults = {0};
    enum cfg_refusal refusal;
    int err =
        json != NULL
            ? cfg_change_put(
                  change, &(struct cfg_put){.kind = &cfg_kind_run, .name = run->name, .json = json},
                  &refusal, &faults)
            : PS_E_NOMEM;

    json_decref(json);
    return err;
}

static json_t *summary(const struct plan_run *run)
{
    const struct cfg_run *is = run->run;

    return json_pack("{s:s, s:s, s:s?, s:s?, s:b, s:b, s:O}", "plan", is->plan, "state",
                     cfg_run_states[is->state], "end",
                     is->end != CFG_END_NONE ? cfg_run_ends[is->end] : NULL, "why", is->why,
                     "break_glass", (int)is->break_glass, "force", (int)is->force, "changes",
                     run->changes);
}

void plan_run_line(struct cfg_change *change, const struct plan_run *run,
                   const struct plan_run *was)
{
    char target[PS_NAME_MAX + 8];

    (void)snprintf(target, sizeof target, "runs/%s", run->name);
    cfg_change_line(change, target,
                    was != NULL ? json_pack("{s:s, s:s}", "plan", was->run->plan, "state",
                                            cfg_run_states[was->run->state])
                                : NULL,
                    summary(run));
}

/* --- Edits. --- */

int plan_put_override(struct cfg_change *change, const char *name, const json_t *json,
                      struct ps_faults *faults)
{
    char pointer[192];
    enum cfg_refusal refusal;

    (void)snprintf(pointer, sizeof pointer, "overrides/%s", name);
    return cfg_change_put(
        change,
        &(struct cfg_put){
            .kind = &cfg_kind_override, .name = name, .json = json, .pointer = pointer},
        &refusal, faults);
}

void plan_point(const struct cfg_doc *doc, char ret_pointer[192])
{
    (void)snprintf(ret_pointer, 192, "%s/%s", doc->kind->path, doc->name);
}
