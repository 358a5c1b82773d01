/* What buyers of a sale were answered: by verdict, and how long orders took. Each worker counts in
 * cells of its own, relaxed; the control thread reads them. Nothing locks.
 *
 * A request may outlive its sale: so figures are never freed before the view, but given to the next
 * sale that is opened. What such a request still counts there is lost in the noise, and memory
 * follows the largest number of sales that were open at once. */
#ifndef SNAP_SALE_FIGURES_H
#define SNAP_SALE_FIGURES_H

#include "common/metrics/histogram.h"
#include "gateway/answers/verdict.h"

struct snap_figures;

/* One more answer to a request to buy. The thread of `worker`. */
void snap_figures_add(struct snap_figures *figures, size_t worker, enum ans_verdict verdict,
                      int64_t took_ns);

/* --- The control thread. --- */

struct snap_figures_sum {
    int64_t answers[ANS_VERDICT_COUNT];
    struct ps_times_sum orders; /* from a complete head to the answer 202 */
};
/* Since the sale has them. Times: only their differences mean something. */
void snap_figures_read(const struct snap_figures *figures, struct snap_figures_sum *ret_sum);

/* NULL: out of memory. */
struct snap_figures *snap_figures_new(size_t workers) PS_MUST_CHECK;
void snap_figures_free(struct snap_figures *figures); /* NULL is allowed */
/* They are another sale's from now on. */
void snap_figures_reset(struct snap_figures *figures);

/* A list of those that no sale has. */
struct snap_figures *snap_figures_pop(struct snap_figures **list);
void snap_figures_push(struct snap_figures **list, struct snap_figures *figures);

#endif
