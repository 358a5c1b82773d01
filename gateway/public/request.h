/* What the files of the public listener share: the listener of one worker, and its request, which
 * is in the HTTP slot (srv_request.user), zeroed at the start. One thread. */
#ifndef PUB_REQUEST_H
#define PUB_REQUEST_H

#include "gateway/answers/readiness.h"
#include "gateway/metrics.h"
#include "gateway/orders/in_flight.h"
#include "gateway/pages/page.h"
#include "gateway/public/client.h"
#include "gateway/public/refs.h"
#include "gateway/public/rehearsal.h"
#include "gateway/server/problem.h"

struct pub_status_pages;
struct pub_route;

/* Everything in it outlives it. */
struct pub_listener {
    const struct ps_clock *clock;
    const struct ps_cidrs *trusted;        /* proxies */
    bool client_ip_header;                 /* srv_settings.client_ip_header is set */
    const struct ps_strings *cors_origins; /* that may call the API from a browser */
    const struct adm_gates *gates;         /* they hold the snapshot */
    struct ord_in_flight *orders;
    struct pub_status_pages *status_pages;
    struct page_worker page_worker;
    struct ps_metrics_shard *shard;
    struct pub_rehearsal_seen seen; /* the worker's last mark */
    struct pub_refs refs;
    struct adm_worker_load *load;
    /* Each n-th request is written to the access log (0: none): of the API, and of each class of
     * routes. */
    struct pub_sampling {
        int64_t every, seen;
    } access_api, access_pages[CFG_ROUTE_CLASSES];
    struct ord_tracing *tracing; /* NULL: off */
    bool access_is_on;           /* for any of them */
    bool access_has_addresses;   /* its lines name the client's address */
    void (*readiness)(void *ctx, struct ans_readiness *ret_readiness);
    void *readiness_ctx;
    /* The share of users that overload admits, for Penstock-Admission; empty: all. */
    char admission[96];
    size_t admission_len;
};

struct pub_request {
    struct ord_request order; /* first: an order's request is its pub_request */
    struct pub_listener *listener;
    struct srv_request *http;
    struct pub_client client;
    char twin[PS_NAME_MAX +
              1]; /* the sale of a rehearsal: order.sale_name is not the one of the path */
    const struct pub_route *api;  /* the path is of the API; NULL: it is not */
    const char *api_path;         /* the path as the API describes it */
    struct ps_str rest;           /* the variable part of the path */
    struct page_request page;     /* if it is not of the API */
    struct snap_figures *figures; /* of the sale in which it asks to buy; NULL: it does not */
    char ref[PS_REF_LEN];         /* of its refusal, with has_ref */
    bool has_ref;
    const char *rule; /* the limit or feature that refused it; valid while it is counted; NULL: the
                         verdict says it */
};

static inline bool pub_feature_on(const struct pub_listener *listener, enum cfg_feature feature)
{
    return adm_feature_on(listener->gates->overload, listener->shard, feature);
}

/* The request has an accepted mark: it uses twins of sales. */
static inline bool pub_request_is_rehearsal(const struct pub_request *request)
{
    return request->order.asked.rehearsal;
}

/* NULL: another one. */
const char *pub_request_method(const struct srv_request *http);
/* A page's route by its name, or the API's path as described; NULL: none. */
const char *pub_request_route(const struct pub_request *request);

/* Counts an answer and its duration, and writes the access log's line if this request is sampled;
 * every handler calls it once. */
void pub_request_count(struct pub_request *request, enum ans_verdict verdict);
/* The same for a page; and for a page whose answer broke off after it was counted: the access log
 * gets another line. */
void pub_request_count_page(struct page_request *page, enum ans_verdict verdict);
/* The same for a page's refusal, which gets its reference. */
void pub_request_count_refused_page(struct page_request *page, enum ans_verdict verdict,
                                    struct ans_problem_detail *detail);
void pub_request_count_broken(struct page_request *page);
/* Refuses: seals the reference, counts, answers. */
void pub_request_refuse_with(struct pub_request *request, enum ans_verdict verdict,
                             struct ans_problem_detail *detail);
/* The same with a sentence; it may be NULL. */
void pub_request_refuse(struct pub_request *request, enum ans_verdict verdict, const char *text);

#endif
