/* The steps of one change of the store: it ends durable and in force, with its audit line, or has
 * no effect. Also the audit lines of events in the order log (orders, stock): those are written
 * after the event, because an outcome that the log has decided must be answered even when
 * control.db is broken. */
#include "gateway/admin/admin_internal.h"

#include "common/program/log.h"
#include "gateway/config/store/sync.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONFLICTS_MAX 5

static struct cfg_change *new_change(const struct op_admin *admin, const char *who,
                                     const char *peer, const char *action, const char *why)
{
    return cfg_change_new(admin->deps.config,
                          &(struct cfg_author){.at_ms = ps_clock_wall_ms(admin->deps.clock),
                                               .who = who,
                                               .peer = peer,
                                               .action = action,
                                               .why = why});
}

struct op_change *op_change_new(struct op_request *request, const char *action, const char *target)
{
    struct op_change *change = calloc(1, sizeof *change);
    struct cfg_change *made =
        new_change(request->admin, request->who, request->peer, action, request->why);

    if (change == NULL || made == NULL) {
        free(change);
        cfg_change_free(made);
        op_no(request, ANS_V_internal, "out of memory");
        return NULL;
    }
    change->admin = request->admin;
    change->change = made;
    change->action = action;
    memcpy(change->who, request->who, sizeof change->who);
    memcpy(change->peer, request->peer, sizeof change->peer);
    memcpy(change->why, request->why, sizeof change->why);
    (void)snprintf(change->target, sizeof change->target, "%s", target);
    return change;
}

void op_answer_empty(struct op_request *request, struct op_change *change)
{
    (void)change;
    op_empty(request);
}

void op_change_free(struct op_change *change)
{
    cfg_change_free(change->change);
    sodium_memzero(change->secret, sizeof change->secret);
    free(change);
}

static const enum ans_verdict refusals[] = {[CFG_CONFLICT] = ANS_V_conflict,
                                            [CFG_USE_ADJUST] = ANS_V_use_adjust,
                                            [CFG_ENDED] = ANS_V_ended,
                                            [CFG_HAS_ORDERS] = ANS_V_sale_has_orders,
                                            [CFG_IN_USE] = ANS_V_in_use};

void op_change_refuse(struct op_request *request, struct op_change *change, int err,
                      enum cfg_refusal refusal, const struct ps_faults *faults)
{
    op_change_free(change);
    if (err == PS_E_INVALID)
        op_faults(request, ANS_V_invalid, faults);
    else if (err == PS_E_CONFLICT)
        op_faults(request, refusals[refusal], faults);
    else
        op_no(request, ANS_V_internal, "%s", ps_err_text(err));
}

static void log_change(const char *who, const char *peer, const char *action, const char *target,
                       const char *why)
{
    ps_log(PS_LOG_INFO, "admin_change", PS_F_STR("who", who), PS_F_STR("peer", peer),
           PS_F_STR("action", action), PS_F_STR("target", target),
           PS_F_STR("why", why[0] != '\0' ? why : NULL));
}

static void answer_failure(struct op_request *request, const struct op_change *change, int err,
                           const struct ps_fault *fault)
{
    if (err == PS_E_CONFLICT && request->conflicts++ < CONFLICTS_MAX) {
        request->turn = true; /* reads the present versions again */
        return;
    }
    if (err == PS_E_CONFLICT) {
        op_no(request, ANS_V_precondition_failed, "others keep changing it: try again");
        return;
    }
    ps_log(PS_LOG_ERROR, "admin_change_failed", PS_F_STR("action", change->action),
           PS_F_STR("target", change->target),
           PS_F_STR("error", fault->text[0] != '\0' ? fault->text : ps_err_text(err)));
    bool redis = strcmp(fault->path, CFG_SYNC_PATH) == 0;
    op_no(request, redis ? ANS_V_store_unavailable : ANS_V_control_unavailable, "%s",
          fault->text[0] != '\0' ? fault->text : ps_err_text(err));
}

static void done(int err, const struct ps_fault *fault, void *ctx)
{
    struct op_change *change = ctx;
    struct op_admin *admin = change->admin;
    struct op_request *request = op_find(admin, change->handle);

    if (change->end != NULL)
        change->end(change, err == 0);
    if (err == 0) {
        adm_overload_apply(admin->deps.overload);
        ps_metric_add(admin->deps.shard, GW_M_ADMIN_CHANGES, 0, 1);
        log_change(change->who, change->peer, change->action, change->target, change->why);
    }
    if (request != NULL && err < 0)
        answer_failure(request, change, err, fault);
    else if (request != NULL)
        change->answer(request, change);
    op_change_free(change);
    op_turn_over(admin);
    op_release(admin);
}

void op_change_submit(struct op_request *request, struct op_change *change)
{
    struct op_admin *admin = request->admin;
    struct cfg_change *made = change->change;
    struct ps_fault none = {0};

    change->change = NULL;
    /* `done` is called later, or before this returns if the store waits for nothing. */
    admin->changing = true;
    op_hold(admin);
    change->handle = op_wait(request, OP_WAIT_MS);
    int err = cfg_change_submit(made, done, change);
    if (err == 0)
        return;
    if (change->end != NULL)
        change->end(change, false);
    answer_failure(request, change, err, &none);
    op_change_free(change);
    op_turn_over(admin);
    op_release(admin);
}

/* --- Lines of events in the order log. --- */

static void line_done(int err, const struct ps_fault *fault, void *ctx)
{
    struct op_audit_entry *line = ctx;
    struct op_admin *admin = line->admin;

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
    struct cfg_change *change = new_change(admin, line->who, line->peer, line->action, line->why);
    struct ps_fault none = {0};
    int err = PS_E_NOMEM;

    ps_metric_add(admin->deps.shard, GW_M_ADMIN_CHANGES, 0, 1);
    log_change(line->who, line->peer, line->action, line->target, line->why);
    op_hold(admin);
    if (change != NULL) {
        cfg_change_line(change, line->target, from, to);
        err = cfg_change_submit(change, line_done, line);
    } else {
        json_decref(from);
        json_decref(to);
    }
    if (err < 0)
        line_done(err, &none, line);
}
