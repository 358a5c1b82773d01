/* The circuit breakers before pools and their endpoints (common/breaker.h): each worker has a
 * circuit of its own, shows it on a board each 100 ms, and obeys what operators have ordered.
 *
 * An endpoint's opens for what shows that the endpoint does not serve: no connection, no answer in
 * time, what is no HTTP. An answer of 500 is not that: whether an endpoint that answers so is left
 * out is for outlier.h to judge, with a bound on how many of a pool are. A pool's opens for every
 * failure, those answers too: then its routes fall back. */
#ifndef UP_CIRCUIT_H
#define UP_CIRCUIT_H

#include "common/board.h"
#include "common/breaker.h"

/* Both open when half of at least 20 requests within 10 s have failed: not for some in a row, which
 * come together at the end of a burst that was too much. An endpoint's pauses for 0.5 s, doubled up
 * to 10 s, and is probed by one request; a pool's for 0.5 to 5 s, and by three. */
extern const struct ps_breaker_settings up_circuit_of_endpoint, up_circuit_of_pool;

/* One worker's. */
struct up_circuit {
    struct ps_breaker breaker; /* the worker's alone */
    uint64_t obeyed;           /* id of the last order */
    const char *why;           /* literal: the last failure; NULL: none */
    bool counted;              /* something, since it was shown */
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

/* May a request go now, while so many others are under way? */
static inline bool up_circuit_admits(struct up_circuit *circuit, int64_t in_flight)
{
    return ps_breaker_admits(&circuit->breaker, in_flight > 0 ? (size_t)in_flight : 0);
}
void up_circuit_succeed(struct up_circuit *circuit, int64_t took_ns);
/* `why` is a literal. */
void up_circuit_fail(struct up_circuit *circuit, int64_t took_ns, const char *why);
/* Each 100 ms: obeys, and shows. */
void up_circuit_tick(struct up_circuit *circuit, const struct up_circuit_order *order);

/* --- Other threads. --- */

void up_circuit_read(const struct up_circuit *circuit, struct ps_breaker_view *ret_view);
/* The control thread. */
void up_circuit_order(struct up_circuit_order *order, const struct ps_breaker_force *force);

#endif
