/* Queries and appends, from any thread, about orders that the fold shows. */
#include "gateway/sales/sales.h"

#include <string.h>

enum inv_verdict sale_verdict_of(enum oq_state state)
{
    static const enum inv_verdict verdicts[] = {[OQ_STATE_ACCEPTED] = INV_ACCEPTED,
                                                [OQ_STATE_CONFIRMED] = INV_CONFIRMED,
                                                [OQ_STATE_RELEASED] = INV_RELEASED,
                                                [OQ_STATE_VOID] = INV_VOID};

    return verdicts[state];
}

bool sale_log_takes_all(const struct oq_log *log)
{
    struct oq_log_view view;

    oq_log_view(log, &view);
    return view.state == OQ_LOG_WELL;
}

static struct oq_event event_about(const struct oq_order *order, enum oq_type type, int64_t at_ms)
{
    const struct oq_sale *log_sale = oq_order_sale(order);
    const char *sale = oq_sale_name(log_sale);
    const char *sku = oq_sale_sku(log_sale, oq_order_sku(order));

    return (struct oq_event){.type = type,
                             .rehearsal = oq_order_rehearsal(order),
                             .has_order_id = true,
                             .order_id = *oq_order_id(order),
                             .sale = {sale, strlen(sale)},
                             .sku = {sku, strlen(sku)},
                             .quantity = oq_order_quantity(order),
                             .epoch = oq_sale_highest_epoch(log_sale),
                             .at_ms = at_ms};
}

int sale_append_confirmed(struct oq_log *log, const struct oq_order *order, struct ps_str by,
                          int64_t at_ms, const struct oq_ticket *ticket)
{
    struct oq_event event = event_about(order, OQ_CONFIRMED, at_ms);

    event.by = by;
    return oq_log_append(log, &event, ticket);
}

int sale_append_released(struct oq_log *log, const struct oq_order *order, enum oq_reason reason,
                         int64_t at_ms, const struct oq_ticket *ticket)
{
    struct oq_event event = event_about(order, OQ_RELEASED, at_ms);

    event.reason = reason;
    return oq_log_append(log, &event, ticket);
}
