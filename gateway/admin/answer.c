/* What every route of the admin listener needs to read a query and to answer: documents, NDJSON,
 * problems, entity tags. Each answer ends the request: op_leave comes first. */
#include "gateway/admin/admin_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- Answers. --- */

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
    char *text = op_json_line(json);

    if (text == NULL) {
        op_no(request, ANS_V_internal, "out of memory");
        return;
    }
    op_leave(request);
    common_headers(request->http);
    srv_answer_heap(request->http, ans_verdicts[verdict].status, "application/json", text,
                    strlen(text));
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

/* "/delta: is missing": `detail` alone tells what is wrong. */
#define SENTENCE_MAX                                                                               \
    (sizeof(((struct ps_fault *)NULL)->path) + sizeof(((struct ps_fault *)NULL)->text) + 2)
static const char *sentence(const struct ps_fault *fault, char text[SENTENCE_MAX])
{
    (void)snprintf(text, SENTENCE_MAX, "%s%s%s", fault->path, fault->path[0] != '\0' ? ": " : "",
                   fault->text);
    return text;
}

void op_fault(struct op_request *request, enum ans_verdict verdict, const struct ps_fault *fault)
{
    char text[SENTENCE_MAX];

    no(request, verdict, sentence(fault, text), fault->path);
}

static json_t *fault_json(const struct ps_fault *fault)
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
        err |= json_array_append_new(errors, fault_json(&faults->at[i]));
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

/* --- Entity tags. --- */

static size_t tag_text(int64_t version, char text[32])
{
    return (size_t)snprintf(text, 32, "\"%lld\"", (long long)version);
}

void op_etag(struct op_request *request, int64_t version)
{
    char text[32];
    size_t len = tag_text(version, text);

    srv_answer_header(request->http, "ETag", text, len);
}

static bool is_gap(char c)
{
    return c == ' ' || c == '\t' || c == ',';
}

/* A list of tags, of which one must be ours; a weak one ("W/…") never is. */
enum op_match op_if_match(const struct op_request *request, int64_t version)
{
    struct ps_str list = request->http->header[SRV_H_IF_MATCH];
    char tag[32];
    size_t len = tag_text(version, tag);

    if (list.at == NULL)
        return OP_MATCH_NONE;
    if (op_matches_any(request))
        return OP_MATCH_YES;
    for (size_t i = 0; i < list.len;) {
        size_t start = i;
        while (i < list.len && !is_gap(list.at[i]))
            i++;
        if (i - start == len && memcmp(list.at + start, tag, len) == 0)
            return OP_MATCH_YES;
        while (i < list.len && is_gap(list.at[i]))
            i++;
    }
    return OP_MATCH_NO;
}

bool op_matches_any(const struct op_request *request)
{
    return ps_str_is(request->http->header[SRV_H_IF_MATCH], "*");
}

bool op_matches(struct op_request *request, int64_t version)
{
    if (op_if_match(request, version) != OP_MATCH_NO)
        return true;
    op_no(request, ANS_V_precondition_failed,
          "it is at version \"%lld\" now, which If-Match names with its quotation marks",
          (long long)version);
    return false;
}

/* --- Reading. --- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int op_decode(struct ps_str text, char *ret_text, size_t cap, size_t *ret_len)
{
    size_t len = 0;

    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        if (c == '%') {
            int high = i + 2 < text.len ? hex_digit(text.at[i + 1]) : -1;
            int low = high >= 0 ? hex_digit(text.at[i + 2]) : -1;
            if (low < 0)
                return PS_E_INVALID;
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (c == '\0' || len + 1 == cap)
            return PS_E_INVALID;
        ret_text[len++] = c;
    }
    ret_text[len] = '\0';
    *ret_len = len;
    return 0;
}

static bool number_ok(const char *text, const struct op_param *param)
{
    char *end;

    if (text[0] < '0' || text[0] > '9' || strlen(text) > 16)
        return false;
    int64_t number = strtoll(text, &end, 10);
    if (*end != '\0' || number < param->min || number > param->max)
        return false;
    *param->number = number;
    return true;
}

/* False: answered. */
static bool take_param(struct op_request *request, const struct op_param *param,
                       struct ps_str value)
{
    char text[32];
    size_t len;

    if (param->flag != NULL) {
        *param->flag = true;
        return true;
    }
    if (param->text != NULL) {
        if (op_decode(value, param->text, param->cap, &len) == 0 && len > 0)
            return true;
        op_no(request, ANS_V_invalid, "query parameter \"%s\": at most %zu bytes, percent-encoded",
              param->name, param->cap - 1);
        return false;
    }
    if (op_decode(value, text, sizeof text, &len) == 0 && number_ok(text, param))
        return true;
    op_no(request, ANS_V_invalid, "query parameter \"%s\": a whole number from %lld to %lld",
          param->name, (long long)param->min, (long long)param->max);
    return false;
}

static bool unknown_param(struct op_request *request, const struct op_param *params, size_t count,
                          struct ps_str name)
{
    const char *words[8] = {NULL};
    char text[64];
    size_t len;

    for (size_t i = 0; i < count; i++)
        words[i] = params[i].name;
    if (op_decode(name, text, sizeof text, &len) < 0)
        text[0] = '\0';
    const char *nearest = ps_nearest_word(text, words);
    op_no(request, ANS_V_invalid, "unknown query parameter \"%s\"%s%s%s", text,
          nearest ? "; did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
    return false;
}

bool op_query_word(struct op_request *request, const char *param, const char *text,
                   const char *const *words, const char *note, int *ret_index)
{
    const char *nearest = ps_nearest_word(text, words);
    char list[128];
    struct ps_buf buf;

    ps_buf_init(&buf, list, sizeof list - 1);
    for (int i = 0; words[i] != NULL; i++) {
        if (strcmp(text, words[i]) == 0) {
            *ret_index = i;
            return true;
        }
        ps_buf_puts(&buf, i > 0 ? ", " : "");
        ps_buf_puts(&buf, words[i]);
    }
    list[buf.len] = '\0';
    op_no(request, ANS_V_invalid, "query parameter \"%s\": must be one of %s%s%s%s%s", param, list,
          note, nearest != NULL ? "; did you mean \"" : "", nearest != NULL ? nearest : "",
          nearest != NULL ? "\"?" : "");
    return false;
}

bool op_query(struct op_request *request, const struct op_param *params, size_t count)
{
    struct ps_str query = request->http->query;
    const char *at = query.at, *end = query.at + query.len;
    unsigned seen = 0;

    for (size_t i = 0; i < count; i++)
        if (params[i].text != NULL)
            params[i].text[0] = '\0';
    while (at < end) {
        const char *stop = memchr(at, '&', (size_t)(end - at));
        stop = stop != NULL ? stop : end;
        const char *equals = memchr(at, '=', (size_t)(stop - at));
        struct ps_str name = {at, (size_t)((equals != NULL ? equals : stop) - at)};
        struct ps_str value = {equals != NULL ? equals + 1 : stop, 0};
        value.len = (size_t)(stop - value.at);
        at = stop < end ? stop + 1 : end;
        if (name.len == 0 && value.len == 0)
            continue;
        size_t i = 0;
        while (i < count && !ps_str_is(name, params[i].name))
            i++;
        if (i == count)
            return unknown_param(request, params, count, name);
        if ((seen & 1u << i) != 0) {
            op_no(request, ANS_V_invalid, "query parameter \"%s\" twice", params[i].name);
            return false;
        }
        seen |= 1u << i;
        if (!take_param(request, &params[i], value))
            return false;
    }
    return true;
}

bool op_only_reason(struct op_request *request)
{
    struct ps_json_reader reader;
    struct ps_fault fault = {0};

    if (request->body == NULL)
        return true;
    ps_json_reader_init(&reader, request->body, "", &fault);
    (void)ps_json_has(&reader, "reason"); /* taken out before; named as what may be there */
    if (ps_json_done(&reader) == 0)
        return true;
    op_fault(request, ANS_V_invalid, &fault);
    return false;
}

bool op_read_pin(struct op_request *request, const struct cfg_pin_words *words, int64_t now_ms,
                 struct cfg_pin *ret_pin)
{
    struct ps_faults faults = {0};

    if (cfg_pin_ask(request->body, words, now_ms, ret_pin, &faults) < 0) {
        op_faults(request, ANS_V_invalid, &faults);
        return false;
    }
    memcpy(ret_pin->who, request->who, sizeof ret_pin->who);
    memcpy(ret_pin->why, request->why, sizeof ret_pin->why);
    return true;
}
