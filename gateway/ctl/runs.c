/* run, runs: runs of plans. */
#include "common/text/id.h"
#include "gateway/ctl/call.h"
#include "gateway/ctl/commands.h"
#include "gateway/ctl/print.h"

#include <stdlib.h>
#include <string.h>

/* --- Printing. --- */

/* Lists in a run, or in a dry run, and their columns. */
static const struct {
    const char *name, *columns;
} parts[] = {{"faults", "pointer detail"},
             {"preconditions", "when is so"},
             {"conflicts", "run plan member"},
             {"changes", "step document override path was set done"},
             {"overrides", "step override value replaces"}};

/* The members first, then a table for each list that has rows. */
static int print_run(const struct ctl *ctl, json_t *json)
{
    bool dry = json_object_get(json, "dry_run") != NULL;
    json_t *lists[PS_ARRAY_LEN(parts)];

    if (ctl_wants_json(ctl))
        return ctl_put_json(stdout, json, true);
    for (size_t i = 0; i < PS_ARRAY_LEN(parts); i++) {
        lists[i] = json_incref(json_object_get(json, parts[i].name));
        (void)json_object_del(json, parts[i].name);
    }
    (void)json_object_del(json, "as_it_was");
    (void)json_object_del(json, "levels");
    int exit = ctl_print(ctl, json, NULL);
    for (size_t i = 0; i < PS_ARRAY_LEN(parts); i++) {
        bool differs = dry && strcmp(parts[i].name, "changes") == 0;
        if (exit == CTL_OK && json_array_size(lists[i]) > 0) {
            printf("\n%s:\n", parts[i].name);
            exit =
                ctl_print(ctl, lists[i], differs ? "document action difference" : parts[i].columns);
        }
        json_decref(lists[i]);
    }
    return exit;
}

/* Sends and prints. A dry run that says that it would fail is CTL_REFUSED, and so is a revert that
 * leaves something. Takes the body over; `err`: it could not be made. */
static int send_and_print(const struct ctl *ctl, struct ctl_call call, json_t *body, int err)
{
    struct ctl_reply reply;
    int exit = call.method != NULL ? ctl_change(ctl, call, body, err, &reply)
                                   : ctl_send(ctl, &call, &reply);

    if (exit != CTL_OK)
        return exit;
    const char *would = json_string_value(json_object_get(reply.json, "would"));
    const char *state = json_string_value(json_object_get(reply.json, "state"));
    bool fails = would != NULL && strcmp(would, "fail") == 0;
    bool stuck = call.method != NULL && state != NULL && strcmp(state, "suspended") == 0;
    exit = print_run(ctl, reply.json);
    if (exit == CTL_OK && fails)
        exit = ctl_say(CTL_REFUSED, "a run would fail now");
    else if (exit == CTL_OK && stuck)
        exit = ctl_say(CTL_REFUSED, "the run is suspended: keep it, or revert it with --force");
    ctl_reply_done(&reply);
    return exit;
}

/* --- Commands. --- */

static int set_true(json_t *body, const char *name, bool is_true)
{
    return is_true ? json_object_set_new(body, name, json_true()) : 0;
}

int ctl_run(struct ctl *ctl)
{
    const struct ctl_options *options = &ctl->options;
    const struct ctl_call call = {.method = "POST",
                                  .path = "/admin/v1/plans/{}/runs{+}",
                                  .args = {ctl->args[0], options->dry_run ? "?dry_run=1" : ""}};

    if (options->reason == NULL && !options->dry_run)
        return ctl_say(CTL_USAGE, "run needs --reason TEXT: it tells others why the plan is run");
    json_t *body = ctl_body(ctl);
    int err = set_true(body, "force", options->force);
    err |= set_true(body, "break_glass", options->break_glass);
    if (options->ttl_s >= 0)
        err |= json_object_set_new(body, "ttl_s", json_integer(options->ttl_s));
    if (options->arm_ttl_s >= 0)
        err |= json_object_set_new(body, "arm_ttl_s", json_integer(options->arm_ttl_s));
    return send_and_print(ctl, call, body, err);
}

/* Adds the runs behind `after`, which becomes the last one that was listed, or "". */
static int add_page(const struct ctl *ctl, json_t *runs, char after[128])
{
    const char *state = ctl->options.state;
    const struct ctl_call call = {
        .path = "/admin/v1/runs?limit=1000{+}{}{+}{}",
        .args = {state != NULL ? "&state=" : "", state, after[0] != '\0' ? "&after=" : "", after}};
    struct ctl_reply reply;
    int exit = ctl_send(ctl, &call, &reply);

    if (exit != CTL_OK)
        return exit;
    const char *next = json_string_value(json_object_get(reply.json, "next"));
    bool moves = next != NULL && strcmp(next, after) > 0;
    (void)snprintf(after, 128, "%s", moves ? next : "");
    if (json_array_extend(runs, json_object_get(reply.json, "runs")) != 0)
        exit = ctl_say(CTL_FAILED, "the gateway's answer is not a list of runs");
    ctl_reply_done(&reply);
    return exit;
}

int ctl_runs_list(struct ctl *ctl)
{
    json_t *runs = json_array();
    char after[128] = "";
    int exit;

    do
        exit = add_page(ctl, runs, after);
    while (exit == CTL_OK && after[0] != '\0');
    if (exit == CTL_OK)
        exit = ctl_print(ctl, runs, "plan state end since starts_at until by reason why run");
    json_decref(runs);
    return exit;
}

/* The run that a word names: its id, or its plan, of which one run has not ended. Heap; NULL: the
 * reason was printed. */
static char *find_run(const struct ctl *ctl, const char *word, int *ret_exit)
{
    const struct ctl_call call = {.path = "/admin/v1/runs?limit=1000&plan={}", .args = {word}};
    struct ctl_reply reply;
    const json_t *run;
    char *found = NULL;
    size_t i, live = 0;

    if (strlen(word) == PS_UUID_LEN && strspn(word, "0123456789abcdefABCDEF-") == PS_UUID_LEN)
        return strdup(word);
    *ret_exit = ctl_send(ctl, &call, &reply);
    if (*ret_exit != CTL_OK)
        return NULL;
    json_array_foreach(json_object_get(reply.json, "runs"), i, run)
    {
        const char *state = json_string_value(json_object_get(run, "state"));
        const char *id = json_string_value(json_object_get(run, "run"));
        if (state == NULL || id == NULL || strcmp(state, "ended") == 0)
            continue;
        live++;
        free(found);
        found = strdup(id);
    }
    ctl_reply_done(&reply);
    if (live == 1)
        return found;
    free(found);
    *ret_exit = ctl_say(CTL_REFUSED,
                        live == 0 ? "no run of the plan \"%s\" is under way; penstockctl runs list"
                                  : "more than one run of the plan \"%s\" is under way: name it by "
                                    "its id; penstockctl runs list",
                        word);
    return NULL;
}

int ctl_runs_get(struct ctl *ctl)
{
    int exit = CTL_FAILED;
    char *run = find_run(ctl, ctl->args[0], &exit);
    const struct ctl_call call = {.path = "/admin/v1/runs/{}", .args = {run}};

    if (run != NULL)
        exit = send_and_print(ctl, call, NULL, 0);
    free(run);
    return exit;
}

/* "runs approve": the second word is the last part of the path. */
int ctl_runs_act(struct ctl *ctl)
{
    int exit = CTL_FAILED;
    char *run = find_run(ctl, ctl->args[0], &exit);
    const struct ctl_call call = {.method = "POST",
                                  .path = "/admin/v1/runs/{}/{+}",
                                  .args = {run, strchr(ctl->command->name, ' ') + 1}};

    if (run != NULL) {
        json_t *body = ctl_body(ctl);
        exit = send_and_print(ctl, call, body, set_true(body, "force", ctl->options.force));
    }
    free(run);
    return exit;
}
