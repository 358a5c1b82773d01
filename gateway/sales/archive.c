/* Archives a sale that is over. A sale is due if this gateway leads, the sale has been over for
 * archive.after_ms by every clock (is_due), and for some seconds nothing of it has been held, in
 * doubt or in progress. Then, one sale at a time and only while the gateway is calm:
 *
 *   the archive is written, read back and audited (archive_job.c, a thread of its own)
 *   -> the fold still has the archive's numbers
 *   -> sale.archived goes into each of its partitions
 *   -> every gateway sees it there: the fold forgets the sale (order_events.c, with the record),
 *   the counter is emptied, the journal deletes its records (queue/log_journal.c)
 *   -> the leader notes it in the sale's state, for logs that forget the record too
 *
 * A crash before the record leaves a file that is written anew; after the record, the next start
 * does whatever remains. A deleted rehearsal goes the same way without an archive, even if units
 * are held. keeper.c frees the memory of what was forgotten. */
#include "gateway/sales/archive_job.h"
#include "gateway/sales/sales_internal.h"

#include "common/program/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define LOOK_NS        PS_NS_PER_S       /* how often each sale is checked */
#define FINAL_NS       (3 * PS_NS_PER_S) /* no event of it for this long */
#define RETRY_FIRST_MS 5000
#define RETRY_MAX_MS   600000
#define REHEARSAL_MS   INT64_C(3600000)

/* One sale is archived at a time. */
struct sale_archives {
    struct sale_runs *runs;
    struct sale_loader *thread;
    struct sale_archive_job job;
    bool writing; /* the thread is working */
    char counts[OQ_EVENT_LONG_MAX];
};

int sale_archives_new(struct sale_runs *runs, struct sale_archives **ret_archives)
{
    struct sale_archives *archives = calloc(1, sizeof *archives);

    if (archives == NULL)
        return PS_E_NOMEM;
    archives->runs = runs;
    if (sale_loader_new(&archives->thread) < 0) {
        free(archives);
        return PS_E_NOMEM;
    }
    *ret_archives = archives;
    return 0;
}

void sale_archives_stop(struct sale_archives *archives)
{
    sale_loader_free(archives->thread);
    archives->thread = NULL;
}

void sale_archives_free(struct sale_archives *archives)
{
    if (archives == NULL)
        return;
    sale_loader_free(archives->thread);
    free(archives);
}

/* --- When it is due --- */

static bool is_calm(const struct sale_runs *runs)
{
    return runs->settings.is_calm == NULL || runs->settings.is_calm(runs->settings.ctx);
}

/* When the sale was over: an operator's end counts if it came first. INT64_MAX: it is not over. */
static int64_t ended_ms(struct sale_run *run, const struct sale_decided *decided, int64_t now_ms)
{
    int64_t closes_ms = decided->doc->closes_at_ms, ended = decided->state->ended_at_ms;

    if (!decided->state->ended)
        return closes_ms;
    if (ended == 0 && run->archive.seen_ended_ms == 0)
        run->archive.seen_ended_ms = now_ms; /* ended by a gateway that did not store the time */
    if (ended == 0)
        ended = run->archive.seen_ended_ms;
    return ended < closes_ms ? ended : closes_ms;
}

/* By the wall clock. */
static bool is_over_long_enough(struct sale_run *run, const struct sale_decided *decided)
{
    const struct sale_runs *runs = run->runs;
    int64_t after_ms = runs->settings.archive.after_ms;
    int64_t now_ms = clu_earlier_ms(runs->cluster, ps_clock_wall_ms(runs->settings.clock));

    if (runs->settings.archive.dir == NULL || !decided->state->opened || now_ms == INT64_MIN)
        return false;
    int64_t end_ms = ended_ms(run, decided, now_ms);
    if (decided->doc->rehearsal && after_ms > REHEARSAL_MS)
        after_ms = REHEARSAL_MS;
    return end_ms != INT64_MAX && now_ms >= end_ms && now_ms - end_ms >= after_ms;
}

/* An archive is final, so the wall clock alone does not decide that a sale is over: it must have
 * said so for archive.rest_ms of this process without a jump. What an operator has ended is over by
 * any clock. */
static bool is_due(struct sale_run *run, const struct sale_decided *decided, int64_t now_ns)
{
    struct sale_archive *archive = &run->archive;
    const struct sale_runs *runs = run->runs;
    bool was = archive->clock_says_due;

    archive->clock_says_due = is_over_long_enough(run, decided);
    if (!was)
        archive->due_ns = now_ns;
    if (archive->due_ns < runs->steady.since_ns)
        archive->due_ns = runs->steady.since_ns;
    return archive->clock_says_due &&
           (decided->state->ended ||
            now_ns - archive->due_ns >= runs->settings.archive.rest_ms * PS_NS_PER_MS);
}

/* Is nothing of it held, in doubt, or in progress? */
static bool is_final(const struct sale_run *run)
{
    if (run->view.state != SALE_SERVING || run->effects.count > 0 || !sale_log_holds_nothing(run))
        return false;
    if (run->runs->shared)
        return run->in_redis != SALE_IN_REDIS_FOREIGN && run->in_doubt == 0;
    return sale_counter_holds_nothing(run);
}

static int compare_names(const void *a, const void *b)
{
    const struct oq_count *one = a, *other = b;

    return ps_str_compare(one->sku, other->sku);
}

/* The numbers of all SKUs as the fold has them, in their one canonical form: by name, because their
 * order in the fold is that in which partitions were read. */
static struct ps_str print_counts(const struct oq_sale *log_sale, char *text)
{
    struct oq_count counts[OQ_COUNTS_MAX];
    uint32_t count = (uint32_t)oq_sale_sku_count(log_sale);
    struct ps_buf buf;

    if (count > OQ_COUNTS_MAX) /* a foreign record has named more */
        count = OQ_COUNTS_MAX;
    for (uint32_t i = 0; i < count; i++) {
        struct oq_totals totals;
        oq_sale_totals(log_sale, i, &totals);
        counts[i] = (struct oq_count){ps_str(oq_sale_sku(log_sale, i)), totals.adjustments,
                                      totals.held, totals.confirmed, totals.released};
    }
    qsort(counts, count, sizeof counts[0], compare_names);
    ps_buf_init(&buf, text, OQ_EVENT_LONG_MAX);
    oq_counts_put(&buf, counts, count);
    return (struct ps_str){buf.at, buf.len};
}

/* --- The record --- */

static void fail(struct sale_run *run, const struct ps_fault *why)
{
    struct sale_archive *archive = &run->archive;

    archive->stage = SALE_ARCHIVE_IDLE;
    archive->wait_ms = archive->wait_ms == 0 ? RETRY_FIRST_MS : 2 * archive->wait_ms;
    if (archive->wait_ms > RETRY_MAX_MS)
        archive->wait_ms = RETRY_MAX_MS;
    archive->retry_ns = sale_now_ns(run->runs) + archive->wait_ms * PS_NS_PER_MS;
    (void)snprintf(archive->why, sizeof archive->why, "%s: %s", why->path, why->text);
    ps_log(PS_LOG_ERROR, "sale_not_archived", SALE_LOG_NAME(run), PS_F_STR("why", archive->why));
}

static void append_to(struct sale_slot *slot, uint32_t partition, const struct oq_event *event)
{
    struct sale_runs *runs = slot->run->runs;
    struct oq_ticket ticket = {
        .owner = runs->settings.owner, .kind = SALE_TICKET, .handle = (uint64_t)(uintptr_t)slot};

    slot->out = oq_log_append_to(runs->log, partition, event, &ticket) == 0;
    slot->run->archive.slots_out += slot->out;
}

/* Appends to all partitions of the sale, including those that already have the record: a second one
 * changes nothing in the fold. The next try appends what is refused now. */
static void append_records(struct sale_run *run, const struct oq_archive_end *end)
{
    struct sale_archive *archive = &run->archive;
    uint32_t partitions = oq_sale_partitions(run->view.log_sale);
    static const struct ps_fault why = {"log", "it does not take the record now"};
    char counts[OQ_EVENT_LONG_MAX];
    const struct oq_event event = {.type = OQ_ARCHIVED,
                                   .rehearsal = run->rehearsal,
                                   .sale = {run->name, strlen(run->name)},
                                   .epoch = oq_sale_highest_epoch(run->view.log_sale),
                                   .partitions = partitions,
                                   .counts = print_counts(run->view.log_sale, counts),
                                   .orders = (int64_t)oq_sale_order_count(run->view.log_sale),
                                   .lines = end != NULL ? end->lines : 0,
                                   .last_hash = ps_str(end != NULL ? end->last_hash : ""),
                                   .sha256 = ps_str(end != NULL ? end->sha256 : ""),
                                   .discarded = end == NULL,
                                   .at_ms = ps_clock_wall_ms(run->runs->settings.clock)};

    if (archive->slots == NULL &&
        (archive->slots = calloc(partitions, sizeof *archive->slots)) == NULL) {
        fail(run, &why);
        return;
    }
    for (uint32_t i = 0; i < partitions; i++) {
        archive->slots[i] = (struct sale_slot){.run = run, .archives = true};
        append_to(&archive->slots[i], i, &event);
    }
    archive->stage = SALE_ARCHIVE_APPENDING;
    if (archive->slots_out == 0)
        fail(run, &why);
}

void sale_archive_landed(struct sale_slot *slot, enum oq_outcome outcome)
{
    struct sale_run *run = slot->run;
    static const struct ps_fault why = {"log", "it has not taken the record"};

    (void)outcome; /* the view shows the outcome */
    slot->out = false;
    if (--run->archive.slots_out > 0 || run->archive.stage != SALE_ARCHIVE_APPENDING)
        return;
    if (!oq_sale_archived(run->view.log_sale))
        fail(run, &why);
}

/* --- Writing it --- */

static void run_job(const _Atomic(bool) *stop, void *arg)
{
    struct sale_archive_job *job = arg;
    struct ps_mail mail = {
        .kind = job->settings->mail_kind, .value = SALE_MAIL_ARCHIVE, .ptr = job->run};

    (void)setpriority(PRIO_PROCESS, 0, 10); /* of this thread: buyers come first */
    sale_archive_write(stop, job);
    while (!atomic_load(stop) && ps_mailbox_post(job->settings->mailbox, &mail) < 0)
        (void)usleep(10000); /* the queue is full: anything else is more urgent */
}

static void begin(struct sale_run *run)
{
    struct sale_archives *archives = run->runs->archives;
    struct sale_archive_job *job = &archives->job;

    *job = (struct sale_archive_job){.job = {.run = run_job, .arg = job},
                                     .run = run,
                                     .settings = &run->runs->settings,
                                     .log = run->runs->log};
    memcpy(job->sale, run->name, sizeof job->sale);
    job->end.partitions = oq_sale_partitions(run->view.log_sale);
    job->end.orders = (int64_t)oq_sale_order_count(run->view.log_sale);
    job->end.counts = print_counts(run->view.log_sale, job->end.text);
    run->archive.stage = SALE_ARCHIVE_WRITING;
    archives->writing = true;
    sale_loader_add(archives->thread, &job->job);
}

void sale_archive_written(struct sale_run *run)
{
    struct sale_archives *archives = run->runs->archives;
    const struct sale_archive_job *job = &archives->job;
    static const struct ps_fault changed = {
        "log", "something has come into the sale while it was being archived"};

    archives->writing = false;
    run->archive.stage = SALE_ARCHIVE_IDLE;
    if (run->archive.discard || oq_sale_archived(run->view.log_sale))
        return;
    if (job->err < 0) {
        fail(run, &job->fault);
        return;
    }
    struct ps_str counts = print_counts(run->view.log_sale, archives->counts);
    if (!is_final(run) || !ps_str_same(counts, job->end.counts) ||
        (int64_t)oq_sale_order_count(run->view.log_sale) != job->end.orders) {
        fail(run, &changed);
        return;
    }
    if (job->differs)
        ps_log(PS_LOG_ERROR, "archive_differs", SALE_LOG_NAME(run), PS_F_STR("path", job->path),
               PS_F_STR("why", "another archive of this sale is there and was kept"));
    append_records(run, &job->end);
}

/* --- Letting go --- */

/* An empty counter replaces the old one: in memory at every gateway, in Redis by the leader, on a
 * thread that may block. One try: a failure only leaves memory in use. */
static void empty_counter(const _Atomic(bool) *stop, void *arg)
{
    const struct sale_run *run = arg;
    const struct oq_sale *log_sale = run->view.log_sale;
    const char *skus[INV_SKUS_MAX];
    struct inv_load *load;
    struct inv_sale *same;

    (void)stop;
    for (uint32_t i = 0; i < run->archive.empty_skus; i++)
        if (i >= INV_SKUS_MAX || (skus[i] = oq_sale_sku(log_sale, i)) == NULL)
            return;
    if (inv_load_new(run->runs->settings.store, run->name, run->archive.empty_epoch, skus,
                     run->archive.empty_skus, &load) == 0)
        (void)!inv_load_install(load, &same);
}

static void forget_counter(void *arg)
{
    struct sale_run *run = arg;

    sale_counters_drop(&run->runs->counters, run->view.log_sale);
}

static void let_go(struct sale_run *run)
{
    struct sale_runs *runs = run->runs;
    struct inv_sale *counter = run->view.counter;
    bool discarded = run->archive.discard;

    sale_end_try(run);
    if (run->view.state == SALE_REFUSED)
        atomic_fetch_sub(&runs->refused, 1);
    sale_set_state(run, SALE_ARCHIVED);
    run->view.counter = NULL;
    run->resting = true;
    run->archive.why[0] = '\0';
    sale_effect_list_done(&run->effects);
    free(run->forgotten);
    run->forgotten = NULL;
    if (counter != NULL) {
        run->archive.empty_skus = inv_sale_sku_count(counter);
        run->archive.empty_epoch = inv_sale_epoch(counter) + 1;
        run->archive.empty = (struct sale_loader_job){.run = empty_counter, .arg = run};
    }
    if (counter != NULL && !runs->shared) {
        (void)!oq_log_call(runs->log, forget_counter, run);
        empty_counter(NULL, run);
    } else if (counter != NULL && clu_leads(runs->cluster)) {
        sale_loader_add(runs->archives->thread, &run->archive.empty);
    }
    sale_report_changed(run);
    ps_log(PS_LOG_INFO, "sale_archived", SALE_LOG_NAME(run), PS_F_FLAG("discarded", discarded));
}

/* --- One sale --- */

static void look(struct sale_run *run, const struct sale_decided *decided, int64_t now_ns)
{
    struct sale_archives *archives = run->runs->archives;
    struct sale_archive *archive = &run->archive;
    size_t orders = run->view.log_sale != NULL ? oq_sale_order_count(run->view.log_sale) : 0;
    bool may = clu_leads(run->runs->cluster) && sale_log_takes_all(run->runs->log);

    archive->due = is_due(run, decided, now_ns);
    if (run->view.log_sale == NULL || oq_sale_partitions(run->view.log_sale) == 0)
        return;
    if (archive->discard) {
        if (archive->stage == SALE_ARCHIVE_IDLE && archive->slots_out == 0 &&
            now_ns >= archive->retry_ns && sale_log_takes_all(run->runs->log))
            append_records(run, NULL);
        return;
    }
    if (!archive->due || !is_final(run) || orders != archive->orders) {
        archive->orders = orders;
        archive->final_ns = now_ns;
        return;
    }
    if (archive->stage == SALE_ARCHIVE_IDLE && archive->slots_out == 0 && may &&
        now_ns >= archive->retry_ns && now_ns - archive->final_ns >= FINAL_NS &&
        !archives->writing && is_calm(run->runs))
        begin(run);
}

/* Any gateway may be the first to know; notes of several gateways are the same. */
static void note(struct sale_run *run, const struct sale_decided *decided, int64_t now_ns)
{
    if (decided->state->archived || run->archive.noting || now_ns < run->archive.retry_ns ||
        !clu_leads(run->runs->cluster) || !decided->settled)
        return;
    run->archive.noting = true;
    run->runs->host.note(run->name, CFG_NOTE_ARCHIVED, run->runs->host.ctx);
}

void sale_archive_noted(struct sale_run *run, bool noted)
{
    run->archive.noting = false;
    if (!noted)
        run->archive.retry_ns = sale_now_ns(run->runs) + RETRY_FIRST_MS * PS_NS_PER_MS;
}

bool sale_archive_step(struct sale_run *run)
{
    const struct oq_sale *log_sale = run->view.log_sale;
    struct sale_archive *archive = &run->archive;
    int64_t now_ns = sale_now_ns(run->runs);
    struct sale_decided decided;

    if (run->view.state != SALE_ARCHIVED && log_sale != NULL && oq_sale_archived(log_sale))
        let_go(run);
    if (now_ns < archive->look_ns)
        return run->view.state == SALE_ARCHIVED;
    archive->look_ns = now_ns + LOOK_NS;
    if (!sale_get_decided(run, &decided))
        return run->view.state == SALE_ARCHIVED;
    run->rehearsal = decided.doc->rehearsal;
    /* The log may have lost the record by now, as it has lost the sale. */
    if (run->view.state != SALE_ARCHIVED && decided.state->archived)
        let_go(run);
    if (run->view.state == SALE_ARCHIVED)
        note(run, &decided, now_ns);
    else
        look(run, &decided, now_ns);
    return run->view.state == SALE_ARCHIVED;
}

const char *sale_archive_trouble(const struct sale_run *run)
{
    return run->archive.why;
}

bool sale_is_archiving(const struct sale_run *run)
{
    return run->view.state == SALE_ARCHIVED || run->archive.due || run->archive.discard;
}
