/* One request of a buyer: to buy, or to look orders up. Its memory is the caller's, zeroed at the
 * start and valid until it is answered. A request that waits keeps no pointer into the policy,
 * which may be exchanged meanwhile: it finds its sale again by name. */
#ifndef ORD_REQUEST_H
#define ORD_REQUEST_H

#include "gateway/admission/admit.h"
#include "gateway/admission/load.h"
#include "gateway/orders/order_text.h"
#include "gateway/orders/search.h"

#include <sys/queue.h>
#include <uv.h>

struct ord_in_flight;

/* How far a request is. Those in which it waits are marked *. buy.c has the steps between them. */
enum ord_state {
    ORD_RECEIVED,  /* the gates are next */
    ORD_HELD,      /* * a leaky bucket holds it, in in_flight->held: then it is RECEIVED again */
    ORD_ADMITTED,  /* all gates are passed; the counter is next */
    ORD_RESERVING, /* * the counter was asked and answers later */
    ORD_RESERVED,  /* the units are its own; the log is next */
    ORD_LOGGING,   /* * appended, in in_flight->logging until the log has spoken or the deadline */
    ORD_REPEATED,  /* the counter has an earlier order of this buyer; it is looked at next */
    ORD_COMPARING, /* * the counter was asked for that order and answers later */
    ORD_SEARCHING, /* * a look-up: the counters are asked one after the other */
    ORD_ANSWERED
};

struct ord_request {
    const struct ord_deps *deps; /* this and the next: ord_in_flight_enter */
    struct ord_in_flight *in_flight;
    /* In: set by the caller before the first call. The strings outlive the request. */
    struct adm_request asked; /* who asks, and for what */
    struct ps_str sale_name;
    struct ps_str traceparent; /* .at == NULL: none */
    struct ps_str request_id;
    int64_t arrived_ns; /* monotonic */
    int64_t now_ns;     /* the same clock, at the first call */
    /* Inside. */
    enum ord_state state;
    uint64_t handle; /* while it is kept; 0 = it was not kept yet */
    struct ps_uuid order_id;
    int64_t asked_ns; /* RESERVING: when the counter was asked */
    int64_t reserved_at_ms, pay_by_ms;
    int64_t epoch, cap, sku_cap, sale_version; /* as at the reservation */
    bool rehearsal;
    bool may_keep;         /* a look-up: its client may keep the answer for a moment */
    struct inv_answer met; /* REPEATED, COMPARING: the order that the counter has */
    struct ord_search search;
    int64_t appended_ns; /* LOGGING */
    TAILQ_ENTRY(ord_request) logging;
};

/* An answer. Everything is borrowed for the call. */
struct ord_reply {
    enum ans_verdict verdict;
    const struct ans_problem_detail *problem; /* of a verdict of status 400 or more */
    const struct ord_order_text *order;       /* else */
    bool replayed;                            /* an earlier request has made the order */
};

/* What the room above does for orders, which know no connection. */
struct ord_caller {
    /* The request is kept beyond the present call; the handle by which it is found again. Once a
     * request. */
    uint64_t (*keep)(struct ord_request *request);
    /* NULL: it is answered, or its client has left. */
    struct ord_request *(*find)(uint64_t handle, void *ctx);
    /* Once a request. Its memory may be used until the caller's next event, and not after it. */
    void (*reply)(struct ord_request *request, const struct ord_reply *reply);
    void *ctx;
};

/* What a worker's orders need. All of it outlives them. */
struct ord_deps {
    uv_loop_t *loop;
    const struct ps_clock *clock;
    const struct adm_gates *gates; /* their policy, fold and metrics are the orders', too */
    struct inv_store *store;
    struct oq_log *log;
    struct adm_worker_load *load;
    struct ps_uuid_source *ids;
    uint32_t owner;         /* of the tickets of this worker */
    int64_t ack_timeout_ms; /* that a buyer waits for the log */
    size_t held_max;        /* requests that leaky buckets may hold */
    struct ord_caller caller;
    void (*on_due)(struct ord_request *request);     /* was held, goes on */
    void (*on_overdue)(struct ord_request *request); /* the log was too slow; off the list */
};

/* Keeps the request, once however often it waits; its handle. */
uint64_t ord_request_keep(struct ord_request *request);
struct ord_request *ord_request_find(const struct ord_deps *deps, uint64_t handle);
/* The request's sale in the present policy; NULL: deleted. */
const struct snap_sale *ord_request_sale(const struct ord_request *request);
bool ord_request_is_of(const struct ord_request *request, const char *user, size_t len);

/* The answers. `detail` is completed with the limit that was asked and the buyer's jitter; NULL:
 * nothing to add to the verdict. */
void ord_request_deny(struct ord_request *request, enum ans_verdict verdict,
                      const struct ans_problem_detail *detail);
void ord_request_show(struct ord_request *request, enum ans_verdict verdict,
                      const struct ord_order_text *order, bool replayed);

#endif
