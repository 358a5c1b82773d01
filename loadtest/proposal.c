/* Proposes only measured figures, with a margin. */
#include "loadtest/proposal.h"

#include <math.h>
#include <string.h>

#define CONNECTIONS_MIN 16
#define CONNECTIONS_MAX 1000000
#define BURST_MAX       1000000
#define FILES_BESIDE    1000 /* logs, databases, Redis, Kafka, the admin listener */

static int64_t between(double value, int64_t min, int64_t max)
{
    return value < (double)min ? min : value > (double)max ? max : (int64_t)value;
}

void lt_proposal_init(struct lt_proposal *proposal, int64_t knee, double margin, int64_t in_time_ms,
                      int64_t idle_ms)
{
    double in_time_s = (double)in_time_ms / 1000, rate = (double)knee * margin;
    int64_t connections =
        between(ceil((double)knee * (double)idle_ms / 1000), CONNECTIONS_MIN, CONNECTIONS_MAX);
    /* Little's law: requests inside = answers a second x how long each is inside. */
    *proposal = (struct lt_proposal){
        .rate = between(rate, 1, BURST_MAX),
        .burst = between(rate * in_time_s, 1, BURST_MAX),
        .connections = connections,
        .files = connections + FILES_BESIDE,
        .proxy_connections = between(ceil((double)knee * in_time_s), 1, CONNECTIONS_MAX),
    };
}

/* To three digits, upwards. */
static double round_up(double value)
{
    double unit = pow(10, floor(log10(value)) - 2);
    return ceil(value / unit - 1e-9) * unit;
}

json_t *lt_proposal_thresholds(const struct lt_proposal *proposal, const json_t *knee,
                               const json_t *calm)
{
    /* Not the machine's figures: the rehearsal's own load is in them; nor figures that outlast the
     * load. Below `least` a figure says nothing about buyers who wait. */
    static const struct {
        const char *name;
        double least;
    } signals[] = {{"loop_delay_ms", 5},   {"requests_in_flight", 1}, {"store_latency_ms", 5},
                   {"log_latency_ms", 20}, {"log_backlog", 0.05},     {"process_cpu", 0.5},
                   {"admitted_rate", 1}};
    json_t *thresholds = json_object();
    int err = 0;
    for (size_t i = 0; i < PS_ARRAY_LEN(signals); i++) {
        double at_knee = json_number_value(json_object_get(knee, signals[i].name));
        const json_t *in_calm = json_object_get(calm, signals[i].name);
        if (strcmp(signals[i].name, "requests_in_flight") == 0)
            at_knee = fmax(at_knee, (double)proposal->proxy_connections);
        if (at_knee < signals[i].least || !json_is_number(in_calm) ||
            json_number_value(in_calm) > LT_ENTER * at_knee)
            continue;
        err |= json_object_set_new(thresholds, signals[i].name, json_real(round_up(at_knee)));
    }
    return ps_json_built(thresholds, err);
}

/* --- The bundle. --- */

static bool has_text(const json_t *object, const char *member, const char *text)
{
    const char *have = json_string_value(json_object_get(object, member));
    return have != NULL && strcmp(have, text) == 0;
}

static bool counts_all_orders(const json_t *rule)
{
    size_t index;
    const json_t *word;
    bool orders = json_object_get(rule, "applies_to") == NULL;
    json_array_foreach(json_object_get(rule, "applies_to"), index, word) orders |=
        strcmp(json_string_value(word), "order") == 0;
    const json_t *sale = json_object_get(rule, "sale");
    return orders && has_text(rule, "key", "global") && (sale == NULL || json_is_null(sale));
}

/* A rule of an algorithm without a burst becomes a token bucket. */
static int set_limit(json_t *limits, const struct lt_proposal *proposal)
{
    json_t *rule = json_object_get(limits, "global");
    const char *name = rule == NULL || counts_all_orders(rule) ? "global" : "capacity";
    rule = json_object_get(limits, name);
    if (rule == NULL || !counts_all_orders(rule)) {
        rule = json_pack("{s:s, s:s, s:[s], s:n}", "algorithm", "token_bucket", "key", "global",
                         "applies_to", "order", "sale");
        if (json_object_set_new(limits, name, rule) < 0)
            return -1;
    }
    if (!has_text(rule, "algorithm", "leaky_bucket") &&
        (json_object_set_new(rule, "algorithm", json_string("token_bucket")) < 0 ||
         json_object_set_new(rule, "max_wait_ms", json_integer(0)) < 0))
        return -1;
    json_t *change =
        json_pack("{s:I, s:I, s:I, s:s}", "rate", (json_int_t)proposal->rate, "period_s",
                  (json_int_t)1, "burst", (json_int_t)proposal->burst, "mode", "enforce");
    return json_object_update_new(rule, change);
}

static int set_thresholds(json_t *kind, const json_t *thresholds)
{
    json_t *document = json_object_get(kind, "default"), *threshold;
    json_t *signals = json_object_get(document, "signals");
    const char *name;
    if (signals == NULL &&
        (document == NULL || json_object_set_new(document, "signals", signals = json_object()) < 0))
        return -1;
    json_object_foreach((json_t *)(uintptr_t)thresholds, name, threshold)
    {
        json_t *rule = json_object_get(signals, name);
        if (rule == NULL && json_object_set_new(signals, name, rule = json_object()) < 0)
            return -1;
        if (json_object_set(rule, "threshold", threshold) < 0)
            return -1;
    }
    return 0;
}

json_t *lt_proposal_bundle(const struct lt_proposal *proposal, const json_t *documents)
{
    json_t *limits = json_deep_copy(json_object_get(documents, "limits"));
    json_t *overload = json_deep_copy(json_object_get(documents, "overload"));
    if (limits == NULL)
        limits = json_object();
    json_t *bundle = json_pack("{s:{s:o}}", "documents", "limits", limits);
    int failed = bundle == NULL ? -1 : set_limit(limits, proposal);
    if (failed == 0 && overload != NULL && json_object_size(proposal->thresholds) > 0) {
        failed = json_object_set(json_object_get(bundle, "documents"), "overload", overload);
        if (failed == 0)
            failed = set_thresholds(overload, proposal->thresholds);
    }
    json_decref(overload);
    return ps_json_built(bundle, failed);
}
