/* Problem answers of one request: the document that answers/problem.c prints, with its header
 * fields. */
#include "gateway/server/problem.h"
#include "gateway/server/http_internal.h"

#include <assert.h>
#include <string.h>

void srv_problem_limit(struct srv_request *request, const struct ans_limit_fields *fields)
{
    struct ps_buf buf = srv_fields_begin(request);

    if (fields->policy == NULL)
        return;
    /* A rule's name has no byte that a structured-field String must escape. */
    size_t len = strlen(fields->policy);
    ps_buf_puts(&buf, "RateLimit-Policy: \"");
    ps_buf_put(&buf, fields->policy, len);
    ps_buf_puts(&buf, "\";q=");
    ps_buf_put_int(&buf, fields->quota);
    ps_buf_puts(&buf, ";w=");
    ps_buf_put_int(&buf, fields->window_s);
    ps_buf_puts(&buf, "\r\nRateLimit: \"");
    ps_buf_put(&buf, fields->policy, len);
    ps_buf_puts(&buf, "\";r=");
    ps_buf_put_int(&buf, fields->remaining);
    ps_buf_puts(&buf, ";t=");
    ps_buf_put_int(&buf, fields->reset_s);
    ps_buf_puts(&buf, "\r\n");
    srv_fields_end(request, &buf);
}

void srv_problem_answer(struct srv_request *request, enum ans_verdict verdict,
                        const struct ans_problem_detail *detail)
{
    const struct ans_verdict_row *row = &ans_verdicts[verdict];
    struct ps_buf body = srv_answer_body(request);
    int64_t retry_after = ans_problem_retry_after(verdict, detail);

    assert(row->status >= 400);
    if (detail != NULL)
        srv_problem_limit(request, &detail->limit);
    struct ps_buf fields = srv_fields_begin(request);
    if (retry_after > 0) {
        ps_buf_puts(&fields, "Retry-After: ");
        ps_buf_put_int(&fields, retry_after);
        ps_buf_puts(&fields, "\r\n");
    }
    if (detail != NULL && detail->ref_in_head) {
        ps_buf_puts(&fields, "Penstock-Ref: ");
        ps_buf_put(&fields, detail->ref.at, detail->ref.len);
        ps_buf_puts(&fields, "\r\n");
    }
    ps_buf_puts(&fields, "Cache-Control: no-store\r\n");
    srv_fields_end(request, &fields);
    ans_problem_print(&body, verdict, detail, request->path, request->request_id);
    assert(!body.overflow);
    srv_answer(request, row->status, "application/problem+json", (struct ps_str){body.at, body.len},
               false);
}
