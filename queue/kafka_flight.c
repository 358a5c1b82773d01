/* Records in flight: a pool of places, a list for each state in the order in which they came into
 * it, and a hash table by event id, whose bits are random already. */
#include "queue/kafka_flight.h"
#include "common/pool.h"

#include <stdlib.h>
#include <string.h>

struct oq_flights {
    struct ps_pool *pool;
    size_t capacity, unreported;
    TAILQ_HEAD(, oq_flight) list[OQ_FLIGHT_STATES];
    size_t buckets; /* a power of two */
    struct oq_flight **bucket;
};

int oq_flights_new(size_t capacity, struct oq_flights **ret_flights)
{
    struct oq_flights *flights = calloc(1, sizeof *flights);
    if (flights == NULL)
        return PS_E_NOMEM;
    flights->capacity = capacity;
    for (size_t state = 0; state < OQ_FLIGHT_STATES; state++)
        TAILQ_INIT(&flights->list[state]);
    for (flights->buckets = 16; flights->buckets < capacity;)
        flights->buckets *= 2;
    flights->bucket = calloc(flights->buckets, sizeof(struct oq_flight *));
    int err = flights->bucket == NULL
                  ? PS_E_NOMEM
                  : ps_pool_new(capacity, sizeof(struct oq_flight), &flights->pool);
    if (err != 0) {
        oq_flights_free(flights);
        return err;
    }
    *ret_flights = flights;
    return 0;
}

void oq_flights_free(struct oq_flights *flights)
{
    if (flights == NULL)
        return;
    for (size_t state = 0; state < OQ_FLIGHT_STATES && flights->pool != NULL; state++) {
        struct oq_flight *flight;
        TAILQ_FOREACH(flight, &flights->list[state], in_list)
        oq_record_done(&flight->record);
    }
    ps_pool_free(flights->pool);
    free(flights->bucket);
    free(flights);
}

/* UUIDv7: the last six bytes are random. */
static struct oq_flight **bucket_of(const struct oq_flights *flights, const struct ps_uuid *id)
{
    uint64_t random;
    memcpy(&random, id->byte + 8, sizeof random);
    return &flights->bucket[(random >> 16) & (flights->buckets - 1)];
}

struct oq_flight *oq_flight_take(struct oq_flights *flights, struct oq_record *record,
                                 const struct ps_uuid *id, int64_t now_ns)
{
    struct oq_flight *flight = ps_pool_take(flights->pool);
    if (flight == NULL)
        return NULL;
    struct oq_flight **bucket = bucket_of(flights, id);
    oq_record_copy(&flight->record, record);
    flight->id = *id;
    flight->state = OQ_FLIGHT_SENT;
    flight->reported = false;
    flight->doubt = false;
    flight->began_ns = flight->since_ns = now_ns;
    flight->same_bucket = *bucket;
    *bucket = flight;
    TAILQ_INSERT_TAIL(&flights->list[flight->state], flight, in_list);
    flights->unreported++;
    return flight;
}

void oq_flight_give(struct oq_flights *flights, struct oq_flight *flight)
{
    struct oq_flight **at = bucket_of(flights, &flight->id);
    while (*at != flight)
        at = &(*at)->same_bucket;
    *at = flight->same_bucket;
    TAILQ_REMOVE(&flights->list[flight->state], flight, in_list);
    if (!flight->reported)
        flights->unreported--;
    oq_record_done(&flight->record);
    ps_pool_give(flights->pool, flight);
}

void oq_flight_move(struct oq_flights *flights, struct oq_flight *flight,
                    enum oq_flight_state state, int64_t now_ns)
{
    TAILQ_REMOVE(&flights->list[flight->state], flight, in_list);
    flight->state = state;
    flight->since_ns = now_ns;
    TAILQ_INSERT_TAIL(&flights->list[flight->state], flight, in_list);
}

void oq_flight_set_reported(struct oq_flights *flights, struct oq_flight *flight)
{
    if (!flight->reported)
        flights->unreported--;
    flight->reported = true;
}

void *oq_flight_handle(const struct oq_flights *flights, const struct oq_flight *flight)
{
    return (void *)(uintptr_t)ps_pool_handle(flights->pool, flight);
}

struct oq_flight *oq_flight_at(const struct oq_flights *flights, void *handle)
{
    return ps_pool_find(flights->pool, (uint64_t)(uintptr_t)handle);
}

struct oq_flight *oq_flight_find(const struct oq_flights *flights, const struct ps_uuid *id)
{
    struct oq_flight *flight = *bucket_of(flights, id);
    while (flight != NULL && !ps_uuid_equal(&flight->id, id))
        flight = flight->same_bucket;
    return flight;
}

struct oq_flight *oq_flight_first(const struct oq_flights *flights, enum oq_flight_state state)
{
    return TAILQ_FIRST(&flights->list[state]);
}

size_t oq_flights_count(const struct oq_flights *flights)
{
    return ps_pool_used(flights->pool);
}

size_t oq_flights_unreported(const struct oq_flights *flights)
{
    return flights->unreported;
}

bool oq_flights_full(const struct oq_flights *flights)
{
    return ps_pool_used(flights->pool) == flights->capacity;
}
