/* How an order looks from outside. */
#include "gateway/orders/order_text.h"

#include "common/clock.h"

#include <string.h>

void ord_order_text_put(struct ps_buf *buf, const struct ord_order_text *order)
{
    char id[PS_UUID_LEN + 1], time[PS_TIME_LEN + 1];

    ps_uuid_format(&order->id, id);
    ps_buf_puts(buf, "{\"order_id\":\"");
    ps_buf_put(buf, id, PS_UUID_LEN);
    ps_buf_puts(buf, "\",\"sale\":");
    ps_buf_put_json(buf, order->sale, strlen(order->sale));
    ps_buf_puts(buf, ",\"sku\":");
    ps_buf_put_json(buf, order->sku, strlen(order->sku));
    ps_buf_puts(buf, ",\"quantity\":");
    ps_buf_put_int(buf, order->quantity);
    ps_buf_puts(buf, ",\"state\":\"");
    ps_buf_puts(buf, order->state);
    if (order->reason[0] != 0) {
        ps_buf_puts(buf, "\",\"reason\":\"");
        ps_buf_puts(buf, order->reason);
        ps_buf_puts(buf, "\",\"reserved_at\":\"");
    } else {
        ps_buf_puts(buf, "\",\"reason\":null,\"reserved_at\":\"");
    }
    ps_time_format(order->reserved_at_ms, time);
    ps_buf_put(buf, time, PS_TIME_LEN);
    ps_buf_puts(buf, "\",\"pay_by\":\"");
    ps_time_format(order->pay_by_ms, time);
    ps_buf_put(buf, time, PS_TIME_LEN);
    ps_buf_puts(buf, "\",\"idempotency_key\":");
    if (order->key.len > 0)
        ps_buf_put_json(buf, order->key.at, order->key.len);
    else
        ps_buf_puts(buf, "null");
}

struct ord_order_text ord_order_text_of(const struct oq_order *order, struct oq_order_view *view)
{
    static const char *const states[] = {[OQ_STATE_ACCEPTED] = "accepted",
                                         [OQ_STATE_CONFIRMED] = "confirmed",
                                         [OQ_STATE_RELEASED] = "released",
                                         [OQ_STATE_VOID] = "released"};

    oq_order_get(order, view);
    return (struct ord_order_text){
        .id = view->id,
        .sale = oq_sale_name(view->sale),
        .sku = view->known ? oq_sale_sku(view->sale, view->sku) : "",
        .quantity = view->quantity,
        .state = states[view->state],
        /* A void order never held stock; buyers see it as rejected. */
        .reason = oq_reason_name(view->state == OQ_STATE_VOID ? OQ_REJECTED : view->reason),
        .reserved_at_ms = view->reserved_at_ms,
        .pay_by_ms = view->pay_by_ms,
        .key = view->key,
    };
}

struct ord_order_text ord_order_text_pending(const struct ps_uuid *id, const char *sale,
                                             const char *sku, const struct inv_entry *entry)
{
    return (struct ord_order_text){.id = *id,
                                   .sale = sale,
                                   .sku = sku,
                                   .quantity = entry->quantity,
                                   .state = "pending",
                                   .reason = "",
                                   .reserved_at_ms = entry->reserved_at_ms,
                                   .pay_by_ms = entry->pay_by_ms,
                                   .key = {entry->key, entry->key_len}};
}

void ord_order_text_put_public(struct ps_buf *buf, const struct oq_order *order)
{
    struct oq_order_view view;
    struct ord_order_text text = ord_order_text_of(order, &view);

    ord_order_text_put(buf, &text);
    ps_buf_puts(buf, "}");
}

void ord_order_text_put_admin(struct ps_buf *buf, const struct oq_order *order)
{
    struct oq_order_view view;
    struct ord_order_text text = ord_order_text_of(order, &view);

    ord_order_text_put(buf, &text);
    ps_buf_puts(buf, ",\"user\":");
    ps_buf_put_json(buf, view.user.at, view.user.len);
    ps_buf_puts(buf, ",\"epoch\":");
    ps_buf_put_int(buf, view.epoch);
    ps_buf_puts(buf, ",\"seq\":");
    ps_buf_put_int(buf, view.place);
    ps_buf_puts(buf, "}");
}
