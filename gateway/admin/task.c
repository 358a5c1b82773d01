/* A task keeps a copy of who asked, and the request's handle: see admin_internal.h. */
#include "gateway/admin/task.h"

#include <string.h>

void op_task_init(struct op_task *task, const struct op_request *request, const char *action,
                  void (*free)(struct op_task *task))
{
    struct op_audit_entry *entry = &task->entry;

    entry->admin = request->admin;
    entry->action = action;
    memcpy(entry->who, request->who, sizeof entry->who);
    memcpy(entry->peer, request->peer, sizeof entry->peer);
    memcpy(entry->why, request->why, sizeof entry->why);
    task->free = free;
}

struct op_request *op_task_request(const struct op_task *task)
{
    return op_find(task->entry.admin, task->handle);
}

void op_task_keep(struct op_tasks *list, struct op_task *task)
{
    TAILQ_INSERT_TAIL(list, task, next);
}

void op_task_take(struct op_tasks *list, struct op_task *task)
{
    TAILQ_REMOVE(list, task, next);
}

void op_task_free_all(struct op_tasks *list)
{
    struct op_task *task;

    while ((task = TAILQ_FIRST(list)) != NULL) {
        TAILQ_REMOVE(list, task, next);
        task->free(task);
    }
}
