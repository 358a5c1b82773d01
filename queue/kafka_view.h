/* The reading half of the Kafka log: follows every partition of the topic from its start, or from
 * marks that are given, without a consumer group, and makes sure that it continues to read the log
 * that it has begun. Belongs to the log's thread. */
#ifndef OQ_KAFKA_VIEW_H
#define OQ_KAFKA_VIEW_H

#include "queue/kafka_watch.h"
#include "queue/log_mark.h"

struct oq_kafka_view;

/* `wakeup` (an eventfd) is signalled when there may be something to read. `config` lives longer;
 * the marks of its settings are copied. */
int oq_kafka_view_new(const struct oq_kafka_config *config, int wakeup,
                      struct oq_kafka_view **ret_view, struct ps_fault *fault) PS_MUST_CHECK;
/* The view was created with marks: called once, before the first message goes to `fn`, with whether
 * the topic has the marked records; `why` says why not. The view then passes on what follows them,
 * or everything. A negative result ends the call and is returned. */
typedef int oq_kafka_marks_fn(bool fits, const char *why, void *ctx);
void oq_kafka_view_on_marks(struct oq_kafka_view *view, oq_kafka_marks_fn *fn, void *ctx);
void oq_kafka_view_free(struct oq_kafka_view *view); /* NULL is allowed */

/* Takes a look that found no error: follows new partitions from now on, and the look's ends are
 * what the view must reach next, unless it has not yet reached those of an earlier look; `afresh`:
 * in any case. A view that has stopped continues with a full look that began later. PS_E_CORRUPT:
 * the topic does not hold what was read from it; `fault` says so. PS_E_IO: a partition cannot be
 * followed. */
int oq_kafka_view_take(struct oq_kafka_view *view, const struct oq_kafka_look *look, bool afresh,
                       struct ps_fault *fault) PS_MUST_CHECK;

/* Passes what has arrived to `fn`, one limited group. Returns how much was done, or PS_E_CORRUPT: a
 * partition has lost records that were not read yet, or does not hold those that were. A negative
 * result of `fn` ends it and is returned. */
typedef int oq_kafka_message_fn(const rd_kafka_message_t *message, void *ctx);
int oq_kafka_view_read(struct oq_kafka_view *view, oq_kafka_message_fn *fn, void *ctx,
                       struct ps_fault *fault) PS_MUST_CHECK;

/* Stops: nothing more goes to `fn` before a full look that begins from now on was taken, and every
 * partition shows its last record again. The view also does this by itself. */
void oq_kafka_view_doubt(struct oq_kafka_view *view);
/* When it began to need a full look; 0 = it needs none. */
int64_t oq_kafka_view_doubt_ns(const struct oq_kafka_view *view);

/* Has it read up to the ends of the look that it took? When that look began. */
bool oq_kafka_view_reached(const struct oq_kafka_view *view);
int64_t oq_kafka_view_look_ns(const struct oq_kafka_view *view);
/* While it has not: since when it should. */
int64_t oq_kafka_view_waits_ns(const struct oq_kafka_view *view);
/* Records behind the ends of the latest look. */
uint64_t oq_kafka_view_lag(const struct oq_kafka_view *view);
/* The last record of the partition that `fn` got before the present group, or that of the given
 * marks; PS_E_NOT_FOUND: none yet, or it is unknown yet whether those fit. */
int oq_kafka_view_mark(const struct oq_kafka_view *view, uint32_t partition,
                       struct oq_mark *ret_mark) PS_MUST_CHECK;

#endif
