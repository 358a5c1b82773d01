/* Requests to the shop, on a worker's loop: one exchange is one request and its answer. Bodies go
 * through in parts, both ways, and nothing is read from one side that the other has no room for.
 * Connections are kept, by worker and endpoint.
 *
 * Nothing is called back before up_forward has returned. One thread: the worker's. */
#ifndef UP_FORWARD_H
#define UP_FORWARD_H

#include "common/clock.h"
#include "gateway/upstream/pool.h"

#include <uv.h>

struct up_worker;
struct up_exchange;

/* Retries of one request. */
#define UP_TRIES_MAX 3
/* Bytes of an answer's head, and of a request's. */
#define UP_HEAD_MAX    ((size_t)64 * 1024)
#define UP_SCRATCH_MAX (2 * UP_HEAD_MAX) /* with what is added to one */
/* What is received at once, and at most kept of a part that an endpoint does not take. */
#define UP_PART_MAX ((size_t)64 * 1024)

struct up_worker_deps {
    uv_loop_t *loop;
    const struct ps_clock *clock;
    uint32_t index; /* of its cells */
};

int up_worker_new(const struct up_worker_deps *deps, struct up_worker **ret_worker) PS_MUST_CHECK;
/* Closes all connections; every exchange has been cancelled. The memory goes when the loop has
 * closed the handles. NULL is allowed. */
void up_worker_free(struct up_worker *worker);

/* The table to go by from now on; NULL: none. */
void up_worker_swap(struct up_worker *worker, struct up_table *table);
uint32_t up_worker_index(const struct up_worker *worker);
const struct up_table *up_worker_table(const struct up_worker *worker);
/* Each 100 ms: ends the connections of endpoints that are `cut`. */
void up_worker_tick(struct up_worker *worker);
/* Its table stays, with all that is in it, until the hold is released. */
struct up_hold *up_worker_hold(struct up_worker *worker);
struct up_hold *up_hold_keep(struct up_hold *hold); /* once more */
void up_hold_release(struct up_hold *hold);         /* NULL is allowed */
/* For composing a request or an answer: UP_SCRATCH_MAX bytes, until the next call into this room.
 */
struct ps_buf up_worker_scratch(struct up_worker *worker);

struct up_answer {
    int status;
    const struct ps_http_head *head; /* these two: until the callback returns */
    const char *base;
    int64_t body_len; /* -1: not known */
};

/* After `answer` or `part` with `last`, and after `failed`, the exchange is gone. Any of them may
 * cancel it. */
struct up_callbacks {
    /* 103 Early Hints; NULL: dropped. */
    void (*interim)(const struct up_answer *answer, void *ctx);
    /* The final answer has begun, and the first part of its body. False: no more until
     * up_exchange_resume. */
    bool (*answer)(const struct up_answer *answer, struct ps_str part, bool last, void *ctx);
    bool (*part)(struct ps_str part, bool last, void *ctx);
    /* No retry is left. `begun`: `answer` was called, and its body will never be whole. */
    void (*failed)(enum up_outcome outcome, bool begun, void *ctx);
    /* More of the request's body is taken, after up_exchange_part has said false. */
    void (*room)(void *ctx);
};

struct up_call {
    struct up_hold *hold;          /* of the table that route, pool and target are of; kept anew */
    const struct cfg_route *route; /* times */
    const struct up_pool_view *pool;
    struct up_target *target; /* where it is counted; NULL: it is not */
    struct ps_str head;       /* up_fields_request; copied */
    enum ps_http_method method;
    int64_t body_len; /* 0: none; -1: not known */
    uint64_t key;     /* for hashes */
    int64_t began_ns; /* its deadlines count from here */
    bool is_extra;    /* nobody waits for it: it neither waits for a place nor is tried again */
    const struct up_callbacks *callbacks;
    void *ctx;
};

/* Picks an endpoint and sends, or waits for a place. NULL: *ret_outcome says why, one of
 * UP_UNSENT_… among others. */
struct up_exchange *up_forward(struct up_worker *worker, const struct up_call *call,
                               enum up_outcome *ret_outcome);
/* A part of the request's body. False: no more until `room`. */
bool up_exchange_part(struct up_exchange *exchange, struct ps_str part, bool last);
/* More of the answer can be taken. */
void up_exchange_resume(struct up_exchange *exchange);
/* Nobody waits for it any more. */
void up_exchange_cancel(struct up_exchange *exchange);
/* The endpoint that it was given to last, which lives as long as its table. */
const struct up_endpoint *up_exchange_endpoint(const struct up_exchange *exchange);

#endif
