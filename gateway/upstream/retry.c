/* A leaky bucket: its content falls by the factor 1 - exp(-t / 10 s), and each request adds
 * something. */
#include "gateway/upstream/retry.h"

#include "common/clock.h"

#include <math.h>

#define FORGETS_S 10.0

void up_retry_earn(struct up_pool_cell *cell, double share, size_t workers, int64_t now_ns)
{
    double passed_s = FORGETS_S; /* before the first request: as after a long pause */
    if (cell->budget_at_ns != 0)
        passed_s = (double)(now_ns - cell->budget_at_ns) / (double)PS_NS_PER_S;
    double least = fmin(passed_s, FORGETS_S) * UP_RETRIES_PER_S / (double)workers;

    cell->budget = cell->budget * exp(-passed_s / FORGETS_S) + fmax(share, least);
    cell->budget_at_ns = now_ns;
}

bool up_retry_may(struct up_pool_cell *cell, double share)
{
    if (share <= 0 || cell->budget < 1)
        return false;
    cell->budget -= 1;
    return true;
}
