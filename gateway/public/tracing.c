/* Each step of a buy that has begun gets a span below the request's. The names of attributes are
 * those of OpenTelemetry's conventions for HTTP, and our own below penstock. Nobody's user id,
 * address, key or query is among them. */
#include "gateway/public/tracing.h"

#include <string.h>

/* NULL is no text. */
static struct ps_str text_of(const char *text)
{
    return text != NULL ? ps_str(text) : (struct ps_str){0};
}

struct steps {
    struct ord_tracing *tracing;
    const struct pub_request *request;
    const struct ord_trace *trace;
    int64_t end_ns;
};

static int status_of(const struct pub_request *request, enum ans_verdict verdict)
{
    return verdict == ANS_V_page ? request->page.status : ans_verdicts[verdict].status;
}

static bool is_order(enum ans_verdict verdict)
{
    return verdict == ANS_V_accepted || verdict == ANS_V_pending;
}

/* Which of the answers are traced that nobody has asked for. */
static bool is_drawn(struct ord_tracing *tracing, enum ans_verdict verdict, int status)
{
    if (is_order(verdict)) /* its lot was drawn before its record was written */
        return false;
    return ps_span_ids_draw(&tracing->ids, status >= 400 ? tracing->rules.refused_one_in
                                                         : tracing->rules.other_one_in);
}

static bool is_traced(const struct pub_request *request, enum ans_verdict verdict, bool is_watched)
{
    struct ord_tracing *tracing = request->listener->tracing;
    struct ps_str traceparent = request->http->header[SRV_H_TRACEPARENT];
    int status = status_of(request, verdict);

    if (cfg_path_is_probe(request->http->path))
        return false;
    return request->order.trace.is_chosen || status >= 500 || is_watched ||
           (request->client.trusted_peer && ord_tracing_follows(tracing, traceparent)) ||
           is_drawn(tracing, verdict, status);
}

static void describe(struct ps_span *span, const struct pub_request *request,
                     enum ans_verdict verdict)
{
    const struct page_request *page = &request->page;
    struct ps_str method = text_of(pub_request_method(request->http));
    struct ps_str route = text_of(pub_request_route(request));
    int status = status_of(request, verdict);
    char order[PS_UUID_LEN + 1];

    ps_span_name(span, method.len > 0 ? method : PS_STR("HTTP"));
    if (route.len > 0) {
        ps_span_name(span, PS_STR(" "));
        ps_span_name(span, route);
    }
    ps_span_text(span, "http.request.method", method.len > 0 ? method : PS_STR("_OTHER"));
    ps_span_text(span, request->api != NULL ? "http.route" : "penstock.route", route);
    ps_span_number(span, "http.response.status_code", status);
    ps_span_text(span, "penstock.request_id", request->http->request_id);
    ps_span_text(span, "penstock.verdict", ps_str(ans_verdicts[verdict].name));
    ps_span_text(span, "penstock.sale", request->order.sale_name);
    ps_span_text(span, "penstock.rule", text_of(request->rule));
    if (request->has_ref)
        ps_span_text(span, "penstock.ref", (struct ps_str){request->ref, sizeof request->ref});
    if (request->order.trace.reserved_ns != 0) {
        ps_uuid_format(&request->order.order_id, order);
        ps_span_text(span, "penstock.order_id", (struct ps_str){order, PS_UUID_LEN});
    }
    ps_span_text(span, "penstock.endpoint",
                 text_of(page->endpoint != NULL ? page->endpoint->is.address : NULL));
    ps_span_text(span, "penstock.cache", text_of(page_cache_result(page)));
    ps_span_text(span, "penstock.trouble", text_of(page_trouble(page)));
    if (pub_request_is_rehearsal(request))
        ps_span_number(span, "penstock.rehearsal", 1);
    span->failed = status >= 500;
    if (span->failed)
        ps_span_text(span, "error.type", ps_str(ans_verdicts[verdict].name));
}

static void record_step(const struct steps *steps, const char *name, enum ps_span_kind kind,
                        int64_t begin_ns, int64_t end_ns)
{
    struct ord_tracing *tracing = steps->tracing;
    struct ps_traceparent is = steps->trace->is;
    struct ps_span *span = ps_tracer_take(tracing->tracer, tracing->producer);

    if (span == NULL)
        return;
    ps_span_ids_next(&tracing->ids, is.span);
    ps_span_begin(span, &is, steps->trace->is.span, kind);
    ps_span_name(span, ps_str(name));
    span->begin_ns = begin_ns;
    span->end_ns = end_ns;
    ps_tracer_record(tracing->tracer, tracing->producer, span);
}

/* A step without an end has lasted until the answer. */
static void record_steps(const struct steps *steps)
{
    const struct ord_request *order = &steps->request->order;
    const struct ord_trace *trace = steps->trace;
    int64_t reserved_ns = trace->reserved_ns, durable_ns = trace->durable_ns;

    if (order->asked_ns == 0)
        return;
    record_step(steps, "reserve", PS_SPAN_INTERNAL, order->asked_ns,
                reserved_ns != 0 ? reserved_ns : steps->end_ns);
    if (reserved_ns == 0 || order->appended_ns == 0)
        return;
    if (durable_ns == 0)
        durable_ns = trace->shown_ns;
    record_step(steps, "append", PS_SPAN_PRODUCER, reserved_ns,
                durable_ns != 0 ? durable_ns : steps->end_ns);
    if (trace->durable_ns != 0)
        record_step(steps, "read back", PS_SPAN_INTERNAL, trace->durable_ns,
                    trace->shown_ns != 0 ? trace->shown_ns : steps->end_ns);
}

void pub_tracing_record(struct pub_request *request, enum ans_verdict verdict, int64_t took_ns,
                        bool is_watched)
{
    struct ord_tracing *tracing = request->listener->tracing;
    struct ord_trace *trace = &request->order.trace;
    int64_t arrived_ns = request->http->arrived_ns;
    const struct steps steps = {tracing, request, trace, arrived_ns + took_ns};
    struct ps_span *span;

    if (!is_traced(request, verdict, is_watched))
        return;
    if (!trace->is_chosen)
        ord_tracing_choose(tracing, request->http->header[SRV_H_TRACEPARENT], trace);
    if ((span = ps_tracer_take(tracing->tracer, tracing->producer)) == NULL)
        return;
    ps_span_begin(span, &trace->is, trace->parent, PS_SPAN_SERVER);
    span->begin_ns = arrived_ns;
    span->end_ns = steps.end_ns;
    describe(span, request, verdict);
    ps_tracer_record(tracing->tracer, tracing->producer, span);
    record_steps(&steps);
}
