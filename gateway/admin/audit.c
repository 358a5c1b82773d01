/* Audits: the records in the log, the fold, and the counter's numbers, at one cut.
 *
 * On the log's thread, between two batches, no change is half done: the fold and a counter in
 * memory agree. There the audit notes the counter's numbers and the ends of the log: the cut. A
 * counter in Redis is read between two cuts (audit_counter.c).
 *
 * A work thread then reads the sale's records up to the cut, no further, and compares them with the
 * gateway's fold, while the sale continues. It uses eight bytes for each order, and frees them at
 * the end. One audit at a time; requests wait for theirs. */
#include "gateway/admin/archived.h"
#include "gateway/admin/audit_internal.h"
#include "gateway/admin/parts.h"
#include "gateway/admin/sales.h"

#include "common/program/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AUDIT_WAIT_MS 120000
#define READ_AT_ONCE  1000
#define SMALL_ORDERS  10000 /* few enough to audit quickly, also under overload */

int op_audit_new(struct op_admin *admin, struct op_audit **ret_audit)
{
    struct op_audit *audit = calloc(1, sizeof *audit);

    if (audit == NULL)
        return PS_E_NOMEM;
    audit->admin = admin;
    uv_timer_init(admin->deps.loop, &audit->wait);
    uv_timer_init(admin->deps.loop, &audit->schedule);
    audit->wait.data = audit->schedule.data = audit;
    *ret_audit = audit;
    return 0;
}

void op_audit_free(struct op_audit *audit)
{
    if (audit == NULL)
        return;
    free(audit->look);
    free(audit);
}

static void on_closed(uv_handle_t *handle)
{
    struct op_audit *audit = handle->data;
    op_release(audit->admin);
}

void op_audit_stop(struct op_audit *audit)
{
    atomic_store(&audit->cancelled, true);
    op_hold(audit->admin);
    op_hold(audit->admin);
    uv_close((uv_handle_t *)&audit->wait, on_closed);
    uv_close((uv_handle_t *)&audit->schedule, on_closed);
}

/* --- The work thread. --- */

static int take_record(int64_t place, struct ps_str json, void *ctx)
{
    struct op_audit *audit = ctx;
    struct oq_event event;
    void *owner;

    if (place > oq_place(audit->partition, audit->before.seq[audit->partition]))
        return 1;
    int err = oq_event_decode(json.at, json.len, &event, &owner, NULL);
    if (err < 0)
        return err;
    err = oq_audit_add(audit->auditor, audit->partition, oq_place_seq(place), &event);
    oq_event_release(owner);
    return err == PS_E_INVALID ? 0 : err; /* a record that no fold accepts: life.c has logged it */
}

/* An offset is one less than its place. */
static int gone(struct op_audit *audit, int64_t after, int64_t end)
{
    (void)snprintf(audit->why, sizeof audit->why,
                   "the records of partition %u from offset %lld to %lld are gone: Kafka's "
                   "retention has deleted them, so the log no longer shows what was sold; "
                   "the settled orders are in the database of penstock-settle",
                   audit->partition, (long long)oq_place_seq(after),
                   (long long)oq_place_seq(end) - 1);
    return PS_E_NOT_FOUND;
}

/* Old records of a shared log may be deleted by the service that keeps them. */
static bool is_log_shared(const struct op_audit *audit)
{
    struct oq_log_view view;

    oq_log_view(audit->admin->deps.log, &view);
    return view.shared;
}

static int read_partition(struct op_audit *audit, struct oq_reader *reader)
{
    int64_t end = oq_place(audit->partition, audit->before.seq[audit->partition]);
    int64_t after = oq_place(audit->partition, 0), last = after;

    while (after < end) {
        if (atomic_load(&audit->cancelled))
            return PS_E_CLOSED;
        int err = oq_reader_read(
            reader, &(struct oq_read){after, READ_AT_ONCE, audit->sale, take_record, audit}, &last);
        if (err == 0 &&
            last == after) /* the log ends too early; the report has what a journal lacks */
            return is_log_shared(audit) ? gone(audit, after, end) : 0;
        if (err < 0) {
            (void)snprintf(audit->why, sizeof audit->why, "%s", oq_reader_why(reader));
            return err;
        }
        after = last;
    }
    return 0;
}

static int read_up_to_cut(struct op_audit *audit)
{
    struct oq_reader *reader;
    int err = oq_log_reader_new(audit->admin->deps.log, &reader);

    if (err < 0)
        return err;
    for (audit->partition = 0; err == 0 && audit->partition < audit->before.partitions;
         audit->partition++)
        err = read_partition(audit, reader);
    oq_reader_free(reader);
    return err;
}

static int add_faults(struct op_audit *audit)
{
    int err = 0;

    for (size_t i = 0; err == 0 && i < audit->fault_count; i++) {
        size_t at =
            i < OP_AUDIT_LISTED ? i : OP_AUDIT_LISTED - 1; /* the list has no room for more */
        const struct op_counter_fault *fault = &audit->faults[at];
        err = oq_audit_add_fault(audit->auditor, audit->sale,
                                 fault->sku[0] != '\0' ? fault->sku : NULL,
                                 fault->has_order ? &fault->order : NULL, fault->text);
    }
    return err;
}

void op_audit_counters(const struct op_audit *audit, struct oq_audit_counter *ret_counters)
{
    for (uint32_t i = 0; i < audit->sku_count; i++)
        ret_counters[i] = (struct oq_audit_counter){.sku = oq_sale_sku(audit->log_sale, i),
                                                    .available = audit->counts[i].available,
                                                    .in_doubt = audit->counts[i].in_doubt,
                                                    .held = audit->counts[i].held,
                                                    .confirmed = audit->counts[i].confirmed,
                                                    .before = audit->before.totals[i],
                                                    .after = audit->after.totals[i]};
}

static int report(struct op_audit *audit)
{
    struct oq_audit_counter counters[CFG_SALE_SKUS_MAX];
    json_t *json;

    op_audit_counters(audit, counters);
    int err = oq_audit_report(audit->auditor, audit->sale, audit->at_ms, counters, audit->sku_count,
                              &json);
    if (err < 0)
        return err;
    const json_t *first = json_array_get(json_object_get(json, "violations"), 0);
    audit->violations = json_integer_value(json_object_get(json, "violation_count"));
    audit->ok = audit->violations == 0;
    audit->first[0] = '\0';
    if (first != NULL)
        (void)snprintf(audit->first, sizeof audit->first, "%s: %s",
                       json_string_value(json_object_get(first, "rule")),
                       json_string_value(json_object_get(first, "text")));
    audit->text = op_json_line(json);
    return audit->text != NULL ? 0 : PS_E_NOMEM;
}

static void judge(struct op_read *job)
{
    struct op_audit *audit = (struct op_audit *)job;
    const struct oq_audit_cut cut = {.fold = audit->admin->deps.fold,
                                     .sale = audit->log_sale,
                                     .orders = audit->before.orders,
                                     .totals = audit->before.totals,
                                     .sku_count = audit->sku_count};

    audit->err = oq_audit_new_beside(&cut, &audit->auditor);
    if (audit->err < 0)
        return;
    audit->err = read_up_to_cut(audit);
    if (audit->err == 0)
        audit->err = add_faults(audit);
    if (audit->err == 0)
        audit->err = report(audit);
    oq_audit_free(audit->auditor);
    audit->auditor = NULL;
}

/* --- The log's thread. --- */

static void take_cut(void *arg)
{
    struct op_audit *audit = arg;
    const struct op_deps *deps = &audit->admin->deps;
    struct op_cut *cut = audit->cut_into;

    cut->partitions = oq_log_partitions(deps->log);
    for (uint32_t i = 0; i < cut->partitions; i++)
        cut->seq[i] = oq_fold_seq(deps->fold, i);
    cut->orders = oq_sale_order_count(audit->log_sale);
    for (uint32_t i = 0; i < audit->sku_count; i++)
        oq_sale_totals(audit->log_sale, i, &cut->totals[i]);
    if (!inv_store_is_shared(deps->store))
        audit->err = inv_store_counts(deps->store, audit->counter,
                                      (struct inv_reply_to){.ret_counts = audit->counts});
    atomic_store_explicit(&audit->cut_taken, true, memory_order_release);
    ps_wake(&audit->admin->wake);
}

/* --- The control thread. --- */

void op_audit_cut(struct op_audit *audit, struct op_cut *into, void (*then)(struct op_audit *audit))
{
    audit->cut_into = into;
    audit->then = then;
    audit->err = 0; /* from the call on the log's thread owns it */
    int err = oq_log_call(audit->admin->deps.log, take_cut, audit);
    if (err < 0) {
        audit->err = err;
        op_audit_judge(audit);
    }
}

void op_audit_wake(struct op_audit *audit)
{
    if (atomic_exchange_explicit(&audit->cut_taken, false, memory_order_acq_rel))
        audit->then(audit);
}

static void on_wait(uv_timer_t *timer)
{
    struct op_audit *audit = timer->data;
    audit->then(audit);
}

void op_audit_wait(struct op_audit *audit, uint64_t ms, void (*then)(struct op_audit *audit))
{
    audit->then = then;
    if (audit->admin->http != NULL)
        uv_timer_start(&audit->wait, on_wait, ms, 0);
}

static op_request_fn audit_sale;

static void next_audit(struct op_admin *admin)
{
    struct op_request *request = TAILQ_FIRST(&admin->waiting);

    while (request != NULL && request->run != audit_sale)
        request = TAILQ_NEXT(request, waiting);
    if (request != NULL)
        request->run(request);
}

static void say_failure(struct op_request *request, const struct op_audit *audit)
{
    const struct sale_entry *sale =
        sale_list_find(request->admin->deps.known, audit->sale, strlen(audit->sale));

    if (oq_sale_forgotten(audit->log_sale) && sale != NULL) /* archived meanwhile */
        op_archived_audit(request, sale);
    else if (!audit->counter_failed)
        op_no_read(request, audit->err, audit->why);
    else if (sale != NULL && sale_view(sale->run)->state != SALE_SERVING)
        op_no(request, ANS_V_fenced, NULL);
    else
        op_no(request, ANS_V_store_unavailable, "%s", ps_err_text(audit->err));
}

static void end(struct op_audit *audit)
{
    struct op_admin *admin = audit->admin;
    struct op_request *request = audit->handle != 0 ? op_find(admin, audit->handle) : NULL;
    char *text = audit->text;

    audit->text = NULL;
    audit->running = false;
    /* Part of its records is gone: no result. */
    if (oq_sale_forgotten(audit->log_sale)) {
        audit->err = PS_E_CLOSED;
        atomic_store(&audit->cancelled, true);
    }
    oq_fold_leave(admin->deps.fold);
    free(audit->look);
    audit->look = NULL;
    if (audit->err < 0 && !atomic_load(&audit->cancelled))
        ps_log(PS_LOG_ERROR, "audit_failed", PS_F_STR("sale", audit->sale),
               PS_F_STR("error", ps_err_text(audit->err)));
    else if (!audit->ok)
        ps_log(PS_LOG_ERROR, "audit_violation", PS_F_STR("sale", audit->sale),
               PS_F_INT("violations", audit->violations), PS_F_STR("why", audit->first));
    audit->ended(audit);
    if (request != NULL && audit->err == 0) {
        op_text(request, "application/json", text, strlen(text));
        text = NULL;
    } else if (request != NULL) {
        say_failure(request, audit);
    }
    free(text);
    next_audit(admin);
}

static void end_judging(struct op_read *job)
{
    struct op_audit *audit = (struct op_audit *)job;
    struct op_admin *admin = audit->admin;

    end(audit);
    op_release(admin);
}

void op_audit_judge(struct op_audit *audit)
{
    struct op_admin *admin = audit->admin;

    if (audit->err < 0) {
        end(audit);
    } else { /* from here on the work thread owns the cut */
        op_hold(admin);
        audit->job = (struct op_read){.run = judge, .done = end_judging};
        op_reads_start(&admin->reads, &audit->job);
    }
}

static void have_cut(struct op_audit *audit)
{
    memcpy(audit->after.totals, audit->before.totals, sizeof audit->after.totals);
    op_audit_judge(audit);
}

void op_audit_begin(struct op_audit *audit, const struct sale_entry *sale, uint64_t handle)
{
    const struct sale_view *view = sale_view(sale->run);
    const struct op_deps *deps = &audit->admin->deps;

    memcpy(audit->sale, sale->stored.doc.name, sizeof audit->sale);
    audit->running = true;
    oq_fold_enter(deps->fold); /* keeps what it reads valid until the end */
    audit->handle = handle;
    audit->run = sale->run;
    audit->counter = view->counter;
    audit->log_sale = view->log_sale;
    audit->sku_count = inv_sale_sku_count(view->counter);
    audit->at_ms = ps_clock_wall_ms(deps->clock);
    audit->began_ns = ps_clock_mono_ns(deps->clock);
    audit->counter_failed = false;
    audit->fault_count = 0;
    audit->why[0] = '\0';
    if (inv_store_is_shared(deps->store))
        op_audit_look(audit);
    else
        op_audit_cut(audit, &audit->before, have_cut);
}

static void audit_sale(struct op_request *request)
{
    struct op_admin *admin = request->admin;
    struct op_audit *audit = admin->audit;
    const struct sale_entry *sale = op_sale(request);
    const struct sale_view *view;

    if (sale == NULL)
        return;
    if (op_is_archived(sale)) {
        op_archived_audit(request, sale);
        return;
    }
    view = sale_view(sale->run);
    if (view->counter == NULL && sale->stored.state.opened) {
        op_no(request, ANS_V_fenced, "the gateway does not serve the sale at the moment");
        return;
    }
    if (view->counter == NULL || inv_sale_sku_count(view->counter) > PS_ARRAY_LEN(audit->counts)) {
        op_no(request, ANS_V_conflict, "the sale has no counter: it is not open yet");
        return;
    }
    if (oq_sale_order_count(view->log_sale) > SMALL_ORDERS && !op_exports_are_on(request))
        return;
    uint64_t handle = op_wait(request, AUDIT_WAIT_MS);
    if (!audit->running) /* else next_audit finds it */
        op_audit_begin(audit, sale, handle);
}

/* --- The part. --- */

/* clang-format off */
const struct op_part op_audit_part = {
    .routes = (const struct op_route[]){
        {"/admin/v1/sales/{}/audit", SRV_GET, OP_ROLE_VIEWER, 0, audit_sale},
        {0}},
};
/* clang-format on */
