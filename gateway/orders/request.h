/* What a worker keeps of one request beyond the HTTP front: it lies in the request's slot
 * (srv_request.user), zeroed at the start. A visit that waits keeps no pointer into the policy,
 * which may be exchanged meanwhile: it finds its sale again by name. */
#ifndef ORD_REQUEST_H
#define ORD_REQUEST_H

#include "gateway/public/client.h"
#include "gateway/answers/problem.h"
#include "gateway/worker.h"

struct ord_request {
    struct gw_worker *worker;
    struct srv_request *request;
    struct pub_client client;
    uint64_t user_hash;            /* of client.user: adm_admit_expect */
    struct ps_str sale_name;       /* points into the request's path */
    struct ps_str key;             /* Idempotency-Key without quotes; .len == 0: none */
    struct ans_limit_fields limit; /* the tightest that was asked; .policy points to the next */
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
    struct ord_request *older, *newer;
    bool waits_for_log;
};

/* Suspends the visit's request, once, however often it waits; its handle. */
static inline uint64_t ord_request_suspend(struct ord_request *visit)
{
    if (visit->handle == 0)
        visit->handle = srv_suspend(visit->request);
    return visit->handle;
}

/* The visit of a request that was suspended; NULL: it is answered, or gone. */
static inline struct ord_request *ord_request_find(struct gw_worker *worker, uint64_t handle)
{
    struct srv_request *request = srv_find(worker->http, handle);
    return request != NULL ? request->user : NULL;
}

/* The visit's sale in the present policy; NULL: deleted. */
static inline const struct cfg_sale *ord_request_sale(const struct ord_request *visit)
{
    return cfg_snapshot_sale(visit->worker->policy, visit->sale_name.at, visit->sale_name.len);
}

#endif
