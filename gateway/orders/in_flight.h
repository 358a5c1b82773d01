/* The requests of one worker that wait: those that a leaky bucket holds, and those whose order the
 * log has not shown yet. Each has a deadline of its own, so none can be forgotten. One thread. */
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
/* Says whose request it is, before its first call. */
void ord_in_flight_enter(struct ord_in_flight *in_flight, struct ord_request *request);
/* Ends the timers; the loop must turn once more before ord_in_flight_free. */
void ord_in_flight_stop(struct ord_in_flight *in_flight);
void ord_in_flight_free(struct ord_in_flight *in_flight); /* NULL is allowed */

size_t ord_in_flight_held(const struct ord_in_flight *in_flight);
/* The kept request goes on at `until_ns`. PS_E_FULL: the waiting room is full. */
int ord_in_flight_hold(struct ord_request *request, int64_t until_ns, int64_t now_ns) PS_MUST_CHECK;
/* The kept request waits for the log, at most deps.ack_timeout_ms from now on. */
void ord_in_flight_log(struct ord_request *request, int64_t now_ns);
/* When the one that waits longest for the log was appended; 0: none waits. */
int64_t ord_in_flight_oldest_ns(const struct ord_in_flight *in_flight);
/* Takes it off the list of those that wait for the log, if it is there: the log has spoken. */
void ord_in_flight_unlog(struct ord_request *request);
/* Its client has left: nobody waits any more, and its place is free. */
void ord_in_flight_leave(struct ord_request *request);

#endif
