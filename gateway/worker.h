/* A worker: one thread with its own loop, listen socket, requests and snapshot pointer. Workers
 * share nothing but what struct gw_worker_deps names. */
#ifndef GW_WORKER_H
#define GW_WORKER_H

#include "common/board.h"
#include "common/program/mailbox.h"
#include "gateway/backends.h"
#include "gateway/mail.h"
#include "gateway/admission/load.h"
#include "gateway/public/request.h"
#include "gateway/sockets.h"

struct gw_worker;

/* All workers; the control thread's. */
struct gw_workers {
    size_t count;
    struct gw_worker **at;
};

/* What a worker needs. All of it outlives it. */
struct gw_worker_deps {
    const struct gw_settings *settings;
    const struct ps_clock *clock;
    struct gw_counter *counter;
    struct adm_limit_table *limits;
    const struct adm_limit_samples *samples; /* one for each worker, which writes it */
    struct adm_worker_load *loads;           /* one for each worker, which writes it */
    struct ps_board *breakers;               /* likewise: the state of its breaker before Redis */
    const struct adm_overload_shared *overload;
    struct oq_log *log;
    struct ord_flow *flow;
    struct oq_fold *fold;
    struct ps_metrics *metrics;
    struct ps_mailbox *control_mail; /* snapshots are acknowledged there */
    struct ps_tracer *tracer;        /* NULL: tracing is off */
    struct cache_wakeups *wakeups;   /* of requests that wait for the cache */
    size_t worker_count;             /* that connections are divided by */
    const char *gateway_id;          /* the gateway's name */
    void (*readiness)(void *ctx, struct ans_readiness *ret_readiness); /* any thread */
    void *readiness_ctx;
};

struct gw_worker {
    struct gw_worker_deps deps;
    uint32_t index;
    uv_loop_t loop;
    uv_thread_t thread;
    struct ps_mailbox *mail;
    struct srv_http *http;
    struct inv_store *store; /* the counter: with memory the shared one, else this thread's */
    struct ps_metrics_shard *shard;
    struct ps_uuid_source ids;
    struct adm_shed shed;
    struct adm_gates gates;     /* with this worker's snapshot; replaced between two events */
    struct ord_tracing tracing; /* .tracer == NULL: off */
    struct ord_in_flight *orders;
    struct pub_status_pages *status_pages; /* prepared status pages */
    struct up_worker *shop;                /* connections to the shop */
    struct pub_listener listener;
    struct exp_explainer *explainer; /* NULL: nothing was to be explained yet */
    struct adm_worker_load *load;
    uv_timer_t tick;             /* while draining: are we done? */
    uint64_t large_heads;        /* refused since the last warning */
    int64_t large_heads_next_ns; /* the earliest next one */
    struct {
        uint64_t refused; /* since the last warning; the last of them: */
        const char *why;
        struct ps_address peer;
        int64_t next_ns;
    } proxies;
    bool draining;
    _Atomic(bool) idle; /* draining, and every request that has begun is answered */
};

/* Most connections of one worker at once, including those that only get a 503. */
size_t gw_worker_connections_max(const struct gw_settings *settings, size_t worker_count);

/* Takes over the sockets of `doors`, unless it fails. */
int gw_worker_new(const struct gw_worker_deps *deps, uint32_t index, const struct gw_doors *doors,
                  const struct snapshot *snapshot, struct gw_worker **ret_worker) PS_MUST_CHECK;
int gw_worker_start(struct gw_worker *worker) PS_MUST_CHECK;
/* Any thread. */
int gw_worker_post(struct gw_worker *worker, const struct ps_mail *mail) PS_MUST_CHECK;
/* After GW_MAIL_STOP: waits for the thread, then frees. NULL is allowed. */
void gw_worker_join(struct gw_worker *worker);

/* --- All of them. The control thread. --- */

void gw_workers_tell(const struct gw_workers *workers, enum gw_mail_kind kind);
/* Each one's loop turns. */
bool gw_workers_alive(const struct gw_workers *workers, int64_t now_ns);
/* All are draining, and every request that has begun is answered. */
bool gw_workers_idle(const struct gw_workers *workers);

#endif
