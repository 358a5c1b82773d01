/* What the control thread keeps of the decisions: sales, the last versions of those that were
 * deleted, limit rules and blocklist, in sorted arrays that are copied into every policy. Each
 * change of them makes the policy stale (`dirty`). */
#include "gateway/control.h"

#include "common/log.h"

#include <stdlib.h>
#include <string.h>

struct gw_control_sale *gw_control_sale(const struct gw_control *control, const char *name,
                                        size_t len)
{
    for (size_t i = 0; i < control->sale_count; i++) {
        const char *have = control->sales[i]->stored.name;
        if (strlen(have) == len && memcmp(have, name, len) == 0)
            return control->sales[i];
    }
    return NULL;
}

struct cfg_limit_rule *gw_control_rule(const struct gw_control *control, const char *name,
                                       size_t len)
{
    for (size_t i = 0; i < control->rule_count; i++)
        if (strlen(control->rules[i].name) == len && memcmp(control->rules[i].name, name, len) == 0)
            return &control->rules[i];
    return NULL;
}

/* Room for one more element, in its place by `name_at` (offset of the name's array in the element).
 */
static int make_room(void **array, size_t *count, size_t size, size_t at)
{
    char *more = realloc(*array, (*count + 1) * size);

    if (more == NULL)
        return PS_E_NOMEM;
    memmove(more + (at + 1) * size, more + at * size, (*count - at) * size);
    *array = more;
    (*count)++;
    return 0;
}

/* --- sales that were deleted --- */

int64_t gw_control_gone(const struct gw_control *control, const char *name)
{
    for (size_t i = 0; i < control->gone_count; i++)
        if (strcmp(control->gone[i].name, name) == 0)
            return control->gone[i].version;
    return 0;
}

static void forget_gone(struct gw_control *control, const char *name)
{
    for (size_t i = 0; i < control->gone_count; i++)
        if (strcmp(control->gone[i].name, name) == 0) {
            control->gone[i] = control->gone[--control->gone_count];
            return;
        }
}

/* --- sales --- */

static int sale_copy(const struct cfg_stored_sale *from, struct cfg_stored_sale *ret_copy)
{
    struct cfg_stored_sale copy = *from;
    int err = cfg_sale_doc_copy(&from->doc, &copy.doc);

    if (err == 0)
        *ret_copy = copy;
    return err;
}

int gw_control_put_sale(struct gw_control *control, const struct cfg_stored_sale *stored)
{
    struct gw_control_sale *sale = gw_control_sale(control, stored->name, strlen(stored->name));
    struct cfg_stored_sale copy;
    struct sale_run *run;
    size_t at = 0;
    int err = sale_copy(stored, &copy);

    if (err < 0)
        return err;
    control->dirty = true;
    if (sale != NULL) {
        cfg_sale_doc_done(&sale->stored.doc);
        sale->stored = copy;
        return 0;
    }
    run = sale_known(control->core->sales, stored->name);
    sale = calloc(1, sizeof *sale);
    while (at < control->sale_count && strcmp(control->sales[at]->stored.name, stored->name) < 0)
        at++;
    if (run == NULL || sale == NULL ||
        make_room((void **)&control->sales, &control->sale_count, sizeof *control->sales, at) < 0) {
        free(sale);
        cfg_sale_doc_done(&copy.doc);
        return PS_E_NOMEM;
    }
    sale->stored = copy;
    sale->run = run;
    control->sales[at] = sale;
    forget_gone(control, copy.name);
    return 0;
}

static void sale_free(struct gw_control_sale *sale)
{
    cfg_sale_doc_done(&sale->stored.doc);
    free(sale);
}

int gw_control_drop_sale(struct gw_control *control, const char *name, int64_t version)
{
    struct cfg_gone_sale gone = {.version = version};

    memcpy(gone.name, name, strlen(name) + 1);
    forget_gone(control, name);
    if (make_room((void **)&control->gone, &control->gone_count, sizeof *control->gone,
                  control->gone_count) < 0)
        return PS_E_NOMEM;
    control->gone[control->gone_count - 1] = gone;
    for (size_t i = 0; i < control->sale_count; i++) {
        if (strcmp(control->sales[i]->stored.name, name) != 0)
            continue;
        sale_free(control->sales[i]);
        memmove(&control->sales[i], &control->sales[i + 1],
                (--control->sale_count - i) * sizeof *control->sales);
        control->dirty = true;
        break;
    }
    return 0;
}

/* --- limit rules and blocklist --- */

int gw_control_put_rule(struct gw_control *control, const struct cfg_limit_rule *rule)
{
    struct cfg_limit_rule *have = gw_control_rule(control, rule->name, strlen(rule->name));
    size_t at = 0;

    if (have == NULL) {
        while (at < control->rule_count && strcmp(control->rules[at].name, rule->name) < 0)
            at++;
        if (make_room((void **)&control->rules, &control->rule_count, sizeof *control->rules, at) <
            0)
            return PS_E_NOMEM;
        have = &control->rules[at];
    }
    *have = *rule;
    control->dirty = true;
    return 0;
}

void gw_control_warn_of_rule(const struct gw_control *control, const struct cfg_limit_rule *rule)
{
    if (rule->sale[0] != '\0' && gw_control_sale(control, rule->sale, strlen(rule->sale)) == NULL)
        ps_log(PS_LOG_WARN, "limit_without_sale", PS_F_STR("rule", rule->name),
               PS_F_STR("sale", rule->sale));
}

void gw_control_drop_rule(struct gw_control *control, const char *name)
{
    struct cfg_limit_rule *rule = gw_control_rule(control, name, strlen(name));

    if (rule == NULL)
        return;
    control->rule_count--;
    memmove(rule, rule + 1, (size_t)(&control->rules[control->rule_count] - rule) * sizeof *rule);
    control->dirty = true;
}

static int block_order(const struct cfg_block *a, enum cfg_block_kind kind, const char *subject)
{
    return a->kind != kind ? (a->kind < kind ? -1 : 1) : strcmp(a->subject, subject);
}

static void drop_ended_blocks(struct gw_control *control, int64_t wall_ms)
{
    size_t kept = 0;

    for (size_t i = 0; i < control->block_count; i++)
        if (control->blocks[i].until_ms > wall_ms)
            control->blocks[kept++] = control->blocks[i];
    control->block_count = kept;
}

int gw_control_put_block(struct gw_control *control, const struct cfg_block *block)
{
    size_t at = 0;

    drop_ended_blocks(control, block->created_at_ms);
    while (at < control->block_count &&
           block_order(&control->blocks[at], block->kind, block->subject) < 0)
        at++;
    if ((at == control->block_count ||
         block_order(&control->blocks[at], block->kind, block->subject) != 0) &&
        make_room((void **)&control->blocks, &control->block_count, sizeof *control->blocks, at) <
            0)
        return PS_E_NOMEM;
    control->blocks[at] = *block;
    control->dirty = true;
    return 0;
}

void gw_control_drop_block(struct gw_control *control, enum cfg_block_kind kind,
                           const char *subject)
{
    for (size_t i = 0; i < control->block_count; i++) {
        if (block_order(&control->blocks[i], kind, subject) != 0)
            continue;
        memmove(&control->blocks[i], &control->blocks[i + 1],
                (--control->block_count - i) * sizeof *control->blocks);
        control->dirty = true;
        return;
    }
}

/* --- all of it --- */

int gw_control_memory_take(struct gw_control *control, struct cfg_stored *stored)
{
    control->policy_version = stored->policy_version;
    control->gone = stored->gone;
    control->gone_count = stored->gone_count;
    control->rules = stored->rules;
    control->rule_count = stored->rule_count;
    control->blocks = stored->blocks;
    control->block_count = stored->block_count;
    stored->gone = NULL;
    stored->rules = NULL;
    stored->blocks = NULL;
    stored->gone_count = stored->rule_count = stored->block_count = 0;
    for (size_t i = 0; i < stored->sale_count; i++) {
        int err = gw_control_put_sale(control, &stored->sales[i]);
        if (err < 0)
            return err;
    }
    return 0;
}

void gw_control_memory_free(struct gw_control *control)
{
    for (size_t i = 0; i < control->sale_count; i++)
        sale_free(control->sales[i]);
    free(control->sales);
    free(control->gone);
    free(control->rules);
    free(control->blocks);
}
