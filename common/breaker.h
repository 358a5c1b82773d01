/* A circuit breaker before one service. It only counts and decides; the caller makes the calls and
 * reports their results.
 *
 *   CLOSED     calls go through. A trip opens it, and so do the calls of the window: too many
 *              failures in a row, too large a share of failures, or of slow calls.
 *   OPEN       nothing goes through, for a pause that doubles with each opening in a row.
 *   HALF_OPEN  the pause is over, or the caller probes by other means: a few calls, the probes, go
 *              through. When all have been good it closes; one that is not opens it again.
 *
 * A *trip* is a fact (the server cannot be reached); the window's verdict is a judgement. An
 * override forces the breaker: forced open, nothing goes through; forced closed, no judgement opens
 * it, but a trip still does, because no override makes a server reachable.
 *
 * Window, shares, minimum of calls and forced states are those of resilience4j (its documentation,
 * "CircuitBreaker": slidingWindowSize, failureRateThreshold, slowCallRateThreshold,
 * slowCallDurationThreshold, minimumNumberOfCalls, permittedNumberOfCallsInHalfOpenState,
 * FORCED_OPEN); failures in a row are Envoy's consecutive_5xx (outlier detection); that all probes
 * must be good is Hystrix's and gobreaker's rule; the pause is "equal jitter" of Brooker,
 * "Exponential Backoff And Jitter" (2015).
 *
 * One thread. */
#ifndef PS_BREAKER_H
#define PS_BREAKER_H

#include "common/clock.h"

enum ps_breaker_state { PS_BREAKER_CLOSED, PS_BREAKER_OPEN, PS_BREAKER_HALF_OPEN };
#define PS_BREAKER_STATES 3
/* "closed", "open", "half_open"; by state. */
extern const char *const ps_breaker_state_names[];

/* 0 turns a setting off. */
struct ps_breaker_settings {
    /* The window: calls that ended within `window_ms`, and of these the last `window_calls` (0: all
     * of them). Both are kept to a tenth. 0 ms: no window, and no shares. */
    int64_t window_ms;
    unsigned window_calls;
    unsigned calls_min;       /* with fewer calls in the window, shares are not judged */
    unsigned failure_percent; /* this share of failures opens it */
    unsigned slow_percent;    /* this share of slow calls opens it */
    int64_t slow_ms;          /* a call that takes this long is slow */
    unsigned failures_in_row; /* this many open it, however few calls there are */
    unsigned probes;          /* good probes that close it; 0 counts as 1 */
    /* The first pause and the longest. Each is half to all of it, at random, so that many callers
     * do not come back together. */
    int64_t pause_min_ms, pause_max_ms;
};

enum ps_breaker_order { PS_BREAKER_FREE, PS_BREAKER_FORCED_OPEN, PS_BREAKER_FORCED_CLOSED };

/* An operator's override; `id` grows with each override. */
struct ps_breaker_force {
    enum ps_breaker_order order;
    uint64_t id;
};

#define PS_BREAKER_SLOTS 10
#define PS_BREAKER_WHY   320

struct ps_breaker_slot {
    int64_t begin_ns; /* of its first call */
    uint32_t calls, failures, slow;
};

/* Its state, for others to read. */
struct ps_breaker_view {
    enum ps_breaker_state state; /* OPEN also while it is forced open */
    int64_t since_ns;            /* when it last closed, or stopped being closed; monotonic */
    struct ps_breaker_force force;
    uint32_t calls, failures, slow; /* of the window */
    uint64_t openings;              /* since the start, without those by an operator */
    char why[PS_BREAKER_WHY];       /* its owner fills it; "" = no reason */
};

struct ps_breaker {
    /* to be read; only the functions below write */
    enum ps_breaker_state state; /* without the operator's force */
    int64_t opened_ns;           /* monotonic: when it opened last */
    /* private */
    struct ps_breaker_settings settings;
    const struct ps_clock *clock;
    struct ps_breaker_force force;
    int64_t since_ns, until_ns; /* CLOSED or not; OPEN: the end of the pause */
    unsigned row;               /* of failures */
    unsigned good;              /* calls since it was opened or half opened last */
    unsigned openings;          /* in a row: with fewer than calls_min good calls in between */
    uint64_t openings_total;
    size_t slot; /* that is being filled */
    struct ps_breaker_slot slots[PS_BREAKER_SLOTS];
};

/* Begins CLOSED. `clock` must outlive it; sodium_init() has been called. */
void ps_breaker_init(struct ps_breaker *breaker, const struct ps_breaker_settings *settings,
                     const struct ps_clock *clock);

/* May a call be made now, while `in_flight` others are in progress? */
bool ps_breaker_admits(struct ps_breaker *breaker, size_t in_flight) PS_MUST_CHECK;
/* The same without an effect: a pause that is over is not ended by this. */
bool ps_breaker_would_admit(const struct ps_breaker *breaker, size_t in_flight) PS_MUST_CHECK;
/* The rest of the pause; 0 unless OPEN. */
int64_t ps_breaker_pause_ms(const struct ps_breaker *breaker);

/* A call has ended after `took_ns`, successfully or not. True: this has opened the breaker. */
bool ps_breaker_succeed(struct ps_breaker *breaker, int64_t took_ns);
bool ps_breaker_fail(struct ps_breaker *breaker, int64_t took_ns);
/* The service is out of reach, which counts as a failed call: OPEN. False: it was OPEN already, and
 * its pause stays. */
bool ps_breaker_trip(struct ps_breaker *breaker);
/* HALF_OPEN without waiting for the end of the pause. */
void ps_breaker_probe(struct ps_breaker *breaker);
/* CLOSED because the service can be reached again, which does not prove that calls succeed: the
 * next pause grows all the same. */
void ps_breaker_close(struct ps_breaker *breaker);

/* Replaces the previous override. */
void ps_breaker_force(struct ps_breaker *breaker, const struct ps_breaker_force *force);
/* Fills everything but `why`, which becomes "". */
void ps_breaker_show(struct ps_breaker *breaker, struct ps_breaker_view *ret_view);

#endif
