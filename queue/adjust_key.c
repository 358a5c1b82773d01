/* See adjust_key.h. A key is checked against the sale and the SKU in its record. Both are names,
 * which contain no "/", so a key can be parsed in one way only. */
#include "queue/adjust_key.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

static size_t print_key(const char *kind, const char *sale, struct ps_str name,
                        char ret_key[OQ_ADJUST_KEY_MAX + 1])
{
    return (size_t)snprintf(ret_key, OQ_ADJUST_KEY_MAX + 1, "%s:%s/%.*s", kind, sale, (int)name.len,
                            name.at);
}

size_t oq_adjust_key(const char *sale, struct ps_str adjust_id, char ret_key[OQ_ADJUST_KEY_MAX + 1])
{
    return print_key("adjust", sale, adjust_id, ret_key);
}

size_t oq_initial_key(const char *sale, const char *sku, char ret_key[OQ_ADJUST_KEY_MAX + 1])
{
    return print_key("initial", sale, ps_str(sku), ret_key);
}

/* Does `key` read `prefix` `sale` "/" and then a name? */
static bool key_has(struct ps_str key, struct ps_str prefix, struct ps_str sale,
                    struct ps_str *ret_rest)
{
    size_t head = prefix.len + sale.len + 1;
    if (key.len <= head || memcmp(key.at, prefix.at, prefix.len) != 0 ||
        memcmp(key.at + prefix.len, sale.at, sale.len) != 0 || key.at[head - 1] != '/')
        return false;
    *ret_rest = (struct ps_str){key.at + head, key.len - head};
    return ps_name_ok(ret_rest->at, ret_rest->len);
}

bool oq_adjust_key_is_initial(struct ps_str key, struct ps_str sale, struct ps_str sku)
{
    struct ps_str rest;
    return key_has(key, PS_STR("initial:"), sale, &rest) && rest.len == sku.len &&
           memcmp(rest.at, sku.at, rest.len) == 0;
}

bool oq_adjust_key_ok(struct ps_str key, struct ps_str sale, struct ps_str sku)
{
    struct ps_str rest;
    return key_has(key, PS_STR("adjust:"), sale, &rest) || oq_adjust_key_is_initial(key, sale, sku);
}

void oq_adjust_ref(struct ps_str key, struct ps_uuid *ret_ref)
{
    _Static_assert(sizeof ret_ref->byte >= crypto_generichash_BYTES_MIN, "BLAKE2b gives 16 bytes");
    (void)crypto_generichash(ret_ref->byte, sizeof ret_ref->byte, (const unsigned char *)key.at,
                             key.len, NULL, 0);
}
