/* Orders as the log shows them. On the log's thread every record is folded, sales/ reports its
 * changes to the counter, and the owner of the record's ticket gets its outcome.
 *
 * Invariants: 202 `accepted`, and 200 of a confirm or cancel, are answered only when the fold shows
 * them. Units are returned only if the fold shows it, or if the log has definitely refused the
 * record. */
#ifndef ORD_ORDER_EVENTS_H
#define ORD_ORDER_EVENTS_H

#include "common/clock.h"
#include "common/metrics/metrics.h"
#include "queue/fold.h"
#include "queue/log.h"

struct ord_events;
struct ord_flow;
struct sale_runs;

struct ord_events_settings {
    const struct ps_clock *clock;
    struct oq_fold *fold;
    struct sale_runs *sales;
    struct ps_metrics *metrics;
    struct ord_flow
        *flow; /* gets outcomes of tickets with an owner below `workers`; NULL: nobody does */
    /* On the log's thread. `order`: the order of the outcome, as far as the fold knows it; NULL for
     * stock and fences. */
    void (*deliver)(const struct oq_ticket *ticket, enum oq_outcome outcome, struct oq_order *order,
                    void *ctx);
    void (*on_state)(bool available, void *ctx); /* the log accepts records again, or it does not */
    /* on_marks of log.h; NULL: the log is opened without marks. */
    int (*on_marks)(bool fits, const char *why, struct oq_sale_marks *sales, void *ctx);
    void *marks_ctx;
    void *ctx;
};

/* PS_E_NOMEM. */
int ord_events_new(const struct ord_events_settings *settings,
                   struct ord_events **ret_events) PS_MUST_CHECK;
void ord_events_free(struct ord_events *events); /* NULL is allowed */
/* For opening the log. Records of the read-back are not counted. */
struct oq_log_callbacks ord_events_callbacks(struct ord_events *events);
/* oq_fold_reclaim, on the log's thread. */
void ord_events_reclaim(struct ord_events *events, int64_t upto);
/* The start is over: orders are counted for /metrics from now on. */
void ord_events_go(struct ord_events *events);

#endif
