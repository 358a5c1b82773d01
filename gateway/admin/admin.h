/* The admin listener: how operators and tools see and change a running gateway. It lives on the
 * control thread and answers from its memory; nothing in it waits or locks. */
#ifndef OP_ADMIN_H
#define OP_ADMIN_H

#include "gateway/control.h"

struct op_admin;

/* Serves `listen_fd` (bound and listening; owned by the listener afterwards) on the control
 * thread's loop. `drain(ctx)` is called when an operator asks for the end of the process.
 * PS_E_NOMEM, PS_E_IO. What SIGHUP may change of the settings (hosts, metrics_open) is read anew at
 * each request. */
int op_admin_new(struct gw_control *control, int listen_fd, void (*drain)(void *ctx), void *ctx,
                 struct op_admin **ret_admin) PS_MUST_CHECK;
/* Nothing waits for its answer, and nothing that was answered waits for its audit line. */
bool op_admin_idle(const struct op_admin *admin);
/* The outcome of a record whose ticket names the control thread as its owner. */
void op_admin_outcome(struct op_admin *admin, uint64_t handle, enum oq_outcome outcome,
                      struct oq_order *order);
/* Answers what still waits with 503 draining and closes. No op_admin_outcome afterwards. The loop
 * must turn until its handles are closed and gw_control_free must have ended the open changes; then
 * the memory has gone. NULL is allowed. */
void op_admin_free(struct op_admin *admin);

#endif
