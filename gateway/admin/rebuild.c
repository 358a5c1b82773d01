/* POST …/rebuild: rebuilds a sale's counters from the log, under a new epoch. For counters in which
 * an audit found a difference: the log is right, so units that were lost are on sale again. Buyers
 * get `fenced` in the meantime, for a second or two. */
#include "gateway/admin/archived.h"
#include "gateway/admin/task.h"
#include "gateway/admin/parts.h"
#include "gateway/admin/sales.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void on_entry_written(struct op_audit_entry *entry)
{
    free(entry);
}

static void say_rebuilt(struct op_request *request)
{
    const struct sale_entry *sale = op_sale(request);

    if (sale == NULL || sale_view(sale->run)->state != SALE_SERVING ||
        !request->admin->deps.is_published(request->admin->deps.ctx))
        return;
    op_json(request, ANS_V_ok,
            json_pack("{s:s, s:I}", "sale", sale->stored.doc.name, "epoch",
                      (json_int_t)sale_view(sale->run)->epoch));
}

static void on_deadline(struct op_request *request)
{
    op_no(request, ANS_V_fenced, "the counters are still being rebuilt: GET the sale");
}

static void rebuild_sale(struct op_request *request)
{
    struct op_admin *admin = request->admin;
    const struct sale_entry *sale;

    if (!op_only_reason(request) || (sale = op_sale(request)) == NULL)
        return;
    if (!sale->stored.state.opened) {
        op_no(request, ANS_V_conflict, "the sale has no counter: it is not open yet");
        return;
    }
    if (op_is_archived(sale)) {
        op_no(request, ANS_V_archived, "the sale no longer has a counter");
        return;
    }
    if (!sale_log_takes_all(admin->deps.log)) { /* the sale would remain fenced */
        op_no_log(request, PS_E_CLOSED);
        return;
    }
    struct op_task *task = calloc(1, sizeof *task);
    if (task == NULL) {
        op_no(request, ANS_V_internal, "out of memory");
        return;
    }
    int64_t epoch = sale_view(sale->run)->epoch;
    op_task_init(task, request, "sale.rebuild", NULL);
    if (!sale_count_anew(sale->run, "an operator requested a rebuild")) {
        free(task);
        op_no(request, ANS_V_fenced, "the gateway does not serve the sale at the moment");
        return;
    }
    task->entry.done = on_entry_written;
    (void)snprintf(task->entry.target, sizeof task->entry.target, "sales/%s",
                   sale->stored.doc.name);
    request->on_tick = say_rebuilt;
    request->on_deadline = on_deadline;
    (void)op_wait(request, OP_WAIT_MS);
    op_audit_entry_write(&task->entry, json_pack("{s:I}", "epoch", (json_int_t)epoch), NULL);
}

/* --- The part. --- */

/* clang-format off */
const struct op_part op_rebuild_part = {
    .routes = (const struct op_route[]){
        {"/admin/v1/sales/{}/rebuild", SRV_POST, OP_ROLE_OPERATOR, 0, rebuild_sale},
        {0}},
};
/* clang-format on */
