/* All sales of this gateway, and how one goes from state to state (the states: sales.h).
 *
 *   WAITING --due--> CLAIMING > NOTING_OPENING > FENCING > STOCKING > NOTING_OPENED > LOADING
 *      | opened                                                                          |
 *      v                                                                                 v
 *   CHECKING ---> FENCED <--(epoch not in force)---------------------------------- SERVING
 *                   | ^                                                                  ^
 *                   | +-- given up --+                                                   |
 *                   v                |                                                   |
 *                 CLAIMING > DRAINING_PEERS > FENCING > LOADING > (VERIFYING_INSTALL) ---+
 *
 * A counter of this process alone skips what is for others: CLAIMING and VERIFYING_INSTALL; it was
 * lost with the last process, so every start is a rebuild.
 *
 * While a sale is built again, Redis is asked in each state what is installed: what another gateway
 * has installed is taken up if its epoch is not below any fence of this gateway's view and it was
 * installed under the identity of the server that this gateway speaks to. Meanwhile buyers get
 * `fenced`; looking up, confirming, cancelling and expiry go by the log and go on.
 *
 * A sale that is over and settled costs next to nothing, however many there are: a heartbeat asks
 * about one of them in turn and nobody sweeps them. What can still happen to one wakes it: a record
 * (an effect, a fence, units held again), units in doubt when its turn comes, a change of its
 * document. When one sale is found without its counters, all are asked about.
 *
 * Nothing here is needed for safety: a gateway that acts on old knowledge writes to an epoch that
 * the log has ended. */
#include "gateway/sales/sales_internal.h"

#include "common/grow.h"
#include "common/program/log.h"
#include "common/sorted.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REST_NS (3 * PS_NS_PER_S) /* a sale that is over and settled for so long rests */

int64_t sale_now_ns(const struct sale_runs *runs)
{
    return ps_clock_mono_ns(runs->settings.clock);
}

/* --- all of them --- */

static int compare_with_run(const void *name, const void *run)
{
    return strcmp(name, (*(struct sale_run *const *)run)->name);
}

/* The place of `name`, or where it belongs. */
static size_t find_place(const struct sale_runs *runs, const char *name, bool *ret_there)
{
    return ps_sorted_place(name, runs->at, runs->count, sizeof *runs->at, compare_with_run,
                           ret_there);
}

static struct sale_run *new_run(struct sale_runs *runs, const char *name)
{
    struct sale_run *run = calloc(1, sizeof *run);

    if (run == NULL)
        return NULL;
    run->runs = runs;
    memcpy(run->name, name, strlen(name) + 1);
    run->view.log_sale = oq_fold_sale(runs->settings.fold, name, strlen(name));
    run->rebuild.installed_ns = INT64_MIN / 2;
    return run;
}

static void free_run(struct sale_run *run)
{
    sale_effect_list_done(&run->effects);
    free(run->forgotten);
    free(run->rebuild.slots);
    free(run->archive.slots);
    free(run);
}

static int make_room(struct sale_runs *runs)
{
    size_t cap = runs->cap, size = sizeof(struct sale_run *);
    int err = ps_grow(&runs->asked, &cap, runs->count + 1, size);

    return err < 0 ? err : ps_grow(&runs->at, &runs->cap, runs->count + 1, size);
}

struct sale_run *sale_run_of(struct sale_runs *runs, const char *name)
{
    bool there;
    size_t place = find_place(runs, name, &there);
    struct sale_run *run;

    if (there)
        return runs->at[place];
    if (make_room(runs) < 0 || (run = new_run(runs, name)) == NULL)
        return NULL;
    memmove(&runs->at[place + 1], &runs->at[place],
            (runs->count - place) * sizeof(struct sale_run *));
    runs->at[place] = run;
    runs->count++;
    return run;
}

struct sale_run *sale_known(struct sale_runs *runs, const char *name)
{
    struct sale_run *run = sale_run_of(runs, name);

    if (run != NULL && run->view.state == SALE_REFUSED) { /* another document of a deleted one */
        sale_set_state(run, SALE_WAITING);
        atomic_fetch_sub(&runs->refused, 1);
    }
    return run;
}

void sale_document_changed(struct sale_run *run)
{
    run->idle_until_ms = 0;
    run->archive.look_ns = 0;
}

bool sale_get_decided(const struct sale_run *run, struct sale_decided *ret_decided)
{
    return run->runs->host.decided(run->name, ret_decided, run->runs->host.ctx);
}

/* --- what others ask of one --- */

const struct sale_view *sale_view(const struct sale_run *run)
{
    return &run->view;
}

bool sale_is_fixed(const struct sale_run *run, const struct cfg_sale_state *state)
{
    const struct sale_view *view = &run->view;

    return state->opening || state->opened || run->logged || run->rebuild.slots_out > 0 ||
           (view->state != SALE_WAITING && view->state != SALE_CLAIMING) ||
           oq_fold_sale(run->runs->settings.fold, run->name, strlen(run->name)) != NULL;
}

bool sale_is_unserved(const struct sale_run *run, const struct cfg_sale_state *state)
{
    struct oq_log_view log;

    if (run->view.counter != NULL || run->view.state == SALE_REFUSED ||
        run->view.state == SALE_ARCHIVED || !state->opened)
        return false;
    if (run->runs->shared)
        return true;
    oq_log_view(run->runs->log, &log); /* with a journal of its own nothing outlives a start */
    return log.shared;
}

bool sale_has_doubts(const struct sale_run *run, const struct cfg_sale_state *state)
{
    if (run->view.state == SALE_ARCHIVED)
        return false;
    if (run->view.state != SALE_SERVING)
        return state->opened && run->view.state != SALE_REFUSED;
    return run->foreign || run->in_doubt != 0;
}

struct sale_numbers sale_numbers(const struct sale_runs *runs)
{
    struct sale_numbers numbers = {.effects = sale_effects_waiting(runs->effects)};

    for (size_t i = 0; i < runs->count; i++) {
        const struct sale_run *run = runs->at[i];
        enum sale_state state = run->view.state;
        numbers.fenced += state >= SALE_FENCED && state < SALE_SERVING && !run->rebuild.opening;
        numbers.effects += run->effects.count;
    }
    return numbers;
}

unsigned sale_refused(const struct sale_runs *runs)
{
    return atomic_load_explicit(&runs->refused, memory_order_relaxed);
}

static bool is_settled(const struct sale_run *run)
{
    struct sale_decided decided;

    switch (run->view.state) {
    case SALE_SERVING:
    case SALE_REFUSED:
    case SALE_ARCHIVED:
        return true;
    case SALE_WAITING:
        return !sale_get_decided(run, &decided) || !decided.state->opened;
    default:
        return run->gone || run->foreign; /* nobody need wait for it */
    }
}

bool sale_all_settled(struct sale_runs *runs)
{
    if (!clu_has_view(runs->cluster) || !clu_has_redis(runs->cluster))
        return false;
    for (size_t i = 0; i < runs->count; i++)
        if (!is_settled(runs->at[i]))
            return false;
    return true;
}

void sale_report_unknown(const struct sale_runs *runs)
{
    const struct oq_sale *log_sale;
    struct sale_decided decided;

    for (size_t i = 0; (log_sale = oq_fold_sale_at(runs->settings.fold, i)) != NULL; i++)
        /* Else it was deleted: without an order, or as a rehearsal, which is archived then. */
        if (oq_sale_order_count(log_sale) > 0 && !oq_sale_archived(log_sale) &&
            !runs->host.decided(oq_sale_name(log_sale), &decided, runs->host.ctx))
            ps_log(PS_LOG_WARN, "sale_unknown", PS_F_STR("sale", oq_sale_name(log_sale)),
                   PS_F_FLAG("rehearsal", oq_sale_rehearsal(log_sale)),
                   PS_F_STR("why", "the log has orders of it, control.db does not know it; it is "
                                   "not served"));
}

/* --- from state to state --- */

void sale_set_state(struct sale_run *run, enum sale_state state)
{
    run->view.state = state;
    run->idle_until_ms = 0;
    run->since_ns =
        state == SALE_CHECKING ? ps_clock_mono_ns(&ps_clock_system) : sale_now_ns(run->runs);
}

static void report_changed(const struct sale_run *run)
{
    run->runs->host.changed(run->name, run->runs->host.ctx);
}

void sale_refuse(struct sale_run *run, const char *why)
{
    sale_rebuild_end(run);
    sale_set_state(run, SALE_REFUSED);
    (void)snprintf(run->view.refused_why, sizeof run->view.refused_why, "%s", why);
    atomic_fetch_add(&run->runs->refused, 1);
    report_changed(run);
    ps_log(PS_LOG_ERROR, "sale_refused", SALE_LOG_NAME(run), PS_F_STR("why", why));
}

void sale_refuse_other(struct sale_run *run)
{
    sale_refuse(run, "another gateway has fenced the sale in this topic, and the counter in memory "
                     "is this one's alone; end the other gateway or give it a topic of its own "
                     "(several need store.kind redis), then restart this one");
}

void sale_serve(struct sale_run *run, struct inv_sale *counter)
{
    struct sale_view *view = &run->view;

    sale_rebuild_end(run);
    sale_set_state(run, SALE_SERVING);
    view->counter = counter;
    view->epoch = inv_sale_epoch(counter);
    run->sku_count = oq_sale_sku_count(view->log_sale);
    run->gone = run->foreign = run->resting = false;
    run->in_doubt = -1;
    run->busy_ns = run->since_ns;
    run->trim_due = true;
    report_changed(run);
    ps_log(PS_LOG_INFO, "sale_served", SALE_LOG_NAME(run), PS_F_INT("epoch", view->epoch),
           PS_F_INT("orders", oq_sale_order_count(view->log_sale)));
}

void sale_fence(struct sale_run *run, const char *why)
{
    if (run->view.state != SALE_SERVING)
        return;
    sale_set_state(run, SALE_FENCED);
    ps_metric_add(run->runs->shard, GW_M_FENCES, 0, 1);
    ps_log(PS_LOG_WARN, "sale_fenced", SALE_LOG_NAME(run), PS_F_INT("epoch", run->view.epoch),
           PS_F_STR("why", why));
    report_changed(run);
    clu_ask_all_next(run->runs->cluster); /* the others may be as badly off */
}

/* What is installed has come. */
static void on_attached(int err, struct inv_sale *counter, void *ctx)
{
    struct sale_run *run = ctx;
    bool foreign = err == PS_E_CORRUPT || err == PS_E_PERMISSION;
    struct sale_decided decided;

    run->attaching = false;
    if (run->runs->stopped || run->view.state == SALE_SERVING || run->view.state == SALE_ARCHIVED ||
        !clu_owns(run->runs->cluster))
        return;
    run->gone = err == PS_E_NOT_FOUND || err == PS_E_CONFLICT;
    if (err == 0 && oq_sale_highest_epoch(run->view.log_sale) <= inv_sale_epoch(counter))
        sale_serve(run, counter);
    else if (run->gone && run->view.state == SALE_FENCED && sale_get_decided(run, &decided))
        sale_rebuild_start(run, &decided, false);
    else if (foreign && !run->foreign)
        ps_log(PS_LOG_ERROR, "sale_not_attached", SALE_LOG_NAME(run),
               PS_F_STR("error", ps_err_text(err)));
    run->foreign = foreign;
}

/* What was served may lack what was forgotten, or is known to be wrong. */
static int64_t least_epoch(const struct sale_run *run)
{
    int64_t epoch = oq_sale_highest_epoch(run->view.log_sale);

    if (run->forgotten != NULL && epoch <= run->view.epoch)
        epoch = run->view.epoch + 1;
    return epoch <= run->outdated_epoch ? run->outdated_epoch + 1 : epoch;
}

/* Asks Redis what is installed. A load of ours under way would be taken for another gateway's. */
static void attach_installed(struct sale_run *run, const struct cfg_sale_doc *doc)
{
    struct sale_runs *runs = run->runs;
    const char **skus;

    if (run->attaching || run->rebuild.loading || !clu_may_act(runs->cluster) ||
        (skus = calloc(doc->sku_count + 1, sizeof *skus)) == NULL)
        return;
    for (uint32_t i = 0; i < doc->sku_count; i++) /* they are the first of the log */
        skus[i] = oq_sale_sku(run->view.log_sale, i);
    run->attaching =
        inv_shared_attach(runs->settings.store,
                          &(struct inv_attach){run->name, least_epoch(run), skus, doc->sku_count},
                          on_attached, run) == INV_PENDING;
    free(skus);
}

static bool is_over(const struct sale_decided *decided, int64_t now_ms)
{
    return decided->state->ended || now_ms >= decided->doc->closes_at_ms;
}

static bool is_due(const struct sale_run *run, const struct sale_decided *decided)
{
    int64_t wall_ms = ps_clock_wall_ms(run->runs->settings.clock);
    int64_t opens_at_ms = decided->doc->opens_at_ms; /* INT64_MAX: a draft */

    return opens_at_ms != INT64_MAX && wall_ms >= opens_at_ms - SALE_LEAD_MS &&
           !is_over(decided, wall_ms);
}

/* Nothing happens to a sale that waits for its opening, or for a document that has one. */
static void look_until_when_it_waits(struct sale_run *run, const struct sale_decided *decided)
{
    int64_t opens_at_ms = decided->doc->opens_at_ms;

    if (run->view.state == SALE_WAITING)
        run->idle_until_ms = decided->state->ended || opens_at_ms == INT64_MAX
                                 ? INT64_MAX
                                 : opens_at_ms - SALE_LEAD_MS;
}

/* Is it over by every clock, and is nothing of it held, in doubt or on its way to Redis? */
static bool is_at_rest(const struct sale_run *run, const struct sale_decided *decided)
{
    const struct sale_runs *runs = run->runs;
    int64_t now_ms = clu_earlier_ms(runs->cluster, ps_clock_wall_ms(runs->settings.clock));

    if (!is_over(decided, now_ms))
        return false;
    if (run->view.state != SALE_SERVING || run->foreign || run->in_doubt != 0 ||
        run->effects.count > 0 || run->forgotten != NULL)
        return false;
    return sale_log_holds_nothing(run);
}

bool sale_is_forgettable(const struct sale_run *run, const struct cfg_sale_doc *doc,
                         const struct cfg_sale_state *state)
{
    const struct sale_runs *runs = run->runs;
    const struct sale_decided decided = {.doc = doc, .state = state};

    if (run->view.state != SALE_SERVING || oq_sale_order_count(run->view.log_sale) > 0)
        return false;
    if (runs->shared) /* other gateways may be a moment behind */
        return run->resting;
    return is_over(&decided, ps_clock_wall_ms(runs->settings.clock) - REST_NS / PS_NS_PER_MS) &&
           sale_counter_holds_nothing(run);
}

static void look_whether_it_rests(struct sale_run *run, const struct sale_decided *decided)
{
    int64_t now_ns = sale_now_ns(run->runs);

    if (!is_at_rest(run, decided))
        run->busy_ns = now_ns;
    run->resting = now_ns - run->busy_ns >= REST_NS;
}

/* What a sale in its state needs, whatever operators do. */
static void go_on_in_state(struct sale_run *run, const struct sale_decided *decided)
{
    struct sale_runs *runs = run->runs;
    struct oq_log_view log;

    if (run->view.state == SALE_WAITING && decided->state->opened) {
        sale_set_state(run, SALE_CHECKING);
        report_changed(run);
    }
    switch (run->view.state) {
    case SALE_WAITING:
        if (decided->settled && is_due(run, decided))
            sale_rebuild_start(run, decided, true);
        break;
    case SALE_CHECKING:
        oq_log_view(runs->log, &log);
        if (log.reached_ns < run->since_ns || !sale_check_beginning(run, decided->doc))
            break;
        sale_set_state(run, SALE_FENCED);
        /* fall through */
    case SALE_FENCED:
        if (!runs->shared)
            sale_rebuild_start(run, decided, false);
        break;
    case SALE_SERVING:
        if (oq_sale_highest_epoch(run->view.log_sale) <= run->view.epoch)
            break;
        if (runs->shared)
            sale_fence(run, "the log has ended its epoch");
        else
            sale_refuse_other(run);
        break;
    default:
        sale_rebuild_step(run, decided);
        break;
    }
}

static void find_log_sale(struct sale_run *run)
{
    if (run->view.log_sale != NULL)
        return;
    run->view.log_sale = oq_fold_sale(run->runs->settings.fold, run->name, strlen(run->name));
    if (run->view.log_sale != NULL)
        report_changed(run);
}

/* Nobody else sells from a counter in memory, so it only has to see that nobody ends its epoch. */
static bool is_only_served(const struct sale_run *run)
{
    return run->view.state == SALE_SERVING && !run->runs->shared &&
           oq_sale_highest_epoch(run->view.log_sale) <= run->view.epoch;
}

static void step_run(struct sale_run *run)
{
    struct sale_decided decided;

    if (sale_archive_step(run) || is_only_served(run))
        return;
    find_log_sale(run);
    if (!sale_get_decided(run, &decided)) { /* deleted, or known to other gateways alone */
        sale_rebuild_end(run);
        if (run->view.state != SALE_SERVING && run->view.state != SALE_REFUSED)
            sale_set_state(run, SALE_WAITING);
        run->resting = true;
        return;
    }
    run->rehearsal = decided.doc->rehearsal;
    if (run->view.state == SALE_REFUSED) {
        run->resting = true;
        return;
    }
    go_on_in_state(run, &decided);
    look_until_when_it_waits(run, &decided);
    if (run->view.state < SALE_FENCED || run->rebuild.opening || run->view.state == SALE_REFUSED ||
        !run->runs->shared)
        return;
    if (run->view.state != SALE_SERVING)
        attach_installed(run, decided.doc);
    for (;
         run->view.state == SALE_SERVING && run->sku_count < oq_sale_sku_count(run->view.log_sale);
         run->sku_count++)
        sale_note_stranger(run, oq_sale_sku(run->view.log_sale, (uint32_t)run->sku_count));
    look_whether_it_rests(run, &decided);
    if (run->foreign || !clu_owns(run->runs->cluster)) /* Redis takes nothing of it */
        return;
    sale_apply_step(run);
    sale_sweep_step(run);
}

void sale_go_on(struct sale_run *run)
{
    if (!run->runs->stopped && clu_has_view(run->runs->cluster))
        step_run(run);
}

void sale_go_on_all(struct sale_runs *runs)
{
    int64_t wall_ms = ps_clock_wall_ms(runs->settings.clock);

    for (size_t i = 0; i < runs->count; i++)
        if (wall_ms >= runs->at[i]->idle_until_ms)
            sale_go_on(runs->at[i]);
}

void sale_tick(struct sale_runs *runs)
{
    if (runs->stopped)
        return;
    clu_tick(runs->cluster);
    sale_apply_take(runs);
    sale_expiry_tick(runs->expiry); /* its start is before the first record of this one */
    sale_go_on_all(runs);
}

/* --- mail --- */

void sale_mail(struct sale_runs *runs, const struct ps_mail *mail)
{
    if (runs->stopped)
        return;
    if (mail->ptr != NULL && mail->value == SALE_MAIL_ARCHIVE) {
        sale_archive_written(mail->ptr);
        return;
    }
    if (mail->ptr != NULL) {
        sale_rebuild_loaded(mail->ptr);
        return;
    }
    atomic_store(&runs->mailed, false);
    clu_ask_all(runs->cluster);
}

void sale_outcome(struct sale_runs *runs, uint64_t handle, enum oq_outcome outcome)
{
    struct sale_slot *slot = (struct sale_slot *)(uintptr_t)handle;

    if (runs->stopped)
        return;
    if (slot->archives)
        sale_archive_landed(slot, outcome);
    else
        sale_rebuild_landed(slot, outcome);
}

void sale_on_fenced(struct sale_runs *runs)
{
    struct ps_mail mail = {.kind = runs->settings.mail_kind};

    if (!atomic_exchange(&runs->mailed, true) && ps_mailbox_post(runs->settings.mailbox, &mail) < 0)
        atomic_store(&runs->mailed, false); /* the next heartbeat comes by itself */
}

void sale_noted(struct sale_runs *runs, const char *name, enum cfg_sale_note note, bool noted)
{
    bool there;
    size_t place = find_place(runs, name, &there);

    if (!there || runs->stopped)
        return;
    if (note == CFG_NOTE_ARCHIVED)
        sale_archive_noted(runs->at[place], noted);
    else
        sale_rebuild_noted(runs->at[place], noted);
}

/* --- their life --- */

int sale_runs_new(const struct sale_settings *settings, struct sale_runs **ret_runs)
{
    struct sale_runs *runs = calloc(1, sizeof *runs);

    if (runs == NULL)
        return PS_E_NOMEM;
    runs->settings = *settings;
    runs->shared = inv_store_is_shared(settings->store);
    runs->shard = ps_metrics_shard(settings->metrics);
    if (runs->shard == NULL || sale_effects_new(&runs->effects) < 0 ||
        sale_expiry_new(runs, &runs->expiry) < 0 || sale_archives_new(runs, &runs->archives) < 0 ||
        (runs->shared && sale_loader_new(&runs->loader) < 0)) {
        sale_runs_free(runs);
        return PS_E_NOMEM;
    }
    *ret_runs = runs;
    return 0;
}

void sale_runs_open(struct sale_runs *runs, struct oq_log *log, struct clu_cluster *cluster)
{
    runs->log = log;
    runs->cluster = cluster;
    clu_attend(cluster, &sale_watch, runs);
}

void sale_runs_start(struct sale_runs *runs, const struct sale_host *host)
{
    runs->host = *host;
    atomic_store(&runs->started, true);
}

void sale_runs_stop(struct sale_runs *runs)
{
    if (runs == NULL)
        return;
    runs->stopped = true;
    sale_archives_stop(runs->archives);
    sale_loader_free(runs->loader);
    runs->loader = NULL;
}

void sale_runs_free(struct sale_runs *runs)
{
    if (runs == NULL)
        return;
    for (size_t i = 0; i < runs->count; i++)
        free_run(runs->at[i]);
    free(runs->counters.at);
    free(runs->at);
    free(runs->asked);
    sale_loader_free(runs->loader);
    sale_expiry_free(runs->expiry);
    sale_archives_free(runs->archives);
    sale_effects_free(runs->effects);
    free(runs);
}
