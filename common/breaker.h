/* A circuit breaker before one service. It only counts and decides; the caller makes the calls and
 * says how they went.
 *
 *   CLOSED     calls go through. A trip, or `strikes_max` strikes in a row, opens it.
 *   OPEN       nothing goes through, for a pause that doubles with each opening in a row.
 *   HALF_OPEN  the pause is over, or the caller probes by other means: one call at a time goes
 *              through. One that succeeds closes it, a strike opens it again.
 *
 * One thread. */
#ifndef PS_BREAKER_H
#define PS_BREAKER_H

#include "common/clock.h"

enum ps_breaker_state { PS_BREAKER_CLOSED, PS_BREAKER_OPEN, PS_BREAKER_HALF_OPEN };

struct ps_breaker_settings {
    unsigned strikes_max; /* >= 1 */
    /* The first pause and the longest. Each is half of it to all of it, at random, so that many
     * callers do not come back together. */
    int64_t pause_min_ms, pause_max_ms;
};

struct ps_breaker {
    /* to be read; only the functions below write */
    enum ps_breaker_state state;
    int64_t opened_ns; /* monotonic: when it opened last */
    /* private */
    struct ps_breaker_settings settings;
    const struct ps_clock *clock;
    unsigned strikes;  /* in a row */
    unsigned openings; /* since the last success */
    int64_t until_ns;  /* OPEN: the end of the pause */
};

/* Begins CLOSED. `clock` must outlive it; sodium_init() has been called. */
void ps_breaker_init(struct ps_breaker *breaker, const struct ps_breaker_settings *settings,
                     const struct ps_clock *clock);

/* May a call go now, while `in_flight` others are under way? */
bool ps_breaker_admits(struct ps_breaker *breaker, size_t in_flight) PS_MUST_CHECK;
/* What is left of the pause; 0 unless OPEN. */
int64_t ps_breaker_pause_ms(const struct ps_breaker *breaker);

/* The service works: CLOSED, and the next pause is the shortest again. */
void ps_breaker_succeed(struct ps_breaker *breaker);
/* A call has failed. True: it is OPEN now. */
bool ps_breaker_strike(struct ps_breaker *breaker);
/* The service is out of reach: OPEN. False: it was OPEN already, and its pause stays. */
bool ps_breaker_trip(struct ps_breaker *breaker);
/* HALF_OPEN without waiting for the end of the pause. */
void ps_breaker_probe(struct ps_breaker *breaker);
/* CLOSED because the service can be reached again, which does not prove that calls succeed: the
 * next pause grows all the same. */
void ps_breaker_close(struct ps_breaker *breaker);

#endif
