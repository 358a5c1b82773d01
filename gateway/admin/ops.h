/* The gateways of the cluster, for other parts. */
#ifndef OP_OPS_H
#define OP_OPS_H

#include "gateway/admin/admin_internal.h"

/* This gateway at index 0, then the others: {"gateway","this","alive","leads","heartbeat_age_ms"}.
 * *ret_json NULL: out of memory. False: there is none at this index. */
bool op_gateway_at(const struct op_admin *admin, size_t index, json_t **ret_json);

#endif
