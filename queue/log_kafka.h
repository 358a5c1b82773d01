/* The order log in a topic of Apache Kafka: shared by all gateways, of several partitions.
 *
 * Kafka's offsets begin at 0 and the log's seq at 1, so that "after 0" means from the start: seq =
 * offset + 1. Messages for people name offsets. */
#ifndef OQ_LOG_KAFKA_H
#define OQ_LOG_KAFKA_H

#include "common/clock.h"
#include "common/text/json.h"
#include "queue/log.h"

struct oq_kafka_property {
    const char *name; /* of librdkafka, such as "security.protocol" */
    const char *value;
};

/* The properties of a JSON object of strings, as an array that the caller frees; its strings are
 * the object's. PS_E_INVALID: it is no object, or a member that the fault names is no string; the
 * fault's path is `path`. PS_E_NOMEM. */
int oq_kafka_properties(const json_t *object, const char *path,
                        struct oq_kafka_property **ret_properties, size_t *ret_count,
                        struct ps_fault *fault) PS_MUST_CHECK;

/* Tests the properties of such an object as oq_kafka_open will, but without Kafka. Calls `on_fault`
 * for each that is no string, that the log sets itself, or that librdkafka does not know or accept,
 * and for combinations that do not work; the fault's path is `path`, its text names the property.
 * 0; PS_E_INVALID: there was a fault. Some ms; any thread. */
typedef void oq_kafka_fault_fn(const struct ps_fault *fault, void *ctx);
int oq_kafka_properties_check(const json_t *object, const char *path, oq_kafka_fault_fn *on_fault,
                              void *ctx) PS_MUST_CHECK;

/* Replaces `object` by a copy that has sasl.password too: the first line of `file`, as
 * ps_secret_read() reads it; the fault's path is `setting`. PS_E_INVALID: it has one already. */
int oq_kafka_add_password(json_t **object, const char *file, const char *setting,
                          struct ps_fault *fault) PS_MUST_CHECK;

/* Strings, marks and properties are borrowed for the call of oq_kafka_open. */
struct oq_kafka_settings {
    const char *brokers; /* "host:port,host:port" */
    const char *topic;
    const char *gateway;                        /* the source of events is "/penstock/{gateway}" */
    const struct oq_kafka_property *properties; /* for security and tuning; see README.md */
    size_t property_count;
    uint32_t partitions_min;     /* a topic with fewer is refused */
    int64_t retention_min_ms;    /* a topic that keeps records for less is refused */
    size_t queue_capacity;       /* records waiting to be sent, rounded up to a power of two */
    size_t in_flight_max;        /* records sent and not yet read back */
    int64_t delivery_timeout_ms; /* then a record's outcome is reported, and Kafka counts as away:
                                    2000 */
    int64_t behind_ms;           /* a view that lacks records this old is behind: 2000 */
    int64_t look_ms;             /* how often to look at brokers and ends of partitions: 250 */
    int64_t check_ms; /* how often to check the topic's settings and the brokers' version: 15000 */
    int64_t open_wait_ms;         /* how long oq_kafka_open waits for Kafka and for the read-back */
    const struct ps_clock *clock; /* the wall clock of records that the log itself writes */
    /* Where reading begins in the partitions 0 .. mark_count - 1, if the topic has these records
     * (on_marks); 0 = at the start. */
    const struct oq_mark *marks;
    uint32_t mark_count;
    const struct oq_kafka_spill *spill; /* for log_spill.c; NULL = none */
};

/* Connects, checks the topic, reads it through on_record on the log's thread, from its start or
 * from the marks on, up to the end that it saw first, and waits for that, open_wait_ms at most.
 * When Kafka cannot be reached or the read-back takes longer the log is open all the same, and away
 * (on_state comes before this returns or soon after): it continues by itself, and is available when
 * its view has reached that end. PS_E_INVALID: a setting, or the topic is not one to keep orders
 * in: `fault` says what to change. PS_E_TIMEOUT: the same, and librdkafka hangs: the log's thread
 * continues to use callbacks and `spill`, and the process should end. PS_E_NOMEM, PS_E_IO
 * (descriptors, threads). What on_record saw before an error is to be thrown away. */
int oq_kafka_open(const struct oq_kafka_settings *settings,
                  const struct oq_log_callbacks *callbacks, struct oq_log **ret_log,
                  struct ps_fault *fault) PS_MUST_CHECK;

/* A sentence, "" = nothing to say: what operators should know of a topic that may be used. */
#define OQ_KAFKA_NOTICE 320

/* Connects and looks once, as oq_kafka_open does first: is this Kafka in reach and new enough, and
 * is the topic fit to keep orders in? Looks again while Kafka cannot be reached, for `timeout_ms`
 * (a second more at most). Any thread; blocks. PS_E_INVALID, PS_E_IO: `fault` says what to change
 * or check. PS_E_NOMEM. */
int oq_kafka_check(const struct oq_kafka_settings *settings, int64_t timeout_ms,
                   char ret_notice[OQ_KAFKA_NOTICE], struct ps_fault *fault) PS_MUST_CHECK;

/* --- For log_spill.c, which stands between this log and its user. --- */

/* A log with a spill takes accepted records while it is AWAY too, and refuses them on its thread:
 * on_outcome is then the spill's. All on the log's thread. */
struct oq_kafka_spill {
    /* Called often: after each group of whatever the log does. Returns how much it has done. */
    int (*round)(struct oq_log *log, void *ctx);
    /* Is there room for a refused record? */
    bool (*room)(void *ctx);
    /* How many refused records have no reported outcome yet. */
    size_t (*unreported)(void *ctx);
    void *ctx;
};

/* Requests a round soon. Any thread. */
void oq_kafka_wake(struct oq_log *log);
/* The highest epoch of the sale that was read; 0 = none. In a round. */
int64_t oq_kafka_epoch(const struct oq_log *log, struct ps_str sale);

/* Relaxed, any thread. */
enum oq_log_state oq_kafka_state(const struct oq_log *log);

#endif
