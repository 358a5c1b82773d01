/* The public form of an order: the same JSON object in the answer to a buy, in look-ups, in replays
 * and for operators. Any thread. */
#ifndef ORD_ORDER_TEXT_H
#define ORD_ORDER_TEXT_H

#include "common/text/buf.h"
#include "common/text/id.h"
#include "inventory/store.h"
#include "queue/fold.h"

/* {"order_id","sale","sku","quantity","state","reason","reserved_at","pay_by","idempotency_key"} */
struct ord_order_text {
    struct ps_uuid id;
    const char *sale, *sku;
    int64_t quantity;
    const char *state;  /* pending, accepted, confirmed, released */
    const char *reason; /* "" = null */
    int64_t reserved_at_ms, pay_by_ms;
    struct ps_str key;
};

/* The order as the log shows it. Its strings belong to the fold and to the view, which this
 * fills. */
struct ord_order_text ord_order_text_of(const struct oq_order *order, struct oq_order_view *view);
/* The order as the counter has it before the log shows it: pending. Its key belongs to the
 * entry. */
struct ord_order_text ord_order_text_pending(const struct ps_uuid *id, const char *sale,
                                             const char *sku, const struct inv_entry *entry);

/* Without the closing brace, so that members can follow. */
void ord_order_text_put(struct ps_buf *buf, const struct ord_order_text *order);
/* As its buyer sees it. */
void ord_order_text_put_public(struct ps_buf *buf, const struct oq_order *order);
/* As operators see it: with user, epoch and seq. */
void ord_order_text_put_admin(struct ps_buf *buf, const struct oq_order *order);

#endif
