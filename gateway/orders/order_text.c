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

struct ord_order_text ord_order_text_of(const struct oq_order *order)
{
    static const char *const states[] = {[OQ_STATE_ACCEPTED] = "accepted",
                                         [OQ_STATE_CONFIRMED] = "confirmed",
                                         [OQ_STATE_RELEASED] = "released",
                                         [OQ_STATE_VOID] = "released"};
    enum oq_state state = oq_order_state(order);

    return (struct ord_order_text){
        .id = order->id,
        .sale = oq_sale_name(order->sale),
        .sku = order->known ? oq_sale_sku(order->sale, order->sku) : "",
        .quantity = order->quantity,
        .state = states[state],
        /* A void order never held stock; people see it as rejected. */
        .reason = state == OQ_STATE_VOID ? oq_reason_name(OQ_REJECTED)
                                         : oq_reason_name(oq_order_reason(order)),
        .reserved_at_ms = order->reserved_at_ms,
        .pay_by_ms = order->pay_by_ms,
        .key = order->key,
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
    struct ord_order_text text = ord_order_text_of(order);

    ord_order_text_put(buf, &text);
    ps_buf_puts(buf, "}");
}

void ord_order_text_put_admin(struct ps_buf *buf, const struct oq_order *order)
{
    struct ord_order_text text = ord_order_text_of(order);

    ord_order_text_put(buf, &text);
    ps_buf_puts(buf, ",\"user\":");
    ps_buf_put_json(buf, order->user.at, order->user.len);
    ps_buf_puts(buf, ",\"epoch\":");
    ps_buf_put_int(buf, order->epoch);
    ps_buf_puts(buf, ",\"seq\":");
    ps_buf_put_int(buf, order->place);
    ps_buf_puts(buf, "}");
}
