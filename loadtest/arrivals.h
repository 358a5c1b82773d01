/* Clicks on their way to a connection: those of the plan, and those that are tried again. Each is
 * planned, then due, then taken, exactly once. One thread. */
#ifndef LT_ARRIVALS_H
#define LT_ARRIVALS_H

#include "loadtest/plan.h"

struct lt_arrivals {
    const struct lt_plan *plan;
    size_t due, taken; /* clicks of the plan: [taken, due) wait */
    struct lt_click
        *retry; /* a ring of plan->count clicks in the order of time; NULL: no retries */
    size_t retry_head, retry_count, retry_due; /* the first `retry_due` of them wait */
    uint64_t tried_again;                      /* became due for a second time */
    bool stopped;                              /* no more clicks of the plan become due */
};

/* `plan` must live as long. PS_E_NOMEM. */
int lt_arrivals_init(struct lt_arrivals *arrivals, const struct lt_plan *plan,
                     bool retries) PS_MUST_CHECK;
void lt_arrivals_done(struct lt_arrivals *arrivals);

/* Lets clicks become due. `now_ns` from the start of the plan, here as below. */
void lt_arrivals_offer(struct lt_arrivals *arrivals, int64_t now_ns);
/* The earliest click that is due, or NULL. Valid until the next call. */
const struct lt_click *lt_arrivals_peek(const struct lt_arrivals *arrivals);
/* Takes it; there must be one. */
struct lt_click lt_arrivals_take(struct lt_arrivals *arrivals);
/* Puts the click back, for `at_ns`: not before any that was put back earlier. At most once for each
 * click that was taken. */
void lt_arrivals_retry(struct lt_arrivals *arrivals, const struct lt_click *click, int64_t at_ns);

/* When the next click becomes due; -1: none will. */
int64_t lt_arrivals_next_ns(const struct lt_arrivals *arrivals);
size_t lt_arrivals_waiting(const struct lt_arrivals *arrivals);
/* No click waits and none will come. */
bool lt_arrivals_over(const struct lt_arrivals *arrivals);

#endif
