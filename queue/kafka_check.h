/* Settings of librdkafka, as each handle gets them: defaults that the operator may change, then the
 * operator's properties, and last those on which the log's guarantees depend, which no operator may
 * set. */
#ifndef OQ_KAFKA_CHECK_H
#define OQ_KAFKA_CHECK_H

#include "queue/log_kafka.h"

#include <librdkafka/rdkafka.h>

/* Each list ends with a name that is NULL. */
struct oq_kafka_rules {
    const struct oq_kafka_property *defaults;
    const struct oq_kafka_property *fixed; /* refused when the operator sets it */
    const char *const *refused;            /* likewise: set elsewhere, or useless */
};

/* PS_E_INVALID: librdkafka does not take it; the fault's path is `name`. */
int oq_kafka_check_set(rd_kafka_conf_t *conf, const char *name, const char *value,
                       struct ps_fault *fault) PS_MUST_CHECK;

/* All three, and that librdkafka writes nothing to stderr. PS_E_INVALID: the property that the
 * fault's path names is one of ours, or librdkafka does not take it. */
int oq_kafka_check_apply(rd_kafka_conf_t *conf, const struct oq_kafka_rules *rules,
                         const struct oq_kafka_property *properties, size_t count,
                         struct ps_fault *fault) PS_MUST_CHECK;

/* As oq_kafka_properties_check, by these rules. */
int oq_kafka_check_properties(const struct oq_kafka_rules *rules, const json_t *object,
                              const char *path, oq_kafka_fault_fn *on_fault,
                              void *ctx) PS_MUST_CHECK;

#endif
