/* The order log's interface: passes each call to the backend that was opened. The contract is in
 * log.h; every backend passes the same contract suite. */
#include "queue/log_backend.h"

int oq_log_append(struct oq_log *log, const struct oq_event *event, const struct oq_ticket *ticket)
{
    return log->ops->append(log, OQ_BY_KEY, event, ticket);
}

int oq_log_append_to(struct oq_log *log, uint32_t partition, const struct oq_event *event,
                     const struct oq_ticket *ticket)
{
    if (partition >= oq_log_partitions(log))
        return PS_E_INVALID;
    return log->ops->append(log, partition, event, ticket);
}

uint32_t oq_log_partitions(const struct oq_log *log)
{
    struct oq_log_view view;

    log->ops->view(log, &view);
    return view.partitions;
}

unsigned oq_log_backlog_percent(const struct oq_log *log)
{
    return log->ops->backlog_percent(log);
}

bool oq_log_available(const struct oq_log *log)
{
    return log->ops->available(log);
}

void oq_log_view(const struct oq_log *log, struct oq_log_view *ret_view)
{
    log->ops->view(log, ret_view);
}

void oq_log_stats(const struct oq_log *log, struct oq_log_stats *ret_stats)
{
    log->ops->stats(log, ret_stats);
}

bool oq_log_breaker(const struct oq_log *log, struct ps_breaker_view *ret_view)
{
    if (log->ops->breaker == NULL)
        return false;
    log->ops->breaker(log, ret_view);
    return true;
}

void oq_log_force(struct oq_log *log, const struct ps_breaker_force *force)
{
    if (log->ops->force != NULL)
        log->ops->force(log, force);
}

int oq_log_call(struct oq_log *log, void (*fn)(void *arg), void *arg)
{
    return log->ops->call(log, fn, arg);
}

int oq_log_mark(const struct oq_log *log, uint32_t partition, struct oq_mark *ret_mark)
{
    return log->ops->mark != NULL ? log->ops->mark(log, partition, ret_mark) : PS_E_NOT_FOUND;
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

int oq_reader_read(struct oq_reader *reader, const struct oq_read *read, int64_t *ret_last)
{
    return reader->ops->read(reader, read, ret_last);
}

const char *oq_reader_why(const struct oq_reader *reader)
{
    return reader->fault.text;
}

void oq_reader_free(struct oq_reader *reader)
{
    if (reader != NULL)
        reader->ops->free(reader);
}
