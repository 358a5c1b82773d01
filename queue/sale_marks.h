/* What a log with several partitions must know about each sale, from the fences that are read back:
 * how many partitions its keys are spread over, and its newest epoch. One thread. */
#ifndef OQ_SALE_MARKS_H
#define OQ_SALE_MARKS_H

#include "queue/fold.h"

struct oq_sale_marks;

int oq_sale_marks_new(struct oq_sale_marks **ret_marks) PS_MUST_CHECK;
void oq_sale_marks_free(struct oq_sale_marks *marks); /* NULL is allowed */

/* A record that was read back; only fences matter. PS_E_NOMEM. */
int oq_sale_marks_note(struct oq_sale_marks *marks, uint32_t partition,
                       const struct oq_event *event) PS_MUST_CHECK;
/* What the fold knows of all sales, instead of the records from which it was made. PS_E_NOMEM. */
int oq_sale_marks_take(struct oq_sale_marks *marks, const struct oq_fold *fold) PS_MUST_CHECK;
/* 0 = no fence of it in partition 0 yet. */
uint32_t oq_sale_marks_partitions(const struct oq_sale_marks *marks, struct ps_str sale);
/* The highest epoch that any partition shows; 0 = none. */
int64_t oq_sale_marks_epoch(const struct oq_sale_marks *marks, struct ps_str sale);

#endif
