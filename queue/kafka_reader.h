/* Reading a topic by place (log.h), beside a running log or without one. */
#ifndef OQ_KAFKA_READER_H
#define OQ_KAFKA_READER_H

#include "queue/log_kafka.h"

/* Of `settings` only brokers, topic and properties are used; they are copied. Asks how many
 * partitions there are: blocks for some seconds at most. Partitions that are added later are not
 * read. PS_E_INVALID: a property, or there is no such topic. PS_E_IO, PS_E_NOMEM. */
int oq_kafka_reader_open(const struct oq_kafka_settings *settings, struct oq_reader **ret_reader,
                         struct ps_fault *fault) PS_MUST_CHECK;

#endif
