/* Makes a topic of one replica as Penstock wants it, and waits until each partition has its leader:
 *
 *     kafka_topic BROKERS TOPIC PARTITIONS
 *
 * The same by Kafka's own tool (deploy/kafka/topic) costs a JVM each time. */
#include "tests/contract/kafka_broker.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    struct kafka_broker broker = {0};
    if (argc != 4 || strlen(argv[1]) >= sizeof broker.direct || atoi(argv[3]) <= 0) {
        fprintf(stderr, "usage: kafka_topic BROKERS TOPIC PARTITIONS\n");
        return 2;
    }
    (void)snprintf(broker.direct, sizeof broker.direct, "%s", argv[1]);
    kafka_topic(&broker, argv[2], atoi(argv[3]), NULL);
    return 0;
}
