/* The spans of settlement: what became of an order belongs to the trace of the request that made
 * it, however many days later. */
#ifndef ST_TRACING_H
#define ST_TRACING_H

#include "common/otlp/tracer.h"
#include "queue/settle/report.h"
#include "queue/settle/settings.h"

struct st_tracing {
    struct ps_tracer *tracer; /* NULL: off */
    struct ps_span_ids ids;
    char instance[96]; /* of this process */
};

/* After ps_calls_start. `tracing` stays where it is. PS_E_NOMEM. */
int st_tracing_start(struct st_tracing *tracing, const struct st_settings *settings) PS_MUST_CHECK;
/* Sends what is left, for at most a second; st_tracing_report comes after it, too. */
void st_tracing_stop(struct st_tracing *tracing);
void st_tracing_free(struct st_tracing *tracing);

/* A span for each order of a stored batch that has changed and whose record says that its request
 * is traced. The worker's thread. */
void st_tracing_record(struct st_tracing *tracing, const struct st_judge *judge, int64_t began_ns,
                       int64_t ended_ns);
void st_tracing_report(const struct st_tracing *tracing, struct st_report *report);

#endif
