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
    struct ps_str sale_name;      /* points into the request's path */
    struct ps_str key;            /* Idempotency-Key without quotes; .len == 0: none */
    struct gw_limit_fields limit; /* the tightest that was asked; .policy points to the next */
    char limit_name[PS_NAME_MAX + 1];
    size_t gate;     /* where to go on after waiting */
    uint64_t handle; /* of the suspended request; 0 = it was not suspended yet */
    /* the order, once the body is read */
    struct ps_uuid order_id;
    char sku[PS_NAME_MAX + 1];
    uint32_t sku_index;
    int64_t quantity;
    int64_t reserved_at_ms;
    int64_t pay_by_ms;
    /* waiting for the log */
    int64_t deadline_ns;
    struct gw_visit *older, *newer;
    bool waits_for_log;
};

#endif
