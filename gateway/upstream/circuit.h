/* The circuit breakers of pools and endpoints (common/breaker.h). Each worker has a circuit of its
 * own; every 100 ms it publishes the state on a board and reads what operators have ordered.
 *
 * An endpoint's circuit opens when the endpoint does not serve: no connection, no answer in time,
 * an answer that is no HTTP. An answer of 500 does not open it: outlier.h judges those, and limits
 * how many endpoints of a pool are left out. A pool's circuit opens for every failure, including
 * answers of 500 as far as sample.h counts them: then its routes use their fallbacks.
 *
 * A half-open circuit is probed by requests. The client and the path of a bad one are not taken for
 * probes, and open it no more, for UP_SUSPECT_S: nobody can hold it open. A pool with health checks
 * is probed by its health path instead (probe.c). */
#ifndef UP_CIRCUIT_H
#define UP_CIRCUIT_H

#include "common/board.h"
#include "common/breaker.h"
#include "gateway/upstream/sample.h"

/* Both open when half of at least 20 requests within 10 s have failed. Failures in a row do not
 * count, since they come together at the end of a burst that was too large. An endpoint's circuit
 * pauses for 0.5 s, doubled up to 10 s, and one request probes it; a pool's pauses for 0.5 to 5 s,
 * and three requests probe it. */
extern const struct ps_breaker_settings up_circuit_of_endpoint, up_circuit_of_pool;

/* One worker's circuit. */
struct up_circuit {
    struct ps_breaker breaker; /* the worker's alone */
    uint64_t obeyed;           /* id of the last order */
    const char *why;           /* literal: the last failure; NULL: none */
    bool counted;              /* something was counted since the last publication */
    struct up_marks suspects;  /* who has probed it badly */
    struct ps_board board;     /* struct ps_breaker_view */
};

/* What the control thread has ordered of all circuits of a pool or an endpoint. */
struct up_circuit_order {
    _Atomic(uint64_t) id;
    struct ps_board board; /* struct ps_breaker_force */
};

void up_circuit_init(struct up_circuit *circuit, const struct ps_breaker_settings *settings,
                     const struct ps_clock *clock);

/* --- The worker. --- */

/* May a request go now, while so many others are under way? `who` NULL: anybody's. */
bool up_circuit_admits(struct up_circuit *circuit, int64_t in_flight, const struct up_who *who);
/* Is what it admits a probe? */
static inline bool up_circuit_is_half_open(const struct up_circuit *circuit)
{
    return circuit->breaker.state == PS_BREAKER_HALF_OPEN &&
           circuit->breaker.force.order == PS_BREAKER_FREE;
}
/* The same without an effect. */
static inline bool up_circuit_would_admit(const struct up_circuit *circuit, int64_t in_flight)
{
    return ps_breaker_would_admit(&circuit->breaker, in_flight > 0 ? (size_t)in_flight : 0);
}
/* A request of `who` has ended; NULL: a probe that always counts. */
void up_circuit_count(struct up_circuit *circuit, const struct up_met *met,
                      const struct up_who *who);
/* Each 100 ms: obeys, and shows. */
void up_circuit_tick(struct up_circuit *circuit, const struct up_circuit_order *order);

/* --- Other threads. --- */

void up_circuit_read(const struct up_circuit *circuit, struct ps_breaker_view *ret_view);
/* The control thread. */
void up_circuit_order(struct up_circuit_order *order, const struct ps_breaker_force *force);

#endif
