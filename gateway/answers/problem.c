/* Problem answers. The body is printed straight into the answer's memory; every string that a
 * stranger may have chosen goes through the JSON printer of ps_buf. The type is a URN of
 * ours, also for spent quotas and missing capacity: the types that
 * draft-ietf-httpapi-ratelimit-headers proposes for these are not registered, but their member
 * violated-policies is there. Retry-After is never shorter
 * than the wait that the limit demands, nor than that of a quota of which nothing is left, whatever
 * the reason of this answer; what is added to it spreads the users who were refused in the same
 * instant, and stays the same for one user, so that they gain nothing by asking again. */
#include "gateway/answers/problem.h"

#include <string.h>

/* 68 years: a client may read the number into 32 bits. */
#define RETRY_AFTER_MAX_S INT32_MAX

static const struct ans_problem_detail no_detail;

static void put_string_member(struct ps_buf *buf, const char *name, const char *text, size_t len)
{
    ps_buf_puts(buf, ",\"");
    ps_buf_puts(buf, name);
    ps_buf_puts(buf, "\":");
    ps_buf_put_json(buf, text, len);
}

static const char *policy_of(const struct ans_verdict_row *row,
                             const struct ans_problem_detail *detail)
{
    return detail->policy != NULL ? detail->policy : row->name;
}

void ans_problem_print(struct ps_buf *buf, enum ans_verdict verdict,
                       const struct ans_problem_detail *detail, struct ps_str instance,
                       struct ps_str request_id)
{
    const struct ans_verdict_row *row = &ans_verdicts[verdict];
    if (detail == NULL)
        detail = &no_detail;

    ps_buf_put(buf, row->begin.at, row->begin.len);
    if (detail->text != NULL)
        put_string_member(buf, "detail", detail->text, strlen(detail->text));
    if (instance.at != NULL)
        put_string_member(buf, "instance", instance.at, instance.len);
    ps_buf_put(buf, row->code.at, row->code.len);
    ps_buf_put(buf, request_id.at, request_id.len); /* of bytes that need no escape */
    if (detail->ref.at != NULL) {                   /* of bytes that need no escape, either */
        ps_buf_puts(buf, "\",\"ref\":\"");
        ps_buf_put(buf, detail->ref.at, detail->ref.len);
    }
    ps_buf_puts(buf, "\"");
    if (row->status == 429 || row->status == 503) {
        const char *policy = policy_of(row, detail);
        ps_buf_puts(buf, ",\"violated-policies\":[");
        ps_buf_put_json(buf, policy, strlen(policy));
        ps_buf_puts(buf, "]");
    }
    if (detail->order_id.at != NULL)
        put_string_member(buf, "order_id", detail->order_id.at, detail->order_id.len);
    if (detail->pointer != NULL)
        put_string_member(buf, "pointer", detail->pointer, strlen(detail->pointer));
    ps_buf_puts(buf, "}\n");
}

int64_t ans_problem_retry_after(enum ans_verdict verdict, const struct ans_problem_detail *detail)
{
    if (detail == NULL)
        detail = &no_detail;
    int64_t wait = detail->retry_after_s > 0 ? detail->retry_after_s : 0;
    bool spent = detail->limit.policy != NULL && detail->limit.remaining == 0;
    int64_t after = spent && detail->limit.reset_s > wait ? detail->limit.reset_s : wait;

    switch (ans_verdicts[verdict].retry) {
    case ANS_RETRY_NONE:
        return wait;
    case ANS_RETRY_LIMIT:
        after += (int64_t)(detail->seed % 2);
        break;
    case ANS_RETRY_SOON:
        after = (after > 0 ? after : 1) + (int64_t)(detail->seed % 3);
        break;
    case ANS_RETRY_OPENING:
        after += (int64_t)(detail->seed % 3);
        break;
    }
    if (after > RETRY_AFTER_MAX_S)
        return RETRY_AFTER_MAX_S;
    return after > 0 ? after : 1;
}
