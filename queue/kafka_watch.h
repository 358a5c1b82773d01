/* The watcher: a thread that looks at Kafka from outside at intervals, since librdkafka answers
 * these questions by blocking, and the log's thread must not block. Each look asks which cluster
 * this is, who leads the partitions and where they end; a full one also checks the topic's settings
 * and the version of its brokers, and asks where the partitions begin. A look is full when it is
 * asked for, when a broker has come, and every check_ms. */
#ifndef OQ_KAFKA_WATCH_H
#define OQ_KAFKA_WATCH_H

#include "queue/kafka_conf.h"

#define OQ_KAFKA_CLUSTER_ID 64

struct oq_kafka_look {
    int err; /* 0, PS_E_IO: out of reach or not fit to write to, PS_E_INVALID: a wrong topic */
    int64_t began_ns;
    int64_t checked_ns;    /* when the last full look began that found no error; 0 = none yet */
    uint32_t partitions;   /* 0 when err */
    struct ps_fault fault; /* when err */
    char notice[OQ_KAFKA_NOTICE]; /* what operators should know about a topic that was checked */
    char cluster[OQ_KAFKA_CLUSTER_ID]; /* Kafka's own id, by this look; "": not known */
    int64_t ends[OQ_PARTITION_MAX];    /* offsets behind the last record */
    int64_t begins[OQ_PARTITION_MAX];  /* of the first record, as of checked_ns */
};

struct oq_kafka_watch;

/* The first look is a full one and begins at once. `wakeup` (an eventfd) is signalled after each.
 * `config` lives longer. PS_E_INVALID, PS_E_NOMEM, PS_E_IO. */
int oq_kafka_watch_start(const struct oq_kafka_config *config, int wakeup,
                         struct oq_kafka_watch **ret_watch, struct ps_fault *fault) PS_MUST_CHECK;
void oq_kafka_watch_stop(struct oq_kafka_watch *watch); /* a second or two; NULL is allowed */

/* Any thread. The latest look, if it was not returned yet. */
bool oq_kafka_watch_news(struct oq_kafka_watch *watch, struct oq_kafka_look *ret_look);
/* Any thread. The next look is a full one, and comes soon. */
void oq_kafka_watch_check(struct oq_kafka_watch *watch);

#endif
