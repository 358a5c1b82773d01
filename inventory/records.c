/* A buyer lives while any of their orders is remembered. An order is in the index by key, when it
 * has one, and in its buyer's list of live orders, newest first, while its units are theirs. All of
 * it comes from the stripe's arena, so that a reservation rarely calls malloc. */
#include "inventory/records.h"

#include <string.h>

/* The typical size of a user and of a key. */
#define EXPECT_TEXT 24

_Static_assert(INV_SKUS_MAX <= UINT16_MAX, "a SKU fits");
_Static_assert(sizeof(struct inv_buyer) + PS_USER_MAX <= INV_ARENA_MAX, "a buyer fits");
_Static_assert(sizeof(struct inv_order) + PS_KEY_MAX <= INV_ARENA_MAX, "an order fits");

static size_t size_of_buyer(size_t user_size)
{
    return offsetof(struct inv_buyer, user) + user_size;
}

static size_t size_of_order(size_t key_size)
{
    return offsetof(struct inv_order, key) + key_size;
}

static bool is_text(const char *packed, size_t size, bool is_uuid, struct ps_str text)
{
    char room[PS_UUID_LEN + 1];
    return (is_uuid ? PS_UUID_LEN : size) == text.len &&
           ps_str_same(ps_id_unpack(packed, size, is_uuid, room), text);
}

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
        if (is_text(buyer->user, buyer->user_size, buyer->user_is_uuid, user))
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
        if (order->buyer == buyer && is_text(order->key, order->key_size, order->key_is_uuid, key))
            return order;
    }
    return NULL;
}

static struct inv_buyer *add_buyer(struct inv_records *records, struct ps_str user, uint64_t hash)
{
    char packed[PS_USER_MAX];
    bool is_uuid;
    size_t size = ps_id_pack(user, packed, &is_uuid);
    struct inv_buyer *buyer = inv_arena_take(&records->arena, size_of_buyer(size));
    if (buyer == NULL)
        return NULL;
    memset(buyer, 0, offsetof(struct inv_buyer, user));
    buyer->user_size = (uint8_t)size;
    buyer->user_is_uuid = is_uuid;
    memcpy(buyer->user, packed, size);
    inv_table_put(&records->buyers, &buyer->by_user, hash);
    return buyer;
}

static void drop_buyer(struct inv_records *records, struct inv_buyer *buyer)
{
    inv_table_remove(&records->buyers, &buyer->by_user);
    inv_arena_give(&records->arena, buyer, size_of_buyer(buyer->user_size));
}

static void add_live_order(struct inv_order *order)
{
    SLIST_INSERT_HEAD(&order->buyer->live, order, live);
    order->buyer->units += order->quantity;
}

void inv_records_delist(struct inv_order *order)
{
    SLIST_REMOVE(&order->buyer->live, order, inv_order, live);
    order->buyer->units -= order->quantity;
}

struct inv_order *inv_records_add(struct inv_records *records, const struct inv_record *record,
                                  const struct inv_place *place)
{
    char key[PS_KEY_MAX];
    bool key_is_uuid;
    size_t key_size = ps_id_pack(record->key, key, &key_is_uuid);
    struct inv_order *order = inv_arena_take(&records->arena, size_of_order(key_size));
    struct inv_buyer *buyer = NULL;
    if (order == NULL)
        return NULL;
    if (record->user.len > 0) {
        buyer = inv_records_buyer(records, record->user, place->user);
        if (buyer == NULL)
            buyer = add_buyer(records, record->user, place->user);
        if (buyer == NULL) {
            inv_arena_give(&records->arena, order, size_of_order(key_size));
            return NULL;
        }
        buyer->orders++;
    }
    memset(order, 0, offsetof(struct inv_order, key));
    order->buyer = buyer;
    order->id = *record->id;
    order->quantity = record->quantity;
    order->sku = (uint16_t)record->sku;
    order->state = record->state;
    order->key_size = (uint8_t)key_size;
    order->key_is_uuid = key_is_uuid;
    if (key_size > 0) {
        memcpy(order->key, key, key_size);
        inv_table_put(&records->keys, &order->by_key, place->key);
    }
    if (buyer != NULL && record->live)
        add_live_order(order);
    return order;
}

void inv_records_forget(struct inv_records *records, struct inv_order *order)
{
    struct inv_buyer *buyer = order->buyer;
    if (order->key_size > 0)
        inv_table_remove(&records->keys, &order->by_key);
    inv_arena_give(&records->arena, order, size_of_order(order->key_size));
    if (buyer != NULL && --buyer->orders == 0)
        drop_buyer(records, buyer);
}
