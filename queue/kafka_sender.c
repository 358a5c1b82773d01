/* Sends records, and finds out their outcome.
 *
 * What must hold:
 *  - The view alone decides that a record has LANDED. A delivery report decides the next step:
 *    acknowledged: wait for the view; else: send again, or refuse.
 *  - A record is refused only if it is surely not in the log, since its units are given back then.
 *    librdkafka's "not persisted" is not enough for that: it also stands for a leader that has
 *    answered "not the leader any more", and a leader may answer so after it has written the record
 *    and passed it on. So a record is refused only if besides not one produce request has left this
 *    process from the time it was handed over (counted by an interceptor). Everything else is in
 *    doubt for good: it is sent again, under the same id, until the view has it.
 *  - When the epoch under which it was accepted is over, a record in doubt is not sent again but
 *    given up by released{rejected}: it would be void, and so the log tells the buyer.
 *  - An idempotent producer that no longer knows what the broker has ends with a fatal error. A
 *    new one then takes its place and sends what is not acknowledged. This can make duplicates,
 *    which are harmless: the first record decides. */
#include "queue/kafka_sender.h"
#include "common/text/json.h"
#include "queue/kafka_flight.h"
#include "queue/kafka_record.h"
#include "queue/log_backend.h"

#include <stdio.h>
#include <stdlib.h>

/* How long to wait for the reports of a producer that ends. */
#define LAST_REPORTS_NS (2 * PS_NS_PER_S)
/* A wave waits for the one before, for three times as long as brokers took recently, within these
 * bounds. An idempotent producer has at most five requests in progress at a broker; while more
 * records wait, librdkafka (seen on 2.0.2) polls without a pause and uses a whole core, which a
 * slow broker on the same machine then lacks. So nothing waits behind them; and what is sent
 * together is one request per partition, however many records it has. But one leader that is gone
 * must not hold up the partitions of the others for long. */
#define WAVE_MIN_NS (100 * PS_NS_PER_MS)
#define WAVE_MAX_NS (3 * PS_NS_PER_S)

struct oq_kafka_sender {
    struct oq_kafka_sender_setup setup;
    char source[OQ_GATEWAY_MAX + 16];
    struct oq_kafka_hooks hooks;
    rd_kafka_t *producer; /* NULL: none could be made; tried again */
    rd_kafka_topic_t *topic;
    struct oq_flights *flights;
    struct ps_uuid_source ids;
    size_t reports;  /* still to come from the producer */
    int64_t wave_ns; /* when the last wave was sent */
    int64_t trip_ns; /* average time from handing a record over to its report */
    bool fatal, closing;
    char reason[256];          /* the last error of a connection */
    struct oq_record rejected; /* being made */
    int64_t group_ns; /* the first try of the oldest record of this group; 0 = none of ours */
    _Atomic uint64_t requests; /* produce requests that have left */
    struct oq_kafka_counters counters;
};

static void add_count(_Atomic uint64_t *counter, uint64_t more)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + more, memory_order_relaxed);
}

static void note_counts(struct oq_kafka_sender *sender)
{
    struct oq_kafka_counters *counters = &sender->counters;
    atomic_store_explicit(&counters->in_flight, oq_flights_count(sender->flights),
                          memory_order_relaxed);
    atomic_store_explicit(&counters->unreported, oq_flights_unreported(sender->flights),
                          memory_order_relaxed);
}

static void release_flight(struct oq_kafka_sender *sender, struct oq_flight *flight)
{
    oq_flight_give(sender->flights, flight);
    note_counts(sender);
}

/* --- Outcomes --- */

static void report_outcome(struct oq_kafka_sender *sender, const struct oq_ticket *ticket,
                           const struct oq_event *event, enum oq_outcome outcome, int64_t seq)
{
    struct oq_kafka_counters *counters = &sender->counters;
    add_count(outcome == OQ_LANDED    ? &counters->landed
              : outcome == OQ_REFUSED ? &counters->refused
                                      : &counters->unknown,
              1);
    sender->setup.callbacks->on_outcome(ticket, event, outcome, seq, sender->setup.callbacks->ctx);
}

/* Not landed. */
static void report_failed(struct oq_kafka_sender *sender, struct oq_flight *flight,
                          enum oq_outcome outcome)
{
    if (flight->reported)
        return;
    oq_flight_set_reported(sender->flights, flight);
    note_counts(sender);
    report_outcome(sender, &flight->record.ticket, &flight->record.event, outcome, 0);
}

void oq_kafka_sender_refuse(struct oq_kafka_sender *sender, const struct oq_record *record)
{
    report_outcome(sender, &record->ticket, &record->event, OQ_REFUSED, 0);
}

void oq_kafka_sender_landed(struct oq_kafka_sender *sender, const struct ps_uuid *id, int64_t seq,
                            const struct oq_event *event)
{
    struct oq_flight *flight = oq_flight_find(sender->flights, id);
    if (flight == NULL)
        return;
    if (sender->group_ns == 0 || flight->began_ns < sender->group_ns)
        sender->group_ns = flight->began_ns;
    if (!flight->reported)
        report_outcome(sender, &flight->record.ticket, event, OQ_LANDED, seq);
    release_flight(sender, flight);
}

int64_t oq_kafka_sender_end_group(struct oq_kafka_sender *sender)
{
    if (sender->group_ns == 0)
        return 0;
    int64_t took_ns = oq_now_ns() - sender->group_ns;
    ps_durations_add(&sender->counters.groups, took_ns);
    sender->group_ns = 0;
    return took_ns;
}

/* --- Delivery reports --- */

/* The producer no longer has the record, and it was not acknowledged. */
static void note_failure(struct oq_kafka_sender *sender, struct oq_flight *flight, bool certain,
                         const char *why)
{
    const struct oq_kafka_settings *settings = &sender->setup.config->set;
    int64_t now = oq_now_ns();
    if (!certain)
        flight->doubt = true;
    add_count(&sender->counters.failures, 1);
    bool young = now - flight->began_ns < settings->delivery_timeout_ms * PS_NS_PER_MS;
    if (sender->fatal && young && !sender->closing) { /* the next producer gets it at once */
        oq_flight_move(sender->flights, flight, OQ_FLIGHT_WAITING, now);
        return;
    }
    if (!sender->closing)
        sender->setup.on_trouble(true, why, sender->setup.ctx);
    if (!flight->doubt) {
        report_failed(sender, flight, OQ_REFUSED);
        release_flight(sender, flight);
        return;
    }
    oq_flight_move(sender->flights, flight, OQ_FLIGHT_WAITING, now);
    report_failed(sender, flight, OQ_UNKNOWN);
}

static void on_delivery(rd_kafka_t *handle, const rd_kafka_message_t *message, void *opaque)
{
    struct oq_kafka_sender *sender = opaque;
    sender->reports--;
    if (rd_kafka_fatal_error(handle, NULL, 0) != 0)
        sender->fatal = true;
    struct oq_flight *flight = oq_flight_at(sender->flights, message->_private);
    if (flight == NULL) /* read back already */
        return;
    sender->trip_ns += (oq_now_ns() - flight->since_ns - sender->trip_ns) / 16;
    if (message->err == 0) {
        oq_flight_move(sender->flights, flight, OQ_FLIGHT_ACKED, oq_now_ns());
        flight->record.ticket.durable_ns = flight->since_ns;
        return;
    }
    bool certain = rd_kafka_message_status(message) == RD_KAFKA_MSG_STATUS_NOT_PERSISTED &&
                   atomic_load(&sender->requests) == flight->requests;
    note_failure(sender, flight, certain, rd_kafka_err2str(message->err));
}

static void on_produce_request(void *opaque)
{
    struct oq_kafka_sender *sender = opaque;
    atomic_fetch_add(&sender->requests, 1);
}

static void on_error(rd_kafka_t *handle, int err, const char *reason, void *opaque)
{
    struct oq_kafka_sender *sender = opaque;
    (void)handle;
    if (err == RD_KAFKA_RESP_ERR__FATAL)
        sender->fatal = true;
    else if (err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
        sender->setup.on_trouble(false, sender->reason, sender->setup.ctx);
    else
        snprintf(sender->reason, sizeof sender->reason, "%s", reason);
}

/* librdkafka's figures, over all brokers. 0: it frees the text. */
static int on_statistics(rd_kafka_t *handle, char *json, size_t len, void *opaque)
{
    struct oq_kafka_sender *sender = opaque;
    struct oq_kafka_counters *counters = &sender->counters;
    json_t *root;
    const char *name;
    json_t *broker;
    json_int_t slowest = 0;
    (void)handle;
    if (ps_json_parse(json, len, &root, NULL) != 0)
        return 0;
    json_object_foreach(json_object_get(root, "brokers"), name, broker)
    {
        json_int_t p99 = json_integer_value(json_object_get(json_object_get(broker, "rtt"), "p99"));
        if (p99 > slowest)
            slowest = p99;
    }
    atomic_store_explicit(&counters->round_trip_us, slowest, memory_order_relaxed);
    atomic_store_explicit(&counters->sent_bytes,
                          (uint64_t)json_integer_value(json_object_get(root, "tx_bytes")),
                          memory_order_relaxed);
    atomic_store_explicit(&counters->received_bytes,
                          (uint64_t)json_integer_value(json_object_get(root, "rx_bytes")),
                          memory_order_relaxed);
    json_decref(root);
    return 0;
}

/* --- Sending --- */

static void hand_over(struct oq_kafka_sender *sender, struct oq_flight *flight)
{
    const struct oq_record *record = &flight->record;
    rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR__FATAL;
    flight->requests = atomic_load(&sender->requests);
    const struct oq_kafka_message message = {.partition = flight->partition,
                                             .source = sender->source,
                                             .id = flight->id,
                                             .event = &record->event,
                                             .json = record->json,
                                             .handle = oq_flight_handle(sender->flights, flight)};
    if (sender->producer != NULL)
        error = oq_kafka_record_send(sender->producer, sender->topic, &message);
    if (error == 0) {
        sender->reports++;
        return;
    }
    if (error == RD_KAFKA_RESP_ERR__FATAL)
        sender->fatal = true;
    note_failure(sender, flight, true, rd_kafka_err2str(error));
}

bool oq_kafka_sender_full(const struct oq_kafka_sender *sender)
{
    /* A record that was read back before its report came is not in flight, but the producer still
     * has it. */
    return oq_flights_full(sender->flights) ||
           sender->reports >= sender->setup.config->set.in_flight_max;
}

static uint32_t partition_of(const struct oq_kafka_sender *sender, const struct oq_record *record,
                             uint32_t partitions)
{
    const struct oq_event *event = &record->event;
    if (record->partition != OQ_BY_KEY)
        return record->partition;
    uint32_t count = event->type == OQ_FENCED || event->type == OQ_ARCHIVED
                         ? (uint32_t)event->partitions
                         : oq_sale_marks_partitions(sender->setup.marks, event->sale);
    return oq_kafka_record_partition(event, count > 0 ? count : partitions);
}

bool oq_kafka_sender_next_wave(struct oq_kafka_sender *sender)
{
    int64_t now = oq_now_ns();
    int64_t patience = 3 * sender->trip_ns;
    if (patience < WAVE_MIN_NS)
        patience = WAVE_MIN_NS;
    if (patience > WAVE_MAX_NS)
        patience = WAVE_MAX_NS;
    if (sender->reports > 0 && now - sender->wave_ns < patience)
        return false;
    sender->wave_ns = now;
    return true;
}

void oq_kafka_sender_send(struct oq_kafka_sender *sender, struct oq_record *record,
                          uint32_t partitions)
{
    struct ps_uuid id = record->event.order_id;
    if (record->event.type != OQ_ACCEPTED)
        ps_uuid_next(&sender->ids, ps_clock_wall_ms(sender->setup.config->set.clock), &id);
    struct oq_flight *flight = oq_flight_take(sender->flights, record, &id, oq_now_ns());
    flight->partition = partition_of(sender, record, partitions);
    note_counts(sender);
    hand_over(sender, flight);
}

/* Replaces a record whose epoch is over. Its outcome was reported as unknown, so nobody waits for
 * this. */
static void reject_flight(struct oq_kafka_sender *sender, struct oq_flight *flight)
{
    const struct oq_event *event = &flight->record.event;
    uint32_t partition = flight->partition;
    struct oq_record *record = &sender->rejected;
    struct oq_event rejected;
    oq_event_reject(event, ps_clock_wall_ms(sender->setup.config->set.clock), &rejected);
    int err = oq_record_fill(record, &rejected); /* fails only by a clock before 1970 */
    report_failed(sender, flight, OQ_UNKNOWN);
    release_flight(sender, flight);
    if (err != 0)
        return;
    struct ps_uuid id;
    ps_uuid_next(&sender->ids, rejected.at_ms, &id);
    flight = oq_flight_take(sender->flights, record, &id, oq_now_ns());
    flight->partition = partition;
    flight->doubt = true;
    oq_flight_set_reported(sender->flights, flight);
    hand_over(sender, flight);
}

static void resend_one(struct oq_kafka_sender *sender, struct oq_flight *flight)
{
    const struct oq_event *event = &flight->record.event;
    if (!oq_event_takes(event) ||
        oq_sale_marks_epoch(sender->setup.marks, event->sale) <= event->epoch) {
        add_count(&sender->counters.resent, 1);
        oq_flight_move(sender->flights, flight, OQ_FLIGHT_SENT, oq_now_ns());
        hand_over(sender, flight);
    } else if (flight->doubt) {
        reject_flight(sender, flight);
    } else {
        report_failed(sender, flight, OQ_REFUSED);
        release_flight(sender, flight);
    }
}

void oq_kafka_sender_resend(struct oq_kafka_sender *sender)
{
    /* A record that fails again goes to the end of the list: it is not tried a second time now. */
    struct oq_flight *flight = oq_flight_first(sender->flights, OQ_FLIGHT_WAITING);
    int64_t now = oq_now_ns();
    while (flight != NULL && flight->since_ns <= now && !sender->fatal) {
        struct oq_flight *next = oq_flight_next(flight);
        resend_one(sender, flight);
        flight = next;
    }
}

void oq_kafka_sender_miss(struct oq_kafka_sender *sender, int64_t look_ns)
{
    struct oq_flight *flight;
    while ((flight = oq_flight_first(sender->flights, OQ_FLIGHT_ACKED)) != NULL &&
           flight->since_ns < look_ns) {
        flight->doubt = true;
        oq_flight_move(sender->flights, flight, OQ_FLIGHT_WAITING, oq_now_ns());
    }
}

void oq_kafka_sender_expire(struct oq_kafka_sender *sender)
{
    int64_t old = oq_now_ns() - sender->setup.config->set.delivery_timeout_ms * PS_NS_PER_MS;
    struct oq_flight *flight = oq_flight_first(sender->flights, OQ_FLIGHT_ACKED), *next;
    for (; flight != NULL && flight->since_ns < old; flight = oq_flight_next(flight))
        report_failed(sender, flight, OQ_UNKNOWN);
    flight = oq_flight_first(sender->flights, OQ_FLIGHT_WAITING);
    for (; flight != NULL && flight->since_ns < old; flight = next) {
        next = oq_flight_next(flight);
        report_failed(sender, flight, flight->doubt ? OQ_UNKNOWN : OQ_REFUSED);
        if (!flight->doubt)
            release_flight(sender, flight);
    }
}

/* --- The producer --- */

static int start_producer(struct oq_kafka_sender *sender, struct ps_fault *fault)
{
    static const uint64_t one = 1;
    const struct oq_kafka_config *config = sender->setup.config;
    rd_kafka_t *producer;
    int err = oq_kafka_conf_new(config, OQ_KAFKA_PRODUCER, &sender->hooks, &producer, fault);
    if (err != 0)
        return err;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(producer, config->set.topic, NULL);
    if (topic == NULL) {
        rd_kafka_destroy(producer);
        return ps_fault(fault, PS_E_INVALID, config->set.topic, "is not a valid topic name");
    }
    rd_kafka_queue_t *queue = rd_kafka_queue_get_main(producer);
    rd_kafka_queue_io_event_enable(queue, sender->setup.wakeup, &one, sizeof one);
    rd_kafka_queue_destroy(queue);
    sender->producer = producer;
    sender->topic = topic;
    sender->reports = 0;
    sender->fatal = false;
    return 0;
}

/* Afterwards it has no records. */
static void end_producer(struct oq_kafka_sender *sender)
{
    if (sender->producer == NULL)
        return;
    int64_t until = oq_now_ns() + LAST_REPORTS_NS;
    rd_kafka_purge(sender->producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    while (sender->reports > 0 && oq_now_ns() < until)
        rd_kafka_poll(sender->producer, 10);
    struct oq_flight *flight;
    while ((flight = oq_flight_first(sender->flights, OQ_FLIGHT_SENT)) != NULL)
        note_failure(sender, flight, false, "no delivery report arrived");
    rd_kafka_topic_destroy(sender->topic);
    rd_kafka_destroy(sender->producer);
    sender->producer = NULL;
}

int oq_kafka_sender_poll(struct oq_kafka_sender *sender)
{
    if (sender->producer != NULL && !sender->fatal)
        return rd_kafka_poll(sender->producer, 0);
    end_producer(sender);
    struct ps_fault fault;
    if (start_producer(sender, &fault) != 0) {
        sender->setup.on_trouble(true, fault.text, sender->setup.ctx);
        return 0;
    }
    add_count(&sender->counters.producers, 1);
    return 1;
}

int oq_kafka_sender_refresh(struct oq_kafka_sender *sender, struct ps_fault *fault)
{
    if (sender->producer == NULL) /* the next one asks by itself */
        return 0;
    return oq_kafka_conf_refresh(sender->producer, sender->topic, fault);
}

int oq_kafka_sender_new(const struct oq_kafka_sender_setup *setup,
                        struct oq_kafka_sender **ret_sender, struct ps_fault *fault)
{
    const struct oq_kafka_settings *settings = &setup->config->set;
    struct oq_kafka_sender *sender = calloc(1, sizeof *sender);
    if (sender == NULL)
        return ps_fault(fault, PS_E_NOMEM, settings->topic, "out of memory");
    sender->setup = *setup;
    sender->hooks = (struct oq_kafka_hooks){.on_error = on_error,
                                            .on_delivery = on_delivery,
                                            .on_statistics = on_statistics,
                                            .on_produce_request = on_produce_request,
                                            .opaque = sender};
    snprintf(sender->source, sizeof sender->source, "/penstock/%s", settings->gateway);
    ps_uuid_source_init(&sender->ids);
    int err = oq_flights_new(settings->in_flight_max, &sender->flights);
    if (err != 0)
        ps_fault(fault, err, settings->topic, "no memory for records in flight");
    else
        err = start_producer(sender, fault);
    if (err != 0) {
        oq_kafka_sender_free(sender);
        return err;
    }
    *ret_sender = sender;
    return 0;
}

void oq_kafka_sender_give_up(struct oq_kafka_sender *sender)
{
    static const enum oq_flight_state left[] = {OQ_FLIGHT_ACKED, OQ_FLIGHT_WAITING};
    struct oq_flight *flight;
    sender->closing = true;
    end_producer(sender);
    for (size_t i = 0; i < PS_ARRAY_LEN(left); i++) {
        while ((flight = oq_flight_first(sender->flights, left[i])) != NULL) {
            bool sure = left[i] == OQ_FLIGHT_WAITING && !flight->doubt;
            report_failed(sender, flight, sure ? OQ_REFUSED : OQ_UNKNOWN);
            release_flight(sender, flight);
        }
    }
}

void oq_kafka_sender_free(struct oq_kafka_sender *sender)
{
    if (sender == NULL)
        return;
    if (sender->producer != NULL) {
        rd_kafka_topic_destroy(sender->topic);
        rd_kafka_destroy(sender->producer);
    }
    oq_flights_free(sender->flights);
    free(sender);
}

const struct oq_kafka_counters *oq_kafka_sender_counters(const struct oq_kafka_sender *sender)
{
    return &sender->counters;
}

size_t oq_kafka_sender_in_flight(const struct oq_kafka_sender *sender)
{
    return oq_flights_count(sender->flights);
}

size_t oq_kafka_sender_unreported(const struct oq_kafka_sender *sender)
{
    return oq_flights_unreported(sender->flights);
}

int64_t oq_kafka_sender_acked_ns(const struct oq_kafka_sender *sender)
{
    const struct oq_flight *flight = oq_flight_first(sender->flights, OQ_FLIGHT_ACKED);
    return flight != NULL ? flight->since_ns : INT64_MAX;
}
