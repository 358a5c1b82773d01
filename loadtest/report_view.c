/* People read templates (report.html, report.txt), filled with the JSON report and with additions
 * made here: words, and the bars, axes and curve of the page's two charts (report_strips.c makes
 * the narrow ones). Every chart has its numbers in a table or in its caption, for readers who
 * cannot see it. */
#include "loadtest/report.h"

#include "common/clock.h"
#include "loadtest/moments.h"
#include "loadtest/template.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS_MAX 100
#define ROWS_MAX    25
#define GROUP_MAX   6
#define TICKS_MAX   20

static const unsigned char page[] = {
#include "report.html.inc"
    0};
static const unsigned char text[] = {
#include "report.txt.inc"
    0};

/* Verdicts in a shopkeeper's words. */
static const struct {
    const char *verdict, *text;
} phrases[] = {
    {"accepted", "got an order"},
    {"pending", "were told \"perhaps\" (the log was slow)"},
    {"replayed", "were repeated clicks, answered with the order that exists"},
    {"no_answer", "got no answer in time"},
    {"reset", "lost their connection before the answer"},
    {"refused", "could not connect"},
    {"garbled", "got an unreadable answer"},
    {"sold_out", "were told \"sold out\""},
    {"user_limit", "wanted more than one buyer may have"},
    {"user_rate", "clicked too fast and were slowed down"},
    {"ip_rate", "came from an address that clicks too fast"},
    {"sale_rate", "met the speed limit of the sale"},
    {"global_rate", "met the speed limit of the shop"},
    {"idempotency_in_progress", "clicked again while the first click was being answered"},
    {"unauthenticated", "were not authenticated (401)"},
    {"shed", "were refused because of overload"},
    {"fenced", "came while the gateway was rebuilding its counters"},
    {"draining", "came while the gateway was shutting down"},
    {"paused", "came while the sale was paused"},
    {"log_backlog", "came faster than orders can be written"},
    {"log_unavailable", "came while no order could be written (is the disk full?)"},
    {"store_unavailable", "came while stock could not be counted"},
    {"too_many_connections", "were refused: the gateway had too many connections"},
    {"not_found", "asked a gateway that does not know the sale"},
    {"blocked", "are on the blocklist"},
};

/* Verdicts that are drawn together, from the bottom of the chart up. The last group has the rest.
 */
static const struct {
    const char *label, *css, *verdicts[GROUP_MAX];
} groups[] = {
    {"accepted", "yes", {"accepted"}},
    {"pending", "pending", {"pending"}},
    {"shown the order they had", "replayed", {"replayed"}},
    {"sold out", "out", {"sold_out"}},
    {"limits", "limits", {"user_limit", "user_rate", "ip_rate", "sale_rate", "global_rate"}},
    {"no answer", "bad", {"no_answer", "reset", "refused", "garbled"}},
    {"shed", "shed", {"shed"}},
    {"log backlog", "backlog", {"log_backlog"}},
    {"other refusals", "other", {NULL}},
};
#define GROUPS PS_ARRAY_LEN(groups)

static size_t group_of(const char *verdict)
{
    for (size_t g = 0; g < GROUPS; g++) {
        for (size_t i = 0; i < GROUP_MAX && groups[g].verdicts[i] != NULL; i++) {
            if (strcmp(verdict, groups[g].verdicts[i]) == 0)
                return g;
        }
    }
    return GROUPS - 1;
}

/* The sums of the timeline's slots [from, to). */
struct sums {
    uint64_t clicks, sold, answered, answers[GROUPS];
};

static struct sums add_slots(const struct lt_report *report, size_t from, size_t to)
{
    const struct lt_tally *tally = report->tally;
    struct sums sums = {0};
    for (size_t slot = from; slot < to && slot < tally->slot_count; slot++) {
        sums.clicks += tally->offered[slot];
        sums.sold += report->sold[slot];
        for (size_t v = 0; v < tally->verdict_count; v++) {
            sums.answers[group_of(tally->verdicts[v]->name)] += tally->verdicts[v]->slot[slot];
            sums.answered += tally->verdicts[v]->slot[slot];
        }
    }
    return sums;
}

/* The groups with a count in `total`; their counts are in `sums`. */
static json_t *groups_json(const struct sums *sums, const struct sums *total)
{
    json_t *list = json_array();
    for (size_t g = 0; g < GROUPS; g++) {
        if (total->answers[g] > 0)
            (void)json_array_append_new(list, json_pack("{s:s, s:s, s:I}", "label", groups[g].label,
                                                        "css", groups[g].css, "count",
                                                        (json_int_t)sums->answers[g]));
    }
    return list;
}

/* The timeline in at most `most` parts of equally many slots. */
static json_t *timeline_json(const struct lt_report *report, const struct sums *total, size_t most,
                             size_t *ret_slots)
{
    json_t *list = json_array();
    size_t slots = report->tally->slot_count / (most + 1) + 1;
    for (size_t from = 0; from < report->tally->slot_count; from += slots) {
        struct sums sums = add_slots(report, from, from + slots);
        (void)json_array_append_new(
            list, json_pack("{s:I, s:I, s:I, s:I, s:o}", "from_ms",
                            (json_int_t)from * (report->tally->slot_ns / PS_NS_PER_MS), "clicks",
                            (json_int_t)sums.clicks, "sold", (json_int_t)sums.sold, "answered",
                            (json_int_t)sums.answered, "answers", groups_json(&sums, total)));
    }
    *ret_slots = slots;
    return list;
}

double lt_report_round_up(double value)
{
    static const double steps[] = {1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10};
    double power = pow(10, floor(log10(value > 1e-6 ? value : 1e-6)));
    size_t i = 0;
    while (i + 1 < PS_ARRAY_LEN(steps) && steps[i] * power < value)
        i++;
    return steps[i] * power;
}

json_t *lt_report_axis(double top)
{
    bool halved = top >= 10 || fmod(top, 2) == 0;
    return halved ? json_pack("[f,f,f]", top, top / 2, 0.0) : json_pack("[f,f]", top, 0.0);
}

/* A round step that divides the length into about six parts at most. */
static double time_step(double length_ms)
{
    static const double longer_s[] = {60,   120,   300,   600,   1800,   3600,
                                      7200, 14400, 43200, 86400, 604800, 2592000};
    size_t i = 0;
    if (length_ms >= 300000) {
        while (i + 1 < PS_ARRAY_LEN(longer_s) && 6000 * longer_s[i] < length_ms)
            i++;
        return 1000 * longer_s[i];
    }
    double power = pow(10, floor(log10(length_ms / 5)));
    double parts = length_ms / (5 * power); /* 1 to 10 */
    return power * (parts <= 2 ? 2 : parts <= 5 ? 5 : 10);
}

json_t *lt_report_times(double length_ms)
{
    json_t *times = json_array();
    double whole_ms = fmax(length_ms, 1), step_ms = time_step(whole_ms);
    for (double ms = 0; ms <= whole_ms && json_array_size(times) < TICKS_MAX; ms += step_ms)
        (void)json_array_append_new(
            times, json_pack("{s:f, s:f}", "ms", ms, "percent", 100 * ms / whole_ms));
    return times;
}

/* The data of the first chart. */
static json_t *chart_json(const struct lt_report *report)
{
    struct sums total = add_slots(report, 0, report->tally->slot_count);
    size_t per_row, per_column, index;
    json_t *rows = timeline_json(report, &total, ROWS_MAX, &per_row);
    json_t *columns = timeline_json(report, &total, COLUMNS_MAX, &per_column), *column;
    double slot_s = (double)report->tally->slot_ns / (double)PS_NS_PER_S;
    double width_s = (double)per_column * slot_s, most = 0;
    json_array_foreach(columns, index, column)
    {
        most = fmax(most, json_number_value(json_object_get(column, "clicks")));
        most = fmax(most, json_number_value(json_object_get(column, "answered")));
    }
    double top = fmax(1, lt_report_round_up(most / width_s));
    double length_s = (double)json_array_size(columns) * width_s;
    return json_pack("{s:o, s:o, s:o, s:o, s:f, s:f, s:o}", "rows", rows, "columns", columns,
                     "groups", groups_json(&total, &total), "rates", lt_report_axis(top), "bar_top",
                     top * width_s, "axis_ms", 1000 * length_s, "times",
                     lt_report_times(1000 * length_s));
}

/* The data of the second chart; null: nothing to draw. It has its own time axis, because the stock
 * is often gone before the peak ends. */
static json_t *curve_json(const struct lt_report *report)
{
    const struct lt_proof *proof = report->proof;
    if (!proof->made || proof->sum.stock < 1 || report->last_sold_ns < 0)
        return json_null();
    int64_t steps = report->last_sold_ns / report->curve_ns + 1, reserved = 0;
    json_t *left = json_array();
    for (int64_t i = 0; i < steps; i++) {
        reserved += report->curve[i];
        (void)json_array_append_new(left,
                                    json_pack("{s:I, s:I}", "step", (json_int_t)i + 1, "units",
                                              (json_int_t)(proof->sum.stock - reserved)));
    }
    double top = lt_report_round_up((double)proof->sum.stock);
    double length_ms = (double)(steps * report->curve_ns) / (double)PS_NS_PER_MS;
    return json_pack("{s:I, s:I, s:f, s:o, s:o, s:o}", "steps", (json_int_t)steps, "reserved",
                     (json_int_t)reserved, "top", top, "left", left, "units", lt_report_axis(top),
                     "times", lt_report_times(length_ms));
}

/* When the last unit was sold, if none is left; 0: some are left, or unknown. */
static double sold_out_ms(const struct lt_report *report)
{
    const struct lt_proof *proof = report->proof;
    bool sold_out = proof->made && proof->sum.available == 0 && report->last_sold_ns >= 0;
    return sold_out ? (double)report->last_sold_ns / (double)PS_NS_PER_MS : 0;
}

/* The gateway's figures in a line; null: they could not be read. */
static json_t *gateway_json(const struct lt_report *report)
{
    const json_t *saw = report->gateway, *signal;
    json_t *most = json_array();
    const char *name;
    if (saw == NULL) {
        json_decref(most);
        return json_null();
    }
    json_object_foreach(json_object_get(saw, "signals"), name, signal)
    {
        double value = lt_report_highest(json_object_get(signal, "points"));
        if (value > 0)
            (void)json_array_append_new(most, json_pack("{s:s, s:f}", "name", name, "most", value));
    }
    json_t *settings = json_pack("{s:O, s:O}", "settings", json_object_get(saw, "settings"),
                                 "documents", json_object_get(saw, "documents"));
    char *all = json_dumps(settings, JSON_INDENT(1) | JSON_REAL_PRECISION(15));
    json_t *json = json_pack(
        "{s:O, s:O, s:f, s:f, s:o, s:s}", "version", json_object_get(saw, "version"), "name",
        json_object_get(saw, "gateway"), "level", lt_report_highest(json_object_get(saw, "level")),
        "pressure", lt_report_highest(json_object_get(saw, "pressure")), "signals", most, "text",
        all != NULL ? all : "");
    json_decref(settings);
    free(all);
    return json;
}

/* The latencies of the report as a list, each with its name. */
static json_t *latencies_json(json_t *latencies)
{
    json_t *list = json_array(), *latency;
    const char *name;
    json_object_foreach(latencies, name, latency)
    {
        (void)json_object_set_new(latency, "name", json_string(name));
        (void)json_array_append(list, latency);
    }
    return list;
}

json_t *lt_report_words(json_t *counts)
{
    json_t *words = json_string(""), *count;
    const char *name;
    json_object_foreach(counts, name, count)
    {
        const char *before = json_string_value(words);
        json_t *more = json_sprintf("%s%s%s %s", before, before[0] != '\0' ? ", " : "", name,
                                    LT_COUNT((uint64_t)json_integer_value(count)));
        json_decref(words);
        if ((words = more) == NULL)
            break;
    }
    return words;
}

/* The visitors beside the buyers; null: none. */
static json_t *visits_json(json_t *pages)
{
    if (!json_is_object(pages))
        return json_null();
    return json_pack("{s:O, s:O, s:o, s:o, s:O}", "offered", json_object_get(pages, "offered"),
                     "all", json_object_get(json_object_get(pages, "latency_ms"), "all"), "answers",
                     lt_report_words(json_object_get(pages, "answers")), "cache",
                     lt_report_words(json_object_get(pages, "cache")), "paths",
                     json_object_get(pages, "paths"));
}

/* How many buyers lost the answer to their order; NULL: none. A "pending" is an answer. */
static json_t *lost_words(const struct lt_proof *proof)
{
    const char *again = "lost the answer to their order";
    if (!proof->made || proof->found_again + proof->unreported == 0)
        return NULL;
    if (proof->unreported == 0)
        return json_sprintf("%s, and got the order when they clicked again", again);
    return json_sprintf("%s: %s got the order when they clicked again, %s have not yet", again,
                        LT_COUNT(proof->found_again), LT_COUNT(proof->unreported));
}

/* The number of buyers per answer, in words; always with those who got an order. */
static json_t *reported_json(const struct lt_tally *tally, const struct lt_proof *proof)
{
    json_t *list = json_array();
    for (size_t i = 0; i < tally->verdict_count; i++) {
        const struct lt_verdict_tally *verdict = tally->verdicts[i];
        if (verdict->latency.count == 0 && i != LT_V_ACCEPTED)
            continue;
        json_t *words = json_sprintf("were answered %s", verdict->name);
        for (size_t p = 0; p < PS_ARRAY_LEN(phrases); p++) {
            if (strcmp(phrases[p].verdict, verdict->name) == 0)
                (void)json_string_set(words, phrases[p].text);
        }
        (void)json_array_append_new(
            list,
            json_pack("{s:I, s:o}", "count", (json_int_t)verdict->latency.count, "words", words));
        json_t *lost = i == LT_V_ACCEPTED ? lost_words(proof) : NULL;
        if (lost != NULL)
            (void)json_array_append_new(
                list,
                json_pack("{s:I, s:o}", "count",
                          (json_int_t)(proof->found_again + proof->unreported), "words", lost));
    }
    return list;
}

/* Verdicts that point to the setup of the rehearsal rather than to the gateway. */
static const struct {
    const char *verdict, *text;
} suspicions[] = {
    {"unauthenticated", "401: the gateway does not believe X-User-Id from the address that the "
                        "buyers came from: is this machine (or the proxy) in its trusted_proxies?"},
    {"not_found", "404: the gateway at --public did not know the sale that was made at --admin: "
                  "are they of the same gateway or cluster?"},
    {"ip_rate",
     "each buyer has an address of their own: if the gateway has a client_ip_header, name "
     "it with --client-ip-header, else all of them count as one."},
    {"blocked", "buyers or their addresses (198.18.0.0/15) are on the blocklist."},
};

static bool has_foreign_answers(const struct lt_tally *tally)
{
    for (size_t i = LT_V_FIXED; i < tally->verdict_count; i++) {
        if (strncmp(tally->verdicts[i]->name, "http_", strlen("http_")) == 0)
            return true;
    }
    return false;
}

/* Notes on how far the figures can be trusted. */
static json_t *notes_json(const struct lt_report *report, enum lt_form form)
{
    const struct lt_tally *tally = report->tally;
    json_t *notes = json_array();
    if (report->interrupted)
        (void)json_array_append_new(
            notes, json_string("interrupted; the plan was not played to its end."));
    if (tally->never_sent > 0)
        (void)json_array_append_new(
            notes, json_sprintf("%s clicks never found a free connection; with a healthy gateway, "
                                "use more --connections.",
                                LT_COUNT(tally->never_sent)));
    for (size_t i = 0; i < PS_ARRAY_LEN(suspicions); i++) {
        if (lt_tally_count(tally, suspicions[i].verdict) > 0)
            (void)json_array_append_new(notes, json_string(suspicions[i].text));
    }
    if (has_foreign_answers(tally))
        (void)json_array_append_new(
            notes, json_string("http_NNN was not answered by a gateway, but by a proxy or by "
                               "something else at --public."));
    if (report->gateway == NULL)
        (void)json_array_append_new(
            notes,
            json_sprintf("what the gateway saw could not be read: %s", report->why_no_gateway));
    json_t *lost =
        form == LT_SUMMARY ? NULL : lost_words(report->proof); /* the summary has it elsewhere */
    if (lost != NULL)
        (void)json_array_append_new(
            notes, json_sprintf("%s buyers %s.",
                                LT_COUNT(report->proof->found_again + report->proof->unreported),
                                json_string_value(lost)));
    json_decref(lost);
    return notes;
}

/* The units of each SKU; null: there is one only. */
static json_t *split_json(json_t *data)
{
    json_t *skus = json_object_get(json_object_get(data, "stock"), "skus");
    return json_array_size(skus) > 1 ? json_pack("{s:O}", "skus", skus) : json_null();
}

void lt_report_fill_page(const json_t *data, FILE *out)
{
    lt_template_fill((const char *)page, data, true, out);
}

int lt_report_print(const struct lt_report *report, enum lt_form form, FILE *out)
{
    json_t *data = lt_report_json(report), *chart = chart_json(report);
    const char *at = json_string_value(json_object_get(data, "started_at"));
    char started[PS_TIME_LEN + 8] = "", loud[64];
    if (at != NULL) /* to the minute */
        (void)snprintf(started, sizeof started, "%.10s %.5s UTC", at, at + sizeof "2030-01-31");
    (void)snprintf(loud, sizeof loud, "%s", lt_proof_words(report->proof));
    for (char *letter = loud; *letter != '\0'; letter++)
        *letter = (char)toupper((unsigned char)*letter);
    double axis_ms = json_number_value(json_object_get(chart, "axis_ms"));
    double mark_ms = sold_out_ms(report);
    json_t *rest = json_pack(
        "{s:b, s:b, s:s?, s:b, s:s, s:s, s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, "
        "s:f, s:f}",
        "summary", form == LT_SUMMARY, "over_time", 1, "criteria", report->criteria, "crossed",
        report->crossed, "started", started, "outcome", lt_proof_words(report->proof), "loud", loud,
        "length_ms", (json_int_t)(report->plan->length_ns / PS_NS_PER_MS), "told",
        reported_json(report->tally, report->proof), "notes", notes_json(report, form), "curve",
        curve_json(report), "latencies", latencies_json(json_object_get(data, "latency_ms")),
        "visits", visits_json(json_object_get(data, "pages")), "strips",
        lt_report_strips(data, axis_ms), "saw", gateway_json(report), "moments",
        lt_moments_view(json_object_get(report->gateway, "plans"), axis_ms), "split",
        split_json(data), "mark_ms", mark_ms, "mark_percent",
        axis_ms > 0 ? 100 * mark_ms / axis_ms : 0.0);
    int err = json_object_update(data, chart) == 0 && json_object_update(data, rest) == 0
                  ? 0
                  : PS_E_NOMEM;
    if (err == 0)
        form == LT_PAGE ? lt_report_fill_page(data, out)
                        : lt_template_fill((const char *)text, data, false, out);
    json_decref(data);
    json_decref(chart);
    json_decref(rest);
    return err;
}
