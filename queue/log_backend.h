/* What a log backend implements, for log.c and the backends only: the functions of log.h under
 * their own names, with their contract. A backend's struct begins with struct oq_log. */
#ifndef OQ_LOG_BACKEND_H
#define OQ_LOG_BACKEND_H

#include "common/clock.h"
#include "queue/log.h"

/* Waiting, retries and measuring use the real clock: they concern this machine. */
static inline int64_t oq_now_ns(void)
{
    return ps_clock_mono_ns(&ps_clock_system);
}

/* Instead of a partition: that of the record's key. */
#define OQ_BY_KEY UINT32_MAX

struct oq_log_ops {
    int (*append)(struct oq_log *log, uint32_t partition, const struct oq_event *event,
                  const struct oq_ticket *ticket);
    unsigned (*backlog_percent)(const struct oq_log *log);
    bool (*available)(const struct oq_log *log);
    void (*view)(const struct oq_log *log, struct oq_log_view *ret_view);
    void (*stats)(const struct oq_log *log, struct oq_log_stats *ret_stats);
    /* NULL: there is no breaker. */
    void (*breaker)(const struct oq_log *log, struct ps_breaker_view *ret_view);
    void (*force)(struct oq_log *log, const struct ps_breaker_force *force);
    int (*call)(struct oq_log *log, void (*fn)(void *arg), void *arg);
    /* NULL: it knows none. */
    int (*mark)(const struct oq_log *log, uint32_t partition, struct oq_mark *ret_mark);
    int (*close)(struct oq_log *log, int64_t timeout_ms);
    void (*free)(struct oq_log *log);
    int (*reader_new)(struct oq_log *log, struct oq_reader **ret_reader);
};

struct oq_log {
    const struct oq_log_ops *ops;
};

/* A backend's reader begins with struct oq_reader. */
struct oq_reader_ops {
    int (*read)(struct oq_reader *reader, const struct oq_read *read, int64_t *ret_last);
    void (*free)(struct oq_reader *reader);
};

struct oq_reader {
    const struct oq_reader_ops *ops;
    struct ps_fault fault; /* of the last read that failed; all zero: nothing to say */
};

#endif
