/* The spill's writer.
 *
 * What must hold:
 *  - SPILLED comes after the COMMIT. An error before COMMIT is definite: REFUSED. An error of
 *    COMMIT is not: those orders are UNKNOWN, and the first thing written to the file when it works
 *    again, unless they are found in it. Until then the file takes nothing.
 *  - An order leaves the file only with its window, which the log's thread has drained. The first
 *    window is read in before Kafka is, so that the view's first reading already clears what an
 *    earlier process has sent and not dropped. */
#include "queue/spill_writer.h"
#include "common/thread.h"
#include "queue/spill_file.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Most orders a commit. */
#define BATCH_MAX 512
/* For the last write to the disk when it stops. */
#define STOP_GRACE_MS 2000

enum holder { WRITERS, LOGS }; /* in whose hands */

struct oq_spill_writer {
    char path[PATH_MAX - OQ_FILE_SUFFIX_MAX];
    char *vfs; /* NULL = SQLite's default */
    size_t in_flight_max;
    int64_t retry_ns;
    int lock;
    void (*ring)(void *ctx);
    void *ctx;
    struct oq_record_queue *queue; /* from the log's thread */
    _Atomic uint64_t stored;
    _Atomic bool broken, stop;
    int ended; /* eventfd: the thread's last act */
    pthread_t thread;
    bool thread_runs;
    /* handed to and fro */
    _Atomic(enum holder) batch_holder, window_holder, notice_holder;
    struct oq_spill_batch batch;
    struct oq_spill_window *window;
    char notice[sizeof((struct ps_fault *)0)->path + sizeof((struct ps_fault *)0)->text + 64];
    /* the thread (before it starts: the opening one) */
    struct oq_spill_file *file; /* NULL: could not be opened again */
    int64_t last;               /* number in the file */
    struct oq_record *kept;     /* of unknown outcome, BATCH_MAX places */
    size_t kept_count;
    int err; /* why it is broken, 0 = it is not */
    int64_t retry_at_ns;
};

static int64_t now_ns(void)
{
    return ps_clock_mono_ns(&ps_clock_system);
}

static bool is_held_by(const _Atomic(enum holder) *holder, enum holder who)
{
    return atomic_load_explicit(holder, memory_order_acquire) == who;
}

static void hand_to(_Atomic(enum holder) *holder, enum holder who)
{
    atomic_store_explicit(holder, who, memory_order_release);
}

static void wake(struct oq_spill_writer *writer)
{
    (void)eventfd_write(oq_record_queue_bell(writer->queue), 1); /* far from full */
}

/* --- The file --- */

/* One notice that was not told yet is enough. */
static void give_notice(struct oq_spill_writer *writer, const struct ps_fault *why,
                        const char *meaning)
{
    if (!is_held_by(&writer->notice_holder, WRITERS))
        return;
    snprintf(writer->notice, sizeof writer->notice, "%s: %s%s", why->path, why->text, meaning);
    hand_to(&writer->notice_holder, LOGS);
    writer->ring(writer->ctx);
}

/* Also after every retry that fails. It is said once a kind of error. */
static void break_off(struct oq_spill_writer *writer, int err, const struct ps_fault *why)
{
    atomic_store_explicit(&writer->broken, true, memory_order_relaxed);
    writer->retry_at_ns = now_ns() + writer->retry_ns;
    if (err != writer->err)
        give_notice(writer, why, "; orders are refused while Kafka is away");
    writer->err = err;
}

static void keep_unknown(struct oq_spill_writer *writer)
{
    for (size_t i = 0; i < writer->batch.count; i++)
        oq_record_copy(&writer->kept[i], writer->batch.record[i]);
    writer->kept_count = writer->batch.count;
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
        if (unknown)
            keep_unknown(writer);
        break_off(writer, err, &fault);
        return unknown ? OQ_UNKNOWN : OQ_REFUSED;
    }
    writer->last += (int64_t)writer->batch.count;
    atomic_fetch_add_explicit(&writer->stored, writer->batch.count, memory_order_relaxed);
    err = oq_spill_file_tidy(writer->file, &fault);
    if (err != 0)
        break_off(writer, err, &fault);
    return OQ_SPILLED;
}

/* What is kept was told to be unknown: it must be in the file before anything else is. */
static int write_kept(struct oq_spill_writer *writer, struct ps_fault *fault)
{
    const struct oq_record *records[BATCH_MAX];
    bool unknown;
    for (size_t i = 0; i < writer->kept_count; i++)
        records[i] = &writer->kept[i];
    int err = oq_spill_file_write(writer->file, writer->last + 1, records, writer->kept_count,
                                  &unknown, fault);
    if (err != 0)
        return err;
    writer->last += (int64_t)writer->kept_count;
    atomic_fetch_add_explicit(&writer->stored, writer->kept_count, memory_order_relaxed);
    writer->kept_count = 0;
    return 0;
}

static int open_file(struct oq_spill_writer *writer, struct ps_fault *fault)
{
    uint64_t count;
    int64_t last = writer->last;
    int err =
        oq_spill_file_open(writer->path, writer->vfs, &writer->file, &writer->last, &count, fault);
    if (err != 0)
        return err;
    if (writer->last > last) /* the commit that failed is there after all */
        writer->kept_count = 0;
    atomic_store_explicit(&writer->stored, count, memory_order_relaxed);
    return 0;
}

static void recover(struct oq_spill_writer *writer)
{
    struct ps_fault fault;
    oq_spill_file_close(writer->file);
    writer->file = NULL;
    int err = open_file(writer, &fault);
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

/* --- The window --- */

static int add_to_window(int64_t seq, const struct oq_event *event, void *ctx)
{
    return oq_spill_window_add(ctx, seq, event);
}

/* Drops the window that has been drained, and reads the next one. */
static int turn_window(struct oq_spill_writer *writer, struct ps_fault *fault)
{
    struct oq_spill_window *window = writer->window;
    if (window->count > 0) {
        uint64_t count;
        int64_t last = window->entry[window->count - 1].seq;
        int err = oq_spill_file_drop(writer->file, last, &count, fault);
        if (err != 0)
            return err;
        atomic_fetch_sub_explicit(&writer->stored, count, memory_order_relaxed);
        oq_spill_window_empty(window);
    }
    if (oq_spill_writer_stored(writer) == 0)
        return oq_spill_file_tidy(writer->file, fault);
    int err = oq_spill_file_read(writer->file, OQ_SPILL_WINDOW, add_to_window, window, fault);
    if (err != 0) {
        oq_spill_window_empty(window);
        return err;
    }
    oq_spill_window_sort(window);
    hand_to(&writer->window_holder, LOGS);
    return 0;
}

static void look_after_window(struct oq_spill_writer *writer)
{
    struct ps_fault fault;
    bool work = writer->window->count > 0 || oq_spill_writer_stored(writer) > 0;
    if (writer->err != 0 || !is_held_by(&writer->window_holder, WRITERS) || !work)
        return;
    int err = turn_window(writer, &fault);
    if (err != 0)
        break_off(writer, err, &fault);
    else
        writer->ring(writer->ctx);
}

/* --- Its loop --- */

/* False: nothing to do, or the batch is still being told. */
static bool take_batch(struct oq_spill_writer *writer)
{
    struct oq_record *record;
    if (!is_held_by(&writer->batch_holder, WRITERS))
        return false;
    if (writer->batch.count > 0) {
        writer->batch.count = 0;
        oq_record_queue_release(writer->queue);
        writer->ring(writer->ctx); /* there is room again */
    }
    while (writer->batch.count < BATCH_MAX &&
           (record = oq_record_queue_take(writer->queue)) != NULL)
        writer->batch.record[writer->batch.count++] = record;
    if (writer->batch.count == 0)
        return false;
    writer->batch.outcome = write_batch(writer);
    hand_to(&writer->batch_holder, LOGS);
    writer->ring(writer->ctx);
    return true;
}

static void wait_for_work(struct oq_spill_writer *writer)
{
    int timeout_ms = -1;
    if (writer->err != 0) {
        int64_t left = writer->retry_at_ns - now_ns();
        timeout_ms = left <= 0 ? 0 : (int)(left / PS_NS_PER_MS) + 1;
    }
    if (is_held_by(&writer->batch_holder, WRITERS))
        oq_record_queue_wait(writer->queue, timeout_ms);
    else
        oq_record_queue_rest(writer->queue, timeout_ms);
}

static void *run(void *arg)
{
    struct oq_spill_writer *writer = arg;
    while (!atomic_load(&writer->stop)) {
        if (writer->err != 0 && now_ns() >= writer->retry_at_ns)
            recover(writer);
        bool busy = take_batch(writer);
        look_after_window(writer);
        if (!busy)
            wait_for_work(writer);
    }
    if (writer->kept_count > 0)
        recover(writer);
    look_after_window(writer);
    oq_spill_file_close(writer->file);
    writer->file = NULL;
    (void)eventfd_write(writer->ended, 1); /* cannot fail: it is the first */
    return NULL;
}

/* --- For the others --- */

uint64_t oq_spill_writer_stored(const struct oq_spill_writer *writer)
{
    return atomic_load_explicit(&writer->stored, memory_order_relaxed);
}

bool oq_spill_writer_broken(const struct oq_spill_writer *writer)
{
    return atomic_load_explicit(&writer->broken, memory_order_relaxed);
}

int oq_spill_writer_put(struct oq_spill_writer *writer, const struct oq_event *event,
                        const struct oq_ticket *ticket)
{
    return oq_record_queue_put(writer->queue, 0, NULL, event, ticket);
}

bool oq_spill_writer_has_room(const struct oq_spill_writer *writer)
{
    return oq_record_queue_count(writer->queue) + writer->in_flight_max <
           oq_record_queue_capacity(writer->queue);
}

const struct oq_spill_batch *oq_spill_writer_batch(struct oq_spill_writer *writer)
{
    return is_held_by(&writer->batch_holder, LOGS) ? &writer->batch : NULL;
}

void oq_spill_writer_told(struct oq_spill_writer *writer)
{
    hand_to(&writer->batch_holder, WRITERS);
    wake(writer);
}

struct oq_spill_window *oq_spill_writer_window(struct oq_spill_writer *writer)
{
    return is_held_by(&writer->window_holder, LOGS) ? writer->window : NULL;
}

void oq_spill_writer_drained(struct oq_spill_writer *writer)
{
    hand_to(&writer->window_holder, WRITERS);
    wake(writer);
}

const char *oq_spill_writer_notice(struct oq_spill_writer *writer)
{
    return is_held_by(&writer->notice_holder, LOGS) ? writer->notice : NULL;
}

void oq_spill_writer_noticed(struct oq_spill_writer *writer)
{
    hand_to(&writer->notice_holder, WRITERS);
}

/* --- Start and end --- */

static int allocate(struct oq_spill_writer *writer, const struct oq_spill_settings *settings)
{
    writer->batch.record = calloc(BATCH_MAX, sizeof(struct oq_record *));
    writer->kept = calloc(BATCH_MAX, sizeof(struct oq_record));
    writer->window = calloc(1, sizeof *writer->window);
    if (writer->batch.record == NULL || writer->kept == NULL || writer->window == NULL)
        return PS_E_NOMEM;
    if (settings->vfs != NULL) {
        writer->vfs = strdup(settings->vfs);
        if (writer->vfs == NULL)
            return PS_E_NOMEM;
    }
    writer->ended = eventfd(0, EFD_CLOEXEC);
    if (writer->ended < 0)
        return PS_E_IO;
    return oq_record_queue_new(2 * writer->in_flight_max, &writer->queue);
}

int oq_spill_writer_open(const struct oq_spill_settings *settings,
                         struct oq_spill_writer **ret_writer, struct ps_fault *fault)
{
    const char *path = settings->path;
    if (strlen(path) >= PATH_MAX - OQ_FILE_SUFFIX_MAX)
        return ps_fault(fault, PS_E_INVALID, path, "the path is too long");
    struct oq_spill_writer *writer = malloc(sizeof *writer);
    if (writer == NULL)
        return ps_fault(fault, PS_E_NOMEM, path, "out of memory");
    *writer = (struct oq_spill_writer){.in_flight_max = settings->kafka->in_flight_max,
                                       .retry_ns = settings->retry_ms * PS_NS_PER_MS,
                                       .lock = -1,
                                       .ended = -1};
    snprintf(writer->path, sizeof writer->path, "%s", path);
    int err = allocate(writer, settings);
    if (err != 0) {
        ps_fault(fault, err, path, "no memory or descriptors for the spill");
        goto fail;
    }
    err = oq_spill_file_lock(path, &writer->lock, fault);
    if (err == 0)
        err = oq_spill_file_create(path, writer->vfs, fault);
    if (err == 0)
        err = open_file(writer, fault);
    if (err == 0)
        err = write_kept(writer, fault); /* with none: can it be written? */
    if (err == 0)
        err = turn_window(writer, fault);
    if (err != 0)
        goto fail;
    *ret_writer = writer;
    return 0;
fail:
    oq_spill_writer_free(writer);
    return err;
}

int oq_spill_writer_start(struct oq_spill_writer *writer, void (*ring)(void *ctx), void *ctx,
                          struct ps_fault *fault)
{
    writer->ring = ring;
    writer->ctx = ctx;
    int err = ps_thread_start("spill", run, writer, &writer->thread);
    if (err != 0)
        return ps_fault(fault, err, writer->path, "the writer thread cannot be started");
    writer->thread_runs = true;
    return 0;
}

int oq_spill_writer_stop(struct oq_spill_writer *writer)
{
    if (!writer->thread_runs)
        return 0;
    atomic_store(&writer->stop, true);
    wake(writer);
    if (ps_event_wait(writer->ended, STOP_GRACE_MS) != 0)
        return PS_E_TIMEOUT;
    pthread_join(writer->thread, NULL);
    writer->thread_runs = false;
    close(writer->lock);
    writer->lock = -1;
    return 0;
}

void oq_spill_writer_free(struct oq_spill_writer *writer)
{
    if (writer == NULL || writer->thread_runs) /* hangs in the disk and still uses it all */
        return;
    oq_spill_file_close(writer->file);
    if (writer->lock >= 0)
        close(writer->lock);
    if (writer->ended >= 0)
        close(writer->ended);
    oq_record_queue_free(writer->queue);
    free(writer->batch.record);
    free(writer->kept);
    free(writer->window);
    free(writer->vfs);
    free(writer);
}
