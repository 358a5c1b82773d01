/* Records in flight: a pool of places, a list for each state in the order in which they came into
 * it, and a hash table by event id, whose bits are random already. */
#include "queue/kafka_flight.h"
#include "common/pool.h"

#include <stdlib.h>
#include <string.h>

struct list {
    struct oq_flight *first, *last;
};

struct oq_flights {
    struct ps_pool *pool;
    size_t capacity, untold;
    struct list list[OQ_FLIGHT_STATES];
    size_t buckets; /* a power of two */
    struct oq_flight **bucket;
};

int oq_flights_new(size_t capacity, struct oq_flights **ret_flights)
{
    struct oq_flights *flights = calloc(1, sizeof *flights);
    if (flights == NULL)
        return PS_E_NOMEM;
    flights->capacity = capacity;
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

static void append_flight(struct oq_flights *flights, struct oq_flight *flight)
{
    struct list *list = &flights->list[flight->state];
    flight->next = NULL;
    flight->previous = list->last;
    if (list->last != NULL)
        list->last->next = flight;
    else
        list->first = flight;
    list->last = flight;
}

static void unlink_from_list(struct oq_flights *flights, struct oq_flight *flight)
{
    struct list *list = &flights->list[flight->state];
    if (flight->previous != NULL)
        flight->previous->next = flight->next;
    else
        list->first = flight->next;
    if (flight->next != NULL)
        flight->next->previous = flight->previous;
    else
        list->last = flight->previous;
}

struct oq_flight *oq_flight_take(struct oq_flights *flights, const struct oq_record *record,
                                 const struct ps_uuid *id, int64_t now_ns)
{
    struct oq_flight *flight = ps_pool_take(flights->pool);
    if (flight == NULL)
        return NULL;
    struct oq_flight **bucket = bucket_of(flights, id);
    oq_record_copy(&flight->record, record);
    flight->id = *id;
    flight->state = OQ_FLIGHT_SENT;
    flight->told = false;
    flight->doubt = false;
    flight->began_ns = flight->since_ns = now_ns;
    flight->same_bucket = *bucket;
    *bucket = flight;
    append_flight(flights, flight);
    flights->untold++;
    return flight;
}

void oq_flight_give(struct oq_flights *flights, struct oq_flight *flight)
{
    struct oq_flight **at = bucket_of(flights, &flight->id);
    while (*at != flight)
        at = &(*at)->same_bucket;
    *at = flight->same_bucket;
    unlink_from_list(flights, flight);
    if (!flight->told)
        flights->untold--;
    ps_pool_give(flights->pool, flight);
}

void oq_flight_move(struct oq_flights *flights, struct oq_flight *flight,
                    enum oq_flight_state state, int64_t now_ns)
{
    unlink_from_list(flights, flight);
    flight->state = state;
    flight->since_ns = now_ns;
    append_flight(flights, flight);
}

void oq_flight_set_told(struct oq_flights *flights, struct oq_flight *flight)
{
    if (!flight->told)
        flights->untold--;
    flight->told = true;
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
    return flights->list[state].first;
}

size_t oq_flights_count(const struct oq_flights *flights)
{
    return ps_pool_used(flights->pool);
}

size_t oq_flights_untold(const struct oq_flights *flights)
{
    return flights->untold;
}

bool oq_flights_full(const struct oq_flights *flights)
{
    return ps_pool_used(flights->pool) == flights->capacity;
}
