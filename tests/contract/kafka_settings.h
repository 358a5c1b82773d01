/* What every log of a test in Kafka begins with. */
#ifndef PS_TEST_KAFKA_SETTINGS_H
#define PS_TEST_KAFKA_SETTINGS_H

#include "queue/log_kafka.h"

static inline struct oq_kafka_settings kafka_settings_of(const char *brokers, const char *name,
                                                         uint32_t partitions)
{
    return (struct oq_kafka_settings){.brokers = brokers,
                                      .topic = name,
                                      .gateway = "gw-1",
                                      .partitions_min = partitions,
                                      .retention_min_ms = 1000,
                                      .queue_capacity = 4096,
                                      .in_flight_max = 4096,
                                      .delivery_timeout_ms = 2000,
                                      .behind_ms = 2000,
                                      .look_ms = 50,
                                      .check_ms = 3600000,
                                      .open_wait_ms = 30000,
                                      .clock = &ps_clock_system};
}

#endif
