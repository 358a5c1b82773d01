/* Orders, one by one: shown, confirmed, cancelled; and up to 1,000 of them in one call.
 *
 * Confirm and cancel are records. The fold alone tells their result, when all outcomes are in or
 * when the deadline passes: 200 confirmed for ever; 409 never will be; 503 order_pending: not known
 * yet. So every call can be repeated. A command is what one call asks for. */
#include "gateway/admin/archived.h"
#include "gateway/admin/task.h"
#include "gateway/admin/parts.h"
#include "gateway/admin/standby.h"

#include "gateway/cluster/cluster.h"
#include "gateway/orders/order_id.h"
#include "gateway/orders/order_text.h"
#include "gateway/orders/search.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_MAX      1000
#define ORDER_TEXT_MAX 2048
/* An undecided order is not older than this, unless its record is in a spill, even if the clocks of
 * two gateways differ by an hour. */
#define DOUBT_MAX_MS (2 * 3600 * 1000)

struct item {
    struct order_command *command;
    struct ps_uuid id;
    bool confirm; /* else cancel */
    bool landed;
    int err; /* the log could not take it, or refused it */
};

struct order_command {
    struct op_task task; /* first */
    bool batch;
    size_t open; /* outcomes still awaited */
    int64_t seq; /* the log's seq when all was decided; 0: not yet */
    size_t count;
    struct item items[];
};

static struct op_admin *admin_of(const struct order_command *command)
{
    return command->task.entry.admin;
}

/* --- Look-ups. --- */

static void put_pending(struct ps_buf *buf, const struct ps_uuid *id, const struct snap_sale *sale,
                        const struct inv_entry *entry)
{
    const struct ord_order_text text =
        ord_order_text_pending(id, sale->name, oq_sale_sku(sale->log_sale, entry->sku), entry);

    ord_order_text_put(buf, &text);
    ps_buf_puts(buf, ",\"user\":");
    ps_buf_put_json(buf, entry->user, entry->user_len);
    ps_buf_printf(buf, ",\"epoch\":%lld,\"seq\":null}", (long long)sale->epoch);
}

static struct oq_order *known_order(const struct op_admin *admin, const struct ps_uuid *id)
{
    struct oq_order *order = oq_fold_order(admin->deps.fold, id);
    return order != NULL && oq_order_known(order) ? order : NULL;
}

/* The text of an answer; NULL: answered with 500. */
static char *new_text(struct op_request *request, struct ps_buf *ret_buf)
{
    char *text = malloc(ORDER_TEXT_MAX);

    if (text == NULL)
        op_no(request, ANS_V_internal, "out of memory");
    else
        ps_buf_init(ret_buf, text, ORDER_TEXT_MAX);
    return text;
}

/* Shows the order from the fold. False: the fold does not have it. */
static bool say_known(struct op_request *request, const struct ps_uuid *id)
{
    const struct oq_order *order = known_order(request->admin, id);
    struct ps_buf buf;

    if (order == NULL)
        return false;
    char *text = new_text(request, &buf);
    if (text != NULL) {
        ord_order_text_put_admin(&buf, order);
        ps_buf_puts(&buf, "\n");
        op_text(request, "application/json", text, buf.len);
    }
    return true;
}

/* A look-up that asks the counters. */
struct lookup {
    struct op_admin *admin;
    uint64_t handle; /* 0: the request does not wait yet */
    struct ord_search search;
};

/* Answers, and frees the look-up. `entry` NULL: no counter has the order. */
static void end_lookup(struct lookup *lookup, struct op_request *request,
                       const struct snap_sale *sale, const struct inv_entry *entry)
{
    const struct ord_search *search = &lookup->search;
    struct oq_log_view view;
    struct ps_buf buf;
    char *text;

    oq_log_view(lookup->admin->deps.log, &view);
    if (request == NULL || say_known(request, &search->id)) {
        /* the log may have shown it in the meantime */
    } else if (entry == NULL && search->unsure) {
        op_no(request, ANS_V_store_unavailable,
              "it is not known whether such an order is in doubt");
    } else if (entry == NULL && !view.current) {
        op_no(request, ANS_V_log_unavailable, NULL);
    } else if (entry == NULL && op_archived_order(request, &search->id, OP_ORDER_SHOW)) {
        /* the archive answers */
    } else if (entry == NULL) {
        op_no(request, ANS_V_not_found, "no such order");
    } else if ((text = new_text(request, &buf)) != NULL) {
        put_pending(&buf, &search->id, sale, entry);
        ps_buf_puts(&buf, "\n");
        op_text(request, "application/json", text, buf.len);
    }
    free(lookup);
}

static inv_entry_fn on_entry;

static void search_counters(struct lookup *lookup, struct op_request *request)
{
    struct op_admin *admin = lookup->admin;
    struct inv_store *store = admin->deps.store;
    const struct snap_sale *sale;
    struct inv_entry entry;

    if (inv_store_is_shared(store))
        lookup->handle = op_wait(request, OP_WAIT_MS);
    int result = ord_search_run(
        &lookup->search, snap_view_last(admin->deps.view), store,
        (struct inv_reply_to){.on_entry = on_entry, .ctx = lookup, .ret_entry = &entry}, &sale);
    if (result == INV_DONE)
        end_lookup(lookup, request, sale, &entry);
    else if (result != INV_PENDING)
        end_lookup(lookup, request, NULL, NULL);
}

static void on_entry(uint64_t handle, int err, const struct inv_entry *entry, void *ctx)
{
    struct lookup *lookup = ctx;
    struct op_request *request = op_find(lookup->admin, lookup->handle);
    const struct snap_sale *sale;

    (void)handle;
    if (request == NULL) {
        end_lookup(lookup, NULL, NULL, NULL);
        return;
    }
    sale = ord_search_take(&lookup->search, snap_view_last(lookup->admin->deps.view), err);
    if (sale != NULL)
        end_lookup(lookup, request, sale, entry);
    else
        search_counters(lookup, request);
}

static void say_order(struct op_request *request, const struct ps_uuid *id)
{
    struct lookup *lookup;

    if (say_known(request, id))
        return;
    lookup = calloc(1, sizeof *lookup);
    if (lookup == NULL) {
        op_no(request, ANS_V_internal, "out of memory");
        return;
    }
    request->on_deadline = op_late;
    lookup->admin = request->admin;
    lookup->search.id = *id;
    search_counters(lookup, request);
}

/* False: answered. */
static bool read_id(struct op_request *request, struct ps_uuid *ret_id)
{
    if (ps_uuid_parse(request->arg[0].at, request->arg[0].len, ret_id) == 0)
        return true;
    op_no(request, ANS_V_not_found, "no such order");
    return false;
}

static void get_order(struct op_request *request)
{
    struct ps_uuid id;

    if (read_id(request, &id))
        say_order(request, &id);
}

/* --- The result of an item. --- */

static enum ans_verdict not_decided(int err)
{
    if (err == 0)
        return ANS_V_order_pending;
    return err == PS_E_FULL ? ANS_V_log_backlog : ANS_V_log_unavailable;
}

/* Others may have appended records that the fold does not show yet. */
static bool is_log_behind(const struct op_admin *admin)
{
    struct oq_log_view view;

    oq_log_view(admin->deps.log, &view);
    return !view.current;
}

/* Can the sale's counter have that order in doubt? A counter in Redis would answer later: its last
 * report about the whole sale decides. */
static bool may_have_in_doubt(const struct sale_entry *sale, struct inv_store *store,
                              const struct ps_uuid *id)
{
    struct inv_sale *counter = sale_view(sale->run)->counter;
    struct inv_entry entry;

    if (!ord_order_id_fits(id, sale->stored.doc.name))
        return false;
    if (inv_store_is_shared(store))
        return sale_has_doubts(sale->run, &sale->stored.state);
    if (counter == NULL)
        return sale_is_unserved(sale->run, &sale->stored.state);
    return inv_store_find(store, counter, id, (struct inv_reply_to){.ret_entry = &entry}) ==
           INV_DONE;
}

/* Can an order that the fold does not show be in the log, or in doubt? Redis's last report about a
 * sale is about 100 ms old: an order may be younger, so one whose id has about the present time may
 * be in doubt, too. The id's time alone is not enough: a gateway whose clock was wrong makes ids of
 * other hours. */
static bool may_be_in_doubt(const struct op_admin *admin, const struct ps_uuid *id)
{
    const struct sale_list *known = admin->deps.known;
    struct inv_store *store = admin->deps.store;
    int64_t age_ms = ps_clock_wall_ms(admin->deps.clock) - ps_uuid_ms(id);

    if (is_log_behind(admin) || clu_may_bring_orders(admin->deps.cluster))
        return true;
    if (inv_store_is_shared(store) && age_ms > -DOUBT_MAX_MS && age_ms < DOUBT_MAX_MS)
        return true;
    for (size_t i = 0; i < known->count; i++)
        if (may_have_in_doubt(known->at[i], store, id))
            return true;
    return false;
}

static enum ans_verdict verdict_of(const struct item *item)
{
    static const enum ans_verdict no[] = {[OQ_EXPIRED] = ANS_V_order_expired,
                                          [OQ_CANCELLED] = ANS_V_order_cancelled,
                                          [OQ_REJECTED] = ANS_V_order_rejected};
    const struct op_admin *admin = admin_of(item->command);
    const struct oq_order *order = oq_fold_order(admin->deps.fold, &item->id);

    if (order == NULL && !op_is_only_archived(admin, &item->id) &&
        may_be_in_doubt(admin, &item->id))
        return ANS_V_order_pending;
    if (order == NULL)
        return op_may_be_archived(admin, &item->id) ? ANS_V_archived : ANS_V_not_found;
    if (!oq_order_known(order)) /* rejected before it was accepted */
        return item->confirm ? ANS_V_order_rejected : ANS_V_not_found;
    switch (oq_order_state(order)) {
    case OQ_STATE_ACCEPTED:
        return not_decided(item->err);
    case OQ_STATE_CONFIRMED:
        if (!item->confirm)
            return ANS_V_order_confirmed;
        return op_standby_has(admin, item->command->seq, order) ? ANS_V_ok : ANS_V_standby_behind;
    case OQ_STATE_RELEASED:
        return item->confirm ? no[oq_order_reason(order)] : ANS_V_ok;
    case OQ_STATE_VOID:
        return item->confirm ? ANS_V_order_rejected : ANS_V_ok;
    }
    return ANS_V_internal;
}

static json_t *item_json(const struct item *item)
{
    enum ans_verdict verdict = verdict_of(item);
    const struct oq_order *order = known_order(admin_of(item->command), &item->id);
    char id[PS_UUID_LEN + 1];
    json_t *json;

    ps_uuid_format(&item->id, id);
    json = json_pack("{s:s, s:s, s:i}", "order_id", id, "action",
                     item->confirm ? "confirm" : "cancel", "status", ans_verdicts[verdict].status);
    if (verdict != ANS_V_ok)
        (void)json_object_set_new(json, "code", json_string(ans_verdicts[verdict].name));
    if (order != NULL) {
        struct oq_order_view view;
        struct ord_order_text text = ord_order_text_of(order, &view);
        (void)json_object_set_new(json, "state", json_string(text.state));
        (void)json_object_set_new(json, "reason",
                                  text.reason[0] != '\0' ? json_string(text.reason) : json_null());
    }
    return json;
}

static void answer(struct op_request *request, const struct order_command *command)
{
    json_t *results;

    if (!command->batch) {
        const struct item *item = &command->items[0];
        enum ans_verdict verdict = verdict_of(item);
        if (verdict == ANS_V_archived &&
            op_archived_order(request, &item->id,
                              item->confirm ? OP_ORDER_CONFIRM : OP_ORDER_CANCEL))
            return; /* its sale was archived while the command waited */
        if (verdict == ANS_V_ok)
            say_order(request, &command->items[0].id);
        else
            op_no(request, verdict, verdict == ANS_V_not_found ? "no such order" : NULL);
        return;
    }
    results = json_array();
    for (size_t i = 0; i < command->count; i++)
        (void)json_array_append_new(results, item_json(&command->items[i]));
    if (json_array_size(results) < command->count) { /* out of memory: asking again is safe */
        json_decref(results);
        op_no(request, ANS_V_internal, "out of memory; ask again");
        return;
    }
    op_json(request, ANS_V_ok, json_pack("{s:o}", "results", results));
}

/* --- Commands. --- */

static void free_command(struct op_task *task)
{
    free(task);
}

/* The fold shows all outcomes: the results of the command are in the log up to here. */
static void note_seq(struct order_command *command)
{
    command->seq = oq_fold_seq(admin_of(command)->deps.fold, 0);
}

static void say(struct op_request *request)
{
    struct order_command *command = (struct order_command *)request->task;

    op_task_take(&request->admin->tasks, &command->task);
    answer(request, command);
    free(command);
}

static bool waits_for_standby(const struct order_command *command)
{
    for (size_t i = 0; i < command->count; i++)
        if (verdict_of(&command->items[i]) == ANS_V_standby_behind)
            return true;
    return false;
}

static void look_at_standby(struct op_request *request)
{
    if (!waits_for_standby((const struct order_command *)request->task))
        say(request);
}

/* Answers, as soon as the standby has the confirmed orders. */
static void conclude(struct op_request *request, struct order_command *command)
{
    note_seq(command);
    if (!waits_for_standby(command)) {
        answer(request, command);
        free(command);
        return;
    }
    op_task_keep(&request->admin->tasks, &command->task);
    request->task = &command->task;
    request->on_tick = look_at_standby;
    request->on_deadline = say;
    command->task.handle = op_wait(request, request->admin->deps.ack_timeout_ms);
}

static void end(struct order_command *command)
{
    struct op_request *request = op_task_request(&command->task);

    if (request != NULL)
        conclude(request, command);
    else
        free(command);
}

static void on_entry_written(struct op_audit_entry *entry)
{
    end((struct order_command *)entry);
}

/* Ids of the orders that this call has changed. */
static json_t *changed(const struct order_command *command, bool confirm)
{
    json_t *ids = json_array();

    for (size_t i = 0; i < command->count; i++) {
        const struct item *item = &command->items[i];
        char id[PS_UUID_LEN + 1];
        if (item->confirm != confirm || !item->landed || verdict_of(item) != ANS_V_ok)
            continue;
        ps_uuid_format(&item->id, id);
        (void)json_array_append_new(ids, json_string(id));
    }
    return ids;
}

/* Called when all outcomes are in. */
static void settled(struct order_command *command)
{
    json_t *confirmed = changed(command, true), *cancelled = changed(command, false);
    bool any = json_array_size(confirmed) + json_array_size(cancelled) > 0;

    op_task_take(&admin_of(command)->tasks, &command->task);
    if (!any) {
        json_decref(confirmed);
        json_decref(cancelled);
        end(command);
        return;
    }
    struct op_request *request = op_task_request(&command->task);
    if (request != NULL)
        (void)op_wait(request, OP_WAIT_MS);
    command->task.entry.done = on_entry_written;
    op_audit_entry_write(&command->task.entry, NULL,
                         json_pack("{s:o, s:o}", "confirmed", confirmed, "cancelled", cancelled));
}

static void on_outcome(enum oq_outcome outcome, struct oq_order *order, void *ctx)
{
    struct item *item = ctx;
    struct order_command *command = item->command;

    (void)order;
    item->landed = outcome == OQ_LANDED;
    if (outcome == OQ_REFUSED)
        item->err = PS_E_CLOSED;
    if (--command->open == 0)
        settled(command);
}

static void on_deadline(struct op_request *request)
{
    struct order_command *command = (struct order_command *)request->task;

    note_seq(command);
    answer(request, command);
    command->seq = 0; /* its audit line is not written yet */
}

static int append(struct item *item, const struct oq_order *order)
{
    struct op_admin *admin = admin_of(item->command);
    const char *by = item->command->task.entry.who;
    struct oq_log *log = admin->deps.log;
    int64_t now_ms = ps_clock_wall_ms(admin->deps.clock);
    struct oq_ticket ticket;
    int err = op_outcomes_await(admin->outcomes, on_outcome, item, &ticket);

    if (err < 0)
        return err;
    ticket.owner = admin->deps.owner;
    err = item->confirm ? sale_append_confirmed(log, order, ps_str(by), now_ms, &ticket)
                        : sale_append_released(log, order, OQ_CANCELLED, now_ms, &ticket);
    if (err < 0)
        op_outcomes_forget(admin->outcomes, &ticket);
    return err;
}

/* A batch may name an order twice: one record is enough. */
static bool is_under_way(const struct order_command *command, size_t index)
{
    const struct item *item = &command->items[index];

    for (size_t i = 0; i < index; i++) {
        const struct item *before = &command->items[i];
        if (before->confirm == item->confirm && before->err == 0 &&
            ps_uuid_equal(&before->id, &item->id))
            return true;
    }
    return false;
}

/* Takes ownership of the command. */
static void start(struct op_request *request, struct order_command *command)
{
    const struct op_deps *deps = &request->admin->deps;

    for (size_t i = 0; i < command->count; i++) {
        struct item *item = &command->items[i];
        const struct oq_order *order = oq_fold_order(deps->fold, &item->id);
        if (order == NULL || oq_order_state(order) != OQ_STATE_ACCEPTED || is_under_way(command, i))
            continue; /* decided, or nothing to decide */
        item->err = append(item, order);
        if (item->err == 0)
            command->open++;
    }
    if (command->open == 0) {
        conclude(request, command);
        return;
    }
    op_task_keep(&request->admin->tasks, &command->task);
    request->task = &command->task;
    request->on_deadline = on_deadline;
    command->task.handle = op_wait(request, deps->ack_timeout_ms);
}

static struct order_command *new_command(struct op_request *request, size_t count,
                                         const char *action)
{
    struct order_command *command = calloc(1, sizeof *command + count * sizeof command->items[0]);

    if (command == NULL) {
        op_no(request, ANS_V_internal, "out of memory");
        return NULL;
    }
    op_task_init(&command->task, request, action, free_command);
    command->count = count;
    for (size_t i = 0; i < count; i++)
        command->items[i].command = command;
    return command;
}

/* --- One order. --- */

static void decide(struct op_request *request, bool confirm)
{
    struct order_command *command;
    struct ps_uuid id;
    char text[PS_UUID_LEN + 1];

    if (!op_only_reason(request) || !read_id(request, &id))
        return;
    if (oq_fold_order(request->admin->deps.fold, &id) == NULL &&
        op_archived_order(request, &id, confirm ? OP_ORDER_CONFIRM : OP_ORDER_CANCEL))
        return;
    command = new_command(request, 1, confirm ? "order.confirm" : "order.cancel");
    if (command == NULL)
        return;
    command->items[0].id = id;
    command->items[0].confirm = confirm;
    ps_uuid_format(&id, text);
    (void)snprintf(command->task.entry.target, sizeof command->task.entry.target, "orders/%s",
                   text);
    start(request, command);
}

static void confirm_order(struct op_request *request)
{
    decide(request, true);
}

static void cancel_order(struct op_request *request)
{
    decide(request, false);
}

/* --- Many. --- */

/* An array of order ids, or absent. */
static const json_t *id_list(struct ps_json_reader *reader, const char *member)
{
    const json_t *list = ps_json_value(reader, member);

    if (list != NULL && !json_is_array(list))
        ps_json_fault(reader, member, "must be an array of order ids");
    return list;
}

static int read_ids(const json_t *list, const char *member, bool confirm, struct item *items,
                    struct ps_fault *fault)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *id = json_array_get(list, i);
        if (json_is_string(id) &&
            ps_uuid_parse(json_string_value(id), json_string_length(id), &items[i].id) == 0) {
            items[i].confirm = confirm;
            continue;
        }
        char pointer[32];
        (void)snprintf(pointer, sizeof pointer, "/%s/%zu", member, i);
        return ps_fault(fault, PS_E_INVALID, pointer, "must be an order id (a UUID)");
    }
    return 0;
}

static void order_batch(struct op_request *request)
{
    struct ps_json_reader reader;
    struct ps_fault fault = {0};
    struct order_command *command;
    int err;

    ps_json_reader_init(&reader, request->body, "", &fault);
    const json_t *confirm = id_list(&reader, "confirm"), *cancel = id_list(&reader, "cancel");
    size_t first = json_array_size(confirm), count = first + json_array_size(cancel);
    (void)ps_json_has(&reader, "reason");
    err = ps_json_done(&reader);
    if (err == 0 && (count < 1 || count > BATCH_MAX))
        err = ps_fault(&fault, PS_E_INVALID, "", "confirm and cancel together: 1 to %d orders",
                       BATCH_MAX);
    if (err < 0) {
        op_fault(request, ANS_V_invalid, &fault);
        return;
    }
    command = new_command(request, count, "order.batch");
    if (command == NULL)
        return;
    command->batch = true;
    (void)snprintf(command->task.entry.target, sizeof command->task.entry.target, "orders");
    if ((err = read_ids(confirm, "confirm", true, command->items, &fault)) < 0 ||
        (err = read_ids(cancel, "cancel", false, command->items + first, &fault)) < 0) {
        op_fault(request, ANS_V_invalid, &fault);
        free(command);
        return;
    }
    start(request, command);
}

/* --- The part. --- */

/* clang-format off */
const struct op_part op_orders_part = {
    .routes = (const struct op_route[]){
        {"/admin/v1/orders:batch",      SRV_POST, OP_ROLE_OPERATOR, OP_NEEDS_BODY, order_batch},
        {"/admin/v1/orders/{}",         SRV_GET,  OP_ROLE_VIEWER,   0,             get_order},
        {"/admin/v1/orders/{}/confirm", SRV_POST, OP_ROLE_OPERATOR, 0,             confirm_order},
        {"/admin/v1/orders/{}/cancel",  SRV_POST, OP_ROLE_OPERATOR, 0,             cancel_order},
        {0}},
};
/* clang-format on */
