/* The log's thread calls on_record for every durable record: the record is folded, the fold returns
 * what changed, and only that change moves units in the counter. After that, on_outcome reports to
 * the thread that appended the record. */
#include "gateway/orders/order_events.h"

#include "common/program/log.h"
#include "gateway/metrics.h"
#include "gateway/orders/flow.h"
#include "gateway/sales/sales.h"
#include "queue/later.h"

#include <stdlib.h>
#include <string.h>

#define NOTICE_GAP_NS (100 * PS_NS_PER_MS)

struct ord_events {
    struct ord_events_settings settings;
    struct ps_metrics_shard *shard; /* the log's thread */
    _Atomic(bool) going;
    int64_t last_seq; /* the last folded record, and its order */
    struct oq_order *last_order;
    int64_t next_notice_ns;
    struct oq_later_names later;
};

int ord_events_new(const struct ord_events_settings *settings, struct ord_events **ret_events)
{
    struct ord_events *events = calloc(1, sizeof *events);

    if (events == NULL)
        return PS_E_NOMEM;
    events->settings = *settings;
    events->shard = ps_metrics_shard(settings->metrics);
    if (events->shard == NULL) {
        free(events);
        return PS_E_NOMEM;
    }
    *ret_events = events;
    return 0;
}

void ord_events_free(struct ord_events *events)
{
    free(events);
}

void ord_events_go(struct ord_events *events)
{
    atomic_store(&events->going, true);
}

/* --- the log's thread --- */

static void count_change(struct ord_events *events, const struct oq_change *change)
{
    static const int row[] = {[OQ_EFFECT_ACCEPTED] = 0,
                              [OQ_EFFECT_VOID] = 1,
                              [OQ_EFFECT_CONFIRMED] = 2,
                              [OQ_EFFECT_RELEASED] = 3};

    switch (change->effect) {
    case OQ_EFFECT_RELEASED:
        if (!oq_order_rehearsal(change->order))
            ps_metric_add(events->shard, GW_M_UNITS_RETURNED, 0, oq_order_quantity(change->order));
        /* fall through */
    case OQ_EFFECT_ACCEPTED:
    case OQ_EFFECT_VOID:
    case OQ_EFFECT_CONFIRMED:
        ps_metric_add(events->shard,
                      oq_order_rehearsal(change->order) ? GW_M_REHEARSAL_ORDERS : GW_M_ORDERS,
                      (size_t)row[change->effect], 1);
        break;
    default:
        break;
    }
    if (change->anomaly)
        ps_metric_add(events->shard, GW_M_FOLD_ANOMALIES, 0, 1);
}

static void note_unknown(struct ord_events *events, uint32_t partition, int64_t seq,
                         const struct oq_event *event)
{
    ps_metric_add(events->shard, GW_M_LOG_UNKNOWN, 0, 1);
    if (oq_later_is_new(&events->later, event))
        ps_log(PS_LOG_WARN, "log_unknown_record", PS_F_INT("partition", partition),
               PS_F_INT("seq", seq),
               PS_F_STRN("type", event->later_type.at, event->later_type.len));
}

static void on_record(uint32_t partition, int64_t seq, const struct oq_event *event, void *ctx)
{
    struct ord_events *events = ctx;
    struct oq_change change;
    int err = oq_fold_apply(events->settings.fold, partition, seq, event, &change);

    if (err == 0)
        err = sale_on_record(events->settings.sales, partition, seq, event, &change);
    if (err < 0) {
        ps_log(PS_LOG_ERROR, "log_record_not_folded", PS_F_INT("partition", partition),
               PS_F_INT("seq", seq), PS_F_FLAG("rehearsal", event->rehearsal),
               PS_F_STR("error", ps_err_text(err)));
        /* The units exceed what a number can hold. No gateway writes that; the record is ignored
         * and must not stop the gateway. */
        if (err == PS_E_INVALID)
            return;
        /* A missing record leaves the fold behind the log; a gateway that continued would accept
         * orders that the fold never shows. */
        ps_log_stop();
        abort();
    }
    if (change.effect == OQ_EFFECT_ARCHIVED)
        oq_fold_forget(events->settings.fold, change.sale); /* whoever misses an order asks why */
    if (event->type == OQ_LATER)
        note_unknown(events, partition, seq, event);
    events->last_seq = seq;
    events->last_order = change.order;
    if (!atomic_load_explicit(&events->going, memory_order_relaxed))
        return;
    count_change(events, &change);
    if (change.anomaly)
        ps_log(PS_LOG_ERROR, "log_anomaly", PS_F_INT("partition", partition), PS_F_INT("seq", seq),
               PS_F_FLAG("rehearsal", event->rehearsal));
}

/* Usually the last folded record; compared by id, since a seq is unique only within its
 * partition. */
static struct oq_order *order_of(const struct ord_events *events, const struct oq_event *event,
                                 enum oq_outcome outcome, int64_t seq)
{
    struct oq_order *last = events->last_order;

    if (!event->has_order_id)
        return NULL;
    if (outcome == OQ_LANDED && seq == events->last_seq && last != NULL &&
        ps_uuid_equal(oq_order_id(last), &event->order_id))
        return last;
    return oq_fold_order(events->settings.fold, &event->order_id);
}

static void on_outcome(const struct oq_ticket *ticket, const struct oq_event *event,
                       enum oq_outcome outcome, int64_t seq, void *ctx)
{
    struct ord_events *events = ctx;

    struct ord_flow *flow = events->settings.flow;

    if (flow != NULL && ticket->owner < flow->workers)
        ord_flow_outcome(flow, ticket->kind, outcome, ps_clock_mono_ns(events->settings.clock));
    if (outcome == OQ_REFUSED)
        sale_on_refused(events->settings.sales, event);
    events->settings.deliver(ticket, outcome, order_of(events, event, outcome, seq),
                             events->settings.ctx);
}

static void on_state(bool available, const char *why, void *ctx)
{
    struct ord_events *events = ctx;

    ps_log(available ? PS_LOG_INFO : PS_LOG_ERROR, available ? "log_available" : "log_unavailable",
           PS_F_STR("why", why ? why : ""));
    events->settings.on_state(available, events->settings.ctx);
}

/* One metric counts foreign records: a log event for each would fill the program's log. */
static void on_notice(const char *text, void *ctx)
{
    struct ord_events *events = ctx;
    int64_t now_ns = ps_clock_mono_ns(events->settings.clock);

    if (now_ns < events->next_notice_ns)
        return;
    events->next_notice_ns = now_ns + NOTICE_GAP_NS;
    ps_log(PS_LOG_WARN, "log_notice", PS_F_STR("why", text));
}

static int on_marks(bool fits, const char *why, struct oq_sale_marks *sales, void *ctx)
{
    const struct ord_events *events = ctx;

    return events->settings.on_marks(fits, why, sales, events->settings.marks_ctx);
}

void ord_events_reclaim(struct ord_events *events, int64_t upto)
{
    events->last_order = NULL;
    oq_fold_reclaim(events->settings.fold, upto);
}

struct oq_log_callbacks ord_events_callbacks(struct ord_events *events)
{
    return (struct oq_log_callbacks){.on_record = on_record,
                                     .on_outcome = on_outcome,
                                     .on_state = on_state,
                                     .on_notice = on_notice,
                                     .on_marks = on_marks,
                                     .ctx = events};
}
