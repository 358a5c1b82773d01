/* The answers of every route of the admin listener: documents, NDJSON, problems. Each answer ends
 * the request: op_leave comes first. */
#include "gateway/admin/admin_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void common_headers(struct srv_request *http)
{
    srv_answer_header(http, "Cache-Control", "no-store", sizeof "no-store" - 1);
}

void op_text(struct op_request *request, const char *type, char *text, size_t len)
{
    op_leave(request);
    common_headers(request->http);
    srv_answer_heap(request->http, ans_verdicts[ANS_V_ok].status, type, text, len);
}

char *op_json_line(json_t *json)
{
    char *text = json != NULL ? json_dumps(json, CFG_JSON_FLAGS) : NULL;
    size_t len = text != NULL ? strlen(text) : 0;
    char *line = text != NULL ? realloc(text, len + 2) : NULL;

    json_decref(json);
    if (line == NULL)
        free(text);
    else
        memcpy(line + len, "\n", sizeof "\n");
    return line;
}

void op_json(struct op_request *request, enum ans_verdict verdict, json_t *json)
{
    op_json_as(request, verdict, "application/json", json);
}

void op_json_as(struct op_request *request, enum ans_verdict verdict, const char *media_type,
                json_t *json)
{
    char *text = op_json_line(json);

    if (text == NULL) {
        op_no(request, ANS_V_internal, "out of memory");
        return;
    }
    op_leave(request);
    common_headers(request->http);
    srv_answer_heap(request->http, ans_verdicts[verdict].status, media_type, text, strlen(text));
}

void op_last_seq(struct op_request *request, int64_t last)
{
    char number[24];
    int n = snprintf(number, sizeof number, "%lld", (long long)last);

    srv_answer_header(request->http, "Penstock-Last-Seq", number, (size_t)n);
}

void op_ndjson(struct op_request *request, char *text, size_t len, int64_t last)
{
    if (last >= 0)
        op_last_seq(request, last);
    op_text(request, "application/x-ndjson", text, len);
}

void op_empty(struct op_request *request)
{
    op_leave(request);
    common_headers(request->http);
    srv_answer(request->http, ans_verdicts[ANS_V_no_content].status, NULL, (struct ps_str){"", 0},
               false);
}

static void no(struct op_request *request, enum ans_verdict verdict, const char *text,
               const char *pointer)
{
    const uint8_t *peer = request->http->peer.byte;

    op_leave(request);
    srv_problem_answer(
        request->http, verdict,
        &(struct ans_problem_detail){.text = text, .pointer = pointer, .seed = peer[15]});
}

void op_no(struct op_request *request, enum ans_verdict verdict, const char *fmt, ...)
{
    struct ps_fault fault; /* for its size, and because it keeps the text printable */
    char text[sizeof fault.text];
    va_list args;

    if (verdict == ANS_V_forbidden)
        ps_metric_add(request->admin->deps.shard, GW_M_ADMIN_DENIED, 0, 1);
    if (fmt == NULL) {
        no(request, verdict, NULL, NULL);
        return;
    }
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    (void)ps_fault(&fault, 0, "", "%s", text);
    no(request, verdict, fault.text, NULL);
}

/* "/delta: is missing": `detail` alone gives the error. */
#define SENTENCE_MAX                                                                               \
    (sizeof(((struct ps_fault *)NULL)->path) + sizeof(((struct ps_fault *)NULL)->text) + 2)
static const char *sentence(const struct ps_fault *fault, char text[SENTENCE_MAX])
{
    (void)snprintf(text, SENTENCE_MAX, "%s%s%s", fault->path, fault->path[0] != '\0' ? ": " : "",
                   fault->text);
    return text;
}

void op_late(struct op_request *request)
{
    op_no(request, ANS_V_shed, "it takes too long; a change may still come into force");
}

void op_fault(struct op_request *request, enum ans_verdict verdict, const struct ps_fault *fault)
{
    char text[SENTENCE_MAX];

    no(request, verdict, sentence(fault, text), fault->path);
}

json_t *op_fault_json(const struct ps_fault *fault)
{
    return json_pack("{s:s, s:s}", "pointer", fault->path, "detail", fault->text);
}

void op_faults(struct op_request *request, enum ans_verdict verdict, const struct ps_faults *faults)
{
    const struct ps_fault *first = &faults->at[0];
    struct srv_request *http = request->http;
    char text[SRV_ANSWER_TEXT_MAX], detail[SENTENCE_MAX];
    json_t *errors = json_array();
    struct ps_buf buf;
    int err = 0;

    ps_buf_init(&buf, text, sizeof text - 1);
    ans_problem_print(
        &buf, verdict,
        &(struct ans_problem_detail){.text = sentence(first, detail), .pointer = first->path},
        http->path, http->request_id);
    text[buf.len] = '\0';
    json_t *problem = json_loads(text, 0, NULL);
    for (size_t i = 0; i < faults->count && i < PS_FAULTS_KEPT; i++)
        err |= json_array_append_new(errors, op_fault_json(&faults->at[i]));
    err |= json_object_set_new(problem, "errors", errors);
    char *body = op_json_line(ps_json_built(problem, err));
    if (body == NULL) {
        op_fault(request, verdict, first);
        return;
    }
    op_leave(request);
    common_headers(http);
    srv_answer_heap(http, ans_verdicts[verdict].status, "application/problem+json", body,
                    strlen(body));
}

void op_no_log(struct op_request *request, int err)
{
    if (err == PS_E_FULL)
        op_no(request, ANS_V_log_backlog, NULL);
    else if (err == PS_E_NOMEM)
        op_no(request, ANS_V_internal, "out of memory");
    else if (err == PS_E_CLOSED)
        op_no(request, ANS_V_log_unavailable, NULL);
    else
        op_no(request, ANS_V_log_unavailable, "%s", ps_err_text(err));
}

void op_no_read(struct op_request *request, int err, const char *why)
{
    if (err == PS_E_NOT_FOUND && why[0] != '\0')
        op_no(request, ANS_V_not_found, "%s", why);
    else
        op_no_log(request, err);
}
