/* Problem answers of one request: what answers/problem.c prints, with its header fields. */
#include "gateway/server/problem.h"

#include <assert.h>
#include <string.h>

static void put_header(struct srv_request *request, const char *name, const struct ps_buf *value)
{
    assert(!value->overflow);
    srv_answer_header(request, name, value->at, value->len);
}

void srv_problem_limit(struct srv_request *request, const struct ans_limit_fields *fields)
{
    char text[PS_NAME_MAX + 64];
    struct ps_buf value;

    if (fields->policy == NULL)
        return;
    /* A rule's name has no byte that a structured-field String must escape. */
    size_t len = strlen(fields->policy);
    ps_buf_init(&value, text, sizeof text);
    ps_buf_puts(&value, "\"");
    ps_buf_put(&value, fields->policy, len);
    ps_buf_puts(&value, "\";q=");
    ps_buf_put_int(&value, fields->quota);
    ps_buf_puts(&value, ";w=");
    ps_buf_put_int(&value, fields->window_s);
    put_header(request, "RateLimit-Policy", &value);

    value.len = 1 + len;
    ps_buf_puts(&value, "\";r=");
    ps_buf_put_int(&value, fields->remaining);
    ps_buf_puts(&value, ";t=");
    ps_buf_put_int(&value, fields->reset_s);
    put_header(request, "RateLimit", &value);
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
    if (retry_after > 0) {
        char text[24];
        struct ps_buf value;
        ps_buf_init(&value, text, sizeof text);
        ps_buf_put_int(&value, retry_after);
        put_header(request, "Retry-After", &value);
    }
    srv_answer_header(request, "Cache-Control", "no-store", strlen("no-store"));
    ans_problem_print(&body, verdict, detail, request->path, request->request_id);
    assert(!body.overflow);
    srv_answer(request, row->status, "application/problem+json", (struct ps_str){body.at, body.len},
               false);
}
