/* A run is read from its document, copied, and written again. */
#include "gateway/plans/changes.h"

#include <stdio.h>
#include <stdlib.h>

static int read_json(const char *name, const json_t *json, struct plan_run *run)
{
    const struct cfg_reading reading = {.pointer = "", .name = name};
    struct ps_faults faults = {0};
    void *parsed;
    int err = cfg_kind_read(&cfg_kind_run, &reading, json, NULL, &parsed, &faults);

    if (err < 0)
        return err;
    run->run = parsed;
    err = cfg_kind_read(&cfg_kind_plan, &reading, json_object_get(json, "as_it_was"), NULL, &parsed,
                        &faults);
    if (err < 0)
        return err;
    run->plan = parsed;
    const json_t *changes = json_object_get(json, "changes");
    run->changes = changes != NULL ? json_deep_copy(changes) : json_array();
    return run->changes != NULL ? 0 : PS_E_NOMEM;
}

int plan_run_make(const char *name, json_t *json, struct plan_run **ret_run)
{
    struct plan_run *run = calloc(1, sizeof *run);
    int err = run != NULL && json != NULL ? 0 : PS_E_NOMEM;

    if (err == 0) {
        (void)snprintf(run->name, sizeof run->name, "%s", name);
        run->above_since_ms = INT64_MAX;
        err = read_json(name, json, run);
    }
    json_decref(json);
    if (err < 0)
        plan_run_free(run);
    else
        *ret_run = run;
    return err;
}

int plan_run_read(const struct cfg_doc *doc, struct plan_run **ret_run)
{
    return plan_run_make(doc->name, cfg_doc_json(doc), ret_run);
}

int plan_run_copy(const struct plan_run *run, struct plan_run **ret_copy)
{
    int err = plan_run_make(run->name, plan_run_write(run), ret_copy);

    if (err == 0)
        (*ret_copy)->above_since_ms = run->above_since_ms;
    return err;
}

void plan_run_free(struct plan_run *run)
{
    if (run == NULL)
        return;
    if (run->run != NULL)
        cfg_kind_free(&cfg_kind_run, run->run);
    if (run->plan != NULL)
        cfg_kind_free(&cfg_kind_plan, run->plan);
    json_decref(run->changes);
    free(run);
}

json_t *plan_run_write(const struct plan_run *run)
{
    json_t *json = cfg_kind_print(&cfg_kind_run, run->run);

    return ps_json_built(
        json,
        json == NULL || json_object_set_new(json, "changes", json_deep_copy(run->changes)) != 0);
}

void plan_outlook_free(struct plan_outlook *outlook)
{
    json_decref(outlook->preconditions);
    json_decref(outlook->conflicts);
    outlook->preconditions = outlook->conflicts = NULL;
}
