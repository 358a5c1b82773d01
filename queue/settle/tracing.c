/* See tracing.h. The span's parent is the request's span, which the record names: one trace shows
 * the click and the payment. */
#include "queue/settle/tracing.h"

#include <stdio.h>
#include <unistd.h>

int st_tracing_start(struct st_tracing *tracing, const struct st_settings *settings)
{
    char host[65] = "";
    const struct ps_tracer_settings tracer = {.endpoint = settings->tracing.endpoint,
                                              .headers = &settings->headers,
                                              .service = "penstock-settle",
                                              .version = PENSTOCK_VERSION,
                                              .instance = tracing->instance,
                                              .producers = 1,
                                              .on_state = ps_tracer_log_state};

    if (settings->tracing.endpoint == NULL)
        return 0;
    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(tracing->instance, sizeof tracing->instance, "%s/%ld", host, (long)getpid());
    ps_span_ids_init(&tracing->ids);
    return ps_tracer_new(&tracer, &tracing->tracer);
}

void st_tracing_stop(struct st_tracing *tracing)
{
    ps_tracer_stop(tracing->tracer);
}

void st_tracing_free(struct st_tracing *tracing)
{
    ps_tracer_free(tracing->tracer);
    tracing->tracer = NULL;
}

/* False: the order has no trace, or one that is not sampled. */
static bool find_parent(const struct st_order *order, struct ps_traceparent *ret_parent)
{
    struct ps_str text =
        order->was == ST_UNKNOWN ? order->first->event.traceparent : ps_str(order->traceparent);

    return ps_traceparent_parse(text, ret_parent) == 0 &&
           (ret_parent->flags & PS_TRACE_SAMPLED) != 0;
}

static void record_order(struct st_tracing *tracing, const struct st_order *order, int64_t began_ns,
                         int64_t ended_ns)
{
    struct ps_traceparent is, parent;
    char id[PS_UUID_LEN + 1];
    struct ps_span *span;

    if (!find_parent(order, &parent) || (span = ps_tracer_take(tracing->tracer, 0)) == NULL)
        return;
    is = parent;
    ps_span_ids_next(&tracing->ids, is.span);
    ps_span_begin(span, &is, parent.span, PS_SPAN_CONSUMER);
    ps_span_name(span, PS_STR("settle "));
    ps_span_name(span, ps_str(st_state_name(order->is)));
    ps_uuid_format(&order->id, id);
    ps_span_text(span, "penstock.order_id", (struct ps_str){id, PS_UUID_LEN});
    ps_span_text(span, "penstock.state", ps_str(st_state_name(order->is)));
    ps_span_text(span, "penstock.reason", ps_str(oq_reason_name(order->is_reason)));
    if (order->rehearsal)
        ps_span_number(span, "penstock.rehearsal", 1);
    span->begin_ns = began_ns;
    span->end_ns = ended_ns;
    ps_tracer_record(tracing->tracer, 0, span);
}

void st_tracing_record(struct st_tracing *tracing, const struct st_judge *judge, int64_t began_ns,
                       int64_t ended_ns)
{
    for (size_t i = 0; tracing->tracer != NULL && i < judge->order_count; i++) {
        enum st_change change = st_order_change(&judge->orders[i]);
        if (change == ST_NEW || change == ST_STEP)
            record_order(tracing, &judge->orders[i], began_ns, ended_ns);
    }
}

void st_tracing_report(const struct st_tracing *tracing, struct st_report *report)
{
    for (enum ps_span_end end = 0; tracing->tracer != NULL && end < PS_SPAN_ENDS; end++)
        ps_metric_set(report->shard, ST_M_TRACE_SPANS, end, ps_tracer_count(tracing->tracer, end));
}
