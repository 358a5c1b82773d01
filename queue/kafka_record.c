/* Records as Kafka messages. */
#include "queue/kafka_record.h"
#include "queue/log.h"
#include "common/clock.h"
#include "queue/log_kafka.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* {sale}/{sku}, or {sale} alone where there is no SKU. */
static size_t put_subject(const struct oq_event *event, char *text, size_t size)
{
    bool has_sku =
        event->type == OQ_ACCEPTED || event->type == OQ_RELEASED || event->type == OQ_ADJUSTED;
    return (size_t)snprintf(text, size, "%.*s%s%.*s", (int)event->sale.len, event->sale.at,
                            has_sku ? "/" : "", has_sku ? (int)event->sku.len : 0,
                            has_sku ? event->sku.at : "");
}

static void add_header(rd_kafka_headers_t *headers, const char *name, const char *value, size_t len)
{
    (void)rd_kafka_header_add(headers, name, -1, value, (ssize_t)len); /* never fails */
}

static rd_kafka_headers_t *headers_of(const char *source, const struct ps_uuid *id,
                                      const struct oq_event *event)
{
    char uuid[PS_UUID_LEN + 1];
    char time[PS_TIME_LEN + 1];
    char subject[2 * PS_NAME_MAX + 2];
    const char *type = oq_type_name(event->type);
    rd_kafka_headers_t *headers = rd_kafka_headers_new(8);
    ps_uuid_format(id, uuid);
    ps_time_format(event->at_ms, time);
    size_t subject_len = put_subject(event, subject, sizeof subject);
    add_header(headers, "ce_id", uuid, PS_UUID_LEN); /* first: each reader looks for it */
    add_header(headers, "ce_specversion", "1.0", 3);
    add_header(headers, "ce_type", type, strlen(type));
    add_header(headers, "ce_source", source, strlen(source));
    add_header(headers, "ce_subject", subject, subject_len);
    add_header(headers, "ce_time", time, PS_TIME_LEN);
    add_header(headers, "content-type", "application/json", 16);
    if (event->type == OQ_ACCEPTED && event->traceparent.len > 0)
        add_header(headers, "traceparent", event->traceparent.at, event->traceparent.len);
    return headers;
}

rd_kafka_resp_err_t oq_kafka_record_send(rd_kafka_t *producer, rd_kafka_topic_t *topic,
                                         const struct oq_kafka_message *message)
{
    char key[OQ_ADJUST_KEY_MAX + 1];
    size_t key_len = oq_event_key(message->event, key);
    rd_kafka_headers_t *headers = headers_of(message->source, &message->id, message->event);
    rd_kafka_resp_err_t error = rd_kafka_producev(
        producer, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_PARTITION((int32_t)message->partition),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(key, key_len),
        RD_KAFKA_V_VALUE((void *)(uintptr_t)message->json.at, message->json.len),
        RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_OPAQUE(message->handle), RD_KAFKA_V_END);
    if (error != 0)
        rd_kafka_headers_destroy(headers);
    return error;
}

int oq_kafka_record_id(const rd_kafka_message_t *message, const struct oq_event *event,
                       struct ps_uuid *ret_id)
{
    rd_kafka_headers_t *headers;
    const void *value;
    size_t len;
    if (event->type == OQ_ACCEPTED) { /* most are: librdkafka need not take the headers apart */
        *ret_id = event->order_id;
        return 0;
    }
    if (rd_kafka_message_headers(message, &headers) != 0 ||
        rd_kafka_header_get(headers, 0, "ce_id", &value, &len) != 0 || value == NULL ||
        ps_uuid_parse(value, len, ret_id) != 0)
        return PS_E_NOT_FOUND;
    return 0;
}

void oq_kafka_record_blame(const rd_kafka_message_t *message, const struct ps_fault *fault,
                           char *text, size_t size)
{
    snprintf(text, size,
             "%s, partition %" PRId32 ", offset %" PRId64
             ": not a record of the order log, skipped: %s %s",
             rd_kafka_topic_name(message->rkt), message->partition, message->offset, fault->path,
             fault->text);
}

uint32_t oq_log_partition_of(struct ps_str key, uint32_t partitions)
{
    return (uint32_t)rd_kafka_msg_partitioner_murmur2(NULL, key.at, key.len, (int32_t)partitions,
                                                      NULL, NULL);
}

uint32_t oq_kafka_record_partition(const struct oq_event *event, uint32_t partitions)
{
    char key[OQ_ADJUST_KEY_MAX + 1];
    size_t key_len = oq_event_key(event, key);
    return oq_log_partition_of((struct ps_str){key, key_len}, partitions);
}
