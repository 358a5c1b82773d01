/* One table says which figures are compared. Figures that differ between any two runs of the same
 * gateway (the largest latency, the moment of the last unit) are shown and not judged. */
#include "loadtest/baseline.h"

#include "loadtest/thresholds.h"

#include <stdlib.h>
#include <string.h>

#define REPORT_MAX (64 << 20)

enum direction { SHOWN, LESS_IS_BETTER, MORE_IS_BETTER };

static const struct figure {
    const char *name, *unit;
    const char *const path[3]; /* in a report; NULL-terminated. Empty: goodput */
    enum direction direction;
} figures[] = {
    {"goodput", "share", {NULL}, MORE_IS_BETTER},
    {"unanswered", "share", {"unanswered", NULL}, LESS_IS_BETTER},
    {"p50", "ms", {"latency_ms", "all", "p50"}, LESS_IS_BETTER},
    {"p90", "ms", {"latency_ms", "all", "p90"}, LESS_IS_BETTER},
    {"p99", "ms", {"latency_ms", "all", "p99"}, LESS_IS_BETTER},
    {"p99_9", "ms", {"latency_ms", "all", "p99_9"}, SHOWN},
    {"max", "ms", {"latency_ms", "all", "max"}, SHOWN},
    {"accepted.p50", "ms", {"latency_ms", "accepted", "p50"}, LESS_IS_BETTER},
    {"accepted.p90", "ms", {"latency_ms", "accepted", "p90"}, LESS_IS_BETTER},
    {"accepted.p99", "ms", {"latency_ms", "accepted", "p99"}, LESS_IS_BETTER},
    {"last unit sold", "ms", {"stock", "last_sold_ms", NULL}, SHOWN},
    {"client CPU a click, us", "count", {"client", "cpu_us_per_click", NULL}, SHOWN},
};

/* What should be equal in two runs that are compared. */
static const char *const alike[][3] = {
    {"plan", "buyers", NULL},       {"plan", "clicks", NULL},
    {"plan", "stock", NULL},        {"plan", "phases", NULL},
    {"plan", "repeat_share", NULL}, {"client", "connections", NULL},
    {"client", "timeout_ms", NULL}, {"client", "patience_ms", NULL},
    {"in_time", "within_ms", NULL}, {"interrupted", NULL},
    {"proof", "ok", NULL},
};

/* NULL: it is not there. */
static const json_t *find(const json_t *report, const char *const path[3])
{
    for (size_t i = 0; i < 3 && path[i] != NULL; i++)
        report = json_object_get(report, path[i]);
    return report;
}

int lt_baseline_load(const char *path, json_t **ret_report, struct ps_fault *fault)
{
    json_t *json = NULL;
    struct ps_fault inside = {.path = ""};
    int err = ps_json_load(path, REPORT_MAX, &json, &inside);
    if (err < 0)
        return ps_fault(fault, err, "--baseline", "%s: %s%s%s", path, inside.path,
                        inside.path[0] != '\0' ? " " : "", inside.text);
    if (json_integer_value(json_object_get(json, "format")) != 1 ||
        !json_is_object(json_object_get(json, "latency_ms")) ||
        !json_is_number(json_object_get(json, "offered"))) {
        json_decref(json);
        return ps_fault(fault, PS_E_INVALID, "--baseline",
                        "%s is not the JSON report of a rehearsal (--json)", path);
    }
    *ret_report = json;
    return 0;
}

/* --- Comparing. --- */

/* A new reference: a number, or null. A latency without samples counts as absent, not as 0. */
static json_t *value_of(const struct figure *figure, const json_t *report)
{
    double offered = json_number_value(json_object_get(report, "offered"));
    if (figure->path[0] == NULL)
        return offered > 0 ? json_real(lt_goodput(report)) : json_null();
    if (figure->path[2] != NULL) {
        const char *const count[3] = {figure->path[0], figure->path[1], "count"};
        if (json_number_value(find(report, count)) == 0)
            return json_null();
    }
    const json_t *value = find(report, figure->path);
    if (!json_is_number(value))
        return json_null();
    bool share = strcmp(figure->unit, "share") == 0;
    return share && offered <= 0 ? json_null()
                                 : json_real(json_number_value(value) / (share ? offered : 1));
}

static bool has_regressed(const struct figure *figure, double old, double new, double bound)
{
    double noise = strcmp(figure->unit, "ms") == 0 ? LT_BASELINE_NOISE_MS : LT_BASELINE_NOISE_SHARE;
    if (figure->direction == MORE_IS_BETTER)
        return new < old *(1 - bound) && old - new > noise;
    return new > old *(1 + bound) && new - old > noise;
}

/* Takes `old` and `new` over. */
static json_t *compare_figure(const struct figure *figure, json_t *old, json_t *new, double bound)
{
    double was = json_number_value(old), is = json_number_value(new);
    bool both = json_is_number(old) && json_is_number(new);
    json_t *row = json_pack("{s:s, s:s, s:o, s:o, s:o}", "name", figure->name, "unit", figure->unit,
                            "old", old, "new", new, "change",
                            both && was > 0 ? json_real(is / was - 1) : json_null());
    if (row != NULL && figure->direction != SHOWN)
        (void)json_object_set_new(row, "regressed",
                                  json_boolean(both && has_regressed(figure, was, is, bound)));
    return row;
}

static json_t *share_json(const json_t *report, const char *answer)
{
    double offered = json_number_value(json_object_get(report, "offered"));
    const json_t *count = json_object_get(json_object_get(report, "answers"), answer);
    return json_real(offered > 0 ? json_number_value(count) / offered : 0);
}

/* Each kind of answer in either run, as a share of the clicks. */
static int add_answers(json_t *rows, const json_t *old, const json_t *new)
{
    json_t *names = json_object(), *count;
    const char *name;
    int failed = names == NULL || json_object_update(names, json_object_get(old, "answers")) < 0 ||
                 json_object_update(names, json_object_get(new, "answers")) < 0;
    json_object_foreach(names, name, count)
    {
        const struct figure figure = {name, "share", {NULL}, SHOWN};
        failed |= json_array_append_new(rows, compare_figure(&figure, share_json(old, name),
                                                             share_json(new, name), 0)) < 0;
    }
    json_decref(names);
    return failed;
}

static json_t *unlike_json(const json_t *old, const json_t *new)
{
    json_t *texts = json_array();
    for (size_t i = 0; i < PS_ARRAY_LEN(alike); i++) {
        const json_t *was = find(old, alike[i]), *is = find(new, alike[i]);
        if (was == is || (was != NULL && is != NULL && json_equal(was, is)))
            continue;
        char *was_text = was != NULL ? json_dumps(was, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
        char *is_text = is != NULL ? json_dumps(is, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
        (void)json_array_append_new(texts, json_sprintf("%s%s%s was %s, is %s", alike[i][0],
                                                        alike[i][1] != NULL ? "." : "",
                                                        alike[i][1] != NULL ? alike[i][1] : "",
                                                        was_text != NULL ? was_text : "not there",
                                                        is_text != NULL ? is_text : "not there"));
        free(was_text);
        free(is_text);
    }
    return texts;
}

json_t *lt_baseline_compare(const json_t *old, const json_t *new, double bound)
{
    json_t *rows = json_array();
    int failed = 0;
    for (size_t i = 0; i < PS_ARRAY_LEN(figures); i++)
        failed |=
            json_array_append_new(rows, compare_figure(&figures[i], value_of(&figures[i], old),
                                                       value_of(&figures[i], new), bound)) < 0;
    failed |= add_answers(rows, old, new);
    return json_pack("{s:f, s:o, s:o}", "bound", bound, "figures", ps_json_built(rows, failed),
                     "unlike", unlike_json(old, new));
}

size_t lt_baseline_regressed(const json_t *compared)
{
    size_t index, regressed = 0;
    const json_t *row;
    json_array_foreach(json_object_get(compared, "figures"), index, row) regressed +=
        json_is_true(json_object_get(row, "regressed"));
    return regressed;
}

/* --- Printing. --- */

static void print_value(const json_t *value, double scale, FILE *out)
{
    if (json_is_null(value))
        fprintf(out, " %12s", "-");
    else
        fprintf(out, " %12.3f", scale * json_number_value(value));
}

void lt_baseline_print(const json_t *compared, FILE *out)
{
    size_t index;
    const json_t *row, *text;
    double bound = json_number_value(json_object_get(compared, "bound"));
    fprintf(out, "  %-26s %12s %12s %9s\n", "", "baseline", "this run", "change");
    json_array_foreach(json_object_get(compared, "figures"), index, row)
    {
        const char *unit = json_string_value(json_object_get(row, "unit"));
        const json_t *change = json_object_get(row, "change");
        bool share = strcmp(unit, "share") == 0;
        fprintf(out, "  %-23s %-2s", json_string_value(json_object_get(row, "name")),
                share                     ? "%"
                : strcmp(unit, "ms") == 0 ? unit
                                          : "");
        print_value(json_object_get(row, "old"), share ? 100 : 1, out);
        print_value(json_object_get(row, "new"), share ? 100 : 1, out);
        if (json_is_null(change))
            fprintf(out, " %9s", "-");
        else
            fprintf(out, " %+8.1f%%", 100 * json_number_value(change));
        fputs(json_is_true(json_object_get(row, "regressed")) ? "  REGRESSED\n" : "\n", out);
    }
    json_array_foreach(json_object_get(compared, "unlike"), index, text)
        fprintf(out, "  Note: the runs differ: %s\n", json_string_value(text));
    fprintf(out, "  %zu figures are worse by more than %g %%.\n", lt_baseline_regressed(compared),
            100 * bound);
}
