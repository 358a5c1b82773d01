/* Documents of other gateways: read strictly, compared with memory, written, taken into memory.
 *
 * What must hold: memory and control.db change together, through one job. Of the policy only what
 * differs is written, because a blocklist may be long; its entries are sorted as memory is, so that
 * they are found and merged without walking over all for each. */
#include "gateway/config/codec.h"

#include "common/log.h"
#include "gateway/config/db.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sale_item {
    bool gone;
    struct cfg_stored_sale sale; /* of a deleted one name and version */
};

/* `left`: it could not be read, so what is here stays; it is not missing. */
struct rule_item {
    struct cfg_limit_rule rule; /* first: sorted by its name */
    bool gone, left;
};

struct block_item {
    struct cfg_block block; /* first: sorted by kind and subject */
    bool gone, left;
};

struct cfg_merge {
    bool whole;
    struct sale_item *sales;
    struct rule_item *rules;
    struct block_item *blocks;
    size_t sale_count, rule_count, block_count;
    int64_t policy_version; /* 0: the policy has not changed */
};

struct cfg_merge *cfg_merge_new(bool whole)
{
    struct cfg_merge *taken = calloc(1, sizeof *taken);

    if (taken != NULL)
        taken->whole = whole;
    return taken;
}

void cfg_merge_free(struct cfg_merge *taken)
{
    if (taken == NULL)
        return;
    for (size_t i = 0; i < taken->sale_count; i++)
        cfg_sale_doc_done(&taken->sales[i].sale.doc);
    free(taken->sales);
    free(taken->rules);
    free(taken->blocks);
    free(taken);
}

/* A zeroed element behind the last, which the caller counts when it is read. NULL: no memory. */
static void *room(void *array, size_t count, size_t size)
{
    char **at = array;
    char *more = realloc(*at, (count + 1) * size);

    if (more == NULL)
        return NULL;
    *at = more;
    return memset(more + count * size, 0, size);
}

/* --- Reading. --- */

static int no_memory(struct ps_fault *fault)
{
    return ps_fault(fault, PS_E_NOMEM, "", "out of memory");
}

/* "version text" */
static int read_version(struct ps_str *value, int64_t *ret_version, struct ps_fault *fault)
{
    int64_t version = 0;
    size_t at = 0;

    for (; at < value->len && value->at[at] >= '0' && value->at[at] <= '9'; at++) {
        version = version * 10 + (value->at[at] - '0');
        if (version > PS_INT_MAX)
            break;
    }
    if (at == 0 || at == value->len || value->at[at] != ' ' || version == 0)
        return ps_fault(fault, PS_E_INVALID, "", "does not begin with a version");
    *ret_version = version;
    value->at += at + 1;
    value->len -= at + 1;
    return 0;
}

static int read_state(const json_t *json, const char *name, struct sale_item *item,
                      struct ps_fault *fault)
{
    struct cfg_sale_state *state = &item->sale.state;
    struct ps_json_reader reader;
    const json_t *document;

    ps_json_reader_init(&reader, json, "", fault);
    ps_json_bool(&reader, "deleted", &item->gone);
    if (item->gone)
        return ps_json_done(&reader);
    ps_json_require(&reader, (const char *const[]){"created_at_ms", "updated_at_ms", "opened",
                                                   "paused", "ended", "document", NULL});
    ps_json_int(&reader, "created_at_ms", 0, PS_INT_MAX, &state->created_at_ms);
    ps_json_int(&reader, "updated_at_ms", 0, PS_INT_MAX, &state->updated_at_ms);
    ps_json_bool(&reader, "opening", &state->opening);
    ps_json_bool(&reader, "opened", &state->opened);
    ps_json_bool(&reader, "paused", &state->paused);
    ps_json_bool(&reader, "ended", &state->ended);
    document = ps_json_value(&reader, "document");
    int err = ps_json_done(&reader);
    return err < 0 ? err : cfg_sale_doc_read(document, "/document", name, &item->sale.doc, fault);
}

static int add_sale(struct cfg_merge *taken, const char *name, struct ps_str value,
                    struct ps_fault *fault)
{
    struct sale_item *item;
    json_t *json;
    int err;

    if (!ps_name_ok(name, strlen(name)) || value.at == NULL)
        return ps_fault(fault, PS_E_INVALID, "", "is no sale");
    item = room(&taken->sales, taken->sale_count, sizeof *item);
    if (item == NULL)
        return no_memory(fault);
    memcpy(item->sale.name, name, strlen(name) + 1);
    if ((err = read_version(&value, &item->sale.state.version, fault)) < 0 ||
        (err = ps_json_parse(value.at, value.len, &json, fault)) < 0)
        return err;
    err = read_state(json, name, item, fault);
    json_decref(json);
    if (err == 0)
        taken->sale_count++;
    return err;
}

static int add_rule(struct cfg_merge *taken, const char *name, struct ps_str value,
                    struct ps_fault *fault)
{
    struct rule_item *item;
    json_t *json;
    int err = 0;

    if (!ps_name_ok(name, strlen(name)))
        return ps_fault(fault, PS_E_INVALID, "", "is no rule name");
    item = room(&taken->rules, taken->rule_count, sizeof *item);
    if (item == NULL)
        return no_memory(fault);
    memcpy(item->rule.name, name, strlen(name) + 1);
    item->gone = value.at == NULL;
    if (!item->gone && (err = ps_json_parse(value.at, value.len, &json, fault)) == 0) {
        err = cfg_limit_rule_read(json, name, "", &item->rule, fault);
        json_decref(json);
    }
    item->left = err < 0;
    taken->rule_count++;
    return err;
}

static int read_block(const json_t *json, struct cfg_block *block, struct ps_fault *fault)
{
    struct ps_str reason = {"", 0}, by = {"", 0};
    struct ps_json_reader reader;

    ps_json_reader_init(&reader, json, "", fault);
    ps_json_require(&reader,
                    (const char *const[]){"until_ms", "created_at_ms", "reason", "by", NULL});
    ps_json_int(&reader, "until_ms", 0, INT64_MAX, &block->until_ms);
    ps_json_int(&reader, "created_at_ms", 0, PS_INT_MAX, &block->created_at_ms);
    ps_json_string(&reader, "reason", CFG_BLOCK_REASON_MAX, &reason);
    ps_json_string(&reader, "by", PS_NAME_MAX, &by);
    int err = ps_json_done(&reader);
    if (err < 0)
        return err;
    memcpy(block->reason, reason.at, reason.len);
    memcpy(block->by, by.at, by.len);
    return 0;
}

static int add_block(struct cfg_merge *taken, enum cfg_block_kind kind, const char *subject,
                     struct ps_str value, struct ps_fault *fault)
{
    size_t len = strlen(subject);
    struct block_item *item;
    struct ps_cidr range;
    json_t *json;
    int err = 0;

    if (kind == CFG_BLOCK_USER ? !ps_user_ok(subject, len)
                               : ps_cidr_parse(subject, len, &range) < 0)
        return ps_fault(fault, PS_E_INVALID, "", "is neither a user nor a range");
    item = room(&taken->blocks, taken->block_count, sizeof *item);
    if (item == NULL)
        return no_memory(fault);
    item->block.kind = kind;
    memcpy(item->block.subject, subject, len + 1);
    item->gone = value.at == NULL;
    if (!item->gone && (err = ps_json_parse(value.at, value.len, &json, fault)) == 0) {
        err = read_block(json, &item->block, fault);
        json_decref(json);
    }
    item->left = err < 0;
    taken->block_count++;
    return err;
}

/* What follows `prefix`; NULL: it does not begin so. */
static const char *after(const char *field, const char *prefix)
{
    size_t len = strlen(prefix);

    return strncmp(field, prefix, len) == 0 ? field + len : NULL;
}

static int add(struct cfg_merge *taken, const char *field, struct ps_str value,
               struct ps_fault *fault)
{
    const char *name;

    if ((name = after(field, "sale/")) != NULL)
        return add_sale(taken, name, value, fault);
    if ((name = after(field, "entry/rule/")) != NULL)
        return add_rule(taken, name, value, fault);
    if ((name = after(field, "entry/user/")) != NULL)
        return add_block(taken, CFG_BLOCK_USER, name, value, fault);
    if ((name = after(field, "entry/range/")) != NULL)
        return add_block(taken, CFG_BLOCK_RANGE, name, value, fault);
    if (strcmp(field, "policy") == 0)
        return read_version(&value, &taken->policy_version, fault);
    return ps_fault(fault, PS_E_INVALID, "", "is no document of penstock");
}

int cfg_merge_add(struct cfg_merge *taken, struct ps_str field, struct ps_str value,
                  struct ps_fault *fault)
{
    char name[sizeof "entry/range/" + PS_USER_MAX], path[sizeof name + sizeof fault->path];
    struct ps_fault why = {0};
    int err;

    (void)snprintf(name, sizeof name, "%.*s", (int)field.len, field.at);
    err = strlen(name) == field.len ? add(taken, name, value, &why)
                                    : ps_fault(&why, PS_E_INVALID, "", "is no name of a document");
    if (err == 0)
        return 0;
    (void)snprintf(path, sizeof path, "%s%s", name, why.path);
    return ps_fault(fault, err, path, "%s", why.text);
}

/* --- Comparing with memory. --- */

static bool sale_differs(const struct cfg_stored_sale *have, const struct cfg_stored_sale *other)
{
    const struct cfg_sale_state *a = &have->state, *b = &other->state;
    char names[16];

    return a->created_at_ms != b->created_at_ms || a->updated_at_ms != b->updated_at_ms ||
           a->opening != b->opening || a->opened != b->opened || a->paused != b->paused ||
           a->ended != b->ended ||
           cfg_sale_doc_differences(&have->doc, &other->doc, names, sizeof names) > 0;
}

static bool rule_differs(const struct cfg_limit_rule *a, const struct cfg_limit_rule *b)
{
    return a->algorithm != b->algorithm || a->key != b->key || a->rate != b->rate ||
           a->period_s != b->period_s || a->burst != b->burst || a->max_wait_ms != b->max_wait_ms ||
           a->mode != b->mode || a->applies_to != b->applies_to || strcmp(a->sale, b->sale) != 0;
}

static bool block_differs(const struct cfg_block *a, const struct cfg_block *b)
{
    return a->until_ms != b->until_ms || a->created_at_ms != b->created_at_ms ||
           strcmp(a->reason, b->reason) != 0 || strcmp(a->by, b->by) != 0;
}

static int rule_order(const void *a, const void *b)
{
    return strcmp(((const struct cfg_limit_rule *)a)->name,
                  ((const struct cfg_limit_rule *)b)->name);
}

static int block_order(const void *a, const void *b)
{
    const struct cfg_block *x = a, *y = b;

    return x->kind != y->kind ? (x->kind < y->kind ? -1 : 1) : strcmp(x->subject, y->subject);
}

/* The version in memory; 0: none. */
static int64_t version_here(const struct gw_control *control, const char *name)
{
    const struct gw_control_sale *sale = gw_control_sale(control, name, strlen(name));

    return sale != NULL ? sale->stored.state.version : gw_control_gone(control, name);
}

static void say_differs(const char *document, int64_t version)
{
    ps_log(PS_LOG_WARN, "shared_copy_differs", PS_F_STR("document", document),
           PS_F_INT("version", version));
}

static bool sale_is_news(const struct gw_control *control, const struct sale_item *item)
{
    const char *name = item->sale.name;
    const struct gw_control_sale *sale = gw_control_sale(control, name, strlen(name));
    int64_t here = version_here(control, name), version = item->sale.state.version;

    if (version != here)
        return version > here;
    if (sale != NULL && !item->gone ? !sale_differs(&sale->stored, &item->sale)
                                    : (sale == NULL) == item->gone)
        return false;
    say_differs(name, version);
    return true;
}

static void choose_sales(const struct gw_control *control, struct cfg_merge *taken)
{
    size_t kept = 0;

    for (size_t i = 0; i < taken->sale_count; i++) {
        if (sale_is_news(control, &taken->sales[i]))
            taken->sales[kept++] = taken->sales[i];
        else
            cfg_sale_doc_done(&taken->sales[i].sale.doc);
    }
    taken->sale_count = kept;
}

/* What is here and not in the whole policy is gone. */
static int add_missing(const struct gw_control *control, struct cfg_merge *taken, int64_t wall_ms)
{
    size_t rules = taken->rule_count, blocks = taken->block_count;

    for (size_t i = 0; i < control->rule_count; i++) {
        const struct cfg_limit_rule *have = &control->rules[i];
        struct rule_item *item;
        if (rules > 0 && bsearch(have, taken->rules, rules, sizeof *item, rule_order) != NULL)
            continue;
        if ((item = room(&taken->rules, taken->rule_count, sizeof *item)) == NULL)
            return PS_E_NOMEM;
        *item = (struct rule_item){.rule = *have, .gone = true};
        taken->rule_count++;
    }
    for (size_t i = 0; i < control->block_count; i++) {
        const struct cfg_block *have = &control->blocks[i];
        struct block_item *item;
        if (have->until_ms <= wall_ms || /* falls away by itself */
            (blocks > 0 && bsearch(have, taken->blocks, blocks, sizeof *item, block_order) != NULL))
            continue;
        if ((item = room(&taken->blocks, taken->block_count, sizeof *item)) == NULL)
            return PS_E_NOMEM;
        *item = (struct block_item){.block = *have, .gone = true};
        taken->block_count++;
    }
    return 0;
}

static void sort_entries(struct cfg_merge *taken)
{
    if (taken->rule_count > 0)
        qsort(taken->rules, taken->rule_count, sizeof *taken->rules, rule_order);
    if (taken->block_count > 0)
        qsort(taken->blocks, taken->block_count, sizeof *taken->blocks, block_order);
}

static void choose_rules(const struct gw_control *control, struct cfg_merge *taken)
{
    size_t kept = 0;

    for (size_t i = 0; i < taken->rule_count; i++) {
        const struct rule_item *item = &taken->rules[i];
        const struct cfg_limit_rule *have =
            gw_control_rule(control, item->rule.name, strlen(item->rule.name));
        if (item->left)
            continue;
        if (item->gone ? have != NULL : have == NULL || rule_differs(have, &item->rule))
            taken->rules[kept++] = *item;
    }
    taken->rule_count = kept;
}

static void choose_blocks(const struct gw_control *control, struct cfg_merge *taken,
                          int64_t wall_ms)
{
    size_t kept = 0;

    for (size_t i = 0; i < taken->block_count; i++) {
        const struct block_item *item = &taken->blocks[i];
        const struct cfg_block *have =
            control->block_count == 0 ? NULL
                                      : bsearch(&item->block, control->blocks, control->block_count,
                                                sizeof *have, block_order);
        bool ended = !item->gone && item->block.until_ms <= wall_ms;
        if (item->left)
            continue;
        if (item->gone ? have != NULL : have == NULL ? !ended : block_differs(have, &item->block))
            taken->blocks[kept++] = *item;
    }
    taken->block_count = kept;
}

static int choose_policy(const struct gw_control *control, struct cfg_merge *taken)
{
    int64_t now = ps_clock_wall_ms(control->core->clock), here = control->policy_version;

    if (taken->policy_version >= here) {
        sort_entries(taken);
        if (taken->whole && add_missing(control, taken, now) < 0)
            return PS_E_NOMEM;
        sort_entries(taken);
        choose_rules(control, taken);
        choose_blocks(control, taken, now);
    } else {
        taken->policy_version = 0;
        taken->rule_count = taken->block_count = 0;
    }
    if (taken->policy_version != here)
        return 0;
    if (taken->rule_count + taken->block_count > 0)
        say_differs("policy", here);
    else
        taken->policy_version = 0;
    return 0;
}

/* --- Writing what differs. --- */

static int write_sales(const struct gw_control *control, const struct cfg_merge *taken,
                       struct cfg_store_job *job, json_t *from, json_t *to)
{
    int err = 0;

    for (size_t i = 0; i < taken->sale_count; i++) {
        const struct cfg_stored_sale *sale = &taken->sales[i].sale;
        char field[sizeof "sale/" + PS_NAME_MAX];
        (void)snprintf(field, sizeof field, "sale/%s", sale->name);
        err |= json_object_set_new(from, field, json_integer(version_here(control, sale->name)));
        err |= json_object_set_new(to, field, json_integer(sale->state.version));
        if (taken->sales[i].gone)
            cfg_store_job_sale_gone_taken(job, sale->name, sale->state.version);
        else
            cfg_store_job_sale_taken(job, sale->name, &sale->doc, &sale->state);
    }
    return err;
}

static int write_policy(const struct gw_control *control, const struct cfg_merge *taken,
                        struct cfg_store_job *job, json_t *from, json_t *to)
{
    if (taken->policy_version == 0)
        return 0;
    for (size_t i = 0; i < taken->rule_count; i++) {
        const struct rule_item *item = &taken->rules[i];
        if (item->gone)
            cfg_store_job_rule_delete(job, item->rule.name);
        else
            cfg_store_job_rule(job, &item->rule);
    }
    for (size_t i = 0; i < taken->block_count; i++) {
        const struct block_item *item = &taken->blocks[i];
        if (item->gone)
            cfg_store_job_unblock(job, item->block.kind, item->block.subject);
        else
            cfg_store_job_block_taken(job, &item->block);
    }
    cfg_store_job_policy_taken(job, taken->policy_version);
    return json_object_set_new(from, "policy", json_integer(control->policy_version)) |
           json_object_set_new(to, "policy", json_integer(taken->policy_version));
}

int cfg_merge_job(const struct gw_control *control, struct cfg_merge *taken,
                  struct cfg_store_job **ret_job)
{
    struct cfg_store_job *job;
    json_t *from, *to;
    int err;

    choose_sales(control, taken);
    if (choose_policy(control, taken) < 0)
        return PS_E_NOMEM;
    if (taken->sale_count == 0 && taken->policy_version == 0)
        return PS_E_NOT_FOUND;
    job = cfg_store_job_new();
    if (job == NULL)
        return PS_E_NOMEM;
    from = json_object();
    to = json_object();
    err = write_sales(control, taken, job, from, to);
    err |= write_policy(control, taken, job, from, to);
    cfg_store_job_audit(job,
                        &(struct cfg_audit_entry){.at_ms = ps_clock_wall_ms(control->core->clock),
                                                  .who = "cluster",
                                                  .peer = "",
                                                  .action = "cluster.take",
                                                  .target = "control",
                                                  .from = from,
                                                  .to = to});
    json_decref(from);
    json_decref(to);
    if (err != 0) {
        cfg_store_job_free(job);
        return PS_E_NOMEM;
    }
    *ret_job = job;
    return 0;
}

/* --- Into memory. --- */

/* Both are sorted: one walk over them makes the new list. */
static int merge_blocks(struct gw_control *control, const struct cfg_merge *taken)
{
    size_t i = 0, j = 0, count = 0;
    struct cfg_block *merged =
        calloc(control->block_count + taken->block_count + 1, sizeof *merged);

    if (merged == NULL)
        return PS_E_NOMEM;
    while (i < control->block_count || j < taken->block_count) {
        int order = i == control->block_count ? 1
                    : j == taken->block_count
                        ? -1
                        : block_order(&control->blocks[i], &taken->blocks[j].block);
        if (order < 0)
            merged[count++] = control->blocks[i];
        else if (!taken->blocks[j].gone)
            merged[count++] = taken->blocks[j].block;
        i += order <= 0;
        j += order >= 0;
    }
    free(control->blocks);
    control->blocks = merged;
    control->block_count = count;
    return 0;
}

static int take_policy(struct gw_control *control, const struct cfg_merge *taken)
{
    int err = merge_blocks(control, taken);

    for (size_t i = 0; i < taken->rule_count && err == 0; i++) {
        if (taken->rules[i].gone)
            gw_control_drop_rule(control, taken->rules[i].rule.name);
        else
            err = gw_control_put_rule(control, &taken->rules[i].rule);
    }
    if (err == 0)
        control->policy_version = taken->policy_version;
    control->dirty = true;
    return err;
}

static void say_taken(const char *document, int64_t version, int err)
{
    if (err < 0)
        ps_log(PS_LOG_ERROR, "shared_copy_not_taken_over", PS_F_STR("document", document),
               PS_F_STR("error", ps_err_text(err)));
    else
        ps_log(PS_LOG_INFO, "shared_copy_taken_over", PS_F_STR("document", document),
               PS_F_INT("version", version));
}

void cfg_merge_apply(struct gw_control *control, struct cfg_merge *taken)
{
    for (size_t i = 0; i < taken->sale_count; i++) {
        const struct cfg_stored_sale *sale = &taken->sales[i].sale;
        int err = taken->sales[i].gone
                      ? gw_control_drop_sale(control, sale->name, sale->state.version)
                      : gw_control_put_sale(control, sale);
        say_taken(sale->name, sale->state.version, err);
    }
    if (taken->policy_version > 0)
        say_taken("policy", taken->policy_version, take_policy(control, taken));
}
