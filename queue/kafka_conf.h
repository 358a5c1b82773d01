/* Handles of librdkafka for all parts of the Kafka log: with our settings, then those of the
 * operator. */
#ifndef OQ_KAFKA_CONF_H
#define OQ_KAFKA_CONF_H

#include "queue/log_kafka.h"

#include <librdkafka/rdkafka.h>

/* The largest batch: every topic accepts it. */
#define OQ_KAFKA_BATCH_BYTES INT64_C(1000000)

/* The settings of a log in memory of their own. */
struct oq_kafka_config {
    struct oq_kafka_settings set; /* strings and properties are copies */
    char *memory;
};

/* Copies, and tests the operator's properties. PS_E_INVALID names the one that is wrong,
 * PS_E_NOMEM. */
int oq_kafka_config_init(struct oq_kafka_config *config, const struct oq_kafka_settings *settings,
                         struct ps_fault *fault) PS_MUST_CHECK;
void oq_kafka_config_done(struct oq_kafka_config *config); /* one of {0} is allowed */

enum oq_kafka_role {
    OQ_KAFKA_WATCHER, /* asks for metadata, ends and settings */
    OQ_KAFKA_PRODUCER,
    OQ_KAFKA_CONSUMER, /* follows: the broker holds a fetch at the end until there is more */
    OQ_KAFKA_READER    /* reads what there is */
};

/* Callbacks on the thread that polls the handle; each may be NULL. `opaque` is passed to all. Lives
 * as long as the handle. */
struct oq_kafka_hooks {
    void (*on_error)(rd_kafka_t *handle, int err, const char *reason, void *opaque);
    void (*on_delivery)(rd_kafka_t *handle, const rd_kafka_message_t *message, void *opaque);
    int (*on_statistics)(rd_kafka_t *handle, char *json, size_t len, void *opaque);
    /* Not on that thread, but on librdkafka's: each time a produce request was sent completely;
     * each time a connection begins, before anything is read from it. */
    void (*on_produce_request)(void *opaque);
    void (*on_connect)(void *opaque);
    void *opaque;
};

/* PS_E_INVALID: librdkafka refuses a setting. PS_E_NOMEM, PS_E_IO: no memory or threads. */
int oq_kafka_conf_new(const struct oq_kafka_config *config, enum oq_kafka_role role,
                      struct oq_kafka_hooks *hooks, rd_kafka_t **ret_handle,
                      struct ps_fault *fault) PS_MUST_CHECK;

/* Refreshes the handle's list of the topic's partitions: blocks for a second at most. PS_E_IO. */
int oq_kafka_conf_refresh(rd_kafka_t *handle, rd_kafka_topic_t *topic,
                          struct ps_fault *fault) PS_MUST_CHECK;

#endif
