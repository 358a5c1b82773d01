/* Settles what stays in doubt in Redis.
 *
 * Entries older than 5 s: those that the view knows are settled as the view says. One that the view
 * does not know is rejected by a record, if no live gateway works on it: order.released{rejected}
 * first; the units return when the view has read it and the fold says void. The gateway that
 * reserved it may still have its accepted record on the way; the first record wins, so a promised
 * order stays one, and no gateway ever appends another one's order.
 *
 * "Live" means a start of a gateway, not its name: a gateway that was restarted knows nothing of
 * its earlier requests. But it brings its spill into the log, so a name whose last start reported
 * spilled orders is waited for, for up to two minutes of silence. The leader handles all entries,
 * and each gateway its own: those that it reserved and knows nothing of, because the reply was
 * lost. It knows what its log has in hand: when a call runs on the log's thread, everything
 * appended before has its outcome; an unknown outcome keeps the log away until it is closed; and
 * what is spilled is counted.
 *
 * All ages are by Redis's clock. If it jumps forward, entries look old and gateways dead; if it
 * jumps back, nothing ages. So it is compared with this gateway's monotonic clock, and for 5 s
 * after a jump nothing is rejected: then earlier entries are old by any clock, and every live
 * gateway has sent a heartbeat.
 *
 * Each entry is rejected by one record, however slow the log is: while calls of a round wait for
 * the log's thread, later rounds reject nothing. Once they have run, their records come before
 * every later call, which therefore finds them read, or in doubt and the log away. */
#include "gateway/sales/sales_internal.h"

#include <stdlib.h>
#include <string.h>

#define AGE_MS    5000
#define LEADER_NS (250 * PS_NS_PER_MS)
#define OTHERS_NS PS_NS_PER_S
#define PAGES_MAX 16 /* in a round; the next one continues from the cursor */

/* Orders and lowerings of one page to reject. The log's thread frees it. */
struct rejects {
    const struct sale_runs *runs;
    const struct oq_sale *log_sale;
    _Atomic(unsigned) *under_way; /* the sale's counter of calls; it outlives the log's thread */
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
        return oq_sale_adjusted(rejects->log_sale, &reject->id) >= 0;
    return oq_fold_order(rejects->runs->settings.fold, &reject->id) != NULL;
}

/* On the log's thread: every earlier append has reached the fold, or will not before the log is
 * closed. */
static void reject_all(void *arg)
{
    struct rejects *rejects = arg;
    const struct sale_settings *settings = &rejects->runs->settings;
    const char *sale = oq_sale_name(rejects->log_sale);
    struct oq_ticket nobody = {.owner = settings->owner};

    for (size_t i = 0; i < rejects->count; i++) {
        const struct reject *reject = &rejects->at[i];
        const char *sku = oq_sale_sku(rejects->log_sale, reject->sku);
        struct oq_event event = {.type = OQ_RELEASED,
                                 .rehearsal = oq_sale_rehearsal(rejects->log_sale),
                                 .has_order_id = reject->adjust_key[0] == '\0',
                                 .order_id = reject->id,
                                 .adjust_key = {reject->adjust_key, strlen(reject->adjust_key)},
                                 .sale = {sale, strlen(sale)},
                                 .sku = {sku, strlen(sku)},
                                 .quantity = reject->quantity,
                                 .epoch = oq_sale_highest_epoch(rejects->log_sale),
                                 .at_ms = ps_clock_wall_ms(settings->clock),
                                 .reason = OQ_REJECTED};
        if (!is_decided(rejects, reject) && oq_log_append(rejects->runs->log, &event, &nobody) < 0)
            break; /* the log is away: the next round tries again */
    }
    atomic_fetch_sub(rejects->under_way, 1);
    free(rejects);
}

/* Is it old by any clock? Redis's may have been set since the last heartbeat, or since the entry
 * was made. */
static bool is_old(const struct sale_runs *runs, const struct inv_doubt *doubt)
{
    int64_t age_ms = clu_earlier_ms(runs->cluster, INT64_MAX) - doubt->entry.reserved_at_ms;

    return sale_now_ns(runs) - clu_clock_set_ns(runs->cluster) >= AGE_MS * PS_NS_PER_MS &&
           (age_ms >= AGE_MS || age_ms < -CLU_CLOCKS_APART_MS);
}

/* Does no gateway work on it? */
static bool is_abandoned(const struct sale_runs *runs, const struct inv_doubt *doubt)
{
    struct oq_log_view log;

    if (!is_old(runs, doubt))
        return false;
    if (clu_is_own(runs->cluster, &doubt->owner)) {
        oq_log_view(runs->log, &log);
        return log.spilled == 0;
    }
    return clu_leads(runs->cluster) && clu_is_gone(runs->cluster, &doubt->owner);
}

/* What the view says about it. PS_E_NOT_FOUND: nothing. */
static int look_up_verdict(const struct sale_run *run, const struct inv_doubt *doubt,
                           enum inv_verdict *ret_verdict)
{
    const struct oq_order *order;
    int adjusted;

    if (doubt->lowering) {
        adjusted = oq_sale_adjusted(run->view.log_sale, &doubt->id);
        if (adjusted >= 0)
            *ret_verdict = adjusted == 1 ? INV_ACCEPTED : INV_VOID;
        return adjusted < 0 ? adjusted : 0;
    }
    order = oq_fold_order(run->runs->settings.fold, &doubt->id);
    if (order == NULL)
        return PS_E_NOT_FOUND;
    *ret_verdict = sale_verdict_of(oq_order_state(order));
    return 0;
}

static void add_reject(struct rejects *rejects, const struct sale_run *run,
                       const struct inv_doubt *doubt)
{
    struct reject *reject = &rejects->at[rejects->count++];

    *reject = (struct reject){
        .id = doubt->id, .sku = doubt->entry.sku, .quantity = doubt->entry.quantity};
    if (doubt->lowering)
        (void)oq_adjust_key(run->name, (struct ps_str){doubt->entry.key, doubt->entry.key_len},
                            reject->adjust_key);
}

static void judge_page(struct sale_run *run, const struct inv_doubt *doubts, size_t count)
{
    struct sale_runs *runs = run->runs;
    struct rejects *rejects = malloc(sizeof *rejects + count * sizeof *rejects->at);

    if (rejects == NULL)
        return;
    *rejects = (struct rejects){
        .runs = runs, .log_sale = run->view.log_sale, .under_way = &run->sweep.rejecting};
    for (size_t i = 0; i < count; i++) {
        enum inv_verdict verdict;
        if (look_up_verdict(run, &doubts[i], &verdict) == 0)
            inv_store_resolve(runs->settings.store, run->view.counter, &doubts[i].id, verdict);
        else if (run->sweep.rejects && is_abandoned(runs, &doubts[i]))
            add_reject(rejects, run, &doubts[i]);
    }
    ps_metric_add(runs->shard, GW_M_REAPED, 0, (int64_t)rejects->count);
    if (rejects->count > 0) {
        atomic_fetch_add(&run->sweep.rejecting, 1);
        if (oq_log_call(runs->log, reject_all, rejects) == 0)
            return;
        atomic_fetch_sub(&run->sweep.rejecting, 1);
    }
    free(rejects);
}

static void ask_page(struct sale_run *run);

static void on_doubts(int err, const struct inv_doubt *doubts, size_t count, uint64_t next_cursor,
                      void *ctx)
{
    struct sale_run *run = ctx;

    run->sweep.asking = false;
    if (run->runs->stopped || run->view.state != SALE_SERVING)
        return;
    run->sweep.cursor = err < 0 ? 0 : next_cursor;
    if (err < 0)
        return;
    judge_page(run, doubts, count);
    if (next_cursor != 0 && ++run->sweep.pages < PAGES_MAX)
        ask_page(run);
}

static void ask_page(struct sale_run *run)
{
    run->sweep.asking = inv_shared_doubts(run->runs->settings.store, run->view.counter,
                                          run->sweep.cursor, AGE_MS, on_doubts, run) == INV_PENDING;
}

void sale_sweep_step(struct sale_run *run)
{
    int64_t now = sale_now_ns(run->runs);

    if (run->sweep.asking || run->view.state != SALE_SERVING || run->resting ||
        now - run->sweep.at_ns < (clu_leads(run->runs->cluster) ? LEADER_NS : OTHERS_NS))
        return;
    run->sweep.at_ns = now;
    run->sweep.pages = 0;
    run->sweep.rejects = atomic_load(&run->sweep.rejecting) == 0;
    ask_page(run);
}
