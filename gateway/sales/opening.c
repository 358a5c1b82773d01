/* Arming a sale, step by step; each step is asynchronous and may be repeated, because every record
 * of it is harmless twice:
 *
 *   a fence into each partition -> all have landed
 *   -> the initial stock (first time only) -> all of it has landed
 *   -> control.db notes `opened` (first time only)
 *   -> the counters are built from the fold, between two batches of the log's thread
 *   -> the policy shows the sale with its counters
 *
 * A start of the gateway is a rebuild: orders of the last run that were still under way belong to
 * an epoch that the new fence has ended, so no unit is held back for them. A sale that has been
 * opened and whose first records are missing has lost its beginning (a journal that was replaced):
 * its books cannot be made up, so it is refused, loudly, and the others go on. So is one of which
 * the log knows a SKU that its document does not have (a control.db that was replaced).
 *
 * From the first record on that may have landed, its SKUs and its stock in the document are fixed.
 *
 * With a log in Kafka, what the last run has spilled goes there before the fence that would make it
 * void; and a fence of another gateway ends the sale here, for a counter in memory is one
 * gateway's.
 *
 * In a cluster the steps are the same, but other gateways write to the log, and a gateway that
 * starts takes up what they have installed: orders/cluster.c and orders/rebuild.c take them, and
 * only the checks and the notes are made here. */
#include "gateway/sales/opening.h"

#include "common/log.h"
#include "gateway/cluster/cluster.h"
#include "gateway/orders/order_events.h"
#include "queue/log_kafka.h"
#include "queue/log_spill.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_NS   (500 * PS_NS_PER_MS)
#define SPILL_NS   (10 * PS_NS_PER_S) /* for what was spilled; then it is fenced all the same */
#define PLACE_SIZE 96                 /* with the words around it, it fits into refused_why */

struct sale_load_job {
    struct gw_core *core;
    char name[PS_NAME_MAX + 1];
    struct oq_sale *books;
    size_t sku_count;
    int64_t epoch;
    /* Out. */
    int err;
    struct inv_sale *counter;
};

static void try_later(struct gw_control *control, struct gw_control_sale *sale)
{
    sale->arming = SALE_OPENING_NOT;
    sale->retry_at_ns = ps_clock_mono_ns(control->core->clock) + RETRY_NS;
}

/* --- at start --- */

static void refuse(struct gw_control *control, struct gw_control_sale *sale)
{
    sale->arming = SALE_OPENING_REFUSED;
    control->dirty = true;
    atomic_fetch_add(&control->core->sales_refused, 1);
    ps_log(PS_LOG_ERROR, "sale_refused", PS_F_STR("sale", sale->stored.name),
           PS_F_STR("why", sale->refused_why));
}

static void refuse_lost(struct gw_control *control, struct gw_control_sale *sale,
                        const char *missing)
{
    snprintf(sale->refused_why, sizeof sale->refused_why,
             "the sale has been opened, but the log has no %s of it: its beginning is lost; %s",
             missing,
             control->core->settings->log.kind == GW_LOG_KAFKA
                 ? "restore the topic, or sell under another name"
                 : "put the journal back that belongs to this control.db");
    refuse(control, sale);
}

void sale_opening_note_stranger(struct gw_control *control, const char *sale, const char *sku)
{
    ps_metric_add(control->shard, GW_M_FOLD_ANOMALIES, 0, 1);
    ps_log(PS_LOG_ERROR, "log_anomaly", PS_F_STR("sale", sale), PS_F_STR("sku", sku),
           PS_F_STR("why", "a record names a SKU that the sale has not"));
}

static bool has_sku(const struct cfg_sale_doc *doc, const char *name)
{
    for (size_t i = 0; i < doc->sku_count; i++)
        if (strcmp(doc->skus[i].name, name) == 0)
            return true;
    return false;
}

static void find_books(const struct gw_control *control, struct gw_control_sale *sale)
{
    sale->books = oq_fold_sale(control->core->fold, sale->stored.name, strlen(sale->stored.name));
}

/* Has the log an initial stock of that SKU? A stranger's record that names a SKU brings none. */
static bool is_stocked(const struct gw_control_sale *sale, const char *sku)
{
    char key[OQ_ADJUST_KEY_MAX + 1];
    struct ps_str text = {key, oq_initial_key(sale->stored.name, sku, key)};
    struct ps_uuid ref;

    oq_adjust_ref(text, &ref);
    return oq_sale_adjusted(sale->books, &ref) >= 0;
}

/* Counters and orders name a SKU by its place in the log, so the log's first SKUs must be the
 * document's. What strangers have named behind them is told and left out. False: refused. */
static bool check_skus(struct gw_control *control, struct gw_control_sale *sale)
{
    const char *name;

    for (uint32_t i = 0; sale->books != NULL && (name = oq_sale_sku(sale->books, i)) != NULL; i++) {
        if (has_sku(&sale->stored.doc, name))
            continue;
        if (i >= sale->stored.doc.sku_count && !is_stocked(sale, name)) {
            sale_opening_note_stranger(control, sale->stored.name, name);
            continue;
        }
        snprintf(sale->refused_why, sizeof sale->refused_why,
                 "the log has a SKU \"%s\" of this sale, its document has none; put the control.db "
                 "back that belongs to this journal, or sell under another name",
                 name);
        refuse(control, sale);
        return false;
    }
    return true;
}

/* "… in partition 3 (read up to offset 17)": where people have to look. */
static const char *place(const struct gw_control *control, uint32_t partition, const char *missing,
                         char ret_text[PLACE_SIZE])
{
    if (control->core->settings->log.kind != GW_LOG_KAFKA)
        return missing;
    (void)snprintf(ret_text, PLACE_SIZE, "%s in partition %u (read up to offset %lld)", missing,
                   partition, (long long)oq_fold_seq(control->core->fold, partition) - 1);
    return ret_text;
}

/* False: refused. */
static bool check_stock(struct gw_control *control, struct gw_control_sale *sale)
{
    const struct cfg_sale_doc *doc = &sale->stored.doc;
    uint32_t partitions = oq_sale_partitions(sale->books);
    char text[PLACE_SIZE];

    for (size_t i = 0; i < doc->sku_count; i++) {
        char key[OQ_ADJUST_KEY_MAX + 1];
        struct ps_str adjust = {key, oq_initial_key(sale->stored.name, doc->skus[i].name, key)};
        struct ps_uuid ref;
        oq_adjust_ref(adjust, &ref);
        if (oq_sale_adjusted(sale->books, &ref) >= 0)
            continue;
        refuse_lost(control, sale,
                    place(control, oq_kafka_partition(adjust, partitions), "initial stock", text));
        return false;
    }
    return true;
}

bool sale_opening_check(struct gw_control *control, struct gw_control_sale *sale)
{
    uint32_t partitions = sale->books != NULL ? oq_sale_partitions(sale->books) : 0;
    char text[PLACE_SIZE];

    for (uint32_t i = 0; i < partitions || i == 0; i++) {
        if (sale->books != NULL && oq_sale_epoch(sale->books, i) != 0)
            continue;
        refuse_lost(control, sale, place(control, i, "first fence", text));
        return false;
    }
    return check_stock(control, sale) && check_skus(control, sale);
}

static void report_unknown(const struct gw_control *control)
{
    const struct oq_fold *fold = control->core->fold;
    const struct oq_sale *books;

    for (size_t i = 0; (books = oq_fold_sale_at(fold, i)) != NULL; i++) {
        const char *name = oq_sale_name(books);
        if (gw_control_sale(control, name, strlen(name)) == NULL)
            ps_log(PS_LOG_WARN, "sale_unknown", PS_F_STR("sale", name),
                   PS_F_STR(
                       "why",
                       "the log has orders of it, control.db does not know it; it is not served"));
    }
}

/* --- the counters --- */

static void load_on_log_thread(void *arg)
{
    struct sale_load_job *job = arg;
    struct ps_mail mail = {.kind = GW_MAIL_LOADED, .ptr = job};

    job->err =
        ord_events_load(job->core->life, job->books, job->sku_count, job->epoch, &job->counter);
    if (ps_mailbox_post(job->core->control_mail, &mail) < 0) {
        ps_log(PS_LOG_ERROR, "load_not_delivered", PS_F_STR("sale", job->name));
        free(job);
    }
}

static void load(struct gw_control *control, struct gw_control_sale *sale)
{
    struct sale_load_job *job = calloc(1, sizeof *job);

    if (job != NULL) {
        *job = (struct sale_load_job){.core = control->core,
                                      .books = sale->books,
                                      .sku_count = sale->stored.doc.sku_count,
                                      .epoch = sale->epoch};
        memcpy(job->name, sale->stored.name, sizeof job->name);
        sale->arming = SALE_OPENING_LOADING;
        if (oq_log_call(control->core->log, load_on_log_thread, job) == 0)
            return;
    }
    free(job);
    try_later(control, sale);
}

void sale_opening_loaded(struct gw_control *control, struct sale_load_job *job)
{
    struct gw_control_sale *sale = gw_control_sale(control, job->name, strlen(job->name));

    if (sale != NULL && job->err < 0) {
        ps_log(PS_LOG_ERROR, "sale_not_loaded", PS_F_STR("sale", job->name),
               PS_F_STR("error", ps_err_text(job->err)));
        try_later(control, sale);
    } else if (sale != NULL) {
        sale->counter = job->counter;
        sale->arming = SALE_OPENING_DONE;
        control->dirty = true;
        ps_log(PS_LOG_INFO, "sale_armed", PS_F_STR("sale", job->name),
               PS_F_INT("epoch", job->epoch), PS_F_INT("orders", oq_sale_order_count(job->books)));
    }
    free(job);
}

/* --- control.db notes it --- */

struct noting {
    struct cfg_stored_sale stored;
};

static void apply_opened(struct gw_control *control, void *ctx)
{
    struct noting *noting = ctx;

    if (gw_control_put_sale(control, &noting->stored) < 0)
        ps_log(PS_LOG_ERROR, "sale_not_taken_over", PS_F_STR("sale", noting->stored.name));
}

static void done_opened(struct gw_control *control, int err, const struct ps_fault *fault,
                        void *ctx)
{
    struct noting *noting = ctx;
    struct gw_control_sale *sale =
        gw_control_sale(control, noting->stored.name, strlen(noting->stored.name));

    if (control->core->cluster != NULL) {
        if (err < 0)
            ps_log(PS_LOG_ERROR, "opening_not_noted", PS_F_STR("sale", noting->stored.name),
                   PS_F_STR("error", fault->text));
        clu_noted(control->core->cluster, noting->stored.name, err == 0);
    } else if (sale != NULL && err == 0) {
        load(control, sale);
    } else if (sale != NULL) {
        ps_log(PS_LOG_ERROR, "opening_not_noted", PS_F_STR("sale", noting->stored.name),
               PS_F_STR("error", fault->text));
        try_later(control, sale);
    }
    cfg_sale_doc_done(&noting->stored.doc);
    free(noting);
}

static void not_noted(struct gw_control *control, struct gw_control_sale *sale)
{
    if (control->core->cluster != NULL)
        clu_noted(control->core->cluster, sale->stored.name, false);
    else
        try_later(control, sale);
}

static void note(struct gw_control *control, struct gw_control_sale *sale, bool opened)
{
    struct noting *noting = calloc(1, sizeof *noting);
    struct cfg_store_job *job = cfg_store_job_new();
    int64_t now = ps_clock_wall_ms(control->core->clock);
    char target[PS_NAME_MAX + 8];

    if (noting == NULL || job == NULL ||
        cfg_sale_doc_copy(&sale->stored.doc, &noting->stored.doc) < 0) {
        free(noting);
        cfg_store_job_free(job);
        not_noted(control, sale);
        return;
    }
    memcpy(noting->stored.name, sale->stored.name, sizeof noting->stored.name);
    noting->stored.state = sale->stored.state;
    noting->stored.state.version++;
    noting->stored.state.updated_at_ms = now;
    noting->stored.state.opening = !opened;
    noting->stored.state.opened = opened;
    snprintf(target, sizeof target, "sales/%s", sale->stored.name);
    cfg_store_job_sale(job, noting->stored.name, &noting->stored.doc, &noting->stored.state);
    cfg_store_job_audit(job,
                        &(struct cfg_audit_entry){.at_ms = now,
                                                  .who = "system",
                                                  .peer = "",
                                                  .action = opened ? "sale.open" : "sale.opening",
                                                  .target = target});
    if (gw_control_change(control, job, apply_opened, done_opened, noting) < 0) {
        cfg_sale_doc_done(&noting->stored.doc);
        free(noting);
        not_noted(control, sale);
    }
}

void sale_opening_note_opening(struct gw_control *control, struct gw_control_sale *sale)
{
    note(control, sale, false);
}

void sale_opening_note(struct gw_control *control, struct gw_control_sale *sale)
{
    sale->arming = SALE_OPENING_NOTING;
    note(control, sale, true);
}

/* --- the records --- */

/* A name, because the sale may be gone when the outcome comes. */
struct awaited {
    char name[PS_NAME_MAX + 1];
};

static void append_stock(struct gw_control *control, struct gw_control_sale *sale);

static void on_record_outcome(struct gw_control *control, enum oq_outcome outcome,
                              struct oq_order *order, void *ctx)
{
    struct awaited *awaited = ctx;
    struct gw_control_sale *sale = gw_control_sale(control, awaited->name, strlen(awaited->name));

    (void)order;
    free(awaited);
    if (sale == NULL)
        return;
    if (outcome != OQ_LANDED)
        sale->failed = true;
    if (outcome != OQ_REFUSED)
        sale->logged = true;
    if (--sale->awaited > 0)
        return;
    if (sale->failed) {
        try_later(control, sale);
        return;
    }
    find_books(control, sale);
    if (sale->stored.state.opened)
        load(control, sale);
    else if (!sale->stocked)
        append_stock(control, sale);
    else
        sale_opening_note(control, sale);
}

/* `partition` is looked at for a fence only: other records go where their key says. */
static void append(struct gw_control *control, struct gw_control_sale *sale, uint32_t partition,
                   const struct oq_event *event)
{
    struct oq_log *log = control->core->log;
    struct awaited *awaited = calloc(1, sizeof *awaited);
    struct oq_ticket ticket;
    int err;

    if (awaited == NULL || gw_control_await(control, on_record_outcome, awaited, &ticket) < 0) {
        free(awaited);
        sale->failed = true;
        return;
    }
    memcpy(awaited->name, sale->stored.name, sizeof awaited->name);
    err = event->type == OQ_FENCED ? oq_log_append_to(log, partition, event, &ticket)
                                   : oq_log_append(log, event, &ticket);
    if (err < 0) {
        gw_control_unawait(control, &ticket);
        free(awaited);
        sale->failed = true;
        return;
    }
    sale->awaited++;
}

static int64_t highest_epoch(const struct gw_control *control, const struct gw_control_sale *sale)
{
    const struct oq_sale *books;
    int64_t highest = sale->epoch; /* an earlier try, which the log may still show */

    for (size_t i = 0; (books = oq_fold_sale_at(control->core->fold, i)) != NULL; i++)
        if (oq_sale_highest_epoch(books) > highest)
            highest = oq_sale_highest_epoch(books);
    return highest;
}

static void append_fences(struct gw_control *control, struct gw_control_sale *sale)
{
    struct gw_core *core = control->core;
    uint32_t partitions;

    find_books(control, sale); /* an earlier try may have left records all the same */
    if (sale->stored.state.opened ? !sale_opening_check(control, sale) : !check_skus(control, sale))
        return;
    partitions = ord_events_partitions(core, sale->books);
    sale->arming = SALE_OPENING_RECORDS;
    sale->awaited = 0;
    sale->failed = sale->stocked = false;
    sale->epoch = ord_epoch_next(highest_epoch(control, sale));
    for (uint32_t i = 0; i < partitions; i++)
        append(control, sale, i,
               &(struct oq_event){.type = OQ_FENCED,
                                  .rehearsal = sale->stored.doc.rehearsal,
                                  .sale = {sale->stored.name, strlen(sale->stored.name)},
                                  .epoch = sale->epoch,
                                  .at_ms = ps_clock_wall_ms(core->clock),
                                  .gateway = {core->gateway_id, strlen(core->gateway_id)},
                                  .partitions = partitions,
                                  .first = !sale->stored.state.opened});
    if (sale->awaited == 0) /* nothing was taken */
        try_later(control, sale);
}

static void append_stock(struct gw_control *control, struct gw_control_sale *sale)
{
    const struct cfg_sale_doc *doc = &sale->stored.doc;

    sale->stocked = true;
    for (size_t i = 0; i < doc->sku_count; i++) {
        char key[OQ_ADJUST_KEY_MAX + 1];
        size_t len = oq_initial_key(sale->stored.name, doc->skus[i].name, key);
        append(control, sale, 0,
               &(struct oq_event){.type = OQ_ADJUSTED,
                                  .rehearsal = doc->rehearsal,
                                  .adjust_key = {key, len},
                                  .sale = {sale->stored.name, strlen(sale->stored.name)},
                                  .epoch = sale->epoch,
                                  .at_ms = ps_clock_wall_ms(control->core->clock),
                                  .sku = {doc->skus[i].name, strlen(doc->skus[i].name)},
                                  .delta = doc->skus[i].stock});
    }
    if (sale->awaited == 0)
        try_later(control, sale);
}

static bool is_due(const struct gw_control_sale *sale, int64_t wall_ms)
{
    const struct cfg_sale_doc *doc = &sale->stored.doc;
    const struct cfg_sale_state *state = &sale->stored.state;

    if (state->opened)
        return true;
    return !state->ended && doc->opens_at_ms != INT64_MAX &&
           wall_ms >= doc->opens_at_ms - SALE_OPENING_LEAD_MS && wall_ms < doc->closes_at_ms;
}

/* The start is over: seeds are stored, sales that are to be sold from are armed or refused, and the
 * workers know of all that. */
static bool is_settled(const struct gw_control *control)
{
    const struct clu_cluster *cluster = control->core->cluster;

    if (cluster != NULL && !clu_is_up(cluster))
        return false;
    for (size_t i = 0; i < control->sale_count; i++) {
        const struct gw_control_sale *sale = control->sales[i];
        if (sale->arming == SALE_OPENING_DONE || sale->arming == SALE_OPENING_REFUSED ||
            (sale->arming == SALE_OPENING_NOT && !sale->stored.state.opened))
            continue;
        if (cluster == NULL || !clu_is_fenced(cluster, sale->stored.name))
            return false;
    }
    return gw_control_synced(control) && control->first_change == NULL && control->older == NULL &&
           !control->dirty;
}

static bool waits_for_spill(const struct gw_core *core, struct gw_control_sale *sale,
                            int64_t now_ns)
{
    if (!core->spills || !sale->stored.state.opened || oq_spill_count(core->log) == 0)
        return false;
    if (sale->spill_until_ns == 0)
        sale->spill_until_ns = now_ns + SPILL_NS;
    return now_ns < sale->spill_until_ns;
}

/* What was opened before is taken up, or built again, by the cluster itself. */
static void arm(struct gw_control *control, struct gw_control_sale *sale, int64_t now_ns)
{
    if (control->core->cluster == NULL) {
        if (sale->books == NULL && sale->stored.state.opened) {
            find_books(control, sale);
            control->dirty |= sale->books != NULL;
        }
        if (!waits_for_spill(control->core, sale, now_ns))
            append_fences(control, sale);
    } else if (!sale->stored.state.opened) {
        clu_open(control->core->cluster, sale);
    }
}

/* A counter in memory knows nothing of what another gateway sells. */
static void look_for_another(struct gw_control *control, struct gw_control_sale *sale)
{
    if (control->core->cluster != NULL || sale->arming != SALE_OPENING_DONE ||
        oq_sale_highest_epoch(sale->books) <= sale->epoch)
        return;
    sale->fenced = control->dirty = true;
    snprintf(sale->refused_why, sizeof sale->refused_why,
             "another gateway has fenced the sale in this topic, and the counter in memory is this "
             "one's alone; end the other gateway or give it a topic of its own (several need "
             "store.kind redis), then restart this one");
    refuse(control, sale);
}

void sale_opening_tick(struct gw_control *control)
{
    const struct gw_core *core = control->core;
    int64_t wall_ms = ps_clock_wall_ms(core->clock), now_ns = ps_clock_mono_ns(core->clock);

    for (size_t i = 0; i < control->sale_count; i++) {
        struct gw_control_sale *sale = control->sales[i];
        look_for_another(control, sale);
        if (gw_control_synced(control) && /* its stock may be another one in the cluster */
            sale->arming == SALE_OPENING_NOT && !sale->changing && is_due(sale, wall_ms) &&
            now_ns >= sale->retry_at_ns && ord_events_log_available(core))
            arm(control, sale, now_ns);
    }
    if (atomic_load(&core->ready) || !is_settled(control))
        return;
    report_unknown(control);
    atomic_store(&control->core->ready, true);
}
