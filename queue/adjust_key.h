/* The keys of stock adjustments. A key names its sale, so that no two sales share one:
 *
 *   adjust:{sale}/{adjust_id}   an operator's; {adjust_id} is a name
 *   initial:{sale}/{sku}        the stock that the sale opens with */
#ifndef OQ_ADJUST_KEY_H
#define OQ_ADJUST_KEY_H

#include "common/text/id.h"

#define OQ_ADJUST_KEY_MAX (8 + PS_NAME_MAX + 1 + PS_NAME_MAX)

/* Prints a key of either kind, from names; returns its length. */
size_t oq_adjust_key(const char *sale, struct ps_str adjust_id,
                     char ret_key[OQ_ADJUST_KEY_MAX + 1]);
size_t oq_initial_key(const char *sale, const char *sku, char ret_key[OQ_ADJUST_KEY_MAX + 1]);

/* Does `key` belong to this sale and SKU? A key of the first kind does not name the SKU. */
bool oq_adjust_key_ok(struct ps_str key, struct ps_str sale, struct ps_str sku);
bool oq_adjust_key_is_initial(struct ps_str key, struct ps_str sale, struct ps_str sku);

/* 16 bytes that represent an adjust key where an order id is expected (counter entries): BLAKE2b of
 * the key. */
void oq_adjust_ref(struct ps_str key, struct ps_uuid *ret_ref);

#endif
