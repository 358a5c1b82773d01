/* A command by an operator that outlives its request: it ends when the order log has decided,
 * whether or not the request still waits, because its audit entry is written then. One thread:
 * control. */
#ifndef OP_TASK_H
#define OP_TASK_H

#include "gateway/admin/admin_internal.h"

/* First member of the struct that it is part of. */
struct op_task {
    struct op_audit_entry entry; /* first: the author, the action and the reason */
    uint64_t handle;             /* of the request: op_find */
    void (*free)(struct op_task *task);
    TAILQ_ENTRY(op_task) next;
};

/* `action` must be a literal. The caller prints entry.target. */
void op_task_init(struct op_task *task, const struct op_request *request, const char *action,
                  void (*free)(struct op_task *task));
/* Its request, or NULL: answered, or its client has left. */
struct op_request *op_task_request(const struct op_task *task);

/* Adds it to a list of the listener, which frees the rest when it closes; removes it. */
void op_task_keep(struct op_tasks *list, struct op_task *task);
void op_task_take(struct op_tasks *list, struct op_task *task);
void op_task_free_all(struct op_tasks *list);

#endif
