/* Every number is counted here from the log's records; the gateway's audit is only compared. The
 * page is that of a rehearsal (report.html) without the parts about buyers' answers, because nobody
 * recorded what real buyers got. */
#include "loadtest/sale_report.h"

#include "common/clock.h"
#include "loadtest/report.h"
#include "loadtest/sale.h"
#include "loadtest/template.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS   100
#define ROWS      25
#define UNITS_MAX 10 /* buyers by number of units; the last entry counts all larger numbers */

static const unsigned char text[] = {
#include "sale_report.txt.inc"
    0};

/* Outcomes of orders, from the bottom of the chart up. */
enum outcome { CONFIRMED, UNPAID, EXPIRED, CANCELLED, REJECTED, OUTCOMES };
static const struct {
    const char *name, *css;
} outcomes[OUTCOMES] = {
    [CONFIRMED] = {"confirmed", "yes"}, [UNPAID] = {"accepted, not paid yet", "pending"},
    [EXPIRED] = {"expired", "out"},     [CANCELLED] = {"cancelled", "limits"},
    [REJECTED] = {"rejected", "bad"},
};

int lt_sale_log_new(struct lt_sale_log *ret_log)
{
    *ret_log = (struct lt_sale_log){.audit = NULL};
    return oq_audit_new(&ret_log->audit);
}

void lt_sale_log_free(struct lt_sale_log *log)
{
    oq_audit_free(log->audit);
    log->audit = NULL;
}

/* An order may expire only if it was not paid in time. */
static void note_expiry(struct lt_sale_log *log, const struct oq_event *event)
{
    const struct oq_order *order =
        event->type == OQ_RELEASED && event->reason == OQ_EXPIRED && event->has_order_id
            ? oq_fold_order(oq_audit_fold(log->audit), &event->order_id)
            : NULL;
    struct oq_order_view has;
    if (order == NULL || !oq_order_known(order) || oq_order_state(order) != OQ_STATE_ACCEPTED)
        return;
    oq_order_get(order, &has);
    int64_t late_ms = event->at_ms - has.pay_by_ms;
    log->expired_early += late_ms < 0;
    if (late_ms > log->latest_expiry_ms)
        log->latest_expiry_ms = late_ms;
}

static int add_placed(int64_t place, const struct oq_event *event, void *ctx)
{
    struct lt_sale_log *log = ctx;

    note_expiry(log, event);
    return oq_audit_add(log->audit, oq_place_partition(place), oq_place_seq(place), event);
}

int lt_sale_log_add(const char *line, size_t len, void *ctx)
{
    return oq_event_visit_line(line, len, add_placed, ctx);
}

/* --- counting --- */

struct counts {
    int64_t first_ms, last_ms, step_ms; /* of reservations; steps of the chart */
    size_t steps;
    int64_t orders[OUTCOMES], units[OUTCOMES];
    int64_t made[COLUMNS][OUTCOMES], units_made[COLUMNS];
    int64_t buyers;              /* buyers with an accepted order */
    int64_t by_units[UNITS_MAX]; /* of these, by their present units, from 1 */
    int64_t empty_handed;        /* of these, without any unit now */
};

static enum outcome outcome_of(const struct oq_order *order)
{
    switch (oq_order_state(order)) {
    case OQ_STATE_CONFIRMED:
        return CONFIRMED;
    case OQ_STATE_ACCEPTED:
        return UNPAID;
    case OQ_STATE_RELEASED:
        return oq_order_reason(order) == OQ_EXPIRED ? EXPIRED : CANCELLED;
    case OQ_STATE_VOID:
        break;
    }
    return REJECTED;
}

/* Counts a buyer, at their newest order. */
static void count_buyer(struct counts *counts, const struct oq_order *newest)
{
    int64_t units = 0;
    bool accepted = false;
    for (const struct oq_order *order = newest; order != NULL; order = oq_order_older(order)) {
        enum outcome outcome = outcome_of(order);
        units += outcome <= UNPAID ? oq_order_quantity(order) : 0;
        accepted = accepted || outcome != REJECTED;
    }
    counts->buyers += accepted;
    counts->empty_handed += accepted && units == 0;
    if (units > 0)
        counts->by_units[units < UNITS_MAX ? units - 1 : UNITS_MAX - 1]++;
}

static void find_span(const struct oq_sale *sale, struct counts *counts)
{
    for (size_t i = 0; i < oq_sale_order_count(sale); i++) {
        struct oq_order_view has;
        oq_order_get(oq_sale_order_at(sale, i), &has);
        int64_t at_ms = has.reserved_at_ms;
        if (counts->first_ms == 0 || at_ms < counts->first_ms)
            counts->first_ms = at_ms;
        if (at_ms > counts->last_ms)
            counts->last_ms = at_ms;
    }
    int64_t span_ms = counts->last_ms - counts->first_ms;
    counts->step_ms = span_ms / COLUMNS + 1;
    counts->steps = (size_t)(span_ms / counts->step_ms) + 1;
}

static void count(const struct oq_fold *fold, const struct oq_sale *sale, struct counts *counts)
{
    find_span(sale, counts);
    for (size_t i = 0; i < oq_sale_order_count(sale); i++) {
        const struct oq_order *order = oq_sale_order_at(sale, i);
        struct oq_order_view has;
        oq_order_get(order, &has);
        if (!has.known)
            continue;
        enum outcome outcome = outcome_of(order);
        size_t step = (size_t)((has.reserved_at_ms - counts->first_ms) / counts->step_ms);
        counts->orders[outcome]++;
        counts->units[outcome] += has.quantity;
        counts->made[step][outcome]++;
        counts->units_made[step] += outcome != REJECTED ? has.quantity : 0;
        if (oq_fold_newest(fold, sale, has.user) == order)
            count_buyer(counts, order);
    }
}

/* --- the report --- */

static json_t *skus_json(const json_t *audit, int64_t *ret_oversold, json_t **ret_stock)
{
    json_t *list = json_array();
    size_t index;
    const json_t *row;
    int64_t total = 0, sold = 0, left = 0;
    json_array_foreach(json_object_get(audit, "skus"), index, row)
    {
        int64_t units = json_integer_value(json_object_get(row, "adjustments"));
        int64_t gone = json_integer_value(json_object_get(row, "held")) +
                       json_integer_value(json_object_get(row, "confirmed"));
        *ret_oversold += gone > units ? gone - units : 0;
        total += units;
        sold += gone;
        left += json_integer_value(json_object_get(row, "available"));
        (void)json_array_append_new(
            list, json_pack("{s:O?, s:I, s:I, s:O?, s:O?, s:O?, s:O?}", "sku",
                            json_object_get(row, "sku"), "total", (json_int_t)units, "sold",
                            (json_int_t)gone, "held", json_object_get(row, "held"), "confirmed",
                            json_object_get(row, "confirmed"), "released",
                            json_object_get(row, "released"), "available",
                            json_object_get(row, "available")));
    }
    *ret_stock = json_pack("{s:I, s:I, s:I}", "total", (json_int_t)total, "sold", (json_int_t)sold,
                           "available", (json_int_t)left);
    return list;
}

static void add_check(json_t *checks, bool *io_ok, const char *name, bool ok, json_t *words)
{
    *io_ok = *io_ok && ok;
    (void)json_array_append_new(checks, json_pack("{s:s, s:b, s:b, s:o}", "name", name, "ok", ok,
                                                  "applied", 1, "text", words));
}

static bool is_same(const json_t *ours, const json_t *theirs)
{
    static const char *const members[] = {"adjustments", "held", "confirmed"};
    size_t index;
    const json_t *row;
    json_array_foreach(json_object_get(ours, "skus"), index, row)
    {
        const char *sku = json_string_value(json_object_get(row, "sku"));
        for (size_t i = 0; i < PS_ARRAY_LEN(members); i++) {
            if (json_integer_value(json_object_get(row, members[i])) !=
                lt_sale_audit_number(theirs, sku, members[i]))
                return false;
        }
    }
    return true;
}

static json_t *proof_json(const struct lt_sale_log *log, const json_t *ours, json_t *gateway,
                          bool selling, int64_t oversold, int64_t expired)
{
    json_t *checks = json_array();
    bool ok = true, same = is_same(ours, gateway);
    int64_t in_doubt = lt_sale_audit_sum(gateway, "in_doubt");
    add_check(checks, &ok, "oversold", oversold == 0,
              json_sprintf("%s units are oversold", LT_COUNT(oversold)));
    add_check(checks, &ok, "auditor", json_is_true(json_object_get(ours, "ok")),
              json_sprintf("the auditor read the log and found %s", lt_sale_violation(ours)));
    /* While orders are made, the log is ahead of the audit. */
    add_check(
        checks, &ok, "gateway", json_is_true(json_object_get(gateway, "ok")) && (same || selling),
        json_sprintf("the gateway's own audit found %s and has %s", lt_sale_violation(gateway),
                     same      ? "the same numbers"
                     : selling ? "other numbers, because it still sells"
                               : "OTHER numbers"));
    add_check(checks, &ok, "settled", in_doubt == 0 || selling,
              json_sprintf("%s units are still in doubt", LT_COUNT(in_doubt)));
    add_check(checks, &ok, "expiry", log->expired_early == 0,
              json_sprintf("of %s expired orders, %s expired before their payment was due",
                           LT_COUNT(expired), LT_COUNT(log->expired_early)));
    return json_pack("{s:b, s:b, s:o, s:O, s:O}", "made", 1, "ok", ok, "checks", checks, "auditor",
                     ours, "gateway", gateway);
}

static json_t *outcomes_json(const struct counts *counts)
{
    json_t *list = json_array();
    for (size_t i = 0; i < OUTCOMES; i++) {
        if (counts->orders[i] > 0)
            (void)json_array_append_new(list, json_pack("{s:s, s:I, s:I}", "name", outcomes[i].name,
                                                        "orders", (json_int_t)counts->orders[i],
                                                        "units", (json_int_t)counts->units[i]));
    }
    return list;
}

static json_t *buyers_json(const struct counts *counts)
{
    json_t *list = json_array();
    for (size_t i = 0; i < UNITS_MAX; i++) {
        if (counts->by_units[i] > 0)
            (void)json_array_append_new(
                list, json_pack("{s:I, s:b, s:I}", "units", (json_int_t)i + 1, "or_more",
                                i + 1 == UNITS_MAX, "buyers", (json_int_t)counts->by_units[i]));
    }
    return list;
}

/* Orders by the moment of their reservation: {"step_ms","units":[…],"orders":{outcome:[…]}}. */
static json_t *timeline_json(const struct counts *counts)
{
    json_t *units = json_array(), *orders = json_object();
    for (size_t o = 0; o < OUTCOMES; o++) {
        json_t *list = json_array();
        for (size_t i = 0; i < counts->steps; i++)
            (void)json_array_append_new(list, json_integer(counts->made[i][o]));
        if (counts->orders[o] > 0)
            (void)json_object_set(orders, outcomes[o].name, list);
        json_decref(list);
    }
    for (size_t i = 0; i < counts->steps; i++)
        (void)json_array_append_new(units, json_integer(counts->units_made[i]));
    return json_pack("{s:I, s:o, s:o}", "step_ms", (json_int_t)counts->step_ms, "units", units,
                     "orders", orders);
}

int64_t lt_sale_report_start(const struct lt_sale_log *log, const char *name)
{
    const struct oq_sale *sale = oq_fold_sale(oq_audit_fold(log->audit), name, strlen(name));
    struct counts counts = {.first_ms = 0};
    if (sale != NULL)
        find_span(sale, &counts);
    return counts.first_ms;
}

int lt_sale_report_json(const struct lt_sale_log *log, const json_t *sale, json_t *gateway,
                        json_t *saw, json_t **ret_json)
{
    const struct oq_fold *fold = oq_audit_fold(log->audit);
    const char *name = json_string_value(json_object_get(sale, "sale"));
    const struct oq_sale *records = name != NULL ? oq_fold_sale(fold, name, strlen(name)) : NULL;
    int64_t now_ms = ps_clock_wall_ms(&ps_clock_system), oversold = 0;
    json_t *ours = NULL, *stock = NULL;
    const char *state = json_string_value(json_object_get(sale, "state"));
    bool selling = state != NULL && strcmp(state, "open") == 0;
    if (records == NULL)
        return PS_E_NOT_FOUND;
    int err = oq_audit_report(log->audit, name, now_ms, NULL, 0, &ours);
    struct counts *counts = calloc(1, sizeof *counts);
    if (err < 0 || counts == NULL) {
        json_decref(ours);
        free(counts);
        return err < 0 ? err : PS_E_NOMEM;
    }
    count(fold, records, counts);
    json_t *skus = skus_json(ours, &oversold, &stock);
    json_t *json = json_pack(
        "{s:i, s:s, s:s, s:O?, s:O?, s:O?, s:O?, s:O?, s:o, s:o, s:o, s:I, s:I, s:I, s:o, s:o, "
        "s:o, s:I, s:o, s:O?}",
        "format", 1, "program", "penstock-rehearse " PENSTOCK_VERSION, "sale", name, "state",
        json_object_get(sale, "state"), "opens_at", json_object_get(sale, "opens_at"), "closes_at",
        json_object_get(sale, "closes_at"), "per_user_cap", json_object_get(sale, "per_user_cap"),
        "reservation_ttl_s", json_object_get(sale, "reservation_ttl_s"), "at",
        ps_json_of_time(now_ms), "first_order_at",
        counts->first_ms > 0 ? ps_json_of_time(counts->first_ms) : json_null(), "last_order_at",
        counts->last_ms > 0 ? ps_json_of_time(counts->last_ms) : json_null(), "oversold",
        (json_int_t)oversold, "buyers", (json_int_t)counts->buyers, "empty_handed",
        (json_int_t)counts->empty_handed, "stock", stock, "outcomes", outcomes_json(counts),
        "buyers_by_units", buyers_json(counts), "latest_expiry_ms",
        (json_int_t)log->latest_expiry_ms, "timeline", timeline_json(counts), "gateway_saw", saw);
    if (json_object_set_new(
            json, "proof",
            proof_json(log, ours, gateway, selling, oversold, counts->orders[EXPIRED])) < 0 ||
        json_object_set_new(json_object_get(json, "stock"), "skus", skus) < 0) {
        json_decref(json);
        json = NULL;
    }
    json_decref(ours);
    free(counts);
    *ret_json = json;
    return json != NULL ? 0 : PS_E_NOMEM;
}

/* --- text and page --- */

/* The steps [from, to) of the timeline as a bar, or a row of the table. */
static json_t *bar_json(const json_t *timeline, size_t from, size_t to)
{
    const json_t *orders = json_object_get(timeline, "orders");
    json_t *answers = json_array();
    json_int_t all = 0, units = 0;
    for (size_t o = 0; o < OUTCOMES; o++) {
        const json_t *list = json_object_get(orders, outcomes[o].name);
        json_int_t made = 0;
        for (size_t i = from; i < to; i++)
            made += json_integer_value(json_array_get(list, i));
        if (list != NULL)
            (void)json_array_append_new(answers,
                                        json_pack("{s:s, s:s, s:I}", "label", outcomes[o].name,
                                                  "css", outcomes[o].css, "count", made));
        all += made;
    }
    for (size_t i = from; i < to; i++)
        units += json_integer_value(json_array_get(json_object_get(timeline, "units"), i));
    return json_pack("{s:I, s:I, s:I, s:o}", "from_ms",
                     (json_int_t)from * json_integer_value(json_object_get(timeline, "step_ms")),
                     "clicks", all, "sold", units, "answers", answers);
}

static json_t *bars_json(const json_t *timeline, size_t most)
{
    json_t *list = json_array();
    size_t steps = json_array_size(json_object_get(timeline, "units"));
    size_t each = (steps + most - 1) / most;
    for (size_t from = 0; from < steps; from += each)
        (void)json_array_append_new(list, bar_json(timeline, from, from + each));
    return list;
}

/* The data of report.html's first chart. */
static json_t *chart_json(const json_t *timeline)
{
    json_t *columns = bars_json(timeline, COLUMNS), *column, *all = bar_json(timeline, 0, COLUMNS);
    double step_s = json_number_value(json_object_get(timeline, "step_ms")) / 1000, most = 0;
    size_t index;
    json_array_foreach(columns, index, column) most =
        fmax(most, json_number_value(json_object_get(column, "clicks")));
    double top = fmax(1, lt_report_round_up(most / step_s));
    double length_ms = 1000 * step_s * (double)json_array_size(columns);
    json_t *json = json_pack("{s:o, s:o, s:O?, s:o, s:f, s:o, s:f}", "columns", columns, "rows",
                             bars_json(timeline, ROWS), "groups", json_object_get(all, "answers"),
                             "rates", lt_report_axis(top), "bar_top", top * step_s, "times",
                             lt_report_times(length_ms), "axis_ms", length_ms);
    json_decref(all);
    return json;
}

/* Converts a rate of answers per second into counts from the moment 0 on. Seconds without a sample
 * get the rate before them. */
static double sum_rates(const json_t *rates, double from_s, double step_s)
{
    double sum = 0, before = 0;
    size_t left_out = 0;
    for (size_t i = 0; i < json_array_size(rates); i++) {
        const json_t *rate = json_array_get(rates, i);
        if (!json_is_number(rate) || from_s + (double)(i + 1) * step_s <= 0) {
            left_out += json_is_null(rate);
            continue;
        }
        sum += step_s * (json_number_value(rate) + before * (double)left_out);
        before = json_number_value(rate);
        left_out = 0;
    }
    return sum;
}

/* What the gateway answered since the first order: numbers by verdict. */
static json_t *answers_json(const json_t *saw)
{
    json_t *counts = json_object(), *points;
    double from_ms = json_number_value(json_object_get(saw, "from_ms"));
    double step_ms = json_number_value(json_object_get(saw, "step_ms"));
    const char *name;
    json_object_foreach(json_object_get(saw, "answers"), name, points)
    {
        double sum = sum_rates(points, from_ms / 1000, step_ms / 1000);
        if (sum >= 0.5)
            (void)json_object_set_new(counts, name, json_integer(llround(sum)));
    }
    return counts;
}

/* "2030-01-31 12:00:05 UTC", or a dash. */
static json_t *moment_json(const json_t *report, const char *member)
{
    const char *at = json_string_value(json_object_get(report, member));
    return at != NULL ? json_sprintf("%.10s %.8s UTC", at, at + sizeof "2030-01-31")
                      : json_string("–");
}

int lt_sale_report_print(const json_t *report, bool page, FILE *out)
{
    json_t *data = json_deep_copy(report), *chart = chart_json(json_object_get(report, "timeline"));
    const json_t *skus = json_object_get(json_object_get(report, "stock"), "skus");
    bool ok = json_is_true(json_object_get(json_object_get(report, "proof"), "ok"));
    double length_ms = json_number_value(json_object_get(chart, "axis_ms"));
    const json_t *saw = json_object_get(report, "gateway_saw");
    /* The gateway keeps ten minutes, for all its sales together; it has nothing about an older
     * sale. */
    bool remembered =
        json_is_object(saw) && json_number_value(json_object_get(saw, "from_ms")) <= length_ms;
    json_t *strips = remembered ? lt_report_strips(report, length_ms) : json_array();
    json_t *counts = answers_json(remembered ? saw : NULL);
    json_t *rest =
        json_pack("{s:s, s:b, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:f, s:o, s:o}", "outcome",
                  ok ? "The audit found no difference" : "THE AUDIT FOUND DIFFERENCES", "real", 1,
                  "over_time", json_array_size(strips) > 0, "started", moment_json(report, "at"),
                  "opened", moment_json(report, "opens_at"), "closed",
                  moment_json(report, "closes_at"), "first", moment_json(report, "first_order_at"),
                  "last", moment_json(report, "last_order_at"), "strips", strips, "mark_ms", 0.0,
                  "split", json_pack("{s:O?}", "skus", skus), "answers", lt_report_words(counts));
    int err = json_object_update(data, chart) == 0 && json_object_update(data, rest) == 0
                  ? 0
                  : PS_E_NOMEM;
    if (err == 0 && page)
        lt_report_fill_page(data, out);
    else if (err == 0)
        lt_template_fill((const char *)text, data, false, out);
    json_decref(data);
    json_decref(chart);
    json_decref(rest);
    json_decref(counts);
    return err;
}
