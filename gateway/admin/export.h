/* Records of the order log line by line, for a standby. */
#ifndef OP_EXPORT_H
#define OP_EXPORT_H

#include "gateway/admin/admin_internal.h"

/* Answers with up to `limit` (1..1,000) records of the log behind `after`, of all sales. */
void op_export_journal(struct op_request *request, int64_t after, int64_t limit);

#endif
