/* The journal: the order log of one gateway, in one SQLite file (journal_file.c).
 *
 * One thread writes. It takes what is in the input queue, up to batch_max, commits it in one
 * transaction, and tells the outcomes; meanwhile the next batch gathers, so that batches grow with
 * the load by themselves. Between the starts of two commits lies a millisecond at least: else a
 * fast disk commits ever fewer records ever more often. A record that comes alone waits for
 * nothing.
 *
 * What must hold:
 *  - LANDED comes after the COMMIT, which is after the fsync.
 *  - An error before COMMIT is definite: rolled back, the batch is REFUSED. An error of COMMIT is
 *    not: a commit whose fsync failed was seen to be in the file again after kill -9. The batch is
 *    UNKNOWN.
 *  - After either the log is away: what is appended is refused, and every retry_ms the file is
 *    closed and opened anew. That gives it one content again: what is in it is durable, and what
 *    of the unknown is not in it never will be. Records that are new to us go through on_record.
 *    Then the first transaction is written: released{rejected} for every unknown order, whether it
 *    came back or not (the fold lets it change nothing after an `accepted`), and a counter, so that
 *    there is something to write without them. Only when that is committed the log is available.
 *  - With a sale.archived the file notes that the sale's records are to be deleted. That is done
 *    between two batches, some records at a time (journal_file.c), and continues after a start. An
 *    error of it hurts nobody who buys: it is tried again later, and the log works on.
 *  - Nothing is appended while away, so the unknown ones are at most one batch; their memory is
 *    allocated at start. */
#include "queue/log_backend.h"
#include "queue/journal_file.h"
#include "queue/record_queue.h"
#include "common/program/thread.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* Measured at 27,000 orders a second, open loop, on a disk that syncs in 0.3 ms: uses 0.73 instead
 * of 0.82 of a core, for 0.5 ms more at the median. */
#define COMMIT_EVERY_NS PS_NS_PER_MS

/* Between two deletions: while nobody appends, while somebody does, and after one that failed. */
#define DROP_IDLE_NS  (2 * PS_NS_PER_MS)
#define DROP_BUSY_NS  (100 * PS_NS_PER_MS)
#define DROP_AGAIN_NS (10 * PS_NS_PER_S)

/* One writer, relaxed readers. */
struct counters {
    _Atomic uint64_t landed, refused, unknown, commit_failures, backlog_max;
    struct ps_durations commits;
};

struct journal {
    struct oq_log log;
    struct oq_log_callbacks on;
    const struct ps_clock *clock;
    char path[PATH_MAX - PS_DB_FILE_SUFFIX_MAX];
    char *vfs; /* NULL = SQLite's default */
    size_t batch_max;
    int64_t retry_ns;
    int lock;
    struct oq_record_queue *queue;
    _Atomic(enum oq_log_state) state;
    /* 0, or the start of the commit whose records on_record has not shown yet. */
    _Atomic int64_t unread_since_ns;
    struct counters counters;
    /* closing */
    _Atomic int64_t deadline_ns; /* from then on what waits is refused */
    int ended;                   /* eventfd: the thread's last act */
    pthread_t thread;
    bool thread_runs;
    /* the log's thread (before it starts: the opening one) */
    struct ps_db_file *file; /* NULL: could not be opened again */
    int64_t seq;             /* last record given to on_record */
    int64_t commit_began_ns;
    struct oq_record **batch;
    size_t batch_count;
    struct oq_record *closing; /* released{rejected} to write first, batch_max places */
    size_t closing_count;
    bool dropping;      /* records of archived sales may be left to be deleted */
    int64_t drop_at_ns; /* not before */
    int away;           /* the error that keeps the log away, 0 = none */
    int64_t retry_at_ns;
};

static void count_up(_Atomic uint64_t *counter, uint64_t more)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + more, memory_order_relaxed);
}

/* --- The log's thread: outcomes --- */

static void give_record(struct journal *journal, const struct oq_event *event)
{
    journal->seq++;
    journal->on.on_record(0, journal->seq, event, journal->on.ctx);
}

static void report_landed(struct journal *journal, int64_t durable_ns)
{
    count_up(&journal->counters.landed, journal->batch_count);
    for (size_t i = 0; i < journal->batch_count; i++) {
        struct oq_record *record = journal->batch[i];
        record->ticket.durable_ns = durable_ns;
        give_record(journal, &record->event);
        journal->on.on_outcome(&record->ticket, &record->event, OQ_LANDED, journal->seq,
                               journal->on.ctx);
    }
}

static void report_failed(struct journal *journal, enum oq_outcome outcome)
{
    count_up(outcome == OQ_REFUSED ? &journal->counters.refused : &journal->counters.unknown,
             journal->batch_count);
    for (size_t i = 0; i < journal->batch_count; i++) {
        const struct oq_record *record = journal->batch[i];
        journal->on.on_outcome(&record->ticket, &record->event, outcome, 0, journal->on.ctx);
    }
}

/* Also called after every failed retry. Logged once for each kind of error. */
static void go_away(struct journal *journal, int err, const struct ps_fault *why)
{
    char text[sizeof why->path + sizeof why->text + 2];
    snprintf(text, sizeof text, "%s: %s", why->path, why->text);
    atomic_store_explicit(&journal->state, OQ_LOG_AWAY, memory_order_relaxed);
    journal->retry_at_ns = oq_now_ns() + journal->retry_ns;
    if (journal->on.on_state != NULL && err != journal->away)
        journal->on.on_state(false, text, journal->on.ctx);
    journal->away = err;
}

/* --- The log's thread: writing --- */

/* *ret_unknown: the COMMIT itself has failed. */
static int write_batch(struct journal *journal, bool *ret_unknown, struct ps_fault *fault)
{
    *ret_unknown = false;
    int err = oq_journal_file_begin(journal->file, OQ_JOURNAL_NO_NOTE, fault);
    for (size_t i = 0; i < journal->batch_count && err == 0; i++) {
        const struct oq_record *record = journal->batch[i];
        int64_t seq = journal->seq + 1 + (int64_t)i;
        err = oq_journal_file_insert(journal->file, seq, record->event.sale, record->json, fault);
        if (err == 0 && record->event.type == OQ_ARCHIVED) {
            err = oq_journal_file_archive(journal->file, record->event.sale, seq - 1, fault);
            journal->dropping = true;
        }
    }
    if (err == 0)
        return ps_db_file_commit(journal->file, ret_unknown, fault);
    ps_db_file_rollback(journal->file);
    return err;
}

/* Remembers how to close each unknown order. */
static void keep_unknown(struct journal *journal)
{
    for (size_t i = 0; i < journal->batch_count; i++) {
        const struct oq_event *event = &journal->batch[i]->event;
        if (!oq_event_takes(event))
            continue;
        struct oq_event rejected;
        oq_event_reject(event, ps_clock_wall_ms(journal->clock), &rejected);
        /* All fields come from a valid event or the clock: only a clock before 1970 is refused. */
        struct oq_record *place = &journal->closing[journal->closing_count];
        if (oq_record_fill(place, &rejected) == 0)
            journal->closing_count++;
    }
}

static void commit_batch(struct journal *journal)
{
    struct ps_fault fault;
    struct counters *counters = &journal->counters;
    journal->commit_began_ns = oq_now_ns();
    atomic_store(&journal->unread_since_ns, journal->commit_began_ns);
    bool unknown;
    int err = write_batch(journal, &unknown, &fault);
    if (err != 0) {
        if (unknown)
            keep_unknown(journal);
        else
            atomic_store(&journal->unread_since_ns, 0);
        count_up(&counters->commit_failures, 1);
        go_away(journal, err, &fault);
        report_failed(journal, unknown ? OQ_UNKNOWN : OQ_REFUSED);
        return;
    }
    int64_t durable_ns = oq_now_ns();
    ps_durations_add(&counters->commits, durable_ns - journal->commit_began_ns);
    report_landed(journal, durable_ns);
    atomic_store(&journal->unread_since_ns, 0);
    err = ps_db_file_tidy(journal->file, &fault);
    if (err != 0)
        go_away(journal, err, &fault);
}

/* A step of the deletion of archived sales. */
static void drop_some(struct journal *journal)
{
    struct ps_fault fault;
    bool unknown;
    int more = oq_journal_file_drop(journal->file, &unknown, &fault);
    int64_t pause = oq_record_queue_count(journal->queue) == 0 ? DROP_IDLE_NS : DROP_BUSY_NS;
    if (more < 0 && !unknown) {
        char text[sizeof fault.path + sizeof fault.text + 64];
        snprintf(text, sizeof text, "%s: deleting the records of an archived sale: %s", fault.path,
                 fault.text);
        if (journal->on.on_notice != NULL)
            journal->on.on_notice(text, journal->on.ctx);
        pause = DROP_AGAIN_NS;
    } else if (more < 0) {
        go_away(journal, more, &fault);
        return;
    }
    journal->dropping = more != 0;
    journal->drop_at_ns = oq_now_ns() + pause;
    int err = more > 0 ? ps_db_file_tidy(journal->file, &fault) : 0;
    if (err != 0)
        go_away(journal, err, &fault);
}

/* --- Opening, and opening again --- */

static int feed_record(int64_t seq, struct ps_str json, struct ps_fault *fault, void *ctx)
{
    struct journal *journal = ctx;
    struct oq_event event;
    struct ps_fault wrong = {0};
    void *owner;
    int err = oq_event_decode(json.at, json.len, &event, &owner, &wrong);
    if (err == PS_E_INVALID)
        return ps_fault(
            fault, PS_E_CORRUPT, journal->path,
            "record %lld cannot be read: %s %s: restore the file from a backup, or move "
            "it and its -wal aside to start without the orders in them",
            (long long)seq, wrong.path, wrong.text);
    if (err != 0)
        return ps_fault(fault, err, journal->path, "record %lld: %s", (long long)seq, wrong.text);
    journal->seq = seq - 1; /* before it, records of archived sales may be missing */
    give_record(journal, &event);
    oq_event_release(owner);
    return 0;
}

struct mark_check {
    const struct oq_mark *mark;
    bool fits;
};

static int check_mark(int64_t seq, struct ps_str json, struct ps_fault *fault, void *ctx)
{
    struct mark_check *check = ctx;
    (void)fault;
    check->fits = oq_mark_fits(check->mark, seq, json);
    return 0;
}

/* Starts reading after the mark, if it belongs to this journal. */
static int begin_at(struct journal *journal, const struct oq_mark *mark, struct ps_fault *fault)
{
    struct mark_check check = {.mark = mark, .fits = mark->seq == 0};
    int64_t seq = mark->seq; /* on_marks may free the mark */
    char why[96] = "";
    int err = 0;
    if (seq > 0)
        err = oq_journal_file_record(journal->file, seq, check_mark, &check, fault);
    if (err != 0 && err != PS_E_NOT_FOUND)
        return err;
    if (!check.fits)
        snprintf(why, sizeof why, "record %lld of the journal %s", (long long)seq,
                 err != 0 ? "does not exist" : "is a different one");
    err = journal->on.on_marks(check.fits, why, NULL, journal->on.ctx);
    if (err != 0)
        return ps_fault(fault, err, journal->path, "%s", ps_err_text(err));
    journal->seq = check.fits ? seq : 0;
    return 0;
}

/* `mark` NULL: continues after what was read. */
static int open_and_read(struct journal *journal, const struct oq_mark *mark,
                         struct ps_fault *fault)
{
    const struct ps_db_file_settings settings = {&oq_journal_kind, journal->path, journal->vfs,
                                                 journal->lock};
    int64_t last;
    int err = ps_db_file_open(&settings, &journal->file, fault);
    if (err == 0)
        err = oq_journal_file_upgrade(journal->file, fault);
    if (err != 0)
        return err;
    journal->dropping = true;
    err = mark != NULL ? begin_at(journal, mark, fault) : 0;
    if (err != 0)
        return err;
    return oq_journal_file_read(journal->file, journal->seq, feed_record, journal, &last, fault);
}

/* The first transaction of a file that was just opened. */
static int write_first(struct journal *journal, enum oq_journal_note note, struct ps_fault *fault)
{
    bool unknown; /* no matter: the file is opened again, and this written again */
    int err = oq_journal_file_begin(journal->file, note, fault);
    for (size_t i = 0; i < journal->closing_count && err == 0; i++) {
        const struct oq_record *record = &journal->closing[i];
        err = oq_journal_file_insert(journal->file, journal->seq + 1 + (int64_t)i,
                                     record->event.sale, record->json, fault);
    }
    if (err == 0)
        return ps_db_file_commit(journal->file, &unknown, fault);
    ps_db_file_rollback(journal->file);
    return err;
}

static void recover_file(struct journal *journal)
{
    struct ps_fault fault;
    ps_db_file_close(journal->file);
    journal->file = NULL;
    int err = open_and_read(journal, NULL, &fault);
    if (err == 0)
        err = write_first(journal, OQ_JOURNAL_RECOVERED, &fault);
    if (err != 0) {
        go_away(journal, err, &fault);
        return;
    }
    for (size_t i = 0; i < journal->closing_count; i++)
        give_record(journal, &journal->closing[i].event);
    journal->closing_count = 0;
    journal->away = 0;
    atomic_store(&journal->unread_since_ns, 0);
    atomic_store_explicit(&journal->state, OQ_LOG_WELL, memory_order_relaxed);
    if (journal->on.on_state != NULL)
        journal->on.on_state(true, "", journal->on.ctx);
}

/* --- The log's thread: its loop --- */

static bool is_available(const struct journal *journal)
{
    return atomic_load_explicit(&journal->state, memory_order_relaxed) == OQ_LOG_WELL;
}

/* Waits for work. While away: until the next try at the latest; while there is something to delete:
 * until that is due. */
static void wait_for_work(struct journal *journal)
{
    int timeout_ms = -1;
    if (!is_available(journal) || journal->dropping) {
        int64_t at_ns = is_available(journal) ? journal->drop_at_ns : journal->retry_at_ns;
        int64_t left = at_ns - oq_now_ns();
        timeout_ms = left <= 0 ? 0 : (int)(left / PS_NS_PER_MS) + 1;
    }
    oq_record_queue_wait(journal->queue, timeout_ms);
}

/* Until the next commit may begin, when there is something for it. */
static void wait_for_more(const struct journal *journal)
{
    if (oq_record_queue_count(journal->queue) == 0)
        return;
    int64_t left = journal->commit_began_ns + COMMIT_EVERY_NS - oq_now_ns();
    struct timespec pause = {.tv_nsec = left};
    if (left > 0)
        nanosleep(&pause, NULL);
}

/* Takes a batch, which ends at a call; the call runs after its outcomes. False: the queue was
 * empty. */
static bool do_batch(struct journal *journal)
{
    struct oq_record *record = NULL;
    size_t waiting = oq_record_queue_count(journal->queue);
    journal->batch_count = 0;
    while (journal->batch_count < journal->batch_max &&
           (record = oq_record_queue_take(journal->queue)) != NULL && record->call == NULL)
        journal->batch[journal->batch_count++] = record;
    bool has_call = record != NULL && record->call != NULL;
    if (waiting > atomic_load_explicit(&journal->counters.backlog_max, memory_order_relaxed))
        atomic_store_explicit(&journal->counters.backlog_max, waiting, memory_order_relaxed);
    if (journal->batch_count > 0) {
        bool late =
            oq_now_ns() >= atomic_load_explicit(&journal->deadline_ns, memory_order_relaxed);
        if (is_available(journal) && !late)
            commit_batch(journal);
        else
            report_failed(journal, OQ_REFUSED);
    }
    if (has_call)
        record->call(record->arg);
    oq_record_queue_release(journal->queue);
    return journal->batch_count > 0 || has_call;
}

static void *run_journal(void *arg)
{
    struct journal *journal = arg;
    /* Waking a SCHED_BATCH thread does not preempt the worker that has just appended, so one commit
     * collects more orders: 90 in place of 23 on one core with 256 connections. */
    const struct sched_param none = {0};
    (void)sched_setscheduler(0, SCHED_BATCH, &none);
    while (!oq_record_queue_ended(journal->queue)) {
        if (!is_available(journal) && oq_now_ns() >= journal->retry_at_ns)
            recover_file(journal);
        wait_for_more(journal);
        bool worked = do_batch(journal);
        if (journal->dropping && is_available(journal) && oq_now_ns() >= journal->drop_at_ns)
            drop_some(journal);
        if (!worked)
            wait_for_work(journal);
    }
    atomic_store_explicit(&journal->state, OQ_LOG_CLOSED, memory_order_relaxed);
    ps_db_file_close(journal->file);
    journal->file = NULL;
    (void)eventfd_write(journal->ended, 1); /* cannot fail: it is the first */
    return NULL;
}

/* --- The interface --- */

static const struct journal *const_journal_of(const struct oq_log *log)
{
    return (const struct journal *)(const void *)log;
}

static struct journal *journal_of(struct oq_log *log)
{
    return (struct journal *)(void *)log;
}

/* There is only one partition. */
static int journal_append(struct oq_log *log, uint32_t partition, const struct oq_event *event,
                          const struct oq_ticket *ticket)
{
    struct journal *journal = journal_of(log);
    if (!is_available(journal))
        return PS_E_CLOSED;
    return oq_record_queue_put(journal->queue, partition, event, ticket);
}

static unsigned journal_backlog_percent(const struct oq_log *log)
{
    const struct oq_record_queue *queue = const_journal_of(log)->queue;
    return (unsigned)(oq_record_queue_count(queue) * 100 / oq_record_queue_capacity(queue));
}

static bool journal_available(const struct oq_log *log)
{
    return is_available(const_journal_of(log));
}

/* The clock is read first: what was committed before then has been shown if nothing is unread
 * afterwards. */
static void journal_view(const struct oq_log *log, struct oq_log_view *ret_view)
{
    const struct journal *journal = const_journal_of(log);
    enum oq_log_state state = atomic_load_explicit(&journal->state, memory_order_relaxed);
    int64_t now = oq_now_ns(), unread_since = atomic_load(&journal->unread_since_ns);

    *ret_view = (struct oq_log_view){.state = state,
                                     .available = state == OQ_LOG_WELL,
                                     .current = state != OQ_LOG_CLOSED,
                                     .partitions = 1,
                                     .reached_ns = unread_since != 0 ? unread_since : now,
                                     .name = "a journal"};
}

static void journal_stats(const struct oq_log *log, struct oq_log_stats *ret_stats)
{
    const struct journal *journal = const_journal_of(log);
    const struct counters *from = &journal->counters;
    struct oq_log_stats stats = {
        .landed = atomic_load_explicit(&from->landed, memory_order_relaxed),
        .refused = atomic_load_explicit(&from->refused, memory_order_relaxed),
        .unknown = atomic_load_explicit(&from->unknown, memory_order_relaxed),
        .commits = (uint64_t)ps_durations_count(&from->commits),
        .commit_failures = atomic_load_explicit(&from->commit_failures, memory_order_relaxed),
        .commit_durations = &from->commits,
        .backlog = oq_record_queue_count(journal->queue),
        .backlog_max = atomic_load_explicit(&from->backlog_max, memory_order_relaxed),
    };
    stats.appended = stats.landed + stats.refused + stats.unknown + stats.backlog;
    *ret_stats = stats;
}

static int journal_call(struct oq_log *log, void (*fn)(void *arg), void *arg)
{
    return oq_record_queue_call(journal_of(log)->queue, fn, arg);
}

static int set_mark(int64_t seq, struct ps_str json, struct ps_fault *fault, void *ctx)
{
    (void)fault;
    oq_mark_set(ctx, seq, json);
    return 0;
}

static int journal_mark(const struct oq_log *log, uint32_t partition, struct oq_mark *ret_mark)
{
    const struct journal *journal = const_journal_of(log);
    if (partition != 0 || journal->file == NULL)
        return PS_E_NOT_FOUND;
    return oq_journal_file_record(journal->file, journal->seq, set_mark, ret_mark, NULL);
}

static void release_lock(struct journal *journal)
{
    if (journal->lock >= 0)
        close(journal->lock);
    journal->lock = -1;
}

static int journal_close(struct oq_log *log, int64_t timeout_ms)
{
    /* For the batch that the disk is writing at the deadline. */
    static const int grace_ms = 2000;
    struct journal *journal = journal_of(log);
    if (!journal->thread_runs)
        return 0;
    atomic_store_explicit(&journal->deadline_ns, oq_now_ns() + timeout_ms * PS_NS_PER_MS,
                          memory_order_relaxed);
    oq_record_queue_close(journal->queue);
    if (ps_event_wait(journal->ended, timeout_ms + grace_ms) != 0)
        return PS_E_TIMEOUT;
    pthread_join(journal->thread, NULL);
    journal->thread_runs = false;
    release_lock(journal);
    return 0;
}

static void journal_free(struct oq_log *log)
{
    struct journal *journal = journal_of(log);
    if (journal->thread_runs) /* it hangs in the disk and still uses everything */
        return;
    ps_db_file_close(journal->file);
    release_lock(journal);
    if (journal->ended >= 0)
        close(journal->ended);
    oq_record_queue_free(journal->queue);
    free(journal->closing);
    free(journal->batch);
    free(journal->vfs);
    free(journal);
}

static int journal_reader_new(struct oq_log *log, struct oq_reader **ret_reader)
{
    return oq_journal_reader_open(journal_of(log)->path, ret_reader, NULL);
}

static const struct oq_log_ops journal_ops = {
    .append = journal_append,
    .backlog_percent = journal_backlog_percent,
    .available = journal_available,
    .view = journal_view,
    .stats = journal_stats,
    .call = journal_call,
    .mark = journal_mark,
    .close = journal_close,
    .free = journal_free,
    .reader_new = journal_reader_new,
};

static int allocate_queues(struct journal *journal, const struct oq_journal_settings *settings)
{
    if (settings->vfs != NULL) {
        journal->vfs = strdup(settings->vfs);
        if (journal->vfs == NULL)
            return PS_E_NOMEM;
    }
    journal->batch = calloc(settings->batch_max, sizeof *journal->batch);
    journal->closing = calloc(settings->batch_max, sizeof *journal->closing);
    if (journal->batch == NULL || journal->closing == NULL)
        return PS_E_NOMEM;
    journal->ended = eventfd(0, EFD_CLOEXEC);
    if (journal->ended < 0)
        return PS_E_IO;
    return oq_record_queue_new(settings->queue_capacity, &journal->queue);
}

int oq_journal_open(const struct oq_journal_settings *settings,
                    const struct oq_log_callbacks *callbacks, struct oq_log **ret_log,
                    struct ps_fault *fault)
{
    if (strlen(settings->path) >= PATH_MAX - PS_DB_FILE_SUFFIX_MAX)
        return ps_fault(fault, PS_E_INVALID, settings->path, "the path is too long");
    struct journal *journal = malloc(sizeof *journal);
    if (journal == NULL)
        return ps_fault(fault, PS_E_NOMEM, settings->path, "out of memory");
    *journal = (struct journal){.log = {&journal_ops},
                                .on = *callbacks,
                                .clock = settings->clock,
                                .batch_max = settings->batch_max,
                                .retry_ns = settings->retry_ms * PS_NS_PER_MS,
                                .deadline_ns = INT64_MAX,
                                .state = OQ_LOG_WELL,
                                .lock = -1,
                                .ended = -1};
    snprintf(journal->path, sizeof journal->path, "%s", settings->path);
    int err = allocate_queues(journal, settings);
    if (err != 0) {
        ps_fault(fault, err, settings->path, "no memory or descriptors for the queue");
        goto fail;
    }
    err = ps_db_file_lock(&oq_journal_kind, settings->path, &journal->lock, fault);
    if (err == 0)
        err = ps_db_file_create(&oq_journal_kind, settings->path, settings->vfs, fault);
    if (err == 0)
        err = open_and_read(journal, settings->mark, fault);
    if (err == 0)
        err = write_first(journal, OQ_JOURNAL_STARTED, fault);
    if (err != 0)
        goto fail;
    err = ps_thread_start("journal", run_journal, journal, &journal->thread);
    if (err != 0) {
        ps_fault(fault, err, settings->path, "the writer thread cannot be started");
        goto fail;
    }
    journal->thread_runs = true;
    *ret_log = &journal->log;
    return 0;
fail:
    journal_free(&journal->log);
    return err;
}
