/* The admin listener: how operators and tools see and change a running gateway. It lives on the
 * control thread and answers from its memory; nothing in it waits or locks. */
#ifndef GW_ADMIN_H
#define GW_ADMIN_H

#include "gateway/control/control.h"

struct gw_admin;

/* Serves `listen_fd` (bound and listening; owned by the listener afterwards) on the control
 * thread's loop. `drain(ctx)` is called when an operator asks for the end of the process.
 * PS_E_NOMEM, PS_E_IO. What SIGHUP may change of the settings (hosts, metrics_open) is read anew at
 * each request. */
int gw_admin_new(struct gw_control *control, int listen_fd, void (*drain)(void *ctx), void *ctx,
                 struct gw_admin **ret_admin) PS_MUST_CHECK;
/* Nothing waits for its answer, and nothing that was answered waits for its audit line. */
bool gw_admin_idle(const struct gw_admin *admin);
/* Answers what still waits with 503 draining and closes. No outcome of the log may be delivered to
 * the control thread afterwards. The loop must turn until its handles are closed and
 * gw_control_free must have ended the open changes; then the memory has gone. NULL is allowed. */
void gw_admin_free(struct gw_admin *admin);

#endif
