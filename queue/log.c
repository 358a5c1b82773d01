/* The order log's interface: hands each call to the backend that was opened. The contract is in
 * log.h; every backend passes the same contract suite. */
#include "queue/log_backend.h"

int oq_log_append(struct oq_log *log, const struct oq_event *event, const struct oq_ticket *ticket)
{
    return log->ops->append(log, event, ticket);
}

unsigned oq_log_backlog_percent(const struct oq_log *log)
{
    return log->ops->backlog_percent(log);
}

bool oq_log_available(const struct oq_log *log)
{
    return log->ops->available(log);
}

void oq_log_stats(const struct oq_log *log, struct oq_log_stats *ret_stats)
{
    log->ops->stats(log, ret_stats);
}

int oq_log_call(struct oq_log *log, void (*fn)(void *arg), void *arg)
{
    return log->ops->call(log, fn, arg);
}

int oq_log_close(struct oq_log *log, int64_t timeout_ms)
{
    return log->ops->close(log, timeout_ms);
}

void oq_log_free(struct oq_log *log)
{
    if (log != NULL)
        log->ops->free(log);
}

int oq_log_reader_new(struct oq_log *log, struct oq_reader **ret_reader)
{
    return log->ops->reader_new(log, ret_reader);
}
