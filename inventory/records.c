/* A buyer lives while any of their orders is remembered. An order is in the index by key, when it
 * has one, and in its buyer's list of live orders, newest first, while its units are theirs. All of
 * it comes from the stripe's arena, so that a reservation rarely calls malloc. */
#include "inventory/records.h"

#include <string.h>

/* A usual length of a user and of a key. */
#define EXPECT_TEXT 40

_Static_assert(sizeof(struct inv_buyer) + PS_USER_MAX <= INV_ARENA_MAX, "a buyer fits");
_Static_assert(sizeof(struct inv_order) + PS_KEY_MAX <= INV_ARENA_MAX, "an order fits");

int inv_records_init(struct inv_records *records)
{
    int err = inv_table_init(&records->buyers);
    return err < 0 ? err : inv_table_init(&records->keys);
}

void inv_records_done(struct inv_records *records)
{
    inv_table_done(&records->buyers);
    inv_table_done(&records->keys);
    inv_arena_done(&records->arena);
}

void inv_records_expect(struct inv_records *records, size_t orders)
{
    const size_t bytes = sizeof(struct inv_order) + sizeof(struct inv_buyer) + 2 * EXPECT_TEXT;
    inv_table_expect(&records->buyers, records->buyers.count + orders);
    inv_table_expect(&records->keys, records->keys.count + orders);
    inv_arena_expect(&records->arena, orders * bytes);
}

struct inv_buyer *inv_records_buyer(const struct inv_records *records, struct ps_str user,
                                    uint64_t hash)
{
    for (struct inv_link *link = inv_table_first(&records->buyers, hash); link != NULL;
         link = inv_table_next(link)) {
        struct inv_buyer *buyer = (struct inv_buyer *)link;
        if (buyer->user_len == user.len && memcmp(buyer->user, user.at, user.len) == 0)
            return buyer;
    }
    return NULL;
}

struct inv_order *inv_records_key(const struct inv_records *records, const struct inv_buyer *buyer,
                                  struct ps_str key, uint64_t hash)
{
    for (struct inv_link *link = inv_table_first(&records->keys, hash); link != NULL;
         link = inv_table_next(link)) {
        struct inv_order *order =
            (struct inv_order *)((char *)link - offsetof(struct inv_order, by_key));
        if (order->buyer == buyer && order->key_len == key.len &&
            memcmp(order->key, key.at, key.len) == 0)
            return order;
    }
    return NULL;
}

static struct inv_buyer *add_buyer(struct inv_records *records, struct ps_str user, uint64_t hash)
{
    struct inv_buyer *buyer = inv_arena_take(&records->arena, sizeof *buyer + user.len);
    if (buyer == NULL)
        return NULL;
    *buyer = (struct inv_buyer){.user_len = (uint8_t)user.len};
    memcpy(buyer->user, user.at, user.len);
    inv_table_put(&records->buyers, &buyer->by_user, hash);
    return buyer;
}

static void drop_buyer(struct inv_records *records, struct inv_buyer *buyer)
{
    inv_table_remove(&records->buyers, &buyer->by_user);
    inv_arena_give(&records->arena, buyer, sizeof *buyer + buyer->user_len);
}

static void add_live_order(struct inv_order *order)
{
    LIST_INSERT_HEAD(&order->buyer->live, order, live);
    order->buyer->units += order->quantity;
}

void inv_records_delist(struct inv_order *order)
{
    LIST_REMOVE(order, live);
    order->buyer->units -= order->quantity;
}

struct inv_order *inv_records_add(struct inv_records *records, const struct inv_record *record,
                                  const struct inv_place *place)
{
    struct inv_order *order = inv_arena_take(&records->arena, sizeof *order + record->key.len);
    struct inv_buyer *buyer = NULL;
    if (order == NULL)
        return NULL;
    if (record->user.len > 0) {
        buyer = inv_records_buyer(records, record->user, place->user);
        if (buyer == NULL)
            buyer = add_buyer(records, record->user, place->user);
        if (buyer == NULL) {
            inv_arena_give(&records->arena, order, sizeof *order + record->key.len);
            return NULL;
        }
        buyer->orders++;
    }
    *order = (struct inv_order){.buyer = buyer,
                                .id = *record->id,
                                .quantity = record->quantity,
                                .sku = record->sku,
                                .state = record->state,
                                .key_len = (uint8_t)record->key.len};
    if (order->key_len > 0) {
        memcpy(order->key, record->key.at, order->key_len);
        inv_table_put(&records->keys, &order->by_key, place->key);
    }
    if (buyer != NULL && record->live)
        add_live_order(order);
    return order;
}

void inv_records_forget(struct inv_records *records, struct inv_order *order)
{
    struct inv_buyer *buyer = order->buyer;
    if (order->key_len > 0)
        inv_table_remove(&records->keys, &order->by_key);
    inv_arena_give(&records->arena, order, sizeof *order + order->key_len);
    if (buyer != NULL && --buyer->orders == 0)
        drop_buyer(records, buyer);
}
