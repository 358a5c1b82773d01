/* Clicks that are due and not yet taken need no list of their own: they are between two positions,
 * in the plan and in the ring. The ring is in order of time because every retry comes the same
 * delay after the answer before it, and it has room for all: a click is in one place only. */
#include "loadtest/arrivals.h"

#include <stdlib.h>

static const struct lt_click *retry_at(const struct lt_arrivals *arrivals, size_t index)
{
    return &arrivals->retry[(arrivals->retry_head + index) % arrivals->plan->count];
}

int lt_arrivals_init(struct lt_arrivals *arrivals, const struct lt_plan *plan, bool retries)
{
    *arrivals = (struct lt_arrivals){.plan = plan};
    if (!retries)
        return 0;
    arrivals->retry = calloc(plan->count, sizeof *arrivals->retry);
    return arrivals->retry != NULL ? 0 : PS_E_NOMEM;
}

void lt_arrivals_done(struct lt_arrivals *arrivals)
{
    free(arrivals->retry);
    arrivals->retry = NULL;
}

void lt_arrivals_offer(struct lt_arrivals *arrivals, int64_t now_ns)
{
    const struct lt_plan *plan = arrivals->plan;
    while (!arrivals->stopped && arrivals->due < plan->count &&
           plan->clicks[arrivals->due].at_ns <= now_ns)
        arrivals->due++;
    while (arrivals->retry_due < arrivals->retry_count &&
           retry_at(arrivals, arrivals->retry_due)->at_ns <= now_ns) {
        arrivals->retry_due++;
        arrivals->tried_again++;
    }
}

/* The earliest click that is due, and its source. */
static const struct lt_click *find_earliest(const struct lt_arrivals *arrivals, bool *ret_again)
{
    const struct lt_click *planned = NULL, *again = NULL;
    if (arrivals->taken < arrivals->due)
        planned = &arrivals->plan->clicks[arrivals->taken];
    if (arrivals->retry_due > 0)
        again = retry_at(arrivals, 0);
    *ret_again = again != NULL && (planned == NULL || again->at_ns < planned->at_ns);
    return *ret_again ? again : planned;
}

const struct lt_click *lt_arrivals_peek(const struct lt_arrivals *arrivals)
{
    bool again;
    return find_earliest(arrivals, &again);
}

struct lt_click lt_arrivals_take(struct lt_arrivals *arrivals)
{
    bool again;
    struct lt_click click = *find_earliest(arrivals, &again);
    if (again) {
        arrivals->retry_head = (arrivals->retry_head + 1) % arrivals->plan->count;
        arrivals->retry_count--;
        arrivals->retry_due--;
    } else {
        arrivals->taken++;
    }
    return click;
}

void lt_arrivals_retry(struct lt_arrivals *arrivals, const struct lt_click *click, int64_t at_ns)
{
    size_t tail = (arrivals->retry_head + arrivals->retry_count++) % arrivals->plan->count;
    arrivals->retry[tail] = *click;
    arrivals->retry[tail].at_ns = at_ns;
    arrivals->retry[tail].tries++;
}

int64_t lt_arrivals_next_ns(const struct lt_arrivals *arrivals)
{
    int64_t next_ns = -1;
    if (!arrivals->stopped && arrivals->due < arrivals->plan->count)
        next_ns = arrivals->plan->clicks[arrivals->due].at_ns;
    if (arrivals->retry_due < arrivals->retry_count) {
        int64_t again_ns = retry_at(arrivals, arrivals->retry_due)->at_ns;
        if (next_ns < 0 || again_ns < next_ns)
            next_ns = again_ns;
    }
    return next_ns;
}

size_t lt_arrivals_waiting(const struct lt_arrivals *arrivals)
{
    return arrivals->due - arrivals->taken + arrivals->retry_due;
}

bool lt_arrivals_over(const struct lt_arrivals *arrivals)
{
    return lt_arrivals_waiting(arrivals) == 0 && lt_arrivals_next_ns(arrivals) < 0;
}
