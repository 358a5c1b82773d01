/* Who may try to buy: the gates, a table of functions in the order in which this program says no.
 * The first "no" wins, none waits, none allocates, none locks. A leaky bucket may say "wait": the
 * visit remembers where to go on. */
#ifndef GW_ADMIT_H
#define GW_ADMIT_H

#include "gateway/front/problem.h"
#include "gateway/visit.h"

enum gw_step {
    GW_NEXT,  /* from the table: all gates are passed */
    GW_NO,    /* verdict and detail say why */
    GW_WAIT,  /* until_ns; visit->gate says where to go on */
    GW_REPLAY /* the buyer has this order already: own */
};

struct gw_admission {
    struct gw_visit *visit;
    const struct gw_sale *sale;
    int64_t now_ns;
    int64_t wall_ms;
    int64_t patience_ms; /* that leaky buckets may hold the request for, all together */
    bool body_read;
    bool sold_out; /* as it was before the buyer's own orders were looked for */
    /* Out. */
    enum gw_verdict verdict;
    struct gw_problem_detail detail;
    int64_t until_ns;
    struct oq_order *own;
    char order_text[PS_UUID_LEN + 1]; /* of detail.order_id */
};

/* As soon as the user is known: his limits will be asked. Sets visit->user_hash, which every later
 * step wants. */
void gw_admit_expect(struct gw_visit *visit);

/* Runs the gates from visit->gate (0 = from the start; else phase and sold out are looked at again
 * first). */
enum gw_step gw_admit(struct gw_admission *admission);

/* One class of limits (GW_LIMIT_ORDER_STATE ...) for requests that do not buy: GW_NEXT or GW_NO.
 * Keys user, ip, global and sale, in this order. */
enum gw_step gw_admit_limits(struct gw_admission *admission, unsigned applies_to);

/* The user's live order that a click without a key repeats: same SKU and quantity, at a cap of one.
 * NULL = none. */
struct oq_order *gw_own_order(const struct gw_visit *visit, const struct gw_sale *sale);

/* What the fold says to a repeat of `order`: GW_REPLAY, or GW_NO with idempotency_mismatch or
 * user_limit. */
enum gw_step gw_admit_repeat(struct gw_admission *admission, struct oq_order *order);

#endif
