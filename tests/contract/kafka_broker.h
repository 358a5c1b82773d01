/* A Kafka broker of a test's own: real, started by deploy/kafka/serve on free ports of loopback, in
 * a directory of its own, with a proxy before it that can make the network fail. A keeper process
 * runs the proxy and ends the broker when the test's process is gone, however it went. */
#ifndef PS_TEST_KAFKA_BROKER_H
#define PS_TEST_KAFKA_BROKER_H

#include "common/defs.h"

#include <librdkafka/rdkafka.h>
#include <sys/types.h>

struct kafka_broker {
    char dir[64];
    int port, controller_port, front_port, proxy_port;
    pid_t pid;
    pid_t keeper;
    int orders, answers; /* pipes to and from the keeper */
    char direct[32];     /* "127.0.0.1:PORT": around the proxy */
    char proxied[32];
    const char *cluster; /* the id of the cluster that a new `dir` makes; NULL = the usual one */
};

/* What the proxy does. Changing it resets the connections that were treated otherwise. */
enum kafka_network {
    KAFKA_NETWORK_WELL = 'w',
    KAFKA_NETWORK_CUT = 'c',         /* connections are reset and refused */
    KAFKA_NETWORK_NO_REQUESTS = 'q', /* what clients send is swallowed, connections stay */
    KAFKA_NETWORK_NO_ANSWERS = 'a'   /* what the broker sends is swallowed, connections stay */
};

/* False: tests are to run without Kafka ($PENSTOCK_WITHOUT_KAFKA is set). */
bool kafka_wanted(void);
/* Some seconds. Ends the process with a message when it cannot be had. */
void kafka_start(struct kafka_broker *broker);
void kafka_stop(struct kafka_broker *broker);
void kafka_network(struct kafka_broker *broker, enum kafka_network network);
/* SIGKILL and start again on the same data: some seconds. */
void kafka_kill(struct kafka_broker *broker);
void kafka_start_again(struct kafka_broker *broker);
/* The same with KAFKA_NETWORK_CUT. */
void kafka_start_cut_off(struct kafka_broker *broker);
void kafka_signal(struct kafka_broker *broker, int signal); /* SIGSTOP, SIGCONT */

/* A topic as Penstock wants it, but for the given settings ("name", "value", …, NULL). One that is
 * there already is left alone. */
void kafka_topic(struct kafka_broker *broker, const char *name, int partitions,
                 const char *const *settings);
void kafka_topic_set(struct kafka_broker *broker, const char *name, const char *setting,
                     const char *value);
void kafka_topic_grow(struct kafka_broker *broker, const char *name, int partitions);
void kafka_topic_remove(struct kafka_broker *broker, const char *name);
/* As retention does: the partition begins at offset `before` then. */
void kafka_delete_records(struct kafka_broker *broker, const char *topic, int partition,
                          int64_t before);
/* One message, as it is; NULL: without a value. */
void kafka_put(struct kafka_broker *broker, const char *topic, int partition, const char *value);
/* In the broker's data, the first `what` of the partition becomes something else. */
void kafka_damage(struct kafka_broker *broker, const char *topic, int partition, const char *what);
/* A transaction with a record in each partition, neither committed nor aborted while the producer
 * lives that comes back; the caller destroys it. */
rd_kafka_t *kafka_leave_open(struct kafka_broker *broker, const char *topic, int partitions);

#endif
