/* Applies the log's decisions to the counter.
 *
 * A counter in memory is updated at once, on the log's thread: so at any time between two batches
 * it and the fold agree, which is the cut that the auditor takes. Only the log's thread writes
 * (after start) and reads the list of these counters.
 *
 * A counter in Redis must not block that thread. The threads that appended orders report on what
 * they have reserved when the outcome reaches them; everything else goes into a queue (effects.h)
 * to the control thread, from the first record of the log on, because only that thread knows what
 * Redis already has. Every gateway keeps every effect that it has read until Redis has it: v[p]
 * says up to which record of partition p that is so. The leader applies them in the order of the
 * log and then moves v; the others drop what v has passed. All effects are idempotent, so two
 * leaders, or one that has forgotten what it did, do no harm.
 *
 * Invariant: nothing is applied or dropped under an epoch that this gateway's own view has seen
 * end. An effect behind a fence may be missing in the load of the next epoch, although v of the old
 * one has passed it. So the order here is: take what was read, then look for fences, then apply or
 * drop; what was read before a fence is in every load that comes after it.
 *
 * A sale that the host does not know may never be served here (it was deleted, or belongs to
 * another cluster), or may become known at any moment. Only so many of its effects are kept; after
 * that, all are forgotten but for their places. If the sale is served after all, v has usually
 * passed these places, because others have applied them. If this gateway leads and v has not passed
 * them, perhaps no gateway has them any more, and the sale is rebuilt: a load has them all.
 *
 * A start from a checkpoint does not see the effects before it again. They are forgotten in the
 * same way: only the places of the last ones are known. */
#include "gateway/sales/sales_internal.h"

#include "common/program/log.h"
#include "common/sorted.h"

#include <stdlib.h>
#include <string.h>

#define AT_ONCE      4096 /* effects of one sale in a tick: buyers use this Redis, too */
#define TRIM_NS      PS_NS_PER_S
#define UNKNOWN_MOST 1024 /* effects of a sale that the host does not know */

/* --- a counter in memory: the log's thread --- */

/* NULL: not loaded yet, and the load gets everything from the fold. */
static struct inv_sale *counter_of(const struct sale_counters *counters,
                                   const struct oq_sale *log_sale)
{
    const struct sale_counter *found = ps_sorted_find(log_sale, counters->at, counters->count,
                                                      sizeof *found, sale_compare_log_sale);

    return found != NULL ? found->counter : NULL;
}

int sale_counters_set(struct sale_counters *counters, const struct oq_sale *log_sale,
                      struct inv_sale *counter)
{
    bool there;
    size_t place = ps_sorted_place(log_sale, counters->at, counters->count, sizeof *counters->at,
                                   sale_compare_log_sale, &there);

    if (!there) {
        struct sale_counter *more = realloc(counters->at, (counters->count + 1) * sizeof *more);
        if (more == NULL)
            return PS_E_NOMEM;
        counters->at = more;
        memmove(&more[place + 1], &more[place], (counters->count - place) * sizeof *more);
        counters->count++;
    }
    counters->at[place] = (struct sale_counter){log_sale, counter};
    return 0;
}

void sale_counters_drop(struct sale_counters *counters, const struct oq_sale *log_sale)
{
    bool there;
    size_t place = ps_sorted_place(log_sale, counters->at, counters->count, sizeof *counters->at,
                                   sale_compare_log_sale, &there);

    if (!there)
        return;
    counters->count--;
    memmove(&counters->at[place], &counters->at[place + 1],
            (counters->count - place) * sizeof *counters->at);
}

int sale_on_record(struct sale_runs *runs, uint32_t partition, int64_t seq,
                   const struct oq_event *event, const struct oq_change *change)
{
    struct sale_effect effect;
    struct inv_sale *counter;

    if (change->effect == OQ_EFFECT_FENCED)
        return sale_effects_fence(
            runs->effects, change->sale, event->epoch, event->gateway,
            atomic_load(&runs->started) ? ps_clock_mono_ns(runs->settings.clock) : INT64_MIN);
    if (!sale_effect_of(change, &effect))
        return 0;
    effect.partition = partition;
    effect.seq = seq;
    if (runs->shared) /* the gateway that reserved it reports to Redis that it is accepted */
        return change->effect == OQ_EFFECT_ACCEPTED ? 0 : sale_effects_push(runs->effects, &effect);
    if ((counter = counter_of(&runs->counters, change->sale)) != NULL)
        sale_effect_apply(&effect, runs->settings.store, counter);
    return 0;
}

int sale_check_notes(const struct sale_runs *runs, struct ps_str notes)
{
    return sale_effects_restore(NULL, NULL, notes, runs->shared);
}

int sale_on_restored(struct sale_runs *runs, struct ps_str notes)
{
    return sale_effects_restore(runs->effects, runs->settings.fold, notes, runs->shared);
}

int sale_get_notes(struct sale_runs *runs, char **ret_notes, size_t *ret_len)
{
    return sale_effects_note(runs->effects, runs->shared, ret_notes, ret_len);
}

void sale_on_refused(struct sale_runs *runs, const struct oq_event *event)
{
    bool reserved = event->type == OQ_ACCEPTED || (event->type == OQ_ADJUSTED && event->delta < 0);
    const struct oq_sale *log_sale;
    struct ps_uuid ref = event->order_id;
    struct inv_sale *counter;

    if (runs->shared || !reserved)
        return;
    if (event->type == OQ_ADJUSTED)
        oq_adjust_ref(event->adjust_key, &ref);
    log_sale = oq_fold_sale(runs->settings.fold, event->sale.at, event->sale.len);
    if (log_sale != NULL && (counter = counter_of(&runs->counters, log_sale)) != NULL)
        inv_store_resolve(runs->settings.store, counter, &ref, INV_VOID);
}

/* --- a counter in Redis --- */

static bool may_forget(struct sale_run *run)
{
    if (run->forgotten == NULL)
        run->forgotten = calloc(1, sizeof *run->forgotten);
    return run->forgotten != NULL;
}

/* Forgets all effects held of it. Without memory they stay. */
static void forget_effects(struct sale_run *run)
{
    if (!may_forget(run))
        return;
    for (size_t i = 0; i < run->effects.count; i++) {
        const struct sale_effect *effect = &run->effects.at[run->effects.first + i];
        run->forgotten->upto[effect->partition] = effect->seq;
    }
    sale_effect_list_drop(&run->effects, run->effects.count);
}

static int take_effect(const struct sale_effect *effect, void *ctx)
{
    struct sale_run *run = sale_run_of(ctx, oq_sale_name(effect->log_sale));
    struct sale_decided decided;

    if (run != NULL && run->view.state == SALE_ARCHIVED) /* nobody counts it any more */
        return 0;
    if (run == NULL || (effect->forgotten && !may_forget(run)))
        return PS_E_NOMEM;
    if (effect->forgotten) {
        run->forgotten->upto[effect->partition] = effect->seq;
        return 0;
    }
    if (run->effects.count >= UNKNOWN_MOST && !sale_get_decided(run, &decided))
        forget_effects(run);
    return sale_effect_list_add(&run->effects, effect);
}

void sale_apply_take(struct sale_runs *runs)
{
    if (sale_effects_take(runs->effects, take_effect, runs) == PS_E_NOMEM)
        ps_log(PS_LOG_ERROR, "effects_out_of_memory");
}

static bool is_in_force(const struct sale_run *run)
{
    return run->view.state == SALE_SERVING &&
           oq_sale_highest_epoch(run->view.log_sale) <= run->view.epoch;
}

static bool is_applied(const struct sale_effect *effect, const void *ctx)
{
    const struct sale_applied *applied = ctx;

    return effect->seq <= applied->upto[effect->partition];
}

/* Does Redis have everything that was forgotten? */
static void look_for_forgotten(struct sale_run *run, const struct sale_applied *applied)
{
    for (size_t p = 0; run->forgotten != NULL && p < OQ_PARTITION_MAX; p++)
        if (run->forgotten->upto[p] > applied->upto[p])
            return;
    free(run->forgotten);
    run->forgotten = NULL;
}

static void on_applied(int err, int64_t epoch, const struct inv_applied *answer, size_t count,
                       void *ctx)
{
    struct sale_run *run = ctx;
    struct sale_applied *applied;

    run->trimming = false;
    if (run->runs->stopped || err < 0)
        return;
    sale_apply_take(run->runs);
    if (!is_in_force(run) || epoch != run->view.epoch)
        return;
    applied = calloc(1, sizeof *applied);
    if (applied == NULL)
        return;
    for (size_t i = 0; i < count; i++)
        if (answer[i].partition < OQ_PARTITION_MAX)
            applied->upto[answer[i].partition] = answer[i].offset;
    sale_effect_list_filter(&run->effects, is_applied, applied);
    look_for_forgotten(run, applied);
    free(applied);
    run->trim_due = false;
}

static void ask_applied(struct sale_run *run)
{
    run->trimmed_ns = sale_now_ns(run->runs);
    run->trimming = inv_shared_applied(run->runs->settings.store, run->view.counter, on_applied,
                                       run) == INV_PENDING;
}

static void apply_effects(struct sale_run *run)
{
    struct inv_store *store = run->runs->settings.store;
    size_t count = run->effects.count < AT_ONCE ? run->effects.count : AT_ONCE;
    struct sale_applied *applied = calloc(1, sizeof *applied);
    int err = 0;

    if (applied == NULL)
        return;
    for (size_t i = 0; i < count; i++) {
        const struct sale_effect *effect = &run->effects.at[run->effects.first + i];
        sale_effect_apply(effect, store, run->view.counter);
        applied->upto[effect->partition] = effect->seq;
    }
    for (uint32_t p = 0; p < OQ_PARTITION_MAX; p++)
        if (applied->upto[p] > 0 && err == 0)
            err = inv_shared_note_applied(store, run->view.counter, p, applied->upto[p]);
    free(applied);
    if (err == 0) /* else all of them are applied again: some may be lost */
        sale_effect_list_drop(&run->effects, count);
}

bool sale_has_applied(struct sale_run *run, const int64_t *seq)
{
    sale_apply_take(run->runs);
    for (size_t i = 0; i < run->effects.count; i++) {
        const struct sale_effect *effect = &run->effects.at[run->effects.first + i];
        if (effect->seq <= seq[effect->partition])
            return false;
    }
    return run->forgotten == NULL;
}

void sale_apply_step(struct sale_run *run)
{
    bool leads = clu_leads(run->runs->cluster);

    if (run->effects.count == 0 && run->forgotten == NULL) {
        run->trim_due = false; /* nothing is held that could have been applied */
        return;
    }
    if (!is_in_force(run) || run->trimming)
        return;
    if (run->trim_due || (!leads && sale_now_ns(run->runs) - run->trimmed_ns >= TRIM_NS))
        ask_applied(run);
    else if (leads && run->forgotten != NULL)
        sale_fence(run, "Redis lacks decisions that no gateway has kept");
    else if (leads)
        apply_effects(run);
}
