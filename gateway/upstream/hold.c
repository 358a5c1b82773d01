/* The table in force of a worker, and the tables before it that exchanges still use. */
#include "gateway/upstream/forward_internal.h"

#include "common/text/buf.h"

#include <stdlib.h>

struct up_hold *up_hold_keep(struct up_hold *hold)
{
    hold->users++;
    return hold;
}

struct up_hold *up_worker_hold(struct up_worker *worker)
{
    return up_hold_keep(worker->current);
}

void up_hold_release(struct up_hold *hold)
{
    if (hold == NULL || --hold->users > 0)
        return;
    up_table_drop(hold->table);
    free(hold);
}

uint32_t up_worker_index(const struct up_worker *worker)
{
    return worker->deps.index;
}

const struct up_table *up_worker_table(const struct up_worker *worker)
{
    return worker->current != NULL ? worker->current->table : NULL;
}

struct ps_buf up_worker_scratch(struct up_worker *worker)
{
    struct ps_buf buf;

    ps_buf_init(&buf, worker->scratch, sizeof worker->scratch);
    return buf;
}
