/* Records that operators' commands append to the order log, and that await their outcome. One
 * thread: control. */
#ifndef OP_OUTCOMES_H
#define OP_OUTCOMES_H

#include "common/pool.h"
#include "queue/fold.h"
#include "queue/log.h"

#define OP_OUTCOMES_MAX 4096 /* at once */

/* `order`: what the record was about, as the fold has it; NULL for stock. */
typedef void op_outcome_fn(enum oq_outcome outcome, struct oq_order *order, void *ctx);

/* PS_E_NOMEM. */
int op_outcomes_new(struct ps_pool **ret_outcomes) PS_MUST_CHECK;
/* The ticket (without its owner) of a record that the caller appends next; `done` is called once.
 * If the append is refused, call op_outcomes_forget. PS_E_FULL: too many are awaited. */
int op_outcomes_await(struct ps_pool *outcomes, op_outcome_fn *done, void *ctx,
                      struct oq_ticket *ret_ticket) PS_MUST_CHECK;
void op_outcomes_forget(struct ps_pool *outcomes, const struct oq_ticket *ticket);
/* Reports the outcome of the ticket with this handle; unknown handles are ignored. */
void op_outcomes_deliver(struct ps_pool *outcomes, uint64_t handle, enum oq_outcome outcome,
                         struct oq_order *order);

#endif
