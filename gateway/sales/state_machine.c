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

#include "common/program/log.h"

#include <stdlib.h>
#include <string.h>

#define REST_NS (3 * PS_NS_PER_S) /* a sale rests after being over and settled for this long */

/* --- all of them --- */

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
    return run->in_redis == SALE_IN_REDIS_FOREIGN || run->in_doubt != 0;
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
        return run->in_redis != SALE_IN_REDIS_USABLE; /* nobody need wait for it */
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
        /* Otherwise it was deleted: without an order, or as a rehearsal, which is then archived. */
        if (oq_sale_order_count(log_sale) > 0 && !oq_sale_archived(log_sale) &&
            !runs->host.decided(oq_sale_name(log_sale), &decided, runs->host.ctx))
            ps_log(PS_LOG_WARN, "sale_unknown", PS_F_STR("sale", oq_sale_name(log_sale)),
                   PS_F_FLAG("rehearsal", oq_sale_rehearsal(log_sale)),
                   PS_F_STR("why", "the log has orders of it, control.db does not know it; it is "
                                   "not served"));
}

/* --- from state to state --- */

/* The installed counters have arrived. */
static void on_attached(int err, struct inv_sale *counter, void *ctx)
{
    struct sale_run *run = ctx;
    enum sale_in_redis before = run->in_redis;
    struct sale_decided decided;

    run->attaching = false;
    if (run->runs->stopped || run->view.state == SALE_SERVING || run->view.state == SALE_ARCHIVED ||
        !clu_owns(run->runs->cluster))
        return;
    run->in_redis = err == PS_E_NOT_FOUND || err == PS_E_CONFLICT   ? SALE_IN_REDIS_GONE
                    : err == PS_E_CORRUPT || err == PS_E_PERMISSION ? SALE_IN_REDIS_FOREIGN
                                                                    : SALE_IN_REDIS_USABLE;
    if (err == 0 && oq_sale_highest_epoch(run->view.log_sale) <= inv_sale_epoch(counter))
        sale_serve(run, counter);
    else if (run->in_redis == SALE_IN_REDIS_GONE && run->view.state == SALE_FENCED &&
             sale_get_decided(run, &decided))
        sale_rebuild_start(run, &decided, false);
    else if (run->in_redis == SALE_IN_REDIS_FOREIGN && before != SALE_IN_REDIS_FOREIGN)
        ps_log(PS_LOG_ERROR, "sale_not_attached", SALE_LOG_NAME(run),
               PS_F_STR("error", ps_err_text(err)));
}

/* What was served may lack what was forgotten, or is known to be wrong. */
static int64_t least_epoch(const struct sale_run *run)
{
    int64_t epoch = oq_sale_highest_epoch(run->view.log_sale);

    if (run->forgotten != NULL && epoch <= run->view.epoch)
        epoch = run->view.epoch + 1;
    return epoch <= run->outdated_epoch ? run->outdated_epoch + 1 : epoch;
}

/* Asks Redis what is installed. (A load of ours in progress would look like another gateway's.) */
static void attach_installed(struct sale_run *run, const struct cfg_sale_doc *doc)
{
    struct sale_runs *runs = run->runs;
    const char **skus;

    if (run->attaching || run->rebuild.waits == SALE_WAITS_FOR_LOADER ||
        !clu_may_act(runs->cluster) || (skus = calloc(doc->sku_count + 1, sizeof *skus)) == NULL)
        return;
    for (uint32_t i = 0; i < doc->sku_count; i++) /* they are the first in the log */
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

/* Nothing happens to a sale that waits for its opening, or for a document with an opening time. */
static void look_until_when_it_waits(struct sale_run *run, const struct sale_decided *decided)
{
    int64_t opens_at_ms = decided->doc->opens_at_ms;

    if (run->view.state == SALE_WAITING)
        run->idle_until_ms = decided->state->ended || opens_at_ms == INT64_MAX
                                 ? INT64_MAX
                                 : opens_at_ms - SALE_LEAD_MS;
}

/* Is it over by every clock, with nothing held, in doubt or on its way to Redis? */
static bool is_at_rest(const struct sale_run *run, const struct sale_decided *decided)
{
    const struct sale_runs *runs = run->runs;
    int64_t now_ms = clu_earlier_ms(runs->cluster, ps_clock_wall_ms(runs->settings.clock));

    if (!is_over(decided, now_ms))
        return false;
    if (run->view.state != SALE_SERVING || run->in_redis == SALE_IN_REDIS_FOREIGN ||
        run->in_doubt != 0 || run->effects.count > 0 || run->forgotten != NULL)
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

/* What a sale needs in its state, independent of operators. */
static void go_on_in_state(struct sale_run *run, const struct sale_decided *decided)
{
    struct sale_runs *runs = run->runs;
    struct oq_log_view log;

    if (run->view.state == SALE_WAITING && decided->state->opened) {
        sale_set_state(run, SALE_CHECKING);
        sale_report_changed(run);
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
        sale_report_changed(run);
}

/* Nobody else sells from a counter in memory, so this only checks that nobody ends its epoch. */
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
    if (!sale_get_decided(run, &decided)) { /* deleted, or known only to other gateways */
        sale_end_try(run);
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
    if (run->in_redis == SALE_IN_REDIS_FOREIGN ||
        !clu_owns(run->runs->cluster)) /* Redis accepts nothing of it */
        return;
    sale_apply_step(run);
    sale_sweep_step(run);
}

void sale_go_on(struct sale_run *run)
{
    if (!run->runs->stopped && clu_has_view(run->runs->cluster))
        step_run(run);
}

/* The sale is built anew, since what is installed is not taken up again. */
bool sale_count_anew(struct sale_run *run, const char *why)
{
    if (run->view.state != SALE_SERVING)
        return false;
    run->outdated_epoch = run->view.epoch;
    sale_fence(run, why);
    sale_go_on(run);
    return true;
}

int sale_discard(struct sale_run *run)
{
    if (run->view.state == SALE_ARCHIVED)
        return 0;
    if (run->view.log_sale == NULL || oq_sale_partitions(run->view.log_sale) == 0 ||
        !sale_log_takes_all(run->runs->log))
        return PS_E_BUSY;
    run->archive.discard = true;
    run->archive.look_ns = 0;
    sale_go_on(run);
    return 0;
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
    sale_expiry_tick(runs->expiry); /* its start comes before the first record of this run */
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
    struct sale_run *run = sale_run_find(runs, name);

    if (run == NULL || runs->stopped)
        return;
    if (note == CFG_NOTE_ARCHIVED)
        sale_archive_noted(run, noted);
    else
        sale_rebuild_noted(run, noted);
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
        sale_run_free(runs->at[i]);
    free(runs->counters.at);
    free(runs->at);
    free(runs->asked);
    sale_loader_free(runs->loader);
    sale_expiry_free(runs->expiry);
    sale_archives_free(runs->archives);
    sale_effects_free(runs->effects);
    free(runs);
}
