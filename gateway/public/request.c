/* See request.h. The access log: one line of the program's log for each n-th request that was
 * parsed; off unless the settings turn it on. It shows a user as a hash, keyed for this process
 * only: lines of one buyer can be told from those of others, but nobody learns who they are. */
#include "gateway/public/request.h"

#include "common/program/log.h"
#include "common/text/traceparent.h"
#include "gateway/public/tracing.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* While the feature is off, one line of this many is written. */
#define SAMPLED 100

const char *pub_request_method(const struct srv_request *http)
{
    static const char *const names[] = {
        [SRV_GET] = "GET",         [SRV_HEAD] = "HEAD",       [SRV_POST] = "POST",
        [SRV_PUT] = "PUT",         [SRV_PATCH] = "PATCH",     [SRV_DELETE] = "DELETE",
        [SRV_OPTIONS] = "OPTIONS", [SRV_METHOD_OTHER] = NULL,
    };

    return names[http->method];
}

/* How often lines of this kind are written. */
static struct pub_sampling *sampling_of(const struct pub_request *request)
{
    const struct cfg_route *route = page_route_doc(&request->page);

    return route != NULL ? &request->listener->access_pages[route->class]
                         : &request->listener->access_api;
}

const char *pub_request_route(const struct pub_request *request)
{
    if (request->api != NULL)
        return request->api_path;
    const struct cfg_route *route = page_route_doc(&request->page);
    return route != NULL ? route->name : NULL;
}

/* The trace of the request's traceparent; NULL: none, or a malformed one. Into `text`. */
static const char *trace_id_of(const struct pub_request *request, char text[PS_TRACE_ID_LEN + 1])
{
    struct ps_traceparent parent;

    if (ps_traceparent_parse(request->http->header[SRV_H_TRACEPARENT], &parent) < 0)
        return NULL;
    *ps_hex_put(text, parent.trace, sizeof parent.trace) = '\0';
    return text;
}

static void write_access_log(const struct pub_request *request, enum ans_verdict verdict,
                             int64_t took_ns)
{
    struct pub_sampling *sampling = sampling_of(request);
    const struct page_request *page = &request->page;
    char user[17], address[46], trace[PS_TRACE_ID_LEN + 1];

    if (sampling->every == 0)
        return;
    bool whole = pub_feature_on(request->listener, CFG_FEATURE_access_log);
    if (sampling->seen++ % (sampling->every * (whole ? 1 : SAMPLED)) != 0)
        return;
    (void)snprintf(user, sizeof user, "%016" PRIx64, request->order.asked.user_hash);
    ps_address_format(&request->client.address, address);
    ps_log(PS_LOG_INFO, "access",
           PS_F_STRN("request_id", request->http->request_id.at, request->http->request_id.len),
           PS_F_STR("trace_id", trace_id_of(request, trace)),
           PS_F_STR("user", request->client.identity == PUB_IDENTITY_OK ? user : NULL),
           PS_F_STR("address", request->listener->access_has_addresses ? address : NULL),
           PS_F_STRN("sale", request->order.sale_name.at, request->order.sale_name.len),
           PS_F_STR("method", pub_request_method(request->http)),
           PS_F_STR("route", pub_request_route(request)),
           PS_F_STR("endpoint", page->endpoint != NULL ? page->endpoint->is.address : NULL),
           PS_F_STR("cache", page_cache_result(page)), PS_F_STR("trouble", page_trouble(page)),
           PS_F_STR("verdict", ans_verdicts[verdict].name), PS_F_STR("rule", request->rule),
           PS_F_STRN("ref", request->has_ref ? request->ref : NULL, sizeof request->ref),
           PS_F_INT("status", verdict == ANS_V_page ? page->status : ans_verdicts[verdict].status),
           PS_F_INT("took_us", took_ns / 1000),
           PS_F_BOOL("rehearsal", pub_request_is_rehearsal(request)));
}

/* Does somebody watch this buyer? Orders and look-ups are noted; a rehearsal's users are made up.
 */
static struct adm_watch *find_watch(const struct pub_request *request)
{
    struct ps_str user = request->order.asked.user;

    return request->api != NULL && user.len > 0 && !pub_request_is_rehearsal(request)
               ? adm_watches_find(request->listener->gates->snapshot->watches, user)
               : NULL;
}

static void copy_text(struct ps_str from, char *ret_text, size_t cap)
{
    size_t len = from.len < cap ? from.len : cap - 1;

    if (len > 0)
        memcpy(ret_text, from.at, len);
    ret_text[len] = '\0';
}

static void note_verdict(const struct pub_request *request, enum ans_verdict verdict,
                         int64_t took_ns)
{
    struct adm_watch *watch = find_watch(request);
    struct adm_watched entry = {.took_ns = took_ns,
                                .verdict = (int)verdict,
                                .status = ans_verdicts[verdict].status,
                                .method = pub_request_method(request->http),
                                .path = request->api_path};

    if (watch == NULL)
        return;
    entry.at_ms = ps_clock_wall_ms(request->listener->clock);
    copy_text(request->order.sale_name, entry.sale, sizeof entry.sale);
    copy_text(request->http->request_id, entry.request_id, sizeof entry.request_id);
    if (request->rule != NULL)
        copy_text(ps_str(request->rule), entry.rule, sizeof entry.rule);
    adm_watch_note(watch, &entry);
}

/* A request with a trace that somebody keeps may be the exemplar of its bucket. A stranger may send
 * any trace: only a trusted proxy's word counts. */
static void observe(const struct pub_request *request, enum gw_metric row, enum ans_class class,
                    int64_t took_ns)
{
    const struct pub_listener *listener = request->listener;
    struct ps_str field = request->http->header[SRV_H_TRACEPARENT];
    struct ps_traceparent parent;

    if (PS_LIKELY(field.at == NULL) || !request->client.trusted_peer ||
        ps_traceparent_parse(field, &parent) < 0 || (parent.flags & PS_TRACE_SAMPLED) == 0) {
        ps_metric_observe_ns(listener->shard, row, class, took_ns);
        return;
    }
    struct ps_exemplar exemplar = {.value_ns = took_ns, .at_ms = srv_wall_ms(request->http)};
    memcpy(exemplar.trace, parent.trace, sizeof exemplar.trace);
    ps_metric_observe_traced_ns(listener->shard, row, class, &exemplar);
}

void pub_request_count(struct pub_request *request, enum ans_verdict verdict)
{
    const struct pub_listener *listener = request->listener;
    int64_t took_ns = ps_clock_mono_ns(listener->clock) - request->http->arrived_ns;
    bool rehearsal = pub_request_is_rehearsal(request);
    enum ans_class class = ans_class_of(verdict);

    ps_metric_add(listener->shard, rehearsal ? GW_M_REHEARSAL_ANSWERS : GW_M_ANSWERS, verdict, 1);
    observe(request, rehearsal ? GW_M_REHEARSAL_ANSWER_SECONDS : GW_M_ANSWER_SECONDS, class,
            took_ns);
    if (request->figures != NULL)
        snap_figures_add(request->figures, listener->gates->worker, verdict, took_ns);
    if (class == ANS_CLASS_ORDER)
        ps_times_add(&listener->load->orders, took_ns);
    if (listener->access_is_on)
        write_access_log(request, verdict, took_ns);
    if (PS_UNLIKELY(listener->gates->snapshot->watches != NULL))
        note_verdict(request, verdict, took_ns);
    if (PS_UNLIKELY(listener->tracing != NULL))
        pub_tracing_record(request, verdict, took_ns, find_watch(request) != NULL);
}

/* Everything of a refusal but its answer. */
static void note_refusal(struct pub_request *request, enum ans_verdict verdict,
                         struct ans_problem_detail *detail)
{
    request->rule = detail->policy;
    pub_refs_seal(request, verdict, detail);
    pub_request_count(request, verdict);
}

void pub_request_refuse_with(struct pub_request *request, enum ans_verdict verdict,
                             struct ans_problem_detail *detail)
{
    note_refusal(request, verdict, detail);
    srv_problem_answer(request->http, verdict, detail);
}

static struct pub_request *request_of(struct page_request *page)
{
    return (struct pub_request *)((char *)page - offsetof(struct pub_request, page));
}

void pub_request_count_page(struct page_request *page, enum ans_verdict verdict)
{
    pub_request_count(request_of(page), verdict);
}

void pub_request_count_refused_page(struct page_request *page, enum ans_verdict verdict,
                                    struct ans_problem_detail *detail)
{
    note_refusal(request_of(page), verdict, detail);
}

void pub_request_count_broken(struct page_request *page)
{
    const struct pub_request *request = request_of(page);

    if (request->listener->access_is_on)
        write_access_log(request, ANS_V_page,
                         ps_clock_mono_ns(request->listener->clock) - page->http->arrived_ns);
}

void pub_request_refuse(struct pub_request *request, enum ans_verdict verdict, const char *text)
{
    pub_request_refuse_with(request, verdict, &(struct ans_problem_detail){.text = text});
}
