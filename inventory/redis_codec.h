/* clang-format off: the list keeps its lines */
/* How a sale lies in Redis, and how it is packed. Private to the Redis backend; reserve.lua is the
 * other side.
 *
 *   ps:{sale}:current    hash    epoch, identity of the server
 *   ps:{sale}:E:stock    hash    sku, sku/in_doubt, sku/held, sku/confirmed -> units;
 *                                sku/reserved_total -> how many orders have reserved units of it
 *   ps:{sale}:E:doubt    hash    id -> entry + owner (16 bytes): orders and lowerings in doubt
 *   ps:{sale}:E:order    hash    id -> entry: what is decided and still counts (held, confirmed,
 *                                lowered, and given back with a key)
 *   ps:{sale}:E:user     hash    user -> buyer
 *   ps:{sale}:E:idem     hash    length of user ':' user key -> id, digest of the payload
 *   ps:{sale}:E:adjust   set     ids of raises
 *   ps:{sale}:E:applied  hash    partition -> offset up to which effects are applied
 *   ps:{sale}:lock       string  the start that builds the counters again
 *   ps:gateways          hash    start id -> time, heartbeat
 *   ps:leader            string  the start that has the leader's lease
 *   ps:log               string  the order log that this Redis is used for
 *
 *   entry            state (1), reserved_at_ms (8), ttl_ms (8), quantity (8), sku, user, key
 *   buyer            units (8), number of SKUs (1), each: sku, units (8); then
 *                    ids of their last live orders (16 each, at most 16, oldest first)
 *
 * Ids are 16 raw bytes, numbers are big-endian and at most PS_INT_MAX, texts have their length (1)
 * before them. An epoch E is decimal. */
/* clang-format on */
#ifndef INV_REDIS_CODEC_H
#define INV_REDIS_CODEC_H

#include "inventory/store.h"

enum {
    INV_KEY_CURRENT,
    INV_KEY_STOCK,
    INV_KEY_USER,
    INV_KEY_DOUBT,
    INV_KEY_ORDER,
    INV_KEY_IDEM,
    INV_KEY_ADJUST,
    INV_KEY_APPLIED,
    INV_KEYS
};
#define INV_KEY_MAX    (PS_NAME_MAX + 40)
#define INV_DIGEST_LEN 32
#define INV_LAST_IDS   16

enum { INV_STATE_LOWERING = INV_GIVEN_BACK + 1, INV_STATE_LOWERED };
/* A result of reserve.lua; the others are in enum inv_result. */
enum { INV_RESULT_AGAIN = 5, INV_RESULT_CONFLICT };

#define INV_ID_LEN        16
#define INV_ENTRY_MAX     (1 + 3 * 8 + 3 + PS_NAME_MAX + PS_USER_MAX + PS_KEY_MAX)
#define INV_REST_MAX      (INV_ENTRY_MAX - 9 + INV_ID_LEN) /* behind its time, with its owner */
#define INV_FIRST_MAX     (8 + 1 + 1 + PS_NAME_MAX + 8 + INV_ID_LEN)
#define INV_KEY_FIELD_MAX (4 + PS_USER_MAX + PS_KEY_MAX)
#define INV_KEY_VALUE_LEN (INV_ID_LEN + INV_DIGEST_LEN)
#define INV_ITEM_MAX                                                                               \
    (3 * 8 + 1 + PS_NAME_MAX + 2 + INV_REST_MAX + 1 + INV_FIRST_MAX + 1 + INV_KEY_VALUE_LEN)
#define INV_EFFECT_MAX (1 + INV_ID_LEN + 8 + 1 + PS_NAME_MAX)

/* The names of a sale's keys under an epoch; all in one block. */
struct inv_keys {
    char name[INV_KEYS][INV_KEY_MAX];
    size_t len[INV_KEYS];
};
void inv_keys_of(struct inv_keys *ret_keys, const char *sale, int64_t epoch);

/* Decimal, with a NUL; returns its length. */
#define INV_INT_TEXT 24
size_t inv_print_int(char ret_text[INV_INT_TEXT], int64_t value);

/* --- Writing: each returns the place behind what it wrote. --- */
char *inv_put_bytes(char *at, const void *bytes, size_t len);
char *inv_put_int(char *at, int64_t value);
char *inv_put_text(char *at, struct ps_str text);
char *inv_put_id(char *at, const struct ps_uuid *id);
/* `sku` by name. A lowering is a reservation without user and caps; its name is in the place of a
 * key, and is no key. `owner` NULL: it only looks. */
char *inv_put_item(char *at, const struct inv_reservation *reservation, struct ps_str sku,
                   const struct ps_uuid *owner);
char *inv_put_verdict(char *at, const struct ps_uuid *id, enum inv_verdict verdict);
char *inv_put_raise(char *at, const struct ps_uuid *id, int64_t units, struct ps_str sku);
char *inv_put_applied(char *at, uint32_t partition, int64_t offset);
char *inv_put_entry(char *at, const struct inv_load_order *order, struct ps_str sku);
char *inv_put_key_field(char *at, struct ps_str user, struct ps_str key);
char *inv_put_key_value(char *at, const struct ps_uuid *id, struct ps_str sku, int64_t quantity);

/* --- Reading. --- */

/* A reader's position; after a read past the end `bad` is set and all reads return nothing. */
struct inv_cursor {
    const char *at, *end;
    bool bad;
};
int64_t inv_get_int(struct inv_cursor *cursor);
uint8_t inv_get_byte(struct inv_cursor *cursor);
struct ps_str inv_get_text(struct inv_cursor *cursor);
struct ps_uuid inv_get_id(struct inv_cursor *cursor);

/* An entry of doubt or order, texts borrowed. PS_E_CORRUPT. */
struct inv_packed {
    uint8_t state;
    int64_t quantity, reserved_at_ms, ttl_ms;
    struct ps_str sku, user, key;
    struct ps_uuid owner; /* all zero in order */
};
int inv_get_packed(const char *text, size_t len, struct inv_packed *ret_packed) PS_MUST_CHECK;

#endif
