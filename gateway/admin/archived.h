/* Answers from the archives of ended sales. A read scans a file, in bounded memory. */
#ifndef OP_ARCHIVED_H
#define OP_ARCHIVED_H

#include "gateway/admin/admin_internal.h"

#include "queue/archive.h"

#include <limits.h>

/* A walk through an archive. While it runs, a work thread owns it. */
struct op_archived {
    char path[PATH_MAX];
    char sale[PS_NAME_MAX + 1];
    int64_t after, limit;
    int state;                  /* enum oq_state, -1 = all; void ones count as released */
    int type;                   /* of records: enum oq_type, -1 = all */
    char user[OQ_HASH_LEN + 1]; /* as the archive has it; "" = all */
    const char *request;        /* the id of the request that made the order; "" = all */
    struct ps_buf *buf;         /* has room for `limit` lines */
    int64_t count, last;
    struct ps_fault fault;
};

/* Is the sale in an archive, so that counter and log here no longer have its orders? Ask it after
 * an order was not found: the log says so before the fold forgets the sale. */
bool op_is_archived(const struct sale_entry *sale);
/* The walk through a sale's archive. PS_E_INVALID: the path is too long. */
int op_archived_init(struct op_archived *archived, const struct op_admin *admin,
                     const char *sale) PS_MUST_CHECK;
/* Records as the log gives them out line by line; orders as in lists. Errors of oq_archive_read. */
int op_archived_log(struct op_archived *archived) PS_MUST_CHECK;
int op_archived_orders(struct op_archived *archived) PS_MUST_CHECK;

/* Answers GET, or a command, of an order from the archives that may have it. Their orders are
 * final. False: no archive can have it. */
enum op_order_wish { OP_ORDER_SHOW, OP_ORDER_CONFIRM, OP_ORDER_CANCEL };
bool op_archived_order(struct op_request *request, const struct ps_uuid *id,
                       enum op_order_wish wish);
/* Can an archive have the order? */
bool op_may_be_archived(const struct op_admin *admin, const struct ps_uuid *id);
/* The same, and nothing else can: it is in doubt nowhere. */
bool op_is_only_archived(const struct op_admin *admin, const struct ps_uuid *id);
/* Answers GET of an archived sale's audit: reads and checks the file. */
void op_archived_audit(struct op_request *request, const struct sale_entry *sale);

#endif
