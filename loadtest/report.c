/* The numbers of the report, as a JSON document; README.md lists every member. Built with
 * json_pack, which gives NULL when memory runs out anywhere, so one check at the end is enough. */
#include "loadtest/report.h"

#include "common/clock.h"
#include "common/text/utf8.h"
#include "loadtest/pages.h"

#include <string.h>

/* The moment when the order's units were reserved; -1: it held none. Clocks of two machines may
 * differ. */
static int64_t sold_at_ns(const struct lt_report *report, const struct oq_order *order)
{
    struct oq_order_view view;
    oq_order_get(order, &view);
    if (!view.known || view.state == OQ_STATE_VOID)
        return -1;
    int64_t at_ns = (view.reserved_at_ms - report->started_wall_ms) * PS_NS_PER_MS;
    return at_ns > 0 ? at_ns : 0;
}

void lt_report_sales(struct lt_report *report, const struct oq_fold *fold)
{
    const struct oq_sale *sale = oq_fold_sale(fold, report->sale, strlen(report->sale));
    size_t count = sale != NULL ? oq_sale_order_count(sale) : 0;
    report->last_sold_ns = -1;
    for (size_t i = 0; i < count; i++) {
        int64_t at_ns = sold_at_ns(report, oq_sale_order_at(sale, i));
        if (at_ns > report->last_sold_ns)
            report->last_sold_ns = at_ns;
    }
    /* Orders know milliseconds. */
    report->curve_ns = PS_NS_PER_MS * (1 + report->last_sold_ns / (LT_CURVE * PS_NS_PER_MS));
    (void)lt_tally_slot(report->tally,
                        report->last_sold_ns); /* widens the slots, before they fill */
    for (size_t i = 0; i < count; i++) {
        const struct oq_order *order = oq_sale_order_at(sale, i);
        int64_t at_ns = sold_at_ns(report, order);
        if (at_ns < 0)
            continue;
        uint32_t quantity = (uint32_t)oq_order_quantity(order);
        report->sold[lt_tally_slot(report->tally, at_ns)] += quantity;
        report->curve[at_ns / report->curve_ns] += quantity;
    }
}

/* The text of a finding as JSON; it may quote bytes of the log and be cut within a character. */
static json_t *found_json(const char *text)
{
    char clean[sizeof((struct lt_proof *)NULL)->why_not];
    size_t len = strnlen(text, sizeof clean);
    uint32_t point;
    for (size_t at = 0; at < len;) {
        size_t step = ps_utf8_next(text + at, len - at, &point);
        if (step > 0)
            memcpy(clean + at, text + at, step);
        else
            clean[at] = '?';
        at += step > 0 ? step : 1;
    }
    return json_stringn(clean, len);
}

static json_t *latency_json(const struct ps_histogram *histogram)
{
    static const struct {
        const char *name;
        double percent;
    } members[] = {{"p50", 50}, {"p90", 90}, {"p99", 99}, {"p99_9", 99.9}};
    const double ns_per_ms = (double)PS_NS_PER_MS;
    json_t *latency = json_pack("{s:I, s:f}", "count", (json_int_t)histogram->count, "max",
                                (double)histogram->max_ns / ns_per_ms);
    for (size_t i = 0; i < PS_ARRAY_LEN(members); i++) {
        double ns = (double)ps_histogram_percentile(histogram, members[i].percent);
        (void)json_object_set_new(latency, members[i].name, json_real(ns / ns_per_ms));
    }
    return latency;
}

static json_t *plan_json(const struct lt_plan *plan)
{
    const struct lt_plan_spec *spec = &plan->spec;
    json_t *phases = json_array();
    for (size_t i = 0; i < spec->phase_count; i++)
        (void)json_array_append_new(
            phases, json_pack("{s:s, s:I, s:I}", "shape", lt_shape_name(spec->phases[i].shape),
                              "over_ms", (json_int_t)spec->phases[i].over_ms, "clicks",
                              (json_int_t)spec->phases[i].clicks));
    return json_pack("{s:I, s:I, s:I, s:I, s:[I,I], s:I, s:I, s:I, s:f, s:f, s:o}", "buyers",
                     (json_int_t)spec->buyers, "clicks", (json_int_t)plan->count, "stock",
                     (json_int_t)spec->stock, "skus", (json_int_t)spec->skus, "quantity",
                     (json_int_t)spec->quantity_min, (json_int_t)spec->quantity_max, "cap",
                     (json_int_t)spec->cap, "sku_cap", (json_int_t)spec->sku_cap, "seed",
                     (json_int_t)spec->seed, "repeat_share", spec->repeat_share, "repeat_key_share",
                     spec->repeat_key_share, "phases", phases);
}

static json_t *client_json(const struct lt_report *report)
{
    const struct lt_tally *tally = report->tally;
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:f, s:o}", "connections",
                     (json_int_t)report->connections, "connects", (json_int_t)report->end.connects,
                     "timeout_ms", (json_int_t)report->timeout_ms, "patience_ms",
                     (json_int_t)report->patience_ms, "never_sent", (json_int_t)tally->never_sent,
                     "cpu_us_per_click",
                     tally->clicks > 0 ? (double)report->cpu_us / (double)tally->clicks : 0.0,
                     "sent_late_ms", latency_json(&tally->sent_late));
}

static json_t *answers_json(const struct lt_tally *tally)
{
    json_t *answers = json_object();
    for (size_t i = 0; i < tally->verdict_count; i++) {
        uint64_t count = tally->verdicts[i]->latency.count;
        if (count > 0)
            (void)json_object_set_new(answers, tally->verdicts[i]->name,
                                      json_integer((json_int_t)count));
    }
    return answers;
}

static bool has_answer(size_t verdict)
{
    return verdict <= LT_V_REPLAYED || verdict >= LT_V_FIXED;
}

static uint64_t count_answered(const struct lt_tally *tally)
{
    uint64_t count = 0;
    for (size_t i = 0; i < tally->verdict_count; i++)
        count += has_answer(i) ? tally->verdicts[i]->latency.count : 0;
    return count;
}

/* Null when no bound was asked for. */
static json_t *in_time_json(const struct lt_tally *tally)
{
    if (tally->in_time_ns == 0)
        return json_null();
    json_t *answers = json_object();
    for (size_t i = 0; i < tally->verdict_count; i++) {
        const struct lt_verdict_tally *verdict = tally->verdicts[i];
        if (has_answer(i) && verdict->latency.count > 0)
            (void)json_object_set_new(answers, verdict->name,
                                      json_integer((json_int_t)verdict->in_time));
    }
    return json_pack("{s:I, s:o}", "within_ms", (json_int_t)(tally->in_time_ns / PS_NS_PER_MS),
                     "answers", answers);
}

/* All answers, the admitted, all refusals, and each verdict by its name. The histograms of a group
 * are merged, so that its percentiles are those of the group, not averages of percentiles. */
static json_t *latencies_json(const struct lt_tally *tally)
{
    struct ps_histogram all, admitted, refusals;
    ps_histogram_init(&all);
    ps_histogram_init(&admitted);
    ps_histogram_init(&refusals);
    for (size_t i = 0; i < tally->verdict_count; i++) {
        if (has_answer(i))
            ps_histogram_merge(&all, &tally->verdicts[i]->latency);
        if (i == LT_V_ACCEPTED || i == LT_V_PENDING)
            ps_histogram_merge(&admitted, &tally->verdicts[i]->latency);
        if (tally->verdicts[i]->refusal)
            ps_histogram_merge(&refusals, &tally->verdicts[i]->latency);
    }
    json_t *latencies = json_pack("{s:o, s:o, s:o}", "all", latency_json(&all), "admitted",
                                  latency_json(&admitted), "refusals", latency_json(&refusals));
    for (size_t i = 0; i < tally->verdict_count; i++) {
        const struct lt_verdict_tally *verdict = tally->verdicts[i];
        if (verdict->latency.count > 0)
            (void)json_object_set_new(latencies, verdict->name, latency_json(&verdict->latency));
    }
    return latencies;
}

static json_t *slots_json(const struct lt_tally *tally, const uint32_t *slot)
{
    json_t *list = json_array();
    for (size_t i = 0; i < tally->slot_count; i++)
        (void)json_array_append_new(list, json_integer(slot[i]));
    return list;
}

json_t *lt_report_timeline(const struct lt_tally *tally)
{
    json_t *answers = json_object();
    for (size_t i = 0; i < tally->verdict_count; i++) {
        if (tally->verdicts[i]->latency.count > 0)
            (void)json_object_set_new(answers, tally->verdicts[i]->name,
                                      slots_json(tally, tally->verdicts[i]->slot));
    }
    return json_pack("{s:I, s:o, s:o, s:{s:o, s:o}}", "slot_ms",
                     (json_int_t)(tally->slot_ns / PS_NS_PER_MS), "offered",
                     slots_json(tally, tally->offered), "answers", answers, "latency_ms", "all",
                     lt_waits_json(&tally->waits), "admitted", lt_waits_json(&tally->admitted));
}

/* The timeline, with units sold. */
static json_t *timeline_json(const struct lt_report *report)
{
    json_t *timeline = lt_report_timeline(report->tally);
    (void)json_object_set_new(timeline, "sold", slots_json(report->tally, report->sold));
    return timeline;
}

static json_t *proof_json(const struct lt_proof *proof)
{
    if (!proof->made)
        return json_pack("{s:b, s:b, s:o}", "made", 0, "ok", 0, "why_not",
                         found_json(proof->why_not));
    json_t *checks = json_array();
    for (size_t i = 0; i < LT_CHECKS; i++)
        (void)json_array_append_new(
            checks, json_pack("{s:s, s:b, s:b, s:o}", "name", proof->checks[i].name, "ok",
                              proof->checks[i].ok, "applied", proof->checks[i].applied, "text",
                              found_json(proof->checks[i].text)));
    return json_pack(
        "{s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:{s:I, s:I, s:I}, s:{s:I, s:I, s:I}, "
        "s:o, s:O, s:O}",
        "made", 1, "ok", proof->ok, "records", (json_int_t)proof->records, "oversold",
        (json_int_t)proof->oversold, "lost", (json_int_t)proof->lost, "twice",
        (json_int_t)proof->twice, "promised", (json_int_t)proof->promised, "orders",
        (json_int_t)proof->orders, "found_again", (json_int_t)proof->found_again, "unreported",
        (json_int_t)proof->unreported, "pending", "accepted", (json_int_t)proof->pending_accepted,
        "void", (json_int_t)proof->pending_void, "gone", (json_int_t)proof->pending_gone,
        "decisions", "confirmed", (json_int_t)proof->confirmed_said, "cancelled",
        (json_int_t)proof->cancelled_said, "broken", (json_int_t)proof->broken_decisions, "checks",
        checks, "auditor", proof->auditor, "gateway", proof->gateway);
}

static json_t *units_json(const struct lt_proof_sku *sku)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "total", (json_int_t)sku->stock, "sold",
                     (json_int_t)(sku->held + sku->confirmed), "held", (json_int_t)sku->held,
                     "confirmed", (json_int_t)sku->confirmed, "released", (json_int_t)sku->released,
                     "available", (json_int_t)sku->available);
}

static json_t *stock_json(const struct lt_report *report)
{
    const struct lt_proof *proof = report->proof;
    if (!proof->made)
        return json_null();
    json_t *last = report->last_sold_ns >= 0
                       ? json_real((double)report->last_sold_ns / (double)PS_NS_PER_MS)
                       : json_null();
    json_t *stock = units_json(&proof->sum), *skus = json_array();
    for (size_t i = 0; i < proof->sku_count; i++) {
        json_t *sku = units_json(&proof->skus[i]);
        (void)json_object_set_new(sku, "sku", json_string(proof->skus[i].name));
        (void)json_array_append_new(skus, sku);
    }
    (void)json_object_set_new(stock, "skus", skus);
    (void)json_object_set_new(stock, "last_sold_ms", last);
    return stock;
}

static json_t *cache_json(const struct lt_pages *pages, const struct lt_page *page)
{
    json_t *cache = json_object();
    for (size_t i = 0; i < LT_CACHE_WORDS_MAX && pages->cache[i][0] != '\0'; i++) {
        json_int_t count = 0;
        for (size_t p = 0; p < pages->count; p++)
            count +=
                page == NULL || page == &pages->page[p] ? (json_int_t)pages->page[p].cache[i] : 0;
        if (count > 0)
            (void)json_object_set_new(cache, pages->cache[i], json_integer(count));
    }
    return cache;
}

/* Null when there were no visitors. */
static json_t *pages_json(const struct lt_pages *pages)
{
    if (pages == NULL)
        return json_null();
    const struct lt_tally *tally = pages->tally;
    json_t *paths = json_array();
    for (size_t i = 0; i < pages->count; i++) {
        const struct lt_page *page = &pages->page[i];
        (void)json_array_append_new(
            paths, json_pack("{s:s, s:f, s:I, s:o, s:o}", "path", page->path, "weight",
                             page->weight, "offered", (json_int_t)page->offered, "latency_ms",
                             latency_json(&page->latency), "cache", cache_json(pages, page)));
    }
    return json_pack("{s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "offered",
                     (json_int_t)tally->clicks, "answered", (json_int_t)count_answered(tally),
                     "unanswered", (json_int_t)(tally->clicks - count_answered(tally)),
                     "latency_ms", latencies_json(tally), "sent_late_ms",
                     latency_json(&tally->sent_late), "answers", answers_json(tally), "cache",
                     cache_json(pages, NULL), "paths", paths);
}

json_t *lt_report_json(const struct lt_report *report)
{
    const struct lt_tally *tally = report->tally;
    return json_pack(
        "{s:i, s:s, s:s, s:s, s:o, s:f, s:b, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:o, s:o, "
        "s:o, s:o, s:o, s:o, s:o, s:O?, s:s*}",
        "format", 1, "program", "penstock-rehearse " PENSTOCK_VERSION, "sale", report->sale,
        "public", report->public_authority, "started_at", ps_json_of_time(report->started_wall_ms),
        "duration_s", (double)report->end.elapsed_ns / (double)PS_NS_PER_S, "interrupted",
        report->interrupted, "plan", plan_json(report->plan), "client", client_json(report),
        "offered", (json_int_t)tally->clicks, "answered", (json_int_t)count_answered(tally),
        "unanswered", (json_int_t)(tally->clicks - count_answered(tally)), "repeated",
        (json_int_t)tally->repeats, "tried_again", (json_int_t)tally->tries_again, "latency_ms",
        latencies_json(tally), "answers", answers_json(tally), "in_time", in_time_json(tally),
        "timeline", timeline_json(report), "pages", pages_json(report->pages), "stock",
        stock_json(report), "proof", proof_json(report->proof), "gateway_saw", report->gateway,
        "twin_of", report->twin_of);
}
