/* One request of a buyer: to buy, or to look orders up. The caller owns the memory, zeroes it
 * first, and keeps it valid until the request is answered. A request that waits keeps no pointer
 * into the snapshot, which may be replaced meanwhile: it finds its sale again by name. */
#ifndef ORD_REQUEST_H
#define ORD_REQUEST_H

#include "gateway/admission/admit.h"
#include "gateway/admission/load.h"
#include "gateway/orders/order_text.h"
#include "gateway/orders/search.h"
#include "gateway/orders/tracing.h"

#include <sys/queue.h>
#include <uv.h>

struct ord_in_flight;

/* The state of a request. It waits in those marked *. buy.c has the steps in between. */
enum ord_state {
    ORD_RECEIVED,  /* next: the gates */
    ORD_HELD,      /* * a leaky bucket holds it, in in_flight->held; then it is RECEIVED again */
    ORD_ADMITTED,  /* all gates are passed; next: the counter */
    ORD_RESERVING, /* * the counter was asked and answers later */
    ORD_RESERVED,  /* its units are reserved; next: the log */
    ORD_LOGGING,   /* * appended; in in_flight->logging until the outcome or the deadline */
    ORD_REPEATED,  /* the counter has an earlier order of this buyer; next: look at it */
    ORD_COMPARING, /* * the counter was asked for that order and answers later */
    ORD_SEARCHING, /* * a look-up: the counters are asked one after the other */
    ORD_ANSWERED
};

struct ord_request {
    const struct ord_deps *deps; /* this and the next are set by ord_in_flight_enter */
    struct ord_in_flight *in_flight;
    /* Input: set by the caller before the first call. The strings outlive the request. */
    struct adm_request asked; /* who asks, and for what */
    struct ps_str sale_name;
    struct ps_str traceparent; /* .at == NULL: none */
    struct ps_str request_id;
    int64_t arrived_ns; /* monotonic */
    int64_t now_ns;     /* the same clock, at the first call */
    /* Private. */
    enum ord_state state;
    uint64_t handle; /* while it is kept; 0 = never kept */
    struct ps_uuid order_id;
    int64_t asked_ns; /* RESERVING: when the counter was asked */
    int64_t reserved_at_ms, pay_by_ms;
    int64_t epoch, cap, sku_cap, sale_version; /* as they were at the reservation */
    bool rehearsal;
    bool may_keep;         /* a look-up: its client may keep the answer for a moment */
    struct inv_answer met; /* REPEATED, COMPARING: the counter's order */
    struct ord_search search;
    int64_t appended_ns; /* LOGGING */
    struct ord_trace trace;
    TAILQ_ENTRY(ord_request) logging;
};

/* An answer. Everything is borrowed for the call. */
struct ord_reply {
    enum ans_verdict verdict;
    struct ans_problem_detail *problem; /* of a verdict of status 400 or more; may be completed */
    const struct ord_order_text *order; /* else */
    bool replayed;                      /* an earlier request has made the order */
};

/* What the room above provides for orders, which know no connection. */
struct ord_caller {
    /* Keeps the request beyond the present call; returns the handle by which to find it again. Once
     * per request. */
    uint64_t (*keep)(struct ord_request *request);
    /* NULL: it is answered, or its client has left. */
    struct ord_request *(*find)(uint64_t handle, void *ctx);
    /* Once per request. Its memory is valid until the caller's next event. */
    void (*reply)(struct ord_request *request, const struct ord_reply *reply);
    void *ctx;
};

/* What a worker's orders need. All of it outlives them. */
struct ord_deps {
    uv_loop_t *loop;
    const struct ps_clock *clock;
    const struct adm_gates *gates; /* their snapshot, fold and metrics are the orders', too */
    struct inv_store *store;
    struct oq_log *log;
    struct adm_worker_load *load;
    struct ord_tracing *tracing; /* NULL: off */
    struct ps_uuid_source *ids;
    uint32_t owner;         /* of the tickets of this worker */
    int64_t ack_timeout_ms; /* how long a buyer waits for the log */
    size_t held_max;        /* how many requests leaky buckets may hold */
    struct ord_caller caller;
    void (*on_due)(struct ord_request *request); /* it was held, and continues */
    /* the log was too slow; removed from the list */
    void (*on_overdue)(struct ord_request *request);
};

/* Keeps the request, once even if it waits several times; returns its handle. */
uint64_t ord_request_keep(struct ord_request *request);
struct ord_request *ord_request_find(const struct ord_deps *deps, uint64_t handle);
/* The request's sale in the present snapshot; NULL: deleted. */
const struct snap_sale *ord_request_sale(const struct ord_request *request);
bool ord_request_is_of(const struct ord_request *request, const char *user, size_t len);

/* Answers. `detail` is completed with the limit that was checked and the buyer's jitter; NULL: no
 * detail. */
void ord_request_deny(struct ord_request *request, enum ans_verdict verdict,
                      const struct ans_problem_detail *detail);
void ord_request_show(struct ord_request *request, enum ans_verdict verdict,
                      const struct ord_order_text *order, bool replayed);

#endif
