/* The command line. Flags of the plan are collected first and turned into phases at the end,
 * because they depend on each other. */
#include "common/program/flags.h"
#include "common/text/id.h"
#include "loadtest/capacity.h"
#include "loadtest/knee.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLAN_FILE_MAX (1 << 20)
#define HEADER_MAX    64 /* as of the gateway's setting */
#define HEADER_CHARS  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

#define NOT_GIVEN (-1)

/* The flags of the plan. 0 or NOT_GIVEN: not given; so are the plan's own `buyers`, `stock` and
 * `repeat_share` at first. */
struct arrivals {
    const char *file;
    int64_t over_ms, shape, duration_ms;
    double rate;
    bool unique_users;
};

struct parse {
    struct lt_options options;
    struct arrivals arrivals;
};

/* `what`: "not …", what the value is not. */
static int refuse_value(const struct ps_flag *flag, const char *value, const char *what,
                        struct ps_fault *fault)
{
    return ps_fault(fault, PS_E_INVALID, flag->name, "\"%s\" is %s", value, what);
}

static int set_number(const char *value, double min, double max, double *field)
{
    char *end = NULL;
    double number = strtod(value, &end);
    if (end == value || *end != '\0' || !(number >= min && number <= max))
        return PS_E_INVALID;
    *field = number;
    return 0;
}

static int set_share(const struct ps_flag *flag, const char *value, void *field,
                     struct ps_fault *fault)
{
    int err = set_number(value, 0, 1, field);
    return err < 0 ? refuse_value(flag, value, "not a number from 0 to 1", fault) : 0;
}

static int set_rate(const struct ps_flag *flag, const char *value, void *field,
                    struct ps_fault *fault)
{
    int err = set_number(value, 0.01, 1e7, field);
    return err < 0 ? refuse_value(flag, value, "not a number from 0.01 to 10000000", fault) : 0;
}

static int set_time(const struct ps_flag *flag, const char *value, void *field,
                    struct ps_fault *fault)
{
    int err = lt_duration_parse(value, field);
    return err < 0 ? refuse_value(flag, value, "not a time such as 3s", fault) : 0;
}

/* "2" or "1..3". */
static int set_quantity(const struct ps_flag *flag, const char *value, void *field,
                        struct ps_fault *fault)
{
    struct lt_plan_spec *plan = field;
    char rest;
    int least, most;
    int got = sscanf(value, "%3d..%3d%c", &least, &most, &rest);
    if (got == 1 && strchr(value, '.') == NULL)
        most = least;
    else if (got != 2 || strspn(value, "0123456789.") != strlen(value))
        least = 0;
    if (least < 1 || most < least || most > LT_QUANTITY_MAX)
        return refuse_value(flag, value, "not a quantity from 1 to 100, or a range such as 1..3",
                            fault);
    plan->quantity_min = least;
    plan->quantity_max = most;
    return 0;
}

static int set_shape(const struct ps_flag *flag, const char *value, void *field,
                     struct ps_fault *fault)
{
    enum lt_shape shape;
    if (lt_shape_parse(value, &shape) < 0)
        return refuse_value(flag, value, "not spike, ramp, step or constant", fault);
    *(int64_t *)field = shape;
    return 0;
}

static int set_header(const struct ps_flag *flag, const char *value, void *field,
                      struct ps_fault *fault)
{
    size_t len = strlen(value);
    if (len == 0 || len > HEADER_MAX || strspn(value, HEADER_CHARS) != len)
        return refuse_value(flag, value, "not the name of a header such as CF-Connecting-IP",
                            fault);
    return ps_flag_set_text(flag, value, field, fault);
}

static int set_sale(const struct ps_flag *flag, const char *value, void *field,
                    struct ps_fault *fault)
{
    if (!ps_name_ok(value, strlen(value)))
        return refuse_value(flag, value, "not the name of a sale", fault);
    return ps_flag_set_text(flag, value, field, fault);
}

static int set_thresholds(const struct ps_flag *flag, const char *value, void *field,
                          struct ps_fault *fault)
{
    (void)flag;
    return lt_thresholds_parse(value, field, fault);
}

#define OPTION(member)   offsetof(struct parse, options.member)
#define ARRIVALS(member) offsetof(struct parse, arrivals.member)

/* clang-format off */
static const struct ps_flag flags[] = {
    {"--public", "URL", "public listener (http://127.0.0.1:8080)", ps_flag_set_text, OPTION(public_url), 0, 0},
    {"--admin", "URL", "admin listener (http://127.0.0.1:8090)", ps_flag_set_text, OPTION(admin_url), 0, 0},
    {"--state-dir", "DIR", "the gateway's state directory, which holds admin.token (./.penstock)", ps_flag_set_text, OPTION(state_dir), 0, 0},
    {"--token-file", "FILE", "admin token (DIR/admin.token)", ps_flag_set_text, OPTION(token_file), 0, 0},
    {"--i-own-this-target", NULL, "allow a target on another machine", ps_flag_set_bool, OPTION(own_target), 0, 0},
    {"--client-ip-header", "NAME", "the gateway's client_ip_header, if it has one (X-Forwarded-For)", set_header, OPTION(client_ip_header), 0, 0},
    {"--twin-of", "SALE", "rehearse beside this live sale, on a twin that is created for the rehearsal", set_sale, OPTION(twin_of), 0, 0},
    {"--rehearsal-key", "FILE", "with --twin-of: the key that marks the clicks, the answer of POST /admin/v1/rehearsal-keys", ps_flag_set_text, OPTION(rehearsal_key), 0, 0},
    {"--buyers", "N", "number of buyers (20000)", ps_flag_set_int, OPTION(plan.buyers), 1, LT_CLICKS_MAX},
    {"--stock", "N", "units in stock (1000; with --unique-users enough for all)", ps_flag_set_int, OPTION(plan.stock), 1, PS_INT_MAX},
    {"--skus", "N", "number of SKUs, among which the stock is split (1)", ps_flag_set_int, OPTION(plan.skus), 1, LT_SKUS_MAX},
    {"--quantity", "N", "units of an order, or a range such as 1..3 (1)", set_quantity, OPTION(plan), 0, 0},
    {"--cap", "N", "units that one buyer may have (as many as one order); above 1, buyers come back until they are refused", ps_flag_set_int, OPTION(plan.cap), 1, LT_QUANTITY_MAX},
    {"--sku-cap", "N", "units that one buyer may have of each SKU (no cap)", ps_flag_set_int, OPTION(plan.sku_cap), 1, LT_QUANTITY_MAX},
    {"--over", "TIME", "the time in which buyers arrive, such as 500ms, 3s, 2m (3s)", set_time, ARRIVALS(over_ms), 0, 0},
    {"--shape", "SHAPE", "how buyers arrive: spike, ramp, step, constant (spike)", set_shape, ARRIVALS(shape), 0, 0},
    {"--repeat-share", "X", "share of clicks that are repeated, 0 to 1 (0.2; with --rate 0)", set_share, OPTION(plan.repeat_share), 0, 0},
    {"--repeat-key-share", "X", "share of the repeated clicks that reuse the first click's Idempotency-Key (0.5)", set_share, OPTION(plan.repeat_key_share), 0, 0},
    {"--seed", "N", "the same seed gives the same plan (1)", ps_flag_set_int, OPTION(plan.seed), 0, PS_INT_MAX},
    {"--plan", "FILE", "a plan of several phases, in JSON, instead of the options above", ps_flag_set_text, ARRIVALS(file), 0, 0},
    {"--rate", "R", "for measurements: R evenly spaced clicks per second (with --find-capacity: 500)", set_rate, ARRIVALS(rate), 0, 0},
    {"--duration", "TIME", "with --rate: for how long (with --find-capacity: 5s)", set_time, ARRIVALS(duration_ms), 0, 0},
    {"--unique-users", NULL, "with --rate: each click is by a new buyer", ps_flag_set_bool, ARRIVALS(unique_users), 0, 0},
    {"--connections", "N", "connections that are kept open (1000)", ps_flag_set_int, OPTION(connections), 1, 100000},
    {"--timeout", "TIME", "a buyer gives up after this time (10s)", set_time, OPTION(timeout_ms), 0, 0},
    {"--patience", "TIME", "a click that finds no free connection within this time is not sent (as --timeout)", set_time, OPTION(patience_ms), 0, 0},
    {"--in-time", "TIME", "count the answers that arrive within this time, in the JSON report", set_time, OPTION(in_time_ms), 0, 0},
    {"--retry", "N", "a buyer who gets no answer, or a 503, clicks again after 0.5 s, at most N times (0)", ps_flag_set_int, OPTION(retries), 0, 1000},
    {"--pages", "LIST", "also request these pages, with weights: /=5,/reviews/lamp=1; or @FILE with one per line", ps_flag_set_text, OPTION(pages), 0, 0},
    {"--pages-rate", "R", "with --pages: page requests per second, at random moments (1000)", set_rate, OPTION(pages_rate), 0, 0},
    {"--confirm-share", "X", "share of the accepted orders to confirm after the peak (0)", set_share, OPTION(confirm_share), 0, 0},
    {"--cancel-share", "X", "share of the accepted orders to cancel after the peak (0)", set_share, OPTION(cancel_share), 0, 0},
    {"--settle", "TIME", "how long to wait at the end until nothing is in doubt and audits are possible again after an overload (3m)", set_time, OPTION(settle_ms), 0, 0},
    {"--end", NULL, "end the sale afterwards (else it ends after an hour)", ps_flag_set_bool, OPTION(end_sale), 0, 0},
    {"--find-capacity", NULL, "raise the rate, from --rate on, until goodput or latency breaks down, then propose limits, thresholds and settings", ps_flag_set_bool, OPTION(find_capacity), 0, 0},
    {"--margin", "X", "with --find-capacity: propose this share of the highest rate that held, 0 to 1 (0.7)", set_share, OPTION(margin), 0, 0},
    {"--bundle", "FILE", "with --find-capacity: write the proposed documents, for PUT /admin/v1/config", ps_flag_set_text, OPTION(bundle_path), 0, 0},
    {"--json", "FILE", "write the report as JSON", ps_flag_set_text, OPTION(json_path), 0, 0},
    {"--thresholds", "LIST", "exit with 99 if one is crossed: p99=50ms,no_answer=0.1%,goodput=99%", set_thresholds, OPTION(thresholds), 0, 0},
    {"--baseline", "FILE", "compare with the JSON report of an earlier run; exit with 99 if a figure has regressed", ps_flag_set_text, OPTION(baseline_path), 0, 0},
    {"--regression", "X", "a figure has regressed if it is worse by this share, 0 to 1 (0.1)", set_share, OPTION(regression), 0, 0},
    {"--html", "FILE", "write the report as one HTML page with charts", ps_flag_set_text, OPTION(html_path), 0, 0},
    {"--history", "FILE", "write the history that clients saw, one JSON object per line, and check it against the log", ps_flag_set_text, OPTION(history_path), 0, 0},
    {"--check-history", "FILE", "play nothing: check such a file against the log of --sale", ps_flag_set_text, OPTION(check_history), 0, 0},
    {"--sale", "NAME", "with --check-history: the sale", set_sale, OPTION(sale), 0, 0},
    {"--report-sale", "NAME", "play nothing: report on this sale, which may have ended, with --html and --json", set_sale, OPTION(report_sale), 0, 0},
    {"--live", "PORT", "show the rehearsal while it runs, at http://127.0.0.1:PORT/", ps_flag_set_int, OPTION(live_port), 1, 65535},
    {"--summary", NULL, "a report of ten lines, without technical figures", ps_flag_set_bool, OPTION(summary), 0, 0},
    {"--quiet", NULL, "no progress line each second", ps_flag_set_bool, OPTION(quiet), 0, 0},
    {"--version", NULL, "print the version", ps_flag_set_bool, OPTION(version), 0, 0},
    {"--help", NULL, "print this", ps_flag_set_bool, OPTION(help), 0, 0},
};
/* clang-format on */

void lt_options_help(void)
{
    puts("usage: penstock-rehearse [OPTION...]\n\n"
         "Plays a flash sale against a penstock gateway, in a sale of its own that is\n"
         "marked as a rehearsal, and proves from the order log that nothing was oversold\n"
         "or lost. Exit status 0: the proof holds; 1: it fails, could not be made, or\n"
         "proves nothing; 2: usage; 99: it holds, but a threshold is crossed or a\n"
         "figure has regressed.\n");
    ps_flags_print_help(flags, PS_ARRAY_LEN(flags), stdout);
}

static int read_plan_file(const char *path, struct lt_plan_spec *spec, struct ps_fault *fault)
{
    json_t *json = NULL;
    struct ps_fault inside;
    int err = ps_json_load(path, PLAN_FILE_MAX, &json, &inside);
    if (err == 0)
        err = lt_plan_spec_read(json, spec, &inside);
    json_decref(json);
    if (err < 0)
        return ps_fault(fault, err, "--plan", "%s: %s%s%s", path, inside.path,
                        inside.path[0] != '\0' ? " " : "", inside.text);
    return 0;
}

struct rule {
    bool wrong;
    const char *flag, *why;
};

static int check_rules(const struct rule *rules, size_t count, struct ps_fault *fault)
{
    for (size_t i = 0; i < count; i++) {
        if (rules[i].wrong)
            return ps_fault(fault, PS_E_INVALID, rules[i].flag, "%s", rules[i].why);
    }
    return 0;
}

/* Each step of a search has its own plan and its own report. */
static int check_search(const struct arrivals *arrivals, const struct lt_options *options,
                        struct ps_fault *fault)
{
    static const char foreign[] = "does not go with --find-capacity";
    const struct lt_plan_spec *plan = &options->plan;
    const struct rule rules[] = {
        {arrivals->shape != NOT_GIVEN, "--shape", foreign},
        {arrivals->over_ms > 0, "--over", foreign},
        {arrivals->file != NULL, "--plan", foreign},
        {plan->buyers > 0, "--buyers", foreign},
        {plan->stock > 0, "--stock", foreign},
        {plan->skus > 0, "--skus", foreign},
        {plan->quantity_max > 0, "--quantity", foreign},
        {plan->cap > 0, "--cap", foreign},
        {plan->sku_cap > 0, "--sku-cap", foreign},
        {plan->repeat_share >= 0, "--repeat-share", foreign},
        {arrivals->unique_users, "--unique-users", foreign},
        {options->retries > 0, "--retry", foreign},
        {options->baseline_path != NULL, "--baseline", foreign},
        {options->history_path != NULL, "--history", foreign},
        {options->html_path != NULL, "--html", foreign},
        {options->twin_of != NULL, "--twin-of",
         "does not go with --find-capacity, which overloads the gateway"},
        {options->summary, "--summary", foreign},
        {options->confirm_share > 0, "--confirm-share", foreign},
        {options->cancel_share > 0, "--cancel-share", foreign},
        {options->pages != NULL, "--pages", foreign},
        {arrivals->rate > LT_KNEE_RATE_MAX, "--rate",
         "is more than a limit can count: it is the rate at which the search begins"},
        {arrivals->rate > 0 && arrivals->rate < 1, "--rate", "is less than 1"},
        {options->margin == 0, "--margin", "is 0: it would propose a rate of 0"},
    };
    return check_rules(rules, PS_ARRAY_LEN(rules), fault);
}

/* Flags that need or exclude each other. */
static int check_together(const struct arrivals *arrivals, const struct lt_options *options,
                          struct ps_fault *fault)
{
    bool shaped = arrivals->shape != NOT_GIVEN || arrivals->over_ms > 0;
    bool counted = options->plan.buyers > 0, measured = arrivals->rate > 0;
    bool steps = options->find_capacity;
    const struct rule rules[] = {
        {options->check_history != NULL && options->sale == NULL, "--check-history",
         "needs --sale"},
        {options->check_history != NULL && options->report_sale != NULL, "--report-sale",
         "does not go with --check-history"},
        {options->check_history == NULL && options->sale != NULL, "--sale",
         "needs --check-history"},
        {options->patience_ms > options->timeout_ms, "--patience", "is longer than --timeout"},
        {options->confirm_share + options->cancel_share > 1, "--cancel-share",
         "and --confirm-share add up to more than 1"},
        {!steps && options->margin >= 0, "--margin", "needs --find-capacity"},
        {!steps && options->bundle_path != NULL, "--bundle", "needs --find-capacity"},
        {!steps && measured && arrivals->duration_ms == 0, "--rate", "needs --duration"},
        {measured && (shaped || arrivals->file != NULL), "--rate",
         "does not go with --shape, --over or --plan"},
        {measured && arrivals->unique_users && counted, "--unique-users",
         "does not go with --buyers"},
        {!measured && arrivals->unique_users, "--unique-users", "needs --rate"},
        {!steps && !measured && arrivals->duration_ms > 0, "--duration", "needs --rate"},
        {options->pages == NULL && options->pages_rate > 0, "--pages-rate", "needs --pages"},
        {options->pages != NULL && options->twin_of != NULL, "--pages",
         "does not go with --twin-of: a page has no twin, so visitors would load the live "
         "one"},
        {options->regression >= 0 && options->baseline_path == NULL, "--regression",
         "needs --baseline"},
        {options->twin_of != NULL && options->rehearsal_key == NULL, "--twin-of",
         "needs --rehearsal-key: only marked clicks stay away from the live sale"},
        {options->twin_of == NULL && options->rehearsal_key != NULL, "--rehearsal-key",
         "needs --twin-of"},
        {arrivals->file != NULL && (shaped || counted), "--plan",
         "does not go with --shape, --over or --buyers"},
    };
    int err = check_rules(rules, PS_ARRAY_LEN(rules), fault);
    return err == 0 && steps ? check_search(arrivals, options, fault) : err;
}

/* The plan of a search's steps. */
static int make_search(const struct arrivals *arrivals, struct lt_options *options,
                       struct ps_fault *fault)
{
    options->first_rate = arrivals->rate > 0 ? llround(arrivals->rate) : 500;
    options->step_ms = arrivals->duration_ms > 0 ? arrivals->duration_ms : 5000;
    if (options->in_time_ms == 0)
        options->in_time_ms = LT_CAPACITY_IN_TIME_MS;
    return options->thresholds.count > 0
               ? 0
               : lt_thresholds_parse(LT_CAPACITY_THRESHOLDS, &options->thresholds, fault);
}

/* Checks that a buyer can buy. */
static int check_wishes(const struct lt_plan_spec *spec, struct ps_fault *fault)
{
    const struct rule rules[] = {
        {spec->cap < spec->quantity_min, "--cap", "is less than --quantity: nobody could buy"},
        {spec->sku_cap > 0 && spec->sku_cap < spec->quantity_min, "--sku-cap",
         "is less than --quantity: nobody could buy"},
        {spec->stock < spec->skus, "--stock", "is less than one unit per SKU"},
    };
    return check_rules(rules, PS_ARRAY_LEN(rules), fault);
}

static int make_plan(const struct arrivals *arrivals, struct lt_plan_spec *spec,
                     struct ps_fault *fault)
{
    bool measured = arrivals->rate > 0;
    double clicks = round(arrivals->rate * (double)arrivals->duration_ms / 1000);
    if (measured && !(clicks >= 1 && clicks <= LT_CLICKS_MAX))
        return ps_fault(fault, PS_E_INVALID, "--rate", "gives %.0f clicks; 1 to %d are possible",
                        clicks, LT_CLICKS_MAX);
    if (spec->buyers == 0 && !arrivals->unique_users && arrivals->file == NULL)
        spec->buyers = 20000;
    lt_plan_spec_fill(spec);
    int64_t each = ((int64_t)clicks + spec->skus - 1) / spec->skus * spec->quantity_max;
    if (spec->stock == 0)
        spec->stock = arrivals->unique_users ? each * spec->skus : 1000;
    if (spec->repeat_share < 0)
        spec->repeat_share = measured ? 0 : 0.2;
    spec->phase_count = 1;
    spec->phases[0] =
        (struct lt_phase){arrivals->shape != NOT_GIVEN ? (enum lt_shape)arrivals->shape : LT_SPIKE,
                          arrivals->over_ms > 0 ? arrivals->over_ms : 3000, spec->buyers};
    if (measured)
        spec->phases[0] = (struct lt_phase){LT_CONSTANT, arrivals->duration_ms, (int64_t)clicks};
    int err = arrivals->file != NULL ? read_plan_file(arrivals->file, spec, fault) : 0;
    return err < 0 ? err : check_wishes(spec, fault);
}

int lt_options_read(int argc, char **argv, struct lt_options *ret_options, struct ps_fault *fault)
{
    struct parse parse = {
        .options = {.public_url = "http://127.0.0.1:8080",
                    .admin_url = "http://127.0.0.1:8090",
                    .state_dir = "./.penstock",
                    .client_ip_header = "X-Forwarded-For",
                    .connections = 1000,
                    .timeout_ms = 10000,
                    .settle_ms = 180000,
                    .regression = NOT_GIVEN,
                    .margin = NOT_GIVEN,
                    .plan = {.repeat_share = NOT_GIVEN, .repeat_key_share = 0.5, .seed = 1}},
        .arrivals = {.shape = NOT_GIVEN},
    };
    int err = ps_flags_read(flags, PS_ARRAY_LEN(flags), argc, argv, &parse, fault);
    if (err == 0)
        err = check_together(&parse.arrivals, &parse.options, fault);
    if (err == 0)
        err = parse.options.find_capacity ? make_search(&parse.arrivals, &parse.options, fault)
                                          : make_plan(&parse.arrivals, &parse.options.plan, fault);
    if (parse.options.regression < 0)
        parse.options.regression = 0.1;
    if (parse.options.margin < 0)
        parse.options.margin = 0.7;
    if (parse.options.pages_rate == 0)
        parse.options.pages_rate = 1000;
    if (parse.options.patience_ms == 0)
        parse.options.patience_ms = parse.options.timeout_ms;
    if (err == 0)
        *ret_options = parse.options;
    return err;
}
