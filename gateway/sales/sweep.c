/* What stays in doubt in Redis.
 *
 * Entries older than 5 s: what the view knows of is settled as the view says. What it does not know
 * is given up by a record, if nobody is alive who works on it: order.released{rejected} first, and
 * the units come back when the view has read it and the fold says void. Whoever reserved it may
 * still have its accepted record on the way; first record wins, so a promised order stays one, and
 * nobody ever appends another one's order.
 *
 * "Alive" goes by the start of a gateway, not by its name: a gateway that was restarted knows
 * nothing of what it had in flight. But it brings what is in its spill into the log, so a name
 * whose last start said that orders are spilled is waited for, and for two minutes once it is
 * silent. The keeper looks after everybody's entries, each gateway after its own: those that it
 * reserved and knows nothing of, because the reply was lost. It knows of what is in its log's
 * hands: all that was appended has had its outcome when a call runs on the log's thread, what is
 * unknown then keeps the log away until it is closed, and what is spilled is counted.
 *
 * All ages are of Redis's clock. When that has been set, what came before it seems old, and
 * whoever has not spoken since, dead, or neither ever gets old. So it is held against this
 * gateway's monotonic clock, and for 5 s after a step nothing is given up: then what is from before
 * is old enough in truth, and all that live have spoken.
 *
 * Each is given up by one record, however slow the log is: while the calls of a round wait for the
 * log's thread, later rounds give up nothing. Once they have run, their records stand before every
 * later call, which therefore finds them read, or in doubt and the log away. */
#include "gateway/cluster/cluster_internal.h"

#include "common/log.h"
#include "queue/log_spill.h"

#include <stdlib.h>
#include <string.h>

#define AGE_MS            5000
#define SPILL_PATIENCE_MS 120000
#define KEEPER_NS         (250 * PS_NS_PER_MS)
#define OTHERS_NS         PS_NS_PER_S
#define PAGES_MAX         16 /* a round; the cursor goes on with the next */

/* Orders and lowerings of one page that are to be given up. The log's thread frees it. */
struct rejects {
    struct gw_core *core;
    const struct oq_sale *books;
    _Atomic(unsigned) *under_way; /* the sale's, which outlives the log's thread */
    size_t count;
    struct reject {
        struct ps_uuid id;
        uint32_t sku;
        int64_t quantity;
        char adjust_key[OQ_ADJUST_KEY_MAX + 1]; /* "" = an order */
    } at[];
};

static bool is_decided(const struct rejects *rejects, const struct reject *reject)
{
    if (reject->adjust_key[0] != '\0')
        return oq_sale_adjusted(rejects->books, &reject->id) >= 0;
    return oq_fold_order(rejects->core->fold, &reject->id) != NULL;
}

/* On the log's thread: everything that was appended before has landed in the fold, or will not
 * without being closed. */
static void reject_all(void *arg)
{
    struct rejects *rejects = arg;
    const struct gw_core *core = rejects->core;
    const char *sale = oq_sale_name(rejects->books);
    struct oq_ticket nobody = {.owner = GW_OWNER_CONTROL};

    for (size_t i = 0; i < rejects->count; i++) {
        const struct reject *reject = &rejects->at[i];
        const char *sku = oq_sale_sku(rejects->books, reject->sku);
        struct oq_event event = {.type = OQ_RELEASED,
                                 .rehearsal = oq_sale_rehearsal(rejects->books),
                                 .has_order_id = reject->adjust_key[0] == '\0',
                                 .order_id = reject->id,
                                 .adjust_key = {reject->adjust_key, strlen(reject->adjust_key)},
                                 .sale = {sale, strlen(sale)},
                                 .sku = {sku, strlen(sku)},
                                 .quantity = reject->quantity,
                                 .epoch = oq_sale_highest_epoch(rejects->books),
                                 .at_ms = ps_clock_wall_ms(core->clock),
                                 .reason = OQ_REJECTED};
        if (!is_decided(rejects, reject) && oq_log_append(core->log, &event, &nobody) < 0)
            break; /* the log is away: the next round tries again */
    }
    atomic_fetch_sub(rejects->under_way, 1);
    free(rejects);
}

/* It alone knows what is in the spill: one start at a time has the file. */
static bool is_last_of_its_name(const struct clu_cluster *cluster, const struct clu_member *member)
{
    for (size_t i = 0; i < cluster->member_count; i++) {
        const struct clu_member *other = &cluster->members[i];
        if (other->age_ms < member->age_ms && strcmp(other->beat.name, member->beat.name) == 0)
            return false;
    }
    return true;
}

/* May orders of that gateway come out of its spill yet? NULL: of any. */
static bool may_come(const struct clu_cluster *cluster, const char *name)
{
    for (size_t i = 0; i < cluster->member_count; i++) {
        const struct clu_member *member = &cluster->members[i];
        if (member->beat.spilled > 0 && member->age_ms <= SPILL_PATIENCE_MS &&
            (name == NULL || strcmp(member->beat.name, name) == 0) &&
            is_last_of_its_name(cluster, member))
            return true;
    }
    return false;
}

bool clu_may_bring_orders(const struct clu_cluster *cluster)
{
    return may_come(cluster, NULL);
}

/* Is it old in truth? The clock may have been set since the last pulse, or since the entry came. */
static bool is_old(const struct clu_cluster *cluster, const struct inv_doubt *doubt)
{
    int64_t age_ms = clu_earlier_ms(cluster, INT64_MAX) - doubt->entry.reserved_at_ms;

    return clu_now_ns(cluster) - cluster->set_ns >= AGE_MS * PS_NS_PER_MS &&
           (age_ms >= AGE_MS || age_ms < -CLU_CLOCKS_APART_MS);
}

/* Does nobody work on it? */
static bool is_given_up(const struct clu_cluster *cluster, const struct inv_doubt *doubt)
{
    const struct clu_member *owner;

    if (!is_old(cluster, doubt))
        return false;
    if (ps_uuid_equal(&doubt->owner, &cluster->core->start))
        return !cluster->core->spills || oq_spill_count(cluster->core->log) == 0;
    if (!clu_keeps(cluster))
        return false;
    owner = clu_member_find(cluster, &doubt->owner);
    if (owner == NULL) /* silent for ten minutes: its name is forgotten */
        return !may_come(cluster, NULL);
    return owner->age_ms > CLU_ALIVE_MS && !may_come(cluster, owner->beat.name);
}

/* What the view says of it. PS_E_NOT_FOUND: nothing. */
static int look_up(const struct clu_sale *sale, const struct inv_doubt *doubt,
                   enum inv_verdict *ret_verdict)
{
    static const enum inv_verdict verdicts[] = {[OQ_STATE_ACCEPTED] = INV_ACCEPTED,
                                                [OQ_STATE_CONFIRMED] = INV_CONFIRMED,
                                                [OQ_STATE_RELEASED] = INV_RELEASED,
                                                [OQ_STATE_VOID] = INV_VOID};
    const struct oq_order *order;
    int adjusted;

    if (doubt->lowering) {
        adjusted = oq_sale_adjusted(sale->books, &doubt->id);
        if (adjusted >= 0)
            *ret_verdict = adjusted == 1 ? INV_ACCEPTED : INV_VOID;
        return adjusted < 0 ? adjusted : 0;
    }
    order = oq_fold_order(sale->cluster->core->fold, &doubt->id);
    if (order == NULL)
        return PS_E_NOT_FOUND;
    *ret_verdict = verdicts[oq_order_state(order)];
    return 0;
}

static void add(struct rejects *rejects, const struct clu_sale *sale, const struct inv_doubt *doubt)
{
    struct reject *reject = &rejects->at[rejects->count++];

    *reject = (struct reject){
        .id = doubt->id, .sku = doubt->entry.sku, .quantity = doubt->entry.quantity};
    if (doubt->lowering)
        (void)oq_adjust_key(sale->name, (struct ps_str){doubt->entry.key, doubt->entry.key_len},
                            reject->adjust_key);
}

static void judge(struct clu_sale *sale, const struct inv_doubt *doubts, size_t count)
{
    struct clu_cluster *cluster = sale->cluster;
    struct rejects *rejects = malloc(sizeof *rejects + count * sizeof *rejects->at);

    if (rejects == NULL)
        return;
    *rejects = (struct rejects){
        .core = cluster->core, .books = sale->books, .under_way = &sale->giving_up};
    for (size_t i = 0; i < count; i++) {
        enum inv_verdict verdict;
        if (look_up(sale, &doubts[i], &verdict) == 0)
            inv_store_resolve(cluster->store, sale->counter, &doubts[i].id, verdict);
        else if (sale->gives_up && is_given_up(cluster, &doubts[i]))
            add(rejects, sale, &doubts[i]);
    }
    ps_metric_add(cluster->control->shard, GW_M_SWEPT, 0, (int64_t)rejects->count);
    if (rejects->count > 0) {
        atomic_fetch_add(&sale->giving_up, 1);
        if (oq_log_call(cluster->core->log, reject_all, rejects) == 0)
            return;
        atomic_fetch_sub(&sale->giving_up, 1);
    }
    free(rejects);
}

static void ask(struct clu_sale *sale);

static void on_doubts(int err, const struct inv_doubt *doubts, size_t count, uint64_t next_cursor,
                      void *ctx)
{
    struct clu_sale *sale = ctx;

    sale->sweeping = false;
    if (sale->cluster->stopped || !sale->serving)
        return;
    sale->cursor = err < 0 ? 0 : next_cursor;
    if (err < 0)
        return;
    judge(sale, doubts, count);
    if (next_cursor != 0 && ++sale->pages < PAGES_MAX)
        ask(sale);
}

static void ask(struct clu_sale *sale)
{
    sale->sweeping = inv_shared_doubts(sale->cluster->store, sale->counter, sale->cursor, AGE_MS,
                                       on_doubts, sale) == INV_PENDING;
}

void sale_sweep_tick(struct clu_sale *sale)
{
    const struct clu_cluster *cluster = sale->cluster;
    int64_t now = clu_now_ns(cluster);

    if (sale->sweeping || !sale->serving || sale->resting ||
        now - sale->swept_ns < (clu_keeps(cluster) ? KEEPER_NS : OTHERS_NS))
        return;
    sale->swept_ns = now;
    sale->pages = 0;
    sale->gives_up = atomic_load(&sale->giving_up) == 0;
    ask(sale);
}
