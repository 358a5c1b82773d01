/* The way of one change of what control.db keeps: its job with the audit line goes to the control
 * thread, and comes back durable and in force, or not at all. Also the audit lines of what the
 * order log remembers by itself (orders, stock): those are written behind it, because an answer
 * that the log has decided must be given even when control.db is broken. */
#include "gateway/admin/admin_internal.h"

#include "common/log.h"
#include "gateway/config/sync.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONFLICTS_MAX 5

struct op_change *op_change_new(struct op_request *visit, const char *action,
                                const char *target_kind, const char *target)
{
    struct op_change *change = calloc(1, sizeof *change);
    struct cfg_store_job *job = cfg_store_job_new();

    if (change == NULL || job == NULL) {
        free(change);
        cfg_store_job_free(job);
        op_no(visit, ANS_V_internal, "out of memory");
        return NULL;
    }
    change->admin = visit->admin;
    change->job = job;
    change->action = action;
    memcpy(change->who, visit->who, sizeof change->who);
    memcpy(change->peer, visit->peer, sizeof change->peer);
    memcpy(change->why, visit->why, sizeof change->why);
    (void)snprintf(change->target, sizeof change->target, "%s%s", target_kind, target);
    return change;
}

void op_change_free(struct op_change *change)
{
    cfg_store_job_free(change->job);
    cfg_sale_doc_done(&change->sale.doc);
    sodium_memzero(change->secret, sizeof change->secret);
    free(change);
}

void op_change_policy(struct op_change *change)
{
    change->version = change->admin->control->policy_version + 1;
    cfg_store_job_policy_version(change->job, change->version);
}

static void apply(struct gw_control *control, void *ctx)
{
    struct op_change *change = ctx;

    if (change->apply != NULL)
        change->apply_err = change->apply(control, change);
    if (change->version > 0)
        control->policy_version = change->version;
}

static void log_change(const char *who, const char *peer, const char *action, const char *target,
                       const char *why)
{
    ps_log(PS_LOG_INFO, "admin_change", PS_F_STR("who", who), PS_F_STR("peer", peer),
           PS_F_STR("action", action), PS_F_STR("target", target),
           PS_F_STR("why", why[0] != '\0' ? why : NULL));
}

static void answer_failure(struct op_request *visit, const struct op_change *change, int err,
                           const struct ps_fault *fault)
{
    if (err == PS_E_CONFLICT && visit->conflicts++ < CONFLICTS_MAX) {
        visit->turn = true; /* looks again at what there is now */
        return;
    }
    if (err == PS_E_CONFLICT) {
        op_no(visit, ANS_V_precondition_failed, "it was changed again and again meanwhile");
        return;
    }
    ps_log(PS_LOG_ERROR, "admin_change_failed", PS_F_STR("action", change->action),
           PS_F_STR("target", change->target),
           PS_F_STR("error", fault->text[0] != '\0' ? fault->text : ps_err_text(err)));
    bool redis = strcmp(fault->path, CFG_SYNC_PATH) == 0;
    op_no(visit, redis ? ANS_V_store_unavailable : ANS_V_control_unavailable, "%s",
          fault->text[0] != '\0' ? fault->text : ps_err_text(err));
}

static void done(struct gw_control *control, int err, const struct ps_fault *fault, void *ctx)
{
    struct op_change *change = ctx;
    struct op_admin *admin = change->admin;
    struct op_request *visit = op_find(admin, change->handle);

    if (change->end != NULL)
        change->end(change, err == 0);
    if (err == 0) {
        ps_metric_add(control->shard, GW_M_ADMIN_CHANGES, 0, 1);
        log_change(change->who, change->peer, change->action, change->target, change->why);
    }
    if (change->apply_err < 0)
        ps_log(PS_LOG_ERROR, "admin_change_not_taken_over", PS_F_STR("target", change->target),
               PS_F_STR("error", ps_err_text(change->apply_err)));
    if (visit != NULL && err < 0)
        answer_failure(visit, change, err, fault);
    else if (visit != NULL && change->apply_err < 0)
        op_no(visit, ANS_V_internal, "stored, but not in force before the next start: %s",
              ps_err_text(change->apply_err));
    else if (visit != NULL)
        change->answer(visit, change);
    op_change_free(change);
    op_turn_over(admin);
    op_release(admin);
}

void op_change_submit(struct op_request *visit, struct op_change *change, json_t *from, json_t *to)
{
    struct op_admin *admin = visit->admin;
    struct cfg_store_job *job = change->job;

    cfg_store_job_audit(
        job, &(struct cfg_audit_entry){.at_ms = ps_clock_wall_ms(admin->core->clock),
                                       .who = change->who,
                                       .peer = change->peer,
                                       .action = change->action,
                                       .target = change->target,
                                       .from = from,
                                       .to = to,
                                       .why = change->why[0] != '\0' ? change->why : NULL});
    json_decref(from);
    json_decref(to);
    change->job = NULL;
    int err = gw_control_change(admin->control, job, apply, done, change);
    if (err < 0) {
        struct ps_fault none = {0};
        if (change->end != NULL)
            change->end(change, false);
        answer_failure(visit, change, err, &none);
        op_change_free(change);
        return;
    }
    admin->changing = true;
    op_hold(admin);
    change->handle = op_wait(visit, OP_WAIT_MS);
}

/* --- Lines behind the order log. --- */

static void line_done(struct gw_control *control, int err, const struct ps_fault *fault, void *ctx)
{
    struct op_audit_entry *line = ctx;
    struct op_admin *admin = line->admin;

    (void)control;
    if (err < 0)
        ps_log(PS_LOG_ERROR, "audit_line_lost", PS_F_STR("who", line->who),
               PS_F_STR("action", line->action), PS_F_STR("target", line->target),
               PS_F_STR("error", fault->text[0] != '\0' ? fault->text : ps_err_text(err)));
    line->done(line);
    op_release(admin);
}

void op_audit_entry_write(struct op_audit_entry *line, json_t *from, json_t *to)
{
    struct op_admin *admin = line->admin;
    struct cfg_store_job *job = cfg_store_job_new();

    if (job != NULL)
        cfg_store_job_audit(
            job, &(struct cfg_audit_entry){.at_ms = ps_clock_wall_ms(admin->core->clock),
                                           .who = line->who,
                                           .peer = line->peer,
                                           .action = line->action,
                                           .target = line->target,
                                           .from = from,
                                           .to = to,
                                           .why = line->why[0] != '\0' ? line->why : NULL});
    json_decref(from);
    json_decref(to);
    ps_metric_add(admin->control->shard, GW_M_ADMIN_CHANGES, 0, 1);
    log_change(line->who, line->peer, line->action, line->target, line->why);
    op_hold(admin);
    int err =
        gw_control_change(admin->control, job, NULL, line_done, line); /* NULL job: PS_E_NOMEM */
    if (err < 0) {
        struct ps_fault none = {0};
        line_done(admin->control, err, &none, line);
    }
}
