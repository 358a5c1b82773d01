/* Problem answers (RFC 9457): every "no" is a row of the verdict table plus what this one request
 * adds to it. Prints the JSON body, chooses Retry-After and writes the RateLimit fields. */
#ifndef ANS_PROBLEM_H
#define ANS_PROBLEM_H

#include "common/buf.h"
#include "gateway/server/http.h"
#include "gateway/answers/verdict.h"

/* The tightest limit that matched, for RateLimit-Policy and RateLimit. */
struct ans_limit_fields {
    const char *policy; /* the rule's name; NULL = no fields */
    int64_t quota;      /* q: requests a window */
    int64_t window_s;   /* w, at least 1 */
    int64_t remaining;  /* r */
    int64_t reset_s;    /* t: seconds until r is one more */
};

/* What one answer adds to its verdict. All zero is a good default. */
struct ans_problem_detail {
    const char *text;   /* `detail`; NULL = none */
    const char *policy; /* the rule or gate that said no (violated-policies of 429 and 503); NULL =
                           the verdict's name */
    int64_t retry_after_s; /* until the limit allows again or the sale opens, rounded up, without
                              jitter; <= 0 = not known */
    uint64_t seed;         /* hash of the user: jitter that stays the same for him */
    struct ans_limit_fields limit;
    struct ps_str order_id; /* .at == NULL = none */
    const char *pointer;    /* JSON pointer of the member at fault (422); NULL = none */
};

/* Answers with a verdict of status 400 or more; header fields added before (Allow,
 * WWW-Authenticate) go along. `detail` may be NULL. Every such answer has Cache-Control: no-store
 * and X-Request-Id. */
void ans_problem_answer(struct srv_request *request, enum ans_verdict verdict,
                        const struct ans_problem_detail *detail);

/* RateLimit-Policy and RateLimit for an answer that is no problem. Nothing when fields->policy is
 * NULL. */
void ans_limit_headers(struct srv_request *request, const struct ans_limit_fields *fields);

/* The body alone. `instance` is the path of the request, .at == NULL = left out. `detail` may be
 * NULL. */
void ans_problem_print(struct ps_buf *buf, enum ans_verdict verdict,
                       const struct ans_problem_detail *detail, struct ps_str instance,
                       struct ps_str request_id);
/* Seconds for Retry-After, 1 to 2^31 - 1, or 0 when the answer carries none. Limit: the wait plus
 * 0-1 s; soon: 1-3 s; opening: the wait plus 0-2 s; all of these not before limit.reset_s when
 * limit.remaining is 0. A verdict of another kind: the wait, if it is given. */
int64_t ans_problem_retry_after(enum ans_verdict verdict, const struct ans_problem_detail *detail);

#endif
