/* Requests to the shop, on a worker's loop: one exchange is one request and its answer. Bodies are
 * forwarded in parts, both ways; the gateway reads from one side only what it has room to send to
 * the other. Connections are kept, by worker and endpoint.
 *
 * No callback comes before up_forward has returned. One thread: the worker's. */
#ifndef UP_FORWARD_H
#define UP_FORWARD_H

#include "common/clock.h"
#include "gateway/upstream/pool.h"

#include <uv.h>

struct up_worker;
struct up_exchange;

/* Tries of one request. */
#define UP_TRIES_MAX 3
/* Most bytes of an answer's head, and of a request's. */
#define UP_HEAD_MAX    ((size_t)64 * 1024)
#define UP_SCRATCH_MAX (2 * UP_HEAD_MAX) /* a head, and what is added to it */
/* Most bytes that one read receives, and that are kept of a part that an endpoint does not take. */
#define UP_PART_MAX ((size_t)64 * 1024)

struct up_worker_deps {
    uv_loop_t *loop;
    const struct ps_clock *clock;
    uint32_t index; /* of its cells */
};

int up_worker_new(const struct up_worker_deps *deps, struct up_worker **ret_worker) PS_MUST_CHECK;
/* Closes all connections; the caller has cancelled every exchange. The memory is freed when the
 * loop has closed the handles. NULL is allowed. */
void up_worker_free(struct up_worker *worker);

/* The table to use from now on; NULL: none. */
void up_worker_swap(struct up_worker *worker, struct up_table *table);
uint32_t up_worker_index(const struct up_worker *worker);
const struct up_table *up_worker_table(const struct up_worker *worker);
/* Each 100 ms: ends the connections of endpoints that are `cut`. */
void up_worker_tick(struct up_worker *worker);
/* The worker's table and all that is in it stay valid until the hold is released. */
struct up_hold *up_worker_hold(struct up_worker *worker);
struct up_hold *up_hold_keep(struct up_hold *hold); /* one more reference */
void up_hold_release(struct up_hold *hold);         /* NULL is allowed */
/* A buffer to compose a request or an answer: UP_SCRATCH_MAX bytes, until the next call into this
 * room. */
struct ps_buf up_worker_scratch(struct up_worker *worker);

struct up_answer {
    int status;
    const struct ps_http_head *head; /* both are valid until the callback returns */
    const char *base;
    int64_t body_len; /* -1: not known */
};

/* The exchange is gone after `answer` or `part` with `last`, and after `failed`. Each callback may
 * cancel it. */
struct up_callbacks {
    /* 103 Early Hints; NULL: dropped. */
    void (*interim)(const struct up_answer *answer, void *ctx);
    /* The final answer has begun, with the first part of its body. False: no more until
     * up_exchange_resume. */
    bool (*answer)(const struct up_answer *answer, struct ps_str part, bool last, void *ctx);
    bool (*part)(struct ps_str part, bool last, void *ctx);
    /* No retry is left. `begun`: `answer` was called, and its body will never be complete. */
    void (*failed)(enum up_end end, bool begun, void *ctx);
    /* There is room for more of the request's body, after up_exchange_part returned false. */
    void (*room)(void *ctx);
};

struct up_call {
    struct up_hold *hold; /* of the table of route, pool and target; the exchange keeps a reference
                             of its own */
    const struct cfg_route *route; /* its timeouts */
    const struct up_pool_view *pool;
    struct up_target *target; /* where it is counted; NULL: nowhere */
    struct ps_str head;       /* from up_fields_request; copied */
    enum ps_http_method method;
    int64_t body_len; /* 0: none; -1: not known */
    uint64_t key;     /* for the hash algorithms */
    int64_t began_ns; /* deadlines count from here */
    bool is_extra;    /* nobody waits for the answer: it neither queues nor is retried */
    bool is_upload;   /* its client still sends the body */
    struct ps_address client;
    struct ps_str path;              /* for samples; the client's spelling does not matter */
    const struct cfg_pool *probe_of; /* a health check by way of a probe; else NULL */
    const struct up_callbacks *callbacks;
    void *ctx;
};

/* Picks an endpoint and sends the request, or queues it. NULL: *ret_end says why. */
struct up_exchange *up_forward(struct up_worker *worker, const struct up_call *call,
                               enum up_end *ret_end);
/* Does the worker's circuit before the pool let such a request through now? */
bool up_pool_admits(const struct up_worker *worker, const struct up_pool_view *pool,
                    const struct ps_address *client, struct ps_str path);
/* Where up_forward would send such a request now; nothing is sent or changed. Of the call only
 * route, pool and key count. */
struct up_way {
    enum up_end end;                    /* UP_GOES, or why not */
    bool waits;                         /* first for a place */
    const struct up_endpoint *endpoint; /* with UP_GOES; lives as long as its table */
    size_t usable;                      /* endpoints that could be taken */
    size_t members;                     /* of the pool */
};
void up_forward_look(struct up_worker *worker, const struct up_call *call, struct up_way *ret_way);
/* Sends a part of the request's body. False: no more until `room`. */
bool up_exchange_part(struct up_exchange *exchange, struct ps_str part, bool last);
/* The caller can take more of the answer. */
void up_exchange_resume(struct up_exchange *exchange);
/* Nobody waits for the answer any more. */
void up_exchange_cancel(struct up_exchange *exchange, enum up_why why);
/* The endpoint that got the last try; it lives as long as its table. */
const struct up_endpoint *up_exchange_endpoint(const struct up_exchange *exchange);

#endif
