/* One worker's answer to a question. The thread that asks makes a case for each worker, which runs
 * on the worker's thread (exp_case_run) and is read and freed after on_end by the one who asked. */
#ifndef EXP_CASE_H
#define EXP_CASE_H

#include "gateway/explain/question.h"
#include "gateway/public/request.h"

struct exp_explainer; /* what a worker keeps for its cases */
struct exp_case;
typedef void exp_end_fn(struct exp_case *asked, void *ctx);

/* The listener's thread. `listener` and `http` outlive it. PS_E_NOMEM. */
int exp_explainer_new(const struct pub_listener *listener, const struct srv_http *http,
                      struct exp_explainer **ret_explainer) PS_MUST_CHECK;
void exp_explainer_free(struct exp_explainer *explainer); /* NULL is allowed */

/* `question` outlives it. on_end is called once, on the worker's thread. NULL: out of memory. */
struct exp_case *exp_case_new(const struct exp_question *question, exp_end_fn *on_end,
                              void *ctx) PS_MUST_CHECK;
/* After on_end, or instead of exp_case_run. NULL is allowed. */
void exp_case_free(struct exp_case *asked);
/* Asks the gates. on_end is called at once, or when the counter has answered. `explainer` NULL: out
 * of memory, which is the answer. */
void exp_case_run(struct exp_case *asked, const struct exp_explainer *explainer);

/* What the workers have said, as one answer: that of the first who refuses, else of the first. NULL
 * among the cases: that worker was not asked. Owner: the caller. NULL: out of memory. */
json_t *exp_answer(struct exp_case *const *cases, size_t count) PS_MUST_CHECK;

#endif
