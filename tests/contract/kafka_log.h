/* Logs on a real broker, for tests that are about Kafka alone: each test has a topic, and as many
 * logs ("gateways") on it as it likes, each with a watch that writes down what it reports. */
#ifndef PS_TEST_KAFKA_LOG_H
#define PS_TEST_KAFKA_LOG_H

#include "tests/unit/check.h"

#include "queue/fold.h"
#include "queue/log_spill.h"
#include "tests/contract/kafka_broker.h"
#include "tests/contract/log_watch.h"
#include "tests/unit/records.h"

#define PARTITIONS 3

extern struct kafka_broker broker;
extern char topic[32]; /* of this test */

/* Static in a test, since its threads go on when the test fails; the tear-down closes it then. */
struct gateway {
    struct log_watch watch;
    struct oq_log *log;
    struct ps_fault fault;
};

int kafka_group_set_up(void **state);
int kafka_group_tear_down(void **state);
/* A name for the test's topic; and one with PARTITIONS. */
int kafka_set_up_name(void **state);
int kafka_set_up(void **state);
int kafka_tear_down(void **state);

/* What every test begins with. `where`: broker.direct or broker.proxied. */
struct oq_kafka_settings kafka_settings(const char *where);
/* The same, but a busy machine does not look like a Kafka that is away. */
struct oq_kafka_settings kafka_patient(const char *where);
/* With the settings given. */
int gateway_try(struct gateway *gateway, const struct oq_kafka_settings *settings);
int gateway_try_spill(struct gateway *gateway, const struct oq_spill_settings *settings);
/* Patient; hasty: to fail, so that this is noticed soon. */
void gateway_open(struct gateway *gateway, const char *where);
void gateway_open_hasty(struct gateway *gateway, const char *where);
/* Without its outcomes being looked at. */
void gateway_close(struct gateway *gateway);

/* Holds the log's thread, at a moment at which the log takes records. */
void gateway_hold_well(struct gateway *gateway, struct log_hold *hold);
void gateway_append(struct gateway *gateway, const struct oq_event *event, uint64_t handle);
void gateway_append_order(struct gateway *gateway, uint32_t number, int64_t epoch);
enum oq_outcome gateway_outcome_of(struct gateway *gateway, uint64_t handle);
/* A fence into each of `partitions`, read back. */
void gateway_fence(struct gateway *gateway, int64_t epoch, uint32_t partitions);
/* The fence of epoch 1 and 1,000 units. */
void gateway_begin_sale(struct gateway *gateway);
/* What the fold makes of all that the gateway has read; the caller frees it. */
struct oq_fold *gateway_fold(struct gateway *gateway);
/* So many units are held in the sale, by the fold. */
void gateway_assert_sold(struct gateway *gateway, uint32_t orders);
enum oq_state gateway_state_of(struct gateway *gateway, uint32_t order);
size_t gateway_count(struct gateway *gateway, enum oq_type type, enum oq_reason reason,
                     uint32_t order);

#endif
