/* Sales in force, for other parts. */
#ifndef OP_SALES_H
#define OP_SALES_H

#include "gateway/admin/admin_internal.h"

/* One SKU's numbers: {"available","in_doubt","held","confirmed","adjustments"}. */
json_t *op_sku_json(const struct op_admin *admin, const struct sale_entry *sale, const char *sku);
/* True: it was served since the start; if it is fenced now, it will be served again. */
bool op_is_served(const struct sale_entry *sale);
/* The sale that the path names. NULL: answered with 404. */
struct sale_entry *op_sale(struct op_request *request);

#endif
