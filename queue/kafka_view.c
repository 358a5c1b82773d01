/* Following the topic.
 *
 * All partitions go into one queue of librdkafka, which signals the log's thread. Where a
 * partition stands (`position`) is the offset behind the last record read, or where librdkafka says
 * that the partition ends.
 *
 * The topic may no longer be the one that was read: its address leads to another cluster, it was
 * deleted and created anew, or it lost its end and has grown again. Continuing at the same offset
 * would silently fold the records of another log. So the view stops (HALTED) when that may have
 * happened:
 *  - a connection was made. Kafka restarts, and another one answers, only behind a new connection.
 *    An interceptor counts them, before anything can be read through them;
 *  - another broker sends a partition's records, since it may have fewer of them;
 *  - this process stood still, or a partition was seen to end before what was read;
 *  - the log's breaker opened.
 * A full look from then on says which cluster this is and where the partitions begin. Then every
 * partition is read again from its last record on (PROVING), which must be the same word for word.
 * When all have shown it, and no further connection was made, reading continues (FOLLOWING). A last
 * record that retention has deleted proves nothing; if all of them are gone, the cluster's id must
 * do. A new leader may report an end that is a little old, so several looks must agree before a
 * topic counts as shorter.
 *
 * Marks that are given at the start are proved in the same way, before anything is read. There
 * every one must be shown, for nothing else tells that the topic is theirs; if one is not, all of
 * them are dropped, and all is read.
 *
 * What remains is a topic that is deleted, made and filled beyond the position between two looks,
 * while all connections stay. */
#include "queue/kafka_view.h"
#include "common/program/thread.h"
#include "queue/log_backend.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define READ_AT_ONCE  512
#define SHORTER_LOOKS 4
#define END_MS        5000
#define STILL_NS      PS_NS_PER_S /* the log's thread comes round ten times as often */

struct place {
    int64_t position;
    int64_t target; /* to reach */
    int64_t before; /* position at the previous look */
    int shorter;    /* looks in a row that saw it end before that */
    bool fetching;
    bool checking;                    /* PROVING: `mark` has not been read again yet */
    int32_t broker;                   /* that sent the last message; -1 = not known */
    const rd_kafka_message_t *newest; /* of this group */
    struct oq_mark mark;              /* of the last record read */
};

struct oq_kafka_view {
    const struct oq_kafka_config *config;
    struct oq_kafka_hooks hooks;
    rd_kafka_t *handle;
    int ended; /* eventfd: the handle is destroyed */
    rd_kafka_topic_t *topic;
    rd_kafka_queue_t *queue;
    uint32_t partitions;
    enum { HALTED, PROVING, FOLLOWING } state;
    uint32_t unproved; /* partitions that are `checking` */
    uint32_t given;    /* given marks that are not proved yet */
    oq_kafka_marks_fn *on_marks;
    void *marks_ctx;
    _Atomic uint64_t connections; /* made so far */
    uint64_t proved;              /* of these, at the beginning of PROVING */
    int64_t doubt_ns, halted_ns;  /* since when a full look is needed; since when not FOLLOWING */
    int64_t round_ns;             /* when it was read last */
    bool reached;
    int64_t look_ns;
    uint64_t lag;
    rd_kafka_message_t *messages[READ_AT_ONCE];
    struct place at[OQ_PARTITION_MAX];
};

static void on_connect(void *opaque)
{
    struct oq_kafka_view *view = opaque;
    atomic_fetch_add(&view->connections, 1);
}

static void wake_thread(rd_kafka_queue_t *queue, int wakeup)
{
    static const uint64_t one = 1;
    rd_kafka_queue_io_event_enable(queue, wakeup, &one, sizeof one);
}

int oq_kafka_view_new(const struct oq_kafka_config *config, int wakeup,
                      struct oq_kafka_view **ret_view, struct ps_fault *fault)
{
    struct oq_kafka_view *view = calloc(1, sizeof *view);
    if (view == NULL)
        return ps_fault(fault, PS_E_NOMEM, config->set.topic, "out of memory");
    view->config = config;
    view->ended = eventfd(0, EFD_CLOEXEC);
    view->hooks = (struct oq_kafka_hooks){.on_connect = on_connect, .opaque = view};
    view->doubt_ns = view->halted_ns = view->round_ns = oq_now_ns();
    int err = view->ended >= 0 ? 0 : ps_fault(fault, PS_E_IO, config->set.topic, "no descriptor");
    if (err == 0)
        err = oq_kafka_conf_new(config, OQ_KAFKA_CONSUMER, &view->hooks, &view->handle, fault);
    if (err != 0)
        goto fail;
    view->topic = rd_kafka_topic_new(view->handle, config->set.topic, NULL);
    if (view->topic == NULL) {
        err = ps_fault(fault, PS_E_INVALID, config->set.topic, "is not a valid topic name");
        goto fail;
    }
    view->queue = rd_kafka_queue_new(view->handle);
    wake_thread(view->queue, wakeup);
    view->given = config->set.mark_count;
    for (uint32_t i = 0; i < view->given; i++)
        view->at[i] =
            (struct place){.mark = config->set.marks[i], .position = config->set.marks[i].seq};
    *ret_view = view;
    return 0;
fail:
    oq_kafka_view_free(view);
    return err;
}

void oq_kafka_view_on_marks(struct oq_kafka_view *view, oq_kafka_marks_fn *fn, void *ctx)
{
    view->on_marks = fn;
    view->marks_ctx = ctx;
}

static void stop_one(struct oq_kafka_view *view, uint32_t partition)
{
    if (view->at[partition].fetching)
        rd_kafka_consume_stop(view->topic, (int32_t)partition);
    view->at[partition].fetching = false;
}

static void stop_all(struct oq_kafka_view *view)
{
    for (uint32_t i = 0; i < view->partitions; i++)
        stop_one(view, i);
}

static void *end_handle(void *arg)
{
    struct oq_kafka_view *view = arg;
    rd_kafka_destroy(view->handle);
    (void)eventfd_write(view->ended, 1);
    return NULL;
}

/* librdkafka 2.0.2 may wait forever for a partition whose topic was deleted meanwhile (seen). The
 * process ends soon; what hangs is abandoned. */
void oq_kafka_view_free(struct oq_kafka_view *view)
{
    pthread_t thread;
    if (view == NULL)
        return;
    stop_all(view);
    if (view->queue != NULL)
        rd_kafka_queue_destroy(view->queue);
    if (view->topic != NULL)
        rd_kafka_topic_destroy(view->topic);
    if (view->handle != NULL && ps_thread_start("kafka-end", end_handle, view, &thread) == 0) {
        if (ps_event_wait(view->ended, END_MS) != 0) {
            pthread_detach(thread);
            return;
        }
        pthread_join(thread, NULL);
    }
    if (view->ended >= 0)
        close(view->ended);
    free(view);
}

/* --- Where it stands --- */

static void see_whether_reached(struct oq_kafka_view *view)
{
    if (view->state != FOLLOWING)
        return;
    for (uint32_t i = 0; i < view->partitions; i++)
        if (view->at[i].position < view->at[i].target)
            return;
    view->reached = true;
}

/* Starts at its last record while that must be proved, else at its position; at the beginning if
 * nothing of the partition was read. */
static int start_one(struct oq_kafka_view *view, uint32_t partition, struct ps_fault *fault)
{
    struct place *at = &view->at[partition];
    int64_t offset = at->checking       ? at->mark.seq - 1
                     : at->mark.seq > 0 ? at->position
                                        : RD_KAFKA_OFFSET_BEGINNING;
    if (rd_kafka_consume_start_queue(view->topic, (int32_t)partition, offset, view->queue) != 0)
        return ps_fault(fault, PS_E_IO, view->config->set.topic,
                        "partition %" PRIu32 " cannot be followed: %s", partition,
                        rd_kafka_err2str(rd_kafka_last_error()));
    at->fetching = true;
    return 0;
}

static int follow(struct oq_kafka_view *view, struct ps_fault *fault)
{
    int err = view->given > 0 ? view->on_marks(true, "", view->marks_ctx) : 0;
    view->given = 0;
    view->state = FOLLOWING;
    for (uint32_t i = 0; i < view->partitions && err == 0; i++)
        err = start_one(view, i, fault);
    see_whether_reached(view);
    return err;
}

/* Not before it has reached the ends of an earlier look, unless `afresh`. */
static void take_ends(struct oq_kafka_view *view, const struct oq_kafka_look *look, bool afresh)
{
    view->lag = 0;
    for (uint32_t i = 0; i < view->partitions; i++)
        if (look->ends[i] > view->at[i].position)
            view->lag += (uint64_t)(look->ends[i] - view->at[i].position);
    if (!view->reached && !afresh)
        return;
    for (uint32_t i = 0; i < view->partitions; i++)
        view->at[i].target = look->ends[i];
    view->look_ns = look->began_ns;
    view->reached = false;
    see_whether_reached(view);
}

/* --- Is it the same log? --- */

void oq_kafka_view_doubt(struct oq_kafka_view *view)
{
    int64_t now = oq_now_ns();
    stop_all(view);
    if (view->state == FOLLOWING)
        view->halted_ns = now;
    view->state = HALTED;
    view->doubt_ns = now;
    view->reached = false;
}

/* The topic is not, or no longer, that of the given marks: nothing was read by them yet. */
static int drop_given(struct oq_kafka_view *view, uint32_t partition)
{
    char why[200];
    (void)snprintf(why, sizeof why,
                   "the checkpoint's last record of partition %" PRIu32
                   " of topic %s, at offset %" PRId64
                   ", is gone, or another record is in its place",
                   partition, view->config->set.topic, view->at[partition].mark.seq - 1);
    oq_kafka_view_doubt(view);
    for (uint32_t i = 0; i < view->given; i++)
        view->at[i] = (struct place){.broker = -1};
    view->given = 0;
    return view->on_marks(false, why, view->marks_ctx);
}

/* A partition without a given mark is read from its beginning. *ret_partition: the first whose mark
 * is certainly not in the topic. */
static bool may_have_given(const struct oq_kafka_view *view, const struct oq_kafka_look *look,
                           uint32_t *ret_partition)
{
    for (uint32_t i = 0; i < view->given; i++) {
        *ret_partition = i;
        if (view->at[i].mark.seq > 0 &&
            (i >= look->partitions || look->begins[i] >= view->at[i].mark.seq ||
             look->ends[i] < view->at[i].mark.seq))
            return false;
    }
    return true;
}

static int compare_ends(struct oq_kafka_view *view, const struct oq_kafka_look *look,
                        struct ps_fault *fault)
{
    bool shorter = false;
    for (uint32_t i = 0; i < view->partitions; i++) {
        struct place *at = &view->at[i];
        int64_t end = look->ends[i];
        at->shorter = end < at->before ? at->shorter + 1 : 0;
        if (at->shorter >= SHORTER_LOOKS && view->given > 0)
            return drop_given(view, i);
        if (at->shorter >= SHORTER_LOOKS)
            return ps_fault(fault, PS_E_CORRUPT, view->config->set.topic,
                            "partition %" PRIu32 " ends at offset %" PRId64 ", but records up to "
                            "offset %" PRId64 " have been read from it: Kafka has lost them, or "
                            "this is another topic of the same name. Bring the topic back that was "
                            "read, or restart the gateways to go by what is there",
                            i, end, at->before - 1);
        shorter |= at->shorter > 0;
        at->before = at->position;
    }
    if (shorter && view->state == FOLLOWING)
        oq_kafka_view_doubt(view);
    return 0;
}

static int begin_proof(struct oq_kafka_view *view, const struct oq_kafka_look *look,
                       struct ps_fault *fault)
{
    uint32_t missing;
    int err = 0;
    if (!may_have_given(view, look, &missing))
        return drop_given(view, missing);
    stop_all(view);
    view->state = PROVING;
    view->doubt_ns = 0;
    view->unproved = 0;
    view->proved = atomic_load(&view->connections);
    view->round_ns = oq_now_ns();
    for (uint32_t i = 0; i < view->partitions && err == 0; i++) {
        struct place *at = &view->at[i];
        if (at->mark.seq > 0 && look->begins[i] > at->position)
            return ps_fault(fault, PS_E_CORRUPT, view->config->set.topic,
                            "partition %" PRIu32 " begins at offset %" PRId64 ", and the records "
                            "from offset %" PRId64 " on were not read yet: they were deleted. "
                            "Restart the gateways to go by what is there",
                            i, look->begins[i], at->position);
        at->broker = -1;
        at->checking = at->mark.seq > look->begins[i];
        if (!at->checking)
            continue;
        view->unproved++;
        err = start_one(view, i, fault);
    }
    return err == 0 && view->unproved == 0 ? follow(view, fault) : err;
}

static bool is_cluster(struct oq_kafka_view *view, const char *cluster)
{
    char *id = rd_kafka_clusterid(view->handle, 0); /* as its own connections last said */
    bool same = id == NULL || cluster[0] == '\0' || strcmp(id, cluster) == 0;
    if (id != NULL)
        rd_kafka_mem_free(view->handle, id);
    return same;
}

/* The watcher's connections may lead elsewhere than the view's own. */
static int check_cluster(struct oq_kafka_view *view, const char *cluster, struct ps_fault *fault)
{
    if (is_cluster(view, cluster))
        return 0;
    int err = oq_kafka_conf_refresh(view->handle, view->topic, fault);
    if (err != 0 || is_cluster(view, cluster))
        return err;
    return ps_fault(fault, PS_E_CORRUPT, view->config->set.topic,
                    "Kafka at %s is cluster %s for one connection and another one for the next",
                    view->config->set.brokers, cluster);
}

int oq_kafka_view_take(struct oq_kafka_view *view, const struct oq_kafka_look *look, bool afresh,
                       struct ps_fault *fault)
{
    int err = 0;
    if (look->partitions < view->partitions)
        return ps_fault(fault, PS_E_CORRUPT, view->config->set.topic,
                        "the topic had %" PRIu32 " partitions and has %" PRIu32
                        " now: it is another one of the same name. Bring the topic back that was "
                        "read, or restart the gateways to go by what is there",
                        view->partitions, look->partitions);
    if (view->partitions < look->partitions) /* librdkafka would find them in some minutes only */
        err = oq_kafka_conf_refresh(view->handle, view->topic, fault);
    for (; err == 0 && view->partitions < look->partitions; view->partitions++) {
        view->at[view->partitions].broker = -1;
        if (view->state == FOLLOWING)
            err = start_one(view, view->partitions, fault);
    }
    if (err == 0)
        err = check_cluster(view, look->cluster, fault);
    if (err == 0)
        err = compare_ends(view, look, fault);
    bool resumes = view->state == HALTED && look->checked_ns >= view->doubt_ns;
    if (err == 0)
        take_ends(view, look, afresh || resumes);
    if (err == 0 && resumes)
        err = begin_proof(view, look, fault);
    return err;
}

/* The first message of a partition that is to be proved. */
static int prove(struct oq_kafka_view *view, const rd_kafka_message_t *message,
                 struct ps_fault *fault)
{
    uint32_t partition = (uint32_t)message->partition;
    struct place *at = &view->at[partition];
    const struct ps_str json = {message->payload, message->len};
    if (!at->checking) /* fetched before it was stopped */
        return 0;
    if (!oq_mark_fits(&at->mark, message->offset + 1, json) && view->given > 0)
        return drop_given(view, partition);
    if (!oq_mark_fits(&at->mark, message->offset + 1, json))
        return ps_fault(fault, PS_E_CORRUPT, view->config->set.topic,
                        "the record at offset %" PRId64 " of partition %" PRIu32 " is not the one "
                        "that was read there: this is another topic of the same name, or Kafka has "
                        "lost records and taken others since. Bring the topic back that was read, "
                        "or restart the gateways to go by what is there",
                        at->mark.seq - 1, partition);
    at->checking = false;
    at->position = message->offset + 1; /* an end that was behind it is asked for again */
    at->broker = rd_kafka_message_broker_id(message);
    stop_one(view, partition);
    if (--view->unproved > 0)
        return 0;
    if (atomic_load(&view->connections) == view->proved)
        return follow(view, fault);
    oq_kafka_view_doubt(view); /* it is unknown through which connection it came */
    return 0;
}

/* --- Reading --- */

/* What was read before belongs to the same log; what arrived now may not. */
static bool is_doubtful(struct oq_kafka_view *view, const rd_kafka_message_t *message)
{
    int32_t broker = rd_kafka_message_broker_id(message);
    struct place *at = &view->at[message->partition];
    bool moved = broker >= 0 && at->broker >= 0 && broker != at->broker;
    if (broker >= 0)
        at->broker = broker;
    return moved;
}

static int take_message(struct oq_kafka_view *view, const rd_kafka_message_t *message,
                        oq_kafka_message_fn *fn, void *ctx, struct ps_fault *fault)
{
    if (view->state == HALTED || message->partition < 0 ||
        (uint32_t)message->partition >= view->partitions)
        return 0; /* the last two: an error of no partition */
    struct place *at = &view->at[message->partition];
    int err = 0;
    switch (message->err) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        if (view->state == PROVING)
            return prove(view, message, fault);
        if (message->offset < at->position)
            return 0;
        if (is_doubtful(view, message)) {
            oq_kafka_view_doubt(view);
            return 0;
        }
        err = fn(message, ctx);
        if (err < 0) /* what was not taken is never marked as read */
            return err;
        at->position = message->offset + 1;
        at->newest = message;
        return err;
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        if (view->state == FOLLOWING && message->offset > at->position)
            at->position = message->offset;
        return 0;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        if (view->given > 0)
            return drop_given(view, (uint32_t)message->partition);
        return ps_fault(fault, PS_E_CORRUPT, view->config->set.topic,
                        "partition %" PRId32 " cannot be read at offset %" PRId64 ": its records "
                        "were lost, damaged or deleted. Bring them back, or restart the gateways "
                        "to go by what is there",
                        message->partition, at->checking ? at->mark.seq - 1 : at->position);
    default: /* librdkafka tries again; if that lasts, the view is behind and says so */
        return 0;
    }
}

/* Waiting messages may have come through a new connection, or after this process stood still. */
static void look_for_doubts(struct oq_kafka_view *view)
{
    int64_t now = oq_now_ns();
    if (view->state != HALTED &&
        (now - view->round_ns > STILL_NS ||
         (view->state == FOLLOWING && atomic_load(&view->connections) != view->proved)))
        oq_kafka_view_doubt(view);
    view->round_ns = now;
}

int oq_kafka_view_read(struct oq_kafka_view *view, oq_kafka_message_fn *fn, void *ctx,
                       struct ps_fault *fault)
{
    int err = 0;
    rd_kafka_poll(view->handle, 0);
    ssize_t count = rd_kafka_consume_batch_queue(view->queue, 0, view->messages, READ_AT_ONCE);
    look_for_doubts(view); /* not before they were taken */
    for (ssize_t i = 0; i < count && err >= 0; i++)
        err = take_message(view, view->messages[i], fn, ctx, fault);
    for (ssize_t i = 0; i < count; i++) {
        const rd_kafka_message_t *message = view->messages[i];
        bool ours = message->partition >= 0 && (uint32_t)message->partition < view->partitions;
        struct place *at = ours ? &view->at[message->partition] : NULL;
        if (at != NULL && at->newest == message) {
            oq_mark_set(&at->mark, at->position, (struct ps_str){message->payload, message->len});
            at->newest = NULL;
        }
        rd_kafka_message_destroy(view->messages[i]);
    }
    if (err < 0)
        return err;
    if (count > 0 && !view->reached)
        see_whether_reached(view);
    return count > 0 ? (int)count : 0;
}

int64_t oq_kafka_view_doubt_ns(const struct oq_kafka_view *view)
{
    return view->doubt_ns;
}

bool oq_kafka_view_reached(const struct oq_kafka_view *view)
{
    return view->reached;
}

int64_t oq_kafka_view_look_ns(const struct oq_kafka_view *view)
{
    return view->look_ns;
}

int64_t oq_kafka_view_waits_ns(const struct oq_kafka_view *view)
{
    bool halted_later = view->state != FOLLOWING && view->halted_ns > view->look_ns;
    return halted_later ? view->halted_ns : view->look_ns;
}

uint64_t oq_kafka_view_lag(const struct oq_kafka_view *view)
{
    return view->lag;
}

int oq_kafka_view_mark(const struct oq_kafka_view *view, uint32_t partition,
                       struct oq_mark *ret_mark)
{
    if (partition >= view->partitions || view->given > 0 || view->at[partition].mark.seq == 0)
        return PS_E_NOT_FOUND;
    *ret_mark = view->at[partition].mark;
    return 0;
}
