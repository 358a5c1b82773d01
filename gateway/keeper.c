/* See keeper.h. A checkpoint alternates between threads: the log's thread cuts, a thread of its own
 * writes, the log's thread ends the cut, and the writing thread publishes. Each stores the next
 * step in `step`, and the control thread starts it. */
#include "gateway/keeper.h"

#include "common/program/log.h"
#include "common/program/thread.h"
#include "gateway/orders/order_events.h"
#include "gateway/sales/sales.h"
#include "queue/sale_marks.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#define RECORDS_MANY INT64_C(100000)
#define QUIET_NS     (300 * PS_NS_PER_S)
#define APART_NS     (30 * PS_NS_PER_S)
#define BUSY_PART    20 /* writing may use one part in this many of the time */
#define AGAIN_NS     (60 * PS_NS_PER_S)
#define ASK_NS       (10 * PS_NS_PER_S) /* the workers are asked again after this */

enum step {
    IDLE,
    CUTTING, /* the log's thread has it */
    CUT,
    WRITING, /* the writing thread has it */
    WRITTEN,
    JOINED,
    ENDING, /* the log's thread has it */
    ENDED,
    PUBLISHING, /* the writing thread has it */
    PUBLISHED
};

struct gw_keeper {
    struct gw_keeper_deps deps;
    char *path;
    struct oq_checkpoint *read; /* until it is in the fold or refused: the log's thread's */
    _Atomic(bool) reading;      /* it is neither yet: the fold may lack its content */
    struct oq_log *log;
    struct ord_events *events;
    /* a checkpoint */
    _Atomic(enum step) step;
    struct oq_cut *cut;
    char *notes; /* at the cut */
    size_t notes_len;
    int err; /* of the last step; the fault says why */
    struct ps_fault fault;
    pthread_t thread;
    _Atomic(int64_t) records; /* records in the last one; in the present one, at its cut: */
    int64_t cut_records;
    int64_t began_ns, next_ns; /* the present one; the earliest next one */
    int64_t quiet_ns;          /* from then on a few records are enough for the next one */
    /* memory */
    _Atomic(bool) tidying; /* a call of the log's thread is under way */
    int64_t asked, freed;  /* retired when the workers were asked; reclaimed */
    int64_t asked_ns;
    uint64_t round;           /* of asking */
    size_t acks;              /* of this round */
    _Atomic(int64_t) reclaim; /* for the log's thread */
};

/* --- the start --- */

static void refuse(struct gw_keeper *keeper, const char *why)
{
    ps_log(PS_LOG_WARN, "checkpoint_refused", PS_F_STR("why", why));
    oq_checkpoint_free(keeper->read);
    keeper->read = NULL;
    atomic_store(&keeper->reading, false);
}

int gw_keeper_new(const struct gw_keeper_deps *deps, struct gw_keeper **ret_keeper)
{
    struct gw_keeper *keeper = calloc(1, sizeof *keeper);
    struct ps_fault fault = {0};
    int err;

    if (keeper == NULL || (keeper->path = strdup(deps->path)) == NULL) {
        free(keeper);
        return PS_E_NOMEM;
    }
    keeper->deps = *deps;
    err = oq_checkpoint_open(keeper->path, &keeper->read, &fault);
    if (err == 0 && (err = sale_check_notes(deps->sales, oq_checkpoint_notes(keeper->read))) != 0)
        (void)ps_fault(&fault, err, keeper->path,
                       err == PS_E_INVALID ? "it was written with a counter in memory"
                                           : "its notes do not fit together");
    if (err != 0 && err != PS_E_NOT_FOUND)
        refuse(keeper, fault.text);
    atomic_store(&keeper->reading, keeper->read != NULL);
    *ret_keeper = keeper;
    return 0;
}

void gw_keeper_free(struct gw_keeper *keeper)
{
    enum step step;

    if (keeper == NULL)
        return;
    step = atomic_load(&keeper->step);
    if (step == WRITING || step == WRITTEN || step == PUBLISHING || step == PUBLISHED)
        pthread_join(keeper->thread, NULL);
    if (keeper->cut != NULL && step < ENDED)
        oq_cut_end(keeper->cut); /* the log has ended: nobody notes changes any more */
    oq_cut_free(keeper->cut);
    free(keeper->notes);
    oq_checkpoint_free(keeper->read);
    free(keeper->path);
    free(keeper);
}

const struct oq_mark *gw_keeper_marks(const struct gw_keeper *keeper, uint32_t *ret_count)
{
    *ret_count = 0;
    return keeper->read != NULL ? oq_checkpoint_marks(keeper->read, ret_count) : NULL;
}

static int64_t records_in(const struct oq_fold *fold)
{
    int64_t records = 0;

    for (uint32_t i = 0; i < OQ_PARTITION_MAX; i++)
        records += oq_fold_seq(fold, i) > 0 ? oq_fold_seq(fold, i) : 0;
    return records;
}

static int64_t orders_in(const struct oq_fold *fold)
{
    const struct oq_sale *sale;
    int64_t orders = 0;

    for (size_t i = 0; (sale = oq_fold_sale_at(fold, i)) != NULL; i++)
        orders += (int64_t)oq_sale_order_count(sale);
    return orders;
}

int gw_keeper_on_marks(bool fits, const char *why, struct oq_sale_marks *sales, void *ctx)
{
    struct gw_keeper *keeper = ctx;
    int err;

    if (!fits) {
        refuse(keeper, why);
        return 0;
    }
    err = oq_checkpoint_load(keeper->read, keeper->deps.fold);
    if (err == 0 && sales != NULL)
        err = oq_sale_marks_take(sales, keeper->deps.fold);
    if (err == 0)
        err = sale_on_restored(keeper->deps.sales, oq_checkpoint_notes(keeper->read));
    oq_checkpoint_free(keeper->read);
    keeper->read = NULL;
    if (err != 0) /* the fold has only a part of it: never write it */
        return err;
    ps_log(PS_LOG_INFO, "checkpoint_loaded", PS_F_INT("orders", orders_in(keeper->deps.fold)));
    atomic_store(&keeper->records, records_in(keeper->deps.fold));
    atomic_store(&keeper->reading, false);
    return 0;
}

void gw_keeper_open(struct gw_keeper *keeper, struct oq_log *log, struct ord_events *events)
{
    keeper->log = log;
    keeper->events = events;
    keeper->quiet_ns = ps_clock_mono_ns(keeper->deps.clock) + QUIET_NS;
}

/* --- a checkpoint --- */

/* The log's thread. */
static void make_cut(void *ctx)
{
    struct gw_keeper *keeper = ctx;
    struct oq_mark *marks = calloc(OQ_PARTITION_MAX, sizeof *marks);
    uint32_t partitions = oq_log_partitions(keeper->log);
    int err = marks != NULL ? 0 : PS_E_NOMEM;

    for (uint32_t i = 0; err == 0 && i < partitions; i++) {
        err = oq_log_mark(keeper->log, i, &marks[i]);
        if (err == PS_E_NOT_FOUND && oq_fold_seq(keeper->deps.fold, i) < 1)
            err = 0; /* nothing of it was read */
    }
    if (err == 0)
        err = sale_get_notes(keeper->deps.sales, &keeper->notes, &keeper->notes_len);
    if (err == 0)
        err = oq_cut_begin(keeper->deps.fold, marks, partitions, &keeper->cut);
    if (err != 0)
        ps_fault(&keeper->fault, err, keeper->path,
                 err == PS_E_BUSY ? "orders wait in the spill" : "the log cannot be cut now");
    keeper->cut_records = records_in(keeper->deps.fold);
    keeper->err = err;
    free(marks);
    atomic_store(&keeper->step, CUT);
}

static void *write_cut(void *ctx)
{
    struct gw_keeper *keeper = ctx;

    keeper->err = oq_cut_write(keeper->cut, keeper->path, &keeper->fault);
    atomic_store(&keeper->step, WRITTEN);
    return NULL;
}

/* The log's thread. */
static void end_cut(void *ctx)
{
    struct gw_keeper *keeper = ctx;

    oq_cut_end(keeper->cut);
    atomic_store(&keeper->step, ENDED);
}

static void *publish_cut(void *ctx)
{
    struct gw_keeper *keeper = ctx;

    keeper->err = oq_cut_publish(keeper->cut, (struct ps_str){keeper->notes, keeper->notes_len},
                                 &keeper->fault);
    atomic_store(&keeper->step, PUBLISHED);
    return NULL;
}

static void be_done(struct gw_keeper *keeper)
{
    int64_t now_ns = ps_clock_mono_ns(keeper->deps.clock);
    int64_t rest_ns = (now_ns - keeper->began_ns) * BUSY_PART;

    if (keeper->err != 0)
        ps_log(PS_LOG_WARN, "checkpoint_failed", PS_F_STR("error", ps_err_text(keeper->err)),
               PS_F_STR("why", keeper->fault.text));
    else
        keeper->records = keeper->cut_records;
    if (rest_ns < APART_NS)
        rest_ns = APART_NS;
    if (keeper->err != 0 && rest_ns < AGAIN_NS)
        rest_ns = AGAIN_NS;
    keeper->next_ns = now_ns + rest_ns;
    keeper->quiet_ns = now_ns + QUIET_NS;
    oq_cut_free(keeper->cut);
    keeper->cut = NULL;
    free(keeper->notes);
    keeper->notes = NULL;
    atomic_store(&keeper->step, IDLE);
}

/* Starts a step on the log's thread, or on one of its own. Retried with the next turn. */
static void hand_over(struct gw_keeper *keeper, enum step step)
{
    enum step before = atomic_load(&keeper->step);
    int err;

    atomic_store(&keeper->step, step); /* first: the other thread may be done before this returns */
    err = step == CUTTING ? oq_log_call(keeper->log, make_cut, keeper)
          : step == ENDING
              ? oq_log_call(keeper->log, end_cut, keeper)
              : ps_thread_start("checkpoint", step == WRITING ? write_cut : publish_cut, keeper,
                                &keeper->thread);
    if (err != 0)
        atomic_store(&keeper->step, before);
}

static void take_step(struct gw_keeper *keeper)
{
    switch (atomic_load(&keeper->step)) {
    case CUT:
        if (keeper->err != 0)
            be_done(keeper);
        else
            hand_over(keeper, WRITING);
        break;
    case WRITTEN:
        pthread_join(keeper->thread, NULL);
        atomic_store(&keeper->step, JOINED); /* once, however often the log refuses the call */
        hand_over(keeper, ENDING);
        break;
    case JOINED:
        hand_over(keeper, ENDING);
        break;
    case ENDED:
        if (keeper->err != 0)
            be_done(keeper);
        else
            hand_over(keeper, PUBLISHING);
        break;
    case PUBLISHED:
        pthread_join(keeper->thread, NULL);
        be_done(keeper);
        break;
    default:
        break;
    }
}

static void begin_checkpoint(struct gw_keeper *keeper)
{
    keeper->began_ns = ps_clock_mono_ns(keeper->deps.clock);
    keeper->err = 0;
    hand_over(keeper, CUTTING);
}

static bool is_due(const struct gw_keeper *keeper)
{
    int64_t now_ns = ps_clock_mono_ns(keeper->deps.clock);
    int64_t records = records_in(keeper->deps.fold) - keeper->records;
    struct oq_log_view log;

    oq_log_view(keeper->log, &log); /* closed: it is being read, and more comes soon */
    return !atomic_load(&keeper->reading) && log.state != OQ_LOG_CLOSED &&
           now_ns >= keeper->next_ns &&
           (records >= RECORDS_MANY || (records > 0 && now_ns >= keeper->quiet_ns));
}

void gw_keeper_finish(struct gw_keeper *keeper, int64_t timeout_ms)
{
    int64_t until_ns = ps_clock_mono_ns(keeper->deps.clock) + timeout_ms * PS_NS_PER_MS;
    bool begun = atomic_load(&keeper->reading);

    while (ps_clock_mono_ns(keeper->deps.clock) < until_ns) {
        if (atomic_load(&keeper->step) == IDLE) {
            if (begun || records_in(keeper->deps.fold) == keeper->records)
                return;
            begun = true;
            begin_checkpoint(keeper);
        }
        take_step(keeper);
        (void)nanosleep(&(struct timespec){.tv_nsec = PS_NS_PER_MS}, NULL);
    }
}

/* --- memory --- */

/* The log's thread. */
static void tidy_fold(void *ctx)
{
    struct gw_keeper *keeper = ctx;

    (void)oq_fold_tidy(keeper->deps.fold);
    atomic_store(&keeper->tidying, false);
}

/* The log's thread. */
static void reclaim_memory(void *ctx)
{
    struct gw_keeper *keeper = ctx;

    ord_events_reclaim(keeper->events, atomic_load(&keeper->reclaim));
    (void)malloc_trim(0);
    atomic_store(&keeper->tidying, false);
}

static void call_log(struct gw_keeper *keeper, void (*fn)(void *ctx))
{
    atomic_store(&keeper->tidying, true);
    if (oq_log_call(keeper->log, fn, keeper) != 0)
        atomic_store(&keeper->tidying, false);
}

static void ask_workers(struct gw_keeper *keeper)
{
    const struct gw_workers *workers = keeper->deps.workers;

    keeper->asked = oq_fold_retired(keeper->deps.fold);
    keeper->asked_ns = ps_clock_mono_ns(keeper->deps.clock);
    keeper->round++;
    keeper->acks = 0;
    for (size_t i = 0; i < workers->count; i++) {
        struct ps_mail mail = {.kind = GW_MAIL_FOLD, .value = keeper->round};
        (void)!gw_worker_post(workers->at[i], &mail); /* otherwise all are asked again */
    }
}

/* A worker's answer arrives after all mail with orders that the log's thread had sent to this
 * thread when the workers were asked: so this thread no longer uses those orders, either. */
void gw_keeper_mail(struct gw_keeper *keeper, const struct ps_mail *mail)
{
    keeper->acks += mail->value == keeper->round;
}

static void look_after_memory(struct gw_keeper *keeper)
{
    const struct oq_fold *fold = keeper->deps.fold;

    if (atomic_load(&keeper->tidying))
        return;
    if (oq_fold_untidy(fold)) {
        call_log(keeper, tidy_fold);
    } else if (keeper->asked > keeper->freed && keeper->acks >= keeper->deps.workers->count) {
        if (oq_fold_entered(fold) || atomic_load(&keeper->step) != IDLE)
            return; /* a reader is within: next time */
        atomic_store(&keeper->reclaim, keeper->asked);
        keeper->freed = keeper->asked;
        call_log(keeper, reclaim_memory);
    } else if (oq_fold_retired(fold) > keeper->freed &&
               (keeper->asked == keeper->freed ||
                ps_clock_mono_ns(keeper->deps.clock) - keeper->asked_ns > ASK_NS)) {
        ask_workers(keeper);
    }
}

void gw_keeper_tick(struct gw_keeper *keeper, bool overloaded)
{
    look_after_memory(keeper);
    if (atomic_load(&keeper->step) != IDLE)
        take_step(keeper);
    else if (!overloaded && is_due(keeper))
        begin_checkpoint(keeper);
}
