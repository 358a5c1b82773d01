/* A confirm's answer may wait for the standby. */
#ifndef OP_STANDBY_H
#define OP_STANDBY_H

#include "gateway/admin/admin_internal.h"

/* With log.confirm_on_standby: has the standby this record of the journal on its disk, and the
 * newest document of the order's sale? Goods leave on a confirm 200, so it waits for both. Without
 * the setting: true. */
bool op_standby_has(const struct op_admin *admin, int64_t seq, const struct oq_order *order);

#endif
