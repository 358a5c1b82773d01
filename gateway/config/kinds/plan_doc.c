/* See plan_doc.h. What steps name is judged by the tables of their kinds: a patch member by member,
 * a document as a whole. Two steps that change the same member contradict each other. */
#include "gateway/config/kinds/plan_doc.h"

#include "gateway/config/kinds/feature_doc.h"
#include "gateway/config/kinds/formats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const cfg_plan_states[] = {"draft", "scheduled", "open", "paused",
                                       "ended", "archived",  NULL};

/* Ids of kinds. */
static const char *const patch_words[] = {"limit",   "route",    "pool", "cache",
                                          "feature", "overload", "sale", NULL};
static const char *const put_words[] = {"limit", "block_user", "block_ip", "route",
                                        "pool",  "cache",      NULL};

const struct cfg_kind *cfg_plan_step_kind(const struct cfg_plan_step *step)
{
    const char *const *words = step->type == CFG_STEP_PATCH ? patch_words : put_words;
    const char *id = words[step->kind_word];
    const struct cfg_kind *const *kind = cfg_kinds;

    while ((*kind)->id == NULL || strcmp((*kind)->id, id) != 0)
        kind++;
    return *kind;
}

/* --- One step. --- */

/* The one spelling of the name. False: kind or name is none, which is a fault. */
static bool check_name(struct ps_table_at *at, const struct cfg_kind *kind,
                       struct cfg_plan_step *step)
{
    const char *id = json_string_value(json_object_get(at->json, "kind"));
    char name[CFG_NAME_MAX + 1];

    if (id == NULL || strcmp(id, kind->id) != 0)
        return false; /* its row says so */
    if (step->name[0] == '\0' && kind->single != NULL)
        (void)snprintf(step->name, sizeof step->name, "%s", kind->single);
    if (kind->name(step->name, strlen(step->name), name) < 0) {
        ps_table_fault(at, "name", "must be %s", kind->name_rule);
        return false;
    }
    memcpy(step->name, name, strlen(name) + 1);
    return true;
}

/* Faults of what stands in `member`, which was read alone. */
static void pass_faults_on(struct ps_table_at *at, const char *member,
                           const struct ps_faults *faults)
{
    char place[sizeof faults->at[0].path + 8];

    for (size_t i = 0; i < faults->count && i < PS_FAULTS_KEPT; i++) {
        (void)snprintf(place, sizeof place, "%s%s", member, faults->at[i].path);
        ps_table_fault(at, place, "%s", faults->at[i].text);
    }
}

static void check_patch(struct ps_table_at *at, void *object)
{
    struct cfg_plan_step *step = object;
    struct cfg_reading reading = *(const struct cfg_reading *)at->ctx;
    struct ps_faults faults = {0};
    void *parsed;

    const struct cfg_kind *kind = cfg_plan_step_kind(step);
    if (!check_name(at, kind, step) || step->json == NULL || reading.now_ms == 0)
        return;
    if (json_object_size(step->json) == 0)
        ps_table_fault(at, "with", "must name a member that is to change");
    reading.pointer = "";
    reading.name = step->name;
    reading.have = NULL;
    const struct ps_table_source source = {
        .json = step->json, .pointer = "", .ctx = &reading, .is_patch = true};
    parsed = calloc(1, kind->table->size);
    if (parsed == NULL || ps_table_read(kind->table, &source, parsed, &faults) == PS_E_NOMEM)
        ps_table_no_memory(at);
    if (parsed != NULL)
        ps_table_free(kind->table, parsed);
    free(parsed);
    pass_faults_on(at, "with", &faults);
}

static void check_put(struct ps_table_at *at, void *object)
{
    struct cfg_plan_step *step = object;
    struct cfg_reading reading = *(const struct cfg_reading *)at->ctx;
    struct ps_faults faults = {0};
    json_t *state = NULL;
    void *parsed;

    const struct cfg_kind *kind = cfg_plan_step_kind(step);
    if (!check_name(at, kind, step) || step->json == NULL || reading.now_ms == 0)
        return;
    if (cfg_kind_ships(kind, step->name))
        ps_table_fault(at, "name", "is that of a %s that always exists: patch it", kind->word);
    reading.pointer = "";
    reading.name = step->name;
    reading.have = NULL;
    if (kind->initial_state != NULL)
        state = json_loads(kind->initial_state, 0, NULL);
    int err = cfg_kind_read(kind, &reading, step->json, state, &parsed, &faults);
    json_decref(state);
    if (err == 0)
        cfg_kind_free(kind, parsed);
    else if (err == PS_E_NOMEM)
        ps_table_no_memory(at);
    pass_faults_on(at, "doc", &faults);
}

/* clang-format off */
#define STEP(field) PS_AT(struct cfg_plan_step, field)
static const struct ps_member patch_rows[] = {
    {"kind", PS_M_ENUM, STEP(kind_word), .flags = PS_M_REQUIRED, .words = patch_words, .example = "\"limit\"", .text = {"The kind of the document", "文档的种类"}},
    {"name", PS_M_CHARS, STEP(name), .example = "\"ip\"", .text = {"Its name; overload has none", "文档名称；overload 没有名称"}},
    {"with", PS_M_FREE, STEP(json), .flags = PS_M_REQUIRED, .max = CFG_PLAN_BYTES_MAX, .example = "{\"rate\":20}", .text = {"What changes in it, as a merge patch (RFC 7396): an array is taken whole", "要修改的内容，为 merge patch（RFC 7396）：数组整体替换"}},
};
static const struct ps_member put_rows[] = {
    {"kind", PS_M_ENUM, STEP(kind_word), .flags = PS_M_REQUIRED, .words = put_words, .example = "\"block_ip\"", .text = {"The kind of the document", "文档的种类"}},
    {"name", PS_M_CHARS, STEP(name), .flags = PS_M_REQUIRED, .example = "\"203.0.113.0/24\"", .text = {"Its name, which there must not be yet", "文档名称，此前不得存在"}},
    {"doc", PS_M_FREE, STEP(json), .flags = PS_M_REQUIRED, .max = CFG_PLAN_BYTES_MAX, .example = "{}", .text = {"The document, which the end deletes", "文档内容，结束时删除"}},
};
static const struct ps_table patch_table = {.title = "patch", .members = patch_rows, .count = PS_ARRAY_LEN(patch_rows), .size = sizeof(struct cfg_plan_step), .check = check_patch};
static const struct ps_table put_table = {.title = "put", .members = put_rows, .count = PS_ARRAY_LEN(put_rows), .size = sizeof(struct cfg_plan_step), .check = check_put};

static const struct ps_member step_rows[] = {
    {"patch", PS_M_OBJECT, .size = sizeof(struct cfg_plan_step), .flags = PS_M_CHOICE, .table = &patch_table, .when = 1 << CFG_STEP_PATCH, .text = {"Changes members of a document; the end takes them back", "修改文档的成员，结束时还原"}},
    {"put", PS_M_OBJECT, .size = sizeof(struct cfg_plan_step), .flags = PS_M_CHOICE, .table = &put_table, .when = 1 << CFG_STEP_PUT, .text = {"Makes a document; the end deletes it", "新建文档，结束时删除"}},
    {"override", PS_M_OBJECT, STEP(override), .flags = PS_M_CHOICE, .table = &cfg_override_step_table, .when = 1 << CFG_STEP_OVERRIDE, .text = {"Sets an override, as long as the run lasts", "设置 override，持续到运行结束"}},
};
static const struct ps_table step_table = {.title = "step", .members = step_rows, .count = PS_ARRAY_LEN(step_rows), .size = sizeof(struct cfg_plan_step), .has_tag = true, .tag_at = offsetof(struct cfg_plan_step, type)};
static const struct ps_member step_item = {"", PS_M_OBJECT, .size = sizeof(struct cfg_plan_step), .table = &step_table};

#define WHEN(field) PS_AT(struct cfg_plan_when, field)
static const struct ps_member when_rows[] = {
    {"sale", PS_M_CHARS, WHEN(sale), .flags = PS_M_CHOICE, .format = &ps_format_name, .when = 1 << CFG_WHEN_SALE, .example = "\"spring\"", .text = {"A sale that must be in a state", "须处于指定状态的活动"}},
    {"state", PS_M_ENUM, WHEN(state), .flags = PS_M_REQUIRED, .words = cfg_plan_states, .when = 1 << CFG_WHEN_SALE, .example = "\"open\"", .text = {"The state", "状态"}},
    {"signal", PS_M_ENUM, WHEN(signal), .flags = PS_M_CHOICE, .words = cfg_signal_words, .when = 1 << CFG_WHEN_SIGNAL, .example = "\"pressure\"", .text = {"A signal of overload, or pressure", "过载信号，或 pressure"}},
    {"above", PS_M_NUMBER, WHEN(above), .flags = PS_M_REQUIRED, .max = 1e6, .when = 1 << CFG_WHEN_SIGNAL, .example = "0.6", .text = {"Its share must be above this, at the gateway that starts the run", "在启动运行的网关上，其占比须高于该值"}},
    {"gateways_min", PS_M_INT, WHEN(gateways_min), .flags = PS_M_CHOICE, .min = 1, .max = 10000, .when = 1 << CFG_WHEN_GATEWAYS, .example = "3", .text = {"So many gateways must be alive", "存活网关数的下限"}},
};
static const struct ps_table when_table = {.title = "precondition", .members = when_rows, .count = PS_ARRAY_LEN(when_rows), .size = sizeof(struct cfg_plan_when), .has_tag = true, .tag_at = offsetof(struct cfg_plan_when, type)};
static const struct ps_member when_item = {"", PS_M_OBJECT, .size = sizeof(struct cfg_plan_when), .table = &when_table};

#define START(field) PS_AT(struct cfg_plan_start, field)
static const struct ps_member start_rows[] = {
    {"at", PS_M_TIME, START(at_ms), .flags = PS_M_CHOICE, .when = 1 << CFG_START_AT, .example = "\"2030-11-11T12:00:00Z\"", .text = {"At this time", "在该时间"}},
    {"sale", PS_M_CHARS, START(sale), .flags = PS_M_CHOICE, .format = &ps_format_name, .when = 1 << CFG_START_SALE, .example = "\"spring\"", .text = {"Before this sale opens; it moves with the opening", "在该活动开始之前；随开始时间移动"}},
    {"before_opening_s", PS_M_INT, START(before_opening_s), .flags = PS_M_REQUIRED, .min = 0, .max = CFG_PLAN_TTL_MAX_S, .unit = {"s"}, .when = 1 << CFG_START_SALE, .example = "60", .text = {"So long before", "提前多久"}},
    {"signal", PS_M_ENUM, START(signal), .flags = PS_M_CHOICE, .words = cfg_signal_words, .when = 1 << CFG_START_SIGNAL, .example = "\"pressure\"", .text = {"When this signal of overload, or pressure, is high", "当该过载信号或 pressure 升高时"}},
    {"above", PS_M_NUMBER, START(above), .flags = PS_M_REQUIRED, .max = 1e6, .when = 1 << CFG_START_SIGNAL, .example = "0.9", .text = {"Its share is above this, at the gateway that keeps the times", "在负责计时的网关上，其占比高于该值"}},
    {"for_s", PS_M_INT, START(for_s), .flags = PS_M_REQUIRED, .min = 0, .max = 3600, .unit = {"s"}, .when = 1 << CFG_START_SIGNAL, .example = "10", .text = {"For so long without a break", "持续多久"}},
};
static const struct ps_table start_table = {.title = "start", .members = start_rows, .count = PS_ARRAY_LEN(start_rows), .size = sizeof(struct cfg_plan_start), .has_tag = true, .tag_at = offsetof(struct cfg_plan_start, type)};
/* clang-format on */

/* --- The plan. --- */

static const char *const step_words[] = {"patch", "put", "override"};

/* The members that the steps say they change, whatever there is. PS_E_NOMEM, PS_E_FULL. */
static int list_members(const struct cfg_plan *plan, char (*names)[CFG_NAME_MAX + 1],
                        struct cfg_members *members)
{
    int err = 0;

    for (size_t i = 0; err == 0 && i < plan->step_count; i++) {
        const struct cfg_plan_step *step = &plan->steps[i];
        struct cfg_member of = {&cfg_kind_override, names[i], (char[]){""}, i};
        if (step->type == CFG_STEP_OVERRIDE) {
            cfg_override_name(&step->override, names[i]);
        } else {
            of.kind = cfg_plan_step_kind(step);
            memcpy(names[i], step->name, sizeof names[i]);
        }
        err = step->type == CFG_STEP_PATCH ? cfg_members_add_patch(members, &of, step->json, NULL)
                                           : cfg_members_add(members, &of);
    }
    return err;
}

static void check_members(struct ps_table_at *at, const struct cfg_plan *plan)
{
    char(*names)[CFG_NAME_MAX + 1] = calloc(plan->step_count + 1, sizeof *names);
    struct cfg_members members = {0};
    int err = names != NULL ? list_members(plan, names, &members) : PS_E_NOMEM;
    char place[64];

    if (err == PS_E_NOMEM)
        ps_table_no_memory(at);
    else if (err < 0)
        ps_table_fault(at, "steps", "change more than %d members together", CFG_PLAN_MEMBERS_MAX);
    for (size_t i = 0; err == 0 && i < members.count; i++) {
        const struct cfg_member *member = &members.at[i];
        for (size_t j = 0; j < i; j++) {
            if (members.at[j].step == member->step || !cfg_member_overlaps(member, &members.at[j]))
                continue;
            (void)snprintf(place, sizeof place, "steps/%zu/%s", member->step,
                           step_words[plan->steps[member->step].type]);
            ps_table_fault(at, place, "contradicts step %zu: both change %s%s%s",
                           members.at[j].step, member->name, member->path[0] != '\0' ? " " : "",
                           member->path);
            break;
        }
    }
    cfg_members_free(&members);
    free(names);
}

/* The moment is still to come, or is that of the version in force. */
static void check_start(struct ps_table_at *at, const struct cfg_plan *plan)
{
    const struct cfg_reading *reading = at->ctx;
    const struct cfg_plan *have = reading->have != NULL ? reading->have->parsed : NULL;

    if (plan->start.type == CFG_START_AT && plan->start.at_ms <= reading->now_ms &&
        (have == NULL || have->start.at_ms != plan->start.at_ms))
        ps_table_fault(at, "start/at", "has passed already");
}

static void check_plan(struct ps_table_at *at, void *object)
{
    const struct cfg_reading *reading = at->ctx;
    const struct cfg_plan *plan = object;
    char place[64];

    if (at->outer != NULL || reading->now_ms == 0)
        return; /* of a run, or stored */
    size_t size = json_dumpb(json_object_get(at->json, "steps"), NULL, 0, CFG_JSON_FLAGS);
    if (size > CFG_PLAN_BYTES_MAX)
        ps_table_fault(at, "steps", "take %zu bytes as compact JSON, at most %d are allowed", size,
                       CFG_PLAN_BYTES_MAX);
    for (size_t i = 0; plan->ttl_s == 0 && i < plan->step_count; i++) {
        if (plan->steps[i].type != CFG_STEP_OVERRIDE)
            continue;
        (void)snprintf(place, sizeof place, "steps/%zu/override", i);
        ps_table_fault(at, place, "needs an end: give the plan a ttl_s");
    }
    check_start(at, plan);
    if (!ps_table_is_faulty(at))
        check_members(at, plan);
}

/* clang-format off */
#define AT(field) PS_AT(struct cfg_plan, field)
static const struct ps_member rows[] = {
    {"title", PS_M_STRING, AT(title), .flags = PS_M_REQUIRED, .min = 1, .max = CFG_REASON_MAX, .format = &ps_format_text, .example = "\"The page gives way\"", .text = {"What it is for, in a line", "用途，一行"}},
    {"text", PS_M_STRING, AT(text), .flags = PS_M_NULLABLE, .max = CFG_PLAN_TEXT_MAX, .text = {"When to run it, and what to watch", "何时运行、观察什么"}},
    {"steps", PS_M_LIST, AT(steps), .count_at = offsetof(struct cfg_plan, step_count), .flags = PS_M_REQUIRED, .min = 1, .max = CFG_PLAN_STEPS_MAX, .item = &step_item, .example = "[{\"override\":{\"target\":\"level\",\"value\":2}}]", .text = {"What it does: all of it at once, or nothing", "执行的步骤：全部同时生效，或全不生效"}},
    {"when", PS_M_LIST, AT(whens), .count_at = offsetof(struct cfg_plan, when_count), .max = 16, .item = &when_item, .fallback = "[]", .example = "[{\"sale\":\"spring\",\"state\":\"open\"}]", .text = {"What must be so when it starts", "启动时必须满足的条件"}},
    {"start", PS_M_OBJECT, AT(start), .flags = PS_M_NULLABLE, .table = &start_table, .text = {"When an armed run of it starts; null: a run starts at once", "待命的运行何时启动；null：立即启动"}},
    {"ttl_s", PS_M_INT, AT(ttl_s), .flags = PS_M_REQUIRED | PS_M_NULLABLE, .min = 1, .max = CFG_PLAN_TTL_MAX_S, .unit = {"s"}, .example = "900", .text = {"How long a run lasts; null: until it is reverted by hand", "运行持续多久；null：直到手动还原"}},
    {"approvals", PS_M_INT, AT(approvals), .min = 0, .max = 3, .fallback = "0", .text = {"How many other tokens must approve a run", "需要多少个其他 token 批准"}},
};
/* clang-format on */
const struct ps_table cfg_plan_table = {.title = "plan",
                                        .members = rows,
                                        .count = PS_ARRAY_LEN(rows),
                                        .size = sizeof(struct cfg_plan),
                                        .check = check_plan};

const struct cfg_kind cfg_kind_plan = {
    .path = "plans",
    .id = "plan",
    .word = "plan",
    .name_rule = "a plan's name: [A-Za-z0-9][A-Za-z0-9._-]{0,63}",
    .listed = "plans",
    .lists_names = true,
    .put = "plan.put",
    .drop = "plan.delete",
    .max = CFG_PLANS_MAX,
    .name = cfg_plain_name,
    .table = &cfg_plan_table,
};
