/* Any bytes as the body of a buy: what is taken is within its bounds. */
#include "fuzz.h"
#include "gateway/admission/order_body.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct adm_order_body body = {0};

    if (adm_order_body_read((struct ps_str){(const char *)bytes, size}, &body) != NULL)
        return 0;
    MUST(body.sku_len <= PS_NAME_MAX && body.sku[body.sku_len] == '\0' && body.quantity >= 0);
    return 0;
}
