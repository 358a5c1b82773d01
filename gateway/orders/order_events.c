/* The life of an order. The log's thread calls on_record for everything that is durable: the record
 * is folded, the fold says what changed, and that change - nothing else - moves units in the
 * counter. Only then does on_outcome tell the asker.
 *
 * A counter in memory is told here, at once: so at any time between two batches it and the fold
 * agree, which is the cut that the auditor takes. The handles of these counters are kept beside the
 * fold's sales, in a list that the log's thread alone writes (after start) and reads. A counter in
 * Redis must not keep this thread waiting: the threads that appended settle what they have reserved
 * when the outcome reaches them, and everything else goes onto a queue (effects.h) to the control
 * thread, from the first record of the log on: what of it Redis has heard of already is known only
 * there (cluster.c). */
#include "gateway/orders/order_events.h"

#include "common/log.h"
#include "gateway/sales/load.h"
#include "gateway/worker.h"
#include "queue/log_kafka.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define NOTICE_GAP_NS (100 * PS_NS_PER_MS)

struct counter_of {
    struct oq_sale *books;
    struct inv_sale *counter;
};

struct ord_events {
    struct gw_core *core;
    struct ps_metrics_shard *shard; /* the log's thread */
    _Atomic(bool) going;
    struct sale_effects *effects; /* with Redis, else NULL */
    struct counter_of *counters;
    size_t count, cap;
    int64_t last_seq; /* the record that was folded last, and its order */
    struct oq_order *last_order;
    int64_t next_notice_ns;
};

int ord_events_new(struct gw_core *core, struct ord_events **ret_life)
{
    struct ord_events *life = calloc(1, sizeof *life);

    if (life == NULL)
        return PS_E_NOMEM;
    life->core = core;
    life->shard = ps_metrics_shard(core->metrics);
    if (life->shard == NULL || (core->redis != NULL && sale_effects_new(&life->effects) < 0)) {
        free(life);
        return PS_E_NOMEM;
    }
    *ret_life = life;
    return 0;
}

void ord_events_free(struct ord_events *life)
{
    if (life == NULL)
        return;
    sale_effects_free(life->effects);
    free(life->counters);
    free(life);
}

void ord_events_go(struct ord_events *life)
{
    atomic_store(&life->going, true);
}

struct sale_effects *ord_events_effects(const struct ord_events *life)
{
    return life->effects;
}

static struct inv_sale *counter_of(const struct ord_events *life, const struct oq_sale *books)
{
    for (size_t i = life->count; i > 0; i--)
        if (life->counters[i - 1].books == books)
            return life->counters[i - 1].counter;
    return NULL;
}

static int counter_set(struct ord_events *life, struct oq_sale *books, struct inv_sale *counter)
{
    for (size_t i = 0; i < life->count; i++) {
        if (life->counters[i].books == books) {
            life->counters[i].counter = counter;
            return 0;
        }
    }
    if (life->count == life->cap) {
        size_t cap = life->cap ? life->cap * 2 : 16;
        struct counter_of *more = realloc(life->counters, cap * sizeof *more);
        if (more == NULL)
            return PS_E_NOMEM;
        life->counters = more;
        life->cap = cap;
    }
    life->counters[life->count++] = (struct counter_of){books, counter};
    return 0;
}

/* --- the log's thread --- */

static void settle(struct ord_events *life, const struct oq_change *change)
{
    struct inv_store *store = life->core->store;
    struct inv_sale *counter = counter_of(life, change->sale);

    if (counter == NULL) /* not loaded yet: the load takes it from the fold */
        return;
    switch (change->effect) {
    case OQ_EFFECT_ACCEPTED:
        inv_store_resolve(store, counter, &change->order->id, INV_ACCEPTED);
        break;
    case OQ_EFFECT_VOID:
        inv_store_resolve(store, counter, &change->order->id, INV_VOID);
        break;
    case OQ_EFFECT_CONFIRMED:
        inv_store_resolve(store, counter, &change->order->id, INV_CONFIRMED);
        break;
    case OQ_EFFECT_RELEASED:
        inv_store_resolve(store, counter, &change->order->id, INV_RELEASED);
        break;
    case OQ_EFFECT_RAISED:
        if (change->delta > 0) /* an initial stock may be none */
            inv_store_raise(store, counter, &change->ref, change->sku, change->delta);
        break;
    case OQ_EFFECT_LOWERED:
        inv_store_resolve(store, counter, &change->ref, INV_ACCEPTED);
        break;
    case OQ_EFFECT_LOWER_VOID:
        inv_store_resolve(store, counter, &change->ref, INV_VOID);
        break;
    case OQ_EFFECT_FENCED:
    case OQ_EFFECT_NONE:
        break;
    }
}

static int tell_cluster(struct ord_events *life, uint32_t partition, int64_t seq,
                        const struct oq_event *event, const struct oq_change *change)
{
    if (change->effect != OQ_EFFECT_FENCED)
        return sale_effects_push(life->effects, partition, seq, change);
    int64_t now_ns = ps_clock_mono_ns(life->core->clock);
    return sale_effects_fence(life->effects, change->sale, event->epoch, event->gateway,
                              atomic_load(&life->going) ? now_ns : INT64_MIN);
}

static void count(struct ord_events *life, const struct oq_change *change)
{
    static const int row[] = {[OQ_EFFECT_ACCEPTED] = 0,
                              [OQ_EFFECT_VOID] = 1,
                              [OQ_EFFECT_CONFIRMED] = 2,
                              [OQ_EFFECT_RELEASED] = 3};

    switch (change->effect) {
    case OQ_EFFECT_RELEASED:
        ps_metric_add(life->shard, GW_M_UNITS_RETURNED, 0, change->order->quantity);
        /* fall through */
    case OQ_EFFECT_ACCEPTED:
    case OQ_EFFECT_VOID:
    case OQ_EFFECT_CONFIRMED:
        ps_metric_add(life->shard, GW_M_ORDERS, (size_t)row[change->effect], 1);
        break;
    default:
        break;
    }
    if (change->anomaly)
        ps_metric_add(life->shard, GW_M_FOLD_ANOMALIES, 0, 1);
}

static void on_record(uint32_t partition, int64_t seq, const struct oq_event *event, void *ctx)
{
    struct ord_events *life = ctx;
    struct oq_change change;
    int err = oq_fold_apply(life->core->fold, partition, seq, event, &change);

    if (err == 0 && life->effects != NULL)
        err = tell_cluster(life, partition, seq, event, &change);
    if (err < 0) {
        ps_log(PS_LOG_ERROR, "log_record_not_folded", PS_F_INT("partition", partition),
               PS_F_INT("seq", seq), PS_F_STR("error", ps_err_text(err)));
        /* More units than there are numbers: no gateway writes that. It changes nothing for
         * anybody, and must not end them all. */
        if (err == PS_E_INVALID)
            return;
        /* A record that is missing leaves the books behind the log; going on would promise what
         * nobody remembers. */
        ps_log_stop();
        abort();
    }
    life->last_seq = seq;
    life->last_order = change.order;
    if (!atomic_load_explicit(&life->going, memory_order_relaxed))
        return;
    if (life->effects == NULL)
        settle(life, &change);
    count(life, &change);
    if (change.anomaly)
        ps_log(PS_LOG_ERROR, "log_anomaly", PS_F_INT("partition", partition), PS_F_INT("seq", seq));
}

static int tell(const struct gw_core *core, uint32_t owner, const struct ps_mail *mail)
{
    if (owner == GW_OWNER_CONTROL)
        return ps_mailbox_post(core->control_mail, mail);
    return gw_worker_post(core->workers[owner], mail);
}

/* Surely not in the log: the units go back at once. */
static void give_back(struct ord_events *life, const struct oq_event *event)
{
    struct oq_sale *books = oq_fold_sale(life->core->fold, event->sale.at, event->sale.len);
    struct inv_sale *counter = books ? counter_of(life, books) : NULL;
    struct ps_uuid ref = event->order_id;
    bool reserved = event->type == OQ_ACCEPTED || (event->type == OQ_ADJUSTED && event->delta < 0);

    if (event->type == OQ_ADJUSTED)
        oq_adjust_ref(event->adjust_key, &ref);
    if (counter != NULL && reserved)
        inv_store_resolve(life->core->store, counter, &ref, INV_VOID);
}

/* Mostly the record that was folded last; the id decides, for a seq is only unique within its
 * partition. */
static struct oq_order *order_of(const struct ord_events *life, const struct oq_event *event,
                                 enum oq_outcome outcome, int64_t seq)
{
    struct oq_order *last = life->last_order;

    if (!event->has_order_id)
        return NULL;
    if (outcome == OQ_LANDED && seq == life->last_seq && last != NULL &&
        ps_uuid_equal(&last->id, &event->order_id))
        return last;
    return oq_fold_order(life->core->fold, &event->order_id);
}

static void on_outcome(const struct oq_ticket *ticket, const struct oq_event *event,
                       enum oq_outcome outcome, int64_t seq, void *ctx)
{
    struct ord_events *life = ctx;
    struct ps_mail mail = {.kind = GW_MAIL_ORDER,
                           .result = (int32_t)outcome,
                           .handle = ticket->handle,
                           .value = ticket->kind,
                           .ptr = order_of(life, event, outcome, seq)};

    if (outcome == OQ_REFUSED && life->effects == NULL)
        give_back(life, event);
    /* The keeper and the sweep wait for none of theirs: thousands that end a sale's payment time
     * must not crowd out an outcome that somebody waits for. */
    if (ticket->owner == GW_OWNER_CONTROL && ticket->handle == 0)
        return;
    if (tell(life->core, ticket->owner, &mail) < 0)
        ps_log(PS_LOG_ERROR, "outcome_not_delivered", PS_F_INT("owner", ticket->owner));
}

static void on_state(bool available, const char *why, void *ctx)
{
    struct ord_events *life = ctx;
    struct ps_mail mail = {.kind = GW_MAIL_STATE, .value = available};

    ps_log(available ? PS_LOG_INFO : PS_LOG_ERROR, available ? "log_available" : "log_unavailable",
           PS_F_STR("why", why ? why : ""));
    if (life->core->control_mail != NULL)
        (void)!ps_mailbox_post(life->core->control_mail, &mail);
}

/* A topic full of somebody else's records must not fill the program's log: a metric counts them. */
static void on_notice(const char *text, void *ctx)
{
    struct ord_events *life = ctx;
    int64_t now_ns = ps_clock_mono_ns(life->core->clock);

    if (now_ns < life->next_notice_ns)
        return;
    life->next_notice_ns = now_ns + NOTICE_GAP_NS;
    ps_log(PS_LOG_WARN, "log_notice", PS_F_STR("why", text));
}

struct oq_log_callbacks ord_events_callbacks(struct ord_events *life)
{
    return (struct oq_log_callbacks){.on_record = on_record,
                                     .on_outcome = on_outcome,
                                     .on_state = on_state,
                                     .on_notice = on_notice,
                                     .ctx = life};
}

/* --- rebuild --- */

int ord_events_load(struct ord_events *life, struct oq_sale *books, size_t sku_count, int64_t epoch,
                    struct inv_sale **ret_sale)
{
    struct inv_sale *counter;
    int err = sale_load(life->core, books, sku_count, epoch, NULL, &counter);

    if (err == 0)
        err = counter_set(life, books, counter);
    if (err < 0)
        return err;
    *ret_sale = counter;
    return 0;
}

uint32_t ord_events_partitions(const struct gw_core *core, const struct oq_sale *books)
{
    uint32_t partitions = books != NULL ? oq_sale_partitions(books) : 0;

    return partitions != 0 ? partitions : oq_log_partitions(core->log);
}

bool ord_events_is_behind(const struct gw_core *core)
{
    return core->kafka != NULL && oq_kafka_state(core->kafka) != OQ_KAFKA_WELL;
}

bool ord_events_log_available(const struct gw_core *core)
{
    return oq_log_available(core->kafka != NULL ? core->kafka : core->log);
}

int64_t ord_epoch_next(int64_t highest_seen)
{
    const int random_bits = 20;
    return (((highest_seen >> random_bits) + 1) << random_bits) |
           (int64_t)randombytes_uniform(1u << random_bits);
}

/* --- asking threads --- */

static struct oq_event event_about(const struct gw_core *core, const struct oq_order *order,
                                   enum oq_type type)
{
    const char *sale = oq_sale_name(order->sale);
    const char *sku = oq_sale_sku(order->sale, order->sku);

    return (struct oq_event){.type = type,
                             .rehearsal = order->rehearsal,
                             .has_order_id = true,
                             .order_id = order->id,
                             .sale = {sale, strlen(sale)},
                             .sku = {sku, strlen(sku)},
                             .quantity = order->quantity,
                             .epoch = oq_sale_highest_epoch(order->sale),
                             .at_ms = ps_clock_wall_ms(core->clock)};
}

int ord_events_confirm(struct gw_core *core, const struct oq_order *order, struct ps_str by,
                       const struct oq_ticket *ticket)
{
    struct oq_event event = event_about(core, order, OQ_CONFIRMED);

    event.by = by;
    return oq_log_append(core->log, &event, ticket);
}

int ord_events_release(struct gw_core *core, const struct oq_order *order, enum oq_reason reason,
                       const struct oq_ticket *ticket)
{
    struct oq_event event = event_about(core, order, OQ_RELEASED);

    event.reason = reason;
    return oq_log_append(core->log, &event, ticket);
}
