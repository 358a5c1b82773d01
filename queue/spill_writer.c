/* The spill's writer.
 *
 * What must hold:
 *  - SPILLED comes after the COMMIT. An error before COMMIT is definite: REFUSED. An error of
 *    COMMIT is not: those orders are UNKNOWN, and the first thing written to the file when it works
 *    again, unless they are found in it. Until then the file takes nothing.
 *  - An order leaves the file only with its window, which the log's thread has drained. A file that
 *    cannot be written keeps a drained window for a while: its orders are not counted any more. The
 *    next window is read when the file is opened again, not before: what a failed commit has left
 *    behind is not read.
 *  - The first window is read in before Kafka is, so that the view's first reading already clears
 *    what an earlier process has sent and not dropped. */
#include "queue/spill_writer.h"
#include "common/program/thread.h"
#include "queue/log_backend.h"
#include "queue/spill_file.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Most orders in a commit. */
#define BATCH_MAX 512
/* Above this many waiting orders no more are accepted; those in flight still come. */
#define WAITING_MAX 4096
/* For the write that the disk is doing at the deadline of a stop. */
#define STOP_GRACE_MS 2000

/* An order on its way to the file, with as much of the record's text as it has. */
struct node {
    struct node *next;
    struct oq_record record;
};

enum holder { WRITERS, LOGS }; /* which thread has it */

struct oq_spill_writer {
    char path[PATH_MAX - PS_DB_FILE_SUFFIX_MAX];
    char *vfs; /* NULL = SQLite's default */
    int64_t retry_ns;
    int lock;
    void (*wake)(void *ctx);
    void *ctx;
    int wakeup;                /* an eventfd: something for the thread */
    pthread_mutex_t list_lock; /* held for a few instructions at a time */
    struct node *first, *end;  /* of what waits */
    size_t waiting;
    struct oq_record scratch; /* the log's thread's */
    _Atomic uint64_t stored, undecided;
    _Atomic bool broken, stop;
    int ended; /* eventfd: the thread's last act */
    pthread_t thread;
    bool thread_runs;
    /* passed between the threads */
    _Atomic(enum holder) batch_holder, window_holder, notice_holder;
    struct oq_spill_batch batch;
    struct oq_spill_window *window;
    char notice[sizeof((struct ps_fault *)0)->path + sizeof((struct ps_fault *)0)->text + 64];
    /* the thread (before it starts: the opening one) */
    struct ps_db_file *file;        /* NULL: could not be opened again */
    int64_t dropped, drained, last; /* numbers: up to which; dropped <= drained <= last */
    struct node *taken[BATCH_MAX];  /* of the batch */
    struct node *kept[BATCH_MAX];   /* to be written first: see above */
    size_t kept_count;
    bool keeps; /* keep this batch: its outcome is unknown */
    int err;    /* why it is broken; 0 = it is not */
    int64_t retry_at_ns;
};

static bool is_held_by(const _Atomic(enum holder) *holder, enum holder who)
{
    return atomic_load_explicit(holder, memory_order_acquire) == who;
}

static void hand_to(_Atomic(enum holder) *holder, enum holder who)
{
    atomic_store_explicit(holder, who, memory_order_release);
}

static void wake_writer(struct oq_spill_writer *writer)
{
    (void)eventfd_write(writer->wakeup, 1); /* far from full */
}

/* --- The file --- */

/* One unreported notice is enough. */
static void give_notice(struct oq_spill_writer *writer, const struct ps_fault *why,
                        const char *meaning)
{
    if (!is_held_by(&writer->notice_holder, WRITERS))
        return;
    snprintf(writer->notice, sizeof writer->notice, "%s: %s%s", why->path, why->text, meaning);
    hand_to(&writer->notice_holder, LOGS);
    writer->wake(writer->ctx);
}

/* Also after every failed retry. Logged once for each kind of error. */
static void break_off(struct oq_spill_writer *writer, int err, const struct ps_fault *why)
{
    atomic_store_explicit(&writer->broken, true, memory_order_relaxed);
    writer->retry_at_ns = oq_now_ns() + writer->retry_ns;
    if (err != writer->err)
        give_notice(writer, why, "; orders are refused while Kafka is away");
    writer->err = err;
}

static void publish_counts(struct oq_spill_writer *writer)
{
    atomic_store_explicit(&writer->stored, (uint64_t)(writer->last - writer->dropped),
                          memory_order_relaxed);
    atomic_store_explicit(&writer->undecided, (uint64_t)(writer->last - writer->drained),
                          memory_order_relaxed);
}

static void forget_kept(struct node **nodes, size_t *count)
{
    for (size_t i = 0; i < *count; i++)
        free(nodes[i]);
    *count = 0;
}

static enum oq_outcome write_batch(struct oq_spill_writer *writer)
{
    struct ps_fault fault;
    bool unknown;
    if (writer->err != 0)
        return OQ_REFUSED;
    int err = oq_spill_file_write(writer->file, writer->last + 1, writer->batch.record,
                                  writer->batch.count, &unknown, &fault);
    if (err != 0) {
        writer->keeps = unknown;
        break_off(writer, err, &fault);
        return unknown ? OQ_UNKNOWN : OQ_REFUSED;
    }
    writer->last += (int64_t)writer->batch.count;
    publish_counts(writer);
    err = ps_db_file_tidy(writer->file, &fault);
    if (err != 0)
        break_off(writer, err, &fault);
    return OQ_SPILLED;
}

/* The outcome of the kept orders was reported as unknown: they must be in the file before anything
 * else. */
static int write_kept(struct oq_spill_writer *writer, struct ps_fault *fault)
{
    const struct oq_record *records[BATCH_MAX];
    bool unknown;
    for (size_t i = 0; i < writer->kept_count; i++)
        records[i] = &writer->kept[i]->record;
    int err = oq_spill_file_write(writer->file, writer->last + 1, records, writer->kept_count,
                                  &unknown, fault);
    if (err != 0)
        return err;
    writer->last += (int64_t)writer->kept_count;
    publish_counts(writer);
    forget_kept(writer->kept, &writer->kept_count);
    return 0;
}

static int open_file(struct oq_spill_writer *writer, struct ps_fault *fault)
{
    const struct ps_db_file_settings settings = {&oq_spill_kind, writer->path, writer->vfs,
                                                 writer->lock};
    uint64_t count;
    int64_t last = writer->last;
    int err = ps_db_file_open(&settings, &writer->file, fault);
    if (err == 0)
        err = oq_spill_file_count(writer->file, &writer->last, &count, fault);
    if (err != 0)
        return err;
    if (writer->last > last) /* the commit that failed took effect after all */
        forget_kept(writer->kept, &writer->kept_count);
    writer->dropped = writer->last - (int64_t)count;
    if (writer->drained < writer->dropped) /* opened for the first time */
        writer->drained = writer->dropped;
    if (writer->drained > writer->last) /* somebody has replaced the file by an older copy */
        writer->drained = writer->last;
    publish_counts(writer);
    return 0;
}

/* --- The window --- */

/* All its orders are decided, whether they can be dropped now or not. */
static void take_back_window(struct oq_spill_writer *writer)
{
    struct oq_spill_window *window = writer->window;
    if (!is_held_by(&writer->window_holder, WRITERS) || window->count == 0)
        return;
    writer->drained = window->entry[window->count - 1].seq;
    oq_spill_window_empty(window);
    publish_counts(writer);
}

static int add_to_window(int64_t seq, const struct oq_event *event, void *ctx)
{
    return oq_spill_window_add(ctx, seq, event);
}

/* Reads the next window, unless one is being drained, or was just returned and is not yet
 * processed. */
static int read_window(struct oq_spill_writer *writer, struct ps_fault *fault)
{
    struct oq_spill_window *window = writer->window;
    if (!is_held_by(&writer->window_holder, WRITERS) || window->count > 0 ||
        writer->drained == writer->last)
        return 0;
    int err = oq_spill_file_read(writer->file, writer->drained, OQ_SPILL_WINDOW, add_to_window,
                                 window, fault);
    if (err != 0) {
        oq_spill_window_empty(window);
        return err;
    }
    oq_spill_window_sort(window);
    hand_to(&writer->window_holder, LOGS);
    if (writer->wake != NULL) /* else it has not started: the log's first round looks */
        writer->wake(writer->ctx);
    return 0;
}

static int drop_drained(struct oq_spill_writer *writer, struct ps_fault *fault)
{
    if (writer->dropped == writer->drained)
        return 0;
    int err = oq_spill_file_drop(writer->file, writer->drained, fault);
    if (err != 0)
        return err;
    writer->dropped = writer->drained;
    publish_counts(writer);
    return ps_db_file_tidy(writer->file, fault);
}

static void turn_window(struct oq_spill_writer *writer)
{
    struct ps_fault fault;
    if (writer->err != 0)
        return;
    int err = drop_drained(writer, &fault);
    if (err == 0)
        err = read_window(writer, &fault);
    if (err != 0)
        break_off(writer, err, &fault);
}

/* --- Breaking and recovering --- */

static void recover_file(struct oq_spill_writer *writer)
{
    struct ps_fault fault;
    ps_db_file_close(writer->file);
    writer->file = NULL;
    int err = open_file(writer, &fault);
    if (err == 0)
        err = read_window(writer, &fault);
    if (err == 0)
        err = write_kept(writer, &fault);
    if (err != 0) {
        break_off(writer, err, &fault);
        return;
    }
    writer->err = 0;
    atomic_store_explicit(&writer->broken, false, memory_order_relaxed);
    ps_fault(&fault, 0, writer->path, "can be written again");
    give_notice(writer, &fault, "");
}

/* --- Its loop --- */

/* Its outcome has been reported. */
static void end_batch(struct oq_spill_writer *writer)
{
    if (writer->keeps) {
        memcpy(writer->kept, writer->taken, writer->batch.count * sizeof(struct node *));
        writer->kept_count = writer->batch.count;
        writer->batch.count = 0;
    }
    writer->keeps = false;
    forget_kept(writer->taken, &writer->batch.count);
}

static void fill_batch(struct oq_spill_writer *writer)
{
    struct oq_spill_batch *batch = &writer->batch;
    pthread_mutex_lock(&writer->list_lock);
    while (batch->count < BATCH_MAX && writer->first != NULL) {
        struct node *node = writer->first;
        writer->first = node->next;
        writer->waiting--;
        writer->taken[batch->count] = node;
        batch->record[batch->count++] = &node->record;
    }
    pthread_mutex_unlock(&writer->list_lock);
}

/* False: nothing to do, or the previous batch is still being reported. */
static bool take_batch(struct oq_spill_writer *writer)
{
    if (!is_held_by(&writer->batch_holder, WRITERS))
        return false;
    end_batch(writer);
    fill_batch(writer);
    if (writer->batch.count == 0)
        return false;
    writer->batch.outcome = write_batch(writer);
    hand_to(&writer->batch_holder, LOGS);
    writer->wake(writer->ctx);
    return true;
}

/* Not before everything to be written first is known; nor before the reason for the broken file was
 * reported, since there is room for one notice. */
static bool is_to_recover(const struct oq_spill_writer *writer)
{
    return writer->err != 0 && !writer->keeps && is_held_by(&writer->notice_holder, WRITERS);
}

static void wait_for_work(struct oq_spill_writer *writer)
{
    struct pollfd signal = {.fd = writer->wakeup, .events = POLLIN};
    int timeout_ms = -1;
    eventfd_t count;
    if (is_to_recover(writer)) {
        int64_t left = writer->retry_at_ns - oq_now_ns();
        timeout_ms = left <= 0 ? 0 : (int)(left / PS_NS_PER_MS) + 1;
    }
    if (poll(&signal, 1, timeout_ms) > 0)
        (void)eventfd_read(writer->wakeup, &count);
}

static void *run_writer(void *arg)
{
    struct oq_spill_writer *writer = arg;
    while (!atomic_load(&writer->stop)) {
        bool busy = take_batch(writer);
        take_back_window(writer);
        if (is_to_recover(writer) && oq_now_ns() >= writer->retry_at_ns)
            recover_file(writer);
        turn_window(writer);
        if (!busy)
            wait_for_work(writer);
    }
    end_batch(writer);
    take_back_window(writer);
    if (writer->kept_count > 0)
        recover_file(writer);
    turn_window(writer);
    ps_db_file_close(writer->file);
    writer->file = NULL;
    (void)eventfd_write(writer->ended, 1); /* cannot fail: it is the first */
    return NULL;
}

/* --- For the others --- */

uint64_t oq_spill_writer_stored(const struct oq_spill_writer *writer)
{
    return atomic_load_explicit(&writer->stored, memory_order_relaxed);
}

uint64_t oq_spill_writer_undecided(const struct oq_spill_writer *writer)
{
    return atomic_load_explicit(&writer->undecided, memory_order_relaxed);
}

bool oq_spill_writer_broken(const struct oq_spill_writer *writer)
{
    return atomic_load_explicit(&writer->broken, memory_order_relaxed);
}

int oq_spill_writer_put(struct oq_spill_writer *writer, const struct oq_event *event,
                        const struct oq_ticket *ticket)
{
    struct oq_record *scratch = &writer->scratch;
    int err = oq_record_fill(scratch, event);
    if (err != 0)
        return err;
    scratch->ticket = *ticket;
    struct node *node = malloc(offsetof(struct node, record) + offsetof(struct oq_record, text) +
                               scratch->text_len);
    if (node == NULL)
        return PS_E_NOMEM;
    oq_record_copy(&node->record, scratch);
    node->next = NULL;
    pthread_mutex_lock(&writer->list_lock);
    if (writer->first != NULL)
        writer->end->next = node;
    else
        writer->first = node;
    writer->end = node;
    writer->waiting++;
    pthread_mutex_unlock(&writer->list_lock);
    wake_writer(writer);
    return 0;
}

bool oq_spill_writer_has_room(struct oq_spill_writer *writer)
{
    pthread_mutex_lock(&writer->list_lock);
    bool has_room = writer->waiting < WAITING_MAX;
    pthread_mutex_unlock(&writer->list_lock);
    return has_room;
}

const struct oq_spill_batch *oq_spill_writer_batch(struct oq_spill_writer *writer)
{
    return is_held_by(&writer->batch_holder, LOGS) ? &writer->batch : NULL;
}

void oq_spill_writer_reported(struct oq_spill_writer *writer)
{
    hand_to(&writer->batch_holder, WRITERS);
    wake_writer(writer);
}

struct oq_spill_window *oq_spill_writer_window(struct oq_spill_writer *writer)
{
    return is_held_by(&writer->window_holder, LOGS) ? writer->window : NULL;
}

void oq_spill_writer_drained(struct oq_spill_writer *writer)
{
    hand_to(&writer->window_holder, WRITERS);
    wake_writer(writer);
}

const char *oq_spill_writer_notice(struct oq_spill_writer *writer)
{
    return is_held_by(&writer->notice_holder, LOGS) ? writer->notice : NULL;
}

void oq_spill_writer_noticed(struct oq_spill_writer *writer)
{
    hand_to(&writer->notice_holder, WRITERS);
    wake_writer(writer);
}

/* --- Start and end --- */

static int allocate_places(struct oq_spill_writer *writer, const struct oq_spill_settings *settings)
{
    writer->batch.record = calloc(BATCH_MAX, sizeof(struct oq_record *));
    writer->window = calloc(1, sizeof *writer->window);
    if (writer->batch.record == NULL || writer->window == NULL)
        return PS_E_NOMEM;
    if (settings->vfs != NULL) {
        writer->vfs = strdup(settings->vfs);
        if (writer->vfs == NULL)
            return PS_E_NOMEM;
    }
    writer->ended = eventfd(0, EFD_CLOEXEC);
    writer->wakeup = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return writer->ended < 0 || writer->wakeup < 0 ? PS_E_IO : 0;
}

int oq_spill_writer_open(const struct oq_spill_settings *settings,
                         struct oq_spill_writer **ret_writer, struct ps_fault *fault)
{
    const char *path = settings->path;
    if (strlen(path) >= PATH_MAX - PS_DB_FILE_SUFFIX_MAX)
        return ps_fault(fault, PS_E_INVALID, path, "the path is too long");
    struct oq_spill_writer *writer = malloc(sizeof *writer);
    if (writer == NULL)
        return ps_fault(fault, PS_E_NOMEM, path, "out of memory");
    *writer = (struct oq_spill_writer){
        .retry_ns = settings->retry_ms * PS_NS_PER_MS, .lock = -1, .wakeup = -1, .ended = -1};
    pthread_mutex_init(&writer->list_lock, NULL);
    snprintf(writer->path, sizeof writer->path, "%s", path);
    int err = allocate_places(writer, settings);
    if (err != 0) {
        ps_fault(fault, err, path, "no memory or descriptors for the spill");
        goto fail;
    }
    err = ps_db_file_lock(&oq_spill_kind, path, &writer->lock, fault);
    if (err == 0)
        err = ps_db_file_create(&oq_spill_kind, path, writer->vfs, fault);
    if (err == 0)
        err = open_file(writer, fault);
    if (err == 0)
        err = write_kept(writer, fault); /* with no orders: can it be written? */
    if (err == 0)
        err = read_window(writer, fault);
    if (err != 0)
        goto fail;
    *ret_writer = writer;
    return 0;
fail:
    oq_spill_writer_free(writer);
    return err;
}

int oq_spill_writer_start(struct oq_spill_writer *writer, void (*wake)(void *ctx), void *ctx,
                          struct ps_fault *fault)
{
    writer->wake = wake;
    writer->ctx = ctx;
    int err = ps_thread_start("spill", run_writer, writer, &writer->thread);
    if (err != 0)
        return ps_fault(fault, err, writer->path, "the writer thread cannot be started");
    writer->thread_runs = true;
    return 0;
}

int oq_spill_writer_stop(struct oq_spill_writer *writer, int64_t timeout_ms)
{
    if (!writer->thread_runs)
        return 0;
    atomic_store(&writer->stop, true);
    wake_writer(writer);
    if (ps_event_wait(writer->ended, timeout_ms + STOP_GRACE_MS) != 0)
        return PS_E_TIMEOUT;
    pthread_join(writer->thread, NULL);
    writer->thread_runs = false;
    close(writer->lock);
    writer->lock = -1;
    return 0;
}

void oq_spill_writer_free(struct oq_spill_writer *writer)
{
    if (writer == NULL || writer->thread_runs) /* it hangs in the disk and still uses everything */
        return;
    ps_db_file_close(writer->file);
    if (writer->lock >= 0)
        close(writer->lock);
    if (writer->ended >= 0)
        close(writer->ended);
    if (writer->wakeup >= 0)
        close(writer->wakeup);
    end_batch(writer);
    forget_kept(writer->kept, &writer->kept_count);
    pthread_mutex_destroy(&writer->list_lock);
    free(writer->batch.record);
    free(writer->window);
    free(writer->vfs);
    free(writer);
}
