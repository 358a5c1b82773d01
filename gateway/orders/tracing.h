/* Which requests of one worker are traced, and the ids of their spans. */
#ifndef ORD_TRACING_H
#define ORD_TRACING_H

#include "common/otlp/tracer.h"

struct ord_request;

/* One in so many is traced; 0: none. */
struct ord_tracing_rules {
    int64_t accepted_one_in, refused_one_in, other_one_in;
    bool follow_sampled; /* what a trusted proxy has sampled is traced */
};

struct ord_tracing {
    struct ps_tracer *tracer;
    size_t producer; /* the worker */
    struct ps_span_ids ids;
    struct ord_tracing_rules rules;
};

/* A traced request: its steps' times are of the monotonic clock, 0: it did not come so far. */
struct ord_trace {
    bool is_chosen;           /* before its answer, because its order's record names it */
    struct ps_traceparent is; /* once chosen: its trace, and the id of its span */
    uint8_t parent[8];        /* all zero: none */
    int64_t reserved_ns, durable_ns, shown_ns;
};

/* Chooses the request, and gives it its ids: it continues the trace of a valid traceparent. */
void ord_tracing_choose(struct ord_tracing *tracing, struct ps_str traceparent,
                        struct ord_trace *ret_trace);
/* A proxy has sampled it, and the settings follow it. */
bool ord_tracing_follows(const struct ord_tracing *tracing, struct ps_str traceparent);
/* Before an order's record: chooses the request if its acceptance is to be traced. A chosen one
 * returns the traceparent of its own span, in `memory`; else .at is NULL. */
struct ps_str ord_tracing_of_order(struct ord_request *request,
                                   char memory[PS_TRACEPARENT_LEN + 1]);

#endif
