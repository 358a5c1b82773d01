/* Any bytes as what Redis holds of an order: read within its bounds, or refused. */
#include "fuzz.h"
#include "inventory/redis_codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const char *text = (const char *)bytes;
    struct inv_cursor cursor = {.at = text, .end = text + size};
    struct inv_packed packed;

    if (inv_get_packed(text, size, &packed) == 0)
        MUST(packed.sku.at >= text && packed.sku.at + packed.sku.len <= text + size &&
             packed.user.at + packed.user.len <= text + size &&
             packed.key.at + packed.key.len <= text + size);
    while (!cursor.bad && cursor.at < cursor.end) {
        struct ps_str read = inv_get_text(&cursor);
        MUST(read.len == 0 || read.at + read.len <= text + size);
        (void)inv_get_int(&cursor);
        (void)inv_get_id(&cursor);
        (void)inv_get_byte(&cursor);
        MUST(cursor.at <= cursor.end);
    }
    return 0;
}
