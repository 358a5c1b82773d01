/* A pool of waiting commands. Its handles are in the tickets, so a late or foreign outcome matches
 * no command. */
#include "gateway/admin/outcomes.h"

struct waiter {
    op_outcome_fn *done;
    void *ctx;
};

int op_outcomes_new(struct ps_pool **ret_outcomes)
{
    return ps_pool_new(OP_OUTCOMES_MAX, sizeof(struct waiter), ret_outcomes);
}

int op_outcomes_await(struct ps_pool *outcomes, op_outcome_fn *done, void *ctx,
                      struct oq_ticket *ret_ticket)
{
    struct waiter *waiter = ps_pool_take(outcomes);

    if (waiter == NULL)
        return PS_E_FULL;
    *waiter = (struct waiter){.done = done, .ctx = ctx};
    *ret_ticket = (struct oq_ticket){.handle = ps_pool_handle(outcomes, waiter)};
    return 0;
}

void op_outcomes_forget(struct ps_pool *outcomes, const struct oq_ticket *ticket)
{
    struct waiter *waiter = ps_pool_find(outcomes, ticket->handle);

    if (waiter != NULL)
        ps_pool_give(outcomes, waiter);
}

void op_outcomes_deliver(struct ps_pool *outcomes, uint64_t handle, enum oq_outcome outcome,
                         struct oq_order *order)
{
    struct waiter *found = ps_pool_find(outcomes, handle);

    if (found == NULL)
        return;
    struct waiter waiter = *found;
    ps_pool_give(outcomes, found);
    waiter.done(outcome, order, waiter.ctx);
}
