/* An order that is about to be appended is as good as accepted, so its lot is drawn then: its
 * record has the traceparent of its span, which settlement continues days later. What happens to
 * others is known with their answer. */
#include "gateway/orders/tracing.h"

#include "gateway/admission/limits/watches.h"
#include "gateway/orders/request.h"

#include <string.h>

void ord_tracing_choose(struct ord_tracing *tracing, struct ps_str traceparent,
                        struct ord_trace *ret_trace)
{
    struct ord_trace *trace = ret_trace;

    if (ps_traceparent_parse(traceparent, &trace->is) == 0)
        memcpy(trace->parent, trace->is.span, sizeof trace->parent);
    else
        ps_span_ids_trace(&tracing->ids, trace->is.trace);
    ps_span_ids_next(&tracing->ids, trace->is.span);
    trace->is.flags = PS_TRACE_SAMPLED;
    trace->is_chosen = true;
}

bool ord_tracing_follows(const struct ord_tracing *tracing, struct ps_str traceparent)
{
    struct ps_traceparent parent;

    return tracing->rules.follow_sampled && ps_traceparent_parse(traceparent, &parent) == 0 &&
           (parent.flags & PS_TRACE_SAMPLED) != 0;
}

static bool is_watched(const struct ord_request *request)
{
    return !request->asked.rehearsal &&
           adm_watches_find(request->deps->gates->snapshot->watches, request->asked.user) != NULL;
}

struct ps_str ord_tracing_of_order(struct ord_request *request, char memory[PS_TRACEPARENT_LEN + 1])
{
    struct ord_tracing *tracing = request->deps->tracing;

    /* A buyer has come by a trusted proxy: else nobody would say who it is. */
    if (!is_watched(request) && !ord_tracing_follows(tracing, request->traceparent) &&
        !ps_span_ids_draw(&tracing->ids, tracing->rules.accepted_one_in))
        return (struct ps_str){0};
    ord_tracing_choose(tracing, request->traceparent, &request->trace);
    ps_traceparent_format(&request->trace.is, memory);
    return (struct ps_str){memory, PS_TRACEPARENT_LEN};
}
