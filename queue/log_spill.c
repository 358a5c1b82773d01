/* The order log in Kafka with a file beside it.
 *
 * Two threads. The log's thread (Kafka's) calls everybody back; what Kafka has refused there goes
 * through a queue to the writer, the only thread that touches the file, so that a slow disk holds
 * up no view. They hand each other two things, each at any time in the hands of one of them:
 *   the batch   the writer commits it, the log's thread tells its outcome
 *   the window  the front of the file: the writer reads it in, the log's thread sends it to Kafka
 *               and waits until the view has shown every order in it decided; then the writer
 *               drops it from the file and reads the next
 *
 * What must hold:
 *  - Only what is surely not in Kafka comes into the file, and every order has one outcome.
 *  - SPILLED comes after the COMMIT. An error before COMMIT is definite: REFUSED. An error of
 *    COMMIT is not: those orders are UNKNOWN, and the first thing written to the file when it works
 *    again, unless they are found in it. Until then the file takes nothing.
 *  - An order leaves the file only after on_record. What was sent and not yet dropped when the
 *    process ends is in the first window of the next one, which is read in before Kafka is, so that
 *    the view's first reading already clears it. A record that is sent twice does no harm.
 *  - A spilled order is sent under its order id as event id: the same each time, by whomever. */
#include "queue/log_spill.h"
#include "common/thread.h"
#include "queue/log_backend.h"
#include "queue/spill_file.h"
#include "queue/spill_window.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Most orders a commit. */
#define BATCH_MAX 512
/* So full the drain fills Kafka's queue, in percent; the rest is for new records. */
#define DRAIN_PERCENT 50
/* For the last write to the disk when the log closes. */
#define CLOSE_GRACE_MS 2000
/* The owner in the tickets of the drain's own appends. */
#define OWN UINT32_MAX

enum holder { WRITERS, LOGS }; /* in whose hands */

/* One writer each, relaxed readers. */
struct counters {
    _Atomic uint64_t taken; /* from Kafka's refusals; told as: */
    _Atomic uint64_t spilled, refused, unknown;
    _Atomic uint64_t own_landed, own_refused, own_unknown; /* the drain's, as Kafka counted them */
};

struct spill {
    struct oq_log log;
    struct oq_log_callbacks on;
    struct oq_kafka_spill hooks;
    _Atomic(struct oq_log *) kafka; /* from the first round on */
    const struct ps_clock *clock;
    char path[PATH_MAX - OQ_FILE_SUFFIX_MAX];
    char *vfs; /* NULL = SQLite's default */
    uint64_t records_max;
    size_t in_flight_max;
    int64_t retry_ns;
    int lock;
    struct oq_record_queue *queue; /* from the log's thread to the writer */
    struct counters counters;
    _Atomic uint64_t stored; /* orders in the file */
    _Atomic uint64_t untold; /* orders on their way to it */
    _Atomic bool broken;     /* the file takes nothing */
    /* closing */
    _Atomic int64_t deadline_ns; /* from then on nothing is spilled */
    _Atomic bool stop;
    int ended; /* eventfd: the writer's last act */
    pthread_t thread;
    bool thread_runs, closed;
    /* handed to and fro */
    _Atomic(enum holder) batch_holder, window_holder;
    const struct oq_record **batch;
    size_t batch_count;
    enum oq_outcome batch_outcome;
    struct oq_spill_window *window;
    _Atomic bool notice_waits;
    char notice[sizeof((struct ps_fault *)0)->path + sizeof((struct ps_fault *)0)->text + 64];
    /* the writer (before it starts: the opening thread) */
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

static void add(_Atomic uint64_t *counter, uint64_t more)
{
    atomic_fetch_add_explicit(counter, more, memory_order_relaxed);
}

static uint64_t load(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static bool is_held_by(const _Atomic(enum holder) *holder, enum holder who)
{
    return atomic_load_explicit(holder, memory_order_acquire) == who;
}

static void ring_writer(struct spill *spill)
{
    (void)eventfd_write(oq_record_queue_bell(spill->queue), 1); /* far from full */
}

/* Everything that the writer is given comes from rounds, so there has been one. */
static void ring_log(struct spill *spill)
{
    struct oq_log *kafka = atomic_load(&spill->kafka);
    if (kafka != NULL)
        oq_kafka_wake(kafka);
}

/* --- The writer: the file --- */

/* One notice that was not told yet is enough. */
static void give_notice(struct spill *spill, const struct ps_fault *why, const char *meaning)
{
    if (atomic_load_explicit(&spill->notice_waits, memory_order_acquire))
        return;
    snprintf(spill->notice, sizeof spill->notice, "%s: %s%s", why->path, why->text, meaning);
    atomic_store_explicit(&spill->notice_waits, true, memory_order_release);
    ring_log(spill);
}

/* Also after every retry that fails. It is said once a kind of error. */
static void break_off(struct spill *spill, int err, const struct ps_fault *why)
{
    atomic_store_explicit(&spill->broken, true, memory_order_relaxed);
    spill->retry_at_ns = now_ns() + spill->retry_ns;
    if (err != spill->err)
        give_notice(spill, why, "; orders are refused while Kafka is away");
    spill->err = err;
}

static void keep_unknown(struct spill *spill)
{
    for (size_t i = 0; i < spill->batch_count; i++)
        oq_record_copy(&spill->kept[i], spill->batch[i]);
    spill->kept_count = spill->batch_count;
}

static enum oq_outcome write_batch(struct spill *spill)
{
    struct ps_fault fault;
    bool unknown;
    if (spill->err != 0)
        return OQ_REFUSED;
    int err = oq_spill_file_write(spill->file, spill->last + 1, spill->batch, spill->batch_count,
                                  &unknown, &fault);
    if (err != 0) {
        if (unknown)
            keep_unknown(spill);
        break_off(spill, err, &fault);
        return unknown ? OQ_UNKNOWN : OQ_REFUSED;
    }
    spill->last += (int64_t)spill->batch_count;
    add(&spill->stored, spill->batch_count);
    err = oq_spill_file_tidy(spill->file, &fault);
    if (err != 0)
        break_off(spill, err, &fault);
    return OQ_SPILLED;
}

/* What is kept was told to be unknown: it must be in the file before anything else is. */
static int write_kept(struct spill *spill, struct ps_fault *fault)
{
    const struct oq_record *records[BATCH_MAX];
    bool unknown;
    for (size_t i = 0; i < spill->kept_count; i++)
        records[i] = &spill->kept[i];
    int err = oq_spill_file_write(spill->file, spill->last + 1, records, spill->kept_count,
                                  &unknown, fault);
    if (err != 0)
        return err;
    spill->last += (int64_t)spill->kept_count;
    add(&spill->stored, spill->kept_count);
    spill->kept_count = 0;
    return 0;
}

static int open_file(struct spill *spill, struct ps_fault *fault)
{
    uint64_t count;
    int64_t last = spill->last;
    int err =
        oq_spill_file_open(spill->path, spill->vfs, &spill->file, &spill->last, &count, fault);
    if (err != 0)
        return err;
    if (spill->last > last) /* the commit that failed is there after all */
        spill->kept_count = 0;
    atomic_store_explicit(&spill->stored, count, memory_order_relaxed);
    return 0;
}

static void recover(struct spill *spill)
{
    struct ps_fault fault;
    oq_spill_file_close(spill->file);
    spill->file = NULL;
    int err = open_file(spill, &fault);
    if (err == 0)
        err = write_kept(spill, &fault);
    if (err != 0) {
        break_off(spill, err, &fault);
        return;
    }
    spill->err = 0;
    atomic_store_explicit(&spill->broken, false, memory_order_relaxed);
    ps_fault(&fault, 0, spill->path, "can be written again");
    give_notice(spill, &fault, "");
}

/* --- The writer: the window --- */

static int add_to_window(int64_t seq, const struct oq_event *event, void *ctx)
{
    return oq_spill_window_add(ctx, seq, event);
}

/* Drops the window that has been drained, and reads the next one. */
static int turn_window(struct spill *spill, struct ps_fault *fault)
{
    struct oq_spill_window *window = spill->window;
    if (window->count > 0) {
        uint64_t count;
        int64_t last = window->entry[window->count - 1].seq;
        int err = oq_spill_file_drop(spill->file, last, &count, fault);
        if (err != 0)
            return err;
        atomic_fetch_sub_explicit(&spill->stored, count, memory_order_relaxed);
        oq_spill_window_empty(window);
    }
    if (load(&spill->stored) == 0)
        return oq_spill_file_tidy(spill->file, fault);
    int err = oq_spill_file_read(spill->file, OQ_SPILL_WINDOW, add_to_window, window, fault);
    if (err != 0) {
        oq_spill_window_empty(window);
        return err;
    }
    oq_spill_window_sort(window);
    atomic_store_explicit(&spill->window_holder, LOGS, memory_order_release);
    return 0;
}

static void look_after_window(struct spill *spill)
{
    struct ps_fault fault;
    bool work = spill->window->count > 0 || load(&spill->stored) > 0;
    if (spill->err != 0 || !is_held_by(&spill->window_holder, WRITERS) || !work)
        return;
    int err = turn_window(spill, &fault);
    if (err != 0)
        break_off(spill, err, &fault);
    else
        ring_log(spill);
}

/* --- The writer: its loop --- */

/* False: nothing to do, or the batch is still being told. */
static bool take_batch(struct spill *spill)
{
    struct oq_record *record;
    if (!is_held_by(&spill->batch_holder, WRITERS))
        return false;
    if (spill->batch_count > 0) {
        spill->batch_count = 0;
        oq_record_queue_release(spill->queue);
        ring_log(spill); /* there is room again */
    }
    while (spill->batch_count < BATCH_MAX && (record = oq_record_queue_take(spill->queue)) != NULL)
        spill->batch[spill->batch_count++] = record;
    if (spill->batch_count == 0)
        return false;
    spill->batch_outcome = write_batch(spill);
    atomic_store_explicit(&spill->batch_holder, LOGS, memory_order_release);
    ring_log(spill);
    return true;
}

static void wait_for_work(struct spill *spill)
{
    int timeout_ms = -1;
    if (spill->err != 0) {
        int64_t left = spill->retry_at_ns - now_ns();
        timeout_ms = left <= 0 ? 0 : (int)(left / PS_NS_PER_MS) + 1;
    }
    if (is_held_by(&spill->batch_holder, WRITERS))
        oq_record_queue_wait(spill->queue, timeout_ms);
    else
        oq_record_queue_rest(spill->queue, timeout_ms);
}

static void *write_all(void *arg)
{
    struct spill *spill = arg;
    while (!atomic_load(&spill->stop)) {
        if (spill->err != 0 && now_ns() >= spill->retry_at_ns)
            recover(spill);
        bool busy = take_batch(spill);
        look_after_window(spill);
        if (!busy)
            wait_for_work(spill);
    }
    if (spill->kept_count > 0)
        recover(spill);
    look_after_window(spill);
    oq_spill_file_close(spill->file);
    spill->file = NULL;
    (void)eventfd_write(spill->ended, 1); /* cannot fail: it is the first */
    return NULL;
}

/* --- The log's thread: what Kafka reports --- */

static void tell(struct spill *spill, const struct oq_ticket *ticket, const struct oq_event *event,
                 enum oq_outcome outcome, int64_t seq)
{
    spill->on.on_outcome(ticket, event, outcome, seq, spill->on.ctx);
}

/* What became of one that the drain has sent. Landed, it was in on_record before; unknown, Kafka
 * sends it again by itself. */
static void note_own(struct spill *spill, int64_t seq, enum oq_outcome outcome)
{
    struct counters *counters = &spill->counters;
    add(outcome == OQ_LANDED    ? &counters->own_landed
        : outcome == OQ_REFUSED ? &counters->own_refused
                                : &counters->own_unknown,
        1);
    if (outcome != OQ_REFUSED || !is_held_by(&spill->window_holder, LOGS))
        return;
    struct oq_spill_entry *entry = oq_spill_window_at(spill->window, seq);
    if (entry != NULL)
        oq_spill_window_set(spill->window, entry, OQ_SPILL_WAITING);
}

static bool is_late(const struct spill *spill)
{
    return now_ns() >= atomic_load_explicit(&spill->deadline_ns, memory_order_relaxed);
}

static void on_outcome(const struct oq_ticket *ticket, const struct oq_event *event,
                       enum oq_outcome outcome, int64_t seq, void *ctx)
{
    struct spill *spill = ctx;
    if (ticket->owner == OWN) {
        note_own(spill, (int64_t)ticket->handle, outcome);
        return;
    }
    bool spills = outcome == OQ_REFUSED && event->type == OQ_ACCEPTED && !is_late(spill);
    if (!spills || oq_record_queue_put(spill->queue, 0, NULL, event, ticket) != 0) {
        tell(spill, ticket, event, outcome, seq);
        return;
    }
    add(&spill->counters.taken, 1);
    add(&spill->untold, 1);
}

static void on_record(uint32_t partition, int64_t seq, const struct oq_event *event, void *ctx)
{
    struct spill *spill = ctx;
    spill->on.on_record(partition, seq, event, spill->on.ctx);
    if (is_held_by(&spill->window_holder, LOGS))
        oq_spill_window_note(spill->window, event);
}

static void on_batch(void *ctx)
{
    struct spill *spill = ctx;
    spill->on.on_batch(spill->on.ctx);
}

static void on_state(bool available, const char *why, void *ctx)
{
    struct spill *spill = ctx;
    spill->on.on_state(available, why, spill->on.ctx);
}

static void on_notice(const char *text, void *ctx)
{
    struct spill *spill = ctx;
    spill->on.on_notice(text, spill->on.ctx);
}

/* --- The log's thread: its rounds --- */

static int tell_batch(struct spill *spill)
{
    struct counters *counters = &spill->counters;
    if (!is_held_by(&spill->batch_holder, LOGS))
        return 0;
    enum oq_outcome outcome = spill->batch_outcome;
    add(outcome == OQ_SPILLED   ? &counters->spilled
        : outcome == OQ_REFUSED ? &counters->refused
                                : &counters->unknown,
        spill->batch_count);
    for (size_t i = 0; i < spill->batch_count; i++) {
        const struct oq_record *record = spill->batch[i];
        atomic_fetch_sub_explicit(&spill->untold, 1, memory_order_relaxed);
        tell(spill, &record->ticket, &record->event, outcome, 0);
    }
    atomic_store_explicit(&spill->batch_holder, WRITERS, memory_order_release);
    ring_writer(spill);
    return 1;
}

static void tell_notice(struct spill *spill)
{
    if (!atomic_load_explicit(&spill->notice_waits, memory_order_acquire))
        return;
    if (spill->on.on_notice != NULL)
        spill->on.on_notice(spill->notice, spill->on.ctx);
    atomic_store_explicit(&spill->notice_waits, false, memory_order_release);
}

static int send_entry(struct spill *spill, struct oq_log *kafka, const struct oq_spill_entry *entry)
{
    const struct oq_event *event = &entry->record.event;
    const struct oq_ticket ticket = {.owner = OWN, .handle = (uint64_t)entry->seq};
    if (oq_kafka_epoch(kafka, event->sale) <= event->epoch)
        return oq_kafka_append_as(kafka, &event->order_id, event, &ticket);
    struct oq_event rejected;
    oq_event_reject(event, ps_clock_wall_ms(spill->clock), &rejected);
    return oq_log_append(kafka, &rejected, &ticket);
}

static int drain(struct spill *spill, struct oq_log *kafka)
{
    struct oq_spill_window *window = spill->window;
    int sent = 0;
    if (!is_held_by(&spill->window_holder, LOGS) || oq_kafka_state(kafka) != OQ_KAFKA_WELL)
        return 0;
    for (size_t i = 0; i < window->count && window->waiting > 0; i++) {
        if (window->entry[i].state != OQ_SPILL_WAITING)
            continue;
        if (oq_log_backlog_percent(kafka) >= DRAIN_PERCENT ||
            send_entry(spill, kafka, &window->entry[i]) != 0)
            break;
        oq_spill_window_set(window, &window->entry[i], OQ_SPILL_SENT);
        sent++;
    }
    if (window->undecided == 0) {
        atomic_store_explicit(&spill->window_holder, WRITERS, memory_order_release);
        ring_writer(spill);
    }
    return sent;
}

static int go_round(struct oq_log *kafka, void *ctx)
{
    struct spill *spill = ctx;
    atomic_store(&spill->kafka, kafka);
    int told = tell_batch(spill);
    tell_notice(spill);
    return told + drain(spill, kafka);
}

/* All that is in flight can be refused at once, so that much is kept free. */
static bool has_room(void *ctx)
{
    const struct spill *spill = ctx;
    return oq_record_queue_count(spill->queue) + spill->in_flight_max <
           oq_record_queue_capacity(spill->queue);
}

static size_t count_untold(void *ctx)
{
    const struct spill *spill = ctx;
    return load(&spill->untold);
}

/* --- The interface --- */

static const struct spill *of_const(const struct oq_log *log)
{
    return (const struct spill *)(const void *)log;
}

static struct spill *of(struct oq_log *log)
{
    return (struct spill *)(void *)log;
}

static struct oq_log *kafka_of(const struct oq_log *log)
{
    return atomic_load_explicit(&of_const(log)->kafka, memory_order_relaxed);
}

uint64_t oq_spill_count(const struct oq_log *log)
{
    return load(&of_const(log)->stored) + load(&of_const(log)->untold);
}

const struct oq_log *oq_spill_kafka(const struct oq_log *log)
{
    return kafka_of(log);
}

/* With all that is on its way there, if Kafka takes none of it. */
static uint64_t occupied(const struct oq_log *log)
{
    struct oq_log_stats stats;
    oq_log_stats(kafka_of(log), &stats);
    return oq_spill_count(log) + stats.backlog;
}

static int spill_append(struct oq_log *log, uint32_t partition, const struct oq_event *event,
                        const struct oq_ticket *ticket)
{
    const struct spill *spill = of_const(log);
    struct oq_log *kafka = kafka_of(log);
    if (event->type == OQ_ACCEPTED && oq_kafka_state(kafka) == OQ_KAFKA_AWAY) {
        if (atomic_load_explicit(&spill->broken, memory_order_relaxed))
            return PS_E_CLOSED;
        if (occupied(log) >= spill->records_max)
            return PS_E_FULL;
    }
    return kafka->ops->append(kafka, partition, event, ticket);
}

static uint32_t spill_partitions(const struct oq_log *log)
{
    return oq_log_partitions(kafka_of(log));
}

static unsigned spill_backlog_percent(const struct oq_log *log)
{
    unsigned queue = oq_log_backlog_percent(kafka_of(log));
    if (oq_kafka_state(kafka_of(log)) != OQ_KAFKA_AWAY)
        return queue;
    uint64_t percent = occupied(log) * 100 / of_const(log)->records_max;
    if (percent > 100)
        percent = 100;
    return percent > queue ? (unsigned)percent : queue;
}

static bool spill_available(const struct oq_log *log)
{
    const struct spill *spill = of_const(log);
    enum oq_kafka_state state = oq_kafka_state(kafka_of(log));
    bool spills = state == OQ_KAFKA_AWAY &&
                  !atomic_load_explicit(&spill->broken, memory_order_relaxed) &&
                  occupied(log) < spill->records_max;
    return state == OQ_KAFKA_WELL || spills;
}

/* Each record once, by the outcome that was told: the drain's own are not counted, nor what Kafka
 * refused and the file took. */
static void spill_stats(const struct oq_log *log, struct oq_log_stats *ret_stats)
{
    const struct counters *own = &of_const(log)->counters;
    struct oq_log_stats stats;
    uint64_t taken = load(&own->taken) + load(&own->own_refused);
    uint64_t landed = load(&own->own_landed);
    uint64_t unknown = load(&own->own_unknown);
    oq_log_stats(kafka_of(log), &stats); /* after these, since it counts before they do */
    stats.spilled = load(&own->spilled);
    stats.refused = stats.refused - taken + load(&own->refused);
    stats.unknown = stats.unknown - unknown + load(&own->unknown);
    stats.landed -= landed;
    stats.backlog += load(&of_const(log)->untold);
    stats.appended = stats.landed + stats.refused + stats.unknown + stats.spilled + stats.backlog;
    *ret_stats = stats;
}

static int spill_call(struct oq_log *log, void (*fn)(void *arg), void *arg)
{
    return oq_log_call(kafka_of(log), fn, arg);
}

static int stop_writer(struct spill *spill)
{
    if (!spill->thread_runs)
        return 0;
    atomic_store(&spill->stop, true);
    ring_writer(spill);
    if (ps_event_wait(spill->ended, CLOSE_GRACE_MS) != 0)
        return PS_E_TIMEOUT;
    pthread_join(spill->thread, NULL);
    spill->thread_runs = false;
    if (spill->lock >= 0)
        close(spill->lock);
    spill->lock = -1;
    return 0;
}

static int spill_close(struct oq_log *log, int64_t timeout_ms)
{
    struct spill *spill = of(log);
    if (spill->closed)
        return 0;
    atomic_store_explicit(&spill->deadline_ns, now_ns() + timeout_ms * PS_NS_PER_MS,
                          memory_order_relaxed);
    int err = oq_log_close(kafka_of(log), timeout_ms);
    if (err == 0)
        err = stop_writer(spill);
    spill->closed = err == 0;
    return err;
}

static void free_parts(struct spill *spill)
{
    oq_spill_file_close(spill->file);
    if (spill->lock >= 0)
        close(spill->lock);
    if (spill->ended >= 0)
        close(spill->ended);
    oq_record_queue_free(spill->queue);
    free(spill->batch);
    free(spill->kept);
    free(spill->window);
    free(spill->vfs);
    free(spill);
}

static void spill_free(struct oq_log *log)
{
    struct spill *spill = of(log);
    if (!spill->closed) /* a thread hangs, and still uses it all */
        return;
    oq_log_free(kafka_of(log));
    free_parts(spill);
}

static int spill_reader_new(struct oq_log *log, struct oq_reader **ret_reader)
{
    return oq_log_reader_new(kafka_of(log), ret_reader);
}

static const struct oq_log_ops spill_ops = {
    .append = spill_append,
    .partitions = spill_partitions,
    .backlog_percent = spill_backlog_percent,
    .available = spill_available,
    .stats = spill_stats,
    .call = spill_call,
    .close = spill_close,
    .free = spill_free,
    .reader_new = spill_reader_new,
};

/* --- Opening --- */

static int allocate(struct spill *spill, const struct oq_spill_settings *settings)
{
    spill->batch = calloc(BATCH_MAX, sizeof(struct oq_record *));
    spill->kept = calloc(BATCH_MAX, sizeof(struct oq_record));
    spill->window = calloc(1, sizeof *spill->window);
    if (spill->batch == NULL || spill->kept == NULL || spill->window == NULL)
        return PS_E_NOMEM;
    if (settings->vfs != NULL) {
        spill->vfs = strdup(settings->vfs);
        if (spill->vfs == NULL)
            return PS_E_NOMEM;
    }
    spill->ended = eventfd(0, EFD_CLOEXEC);
    if (spill->ended < 0)
        return PS_E_IO;
    return oq_record_queue_new(2 * spill->in_flight_max, &spill->queue);
}

/* The file, and what was not drained the last time. */
static int prepare_file(struct spill *spill, struct ps_fault *fault)
{
    int err = oq_spill_file_lock(spill->path, &spill->lock, fault);
    if (err == 0)
        err = oq_spill_file_create(spill->path, spill->vfs, fault);
    if (err == 0)
        err = open_file(spill, fault);
    if (err == 0)
        err = write_kept(spill, fault); /* with none: can it be written? */
    return err == 0 ? turn_window(spill, fault) : err;
}

static int open_kafka(struct spill *spill, const struct oq_kafka_settings *settings,
                      struct ps_fault *fault)
{
    struct oq_log *kafka;
    struct oq_kafka_settings with_spill = *settings;
    const struct oq_log_callbacks *on = &spill->on;
    const struct oq_log_callbacks callbacks = {.on_record = on_record,
                                               .on_outcome = on_outcome,
                                               .on_batch = on->on_batch ? on_batch : NULL,
                                               .on_state = on->on_state ? on_state : NULL,
                                               .on_notice = on->on_notice ? on_notice : NULL,
                                               .ctx = spill};
    spill->hooks = (struct oq_kafka_spill){
        .round = go_round, .room = has_room, .untold = count_untold, .ctx = spill};
    with_spill.spill = &spill->hooks;
    int err = oq_kafka_open(&with_spill, &callbacks, &kafka, fault);
    if (err == 0)
        atomic_store(&spill->kafka, kafka);
    return err;
}

int oq_spill_open(const struct oq_spill_settings *settings,
                  const struct oq_log_callbacks *callbacks, struct oq_log **ret_log,
                  struct ps_fault *fault)
{
    if (strlen(settings->path) >= PATH_MAX - OQ_FILE_SUFFIX_MAX)
        return ps_fault(fault, PS_E_INVALID, settings->path, "the path is too long");
    if (settings->records_max == 0)
        return ps_fault(fault, PS_E_INVALID, settings->path, "a spill takes one record at least");
    struct spill *spill = malloc(sizeof *spill);
    if (spill == NULL)
        return ps_fault(fault, PS_E_NOMEM, settings->path, "out of memory");
    *spill = (struct spill){.log = {&spill_ops},
                            .on = *callbacks,
                            .clock = settings->kafka->clock,
                            .records_max = settings->records_max,
                            .in_flight_max = settings->kafka->in_flight_max,
                            .retry_ns = settings->retry_ms * PS_NS_PER_MS,
                            .deadline_ns = INT64_MAX,
                            .lock = -1,
                            .ended = -1};
    snprintf(spill->path, sizeof spill->path, "%s", settings->path);
    int err = allocate(spill, settings);
    if (err != 0) {
        ps_fault(fault, err, settings->path, "no memory or descriptors for the spill");
        goto fail;
    }
    err = prepare_file(spill, fault);
    if (err != 0)
        goto fail;
    err = ps_thread_start("spill", write_all, spill, &spill->thread);
    if (err != 0) {
        ps_fault(fault, err, settings->path, "the writer thread cannot be started");
        goto fail;
    }
    spill->thread_runs = true;
    err = open_kafka(spill, settings->kafka, fault);
    if (err != 0)
        goto fail;
    *ret_log = &spill->log;
    return 0;
fail:
    if (stop_writer(spill) == 0)
        free_parts(spill);
    return err;
}
