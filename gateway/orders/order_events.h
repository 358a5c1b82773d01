/* The life of an order: where counter and log are joined. On the log's thread every record is
 * folded, its effect goes to the counter, and whoever waits for it is told by mail. On the asking
 * threads: append, then wait for that mail.
 *
 * What must hold: a 202 `accepted`, a confirm 200 and a cancel 200 are said only when the fold
 * shows them; units are given back only by what the fold shows, or when the log has definitely
 * refused the record. */
#ifndef ORD_ORDER_EVENTS_H
#define ORD_ORDER_EVENTS_H

#include "gateway/core.h"
#include "gateway/sales/effects.h"

/* Callbacks for oq_journal_open, ctx = the life. During the read-back only the fold is fed (no
 * counter exists yet). */
int ord_events_new(struct gw_core *core, struct ord_events **ret_life) PS_MUST_CHECK;
void ord_events_free(struct ord_events *life);
struct oq_log_callbacks ord_events_callbacks(struct ord_events *life);

/* Start-up is over: from here on a counter in memory is told of effects. */
void ord_events_go(struct ord_events *life);
/* What Redis must hear of; NULL with memory. */
struct sale_effects *ord_events_effects(const struct ord_events *life);

/* A rebuild of one sale's counters in memory from the fold, under `epoch`: on the log's thread or
 * before it runs, so that the fold stands still. `sku_count` and errors as of sale_load.
 * *ret_sale is the counter handle. */
int ord_events_load(struct ord_events *life, struct oq_sale *books, size_t sku_count, int64_t epoch,
                    struct inv_sale **ret_sale) PS_MUST_CHECK;

/* Over how many partitions the sale's keys are spread: as its first fence says, or (`books` NULL,
 * or not fenced yet) as the log has them now. */
uint32_t ord_events_partitions(const struct gw_core *core, const struct oq_sale *books);

/* May the fold lack what other gateways have written: the log was not read to its end yet, or is
 * away, or reading stands still? Then nobody may hear that an order does not exist. Any thread. */
bool ord_events_is_behind(const struct gw_core *core);
/* Does the log itself take records now? A spill beside it takes orders alone: no fence, adjustment
 * or release. Any thread. */
bool ord_events_log_available(const struct gw_core *core);

/* Higher than every epoch of the log, low 20 bits random, below 2^53. */
int64_t ord_epoch_next(int64_t highest_seen);

/* Appends order.confirmed or order.released{cancelled|expired}. Any thread; the outcome is mailed
 * to the ticket's owner. */
int ord_events_confirm(struct gw_core *core, const struct oq_order *order, struct ps_str by,
                       const struct oq_ticket *ticket) PS_MUST_CHECK;
int ord_events_release(struct gw_core *core, const struct oq_order *order, enum oq_reason reason,
                       const struct oq_ticket *ticket) PS_MUST_CHECK;

#endif
