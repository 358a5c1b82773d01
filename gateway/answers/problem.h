/* Problem answers (RFC 9457): every "no" is a row of the verdict table plus what this one request
 * adds to it. Prints the JSON body and chooses Retry-After. */
#ifndef ANS_PROBLEM_H
#define ANS_PROBLEM_H

#include "common/text/buf.h"
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
    uint64_t seed;         /* hash of the user: constant jitter for each user */
    struct ans_limit_fields limit;
    struct ps_str order_id; /* .at == NULL = none */
    const char *pointer;    /* JSON pointer of the member at fault (422); NULL = none */
    struct ps_str ref;      /* the refusal's reference (common/text/ref.h); .at == NULL = none */
    bool ref_in_head;       /* it is the field Penstock-Ref, too */
};

/* A wait as Retry-After counts it: whole seconds, rounded up. `per_second`: of the wait's unit. */
static inline int64_t ans_seconds_up(int64_t wait, int64_t per_second)
{
    return (wait + per_second - 1) / per_second;
}

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
