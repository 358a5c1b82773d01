/* The control thread's memory and the way of a change through it. Three things happen
 * asynchronously and each has one place here: a job of the control store comes back (GW_MAIL_DONE),
 * a worker has taken a policy over (GW_MAIL_POLICY_ACK), a record's outcome is known
 * (GW_MAIL_ORDER).
 *
 * What must hold: memory changes only after the store has written; a policy is freed only when no
 * worker uses it any more; a change is answered only when every worker goes by it. So at most one
 * publication is under way, and at most one change. */
#include "gateway/control/control.h"

#include "common/log.h"
#include "common/pool.h"
#include "gateway/control/arm.h"
#include "gateway/orders/keeper.h"
#include "gateway/worker.h"

#include <stdlib.h>
#include <string.h>

#define TICK_MS 100

struct gw_change {
    struct gw_store_job *job;
    gw_change_apply_fn *apply;
    gw_change_done_fn *done;
    void *ctx;
    bool submitted;
    bool written; /* applied; its publication is under way */
    struct gw_change *next;
};

struct gw_await {
    gw_outcome_fn *done;
    void *ctx;
};

/* --- sorted arrays --- */

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

struct gw_limit_rule *gw_control_rule(const struct gw_control *control, const char *name,
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

static int sale_copy(const struct gw_stored_sale *from, struct gw_stored_sale *ret_copy)
{
    struct gw_stored_sale copy = *from;
    int err = gw_sale_doc_copy(&from->doc, &copy.doc);

    if (err == 0)
        *ret_copy = copy;
    return err;
}

int gw_control_put_sale(struct gw_control *control, const struct gw_stored_sale *stored)
{
    struct gw_control_sale *sale = gw_control_sale(control, stored->name, strlen(stored->name));
    struct gw_stored_sale copy;
    size_t at = 0;
    int err = sale_copy(stored, &copy);

    if (err < 0)
        return err;
    control->dirty = true;
    if (sale != NULL) {
        gw_sale_doc_done(&sale->stored.doc);
        sale->stored = copy;
        return 0;
    }
    sale = calloc(1, sizeof *sale);
    while (at < control->sale_count && strcmp(control->sales[at]->stored.name, stored->name) < 0)
        at++;
    if (sale == NULL ||
        make_room((void **)&control->sales, &control->sale_count, sizeof *control->sales, at) < 0) {
        free(sale);
        gw_sale_doc_done(&copy.doc);
        return PS_E_NOMEM;
    }
    sale->stored = copy;
    /* Older than control.db, when that was lost: its stock is settled. */
    sale->books = oq_fold_sale(control->core->fold, copy.name, strlen(copy.name));
    control->sales[at] = sale;
    return 0;
}

static void sale_free(struct gw_control_sale *sale)
{
    gw_sale_doc_done(&sale->stored.doc);
    free(sale);
}

void gw_control_drop_sale(struct gw_control *control, const char *name)
{
    for (size_t i = 0; i < control->sale_count; i++) {
        if (strcmp(control->sales[i]->stored.name, name) != 0)
            continue;
        sale_free(control->sales[i]);
        memmove(&control->sales[i], &control->sales[i + 1],
                (--control->sale_count - i) * sizeof *control->sales);
        control->dirty = true;
        return;
    }
}

int gw_control_put_rule(struct gw_control *control, const struct gw_limit_rule *rule)
{
    struct gw_limit_rule *have = gw_control_rule(control, rule->name, strlen(rule->name));
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

void gw_control_drop_rule(struct gw_control *control, const char *name)
{
    struct gw_limit_rule *rule = gw_control_rule(control, name, strlen(name));

    if (rule == NULL)
        return;
    control->rule_count--;
    memmove(rule, rule + 1, (size_t)(&control->rules[control->rule_count] - rule) * sizeof *rule);
    control->dirty = true;
}

static int block_order(const struct gw_block *a, enum gw_block_kind kind, const char *subject)
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

int gw_control_put_block(struct gw_control *control, const struct gw_block *block)
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

void gw_control_drop_block(struct gw_control *control, enum gw_block_kind kind, const char *subject)
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

/* --- the policy --- */

static int build_blocklist(const struct gw_control *control, struct gw_blocklist **ret_blocklist)
{
    size_t room = control->block_count ? control->block_count : 1;
    struct gw_blocked_user *users = calloc(room, sizeof *users);
    struct gw_blocked_range *ranges = calloc(room, sizeof *ranges);
    size_t user_count = 0, range_count = 0;
    int err = PS_E_NOMEM;

    if (users == NULL || ranges == NULL)
        goto out;
    for (size_t i = 0; i < control->block_count; i++) {
        const struct gw_block *block = &control->blocks[i];
        if (block->kind == GW_BLOCK_USER) {
            memcpy(users[user_count].user, block->subject, sizeof users[0].user);
            users[user_count++].until_ms = block->until_ms;
        } else if (gw_cidr_parse(block->subject, strlen(block->subject),
                                 &ranges[range_count].range) == 0) {
            ranges[range_count++].until_ms = block->until_ms;
        }
    }
    err = gw_blocklist_new(users, user_count, ranges, range_count, ret_blocklist);
out:
    free(users);
    free(ranges);
    return err;
}

static int build_sales(const struct gw_control *control, struct gw_sale **sales, size_t *ret_count)
{
    *ret_count = 0;
    for (size_t i = 0; i < control->sale_count; i++) {
        const struct gw_control_sale *from = control->sales[i];
        struct gw_sale *sale;
        int err = gw_sale_new(from->stored.name, &from->stored.doc, &from->stored.state, &sale);
        if (err < 0)
            return err;
        sale->counter = from->counter;
        sale->books = from->counter != NULL ? from->books : NULL;
        sale->epoch = from->epoch;
        if (sale->books != NULL)
            gw_sale_order_skus(sale, sale->books);
        sales[(*ret_count)++] = sale;
    }
    return 0;
}

static int build_policy(struct gw_control *control, struct gw_policy **ret_policy)
{
    struct gw_sale **sales = calloc(control->sale_count ? control->sale_count : 1, sizeof *sales);
    struct gw_blocklist *blocklist = NULL;
    size_t count = 0;
    int err = PS_E_NOMEM;

    if (sales == NULL)
        return PS_E_NOMEM;
    if ((err = build_sales(control, sales, &count)) < 0 ||
        (err = build_blocklist(control, &blocklist)) < 0 ||
        (err = gw_policy_new(control->snapshot + 1, sales, count, control->rules,
                             control->rule_count, blocklist, ret_policy)) < 0)
        goto fail;
    control->snapshot++;
    free(sales);
    return 0;
fail:
    for (size_t i = 0; i < count; i++)
        gw_sale_free(sales[i]);
    free(sales);
    gw_blocklist_free(blocklist);
    return err;
}

static void next_step(struct gw_control *control);

/* Gives every worker the new policy. Without memory the old one stays in force, and the next tick
 * tries again. */
static void publish(struct gw_control *control)
{
    struct gw_core *core = control->core;
    struct gw_policy *policy;
    int err = build_policy(control, &policy);

    if (err < 0) {
        ps_log(PS_LOG_ERROR, "policy_not_built", PS_F_STR("error", ps_err_text(err)));
        return;
    }
    control->dirty = false;
    control->older = control->policy;
    control->policy = policy;
    control->acks = 0;
    for (size_t i = 0; i < core->worker_count; i++) {
        struct ps_mail mail = {.kind = GW_MAIL_POLICY, .ptr = policy};
        if (gw_worker_post(core->workers[i], &mail) <
            0) /* a worker that takes no mail serves nobody either */
            ps_log(PS_LOG_ERROR, "policy_not_delivered", PS_F_INT("worker", i));
    }
}

static void on_ack(struct gw_control *control, const struct ps_mail *mail)
{
    if (control->older == NULL || (int64_t)mail->value != control->policy->version ||
        ++control->acks < control->core->worker_count)
        return;
    gw_policy_free(control->older);
    control->older = NULL;
    next_step(control);
}

/* --- changes --- */

static void finish_change(struct gw_control *control, int err)
{
    struct gw_change *change = control->first_change;
    struct gw_store_job *job = change->job;

    control->first_change = change->next;
    if (control->first_change == NULL)
        control->last_change = NULL;
    if (job->audit_err < 0)
        ps_log(PS_LOG_ERROR, "audit_log_not_written",
               PS_F_STR("error", ps_err_text(job->audit_err)));
    if (change->done != NULL)
        change->done(control, err, &job->fault, change->ctx);
    gw_store_job_free(job);
    free(change);
}

static int submit_first(struct gw_control *control)
{
    struct gw_change *change = control->first_change;
    int err;

    change->job->ctx = change;
    err = gw_store_submit(control->store, change->job);
    change->submitted = err == 0;
    return err;
}

/* The next change that the store takes; those it does not take have failed. A `done` may have
 * submitted a change itself when the queue was empty. */
static void start_next(struct gw_control *control)
{
    while (control->first_change != NULL && !control->first_change->submitted) {
        int err = submit_first(control);
        if (err == 0)
            return;
        finish_change(control, err);
    }
}

/* What can go on now: the publication first, then the change that waited for it, then the next
 * change. */
static void next_step(struct gw_control *control)
{
    while (control->older == NULL) {
        if (control->dirty) {
            publish(control);
            if (control->older != NULL || control->dirty)
                return;
        }
        if (control->first_change == NULL || !control->first_change->written)
            return;
        finish_change(control, 0);
        start_next(control);
    }
}

static void on_job_done(struct gw_control *control, struct gw_store_job *job)
{
    struct gw_change *change = job->ctx;

    if (job->err < 0) {
        finish_change(control, job->err);
        start_next(control);
        return;
    }
    if (change->apply != NULL)
        change->apply(control, change->ctx);
    change->written = true;
    next_step(control);
}

int gw_control_change(struct gw_control *control, struct gw_store_job *job,
                      gw_change_apply_fn *apply, gw_change_done_fn *done, void *ctx)
{
    struct gw_change *change = calloc(1, sizeof *change);
    int err;

    if (change == NULL || job == NULL) {
        free(change);
        gw_store_job_free(job);
        return PS_E_NOMEM;
    }
    *change = (struct gw_change){.job = job, .apply = apply, .done = done, .ctx = ctx};
    if (control->last_change != NULL) {
        control->last_change->next = change;
        control->last_change = change;
        return 0;
    }
    control->first_change = control->last_change = change;
    err = submit_first(control);
    if (err < 0) {
        control->first_change = control->last_change = NULL;
        gw_store_job_free(job);
        free(change);
    }
    return err;
}

/* --- outcomes --- */

int gw_control_await(struct gw_control *control, gw_outcome_fn *done, void *ctx,
                     struct oq_ticket *ret_ticket)
{
    struct gw_await *await = ps_pool_take(control->awaits);

    if (await == NULL)
        return PS_E_FULL;
    *await = (struct gw_await){.done = done, .ctx = ctx};
    *ret_ticket = (struct oq_ticket){.owner = GW_OWNER_CONTROL,
                                     .handle = ps_pool_handle(control->awaits, await)};
    return 0;
}

void gw_control_unawait(struct gw_control *control, const struct oq_ticket *ticket)
{
    struct gw_await *await = ps_pool_find(control->awaits, ticket->handle);

    if (await != NULL)
        ps_pool_give(control->awaits, await);
}

static void on_outcome(struct gw_control *control, const struct ps_mail *mail)
{
    struct gw_await *found = ps_pool_find(control->awaits, mail->handle);
    struct gw_await await;

    if (found == NULL) /* nobody waits: an expiry */
        return;
    await = *found;
    ps_pool_give(control->awaits, found);
    await.done(control, (enum oq_outcome)mail->result, mail->ptr, await.ctx);
}

/* --- the thread --- */

void gw_control_mail(const struct ps_mail *mail, void *ctx)
{
    struct gw_control *control = ctx;

    switch (mail->kind) {
    case GW_MAIL_DONE:
        on_job_done(control, mail->ptr);
        break;
    case GW_MAIL_POLICY_ACK:
        on_ack(control, mail);
        break;
    case GW_MAIL_ORDER:
        on_outcome(control, mail);
        break;
    case GW_MAIL_LOADED:
        gw_arm_loaded(control, mail->ptr);
        break;
    case GW_MAIL_STATE:
        if (mail->value != 0)
            gw_arm_tick(control);
        break;
    default:
        break;
    }
    if (control->dirty && control->older == NULL)
        next_step(control);
}

static void on_tick(uv_timer_t *timer)
{
    struct gw_control *control = timer->data;

    gw_arm_tick(control);
    gw_keeper_tick(control->keeper);
    if (control->dirty && control->older == NULL)
        next_step(control);
}

/* What is stored becomes memory; `stored` is emptied. */
static int take_over(struct gw_control *control, struct gw_stored *stored)
{
    control->policy_version = stored->policy_version;
    control->rules = stored->rules;
    control->rule_count = stored->rule_count;
    control->blocks = stored->blocks;
    control->block_count = stored->block_count;
    stored->rules = NULL;
    stored->blocks = NULL;
    stored->rule_count = stored->block_count = 0;
    for (size_t i = 0; i < stored->sale_count; i++) {
        int err = gw_control_put_sale(control, &stored->sales[i]);
        if (err < 0)
            return err;
    }
    return 0;
}

int gw_control_new(struct gw_core *core, uv_loop_t *loop, struct gw_control_store *store,
                   struct gw_stored *stored, struct gw_auth *auth, struct gw_control **ret_control,
                   struct ps_fault *fault)
{
    struct gw_control *control = calloc(1, sizeof *control);
    int err = PS_E_NOMEM;

    if (control == NULL)
        return ps_fault(fault, PS_E_NOMEM, "", "out of memory");
    *control = (struct gw_control){.core = core,
                                   .loop = loop,
                                   .store = store,
                                   .auth = auth,
                                   .shard = ps_metrics_shard(core->metrics)};
    control->wall_started_ms = ps_clock_wall_ms(core->clock);
    if (control->shard == NULL ||
        (err = ps_pool_new(GW_AWAIT_MAX, sizeof(struct gw_await), &control->awaits)) < 0 ||
        (err = take_over(control, stored)) < 0 ||
        (err = gw_keeper_new(control, &control->keeper)) < 0 ||
        (err = build_policy(control, &control->policy)) < 0) {
        gw_control_free(control);
        return ps_fault(fault, err, "", "control thread: %s", ps_err_text(err));
    }
    gw_arm_find(control);
    control->dirty = false;
    uv_timer_init(loop, &control->tick);
    control->tick.data = control;
    uv_timer_start(&control->tick, on_tick, TICK_MS, TICK_MS);
    *ret_control = control;
    return 0;
}

void gw_control_arm_due(struct gw_control *control)
{
    gw_arm_tick(control);
}

void gw_control_stop(struct gw_control *control)
{
    uv_close((uv_handle_t *)&control->tick, NULL);
}

void gw_control_free(struct gw_control *control)
{
    if (control == NULL)
        return;
    while (control->first_change != NULL)
        finish_change(control, PS_E_CLOSED);
    for (size_t i = 0; i < control->sale_count; i++)
        sale_free(control->sales[i]);
    free(control->sales);
    free(control->rules);
    free(control->blocks);
    gw_policy_free(control->policy);
    gw_policy_free(control->older);
    gw_keeper_free(control->keeper);
    ps_pool_free(control->awaits);
    free(control);
}
