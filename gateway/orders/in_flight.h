/* The requests of one worker that wait: those that a leaky bucket holds, and those whose order the
 * log does not show yet. Each has a deadline, so none can be forgotten. One thread. */
#ifndef ORD_IN_FLIGHT_H
#define ORD_IN_FLIGHT_H

#include "common/heap.h"
#include "gateway/orders/request.h"

struct ord_in_flight {
    struct ord_deps deps;
    struct ps_heap *held;
    uv_timer_t held_timer;
    TAILQ_HEAD(ord_logging, ord_request)
    logging; /* all wait equally long: the oldest is due first */
    uv_timer_t logging_timer;
};

/* PS_E_NOMEM. */
int ord_in_flight_new(const struct ord_deps *deps,
                      struct ord_in_flight **ret_in_flight) PS_MUST_CHECK;
/* Sets the request's owner; call it before anything else. */
void ord_in_flight_enter(struct ord_in_flight *in_flight, struct ord_request *request);
/* Ends the timers; the loop must turn once more before ord_in_flight_free. */
void ord_in_flight_stop(struct ord_in_flight *in_flight);
void ord_in_flight_free(struct ord_in_flight *in_flight); /* NULL is allowed */

size_t ord_in_flight_held(const struct ord_in_flight *in_flight);
/* Holds the kept request until `until_ns`. PS_E_FULL: no place is free. */
int ord_in_flight_hold(struct ord_request *request, int64_t until_ns, int64_t now_ns) PS_MUST_CHECK;
/* The kept request waits for the log, at most deps.ack_timeout_ms from now on. */
void ord_in_flight_log(struct ord_request *request, int64_t now_ns);
/* When the request that has waited longest for the log was appended; 0: none waits. */
int64_t ord_in_flight_oldest_ns(const struct ord_in_flight *in_flight);
/* Removes it from the list of those that wait for the log, if it is there: its outcome is known. */
void ord_in_flight_unlog(struct ord_request *request);
/* Its client has left: frees its place. */
void ord_in_flight_leave(struct ord_request *request);

#endif
