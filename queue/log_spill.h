/* The order log in Kafka with a file beside it: while Kafka is away, accepted orders wait in the
 * file, durably, and go to Kafka when it is back.
 *
 * It is a log by the contract of log.h, and Kafka's for all but accepted records. What differs:
 *  - an accepted record that is appended while Kafka is away, or was on its way and is surely not
 *    in Kafka, is SPILLED once it is on the disk; REFUSED when the disk does not take it. One that
 *    may be in Kafka is UNKNOWN as without a spill, and Kafka's to send again.
 *  - while Kafka is away and the spill is full, an append is PS_E_FULL; while the file cannot be
 *    written, PS_E_CLOSED. oq_log_backlog_percent is then how full the spill is, if that is more
 *    than the input queue, so that a caller that asks for it first leaves the stock alone.
 *  - oq_log_available: does it take accepted records now? It may be true while Kafka is away. All
 *    other records (confirmed, released, adjusted, fenced) wait for Kafka: their append is
 *    PS_E_CLOSED. Their writers ask beforehand: the state of oq_log_view, like on_state, is
 *    Kafka's alone, and only a log that is WELL takes them.
 *  - nothing is spilled before the view was complete once: a log that opens while Kafka is away is
 *    not available.
 *  - when Kafka is back the spill is drained in its order, beside new records, also by the next
 *    process that opens the file. A record whose epoch is over is closed by released{rejected}
 *    instead. It leaves the file only when on_record has shown the order decided; a file that
 *    cannot be written holds up neither the drain nor the count of what is spilled. */
#ifndef OQ_LOG_SPILL_H
#define OQ_LOG_SPILL_H

#include "queue/log_kafka.h"

struct oq_spill_settings {
    const char *path;   /* "…/spill.db"; "<path>.lock" is held with flock while open */
    size_t records_max; /* at least 1. Records on their way to the file may exceed it */
    int64_t retry_ms;   /* how often a file that cannot be written is tried again: 200 */
    const char *vfs;    /* NULL = SQLite's default (tests pass a faulty one) */
    const struct oq_kafka_settings *kafka; /* its `spill` is not looked at */
};

/* The owner in the tickets of the spill's own appends; no other ticket has this owner. */
#define OQ_SPILL_OWNER UINT32_MAX

/* Opens or creates the file, then opens Kafka as oq_kafka_open does, with its errors. Of the file:
 * PS_E_BUSY: another process holds its lock. PS_E_NEWER: made by a newer version. PS_E_CORRUPT:
 * torn, or no spill. PS_E_READ_ONLY, PS_E_PERMISSION, PS_E_IO, PS_E_NOMEM; PS_E_INVALID: a setting.
 * `fault` (NULL is allowed) says what is wrong and what to do. */
int oq_spill_open(const struct oq_spill_settings *settings,
                  const struct oq_log_callbacks *callbacks, struct oq_log **ret_log,
                  struct ps_fault *fault) PS_MUST_CHECK;

#endif
