/* What the log has decided, to the counter in Redis.
 *
 * Every gateway keeps every effect that it has read until Redis has it: v[p] says up to where in
 * partition p that is so. Whoever has the keeper's lease applies them in the order of the log and
 * then moves v; the others drop what v has passed. All effects are idempotent, so two keepers, or
 * one that has forgotten what he did, do no harm.
 *
 * What must hold: nothing is applied or dropped under an epoch that this gateway's own view has
 * seen end. An effect behind a fence is perhaps not in the load of the next epoch, and v of the old
 * one may have passed it. So the order here is: take what was read, then look for fences, then
 * apply or drop; what was read before a fence is in every load that comes after it.
 *
 * A sale that the control state does not know may never be served here (it was deleted, or belongs
 * to somebody else), or may become known any moment. Of its effects only so many are kept; then all
 * are forgotten but for their places. When the sale is served after all, v mostly has passed these
 * places, for others have applied them. If this gateway is the keeper and v has not, nobody may
 * have them any more, and the sale is built again: a load has them all. */
#include "gateway/cluster/cluster_internal.h"

#include "common/log.h"

#include <stdlib.h>
#include <string.h>

#define AT_ONCE      4096 /* effects of one sale a tick: buyers are served by this Redis, too */
#define TRIM_NS      PS_NS_PER_S
#define UNKNOWN_MOST 1024 /* effects of a sale that the control state does not know */

/* Forgets all that is held of it. Without memory it is held on. */
static void forget(struct clu_sale *sale)
{
    if (sale->forgotten == NULL && (sale->forgotten = calloc(1, sizeof *sale->forgotten)) == NULL)
        return;
    for (size_t i = 0; i < sale->effects.count; i++) {
        const struct sale_effect *effect = &sale->effects.at[sale->effects.first + i];
        sale->forgotten->upto[effect->partition] = effect->seq;
    }
    sale_effect_list_drop(&sale->effects, sale->effects.count);
}

static int bring(const struct sale_effect *effect, void *ctx)
{
    struct clu_cluster *cluster = ctx;
    struct clu_sale *sale = cluster->sales;

    while (sale != NULL && sale->books != effect->books)
        sale = sale->next;
    if (sale == NULL) /* perhaps one that the control state does not know, or not yet */
        sale = clu_sale(cluster, oq_sale_name(effect->books));
    if (sale == NULL)
        return PS_E_NOMEM;
    if (sale->effects.count >= UNKNOWN_MOST && clu_control_sale(sale) == NULL)
        forget(sale);
    return sale_effect_list_add(&sale->effects, effect);
}

void sale_apply_take(struct clu_cluster *cluster)
{
    if (sale_effects_take(cluster->effects, bring, cluster) == PS_E_NOMEM)
        ps_log(PS_LOG_ERROR, "effects_out_of_memory");
}

static bool is_in_force(const struct clu_sale *sale)
{
    return sale->serving && oq_sale_highest_epoch(sale->books) <= sale->epoch;
}

/* --- dropping what is applied --- */

static bool is_applied(const struct sale_effect *effect, const void *ctx)
{
    const struct sale_applied *applied = ctx;

    return effect->seq <= applied->upto[effect->partition];
}

/* Has Redis all that was forgotten? */
static void look_for_forgotten(struct clu_sale *sale, const struct sale_applied *applied)
{
    for (size_t p = 0; sale->forgotten != NULL && p < OQ_PARTITION_MAX; p++)
        if (sale->forgotten->upto[p] > applied->upto[p])
            return;
    free(sale->forgotten);
    sale->forgotten = NULL;
}

static void on_applied(int err, int64_t epoch, const struct inv_applied *told, size_t count,
                       void *ctx)
{
    struct clu_sale *sale = ctx;
    struct sale_applied *applied;

    sale->trimming = false;
    if (sale->cluster->stopped || err < 0)
        return;
    sale_apply_take(sale->cluster);
    if (!is_in_force(sale) || epoch != sale->epoch)
        return;
    applied = calloc(1, sizeof *applied);
    if (applied == NULL)
        return;
    for (size_t i = 0; i < count; i++)
        if (told[i].partition < OQ_PARTITION_MAX)
            applied->upto[told[i].partition] = told[i].offset;
    sale_effect_list_filter(&sale->effects, is_applied, applied);
    look_for_forgotten(sale, applied);
    free(applied);
    sale->trim_due = false;
}

static void trim(struct clu_sale *sale)
{
    struct clu_cluster *cluster = sale->cluster;

    sale->trimmed_ns = clu_now_ns(cluster);
    sale->trimming =
        inv_shared_applied(cluster->store, sale->counter, on_applied, sale) == INV_PENDING;
}

/* --- applying --- */

static void apply_one(struct inv_store *store, struct inv_sale *counter,
                      const struct sale_effect *effect)
{
    switch (effect->kind) {
    case OQ_EFFECT_CONFIRMED:
        inv_store_resolve(store, counter, &effect->id, INV_CONFIRMED);
        break;
    case OQ_EFFECT_RELEASED:
        inv_store_resolve(store, counter, &effect->id, INV_RELEASED);
        break;
    case OQ_EFFECT_VOID:
    case OQ_EFFECT_LOWER_VOID:
        inv_store_resolve(store, counter, &effect->id, INV_VOID);
        break;
    case OQ_EFFECT_LOWERED:
        inv_store_resolve(store, counter, &effect->id, INV_ACCEPTED);
        break;
    case OQ_EFFECT_RAISED:
        if (effect->units > 0) /* an initial stock may be none */
            inv_store_raise(store, counter, &effect->id, effect->sku, effect->units);
        break;
    default:
        break;
    }
}

static void apply(struct clu_sale *sale)
{
    struct inv_store *store = sale->cluster->store;
    size_t count = sale->effects.count < AT_ONCE ? sale->effects.count : AT_ONCE;
    struct sale_applied *applied = calloc(1, sizeof *applied);
    int err = 0;

    if (applied == NULL)
        return;
    for (size_t i = 0; i < count; i++) {
        const struct sale_effect *effect = &sale->effects.at[sale->effects.first + i];
        apply_one(store, sale->counter, effect);
        applied->upto[effect->partition] = effect->seq;
    }
    for (uint32_t p = 0; p < OQ_PARTITION_MAX; p++)
        if (applied->upto[p] > 0 && err == 0)
            err = inv_shared_note_applied(store, sale->counter, p, applied->upto[p]);
    free(applied);
    if (err == 0) /* else all of them are applied again: some may be lost */
        sale_effect_list_drop(&sale->effects, count);
}

void sale_apply_tick(struct clu_sale *sale)
{
    const struct clu_cluster *cluster = sale->cluster;
    bool keeps = clu_keeps(cluster);

    if (sale->effects.count == 0 && sale->forgotten == NULL) {
        sale->trim_due = false; /* nothing is held that could have been applied */
        return;
    }
    if (!is_in_force(sale) || sale->trimming)
        return;
    if (sale->trim_due || (!keeps && clu_now_ns(cluster) - sale->trimmed_ns >= TRIM_NS))
        trim(sale);
    else if (keeps && sale->forgotten != NULL)
        sale_rebuild_start(sale->rebuild, false);
    else if (keeps)
        apply(sale);
}
