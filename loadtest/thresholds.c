/* The names of answers are a closed list: a threshold on a misspelt name would always hold. */
#include "loadtest/thresholds.h"

#include "loadtest/plan.h"

#include <stdlib.h>
#include <string.h>

static const char *const stats[] = {"p50", "p90", "p99", "p99_9", "max", NULL};

/* Answers other than an order: of this program, and `code` of a gateway. */
static const char *const answers[] = {"pending",
                                      "no_answer",
                                      "reset",
                                      "refused",
                                      "garbled",
                                      "malformed",
                                      "body_not_expected",
                                      "unauthenticated",
                                      "blocked",
                                      "not_found",
                                      "method_not_allowed",
                                      "request_timeout",
                                      "not_started",
                                      "sold_out",
                                      "user_limit",
                                      "archived",
                                      "ended",
                                      "idempotency_in_progress",
                                      "too_large",
                                      "uri_too_long",
                                      "unsupported_media_type",
                                      "quantity",
                                      "idempotency_mismatch",
                                      "user_rate",
                                      "ip_rate",
                                      "sale_rate",
                                      "global_rate",
                                      "headers_too_large",
                                      "version_not_supported",
                                      "internal",
                                      "shed",
                                      "too_many_connections",
                                      "log_backlog",
                                      "store_unavailable",
                                      "log_unavailable",
                                      "no_range",
                                      "bad_gateway",
                                      "gateway_timeout",
                                      "upstream_unavailable",
                                      "uploads_full",
                                      "loop_detected",
                                      "fenced",
                                      "order_pending",
                                      "paused",
                                      "draining",
                                      NULL};

static bool is_listed(const char *word, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (strcmp(word, *words) == 0)
            return true;
    }
    return false;
}

/* "http_502": the answer of a proxy, or of something else. */
static bool is_answer(const char *word)
{
    const char *digits = word + strlen("http_");
    return is_listed(word, answers) || (strncmp(word, "http_", strlen("http_")) == 0 &&
                                        strspn(digits, "0123456789") == 3 && strlen(digits) == 3);
}

/* --- Reading. --- */

static int read_share(const char *text, double *ret)
{
    char *end = NULL;
    double share = strtod(text, &end);
    if (end == text)
        return PS_E_INVALID;
    if (strcmp(end, "%") == 0)
        share /= 100;
    else if (*end != '\0')
        return PS_E_INVALID;
    if (!(share >= 0 && share <= 1))
        return PS_E_INVALID;
    *ret = share;
    return 0;
}

static int read_time(const char *text, double *ret_ms)
{
    int64_t ms = 0;
    int err = lt_duration_parse(text, &ms);
    *ret_ms = (double)ms;
    return err;
}

/* "p99" or "sold_out.p99"; NULL: not a latency. */
static const char *read_latency(const char *name, char ret_group[PS_NAME_MAX + 1])
{
    static const char *const groups[] = {"all",      "admitted", "refusals",
                                         "accepted", "replayed", NULL};
    const char *dot = strchr(name, '.'), *stat = dot != NULL ? dot + 1 : name;
    (void)snprintf(ret_group, PS_NAME_MAX + 1, "%.*s", dot != NULL ? (int)(dot - name) : 3,
                   dot != NULL ? name : "all");
    if (!is_listed(ret_group, groups) && !is_answer(ret_group))
        return NULL;
    for (size_t i = 0; stats[i] != NULL; i++) {
        if (strcmp(stat, stats[i]) == 0)
            return stats[i];
    }
    return NULL;
}

static int read_name(struct lt_threshold *row, struct ps_fault *fault)
{
    row->stat = read_latency(row->name, row->group);
    if (row->stat != NULL)
        return 0;
    (void)snprintf(row->group, sizeof row->group, "%.*s", PS_NAME_MAX, row->name);
    row->at_least = strcmp(row->name, "goodput") == 0;
    if (row->at_least || strcmp(row->name, "unanswered") == 0 ||
        strcmp(row->name, "refusals") == 0 || is_answer(row->name))
        return 0;
    const char *near = ps_nearest_word(row->name, answers);
    return ps_fault(
        fault, PS_E_INVALID, "--thresholds",
        "\"%s\" is not a figure%s%s: use p50, p90, p99, p99_9, max (also of one answer: "
        "sold_out.p99), goodput, unanswered, refusals, or an answer",
        row->name, near != NULL ? "; similar: " : "", near != NULL ? near : "");
}

static int read_row(const char *text, size_t len, struct lt_threshold *ret_row,
                    struct ps_fault *fault)
{
    struct lt_threshold row = {.name = ""};
    char bound[32];
    const char *equals = memchr(text, '=', len);
    size_t name_len = equals != NULL ? (size_t)(equals - text) : len;
    size_t bound_len = equals != NULL ? len - name_len - 1 : 0;
    if (equals == NULL || name_len >= sizeof row.name || bound_len >= sizeof bound)
        return ps_fault(fault, PS_E_INVALID, "--thresholds",
                        "\"%.*s\" is not NAME=BOUND, such as p99=50ms or no_answer=0.1%%",
                        (int)(len < 100 ? len : 100), text);
    memcpy(row.name, text, name_len);
    memcpy(bound, equals + 1, bound_len);
    bound[bound_len] = '\0';
    int err = read_name(&row, fault);
    if (err < 0)
        return err;
    if (row.stat != NULL && bound_len > 0 && strchr("0123456789.", bound[bound_len - 1]) != NULL)
        return ps_fault(fault, PS_E_INVALID, "--thresholds",
                        "%s: \"%s\" has no unit: %s=%sms or %s=%ss", row.name, bound, row.name,
                        bound, row.name, bound);
    err = row.stat != NULL ? read_time(bound, &row.bound) : read_share(bound, &row.bound);
    if (err < 0)
        return ps_fault(fault, PS_E_INVALID, "--thresholds", "%s: \"%s\" is not a %s", row.name,
                        bound,
                        row.stat != NULL ? "time such as 50ms" : "share such as 0.1% or 0.001");
    *ret_row = row;
    return 0;
}

int lt_thresholds_parse(const char *text, struct lt_thresholds *ret_thresholds,
                        struct ps_fault *fault)
{
    struct lt_thresholds thresholds = {.count = 0};
    for (const char *at = text;; at++) {
        size_t len = strcspn(at, ",");
        if (thresholds.count == LT_THRESHOLDS_MAX)
            return ps_fault(fault, PS_E_INVALID, "--thresholds", "more than %d thresholds",
                            LT_THRESHOLDS_MAX);
        struct lt_threshold *row = &thresholds.row[thresholds.count++];
        int err = read_row(at, len, row, fault);
        if (err < 0)
            return err;
        for (const struct lt_threshold *other = thresholds.row; other < row; other++) {
            if (strcmp(other->name, row->name) == 0)
                return ps_fault(fault, PS_E_INVALID, "--thresholds", "%s appears twice", row->name);
        }
        at += len;
        if (*at == '\0')
            break;
    }
    *ret_thresholds = thresholds;
    return 0;
}

/* --- Judging. --- */

double lt_number_of(const json_t *object, const char *member)
{
    return json_number_value(json_object_get(object, member));
}

double lt_goodput(const json_t *report)
{
    const json_t *in_time = json_object_get(report, "in_time");
    const json_t *counts = json_object_get(json_is_object(in_time) ? in_time : report, "answers");
    double offered = lt_number_of(report, "offered");
    return offered > 0 ? lt_number_of(counts, "accepted") / offered : 0;
}

static double share_of(const json_t *report, const char *group)
{
    double offered = lt_number_of(report, "offered"), count = 0;
    if (strcmp(group, "goodput") == 0)
        return lt_goodput(report);
    if (strcmp(group, "unanswered") == 0)
        count = lt_number_of(report, "unanswered");
    else if (strcmp(group, "refusals") == 0)
        count = lt_number_of(json_object_get(json_object_get(report, "latency_ms"), "refusals"),
                             "count");
    else
        count = lt_number_of(json_object_get(report, "answers"), group);
    return offered > 0 ? count / offered : 0;
}

/* Reads the report's figure. False: it was not measured. */
static bool measure(const struct lt_threshold *row, const json_t *report, double *ret_value)
{
    const json_t *latency = json_object_get(json_object_get(report, "latency_ms"), row->group);
    if (row->stat == NULL) {
        *ret_value = share_of(report, row->group);
        return lt_number_of(report, "offered") > 0;
    }
    *ret_value = lt_number_of(latency, row->stat);
    return lt_number_of(latency, "count") > 0;
}

json_t *lt_thresholds_judge(const struct lt_thresholds *thresholds, const json_t *report)
{
    json_t *judged = json_array();
    int err = 0;
    for (size_t i = 0; i < thresholds->count; i++) {
        const struct lt_threshold *row = &thresholds->row[i];
        double value = 0;
        bool measured = measure(row, report, &value);
        bool ok = measured && (row->at_least ? value >= row->bound : value <= row->bound);
        json_t *line =
            json_pack("{s:s, s:s, s:b, s:f, s:o, s:b}", "name", row->name, "unit",
                      row->stat != NULL ? "ms" : "share", "at_least", row->at_least, "bound",
                      row->bound, "value", measured ? json_real(value) : json_null(), "ok", ok);
        err |= json_array_append_new(judged, line);
    }
    return ps_json_built(judged, err);
}

size_t lt_thresholds_crossed(const json_t *judged)
{
    size_t index, crossed = 0;
    const json_t *line;
    json_array_foreach(judged, index, line) crossed += !json_is_true(json_object_get(line, "ok"));
    return crossed;
}

void lt_thresholds_print(const json_t *judged, FILE *out)
{
    size_t index;
    const json_t *line;
    json_array_foreach(judged, index, line)
    {
        const json_t *value = json_object_get(line, "value");
        bool share = strcmp(json_string_value(json_object_get(line, "unit")), "share") == 0;
        double scale = share ? 100 : 1;
        const char *unit = share ? "%" : "ms";
        fprintf(out, "  %s %-16s ",
                json_is_true(json_object_get(line, "ok")) ? "ok     " : "CROSSED",
                json_string_value(json_object_get(line, "name")));
        if (json_is_null(value))
            fputs("no such answer occurred", out);
        else
            fprintf(out, "%.3f %s", scale * json_number_value(value), unit);
        fprintf(out, ", %s %g %s\n",
                json_is_true(json_object_get(line, "at_least")) ? "at least" : "at most",
                scale * lt_number_of(line, "bound"), unit);
    }
}
