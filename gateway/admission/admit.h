/* Who may try to buy: the gates, a table of functions in the order in which this program says no.
 * The first "no" wins, none waits, none allocates, none locks. A leaky bucket may say "wait": the
 * visit remembers where to go on. */
#ifndef ADM_ADMIT_H
#define ADM_ADMIT_H

#include "gateway/answers/problem.h"
#include "gateway/orders/request.h"

enum adm_gate {
    ADM_GATE_PASS,  /* from the table: all gates are passed */
    ADM_GATE_DENY,  /* verdict and detail say why */
    ADM_GATE_WAIT,  /* until_ns; visit->gate says where to go on */
    ADM_GATE_REPLAY /* the buyer has this order already: own */
};

struct adm_admission {
    struct ord_request *visit;
    const struct cfg_sale *sale;
    int64_t now_ns;
    int64_t wall_ms;
    int64_t patience_ms; /* that leaky buckets may hold the request for, all together */
    bool body_read;
    bool sold_out; /* as it was before the buyer's own orders were looked for */
    /* Out. */
    enum ans_verdict verdict;
    struct ans_problem_detail detail;
    int64_t until_ns;
    struct oq_order *own;
    char order_text[PS_UUID_LEN + 1]; /* of detail.order_id */
};

/* As soon as the user is known: his limits will be asked. Sets visit->user_hash, which every later
 * step wants. */
void adm_admit_expect(struct ord_request *visit);

/* Runs the gates from visit->gate (0 = from the start; else phase and sold out are looked at again
 * first). */
enum adm_gate adm_admit(struct adm_admission *admission);

/* One class of limits (CFG_LIMIT_ORDER_STATE ...) for requests that do not buy: ADM_GATE_PASS or
 * ADM_GATE_DENY. Keys user, ip, global and sale, in this order. */
enum adm_gate adm_admit_limits(struct adm_admission *admission, unsigned applies_to);

/* The user's live order that a click without a key repeats: same SKU and quantity, at a cap of one.
 * NULL = none. */
struct oq_order *adm_own_order(const struct ord_request *visit, const struct cfg_sale *sale);

/* What the fold says to a repeat of `order`: ADM_GATE_REPLAY, or ADM_GATE_DENY with
 * idempotency_mismatch or user_limit. */
enum adm_gate adm_admit_repeat(struct adm_admission *admission, struct oq_order *order);

#endif
