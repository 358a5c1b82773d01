/* The order log in Kafka.
 *
 * One thread does everything with the log: it takes what is appended and hands it to the producer
 * (kafka_sender), reads all partitions (kafka_view), and calls the callbacks. It blocks on one
 * eventfd; appenders, librdkafka's queues and the watcher signal it. The watcher (kafka_watch) is a
 * second thread, for the questions to which librdkafka answers by blocking.
 *
 * A breaker (kafka_breaker) decides whether records are sent, sent again, or wait.
 *
 * What must hold: LANDED and on_record come from what was read, in the order of the partition, and
 * from one log only: what is there must begin with what was read (kafka_view), in the same cluster,
 * or the log is closed until it does again; what was taken before a call has its outcome before the
 * call runs; after a failure nothing is sent until reading back has shown the outcome of the
 * records in flight. */
#include "common/program/thread.h"
#include "queue/kafka_breaker.h"
#include "queue/kafka_reader.h"
#include "queue/kafka_record.h"
#include "queue/kafka_sender.h"
#include "queue/kafka_view.h"
#include "queue/log_backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Records handed over between two polls of what has come back. */
#define TAKE_AT_ONCE 1024
/* How often deadlines are checked when nothing happens. */
#define IDLE_MS 100
/* For what librdkafka does after the deadline of a close. */
#define CLOSE_GRACE_MS 10000

struct kafka {
    struct oq_log log;
    struct oq_log_callbacks on;
    struct oq_kafka_config config;
    const struct oq_kafka_spill *spill; /* NULL = none */
    struct oq_record_queue *queue;
    struct oq_kafka_watch *watch;
    _Atomic uint32_t partitions;
    _Atomic uint64_t foreign, lag, backlog_max;
    _Atomic int64_t reached_ns; /* when a look began whose ends the view has reached */
    char name[OQ_LOG_NAME_MAX + 1];
    char cluster[OQ_KAFKA_CLUSTER_ID]; /* the log's thread: the cluster in the name */
    _Atomic bool named;                /* `name` is known, and does not change any more */
    /* closing */
    _Atomic int64_t deadline_ns; /* from then on what waits is refused */
    int ended;                   /* eventfd: the thread's last act */
    pthread_t thread;
    bool thread_runs;
    /* the log's thread */
    struct oq_sale_marks *marks;
    struct oq_kafka_view *view;
    struct oq_kafka_sender *sender;
    struct oq_kafka_breaker breaker;
    bool gave_up;
    uint32_t known;         /* partitions that view and sender know */
    int64_t expired_ns;     /* when deadlines of acknowledged records were last checked */
    int64_t asked_ns;       /* when the full look that the view needs was requested */
    struct oq_record *call; /* waits for the outcomes of what was taken before it */
    char notice[320];       /* reported last */
    struct oq_kafka_look look;
    bool held;               /* the previous wave is in progress */
    struct ps_fault refused; /* the critical record that ended the reading */
};

/* --- Its state --- */

static bool is_behind(const struct kafka *kafka)
{
    int64_t now = oq_now_ns();
    int64_t allowed = kafka->config.set.behind_ms * PS_NS_PER_MS;
    int64_t acked = oq_kafka_sender_acked_ns(kafka->sender);
    if (acked < now && now - acked > allowed)
        return true;
    return !oq_kafka_view_reached(kafka->view) &&
           now - oq_kafka_view_waits_ns(kafka->view) > allowed;
}

/* `certain`: records must be read back before more are sent. */
static void go_away(struct kafka *kafka, bool certain, const struct ps_fault *why, int err)
{
    if (certain ? oq_kafka_breaker_trip(&kafka->breaker, why, err)
                : oq_kafka_breaker_fail(&kafka->breaker, why, err))
        oq_kafka_view_doubt(kafka->view);
}

/* Kafka does not hold what was read from it. */
static void distrust(struct kafka *kafka, const struct ps_fault *why, int err)
{
    oq_kafka_view_doubt(kafka->view);
    oq_kafka_breaker_mismatch(&kafka->breaker, why, err);
}

/* The view needs a full look to continue; while looks fail, not at once. */
static void ask_for_look(struct kafka *kafka)
{
    int64_t now = oq_now_ns();
    if (oq_kafka_view_doubt_ns(kafka->view) <= kafka->asked_ns ||
        now - kafka->asked_ns < kafka->config.set.look_ms * PS_NS_PER_MS)
        return;
    kafka->asked_ns = now;
    oq_kafka_watch_check(kafka->watch);
}

/* Once known, it does not change: the same address may lead elsewhere. */
static int check_cluster(struct kafka *kafka, const char *cluster, struct ps_fault *fault)
{
    const char *topic = kafka->config.set.topic;
    if (atomic_load_explicit(&kafka->named, memory_order_relaxed)) {
        if (cluster[0] == '\0' || strcmp(cluster, kafka->cluster) == 0)
            return 0;
        return ps_fault(fault, PS_E_CORRUPT, topic,
                        "Kafka at %s is cluster %s, but the orders are in cluster %s: restore the "
                        "address of that cluster",
                        kafka->config.set.brokers, cluster, kafka->cluster);
    }
    snprintf(kafka->cluster, sizeof kafka->cluster, "%s", cluster);
    snprintf(kafka->name, sizeof kafka->name, "topic %s of Kafka cluster %s", topic, cluster);
    atomic_store_explicit(&kafka->named, true, memory_order_release);
    return 0;
}

static void on_trouble(bool certain, const char *why, void *ctx)
{
    struct kafka *kafka = ctx;
    struct ps_fault fault;
    int err = ps_fault(&fault, PS_E_IO, kafka->config.set.topic,
                       "Kafka at %s does not accept records: %s", kafka->config.set.brokers, why);
    go_away(kafka, certain, &fault, err);
}

static void take_look(struct kafka *kafka)
{
    struct oq_kafka_look *look = &kafka->look;
    struct ps_fault fault;
    if (kafka->breaker.lost || !oq_kafka_watch_news(kafka->watch, look))
        return;
    if (look->err != 0) {
        go_away(kafka, look->err == PS_E_INVALID, &look->fault, look->err);
        if (look->err == PS_E_INVALID)
            oq_kafka_breaker_refuse(&kafka->breaker, &look->fault);
        return;
    }
    int64_t away_ns = kafka->breaker.circuit.opened_ns;
    bool back = oq_kafka_breaker_may_return(&kafka->breaker) && look->began_ns >= away_ns &&
                look->checked_ns >= away_ns;
    int err = check_cluster(kafka, look->cluster, &fault);
    if (err == 0)
        err = oq_kafka_view_take(kafka->view, look, back, &fault);
    if (err == 0 && look->partitions > kafka->known)
        err = oq_kafka_sender_refresh(kafka->sender, &fault);
    if (err == PS_E_CORRUPT) {
        distrust(kafka, &fault, err);
    } else if (err != 0) { /* some partitions may be followed and others not */
        oq_kafka_view_doubt(kafka->view);
        go_away(kafka, true, &fault, err);
    }
    if (err != 0)
        return;
    kafka->known = look->partitions;
    atomic_store_explicit(&kafka->partitions, look->partitions, memory_order_relaxed);
    atomic_store_explicit(&kafka->lag, oq_kafka_view_lag(kafka->view), memory_order_relaxed);
    if (look->notice[0] != '\0' && strcmp(look->notice, kafka->notice) != 0) {
        memcpy(kafka->notice, look->notice, sizeof kafka->notice);
        if (kafka->on.on_notice != NULL)
            kafka->on.on_notice(kafka->notice, kafka->on.ctx);
    }
    if (back)
        oq_kafka_breaker_return(&kafka->breaker);
}

/* --- What was read --- */

static int pass_over(struct kafka *kafka, const rd_kafka_message_t *message,
                     const struct ps_fault *fault)
{
    char text[600];
    uint64_t count = atomic_load_explicit(&kafka->foreign, memory_order_relaxed);
    atomic_store_explicit(&kafka->foreign, count + 1, memory_order_relaxed);
    if (kafka->on.on_notice == NULL)
        return 0;
    oq_kafka_record_blame(message, fault, text, sizeof text);
    kafka->on.on_notice(text, kafka->on.ctx);
    return 0;
}

static int on_message(const rd_kafka_message_t *message, void *ctx)
{
    struct kafka *kafka = ctx;
    uint32_t partition = (uint32_t)message->partition;
    int64_t seq = message->offset + 1;
    struct oq_event event;
    struct ps_fault fault;
    struct ps_uuid id;
    void *owner;
    int err = oq_event_decode(message->payload, message->len, &event, &owner, &fault);
    if (err == PS_E_INVALID)
        return pass_over(kafka, message, &fault);
    if (err == PS_E_NEWER)
        return ps_fault(&kafka->refused, err, kafka->config.set.topic,
                        "partition %u, offset %lld: %s", partition, (long long)message->offset,
                        fault.text);
    if (err != 0)
        return err;
    err = oq_sale_marks_note(kafka->marks, partition, &event);
    if (err == 0) {
        kafka->on.on_record(partition, seq, &event, kafka->on.ctx);
        if (oq_kafka_sender_in_flight(kafka->sender) > 0 &&
            oq_kafka_record_id(message, &event, &id) == 0)
            oq_kafka_sender_landed(kafka->sender, &id, seq, &event);
    }
    oq_event_release(owner);
    return err;
}

static int on_marks(bool fits, const char *why, void *ctx)
{
    const struct kafka *kafka = ctx;
    return kafka->on.on_marks(fits, why, kafka->marks, kafka->on.ctx);
}

static int read_back(struct kafka *kafka)
{
    struct ps_fault fault;
    if (kafka->breaker.lost)
        return 0;
    int done = oq_kafka_view_read(kafka->view, on_message, kafka, &fault);
    if (done == PS_E_CORRUPT)
        distrust(kafka, &fault, done);
    else if (done < 0) {
        ps_fault(&fault, done, kafka->config.set.topic,
                 "out of memory for its records: restart the gateway with more memory");
        oq_kafka_breaker_lose(&kafka->breaker, done == PS_E_NEWER ? &kafka->refused : &fault, done);
    }
    int64_t took_ns = oq_kafka_sender_end_group(kafka->sender);
    if (took_ns > 0)
        oq_kafka_breaker_succeed(&kafka->breaker, took_ns);
    if (oq_kafka_view_reached(kafka->view))
        atomic_store_explicit(&kafka->reached_ns, oq_kafka_view_look_ns(kafka->view),
                              memory_order_release);
    return done;
}

/* What the view has reached decides what is sent again, and whether the log is back. */
static void go_on(struct kafka *kafka)
{
    int64_t now = oq_now_ns();
    if (now - kafka->expired_ns > IDLE_MS * PS_NS_PER_MS) {
        kafka->expired_ns = now;
        oq_kafka_sender_expire(kafka->sender);
    }
    if (kafka->breaker.circuit.state == PS_BREAKER_OPEN)
        return;
    if (oq_kafka_view_reached(kafka->view))
        oq_kafka_sender_miss(kafka->sender, oq_kafka_view_look_ns(kafka->view));
    else if (kafka->breaker.circuit.state == PS_BREAKER_HALF_OPEN)
        return;
    oq_kafka_sender_resend(kafka->sender);
    if (kafka->breaker.circuit.state == PS_BREAKER_HALF_OPEN &&
        oq_kafka_sender_in_flight(kafka->sender) == 0)
        oq_kafka_breaker_mend(&kafka->breaker);
}

/* --- What was appended --- */

static bool is_late(const struct kafka *kafka)
{
    return oq_now_ns() >= atomic_load_explicit(&kafka->deadline_ns, memory_order_relaxed);
}

static bool has_room(const struct kafka *kafka)
{
    if (kafka->breaker.circuit.state == PS_BREAKER_CLOSED)
        return !kafka->held && !oq_kafka_sender_full(kafka->sender);
    return kafka->spill == NULL || kafka->spill->room(kafka->spill->ctx);
}

/* Records that were taken from the queue and whose outcome is not reported yet. */
static size_t count_unreported(const struct kafka *kafka)
{
    size_t spilling = kafka->spill != NULL ? kafka->spill->unreported(kafka->spill->ctx) : 0;
    return spilling + oq_kafka_sender_unreported(kafka->sender);
}

/* Nothing after a call is taken until it has run. */
static int take_appended(struct kafka *kafka)
{
    int taken = 0;
    bool late = is_late(kafka);
    kafka->held = kafka->breaker.circuit.state == PS_BREAKER_CLOSED &&
                  !oq_kafka_sender_next_wave(kafka->sender);
    size_t waiting = oq_record_queue_count(kafka->queue);
    if (waiting > atomic_load_explicit(&kafka->backlog_max, memory_order_relaxed))
        atomic_store_explicit(&kafka->backlog_max, waiting, memory_order_relaxed);
    while (kafka->call == NULL && taken < TAKE_AT_ONCE) {
        bool sends = kafka->breaker.circuit.state == PS_BREAKER_CLOSED && !late;
        if (!late && !has_room(kafka))
            break;
        struct oq_record *record = oq_record_queue_take(kafka->queue);
        if (record == NULL)
            break;
        taken++;
        if (record->call != NULL)
            kafka->call = record;
        else if (sends)
            oq_kafka_sender_send(kafka->sender, record, kafka->known);
        else
            oq_kafka_sender_refuse(kafka->sender, record);
    }
    if (kafka->call != NULL && count_unreported(kafka) == 0) {
        kafka->call->call(kafka->call->arg);
        kafka->call = NULL;
        taken++;
    }
    if (kafka->call == NULL)
        oq_record_queue_release(kafka->queue);
    return taken;
}

/* --- The log's thread --- */

static void sleep_a_little(struct kafka *kafka)
{
    if (!has_room(kafka) || kafka->call != NULL || oq_record_queue_ended(kafka->queue))
        oq_record_queue_rest(kafka->queue, IDLE_MS);
    else
        oq_record_queue_wait(kafka->queue, IDLE_MS);
}

/* Closed, and everything is finished, or cannot be in time. */
static bool is_over(struct kafka *kafka)
{
    if (is_late(kafka) && !kafka->gave_up) {
        oq_kafka_sender_give_up(kafka->sender);
        kafka->gave_up = true;
    }
    if (!oq_record_queue_ended(kafka->queue) || kafka->call != NULL)
        return false;
    bool in_flight = kafka->breaker.circuit.state == PS_BREAKER_CLOSED &&
                     oq_kafka_sender_in_flight(kafka->sender) > 0;
    return !in_flight && count_unreported(kafka) == 0;
}

static void *run_log(void *arg)
{
    struct kafka *kafka = arg;
    while (!is_over(kafka)) {
        if (oq_kafka_breaker_obey(&kafka->breaker))
            oq_kafka_view_doubt(kafka->view);
        take_look(kafka);
        ask_for_look(kafka);
        int done = read_back(kafka);
        if (!kafka->gave_up) {
            done += oq_kafka_sender_poll(kafka->sender);
            go_on(kafka);
        }
        done += take_appended(kafka);
        oq_kafka_breaker_report(&kafka->breaker, is_behind(kafka));
        if (kafka->spill != NULL)
            done += kafka->spill->round(&kafka->log, kafka->spill->ctx);
        if (done <= 0)
            sleep_a_little(kafka);
    }
    if (!kafka->gave_up)
        oq_kafka_sender_give_up(kafka->sender);
    oq_kafka_breaker_end(&kafka->breaker);
    (void)eventfd_write(kafka->ended, 1);
    return NULL;
}

/* --- The interface --- */

static const struct kafka *const_kafka_of(const struct oq_log *log)
{
    return (const struct kafka *)(const void *)log;
}

static struct kafka *kafka_of(struct oq_log *log)
{
    return (struct kafka *)(void *)log;
}

enum oq_log_state oq_kafka_state(const struct oq_log *log)
{
    return oq_kafka_breaker_state(&const_kafka_of(log)->breaker);
}

void oq_kafka_wake(struct oq_log *log)
{
    (void)eventfd_write(oq_record_queue_wakeup(kafka_of(log)->queue), 1); /* far from full */
}

int64_t oq_kafka_epoch(const struct oq_log *log, struct ps_str sale)
{
    return oq_sale_marks_epoch(const_kafka_of(log)->marks, sale);
}

static int kafka_append(struct oq_log *log, uint32_t partition, const struct oq_event *event,
                        const struct oq_ticket *ticket)
{
    struct kafka *kafka = kafka_of(log);
    enum oq_log_state state = oq_kafka_state(&kafka->log);
    bool spills = state == OQ_LOG_AWAY && kafka->spill != NULL && event->type == OQ_ACCEPTED;
    if (state != OQ_LOG_WELL && !spills)
        return PS_E_CLOSED;
    return oq_record_queue_put(kafka->queue, partition, event, ticket);
}

static unsigned kafka_backlog_percent(const struct oq_log *log)
{
    const struct oq_record_queue *queue = const_kafka_of(log)->queue;
    return (unsigned)(oq_record_queue_count(queue) * 100 / oq_record_queue_capacity(queue));
}

static bool kafka_available(const struct oq_log *log)
{
    return oq_kafka_state(log) == OQ_LOG_WELL;
}

static void kafka_view(const struct oq_log *log, struct oq_log_view *ret_view)
{
    const struct kafka *kafka = const_kafka_of(log);
    enum oq_log_state state = oq_kafka_state(log);

    *ret_view = (struct oq_log_view){
        .state = state,
        .available = state == OQ_LOG_WELL,
        .current = state == OQ_LOG_WELL,
        .shared = true,
        .partitions = atomic_load_explicit(&kafka->partitions, memory_order_relaxed),
        .reached_ns = atomic_load_explicit(&kafka->reached_ns, memory_order_acquire),
        .name = atomic_load_explicit(&kafka->named, memory_order_acquire) ? kafka->name : NULL};
}

static uint64_t load_count(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void kafka_stats(const struct oq_log *log, struct oq_log_stats *ret_stats)
{
    const struct kafka *kafka = const_kafka_of(log);
    const struct oq_kafka_counters *from = oq_kafka_sender_counters(kafka->sender);
    struct oq_log_stats stats = {
        .landed = load_count(&from->landed),
        .refused = load_count(&from->refused),
        .unknown = load_count(&from->unknown),
        .commits = (uint64_t)ps_durations_count(&from->groups),
        .commit_failures = load_count(&from->failures),
        .commit_durations = &from->groups,
        .backlog = oq_record_queue_count(kafka->queue) + load_count(&from->unreported),
        .backlog_max = load_count(&kafka->backlog_max),
        .foreign = load_count(&kafka->foreign),
        .resent = load_count(&from->resent),
        .producers = load_count(&from->producers),
        .in_flight = load_count(&from->in_flight),
        .lag = load_count(&kafka->lag),
        .sent_bytes = load_count(&from->sent_bytes),
        .received_bytes = load_count(&from->received_bytes),
        .round_trip_ns = atomic_load_explicit(&from->round_trip_us, memory_order_relaxed) * 1000,
    };
    stats.appended = stats.landed + stats.refused + stats.unknown + stats.backlog;
    *ret_stats = stats;
}

static void kafka_breaker(const struct oq_log *log, struct ps_breaker_view *ret_view)
{
    oq_kafka_breaker_view(&const_kafka_of(log)->breaker, ret_view);
}

static void kafka_force(struct oq_log *log, const struct ps_breaker_force *force)
{
    oq_kafka_breaker_force(&kafka_of(log)->breaker, force);
    oq_kafka_wake(log);
}

static int kafka_call(struct oq_log *log, void (*fn)(void *arg), void *arg)
{
    return oq_record_queue_call(kafka_of(log)->queue, fn, arg);
}

static int kafka_close(struct oq_log *log, int64_t timeout_ms)
{
    struct kafka *kafka = kafka_of(log);
    if (!kafka->thread_runs)
        return 0;
    atomic_store_explicit(&kafka->deadline_ns, oq_now_ns() + timeout_ms * PS_NS_PER_MS,
                          memory_order_relaxed);
    oq_record_queue_close(kafka->queue);
    if (ps_event_wait(kafka->ended, timeout_ms + CLOSE_GRACE_MS) != 0)
        return PS_E_TIMEOUT;
    pthread_join(kafka->thread, NULL);
    kafka->thread_runs = false;
    return 0;
}

static void kafka_free(struct oq_log *log)
{
    struct kafka *kafka = kafka_of(log);
    if (kafka->thread_runs) /* it hangs, and still uses everything */
        return;
    oq_kafka_watch_stop(kafka->watch);
    oq_kafka_sender_free(kafka->sender);
    oq_kafka_view_free(kafka->view);
    oq_sale_marks_free(kafka->marks);
    if (kafka->ended >= 0)
        close(kafka->ended);
    oq_kafka_breaker_done(&kafka->breaker);
    oq_record_queue_free(kafka->queue);
    oq_kafka_config_done(&kafka->config);
    free(kafka);
}

static int kafka_reader_new(struct oq_log *log, struct oq_reader **ret_reader)
{
    return oq_kafka_reader_open(&kafka_of(log)->config.set, ret_reader, NULL);
}

static int kafka_mark(const struct oq_log *log, uint32_t partition, struct oq_mark *ret_mark)
{
    return oq_kafka_view_mark(const_kafka_of(log)->view, partition, ret_mark);
}

static const struct oq_log_ops kafka_ops = {
    .append = kafka_append,
    .backlog_percent = kafka_backlog_percent,
    .available = kafka_available,
    .view = kafka_view,
    .stats = kafka_stats,
    .breaker = kafka_breaker,
    .force = kafka_force,
    .call = kafka_call,
    .mark = kafka_mark,
    .close = kafka_close,
    .free = kafka_free,
    .reader_new = kafka_reader_new,
};

/* --- Opening --- */

static int make_parts(struct kafka *kafka, struct ps_fault *fault)
{
    const struct oq_kafka_settings *settings = &kafka->config.set;
    int err = oq_kafka_breaker_init(&kafka->breaker, settings, &kafka->on);
    kafka->ended = eventfd(0, EFD_CLOEXEC);
    if (err == 0)
        err = oq_record_queue_new(settings->queue_capacity, &kafka->queue);
    if (err == 0)
        err = oq_sale_marks_new(&kafka->marks);
    if (err == 0 && kafka->ended < 0)
        err = PS_E_IO;
    if (err != 0)
        return ps_fault(fault, err, settings->topic, "no memory or descriptors for the queue");
    int wakeup = oq_record_queue_wakeup(kafka->queue);
    const struct oq_kafka_sender_setup setup = {.config = &kafka->config,
                                                .marks = kafka->marks,
                                                .callbacks = &kafka->on,
                                                .on_trouble = on_trouble,
                                                .ctx = kafka,
                                                .wakeup = wakeup};
    err = oq_kafka_view_new(&kafka->config, wakeup, &kafka->view, fault);
    if (err == 0) {
        oq_kafka_view_on_marks(kafka->view, on_marks, kafka);
        kafka->config.set.marks = NULL; /* borrowed; the view has copies */
        kafka->config.set.mark_count = 0;
        err = oq_kafka_sender_new(&setup, &kafka->sender, fault);
    }
    if (err == 0)
        err = oq_kafka_watch_start(&kafka->config, wakeup, &kafka->watch, fault);
    return err;
}

int oq_kafka_open(const struct oq_kafka_settings *settings,
                  const struct oq_log_callbacks *callbacks, struct oq_log **ret_log,
                  struct ps_fault *fault)
{
    struct kafka *kafka = calloc(1, sizeof *kafka);
    if (kafka == NULL)
        return ps_fault(fault, PS_E_NOMEM, settings->topic, "out of memory");
    kafka->log.ops = &kafka_ops;
    kafka->on = *callbacks;
    kafka->spill = settings->spill;
    atomic_init(&kafka->partitions, settings->partitions_min);
    atomic_init(&kafka->deadline_ns, INT64_MAX);
    int err = oq_kafka_config_init(&kafka->config, settings, fault);
    if (err != 0) {
        free(kafka);
        return err;
    }
    err = make_parts(kafka, fault);
    if (err != 0)
        goto fail;
    err = ps_thread_start("kafka-log", run_log, kafka, &kafka->thread);
    if (err != 0) {
        ps_fault(fault, err, settings->topic, "the log's thread cannot be started");
        goto fail;
    }
    kafka->thread_runs = true;
    err = oq_kafka_breaker_wait(&kafka->breaker, settings->open_wait_ms, fault);
    if (err != 0) {
        if (kafka_close(&kafka->log, 0) != 0)
            return PS_E_TIMEOUT;
        goto fail;
    }
    *ret_log = &kafka->log;
    return 0;
fail:
    kafka_free(&kafka->log);
    return err;
}
