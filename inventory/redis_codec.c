/* Packing and unpacking, in the layouts that the header names. */
#include "inventory/redis_codec.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

enum { EFFECT_VERDICT = 1, EFFECT_RAISE, EFFECT_APPLIED };

void inv_keys_of(struct inv_keys *ret_keys, const char *sale, int64_t epoch)
{
    static const char *const names[INV_KEYS] = {
        [INV_KEY_CURRENT] = "current", [INV_KEY_STOCK] = "stock",    [INV_KEY_USER] = "user",
        [INV_KEY_DOUBT] = "doubt",     [INV_KEY_ORDER] = "order",    [INV_KEY_IDEM] = "idem",
        [INV_KEY_ADJUST] = "adjust",   [INV_KEY_APPLIED] = "applied"};
    struct inv_keys *keys = ret_keys;
    keys->len[0] = (size_t)snprintf(keys->name[0], INV_KEY_MAX, "ps:{%s}:%s", sale, names[0]);
    for (size_t i = 1; i < INV_KEYS; i++)
        keys->len[i] = (size_t)snprintf(keys->name[i], INV_KEY_MAX, "ps:{%s}:%" PRId64 ":%s", sale,
                                        epoch, names[i]);
}

size_t inv_print_int(char ret_text[INV_INT_TEXT], int64_t value)
{
    return (size_t)snprintf(ret_text, INV_INT_TEXT, "%" PRId64, value);
}

static char *put_byte(char *at, unsigned value)
{
    *at = (char)(unsigned char)value;
    return at + 1;
}

char *inv_put_bytes(char *at, const void *bytes, size_t len)
{
    if (len > 0) /* else bytes may be NULL */
        memcpy(at, bytes, len);
    return at + len;
}

char *inv_put_int(char *at, int64_t value)
{
    for (int shift = 56; shift >= 0; shift -= 8)
        at = put_byte(at, (unsigned)((uint64_t)value >> shift) & 0xff);
    return at;
}

char *inv_put_text(char *at, struct ps_str text)
{
    at = put_byte(at, (unsigned)text.len);
    return inv_put_bytes(at, text.at, text.len);
}

char *inv_put_id(char *at, const struct ps_uuid *id)
{
    return inv_put_bytes(at, id->byte, sizeof id->byte);
}

/* SHA-256 of the SKU, a line feed and the quantity: what an order is about, so that the log can
 * reproduce it. */
static char *put_digest(char *at, struct ps_str sku, int64_t quantity)
{
    char text[PS_NAME_MAX + 24];
    int len = snprintf(text, sizeof text, "%.*s\n%" PRId64, (int)sku.len, sku.at, quantity);
    (void)crypto_hash_sha256((unsigned char *)at, (const unsigned char *)text,
                             (unsigned long long)len);
    return at + INV_DIGEST_LEN;
}

/* What follows the time in an entry. */
static char *put_rest(char *at, const struct inv_reservation *r, struct ps_str sku)
{
    at = inv_put_int(at, r->ttl_ms);
    at = inv_put_int(at, r->quantity);
    at = inv_put_text(at, sku);
    at = inv_put_text(at, r->user);
    return inv_put_text(at, r->key);
}

/* The buyer, if this is their only order. */
static char *put_first(char *at, const struct inv_reservation *r, struct ps_str sku)
{
    at = inv_put_int(at, r->quantity);
    at = put_byte(at, 1);
    at = inv_put_int(inv_put_text(at, sku), r->quantity);
    return inv_put_id(at, &r->order_id);
}

char *inv_put_item(char *at, const struct inv_reservation *r, struct ps_str sku,
                   const struct ps_uuid *owner)
{
    at = inv_put_int(at, r->quantity);
    at = inv_put_int(at, r->cap);
    at = inv_put_int(at, r->sku_cap);
    at = inv_put_text(at, sku);

    char *end = owner != NULL ? inv_put_id(put_rest(at + 2, r, sku), owner) : at + 2;
    unsigned len = (unsigned)(end - (at + 2));
    (void)put_byte(put_byte(at, len >> 8), len & 0xff);
    at = end;

    end = r->user.len > 0 ? put_first(at + 1, r, sku) : at + 1;
    (void)put_byte(at, (unsigned)(end - (at + 1)));
    bool keyed = r->key.len > 0 && r->user.len > 0;
    at = put_byte(end, keyed ? INV_KEY_VALUE_LEN : 0);
    return keyed ? inv_put_key_value(at, &r->order_id, sku, r->quantity) : at;
}

char *inv_put_verdict(char *at, const struct ps_uuid *id, enum inv_verdict verdict)
{
    at = put_byte(at, EFFECT_VERDICT);
    at = inv_put_id(at, id);
    return put_byte(at, (unsigned)verdict);
}

char *inv_put_raise(char *at, const struct ps_uuid *id, int64_t units, struct ps_str sku)
{
    at = put_byte(at, EFFECT_RAISE);
    at = inv_put_id(at, id);
    at = inv_put_int(at, units);
    return inv_put_text(at, sku);
}

char *inv_put_applied(char *at, uint32_t partition, int64_t offset)
{
    char text[12];
    int len = snprintf(text, sizeof text, "%" PRIu32, partition);
    at = put_byte(at, EFFECT_APPLIED);
    at = inv_put_int(at, offset);
    return inv_put_text(at, (struct ps_str){text, (size_t)len});
}

char *inv_put_entry(char *at, const struct inv_load_order *order, struct ps_str sku)
{
    static const uint8_t state_of[] = {[INV_LOAD_HELD] = INV_HELD,
                                       [INV_LOAD_CONFIRMED] = INV_CONFIRMED_UNITS,
                                       [INV_LOAD_RELEASED] = INV_GIVEN_BACK};
    const struct inv_reservation r = {
        .user = order->user, .key = order->key, .quantity = order->quantity};
    at = put_byte(at, state_of[order->state]);
    at = inv_put_int(at, 0); /* the counter does not need the log's reservation times */
    return put_rest(at, &r, sku);
}

char *inv_put_key_field(char *at, struct ps_str user, struct ps_str key)
{
    char number[8];
    int len = snprintf(number, sizeof number, "%u:", (unsigned)user.len);
    at = inv_put_bytes(at, number, (size_t)len);
    at = inv_put_bytes(at, user.at, user.len);
    return inv_put_bytes(at, key.at, key.len);
}

char *inv_put_key_value(char *at, const struct ps_uuid *id, struct ps_str sku, int64_t quantity)
{
    return put_digest(inv_put_id(at, id), sku, quantity);
}

/* --- reading --- */

static const char *get_bytes(struct inv_cursor *cursor, size_t len)
{
    const char *at = cursor->at;
    if (cursor->bad || (size_t)(cursor->end - at) < len) {
        cursor->bad = true;
        return NULL;
    }
    cursor->at += len;
    return at;
}

int64_t inv_get_int(struct inv_cursor *cursor)
{
    const char *at = get_bytes(cursor, 8);
    uint64_t value = 0;
    for (int i = 0; at != NULL && i < 8; i++)
        value = value << 8 | (unsigned char)at[i];
    return (int64_t)value;
}

uint8_t inv_get_byte(struct inv_cursor *cursor)
{
    const char *at = get_bytes(cursor, 1);
    return at != NULL ? (uint8_t)*at : 0;
}

struct ps_str inv_get_text(struct inv_cursor *cursor)
{
    size_t len = inv_get_byte(cursor);
    const char *at = get_bytes(cursor, len);
    return at != NULL ? (struct ps_str){at, len} : (struct ps_str){"", 0};
}

struct ps_uuid inv_get_id(struct inv_cursor *cursor)
{
    struct ps_uuid id = {{0}};
    const char *at = get_bytes(cursor, sizeof id.byte);
    if (at != NULL)
        memcpy(id.byte, at, sizeof id.byte);
    return id;
}

int inv_get_packed(const char *text, size_t len, struct inv_packed *ret_packed)
{
    struct inv_cursor cursor = {text, text + len, false};
    struct inv_packed packed = {.state = inv_get_byte(&cursor)};
    packed.reserved_at_ms = inv_get_int(&cursor);
    packed.ttl_ms = inv_get_int(&cursor);
    packed.quantity = inv_get_int(&cursor);
    packed.sku = inv_get_text(&cursor);
    packed.user = inv_get_text(&cursor);
    packed.key = inv_get_text(&cursor);
    if (cursor.at < cursor.end)
        packed.owner = inv_get_id(&cursor);
    if (cursor.bad || cursor.at != cursor.end || packed.state > INV_STATE_LOWERED ||
        !ps_int_ok(packed.reserved_at_ms, 0) || !ps_int_ok(packed.ttl_ms, 0) ||
        !ps_int_ok(packed.quantity, 1) || packed.sku.len > PS_NAME_MAX ||
        packed.user.len > PS_USER_MAX || packed.key.len > PS_KEY_MAX)
        return PS_E_CORRUPT;
    *ret_packed = packed;
    return 0;
}
