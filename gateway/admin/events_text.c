/* One event: the state of this gateway as JSON. Bounded: signals, features and the like are few;
 * sales, overrides, runs and gateways may be many, and are given the room that is left, the busiest
 * sale and the earliest end first. What has no room is counted in `left_out`.
 *
 * Figures by the second come from counts that were read at the event before. The units of a sale
 * are the cluster's, all rates are this gateway's own. */
#include "gateway/admin/events.h"
#include "gateway/admin/ops.h"

#include "common/grow.h"
#include "common/text/utf8.h"
#include "gateway/admission/overload.h"
#include "gateway/config/kinds/override.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_MAX    32  /* of a list: more never have room */
#define REASON_SHOWN 120 /* bytes of an override's reason */
#define ANSWERS_TOP  8   /* verdicts of the listener */
#define REFUSALS_TOP 4   /* of a sale */
#define LOOKS        10  /* seconds over which the sale of units is averaged */

/* An open sale as it was read; of the time before for the next one's rates. */
struct sale_look {
    char name[PS_NAME_MAX + 1];
    struct sale_units units;
    bool has_figures;
    struct snap_figures_sum figures;
    int64_t left[LOOKS]; /* units left at the last looks, the newest first */
    size_t looks;
    /* As of this look; NaN: not known yet. */
    double sold_per_s, orders_per_s, busy_per_s;
    double refusals_per_s[ANS_VERDICT_COUNT];
    double p50_ms, p99_ms;
};

struct looks {
    struct sale_look *at; /* by name */
    size_t count, room;
    bool no_memory;
};

struct op_state {
    const struct op_admin *admin;
    struct looks now, before;
    int64_t at_ns[LOOKS]; /* of the last looks, the newest first */
    size_t at_count;
};

struct op_state *op_state_new(const struct op_admin *admin)
{
    struct op_state *state = calloc(1, sizeof *state);

    if (state != NULL)
        state->admin = admin;
    return state;
}

void op_state_forget(struct op_state *state)
{
    free(state->now.at);
    free(state->before.at);
    *state = (struct op_state){.admin = state->admin};
}

void op_state_free(struct op_state *state)
{
    if (state == NULL)
        return;
    op_state_forget(state);
    free(state);
}

/* --- Reading the sales. --- */

static void read_sale(const char *name, const struct sale_units *units, void *ctx)
{
    struct op_state *state = ctx;
    struct looks *looks = &state->now;
    const struct snapshot *snapshot = snap_view_last(state->admin->deps.view);

    if (ps_grow(&looks->at, &looks->room, looks->count + 1, sizeof *looks->at) < 0) {
        looks->no_memory = true;
        return;
    }
    struct sale_look *look = &looks->at[looks->count++];
    *look = (struct sale_look){.units = *units, .left = {units->left}, .looks = 1};
    (void)snprintf(look->name, sizeof look->name, "%s", name);
    const struct snap_sale *sale =
        snapshot != NULL ? snapshot_sale(snapshot, name, strlen(name)) : NULL;
    look->has_figures = sale != NULL && sale->figures != NULL;
    if (look->has_figures)
        snap_figures_read(sale->figures, &look->figures);
}

/* What has changed since `before`, of the same sale. NULL: it was not seen a second ago. */
static void compare(const struct op_state *state, struct sale_look *look,
                    const struct sale_look *before)
{
    look->sold_per_s = look->orders_per_s = look->p50_ms = look->p99_ms = NAN;
    look->busy_per_s = 0;
    if (before == NULL)
        return;
    look->looks = before->looks < LOOKS ? before->looks + 1 : LOOKS;
    memcpy(&look->left[1], before->left, (look->looks - 1) * sizeof look->left[0]);
    size_t oldest = look->looks - 1;
    look->sold_per_s = (double)(look->left[oldest] - look->left[0]) * PS_NS_PER_S /
                       (double)(state->at_ns[0] - state->at_ns[oldest]);
    if (!look->has_figures || !before->has_figures)
        return;
    double passed_s = (double)(state->at_ns[0] - state->at_ns[1]) / PS_NS_PER_S;
    look->orders_per_s = 0;
    for (size_t i = 0; i < ANS_VERDICT_COUNT; i++) {
        double rate = (double)(look->figures.answers[i] - before->figures.answers[i]) / passed_s;
        look->busy_per_s += rate;
        if (i == ANS_V_accepted || i == ANS_V_pending)
            look->orders_per_s += rate;
        else if (ans_verdicts[i].status >= 400)
            look->refusals_per_s[i] = rate;
    }
    struct ps_times_sum took = ps_times_between(&before->figures.orders, &look->figures.orders);
    if (ps_times_total(&took) == 0)
        return;
    look->p50_ms = (double)ps_times_quantile_ns(&took, 0.50) / PS_NS_PER_MS;
    look->p99_ms = (double)ps_times_quantile_ns(&took, 0.99) / PS_NS_PER_MS;
}

static int by_busy(const void *a, const void *b)
{
    const struct sale_look *const *x = a, *const *y = b;
    int order = ((*x)->busy_per_s < (*y)->busy_per_s) - ((*x)->busy_per_s > (*y)->busy_per_s);

    return order != 0 ? order : strcmp((*x)->name, (*y)->name);
}

/* Looks at all open sales. */
static void look_at_sales(struct op_state *state)
{
    const struct op_deps *deps = &state->admin->deps;
    size_t at = 0;

    struct looks old = state->before;
    state->before = state->now;
    state->now = (struct looks){.at = old.at, .room = old.room};
    memmove(&state->at_ns[1], state->at_ns, (LOOKS - 1) * sizeof state->at_ns[0]);
    state->at_ns[0] = ps_clock_mono_ns(deps->clock);
    sale_each_open(deps->sales, SIZE_MAX, read_sale, state);
    for (size_t i = 0; i < state->now.count; i++) { /* both are sorted by name */
        struct sale_look *look = &state->now.at[i];
        while (at < state->before.count && strcmp(state->before.at[at].name, look->name) < 0)
            at++;
        bool known = at < state->before.count && strcmp(state->before.at[at].name, look->name) == 0;
        compare(state, look, known ? &state->before.at[at] : NULL);
    }
}

/* --- Numbers. --- */

static json_t *tenths(double value)
{
    return isnan(value) ? json_null() : ps_json_of_number(round(value * 10) / 10);
}

static json_t *thousandths(double value)
{
    return isnan(value) ? json_null() : ps_json_of_number(round(value * 1000) / 1000);
}

/* The highest rates by verdict: {"sold_out":1204.5,…} */
static json_t *top_rates(const double rates[ANS_VERDICT_COUNT], size_t most)
{
    json_t *json = json_object();
    bool taken[ANS_VERDICT_COUNT] = {false};
    int err = 0;

    for (size_t n = 0; n < most && err == 0; n++) {
        size_t best = ANS_VERDICT_COUNT;
        for (size_t i = 0; i < ANS_VERDICT_COUNT; i++)
            if (!taken[i] && rates[i] > 0 && (best == ANS_VERDICT_COUNT || rates[i] > rates[best]))
                best = i;
        if (best == ANS_VERDICT_COUNT)
            break;
        taken[best] = true;
        err = json_object_set_new(json, ans_verdict_names[best], tenths(rates[best]));
    }
    return ps_json_built(json, err);
}

/* --- Lists: each element is shown whole, or is left out. --- */

struct list {
    const char *name;
    size_t room;    /* bytes that it has for itself */
    json_t *wanted; /* the first ones that may be shown */
    json_t *shown;
    size_t all; /* how many there are */
};

static size_t size_of(const json_t *json)
{
    return json_dumpb(json, NULL, 0, CFG_JSON_FLAGS);
}

/* Shows more elements while they fit into `room`; returns what is left of it. */
static size_t show_more(struct list *list, size_t room)
{
    for (size_t i = json_array_size(list->shown); i < json_array_size(list->wanted); i++) {
        json_t *element = json_array_get(list->wanted, i);
        size_t size = size_of(element) + 1;
        if (size > room || json_array_append(list->shown, element) != 0)
            break;
        room -= size;
    }
    return room;
}

static int want(struct list *list, json_t *element)
{
    return json_array_append_new(list->wanted, element);
}

static json_t *sale_json(const struct op_deps *deps, const struct sale_look *look)
{
    const struct sale_entry *sale = sale_list_find(deps->known, look->name, strlen(look->name));
    bool rated = !isnan(look->orders_per_s);
    double sold_out_s = look->units.left == 0  ? 0
                        : look->sold_per_s > 0 ? (double)look->units.left / look->sold_per_s
                                               : NAN;

    if (sale == NULL)
        return NULL;
    return json_pack(
        "{s:s, s:s, s:b, s:o, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "sale", look->name,
        "state",
        cfg_sale_state_name(&sale->stored.doc, &sale->stored.state, ps_clock_wall_ms(deps->clock)),
        "fenced", sale_view(sale->run)->state != SALE_SERVING, "closes_at",
        ps_json_of_time(sale->stored.doc.closes_at_ms), "units_left", (json_int_t)look->units.left,
        "units_held", (json_int_t)look->units.held, "units_confirmed",
        (json_int_t)look->units.confirmed, "units_sold_per_s", tenths(look->sold_per_s),
        "sold_out_in_s", tenths(sold_out_s), "orders_per_s", tenths(look->orders_per_s),
        "refusals_per_s", rated ? top_rates(look->refusals_per_s, REFUSALS_TOP) : json_null(),
        "order_p50_ms", thousandths(look->p50_ms), "order_p99_ms", thousandths(look->p99_ms));
}

static int want_sales(const struct op_state *state, struct list *list)
{
    const struct looks *looks = &state->now;
    struct sale_look **sorted = calloc(looks->count + 1, sizeof *sorted);
    int err = sorted == NULL || looks->no_memory;

    for (size_t i = 0; err == 0 && i < looks->count; i++)
        sorted[i] = &looks->at[i];
    if (err == 0)
        qsort(sorted, looks->count, sizeof *sorted, by_busy);
    list->all = looks->count;
    for (size_t i = 0; err == 0 && i < looks->count && i < SHOWN_MAX; i++)
        err = want(list, sale_json(&state->admin->deps, sorted[i]));
    free(sorted);
    return err;
}

static int by_until(const void *a, const void *b)
{
    const struct cfg_doc *const *x = a, *const *y = b;
    int64_t until_x = cfg_override_of(*x)->until_ms, until_y = cfg_override_of(*y)->until_ms;

    return (until_x > until_y) - (until_x < until_y);
}

static json_t *override_json(const struct cfg_doc *doc)
{
    const struct cfg_override *override = cfg_override_of(doc);
    const char *why = doc->by.why;

    return json_pack("{s:s, s:s?, s:o, s:s, s:o, s:s%, s:s?}", "target", override->target,
                     "gateway", override->gateway[0] != '\0' ? override->gateway : NULL, "value",
                     cfg_override_value_json(override->kind, override->value), "by", doc->by.who,
                     "until", ps_json_of_time(override->until_ms), "reason", why,
                     ps_utf8_cut(why, strlen(why), REASON_SHOWN), "run",
                     override->run[0] != '\0' ? override->run : NULL);
}

static int want_overrides(const struct op_state *state, struct list *list)
{
    const struct cfg_doc *docs[CFG_OVERRIDES_MAX], *doc = NULL;
    int err = 0;

    while ((doc = cfg_store_next(state->admin->deps.config, &cfg_kind_override, doc)) != NULL &&
           list->all < PS_ARRAY_LEN(docs))
        docs[list->all++] = doc;
    qsort(docs, list->all, sizeof docs[0], by_until);
    for (size_t i = 0; err == 0 && i < list->all && i < SHOWN_MAX; i++)
        err = want(list, override_json(docs[i]));
    return err;
}

/* Those that need somebody first, then those that end first. */
static int by_need(const void *a, const void *b)
{
    static const int rank[] = {[CFG_RUN_SUSPENDED] = 0,
                               [CFG_RUN_WAITING] = 1,
                               [CFG_RUN_ACTIVE] = 2,
                               [CFG_RUN_ARMED] = 3,
                               [CFG_RUN_ENDED] = 4};
    const struct cfg_run *x = (*(struct plan_run *const *)a)->run;
    const struct cfg_run *y = (*(struct plan_run *const *)b)->run;

    if (x->state != y->state)
        return rank[x->state] - rank[y->state];
    return (x->until_ms > y->until_ms) - (x->until_ms < y->until_ms);
}

static json_t *run_json(const struct plans *plans, const struct plan_run *run)
{
    const struct cfg_run *is = run->run;

    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o}", "run", run->name, "plan", is->plan,
                     "state", cfg_run_states[is->state], "by", is->by, "since",
                     ps_json_of_time(is->since_ms), "until", ps_json_of_time(is->until_ms),
                     "starts_at", ps_json_of_time(plans_starts_ms(plans, run->name)), "lapses_at",
                     ps_json_of_time(is->lapses_ms));
}

static int want_runs(const struct op_state *state, struct list *list)
{
    const struct plans *plans = state->admin->deps.plans;
    const struct plan_runs *live = plans != NULL ? plans_live(plans) : NULL;
    size_t count = live != NULL ? live->count : 0;
    struct plan_run **runs = calloc(count + 1, sizeof(struct plan_run *));
    int err = runs == NULL;

    for (size_t i = 0; err == 0 && i < count; i++)
        runs[i] = live->at[i];
    if (err == 0)
        qsort(runs, count, sizeof(struct plan_run *), by_need);
    list->all = count;
    for (size_t i = 0; err == 0 && i < count && i < SHOWN_MAX; i++)
        err = want(list, run_json(plans, runs[i]));
    free(runs);
    return err;
}

static int want_gateways(const struct op_state *state, struct list *list)
{
    json_t *gateway;
    int err = 0;

    for (; err == 0 && op_gateway_at(state->admin, list->all, &gateway); list->all++) {
        if (list->all < SHOWN_MAX)
            err = want(list, gateway);
        else
            json_decref(gateway);
    }
    return err;
}

/* --- The rest. --- */

static json_t *signals_json(const struct adm_sample *sample)
{
    json_t *json = json_object();
    int err = 0;

    for (enum cfg_signal i = 0; err == 0 && i < CFG_SIGNAL_COUNT; i++)
        if (!isnan(sample->value[i]))
            err =
                json_object_set_new(json, cfg_signals[i].name,
                                    json_pack("{s:o, s:o}", "value", thousandths(sample->value[i]),
                                              "share", thousandths(sample->share[i])));
    return ps_json_built(json, err);
}

static json_t *features_json(const struct adm_overload *overload)
{
    json_t *list = json_array();
    int err = 0;

    for (enum cfg_feature i = 0; err == 0 && i < CFG_FEATURE_COUNT; i++)
        if (adm_overload_is_off(overload, i))
            err = json_array_append_new(list, json_string(cfg_feature_names[i]));
    return ps_json_built(list, err);
}

/* The last complete second of the history. */
static double last_of(const struct adm_history *history, size_t series)
{
    size_t count = adm_history_count(history);

    return count > 0 ? adm_history_at(history, series, count - 1) : NAN;
}

static json_t *answers_json(const struct adm_history *history)
{
    double rates[ANS_VERDICT_COUNT];

    for (size_t i = 0; i < ANS_VERDICT_COUNT; i++) {
        double rate = last_of(history, ADM_SERIES_ANSWERS + i);
        rates[i] = isnan(rate) ? 0 : rate;
    }
    return top_rates(rates, ANSWERS_TOP);
}

/* The sale that opens next; null: none is planned. */
static json_t *next_opening_json(const struct op_deps *deps)
{
    int64_t now_ms = ps_clock_wall_ms(deps->clock);
    const struct cfg_stored_sale *next = NULL;

    for (size_t i = 0; i < deps->known->count; i++) {
        const struct cfg_stored_sale *sale = &deps->known->at[i]->stored;
        if (strcmp(cfg_sale_state_name(&sale->doc, &sale->state, now_ms), "scheduled") == 0 &&
            (next == NULL || sale->doc.opens_at_ms < next->doc.opens_at_ms))
            next = sale;
    }
    return next != NULL ? json_pack("{s:s, s:o}", "sale", next->doc.name, "opens_at",
                                    ps_json_of_time(next->doc.opens_at_ms))
                        : json_null();
}

/* Everything but the lists. */
static json_t *base_json(const struct op_deps *deps)
{
    const struct adm_overload *overload = deps->overload;
    const struct adm_sample *sample = adm_signals_now(overload->signals);
    const struct adm_history *history = adm_signals_history(overload->signals);
    struct ans_readiness readiness;

    deps->readiness(deps->ctx, &readiness);
    enum ans_verdict ready = ans_readiness_verdict(&readiness);
    double admitted = (double)ps_metric_read(deps->metrics, GW_M_ADMISSION, 0) / PS_NS_PER_S;
    return json_pack(
        "{s:s, s:s, s:o, s:o, s:b, s:s?, s:{s:s, s:s}, s:i, s:o, s:o, s:s?, s:o, s:o, s:o, s:o, "
        "s:o, s:o, s:o}",
        "gateway", deps->gateway_id, "version", PENSTOCK_VERSION, "at",
        ps_json_of_time(ps_clock_wall_ms(deps->clock)), "started_at",
        ps_json_of_time(deps->started_ms), "ready", ready == ANS_V_ok, "not_ready",
        ready == ANS_V_ok ? NULL : ans_verdicts[ready].name, "scope", "units",
        inv_store_is_shared(deps->store) ? "cluster" : "gateway", "rates", "gateway", "level",
        overload->level, "level_since", ps_json_of_time(overload->since_ms), "pressure",
        thousandths(sample->pressure), "highest",
        sample->highest < CFG_SIGNAL_COUNT ? cfg_signals[sample->highest].name : NULL, "signals",
        signals_json(sample), "features_off", features_json(overload), "admitted",
        thousandths(admitted), "answers_per_s", answers_json(history), "order_p50_ms",
        thousandths(last_of(history, ADM_SERIES_ORDER_P50)), "order_p99_ms",
        thousandths(last_of(history, ADM_SERIES_ORDER_P99)), "next_opening",
        next_opening_json(deps));
}

/* Adds the lists to `json`, which has room for so many bytes more. 0 or not. */
static int add_lists(const struct op_state *state, json_t *json, size_t room)
{
    struct list lists[] = {{.name = "sales", .room = room * 4 / 10},
                           {.name = "overrides", .room = room * 3 / 10},
                           {.name = "runs", .room = room * 15 / 100},
                           {.name = "gateways", .room = room * 15 / 100}};
    static int (*const fill[])(const struct op_state *state, struct list *list) = {
        want_sales, want_overrides, want_runs, want_gateways};
    json_t *left_out = json_object();
    bool truncated = false;
    size_t spare = 0;
    int err = 0;

    for (size_t i = 0; i < PS_ARRAY_LEN(lists); i++) {
        lists[i].wanted = json_array();
        lists[i].shown = json_array();
        err |= fill[i](state, &lists[i]);
        spare += show_more(&lists[i], lists[i].room);
    }
    for (size_t i = 0; i < PS_ARRAY_LEN(lists); i++) {
        spare = show_more(&lists[i], spare);
        size_t left = lists[i].all - json_array_size(lists[i].shown);
        truncated |= left > 0;
        err |= json_object_set_new(left_out, lists[i].name, json_integer((json_int_t)left));
        err |= json_object_set(json, lists[i].name, lists[i].shown);
        json_decref(lists[i].wanted);
        json_decref(lists[i].shown);
    }
    err |= json_object_set_new(json, "truncated", json_boolean(truncated));
    err |= json_object_set_new(json, "left_out", left_out);
    return err;
}

/* What add_lists adds beside the elements: names, brackets, numbers. */
#define AROUND_LISTS 200

char *op_state_text(struct op_state *state, size_t max)
{
    json_t *json = base_json(&state->admin->deps);
    size_t used = size_of(json) + AROUND_LISTS;

    look_at_sales(state);
    json = ps_json_built(json, json == NULL || add_lists(state, json, used < max ? max - used : 0));
    char *text = json != NULL ? json_dumps(json, CFG_JSON_FLAGS) : NULL;
    json_decref(json);
    return text;
}
