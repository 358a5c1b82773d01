/* A worker: one thread with its own loop, listen socket, request slots and policy pointer. Workers
 * share nothing but what core.h lists. */
#ifndef GW_WORKER_H
#define GW_WORKER_H

#include "common/heap.h"
#include "gateway/core.h"
#include "gateway/server/http.h"
#include "gateway/answers/verdict.h"

#include <stdio.h>

struct ord_request;
struct pub_pages;

struct gw_worker {
    struct gw_core *core;
    uint32_t index;
    uv_loop_t loop;
    uv_thread_t thread;
    struct ps_mailbox *mail;
    struct srv_http *http;
    struct inv_store *store; /* the counter: with memory the shared one, else this thread's */
    const struct cfg_snapshot *policy; /* this worker's pointer; swapped between two events */
    struct ps_metrics_shard *shard;
    struct ps_uuid_source ids;
    struct pub_pages *pages; /* prepared status pages */
    struct ps_heap *waiting; /* held by leaky buckets */
    uv_timer_t waiting_timer;
    /* Orders that wait for the log, oldest first: all wait equally long, so the head is due first.
     */
    struct ord_request *first_order, *last_order;
    uv_timer_t order_timer;
    uv_timer_t tick;             /* gauges; while draining: are we done? */
    uint64_t large_heads;        /* refused since the last warning of them */
    int64_t large_heads_next_ns; /* the earliest next one */
    bool draining;
    size_t orders_open;        /* in first_order..last_order */
    _Atomic(int64_t) alive_ns; /* when its loop last turned, for the watchdog */
    _Atomic(bool) idle;        /* draining, and no request has begun that is not answered */
};

/* Most connections that one worker has at once, those included that are only told to come back. */
size_t gw_worker_connections_max(const struct gw_core *core);

int gw_worker_new(struct gw_core *core, uint32_t index, int listen_fd,
                  const struct cfg_snapshot *policy, struct gw_worker **ret_worker) PS_MUST_CHECK;
int gw_worker_start(struct gw_worker *worker) PS_MUST_CHECK;
/* Any thread. */
int gw_worker_post(struct gw_worker *worker, const struct ps_mail *mail) PS_MUST_CHECK;
/* After GW_MAIL_STOP: waits for the thread, then frees. NULL is allowed. */
void gw_worker_join(struct gw_worker *worker);

/* The visit's request is suspended until the log has spoken, at most log.ack_timeout_ms;
 * gw_worker_awaited takes it off the list (if it is there). */
void gw_worker_await_log(struct gw_worker *worker, struct ord_request *visit, int64_t now_ns);
void gw_worker_awaited(struct gw_worker *worker, struct ord_request *visit);
/* The suspended request goes on at `until_ns`. PS_E_FULL: the waiting room is full. */
int gw_worker_hold(struct gw_worker *worker, uint64_t handle, int64_t until_ns,
                   int64_t now_ns) PS_MUST_CHECK;

/* Counts an answer; every handler calls it once. */
void gw_worker_count(struct gw_worker *worker, enum ans_verdict verdict);

/* Routes of the public listener (front/routes.c): the worker's request handler. */
void gw_routes_handle(struct srv_request *request, void *worker);

/* orders/buy.c: a request that waited goes on; the log has spoken; the log was too slow. */
void gw_buy_resume(struct gw_worker *worker, struct srv_request *request);
void gw_buy_outcome(struct gw_worker *worker, const struct ps_mail *mail);
void gw_buy_overdue(struct gw_worker *worker, int64_t now_ns);

#endif
