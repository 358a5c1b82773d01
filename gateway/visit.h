/* What a worker keeps of one request beyond the HTTP front: it lies in the request's slot
 * (gw_request.user), zeroed at the start. A visit that waits keeps no pointer into the policy,
 * which may be exchanged meanwhile: it finds its sale again by name. */
#ifndef GW_VISIT_H
#define GW_VISIT_H

#include "gateway/front/client.h"
#include "gateway/front/problem.h"
#include "gateway/worker.h"

struct gw_visit {
    struct gw_worker *worker;
    struct gw_request *request;
    struct gw_client client;
    uint64_t user_hash;           /* of client.user: gw_admit_expect */
    struct ps_str sale_name;      /* points into the request's path */
    struct ps_str key;            /* Idempotency-Key without quotes; .len == 0: none */
    struct gw_limit_fields limit; /* the tightest that was asked; .policy points to the next */
    char limit_name[PS_NAME_MAX + 1];
    bool asked_shared; /* a limit that the cluster shares; counted once a request */
    size_t gate;       /* where to go on after waiting */
    uint64_t handle;   /* of the suspended request; 0 = it was not suspended yet */
    /* the order, once the body is read */
    struct ps_uuid order_id;
    char sku[PS_NAME_MAX + 1];
    uint32_t sku_index;
    int64_t quantity;
    int64_t reserved_at_ms;
    int64_t pay_by_ms;
    int64_t epoch, cap, sku_cap, sale_version; /* as at the reservation */
    bool rehearsal;
    /* waiting for a counter elsewhere to look an order up */
    struct inv_answer repeat;
    int64_t looked_version; /* of the policy that `looked_at`, a place among its sales, is of */
    size_t looked_at;
    bool unsure; /* one of the counters did not answer */
    /* waiting for the log */
    int64_t deadline_ns;
    struct gw_visit *older, *newer;
    bool waits_for_log;
};

/* Suspends the visit's request, once, however often it waits; its handle. */
static inline uint64_t gw_visit_suspend(struct gw_visit *visit)
{
    if (visit->handle == 0)
        visit->handle = gw_http_suspend(visit->request);
    return visit->handle;
}

/* The visit of a request that was suspended; NULL: it is answered, or gone. */
static inline struct gw_visit *gw_visit_find(struct gw_worker *worker, uint64_t handle)
{
    struct gw_request *request = gw_http_find(worker->http, handle);
    return request != NULL ? request->user : NULL;
}

/* The visit's sale in the present policy; NULL: deleted. */
static inline const struct gw_sale *gw_visit_sale(const struct gw_visit *visit)
{
    return gw_policy_sale(visit->worker->policy, visit->sale_name.at, visit->sale_name.len);
}

#endif
