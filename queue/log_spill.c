/* The order log in Kafka with a file beside it.
 *
 * Everything here runs on Kafka's thread: records that Kafka has refused go to the writer
 * (spill_writer), records that the writer has stored go back to Kafka when it is there, and the
 * outcomes and notices of both go to the callbacks.
 *
 * Invariants:
 * - Only a record that is certainly not in Kafka is written to the file, and every order has one
 *   outcome.
 * - An order leaves the file only after on_record has shown it decided. A record that is sent twice
 *   does no harm. */
#include "queue/log_spill.h"
#include "queue/log_backend.h"
#include "queue/spill_writer.h"

#include <stdatomic.h>
#include <stdlib.h>

/* The drain fills Kafka's queue up to this percentage; the rest is for new records. */
#define DRAIN_PERCENT 50

/* One writer each, relaxed readers. */
struct counters {
    _Atomic uint64_t received; /* from Kafka's refusals; reported as: */
    _Atomic uint64_t spilled, refused, unknown;
    _Atomic uint64_t own_landed, own_refused, own_unknown; /* the drain's, as Kafka counted them */
};

struct spill {
    struct oq_log log;
    struct oq_log_callbacks on;
    struct oq_kafka_spill hooks;
    const struct ps_clock *clock;
    uint64_t records_max;
    struct oq_spill_writer *writer;
    _Atomic(struct oq_log *) kafka; /* from the first round on */
    struct counters counters;
    _Atomic uint64_t unreported; /* orders on their way to the file */
    _Atomic int64_t deadline_ns; /* from then on nothing is spilled */
    bool closed;
};

static void add_count(_Atomic uint64_t *counter, uint64_t more)
{
    atomic_fetch_add_explicit(counter, more, memory_order_relaxed);
}

static uint64_t load_count(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* The writer gets all its work in rounds, so there has been one. */
static void wake_kafka(void *ctx)
{
    struct spill *spill = ctx;
    struct oq_log *kafka = atomic_load(&spill->kafka);
    if (kafka != NULL)
        oq_kafka_wake(kafka);
}

/* --- What Kafka reports --- */

static void report_outcome(struct spill *spill, const struct oq_ticket *ticket,
                           const struct oq_event *event, enum oq_outcome outcome, int64_t seq)
{
    spill->on.on_outcome(ticket, event, outcome, seq, spill->on.ctx);
}

/* The outcome of a record that the drain has sent. If it landed, on_record has shown it; if
 * unknown, Kafka sends it again by itself. */
static void note_own(struct spill *spill, int64_t seq, enum oq_outcome outcome)
{
    struct counters *counters = &spill->counters;
    add_count(outcome == OQ_LANDED    ? &counters->own_landed
              : outcome == OQ_REFUSED ? &counters->own_refused
                                      : &counters->own_unknown,
              1);
    struct oq_spill_window *window = oq_spill_writer_window(spill->writer);
    if (outcome != OQ_REFUSED || window == NULL)
        return;
    struct oq_spill_entry *entry = oq_spill_window_at(window, seq);
    if (entry != NULL)
        oq_spill_window_set(window, entry, OQ_SPILL_WAITING);
}

static bool is_late(const struct spill *spill)
{
    return oq_now_ns() >= atomic_load_explicit(&spill->deadline_ns, memory_order_relaxed);
}

static void on_outcome(const struct oq_ticket *ticket, const struct oq_event *event,
                       enum oq_outcome outcome, int64_t seq, void *ctx)
{
    struct spill *spill = ctx;
    if (ticket->owner == OQ_SPILL_OWNER) {
        note_own(spill, (int64_t)ticket->handle, outcome);
        return;
    }
    bool spills = outcome == OQ_REFUSED && event->type == OQ_ACCEPTED && !is_late(spill);
    if (!spills || oq_spill_writer_put(spill->writer, event, ticket) != 0) {
        report_outcome(spill, ticket, event, outcome, seq);
        return;
    }
    add_count(&spill->counters.received, 1);
    add_count(&spill->unreported, 1);
}

static void on_record(uint32_t partition, int64_t seq, const struct oq_event *event, void *ctx)
{
    struct spill *spill = ctx;
    spill->on.on_record(partition, seq, event, spill->on.ctx);
    struct oq_spill_window *window = oq_spill_writer_window(spill->writer);
    if (window != NULL)
        oq_spill_window_note(window, event);
}

static int on_marks(bool fits, const char *why, struct oq_sale_marks *sales, void *ctx)
{
    struct spill *spill = ctx;
    return spill->on.on_marks(fits, why, sales, spill->on.ctx);
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

/* --- Its rounds --- */

static int report_batch(struct spill *spill)
{
    struct counters *counters = &spill->counters;
    const struct oq_spill_batch *batch = oq_spill_writer_batch(spill->writer);
    if (batch == NULL)
        return 0;
    enum oq_outcome outcome = batch->outcome;
    add_count(outcome == OQ_SPILLED   ? &counters->spilled
              : outcome == OQ_REFUSED ? &counters->refused
                                      : &counters->unknown,
              batch->count);
    for (size_t i = 0; i < batch->count; i++) {
        const struct oq_record *record = batch->record[i];
        atomic_fetch_sub_explicit(&spill->unreported, 1, memory_order_relaxed);
        report_outcome(spill, &record->ticket, &record->event, outcome, 0);
    }
    oq_spill_writer_reported(spill->writer);
    return 1;
}

static void report_notice(struct spill *spill)
{
    const char *notice = oq_spill_writer_notice(spill->writer);
    if (notice == NULL)
        return;
    if (spill->on.on_notice != NULL)
        spill->on.on_notice(notice, spill->on.ctx);
    oq_spill_writer_noticed(spill->writer);
}

static int send_entry(struct spill *spill, struct oq_log *kafka, const struct oq_spill_entry *entry)
{
    const struct oq_event *event = &entry->record.event;
    const struct oq_ticket ticket = {.owner = OQ_SPILL_OWNER, .handle = (uint64_t)entry->seq};
    if (oq_kafka_epoch(kafka, event->sale) <= event->epoch)
        return oq_log_append(kafka, event, &ticket);
    struct oq_event rejected;
    oq_event_reject(event, ps_clock_wall_ms(spill->clock), &rejected);
    return oq_log_append(kafka, &rejected, &ticket);
}

static int drain_window(struct spill *spill, struct oq_log *kafka)
{
    struct oq_spill_window *window = oq_spill_writer_window(spill->writer);
    int sent = 0;
    if (window == NULL || oq_kafka_state(kafka) != OQ_LOG_WELL)
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
    if (window->undecided == 0)
        oq_spill_writer_drained(spill->writer);
    return sent;
}

static int go_round(struct oq_log *kafka, void *ctx)
{
    struct spill *spill = ctx;
    atomic_store(&spill->kafka, kafka);
    int reported = report_batch(spill);
    report_notice(spill);
    return reported + drain_window(spill, kafka);
}

static bool has_room(void *ctx)
{
    const struct spill *spill = ctx;
    return oq_spill_writer_has_room(spill->writer);
}

static size_t count_unreported(void *ctx)
{
    const struct spill *spill = ctx;
    return load_count(&spill->unreported);
}

/* --- The interface --- */

static const struct spill *const_spill_of(const struct oq_log *log)
{
    return (const struct spill *)(const void *)log;
}

static struct spill *spill_of(struct oq_log *log)
{
    return (struct spill *)(void *)log;
}

static struct oq_log *kafka_of(const struct oq_log *log)
{
    return atomic_load_explicit(&const_spill_of(log)->kafka, memory_order_relaxed);
}

/* Orders that wait on this machine alone: without those that are decided and still in the file, as
 * far as whole windows (spill_window.h) are. */
static uint64_t count_waiting(const struct oq_log *log)
{
    const struct spill *spill = const_spill_of(log);
    return oq_spill_writer_undecided(spill->writer) + load_count(&spill->unreported);
}

/* Orders in the file and on their way there, if Kafka accepts none of them. */
static uint64_t count_occupied(const struct oq_log *log)
{
    const struct spill *spill = const_spill_of(log);
    struct oq_log_stats stats;
    oq_log_stats(kafka_of(log), &stats);
    return oq_spill_writer_stored(spill->writer) + load_count(&spill->unreported) + stats.backlog;
}

static int spill_append(struct oq_log *log, uint32_t partition, const struct oq_event *event,
                        const struct oq_ticket *ticket)
{
    const struct spill *spill = const_spill_of(log);
    struct oq_log *kafka = kafka_of(log);
    if (event->type == OQ_ACCEPTED && oq_kafka_state(kafka) == OQ_LOG_AWAY) {
        if (oq_spill_writer_broken(spill->writer))
            return PS_E_CLOSED;
        if (count_occupied(log) >= spill->records_max)
            return PS_E_FULL;
    }
    return kafka->ops->append(kafka, partition, event, ticket);
}

static unsigned spill_backlog_percent(const struct oq_log *log)
{
    unsigned queue = oq_log_backlog_percent(kafka_of(log));
    if (oq_kafka_state(kafka_of(log)) != OQ_LOG_AWAY)
        return queue;
    uint64_t percent = count_occupied(log) * 100 / const_spill_of(log)->records_max;
    if (percent > 100)
        percent = 100;
    return percent > queue ? (unsigned)percent : queue;
}

static bool spill_available(const struct oq_log *log)
{
    const struct spill *spill = const_spill_of(log);
    enum oq_log_state state = oq_kafka_state(kafka_of(log));
    bool spills = state == OQ_LOG_AWAY && !oq_spill_writer_broken(spill->writer) &&
                  count_occupied(log) < spill->records_max;
    return state == OQ_LOG_WELL || spills;
}

static void spill_view(const struct oq_log *log, struct oq_log_view *ret_view)
{
    oq_log_view(kafka_of(log), ret_view);
    ret_view->available = spill_available(log);
    ret_view->spilled = count_waiting(log);
}

/* Counts each record once, by its reported outcome: without the drain's own, and without those that
 * Kafka refused and the file took. */
static void spill_stats(const struct oq_log *log, struct oq_log_stats *ret_stats)
{
    const struct counters *own = &const_spill_of(log)->counters;
    struct oq_log_stats stats;
    uint64_t received = load_count(&own->received) + load_count(&own->own_refused);
    uint64_t landed = load_count(&own->own_landed);
    uint64_t unknown = load_count(&own->own_unknown);
    oq_log_stats(kafka_of(log), &stats); /* after these, since it counts before they do */
    stats.spilled = load_count(&own->spilled);
    stats.refused = stats.refused - received + load_count(&own->refused);
    stats.unknown = stats.unknown - unknown + load_count(&own->unknown);
    stats.landed -= landed;
    stats.backlog += load_count(&const_spill_of(log)->unreported);
    stats.appended = stats.landed + stats.refused + stats.unknown + stats.spilled + stats.backlog;
    *ret_stats = stats;
}

static void spill_breaker(const struct oq_log *log, struct ps_breaker_view *ret_view)
{
    (void)oq_log_breaker(kafka_of(log), ret_view);
}

static void spill_force(struct oq_log *log, const struct ps_breaker_force *force)
{
    oq_log_force(kafka_of(log), force);
}

/* A start that reads from the mark does not see that an order in the file landed before it, and
 * would send it again, or reject it. */
static int spill_mark(const struct oq_log *log, uint32_t partition, struct oq_mark *ret_mark)
{
    const struct spill *spill = const_spill_of(log);
    if (oq_spill_writer_stored(spill->writer) > 0 || load_count(&spill->unreported) > 0)
        return PS_E_BUSY;
    return oq_log_mark(const_spill_of(log)->kafka, partition, ret_mark);
}

static int spill_call(struct oq_log *log, void (*fn)(void *arg), void *arg)
{
    return oq_log_call(kafka_of(log), fn, arg);
}

static int spill_close(struct oq_log *log, int64_t timeout_ms)
{
    struct spill *spill = spill_of(log);
    if (spill->closed)
        return 0;
    int64_t deadline_ns = oq_now_ns() + timeout_ms * PS_NS_PER_MS;
    atomic_store_explicit(&spill->deadline_ns, deadline_ns, memory_order_relaxed);
    int err = oq_log_close(kafka_of(log), timeout_ms);
    int64_t left_ns = deadline_ns - oq_now_ns();
    if (err == 0)
        err = oq_spill_writer_stop(spill->writer, left_ns > 0 ? left_ns / PS_NS_PER_MS : 0);
    spill->closed = err == 0;
    return err;
}

static void spill_free(struct oq_log *log)
{
    struct spill *spill = spill_of(log);
    if (!spill->closed) /* a thread hangs, and still uses everything */
        return;
    oq_log_free(kafka_of(log));
    oq_spill_writer_free(spill->writer);
    free(spill);
}

static int spill_reader_new(struct oq_log *log, struct oq_reader **ret_reader)
{
    return oq_log_reader_new(kafka_of(log), ret_reader);
}

static const struct oq_log_ops spill_ops = {
    .append = spill_append,
    .backlog_percent = spill_backlog_percent,
    .available = spill_available,
    .view = spill_view,
    .stats = spill_stats,
    .breaker = spill_breaker,
    .force = spill_force,
    .call = spill_call,
    .mark = spill_mark,
    .close = spill_close,
    .free = spill_free,
    .reader_new = spill_reader_new,
};

/* --- Opening --- */

static int open_kafka(struct spill *spill, const struct oq_kafka_settings *settings,
                      struct ps_fault *fault)
{
    struct oq_log *kafka;
    struct oq_kafka_settings with_spill = *settings;
    const struct oq_log_callbacks *on = &spill->on;
    const struct oq_log_callbacks callbacks = {.on_record = on_record,
                                               .on_outcome = on_outcome,
                                               .on_marks = on_marks,
                                               .on_state = on->on_state ? on_state : NULL,
                                               .on_notice = on->on_notice ? on_notice : NULL,
                                               .ctx = spill};
    spill->hooks = (struct oq_kafka_spill){
        .round = go_round, .room = has_room, .unreported = count_unreported, .ctx = spill};
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
    if (settings->records_max == 0)
        return ps_fault(fault, PS_E_INVALID, settings->path,
                        "a spill must have room for at least one record");
    struct spill *spill = malloc(sizeof *spill);
    if (spill == NULL)
        return ps_fault(fault, PS_E_NOMEM, settings->path, "out of memory");
    *spill = (struct spill){.log = {&spill_ops},
                            .on = *callbacks,
                            .clock = settings->kafka->clock,
                            .records_max = settings->records_max,
                            .deadline_ns = INT64_MAX};
    int err = oq_spill_writer_open(settings, &spill->writer, fault);
    if (err != 0) {
        free(spill);
        return err;
    }
    err = oq_spill_writer_start(spill->writer, wake_kafka, spill, fault);
    if (err == 0)
        err = open_kafka(spill, settings->kafka, fault);
    if (err != 0)
        goto fail;
    *ret_log = &spill->log;
    return 0;
fail:
    /* If Kafka's thread hangs, it still uses everything. */
    if (err != PS_E_TIMEOUT && oq_spill_writer_stop(spill->writer, 0) == 0) {
        oq_spill_writer_free(spill->writer);
        free(spill);
    }
    return err;
}
