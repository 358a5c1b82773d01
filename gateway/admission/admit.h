/* Who may try to buy: the gates, a table of functions in the order of refusals. The first refusal
 * wins; no gate waits, allocates or locks. A leaky bucket may answer "wait": the request remembers
 * the gate at which to continue. */
#ifndef ADM_ADMIT_H
#define ADM_ADMIT_H

#include "common/adaptive_limit.h"
#include "common/metrics/metrics.h"
#include "gateway/admission/features.h"
#include "gateway/admission/limits/limit_table.h"
#include "gateway/admission/limits/sample.h"
#include "gateway/admission/shed.h"
#include "gateway/answers/problem.h"
#include "gateway/config/kinds/route_doc.h"
#include "gateway/snapshot/snapshot.h"
#include "inventory/store.h"
#include "queue/fold.h"
#include "queue/log.h"

/* What the gates of one thread read. That thread replaces the snapshot, between two requests. */
struct adm_gates {
    struct adm_limit_table *limits;
    struct adm_limit_sample *sample; /* this thread's own */
    struct adm_shed *shed;
    const struct adm_overload_shared *overload;
    const struct oq_fold *fold;
    const struct oq_log *log;
    unsigned backlog_percent; /* of the log's queue; above: 503 log_backlog */
    /* Limits on appends and reservations in progress; NULL: none. A request that passes the gates
     * takes a place of both before stock is touched (orders/). */
    struct ps_adaptive_limit *log_limit, *store_limit;
    struct ps_metrics_shard *shard;
    size_t worker; /* its number, below ADM_LIMIT_WORKERS_MAX */
    const struct snapshot *snapshot;
};

/* One request, as the gates need it. */
struct adm_request {
    /* Input. The strings must outlive the request. */
    struct ps_address address;
    struct ps_str user; /* .len == 0: not known */
    struct ps_str key;  /* Idempotency-Key without quotes; .len == 0: none */
    struct ps_str body;
    bool overdue;   /* it has waited so long that overload refuses it */
    bool rehearsal; /* it is counted in limits of its own, apart from real buyers */
    /* Kept from gate to gate, also while the request waits; zero at the start. */
    uint64_t user_hash;            /* of `user`: adm_admit_expect */
    struct ans_limit_fields limit; /* the tightest limit so far; .policy points to the next */
    char limit_name[PS_NAME_MAX + 1];
    bool asked_shared; /* a limit that the cluster shares was checked; counted once per request */
    size_t gate;       /* the gate at which to continue after waiting */
    /* Output: the order, once the body is parsed. */
    char sku[PS_NAME_MAX + 1];
    uint32_t sku_index;
    int64_t quantity;
};

enum adm_gate {
    ADM_GATE_PASS,  /* for the table: all gates are passed */
    ADM_GATE_DENY,  /* verdict and detail say why */
    ADM_GATE_WAIT,  /* until_ns; request->gate says where to continue */
    ADM_GATE_REPLAY /* the buyer already has this order: own */
};

struct adm_look;

struct adm_admission {
    const struct adm_gates *gates;
    struct adm_request *request;
    const struct snap_sale *sale;
    const char *route; /* a page's route by name; NULL: no page */
    int64_t now_ns;
    int64_t wall_ms;
    int64_t patience_ms; /* how long all leaky buckets together may hold the request */
    bool body_read;
    bool sold_out;         /* its state before the buyer's own orders were looked up */
    struct adm_look *look; /* NULL: the request is real */
    /* Output. */
    enum ans_verdict verdict;
    struct ans_problem_detail detail;
    int64_t until_ns;
    struct oq_order *own;
    char order_text[PS_UUID_LEN + 1]; /* of detail.order_id */
};

/* Call it as soon as the user is known: prefetches the cells of the user's limits. Sets
 * request->user_hash, which every later step needs. */
void adm_admit_expect(const struct adm_gates *gates, struct adm_request *request);

/* Runs the gates from request->gate (0 = all; else phase and sold out are checked again first). */
enum adm_gate adm_admit(struct adm_admission *admission);
/* What adm_admit would say, at every gate up to the one that decides: of an admission with `look`.
 * A leaky bucket's wait is noted, and the gates behind it are asked as of now: never
 * ADM_GATE_WAIT. */
enum adm_gate adm_admit_look(struct adm_admission *admission);
/* The verdict for a request that finds no place; counts it. */
enum ans_verdict adm_refuse_log(const struct adm_gates *gates);
enum ans_verdict adm_refuse_store(const struct adm_gates *gates);

/* For requests that do not buy: ADM_GATE_PASS or ADM_GATE_DENY. The blocklist is checked first. If
 * overload does not refuse the request, the limits of its class are checked with the keys ip, user,
 * sale and global, in this order; nothing waits. */
/* The status page. */
enum adm_gate adm_admit_status(struct adm_admission *admission);
/* A buyer's orders. */
enum adm_gate adm_admit_lookup(struct adm_admission *admission);
/* A page of the shop, by the name of its route; `sale` is NULL. Rules for pages apply if they name
 * the route, or none. */
enum adm_gate adm_admit_page(struct adm_admission *admission, const struct cfg_route *route);

#endif
