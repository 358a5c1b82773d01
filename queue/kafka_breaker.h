/* The breaker before Kafka: whether records go there, why not, and what the log's user is told of
 * it, the outcome of opening included. Embedded in the log; its stages are the log's to go through:
 *   AWAY        nothing is sent. Entered when a look fails, all connections are lost, or a record
 *               is not acknowledged in time. The next look that finds all well, the topic's
 *               settings included, leads to
 *   RETURNING   the view reads up to the ends that the look saw: now it is known which records of
 *               unknown outcome are there. The others are sent again; when all have been read back
 *               (which proves that Kafka takes records, and not only questions), the log is
 *   WELL        and takes records, unless its view is behind: it lacks what was acknowledged, or
 *               has not reached an end, for behind_ms.
 * A start is AWAY with nothing in flight. LOST is the end: the topic lacks records that were read.
 */
#ifndef OQ_KAFKA_BREAKER_H
#define OQ_KAFKA_BREAKER_H

#include "queue/log_kafka.h"

#include <stdatomic.h>

enum oq_breaker_stage { OQ_BREAKER_AWAY, OQ_BREAKER_RETURNING, OQ_BREAKER_WELL, OQ_BREAKER_LOST };

enum oq_breaker_opening {
    OQ_BREAKER_OPENING, /* on_state is not called yet */
    OQ_BREAKER_OPEN,    /* was WELL, or has been waited for long enough */
    OQ_BREAKER_REFUSED  /* for its topic, which is known before anybody has waited long enough */
};

struct oq_kafka_breaker {
    /* to be read on the log's thread; only the functions below write */
    enum oq_breaker_stage stage;
    bool was_well;
    int64_t away_ns; /* since when AWAY */
    /* private */
    const struct oq_kafka_settings *settings;
    const struct oq_log_callbacks *on;
    int err;      /* the kind of error that keeps it from being WELL, in words `why` */
    int told_err; /* as on_state was told; 0 = available */
    char why[640];
    _Atomic(enum oq_log_state) state;
    _Atomic(enum oq_breaker_opening) opening;
    struct ps_fault refusal; /* when REFUSED */
    int opened;              /* eventfd: no longer OPENING */
};

/* Settings and callbacks live longer. PS_E_IO: no descriptor; done may be called all the same. */
int oq_kafka_breaker_init(struct oq_kafka_breaker *breaker,
                          const struct oq_kafka_settings *settings,
                          const struct oq_log_callbacks *on) PS_MUST_CHECK;
void oq_kafka_breaker_done(struct oq_kafka_breaker *breaker);

/* Any thread, relaxed. */
enum oq_log_state oq_kafka_breaker_state(const struct oq_kafka_breaker *breaker);

/* Waits until the log was WELL once, or that long: then it is open all the same. PS_E_INVALID: it
 * was refused, `fault` says why. On the thread that opens. */
int oq_kafka_breaker_wait(struct oq_kafka_breaker *breaker, int64_t timeout_ms,
                          struct ps_fault *fault) PS_MUST_CHECK;

/* --- The log's thread; on_state is called from all of these when what it was told has changed. */

/* Away, for this reason. True: it was not away before. Nothing brings a LOST one back. */
bool oq_kafka_breaker_trip(struct oq_kafka_breaker *breaker, const struct ps_fault *why, int err);
/* A look has found all well; only while AWAY. */
void oq_kafka_breaker_return(struct oq_kafka_breaker *breaker);
/* All that was sent has been read back; only while RETURNING. The first time opens the log. */
void oq_kafka_breaker_mend(struct oq_kafka_breaker *breaker);
void oq_kafka_breaker_lose(struct oq_kafka_breaker *breaker, const struct ps_fault *why, int err);
/* Ends the wait for an open log by PS_E_INVALID, if it still lasts. */
void oq_kafka_breaker_refuse(struct oq_kafka_breaker *breaker, const struct ps_fault *why);
/* Often: is what was written not read back in time? It counts while WELL. */
void oq_kafka_breaker_tell(struct oq_kafka_breaker *breaker, bool behind);
/* The log's thread ends: CLOSED from now on, and nobody is told. */
void oq_kafka_breaker_end(struct oq_kafka_breaker *breaker);

#endif
