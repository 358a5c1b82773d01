/* The audit of a running sale, by a cut.
 *
 * On the log's thread, between two batches, the fold, the log and a counter in memory agree; there
 * the counter's numbers and the log's ends are noted: the cut. A counter in Redis is asked right
 * after it: its own numbers are one moment, a little later than the log's. What it holds beyond
 * what the cut shows as held or confirmed is in doubt; if it holds less, or other adjustments, then
 * the two moments lie around a change that is under way, and the cut is taken again, for some
 * seconds. What stays wrong is told as it is.
 *
 * A work thread then feeds a kept auditor with the log's records up to the cut, no further, and
 * lets it judge. So the sale runs on meanwhile, and each audit reads only what is new since the
 * last one. One audit at a time; others wait for theirs, because the auditor has one place in each
 * partition. */
#include "gateway/admin/archived.h"

#include "common/log.h"
#include "queue/audit.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AUDIT_WAIT_MS 60000 /* the first one reads the whole log */
#define READ_AT_ONCE  1000
#define TRIES         50
#define TRY_MS        100

/* Where the one cut is. */
enum stage { IDLE, ASKED, TAKEN, JUDGED };

struct op_audit {
    struct op_read job; /* first */
    struct op_admin *admin;
    struct oq_audit *auditor; /* NULL: begins anew. The work thread's while `stage` is JUDGED */
    _Atomic(enum stage) stage;
    uint64_t handle; /* of the request whose audit is under way */
    char sale[PS_NAME_MAX + 1];
    /* The cut: written on the log's thread, read after TAKEN. */
    struct inv_sale *counter;
    struct oq_sale *log_sale;
    uint32_t partitions;
    int64_t seq[OQ_PARTITION_MAX]; /* the last record of each */
    struct oq_totals totals[CFG_SALE_SKUS_MAX];
    int64_t at_ms;
    int err;
    char why[320];       /* of err, where the log has lost records */
    bool counter_failed; /* err is the counter's, not the log's */
    struct inv_count counts[CFG_SALE_SKUS_MAX];
    unsigned tries;
    uv_timer_t again;   /* until the next try */
    uint32_t partition; /* the work thread reads */
    /* Found by the work thread. */
    char *text;
};

int op_audit_new(struct op_admin *admin, struct op_audit **ret_audit)
{
    struct op_audit *audit = calloc(1, sizeof *audit);

    if (audit == NULL)
        return PS_E_NOMEM;
    audit->admin = admin;
    uv_timer_init(admin->deps.loop, &audit->again);
    audit->again.data = audit;
    *ret_audit = audit;
    return 0;
}

void op_audit_free(struct op_audit *audit)
{
    if (audit == NULL)
        return;
    oq_audit_free(audit->auditor);
    free(audit);
}

static void on_closed(uv_handle_t *handle)
{
    struct op_audit *audit = handle->data;
    op_release(audit->admin);
}

void op_audit_stop(struct op_audit *audit)
{
    op_hold(audit->admin);
    uv_close((uv_handle_t *)&audit->again, on_closed);
}

/* --- The work thread. --- */

static int take_record(int64_t place, struct ps_str json, void *ctx)
{
    struct op_audit *audit = ctx;
    struct oq_event event;
    void *owner;

    if (place > oq_place(audit->partition, audit->seq[audit->partition]))
        return 1;
    int err = oq_event_decode(json.at, json.len, &event, &owner, NULL);
    if (err < 0)
        return err;
    err = oq_audit_add(audit->auditor, audit->partition, oq_place_seq(place), &event);
    oq_event_release(owner);
    return err == PS_E_INVALID ? 0 : err; /* one that no fold takes: life.c has named it */
}

/* Offsets are one below what a place says. */
static int gone(struct op_audit *audit, int64_t after, int64_t end)
{
    (void)snprintf(audit->why, sizeof audit->why,
                   "the records of partition %u from offset %lld to %lld are gone: Kafka's "
                   "retention has deleted them, so the log does not tell any more what was sold; "
                   "what was settled from it is in the database of penstock-settle",
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
    int64_t end = oq_place(audit->partition, audit->seq[audit->partition]);
    int64_t seq = oq_fold_seq(oq_audit_fold(audit->auditor), audit->partition);
    int64_t after = oq_place(audit->partition, seq < 0 ? 0 : seq), last = after;

    while (after < end) {
        int err = oq_reader_read(
            reader, &(struct oq_read){after, READ_AT_ONCE, NULL, take_record, audit}, &last);
        if (err == 0 && last == after) /* it ends before a record that was committed */
            return is_log_shared(audit) ? gone(audit, after, end) : PS_E_CORRUPT;
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
    for (audit->partition = 0; err == 0 && audit->partition < audit->partitions; audit->partition++)
        err = read_partition(audit, reader);
    oq_reader_free(reader);
    return err;
}

static int report(struct op_audit *audit)
{
    struct oq_audit_counter counters[CFG_SALE_SKUS_MAX];
    size_t count = inv_sale_sku_count(audit->counter);
    json_t *json;

    for (uint32_t i = 0; i < count; i++)
        counters[i] = (struct oq_audit_counter){.sku = oq_sale_sku(audit->log_sale, i),
                                                .available = audit->counts[i].available,
                                                .in_doubt = audit->counts[i].in_doubt};
    int err = oq_audit_report(audit->auditor, audit->sale, audit->at_ms, counters, count, &json);
    if (err < 0)
        return err;
    audit->text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    return audit->text != NULL ? 0 : PS_E_NOMEM;
}

static void judge(struct op_read *job)
{
    struct op_audit *audit = (struct op_audit *)job;

    audit->why[0] = '\0';
    if (audit->auditor == NULL)
        audit->err = oq_audit_new(&audit->auditor);
    if (audit->err == 0)
        audit->err = read_up_to_cut(audit);
    if (audit->err == 0)
        audit->err = report(audit);
    if (audit->err < 0) { /* what it has read may be incomplete */
        oq_audit_free(audit->auditor);
        audit->auditor = NULL;
    }
}

/* --- The log's thread. --- */

static void take_cut(void *arg)
{
    struct op_audit *audit = arg;
    const struct op_deps *deps = &audit->admin->deps;

    audit->partitions = oq_log_partitions(deps->log);
    for (uint32_t i = 0; i < audit->partitions; i++)
        audit->seq[i] = oq_fold_seq(deps->fold, i);
    for (uint32_t i = 0; i < inv_sale_sku_count(audit->counter); i++)
        oq_sale_totals(audit->log_sale, i, &audit->totals[i]);
    if (!inv_store_is_shared(deps->store))
        audit->err = inv_store_counts(deps->store, audit->counter,
                                      (struct inv_reply_to){.ret_counts = audit->counts});
    atomic_store_explicit(&audit->stage, TAKEN, memory_order_release);
    ps_wake(&audit->admin->wake);
}

/* --- The control thread. --- */

static void next_audit(struct op_admin *admin)
{
    struct op_request *request = TAILQ_FIRST(&admin->waiting);

    while (request != NULL && request->run != op_audit_sale)
        request = TAILQ_NEXT(request, waiting);
    if (request != NULL)
        request->run(request);
}

static void say_failure(struct op_request *request, const struct op_audit *audit)
{
    const struct sale_entry *sale =
        sale_list_find(request->admin->deps.known, audit->sale, strlen(audit->sale));

    if (!audit->counter_failed)
        op_no_read(request, audit->err, audit->why);
    else if (sale != NULL && sale_view(sale->run)->state != SALE_SERVING)
        op_no(request, ANS_V_fenced, NULL);
    else
        op_no(request, ANS_V_store_unavailable, "%s", ps_err_text(audit->err));
}

static void end(struct op_audit *audit)
{
    struct op_admin *admin = audit->admin;
    struct op_request *request = op_find(admin, audit->handle);
    char *text = audit->text;

    audit->text = NULL;
    atomic_store_explicit(&audit->stage, IDLE, memory_order_relaxed);
    if (audit->err < 0)
        ps_log(PS_LOG_ERROR, "audit_failed", PS_F_STR("sale", audit->sale),
               PS_F_STR("error", ps_err_text(audit->err)));
    if (request != NULL && audit->err < 0)
        say_failure(request, audit);
    else if (request != NULL)
        op_text(request, "application/json", text, strlen(text));
    else
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

static void start_judging(struct op_audit *audit)
{
    struct op_admin *admin = audit->admin;

    if (audit->err < 0) {
        end(audit);
    } else { /* from here on the cut is the work thread's */
        op_hold(admin);
        audit->job = (struct op_read){.run = judge, .done = end_judging};
        op_reads_start(&admin->reads, &audit->job);
    }
}

static void ask_for_cut(struct op_audit *audit)
{
    atomic_store_explicit(&audit->stage, ASKED, memory_order_relaxed);
    audit->err = 0; /* from the call on it is the log's thread's */
    int err = oq_log_call(audit->admin->deps.log, take_cut, audit);
    if (err < 0) {
        audit->err = err;
        end(audit);
    }
}

static void on_again(uv_timer_t *timer)
{
    ask_for_cut(timer->data);
}

/* Two moments as one: what the counter holds beyond the cut is in doubt. False: they lie around a
 * change. */
static bool reconcile(struct op_audit *audit)
{
    bool fits = true;

    for (uint32_t i = 0; i < inv_sale_sku_count(audit->counter); i++) {
        struct inv_count *count = &audit->counts[i];
        const struct oq_totals *log = &audit->totals[i];
        int64_t taken = count->in_doubt + count->held + count->confirmed;
        count->in_doubt = taken - log->held - log->confirmed;
        fits = fits && count->in_doubt >= 0 && count->available + taken == log->adjustments;
    }
    return fits;
}

static void on_counts(uint64_t handle, int err, const struct inv_count *counts, void *ctx)
{
    struct op_audit *audit = ctx;

    (void)handle;
    audit->err = err;
    audit->counter_failed = err < 0;
    if (err == 0)
        memcpy(audit->counts, counts, inv_sale_sku_count(audit->counter) * sizeof *counts);
    if (err == 0 && !reconcile(audit) && ++audit->tries < TRIES && audit->admin->http != NULL)
        uv_timer_start(&audit->again, on_again, TRY_MS, 0);
    else
        start_judging(audit);
}

void op_audit_wake(struct op_admin *admin)
{
    struct op_audit *audit = admin->audit;

    if (atomic_load_explicit(&audit->stage, memory_order_acquire) != TAKEN)
        return;
    atomic_store_explicit(&audit->stage, JUDGED, memory_order_relaxed);
    if (!inv_store_is_shared(admin->deps.store)) {
        start_judging(audit);
        return;
    }
    int result = inv_store_counts(
        admin->deps.store, audit->counter,
        (struct inv_reply_to){.on_counts = on_counts, .ctx = audit, .ret_counts = audit->counts});
    if (result != INV_PENDING) {
        audit->err = result;
        audit->counter_failed = true;
        end(audit);
    }
}

void op_audit_sale(struct op_request *request)
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
        op_no(request, ANS_V_fenced, "the sale is not served at the moment");
        return;
    }
    if (view->counter == NULL || inv_sale_sku_count(view->counter) > PS_ARRAY_LEN(audit->counts)) {
        op_no(request, ANS_V_conflict, "the sale has no counter: it is not open yet");
        return;
    }
    if (atomic_load_explicit(&audit->stage, memory_order_relaxed) != IDLE) {
        (void)op_wait(request, AUDIT_WAIT_MS); /* found again by next_audit */
        return;
    }
    memcpy(audit->sale, sale->stored.name, sizeof audit->sale);
    audit->counter = view->counter;
    audit->log_sale = view->log_sale;
    audit->at_ms = ps_clock_wall_ms(admin->deps.clock);
    audit->err = 0;
    audit->counter_failed = false;
    audit->tries = 0;
    audit->handle = op_wait(request, AUDIT_WAIT_MS);
    ask_for_cut(audit);
}
