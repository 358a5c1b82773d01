/* The figures of pools and routes. */
#ifndef OP_POOLS_H
#define OP_POOLS_H

#include "gateway/admin/admin_internal.h"

/* Print the samples of a row: of pools and routes, of the discovery of endpoints. */
void op_print_pools(FILE *out, enum gw_metric row, const struct op_admin *admin);
void op_print_discovery(FILE *out, enum gw_metric row, const struct op_admin *admin);

#endif
