/* The parts that the threads of one gateway share, and the messages between them. This is the
 * closed list: limit table, counter, log, fold (readers), metric shards, mailboxes. Everything else
 * belongs to one thread.
 *
 * With Redis each thread that asks the counter has a link of its own: worker->store, and the
 * control thread's control_store.
 *
 *   worker i   gateway/worker.c    public requests: gates, reserve, append, answer
 *   control    gateway/control.c   admin listener, sales, cluster, signals, publication of policies
 *   log        queue/log_*.c       commits, then the fold; calls gateway/orders/order_events.c */
#ifndef GW_CORE_H
#define GW_CORE_H

#include "common/clock.h"
#include "common/mailbox.h"
#include "common/metrics.h"
#include "gateway/admission/limit_table.h"
#include "gateway/answers/readiness.h"
#include "gateway/config/snapshot.h"
#include "gateway/metrics.h"
#include "gateway/settings.h"
#include "inventory/store.h"
#include "inventory/store_redis.h"
#include "queue/fold.h"
#include "queue/log.h"

struct gw_worker;
struct clu_cluster;
struct ord_events;
struct sale_runs;

/* Kinds of mail, one list for all mailboxes. */
enum gw_mail_kind {
    GW_MAIL_ORDER, /* log -> owner of a ticket: handle, result = enum oq_outcome, ptr = the oq_order
                      (borrowed, may be NULL) */
    GW_MAIL_POLICY, /* control -> worker: ptr = struct cfg_snapshot, borrowed until acknowledged */
    GW_MAIL_POLICY_ACK, /* worker -> control: value = the version that is now in use there */
    GW_MAIL_DRAIN,      /* control -> worker: stop listening */
    GW_MAIL_STOP,       /* control -> worker: close all and leave the loop */
    GW_MAIL_STATE,      /* log -> control: the log's state changed; value = available */
    GW_MAIL_SALES,      /* any thread -> control: sale_mail */
    GW_MAIL_DONE        /* job thread -> control: a job of the control store is done; ptr = job */
};

/* Owners of log tickets: workers by index, then the control thread. */
#define GW_OWNER_CONTROL OQ_OWNER_MAX

struct gw_core {
    const struct gw_settings *settings;
    const struct ps_clock *clock;
    char gateway_id[PS_NAME_MAX + 1];
    struct adm_limit_table *limits;
    struct ps_uuid start;    /* of this start of the process: the owner of what it reserves */
    struct inv_redis *redis; /* backends.c: NULL, or what all links to Redis share */
    struct inv_store *store; /* for every thread; NULL with Redis, where each has its own */
    struct inv_store *control_store; /* the control thread's; with memory the same as `store` */
    struct clu_cluster *cluster;
    struct sale_runs *sales;
    struct oq_log *log;
    struct oq_fold *fold;
    struct ord_events *events;
    struct ps_metrics *metrics;
    size_t worker_count;
    struct gw_worker **workers;
    struct ps_mailbox *control_mail;
    _Atomic(bool) draining;          /* readyz fails from here on */
    _Atomic(bool) ready;             /* start-up is complete */
    _Atomic(int64_t) store_error_ns; /* until then no more is said of errors of Redis: backends.c */
};

/* Sets the metrics that other parts count by themselves (gather.c). The control thread, always with
 * the same shard. */
void gw_core_gather(const struct gw_core *core, struct ps_metrics_shard *shard);

/* Can buyers be served? `core` is a struct gw_core. Any thread. */
void gw_core_readiness(void *core, struct ans_readiness *ret_readiness);

#endif
