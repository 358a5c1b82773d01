/* What a buy comes to: what buy.c acts on, and what look.c only shows. Nothing here has an effect
 * beyond the request. */
#ifndef ORD_JUDGE_H
#define ORD_JUDGE_H

#include "gateway/orders/in_flight.h"

/* How long it may still be held. Waits under several rules add up, and a proxy's timeout began when
 * the request arrived. */
int64_t ord_judge_patience_ms(const struct ord_request *request, int64_t now_ns);

/* Remembers the terms of the sale as they are now. */
void ord_judge_terms(struct ord_request *request, const struct snap_sale *sale);
/* What the counter is asked for, under these terms. Its texts are the request's. */
struct inv_reservation ord_judge_reservation(const struct ord_request *request, int64_t ttl_ms);

/* What the counter's answer means. False: it knows this buyer (CAP, DUPLICATE, MISMATCH), and
 * ord_judge_met says what that means. */
bool ord_judge_answer(const struct inv_answer *answer, enum ans_verdict *ret_verdict,
                      struct ans_problem_detail *ret_detail);
/* request->met names an order: what that and the log's view of it (`order`; NULL: none) mean.
 * False: the counter's entry of it must be asked. */
bool ord_judge_met(const struct ord_request *request, const struct oq_order *order,
                   enum ans_verdict *ret_verdict);
/* What that entry means: in doubt, or decided at this moment. `err` < 0: there is none. */
enum ans_verdict ord_judge_entry(const struct ord_request *request, int err,
                                 const struct inv_entry *entry);

#endif
