/* See run_doc.h. Plan and changes are kept as text: there may be thousands of runs, and few of them
 * are looked at. */
#include "gateway/config/kinds/run_doc.h"

#include "gateway/config/kinds/formats.h"

#include <stdlib.h>

const char *const cfg_run_states[] = {"waiting_approval", "armed", "active",
                                      "suspended",        "ended", NULL};
const char *const cfg_run_ends[] = {"",          "reverted", "expired",    "kept",
                                    "cancelled", "failed",   "taken_over", NULL};

static bool read_text(struct ps_table_at *at, const json_t *value, char **field)
{
    free(*field);
    *field = json_dumps(value, CFG_JSON_FLAGS | JSON_ENCODE_ANY);
    if (*field == NULL)
        ps_table_no_memory(at);
    return true;
}

static bool read_plan(struct ps_table_at *at, const char *place, const json_t *value, void *object)
{
    (void)place;
    return json_is_object(value) && read_text(at, value, &((struct cfg_run *)object)->as_it_was);
}

static bool read_changes(struct ps_table_at *at, const char *place, const json_t *value,
                         void *object)
{
    (void)place;
    return json_is_array(value) && read_text(at, value, &((struct cfg_run *)object)->changes);
}

static json_t *print_text(const char *text)
{
    return text != NULL ? json_loads(text, 0, NULL) : json_null();
}

static json_t *print_plan(const void *object)
{
    return print_text(((const struct cfg_run *)object)->as_it_was);
}

static json_t *print_changes(const void *object)
{
    return print_text(((const struct cfg_run *)object)->changes);
}

static void free_plan(void *object)
{
    struct cfg_run *run = object;

    free(run->as_it_was);
    run->as_it_was = NULL;
}

static void free_changes(void *object)
{
    struct cfg_run *run = object;

    free(run->changes);
    run->changes = NULL;
}

static const struct ps_own plan_text = {.rule = {"a plan", "预案"},
                                        .schema = "{\"type\":\"object\"}",
                                        .read = read_plan,
                                        .print = print_plan,
                                        .free = free_plan};
static const struct ps_own changes_text = {.rule = {"a list of changes", "修改列表"},
                                           .schema = "{\"type\":\"array\"}",
                                           .read = read_changes,
                                           .print = print_changes,
                                           .free = free_changes};

/* clang-format off */
#define APPROVAL(field) PS_AT(struct cfg_run_approval, field)
static const struct ps_member approval_rows[] = {
    {"who", PS_M_CHARS, APPROVAL(who), .flags = PS_M_REQUIRED},
    {"at", PS_M_TIME, APPROVAL(at_ms), .flags = PS_M_REQUIRED},
};
static const struct ps_table approval_table = {.title = "approval", .members = approval_rows, .count = PS_ARRAY_LEN(approval_rows), .size = sizeof(struct cfg_run_approval)};
static const struct ps_member approval_item = {"", PS_M_OBJECT, .size = sizeof(struct cfg_run_approval), .table = &approval_table};

#define AT(field) PS_AT(struct cfg_run, field)
static const struct ps_member rows[] = {
    {"plan", PS_M_CHARS, AT(plan), .flags = PS_M_REQUIRED, .format = &ps_format_name},
    {"state", PS_M_ENUM, AT(state), .flags = PS_M_REQUIRED, .words = cfg_run_states},
    {"end", PS_M_ENUM, AT(end), .flags = PS_M_NULLABLE, .words = cfg_run_ends},
    {"why", PS_M_STRING, AT(why), .flags = PS_M_NULLABLE},
    {"by", PS_M_CHARS, AT(by), .flags = PS_M_REQUIRED},
    {"reason", PS_M_STRING, AT(reason), .flags = PS_M_NULLABLE},
    {"force", PS_M_BOOL, AT(force), .fallback = "false"},
    {"break_glass", PS_M_BOOL, AT(break_glass), .fallback = "false"},
    {"since", PS_M_TIME, AT(since_ms), .flags = PS_M_REQUIRED},
    {"created", PS_M_TIME, AT(created_ms), .flags = PS_M_REQUIRED},
    {"lapses", PS_M_TIME, AT(lapses_ms), .flags = PS_M_NULLABLE},
    {"started", PS_M_TIME, AT(started_ms), .flags = PS_M_NULLABLE},
    {"until", PS_M_TIME, AT(until_ms), .flags = PS_M_NULLABLE},
    {"ended", PS_M_TIME, AT(ended_ms), .flags = PS_M_NULLABLE},
    {"forgotten", PS_M_TIME, AT(forget_ms), .flags = PS_M_NULLABLE},
    {"ttl_s", PS_M_INT, AT(ttl_s), .flags = PS_M_NULLABLE},
    {"approvals", PS_M_INT, AT(approvals), .fallback = "0"},
    {"approved", PS_M_LIST, AT(approved), .count_at = offsetof(struct cfg_run, approved_count), .item = &approval_item, .fallback = "[]"},
    {"as_it_was", PS_M_OWN, .flags = PS_M_REQUIRED, .own = &plan_text},
    {"changes", PS_M_OWN, .own = &changes_text, .fallback = "[]"},
};
/* clang-format on */
static const struct ps_table table = {
    .title = "run", .members = rows, .count = PS_ARRAY_LEN(rows), .size = sizeof(struct cfg_run)};

const struct cfg_kind cfg_kind_run = {
    .path = "runs",
    .word = "run",
    .name_rule = "a run's id",
    .listed = "runs",
    .put = "plan.run",
    .drop = "plan.forget",
    .max = CFG_RUNS_LIVE_MAX + CFG_RUNS_ENDED_MAX,
    .is_private = true,
    .has_no_history = true,
    .name = cfg_plain_name,
    .table = &table,
    .ends = true,
    .end_is_final = true,
    .until_at = offsetof(struct cfg_run, forget_ms),
};
