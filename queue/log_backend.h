/* What a log backend implements, for log.c and the backends only: the functions of log.h under
 * their own names, with their contract. A backend's struct begins with struct oq_log. */
#ifndef OQ_LOG_BACKEND_H
#define OQ_LOG_BACKEND_H

#include "queue/log.h"

struct oq_log_ops {
    int (*append)(struct oq_log *log, const struct oq_event *event, const struct oq_ticket *ticket);
    unsigned (*backlog_percent)(const struct oq_log *log);
    bool (*available)(const struct oq_log *log);
    void (*stats)(const struct oq_log *log, struct oq_log_stats *ret_stats);
    int (*call)(struct oq_log *log, void (*fn)(void *arg), void *arg);
    int (*close)(struct oq_log *log, int64_t timeout_ms);
    void (*free)(struct oq_log *log);
    int (*reader_new)(struct oq_log *log, struct oq_reader **ret_reader);
};

struct oq_log {
    const struct oq_log_ops *ops;
};

#endif
