/* Each step of the search is a whole rehearsal: its own sale, as many units as clicks, each click a
 * new buyer at a random moment, and the proof afterwards. So "holds" is about orders in the log,
 * and a gateway that loses one has no capacity at all.
 *
 * The level of overload is overridden with 0 meanwhile: the search is for what the machine can do,
 * not for where the ladder, set by an earlier search, turns features off. A limit of the gateway
 * that refuses ends the search for the same reason: the next limit would follow from its knee,
 * lower each time. */
#include "loadtest/capacity.h"

#include "common/clock.h"
#include "loadtest/knee.h"
#include "loadtest/proposal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define REST_MS          1000 /* between two steps … */
#define REST_BROKEN_MS   3000 /* … and after one that broke */
#define CALL_PATIENCE_MS 15000
#define LEVEL_TTL_S      600
#define BURSTS_MAX       8
#define HISTORY_S        600 /* of signals that a gateway keeps */
#define CLIENT_FULL      0.9 /* of a core: above, this program itself may be the bottleneck */
#define MACHINE_BUSY     0.5 /* even at half of the load that holds */

struct search {
    const struct lt_options *options;
    const volatile sig_atomic_t *stop;
    struct lt_target target;
    struct lt_admin admin;
    struct lt_knee knee;
    struct lt_proposal proposal;
    int64_t in_time_ms; /* of an answer */
    json_t *settings;   /* that the gateway runs with */
    bool holds_level;   /* by an override of its own */
    bool played;        /* a step was */
    json_t *steps, *burst_step, *thresholds;
};

/* --- What the gateway says. --- */

/* 0 and a NULL: it has no such route, or the call failed. The figures are helpful, not
 * necessary. */
static json_t *ask_gateway(const struct search *search, const char *method, const char *path,
                           const char *body)
{
    struct lt_call call = {method, path, body, CALL_PATIENCE_MS};
    struct ps_fault fault;
    json_t *json = NULL;
    return lt_admin_call_json(&search->admin, &call, &json, &fault) < 0 ? NULL : json;
}

/* Sets the level to 0 and renews that, unless an operator has overridden it. */
static void hold_level(struct search *search)
{
    char body[160];
    json_t *others =
        search->holds_level ? NULL : ask_gateway(search, "GET", "/admin/v1/overrides/level", NULL);
    if (others == NULL) {
        (void)snprintf(body, sizeof body,
                       "{\"value\":0,\"ttl_s\":%d,\"reason\":\"penstock-rehearse looks for the "
                       "capacity\"}",
                       LEVEL_TTL_S);
        json_t *answer = ask_gateway(search, "PUT", "/admin/v1/overrides/level", body);
        search->holds_level |= answer != NULL;
        json_decref(answer);
    }
    json_decref(others);
}

static void release_level(struct search *search)
{
    if (search->holds_level)
        json_decref(ask_gateway(search, "DELETE", "/admin/v1/overrides/level", NULL));
    search->holds_level = false;
}

static int get_documents(const struct search *search, json_t **ret_config, struct ps_fault *fault)
{
    return lt_admin_get(&search->admin, "/admin/v1/config?kinds=limits,overload", CALL_PATIENCE_MS,
                        ret_config, fault);
}

static int get_settings(struct search *search, struct ps_fault *fault)
{
    json_t *answer = NULL;
    int err = lt_admin_get(&search->admin, "/admin/v1/settings", CALL_PATIENCE_MS, &answer, fault);
    if (err == 0)
        search->settings = json_incref(json_object_get(answer, "settings"));
    json_decref(answer);
    return err;
}

/* A member of `http`. */
static int64_t http_setting(const struct search *search, const char *member)
{
    return json_integer_value(json_object_get(json_object_get(search->settings, "http"), member));
}

static int by_value(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return a < b ? -1 : a > b;
}

/* The median of the points of a history between two moments; NAN: there are none. A point is the
 * largest value of its second; the last one is that of the unfinished second. The median, since a
 * pause of the machine shows in the largest one. */
static double median_between(const json_t *values, int64_t from_ms, int64_t to_ms)
{
    double found[HISTORY_S];
    double now_ms = (double)ps_clock_wall_ms(&ps_clock_system);
    size_t count = 0, points = json_array_size(values);
    for (size_t i = 0; i < points && count < PS_ARRAY_LEN(found); i++) {
        double middle_ms = now_ms - 1000 * (double)(points - i) + 500;
        const json_t *value = json_array_get(values, i);
        if (json_is_number(value) && middle_ms >= (double)from_ms && middle_ms < (double)to_ms)
            found[count++] = json_number_value(value);
    }
    qsort(found, count, sizeof *found, by_value);
    return count > 0 ? found[count / 2] : NAN;
}

/* Each signal between two moments of this machine's clock. */
static json_t *signals_between(const struct search *search, int64_t from_ms, int64_t to_ms)
{
    char path[64];
    int64_t back_s = (ps_clock_wall_ms(&ps_clock_system) - from_ms) / 1000 + 2;
    (void)snprintf(path, sizeof path, "/admin/v1/overload?history_s=%lld",
                   (long long)(back_s < HISTORY_S ? back_s : HISTORY_S));
    json_t *overload = ask_gateway(search, "GET", path, NULL), *signals = json_object();
    const json_t *history = json_object_get(overload, "history"), *values;
    const char *name;
    json_object_foreach(json_object_get(history, "signals"), name, values)
    {
        double median = median_between(values, from_ms, to_ms);
        if (!isnan(median))
            (void)json_object_set_new(signals, name, json_real(median));
    }
    json_decref(overload);
    return signals;
}

/* --- A step. --- */

/* Every check of the proof holds, except perhaps that somebody got an order. */
static bool is_proved(const json_t *report, char why_not[200])
{
    const json_t *proof = json_object_get(report, "proof"), *check;
    size_t index;
    if (!json_is_true(json_object_get(proof, "made"))) {
        (void)snprintf(why_not, 200, "the proof could not be made: %s",
                       json_string_value(json_object_get(proof, "why_not")));
        return false;
    }
    json_array_foreach(json_object_get(proof, "checks"), index, check)
    {
        const char *name = json_string_value(json_object_get(check, "name"));
        if (json_is_true(json_object_get(check, "ok")) || strcmp(name, "tried") == 0)
            continue;
        (void)snprintf(why_not, 200, "the proof fails: %s: %s", name,
                       json_string_value(json_object_get(check, "text")));
        return false;
    }
    return true;
}

/* What the search keeps of a report. Takes `judged` and `signals` over. */
static json_t *step_json(const json_t *report, int64_t rate, json_t *judged, json_t *signals)
{
    const json_t *latencies = json_object_get(report, "latency_ms");
    const json_t *client = json_object_get(report, "client");
    double duration_s = lt_number_of(report, "duration_s"),
           offered = lt_number_of(report, "offered");
    double cpu = lt_number_of(client, "cpu_us_per_click") * offered / 1e6;
    return json_pack(
        "{s:I, s:f, s:O, s:b, s:f, s:f, s:O, s:O, s:O, s:f, s:o, s:o}", "rate", (json_int_t)rate,
        "duration_s", duration_s, "offered", json_object_get(report, "offered"), "held",
        lt_thresholds_crossed(judged) == 0, "goodput", lt_goodput(report), "unanswered",
        offered > 0 ? lt_number_of(report, "unanswered") / offered : 0.0, "latency_ms",
        json_object_get(latencies, "all"), "answers", json_object_get(report, "answers"),
        "sent_late_ms", json_object_get(client, "sent_late_ms"), "client_cpu",
        duration_s > 0 ? cpu / duration_s : 0.0, "thresholds", judged, "signals", signals);
}

/* Plays `phases` with a new buyer for each click and a unit for each. */
static int play_step(struct search *search, int64_t rate, const struct lt_phase *phases,
                     size_t count, json_t **ret_step, struct ps_fault *fault)
{
    struct lt_options options = *search->options;
    char why_not[200];
    json_t *report = NULL;
    options.quiet = options.end_sale = true;
    options.live_said = search->played;
    search->played = true;
    options.json_path = NULL;
    options.plan = (struct lt_plan_spec){.seed = options.plan.seed + json_array_size(search->steps),
                                         .phase_count = count};
    memcpy(options.plan.phases, phases, count * sizeof *phases);
    for (size_t i = 0; i < count; i++)
        options.plan.stock += phases[i].clicks;
    hold_level(search);
    int64_t from_ms = ps_clock_wall_ms(&ps_clock_system);
    int err = lt_rehearse_measure(&options, search->stop, &report, fault);
    if (err < 0)
        return err;
    int64_t start_ms = from_ms;
    const char *started = json_string_value(json_object_get(report, "started_at"));
    (void)!ps_time_parse(started, strlen(started), &start_ms);
    int64_t end_ms = start_ms + (int64_t)(1000 * lt_number_of(report, "duration_s"));
    *ret_step = step_json(report, rate, lt_thresholds_judge(&search->options->thresholds, report),
                          signals_between(search, start_ms, end_ms));
    if (*ret_step == NULL)
        err = ps_fault(fault, PS_E_NOMEM, "", "out of memory");
    else if (json_is_true(json_object_get(report, "interrupted")) || *search->stop != 0)
        err = ps_fault(fault, PS_E_CLOSED, "", "told to stop");
    else if (!is_proved(report, why_not))
        err = ps_fault(fault, PS_E_CORRUPT, "", "at %lld clicks a second %s", (long long)rate,
                       why_not);
    json_decref(report);
    if (err < 0) {
        json_decref(*ret_step);
        *ret_step = NULL;
    }
    return err;
}

/* Refusals that say nothing about the machine: limits, and a setup that admits nobody. */
static int check_answers(const json_t *step, struct ps_fault *fault)
{
    static const struct {
        const char *answer, *advice;
    } foreign[] = {
        {"global_rate", "the limit gives way, not the gateway. Set the rule \"global\" (and other "
                        "rules of that key) to the mode \"shadow\" for the search; the bundle "
                        "enforces it again"},
        {"sale_rate", "set the rules with the key \"sale\" to the mode \"shadow\" for the search"},
        {"ip_rate", "each buyer has an address of their own: name the gateway's client_ip_header "
                    "with --client-ip-header"},
        {"user_rate", "each click is by a new buyer: the rule lets nobody in"},
        {"unauthenticated", "is this machine in the gateway's trusted_proxies?"},
        {"blocked", "buyers or their addresses (198.18.0.0/15) are on the blocklist"},
        {"not_found", "are --public and --admin of the same gateway or cluster?"},
    };
    const json_t *answers = json_object_get(step, "answers");
    double offered = lt_number_of(step, "offered");
    for (size_t i = 0; i < PS_ARRAY_LEN(foreign); i++) {
        double count = lt_number_of(answers, foreign[i].answer);
        if (count > 0.001 * offered)
            return ps_fault(fault, PS_E_CONFLICT, "", "at %lld clicks a second %.1f %% got %s: %s",
                            (long long)lt_number_of(step, "rate"), 100 * count / offered,
                            foreign[i].answer, foreign[i].advice);
    }
    return 0;
}

/* --- The search. --- */

static int find_knee(struct search *search, struct ps_fault *fault)
{
    lt_capacity_print_head(stdout);
    for (int64_t rate; (rate = lt_knee_next(&search->knee)) > 0;) {
        int64_t clicks = rate * search->options->step_ms / 1000;
        if (clicks > LT_CLICKS_MAX)
            return ps_fault(fault, PS_E_FULL, "",
                            "%lld clicks of a step are too many: shorten it "
                            "with --duration",
                            (long long)clicks);
        struct lt_phase phase = {LT_STEP, search->options->step_ms, clicks > 0 ? clicks : 1};
        json_t *step = NULL;
        int err = play_step(search, rate, &phase, 1, &step, fault);
        if (err < 0)
            return err;
        lt_capacity_print_step(step, stdout);
        bool held = json_is_true(json_object_get(step, "held"));
        if (json_array_append_new(search->steps, step) < 0)
            return ps_fault(fault, PS_E_NOMEM, "", "out of memory");
        err = held ? 0 : check_answers(step, fault);
        if (err == 0)
            err = lt_admin_wait(&search->admin, held ? REST_MS : REST_BROKEN_MS, fault);
        if (err < 0)
            return err;
        lt_knee_note(&search->knee, held);
    }
    if (lt_knee_found(&search->knee))
        return 0;
    return search->knee.held > 0
               ? ps_fault(fault, PS_E_FULL, "",
                          "%lld clicks a second held, and nothing above was "
                          "tried: that is more than one limit can count",
                          (long long)search->knee.held)
               : ps_fault(fault, PS_E_CONFLICT, "", "no rate held, down to %lld clicks a second",
                          (long long)search->knee.broken);
}

/* Plays the worst that the proposed limit lets through, a full burst followed by the rate, and
 * halves the burst until that holds. */
static int try_burst(struct search *search, struct ps_fault *fault)
{
    struct lt_proposal *proposal = &search->proposal;
    for (int tries = 0; tries < BURSTS_MAX; tries++) {
        int64_t clicks = proposal->rate * search->options->step_ms / 1000;
        const struct lt_phase phases[] = {
            {LT_CONSTANT, 1, proposal->burst},
            {LT_STEP, search->options->step_ms, clicks > 0 ? clicks : 1}};
        json_decref(search->burst_step);
        search->burst_step = NULL;
        int err = play_step(search, proposal->rate, phases, PS_ARRAY_LEN(phases),
                            &search->burst_step, fault);
        if (err < 0)
            return err;
        (void)json_object_set_new(search->burst_step, "burst", json_integer(proposal->burst));
        lt_capacity_print_step(search->burst_step, stdout);
        if (json_is_true(json_object_get(search->burst_step, "held")))
            return 0;
        err = check_answers(search->burst_step, fault);
        if (err == 0)
            err = lt_admin_wait(&search->admin, REST_BROKEN_MS, fault);
        if (err < 0)
            return err;
        if (proposal->burst == 1)
            break;
        proposal->burst /= 2;
    }
    return ps_fault(fault, PS_E_CONFLICT, "",
                    "the knee is at %lld clicks a second, but %lld with a burst of %lld do not "
                    "hold: measure longer (--duration), or on a machine that does nothing else",
                    (long long)search->knee.held, (long long)proposal->rate,
                    (long long)proposal->burst);
}

/* --- The result. --- */

static const json_t *step_at(const struct search *search, int64_t rate, bool held)
{
    const json_t *found = NULL, *step;
    size_t index;
    json_array_foreach(search->steps, index, step)
    {
        if (json_integer_value(json_object_get(step, "rate")) == rate &&
            json_is_true(json_object_get(step, "held")) == held)
            found = step;
    }
    return found;
}

static void take_larger(json_t *into, const json_t *from)
{
    const char *name;
    const json_t *value;
    json_object_foreach((json_t *)(uintptr_t)from, name, value)
    {
        const json_t *have = json_object_get(into, name);
        if (have == NULL || json_number_value(value) > json_number_value(have))
            (void)json_object_set_new(into, name, json_real(json_number_value(value)));
    }
}

/* The largest signals of all that held at the proposed rate and below. */
static json_t *calm_signals(const struct search *search)
{
    json_t *calm = json_object();
    size_t index;
    const json_t *step;
    json_array_foreach(search->steps, index, step)
    {
        if (json_is_true(json_object_get(step, "held")) &&
            json_integer_value(json_object_get(step, "rate")) <= search->proposal.rate)
            take_larger(calm, json_object_get(step, "signals"));
    }
    take_larger(calm, json_object_get(search->burst_step, "signals"));
    return calm;
}

/* Of those that held. */
static const json_t *lowest_step(const struct search *search)
{
    const json_t *lowest = NULL, *step;
    size_t index;
    json_array_foreach(search->steps, index, step)
    {
        if (json_is_true(json_object_get(step, "held")) &&
            (lowest == NULL || lt_number_of(step, "rate") < lt_number_of(lowest, "rate")))
            lowest = step;
    }
    return lowest;
}

static json_t *notes_json(const struct search *search)
{
    json_t *notes = json_array();
    const json_t *broken = step_at(search, search->knee.broken, false);
    if (lt_number_of(broken, "client_cpu") >= CLIENT_FULL)
        (void)json_array_append_new(
            notes,
            json_sprintf("this program used %.0f %% of a core at %lld clicks a second: the "
                         "knee may be its own. Measure from several machines, or with k6.",
                         100 * lt_number_of(broken, "client_cpu"), (long long)search->knee.broken));
    const json_t *lowest = lowest_step(search);
    double busy = lt_number_of(json_object_get(lowest, "signals"), "machine_cpu");
    if (2 * lt_number_of(lowest, "rate") <= (double)search->knee.held && busy >= MACHINE_BUSY)
        (void)json_array_append_new(
            notes, json_sprintf("the gateway's machine was %.0f %% busy at %lld clicks a second "
                                "already: others work on it, and the knee is theirs, too.",
                                100 * busy, (long long)lt_number_of(lowest, "rate")));
    if (search->target.loopback)
        (void)json_array_append_new(
            notes, json_string("the load came from this machine and took a part of it: from "
                               "another one the knee is higher."));
    return notes;
}

static json_t *settings_json(const struct search *search)
{
    const struct lt_proposal *proposal = &search->proposal;
    return json_pack("{s:{s:I}, s:I, s:I, s:{s:I, s:I}}", "http", "connections",
                     (json_int_t)proposal->connections, "limit_nofile", (json_int_t)proposal->files,
                     "proxy_connections", (json_int_t)proposal->proxy_connections, "now",
                     "connections", (json_int_t)http_setting(search, "connections"),
                     "idle_timeout_ms", (json_int_t)http_setting(search, "idle_timeout_ms"));
}

/* Everything, found or not. `config` is GET /admin/v1/config; NULL: nothing was found. A new
 * reference; NULL: out of memory. */
static json_t *result_json(const struct search *search, const json_t *config, const char *why_not)
{
    const struct lt_options *options = search->options;
    const struct lt_proposal *proposal = &search->proposal;
    json_t *result = json_pack(
        "{s:i, s:s, s:s, s:b, s:s?, s:f, s:f, s:I, s:I, s:O, s:O?}", "format", 1, "program",
        "penstock-rehearse " PENSTOCK_VERSION, "public", search->target.authority, "found",
        config != NULL, "why_not", why_not, "margin", options->margin, "step_s",
        (double)options->step_ms / 1000, "held", (json_int_t)search->knee.held, "broken",
        (json_int_t)search->knee.broken, "steps", search->steps, "burst_step", search->burst_step);
    if (result == NULL || config == NULL)
        return result;
    json_t *bundle = lt_proposal_bundle(proposal, json_object_get(config, "documents"));
    json_t *found = json_pack(
        "{s:O, s:O, s:{s:I, s:I}, s:O, s:o, s:I, s:O, s:o, s:o}", "knee",
        step_at(search, search->knee.held, true), "break",
        step_at(search, search->knee.broken, false), "limit", "rate", (json_int_t)proposal->rate,
        "burst", (json_int_t)proposal->burst, "thresholds", search->thresholds, "settings",
        settings_json(search), "in_time_ms", (json_int_t)search->in_time_ms, "revision",
        json_object_get(config, "revision"), "bundle", bundle, "notes", notes_json(search));
    return ps_json_built(result, json_object_update_new(result, found));
}

/* The exit status. */
static int write_result(const struct search *search, const json_t *config, const char *why_not)
{
    const struct lt_options *options = search->options;
    json_t *result = result_json(search, config, why_not);
    if (result == NULL) {
        fputs("penstock-rehearse: out of memory\n", stderr);
        return LT_EXIT_FAILED;
    }
    lt_capacity_print_result(result, stdout);
    int failed = fflush(stdout) != 0;
    if (options->json_path != NULL)
        failed |= lt_rehearse_write(result, "--json", options->json_path);
    if (options->bundle_path != NULL && config != NULL)
        failed |=
            lt_rehearse_write(json_object_get(result, "bundle"), "--bundle", options->bundle_path);
    json_decref(result);
    return config != NULL && failed == 0 ? LT_EXIT_PROVED : LT_EXIT_FAILED;
}

/* The shorter of --in-time and the bound on the p99 of all answers, where there is one. */
static int64_t in_time_of(const struct lt_options *options)
{
    int64_t in_time_ms = options->in_time_ms;
    for (size_t i = 0; i < options->thresholds.count; i++) {
        const struct lt_threshold *row = &options->thresholds.row[i];
        if (strcmp(row->name, "p99") == 0 && row->bound < (double)in_time_ms)
            in_time_ms = (int64_t)row->bound;
    }
    return in_time_ms;
}

/* The exit status. */
static int run_search(struct search *search)
{
    const struct lt_options *options = search->options;
    struct ps_fault fault = {.path = ""};
    json_t *config = NULL;
    if (lt_rehearse_aim(options, &search->target, &search->admin, &fault) < 0 ||
        lt_rehearse_try_file("--json", options->json_path, &fault) < 0 ||
        lt_rehearse_try_file("--bundle", options->bundle_path, &fault) < 0)
        return lt_rehearse_fail(&fault, LT_EXIT_USAGE);
    int err = get_documents(search, &config, &fault); /* may it? */
    json_decref(config);
    config = NULL;
    if (err == 0)
        err = get_settings(search, &fault);
    if (err < 0)
        return lt_rehearse_fail(&fault, LT_EXIT_FAILED);
    lt_knee_init(&search->knee, options->first_rate);
    err = find_knee(search, &fault);
    if (err == 0) {
        lt_proposal_init(&search->proposal, search->knee.held, options->margin, search->in_time_ms,
                         http_setting(search, "idle_timeout_ms"));
        err = try_burst(search, &fault);
    }
    release_level(search);
    if (err == 0) {
        json_t *calm = calm_signals(search);
        search->thresholds = lt_proposal_thresholds(
            &search->proposal, json_object_get(step_at(search, search->knee.held, true), "signals"),
            calm);
        search->proposal.thresholds = search->thresholds;
        json_decref(calm);
        err = get_documents(search, &config, &fault);
    }
    int status = write_result(search, err == 0 ? config : NULL, err < 0 ? fault.text : NULL);
    json_decref(config);
    return status;
}

int lt_find_capacity(const struct lt_options *options, const volatile sig_atomic_t *stop)
{
    struct search search = {.options = options,
                            .stop = stop,
                            .admin = {.stop = stop},
                            .in_time_ms = in_time_of(options),
                            .steps = json_array()};
    int status = run_search(&search);
    json_decref(search.settings);
    json_decref(search.thresholds);
    json_decref(search.burst_step);
    json_decref(search.steps);
    return status;
}
