/* Reads a topic by place: partition after partition, each up to its end at the time. One partition
 * is fetched at a time; a read that continues where the last one ended uses what was fetched
 * already. Records that are no events are skipped. If Kafka has deleted records after the place at
 * which a read continues, that is an error that says which ones, and where to continue. */
#include "queue/kafka_reader.h"
#include "queue/kafka_topic.h"
#include "queue/log_backend.h"

#include <inttypes.h>
#include <stdlib.h>

/* For each answer of Kafka. */
#define ANSWER_MS  3000
#define LOOKED_MAX 1000

struct kafka_reader {
    struct oq_reader reader;
    struct oq_kafka_config config;
    struct oq_kafka_hooks hooks;
    rd_kafka_t *handle;
    rd_kafka_topic_t *topic;
    uint32_t partitions;
    /* what is fetched: records of `partition` from `offset` up to `end` */
    bool fetching;
    uint32_t partition;
    int64_t offset, end;
};

static void stop_fetching(struct kafka_reader *reader)
{
    if (reader->fetching)
        rd_kafka_consume_stop(reader->topic, (int32_t)reader->partition);
    reader->fetching = false;
}

/* Where the partition begins (RD_KAFKA_OFFSET_BEGINNING) or ends (RD_KAFKA_OFFSET_END). */
static int ask_edge(struct kafka_reader *reader, uint32_t partition, int64_t edge,
                    int64_t *ret_offset)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, reader->config.set.topic, (int32_t)partition);
    rd_kafka_resp_err_t error = oq_kafka_edges(reader->handle, list, edge, ANSWER_MS);
    int64_t offset = list->elems[0].offset;
    rd_kafka_topic_partition_list_destroy(list);
    if (error != 0)
        return PS_E_IO;
    *ret_offset = offset;
    return 0;
}

static int report_gone(struct kafka_reader *reader, uint32_t partition, int64_t offset,
                       int64_t first)
{
    return ps_fault(&reader->reader.fault, PS_E_NOT_FOUND, reader->config.set.topic,
                    "the records of partition %" PRIu32 " from offset %" PRId64 " to %" PRId64
                    " are gone: Kafka's retention has deleted them; the remaining ones can be read "
                    "after %" PRId64,
                    partition, offset, first - 1, oq_place(partition, first));
}

/* Afterwards it is fetching, or offset >= end: there is nothing. A read from the beginning gets
 * what is there; a read that continues fails if records that it has not seen are gone. */
static int start_fetching(struct kafka_reader *reader, uint32_t partition, int64_t offset)
{
    int64_t first;
    int64_t end;
    stop_fetching(reader);
    int err = ask_edge(reader, partition, RD_KAFKA_OFFSET_BEGINNING, &first);
    if (err == 0)
        err = ask_edge(reader, partition, RD_KAFKA_OFFSET_END, &end);
    if (err != 0)
        return err;
    if (offset > 0 && offset < first)
        return report_gone(reader, partition, offset, first);
    reader->partition = partition;
    reader->offset = offset < first ? first : offset;
    reader->end = end;
    if (reader->offset >= end)
        return 0;
    if (rd_kafka_consume_start(reader->topic, (int32_t)partition, reader->offset) != 0)
        return PS_E_IO;
    reader->fetching = true;
    return 0;
}

/* One message into *ret_message, or NULL: the partition has ended, or the broker that serves it
 * does not have the next one yet. */
static int fetch_message(struct kafka_reader *reader, rd_kafka_message_t **ret_message)
{
    *ret_message = NULL;
    rd_kafka_message_t *message =
        rd_kafka_consume(reader->topic, (int32_t)reader->partition, ANSWER_MS);
    if (message == NULL)
        return PS_E_TIMEOUT;
    if (message->err == 0) {
        *ret_message = message;
        return 0;
    }
    int err = PS_E_IO;
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        /* Skips offsets without a message, such as the end of a transaction. A follower may report
         * an end before the leader's. */
        if (message->offset > reader->offset)
            reader->offset = message->offset;
        err = 0;
    } else if (message->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET) {
        int64_t first;
        err = ask_edge(reader, reader->partition, RD_KAFKA_OFFSET_BEGINNING, &first);
        if (err == 0)
            err = first > reader->offset
                      ? report_gone(reader, reader->partition, reader->offset, first)
                      : PS_E_CORRUPT; /* the topic was created anew */
    }
    rd_kafka_message_destroy(message);
    return err;
}

/* 0 or the value of `fn`. *ret_gave: it was called and accepted the record. */
static int give_record(const rd_kafka_message_t *message, int64_t place, const struct oq_read *read,
                       bool *ret_gave)
{
    struct oq_event event;
    void *owner;
    *ret_gave = false;
    int err = oq_event_decode(message->payload, message->len, &event, &owner, NULL);
    if (err != 0)
        return err == PS_E_INVALID ? 0 : err;
    if (read->sale == NULL || ps_str_is(event.sale, read->sale)) {
        err = read->fn(place, (struct ps_str){message->payload, message->len}, read->ctx);
        *ret_gave = err == 0;
    }
    oq_event_release(owner);
    return err;
}

static int reader_read(struct oq_reader *of, const struct oq_read *read, int64_t *ret_last)
{
    struct kafka_reader *reader = (struct kafka_reader *)(void *)of;
    uint32_t partition = oq_place_partition(read->after);
    int64_t last = read->after;
    size_t limit = read->limit;
    int err = 0;
    of->fault = (struct ps_fault){0};
    if (partition >= reader->partitions) {
        *ret_last = read->after;
        return 0;
    }
    if (!reader->fetching || oq_place(reader->partition, reader->offset) != read->after)
        err = start_fetching(reader, partition, oq_place_seq(read->after));
    for (int looked = 0; err == 0 && looked < LOOKED_MAX && limit > 0;) {
        rd_kafka_message_t *message;
        if (reader->offset >= reader->end) {
            if (reader->partition + 1 == reader->partitions)
                break;
            err = start_fetching(reader, reader->partition + 1, 0);
            continue;
        }
        err = fetch_message(reader, &message);
        if (err != 0 || message == NULL)
            continue;
        int64_t place = oq_place(reader->partition, message->offset + 1);
        bool gave;
        err = give_record(message, place, read, &gave);
        if (err == 0) {
            reader->offset = message->offset + 1;
            last = place;
            looked++;
            limit -= gave;
        }
        rd_kafka_message_destroy(message);
    }
    if (err != 0 || reader->offset >= reader->end)
        stop_fetching(reader);
    if (err < 0)
        return err;
    *ret_last = last;
    return 0;
}

static void reader_free(struct oq_reader *of)
{
    struct kafka_reader *reader = (struct kafka_reader *)(void *)of;
    stop_fetching(reader);
    if (reader->topic != NULL)
        rd_kafka_topic_destroy(reader->topic);
    if (reader->handle != NULL)
        rd_kafka_destroy(reader->handle);
    oq_kafka_config_done(&reader->config);
    free(reader);
}

static const struct oq_reader_ops reader_ops = {.read = reader_read, .free = reader_free};

int oq_kafka_reader_open(const struct oq_kafka_settings *settings, struct oq_reader **ret_reader,
                         struct ps_fault *fault)
{
    struct kafka_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL)
        return ps_fault(fault, PS_E_NOMEM, settings->topic, "out of memory");
    reader->reader.ops = &reader_ops;
    struct oq_kafka_topic topic = {0};
    int err = oq_kafka_config_init(&reader->config, settings, fault);
    if (err == 0)
        err = oq_kafka_conf_new(&reader->config, OQ_KAFKA_READER, &reader->hooks, &reader->handle,
                                fault);
    if (err == 0)
        err = oq_kafka_topic_look(reader->handle, &reader->config.set, ANSWER_MS, &topic, fault);
    if (err != 0)
        goto fail;
    reader->partitions = topic.partitions;
    reader->topic = rd_kafka_topic_new(reader->handle, settings->topic, NULL);
    if (reader->topic == NULL) {
        err = ps_fault(fault, PS_E_INVALID, settings->topic, "is not a valid topic name");
        goto fail;
    }
    *ret_reader = &reader->reader;
    return 0;
fail:
    reader_free(&reader->reader);
    return err;
}
