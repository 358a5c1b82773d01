/* Keeps the fold in a file (fold.checkpoint in the state directory), so that a start reads only the
 * end of the log, and keeps it small, by freeing the memory of forgotten sales.
 *
 * A checkpoint is written after many records, or after a few records and some minutes, and at the
 * end; not while the gateway is overloaded, and for a small part of the time. Memory is freed when
 * no thread can use it any more: every worker has reported that it holds no order, and no reader on
 * another thread is within the fold.
 *
 * The control thread's, unless a function says otherwise. */
#ifndef GW_KEEPER_H
#define GW_KEEPER_H

#include "common/clock.h"
#include "gateway/worker.h"
#include "queue/checkpoint.h"

struct gw_keeper;
struct ord_events;
struct sale_runs;

struct gw_keeper_deps {
    const struct ps_clock *clock;
    struct oq_fold *fold;
    struct sale_runs *sales;
    const struct gw_workers *workers;
    const char *path; /* of the file; copied */
};

/* Reads the file, if there is a usable one. PS_E_NOMEM. */
int gw_keeper_new(const struct gw_keeper_deps *deps, struct gw_keeper **ret_keeper) PS_MUST_CHECK;
void gw_keeper_free(struct gw_keeper *keeper); /* call it after the log is freed; NULL is allowed */
/* For opening the log. NULL: there is no file. */
const struct oq_mark *gw_keeper_marks(const struct gw_keeper *keeper, uint32_t *ret_count);
/* on_marks of log.h: fills the fold. On the thread that opens the log, or the log's. */
int gw_keeper_on_marks(bool fits, const char *why, struct oq_sale_marks *sales, void *keeper);
/* `events` reclaims memory; both outlive the keeper's last tick. */
void gw_keeper_open(struct gw_keeper *keeper, struct oq_log *log, struct ord_events *events);
/* Call it some ten times a second. */
void gw_keeper_tick(struct gw_keeper *keeper, bool overloaded);
/* For a worker's GW_MAIL_FOLD. */
void gw_keeper_mail(struct gw_keeper *keeper, const struct ps_mail *mail);
/* Writes a last checkpoint, and waits for it, `timeout_ms` at most. Before the log is closed. */
void gw_keeper_finish(struct gw_keeper *keeper, int64_t timeout_ms);

#endif
