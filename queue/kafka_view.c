/* Following the topic.
 *
 * All partitions go into one queue of librdkafka, which signals the log's thread. Where a
 * partition stands (`position`) is the offset behind the last record read, or where librdkafka says
 * that the partition ends.
 * A topic that becomes shorter has lost records that gateways have promised, or it is another topic
 * of the same name; reading on mends neither. An offset out of range shows it at once; if the topic
 * has grown again meanwhile, only the ends show it, for a while. A new leader may report an end
 * that is a little old, so several looks must agree. */
#include "queue/kafka_view.h"

#include <inttypes.h>
#include <stdlib.h>

#define READ_AT_ONCE  512
#define SHORTER_LOOKS 4

struct place {
    int64_t position;
    int64_t target; /* to be reached */
    int64_t before; /* position when the look before this one was taken */
    int shorter;    /* looks in a row that saw it end before that */
};

struct oq_kafka_view {
    const struct oq_kafka_config *config;
    struct oq_kafka_hooks hooks;
    rd_kafka_t *handle;
    rd_kafka_topic_t *topic;
    rd_kafka_queue_t *queue;
    uint32_t partitions;
    bool reached;
    int64_t look_ns;
    uint64_t lag;
    rd_kafka_message_t *messages[READ_AT_ONCE];
    struct place at[OQ_PARTITION_MAX];
};

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
    int err = oq_kafka_client_new(config, OQ_KAFKA_CONSUMER, &view->hooks, &view->handle, fault);
    if (err != 0)
        goto fail;
    view->topic = rd_kafka_topic_new(view->handle, config->set.topic, NULL);
    if (view->topic == NULL) {
        err = ps_fault(fault, PS_E_INVALID, config->set.topic, "is no name for a topic");
        goto fail;
    }
    view->queue = rd_kafka_queue_new(view->handle);
    wake_thread(view->queue, wakeup);
    *ret_view = view;
    return 0;
fail:
    oq_kafka_view_free(view);
    return err;
}

void oq_kafka_view_free(struct oq_kafka_view *view)
{
    if (view == NULL)
        return;
    for (uint32_t i = 0; i < view->partitions; i++)
        rd_kafka_consume_stop(view->topic, (int32_t)i);
    if (view->queue != NULL)
        rd_kafka_queue_destroy(view->queue);
    if (view->topic != NULL)
        rd_kafka_topic_destroy(view->topic);
    if (view->handle != NULL)
        rd_kafka_destroy(view->handle);
    free(view);
}

/* --- Where it stands --- */

static void see_whether_reached(struct oq_kafka_view *view)
{
    for (uint32_t i = 0; i < view->partitions; i++)
        if (view->at[i].position < view->at[i].target)
            return;
    view->reached = true;
}

static int follow_new(struct oq_kafka_view *view, uint32_t partitions, struct ps_fault *fault)
{
    int err = 0;
    if (view->partitions < partitions) /* librdkafka would find them in some minutes only */
        err = oq_kafka_client_refresh(view->handle, view->topic, fault);
    for (; err == 0 && view->partitions < partitions; view->partitions++) {
        if (rd_kafka_consume_start_queue(view->topic, (int32_t)view->partitions,
                                         RD_KAFKA_OFFSET_BEGINNING, view->queue) != 0)
            return ps_fault(fault, PS_E_IO, view->config->set.topic,
                            "partition %" PRIu32 " cannot be followed: %s", view->partitions,
                            rd_kafka_err2str(rd_kafka_last_error()));
    }
    return err;
}

static int compare_ends(struct oq_kafka_view *view, const struct oq_kafka_look *look,
                        struct ps_fault *fault)
{
    view->lag = 0;
    for (uint32_t i = 0; i < view->partitions; i++) {
        struct place *at = &view->at[i];
        int64_t end = look->ends[i];
        at->shorter = end < at->before ? at->shorter + 1 : 0;
        if (at->shorter >= SHORTER_LOOKS)
            return ps_fault(fault, PS_E_CORRUPT, view->config->set.topic,
                            "partition %" PRIu32 " ends at offset %" PRId64 ", but records up to "
                            "offset %" PRId64 " have been read from it: Kafka has lost them, or "
                            "this is another topic of the same name. Restart the gateways to go "
                            "by what is there",
                            i, end, at->before - 1);
        at->before = at->position;
        if (end > at->position)
            view->lag += (uint64_t)(end - at->position);
    }
    return 0;
}

int oq_kafka_view_take(struct oq_kafka_view *view, const struct oq_kafka_look *look, bool afresh,
                       struct ps_fault *fault)
{
    if (look->partitions < view->partitions)
        return ps_fault(fault, PS_E_CORRUPT, view->config->set.topic,
                        "the topic had %" PRIu32 " partitions and has %" PRIu32
                        " now: it is another one of the same name. Restart the gateways to go by "
                        "what is there",
                        view->partitions, look->partitions);
    int err = follow_new(view, look->partitions, fault);
    if (err == 0)
        err = compare_ends(view, look, fault);
    if (err != 0)
        return err;
    if (view->reached || afresh) {
        for (uint32_t i = 0; i < view->partitions; i++)
            view->at[i].target = look->ends[i];
        view->look_ns = look->began_ns;
        view->reached = false;
        see_whether_reached(view);
    }
    return 0;
}

/* --- Reading --- */

static int take_message(struct oq_kafka_view *view, const rd_kafka_message_t *message,
                        oq_kafka_message_fn *fn, void *ctx, struct ps_fault *fault)
{
    if (message->partition < 0 || (uint32_t)message->partition >= view->partitions)
        return 0; /* an error of no partition */
    struct place *at = &view->at[message->partition];
    int err = 0;
    switch (message->err) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        err = fn(message, ctx);
        at->position = message->offset + 1;
        return err;
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        if (message->offset > at->position)
            at->position = message->offset;
        return 0;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        return ps_fault(fault, PS_E_CORRUPT, view->config->set.topic,
                        "partition %" PRId32 " cannot be read at offset %" PRId64 ": its records "
                        "were lost, damaged or deleted. Restart the gateways to go "
                        "by what is there",
                        message->partition, at->position);
    default: /* librdkafka tries again; if that lasts, the view is behind and says so */
        return 0;
    }
}

int oq_kafka_view_read(struct oq_kafka_view *view, oq_kafka_message_fn *fn, void *ctx,
                       struct ps_fault *fault)
{
    int err = 0;
    rd_kafka_poll(view->handle, 0);
    ssize_t count = rd_kafka_consume_batch_queue(view->queue, 0, view->messages, READ_AT_ONCE);
    for (ssize_t i = 0; i < count; i++) {
        if (err >= 0)
            err = take_message(view, view->messages[i], fn, ctx, fault);
        rd_kafka_message_destroy(view->messages[i]);
    }
    if (err < 0)
        return err;
    if (count > 0 && !view->reached)
        see_whether_reached(view);
    return count > 0 ? (int)count : 0;
}

bool oq_kafka_view_reached(const struct oq_kafka_view *view)
{
    return view->reached;
}

int64_t oq_kafka_view_look_ns(const struct oq_kafka_view *view)
{
    return view->look_ns;
}

uint64_t oq_kafka_view_lag(const struct oq_kafka_view *view)
{
    return view->lag;
}
