/* The writing half of the Kafka log: the producer, and the records in flight. All but the counters
 * belongs to the log's thread. */
#ifndef OQ_KAFKA_SENDER_H
#define OQ_KAFKA_SENDER_H

#include "common/metrics/metrics.h"
#include "queue/kafka_conf.h"
#include "queue/record_queue.h"
#include "queue/sale_marks.h"

#include <stdatomic.h>

struct oq_kafka_sender;

/* One writer, relaxed readers. */
struct oq_kafka_counters {
    _Atomic uint64_t landed, refused, unknown, in_flight, unreported, failures, resent, producers;
    _Atomic uint64_t sent_bytes, received_bytes;
    _Atomic int64_t round_trip_us;
    struct ps_durations groups;
};

/* `callbacks`: on_outcome is called for each record once. `on_trouble` is called when a record was
 * not acknowledged, before the outcomes that follow from it, or (not `certain`) when all
 * connections are lost; `ctx` is for it. */
struct oq_kafka_sender_setup {
    const struct oq_kafka_config *config; /* lives longer, like the rest */
    const struct oq_sale_marks *marks;
    const struct oq_log_callbacks *callbacks;
    void (*on_trouble)(bool certain, const char *why, void *ctx);
    void *ctx;
    int wakeup; /* an eventfd, signalled when there may be something to poll */
};

int oq_kafka_sender_new(const struct oq_kafka_sender_setup *setup,
                        struct oq_kafka_sender **ret_sender, struct ps_fault *fault) PS_MUST_CHECK;
void oq_kafka_sender_free(struct oq_kafka_sender *sender); /* after give_up; NULL is allowed */
/* Any thread. */
const struct oq_kafka_counters *oq_kafka_sender_counters(const struct oq_kafka_sender *sender);

/* The topic has more partitions than before. PS_E_IO. */
int oq_kafka_sender_refresh(struct oq_kafka_sender *sender, struct ps_fault *fault) PS_MUST_CHECK;

/* Copies the record. Only when not full. `partitions`: of the topic, now. */
bool oq_kafka_sender_full(const struct oq_kafka_sender *sender);
/* May the next wave of records be sent? For a moment not, while the one before is in progress:
 * records that arrive meanwhile are gathered and sent together. Ask once before each wave. */
bool oq_kafka_sender_next_wave(struct oq_kafka_sender *sender);
void oq_kafka_sender_send(struct oq_kafka_sender *sender, struct oq_record *record,
                          uint32_t partitions);
/* Reports the outcome of a record that is not sent. */
void oq_kafka_sender_refuse(struct oq_kafka_sender *sender, const struct oq_record *record);

/* Delivery reports, and a new producer when the old one has met a fatal error. Returns how much
 * was done. */
int oq_kafka_sender_poll(struct oq_kafka_sender *sender);
/* The log shows this event id: reports its outcome. */
void oq_kafka_sender_landed(struct oq_kafka_sender *sender, const struct ps_uuid *id, int64_t seq,
                            const struct oq_event *event);
/* Call it after each group that was read: counts it if a record of ours was in it. Returns how long
 * the oldest of them was in flight; 0: there was none. */
int64_t oq_kafka_sender_end_group(struct oq_kafka_sender *sender);
/* Sends waiting records again, or closes one by a record if its epoch is over. */
void oq_kafka_sender_resend(struct oq_kafka_sender *sender);
/* The view has reached ends that were asked for at `look_ns`: a record that was acknowledged before
 * and not read is not in the log, and waits to be sent again. */
void oq_kafka_sender_miss(struct oq_kafka_sender *sender, int64_t look_ns);

/* Call it now and then: reports records as unknown that were acknowledged and not read back within
 * delivery_timeout_ms, or have waited as long for the next producer. */
void oq_kafka_sender_expire(struct oq_kafka_sender *sender);

/* Records that are neither read back nor refused; of these, those whose outcome is not reported;
 * when the oldest acknowledged one was acknowledged, or INT64_MAX. */
size_t oq_kafka_sender_in_flight(const struct oq_kafka_sender *sender);
size_t oq_kafka_sender_unreported(const struct oq_kafka_sender *sender);
int64_t oq_kafka_sender_acked_ns(const struct oq_kafka_sender *sender);

/* The end: reports the outcome of all that is in flight. Up to two seconds. */
void oq_kafka_sender_give_up(struct oq_kafka_sender *sender);

#endif
