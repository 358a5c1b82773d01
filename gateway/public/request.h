/* What the files of the public listener share: the listener of one worker, and a request of it,
 * which lies in the HTTP slot (srv_request.user), zeroed at the start. One thread. */
#ifndef PUB_REQUEST_H
#define PUB_REQUEST_H

#include "common/program/options.h"
#include "gateway/answers/readiness.h"
#include "gateway/metrics.h"
#include "gateway/orders/in_flight.h"
#include "gateway/pages/page.h"
#include "gateway/public/client.h"
#include "gateway/public/rehearsal.h"
#include "gateway/server/problem.h"

struct pub_pages;
struct pub_route;

/* Everything in it outlives it. */
struct pub_listener {
    const struct ps_clock *clock;
    const struct ps_cidrs *trusted;            /* proxies */
    bool client_ip_header;                     /* srv_settings.client_ip_header is set */
    const struct ps_option_list *cors_origins; /* that may call the API from a browser */
    const struct adm_gates *gates;             /* the policy is theirs */
    struct ord_in_flight *orders;
    struct pub_pages *pages;
    struct page_worker page_worker;
    struct ps_metrics_shard *shard;
    struct pub_rehearsal_seen seen; /* the worker's last mark */
    struct adm_worker_load *load;
    /* Each n-th request is written to the access log, 0: none; of the API, and by class of a route.
     */
    struct pub_sampling {
        int64_t every, seen;
    } access_api, access_pages[CFG_ROUTE_CLASSES];
    bool access_is_on;         /* of one of them */
    bool access_has_addresses; /* its lines name the client's address */
    void (*readiness)(void *ctx, struct ans_readiness *ret_readiness);
    void *readiness_ctx;
    /* What overload lets pass, for Penstock-Admission; empty: all. */
    char admission[96];
    size_t admission_len;
};

struct pub_request {
    struct ord_request order; /* first: an order's request is its pub_request */
    struct pub_listener *listener;
    struct srv_request *http;
    struct pub_client client;
    char twin[PS_NAME_MAX + 1];  /* the sale of a rehearsal: order.sale_name is not in the path */
    const struct pub_route *api; /* its path is of the API; NULL: not */
    const char *api_path;        /* the same as it is described */
    struct ps_str rest;          /* what of the path its route's form leaves open */
    struct page_request page;    /* where it is not of the API */
    const char *rule; /* what has refused it: a limit's name, a feature's; valid while it is
                         counted; NULL: its verdict says it */
};

static inline bool pub_feature_on(const struct pub_listener *listener, enum cfg_feature feature)
{
    return adm_feature_on(listener->gates->overload, listener->shard, feature);
}

/* It runs on twins of sales: its mark is believed. */
static inline bool pub_request_is_rehearsal(const struct pub_request *request)
{
    return request->order.asked.rehearsal;
}

/* The same of a refusal that may name a rule. */
void pub_request_count_refused(struct pub_request *request, enum ans_verdict verdict,
                               const struct ans_problem_detail *detail);
/* Counts an answer and how long it took, and writes a line of the access log, if it is this one's
 * turn; every handler does it once. */
void pub_request_count(struct pub_request *request, enum ans_verdict verdict);
/* The same of a page; and of one whose answer has broken off after it was counted: the access log
 * says so in another line. */
void pub_request_count_page(struct page_request *page, enum ans_verdict verdict);
void pub_request_count_broken(struct page_request *page);
/* A "no" with a sentence, or NULL. */
void pub_request_refuse(struct pub_request *request, enum ans_verdict verdict, const char *text);

#endif
