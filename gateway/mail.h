/* What the log's thread says, as mail to the threads that wait for it. */
#ifndef GW_MAIL_H
#define GW_MAIL_H

#include "gateway/core.h"
#include "gateway/orders/order_events.h"

/* Of core->fold, core->sales, core->metrics. PS_E_NOMEM. */
int gw_events_new(struct gw_core *core) PS_MUST_CHECK;

#endif
