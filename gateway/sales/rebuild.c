/* Builds a sale's counters from the log, under a new epoch.
 *
 *   rebuild:  claim -> drain peers -> fences -> read back ---------------------------------> load
 *   opening:  claim -> note --------> fences -> read back -> stock -> read back -> note -> load
 *
 * Why it is exact: a fence in every partition of the sale ends an epoch. After its fence a
 * partition accepts only orders of the new epoch, and those exist only after the install, which is
 * counted from a view that has reached every fence. So the gateway need not wait for anybody, and
 * no stock is held back for records that may still arrive: they will be void.
 *
 * - Claim: a lock in Redis, and no fence of another gateway that is higher than what is installed
 *   and less than 30 s old while its author is alive; otherwise two gateways would end each other's
 *   epochs forever. The lock only saves work; the log's fences decide. If the fence's author had no
 *   heartbeat in this Redis, it uses another Redis: ignore the fence, unless other gateways are
 *   alive here.
 * - Drain: live gateways get up to 500 ms to bring what they have in progress into the log, so that
 *   it still counts. A gateway alone waits up to 10 s for its own spill.
 * - An opening is noted twice. First `opening`, by compare and set: a change of the document that
 *   was accepted anywhere before is here or makes the note fail, and from then on no gateway lets
 *   the stock change, whatever its view shows; so the stock that goes into the log is the
 *   document's. And a gateway that cannot write fences nothing. Then `opened`: the log has all of
 *   it.
 * - An opening belongs to one cluster. If the log has fences of a sale whose opening was not noted
 *   here, or first ones that name another opening, another cluster sells it from the same topic,
 *   with a Redis of its own: refused.
 * - A gateway that keeps failing locally after its fences backs off longer than its claim lasts, so
 *   that another can try.
 * - A fence has landed when this gateway's own view shows it. A higher one than ours, or an equal
 *   one by another author: give up.
 * - Load: one sale at a time (load.c says why it is one cut although the view continues); other
 *   sales sell meanwhile.
 * - Install: at most once. Without a reply, this looks for the epoch in Redis for a while; if it
 *   does not show, everything begins again under a new epoch.
 *
 * Every record may be appended twice: the fold takes the first. */
#include "gateway/sales/sales_internal.h"

#include "common/program/log.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOCK_MS    3000
#define RELOCK_NS  PS_NS_PER_S
#define DRAIN_NS   (500 * PS_NS_PER_MS)
#define SPILL_NS   (10 * PS_NS_PER_S)
#define HEARTBEATS 3 /* after this many, what the others report is up to date */
#define PATIENCE_NS                                                                                \
    (10 * PS_NS_PER_S)         /* for records to be read back; then everything begins again */
#define UNKNOWN_NS PS_NS_PER_S /* for an install without a reply to show in Redis */
#define RECORDS_MAX                                                                                \
    4096 /* under way, of all sales: each outcome is mail, and the box has its bounds */
#define RETRY_MS     200
#define RETRY_MAX_MS 5000
/* Two Redis servers that each serve some gateways make them end each other's epochs. That is safe,
 * but must be rare: a gateway that has rebuilt a sale within REPEAT_NS waits longer each time. */
#define REPEAT_NS   (60 * PS_NS_PER_S)
#define REPEAT_MS   250
#define REPEAT_MOST 8
#define STRANGE_NS  (5 * PS_NS_PER_S) /* for a note of this cluster to appear here */
#define ASIDE_MS                                                                                   \
    800 /* a gateway that would wait this long after a local failure lets others go first */
#define ASIDE_NS (SALE_CLAIM_NS + 5 * PS_NS_PER_S)

/* --- the lock --- */

static void on_renewed(int err, const struct ps_uuid *holder, int64_t ttl_ms, void *ctx)
{
    (void)err, (void)holder, (void)ttl_ms, (void)ctx; /* else the lock ends by itself */
}

static void renew_lock(struct sale_run *run)
{
    struct sale_rebuild *rebuild = &run->rebuild;

    if (rebuild->locked_ns == 0 || sale_now_ns(run->runs) - rebuild->locked_ns < RELOCK_NS)
        return;
    rebuild->locked_ns = sale_now_ns(run->runs);
    (void)!inv_shared_lease(run->runs->settings.store, run->name, LOCK_MS, on_renewed, NULL);
}

/* --- the end of a try --- */

/* Returns to the state in which the ended try began. */
static void step_back(struct sale_run *run)
{
    sale_set_state(run, run->rebuild.opening ? SALE_WAITING : SALE_FENCED);
    run->rebuild.opening = false;
}

/* The fault is after its fences, and no other gateway would have it: this disk, this memory. (Redis
 * or Kafka may be away for all; nobody should stand aside when they are back.) */
static bool is_own_fault(const struct sale_run *run)
{
    return run->view.state == SALE_NOTING_OPENED ||
           (run->view.state == SALE_LOADING && run->rebuild.err == PS_E_NOMEM);
}

/* Back to the beginning, after a wait that grows, differs between gateways, and becomes short again
 * after a success. */
static void give_up(struct sale_run *run, const char *why)
{
    struct sale_rebuild *rebuild = &run->rebuild;
    int64_t least_ms = rebuild->wait_ms != 0 ? rebuild->wait_ms : RETRY_MS;
    int64_t wait_ms = least_ms + randombytes_uniform((uint32_t)least_ms);

    rebuild->wait_ms = least_ms * 2 < RETRY_MAX_MS ? least_ms * 2 : RETRY_MAX_MS;
    rebuild->retry_ns = sale_now_ns(run->runs) + wait_ms * PS_NS_PER_MS;
    if (is_own_fault(run) && wait_ms >= ASIDE_MS && !clu_is_alone(run->runs->cluster))
        rebuild->retry_ns = sale_now_ns(run->runs) + ASIDE_NS;
    sale_release_lock(run);
    step_back(run);
    ps_log(PS_LOG_WARN, "sale_not_rebuilt", SALE_LOG_NAME(run), PS_F_INT("epoch", rebuild->epoch),
           PS_F_STR("why", why));
}

static void wait_for_another(struct sale_run *run)
{
    run->rebuild.retry_ns = sale_now_ns(run->runs) + RETRY_MS * PS_NS_PER_MS;
    step_back(run);
}

/* --- claim --- */

static void begin_fencing(struct sale_run *run, const struct sale_decided *decided);

/* No other gateway prevents this one from building the sale. */
static void begin_work(struct sale_run *run, const struct sale_decided *decided)
{
    struct sale_rebuild *rebuild = &run->rebuild;

    rebuild->heartbeats = clu_heartbeats(run->runs->cluster);
    if (!rebuild->opening) {
        if (run->runs->shared) /* else each start would log it for every sale */
            ps_log(PS_LOG_INFO, "sale_rebuild_begins", SALE_LOG_NAME(run));
        sale_set_state(run, SALE_DRAINING_PEERS);
        sale_rebuild_step(run, decided);
        return;
    }
    ps_log(PS_LOG_INFO, "sale_opening", SALE_LOG_NAME(run));
    if (decided->state->opening) {
        begin_fencing(run, decided);
    } else {
        sale_set_state(run, SALE_NOTING_OPENING);
        run->runs->host.note(run->name, CFG_NOTE_OPENING, run->runs->host.ctx);
    }
}

/* A note may be on its way for up to STRANGE_NS. True: the try has ended. */
static bool is_strange(struct sale_run *run, const struct sale_decided *decided)
{
    struct sale_rebuild *rebuild = &run->rebuild;
    int64_t now_ns = sale_now_ns(run->runs);

    if (!sale_is_opened_elsewhere(run, decided)) {
        rebuild->strange_ns = 0;
        return false;
    }
    if (rebuild->strange_ns == 0)
        rebuild->strange_ns = now_ns;
    if (now_ns - rebuild->strange_ns < STRANGE_NS)
        wait_for_another(run);
    else
        sale_refuse_opened_elsewhere(run);
    return true;
}

static void on_locked(int err, const struct ps_uuid *holder, int64_t ttl_ms, void *ctx)
{
    struct sale_run *run = ctx;
    struct sale_rebuild *rebuild = &run->rebuild;
    struct sale_decided decided;

    (void)ttl_ms;
    rebuild->waits = SALE_WAITS_FOR_NOBODY;
    if (run->runs->stopped || run->view.state != SALE_CLAIMING)
        return;
    if (err < 0 || !sale_get_decided(run, &decided) || !decided.settled ||
        clu_lives(run->runs->cluster, holder)) {
        wait_for_another(run);
        return;
    }
    if (clu_is_own(run->runs->cluster, holder)) /* else its holder is dead */
        rebuild->locked_ns = sale_now_ns(run->runs);
    if (!is_strange(run, &decided))
        begin_work(run, &decided);
}

static void on_installed(int err, const struct inv_installed *installed, void *ctx)
{
    struct sale_run *run = ctx;
    struct sale_rebuild *rebuild = &run->rebuild;

    rebuild->waits = SALE_WAITS_FOR_NOBODY;
    if (run->runs->stopped || run->view.state != SALE_CLAIMING)
        return;
    if (err == 0 && rebuild->opening && sale_is_of_another_log(run, installed->epoch)) {
        give_up(run, "Redis has counters of a sale of this name that were not built from this "
                     "log: sell under another name, use another database, or delete them");
        return;
    }
    if (err == 0 && installed->epoch >= SALE_EPOCH_MOST) {
        give_up(run, "Redis has counters of it under an epoch that no gateway chooses: delete its "
                     "key ps:{sale}:current");
        return;
    }
    /* What is installed was opened, and its document will soon say so here, too. */
    if (err < 0 || (rebuild->opening && installed->epoch >= 0) ||
        sale_is_claimed(run, installed->epoch)) {
        wait_for_another(run);
        return;
    }
    rebuild->installed = installed->epoch;
    if (inv_shared_lease(run->runs->settings.store, run->name, LOCK_MS, on_locked, run) ==
        INV_PENDING)
        rebuild->waits = SALE_WAITS_FOR_REDIS;
    else
        wait_for_another(run);
}

void sale_rebuild_start(struct sale_run *run, const struct sale_decided *decided, bool opening)
{
    struct sale_runs *runs = run->runs;
    struct sale_rebuild *rebuild = &run->rebuild;

    if (rebuild->waits != SALE_WAITS_FOR_NOBODY || sale_now_ns(runs) < rebuild->retry_ns ||
        !sale_log_takes_all(runs->log) || !clu_may_act(runs->cluster))
        return;
    /* An earlier try may still have left records. */
    if (!sale_check_opening(run, decided->state) ||
        (opening && !sale_check_skus(run, decided->doc)))
        return;
    rebuild->opening = opening;
    rebuild->installed = -1;
    rebuild->began_ns = sale_now_ns(runs);
    sale_set_state(run, SALE_CLAIMING);
    if (!runs->shared) {
        begin_work(run, decided);
        return;
    }
    if (inv_shared_installed(runs->settings.store, run->name, on_installed, run) == INV_PENDING)
        rebuild->waits = SALE_WAITS_FOR_REDIS;
    else
        wait_for_another(run);
}

static bool is_drained(const struct sale_run *run)
{
    const struct sale_runs *runs = run->runs;
    int64_t waited_ns = sale_now_ns(runs) - run->since_ns;
    struct oq_log_view log;

    if (runs->shared)
        return waited_ns >= DRAIN_NS ||
               (clu_heartbeats(runs->cluster) >= run->rebuild.heartbeats + HEARTBEATS &&
                clu_is_quiet(runs->cluster));
    oq_log_view(runs->log, &log);
    return log.spilled == 0 || waited_ns >= SPILL_NS;
}

/* --- records --- */

static void append_record(struct sale_slot *slot, uint32_t partition, const struct oq_event *event)
{
    struct sale_runs *runs = slot->run->runs;
    struct oq_ticket ticket = {
        .owner = runs->settings.owner, .kind = SALE_TICKET, .handle = (uint64_t)(uintptr_t)slot};

    if (slot->out || runs->records_out >= RECORDS_MAX)
        return;
    slot->out = (event->type == OQ_FENCED ? oq_log_append_to(runs->log, partition, event, &ticket)
                                          : oq_log_append(runs->log, event, &ticket)) == 0;
    slot->run->rebuild.slots_out += slot->out;
    runs->records_out += slot->out;
}

void sale_rebuild_landed(struct sale_slot *slot, enum oq_outcome outcome)
{
    struct sale_run *run = slot->run;
    struct sale_decided decided;

    slot->out = false;
    run->rebuild.slots_out--;
    run->runs->records_out--;
    if (outcome != OQ_REFUSED)
        run->logged = true;
    if (outcome == OQ_LANDED && sale_get_decided(run, &decided))
        sale_rebuild_step(run, &decided); /* the view shows whether all is there */
}

static uint32_t partitions_of(const struct sale_run *run)
{
    const struct oq_sale *log_sale = run->view.log_sale;
    uint32_t partitions = log_sale != NULL ? oq_sale_partitions(log_sale) : 0;

    return partitions != 0 ? partitions : oq_log_partitions(run->runs->log);
}

/* A slot for each record of the try. */
static int make_slots(struct sale_run *run, size_t count)
{
    struct sale_rebuild *rebuild = &run->rebuild;

    if (rebuild->slot_count >= count)
        return 0;
    if (rebuild->slots_out > 0) /* of an earlier try, with fewer partitions */
        return PS_E_BUSY;
    free(rebuild->slots);
    rebuild->slots = calloc(count, sizeof *rebuild->slots);
    rebuild->slot_count = rebuild->slots != NULL ? count : 0;
    if (rebuild->slots == NULL)
        return PS_E_NOMEM;
    for (size_t i = 0; i < count; i++)
        rebuild->slots[i].run = run;
    return 0;
}

static void begin_fencing(struct sale_run *run, const struct sale_decided *decided)
{
    if (!sale_choose_epoch(run))
        return;
    sale_set_state(run, SALE_FENCING);
    run->rebuild.partitions = partitions_of(run);
    if (make_slots(run, run->rebuild.partitions + decided->doc->sku_count) < 0)
        give_up(run, "records of an earlier try are still under way, or memory is short");
    else
        sale_rebuild_step(run, decided);
}

/* Another gateway's fence ends this try. */
static bool is_overtaken(struct sale_run *run)
{
    const struct sale_runs *runs = run->runs;
    struct sale_fence fence = {0};
    bool own;

    if (run->view.log_sale == NULL)
        return false;
    sale_effects_last_fence(runs->effects, run->view.log_sale, &fence);
    own = strcmp(fence.gateway, runs->settings.gateway_id) == 0; /* maybe of an earlier start */
    if (fence.epoch < run->rebuild.epoch || (fence.epoch == run->rebuild.epoch && own))
        return false;
    if (runs->shared || own)
        give_up(run, "another gateway has fenced it, too");
    else
        sale_refuse_other(run);
    return true;
}

/* Appends the fences that the view does not show. True: it shows them all. */
static bool fence_all(struct sale_run *run, const struct sale_decided *decided)
{
    const struct sale_settings *settings = &run->runs->settings;
    struct sale_rebuild *rebuild = &run->rebuild;
    const struct oq_sale *log_sale = run->view.log_sale;
    const char *opening_id = decided->state->opening_id;
    bool all = true;

    for (uint32_t i = 0; i < rebuild->partitions; i++) {
        if (log_sale != NULL && oq_sale_epoch(log_sale, i) >= rebuild->epoch)
            continue;
        all = false;
        append_record(
            &rebuild->slots[i], i,
            &(struct oq_event){.type = OQ_FENCED,
                               .rehearsal = decided->doc->rehearsal,
                               .sale = {run->name, strlen(run->name)},
                               .epoch = rebuild->epoch,
                               .at_ms = ps_clock_wall_ms(settings->clock),
                               .gateway = {settings->gateway_id, strlen(settings->gateway_id)},
                               .partitions = rebuild->partitions,
                               .first = rebuild->opening,
                               .opening_id = {opening_id, strlen(opening_id)}});
    }
    return all;
}

static bool stock_all(struct sale_run *run, const struct cfg_sale_doc *doc)
{
    const struct sale_rebuild *rebuild = &run->rebuild;
    bool all = true;

    for (size_t i = 0; i < doc->sku_count; i++) {
        const char *sku = doc->skus[i].name;
        char key[OQ_ADJUST_KEY_MAX + 1];
        if (sale_is_stocked(run, sku))
            continue;
        all = false;
        append_record(&rebuild->slots[rebuild->partitions + i], 0,
                      &(struct oq_event){.type = OQ_ADJUSTED,
                                         .rehearsal = doc->rehearsal,
                                         .adjust_key = {key, oq_initial_key(run->name, sku, key)},
                                         .sale = {run->name, strlen(run->name)},
                                         .epoch = rebuild->epoch,
                                         .at_ms = ps_clock_wall_ms(run->runs->settings.clock),
                                         .sku = {sku, strlen(sku)},
                                         .delta = doc->skus[i].stock});
    }
    return all;
}

/* --- load and install --- */

/* On the loader's thread; for a counter in memory, on the log's. */
static void run_load(const _Atomic(bool) *stop, void *arg)
{
    struct sale_run *run = arg;
    struct sale_rebuild *rebuild = &run->rebuild;
    const struct sale_settings *settings = &run->runs->settings;
    struct ps_mail mail = {.kind = settings->mail_kind, .ptr = run};

    rebuild->err = PS_E_CONFLICT;
    if (oq_sale_highest_epoch(run->view.log_sale) == rebuild->epoch)
        rebuild->err = sale_load(run, rebuild->sku_count, rebuild->epoch, stop, &rebuild->counter);
    if (rebuild->err == 0 && !run->runs->shared)
        rebuild->err =
            sale_counters_set(&run->runs->counters, run->view.log_sale, rebuild->counter);
    if (ps_mailbox_post(settings->mailbox, &mail) < 0)
        ps_log(PS_LOG_ERROR, "load_not_delivered", SALE_LOG_NAME(run));
}

static void run_load_here(void *arg)
{
    run_load(NULL, arg);
}

static void begin_load(struct sale_run *run, const struct cfg_sale_doc *doc)
{
    struct sale_rebuild *rebuild = &run->rebuild;

    sale_set_state(run, SALE_LOADING);
    rebuild->sku_count = doc->sku_count;
    rebuild->waits = SALE_WAITS_FOR_LOADER;
    if (run->runs->shared) {
        rebuild->job = (struct sale_loader_job){.run = run_load, .arg = run};
        sale_loader_add(run->runs->loader, &rebuild->job);
    } else if (oq_log_call(run->runs->log, run_load_here, run) < 0) {
        rebuild->waits = SALE_WAITS_FOR_NOBODY;
        rebuild->err = PS_E_CLOSED;
        give_up(run, "the log takes no call");
    }
}

static void note_installed(struct sale_run *run)
{
    struct sale_rebuild *rebuild = &run->rebuild;
    int64_t now_ns = sale_now_ns(run->runs);
    int64_t took_ns = now_ns - rebuild->began_ns;

    if (!rebuild->opening && run->runs->shared) {
        ps_metric_observe_ns(run->runs->shard, GW_M_REBUILD_SECONDS, 0, took_ns);
        ps_log(PS_LOG_INFO, "sale_rebuilt", SALE_LOG_NAME(run), PS_F_INT("epoch", rebuild->epoch),
               PS_F_INT("took_ms", took_ns / PS_NS_PER_MS));
    }
    sale_serve(run, rebuild->counter);
    if (now_ns - rebuild->installed_ns > REPEAT_NS)
        rebuild->repeats = 0;
    else if (rebuild->repeats < REPEAT_MOST)
        rebuild->repeats++;
    rebuild->installed_ns = now_ns;
    rebuild->retry_ns = now_ns + rebuild->repeats * rebuild->repeats * REPEAT_MS * PS_NS_PER_MS;
}

void sale_rebuild_loaded(struct sale_run *run)
{
    struct sale_rebuild *rebuild = &run->rebuild;
    char why[256], text[400];

    rebuild->waits = SALE_WAITS_FOR_NOBODY;
    if (run->view.state != SALE_LOADING)
        return;
    if (rebuild->err == 0) {
        note_installed(run);
    } else if (rebuild->err == PS_E_UNKNOWN) {
        rebuild->opening = false; /* that is noted; attaching finds what is installed */
        sale_set_state(run, SALE_VERIFYING_INSTALL);
    } else {
        inv_store_load_error(run->runs->settings.store, why, sizeof why);
        (void)snprintf(text, sizeof text, "%s: %s", ps_err_text(rebuild->err), why);
        give_up(run, rebuild->err == PS_E_CONFLICT ? "another gateway was quicker" : text);
    }
}

/* --- step by step --- */

/* The whole beginning is in the view. Refuses the sale for good if a foreign record has named a SKU
 * of the sale before its own. */
static void end_opening(struct sale_run *run, const struct sale_decided *decided)
{
    if (!sale_check_beginning(run, decided->doc))
        return;
    if (decided->state->opened) {
        begin_load(run, decided->doc);
        return;
    }
    sale_set_state(run, SALE_NOTING_OPENED);
    run->runs->host.note(run->name, CFG_NOTE_OPENED, run->runs->host.ctx);
}

void sale_rebuild_noted(struct sale_run *run, bool noted)
{
    enum sale_state state = run->view.state;
    struct sale_decided decided;

    if ((state != SALE_NOTING_OPENING && state != SALE_NOTING_OPENED) ||
        !sale_get_decided(run, &decided))
        return;
    if (!noted)
        give_up(run, "its opening could not be noted");
    else if (state == SALE_NOTING_OPENING)
        begin_fencing(run, &decided);
    else
        begin_load(run, decided.doc);
}

static void read_records_back(struct sale_run *run, const struct sale_decided *decided)
{
    if (!sale_check_opening(run, decided->state) || is_overtaken(run))
        return;
    if (run->view.state == SALE_FENCING && fence_all(run, decided)) {
        if (!run->rebuild.opening) {
            begin_load(run, decided->doc);
            return;
        }
        sale_set_state(run, SALE_STOCKING);
    }
    if (run->view.state == SALE_STOCKING && stock_all(run, decided->doc))
        end_opening(run, decided);
    else if (sale_now_ns(run->runs) - run->since_ns > PATIENCE_NS)
        give_up(run, "its records are not read back");
}

void sale_rebuild_step(struct sale_run *run, const struct sale_decided *decided)
{
    if (run->view.log_sale == NULL)
        run->view.log_sale = oq_fold_sale(run->runs->settings.fold, run->name, strlen(run->name));
    renew_lock(run);
    switch (run->view.state) {
    case SALE_DRAINING_PEERS:
        if (is_drained(run))
            begin_fencing(run, decided);
        break;
    case SALE_FENCING:
    case SALE_STOCKING:
        read_records_back(run, decided);
        break;
    case SALE_VERIFYING_INSTALL:
        if (sale_now_ns(run->runs) - run->since_ns > UNKNOWN_NS)
            give_up(run, "Redis did not say whether it has taken it");
        break;
    default: /* an answer moves it */
        break;
    }
}
