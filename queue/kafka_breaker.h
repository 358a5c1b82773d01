/* The breaker before Kafka: whether records go there, why not, and what is reported of it, the
 * outcome of opening included. Embedded in the log, which moves its circuit (common/breaker.h):
 *  - open: nothing is sent. Entered when a look fails, all connections are lost, a record is not
 *    acknowledged in time, or an operator forces it open. The next look that finds all well, the
 *    topic's settings included, makes it half open.
 *  - half open: the view reads up to the ends that the look saw. Then it is known which records of
 *    unknown outcome are there; the others are sent again. When all have been read back, the
 *    circuit closes: this proves that Kafka takes records, and not only questions.
 *  - closed: the log takes records, unless its view is behind: it lacks what was acknowledged, or
 *    has not reached an end, for behind_ms.
 * A start is open with nothing in flight. `mismatch`: what Kafka holds is not what was read from
 * it, so the log is CLOSED, not AWAY, until the circuit closes again. `lost` is the end: a record
 * could not be kept, and the circuit stays open.
 *
 * One failure opens it, so no shares are judged, and looks come at their own pace, so there is no
 * pause. That a record was not acknowledged trips it, since its outcome must be read back before
 * more is sent; a look that fails and lost connections are judgements, which forced closed does not
 * follow. Slow acknowledgements only show in the window: records that are too late are not
 * acknowledged, and a view that is too late is behind. */
#ifndef OQ_KAFKA_BREAKER_H
#define OQ_KAFKA_BREAKER_H

#include "common/board.h"
#include "common/breaker.h"
#include "queue/log_kafka.h"

#include <stdatomic.h>

enum oq_breaker_opening {
    OQ_BREAKER_OPENING, /* on_state is not called yet */
    OQ_BREAKER_OPEN,    /* it was closed, or the wait was long enough */
    OQ_BREAKER_REFUSED  /* because of its topic, before the wait was over */
};

struct oq_kafka_breaker {
    /* to be read on the log's thread; only the functions below write */
    struct ps_breaker circuit;
    bool was_well, mismatch, lost;
    /* private */
    const struct oq_kafka_settings *settings;
    const struct oq_log_callbacks *on;
    int err;          /* the error that keeps the circuit from closing, in words `why` */
    int reported_err; /* as reported to on_state; 0 = available */
    char why[640];
    _Atomic(enum oq_log_state) state;
    _Atomic(enum oq_breaker_opening) opening;
    struct ps_fault refusal; /* when REFUSED */
    int opened;              /* eventfd: no longer OPENING */
    struct ps_board force;   /* struct ps_breaker_force: the last order */
    struct ps_board view;    /* struct ps_breaker_view */
    int64_t shown_ns;        /* when that was written, and with what */
    uint64_t shown_force;
    int shown_err;
};

/* Settings and callbacks live longer. PS_E_IO: no descriptor; done may be called all the same. */
int oq_kafka_breaker_init(struct oq_kafka_breaker *breaker,
                          const struct oq_kafka_settings *settings,
                          const struct oq_log_callbacks *on) PS_MUST_CHECK;
void oq_kafka_breaker_done(struct oq_kafka_breaker *breaker);

/* Any thread, relaxed. */
enum oq_log_state oq_kafka_breaker_state(const struct oq_kafka_breaker *breaker);
/* Any thread. */
void oq_kafka_breaker_view(const struct oq_kafka_breaker *breaker,
                           struct ps_breaker_view *ret_view);
/* One thread; the log's thread obeys in oq_kafka_breaker_obey. */
void oq_kafka_breaker_force(struct oq_kafka_breaker *breaker, const struct ps_breaker_force *force);

/* Waits until the circuit was closed once, or for this long: then it is open all the same.
 * PS_E_INVALID: it was refused, `fault` says why. On the opening thread. */
int oq_kafka_breaker_wait(struct oq_kafka_breaker *breaker, int64_t timeout_ms,
                          struct ps_fault *fault) PS_MUST_CHECK;

/* --- The log's thread; on_state is called from all of these when what was reported to it has
 * changed. */

/* Opens the circuit, for this reason. True: it was not open before. A lost one stays open, and a
 * mismatch remains the reason while it lasts. */
bool oq_kafka_breaker_trip(struct oq_kafka_breaker *breaker, const struct ps_fault *why, int err);
/* The same for judgements, which "forced closed" ignores. */
bool oq_kafka_breaker_fail(struct oq_kafka_breaker *breaker, const struct ps_fault *why, int err);
/* A group of records has been read back after `took_ns`: only counted. */
void oq_kafka_breaker_succeed(struct oq_kafka_breaker *breaker, int64_t took_ns);
/* Is it open, and not by an operator? */
bool oq_kafka_breaker_may_return(struct oq_kafka_breaker *breaker);
/* A look has found everything well; only while it may return. */
void oq_kafka_breaker_return(struct oq_kafka_breaker *breaker);
/* Everything sent has been read back; only while it is half open. The first time opens the log. */
void oq_kafka_breaker_mend(struct oq_kafka_breaker *breaker);
void oq_kafka_breaker_mismatch(struct oq_kafka_breaker *breaker, const struct ps_fault *why,
                               int err);
void oq_kafka_breaker_lose(struct oq_kafka_breaker *breaker, const struct ps_fault *why, int err);
/* Ends the wait for an open log by PS_E_INVALID, if it still lasts. */
void oq_kafka_breaker_refuse(struct oq_kafka_breaker *breaker, const struct ps_fault *why);
/* Call it often: is what was written not read back in time? It counts while the circuit is closed.
 * Updates the view. */
void oq_kafka_breaker_report(struct oq_kafka_breaker *breaker, bool behind);
/* Call it often: obeys the last order. True: that has opened the circuit. */
bool oq_kafka_breaker_obey(struct oq_kafka_breaker *breaker);
/* The log's thread ends: CLOSED from now on, and nothing is reported. */
void oq_kafka_breaker_end(struct oq_kafka_breaker *breaker);

#endif
