/* Examines a topic from outside: is it fit to keep orders in, are its leaders there, where does
 * each partition begin and end? Blocks on the network, within `timeout_ms` for each question. */
#ifndef OQ_KAFKA_TOPIC_H
#define OQ_KAFKA_TOPIC_H

#include "queue/kafka_conf.h"

/* A broker that is there and has a replica of the topic. */
struct oq_kafka_replica {
    int32_t id;
    bool leads; /* a partition of it */
    bool asked; /* for its version, since it came */
    bool fit;   /* new enough, by its answer */
};
#define OQ_KAFKA_REPLICAS_MAX 256

struct oq_kafka_topic {
    uint32_t partitions;
    uint32_t brokers;       /* of the cluster */
    uint32_t replicas;      /* of the partition that has fewest */
    uint32_t in_sync;       /* of the partition that has fewest */
    uint32_t in_sync_at;    /* that partition */
    uint32_t in_sync_least; /* min.insync.replicas; 0 = not asked yet */
    struct oq_kafka_replica replica[OQ_KAFKA_REPLICAS_MAX];
    uint32_t replica_count;
    char notice[OQ_KAFKA_NOTICE];
};

/* The part that changes while brokers come and go. PS_E_INVALID: there is no such topic, or it has
 * too few partitions. PS_E_IO: not reachable, or a partition has no leader or, when in_sync_least
 * is known, too few replicas in sync. */
int oq_kafka_topic_look(rd_kafka_t *handle, const struct oq_kafka_settings *settings,
                        int timeout_ms, struct oq_kafka_topic *topic,
                        struct ps_fault *fault) PS_MUST_CHECK;

/* Is there a broker that must be asked for its version? Call it after a look. */
bool oq_kafka_topic_has_new(const struct oq_kafka_topic *topic);

/* Checks the topic's settings, and whether its brokers are new enough, after a look; fills
 * in_sync_least, notice and `fit`. PS_E_INVALID: it must not be used, and `fault` says which
 * setting to change. PS_E_IO: not reachable. A broker that leads nothing and does not answer is
 * asked by the next check. */
int oq_kafka_topic_check(rd_kafka_t *handle, const struct oq_kafka_settings *settings,
                         int timeout_ms, struct oq_kafka_topic *topic,
                         struct ps_fault *fault) PS_MUST_CHECK;

/* Where the partitions of `list` begin (RD_KAFKA_OFFSET_BEGINNING) or end (RD_KAFKA_OFFSET_END),
 * into its offsets; the first error, 0 = none. The query for one partition's watermarks does not
 * keep its deadline: it waits for minutes for a broker that is silent (seen on librdkafka 2.0.2).
 * This one keeps it. */
rd_kafka_resp_err_t oq_kafka_edges(rd_kafka_t *handle, rd_kafka_topic_partition_list_t *list,
                                   int64_t edge, int timeout_ms) PS_MUST_CHECK;

#endif
