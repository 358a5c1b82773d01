/* See overload.h. Each tick reads documents and overrides anew: a change by an operator is in force
 * within 100 ms, and an override ends by the wall clock on its own. */
#include "gateway/admission/overload.h"

#include "common/program/log.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const adm_cause_names[] = {"pressure",       "calm", "override",
                                       "override_ended", "mode", NULL};

/* --- Documents. --- */

const struct cfg_overload *adm_overload_settings(const struct adm_overload *overload)
{
    return cfg_overload_of(
        cfg_store_find(overload->deps.config, &cfg_kind_overload, CFG_OVERLOAD_NAME));
}

const struct cfg_doc *adm_overload_override(const struct adm_overload *overload)
{
    return cfg_override_find(overload->deps.config, CFG_OVERRIDE_LEVEL, NULL);
}

static const struct cfg_feature_doc *feature_doc(const struct adm_overload *overload,
                                                 size_t feature)
{
    return cfg_feature_of(
        cfg_store_find(overload->deps.config, &cfg_kind_feature, cfg_feature_names[feature]));
}

/* The reason of the override of the level; NULL: no override, or it has no reason. */
static const char *override_reason(const struct adm_overload *overload)
{
    const struct cfg_doc *doc = adm_overload_override(overload);

    return doc != NULL ? doc->by.why : NULL;
}

/* --- A change of the level. --- */

json_t *adm_figure(double value)
{
    return isnan(value) ? json_null() : ps_json_of_number(round(value * 1e4) / 1e4);
}

json_t *adm_overload_signals(const struct adm_sample *sample, double least)
{
    json_t *signals = json_object();
    int err = 0;

    for (size_t i = 0; i < CFG_SIGNAL_COUNT; i++) {
        bool shown = sample->share[i] >= least || i == (size_t)sample->highest; /* false for NaN */
        if (shown)
            err |= json_object_set_new(
                signals, cfg_signals[i].name,
                json_pack("{s:o, s:o, s:o}", "value", adm_figure(sample->value[i]), "threshold",
                          adm_figure(sample->threshold[i]), "share", adm_figure(sample->share[i])));
    }
    return ps_json_built(signals, err);
}

static const char *highest_signal(const struct adm_sample *sample)
{
    return sample->highest < CFG_SIGNAL_COUNT ? cfg_signals[sample->highest].name : NULL;
}

static void log_change(const struct adm_overload *overload, const struct adm_level_change *change)
{
    char pressure[32];

    (void)snprintf(pressure, sizeof pressure, "%.2f", change->sample.pressure);
    if (change->to > change->from)
        ps_log(PS_LOG_WARN, "overload_level_raised", PS_F_INT("from", change->from),
               PS_F_INT("to", change->to), PS_F_STR("cause", adm_cause_names[change->cause]),
               PS_F_STR("pressure", pressure), PS_F_STR("signal", highest_signal(&change->sample)),
               PS_F_STR("reason", override_reason(overload)));
    else
        ps_log(PS_LOG_INFO, "overload_level_lowered", PS_F_INT("from", change->from),
               PS_F_INT("to", change->to), PS_F_STR("cause", adm_cause_names[change->cause]),
               PS_F_STR("pressure", pressure), PS_F_STR("signal", highest_signal(&change->sample)),
               PS_F_STR("reason", override_reason(overload)));
}

static void on_audited(int err, const struct ps_fault *fault, void *ctx)
{
    (void)ctx;
    if (err < 0)
        ps_log(PS_LOG_ERROR, "audit_line_lost", PS_F_STR("who", CFG_BY_GATEWAY),
               PS_F_STR("action", "overload.level"), PS_F_STR("target", "overload/default"),
               PS_F_STR("error", fault->text[0] != '\0' ? fault->text : ps_err_text(err)));
}

static void audit_change(const struct adm_overload *overload, const struct adm_level_change *change)
{
    const struct cfg_overload *settings = adm_overload_settings(overload);
    const char *reason = override_reason(overload);
    struct cfg_change *entry = cfg_change_new(
        overload->deps.config, &(struct cfg_author){.at_ms = change->at_ms,
                                                    .who = CFG_BY_GATEWAY,
                                                    .peer = "",
                                                    .action = "overload.level",
                                                    .why = reason != NULL ? reason : ""});
    int err = PS_E_NOMEM;

    if (entry != NULL) {
        json_t *signals = adm_overload_signals(&change->sample, settings->ladder.leave);
        cfg_change_line(entry, "overload/default", json_pack("{s:i}", "level", change->from),
                        json_pack("{s:i, s:s, s:o, s:o}", "level", change->to, "cause",
                                  adm_cause_names[change->cause], "pressure",
                                  adm_figure(change->sample.pressure), "signals", signals));
        err = cfg_change_submit(entry, on_audited, NULL);
    }
    if (err < 0)
        on_audited(err, &(struct ps_fault){0}, NULL);
}

static enum adm_cause cause_of(const struct adm_overload *overload, bool was_overridden,
                               bool switched, int to)
{
    if (overload->is_overridden)
        return ADM_CAUSE_OVERRIDE;
    if (was_overridden)
        return ADM_CAUSE_OVERRIDE_ENDED;
    if (switched)
        return ADM_CAUSE_MODE;
    return to > overload->level ? ADM_CAUSE_PRESSURE : ADM_CAUSE_CALM;
}

static void change_level(struct adm_overload *overload, enum adm_cause cause, int to,
                         int64_t wall_ms)
{
    struct adm_level_change *change =
        &overload->changes[overload->change_count++ % ADM_CHANGES_MAX];

    *change = (struct adm_level_change){.at_ms = wall_ms,
                                        .from = overload->level,
                                        .to = to,
                                        .cause = cause,
                                        .sample = *adm_signals_now(overload->signals)};
    overload->level = to;
    overload->since_ms = wall_ms;
    log_change(overload, change);
    audit_change(overload, change);
}

/* --- A tick. --- */

int adm_overload_level_otherwise(const struct adm_overload *overload)
{
    return adm_overload_settings(overload)->mode == CFG_OVERLOAD_OFF ? 0 : overload->ladder.level;
}

static void move_level(struct adm_overload *overload, int64_t wall_ms)
{
    const struct cfg_overload *settings = adm_overload_settings(overload);
    const struct cfg_doc *override = adm_overload_override(overload);
    bool was_overridden = overload->is_overridden;
    bool off = settings->mode == CFG_OVERLOAD_OFF, switched = overload->is_off != off;
    int level = override != NULL ? cfg_override_of(override)->value
                                 : adm_overload_level_otherwise(overload);

    overload->is_off = off;
    overload->is_overridden = override != NULL;
    if (!overload->begun) { /* an override at the start is not a change of the level */
        overload->begun = true;
        overload->level = level;
        overload->since_ms = wall_ms;
    } else if (level != overload->level) {
        change_level(overload, cause_of(overload, was_overridden, switched, level), level, wall_ms);
    }
}

/* Is a sale open that is not a rehearsal? */
static bool is_selling(const struct adm_overload *overload, int64_t wall_ms)
{
    const struct snapshot *snapshot = snap_view_last(overload->deps.view);

    for (size_t i = 0; i < snapshot->sale_count; i++)
        if (!snapshot->sales[i]->rehearsal &&
            snap_sale_phase(snapshot->sales[i], wall_ms) == CFG_PHASE_OPEN)
            return true;
    return false;
}

/* Rehearsals and exports are turned off only while a real sale is open: without buyers, a rehearsal
 * may drive its gateway to its limits. An override of the level turns them off in any case. */
static bool gives_way_to_sales(size_t feature)
{
    return feature == CFG_FEATURE_rehearsals || feature == CFG_FEATURE_exports;
}

bool adm_overload_is_off_otherwise(const struct adm_overload *overload, enum cfg_feature feature,
                                   enum adm_feature_why *ret_why)
{
    const struct cfg_feature_doc *doc = feature_doc(overload, feature);
    int64_t wall_ms = ps_clock_wall_ms(overload->deps.signals.clock);
    bool off = doc->level > 0 && overload->level >= doc->level;
    bool alone = off && !overload->is_overridden && gives_way_to_sales(feature) &&
                 !is_selling(overload, wall_ms);

    *ret_why = alone ? ADM_WHY_ALONE : ADM_WHY_LEVEL;
    return off && !alone;
}

/* Decides whether the feature is off, and why. */
static bool judge_feature(struct adm_overload *overload, enum cfg_feature feature)
{
    const struct cfg_doc *override =
        cfg_override_find(overload->deps.config, CFG_OVERRIDE_FEATURE, cfg_feature_names[feature]);
    bool off = adm_overload_is_off_otherwise(overload, feature, &overload->why[feature]);

    if (override == NULL)
        return off;
    overload->why[feature] = ADM_WHY_OVERRIDE;
    return cfg_override_of(override)->value == CFG_FEATURE_OFF;
}

static void publish(struct adm_overload *overload)
{
    struct ps_metrics_shard *shard = overload->deps.shard;
    unsigned off = 0;

    for (size_t i = 0; i < CFG_FEATURE_COUNT; i++) {
        bool is_off = judge_feature(overload, (enum cfg_feature)i);
        off |= (unsigned)is_off << i;
        ps_metric_set(shard, GW_M_FEATURE_OFF, i, is_off);
    }
    atomic_store_explicit(&overload->shared.off, off, memory_order_relaxed);
    atomic_store_explicit(&overload->shared.is_off, overload->is_off, memory_order_relaxed);
    atomic_store_explicit(&overload->shared.level, overload->level, memory_order_relaxed);
    ps_metric_set(shard, GW_M_OVERLOAD_LEVEL, 0, overload->level);
}

static int64_t uses_so_far(const struct adm_overload *overload, size_t feature)
{
    return ps_metric_read(overload->deps.signals.metrics, GW_M_FEATURE_USES, feature);
}

/* Once a second; seconds that were missed in a pause get the present count. */
static void note_uses(struct adm_overload *overload, int64_t second)
{
    const int64_t minute = PS_ARRAY_LEN(overload->uses);
    int64_t first = overload->second + 1;

    if (second < first)
        return;
    if (first <= second - minute)
        first = second - minute + 1;
    for (size_t i = 0; i < CFG_FEATURE_COUNT; i++) {
        int64_t uses = uses_so_far(overload, i);
        for (int64_t at = first; at <= second; at++)
            overload->uses[at % minute][i] = uses;
    }
    overload->second = second;
}

void adm_overload_apply(struct adm_overload *overload)
{
    move_level(overload, ps_clock_wall_ms(overload->deps.signals.clock));
    publish(overload);
}

void adm_overload_tick(struct adm_overload *overload, bool started)
{
    const struct cfg_overload *settings = adm_overload_settings(overload);
    int64_t now_ns = ps_clock_mono_ns(overload->deps.signals.clock);

    adm_signals_set_rules(overload->signals, settings->signals);
    adm_signals_sample(overload->signals);
    if (started && overload->judges_from_ns == INT64_MAX)
        overload->judges_from_ns = now_ns + PS_NS_PER_S; /* signals look back for a second */
    if (now_ns >= overload->judges_from_ns)
        (void)adm_ladder_step(&overload->ladder, &settings->ladder,
                              adm_signals_now(overload->signals)->pressure, now_ns);
    adm_overload_apply(overload);
    adm_signals_note(overload->signals, ADM_SERIES_LEVEL, overload->level);
    note_uses(overload, now_ns / PS_NS_PER_S);
}

bool adm_overload_is_off(const struct adm_overload *overload, enum cfg_feature feature)
{
    return (atomic_load_explicit(&overload->shared.off, memory_order_relaxed) >> feature & 1) != 0;
}

int64_t adm_overload_uses(const struct adm_overload *overload, enum cfg_feature feature)
{
    int64_t oldest = (overload->second + 1) % (int64_t)PS_ARRAY_LEN(overload->uses);

    return uses_so_far(overload, feature) - overload->uses[oldest][feature];
}

/* --- Life. --- */

int adm_overload_new(const struct adm_overload_deps *deps, struct adm_overload **ret_overload)
{
    struct adm_overload *overload = calloc(1, sizeof *overload);

    if (overload == NULL)
        return PS_E_NOMEM;
    overload->deps = *deps;
    overload->judges_from_ns = INT64_MAX;
    overload->second = ps_clock_mono_ns(deps->signals.clock) / PS_NS_PER_S;
    int err = adm_signals_new(&deps->signals, &overload->signals);
    if (err < 0)
        free(overload);
    else
        *ret_overload = overload;
    return err;
}

void adm_overload_free(struct adm_overload *overload)
{
    if (overload != NULL)
        adm_signals_free(overload->signals);
    free(overload);
}
