/* A record of the log as it travels in Kafka: a CloudEvent 1.0 in binary mode (attributes as
 * headers, the record's JSON as the value, the record's key as the key). */
#ifndef OQ_KAFKA_RECORD_H
#define OQ_KAFKA_RECORD_H

#include "queue/event.h"

#include <librdkafka/rdkafka.h>

struct oq_kafka_message {
    uint32_t partition;
    const char *source; /* the gateway that appends, as "/penstock/gw-1" */
    struct ps_uuid
        id; /* names it forever, however often it is sent (for an accepted order: the order's id) */
    const struct oq_event *event;
    struct ps_str json; /* the event encoded */
    void *handle;       /* returned in the delivery report */
};

/* Passes one to the producer, which copies it. An error means that it certainly was not and will
 * not be sent. */
rd_kafka_resp_err_t oq_kafka_record_send(rd_kafka_t *producer, rd_kafka_topic_t *topic,
                                         const struct oq_kafka_message *message) PS_MUST_CHECK;

/* The id of the event in a message. PS_E_NOT_FOUND: none, or not one of ours. */
int oq_kafka_record_id(const rd_kafka_message_t *message, const struct oq_event *event,
                       struct ps_uuid *ret_id) PS_MUST_CHECK;

/* "partition 3, offset 17: not an event of Penstock: /type is unknown" and the like, for a message
 * that is no event. */
void oq_kafka_record_blame(const rd_kafka_message_t *message, const struct ps_fault *fault,
                           char *text, size_t size);

/* The partition of its key among `partitions`: murmur2, as Kafka's own clients choose. */
uint32_t oq_kafka_record_partition(const struct oq_event *event, uint32_t partitions);

#endif
