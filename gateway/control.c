/* The way of a change through the control thread. Three things happen asynchronously and each has
 * one place here: Redis has compared a version (on_shared), a job of the control store comes back
 * (GW_MAIL_DONE), a worker has taken a policy over (GW_MAIL_POLICY_ACK).
 *
 * What must hold: memory changes only after the store has written; a policy is freed only when no
 * worker uses it any more; a change is answered only when every worker goes by it. So at most one
 * publication is under way, and at most one change. What other gateways have decided goes the same
 * way, before the changes that have not begun: their versions are compared against the newest. */
#include "gateway/control.h"

#include "common/log.h"
#include "gateway/config/seed.h"
#include "gateway/config/sync.h"
#include "gateway/config/codec.h"
#include "gateway/worker.h"

#include <stdlib.h>
#include <string.h>

#define TICK_MS 100

/* How far a change is. */
enum step {
    WAITING, /* for its turn, or for the cluster's copy */
    SHARING, /* Redis compares its version */
    WRITING, /* the store has it */
    WRITTEN  /* applied; its publication is under way */
};

struct gw_change {
    struct cfg_store_job *job; /* NULL: made from `taken` when its turn comes */
    struct cfg_merge *taken;   /* NULL: a change of this gateway's own; borrowed */
    gw_change_apply_fn *apply;
    gw_change_done_fn *done;
    void *ctx;
    enum step step;
    bool shared; /* the cluster has it */
    int refused; /* by the cluster, for a newer copy: said when that has been taken over */
    struct gw_change *next;
};

/* --- the policy --- */

static int build_blocklist(const struct gw_control *control, struct cfg_blocklist **ret_blocklist)
{
    size_t room = control->block_count ? control->block_count : 1;
    struct cfg_blocked_user *users = calloc(room, sizeof *users);
    struct cfg_blocked_range *ranges = calloc(room, sizeof *ranges);
    size_t user_count = 0, range_count = 0;
    int err = PS_E_NOMEM;

    if (users == NULL || ranges == NULL)
        goto out;
    for (size_t i = 0; i < control->block_count; i++) {
        const struct cfg_block *block = &control->blocks[i];
        if (block->kind == CFG_BLOCK_USER) {
            memcpy(users[user_count].user, block->subject, sizeof users[0].user);
            users[user_count++].until_ms = block->until_ms;
        } else if (ps_cidr_parse(block->subject, strlen(block->subject),
                                 &ranges[range_count].range) == 0) {
            ranges[range_count++].until_ms = block->until_ms;
        }
    }
    err = cfg_blocklist_new(users, user_count, ranges, range_count, ret_blocklist);
out:
    free(users);
    free(ranges);
    return err;
}

static int build_sales(const struct gw_control *control, struct cfg_sale **sales, size_t *ret_count)
{
    *ret_count = 0;
    for (size_t i = 0; i < control->sale_count; i++) {
        const struct gw_control_sale *from = control->sales[i];
        struct cfg_sale *sale;
        int err = cfg_sale_new(from->stored.name, &from->stored.doc, &from->stored.state, &sale);
        if (err < 0)
            return err;
        const struct sale_view *view = sale_view(from->run);
        sale->counter = view->counter;
        /* Also before it is served again after a start: its buyers may look their orders up. */
        bool opened = view->counter != NULL || from->stored.state.opened;
        sale->books = opened ? view->log_sale : NULL;
        sale->epoch = view->epoch;
        sale->fenced = view->state != SALE_SERVING;
        sale->unserved = sale_is_unserved(from->run, &from->stored.state);
        if (sale->books != NULL)
            cfg_sale_order_skus(sale, sale->books);
        sales[(*ret_count)++] = sale;
    }
    return 0;
}

static int build_policy(struct gw_control *control, struct cfg_snapshot **ret_policy)
{
    struct cfg_sale **sales = calloc(control->sale_count ? control->sale_count : 1, sizeof *sales);
    struct cfg_blocklist *blocklist = NULL;
    size_t count = 0;
    int err = PS_E_NOMEM;

    if (sales == NULL)
        return PS_E_NOMEM;
    if ((err = build_sales(control, sales, &count)) < 0 ||
        (err = build_blocklist(control, &blocklist)) < 0 ||
        (err = cfg_snapshot_new(control->snapshot + 1, sales, count, control->rules,
                                control->rule_count, blocklist, ret_policy)) < 0)
        goto fail;
    control->snapshot++;
    free(sales);
    return 0;
fail:
    for (size_t i = 0; i < count; i++)
        cfg_sale_free(sales[i]);
    free(sales);
    cfg_blocklist_free(blocklist);
    return err;
}

static void next_step(struct gw_control *control);

/* Gives every worker the new policy. Without memory the old one stays in force, and the next tick
 * tries again. */
static void publish(struct gw_control *control)
{
    struct gw_core *core = control->core;
    struct cfg_snapshot *policy;
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
    cfg_snapshot_free(control->older);
    control->older = NULL;
    next_step(control);
}

/* --- changes --- */

static void finish_change(struct gw_control *control, int err)
{
    struct gw_change *change = control->first_change;
    struct cfg_store_job *job = change->job;
    struct ps_fault none = {0};

    control->first_change = change->next;
    if (control->first_change == NULL)
        control->last_change = NULL;
    if (job != NULL && job->audit_err < 0)
        ps_log(PS_LOG_ERROR, "audit_log_not_written",
               PS_F_STR("error", ps_err_text(job->audit_err)));
    if (change->done != NULL)
        change->done(control, err, job != NULL ? &job->fault : &none, change->ctx);
    cfg_store_job_free(job);
    free(change);
}

static int submit(struct gw_control *control, struct gw_change *change)
{
    int err;

    change->job->ctx = change;
    err = cfg_store_submit(control->store, change->job);
    if (err == 0)
        change->step = WRITING;
    return err;
}

static void start_next(struct gw_control *control);

/* The first change waits for the cluster's copy, which may stand right behind it. */
static void step_back(struct gw_control *control)
{
    struct gw_change *change = control->first_change, *next = change->next;

    change->step = WAITING;
    if (next == NULL || next->taken == NULL)
        return;
    change->next = next->next;
    next->next = change;
    control->first_change = next;
    if (change->next == NULL)
        control->last_change = change;
}

/* Redis has compared the version. */
static void on_shared(struct gw_control *control, int err, const struct ps_fault *fault, void *ctx)
{
    struct gw_change *change = ctx;

    if (err == PS_E_CONFLICT || err == PS_E_BUSY) {
        change->refused = err == PS_E_CONFLICT ? err : 0; /* else it is put again */
        change->job->fault = *fault;
        step_back(control);
        start_next(control);
        return;
    }
    change->shared = err == 0;
    if (err == 0)
        err = submit(control, change);
    else
        change->job->fault = *fault;
    if (err < 0) {
        finish_change(control, err);
        start_next(control);
    }
}

/* A change of this gateway's own. 0: it is under way, or stays where it is. */
static int start_own(struct gw_control *control, struct gw_change *change)
{
    int err;

    if (control->accord == NULL)
        return submit(control, change);
    if (change->job->build_err < 0)
        return change->job->build_err;
    if (cfg_sync_holds(control->accord))
        return 0;
    if (change->refused < 0)
        return change->refused;
    err = cfg_sync_put(control->accord, change->job, on_shared, change, &change->job->fault);
    if (err == PS_E_NOT_FOUND) /* nothing that is shared */
        return submit(control, change);
    if (err == 0)
        change->step = SHARING;
    return err;
}

/* What another gateway has decided, as far as it is news. */
static int start_taken(struct gw_control *control, struct gw_change *change)
{
    int err = cfg_merge_job(control, change->taken, &change->job);

    if (err == PS_E_NOT_FOUND) {
        change->step = WRITTEN;
        return 0;
    }
    return err < 0 ? err : submit(control, change);
}

/* The next change that is taken; those that are not have failed. A `done` may have begun another
 * one itself when the queue was empty. */
static void start_next(struct gw_control *control)
{
    struct gw_change *change;

    while ((change = control->first_change) != NULL && change->step == WAITING) {
        int err = change->taken != NULL ? start_taken(control, change) : start_own(control, change);
        if (err < 0)
            finish_change(control, err);
        else if (change->step == WRITTEN) /* was no news */
            finish_change(control, 0);
        else
            return;
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
        if (control->first_change == NULL || control->first_change->step != WRITTEN)
            return;
        finish_change(control, 0);
        start_next(control);
    }
}

static void on_job_done(struct gw_control *control, struct cfg_store_job *job)
{
    struct gw_change *change = job->ctx;

    if (job->err < 0) {
        if (change->shared)
            ps_log(PS_LOG_ERROR, "shared_change_not_written", PS_F_STR("error", job->fault.text));
        finish_change(control, job->err);
        start_next(control);
        return;
    }
    if (change->taken != NULL)
        cfg_merge_apply(control, change->taken);
    else if (change->apply != NULL)
        change->apply(control, change->ctx);
    change->step = WRITTEN;
    next_step(control);
}

int gw_control_change(struct gw_control *control, struct cfg_store_job *job,
                      gw_change_apply_fn *apply, gw_change_done_fn *done, void *ctx)
{
    struct gw_change *change = calloc(1, sizeof *change);
    int err;

    if (change == NULL || job == NULL) {
        free(change);
        cfg_store_job_free(job);
        return PS_E_NOMEM;
    }
    *change = (struct gw_change){.job = job, .apply = apply, .done = done, .ctx = ctx};
    if (control->last_change != NULL) {
        control->last_change->next = change;
        control->last_change = change;
        return 0;
    }
    control->first_change = control->last_change = change;
    if (control->accord != NULL) { /* which may refuse it with a reason: that is for `done` */
        cfg_sync_wake(control->accord);
        return 0;
    }
    err = submit(control, change);
    if (err < 0) {
        control->first_change = control->last_change = NULL;
        cfg_store_job_free(job);
        free(change);
    }
    return err;
}

/* --- the cluster --- */

bool gw_control_synced(const struct gw_control *control)
{
    return control->accord == NULL || cfg_sync_synced(control->accord);
}

void gw_control_go_on(struct gw_control *control)
{
    if (gw_control_synced(control))
        cfg_seed_kept(control);
    start_next(control);
}

int gw_control_take(struct gw_control *control, struct cfg_merge *taken, gw_change_done_fn *done,
                    void *ctx)
{
    struct gw_change *change = calloc(1, sizeof *change);
    struct gw_change *first = control->first_change;

    if (change == NULL)
        return PS_E_NOMEM;
    *change = (struct gw_change){.taken = taken, .done = done, .ctx = ctx};
    if (first != NULL && first->step != WAITING) {
        change->next = first->next;
        first->next = change;
    } else {
        change->next = first;
        control->first_change = change;
    }
    if (change->next == NULL)
        control->last_change = change;
    start_next(control);
    return 0;
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
        sale_outcome(control->core->sales, mail->handle, (enum oq_outcome)mail->result);
        break;
    case GW_MAIL_SALES:
        sale_mail(control->core->sales, mail);
        break;
    case GW_MAIL_STATE:
        if (mail->value != 0)
            sale_go_on(control->core->sales);
        break;
    default:
        break;
    }
    if (control->dirty && control->older == NULL)
        next_step(control);
}

/* The start is over: seeds are stored, sales that are to be sold from are served or refused, and
 * the workers know of all that. */
static void look_whether_started(struct gw_control *control)
{
    struct gw_core *core = control->core;

    if (atomic_load(&core->ready) || !sale_all_settled(core->sales) ||
        !gw_control_synced(control) || control->first_change != NULL || control->older != NULL ||
        control->dirty)
        return;
    sale_report_unknown(core->sales);
    atomic_store(&core->ready, true);
}

static void on_tick(uv_timer_t *timer)
{
    struct gw_control *control = timer->data;

    sale_tick(control->core->sales);
    look_whether_started(control);
    if (control->dirty && control->older == NULL)
        next_step(control);
}

int gw_control_new(struct gw_core *core, uv_loop_t *loop, struct cfg_store *store,
                   struct cfg_stored *stored, struct op_auth *auth, struct gw_control **ret_control,
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
    if (control->shard == NULL || (err = gw_control_memory_take(control, stored)) < 0 ||
        (err = build_policy(control, &control->policy)) < 0) {
        gw_control_free(control);
        return ps_fault(fault, err, "", "control thread: %s", ps_err_text(err));
    }
    control->dirty = false;
    uv_timer_init(loop, &control->tick);
    control->tick.data = control;
    uv_timer_start(&control->tick, on_tick, TICK_MS, TICK_MS);
    *ret_control = control;
    return 0;
}

void gw_control_stop(struct gw_control *control)
{
    uv_close((uv_handle_t *)&control->tick, NULL);
    cfg_sync_stop(control->accord);
}

void gw_control_free(struct gw_control *control)
{
    if (control == NULL)
        return;
    while (control->first_change != NULL)
        finish_change(control, PS_E_CLOSED);
    cfg_sync_free(control->accord);
    json_decref(control->seeds.sales);
    json_decref(control->seeds.policy);
    gw_control_memory_free(control);
    cfg_snapshot_free(control->policy);
    cfg_snapshot_free(control->older);
    free(control);
}
