/* The records that one gateway has sent to Kafka and not yet read back: each from the moment the
 * producer gets it until the log shows it. A fixed number of places. One thread. */
#ifndef OQ_KAFKA_FLIGHT_H
#define OQ_KAFKA_FLIGHT_H

#include "queue/record_queue.h"

#include <sys/queue.h>

enum oq_flight_state {
    OQ_FLIGHT_SENT,    /* with the producer: a delivery report will come */
    OQ_FLIGHT_ACKED,   /* reported persisted: the view will show it */
    OQ_FLIGHT_WAITING, /* to be sent again */
    OQ_FLIGHT_STATES
};

struct oq_flight {
    TAILQ_ENTRY(oq_flight) in_list;
    struct oq_flight *same_bucket;
    enum oq_flight_state state;
    bool reported; /* its outcome: nobody waits any more */
    bool doubt;    /* some try of it may be in the log */
    uint32_t partition;
    uint64_t requests;          /* sent by this process when the producer got the record */
    int64_t began_ns, since_ns; /* the first try; in this state */
    struct ps_uuid id;          /* of the event (kafka_record.h) */
    struct oq_record record;
};

struct oq_flights;

int oq_flights_new(size_t capacity, struct oq_flights **ret_flights) PS_MUST_CHECK;
void oq_flights_free(struct oq_flights *flights); /* NULL is allowed */

/* One in state SENT, with a copy of `record` under `id`; NULL when no place is left. */
struct oq_flight *oq_flight_take(struct oq_flights *flights, struct oq_record *record,
                                 const struct ps_uuid *id, int64_t now_ns);
void oq_flight_give(struct oq_flights *flights, struct oq_flight *flight);
/* To the end of the list of that state. */
void oq_flight_move(struct oq_flights *flights, struct oq_flight *flight,
                    enum oq_flight_state state, int64_t now_ns);
void oq_flight_set_reported(struct oq_flights *flights, struct oq_flight *flight);

/* Its name for the producer: never NULL, and recognized when stale. */
void *oq_flight_handle(const struct oq_flights *flights, const struct oq_flight *flight);
struct oq_flight *oq_flight_at(const struct oq_flights *flights, void *handle); /* or NULL */
struct oq_flight *oq_flight_find(const struct oq_flights *flights, const struct ps_uuid *id);
/* The one that has been in that state longest, and the one after it; or NULL. */
struct oq_flight *oq_flight_first(const struct oq_flights *flights, enum oq_flight_state state);
static inline struct oq_flight *oq_flight_next(const struct oq_flight *flight)
{
    return TAILQ_NEXT(flight, in_list);
}
size_t oq_flights_count(const struct oq_flights *flights);
size_t oq_flights_unreported(const struct oq_flights *flights);
bool oq_flights_full(const struct oq_flights *flights);

#endif
