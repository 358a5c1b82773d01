/* A topic as a source: one member of a consumer group.
 *
 * The group only shares the partitions out; how far each was read is asked of the database when a
 * partition is given to us, and the group's own offsets are committed after the database for those
 * that watch them. So two members that read the same partition for a while do no harm: the database
 * takes the records of one of them.
 *
 * Reading of a partition begins at the record that the database has last, which must still be the
 * same one; it is not given out. If only that record is gone, reading continues. If records behind
 * it are gone too (retention), or the first ones of a partition that was never read, nobody has
 * settled them: the hook `lost` decides. Positions are seqs: Kafka's offset + 1, so that 0 is none.
 * Every question has a deadline: a signal waits for it. */
#include "queue/settle/settle_source.h"
#include "common/clock.h"
#include "queue/kafka_check.h"
#include "queue/kafka_topic.h"
#include "queue/settle/judge.h"

#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EDGE_WAIT_MS  5000 /* for the beginnings of partitions, or their ends */
#define BURY_WAIT_MS  5000 /* for the acknowledgement of dead letters */
#define POLL_MS       100  /* longest single wait: a signal must be seen */
#define CLOSE_WAIT_MS 5000 /* for the group to note that this worker leaves */
#define BACK_WAIT_MS  500  /* for a broker, while none can be reached */
/* A new leader may report an outdated end: this many looks must agree before a partition counts as
 * shorter than what was read, as for the gateways. */
#define SHORTER_LOOKS 4
#define LOOK_AGAIN_US 250000

struct part {
    bool ours;
    bool at_end;
    bool checking; /* the next record is the one that `position` names */
    struct st_position position;
    int64_t next;     /* offset of the next record to give out */
    int64_t low, end; /* offsets, when it was entered: of its first record, behind its last */
};

struct kafka {
    struct st_source source;
    struct st_kafka_settings settings;
    rd_kafka_t *consumer;
    rd_kafka_t *producer;                   /* of dead letters; NULL = none */
    rd_kafka_topic_partition_list_t *given; /* by the group; NULL = nothing yet */
    bool placed;                            /* reading has been set up for what was given */
    bool down, down_said;                   /* no broker can be reached, since the last event */
    char trouble[256];                      /* librdkafka's last error */
    size_t letters, unsent;                 /* with the producer; of these, not delivered */
    rd_kafka_resp_err_t unsent_why;
    struct part part[OQ_PARTITION_MAX];
};

static struct kafka *kafka_of(struct st_source *source)
{
    return (struct kafka *)(void *)source;
}

/* --- Settings --- */

static const struct oq_kafka_property defaults[] = {
    {"client.id", "penstock-settle"},
    {"session.timeout.ms", "10000"},
    {"heartbeat.interval.ms", "1000"},
    {"socket.keepalive.enable", "true"},
    {"socket.timeout.ms", "10000"}, /* then a question is asked again, not after 60 s */
    {"reconnect.backoff.ms", "50"},
    {"reconnect.backoff.max.ms", "2000"},
    {"check.crcs", "true"},
    {"fetch.wait.max.ms", "100"},
    {"fetch.error.backoff.ms", "100"},
    {"queued.max.messages.kbytes", "16384"},
    {NULL, NULL},
};

/* The promises rest on these. */
static const struct oq_kafka_property fixed[] = {
    {"enable.auto.commit", "false"},
    {"enable.auto.offset.store", "false"},
    {"auto.offset.reset", "error"},
    {"enable.partition.eof", "true"},
    {"allow.auto.create.topics", "false"},
    {"partition.assignment.strategy", "range,roundrobin"},
    {"isolation.level", "read_uncommitted"}, /* as the gateways read */
    {NULL, NULL},
};

static const char *const refused[] = {"bootstrap.servers", "metadata.broker.list", "group.id",
                                      "plugin.library.paths", NULL};

static const struct oq_kafka_rules rules = {defaults, fixed, refused};

int st_source_kafka_check(const json_t *properties, const char *path, oq_kafka_fault_fn *on_fault,
                          void *ctx)
{
    return oq_kafka_check_properties(&rules, properties, path, on_fault, ctx);
}

static int set_all(rd_kafka_conf_t *conf, const struct st_kafka_settings *settings, bool consumer,
                   struct ps_fault *fault)
{
    struct ps_fault why;
    int err =
        oq_kafka_check_apply(conf, &rules, settings->properties, settings->property_count, &why);
    if (err == 0)
        err = oq_kafka_check_set(conf, "bootstrap.servers", settings->brokers, &why);
    if (err == 0 && consumer)
        err = oq_kafka_check_set(conf, "group.id", settings->group, &why);
    if (err == 0 && !consumer)
        err = oq_kafka_check_set(conf, "enable.idempotence", "true", &why);
    if (err != 0)
        return ps_fault(fault, err, "kafka.properties", "\"%s\": %s", why.path, why.text);
    return 0;
}

/* --- What librdkafka calls, on our thread --- */

static void on_error(rd_kafka_t *handle, int err, const char *reason, void *opaque)
{
    struct kafka *kafka = opaque;
    (void)handle;
    if (err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
        kafka->down = true;
        kafka->down_said = false;
    } else {
        snprintf(kafka->trouble, sizeof kafka->trouble, "%s", reason);
    }
}

static void note_letter(struct kafka *kafka, rd_kafka_resp_err_t error)
{
    kafka->unsent += error != 0;
    if (error != 0)
        kafka->unsent_why = error;
}

static void on_delivery(rd_kafka_t *handle, const rd_kafka_message_t *message, void *opaque)
{
    struct kafka *kafka = opaque;
    (void)handle;
    kafka->letters--;
    note_letter(kafka, message->err);
}

static void drop_given(struct kafka *kafka)
{
    if (kafka->given != NULL)
        rd_kafka_topic_partition_list_destroy(kafka->given);
    kafka->given = NULL;
    kafka->placed = false;
    memset(kafka->part, 0, sizeof kafka->part);
}

/* Only notes the assignment: the database, which may be away, says where to begin. */
static void on_rebalance(rd_kafka_t *handle, rd_kafka_resp_err_t err,
                         rd_kafka_topic_partition_list_t *list, void *opaque)
{
    struct kafka *kafka = opaque;
    drop_given(kafka);
    if (err == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS)
        kafka->given = rd_kafka_topic_partition_list_copy(list);
    else
        (void)rd_kafka_assign(handle, NULL);
}

/* --- Where to begin --- */

static int kafka_failed(const struct kafka *kafka, rd_kafka_resp_err_t error,
                        struct ps_fault *fault)
{
    return ps_fault(fault, PS_E_IO, kafka->settings.topic, "%s%s%s", rd_kafka_err2str(error),
                    kafka->trouble[0] != '\0' ? ": " : "", kafka->trouble);
}

/* Where the given partitions begin (RD_KAFKA_OFFSET_BEGINNING) or end (RD_KAFKA_OFFSET_END). */
static int ask_edges(struct kafka *kafka, int64_t edge, struct ps_fault *fault)
{
    rd_kafka_topic_partition_list_t *given = kafka->given;
    if (given->cnt == 0) /* more workers than partitions */
        return 0;
    rd_kafka_resp_err_t error = oq_kafka_edges(kafka->consumer, given, edge, EDGE_WAIT_MS);
    return error == 0 ? 0 : kafka_failed(kafka, error, fault);
}

/* The positions first: another worker moves them on, and none is after an end that is asked for
 * later. */
static int look_at_given(struct kafka *kafka, struct ps_fault *fault)
{
    const struct st_source_hooks *hooks = &kafka->source.hooks;
    const rd_kafka_topic_partition_list_t *given = kafka->given;
    for (int i = 0; i < given->cnt; i++) {
        int32_t partition = given->elems[i].partition;
        if (partition >= ST_PARTITION_MAX)
            return ps_fault(fault, PS_E_INVALID, kafka->settings.topic,
                            "has more than %d partitions", ST_PARTITION_MAX);
        struct part *part = &kafka->part[partition];
        *part = (struct part){.ours = true};
        int err = hooks->position((uint32_t)partition, &part->position, hooks->ctx, fault);
        if (err != 0)
            return err;
    }
    int err = ask_edges(kafka, RD_KAFKA_OFFSET_BEGINNING, fault);
    for (int i = 0; i < given->cnt && err == 0; i++)
        kafka->part[given->elems[i].partition].low = given->elems[i].offset;
    if (err == 0)
        err = ask_edges(kafka, RD_KAFKA_OFFSET_END, fault);
    for (int i = 0; i < given->cnt && err == 0; i++)
        kafka->part[given->elems[i].partition].end = given->elems[i].offset;
    return err;
}

/* Reports all of them, so that the operator gets the whole list at once. *ret_moved: positions have
 * changed. */
static int tell_lost(struct kafka *kafka, bool *ret_moved, struct ps_fault *fault)
{
    const struct st_source_hooks *hooks = &kafka->source.hooks;
    int err = 0;
    for (int i = 0; i < kafka->given->cnt && (err == 0 || err == PS_E_CORRUPT); i++) {
        uint32_t partition = (uint32_t)kafka->given->elems[i].partition;
        const struct part *part = &kafka->part[partition];
        if (part->low <= part->position.seq)
            continue;
        int answer = hooks->lost(partition, part->position.seq, part->low, hooks->ctx, fault);
        *ret_moved |= answer == 0;
        err = answer != 0 ? answer : err;
    }
    return err;
}

/* Looks until no partition ends before what was read, or often enough. */
static int look_at_ends(struct kafka *kafka, struct ps_fault *fault)
{
    bool shorter = true;
    int err = 0;
    for (int look = 0; err == 0 && shorter && look < SHORTER_LOOKS; look++) {
        if (look > 0)
            (void)usleep(LOOK_AGAIN_US);
        err = look_at_given(kafka, fault);
        shorter = false;
        for (int i = 0; err == 0 && i < kafka->given->cnt; i++) {
            const struct part *part = &kafka->part[kafka->given->elems[i].partition];
            shorter |= part->end < part->position.seq;
        }
    }
    return err;
}

/* Before anything is skipped: it may be the wrong topic. */
static int check_ends(const struct kafka *kafka, struct ps_fault *fault)
{
    for (int i = 0; i < kafka->given->cnt; i++) {
        int32_t partition = kafka->given->elems[i].partition;
        const struct part *part = &kafka->part[partition];
        if (part->end < part->position.seq)
            return ps_fault(fault, PS_E_CORRUPT, kafka->settings.topic,
                            "partition %" PRId32 " ends at offset %" PRId64
                            ", but was read up to %" PRId64
                            ": it is not the topic that the database knows; give "
                            "this log another name (\"name\")",
                            partition, part->end, part->position.seq);
    }
    return 0;
}

static void enter_partition(struct kafka *kafka, rd_kafka_topic_partition_t *given)
{
    struct part *part = &kafka->part[given->partition];
    int64_t seq = part->position.seq;
    part->checking = part->low < seq;
    part->next = seq;
    part->at_end = part->next == part->end;
    given->offset = part->checking ? seq - 1 : part->next;
}

/* Does any broker answer? */
static int ask_brokers(const struct kafka *kafka, int wait_ms, struct ps_fault *fault)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t error = rd_kafka_metadata(kafka->consumer, 0, NULL, &metadata, wait_ms);
    if (error != 0)
        return kafka_failed(kafka, error, fault);
    rd_kafka_metadata_destroy(metadata);
    return 0;
}

/* Finds where to begin in every assigned partition; then reading begins. */
static int place_partitions(struct kafka *kafka, struct ps_fault *fault)
{
    bool moved = false;
    int err = look_at_ends(kafka, fault);
    if (err == 0)
        err = check_ends(kafka, fault);
    if (err == 0)
        err = tell_lost(kafka, &moved, fault);
    if (err != 0 || moved)
        return err; /* moved: the positions are asked for again */
    for (int i = 0; i < kafka->given->cnt; i++)
        enter_partition(kafka, &kafka->given->elems[i]);
    rd_kafka_resp_err_t error = rd_kafka_assign(kafka->consumer, kafka->given);
    if (error != 0)
        return kafka_failed(kafka, error, fault);
    kafka->placed = true;
    return 0;
}

/* --- Reading --- */

static int take_message(struct kafka *kafka, const rd_kafka_message_t *message,
                        struct st_batch *batch, struct ps_fault *fault)
{
    struct part *part = &kafka->part[message->partition];
    struct ps_str raw = {message->payload, message->len};
    int64_t seq = message->offset + 1;
    char where[64];
    if (!part->ours || !kafka->placed)
        return 0; /* of a partition that was just taken away */
    if (part->checking) {
        part->checking = false;
        snprintf(where, sizeof where, "partition %" PRId32 ", offset %" PRId64, message->partition,
                 part->position.seq - 1);
        return st_position_check(&part->position, seq, raw, kafka->settings.topic, where, fault);
    }
    if (message->offset < part->next)
        return 0;
    int err =
        st_batch_add(batch, (uint32_t)message->partition, seq, raw, kafka->settings.topic, fault);
    if (err != 0)
        return err;
    part->next = message->offset + 1;
    part->at_end = false;
    return 0;
}

/* An event that is no record. */
static int handle_event(struct kafka *kafka, const rd_kafka_message_t *message,
                        struct ps_fault *fault)
{
    switch (message->err) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        kafka->part[message->partition].at_end = true;
        return 0;
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
        return ps_fault(fault, PS_E_IO, kafka->settings.topic, "no such topic at %s",
                        kafka->settings.brokers);
    default: /* also records that are gone: entered anew, it shows which; and damaged ones */
        return ps_fault(fault, PS_E_IO, kafka->settings.topic, "%s",
                        rd_kafka_message_errstr(message));
    }
}

/* librdkafka reports that brokers are down, but not that they are back if no record is new. So ask
 * them, and then enter every partition anew. */
static void look_for_brokers(struct kafka *kafka)
{
    struct ps_fault none;
    if (kafka->given == NULL || kafka->given->cnt == 0 ||
        ask_brokers(kafka, BACK_WAIT_MS, &none) != 0)
        return;
    kafka->down = false;
    kafka->placed = false;
}

static void kafka_rewind(struct st_source *source)
{
    kafka_of(source)->placed = false;
}

static int kafka_read(struct st_source *source, struct st_batch *batch, int64_t wait_ms,
                      struct ps_fault *fault)
{
    struct kafka *kafka = kafka_of(source);
    int64_t until_ns = ps_clock_mono_ns(&ps_clock_system) + wait_ms * PS_NS_PER_MS;
    int err = 0;
    while (err == 0 && !st_batch_is_full(batch)) {
        if (kafka->given != NULL && !kafka->placed) {
            if (batch->count > 0) /* the database is asked once it has these */
                break;
            err = place_partitions(kafka, fault);
        }
        if (err != 0)
            break;
        int64_t left_ms = (until_ns - ps_clock_mono_ns(&ps_clock_system)) / PS_NS_PER_MS;
        if (batch->count > 0 || left_ms < 0)
            left_ms = 0;
        rd_kafka_message_t *message =
            rd_kafka_consumer_poll(kafka->consumer, left_ms < POLL_MS ? (int)left_ms : POLL_MS);
        if (message == NULL && left_ms == 0)
            break;
        if (message == NULL)
            continue;
        kafka->down = false;
        if (message->err == 0)
            err = take_message(kafka, message, batch, fault);
        else
            err = handle_event(kafka, message, fault);
        rd_kafka_message_destroy(message);
    }
    if (err != 0) {
        st_batch_clear(batch);
        kafka_rewind(source);
        return err;
    }
    if (batch->count > 0 || !kafka->down)
        return 0;
    look_for_brokers(kafka);
    if (!kafka->down || kafka->down_said)
        return 0;
    kafka->down_said = true;
    return ps_fault(fault, PS_E_IO, kafka->settings.brokers, "no broker can be reached: %s",
                    kafka->trouble);
}

static void kafka_stored(struct st_source *source, const struct st_batch *batch)
{
    struct kafka *kafka = kafka_of(source);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(4);
    for (size_t i = 0; i < batch->count; i++) {
        const struct st_record *record = &batch->records[i];
        int32_t partition = (int32_t)record->partition;
        rd_kafka_topic_partition_t *item =
            rd_kafka_topic_partition_list_find(list, kafka->settings.topic, partition);
        if (item == NULL)
            item = rd_kafka_topic_partition_list_add(list, kafka->settings.topic, partition);
        item->offset = record->seq; /* the next one's offset */
    }
    (void)rd_kafka_commit(kafka->consumer, list,
                          1); /* for observers; the next commit corrects it */
    rd_kafka_topic_partition_list_destroy(list);
}

static bool kafka_caught_up(const struct st_source *source)
{
    const struct kafka *kafka = (const struct kafka *)(const void *)source;
    if (kafka->given == NULL || !kafka->placed || kafka->down)
        return false;
    for (int i = 0; i < kafka->given->cnt; i++) {
        const struct part *part = &kafka->part[kafka->given->elems[i].partition];
        if (!part->at_end || part->checking) /* it may be another topic that ends there too */
            return false;
    }
    return true;
}

static int64_t kafka_lag(struct st_source *source)
{
    struct kafka *kafka = kafka_of(source);
    int64_t lag = 0;
    if (kafka->given == NULL || !kafka->placed)
        return -1;
    for (int i = 0; i < kafka->given->cnt; i++) {
        int32_t partition = kafka->given->elems[i].partition;
        int64_t low, high = -1;
        if (rd_kafka_get_watermark_offsets(kafka->consumer, kafka->settings.topic, partition, &low,
                                           &high) == 0 &&
            high > kafka->part[partition].next)
            lag += high - kafka->part[partition].next;
    }
    return lag;
}

/* --- Dead letters --- */

static rd_kafka_resp_err_t send_letter(struct kafka *kafka, const struct st_letter *letter)
{
    const struct st_record *record = letter->record;
    char place_[64];
    snprintf(place_, sizeof place_, "%" PRIu32 "/%" PRId64, record->partition, record->seq - 1);
    return rd_kafka_producev(
        kafka->producer, RD_KAFKA_V_TOPIC(kafka->settings.dead_letter_topic),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_VALUE((void *)(uintptr_t)record->raw.at, record->raw.len),
        RD_KAFKA_V_HEADER("penstock_reason", letter->reason, (ssize_t)strlen(letter->reason)),
        RD_KAFKA_V_HEADER("penstock_topic", kafka->settings.topic,
                          (ssize_t)strlen(kafka->settings.topic)),
        RD_KAFKA_V_HEADER("penstock_place", place_, (ssize_t)strlen(place_)), RD_KAFKA_V_END);
}

static size_t kafka_bury(struct st_source *source, const struct st_letter *letters, size_t count,
                         struct ps_fault *fault)
{
    struct kafka *kafka = kafka_of(source);
    if (kafka->producer == NULL || count == 0)
        return 0;
    kafka->unsent = 0;
    for (size_t i = 0; i < count; i++) {
        rd_kafka_resp_err_t error = send_letter(kafka, &letters[i]);
        kafka->letters += error == 0;
        note_letter(kafka, error);
    }
    (void)rd_kafka_flush(kafka->producer, BURY_WAIT_MS);
    if (kafka->letters > 0) { /* none is left for the next batch */
        (void)rd_kafka_purge(kafka->producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        (void)rd_kafka_flush(kafka->producer, BURY_WAIT_MS);
    }
    if (kafka->unsent > 0)
        ps_fault(fault, PS_E_IO, kafka->settings.dead_letter_topic, "%s",
                 rd_kafka_err2str(kafka->unsent_why));
    return kafka->unsent;
}

/* --- Opening --- */

/* Leaves the group, so that others get the partitions at once. rd_kafka_consumer_close() would wait
 * as long as a broker is silent; then the group finds out by itself. */
static void end_consumer(rd_kafka_t *consumer)
{
    int64_t until_ns = ps_clock_mono_ns(&ps_clock_system) + CLOSE_WAIT_MS * PS_NS_PER_MS;
    rd_kafka_queue_t *queue = rd_kafka_queue_new(consumer);
    rd_kafka_error_t *error = rd_kafka_consumer_close_queue(consumer, queue);
    while (error == NULL && !rd_kafka_consumer_closed(consumer) &&
           ps_clock_mono_ns(&ps_clock_system) < until_ns) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(queue, POLL_MS);
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE)
            (void)rd_kafka_assign(consumer, NULL);
        rd_kafka_event_destroy(event);
    }
    rd_kafka_error_destroy(error);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy_flags(consumer, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}

static void kafka_close(struct st_source *source)
{
    struct kafka *kafka = kafka_of(source);
    if (kafka->consumer != NULL)
        end_consumer(kafka->consumer);
    if (kafka->producer != NULL)
        rd_kafka_destroy(kafka->producer);
    drop_given(kafka);
    free(kafka);
}

static const struct st_source_ops kafka_ops = {.read = kafka_read,
                                               .rewind = kafka_rewind,
                                               .stored = kafka_stored,
                                               .bury = kafka_bury,
                                               .caught_up = kafka_caught_up,
                                               .lag = kafka_lag,
                                               .close = kafka_close};

static int new_handle(struct kafka *kafka, bool consumer, rd_kafka_t **ret_handle,
                      struct ps_fault *fault)
{
    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    int err = set_all(conf, &kafka->settings, consumer, fault);
    if (err != 0) {
        rd_kafka_conf_destroy(conf);
        return err;
    }
    rd_kafka_conf_set_opaque(conf, kafka);
    rd_kafka_conf_set_error_cb(conf, on_error);
    if (consumer)
        rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
    else
        rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    *ret_handle =
        rd_kafka_new(consumer ? RD_KAFKA_CONSUMER : RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (*ret_handle != NULL)
        return 0;
    rd_kafka_conf_destroy(conf);
    return ps_fault(fault, PS_E_INVALID, "kafka", "%s", why);
}

static int subscribe_topic(struct kafka *kafka, struct ps_fault *fault)
{
    (void)rd_kafka_poll_set_consumer(kafka->consumer);
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(topics, kafka->settings.topic, RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t error = rd_kafka_subscribe(kafka->consumer, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    return error == 0 ? 0
                      : ps_fault(fault, PS_E_INVALID, kafka->settings.topic, "%s",
                                 rd_kafka_err2str(error));
}

int st_source_kafka_open(const struct st_kafka_settings *settings,
                         const struct st_source_hooks *hooks, struct st_source **ret_source,
                         struct ps_fault *fault)
{
    struct kafka *kafka = calloc(1, sizeof *kafka);
    if (kafka == NULL)
        return ps_fault(fault, PS_E_NOMEM, settings->topic, "out of memory");
    kafka->source.ops = &kafka_ops;
    kafka->source.hooks = *hooks;
    kafka->settings = *settings;
    int err = new_handle(kafka, true, &kafka->consumer, fault);
    if (err == 0 && settings->dead_letter_topic != NULL)
        err = new_handle(kafka, false, &kafka->producer, fault);
    if (err == 0)
        err = subscribe_topic(kafka, fault);
    if (err != 0) {
        kafka_close(&kafka->source);
        return err;
    }
    *ret_source = &kafka->source;
    return 0;
}
