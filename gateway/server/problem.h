/* Refusals as answers of the listener: a problem document (answers/problem.h) with Retry-After and
 * the RateLimit fields. */
#ifndef SRV_PROBLEM_H
#define SRV_PROBLEM_H

#include "gateway/answers/problem.h"
#include "gateway/server/http.h"

/* Answers with a verdict of status 400 or more, and the header fields added before (Allow,
 * WWW-Authenticate). `detail` may be NULL. Every such answer has Cache-Control: no-store and
 * X-Request-Id. */
void srv_problem_answer(struct srv_request *request, enum ans_verdict verdict,
                        const struct ans_problem_detail *detail);

/* Adds RateLimit-Policy and RateLimit to an answer that is no problem. Does nothing if
 * fields->policy is NULL. */
void srv_problem_limit(struct srv_request *request, const struct ans_limit_fields *fields);

#endif
