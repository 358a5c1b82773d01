/* What sales/ needs of the control thread: documents of sales, notes in their state,
 * publication. */
#ifndef GW_SALE_HOST_H
#define GW_SALE_HOST_H

#include "gateway/control.h"

/* ctx = the control thread's struct gw_control. */
struct sale_host gw_sale_host(struct gw_control *control);

#endif
