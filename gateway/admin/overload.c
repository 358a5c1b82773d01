/* GET /admin/v1/overload: the document with its signals, at present and in the last minutes. It
 * shows the control thread's last sample, the same that the metrics show. */
#include "gateway/admin/documents.h"
#include "gateway/admin/ladder.h"
#include "gateway/admin/parts.h"

#include <math.h>

/* --- measured members of the overload document --- */

/* Adds the measured members to a signal's rule; 0 or -1. */
static int show_signal(const struct adm_signals *signals, enum cfg_signal signal, json_t *rule)
{
    const struct adm_sample *sample = adm_signals_now(signals);
    const char *absent = adm_signals_absent(signals, signal);
    int err = json_object_update_new(
        rule, json_pack("{s:s, s:s, s:o, s:o}", "unit", cfg_signals[signal].unit, "source",
                        cfg_signals[signal].source, "value", adm_figure(sample->value[signal]),
                        "share", adm_figure(sample->share[signal])));

    if (err == 0 && absent != NULL)
        err = json_object_set_new(rule, "absent", json_string(absent));
    return err;
}

static int show_overload(const struct op_admin *admin, const struct cfg_doc *doc, json_t *json)
{
    const struct op_deps *deps = &admin->deps;
    const struct adm_sample *sample = adm_signals_now(deps->overload->signals);
    json_t *rules = json_object_get(json, "signals");
    int err = op_show_ladder(admin, json);

    (void)doc;
    for (enum cfg_signal i = 0; err == 0 && i < CFG_SIGNAL_COUNT; i++)
        err = show_signal(deps->overload->signals, i, json_object_get(rules, cfg_signals[i].name));
    if (err != 0)
        return err;
    return json_object_update_new(
        json,
        json_pack("{s:o, s:o, s:s?}", "at", ps_json_of_time(sample->at_ms), "pressure",
                  adm_figure(sample->pressure), "highest",
                  sample->highest < CFG_SIGNAL_COUNT ? cfg_signals[sample->highest].name : NULL));
}

/* --- history --- */

/* The newest `points` of the history. */
struct span {
    const struct adm_history *history;
    size_t first, end;
};

static json_t *series_json(const struct span *span, size_t series)
{
    json_t *list = json_array();
    int err = 0;

    for (size_t i = span->first; err == 0 && i < span->end; i++)
        err = json_array_append_new(list, adm_figure(adm_history_at(span->history, series, i)));
    return ps_json_built(list, err);
}

static bool is_ever_positive(const struct span *span, size_t series)
{
    for (size_t i = span->first; i < span->end; i++)
        if (adm_history_at(span->history, series, i) > 0)
            return true;
    return false;
}

static json_t *signal_histories_json(const struct span *span)
{
    json_t *all = json_object();
    int err = 0;

    for (enum cfg_signal i = 0; err == 0 && i < CFG_SIGNAL_COUNT; i++)
        err =
            json_object_set_new(all, cfg_signals[i].name, series_json(span, ADM_SERIES_SIGNAL + i));
    return ps_json_built(all, err);
}

/* Only verdicts that occurred. */
static json_t *answer_histories_json(const struct span *span)
{
    json_t *all = json_object();
    int err = 0;

    for (size_t i = 0; err == 0 && i < ANS_VERDICT_COUNT; i++)
        if (is_ever_positive(span, ADM_SERIES_ANSWERS + i))
            err = json_object_set_new(all, ans_verdict_names[i],
                                      series_json(span, ADM_SERIES_ANSWERS + i));
    return ps_json_built(all, err);
}

static json_t *history_json(const struct op_deps *deps, int64_t seconds)
{
    const struct adm_history *history = adm_signals_history(deps->overload->signals);
    size_t kept = adm_history_count(history);
    size_t points = kept < (size_t)seconds ? kept : (size_t)seconds;
    struct span span = {.history = history, .first = kept - points, .end = kept};
    int64_t now_ns = ps_clock_mono_ns(deps->clock);
    int64_t first_ns = (adm_history_last(history) + 1 - (int64_t)points) * PS_NS_PER_S;
    int64_t from_ms = ps_clock_wall_ms(deps->clock) - (now_ns - first_ns) / PS_NS_PER_MS;

    return json_pack("{s:i, s:o, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "step_s", 1, "from",
                     ps_json_of_time(from_ms), "points", (json_int_t)points, "pressure",
                     series_json(&span, ADM_SERIES_PRESSURE), "level",
                     series_json(&span, ADM_SERIES_LEVEL), "shed_share",
                     series_json(&span, ADM_SERIES_SHED), "signals", signal_histories_json(&span),
                     "answers", answer_histories_json(&span), "order_p50_ms",
                     series_json(&span, ADM_SERIES_ORDER_P50), "order_p99_ms",
                     series_json(&span, ADM_SERIES_ORDER_P99));
}

/* --- the route --- */

static void get_overload(struct op_request *request)
{
    const struct op_deps *deps = &request->admin->deps;
    const struct cfg_doc *doc = cfg_store_find(deps->config, &cfg_kind_overload, CFG_OVERLOAD_NAME);
    int64_t seconds = ADM_HISTORY_S;
    const struct op_param params[] = {
        {.name = "history_s", .number = &seconds, .min = 0, .max = ADM_HISTORY_S}};

    if (!op_query(request, params, PS_ARRAY_LEN(params)))
        return;
    json_t *json = op_document_json(request->admin, doc);
    int err = json_object_set_new(json, "history", history_json(deps, seconds));
    op_etag(request, doc->version);
    op_json(request, ANS_V_ok, ps_json_built(json, err));
}

/* --- Metrics. --- */

/* Prints the signals that have a value. */
static void print_signals(FILE *out, enum gw_metric row, const struct op_admin *admin)
{
    const struct adm_sample *sample = adm_signals_now(admin->deps.overload->signals);
    const double *figure = row == GW_M_SIGNAL ? sample->value : sample->share;

    for (enum cfg_signal i = 0; i < CFG_SIGNAL_COUNT; i++)
        if (!isnan(figure[i]))
            fprintf(out, "%s{signal=\"%s\"} %.4f\n", gw_metric_table[row].name, cfg_signals[i].name,
                    figure[i]);
}

/* --- The part. --- */

const struct op_part op_overload_part = {
    .rows = (const struct op_rows[]){{GW_M_SIGNAL, GW_M_SIGNAL_SHARE, print_signals}, {0}},
    .kinds = (const struct op_kind[]){{.kind = &cfg_kind_overload,
                                       .get = get_overload,
                                       .show = show_overload,
                                       .show_dry_run = op_show_levels},
                                      {0}},
};
