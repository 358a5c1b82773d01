/* What an answer to a confirm waits for. */
#ifndef OP_STANDBY_H
#define OP_STANDBY_H

#include "gateway/admin/admin_internal.h"

/* Has the standby this record of the journal on its disk? */
bool op_standby_has(const struct op_admin *admin, int64_t seq);

#endif
