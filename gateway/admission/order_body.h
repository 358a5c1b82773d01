/* The body of a buy request: {"sku":"…","quantity":1}, quantity optional. */
#ifndef ADM_ORDER_BODY_H
#define ADM_ORDER_BODY_H

#include "common/defs.h"

struct adm_order_body {
    char sku[PS_NAME_MAX + 1];
    size_t sku_len;   /* 0: no SKU can have this name */
    int64_t quantity; /* 0: not a positive integer */
};

/* NULL, or the error as a sentence: not JSON, not an object, or a member that is unknown,
 * duplicate, missing or of a wrong type. Any thread. */
const char *adm_order_body_read(struct ps_str text, struct adm_order_body *ret_body);

#endif
