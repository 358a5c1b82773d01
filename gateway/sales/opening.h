/* Arming: how a sale's stock comes into the log and the counter, shortly before it opens, and again
 * at each start of the gateway. */
#ifndef SALE_OPENING_H
#define SALE_OPENING_H

#include "gateway/control.h"

/* From this long before opens_at on, stock changes only by adjustment. */
#define SALE_OPENING_LEAD_MS 2000

struct sale_load_job;

/* A step of every sale that is due for one. */
void sale_opening_tick(struct gw_control *control);
/* The log has the sale's beginning - its first fence in each partition, its initial stock - and no
 * SKU that the document lacks before those that it has? Else it is refused, loudly. From then on
 * the document's SKUs are the first of the sale's in the fold. */
bool sale_opening_check(struct gw_control *control, struct gw_control_sale *sale);
/* Counts and names a SKU that only a stranger's record knows of. */
void sale_opening_note_stranger(struct gw_control *control, const char *sale, const char *sku);
/* The control state is to say `opening`, which is for clusters: from then on no gateway lets the
 * stock in the document change. clu_noted is the answer. */
void sale_opening_note_opening(struct gw_control *control, struct gw_control_sale *sale);
/* The control state is to say `opened`; in a cluster clu_noted is the answer. */
void sale_opening_note(struct gw_control *control, struct gw_control_sale *sale);
/* GW_MAIL_LOADED. */
void sale_opening_loaded(struct gw_control *control, struct sale_load_job *job);

#endif
