/* Stock adjustments: by delta, through the order log, once per adjust_id.
 *
 * Raising appends a record; the counter follows the fold. Lowering first takes the units out of the
 * counter (in doubt, like an order without a user), so that they cannot be sold meanwhile, then
 * appends. Only the fold answers: it shows this id with this SKU and delta, or another, or none
 * yet. So repeating the call with the same id is always safe. While a lowering is in doubt, because
 * its record may be in the log, nothing more is appended for it: otherwise a refusal of the second
 * record would return units that the first has taken for good. With a counter in Redis, another
 * gateway may get the same id and append for the same units; so no gateway returns them by itself:
 * units without a record are released by a record (sales/sweep.c). */
#include "common/text/utf8.h"
#include "gateway/admin/task.h"
#include "gateway/admin/sales.h"
#include "gateway/admin/parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct adjust {
    struct op_task task; /* first */
    /* The sale's entry may be freed while this waits: another gateway may delete a sale that has
     * ended. */
    struct sale_run *run;
    char sale[PS_NAME_MAX + 1];
    char sku[PS_NAME_MAX + 1];
    bool rehearsal;
    uint32_t index; /* of the SKU in the log */
    char key[OQ_ADJUST_KEY_MAX + 1];
    struct ps_uuid ref;
    char id[PS_NAME_MAX + 1];
    int64_t delta;
    int64_t epoch;  /* of the reservation, and so of its record */
    int64_t before; /* the SKU's adjustments before it, once the fold shows it */
};

/* --- The lists: adjustments that wait for their outcome; lowerings whose outcome is unknown. ---
 */

static void free_adjust(struct op_task *task)
{
    free(task);
}

/* NULL: the task is not an adjustment. */
static struct adjust *adjust_of(struct op_task *task)
{
    return task->free == free_adjust ? (struct adjust *)task : NULL;
}

static struct op_admin *admin_of(const struct adjust *adjust)
{
    return adjust->task.entry.admin;
}

static bool has_key(const struct op_tasks *list, const char *key)
{
    struct op_task *task;

    TAILQ_FOREACH(task, list, next)
    {
        const struct adjust *adjust = adjust_of(task);
        if (adjust != NULL && strcmp(adjust->key, key) == 0)
            return true;
    }
    return false;
}

/* Units of adjustments in progress, not yet in the SKU's sum. */
static int64_t units_under_way(const struct adjust *like)
{
    struct op_task *task;
    int64_t units = 0;

    TAILQ_FOREACH(task, &admin_of(like)->tasks, next)
    {
        const struct adjust *adjust = adjust_of(task);
        if (adjust != NULL && adjust->run == like->run && adjust->index == like->index &&
            adjust->delta > 0)
            units += adjust->delta;
    }
    return units;
}

/* --- Answers. --- */

/* The fold's answer about the id. */
enum shown { SHOWN_SAME, SHOWN_OTHER, SHOWN_VOID, SHOWN_NOT };

static enum shown look_up(struct adjust *adjust)
{
    const struct oq_sale *log_sale = sale_view(adjust->run)->log_sale;
    int decided = oq_sale_adjusted(log_sale, &adjust->ref);
    struct ps_uuid ref;
    uint32_t sku;
    int64_t delta, before = 0;

    if (decided < 0)
        return SHOWN_NOT;
    if (decided == 0)
        return SHOWN_VOID;
    for (size_t i = 0; oq_sale_adjusted_at(log_sale, i, &ref, &sku, &delta); i++) {
        if (!ps_uuid_equal(&ref, &adjust->ref)) {
            before += sku == adjust->index ? delta : 0;
            continue;
        }
        adjust->before = before;
        return sku == adjust->index && delta == adjust->delta ? SHOWN_SAME : SHOWN_OTHER;
    }
    return SHOWN_OTHER;
}

static void say_numbers(struct op_request *request, const struct adjust *adjust)
{
    const struct sale_entry *sale =
        sale_list_find(request->admin->deps.known, adjust->sale, strlen(adjust->sale));
    json_t *json = sale != NULL ? op_sku_json(request->admin, sale, adjust->sku) : NULL;
    json_t *head = json_pack("{s:s, s:s, s:s, s:I}", "sale", adjust->sale, "sku", adjust->sku,
                             "adjust_id", adjust->id, "delta", (json_int_t)adjust->delta);

    if (sale == NULL) {
        json_decref(head);
        op_no(request, ANS_V_not_found, "the sale was deleted in the meantime");
        return;
    }
    op_json(request, ANS_V_ok, ps_json_built(head, json_object_update_new(head, json)));
}

static const char used_otherwise[] = "this adjust_id was used for another SKU or another delta";

static void say_shown(struct op_request *request, const struct adjust *adjust, enum shown shown)
{
    switch (shown) {
    case SHOWN_SAME:
        say_numbers(request, adjust);
        break;
    case SHOWN_OTHER:
        op_no(request, ANS_V_conflict, "%s", used_otherwise);
        break;
    case SHOWN_VOID:
        op_no(request, ANS_V_conflict,
              "this adjust_id was given up and has changed nothing; use a new one");
        break;
    case SHOWN_NOT:
        op_no(
            request, ANS_V_order_pending,
            "it is not known yet whether the log has it; repeat the call with the same adjust_id");
        break;
    }
}

static void on_deadline(struct op_request *request)
{
    op_no(request, ANS_V_order_pending,
          "it is not known yet whether the log has it; repeat the call with the same adjust_id");
}

/* --- The outcome. --- */

static void on_entry_written(struct op_audit_entry *entry)
{
    struct adjust *adjust = (struct adjust *)entry;
    struct op_request *request = op_task_request(&adjust->task);

    if (request != NULL)
        say_numbers(request, adjust);
    free(adjust);
}

static void on_outcome(enum oq_outcome outcome, struct oq_order *order, void *ctx)
{
    struct adjust *adjust = ctx;
    struct op_request *request = op_task_request(&adjust->task);
    struct op_admin *admin = admin_of(adjust);
    enum shown shown = look_up(adjust);

    (void)order;
    op_task_take(&admin->tasks, &adjust->task);
    if (outcome == OQ_LANDED && shown == SHOWN_SAME) {
        if (request != NULL)
            (void)op_wait(request, OP_WAIT_MS);
        adjust->task.entry.done = on_entry_written;
        op_audit_entry_write(&adjust->task.entry,
                             json_pack("{s:I}", "adjustments", (json_int_t)adjust->before),
                             json_pack("{s:I, s:I, s:s}", "adjustments",
                                       (json_int_t)(adjust->before + adjust->delta), "delta",
                                       (json_int_t)adjust->delta, "adjust_id", adjust->id));
        return;
    }
    if (request != NULL && outcome == OQ_REFUSED)
        op_no_log(request, PS_E_CLOSED);
    else if (request != NULL)
        say_shown(request, adjust, shown);
    if (outcome == OQ_UNKNOWN && adjust->delta < 0)
        op_task_keep(&admin->doubts, &adjust->task);
    else
        free(adjust);
}

/* --- Counter and log. --- */

/* Takes ownership of `adjust`. */
static void append(struct op_request *request, struct adjust *adjust)
{
    const struct op_deps *deps = &request->admin->deps;
    struct oq_event event = {
        .type = OQ_ADJUSTED,
        .rehearsal = adjust->rehearsal,
        .adjust_key = {adjust->key, strlen(adjust->key)},
        .sale = ps_str(adjust->sale),
        .epoch = adjust->epoch,
        .at_ms = ps_clock_wall_ms(deps->clock),
        .sku = ps_str(adjust->sku),
        .by = {request->who, strlen(request->who)},
        .delta = adjust->delta,
        .note = {request->why, ps_utf8_cut(request->why, strlen(request->why), OQ_NOTE_MAX)}};
    struct oq_ticket ticket;

    int err = op_outcomes_await(request->admin->outcomes, on_outcome, adjust, &ticket);
    ticket.owner = deps->owner;
    if (err == 0 && (err = oq_log_append(deps->log, &event, &ticket)) < 0)
        op_outcomes_forget(request->admin->outcomes, &ticket);
    if (err < 0) {
        if (adjust->delta < 0 && !inv_store_is_shared(deps->store))
            inv_store_resolve(deps->store, sale_view(adjust->run)->counter, &adjust->ref,
                              INV_VOID); /* nothing was submitted */
        op_no_log(request, err);
        free(adjust);
        return;
    }
    op_task_keep(&admin_of(adjust)->tasks, &adjust->task);
    request->on_deadline = on_deadline;
    adjust->task.handle = op_wait(request, deps->ack_timeout_ms);
}

/* The counter has answered. False: answered. */
static bool lowered(struct op_request *request, int err, const struct inv_answer *answer)
{
    if (err == PS_E_CONFLICT)
        op_no(request, ANS_V_conflict, "%s", used_otherwise);
    else if (err < 0)
        op_no(request, ANS_V_store_unavailable, "%s", ps_err_text(err));
    else if (answer->result == INV_SOLD_OUT)
        op_no(request, ANS_V_conflict, "only %lld units are left", (long long)answer->left);
    else if (answer->result == INV_FENCED)
        op_no(request, ANS_V_fenced, NULL);
    return err == 0 && answer->result == INV_RESERVED;
}

static void on_lowered(uint64_t handle, int err, const struct inv_answer *answer, void *ctx)
{
    struct adjust *adjust = ctx;
    struct op_admin *admin = admin_of(adjust);
    struct op_request *request = op_task_request(&adjust->task);

    (void)handle;
    op_task_take(&admin->tasks, &adjust->task);
    if (request != NULL && lowered(request, err, answer))
        append(request, adjust);
    else
        free(adjust);
}

/* Takes the units out of the counter, then appends. Takes ownership of `adjust`. */
static void lower(struct op_request *request, struct adjust *adjust)
{
    struct op_admin *admin = request->admin;
    struct inv_answer answer;

    op_task_keep(&admin->tasks, &adjust->task);
    if (inv_store_is_shared(admin->deps.store)) {
        request->on_deadline = on_deadline;
        adjust->task.handle = op_wait(request, admin->deps.ack_timeout_ms);
    }
    int result = inv_store_lower(
        admin->deps.store, sale_view(adjust->run)->counter,
        &(struct inv_lowering){.id = adjust->ref,
                               .epoch = adjust->epoch,
                               .name = ps_str(adjust->id),
                               .sku = adjust->index,
                               .units = -adjust->delta},
        (struct inv_reply_to){.on_answer = on_lowered, .ctx = adjust, .ret_answer = &answer});
    if (result == INV_PENDING)
        return;
    op_task_take(&admin->tasks, &adjust->task);
    if (lowered(request, result, &answer))
        append(request, adjust);
    else
        free(adjust);
}

/* Reads the body into `adjust`. False: answered. */
static bool read_adjust(struct op_request *request, struct adjust *adjust)
{
    struct ps_json_reader reader;
    struct ps_faults faults = {0};
    struct ps_str id = {0};
    int64_t none = 0;

    ps_json_reader_init_all(&reader, request->body, "", &faults);
    ps_json_require(&reader, (const char *const[]){"delta", "adjust_id", NULL});
    ps_json_int(&reader, "delta", -PS_INT_MAX, PS_INT_MAX, &adjust->delta);
    ps_json_string(&reader, "adjust_id", SIZE_MAX, &id);
    (void)ps_json_has(&reader, "reason");
    if (ps_json_whole(json_object_get(request->body, "delta"), &none) && none == 0)
        ps_json_fault(&reader, "delta", "must not be 0");
    if (id.at != NULL && !ps_name_ok(id.at, id.len))
        ps_json_fault(&reader, "adjust_id", "must be a name: [A-Za-z0-9][A-Za-z0-9._-]{0,63}");
    if (ps_json_done(&reader) < 0 || faults.count > 0) {
        op_faults(request, ANS_V_invalid, &faults);
        return false;
    }
    memcpy(adjust->id, id.at, id.len);
    size_t len = oq_adjust_key(adjust->sale, id, adjust->key);
    oq_adjust_ref((struct ps_str){adjust->key, len}, &adjust->ref);
    return true;
}

/* Finds the SKU in the document and in the log. False: answered. */
static bool find_sku(struct op_request *request, const struct sale_entry *sale,
                     struct adjust *adjust)
{
    const struct cfg_sale_doc *doc = &sale->stored.doc;
    struct ps_str name = request->arg[1];

    for (size_t i = 0; i < doc->sku_count; i++) {
        if (!ps_str_is(name, doc->skus[i].name))
            continue;
        memcpy(adjust->sku, doc->skus[i].name, sizeof adjust->sku);
        if (sale_is_archiving(adjust->run)) {
            op_no(request, ANS_V_archived, "the sale is over and is being archived");
            return false;
        }
        if (op_is_served(sale) && oq_sale_sku_find(sale_view(adjust->run)->log_sale, name.at,
                                                   name.len, &adjust->index) == 0)
            return true;
        /* The adjustment may be in the log from before a restart; and the document can no longer
         * change. */
        if (sale_is_fixed(sale->run, &sale->stored.state))
            op_no(request, ANS_V_fenced, "the gateway does not serve the sale at the moment");
        else
            op_no(request, ANS_V_conflict,
                  "the sale is not open yet: change the stock in its document");
        return false;
    }
    op_no(request, ANS_V_not_found, "the sale has no such SKU");
    return false;
}

/* Forgets lowerings whose record has arrived in the meantime. */
static void forget_decided(struct op_admin *admin)
{
    struct op_task *task, *next;

    for (task = TAILQ_FIRST(&admin->doubts); task != NULL; task = next) {
        next = TAILQ_NEXT(task, next);
        if (look_up(adjust_of(task)) == SHOWN_NOT)
            continue;
        op_task_take(&admin->doubts, task);
        task->free(task);
    }
}

/* False: answered. */
static bool may_start(struct op_request *request, struct adjust *adjust)
{
    struct op_admin *admin = request->admin;
    const struct op_deps *deps = &admin->deps;
    struct oq_totals totals;
    enum shown shown;

    forget_decided(admin);
    shown = look_up(adjust);
    if (shown != SHOWN_NOT || has_key(&admin->doubts, adjust->key)) {
        say_shown(request, adjust, shown);
        return false;
    }
    if (has_key(&admin->tasks, adjust->key)) {
        op_no(request, ANS_V_idempotency_in_progress, NULL);
        return false;
    }
    /* Read before the sum, which may lack a record. */
    if (!sale_log_takes_all(deps->log)) {
        op_no_log(request, PS_E_CLOSED);
        return false;
    }
    oq_sale_totals(sale_view(adjust->run)->log_sale, adjust->index, &totals);
    if (adjust->delta > 0 &&
        adjust->delta > PS_INT_MAX - totals.adjustments - units_under_way(adjust)) {
        op_no(request, ANS_V_conflict, "the SKU would have more than %lld units",
              (long long)PS_INT_MAX);
        return false;
    }
    return true;
}

static void adjust_stock(struct op_request *request)
{
    const struct sale_entry *sale = op_sale(request);
    struct adjust *adjust;

    if (sale == NULL)
        return;
    adjust = calloc(1, sizeof *adjust);
    if (adjust == NULL) {
        op_no(request, ANS_V_internal, "out of memory");
        return;
    }
    op_task_init(&adjust->task, request, "stock.adjust", free_adjust);
    adjust->run = sale->run;
    memcpy(adjust->sale, sale->stored.doc.name, sizeof adjust->sale);
    adjust->rehearsal = sale->stored.doc.rehearsal;
    adjust->epoch = sale_view(sale->run)->epoch;
    if (!find_sku(request, sale, adjust) || !read_adjust(request, adjust)) {
        free(adjust);
        return;
    }
    (void)snprintf(adjust->task.entry.target, sizeof adjust->task.entry.target, "sales/%s/skus/%s",
                   adjust->sale, adjust->sku);
    if (!may_start(request, adjust))
        free(adjust);
    else if (adjust->delta < 0)
        lower(request, adjust);
    else
        append(request, adjust);
}

/* --- The part. --- */

/* clang-format off */
const struct op_part op_adjust_part = {
    .routes = (const struct op_route[]){
        {"/admin/v1/sales/{}/skus/{}/adjust", SRV_POST, OP_ROLE_OPERATOR, OP_NEEDS_BODY, adjust_stock},
        {0}},
};
/* clang-format on */
