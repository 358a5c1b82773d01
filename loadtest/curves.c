/* See curves.h. */
#include "loadtest/curves.h"

#include "common/clock.h"
#include "loadtest/moments.h"

#include <stdlib.h>
#include <string.h>

#define SLOT_NS_START (50 * PS_NS_PER_MS)
#define PATIENCE_MS   3000

/* --- how long buyers waited --- */

int lt_waits_new(struct lt_waits *ret_waits)
{
    *ret_waits = (struct lt_waits){.slot_ns = SLOT_NS_START,
                                   .slots = calloc(LT_WAITS_SLOTS, sizeof *ret_waits->slots)};
    for (size_t i = 0; ret_waits->slots != NULL && i < LT_WAITS_SLOTS; i++)
        ps_histogram_init(&ret_waits->slots[i]);
    return ret_waits->slots != NULL ? 0 : PS_E_NOMEM;
}

void lt_waits_free(struct lt_waits *waits)
{
    free(waits->slots);
    waits->slots = NULL;
}

static void widen_slots(struct lt_waits *waits)
{
    for (size_t i = 0; i < LT_WAITS_SLOTS; i++) {
        struct ps_histogram slot = waits->slots[i];
        ps_histogram_init(&waits->slots[i]);
        ps_histogram_merge(&waits->slots[i / 2], &slot);
    }
    waits->slot_ns *= 2;
    waits->slot_count = (waits->slot_count + 1) / 2;
}

void lt_waits_add(struct lt_waits *waits, int64_t at_ns, int64_t latency_ns)
{
    int64_t moment_ns = at_ns > 0 ? at_ns : 0;
    while (moment_ns / waits->slot_ns >= LT_WAITS_SLOTS)
        widen_slots(waits);
    size_t slot = (size_t)(moment_ns / waits->slot_ns);
    ps_histogram_record(&waits->slots[slot], latency_ns > 0 ? (uint64_t)latency_ns : 0);
    if (slot >= waits->slot_count)
        waits->slot_count = slot + 1;
}

static json_t *percentile_json(const struct lt_waits *waits, double percent)
{
    json_t *list = json_array();
    for (size_t i = 0; i < waits->slot_count; i++) {
        double ns = (double)ps_histogram_percentile(&waits->slots[i], percent);
        (void)json_array_append_new(
            list, waits->slots[i].count > 0 ? json_real(ns / (double)PS_NS_PER_MS) : json_null());
    }
    return list;
}

json_t *lt_waits_json(const struct lt_waits *waits)
{
    return json_pack("{s:I, s:o, s:o}", "slot_ms", (json_int_t)(waits->slot_ns / PS_NS_PER_MS),
                     "p50", percentile_json(waits, 50), "p99", percentile_json(waits, 99));
}

/* --- what the gateway saw --- */

/* The points of a list from the `first` one on. */
static json_t *points_from(const json_t *list, size_t first)
{
    json_t *points = json_array();
    for (size_t i = first; i < json_array_size(list); i++)
        (void)json_array_append(points, json_array_get(list, i));
    return points;
}

static json_t *signals_json(const json_t *overload, const json_t *lists, size_t first)
{
    const json_t *rules = json_object_get(overload, "signals");
    json_t *signals = json_object(), *list;
    const char *name;
    json_object_foreach((json_t *)(uintptr_t)lists, name, list)
    {
        const json_t *rule = json_object_get(rules, name);
        (void)json_object_set_new(
            signals, name,
            json_pack("{s:O?, s:O?, s:o}", "unit", json_object_get(rule, "unit"), "threshold",
                      json_object_get(rule, "threshold"), "points", points_from(list, first)));
    }
    return signals;
}

static json_t *answers_json(const json_t *lists, size_t first)
{
    json_t *answers = json_object(), *list;
    const char *verdict;
    json_object_foreach((json_t *)(uintptr_t)lists, verdict, list)(void)
        json_object_set_new(answers, verdict, points_from(list, first));
    return answers;
}

/* Of the answer of GET /admin/v1/overload, what is not older than a step before the start. */
static json_t *history_json(const json_t *overload, int64_t started_ms)
{
    const json_t *history = json_object_get(overload, "history");
    const char *from = json_string_value(json_object_get(history, "from"));
    int64_t step_ms = json_integer_value(json_object_get(history, "step_s")) * 1000;
    int64_t from_ms;
    if (from == NULL || step_ms <= 0 || ps_time_parse(from, strlen(from), &from_ms) < 0)
        return NULL;
    size_t first =
        started_ms - step_ms > from_ms ? (size_t)((started_ms - from_ms) / step_ms - 1) : 0;
    static const char *const lists[] = {"level", "pressure", "order_p50_ms", "order_p99_ms"};
    json_t *json =
        json_pack("{s:I, s:I, s:o, s:o}", "step_ms", (json_int_t)step_ms, "from_ms",
                  (json_int_t)(from_ms + (int64_t)first * step_ms - started_ms), "signals",
                  signals_json(overload, json_object_get(history, "signals"), first), "answers",
                  answers_json(json_object_get(history, "answers"), first));
    for (size_t i = 0; json != NULL && i < PS_ARRAY_LEN(lists); i++)
        (void)json_object_set_new(json, lists[i],
                                  points_from(json_object_get(history, lists[i]), first));
    return json;
}

int lt_curves_history(const struct lt_admin *admin, int64_t started_ms, json_t **ret_json,
                      struct ps_fault *fault)
{
    json_t *overload = NULL;
    int err = lt_admin_get(admin, "/admin/v1/overload", PATIENCE_MS, &overload, fault);
    if (err < 0)
        return err;
    *ret_json = history_json(overload, started_ms);
    json_decref(overload);
    return *ret_json != NULL
               ? 0
               : ps_fault(fault, PS_E_INVALID, "--admin", "GET /admin/v1/overload has no history");
}

int lt_curves_read(const struct lt_admin *admin, int64_t started_ms, json_t **ret_json,
                   struct ps_fault *fault)
{
    json_t *json = NULL, *gateway = NULL, *bundle = NULL, *plans = NULL;
    struct ps_fault none;
    int err = lt_curves_history(admin, started_ms, &json, fault);
    if (err == 0)
        err = lt_admin_get(admin, "/admin/v1/settings", PATIENCE_MS, &gateway, fault);
    /* Only a token of the role admin may read the documents in one piece. */
    bool has_documents =
        err == 0 && lt_admin_get(admin, "/admin/v1/config?kinds=limits,overload,features",
                                 PATIENCE_MS, &bundle, &none) == 0;
    bool has_plans = err == 0 && lt_moments_read(admin, started_ms, &plans, &none) == 0;
    if (err == 0 &&
        (json_object_set_new(json, "plans", has_plans ? plans : json_null()) != 0 ||
         json_object_set_new(json, "documents",
                             has_documents ? json_incref(json_object_get(bundle, "documents"))
                                           : json_null()) != 0 ||
         json_object_update_missing(json, gateway) != 0))
        err = ps_fault(fault, PS_E_NOMEM, "", "out of memory");
    json_decref(gateway);
    if (has_documents)
        json_decref(bundle);
    if (err < 0)
        json_decref(json);
    else
        *ret_json = json;
    return err;
}
