/* Mail between the gateway's threads: its kinds, and what the log's thread sends to waiting
 * threads. */
#ifndef GW_MAIL_H
#define GW_MAIL_H

#include "common/program/mailbox.h"
#include "queue/log.h"

struct gw_workers;
struct oq_order;

/* One list for all mailboxes. */
enum gw_mail_kind {
    GW_MAIL_ORDER, /* log -> owner of a ticket: handle, result = enum oq_outcome, ptr = the oq_order
                      (borrowed, may be NULL); value: of a worker's ticket its durable_ns, else its
                      kind */
    GW_MAIL_SNAPSHOT, /* control -> worker: ptr = struct snapshot, borrowed until acknowledged */
    GW_MAIL_SNAPSHOT_ACK, /* worker -> control: value = the version that is now in use there */
    GW_MAIL_OPEN,         /* control -> worker: accept connections */
    GW_MAIL_LEAVE,        /* control -> worker: let every answer close its connection */
    GW_MAIL_DRAIN,        /* control -> worker: stop listening */
    GW_MAIL_STOP,         /* control -> worker: close all and leave the loop */
    /* control -> worker: an order for the breaker before the counter; handle = id, result = enum
     * ps_breaker_order. Obeyed when the worker shows it. */
    GW_MAIL_BREAKER,
    GW_MAIL_CACHE, /* worker or control -> worker: cache_wakeups_deliver */
    GW_MAIL_STATE, /* log -> control: the log's state changed; value = available */
    GW_MAIL_SALES, /* any thread -> control: sale_mail */
    GW_MAIL_FOLD,  /* control -> worker -> control: value = what the fold had retired: the worker
                      holds no order now */
    /* control -> worker: ptr = the exp_case to run; worker -> control: ptr = what is under way */
    GW_MAIL_EXPLAIN,
    GW_MAIL_DONE /* job thread -> control: a job of the control store is done; ptr = job */
};

/* Owners of log tickets: workers by index, then the control thread. */
#define GW_OWNER_CONTROL OQ_OWNER_MAX

/* Where the log's thread sends to. */
struct gw_mailboxes {
    struct ps_mailbox *control;
    const struct gw_workers *workers;
};

/* `deliver` and `on_state` of orders/order_events.h; `mailboxes` is a struct gw_mailboxes. */
void gw_mail_outcome(const struct oq_ticket *ticket, enum oq_outcome outcome,
                     struct oq_order *order, void *mailboxes);
void gw_mail_log_state(bool available, void *mailboxes);

#endif
